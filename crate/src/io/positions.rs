//! Where the spots and bins of Visium lie: `spatial/tissue_positions`, as CSV with or without a
//! header, or as parquet.
//!
//! ```text
//! barcode, in_tissue, array_row, array_col, pxl_row_in_fullres, pxl_col_in_fullres
//! ```

use super::files;
use super::join::Join;
use super::table::Table;
use crate::anndata::{AnnData, Column, Dense, Frame, Matrix, Values};
use crate::error::{Error, Result};
use std::path::{Path, PathBuf};

const FILES: [&str; 3] =
    ["tissue_positions.csv", "tissue_positions_list.csv", "tissue_positions.parquet"];
const COLUMNS: [&str; 6] =
    ["barcode", "in_tissue", "array_row", "array_col", "pxl_row_in_fullres", "pxl_col_in_fullres"];
/// Barcodes of this many bins are held at a time.
const BLOCK: usize = 1 << 19;

/// The file of positions of a Visium folder.
pub(super) fn find(folder: &Path, spatial: &Path) -> Result<PathBuf> {
    for place in [spatial, folder] {
        if let Some(path) = FILES.iter().map(|n| place.join(n)).find(|p| p.is_file()) {
            return Ok(path);
        }
    }
    let looked: Vec<String> = FILES.iter().map(|n| format!("spatial/{n}")).collect();
    let reason = format!("no positions of the spots: looked for {}", looked.join(", "));
    let hint = match spatial.is_dir() {
        true => format!("The folder spatial holds: {}", files::list(&files::entries(spatial))),
        false => format!("The folder holds: {}", files::list(&files::entries(folder))),
    };
    let alone = ". A matrix without positions is read by `io::read_10x_h5`";
    Err(Error::format(folder, reason).with_hint(hint + alone))
}

/// Joins the positions in a file to the observations: `in_tissue`, `array_row` and `array_col` of
/// `obs` and `obsm["spatial"]`, (x, y) in pixels of the full-resolution image. Observations without
/// a position are an error, or leave with `common_only`.
pub(super) fn join(adata: &mut AnnData, path: &Path, common_only: bool) -> Result<()> {
    let mut join = Join::new(adata.obs.names());
    let table = match path.extension().is_some_and(|e| e == "parquet") {
        true => read_parquet(path, &mut join)?,
        false => read_csv(path, &mut join)?,
    };
    let rows = if common_only {
        let (keep, rows) = join.common();
        if keep.len() < adata.n_obs() {
            *adata = adata.take_obs(&keep);
        }
        rows
    } else {
        let hint = "Are the matrix and the positions of the same slide and run? The builders leave \
                    out what has no position with `.common_only(true)`";
        join.finish(path, "barcodes of the matrix", "position").map_err(|e| e.with_hint(hint))?
    };
    let pixels = |name: &str| {
        let column = table.get(name).map(|c| c.take(&rows));
        column.and_then(|c| c.to_f64()).ok_or_else(|| {
            Error::format(path, format!("the column `{name}` does not hold numbers"))
        })
    };
    let (x, y) = (pixels(COLUMNS[5])?, pixels(COLUMNS[4])?);
    let xy: Vec<f64> = x.into_iter().zip(y).flat_map(|(x, y)| [x, y]).collect();
    // Whole pixels stay whole numbers, as pandas reads them.
    let values = match xy.iter().all(|x| x.fract() == 0.0) {
        true => Values::I64(xy.iter().map(|&x| x as i64).collect()),
        false => Values::F64(xy),
    };
    let spatial = Dense::new(adata.n_obs(), 2, values)?;
    for name in &COLUMNS[1..4] {
        if let Some(column) = table.get(name) {
            adata.obs.insert(*name, column.take(&rows))?;
        }
    }
    adata.obsm.insert("spatial".into(), Matrix::Dense(spatial));
    Ok(())
}

/// Eleven million bins of 2 µm: their barcodes are not held all at once.
fn read_parquet(path: &Path, join: &mut Join) -> Result<Frame> {
    let table = Table::open(path)?;
    let missing = COLUMNS.iter().find(|c| !table.columns().iter().any(|t| t == **c));
    if let Some(name) = missing {
        let has = files::list(table.columns());
        return Err(Error::format(path, format!("there is no column `{name}`; there is: {has}")));
    }
    for block in table.blocks(&COLUMNS[..1], BLOCK)? {
        if let Some(ids) = block?.get(COLUMNS[0]) {
            join.add(ids);
        }
    }
    table.select(&COLUMNS[1..])
}

fn read_csv(path: &Path, join: &mut Join) -> Result<Frame> {
    let text = files::read_text(path)?;
    // barcode, in_tissue, array_row, array_col, pxl_row_in_fullres, pxl_col_in_fullres
    let mut order = [0, 1, 2, 3, 4, 5];
    let mut barcodes = Vec::new();
    let mut whole: [Vec<i64>; 3] = Default::default();
    let mut pixels: [Vec<f64>; 2] = Default::default();
    for (number, line) in text.trim_start_matches('\u{feff}').lines().enumerate() {
        let fields: Vec<&str> = line.split(',').map(|f| f.trim().trim_matches('"')).collect();
        if fields.iter().all(|f| f.is_empty()) {
            continue;
        }
        let number_at = |i: usize| fields.get(order[i]).and_then(|f| f.parse::<f64>().ok());
        let numbers: Vec<f64> = (1..6).filter_map(number_at).filter(|x| !x.is_infinite()).collect();
        let grid_is_whole = numbers.iter().take(3).all(|x| x.fract() == 0.0);
        if let (&[in_tissue, row, col, y, x], Some(barcode), true) =
            (numbers.as_slice(), fields.get(order[0]), grid_is_whole)
        {
            barcodes.push(Some(barcode.to_string()));
            let all = whole.iter_mut().zip([in_tissue, row, col]);
            all.for_each(|(column, x)| column.push(x as i64));
            pixels.iter_mut().zip([y, x]).for_each(|(column, x)| column.push(x));
        } else if number == 0 && fields[1..].iter().all(|f| f.parse::<f64>().is_err()) {
            // A header. Its names say the order, should it be another.
            let names = ["barcode", "in_tissue", "array_row", "array_col", "pxl_row", "pxl_col"];
            let found = names.map(|n| fields.iter().position(|f| f.starts_with(n)));
            if found.iter().all(Option::is_some) {
                order = found.map(Option::unwrap_or_default);
            }
        } else {
            let reason = format!(
                "line {}: `{line}` is not barcode,in_tissue,array_row,array_col,pxl_row,pxl_col",
                number + 1
            );
            return Err(Error::format(path, reason));
        }
    }
    if barcodes.is_empty() {
        return Err(Error::format(path, "there is no position in this file"));
    }
    let mut table = Frame::with_len(barcodes.len());
    join.add(&Column::Str(barcodes));
    for (name, column) in COLUMNS[1..4].iter().zip(whole) {
        table.insert(*name, column)?;
    }
    for (name, column) in COLUMNS[4..].iter().zip(pixels) {
        table.insert(*name, column)?;
    }
    Ok(table)
}
