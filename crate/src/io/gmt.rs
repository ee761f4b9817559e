//! Gene sets: the GMT files of MSigDB, Enrichr and others.

use super::files;
use crate::anndata::Map;
use crate::error::{Error, Result};
use std::path::Path;

/// Reads a GMT file (gzip allowed): one line a gene set, its name, a description and its genes
/// separated by tabs. Gene sets come in the order of the file, genes in that of their line, each
/// once; a weight after a comma (`CD4,1.0`, as Enrichr writes) is dropped. Case is kept.
///
/// # Errors
/// [`Error::Io`] for a missing file; [`Error::Format`] when the file is not text, a line has no
/// gene or no name, a name comes twice, or there is no gene set at all.
pub fn read_gmt(path: impl AsRef<Path>) -> Result<Map<Vec<String>>> {
    read(path.as_ref())
}

fn read(path: &Path) -> Result<Map<Vec<String>>> {
    files::check_file(path)?;
    let text = files::read_text(path)?;
    let mut sets: Map<Vec<String>> = Map::new();
    for (number, line) in text.trim_start_matches('\u{feff}').lines().enumerate() {
        if line.trim().is_empty() {
            continue;
        }
        let at = |reason: String| Error::format(path, format!("line {}: {reason}", number + 1));
        let mut fields = line.split('\t').map(str::trim);
        let name = fields.next().unwrap_or_default();
        if name.is_empty() {
            return Err(at("a gene set without a name".into()));
        }
        let mut genes: Vec<String> = Vec::new();
        let mut seen = std::collections::HashSet::new();
        for field in fields.skip(1).filter(|f| !f.is_empty()) {
            let gene = match field.rsplit_once(',') {
                Some((gene, weight)) if weight.parse::<f64>().is_ok() => gene,
                _ => field,
            };
            if seen.insert(gene) {
                genes.push(gene.to_string());
            }
        }
        if genes.is_empty() {
            let hint = "A line is a name, a description and genes, separated by tabs";
            return Err(at(format!("the gene set `{name}` has no genes")).with_hint(hint));
        }
        if sets.insert(name.to_string(), genes).is_some() {
            return Err(at(format!("the gene set `{name}` comes a second time")));
        }
    }
    if sets.is_empty() {
        return Err(Error::format(path, "there is no gene set in it"));
    }
    Ok(sets)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read_as(text: &str) -> Result<Map<Vec<String>>> {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("sets.gmt");
        std::fs::write(&path, text).unwrap();
        read_gmt(&path)
    }

    #[test]
    fn sets_keep_their_order_and_genes_come_once() {
        let sets = read_as("B cells\thttp://x\tCD19\tMS4A1\tCD19\t\r\n\nT\t\tCD3D,1.0\tHLA-A,B\n");
        let sets = sets.unwrap();
        assert_eq!(sets.keys().collect::<Vec<_>>(), ["B cells", "T"]);
        assert_eq!(sets["B cells"], ["CD19", "MS4A1"]);
        assert_eq!(sets["T"], ["CD3D", "HLA-A,B"]);
    }

    #[test]
    fn a_file_that_holds_no_sets_is_refused_by_line() {
        for (text, words) in [
            ("a\tb\tc\nT\tonly a description\n", "line 2: the gene set `T` has no genes"),
            ("\tx\tCD4\n", "line 1: a gene set without a name"),
            ("a\tb\tc\na\tb\td\n", "line 2: the gene set `a` comes a second time"),
            ("\n\n", "no gene set"),
        ] {
            let e = read_as(text).unwrap_err().to_string();
            assert!(e.contains(words), "{e}");
        }
    }
}
