//! [`enrich`]: which gene sets a list of genes hits more often than chance.

use crate::anndata::{Column, Frame, Map};
use crate::error::{Error, Result};
use crate::stats::{benjamini_hochberg, hypergeometric_sf};
use std::collections::{BTreeSet, HashSet};

/// Options of [`enrich`].
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Enrich {
    background: Background,
    ignore_case: bool,
}

#[derive(Debug, Clone, PartialEq, Default)]
enum Background {
    #[default]
    Sets,
    Size(usize),
    Genes(Vec<String>),
}

impl Enrich {
    /// The genes that could have been found, e.g. all that were measured. Genes of the list and of
    /// the sets that are not among them do not count. Default: all genes of the sets.
    pub fn background<S: Into<String>>(mut self, genes: impl IntoIterator<Item = S>) -> Self {
        self.background = Background::Genes(genes.into_iter().map(Into::into).collect());
        self
    }

    /// How many genes could have been found, where it is not known which; the list and the sets
    /// count in full then. Enrichr takes 20,000.
    pub fn background_size(mut self, n: usize) -> Self {
        self.background = Background::Size(n);
        self
    }

    /// Whether `Cd4` is the same as `CD4`, so that mouse genes can be held against human sets. The
    /// table names genes in upper case then. Default: false.
    pub fn ignore_case(mut self, yes: bool) -> Self {
        self.ignore_case = yes;
        self
    }
}

/// Over-representation of gene sets in a list of genes, by the one-sided test of Fisher: the
/// probability that as many genes of the set, or more, are among as many genes drawn at random from
/// the background. Sets come from [`io::read_gmt`](crate::io::read_gmt), or are made as
/// `Map<Vec<String>>`. Genes given twice count once.
///
/// The table has the columns of `gseapy.enrich` for every set that shares a gene with the list, by
/// rising p-value (then by name): `Term`, `Overlap` (shared genes / genes of the set in the
/// background), `P-value`, `Adjusted P-value` (Benjamini–Hochberg over these sets), `Odds Ratio`
/// (with ½ added to each count), `Combined Score` (−ln p times the odds ratio), `Genes` (the shared
/// ones, separated by `;`). Matches gseapy 1.3 within 1e-9 relative.
///
/// ```
/// use spatialkit::{anndata::Map, tl};
/// let sets: Map<Vec<String>> = [
///     ("B".to_string(), ["CD19", "MS4A1", "CD79A"].map(String::from).to_vec()),
///     ("T".to_string(), ["CD3D", "CD3E", "CD4"].map(String::from).to_vec()),
/// ].into();
/// let table = tl::enrich(&["CD3D", "CD4"], &sets, tl::Enrich::default().background_size(20_000))?;
/// assert_eq!(table.get("Overlap").unwrap().text(0).unwrap(), "2/3");
/// # Ok::<(), spatialkit::Error>(())
/// ```
///
/// # Errors
/// [`Error::Data`] when the list or the sets are empty, or no gene of the list is in the background
/// or in a set; [`Error::Parameter`] for a background smaller than what was found in it.
pub fn enrich<S: AsRef<str>>(
    genes: &[S],
    sets: &Map<Vec<String>>,
    options: Enrich,
) -> Result<Frame> {
    let genes: Vec<&str> = genes.iter().map(AsRef::as_ref).collect();
    run(&genes, sets, &options)
}

fn run(genes: &[&str], sets: &Map<Vec<String>>, options: &Enrich) -> Result<Frame> {
    let key = |g: &str| if options.ignore_case { g.to_uppercase() } else { g.to_string() };
    if genes.is_empty() || sets.is_empty() {
        let what = if genes.is_empty() { "list of genes" } else { "gene sets" };
        return Err(Error::data(what, "there is nothing in it"));
    }
    let background: Option<HashSet<String>> = match &options.background {
        Background::Sets => Some(sets.values().flatten().map(|g| key(g)).collect()),
        Background::Genes(genes) => Some(genes.iter().map(|g| key(g)).collect()),
        Background::Size(_) => None,
    };
    let total = match (&options.background, &background) {
        (Background::Size(n), _) => *n,
        (_, Some(genes)) => genes.len(),
        _ => 0,
    };
    let counts = |g: &String| background.as_ref().is_none_or(|b| b.contains(g));
    let query: HashSet<String> = genes.iter().map(|g| key(g)).filter(counts).collect();
    struct Hit<'a> {
        term: &'a str,
        shared: BTreeSet<String>,
        size: usize,
        p: f64,
    }
    let mut hits = Vec::new();
    for (term, genes) in sets {
        let members: HashSet<String> = genes.iter().map(|g| key(g)).filter(counts).collect();
        let shared: BTreeSet<String> = query.intersection(&members).cloned().collect();
        if shared.is_empty() {
            continue;
        }
        let (found, size, drawn) = (shared.len(), members.len(), query.len());
        if size + drawn - found > total {
            let reason = format!(
                "is less than the {} genes that the list and the set `{term}` hold",
                size + drawn - found
            );
            return Err(Error::parameter("background_size", total, reason));
        }
        let p = hypergeometric_sf(found as u64, total as u64, size as u64, drawn as u64);
        hits.push(Hit { term, shared, size, p });
    }
    if hits.is_empty() {
        return Err(Error::data("list of genes", nothing_found(genes, sets, options)));
    }
    hits.sort_by(|a, b| a.p.total_cmp(&b.p).then_with(|| a.term.cmp(b.term)));
    let p: Vec<f64> = hits.iter().map(|h| h.p).collect();
    let odds = |h: &Hit| {
        let (x, m, k) = (h.shared.len() as f64, h.size as f64, query.len() as f64);
        (x + 0.5) * (total as f64 - m - k + x + 0.5) / ((m - x + 0.5) * (k - x + 0.5))
    };
    let odds: Vec<f64> = hits.iter().map(odds).collect();
    let combined: Vec<f64> = p.iter().zip(&odds).map(|(p, o)| -p.ln() * o).collect();
    let text = |f: &dyn Fn(&Hit) -> String| Column::Str(hits.iter().map(|h| Some(f(h))).collect());
    let mut table = Frame::with_len(hits.len());
    table.insert("Term", text(&|h| h.term.to_string()))?;
    table.insert("Overlap", text(&|h| format!("{}/{}", h.shared.len(), h.size)))?;
    table.insert("P-value", p.clone())?;
    table.insert("Adjusted P-value", benjamini_hochberg(&p))?;
    table.insert("Odds Ratio", odds)?;
    table.insert("Combined Score", combined)?;
    let genes = |h: &Hit| h.shared.iter().cloned().collect::<Vec<_>>().join(";");
    table.insert("Genes", text(&genes))?;
    Ok(table)
}

fn nothing_found(genes: &[&str], sets: &Map<Vec<String>>, options: &Enrich) -> String {
    let all: HashSet<String> = sets.values().flatten().map(|g| g.to_uppercase()).collect();
    let alike = genes.iter().filter(|g| all.contains(&g.to_uppercase())).count();
    let example = sets.values().flatten().next().map_or("", String::as_str);
    if alike > 0 && !options.ignore_case {
        return format!(
            "none of them is in a gene set as it is written; {alike} are if case is ignored \
             (`.ignore_case(true)`): the sets write genes like `{example}`"
        );
    }
    format!(
        "none of its {} genes (such as `{}`) is both in the background and in a gene set; the sets \
         write genes like `{example}`",
        genes.len(),
        genes[0]
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sets() -> Map<Vec<String>> {
        let set = |name: &str, genes: &str| {
            (name.to_string(), genes.split(' ').map(String::from).collect::<Vec<_>>())
        };
        [set("B", "A1 A2 A3 A4"), set("A", "A1 A2 X1 X2 X3 X4"), set("none", "Z1 Z2 A1")].into()
    }

    fn text(t: &Frame, column: &str, i: usize) -> String {
        t.get(column).unwrap().text(i).unwrap()
    }

    #[test]
    fn sets_come_by_p_value_with_the_shared_genes() {
        let t = enrich(&["A2", "A1", "A3", "A1", "Q"], &sets(), Enrich::default()).unwrap();
        assert_eq!((text(&t, "Term", 0), text(&t, "Overlap", 0)), ("B".into(), "3/4".into()));
        assert_eq!(text(&t, "Genes", 0), "A1;A2;A3");
        // scipy 1.17: hypergeom.sf(2, 10, 4, 3); Q is not in the background of 10.
        let p = t.get("P-value").unwrap().to_f64().unwrap();
        assert!((p[0] - 1.0 / 30.0).abs() < 1e-14, "{}", p[0]);
        assert!(p.is_sorted());
        // The given background: 3 of the 4 genes of the list, 2 of set A.
        let some = Enrich::default().background(["A1", "A2", "Q", "X1", "N1", "N2"]);
        let t = enrich(&["A2", "A1", "A3", "Q"], &sets(), some).unwrap();
        let a = (0..t.len()).find(|&i| text(&t, "Term", i) == "A").unwrap();
        assert_eq!(text(&t, "Overlap", a), "2/3");
    }

    #[test]
    fn case_matters_unless_asked_not_to() {
        let e = enrich(&["a1", "a2"], &sets(), Enrich::default()).unwrap_err().to_string();
        assert!(e.contains("2 are if case is ignored"), "{e}");
        let t = enrich(&["a1", "a2"], &sets(), Enrich::default().ignore_case(true)).unwrap();
        assert_eq!(text(&t, "Genes", 0), "A1;A2");
    }

    #[test]
    fn what_cannot_be_tested_is_refused() {
        let none: [&str; 0] = [];
        assert!(enrich(&none, &sets(), Enrich::default()).is_err());
        assert!(enrich(&["A1"], &Map::new(), Enrich::default()).is_err());
        let e = enrich(&["Q"], &sets(), Enrich::default()).unwrap_err().to_string();
        assert!(e.contains("such as `Q`") && e.contains("A1"), "{e}");
        let small = Enrich::default().background_size(3);
        let e = enrich(&["A1"], &sets(), small).unwrap_err().to_string();
        assert!(e.contains("is less than the 4 genes"), "{e}");
        let other = Enrich::default().background(["K"]);
        assert!(enrich(&["A1"], &sets(), other).is_err());
    }

    #[test]
    fn sets_of_nothing_that_counts_are_left_out() {
        let mut sets = sets();
        sets.insert("empty".into(), Vec::new());
        let t = enrich(&["A1", "A3"], &sets, Enrich::default()).unwrap();
        let terms: Vec<_> = (0..t.len()).map(|i| text(&t, "Term", i)).collect();
        assert_eq!(terms, ["B", "none", "A"]);
        // None of the set counts in this background.
        let some = Enrich::default().background(["A3", "A4", "N1", "N2"]);
        let t = enrich(&["A1", "A3"], &sets, some).unwrap();
        assert_eq!(
            (t.len(), text(&t, "Term", 0), text(&t, "Overlap", 0)),
            (1, "B".into(), "1/2".into())
        );
    }
}
