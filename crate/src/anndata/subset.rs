//! Parts of an [`AnnData`]: some observations, some variables, or both.
//!
//! Every subset is a copy, or the object itself made smaller. Python's anndata gives views instead,
//! which become copies the moment that somebody writes to them: what a change reaches then depends
//! on what happened before. A copy costs memory, and says so at once.

use super::{AnnData, Frame, Map, Matrix, Raw, Select};
use crate::error::Result;

/// Positions along one axis; `None` is all.
type Keep<'a> = Option<&'a [usize]>;

impl AnnData {
    /// The chosen observations and variables, in the order in which they were chosen; a copy of
    /// every slot. Slots along an axis follow it, `obsp` and `varp` on both of theirs; `raw` keeps
    /// all of its variables; `uns` stays as it is, and so do categories without elements
    /// ([`remove_unused_categories`](AnnData::remove_unused_categories) drops them).
    ///
    /// Matches `adata[obs, vars].copy()` of anndata 0.12, except that anndata drops unused
    /// categories at that moment, and that a range that reaches beyond the end is an error.
    ///
    /// ```
    /// # use spatialkit::datasets::{self, Synthetic};
    /// # let slide = datasets::synthetic(&Synthetic::default().n_genes(50).image(false))?;
    /// let part = slide.select(slide.obs.is_in("layer", &["L1", "WM"])?, ["MBP", "PCP4"])?;
    /// assert_eq!(part.n_vars(), 2);
    /// let head = slide.select(..100, ..)?;
    /// assert_eq!(head.shape(), (100, 50));
    /// # Ok::<(), spatialkit::Error>(())
    /// ```
    ///
    /// # Errors
    /// [`Error::Parameter`](crate::Error::Parameter) for a position or range beyond the end,
    /// [`Error::Shape`](crate::Error::Shape) for a mask of another length,
    /// [`Error::MissingKey`](crate::Error::MissingKey) for a name that there is not (with those
    /// alike), [`Error::Data`](crate::Error::Data) for a name that several have.
    pub fn select(&self, obs: impl Into<Select>, vars: impl Into<Select>) -> Result<AnnData> {
        self.selected(obs.into(), vars.into())
    }

    /// The chosen observations; see [`select`](AnnData::select).
    ///
    /// # Errors
    /// As [`select`](AnnData::select).
    pub fn select_obs(&self, obs: impl Into<Select>) -> Result<AnnData> {
        self.selected(obs.into(), (..).into())
    }

    /// The chosen variables; see [`select`](AnnData::select).
    ///
    /// # Errors
    /// As [`select`](AnnData::select).
    pub fn select_vars(&self, vars: impl Into<Select>) -> Result<AnnData> {
        self.selected((..).into(), vars.into())
    }

    /// Keeps only the chosen observations, slot by slot in place: no more than one slot is there
    /// twice at any time. Matches anndata's `_inplace_subset_obs`.
    ///
    /// # Errors
    /// As [`select`](AnnData::select); the object is unchanged then.
    pub fn keep_obs(&mut self, obs: impl Into<Select>) -> Result<()> {
        if let Some(keep) = obs.into().positions("obs", &self.obs)? {
            self.retain(Some(&keep), None);
        }
        Ok(())
    }

    /// Keeps only the chosen variables, slot by slot in place; `raw` keeps all of its own. Matches
    /// anndata's `_inplace_subset_var`.
    ///
    /// # Errors
    /// As [`select`](AnnData::select); the object is unchanged then.
    pub fn keep_vars(&mut self, vars: impl Into<Select>) -> Result<()> {
        if let Some(keep) = vars.into().positions("var", &self.var)? {
            self.retain(None, Some(&keep));
        }
        Ok(())
    }

    /// The observations at `keep`, in that order; a copy of every slot.
    ///
    /// # Panics
    /// Where an observation does not exist; [`select_obs`](AnnData::select_obs) checks.
    pub fn take_obs(&self, keep: &[usize]) -> AnnData {
        self.taken(Some(keep), None)
    }

    /// The variables at `keep`, in that order; a copy of every slot. `raw` keeps all of its own.
    ///
    /// # Panics
    /// Where a variable does not exist; [`select_vars`](AnnData::select_vars) checks.
    pub fn take_vars(&self, keep: &[usize]) -> AnnData {
        self.taken(None, Some(keep))
    }

    fn selected(&self, obs: Select, vars: Select) -> Result<AnnData> {
        let obs = obs.positions("obs", &self.obs)?;
        let vars = vars.positions("var", &self.var)?;
        Ok(self.taken(obs.as_deref(), vars.as_deref()))
    }

    fn taken(&self, obs: Keep, vars: Keep) -> AnnData {
        let matrices = |m: &Map<Matrix>, rows: Keep, columns: Keep| -> Map<Matrix> {
            m.iter().map(|(k, m)| (k.clone(), m.take_both(rows, columns))).collect()
        };
        let tables = |m: &Map<Frame>, rows: Keep| -> Map<Frame> {
            m.iter().map(|(k, f)| (k.clone(), table(f, rows))).collect()
        };
        let raw = |raw: &Raw| Raw {
            x: raw.x.take_both(obs, None),
            var: raw.var.clone(),
            varm: raw.varm.clone(),
            varm_frames: raw.varm_frames.clone(),
        };
        AnnData {
            x: self.x.as_ref().map(|x| x.take_both(obs, vars)),
            obs: table(&self.obs, obs),
            var: table(&self.var, vars),
            layers: matrices(&self.layers, obs, vars),
            obsm: matrices(&self.obsm, obs, None),
            varm: matrices(&self.varm, vars, None),
            obsm_frames: tables(&self.obsm_frames, obs),
            varm_frames: tables(&self.varm_frames, vars),
            obsp: matrices(&self.obsp, obs, obs),
            varp: matrices(&self.varp, vars, vars),
            uns: self.uns.clone(),
            raw: self.raw.as_deref().map(|r| Box::new(raw(r))),
        }
    }

    /// Keeps positions that exist, without copying what does not depend on them.
    pub(crate) fn retain(&mut self, obs: Keep, vars: Keep) {
        let cut = |m: &mut Matrix, rows: Keep, columns: Keep| {
            if rows.is_some() || columns.is_some() {
                *m = m.take_both(rows, columns);
            }
        };
        let cut_table = |f: &mut Frame, rows: Keep| {
            if rows.is_some() {
                *f = table(f, rows);
            }
        };
        self.x.iter_mut().chain(self.layers.values_mut()).for_each(|m| cut(m, obs, vars));
        self.obsm.values_mut().for_each(|m| cut(m, obs, None));
        self.varm.values_mut().for_each(|m| cut(m, vars, None));
        self.obsp.values_mut().for_each(|m| cut(m, obs, obs));
        self.varp.values_mut().for_each(|m| cut(m, vars, vars));
        self.raw.iter_mut().for_each(|raw| cut(&mut raw.x, obs, None));
        self.obsm_frames.values_mut().chain([&mut self.obs]).for_each(|f| cut_table(f, obs));
        self.varm_frames.values_mut().chain([&mut self.var]).for_each(|f| cut_table(f, vars));
    }
}

fn table(f: &Frame, rows: Keep) -> Frame {
    rows.map_or_else(|| f.clone(), |rows| f.take(rows))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::anndata::Categorical;
    use ndarray::{Array2, array};

    /// An object with something in every slot; every number tells where it was.
    fn full() -> AnnData {
        let numbers =
            |n: usize, m: usize| Array2::from_shape_fn((n, m), |(i, j)| (10 * i + j) as f64);
        let x = Matrix::from(numbers(4, 3));
        let names = |p: &str, n| Frame::new((0..n).map(|i| format!("{p}{i}")).collect());
        let mut a = AnnData::new(Matrix::Csr(x.to_csr()), names("s", 4), names("g", 3)).unwrap();
        let labels = [Some("a"), Some("b"), None, Some("a")];
        a.obs.insert("layer", Categorical::from_labels(&labels)).unwrap();
        a.layers.insert("csc".into(), Matrix::Csc(x.to_csc()));
        a.layers.insert("dense".into(), x.clone());
        a.obsm.insert("spatial".into(), numbers(4, 2).into());
        a.varm.insert("PCs".into(), numbers(3, 2).into());
        a.obsm_frames.insert("table".into(), a.obs.clone());
        a.varm_frames.insert("table".into(), a.var.clone());
        a.obsp.insert("graph".into(), Matrix::Csr(Matrix::from(numbers(4, 4)).to_csr()));
        a.varp.insert("corr".into(), numbers(3, 3).into());
        let raw = Raw {
            x: numbers(4, 5).into(),
            var: names("r", 5),
            varm: [("PCs".to_string(), Matrix::from(numbers(5, 1)))].into_iter().collect(),
            varm_frames: Map::new(),
        };
        a.raw = Some(Box::new(raw));
        a.check().unwrap();
        a
    }

    #[test]
    fn every_slot_follows_its_axes() {
        let a = full();
        let b = a.select(["s3", "s0"], vec![false, true, true]).unwrap();
        b.check().unwrap();
        let expected = array![[31., 32.], [1., 2.]];
        assert_eq!(b.x().unwrap().to_array_f64(), expected);
        assert!(b.layers.values().all(|m| m.to_array_f64() == expected));
        assert_eq!(b.obsm["spatial"].to_array_f64(), array![[30., 31.], [0., 1.]]);
        assert_eq!(b.varm["PCs"].to_array_f64(), array![[10., 11.], [20., 21.]]);
        assert_eq!(b.obsp["graph"].to_array_f64(), array![[33., 30.], [3., 0.]]);
        assert_eq!(b.varp["corr"].to_array_f64(), array![[11., 12.], [21., 22.]]);
        assert_eq!(b.obsm_frames["table"].names(), ["s3", "s0"]);
        assert_eq!(b.varm_frames["table"].names(), ["g1", "g2"]);
        let raw = b.raw.as_ref().unwrap();
        assert_eq!(raw.x.shape(), (2, 5));
        assert_eq!(raw.var.len(), 5);
        let layer = b.obs_column("layer").unwrap().to_categorical();
        assert_eq!(layer.categories, ["a", "b"], "kept, with their colours");
    }

    #[test]
    fn keeping_in_place_equals_copying() {
        let a = full();
        let mut b = a.clone();
        b.keep_obs([2, 0, 2]).unwrap();
        b.keep_vars(1..).unwrap();
        assert_eq!(b, a.select([2, 0, 2], 1..).unwrap());
        assert_eq!(b, a.take_vars(&[1, 2]).take_obs(&[2, 0, 2]));
        assert_eq!(a.select(.., ..).unwrap(), a);
    }

    #[test]
    fn a_choice_that_fails_changes_nothing() {
        let mut a = full();
        assert!(a.keep_obs([9]).is_err());
        assert!(a.keep_vars("g9").is_err());
        assert!(a.select([true; 3], ..).is_err());
        assert_eq!(a, full());
    }
}
