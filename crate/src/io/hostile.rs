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
