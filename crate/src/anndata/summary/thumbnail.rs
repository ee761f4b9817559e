//! A small picture of the slide.

use crate::anndata::{AnnData, Value, Values};
use base64::Engine;
use image::{DynamicImage, ImageFormat, RgbaImage, imageops::FilterType};
use std::io::Cursor;

/// Longest side in pixels.
const SIDE: u32 = 220;

/// A PNG in base64 and its caption: the tissue image if there is one, else the coordinates.
pub(super) fn of(adata: &AnnData) -> Option<(String, String)> {
    let (picture, caption) = tissue(adata).or_else(|| coordinates(adata))?;
    let mut png = Cursor::new(Vec::new());
    picture.write_to(&mut png, ImageFormat::Png).ok()?;
    Some((base64::engine::general_purpose::STANDARD.encode(png.into_inner()), caption))
}

/// The first library's image, the small one if there is one.
fn tissue(adata: &AnnData) -> Option<(DynamicImage, String)> {
    let libraries = adata.uns.get("spatial")?.as_map()?;
    libraries.iter().find_map(|(library, v)| {
        let images = v.at(&["images"])?.as_map()?;
        let image = images.get("lowres").or_else(|| images.get("hires"))?;
        let picture = picture(image)?;
        let (w, h) = (picture.width(), picture.height());
        let picture = match w.max(h) > SIDE {
            true => picture.resize(SIDE, SIDE, FilterType::Triangle),
            false => picture,
        };
        Some((picture, library.clone()))
    })
}

/// An array of height × width × 3 or 4, bytes or numbers from 0 to 1.
fn picture(v: &Value) -> Option<DynamicImage> {
    let Value::Array { shape, values } = v else { return None };
    let &[h, w, c @ (3 | 4)] = shape.as_slice() else { return None };
    if h == 0 || w == 0 || h.checked_mul(w)?.checked_mul(c)? != values.len() {
        return None;
    }
    // Thinned out before anything is converted: the picture may be large.
    let step = (h.max(w) / (4 * SIDE as usize)).max(1);
    let (sh, sw) = (h.div_ceil(step), w.div_ceil(step));
    let mut out = RgbaImage::new(sw as u32, sh as u32);
    let byte = |i: usize| match values {
        Values::U8(v) => v[i],
        other => (other.get_f64(i) * 255.0).round().clamp(0.0, 255.0) as u8,
    };
    for y in 0..sh {
        for x in 0..sw {
            let at = (y * step * w + x * step) * c;
            let alpha = if c == 4 { byte(at + 3) } else { 255 };
            let pixel = [byte(at), byte(at + 1), byte(at + 2), alpha];
            out.put_pixel(x as u32, y as u32, image::Rgba(pixel));
        }
    }
    Some(DynamicImage::ImageRgba8(out))
}

/// The coordinates as dots on nothing, y pointing down as in images.
fn coordinates(adata: &AnnData) -> Option<(DynamicImage, String)> {
    let spatial = adata.obsm.get("spatial")?;
    if spatial.nrows() == 0 || spatial.ncols() < 2 {
        return None;
    }
    let (x, y) = (spatial.column_f32(0), spatial.column_f32(1));
    let bounds = |v: &[f32]| {
        let finite = || v.iter().copied().filter(|x| x.is_finite());
        (finite().fold(f32::INFINITY, f32::min), finite().fold(f32::NEG_INFINITY, f32::max))
    };
    let ((x0, x1), (y0, y1)) = (bounds(&x), bounds(&y));
    let span = (x1 - x0).max(y1 - y0);
    if !span.is_finite() {
        return None;
    }
    // Dots shrink as they get many.
    let radius = (60.0 / (x.len() as f32).sqrt()).clamp(0.6, 5.0);
    let margin = radius.ceil() + 1.0;
    let scale = (SIDE as f32 - 2.0 * margin) / span.max(f32::MIN_POSITIVE);
    let side = |low: f32, high: f32| ((high - low) * scale + 2.0 * margin).ceil() as u32;
    let mut out = RgbaImage::new(side(x0, x1).clamp(1, SIDE), side(y0, y1).clamp(1, SIDE));
    for (&x, &y) in x.iter().zip(&y).filter(|(x, y)| x.is_finite() && y.is_finite()) {
        let (cx, cy) = ((x - x0) * scale + margin, (y - y0) * scale + margin);
        let (left, top) = ((cx - radius).max(0.0) as u32, (cy - radius).max(0.0) as u32);
        for py in top..=(cy + radius) as u32 {
            for px in left..=(cx + radius) as u32 {
                let (dx, dy) = (px as f32 + 0.5 - cx, py as f32 + 0.5 - cy);
                let inside = dx * dx + dy * dy <= (radius * radius).max(0.5);
                if inside && px < out.width() && py < out.height() {
                    out.put_pixel(px, py, image::Rgba([0x3b, 0x7d, 0xc4, 0xff]));
                }
            }
        }
    }
    Some((DynamicImage::ImageRgba8(out), "obsm[\"spatial\"]".into()))
}
