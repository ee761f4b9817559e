//! [`ProbeFit`]: what a linear probe found.

use crate::anndata::{Column, Frame};
use crate::notebook::shows_rows;
use crate::tl::Classification;
use std::fmt;

/// A mean over splits with its deviation.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Spread {
    /// The mean.
    pub mean: f64,
    /// The standard deviation (divisor: one less than the splits); NaN for a single split.
    pub sd: f64,
}

impl fmt::Display for Spread {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:.4}", self.mean)?;
        if self.sd.is_nan() { Ok(()) } else { write!(f, " ± {:.4}", self.sd) }
    }
}

/// A linear probe on one split.
#[derive(Debug, Clone, PartialEq)]
pub struct ProbeRun {
    /// The seed of the split.
    pub seed: u64,
    /// Observations that were fitted.
    pub n_train: usize,
    /// Observations that α was chosen by.
    pub n_validation: usize,
    /// Observations that were judged.
    pub n_test: usize,
    /// Macro F1 on the validation part, at the α that was chosen.
    pub validation_macro_f1: f64,
    /// The test part, predicted by the regression.
    pub test: Classification,
    /// The test part, each predicted as the class with most members in the training part (the first
    /// of equals).
    pub majority: Classification,
    /// Whether the regression came to its end.
    pub converged: bool,
}

/// The result of a linear probe. It shows itself as a short table.
#[derive(Debug, Clone, PartialEq)]
pub struct ProbeFit {
    /// The strength of the penalty that was chosen.
    pub alpha: f64,
    /// Those that were tried, falling.
    pub alphas: Vec<f64>,
    /// The mean macro F1 of each on the validation parts.
    pub validation: Vec<f64>,
    /// One entry a split, at the α that was chosen.
    pub runs: Vec<ProbeRun>,
    /// The classes, in natural order.
    pub classes: Vec<String>,
    /// Observations with a label that was used.
    pub n_used: usize,
    /// Observations without a label.
    pub n_missing: usize,
    /// Classes that were left out since they have too few members, with these.
    pub too_small: Vec<(String, usize)>,
}

impl ProbeFit {
    fn spread(&self, score: impl Fn(&ProbeRun) -> f64) -> Spread {
        let scores: Vec<f64> = self.runs.iter().map(score).collect();
        let n = scores.len() as f64;
        let mean = scores.iter().sum::<f64>() / n;
        let square: f64 = scores.iter().map(|s| (s - mean).powi(2)).sum();
        Spread { mean, sd: (square / (n - 1.0)).sqrt() }
    }

    /// Macro F1 on the test parts.
    pub fn macro_f1(&self) -> Spread {
        self.spread(|r| r.test.macro_f1())
    }

    /// The part of the test parts that is predicted right.
    pub fn accuracy(&self) -> Spread {
        self.spread(|r| r.test.accuracy())
    }

    /// Macro F1 of predicting the commonest class always.
    pub fn majority_macro_f1(&self) -> Spread {
        self.spread(|r| r.majority.macro_f1())
    }

    /// Accuracy of predicting the commonest class always.
    pub fn majority_accuracy(&self) -> Spread {
        self.spread(|r| r.majority.accuracy())
    }

    /// One row a split, named after its seed: `macro_f1`, `accuracy`, `majority_macro_f1`,
    /// `majority_accuracy`, `validation_macro_f1`, `n_train`, `n_validation`, `n_test`.
    pub fn to_frame(&self) -> Frame {
        let each = |score: fn(&ProbeRun) -> f64| self.runs.iter().map(score).collect::<Vec<f64>>();
        let size = |of: fn(&ProbeRun) -> usize| {
            self.runs.iter().map(|r| of(r) as i64).collect::<Vec<i64>>()
        };
        let columns: [(&str, Column); 8] = [
            ("macro_f1", each(|r| r.test.macro_f1()).into()),
            ("accuracy", each(|r| r.test.accuracy()).into()),
            ("majority_macro_f1", each(|r| r.majority.macro_f1()).into()),
            ("majority_accuracy", each(|r| r.majority.accuracy()).into()),
            ("validation_macro_f1", each(|r| r.validation_macro_f1).into()),
            ("n_train", size(|r| r.n_train).into()),
            ("n_validation", size(|r| r.n_validation).into()),
            ("n_test", size(|r| r.n_test).into()),
        ];
        let mut table = Frame::new(self.runs.iter().map(|r| r.seed.to_string()).collect());
        for (name, values) in columns {
            table.insert(name, values).expect("one number a split");
        }
        table
    }

    /// The table as (name, value).
    fn rows(&self) -> Vec<(&'static str, String)> {
        let mut rows = vec![
            ("macro F1", self.macro_f1().to_string()),
            ("accuracy", self.accuracy().to_string()),
            ("majority macro F1", self.majority_macro_f1().to_string()),
            ("majority accuracy", self.majority_accuracy().to_string()),
            ("α", self.alpha.to_string()),
            ("splits", self.runs.len().to_string()),
            ("classes", self.classes.len().to_string()),
            ("observations", format!("{} ({} without a label)", self.n_used, self.n_missing)),
        ];
        if !self.too_small.is_empty() {
            let each: Vec<_> = self.too_small.iter().map(|(c, n)| format!("{c} ({n})")).collect();
            rows.push(("too small", each.join(", ")));
        }
        let stopped = self.runs.iter().filter(|r| !r.converged).count();
        if stopped > 0 {
            rows.push(("not converged", format!("{stopped} splits; raise `max_iter`")));
        }
        rows
    }
}

shows_rows!(ProbeFit, |_| "Linear probe", 18);
