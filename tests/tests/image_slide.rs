//! Windows and patches of slides: the pixels of tifffile, Pillow and numpy, bit for bit.

use spatialkit::image::{Border, Image, SlideImage};
use spatialkit::ndarray::Array2;
use spatialkit::progress::peak_memory_mb;
use spatialkit::serde_json::{self, Value};
use spatialkit_tests::{python, script, shared};
use std::fs::{self, File};
use std::io::{BufReader, Read};
use std::path::{Path, PathBuf};

/// Pictures that Python wrote, with the pixels that it reads from them.
fn made(python: &Path) -> (tempfile::TempDir, PathBuf) {
    let dir = tempfile::tempdir().unwrap();
    let folder = dir.path().to_path_buf();
    script(python, "image_slide.py", &["make".as_ref(), folder.as_os_str()]);
    (dir, folder)
}

fn list(path: PathBuf) -> Vec<Value> {
    serde_json::from_slice(&fs::read(path).unwrap()).unwrap()
}

fn number(value: &Value) -> usize {
    value.as_u64().unwrap() as usize
}

fn open(path: impl AsRef<Path>) -> SlideImage {
    SlideImage::open(path).unwrap_or_else(|e| panic!("{e}"))
}

#[test]
fn pictures_of_every_kind_have_the_pixels_of_tifffile_and_pillow() {
    let Some(python) = python("pictures_of_every_kind") else { return };
    let (_dir, folder) = made(&python);
    let cases = list(folder.join("cases.json"));
    assert!(cases.len() > 40);
    for case in cases {
        let name = case["name"].as_str().unwrap();
        let (width, height) = (number(&case["width"]), number(&case["height"]));
        let pixels = fs::read(folder.join(format!("{name}.rgb"))).unwrap();
        let expected = Image::new(width, height, pixels).unwrap();
        let level = case["level"].as_u64();
        let path = folder.join(match level {
            Some(level) => name.trim_end_matches(&format!(".{level}")),
            None => name,
        });
        let mut slide = open(&path);
        match level {
            Some(level) => slide = slide.level(level as usize).unwrap(),
            None => assert!(Image::open(&path).unwrap() == expected, "{name}"),
        }
        for (x, y, w, h) in [
            (0, 0, width, height),
            (width - 1, height - 1, 1, 1),
            (60, 40, 70, 60),
            (3, 0, 1, height),
            (0, 47, width, 2),
        ] {
            let window = slide.window(x as i64, y as i64, w, h, Border::Error).unwrap();
            assert!(window == expected.crop(x, y, w, h), "{name}: {w} × {h} at ({x}, {y})");
        }
        if let Some(levels) = case["levels"].as_array() {
            let levels: Vec<_> = levels.iter().map(|l| (number(&l[0]), number(&l[1]))).collect();
            assert_eq!(slide.levels(), levels, "{name}");
        }
        if let Some(size) = case["pixel_size"].as_f64() {
            assert_eq!(slide.pixel_size(), Some((size, size)), "{name}");
        }
    }
}

#[test]
fn windows_over_the_border_are_numpy_s_own() {
    let Some(python) = python("windows_over_the_border") else { return };
    let (_dir, folder) = made(&python);
    let slide = open(folder.join("tiles.tif"));
    let windows = list(folder.join("windows.json"));
    assert!(windows.len() > 15);
    for window in windows {
        let at = |i: usize| window["window"][i].as_i64().unwrap();
        let border = match window["border"].as_str().unwrap() {
            "reflect" => Border::Reflect,
            "fill" => Border::Fill([255; 3]),
            _ => Border::Slice,
        };
        let found = slide.window(at(0), at(1), at(2) as usize, at(3) as usize, border).unwrap();
        let size = (number(&window["size"][0]), number(&window["size"][1]));
        assert_eq!((found.width, found.height), size, "{window}");
        let expected = fs::read(folder.join(window["file"].as_str().unwrap())).unwrap();
        assert!(found.pixels == expected, "{window}");
    }
}

/// Breast tissue, 9,274 × 9,911 pixels, a JPEG file with subsampled colours.
const BREAST: &str = "data/her2st/images/C2_5714_HE_BT_C2.jpg";

#[test]
fn a_whole_slide_in_jpeg_has_the_pixels_of_pillow() {
    let test = "a_whole_slide_in_jpeg";
    let (Some(python), Some(path)) = (python(test), shared(test, BREAST)) else { return };
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("pixels");
    let args = ["pixels".as_ref(), path.as_os_str(), file.as_os_str()];
    script(&python, "image_slide.py", &args);
    let slide = open(&path);
    let (width, height) = (slide.width(), slide.height());
    assert_eq!((width, height), (9274, 9911));
    let mut expected = BufReader::new(File::open(file).unwrap());
    for top in (0..height).step_by(500) {
        let rows = 500.min(height - top);
        let found = slide.window(0, top as i64, width, rows, Border::Error).unwrap();
        let mut pixels = vec![0; width * rows * 3];
        expected.read_exact(&mut pixels).unwrap();
        assert!(found.pixels == pixels, "rows {top} to {}", top + rows);
    }
}

#[test]
fn ten_thousand_patches_of_a_whole_slide_take_less_than_1_gb() {
    let Some(path) = shared("ten_thousand_patches", BREAST) else { return };
    let slide = open(&path);
    // Spread over the slide, in an order that is not that of the file.
    let center = |(i, j): (usize, usize)| match j {
        0 => (i * 7919 % 9274) as f64,
        _ => (i * 104_729 % 9911) as f64,
    };
    let centers = Array2::from_shape_fn((10_000, 2), center);
    let patches = slide.patches(centers.view(), 224, Border::default()).unwrap();
    let start = std::time::Instant::now();
    let mut seen = vec![false; patches.len()];
    let count = |rows: &[usize], images: &[Image]| {
        for (&row, image) in rows.iter().zip(images) {
            let (x, y) = (centers[[row, 0]] as i64, centers[[row, 1]] as i64);
            let middle = slide.window(x, y, 1, 1, Border::Error)?;
            assert_eq!(image.get(112, 112), middle.get(0, 0), "row {row}");
            assert!(!std::mem::replace(&mut seen[row], true), "row {row} comes twice");
        }
        Ok(())
    };
    patches.for_each_batch(64, count).unwrap();
    assert!(seen.iter().all(|&s| s));
    let (seconds, memory) = (start.elapsed().as_secs_f64(), peak_memory_mb());
    println!("10,000 patches of 224 pixels: {seconds:.1} s, {memory:.0} MB at most");
    assert!(memory < 1000.0, "{memory} MB");
}
