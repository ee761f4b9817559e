//! [`sepal`]: genes by how long diffusion takes to level their pattern.

use super::features::{Features, LANES, Source};
use super::graph::{CONNECTIVITIES, coordinates, graph};
use crate::anndata::{AnnData, Select, Value};
use crate::error::{Error, Result};
use crate::linalg::Csr;
use crate::progress::{Progress, check_interrupt};
use ndarray::Array2;
use rayon::prelude::*;
use std::sync::Mutex;

/// Options of [`sepal`].
#[derive(Debug, Clone, PartialEq)]
pub struct Sepal {
    max_neighs: usize,
    source: Source,
    n_iter: usize,
    dt: f64,
    thresh: f64,
    connectivity_key: String,
    spatial_key: String,
}

impl Sepal {
    /// On a grid whose spots have at most `max_neighs` neighbours: 4 (square) or 6 (Visium).
    pub fn new(max_neighs: usize) -> Self {
        Sepal {
            max_neighs,
            source: Source::Genes { genes: None, layer: None, use_raw: false },
            n_iter: 30_000,
            dt: 0.001,
            thresh: 1e-8,
            connectivity_key: CONNECTIVITIES.into(),
            spatial_key: "spatial".into(),
        }
    }

    /// Which genes. Default: those marked in `var["highly_variable"]` if there is such a column,
    /// else all.
    pub fn genes(mut self, names: impl Into<Select>) -> Self {
        if let Source::Genes { genes, .. } = &mut self.source {
            *genes = Some(names.into());
        }
        self
    }

    /// Take the values from this layer. Default: from X.
    pub fn layer(mut self, key: impl Into<String>) -> Self {
        if let Source::Genes { layer, .. } = &mut self.source {
            *layer = Some(key.into());
        }
        self
    }

    /// Take the values from `raw`. Default: false.
    pub fn use_raw(mut self, yes: bool) -> Self {
        if let Source::Genes { use_raw, .. } = &mut self.source {
            *use_raw = yes;
        }
        self
    }

    /// Steps at most. Default: 30,000.
    pub fn n_iter(mut self, n: usize) -> Self {
        self.n_iter = n;
        self
    }

    /// Length of a step. Default: 0.001.
    pub fn dt(mut self, dt: f64) -> Self {
        self.dt = dt;
        self
    }

    /// Diffusion has ended when the entropy a spot changes by no more than this in a step.
    /// Default: 1e-8.
    pub fn thresh(mut self, thresh: f64) -> Self {
        self.thresh = thresh;
        self
    }

    /// The graph in `obsp`. Default: `spatial_connectivities`.
    pub fn connectivity_key(mut self, key: impl Into<String>) -> Self {
        self.connectivity_key = key.into();
        self
    }

    /// The entry of `obsm` with the coordinates. Default: `spatial`.
    pub fn spatial_key(mut self, key: impl Into<String>) -> Self {
        self.spatial_key = key.into();
        self
    }
}

/// The grid: spots with all neighbours (saturated) and those at the border.
struct Grid {
    /// The saturated spots.
    full: Vec<u32>,
    /// Their neighbours, `max_neighs` each, as positions among all spots.
    near: Vec<u32>,
    /// The other spots, each with the position in `full` of the saturated spot whose change it
    /// takes over: the first among its neighbours, else the nearest (by |x| + |y|).
    border: Vec<(u32, u32)>,
    max_neighs: usize,
}

impl Grid {
    fn of(g: &Csr<f64>, coords: &Array2<f64>, max_neighs: usize) -> Result<Grid> {
        let degree = |r: usize| g.indptr[r + 1] - g.indptr[r];
        let most = (0..g.nrows).map(degree).max().unwrap_or(0);
        if most != max_neighs {
            let reason = format!(
                "the graph has spots with {most} neighbours; make a grid of {max_neighs} with \
                 `gr::spatial_neighbors`, one ring, without the diagonal"
            );
            return Err(Error::parameter("max_neighs", max_neighs, reason));
        }
        let mut place = vec![u32::MAX; g.nrows];
        let (mut full, mut near) = (Vec::new(), Vec::new());
        for r in (0..g.nrows).filter(|&r| degree(r) == max_neighs) {
            place[r] = full.len() as u32;
            full.push(r as u32);
            near.extend_from_slice(&g.indices[g.indptr[r]..g.indptr[r + 1]]);
        }
        let closest = |r: usize| {
            let apart = |&f: &u32| {
                let pairs = coords.row(r).into_iter().zip(coords.row(f as usize));
                pairs.map(|(a, b)| (a - b).abs()).sum::<f64>()
            };
            let best = full.iter().enumerate().min_by(|a, b| apart(a.1).total_cmp(&apart(b.1)));
            best.map_or(0, |(i, _)| i as u32)
        };
        let source = |r: usize| {
            let mine = &g.indices[g.indptr[r]..g.indptr[r + 1]];
            let first = mine.iter().map(|&c| place[c as usize]).find(|&p| p != u32::MAX);
            (r as u32, first.unwrap_or_else(|| closest(r)))
        };
        let rest: Vec<usize> = (0..g.nrows).filter(|&r| degree(r) < max_neighs).collect();
        let border = rest.into_par_iter().map(source).collect();
        Ok(Grid { full, near, border, max_neighs })
    }
}

type Lanes = [f64; LANES];

/// −Σ p ln p of the values above 0 divided by their sum, for each lane.
fn entropy(grid: &Grid, x: &[Lanes]) -> Lanes {
    let (mut sum, mut logs) = ([0.0; LANES], [0.0; LANES]);
    for &f in &grid.full {
        let row = &x[f as usize];
        for l in 0..LANES {
            // 0 ln 0 is 0; the smallest number in its place gives that without a branch.
            let log = ln(row[l].max(f64::MIN_POSITIVE));
            sum[l] += row[l];
            logs[l] += row[l] * log;
        }
    }
    // −Σ (x/s) ln(x/s) = ln s − (Σ x ln x)/s
    std::array::from_fn(
        |l| {
            if sum[l] < f64::EPSILON { 0.0 } else { sum[l].ln() - logs[l] / sum[l] }
        },
    )
}

/// The natural logarithm of a normal number above 0, within 2 units in the last place; without
/// branches or calls, so that the compiler does several at once.
#[inline(always)]
fn ln(x: f64) -> f64 {
    // x = 2^e · m with m in [√½, √2); ln m = 2 atanh(s), s = (m − 1)/(m + 1).
    const HALF_ROOT: u64 = 0x3fe6_a09e_667f_3bcd;
    let bits = x.to_bits().wrapping_add(0x3ff0_0000_0000_0000 - HALF_ROOT);
    let exponent = ((bits >> 52) as i32 - 1023) as f64;
    let m = f64::from_bits((bits & 0x000f_ffff_ffff_ffff) + HALF_ROOT);
    let s = (m - 1.0) / (m + 1.0);
    let z = s * s;
    // 1/3, 1/5, …, 1/21: |s| < 0.1716, so that what is left out is below 1e-17.
    let mut p = 1.0 / 21.0;
    for k in [19.0, 17.0, 15.0, 13.0, 11.0, 9.0, 7.0, 5.0, 3.0] {
        p = p * z + 1.0 / k;
    }
    let low = exponent * 1.908_214_929_270_587_7e-10;
    let high = exponent * 0.693_147_180_369_123_8;
    high + (2.0 * s + (2.0 * s * z * p + low))
}

/// For each lane the step at which diffusion ended, or NaN.
fn diffuse(grid: &Grid, x: &mut [Lanes], options: &Sepal) -> Result<Lanes> {
    let n = grid.full.len() as f64;
    let k = grid.max_neighs;
    let mut change = vec![[0.0; LANES]; grid.full.len()];
    let mut before = [1.0; LANES];
    let mut end = [f64::NAN; LANES];
    for step in 0..options.n_iter {
        if step % 256 == 0 {
            check_interrupt()?;
        }
        for (c, (&f, near)) in change.iter_mut().zip(grid.full.iter().zip(grid.near.chunks(k))) {
            let mut sum = [0.0; LANES];
            for &j in near {
                let other = &x[j as usize];
                for l in 0..LANES {
                    sum[l] += other[l];
                }
            }
            let here = &x[f as usize];
            for l in 0..LANES {
                // The five-point stencil of a square grid, the seven-point one of a hexagonal.
                c[l] = if k == 6 {
                    (2.0 * sum[l] - 12.0 * here[l]) / 3.0
                } else {
                    sum[l] - 4.0 * here[l]
                };
            }
        }
        let mut add = |to: u32, c: &Lanes| {
            let row = &mut x[to as usize];
            for l in 0..LANES {
                row[l] = (row[l] + c[l] * options.dt).max(0.0);
            }
        };
        grid.full.iter().zip(&change).for_each(|(&f, c)| add(f, c));
        grid.border.iter().for_each(|&(b, from)| add(b, &change[from as usize]));
        let now = entropy(grid, x).map(|e| e / n);
        for l in 0..LANES {
            if end[l].is_nan() && (now[l] - before[l]).abs() <= options.thresh {
                end[l] = step as f64;
            }
        }
        before = now;
        if end.iter().all(|e| !e.is_nan()) {
            break;
        }
    }
    Ok(end)
}

/// Ranks genes by the time that diffusion over the grid takes to level them: the longer, the
/// clearer the pattern (Andersson and Lundeberg, 2021). Wants values that are not negative, such as
/// normalised counts.
///
/// Matches `squidpy.gr.sepal` 1.8.2 within one step (`dt`) for nearly all genes; where the change
/// of entropy runs along the threshold, rounding decides when it is crossed.
///
/// Writes `uns["sepal_score"]`, a table of genes with the column `sepal_score`, highest first; NaN,
/// last, where `n_iter` steps were not enough.
///
/// # Errors
/// [`Error::Data`] without the graph or when a value is negative or not finite;
/// [`Error::MissingKey`] without the coordinates, for a gene or layer that does not exist;
/// [`Error::Parameter`] when `max_neighs` is not 4 or 6 or not the most neighbours of any spot, or
/// another option is out of range.
pub fn sepal(adata: &mut AnnData, options: Sepal) -> Result<()> {
    if ![4, 6].contains(&options.max_neighs) {
        let reason = "must be 4 (a square grid) or 6 (a hexagonal one)";
        return Err(Error::parameter("max_neighs", options.max_neighs, reason));
    }
    if options.n_iter == 0 {
        return Err(Error::parameter("n_iter", 0, "must be at least 1"));
    }
    for (name, value) in [("dt", options.dt), ("thresh", options.thresh)] {
        if !(value > 0.0 && value.is_finite()) {
            return Err(Error::parameter(name, value, "must be above 0 and finite"));
        }
    }
    let g = graph(adata, &options.connectivity_key)?;
    let coords = coordinates(adata, &options.spatial_key)?;
    let grid = Grid::of(&g, &coords, options.max_neighs)?;
    let features = options.source.read(adata)?;
    let columns = features.columns();
    let n = adata.n_obs();
    let all: Vec<usize> = (0..features.len()).collect();
    let progress = Mutex::new(Progress::new("sepal", all.len() as u64));
    let eight = |x: &mut Vec<Lanes>, genes: &[usize]| -> Result<Vec<f64>> {
        columns.fill(genes, x);
        let negative = |l: usize| x.iter().any(|row| row[l] < 0.0);
        if let Some(l) = (0..genes.len()).find(|&l| negative(l)) {
            let reason = "has negative values, which do not diffuse; use counts or their logarithm";
            return Err(Error::data(format!("`{}`", features.name(genes[l])), reason));
        }
        let steps = diffuse(&grid, x, &options)?;
        progress.lock().unwrap_or_else(|e| e.into_inner()).tick(genes.len() as u64)?;
        Ok(steps[..genes.len()].iter().map(|s| s * options.dt).collect())
    };
    let done: Result<Vec<Vec<f64>>> =
        all.par_chunks(LANES).map_init(|| vec![[0.0; LANES]; n], eight).collect();
    let score = done?.concat();
    progress.into_inner().unwrap_or_else(|e| e.into_inner()).finish();
    adata.uns.insert("sepal_score".into(), Value::Frame(table(&features, &score)?));
    Ok(())
}

fn table(features: &Features, score: &[f64]) -> Result<crate::anndata::Frame> {
    let mut order: Vec<usize> = (0..score.len()).collect();
    order.sort_by(|&a, &b| {
        score[a].is_nan().cmp(&score[b].is_nan()).then(score[b].total_cmp(&score[a]))
    });
    let mut table = features.names.take(&order);
    table.insert("sepal_score", order.iter().map(|&g| score[g]).collect::<Vec<f64>>())?;
    Ok(table)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::gr::sample::slide;
    use crate::gr::{SpatialNeighbors, spatial_neighbors};
    use crate::parallel::same_with_any_threads;

    #[test]
    fn the_logarithm_is_the_librarys() {
        for i in 0..200_000 {
            let x = f64::from_bits(0x0010_0000_0000_0000 + i * 0x0000_2a17_1234_5677);
            if x.is_normal() && x > 0.0 {
                let off = (ln(x) - x.ln()).abs();
                assert!(off <= 4e-16 * x.ln().abs().max(0.03), "ln {x} = {} {}", ln(x), x.ln());
            }
        }
        assert_eq!(ln(1.0), 0.0);
    }

    #[test]
    fn a_border_outlasts_a_checkerboard() {
        let mut a = slide(12, 10);
        // Diffusion leaves a gradient as it is, so take a step for it.
        let mut x = a.x().unwrap().to_array_f64();
        x.column_mut(0).mapv_inplace(|x| f64::from(u8::from(x > 5.0)));
        a.x = Some(x.into());
        spatial_neighbors(&mut a, SpatialNeighbors::grid(4)).unwrap();
        let run = || {
            let mut a = a.clone();
            sepal(&mut a, Sepal::new(4)).unwrap();
            let Value::Frame(t) = &a.uns["sepal_score"] else { panic!("no table") };
            (t.names().to_vec(), t.get("sepal_score").unwrap().to_f64().unwrap())
        };
        let (names, score) = same_with_any_threads(run);
        assert_eq!(names, ["0", "1", "2"]);
        // squidpy 1.8.2 on the same slide; a step is 0.001.
        for (got, expected) in score.iter().zip([23.543, 0.28, 0.001]) {
            assert!((got - expected).abs() < 0.0011, "{score:?}");
        }
        sepal(&mut a, Sepal::new(4).n_iter(10_000)).unwrap();
        let Value::Frame(t) = &a.uns["sepal_score"] else { panic!("no table") };
        assert_eq!(t.names(), ["1", "2", "0"]);
        assert!(t.get("sepal_score").unwrap().to_f64().unwrap()[2].is_nan());
    }

    #[test]
    fn a_constant_gene_takes_one_step() {
        let mut a = slide(12, 10);
        spatial_neighbors(&mut a, SpatialNeighbors::grid(4)).unwrap();
        let mut x = a.x().unwrap().to_array_f64();
        x.column_mut(2).fill(3.5);
        a.x = Some(x.into());
        sepal(&mut a, Sepal::new(4).genes([2])).unwrap();
        let Value::Frame(t) = &a.uns["sepal_score"] else { panic!("no table") };
        assert_eq!(t.get("sepal_score").unwrap().to_f64().unwrap(), [0.001]);
    }

    #[test]
    fn bad_input_is_named() {
        let mut a = slide(12, 10);
        let run = |a: &mut AnnData, o| sepal(a, o).unwrap_err().to_string();
        assert!(run(&mut a, Sepal::new(4)).contains("gr::spatial_neighbors"));
        spatial_neighbors(&mut a, SpatialNeighbors::grid(4)).unwrap();
        assert!(run(&mut a, Sepal::new(5)).contains("must be 4"));
        assert!(run(&mut a, Sepal::new(6)).contains("spots with 4 neighbours"));
        assert!(run(&mut a, Sepal::new(4).genes("Mbp")).contains("no name"));
        assert!(run(&mut a, Sepal::new(4).dt(0.0)).contains("above 0"));
        assert!(run(&mut a, Sepal::new(4).spatial_key("xy")).contains("obsm has no entry `xy`"));
        let mut small = slide(3, 2);
        spatial_neighbors(&mut small, SpatialNeighbors::grid(4)).unwrap();
        assert!(run(&mut small, Sepal::new(4)).contains("spots with 3 neighbours"));
        let mut x = a.x().unwrap().to_array_f64();
        x[[3, 1]] = -1.0;
        a.x = Some(x.into());
        assert!(run(&mut a, Sepal::new(4)).contains("negative"));
    }
}
