//! Damaged and hostile copies of real files of every format: whatever comes of reading one, it comes
//! soon, and is an object or an error that names the file.

use spatialkit::anndata::{AnnData, Frame};
use spatialkit::{Error, Result, image, io, progress};
use spatialkit_tests::pictures::{self, Entry, put};
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::mpsc::{RecvTimeoutError, channel};
use std::time::{Duration, Instant};

/// A reading that takes longer is taken for one that never ends.
const LONGEST: Duration = Duration::from_secs(60);

type Reader = fn(&Path) -> Result<()>;

/// A format: a real file or folder, the part of it that is damaged, and its reader.
struct Format {
    name: &'static str,
    real: &'static str,
    /// The file inside, for formats that are folders.
    part: &'static str,
    read: Reader,
}

fn object(path: &Path) -> Result<()> {
    let adata = io::read(path)?;
    adata.check()?;
    assert!(adata.to_html().len() < 4 << 20);
    Ok(())
}

fn table(path: &Path) -> Result<()> {
    io::read_table(path).map(drop)
}

fn picture(path: &Path) -> Result<()> {
    image::Image::open(path).map(drop)
}

/// A window of a slide, and of its smallest level.
fn window(path: &Path) -> Result<()> {
    let slide = image::SlideImage::open(path)?;
    for level in [0, slide.levels().len() - 1] {
        let level = slide.level(level)?;
        let (width, height) = (level.width().min(64), level.height().min(64));
        let (x, y) = ((level.width() - width) as i64, (level.height() - height) as i64);
        let window = level.window(x, y, width, height, image::Border::Error)?;
        assert_eq!((window.width, window.height), (width, height));
    }
    Ok(())
}

fn labels(path: &Path) -> Result<()> {
    let names = ["AAACAAGTATCTCCCA-1", "AAACACCAATAACTGC-1"].map(String::from);
    let slide = AnnData { obs: Frame::new(names.to_vec()), ..AnnData::default() };
    io::read_labels(path, &slide).map(drop)
}

const fn format(
    name: &'static str,
    real: &'static str,
    part: &'static str,
    read: Reader,
) -> Format {
    Format { name, real, part, read }
}

const FORMATS: [Format; 20] = [
    format("h5ad", "fixtures/anndata_archives/v0.11.4/adata.h5ad", "", object),
    format("h5ad before 0.7", "fixtures/zellkonverter/krumsiek11.h5ad", "", object),
    format(
        "10x h5 v2",
        "fixtures/scanpy_10x_data/1.2.0/filtered_gene_bc_matrices_h5.h5",
        "",
        object,
    ),
    format(
        "10x h5 v3",
        "fixtures/scanpy_visium_data/1.0.0/filtered_feature_bc_matrix.h5",
        "",
        object,
    ),
    format("loom", "osmfish/osmFISH_SScortex_mouse_all_cells.loom", "", object),
    format("zarr v2", "fixtures/anndata_archives/v0.7.8/adata.zarr.zip", "", object),
    format("zarr v3", "fixtures/anndata_archives/v0.11.4/adata.zarr.zip", "", object),
    format(
        "mtx",
        "fixtures/scanpy_10x_data/3.0.0/filtered_feature_bc_matrix",
        "matrix.mtx.gz",
        object,
    ),
    format("barcodes", "fixtures/scanpy_10x_data/int-ids", "barcodes.tsv", object),
    format("features", "fixtures/scanpy_10x_data/int-ids", "features.tsv", object),
    format("positions", "fixtures/sfe_visium_toy/outs", "spatial/tissue_positions.csv", object),
    format(
        "scale factors",
        "fixtures/sfe_visium_toy/outs",
        "spatial/scalefactors_json.json",
        object,
    ),
    format("hires", "fixtures/sfe_visium_toy/outs", "spatial/tissue_hires_image.png", object),
    format("csv.gz", "fixtures/sfe_xenium_toy/cells.csv.gz", "", table),
    format("csv", "fixtures/spacexr_MerfishVignette/coords.csv", "", table),
    format("parquet", "fixtures/sfe_xenium_toy/cells.parquet", "", table),
    format("jpeg", "fixtures/sfe_visium_toy/outs/spatial/detected_tissue_image.jpg", "", picture),
    format("png", "fixtures/scanpy_visium_data/1.0.0/spatial/tissue_hires_image.png", "", picture),
    format("ome-tiff", "fixtures/sfe_xenium_toy/morphology_focus.ome.tif", "", picture),
    format("labels", "dlpfc/151673_spaceranger/truth.txt", "", labels),
];

/// What happened to a reading: the error's words, if any.
fn attempt(read: Reader, path: &Path) -> Option<String> {
    let (tell, told) = channel();
    let (inside, begun) = (path.to_path_buf(), Instant::now());
    let thread = std::thread::spawn(move || tell.send(read(&inside)));
    let outcome = match told.recv_timeout(LONGEST) {
        Ok(outcome) => outcome,
        Err(RecvTimeoutError::Timeout) => panic!("{}: no end after {LONGEST:?}", path.display()),
        Err(RecvTimeoutError::Disconnected) => {
            let e = thread.join().unwrap_err();
            let text = e.downcast_ref::<String>().cloned().unwrap_or_default();
            panic!("{}: panic after {:?}: {text}", path.display(), begun.elapsed())
        }
    };
    match outcome {
        Ok(()) => None,
        Err(e @ (Error::Io { .. } | Error::Format { .. })) => Some(e.to_string()),
        Err(e) => panic!("{}: an error that names no file: {e:?}", path.display()),
    }
}

/// Numbers that look random, the same in every run.
struct Dice(u64);

impl Dice {
    fn below(&mut self, n: usize) -> usize {
        self.0 = self.0.wrapping_mul(6364136223846793005).wrapping_add(1442695040888963407);
        ((self.0 >> 33) as usize) % n.max(1)
    }
}

/// Damaged copies of a file, each with words for what was done.
fn copies(bytes: &[u8]) -> Vec<(String, Vec<u8>)> {
    let n = bytes.len();
    let mut dice = Dice(n as u64);
    let mut out = Vec::new();
    let mut cuts = vec![0, 1, 4, 8, 100, n / 4, n / 2, n - n / 8, n - 8, n - 1];
    cuts.extend((0..8).map(|_| dice.below(n)));
    out.extend(cuts.iter().map(|&at| (format!("cut at {at}"), bytes[..at.min(n)].to_vec())));
    for _ in 0..6 {
        let (at, length) = (dice.below(n), 1 << (4 + dice.below(9)));
        let mut copy = bytes.to_vec();
        copy[at..(at + length).min(n)].fill(0);
        out.push((format!("{length} zeros at {at}"), copy));
    }
    out.push(("halves swapped".into(), [&bytes[n / 2..], &bytes[..n / 2]].concat()));
    out.push(("twice".into(), bytes.repeat(2)));
    for (what, content) in [
        ("a web page", &b"<!DOCTYPE html><html><body>404 Not Found</body></html>"[..]),
        ("an LFS pointer", b"version https://git-lfs.github.com/spec/v1\noid sha256:0\nsize 1\n"),
        ("gzip without content", b"\x1f\x8b\x08\0\0\0\0\0\0\x03"),
        ("a zip of nothing", b"PK\x05\x06\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0"),
        ("bytes above 127", &[0xff; 300]),
        ("zeros", &[0; 3000]),
        ("blank lines", b"\n\n\n\n"),
        ("commas", &[b','; 5000]),
        ("quotes", &[b'"'; 5001]),
        ("brackets", &[b'['; 100_000]),
    ] {
        out.push((what.into(), content.to_vec()));
    }
    out
}

/// Copies with one to four bits flipped.
fn flipped(bytes: &[u8], many: usize) -> impl Iterator<Item = Vec<u8>> + '_ {
    let mut dice = Dice(7);
    (0..many).map(move |_| {
        let mut copy = bytes.to_vec();
        for _ in 0..1 + dice.below(4) {
            let at = dice.below(copy.len());
            copy[at] ^= 1 << dice.below(8);
        }
        copy
    })
}

fn copy_folder(from: &Path, to: &Path) {
    fs::create_dir_all(to).unwrap();
    for entry in fs::read_dir(from).unwrap().flatten() {
        let target = to.join(entry.file_name());
        match entry.path().is_dir() {
            true => copy_folder(&entry.path(), &target),
            false => drop(fs::copy(entry.path(), target).unwrap()),
        }
    }
}

/// A copy of a format's real file or folder: what to read, and what to damage.
fn lay_out(format: &Format, data: &Path, dir: &Path) -> (PathBuf, PathBuf) {
    let real = data.join(format.real);
    let path = dir.join(real.file_name().unwrap());
    if format.part.is_empty() {
        fs::copy(&real, &path).unwrap();
        return (path.clone(), path);
    }
    copy_folder(&real, &path);
    let part = path.join(format.part);
    (path, part)
}

fn each_format(test: &str, check: impl Fn(&Format, &Path, &Path)) {
    let Some(data) = spatialkit_tests::shared(test, "data") else { return };
    for format in &FORMATS {
        if !data.join(format.real).exists() {
            println!("SKIPPED: {test}: {} is not there", format.real);
            continue;
        }
        let dir = tempfile::tempdir().unwrap();
        let (path, part) = lay_out(format, &data, dir.path());
        assert_eq!(attempt(format.read, &path), None, "{} is read as it is", format.name);
        check(format, &path, &part);
    }
}

/// A message names the file that is damaged, or the folder that it is a part of.
fn assert_named(text: &str, format: &Format, path: &Path, part: &Path, what: &str) {
    let name = |p: &Path| p.file_name().unwrap().to_string_lossy().into_owned();
    let named = text.contains(&name(part)) || text.contains(&name(path));
    assert!(named, "{}, {what}: {text}", format.name);
    // One sentence or two, not what a damaged file holds.
    assert!(text.len() < 2000, "{}, {what}: {} characters", format.name, text.len());
}

#[test]
fn damaged_copies_are_refused_by_name_or_read() {
    let test = "damaged_copies_are_refused_by_name_or_read";
    each_format(test, |format, path, part| {
        let bytes = fs::read(part).unwrap();
        let (mut refused, mut accepted) = (0, Vec::new());
        for (what, copy) in copies(&bytes) {
            fs::remove_file(part).unwrap();
            fs::write(part, copy).unwrap();
            match attempt(format.read, path) {
                Some(text) => {
                    assert_named(&text, format, path, part, &what);
                    refused += 1;
                }
                None => accepted.push(what),
            }
        }
        println!("{}: {refused} refused; read: {}", format.name, accepted.join(", "));
        // In binary formats a missing half is never overlooked.
        let binary = !["csv", "labels", "barcodes", "features", "positions"].contains(&format.name);
        let half = format!("cut at {}", bytes.len() / 2);
        assert!(!binary || !accepted.contains(&half), "{}: {half}", format.name);
        // Nor is what a failed download leaves.
        for what in ["a web page", "an LFS pointer"] {
            assert!(!accepted.contains(&what.to_string()), "{}: {what}", format.name);
        }
    });
}

#[test]
fn flipped_bits_are_refused_by_name_or_read() {
    let test = "flipped_bits_are_refused_by_name_or_read";
    each_format(test, |format, path, part| {
        let bytes = fs::read(part).unwrap();
        let (mut refused, many) = (0, if bytes.len() > 500_000 { 40 } else { 200 });
        for (i, copy) in flipped(&bytes, many).enumerate() {
            fs::remove_file(part).unwrap();
            fs::write(part, copy).unwrap();
            if let Some(text) = attempt(format.read, path) {
                assert_named(&text, format, path, part, &format!("flip {i}"));
                refused += 1;
            }
        }
        println!("{}: {refused} of {many} refused, {} read", format.name, many - refused);
    });
}

#[test]
fn what_is_no_file_is_refused_at_once() {
    let test = "what_is_no_file_is_refused_at_once";
    each_format(test, |format, path, part| {
        type Damage = (&'static str, fn(&Path));
        let cases: [Damage; 5] = [
            ("a folder", |p| fs::create_dir(p).unwrap()),
            ("a pipe", |p| assert!(Command::new("mkfifo").arg(p).status().unwrap().success())),
            ("a device", |p| std::os::unix::fs::symlink("/dev/zero", p).unwrap()),
            ("a link to itself", |p| std::os::unix::fs::symlink(p, p).unwrap()),
            ("nothing", |_| {}),
        ];
        fs::remove_file(part).unwrap();
        for (what, make) in cases {
            make(part);
            let begun = Instant::now();
            let text = attempt(format.read, path);
            // Pictures of a Visium folder may be missing.
            if format.name != "hires" {
                let text = text.unwrap_or_else(|| panic!("{}: {what} was read", format.name));
                assert_named(&text, format, path, part, what);
            }
            assert!(begun.elapsed() < Duration::from_secs(10), "{}: {what}", format.name);
            let _ = fs::remove_dir(part);
            let _ = fs::remove_file(part);
        }
        // Who may not read it is told so; root may read everything.
        fs::write(part, "x").unwrap();
        fs::set_permissions(part, std::os::unix::fs::PermissionsExt::from_mode(0o0)).unwrap();
        if fs::File::open(part).is_err() {
            let text = attempt(format.read, path).expect("a file that may not be read");
            assert!(text.contains("denied"), "{}: {text}", format.name);
        }
    });
}

#[test]
fn names_may_be_any_bytes() {
    use std::os::unix::ffi::OsStrExt;
    let test = "names_may_be_any_bytes";
    each_format(test, |format, path, _| {
        let name = std::ffi::OsStr::from_bytes(b"not \xff UTF-8");
        let extension = path.extension().unwrap_or_default();
        let other = path.with_file_name(name).with_extension(extension);
        fs::rename(path, &other).unwrap();
        if let Some(text) = attempt(format.read, &other) {
            assert!(text.contains("UTF-8"), "{}: {text}", format.name);
        }
    });
}

/// Calls `check` with each picture that the tests make, and with what tries a copy of it: whether the
/// copy was read, or refused by an error that names it.
fn each_slide(check: impl Fn(&str, &[u8], &dyn Fn(&[u8], &str) -> bool)) {
    let dir = tempfile::tempdir().unwrap();
    for (name, bytes) in pictures::made() {
        let path = dir.path().join(name);
        let try_it = |copy: &[u8], what: &str| {
            let _ = fs::remove_file(&path);
            fs::write(&path, copy).unwrap();
            let Some(text) = attempt(window, &path) else { return true };
            let named = text.contains(name) && text.len() < 2000;
            assert!(named, "{name}, {what}: {text}");
            false
        };
        assert!(try_it(&bytes, "as it is"), "{name} is read as it is");
        check(name, &bytes, &try_it);
    }
}

#[test]
fn damaged_slides_are_refused_by_name_or_read() {
    each_slide(|name, bytes, try_it| {
        let n = bytes.len();
        let read = |end: &usize| try_it(&bytes[..*end], &format!("cut at {end}"));
        let cuts: Vec<usize> = (0..n).step_by(1 + n / 300).filter(read).collect();
        // The end of a file may be what nothing needs: checksums, or a smaller level.
        assert!(cuts.iter().all(|&end| end > n / 2), "{name}: read although cut at {cuts:?}");
        let damaged = copies(bytes);
        let read = damaged.iter().filter(|(what, copy)| try_it(copy, what)).count();
        let flips = flipped(bytes, 400).enumerate();
        let flips = flips.filter(|(i, copy)| try_it(copy, &format!("flip {i}"))).count();
        println!("{name}: read {read} of {} damaged copies, {flips} of 400 flipped", damaged.len());
    });
}

/// Numbers that are often near a mistake.
const CLAIMS: [u64; 14] = [
    0,
    1,
    2,
    7,
    32,
    0xff,
    0x7fff,
    0xffff,
    18_000,
    1 << 24,
    0x7fff_ffff,
    0xffff_ffff,
    1 << 40,
    u64::MAX,
];

#[test]
fn what_a_slide_claims_takes_neither_time_nor_memory() {
    // Of the whole process, in which other tests run.
    let most = progress::peak_memory_mb().max(900.0);
    each_slide(|name, bytes, try_it| {
        for Entry { tag, count, value } in pictures::entries(bytes) {
            for (what, place) in [("count", &count), ("value", &value)] {
                for claim in CLAIMS {
                    let mut copy = bytes.to_vec();
                    put(&mut copy, place, claim);
                    try_it(&copy, &format!("{what} of tag {tag} is {claim}"));
                }
            }
        }
        // One tile of a gigabyte, which the file leaves out.
        let mut copy = bytes.to_vec();
        for Entry { tag, count, value } in pictures::entries(bytes) {
            match tag {
                256 | 257 | 322 | 323 => put(&mut copy, &value, 18_000),
                324 | 325 => {
                    put(&mut copy, &count, 1);
                    put(&mut copy, &value, 0);
                }
                _ => {}
            }
        }
        let tiles = ["tiles.tif", "jpeg-tiles.tif", "big.tif"];
        assert!(!tiles.contains(&name) || try_it(&copy, "nothing but glass"), "{name}");
    });
    let peak = progress::peak_memory_mb();
    assert!(peak <= most, "{peak:.0} MB");
}

#[test]
fn a_strip_of_all_rows_may_claim_any_number_of_them() {
    each_slide(|name, bytes, try_it| {
        let mut copy = bytes.to_vec();
        let rows = pictures::entries(bytes).into_iter().find(|e| e.tag == 278);
        if let Some(rows) = rows.filter(|_| name.ends_with("strip.tif")) {
            put(&mut copy, &rows.value, 0xffff_ffff);
            assert!(try_it(&copy, "4,294,967,295 rows in a strip"));
        }
    });
}
