//! The folders of Cell Ranger and Space Ranger: `matrix.mtx`, `barcodes.tsv` and `genes.tsv`
//! (version 2) or `features.tsv` (version 3), each plain or gzipped.

use super::{coordinate, files};
use crate::anndata::{AnnData, Column, Frame, Matrix};
use crate::error::{Error, Result};
use std::path::{Path, PathBuf};

/// Reads a folder with `matrix.mtx`, `barcodes.tsv` and `features.tsv` or `genes.tsv`, plain or
/// gzipped. `X` is CSR in `float32`, `var` is named by gene symbol (repeated symbols stay repeated;
/// scanpy 1.11 renames them at once) and has `gene_ids` and, from version 3, `feature_types`.
/// Features of every kind are kept.
///
/// # Errors
/// [`Error::Format`] naming the files that were looked for, or the line that is malformed.
pub fn read_10x_mtx(folder: impl AsRef<Path>) -> Result<AnnData> {
    read_folder(folder.as_ref())
}

fn read_folder(folder: &Path) -> Result<AnnData> {
    files::check_folder(folder)?;
    let matrix = find(folder, &["matrix.mtx", "matrix.mtx.gz"])?;
    let barcodes = find(folder, &["barcodes.tsv", "barcodes.tsv.gz"])?;
    let features = find(folder, &["features.tsv", "features.tsv.gz", "genes.tsv", "genes.tsv.gz"])?;

    let obs =
        Frame::new(lines(&files::read_text(&barcodes)?).map(|l| first(l).to_string()).collect());
    let var = read_features(&features, &files::read_text(&features)?)?;
    let x = coordinate::read(&matrix, var.len(), obs.len())?;
    AnnData::new(Matrix::Csr(x), obs, var)
}

/// Whether a folder looks like one that [`read_10x_mtx`] reads.
pub(super) fn is_mtx_folder(folder: &Path) -> bool {
    folder.join("matrix.mtx").is_file() || folder.join("matrix.mtx.gz").is_file()
}

fn find(folder: &Path, names: &[&str]) -> Result<PathBuf> {
    names.iter().map(|n| folder.join(n)).find(|p| p.is_file()).ok_or_else(|| {
        let reason = format!("there is no {} in this folder", names.join(" or "));
        Error::format(folder, reason).with_hint("A 10x folder has matrix, barcodes and features")
    })
}

fn lines(text: &str) -> impl Iterator<Item = &str> {
    text.lines().map(str::trim_end).filter(|l| !l.is_empty())
}

fn first(line: &str) -> &str {
    line.split('\t').next().unwrap_or(line)
}

fn read_features(path: &Path, text: &str) -> Result<Frame> {
    let (mut ids, mut names, mut kinds) = (vec![], vec![], vec![]);
    for line in lines(text) {
        let mut fields = line.split('\t');
        let id = fields.next().unwrap_or_default();
        names.push(fields.next().unwrap_or(id).to_string());
        ids.push(Some(id.to_string()));
        kinds.push(fields.next().map(str::to_string));
    }
    let mut var = Frame::new(names);
    let at = |e: Error| Error::format(path, e.to_string());
    var.insert("gene_ids", Column::Str(ids)).map_err(at)?;
    if kinds.iter().any(Option::is_some) {
        var.insert("feature_types", Column::Str(kinds)).map_err(at)?;
    }
    Ok(var)
}

#[cfg(test)]
mod tests {
    use super::*;
    use ndarray::array;
    use std::fs;

    fn folder(matrix: &str) -> tempfile::TempDir {
        let dir = tempfile::tempdir().unwrap();
        fs::write(dir.path().join("matrix.mtx"), matrix).unwrap();
        fs::write(dir.path().join("barcodes.tsv"), "AA-1\nCC-1\n").unwrap();
        fs::write(dir.path().join("genes.tsv"), "E1\tA\nE2\tB\nE3\tA\n").unwrap();
        dir
    }

    #[test]
    fn entries_may_come_in_any_order() {
        let text = "%%MatrixMarket matrix coordinate integer general\n%\n3 2 3\n\
                    3 2 7\n1 1 5\n2 2 1\n";
        let a = read_10x_mtx(folder(text).path()).unwrap();
        assert_eq!(a.x().unwrap().to_array_f32(), array![[5., 0., 0.], [0., 1., 7.]]);
        assert_eq!(a.var.names(), ["A", "B", "A"]);
        assert_eq!(a.var_column("gene_ids").unwrap().text(2).unwrap(), "E3");
    }

    #[test]
    fn a_malformed_matrix_is_reported_with_its_line() {
        for (text, what) in [
            ("hello", "line 1"),
            ("%%MatrixMarket matrix coordinate integer general\n3 2", "line 2"),
            ("%%MatrixMarket matrix coordinate integer general\n9 2 0", "9 features"),
            ("%%MatrixMarket matrix coordinate integer general\n3 2 1\n4 1 1", "line 3"),
            ("%%MatrixMarket matrix coordinate integer general\n3 2 2\n1 1 1", "2 entries"),
        ] {
            let e = read_10x_mtx(folder(text).path()).unwrap_err().to_string();
            assert!(e.contains(what), "{e}");
        }
    }
}
