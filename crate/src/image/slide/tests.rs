use super::*;
use crate::rng;
use ::image::{ExtendedColorType, ImageEncoder, ImageFormat, RgbImage};
use ::tiff::encoder::colortype::RGB8;
use ::tiff::encoder::{Compression, TiffEncoder};
use std::fs::File;
use tempfile::TempDir;

fn noise(width: usize, height: usize) -> Image {
    let pixels = (0..width * height * 3).map(|i| (rng::at(5, i as u64) >> 56) as u8).collect();
    Image::new(width, height, pixels).unwrap()
}

/// A TIFF file of plain tiles, written out by hand: the encoder of the crate knows strips only.
fn tiled(image: &Image, side: usize, big: bool) -> Vec<u8> {
    let (w, h) = (image.width, image.height);
    let (mut body, mut places) = (vec![], vec![]);
    let start = if big { 16 } else { 8 };
    for top in (0..h).step_by(side) {
        for left in (0..w).step_by(side) {
            places.push((start + body.len()) as u64);
            for (y, x) in (top..top + side).flat_map(|y| (left..left + side).map(move |x| (y, x))) {
                body.extend(if y < h && x < w { image.get(x, y) } else { [9; 3] });
            }
        }
    }
    let word =
        |n: u64| if big { n.to_le_bytes().to_vec() } else { (n as u32).to_le_bytes().to_vec() };
    // Lists lie behind the tiles.
    let offsets = (start + body.len()) as u64;
    body.extend(places.iter().flat_map(|&p| word(p)));
    let counts = (start + body.len()) as u64;
    body.extend(places.iter().flat_map(|_| word((side * side * 3) as u64)));
    let directory = (start + body.len()) as u64;
    let kind = if big { 16u16 } else { 4 };
    let entries = [
        (256u16, kind, 1, w as u64),
        (257, kind, 1, h as u64),
        (258, 3, 1, 8),
        (259, 3, 1, 1),
        (262, 3, 1, 2),
        (277, 3, 1, 3),
        (322, kind, 1, side as u64),
        (323, kind, 1, side as u64),
        (324, kind, places.len(), offsets),
        (325, kind, places.len(), counts),
    ];
    let mut out = match big {
        true => [b"II\x2b\0\x08\0\0\0".to_vec(), word(directory)].concat(),
        false => [b"II\x2a\0".to_vec(), word(directory)].concat(),
    };
    out.extend(body);
    match big {
        true => out.extend((entries.len() as u64).to_le_bytes()),
        false => out.extend((entries.len() as u16).to_le_bytes()),
    }
    for (tag, kind, n, value) in entries {
        out.extend(tag.to_le_bytes());
        out.extend(kind.to_le_bytes());
        out.extend(word(n as u64));
        // A single offset stands in the entry itself; here there are always several.
        out.extend(word(value));
    }
    out.extend(word(0));
    out
}

fn strips(path: &Path, images: &[(&Image, &str)], rows: u32) {
    let file = TiffEncoder::new(File::create(path).unwrap()).unwrap();
    let mut file = file.with_compression(Compression::Lzw);
    for (image, description) in images {
        let (w, h) = (image.width as u32, image.height as u32);
        let mut page = file.new_image::<RGB8>(w, h).unwrap();
        page.encoder().write_tag(Tag::ImageDescription, *description).unwrap();
        page.rows_per_strip(rows).unwrap();
        page.write_data(&image.pixels).unwrap();
    }
}

/// The same picture in every way that it can be read.
fn sources(image: &Image) -> (TempDir, Vec<(&'static str, SlideImage)>) {
    let dir = tempfile::tempdir().unwrap();
    let path = |name: &str| dir.path().join(name);
    std::fs::write(path("a.png"), image.to_png().unwrap()).unwrap();
    std::fs::write(path("tiled.tif"), tiled(image, 16, false)).unwrap();
    std::fs::write(path("big.tif"), tiled(image, 16, true)).unwrap();
    strips(&path("strips.tif"), &[(image, "")], 7);
    strips(&path("strip.tif"), &[(image, "")], 1 << 20);
    let open = |name: &str, budget| {
        SlideImage::open_within(&path(name), budget).unwrap_or_else(|e| panic!("{e}"))
    };
    let slides = vec![
        ("memory", SlideImage::from_image(image.clone())),
        ("png", open("a.png", IN_MEMORY)),
        ("png on disk", open("a.png", 100)),
        ("tiled", open("tiled.tif", 0)),
        ("big", open("big.tif", 0)),
        ("strips", open("strips.tif", 0)),
        ("one strip", open("strip.tif", 0)),
    ];
    assert!(matches!(*slides[2].1.pixels, Pixels::Scratch(_)));
    (dir, slides)
}

#[test]
fn windows_of_every_format_are_those_of_the_whole_picture() {
    let image = noise(53, 41);
    let (_dir, slides) = sources(&image);
    for (name, slide) in &slides {
        assert_eq!((slide.width(), slide.height()), (53, 41), "{name}");
        for (x, y, w, h) in [
            (0, 0, 53, 41),
            (15, 15, 2, 2),
            (16, 0, 16, 41),
            (52, 40, 1, 1),
            (3, 8, 40, 30),
            (5, 5, 0, 3),
        ] {
            let window = slide.window(x as i64, y as i64, w, h, Border::Error).unwrap();
            assert_eq!(window, image.crop(x, y, w, h), "{name}: {x}, {y}, {w}, {h}");
        }
    }
}

#[test]
fn borders_of_every_format_are_as_documented() {
    let image = noise(53, 41);
    let (_dir, slides) = sources(&image);
    // Pixel by pixel, from the definition: mirrored there and back until it is inside.
    let mirror = |mut i: i64, n: i64| loop {
        match i {
            _ if i < 0 => i = -i,
            _ if i >= n => i = 2 * (n - 1) - i,
            _ => return i as usize,
        }
    };
    for (name, slide) in &slides {
        for (x, y, w, h) in
            [(-3, -4, 10, 9), (48, 36, 9, 9), (-120, 20, 300, 5), (-60, 0, 7, 41), (10, 90, 3, 3)]
        {
            let fill = slide.window(x, y, w, h, Border::Fill([1, 2, 3])).unwrap();
            let reflect = slide.window(x, y, w, h, Border::Reflect).unwrap();
            assert_eq!((fill.width, fill.height, reflect.width, reflect.height), (w, h, w, h));
            for (r, c) in (0..h).flat_map(|r| (0..w).map(move |c| (r, c))) {
                let (px, py) = (x + c as i64, y + r as i64);
                let inside = (0..53).contains(&px) && (0..41).contains(&py);
                let expected = if inside { image.get(px as usize, py as usize) } else { [1, 2, 3] };
                assert_eq!(fill.get(c, r), expected, "{name}: {px}, {py}");
                let expected = image.get(mirror(px, 53), mirror(py, 41));
                assert_eq!(reflect.get(c, r), expected, "{name}: {px}, {py}");
            }
            let e = slide.window(x, y, w, h, Border::Error).unwrap_err().to_string();
            let words = format!("{w} × {h} at ({x}, {y}): sticks out of the picture of 53 × 41");
            assert!(e.contains(&words), "{e}");
        }
        let sides = |x, y, n| {
            let part = slide.window(x, y, n, n, Border::Slice).unwrap();
            (part.width, part.height)
        };
        assert_eq!([sides(50, 38, 9), sides(-3, 0, 9), sides(60, 0, 9)], [(3, 3), (0, 9), (0, 9)]);
    }
}

#[test]
fn windows_that_no_memory_holds_are_refused() {
    let slide = SlideImage::from_image(noise(3, 3));
    for (x, n) in [(0, usize::MAX), (i64::MIN, usize::MAX / 4), (i64::MAX, 1 << 31)] {
        let e = slide.window(x, 0, n, n, Border::default()).unwrap_err().to_string();
        assert!(e.contains("too large"), "{e}");
    }
    let far = slide.window(i64::MIN, i64::MAX, 2, 2, Border::default()).unwrap();
    assert_eq!(far.pixels, [255; 12]);
    assert!(slide.window(i64::MAX, i64::MIN, 2, 2, Border::Reflect).is_ok());
    for border in [Border::Reflect, Border::default(), Border::Slice] {
        let none = slide.window(-9, -9, usize::MAX, 0, border).unwrap();
        assert!(none.pixels.is_empty());
    }
}

#[test]
fn jpeg_rows_are_the_same_in_memory_and_on_disk() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("a.jpg");
    let image = noise(70, 33);
    let rgb = RgbImage::from_raw(70, 33, image.pixels.clone()).unwrap();
    let bytes = {
        rgb.save_with_format(&path, ImageFormat::Jpeg).unwrap();
        std::fs::read(&path).unwrap()
    };
    let whole = Image::open(&path).unwrap();
    for budget in [IN_MEMORY, 100] {
        let slide = SlideImage::open_within(&path, budget).unwrap();
        assert_eq!(slide.window(0, 0, 70, 33, Border::Error).unwrap(), whole);
        std::fs::write(&path, &bytes[..bytes.len() - 3]).unwrap();
        let e = SlideImage::open_within(&path, budget).unwrap_err().to_string();
        assert!(e.contains("a.jpg") && e.contains("cut short"), "{e}");
        std::fs::write(&path, &bytes).unwrap();
    }
    // In grey as well.
    let grey = File::create(&path).unwrap();
    let encoder = ::image::codecs::jpeg::JpegEncoder::new(grey);
    encoder.write_image(&image.pixels[..70 * 33], 70, 33, ExtendedColorType::L8).unwrap();
    let whole = Image::open(&path).unwrap();
    let slide = SlideImage::open_within(&path, 100).unwrap();
    assert_eq!(slide.window(0, 0, 70, 33, Border::Error).unwrap(), whole);
}

#[test]
fn pictures_without_rows_are_refused_when_they_are_too_large() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("a.png");
    std::fs::write(&path, INTERLACED).unwrap();
    let slide = SlideImage::open(&path).unwrap();
    let whole = Image::open(&path).unwrap();
    assert_eq!((slide.width(), slide.height()), (5, 4));
    assert_eq!(slide.window(0, 0, 5, 4, Border::Error).unwrap(), whole);
    let e = SlideImage::open_within(&path, 10).unwrap_err().to_string();
    assert!(e.contains("an interlaced PNG of 5 × 4 pixels") && e.contains("tiled TIFF"), "{e}");
}

#[test]
fn pages_of_the_same_proportions_are_levels() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("a.svs");
    let (whole, half, label) = (noise(80, 60), noise(40, 30), noise(30, 31));
    strips(&path, &[(&whole, "Aperio|AppMag = 20|MPP = 0.5"), (&label, ""), (&half, "")], 8);
    let slide = SlideImage::open(&path).unwrap();
    assert_eq!(slide.levels(), [(80, 60), (40, 30)]);
    assert_eq!(slide.pixel_size(), Some((0.5, 0.5)));
    let level = slide.level(1).unwrap();
    assert_eq!(level.window(0, 0, 40, 30, Border::Error).unwrap(), half);
    assert_eq!(level.pixel_size(), Some((1.0, 1.0)));
    assert_eq!(slide.level(0).unwrap().width(), 80);
    let e = slide.level(2).unwrap_err().to_string();
    assert!(e.contains("80 × 60, 40 × 30"), "{e}");
    assert_eq!(slide.thumbnail(20).unwrap(), (half.thumbnail(20), 0.25));
    assert_eq!(slide.thumbnail(50).unwrap(), (whole.thumbnail(50), 0.625));
}

#[test]
fn a_thumbnail_is_that_of_the_picture_in_memory() {
    let image = noise(153, 417);
    let (_dir, slides) = sources(&image);
    for (name, slide) in &slides {
        for side in [1, 40, 416, 417, 1000] {
            let (small, scale) = slide.thumbnail(side).unwrap();
            assert_eq!(small, image.thumbnail(side), "{name}");
            assert_eq!(scale, small.height as f64 / 417.0);
        }
        assert!(slide.thumbnail(0).is_err());
    }
}

#[test]
fn a_tile_that_the_file_leaves_out_is_white() {
    let (dir, image) = (tempfile::tempdir().unwrap(), noise(40, 20));
    let path = dir.path().join("a.tif");
    let mut bytes = tiled(&image, 16, false);
    // The byte count of the second tile of the first row.
    let directory = u32::from_le_bytes(bytes[4..8].try_into().unwrap()) as usize;
    let counts = directory - 6 * 4;
    bytes[counts + 4..counts + 8].fill(0);
    std::fs::write(&path, bytes).unwrap();
    let slide = SlideImage::open(&path).unwrap();
    let got = slide.window(0, 0, 40, 20, Border::Error).unwrap();
    for (y, x) in (0..20).flat_map(|y| (0..40).map(move |x| (y, x))) {
        let missing = y < 16 && (16..32).contains(&x);
        assert_eq!(got.get(x, y), if missing { [255; 3] } else { image.get(x, y) }, "{x}, {y}");
    }
}

#[test]
fn damaged_tiff_files_are_refused_and_never_panic() {
    let (dir, image) = (tempfile::tempdir().unwrap(), noise(40, 20));
    let path = dir.path().join("a.tif");
    let try_it = |bytes: &[u8]| {
        std::fs::write(&path, bytes).unwrap();
        let read = SlideImage::open(&path).and_then(|slide| {
            let (w, h) = (slide.width().min(100), slide.height().min(100));
            slide.window(0, 0, w, h, Border::Error)?;
            slide.levels().len().checked_sub(2).map_or(Ok(()), |l| slide.level(l).map(drop))
        });
        if let Err(e) = &read {
            assert!(e.to_string().contains("a.tif"), "{e}");
        }
        read.is_ok()
    };
    for whole in [tiled(&image, 16, false), tiled(&image, 16, true)] {
        assert!(try_it(&whole));
        for end in [0, 7, 100, whole.len() - 300, whole.len() - 1] {
            assert!(!try_it(&whole[..end]) || end == whole.len() - 1);
        }
        let lists = whole.len() - 400..whole.len();
        for at in (0..16).chain(lists) {
            let mut bytes = whole.clone();
            bytes[at] ^= 0xff;
            try_it(&bytes);
        }
    }
}

#[test]
fn what_is_no_picture_is_named() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("a.jpg");
    std::fs::write(&path, "x,y\n1,2\n").unwrap();
    let e = SlideImage::open(&path).unwrap_err().to_string();
    assert!(e.contains("a.jpg") && e.contains("PNG, JPEG or TIFF"), "{e}");
    assert!(matches!(SlideImage::open(dir.path().join("no")), Err(Error::Io { .. })));
    let png = noise(9, 9).to_png().unwrap();
    std::fs::write(&path, &png[..png.len() / 2]).unwrap();
    let e = SlideImage::open(&path).unwrap_err().to_string();
    assert!(e.contains("the PNG picture is cut short"), "{e}");
}

/// A PNG file of 5 × 4 pixels in Adam7's order: red is 50 x, green 60 y, blue 20 (x + y).
const INTERLACED: &[u8] =
    b"\x89PNG\x0d\x0a\x1a\x0a\x00\x00\x00\x0dIHDR\x00\x00\x00\x05\x00\x00\x00\x04\x08\x02\x00\
    \x00\x01\xbeVR\x81\x00\x00\x00@IDATx\xda\x0d\xc71\x01\x001\x08\x04\xc1\x15\x11\x11\xa9\xa9\
    O\x04\x22\x10q\x22\xbeF\x09\x22\x90\xf5\x99n\xe0Y\x92\xe2\x82o9\xd7&8\x8d\x08\xab]\xa0\x13\
    \xba%\xb5r\xf5>\x8a\xc9\x9a\xea\xf1\xce\xf7\x03(j\x14Qlf\x04\xfa\x00\x00\x00\x00IEND\xaeB`\
    \x82";
