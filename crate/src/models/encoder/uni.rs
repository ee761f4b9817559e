//! [`VitEncoder`]: patches through a vision transformer, e.g. UNI.

use super::super::vit::{Vit, VitConfig};
use super::Encoder;
use crate::error::Result;
use crate::image::{Channels, Image, Transform};
use crate::io::read_checkpoint;
use crate::nn::{Device, to_array};
use candle_core::Tensor;
use ndarray::Array2;
use std::path::Path;

/// A vision transformer with what prepares patches for it: UNI, UNI2-h, or any of timm's layout.
///
/// ```no_run
/// use spatialkit::models::encoder::VitEncoder;
/// use spatialkit::nn::Device;
/// let uni = VitEncoder::uni("pytorch_model.bin", Device::Auto)?;
/// # Ok::<(), spatialkit::Error>(())
/// ```
#[derive(Debug, Clone)]
pub struct VitEncoder {
    name: String,
    vit: Vit,
    transform: Transform,
    weights: String,
}

/// Patches of a batch.
const BATCH: usize = 8;

impl VitEncoder {
    /// UNI (Chen et al., Nature Medicine 2024): 1024 numbers a patch. `weights` is the
    /// `pytorch_model.bin` of `MahmoodLab/UNI`, or a safetensors file of the same tensors.
    ///
    /// The weights are the authors' and are given to whoever asks for them: their licence allows
    /// academic use and forbids passing them on.
    ///
    /// # Errors
    /// As [`new`](VitEncoder::new).
    pub fn uni(weights: impl AsRef<Path>, device: Device) -> Result<Self> {
        VitEncoder::gated("UNI", VitConfig::uni(), weights.as_ref(), device)
    }

    /// UNI2-h: 1536 numbers a patch. `weights` is the `pytorch_model.bin` of `MahmoodLab/UNI2-h`.
    ///
    /// # Errors
    /// As [`new`](VitEncoder::new).
    pub fn uni2_h(weights: impl AsRef<Path>, device: Device) -> Result<Self> {
        VitEncoder::gated("UNI2-h", VitConfig::uni2_h(), weights.as_ref(), device)
    }

    fn gated(name: &str, config: VitConfig, weights: &Path, device: Device) -> Result<Self> {
        VitEncoder::new(name, config, weights, device).map_err(|e| {
            if weights.exists() {
                return e;
            }
            e.with_hint(format!(
                "The weights of {name} are given on request: ask for access on the Hugging Face page \
                 MahmoodLab/{name}, download its file pytorch_model.bin, and give its path. Without \
                 them `TextureEncoder` needs no weights"
            ))
        })
    }

    /// A transformer of another architecture with timm's names of weights, in a file of PyTorch or of
    /// safetensors. Patches are prepared as for UNI; see [`transform`](VitEncoder::transform).
    ///
    /// # Errors
    /// [`Error::Io`] or [`Error::Format`] when the file cannot be read; [`Error::Data`] naming tensors
    /// that are missing, that do not belong to this architecture, or that have another shape;
    /// [`Error::Device`]; those of the device.
    pub fn new(
        name: impl Into<String>,
        config: VitConfig,
        weights: impl AsRef<Path>,
        device: Device,
    ) -> Result<Self> {
        config.check()?;
        let device = device.open()?;
        let checkpoint = read_checkpoint(weights)?;
        let tensors = checkpoint.state_dict()?.into_exactly(&config.weights())?;
        Ok(VitEncoder {
            name: name.into(),
            vit: Vit::new(config, &tensors, &device)?,
            transform: Transform::uni(),
            weights: checkpoint.fingerprint()?.to_string(),
        })
    }

    /// What prepares patches. Default: [`Transform::uni`].
    pub fn transform(mut self, transform: Transform) -> Self {
        self.transform = transform;
        self
    }

    /// The network.
    pub fn vit(&self) -> &Vit {
        &self.vit
    }
}

impl Encoder for VitEncoder {
    fn name(&self) -> &str {
        &self.name
    }

    fn width(&self) -> usize {
        self.vit.config().dim
    }

    fn fingerprint(&self) -> String {
        format!("{} {:?} {:?} {}", self.name, self.vit.config(), self.transform, self.weights)
    }

    fn encode(&self, patches: &[Image]) -> Result<Array2<f32>> {
        let mut out = Array2::zeros((patches.len(), self.width()));
        for (patches, mut rows) in
            patches.chunks(BATCH).zip(out.axis_chunks_iter_mut(ndarray::Axis(0), BATCH))
        {
            let images = self.transform.batch(patches)?;
            let shape = images.dim();
            let (values, _) = images.into_raw_vec_and_offset();
            let images = Tensor::from_vec(values, shape, &candle_core::Device::Cpu)?;
            rows.assign(&to_array(&self.vit.forward(&images)?)?);
        }
        Ok(out)
    }

    /// OpenCV's, which was never converted.
    fn published_channels(&self) -> Channels {
        Channels::Bgr
    }

    fn batch_size(&self) -> usize {
        4 * BATCH
    }
}

#[cfg(test)]
mod tests {
    use super::super::super::vit::Mlp;
    use super::*;
    use crate::rng::Rng;
    use std::collections::HashMap;

    fn small() -> VitConfig {
        VitConfig {
            image_size: 32,
            patch_size: 8,
            dim: 24,
            depth: 2,
            heads: 4,
            mlp: Mlp::Gelu { hidden: 96 },
            ..VitConfig::uni()
        }
    }

    fn file(config: VitConfig) -> (tempfile::TempDir, std::path::PathBuf) {
        let mut rng = Rng::new(3);
        let mut random = |shape: &[usize]| {
            let n: usize = shape.iter().product();
            let values: Vec<f32> = (0..n).map(|_| 0.2 * rng.normal() as f32).collect();
            Tensor::from_vec(values, shape, &candle_core::Device::Cpu).unwrap()
        };
        let weights = config.weights().into_iter();
        let weights: HashMap<_, _> = weights.map(|(name, shape)| (name, random(&shape))).collect();
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("model.safetensors");
        candle_core::safetensors::save(&weights, &path).unwrap();
        (folder, path)
    }

    #[test]
    fn patches_of_any_size_become_rows_whatever_the_batch() {
        let (_folder, path) = file(small());
        let encoder = VitEncoder::new("small", small(), &path, Device::Cpu).unwrap();
        let encoder = encoder.transform(Transform::uni().size(32));
        let patch = |i: usize| {
            let side = 20 + i;
            let pixels = (0..side * side * 3).map(|k| (k * (i + 3) % 251) as u8).collect();
            Image::new(side, side, pixels).unwrap()
        };
        let patches: Vec<Image> = (0..19).map(patch).collect();
        let all = encoder.encode(&patches).unwrap();
        assert_eq!(all.dim(), (19, 24));
        for i in [0, 7, 8, 18] {
            let one = encoder.encode(&patches[i..=i]).unwrap();
            assert!((&one.row(0) - &all.row(i)).iter().all(|d| d.abs() < 1e-5));
        }
        assert_ne!(all.row(0), all.row(1));
        assert_eq!(encoder.encode(&[]).unwrap().dim(), (0, 24));
    }

    #[test]
    fn weights_that_are_missing_or_of_another_architecture_are_explained() {
        let e = VitEncoder::uni("no/pytorch_model.bin", Device::Cpu).unwrap_err().to_string();
        assert!(e.contains("MahmoodLab/UNI") && e.contains("no/pytorch_model.bin"), "{e}");
        let (_folder, path) = file(small());
        let e = VitEncoder::uni(&path, Device::Cpu).unwrap_err().to_string();
        assert!(e.contains("blocks.") || e.contains("shape"), "{e}");
        let other = VitConfig { layer_scale: false, ..small() };
        let e = VitEncoder::new("x", other, &path, Device::Cpu).unwrap_err().to_string();
        assert!(e.contains("ls1.gamma"), "{e}");
        std::fs::write(&path, b"text").unwrap();
        assert!(VitEncoder::uni(&path, Device::Cpu).is_err());
    }

    #[test]
    fn the_fingerprint_names_all_that_features_depend_on() {
        let (_folder, path) = file(small());
        let encoder = VitEncoder::new("small", small(), &path, Device::Cpu).unwrap();
        let other = encoder.clone().transform(Transform::uni().size(64));
        assert_ne!(encoder.fingerprint(), other.fingerprint());
    }
}
