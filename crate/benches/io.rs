//! One measurement of a reader or writer: time around the call, peak memory of the whole process.
//! `cargo xtask bench io` runs it again and again, beside the Python packages.
//!
//! ```text
//! bench-io OPERATION PATH [OUT]
//! ```
//! prints `seconds peak_mb check version`; `check` is a number that depends on everything read.

use spatialkit::anndata::{AnnData, Matrix};
use spatialkit::io::{self, WriteOptions};
use std::time::Instant;

fn main() {
    let args: Vec<String> = std::env::args().skip(1).collect();
    let (operation, path) = match args.as_slice() {
        [operation, path, ..] => (operation.as_str(), path.as_str()),
        _ => return eprintln!("usage: bench-io OPERATION PATH [OUT]"),
    };
    let write = |options: WriteOptions| {
        let adata = io::read_h5ad(path).unwrap_or_else(|e| panic!("{e}"));
        let out = args.get(2).expect("OUT");
        timed(|| io::write_h5ad_with(&adata, out, &options), |()| check(&adata))
    };
    match operation {
        "read-h5ad" => timed(|| io::read_h5ad(path), check),
        "read-10x" => timed(|| io::read_10x_h5(path), check),
        "read-mtx" => timed(|| io::read_10x_mtx(path), check),
        "write-gzip" => write(WriteOptions::default().gzip(4)),
        "write-none" => write(WriteOptions::default()),
        "summary" => timed(
            || io::open_h5ad(path).and_then(|file| file.describe()),
            |summary| {
                eprintln!("{summary}");
                summary.totals.as_ref().map_or(0.0, |t| t.total_counts.iter().sum())
            },
        ),
        other => eprintln!("there is no operation `{other}`"),
    }
}

fn timed<T>(call: impl FnOnce() -> spatialkit::Result<T>, check: impl FnOnce(&T) -> f64) {
    let start = Instant::now();
    let result = call().unwrap_or_else(|e| panic!("{e}"));
    let seconds = start.elapsed().as_secs_f64();
    // Before the check, which takes memory of its own.
    let peak = peak_mb();
    println!("{seconds:.4} {peak:.1} {} spatialkit {}", check(&result), env!("CARGO_PKG_VERSION"));
}

/// The sum of X, weighted by column so that misplaced elements show.
fn check(adata: &AnnData) -> f64 {
    let weight = |column: usize| (column % 7 + 1) as f64;
    match adata.x().expect("X") {
        Matrix::Dense(m) => {
            let x = m.values.to_f32();
            x.iter().enumerate().map(|(k, &x)| f64::from(x) * weight(k % m.ncols)).sum()
        }
        Matrix::Csr(m) => {
            let x = m.values.to_f32();
            x.iter().zip(&m.indices).map(|(&x, &c)| f64::from(x) * weight(c as usize)).sum()
        }
        Matrix::Csc(_) => f64::NAN,
    }
}

/// The most memory that this process ever had, in 10^6 bytes.
fn peak_mb() -> f64 {
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let line = status.lines().find(|l| l.starts_with("VmHWM:")).unwrap_or_default();
    let kib = line.split_whitespace().nth(1).and_then(|n| n.parse::<f64>().ok());
    kib.unwrap_or(f64::NAN) * 1024.0 / 1e6
}
