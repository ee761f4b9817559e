//! From numbers to positions on a colour scale.

use super::points::Limit;
use crate::error::{Error, Result};

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
