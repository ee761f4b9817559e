//! JPEG pictures row by row, and the JPEG tiles of TIFF files, decoded by libjpeg (the `mozjpeg`
//! fork of libjpeg-turbo): equal to Pillow and OpenCV, which use libjpeg-turbo, bit for bit.
//!
//! ```text
//! FF D8 | FF code, length, content … | FF DA, length, content, picture | … | FF D9
//!         tables, frame, metadata      scan
//! ```
//!
//! libjpeg draws what is missing or damaged in grey and mentions it in a warning; here such a
//! warning is an error. Its errors unwind through its C frames and are caught at every call.

use super::raster::most_bytes;
use crate::error::{Error, Result};
use mozjpeg::decompress::DecompressStarted;
use mozjpeg::{ColorSpace, Decompress};
use mozjpeg_sys::{
    J_MESSAGE_CODE, JTRC_SOS, JWRN_HIT_MARKER, JWRN_HUFF_BAD_CODE, JWRN_JPEG_EOF, JWRN_MUST_RESYNC,
    jpeg_common_struct, jpeg_error_mgr, jpeg_std_error,
};
use std::ffi::c_long;
use std::io::{self, BufRead, Read};
use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};
use std::path::{Path, PathBuf};

/// A file of a few bytes a scan could keep the decoder busy for days; encoders write about ten.
const MOST_SCANS: c_long = 500;

/// A picture of which only the header was read.
pub(super) struct Header<R> {
    path: PathBuf,
    decoder: Decompress<R>,
    pub width: usize,
    pub height: usize,
}

/// A picture that is being decoded.
pub(super) struct Jpeg<R> {
    path: PathBuf,
    decoder: DecompressStarted<R>,
    pub width: usize,
    pub height: usize,
    /// 1 (grey) or 3 (RGB).
    pub channels: usize,
    /// A row of a picture in CMYK.
    inks: Vec<u8>,
}

impl<R: BufRead> Header<R> {
    /// `size` is that of the file, which bounds what its header may claim.
    pub fn read(path: &Path, reader: R, size: u64) -> Result<Self> {
        let decoder =
            guarded(path, || Decompress::builder().with_err(judge()).from_reader(reader))?;
        let (width, height) = decoder.size();
        if width as u64 * height as u64 * 3 > most_bytes(size) {
            let reason = format!("{width} × {height} pixels in a file of {size} bytes");
            return Err(Error::format(path, reason));
        }
        Ok(Header { path: path.into(), decoder, width, height })
    }

    /// Reads up to the first row; of a progressive picture, all that there is.
    pub fn start(self) -> Result<Jpeg<R>> {
        let Header { path, decoder, width, height } = self;
        let (to, channels) = match decoder.color_space() {
            ColorSpace::JCS_GRAYSCALE => (ColorSpace::JCS_GRAYSCALE, 1),
            ColorSpace::JCS_CMYK | ColorSpace::JCS_YCCK => (ColorSpace::JCS_CMYK, 3),
            _ => (ColorSpace::JCS_RGB, 3),
        };
        let decoder = guarded(&path, || decoder.to_colorspace(to))?;
        let inks = if to == ColorSpace::JCS_CMYK { vec![0; width * 4] } else { vec![] };
        Ok(Jpeg { path, decoder, width, height, channels, inks })
    }
}

impl<R: BufRead> Jpeg<R> {
    /// The next row: `width * channels` bytes.
    pub fn read_row(&mut self, row: &mut [u8]) -> Result<()> {
        let Jpeg { path, decoder, inks, .. } = self;
        if inks.is_empty() {
            return guarded(path, || decoder.read_scanlines_into(row).map(drop));
        }
        guarded(path, || decoder.read_scanlines_into(&mut inks[..]).map(drop))?;
        for (rgb, inks) in row.as_chunks_mut::<3>().0.iter_mut().zip(inks.as_chunks::<4>().0) {
            *rgb = over_paper(*inks);
        }
        Ok(())
    }

    /// Reads on to the mark of the end, which tells a whole file from one that was cut short.
    pub fn finish(self) -> Result<()> {
        guarded(&self.path, || self.decoder.finish())
    }

    /// All rows of a picture that is decoded at once.
    pub fn read_all(mut self) -> Result<Vec<u8>> {
        let bytes = self.width * self.channels;
        let mut pixels = vec![0; bytes * self.height];
        pixels.chunks_exact_mut(bytes).try_for_each(|row| self.read_row(row))?;
        self.finish()?;
        Ok(pixels)
    }
}

/// Cyan, magenta, yellow and black as Adobe writes them (255 is no ink) to RGB, as Pillow has it.
fn over_paper(inks: [u8; 4]) -> [u8; 3] {
    let [c, m, y, light] = inks.map(i32::from);
    [c, m, y].map(|ink| {
        let product = (255 - ink) * light + 128;
        (light - ((product + (product >> 8)) >> 8)).clamp(0, 255) as u8
    })
}

/// Calls libjpeg, whose errors unwind.
fn guarded<T>(path: &Path, call: impl FnOnce() -> io::Result<T>) -> Result<T> {
    // Unwind safe: after an error a decoder is only dropped, which libjpeg allows in any state.
    let reason = match catch_unwind(AssertUnwindSafe(call)) {
        Ok(Ok(value)) => return Ok(value),
        Ok(Err(e)) => e.to_string(),
        Err(words) => words.downcast::<String>().map_or("unknown reason".into(), |words| *words),
    };
    if ["nsupported", "not supported", "not implemented"].iter().any(|w| reason.contains(w)) {
        return Err(Error::format(path, format!("a kind of JPEG that is not read ({reason})"))
            .with_hint("Convert it to the usual kind, or to TIFF or PNG"));
    }
    Err(Error::format(path, format!("the JPEG picture is cut short or damaged ({reason})"))
        .with_hint("Copy or download it again"))
}

/// What libjpeg is to do with its messages.
fn judge() -> jpeg_error_mgr {
    // Safety: zeros are a valid value, and libjpeg fills in what it needs.
    let mut manager = unsafe {
        let mut manager: jpeg_error_mgr = std::mem::zeroed();
        jpeg_std_error(&mut manager);
        manager
    };
    manager.error_exit = Some(fail);
    manager.emit_message = Some(weigh);
    manager
}

/// Unwinds with the message that libjpeg has prepared.
unsafe extern "C-unwind" fn fail(cinfo: &mut jpeg_common_struct) {
    // Safety: libjpeg passes its own structure, in which `err` is what `judge` has made. The
    // binding takes the buffer (JMSG_LENGTH_MAX bytes in C) for 80 bytes that are not written.
    let message = unsafe {
        let mut text = [0u8; 200];
        type Format = unsafe extern "C-unwind" fn(&mut jpeg_common_struct, *mut u8);
        if let Some(format) = (*cinfo.err).format_message {
            let format: Format = std::mem::transmute(format);
            format(cinfo, text.as_mut_ptr());
        }
        let end = text.iter().position(|&b| b == 0).unwrap_or(0);
        String::from_utf8_lossy(&text[..end]).into_owned()
    };
    // Without the panic handler, which would print.
    resume_unwind(Box::new(message));
}

/// Fails at warnings that say that pixels are missing or wrong; others are of no consequence (an
/// unknown version of JFIF, bytes between segments).
unsafe extern "C-unwind" fn weigh(cinfo: &mut jpeg_common_struct, _level: i32) {
    // Safety: as in `fail`.
    let manager = unsafe { &mut *cinfo.err };
    match manager.msg_code as J_MESSAGE_CODE {
        JWRN_HIT_MARKER | JWRN_HUFF_BAD_CODE | JWRN_JPEG_EOF | JWRN_MUST_RESYNC => unsafe {
            fail(cinfo)
        },
        JTRC_SOS => {
            // A field that libjpeg sets to 0 and leaves to this function.
            manager.num_warnings += 1;
            if manager.num_warnings > MOST_SCANS {
                resume_unwind(Box::new(format!("more than {MOST_SCANS} scans")));
            }
        }
        _ => {}
    }
}

/// The next segment: its code and what follows its length. `None` at the end.
fn segment(reader: &mut impl BufRead) -> io::Result<Option<(u8, Vec<u8>)>> {
    let byte = |reader: &mut dyn Read| {
        let mut byte = [0];
        reader.read_exact(&mut byte).map(|()| byte[0])
    };
    loop {
        while byte(reader)? != 0xff {}
        let code = loop {
            match byte(reader)? {
                0xff => {}
                code => break code,
            }
        };
        match code {
            // Nothing belongs to these.
            0x00 | 0x01 | 0xd0..=0xd8 => {}
            0xd9 => return Ok(None),
            _ => {
                let length = u16::from_be_bytes([byte(reader)?, byte(reader)?]);
                let length = length.checked_sub(2).ok_or(io::ErrorKind::InvalidData)?;
                let mut content = vec![0; usize::from(length)];
                reader.read_exact(&mut content)?;
                return Ok(Some((code, content)));
            }
        }
    }
}

/// Whether rows can be decoded one after the other: not if the picture comes in several scans
/// (progressive files), of which the decoder keeps all coefficients.
pub(super) fn is_sequential(mut reader: impl BufRead) -> bool {
    let mut frame = None;
    while let Ok(Some((code, content))) = segment(&mut reader) {
        match code {
            0xc4 | 0xc8 | 0xcc => {}
            0xc0..=0xcf => frame = content.get(5).map(|&components| (code, components)),
            0xda => {
                let sequential =
                    |(code, components)| code <= 0xc1 && content.first() == Some(&components);
                return frame.is_some_and(sequential);
            }
            _ => {}
        }
    }
    false
}

/// Colours of the components of a tile, where they are three.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Colours {
    Rgb,
    /// Luma and two chromas.
    YCbCr,
}

/// A tile of a TIFF file as a file of its own: with the tables that all tiles share, and with the
/// colours that the TIFF file states (in Adobe's segment) instead of those that the tile states.
pub(super) fn tile_as_file(tables: &[u8], tile: &[u8], colours: Colours) -> io::Result<Vec<u8>> {
    let transform = u8::from(colours == Colours::YCbCr);
    let mut out = vec![0xff, 0xd8, 0xff, 0xee, 0, 14];
    out.extend_from_slice(b"Adobe\0\x64\0\0\0\0");
    out.push(transform);
    for mut source in [tables, tile] {
        while !source.is_empty()
            && let Some((code, content)) = segment(&mut source)?
        {
            if (0xe0..=0xef).contains(&code) {
                continue;
            }
            out.extend_from_slice(&[0xff, code]);
            out.extend_from_slice(&(content.len() as u16 + 2).to_be_bytes());
            out.extend_from_slice(&content);
            if code == 0xda {
                out.extend_from_slice(source);
                break;
            }
        }
    }
    // Some writers leave the mark of the end out, and the TIFF file says where a tile ends.
    out.extend_from_slice(&[0xff, 0xd9]);
    Ok(out)
}

#[cfg(test)]
mod tests;
