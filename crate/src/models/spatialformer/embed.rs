//! [`embed`]: an embedding of each cell.

use super::network::SpatialFormer;
use super::sequences::Sequences;
use super::states::gene_mean;
use super::tokens::{TieOrder, Tokenizer};
use super::vocabulary::Vocabulary;
use crate::anndata::{AnnData, Dense, Matrix, Value};
use crate::error::{Error, Result};
use crate::models::kept::Kept;
use crate::notebook::shows_rows;
use crate::progress::Progress;
use ndarray::s;
use sha2::{Digest, Sha256};
use std::path::PathBuf;
use std::time::Instant;

/// What an embedding of a cell is made of.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Pooling {
    /// The state of the token `<CLS>`: `method="cls"` of the released code.
    #[default]
    Cls,
    /// The mean of the states of its genes and of `<SEP>`: `method="gene"`.
    Gene,
}

/// Where cells come from, and how they become tokens: what every function that reads a slide asks.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Origin {
    pub tissue: String,
    pub condition: String,
    pub species: String,
    pub assay: String,
    pub gene_names: Option<String>,
    pub max_len: Option<usize>,
    pub ties: TieOrder,
}

impl Default for Origin {
    fn default() -> Self {
        Origin {
            tissue: "Lung".into(),
            condition: "Disease".into(),
            species: "Human".into(),
            assay: "Xenium".into(),
            gene_names: None,
            max_len: None,
            ties: TieOrder::Stable,
        }
    }
}

/// The builder methods of what holds an [`Origin`] in its field `origin`.
macro_rules! origin_of {
    ($name:ident) => {
        impl $name {
            /// The tissue, one of [`Vocabulary::tissues`](crate::models::spatialformer::Vocabulary::tissues). Default: `Lung`.
            pub fn tissue(mut self, tissue: impl Into<String>) -> Self {
                self.origin.tissue = tissue.into();
                self
            }

            /// `Healthy` or `Disease`. Default: `Disease`.
            pub fn condition(mut self, condition: impl Into<String>) -> Self {
                self.origin.condition = condition.into();
                self
            }

            /// `Human` or `Mouse`. Default: `Human`, which the released code writes for every slide.
            pub fn species(mut self, species: impl Into<String>) -> Self {
                self.origin.species = species.into();
                self
            }

            /// `Xenium`, `Merfish` or `CosMx`. Default: `Xenium`, which the released code writes
            /// whatever it is given.
            pub fn assay(mut self, assay: impl Into<String>) -> Self {
                self.origin.assay = assay.into();
                self
            }

            /// The column of `var` with gene symbols. Default: `gene_name` if there is one, or else the
            /// names of `var`.
            pub fn gene_names(mut self, column: impl Into<String>) -> Self {
                self.origin.gene_names = Some(column.into());
                self
            }

            /// Genes of a cell at most, the highest first. Default: all.
            pub fn max_len(mut self, genes: usize) -> Self {
                self.origin.max_len = Some(genes);
                self
            }

            /// The order of genes of equal rank. Default: that of the slide.
            pub fn ties(mut self, order: $crate::models::spatialformer::TieOrder) -> Self {
                self.origin.ties = order;
                self
            }
        }
    };
}
pub(super) use origin_of;

impl Origin {
    /// The tokens of the prefix.
    pub fn tokens(&self, vocabulary: &Vocabulary) -> Result<[u32; 4]> {
        if self.max_len == Some(0) {
            return Err(Error::parameter("max_len", 0, "must be at least 1"));
        }
        vocabulary.origin(&self.condition, &self.tissue, &self.species, &self.assay)
    }

    pub fn tokenizer<'a>(
        &self,
        adata: &'a AnnData,
        vocabulary: &Vocabulary,
    ) -> Result<Tokenizer<'a>> {
        Tokenizer::new(adata, vocabulary, self.gene_names.as_deref(), self.ties)
    }
}

/// How [`embed`] works. A builder with the released code's arguments.
#[derive(Debug, Clone, PartialEq)]
pub struct Embed {
    pub(super) origin: Origin,
    pooling: Pooling,
    batch_size: usize,
    key_added: String,
    keep: Option<PathBuf>,
}

impl Default for Embed {
    fn default() -> Self {
        Embed {
            origin: Origin::default(),
            pooling: Pooling::Cls,
            batch_size: 32,
            key_added: "X_SpaF".into(),
            keep: None,
        }
    }
}

origin_of!(Embed);

impl Embed {
    /// What an embedding is made of. Default: the state of `<CLS>`.
    pub fn pooling(mut self, pooling: Pooling) -> Self {
        self.pooling = pooling;
        self
    }

    /// Cells between two looks for an interrupt, which are computed together. Default: 32.
    pub fn batch_size(mut self, cells: usize) -> Self {
        self.batch_size = cells;
        self
    }

    /// The key in `obsm`. Default: `X_SpaF`.
    pub fn key_added(mut self, key: impl Into<String>) -> Self {
        self.key_added = key.into();
        self
    }

    /// At most so many genes of a cell, or fewer if fewer were asked for.
    pub(super) fn at_most(mut self, genes: usize) -> Self {
        self.origin.max_len = Some(self.origin.max_len.map_or(genes, |n| n.min(genes)));
        self
    }

    /// The tokens of every cell, as [`embed`] takes them.
    ///
    /// # Errors
    /// As [`embed`].
    pub fn tokens(&self, adata: &AnnData, model: &SpatialFormer) -> Result<Sequences> {
        let vocabulary = model.vocabulary()?;
        let origin = self.origin.tokens(vocabulary)?;
        let tokenizer = self.origin.tokenizer(adata, vocabulary)?;
        let cells: Vec<usize> = (0..adata.n_obs()).collect();
        let mut all = Sequences::default();
        for genes in tokenizer.rank(&cells, self.origin.max_len)? {
            all.push_cell(origin, &genes, vocabulary.separator());
        }
        Ok(all)
    }

    /// Keeps what is done in a file below this folder, so that an interrupted run goes on where it
    /// stopped, and a second one of the same cells reads it. Default: nothing is kept.
    pub fn keep(mut self, folder: impl Into<PathBuf>) -> Self {
        self.keep = Some(folder.into());
        self
    }
}

/// What [`embed`] did.
#[derive(Debug, Clone, PartialEq)]
pub struct Embedded {
    /// Cells of the slide.
    pub cells: usize,
    /// Genes of the slide that the vocabulary has.
    pub known_genes: usize,
    /// The names of those that it lacks, which are left out as if they were not measured.
    pub unknown_genes: Vec<String>,
    /// The names of cells in which none of the known genes is expressed. Their embedding is that of an
    /// empty cell of this tissue: all of them have the same.
    pub empty_cells: Vec<String>,
    /// Numbers of an embedding.
    pub width: usize,
    /// Cells whose embedding was kept from an earlier run.
    pub from_before: usize,
    /// Seconds that it took.
    pub seconds: f64,
}

impl Embedded {
    fn rows(&self) -> Vec<(&'static str, String)> {
        let all = self.known_genes + self.unknown_genes.len();
        let mut genes = format!("{} of {all} in the vocabulary", self.known_genes);
        if !self.unknown_genes.is_empty() {
            let some: Vec<&str> = self.unknown_genes.iter().take(5).map(String::as_str).collect();
            let more = if self.unknown_genes.len() > 5 { ", …" } else { "" };
            genes += &format!("; not: {}{more}", some.join(", "));
        }
        vec![
            ("cells", self.cells.to_string()),
            ("genes", genes),
            ("empty cells", self.empty_cells.len().to_string()),
            ("numbers a cell", self.width.to_string()),
            ("kept before", self.from_before.to_string()),
            ("seconds", format!("{:.1}", self.seconds)),
        ]
    }
}

shows_rows!(Embedded, |_| "SpatialFormer embeddings", 14);

/// Embeds each cell: `embed_data(…, mode="single")` of the released code.
///
/// A cell becomes the tokens of where it comes from and of its genes, the highest expression (divided by
/// the gene's median) first; the network's last states become its embedding.
///
/// Reads X (counts or expression of any scale: only the order within a cell counts). Writes
/// `obsm["X_SpaF"]`, cells × dim, and `uns["spatialformer"]`, the settings.
///
/// Matches `spatialformer` 0.1.8 on PyTorch 2.15 within 5e-5 on a small network and 1e-3 at the published
/// size, and does what its documentation says where that release does not: the assay is that given, a
/// first cell of two genes is no pair, ties have one order ([`TieOrder`]).
///
/// # Errors
/// [`Error::Data`] when no gene is in the vocabulary, when there is no vocabulary, or for expression that
/// is no number; [`Error::Parameter`] for a tissue, condition, species or assay that the vocabulary lacks,
/// listing those it has; [`Error::MissingKey`] without the column of gene names;
/// [`Error::Interrupted`](Error::Interrupted): with [`keep`](Embed::keep) the next run goes on.
pub fn embed(adata: &mut AnnData, model: &SpatialFormer, options: &Embed) -> Result<Embedded> {
    let start = Instant::now();
    let vocabulary = model.vocabulary()?;
    if options.batch_size == 0 {
        return Err(Error::parameter("batch_size", 0, "must be at least 1"));
    }
    let origin = options.origin.tokens(vocabulary)?;
    let tokenizer = options.origin.tokenizer(adata, vocabulary)?;
    let (n, dim) = (adata.n_obs(), model.config().dim);
    let mut kept = match &options.keep {
        Some(folder) => {
            let fingerprint = format!("{} {:?}", model.fingerprint()?, options.pooling);
            Some(Kept::open(folder, "spatialformer", &fingerprint, dim)?)
        }
        None => None,
    };
    let mut values = vec![0f32; n * dim];
    let mut done = Embedded {
        cells: n,
        known_genes: tokenizer.known(),
        unknown_genes: tokenizer.unknown.clone(),
        empty_cells: Vec::new(),
        width: dim,
        from_before: 0,
        seconds: 0.0,
    };
    let mut progress = Progress::new("SpatialFormer cells", n as u64);
    for first in (0..n).step_by(options.batch_size) {
        let cells: Vec<usize> = (first..n.min(first + options.batch_size)).collect();
        let ranked = tokenizer.rank(&cells, options.origin.max_len)?;
        let (mut batch, mut keys) = (Sequences::default(), Vec::new());
        for (&cell, genes) in cells.iter().zip(&ranked) {
            if genes.is_empty() {
                done.empty_cells.push(adata.obs.names()[cell].clone());
            }
            let key = kept.as_ref().map(|_| key(origin, genes));
            if let (Some(kept), Some(key)) = (&kept, &key)
                && let Some(found) = kept.get(key)?
            {
                values[cell * dim..(cell + 1) * dim].copy_from_slice(&found);
                done.from_before += 1;
                continue;
            }
            keys.push((cell, key));
            batch.push_cell(origin, genes, vocabulary.separator());
        }
        let embedded = pooled(model, &batch, options.pooling)?;
        for ((cell, key), row) in keys.into_iter().zip(embedded.chunks_exact(dim)) {
            values[cell * dim..(cell + 1) * dim].copy_from_slice(row);
            if let (Some(kept), Some(key)) = (&mut kept, key) {
                kept.add(key, row);
            }
        }
        kept.as_mut().map_or(Ok(()), Kept::flush)?;
        progress.tick(cells.len() as u64)?;
    }
    progress.finish();
    let matrix = Matrix::Dense(Dense::new(n, dim, values)?);
    adata.obsm.insert(options.key_added.clone(), matrix);
    adata.uns.insert("spatialformer".into(), settings(options));
    done.seconds = start.elapsed().as_secs_f64();
    Ok(done)
}

/// The embeddings of some sequences, one behind the other.
fn pooled(model: &SpatialFormer, batch: &Sequences, pooling: Pooling) -> Result<Vec<f32>> {
    Ok(match pooling {
        Pooling::Cls => model.first_states(batch)?.into_raw_vec_and_offset().0,
        Pooling::Gene => {
            let states = model.all_states(batch)?;
            let means =
                batch.spans().into_iter().flat_map(|span| gene_mean(states.slice(s![span, ..])));
            means.map(|v| v as f32).collect()
        }
    })
}

/// What distinguishes a cell from others.
fn key(origin: [u32; 4], genes: &[u32]) -> [u8; 32] {
    let mut hash = Sha256::new();
    for token in origin.iter().chain(genes) {
        hash.update(token.to_le_bytes());
    }
    hash.finalize().into()
}

fn settings(options: &Embed) -> Value {
    let o = &options.origin;
    let method = match options.pooling {
        Pooling::Cls => "cls",
        Pooling::Gene => "gene",
    };
    let texts = [
        ("tissue", o.tissue.as_str()),
        ("condition", &o.condition),
        ("species", &o.species),
        ("assay", &o.assay),
        ("method", method),
    ];
    Value::Map(texts.map(|(k, v)| (k.to_string(), Value::Str(v.into()))).into_iter().collect())
}
