//! Newton's method for the loss of a logistic regression.
//!
//! Its steps are found by conjugate gradients, so that nothing larger than the rows is held: a product
//! with the Hessian is two products with them.

use super::LogisticRegression;
use crate::error::{Error, Result};
use crate::linalg::{Real, matmul};
use crate::parallel::sum_parts;
use crate::progress::check_interrupt;
use ndarray::parallel::prelude::*;
use ndarray::{Array1, Array2, ArrayView2, Axis, Zip, s};

/// The data of a regression.
pub(in crate::tl) struct Problem {
    /// Rows minus `mean`, and a column of ones: n × (d + 1).
    x: Array2<f64>,
    mean: Array1<f64>,
    class: Vec<usize>,
    classes: usize,
    /// The weight of each row; they sum to 1.
    weight: Vec<f64>,
}

/// Where Newton's method ended: coefficients for centred rows, intercepts in the last column.
pub(in crate::tl) struct Solution {
    pub(super) theta: Array2<f64>,
    pub(super) mean: Array1<f64>,
    pub(super) n_iter: usize,
    pub(super) gradient: f64,
    pub(super) converged: bool,
}

/// Rows that one task takes at least.
const ROWS: usize = 256;

impl Problem {
    /// The given rows of `x`, each with its class below `classes`.
    pub(in crate::tl) fn new<T: Real>(
        x: ArrayView2<T>,
        rows: &[usize],
        class: Vec<usize>,
        classes: usize,
        balanced: bool,
    ) -> Result<Problem> {
        if classes < 2 {
            let reason = format!("need at least 2 classes, found {classes}");
            return Err(Error::data("labels", reason));
        }
        let (n, d) = (rows.len(), x.ncols());
        let at = |(i, j): (usize, usize)| if j < d { x[[rows[i], j]].as_f64() } else { 1.0 };
        let mut x = Array2::from_shape_fn((n, d + 1), at);
        if let Some(i) = x.rows().into_iter().position(|r| r.iter().any(|v| !v.is_finite())) {
            let reason = format!("row {} holds NaN or infinity; drop such rows first", rows[i]);
            return Err(Error::data("features", reason));
        }
        let mut mean = x.mean_axis(Axis(0)).expect("two classes have rows");
        mean[d] = 0.0;
        x -= &mean;
        let mut members = vec![0usize; classes];
        class.iter().for_each(|&c| members[c] += 1);
        let each = |&c: &usize| match balanced {
            true => 1.0 / (classes * members[c]) as f64,
            false => 1.0 / n as f64,
        };
        let weight = class.iter().map(each).collect();
        Ok(Problem { x, mean: mean.slice(s![..d]).to_owned(), class, classes, weight })
    }
}

impl LogisticRegression {
    /// Newton's method from `start`, or from zeros.
    pub(in crate::tl) fn solve(&self, p: &Problem, start: Option<&Solution>) -> Result<Solution> {
        // With two classes the vectors are w/2 and −w/2, and ‖w‖² is twice the sum of their squares.
        let alpha = if p.classes == 2 { 2.0 * self.alpha } else { self.alpha };
        let new = || Array2::zeros((p.classes, p.x.ncols()));
        let mut at = State::new(p, alpha, start.map_or_else(new, |s| s.theta.clone()));
        let mut n_iter = 0;
        while at.largest() > self.tol && n_iter < self.max_iter {
            let step = at.newton_step(p, alpha)?;
            let Some(next) = at.line_search(p, alpha, &step) else { break };
            at = next;
            n_iter += 1;
        }
        let gradient = at.largest();
        Ok(Solution {
            theta: at.theta,
            mean: p.mean.clone(),
            n_iter,
            gradient,
            converged: gradient <= self.tol,
        })
    }
}

/// A point with the loss and its derivatives.
struct State {
    theta: Array2<f64>,
    /// Chances of the classes, n × K.
    chance: Array2<f64>,
    loss: f64,
    gradient: Array2<f64>,
}

fn inner(a: &Array2<f64>, b: &Array2<f64>) -> f64 {
    a.iter().zip(b).map(|(a, b)| a * b).sum()
}

/// `out` += α · θ, intercepts excepted.
fn add_penalty(out: &mut Array2<f64>, alpha: f64, theta: &Array2<f64>) {
    let d = theta.ncols() - 1;
    out.slice_mut(s![.., ..d]).scaled_add(alpha, &theta.slice(s![.., ..d]));
}

/// Turns each row of logits into chances; the weighted sum of ln Σ exp(z − z of the class).
pub(super) fn softmax(logits: &mut Array2<f64>, class: &[usize], weight: &[f64]) -> f64 {
    let chunks = logits.axis_chunks_iter_mut(Axis(0), ROWS).into_par_iter().enumerate();
    let losses = chunks.map(|(c, mut rows)| {
        let mut loss = 0.0;
        for (i, mut z) in rows.rows_mut().into_iter().enumerate() {
            let i = c * ROWS + i;
            let own = z[class[i]];
            let top = z.fold(f64::NEG_INFINITY, |m, &v| m.max(v));
            z.mapv_inplace(|v| (v - top).exp());
            let sum = z.sum();
            z /= sum;
            loss += weight[i] * (sum.ln() + top - own);
        }
        loss
    });
    // Collected first, so that they are added in one order.
    losses.collect::<Vec<f64>>().into_iter().sum()
}

impl State {
    fn new(p: &Problem, alpha: f64, theta: Array2<f64>) -> State {
        let mut chance = matmul(p.x.view(), theta.t());
        let mut loss = softmax(&mut chance, &p.class, &p.weight);
        let d = theta.ncols() - 1;
        loss += alpha / 2.0 * theta.slice(s![.., ..d]).iter().map(|w| w * w).sum::<f64>();
        let mut error = chance.clone();
        for (i, mut row) in error.rows_mut().into_iter().enumerate() {
            row[p.class[i]] -= 1.0;
            row *= p.weight[i];
        }
        let mut gradient = matmul(error.t(), p.x.view());
        add_penalty(&mut gradient, alpha, &theta);
        State { theta, chance, loss, gradient }
    }

    /// The largest absolute element of the gradient; NaN if one is.
    fn largest(&self) -> f64 {
        let larger = |m: f64, g: &f64| if m.is_nan() || g.abs() <= m { m } else { g.abs() };
        self.gradient.iter().fold(0.0, larger)
    }

    /// H · v.
    fn hessian(&self, p: &Problem, alpha: f64, v: &Array2<f64>) -> Array2<f64> {
        let mut u = matmul(p.x.view(), v.t());
        Zip::indexed(u.rows_mut()).and(self.chance.rows()).par_for_each(|i, mut u, chance| {
            let mean = u.dot(&chance);
            u.zip_mut_with(&chance, |u, c| *u = p.weight[i] * c * (*u - mean));
        });
        let mut out = matmul(u.t(), p.x.view());
        add_penalty(&mut out, alpha, v);
        out
    }

    /// The diagonal of H: it undoes the scales of the features, so that few steps of conjugate
    /// gradients are needed.
    fn diagonal(&self, p: &Problem, alpha: f64) -> Array2<f64> {
        let (k, width) = self.theta.dim();
        let sums = sum_parts(p.x.nrows(), k * width, ROWS, |rows, sums| {
            for i in rows {
                for (c, sums) in sums.chunks_exact_mut(width).enumerate() {
                    let curve = p.weight[i] * self.chance[[i, c]] * (1.0 - self.chance[[i, c]]);
                    sums.iter_mut().zip(p.x.row(i)).for_each(|(s, x)| *s += curve * x * x);
                }
            }
        });
        let mut out = Array2::from_shape_vec((k, width), sums).expect("K × (d + 1) sums");
        add_penalty(&mut out, alpha, &Array2::ones((k, width)));
        // A class whose chances are all 0 or 1 has no curvature left.
        out.mapv(|v| v.max(1e-12))
    }

    /// The solution of H · step = −gradient by preconditioned conjugate gradients, the more exact
    /// the smaller the gradient (Dembo and Steihaug, 1983).
    fn newton_step(&self, p: &Problem, alpha: f64) -> Result<Array2<f64>> {
        let diagonal = self.diagonal(p, alpha);
        let mut step = Array2::zeros(self.theta.dim());
        let mut residual = -&self.gradient;
        let mut z = &residual / &diagonal;
        let mut direction = z.clone();
        let mut rz = inner(&residual, &z);
        let enough = rz * rz.clamp(1e-24, 0.01);
        for _ in 0..10 * self.theta.len() {
            check_interrupt()?;
            let image = self.hessian(p, alpha, &direction);
            let curvature = inner(&direction, &image);
            if curvature <= 0.0 {
                break;
            }
            let length = rz / curvature;
            step.scaled_add(length, &direction);
            residual.scaled_add(-length, &image);
            z = &residual / &diagonal;
            let next = inner(&residual, &z);
            if next <= enough {
                break;
            }
            direction *= next / rz;
            direction += &z;
            rz = next;
        }
        Ok(step)
    }

    /// The first of step, step/2, … that lowers the loss enough. Where rounding hides the loss's
    /// change, a smaller gradient decides. `None` when nothing is better: the end of the arithmetic.
    fn line_search(&self, p: &Problem, alpha: f64, step: &Array2<f64>) -> Option<State> {
        let slope = inner(&self.gradient, step);
        let noise = 1e-14 * self.loss.abs();
        (0..40).find_map(|halvings| {
            let length = 0.5f64.powi(halvings);
            let next = State::new(p, alpha, &self.theta + &(length * step));
            let lower = next.loss < self.loss + 1e-4 * length * slope;
            let flat = (next.loss - self.loss).abs() <= noise && next.largest() < self.largest();
            (lower || flat).then_some(next)
        })
    }
}

#[cfg(test)]
mod tests {
    use super::super::tests::{close, sample};
    use super::*;
    use crate::rng::Rng;

    #[test]
    fn derivatives_are_those_of_the_loss() {
        let (x, class) = sample();
        let rows: Vec<usize> = (0..18).collect();
        let p = Problem::new(x.view(), &rows, class, 3, true).unwrap();
        let mut rng = Rng::new(5);
        let mut random = || Array2::from_shape_simple_fn((3, 4), || rng.normal());
        let (theta, v) = (random(), random());
        let at = |t: f64| State::new(&p, 0.3, &theta + &(t * &v));
        let (low, middle, high) = (at(-1e-5), at(0.0), at(1e-5));
        let slope = (high.loss - low.loss) / 2e-5;
        assert!((inner(&middle.gradient, &v) - slope).abs() < 1e-8);
        let curve = (&high.gradient - &low.gradient) / 2e-5;
        close(&middle.hessian(&p, 0.3, &v), &curve, 1e-8);
        let diagonal = middle.diagonal(&p, 0.3);
        for (c, j) in [(0, 0), (1, 2), (2, 3)] {
            let mut unit = Array2::zeros((3, 4));
            unit[[c, j]] = 1.0;
            let own = middle.hessian(&p, 0.3, &unit)[[c, j]];
            assert!((diagonal[[c, j]] - own).abs() < 1e-12);
        }
    }
}
