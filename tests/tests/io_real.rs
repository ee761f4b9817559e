//! Every real file opens, and says what it holds.

use spatialkit::io;
use std::path::{Path, PathBuf};

fn walk(dir: &Path, out: &mut Vec<PathBuf>) {
    let Ok(entries) = std::fs::read_dir(dir) else { return };
    for path in entries.flatten().map(|e| e.path()) {
        let name = path.file_name().unwrap_or_default().to_string_lossy().into_owned();
        if path.is_dir() {
            if io_folder(&path) {
                out.push(path.clone());
            }
            if !name.ends_with(".zarr") {
                walk(&path, out);
            }
        } else if [".h5ad", ".h5", ".h5mu"].iter().any(|e| name.ends_with(e)) {
            out.push(path);
        }
    }
}

fn io_folder(path: &Path) -> bool {
    path.join("spatial").is_dir()
        || path.join("matrix.mtx").is_file()
        || path.join("matrix.mtx.gz").is_file()
}

#[test]
fn every_real_file_opens_or_says_why_not() {
    let shared = std::env::var_os("SPATIALKIT_SHARED").map(PathBuf::from);
    let default = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../shared");
    let data = shared.unwrap_or(default).join("data");
    if !data.is_dir() {
        println!("SKIPPED: every_real_file_opens: there is no {}", data.display());
        return;
    }
    let mut paths = Vec::new();
    walk(&data, &mut paths);
    paths.sort();
    // What this version refuses, and the words that say why.
    let refused = [
        ("multiple_genomes.h5", "several genomes"),
        (".h5mu", "MuData"),
        ("square_016um", "2053 of 2695 barcodes"),
    ];
    for path in paths {
        let start = std::time::Instant::now();
        let name = path.strip_prefix(&data).unwrap_or(&path).display().to_string();
        match io::read(&path) {
            Ok(adata) => {
                let kind = adata.x.as_ref().map_or("no X", |x| x.values().dtype());
                let ms = start.elapsed().as_millis();
                println!("{name} | {} × {} {kind} | {ms} ms", adata.n_obs(), adata.n_vars());
                assert!(adata.to_html().len() < 2_000_000, "{name}: the summary is too long");
                assert!(adata.to_string().starts_with("AnnData object"));
            }
            Err(e) => {
                let known = refused.iter().find(|(file, _)| name.ends_with(file));
                assert!(known.is_some_and(|k| e.to_string().contains(k.1)), "{name}: {e}");
                println!("{name} | refused | {e}");
            }
        }
    }
}
