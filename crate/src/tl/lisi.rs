//! The local inverse Simpson index: how many batches, or cell types, the surroundings of a cell
//! hold.
//!
//! As Korsunsky et al. (2019) define it, and harmonypy and scib-metrics compute it: on the nearest
//! neighbours in an embedding, weighted so that their perplexity is the one asked for.

use super::Labels;
use super::perplexity::conditional;
use crate::error::{Error, Result};
use crate::linalg::{Real, nearest_rows};
use ndarray::{Array2, ArrayView2};
use rayon::prelude::*;

/// LISI of each row of `x` (n × d): 1 where all neighbours have the same label, up to the number of
/// labels where they are mixed evenly; `None` for rows without a label, which are no neighbours
/// either. The neighbours are the 3 · `perplexity` − 1 nearest other rows, exactly; harmonypy's
/// default perplexity is 30.
///
/// Time grows with n²·d, memory with n. Equals the published formula within 1e-10 and
/// `harmonypy.compute_lisi` 2.1 within 1e-2 for each cell.
///
/// # Errors
/// [`Error::Shape`] when there is not one label a row; [`Error::Parameter`] when the perplexity is
/// below 1 or asks for more neighbours than there are; [`Error::Data`] when an element is not
/// finite.
pub fn lisi<T: Real>(
    x: ArrayView2<T>,
    labels: &(impl Labels + ?Sized),
    perplexity: f64,
) -> Result<Vec<Option<f64>>> {
    let groups = labels.groups();
    if groups.len() != x.nrows() {
        return Err(Error::shape("labels", x.nrows(), groups.len()));
    }
    let rows: Vec<usize> = (0..groups.len()).filter(|&i| groups[i].is_some()).collect();
    let group: Vec<usize> = groups.iter().flatten().copied().collect();
    let k = 3.0 * perplexity - 1.0;
    if perplexity.is_nan() || perplexity < 1.0 || k >= rows.len() as f64 {
        let most = rows.len() as f64 / 3.0;
        let reason = format!(
            "must be at least 1 and below {most:.0}: a cell has three times as many neighbours, of \
             {} labelled observations",
            rows.len()
        );
        return Err(Error::parameter("perplexity", perplexity, reason));
    }
    let x = Array2::from_shape_fn((rows.len(), x.ncols()), |(i, j)| x[[rows[i], j]].as_f64());
    if x.iter().any(|v| !v.is_finite()) {
        return Err(Error::data("embedding to score", "holds NaN or infinity; drop those rows"));
    }
    let found = nearest_rows(x.view(), k as usize)?;
    let scores = of_neighbors(found.indices.view(), found.distances.view(), &group, perplexity);
    let mut out = vec![None; groups.len()];
    rows.into_iter().zip(scores).for_each(|(row, score)| out[row] = Some(score));
    Ok(out)
}

/// LISI of each row of a graph of nearest neighbours: their rows and Euclidean distances, both
/// n × k. A row that is its own neighbour does not count. Matches `scib_metrics.lisi_knn` 0.5 (with
/// its default perplexity, k / 3) within 1e-5.
///
/// # Errors
/// [`Error::Shape`] when sizes do not fit; [`Error::Parameter`] for a perplexity below 1 or above
/// k; [`Error::Data`] for a label that is missing, a neighbour that is not there, a distance that
/// is no number, or a row that has no neighbour but itself.
pub fn lisi_knn(
    indices: ArrayView2<u32>,
    distances: ArrayView2<f64>,
    labels: &(impl Labels + ?Sized),
    perplexity: f64,
) -> Result<Vec<f64>> {
    let (n, k) = indices.dim();
    if distances.dim() != (n, k) {
        let found = format!("{} × {}", distances.nrows(), distances.ncols());
        return Err(Error::shape("distances of neighbours", format!("{n} × {k}"), found));
    }
    let groups = labels.groups();
    if groups.len() != n {
        return Err(Error::shape("labels", n, groups.len()));
    }
    let group: Option<Vec<usize>> = groups.into_iter().collect();
    let group = group.ok_or_else(|| {
        Error::data("labels", "some are missing; drop those observations from the graph first")
    })?;
    if perplexity.is_nan() || perplexity < 1.0 || perplexity > k as f64 {
        let reason = format!("must be between 1 and the number of neighbours, {k}");
        return Err(Error::parameter("perplexity", perplexity, reason));
    }
    if indices.iter().any(|&i| i as usize >= n) {
        return Err(Error::data("neighbours", format!("name rows beyond the {n} that there are")));
    }
    if distances.iter().any(|d| !d.is_finite() || *d < 0.0) {
        return Err(Error::data("distances of neighbours", "hold numbers that are no distances"));
    }
    let alone = |i: &usize| indices.row(*i).iter().all(|&j| j as usize == *i);
    if let Some(row) = (0..n).find(alone) {
        return Err(Error::data("neighbours", format!("row {row} has none but itself; drop it")));
    }
    Ok(of_neighbors(indices, distances, &group, perplexity))
}

/// iLISI, how well batches are mixed, from 0 (each cell among its own batch) to 1: the median
/// [`lisi`] of the batches, scaled. `scib_metrics.ilisi_knn`.
///
/// # Errors
/// Those of [`lisi`]; [`Error::Data`] when there is one batch only.
pub fn ilisi<T: Real>(
    x: ArrayView2<T>,
    batches: &(impl Labels + ?Sized),
    perplexity: f64,
) -> Result<f64> {
    let (median, n) = scaled(x, batches, perplexity)?;
    Ok((median - 1.0) / (n - 1.0))
}

/// cLISI, how well cell types are kept apart, from 0 (mixed) to 1: the median [`lisi`] of the cell
/// types, scaled. `scib_metrics.clisi_knn`.
///
/// # Errors
/// Those of [`lisi`]; [`Error::Data`] when there is one cell type only.
pub fn clisi<T: Real>(
    x: ArrayView2<T>,
    labels: &(impl Labels + ?Sized),
    perplexity: f64,
) -> Result<f64> {
    let (median, n) = scaled(x, labels, perplexity)?;
    Ok((n - median) / (n - 1.0))
}

fn scaled<T: Real>(
    x: ArrayView2<T>,
    labels: &(impl Labels + ?Sized),
    perplexity: f64,
) -> Result<(f64, f64)> {
    let n = labels.groups().into_iter().flatten().max().map_or(0, |m| m + 1);
    if n < 2 {
        return Err(Error::data("labels", format!("need at least two groups, found {n}")));
    }
    let mut scores: Vec<f64> = lisi(x, labels, perplexity)?.into_iter().flatten().collect();
    scores.sort_unstable_by(f64::total_cmp);
    let middle = scores.len() / 2;
    let median = match scores.len() % 2 {
        0 => (scores[middle - 1] + scores[middle]) / 2.0,
        _ => scores[middle],
    };
    Ok((median, n as f64))
}

fn of_neighbors(
    indices: ArrayView2<u32>,
    distances: ArrayView2<f64>,
    group: &[usize],
    perplexity: f64,
) -> Vec<f64> {
    let groups = group.iter().max().map_or(0, |m| m + 1);
    let one = |i: usize| {
        let (labels, distances): (Vec<usize>, Vec<f64>) = indices
            .row(i)
            .iter()
            .zip(distances.row(i))
            .filter(|(j, _)| **j as usize != i)
            .map(|(&j, &d)| (group[j as usize], d))
            .unzip();
        let weights = conditional(&distances, perplexity);
        let mut sums = vec![0f64; groups];
        labels.iter().zip(&weights).for_each(|(&g, w)| sums[g] += w);
        1.0 / sums.iter().map(|s| s * s).sum::<f64>()
    };
    (0..indices.nrows()).into_par_iter().with_min_len(64).map(one).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::anndata::Categorical;
    use crate::parallel::same_with_any_threads;
    use crate::rng::Rng;

    fn points(n: usize, apart: f64) -> (Array2<f64>, Vec<usize>) {
        let mut rng = Rng::new(7);
        let labels: Vec<usize> = (0..n).map(|i| i % 2).collect();
        let x = Array2::from_shape_fn((n, 4), |(i, _)| rng.normal() + apart * labels[i] as f64);
        (x, labels)
    }

    #[test]
    fn mixed_labels_score_high_and_separate_ones_low() {
        let (x, labels) = points(400, 0.0);
        assert!(ilisi(x.view(), &labels, 30.0).unwrap() > 0.8);
        let (x, labels) = points(400, 40.0);
        let all = same_with_any_threads(|| lisi(x.view(), &labels, 30.0).unwrap());
        assert!(all.iter().flatten().all(|v| (v - 1.0).abs() < 1e-12));
        assert!((clisi(x.view(), &labels, 30.0).unwrap() - 1.0).abs() < 1e-12);
        assert!(ilisi(x.view(), &labels, 30.0).unwrap().abs() < 1e-12);
    }

    #[test]
    fn neighbours_in_tiles_equal_those_of_a_tree() {
        let (x, labels) = points(300, 1.0);
        let (index, distance) = crate::linalg::knn(x.view(), 30).unwrap();
        let from_tree = lisi_knn(index.view(), distance.view(), &labels, 10.0).unwrap();
        let own: Vec<f64> = lisi(x.view(), &labels, 10.0).unwrap().into_iter().flatten().collect();
        for (a, b) in own.iter().zip(&from_tree) {
            assert!((a - b).abs() < 1e-6, "{a} is not {b}");
        }
    }

    #[test]
    fn rows_without_a_label_are_left_out() {
        let (x, _) = points(60, 0.0);
        let labels: Vec<_> = (0..60).map(|i| (i > 2).then_some(["a", "b"][i % 2])).collect();
        let got = lisi(x.view(), &Categorical::from_labels(&labels), 5.0).unwrap();
        assert_eq!(got.iter().filter(|v| v.is_none()).count(), 3);
        assert!(got[0].is_none() && got[3].unwrap() >= 1.0);
    }

    #[test]
    fn coinciding_points_have_a_score_too() {
        let x = Array2::<f64>::zeros((50, 2));
        let labels: Vec<usize> = (0..50).map(|i| i % 2).collect();
        assert!(lisi(x.view(), &labels, 5.0).unwrap().into_iter().flatten().all(|v| v.is_finite()));
    }

    #[test]
    fn bad_arguments_are_refused() {
        let (mut x, labels) = points(30, 0.0);
        for p in [0.5, f64::NAN, 11.0] {
            assert!(lisi(x.view(), &labels, p).unwrap_err().to_string().contains("perplexity"));
        }
        assert!(lisi(x.view(), &labels[1..], 3.0).is_err());
        assert!(ilisi(x.view(), &[1; 30], 3.0).unwrap_err().to_string().contains("two groups"));
        x[[4, 0]] = f64::NAN;
        assert!(lisi(x.view(), &labels, 3.0).is_err());
        let (index, far) = (Array2::from_elem((2, 1), 5u32), Array2::from_elem((2, 1), 1.0));
        let e = lisi_knn(index.view(), far.view(), &[0, 1], 1.0).unwrap_err().to_string();
        assert!(e.contains("beyond the 2"), "{e}");
        let refuse = |index: Array2<u32>, far: f64, labels: &Categorical, words: &str| {
            let far = Array2::from_elem(index.dim(), far);
            let e = lisi_knn(index.view(), far.view(), labels, 1.0).unwrap_err().to_string();
            assert!(e.contains(words), "{e}");
        };
        let both = Categorical::from_labels(&[Some("a"), Some("b")]);
        let index = || ndarray::array![[0u32, 1], [1, 1]];
        refuse(index(), 1.0, &both, "neighbours: row 1 has none but itself");
        refuse(index(), f64::NAN, &both, "no distances");
        refuse(index(), -1.0, &both, "no distances");
        let missing = Categorical::from_labels(&[Some("a"), None]);
        refuse(index(), 1.0, &missing, "labels: some are missing");
    }
}
