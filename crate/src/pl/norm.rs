//! [`Norm`]: which numbers the ends and the middle of a colour map stand for, as matplotlib's
//! `Normalize` and `TwoSlopeNorm`; and [`Shades`], the colours that come of it.

use super::palette::{Cmap, Color};
use super::points::Limit;
use super::scale;
use crate::error::{Error, Result};

/// What the user asked of a colour scale.
#[derive(Debug, Clone, Default)]
pub(crate) struct Norm {
    pub vmin: Option<Limit>,
    pub vmax: Option<Limit>,
    /// The number at the middle of the colour map; both halves are stretched on their own.
    pub vcenter: Option<f64>,
    /// Ends at the same distance from `vcenter` (0 without one).
    pub symmetric: bool,
}

/// Colours of numbers.
#[derive(Debug, Clone)]
pub(crate) struct Shades {
    pub cmap: Cmap,
    pub low: f64,
    pub high: f64,
    center: Option<f64>,
}

impl Norm {
    /// The colour scale of `values`; what is not finite does not count.
    pub fn shades(&self, cmap: &str, values: &[f64]) -> Result<Shades> {
        let cmap = Cmap::named(cmap)?;
        if let Some(c) = self.vcenter.filter(|c| !c.is_finite()) {
            return Err(Error::parameter("vcenter", c, "must be a finite number"));
        }
        let (mut low, mut high) = scale::limits(values, &self.vmin, &self.vmax)?;
        let mut center = self.vcenter;
        if self.symmetric {
            let c = self.vcenter.unwrap_or(0.0);
            // An end that was asked for decides; else the number that is farthest away.
            let reach = match (&self.vmin, &self.vmax) {
                (Some(_), None) => c - low,
                (None, Some(_)) => high - c,
                _ => (c - low).max(high - c),
            };
            let reach = if reach > 0.0 { reach } else { 1.0 };
            (low, high, center) = (c - reach, c + reach, None);
        } else if let Some(c) = center {
            // As matplotlib does where the data lie on one side only.
            if low >= c && self.vmin.is_none() {
                low = c - (high - c).abs().max(f64::MIN_POSITIVE);
            }
            if high <= c && self.vmax.is_none() {
                high = c + (c - low).abs();
            }
            if !(low < c && c < high) {
                let reason = format!("must lie between vmin = {low} and vmax = {high}");
                return Err(Error::parameter("vcenter", c, reason));
            }
        }
        Ok(Shades { cmap, low, high, center })
    }
}

impl Shades {
    /// Where `v` lies on the colour map, from 0 to 1.
    pub fn position(&self, v: f64) -> f64 {
        match self.center {
            Some(c) if v < c => 0.5 * scale::position(v, (self.low, c)).clamp(0.0, 1.0),
            Some(c) => 0.5 + 0.5 * scale::position(v, (c, self.high)).clamp(0.0, 1.0),
            None => scale::position(v, (self.low, self.high)).clamp(0.0, 1.0),
        }
    }

    /// The colour of `v`; `missing` where it is no number.
    pub fn color(&self, v: f64, missing: Color) -> Color {
        if v.is_nan() { missing } else { self.cmap.at(self.position(v)) }
    }
}

/// Black or white, whichever can be read on `back`.
pub(crate) fn readable_on(back: Color) -> Color {
    let linear = |v: u8| {
        let x = f64::from(v) / 255.0;
        if x <= 0.039_28 { x / 12.92 } else { ((x + 0.055) / 1.055).powf(2.4) }
    };
    let luminance = 0.2126 * linear(back.r) + 0.7152 * linear(back.g) + 0.0722 * linear(back.b);
    // Where the contrast with black equals that with white.
    if luminance > 0.18 { Color::rgb(0x22, 0x22, 0x22) } else { Color::rgb(255, 255, 255) }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(norm: &Norm, values: &[f64]) -> Result<Shades> {
        norm.shades("RdBu_r", values)
    }

    #[test]
    fn a_centre_stretches_both_halves_on_their_own() {
        let norm = Norm { vcenter: Some(0.0), ..Norm::default() };
        let s = of(&norm, &[-1.0, 4.0, f64::NAN]).unwrap();
        let at: Vec<f64> = [-1.0, -0.5, 0.0, 2.0, 9.0].map(|v| s.position(v)).into();
        assert_eq!(at, [0.0, 0.25, 0.5, 0.75, 1.0]);
        // matplotlib.colors.TwoSlopeNorm(0).autoscale_None([1, 4]) has vmin -4.
        let s = of(&norm, &[1.0, 4.0]).unwrap();
        assert_eq!((s.low, s.high), (-4.0, 4.0));
        let s = of(&norm, &[-3.0, -1.0]).unwrap();
        assert_eq!((s.low, s.high), (-3.0, 3.0));
    }

    #[test]
    fn a_symmetric_scale_reaches_as_far_on_both_sides() {
        let norm = Norm { symmetric: true, ..Norm::default() };
        let s = of(&norm, &[-1.0, 4.0]).unwrap();
        assert_eq!((s.low, s.high), (-4.0, 4.0));
        let norm = Norm { vmax: Some(2.into()), symmetric: true, ..Norm::default() };
        let s = of(&norm, &[-1.0, 4.0]).unwrap();
        assert_eq!((s.low, s.high), (-2.0, 2.0));
        let s = of(&Norm { symmetric: true, ..Norm::default() }, &[0.0, 0.0]).unwrap();
        assert!(s.low == -s.high && s.high > 0.0);
    }

    #[test]
    fn a_centre_outside_the_limits_is_refused() {
        let norm = Norm { vmin: Some(1.into()), vcenter: Some(0.0), ..Norm::default() };
        let e = of(&norm, &[2.0, 3.0]).unwrap_err().to_string();
        assert!(e.contains("vcenter") && e.contains("vmin = 1"), "{e}");
        assert!(of(&Norm { vcenter: Some(f64::NAN), ..Norm::default() }, &[1.0]).is_err());
    }

    #[test]
    fn what_is_no_number_has_the_colour_of_what_is_missing() {
        let grey = Color::rgb(1, 2, 3);
        let s = of(&Norm::default(), &[0.0, 1.0]).unwrap();
        assert_eq!(s.color(f64::NAN, grey), grey);
        assert_ne!(s.color(f64::INFINITY, grey), grey);
        assert_eq!(readable_on(Color::rgb(255, 255, 255)).r, 0x22);
        assert_eq!(readable_on(Color::rgb(0, 0, 80)).r, 255);
    }
}
