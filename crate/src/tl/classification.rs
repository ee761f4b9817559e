//! How well predicted classes agree with true ones: [`classification`] of predicted labels,
//! [`roc_auc`] and [`average_precision`] of scores.
//!
//! All match scikit-learn 1.9 within 1e-10.

use crate::anndata::{Categorical, Column, Frame};
use crate::error::{Error, Result};
use ndarray::{Array2, ArrayView2};

/// A class for each observation, by name: a slice, array or `Vec` of anything that has a text, or a
/// column of `obs`. Unlike [`Labels`](super::Labels), names matter: they connect both sides.
pub trait Classes {
    /// The name of the class of each observation, `None` where it is missing.
    fn names(&self) -> Vec<Option<String>>;
}

impl<T: ToString> Classes for [T] {
    fn names(&self) -> Vec<Option<String>> {
        self.iter().map(|x| Some(x.to_string())).collect()
    }
}

impl<T: ToString> Classes for Vec<T> {
    fn names(&self) -> Vec<Option<String>> {
        self.as_slice().names()
    }
}

impl<T: ToString, const N: usize> Classes for [T; N] {
    fn names(&self) -> Vec<Option<String>> {
        self.as_slice().names()
    }
}

impl Classes for Categorical {
    fn names(&self) -> Vec<Option<String>> {
        (0..self.codes.len()).map(|i| self.label(i).map(str::to_string)).collect()
    }
}

impl Classes for Column {
    fn names(&self) -> Vec<Option<String>> {
        (0..self.len()).map(|i| self.text(i)).collect()
    }
}

impl<T: Classes + ?Sized> Classes for &T {
    fn names(&self) -> Vec<Option<String>> {
        (**self).names()
    }
}

/// What [`classification`] found. The classes are those of either side, in natural order.
#[derive(Debug, Clone, PartialEq)]
pub struct Classification {
    /// The names of the classes.
    pub classes: Vec<String>,
    /// How many observations of each true class (row) are predicted as each class (column).
    pub confusion: Array2<u64>,
    /// For each class the part of those predicted as it that are; 0 where nothing is predicted so.
    pub precision: Vec<f64>,
    /// For each class the part of its members that are found; 0 where it has none.
    pub recall: Vec<f64>,
    /// For each class the harmonic mean of both.
    pub f1: Vec<f64>,
    /// True members of each class.
    pub support: Vec<u64>,
}

/// Compares predicted classes with true ones. Observations without a true class are left out.
///
/// ```
/// use spatialkit::tl;
/// let c = tl::classification(&["a", "a", "b"], &["a", "b", "b"])?;
/// assert_eq!(c.confusion, spatialkit::ndarray::array![[1, 1], [0, 1]]);
/// assert!((c.macro_f1() - 2.0 / 3.0).abs() < 1e-15);
/// # Ok::<(), spatialkit::Error>(())
/// ```
///
/// # Errors
/// [`Error::Shape`] when the lengths differ; [`Error::Data`] when nothing has a true class, or
/// something that has one was not predicted.
pub fn classification(
    truth: &(impl Classes + ?Sized),
    predicted: &(impl Classes + ?Sized),
) -> Result<Classification> {
    compare(truth.names(), predicted.names())
}

fn compare(truth: Vec<Option<String>>, predicted: Vec<Option<String>>) -> Result<Classification> {
    if truth.len() != predicted.len() {
        return Err(Error::shape("predicted classes", truth.len(), predicted.len()));
    }
    let mut pairs = Vec::new();
    let mut absent = 0;
    for (t, p) in truth.into_iter().zip(predicted).filter_map(|(t, p)| Some((t?, p))) {
        match p {
            Some(p) => pairs.extend([Some(t), Some(p)]),
            None => absent += 1,
        }
    }
    if absent > 0 {
        let reason = format!(
            "{absent} observations have a true class but no predicted one; drop them, or give them \
             a class such as `unknown`"
        );
        return Err(Error::data("predicted classes", reason));
    }
    if pairs.is_empty() {
        return Err(Error::data("true classes", "no observation has one"));
    }
    let c = Categorical::from_labels(&pairs);
    let k = c.categories.len();
    let mut confusion = Array2::<u64>::zeros((k, k));
    for pair in c.codes.as_chunks::<2>().0 {
        confusion[[pair[0] as usize, pair[1] as usize]] += 1;
    }
    let ratio = |a: u64, b: u64| if b == 0 { 0.0 } else { a as f64 / b as f64 };
    let hits: Vec<u64> = confusion.diag().to_vec();
    let support: Vec<u64> = confusion.rows().into_iter().map(|r| r.sum()).collect();
    let named: Vec<u64> = confusion.columns().into_iter().map(|c| c.sum()).collect();
    let each = |f: &dyn Fn(usize) -> f64| (0..k).map(f).collect::<Vec<f64>>();
    Ok(Classification {
        precision: each(&|i| ratio(hits[i], named[i])),
        recall: each(&|i| ratio(hits[i], support[i])),
        f1: each(&|i| ratio(2 * hits[i], named[i] + support[i])),
        classes: c.categories,
        support,
        confusion,
    })
}

impl Classification {
    fn total(&self) -> f64 {
        self.support.iter().sum::<u64>() as f64
    }

    fn mean(&self, values: &[f64]) -> f64 {
        values.iter().sum::<f64>() / values.len() as f64
    }

    fn weighted(&self, values: &[f64]) -> f64 {
        let sum: f64 = values.iter().zip(&self.support).map(|(v, &n)| v * n as f64).sum();
        sum / self.total()
    }

    /// The part of the observations that are predicted right.
    pub fn accuracy(&self) -> f64 {
        self.confusion.diag().sum() as f64 / self.total()
    }

    /// The mean recall of the classes that have members.
    pub fn balanced_accuracy(&self) -> f64 {
        let there: Vec<f64> = self
            .recall
            .iter()
            .zip(&self.support)
            .filter(|(_, n)| **n > 0)
            .map(|(&r, _)| r)
            .collect();
        self.mean(&there)
    }

    /// The mean precision of the classes.
    pub fn macro_precision(&self) -> f64 {
        self.mean(&self.precision)
    }

    /// The mean recall of the classes.
    pub fn macro_recall(&self) -> f64 {
        self.mean(&self.recall)
    }

    /// The mean F1 of the classes.
    pub fn macro_f1(&self) -> f64 {
        self.mean(&self.f1)
    }

    /// The mean precision, each class weighted by its members.
    pub fn weighted_precision(&self) -> f64 {
        self.weighted(&self.precision)
    }

    /// The mean recall, each class weighted by its members; equals the accuracy.
    pub fn weighted_recall(&self) -> f64 {
        self.weighted(&self.recall)
    }

    /// The mean F1, each class weighted by its members.
    pub fn weighted_f1(&self) -> f64 {
        self.weighted(&self.f1)
    }

    /// Σ over classes of true members × predicted ones.
    fn chance(&self) -> f64 {
        let columns = self.confusion.columns();
        let named = columns.into_iter().map(|c| c.sum() as f64);
        named.zip(&self.support).map(|(c, &r)| c * r as f64).sum()
    }

    /// Cohen's κ (1960): the agreement beyond what chance gives. NaN where both sides know one and
    /// the same class only, and κ is not defined.
    pub fn cohen_kappa(&self) -> f64 {
        let n = self.total();
        let chance = self.chance() / (n * n);
        (self.accuracy() - chance) / (1.0 - chance)
    }

    /// Matthews' correlation coefficient for any number of classes (Gorodkin, 2004); 0 where either
    /// side knows one class only.
    pub fn matthews(&self) -> f64 {
        let n = self.total();
        let square = |v: &mut dyn Iterator<Item = u64>| v.map(|x| (x as f64).powi(2)).sum::<f64>();
        let rows = square(&mut self.support.iter().copied());
        let columns = square(&mut self.confusion.columns().into_iter().map(|c| c.sum()));
        let spread = (n * n - rows) * (n * n - columns);
        let hits = self.confusion.diag().sum() as f64;
        if spread == 0.0 { 0.0 } else { (hits * n - self.chance()) / spread.sqrt() }
    }

    /// The classes as a table: `precision`, `recall`, `f1`, `support`.
    pub fn to_frame(&self) -> Frame {
        let mut table = Frame::new(self.classes.clone());
        let columns = [("precision", &self.precision), ("recall", &self.recall), ("f1", &self.f1)];
        for (name, values) in columns {
            table.insert(name, values.clone()).expect("one number a class");
        }
        table.insert("support", self.support.clone()).expect("one number a class");
        table
    }
}

/// Observations by falling score: for each distinct score how many of them, and of these how many
/// are positive.
fn steps(truth: &[bool], scores: &[f64]) -> Result<Vec<(f64, f64)>> {
    if truth.len() != scores.len() {
        return Err(Error::shape("scores", truth.len(), scores.len()));
    }
    if let Some(i) = scores.iter().position(|s| s.is_nan()) {
        return Err(Error::data(
            "scores",
            format!("score {i} is NaN; drop such observations first"),
        ));
    }
    let mut order: Vec<usize> = (0..scores.len()).collect();
    order.sort_unstable_by(|&a, &b| scores[b].total_cmp(&scores[a]));
    let steps = order.chunk_by(|&a, &b| scores[a] == scores[b]);
    let count = |s: &[usize]| (s.len() as f64, s.iter().filter(|&&i| truth[i]).count() as f64);
    Ok(steps.map(count).collect())
}

fn both_sides(truth: &[bool]) -> Result<f64> {
    let positive = truth.iter().filter(|&&t| t).count();
    if positive == 0 || positive == truth.len() {
        let what = if positive == 0 { "no observation is" } else { "all observations are" };
        let reason = format!("{what} of the class, so there is nothing to tell it from");
        return Err(Error::data("true classes", reason));
    }
    Ok(positive as f64)
}

/// Area under the receiver operating characteristic: the probability that a positive observation
/// has a higher score than a negative one, ties counting half. `sklearn.metrics.roc_auc_score`.
///
/// # Errors
/// [`Error::Shape`] when the lengths differ; [`Error::Data`] when all or none are positive or a
/// score is NaN.
pub fn roc_auc(truth: &[bool], scores: &[f64]) -> Result<f64> {
    let steps = steps(truth, scores)?;
    let positive = both_sides(truth)?;
    let negative = truth.len() as f64 - positive;
    let (mut above, mut area) = (0.0, 0.0);
    for (all, hits) in steps {
        area += (all - hits) * (above + hits / 2.0);
        above += hits;
    }
    Ok(area / (positive * negative))
}

/// Average precision: Σ (Rₙ − Rₙ₋₁) Pₙ over the distinct scores from the highest, with recall R and
/// precision P of everything with at least that score.
/// `sklearn.metrics.average_precision_score`.
///
/// # Errors
/// [`Error::Shape`] when the lengths differ; [`Error::Data`] when none is positive or a score is
/// NaN.
pub fn average_precision(truth: &[bool], scores: &[f64]) -> Result<f64> {
    let steps = steps(truth, scores)?;
    let positive = truth.iter().filter(|&&t| t).count() as f64;
    if positive == 0.0 {
        return Err(Error::data("true classes", "no observation is of the class"));
    }
    let (mut seen, mut found, mut sum) = (0.0, 0.0, 0.0);
    for (all, hits) in steps {
        (seen, found) = (seen + all, found + hits);
        sum += hits / positive * (found / seen);
    }
    Ok(sum)
}

/// [`roc_auc`] of each class against all others, in the order of `classes`; their mean is
/// `sklearn.metrics.roc_auc_score(…, multi_class="ovr")`.
///
/// `scores` is n × classes. Observations without a true class are left out.
///
/// # Errors
/// [`Error::Shape`] when sizes do not fit; [`Error::Data`] when a true class is not among
/// `classes`, one of them never occurs, or a score is NaN.
pub fn roc_auc_ovr(
    truth: &(impl Classes + ?Sized),
    classes: &[&str],
    scores: ArrayView2<f64>,
) -> Result<Vec<f64>> {
    let truth = truth.names();
    if scores.dim() != (truth.len(), classes.len()) {
        let expected = format!("{} × {}", truth.len(), classes.len());
        let found = format!("{} × {}", scores.nrows(), scores.ncols());
        return Err(Error::shape("scores", expected, found));
    }
    if let Some(other) = truth.iter().flatten().find(|t| !classes.contains(&t.as_str())) {
        let reason = format!("`{other}` is none of {}", classes.join(", "));
        return Err(Error::data("true classes", reason));
    }
    let known: Vec<usize> = (0..truth.len()).filter(|&i| truth[i].is_some()).collect();
    let one = |(c, class): (usize, &&str)| {
        let is: Vec<bool> = known.iter().map(|&i| truth[i].as_deref() == Some(*class)).collect();
        let scores: Vec<f64> = known.iter().map(|&i| scores[[i, c]]).collect();
        roc_auc(&is, &scores).map_err(|e| match e {
            Error::Data { reason, .. } => Error::data(format!("class `{class}`"), reason),
            other => other,
        })
    };
    classes.iter().enumerate().map(one).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use ndarray::array;

    fn close(got: f64, expected: f64) {
        assert!((got - expected).abs() < 1e-12, "{got} is not {expected}");
    }

    #[test]
    fn a_small_table_by_hand() {
        // truth 2 3 1 of classes 1, 2, 10; one class is only predicted.
        let truth = ["1", "1", "2", "2", "2", "10"];
        let got = ["1", "2", "2", "2", "x", "10"];
        let c = classification(&truth, &got).unwrap();
        assert_eq!(c.classes, ["1", "2", "10", "x"]);
        assert_eq!(c.support, [2, 3, 1, 0]);
        assert_eq!(c.recall[3], 0.0);
        close(c.accuracy(), 4.0 / 6.0);
        close(c.balanced_accuracy(), (0.5 + 2.0 / 3.0 + 1.0) / 3.0);
        close(c.weighted_recall(), c.accuracy());
        close(c.macro_precision(), (1.0 + 2.0 / 3.0 + 1.0 + 0.0) / 4.0);
        assert_eq!(c.to_frame().len(), 4);
    }

    #[test]
    fn chance_is_taken_out() {
        let truth = [0, 0, 0, 1, 1, 1];
        close(classification(&truth, &[0, 0, 1, 1, 1, 0]).unwrap().cohen_kappa(), 1.0 / 3.0);
        close(classification(&truth, &[0, 0, 1, 1, 1, 0]).unwrap().matthews(), 1.0 / 3.0);
        let constant = classification(&truth, &[0; 6]).unwrap();
        assert_eq!((constant.cohen_kappa(), constant.matthews()), (0.0, 0.0));
        assert!(classification(&[1, 1], &[1, 1]).unwrap().cohen_kappa().is_nan());
    }

    #[test]
    fn ties_count_half() {
        let truth = [false, true, false, true];
        close(roc_auc(&truth, &[0.1, 0.4, 0.35, 0.8]).unwrap(), 1.0);
        close(roc_auc(&truth, &[0.5, 0.5, 0.5, 0.5]).unwrap(), 0.5);
        close(roc_auc(&truth, &[0.1, 0.3, 0.3, 0.2]).unwrap(), 0.625);
        // sklearn: average_precision_score([0, 0, 1, 1], [0.1, 0.4, 0.35, 0.8])
        let p = average_precision(&[false, false, true, true], &[0.1, 0.4, 0.35, 0.8]).unwrap();
        close(p, 0.8333333333333333);
        let scores = array![[0.9, 0.1], [0.2, 0.8], [0.6, 0.4]];
        let both = roc_auc_ovr(&["a", "b", "a"], &["a", "b"], scores.view()).unwrap();
        assert_eq!(both, [1.0, 1.0]);
    }

    #[test]
    fn what_cannot_be_scored_is_said() {
        assert!(roc_auc(&[true, true], &[0.1, 0.2]).unwrap_err().to_string().contains("all"));
        assert!(roc_auc(&[], &[]).is_err());
        assert!(roc_auc(&[true, false], &[0.1, f64::NAN]).unwrap_err().to_string().contains("1"));
        assert!(average_precision(&[false], &[0.1]).is_err());
        assert!(roc_auc(&[true], &[0.1, 0.2]).is_err());
        let missing = Categorical::from_labels(&[Some("a"), None]);
        let e = classification(&["a", "b"], &missing).unwrap_err().to_string();
        assert!(e.contains("1 observations have a true class but no predicted one"), "{e}");
        assert_eq!(classification(&missing, &["a", "b"]).unwrap().accuracy(), 1.0);
        assert!(classification(&[0; 0], &[0; 0]).is_err());
        let e = roc_auc_ovr(&["z"], &["a"], array![[0.1]].view()).unwrap_err().to_string();
        assert!(e.contains("`z` is none of a"), "{e}");
        let mut scores = array![[0.9, 0.1], [0.2, 0.8]];
        let e = roc_auc_ovr(&["a", "a"], &["a", "b"], scores.view()).unwrap_err().to_string();
        assert!(e.contains("class `a`: all observations are of the class"), "{e}");
        let e = roc_auc_ovr(&["b", "b"], &["a", "b"], scores.view()).unwrap_err().to_string();
        assert!(e.contains("class `a`: no observation is of the class"), "{e}");
        scores[[1, 1]] = f64::NAN;
        let e = roc_auc_ovr(&["a", "b"], &["a", "b"], scores.view()).unwrap_err().to_string();
        assert!(e.contains("class `b`: score 1 is NaN"), "{e}");
    }
}
