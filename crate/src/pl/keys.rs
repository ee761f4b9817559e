//! What colours the points of a map: a column of `obs`, a gene, or values given by hand.

use super::palette::{Color, Palette};
use crate::anndata::{AnnData, Categorical, Column, Matrix, Value, Values};
use crate::error::{Error, Result};

/// Names one thing to colour by.
#[derive(Debug, Clone, PartialEq)]
pub struct Key {
    name: String,
    layer: Option<String>,
    symbols: Option<String>,
    raw: bool,
    given: Option<Given>,
}

#[derive(Debug, Clone, PartialEq)]
enum Given {
    Numbers(Vec<f64>),
    Labels(Categorical),
}

impl Key {
    /// The column of `obs`, or else the gene, of that name, which only one gene may have.
    pub fn new(name: impl Into<String>) -> Self {
        Key { name: name.into(), layer: None, symbols: None, raw: true, given: None }
    }

    /// Takes a gene from `layers[layer]` instead of `raw` or `X`.
    pub fn layer(mut self, layer: impl Into<String>) -> Self {
        self.layer = Some(layer.into());
        self
    }

    /// Looks the gene up in that column of `var` instead of among the names of genes (scanpy's
    /// `gene_symbols`).
    pub fn gene_symbols(mut self, column: impl Into<String>) -> Self {
        self.symbols = Some(column.into());
        self
    }

    /// Whether a gene is taken from `raw` where there is one (on by default, as in scanpy).
    pub fn use_raw(mut self, on: bool) -> Self {
        self.raw = on;
        self
    }
}

/// Numbers to colour by that are in no slot, e.g. a prediction; one for each observation.
pub fn values(name: impl Into<String>, numbers: Vec<f64>) -> Key {
    Key { given: Some(Given::Numbers(numbers)), ..Key::new(name) }
}

/// Labels to colour by that are in no slot; one for each observation.
pub fn labels(name: impl Into<String>, labels: Categorical) -> Key {
    Key { given: Some(Given::Labels(labels)), ..Key::new(name) }
}

/// One key or several: a name, a list of names, a [`Key`], or `()` for none.
pub trait Keys {
    /// The keys, one for each panel.
    fn keys(self) -> Vec<Key>;
}

impl Keys for () {
    fn keys(self) -> Vec<Key> {
        Vec::new()
    }
}

impl Keys for Key {
    fn keys(self) -> Vec<Key> {
        vec![self]
    }
}

impl Keys for Vec<Key> {
    fn keys(self) -> Vec<Key> {
        self
    }
}

impl<const N: usize> Keys for [Key; N] {
    fn keys(self) -> Vec<Key> {
        self.into()
    }
}

macro_rules! names {
    ($($(#[$n:ident])? $ty:ty => |$s:ident| $list:expr;)*) => {$(
        impl $(<const $n: usize>)? Keys for $ty {
            fn keys(self) -> Vec<Key> {
                let $s = self;
                $list.map(|name| Key::new(name.to_string())).collect()
            }
        }
    )*};
}

names! {
    &str => |s| std::iter::once(s);
    String => |s| std::iter::once(s);
    &String => |s| std::iter::once(s);
    &[&str] => |s| s.iter();
    &[String] => |s| s.iter();
    Vec<&str> => |s| s.into_iter();
    Vec<String> => |s| s.into_iter();
    &Vec<&str> => |s| s.iter();
    &Vec<String> => |s| s.iter();
    #[N] [&str; N] => |s| s.into_iter();
    #[N] &[&str; N] => |s| s.iter();
    #[N] [String; N] => |s| s.into_iter();
    #[N] &[String; N] => |s| s.iter();
}

/// What a panel's points are coloured by.
#[derive(Debug, Clone)]
pub(crate) enum Paint {
    Numbers(Vec<f64>),
    Labels { codes: Vec<i32>, categories: Vec<String>, stored: Option<Vec<String>> },
}

impl Paint {
    /// Looks a key up: in `obs`, then among the genes.
    pub fn of(adata: &AnnData, key: &Key) -> Result<Paint> {
        let name = key.name.as_str();
        match &key.given {
            Some(Given::Numbers(v)) => {
                length(name, v.len(), adata.n_obs())?;
                return Ok(Paint::Numbers(v.clone()));
            }
            Some(Given::Labels(c)) => {
                length(name, c.codes.len(), adata.n_obs())?;
                return Ok(Paint::labels(c.clone(), None));
            }
            None => {}
        }
        if let Some(column) = adata.obs.get(name) {
            let is_bool = matches!(
                column,
                Column::Values(Values::Bool(_)) | Column::Nullable { values: Values::Bool(_), .. }
            );
            if let (false, Some(numbers)) = (is_bool, column.to_f64()) {
                return Ok(Paint::Numbers(numbers));
            }
            let stored = match adata.uns.get(&format!("{name}_colors")) {
                Some(Value::StrArray { values, .. }) => Some(values.clone()),
                _ => None,
            };
            return Ok(Paint::labels(column.to_categorical(), stored));
        }
        let (matrix, index) = gene(adata, key)?;
        Ok(Paint::Numbers(matrix.column_f32(index).into_iter().map(f64::from).collect()))
    }

    fn labels(c: Categorical, stored: Option<Vec<String>>) -> Paint {
        Paint::Labels { codes: c.codes, categories: c.categories, stored }
    }

    /// For how many observations it holds.
    pub fn len(&self) -> usize {
        match self {
            Paint::Numbers(v) => v.len(),
            Paint::Labels { codes, .. } => codes.len(),
        }
    }

    /// A colour for each category; see [`Palette::resolve`].
    pub fn colors(&self, palette: &Palette) -> Result<Vec<Option<Color>>> {
        match self {
            Paint::Numbers(_) => Ok(Vec::new()),
            Paint::Labels { categories, stored, .. } => {
                palette.resolve(categories, stored.as_deref())
            }
        }
    }
}

impl From<&str> for Key {
    fn from(name: &str) -> Self {
        Key::new(name)
    }
}

impl From<String> for Key {
    fn from(name: String) -> Self {
        Key::new(name)
    }
}

impl Key {
    pub(crate) fn name(&self) -> &str {
        &self.name
    }

    /// The column of `obs` of that name, or the labels or numbers that were given by hand.
    pub(super) fn obs_column(&self, adata: &AnnData) -> Result<Column> {
        let column: Column = match &self.given {
            Some(Given::Labels(c)) => c.clone().into(),
            Some(Given::Numbers(v)) => v.clone().into(),
            None => adata.obs_column(&self.name)?.clone(),
        };
        length(&self.name, column.len(), adata.n_obs())?;
        Ok(column)
    }
}

fn length(name: &str, found: usize, expected: usize) -> Result<()> {
    if found == expected {
        return Ok(());
    }
    Err(Error::shape(format!("values `{name}`"), format!("{expected} (one a spot)"), found))
}

/// The matrix that has a gene, and which of its columns that is.
pub(super) fn gene<'a>(adata: &'a AnnData, key: &Key) -> Result<(&'a Matrix, usize)> {
    let name = &resolved(adata, key)?;
    if let Some(layer) = &key.layer {
        let matrix = adata.layer(layer)?;
        return Ok((matrix, position(adata, name)?));
    }
    if let (true, Some(raw)) = (key.raw, &adata.raw) {
        match raw.var.position("raw.var", name) {
            // A gene that only `X` has is taken from there.
            Err(Error::MissingKey { .. }) => {}
            found => return Ok((&raw.x, found?)),
        }
    }
    let index = position(adata, name)?;
    Ok((adata.x()?, index))
}

/// The gene's name among `var`'s, by its symbol where a column of those was named.
fn resolved(adata: &AnnData, key: &Key) -> Result<String> {
    let Some(symbols) = &key.symbols else { return Ok(key.name.clone()) };
    let column = adata.var_column(symbols)?;
    let mut found = (0..column.len()).filter(|&i| column.text(i).as_deref() == Some(&key.name));
    match (found.next(), found.next()) {
        (Some(i), None) => Ok(adata.var.names()[i].clone()),
        (Some(_), Some(_)) => Err(shared_symbol(&key.name)),
        (None, _) => {
            let all: Vec<String> = (0..column.len()).filter_map(|i| column.text(i)).collect();
            let alike: Vec<&str> = alike(&all, &key.name);
            Err(Error::missing_key("var", "gene symbol", &key.name, alike))
        }
    }
}

/// Nobody can say which gene is meant by the symbol of several.
pub(super) fn shared_symbol(name: &str) -> Error {
    Error::parameter("gene_symbols", name, "several genes have that symbol: name the gene itself")
}

/// The gene's position, or an error that lists the columns of `obs` and genes that are alike, or
/// says that several genes have the name.
fn position(adata: &AnnData, name: &str) -> Result<usize> {
    adata.var_index(name).map_err(|e| {
        if !matches!(e, Error::MissingKey { .. }) {
            return e;
        }
        let columns = adata.obs.columns().map(|(k, _)| format!("obs[\"{k}\"]"));
        let genes = alike(adata.var.names(), name).into_iter().map(|g| format!("gene {g}"));
        let available: Vec<String> = genes.chain(columns).collect();
        Error::missing_key("AnnData", "column of obs or gene", name, available)
    })
}

/// Up to five names that are likely meant: the same in another case, or a letter or two off.
pub(super) fn alike<'a>(names: &'a [String], name: &str) -> Vec<&'a str> {
    let wanted: Vec<char> = name.to_lowercase().chars().collect();
    let limit = (wanted.len() / 3).clamp(1, 2);
    let mut scored: Vec<(usize, &str)> = names
        .iter()
        .filter(|n| n.len().abs_diff(name.len()) <= limit)
        .map(|n| (distance(&wanted, &n.to_lowercase().chars().collect::<Vec<_>>()), n.as_str()))
        .filter(|(d, _)| *d <= limit)
        .collect();
    scored.sort();
    scored.into_iter().take(5).map(|s| s.1).collect()
}

/// Levenshtein's distance.
fn distance(a: &[char], b: &[char]) -> usize {
    let mut row: Vec<usize> = (0..=b.len()).collect();
    for i in 1..=a.len() {
        let mut diagonal = row[0];
        row[0] = i;
        for j in 1..=b.len() {
            let change = diagonal + usize::from(a[i - 1] != b[j - 1]);
            diagonal = row[j];
            row[j] = change.min(row[j] + 1).min(row[j - 1] + 1);
        }
    }
    row[b.len()]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_that_are_a_letter_off_are_found() {
        let names: Vec<String> = ["MBP", "MOBP", "PCP4", "SNAP25"].map(String::from).into();
        assert_eq!(alike(&names, "mbp")[0], "MBP");
        assert_eq!(alike(&names, "SNAP52"), ["SNAP25"]);
        assert!(alike(&names, "xyz").is_empty());
    }

    #[test]
    fn keys_come_in_many_forms() {
        assert_eq!("a".keys().len(), 1);
        assert_eq!(["a", "b"].keys().len(), 2);
        assert_eq!((&["a", "b"]).keys().len(), 2);
        assert_eq!(vec!["a".to_string()].keys().len(), 1);
        assert!(().keys().is_empty());
    }
}
