//! [`LinearProbe`]: logistic regressions on an embedding, judged on spots that they have not seen.

use super::known_classes;
use super::result::{ProbeFit, ProbeRun};
use super::split::{FEWEST, Split, split};
use crate::anndata::{AnnData, Categorical};
use crate::error::{Error, Result};
use crate::linalg::Real;
use crate::progress::Progress;
use crate::tl::logistic::{LogisticRegression, Problem, Solution};
use crate::tl::ridge::{finite, standardise};
use crate::tl::{Classes, classification};
use ndarray::{Array2, ArrayView2, Axis};

/// Options of a linear probe; [`LinearProbe::fit`] takes arrays, [`linear_probe`] an [`AnnData`].
///
/// The evaluation is that of the released code of STimage-1K4M (Chen et al., 2024), which follows
/// PLIP (Huang et al., 2023): for each of several seeds the labelled observations are split 80/10/10,
/// a logistic regression is fitted to the training part for each strength α of the penalty, the α of
/// the best macro F1 on the validation parts (mean over the seeds; the largest of equals) is taken,
/// and its macro F1 on the test parts is the result.
///
/// Three things differ. The regression is multinomial and run to its minimum
/// ([`LogisticRegression`]), where the released code takes steps of stochastic gradient descent on
/// one class against the rest. The split is stratified: of each class a tenth of the members, rounded
/// and at least one, validates, as many test. And a class of fewer than 3 members is left out, since
/// it cannot be in all parts; the result lists it.
#[derive(Debug, Clone, PartialEq)]
pub struct LinearProbe {
    alphas: Vec<f64>,
    seeds: Vec<u64>,
    balanced: bool,
    standardize: bool,
    left_out: Vec<String>,
    max_iter: usize,
    tol: f64,
    use_rep: String,
}

impl Default for LinearProbe {
    fn default() -> Self {
        LinearProbe {
            alphas: vec![1.0, 0.1, 0.01, 1e-3, 1e-4],
            seeds: (0..5).collect(),
            balanced: true,
            standardize: false,
            left_out: Vec::new(),
            max_iter: 100,
            tol: 1e-6,
            use_rep: "X_pca".into(),
        }
    }
}

impl LinearProbe {
    /// The strengths of the penalty to choose from. Default: 1, 0.1, 0.01, 1e-3, 1e-4.
    pub fn alphas(mut self, alphas: impl IntoIterator<Item = f64>) -> Self {
        self.alphas = alphas.into_iter().collect();
        self
    }

    /// The seeds of the splits. Default: 0 to 4.
    pub fn seeds(mut self, seeds: impl IntoIterator<Item = u64>) -> Self {
        self.seeds = seeds.into_iter().collect();
        self
    }

    /// Whether classes have the same weight in the regression, however many members they have.
    /// Default: true, as in the released code.
    pub fn balanced(mut self, yes: bool) -> Self {
        self.balanced = yes;
        self
    }

    /// Whether features get the mean 0 and the deviation 1, by the training part. Default: false;
    /// then the penalty counts features of large numbers less.
    pub fn standardize(mut self, yes: bool) -> Self {
        self.standardize = yes;
        self
    }

    /// Labels that mean that there is none, e.g. `undetermined`. Empty ones always do. Default:
    /// none.
    pub fn leave_out<S: Into<String>>(mut self, labels: impl IntoIterator<Item = S>) -> Self {
        self.left_out = labels.into_iter().map(Into::into).collect();
        self
    }

    /// Newton steps of a regression at most. Default: 100.
    pub fn max_iter(mut self, n: usize) -> Self {
        self.max_iter = n;
        self
    }

    /// A regression ends when no element of its gradient is larger than this. Default: 1e-6.
    pub fn tol(mut self, tol: f64) -> Self {
        self.tol = tol;
        self
    }

    /// For [`linear_probe`]: the entry of `obsm` to probe. Default: `X_pca`.
    pub fn use_rep(mut self, key: impl Into<String>) -> Self {
        self.use_rep = key.into();
        self
    }

    /// Probes the rows of `x` (n × d) for their classes. Rows without a label are left out.
    ///
    /// Shows its progress. The same seeds give the same bits for any number of threads.
    ///
    /// # Errors
    /// [`Error::Parameter`] when an option is out of range; [`Error::Shape`] when there is not one
    /// label a row; [`Error::Data`] with fewer than two classes of at least 3 members, or for an
    /// element that is not finite; [`Error::Interrupted`].
    pub fn fit<T: Real>(
        &self,
        x: ArrayView2<T>,
        labels: &(impl Classes + ?Sized),
    ) -> Result<ProbeFit> {
        let (models, seeds) = (self.models()?, self.checked_seeds()?);
        let mut names = known_classes(labels, &self.left_out);
        if names.len() != x.nrows() {
            return Err(Error::shape("labels", x.nrows(), names.len()));
        }
        let n_missing = names.iter().filter(|n| n.is_none()).count();
        let too_small = drop_small(&mut names);
        let labels = Categorical::from_labels(&names);
        let classes = labels.categories.len();
        if classes < 2 {
            let reason = format!(
                "need two classes of at least {FEWEST} members; found {classes} ({n_missing} of {} \
                 observations have no label, {} classes are too small)",
                names.len(),
                too_small.len()
            );
            return Err(Error::data("labels", reason));
        }
        let rows: Vec<usize> = (0..names.len()).filter(|&i| labels.codes[i] >= 0).collect();
        let class: Vec<usize> = rows.iter().map(|&i| labels.codes[i] as usize).collect();
        let x = x.select(Axis(0), &rows);
        finite("features", x.view())?;

        let mut progress = Progress::new("linear probe", (seeds.len() * models.len()) as u64);
        let mut trials = Vec::new();
        for &seed in &seeds {
            let parts = split(&class, classes, seed);
            trials.push(self.trial(
                &x,
                &class,
                &labels.categories,
                parts,
                &models,
                &mut progress,
            )?);
        }
        progress.finish();

        let mean = |a: usize| {
            trials.iter().map(|t: &Trial| t.validation[a]).sum::<f64>() / trials.len() as f64
        };
        let validation: Vec<f64> = (0..models.len()).map(mean).collect();
        let later = |best: usize, a: usize| if validation[a] > validation[best] { a } else { best };
        let best = (0..models.len()).fold(0, later);
        let runs = seeds.iter().zip(trials).map(|(&seed, t)| t.run(seed, best, &class, &labels));
        Ok(ProbeFit {
            alpha: models[best].0,
            alphas: models.iter().map(|m| m.0).collect(),
            validation,
            runs: runs.collect::<Result<_>>()?,
            n_used: rows.len(),
            n_missing,
            too_small,
            classes: labels.categories,
        })
    }

    /// A regression for each α, falling, so that each starts from a simpler one.
    fn models(&self) -> Result<Vec<(f64, LogisticRegression)>> {
        let mut alphas = self.alphas.clone();
        alphas.sort_by(|a, b| b.total_cmp(a));
        alphas.dedup();
        let model = |alpha: f64| {
            let model = LogisticRegression::new(alpha);
            let model = model.balanced(self.balanced).max_iter(self.max_iter).tol(self.tol);
            model.check().map(|()| (alpha, model))
        };
        if alphas.is_empty() {
            return Err(Error::parameter("alphas", "none", "give at least one"));
        }
        alphas.into_iter().map(model).collect()
    }

    fn checked_seeds(&self) -> Result<Vec<u64>> {
        match self.seeds.is_empty() {
            true => Err(Error::parameter("seeds", "none", "give at least one")),
            false => Ok(self.seeds.clone()),
        }
    }

    /// All regressions on one split.
    fn trial<T: Real>(
        &self,
        x: &Array2<T>,
        class: &[usize],
        names: &[String],
        parts: Split,
        models: &[(f64, LogisticRegression)],
        progress: &mut Progress,
    ) -> Result<Trial> {
        let part = |rows: &[usize]| x.select(Axis(0), rows).mapv(|v| v.as_f64());
        let [mut train, mut validation, mut test] =
            [&parts.train, &parts.validation, &parts.test].map(|p| part(p));
        if self.standardize {
            let (mean, scale) = standardise(&mut train);
            for x in [&mut validation, &mut test] {
                *x -= &mean;
                *x /= &scale;
            }
        }
        let of = |rows: &[usize]| rows.iter().map(|&i| class[i]).collect::<Vec<usize>>();
        let all: Vec<usize> = (0..train.nrows()).collect();
        let problem =
            Problem::new(train.view(), &all, of(&parts.train), names.len(), self.balanced)?;
        let truth: Vec<&String> = parts.validation.iter().map(|&i| &names[class[i]]).collect();
        let mut trial = Trial { parts, validation: vec![], predicted: vec![], converged: vec![] };
        let mut start: Option<Solution> = None;
        for (_, model) in models {
            let solution = model.solve(&problem, start.as_ref())?;
            let fit = solution.fit(names.to_vec());
            let got = classification(&truth, &fit.predict(validation.view())?)?;
            trial.validation.push(got.macro_f1());
            trial.predicted.push(fit.predict(test.view())?);
            trial.converged.push(fit.converged);
            start = Some(solution);
            progress.metric("macro F1", got.macro_f1());
            progress.tick(1)?;
        }
        Ok(trial)
    }
}

/// What the regressions of one split found, one entry an α.
struct Trial {
    parts: Split,
    validation: Vec<f64>,
    predicted: Vec<Vec<String>>,
    converged: Vec<bool>,
}

impl Trial {
    /// The result at the α that was chosen.
    fn run(
        mut self,
        seed: u64,
        best: usize,
        class: &[usize],
        labels: &Categorical,
    ) -> Result<ProbeRun> {
        let names = &labels.categories;
        let truth: Vec<&String> = self.parts.test.iter().map(|&i| &names[class[i]]).collect();
        let mut members = vec![0usize; names.len()];
        self.parts.train.iter().for_each(|&i| members[class[i]] += 1);
        let largest =
            (0..members.len()).fold(0, |b, c| if members[c] > members[b] { c } else { b });
        Ok(ProbeRun {
            seed,
            n_train: self.parts.train.len(),
            n_validation: self.parts.validation.len(),
            n_test: truth.len(),
            validation_macro_f1: self.validation[best],
            test: classification(&truth, &self.predicted.swap_remove(best))?,
            majority: classification(&truth, &vec![&names[largest]; truth.len()])?,
            converged: self.converged[best],
        })
    }
}

/// Takes the labels of classes with too few members away; the classes with their members.
fn drop_small(names: &mut [Option<String>]) -> Vec<(String, usize)> {
    let labels = Categorical::from_labels(names);
    let mut members = vec![0usize; labels.categories.len()];
    labels.codes.iter().filter(|&&c| c >= 0).for_each(|&c| members[c as usize] += 1);
    for (name, &code) in names.iter_mut().zip(&labels.codes) {
        if code >= 0 && members[code as usize] < FEWEST {
            *name = None;
        }
    }
    labels.categories.into_iter().zip(members).filter(|(_, n)| *n < FEWEST).collect()
}

/// Probes the embedding `obsm[use_rep]` for the classes in the column `label` of `obs`. Nothing is
/// written. See [`LinearProbe`].
///
/// # Errors
/// [`Error::MissingKey`] without the entry or the column, and those of [`LinearProbe::fit`].
pub fn linear_probe(adata: &AnnData, label: &str, options: LinearProbe) -> Result<ProbeFit> {
    let labels = adata.obs_column(label)?;
    options.fit(adata.obsm(&options.use_rep)?.to_array_f64().view(), labels)
}

#[cfg(test)]
#[path = "linear_tests.rs"]
mod tests;
