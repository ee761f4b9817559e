//! STAMGC's loss: reconstruction and the two contrasts, weighted.

use super::data::TrainingData;
use super::network::{Embeddings, Network};
use crate::error::Result;
use crate::nn::{Pairs, contrastive_loss, neighbour_loss, reconstruction_loss};
use candle_core::Tensor;

/// Weights of the three terms.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct LossWeights {
    /// Of the reconstruction error; 8 for Visium.
    pub alpha: f64,
    /// Of the contrast between pseudo labels; 0.3 for Visium.
    pub beta: f64,
    /// Of the contrast between neighbours and all other spots; 0.7 for Visium.
    pub gamma: f64,
}

/// The loss of a step as tensors, from which gradients flow.
#[derive(Debug, Clone)]
pub struct LossTerms {
    /// α · reconstruction + β · contrast + γ · neighbours.
    pub total: Tensor,
    /// Mean squared error of the reconstructed expression.
    pub reconstruction: Tensor,
    /// [`contrastive_loss`] of z, with the pseudo labels.
    pub contrast: Tensor,
    /// [`neighbour_loss`] of the fused embedding.
    pub neighbours: Tensor,
}

/// The loss of an epoch.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct EpochLoss {
    /// α · reconstruction + β · contrast + γ · neighbours.
    pub total: f64,
    /// Mean squared error of the reconstructed expression.
    pub reconstruction: f64,
    /// The contrast between pseudo labels.
    pub contrast: f64,
    /// The contrast between neighbours and all other spots.
    pub neighbours: f64,
}

/// The loss of what the network made of the data.
///
/// # Errors
/// Those of the device; shapes that do not fit.
pub fn loss_terms(
    network: &Network,
    embeddings: &Embeddings,
    data: &TrainingData,
    weights: &LossWeights,
    pairs: Pairs,
) -> Result<LossTerms> {
    let spread = data.propagation.apply(&embeddings.z)?;
    let reconstruction = reconstruction_loss(&spread, &network.decoder(), &data.features)?;
    let contrast = contrastive_loss(&embeddings.z, &data.graph, &data.labels, pairs)?;
    let neighbours = neighbour_loss(&embeddings.fused, &data.graph, pairs)?;
    let total = ((&reconstruction * weights.alpha)? + (&contrast * weights.beta)?)?;
    let total = (total + (&neighbours * weights.gamma)?)?;
    Ok(LossTerms { total, reconstruction, contrast, neighbours })
}

impl LossTerms {
    /// The numbers.
    ///
    /// # Errors
    /// Those of the device.
    pub fn values(&self) -> Result<EpochLoss> {
        let value = |t: &Tensor| t.to_dtype(candle_core::DType::F64)?.to_scalar::<f64>();
        Ok(EpochLoss {
            total: value(&self.total)?,
            reconstruction: value(&self.reconstruction)?,
            contrast: value(&self.contrast)?,
            neighbours: value(&self.neighbours)?,
        })
    }
}
