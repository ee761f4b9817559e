//! Counts of the synthetic tissue.

use super::anatomy::{LAYERS, Place};
use super::{Synthetic, noise};
use crate::anndata::{Matrix, Sparse, Values};
use crate::rng::{self, Rng};
use rayon::prelude::*;

/// Genes with real names: their level (relative to a typical gene), and the natural logarithm of
/// how much higher they are in each layer.
#[rustfmt::skip]
const NAMED: &[(&str, f64, [f64; 7])] = &[
    // layer markers of human prefrontal cortex: L1, L2, L3, L4, L5, L6, WM
    ("MBP",       14.0, [0.3, -0.6, -0.6, -0.3, 0.0, 0.5, 2.1]),
    ("PCP4",       5.0, [-0.6, -0.5, -0.4, -0.2, 1.4, 0.1, -0.8]),
    ("HPCAL1",     3.0, [-0.2, 1.2, 0.4, -0.2, -0.3, -0.4, -0.9]),
    ("CUX2",       1.0, [-0.4, 1.1, 0.6, 0.1, -0.6, -0.8, -1.0]),
    ("RORB",       1.4, [-0.7, -0.3, 0.3, 1.2, 0.3, -0.5, -1.0]),
    ("SNAP25",    11.0, [-0.7, 0.2, 0.4, 0.4, 0.4, 0.1, -1.0]),
    ("GFAP",       8.0, [1.4, 0.0, -0.5, -0.5, -0.4, -0.1, 0.9]),
    ("AQP4",       2.0, [1.1, 0.1, -0.1, -0.2, -0.2, 0.0, 0.2]),
    ("RELN",       1.2, [1.5, 0.1, -0.3, -0.2, -0.3, -0.4, -0.7]),
    ("FABP7",      1.2, [1.2, 0.1, -0.1, -0.2, -0.2, -0.2, -0.2]),
    ("C1QL2",      0.9, [-0.2, 1.3, 0.3, -0.3, -0.4, -0.4, -0.6]),
    ("LAMP5",      1.6, [0.1, 1.0, 0.3, -0.2, -0.3, -0.4, -0.8]),
    ("CALB1",      1.2, [-0.3, 0.9, 0.4, -0.1, -0.4, -0.4, -0.8]),
    ("CARTPT",     1.5, [-0.5, 0.4, 1.2, 0.0, -0.3, -0.5, -0.9]),
    ("FREM3",      0.8, [-0.5, 0.3, 1.1, 0.3, -0.3, -0.6, -0.8]),
    ("ENC1",       5.0, [-0.6, 0.8, 0.8, 0.1, 0.2, -0.1, -1.1]),
    ("LINC00507",  1.0, [-0.4, 0.6, 0.9, 0.0, -0.4, -0.6, -0.9]),
    ("NEFH",       1.8, [-0.7, -0.3, 0.0, 0.8, 0.8, 0.0, 0.0]),
    ("PVALB",      2.0, [-0.6, 0.0, 0.2, 0.9, 0.6, -0.2, -0.8]),
    ("NEFM",       4.0, [-0.7, -0.3, 0.3, 0.6, 0.9, 0.0, -0.4]),
    ("FEZF2",      0.8, [-0.5, -0.4, -0.3, 0.0, 1.2, 0.5, -0.7]),
    ("TRABD2A",    0.7, [-0.4, -0.3, -0.2, 0.0, 1.3, 0.1, -0.5]),
    ("ETV1",       0.9, [-0.4, -0.4, -0.2, 0.1, 1.0, 0.4, -0.4]),
    ("B3GALT2",    0.9, [-0.3, -0.2, -0.1, 0.1, 0.8, 0.3, -0.5]),
    ("KRT17",      1.5, [-0.3, -0.4, -0.3, -0.1, 0.2, 1.4, -0.1]),
    ("NTNG2",      1.0, [-0.3, -0.4, -0.2, 0.0, 0.3, 1.2, -0.2]),
    ("TLE4",       1.2, [-0.4, -0.3, -0.2, 0.0, 0.3, 1.1, -0.3]),
    ("FOXP2",      0.9, [-0.3, -0.4, -0.3, 0.0, 0.2, 1.2, -0.3]),
    ("DIRAS2",     2.0, [-0.4, 0.1, 0.2, 0.1, 0.2, 0.7, -0.7]),
    ("MOBP",       4.0, [-0.1, -0.6, -0.6, -0.3, 0.0, 0.4, 1.9]),
    ("PLP1",      12.0, [0.1, -0.6, -0.6, -0.3, 0.0, 0.5, 2.0]),
    ("MOG",        1.4, [-0.1, -0.4, -0.4, -0.2, 0.0, 0.3, 1.6]),
    ("CNP",        5.0, [0.0, -0.4, -0.4, -0.2, 0.0, 0.3, 1.5]),
    ("MAL",        1.6, [-0.1, -0.4, -0.4, -0.2, 0.0, 0.3, 1.6]),
    // neurons, everywhere but in white matter
    ("SYT1",       7.0, [-0.6, 0.2, 0.3, 0.3, 0.3, 0.1, -0.9]),
    ("NRGN",      14.0, [-0.7, 0.5, 0.4, 0.2, 0.2, -0.1, -1.2]),
    ("CAMK2A",     5.0, [-0.6, 0.4, 0.4, 0.2, 0.2, 0.0, -1.1]),
    ("VSNL1",      6.0, [-0.6, 0.3, 0.4, 0.2, 0.2, 0.1, -1.0]),
    ("CHN1",       5.0, [-0.5, 0.3, 0.3, 0.2, 0.2, 0.1, -0.9]),
    ("THY1",       7.0, [-0.6, 0.1, 0.3, 0.4, 0.4, 0.1, -0.7]),
    ("OLFM1",      5.0, [-0.4, 0.3, 0.3, 0.2, 0.2, 0.0, -0.8]),
    ("GAD1",       1.0, [0.1, 0.2, 0.1, 0.1, 0.1, 0.0, -0.6]),
    ("SST",        1.5, [-0.3, 0.1, 0.1, 0.1, 0.3, 0.3, -0.3]),
    // everywhere
    ("ACTB",      12.0, [0.0; 7]),
    ("GAPDH",      9.0, [0.0; 7]),
    ("TMSB10",    12.0, [0.0; 7]),
    ("FTH1",      13.0, [0.0; 7]),
    ("CALM1",     11.0, [0.0; 7]),
    ("UBB",        7.0, [0.0; 7]),
    ("EEF1A1",     9.0, [0.0; 7]),
    ("RPL10",      7.0, [0.0; 7]),
    ("RPS27",      7.0, [0.0; 7]),
    ("HBB",        2.0, [0.0; 7]),
    ("HBA2",       1.2, [0.0; 7]),
    // mitochondrial
    ("MT-CO1",    42.0, [0.0, 0.0, 0.1, 0.1, 0.1, 0.0, -0.3]),
    ("MT-CO2",    48.0, [0.0, 0.0, 0.1, 0.1, 0.1, 0.0, -0.3]),
    ("MT-CO3",    44.0, [0.0, 0.0, 0.1, 0.1, 0.1, 0.0, -0.3]),
    ("MT-ATP6",   34.0, [0.0, 0.0, 0.1, 0.1, 0.1, 0.0, -0.3]),
    ("MT-ND1",    26.0, [0.0, 0.0, 0.1, 0.1, 0.1, 0.0, -0.3]),
    ("MT-ND2",    24.0, [0.0, 0.0, 0.1, 0.1, 0.1, 0.0, -0.3]),
    ("MT-ND4",    28.0, [0.0, 0.0, 0.1, 0.1, 0.1, 0.0, -0.3]),
    ("MT-CYB",    26.0, [0.0, 0.0, 0.1, 0.1, 0.1, 0.0, -0.3]),
    // spike-ins
    ("ERCC-00002", 1.2, [0.0; 7]),
    ("ERCC-00074", 1.0, [0.0; 7]),
    ("ERCC-00096", 1.1, [0.0; 7]),
    ("ERCC-00130", 1.4, [0.0; 7]),
];

/// Programmes that differ from spot to spot regardless of space (the mix of cells below a spot,
/// its state), and those that change smoothly along the section.
const SCATTERED: usize = 3;
const SMOOTH: usize = 2;

/// A gene's part in the model.
struct Gene {
    level: f64,
    layers: [f64; 7],
    scattered: [f64; SCATTERED],
    smooth: [f64; SMOOTH],
    /// Size of the negative binomial: variance is mean + mean² / size.
    size: f64,
}

pub(crate) struct Counts {
    pub genes: Vec<String>,
    pub matrix: Matrix,
}

pub(crate) fn counts(options: &Synthetic, places: &[Place]) -> Counts {
    let genes: Vec<Gene> = (0..options.n_genes).map(|g| gene(options, g)).collect();
    let level: f64 = genes.iter().map(|g| g.level).sum();
    let per_level = if level > 0.0 { options.depth / level } else { 0.0 };
    let stream = rng::hash("counts") ^ options.seed;
    let rows: Vec<(Vec<u32>, Vec<f32>)> = places
        .par_iter()
        .enumerate()
        .map(|(i, place)| {
            // A generator of its own for each spot: the bits do not depend on who draws first.
            let mut rng = Rng::new(rng::at(stream, i as u64));
            let state = State::new(options, place, &mut rng);
            let (mut indices, mut values) = (Vec::new(), Vec::new());
            for (g, gene) in genes.iter().enumerate() {
                let mean = per_level * gene.level * state.factor(gene);
                let count = negative_binomial(&mut rng, mean, gene.size);
                if count > 0 {
                    indices.push(g as u32);
                    values.push(count as f32);
                }
            }
            (indices, values)
        })
        .collect();
    let mut indptr = vec![0];
    let (mut indices, mut values) = (Vec::new(), Vec::new());
    for (i, v) in rows {
        indices.extend(i);
        values.extend(v);
        indptr.push(indices.len());
    }
    let (nrows, ncols) = (places.len(), options.n_genes);
    let values = Values::F32(values);
    let named = NAMED.iter().map(|n| n.0.to_string());
    let rest = (1..).map(|k| format!("GENE{k:04}"));
    Counts {
        genes: named.chain(rest).take(options.n_genes).collect(),
        matrix: Matrix::Csr(Sparse { nrows, ncols, indptr, indices, values }),
    }
}

fn gene(options: &Synthetic, index: usize) -> Gene {
    let mut rng = Rng::new(rng::at(rng::hash("genes") ^ options.seed, index as u64));
    let named = NAMED.get(index);
    let level = match named {
        Some(n) => n.1,
        None => (rng.normal() - 0.35).exp(),
    };
    let mut layers = [0.0; 7];
    match named {
        Some(n) => layers = n.2,
        // Half of the others follow the layers, weakly and smoothly with depth.
        None if rng.uniform() < 0.5 => {
            let (centre, width) = (rng.uniform_in(-0.5, 6.5), rng.uniform_in(0.8, 2.2));
            let strength = 0.66 * rng.normal();
            for (l, v) in layers.iter_mut().enumerate() {
                *v = strength * (-0.5 * ((l as f64 - centre) / width).powi(2)).exp();
            }
        }
        None => {}
    }
    for v in &mut layers {
        *v *= options.effect;
    }
    let spike = named.is_some_and(|n| n.0.starts_with("ERCC"));
    let mut loading = |part: f64, strength: f64| {
        let (u, z) = (rng.uniform(), rng.normal());
        if u < part && !spike { strength * z } else { 0.0 }
    };
    let scattered = [(); SCATTERED].map(|()| loading(0.30, 0.25));
    let smooth = [(); SMOOTH].map(|()| loading(0.15, 0.08));
    let size = 2.0 + 10.0 * rng.uniform();
    Gene { level, layers, scattered, smooth, size }
}

/// What a spot is like: everything that its genes have in common.
struct State {
    library: f64,
    /// Its share in each layer: spots near a border have something of both sides.
    shares: [f64; 7],
    scattered: [f64; SCATTERED],
    smooth: [f64; SMOOTH],
}

impl State {
    fn new(options: &Synthetic, place: &Place, rng: &mut Rng) -> Self {
        let mut shares = [0.0; 7];
        let mut start = 0.0;
        for (share, layer) in shares.iter_mut().zip(&LAYERS) {
            // The part of a small window around the spot's depth that lies in the layer.
            let (low, high) = (place.depth - 0.012, place.depth + 0.012);
            let first = if start == 0.0 { low } else { low.max(start) };
            let last = if layer.end == 1.0 { high } else { high.min(layer.end) };
            *share = (last - first).max(0.0) / 0.024;
            start = layer.end;
        }
        let typical: f64 = shares.iter().zip(&LAYERS).map(|(s, l)| s * l.depth).sum();
        let library = typical * (0.22 * rng.normal()).exp();
        let scattered = [(); SCATTERED].map(|()| rng.normal());
        let mut k = 0;
        let smooth = [(); SMOOTH].map(|()| {
            k += 1;
            let seed = rng::hash("gradient") ^ options.seed.wrapping_add(k);
            1.6 * noise::value(seed, 2.0 * place.along, 1.3 * place.depth)
        });
        State { library, shares, scattered, smooth }
    }

    fn factor(&self, gene: &Gene) -> f64 {
        let dot = |a: &[f64], b: &[f64]| a.iter().zip(b).map(|(a, b)| a * b).sum::<f64>();
        let effect = dot(&self.shares, &gene.layers)
            + dot(&self.scattered, &gene.scattered)
            + dot(&self.smooth, &gene.smooth);
        self.library * effect.exp()
    }
}

/// A negative binomial count: by inversion for small means, as a gamma mixture for large ones.
fn negative_binomial(rng: &mut Rng, mean: f64, size: f64) -> u64 {
    if mean > 15.0 {
        let rate = rng.gamma(size) * mean / size;
        return rng.poisson(rate);
    }
    let success = mean / (mean + size);
    let mut p = (-size * (mean / size).ln_1p()).exp();
    let mut u = rng.uniform();
    let mut k = 0u64;
    while u > p && k < 1000 {
        u -= p;
        p *= success * (size + k as f64) / (k as f64 + 1.0);
        k += 1;
    }
    k
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn negative_binomial_has_its_moments() {
        let mut rng = Rng::new(4);
        for (mean, size) in [(0.3, 2.0), (4.0, 5.0), (40.0, 8.0)] {
            let v: Vec<f64> =
                (0..60_000).map(|_| negative_binomial(&mut rng, mean, size) as f64).collect();
            let m = v.iter().sum::<f64>() / v.len() as f64;
            let var = v.iter().map(|x| (x - m).powi(2)).sum::<f64>() / v.len() as f64;
            let expected = mean + mean * mean / size;
            assert!((m / mean - 1.0).abs() < 0.03, "{m} {mean}");
            assert!((var / expected - 1.0).abs() < 0.07, "{var} {expected}");
        }
    }
}
