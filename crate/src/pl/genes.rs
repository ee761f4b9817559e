//! [`Genes`]: which genes a figure shows, and from where their values come; and the table of
//! those values, cells × genes.

use super::heat::Bracket;
use super::keys::{alike, shared_symbol};
use crate::anndata::{AnnData, Frame, Map, Matrix, with_values};
use crate::error::{Error, Result};
use crate::parallel::for_each_chunk;

/// The genes (or numbers of `obs`) that a figure shows, as a list or in named groups.
///
/// A name that several genes have is an error when the figure is drawn.
///
/// Made from a name, a list of names, or a list of groups with their names, as Python's dict:
///
/// ```
/// use spatialkit::pl::Genes;
/// let list = Genes::from(["MBP", "PCP4"]);
/// let groups = Genes::from([("white matter", vec!["MBP", "MOBP"]), ("L5", vec!["PCP4"])]);
/// let counts = groups.layer("counts");
/// ```
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Genes {
    names: Vec<String>,
    groups: Vec<(String, usize, usize)>,
    layer: Option<String>,
    raw: Option<bool>,
    symbols: Option<String>,
}

impl Genes {
    /// The genes of that list.
    pub fn new<S: ToString>(names: impl IntoIterator<Item = S>) -> Self {
        Genes { names: names.into_iter().map(|n| n.to_string()).collect(), ..Genes::default() }
    }

    /// The genes of several groups, in their order; each group gets a bracket with its name. A
    /// gene may be in several.
    pub fn groups<L: ToString, S: ToString>(groups: impl IntoIterator<Item = (L, Vec<S>)>) -> Self {
        let mut genes = Genes::default();
        for (label, names) in groups {
            let from = genes.names.len();
            genes.names.extend(names.into_iter().map(|n| n.to_string()));
            // A group without genes has nothing to put a bracket over.
            if genes.names.len() > from {
                genes.groups.push((label.to_string(), from, genes.names.len() - 1));
            }
        }
        genes
    }

    /// Takes the values from `layers[layer]`.
    pub fn layer(mut self, layer: impl Into<String>) -> Self {
        self.layer = Some(layer.into());
        self
    }

    /// Whether values come from `raw` (by default where there is one and no layer is asked for,
    /// as in scanpy).
    pub fn use_raw(mut self, on: bool) -> Self {
        self.raw = Some(on);
        self
    }

    /// Looks names up in that column of `var` instead of among the names of genes.
    pub fn gene_symbols(mut self, column: impl Into<String>) -> Self {
        self.symbols = Some(column.into());
        self
    }

    /// Brackets over positions of the list, from and to inclusive (scanpy's `var_group_labels`
    /// and `var_group_positions`).
    pub fn var_groups<S: ToString>(
        mut self,
        groups: impl IntoIterator<Item = (S, usize, usize)>,
    ) -> Self {
        self.groups = groups.into_iter().map(|(l, a, b)| (l.to_string(), a, b)).collect();
        self
    }

    pub(super) fn names(&self) -> &[String] {
        &self.names
    }

    pub(super) fn brackets(&self) -> Result<Vec<Bracket>> {
        let n = self.names.len();
        let bracket = |(text, from, to): &(String, usize, usize)| {
            if from <= to && *to < n {
                return Ok(Bracket { from: *from, to: *to, text: text.clone() });
            }
            let reason = format!("must run from a position to a later one below {n}");
            Err(Error::parameter("var_groups", format!("{text}: {from} to {to}"), reason))
        };
        self.groups.iter().map(bracket).collect()
    }

    /// The values: cells × different genes, row after row, and for each gene its column.
    pub(super) fn values(&self, adata: &AnnData) -> Result<(Vec<f64>, Vec<usize>)> {
        if self.names.is_empty() {
            return Err(Error::parameter("var_names", "[]", "there are no genes to show"));
        }
        if let (Some(layer), Some(true)) = (&self.layer, self.raw) {
            let reason = "`raw` has no layers: ask for one of the two";
            return Err(Error::parameter("layer", layer, reason));
        }
        let raw = match (&adata.raw, self.raw, &self.layer) {
            (Some(raw), None | Some(true), None) => Some(raw),
            (None, Some(true), _) => {
                return Err(Error::parameter("use_raw", true, "there is no `raw`"));
            }
            _ => None,
        };
        let (matrix, slot, var) = match (raw, &self.layer) {
            (Some(raw), _) => (Ok(&raw.x), "raw.var", &raw.var),
            (None, Some(layer)) => (adata.layer(layer), "var", &adata.var),
            (None, None) => (adata.x(), "var", &adata.var),
        };
        let index = Index::new(adata, slot, var, self.symbols.as_deref())?;
        let mut unique: Map<Source> = Map::new();
        for name in &self.names {
            if !unique.contains_key(name) {
                unique.insert(name.clone(), index.find(name)?);
            }
        }
        let slots = self.names.iter().map(|n| unique.get_index_of(n).unwrap_or(0)).collect();
        let (n, width) = (adata.n_obs(), unique.len());
        let mut values = vec![0f64; n * width];
        let genes: Vec<(usize, usize)> = unique
            .values()
            .enumerate()
            .filter_map(|(k, s)| if let Source::Gene(g) = s { Some((k, *g)) } else { None })
            .collect();
        if !genes.is_empty() {
            let matrix = matrix?;
            if matrix.nrows() != n {
                return Err(Error::shape("the matrix of expression", n, matrix.nrows()));
            }
            gather(matrix, &genes, width, &mut values);
        }
        for (k, source) in unique.values().enumerate() {
            if let Source::Column(numbers) = source {
                for (row, v) in values.chunks_exact_mut(width).zip(numbers) {
                    row[k] = *v;
                }
            }
        }
        Ok((values, slots))
    }
}

/// Where a name's values are.
enum Source {
    Gene(usize),
    Column(Vec<f64>),
}

/// The names that can be asked for.
struct Index<'a> {
    adata: &'a AnnData,
    slot: &'static str,
    var: &'a Frame,
    names: Vec<String>,
    /// Where each name is; `None` where several genes have it.
    place: std::collections::HashMap<String, Option<usize>>,
    symbols: bool,
}

impl<'a> Index<'a> {
    fn new(
        adata: &'a AnnData,
        slot: &'static str,
        var: &'a Frame,
        symbols: Option<&str>,
    ) -> Result<Index<'a>> {
        let names: Vec<String> = match symbols {
            None => var.names().to_vec(),
            Some(key) => {
                let column = var.get(key).ok_or_else(|| {
                    Error::missing_key("var", "column", key, var.columns().map(|c| c.0))
                })?;
                (0..column.len()).map(|i| column.text(i).unwrap_or_default()).collect()
            }
        };
        let mut place = std::collections::HashMap::with_capacity(names.len());
        for (i, name) in names.iter().enumerate() {
            place.entry(name.clone()).and_modify(|p| *p = None).or_insert(Some(i));
        }
        Ok(Index { adata, slot, var, names, place, symbols: symbols.is_some() })
    }

    fn find(&self, name: &str) -> Result<Source> {
        let gene = self.place.get(name).copied();
        let column = self.adata.obs.get(name);
        match (gene, column) {
            (Some(_), Some(_)) => {
                let reason = "is both a gene and a column of obs: rename one of them";
                Err(Error::parameter("var_names", name, reason))
            }
            (Some(Some(g)), None) => Ok(Source::Gene(g)),
            (Some(None), None) if self.symbols => Err(shared_symbol(name)),
            // Says how many there are, and where.
            (Some(None), None) => self.var.position(self.slot, name).map(Source::Gene),
            (None, Some(column)) => column.to_f64().map(Source::Column).ok_or_else(|| {
                let reason = "is a column of obs that holds no numbers";
                Error::parameter("var_names", name, reason)
            }),
            (None, None) => {
                let genes = alike(&self.names, name).into_iter().map(|g| format!("gene {g}"));
                let numbers = self.adata.obs.columns().filter(|c| c.1.to_f64().is_some());
                let columns = numbers.map(|(k, _)| format!("obs[\"{k}\"]"));
                let all: Vec<String> = genes.chain(columns).collect();
                let kind = if self.symbols { "gene symbol" } else { "gene or number of obs" };
                Err(Error::missing_key("AnnData", kind, name, all))
            }
        }
    }
}

/// Adds the columns `genes` (place in `out`, column of the matrix) to `out`, whose rows have
/// `width` numbers.
fn gather(matrix: &Matrix, genes: &[(usize, usize)], width: usize, out: &mut [f64]) {
    match matrix {
        Matrix::Dense(m) => with_values!(&m.values, v => {
            for_each_chunk(out, width, 64, |r, row| {
                for &(k, g) in genes {
                    row[k] = v[r * m.ncols + g] as f64;
                }
            });
        }),
        Matrix::Csr(m) => {
            const NONE: u32 = u32::MAX;
            let mut slot = vec![NONE; m.ncols];
            for &(k, g) in genes {
                slot[g] = k as u32;
            }
            with_values!(&m.values, v => {
                for_each_chunk(out, width, 64, |r, row| {
                    for i in m.indptr[r]..m.indptr[r + 1] {
                        let k = slot[m.indices[i] as usize];
                        if k != NONE {
                            row[k as usize] += v[i] as f64;
                        }
                    }
                });
            });
        }
        Matrix::Csc(m) => with_values!(&m.values, v => {
            for &(k, g) in genes {
                for i in m.indptr[g]..m.indptr[g + 1] {
                    out[m.indices[i] as usize * width + k] += v[i] as f64;
                }
            }
        }),
    }
}

macro_rules! from_names {
    ($($(#[$n:ident])? $ty:ty => |$s:ident| $list:expr;)*) => {$(
        impl $(<const $n: usize>)? From<$ty> for Genes {
            fn from($s: $ty) -> Genes {
                $list
            }
        }
    )*};
}

from_names! {
    &str => |s| Genes::new([s]);
    String => |s| Genes::new([s]);
    &String => |s| Genes::new([s]);
    &[&str] => |s| Genes::new(s);
    &[String] => |s| Genes::new(s);
    Vec<&str> => |s| Genes::new(s);
    Vec<String> => |s| Genes::new(s);
    &Vec<&str> => |s| Genes::new(s);
    &Vec<String> => |s| Genes::new(s);
    #[N] [&str; N] => |s| Genes::new(s);
    #[N] &[&str; N] => |s| Genes::new(s);
    #[N] [String; N] => |s| Genes::new(s);
    #[N] [(&str, Vec<&str>); N] => |s| Genes::groups(s);
    #[N] [(&str, &[&str]); N] => |s| Genes::groups(s.map(|(l, g)| (l, g.to_vec())));
    #[N] [(&str, &str); N] => |s| Genes::groups(s.map(|(l, g)| (l, vec![g])));
    Vec<(&str, Vec<&str>)> => |s| Genes::groups(s);
    Vec<(String, Vec<String>)> => |s| Genes::groups(s);
    &[(String, Vec<String>)] => |s| Genes::groups(s.iter().cloned());
    Map<Vec<String>> => |s| Genes::groups(s);
    &Map<Vec<String>> => |s| Genes::groups(s.clone());
    std::collections::BTreeMap<String, Vec<String>> => |s| Genes::groups(s);
}

#[cfg(test)]
mod tests {
    use super::*;
    use ndarray::Array2;

    fn data() -> AnnData {
        let x = Array2::from_shape_fn((3, 4), |(i, g)| (10 * i + g) as f32);
        let names = ["MBP", "PCP4", "SNAP25", "MOBP"].map(String::from).to_vec();
        let mut a = AnnData::new(x, Frame::with_len(3), Frame::new(names)).unwrap();
        a.obs.insert("score", vec![0.5, 1.5, f64::NAN]).unwrap();
        a
    }

    #[test]
    fn values_are_the_same_from_every_form_of_matrix() {
        let mut a = data();
        let genes = Genes::from(["PCP4", "MOBP", "score", "PCP4"]);
        let (dense, slots) = genes.values(&a).unwrap();
        assert_eq!(slots, [0, 1, 2, 0]);
        assert_eq!(dense[..6], [1.0, 3.0, 0.5, 11.0, 13.0, 1.5]);
        for sparse in [Matrix::Csr(a.x().unwrap().to_csr()), Matrix::Csc(a.x().unwrap().to_csc())] {
            a.x = Some(sparse);
            let (other, _) = genes.values(&a).unwrap();
            assert_eq!(other[..8], dense[..8]);
        }
    }

    #[test]
    fn raw_comes_first_unless_it_is_not_wanted() {
        let mut a = data();
        a.set_raw().unwrap();
        a.x = Some(Array2::<f32>::zeros((3, 4)).into());
        a.layers.insert("ones".into(), Array2::<f32>::from_elem((3, 4), 1.0).into());
        let first = |g: Genes| g.values(&a).unwrap().0[0];
        assert_eq!(first(Genes::from("MOBP")), 3.0);
        assert_eq!(first(Genes::from("MOBP").use_raw(false)), 0.0);
        assert_eq!(first(Genes::from("MOBP").layer("ones")), 1.0);
        let e = Genes::from("MOBP").layer("ones").use_raw(true).values(&a).unwrap_err();
        assert!(e.to_string().contains("one of the two"), "{e}");
        let e = Genes::from("MOBP").use_raw(true).values(&data()).unwrap_err().to_string();
        assert!(e.contains("no `raw`"), "{e}");
    }

    #[test]
    fn names_that_are_absent_bring_those_that_are_alike() {
        let a = data();
        let error = |g: Genes| g.values(&a).unwrap_err().to_string();
        let e = error(Genes::from("mbp"));
        assert!(e.contains("gene MBP") && e.contains("obs[\"score\"]"), "{e}");
        assert!(error(Genes::new::<&str>([])).contains("no genes"));
        assert!(error(Genes::from("MBP").layer("nope")).contains("nope"));
        assert!(error(Genes::from("MBP").gene_symbols("nope")).contains("nope"));
        let e = Genes::from(["MBP"]).var_groups([("x", 0, 1)]).brackets().unwrap_err();
        assert!(e.to_string().contains("x: 0 to 1"), "{e}");
    }

    #[test]
    fn symbols_stand_for_genes_unless_several_have_them() {
        let mut a = data();
        let symbols = ["m", "p", "s", "s"].map(|s| Some(s.to_string())).to_vec();
        a.var.insert("symbol", crate::anndata::Column::Str(symbols)).unwrap();
        let of = |name: &str| Genes::from(name).gene_symbols("symbol").values(&a);
        assert_eq!(of("p").unwrap().0[0], 1.0);
        assert!(of("s").unwrap_err().to_string().contains("several genes"));
        assert!(of("q").unwrap_err().to_string().contains("gene symbol"));
    }
}
