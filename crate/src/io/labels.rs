//! Labels of observations: a column of `obs`, or a table of barcodes and labels.

use super::files;
use crate::anndata::{AnnData, Categorical};
use crate::error::{Error, Result};
use std::collections::HashMap;
use std::path::{Path, PathBuf};

/// Texts that mean that there is no label.
const MISSING: [&str; 9] = ["", "NA", "N/A", "<NA>", "NaN", "nan", "None", "null", "NULL"];
/// Names of columns that hold labels, where a table has several columns.
const LABEL_COLUMNS: [&str; 12] = [
    "label",
    "labels",
    "layer",
    "layer_guess",
    "ground_truth",
    "annotation",
    "region",
    "domain",
    "cluster",
    "celltype",
    "cell_type",
    "truth",
];

/// Reads a table of barcodes and labels (tab, comma or semicolon; header optional; gzip allowed)
/// and joins it to the observations by name. Observations without a row, and labels that are empty
/// or `NA`, are missing. The categories are in natural order.
///
/// A table of more than two columns needs a header; the column is the one called `label`, `layer`,
/// `ground_truth` or the like, or named after a `#`: `metadata.csv#region`.
///
/// # Errors
/// [`Error::Io`] for a missing file; [`Error::Format`] when no barcode matches, or when it is not
/// clear which column holds the labels (naming the columns).
pub fn read_labels(path: impl AsRef<Path>, adata: &AnnData) -> Result<Categorical> {
    read_table(path.as_ref(), adata)
}

fn read_table(path: &Path, adata: &AnnData) -> Result<Categorical> {
    let (path, column) = split_column(path);
    files::check_file(&path)?;
    let text = files::read_text(&path)?;
    let text = text.trim_start_matches('\u{feff}');
    let first = text.lines().next().unwrap_or_default();
    let delimiter = ['\t', ',', ';'].into_iter().find(|&d| first.contains(d));
    let Some(delimiter) = delimiter else {
        return Err(Error::format(&path, "expected barcode and label, separated by tab or comma"));
    };
    let rows = csv::ReaderBuilder::new()
        .delimiter(delimiter as u8)
        .has_headers(false)
        .flexible(true)
        .from_reader(text.as_bytes())
        .into_records()
        .collect::<Result<Vec<_>, _>>()
        .map_err(|e| Error::format(&path, format!("malformed table: {e}")))?;

    let names = adata.obs.names();
    let at: HashMap<&str, usize> = names.iter().enumerate().map(|(i, n)| (n.as_str(), i)).collect();
    let width = rows.first().map_or(0, csv::StringRecord::len);
    let matches = |c: usize| {
        rows.iter().filter(|r| r.get(c).is_some_and(|b| at.contains_key(b.trim()))).count()
    };
    // The barcodes are in the column that has most of the observations' names.
    let barcodes = (0..width).max_by_key(|&c| (matches(c), width - c)).unwrap_or(0);
    if matches(barcodes) == 0 {
        let example = rows.get(1).or(rows.first()).and_then(|r| r.get(0)).unwrap_or_default();
        let reason = format!(
            "none of the {} rows has the name of an observation (the file has `{example}`, the data \
             have `{}`)",
            rows.len(),
            names.first().map_or("", String::as_str),
        );
        return Err(Error::format(&path, reason).with_hint("Is the table of this slide?"));
    }
    let label = label_column(&path, &rows[0], barcodes, column.as_deref())?;
    let mut labels: Vec<Option<&str>> = vec![None; names.len()];
    for row in &rows {
        if let Some(&i) = row.get(barcodes).and_then(|b| at.get(b.trim())) {
            labels[i] = row.get(label).map(str::trim).filter(|l| !MISSING.contains(l));
        }
    }
    if labels.iter().all(Option::is_none) {
        return Err(Error::format(&path, "every label is missing"));
    }
    Ok(Categorical::from_labels(&labels))
}

/// Which column holds the labels.
fn label_column(
    path: &Path,
    header: &csv::StringRecord,
    barcodes: usize,
    wanted: Option<&str>,
) -> Result<usize> {
    let others: Vec<usize> = (0..header.len()).filter(|&c| c != barcodes).collect();
    let names = || others.iter().map(|&c| &header[c]).collect::<Vec<_>>().join(", ");
    if let Some(wanted) = wanted {
        return others.iter().copied().find(|&c| header[c].trim() == wanted).ok_or_else(|| {
            Error::format(path, format!("there is no column `{wanted}`; there is: {}", names()))
        });
    }
    match others.as_slice() {
        &[only] => Ok(only),
        _ => {
            let known =
                |c: &usize| LABEL_COLUMNS.contains(&header[*c].trim().to_lowercase().as_str());
            let found: Vec<usize> = others.iter().copied().filter(known).collect();
            match found.as_slice() {
                &[one] => Ok(one),
                _ => {
                    let reason = format!("several columns could be the labels: {}", names());
                    let hint = "Name one after a `#`: `table.csv#column`";
                    Err(Error::format(path, reason).with_hint(hint))
                }
            }
        }
    }
}

/// Splits `table.csv#column`, unless there is a file of that whole name.
fn split_column(path: &Path) -> (PathBuf, Option<String>) {
    if !path.exists()
        && let Some((file, column)) = path.to_str().and_then(|p| p.rsplit_once('#'))
    {
        return (file.into(), Some(column.to_string()));
    }
    (path.into(), None)
}

/// Labels by name: the column of `obs` if there is one, else the file of that name, read by
/// [`read_labels`].
///
/// # Errors
/// [`Error::Data`] listing the columns when there is neither, and those of [`read_labels`].
pub fn labels(adata: &AnnData, column_or_file: &str) -> Result<Categorical> {
    find(adata, column_or_file, &[PathBuf::new()])
}

/// Like [`labels`]; a file is also looked for in the folder `data`, or beside the file `data`, from
/// which the slide was read.
///
/// # Errors
/// As [`labels`].
pub fn labels_beside(
    adata: &AnnData,
    column_or_file: &str,
    data: impl AsRef<Path>,
) -> Result<Categorical> {
    let data = data.as_ref();
    let folder = if data.is_dir() { Some(data) } else { data.parent() };
    find(adata, column_or_file, &[PathBuf::new(), folder.unwrap_or(data).to_path_buf()])
}

fn find(adata: &AnnData, name: &str, folders: &[PathBuf]) -> Result<Categorical> {
    if let Some(column) = adata.obs.get(name) {
        return Ok(column.to_categorical());
    }
    let is_file = |path: &PathBuf| !name.is_empty() && split_column(path).0.is_file();
    if let Some(path) = folders.iter().map(|f| f.join(name)).find(is_file) {
        return read_labels(path, adata);
    }
    let columns: Vec<&str> = adata.obs.columns().map(|(k, _)| k).collect();
    let columns = if columns.is_empty() { "no column".into() } else { columns.join(", ") };
    let mut places: Vec<String> = folders
        .iter()
        .map(|f| if f.as_os_str().is_empty() { Path::new(".") } else { f })
        .map(|f| format!("`{}`", f.display()))
        .collect();
    places.dedup();
    let reason = format!(
        "neither a column of obs nor a file. obs has: {columns}. No file of that name was found in {}",
        places.join(" or ")
    );
    Err(Error::data(format!("label `{name}`"), reason))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::anndata::Frame;
    use std::fs;

    fn slide() -> AnnData {
        let names = ["A-1", "B-1", "C-1"].map(String::from).to_vec();
        AnnData { obs: Frame::new(names), ..AnnData::default() }
    }

    fn table(text: &str) -> (tempfile::TempDir, PathBuf) {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("truth.txt");
        fs::write(&path, text).unwrap();
        (dir, path)
    }

    #[test]
    fn labels_are_joined_by_barcode() {
        for text in [
            "C-1\tL2\nA-1\tL10\nB-1\t\nZ-1\tL3\n",
            "barcode,layer\nA-1,L10\nC-1,L2\nB-1,NA\n",
            "x;barcode;layer\n1;C-1;L2\n2;A-1;L10\n",
        ] {
            let (_dir, path) = table(text);
            let c = read_labels(&path, &slide()).unwrap();
            assert_eq!(c.categories, ["L2", "L10"], "{text}");
            assert_eq!(c.codes, [1, -1, 0], "{text}");
        }
    }

    #[test]
    fn a_column_is_named_after_a_hash() {
        let (_dir, path) = table("barcode,x,y\nA-1,p,q\nB-1,r,s\n");
        let e = read_labels(&path, &slide()).unwrap_err().to_string();
        assert!(e.contains("x, y"), "{e}");
        let c = read_labels(format!("{}#y", path.display()), &slide()).unwrap();
        assert_eq!(c.categories, ["q", "s"]);
    }

    #[test]
    fn a_table_of_another_slide_is_refused() {
        let (_dir, path) = table("X-1\tL1\nY-1\tL2\n");
        let e = read_labels(&path, &slide()).unwrap_err().to_string();
        assert!(e.contains("none of the 2 rows") && e.contains("`A-1`"), "{e}");
    }

    #[test]
    fn a_label_is_a_column_or_a_file_beside_the_data() {
        let (dir, _path) = table("A-1\tL1\n");
        let mut slide = slide();
        let e = labels_beside(&slide, "layer", dir.path()).unwrap_err().to_string();
        assert!(e.contains("obs has: no column") && e.contains("No file"), "{e}");
        assert!(labels_beside(&slide, "truth.txt", dir.path()).is_ok());
        slide.obs.insert("truth.txt", vec![1i32, 1, 2]).unwrap();
        assert_eq!(labels(&slide, "truth.txt").unwrap().categories, ["1", "2"]);
    }
}
