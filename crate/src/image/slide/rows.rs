//! PNG and JPEG files have no random access: they are decoded once, row by row, into memory, or,
//! if that is too much, into a temporary file of plain RGB rows from which windows are read.

use super::super::jpeg::{Header, Jpeg, is_sequential};
use super::super::raster::{Kind, Opened, most_bytes};
use super::super::{Image, over_white};
use crate::error::{Error, Result};
use crate::progress::Progress;
use rayon::prelude::*;
use std::fs::File;
use std::io::{BufReader, BufWriter, Seek, Write};
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};

/// A picture whose pixels lie in a temporary file without a name, which ends with this value.
#[derive(Debug)]
pub(super) struct Scratch {
    file: File,
    pub width: usize,
    pub height: usize,
}

/// Where the pixels of a decoded picture are.
pub(super) enum Decoded {
    Memory(Image),
    Scratch(Scratch),
}

/// Decodes a PNG or JPEG file; more than `budget` bytes go to a temporary file.
pub(super) fn decode(path: &Path, opened: Opened, budget: u64) -> Result<Decoded> {
    let mut rows = Rows::open(path, opened, budget)?;
    let (width, height) = rows.size();
    let bytes = width * 3;
    let mut progress = Progress::new(format!("Decoding {}", name(path)), height as u64);
    if bytes as u64 * height as u64 <= budget {
        let mut pixels = vec![0; bytes * height];
        for row in pixels.chunks_exact_mut(bytes.max(1)) {
            rows.next(row)?;
            progress.tick(1)?;
        }
        rows.finish()?;
        progress.finish();
        return Ok(Decoded::Memory(Image::new(width, height, pixels)?));
    }
    let folder = std::env::temp_dir();
    let fail = |e| {
        let gb = bytes as f64 * height as f64 / 1e9;
        Error::io(&folder, e).with_hint(format!(
            "A picture of this size is decoded into a temporary file of {gb:.1} GB; `TMPDIR` says in \
             which folder"
        ))
    };
    let mut file = BufWriter::with_capacity(1 << 20, tempfile::tempfile().map_err(fail)?);
    let mut row = vec![0; bytes];
    for _ in 0..height {
        rows.next(&mut row)?;
        file.write_all(&row).map_err(fail)?;
        progress.tick(1)?;
    }
    rows.finish()?;
    progress.finish();
    let file = file.into_inner().map_err(|e| fail(e.into_error()))?;
    Ok(Decoded::Scratch(Scratch { file, width, height }))
}

fn name(path: &Path) -> String {
    path.file_name().unwrap_or_default().to_string_lossy().into_owned()
}

impl Scratch {
    /// The pixels of a window that lies in the picture.
    pub fn read(&self, x: usize, y: usize, width: usize, height: usize) -> Result<Vec<u8>> {
        let mut pixels = vec![0; width * height * 3];
        pixels.par_chunks_mut((width * 3).max(1)).enumerate().try_for_each(|(i, row)| {
            let at = ((y + i) * self.width + x) as u64 * 3;
            self.file.read_exact_at(row, at).map_err(|e| Error::io(std::env::temp_dir(), e))
        })?;
        Ok(pixels)
    }
}

/// A decoder that gives one row after the other.
enum Rows {
    Jpeg(Jpeg<BufReader<File>>, Vec<u8>),
    Png {
        reader: png::Reader<BufReader<File>>,
        path: PathBuf,
        layout: Layout,
    },
    /// An interlaced PNG, which comes as pictures of growing size, and the row that is next.
    Whole {
        bytes: Vec<u8>,
        next: usize,
        layout: Layout,
    },
}

/// How a PNG decoder gives its pixels.
#[derive(Debug, Clone, Copy)]
struct Layout {
    width: usize,
    height: usize,
    channels: usize,
    /// Bytes of a sample, the upper one first.
    depth: usize,
}

impl Rows {
    fn open(path: &Path, opened: Opened, budget: u64) -> Result<Rows> {
        let Opened { mut file, size, kind } = opened;
        match kind {
            Kind::Jpeg => {
                let sequential = is_sequential(BufReader::new(&file));
                file.rewind().map_err(|e| Error::io(path, e))?;
                let header = Header::read(path, BufReader::new(file), size)?;
                let (width, height) = (header.width, header.height);
                if !sequential && width as u64 * height as u64 * 3 > budget {
                    return Err(too_large_at_once(path, width, height, "a progressive JPEG"));
                }
                let jpeg = header.start()?;
                let row = if jpeg.channels == 1 { vec![0; jpeg.width] } else { vec![] };
                Ok(Rows::Jpeg(jpeg, row))
            }
            Kind::Png => Rows::png(path, file, size, budget),
            Kind::Tiff | Kind::Other => {
                Err(Error::format(path, "not a readable PNG, JPEG or TIFF picture"))
            }
        }
    }

    fn png(path: &Path, file: File, size: u64, budget: u64) -> Result<Rows> {
        let fail = |e| png_error(path, e);
        let most = usize::try_from(most_bytes(size)).unwrap_or(usize::MAX);
        let limits = png::Limits { bytes: most };
        let mut decoder = png::Decoder::new_with_limits(BufReader::new(file), limits);
        // Palettes become colours, what is transparent a channel, and fewer than 8 bits become 8.
        decoder.set_transformations(png::Transformations::EXPAND);
        let mut reader = decoder.read_info().map_err(fail)?;
        let (colour, depth) = reader.output_color_type();
        let layout = Layout {
            width: reader.info().width as usize,
            height: reader.info().height as usize,
            channels: colour.samples(),
            depth: if depth == png::BitDepth::Sixteen { 2 } else { 1 },
        };
        let Layout { width, height, channels, depth } = layout;
        let bytes = width as u64 * height as u64 * (channels * depth) as u64;
        if bytes > most_bytes(size) {
            let reason = format!("{width} × {height} pixels in a file of {size} bytes");
            return Err(Error::format(path, reason));
        }
        if !reader.info().interlaced {
            return Ok(Rows::Png { reader, path: path.into(), layout });
        }
        if bytes > budget {
            return Err(too_large_at_once(path, width, height, "an interlaced PNG"));
        }
        let mut bytes = vec![0; bytes as usize];
        reader.next_frame(&mut bytes).map_err(fail)?;
        Ok(Rows::Whole { bytes, next: 0, layout })
    }

    fn size(&self) -> (usize, usize) {
        match self {
            Rows::Jpeg(jpeg, _) => (jpeg.width, jpeg.height),
            Rows::Png { layout, .. } | Rows::Whole { layout, .. } => (layout.width, layout.height),
        }
    }

    /// The next row in RGB.
    fn next(&mut self, rgb: &mut [u8]) -> Result<()> {
        match self {
            Rows::Jpeg(jpeg, grey) if jpeg.channels == 1 => {
                jpeg.read_row(grey)?;
                for (p, &g) in rgb.as_chunks_mut::<3>().0.iter_mut().zip(&*grey) {
                    *p = [g; 3];
                }
            }
            Rows::Jpeg(jpeg, _) => jpeg.read_row(rgb)?,
            Rows::Png { reader, path, layout } => match reader.next_row() {
                Ok(Some(row)) => layout.to_rgb(row.data(), rgb),
                Ok(None) => return Err(Error::format(path, "the PNG picture has too few rows")),
                Err(e) => return Err(png_error(path, e)),
            },
            Rows::Whole { bytes, next, layout } => {
                let row = layout.width * layout.channels * layout.depth;
                layout.to_rgb(&bytes[*next * row..][..row], rgb);
                *next += 1;
            }
        }
        Ok(())
    }

    fn finish(self) -> Result<()> {
        match self {
            Rows::Jpeg(jpeg, _) => jpeg.finish(),
            Rows::Png { .. } | Rows::Whole { .. } => Ok(()),
        }
    }
}

impl Layout {
    /// Grey becomes RGB, what is transparent white; of 16 bits the upper 8 are kept.
    fn to_rgb(self, samples: &[u8], rgb: &mut [u8]) {
        let pixels = samples.chunks_exact(self.channels * self.depth);
        for (out, p) in rgb.as_chunks_mut::<3>().0.iter_mut().zip(pixels) {
            let sample = |c: usize| p[c * self.depth];
            *out = match self.channels {
                1 => [sample(0); 3],
                2 => over_white(&[sample(0), sample(0), sample(0), sample(1)]),
                3 => [0, 1, 2].map(sample),
                _ => over_white(&[0, 1, 2, 3].map(sample)),
            };
        }
    }
}

fn png_error(path: &Path, e: png::DecodingError) -> Error {
    let cut = matches!(&e, png::DecodingError::IoError(e) if e.kind() == std::io::ErrorKind::UnexpectedEof);
    let reason = match cut {
        true => "the PNG picture is cut short".into(),
        false => format!("not a readable PNG picture ({e})"),
    };
    Error::format(path, reason).with_hint("Copy or download it again")
}

/// A picture whose decoder would have to hold all of it.
fn too_large_at_once(path: &Path, width: usize, height: usize, what: &str) -> Error {
    let reason = format!("{what} of {width} × {height} pixels, which cannot be read row by row");
    Error::format(path, reason).with_hint(
        "Rewrite it as a tiled TIFF, e.g. with `vips tiffsave in out.tif --tile --compression jpeg`",
    )
}
