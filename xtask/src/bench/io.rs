//! `cargo xtask bench io`: readers and writers beside anndata and scanpy.

use super::{Found, Options, PYTHON, Sides, measure, median, report};
use crate::tools::{run, say, target_dir};
use anyhow::Result;
use std::path::Path;
use std::process::ExitCode;

/// A file to read or write, and how: name, operation, file.
const CASES: [(&str, &str, &str); 10] = [
    ("read h5ad sparse", "read-h5ad", "sparse-none.h5ad"),
    ("read h5ad sparse gzip", "read-h5ad", "sparse-gzip.h5ad"),
    ("read h5ad dense", "read-h5ad", "dense-none.h5ad"),
    ("read h5ad dense gzip", "read-h5ad", "dense-gzip.h5ad"),
    ("read 10x h5", "read-10x", "tenx.h5"),
    ("read 10x mtx.gz", "read-mtx", "mtx"),
    ("write h5ad sparse", "write-none", "sparse-none.h5ad"),
    ("write h5ad sparse gzip", "write-gzip", "sparse-none.h5ad"),
    ("write h5ad dense", "write-none", "dense-none.h5ad"),
    ("write h5ad dense gzip", "write-gzip", "dense-none.h5ad"),
];

/// (name, sparse, dense): of 50,000 × 20,000 a dense file would take 4 GB.
const SIZES: [(&str, &str, &str); 2] =
    [("small", "4k × 5k", "4k × 5k"), ("medium", "50k × 20k", "50k × 2k")];

/// Memory that a summary of a file larger than memory may take.
const SUMMARY_LIMIT_MB: f64 = 500.0;

pub(super) fn io(options: &Options) -> Result<ExitCode> {
    let sides = Sides::build("bench-io", "io.py", PYTHON)?;
    let folder = target_dir().join("bench");
    std::fs::create_dir_all(&folder)?;
    for (size, sparse, dense) in SIZES {
        if options.quick && size != "small" {
            continue;
        }
        for (case, operation, file) in CASES {
            let shape = if case.contains("dense") { dense } else { sparse };
            let name = format!("{case} {shape}");
            if !name.contains(&options.only) {
                continue;
            }
            let files = folder.join(size);
            if !files.join("made").exists() {
                say(&format!("making the files of size {size} (once)"));
                run(sides.reference("make").arg(&files).arg(size), "making the files")?;
            }
            let out = operation.starts_with("write").then(|| folder.join("out.h5ad"));
            let file = files.join(file);
            let paths: Vec<&Path> =
                [Some(file.as_path()), out.as_deref()].into_iter().flatten().collect();
            sides.compare(options, &name, operation, &paths, Found::Equal(1e-9))?;
            if let Some(out) = out {
                let _ = std::fs::remove_file(out);
            }
        }
    }
    let mut within = true;
    for how in ["none", "gzip"] {
        let name = format!("summary of a {} GB h5ad, sparse, {how}", options.summary_gb);
        if options.quick || options.summary_gb <= 0.0 || !name.contains(&options.only) {
            continue;
        }
        within &= summary(&sides, options, &name, &folder.join("large.h5ad"), how)?;
    }
    Ok(if within { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

/// Ours alone, against the limit.
fn summary(sides: &Sides, options: &Options, name: &str, file: &Path, how: &str) -> Result<bool> {
    say(&format!("making a file of {} GB ({how})", options.summary_gb));
    let mut make = sides.reference("make-large");
    make.arg(file).arg(options.summary_gb.to_string()).arg(how);
    let done = run(&mut make, "making the file").and_then(|()| {
        let one = |_| measure(sides.ours("summary").arg(file));
        (0..options.runs).map(one).collect::<Result<Vec<_>>>()
    });
    let _ = std::fs::remove_file(file);
    let ours = done?;
    report(options, name, &ours, &[]);
    let peak = median(&ours, |m| m.peak_mb);
    if peak > SUMMARY_LIMIT_MB {
        eprintln!("{name}: {peak:.0} MB are more than {SUMMARY_LIMIT_MB:.0} MB");
    }
    Ok(peak <= SUMMARY_LIMIT_MB)
}
