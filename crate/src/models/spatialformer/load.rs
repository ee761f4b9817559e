//! Checkpoints: of the authors (PyTorch Lightning), and our own (safetensors with the vocabulary inside).

use super::config::{AttentionLayout, SpatialFormerConfig};
use super::network::{SpatialFormer, fresh};
use super::vocabulary::Vocabulary;
use crate::error::{Error, Result};
use crate::io::{self, Checkpoint, PyValue};
use candle_core::{Device, Tensor};
use std::collections::{BTreeMap, HashMap};
use std::path::Path;
use std::sync::Arc;

/// How a checkpoint is read. A builder: `SpatialFormer::load_with(path, Load::default().tokens(6065))`.
#[derive(Debug, Clone, Default)]
pub struct Load {
    attention: Option<AttentionLayout>,
    tokens: Option<usize>,
    device: crate::nn::Device,
    seed: u64,
}

impl Load {
    /// Which of the two models the weights belong to. Default: what the checkpoint says of itself
    /// (`use_flash_attn`), or else [`AttentionLayout::PerHead`].
    pub fn attention(mut self, layout: AttentionLayout) -> Self {
        self.attention = Some(layout);
        self
    }

    /// Makes the vocabulary this large: what belongs to tokens of a smaller checkpoint goes to the first
    /// rows, the others are drawn afresh (`resume_before_5k` of the released code: from 1,950 to 6,065).
    /// Default: as the checkpoint is.
    pub fn tokens(mut self, tokens: usize) -> Self {
        self.tokens = Some(tokens);
        self
    }

    /// Where the network computes. Default: as [`Device`](crate::nn::Device).
    pub fn device(mut self, device: crate::nn::Device) -> Self {
        self.device = device;
        self
    }

    /// For the rows drawn afresh. Default: 0.
    pub fn seed(mut self, seed: u64) -> Self {
        self.seed = seed;
        self
    }
}

/// Under these a safetensors file of ours tells what it is.
const LAYOUT: &str = "attention";
const TOKENS: &str = "tokens";
const MEDIANS: &str = "medians";

impl SpatialFormer {
    /// Reads a checkpoint as [`load_with`](SpatialFormer::load_with) does by default.
    ///
    /// # Errors
    /// As [`load_with`](SpatialFormer::load_with).
    pub fn load(path: impl AsRef<Path>) -> Result<Self> {
        SpatialFormer::load_with(path, &Load::default())
    }

    /// Reads a checkpoint of PyTorch Lightning, a state dict of PyTorch, or what
    /// [`save`](SpatialFormer::save) wrote. Only tensors and numbers are taken; optimizer, callbacks and
    /// whatever else it holds are skipped, and nothing in it is run.
    ///
    /// The vocabulary comes with a file of ours; otherwise it is the installed one
    /// ([`Vocabulary::installed`]), if it has as many tokens.
    ///
    /// # Errors
    /// [`Error::Format`] when it is no such file, or names what would run code; [`Error::MissingKey`],
    /// [`Error::Data`] or [`Error::Shape`] naming a tensor that is missing, that does not belong to a
    /// SpatialFormer, or has another shape; [`Error::Device`].
    pub fn load_with(path: impl AsRef<Path>, options: &Load) -> Result<Self> {
        let path = path.as_ref();
        let checkpoint = io::read_checkpoint(path)?;
        let weights = checkpoint.state_dict()?.read_all()?;
        let metadata = checkpoint.at(&["__metadata__"]).ok();
        let told = told_layout(&checkpoint, metadata.as_ref());
        let attention = options.attention.or(told).unwrap_or_default();
        let mut config = SpatialFormerConfig::of_weights(&weights, attention)?;
        let device = options.device.open()?;
        let weights = match options.tokens {
            Some(tokens) if tokens != config.tokens => {
                let small = config.tokens;
                config.tokens = tokens;
                extended(weights, &config, small, options.seed)?
            }
            _ => weights,
        };
        let model = SpatialFormer::new(config, &weights, &device)?;
        let vocabulary = match metadata.as_ref().and_then(|m| m.get(TOKENS)?.as_str()) {
            Some(tokens) => Some(own_vocabulary(path, tokens, metadata.as_ref())?),
            None => Vocabulary::installed().ok(),
        };
        match vocabulary.filter(|v| v.len() == model.config.tokens) {
            Some(vocabulary) => model.with_vocabulary(vocabulary),
            None => Ok(model),
        }
    }

    /// Gives the network the vocabulary that its tokens mean.
    ///
    /// # Errors
    /// [`Error::Shape`] when it has another number of tokens.
    pub fn with_vocabulary(mut self, vocabulary: Vocabulary) -> Result<Self> {
        if vocabulary.len() != self.config.tokens {
            let expected = format!("{} tokens, as the network has", self.config.tokens);
            return Err(Error::shape("the vocabulary", expected, vocabulary.len()));
        }
        self.vocabulary = Some(Arc::new(vocabulary));
        Ok(self)
    }

    /// The vocabulary.
    ///
    /// # Errors
    /// [`Error::Data`] when there is none, saying how to get it.
    pub fn vocabulary(&self) -> Result<&Vocabulary> {
        match &self.vocabulary {
            Some(vocabulary) => Ok(vocabulary),
            None => {
                let found = Vocabulary::installed()?;
                let reason = format!(
                    "has {} tokens and the installed vocabulary {}; give it the right one with \
                     `with_vocabulary`, or load it with `Load::tokens`",
                    self.config.tokens,
                    found.len()
                );
                Err(Error::data("the network", reason))
            }
        }
    }

    /// Writes the weights, under the names of the released code, and the vocabulary into a safetensors
    /// file, which [`load`](SpatialFormer::load) reads.
    ///
    /// # Errors
    /// [`Error::Io`] when it cannot be written.
    pub fn save(&self, path: impl AsRef<Path>) -> Result<()> {
        let mut about = BTreeMap::from([(LAYOUT.to_string(), layout_name(self.config.attention))]);
        if let Some(vocabulary) = &self.vocabulary {
            let ids: BTreeMap<&str, usize> =
                vocabulary.names().iter().enumerate().map(|(i, n)| (n.as_str(), i)).collect();
            about.insert(TOKENS.into(), serde_json::json!(ids).to_string());
            let medians: BTreeMap<&str, f64> = vocabulary.known_medians().into_iter().collect();
            about.insert(MEDIANS.into(), serde_json::json!(medians).to_string());
        }
        io::write_safetensors(path, self.weights().iter().map(|(n, t)| (n.as_str(), t)), &about)
    }
}

fn layout_name(layout: AttentionLayout) -> String {
    match layout {
        AttentionLayout::PerHead => "per head".into(),
        AttentionLayout::Flash => "flash".into(),
    }
}

/// What a checkpoint says of its own arrangement.
fn told_layout(checkpoint: &Checkpoint, metadata: Option<&PyValue>) -> Option<AttentionLayout> {
    if let Some(name) = metadata.and_then(|m| m.get(LAYOUT)?.as_str()) {
        let both = [AttentionLayout::PerHead, AttentionLayout::Flash];
        return both.into_iter().find(|l| layout_name(*l) == name);
    }
    let parameters = checkpoint.at(&["hyper_parameters"]).ok()?;
    // The class's own argument, or else the configuration that it was given.
    let told = parameters.get("use_flash_attn").and_then(PyValue::as_bool).or_else(|| {
        parameters.get("outer_config")?.get("use_flash_attn").and_then(PyValue::as_bool)
    })?;
    Some(if told { AttentionLayout::Flash } else { AttentionLayout::PerHead })
}

/// The vocabulary inside a file of ours.
fn own_vocabulary(path: &Path, tokens: &str, metadata: Option<&PyValue>) -> Result<Vocabulary> {
    let wrong =
        |reason: String| Error::format(path, format!("its vocabulary is damaged: {reason}"));
    let ids: HashMap<String, u32> =
        serde_json::from_str(tokens).map_err(|e| wrong(e.to_string()))?;
    let vocabulary = Vocabulary::from_ids(ids).map_err(wrong)?;
    let Some(medians) = metadata.and_then(|m| m.get(MEDIANS)?.as_str()) else {
        return Ok(vocabulary);
    };
    let medians: HashMap<String, f64> =
        serde_json::from_str(medians).map_err(|e| wrong(e.to_string()))?;
    vocabulary.with_gene_medians(medians)
}

/// Weights for a larger vocabulary: the first rows of what has one for each token are the old ones.
fn extended(
    mut weights: HashMap<String, Tensor>,
    config: &SpatialFormerConfig,
    small: usize,
    seed: u64,
) -> Result<HashMap<String, Tensor>> {
    if config.tokens < small {
        let reason = format!("the checkpoint has {small} tokens; none can be taken away");
        return Err(Error::parameter("tokens", config.tokens, reason));
    }
    let new = fresh(config, seed, &Device::Cpu)?;
    for name in [
        "embeddings.weight",
        "spatialembeds.emb.weight",
        "classifier_head.weight",
        "classifier_head.bias",
    ] {
        // One that is missing is missed when the network is made.
        let Some(old) = weights.get(name) else { continue };
        let old = old.to_dtype(candle_core::DType::F32)?.to_device(&Device::Cpu)?;
        if old.dim(0)? != small {
            let found = format!("{:?}", old.dims());
            return Err(Error::shape(format!("tensor `{name}`"), format!("{small} rows"), found));
        }
        let rest = new.get(name)?.narrow(0, small, config.tokens - small)?;
        let whole = Tensor::cat(&[&old, &rest], 0)?;
        weights.insert(name.into(), whole);
    }
    Ok(weights)
}
