//! The shape of a sample, for figures: [`Density`] (a Gaussian kernel estimate) and [`Summary`]
//! (the five numbers of a box).

/// A density at points at equal steps.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Density {
    /// Where, and how dense.
    pub points: Vec<(f64, f64)>,
    pub highest: f64,
}

impl Density {
    /// Scott's bandwidth times `adjust`, over the sample's range and `cut` bandwidths beyond it:
    /// `scipy.stats.gaussian_kde`, at seaborn's 100 points. `None` where nothing varies. Values
    /// must be finite.
    pub fn of(values: &[f64], adjust: f64, cut: f64) -> Option<Density> {
        const POINTS: usize = 100;
        let n = values.len() as f64;
        if values.len() < 2 {
            return None;
        }
        let mean = values.iter().sum::<f64>() / n;
        let variance = values.iter().map(|v| (v - mean) * (v - mean)).sum::<f64>() / (n - 1.0);
        let bandwidth = n.powf(-0.2) * adjust * variance.sqrt();
        // Equal values may have a variance by rounding.
        if !(bandwidth > 1e-12 * mean.abs() && bandwidth.is_finite()) {
            return None;
        }
        // Equal values, such as the zeros of a gene, are summed once.
        let mut sorted = values.to_vec();
        sorted.sort_unstable_by(f64::total_cmp);
        let ties: Vec<(f64, f64)> =
            sorted.chunk_by(|a, b| a == b).map(|t| (t[0], t.len() as f64)).collect();
        let (low, high) = (sorted[0] - cut * bandwidth, sorted[sorted.len() - 1] + cut * bandwidth);
        let norm = n * bandwidth * std::f64::consts::TAU.sqrt();
        // What is further away adds less than 1e-17 of a value's peak.
        let reach = 9.0 * bandwidth;
        let at = |k: usize| {
            let x = low + (high - low) * k as f64 / (POINTS - 1) as f64;
            let from = ties.partition_point(|t| t.0 < x - reach);
            let to = ties.partition_point(|t| t.0 <= x + reach);
            let kernel = |&(v, times): &(f64, f64)| {
                let z = (x - v) / bandwidth;
                times * (-0.5 * z * z).exp()
            };
            (x, ties[from..to].iter().map(kernel).sum::<f64>() / norm)
        };
        let points: Vec<(f64, f64)> = (0..POINTS).map(at).collect();
        let highest = points.iter().map(|p| p.1).fold(0.0, f64::max);
        Some(Density { points, highest })
    }
}

/// The numbers of a box plot.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Summary {
    pub quartiles: [f64; 3],
    /// The outermost values within 1.5 times the box' height of the box.
    pub whiskers: [f64; 2],
    /// What lies beyond the whiskers, in order.
    pub outside: Vec<f64>,
}

impl Summary {
    /// As matplotlib's `boxplot`: quartiles with linear interpolation. `None` without values, which
    /// must be finite.
    pub fn of(values: &[f64]) -> Option<Summary> {
        let mut sorted = values.to_vec();
        sorted.sort_unstable_by(f64::total_cmp);
        let last = sorted.len().checked_sub(1)?;
        let quantile = |q: f64| {
            let at = q * last as f64;
            let (i, t) = (at.floor() as usize, at.fract());
            sorted[i] + t * (sorted[(i + 1).min(last)] - sorted[i])
        };
        let quartiles = [0.25, 0.5, 0.75].map(quantile);
        let reach = 1.5 * (quartiles[2] - quartiles[0]);
        let (low, high) = (quartiles[0] - reach, quartiles[2] + reach);
        let first = sorted.partition_point(|v| *v < low);
        let end = sorted.partition_point(|v| *v <= high);
        // The box itself bounds them where no value lies between.
        let whiskers = [
            sorted.get(first).copied().unwrap_or(quartiles[0]).min(quartiles[0]),
            sorted[..end].last().copied().unwrap_or(quartiles[2]).max(quartiles[2]),
        ];
        let outside = sorted[..first].iter().chain(&sorted[end..]).copied().collect();
        Some(Summary { quartiles, whiskers, outside })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn densities_equal_scipys() {
        // gaussian_kde(v) at np.linspace(v.min(), v.max(), 100), points 0, 37 and 99, scipy 1.17.
        let v: Vec<f64> =
            (0..40).map(|i| f64::from(i * i % 17) * 0.5 + f64::from(i) * 0.1).collect();
        let density = Density::of(&v, 1.0, 0.0).unwrap();
        let got = [0, 37, 99].map(|k| density.points[k].1);
        for (got, expected) in got.iter().zip(KDE) {
            assert!((got - expected).abs() < 1e-12 * expected, "{got} is not {expected}");
        }
        // Ties and a cut of 2 bandwidths beyond: zeros and a few others.
        let v: Vec<f64> = (0..500).map(|i| f64::from((i % 7) * (i % 5) % 4)).collect();
        let density = Density::of(&v, 0.7, 2.0).unwrap();
        let got = [0, 37, 99].map(|k| density.points[k].1);
        for (got, expected) in got.iter().zip(TIES) {
            assert!((got - expected).abs() < 1e-12 * expected, "{got} is not {expected}");
        }
        assert_eq!(Density::of(&[2.5; 9], 1.0, 0.0), None);
        assert_eq!(Density::of(&[0.1 + 0.2, 0.3, 0.3], 1.0, 0.0), None);
        assert_eq!(Density::of(&[1.0], 1.0, 0.0), None);
    }

    const KDE: [f64; 3] = [0.031846204973592994, 0.09770024045173939, 0.02905763505632386];
    const TIES: [f64; 3] = [0.15964980884951685, 0.16496767625476105, 0.02186287197147157];

    #[test]
    fn boxes_are_matplotlibs() {
        // matplotlib.cbook.boxplot_stats([1, 2, 3, 4, 5, 6, 30, -20]).
        let summary = Summary::of(&[1.0, 2.0, 3.0, 4.0, 5.0, 6.0, 30.0, -20.0]).unwrap();
        assert_eq!(summary.quartiles, [1.75, 3.5, 5.25]);
        assert_eq!(summary.whiskers, [1.0, 6.0]);
        assert_eq!(summary.outside, [-20.0, 30.0]);
        let one = Summary::of(&[7.0]).unwrap();
        assert_eq!((one.quartiles, one.whiskers), ([7.0; 3], [7.0; 2]));
        assert_eq!(Summary::of(&[]), None);
    }
}
