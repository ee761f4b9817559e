//! Names of observations and variables: making them unique.

use super::{AnnData, Frame};
use crate::error::Result;
use std::collections::{HashMap, HashSet};

impl AnnData {
    /// Makes the names of the observations unique: the k-th repetition of a name gets the suffix
    /// `-k`, counting from 1 and skipping names that exist already. Matches anndata 0.12.
    pub fn obs_names_make_unique(&mut self) {
        self.obs.names_make_unique("-");
        self.obsm_frames.values_mut().for_each(|f| f.set_names_of(&self.obs));
    }

    /// Makes the names of the variables unique; see
    /// [`obs_names_make_unique`](AnnData::obs_names_make_unique).
    pub fn var_names_make_unique(&mut self) {
        self.var.names_make_unique("-");
        self.varm_frames.values_mut().for_each(|f| f.set_names_of(&self.var));
    }

    /// Gives the observations new names, here and in the tables of `obsm`.
    ///
    /// # Errors
    /// [`Error::Shape`](crate::Error::Shape) for another number of names than observations.
    pub fn set_obs_names(&mut self, names: Vec<String>) -> Result<()> {
        self.obs.set_names(names)?;
        self.obsm_frames.values_mut().for_each(|f| f.set_names_of(&self.obs));
        Ok(())
    }

    /// Gives the variables new names, here and in the tables of `varm`.
    ///
    /// # Errors
    /// [`Error::Shape`](crate::Error::Shape) for another number of names than variables.
    pub fn set_var_names(&mut self, names: Vec<String>) -> Result<()> {
        self.var.set_names(names)?;
        self.varm_frames.values_mut().for_each(|f| f.set_names_of(&self.var));
        Ok(())
    }
}

impl Frame {
    /// Makes the row names unique as [`AnnData::obs_names_make_unique`] does, with `join` between
    /// name and number.
    pub fn names_make_unique(&mut self, join: &str) {
        if let Some(unique) = unique(self.names(), join) {
            self.set_names(unique).expect("as many names as before");
        }
    }

    /// Whether every row has a name of its own.
    pub fn names_are_unique(&self) -> bool {
        let mut seen = HashSet::with_capacity(self.len());
        self.names().iter().all(|n| seen.insert(n))
    }
}

/// The names with repetitions renamed, or `None` where there are none.
fn unique(names: &[String], join: &str) -> Option<Vec<String>> {
    // Every name that must not be given again: all the original ones, and those given here.
    let mut taken: HashSet<String> = names.iter().cloned().collect();
    if taken.len() == names.len() {
        return None;
    }
    let mut seen: HashSet<&str> = HashSet::with_capacity(taken.len());
    let mut next: HashMap<&str, usize> = HashMap::new();
    let mut fresh = |name| {
        let k = next.entry(name).or_insert(0);
        loop {
            *k += 1;
            let candidate = format!("{name}{join}{k}");
            if taken.insert(candidate.clone()) {
                break candidate;
            }
        }
    };
    Some(names.iter().map(|n| if seen.insert(n) { n.clone() } else { fresh(n) }).collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn repeated_names_get_numbers_that_are_free() {
        let names = ["a", "a", "b", "a-1", "a", "a-1"].map(String::from);
        assert_eq!(unique(&names, "-").unwrap(), ["a", "a-2", "b", "a-1", "a-3", "a-1-1"]);
        assert_eq!(unique(&names[..3], "_").unwrap(), ["a", "a_1", "b"]);
        assert_eq!(unique(&names[1..4], "-"), None);
    }

    #[test]
    fn either_axis_can_be_mended() {
        let twice = || Frame::new(vec!["x".into(), "x".into()]);
        let mut a = AnnData { obs: twice(), var: twice(), ..AnnData::default() };
        a.obs_names_make_unique();
        assert_eq!(a.obs.names(), ["x", "x-1"]);
        assert!(!a.var.names_are_unique());
        a.var_names_make_unique();
        assert!(a.var.names_are_unique());
        a.varm_frames.insert("t".into(), a.var.clone());
        a.set_var_names(vec!["p".into(), "q".into()]).unwrap();
        assert_eq!(a.varm_frames["t"].names(), ["p", "q"]);
        assert!(a.set_obs_names(vec![]).is_err());
    }
}
