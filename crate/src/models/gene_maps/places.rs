//! Where spots lie in the array, as networks with a table of columns and one of rows take it.

use crate::error::{Error, Result};

const WHAT: &str = "positions of spots";

/// Column and row of each of as many `spots`, cut to whole numbers towards zero as the published codes do.
pub(crate) fn whole_places(centers: &[[f64; 2]], spots: usize) -> Result<[Vec<u32>; 2]> {
    if centers.len() != spots {
        return Err(Error::shape(WHAT, spots, centers.len()));
    }
    let whole = |v: f64| -> Result<u32> {
        // -0.5 is cut to 0.
        if v > -1.0 && v < f64::from(u32::MAX) {
            return Ok(v as u32);
        }
        let reason = format!("{v} cannot be a column or a row: they count from 0");
        Err(Error::data(WHAT, reason))
    };
    let part = |k: usize| -> Result<Vec<u32>> { centers.iter().map(|c| whole(c[k])).collect() };
    Ok([part(0)?, part(1)?])
}

/// Checks that tables of so many `positions` have all columns and rows.
pub(crate) fn check_places(columns: &[u32], rows: &[u32], positions: usize) -> Result<()> {
    let most = columns.iter().chain(rows).max().copied().unwrap_or(0) as usize;
    if most < positions {
        return Ok(());
    }
    let reason = format!(
        "a spot lies in row or column {most} of the array, but the network has positions for 0 to {}: \
         give it more (positions), or coarser coordinates",
        positions - 1
    );
    Err(Error::data(WHAT, reason))
}
