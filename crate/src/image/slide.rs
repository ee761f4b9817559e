//! [`SlideImage`]: a full-resolution picture of a slide, of which windows are read.
//!
//! ```text
//! TIFF ─────────> tiles or strips, decoded when a window touches them ─┐
//! PNG, JPEG ────> decoded once: up to 1 GiB of pixels in memory,       ├─> window ─ border ─> Image
//!                 more in a temporary file of plain rows ──────────────┤
//! Image ────────> memory ──────────────────────────────────────────────┘
//! ```
//!
//! [`Patches`](super::Patches) are windows around the positions of spots.

mod border;
mod cache;
pub(super) mod directory;
mod page;
mod rows;

pub use border::Border;
pub(super) use directory::{MOST_PAGES, Pages};
pub(super) use page::Page;

use super::raster::{Kind, Opened, open};
use super::{Filter, Image, ome::Ome, tiff};
use crate::error::{Error, Result};
use crate::progress::Progress;
use ::tiff::tags::Tag;
use directory::Level;
use rayon::prelude::*;
use rows::{Decoded, Scratch};
use std::path::Path;
use std::sync::{Arc, Mutex, PoisonError};

/// Pixels of a PNG or JPEG file that are kept in memory, in bytes (RGB).
const IN_MEMORY: u64 = 1 << 30;

/// A picture of a slide that may be larger than the memory: 8-bit RGB, read in windows.
///
/// * **TIFF** and BigTIFF (tiles or strips; uncompressed, LZW, deflate or JPEG): a window decodes the
///   tiles that it touches. The 128 MiB of tiles that were used last are kept. Tiles that the file
///   leaves out are white. Of several pages it is the first; smaller versions of it are
///   [levels](SlideImage::levels).
/// * **PNG** and **JPEG**: decoded once by [`open`](SlideImage::open), into memory up to 1 GiB of
///   pixels, beyond that into a temporary file (in `TMPDIR`, removed with the object).
///
/// Pixels are those of [`Image::open`]: grey becomes RGB, what is transparent becomes white, of 16 bits
/// the upper byte is kept. JPEG, in TIFF files too, is equal to Pillow and OpenCV bit for bit.
///
/// Several threads may read from one object; a clone shares its pixels.
///
/// ```no_run
/// use spatialkit::image::{Border, SlideImage};
/// # fn main() -> spatialkit::Result<()> {
/// let slide = SlideImage::open("HE.tif")?;
/// let corner = slide.window(0, 0, 512, 512, Border::Error)?;
/// # let positions = spatialkit::ndarray::Array2::<f64>::zeros((0, 2));
/// // 224 × 224 pixels around each position (x, y), white beyond the border.
/// let patches = slide.patches(positions.view(), 224, Border::default())?;
/// patches.for_each_batch(64, |rows, images| {
///     println!("{} patches, the first that of row {}", images.len(), rows[0]);
///     Ok(())
/// })?;
/// # Ok(())
/// # }
/// ```
#[derive(Clone)]
pub struct SlideImage {
    pixels: Arc<Pixels>,
    width: usize,
    height: usize,
    pixel_size: Option<(f64, f64)>,
    smaller: Vec<Level>,
}

enum Pixels {
    Memory(Image),
    Scratch(Scratch),
    Tiled(Box<Page>),
}

impl std::fmt::Debug for SlideImage {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "SlideImage({} × {} RGB)", self.width, self.height)
    }
}

impl SlideImage {
    /// Opens a PNG, JPEG, TIFF or BigTIFF file; its content decides, not its name.
    ///
    /// # Errors
    /// [`Error::Io`] when it cannot be read (or, of a large PNG or JPEG, when there is no room for
    /// the temporary file), [`Error::Format`] when it is no such picture, is cut short or damaged, or
    /// is compressed in a way that is not read, naming the codec.
    pub fn open(path: impl AsRef<Path>) -> Result<Self> {
        Self::open_within(path.as_ref(), IN_MEMORY)
    }

    /// As [`open`](Self::open), with the bytes of decoded pixels that memory may hold.
    fn open_within(path: &Path, budget: u64) -> Result<Self> {
        let opened = open(path)?;
        if opened.kind == Kind::Tiff {
            return Self::open_tiff(path, opened);
        }
        Ok(match rows::decode(path, opened, budget)? {
            Decoded::Memory(image) => Self::from_image(image),
            Decoded::Scratch(scratch) => SlideImage {
                width: scratch.width,
                height: scratch.height,
                pixels: Arc::new(Pixels::Scratch(scratch)),
                pixel_size: None,
                smaller: vec![],
            },
        })
    }

    fn open_tiff(path: &Path, Opened { file, size, .. }: Opened) -> Result<Self> {
        let file = Arc::new(file);
        let mut pages = directory::open(path, &file, size, None)?;
        let pixel_size = pixel_size(&mut pages);
        let smaller = directory::smaller_levels(&mut pages);
        let page = Page::open(path, &file, size, None)?;
        Ok(SlideImage {
            width: page.width,
            height: page.height,
            pixels: Arc::new(Pixels::Tiled(Box::new(page))),
            pixel_size,
            smaller,
        })
    }

    /// A picture that is in memory.
    pub fn from_image(image: Image) -> Self {
        SlideImage {
            width: image.width,
            height: image.height,
            pixels: Arc::new(Pixels::Memory(image)),
            pixel_size: None,
            smaller: vec![],
        }
    }

    /// Pixels per row.
    pub fn width(&self) -> usize {
        self.width
    }

    /// Number of rows.
    pub fn height(&self) -> usize {
        self.height
    }

    /// Width and height of a pixel in micrometres, where a TIFF file says so: in OME metadata, in the
    /// description of an Aperio slide, or as a resolution of more than 1,270 pixels per inch (less is
    /// that of a screen or a printer, which programs write when they know nothing).
    pub fn pixel_size(&self) -> Option<(f64, f64)> {
        self.pixel_size
    }

    /// Width and height of the picture and of its smaller versions in the same TIFF file, the largest
    /// first. There is always at least the picture itself.
    pub fn levels(&self) -> Vec<(usize, usize)> {
        let whole = [(self.width, self.height)];
        whole.into_iter().chain(self.smaller.iter().map(|l| (l.width, l.height))).collect()
    }

    /// A smaller version of the picture as a picture of its own; `level` 0 is the picture itself.
    /// Positions on it are positions on the picture times `levels()[level].0 / levels()[0].0`.
    ///
    /// # Errors
    /// [`Error::Parameter`] when there is no such level; as [`open`](Self::open).
    pub fn level(&self, level: usize) -> Result<SlideImage> {
        let Some(below) = level.checked_sub(1) else { return Ok(self.clone()) };
        let Some(&found) = self.smaller.get(below) else {
            let sizes: Vec<_> = self.levels().iter().map(|(w, h)| format!("{w} × {h}")).collect();
            let reason = format!("the picture has these levels: {}", sizes.join(", "));
            return Err(Error::parameter("level", level, reason));
        };
        self.open_level(found)
    }

    fn open_level(&self, level: Level) -> Result<SlideImage> {
        let Pixels::Tiled(whole) = &*self.pixels else { return Ok(self.clone()) };
        let page = whole.other(level.directory)?;
        let across = self.width as f64 / page.width as f64;
        let down = self.height as f64 / page.height as f64;
        Ok(SlideImage {
            width: page.width,
            height: page.height,
            pixels: Arc::new(Pixels::Tiled(Box::new(page))),
            pixel_size: self.pixel_size.map(|(w, h)| (w * across, h * down)),
            smaller: vec![],
        })
    }

    /// The window of `width × height` pixels whose top left one is (`x`, `y`), which may lie outside
    /// the picture; `border` says what is there.
    ///
    /// # Errors
    /// [`Error::Parameter`] when it sticks out and `border` is [`Border::Error`], or is too large for
    /// memory; [`Error::Format`] where the file is damaged.
    pub fn window(
        &self,
        x: i64,
        y: i64,
        width: usize,
        height: usize,
        border: Border,
    ) -> Result<Image> {
        let whole = (self.width, self.height);
        border::window(whole, (x, y, width, height), border, |x, y, width, height| {
            self.read(x, y, width, height)
        })
    }

    /// The pixels of a window that lies in the picture.
    fn read(&self, x: usize, y: usize, width: usize, height: usize) -> Result<Vec<u8>> {
        match &*self.pixels {
            Pixels::Memory(image) => {
                let mut pixels = Vec::with_capacity(width * height * 3);
                for row in y..y + height {
                    let start = (row * image.width + x) * 3;
                    pixels.extend_from_slice(&image.pixels[start..][..width * 3]);
                }
                Ok(pixels)
            }
            Pixels::Scratch(scratch) => scratch.read(x, y, width, height),
            Pixels::Tiled(page) => page.read(x, y, width, height),
        }
    }

    /// Rows that are best read together.
    pub(super) fn rows_together(&self) -> usize {
        match &*self.pixels {
            Pixels::Tiled(page) => page.tile_height(),
            Pixels::Memory(_) | Pixels::Scratch(_) => 256,
        }
    }

    /// The picture made smaller, if it is larger, so that neither side exceeds `side`; and pixels of
    /// that per pixel of this picture. Equal to [`Image::thumbnail`] of the whole picture, which is
    /// never in memory, or of its smallest [level](SlideImage::levels) that is large enough.
    ///
    /// # Errors
    /// [`Error::Parameter`] when `side` is 0, [`Error::Format`] where the file is damaged.
    pub fn thumbnail(&self, side: usize) -> Result<(Image, f64)> {
        if side == 0 {
            return Err(Error::parameter("side", side, "must be at least 1"));
        }
        let longest = |w: usize, h: usize| w.max(h);
        // Of those that are large enough the smallest that can be read.
        let enough = |l: &&Level| longest(l.width, l.height) >= side;
        let level = self.smaller.iter().rev().filter(enough).find_map(|&l| self.open_level(l).ok());
        let image = level.as_ref().unwrap_or(self).shrink(side)?;
        let scale = longest(image.width, image.height) as f64
            / longest(self.width, self.height).max(1) as f64;
        Ok((image, scale))
    }

    /// The thumbnail of this level: bands are made narrower as they are read, and their rows are
    /// averaged when all are there, which is what `resize` does with a picture in memory.
    fn shrink(&self, side: usize) -> Result<Image> {
        let longest = self.width.max(self.height);
        if longest <= side {
            return self.window(0, 0, self.width, self.height, Border::Error);
        }
        let scaled = |n: usize| ((n * side + longest / 2) / longest).max(1);
        let (width, height) = (scaled(self.width), scaled(self.height));
        let rows = self.rows_together();
        let progress = Mutex::new(Progress::new("Thumbnail", self.height as u64));
        let bands: Vec<Vec<u8>> = (0..self.height.div_ceil(rows))
            .into_par_iter()
            .map(|band| {
                let top = band * rows;
                let tall = rows.min(self.height - top);
                let band = Image::new(self.width, tall, self.read(0, top, self.width, tall)?)?;
                progress.lock().unwrap_or_else(PoisonError::into_inner).tick(tall as u64)?;
                Ok(band.resize(width, tall, Filter::Box).pixels)
            })
            .collect::<Result<_>>()?;
        progress.into_inner().unwrap_or_else(PoisonError::into_inner).finish();
        Ok(Image::new(width, self.height, bands.concat())?.resize(width, height, Filter::Box))
    }
}

/// The size of a pixel, from whatever a TIFF file says of it.
fn pixel_size(pages: &mut Pages) -> Option<(f64, f64)> {
    let description = tiff::description(pages).unwrap_or_default();
    if let Some(ome) = Ome::parse(&description) {
        return ome.pixel_size;
    }
    let plausible = |size: &f64| size.is_finite() && *size > 0.0;
    // Aperio: `… |AppMag = 20|MPP = 0.4990|…`
    let aperio = description.split('|').find_map(|item| {
        let (name, value) = item.split_once('=')?;
        (name.trim() == "MPP").then(|| value.trim().parse::<f64>().ok())?
    });
    if let Some(size) = aperio.filter(plausible) {
        return Some((size, size));
    }
    let unit = match pages.find_tag_unsigned::<u16>(Tag::ResolutionUnit).ok().flatten() {
        None | Some(2) => 25_400.0,
        Some(3) => 10_000.0,
        Some(_) => return None,
    };
    let mut size = |tag| {
        let (n, d) = match pages.find_tag(tag).ok().flatten()? {
            ::tiff::decoder::ifd::Value::Rational(n, d) => (f64::from(n), f64::from(d)),
            _ => return None,
        };
        Some(unit * d / n).filter(plausible).filter(|&size| size < 20.0)
    };
    Some((size(Tag::XResolution)?, size(Tag::YResolution)?))
}

#[cfg(test)]
mod tests;
