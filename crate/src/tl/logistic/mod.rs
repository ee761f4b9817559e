//! Multinomial logistic regression with an L2 penalty.
//!
//! ```text
//! x (n × d) ─ centred, a column of ones ─┐
//! labels ─ classes, weights of rows ─────┴─> Problem ─ Newton–CG ─> coefficients ─ uncentred ─> fit
//! ```
//!
//! Centring changes the intercepts only, which the penalty leaves alone, and takes the common offset
//! of the features out of the iteration (`newton`).

mod newton;
#[cfg(test)]
mod tests;

pub(super) use newton::{Problem, Solution};

use super::Classes;
use crate::anndata::Categorical;
use crate::error::{Error, Result};
use crate::linalg::{Real, matmul};
use ndarray::{Array1, Array2, ArrayView1, ArrayView2, s};
use newton::softmax;

/// Options of a multinomial logistic regression.
///
/// Minimises over W (K × d) and b (K)
///
/// ```text
/// Σᵢ vᵢ · −ln softmax(W·xᵢ + b)[yᵢ] / n  +  α/2 · ‖W‖²
/// ```
///
/// with weights v of 1, or n / (K · members of the class) when [`balanced`](Self::balanced). That
/// is `sklearn.linear_model.LogisticRegression(C=1 / (α * n))` of version 1.9 for any number of
/// classes, and the penalty of `SGDClassifier(alpha=α)`. With two classes scikit-learn has one
/// vector of coefficients, the difference of our two; α is meant for that vector. Coefficients and
/// probabilities match within 1e-4 for α from 1e-4, and the closer the smaller `tol` is. The bits are
/// the same for any number of threads.
///
/// ```
/// use spatialkit::{ndarray::array, tl::LogisticRegression};
/// let x = array![[0.0], [1.0], [4.0], [5.0]];
/// let fit = LogisticRegression::new(0.1).fit(x.view(), &["low", "low", "high", "high"])?;
/// assert_eq!(fit.predict(array![[0.5], [4.5]].view())?, ["low", "high"]);
/// # Ok::<(), spatialkit::Error>(())
/// ```
#[derive(Debug, Clone, PartialEq)]
pub struct LogisticRegression {
    alpha: f64,
    balanced: bool,
    max_iter: usize,
    tol: f64,
}

/// What a logistic regression found.
#[derive(Debug, Clone, PartialEq)]
pub struct LogisticFit {
    /// The names of the K classes, in natural order.
    pub classes: Vec<String>,
    /// The coefficients, K × d; each column sums to 0.
    pub coef: Array2<f64>,
    /// The intercept of each class; they sum to 0.
    pub intercept: Array1<f64>,
    /// Newton steps made.
    pub n_iter: usize,
    /// The largest absolute element of the gradient at the end.
    pub gradient: f64,
    /// Whether that is at most `tol`.
    pub converged: bool,
}

impl LogisticRegression {
    /// A regression with this strength of the penalty.
    pub fn new(alpha: f64) -> Self {
        LogisticRegression { alpha, balanced: false, max_iter: 100, tol: 1e-8 }
    }

    /// Whether every class has the same weight, however many members it has
    /// (`class_weight="balanced"`). Default: false.
    pub fn balanced(mut self, yes: bool) -> Self {
        self.balanced = yes;
        self
    }

    /// Newton steps at most. Default: 100.
    pub fn max_iter(mut self, n: usize) -> Self {
        self.max_iter = n;
        self
    }

    /// Ends when no element of the gradient is larger than this. Default: 1e-8.
    pub fn tol(mut self, tol: f64) -> Self {
        self.tol = tol;
        self
    }

    pub(super) fn check(&self) -> Result<()> {
        for (name, value) in [("alpha", self.alpha), ("tol", self.tol)] {
            if !value.is_finite() || value <= 0.0 {
                return Err(Error::parameter(name, value, "must be a number above 0"));
            }
        }
        if self.max_iter == 0 {
            return Err(Error::parameter("max_iter", 0, "must be at least 1"));
        }
        Ok(())
    }

    /// Fits to the rows of `x` (n × d) and their classes. Rows without a class are left out.
    ///
    /// # Errors
    /// [`Error::Parameter`] when an option is out of range; [`Error::Shape`] when there is not one
    /// label a row; [`Error::Data`] with fewer than two classes or an element that is not finite;
    /// [`Error::Interrupted`].
    pub fn fit<T: Real>(
        &self,
        x: ArrayView2<T>,
        labels: &(impl Classes + ?Sized),
    ) -> Result<LogisticFit> {
        self.check()?;
        let names = labels.names();
        if names.len() != x.nrows() {
            return Err(Error::shape("labels", x.nrows(), names.len()));
        }
        let labels = Categorical::from_labels(&names);
        let rows: Vec<usize> = (0..names.len()).filter(|&i| labels.codes[i] >= 0).collect();
        let class = rows.iter().map(|&i| labels.codes[i] as usize).collect();
        let problem = Problem::new(x, &rows, class, labels.categories.len(), self.balanced)?;
        Ok(self.solve(&problem, None)?.fit(labels.categories))
    }
}

impl Solution {
    /// The coefficients for rows as they are.
    pub(super) fn fit(&self, classes: Vec<String>) -> LogisticFit {
        let d = self.mean.len();
        let coef = self.theta.slice(s![.., ..d]).to_owned();
        let mut intercept = &self.theta.column(d) - &coef.dot(&self.mean);
        // They are known up to a common number only.
        let middle = intercept.sum() / intercept.len() as f64;
        intercept -= middle;
        let Solution { n_iter, gradient, converged, .. } = *self;
        LogisticFit { classes, coef, intercept, n_iter, gradient, converged }
    }
}

impl LogisticFit {
    /// The chance of each class (column) for each row of `x`, n × K.
    ///
    /// # Errors
    /// [`Error::Shape`] when `x` has another number of columns than what was fitted.
    pub fn predict_proba<T: Real>(&self, x: ArrayView2<T>) -> Result<Array2<f64>> {
        if x.ncols() != self.coef.ncols() {
            return Err(Error::shape("features", self.coef.ncols(), x.ncols()));
        }
        let x = x.mapv(|v| v.as_f64());
        let mut out = matmul(x.view(), self.coef.t()) + &self.intercept;
        let any = vec![0; out.nrows()];
        softmax(&mut out, &any, &vec![0.0; any.len()]);
        Ok(out)
    }

    /// The most likely class of each row of `x`; the first of equals.
    ///
    /// # Errors
    /// As [`predict_proba`](Self::predict_proba).
    pub fn predict<T: Real>(&self, x: ArrayView2<T>) -> Result<Vec<String>> {
        let chance = self.predict_proba(x)?;
        Ok(chance.rows().into_iter().map(|r| self.classes[first_largest(r)].clone()).collect())
    }
}

/// The position of the largest element, the first of equals.
fn first_largest(row: ArrayView1<f64>) -> usize {
    (1..row.len()).fold(0, |best, i| if row[i] > row[best] { i } else { best })
}
