//! Tables and the machines that write them, against pandas, scanpy and squidpy: what these read is
//! what anndata reads from an h5ad file that we wrote of what we read.

use spatialkit::anndata::{AnnData, Frame};
use spatialkit::io;
use spatialkit_tests::{python, script, shared};
use std::path::PathBuf;

/// Writes what we read of each case and lets the script compare.
fn compare(test: &str, cases: Vec<(&str, PathBuf, AnnData)>) {
    let dir = tempfile::tempdir().unwrap();
    let mut args = vec![PathBuf::from("compare")];
    for (i, (kind, original, adata)) in cases.into_iter().enumerate() {
        let out = dir.path().join(format!("{i}.h5ad"));
        io::write_h5ad(&adata, &out).unwrap_or_else(|e| panic!("{}: {e}", original.display()));
        args.extend([PathBuf::from(kind), original, out]);
    }
    let Some(python) = python(test) else { return };
    script(&python, "io_tables.py", &args);
}

fn table(frame: Frame) -> AnnData {
    AnnData { obs: frame, ..AnnData::default() }
}

const TABLES: [&str; 34] = [
    "xenium_mouse_brain/cells.csv.gz",
    "fixtures/sfe_xenium_toy/cells.csv.gz",
    "fixtures/sfe_xenium_toy/cells.parquet",
    "fixtures/sfe_xenium_toy/transcripts.csv.gz",
    "fixtures/sfe_xenium_toy/transcripts.parquet",
    "fixtures/sfe_xenium_toy/cell_boundaries.csv.gz",
    "fixtures/sfe_xenium_toy/cell_boundaries.parquet",
    "fixtures/sfe_xenium_toy/nucleus_boundaries.csv.gz",
    "fixtures/sfe_xenium_toy/nucleus_boundaries.parquet",
    "fixtures/seurat_visium_hd/binned_outputs/square_008um/spatial/tissue_positions.parquet",
    "fixtures/seurat_visium_hd/binned_outputs/square_016um/spatial/tissue_positions.parquet",
    "fixtures/spatialdata_blobs_v3.zarr/points/blobs_points/points.parquet",
    "fixtures/spacexr_MerfishVignette/coords.csv",
    "fixtures/spacexr_MerfishVignette/nUMI.csv",
    "fixtures/spacexr_MerfishVignette/counts.csv",
    "fixtures/spacexr_Vignette/BeadLocationsForR.csv",
    "fixtures/spacexr_Vignette/MappedDGEForR.csv",
    "fixtures/sfe_visium_toy/outs/spatial/tissue_positions.csv",
    "fixtures/sfe_visium_toy/outs/spatial/barcode_fluorescence_intensity.csv",
    "fixtures/sfe_visium_toy/outs/spatial/spatial_enrichment.csv",
    "visium_mouse_placenta/spatial/tissue_positions.csv",
    "visium_mouse_placenta/spatial/spatial_enrichment.csv",
    "dlpfc/151673_spaceranger/truth.txt",
    "her2st/ST-pat_lbl/A1_labeled_coordinates.tsv",
    "her2st/ST-pat_lbl/B1_labeled_coordinates.tsv",
    "her2st/ST-pat_lbl/D1_labeled_coordinates.tsv",
    "her2st/ST-spotfiles/A1_selection.tsv",
    "her2st/ST-spotfiles/C2_selection.tsv",
    "her2st/ST-cluster_lbl/A1-cluster-annotation.tsv.gz",
    "her2st/ST-cluster_lbl/C2-cluster-annotation.tsv.gz",
    "her2st/stimage1k4m/Human_Breast_Andersson_10142021_ST_A1_coord.csv",
    "osmfish/osmFISH_prep_cell_metadata.txt",
    "osmfish/osmFISH_prep_cell_coordinates.txt",
    "osmfish/osmFISH_prep_expression.txt",
];

#[test]
fn every_real_table_is_what_pandas_reads() {
    let test = "every_real_table_is_what_pandas_reads";
    let Some(data) = shared(test, "data") else { return };
    let mut cases = Vec::new();
    for file in TABLES {
        let path = data.join(file);
        if !path.exists() {
            println!("SKIPPED: {test}: {file} is not there");
            continue;
        }
        // The file of labels has no header, which cannot be seen: texts above texts.
        let opened = io::Table::open(&path).and_then(|t| match file.ends_with("truth.txt") {
            true => t.header(false),
            false => Ok(t),
        });
        let frame = opened.and_then(|t| t.read()).unwrap_or_else(|e| panic!("{e}"));
        cases.push(("table", path, table(frame)));
    }
    compare(test, cases);
}

#[test]
fn every_real_folder_is_what_python_reads() {
    let test = "every_real_folder_is_what_python_reads";
    let Some(data) = shared(test, "data") else { return };
    let mut cases = Vec::new();
    for (kind, folder) in [
        ("xenium", "xenium_mouse_brain"),
        ("xenium", "fixtures/sfe_xenium_toy"),
        ("hd", "fixtures/seurat_visium_hd/binned_outputs/square_008um"),
        ("beads", "fixtures/spacexr_Vignette"),
        ("beads", "fixtures/spacexr_MerfishVignette"),
    ] {
        let path = data.join(folder);
        let adata = io::read(&path).unwrap_or_else(|e| panic!("{e}"));
        cases.push((kind, path, adata));
    }
    let hd = data.join("fixtures/seurat_visium_hd");
    let eight = io::read(&hd).unwrap();
    assert_eq!(eight.x, cases[2].2.x);
    // This fixture pairs positions with the matrix of another slide.
    let sixteen = io::VisiumHd::default().bin_size(16);
    let e = sixteen.read(&hd).unwrap_err().to_string();
    assert!(e.contains("2053 of 2695 barcodes of the matrix have no position"), "{e}");
    let common = sixteen.common_only(true).read(&hd).unwrap();
    assert_eq!(common.n_obs(), 2695 - 2053);
    let path = hd.join("binned_outputs/square_016um");
    cases.push(("hd", path, common));
    let e = io::VisiumHd::default().bin_size(2).read(&hd).unwrap_err().to_string();
    assert!(e.contains("8 µm, 16 µm"), "{e}");
    let xenium = io::Xenium::open(data.join("xenium_mouse_brain")).unwrap().controls(true);
    assert_eq!(xenium.read().unwrap().shape(), (36602, 541));
    compare(test, cases);
}

#[test]
fn outlines_and_molecules_of_xenium_are_whole() {
    let test = "outlines_and_molecules_of_xenium_are_whole";
    let Some(toy) = shared(test, "data/fixtures/sfe_xenium_toy") else { return };
    let xenium = io::Xenium::open(&toy).unwrap();
    for what in [io::Boundary::Cell, io::Boundary::Nucleus] {
        let outlines = xenium.boundaries(what).unwrap();
        assert_eq!((outlines.len(), outlines.vertices.len()), (526, 6838));
        assert_eq!(outlines.ids[0], "jcccmpde-1");
        assert!((0..526).all(|i| outlines.polygon(i).first() == outlines.polygon(i).last()));
    }
    let table = xenium.transcripts().unwrap();
    let rows: usize =
        table.blocks(&["feature_name"], 1000).unwrap().map(|b| b.unwrap().len()).sum();
    assert_eq!((rows, table.n_rows().unwrap()), (5260, 5260));
}

/// Layouts of which there is no real file here: the script writes small ones.
#[test]
fn made_files_are_what_squidpy_and_pandas_read() {
    let test = "made_files_are_what_squidpy_and_pandas_read";
    let dir = tempfile::tempdir().unwrap();
    let Some(python) = python(test) else { return };
    script(&python, "io_tables.py", &["make".as_ref(), dir.path()]);
    let mut cases = Vec::new();
    for kind in ["cosmx", "vizgen", "puck"] {
        let path = dir.path().join(kind);
        let adata = io::read(&path).unwrap_or_else(|e| panic!("{e}"));
        cases.push((if kind == "puck" { "beads" } else { kind }, path, adata));
    }
    let gem = dir.path().join("slide.gem.gz");
    cases.push(("gem", gem.clone(), io::read(&gem).unwrap()));
    let cells = io::StereoSeq::default().by_cell(true).read(&gem).unwrap();
    cases.push(("gem-cells", gem, cells));
    let mut tables: Vec<PathBuf> =
        std::fs::read_dir(dir.path().join("tables")).unwrap().flatten().map(|e| e.path()).collect();
    tables.sort();
    assert!(tables.len() >= 10);
    for path in tables {
        let frame = io::read_table(&path).unwrap_or_else(|e| panic!("{e}"));
        cases.push(("table", path, table(frame)));
    }
    let cosmx = dir.path().join("cosmx-more");
    let e = io::read(&cosmx).unwrap_err().to_string();
    assert!(e.contains("3 of ") && e.contains("common_only(true)"), "{e}");
    cases.push((
        "cosmx",
        cosmx.clone(),
        io::CosMx::default().common_only(true).read(cosmx).unwrap(),
    ));
    compare(test, cases);
}
