//! Features of colour and texture that need no weights: the default encoder.
//!
//! ```text
//! patch ─ Planes: red … value, haematoxylin, eosin, residual, density
//!           ├─ colour     moments, percentiles, histograms; middle and ring; empty glass
//!           ├─ pattern    at 4 scales of 3 planes: edges, neighbours, spots, co-occurrence
//!           └─ spectrum   power by wavelength
//!         ─ List: raw, and in units of what is usual ─ orthonormal projection ─ 1024 numbers
//! ```
//!
//! `plane` makes planes, `list` holds statistics and the list of features.

mod colour;
mod list;
mod pattern;
mod plane;
mod spectrum;

use super::Encoder;
use crate::error::{Error, Result};
use crate::image::{GlcmScratch, Image};
use crate::linalg::orthonormalize;
use crate::progress::check_interrupt;
use crate::rng::{Rng, hash};
use list::{List, correlation, usual};
use ndarray::{Array2, ArrayViewMut1};
use plane::{Plane, Planes};
use rayon::prelude::*;
use rustfft::FftPlanner;
use std::sync::{Arc, LazyLock, OnceLock};

/// Scales of each plane, each half the one before.
const LEVELS: usize = 4;

/// An encoder of patches of stained tissue without weights: colour, stains and texture.
///
/// Features are computed on a patch of any size as it is, without resizing, so patches that are
/// compared should have one size and one resolution. They are
///
/// * moments, percentiles and histograms of red, green, blue, saturation, value, hue, and of the
///   amounts of haematoxylin, eosin and what neither explains (colour deconvolution; Ruifrok and
///   Johnston, Anal. Quant. Cytol. Histol. 2001);
/// * what distinguishes the middle of the patch from its surroundings, and the part and the width
///   of empty glass;
/// * of haematoxylin, eosin and their density at four scales: edges and the coherence of the
///   structure tensor, local binary patterns (Ojala et al., 2002), the density of peaks, and
///   co-occurrence of shades (Haralick et al., 1973);
/// * power by wavelength.
///
/// Pure black counts as empty glass. Each feature is measured from what is usual in H&E, in units
/// of how much it usually varies: constants that are the same for every slide, so that an embedding
/// depends on its patch alone. A matrix with orthonormal columns, drawn from the seed, turns the
/// features into 1024 numbers. There are fewer features than that, so distances and angles between
/// embeddings are exactly those between features; with a smaller [`width`](TextureEncoder::width)
/// they are kept approximately (Johnson and Lindenstrauss, 1984).
///
/// ```
/// use spatialkit::image::Image;
/// use spatialkit::models::encoder::{Encoder, TextureEncoder};
/// let patch = Image::new(32, 32, vec![180; 32 * 32 * 3])?;
/// let encoder = TextureEncoder::new();
/// assert_eq!(encoder.encode(&[patch])?.dim(), (1, 1024));
/// # Ok::<(), spatialkit::Error>(())
/// ```
#[derive(Debug, Clone)]
pub struct TextureEncoder {
    width: usize,
    seed: u64,
    /// Features × width; drawn when it is first needed.
    projection: Arc<OnceLock<Array2<f32>>>,
}

impl Default for TextureEncoder {
    fn default() -> Self {
        TextureEncoder::new()
    }
}

/// Changes whenever the features of a patch do; part of the fingerprint.
const VERSION: u32 = 1;

/// What a thread keeps between patches.
#[derive(Default)]
struct Scratch {
    glcm: GlcmScratch,
    planner: Option<FftPlanner<f32>>,
}

impl TextureEncoder {
    /// With 1024 numbers a patch.
    pub fn new() -> Self {
        TextureEncoder { width: 1024, seed: 0, projection: Arc::default() }
    }

    /// How many numbers a patch becomes. Default: 1024, as of UNI.
    pub fn with_width(self, width: usize) -> Self {
        TextureEncoder { width, projection: Arc::default(), ..self }
    }

    /// Seed of the projection. Default: 0.
    pub fn seed(self, seed: u64) -> Self {
        TextureEncoder { seed, projection: Arc::default(), ..self }
    }

    /// The names of the features, in their order, e.g. `haematoxylin level 1 contrast at 3`.
    pub fn feature_names() -> &'static [String] {
        static NAMES: LazyLock<Vec<String>> = LazyLock::new(|| {
            let flat = Image { width: 8, height: 8, pixels: vec![255; 8 * 8 * 3] };
            let mut list = List { names: Some(Vec::new()), ..List::default() };
            features(&flat, &mut Scratch::default(), &mut list);
            list.names.unwrap_or_default()
        });
        &NAMES
    }

    /// The features of each patch in their own units, patches × features: optical densities (base
    /// 10), parts of full light, roots of parts of the pixels.
    ///
    /// # Errors
    /// Those of [`Encoder::encode`].
    pub fn raw_features(&self, patches: &[Image]) -> Result<Array2<f32>> {
        rows(patches, Self::feature_names().len(), |list, mut row| {
            row.iter_mut().zip(&list.raw).for_each(|(o, &v)| *o = v);
        })
    }

    /// A random matrix with orthonormal columns or, where there are more features than numbers,
    /// orthonormal rows, scaled to keep distances in the mean.
    fn projection(&self) -> &Array2<f32> {
        self.projection.get_or_init(|| {
            let (n, width) = (Self::feature_names().len(), self.width);
            let mut rng = Rng::stream(self.seed, "texture projection");
            let mut normal = |shape| Array2::from_shape_simple_fn(shape, || rng.normal());
            if width >= n {
                let q = orthonormalize(normal((width, n)).view());
                q.t().mapv(|v| v as f32).as_standard_layout().into_owned()
            } else {
                let scale = (n as f64 / width.max(1) as f64).sqrt();
                orthonormalize(normal((n, width)).view()).mapv(|v| (v * scale) as f32)
            }
        })
    }
}

impl Encoder for TextureEncoder {
    fn name(&self) -> &str {
        "texture"
    }

    fn width(&self) -> usize {
        self.width
    }

    fn fingerprint(&self) -> String {
        let names = hash(&Self::feature_names().join("\n"));
        format!("texture {VERSION}, width {}, seed {}, {names:016x}", self.width, self.seed)
    }

    fn encode(&self, patches: &[Image]) -> Result<Array2<f32>> {
        if self.width == 0 {
            return Err(Error::parameter("width", 0, "must be at least 1; 1024 is the default"));
        }
        let projection = self.projection();
        rows(patches, self.width, |list, mut row| {
            // Feature by feature in their order, so that the numbers of a patch do not depend on
            // those that it is encoded with.
            let out = row.as_slice_mut().expect("a row of a new array");
            for (&v, weights) in list.scaled.iter().zip(projection.rows()) {
                let weights = weights.to_slice().expect("in standard order");
                out.iter_mut().zip(weights).for_each(|(o, &w)| *o += v * w);
            }
        })
    }
}

/// One row for each patch, filled from its features, on all threads.
fn rows(
    patches: &[Image],
    width: usize,
    fill: impl Fn(&List, ArrayViewMut1<f32>) + Sync,
) -> Result<Array2<f32>> {
    if let Some(i) = patches.iter().position(|p| p.pixels.is_empty()) {
        let (w, h) = (patches[i].width, patches[i].height);
        let reason = format!("has {w} × {h} pixels; does it lie outside the image?");
        return Err(Error::data(format!("patch {i}"), reason));
    }
    let mut out = Array2::zeros((patches.len(), width));
    out.outer_iter_mut().into_par_iter().zip(patches).try_for_each_init(
        Scratch::default,
        |scratch, (row, patch)| -> Result<()> {
            check_interrupt()?;
            let mut list = List::default();
            features(patch, scratch, &mut list);
            fill(&list, row);
            Ok::<(), Error>(())
        },
    )?;
    Ok(out)
}

/// All features of a patch that has pixels; their number does not depend on it.
fn features(patch: &Image, scratch: &mut Scratch, list: &mut List) {
    let planes = Planes::of(patch);
    colour::colour(&planes, list);
    let Planes { stains: [haematoxylin, eosin, _], density, .. } = planes;
    let pyramids = [("haematoxylin", haematoxylin), ("eosin", eosin), ("density", density)]
        .map(|(name, plane)| (name, pyramid(plane)));
    let [haematoxylin, eosin, density] = pyramids.each_ref().map(|(_, levels)| &levels[..]);
    for (name, levels) in &pyramids {
        colour::middle(name, &levels[0], list);
    }
    colour::gaps(density, list);
    for (level, (h, e)) in haematoxylin.iter().zip(eosin).enumerate() {
        let name = || format!("haematoxylin with eosin correlation level {level}");
        list.push(name, correlation(h, e), usual(-0.8, 0.2));
    }
    for (name, levels) in &pyramids {
        for (level, plane) in levels.iter().enumerate() {
            let name = format!("{name} level {level}");
            if level > 0 {
                pattern::spread(&name, plane, list);
            }
            pattern::edges(&name, plane, list);
            pattern::neighbourhoods(&name, plane, list);
            // At the last there are few pairs.
            if level + 1 < LEVELS {
                pattern::shades(&name, plane, &mut scratch.glcm, list);
            }
        }
    }
    let named = [("haematoxylin", &haematoxylin[0]), ("eosin", &eosin[0])];
    let planner = scratch.planner.get_or_insert_with(FftPlanner::new);
    spectrum::spectrum(named, planner, list);
}

/// A plane and its halves.
fn pyramid(plane: Plane) -> Vec<Plane> {
    let mut levels = vec![plane];
    for level in 1..LEVELS {
        levels.push(levels[level - 1].halved());
    }
    levels
}

#[cfg(test)]
mod tests;
