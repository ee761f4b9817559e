//! Stereo-seq tables of molecules (`.gem`, `.gem.gz`).
//!
//! ```text
//! #FileFormat=GEMv0.1                           any number of lines that start with #
//! geneID  x  y  MIDCount  [ExonCount]  [CellID]  tabs; MIDCounts, UMICount and cell are other spellings
//! ```
//!
//! A file may have 10⁸ lines: they are read in blocks and summed as they come, so that memory grows
//! with the bins and genes that there are, not with the lines.

use super::table::Table;
use crate::anndata::{AnnData, Column, Dense, Frame, Matrix, Sparse, Values};
use crate::error::{Error, Result};
use rayon::prelude::*;
use std::collections::HashMap;
use std::path::Path;

/// Lines at a time, and sums that are put off before equal ones are joined.
const BLOCK: usize = 1 << 21;
const PENDING: usize = 1 << 24;

/// How to read a table of Stereo-seq.
#[derive(Debug, Clone)]
pub struct StereoSeq {
    bin_size: u32,
    by_cell: bool,
}

impl Default for StereoSeq {
    fn default() -> Self {
        StereoSeq { bin_size: 50, by_cell: false }
    }
}

/// Reads a Stereo-seq table of molecules in bins of 50 × 50 DNBs (25 µm), the size that most
/// published analyses work with. [`StereoSeq`] has other sizes, and cells.
///
/// * `X`: sums of `MIDCount`, CSR in `float32`; `var` named by `geneID`, sorted; `gene_name` where
///   the file has `geneName`
/// * `obs`: named `x_y` after the bin's number along either axis (its coordinates divided by the bin
///   size, as in spateo; stereopy counts from the smallest coordinate), sorted by x, then y
/// * `obsm["spatial"]`: the centre of the bin in DNBs (0.5 µm)
///
/// By cell: `obs` named by `CellID`, sorted; `obsm["spatial"]` the mean position of the cell's
/// molecules. Molecules outside cells (cell 0) are left out.
///
/// # Errors
/// [`Error::Format`] naming the columns that were looked for, or the line that is malformed.
pub fn read_stereoseq(path: impl AsRef<Path>) -> Result<AnnData> {
    StereoSeq::default().read(path)
}

/// Whether a file looks like one that [`read_stereoseq`] reads.
pub(super) fn is_gem(path: &Path) -> bool {
    let table = Table::open_text(path, Some(true), Some(b'#'));
    table.is_ok_and(|t| {
        let has = |name: &str| t.columns().iter().any(|c| c == name);
        has("geneID") && has("x") && has("y") && find(&t, &COUNT).is_some()
    })
}

const COUNT: [&str; 4] = ["MIDCount", "MIDCounts", "UMICount", "UMICounts"];
const CELL: [&str; 5] = ["CellID", "cell", "cellID", "cell_id", "label"];

fn find<'a>(table: &Table, names: &[&'a str]) -> Option<&'a str> {
    names.iter().find(|n| table.columns().iter().any(|c| c == **n)).copied()
}

/// What is known of a bin or cell besides its counts.
#[derive(Default, Clone)]
struct Place {
    sum: [f64; 2],
    molecules: f64,
}

impl StereoSeq {
    /// The side of the bins in DNBs: 1, 20, 50 (the default), 100, 200, ….
    pub fn bin_size(mut self, dnbs: u32) -> Self {
        self.bin_size = dnbs;
        self
    }

    /// Sums by cell, of a table that says which cell each molecule is in.
    pub fn by_cell(mut self, by_cell: bool) -> Self {
        self.by_cell = by_cell;
        self
    }

    /// Reads the table; see [`read_stereoseq`].
    ///
    /// # Errors
    /// As [`read_stereoseq`]; [`Error::Parameter`] for bins of no size.
    pub fn read(&self, path: impl AsRef<Path>) -> Result<AnnData> {
        self.read_path(path.as_ref())
    }

    fn read_path(&self, path: &Path) -> Result<AnnData> {
        if self.bin_size == 0 {
            return Err(Error::parameter("bin_size", 0, "a bin has a side of 1 DNB at least"));
        }
        let table = Table::open_text(path, Some(true), Some(b'#'))?;
        let need = |names: &[&'static str]| {
            find(&table, names).ok_or_else(|| {
                let reason = format!(
                    "there is no column {}; there is: {}",
                    names.join(" or "),
                    table.columns().join(", ")
                );
                Error::format(path, reason)
            })
        };
        let mut columns = vec![need(&["geneID"])?, need(&["x"])?, need(&["y"])?, need(&COUNT)?];
        if self.by_cell {
            columns.push(need(&CELL)?);
        }
        let named = find(&table, &["geneName"]);
        columns.extend(named);
        let mut categories = vec!["geneID"];
        categories.extend(named);
        let table = table.clone().categories(&categories);

        let mut sums = Sums::default();
        let mut genes: Vec<String> = Vec::new();
        let mut gene_names: Vec<Option<String>> = Vec::new();
        for block in table.blocks(&columns, BLOCK)? {
            let block = block?;
            let ints = |name: &str| whole(path, &block, name);
            let Some(Column::Categorical(gene)) = block.get("geneID") else {
                return Err(Error::format(path, "the column `geneID` holds no genes"));
            };
            if gene.codes.contains(&-1) {
                return Err(Error::format(path, "a molecule has no geneID"));
            }
            genes.extend_from_slice(&gene.categories[genes.len()..]);
            let (x, y, counts) = (ints("x")?, ints("y")?, ints(columns[3])?);
            if let Some(Column::Categorical(name)) = block.get("geneName") {
                gene_names.resize(genes.len(), None);
                for (i, &g) in gene.codes.iter().enumerate() {
                    if gene_names[g as usize].is_none() {
                        gene_names[g as usize] = name.label(i).map(str::to_string);
                    }
                }
            }
            let cells = if self.by_cell { Some(ints(columns[4])?) } else { None };
            let size = i64::from(self.bin_size);
            for i in 0..block.len() {
                let key = match &cells {
                    Some(cells) if cells[i] == 0 => continue,
                    Some(cells) => (cells[i], 0),
                    None => (x[i].div_euclid(size), y[i].div_euclid(size)),
                };
                let place = sums.place(key);
                let at = &mut sums.places[place as usize];
                at.sum[0] += x[i] as f64;
                at.sum[1] += y[i] as f64;
                at.molecules += 1.0;
                sums.add(place, gene.codes[i] as u32, counts[i]);
            }
        }
        sums.join();
        self.assemble(sums, genes, gene_names)
    }

    fn assemble(
        &self,
        sums: Sums,
        genes: Vec<String>,
        mut gene_names: Vec<Option<String>>,
    ) -> Result<AnnData> {
        let mut order: Vec<(&(i64, i64), &u32)> = sums.known.iter().collect();
        order.sort_unstable();
        let mut by_name: Vec<usize> = (0..genes.len()).collect();
        by_name.sort_by(|&a, &b| genes[a].cmp(&genes[b]));
        let mut rank = vec![0u32; genes.len()];
        by_name.iter().enumerate().for_each(|(new, &old)| rank[old] = new as u32);

        // The sums of each place lie together, in the order in which places were met.
        let mut starts = vec![0usize; sums.places.len() + 1];
        sums.counts.iter().for_each(|c| starts[(c.0 >> 32) as usize + 1] += 1);
        (0..sums.places.len()).for_each(|i| starts[i + 1] += starts[i]);
        let (mut indptr, mut indices, mut values) = (vec![0], Vec::new(), Vec::new());
        let (mut names, mut xy) = (Vec::new(), Vec::new());
        let side = f64::from(self.bin_size);
        for &(&(a, b), &place) in &order {
            let place = place as usize;
            let row = &sums.counts[starts[place]..starts[place + 1]];
            let mut row: Vec<(u32, i64)> =
                row.iter().map(|c| (rank[(c.0 as u32) as usize], c.1)).collect();
            row.sort_unstable();
            indices.extend(row.iter().map(|r| r.0));
            values.extend(row.iter().map(|r| r.1 as f32));
            indptr.push(indices.len());
            if self.by_cell {
                let at = &sums.places[place];
                names.push(a.to_string());
                xy.extend(at.sum.map(|s| s / at.molecules));
            } else {
                names.push(format!("{a}_{b}"));
                xy.extend([a, b].map(|i| (i as f64 + 0.5) * side));
            }
        }
        let mut var = Frame::new(by_name.iter().map(|&i| genes[i].clone()).collect());
        if !gene_names.is_empty() {
            gene_names.resize(genes.len(), None);
            let names = by_name.iter().map(|&i| gene_names[i].clone()).collect();
            var.insert("gene_name", Column::Str(names))?;
        }
        let n = names.len();
        let x = Sparse::new((n, var.len()), true, indptr, indices, Values::F32(values))?;
        let mut adata = AnnData::new(Matrix::Csr(x), Frame::new(names), var)?;
        adata.obsm.insert("spatial".into(), Matrix::Dense(Dense::new(n, 2, xy)?));
        Ok(adata)
    }
}

/// Sums of counts by place (bin or cell) and gene.
#[derive(Default)]
struct Sums {
    known: HashMap<(i64, i64), u32>,
    places: Vec<Place>,
    /// The place in the upper half, the gene in the lower; and the sum. Sorted and unique up to
    /// `joined`.
    counts: Vec<(u64, i64)>,
    joined: usize,
}

impl Sums {
    fn place(&mut self, key: (i64, i64)) -> u32 {
        let new = self.places.len() as u32;
        let place = *self.known.entry(key).or_insert(new);
        if place == new {
            self.places.push(Place::default());
        }
        place
    }

    fn add(&mut self, place: u32, gene: u32, count: i64) {
        self.counts.push((u64::from(place) << 32 | u64::from(gene), count));
        if self.counts.len() >= PENDING + 2 * self.joined {
            self.join();
        }
    }

    fn join(&mut self) {
        self.counts.par_sort_unstable_by_key(|c| c.0);
        self.counts.dedup_by(|next, kept| {
            let same = next.0 == kept.0;
            if same {
                kept.1 += next.1;
            }
            same
        });
        self.joined = self.counts.len();
    }
}

/// A column of whole numbers.
fn whole(path: &Path, block: &Frame, name: &str) -> Result<Vec<i64>> {
    match block.get(name) {
        Some(Column::Values(Values::I64(v))) => Ok(v.clone()),
        Some(Column::Values(Values::F64(v))) if v.iter().all(|x| x.fract() == 0.0) => {
            Ok(v.iter().map(|&x| x as i64).collect())
        }
        _ => Err(Error::format(path, format!("the column `{name}` does not hold whole numbers"))),
    }
}
