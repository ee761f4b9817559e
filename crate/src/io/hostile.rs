//! Tests: HDF5 files that somebody built to do harm. Damaged copies of real files are in
//! `tests/tests/io_hostile.rs`.

use super::{H5ad, ReadOptions, open_h5ad, read, read_h5ad, read_h5ad_with, write_h5ad};
use crate::anndata::{AnnData, Frame};
use ndarray::Array2;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::LazyLock;
use std::time::{Duration, Instant};

fn plain(n: usize) -> AnnData {
    let x = Array2::from_elem((n, 2), 1f32);
    let mut adata = AnnData::new(x, Frame::with_len(n), Frame::with_len(2)).unwrap();
    adata.uns.insert("title".into(), "a slide".into());
    adata
}

/// A sound file after a change, and what reading it says.
fn said(change: impl FnOnce(&hdf5::File, &Path)) -> String {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("a.h5ad");
    write_h5ad(&plain(3), &path).unwrap();
    let file = hdf5::File::open_rw(&path).unwrap();
    change(&file, dir.path());
    file.close().unwrap();
    let begun = Instant::now();
    let e = read(&path).unwrap_err().to_string();
    assert!(begun.elapsed() < Duration::from_secs(60), "{e}");
    assert!(e.contains("a.h5ad"), "{e}");
    e
}

#[test]
fn groups_that_hold_themselves_are_refused() {
    let e = said(|f, _| f.link_hard("uns", "uns/again").unwrap());
    assert!(e.contains("in a circle") && e.contains("uns/again/again"), "{e}");
    let e = said(|f, _| f.link_soft("/uns/b", "uns/b").unwrap());
    assert!(e.contains("`uns/b`"), "{e}");
}

#[test]
fn groups_with_many_names_are_not_read_again_and_again() {
    // Thirty groups, each twice in the one before: a thousand million entries.
    let e = said(|f, _| {
        let mut outer = "uns".to_string();
        for _ in 0..30 {
            f.create_group(&format!("{outer}/a")).unwrap();
            f.link_hard(&format!("{outer}/a"), &format!("{outer}/b")).unwrap();
            outer += "/a";
        }
    });
    assert!(e.contains("link to each other"), "{e}");
}

#[test]
fn deep_nesting_is_refused() {
    let e = said(|f, _| {
        f.create_group(&format!("uns{}", "/deeper".repeat(500))).unwrap();
    });
    assert!(e.contains("too deep"), "{e}");
}

/// Files with links to others, made before this process forgets how to make or follow any.
pub(super) static LINKS: LazyLock<tempfile::TempDir> = LazyLock::new(|| {
    let dir = tempfile::tempdir().unwrap();
    write_h5ad(&plain(2), dir.path().join("other.h5ad")).unwrap();
    assert!(Command::new("mkfifo").arg(dir.path().join("pipe")).status().unwrap().success());
    for (name, target, object) in [("secret", "other.h5ad", "/uns/title"), ("waiting", "pipe", "/")]
    {
        let path = dir.path().join(format!("{name}.h5ad"));
        write_h5ad(&plain(3), &path).unwrap();
        let file = hdf5::File::open_rw(&path).unwrap();
        file.link_external(target, object, &format!("uns/{name}")).unwrap();
        file.close().unwrap();
    }
    dir
});

#[test]
fn what_lies_in_other_files_is_not_read() {
    // A pipe would keep whoever opens it.
    for name in ["secret", "waiting"] {
        let e = read(LINKS.path().join(format!("{name}.h5ad"))).unwrap_err().to_string();
        assert!(e.contains(&format!("`uns/{name}`")) && e.contains("another file"), "{e}");
    }
    let e = said(|f, dir| {
        let secret = dir.join("secret");
        std::fs::write(&secret, "for nobody").unwrap();
        let uns = f.group("uns").unwrap();
        let data = uns.new_dataset_builder().external(secret.to_str().unwrap(), 0, 10);
        data.empty::<u8>().shape(10).create("secret").unwrap();
    });
    assert!(e.contains("`uns/secret`") && e.contains("other files"), "{e}");
}

#[test]
fn sizes_that_nothing_answers_for_are_refused() {
    // A chunk of 2 GB for four numbers.
    let e = said(|f, _| {
        let uns = f.group("uns").unwrap();
        let data = uns.new_dataset::<u8>().chunk(2 << 30).shape(4..);
        data.create("chunk").unwrap();
    });
    assert!(e.contains("`uns/chunk`") && e.contains("a chunk claims"), "{e}");
    // A matrix of 2^31 columns without a name.
    let e = said(|f, _| {
        f.unlink("X").unwrap();
        f.unlink("var").unwrap();
        let x = f.create_group("X").unwrap();
        use std::str::FromStr;
        let kind = hdf5::types::VarLenUnicode::from_str("csr_matrix").unwrap();
        x.new_attr::<hdf5::types::VarLenUnicode>()
            .create("encoding-type")
            .unwrap()
            .write_scalar(&kind)
            .unwrap();
        x.new_attr::<i64>().shape(2).create("shape").unwrap().write_raw(&[3i64, 1 << 31]).unwrap();
        x.new_dataset_builder().with_data(&[0i64; 4]).create("indptr").unwrap();
        x.new_dataset::<i32>().shape(0).create("indices").unwrap();
        x.new_dataset::<f32>().shape(0).create("data").unwrap();
    });
    assert!(e.contains("2147483648") && e.contains("no `var`"), "{e}");
}

#[test]
fn a_file_that_crashes_hdf5_is_refused() {
    // Of an index of links (there are more than eight of them), which begins
    // "BTHD", version, kind, node: 4, record: 2, depth: 2, 2 percentages, root: 8, records: 2, …
    for (field, value, reason) in [
        // 65,535 links in a node that has room for a few.
        (24..26, 0xff, "damaged"),
        // Nodes of 4 GB, which HDF5 fills with zeros.
        (6..10, 0xef, "asks for more than"),
    ] {
        damage_an_index(field, value, reason);
    }
}

fn damage_an_index(field: std::ops::Range<usize>, value: u8, reason: &str) {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("a.h5ad");
    let mut bytes = with_many_links(&path);
    let indices = bytes.windows(4).enumerate().filter(|(_, w)| *w == b"BTHD");
    let indices: Vec<usize> = indices.map(|(i, _)| i).collect();
    assert!(!indices.is_empty());
    for at in indices {
        bytes[at + field.start..at + field.end].fill(value);
        let sum = checksum(&bytes[at..at + 34]);
        bytes[at + 34..at + 38].copy_from_slice(&sum.to_le_bytes());
    }
    std::fs::write(&path, bytes).unwrap();
    let e = read(&path).unwrap_err().to_string();
    assert!(e.contains("a.h5ad") && e.contains("damaged") && e.contains(reason), "{e}");
}

#[test]
fn names_that_claim_gigabytes_are_refused() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("a.h5ad");
    // Groups as Python writes them, not as we do.
    let file = hdf5::FileBuilder::new().with_fapl(|p| p.libver_earliest()).create(&path).unwrap();
    file.create_group("matrix").unwrap();
    file.close().unwrap();
    let whole = std::fs::read(&path).unwrap();
    // The names in a small group: "HEAP", version, 3 reserved, bytes: 8, …
    let heaps = whole.windows(4).enumerate().filter(|(_, w)| *w == b"HEAP");
    let heaps: Vec<usize> = heaps.map(|(i, _)| i).collect();
    assert!(!heaps.is_empty());
    for at in heaps {
        let mut bytes = whole.clone();
        bytes[at + 8..at + 16].copy_from_slice(&(3u64 << 29).to_le_bytes());
        std::fs::write(&path, bytes).unwrap();
        let e = read(&path).unwrap_err().to_string();
        assert!(e.contains("a.h5ad") && e.contains("damaged HDF5 file"), "{e}");
    }
}

#[test]
fn a_group_that_cannot_be_listed_is_refused() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("a.h5ad");
    let whole = with_many_links(&path);
    let heap = whole.windows(4).position(|w| w == b"FRHP").unwrap();
    let mut unlisted = 0;
    // The header of the heap of links, each byte of it in turn; its checksum comes last.
    for at in heap + 5..heap + 142 {
        let mut bytes = whole.clone();
        bytes[at] ^= 0x55;
        let sum = checksum(&bytes[heap..heap + 142]);
        bytes[heap + 142..heap + 146].copy_from_slice(&sum.to_le_bytes());
        std::fs::write(&path, bytes).unwrap();
        let Err(e) = read(&path) else { continue };
        let e = e.to_string();
        assert!(e.contains("a.h5ad") && e.contains("damaged"), "{e}");
        unlisted += usize::from(e.contains("what is in `/") && e.contains("cannot be listed"));
    }
    assert!(unlisted > 10, "{unlisted}");
}

/// The bytes of a file with so many entries in a group that they are kept in a heap of their own.
fn with_many_links(path: &Path) -> Vec<u8> {
    let mut adata = plain(3);
    (0..40).for_each(|i| drop(adata.uns.insert(format!("entry {i}"), "x".into())));
    write_h5ad(&adata, path).unwrap();
    assert_eq!(read(path).unwrap().uns.len(), 41);
    std::fs::read(path).unwrap()
}

/// The checksum of HDF5's metadata (Bob Jenkins' lookup3).
fn checksum(bytes: &[u8]) -> u32 {
    let word = |w: &[u8]| w.iter().rev().fold(0u32, |n, &x| n << 8 | u32::from(x));
    let [mut a, mut b, mut c] = [0xdead_beef_u32.wrapping_add(bytes.len() as u32); 3];
    let blocks: Vec<&[u8]> = bytes.chunks(12).collect();
    for (i, block) in blocks.iter().enumerate() {
        let part = |k: usize| word(block.get(k..block.len().min(k + 4)).unwrap_or_default());
        a = a.wrapping_add(part(0));
        b = b.wrapping_add(part(4));
        c = c.wrapping_add(part(8));
        if i + 1 < blocks.len() {
            for r in [4, 6, 8, 16, 19, 4] {
                a = a.wrapping_sub(c) ^ c.rotate_left(r);
                c = c.wrapping_add(b);
                (a, b, c) = (b, c, a);
            }
        }
    }
    for (r, s, t) in [(14, 11, 25), (16, 4, 14)] {
        c = (c ^ b).wrapping_sub(b.rotate_left(r));
        a = (a ^ c).wrapping_sub(c.rotate_left(s));
        b = (b ^ a).wrapping_sub(a.rotate_left(t));
    }
    (c ^ b).wrapping_sub(b.rotate_left(24))
}

#[test]
fn a_file_that_is_replaced_while_it_is_open_stays_what_it_was() {
    let dir = tempfile::tempdir().unwrap();
    let path: PathBuf = dir.path().join("a.h5ad");
    write_h5ad(&plain(300), &path).unwrap();
    let held: H5ad = open_h5ad(&path).unwrap();
    write_h5ad(&plain(5), &path).unwrap();
    assert_eq!(held.to_memory().unwrap(), plain(300));
    assert_eq!(read_h5ad(&path).unwrap(), plain(5));
    let without = ReadOptions::default().skip("uns/title");
    assert!(read_h5ad_with(&path, &without).unwrap().uns.is_empty());
}
