//! SpaMCAF's network: gated attention over the scales of a spot's image, where spots lie if that is
//! wanted, and four layers to genes.

use super::mixing::{Mixing, Places};
use super::step;
use crate::error::{Error, Result};
use crate::nn::{BatchNorm, Dropout, LayerNorm, Linear, Store, fused};
use candle_core::{D, Tensor};

/// Sizes of the network and its dropout; the defaults are the published ones.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct NetworkConfig {
    /// Numbers of an image feature, and width up to the first layer of the head; 1024 by default.
    pub features: usize,
    /// Genes predicted; 1,000 by default.
    pub genes: usize,
    /// Width of the head's second and third layer; 2048 by default.
    pub hidden: usize,
    /// Share of units dropped behind each of the two layers before attention; 0.1 by default.
    pub dropout: f64,
    /// Share of units dropped in each gate of the attention; 0.25 by default.
    pub gate_dropout: f64,
    /// Sizes of what tells the network where spots lie and lets those of a chunk mix, between attention
    /// and the head. `None`, the default, is the released network, whose code makes these parts and
    /// never uses them.
    pub mixing: Option<Mixing>,
}

impl Default for NetworkConfig {
    fn default() -> Self {
        NetworkConfig {
            features: 1024,
            genes: 1000,
            hidden: 2048,
            dropout: 0.1,
            gate_dropout: 0.25,
            mixing: None,
        }
    }
}

impl NetworkConfig {
    /// Checks every size and share.
    ///
    /// # Errors
    /// [`Error::Parameter`] naming the first that cannot be.
    pub fn check(&self) -> Result<()> {
        for (name, value) in
            [("features", self.features), ("genes", self.genes), ("hidden", self.hidden)]
        {
            if value == 0 {
                return Err(Error::parameter(name, value, "must be at least 1"));
            }
        }
        if let Some(mixing) = &self.mixing {
            mixing.check()?;
        }
        for (name, value) in [("dropout", self.dropout), ("gate_dropout", self.gate_dropout)] {
            if !(0.0..1.0).contains(&value) {
                return Err(Error::parameter(name, value, "must be at least 0 and below 1"));
            }
        }
        Ok(())
    }
}

/// Whether units are dropped, and by what.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Step {
    /// The seed of the run.
    pub seed: u64,
    /// The number of the step, from 0.
    pub step: u64,
}

impl Step {
    pub fn dropout(self, probability: f64, layer: &str) -> Option<Dropout> {
        (probability > 0.0).then(|| Dropout::new(probability, self.seed, self.step, layer))
    }
}

/// Spots that go through the network together. Made of the features alone where the network does not
/// look at positions: `(&features).into()`; of both otherwise: `(&features, &centers[..]).into()`.
#[derive(Debug, Clone, Copy)]
pub struct Batch<'a> {
    /// Image features, `[spots, scales, features]`.
    pub features: &'a Tensor,
    /// Column and row of the array of each spot, for a network with [`Mixing`]. They are cut to whole
    /// numbers towards zero, as the published code does.
    pub centers: Option<&'a [[f64; 2]]>,
}

impl<'a> From<&'a Tensor> for Batch<'a> {
    fn from(features: &'a Tensor) -> Self {
        Batch { features, centers: None }
    }
}

impl<'a> From<(&'a Tensor, &'a [[f64; 2]])> for Batch<'a> {
    fn from((features, centers): (&'a Tensor, &'a [[f64; 2]])) -> Self {
        Batch { features, centers: Some(centers) }
    }
}

/// What the network makes of spots.
#[derive(Debug, Clone)]
pub struct Output {
    /// The weight of each scale, `[spots, scales]`; each row sums to 1.
    pub attention: Tensor,
    /// What the head sees, `[spots, features]`: the weighted mean over the scales, and with [`Mixing`]
    /// what the transformer made of it.
    pub hidden: Tensor,
    /// Predicted expression, `[spots, genes]`, not negative.
    pub genes: Tensor,
}

/// The network. Its parameters have the names of the published code, as far as that uses them:
/// `wsi_embedder.pre_attn.0.weight`, `feed.fc6_bn.running_mean`, …; with [`Mixing`] also
/// `x_embed.weight`, `y_embed.weight` and those of `trans`.
#[derive(Debug, Clone)]
pub struct Network {
    config: NetworkConfig,
    pub(super) before: [(Linear, LayerNorm); 2],
    pub(super) gate_tanh: Linear,
    pub(super) gate_sigmoid: Linear,
    pub(super) gate: Linear,
    places: Option<Places>,
    pub(super) head: [(Linear, BatchNorm); 3],
    pub(super) last: Linear,
}

/// Names of the layers of [`Network::before`] and of [`Network::head`].
pub(super) const BEFORE: [(&str, &str); 2] = [
    ("wsi_embedder.pre_attn.0", "wsi_embedder.pre_attn.1"),
    ("wsi_embedder.pre_attn.4", "wsi_embedder.pre_attn.5"),
];
pub(super) const GATES: [&str; 3] = [
    "wsi_embedder.attn.attention_a.0",
    "wsi_embedder.attn.attention_b.0",
    "wsi_embedder.attn.attention_c",
];
pub(super) const HEAD: [(&str, &str); 3] =
    [("feed.fc6", "feed.fc6_bn"), ("feed.fc7", "feed.fc7_bn"), ("feed.fc8", "feed.fc8_bn")];
pub(super) const LAST: &str = "feed.fc9";

/// Whether training changes the parameter `name` by its gradient.
pub(super) fn is_trained(name: &str) -> bool {
    !name.contains(".running_")
}

impl Network {
    /// A network with its parameters drawn in `store` as torch draws them.
    ///
    /// # Errors
    /// [`Error::Parameter`] for a size of 0 or a dropout outside [0, 1); those of the device.
    pub fn new(store: &mut Store, config: NetworkConfig) -> Result<Self> {
        config.check()?;
        let NetworkConfig { features: d, genes, hidden, .. } = config;
        let mut before = |(linear, norm): (&str, &str)| -> Result<_> {
            Ok((Linear::new(store, linear, d, d)?, LayerNorm::new(store, norm, d)?))
        };
        let before = [before(BEFORE[0])?, before(BEFORE[1])?];
        let [a, b, c] = GATES;
        let gate_tanh = Linear::new(store, a, d, d)?;
        let gate_sigmoid = Linear::new(store, b, d, d)?;
        let gate = Linear::new(store, c, d, 1)?;
        let places = config.mixing.map(|sizes| Places::new(store, d, sizes)).transpose()?;
        let mut layer = |(linear, norm): (&str, &str), inner, out| -> Result<_> {
            Ok((Linear::new(store, linear, inner, out)?, BatchNorm::new(store, norm, out)?))
        };
        let head =
            [layer(HEAD[0], d, d)?, layer(HEAD[1], d, hidden)?, layer(HEAD[2], hidden, hidden)?];
        let last = Linear::new(store, LAST, hidden, genes)?.with_relu();
        Ok(Network { config, before, gate_tanh, gate_sigmoid, gate, places, head, last })
    }

    /// The sizes.
    pub fn config(&self) -> &NetworkConfig {
        &self.config
    }

    /// The same parameters with other dropout.
    pub(super) fn with_config(&self, config: NetworkConfig) -> Network {
        Network { config, ..self.clone() }
    }

    /// Spots and scales of features, if they fit.
    pub(super) fn check(&self, features: &Tensor) -> Result<(usize, usize)> {
        let d = self.config.features;
        match features.dims() {
            &[spots, scales, width] if width == d && spots > 0 && scales > 0 => Ok((spots, scales)),
            other => {
                let expected = format!("spots × scales × {d}");
                Err(Error::shape("image features", expected, format!("{other:?}")))
            }
        }
    }

    /// Whether the fused kernels compute what this network makes of `features`; they know no
    /// [`Mixing`].
    pub(super) fn is_fused(&self, features: &Tensor) -> bool {
        self.places.is_none() && fused::usable(features)
    }

    /// Predicts the expression of spots from the features of their image at each scale, and from where
    /// they lie if the network has [`Mixing`].
    ///
    /// # Shapes
    /// `[spots, scales, features]` → see [`Output`].
    ///
    /// # Errors
    /// [`Error::Shape`] for features that do not fit; [`Error::Data`] for positions that are missing, or
    /// that the network does not have; those of the device.
    pub fn forward<'a>(&self, batch: impl Into<Batch<'a>>) -> Result<Output> {
        let batch: Batch<'_> = batch.into();
        self.check(batch.features)?;
        if self.is_fused(batch.features) {
            return step::predict(self, batch.features);
        }
        Ok(self.plain(batch, None)?.0)
    }

    /// [`forward`](Network::forward) in candle's own operations, with gradients; in training, with
    /// dropout and the batch's own statistics, which are returned for each layer of the head.
    pub(super) fn plain(
        &self,
        Batch { features, centers }: Batch<'_>,
        training: Option<Step>,
    ) -> Result<(Output, Vec<(Tensor, Tensor)>)> {
        let (spots, scales) = self.check(features)?;
        let at = match &self.places {
            Some(places) => Some((places, places.of(centers, spots)?)),
            None => None,
        };
        let d = self.config.features;
        let drop = |x: Tensor, share: f64, layer: &str| -> Result<Tensor> {
            match training.and_then(|step| step.dropout(share, layer)) {
                Some(dropout) => dropout.apply(&x),
                None => Ok(x),
            }
        };
        let mut x = features.reshape((spots * scales, d))?;
        for ((linear, norm), (name, _)) in self.before.iter().zip(BEFORE) {
            let y = norm.plain(&linear.plain(&x, None)?)?.gelu_erf()?;
            x = drop(y, self.config.dropout, name)?;
        }
        let tanh = self.gate_tanh.plain(&x, None)?.tanh()?;
        let tanh = drop(tanh, self.config.gate_dropout, GATES[0])?;
        let sigmoid = ((self.gate_sigmoid.plain(&x, None)?.neg()?.exp()? + 1.0)?).recip()?;
        let sigmoid = drop(sigmoid, self.config.gate_dropout, GATES[1])?;
        let logits = self.gate.plain(&(tanh * sigmoid)?, None)?.reshape((spots, scales))?;
        let attention = candle_nn::ops::softmax(&logits, D::Minus1)?;
        let x = x.reshape((spots, scales, d))?;
        let mut hidden = x.broadcast_mul(&attention.unsqueeze(2)?)?.sum(1)?;
        if let Some((places, at)) = at {
            hidden = places.forward(&hidden, &at)?;
        }
        let mut statistics = Vec::new();
        let mut y = hidden.clone();
        for (linear, norm) in &self.head {
            let before = linear.plain(&y, None)?;
            let scaled = if training.is_some() {
                let (scaled, mean, variance) = norm.plain_train(&before)?;
                statistics.push((mean, variance));
                scaled
            } else {
                norm.plain_eval(&before)?
            };
            y = crate::nn::relu(&scaled)?;
        }
        let genes = self.last.plain(&y, None)?;
        Ok((Output { attention, hidden, genes }, statistics))
    }
}
