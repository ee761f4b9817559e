//! The values whose pattern in space is asked for: genes, columns of `obs`, columns of `obsm`.
//!
//! What is chosen as a whole is borrowed, of the rest a copy is made; sparse stays sparse. Statistics
//! read it by rows, permutations one feature at a time, diffusion a few.

use crate::anndata::{AnnData, Column, Dense, Frame, Matrix, Select, Sparse, Values, with_values};
use crate::error::{Error, Result};
use crate::linalg::Real;
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

/// The columns are the features.
enum Data<'a> {
    /// Compressed by rows.
    Sparse(Cow<'a, Sparse>),
    Dense(Cow<'a, Dense>),
}

/// The values of every observation, one after the other.
pub(super) enum Rows<'a, T> {
    Sparse { width: usize, indptr: &'a [usize], indices: &'a [u32], values: &'a [T] },
    Dense { width: usize, values: &'a [T] },
}

/// Features that are read together.
pub(super) const LANES: usize = 8;

/// For every observation the values of [`LANES`] features.
pub(super) type Block = [[f64; LANES]];

/// The features a few at a time.
pub(super) enum Columns<'a> {
    /// Compressed by columns.
    Sparse(Sparse),
    Dense(&'a Dense),
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
    let Some(columns) = chosen else {
        return Ok(Features { names: Frame::new(var.names().to_vec()), data: all(matrix) });
    };
    once(&columns, var)?;
    let names = var.take(&columns).names().to_vec();
    Ok(Features { names: Frame::new(names), data: some(matrix, &columns) })
}

fn all(matrix: &Matrix) -> Data<'_> {
    match matrix {
        Matrix::Dense(m) => Data::Dense(Cow::Borrowed(m)),
        Matrix::Csr(m) => Data::Sparse(Cow::Borrowed(m)),
        Matrix::Csc(_) => Data::Sparse(Cow::Owned(matrix.to_csr())),
    }
}

fn some<'a>(matrix: &Matrix, columns: &[usize]) -> Data<'a> {
    match matrix.take_columns(columns) {
        Matrix::Dense(m) => Data::Dense(Cow::Owned(m)),
        Matrix::Csr(m) => Data::Sparse(Cow::Owned(m)),
        by_columns => Data::Sparse(Cow::Owned(by_columns.to_csr())),
    }
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
    let n = adata.n_obs();
    let rows = (0..n).flat_map(|r| columns.iter().map(move |c| c[r])).collect();
    let table = Dense { nrows: n, ncols: columns.len(), values: Values::F64(rows) };
    Ok(Features { names: Frame::new(names), data: Data::Dense(Cow::Owned(table)) })
}

fn read_obsm<'a>(
    adata: &'a AnnData,
    key: &str,
    columns: Option<Vec<usize>>,
) -> Result<Features<'a>> {
    let matrix = adata.obsm(key)?;
    let width = matrix.ncols();
    let Some(columns) = columns else {
        let names = Frame::with_numbers(Values::I64((0..width as i64).collect()));
        return Ok(Features { names, data: all(matrix) });
    };
    if let Some(bad) = columns.iter().find(|&&c| c >= width) {
        let reason = format!("obsm[\"{key}\"] has columns 0 to {}", width.saturating_sub(1));
        return Err(Error::parameter("obsm column", bad, reason));
    }
    once(&columns, &Frame::default())?;
    let names = Frame::with_numbers(Values::I64(columns.iter().map(|&c| c as i64).collect()));
    Ok(Features { names, data: some(matrix, &columns) })
}

impl<'a> Features<'a> {
    /// Number of features.
    pub fn len(&self) -> usize {
        self.names.len()
    }

    fn check_finite(&self) -> Result<()> {
        let values = match &self.data {
            Data::Sparse(m) => &m.values,
            Data::Dense(m) => &m.values,
        };
        let finite = !values.is_float()
            || with_values!(values, v => v.iter().all(|&x| (x as f64).is_finite()));
        if finite {
            return Ok(());
        }
        let bad = |k: &usize| !values.get_f64(*k).is_finite();
        let first = match &self.data {
            Data::Sparse(m) => (0..m.nnz()).filter(bad).map(|k| m.indices[k] as usize).min(),
            Data::Dense(m) => (0..values.len()).filter(bad).map(|k| k % m.ncols).min(),
        };
        let name = self.name(first.unwrap_or(0));
        let reason = "holds values that are missing or not finite; fill them, or drop these \
                      observations, first";
        Err(Error::data(format!("`{name}`"), reason))
    }

    /// The name of feature `f`.
    pub fn name(&self, f: usize) -> String {
        self.names.names().get(f).cloned().unwrap_or_else(|| f.to_string())
    }

    /// Hands the values to the one for `f32`, if they are stored so, or to the one for `f64`.
    pub fn with_rows<R>(
        &self,
        f32s: impl FnOnce(Rows<f32>) -> R,
        f64s: impl FnOnce(Rows<f64>) -> R,
    ) -> R {
        match &self.data {
            Data::Sparse(m) => {
                let (width, indptr, indices) = (m.ncols, m.indptr.as_slice(), m.indices.as_slice());
                match &m.values {
                    Values::F32(values) => f32s(Rows::Sparse { width, indptr, indices, values }),
                    other => {
                        let values = &other.to_f64();
                        f64s(Rows::Sparse { width, indptr, indices, values })
                    }
                }
            }
            Data::Dense(m) => match &m.values {
                Values::F32(values) => f32s(Rows::Dense { width: m.ncols, values }),
                other => f64s(Rows::Dense { width: m.ncols, values: &other.to_f64() }),
            },
        }
    }

    /// The features a few at a time; a copy by columns where they are sparse.
    pub fn columns(&self) -> Columns<'_> {
        match &self.data {
            Data::Sparse(m) => Columns::Sparse(m.to_other_axis(m.ncols)),
            Data::Dense(m) => Columns::Dense(m),
        }
    }
}

impl<T: Real> Rows<'_, T> {
    /// Number of features.
    pub fn width(&self) -> usize {
        match self {
            Rows::Sparse { width, .. } | Rows::Dense { width, .. } => *width,
        }
    }

    /// Calls `f` with each feature and its value that observation `r` has stored.
    #[inline(always)]
    pub fn each(&self, r: usize, mut f: impl FnMut(usize, f64)) {
        match self {
            Rows::Sparse { indptr, indices, values, .. } => {
                let range = indptr[r]..indptr[r + 1];
                let stored = indices[range.clone()].iter().zip(&values[range]);
                stored.for_each(|(&c, v)| f(c as usize, v.as_f64()));
            }
            Rows::Dense { width, values } => {
                let row = &values[r * width..(r + 1) * width];
                row.iter().enumerate().for_each(|(c, v)| f(c, v.as_f64()));
            }
        }
    }
}

impl Columns<'_> {
    /// The observations in which feature `f` is not 0, rising and each once, and its values there.
    pub fn stored(&self, f: usize) -> (Vec<u32>, Vec<f64>) {
        let mut spots: Vec<u32> = Vec::new();
        let mut values: Vec<f64> = Vec::new();
        match self {
            Columns::Sparse(m) => with_values!(&m.values, v => {
                for k in m.indptr[f]..m.indptr[f + 1] {
                    let (spot, value) = (m.indices[k], v[k] as f64);
                    match (spots.last(), values.last_mut()) {
                        // Stored in parts.
                        (Some(&last), Some(sum)) if last == spot => *sum += value,
                        _ if value != 0.0 => {
                            spots.push(spot);
                            values.push(value);
                        }
                        _ => {}
                    }
                }
            }),
            Columns::Dense(m) => with_values!(&m.values, v => {
                for (spot, &value) in v.iter().skip(f).step_by(m.ncols).enumerate() {
                    let value = value as f64;
                    if value != 0.0 {
                        spots.push(spot as u32);
                        values.push(value);
                    }
                }
            }),
        }
        (spots, values)
    }

    /// Up to [`LANES`] features side by side; the lanes that are left are 0.
    pub fn fill(&self, features: &[usize], block: &mut Block) {
        block.iter_mut().for_each(|row| *row = [0.0; LANES]);
        match self {
            Columns::Sparse(m) => with_values!(&m.values, v => {
                for (lane, &f) in features.iter().enumerate() {
                    for k in m.indptr[f]..m.indptr[f + 1] {
                        block[m.indices[k] as usize][lane] += v[k] as f64;
                    }
                }
            }),
            Columns::Dense(m) => with_values!(&m.values, v => {
                for (row, from) in block.iter_mut().zip(v.chunks_exact(m.ncols.max(1))) {
                    for (to, &f) in row.iter_mut().zip(features) {
                        *to = from[f] as f64;
                    }
                }
            }),
        }
    }
}
