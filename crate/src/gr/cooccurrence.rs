//! [`co_occurrence`]: which clusters are found near which, by distance.

use super::graph::{labels, points};
use super::pairs;
use crate::anndata::{AnnData, Map, Value, Values};
use crate::error::{Error, Result};

/// Options of [`co_occurrence`].
#[derive(Debug, Clone, PartialEq)]
pub struct CoOccurrence {
    cluster_key: String,
    spatial_key: String,
    interval: Interval,
}

#[derive(Debug, Clone, PartialEq)]
enum Interval {
    Steps(usize),
    At(Vec<f64>),
}

impl CoOccurrence {
    /// Of the clusters in this column of `obs`.
    pub fn new(cluster_key: impl Into<String>) -> Self {
        CoOccurrence {
            cluster_key: cluster_key.into(),
            spatial_key: "spatial".into(),
            interval: Interval::Steps(50),
        }
    }

    /// The entry of `obsm` with the coordinates. Default: `spatial`.
    pub fn spatial_key(mut self, key: impl Into<String>) -> Self {
        self.spatial_key = key.into();
        self
    }

    /// How many distances, at equal steps up to half the way between the spots of the least and the
    /// greatest x + y. Default: 50.
    pub fn interval(mut self, steps: usize) -> Self {
        self.interval = Interval::Steps(steps);
        self
    }

    /// These distances, in any order; of the first no result is given.
    pub fn interval_at(mut self, distances: &[f64]) -> Self {
        self.interval = Interval::At(distances.to_vec());
        self
    }
}

impl Interval {
    /// The distances, rising, in the `f32` that squidpy computes them in.
    fn distances(&self, points: &[[f64; 2]]) -> Result<Vec<f32>> {
        match self {
            Interval::At(given) => {
                if let Some(bad) = given.iter().find(|d| !d.is_finite() || **d < 0.0) {
                    let reason = "must be finite distances that are not negative";
                    return Err(Error::parameter("interval", bad, reason));
                }
                let mut d: Vec<f32> = given.iter().map(|&d| d as f32).collect();
                d.sort_unstable_by(f32::total_cmp);
                Ok(d)
            }
            Interval::Steps(steps) => {
                let (from, to) = ends(points)?;
                let step = (to - from) / (*steps as f32 - 1.0);
                let mut d: Vec<f32> = (0..*steps).map(|i| i as f32 * step + from).collect();
                if let Some(last) = d.last_mut() {
                    *last = to;
                }
                Ok(d)
            }
        }
    }
}

/// The distance between the two spots of the least x + y, and half of that between the first of
/// them and the spot of the greatest.
fn ends(points: &[[f64; 2]]) -> Result<(f32, f32)> {
    if points.len() < 3 {
        let reason = format!("needs 3 spots to choose distances, found {}", points.len());
        return Err(Error::data("co-occurrence", reason));
    }
    let sum = |i: usize| points[i][0] as f32 + points[i][1] as f32;
    let less = |&a: &usize, &b: &usize| sum(a).total_cmp(&sum(b));
    let lowest = (0..points.len()).min_by(less).expect("points");
    let second = (0..points.len()).filter(|&i| i != lowest).min_by(less).expect("points");
    // The first of equal ones, as numpy's argmax.
    let highest = (0..points.len()).rev().max_by(less).expect("points");
    let apart = |a: usize, b: usize| {
        let (dx, dy) = (points[a][0] - points[b][0], points[a][1] - points[b][1]);
        (dx * dx + dy * dy).sqrt()
    };
    let (from, to) = (apart(lowest, second) as f32, (apart(lowest, highest) / 2.0) as f32);
    if from >= to {
        let reason = format!(
            "distances cannot be chosen: the first would be {from}, the last {to}. Give them with \
             `.interval_at(…)`"
        );
        return Err(Error::data("co-occurrence", reason));
    }
    Ok((from, to))
}

/// Measures how much more often than anywhere a cluster is found within a distance of another:
/// p(cluster | the other within r) / p(cluster), the probabilities being those of pairs of spots
/// at most r apart.
///
/// Matches `squidpy.gr.co_occurrence` 1.8.2 within 1e-3: counts are exact here, while squidpy
/// measures distances in `f32`, so that pairs at a limit fall on either side. All pairs up to the
/// largest distance are met once; neither n × n nor n × clusters² is held in memory.
///
/// Writes `uns["<cluster_key>_co_occurrence"]` with `occ`, clusters × clusters × (distances − 1)
/// (first axis: the cluster whose probability it is, second: the one it is near to), and
/// `interval`, the distances. A cluster without spots, or two clusters without a pair that near,
/// have 0.
///
/// # Errors
/// [`Error::MissingKey`] without the column or the coordinates; [`Error::Data`] when a spot has no
/// cluster, a coordinate is not finite, or the distances cannot be chosen; [`Error::Parameter`] for
/// fewer than 2 distances.
pub fn co_occurrence(adata: &mut AnnData, options: CoOccurrence) -> Result<()> {
    let (clusters, codes) = labels(adata, &options.cluster_key)?;
    let points = points(adata, &options.spatial_key)?;
    let given = match &options.interval {
        Interval::Steps(n) => *n,
        Interval::At(d) => d.len(),
    };
    if given < 2 {
        return Err(Error::parameter("interval", given, "needs at least 2 distances"));
    }
    let interval = options.interval.distances(&points)?;
    let squares: Vec<f64> = interval[1..].iter().map(|&d| f64::from(d) * f64::from(d)).collect();
    let (k, bins) = (clusters.categories.len(), squares.len());
    let counts = pairs::counts(&points, &codes, k, &squares, Some("co-occurrence"))?;
    let occ = probabilities(&counts, k, bins);
    let mut result: Map<Value> = Map::new();
    result.insert("occ".into(), Value::Array { shape: vec![k, k, bins], values: occ.into() });
    let shape = vec![interval.len()];
    result.insert("interval".into(), Value::Array { shape, values: Values::F32(interval) });
    adata.uns.insert(format!("{}_co_occurrence", options.cluster_key), result.into());
    Ok(())
}

fn probabilities(counts: &[u64], k: usize, bins: usize) -> Vec<f64> {
    let at = |a: usize, b: usize, r: usize| (a * k + b) * bins + r;
    let mut occ = vec![0.0; counts.len()];
    for r in 0..bins {
        let near: Vec<f64> =
            (0..k).map(|b| (0..k).map(|a| counts[at(a, b, r)]).sum::<u64>() as f64).collect();
        let total: f64 = near.iter().sum();
        for c in 0..k {
            for i in 0..k {
                if near[i] > 0.0 && near[c] > 0.0 {
                    let given = counts[at(c, i, r)] as f64 / near[c];
                    occ[at(i, c, r)] = given / (near[i] / total);
                }
            }
        }
    }
    occ
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::gr::sample::slide;

    fn occ(a: &AnnData) -> (Vec<usize>, Vec<f64>) {
        match a.uns["cluster_co_occurrence"].at(&["occ"]) {
            Some(Value::Array { shape, values }) => (shape.clone(), values.to_f64().into_owned()),
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn clusters_side_by_side_are_nearest_to_themselves() {
        let mut a = slide(12, 10);
        co_occurrence(&mut a, CoOccurrence::new("cluster").interval_at(&[0.0, 1.0, 3.0])).unwrap();
        let (shape, occ) = occ(&a);
        assert_eq!(shape, [3, 3, 2]);
        // Left, middle and right third: left never within 3 of right... but of itself.
        assert!(occ[0] > 2.0 && occ[(2 * 3) * 2] == 0.0, "{occ:?}");
        // p(i|c)/p(i) is symmetric.
        for r in 0..2 {
            assert!((occ[2 + r] - occ[6 + r]).abs() < 1e-12);
        }
    }

    #[test]
    fn distances_are_chosen_as_squidpy_does() {
        let mut a = slide(12, 10);
        co_occurrence(&mut a, CoOccurrence::new("cluster").interval(5)).unwrap();
        let Some(Value::Array { values, .. }) = a.uns["cluster_co_occurrence"].at(&["interval"])
        else {
            panic!("no interval");
        };
        let far = (11f64 * 11. + 9. * 9.).sqrt() / 2.0;
        let d = values.to_f64();
        assert!(d[0] == 1.0 && (d[4] - far).abs() < 1e-6 && d.len() == 5, "{d:?}");
    }

    #[test]
    fn clusters_of_one_spot_or_none_are_defined() {
        let mut a = slide(4, 4);
        let mut of = |codes: Vec<i32>, categories: &[&str]| {
            let categories = categories.iter().map(ToString::to_string).collect();
            let c = crate::anndata::Categorical { codes, categories, typed: None, ordered: false };
            a.obs.insert("cluster", c).unwrap();
            let all = CoOccurrence::new("cluster").interval_at(&[0.0, 10.0]);
            co_occurrence(&mut a, all).unwrap();
            occ(&a).1
        };
        // Within 10 are all 240 pairs: 15 from and to the one spot, 210 among the rest.
        let found = of((0..16).map(|i| i32::from(i > 0)).collect(), &["one", "rest", "none"]);
        let mixed = 16.0 / 15.0;
        let expected = [0., mixed, 0., mixed, 210. / 225. * mixed, 0., 0., 0., 0.];
        assert!(found.iter().zip(expected).all(|(f, e)| (f - e).abs() < 1e-12), "{found:?}");
        assert_eq!(of(vec![0; 16], &["all"]), [1.0]);
    }

    #[test]
    fn bad_input_is_named() {
        let mut a = slide(4, 4);
        let mut run = |o: CoOccurrence| co_occurrence(&mut a, o).unwrap_err().to_string();
        assert!(run(CoOccurrence::new("cluster").interval(1)).contains("at least 2"));
        assert!(run(CoOccurrence::new("nothing")).contains("obs has no column"));
        assert!(run(CoOccurrence::new("partly")).contains("have no category"));
        assert!(run(CoOccurrence::new("cluster").spatial_key("x")).contains("obsm has no"));
        let e = run(CoOccurrence::new("cluster").interval_at(&[0.0, f64::NAN]));
        assert!(e.contains("finite"), "{e}");
        let place = |x: f64| ndarray::Array2::from_elem((16, 2), x).into();
        a.obsm.insert("spatial".into(), place(f64::NAN));
        let e = co_occurrence(&mut a, CoOccurrence::new("cluster")).unwrap_err().to_string();
        assert!(e.contains("16 of 16 observations have a coordinate that is not"), "{e}");
        a.obsm.insert("spatial".into(), place(3.0));
        let e = co_occurrence(&mut a, CoOccurrence::new("cluster")).unwrap_err().to_string();
        assert!(e.contains("distances cannot be chosen") && e.contains(".interval_at("), "{e}");
        let mut two = slide(2, 1);
        assert!(co_occurrence(&mut two, CoOccurrence::new("cluster")).is_err());
    }
}
