//! Reading: one function for each encoding.

use super::stored::{Parts, sparse_kind};
use super::{ReadOptions, legacy, mudata};
use crate::anndata::{
    AnnData, Categorical, Column, Dense, Frame, Map, Matrix, Raw, Sparse, Value, Values,
};
use crate::error::{Error, Result};
use crate::io::store::{Attributes, Data, Elements, Group, Node};
use crate::progress::check_interrupt;
use std::cell::Cell;

/// Groups nested deeper than this are taken for a cycle.
const DEEPEST: usize = 40;

/// A few groups that link to each other have as many entries as one likes.
const MOST_ENTRIES: usize = 100_000;

pub(super) struct Reader<'a> {
    pub options: &'a ReadOptions,
    /// Entries of `uns` seen so far.
    pub visited: Cell<usize>,
}

/// `encoding-type` and `encoding-version`, empty where a file does not state them.
pub(super) fn encoding(node: &impl Attributes) -> Result<(String, String)> {
    let kind = node.attr_text("encoding-type")?.unwrap_or_default();
    Ok((kind, node.attr_text("encoding-version")?.unwrap_or_default()))
}

/// Turns an error about sizes into one about the file and key they come from.
pub(super) fn in_file(node: &Group, e: Error) -> Error {
    match e {
        Error::Format { .. } | Error::Io { .. } => e,
        other => node.error(other.to_string()),
    }
}

impl Reader<'_> {
    pub(super) fn skips(&self, key: &str) -> bool {
        self.options.skip.iter().any(|s| s == key)
    }

    /// The members of a group that are to be read.
    fn members(&self, group: &Group) -> Result<Vec<(String, Node)>> {
        let names = group.names()?.into_iter();
        names
            .filter(|name| !self.skips(&group.key_of(name)))
            .map(|name| group.get(&name).map(|node| (name, node)))
            .collect()
    }

    /// The members of the group `slot`, which need not exist.
    pub(super) fn slot(&self, root: &Group, slot: &str) -> Result<Vec<(String, Node)>> {
        if !root.contains(slot) || self.skips(&root.key_of(slot)) {
            return Ok(vec![]);
        }
        match root.get(slot)? {
            Node::Group(g) => self.members(&g),
            Node::Data(d) if d.is_null => Ok(vec![]),
            Node::Data(d) => Err(d.error("expected a group of entries, found a data set")),
        }
    }

    /// An error that says how to read the rest of the file.
    fn refuse(&self, node: &Node, reason: impl AsRef<str>) -> Error {
        node.error(reason).with_hint(format!(
            "To read the rest: `io::{}_with(path, &ReadOptions::default().skip(\"{}\"))`",
            if node.is_zarr() { "read_zarr" } else { "read_h5ad" },
            node.key()
        ))
    }

    pub fn anndata(&self, root: &Group) -> Result<AnnData> {
        check_is_anndata(root)?;
        let mut adata = AnnData::default();
        let mut tables = vec![];
        for name in ["obs", "var"] {
            tables.push(match root.contains(name).then(|| root.get(name)).transpose()? {
                Some(Node::Group(g)) => Some(self.frame(&g)?),
                Some(Node::Data(d)) => Some(legacy::frame(&d)?),
                None => None,
            });
        }
        if root.contains("X") && !self.skips("X") {
            let node = root.get("X")?;
            let sizes = [0, 1].map(|i: usize| tables[i].as_ref().map(Frame::len));
            adata.x = self.main_matrix(&node, sizes)?;
        }
        let shape = adata.x.as_ref().map_or((0, 0), Matrix::shape);
        adata.var = unnamed(root, "var", tables.pop().flatten(), shape.1)?;
        adata.obs = unnamed(root, "obs", tables.pop().flatten(), shape.0)?;

        for (name, node) in self.slot(root, "layers")? {
            adata.layers.insert(name, self.matrix(&node)?);
        }
        let (n, m) = adata.shape();
        (adata.obsm, adata.obsm_frames) = self.axis_entries(root, "obsm", n)?;
        (adata.varm, adata.varm_frames) = self.axis_entries(root, "varm", m)?;
        for (name, node) in self.slot(root, "obsp")? {
            adata.obsp.insert(name, self.matrix(&node)?);
        }
        for (name, node) in self.slot(root, "varp")? {
            adata.varp.insert(name, self.matrix(&node)?);
        }
        for (name, node) in self.slot(root, "uns")? {
            adata.uns.insert(name, self.value(&node, 0)?);
        }
        adata.raw = self.raw(root)?.map(Box::new);
        if root.contains("obs") && matches!(root.get("obs")?, Node::Data(_)) {
            legacy::categories_from_uns(&mut adata);
        }
        legacy::graphs_from_uns(&mut adata);
        adata.check().map_err(|e| in_file(root, e))?;
        Ok(adata)
    }

    pub(super) fn raw(&self, root: &Group) -> Result<Option<Raw>> {
        if self.skips("raw") {
            return Ok(None);
        }
        if root.contains("raw") {
            let group = match root.get("raw")? {
                Node::Group(g) => g,
                Node::Data(d) if d.is_null => return Ok(None),
                Node::Data(d) => return Err(d.error("expected a group, found a data set")),
            };
            let var = self.table(&group.get("var")?)?;
            let x = self.main_matrix(&group.get("X")?, [None, Some(var.len())])?;
            let x = x.ok_or_else(|| group.error("its X is empty"))?;
            let (varm, varm_frames) = self.axis_entries(&group, "varm", var.len())?;
            return Ok(Some(Raw { x, var, varm, varm_frames }));
        }
        if !root.contains("raw.X") {
            return Ok(None);
        }
        let var = self.table(&root.get("raw.var")?)?;
        let x = self.main_matrix(&root.get("raw.X")?, [None, Some(var.len())])?;
        let x = x.ok_or_else(|| root.error("raw.X is empty"))?;
        let (varm, varm_frames) = self.axis_entries(root, "raw.varm", var.len())?;
        Ok(Some(Raw { x, var, varm, varm_frames }))
    }

    pub(super) fn table(&self, node: &Node) -> Result<Frame> {
        match node {
            Node::Group(g) => self.frame(g),
            Node::Data(d) => legacy::frame(d),
        }
    }

    /// `X`, which old files flatten to one axis when there is one observation or variable.
    fn main_matrix(&self, node: &Node, sizes: [Option<usize>; 2]) -> Result<Option<Matrix>> {
        if let Node::Data(d) = node {
            if d.is_null {
                return Ok(None);
            }
            if d.shape.len() == 1 {
                let len = d.shape[0];
                let (n, m) = match sizes {
                    [Some(n), Some(m)] => (n, m),
                    [None, Some(1)] => (len, 1),
                    _ => (1, len),
                };
                let dense = Dense::new(n, m, d.values()?).map_err(|e| d.error(e.to_string()))?;
                return Ok(Some(Matrix::Dense(dense)));
            }
        }
        self.matrix(node).map(Some)
    }

    /// A dense or sparse matrix.
    pub(super) fn matrix(&self, node: &Node) -> Result<Matrix> {
        match node {
            Node::Data(d) => match d.shape[..] {
                [n, m] => {
                    if d.is_text()? {
                        return Err(self.refuse(node, "a matrix of text cannot be held"));
                    }
                    let dense = Dense::new(n, m, d.values()?);
                    Ok(Matrix::Dense(dense.map_err(|e| d.error(e.to_string()))?))
                }
                _ => {
                    let reason = format!("an array of shape {:?} is not a matrix", d.shape);
                    Err(self.refuse(node, reason))
                }
            },
            Node::Group(g) => match sparse_kind(g)?.as_str() {
                "csr_matrix" => Ok(Matrix::Csr(sparse(g, true)?)),
                "csc_matrix" => Ok(Matrix::Csc(sparse(g, false)?)),
                other => Err(self.refuse(node, not_held(other, "a matrix"))),
            },
        }
    }

    /// The entries of `obsm` or `varm`: matrices, tables, or the fields of one old record array.
    pub(super) fn axis_entries(
        &self,
        root: &Group,
        slot: &str,
        n: usize,
    ) -> Result<(Map<Matrix>, Map<Frame>)> {
        let (mut matrices, mut frames) = (Map::new(), Map::new());
        if root.contains(slot)
            && let Node::Data(d) = root.get(slot)?
            && !d.is_null
        {
            return Ok((legacy::matrices(&d)?, frames));
        }
        for (name, node) in self.slot(root, slot)? {
            let (kind, _) = encoding(&node)?;
            match &node {
                Node::Group(g) if kind == "dataframe" => {
                    frames.insert(name, self.frame(g)?);
                }
                Node::Data(d) if d.shape.len() != 2 => {
                    matrices.insert(name, self.axis_matrix(&node, d, n)?);
                }
                _ => {
                    matrices.insert(name, self.matrix(&node)?);
                }
            }
        }
        Ok((matrices, frames))
    }

    /// An entry of `obsm` or `varm` that does not have two axes: one is a single column.
    pub(super) fn axis_matrix(&self, node: &Node, d: &Data, n: usize) -> Result<Matrix> {
        if d.shape.len() != 1 {
            return self.matrix(node);
        }
        let dense = Dense::new(n, 1, d.values()?).map_err(|e| d.error(e.to_string()))?;
        Ok(Matrix::Dense(dense))
    }

    /// A table with its index.
    pub fn frame(&self, group: &Group) -> Result<Frame> {
        let columns = columns_of(group)?.into_iter();
        let read = columns.filter(|name| !self.skips(&group.key_of(name)));
        self.frame_of(group, &read.collect::<Vec<_>>())
    }

    /// The index and some columns of the table called `slot`.
    pub fn some_columns(&self, group: &Group, slot: &'static str, names: &[&str]) -> Result<Frame> {
        let has = columns_of(group)?;
        match names.iter().find(|&&name| !has.iter().any(|h| h == name)) {
            Some(name) => Err(Error::missing_key(slot, "column", name, has)),
            None => self.frame_of(group, names),
        }
    }

    fn frame_of<S: AsRef<str>>(&self, group: &Group, columns: &[S]) -> Result<Frame> {
        check_version(group, &["0.1.0", "0.2.0"])?;
        let index = group.attr_text("_index")?.unwrap_or_else(|| "_index".into());
        let mut frame = match self.column(group, &index)? {
            Column::Values(numbers) => Frame::with_numbers(numbers),
            names => Frame::new(
                (0..names.len()).map(|i| names.text(i).unwrap_or_else(|| "nan".into())).collect(),
            ),
        };
        for name in columns {
            let name = name.as_ref();
            let column = self.column(group, name)?;
            // Text in a group is pandas' own type for it, missing elements or not.
            let inserted = match &column {
                Column::Str(_) if matches!(group.get(name)?, Node::Group(_)) => {
                    frame.insert_strings(name, column)
                }
                _ => frame.insert(name, column),
            };
            inserted.map_err(|e| in_file(group, e))?;
        }
        frame.index_name = Some(index).filter(|name| name != "_index");
        Ok(frame)
    }

    /// The column `name` of a table.
    pub(super) fn column(&self, group: &Group, name: &str) -> Result<Column> {
        let node = group.get(name)?;
        let Node::Data(data) = &node else { return self.column_group(&node) };
        if data.shape.len() != 1 {
            let reason = format!("a column has one axis, this has shape {:?}", data.shape);
            return Err(self.refuse(&node, reason));
        }
        if data.has_attribute("categories") {
            // Before anndata 0.8: the categories are in a data set of their own.
            let categories = group.group("__categories")?.data(name)?;
            let ordered = categories.attr_numbers("ordered")?.is_some_and(|v| v == [1.0]);
            return categorical(data, &categories, ordered).map(Column::Categorical);
        }
        match data.read()? {
            Elements::Values(v) => Ok(Column::Values(v)),
            Elements::Strings(v) => Ok(Column::Str(v.into_iter().map(Some).collect())),
            Elements::Record(_) => Err(self.refuse(&node, "a column of records cannot be held")),
        }
    }

    /// A column that takes a group: categories, or values with a mask.
    fn column_group(&self, node: &Node) -> Result<Column> {
        let Node::Group(group) = node else { return Err(node.error("expected a group")) };
        let (kind, _) = encoding(group)?;
        let masked = || -> Result<(Elements, Vec<bool>)> {
            check_version(group, &["0.1.0"])?;
            let values = group.data("values")?.read()?;
            let mask = group.data("mask")?;
            let Values::Bool(missing) = mask.values()? else {
                return Err(mask.error("expected booleans"));
            };
            if missing.len() != values.len() {
                let reason = format!("{} values, but {} in the mask", values.len(), missing.len());
                return Err(group.error(reason));
            }
            Ok((values, missing))
        };
        match kind.as_str() {
            "categorical" => {
                check_version(group, &["0.2.0"])?;
                let ordered = group.attr_numbers("ordered")?.is_some_and(|v| v == [1.0]);
                categorical(&group.data("codes")?, &group.data("categories")?, ordered)
                    .map(Column::Categorical)
            }
            "nullable-integer" | "nullable-boolean" => match masked()? {
                (Elements::Values(values), missing) => Ok(Column::Nullable { values, missing }),
                _ => Err(group.error("expected numbers or booleans in `values`")),
            },
            "nullable-string-array" => match masked()? {
                (Elements::Strings(values), missing) => {
                    let texts = values.into_iter().zip(missing);
                    Ok(Column::Str(texts.map(|(v, missing)| (!missing).then_some(v)).collect()))
                }
                _ => Err(group.error("expected text in `values`")),
            },
            other => Err(self.refuse(node, not_held(other, "a column"))),
        }
    }

    /// Anything that `uns` may hold.
    pub(super) fn value(&self, node: &Node, depth: usize) -> Result<Value> {
        if depth > DEEPEST {
            return Err(self.refuse(node, "groups are nested too deep, or in a circle"));
        }
        self.visited.set(self.visited.get() + 1);
        if self.visited.get() > MOST_ENTRIES {
            let reason = format!("more than {MOST_ENTRIES} entries; do groups link to each other?");
            return Err(self.refuse(node, reason));
        }
        check_interrupt()?;
        let (kind, version) = encoding(node)?;
        match node {
            Node::Data(data) => self.value_data(node, data, &kind, &version),
            Node::Group(group) => match kind.as_str() {
                "csr_matrix" | "csc_matrix" => self.matrix(node).map(Value::Matrix),
                "dataframe" => self.frame(group).map(Value::Frame),
                "categorical"
                | "nullable-integer"
                | "nullable-boolean"
                | "nullable-string-array" => self.column_group(node).map(Value::Column),
                "" if group.attr_text("h5sparse_format")?.is_some() => {
                    self.matrix(node).map(Value::Matrix)
                }
                "dict" | "" => {
                    let mut map = Map::new();
                    for (name, node) in self.members(group)? {
                        map.insert(name, self.value(&node, depth + 1)?);
                    }
                    Ok(Value::Map(map))
                }
                other => Err(self.refuse(node, not_held(other, "an entry of uns"))),
            },
        }
    }

    fn value_data(&self, node: &Node, data: &Data, kind: &str, version: &str) -> Result<Value> {
        let shape = data.shape.clone();
        match kind {
            "null" => Ok(Value::Null),
            "" | "array" | "string-array" | "string" | "bytes" | "numeric-scalar" | "rec-array" => {
                if data.is_null {
                    return Ok(Value::Null);
                }
                let fixed = kind.is_empty() && data.is_fixed_text()?;
                Ok(match data.read()? {
                    Elements::Values(values) => Value::Array { shape, values },
                    // Before anndata 0.7 a text was stored as a list of one.
                    Elements::Strings(mut v) if shape.is_empty() || (fixed && v.len() == 1) => {
                        Value::Str(v.pop().unwrap_or_default())
                    }
                    Elements::Strings(values) => Value::StrArray { shape, values },
                    Elements::Record(fields) => Value::Record(legacy::fields(&shape, fields)),
                })
            }
            other => {
                let reason = format!("encoding `{other}` (version {version}) is unknown");
                Err(self.refuse(node, reason))
            }
        }
    }
}

/// The table of an axis, or numbers for names where the file has none.
fn unnamed(root: &Group, axis: &str, table: Option<Frame>, n: usize) -> Result<Frame> {
    // Names that are not in the file take memory that nothing in the file answers for.
    const MOST: usize = 1 << 20;
    match table {
        Some(table) => Ok(table),
        None if n <= MOST => Ok(Frame::with_len(n)),
        None => Err(root.error(format!("X claims an axis of {n}, but there is no `{axis}`"))),
    }
}

pub(super) fn not_held(kind: &str, place: &str) -> String {
    match kind {
        "" => format!("a group without `encoding-type` cannot be {place}"),
        "awkward-array" => "an awkward array cannot be held".into(),
        "dict" | "dataframe" | "anndata" | "raw" => format!("`{kind}` cannot be {place}"),
        other => format!("encoding `{other}` cannot be {place}"),
    }
}

pub(super) fn check_is_anndata(root: &Group) -> Result<()> {
    let has = |name| root.contains(name);
    if mudata::is_mudata(root)? {
        let names = root.group("mod").and_then(|g| g.names()).unwrap_or_default();
        return Err(mudata::several(root, &names));
    }
    if has("X") || (has("obs") && has("var")) {
        return Ok(());
    }
    let names = root.names()?.join(", ");
    let hint = if has("matrix") { "It looks like a 10x file: `io::read_10x_h5`" } else { "" };
    Err(root
        .error(format!("not an h5ad file: there is neither X nor obs and var, but: {names}"))
        .with_hint(hint))
}

/// Names of the columns of a table, in their order.
pub(super) fn columns_of(group: &Group) -> Result<Vec<String>> {
    let index = group.attr_text("_index")?.unwrap_or_else(|| "_index".into());
    Ok(match group.attr_texts("column-order")? {
        Some(columns) => columns,
        None => {
            let names = group.names()?.into_iter();
            names.filter(|n| *n != index && n != "__categories").collect()
        }
    })
}

fn check_version(group: &Group, known: &[&str]) -> Result<()> {
    let (kind, version) = encoding(group)?;
    if version.is_empty() || known.contains(&version.as_str()) {
        return Ok(());
    }
    let known = known.join(" and ");
    Err(group.error(format!("version {version} of encoding `{kind}` is unknown; known: {known}")))
}

fn categorical(codes: &Data, categories: &Data, ordered: bool) -> Result<Categorical> {
    let (categories, typed) = match categories.read()? {
        Elements::Strings(v) => (v, None),
        Elements::Values(v) => {
            let column = Column::Values(v.clone());
            let texts = (0..v.len()).map(|i| column.text(i).unwrap_or_else(|| "nan".into()));
            (texts.collect(), Some(v))
        }
        Elements::Record(_) => return Err(categories.error("records cannot be categories")),
    };
    let n = categories.len() as f64;
    let values = codes.values()?.to_f64().into_owned();
    if let Some(bad) = values.iter().find(|&&c| c.fract() != 0.0 || c < -1.0 || c >= n) {
        return Err(codes.error(format!("code {bad} without a category (there are {n})")));
    }
    let codes = values.iter().map(|&c| c as i32).collect();
    Ok(Categorical { codes, categories, typed, ordered })
}

/// A group of `data`, `indices` and `indptr`.
fn sparse(group: &Group, by_rows: bool) -> Result<Sparse> {
    let Parts { nrows, ncols, indptr, indices, values } = Parts::of(group, by_rows)?;
    Sparse::new((nrows, ncols), by_rows, indptr, indices.indices()?, values.values()?)
        .map_err(|e| group.error(e.to_string()))
}
