//! [`Tokenizer`]: from the expression of a cell to its genes, the highest first.
//!
//! ```text
//! expression ─ / median of each gene ─ sort, the highest first ─ what is not 0 ─ genes of the vocabulary
//! ```
//! The released code sorts with numpy's unstable sort, and counts are full of ties: their order depends on
//! the machine there. Here ties keep the order of the slide's genes ([`TieOrder::Stable`]).

use super::numpy_order;
use super::vocabulary::{Vocabulary, gene_names};
use crate::anndata::{AnnData, Matrix};
use crate::error::{Error, Result};
use crate::parallel::map_range;
use std::borrow::Cow;

/// The order of genes of equal rank within a cell.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum TieOrder {
    /// As in the slide.
    #[default]
    Stable,
    /// What the released code gives, whose order is that of numpy's unstable sort on this kind of machine.
    Released(Cpu),
}

/// A kind of machine, as numpy 2.2 tells them apart. Up to 256 genes the first two give the same order.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Cpu {
    /// With AVX-512.
    #[default]
    Avx512,
    /// With AVX2 but not AVX-512.
    Avx2,
    /// Neither, as on ARM.
    Other,
}

/// The genes of a slide as tokens.
pub(super) struct Tokenizer<'a> {
    adata: &'a AnnData,
    /// X, by rows.
    x: Cow<'a, Matrix>,
    /// The token of each gene of the slide, where the vocabulary has it.
    tokens: Vec<Option<u32>>,
    medians: Vec<f64>,
    order: TieOrder,
    /// The names of genes that the vocabulary lacks.
    pub unknown: Vec<String>,
}

/// The tokens of cells, the highest gene first.
pub(super) type Ranked = Vec<Vec<u32>>;

impl<'a> Tokenizer<'a> {
    /// For the genes of a slide, by their names in `var[column]`; without `column` those of
    /// `var["gene_name"]` if there is such a column, or else `var`'s own.
    pub fn new(
        adata: &'a AnnData,
        vocabulary: &Vocabulary,
        column: Option<&str>,
        order: TieOrder,
    ) -> Result<Self> {
        let (names, column) = gene_names(adata, column)?;
        let tokens: Vec<Option<u32>> = names.iter().map(|name| vocabulary.gene(name)).collect();
        let medians = names.iter().map(|name| vocabulary.median(name)).collect();
        let unknown: Vec<String> = names
            .iter()
            .zip(&tokens)
            .filter(|(_, t)| t.is_none())
            .map(|(n, _)| n.clone())
            .collect();
        if unknown.len() == names.len() {
            let some: Vec<&str> = names.iter().take(3).map(String::as_str).collect();
            let reason = format!(
                "none of the {} genes is in the vocabulary ({} tokens, such as `{}`); the slide's are \
                 named like {}. If symbols are in a column of var, name it with `gene_names`",
                names.len(),
                vocabulary.len(),
                vocabulary.names().last().map_or("", String::as_str),
                some.join(", "),
            );
            return Err(Error::data(
                column.map_or("var".into(), |c| format!("var[\"{c}\"]")),
                reason,
            ));
        }
        let x = match adata.x()? {
            Matrix::Csc(_) => Cow::Owned(Matrix::Csr(adata.x()?.to_csr())),
            x => Cow::Borrowed(x),
        };
        Ok(Tokenizer { adata, x, tokens, medians, order, unknown })
    }

    /// The token of a gene of the slide, by its column.
    pub fn token(&self, gene: u32) -> Option<u32> {
        self.tokens.get(gene as usize).copied().flatten()
    }

    /// Genes of the slide that the vocabulary has.
    pub fn known(&self) -> usize {
        self.tokens.len() - self.unknown.len()
    }

    /// The genes of each of the given cells; at most `max_len` of each.
    ///
    /// # Errors
    /// [`Error::Data`] naming the first cell whose expression is no number.
    pub fn rank(&self, cells: &[usize], max_len: Option<usize>) -> Result<Ranked> {
        let ranked = |cell: usize| -> Result<Vec<u32>> {
            let row = row(&self.x, cell);
            if let Some((gene, value)) = row.iter().find(|(_, v)| !v.is_finite()) {
                let (obs, var) = (self.adata.obs.names(), self.adata.var.names());
                let what =
                    format!("the expression of gene `{}` in cell `{}`", var[*gene], obs[cell]);
                return Err(Error::data(what, format!("is {value}: it must be a finite number")));
            }
            let mut genes = self.sorted(&row);
            genes.truncate(max_len.unwrap_or(usize::MAX));
            Ok(genes)
        };
        map_range(cells.len(), 16, |i| ranked(cells[i])).into_iter().collect()
    }

    /// The tokens of what is expressed, from (gene, expression) in the order of the slide.
    fn sorted(&self, row: &[(usize, f64)]) -> Vec<u32> {
        let normalised = |&(gene, value): &(usize, f64)| value / self.medians[gene];
        match self.order {
            TieOrder::Stable => {
                let mut genes: Vec<(f64, u32)> = (row.iter().filter(|(_, v)| *v != 0.0))
                    .filter_map(|cell| Some((normalised(cell), self.tokens[cell.0]?)))
                    .collect();
                genes.sort_by(|a, b| b.0.total_cmp(&a.0));
                genes.into_iter().map(|(_, token)| token).collect()
            }
            TieOrder::Released(cpu) => {
                // Zeros take part in the sort, which orders ties.
                let mut dense = vec![0.0; self.tokens.len()];
                let mut values = vec![0.0; self.tokens.len()];
                for cell in row {
                    dense[cell.0] = -normalised(cell);
                    values[cell.0] = cell.1;
                }
                let order = match cpu {
                    Cpu::Avx512 => numpy_order::vectorised(&dense),
                    Cpu::Avx2 => numpy_order::avx2(&dense),
                    Cpu::Other => numpy_order::portable(&dense),
                };
                order
                    .into_iter()
                    .filter(|&g| values[g] != 0.0)
                    .filter_map(|g| self.tokens[g])
                    .collect()
            }
        }
    }
}

/// What is stored of a row: (column, value), by column.
fn row(x: &Matrix, i: usize) -> Vec<(usize, f64)> {
    match x {
        Matrix::Csr(s) => {
            let span = s.indptr[i]..s.indptr[i + 1];
            let mut row: Vec<(usize, f64)> =
                span.map(|k| (s.indices[k] as usize, s.values.get_f64(k))).collect();
            if !row.is_sorted_by_key(|r| r.0) {
                row.sort_by_key(|r| r.0);
            }
            row
        }
        other => {
            let columns = other.ncols();
            (0..columns).map(|c| (c, other.values().get_f64(i * columns + c))).collect()
        }
    }
}
