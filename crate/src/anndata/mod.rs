//! Annotated data: a matrix of observations × variables with everything known about both.
//!
//! [`AnnData`] has the slots of Python's anndata, under the same names and with the same meaning.
//! Reading and writing files is in [`io`](crate::io); computing on the slots in
//! [`pp`](crate::pp) and [`tl`](crate::tl).

mod categories;
mod concat;
mod frame;
mod index;
mod join;
mod matrix;
mod mudata;
mod names;
mod select;
mod subset;
pub(crate) mod summary;
mod take;
mod transpose;
mod value;
mod values;

pub use concat::{Concat, Merge};
pub use frame::{Categorical, Column, Frame};
pub use join::{How, Joined};
pub(crate) use matrix::stored_by_rows;
pub use matrix::{Dense, Matrix, Sparse};
pub use mudata::MuData;
pub use select::Select;
pub use value::{Map, Value};
pub use values::{Values, with_values};

use crate::error::{Error, Result};
use ndarray::Array2;

/// Annotated data of `n_obs` observations (spots, beads, cells) × `n_vars` variables (genes).
#[derive(Debug, Clone, PartialEq, Default)]
pub struct AnnData {
    /// The main matrix, `n_obs × n_vars`, if there is one.
    pub x: Option<Matrix>,
    /// What is known about each observation.
    pub obs: Frame,
    /// What is known about each variable.
    pub var: Frame,
    /// Further matrices of the shape of `x`, e.g. `counts`.
    pub layers: Map<Matrix>,
    /// Per observation a row of several numbers, e.g. `spatial` or `X_pca`.
    pub obsm: Map<Matrix>,
    /// Per variable a row of several numbers, e.g. `PCs`.
    pub varm: Map<Matrix>,
    /// Entries of Python's `obsm` that are tables; a key is in `obsm` or here.
    pub obsm_frames: Map<Frame>,
    /// Entries of Python's `varm` that are tables; a key is in `varm` or here.
    pub varm_frames: Map<Frame>,
    /// Observation × observation, e.g. `connectivities`.
    pub obsp: Map<Matrix>,
    /// Variable × variable.
    pub varp: Map<Matrix>,
    /// Everything else, e.g. the tissue image under `spatial`.
    pub uns: Map<Value>,
    /// The matrix as it was before variables were dropped.
    pub raw: Option<Box<Raw>>,
}

/// The matrix and its variables as they were before variables were dropped.
#[derive(Debug, Clone, PartialEq)]
pub struct Raw {
    /// The matrix, `n_obs ×` as many variables as `var` has rows.
    pub x: Matrix,
    /// What is known about each of its variables.
    pub var: Frame,
    /// Per variable a row of several numbers.
    pub varm: Map<Matrix>,
    /// Entries of Python's `varm` that are tables.
    pub varm_frames: Map<Frame>,
}

impl AnnData {
    /// A matrix with the names of its rows and columns.
    ///
    /// # Errors
    /// [`Error::Shape`] when there are not as many names as rows or columns.
    pub fn new(x: impl Into<Matrix>, obs: Frame, var: Frame) -> Result<Self> {
        let adata = AnnData { x: Some(x.into()), obs, var, ..AnnData::default() };
        adata.check()?;
        Ok(adata)
    }

    /// Number of observations.
    pub fn n_obs(&self) -> usize {
        self.obs.len()
    }

    /// Number of variables.
    pub fn n_vars(&self) -> usize {
        self.var.len()
    }

    /// (observations, variables).
    pub fn shape(&self) -> (usize, usize) {
        (self.n_obs(), self.n_vars())
    }

    /// Checks that every slot has the size that `obs` and `var` ask for.
    ///
    /// # Errors
    /// [`Error::Shape`] naming the first slot that has not.
    pub fn check(&self) -> Result<()> {
        let (n, m) = self.shape();
        let check = |what: String, found: (usize, usize), rows: usize, cols: Option<usize>| {
            if found.0 == rows && cols.is_none_or(|c| c == found.1) {
                return Ok(());
            }
            let cols = cols.map_or("any".to_string(), |c| c.to_string());
            let found = format!("{} × {}", found.0, found.1);
            Err(Error::shape(what, format!("{rows} × {cols}"), found))
        };
        if let Some(x) = &self.x {
            check("X".into(), x.shape(), n, Some(m))?;
        }
        for (k, v) in &self.layers {
            check(format!("layers[\"{k}\"]"), v.shape(), n, Some(m))?;
        }
        for (k, v) in &self.obsm {
            check(format!("obsm[\"{k}\"]"), v.shape(), n, None)?;
        }
        for (k, v) in &self.varm {
            check(format!("varm[\"{k}\"]"), v.shape(), m, None)?;
        }
        for (k, v) in &self.obsp {
            check(format!("obsp[\"{k}\"]"), v.shape(), n, Some(n))?;
        }
        for (k, v) in &self.varp {
            check(format!("varp[\"{k}\"]"), v.shape(), m, Some(m))?;
        }
        let tables = self.obsm_frames.iter().map(|(k, v)| ("obsm", k, v.len(), n));
        for (slot, k, found, rows) in
            tables.chain(self.varm_frames.iter().map(|(k, v)| ("varm", k, v.len(), m)))
        {
            if found != rows {
                return Err(Error::shape(format!("rows of {slot}[\"{k}\"]"), rows, found));
            }
        }
        if let Some(raw) = &self.raw {
            check("raw.X".into(), raw.x.shape(), n, Some(raw.var.len()))?;
            for (k, v) in &raw.varm {
                check(format!("raw.varm[\"{k}\"]"), v.shape(), raw.var.len(), None)?;
            }
        }
        Ok(())
    }

    /// The main matrix.
    ///
    /// # Errors
    /// [`Error::MissingKey`] when there is none.
    pub fn x(&self) -> Result<&Matrix> {
        self.x.as_ref().ok_or_else(|| no_x(&self.layers))
    }

    /// The main matrix, to change in place.
    ///
    /// # Errors
    /// [`Error::MissingKey`] when there is none.
    pub fn x_mut(&mut self) -> Result<&mut Matrix> {
        self.x.as_mut().ok_or_else(|| no_x(&self.layers))
    }

    /// The column `name` of `obs`.
    ///
    /// # Errors
    /// [`Error::MissingKey`] listing the columns there are.
    pub fn obs_column(&self, name: &str) -> Result<&Column> {
        let names = || self.obs.columns().map(|(k, _)| k);
        self.obs.get(name).ok_or_else(|| Error::missing_key("obs", "column", name, names()))
    }

    /// The column `name` of `var`.
    ///
    /// # Errors
    /// [`Error::MissingKey`] listing the columns there are.
    pub fn var_column(&self, name: &str) -> Result<&Column> {
        let names = || self.var.columns().map(|(k, _)| k);
        self.var.get(name).ok_or_else(|| Error::missing_key("var", "column", name, names()))
    }

    /// The entry `key` of `obsm`.
    ///
    /// # Errors
    /// [`Error::MissingKey`] listing the entries there are.
    pub fn obsm(&self, key: &str) -> Result<&Matrix> {
        let names = || self.obsm.keys();
        self.obsm.get(key).ok_or_else(|| Error::missing_key("obsm", "entry", key, names()))
    }

    /// The layer `key`.
    ///
    /// # Errors
    /// [`Error::MissingKey`] listing the layers there are.
    pub fn layer(&self, key: &str) -> Result<&Matrix> {
        let names = || self.layers.keys();
        self.layers.get(key).ok_or_else(|| Error::missing_key("layers", "entry", key, names()))
    }

    /// Coordinates of the observations, `n_obs × 2` or `× 3`: `obsm["spatial"]`, for Visium (x, y)
    /// in pixels of the full-resolution image with y pointing down.
    ///
    /// # Errors
    /// [`Error::MissingKey`] without the entry, [`Error::Data`] when a coordinate is not finite.
    pub fn spatial(&self) -> Result<Array2<f64>> {
        let coords = self.obsm("spatial")?.to_array_f64();
        if !(2..=3).contains(&coords.ncols()) {
            return Err(Error::shape("columns of obsm[\"spatial\"]", "2 or 3", coords.ncols()));
        }
        let bad: Vec<usize> =
            (0..coords.nrows()).filter(|&i| coords.row(i).iter().any(|x| !x.is_finite())).collect();
        if let Some(&first) = bad.first() {
            let reason = format!(
                "{} of {} observations have a coordinate that is not a number (the first is \
                 `{}`, row {first}). Drop them with `adata.keep_obs(…)` or mend the file",
                bad.len(),
                self.n_obs(),
                self.obs.names()[first],
            );
            return Err(Error::data("obsm[\"spatial\"]", reason));
        }
        Ok(coords)
    }

    /// The position of the variable `name`.
    ///
    /// # Errors
    /// [`Error::MissingKey`] listing names that are alike, [`Error::Data`] for a name that several
    /// variables have.
    pub fn var_index(&self, name: &str) -> Result<usize> {
        self.var.position("var", name)
    }
}

fn no_x(layers: &Map<Matrix>) -> Error {
    let names = layers.keys().map(|k| format!("layers[\"{k}\"]"));
    Error::missing_key("AnnData", "matrix", "X", names)
}

#[cfg(test)]
mod tests {
    use super::*;
    use ndarray::array;

    fn tiny() -> AnnData {
        let x = array![[1f32, 0.], [0., 2.], [3., 4.]];
        let mut a = AnnData::new(x, Frame::with_len(3), Frame::with_len(2)).unwrap();
        a.obsm.insert("spatial".into(), array![[0f64, 0.], [1., 0.], [f64::NAN, 1.]].into());
        a
    }

    #[test]
    fn subsetting_takes_every_slot_along() {
        let a = tiny();
        let b = a.take_obs(&[2, 0]).take_vars(&[1]);
        assert_eq!(b.shape(), (2, 1));
        assert_eq!(b.x().unwrap().to_array_f32(), array![[4f32], [0.]]);
        b.check().unwrap();
    }

    #[test]
    fn coordinates_that_are_not_numbers_are_named() {
        let e = tiny().spatial().unwrap_err().to_string();
        assert!(e.contains("1 of 3") && e.contains("row 2"), "{e}");
        assert!(tiny().take_obs(&[0, 1]).spatial().is_ok());
    }

    #[test]
    fn a_missing_column_lists_the_others() {
        let mut a = tiny();
        a.obs.insert("area", vec![1.0, 2.0, 3.0]).unwrap();
        let e = a.obs_column("layer").unwrap_err().to_string();
        assert_eq!(e, "obs has no column `layer`; it has: area");
    }
}
