//! [`Vocabulary`]: tokens by name, and what the expression of each gene is divided by.
//!
//! ```text
//! <PAD> <CLS> <MASK> │ species │ assays │ tissues │ conditions │ genes, and <SEP> among them
//! 0     1     2        3…4       5…7      8…24      25…26        27…
//! ```

use crate::anndata::{AnnData, Column};
use crate::error::{Error, Result};
use crate::io;
use std::collections::HashMap;
use std::path::{Path, PathBuf};

/// The token that fills up short sequences.
pub(super) const PAD: u32 = 0;
/// The token that stands for the whole cell or pair of cells.
pub(super) const CLS: u32 = 1;
/// The token that stands for a hidden one.
pub(super) const MASK: u32 = 2;
/// The names of what is no gene, in the order of the released vocabulary.
const SPECIAL: [&str; 27] = [
    "<PAD>",
    "<CLS>",
    "<MASK>",
    "Human",
    "Mouse",
    "Merfish",
    "Xenium",
    "CosMx",
    "Lung",
    "Bone",
    "Brain",
    "Breast",
    "Cervix",
    "Colon",
    "Heart",
    "Liver",
    "Lymph Node",
    "Ovary",
    "Pancreas",
    "Prostate",
    "Skin",
    "Tonsil",
    "Kidney",
    "LymphNode",
    "BoneMarrow",
    "Healthy",
    "Disease",
];
const SPECIES: std::ops::Range<usize> = 3..5;
const ASSAYS: std::ops::Range<usize> = 5..8;
const TISSUES: std::ops::Range<usize> = 8..25;
const CONDITIONS: std::ops::Range<usize> = 25..27;

/// Where the package keeps its tables.
const TOKENS: &str = "tokenizer/tokenv5.json";
const MEDIANS: &str = "data/gene_median.pkl";
/// Larger than any table of the package.
const LARGEST: u64 = 64 << 20;

/// The tokens that a [`SpatialFormer`](super::SpatialFormer) knows, and the median expression of genes,
/// by which expression is divided before genes are ranked.
#[derive(Debug, Clone, PartialEq)]
pub struct Vocabulary {
    names: Vec<String>,
    ids: HashMap<String, u32>,
    separator: u32,
    medians: HashMap<String, f64>,
}

impl Vocabulary {
    /// The tables of the Python package `spatialformer` 0.1.8: its folder (as installed), its wheel, or
    /// a JSON file of tokens alone, with which every median is 1.
    ///
    /// # Errors
    /// [`Error::Io`] when there is no such file, [`Error::Format`] when it does not hold such tables.
    pub fn open(path: impl AsRef<Path>) -> Result<Self> {
        let path = path.as_ref();
        if path.is_dir() {
            let (tokens, medians) = (path.join(TOKENS), path.join(MEDIANS));
            let bytes = std::fs::read(&tokens).map_err(|e| {
                Error::io(&tokens, e).with_hint("This is not the folder of `spatialformer` 0.1.8")
            })?;
            return Vocabulary::parse(&tokens, &bytes)?.with_medians(medians);
        }
        let is = |ending: &str| path.extension().is_some_and(|e| e.eq_ignore_ascii_case(ending));
        if is("whl") || is("zip") {
            let entry = |name: &str| io::zip_entry(path, &format!("spatialformer/{name}"), LARGEST);
            let mut vocabulary = Vocabulary::parse(path, &entry(TOKENS)?)?;
            vocabulary.medians = medians(path, &io::pickle_from(path, entry(MEDIANS)?)?)?;
            return Ok(vocabulary);
        }
        let bytes = std::fs::read(path).map_err(|e| Error::io(path, e))?;
        Vocabulary::parse(path, &bytes)
    }

    /// The tables of the package where it is found: the folder or wheel that `SPATIALKIT_SPATIALFORMER`
    /// names; a wheel in the folder `spatialformer` of the library's cache; the package as installed in
    /// the Python environment that is active.
    ///
    /// # Errors
    /// [`Error::Data`] saying how to get it; those of [`open`](Vocabulary::open).
    pub fn installed() -> Result<Self> {
        Vocabulary::open(package()?)
    }

    /// The special tokens and these genes, in this order, each once: for training on panels of one's own.
    pub fn of_genes<S: AsRef<str>>(genes: impl IntoIterator<Item = S>) -> Self {
        let mut names: Vec<String> = SPECIAL.map(Into::into).into();
        names.push("<SEP>".into());
        let mut ids: HashMap<String, u32> =
            names.iter().enumerate().map(|(i, n)| (n.clone(), i as u32)).collect();
        for gene in genes {
            let gene = gene.as_ref();
            if !ids.contains_key(gene) {
                ids.insert(gene.into(), names.len() as u32);
                names.push(gene.into());
            }
        }
        let separator = SPECIAL.len() as u32;
        Vocabulary { names, ids, separator, medians: HashMap::new() }
    }

    /// Replaces the medians by those of a pickle of the package (a dictionary from gene to number). Genes
    /// that it does not name keep 1.
    ///
    /// # Errors
    /// [`Error::Io`] when it cannot be read, [`Error::Format`] when it holds anything else.
    pub fn with_medians(mut self, path: impl AsRef<Path>) -> Result<Self> {
        let path = path.as_ref();
        self.medians = medians(path, &io::read_pickle(path)?)?;
        Ok(self)
    }

    /// Replaces the medians by these.
    ///
    /// # Errors
    /// [`Error::Data`] naming a gene whose median is not above 0.
    pub fn with_gene_medians<S: Into<String>>(
        mut self,
        medians: impl IntoIterator<Item = (S, f64)>,
    ) -> Result<Self> {
        self.medians = medians.into_iter().map(|(gene, m)| (gene.into(), m)).collect();
        match self.medians.iter().filter(|(_, m)| !(**m > 0.0 && m.is_finite())).min_by_key(|m| m.0)
        {
            Some((gene, m)) => {
                let reason = format!("is {m}: expression cannot be divided by it");
                Err(Error::data(format!("the median of gene `{gene}`"), reason))
            }
            None => Ok(self),
        }
    }

    /// Replaces the medians by those of a slide: of each gene that of its expression (`X`) over the cells that
    /// express it. Where nothing else is known of a panel's genes, this is what makes a gene that is high
    /// everywhere rank no higher than others.
    ///
    /// # Errors
    /// [`Error::MissingKey`] without `X`; [`Error::Data`] naming a gene whose median is not above 0.
    pub fn with_medians_of(self, adata: &AnnData) -> Result<Self> {
        let (names, _) = gene_names(adata, None)?;
        let x = adata.x()?.to_csc();
        let mut medians = Vec::new();
        for (name, span) in names.into_iter().zip(x.indptr.windows(2)) {
            let values = (span[0]..span[1]).map(|k| x.values.get_f64(k));
            let mut values: Vec<f64> = values.filter(|v| *v != 0.0).collect();
            if !values.is_empty() {
                values.sort_by(f64::total_cmp);
                let n = values.len();
                medians.push((name, (values[(n - 1) / 2] + values[n / 2]) / 2.0));
            }
        }
        self.with_gene_medians(medians)
    }

    fn parse(path: &Path, bytes: &[u8]) -> Result<Self> {
        let wrong = |reason: String| {
            Error::format(path, reason)
                .with_hint("A vocabulary is one JSON object from token to number, from 0 on")
        };
        let tokens: HashMap<String, u32> = serde_json::from_slice(bytes)
            .map_err(|e| wrong(format!("is no table of tokens ({e})")))?;
        Vocabulary::from_ids(tokens).map_err(wrong)
    }

    /// From tokens and their numbers; the reason why they are no vocabulary.
    pub(super) fn from_ids(ids: HashMap<String, u32>) -> Result<Self, String> {
        let mut names: Vec<Option<&String>> = vec![None; ids.len()];
        for (name, &id) in &ids {
            let slot = names.get_mut(id as usize);
            let slot = slot
                .ok_or_else(|| format!("token `{name}` is number {id} of {} tokens", ids.len()))?;
            if let Some(other) = slot.replace(name) {
                let (a, b) = if name < other { (name, other) } else { (other, name) };
                return Err(format!("tokens `{a}` and `{b}` are both number {id}"));
            }
        }
        for (id, special) in SPECIAL.into_iter().enumerate() {
            if ids.get(special).copied() != Some(id as u32) {
                return Err(format!("token number {id} must be `{special}`"));
            }
        }
        let separator = *ids.get("<SEP>").ok_or("it has no token `<SEP>`")?;
        let names = names.into_iter().flatten().cloned().collect();
        Ok(Vocabulary { names, ids, separator, medians: HashMap::new() })
    }

    /// Number of tokens.
    pub fn len(&self) -> usize {
        self.names.len()
    }

    /// Never: there are always the special tokens.
    pub fn is_empty(&self) -> bool {
        self.names.is_empty()
    }

    /// The tokens in the order of their numbers.
    pub fn names(&self) -> &[String] {
        &self.names
    }

    /// The name of a token.
    pub fn name(&self, id: u32) -> Option<&str> {
        self.names.get(id as usize).map(String::as_str)
    }

    /// The number of a token.
    pub fn id(&self, name: &str) -> Option<u32> {
        self.ids.get(name).copied()
    }

    /// The number of the token that ends a cell.
    pub fn separator(&self) -> u32 {
        self.separator
    }

    /// Whether a token is a gene.
    pub fn is_gene(&self, id: u32) -> bool {
        id as usize >= SPECIAL.len() && id != self.separator && (id as usize) < self.names.len()
    }

    /// The token of a gene.
    pub(super) fn gene(&self, name: &str) -> Option<u32> {
        self.id(name).filter(|&id| self.is_gene(id))
    }

    /// What the expression of a gene is divided by; 1 where nothing is known.
    pub fn median(&self, gene: &str) -> f64 {
        self.medians.get(gene).copied().unwrap_or(1.0)
    }

    /// The tissues there are tokens of.
    pub fn tissues(&self) -> &[String] {
        &self.names[TISSUES]
    }

    /// The assays there are tokens of.
    pub fn assays(&self) -> &[String] {
        &self.names[ASSAYS]
    }

    /// The tokens of what a cell comes from: condition, tissue, species, assay.
    pub(super) fn origin(
        &self,
        condition: &str,
        tissue: &str,
        species: &str,
        assay: &str,
    ) -> Result<[u32; 4]> {
        let find = |name: &'static str, value: &str, range: std::ops::Range<usize>| {
            let known = &self.names[range.clone()];
            match known.iter().position(|k| k == value) {
                Some(i) => Ok((range.start + i) as u32),
                None => {
                    let reason = format!("is not in the vocabulary; it has: {}", known.join(", "));
                    Err(Error::parameter(name, format!("`{value}`"), reason))
                }
            }
        };
        Ok([
            find("condition", condition, CONDITIONS)?,
            find("tissue", tissue, TISSUES)?,
            find("species", species, SPECIES)?,
            find("assay", assay, ASSAYS)?,
        ])
    }

    /// The genes with a median other than 1, in the order of their names.
    pub(super) fn known_medians(&self) -> Vec<(&str, f64)> {
        let mut all: Vec<(&str, f64)> = self
            .medians
            .iter()
            .filter(|(_, m)| **m != 1.0)
            .map(|(g, &m)| (g.as_str(), m))
            .collect();
        all.sort_by(|a, b| a.0.cmp(b.0));
        all
    }
}

/// The dictionary of a pickle of medians.
fn medians(path: &Path, value: &io::PyValue) -> Result<HashMap<String, f64>> {
    let wrong = |reason: &str| {
        Error::format(path, reason)
            .with_hint("Medians are a dictionary from gene to number above 0")
    };
    let entries = value.as_dict().ok_or_else(|| wrong("holds no dictionary of medians"))?;
    let entry = |(gene, median): &(io::PyValue, io::PyValue)| {
        let gene = gene.as_str().ok_or_else(|| wrong("a key of its dictionary is no text"))?;
        match median.as_f64() {
            Some(m) if m > 0.0 && m.is_finite() => Ok((gene.to_string(), m)),
            _ => Err(wrong(&format!("the median of gene `{gene}` is no number above 0"))),
        }
    };
    entries.iter().map(entry).collect()
}

/// Where the Python package lies.
fn package() -> Result<PathBuf> {
    let set = |name: &str| std::env::var_os(name).filter(|v| !v.is_empty()).map(PathBuf::from);
    if let Some(path) = set("SPATIALKIT_SPATIALFORMER") {
        return Ok(path);
    }
    let cache = io::cache_folder().join("spatialformer");
    let listed = |folder: &Path| -> Vec<PathBuf> {
        let entries = std::fs::read_dir(folder).into_iter().flatten().flatten();
        let mut paths: Vec<PathBuf> = entries.map(|e| e.path()).collect();
        paths.sort();
        paths
    };
    let wheel = listed(&cache).into_iter().rfind(|p| {
        p.extension().is_some_and(|e| e == "whl")
            && p.file_name().is_some_and(|n| n.to_string_lossy().starts_with("spatialformer-"))
    });
    if let Some(wheel) = wheel {
        return Ok(wheel);
    }
    for prefix in ["VIRTUAL_ENV", "CONDA_PREFIX"].into_iter().filter_map(set) {
        for python in listed(&prefix.join("lib")) {
            let package = python.join("site-packages/spatialformer");
            if package.join(TOKENS).is_file() {
                return Ok(package);
            }
        }
    }
    let reason = format!(
        "is not on this machine. Get it with `python3 -m pip download --no-deps spatialformer==0.1.8 -d \
         {}`, or name its folder or wheel in SPATIALKIT_SPATIALFORMER",
        cache.display()
    );
    Err(Error::data("the vocabulary of SpatialFormer (Python package `spatialformer`)", reason))
}

/// The names of a slide's genes, and the column of `var` that they are in if they are not its own: `column`,
/// or without it `gene_name` where there is such a one.
pub(super) fn gene_names<'a>(
    adata: &AnnData,
    column: Option<&'a str>,
) -> Result<(Vec<String>, Option<&'a str>)> {
    let column = column.or_else(|| adata.var.contains("gene_name").then_some("gene_name"));
    let Some(name) = column else { return Ok((adata.var.names().to_vec(), None)) };
    let values: &Column = adata.var_column(name)?;
    let missing = |i: usize| {
        let reason = format!("gene `{}` has no name there", adata.var.names()[i]);
        Error::data(format!("var[\"{name}\"]"), reason)
    };
    let text = |i| values.text(i).ok_or_else(|| missing(i));
    Ok(((0..values.len()).map(text).collect::<Result<_>>()?, column))
}
