//! Putting several [`AnnData`] together, one after the other.
//!
//! [`Concat`] holds the options and goes through the slots. `align` finds the common names of the
//! other axis and brings matrices to them, `columns` finds the type that columns of several tables
//! share, `merge` decides which entries that do not follow the axis are kept.

mod align;
mod columns;
mod merge;
#[cfg(test)]
mod tests;

use super::{AnnData, Categorical, Frame, Map, Matrix, Raw, Value};
use crate::error::{Error, Result};
use crate::progress::check_interrupt;
use align::{Align, Along};
use merge::Entry;

/// Which entries are kept that do not follow the axis of concatenation (`uns`; along observations
/// also the columns of `var`, `varm`, `varp`).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Merge {
    /// None.
    #[default]
    None,
    /// Those that all objects have, and have equal.
    Same,
    /// Those of which there is only one value among the objects that have them.
    Unique,
    /// The first that is found.
    First,
    /// Those that only one object has.
    Only,
}

/// Puts several objects together along observations (or variables). Matches `anndata.concat` 0.12.
///
/// ```
/// # use spatialkit::{anndata::{Concat, Merge}, datasets::{self, Synthetic}};
/// # let make = |seed| datasets::synthetic(&Synthetic::default().seed(seed).n_genes(20).image(false));
/// # let (a, b) = (make(1)?, make(2)?);
/// let both = Concat::default()
///     .outer()
///     .label("slide")
///     .keys(["left", "right"])
///     .index_unique("-")
///     .merge(Merge::Same)
///     .run(&[&a, &b])?;
/// assert_eq!(both.n_obs(), a.n_obs() + b.n_obs());
/// # Ok::<(), spatialkit::Error>(())
/// ```
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Concat {
    along_vars: bool,
    outer: bool,
    merge: Merge,
    uns_merge: Merge,
    label: Option<String>,
    keys: Option<Vec<String>>,
    index_unique: Option<String>,
    fill_value: Option<f64>,
    pairwise: bool,
}

impl Concat {
    /// One variable after the other (`axis=1`) instead of one observation after the other.
    pub fn vars(mut self) -> Self {
        self.along_vars = true;
        self
    }

    /// Keeps the variables (columns, entries) that any object has (`join="outer"`) instead of those
    /// that all have. What is not there is 0 in sparse matrices, NaN in dense ones, and missing in
    /// tables. The variables are sorted by name unless they are the same everywhere.
    pub fn outer(mut self) -> Self {
        self.outer = true;
        self
    }

    /// Which entries are kept that do not follow the axis, `uns` apart ([`Merge::None`]).
    pub fn merge(mut self, merge: Merge) -> Self {
        self.merge = merge;
        self
    }

    /// Which entries of `uns` are kept, maps in maps one by one ([`Merge::None`]).
    pub fn uns_merge(mut self, merge: Merge) -> Self {
        self.uns_merge = merge;
        self
    }

    /// Adds the column `label` that says for each row which object it is from.
    pub fn label(mut self, label: impl Into<String>) -> Self {
        self.label = Some(label.into());
        self
    }

    /// What the objects are called (`0`, `1`, …): the categories of the label.
    pub fn keys<S: Into<String>>(mut self, keys: impl IntoIterator<Item = S>) -> Self {
        self.keys = Some(keys.into_iter().map(Into::into).collect());
        self
    }

    /// Makes row names unique by adding this text and the object's key.
    pub fn index_unique(mut self, separator: impl Into<String>) -> Self {
        self.index_unique = Some(separator.into());
        self
    }

    /// What an outer join puts where a matrix has nothing. A whole number leaves whole numbers what
    /// they are, as in Python an `int` does.
    pub fn fill_value(mut self, value: f64) -> Self {
        self.fill_value = Some(value);
        self
    }

    /// Also keeps `obsp` (along variables: `varp`), as blocks on the diagonal of a sparse matrix.
    pub fn pairwise(mut self) -> Self {
        self.pairwise = true;
        self
    }

    /// The objects, one after the other.
    ///
    /// Sparse matrices come out as CSR; element types are numpy's common ones. Categories are the
    /// union in natural order. `raw` is kept where every object has one. Columns of mixed texts and
    /// numbers, which pandas keeps as objects that no file can hold, become text, and booleans among
    /// numbers become 0 and 1; booleans with missing values are nullable.
    ///
    /// # Errors
    /// [`Error::Parameter`] without an object or with a key given twice, [`Error::Shape`] for
    /// another number of keys than objects, [`Error::Data`] when names of the other axis repeat
    /// (make them unique first), when only some objects have `X`, or when an entry of `obsm` is a
    /// table in one and a matrix in another.
    pub fn run(&self, adatas: &[&AnnData]) -> Result<AnnData> {
        let keys = self.checked_keys(adatas.len())?;
        for a in adatas {
            a.check()?;
        }
        let sides: Vec<Sides> = adatas.iter().map(|a| Sides::of(a, self.along_vars)).collect();
        let across: Vec<&Frame> = sides.iter().map(|s| s.across).collect();
        let slot = if self.along_vars { "obs" } else { "var" };
        let (names, aligns) = align::names(&across, self.outer, slot)?;

        let mut along = self.table(&sides, &keys)?;
        if let Some(label) = &self.label {
            along.insert(label.as_str(), labels(&sides, &keys))?;
        }
        let lengths: Vec<usize> = sides.iter().map(|s| s.along.len()).collect();
        let stack = Along { rows: !self.along_vars, lengths: &lengths, fill: self.fill() };
        let x = self.main(adatas, &aligns, &stack)?;
        check_interrupt()?;

        let mut layers = Map::new();
        for key in self.shared_keys(adatas.iter().map(|a| keys_of(&a.layers))) {
            let parts: Vec<_> = adatas.iter().map(|a| a.layers.get(&key)).collect();
            layers.insert(key, stack.matrices(&parts, &aligns)?);
            check_interrupt()?;
        }
        let (along_m, along_frames) = self.entries(&sides, &lengths, &along)?;
        let mut along_p = Map::new();
        if self.pairwise {
            for key in self.shared_keys(sides.iter().map(|s| keys_of(s.along_p))) {
                let parts: Vec<_> = sides.iter().map(|s| s.along_p.get(&key)).collect();
                along_p.insert(key, align::diagonal(&parts, &lengths));
                check_interrupt()?;
            }
        }

        let (across, across_m, across_frames, across_p) = self.across(&sides, names, &aligns)?;
        let uns: Vec<&Map<Value>> = adatas.iter().map(|a| &a.uns).collect();
        let uns = merge::values(&uns, self.uns_merge);
        // An object without observations has no `raw` in anndata.
        let n_obs = if self.along_vars { across.len() } else { along.len() };
        let raw = if n_obs > 0 { self.raw(adatas)?.map(Box::new) } else { None };
        let mut out = AnnData { x, layers, uns, raw, ..AnnData::default() };
        let parts = (along, along_m, along_frames, along_p);
        let others = (across, across_m, across_frames, across_p);
        let (obs, var) = if self.along_vars { (others, parts) } else { (parts, others) };
        (out.obs, out.obsm, out.obsm_frames, out.obsp) = obs;
        (out.var, out.varm, out.varm_frames, out.varp) = var;
        out.check()?;
        Ok(out)
    }

    fn checked_keys(&self, n: usize) -> Result<Vec<String>> {
        if n == 0 {
            return Err(Error::parameter("adatas", "[]", "give at least one object"));
        }
        let keys = match &self.keys {
            Some(keys) => keys.clone(),
            None => (0..n).map(|i| i.to_string()).collect(),
        };
        if keys.len() != n {
            return Err(Error::shape("keys", n, keys.len()));
        }
        let mut seen = std::collections::HashSet::new();
        match keys.iter().find(|k| !seen.insert(k.as_str())) {
            Some(twice) => Err(Error::parameter("keys", twice, "is given twice")),
            None => Ok(keys),
        }
    }

    /// The fill value, which inner joins have no use for.
    fn fill(&self) -> Option<f64> {
        self.fill_value.filter(|_| self.outer)
    }

    /// The keys that all maps have, or any of them: anndata's order, which is that of the last map
    /// or of appearance.
    fn shared_keys<'a>(&self, maps: impl Iterator<Item = Vec<&'a str>>) -> Vec<String> {
        let maps: Vec<_> = maps.collect();
        let keys = if self.outer { merge::union(&maps) } else { merge::intersection(&maps) };
        keys.into_iter().map(String::from).collect()
    }

    /// `obs` (or `var`) of the result.
    fn table(&self, sides: &[Sides], keys: &[String]) -> Result<Frame> {
        let mut names = Vec::with_capacity(sides.iter().map(|s| s.along.len()).sum());
        for (side, key) in sides.iter().zip(keys) {
            names.extend(side.along.names().iter().map(|n| match &self.index_unique {
                Some(separator) => format!("{n}{separator}{key}"),
                None => n.clone(),
            }));
        }
        let tables: Vec<&Frame> = sides.iter().map(|s| s.along).collect();
        let mut out = Frame::new(names);
        out.index_name = align::common_name(&tables);
        let columns = |f: &Frame| f.columns().map(|(k, _)| k.to_string()).collect::<Vec<_>>();
        let names: Vec<Vec<String>> = tables.iter().map(|f| columns(f)).collect();
        columns::stack(&mut out, &tables, &joined(&names, self.outer))?;
        Ok(out)
    }

    fn main(&self, adatas: &[&AnnData], aligns: &[Align], stack: &Along) -> Result<Option<Matrix>> {
        let parts: Vec<Option<&Matrix>> = adatas.iter().map(|a| a.x.as_ref()).collect();
        match parts.iter().flatten().count() {
            0 => Ok(None),
            n if n == parts.len() => stack.matrices(&parts, aligns).map(Some),
            n => {
                let reason = format!(
                    "{n} of {} objects have X: give it to all of them, or remove it from all",
                    parts.len()
                );
                Err(Error::data("X", reason))
            }
        }
    }

    /// `obsm` (or `varm`) of the result: matrices cut or filled to one width, and tables.
    fn entries(
        &self,
        sides: &[Sides],
        lengths: &[usize],
        along: &Frame,
    ) -> Result<(Map<Matrix>, Map<Frame>)> {
        let (mut matrices, mut frames) = (Map::new(), Map::new());
        let keys = sides.iter().map(|s| [keys_of(s.along_m), keys_of(s.along_frames)].concat());
        for key in self.shared_keys(keys) {
            let parts: Vec<_> = sides.iter().map(|s| s.along_m.get(&key)).collect();
            let tables: Vec<_> = sides.iter().map(|s| s.along_frames.get(&key)).collect();
            if tables.iter().all(Option::is_none) {
                let widths = parts.iter().flatten().map(|m| m.ncols());
                let width = if self.outer { widths.max() } else { widths.min() }.unwrap_or(0);
                let stack = Along { rows: true, lengths, fill: self.fill() };
                let aligns: Vec<_> = parts
                    .iter()
                    .map(|m| Align::counted(m.map_or(0, |m| m.ncols()), width))
                    .collect();
                matrices.insert(key, stack.matrices(&parts, &aligns)?);
            } else if parts.iter().all(Option::is_none) {
                let empty: Vec<Frame> = lengths.iter().map(|&n| Frame::with_len(n)).collect();
                let tables: Vec<&Frame> =
                    tables.iter().zip(&empty).map(|(t, empty)| t.unwrap_or(empty)).collect();
                let columns =
                    |f: &Frame| f.columns().map(|(k, _)| k.to_string()).collect::<Vec<_>>();
                let names: Vec<Vec<String>> = tables.iter().map(|f| columns(f)).collect();
                let mut out = Frame::new(along.names().to_vec());
                out.index_name = along.index_name.clone();
                columns::stack(&mut out, &tables, &joined(&names, self.outer))?;
                frames.insert(key, out);
            } else {
                let reason = "is a table in one object and a matrix in another; make them alike or \
                              remove them";
                return Err(Error::data(format!("entry `{key}`"), reason));
            }
        }
        Ok((matrices, frames))
    }

    /// What lies along the other axis.
    #[allow(clippy::type_complexity)]
    fn across(
        &self,
        sides: &[Sides],
        mut frame: Frame,
        aligns: &[Align],
    ) -> Result<(Frame, Map<Matrix>, Map<Frame>, Map<Matrix>)> {
        let (mut matrices, mut frames, mut pairs) = (Map::new(), Map::new(), Map::new());
        if self.merge == Merge::None {
            return Ok((frame, matrices, frames, pairs));
        }
        let columns = sides.iter().zip(aligns).map(|(s, a)| {
            s.across.columns().map(|(k, c)| (k.to_string(), columns::reindexed(c, a))).collect()
        });
        for (name, column) in merge::entries(columns.collect(), self.merge, merge::same_column) {
            frame.insert(name, column)?;
        }
        let entries = sides.iter().zip(aligns).map(|(s, a)| {
            let matrices = s.across_m.iter().map(|(k, m)| (k, Entry::Matrix(a.rows(m))));
            let table = |f: &Frame| -> Result<Entry> {
                let mut out = frame.without_columns();
                f.columns().try_for_each(|(k, c)| out.insert(k, columns::reindexed(c, a)))?;
                Ok(Entry::Frame(out))
            };
            let frames = s.across_frames.iter().map(|(k, f)| Ok((k.clone(), table(f)?)));
            matrices.map(|(k, m)| Ok((k.clone(), m))).chain(frames).collect::<Result<Map<_>>>()
        });
        let entries: Vec<Map<Entry>> = entries.collect::<Result<_>>()?;
        for (name, entry) in merge::entries(entries, self.merge, merge::same_entry) {
            match entry {
                Entry::Matrix(m) => drop(matrices.insert(name, m)),
                Entry::Frame(f) => drop(frames.insert(name, f)),
            }
        }
        let both = |m: &Map<Matrix>, a: &Align| -> Map<Entry> {
            m.iter().map(|(k, m)| (k.clone(), Entry::Matrix(a.columns(&a.rows(m))))).collect()
        };
        let entries = sides.iter().zip(aligns).map(|(s, a)| both(s.across_p, a)).collect();
        for (name, entry) in merge::entries(entries, self.merge, merge::same_entry) {
            if let Entry::Matrix(m) = entry {
                pairs.insert(name, m);
            }
        }
        Ok((frame, matrices, frames, pairs))
    }

    /// `raw` as an object of its own, of which nothing but names and numbers is kept.
    fn raw(&self, adatas: &[&AnnData]) -> Result<Option<Raw>> {
        let Some(raws) = adatas.iter().map(|a| a.raw.as_deref()).collect::<Option<Vec<_>>>() else {
            return Ok(None);
        };
        let alone = |(a, raw): (&&AnnData, &Raw)| AnnData {
            x: Some(raw.x.clone()),
            obs: a.obs.without_columns(),
            var: raw.var.clone(),
            varm: raw.varm.clone(),
            varm_frames: raw.varm_frames.clone(),
            ..AnnData::default()
        };
        let raws: Vec<AnnData> = adatas.iter().zip(raws).map(alone).collect();
        let plain =
            Concat { merge: Merge::None, uns_merge: Merge::None, pairwise: false, ..self.clone() };
        let out = plain.run(&raws.iter().collect::<Vec<_>>())?;
        let AnnData { x, var, varm, varm_frames, .. } = out;
        Ok(x.map(|x| Raw { x, var, varm, varm_frames }))
    }
}

/// The slots of an object, seen from the axis of concatenation.
struct Sides<'a> {
    along: &'a Frame,
    along_m: &'a Map<Matrix>,
    along_frames: &'a Map<Frame>,
    along_p: &'a Map<Matrix>,
    across: &'a Frame,
    across_m: &'a Map<Matrix>,
    across_frames: &'a Map<Frame>,
    across_p: &'a Map<Matrix>,
}

impl<'a> Sides<'a> {
    fn of(a: &'a AnnData, along_vars: bool) -> Self {
        let obs = (&a.obs, &a.obsm, &a.obsm_frames, &a.obsp);
        let var = (&a.var, &a.varm, &a.varm_frames, &a.varp);
        let (along, across) = if along_vars { (var, obs) } else { (obs, var) };
        let (along, along_m, along_frames, along_p) = along;
        let (across, across_m, across_frames, across_p) = across;
        Sides { along, along_m, along_frames, along_p, across, across_m, across_frames, across_p }
    }
}

/// Columns of several tables: pandas' order, which for an inner join is that of the first table.
fn joined(names: &[Vec<String>], outer: bool) -> Vec<String> {
    let lists: Vec<Vec<&str>> =
        names.iter().map(|n| n.iter().map(String::as_str).collect()).collect();
    let union = merge::union(&lists).into_iter();
    union.filter(|n| outer || lists.iter().all(|l| l.contains(n))).map(String::from).collect()
}

fn keys_of<T>(map: &Map<T>) -> Vec<&str> {
    map.keys().map(String::as_str).collect()
}

/// Which object each row is from.
fn labels(sides: &[Sides], keys: &[String]) -> Categorical {
    let of = |(i, s): (usize, &Sides)| std::iter::repeat_n(i as i32, s.along.len());
    let codes = sides.iter().enumerate().flat_map(of).collect();
    Categorical { codes, categories: keys.to_vec(), typed: None, ordered: false }
}
