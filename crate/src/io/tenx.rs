//! The `.h5` matrices of Cell Ranger and Space Ranger: features × barcodes, compressed by barcode,
//! which is what observations × variables compressed by observation looks like.
//!
//! ```text
//! version 3 and later                      version 2
//! matrix/barcodes, data, indices, indptr   GENOME/barcodes, data, indices, indptr
//! matrix/shape                             GENOME/shape
//! matrix/features/id, name, feature_type…  GENOME/genes, gene_names
//! ```

use super::h5::{self, Data, Dtype, Elements, Group, Node};
use crate::anndata::{AnnData, Column, Frame, Matrix, Sparse, Values};
use crate::error::{Error, Result};
use std::path::Path;

/// The kind of feature that `gex_only` keeps.
const GENE_EXPRESSION: &str = "Gene Expression";

/// How to read a 10x `.h5` file.
#[derive(Debug, Clone)]
pub struct TenxH5 {
    genome: Option<String>,
    gex_only: bool,
}

impl Default for TenxH5 {
    fn default() -> Self {
        TenxH5 { genome: None, gex_only: true }
    }
}

impl TenxH5 {
    /// Keeps the genes of one genome. Files of version 2 with several genomes need this.
    pub fn genome(mut self, genome: impl Into<String>) -> Self {
        self.genome = Some(genome.into());
        self
    }

    /// Whether to keep gene expression only (the default, as in scanpy) or antibodies, control
    /// probes and the like as well. A file without any gene expression is kept whole.
    pub fn gex_only(mut self, gex_only: bool) -> Self {
        self.gex_only = gex_only;
        self
    }

    /// Reads the file; see [`read_10x_h5`].
    ///
    /// # Errors
    /// As [`read_10x_h5`]; [`Error::Format`] listing the genomes when `genome` is not one of them.
    pub fn read(&self, path: impl AsRef<Path>) -> Result<AnnData> {
        self.read_path(path.as_ref())
    }

    fn read_path(&self, path: &Path) -> Result<AnnData> {
        let root = h5::open(path)?;
        if root.contains("matrix") {
            return self.version_3(&root.group("matrix")?);
        }
        let genomes = genomes(&root)?;
        let names = || genomes.join(", ");
        let genome = match (&self.genome, genomes.as_slice()) {
            (_, []) => {
                let found = root.names()?.join(", ");
                let reason = format!("not a 10x matrix: there is no `matrix`, but: {found}");
                let hint =
                    if root.contains("obs") { "It looks like h5ad: `io::read_h5ad`" } else { "" };
                return Err(root.error(reason).with_hint(hint));
            }
            (Some(g), all) if all.contains(g) => g,
            (Some(g), _) => return Err(self.no_genome(&root, g, &names())),
            (None, [only]) => only,
            (None, _) => {
                let reason = format!("the file has several genomes: {}", names());
                let hint = "Name one: `TenxH5::default().genome(\"…\").read(path)`";
                return Err(root.error(reason).with_hint(hint));
            }
        };
        let group = root.group(genome)?;
        let mut var = Frame::new(group.data("gene_names")?.strings()?);
        insert(&mut var, &group, "gene_ids", texts(&group.data("genes")?)?)?;
        let obs = Frame::new(group.data("barcodes")?.strings()?);
        assemble(&group, obs, var)
    }

    fn version_3(&self, group: &Group) -> Result<AnnData> {
        let features = group.group("features")?;
        let mut var = Frame::new(features.data("name")?.strings()?);
        if features.contains("gene_id") {
            insert(&mut var, group, "gene_ids", texts(&features.data("gene_id")?)?)?;
            insert(&mut var, group, "probe_ids", texts(&features.data("id")?)?)?;
        } else {
            insert(&mut var, group, "gene_ids", texts(&features.data("id")?)?)?;
        }
        let kinds = features.data("feature_type")?.strings()?;
        insert(&mut var, group, "feature_types", text_column(kinds.clone()))?;
        for name in features.names()? {
            let known = ["name", "feature_type", "id", "gene_id", "_all_tag_keys"];
            if known.contains(&name.as_str()) {
                continue;
            }
            if let Node::Data(data) = features.get(&name)? {
                insert(&mut var, group, &name, texts(&data)?)?;
            }
        }
        let mut obs = Frame::new(group.data("barcodes")?.strings()?);
        if group.contains("filtered_barcodes") {
            let column = texts(&group.data("filtered_barcodes")?)?;
            insert(&mut obs, group, "filtered_barcodes", column)?;
        }
        let mut adata = assemble(group, obs, var)?;
        if let Some(genome) = &self.genome {
            let genomes = adata.var_column("genome")?.to_categorical();
            let keep: Vec<usize> =
                (0..adata.n_vars()).filter(|&i| genomes.label(i) == Some(genome)).collect();
            if keep.is_empty() {
                return Err(self.no_genome(group, genome, &genomes.categories.join(", ")));
            }
            if keep.len() < adata.n_vars() {
                adata = adata.take_vars(&keep);
            }
        }
        if self.gex_only {
            let kinds = adata.var_column("feature_types")?.to_categorical();
            let is_gene = |&i: &usize| kinds.label(i) == Some(GENE_EXPRESSION);
            let keep: Vec<usize> = (0..adata.n_vars()).filter(is_gene).collect();
            if !keep.is_empty() && keep.len() < adata.n_vars() {
                adata = adata.take_vars(&keep);
            }
        }
        Ok(adata)
    }

    fn no_genome(&self, group: &Group, genome: &str, has: &str) -> Error {
        group.error(format!("there is no genome `{genome}`; the file has: {has}"))
    }
}

/// Reads a 10x `.h5` file, version 2 or 3, gene expression only. Matches scanpy 1.11: `X` is CSR in
/// `float32`; `var` is named by gene symbol (repeated symbols stay repeated) and has `gene_ids` and,
/// from version 3, `feature_types` and `genome`; `obs` is named by barcode. [`TenxH5`] has options.
///
/// # Errors
/// [`Error::Io`] for a missing file, [`Error::Format`] naming the key for anything that is damaged
/// or no 10x matrix.
pub fn read_10x_h5(path: impl AsRef<Path>) -> Result<AnnData> {
    TenxH5::default().read(path)
}

/// The groups of a version 2 file, one a genome.
pub(super) fn genomes(root: &Group) -> Result<Vec<String>> {
    let is_genome = |name: &String| {
        root.group(name)
            .is_ok_and(|g| ["barcodes", "genes", "indptr"].iter().all(|k| g.contains(k)))
    };
    Ok(root.names()?.into_iter().filter(is_genome).collect())
}

fn insert(frame: &mut Frame, group: &Group, name: &str, column: Column) -> Result<()> {
    frame.insert(name, column).map_err(|e| group.error(e.to_string()))
}

fn text_column(texts: Vec<String>) -> Column {
    Column::Str(texts.into_iter().map(Some).collect())
}

/// A column of texts; booleans stay what they are, numbers become text as in scanpy.
fn texts(data: &Data) -> Result<Column> {
    Ok(match data.read()? {
        Elements::Strings(v) => text_column(v),
        Elements::Values(v @ Values::Bool(_)) => Column::Values(v),
        Elements::Values(v) => {
            let column = Column::Values(v);
            Column::Str((0..column.len()).map(|i| column.text(i)).collect())
        }
        Elements::Record(_) => return Err(data.error("records where text belongs")),
    })
}

fn assemble(group: &Group, obs: Frame, var: Frame) -> Result<AnnData> {
    let shape = group.data("shape")?.positions()?;
    if shape != [var.len(), obs.len()] {
        let (n, shape) = (shape.len(), &shape[..shape.len().min(2)]);
        return Err(group.error(format!(
            "shape {shape:?} ({n} lengths) does not fit {} features and {} barcodes",
            var.len(),
            obs.len()
        )));
    }
    let indptr = group.data("indptr")?.positions()?;
    let indices = group.data("indices")?.indices()?;
    let data = group.data("data")?;
    let values = match data.dtype()? {
        Dtype::I32 => Values::F32(data.floats()?),
        _ => data.values()?,
    };
    let x = Sparse::new((obs.len(), var.len()), true, indptr, indices, values)
        .map_err(|e| group.error(e.to_string()))?;
    AnnData::new(Matrix::Csr(x), obs, var).map_err(|e| group.error(e.to_string()))
}
