//! [`refine_labels`]: labels made smooth in space.

use crate::anndata::{AnnData, Categorical};
use crate::error::{Error, Result};
use crate::linalg::knn;
use ndarray::Axis;
use rayon::prelude::*;

/// Options of [`refine_labels`]. A builder.
#[derive(Debug, Clone, PartialEq)]
pub struct Refine {
    n_neighbors: usize,
    slices: Option<String>,
    key_added: Option<String>,
}

impl Default for Refine {
    fn default() -> Self {
        Refine { n_neighbors: 50, slices: None, key_added: None }
    }
}

impl Refine {
    /// How many of the nearest observations vote. Default: 50.
    pub fn n_neighbors(mut self, n: usize) -> Self {
        self.n_neighbors = n;
        self
    }

    /// The column of `obs` that says which slice an observation is from; only those of its own slice vote.
    /// Default: none.
    pub fn slices(mut self, column: impl Into<String>) -> Self {
        self.slices = Some(column.into());
        self
    }

    /// The column of `obs` to write. Default: the labels themselves are replaced.
    pub fn key_added(mut self, key: impl Into<String>) -> Self {
        self.key_added = Some(key.into());
        self
    }
}

/// Gives each observation the label that most of its nearest observations have in `obs[key]`, its own not
/// counted; returns how many labels changed. The refinement that GraphST and others apply to domains (Long et
/// al., 2023); with its defaults and no ties the same labels.
///
/// Of labels that equally many have, an observation keeps its own, or else takes that of the nearest. Missing
/// labels stay missing and have no vote. Reads `obsm["spatial"]`.
///
/// # Errors
/// [`Error::MissingKey`] without the column or coordinates; [`Error::Parameter`] for no neighbours;
/// [`Error::Data`] with coordinates that are not numbers.
pub fn refine_labels(adata: &mut AnnData, key: &str, options: &Refine) -> Result<usize> {
    if options.n_neighbors == 0 {
        return Err(Error::parameter("n_neighbors", 0, "must be at least 1"));
    }
    let labels = adata.obs_column(key)?.to_categorical();
    let coordinates = adata.spatial()?;
    let slice: Vec<i32> = match &options.slices {
        Some(column) => adata.obs_column(column)?.to_categorical().codes.clone(),
        None => vec![0; adata.n_obs()],
    };
    let mut codes = labels.codes.clone();
    let mut slices = slice.clone();
    slices.sort_unstable();
    slices.dedup();
    for s in slices {
        let rows: Vec<usize> =
            (0..codes.len()).filter(|&i| slice[i] == s && labels.codes[i] >= 0).collect();
        let k = options.n_neighbors.min(rows.len().saturating_sub(1));
        if k == 0 {
            continue;
        }
        // One more, which is the observation itself or one at its very place.
        let (near, _) = knn(coordinates.select(Axis(0), &rows).view(), k + 1)?;
        let new: Vec<i32> =
            (rows.par_iter().zip(near.axis_iter(Axis(0)).into_par_iter()).enumerate())
                .map(|(own, (&i, near))| {
                    let others = near.iter().filter(|&&j| j as usize != own).take(k);
                    let votes: Vec<i32> = others.map(|&j| labels.codes[rows[j as usize]]).collect();
                    majority(labels.codes[i], &votes)
                })
                .collect();
        rows.iter().zip(new).for_each(|(&i, label)| codes[i] = label);
    }
    let changed = codes.iter().zip(&labels.codes).filter(|(a, b)| a != b).count();
    let refined = Categorical { codes, ..labels };
    adata.obs.insert(options.key_added.as_deref().unwrap_or(key), refined)?;
    Ok(changed)
}

/// The label of most votes, which are in order of distance.
fn majority(own: i32, votes: &[i32]) -> i32 {
    let count = |label: i32| votes.iter().filter(|&&v| v == label).count();
    let (mut best, mut most) = (own, count(own));
    for &label in votes {
        let n = count(label);
        if n > most {
            (best, most) = (label, n);
        }
    }
    best
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::anndata::Frame;
    use ndarray::Array2;

    /// A square grid of two halves, with a spot of the other half in each, one missing label.
    fn slide() -> AnnData {
        let n = 100;
        let mut a =
            AnnData::new(Array2::<f32>::zeros((n, 1)), Frame::with_len(n), Frame::with_len(1))
                .unwrap();
        let xy =
            Array2::from_shape_fn((n, 2), |(i, k)| if k == 0 { i % 10 } else { i / 10 } as f64);
        a.obsm.insert("spatial".into(), xy.into());
        let half = |i: usize| if (i % 10 < 5) != (i == 33 || i == 77) { "left" } else { "right" };
        let labels: Vec<_> = (0..n).map(|i| (i != 0).then(|| half(i).to_string())).collect();
        a.obs.insert("half", Categorical::from_labels(&labels)).unwrap();
        a
    }

    #[test]
    fn single_labels_follow_their_surroundings_and_missing_ones_stay() {
        let mut a = slide();
        let options = Refine::default().n_neighbors(8).key_added("refined");
        assert_eq!(refine_labels(&mut a, "half", &options).unwrap(), 2);
        let text = |a: &AnnData, i: usize| a.obs_column("refined").unwrap().text(i);
        assert_eq!((text(&a, 33).unwrap(), text(&a, 77).unwrap()), ("left".into(), "right".into()));
        assert!(text(&a, 0).is_none());
        assert_eq!(a.obs_column("half").unwrap().text(33).unwrap(), "right");
        // Every second spot another slice: the wrong one still has 8 neighbours of its own.
        let slices: Vec<i64> = (0..100).map(|i| i % 2).collect();
        a.obs.insert("slice", slices).unwrap();
        let options = Refine::default().n_neighbors(8).slices("slice");
        assert_eq!(refine_labels(&mut a, "half", &options).unwrap(), 2);
        assert!(refine_labels(&mut a, "half", &Refine::default().n_neighbors(0)).is_err());
        assert!(refine_labels(&mut a, "nothing", &Refine::default()).is_err());
    }

    #[test]
    fn ties_keep_the_own_label_or_take_the_nearest() {
        assert_eq!(majority(1, &[1, 2, 2, 1]), 1);
        assert_eq!(majority(0, &[2, 1, 1, 2]), 2);
        assert_eq!(majority(0, &[0, 1, 1]), 1);
    }
}
