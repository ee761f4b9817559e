//! The values whose pattern in space is asked for: genes, columns of `obs`, columns of `obsm`.
//!
//! Genes of a sparse matrix stay sparse; whatever the form, statistics read it by columns.

use super::statistic::{Block, LANES};
use crate::anndata::{AnnData, Column, Dense, Frame, Matrix, Select, Sparse, Values, with_values};
use crate::error::{Error, Result};
use std::borrow::Cow;

/// Where the values are.
#[derive(Debug, Clone, PartialEq)]
pub(super) enum Source {
    /// Genes of X, of a layer, or of `raw`; `None` are the highly variable ones if they are known,
    /// else all.
    Genes { genes: Option<Select>, layer: Option<String>, use_raw: bool },
    /// Columns of `obs`; `None` are all that hold numbers.
    Obs(Option<Vec<String>>),
    /// Columns of an entry of `obsm`; `None` are all.
    Obsm(String, Option<Vec<usize>>),
}

/// Values of several features over all observations.
pub(super) struct Features<'a> {
    /// The features' names, as rows of a table without columns.
    pub names: Frame,
    data: Data<'a>,
}

enum Data<'a> {
    /// Compressed by columns; the columns are the features.
    Sparse(Sparse),
    Dense(&'a Dense, Vec<usize>),
    Columns(Vec<Vec<f64>>),
}

/// The sparse form of one feature.
pub(super) struct SparseColumn<'a> {
    /// Observations with a stored value, rising.
    pub rows: &'a [u32],
    /// Their values.
    pub values: Cow<'a, [f64]>,
}

impl Source {
    /// Reads it.
    pub fn read<'a>(&self, adata: &'a AnnData) -> Result<Features<'a>> {
        let features = match self {
            Source::Genes { genes, layer, use_raw } => {
                read_genes(adata, genes.clone(), layer.as_deref(), *use_raw)?
            }
            Source::Obs(names) => read_obs(adata, names.as_deref())?,
            Source::Obsm(key, columns) => read_obsm(adata, key, columns.clone())?,
        };
        if features.len() == 0 {
            let reason = "no feature is selected; name some or leave the choice out";
            return Err(Error::parameter("genes", "[]", reason));
        }
        features.check_finite()?;
        Ok(features)
    }
}

fn read_genes<'a>(
    adata: &'a AnnData,
    genes: Option<Select>,
    layer: Option<&str>,
    use_raw: bool,
) -> Result<Features<'a>> {
    let (matrix, var, slot) = match (&adata.raw, layer) {
        (_, Some(layer)) if use_raw => {
            return Err(Error::parameter("layer", layer, "cannot be had together with `use_raw`"));
        }
        (None, _) if use_raw => {
            let reason = "there is no `raw`; leave `use_raw` out";
            return Err(Error::parameter("use_raw", true, reason));
        }
        (Some(raw), _) if use_raw => (&raw.x, &raw.var, "raw.var"),
        (_, Some(layer)) => (adata.layer(layer)?, &adata.var, "var"),
        (_, None) => (adata.x()?, &adata.var, "var"),
    };
    let chosen = match genes {
        Some(genes) => genes.positions(slot, var)?,
        None => match adata.var.get("highly_variable") {
            None => None,
            Some(column) => {
                let marked = column.to_f64().ok_or_else(|| {
                    Error::data("var[\"highly_variable\"]", "holds text; name the genes instead")
                })?;
                let marked = (0..adata.n_vars()).filter(|&g| marked[g] == 1.0);
                match use_raw {
                    false => Some(marked.collect::<Vec<usize>>()),
                    true => {
                        let names = adata.var.names();
                        let names: Vec<String> = marked.map(|g| names[g].clone()).collect();
                        Select::from(names).positions(slot, var)?
                    }
                }
            }
        },
    };
    let all = chosen.is_none();
    let columns = chosen.unwrap_or_else(|| (0..var.len()).collect());
    once(&columns, var)?;
    let names = if all { var.clone() } else { var.take(&columns) };
    let data = match matrix {
        Matrix::Dense(m) => Data::Dense(m, columns),
        Matrix::Csc(_) if all => Data::Sparse(matrix.to_csc()),
        Matrix::Csc(_) => Data::Sparse(matrix.take_columns(&columns).to_csc()),
        Matrix::Csr(m) => Data::Sparse(by_columns(m, &columns)),
    };
    Ok(Features { names: Frame::new(names.names().to_vec()), data })
}

/// No feature may be asked for twice: the result is a table with a row for each.
fn once(columns: &[usize], var: &Frame) -> Result<()> {
    let mut sorted = columns.to_vec();
    sorted.sort_unstable();
    match sorted.windows(2).find(|w| w[0] == w[1]) {
        Some(twice) => {
            let name = var.names().get(twice[0]).cloned().unwrap_or_default();
            Err(Error::parameter("genes", name, "is given twice"))
        }
        None => Ok(()),
    }
}

/// Chosen columns of a matrix compressed by rows, compressed by columns; one copy.
fn by_columns(m: &Sparse, columns: &[usize]) -> Sparse {
    let mut to = vec![u32::MAX; m.ncols];
    for (new, &old) in columns.iter().enumerate() {
        to[old] = new as u32;
    }
    let mut indptr = vec![0usize; columns.len() + 1];
    for &c in &m.indices {
        if let Some(slot) = indptr.get_mut((to[c as usize] as usize).wrapping_add(1))
            && to[c as usize] != u32::MAX
        {
            *slot += 1;
        }
    }
    for c in 0..columns.len() {
        indptr[c + 1] += indptr[c];
    }
    fn fill<T: Copy + Default>(
        m: &Sparse,
        v: &[T],
        to: &[u32],
        indptr: &[usize],
    ) -> (Vec<u32>, Vec<T>) {
        let total = indptr[indptr.len() - 1];
        let mut next = indptr.to_vec();
        let (mut rows, mut values) = (vec![0u32; total], vec![T::default(); total]);
        for r in 0..m.nrows {
            for e in m.indptr[r]..m.indptr[r + 1] {
                let c = to[m.indices[e] as usize];
                if c != u32::MAX {
                    let slot = &mut next[c as usize];
                    rows[*slot] = r as u32;
                    values[*slot] = v[e];
                    *slot += 1;
                }
            }
        }
        (rows, values)
    }
    let (indices, values) = with_values!(&m.values, v => {
        let (rows, values) = fill(m, v, &to, &indptr);
        (rows, Values::from(values))
    });
    Sparse { nrows: m.nrows, ncols: columns.len(), indptr, indices, values }
}

fn read_obs<'a>(adata: &'a AnnData, names: Option<&[String]>) -> Result<Features<'a>> {
    let numbers = |c: &Column| match c {
        Column::Values(v) | Column::Nullable { values: v, .. } => !matches!(v, Values::Bool(_)),
        _ => false,
    };
    let names: Vec<String> = match names {
        Some(names) => names.to_vec(),
        None => adata.obs.columns().filter(|(_, c)| numbers(c)).map(|(k, _)| k.into()).collect(),
    };
    let mut columns = Vec::with_capacity(names.len());
    for (i, name) in names.iter().enumerate() {
        if names[..i].contains(name) {
            return Err(Error::parameter("obs", name, "is given twice"));
        }
        let column = adata.obs_column(name)?;
        let values = column.to_f64().ok_or_else(|| {
            let reason = format!("holds {}, not numbers", column.dtype());
            Error::data(format!("obs[\"{name}\"]"), reason)
        })?;
        columns.push(values);
    }
    Ok(Features { names: Frame::new(names), data: Data::Columns(columns) })
}

fn read_obsm<'a>(
    adata: &'a AnnData,
    key: &str,
    columns: Option<Vec<usize>>,
) -> Result<Features<'a>> {
    let matrix = adata.obsm(key)?;
    let width = matrix.ncols();
    let columns = columns.unwrap_or_else(|| (0..width).collect());
    if let Some(bad) = columns.iter().find(|&&c| c >= width) {
        let reason = format!("obsm[\"{key}\"] has columns 0 to {}", width.saturating_sub(1));
        return Err(Error::parameter("obsm column", bad, reason));
    }
    once(&columns, &Frame::default())?;
    let numbers = Values::I64(columns.iter().map(|&c| c as i64).collect());
    let data = match matrix {
        Matrix::Dense(m) => Data::Dense(m, columns),
        sparse => Data::Sparse(by_columns(&sparse.to_csr(), &columns)),
    };
    Ok(Features { names: Frame::with_numbers(numbers), data })
}

impl<'a> Features<'a> {
    /// Number of features.
    pub fn len(&self) -> usize {
        self.names.len()
    }

    fn check_finite(&self) -> Result<()> {
        let bad = match &self.data {
            Data::Sparse(m) => {
                let finite =
                    with_values!(&m.values, v => v.iter().all(|&x| (x as f64).is_finite()));
                let column = |k: usize| m.indptr.partition_point(|&p| p <= k) - 1;
                let first = || (0..m.nnz()).find(|&k| !m.values.get_f64(k).is_finite());
                if finite { None } else { first().map(column) }
            }
            Data::Dense(m, columns) => {
                let at = |r: usize, c: usize| m.values.get_f64(r * m.ncols + c);
                let whole = m.values.is_float()
                    && with_values!(&m.values, v => v.iter().any(|&x| !(x as f64).is_finite()));
                let bad = |&f: &usize| (0..m.nrows).any(|r| !at(r, columns[f]).is_finite());
                if whole { (0..columns.len()).find(bad) } else { None }
            }
            Data::Columns(all) => all.iter().position(|c| c.iter().any(|x| !x.is_finite())),
        };
        let Some(f) = bad else { return Ok(()) };
        let name = self.name(f);
        let reason = "holds values that are missing or not finite; fill them, or drop these \
                      observations, first";
        Err(Error::data(format!("`{name}`"), reason))
    }

    /// The name of feature `f`.
    pub fn name(&self, f: usize) -> String {
        self.names.names().get(f).cloned().unwrap_or_else(|| f.to_string())
    }

    /// Feature `f` in sparse form, if it is stored so and at least half of it is 0: then its sums
    /// of squares lose nothing to its mean.
    pub fn sparse(&self, f: usize) -> Option<SparseColumn<'_>> {
        let Data::Sparse(m) = &self.data else { return None };
        let range = m.indptr[f]..m.indptr[f + 1];
        if 2 * range.len() > m.nrows {
            return None;
        }
        let rows = &m.indices[range.clone()];
        let values = match &m.values {
            Values::F64(v) => Cow::Borrowed(&v[range]),
            other => {
                Cow::Owned(with_values!(other, v => v[range].iter().map(|&x| x as f64).collect()))
            }
        };
        Some(SparseColumn { rows, values })
    }

    /// Up to [`LANES`] features side by side; the lanes that are left are 0.
    pub fn fill(&self, features: &[usize], block: &mut Block) {
        match &self.data {
            Data::Sparse(m) => {
                block.iter_mut().for_each(|row| *row = [0.0; LANES]);
                with_values!(&m.values, v => {
                    for (lane, &f) in features.iter().enumerate() {
                        for k in m.indptr[f]..m.indptr[f + 1] {
                            block[m.indices[k] as usize][lane] += v[k] as f64;
                        }
                    }
                });
            }
            Data::Dense(m, columns) => with_values!(&m.values, v => {
                for (r, row) in block.iter_mut().enumerate() {
                    *row = [0.0; LANES];
                    for (lane, &f) in features.iter().enumerate() {
                        row[lane] = v[r * m.ncols + columns[f]] as f64;
                    }
                }
            }),
            Data::Columns(all) => {
                for (r, row) in block.iter_mut().enumerate() {
                    *row = [0.0; LANES];
                    for (lane, &f) in features.iter().enumerate() {
                        row[lane] = all[f][r];
                    }
                }
            }
        }
    }
}
