//! From numbers to positions on a colour scale.

use super::points::Limit;
use super::ticks;
use crate::error::{Error, Result};

/// A colour scale: its ends and, where it has one, the value that gets the middle colour.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) struct Scale {
    pub low: f64,
    pub center: Option<f64>,
    pub high: f64,
    pub log: bool,
}

impl From<(f64, f64)> for Scale {
    fn from((low, high): (f64, f64)) -> Self {
        Scale { low, center: None, high, log: false }
    }
}

impl Scale {
    /// The scale of `values` with the limits asked for; see [`limits`]. A centre stretches the two
    /// halves independently, as matplotlib's `TwoSlopeNorm`.
    pub fn of(
        values: &[f64],
        vmin: &Option<Limit>,
        vcenter: &Option<Limit>,
        vmax: &Option<Limit>,
        log: bool,
    ) -> Result<Self> {
        if log {
            let positive: Vec<f64> = values.iter().copied().filter(|v| *v > 0.0).collect();
            let (low, high) = limits(&positive, vmin, vmax)?;
            if vcenter.is_some() {
                let reason = "does not go with a logarithmic colour scale";
                return Err(Error::parameter("vcenter", "set", reason));
            }
            if low <= 0.0 {
                if vmin.is_some() || !positive.is_empty() {
                    let reason = "a logarithmic colour scale starts above 0";
                    return Err(Error::parameter("vmin", low, reason));
                }
                return Ok(Scale { low: 0.1, center: None, high: 1.0, log });
            }
            return Ok(Scale { low, center: None, high, log });
        }
        let (low, high) = limits(values, vmin, vmax)?;
        let Some(center) = vcenter else { return Ok((low, high).into()) };
        let center = match center {
            // Written as an end, so that percentiles and mistakes are treated alike.
            Limit::Percentile(_) => limits(values, &Some(center.clone()), &None)?.0,
            Limit::Value(v) if v.is_finite() => *v,
            Limit::Value(v) => {
                return Err(Error::parameter("vcenter", v, "must be a finite number"));
            }
            Limit::Unknown(s) => {
                let reason = "is neither a number nor a percentile such as p50";
                return Err(Error::parameter("vcenter", s, reason));
            }
        };
        // An end that was not asked for gives way; one that was is a contradiction.
        let beyond = (vmin.is_some() && center <= low) || (vmax.is_some() && center >= high);
        if beyond {
            let reason = format!("must lie between vmin = {low} and vmax = {high}");
            return Err(Error::parameter("vcenter", center, reason));
        }
        let reach = (high - center).abs().max((center - low).abs()).max(f64::MIN_POSITIVE);
        let low = if low < center { low } else { center - reach };
        let high = if high > center { high } else { center + reach };
        Ok(Scale { low, center: Some(center), high, log })
    }

    /// Where `v` lies between the ends, from 0 to 1; beyond them outside of that.
    pub fn position(&self, v: f64) -> f64 {
        if self.log {
            if v <= 0.0 {
                return -1.0;
            }
            return position(v.ln(), (self.low.ln(), self.high.ln()));
        }
        match self.center {
            None => position(v, (self.low, self.high)),
            Some(c) if v < c => 0.5 * position(v, (self.low, c)),
            Some(c) => 0.5 + 0.5 * position(v, (c, self.high)),
        }
    }

    /// Round numbers on the scale with their texts.
    pub fn ticks(&self, n: usize) -> Vec<(f64, String)> {
        if self.log {
            let at = ticks::logarithmic(self.low, self.high, n);
            let labels = ticks::log_labels(&at);
            return at.into_iter().zip(labels).collect();
        }
        let named = |at: Vec<f64>| -> Vec<(f64, String)> {
            let labels = ticks::labels(&at);
            at.into_iter().zip(labels).collect()
        };
        let Some(c) = self.center else { return named(ticks::linear(self.low, self.high, n)) };
        // The centre itself need not be a round number: its neighbours give way to it.
        let half = (n / 2 + 1).max(2);
        let mut all = named(ticks::linear(self.low, c, half));
        all.extend(named(ticks::linear(c, self.high, half)));
        all.retain(|t| (self.position(t.0) - 0.5).abs() > 0.07);
        let digits = c.abs().max(1e-300).log10().floor() as i32;
        let decimals = (3 - digits).clamp(0, 6) as usize;
        let text = format!("{c:.decimals$}");
        let text = match text.contains('.') {
            true => text.trim_end_matches('0').trim_end_matches('.').to_string(),
            false => text,
        };
        all.push((c, text.replace('-', "−")));
        all.sort_by(|a, b| a.0.total_cmp(&b.0));
        all
    }
}

/// The ends of the colour scale of `values`: as asked for, else the smallest and largest value.
/// Where all values are equal the scale spreads around them (from 0 to 1 if they are 0).
pub(crate) fn limits(
    values: &[f64],
    vmin: &Option<Limit>,
    vmax: &Option<Limit>,
) -> Result<(f64, f64)> {
    let mut finite: Vec<f64> = values.iter().copied().filter(|v| v.is_finite()).collect();
    let percentiles = [vmin, vmax].iter().any(|l| matches!(l, Some(Limit::Percentile(_))));
    if percentiles {
        finite.sort_by(f64::total_cmp);
    }
    let resolve = |name: &'static str, limit: &Option<Limit>, auto: f64| match limit {
        None => Ok(auto),
        Some(Limit::Value(v)) if v.is_finite() => Ok(*v),
        Some(Limit::Value(v)) => Err(Error::parameter(name, v, "must be a finite number")),
        Some(Limit::Percentile(p)) => Ok(percentile(&finite, *p)),
        Some(Limit::Unknown(s)) => {
            Err(Error::parameter(name, s, "is neither a number nor a percentile such as p99"))
        }
    };
    let low = finite.iter().copied().fold(f64::INFINITY, f64::min);
    let high = finite.iter().copied().fold(f64::NEG_INFINITY, f64::max);
    let (low, high) = if finite.is_empty() { (0.0, 1.0) } else { (low, high) };
    let low = resolve("vmin", vmin, low)?;
    let high = resolve("vmax", vmax, high)?;
    if low > high {
        // One end that was asked for may lie beyond all values; two that cross are a mistake.
        return match (vmin, vmax) {
            (Some(_), Some(_)) => {
                let reason = format!("is above vmax = {high}");
                Err(Error::parameter("vmin", low, reason))
            }
            (Some(_), None) => Ok((low, low + 1.0)),
            _ => Ok((high - 1.0, high)),
        };
    }
    if low < high {
        return Ok((low, high));
    }
    if low == 0.0 {
        return Ok((0.0, 1.0));
    }
    let around = 0.5 * low.abs().min(1.0);
    Ok((low - around, low + around))
}

/// Where `v` lies between the limits, as a part of their distance.
pub(crate) fn position(v: f64, (low, high): (f64, f64)) -> f64 {
    if v.is_infinite() { if v > 0.0 { 1.0 } else { 0.0 } } else { (v - low) / (high - low) }
}

/// The percentile of sorted numbers with linear interpolation, as numpy's default.
fn percentile(sorted: &[f64], p: f64) -> f64 {
    let Some(last) = sorted.len().checked_sub(1) else { return 0.0 };
    let at = p / 100.0 * last as f64;
    let (i, t) = (at.floor() as usize, at.fract());
    sorted[i] + t * (sorted[(i + 1).min(last)] - sorted[i])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn limits_ignore_what_is_not_a_number() {
        let v = [f64::NAN, 1.0, 3.0, f64::INFINITY];
        assert_eq!(limits(&v, &None, &None).unwrap(), (1.0, 3.0));
        assert_eq!(limits(&[f64::NAN], &None, &None).unwrap(), (0.0, 1.0));
        assert_eq!(limits(&[], &None, &None).unwrap(), (0.0, 1.0));
    }

    #[test]
    fn a_centre_gets_the_middle_colour() {
        let v = [-1.0, 0.0, 9.0];
        let scale = Scale::of(&v, &None, &Some(0.into()), &None, false).unwrap();
        let at = [-1.0, -0.5, 0.0, 4.5, 9.0].map(|v| scale.position(v));
        assert_eq!(at, [0.0, 0.25, 0.5, 0.75, 1.0]);
        // All values on one side: the other side gets as much room.
        let scale = Scale::of(&[2.0, 4.0], &None, &Some(0.into()), &None, false).unwrap();
        assert_eq!((scale.low, scale.high), (-4.0, 4.0));
        let e = Scale::of(&v, &Some(1.into()), &Some(0.into()), &None, false).unwrap_err();
        assert!(e.to_string().contains("between vmin"), "{e}");
    }

    #[test]
    fn logarithmic_scales_start_above_zero() {
        let scale = Scale::of(&[0.0, 1.0, 100.0], &None, &None, &None, true).unwrap();
        assert_eq!([1.0, 10.0, 100.0].map(|v| scale.position(v)), [0.0, 0.5, 1.0]);
        assert!(scale.position(0.0) < 0.0);
        assert!(Scale::of(&[1.0], &Some(0.into()), &None, &None, true).is_err());
        assert!(Scale::of(&[0.0], &None, &None, &None, true).is_ok());
    }

    #[test]
    fn equal_values_get_a_scale_around_them() {
        assert_eq!(limits(&[4.0; 5], &None, &None).unwrap(), (3.5, 4.5));
        assert_eq!(limits(&[0.0; 5], &None, &None).unwrap(), (0.0, 1.0));
    }

    #[test]
    fn percentiles_are_numpys() {
        let v: Vec<f64> = (0..=10).map(f64::from).collect();
        let got = limits(&v, &Some("p5".into()), &Some("p99".into())).unwrap();
        assert!((got.0 - 0.5).abs() < 1e-12 && (got.1 - 9.9).abs() < 1e-12);
    }

    #[test]
    fn limits_that_make_no_sense_are_refused() {
        let of = |a: &str, b: &str| limits(&[1.0, 2.0], &Some(a.into()), &Some(b.into()));
        assert!(of("3", "1").unwrap_err().to_string().contains("above vmax"));
        assert!(of("p101", "1").unwrap_err().to_string().contains("p99"));
        assert!(of("inf", "1").is_err());
        assert_eq!(limits(&[1.0, 2.0], &None, &Some(0.5.into())).unwrap(), (-0.5, 0.5));
    }
}
