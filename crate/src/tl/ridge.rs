//! Ridge regression of many targets on shared features, its strength chosen without other data.
//!
//! ```text
//! x (n × d) ─ standardised ─ the smaller of xᵀx and xxᵀ ─ eigenvectors ─ basis P (n × r) ─┐
//! y (n × m) ─ centred, some columns at a time ────────────────────────────────────────────┤
//!        for each α: y − P·diag(1/(λ+α))·Pᵀy, over 1 − h ─> leave-one-out errors ─> α ────┴─> fit
//! ```
//!
//! The decomposition is made once for all α. It is of d × d, or of n × n where there are fewer rows
//! than features and at most [`MOST_ROWS`] of them; its time grows with the cube of that size.

use crate::error::{Error, Result};
use crate::linalg::{Real, eigh, matmul};
use crate::progress::check_interrupt;
use ndarray::{Array1, Array2, ArrayView1, ArrayView2, Axis, s};

/// Up to so many rows a matrix of n × n is made where there are more features than rows.
const MOST_ROWS: usize = 20_000;

/// Columns of targets that are worked on at a time.
const TARGETS: usize = 256;

/// Options of ridge regression; [`Ridge::fit`] takes arrays, [`ridge_genes`](super::ridge_genes) and
/// [`ridge_probe`](super::ridge_probe) an [`AnnData`](crate::anndata::AnnData).
///
/// Features are standardised by the rows that are fitted (mean 0, deviation 1 with n as the
/// divisor; a constant one becomes 0), then ‖y − b − x·B‖² + α‖B‖² is minimal. Each target has the α
/// of the smallest mean squared error when every row in turn is predicted from the others (Golub,
/// Heath and Wahba, 1979); the largest of equals. Rows that are alike, such as neighbouring spots,
/// make that error smaller than the one of rows far away.
///
/// It holds x once and a matrix of d × d, or of n × n where n ≤ d and n ≤ 20,000, and decomposes that
/// matrix; targets are worked on 256 at a time.
///
/// Equals `make_pipeline(StandardScaler(), RidgeCV(alphas, alpha_per_target=True))` of scikit-learn
/// 1.9 in α, and within 1e-6 in predictions.
///
/// ```
/// use spatialkit::{ndarray::array, tl::Ridge};
/// let x = array![[0.0], [1.0], [2.0], [3.0]];
/// let y = array![[1.0, 0.0], [3.0, 0.0], [5.0, 0.0], [7.0, 0.0]];
/// let fit = Ridge::default().alphas([1e-3, 1.0]).fit(x.view(), y.view())?;
/// assert_eq!(fit.alpha, [1e-3, 1.0]);
/// assert!((fit.predict(array![[4.0]].view())?[[0, 0]] - 9.0).abs() < 0.01);
/// # Ok::<(), spatialkit::Error>(())
/// ```
#[derive(Debug, Clone, PartialEq)]
pub struct Ridge {
    alphas: Vec<f64>,
    per_target: bool,
    pub(super) use_rep: String,
    pub(super) layer: Option<String>,
    pub(super) key_added: String,
}

impl Default for Ridge {
    fn default() -> Self {
        Ridge {
            alphas: (-2..=6).map(|e| 10f64.powi(e)).collect(),
            per_target: true,
            use_rep: "X_pca".into(),
            layer: None,
            key_added: "ridge".into(),
        }
    }
}

/// What a ridge regression found.
#[derive(Debug, Clone, PartialEq)]
pub struct RidgeFit {
    /// The strength that was chosen for each target.
    pub alpha: Vec<f64>,
    /// Those that were tried, rising.
    pub alphas: Vec<f64>,
    /// The mean squared error of each of them (row) for each target (column), every observation
    /// being predicted from the others.
    pub errors: Array2<f64>,
    /// The coefficients of the standardised features, d × m.
    pub coef: Array2<f64>,
    /// The mean of each target.
    pub intercept: Array1<f64>,
    /// The mean of each feature.
    pub mean: Array1<f64>,
    /// The deviation of each feature; 1 for a constant one.
    pub scale: Array1<f64>,
}

impl Ridge {
    /// The strengths to choose from. Default: 0.01, 0.1, …, 1e6.
    pub fn alphas(mut self, alphas: impl IntoIterator<Item = f64>) -> Self {
        self.alphas = alphas.into_iter().collect();
        self
    }

    /// Whether each target has a strength of its own; otherwise all have the one of the smallest mean
    /// error. Default: true.
    pub fn alpha_per_target(mut self, yes: bool) -> Self {
        self.per_target = yes;
        self
    }

    /// For an `AnnData`: the entry of `obsm` with the features. Default: `X_pca`.
    pub fn use_rep(mut self, key: impl Into<String>) -> Self {
        self.use_rep = key.into();
        self
    }

    /// For an `AnnData`: the layer with the expression. Default: X.
    pub fn layer(mut self, key: impl Into<String>) -> Self {
        self.layer = Some(key.into());
        self
    }

    /// For [`ridge_genes`](super::ridge_genes): the layer to write. Default: `ridge`.
    pub fn key_added(mut self, key: impl Into<String>) -> Self {
        self.key_added = key.into();
        self
    }

    /// Predicts the targets `y` (n × m) from the features `x` (n × d). Computed in `f64`.
    ///
    /// # Errors
    /// [`Error::Parameter`] for strengths that are not above 0, or none; [`Error::Shape`] when the
    /// numbers of rows differ; [`Error::Data`] with fewer than two rows, or an element that is not
    /// finite; [`Error::Interrupted`].
    pub fn fit<T: Real, U: Real>(&self, x: ArrayView2<T>, y: ArrayView2<U>) -> Result<RidgeFit> {
        let alphas = self.checked_alphas()?;
        if x.nrows() != y.nrows() {
            return Err(Error::shape("rows of targets", x.nrows(), y.nrows()));
        }
        if x.nrows() < 2 {
            return Err(Error::data("features", format!("need 2 rows, found {}", x.nrows())));
        }
        finite("features", x)?;
        finite("targets", y)?;
        let mut x = x.mapv(|v| v.as_f64());
        let (mean, scale) = standardise(&mut x);
        let basis = Basis::new(&x, MOST_ROWS)?;
        let blocks = || (0..y.ncols()).step_by(TARGETS).map(|a| a..(a + TARGETS).min(y.ncols()));
        let centred = |block: std::ops::Range<usize>| {
            let mut y = y.slice(s![.., block]).mapv(|v| v.as_f64());
            let mean = y.mean_axis(Axis(0)).expect("there are rows");
            y -= &mean;
            (y, mean)
        };
        let mut errors = Array2::zeros((alphas.len(), y.ncols()));
        let left_out: Vec<Array1<f64>> = alphas.iter().map(|&a| basis.left_out(a)).collect();
        for block in blocks() {
            let (y, _) = centred(block.clone());
            let z = matmul(basis.p.t(), y.view());
            for (a, left_out) in left_out.iter().enumerate() {
                check_interrupt()?;
                let alpha = Array1::from_elem(y.ncols(), alphas[a]);
                let residual =
                    basis.residual(&y, &z, &alpha) / left_out.view().insert_axis(Axis(1));
                let error = residual.mapv(|r| r * r).mean_axis(Axis(0)).expect("there are rows");
                errors.slice_mut(s![a, block.clone()]).assign(&error);
            }
        }
        let best = |errors: ArrayView1<f64>| {
            alphas[(0..errors.len()).fold(0, |b, i| if errors[i] <= errors[b] { i } else { b })]
        };
        let alpha: Vec<f64> = match self.per_target {
            true => errors.columns().into_iter().map(best).collect(),
            false => vec![best(errors.sum_axis(Axis(1)).view()); y.ncols()],
        };
        let mut coef = Array2::zeros((x.ncols(), y.ncols()));
        let mut intercept = Array1::zeros(y.ncols());
        for block in blocks() {
            check_interrupt()?;
            let (y, mean) = centred(block.clone());
            let alpha = Array1::from(alpha[block.clone()].to_vec());
            coef.slice_mut(s![.., block.clone()]).assign(&basis.coefficients(&x, &y, &alpha));
            intercept.slice_mut(s![block]).assign(&mean);
        }
        Ok(RidgeFit { alpha, alphas, errors, coef, intercept, mean, scale })
    }

    fn checked_alphas(&self) -> Result<Vec<f64>> {
        let mut alphas = self.alphas.clone();
        if alphas.is_empty() {
            return Err(Error::parameter("alphas", "none", "give at least one"));
        }
        if let Some(bad) = alphas.iter().find(|a| !a.is_finite() || **a <= 0.0) {
            return Err(Error::parameter("alphas", bad, "must be numbers above 0"));
        }
        alphas.sort_by(f64::total_cmp);
        alphas.dedup();
        Ok(alphas)
    }
}

impl RidgeFit {
    /// The targets of further rows, n × m.
    ///
    /// # Errors
    /// [`Error::Shape`] when `x` has another number of columns than what was fitted.
    pub fn predict<T: Real>(&self, x: ArrayView2<T>) -> Result<Array2<f64>> {
        if x.ncols() != self.mean.len() {
            return Err(Error::shape("features", self.mean.len(), x.ncols()));
        }
        let x = (x.mapv(|v| v.as_f64()) - &self.mean) / &self.scale;
        Ok(matmul(x.view(), self.coef.view()) + &self.intercept)
    }
}

pub(super) fn finite<T: Real>(what: &str, x: ArrayView2<T>) -> Result<()> {
    let mut rows = x.rows().into_iter();
    match rows.position(|r| r.iter().any(|v| !v.is_finite())) {
        Some(i) => {
            let reason = format!("row {i} holds NaN or infinity; drop such rows first");
            Err(Error::data(what, reason))
        }
        None => Ok(()),
    }
}

/// Gives every column the mean 0 and the deviation 1, in place; the means and the deviations.
pub(super) fn standardise(x: &mut Array2<f64>) -> (Array1<f64>, Array1<f64>) {
    let mean = x.mean_axis(Axis(0)).expect("there are rows");
    *x -= &mean;
    // What rounding leaves of a constant column is no deviation.
    let deviation = |(c, mean): (ArrayView1<f64>, &f64)| {
        let sd = (c.dot(&c) / c.len() as f64).sqrt();
        if sd <= 1e-14 * mean.abs() || sd == 0.0 { 1.0 } else { sd }
    };
    let scale: Array1<f64> = x.columns().into_iter().zip(&mean).map(deviation).collect();
    *x /= &scale;
    (mean, scale)
}

/// x·xᵀ = P·Pᵀ with orthogonal columns of squared lengths λ.
struct Basis {
    p: Array2<f64>,
    lambda: Array1<f64>,
    /// The eigenvectors of xᵀx (d × d), where those were taken: P = x·V.
    v: Option<Array2<f64>>,
}

impl Basis {
    fn new(x: &Array2<f64>, most_rows: usize) -> Result<Basis> {
        check_interrupt()?;
        let (n, d) = x.dim();
        let by_rows = n <= d && n <= most_rows;
        let (a, b) = if by_rows { (x.view(), x.t()) } else { (x.t(), x.view()) };
        let (lambda, v) = eigh(matmul(a, b).view())?;
        // Rounding makes those that are 0 negative now and then.
        let lambda = lambda.mapv(|l| l.max(0.0));
        Ok(match by_rows {
            true => Basis { p: v * &lambda.mapv(f64::sqrt), lambda, v: None },
            false => Basis { p: matmul(x.view(), v.view()), lambda, v: Some(v) },
        })
    }

    /// 1 − h of each row, h being what its own target weighs in its prediction: the error of the row
    /// when it is left out is its residual over this. The intercept weighs 1/n.
    fn left_out(&self, alpha: f64) -> Array1<f64> {
        let rest = 1.0 - 1.0 / self.p.nrows() as f64;
        let of = |p: ArrayView1<f64>| {
            let own: f64 = p.iter().zip(&self.lambda).map(|(p, l)| p * p / (l + alpha)).sum();
            (rest - own).max(f64::EPSILON)
        };
        self.p.rows().into_iter().map(of).collect()
    }

    /// z over λ + α, each column with its own α.
    fn shrunk(&self, z: &Array2<f64>, alpha: &Array1<f64>) -> Array2<f64> {
        Array2::from_shape_fn(z.dim(), |(r, j)| z[[r, j]] / (self.lambda[r] + alpha[j]))
    }

    /// y minus what the regression makes of it; z is Pᵀy.
    fn residual(&self, y: &Array2<f64>, z: &Array2<f64>, alpha: &Array1<f64>) -> Array2<f64> {
        y - &matmul(self.p.view(), self.shrunk(z, alpha).view())
    }

    fn coefficients(&self, x: &Array2<f64>, y: &Array2<f64>, alpha: &Array1<f64>) -> Array2<f64> {
        let z = matmul(self.p.t(), y.view());
        match &self.v {
            Some(v) => matmul(v.view(), self.shrunk(&z, alpha).view()),
            // The normal equations, xᵀx·B + α·B = xᵀy, solved for the last B.
            None => matmul(x.t(), self.residual(y, &z, alpha).view()) / alpha,
        }
    }
}

#[cfg(test)]
#[path = "ridge_tests.rs"]
mod tests;
