//! [`Transcripts`]: which genes lie together within a cell, from where their molecules lie.
//!
//! ```text
//! molecules of a cell ─ joined within 5 units ─> communities ─> genes with 3 molecules in one community
//! ```
//! The released code finds communities by Louvain's method; here it is Leiden's, which mends communities that
//! Louvain leaves unconnected. It also assigns communities to the wrong genes (names are sorted, molecules
//! are not); here they are each molecule's own.

use crate::anndata::{AnnData, Matrix, Sparse, Values};
use crate::error::{Error, Result};
use crate::io::Table;
use crate::tl::Leiden;
use rayon::prelude::*;
use std::collections::{BTreeMap, HashMap, HashSet};

/// Molecules within cells.
#[derive(Debug, Clone, Default)]
pub struct Transcripts {
    /// Of each molecule the row of its cell.
    pub cell: Vec<u32>,
    /// Of each molecule its gene, a column of the slide.
    pub gene: Vec<u32>,
    /// Of each molecule where it lies, in micrometres.
    pub place: Vec<[f32; 2]>,
}

/// When two genes lie together.
#[derive(Debug, Clone, PartialEq)]
pub struct TogetherRule {
    /// Up to which distance two molecules are joined. 5.
    pub radius: f32,
    /// Molecules of a gene that a community must have. 3.
    pub molecules: usize,
    /// For the order in which communities are looked for. 0.
    pub seed: u64,
}

impl Default for TogetherRule {
    fn default() -> Self {
        TogetherRule { radius: 5.0, molecules: 3, seed: 0 }
    }
}

impl Transcripts {
    /// The molecules of a table with columns for cell, gene, x and y (for Xenium `cell_id`,
    /// `feature_name`, `x_location`, `y_location`), by the names of the slide's cells and genes. Molecules
    /// outside its cells and of other genes (controls) are left out. The table is read in blocks.
    ///
    /// # Errors
    /// [`Error::MissingKey`] for a column that there is not; those of reading the table.
    pub fn of_table(table: &Table, columns: [&str; 4], adata: &AnnData) -> Result<Self> {
        let rows =
            |names: &[String]| -> HashMap<String, u32> { names.iter().cloned().zip(0..).collect() };
        let (cells, genes) = (rows(adata.obs.names()), rows(adata.var.names()));
        let [cell, gene, x, y] = columns;
        let table = table.clone().categories(&[cell, gene]);
        let mut all = Transcripts::default();
        for block in table.blocks(&columns, 1 << 18)? {
            let block = block?;
            let column = |name: &str| {
                let missing = || Error::missing_key("table", "column", name, table.columns());
                block.get(name).ok_or_else(missing)
            };
            let ids = |name: &str, rows: &HashMap<String, u32>| -> Result<Vec<Option<u32>>> {
                let column = column(name)?.to_categorical();
                let of: Vec<Option<u32>> =
                    column.categories.iter().map(|c| rows.get(c).copied()).collect();
                let id = |&code: &i32| usize::try_from(code).ok().and_then(|c| of[c]);
                Ok(column.codes.iter().map(id).collect())
            };
            let numbers = |name: &str| -> Result<Vec<f64>> {
                let wrong = || Error::data(format!("column `{name}`"), "holds no numbers");
                column(name)?.to_f64().ok_or_else(wrong)
            };
            let (cell, gene) = (ids(cell, &cells)?, ids(gene, &genes)?);
            let (x, y) = (numbers(x)?, numbers(y)?);
            for i in 0..cell.len() {
                if let (Some(cell), Some(gene)) = (cell[i], gene[i]) {
                    all.cell.push(cell);
                    all.gene.push(gene);
                    all.place.push([x[i] as f32, y[i] as f32]);
                }
            }
        }
        Ok(all)
    }

    /// Checks that every molecule has a cell, a gene and a place of the slide.
    pub(super) fn check(&self, adata: &AnnData) -> Result<()> {
        let n = self.cell.len();
        if self.gene.len() != n || self.place.len() != n {
            let found = format!("{} genes, {} places", self.gene.len(), self.place.len());
            return Err(Error::shape("transcripts", format!("{n} of each, as cells"), found));
        }
        let beyond = |ids: &[u32], size: usize| ids.iter().find(|i| **i as usize >= size).copied();
        if let Some(cell) = beyond(&self.cell, adata.n_obs()) {
            let reason = format!("the slide has {} cells", adata.n_obs());
            return Err(Error::data(format!("a molecule of cell {cell}"), reason));
        }
        if let Some(gene) = beyond(&self.gene, adata.n_vars()) {
            let reason = format!("the slide has {} genes", adata.n_vars());
            return Err(Error::data(format!("a molecule of gene {gene}"), reason));
        }
        match self.place.iter().flatten().find(|x| !x.is_finite()) {
            Some(x) => Err(Error::data("the place of a molecule", format!("is {x}"))),
            None => Ok(()),
        }
    }

    /// Of each cell the genes (columns of the slide) that lie together, each pair once and rising.
    ///
    /// # Errors
    /// [`Error::Shape`] or [`Error::Data`] for molecules that do not fit the slide;
    /// [`Error::Parameter`] for a rule that cannot be.
    pub fn together(&self, adata: &AnnData, rule: &TogetherRule) -> Result<Vec<Vec<(u32, u32)>>> {
        self.check(adata)?;
        if !(rule.radius > 0.0 && rule.radius.is_finite()) {
            return Err(Error::parameter("radius", rule.radius, "must be above 0"));
        }
        self.by_cell(adata.n_obs())
            .par_iter()
            .map(|molecules| self.in_cell(molecules, rule))
            .collect()
    }

    /// The molecules of each of `n` cells.
    pub(super) fn by_cell(&self, n: usize) -> Vec<Vec<usize>> {
        let mut cells = vec![Vec::new(); n];
        for (i, &cell) in self.cell.iter().enumerate() {
            cells[cell as usize].push(i);
        }
        cells
    }

    fn in_cell(&self, molecules: &[usize], rule: &TogetherRule) -> Result<Vec<(u32, u32)>> {
        let graph = joined(molecules, &self.place, rule.radius);
        if graph.nnz() == 0 {
            return Ok(Vec::new());
        }
        let communities = Leiden::default().seed(rule.seed).fit(&Matrix::Csr(graph))?.labels;
        // Molecules of each gene in each community.
        let mut counts: HashMap<(usize, u32), usize> = HashMap::new();
        for (&molecule, &community) in molecules.iter().zip(&communities) {
            *counts.entry((community, self.gene[molecule])).or_default() += 1;
        }
        let mut genes: BTreeMap<usize, Vec<u32>> = BTreeMap::new();
        for ((community, gene), n) in counts {
            if n >= rule.molecules {
                genes.entry(community).or_default().push(gene);
            }
        }
        let mut pairs = HashSet::new();
        for genes in genes.values_mut() {
            genes.sort_unstable();
            for (i, &a) in genes.iter().enumerate() {
                pairs.extend(genes[i + 1..].iter().map(|&b| (a, b)));
            }
        }
        let mut pairs: Vec<(u32, u32)> = pairs.into_iter().collect();
        pairs.sort_unstable();
        Ok(pairs)
    }
}

/// Molecules within `radius` of each other, as a symmetric matrix of ones.
pub(super) fn joined(molecules: &[usize], place: &[[f32; 2]], radius: f32) -> Sparse {
    let square = |i: usize| place[molecules[i]].map(|x| (x / radius).floor() as i64);
    let mut squares: HashMap<[i64; 2], Vec<u32>> = HashMap::new();
    for i in 0..molecules.len() {
        squares.entry(square(i)).or_default().push(i as u32);
    }
    let n = molecules.len();
    let (mut indptr, mut indices) = (vec![0], Vec::new());
    for i in 0..n {
        let [x, y] = square(i);
        let start = indices.len();
        for near in (x - 1..=x + 1).flat_map(|x| (y - 1..=y + 1).map(move |y| [x, y])) {
            for &j in squares.get(&near).into_iter().flatten() {
                let (a, b) = (place[molecules[i]], place[molecules[j as usize]]);
                let squared = (a[0] - b[0]).powi(2) + (a[1] - b[1]).powi(2);
                if j as usize != i && squared <= radius * radius {
                    indices.push(j);
                }
            }
        }
        indices[start..].sort_unstable();
        indptr.push(indices.len());
    }
    let values = Values::F32(vec![1.0; indices.len()]);
    Sparse { nrows: n, ncols: n, indptr, indices, values }
}
