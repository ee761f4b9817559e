//! Where the molecules of the synthetic tissue lie within its cells.

use crate::anndata::AnnData;
use crate::error::{Error, Result};
use crate::models::spatialformer::training::Transcripts;
use crate::rng::{Rng, hash};

/// Places within a cell at which molecules gather, and how far they lie from the middle and spread.
const COMPARTMENTS: usize = 4;
const DISTANCE: f64 = 12.0;
const SPREAD: f64 = 2.5;
/// The share of molecules that lie anywhere in the cell.
const STRAY: f64 = 0.1;

/// Molecules for the counts of a slide: each gene has a compartment of the cell of its own, in which nine
/// tenths of its molecules lie, so that genes of one compartment lie together and others do not. What a
/// method that looks for such genes should find is told by [`compartment_of`].
///
/// Counts above `most` of a gene in a cell become `most` molecules.
///
/// # Errors
/// [`Error::Data`] for counts that are no whole numbers of at least 0.
pub fn synthetic_transcripts(adata: &AnnData, most: usize, seed: u64) -> Result<Transcripts> {
    let csr = adata.x()?.to_csr();
    let mut all = Transcripts::default();
    let compartments: Vec<usize> = adata.var.names().iter().map(|g| compartment_of(g)).collect();
    let mut rng = Rng::stream(seed, "molecules");
    for cell in 0..csr.nrows {
        for k in csr.indptr[cell]..csr.indptr[cell + 1] {
            let (gene, count) = (csr.indices[k] as usize, csr.values.get_f64(k));
            if !(count >= 0.0 && count.fract() == 0.0) {
                return Err(Error::data("X", format!("must hold counts; it holds {count}")));
            }
            for _ in 0..(count as usize).min(most) {
                let place = if rng.uniform() < STRAY {
                    [rng.uniform_in(-2.0, 2.0), rng.uniform_in(-2.0, 2.0)].map(|x| x * DISTANCE)
                } else {
                    let turn = std::f64::consts::TAU * compartments[gene] as f64;
                    let (sin, cos) = (turn / COMPARTMENTS as f64).sin_cos();
                    [cos, sin].map(|at| at * DISTANCE + SPREAD * rng.normal())
                };
                all.cell.push(cell as u32);
                all.gene.push(gene as u32);
                all.place.push(place.map(|x| x as f32));
            }
        }
    }
    Ok(all)
}

/// The compartment of a gene of the synthetic tissue, from 0 to 3.
pub fn compartment_of(gene: &str) -> usize {
    (hash(gene) % COMPARTMENTS as u64) as usize
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::datasets::{Synthetic, synthetic};
    use crate::models::spatialformer::training::TogetherRule;

    #[test]
    fn genes_of_one_compartment_lie_together() {
        let adata = synthetic(&Synthetic::default().n_genes(60).depth(300.0).image(false)).unwrap();
        let adata = adata.select_obs(0..20).unwrap();
        let all = synthetic_transcripts(&adata, 50, 1).unwrap();
        let found = all.together(&adata, &TogetherRule::default()).unwrap();
        let (mut right, mut wrong) = (0, 0);
        for &(a, b) in found.iter().flatten() {
            let of = |g: u32| compartment_of(&adata.var.names()[g as usize]);
            if of(a) == of(b) { right += 1 } else { wrong += 1 }
        }
        assert!(right > 100 && wrong * 10 < right, "{right} {wrong}");
    }
}
