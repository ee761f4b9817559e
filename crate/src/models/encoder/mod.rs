//! Encoders: what makes numbers of a patch of tissue.
//!
//! ```text
//! image ── patches at spots ── Encoder ──> spots × scales × width ──> gene maps, probes, clusters
//! ```
//!
//! Whatever implements [`Encoder`] can be used wherever features of an image are wanted: a vision
//! transformer with weights from a file, or features of colour and texture that need none.

mod histology;
mod texture;
mod uni;

pub use histology::Histology;
pub use texture::TextureEncoder;
pub use uni::VitEncoder;

use crate::error::Result;
use crate::image::{Channels, Image};
use ndarray::Array2;

/// Makes a vector of numbers of each patch of an image.
pub trait Encoder: Send + Sync {
    /// Its name, as it appears in results, e.g. `texture`.
    fn name(&self) -> &str;

    /// How many numbers a patch becomes.
    fn width(&self) -> usize;

    /// Names the encoder, its settings and its weights: features that were kept under the same
    /// fingerprint are those that it would compute.
    fn fingerprint(&self) -> String;

    /// The numbers of each patch, patches × [`width`](Encoder::width). Patches may have any size and
    /// differ in it.
    ///
    /// # Errors
    /// [`Error::Data`](crate::Error::Data) for a patch without pixels;
    /// [`Error::Interrupted`](crate::Error::Interrupted); those of the device.
    fn encode(&self, patches: &[Image]) -> Result<Array2<f32>>;

    /// The order of colours in which the published code of HisToSGE and SpaMCAF gives patches to it. An
    /// encoder that they do not use gets red first.
    fn published_channels(&self) -> Channels {
        Channels::Rgb
    }

    /// How many patches are best given at once.
    fn batch_size(&self) -> usize {
        64
    }
}
