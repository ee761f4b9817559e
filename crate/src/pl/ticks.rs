//! Where an axis has ticks and how their numbers are written.

/// Numbers at steps of 1, 2, 2.5 or 5 times a power of ten that lie in `low..=high`, about `n` of
/// them.
pub(crate) fn linear(low: f64, high: f64, n: usize) -> Vec<f64> {
    let span = high - low;
    if span.is_nan() || span <= 0.0 || !span.is_finite() {
        return if low.is_finite() { vec![low] } else { Vec::new() };
    }
    let rough = span / n.max(1) as f64;
    let power = 10f64.powf(rough.log10().floor());
    let step = [1.0, 2.0, 2.5, 5.0, 10.0]
        .into_iter()
        .map(|m| m * power)
        .find(|s| span / s <= n as f64 + 1e-9)
        .unwrap_or(10.0 * power);
    let first = (low / step - 1e-9).ceil() as i64;
    let last = (high / step + 1e-9).floor() as i64;
    // A multiple of the step, so that 0.3 is not 0.30000000000000004.
    (first..=last).map(|k| k as f64 * step).collect()
}

/// Powers of ten in `low..=high`, thinned to about `n`; where there are fewer than three, 2 and 5
/// times them as well.
pub(crate) fn logarithmic(low: f64, high: f64, n: usize) -> Vec<f64> {
    if low.is_nan() || low <= 0.0 || high < low || !high.is_finite() {
        return Vec::new();
    }
    let (first, last) = (low.log10().floor() as i32, high.log10().ceil() as i32);
    let every = (((last - first) as usize).div_ceil(n.max(1))).max(1);
    let within = |x: &f64| (low * (1.0 - 1e-9)..=high * (1.0 + 1e-9)).contains(x);
    let powers: Vec<f64> =
        (first..=last).step_by(every).map(|k| 10f64.powi(k)).filter(within).collect();
    if powers.len() >= 3 {
        return powers;
    }
    let finer: Vec<f64> = (first..=last)
        .flat_map(|k| [1.0, 2.0, 5.0].map(|m| m * 10f64.powi(k)))
        .filter(within)
        .collect();
    if finer.len() >= 2 { finer } else { linear(low, high, n) }
}

/// The ticks as text, all with the same number of decimals, or with exponents where they are very
/// large or small.
pub(crate) fn labels(ticks: &[f64]) -> Vec<String> {
    let largest = ticks.iter().fold(0f64, |m, t| m.max(t.abs()));
    let step = ticks
        .windows(2)
        .map(|w| (w[1] - w[0]).abs())
        .filter(|s| *s > 0.0)
        .fold(f64::INFINITY, f64::min);
    let finest = if step.is_finite() { step } else { largest };
    if largest >= 1e6 || (largest > 0.0 && largest < 1e-3) {
        return ticks.iter().map(|&t| scientific(t)).collect();
    }
    let decimals = (0..=8)
        .find(|&d| {
            let scaled = finest * 10f64.powi(d);
            (scaled - scaled.round()).abs() < 1e-6 * scaled.max(1.0) && scaled.round() >= 1.0
        })
        .unwrap_or(3) as usize;
    ticks.iter().map(|t| format!("{t:.decimals$}").replace('-', "−")).collect()
}

/// The ticks of a logarithmic axis as text, each with the decimals it needs.
pub(crate) fn log_labels(ticks: &[f64]) -> Vec<String> {
    let plain = ticks.iter().all(|t| (1e-4..1e6).contains(t));
    let write = |&t: &f64| if plain { format!("{t}") } else { scientific(t) };
    ticks.iter().map(write).collect()
}

/// A number as 1.5e6.
fn scientific(x: f64) -> String {
    let text = format!("{x:.2e}");
    let Some((mantissa, exponent)) = text.split_once('e') else { return text };
    let mantissa = mantissa.trim_end_matches('0').trim_end_matches('.');
    if mantissa == "0" { "0".into() } else { format!("{mantissa}e{exponent}").replace('-', "−") }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn linear_ticks_are_round_numbers_inside() {
        assert_eq!(linear(0.0, 1.0, 5), [0.0, 0.2, 0.4, 0.6000000000000001, 0.8, 1.0]);
        assert_eq!(labels(&linear(0.0, 1.0, 5)), ["0.0", "0.2", "0.4", "0.6", "0.8", "1.0"]);
        assert_eq!(linear(-3.7, 12.0, 4), [0.0, 5.0, 10.0]);
        assert_eq!(labels(&linear(0.0, 1.0, 4)), ["0.00", "0.25", "0.50", "0.75", "1.00"]);
        assert_eq!(labels(&linear(0.0, 9.0, 5)), ["0", "2", "4", "6", "8"]);
        assert_eq!(labels(&linear(-2.0, 2.0, 4)), ["−2", "−1", "0", "1", "2"]);
        assert_eq!(linear(3.0, 3.0, 5), [3.0]);
        assert!(linear(f64::NAN, 1.0, 5).is_empty());
    }

    #[test]
    fn every_span_gets_a_handful() {
        for k in 0..400 {
            let span = 10f64.powf(-6.0 + 0.03 * f64::from(k));
            let n = linear(0.1 * span, 1.1 * span, 5).len();
            assert!((2..=6).contains(&n), "{span}: {n}");
        }
    }

    #[test]
    fn logarithmic_ticks_are_powers_of_ten() {
        assert_eq!(logarithmic(0.5, 2000.0, 6), [1.0, 10.0, 100.0, 1000.0]);
        assert_eq!(log_labels(&[0.1, 1.0, 10.0, 100.0]), ["0.1", "1", "10", "100"]);
        assert_eq!(log_labels(&[1e-5, 1.0]), ["1e−5", "1e0"]);
        assert_eq!(logarithmic(1.5, 8.0, 5), [2.0, 5.0]);
        assert!(logarithmic(1e-12, 1e12, 6).len() <= 7);
        assert!(logarithmic(-1.0, 1.0, 5).is_empty());
    }

    #[test]
    fn huge_and_tiny_numbers_have_exponents() {
        assert_eq!(labels(&[0.0, 1e6, 2.5e6]), ["0", "1e6", "2.5e6"]);
        assert_eq!(labels(&[-2e-5, 0.0]), ["−2e−5", "0"]);
    }
}
