//! Marks to pixels: an antialiasing rasteriser on premultiplied 8-bit RGBA.

use super::canvas::{Canvas, Mark, Rect, Shape, SpotShape};
use super::palette::Color;
use super::text;
use crate::image::{Filter, Image};
use ab_glyph_rasterizer::{Point, Rasterizer, point};
use rayon::prelude::*;

/// Pixels with premultiplied alpha.
pub(crate) struct Pixels {
    pub width: usize,
    pub height: usize,
    data: Vec<[u8; 4]>,
}

/// A range of whole pixels.
#[derive(Clone, Copy)]
struct Window {
    x0: i32,
    y0: i32,
    x1: i32,
    y1: i32,
}

impl Pixels {
    /// Draws a canvas with `ratio` pixels for each CSS pixel.
    pub fn render(canvas: &Canvas, ratio: f64) -> Self {
        let side = |v: f64| (v * ratio).round().max(1.0) as usize;
        let mut pixels = Pixels::new(side(canvas.width), side(canvas.height));
        if let Some(color) = canvas.ink.background {
            pixels.data.fill(premultiply(color, 1.0));
        }
        for mark in &canvas.marks {
            pixels.draw(mark, ratio);
        }
        pixels
    }

    pub fn new(width: usize, height: usize) -> Self {
        Pixels { width, height, data: vec![[0; 4]; width * height] }
    }

    /// The pixels with straight alpha, and their number of channels: 3 where all are opaque.
    pub fn into_bytes(self) -> (Vec<u8>, usize) {
        if self.data.iter().all(|p| p[3] == 255) {
            return (self.data.iter().flat_map(|p| [p[0], p[1], p[2]]).collect(), 3);
        }
        let straight = |p: &[u8; 4]| match u32::from(p[3]) {
            0 => [0; 4],
            a => {
                let c = |v: u8| ((u32::from(v) * 255 + a / 2) / a).min(255) as u8;
                [c(p[0]), c(p[1]), c(p[2]), p[3]]
            }
        };
        (self.data.iter().flat_map(straight).collect(), 4)
    }

    /// Draws one mark, scaled by `ratio`.
    pub fn draw(&mut self, mark: &Mark, ratio: f64) {
        let window = self.window(mark.clip, ratio);
        let scale = |p: &[f32; 2]| [p[0] * ratio as f32, p[1] * ratio as f32];
        match &mark.shape {
            Shape::Fill(area, color) => self.fill(&scaled(*area, ratio), *color, window),
            Shape::Polygon { points, color } => {
                let points: Vec<_> = points.iter().map(scale).collect();
                self.paths(&[points], *color, window);
            }
            Shape::Line { points, width, color, dash } => {
                let points: Vec<_> = points.iter().map(scale).collect();
                let width = width * ratio as f32;
                match dash {
                    Some(dash) => {
                        for piece in dashes(&points, dash * ratio as f32) {
                            self.stroke(&piece, width, *color, window);
                        }
                    }
                    None => self.stroke(&points, width, *color, window),
                }
            }
            Shape::Segments { ends, width, color } => {
                let radius = (width * ratio as f32 / 2.0).max(0.05);
                let r = ratio as f32;
                self.segments(ends, r, radius, *color, window);
            }
            Shape::Spots { shape, centers, radius, colors } => {
                let radius = (radius * ratio as f32).max(0.5);
                for (center, &color) in centers.iter().zip(colors) {
                    match shape {
                        SpotShape::Circle => self.disc(scale(center), radius, color, window),
                        SpotShape::Square => {
                            let [x, y] = scale(center).map(f64::from);
                            let (x, y, r) = (x, y, f64::from(radius));
                            let area = Rect { x0: x - r, y0: y - r, x1: x + r, y1: y + r };
                            self.fill(&area, color, window);
                        }
                        SpotShape::Hexagon => {
                            let corners = hexagon(scale(center), radius);
                            self.paths(&[corners.into()], color, window);
                        }
                    }
                }
            }
            Shape::Picture { image, area, alpha } => {
                self.picture(image, &scaled(*area, ratio), *alpha, window);
            }
            Shape::Text { x, y, text, style } => {
                let mut style = *style;
                style.size *= ratio;
                text::coverage(text, x * ratio, y * ratio, &style, |x, y, c| {
                    if (window.x0..window.x1).contains(&x) && (window.y0..window.y1).contains(&y) {
                        self.blend(x, y, style.color, c);
                    }
                });
            }
        }
    }

    fn window(&self, clip: Option<Rect>, ratio: f64) -> Window {
        let (w, h) = (self.width as i32, self.height as i32);
        let Some(clip) = clip else { return Window { x0: 0, y0: 0, x1: w, y1: h } };
        let snap = |v: f64, max: i32| ((v * ratio).round() as i32).clamp(0, max);
        Window {
            x0: snap(clip.x0, w),
            y0: snap(clip.y0, h),
            x1: snap(clip.x1, w),
            y1: snap(clip.y1, h),
        }
    }

    /// Lays `color` over the pixel with a part of it covered.
    #[inline]
    fn blend(&mut self, x: i32, y: i32, color: Color, coverage: f32) {
        lay(&mut self.data[y as usize * self.width + x as usize], color, coverage);
    }

    /// Many thin lines. Threads share the picture by bands of rows, in each of which the lines are
    /// drawn in their order, so that the picture does not depend on their number.
    fn segments(
        &mut self,
        ends: &[[f32; 4]],
        ratio: f32,
        radius: f32,
        color: Color,
        window: Window,
    ) {
        const ROWS: usize = 64;
        let width = self.width;
        let draw = |(k, rows): (usize, &mut [[u8; 4]])| {
            let top = (k * ROWS) as i32;
            let bottom = top + (rows.len() / width) as i32;
            let window = Window { y0: window.y0.max(top), y1: window.y1.min(bottom), ..window };
            let mut band = Band { rows, width, top, window };
            for e in ends {
                let [x0, y0, x1, y1] = e.map(|v| v * ratio);
                band.segment([x0, y0], [x1, y1], radius, color);
            }
        };
        self.data.par_chunks_mut(ROWS * width).enumerate().for_each(draw);
    }

    fn disc(&mut self, [x, y]: [f32; 2], radius: f32, color: Color, window: Window) {
        let reach = radius + 0.5;
        let (top, bottom) = ((y - reach).floor() as i32, (y + reach).ceil() as i32);
        let (left, right) = ((x - reach).floor() as i32, (x + reach).ceil() as i32);
        for py in top.max(window.y0)..bottom.min(window.y1) {
            let dy = py as f32 + 0.5 - y;
            for px in left.max(window.x0)..right.min(window.x1) {
                let dx = px as f32 + 0.5 - x;
                let square = dx * dx + dy * dy;
                if square < reach * reach {
                    let inside = reach - square.sqrt();
                    self.blend(px, py, color, inside.min(1.0));
                }
            }
        }
    }

    fn fill(&mut self, area: &Rect, color: Color, window: Window) {
        let overlap = |low: f64, high: f64, at: i32| {
            (high.min(f64::from(at) + 1.0) - low.max(f64::from(at))).max(0.0)
        };
        for y in (area.y0.floor() as i32).max(window.y0)..(area.y1.ceil() as i32).min(window.y1) {
            let down = overlap(area.y0, area.y1, y);
            for x in (area.x0.floor() as i32).max(window.x0)..(area.x1.ceil() as i32).min(window.x1)
            {
                self.blend(x, y, color, (down * overlap(area.x0, area.x1, x)) as f32);
            }
        }
    }

    fn picture(&mut self, image: &Image, area: &Rect, alpha: f32, window: Window) {
        // Whole pixels of the target, and the part of the image that falls on them.
        let x0 = (area.x0.round() as i32).max(window.x0);
        let y0 = (area.y0.round() as i32).max(window.y0);
        let x1 = (area.x1.round() as i32).min(window.x1);
        let y1 = (area.y1.round() as i32).min(window.y1);
        if x0 >= x1 || y0 >= y1 || image.pixels.is_empty() {
            return;
        }
        let (w, h) = (image.width as f64, image.height as f64);
        let across = |x: i32| ((f64::from(x) - area.x0) / area.width() * w).clamp(0.0, w);
        let down = |y: i32| ((f64::from(y) - area.y0) / area.height() * h).clamp(0.0, h);
        let part = (across(x0), down(y0), across(x1), down(y1));
        let (width, height) = ((x1 - x0) as usize, (y1 - y0) as usize);
        let larger = part.2 - part.0 < width as f64;
        let filter = if larger { Filter::Bicubic } else { Filter::Bilinear };
        let resized = image.resize_box(part, width, height, filter);
        for (k, p) in resized.pixels.chunks_exact(3).enumerate() {
            let (x, y) = (x0 + (k % width) as i32, y0 + (k / width) as i32);
            self.blend(x, y, Color::rgb(p[0], p[1], p[2]).with_alpha(alpha), 1.0);
        }
    }

    /// Draws a line as the union of its segments and round joints.
    fn stroke(&mut self, points: &[[f32; 2]], width: f32, color: Color, window: Window) {
        if let [a, b] = points
            && (a[0] == b[0] || a[1] == b[1])
        {
            return self.straight(*a, *b, width, color, window);
        }
        let r = (width / 2.0).max(0.35);
        let reach = width + 2.0;
        let near = |p: &[f32; 2], q: &[f32; 2]| {
            p[0].max(q[0]) > window.x0 as f32 - reach
                && p[0].min(q[0]) < window.x1 as f32 + reach
                && p[1].max(q[1]) > window.y0 as f32 - reach
                && p[1].min(q[1]) < window.y1 as f32 + reach
        };
        let mut shapes: Vec<Vec<[f32; 2]>> = Vec::new();
        for pair in points.windows(2) {
            let (a, b) = (pair[0], pair[1]);
            let (dx, dy) = (b[0] - a[0], b[1] - a[1]);
            let length = dx.hypot(dy);
            if length <= 0.0 || !length.is_finite() || !near(&a, &b) {
                continue;
            }
            let (nx, ny) = (-dy / length * r, dx / length * r);
            shapes.push(vec![
                [a[0] + nx, a[1] + ny],
                [a[0] - nx, a[1] - ny],
                [b[0] - nx, b[1] - ny],
                [b[0] + nx, b[1] + ny],
            ]);
        }
        const CORNERS: usize = 12;
        for p in points.iter().filter(|p| near(p, p)) {
            // The same direction of turn as the segments, so that overlaps add up.
            let corner = |k: usize| {
                let angle = k as f32 * std::f32::consts::TAU / CORNERS as f32;
                [p[0] + r * angle.cos(), p[1] + r * angle.sin()]
            };
            shapes.push((0..CORNERS).map(corner).collect());
        }
        self.paths(&shapes, color, window);
    }

    /// A horizontal or vertical line, moved onto whole pixels so that it is sharp.
    fn straight(&mut self, a: [f32; 2], b: [f32; 2], width: f32, color: Color, window: Window) {
        let thick = f64::from(width.round().max(1.0));
        let snap = |v: f32| (f64::from(v) - thick / 2.0).round();
        let (low, high) =
            (|i: usize| f64::from(a[i].min(b[i])), |i: usize| f64::from(a[i].max(b[i])));
        let area = if a[1] == b[1] {
            let y = snap(a[1]);
            Rect { x0: low(0) - thick / 2.0, x1: high(0) + thick / 2.0, y0: y, y1: y + thick }
        } else {
            let x = snap(a[0]);
            Rect { x0: x, x1: x + thick, y0: low(1) - thick / 2.0, y1: high(1) + thick / 2.0 }
        };
        let whole = |v: f64| v.round();
        let area =
            Rect { x0: whole(area.x0), x1: whole(area.x1), y0: whole(area.y0), y1: whole(area.y1) };
        self.fill(&area, color, window);
    }

    /// Fills the union of polygons that all turn the same way.
    fn paths(&mut self, polygons: &[Vec<[f32; 2]>], color: Color, window: Window) {
        let all = || polygons.iter().flatten();
        let low = |i: usize| all().map(|p| p[i]).fold(f32::INFINITY, f32::min);
        let high = |i: usize| all().map(|p| p[i]).fold(f32::NEG_INFINITY, f32::max);
        if all().next().is_none() || all().any(|p| !(p[0].is_finite() && p[1].is_finite())) {
            return;
        }
        // The rasteriser sums areas from the left, so all of a shape's left must be in it.
        let (x0, y0) = (low(0).floor().max(-8192.0), low(1).floor().max(-8192.0));
        let (x1, y1) = (high(0).ceil().min(16384.0), high(1).ceil().min(16384.0));
        if x1 <= x0 || y1 <= y0 {
            return;
        }
        let (width, height) = ((x1 - x0) as usize + 1, (y1 - y0) as usize + 1);
        let mut rasterizer = Rasterizer::new(width, height);
        let at = |p: &[f32; 2]| -> Point {
            point((p[0] - x0).clamp(0.0, width as f32 - 1.0), (p[1] - y0).clamp(0.0, height as f32))
        };
        for polygon in polygons {
            for (k, p) in polygon.iter().enumerate() {
                rasterizer.draw_line(at(p), at(&polygon[(k + 1) % polygon.len()]));
            }
        }
        rasterizer.for_each_pixel_2d(|x, y, coverage| {
            let (x, y) = (x as i32 + x0 as i32, y as i32 + y0 as i32);
            let inside = (window.x0..window.x1).contains(&x) && (window.y0..window.y1).contains(&y);
            if inside && coverage > 0.0 {
                self.blend(x, y, color, coverage);
            }
        });
    }
}

/// Some rows of a picture.
struct Band<'a> {
    rows: &'a mut [[u8; 4]],
    width: usize,
    /// Which row of the picture the first is.
    top: i32,
    window: Window,
}

impl Band<'_> {
    /// A thin straight line with round ends: each pixel by its distance from the line.
    fn segment(&mut self, a: [f32; 2], b: [f32; 2], radius: f32, color: Color) {
        let (dx, dy) = (b[0] - a[0], b[1] - a[1]);
        let square = dx * dx + dy * dy;
        if !square.is_finite() {
            return;
        }
        // Thinner than a pixel: a pixel wide and the paler.
        let (radius, strength) = (radius.max(0.5), (2.0 * radius).min(1.0));
        let reach = radius + 0.5;
        let low = |i: usize| a[i].min(b[i]) - reach;
        let high = |i: usize| a[i].max(b[i]) + reach;
        let length = square.sqrt();
        let rows = (low(1).floor() as i32).max(self.window.y0)
            ..(high(1).ceil() as i32).min(self.window.y1);
        for y in rows {
            let py = y as f32 + 0.5;
            // The part of the row that the strip around the line crosses.
            let (mut left, mut right) = (low(0), high(0));
            if dy.abs() > 1e-3 * length {
                let center = a[0] + (py - a[1]) / dy * dx;
                let half = reach * length / dy.abs();
                (left, right) = (left.max(center - half), right.min(center + half));
            }
            let columns = (left.floor() as i32).max(self.window.x0)
                ..(right.ceil() as i32).min(self.window.x1);
            for x in columns {
                let (ux, uy) = (x as f32 + 0.5 - a[0], py - a[1]);
                let t =
                    if square > 0.0 { ((ux * dx + uy * dy) / square).clamp(0.0, 1.0) } else { 0.0 };
                let (vx, vy) = (ux - t * dx, uy - t * dy);
                let distance = (vx * vx + vy * vy).sqrt();
                if distance < reach {
                    let at = (y - self.top) as usize * self.width + x as usize;
                    lay(&mut self.rows[at], color, strength * (reach - distance).min(1.0));
                }
            }
        }
    }
}

/// Lays `color` over a pixel with a part of it covered.
#[inline]
fn lay(pixel: &mut [u8; 4], color: Color, coverage: f32) {
    if coverage >= 1.0 && color.alpha >= 1.0 {
        *pixel = [color.r, color.g, color.b, 255];
        return;
    }
    let source = premultiply(color, coverage.min(1.0));
    let rest = 255 - u32::from(source[3]);
    for (p, s) in pixel.iter_mut().zip(source) {
        *p = (u32::from(s) + (u32::from(*p) * rest + 127) / 255).min(255) as u8;
    }
}

/// The corners of a hexagon that stands on one of them; `radius` is half its width.
pub(crate) fn hexagon([x, y]: [f32; 2], radius: f32) -> [[f32; 2]; 6] {
    let corner = radius / 0.75f32.sqrt();
    [0, 1, 2, 3, 4, 5].map(|k| {
        let angle = (k as f32 + 0.5) * std::f32::consts::TAU / 6.0;
        [x + corner * angle.cos(), y + corner * angle.sin()]
    })
}

fn scaled(r: Rect, by: f64) -> Rect {
    Rect { x0: r.x0 * by, y0: r.y0 * by, x1: r.x1 * by, y1: r.y1 * by }
}

fn premultiply(color: Color, coverage: f32) -> [u8; 4] {
    let a = (color.alpha * coverage).clamp(0.0, 1.0);
    let c = |v: u8| (f32::from(v) * a + 0.5) as u8;
    [c(color.r), c(color.g), c(color.b), (a * 255.0 + 0.5) as u8]
}

/// The drawn pieces of a line dashed with strokes and gaps of `length`.
fn dashes(points: &[[f32; 2]], length: f32) -> Vec<Vec<[f32; 2]>> {
    let mut pieces = Vec::new();
    let mut piece: Vec<[f32; 2]> = points.first().copied().into_iter().collect();
    let (mut on, mut left) = (true, length.max(0.5));
    for pair in points.windows(2) {
        let (mut a, b) = (pair[0], pair[1]);
        loop {
            let distance = (b[0] - a[0]).hypot(b[1] - a[1]);
            if distance <= left || !distance.is_finite() {
                left -= distance.min(left);
                if on {
                    piece.push(b);
                }
                break;
            }
            let t = left / distance;
            a = [a[0] + (b[0] - a[0]) * t, a[1] + (b[1] - a[1]) * t];
            if on {
                piece.push(a);
                pieces.push(std::mem::take(&mut piece));
            } else {
                piece = vec![a];
            }
            (on, left) = (!on, length.max(0.5));
        }
    }
    if on && piece.len() > 1 {
        pieces.push(piece);
    }
    pieces
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::pl::theme::Theme;

    fn covered(canvas: &Canvas) -> f64 {
        let pixels = Pixels::render(canvas, 2.0);
        pixels.data.iter().map(|p| f64::from(p[3]) / 255.0).sum::<f64>() / 4.0
    }

    #[test]
    fn shapes_cover_their_area() {
        let black = Color::rgb(0, 0, 0);
        let mut disc = Canvas::new(60.0, 60.0, Theme::Auto);
        disc.disc(30.3, 29.6, 20.0, black);
        assert!((covered(&disc) / (std::f64::consts::PI * 400.0) - 1.0).abs() < 0.005);

        let mut line = Canvas::new(60.0, 60.0, Theme::Auto);
        line.line([(10.0, 10.0), (40.0, 50.0)], 4.0, black);
        let expected = 50.0 * 4.0 + std::f64::consts::PI * 4.0;
        assert!((covered(&line) / expected - 1.0).abs() < 0.02, "{}", covered(&line));

        let mut thin = Canvas::new(60.0, 60.0, Theme::Auto);
        thin.segments(vec![[10.0, 10.0, 40.0, 50.0]], 2.0, black);
        let expected = 50.0 * 2.0 + std::f64::consts::PI;
        assert!((covered(&thin) / expected - 1.0).abs() < 0.02, "{}", covered(&thin));

        let mut hexagon = Canvas::new(60.0, 60.0, Theme::Auto);
        hexagon.spots(SpotShape::Hexagon, vec![[30.0, 30.0]], 15.0, vec![black]);
        let expected = 0.75f64.sqrt() * 30.0 * 30.0;
        assert!((covered(&hexagon) / expected - 1.0).abs() < 0.01, "{}", covered(&hexagon));

        let mut fill = Canvas::new(60.0, 60.0, Theme::Auto);
        fill.fill(Rect::at(10.25, 10.25, 20.5, 30.0), black);
        assert!((covered(&fill) - 20.5 * 30.0).abs() < 2.0);
    }

    #[test]
    fn lines_are_the_same_with_any_number_of_threads() {
        let mut canvas = Canvas::new(300.0, 300.0, Theme::Auto);
        let end = |i: u32, k: u32| ((i * k) % 301) as f32;
        let ends = (0..500).map(|i| [end(i, 7), end(i, 53), end(i, 111), end(i, 29)]).collect();
        canvas.segments(ends, 0.4, Color::rgb(0, 90, 200).with_alpha(0.3));
        crate::parallel::same_with_any_threads(|| Pixels::render(&canvas, 1.5).data);
    }

    #[test]
    fn a_clip_leaves_off_what_is_outside() {
        let mut canvas = Canvas::new(40.0, 40.0, Theme::Auto);
        canvas.clipped(Rect::at(0.0, 0.0, 20.0, 40.0), |c| {
            c.disc(20.0, 20.0, 10.0, Color::rgb(255, 0, 0));
        });
        assert!((covered(&canvas) - std::f64::consts::PI * 50.0).abs() < 2.0);
    }

    #[test]
    fn lines_far_outside_do_no_harm() {
        let mut canvas = Canvas::new(20.0, 20.0, Theme::Light);
        let points = [(-1e7, 5.0), (1e7, 9.0), (f64::NAN, 3.0), (4.0, f64::INFINITY)];
        canvas.line(points, 2.0, Color::rgb(0, 0, 0));
        Pixels::render(&canvas, 2.0);
    }
}
