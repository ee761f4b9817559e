//! Seeds: real files where they are small, small ones made of their content where they are not.

use crate::targets::{BETWEEN, Kind, Target};
use spatialkit::anndata::AnnData;
use spatialkit::image::read_image;
use spatialkit::io::{self, WriteOptions};
use spatialkit_tests::pictures;
use std::fs;
use std::io::{Error, Result};
use std::path::{Path, PathBuf};
use std::process::Command;

/// Larger inputs are tried too seldom in ten minutes.
const LARGEST: u64 = 150 << 10;

/// Of a longer text the first lines say all.
const SHORT: usize = 4 << 10;

/// Fills `folder` and returns how many seeds there are.
pub fn make(target: &Target, folder: &Path) -> Result<usize> {
    fs::create_dir_all(folder)?;
    let data = std::env::var_os("SPATIALKIT_SHARED").map(PathBuf::from).unwrap_or_default();
    let mut found = Vec::new();
    walk(&data.join("data"), target.seeds, &mut found);
    // Weights of a few kilobytes are stored with the tests.
    let weights = Path::new(env!("CARGO_MANIFEST_DIR")).join("../golden/checkpoint");
    if matches!(target.name, "checkpoint" | "storages") {
        walk(&weights, target.seeds, &mut found);
    }
    if found.is_empty() && target.own.is_empty() {
        let text = format!("no real files in `{}`: set SPATIALKIT_SHARED", data.display());
        return Err(Error::other(text));
    }
    found.sort();
    let mut n = 0;
    let mut keep = |bytes: &[u8]| {
        n += 1;
        fs::write(folder.join(format!("{n:03}")), bytes)
    };
    for text in target.own {
        keep(text.as_bytes())?;
    }
    if target.name == "slides" {
        for (_, bytes) in pictures::made() {
            keep(&bytes)?;
        }
    }
    if target.kind == Kind::Several {
        for place in
            found.iter().filter_map(|p| p.parent()).collect::<std::collections::BTreeSet<_>>()
        {
            keep(&together(place, target.seeds)?)?;
        }
        return Ok(n);
    }
    for path in &found {
        // A picture of one colour honestly has a thousand times the size of its file.
        let picture = matches!(target.name, "images" | "slides");
        if picture && read_image(path).is_ok_and(|i| i.width * i.height > 1 << 20) {
            continue;
        }
        let bytes = fs::read(path)?;
        let is_text = bytes[..bytes.len().min(512)].iter().all(|b| *b >= 9);
        if is_text && bytes.len() > SHORT {
            let end = bytes[..SHORT].iter().rposition(|b| *b == b'\n').unwrap_or(SHORT);
            keep(&bytes[..end + 1])?;
        } else if bytes.len() as u64 <= LARGEST {
            keep(&bytes)?;
        } else if target.name == "loom" {
            if let Some(small) = shrunk(path) {
                keep(&small)?;
            }
        }
        if target.name == "h5ad" {
            for (options, name) in
                [(WriteOptions::default(), "plain"), (WriteOptions::default().gzip(4), "gzip")]
            {
                let Ok(adata) = io::read_h5ad(path) else { continue };
                let small = std::env::temp_dir().join(name);
                io::write_h5ad_with(&corner(&adata), &small, &options).map_err(Error::other)?;
                let bytes = fs::read(&small)?;
                if bytes.len() as u64 <= LARGEST {
                    keep(&bytes)?;
                }
            }
        }
    }
    Ok(n)
}

/// The corner of a loom file, which Python cuts out, where there is one (`SPATIALKIT_PYTHON`).
fn shrunk(path: &Path) -> Option<Vec<u8>> {
    let small = std::env::temp_dir().join("small.loom");
    let mut python = Command::new(std::env::var_os("SPATIALKIT_PYTHON")?);
    python.args(["-c", SHRINK]).arg(path).arg(&small);
    python.status().ok()?.success().then(|| fs::read(small).ok())?
}

const SHRINK: &str = "
import h5py, sys
with h5py.File(sys.argv[1]) as old, h5py.File(sys.argv[2], 'w') as new:
    new.attrs.update(old.attrs)
    def copy(name, item):
        if isinstance(item, h5py.Group):
            new.require_group(name)
        else:
            corner = item[tuple(slice(12) for _ in item.shape)]
            new.create_dataset(name, data=corner, compression='gzip')
    old.visititems(copy)
";

fn walk(folder: &Path, ends: &[&str], out: &mut Vec<PathBuf>) {
    let Ok(entries) = fs::read_dir(folder) else { return };
    for path in entries.flatten().map(|e| e.path()) {
        let name = path.to_string_lossy().into_owned();
        if path.is_dir() {
            walk(&path, ends, out);
        } else if ends.iter().any(|e| name.ends_with(e)) {
            out.push(path);
        }
    }
}

/// The files of one folder as one input, each cut after some hundred lines.
fn together(folder: &Path, ends: &[&str]) -> Result<Vec<u8>> {
    let mut names: Vec<PathBuf> = fs::read_dir(folder)?.flatten().map(|e| e.path()).collect();
    // In the order of the target's own list, in which the parts are laid out.
    names.sort_by_key(|p| ends.iter().position(|e| p.to_string_lossy().ends_with(e)));
    let mut parts = Vec::new();
    for path in names.iter().filter(|p| ends.iter().any(|e| p.to_string_lossy().ends_with(e))) {
        let bytes = fs::read(path)?;
        let ends = bytes.iter().enumerate().filter(|(_, b)| **b == b'\n').map(|(i, _)| i + 1);
        let end = ends.take(300).last().unwrap_or(bytes.len());
        parts.push(bytes[..end].to_vec());
    }
    Ok(parts.join(BETWEEN))
}

/// The first observations and variables.
fn corner(adata: &AnnData) -> AnnData {
    let first = |n: usize| (0..n.min(12)).collect::<Vec<_>>();
    let mut small = adata.take_obs(&first(adata.n_obs())).take_vars(&first(adata.n_vars()));
    small.raw = None;
    small
}
