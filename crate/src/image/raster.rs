//! [`Raster`]: a picture with the channels and the element type that its file has, and
//! [`read_image`], which tells the formats apart.

use super::jpeg::Header;
use super::{Image, ome, tiff};
use crate::anndata::{Value, Values};
use crate::error::{Error, Result};
use std::fs::File;
use std::io::{BufRead, BufReader, Cursor, Read, Seek};
use std::path::Path;

/// A picture as its file holds it: any number of channels, 8 bits a channel or more.
///
/// [`Image`] is the 8-bit RGB picture that figures and models take; [`Raster::to_image`] and
/// [`Raster::window`] make one.
#[derive(Debug, Clone, PartialEq)]
pub struct Raster {
    /// Pixels per row.
    pub width: usize,
    /// Number of rows.
    pub height: usize,
    /// Channels per pixel: 1 grey, 2 grey and alpha, 3 RGB, 4 RGB and alpha; of OME-TIFF files as
    /// many as there are.
    pub channels: usize,
    /// `height × width × channels` elements, the top row first.
    pub values: Values,
    /// Width and height of a pixel in micrometres, where the file says so (OME-TIFF).
    pub pixel_size: Option<(f64, f64)>,
    /// Names of the channels, where the file says so (OME-TIFF); else empty.
    pub channel_names: Vec<String>,
    /// Pictures in the file, of which this is the first: levels of a pyramid, sections of a stack.
    /// Planes that are channels of this picture do not count.
    pub pages: usize,
}

/// A file may expand this much: no codec of ours does better than deflate's 1:1032.
const MOST_EXPANSION: u64 = 1100;
/// Bytes that a header may always claim.
const HARMLESS: u64 = 32 << 20;

/// What the pixels of a file of this size may take.
pub(super) fn most_bytes(file: u64) -> u64 {
    file.saturating_mul(MOST_EXPANSION).max(HARMLESS)
}

/// Reads a PNG, JPEG, TIFF or OME-TIFF file; its content decides, not its name. Elements are those
/// of the file, `uint8` or `uint16` mostly (16-bit values are not scaled); palettes become RGB.
///
/// Equal to tifffile for TIFF and to Pillow for PNG and JPEG, bit for bit. Of a TIFF file with
/// several pages the first is read ([`Raster::pages`] says how many there are), or, if OME metadata
/// say that they are the channels of one picture, all of them as channels.
///
/// Pictures that are too large for memory: [`SlideImage`](super::SlideImage).
///
/// # Errors
/// [`Error::Io`] when the file cannot be read, [`Error::Format`] when it is no such picture, is
/// damaged, or is compressed in a way that is not read (JPEG 2000, JPEG XR, …), naming the codec.
pub fn read_image(path: impl AsRef<Path>) -> Result<Raster> {
    read(path.as_ref())
}

fn read(path: &Path) -> Result<Raster> {
    let Opened { file, size, kind } = open(path)?;
    match kind {
        Kind::Tiff => tiff::read(path, file, size),
        Kind::Jpeg => jpeg(path, BufReader::new(file), size),
        Kind::Png | Kind::Other => decode(path, BufReader::new(file), size),
    }
}

/// A file that may be a picture.
pub(super) struct Opened {
    pub file: File,
    pub size: u64,
    pub kind: Kind,
}

/// What the first bytes of a file say that it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Kind {
    Tiff,
    Png,
    Jpeg,
    Other,
}

impl Kind {
    fn of(head: &[u8]) -> Kind {
        match head {
            [b'I', b'I', 42 | 43, 0, ..] | [b'M', b'M', 0, 42 | 43, ..] => Kind::Tiff,
            [0x89, b'P', b'N', b'G', ..] => Kind::Png,
            [0xff, 0xd8, ..] => Kind::Jpeg,
            _ => Kind::Other,
        }
    }
}

/// Opens a file and tells the formats apart.
pub(super) fn open(path: &Path) -> Result<Opened> {
    let meta = std::fs::metadata(path).map_err(|e| Error::io(path, e))?;
    if !meta.is_file() {
        // Opening a pipe would wait for somebody to write to it.
        let what = if meta.is_dir() { "a folder" } else { "a pipe or a device" };
        return Err(Error::format(path, format!("this is {what}, not a picture")));
    }
    let mut file = File::open(path).map_err(|e| Error::io(path, e))?;
    let mut head = [0u8; 12];
    let mut filled = 0;
    while let n @ 1.. = file.read(&mut head[filled..]).map_err(|e| Error::io(path, e))? {
        filled += n;
    }
    file.rewind().map_err(|e| Error::io(path, e))?;
    if head[..4] == *b"\xff\x4f\xff\x51" || head[4..] == *b"jP  \r\n\x87\n" {
        return Err(Error::format(path, "JPEG 2000 pictures are not read")
            .with_hint("Convert it to TIFF or PNG"));
    }
    Ok(Opened { file, size: meta.len(), kind: Kind::of(&head) })
}

/// A PNG or JPEG picture in memory.
pub(super) fn decode_bytes(name: &Path, bytes: &[u8]) -> Result<Raster> {
    match Kind::of(bytes) {
        Kind::Jpeg => jpeg(name, bytes, bytes.len() as u64),
        _ => decode(name, Cursor::new(bytes), bytes.len() as u64),
    }
}

fn jpeg(path: &Path, file: impl BufRead, size: u64) -> Result<Raster> {
    let jpeg = Header::read(path, file, size)?.start()?;
    let (width, height, channels) = (jpeg.width, jpeg.height, jpeg.channels);
    Raster::new(width, height, channels, Values::U8(jpeg.read_all()?))
}

/// A PNG picture.
fn decode(path: &Path, file: impl BufRead + Seek, size: u64) -> Result<Raster> {
    use ::image::{ColorType, DynamicImage, ImageDecoder, ImageReader, Limits};
    let bad = |e: ::image::ImageError| {
        Error::format(path, format!("not a readable PNG, JPEG or TIFF picture ({e})"))
    };
    let mut reader =
        ImageReader::new(file).with_guessed_format().map_err(|e| Error::io(path, e))?;
    let mut limits = Limits::default();
    limits.max_alloc = Some(most_bytes(size));
    reader.limits(limits);
    let decoder = reader.into_decoder().map_err(bad)?;
    if decoder.total_bytes() > most_bytes(size) {
        let (w, h) = decoder.dimensions();
        return Err(Error::format(path, format!("{w} × {h} pixels in a file of {size} bytes")));
    }
    let color: ColorType = decoder.color_type();
    let decoded = DynamicImage::from_decoder(decoder).map_err(bad)?;
    let (width, height) = (decoded.width() as usize, decoded.height() as usize);
    let values = match decoded {
        DynamicImage::ImageLuma8(v) => Values::U8(v.into_raw()),
        DynamicImage::ImageLumaA8(v) => Values::U8(v.into_raw()),
        DynamicImage::ImageRgb8(v) => Values::U8(v.into_raw()),
        DynamicImage::ImageRgba8(v) => Values::U8(v.into_raw()),
        DynamicImage::ImageLuma16(v) => Values::U16(v.into_raw()),
        DynamicImage::ImageLumaA16(v) => Values::U16(v.into_raw()),
        DynamicImage::ImageRgb16(v) => Values::U16(v.into_raw()),
        DynamicImage::ImageRgba16(v) => Values::U16(v.into_raw()),
        other => return Err(Error::format(path, format!("pixels of {:?}", other.color()))),
    };
    let channels = color.channel_count() as usize;
    Raster::new(width, height, channels, values).map_err(|e| Error::format(path, e.to_string()))
}

impl Raster {
    /// A picture from its elements.
    ///
    /// # Errors
    /// [`Error::Shape`] unless there are `width * height * channels` of them.
    pub fn new(width: usize, height: usize, channels: usize, values: Values) -> Result<Self> {
        let n = width.checked_mul(height).and_then(|n| n.checked_mul(channels));
        if n != Some(values.len()) {
            let expected = format!("{width} × {height} × {channels} elements");
            return Err(Error::shape("picture", expected, values.len()));
        }
        let (pixel_size, channel_names) = (None, vec![]);
        Ok(Raster { width, height, channels, values, pixel_size, channel_names, pages: 1 })
    }

    pub(super) fn describe(&mut self, ome: ome::Ome) {
        self.pixel_size = ome.pixel_size;
        self.channel_names = ome.channel_names;
    }

    /// One channel, `height × width` elements.
    ///
    /// # Errors
    /// [`Error::Parameter`] when there is no such channel.
    pub fn channel(&self, channel: usize) -> Result<Raster> {
        if channel >= self.channels {
            let reason = format!("the picture has {} channels", self.channels);
            return Err(Error::parameter("channel", channel, reason));
        }
        let n = self.width * self.height;
        let at: Vec<usize> = (0..n).map(|i| i * self.channels + channel).collect();
        let channel_names = self.channel_names.get(channel).cloned().into_iter().collect();
        let values = self.values.take(&at);
        Ok(Raster { channels: 1, values, channel_names, ..self.clone_without_pixels() })
    }

    fn clone_without_pixels(&self) -> Raster {
        Raster { values: Values::U8(vec![]), channel_names: vec![], ..*self }
    }

    /// The picture in 8-bit RGB: grey becomes RGB, what is transparent becomes white, of 16-bit
    /// elements the upper byte is kept, floats are taken to lie in 0..1. A microscope's 16-bit
    /// values rarely fill their range; [`Raster::window`] says what is black and what is white.
    ///
    /// # Errors
    /// [`Error::Data`] for other elements, [`Error::Shape`] for 5 channels or more.
    pub fn to_image(&self) -> Result<Image> {
        if self.channels == 2 {
            let image = self.channel(0)?.to_image()?;
            let alpha = self.channel(1)?.to_image()?;
            let over = |(&p, &a): (&u8, &u8)| {
                let (p, a) = (u32::from(p), u32::from(a));
                ((p * a + 255 * (255 - a) + 127) / 255) as u8
            };
            let pixels = image.pixels.iter().zip(&alpha.pixels).map(over).collect();
            return Image::new(self.width, self.height, pixels);
        }
        Image::from_value(&self.to_value(), "picture")
    }

    /// The picture in 8-bit RGB, with `low` as black and `high` as white and what lies between in
    /// proportion, for each of its 1 or 3 channels.
    ///
    /// # Errors
    /// [`Error::Parameter`] unless `low < high`, [`Error::Shape`] for another number of channels.
    pub fn window(&self, low: f64, high: f64) -> Result<Image> {
        if low >= high || !(high - low).is_finite() {
            let reason = "black must be below white";
            return Err(Error::parameter("low", low, reason));
        }
        if !matches!(self.channels, 1 | 3) {
            return Err(Error::shape("channels of the picture", "1 or 3", self.channels));
        }
        let byte = |x: f64| ((x - low) / (high - low) * 255.0).round().clamp(0.0, 255.0) as u8;
        let bytes = crate::with_values!(&self.values, v => v.iter().map(|&x| byte(x as f64)).collect::<Vec<u8>>());
        let pixels = match self.channels {
            1 => bytes.iter().flat_map(|&g| [g; 3]).collect(),
            _ => bytes,
        };
        Image::new(self.width, self.height, pixels)
    }

    /// [`to_image`](Raster::to_image) without a copy where there is nothing to change.
    ///
    /// # Errors
    /// As [`to_image`](Raster::to_image).
    pub fn into_image(self) -> Result<Image> {
        match self.values {
            Values::U8(pixels) if self.channels == 3 => Image::new(self.width, self.height, pixels),
            _ => self.to_image(),
        }
    }

    /// The picture as an entry of `uns`: height × width × channels, grey without the last axis.
    pub fn to_value(&self) -> Value {
        let shape = match self.channels {
            1 => vec![self.height, self.width],
            n => vec![self.height, self.width, n],
        };
        Value::Array { shape, values: self.values.clone() }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use ::image::{GrayAlphaImage, ImageBuffer, Luma, Rgb};

    #[test]
    fn a_picture_keeps_its_channels_and_its_depth() {
        let dir = tempfile::tempdir().unwrap();
        // The name says PNG; the content is what counts.
        let path = dir.path().join("a.png");
        let deep = ImageBuffer::<Luma<u16>, _>::from_raw(2, 1, vec![300u16, 65535]).unwrap();
        deep.save(&path).unwrap();
        let raster = read_image(&path).unwrap();
        assert_eq!((raster.width, raster.height, raster.channels), (2, 1, 1));
        assert_eq!(raster.values, Values::U16(vec![300, 65535]));
        assert_eq!(raster.to_image().unwrap().pixels, [1, 1, 1, 255, 255, 255]);
        assert_eq!(raster.window(0.0, 600.0).unwrap().pixels, [128, 128, 128, 255, 255, 255]);
        assert!(raster.window(1.0, 1.0).is_err());

        let rgb = ImageBuffer::<Rgb<u8>, _>::from_raw(1, 1, vec![1u8, 2, 3]).unwrap();
        rgb.save_with_format(&path, ::image::ImageFormat::Jpeg).unwrap();
        assert_eq!(read_image(&path).unwrap().channels, 3);

        let grey = GrayAlphaImage::from_raw(2, 1, vec![10, 255, 10, 0]).unwrap();
        grey.save(&path).unwrap();
        let raster = read_image(&path).unwrap();
        assert_eq!(raster.channels, 2);
        assert_eq!(raster.to_image().unwrap().pixels, [10, 10, 10, 255, 255, 255]);
        assert_eq!(raster.channel(1).unwrap().values, Values::U8(vec![255, 0]));
        assert!(raster.channel(2).is_err());
    }

    #[test]
    fn what_is_no_picture_is_named() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("a.png");
        for (bytes, what) in [
            (&b"barcode,x,y\n"[..], "PNG, JPEG or TIFF"),
            (b"", "PNG, JPEG or TIFF"),
            (b"\x89PNG\r\n\x1a\n\0\0\0\rIHDR\xff\xff\xff\xff\xff\xff\xff\xff", "PNG"),
            (b"\0\0\0\x0cjP  \r\n\x87\nxxxx", "JPEG 2000"),
            (b"II\x2a\0\xff\xff\xff\xff", "TIFF"),
        ] {
            std::fs::write(&path, bytes).unwrap();
            let e = read_image(&path).unwrap_err().to_string();
            assert!(e.contains("a.png") && e.contains(what), "{e}");
        }
        assert!(matches!(read_image(dir.path().join("no")), Err(Error::Io { .. })));
        assert!(matches!(read_image(dir.path()), Err(Error::Format { .. })));
    }
}
