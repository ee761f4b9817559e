//! How a tile (or strip) of a TIFF page is decoded.

use super::super::directory::{self, Pages};
use super::Page;
use crate::anndata::Values;
use crate::error::{Error, Result};
use crate::image::jpeg::{self, Colours, Header};
use crate::image::raster::Raster;
use crate::image::tiff::{self, explain, values_of};
use ::tiff::ColorType;
use ::tiff::tags::{ByteOrder, Tag};
use std::os::unix::fs::FileExt;
use std::sync::PoisonError;

/// An uncompressed picture in one strip is read in pieces of about so many bytes.
const PIECE: usize = 1 << 20;

/// How the tiles of a page are stored.
pub(super) enum Coding {
    /// JPEG, with the tables that all tiles share.
    Jpeg { tables: Vec<u8>, colours: Colours },
    /// One strip without compression: rows of samples of 8 or 16 bits.
    Plain { channels: usize, wide: bool, big_endian: bool },
    /// Whatever the crate `tiff` decodes.
    Other { codec: u16 },
}

impl Coding {
    /// That of a page with the compression `codec`, whose decoder is `pages`.
    pub fn of(page: &Page, codec: u16, pages: &mut Pages) -> Result<Coding> {
        let mut tag = |tag| pages.find_tag_unsigned::<u16>(tag).ok().flatten();
        let inverted = tag(Tag::PhotometricInterpretation) == Some(0);
        match codec {
            7 => Self::jpeg(page, inverted, pages),
            1 if !inverted && page.places.len() == 1 && page.planes == 1 => {
                Ok(Self::plain(page, pages).unwrap_or(Coding::Other { codec }))
            }
            _ => Ok(Coding::Other { codec }),
        }
    }

    /// JPEG in grey, RGB or luma and chroma.
    fn jpeg(page: &Page, inverted: bool, pages: &mut Pages) -> Result<Coding> {
        let colours = match page.colour {
            ColorType::Gray(8) if !inverted => Colours::Rgb,
            ColorType::RGB(8) => Colours::Rgb,
            ColorType::YCbCr(8) => Colours::YCbCr,
            other => {
                let what = if inverted { "inverted grey".into() } else { format!("{other:?}") };
                let reason = format!("a TIFF file with JPEG tiles of {what}, which are not read");
                return Err(Error::format(&page.path, reason).with_hint("Convert it to RGB"));
            }
        };
        let tables = match pages.find_tag(Tag::JPEGTables) {
            Ok(Some(tables)) => {
                tables.into_u8_vec().map_err(|e| explain(&page.path, e, Some(7)))?
            }
            _ => vec![],
        };
        Ok(Coding::Jpeg { tables, colours })
    }

    /// One uncompressed strip that is the whole picture, if it is of the usual kinds.
    fn plain(page: &Page, pages: &mut Pages) -> Option<Coding> {
        let (channels, bits) = match page.colour {
            ColorType::Gray(bits) => (1, bits),
            ColorType::RGB(bits) => (3, bits),
            ColorType::RGBA(bits) => (4, bits),
            _ => return None,
        };
        let mut tag = |tag| pages.find_tag_unsigned::<u16>(tag).ok().flatten();
        let samples = tag(Tag::SamplesPerPixel).map_or(1, usize::from);
        let integers = tag(Tag::SampleFormat).is_none_or(|format| format == 1);
        let as_it_is = tag(Tag::Predictor).is_none_or(|predictor| predictor == 1);
        if !matches!(bits, 8 | 16) || samples != channels || !integers || !as_it_is {
            return None;
        }
        let big_endian = pages.byte_order() == ByteOrder::BigEndian;
        let coding = Coding::Plain { channels, wide: bits == 16, big_endian };
        let bytes = coding.row_bytes(page.width).saturating_mul(page.height) as u64;
        (bytes <= page.places[0].1.min(page.size)).then_some(coding)
    }

    /// Bytes of a row of a plain strip.
    fn row_bytes(&self, width: usize) -> usize {
        match self {
            Coding::Plain { channels, wide, .. } => width * channels * if *wide { 2 } else { 1 },
            Coding::Jpeg { .. } | Coding::Other { .. } => 0,
        }
    }

    /// Rows of the pieces into which a plain strip is cut.
    pub fn piece(&self, width: usize, height: usize) -> Option<usize> {
        match self.row_bytes(width) {
            0 => None,
            row => Some((PIECE / row).clamp(1, height)),
        }
    }
}

impl Page {
    /// A tile without what sticks out of the picture, with the channels that it has.
    pub(super) fn raster(&self, index: usize) -> Result<Raster> {
        let extent @ (_, height) = self.extent(index);
        let planes = (0..self.planes).map(|plane| index + plane * self.tiles);
        let mut colour = self.colour;
        let planes = match &self.coding {
            Coding::Jpeg { tables, colours } => {
                if let ColorType::YCbCr(bits) = colour {
                    // libjpeg has made RGB of it.
                    colour = ColorType::RGB(bits);
                }
                planes.map(|at| self.jpeg(at, tables, *colours, extent)).collect::<Result<_>>()?
            }
            Coding::Plain { wide, big_endian, .. } => {
                let row = self.coding.row_bytes(self.width);
                let start = self.places[0].0.saturating_add((index * self.tile.1 * row) as u64);
                let bytes = self.bytes((start, (row * height) as u64))?;
                let number = if *big_endian { u16::from_be_bytes } else { u16::from_le_bytes };
                vec![match wide {
                    true => Values::U16(bytes.as_chunks().0.iter().map(|&b| number(b)).collect()),
                    false => Values::U8(bytes),
                }]
            }
            Coding::Other { codec } => self.decode(planes, *codec, extent)?,
        };
        tiff::raster(&self.path, extent, colour, planes)
    }

    /// The planes of a tile, by a decoder that no thread is using.
    fn decode(
        &self,
        planes: impl Iterator<Item = usize>,
        codec: u16,
        (width, height): (usize, usize),
    ) -> Result<Vec<Values>> {
        let idle = self.decoders.lock().unwrap_or_else(PoisonError::into_inner).pop();
        let mut decoder = match idle {
            Some(decoder) => decoder,
            None => directory::open(&self.path, &self.file, self.size, self.directory)?,
        };
        let mut one = |at: usize| {
            let result = decoder.read_chunk(at as u32);
            let result = result.map_err(|e| explain(&self.path, e, Some(codec)))?;
            let values = values_of(&self.path, result)?;
            // Of planes after the first the crate gives the padding below the picture, too.
            let more = self.planes > 1 && values.len() > width * height;
            Ok(if more { values.slice(0..width * height) } else { values })
        };
        let values = planes.map(&mut one).collect::<Result<_>>()?;
        self.decoders.lock().unwrap_or_else(PoisonError::into_inner).push(decoder);
        Ok(values)
    }

    fn jpeg(
        &self,
        at: usize,
        tables: &[u8],
        colours: Colours,
        (width, height): (usize, usize),
    ) -> Result<Values> {
        let bytes = self.bytes(self.places[at])?;
        let file = jpeg::tile_as_file(tables, &bytes, colours)
            .map_err(|e| Error::format(&self.path, format!("JPEG tile {at}: {e}")))?;
        let tile = Header::read(&self.path, &file[..], bytes.len() as u64)?.start()?;
        let channels = if self.planes > 1 { 1 } else { usize::from(self.colour.num_samples()) };
        if tile.width < width || tile.height < height || tile.channels != channels {
            let reason = format!(
                "JPEG tile {at} is {} × {} × {}, expected {width} × {height} × {channels}",
                tile.width, tile.height, tile.channels
            );
            return Err(Error::format(&self.path, reason));
        }
        let row = tile.width * channels;
        let pixels = tile.read_all()?;
        let rows = pixels.chunks_exact(row).take(height);
        Ok(Values::U8(rows.flat_map(|row| &row[..width * channels]).copied().collect()))
    }

    /// The bytes at a place in the file.
    fn bytes(&self, (offset, count): (u64, u64)) -> Result<Vec<u8>> {
        if offset.checked_add(count).is_none_or(|end| end > self.size) {
            return Err(Error::format(&self.path, "the TIFF file is cut short")
                .with_hint("Copy or download it again"));
        }
        let mut bytes = vec![0; count as usize];
        self.file.read_exact_at(&mut bytes, offset).map_err(|e| Error::io(&self.path, e))?;
        Ok(bytes)
    }
}
