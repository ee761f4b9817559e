//! The weights of a graph and the sums over them that the statistics need.

use crate::anndata::AnnData;
use crate::error::{Error, Result};
use crate::linalg::Csr;

/// A graph with its sums. With w the weights: `rows` and `cols` are their sums, S0 = Σ w,
/// S1 = ½ Σ (w_ij + w_ji)², S2 = Σ_i (row sum + column sum)².
pub(super) struct Weights {
    pub w: Csr<f64>,
    pub rows: Vec<f64>,
    pub cols: Vec<f64>,
    pub s0: f64,
    pub s1: f64,
    pub s2: f64,
}

/// A variance or deviation to divide by: NaN instead of 0, after which rounding would make a score
/// infinite.
pub(super) fn known(spread: f64) -> f64 {
    if spread > 0.0 { spread } else { f64::NAN }
}

impl Weights {
    /// The graph in `obsp[key]`, the weights of each spot divided by their sum if asked for.
    pub fn of(adata: &AnnData, key: &str, normalize: bool) -> Result<Weights> {
        let mut w = super::graph::graph(adata, key)?;
        if normalize {
            for r in 0..w.nrows {
                let row = &mut w.values[w.indptr[r]..w.indptr[r + 1]];
                let sum: f64 = row.iter().map(|x| x.abs()).sum();
                if sum > 0.0 {
                    row.iter_mut().for_each(|x| *x /= sum);
                }
            }
        }
        let mut rows = vec![0.0; w.nrows];
        let mut cols = vec![0.0; w.nrows];
        for r in 0..w.nrows {
            for (c, x) in w.row(r) {
                rows[r] += x;
                cols[c] += x;
            }
        }
        let s0: f64 = rows.iter().sum();
        if s0 == 0.0 {
            let reason = "the graph has no edges (or weights that sum to 0); make another with \
                          `gr::spatial_neighbors`";
            return Err(Error::data(format!("obsp[\"{key}\"]"), reason));
        }
        let t = w.transpose();
        let mut s1 = 0.0;
        for r in 0..w.nrows {
            let (mine, theirs) = (w.indptr[r]..w.indptr[r + 1], t.indptr[r]..t.indptr[r + 1]);
            let mut back = theirs.start;
            for e in mine {
                while back < theirs.end && t.indices[back] < w.indices[e] {
                    back += 1;
                }
                let both = back < theirs.end && t.indices[back] == w.indices[e];
                let other = if both { t.values[back] } else { 0.0 };
                s1 += w.values[e] * (w.values[e] + other);
            }
        }
        let s2 = rows.iter().zip(&cols).map(|(r, c)| (r + c) * (r + c)).sum();
        Ok(Weights { w, rows, cols, s0, s1, s2 })
    }

    /// Number of spots.
    pub fn n(&self) -> usize {
        self.w.nrows
    }

    /// The variance of Moran's I if the values are normal (Cliff and Ord, 1981); 0 on a complete
    /// graph of equal weights.
    pub fn moran_variance(&self) -> f64 {
        let n = self.n() as f64;
        let s02 = self.s0 * self.s0;
        let (first, second, third) = (n * n * self.s1, n * self.s2, 3.0 * s02);
        let unit = (n - 1.0) * (n + 1.0) * s02;
        let square = (first - second + third) / unit;
        let largest = first.max(second).max(third) / unit;
        self.beyond_rounding(square - (1.0 / (n - 1.0)).powi(2), largest)
    }

    /// The variance of Geary's C if the values are normal (Cliff and Ord, 1981); 0 on a complete
    /// graph of equal weights.
    pub fn geary_variance(&self) -> f64 {
        let n = self.n() as f64;
        let s02 = self.s0 * self.s0;
        let sums = (2.0 * self.s1 + self.s2) * (n - 1.0);
        let unit = 2.0 * (n + 1.0) * s02;
        self.beyond_rounding((sums - 4.0 * s02) / unit, sums.max(4.0 * s02) / unit)
    }

    /// A variance, or 0 where it is no more than what is left by rounding of terms of which
    /// `largest` is the largest, each of them a sum over all edges.
    fn beyond_rounding(&self, variance: f64, largest: f64) -> f64 {
        let rounding = 8.0 * f64::EPSILON * self.w.values.len() as f64;
        if variance > rounding * largest { variance } else { 0.0 }
    }
}
