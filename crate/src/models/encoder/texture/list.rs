//! The list that features are put on, and the statistics that they are.

use super::plane::Plane;

/// What is usual for a kind of feature: its middle and its spread between patches of H&E-stained
/// tissue at 0.5 to 3 µm per pixel. Round numbers, the same for every slide: they only make
/// features of different units count about alike.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) struct Usual {
    pub middle: f32,
    pub spread: f32,
}

/// Shorthand for the tables of [`Usual`].
pub(super) const fn usual(middle: f32, spread: f32) -> Usual {
    Usual { middle, spread }
}

/// Features in the order in which they were put on.
#[derive(Debug, Default)]
pub(super) struct List {
    /// In their own units.
    pub raw: Vec<f32>,
    /// In units of what is usual, about -3..3; never beyond ±8, so that an odd patch stays finite.
    pub scaled: Vec<f32>,
    /// Their names, where they are wanted: naming takes longer than computing.
    pub names: Option<Vec<String>>,
}

impl List {
    pub fn push(&mut self, name: impl FnOnce() -> String, value: f32, usual: Usual) {
        if let Some(names) = &mut self.names {
            names.push(name());
        }
        self.raw.push(value);
        self.scaled.push(((value - usual.middle) / usual.spread).clamp(-8.0, 8.0));
    }

    /// Counts as square roots of their parts of the whole: the Euclidean distance of those is
    /// Hellinger's, in which rare things count too.
    pub fn parts(&mut self, name: impl Fn(usize) -> String, counts: &[f32], usual: Usual) {
        let total = counts.iter().sum::<f32>().max(1.0);
        for (k, &n) in counts.iter().enumerate() {
            self.push(|| name(k), (n / total).sqrt(), usual);
        }
    }
}

/// Mean, standard deviation and the signed root of the skewness.
pub(super) fn moments(values: &[f32]) -> [f32; 3] {
    let n = values.len().max(1) as f64;
    let mean = values.iter().map(|&v| f64::from(v)).sum::<f64>() / n;
    let (mut second, mut third) = (0.0, 0.0);
    for &v in values {
        let d = f64::from(v) - mean;
        second += d * d;
        third += d * d * d;
    }
    let sd = (second / n).sqrt();
    // Rounding alone makes some spread of equal values.
    let skewness: f64 = if sd > 1e-5 { third / n / sd.powi(3) } else { 0.0 };
    [mean as f32, sd as f32, (skewness.abs().sqrt() * skewness.signum()) as f32]
}

/// The 5th, 25th, 50th, 75th and 95th percentile.
pub(super) fn percentiles(values: &[f32]) -> [f32; 5] {
    let mut sorted = values.to_vec();
    sorted.sort_unstable_by(f32::total_cmp);
    let last = sorted.len().saturating_sub(1);
    [5, 25, 50, 75, 95].map(|p| sorted.get((p * last + 50) / 100).copied().unwrap_or(0.0))
}

/// An optical density or an amount of stain as a part of 1, finest near empty glass: 0.3 is half
/// way.
pub(super) fn shade(v: f32) -> f32 {
    let v = v.max(0.0);
    v / (v + 0.3)
}

/// The bin of a value of 0..1 among equal bins.
pub(super) fn bin(v: f32, bins: usize) -> usize {
    ((v * bins as f32) as usize).min(bins - 1)
}

/// Counts of values of 0..1 in equal bins.
pub(super) fn histogram(values: impl Iterator<Item = f32>, bins: usize) -> Vec<f32> {
    let mut counts = vec![0.0; bins];
    values.for_each(|v| counts[bin(v, bins)] += 1.0);
    counts
}

/// Pearson's correlation; 0 where one does not vary.
pub(super) fn correlation(a: &Plane, b: &Plane) -> f32 {
    let ([mean_a, sd_a, _], [mean_b, sd_b, _]) = (moments(&a.values), moments(&b.values));
    if sd_a < 1e-5 || sd_b < 1e-5 {
        return 0.0;
    }
    let product = |(x, y): (&f32, &f32)| f64::from((x - mean_a) * (y - mean_b));
    let sum: f64 = a.values.iter().zip(&b.values).map(product).sum();
    (sum / a.values.len() as f64) as f32 / (sd_a * sd_b)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn statistics_are_those_of_numpy() {
        // np.mean, np.std and scipy.stats.skew; np.percentile(…, method="nearest") at these ranks.
        let v: Vec<f32> = vec![0.0, 1.0, 1.0, 2.0, 10.0];
        let [mean, sd, skewness] = moments(&v);
        assert_eq!(mean, 2.8);
        assert!(
            (sd - 3.655_133_4).abs() < 1e-5 && (skewness - 1.388_908_7_f32.sqrt()).abs() < 1e-4
        );
        assert_eq!(percentiles(&v), [0.0, 1.0, 1.0, 2.0, 10.0]);
        assert_eq!(moments(&[0.3; 50])[2], 0.0);
        assert_eq!((moments(&[]), percentiles(&[])), ([0.0; 3], [0.0; 5]));
    }

    #[test]
    fn parts_are_roots_that_make_one_together() {
        let mut list = List { names: Some(Vec::new()), ..List::default() };
        list.parts(
            |k| format!("part {k}"),
            &histogram([0.1, 0.6, 2.0].into_iter(), 2),
            usual(0.0, 0.5),
        );
        assert_eq!(list.names.unwrap(), ["part 0", "part 1"]);
        let squares: f32 = list.raw.iter().map(|v| v * v).sum();
        assert!((squares - 1.0).abs() < 1e-6);
        assert_eq!(list.scaled[0], list.raw[0] / 0.5);
    }

    #[test]
    fn correlation_is_pearson_s_and_defined_for_flat_planes() {
        let plane = |values: &[f32]| Plane { width: 4, height: 1, values: values.to_vec() };
        let a = plane(&[1.0, 2.0, 3.0, 4.0]);
        assert!((correlation(&a, &plane(&[2.0, 4.0, 6.0, 8.0])) - 1.0).abs() < 1e-6);
        // np.corrcoef([1, 2, 3, 4], [1, -1, 0, 5])
        assert!((correlation(&a, &plane(&[1.0, -1.0, 0.0, 5.0])) - 0.638_144_9).abs() < 1e-5);
        assert_eq!(correlation(&a, &plane(&[0.1; 4])), 0.0);
    }
}
