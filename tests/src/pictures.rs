//! Small pictures in the layouts that slides come in, written byte by byte: what tests damage, and
//! what fuzzing starts from.
//!
//! ```text
//! PNG, JPEG
//! TIFF: header ─> directory ─> next directory     pages, the larger one first
//!                     └─ addresses ─> strips or tiles: plain, deflate, JPEG
//! ```

use flate2::{Compression, write::ZlibEncoder};
use image::{ExtendedColorType, codecs::jpeg::JpegEncoder};
use spatialkit::image::Image;
use std::io::Write;
use std::ops::Range;

/// Files with their names.
pub fn made() -> Vec<(&'static str, Vec<u8>)> {
    let (large, small) = (picture(53, 41), picture(26, 20));
    let tiff = |pieces, coding, big, pages: &[Image]| Tiff { pieces, coding, big }.file(pages);
    let one = std::slice::from_ref(&large);
    vec![
        ("picture.png", large.to_png().expect("PNG is written")),
        ("picture.jpg", jpeg(&large)),
        ("strip.tif", tiff(Pieces::Strips(41), Coding::Plain, false, one)),
        ("packed-strip.tif", tiff(Pieces::Strips(41), Coding::Deflate, false, one)),
        ("strips.tif", tiff(Pieces::Strips(7), Coding::Deflate, false, one)),
        ("jpeg-strips.tif", tiff(Pieces::Strips(16), Coding::Jpeg, false, one)),
        ("tiles.tif", tiff(Pieces::Tiles(16), Coding::Plain, false, one)),
        ("jpeg-tiles.tif", tiff(Pieces::Tiles(16), Coding::JpegTables, false, one)),
        ("big.tif", tiff(Pieces::Tiles(16), Coding::Deflate, true, one)),
        ("pyramid.tif", tiff(Pieces::Tiles(32), Coding::JpegTables, true, &[large, small])),
    ]
}

/// Slopes of colours, which every codec makes smaller.
fn picture(width: usize, height: usize) -> Image {
    let pixel = |i: usize| {
        let (x, y) = (i % width, i / width);
        [(4 * x) as u8, (5 * y) as u8, (x * y / 9) as u8]
    };
    let pixels = (0..width * height).flat_map(pixel).collect();
    Image::new(width, height, pixels).expect("as many bytes as pixels need")
}

/// What a TIFF file cuts its pictures into.
#[derive(Clone, Copy)]
enum Pieces {
    /// Of so many rows.
    Strips(usize),
    /// Of this side.
    Tiles(usize),
}

#[derive(Clone, Copy)]
enum Coding {
    Plain,
    Deflate,
    Jpeg,
    /// JPEG whose tables are in the directory.
    JpegTables,
}

/// How a TIFF file is laid out. All its numbers have their lowest byte first.
struct Tiff {
    pieces: Pieces,
    coding: Coding,
    big: bool,
}

impl Tiff {
    /// A number of the width that addresses have.
    fn word(&self, n: usize) -> Vec<u8> {
        if self.big { (n as u64).to_le_bytes().to_vec() } else { (n as u32).to_le_bytes().to_vec() }
    }

    /// A file whose pages are these pictures.
    fn file(&self, pages: &[Image]) -> Vec<u8> {
        let head: &[u8] = if self.big { b"II\x2b\0\x08\0\0\0" } else { b"II\x2a\0" };
        let mut out = head.to_vec();
        for page in pages {
            // Where the address of this directory belongs: at the end of the header or of the last one.
            let link = out.len();
            out.extend(self.word(0));
            let directory = self.page(page, &mut out);
            let at = self.word(out.len());
            out[link..link + at.len()].copy_from_slice(&at);
            out.extend(directory);
        }
        out.extend(self.word(0));
        out
    }

    /// Appends all that the directory of a picture points to, and returns the directory.
    fn page(&self, picture: &Image, out: &mut Vec<u8>) -> Vec<u8> {
        let (mut places, mut counts, mut tables) = (vec![], vec![], vec![]);
        for piece in self.cut(picture) {
            let bytes = match self.coding {
                Coding::Plain => piece.pixels,
                Coding::Deflate => deflated(&piece.pixels),
                Coding::Jpeg => jpeg(&piece),
                Coding::JpegTables => {
                    let (shared, rest) = without_tables(&jpeg(&piece));
                    tables = shared;
                    rest
                }
            };
            places.push(out.len());
            counts.push(bytes.len());
            out.extend(bytes);
        }
        let (compression, colours) = match self.coding {
            Coding::Plain => (1, 2),
            Coding::Deflate => (8, 2),
            Coding::Jpeg | Coding::JpegTables => (7, 6),
        };
        let short = |n: u16| (3u16, 1, n.to_le_bytes().to_vec());
        let words = |list: &[usize]| {
            let bytes: Vec<u8> = list.iter().flat_map(|&n| self.word(n)).collect();
            (if self.big { 16 } else { 4 }, list.len(), bytes)
        };
        let mut tags = vec![
            (256u16, words(&[picture.width])),
            (257, words(&[picture.height])),
            (258, short(8)),
            (259, short(compression)),
            (262, short(colours)),
            (277, short(3)),
        ];
        match self.pieces {
            Pieces::Strips(rows) => {
                tags.extend([(273, words(&places)), (278, words(&[rows])), (279, words(&counts))])
            }
            Pieces::Tiles(side) => tags.extend([
                (322, words(&[side])),
                (323, words(&[side])),
                (324, words(&places)),
                (325, words(&counts)),
            ]),
        }
        if !tables.is_empty() {
            tags.push((347, (7, tables.len(), tables)));
        }
        tags.sort_by_key(|(tag, _)| *tag);

        let width = self.word(0).len();
        let n = tags.len();
        let mut directory = if self.big { self.word(n) } else { (n as u16).to_le_bytes().to_vec() };
        for (tag, (kind, n, mut value)) in tags {
            if value.len() > width {
                // What has no room in the entry lies elsewhere.
                let at = self.word(out.len());
                out.extend(std::mem::replace(&mut value, at));
            }
            value.resize(width, 0);
            directory.extend(tag.to_le_bytes());
            directory.extend(u16::to_le_bytes(kind));
            directory.extend(self.word(n));
            directory.extend(value);
        }
        directory
    }

    /// The strips or tiles of a picture; tiles stick out of it, strips do not.
    fn cut(&self, picture: &Image) -> Vec<Image> {
        let (wide, tall) = match self.pieces {
            Pieces::Strips(rows) => (picture.width, rows),
            Pieces::Tiles(side) => (side, side),
        };
        let mut out = vec![];
        for top in (0..picture.height).step_by(tall) {
            let tall = match self.pieces {
                Pieces::Strips(_) => tall.min(picture.height - top),
                Pieces::Tiles(_) => tall,
            };
            for left in (0..picture.width).step_by(wide) {
                let pixel = |i: usize| match (left + i % wide, top + i / wide) {
                    (x, y) if x < picture.width && y < picture.height => picture.get(x, y),
                    _ => [9; 3],
                };
                let pixels = (0..wide * tall).flat_map(pixel).collect();
                out.push(Image::new(wide, tall, pixels).expect("as many bytes as pixels need"));
            }
        }
        out
    }
}

fn deflated(bytes: &[u8]) -> Vec<u8> {
    let mut encoder = ZlibEncoder::new(vec![], Compression::default());
    encoder.write_all(bytes).and_then(|()| encoder.finish()).expect("memory takes it")
}

fn jpeg(picture: &Image) -> Vec<u8> {
    let (width, height) = (picture.width as u32, picture.height as u32);
    let mut out = vec![];
    JpegEncoder::new_with_quality(&mut out, 60)
        .encode(&picture.pixels, width, height, ExtendedColorType::Rgb8)
        .expect("memory takes it");
    out
}

/// The tables of a JPEG file, and what is left without them.
fn without_tables(file: &[u8]) -> (Vec<u8>, Vec<u8>) {
    let (mut tables, mut rest) = (file[..2].to_vec(), file[..2].to_vec());
    let mut at = 2;
    // Segments up to the picture itself: FF code, length, content.
    while file[at + 1] != 0xda {
        let end = at + 2 + usize::from(u16::from_be_bytes([file[at + 2], file[at + 3]]));
        let to = if matches!(file[at + 1], 0xc4 | 0xdb) { &mut tables } else { &mut rest };
        to.extend(&file[at..end]);
        at = end;
    }
    rest.extend(&file[at..]);
    tables.extend([0xff, 0xd9]);
    (tables, rest)
}

/// Where the numbers of an entry of a directory lie in a TIFF file.
#[derive(Debug, Clone)]
pub struct Entry {
    /// What the value says.
    pub tag: u16,
    /// How many values it claims.
    pub count: Range<usize>,
    /// The value, or the address of several.
    pub value: Range<usize>,
}

/// The entries of all directories of a file that [`made`] has given; none of PNG and JPEG.
pub fn entries(file: &[u8]) -> Vec<Entry> {
    let number = |at: usize, width: usize| {
        file[at..at + width].iter().rev().fold(0, |n, &b| n << 8 | usize::from(b))
    };
    // The width of addresses and of the number of entries, and where the first address is.
    let (word, few, first) = match &file[..4] {
        b"II\x2a\0" => (4, 2, 4),
        b"II\x2b\0" => (8, 8, 8),
        _ => return vec![],
    };
    let mut out = vec![];
    let mut directory = number(first, word);
    while directory > 0 {
        let mut at = directory + few;
        for _ in 0..number(directory, few) {
            let (count, value) = (at + 4, at + 4 + word);
            let tag = number(at, 2) as u16;
            out.push(Entry { tag, count: count..value, value: value..value + word });
            at = value + word;
        }
        directory = number(at, word);
    }
    out
}

/// Replaces a number by the lower bytes of another.
pub fn put(file: &mut [u8], place: &Range<usize>, number: u64) {
    file[place.clone()].copy_from_slice(&number.to_le_bytes()[..place.len()]);
}
