//! The settings of a run, and their published values.

use super::losses::LossWeights;
use super::network::NetworkConfig;
use super::presets::Preset;
use crate::error::{Error, Result};
use crate::nn::{Device, Pairs};
use std::path::PathBuf;

/// STAMGC: spatial domains by a graph network with contrastive losses.
///
/// A builder: start from a [`preset`](Stamgc::preset), change what differs, then
/// [`fit`](Stamgc::fit).
///
/// ```no_run
/// use spatialkit::{io, models::{Preset, Stamgc}};
/// let mut slide = io::read("151673")?;
/// let fit = Stamgc::preset(Preset::Visium).n_domains(7).seed(2025).fit(&mut slide)?;
/// println!("{fit}");
/// # Ok::<(), spatialkit::Error>(())
/// ```
#[derive(Debug, Clone, PartialEq)]
pub struct Stamgc {
    pub(super) n_domains: usize,
    pub(super) seed: u64,
    pub(super) epochs: usize,
    pub(super) device: Device,
    pub(super) min_cells: usize,
    pub(super) min_counts: usize,
    pub(super) smoothing: Smoothing,
    pub(super) n_neighbors: usize,
    pub(super) n_pruning: usize,
    pub(super) weights: LossWeights,
    pub(super) pairs: Pairs,
    pub(super) learning_rate: f64,
    pub(super) weight_decay: f64,
    pub(super) n_init: usize,
    pub(super) clustering: Clustering,
    /// Its `genes` are the most that are kept.
    pub(super) network: NetworkConfig,
    pub(super) spots: Spots,
    /// The column of `obs` that says which slice a spot is from, where there are several.
    pub(super) slice_key: Option<String>,
    /// Whether slices are joined with a gap between them.
    pub(super) gap: bool,
    pub(super) domain_key: String,
    pub(super) keep_expression: bool,
    /// Weights to begin with.
    pub(super) start: Option<PathBuf>,
    pub(super) checkpoint: Option<PathBuf>,
    pub(super) checkpoint_every: usize,
}

/// How the embedding is clustered into domains, after its principal components (at most 20).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
#[non_exhaustive]
pub enum Clustering {
    /// k-means.
    #[default]
    KMeans,
    /// A mixture of Gaussians that share one covariance, as R's mclust fits it (model EEE).
    Mclust,
}

/// How wide expression is smoothed.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) enum Smoothing {
    /// σ in whole fiducial diameters.
    Fiducials(f64),
    /// σ in the unit of the coordinates.
    Units(f64),
}

/// Which spots are used.
#[derive(Debug, Clone, PartialEq)]
pub(super) enum Spots {
    All,
    /// Those with a label in this column of `obs`.
    Labelled(String),
    Mask(Vec<bool>),
}

impl Default for Stamgc {
    fn default() -> Self {
        Stamgc::preset(Preset::Visium)
    }
}

impl Stamgc {
    /// Checks every parameter that can be judged without data; [`fit`](Stamgc::fit) does so first.
    ///
    /// # Errors
    /// [`Error::Parameter`] naming the first that cannot be.
    pub fn check(&self) -> Result<()> {
        let at_least = |name: &'static str, value: usize, least: usize| {
            let reason = format!("must be at least {least}");
            if value < least { Err(Error::parameter(name, value, reason)) } else { Ok(()) }
        };
        at_least("n_domains", self.n_domains, 2)?;
        at_least("n_neighbors", self.n_neighbors, 1)?;
        at_least("n_init", self.n_init, 1)?;
        at_least("checkpoint_every", self.checkpoint_every, 1)?;
        if self.n_pruning >= self.n_neighbors {
            let reason = format!(
                "must be below n_neighbors ({}), or spots would lose every neighbour",
                self.n_neighbors
            );
            return Err(Error::parameter("n_pruning", self.n_pruning, reason));
        }
        let (Smoothing::Fiducials(width) | Smoothing::Units(width)) = self.smoothing;
        let number = |name: &'static str, value: f64, above_zero: bool| {
            let enough = if above_zero { value > 0.0 } else { value >= 0.0 };
            let reason = if above_zero { "must be above 0" } else { "must be at least 0" };
            if enough && value.is_finite() {
                Ok(())
            } else {
                Err(Error::parameter(name, value, reason))
            }
        };
        number("smooth_radius", width, true)?;
        number("learning_rate", self.learning_rate, true)?;
        number("weight_decay", self.weight_decay, false)?;
        number("alpha", self.weights.alpha, false)?;
        number("beta", self.weights.beta, false)?;
        number("gamma", self.weights.gamma, false)?;
        self.network.check()
    }
}

macro_rules! setters {
    ($($(#[$doc:meta])* $name:ident($ty:ty) => $($field:ident).+;)*) => {
        impl Stamgc {$(
            $(#[$doc])*
            pub fn $name(mut self, value: $ty) -> Self {
                self.$($field).+ = value;
                self
            }
        )*}
    };
}

setters! {
    /// Number of domains to find, and of pseudo labels. Default: 7.
    n_domains(usize) => n_domains;
    /// Seed of initialisation, dropout and clustering. The same seed gives the same bits on the
    /// same machine, whatever the number of threads. Default: 2025.
    seed(u64) => seed;
    /// Rounds of training over all spots. Default: 200.
    epochs(usize) => epochs;
    /// Where to train. Default: [`Device::Auto`].
    device(Device) => device;
    /// Genes with counts in fewer spots are dropped. Default: 50.
    min_cells(usize) => min_cells;
    /// Genes with fewer counts in all are dropped. Default: 10.
    min_counts(usize) => min_counts;
    /// Most variable genes to keep; all where there are fewer. Default: 3,000.
    n_top_genes(usize) => network.genes;
    /// Nearest spots that each spot is connected with. Default: 6.
    n_neighbors(usize) => n_neighbors;
    /// Of these, how many of the least alike are disconnected again. Default: 1.
    n_pruning(usize) => n_pruning;
    /// Weight of the reconstruction error. Default: 8.
    alpha(f64) => weights.alpha;
    /// Weight of the contrast between pseudo labels (regions). Default: 0.3.
    beta(f64) => weights.beta;
    /// Weight of the contrast between neighbours and all other spots (topology). Default: 0.7.
    gamma(f64) => weights.gamma;
    /// Adam's step size. Default: 0.001.
    learning_rate(f64) => learning_rate;
    /// L2 added to the gradient of every parameter. Default: 0.0005.
    weight_decay(f64) => weight_decay;
    /// Width of the first layer. Default: 128.
    hidden(usize) => network.hidden;
    /// Width of the embedding. Default: 64.
    out(usize) => network.out;
    /// Parallel perceptrons that fuse the embedding. Default: 4.
    heads(usize) => network.heads;
    /// Width of each perceptron. Default: 32.
    head_dim(usize) => network.head_dim;
    /// Share of the perceptrons' hidden units that training drops. Default: 0.1.
    dropout(f64) => network.dropout;
    /// How the embedding is clustered. Pseudo labels are found by k-means in any case. Default:
    /// [`Clustering::KMeans`].
    clustering(Clustering) => clustering;
    /// How the sums of the two contrasts over all pairs of spots are made. [`Pairs::Quadratic`], ours and not
    /// published, makes an epoch's time grow with the number of spots instead of its square, for slides of
    /// 100,000 spots and more. Default: [`Pairs::Exact`].
    pairs(Pairs) => pairs;
    /// Whether `obsm["stamgc_smoothed"]` and `obsm["stamgc_reconstructed"]` are written, each spots × genes used
    /// (their names in `uns["stamgc"]["genes"]`). Default: no.
    keep_expression(bool) => keep_expression;
    /// Epochs between two writes of the [`checkpoint`](Stamgc::checkpoint). Default: 50.
    checkpoint_every(usize) => checkpoint_every;
    /// Starts of k-means, of which the best is kept, for pseudo labels and domains. Default: 10,
    /// that of the scikit-learn version the authors name.
    n_init(usize) => n_init;
}

impl Stamgc {
    /// Width σ of the smoothing in fiducial diameters of the slide, each rounded down to whole
    /// pixels (`uns["spatial"][…]["scalefactors"]["fiducial_diameter_fullres"]`). Default: 2.
    pub fn smooth_radius(mut self, diameters: f64) -> Self {
        self.smoothing = Smoothing::Fiducials(diameters);
        self
    }

    /// Width σ of the smoothing in the unit of the coordinates, for data without a fiducial
    /// diameter.
    pub fn sigma(mut self, sigma: f64) -> Self {
        self.smoothing = Smoothing::Units(sigma);
        self
    }

    /// Uses only the spots that have a label in this column of `obs`, as the published evaluations
    /// do. Genes are selected and scaled over all spots, as there (with several slices, over those used). The
    /// labels themselves are not used.
    pub fn labelled_by(mut self, column: impl Into<String>) -> Self {
        self.spots = Spots::Labelled(column.into());
        self
    }

    /// Uses only the spots where `mask` is true; it has one entry per spot.
    pub fn only(mut self, mask: Vec<bool>) -> Self {
        self.spots = Spots::Mask(mask);
        self
    }

    /// The column of `obs` that says which slice a spot is from: neighbours are sought in a spot's own slice only,
    /// and of spots left out no gene is selected. See [`join`](Stamgc::join). Default: `slice` for the presets of
    /// several slices, else none.
    pub fn slices(mut self, column: impl Into<String>) -> Self {
        self.slice_key = Some(column.into());
        self
    }

    /// Begins with these weights: a state dict of the published code (`model.pt`), or what
    /// [`StamgcFit::save_weights`](super::StamgcFit::save_weights) wrote. With no epochs the network only
    /// embeds.
    pub fn weights(mut self, path: impl Into<PathBuf>) -> Self {
        self.start = Some(path.into());
        self
    }

    /// A file to which the state of training is written every 50 epochs, at its end, and when it is
    /// interrupted. If it is there when training begins, training goes on from it, with the same bits as if it
    /// had not stopped.
    pub fn checkpoint(mut self, path: impl Into<PathBuf>) -> Self {
        self.checkpoint = Some(path.into());
        self
    }

    /// The column of `obs` to write. Default: `domain`.
    pub fn key_added(mut self, key: impl Into<String>) -> Self {
        self.domain_key = key.into();
        self
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_parameter_is_checked_by_name() {
        let ok = || Stamgc::preset(Preset::Visium);
        ok().check().unwrap();
        for (model, name) in [
            (ok().n_domains(0), "n_domains = 0: must be"),
            (ok().n_neighbors(0), "n_neighbors = 0: must be"),
            (ok().n_pruning(6), "n_pruning = 6: must be"),
            (ok().smooth_radius(0.0), "smooth_radius = 0: must be"),
            (ok().sigma(f64::NAN), "smooth_radius = NaN: must be"),
            (ok().learning_rate(-1.0), "learning_rate = -1: must be"),
            (ok().alpha(-1.0), "alpha = -1: must be"),
            (ok().dropout(1.0), "dropout = 1: must be"),
            (ok().heads(0), "heads = 0: must be"),
            (ok().n_top_genes(0), "n_top_genes = 0: must be"),
        ] {
            let e = model.check().unwrap_err().to_string();
            assert!(e.starts_with(name), "{e}");
        }
    }
}
