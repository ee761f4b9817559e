//! How well a clustering agrees with known labels, or with the data themselves.
//!
//! All match scikit-learn 1.9 within 1e-10. Observations whose label is missing (a category of -1,
//! see [`Labels`]) are left out; the others are scored.

use super::Labels;
use crate::error::{Error, Result};
use crate::linalg::{Real, for_distance_tiles};
use ndarray::{Array2, ArrayView2, Axis};
use rayon::prelude::*;
use std::collections::HashMap;

/// How often each pair of groups occurs together, with the totals of both sides.
pub(super) struct Contingency {
    pub pairs: HashMap<(usize, usize), u64>,
    pub rows: Vec<u64>,
    pub columns: Vec<u64>,
    pub n: u64,
}

pub(super) fn contingency(
    a: &(impl Labels + ?Sized),
    b: &(impl Labels + ?Sized),
) -> Result<Contingency> {
    let (a, b) = (a.groups(), b.groups());
    if a.len() != b.len() {
        return Err(Error::shape("labels to compare", a.len(), b.len()));
    }
    let mut t = Contingency { pairs: HashMap::new(), rows: vec![], columns: vec![], n: 0 };
    let count = |totals: &mut Vec<u64>, group: usize| {
        totals.resize(totals.len().max(group + 1), 0);
        totals[group] += 1;
    };
    for (i, j) in a.into_iter().zip(b).filter_map(|(i, j)| Some((i?, j?))) {
        *t.pairs.entry((i, j)).or_default() += 1;
        count(&mut t.rows, i);
        count(&mut t.columns, j);
        t.n += 1;
    }
    if t.n == 0 {
        return Err(Error::data("labels to compare", "no observation has a label on both sides"));
    }
    Ok(t)
}

impl Contingency {
    /// Entropy of one side, from the sizes of its groups, in nats.
    pub fn entropy(&self, totals: &[u64]) -> f64 {
        let p = totals.iter().filter(|&&x| x > 0).map(|&x| x as f64 / self.n as f64);
        -p.map(|p| p * p.ln()).sum::<f64>()
    }

    /// Mutual information of both sides, in nats.
    pub fn information(&self) -> f64 {
        // Summed in a fixed order: a hash map's is not.
        let mut pairs: Vec<_> = self.pairs.iter().collect();
        pairs.sort_unstable();
        let (n, ln) = (self.n as f64, |x: u64| (x as f64).ln());
        let term = |&(&(i, j), &c): &(&(usize, usize), &u64)| {
            c as f64 / n * (ln(c) + n.ln() - ln(self.rows[i]) - ln(self.columns[j]))
        };
        pairs.iter().map(term).sum::<f64>().max(0.0)
    }
}

/// Adjusted Rand index of two labelings of the same observations (Hubert and Arabie, 1985): 1 for
/// the same partition, about 0 for unrelated ones, whatever the groups are called.
///
/// Observations without a label on either side are left out. `sklearn.metrics.adjusted_rand_score`.
///
/// ```
/// use spatialkit::tl;
/// assert_eq!(tl::ari(&[0, 0, 1, 1], &["b", "b", "a", "a"])?, 1.0);
/// # Ok::<(), spatialkit::Error>(())
/// ```
///
/// # Errors
/// [`Error::Shape`] when the lengths differ, [`Error::Data`] when no observation is labelled on
/// both sides.
pub fn ari(a: &(impl Labels + ?Sized), b: &(impl Labels + ?Sized)) -> Result<f64> {
    let t = contingency(a, b)?;
    let squares = |v: &mut dyn Iterator<Item = u64>| v.map(|x| i128::from(x).pow(2)).sum::<i128>();
    let both = squares(&mut t.pairs.values().copied());
    let rows = squares(&mut t.rows.iter().copied());
    let columns = squares(&mut t.columns.iter().copied());
    let n = i128::from(t.n);
    // Ordered pairs that are together in both, in one only, in none.
    let (tp, fp, fn_) = (both - n, columns - both, rows - both);
    let tn = n * n - rows - columns + both;
    if fp == 0 && fn_ == 0 {
        return Ok(1.0);
    }
    let numerator = 2.0 * (tp as f64 * tn as f64 - fn_ as f64 * fp as f64);
    let denominator = (tp + fn_) as f64 * (fn_ + tn) as f64 + (tp + fp) as f64 * (fp + tn) as f64;
    Ok(numerator / denominator)
}

/// Normalised mutual information of two labelings, I(a; b) over the arithmetic mean of their
/// entropies: 1 for the same partition, 0 for independent ones.
///
/// Observations without a label on either side are left out.
/// `sklearn.metrics.normalized_mutual_info_score`.
///
/// # Errors
/// As [`ari`].
pub fn nmi(a: &(impl Labels + ?Sized), b: &(impl Labels + ?Sized)) -> Result<f64> {
    let t = contingency(a, b)?;
    let groups = |totals: &[u64]| totals.iter().filter(|&&x| x > 0).count();
    if groups(&t.rows) == 1 && groups(&t.columns) == 1 {
        return Ok(1.0);
    }
    let information = t.information();
    if information <= f64::EPSILON {
        return Ok(0.0);
    }
    let mean = (t.entropy(&t.rows) + t.entropy(&t.columns)) / 2.0;
    Ok(information / mean.max(f64::EPSILON))
}

/// The labelled rows of `x` as `f64`, ordered by group and moved to their mean.
pub(super) struct Grouped {
    /// The rows.
    pub x: Array2<f64>,
    /// Rows of each group.
    pub sizes: Vec<usize>,
    /// Where each row was.
    pub rows: Vec<usize>,
}

pub(super) fn grouped<T: Real>(
    x: ArrayView2<T>,
    labels: &(impl Labels + ?Sized),
) -> Result<Grouped> {
    let groups = labels.groups();
    if groups.len() != x.nrows() {
        return Err(Error::shape("labels", x.nrows(), groups.len()));
    }
    let mut order: Vec<(usize, usize)> =
        groups.iter().enumerate().filter_map(|(i, g)| Some(((*g)?, i))).collect();
    order.sort_unstable();
    let mut sizes = Vec::new();
    for &(g, _) in &order {
        sizes.resize(sizes.len().max(g + 1), 0);
        sizes[g] += 1;
    }
    let (n, k) = (order.len(), sizes.len());
    if k < 2 || k >= n {
        let reason = format!("need 2 to n − 1 groups; found {k} among {n} labelled observations");
        return Err(Error::data("clustering to score", reason));
    }
    let mut sorted = Array2::from_shape_fn((n, x.ncols()), |(i, j)| x[[order[i].1, j]].as_f64());
    if sorted.iter().any(|v| !v.is_finite()) {
        return Err(Error::data("coordinates to score", "hold NaN or infinity; drop those rows"));
    }
    let mean = sorted.mean_axis(Axis(0)).expect("there are rows");
    sorted -= &mean;
    Ok(Grouped { x: sorted, sizes, rows: order.into_iter().map(|(_, i)| i).collect() })
}

/// Mean silhouette coefficient with Euclidean distances (Rousseeuw, 1987), from −1 to 1: for each
/// row (b − a) / max(a, b), where a is its mean distance to its own group and b that to the nearest
/// other group; 0 for a group of one.
///
/// `x` is n × d, one row an observation. Rows without a label are left out. Time grows with n²·d,
/// memory does not. `sklearn.metrics.silhouette_score`.
///
/// # Errors
/// [`Error::Shape`] when there is not one label a row; [`Error::Data`] with fewer than 2 groups, as
/// many groups as rows, or coordinates that are not finite.
pub fn silhouette<T: Real>(x: ArrayView2<T>, labels: &(impl Labels + ?Sized)) -> Result<f64> {
    let scores = silhouette_of(&grouped(x, labels)?);
    Ok(scores.iter().sum::<f64>() / scores.len() as f64)
}

/// The silhouette coefficient of each row, as [`silhouette`] averages them; `None` for rows without
/// a label. `sklearn.metrics.silhouette_samples`.
///
/// # Errors
/// As [`silhouette`].
pub fn silhouette_samples<T: Real>(
    x: ArrayView2<T>,
    labels: &(impl Labels + ?Sized),
) -> Result<Vec<Option<f64>>> {
    let n = x.nrows();
    let grouped = grouped(x, labels)?;
    let mut out = vec![None; n];
    for (&row, score) in grouped.rows.iter().zip(silhouette_of(&grouped)) {
        out[row] = Some(score);
    }
    Ok(out)
}

/// The silhouette coefficient of each of the ordered rows.
pub(super) fn silhouette_of(Grouped { x, sizes, .. }: &Grouped) -> Vec<f64> {
    let n = x.nrows();
    let mut ends = sizes.clone();
    (1..ends.len()).for_each(|g| ends[g] += ends[g - 1]);
    let score = |rows: std::ops::Range<usize>| -> Vec<f64> {
        // Sums of distances from each of the rows to each group.
        let mut sums = Array2::<f64>::zeros((rows.len(), sizes.len()));
        for_distance_tiles(x.view(), rows.clone(), |columns, tile| {
            for (i, row) in tile.rows().into_iter().enumerate() {
                let row = row.to_slice().expect("a tile is contiguous");
                let mut start = columns.start;
                while start < columns.end {
                    let g = ends.partition_point(|&e| e <= start);
                    let end = ends[g].min(columns.end);
                    let part = start - columns.start..end - columns.start;
                    let mut sum: f64 = row[part].iter().map(|d| d.sqrt()).sum();
                    // The distance to itself, 0 but for rounding.
                    if (start..end).contains(&(rows.start + i)) {
                        sum -= row[rows.start + i - columns.start].sqrt();
                    }
                    sums[[i, g]] += sum;
                    start = end;
                }
            }
        });
        let one = |(i, sums): (usize, ndarray::ArrayView1<f64>)| {
            let own = ends.partition_point(|&e| e <= rows.start + i);
            if sizes[own] == 1 {
                return 0.0;
            }
            let a = sums[own] / (sizes[own] - 1) as f64;
            let others = (0..sizes.len()).filter(|&g| g != own);
            let b = others.map(|g| sums[g] / sizes[g] as f64).fold(f64::INFINITY, f64::min);
            let larger = a.max(b);
            if larger > 0.0 { (b - a) / larger } else { 0.0 }
        };
        sums.rows().into_iter().enumerate().map(one).collect()
    };
    // Tiles of at most 128 rows, so that a tile of distances stays in the cache.
    let tiles: Vec<_> = (0..n).step_by(128).map(|s| s..(s + 128).min(n)).collect();
    let scores: Vec<Vec<f64>> = tiles.into_par_iter().map(score).collect();
    scores.concat()
}

/// Davies–Bouldin index (1979): for each group the worst ratio (sᵢ + sⱼ) / dᵢⱼ of its and another
/// group's mean distance to their centres over the distance of the centres, averaged. Lower is
/// better, 0 best.
///
/// `x` is n × d, one row an observation. Rows without a label are left out.
/// `sklearn.metrics.davies_bouldin_score`.
///
/// # Errors
/// As [`silhouette`].
pub fn davies_bouldin<T: Real>(x: ArrayView2<T>, labels: &(impl Labels + ?Sized)) -> Result<f64> {
    let Grouped { x, sizes, .. } = grouped(x, labels)?;
    let k = sizes.len();
    let mut centers = Array2::<f64>::zeros((k, x.ncols()));
    let mut spread = vec![0f64; k];
    let distance = |a: ndarray::ArrayView1<f64>, b: ndarray::ArrayView1<f64>| {
        a.iter().zip(b).map(|(a, b)| (a - b).powi(2)).sum::<f64>().sqrt()
    };
    let mut start = 0;
    for (g, &size) in sizes.iter().enumerate() {
        let rows = x.slice(ndarray::s![start..start + size, ..]);
        centers.row_mut(g).assign(&rows.mean_axis(Axis(0)).expect("no group is empty"));
        let to_center = |r| distance(r, centers.row(g));
        spread[g] = rows.rows().into_iter().map(to_center).sum::<f64>() / size as f64;
        start += size;
    }
    let close_to_zero = |d: f64| d <= 1e-8;
    let apart = |i: usize, j: usize| distance(centers.row(i), centers.row(j));
    let coincide = (0..k).all(|i| (0..i).all(|j| close_to_zero(apart(i, j))));
    if coincide || spread.iter().all(|&s| close_to_zero(s)) {
        return Ok(0.0);
    }
    let worst = |i: usize| {
        let others = (0..k).filter(|&j| j != i);
        others
            .map(|j| match apart(i, j) {
                0.0 => 0.0,
                d => (spread[i] + spread[j]) / d,
            })
            .fold(0f64, f64::max)
    };
    Ok((0..k).map(worst).sum::<f64>() / k as f64)
}

/// Calinski–Harabasz index (1974): the scatter between the centres of the groups over that within
/// groups, each per degree of freedom; 1 where there is none within. Higher is better.
///
/// `x` is n × d, one row an observation. Rows without a label are left out.
/// `sklearn.metrics.calinski_harabasz_score`.
///
/// # Errors
/// As [`silhouette`].
pub fn calinski_harabasz<T: Real>(
    x: ArrayView2<T>,
    labels: &(impl Labels + ?Sized),
) -> Result<f64> {
    // The rows are centred: the mean of all is the origin.
    let Grouped { x, sizes, .. } = grouped(x, labels)?;
    let (mut between, mut within, mut start) = (0f64, 0f64, 0);
    for &size in &sizes {
        let rows = x.slice(ndarray::s![start..start + size, ..]);
        let mean = rows.mean_axis(Axis(0)).expect("no group is empty");
        between += size as f64 * mean.dot(&mean);
        for row in rows.rows() {
            within += row.iter().zip(&mean).map(|(v, m)| (v - m).powi(2)).sum::<f64>();
        }
        start += size;
    }
    if within == 0.0 {
        return Ok(1.0);
    }
    let (n, k) = (x.nrows() as f64, sizes.len() as f64);
    Ok(between * (n - k) / (within * (k - 1.0)))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::anndata::Categorical;
    use crate::rng::Rng;
    use ndarray::array;

    #[test]
    fn names_of_groups_do_not_matter() {
        assert_eq!(ari(&[1, 1, 2, 2], &["x", "x", "y", "y"]).unwrap(), 1.0);
        assert!((nmi(&[1, 1, 2, 2], &["x", "x", "y", "y"]).unwrap() - 1.0).abs() < 1e-15);
    }

    #[test]
    fn known_values() {
        // adjusted_rand_score([0,0,1,2], [0,0,1,1]) and the like, scikit-learn 1.9.
        assert!(
            (ari(&[0, 0, 1, 2], &[0, 0, 1, 1]).unwrap() - 0.571_428_571_428_571_4).abs() < 1e-15
        );
        assert_eq!(ari(&[0, 0, 0, 0], &[0, 1, 2, 3]).unwrap(), 0.0);
        assert_eq!(nmi(&[0, 0, 0, 0], &[0, 1, 2, 3]).unwrap(), 0.0);
        assert_eq!(ari(&[0, 0, 0], &[1, 1, 1]).unwrap(), 1.0);
        assert_eq!(nmi(&[0, 0, 0], &[1, 1, 1]).unwrap(), 1.0);
    }

    #[test]
    fn missing_labels_are_left_out() {
        let truth = Categorical::from_labels(&[Some("a"), None, Some("b"), Some("b")]);
        let got = Categorical::from_numbers(&[1, 2, 2, 2]);
        assert_eq!(ari(&truth, &got).unwrap(), 1.0);
        let none = Categorical::from_labels(&[None::<&str>; 4]);
        assert!(ari(&none, &got).unwrap_err().to_string().contains("no observation"));
        let x = array![[0f32], [f32::NAN], [5.], [5.1]];
        assert!(silhouette(x.view(), &truth).is_ok());
    }

    #[test]
    fn unsuited_clusterings_are_refused() {
        let x = array![[0f64], [1.], [2.]];
        for labels in [[0, 0, 0], [0, 1, 2]] {
            assert!(silhouette(x.view(), &labels).is_err());
            assert!(davies_bouldin(x.view(), &labels).is_err());
        }
        let same = Array2::<f32>::from_elem((4, 2), 3.0);
        let (x4, halves) = (same.view(), [0, 0, 1, 1]);
        assert_eq!(silhouette(x4, &halves).unwrap(), 0.0);
        assert_eq!(davies_bouldin(x4, &halves).unwrap(), 0.0);
        assert_eq!(calinski_harabasz(x4, &halves).unwrap(), 1.0);
        let nan = array![[0.0], [1.0], [f64::NAN]];
        for e in [
            silhouette(nan.view(), &[0, 0, 1]),
            davies_bouldin(nan.view(), &[0, 0, 1]),
            calinski_harabasz(nan.view(), &[0, 0, 1]),
        ] {
            assert!(e.unwrap_err().to_string().contains("hold NaN or infinity"));
        }
        assert!(ari(&[1, 2], &[1, 2, 3]).is_err());
        assert!(silhouette(x.view(), &[0, 1]).is_err());
    }

    #[test]
    fn silhouette_in_tiles_equals_the_definition() {
        let mut rng = Rng::new(3);
        let x = Array2::from_shape_simple_fn((300, 3), || rng.normal());
        let labels: Vec<usize> = (0..300).map(|i| if i == 7 { 9 } else { i % 4 }).collect();
        let distance = |i: usize, j: usize| (&x.row(i) - &x.row(j)).mapv(|v| v * v).sum().sqrt();
        let mut total = 0.0;
        for i in 0..300 {
            let mean = |g: usize| {
                let members: Vec<_> = (0..300).filter(|&j| labels[j] == g && j != i).collect();
                members.iter().map(|&j| distance(i, j)).sum::<f64>() / members.len() as f64
            };
            if labels[i] == 9 {
                continue;
            }
            let a = mean(labels[i]);
            let groups = [0, 1, 2, 3, 9].into_iter().filter(|&g| g != labels[i]);
            let b = groups.map(mean).fold(f64::INFINITY, f64::min);
            total += (b - a) / a.max(b);
        }
        let got = silhouette(x.view(), &labels).unwrap();
        assert!((got - total / 300.0).abs() < 1e-12);
    }
}
