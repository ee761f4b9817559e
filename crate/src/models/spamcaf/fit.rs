//! [`SpaMcaf`]: the whole method on one slide.

use super::mixing::Mixing;
use super::network::{Batch, NetworkConfig};
use super::schedule::Schedule;
use super::train::Trainer;
use crate::anndata::AnnData;
use crate::error::{Error, Result};
use crate::models::encoder::Histology;
use crate::models::gene_maps::{Chunk, GeneMapFit, Learner, Predicted, Settings, run, settings_of};
use crate::nn::{Adam, Store, to_array};

/// SpaMCAF: a gene map from the image around each spot at two scales.
///
/// A builder: start from [`recovery`](SpaMcaf::recovery) or [`generation`](SpaMcaf::generation), change
/// what differs from the published settings, then [`fit`](SpaMcaf::fit).
///
/// ```no_run
/// use spatialkit::image::SlideImage;
/// use spatialkit::models::encoder::{Histology, TextureEncoder};
/// use spatialkit::{io, models::SpaMcaf};
/// let slide = io::read("151673")?;
/// let histology = Histology::new(SlideImage::open("he.tif")?, TextureEncoder::default());
/// let fit = SpaMcaf::generation(8).seed(1).fit(&slide, &histology)?;
/// println!("{fit}");
/// # Ok::<(), spatialkit::Error>(())
/// ```
#[derive(Debug, Clone, PartialEq)]
pub struct SpaMcaf {
    settings: Settings,
    mixing: Option<Mixing>,
}

impl Default for SpaMcaf {
    fn default() -> Self {
        SpaMcaf { settings: Settings::new(&[224, 672]), mixing: None }
    }
}

settings_of!(SpaMcaf);

impl SpaMcaf {
    /// Sides of the patches around each spot, in pixels at full resolution. Default: 224 and 672.
    pub fn patches(mut self, sizes: &[usize]) -> Self {
        self.settings.patches = sizes.to_vec();
        self
    }

    /// Tells the network where spots lie, and lets those of a chunk mix: the tables of positions and the
    /// SummaryMixing transformer that the published code makes, in the published sizes, and then leaves
    /// out of its predictions. See [the module](super) for where they stand. Default: left out.
    pub fn with_positions(self) -> Self {
        self.mixing(Mixing::default())
    }

    /// As [`with_positions`](SpaMcaf::with_positions), in other sizes.
    pub fn mixing(mut self, sizes: Mixing) -> Self {
        self.mixing = Some(sizes);
        self
    }

    /// Trains on a slide and predicts.
    ///
    /// Reads raw counts from `layers["counts"]`, or from X without such a layer, `obsm["spatial"]`,
    /// `obs["array_col"]` and `obs["array_row"]`. The slide stays as it is; for what comes out see
    /// [`GeneMapFit::predicted`].
    ///
    /// # Errors
    /// [`Error::Parameter`] for a setting that cannot be; [`Error::Data`] without raw counts, with spots
    /// off the image or beyond the positions that the network has, or when a chunk would hold a single
    /// spot; [`Error::MissingKey`] without coordinates; [`Error::Device`]; [`Error::Interrupted`]: with a
    /// [`checkpoint`](SpaMcaf::checkpoint) the next run goes on from the last write.
    pub fn fit(&self, adata: &AnnData, histology: &Histology) -> Result<GeneMapFit> {
        let settings = &self.settings;
        run("SpaMCAF", settings, adata, histology, |sizes, device| {
            let config = NetworkConfig {
                features: sizes.features,
                genes: sizes.genes,
                mixing: self.mixing,
                ..NetworkConfig::default()
            };
            let schedule = Schedule {
                learning_rate: settings.learning_rate,
                epochs: settings.epochs,
                steps_per_epoch: sizes.steps,
            };
            let trainer = Trainer::new(config, sizes.seed, device)?;
            Ok(Scheduled { trainer, rates: schedule.rates().collect() })
        })
    }
}

/// A trainer with the learning rate of every step.
struct Scheduled {
    trainer: Trainer,
    rates: Vec<f64>,
}

/// Parts of the published network that no prediction uses.
const UNUSED: [&str; 2] = ["gene_head.", "layer_norm."];
/// Further parts, whose results it throws away, and which [`Mixing`] uses.
const OF_MIXING: [&str; 3] = ["x_embed.", "y_embed.", "trans."];

/// A chunk with its positions.
fn batch(chunk: &Chunk) -> Batch<'_> {
    Batch { features: &chunk.features, centers: Some(&chunk.centers) }
}

impl Learner for Scheduled {
    const SCHEDULED: bool = true;

    fn step(&mut self, chunk: &Chunk) -> Result<f64> {
        let step = self.trainer.adam().steps();
        let rate = self.rates.get(step).ok_or_else(|| {
            Error::parameter("epochs", step, "the schedule of learning rates is at its end")
        })?;
        self.trainer.step(batch(chunk), chunk.target()?, *rate)
    }

    fn predict(&self, chunk: &Chunk) -> Result<Predicted> {
        let output = self.trainer.network().forward(batch(chunk))?;
        Ok(Predicted {
            genes: to_array(&output.genes)?,
            hidden: to_array(&output.hidden)?,
            attention: Some(to_array(&output.attention)?),
        })
    }

    fn describe(&self) -> String {
        format!("{:?}", self.trainer.network().config())
    }

    fn is_unused(&self, name: &str) -> bool {
        let is_of = |parts: &[&str]| parts.iter().any(|part| name.starts_with(part));
        let mixes = self.trainer.network().config().mixing.is_some();
        is_of(&UNUSED) || !mixes && is_of(&OF_MIXING) || name.ends_with(".num_batches_tracked")
    }

    fn store(&self) -> &Store {
        self.trainer.store()
    }

    fn adam(&self) -> &Adam {
        self.trainer.adam()
    }

    fn adam_mut(&mut self) -> &mut Adam {
        self.trainer.adam_mut()
    }
}
