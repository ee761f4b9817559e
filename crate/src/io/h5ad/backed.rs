//! [`H5ad`]: a file that stays where it is, of which parts are read.

use super::ReadOptions;
use super::blocks::{Totals, XBlocks};
use super::read::{Reader, check_is_anndata, encoding, in_file};
use super::stored::Stored;
use crate::anndata::{AnnData, Frame, Map, Matrix, Raw, Select};
use crate::error::{Error, Result};
use crate::io::h5;
use crate::io::store::{Attributes, Group, Node};
use std::path::{Path, PathBuf};
use std::sync::OnceLock;

/// An `.h5ad` file opened for reading parts of it, the counterpart of anndata's
/// `read_h5ad(path, backed="r")`: a file larger than memory can be looked at, summarised, and read
/// by rows, by genes, or in blocks.
///
/// `obs` and `var` are read when they are first asked for and kept; matrices stay in the file.
/// Files of anndata before 0.7 are read whole when a part of them is asked for.
///
/// ```no_run
/// # use spatialkit::io;
/// let file = io::open_h5ad("atlas.h5ad")?;
/// println!("{}", file.summary()?);
/// let marker = file.read_columns(["MBP", "PCP4"])?;
/// for block in file.x_blocks(1000)? {
///     let block = block?;
///     println!("{:?}: {} stored", block.rows, block.x.values().len());
/// }
/// # Ok::<(), spatialkit::Error>(())
/// ```
pub struct H5ad {
    pub(super) path: PathBuf,
    pub(super) root: Group,
    pub(super) options: ReadOptions,
    shape: (usize, usize),
    obs: OnceLock<Frame>,
    var: OnceLock<Frame>,
}

/// Opens an `.h5ad` file for reading parts of it; see [`H5ad`].
///
/// # Errors
/// [`Error::Io`](crate::Error::Io) for a missing file, [`Error::Format`](crate::Error::Format) for
/// one that is damaged or no h5ad.
pub fn open_h5ad(path: impl AsRef<Path>) -> Result<H5ad> {
    open_h5ad_with(path, &ReadOptions::default())
}

/// Like [`open_h5ad`], with options.
///
/// # Errors
/// As [`open_h5ad`].
pub fn open_h5ad_with(path: impl AsRef<Path>, options: &ReadOptions) -> Result<H5ad> {
    H5ad::open(path.as_ref(), options)
}

impl std::fmt::Debug for H5ad {
    fn fmt(&self, f: &mut std::fmt::Formatter) -> std::fmt::Result {
        f.debug_struct("H5ad").field("path", &self.path).field("shape", &self.shape).finish()
    }
}

impl H5ad {
    fn open(path: &Path, options: &ReadOptions) -> Result<H5ad> {
        let root: Group = h5::open(path)?.into();
        check_is_anndata(&root)?;
        let mut shape = [None, None];
        for (n, slot) in shape.iter_mut().zip(["obs", "var"]) {
            if root.contains(slot) {
                *n = Some(rows_of_table(&root.get(slot)?)?);
            }
        }
        if shape.contains(&None) && root.contains("X") {
            let x = Stored::open(&root.get("X")?)?;
            shape = [shape[0].or(Some(x.nrows)), shape[1].or(Some(x.ncols))];
        }
        Ok(H5ad {
            path: path.into(),
            root,
            options: options.clone(),
            shape: (shape[0].unwrap_or(0), shape[1].unwrap_or(0)),
            obs: OnceLock::new(),
            var: OnceLock::new(),
        })
    }

    pub(super) fn reader(&self) -> Reader<'_> {
        Reader { options: &self.options, visited: Default::default() }
    }

    /// Where the file is.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// (observations, variables).
    pub fn shape(&self) -> (usize, usize) {
        self.shape
    }

    /// Number of observations.
    pub fn n_obs(&self) -> usize {
        self.shape.0
    }

    /// Number of variables.
    pub fn n_vars(&self) -> usize {
        self.shape.1
    }

    /// The table of observations, read at the first call.
    ///
    /// # Errors
    /// [`Error::Format`](crate::Error::Format) naming what cannot be read.
    pub fn obs(&self) -> Result<&Frame> {
        self.table(&self.obs, "obs", self.shape.0)
    }

    /// The table of variables, read at the first call.
    ///
    /// # Errors
    /// [`Error::Format`](crate::Error::Format) naming what cannot be read.
    pub fn var(&self) -> Result<&Frame> {
        self.table(&self.var, "var", self.shape.1)
    }

    fn table<'a>(&'a self, kept: &'a OnceLock<Frame>, slot: &str, n: usize) -> Result<&'a Frame> {
        if let Some(frame) = kept.get() {
            return Ok(frame);
        }
        let frame = match self.root.contains(slot) {
            true => self.reader().table(&self.root.get(slot)?)?,
            false => Frame::with_len(n),
        };
        if frame.len() != n {
            return Err(self.root.error(format!("{slot} has {} rows, not {n}", frame.len())));
        }
        Ok(kept.get_or_init(|| frame))
    }

    /// The index and these columns of `obs`, and nothing else of it.
    ///
    /// # Errors
    /// [`Error::MissingKey`] listing the columns there are.
    pub fn obs_columns<S: AsRef<str>>(&self, names: &[S]) -> Result<Frame> {
        self.columns("obs", self.shape.0, &names.iter().map(AsRef::as_ref).collect::<Vec<_>>())
    }

    /// The index and these columns of `var`, and nothing else of it.
    ///
    /// # Errors
    /// [`Error::MissingKey`] listing the columns there are.
    pub fn var_columns<S: AsRef<str>>(&self, names: &[S]) -> Result<Frame> {
        self.columns("var", self.shape.1, &names.iter().map(AsRef::as_ref).collect::<Vec<_>>())
    }

    fn columns(&self, slot: &'static str, n: usize, names: &[&str]) -> Result<Frame> {
        if !self.root.contains(slot) {
            return match names.first() {
                Some(name) => Err(Error::missing_key(slot, "column", name, Vec::<String>::new())),
                None => Ok(Frame::with_len(n)),
            };
        }
        let node = self.root.get(slot)?;
        let whole = match &node {
            Node::Group(group) => return self.reader().some_columns(group, slot, names),
            Node::Data(_) => self.reader().table(&node)?,
        };
        let mut frame = whole.clone();
        for (name, _) in whole.columns().filter(|(name, _)| !names.contains(name)) {
            frame.remove(name);
        }
        let has = || whole.columns().map(|(name, _)| name);
        match names.iter().find(|name| !whole.contains(name)) {
            Some(name) => Err(Error::missing_key(slot, "column", name, has())),
            None => Ok(frame),
        }
    }

    /// Names of the entries of a slot: `layers`, `obsm`, `varm`, `obsp`, `varp` or `uns`.
    ///
    /// # Errors
    /// [`Error::Parameter`] for another slot, [`Error::Format`] when the file cannot be read.
    pub fn keys(&self, slot: &str) -> Result<Vec<String>> {
        const SLOTS: [&str; 6] = ["layers", "obsm", "varm", "obsp", "varp", "uns"];
        if !SLOTS.contains(&slot) {
            let reason = format!("the slots with entries are {}", SLOTS.join(", "));
            return Err(Error::parameter("slot", slot, reason));
        }
        if !self.root.contains(slot) {
            return Ok(vec![]);
        }
        match self.root.get(slot)? {
            Node::Group(group) => group.names(),
            // Before anndata 0.7: one array of records.
            Node::Data(_) => {
                let adata = self.to_memory()?;
                let of = if slot == "obsm" { &adata.obsm } else { &adata.varm };
                Ok(of.keys().cloned().collect())
            }
        }
    }

    /// Everything, as [`read_h5ad`](super::read_h5ad) reads it.
    ///
    /// # Errors
    /// As [`read_h5ad`](super::read_h5ad).
    pub fn to_memory(&self) -> Result<AnnData> {
        self.reader().anndata(&self.root)
    }

    /// These observations, in that order, with all that belongs to them: what
    /// `adata[rows].to_memory()` gives in Python. Of a file that is stored by columns (CSC) all
    /// elements are looked through once.
    ///
    /// # Errors
    /// [`Error::Parameter`] or [`Error::MissingKey`] for rows that do not exist,
    /// [`Error::Format`] naming what cannot be read.
    pub fn read_rows(&self, rows: impl Into<Select>) -> Result<AnnData> {
        self.part(rows.into(), (..).into())
    }

    /// These variables, by name, position, range or mask, in that order: what
    /// `adata[:, columns].to_memory()` gives in Python. Of a dense file or one that is stored by
    /// rows (CSR) all elements are looked through once, in bounded memory.
    ///
    /// # Errors
    /// As [`H5ad::read_rows`].
    pub fn read_columns(&self, columns: impl Into<Select>) -> Result<AnnData> {
        self.part((..).into(), columns.into())
    }

    /// These observations and these variables.
    ///
    /// # Errors
    /// As [`H5ad::read_rows`].
    pub fn select(&self, rows: impl Into<Select>, columns: impl Into<Select>) -> Result<AnnData> {
        self.part(rows.into(), columns.into())
    }

    fn part(&self, rows: Select, columns: Select) -> Result<AnnData> {
        let (obs, var) = (self.obs()?, self.var()?);
        let rows = rows.positions("obs", obs)?;
        let columns = columns.positions("var", var)?;
        if rows.is_none() && columns.is_none() {
            return self.to_memory();
        }
        if self.is_old()? {
            let whole = self.to_memory()?;
            let rows = rows.map_or((..).into(), Select::At);
            return whole.select(rows, columns.map_or((..).into(), Select::At));
        }
        let (rows, columns) = (rows.as_deref(), columns.as_deref());
        let reader = self.reader();
        let taken = |frame: &Frame, keep: Option<&[usize]>| match keep {
            Some(keep) => frame.take(keep),
            None => frame.clone(),
        };
        let mut part =
            AnnData { obs: taken(obs, rows), var: taken(var, columns), ..AnnData::default() };
        if self.root.contains("X") && !reader.skips("X") {
            let node = self.root.get("X")?;
            if !matches!(&node, Node::Data(d) if d.is_null) {
                part.x = Some(self.matrix(&node, rows, columns)?);
            }
        }
        for (name, node) in reader.slot(&self.root, "layers")? {
            part.layers.insert(name, self.matrix(&node, rows, columns)?);
        }
        (part.obsm, part.obsm_frames) = self.axis_entries("obsm", rows)?;
        (part.varm, part.varm_frames) = self.axis_entries("varm", columns)?;
        for (name, node) in reader.slot(&self.root, "obsp")? {
            part.obsp.insert(name, self.matrix(&node, rows, rows)?);
        }
        for (name, node) in reader.slot(&self.root, "varp")? {
            part.varp.insert(name, self.matrix(&node, columns, columns)?);
        }
        for (name, node) in reader.slot(&self.root, "uns")? {
            part.uns.insert(name, reader.value(&node, 0)?);
        }
        part.raw = self.raw(rows)?.map(Box::new);
        part.check().map_err(|e| in_file(&self.root, e))?;
        Ok(part)
    }

    /// Files of anndata before 0.7, or with the older names for `raw`.
    fn is_old(&self) -> Result<bool> {
        let flat = |slot: &str| -> Result<bool> {
            Ok(self.root.contains(slot) && matches!(self.root.get(slot)?, Node::Data(_)))
        };
        let one_axis = match self.root.contains("X").then(|| self.root.get("X")).transpose()? {
            Some(Node::Data(d)) => d.shape.len() == 1,
            _ => false,
        };
        let old_raw = self.root.contains("raw.X");
        Ok(one_axis || old_raw || flat("obs")? || flat("obsm")? || flat("varm")?)
    }

    /// A part of a matrix.
    fn matrix(
        &self,
        node: &Node,
        rows: Option<&[usize]>,
        columns: Option<&[usize]>,
    ) -> Result<Matrix> {
        let stored = match (rows, columns) {
            (None, None) => return self.reader().matrix(node),
            _ => Stored::open(node)?,
        };
        let (n, m) = (stored.nrows, stored.ncols);
        let outside = |keep: Option<&[usize]>, n: usize| {
            keep.and_then(|keep| keep.iter().find(|&&i| i >= n).copied())
        };
        if let Some(bad) = outside(rows, n).or(outside(columns, m)) {
            let reason = format!("a matrix of {n} × {m} has no row or column {bad}");
            return Err(node.error(reason));
        }
        match (rows, columns) {
            (Some(rows), None) => stored.take_rows(rows),
            (None, Some(columns)) => stored.take_columns(columns),
            (Some(rows), Some(columns)) if stored.by_rows() => {
                Ok(stored.take_rows(rows)?.take_columns(columns))
            }
            (Some(rows), Some(columns)) => Ok(stored.take_columns(columns)?.take_rows(rows)),
            (None, None) => self.reader().matrix(node),
        }
    }

    /// The entries of `obsm` or `varm`.
    fn axis_entries(
        &self,
        slot: &str,
        keep: Option<&[usize]>,
    ) -> Result<(Map<Matrix>, Map<Frame>)> {
        let n = if slot == "obsm" { self.shape.0 } else { self.shape.1 };
        let reader = self.reader();
        let Some(keep) = keep else { return reader.axis_entries(&self.root, slot, n) };
        let (mut matrices, mut frames) = (Map::new(), Map::new());
        for (name, node) in reader.slot(&self.root, slot)? {
            let (kind, _) = encoding(&node)?;
            match &node {
                Node::Group(g) if kind == "dataframe" => {
                    frames.insert(name, reader.frame(g)?.take(keep));
                }
                Node::Data(d) if d.shape.len() != 2 => {
                    matrices.insert(name, reader.axis_matrix(&node, d, n)?.take_rows(keep));
                }
                _ => {
                    matrices.insert(name, self.matrix(&node, Some(keep), None)?);
                }
            }
        }
        Ok((matrices, frames))
    }

    fn raw(&self, rows: Option<&[usize]>) -> Result<Option<Raw>> {
        let reader = self.reader();
        if rows.is_none() || !self.root.contains("raw") || reader.skips("raw") {
            return reader.raw(&self.root);
        }
        let group = match self.root.get("raw")? {
            Node::Group(group) => group,
            Node::Data(_) => return reader.raw(&self.root),
        };
        let x = self.matrix(&group.get("X")?, rows, None)?;
        let var = reader.table(&group.get("var")?)?;
        let (varm, varm_frames) = reader.axis_entries(&group, "varm", var.len())?;
        Ok(Some(Raw { x, var, varm, varm_frames }))
    }

    /// `X` in blocks of so many rows, one after the other (anndata's `chunked_X`). A block of a
    /// sparse file is CSR. A file that is stored by columns (CSC) is gone through once for every
    /// eight million elements.
    ///
    /// # Errors
    /// [`Error::Parameter`] for blocks of no rows, [`Error::Format`] when there is no `X`.
    pub fn x_blocks(&self, rows_per_block: usize) -> Result<XBlocks> {
        XBlocks::new(Stored::open(&self.root.get("X")?)?, rows_per_block)
    }

    /// The layer `key` in blocks of so many rows; see [`H5ad::x_blocks`].
    ///
    /// # Errors
    /// As [`H5ad::x_blocks`]; [`Error::MissingKey`] listing the layers there are.
    pub fn layer_blocks(&self, key: &str, rows_per_block: usize) -> Result<XBlocks> {
        XBlocks::new(self.layer(key)?, rows_per_block)
    }

    /// Sums and counts of `X` for each observation and variable, in one pass and bounded memory.
    ///
    /// # Errors
    /// [`Error::Format`] when there is no `X` or it cannot be read.
    pub fn totals(&self) -> Result<Totals> {
        Totals::of(&Stored::open(&self.root.get("X")?)?)
    }

    /// The same for the layer `key`.
    ///
    /// # Errors
    /// As [`H5ad::totals`]; [`Error::MissingKey`] listing the layers there are.
    pub fn layer_totals(&self, key: &str) -> Result<Totals> {
        Totals::of(&self.layer(key)?)
    }

    fn layer(&self, key: &str) -> Result<Stored> {
        let keys = self.keys("layers")?;
        if !keys.iter().any(|k| k == key) {
            return Err(Error::missing_key("layers", "entry", key, keys));
        }
        Stored::open(&self.root.group("layers")?.get(key)?)
    }
}

/// The number of rows of `obs` or `var` from its headers alone.
fn rows_of_table(node: &Node) -> Result<usize> {
    let rows = |d: &crate::io::store::Data| match d.shape[..] {
        [n] => Ok(n),
        _ => Err(d.error(format!("expected a list, found shape {:?}", d.shape))),
    };
    match node {
        Node::Data(d) => rows(d),
        Node::Group(group) => {
            let index = group.attr_text("_index")?.unwrap_or_else(|| "_index".into());
            match group.get(&index)? {
                Node::Data(d) => rows(&d),
                Node::Group(g) => {
                    rows(&g.data(if g.contains("codes") { "codes" } else { "values" })?)
                }
            }
        }
    }
}
