//! Data sets: one that comes with the library, and public ones to download.
//!
//! [`synthetic`] makes a slide of cortex: spots, counts, labels and an image, all drawn from a
//! seed, so that every notebook runs without a file. `anatomy` knows the shape of the tissue,
//! `expression` the counts, `stain` the image; another tissue is another anatomy.
//!
//! [`visium_sge`], [`dlpfc`] and the others download public slides once and keep them
//! ([`Downloads`] says where); [`list`] names them, and [`fetch`] downloads whatever else there is.

mod anatomy;
mod download;
mod expression;
mod molecules;
mod noise;
mod public;
mod registry;
mod stain;
#[cfg(test)]
mod tests;
mod transfer;
mod unpack;

pub use download::Downloads;
pub use molecules::{compartment_of, synthetic_transcripts};
pub use public::{dlpfc, fetch, her2st, spatialformer, stimage, visium_sge};
pub use registry::list;

use crate::anndata::{AnnData, Categorical, Column, Dense, Frame, Map, Matrix, Value};
use crate::error::{Error, Result};
use crate::rng;
use anatomy::{Cortex, Place};

/// Name of the synthetic slide's library.
const LIBRARY: &str = "synthetic";

/// Pixels of the hires image's side.
const HIRES: usize = 1200;

/// Options of [`synthetic`].
#[derive(Debug, Clone, PartialEq)]
pub struct Synthetic {
    seed: u64,
    n_genes: usize,
    depth: f64,
    effect: f64,
    image: bool,
}

impl Default for Synthetic {
    fn default() -> Self {
        Synthetic { seed: 0, n_genes: 2000, depth: 4000.0, effect: 1.0, image: true }
    }
}

impl Synthetic {
    /// Seed of everything random (0). Another seed is another section of the same tissue: other
    /// curves, genes and counts.
    pub fn seed(mut self, seed: u64) -> Self {
        self.seed = seed;
        self
    }

    /// Number of genes (2,000): first those with real names (layer markers, mitochondrial and
    /// spike-in genes), then `GENE0001`, ….
    pub fn n_genes(mut self, n_genes: usize) -> Self {
        self.n_genes = n_genes;
        self
    }

    /// Counts in a typical spot, all genes together (4,000).
    pub fn depth(mut self, depth: f64) -> Self {
        self.depth = depth;
        self
    }

    /// How strongly genes differ between layers (1): 0 leaves nothing to find.
    pub fn effect(mut self, effect: f64) -> Self {
        self.effect = effect;
        self
    }

    /// Whether the images are made (on by default).
    pub fn image(mut self, on: bool) -> Self {
        self.image = on;
        self
    }
}

impl Synthetic {
    fn check(&self) -> Result<()> {
        if !(0.0..=1e8).contains(&self.depth) {
            return Err(Error::parameter("depth", self.depth, "must be between 0 and 1e8"));
        }
        if !(0.0..=5.0).contains(&self.effect) {
            return Err(Error::parameter("effect", self.effect, "must be between 0 and 5"));
        }
        if self.n_genes > 1_000_000 {
            return Err(Error::parameter("n_genes", self.n_genes, "must be at most 1,000,000"));
        }
        Ok(())
    }
}

/// A synthetic slide of cortex, as a reader of Visium folders would give it.
///
/// About 1,850 spots on the hexagonal grid of a Visium slide (spot distance 137 px, diameter 89 px
/// of the full-resolution image) lie on a section with six curved layers and white matter. Counts
/// are negative binomial, with log-normal gene means, library sizes that vary, layer markers,
/// smooth gradients, and programmes that vary from spot to spot without regard to space, so that
/// clustering spots without their coordinates finds the layers only in part: k-means on principal
/// components agrees with the truth to an adjusted Rand index of 0.3 to 0.4, STAMGC to 0.8 to 0.9
/// (three tissues, four training seeds).
///
/// * `X`: counts, CSR of `float32`
/// * `obs`: `in_tissue`, `array_row`, `array_col`, and the truth, `layer` (`L1` … `L6`, `WM`)
/// * `var`: `gene_ids`, `feature_types`, `genome`
/// * `obsm["spatial"]`: (x, y) in pixels of the full-resolution image
/// * `uns["spatial"]["synthetic"]`: `images` (`hires`, `lowres`), `scalefactors`, `metadata`
///
/// The same options give the same bits whatever the number of threads.
///
/// # Errors
/// [`Error::Parameter`] for a depth or an effect that is no sensible number.
///
/// ```
/// use spatialkit::datasets::{self, Synthetic};
/// let slide = datasets::synthetic(&Synthetic::default().n_genes(100))?;
/// assert_eq!(slide.n_vars(), 100);
/// # Ok::<(), spatialkit::Error>(())
/// ```
pub fn synthetic(options: &Synthetic) -> Result<AnnData> {
    options.check()?;
    let tissue = Cortex::new(options.seed);
    let spots = tissue.spots();
    let places: Vec<Place> = spots.iter().map(|s| s.place).collect();

    let barcodes = spots.iter().map(|s| barcode(s.row, s.column)).collect();
    let mut obs = Frame::new(barcodes);
    let labels: Vec<i32> = places.iter().map(|p| p.layer as i32).collect();
    let layer = Categorical {
        codes: labels,
        categories: anatomy::LAYERS.iter().map(|l| l.name.to_string()).collect(),
        typed: None,
        ordered: false,
    };
    let counts = expression::counts(options, &places);
    let genes = counts.genes;
    let n_genes = genes.len();
    let mut var = Frame::new(genes);
    let text = |t: &str| Column::Str(vec![Some(t.to_string()); n_genes]);
    let ids = (0..n_genes).map(|i| Some(format!("SYNG{:011}", i + 1))).collect();
    let integers =
        |f: fn(&anatomy::Spot) -> i64| Column::from(spots.iter().map(f).collect::<Vec<_>>());
    let columns = [
        ("in_tissue", integers(|_| 1)),
        ("array_row", integers(|s| s.row as i64)),
        ("array_col", integers(|s| s.column as i64)),
        ("layer", layer.into()),
    ];
    for (name, column) in columns {
        obs.insert(name, column)?;
    }
    let columns = [
        ("gene_ids", Column::Str(ids)),
        ("feature_types", text("Gene Expression")),
        ("genome", text("synthetic")),
    ];
    for (name, column) in columns {
        var.insert(name, column)?;
    }
    let mut adata = AnnData::new(counts.matrix, obs, var)?;
    let flat: Vec<i64> = spots.iter().flat_map(|s| [s.x as i64, s.y as i64]).collect();
    let coords = Dense::new(spots.len(), 2, flat)?;
    adata.obsm.insert("spatial".into(), Matrix::Dense(coords));
    adata.uns.insert("spatial".into(), library(&tissue, options));
    Ok(adata)
}

fn library(tissue: &Cortex, options: &Synthetic) -> Value {
    let map = |entries: Vec<(&str, Value)>| -> Value {
        entries.into_iter().map(|(k, v)| (k.to_string(), v)).collect::<Map<Value>>().into()
    };
    let scale = HIRES as f64 / anatomy::SIDE;
    let images = if options.image {
        let hires = stain::hematoxylin_eosin(tissue, options.seed, HIRES);
        let lowres = hires.thumbnail(HIRES / 2);
        vec![("hires", hires.to_value()), ("lowres", lowres.to_value())]
    } else {
        Vec::new()
    };
    let factors = vec![
        ("tissue_hires_scalef", Value::float(scale)),
        ("tissue_lowres_scalef", Value::float(scale / 2.0)),
        ("spot_diameter_fullres", Value::float(anatomy::SPOT)),
        ("fiducial_diameter_fullres", Value::float(anatomy::FIDUCIAL)),
    ];
    let metadata = vec![
        ("chemistry_description", "Synthetic tissue".into()),
        ("software_version", concat!("spatialkit-", env!("CARGO_PKG_VERSION")).into()),
    ];
    let entry = map(vec![
        ("images", map(images)),
        ("scalefactors", map(factors)),
        ("metadata", map(metadata)),
    ]);
    map(vec![(LIBRARY, entry)])
}

/// A 10x-like barcode that belongs to a place on the array.
fn barcode(row: usize, column: usize) -> String {
    let bits = rng::at(rng::hash("barcode"), (row * 1000 + column) as u64);
    let base = |k: usize| ['A', 'C', 'G', 'T'][(bits >> (2 * k)) as usize & 3];
    (0..16).map(base).chain("-1".chars()).collect()
}

#[cfg(test)]
mod synthetic_tests {
    use super::*;

    #[test]
    fn it_looks_like_a_visium_slide() {
        let a = synthetic(&Synthetic::default().image(false)).unwrap();
        a.check().unwrap();
        assert!((1500..=2000).contains(&a.n_obs()), "{} spots", a.n_obs());
        assert_eq!(a.n_vars(), 2000);
        let unique: std::collections::HashSet<&String> = a.obs.names().iter().collect();
        assert_eq!(unique.len(), a.n_obs());
        // Every layer has its share of spots.
        let layer = a.obs_column("layer").unwrap().to_categorical();
        assert_eq!(layer.categories, ["L1", "L2", "L3", "L4", "L5", "L6", "WM"]);
        for code in 0..7 {
            let n = layer.codes.iter().filter(|&&c| c == code).count();
            assert!(n >= 100, "{}: {n} spots", layer.categories[code as usize]);
        }
        // Neighbours in a row are 137 px apart.
        let d = crate::pl::spacing_of(&a);
        assert!((d - 137.0).abs() < 1.5, "{d}");
    }

    #[test]
    fn counts_have_the_depth_and_the_zeros_of_a_slide() {
        let a = synthetic(&Synthetic::default().image(false)).unwrap();
        let x = a.x().unwrap().to_csr();
        let values = x.values.to_f32();
        assert!(values.iter().all(|&v| v > 0.0 && v.fract() == 0.0));
        let sum = |r: usize| values[x.indptr[r]..x.indptr[r + 1]].iter().sum::<f32>();
        let mut totals: Vec<f32> = (0..x.nrows).map(sum).collect();
        totals.sort_by(f32::total_cmp);
        let median = totals[totals.len() / 2];
        assert!((3000.0..5000.0).contains(&median), "median depth {median}");
        let zeros = 1.0 - x.nnz() as f64 / (x.nrows * x.ncols) as f64;
        assert!((0.4..0.85).contains(&zeros), "{zeros} zeros");
    }

    #[test]
    fn markers_are_highest_in_their_layer() {
        let a = synthetic(&Synthetic::default().image(false)).unwrap();
        let layer = a.obs_column("layer").unwrap().to_categorical();
        for (gene, home) in [("MBP", "WM"), ("PCP4", "L5"), ("CUX2", "L2"), ("RORB", "L4")] {
            let v = a.x().unwrap().column_f32(a.var_index(gene).unwrap());
            let mean = |c: usize| {
                let of: Vec<f32> =
                    (0..v.len()).filter(|&i| layer.codes[i] == c as i32).map(|i| v[i]).collect();
                of.iter().sum::<f32>() / of.len() as f32
            };
            let means: Vec<f32> = (0..7).map(mean).collect();
            let best = (0..7).max_by(|&i, &j| means[i].total_cmp(&means[j])).unwrap();
            assert_eq!(layer.categories[best], home, "{gene}: {means:?}");
        }
    }

    #[test]
    fn the_same_seed_gives_the_same_bits_with_any_number_of_threads() {
        let make = |threads: usize, seed: u64| {
            let pool = rayon::ThreadPoolBuilder::new().num_threads(threads).build().unwrap();
            pool.install(|| synthetic(&Synthetic::default().n_genes(120).seed(seed))).unwrap()
        };
        let one = make(1, 5);
        assert!(one == make(3, 5));
        assert!(one != make(1, 6));
    }

    #[test]
    fn few_genes_and_none_are_fine() {
        for n in [0, 1, 7] {
            let a = synthetic(&Synthetic::default().n_genes(n).image(false)).unwrap();
            assert_eq!(a.n_vars(), n);
            a.check().unwrap();
        }
    }
}
