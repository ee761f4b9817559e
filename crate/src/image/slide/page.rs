//! A page of a TIFF file in tiles or strips, each decoded when a window touches it.
//!
//! ```text
//! window ─> tiles that it touches ─> cache ─> bytes at an offset ─ libjpeg ──> RGB
//!           (rows of tiles: threads)          decoder of the crate `tiff` ───>
//! ```
//!
//! JPEG tiles go to libjpeg (module `jpeg`), all else to decoders of the crate `tiff`,
//! of which there is one for each thread that is decoding.

mod tile;

use super::cache::Cache;
use super::directory::{self, Pages};
use crate::anndata::Values;
use crate::error::{Error, Result};
use crate::image::Image;
use crate::image::raster::{Raster, most_bytes};
use crate::image::tiff::explain;
use crate::progress::check_interrupt;
use ::tiff::ColorType;
use ::tiff::tags::Tag;
use rayon::prelude::*;
use std::fs::File;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex};
use tile::Coding;

/// Bytes of decoded tiles that are kept.
const CACHE: usize = 128 << 20;
/// A tile or strip is decoded whole, so it may not be larger.
const LARGEST_TILE: u64 = 1 << 30;

/// A page and what is kept of it.
pub(in crate::image) struct Page {
    path: PathBuf,
    file: Arc<File>,
    size: u64,
    directory: Option<u64>,
    pub width: usize,
    pub height: usize,
    /// Columns and rows of a tile.
    tile: (usize, usize),
    /// Tiles beside each other.
    across: usize,
    /// Tiles of a plane; planes follow each other.
    tiles: usize,
    planes: usize,
    /// Where each tile lies: offset and bytes.
    places: Vec<(u64, u64)>,
    colour: ColorType,
    coding: Coding,
    decoders: Mutex<Vec<Pages>>,
    cache: Cache,
}

impl Page {
    /// The page at `directory`, or the first.
    pub fn open(path: &Path, file: &Arc<File>, size: u64, directory: Option<u64>) -> Result<Page> {
        let mut pages = directory::open(path, file, size, directory)?;
        let codec = pages.find_tag_unsigned::<u16>(Tag::Compression).ok().flatten().unwrap_or(1);
        let fail = |e| explain(path, e, Some(codec));
        let colour = pages.colortype().map_err(fail)?;
        let (width, height) = pages.dimensions().map_err(fail)?;
        // As many rows as a number can say are all that there are.
        let strips = !pages.image_ifd().directory().contains(Tag::TileOffsets);
        let tile = match pages.chunk_dimensions() {
            (across, rows) if strips => (across, rows.min(height)),
            tile => tile,
        };
        if [width, height, tile.0, tile.1].contains(&0) {
            return Err(Error::format(path, "damaged TIFF file: a picture without pixels"));
        }
        let mut list = |tiles, strips| -> Result<Vec<u64>> {
            let tag = if pages.image_ifd().directory().contains(tiles) { tiles } else { strips };
            Ok(pages.find_tag_unsigned_vec::<u64>(tag).map_err(fail)?.unwrap_or_default())
        };
        let offsets = list(Tag::TileOffsets, Tag::StripOffsets)?;
        let counts = list(Tag::TileByteCounts, Tag::StripByteCounts)?;
        let samples = usize::from(colour.num_samples());
        let separate = pages.find_tag_unsigned::<u16>(Tag::PlanarConfiguration).ok().flatten();
        let mut page = Page {
            path: path.into(),
            file: file.clone(),
            size,
            directory,
            width: width as usize,
            height: height as usize,
            tile: (tile.0 as usize, tile.1 as usize),
            across: width.div_ceil(tile.0) as usize,
            tiles: 0,
            planes: if separate == Some(2) { samples } else { 1 },
            places: offsets.into_iter().zip(counts).collect(),
            colour,
            coding: Coding::Other { codec },
            decoders: Mutex::default(),
            cache: Cache::new(CACHE, 1),
        };
        page.tiles = page.across.saturating_mul(page.height.div_ceil(page.tile.1));
        let (found, expected) = (page.places.len(), page.tiles.saturating_mul(page.planes));
        if found < expected {
            let reason = format!("damaged TIFF file: {found} tiles or strips of {expected}");
            return Err(Error::format(path, reason));
        }
        page.coding = Coding::of(&page, codec, &mut pages)?;
        if let Some(rows) = page.coding.piece(page.width, page.height) {
            // The only strip counts as many.
            page.tile.1 = rows;
            page.tiles = page.height.div_ceil(rows);
        }
        let (w, h) = page.tile;
        let depth = u64::from(colour.bit_depth() / 8).max(1) * samples as u64;
        if (w as u64).saturating_mul(h as u64).saturating_mul(depth) > LARGEST_TILE {
            let reason = format!("tiles or strips of {w} × {h} pixels, which are decoded whole");
            return Err(Error::format(path, reason).with_hint(
                "Rewrite it in small tiles, e.g. with `vips tiffsave in.tif out.tif --tile \
                 --bigtiff --compression deflate`",
            ));
        }
        page.cache = Cache::new(CACHE, w * h * 3);
        page.decoders = Mutex::new(vec![pages]);
        Ok(page)
    }

    /// Another page of the file.
    pub fn other(&self, directory: u64) -> Result<Page> {
        Page::open(&self.path, &self.file, self.size, Some(directory))
    }

    /// Columns and rows of a tile that lie in the picture.
    fn extent(&self, index: usize) -> (usize, usize) {
        let (w, h) = self.tile;
        let (column, row) = (index % self.across, index / self.across);
        (w.min(self.width - column * w), h.min(self.height - row * h))
    }

    /// Whether the file leaves a tile out (0 bytes), as scanners do where there is only glass.
    fn left_out(&self, index: usize) -> bool {
        self.places.get(index).is_some_and(|&(_, bytes)| bytes == 0)
    }

    /// A tile in RGB.
    fn tile(&self, index: usize) -> Result<Arc<Image>> {
        self.cache.get(index, || {
            let image = self.raster(index)?.into_image();
            image.map_err(|e| Error::format(&self.path, e.to_string()))
        })
    }

    /// The rows that hold a row of tiles; windows that begin there decode nothing twice.
    pub fn tile_height(&self) -> usize {
        self.tile.1
    }

    /// The pixels of a window that lies in the picture.
    pub fn read(&self, x: usize, y: usize, width: usize, height: usize) -> Result<Vec<u8>> {
        let (w, h) = self.tile;
        let mut pixels = vec![0; width * height * 3];
        // The parts of the window that lie in one row of tiles each.
        let mut bands = Vec::new();
        let (mut rest, mut top) = (&mut pixels[..], y);
        while !rest.is_empty() {
            let bottom = ((top / h + 1) * h).min(y + height);
            let (band, below) = rest.split_at_mut((bottom - top) * width * 3);
            bands.push((top, band));
            (rest, top) = (below, bottom);
        }
        bands.into_par_iter().try_for_each(|(top, band)| -> Result<()> {
            for column in x / w..(x + width).div_ceil(w) {
                check_interrupt()?;
                let index = top / h * self.across + column;
                let (left, right) = (x.max(column * w), (x + width).min((column + 1) * w));
                let bytes = (right - left) * 3;
                if self.left_out(index) {
                    // White, and never a tile in memory, whatever size the file claims.
                    let rows = band.chunks_exact_mut(width * 3);
                    rows.for_each(|row| row[(left - x) * 3..][..bytes].fill(255));
                    continue;
                }
                let tile = self.tile(index)?;
                for (i, row) in band.chunks_exact_mut(width * 3).enumerate() {
                    let from = ((top % h + i) * tile.width + left - column * w) * 3;
                    row[(left - x) * 3..][..bytes].copy_from_slice(&tile.pixels[from..][..bytes]);
                }
            }
            Ok(())
        })?;
        Ok(pixels)
    }

    /// The whole page with the channels and the elements that it has.
    pub fn whole(&self) -> Result<Raster> {
        let limit = |elements: u64| match elements > most_bytes(self.size) {
            true => Err(explain(&self.path, ::tiff::TiffError::LimitsExceeded, None)),
            false => Ok(elements as usize),
        };
        let n = limit(self.width as u64 * self.height as u64)?;
        let (mut channels, mut values) = (1, None);
        for row in 0..self.tiles / self.across {
            check_interrupt()?;
            let tiles = (row * self.across..(row + 1) * self.across)
                .into_par_iter()
                .map(|index| self.raster(index))
                .collect::<Vec<_>>()
                .into_iter()
                .collect::<Result<Vec<_>>>()?;
            channels = tiles[0].channels;
            let elements = limit((n * channels) as u64)?;
            let kind = tiles[0].values.kind();
            let values = values.get_or_insert_with(|| Values::with_capacity(kind, elements));
            for y in 0..tiles[0].height {
                for tile in &tiles {
                    let line = tile.width * channels;
                    values.append(&tile.values.slice(y * line..(y + 1) * line));
                }
            }
        }
        let values = values.unwrap_or(Values::U8(vec![]));
        Raster::new(self.width, self.height, channels, values)
    }
}
