//! [`HisToSge`]: the whole method on one slide.

use super::network::{Batch, NetworkConfig};
use super::train::Trainer;
use crate::anndata::AnnData;
use crate::error::Result;
use crate::models::encoder::Histology;
use crate::models::gene_maps::{Chunk, GeneMapFit, Learner, Predicted, Settings, run, settings_of};
use crate::nn::{Adam, Store, to_array};

/// HisToSGE: a gene map from the image around each spot and the spots beside it.
///
/// A builder: start from [`recovery`](HisToSge::recovery) or [`generation`](HisToSge::generation), change
/// what differs from the published settings, then [`fit`](HisToSge::fit).
///
/// ```no_run
/// use spatialkit::image::SlideImage;
/// use spatialkit::models::encoder::{Histology, TextureEncoder};
/// use spatialkit::{io, models::HisToSge};
/// let slide = io::read("151673")?;
/// let histology = Histology::new(SlideImage::open("he.tif")?, TextureEncoder::default());
/// let fit = HisToSge::recovery().seed(1).fit(&slide, &histology)?;
/// println!("{fit}");
/// # Ok::<(), spatialkit::Error>(())
/// ```
#[derive(Debug, Clone, PartialEq)]
pub struct HisToSge {
    settings: Settings,
    depth: usize,
    heads: usize,
}

impl Default for HisToSge {
    fn default() -> Self {
        let NetworkConfig { depth, heads, .. } = NetworkConfig::default();
        HisToSge { settings: Settings::new(&[50]), depth, heads }
    }
}

settings_of!(HisToSge);

impl HisToSge {
    /// Side of the patch around each spot, in pixels at full resolution. Default: 50.
    pub fn patch(mut self, size: usize) -> Self {
        self.settings.patches = vec![size];
        self
    }

    /// Transformer blocks. Default: 1.
    pub fn depth(mut self, depth: usize) -> Self {
        self.depth = depth;
        self
    }

    /// Heads of an attention. Default: 4.
    pub fn heads(mut self, heads: usize) -> Self {
        self.heads = heads;
        self
    }

    /// Trains on a slide and predicts.
    ///
    /// Reads raw counts from `layers["counts"]`, or from X without such a layer, `obsm["spatial"]`,
    /// `obs["array_col"]` and `obs["array_row"]`. The slide stays as it is; for what comes out see
    /// [`GeneMapFit::predicted`].
    ///
    /// # Errors
    /// [`Error::Parameter`](crate::Error::Parameter) for a setting that cannot be;
    /// [`Error::Data`](crate::Error::Data) without raw counts, with spots off the image, or beyond the
    /// positions that the network has; [`Error::MissingKey`](crate::Error::MissingKey) without
    /// coordinates; [`Error::Device`](crate::Error::Device);
    /// [`Error::Interrupted`](crate::Error::Interrupted): with a
    /// [`checkpoint`](HisToSge::checkpoint) the next run goes on from the last write.
    pub fn fit(&self, adata: &AnnData, histology: &Histology) -> Result<GeneMapFit> {
        let settings = &self.settings;
        run("HisToSGE", settings, adata, histology, |sizes, device| {
            let config = NetworkConfig {
                features: sizes.features,
                genes: sizes.genes,
                depth: self.depth,
                heads: self.heads,
                ..NetworkConfig::default()
            };
            Trainer::new(config, settings.learning_rate, sizes.seed, device)
        })
    }
}

/// A chunk as one sequence.
fn batch(chunk: &Chunk) -> Result<Batch> {
    Batch::new(chunk.features.squeeze(1)?, &chunk.centers)
}

impl Learner for Trainer {
    const SCHEDULED: bool = false;

    fn step(&mut self, chunk: &Chunk) -> Result<f64> {
        self.step(&batch(chunk)?, chunk.target()?)
    }

    fn predict(&self, chunk: &Chunk) -> Result<Predicted> {
        let output = self.network().forward(&batch(chunk)?)?;
        Ok(Predicted {
            genes: to_array(&output.genes)?,
            hidden: to_array(&output.hidden)?,
            attention: None,
        })
    }

    fn describe(&self) -> String {
        format!("{:?}", self.network().config())
    }

    fn is_unused(&self, _: &str) -> bool {
        false
    }

    fn store(&self) -> &Store {
        self.store()
    }

    fn adam(&self) -> &Adam {
        self.adam()
    }

    fn adam_mut(&mut self) -> &mut Adam {
        self.adam_mut()
    }
}
