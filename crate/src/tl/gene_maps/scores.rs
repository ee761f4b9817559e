//! [`GeneMapScores`]: how well a predicted map agrees with the measured one.

use super::ssim::ssim;
use super::{SpotGrid, expression};
use crate::anndata::{AnnData, Frame, Select};
use crate::error::{Error, Result};
use crate::linalg::Real;
use crate::notebook::shows_rows;
use crate::parallel::map_range;
use crate::tl::correlate::pearson;
use ndarray::{ArrayView1, ArrayView2};
use rayon::prelude::*;

/// Options of scoring a predicted gene map; [`ScoreGeneMap::score`] compares arrays,
/// [`score_gene_map`] a layer with X.
///
/// Over all spots the scores are those that papers publish, in which a model is judged on what it
/// was trained on too; over the hidden spots they say how well it predicts.
#[derive(Debug, Clone, PartialEq)]
pub struct ScoreGeneMap {
    spots: Select,
    genes: Option<Vec<String>>,
    grid: Option<SpotGrid>,
    layer: Option<String>,
    ssim: bool,
}

impl Default for ScoreGeneMap {
    fn default() -> Self {
        let spots = Select::from(..);
        ScoreGeneMap { spots, genes: None, grid: None, layer: None, ssim: true }
    }
}

/// How well a predicted gene map agrees with the measured one. It shows itself as a short table.
///
/// A score that is not defined is NaN; means leave NaN out.
#[derive(Debug, Clone, PartialEq)]
pub struct GeneMapScores {
    /// Spots that were compared.
    pub n_spots: usize,
    /// The names of the genes.
    pub genes: Vec<String>,
    /// Pearson's correlation of each gene over the spots; NaN where measured or predicted values are
    /// constant.
    pub pearson: Vec<f64>,
    /// Mean squared error of each gene.
    pub mse: Vec<f64>,
    /// Mean absolute error of each gene.
    pub mae: Vec<f64>,
    /// Structural similarity of each gene, where the spots have a grid; NaN where the measured
    /// values are constant or no window holds two spots.
    pub ssim: Option<Vec<f64>>,
    /// Pearson's correlation of each spot over the genes; NaN where a side is constant.
    pub spot_pearson: Vec<f64>,
}

impl ScoreGeneMap {
    /// Which spots to compare: positions, a mask, names. Default: all.
    pub fn spots(mut self, spots: impl Into<Select>) -> Self {
        self.spots = spots.into();
        self
    }

    /// For arrays: the names of the genes. Default: `0`, `1`, ….
    pub fn genes<S: Into<String>>(mut self, names: impl IntoIterator<Item = S>) -> Self {
        self.genes = Some(names.into_iter().map(Into::into).collect());
        self
    }

    /// Where the spots lie, for the structural similarity. Default: none for arrays, that of the
    /// slide for an [`AnnData`].
    pub fn grid(mut self, grid: SpotGrid) -> Self {
        self.grid = Some(grid);
        self
    }

    /// For an [`AnnData`]: the layer with the measured expression. Default: X.
    pub fn layer(mut self, key: impl Into<String>) -> Self {
        self.layer = Some(key.into());
        self
    }

    /// For an [`AnnData`]: whether to compute the structural similarity, which needs coordinates.
    /// Default: true.
    pub fn ssim(mut self, yes: bool) -> Self {
        self.ssim = yes;
        self
    }

    /// Compares `predicted` with `measured`, both spots × genes. Computed in `f64`.
    ///
    /// Correlations match `scipy.stats.pearsonr` within 1e-10. The structural similarity has windows
    /// of 7 × 7 places with equal weights, around each compared spot from which they do not reach
    /// beyond the bounding box of the compared spots; places without a compared spot do not count,
    /// and windows that hold one spot only are left out. Where every place has a spot, this is
    /// `skimage.metrics.structural_similarity(measured, predicted, data_range=range of measured)`
    /// of version 0.26, averaged over the same middles, within 1e-10.
    ///
    /// # Errors
    /// [`Error::Shape`] when shapes, names or the grid do not agree; [`Error::Parameter`] for spots
    /// that do not exist; [`Error::Data`] with fewer than two spots, no gene, or an element that is
    /// not finite.
    pub fn score<T: Real, U: Real>(
        &self,
        measured: ArrayView2<T>,
        predicted: ArrayView2<U>,
    ) -> Result<GeneMapScores> {
        let (n, m) = measured.dim();
        if predicted.dim() != (n, m) {
            let found = format!("{} × {}", predicted.nrows(), predicted.ncols());
            return Err(Error::shape("predicted gene map", format!("{n} × {m}"), found));
        }
        let genes = match &self.genes {
            None => (0..m).map(|j| j.to_string()).collect(),
            Some(names) if names.len() == m => names.clone(),
            Some(names) => return Err(Error::shape("names of genes", m, names.len())),
        };
        let spots = self.spots.clone().positions("obs", &Frame::with_len(n))?;
        let spots = spots.unwrap_or_else(|| (0..n).collect());
        if spots.len() < 2 || m == 0 {
            let reason = format!("need two spots and a gene; found {} and {m}", spots.len());
            return Err(Error::data("gene maps to compare", reason));
        }
        let windows = match &self.grid {
            Some(grid) if grid.len() != n => {
                return Err(Error::shape("grid of spots", n, grid.len()));
            }
            grid => grid.as_ref().map(|g| g.windows(&spots)),
        };
        let one = |j: usize| {
            let x = column(measured.column(j), &spots);
            let y = column(predicted.column(j), &spots);
            if let Some(i) = (0..x.len()).find(|&i| !x[i].is_finite() || !y[i].is_finite()) {
                let which = if x[i].is_finite() { "predicted" } else { "measured" };
                let reason = format!("spot {} is {which} as NaN or infinity", spots[i]);
                return Err(Error::data(format!("gene `{}`", genes[j]), reason));
            }
            let mean = |of: fn(f64) -> f64| {
                x.iter().zip(&y).map(|(x, y)| of(x - y)).sum::<f64>() / x.len() as f64
            };
            let ssim = windows.as_ref().map(|w| ssim(&x, &y, w));
            Ok((pearson(&x, &y), mean(|d| d * d), mean(f64::abs), ssim))
        };
        let by_gene: Vec<_> = map_range(m, 1, one).into_iter().collect::<Result<_>>()?;
        let all: Vec<usize> = (0..m).collect();
        let by_spot = spots
            .par_iter()
            .map(|&i| pearson(&column(measured.row(i), &all), &column(predicted.row(i), &all)));
        Ok(GeneMapScores {
            n_spots: spots.len(),
            genes,
            spot_pearson: by_spot.collect(),
            pearson: by_gene.iter().map(|g| g.0).collect(),
            mse: by_gene.iter().map(|g| g.1).collect(),
            mae: by_gene.iter().map(|g| g.2).collect(),
            ssim: by_gene.iter().map(|g| g.3).collect(),
        })
    }

    /// For a slide: its names, and its grid where none is given.
    pub(super) fn on(mut self, adata: &AnnData) -> Result<Self> {
        if let Some(names) = &self.genes {
            let reason = "names the genes of arrays, and those of a slide have names; to compare some \
                          of them, take these first (`adata.take_vars`)";
            return Err(Error::parameter("genes", format!("{} names", names.len()), reason));
        }
        self.spots = match self.spots.positions("obs", &adata.obs)? {
            None => Select::from(..),
            Some(positions) => Select::At(positions),
        };
        self.genes = Some(adata.var.names().to_vec());
        self.grid = match (self.ssim, self.grid) {
            (false, _) => None,
            (true, None) => Some(SpotGrid::of(adata)?),
            (true, given) => given,
        };
        Ok(self)
    }

    pub(super) fn measured<'a>(&self, adata: &'a AnnData) -> Result<&'a crate::anndata::Matrix> {
        expression(adata, self.layer.as_deref())
    }
}

fn column<T: Real>(values: ArrayView1<T>, at: &[usize]) -> Vec<f64> {
    at.iter().map(|&i| values[i].as_f64()).collect()
}

/// Compares the predicted gene map in the layer `predicted` (`X` for the main matrix) with the
/// measured one: X, or the layer that the options name. See [`ScoreGeneMap::score`]; both are held as
/// dense arrays meanwhile.
///
/// # Errors
/// Those of [`ScoreGeneMap::score`] and [`SpotGrid::of`], and [`Error::MissingKey`] for a layer or a
/// spot that does not exist.
pub fn score_gene_map(
    adata: &AnnData,
    predicted: &str,
    options: ScoreGeneMap,
) -> Result<GeneMapScores> {
    let options = options.on(adata)?;
    let measured = options.measured(adata)?.to_array_f64();
    let predicted = expression(adata, Some(predicted))?.to_array_f64();
    options.score(measured.view(), predicted.view())
}

/// The mean of the numbers that are not NaN; NaN where there is none.
pub(super) fn mean(values: &[f64]) -> f64 {
    let (sum, n) = values.iter().filter(|v| !v.is_nan()).fold((0.0, 0), |(s, n), v| (s + v, n + 1));
    if n == 0 { f64::NAN } else { sum / f64::from(n) }
}

/// A mean for a table; a dash where there is none.
pub(super) fn shown(value: f64) -> String {
    if value.is_nan() { "–".into() } else { format!("{value:.4}") }
}

impl GeneMapScores {
    /// Mean correlation of the genes that have one.
    pub fn mean_pearson(&self) -> f64 {
        mean(&self.pearson)
    }

    /// Genes without a correlation, measured or predicted values being constant.
    pub fn n_constant(&self) -> usize {
        self.pearson.iter().filter(|r| r.is_nan()).count()
    }

    /// Mean of the genes' mean squared errors.
    pub fn mean_mse(&self) -> f64 {
        mean(&self.mse)
    }

    /// Mean of the genes' mean absolute errors.
    pub fn mean_mae(&self) -> f64 {
        mean(&self.mae)
    }

    /// Mean structural similarity of the genes that have one; NaN without a grid.
    pub fn mean_ssim(&self) -> f64 {
        self.ssim.as_deref().map_or(f64::NAN, mean)
    }

    /// Mean correlation of the spots that have one.
    pub fn mean_spot_pearson(&self) -> f64 {
        mean(&self.spot_pearson)
    }

    /// The genes as a table: `pearson`, `mse`, `mae` and, with a grid, `ssim`.
    pub fn to_frame(&self) -> Frame {
        let mut table = Frame::new(self.genes.clone());
        let columns = [("pearson", &self.pearson), ("mse", &self.mse), ("mae", &self.mae)];
        for (name, values) in columns.into_iter().chain(self.ssim.as_ref().map(|s| ("ssim", s))) {
            table.insert(name, values.clone()).expect("one number a gene");
        }
        table
    }

    /// The table as (name, value).
    fn rows(&self) -> Vec<(&'static str, String)> {
        let genes = match self.n_constant() {
            0 => self.genes.len().to_string(),
            n => format!("{} ({n} constant, without a correlation)", self.genes.len()),
        };
        let mut rows = vec![
            ("spots", self.n_spots.to_string()),
            ("genes", genes),
            ("Pearson by gene", shown(self.mean_pearson())),
            ("Pearson by spot", shown(self.mean_spot_pearson())),
            ("MSE", shown(self.mean_mse())),
            ("MAE", shown(self.mean_mae())),
        ];
        if self.ssim.is_some() {
            rows.push(("SSIM", shown(self.mean_ssim())));
        }
        rows
    }
}

shows_rows!(GeneMapScores, |_| "Gene map", 16);

#[cfg(test)]
mod tests {
    use super::*;
    use crate::parallel::same_with_any_threads;
    use crate::rng::Rng;
    use ndarray::{Array2, array};

    #[test]
    fn a_small_map_by_hand() {
        let measured = array![[1f32, 5.0, 0.0], [2.0, 5.0, 1.0], [3.0, 5.0, 5.0], [9.0, 5.0, 9.0]];
        let predicted = array![[2f64, 1.0, 4.0], [4.0, 2.0, 4.0], [6.0, 3.0, 4.0], [0.0, 9.0, 4.0]];
        let score = ScoreGeneMap::default().genes(["a", "b", "c"]);
        let s = score.clone().spots(..3).score(measured.view(), predicted.view()).unwrap();
        assert!((s.pearson[0] - 1.0).abs() < 1e-12);
        // Constant where it was measured, constant as predicted.
        assert!(s.pearson[1].is_nan() && s.pearson[2].is_nan());
        assert_eq!((s.n_constant(), s.n_spots, s.mean_pearson()), (2, 3, s.pearson[0]));
        assert_eq!(s.mse, [14.0 / 3.0, 29.0 / 3.0, 26.0 / 3.0]);
        assert_eq!(s.mae, [2.0, 3.0, 8.0 / 3.0]);
        assert!((s.mean_mse() - 23.0 / 3.0).abs() < 1e-12);
        assert!(s.ssim.is_none() && s.mean_ssim().is_nan());
        // numpy: corrcoef([1, 5, 0], [2, 1, 4]).
        assert!((s.spot_pearson[0] + 0.8660254037844385).abs() < 1e-12);
        let mask = vec![true, true, true, false];
        let same = score.spots(mask).score(measured.view(), predicted.view()).unwrap();
        assert_eq!(same.mse, s.mse);
        assert_eq!(
            s.to_frame().columns().map(|c| c.0).collect::<Vec<_>>(),
            ["pearson", "mse", "mae"]
        );
        let text = s.to_string();
        assert!(text.contains("3 (2 constant, without a correlation)"), "{text}");
    }

    #[test]
    fn bits_do_not_depend_on_threads() {
        let mut rng = Rng::new(1);
        let mut map = || Array2::from_shape_simple_fn((144, 9), || rng.normal());
        let (a, b) = (map(), map());
        let (rows, columns): (Vec<i64>, Vec<i64>) = (0..144).map(|i| (i / 12, i % 12)).unzip();
        let score = ScoreGeneMap::default().grid(SpotGrid::new(&rows, &columns).unwrap());
        let s = same_with_any_threads(|| {
            let s = score.score(a.view(), b.view()).unwrap();
            [s.pearson, s.mse, s.mae, s.ssim.unwrap(), s.spot_pearson].concat()
        });
        assert!(s.iter().all(|v| v.is_finite()));
    }

    #[test]
    fn bad_maps_are_refused() {
        let a = Array2::<f64>::from_shape_fn((4, 2), |(i, j)| (i * j) as f64);
        let said =
            |s: ScoreGeneMap, b: &Array2<f64>| s.score(a.view(), b.view()).unwrap_err().to_string();
        let new = ScoreGeneMap::default;
        assert!(said(new(), &Array2::zeros((4, 3))).contains("expected 4 × 2, found 4 × 3"));
        assert!(said(new().genes(["a"]), &a).contains("names of genes"));
        assert!(said(new().spots([9]), &a).contains("position = 9"));
        assert!(said(new().spots([1]), &a).contains("need two spots"));
        assert!(said(new().grid(SpotGrid::new(&[1], &[1]).unwrap()), &a).contains("grid of spots"));
        let mut bad = a.clone();
        bad[[2, 1]] = f64::NAN;
        let e = said(new().genes(["x", "y"]), &bad);
        assert!(e.contains("gene `y`: spot 2 is predicted as NaN"), "{e}");
    }
}
