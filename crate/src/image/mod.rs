//! Pictures: decoding, cropping, resizing, and the tissue image of an
//! [`AnnData`](crate::anndata::AnnData).
//!
//! An [`Image`] is 8-bit RGB in rows from the top, as Pillow and every reader of Visium folders
//! have it; a [`Raster`] has the channels and the depth of its file, as [`read_image`] finds them in
//! PNG, JPEG, TIFF and OME-TIFF; a [`SlideImage`] is a picture that may be larger than the memory,
//! of which windows and [`Patches`] around spots are read. Drawing on pictures is in
//! [`pl`](crate::pl).

mod jpeg;
mod mask;
mod ome;
mod on_tissue;
mod patch;
mod raster;
mod resize;
mod slide;
mod texture;
mod tiff;
mod tissue;
mod transform;

pub use mask::{Mask, tissue_mask};
pub use on_tissue::{BetterScale, OnTissue, ScaleCheck, Verdict, check_scale, spots_on_tissue};
pub use patch::Patches;
pub use raster::{Raster, read_image};
pub use resize::Filter;
pub use slide::{Border, SlideImage};
pub(crate) use texture::fft2;
pub use texture::{Channels, GLCM_PROPERTIES, Glcm, GlcmScratch, glcm, glcm_offsets, log_fft};
pub(crate) use tissue::spot_diameter;
pub use tissue::{Resolution, Tissue, libraries, tissue};
pub use transform::Transform;

use crate::anndata::{Value, Values};
use crate::error::{Error, Result};
use std::path::Path;

/// An 8-bit RGB picture.
#[derive(Clone, PartialEq, Eq)]
pub struct Image {
    /// Pixels per row.
    pub width: usize,
    /// Number of rows.
    pub height: usize,
    /// `width * height * 3` bytes: red, green, blue, pixel after pixel, the top row first.
    pub pixels: Vec<u8>,
}

impl std::fmt::Debug for Image {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Image({} × {} RGB)", self.width, self.height)
    }
}

impl Image {
    /// A picture from its bytes.
    ///
    /// # Errors
    /// [`Error::Shape`] unless there are `width * height * 3` of them.
    pub fn new(width: usize, height: usize, pixels: Vec<u8>) -> Result<Self> {
        let expected = width.checked_mul(height).and_then(|n| n.checked_mul(3));
        if expected != Some(pixels.len()) {
            let expected = format!("{width} × {height} × 3 bytes");
            return Err(Error::shape("image", expected, pixels.len()));
        }
        Ok(Image { width, height, pixels })
    }

    /// Decodes a PNG or JPEG file that is already in memory. Grey becomes RGB; what is transparent
    /// becomes white.
    ///
    /// # Errors
    /// [`Error::Format`] naming `name` when the bytes are no such picture.
    pub fn decode(bytes: &[u8], name: impl AsRef<Path>) -> Result<Self> {
        raster::decode_bytes(name.as_ref(), bytes)?.into_image()
    }

    /// Reads a PNG, JPEG or TIFF file as 8-bit RGB; see [`read_image`] and [`Raster::to_image`].
    ///
    /// # Errors
    /// [`Error::Io`] when it cannot be read, [`Error::Format`] when it is no such picture.
    pub fn open(path: impl AsRef<Path>) -> Result<Self> {
        read_image(path)?.into_image()
    }

    /// The picture in an entry of `uns`: height × width × (1, 3 or 4) of bytes, of 16-bit
    /// integers, or of floats in 0..1.
    ///
    /// # Errors
    /// [`Error::Shape`] or [`Error::Data`], naming `what`, when the entry is no picture.
    pub fn from_value(value: &Value, what: &str) -> Result<Self> {
        let Value::Array { shape, values } = value else {
            return Err(Error::data(what, "is not an array, so it cannot be an image"));
        };
        let (height, width, channels) = match shape[..] {
            [h, w] => (h, w, 1),
            [h, w, c @ (1 | 3 | 4)] => (h, w, c),
            _ => return Err(Error::shape(what, "height × width × 3", format!("{shape:?}"))),
        };
        let bytes: Vec<u8> = match values {
            Values::U8(v) => v.clone(),
            Values::U16(v) => v.iter().map(|&x| (x >> 8) as u8).collect(),
            Values::F32(v) => v.iter().map(|&x| unit_to_byte(x)).collect(),
            Values::F64(v) => v.iter().map(|&x| unit_to_byte(x as f32)).collect(),
            other => {
                let reason = format!("an image of {} is not supported; use uint8", other.dtype());
                return Err(Error::data(what, reason));
            }
        };
        let pixels = match channels {
            1 => bytes.iter().flat_map(|&g| [g; 3]).collect(),
            4 => bytes.chunks_exact(4).flat_map(over_white).collect(),
            _ => bytes,
        };
        Image::new(width, height, pixels)
    }

    /// The picture as an entry of `uns`: height × width × 3 bytes.
    pub fn to_value(&self) -> Value {
        let shape = vec![self.height, self.width, 3];
        Value::Array { shape, values: Values::U8(self.pixels.clone()) }
    }

    /// The colour at column `x` of row `y`.
    pub fn get(&self, x: usize, y: usize) -> [u8; 3] {
        let i = (y * self.width + x) * 3;
        [self.pixels[i], self.pixels[i + 1], self.pixels[i + 2]]
    }

    /// The part that starts at column `x` of row `y`; what would stick out is left off.
    pub fn crop(&self, x: usize, y: usize, width: usize, height: usize) -> Image {
        let (x, y) = (x.min(self.width), y.min(self.height));
        let (width, height) = (width.min(self.width - x), height.min(self.height - y));
        let row = |r: usize| &self.pixels[((y + r) * self.width + x) * 3..][..width * 3];
        Image { width, height, pixels: (0..height).flat_map(row).copied().collect() }
    }

    /// The same picture in shades of grey (ITU-R 601 luma, as Pillow's mode `L`).
    pub fn to_grey(&self) -> Image {
        let luma = |p: &[u8]| {
            let [r, g, b] = [u32::from(p[0]), u32::from(p[1]), u32::from(p[2])];
            [((r * 19595 + g * 38470 + b * 7471 + 0x8000) >> 16) as u8; 3]
        };
        let pixels = self.pixels.chunks_exact(3).flat_map(luma).collect();
        Image { width: self.width, height: self.height, pixels }
    }

    /// The picture made smaller, if it is larger, so that neither side exceeds `side`.
    pub fn thumbnail(&self, side: usize) -> Image {
        let longest = self.width.max(self.height);
        if longest <= side || side == 0 {
            return self.clone();
        }
        let scaled = |n: usize| ((n * side + longest / 2) / longest).max(1);
        self.resize(scaled(self.width), scaled(self.height), Filter::Box)
    }

    /// The picture as a PNG file.
    ///
    /// # Errors
    /// [`Error::Figure`] when it cannot be encoded (a side of 0).
    pub fn to_png(&self) -> Result<Vec<u8>> {
        png(&self.pixels, self.width, self.height, 3)
    }
}

/// PNG file of 8-bit pixels with 3 (RGB) or 4 (RGBA) channels.
pub(crate) fn png(pixels: &[u8], width: usize, height: usize, channels: usize) -> Result<Vec<u8>> {
    use ::image::codecs::png::{CompressionType, FilterType, PngEncoder};
    use ::image::{ExtendedColorType, ImageEncoder};
    let color = if channels == 4 { ExtendedColorType::Rgba8 } else { ExtendedColorType::Rgb8 };
    let mut out = Vec::new();
    PngEncoder::new_with_quality(&mut out, CompressionType::Fast, FilterType::Adaptive)
        .write_image(pixels, width as u32, height as u32, color)
        .map_err(|e| Error::Figure(format!("PNG of {width} × {height} pixels: {e}")))?;
    Ok(out)
}

fn unit_to_byte(x: f32) -> u8 {
    (x * 255.0).round().clamp(0.0, 255.0) as u8
}

fn over_white(p: &[u8]) -> [u8; 3] {
    let a = u32::from(p[3]);
    [0, 1, 2].map(|c| ((u32::from(p[c]) * a + 255 * (255 - a) + 127) / 255) as u8)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn gradient(width: usize, height: usize) -> Image {
        let pixel = |i: usize| [(i % width * 7) as u8, (i / width * 5) as u8, 128];
        Image::new(width, height, (0..width * height).flat_map(pixel).collect()).unwrap()
    }

    #[test]
    fn png_and_uns_round_trips_keep_every_pixel() {
        let image = gradient(31, 17);
        let png = image.to_png().unwrap();
        assert_eq!(Image::decode(&png, "x.png").unwrap(), image);
        assert_eq!(Image::from_value(&image.to_value(), "image").unwrap(), image);
    }

    #[test]
    fn floats_between_zero_and_one_become_bytes() {
        let values = Values::F32(vec![0.0, 0.5, 1.0, 2.0, -1.0, f32::NAN]);
        let value = Value::Array { shape: vec![1, 2, 3], values };
        let image = Image::from_value(&value, "image").unwrap();
        assert_eq!(image.pixels, [0, 128, 255, 255, 0, 0]);
    }

    #[test]
    fn what_is_no_picture_is_named() {
        let e = Image::decode(b"not a picture", "slide/hires.png").unwrap_err().to_string();
        assert!(e.contains("slide/hires.png") && e.contains("PNG"), "{e}");
        let value = Value::Array { shape: vec![2, 2, 2], values: Values::U8(vec![0; 8]) };
        let e = Image::from_value(&value, "images[\"hires\"]").unwrap_err().to_string();
        assert!(e.contains("hires"), "{e}");
    }

    #[test]
    fn a_crop_never_leaves_the_picture() {
        let image = gradient(10, 8);
        let part = image.crop(7, 6, 100, 100);
        assert_eq!((part.width, part.height), (3, 2));
        assert_eq!(part.get(0, 0), image.get(7, 6));
        assert_eq!(image.crop(50, 50, 1, 1).pixels.len(), 0);
        assert_eq!((image.thumbnail(5).width, image.thumbnail(5).height), (5, 4));
    }
}
