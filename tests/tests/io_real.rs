//! Every real file opens with the reader it is meant for; no file is passed over. That the values
//! are those that Python reads is shown in the other `io_…` tests.

use spatialkit::anndata::{AnnData, MuData};
use spatialkit::image::read_image;
use spatialkit::io::{self, SpatialData, TenxH5};
use spatialkit_tests::shared;
use std::path::{Path, PathBuf};

/// Files that describe the others.
const ABOUT: [&str; 6] =
    ["README.md", "readme.md", "LICENSE", "LICENSE.md", "LICENSE.banksy.md", "LICENSE.humanpilot"];

/// Every file below `dir`; a zarr store counts as one.
fn walk(dir: &Path, out: &mut Vec<PathBuf>) {
    let mut entries: Vec<PathBuf> =
        std::fs::read_dir(dir).unwrap().map(|e| e.unwrap().path()).collect();
    entries.sort();
    for path in entries {
        let name = path.file_name().unwrap().to_string_lossy().into_owned();
        if path.is_dir() && !name.ends_with(".zarr") {
            walk(&path, out);
        } else if !ABOUT.contains(&name.as_str()) {
            out.push(path);
        }
    }
}

fn size(adata: &AnnData) -> String {
    let kind = adata.x.as_ref().map_or("no X", |x| x.values().dtype());
    assert!(adata.to_html().len() < 2_000_000, "the summary is too long");
    assert!(adata.to_string().starts_with("AnnData object"));
    format!("{} × {} {kind}", adata.n_obs(), adata.n_vars())
}

fn sizes(mudata: &MuData) -> String {
    let one = |(name, adata)| format!("{name}: {}", size(adata));
    mudata.modalities.iter().map(one).collect::<Vec<_>>().join("; ")
}

/// Opens one file with the reader for its kind: the reader's name, and what it found.
fn open(path: &Path) -> Result<(&'static str, String), spatialkit::Error> {
    let name = path.file_name().unwrap().to_string_lossy().into_owned();
    let folder = path.parent().unwrap();
    let inside = folder.file_name().unwrap().to_string_lossy().into_owned();
    let ends = |endings: &[&str]| endings.iter().any(|e| name.ends_with(e));
    if name == "multiple_genomes.h5" {
        let e = io::read(path).unwrap_err().to_string();
        assert!(e.contains("several genomes"), "{e}");
        let read = |genome| TenxH5::default().genome(genome).read(path).map(|a| size(&a));
        return Ok(("TenxH5::genome", [read("hg19_chr21")?, read("another_genome")?].join("; ")));
    }
    if ends(&[".h5mu"]) || name.starts_with("mdata") {
        return Ok(("read_mudata", sizes(&io::read_mudata(path)?)));
    }
    if ends(&[".h5ad", ".h5", ".loom", ".zarr.zip"]) {
        return Ok(("read", size(&io::read(path)?)));
    }
    if ends(&[".zarr"]) {
        let store = SpatialData::open(path)?;
        for image in store.image_names() {
            store.image(image, 0)?;
        }
        for labels in store.label_names() {
            store.labels(labels, 0)?;
        }
        for shapes in store.shape_names() {
            store.shapes(shapes)?;
        }
        for points in store.point_names() {
            store.points(points)?.read()?;
        }
        return Ok(("SpatialData", size(&store.table(&store.table_names()[0])?)));
    }
    if inside == "ST-cnts" {
        return Ok(("read_st", size(&io::read_st(path)?)));
    }
    if ends(&["expression.txt", "DGEForR.csv", "counts.csv"]) {
        return Ok(("read (folder)", size(&io::read(folder)?)));
    }
    if folder.join("matrix.mtx").is_file() || folder.join("matrix.mtx.gz").is_file() {
        return Ok(("read_10x_mtx", size(&io::read_10x_mtx(folder)?)));
    }
    if name == "scalefactors_json.json" {
        let sample = folder.parent().unwrap();
        let read = if sample.ends_with("square_016um") {
            // The fixture's matrix is that of another bin size: it has bins without a position.
            let e = io::read(sample).unwrap_err().to_string();
            assert!(e.contains("2053 of 2695 barcodes"), "{e}");
            return Ok(("refused", e));
        } else {
            io::read(sample)?
        };
        return Ok(("read (folder)", size(&read)));
    }
    if ends(&[".png", ".jpg", ".tif"]) {
        let picture = read_image(path)?;
        let (width, height, channels) = (picture.width, picture.height, picture.channels);
        return Ok(("read_image", format!("{width} × {height} × {channels}")));
    }
    let table = io::read_table(path)?;
    let columns = table.columns().map(|(name, column)| format!("{name} {}", column.dtype()));
    let columns = columns.take(4).collect::<Vec<_>>().join(", ");
    assert!(!table.is_empty(), "no rows");
    Ok(("read_table", format!("{} rows: {columns}", table.len())))
}

#[test]
fn every_real_file_opens() {
    let Some(data) = shared("every_real_file_opens", "data") else { return };
    let mut paths = Vec::new();
    walk(&data, &mut paths);
    assert!(paths.len() > 80, "{} files", paths.len());
    let mut failed = Vec::new();
    for path in paths {
        let start = std::time::Instant::now();
        let name = path.strip_prefix(&data).unwrap().display().to_string();
        match open(&path) {
            Ok((reader, what)) => {
                println!("{name} | {reader} | {what} | {} ms", start.elapsed().as_millis());
            }
            Err(e) => failed.push(format!("{name}: {e}")),
        }
    }
    assert!(failed.is_empty(), "{}", failed.join("\n"));
}

#[test]
fn folders_are_recognised() {
    let test = "folders_are_recognised";
    let Some(data) = shared(test, "data") else { return };
    for (folder, shape) in [
        ("dlpfc/151673_spaceranger", (3639, 5000)),
        ("visium_mouse_placenta", (2898, 19465)),
        ("xenium_mouse_brain", (36602, 248)),
        ("osmfish", (5328, 33)),
        ("fixtures/sfe_xenium_toy", (526, 27)),
        ("fixtures/seurat_visium_hd", (2695, 100)),
        ("fixtures/spacexr_MerfishVignette", (750, 134)),
        ("fixtures/spacexr_Vignette", (100, 378)),
        ("fixtures/spatialdata_blobs_v3.zarr", (10, 3)),
    ] {
        let adata = io::read(data.join(folder)).unwrap_or_else(|e| panic!("{e}"));
        println!("{folder} | {}", size(&adata));
        assert_eq!((adata.n_obs(), adata.n_vars()), shape, "{folder}");
    }
    let e = io::read(data.join("her2st")).unwrap_err().to_string();
    assert!(e.contains("several sections: A1, B1, C2, D1"), "{e}");
}
