//! [`Pen`]: plotters' way onto a [`Canvas`], so that its charts get the antialiasing, the fonts
//! and the SVG of every other figure.

use super::canvas::{Align, Canvas, Rect, TextStyle, VAlign};
use super::palette::Color;
use super::text;
use super::theme::Theme;
use crate::image::Image;
use plotters::coord::Shift;
use plotters::drawing::{DrawingArea, IntoDrawingArea};
use plotters_backend::text_anchor::{HPos, VPos};
use plotters_backend::{
    BackendColor, BackendCoord, BackendStyle, BackendTextStyle, DrawingBackend, DrawingErrorKind,
    FontStyle, FontTransform,
};
use std::convert::Infallible;
use std::sync::Arc;

/// A plotters backend that draws on a [`Canvas`].
///
/// plotters counts in whole units; a pen has `units` of them to a CSS pixel, so that curves are
/// not bent onto whole pixels.
pub struct Pen<'a> {
    canvas: &'a mut Canvas,
    units: f64,
    /// What greys stand for: from the colour of black to that of white.
    greys: Option<(Color, Color)>,
}

type Drawn = Result<(), DrawingErrorKind<Infallible>>;

impl<'a> Pen<'a> {
    pub(crate) fn area(canvas: &'a mut Canvas, units: u32) -> DrawingArea<Pen<'a>, Shift> {
        text::register();
        Pen { canvas, units: f64::from(units), greys: None }.into_drawing_area()
    }

    /// In whole CSS pixels, for drawings that know nothing of themes: black is the theme's text,
    /// white its background.
    pub(crate) fn themed(canvas: &'a mut Canvas, theme: Theme) -> DrawingArea<Pen<'a>, Shift> {
        text::register();
        let ink = theme.ink();
        let greys = (ink.text, ink.background.unwrap_or(Color::rgb(255, 255, 255)));
        let greys = (theme != Theme::Light).then_some(greys);
        Pen { canvas, units: 1.0, greys }.into_drawing_area()
    }

    fn color(&self, c: BackendColor) -> Color {
        let (r, g, b) = c.rgb;
        let plain = match self.greys {
            Some((black, white)) if r == g && g == b => {
                let part = f32::from(r) / 255.0;
                let mix = |k: u8, w: u8| {
                    (f32::from(k) + part * (f32::from(w) - f32::from(k))).round() as u8
                };
                Color::rgb(mix(black.r, white.r), mix(black.g, white.g), mix(black.b, white.b))
            }
            _ => Color::rgb(r, g, b),
        };
        plain.with_alpha(c.alpha as f32)
    }

    fn at(&self, (x, y): BackendCoord) -> (f64, f64) {
        (f64::from(x) / self.units, f64::from(y) / self.units)
    }

    fn width(&self, style: &impl BackendStyle) -> f64 {
        f64::from(style.stroke_width()) / self.units
    }
}

fn is_bold(style: FontStyle) -> bool {
    matches!(style, FontStyle::Bold)
}

impl DrawingBackend for Pen<'_> {
    type ErrorType = Infallible;

    fn get_size(&self) -> (u32, u32) {
        let units = |v: f64| (v * self.units).round() as u32;
        (units(self.canvas.width), units(self.canvas.height))
    }

    fn ensure_prepared(&mut self) -> Drawn {
        Ok(())
    }

    fn present(&mut self) -> Drawn {
        Ok(())
    }

    fn draw_pixel(&mut self, point: BackendCoord, c: BackendColor) -> Drawn {
        let (x, y) = self.at(point);
        self.canvas.fill(Rect::at(x, y, 1.0 / self.units, 1.0 / self.units), self.color(c));
        Ok(())
    }

    fn draw_line<S: BackendStyle>(
        &mut self,
        from: BackendCoord,
        to: BackendCoord,
        style: &S,
    ) -> Drawn {
        self.draw_path([from, to], style)
    }

    fn draw_rect<S: BackendStyle>(
        &mut self,
        upper_left: BackendCoord,
        bottom_right: BackendCoord,
        style: &S,
        fill: bool,
    ) -> Drawn {
        let ((x0, y0), (x1, y1)) = (self.at(upper_left), self.at(bottom_right));
        let area = Rect { x0, y0, x1, y1 };
        if fill {
            self.canvas.fill(area, self.color(style.color()));
        } else {
            let width = self.width(style);
            self.canvas.outline(area, width, self.color(style.color()));
        }
        Ok(())
    }

    fn draw_path<S: BackendStyle, I: IntoIterator<Item = BackendCoord>>(
        &mut self,
        path: I,
        style: &S,
    ) -> Drawn {
        if style.color().alpha > 0.0 && style.stroke_width() > 0 {
            let points: Vec<_> = path.into_iter().map(|p| self.at(p)).collect();
            let width = self.width(style);
            self.canvas.line(points, width, self.color(style.color()));
        }
        Ok(())
    }

    fn draw_circle<S: BackendStyle>(
        &mut self,
        center: BackendCoord,
        radius: u32,
        style: &S,
        fill: bool,
    ) -> Drawn {
        let ((x, y), r) = (self.at(center), f64::from(radius) / self.units);
        if fill {
            self.canvas.disc(x, y, r, self.color(style.color()));
        } else {
            let around = |k: u32| {
                let angle = f64::from(k) * std::f64::consts::TAU / 48.0;
                (x + r * angle.cos(), y + r * angle.sin())
            };
            let width = self.width(style);
            self.canvas.line((0..=48).map(around), width, self.color(style.color()));
        }
        Ok(())
    }

    fn fill_polygon<S: BackendStyle, I: IntoIterator<Item = BackendCoord>>(
        &mut self,
        vert: I,
        style: &S,
    ) -> Drawn {
        let points: Vec<_> = vert.into_iter().map(|p| self.at(p)).collect();
        self.canvas.polygon(points, self.color(style.color()));
        Ok(())
    }

    fn draw_text<T: BackendTextStyle>(
        &mut self,
        text: &str,
        style: &T,
        pos: BackendCoord,
    ) -> Drawn {
        let size = style.size() / self.units;
        let align = match style.anchor().h_pos {
            HPos::Left => Align::Start,
            HPos::Center => Align::Middle,
            HPos::Right => Align::End,
        };
        let (valign, shift) = match style.anchor().v_pos {
            VPos::Top => (VAlign::Top, 0.0),
            VPos::Center => (VAlign::Middle, 0.0),
            // plotters' bottom is below the letters that reach under the line.
            VPos::Bottom => (VAlign::Baseline, -0.22 * size),
        };
        let mut own = TextStyle::new(size, self.color(style.color())).anchor(align, valign);
        own.bold = is_bold(style.style());
        own.upward = matches!(style.transform(), FontTransform::Rotate270);
        let (x, y) = self.at(pos);
        let (x, y) = if own.upward { (x + shift, y) } else { (x, y + shift) };
        self.canvas.text(x, y, text, own);
        Ok(())
    }

    fn estimate_text_size<T: BackendTextStyle>(
        &self,
        text: &str,
        style: &T,
    ) -> Result<(u32, u32), DrawingErrorKind<Infallible>> {
        let width = text::text_width(text, style.size(), is_bold(style.style()));
        Ok((width.ceil() as u32, style.size().ceil() as u32))
    }

    fn blit_bitmap(&mut self, pos: BackendCoord, (w, h): (u32, u32), src: &[u8]) -> Drawn {
        let (x, y) = self.at(pos);
        if let Ok(image) = Image::new(w as usize, h as usize, src.to_vec()) {
            let (w, h) = (f64::from(w) / self.units, f64::from(h) / self.units);
            self.canvas.picture(Arc::new(image), Rect::at(x, y, w, h), 1.0);
        }
        Ok(())
    }
}
