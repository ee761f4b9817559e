//! [`ridge_probe`]: expression of one slide predicted by what was fitted on another.

use crate::anndata::AnnData;
use crate::error::{Error, Result};
use crate::notebook::{Bundle, Rich, shows_itself};
use crate::tl::gene_maps::{GeneMapScores, ScoreGeneMap, expression};
use crate::tl::ridge::{Ridge, RidgeFit, finite};
use ndarray::Array2;
use std::collections::HashMap;
use std::fmt;

/// What [`ridge_probe`] found.
#[derive(Debug, Clone, PartialEq)]
pub struct RidgeProbe {
    /// The regression, its targets being the shared genes in the order of the first slide.
    pub fit: RidgeFit,
    /// The scores of the shared genes on the second slide, by gene and by spot.
    pub scores: GeneMapScores,
    /// Genes of the first slide that the second does not have.
    pub n_only_first: usize,
    /// Genes of the second slide that the first does not have.
    pub n_only_second: usize,
}

/// Fits expression to the features of the slide `train` and predicts that of the slide `test`, gene
/// by gene, as STimage-1K4M judges image features (Chen et al., 2024). Genes are matched
/// by name; both slides need the same normalisation. Nothing is written.
///
/// Reads `obsm[use_rep]` and X, or the layer that the options name, of both. The strength of the
/// penalty is chosen on `train` alone ([`Ridge`]). The score is Pearson's correlation by gene,
/// `scores.pearson`.
///
/// # Errors
/// [`Error::MissingKey`] without features or expression; [`Error::Shape`] when the slides have
/// different numbers of features; [`Error::Data`] when they share no gene or a shared name occurs
/// twice; those of [`Ridge::fit`] and [`ScoreGeneMap::score`].
pub fn ridge_probe(train: &AnnData, test: &AnnData, options: Ridge) -> Result<RidgeProbe> {
    let shared = shared_genes(train, test)?;
    let (first, second): (Vec<usize>, Vec<usize>) = shared.iter().copied().unzip();
    let features = |slide: &AnnData| slide.obsm(&options.use_rep).map(|m| m.to_array_f64());
    let values = |slide: &AnnData, genes: &[usize]| -> Result<Array2<f64>> {
        let values = expression(slide, options.layer.as_deref())?;
        Ok(values.take_columns(genes).to_array_f64())
    };
    let (x, y) = (features(train)?, features(test)?);
    if x.ncols() != y.ncols() {
        let what = format!("columns of obsm[\"{}\"] of the second slide", options.use_rep);
        return Err(Error::shape(what, x.ncols(), y.ncols()));
    }
    finite("features of the second slide", y.view())?;
    let fit = options.fit(x.view(), values(train, &first)?.view())?;
    let names = first.iter().map(|&j| train.var.names()[j].clone());
    let scores = ScoreGeneMap::default()
        .genes(names)
        .score(values(test, &second)?.view(), fit.predict(y.view())?.view())?;
    Ok(RidgeProbe {
        fit,
        scores,
        n_only_first: train.n_vars() - shared.len(),
        n_only_second: test.n_vars() - shared.len(),
    })
}

/// Where the genes that both slides have are in each, in the order of the first.
fn shared_genes(train: &AnnData, test: &AnnData) -> Result<Vec<(usize, usize)>> {
    let places = |slide: &AnnData| {
        let mut at: HashMap<String, Vec<usize>> = HashMap::new();
        for (j, name) in slide.var.names().iter().enumerate() {
            at.entry(name.clone()).or_default().push(j);
        }
        at
    };
    let (in_train, in_test) = (places(train), places(test));
    let mut shared = Vec::new();
    for (j, name) in train.var.names().iter().enumerate() {
        let Some(there) = in_test.get(name) else { continue };
        if there.len() > 1 || in_train[name].len() > 1 {
            let reason = "occurs twice in a slide; use `var_names_make_unique` first";
            return Err(Error::data(format!("gene `{name}`"), reason));
        }
        shared.push((j, there[0]));
    }
    if shared.is_empty() {
        let reason = "no gene has the same name in both; are they of one species and naming?";
        return Err(Error::data("genes of the slides", reason));
    }
    Ok(shared)
}

impl fmt::Display for RidgeProbe {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Ridge probe: mean Pearson {:.4}", self.scores.mean_pearson())?;
        write!(f, " of {} genes", self.scores.genes.len() - self.scores.n_constant())?;
        write!(f, " ({} constant)", self.scores.n_constant())?;
        write!(f, " on {} spots", self.scores.n_spots)
    }
}

impl Rich for RidgeProbe {
    fn bundle(&self) -> Result<Bundle> {
        Ok(Bundle::new().text(self.to_string()))
    }
}
shows_itself!(RidgeProbe);

#[cfg(test)]
mod tests {
    use super::*;
    use crate::anndata::Frame;
    use crate::rng::Rng;

    /// Genes that follow the features in the same way on every slide, in the order of the names.
    fn slide(n: usize, genes: &[&str], seed: u64) -> AnnData {
        let mut rng = Rng::new(seed);
        let features = Array2::from_shape_simple_fn((n, 4), || rng.normal());
        let x = Array2::from_shape_fn((n, genes.len()), |(i, j)| match genes[j] {
            "flat" => 1.0,
            "noise" => rng.normal(),
            name => features[[i, usize::from(name.as_bytes()[0]) % 4]] + 0.1 * rng.normal(),
        });
        let var = Frame::new(genes.iter().map(|g| g.to_string()).collect());
        let mut adata = AnnData::new(x, Frame::with_len(n), var).unwrap();
        adata.obsm.insert("image".into(), features.into());
        adata
    }

    #[test]
    fn what_features_tell_of_a_gene_holds_on_another_slide() {
        let train = slide(200, &["a", "only", "noise", "flat", "b"], 1);
        let test = slide(150, &["b", "flat", "c", "a", "noise"], 2);
        let probe = ridge_probe(&train, &test, Ridge::default().use_rep("image")).unwrap();
        assert_eq!(probe.scores.genes, ["a", "noise", "flat", "b"]);
        assert_eq!((probe.n_only_first, probe.n_only_second), (1, 1));
        let r = &probe.scores.pearson;
        assert!(r[0] > 0.95 && r[3] > 0.95 && r[1].abs() < 0.3 && r[2].is_nan(), "{r:?}");
        assert!(probe.to_string().contains("of 3 genes (1 constant) on 150 spots"), "{probe}");
    }

    #[test]
    fn slides_that_do_not_match_are_refused() {
        let train = slide(30, &["a", "b"], 1);
        let said = |test: &AnnData| {
            ridge_probe(&train, test, Ridge::default().use_rep("image")).unwrap_err().to_string()
        };
        assert!(said(&slide(30, &["c"], 2)).contains("no gene has the same name"));
        assert!(said(&slide(30, &["b", "b"], 2)).contains("gene `b`: occurs twice"));
        let mut other = slide(30, &["a"], 2);
        other.obsm.insert("image".into(), Array2::<f64>::zeros((30, 3)).into());
        assert!(said(&other).contains("expected 4, found 3"));
        other.obsm.clear();
        assert!(said(&other).contains("obsm has no entry `image`"));
    }
}
