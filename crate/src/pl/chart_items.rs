//! What stands within the axes of a chart, in their units; see `charts`.

use super::canvas::{Align, Canvas, Rect, SpotShape, TextStyle, VAlign};
use super::charts::{Panel, Place};
use super::palette::Color;
use super::text::text_width;
use super::theme::Ink;

/// A colour, or the theme's for something.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) enum Tint {
    Is(Color),
    Text,
    Axis,
    /// What is there but does not matter.
    Pale,
    /// The text's colour with that opacity.
    Faint(f32),
}

impl Tint {
    pub fn color(self, ink: &Ink) -> Color {
        match self {
            Tint::Is(color) => color,
            Tint::Text => ink.text,
            Tint::Axis => ink.axis,
            Tint::Pale => ink.axis.with_alpha(0.55),
            Tint::Faint(alpha) => ink.text.with_alpha(alpha),
        }
    }
}

#[derive(Debug, Clone)]
pub(crate) enum Item {
    /// Points of one colour.
    Points { at: Vec<(f64, f64)>, radius: f64, tint: Tint },
    /// A curve, dashed with dashes of that length; a gap where either coordinate is no number, and
    /// a dot where a point is left alone.
    Curve { at: Vec<(f64, f64)>, width: f64, tint: Tint, dash: Option<f64> },
    /// A filled shape, with a rim.
    Shape { at: Vec<(f64, f64)>, tint: Tint, rim: Option<(f64, Tint)> },
    /// A rectangle from corner to corner, with a rim.
    Box { from: (f64, f64), to: (f64, f64), tint: Tint, rim: Option<(f64, Tint)> },
    /// A dashed line across the panel at an x or a y.
    Across { x: Option<f64>, y: Option<f64>, tint: Tint },
    /// Names that stand upright on their points, smaller where these are close.
    Upright { at: Vec<(f64, f64, String)>, size: f64 },
    /// Names of points, in the order of their importance, placed where as little as possible of
    /// the other points is in the way.
    Names { at: Vec<(f64, f64, String)>, others: Vec<(f64, f64)>, size: f64 },
    /// A bracket in the panel's head between two x, on the given level from below.
    Bracket { from: f64, to: f64, level: usize, text: String },
}

/// Height of one level of brackets.
pub(crate) const LEVEL: f64 = 17.0;

impl Item {
    pub fn draw(&self, canvas: &mut Canvas, panel: &Panel, place: Place) {
        let ink = canvas.ink;
        let (plot, data) = (place.plot, place.data);
        let x = |v: f64| plot.x0 + panel.x.position(v) * plot.width();
        let y = |v: f64| data.y1 - panel.y.position(v) * data.height();
        let to = |&(a, b): &(f64, f64)| (x(a), y(b));
        let around =
            Rect { x0: plot.x0 - 4.0, y0: plot.y0 - 4.0, x1: plot.x1 + 4.0, y1: plot.y1 + 4.0 };
        match self {
            Item::Points { at, radius, tint } => {
                let finite = at.iter().map(to).filter(|p| p.0.is_finite() && p.1.is_finite());
                let centers: Vec<[f32; 2]> = finite.map(|p| [p.0 as f32, p.1 as f32]).collect();
                let colors = vec![tint.color(&ink); centers.len()];
                canvas.clipped(around, |c| {
                    c.spots(SpotShape::Circle, centers, *radius, colors);
                });
            }
            Item::Curve { at, width, tint, dash } => {
                let color = tint.color(&ink);
                canvas.clipped(around, |c| {
                    let whole = |p: &(f64, f64)| x(p.0).is_finite() && y(p.1).is_finite();
                    for run in at.split(|p| !whole(p)) {
                        let points = run.iter().map(to);
                        match dash {
                            _ if run.len() < 2 => {
                                points.for_each(|(a, b)| c.disc(a, b, 1.6 * width, color));
                            }
                            Some(dash) => c.dashed(points, *width, color, *dash),
                            None => c.line(points, *width, color),
                        }
                    }
                });
            }
            Item::Shape { at, tint, rim } => {
                let points: Vec<(f64, f64)> = at.iter().map(to).collect();
                if points.iter().all(|p| p.0.is_finite() && p.1.is_finite()) {
                    canvas.clipped(around, |c| {
                        c.polygon(points.iter().copied(), tint.color(&ink));
                        if let (Some((width, tint)), Some(&first)) = (rim, points.first()) {
                            let closed = points.iter().copied().chain([first]);
                            c.line(closed, *width, tint.color(&ink));
                        }
                    });
                }
            }
            Item::Box { from, to: end, tint, rim } => {
                let ((ax, ay), (bx, by)) = (to(from), to(end));
                let area = Rect { x0: ax.min(bx), x1: ax.max(bx), y0: ay.min(by), y1: ay.max(by) };
                if [ax, ay, bx, by].iter().all(|v| v.is_finite()) {
                    canvas.clipped(around, |c| {
                        c.fill(area, tint.color(&ink));
                        if let Some((width, tint)) = rim {
                            c.outline(area, *width, tint.color(&ink));
                        }
                    });
                }
            }
            Item::Across { x: at_x, y: at_y, tint } => {
                let color = tint.color(&ink);
                canvas.clipped(around, |c| {
                    if let Some(v) = at_x {
                        c.dashed([(x(*v), plot.y0), (x(*v), plot.y1)], 1.0, color, 4.0);
                    }
                    if let Some(v) = at_y {
                        c.dashed([(plot.x0, y(*v)), (plot.x1, y(*v))], 1.0, color, 4.0);
                    }
                });
            }
            Item::Upright { at, size } => {
                let apart = at.windows(2).map(|w| (x(w[1].0) - x(w[0].0)).abs());
                let size = apart.fold(*size, f64::min).max(4.0);
                let style =
                    TextStyle::new(size, ink.text).anchor(Align::Start, VAlign::Middle).upward();
                for (a, b, name) in at {
                    canvas.text(x(*a), y(*b) - 5.0, name, style);
                }
            }
            Item::Names { at, others, size } => {
                let others: Vec<(f64, f64)> = others.iter().map(to).collect();
                let points: Vec<(f64, f64, &str)> =
                    at.iter().map(|(a, b, n)| (x(*a), y(*b), n.as_str())).collect();
                let style = TextStyle::new(*size, ink.text);
                for (k, area) in apart(&points, &others, *size, plot).into_iter().enumerate() {
                    let Some(area) = area else { continue };
                    let (px, py, name) = points[k];
                    let nearest = (px.clamp(area.x0, area.x1), py.clamp(area.y0, area.y1));
                    if (nearest.0 - px).hypot(nearest.1 - py) > 9.0 {
                        canvas.line([(px, py), nearest], 0.8, ink.axis);
                    }
                    let style = style.anchor(Align::Middle, VAlign::Middle);
                    canvas.text(area.center_x(), area.center_y(), name, style);
                }
            }
            Item::Bracket { from, to: end, level, text } => {
                let (a, b) = (x(*from), x(*end));
                let height = data.y0 - plot.y0;
                let levels = ((height - 4.0) / LEVEL).max(1.0);
                let step = (height / (levels + 0.25)).min(LEVEL);
                let top = data.y0 - (*level as f64) * step - 4.0;
                let color = ink.text.with_alpha(0.85);
                let points = [(a, top + 3.5), (a, top), (b, top), (b, top + 3.5)];
                for pair in points.windows(2) {
                    canvas.line([pair[0], pair[1]], 1.0, color);
                }
                let size = (step - 6.0).min(10.5);
                let style = TextStyle::new(size, ink.text).anchor(Align::Middle, VAlign::Baseline);
                // Stars hang at the height of capitals; moved down they sit on the bracket.
                let lower = if text.starts_with('*') { 0.3 * size } else { 0.0 };
                canvas.text((a + b) / 2.0, top - 2.0 + lower, text, style);
            }
        }
    }
}

/// Places for names of points so that no two touch, none covers a named point and as few as
/// possible of the others are covered: beside the point, or a little away; `None` for what finds no
/// place within reach. Names earlier in the list choose first.
pub(super) fn apart(
    points: &[(f64, f64, &str)],
    others: &[(f64, f64)],
    size: f64,
    plot: Rect,
) -> Vec<Option<Rect>> {
    const DOT: f64 = 3.0;
    let mut taken: Vec<Rect> = Vec::new();
    let touch = |a: &Rect, b: &Rect| a.x0 < b.x1 && b.x0 < a.x1 && a.y0 < b.y1 && b.y0 < a.y1;
    let dots: Vec<Rect> = points
        .iter()
        .map(|p| Rect { x0: p.0 - DOT, x1: p.0 + DOT, y0: p.1 - DOT, y1: p.1 + DOT })
        .collect();
    let crowd = Crowd::of(others, plot);
    let mut places = Vec::with_capacity(points.len());
    for &(x, y, name) in points {
        let (w, h) = (text_width(name, size, false) + 3.0, 1.05 * size);
        if !(x.is_finite() && y.is_finite()) {
            places.push(None);
            continue;
        }
        let inside =
            |r: &Rect| r.x0 >= plot.x0 && r.x1 <= plot.x1 && r.y0 >= plot.y0 && r.y1 <= plot.y1;
        let mut best: Option<(f64, Rect)> = None;
        for ring in 0..16 {
            let far = 5.0 + 7.0 * f64::from(ring);
            // Further away is never better by itself.
            if best.is_some_and(|b| b.0 <= far) {
                break;
            }
            let directions = if ring == 0 { 8 } else { 20 };
            for k in 0..directions {
                let angle = std::f64::consts::TAU * f64::from(k) / f64::from(directions);
                let (c, s) = (angle.cos(), angle.sin());
                // The box's nearest point lies at that distance in that direction.
                let (cx, cy) = (x + c * (far + w / 2.0), y - s * (far + h / 2.0));
                let r =
                    Rect { x0: cx - w / 2.0, x1: cx + w / 2.0, y0: cy - h / 2.0, y1: cy + h / 2.0 };
                let blocked = |all: &[Rect]| all.iter().any(|t| touch(t, &r));
                if !inside(&r) || blocked(&taken) || blocked(&dots) {
                    continue;
                }
                let cost = far + 4.0 * crowd.within(&r);
                if best.is_none_or(|b| cost < b.0) {
                    best = Some((cost, r));
                }
            }
        }
        let place = best.map(|b| b.1);
        taken.extend(place);
        places.push(place);
    }
    places
}

/// Which parts of a plot hold points: squares of four pixels.
struct Crowd {
    origin: (f64, f64),
    columns: usize,
    rows: usize,
    full: Vec<bool>,
}

impl Crowd {
    const SIDE: f64 = 4.0;

    fn of(points: &[(f64, f64)], plot: Rect) -> Crowd {
        let columns = (plot.width() / Self::SIDE) as usize + 2;
        let rows = (plot.height() / Self::SIDE) as usize + 2;
        let mut full = vec![false; columns * rows];
        for p in points {
            let (c, r) = ((p.0 - plot.x0) / Self::SIDE, (p.1 - plot.y0) / Self::SIDE);
            if c >= 0.0 && r >= 0.0 && (c as usize) < columns && (r as usize) < rows {
                full[r as usize * columns + c as usize] = true;
            }
        }
        Crowd { origin: (plot.x0, plot.y0), columns, rows, full }
    }

    /// How many squares below `r` hold points.
    fn within(&self, r: &Rect) -> f64 {
        let at = |v: f64, origin: f64, n: usize| {
            (((v - origin) / Self::SIDE).max(0.0) as usize).min(n - 1)
        };
        let (x0, x1) =
            (at(r.x0, self.origin.0, self.columns), at(r.x1, self.origin.0, self.columns));
        let (y0, y1) = (at(r.y0, self.origin.1, self.rows), at(r.y1, self.origin.1, self.rows));
        let row = |y: usize| {
            self.full[y * self.columns + x0..=y * self.columns + x1].iter().filter(|f| **f).count()
        };
        (y0..=y1).map(row).sum::<usize>() as f64
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_of_crowded_points_do_not_touch() {
        let names: Vec<String> = (0..30).map(|i| format!("GENE{i}")).collect();
        let points: Vec<(f64, f64, &str)> = names
            .iter()
            .enumerate()
            .map(|(i, n)| (200.0 + 3.0 * (i % 6) as f64, 150.0 + 2.0 * (i / 6) as f64, n.as_str()))
            .collect();
        let plot = Rect::at(0.0, 0.0, 420.0, 320.0);
        let places: Vec<Rect> = apart(&points, &[], 10.0, plot).into_iter().flatten().collect();
        assert!(places.len() > 15, "{} of 30 found a place", places.len());
        for (i, a) in places.iter().enumerate() {
            assert!(a.x0 >= 0.0 && a.x1 <= 420.0 && a.y0 >= 0.0 && a.y1 <= 320.0);
            for b in &places[..i] {
                let apart = a.x1 <= b.x0 || b.x1 <= a.x0 || a.y1 <= b.y0 || b.y1 <= a.y0;
                assert!(apart, "{a:?} {b:?}");
            }
        }
        assert_eq!(apart(&[(f64::NAN, 1.0, "a")], &[], 10.0, plot), [None]);
    }

    #[test]
    fn names_avoid_points_that_have_none() {
        let plot = Rect::at(0.0, 0.0, 400.0, 300.0);
        let place = |others: &[(f64, f64)]| {
            apart(&[(200.0, 150.0, "GENE")], others, 10.0, plot)[0].unwrap()
        };
        assert!(place(&[]).x0 > 200.0, "to the right where it is free");
        let right: Vec<(f64, f64)> = (0..800)
            .map(|i| (203.0 + (i % 40) as f64 * 2.0, 110.0 + (i / 40) as f64 * 4.0))
            .collect();
        let found = place(&right);
        assert!(found.x1 < 203.0, "{found:?}");
    }
}
