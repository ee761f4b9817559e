//! Fonts and the shape of text. The font comes with the library (Noto Sans), so that figures look
//! the same everywhere and need none on the system.

use super::canvas::{Align, TextStyle, VAlign};
use ab_glyph::{Font, FontRef, GlyphId, OutlinedGlyph, PxScale, ScaleFont, point};
use std::sync::LazyLock;

/// Families to ask for where text stays text (SVG).
pub(crate) const CSS_FAMILY: &str = "'Noto Sans', 'DejaVu Sans', Arial, Helvetica, sans-serif";

/// Height of capital letters as a part of the em.
pub(crate) const CAP_HEIGHT: f64 = 0.714;

static REGULAR: LazyLock<FontRef<'static>> = LazyLock::new(|| load(notosans::REGULAR_TTF));
static BOLD: LazyLock<FontRef<'static>> = LazyLock::new(|| load(notosans::BOLD_TTF));

fn load(bytes: &'static [u8]) -> FontRef<'static> {
    FontRef::try_from_slice(bytes).expect("the built-in font is a valid TrueType file")
}

fn font(bold: bool) -> &'static FontRef<'static> {
    if bold { &BOLD } else { &REGULAR }
}

/// ab_glyph scales by the height of a line, not by the em.
fn scale(font: &FontRef<'_>, size: f64) -> PxScale {
    let em = font.units_per_em().unwrap_or(1000.0);
    PxScale::from(size as f32 * font.height_unscaled() / em)
}

/// Calls `place` with each glyph and where it starts along the line; returns the line's length.
fn walk(text: &str, size: f64, bold: bool, mut place: impl FnMut(GlyphId, f32)) -> f32 {
    let font = font(bold);
    let scaled = font.as_scaled(scale(font, size));
    let mut x = 0.0;
    let mut previous = None;
    for c in text.chars() {
        let glyph = font.glyph_id(c);
        if let Some(previous) = previous {
            x += scaled.kern(previous, glyph);
        }
        place(glyph, x);
        x += scaled.h_advance(glyph);
        previous = Some(glyph);
    }
    x
}

/// Length of a line of text of `size` pixels an em, in the same pixels.
pub fn text_width(text: &str, size: f64, bold: bool) -> f64 {
    f64::from(walk(text, size, bold, |_, _| ()))
}

/// The text, cut with an ellipsis where it is longer than `width`.
pub(crate) fn fit(text: &str, size: f64, bold: bool, width: f64) -> String {
    if text_width(text, size, bold) <= width {
        return text.to_string();
    }
    let mut cut: Vec<char> = text.chars().collect();
    loop {
        cut.pop();
        let shorter: String = cut.iter().collect::<String>().trim_end().to_string() + "…";
        if cut.is_empty() || text_width(&shorter, size, bold) <= width {
            return shorter;
        }
    }
}

/// Where the text starts and its baseline is, relative to its anchor, before it is turned upward.
pub(crate) fn origin(text: &str, style: &TextStyle) -> (f64, f64) {
    let width = text_width(text, style.size, style.bold);
    let x = match style.align {
        Align::Start => 0.0,
        Align::Middle => -width / 2.0,
        Align::End => -width,
    };
    let y = match style.valign {
        VAlign::Top => CAP_HEIGHT * style.size,
        VAlign::Middle => CAP_HEIGHT * style.size / 2.0,
        VAlign::Baseline => 0.0,
    };
    (x, y)
}

/// Calls `cover` with every pixel that the text touches and the part of it that is covered.
/// `x`, `y` is the anchor and `style.size` the size, both in pixels of the target.
pub(crate) fn coverage(
    text: &str,
    x: f64,
    y: f64,
    style: &TextStyle,
    mut cover: impl FnMut(i32, i32, f32),
) {
    let font = font(style.bold);
    let scale = scale(font, style.size);
    let (dx, dy) = origin(text, style);
    // Along the line at fractions of a pixel, across it on whole pixels: even spacing and sharp
    // horizontals.
    let (along, across) = if style.upward { (-y + dx, x + dy) } else { (x + dx, y + dy) };
    let across = across.round();
    let mut outlines: Vec<OutlinedGlyph> = Vec::new();
    walk(text, style.size, style.bold, |glyph, start| {
        let position = point(along as f32 + start, across as f32);
        outlines.extend(font.outline_glyph(glyph.with_scale_and_position(scale, position)));
    });
    for outline in outlines {
        let bounds = outline.px_bounds();
        let (left, top) = (bounds.min.x as i32, bounds.min.y as i32);
        outline.draw(|i, j, c| {
            let (px, py) = (left + i as i32, top + j as i32);
            if style.upward { cover(py, -px - 1, c) } else { cover(px, py, c) }
        });
    }
}

/// Makes the font known to plotters, whose own text measuring panics without one.
pub(crate) fn register() {
    static ONCE: std::sync::Once = std::sync::Once::new();
    ONCE.call_once(|| {
        use plotters::style::{FontStyle, register_font};
        for name in ["sans-serif", "serif", "monospace"] {
            // It can only fail for bytes that are no font; `load` has checked them.
            let _ = register_font(name, FontStyle::Normal, notosans::REGULAR_TTF);
            let _ = register_font(name, FontStyle::Bold, notosans::BOLD_TTF);
        }
    });
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn long_names_are_cut_to_fit() {
        let name = "a category with a very long name indeed";
        let short = fit(name, 11.0, false, 80.0);
        assert!(short.ends_with('…') && text_width(&short, 11.0, false) <= 80.0, "{short}");
        assert_eq!(fit("L1", 11.0, false, 80.0), "L1");
        assert_eq!(fit("L1", 11.0, false, 0.0), "…");
    }

    #[test]
    fn the_font_has_the_signs_that_ticks_use() {
        for c in "0123456789.−e…µ²".chars() {
            assert_ne!(font(false).glyph_id(c).0, 0, "{c}");
        }
    }
}
