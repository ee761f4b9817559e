//! Whether spots lie on the tissue of a picture, and whether another scale puts them there.
//!
//! ```text
//! picture ─ thumbnail ─ tissue_mask ─┐
//! positions · scale, radius ─────────┴─ coverage of each spot ─ OnTissue ─ verdict
//! scale, other scales ─ OnTissue and overlap of the extents of each ─ ScaleCheck
//! ```
//!
//! A wrong scale factor raises no error by itself: patches are cut somewhere else. These checks
//! say so before anything is computed.

use super::{Image, Mask, tissue_mask};
use crate::error::{Error, Result};
use ndarray::ArrayView2;
use std::fmt;

/// The mask is made on a picture of at most this side.
const SIDE: usize = 1000;
/// A spot is on tissue when this part of it is: fat and edges count, a stray speck does not.
const COVERED: f32 = 0.25;

/// How spots lie on the tissue of a picture.
#[derive(Debug, Clone, PartialEq)]
pub struct OnTissue {
    /// Of each spot the part that is tissue, in 0..1; 0 outside the picture.
    pub coverage: Vec<f32>,
    /// Of each spot whether its centre is in the picture.
    pub inside: Vec<bool>,
    /// The part of the spots whose centres are in the picture, in 0..1.
    pub fraction_inside: f64,
    /// The part of all spots of which at least a quarter is tissue, in 0..1.
    pub fraction_on_tissue: f64,
    /// The spot that lies worst: farthest outside the picture or, where all are inside, with the
    /// least tissue; `None` where all are on tissue.
    pub worst: Option<usize>,
    /// What to think of it.
    pub verdict: Verdict,
}

/// What to think of how spots lie.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Verdict {
    /// All spots are in the picture and at least nine of ten are on tissue.
    Good,
    /// At least 99 of 100 spots are in the picture and seven of ten on tissue: the tissue may be
    /// pale, or the spots are all those of the array.
    Doubtful,
    /// Fewer: the positions are hardly those of this picture.
    Wrong,
}

impl OnTissue {
    /// Whether spot `i` is on tissue.
    pub fn on_tissue(&self, i: usize) -> bool {
        self.coverage.get(i).is_some_and(|&c| c >= COVERED)
    }
}

impl fmt::Display for OnTissue {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "{} of {} spots on tissue, {} in the image",
            percent(self.fraction_on_tissue),
            self.coverage.len(),
            percent(self.fraction_inside)
        )
    }
}

fn percent(part: f64) -> String {
    // Rounded down, so that 100 % means all.
    format!("{} %", (1000.0 * part).floor() / 10.0)
}

/// The tissue of a picture, small, and its size in pixels of the picture.
struct Ground {
    mask: Mask,
    width: f64,
    height: f64,
}

impl Ground {
    fn of(image: &Image) -> Result<Self> {
        let mask = tissue_mask(&image.thumbnail(SIDE))?;
        Ok(Ground { mask, width: image.width as f64, height: image.height as f64 })
    }

    /// How spots at `positions` · `scale` lie; with x and y exchanged if `swapped`.
    fn place(
        &self,
        positions: ArrayView2<f64>,
        scale: f64,
        swapped: bool,
        radius: f64,
    ) -> OnTissue {
        let n = positions.nrows();
        let (mut coverage, mut inside) = (Vec::with_capacity(n), Vec::with_capacity(n));
        let mut worst: Option<(f64, f32, usize)> = None;
        for (i, p) in positions.rows().into_iter().enumerate() {
            let (x, y) =
                if swapped { (p[1] * scale, p[0] * scale) } else { (p[0] * scale, p[1] * scale) };
            let is_inside = (0.0..self.width).contains(&x) && (0.0..self.height).contains(&y);
            let covered = if is_inside { self.coverage(x, y, radius) } else { 0.0 };
            let beyond = |v: f64, side: f64| (-v).max(v - side).max(0.0);
            let outside = beyond(x, self.width).hypot(beyond(y, self.height));
            let worse = worst.is_none_or(|(o, c, _)| outside > o || outside == o && covered < c);
            if covered < COVERED && worse {
                worst = Some((outside, covered, i));
            }
            coverage.push(covered);
            inside.push(is_inside);
        }
        let part = |count: usize| count as f64 / n.max(1) as f64;
        let fraction_inside = part(inside.iter().filter(|i| **i).count());
        let fraction_on_tissue = part(coverage.iter().filter(|c| **c >= COVERED).count());
        let verdict = match (fraction_inside, fraction_on_tissue) {
            (1.0, on) if on >= 0.9 => Verdict::Good,
            (inside, on) if inside >= 0.99 && on >= 0.7 => Verdict::Doubtful,
            _ => Verdict::Wrong,
        };
        let worst = worst.map(|w| w.2);
        OnTissue { coverage, inside, fraction_inside, fraction_on_tissue, worst, verdict }
    }

    /// The part of the pixels of the mask about (x, y) that is tissue.
    fn coverage(&self, x: f64, y: f64, radius: f64) -> f32 {
        let (mask, scale) = (&self.mask, self.mask.width as f64 / self.width);
        let (x, y, r) = (x * scale, y * scale, radius * scale);
        let range = |c: f64, side: usize| {
            let (low, high) = ((c - r).floor().max(0.0), (c + r).ceil().min(side as f64));
            low as usize..high as usize
        };
        let (mut all, mut tissue) = (0u32, 0u32);
        for row in range(y, mask.height) {
            for column in range(x, mask.width) {
                let d = (column as f64 + 0.5 - x).hypot(row as f64 + 0.5 - y);
                if d <= r {
                    all += 1;
                    tissue += u32::from(mask.get(column, row));
                }
            }
        }
        if all == 0 {
            // Smaller than a pixel: the one that it is in.
            return f32::from(mask.get(x as usize, y as usize));
        }
        tissue as f32 / all as f32
    }

    /// The smallest box about all tissue as x0, y0, x1, y1, in pixels of the picture.
    fn extent(&self) -> Option<[f64; 4]> {
        let (x, y, w, h) = self.mask.bounding_box()?;
        let (sx, sy) = (self.width / self.mask.width as f64, self.height / self.mask.height as f64);
        Some([x as f64 * sx, y as f64 * sy, (x + w) as f64 * sx, (y + h) as f64 * sy])
    }
}

/// How spots at `positions` (spots × (x, y), in pixels of `image`) of `radius` pixels lie on its
/// tissue, as [`tissue_mask`] finds it on a thumbnail of the image.
///
/// Give the spots that are said to be on tissue: of all spots of an array many rightly are not.
///
/// # Errors
/// [`Error::Data`] without spots, with a position that is not finite, or for a picture without
/// pixels; [`Error::Shape`] unless positions have two columns or more; [`Error::Parameter`] unless
/// the radius is above 0.
pub fn spots_on_tissue(image: &Image, positions: ArrayView2<f64>, radius: f64) -> Result<OnTissue> {
    checked(positions, 1.0, radius)?;
    Ok(Ground::of(image)?.place(positions, 1.0, false, radius))
}

/// What [`check_scale`] finds.
#[derive(Debug, Clone, PartialEq)]
pub struct ScaleCheck {
    /// The scale that was given.
    pub scale: f64,
    /// How spots lie with it.
    pub on_tissue: OnTissue,
    /// A scale with which they lie much better.
    pub better: Option<BetterScale>,
}

/// A scale that fits better than the one that was given.
#[derive(Debug, Clone, PartialEq)]
pub struct BetterScale {
    /// Its name.
    pub name: String,
    /// Pixels of the image per pixel of the coordinates.
    pub scale: f64,
    /// Whether x and y change places.
    pub swapped: bool,
    /// The part of the spots that is on tissue with it, in 0..1.
    pub fraction_on_tissue: f64,
}

impl ScaleCheck {
    /// How spots lie, where the scale is right as far as can be seen.
    ///
    /// # Errors
    /// [`Error::Data`] with the text of the check when another scale fits much better, or when the
    /// verdict is [`Verdict::Wrong`].
    pub fn require(self) -> Result<OnTissue> {
        if self.better.is_some() || self.on_tissue.verdict == Verdict::Wrong {
            return Err(Error::data("positions of the spots", self.to_string()));
        }
        Ok(self.on_tissue)
    }
}

impl fmt::Display for ScaleCheck {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "with scale {} {}", self.scale, self.on_tissue)?;
        if let Some(b) = &self.better {
            let on = percent(b.fraction_on_tissue);
            let swapped = if b.swapped { " and x and y exchanged" } else { "" };
            let (name, scale) = (&b.name, b.scale);
            write!(f, "; with that of {name}, {scale:.6},{swapped} {on} would be")?;
            write!(f, ". Is this the image that the scale and the coordinates belong to?")?;
        } else if self.on_tissue.verdict == Verdict::Wrong {
            let size = "the coordinates times the scale must be pixels of this image";
            write!(f, "; no other scale puts them there: {size}")?;
        }
        Ok(())
    }
}

/// Whether `scale` puts spots on the tissue of a picture, or another does so much better.
///
/// `positions` (spots × (x, y)) and `diameter`, that of a spot, are in pixels of the coordinates,
/// which are those of the full-resolution image; `scale` is pixels of `image` per such pixel.
/// `others` are scales that it may have been mistaken for, with their names: those of `hires` and
/// `lowres`. The scale 1 is tried too and, where spots lie off the tissue, the one that gives them
/// the extent of the tissue, and x and y exchanged.
///
/// # Errors
/// Those of [`spots_on_tissue`]; [`Error::Parameter`] for a scale that is not above 0.
pub fn check_scale(
    image: &Image,
    positions: ArrayView2<f64>,
    diameter: f64,
    scale: f64,
    others: &[(&str, f64)],
) -> Result<ScaleCheck> {
    checked(positions, scale, diameter / 2.0)?;
    let ground = Ground::of(image)?;
    let tissue = ground.extent();
    let (low, high) = bounds(positions);
    // A scale that is too small may put all spots on one place of the tissue, so what counts is the
    // part on tissue times the overlap of the two extents.
    let fit = |scale: f64, swapped: bool| {
        let placed = ground.place(positions, scale, swapped, scale * diameter / 2.0);
        let (x, y) = if swapped { (1, 0) } else { (0, 1) };
        let extent = [low[x], low[y], high[x], high[y]].map(|v| v * scale);
        let overlap = tissue.map_or(0.0, |t| overlap(t, extent));
        (placed.fraction_on_tissue * overlap, placed)
    };
    let (score, on_tissue) = fit(scale, false);

    let mut candidates: Vec<(String, f64, bool)> =
        others.iter().map(|&(name, s)| (format!("`{name}`"), s, false)).collect();
    candidates.push(("the full resolution".into(), 1.0, false));
    let off = on_tissue.verdict != Verdict::Good;
    if off {
        candidates.push(("this image".into(), scale, true));
    }
    let known = candidates.len();
    if off {
        for swapped in [false, true] {
            let (x, y) = if swapped { (1, 0) } else { (0, 1) };
            let extent = [low[x], low[y], high[x], high[y]];
            // The factor that brings the sides of the one box nearest to those of the other.
            let dot = |a: [f64; 4], b: [f64; 4]| a.iter().zip(b).map(|(a, b)| a * b).sum::<f64>();
            let ratio = tissue.map_or(0.0, |t| dot(t, extent) / dot(extent, extent));
            candidates.push(("the extent of the tissue".into(), ratio, swapped));
        }
    }
    let mut better: Option<(f64, BetterScale)> = None;
    for (k, (name, s, swapped)) in candidates.into_iter().enumerate() {
        let same = !swapped && (s / scale - 1.0).abs() < 0.01;
        if same || !(s.is_finite() && s > 0.0) {
            continue;
        }
        let (its, placed) = fit(s, swapped);
        // A fitted scale always fits well; it comes in where the known ones do not.
        let margin = if k < known { 0.0 } else { 0.1 };
        let best = better.as_ref().map_or(score + 0.2, |(best, _)| best + margin);
        if its > best && placed.fraction_on_tissue >= 0.8 {
            let fraction_on_tissue = placed.fraction_on_tissue;
            better = Some((its, BetterScale { name, scale: s, swapped, fraction_on_tissue }));
        }
    }
    Ok(ScaleCheck { scale, on_tissue, better: better.map(|b| b.1) })
}

/// The smallest and the largest x and y.
fn bounds(positions: ArrayView2<f64>) -> ([f64; 2], [f64; 2]) {
    let (mut low, mut high) = ([f64::INFINITY; 2], [f64::NEG_INFINITY; 2]);
    for p in positions.rows() {
        for c in 0..2 {
            (low[c], high[c]) = (low[c].min(p[c]), high[c].max(p[c]));
        }
    }
    (low, high)
}

/// The area that two boxes share, as a part of what they cover together.
fn overlap(a: [f64; 4], b: [f64; 4]) -> f64 {
    let area = |[x0, y0, x1, y1]: [f64; 4]| (x1 - x0).max(0.0) * (y1 - y0).max(0.0);
    let shared = area([a[0].max(b[0]), a[1].max(b[1]), a[2].min(b[2]), a[3].min(b[3])]);
    let all = area(a) + area(b) - shared;
    if all > 0.0 { shared / all } else { 0.0 }
}

fn checked(positions: ArrayView2<f64>, scale: f64, radius: f64) -> Result<()> {
    let above_0 = |v: f64| v.is_finite() && v > 0.0;
    if !above_0(scale) {
        let reason = "must be above 0: pixels of the image per pixel of the coordinates";
        return Err(Error::parameter("scale", scale, reason));
    }
    if !above_0(radius) {
        return Err(Error::parameter("radius", radius, "must be above 0, in pixels"));
    }
    if positions.ncols() < 2 {
        return Err(Error::shape("columns of the positions", "2 (x and y)", positions.ncols()));
    }
    if positions.nrows() == 0 {
        return Err(Error::data("positions of the spots", "there are no spots"));
    }
    let bad = |r: ndarray::ArrayView1<f64>| r.iter().any(|v| !v.is_finite());
    if let Some(row) = positions.rows().into_iter().position(bad) {
        let reason = format!("row {row} holds NaN or infinity; drop such spots first");
        return Err(Error::data("positions of the spots", reason));
    }
    Ok(())
}

#[cfg(test)]
#[path = "on_tissue_tests.rs"]
mod tests;
