//! TIFF and BigTIFF files: whole pages, and what pages and tiles have in common. Windows of pages
//! that are too large for memory are read in [`slide`](super::slide).

use super::ome::Ome;
use super::raster::Raster;
use super::slide::{MOST_PAGES, Page, Pages, directory};
use crate::anndata::Values;
use crate::error::{Error, Result};
use ::tiff::decoder::DecodingResult;
use ::tiff::tags::Tag;
use ::tiff::{ColorType, TiffError, TiffUnsupportedError};
use std::fs::File;
use std::path::Path;
use std::sync::Arc;

/// Reads the first page, or the pages that are the channels of one picture.
pub(super) fn read(path: &Path, file: File, size: u64) -> Result<Raster> {
    let fail = |e: TiffError| explain(path, e, None);
    let file = Arc::new(file);
    let mut decoder = directory::open(path, &file, size, None)?;
    let page = |decoder: &mut Pages| {
        let tag = |decoder: &mut Pages, tag| decoder.find_tag_unsigned::<u16>(tag).ok().flatten();
        let jpeg = tag(decoder, Tag::Compression) == Some(7);
        let planes = tag(decoder, Tag::PlanarConfiguration) == Some(2);
        // JPEG goes to libjpeg, and the crate's reading of whole pages fails on tiles in planes.
        if jpeg || planes {
            let directory = decoder.ifd_pointer().map(|pointer| pointer.0);
            return Page::open(path, &file, size, directory)?.whole();
        }
        page(path, decoder)
    };

    let ome = description(&mut decoder).and_then(|d| Ome::parse(&d)).unwrap_or_default();
    let mut raster = page(&mut decoder)?;
    let (channels, sections, times) = ome.sizes;
    let planes = if raster.channels == 1 && sections * times == 1 { channels.max(1) } else { 1 };
    let mut rest = vec![];
    let mut pages = 1;
    while decoder.more_images() && pages < MOST_PAGES {
        decoder.next_image().map_err(fail)?;
        pages += 1;
        if pages <= planes {
            let next = page(&mut decoder)?;
            let same = (next.width, next.height, next.channels, next.values.dtype());
            if same != (raster.width, raster.height, raster.channels, raster.values.dtype()) {
                let reason = format!(
                    "page {pages} is {} × {} of {}, the first {} × {} of {}: they cannot be the \
                     {planes} channels of one picture that the OME metadata announce",
                    next.width,
                    next.height,
                    next.values.dtype(),
                    raster.width,
                    raster.height,
                    raster.values.dtype(),
                );
                return Err(Error::format(path, reason));
            }
            rest.push(next.values);
        }
    }
    // Fewer pages than channels: the others lie in files beside this one.
    let planes = if planes > pages { 1 } else { planes };
    raster.pages = pages + 1 - planes;
    if planes > 1 {
        rest.insert(0, raster.values);
        raster.values = interleave(rest).map_err(|reason| Error::format(path, reason))?;
        raster.channels = planes;
    }
    raster.describe(ome);
    Ok(raster)
}

pub(super) fn description(decoder: &mut Pages) -> Option<String> {
    // The metadata are UTF-8, which the tag's type (ASCII) does not provide for.
    let value = decoder.find_tag(Tag::ImageDescription).ok()??;
    match value {
        ::tiff::decoder::ifd::Value::Ascii(text) => Some(text),
        other => String::from_utf8(other.into_u8_vec().ok()?).ok(),
    }
}

/// The page at which the decoder is, of pixels that are not in planes.
fn page(path: &Path, decoder: &mut Pages) -> Result<Raster> {
    let codec = decoder.find_tag_unsigned::<u16>(Tag::Compression).ok().flatten();
    let fail = |e: TiffError| explain(path, e, codec);
    let (width, height) = decoder.dimensions().map_err(fail)?;
    let size = (width as usize, height as usize);
    let colour = decoder.colortype().map_err(fail)?;
    let mut result = DecodingResult::U8(vec![]);
    decoder.read_image_to_buffer(&mut result).map_err(fail)?;
    let values = values_of(path, result)?;
    raster(path, size, colour, vec![values])
}

/// What a decoder has found, in the type that it has.
pub(super) fn values_of(path: &Path, result: DecodingResult) -> Result<Values> {
    Ok(match result {
        DecodingResult::U8(v) => Values::U8(v),
        DecodingResult::U16(v) => Values::U16(v),
        DecodingResult::U32(v) => Values::U32(v),
        DecodingResult::U64(v) => Values::U64(v),
        DecodingResult::I8(v) => Values::I8(v),
        DecodingResult::I16(v) => Values::I16(v),
        DecodingResult::I32(v) => Values::I32(v),
        DecodingResult::I64(v) => Values::I64(v),
        DecodingResult::F32(v) => Values::F32(v),
        DecodingResult::F64(v) => Values::F64(v),
        DecodingResult::F16(_) => {
            return Err(Error::format(path, "half-precision pixels are not read"));
        }
    })
}

/// The planes of a picture, or of a tile of one, as a picture.
pub(super) fn raster(
    path: &Path,
    (width, height): (usize, usize),
    colour: ColorType,
    mut planes: Vec<Values>,
) -> Result<Raster> {
    let n = width * height;
    let found: usize = planes.iter().map(Values::len).sum();
    let equal = planes.len() == 1 || planes.iter().all(|plane| plane.len() == n);
    if n == 0 || !found.is_multiple_of(n) || !equal {
        let bits = colour.bit_depth();
        return Err(Error::format(path, format!("{bits}-bit pixels are not read"))
            .with_hint("Convert it to 8 or 16 bits"));
    }
    let values = match (planes.len(), colour) {
        (_, ColorType::CMYK(_) | ColorType::CMYKA(_) | ColorType::Lab(_)) => {
            return Err(Error::format(path, format!("colours in {colour:?} are not read"))
                .with_hint("Convert it to RGB"));
        }
        (1, ColorType::YCbCr(8)) => to_rgb(planes.remove(0)),
        (1, _) => planes.remove(0),
        _ => interleave(planes).map_err(|reason| Error::format(path, reason))?,
    };
    Raster::new(width, height, found / n, values).map_err(|e| Error::format(path, e.to_string()))
}

/// Plane after plane to pixel after pixel.
fn interleave(planes: Vec<Values>) -> Result<Values, String> {
    let count = planes.len();
    let n = planes[0].len();
    macro_rules! mix {
        ($($variant:ident)*) => {
            match &planes[0] {
                $(Values::$variant(first) => {
                    let mut out = vec![first.first().copied().unwrap_or_default(); n * count];
                    for (p, plane) in planes.iter().enumerate() {
                        let Values::$variant(plane) = plane else {
                            return Err("planes of several types".into());
                        };
                        for (i, &x) in plane.iter().enumerate() {
                            out[i * count + p] = x;
                        }
                    }
                    Values::$variant(out)
                })*
            }
        };
    }
    Ok(mix!(F32 F64 I8 I16 I32 I64 U8 U16 U32 U64 Bool))
}

/// Luma and chroma of JPEG (ITU-R 601, full range) to RGB.
fn to_rgb(values: Values) -> Values {
    let Values::U8(mut bytes) = values else { return values };
    for p in bytes.as_chunks_mut::<3>().0 {
        let [y, cb, cr] = p.map(f32::from);
        let (cb, cr) = (cb - 128.0, cr - 128.0);
        let rgb = [y + 1.402 * cr, y - 0.344_136 * cb - 0.714_136 * cr, y + 1.772 * cb];
        *p = rgb.map(|x| x.round().clamp(0.0, 255.0) as u8);
    }
    Values::U8(bytes)
}

/// What a TIFF decoder's error means to whoever wants to see the picture.
pub(super) fn explain(path: &Path, e: TiffError, codec: Option<u16>) -> Error {
    let unsupported = matches!(
        e,
        TiffError::UnsupportedError(TiffUnsupportedError::UnsupportedCompressionMethod(_))
    );
    if unsupported && let Some(codec) = codec {
        let name = match codec {
            33003 | 33004 | 33005 | 34712 => "JPEG 2000",
            22610 | 34934 | 50002 => "JPEG XR",
            50000 | 34926 => "Zstandard",
            50001 | 34927 => "WebP",
            52546 | 50003 => "JPEG XL",
            34925 => "LZMA",
            34887 => "LERC",
            2..=4 => "fax",
            6 => "the old JPEG of TIFF 6",
            _ => "an unknown codec",
        };
        let reason =
            format!("a TIFF file compressed with {name} (codec {codec}), which is not read");
        return Error::format(path, reason).with_hint(
            "Rewrite it with deflate or LZW, e.g. in Python: `tifffile.imwrite(new, \
             tifffile.imread(old), compression=\"deflate\")`",
        );
    }
    match e {
        TiffError::IoError(e) if e.kind() != std::io::ErrorKind::UnexpectedEof => {
            Error::format(path, format!("damaged TIFF file: {e}"))
        }
        TiffError::IoError(_) => {
            Error::format(path, "the TIFF file is cut short").with_hint("Copy or download it again")
        }
        TiffError::UnsupportedError(e) => Error::format(path, format!("a kind of TIFF: {e}")),
        TiffError::LimitsExceeded => {
            Error::format(path, "the TIFF file claims more pixels than its size can hold")
        }
        e => Error::format(path, format!("damaged TIFF file: {e}")),
    }
}

#[cfg(test)]
mod tests {
    use super::super::read_image;
    use super::*;
    use ::tiff::encoder::colortype::{Gray16, RGB8};
    use ::tiff::encoder::{Compression, TiffEncoder};

    type Encoder = TiffEncoder<File>;

    fn file(write: impl FnOnce(Encoder)) -> (tempfile::TempDir, std::path::PathBuf) {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("a.tif");
        write(TiffEncoder::new(File::create(&path).unwrap()).unwrap());
        (dir, path)
    }

    /// Two pages of grey in 16 bits, the first with a description.
    fn stack(description: &'static str) -> (tempfile::TempDir, std::path::PathBuf) {
        file(|tiff| {
            let mut tiff = tiff.with_compression(Compression::Lzw);
            let mut page = tiff.new_image::<Gray16>(3, 1).unwrap();
            page.encoder().write_tag(Tag::ImageDescription, description).unwrap();
            page.write_data(&[0u16, 258, 65535]).unwrap();
            tiff.write_image::<Gray16>(3, 1, &[7, 8, 9]).unwrap();
        })
    }

    #[test]
    fn a_list_that_claims_more_than_the_file_is_refused_before_it_is_read() {
        let (_dir, path) = file(|mut tiff| {
            tiff.write_image::<RGB8>(4, 2, &[7; 24]).unwrap();
        });
        let bytes = std::fs::read(&path).unwrap();
        let directory = u32::from_le_bytes(bytes[4..8].try_into().unwrap()) as usize;
        let entries = u16::from_le_bytes(bytes[directory..directory + 2].try_into().unwrap());
        for k in 0..entries as usize {
            let at = directory + 2 + 12 * k;
            let mut damaged = bytes.clone();
            damaged[at + 4..at + 8].copy_from_slice(&(5u32 << 20).to_le_bytes());
            std::fs::write(&path, damaged).unwrap();
            let e = read_image(&path).unwrap_err().to_string();
            let tag = u16::from_le_bytes(bytes[at..at + 2].try_into().unwrap());
            assert!(e.contains(&format!("tag {tag} claims 5242880 values")), "{e}");
        }
    }

    #[test]
    fn elements_keep_their_type() {
        let (_dir, path) = stack("hello");
        let raster = read_image(&path).unwrap();
        assert_eq!((raster.width, raster.height, raster.channels, raster.pages), (3, 1, 1, 2));
        assert_eq!(raster.values, Values::U16(vec![0, 258, 65535]));
        let (_dir, path) = file(|mut tiff| {
            tiff.write_image::<RGB8>(2, 1, &[1, 2, 3, 4, 5, 6]).unwrap();
        });
        assert_eq!(read_image(&path).unwrap().to_image().unwrap().pixels, [1, 2, 3, 4, 5, 6]);
    }

    #[test]
    fn pages_that_are_channels_become_channels() {
        let (_dir, path) = stack(
            "<OME><Image><Pixels SizeC=\"2\" PhysicalSizeX=\"0.5\" PhysicalSizeY=\"0.5\">\
             <Channel Name=\"DAPI\"/><Channel Name=\"18S\"/></Pixels></Image></OME>",
        );
        let raster = read_image(&path).unwrap();
        assert_eq!((raster.channels, raster.pages, raster.pixel_size), (2, 1, Some((0.5, 0.5))));
        assert_eq!(raster.values, Values::U16(vec![0, 7, 258, 8, 65535, 9]));
        let second = raster.channel(1).unwrap();
        assert_eq!(second.values, Values::U16(vec![7, 8, 9]));
        assert_eq!(second.channel_names, ["18S"]);
        // Three channels, of which two are here: the file is one of several.
        let (_dir, path) = stack("<OME><Pixels SizeC=\"3\"/></OME>");
        assert_eq!((read_image(&path).unwrap().channels, read_image(&path).unwrap().pages), (1, 2));
    }

    #[test]
    fn codecs_that_are_not_read_are_named() {
        let (_dir, path) = stack("x");
        let mut bytes = std::fs::read(&path).unwrap();
        let lzw = |b: &[u8]| b[..4] == [3, 1, 3, 0] && b[8] == 5;
        let at = bytes.windows(12).position(lzw).unwrap();
        for (codec, name) in [(33005u16, "JPEG 2000"), (50000, "Zstandard"), (9999, "9999")] {
            bytes[at + 8..at + 10].copy_from_slice(&codec.to_le_bytes());
            std::fs::write(&path, &bytes).unwrap();
            let e = read_image(&path).unwrap_err().to_string();
            assert!(e.contains(name) && e.contains("deflate"), "{e}");
        }
    }

    #[test]
    fn damaged_files_are_refused() {
        let (_dir, path) = stack("x");
        let whole = std::fs::read(&path).unwrap();
        for end in [8, 9, whole.len() / 2, whole.len() - 1] {
            std::fs::write(&path, &whole[..end]).unwrap();
            let _ = read_image(&path).map(|r| assert!(end > 8, "{r:?}"));
        }
        for at in 0..whole.len() {
            let mut bytes = whole.clone();
            bytes[at] ^= 0xff;
            std::fs::write(&path, &bytes).unwrap();
            // Read or refused, but never a panic and never more memory than the file can ask for.
            if let Err(e) = read_image(&path) {
                assert!(e.to_string().contains("a.tif"), "{e}");
            }
        }
    }

    #[test]
    fn luma_and_chroma_become_rgb() {
        let grey = to_rgb(Values::U8(vec![77, 128, 128]));
        assert_eq!(grey, Values::U8(vec![77, 77, 77]));
        let red = to_rgb(Values::U8(vec![76, 85, 255]));
        assert_eq!(red, Values::U8(vec![254, 0, 0]));
    }
}
