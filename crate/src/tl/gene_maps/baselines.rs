//! Predictions of hidden spots from measured ones that need no model.

use super::{chosen, expression};
use crate::anndata::{AnnData, Select};
use crate::error::{Error, Result};
use crate::linalg::{KdTree, Neighbor, Real};
use crate::tl::{Ridge, RidgeFit};
use ndarray::{Array2, ArrayView2, Axis, Zip};

/// Options of predicting spots from the measured spots around them; [`Interpolate::predict`] takes
/// arrays, [`interpolate_genes`] an [`AnnData`].
#[derive(Debug, Clone, PartialEq)]
pub struct Interpolate {
    k: usize,
    power: f64,
    layer: Option<String>,
    key_added: String,
}

impl Interpolate {
    /// Every spot takes the expression of the nearest measured spot; of equally near ones that of
    /// the first.
    pub fn nearest() -> Self {
        Interpolate { k: 1, power: 0.0, layer: None, key_added: "nearest".into() }
    }

    /// Every spot takes the mean of the 8 nearest measured spots, weighted by one over the squared
    /// distance (Shepard, 1968).
    pub fn inverse_distance() -> Self {
        Interpolate { k: 8, power: 2.0, layer: None, key_added: "idw".into() }
    }

    /// How many measured spots to look at; all where there are fewer. Of equally distant ones the
    /// first count. Default: 1 or 8.
    pub fn k(mut self, k: usize) -> Self {
        self.k = k;
        self
    }

    /// The power p of the weights 1 / distanceᵖ; 0 for a plain mean. Default: 2.
    pub fn power(mut self, power: f64) -> Self {
        self.power = power;
        self
    }

    /// For [`interpolate_genes`]: the layer with the expression. Default: X.
    pub fn layer(mut self, key: impl Into<String>) -> Self {
        self.layer = Some(key.into());
        self
    }

    /// For [`interpolate_genes`]: the layer to write. Default: `nearest` or `idw`.
    pub fn key_added(mut self, key: impl Into<String>) -> Self {
        self.key_added = key.into();
        self
    }

    /// The expression (t × m) at `targets` (t × 2 or 3) from that of measured spots, `values`
    /// (n × m) at `coordinates` (n × as many). A target on a measured spot takes its values; on
    /// several, their mean.
    ///
    /// # Errors
    /// [`Error::Parameter`] when `k` is 0 or the power is negative or not finite; [`Error::Shape`]
    /// when sizes do not agree; [`Error::Data`] without a measured spot, or for a coordinate that is
    /// not finite.
    pub fn predict<T: Real>(
        &self,
        coordinates: ArrayView2<f64>,
        values: ArrayView2<T>,
        targets: ArrayView2<f64>,
    ) -> Result<Array2<T>> {
        self.check(coordinates, values)?;
        if coordinates.ncols() != targets.ncols() {
            let (expected, found) = (coordinates.ncols(), targets.ncols());
            return Err(Error::shape("columns of the targets' coordinates", expected, found));
        }
        if let Some(i) = targets.rows().into_iter().position(|r| !r.iter().all(|x| x.is_finite())) {
            return Err(Error::data("targets' coordinates", format!("row {i} is not finite")));
        }
        let tree = KdTree::new(coordinates)?;
        Ok(self.means(values, targets, |_, target| tree.nearest(target, self.k)))
    }

    /// The expression (n × m) of every measured spot from that of the others, as if it had not been
    /// measured itself.
    ///
    /// # Errors
    /// As [`predict`](Interpolate::predict); [`Error::Data`] for a single spot.
    pub fn predict_left_out<T: Real>(
        &self,
        coordinates: ArrayView2<f64>,
        values: ArrayView2<T>,
    ) -> Result<Array2<T>> {
        self.check(coordinates, values)?;
        if coordinates.nrows() == 1 {
            return Err(Error::data(
                "measured spots",
                "there is one, and no other to predict from",
            ));
        }
        let tree = KdTree::new(coordinates)?;
        Ok(self.means(values, coordinates, |i, spot| {
            let mut near = tree.nearest(spot, self.k + 1);
            // Of spots that share a place, it may not be among the nearest.
            let itself = near.iter().position(|n| n.index == i).unwrap_or(near.len() - 1);
            near.remove(itself);
            near
        }))
    }

    /// What can be judged without targets.
    fn check<T>(&self, coordinates: ArrayView2<f64>, values: ArrayView2<T>) -> Result<()> {
        if self.k == 0 {
            return Err(Error::parameter("k", 0, "must be at least 1"));
        }
        if !self.power.is_finite() || self.power < 0.0 {
            return Err(Error::parameter("power", self.power, "must be 0 or more"));
        }
        if coordinates.nrows() != values.nrows() {
            return Err(Error::shape("rows of expression", coordinates.nrows(), values.nrows()));
        }
        if coordinates.nrows() == 0 {
            return Err(Error::data("measured spots", "there are none to predict from"));
        }
        Ok(())
    }

    /// For each target the weighted mean of the measured spots that are `near` it.
    fn means<T: Real>(
        &self,
        values: ArrayView2<T>,
        targets: ArrayView2<f64>,
        near: impl Fn(usize, &[f64]) -> Vec<Neighbor> + Sync,
    ) -> Array2<T> {
        let mut out = Array2::<T>::zeros((targets.nrows(), values.ncols()));
        Zip::indexed(out.rows_mut()).and(targets.rows()).par_for_each(|i, mut out, target| {
            let near = near(i, &target.to_vec());
            let weights = self.weights(&near.iter().map(|n| n.distance).collect::<Vec<_>>());
            let mut sums = vec![0f64; out.len()];
            for (near, weight) in near.iter().zip(weights).filter(|(_, w)| *w > 0.0) {
                let row = values.row(near.index);
                sums.iter_mut().zip(row).for_each(|(s, v)| *s += weight * v.as_f64());
            }
            out.iter_mut().zip(sums).for_each(|(o, s)| *o = T::from_f64(s));
        });
        out
    }

    /// Weights that sum to 1, for rising distances.
    fn weights(&self, distances: &[f64]) -> Vec<f64> {
        let first = distances[0];
        let weight = |&d: &f64| match first {
            0.0 => f64::from(d == 0.0),
            // The nearest one weighs 1, so that no power of a distance overflows.
            _ => (first / d).powf(self.power),
        };
        let weights: Vec<f64> = distances.iter().map(weight).collect();
        let sum: f64 = weights.iter().sum();
        weights.into_iter().map(|w| w / sum).collect()
    }
}

/// Positions that are true, and those that are not.
fn halves(mask: &[bool]) -> (Vec<usize>, Vec<usize>) {
    (0..mask.len()).partition(|&i| mask[i])
}

/// Predicts the expression of the `hidden` spots from that of the others by their places.
///
/// Reads `obsm["spatial"]` and X, or the layer that the options name; nothing of the hidden spots
/// but their places. Writes the layer `key_added` (n × genes, `f32`), in which the measured spots
/// keep their own expression (the mean of those that share a place).
///
/// # Errors
/// Those of [`Interpolate::predict`]; [`Error::MissingKey`] without coordinates, matrix or layer, or
/// for a spot that does not exist; [`Error::Data`] when no spot is measured.
pub fn interpolate_genes(
    adata: &mut AnnData,
    hidden: impl Into<Select>,
    options: Interpolate,
) -> Result<()> {
    let (_, measured) = halves(&chosen(adata, hidden.into())?);
    let place = adata.spatial()?;
    let values = expression(adata, options.layer.as_deref())?.take_rows(&measured).to_array_f32();
    let known = place.select(Axis(0), &measured);
    let out = options.predict(known.view(), values.view(), place.view())?;
    adata.layers.insert(options.key_added, out.into());
    Ok(())
}

/// Predicts the expression of all spots from their features by a ridge regression on the spots that
/// are not `hidden`. The strength of the penalty is chosen on these too; nothing of the hidden spots
/// is used but their features.
///
/// Reads `obsm[use_rep]` and X, or the layer that the options name. Writes the layer `key_added`
/// (n × genes, `f32`).
///
/// # Errors
/// Those of [`Ridge::fit`]; [`Error::MissingKey`] without features, matrix or layer, or for a spot
/// that does not exist; [`Error::Data`] when a feature of a hidden spot is not finite.
pub fn ridge_genes(
    adata: &mut AnnData,
    hidden: impl Into<Select>,
    options: Ridge,
) -> Result<RidgeFit> {
    let (_, measured) = halves(&chosen(adata, hidden.into())?);
    let features = adata.obsm(&options.use_rep)?.to_array_f64();
    crate::tl::ridge::finite(&format!("obsm[\"{}\"]", options.use_rep), features.view())?;
    let values = expression(adata, options.layer.as_deref())?.take_rows(&measured).to_array_f32();
    let fit = options.fit(features.select(Axis(0), &measured).view(), values.view())?;
    let out = fit.predict(features.view())?.mapv(|v| v as f32);
    adata.layers.insert(options.key_added, out.into());
    Ok(fit)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::anndata::Frame;
    use crate::parallel::same_with_any_threads;
    use crate::rng::Rng;
    use ndarray::array;

    #[test]
    fn near_spots_weigh_by_their_inverse_squared_distance() {
        let at = array![[0.0, 0.0], [3.0, 0.0], [0.0, 6.0], [50.0, 0.0]];
        let values = array![[1f64, 10.0], [5.0, 20.0], [9.0, 0.0], [99.0, 99.0]];
        let to = array![[1.0, 0.0], [3.0, 0.0]];
        let idw = Interpolate::inverse_distance().k(2);
        let got = idw.predict(at.view(), values.view(), to.view()).unwrap();
        // Distances 1 and 2: weights 4/5 and 1/5. On a spot, its values.
        assert!((&got - &array![[1.8, 12.0], [5.0, 20.0]]).iter().all(|d| d.abs() < 1e-12));
        let plain = idw.power(0.0).predict(at.view(), values.view(), to.view()).unwrap();
        assert_eq!(plain.row(0).to_vec(), [3.0, 15.0]);
        let near = Interpolate::nearest().predict(at.view(), values.view(), to.view()).unwrap();
        assert_eq!(near, array![[1.0, 10.0], [5.0, 20.0]]);
    }

    #[test]
    fn a_spot_left_out_is_predicted_from_the_others() {
        let at = array![[0.0, 0.0], [3.0, 0.0], [0.0, 6.0], [0.0, 0.0], [50.0, 0.0]];
        let values = array![[1f64], [5.0], [9.0], [2.0], [7.0]];
        let idw = Interpolate::inverse_distance().k(2);
        let got = idw.predict_left_out(at.view(), values.view()).unwrap();
        for i in 0..5 {
            let others: Vec<usize> = (0..5).filter(|&j| j != i).collect();
            let (at_others, of) = (at.select(Axis(0), &others), values.select(Axis(0), &others));
            let target = at.select(Axis(0), &[i]);
            let expected = idw.predict(at_others.view(), of.view(), target.view()).unwrap();
            assert_eq!(got.row(i), expected.row(0), "spot {i}");
        }
        let one = (at.select(Axis(0), &[0]), values.select(Axis(0), &[0]));
        let e = idw.predict_left_out(one.0.view(), one.1.view()).unwrap_err().to_string();
        assert!(e.contains("no other"), "{e}");
    }

    #[test]
    fn equal_values_stay_and_extreme_distances_do_not_overflow() {
        let at = array![[0.0, 0.0], [0.0, 0.0], [1e-160, 0.0], [1e160, 0.0]];
        let values = array![[2f32], [4.0], [7.0], [7.0]];
        let idw = Interpolate::inverse_distance();
        let got = idw.predict(at.view(), values.view(), array![[0.0, 0.0], [1e150, 0.0]].view());
        let got = got.unwrap();
        // On two spots their mean; far from three of them a mean of these.
        assert_eq!(got[[0, 0]], 3.0);
        assert!(got[[1, 0]] >= 2.0 && got[[1, 0]] <= 7.0, "{got}");
    }

    fn slide(n: usize) -> AnnData {
        let mut rng = Rng::new(4);
        let place =
            Array2::from_shape_fn(
                (n, 2),
                |(i, d)| {
                    if d == 0 { (i % 20) as f64 } else { (i / 20) as f64 }
                },
            );
        let features = Array2::from_shape_simple_fn((n, 6), || rng.normal());
        let x = Array2::from_shape_fn((n, 3), |(i, j)| match j {
            0 => place[[i, 0]] as f32,
            1 => (features[[i, 1]] - 2.0 * features[[i, 3]]) as f32 + 5.0,
            _ => 1.0,
        });
        let mut adata = AnnData::new(x, Frame::with_len(n), Frame::with_len(3)).unwrap();
        adata.obsm.insert("spatial".into(), place.into());
        adata.obsm.insert("image".into(), features.into());
        adata
    }

    #[test]
    fn hidden_expression_is_never_looked_at() {
        let hidden: Vec<usize> = (0..400).filter(|i| i % 3 == 1).collect();
        let fill = |a: &mut AnnData| {
            interpolate_genes(a, &hidden[..], Interpolate::inverse_distance()).unwrap();
            interpolate_genes(a, &hidden[..], Interpolate::nearest()).unwrap();
            ridge_genes(a, &hidden[..], Ridge::default().use_rep("image")).unwrap();
        };
        let mut a = slide(400);
        fill(&mut a);
        let mut x = a.x().unwrap().to_array_f32();
        hidden.iter().for_each(|&i| x.row_mut(i).fill(f32::NAN));
        let mut b = AnnData { x: Some(x.into()), layers: Default::default(), ..a.clone() };
        fill(&mut b);
        assert_eq!(a.layers, b.layers);
    }

    #[test]
    fn each_baseline_finds_what_it_can_see() {
        let hidden: Vec<bool> = (0..400).map(|i| i % 3 == 1).collect();
        let mut a = slide(400);
        let layers = same_with_any_threads(|| {
            let mut a = a.clone();
            interpolate_genes(&mut a, &hidden[..], Interpolate::inverse_distance()).unwrap();
            ridge_genes(&mut a, &hidden[..], Ridge::default().use_rep("image")).unwrap();
            a.layers
        });
        a.layers = layers;
        let truth = a.x().unwrap().to_array_f64();
        let error = |layer: &str, gene: usize| {
            let got = a.layers[layer].to_array_f64();
            let of = |i: usize| (got[[i, gene]] - truth[[i, gene]]).abs();
            (0..400).filter(|&i| hidden[i]).map(of).sum::<f64>() / 133.0
        };
        assert!(error("idw", 0) < 0.3 && error("ridge", 1) < 1e-3);
        assert!(error("idw", 1) > 1.0 && error("ridge", 0) > 1.0);
        assert!(error("idw", 2) < 1e-6 && error("ridge", 2) < 1e-6);
        let kept = a.layers["idw"].to_array_f32();
        assert_eq!(kept.row(0), a.x().unwrap().to_array_f32().row(0));
    }

    #[test]
    fn bad_arguments_are_refused() {
        let (at, values) = (array![[0.0, 0.0]], array![[1f32]]);
        let said = |i: Interpolate, to: Array2<f64>| {
            i.predict(at.view(), values.view(), to.view()).unwrap_err().to_string()
        };
        let idw = Interpolate::inverse_distance;
        assert!(said(idw().k(0), array![[1.0, 1.0]]).contains("k = 0"));
        assert!(said(idw().power(-1.0), array![[1.0, 1.0]]).contains("power = -1"));
        assert!(said(idw(), array![[1.0]]).contains("expected 2, found 1"));
        assert!(said(idw(), array![[1.0, f64::NAN]]).contains("row 0"));
        let two = Array2::<f64>::zeros((2, 2));
        assert!(idw().predict(two.view(), values.view(), two.view()).is_err());
        let mut a = slide(40);
        let e = interpolate_genes(&mut a, .., idw()).unwrap_err().to_string();
        assert!(e.contains("measured spots: there are none"), "{e}");
        assert!(ridge_genes(&mut a, 0..39, Ridge::default().use_rep("image")).is_err());
        let e = ridge_genes(&mut a, 0..9, Ridge::default()).unwrap_err().to_string();
        assert!(e.contains("obsm has no entry `X_pca`"), "{e}");
        assert!(a.layers.is_empty());
    }
}
