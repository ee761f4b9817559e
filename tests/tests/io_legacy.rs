//! Loom, legacy ST, STimage-1K4M, samples in tables and pictures: what Python reads from the real
//! files is what we read.

use spatialkit::anndata::AnnData;
use spatialkit::image::read_image;
use spatialkit::io::{self, Her2st, SpatialTables, StImage};
use spatialkit_tests::{python, script, shared};
use std::path::Path;

/// Cases for the script, each with the object as we read it.
struct Cases {
    dir: tempfile::TempDir,
    args: Vec<String>,
    n: usize,
}

impl Cases {
    fn new() -> Self {
        Cases { dir: tempfile::tempdir().unwrap(), args: vec![], n: 0 }
    }

    fn add(&mut self, kind: &str, ours: &AnnData, originals: &[&Path]) {
        let path = self.dir.path().join(format!("{}.h5ad", self.n));
        self.n += 1;
        io::write_h5ad(ours, &path).unwrap();
        if !self.args.is_empty() {
            self.args.push("--".into());
        }
        self.args.extend([kind.to_string(), path.display().to_string()]);
        self.args.extend(originals.iter().map(|p| p.display().to_string()));
    }

    fn compare(self, python: &Path) {
        let text = script(python, "io_legacy.py", &self.args);
        assert_eq!(text.lines().filter(|l| l.starts_with("equal ")).count(), self.n);
    }
}

#[test]
fn loom_files_hold_what_anndata_reads() {
    let test = "loom_files_hold_what_anndata_reads";
    let Some(python) = python(test) else { return };
    let mut cases = Cases::new();
    let made = tempfile::tempdir().unwrap();
    script(&python, "io_legacy.py", &["make".as_ref(), made.path()]);
    for name in ["gzip", "shuffled", "lzf", "plain", "swapped"] {
        let path = made.path().join(format!("{name}.loom"));
        let sparse = io::read(&path).unwrap_or_else(|e| panic!("{e}"));
        let dense = io::Loom::default().sparse(false).read(&path).unwrap();
        assert_eq!(dense.x().unwrap().to_array_f64(), sparse.x().unwrap().to_array_f64(), "{name}");
        cases.add("loom", &sparse, &[&path]);
    }
    if let Some(path) = shared(test, "data/osmfish/osmFISH_SScortex_mouse_all_cells.loom") {
        let adata = io::read(&path).unwrap_or_else(|e| panic!("{e}"));
        assert_eq!(adata.shape(), (6471, 33));
        assert_eq!(adata.spatial().unwrap().ncols(), 2);
        cases.add("loom", &adata, &[&path]);
    }
    cases.compare(&python);
}

#[test]
fn her2st_sections_are_joined_as_with_pandas() {
    let test = "her2st_sections_are_joined_as_with_pandas";
    let Some(root) = shared(test, "data/her2st") else { return };
    let Some(python) = python(test) else { return };
    let all = Her2st::open(&root).unwrap();
    assert_eq!(all.sections(), ["A1", "B1", "C2", "D1"]);
    let mut cases = Cases::new();
    let none = Path::new("-");
    for (name, labels, clusters, image, full) in [
        ("A1", true, true, Some("A1_HE_image_dark.png"), Some((6954, 7435))),
        ("B1", true, false, None, None),
        ("C2", false, true, Some("C2_5714_HE_BT_C2.jpg"), None),
        ("D1", true, false, None, None),
    ] {
        let mut files = all.files(name).unwrap();
        if let Some((width, height)) = full {
            files = files.full_size(width, height);
        }
        let counts = all.counts(name).unwrap();
        let adata = files.read(counts).unwrap_or_else(|e| panic!("{e}"));
        let spots = root.join(format!("ST-spotfiles/{name}_selection.tsv"));
        let labels_path = root.join(format!("ST-pat_lbl/{name}_labeled_coordinates.tsv"));
        let clusters_path = root.join(format!("ST-cluster_lbl/{name}-cluster-annotation.tsv.gz"));
        let image_path = image.map(|i| root.join("images").join(i));
        let width = full.map_or("-".into(), |f| f.0.to_string());
        let originals = [
            counts,
            &spots,
            if labels { &labels_path } else { none },
            if clusters { &clusters_path } else { none },
            image_path.as_deref().unwrap_or(none),
            Path::new(&width),
        ];
        cases.add("st", &adata, &originals);
        // Missing numbers are NaN, which is not equal to itself.
        let recognised = format!("{:?}", io::read(counts).unwrap().obs);
        assert!(recognised == format!("{:?}", adata.obs), "{name} by its counts");
        // Nothing that was labelled loses its label.
        if labels {
            let label = adata.obs_column("label").unwrap();
            assert!((0..adata.n_obs()).all(|i| label.text(i).is_some()), "{name}");
        }
    }
    cases.compare(&python);
}

#[test]
fn samples_in_tables_are_what_pandas_reads() {
    let test = "samples_in_tables_are_what_pandas_reads";
    let Some(data) = shared(test, "data") else { return };
    let Some(python) = python(test) else { return };
    let mut cases = Cases::new();
    let osmfish = |part: &str| data.join(format!("osmfish/osmFISH_prep_{part}.txt"));
    let (counts, coordinates) = (osmfish("expression"), osmfish("cell_coordinates"));
    let metadata = osmfish("cell_metadata");
    let adata = io::read(data.join("osmfish")).unwrap_or_else(|e| panic!("{e}"));
    assert_eq!(adata.shape(), (5328, 33));
    cases.add("tables", &adata, &[&counts, &coordinates, &metadata]);
    let (counts, coordinates) = (
        data.join("fixtures/spacexr_MerfishVignette/counts.csv"),
        data.join("fixtures/spacexr_MerfishVignette/coords.csv"),
    );
    let adata = SpatialTables::default().counts(&counts).coordinates(&coordinates).read().unwrap();
    assert_eq!(adata.shape(), (750, 134));
    cases.add("tables", &adata, &[&counts, &coordinates]);
    let folder = data.join("fixtures/spacexr_Vignette");
    let adata = io::read(&folder).unwrap_or_else(|e| panic!("{e}"));
    assert_eq!(adata.shape(), (100, 378));
    let (counts, coordinates) =
        (folder.join("MappedDGEForR.csv"), folder.join("BeadLocationsForR.csv"));
    cases.add("tables", &adata, &[&counts, &coordinates]);
    cases.compare(&python);
}

#[test]
fn a_slide_of_stimage_is_what_pandas_reads() {
    let test = "a_slide_of_stimage_is_what_pandas_reads";
    let Some(her2st) = shared(test, "data/her2st") else { return };
    let Some(python) = python(test) else { return };
    let slide = "Human_Breast_Andersson_10142021_ST_A1";
    let coordinates = her2st.join(format!("stimage1k4m/{slide}_coord.csv"));
    let copy = tempfile::tempdir().unwrap();
    let counts = her2st.join("ST-cnts/A1.tsv.gz");
    let paths = [&counts, &coordinates, copy.path()].map(|p: &Path| p.display().to_string());
    let args: Vec<String> = ["make-stimage".to_string()].into_iter().chain(paths).collect();
    script(&python, "io_legacy.py", &args);
    let adata = StImage::open(copy.path()).unwrap().slide(slide).unwrap_or_else(|e| panic!("{e}"));
    assert_eq!(adata.shape(), (346, 15045));
    let counts = copy.path().join(format!("ST/gene_exp/{slide}_count.csv"));
    assert_eq!(io::read(&counts).unwrap(), adata);
    let mut cases = Cases::new();
    cases.add("stimage", &adata, &[&counts, &coordinates]);
    cases.compare(&python);
    // The same slide from its upstream files: the same places, the radius a quarter of the pitch.
    let upstream = Her2st::open(&her2st).unwrap().section("A1").unwrap();
    assert_eq!(upstream.spatial().unwrap(), adata.spatial().unwrap());
    let diameter = |a: &AnnData| spatial_number(a, "spot_diameter_fullres");
    let (estimated, stated) = (diameter(&upstream), diameter(&adata));
    assert!((estimated / stated - 1.0).abs() < 0.01, "{estimated} {stated}");
}

fn spatial_number(adata: &AnnData, key: &str) -> f64 {
    let libraries = adata.uns["spatial"].as_map().unwrap();
    libraries.values().next().unwrap().at(&["scalefactors", key]).unwrap().as_f64().unwrap()
}

#[test]
fn pictures_have_the_values_of_tifffile_and_pillow() {
    let test = "pictures_have_the_values_of_tifffile_and_pillow";
    let Some(python) = python(test) else { return };
    let made = tempfile::tempdir().unwrap();
    script(&python, "io_legacy.py", &["make".as_ref(), made.path()]);
    let names = ["channels.ome.tiff", "tiles.tif", "planes.tif", "lzw.tif", "rgb.png", "deep.png"];
    let mut paths: Vec<_> = names.map(|n| made.path().join(n)).to_vec();
    for real in [
        "fixtures/sfe_xenium_toy/morphology_mip.ome.tif",
        "fixtures/sfe_xenium_toy/morphology_focus.ome.tif",
        "her2st/images/A1_HE_image_dark.png",
        "her2st/images/C2_5714_HE_BT_C2.jpg",
        "visium_mouse_placenta/spatial/tissue_lowres_image.png",
        "visium_mouse_placenta/spatial/aligned_fiducials.jpg",
        "visium_mouse_placenta/spatial/detected_tissue_image.jpg",
        "fixtures/sfe_visium_toy/outs/spatial/aligned_fiducials.jpg",
        "fixtures/sfe_visium_toy/outs/spatial/tissue_lowres_image.png",
    ] {
        paths.extend(shared(test, &format!("data/{real}")));
    }
    let mut cases = Cases::new();
    for path in &paths {
        let raster = read_image(path).unwrap_or_else(|e| panic!("{e}"));
        if path.ends_with("channels.ome.tiff") {
            assert_eq!(raster.pixel_size, Some((0.25, 0.5)));
            assert_eq!(raster.channel_names, ["DAPI", "18S"]);
        }
        let mut adata = AnnData::default();
        adata.uns.insert("picture".into(), raster.to_value());
        cases.add("picture", &adata, &[path]);
    }
    cases.compare(&python);
}
