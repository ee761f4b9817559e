//! [`MuData`]: several kinds of measurements, mostly of the same cells.

use super::summary::grouped;
use super::{AnnData, Frame, Map, Matrix, Value};
use crate::error::{Error, Result};
use crate::notebook::{self, Bundle, Rich, escape_html as escape};
use std::fmt;

/// Several AnnData objects, one a modality (RNA, protein, …), with what is known about all their
/// observations and variables together. The slots are those of Python's mudata.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct MuData {
    /// The modalities by name, in their order.
    pub modalities: Map<AnnData>,
    /// What is known about each observation of any modality.
    pub obs: Frame,
    /// What is known about each variable of any modality.
    pub var: Frame,
    /// Per observation a row of several numbers. Under the name of a modality: whether the
    /// observation is in it.
    pub obsm: Map<Matrix>,
    /// Per variable a row of several numbers.
    pub varm: Map<Matrix>,
    /// Entries of Python's `obsm` that are tables.
    pub obsm_frames: Map<Frame>,
    /// Entries of Python's `varm` that are tables.
    pub varm_frames: Map<Frame>,
    /// Observation × observation.
    pub obsp: Map<Matrix>,
    /// Variable × variable.
    pub varp: Map<Matrix>,
    /// For each modality and each row of `obs` the row in the modality, counted from 1; 0 where the
    /// modality lacks it.
    pub obsmap: Map<Vec<u32>>,
    /// The same for `var`.
    pub varmap: Map<Vec<u32>>,
    /// Everything else.
    pub uns: Map<Value>,
    /// What the modalities share: 0 observations, 1 variables, -1 both.
    pub axis: i64,
}

impl MuData {
    /// Number of observations of all modalities together.
    pub fn n_obs(&self) -> usize {
        self.obs.len()
    }

    /// Number of variables of all modalities together.
    pub fn n_vars(&self) -> usize {
        self.var.len()
    }

    /// (observations, variables) of all modalities together.
    pub fn shape(&self) -> (usize, usize) {
        (self.n_obs(), self.n_vars())
    }

    /// The modality `name`.
    ///
    /// # Errors
    /// [`Error::MissingKey`] listing the modalities there are.
    pub fn modality(&self, name: &str) -> Result<&AnnData> {
        let names = || self.modalities.keys();
        let missing = || Error::missing_key("MuData", "modality", name, names());
        self.modalities.get(name).ok_or_else(missing)
    }

    /// The modality `name`, to change in place.
    ///
    /// # Errors
    /// [`Error::MissingKey`] listing the modalities there are.
    pub fn modality_mut(&mut self, name: &str) -> Result<&mut AnnData> {
        let names: Vec<String> = self.modalities.keys().cloned().collect();
        let missing = || Error::missing_key("MuData", "modality", name, names);
        self.modalities.get_mut(name).ok_or_else(missing)
    }

    /// Checks that every slot has the size that `obs` and `var` ask for, and every modality its own.
    ///
    /// # Errors
    /// [`Error::Shape`] or [`Error::Data`] naming the first slot that has not.
    pub fn check(&self) -> Result<()> {
        self.modalities.values().try_for_each(AnnData::check)?;
        let slots = [
            ("obsm", self.n_obs(), &self.obsm, &self.obsm_frames, &self.obsp, &self.obsmap),
            ("varm", self.n_vars(), &self.varm, &self.varm_frames, &self.varp, &self.varmap),
        ];
        for (slot, n, matrices, frames, pairs, maps) in slots {
            let rows = |what: String, found: usize| match found == n {
                true => Ok(()),
                false => Err(Error::shape(what, n, found)),
            };
            for (k, m) in matrices {
                rows(format!("rows of {slot}[\"{k}\"]"), m.nrows())?;
            }
            for (k, f) in frames {
                rows(format!("rows of {slot}[\"{k}\"]"), f.len())?;
            }
            let axis = &slot[..3];
            for (k, m) in pairs {
                rows(format!("rows of {axis}p[\"{k}\"]"), m.nrows())?;
                rows(format!("columns of {axis}p[\"{k}\"]"), m.ncols())?;
            }
            for (k, map) in maps {
                let what = format!("{axis}map[\"{k}\"]");
                rows(what.clone(), map.len())?;
                let Some(adata) = self.modalities.get(k) else { continue };
                let most = if axis == "obs" { adata.n_obs() } else { adata.n_vars() };
                if let Some(bad) = map.iter().find(|&&i| i as usize > most) {
                    return Err(Error::data(what, format!("row {bad} of {most} in the modality")));
                }
            }
        }
        Ok(())
    }

    /// The slots with the names of their entries, in the order of Python's `repr`.
    fn slots(&self) -> Vec<(&'static str, String)> {
        fn names<'a>(keys: impl Iterator<Item = &'a str>) -> String {
            keys.map(|k| format!("'{k}'")).collect::<Vec<_>>().join(", ")
        }
        fn keys<T>(map: &Map<T>) -> impl Iterator<Item = &str> {
            map.keys().map(String::as_str)
        }
        let all = [
            ("obs", names(self.obs.columns().map(|(k, _)| k))),
            ("var", names(self.var.columns().map(|(k, _)| k))),
            ("uns", names(keys(&self.uns))),
            ("obsm", names(keys(&self.obsm).chain(keys(&self.obsm_frames)))),
            ("varm", names(keys(&self.varm).chain(keys(&self.varm_frames)))),
            ("obsp", names(keys(&self.obsp))),
            ("varp", names(keys(&self.varp))),
        ];
        all.into_iter().filter(|(_, names)| !names.is_empty()).collect()
    }

    /// A summary as one HTML element: sizes, the names in every slot, and each modality's own
    /// summary, folded.
    pub fn to_html(&self) -> String {
        let mut out = format!(
            "<div style=\"font-family:var(--jp-ui-font-family,system-ui,sans-serif);\
             font-size:13px;line-height:1.45;color:var(--jp-ui-font-color1,inherit)\">\
             <div><b>MuData</b> {} × {} observations × variables, {} modalities</div>",
            grouped(self.n_obs()),
            grouped(self.n_vars()),
            self.modalities.len(),
        );
        for (slot, names) in self.slots() {
            out.push_str(&format!("<div><b>{slot}</b> {}</div>", escape(&names)));
        }
        for (name, adata) in &self.modalities {
            let size = format!("{} × {}", grouped(adata.n_obs()), grouped(adata.n_vars()));
            out.push_str(&format!(
                "<details><summary><b>{}</b> {size}</summary>{}</details>",
                escape(name),
                adata.to_html()
            ));
        }
        out.push_str("</div>");
        out
    }
}

impl fmt::Display for MuData {
    /// Much the same text as Python's `repr`.
    fn fmt(&self, f: &mut fmt::Formatter) -> fmt::Result {
        write!(f, "MuData object with n_obs × n_vars = {} × {}", self.n_obs(), self.n_vars())?;
        for (slot, names) in self.slots() {
            write!(f, "\n  {slot}: {names}")?;
        }
        write!(f, "\n  {} modalities", self.modalities.len())?;
        for (name, adata) in &self.modalities {
            write!(f, "\n    {name}: {} × {}", adata.n_obs(), adata.n_vars())?;
            // The slots of the modality, without its first line and further in.
            for line in adata.to_string().lines().skip(1) {
                write!(f, "\n  {line}")?;
            }
        }
        Ok(())
    }
}

impl Rich for MuData {
    fn bundle(&self) -> Result<Bundle> {
        Ok(Bundle::new().text(self.to_string()).html(self.to_html()))
    }
}
notebook::shows_itself!(MuData);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_map_beyond_its_modality_is_refused_and_a_missing_modality_named() {
        let mut m = MuData { obs: Frame::with_len(2), ..MuData::default() };
        let adata = AnnData { obs: Frame::with_len(1), ..AnnData::default() };
        m.modalities.insert("rna".into(), adata);
        m.obsmap.insert("rna".into(), vec![1, 0]);
        m.check().unwrap();
        assert!(m.modality("rna").is_ok());
        let e = m.modality("protein").unwrap_err().to_string();
        assert_eq!(e, "MuData has no modality `protein`; it has: rna");
        m.obsmap.insert("rna".into(), vec![1, 2]);
        assert!(m.check().unwrap_err().to_string().contains("obsmap[\"rna\"]"));
        assert!(m.to_string().contains("rna: 1 × 0") && m.to_html().contains("<b>rna</b> 1 × 0"));
    }
}
