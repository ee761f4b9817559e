//! Zarr stores: what we read in them is what Python's packages read.

use spatialkit::io;
use spatialkit_tests::{python, script, shared};

#[test]
fn stores_hold_what_anndata_reads() {
    let test = "stores_hold_what_anndata_reads";
    let files = [
        "anndata_archives/v0.7.0/adata.zarr.zip",
        "anndata_archives/v0.7.8/adata.zarr.zip",
        "anndata_archives/v0.11.4/adata.zarr.zip",
        "scanpy_zarr/10x_pbmc68k_reduced.zarr.zip",
        "spatialdata_blobs_v3.zarr/tables/table",
    ];
    let dir = tempfile::tempdir().unwrap();
    let mut args = Vec::new();
    for (i, file) in files.into_iter().enumerate() {
        let Some(path) = shared(test, &format!("data/fixtures/{file}")) else { continue };
        let adata = io::read(&path).unwrap_or_else(|e| panic!("{e}"));
        let out = dir.path().join(format!("{i}.h5ad"));
        io::write_h5ad(&adata, &out).unwrap_or_else(|e| panic!("{file}: {e}"));
        args.extend([path, out]);
    }
    let Some(python) = python(test) else { return };
    script(&python, "io_zarr.py", &args);
}

#[test]
fn mudata_comes_back_as_mudata_reads_it() {
    let test = "mudata_comes_back_as_mudata_reads_it";
    let files =
        ["v0.1.2/mdata_axis0.h5mu", "v0.4.1/mdata_axis0.h5mu", "v0.4.1/mdata_axis0.zarr.zip"];
    let dir = tempfile::tempdir().unwrap();
    let mut args = Vec::new();
    for (i, file) in files.into_iter().enumerate() {
        let Some(path) = shared(test, &format!("data/fixtures/mudata/{file}")) else { continue };
        let mdata = io::read_mudata(&path).unwrap_or_else(|e| panic!("{e}"));
        assert_eq!(mdata.modalities.keys().collect::<Vec<_>>(), ["mod2", "mod1"]);
        let e = io::read(&path).unwrap_err().to_string();
        assert!(e.contains("mod1, mod2") && e.contains("io::read_mudata"), "{e}");
        let out = dir.path().join(format!("{i}.h5mu"));
        io::write_h5mu(&mdata, &out).unwrap_or_else(|e| panic!("{file}: {e}"));
        assert_eq!(io::read_mudata(&out).unwrap(), mdata);
        // One modality alone is an object of its own.
        let mut one = mdata.clone();
        one.modalities.shift_remove("mod2");
        let single = out.with_extension("one.h5mu");
        io::write_h5mu(&one, &single).unwrap();
        assert_eq!(&io::read(&single).unwrap(), mdata.modality("mod1").unwrap());
        args.extend([path, out]);
    }
    let Some(python) = python(test) else { return };
    script(&python, "io_zarr.py", &args);
}

#[test]
fn every_type_and_codec_of_zarr_python_is_read() {
    let test = "every_type_and_codec_of_zarr_python_is_read";
    let dir = tempfile::tempdir().unwrap();
    let folder = dir.path();
    let Some(python) = python(test) else { return };
    script(&python, "io_zarr_codecs.py", &["make".as_ref(), folder]);
    for version in ["v2", "v3"] {
        let store = folder.join(version).with_extension("zarr");
        let adata = io::read_zarr(&store).unwrap_or_else(|e| panic!("{e}"));
        io::write_h5ad(&adata, store.with_extension("h5ad")).unwrap_or_else(|e| panic!("{e}"));
    }
    script(&python, "io_zarr_codecs.py", &["check".as_ref(), folder]);
}
