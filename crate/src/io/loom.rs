//! Loom files (versions 2 and 3 of the format): genes × cells in HDF5.
//!
//! ```text
//! matrix               genes × cells, the main matrix
//! layers/NAME          further matrices of that shape
//! row_attrs/NAME       one entry a gene  (Gene, Accession, …)
//! col_attrs/NAME       one entry a cell  (CellID, ClusterName, …); may have a second axis
//! row_graphs/NAME/a,b,w     edges from gene a to gene b of weight w; row_edges in old files
//! col_graphs/NAME/a,b,w     the same between cells; col_edges in old files
//! attrs/NAME           about the file as a whole (version 3; before, attributes of the root)
//! ```

use super::h5::{self, Attributes, Data, Elements, Group, Node, Transposed};
use crate::anndata::{AnnData, Column, Dense, Map, Matrix, Sparse, Value};
use crate::error::Result;
use crate::progress::check_interrupt;
use std::path::Path;

mod axis;

use axis::{Axis, unescape};

/// How to read a loom file.
#[derive(Debug, Clone)]
pub struct Loom {
    sparse: bool,
    cleanup: bool,
    keep_type: bool,
    x_name: String,
    obs_names: String,
    var_names: String,
    obsm_mapping: Vec<(String, Vec<String>)>,
    varm_mapping: Vec<(String, Vec<String>)>,
    spatial: Option<Vec<String>>,
}

impl Default for Loom {
    fn default() -> Self {
        Loom {
            sparse: true,
            cleanup: false,
            keep_type: false,
            x_name: "spliced".into(),
            obs_names: "CellID".into(),
            var_names: "Gene".into(),
            obsm_mapping: vec![],
            varm_mapping: vec![],
            spatial: None,
        }
    }
}

fn mapping(key: &str, names: &[&str]) -> (String, Vec<String>) {
    (key.into(), names.iter().map(|n| n.to_string()).collect())
}

impl Loom {
    /// Whether matrices become sparse (CSR; the default) or dense.
    pub fn sparse(mut self, sparse: bool) -> Self {
        self.sparse = sparse;
        self
    }

    /// Whether columns of `obs` and `var` that hold one value only move to `uns["loom-obs"]` and
    /// `uns["loom-var"]` (default: no).
    pub fn cleanup(mut self, cleanup: bool) -> Self {
        self.cleanup = cleanup;
        self
    }

    /// Whether `X` keeps the element type of the file; by default it becomes `float32`, as in
    /// anndata. Layers always keep theirs.
    pub fn keep_type(mut self, keep: bool) -> Self {
        self.keep_type = keep;
        self
    }

    /// The layer that becomes `X` if there is one of that name (default `spliced`); the main matrix
    /// is then `layers["matrix"]`.
    pub fn x_name(mut self, name: impl Into<String>) -> Self {
        self.x_name = name.into();
        self
    }

    /// The attribute of the cells that names them (default `CellID`).
    pub fn obs_names(mut self, name: impl Into<String>) -> Self {
        self.obs_names = name.into();
        self
    }

    /// The attribute of the genes that names them (default `Gene`).
    pub fn var_names(mut self, name: impl Into<String>) -> Self {
        self.var_names = name.into();
        self
    }

    /// Makes `obsm[key]` of several attributes of the cells, e.g. `X_umap` of `_X` and `_Y`.
    pub fn obsm_mapping(mut self, key: &str, names: &[&str]) -> Self {
        self.obsm_mapping.push(mapping(key, names));
        self
    }

    /// Makes `varm[key]` of several attributes of the genes.
    pub fn varm_mapping(mut self, key: &str, names: &[&str]) -> Self {
        self.varm_mapping.push(mapping(key, names));
        self
    }

    /// The attributes of the cells that are their coordinates, for `obsm["spatial"]`; by default
    /// `X` and `Y`, or `x` and `y`, if there are such numbers. An empty list: none.
    pub fn spatial(mut self, names: &[&str]) -> Self {
        self.spatial = Some(mapping("spatial", names).1);
        self
    }

    /// Reads the file; see [`read_loom`].
    ///
    /// # Errors
    /// As [`read_loom`]; also when a named attribute is missing or no number.
    pub fn read(&self, path: impl AsRef<Path>) -> Result<AnnData> {
        self.read_path(path.as_ref())
    }

    fn read_path(&self, path: &Path) -> Result<AnnData> {
        let root = h5::open(path)?;
        if !root.contains("matrix") || !root.contains("row_attrs") {
            let has = root.names()?.join(", ");
            return Err(root
                .error(format!("not a loom file: it has no matrix and row_attrs, but: {has}"))
                .with_hint("`io::read` finds out what an HDF5 file holds"));
        }
        let main = root.data("matrix")?;
        let &[genes, cells] = main.shape.as_slice() else {
            return Err(main.error(format!("expected genes × cells, found {:?}", main.shape)));
        };
        let layers = members(&root, "layers")?;
        let x_layer = layers.iter().find(|l| last(l) == self.x_name).cloned();

        let mut loom = Map::new();
        let mut obs = Axis::read(&root, "col_attrs", cells, &self.obs_names, &self.obsm_mapping)?;
        let mut var = Axis::read(&root, "row_attrs", genes, &self.var_names, &self.varm_mapping)?;
        let spatial = self.coordinates(&root, &obs)?;
        let mut adata = AnnData {
            obsp: graphs(&root, ["col_graphs", "col_edges"], cells)?,
            varp: graphs(&root, ["row_graphs", "row_edges"], genes)?,
            ..AnnData::default()
        };
        if self.cleanup {
            for (axis, key) in [(&mut obs, "loom-obs"), (&mut var, "loom-var")] {
                let constants = axis.take_constants();
                if !constants.is_empty() {
                    adata.uns.insert(key.into(), Value::Map(constants));
                }
            }
        }
        for (axis, key) in [(&mut obs, "col_attrs"), (&mut var, "row_attrs")] {
            if !axis.others.is_empty() {
                loom.insert(key.into(), Value::Map(std::mem::take(&mut axis.others)));
            }
        }
        (adata.obs, adata.obsm) = (obs.frame, obs.multi);
        (adata.var, adata.varm) = (var.frame, var.multi);
        if let Some(spatial) = spatial {
            adata.obsm.entry("spatial".into()).or_insert(spatial);
        }

        let how = Transposed { sparse: self.sparse, single: false };
        let x = x_layer.as_ref().unwrap_or(&main);
        adata.x = Some(x.transposed(Transposed { single: !self.keep_type, ..how })?);
        if x_layer.is_some() {
            adata.layers.insert("matrix".into(), main.transposed(how)?);
        }
        for layer in &layers {
            check_interrupt()?;
            if layer.shape != main.shape {
                let reason = format!("shape {:?}, the matrix has {:?}", layer.shape, main.shape);
                return Err(layer.error(reason));
            }
            adata.layers.insert(last(layer).into(), layer.transposed(how)?);
        }
        about(&root, &mut loom)?;
        if !loom.is_empty() {
            adata.uns.insert("loom".into(), Value::Map(loom));
        }
        adata.check().map_err(|e| root.error(e.to_string()))?;
        Ok(adata)
    }

    fn coordinates(&self, root: &Group, obs: &Axis) -> Result<Option<Matrix>> {
        let numbers = |name: &str| obs.frame.get(name).and_then(Column::to_f64);
        let columns: Vec<Vec<f64>> = match &self.spatial {
            Some(names) => names
                .iter()
                .map(|name| {
                    let has = || obs.frame.columns().map(|c| c.0).collect::<Vec<_>>().join(", ");
                    numbers(name).ok_or_else(|| {
                        root.error(format!("col_attrs has no numbers `{name}`; it has: {}", has()))
                    })
                })
                .collect::<Result<_>>()?,
            None => [["X", "Y"], ["x", "y"]]
                .iter()
                .find_map(|pair| pair.iter().map(|n| numbers(n)).collect::<Option<Vec<_>>>())
                .unwrap_or_default(),
        };
        if columns.is_empty() {
            return Ok(None);
        }
        let rows = (0..obs.frame.len()).flat_map(|i| columns.iter().map(move |c| c[i]));
        let xy = Dense::new(obs.frame.len(), columns.len(), rows.collect::<Vec<f64>>())?;
        Ok(Some(Matrix::Dense(xy)))
    }
}

/// Reads a loom file, versions 2 and 3: the matrix of genes × cells becomes `X`, cells × genes.
///
/// Matches `anndata.io.read_loom` 0.12 with loompy 3:
/// * `X`: CSR in `float32`; the layer `spliced` if there is one, else the main matrix
/// * `layers`: in the type of the file (loompy widens them to `float64`); with `spliced` as `X` the
///   main matrix is `layers["matrix"]`
/// * `obs`, `var`: the attributes of cells and genes, named by `CellID` and `Gene`
/// * `obsm`, `varm`: attributes with a second axis
///
/// Added to what anndata reads:
/// * `obsm["spatial"]`: the attributes `X` and `Y` (or `x` and `y`) as `float64`, in the unit of the
///   file; they stay columns of `obs` too
/// * `obsp`, `varp`: the graphs between cells and between genes, CSR
/// * `uns["loom"]`: what is said about the file as a whole; under `col_attrs` and `row_attrs`
///   attributes that `obsm` and `varm` cannot hold (text in two axes, numbers in three)
/// * text outside ASCII, which loompy leaves out
///
/// While reading, memory holds the result and the few bands of cells in work (where the file's chunks
/// run over all cells: one more copy of a matrix).
///
/// # Errors
/// [`Error::Format`](crate::Error::Format) naming the key that is missing, malformed or of another
/// length than the matrix asks for.
pub fn read_loom(path: impl AsRef<Path>) -> Result<AnnData> {
    Loom::default().read(path)
}

/// Whether the root of an HDF5 file looks like a loom file's.
pub(super) fn is_loom(root: &Group) -> bool {
    ["matrix", "row_attrs", "col_attrs"].iter().all(|n| root.contains(n))
}

fn last(data: &Data) -> &str {
    data.key.rsplit('/').next().unwrap_or(&data.key)
}

/// The data sets of the group `name`, none if there is no such group.
fn members(root: &Group, name: &str) -> Result<Vec<Data>> {
    if !root.contains(name) {
        return Ok(vec![]);
    }
    let group = root.group(name)?;
    group.names()?.iter().map(|n| group.data(n)).collect()
}

/// The graphs of one axis, each `n × n` in CSR with one entry an edge.
fn graphs(root: &Group, groups: [&str; 2], n: usize) -> Result<Map<Matrix>> {
    let mut out = Map::new();
    for group in groups {
        if !root.contains(group) {
            continue;
        }
        let group = root.group(group)?;
        for name in group.names()? {
            let graph = group.group(&name)?;
            let (from, to) = (graph.data("a")?.indices()?, graph.data("b")?.indices()?);
            let weights = graph.data("w")?.values()?;
            if from.len() != to.len() || from.len() != weights.len() {
                let sizes = format!("{}, {} and {}", from.len(), to.len(), weights.len());
                return Err(graph.error(format!("a, b and w have {sizes} entries")));
            }
            if let Some(bad) = from.iter().chain(&to).find(|&&i| i as usize >= n) {
                return Err(graph.error(format!("node {bad} of a graph of {n} nodes")));
            }
            let mut order: Vec<usize> = (0..from.len()).collect();
            order.sort_by_key(|&k| (from[k], to[k]));
            let mut indptr = vec![0; n + 1];
            from.iter().for_each(|&i| indptr[i as usize + 1] += 1);
            (0..n).for_each(|i| indptr[i + 1] += indptr[i]);
            let indices = order.iter().map(|&k| to[k]).collect();
            let csr = Sparse::new((n, n), true, indptr, indices, weights.take(&order))
                .map_err(|e| graph.error(e.to_string()))?;
            out.insert(name, Matrix::Csr(csr));
        }
    }
    Ok(out)
}

/// What is said about the file as a whole.
fn about(root: &Group, out: &mut Map<Value>) -> Result<()> {
    let mut insert = |name: String, shape: Vec<usize>, elements: Elements| {
        let unknown = format!("`{name}` holds records, which are not known here");
        let value = match elements {
            Elements::Values(values) => Value::Array { shape, values },
            Elements::Strings(mut v) if v.len() == 1 => {
                Value::Str(unescape(v.pop().unwrap_or_default()))
            }
            Elements::Strings(v) => Value::strings(v.into_iter().map(unescape)),
            Elements::Record(_) => return Err(root.error(unknown)),
        };
        out.insert(name, value);
        Ok(())
    };
    for name in root.attribute_names()? {
        if let Some((shape, elements)) = root.attribute(&name)? {
            insert(name, shape, elements)?;
        }
    }
    if root.contains("attrs") {
        let group = root.group("attrs")?;
        for name in group.names()? {
            if let Node::Data(data) = group.get(&name)? {
                insert(name, data.shape.clone(), data.read()?)?;
            }
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests;
