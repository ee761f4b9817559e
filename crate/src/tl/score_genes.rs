//! Scores of gene sets: [`score_genes`] and, made of two of them, the phase of the cell cycle.

use super::source::{Source, source};
use crate::anndata::{AnnData, Categorical, Dense, Frame, Matrix, Sparse, with_values};
use crate::error::{Error, Result};
use crate::parallel::{map_range, sum_parts};
use crate::rng::Rng;
use std::collections::BTreeSet;

/// Options of [`score_genes`] and [`score_genes_cell_cycle`].
#[derive(Debug, Clone, PartialEq)]
pub struct ScoreGenes {
    ctrl_size: usize,
    ctrl_as_ref: bool,
    gene_pool: Option<Vec<String>>,
    control_genes: Option<Vec<String>>,
    n_bins: usize,
    score_name: String,
    seed: u64,
    use_raw: Option<bool>,
    layer: Option<String>,
}

impl Default for ScoreGenes {
    fn default() -> Self {
        ScoreGenes {
            ctrl_size: 50,
            ctrl_as_ref: true,
            gene_pool: None,
            control_genes: None,
            n_bins: 25,
            score_name: "score".into(),
            seed: 0,
            use_raw: None,
            layer: None,
        }
    }
}

impl ScoreGenes {
    /// Control genes drawn from each bin of expression. Default: 50.
    pub fn ctrl_size(mut self, n: usize) -> Self {
        self.ctrl_size = n;
        self
    }

    /// Whether genes of the list may be drawn as controls (and are taken out afterwards, so that
    /// fewer are left). Default: true, as scanpy's.
    pub fn ctrl_as_ref(mut self, yes: bool) -> Self {
        self.ctrl_as_ref = yes;
        self
    }

    /// The genes that controls are drawn from; they must include the genes to score. Default: all.
    pub fn gene_pool<S: Into<String>>(mut self, genes: impl IntoIterator<Item = S>) -> Self {
        self.gene_pool = Some(genes.into_iter().map(Into::into).collect());
        self
    }

    /// Take these control genes and draw none: with those of a scanpy run, scores equal its own.
    pub fn control_genes<S: Into<String>>(mut self, genes: impl IntoIterator<Item = S>) -> Self {
        self.control_genes = Some(genes.into_iter().map(Into::into).collect());
        self
    }

    /// Bins of expression. Default: 25.
    pub fn n_bins(mut self, n: usize) -> Self {
        self.n_bins = n;
        self
    }

    /// The column of `obs` to write. Default: `score`.
    pub fn score_name(mut self, name: impl Into<String>) -> Self {
        self.score_name = name.into();
        self
    }

    /// Seed of the drawing. Default: 0.
    pub fn seed(mut self, seed: u64) -> Self {
        self.seed = seed;
        self
    }

    /// Whether to take `raw` rather than X. Default: where there is a `raw` and no layer is asked
    /// for.
    pub fn use_raw(mut self, yes: bool) -> Self {
        self.use_raw = Some(yes);
        self
    }

    /// Take this layer rather than X.
    pub fn layer(mut self, layer: impl Into<String>) -> Self {
        self.layer = Some(layer.into());
        self
    }
}

/// What a score was made of.
#[derive(Debug, Clone, PartialEq)]
pub struct ScoredGenes {
    /// The genes of the list that are there.
    pub genes: Vec<String>,
    /// The genes of the list that are not, and were left out.
    pub missing: Vec<String>,
    /// The control genes, in the order of `var`.
    pub control_genes: Vec<String>,
}

/// Scores each cell by the mean expression of a list of genes minus that of control genes of like
/// expression (Satija et al., 2015).
///
/// Genes are ranked by their mean and cut into `n_bins` bins; from every bin that holds a gene of
/// the list, `ctrl_size` control genes are drawn. Matches `scanpy.tl.score_genes` 1.11.5 within
/// 1e-6 where nothing is left to chance (bins of at most `ctrl_size` genes, or `control_genes`
/// given); which genes are drawn follows our own generator, not numpy's.
///
/// Writes `obs[score_name]`. Returns which genes were used; those of the list that are not there
/// are left out and named in `missing`.
///
/// # Errors
/// [`Error::Data`] when none of the genes is there, no control gene is found, there are no cells,
/// or the data hold NaN or infinity; [`Error::Parameter`] when a gene to score is not in the pool,
/// or there are more bins than genes can fill; [`Error::MissingKey`] without the layer or a control
/// gene.
pub fn score_genes<S: AsRef<str>>(
    adata: &mut AnnData,
    genes: &[S],
    options: ScoreGenes,
) -> Result<ScoredGenes> {
    let genes: Vec<&str> = genes.iter().map(AsRef::as_ref).collect();
    let (scores, used) = score(adata, &genes, &options)?;
    adata.obs.insert(&options.score_name, scores)?;
    Ok(used)
}

/// Scores the S and the G2/M phase of the cell cycle and puts each cell into one: G1 where both
/// scores are below 0, else G2M where that score is the higher one, else S (so that a cell without
/// counts, of which both are 0, is in S). As `scanpy.tl.score_genes_cell_cycle` 1.11.5; the number
/// of control genes a bin is that of the shorter list.
///
/// Writes `obs`: `S_score`, `G2M_score`, `phase`. Returns which genes either score was made of.
///
/// # Errors
/// As [`score_genes`]; nothing is written then.
pub fn score_genes_cell_cycle<S: AsRef<str>, G: AsRef<str>>(
    adata: &mut AnnData,
    s_genes: &[S],
    g2m_genes: &[G],
    options: ScoreGenes,
) -> Result<[ScoredGenes; 2]> {
    let s: Vec<&str> = s_genes.iter().map(AsRef::as_ref).collect();
    let g2m: Vec<&str> = g2m_genes.iter().map(AsRef::as_ref).collect();
    for (phase, genes) in [("S", &s), ("G2/M", &g2m)] {
        if genes.is_empty() {
            let reason = format!("the list of {phase} genes is empty");
            return Err(Error::data("genes to score", reason));
        }
    }
    let options = options.ctrl_size(s.len().min(g2m.len()));
    let (s_scores, s) = score(adata, &s, &options)?;
    let (g2m_scores, g2m) = score(adata, &g2m, &options)?;
    let phase = |(s, g): (&f64, &f64)| {
        Some(if *s < 0.0 && *g < 0.0 {
            "G1"
        } else if g > s {
            "G2M"
        } else {
            "S"
        })
    };
    let phases: Vec<_> = s_scores.iter().zip(&g2m_scores).map(phase).collect();
    adata.obs.insert("phase", Categorical::from_labels(&phases))?;
    adata.obs.insert("S_score", s_scores)?;
    adata.obs.insert("G2M_score", g2m_scores)?;
    Ok([s, g2m])
}

fn score(adata: &AnnData, genes: &[&str], options: &ScoreGenes) -> Result<(Vec<f64>, ScoredGenes)> {
    let Source { x, var, .. } = source(adata, options.use_raw, options.layer.as_deref())?;
    if x.nrows() == 0 {
        return Err(Error::data("matrix to score", "there are no cells"));
    }
    let names = var.names();
    let (mut list, mut missing) = (Vec::new(), Vec::new());
    for gene in genes {
        match var.position("var", gene) {
            Ok(i) if !list.contains(&i) => list.push(i),
            Ok(_) => {}
            Err(Error::MissingKey { .. }) => missing.push(gene.to_string()),
            Err(e) => return Err(e),
        }
    }
    if list.is_empty() {
        // The error of the first one names genes that are alike.
        let first = genes.first().map(|g| var.position("var", g));
        let reason = match first {
            Some(Err(e)) => format!("none of them is there; {e}"),
            _ => "the list is empty".into(),
        };
        return Err(Error::data("genes to score", reason));
    }
    let control = match &options.control_genes {
        Some(genes) => {
            let at: Result<BTreeSet<usize>> =
                genes.iter().map(|g| var.position("var", g)).collect();
            at?
        }
        None => draw(x, var, &list, options)?,
    };
    if control.is_empty() {
        let reason = "no control gene is left; set `ctrl_as_ref(false)`, or enlarge the gene pool";
        return Err(Error::data("control genes", reason));
    }
    let mut side = vec![0u8; var.len()];
    list.iter().for_each(|&i| side[i] |= 1);
    control.iter().for_each(|&i| side[i] |= 2);
    let (own, controls) = (list.len() as f64, control.len() as f64);
    let sums = row_sums(x, &side);
    if let Some(cell) = sums.iter().position(|s| !(s[0] + s[1]).is_finite()) {
        let name = &adata.obs.names()[cell];
        let reason = format!("cell `{name}` (row {cell}) holds NaN or infinity; drop it first");
        return Err(Error::data("matrix to score", reason));
    }
    let scores = sums.iter().map(|s| s[0] / own - s[1] / controls).collect();
    let named = |at: &mut dyn Iterator<Item = usize>| at.map(|i| names[i].clone()).collect();
    let used = ScoredGenes {
        genes: named(&mut list.iter().copied()),
        missing,
        control_genes: named(&mut control.iter().copied()),
    };
    Ok((scores, used))
}

/// The control genes, by position.
fn draw(x: &Matrix, var: &Frame, list: &[usize], options: &ScoreGenes) -> Result<BTreeSet<usize>> {
    let pool: Vec<usize> = match &options.gene_pool {
        // Genes that are not there are left out, as scanpy leaves them.
        Some(genes) => {
            let at: BTreeSet<&str> = genes.iter().map(String::as_str).collect();
            (0..var.len()).filter(|&i| at.contains(var.names()[i].as_str())).collect()
        }
        None => (0..var.len()).collect(),
    };
    if let Some(&out) = list.iter().find(|i| pool.binary_search(i).is_err()) {
        let reason = "is to be scored but is not in the pool; add it";
        return Err(Error::parameter("gene_pool", &var.names()[out], reason));
    }
    if options.n_bins < 2 || options.ctrl_size == 0 {
        let (name, value) = if options.n_bins < 2 {
            ("n_bins", options.n_bins)
        } else {
            ("ctrl_size", options.ctrl_size)
        };
        return Err(Error::parameter(name, value, "is too small"));
    }
    let per_bin = (pool.len() as f64 / (options.n_bins - 1) as f64).round_ties_even() as usize;
    if per_bin == 0 {
        let reason = format!("are too many bins for {} genes in the pool", pool.len());
        return Err(Error::parameter("n_bins", options.n_bins, reason));
    }
    let means = column_means(x);
    if let Some(&gene) = pool.iter().find(|&&i| !means[i].is_finite()) {
        let reason = format!("gene `{}` holds NaN or infinity", var.names()[gene]);
        return Err(Error::data("matrix to score", reason));
    }
    // The rank from 1 of each gene, equal means sharing the smallest; bins by rank.
    let mut order = pool.clone();
    order.sort_by(|&a, &b| means[a].total_cmp(&means[b]));
    let mut bin = vec![usize::MAX; var.len()];
    let mut before = 0;
    for equal in order.chunk_by(|&a, &b| means[a] == means[b]) {
        equal.iter().for_each(|&i| bin[i] = (before + 1) / per_bin);
        before += equal.len();
    }
    let bins: BTreeSet<usize> = list.iter().map(|&i| bin[i]).collect();
    let mut rng = Rng::stream(options.seed, "score_genes");
    let mut control = BTreeSet::new();
    for b in bins {
        let may = |i: &&usize| bin[**i] == b && (options.ctrl_as_ref || !list.contains(i));
        let mut members: Vec<usize> = pool.iter().filter(may).copied().collect();
        if options.ctrl_size < members.len() {
            rng.shuffle(&mut members);
            members.truncate(options.ctrl_size);
        }
        control.extend(members);
    }
    list.iter().for_each(|i| {
        control.remove(i);
    });
    Ok(control)
}

/// The mean of each column.
fn column_means(x: &Matrix) -> Vec<f64> {
    let sums = with_values!(x.values(), v => match x {
        Matrix::Dense(Dense { nrows, ncols, .. }) => sum_parts(*nrows, *ncols, 64, |rows, sums| {
            for r in rows {
                let row = &v[r * ncols..(r + 1) * ncols];
                sums.iter_mut().zip(row).for_each(|(s, &x)| *s += x as f64);
            }
        }),
        Matrix::Csr(Sparse { nrows, ncols, indptr, indices, .. }) => {
            sum_parts(*nrows, *ncols, 64, |rows, sums| {
                for k in indptr[rows.start]..indptr[rows.end] {
                    sums[indices[k] as usize] += v[k] as f64;
                }
            })
        }
        Matrix::Csc(Sparse { ncols, indptr, .. }) => {
            let sum = |c: usize| v[indptr[c]..indptr[c + 1]].iter().map(|&x| x as f64).sum::<f64>();
            map_range(*ncols, 1, sum)
        }
    });
    sums.into_iter().map(|s| s / x.nrows() as f64).collect()
}

/// For each row the sum of the columns of side 1 and of side 2 (bits: a column may be on both).
fn row_sums(x: &Matrix, side: &[u8]) -> Vec<[f64; 2]> {
    let add = |sums: &mut [f64; 2], side: u8, x: f64| {
        if side & 1 != 0 {
            sums[0] += x;
        }
        if side & 2 != 0 {
            sums[1] += x;
        }
    };
    with_values!(x.values(), v => match x {
        Matrix::Dense(Dense { nrows, ncols, .. }) => map_range(*nrows, 64, |r| {
            let mut sums = [0.0; 2];
            for (&s, &x) in side.iter().zip(&v[r * ncols..(r + 1) * ncols]) {
                if s != 0 {
                    add(&mut sums, s, x as f64);
                }
            }
            sums
        }),
        Matrix::Csr(Sparse { nrows, indptr, indices, .. }) => map_range(*nrows, 64, |r| {
            let mut sums = [0.0; 2];
            for k in indptr[r]..indptr[r + 1] {
                add(&mut sums, side[indices[k] as usize], v[k] as f64);
            }
            sums
        }),
        Matrix::Csc(Sparse { nrows, ncols, indptr, indices, .. }) => {
            let mut sums = vec![[0.0; 2]; *nrows];
            for c in (0..*ncols).filter(|&c| side[c] != 0) {
                for k in indptr[c]..indptr[c + 1] {
                    add(&mut sums[indices[k] as usize], side[c], v[k] as f64);
                }
            }
            sums
        }
    })
}

#[cfg(test)]
#[path = "score_genes_tests.rs"]
mod tests;
