//! From a picture to the input of a vision transformer.
//!
//! ```text
//! picture ─ shortest side to 224 (Pillow's resize, bytes) ─ centre 224 × 224 ─ /255, - mean, / sd ─ f32
//! ```

use super::{Channels, Filter, Image};
use crate::error::{Error, Result};
use ndarray::{Array3, Array4, ArrayViewMut4};
use rayon::prelude::*;

/// The evaluation transform of an image encoder; [`Transform::uni`] is that of UNI (Chen et al.,
/// Nature Medicine 2024).
///
/// The shortest side is resized to [`resize`](Transform::resize) and the other to
/// ⌊resize · long / short⌋; the middle square of [`size`](Transform::size) pixels is cut out, its
/// offset rounded half to even; bytes become (v / 255 - mean) / sd. Resizing is Pillow's, byte for
/// byte, so that results equal those of torchvision's `Resize`, `CenterCrop`, `ToTensor` and
/// `Normalize` on a PIL image bit for bit.
///
/// ```
/// use spatialkit::image::{Image, Transform};
/// let patch = Image::new(50, 50, vec![200; 50 * 50 * 3])?;
/// let input = Transform::uni().apply(&patch)?;
/// assert_eq!(input.dim(), (3, 224, 224));
/// # Ok::<(), spatialkit::Error>(())
/// ```
#[derive(Debug, Clone, PartialEq)]
pub struct Transform {
    resize: usize,
    size: usize,
    filter: Filter,
    order: Channels,
    mean: [f32; 3],
    std: [f32; 3],
}

/// A picture that is resized to more pixels than this is no patch.
const LARGEST: usize = 1 << 26;

impl Default for Transform {
    fn default() -> Self {
        Transform::uni()
    }
}

impl Transform {
    /// UNI's: 224 pixels, bilinear, mean and standard deviation of ImageNet, red first.
    ///
    /// The interpolation is that of the authors' own `get_eval_transforms`. The configuration that
    /// comes with the weights cannot be read without access to them; should it differ,
    /// [`filter`](Transform::filter) sets another.
    pub fn uni() -> Self {
        Transform {
            resize: 224,
            size: 224,
            filter: Filter::Bilinear,
            order: Channels::Rgb,
            mean: [0.485, 0.456, 0.406],
            std: [0.229, 0.224, 0.225],
        }
    }

    /// Side of the result, and of what the shortest side is resized to. Default: 224.
    pub fn size(mut self, pixels: usize) -> Self {
        (self.size, self.resize) = (pixels, pixels);
        self
    }

    /// What the shortest side is resized to before the middle is cut out, if it is not
    /// [`size`](Transform::size): timm's `size / crop_pct`, rounded down. Set it after `size`.
    pub fn resize(mut self, pixels: usize) -> Self {
        self.resize = pixels;
        self
    }

    /// How pixels are weighted. Default: [`Filter::Bilinear`].
    pub fn filter(mut self, filter: Filter) -> Self {
        self.filter = filter;
        self
    }

    /// The order of the channels in the result; the first is normalised with the first mean,
    /// whichever colour it is. HisToSGE and SpaMCAF feed [`Channels::Bgr`]. Default:
    /// [`Channels::Rgb`].
    pub fn channels(mut self, order: Channels) -> Self {
        self.order = order;
        self
    }

    /// Mean and standard deviation of the channels of the result, of values in 0..1. Default:
    /// those of ImageNet, (0.485, 0.456, 0.406) and (0.229, 0.224, 0.225).
    pub fn normalize(mut self, mean: [f32; 3], std: [f32; 3]) -> Self {
        (self.mean, self.std) = (mean, std);
        self
    }

    /// Numbers in the result for one picture: 3 · size · size.
    pub fn output_len(&self) -> usize {
        3 * self.size * self.size
    }

    /// The picture resized and cut out, before bytes become numbers; size × size, red first.
    ///
    /// # Errors
    /// [`Error::Data`] for a picture without pixels, or one so much longer than wide that it would
    /// be resized to more than 2²⁶ pixels; [`Error::Parameter`] for an option out of range.
    pub fn crop(&self, image: &Image) -> Result<Image> {
        self.check()?;
        let (width, height) = (image.width, image.height);
        let (short, long) = (width.min(height), width.max(height));
        if short == 0 {
            let reason = format!("has {width} × {height} pixels; there is nothing to resize");
            return Err(Error::data("picture", reason));
        }
        let length = self.resize.saturating_mul(long) / short;
        if length.saturating_mul(self.resize) > LARGEST {
            let reason = format!(
                "of {width} × {height} pixels would become one of {} × {length}; is it a patch?",
                self.resize
            );
            return Err(Error::data("picture", reason));
        }
        let side = |n: usize| if n == short { self.resize } else { length };
        let (to_width, to_height) = (side(width), side(height));
        let resized = image.resize(to_width, to_height, self.filter);
        let (x, y) = (self.offset(to_width), self.offset(to_height));
        Ok(resized.crop(x, y, self.size, self.size))
    }

    /// (side - size) / 2, rounded half to even as Python's `round` does.
    fn offset(&self, side: usize) -> usize {
        let twice = side - self.size;
        let half = twice / 2;
        if twice % 2 == 1 { half + half % 2 } else { half }
    }

    fn check(&self) -> Result<()> {
        if self.size == 0 || self.size > 8192 {
            return Err(Error::parameter("size", self.size, "must be between 1 and 8192 pixels"));
        }
        if self.resize < self.size || self.resize > 8192 {
            let reason = format!("must be between size, {}, and 8192 pixels", self.size);
            return Err(Error::parameter("resize", self.resize, reason));
        }
        let fits = |s: f32| s.is_finite() && s > 0.0;
        if !self.std.into_iter().all(fits) {
            let value = format!("{:?}", self.std);
            return Err(Error::parameter("std", value, "must be positive numbers"));
        }
        if !self.mean.into_iter().all(f32::is_finite) {
            let value = format!("{:?}", self.mean);
            return Err(Error::parameter("mean", value, "must be numbers"));
        }
        Ok(())
    }

    /// The input for one picture, 3 × size × size.
    ///
    /// # Errors
    /// Those of [`Transform::crop`].
    pub fn apply(&self, image: &Image) -> Result<Array3<f32>> {
        self.check()?;
        let mut out = Array3::zeros((3, self.size, self.size));
        self.apply_into(image, out.as_slice_mut().expect("made in standard order"))?;
        Ok(out)
    }

    /// [`Transform::apply`] into numbers that the caller holds, channel after channel.
    ///
    /// # Errors
    /// [`Error::Shape`] unless `out` holds [`Transform::output_len`] numbers, and those of
    /// [`Transform::crop`].
    pub fn apply_into(&self, image: &Image, out: &mut [f32]) -> Result<()> {
        self.check()?;
        if out.len() != self.output_len() {
            let expected = format!("3 × {0} × {0} numbers", self.size);
            return Err(Error::shape("input of the image encoder", expected, out.len()));
        }
        let square = self.crop(image)?;
        for (k, plane) in out.chunks_exact_mut(self.size * self.size).enumerate() {
            // In f32, and in torch's order, so that the bits agree.
            let value = |v: usize| (v as f32 / 255.0 - self.mean[k]) / self.std[k];
            let table: [f32; 256] = std::array::from_fn(value);
            let source = square.pixels.iter().skip(self.order.source(k)).step_by(3);
            plane.iter_mut().zip(source).for_each(|(o, &v)| *o = table[usize::from(v)]);
        }
        Ok(())
    }

    /// The inputs for several pictures, n × 3 × size × size, on all threads.
    ///
    /// # Errors
    /// Those of [`Transform::crop`], with the index of the first picture that cannot be used.
    pub fn batch(&self, images: &[Image]) -> Result<Array4<f32>> {
        self.check()?;
        let mut out = Array4::zeros((images.len(), 3, self.size, self.size));
        self.batch_into(images, out.view_mut())?;
        Ok(out)
    }

    /// [`Transform::batch`] into an array that the caller holds.
    ///
    /// # Errors
    /// [`Error::Shape`] unless `out` is n × 3 × size × size in standard order, and those of
    /// [`Transform::batch`].
    pub fn batch_into(&self, images: &[Image], mut out: ArrayViewMut4<f32>) -> Result<()> {
        self.check()?;
        let expected = (images.len(), 3, self.size, self.size);
        let found = out.dim();
        let room = if found == expected { out.as_slice_mut() } else { None };
        let Some(room) = room else {
            let expected = format!("{expected:?} in standard order");
            return Err(Error::shape(
                "inputs of the image encoder",
                expected,
                format!("{found:?}"),
            ));
        };
        let results: Vec<Result<()>> = room
            .par_chunks_exact_mut(self.output_len())
            .zip(images)
            .map(|(out, image)| self.apply_into(image, out))
            .collect();
        for (i, result) in results.into_iter().enumerate() {
            result.map_err(|e| match e {
                Error::Data { what, reason } => Error::data(format!("{what} {i}"), reason),
                other => other,
            })?;
        }
        Ok(())
    }
}
