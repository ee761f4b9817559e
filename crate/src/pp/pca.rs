//! Principal components of the expression.

use super::hvg::masked;
use super::names::{not_finite, slot};
use super::stats::first_column;
use crate::anndata::{AnnData, Map, Matrix, Sparse, Value, Values};
use crate::error::{Error, Result};
use crate::linalg::{self, Centered, Csr, PcaFit, PcaSolver, Real};
use ndarray::{Array2, ArrayView2};

/// Options of [`pca`].
#[derive(Debug, Clone, PartialEq)]
pub struct Pca {
    n_comps: Option<usize>,
    zero_center: bool,
    solver: PcaSolver,
    seed: u64,
    mask_var: Mask,
    layer: Option<String>,
    key_added: Option<String>,
}

#[derive(Debug, Clone, PartialEq)]
enum Mask {
    /// `highly_variable` where there is such a column.
    Usual,
    All,
    Column(String),
}

impl Default for Pca {
    fn default() -> Self {
        Pca {
            n_comps: None,
            zero_center: true,
            solver: PcaSolver::Exact,
            seed: 0,
            mask_var: Mask::Usual,
            layer: None,
            key_added: None,
        }
    }
}

impl Pca {
    /// How many components. Default: 50, or one less than the smaller side of the matrix where that
    /// is not above 50.
    pub fn n_comps(mut self, n: usize) -> Self {
        self.n_comps = Some(n);
        self
    }

    /// Whether gene means are subtracted (of a sparse matrix without making it dense). Default:
    /// true; false gives a truncated singular value decomposition.
    pub fn zero_center(mut self, yes: bool) -> Self {
        self.zero_center = yes;
        self
    }

    /// The solver. Default: [`PcaSolver::Exact`], as scanpy's.
    pub fn solver(mut self, solver: PcaSolver) -> Self {
        self.solver = solver;
        self
    }

    /// Seed of the random start of solvers that have one. Default: 0.
    pub fn seed(mut self, seed: u64) -> Self {
        self.seed = seed;
        self
    }

    /// Use the genes that this boolean column of `var` marks. Default: `highly_variable` if there
    /// is such a column, otherwise all.
    pub fn mask_var(mut self, column: impl Into<String>) -> Self {
        self.mask_var = Mask::Column(column.into());
        self
    }

    /// Use all genes, even if variable ones are marked.
    pub fn all_genes(mut self) -> Self {
        self.mask_var = Mask::All;
        self
    }

    /// Take the values from this layer. Default: from X.
    pub fn layer(mut self, layer: impl Into<String>) -> Self {
        self.layer = Some(layer.into());
        self
    }

    /// Write to `obsm[key]`, `varm[key]` and `uns[key]` instead of `X_pca`, `PCs` and `pca`.
    pub fn key_added(mut self, key: impl Into<String>) -> Self {
        self.key_added = Some(key.into());
        self
    }
}

/// Principal components of X or of a layer.
///
/// Matches `scanpy.pp.pca` 1.11.5 (variances within 1e-8 relative, scores within 1e-4), with
/// scikit-learn's signs: in each component the largest loading is positive.
///
/// Writes `obsm["X_pca"]` (n_obs × n_comps, in the floating-point type of X), `varm["PCs"]`
/// (n_vars × n_comps; 0 for genes that were not used), `uns["pca"]` with `variance`,
/// `variance_ratio` and `params`; all three under one name with
/// [`key_added`](Pca::key_added).
///
/// # Errors
/// [`Error::Parameter`] when `n_comps` is 0 or above the smaller side; [`Error::MissingKey`]
/// without X, the layer or the mask's column; [`Error::Data`] with fewer than two cells or genes,
/// or when an element of a gene that is used is not finite.
pub fn pca(adata: &mut AnnData, options: Pca) -> Result<()> {
    let mask = match &options.mask_var {
        Mask::All => None,
        Mask::Column(name) => Some(name.as_str()),
        Mask::Usual => adata.var.contains("highly_variable").then_some("highly_variable"),
    };
    let genes: Vec<usize> = match mask {
        Some(name) => masked(adata, name)?,
        None => (0..adata.n_vars()).collect(),
    };
    let x = match &options.layer {
        Some(layer) => adata.layer(layer)?,
        None => adata.x()?,
    };
    let subset;
    let x = if genes.len() < x.ncols() {
        subset = x.take_columns(&genes);
        &subset
    } else {
        x
    };
    let (n, m) = x.shape();
    let smaller = n.min(m);
    if smaller < 2 {
        let reason = format!("need at least 2 cells and 2 genes, found {n} and {m}");
        return Err(Error::data("principal components", reason));
    }
    // Only who failed is looked at once more, for the name of the gene.
    let named = |e| match first_column(x, |v| !v.is_finite()) {
        Some(c) => {
            let reason = not_finite("gene", &adata.var, genes[c]);
            Error::data(slot(options.layer.as_ref()), reason)
        }
        None => e,
    };
    let k = options.n_comps.unwrap_or(if smaller > 50 { 50 } else { smaller - 1 });
    let fit = match x.values() {
        Values::F64(v) => fit(x, v, k, &options),
        other => fit(x, &other.to_f32(), k, &options),
    };
    let fit = fit.map_err(named)?;
    let double = matches!(x.values(), Values::F64(_));

    let mut loadings = Array2::<f64>::zeros((adata.n_vars(), k));
    for (j, &g) in genes.iter().enumerate() {
        loadings.row_mut(g).assign(&fit.components.column(j));
    }
    let scores: Matrix =
        if double { fit.scores.into() } else { fit.scores.mapv(|x| x as f32).into() };
    let key = |usual: &str| options.key_added.clone().unwrap_or(usual.into());
    adata.obsm.insert(key("X_pca"), scores);
    adata.varm.insert(key("PCs"), loadings.into());
    let vector = |v: Vec<f64>| Value::Array { shape: vec![v.len()], values: v.into() };
    let flag = |b: bool| Value::Array { shape: vec![], values: vec![b].into() };
    let mut params: Map<Value> = [
        ("zero_center".to_string(), flag(options.zero_center)),
        ("use_highly_variable".to_string(), flag(mask == Some("highly_variable"))),
        ("mask_var".to_string(), mask.map_or(Value::Null, Value::from)),
    ]
    .into();
    if let Some(layer) = &options.layer {
        params.insert("layer".into(), Value::from(layer.as_str()));
    }
    let entry: Map<Value> = [
        ("params".to_string(), params.into()),
        ("variance".to_string(), vector(fit.explained_variance.to_vec())),
        ("variance_ratio".to_string(), vector(fit.explained_variance_ratio.to_vec())),
    ]
    .into();
    adata.uns.insert(key("pca"), entry.into());
    Ok(())
}

fn fit<T: Real>(x: &Matrix, values: &[T], k: usize, options: &Pca) -> Result<PcaFit> {
    let compressed = |m: &Sparse, nrows, ncols| Csr {
        nrows,
        ncols,
        indptr: m.indptr.clone(),
        indices: m.indices.clone(),
        values: values.to_vec(),
    };
    let operator = match x {
        Matrix::Dense(m) => {
            let view = ArrayView2::from_shape((m.nrows, m.ncols), values)
                .expect("a dense matrix holds as many values as its shape says");
            Centered::dense(view, options.zero_center)?
        }
        Matrix::Csr(m) => Centered::sparse(compressed(m, m.nrows, m.ncols), options.zero_center)?,
        Matrix::Csc(m) => {
            let transposed = compressed(m, m.ncols, m.nrows);
            Centered::sparse(transposed.transpose(), options.zero_center)?
        }
    };
    linalg::pca_of(&operator, k, options.solver, options.seed)
}

#[cfg(test)]
mod tests {
    use super::super::stats::tests::{forms, sample};
    use super::*;
    use crate::anndata::Column;
    use crate::parallel::same_with_any_threads;

    #[test]
    fn sparse_and_dense_give_the_same_components() {
        let mut all = Vec::new();
        for x in forms(80, 30) {
            let a = same_with_any_threads(|| {
                let mut a = sample(x.clone());
                pca(&mut a, Pca::default().n_comps(4)).unwrap();
                a
            });
            a.check().unwrap();
            all.push(a.obsm("X_pca").unwrap().to_array_f64());
        }
        assert!(all.iter().all(|s| (s - &all[0]).iter().all(|d| d.abs() < 1e-4)));
    }

    #[test]
    fn only_marked_genes_are_used_and_named_in_params() {
        let mut a = sample(forms(60, 12).remove(0));
        let mask: Vec<bool> = (0..12).map(|g| g % 3 == 0).collect();
        a.var.insert("highly_variable", Column::Values(Values::Bool(mask))).unwrap();
        pca(&mut a, Pca::default()).unwrap();
        let loadings = a.varm["PCs"].to_array_f64();
        assert_eq!(loadings.dim(), (12, 3));
        assert!(loadings.row(1).iter().all(|&v| v == 0.0));
        assert!(loadings.row(3).iter().any(|&v| v != 0.0));
        let params = a.uns["pca"].at(&["params", "mask_var"]).unwrap();
        assert_eq!(params.as_str(), Some("highly_variable"));
        pca(&mut a, Pca::default().all_genes()).unwrap();
        assert_eq!(a.varm["PCs"].ncols(), 11);
    }

    #[test]
    fn a_layer_can_be_decomposed_under_another_name() {
        let mut a = sample(forms(60, 12).remove(0));
        a.layers.insert("copy".into(), a.x().unwrap().clone());
        pca(&mut a, Pca::default().n_comps(3)).unwrap();
        pca(&mut a, Pca::default().n_comps(3).layer("copy").key_added("other")).unwrap();
        assert_eq!(a.obsm["other"], a.obsm["X_pca"]);
        assert_eq!(a.varm["other"], a.varm["PCs"]);
        assert_eq!(a.uns["other"].at(&["params", "layer"]).unwrap().as_str(), Some("copy"));
        assert!(pca(&mut a, Pca::default().layer("none")).is_err());
    }

    #[test]
    fn bad_arguments_are_refused() {
        let mut a = sample(forms(20, 6).remove(2));
        let e = pca(&mut a, Pca::default().n_comps(7)).unwrap_err().to_string();
        assert!(e.contains("between 1 and 6"), "{e}");
        assert!(pca(&mut a, Pca::default().mask_var("nothing")).is_err());
        assert!(!a.obsm.contains_key("X_pca"));
    }

    #[test]
    fn a_gene_that_is_no_number_is_named_where_it_is_used() {
        let mut x = forms(20, 6).remove(4).to_array_f64();
        x[[7, 4]] = f64::NAN;
        let dense = Matrix::from(x);
        for form in [Matrix::Csr(dense.to_csr()), Matrix::Csc(dense.to_csc()), dense] {
            let mut a = sample(form);
            a.var.insert("late", vec![false, false, true, true, true, false]).unwrap();
            a.var.insert("early", vec![true, true, true, false, false, false]).unwrap();
            for options in [Pca::default(), Pca::default().mask_var("late")] {
                let e = pca(&mut a, options).unwrap_err().to_string();
                assert!(e.contains("X: gene `4` (column 4) holds NaN"), "{e}");
            }
            pca(&mut a, Pca::default().mask_var("early")).unwrap();
            assert_eq!(a.obsm["X_pca"].shape(), (20, 2));
        }
    }

    #[test]
    fn two_cells_and_two_genes_are_needed() {
        let mut a = sample(forms(20, 6).remove(2));
        a.var.insert("one", vec![false, false, true, false, false, false]).unwrap();
        a.var.insert("none", vec![false; 6]).unwrap();
        let mut single = sample(forms(1, 6).remove(0));
        let one = pca(&mut a, Pca::default().mask_var("one")).unwrap_err().to_string();
        let none = pca(&mut a, Pca::default().mask_var("none")).unwrap_err().to_string();
        let cell = pca(&mut single, Pca::default()).unwrap_err().to_string();
        for (e, found) in [(one, "20 and 1"), (none, "20 and 0"), (cell, "1 and 6")] {
            assert!(
                e.contains(&format!("need at least 2 cells and 2 genes, found {found}")),
                "{e}"
            );
        }
    }
}
