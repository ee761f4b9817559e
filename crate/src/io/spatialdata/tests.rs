//! Stores made here, and transformations worked out by hand.

use super::*;
use ndarray::array;
use serde_json::{Value as Json, json};

fn axes(names: &str) -> Vec<String> {
    names.chars().map(String::from).collect()
}

fn apply(json: Json, names: &str) -> Vec<f64> {
    let all = transform::by_system(&json!([json]), &axes(names)).unwrap();
    all[0].apply(&array![[1., 10.]]).unwrap().into_raw_vec_and_offset().0
}

#[test]
fn transformations_follow_the_order_of_their_axes() {
    assert_eq!(apply(json!({"type": "identity"}), "cyx"), [1., 10.]);
    assert_eq!(apply(json!({"type": "scale", "scale": [1, 3, 2]}), "cyx"), [2., 30.]);
    assert_eq!(apply(json!({"type": "translation", "translation": [-5, 7]}), "yx"), [8., 5.]);
    // Rows are y and x, columns y, x and the shift.
    let affine = json!({"type": "affine", "affine": [[1, 2, 3], [4, 5, 6]]});
    assert_eq!(apply(affine, "yx"), [4. * 10. + 5. + 6., 10. + 2. + 3.]);
    let swap = json!({"type": "mapAxis", "mapAxis": {"x": "y", "y": "x"}});
    let steps = json!([swap, {"type": "scale", "scale": [2, 1]}]);
    assert_eq!(apply(json!({"type": "sequence", "transformations": steps}), "xy"), [20., 1.]);
}

#[test]
fn transformations_that_fit_no_axes_are_refused() {
    let refuse = |json: Json| transform::by_system(&json!([json]), &axes("yx")).unwrap_err();
    assert!(refuse(json!({"type": "scale", "scale": [1]})).contains("y, x"));
    assert!(refuse(json!({"type": "scale", "scale": "large"})).contains("y, x"));
    assert!(refuse(json!({"type": "affine", "affine": [[1, 2, 3]]})).contains("y, x"));
    assert!(refuse(json!({"type": "affine", "affine": [[], []]})).contains("y, x"));
    assert!(refuse(json!({"type": "bend"})).contains("`bend`"));
    let mut deep = json!({"type": "identity"});
    for _ in 0..40 {
        deep = json!({"type": "sequence", "transformations": [deep]});
    }
    assert!(refuse(deep).contains("nested too deep"));
}

/// A store of two empty tables and an image whose metadata are `attributes`.
fn store(attributes: Json) -> tempfile::TempDir {
    let dir = tempfile::tempdir().unwrap();
    let group = |key: &str, attributes: Json| {
        std::fs::create_dir_all(dir.path().join(key)).unwrap();
        let meta = json!({"zarr_format": 3, "node_type": "group", "attributes": attributes});
        std::fs::write(dir.path().join(key).join("zarr.json"), meta.to_string()).unwrap();
    };
    for key in ["", "tables", "tables/a", "tables/b", "images", "shapes", "shapes/cells"] {
        group(key, json!({}));
    }
    group("images/he", attributes);
    dir
}

#[test]
fn a_store_names_what_it_has_and_what_it_lacks() {
    let dir = store(json!({}));
    let e = crate::io::read(dir.path()).unwrap_err().to_string();
    assert!(e.contains("tables a, b") && e.contains("io::SpatialData::open"), "{e}");
    let sample = SpatialData::open(dir.path()).unwrap();
    assert_eq!(sample.table_names(), ["a", "b"]);
    let e = sample.image("if", 0).unwrap_err().to_string();
    assert_eq!(e, "SpatialData has no images `if`; it has: he");
    let e = sample.image("he", 0).unwrap_err().to_string();
    assert!(e.contains("images/he") && e.contains("multiscales"), "{e}");
    assert!(sample.shapes("cells").unwrap_err().to_string().contains("shapes.parquet"));
    // What is damaged is shown as such, not hidden.
    assert!(sample.to_string().contains("'he': ") && sample.to_string().contains("multiscales"));
    assert!(sample.bundle().is_ok());
}

#[test]
fn a_picture_whose_axes_are_not_its_arrays_is_refused() {
    let ome = json!({"multiscales": [{"axes": [{"name": "y"}], "datasets": [{"path": "0"}]}]});
    let dir = store(json!({"ome": ome}));
    let array = json!({"zarr_format": 3, "node_type": "array", "shape": [2, 2],
        "data_type": "uint8", "fill_value": 3, "codecs": [{"name": "bytes"}],
        "chunk_grid": {"name": "regular", "configuration": {"chunk_shape": [2, 2]}},
        "chunk_key_encoding": {"name": "default"}, "attributes": {}});
    std::fs::create_dir_all(dir.path().join("images/he/0")).unwrap();
    std::fs::write(dir.path().join("images/he/0/zarr.json"), array.to_string()).unwrap();
    let sample = SpatialData::open(dir.path()).unwrap();
    let e = sample.image("he", 0).unwrap_err().to_string();
    assert!(e.contains("1 axes for an array of shape [2, 2]"), "{e}");
    let e = sample.image("he", 3).unwrap_err().to_string();
    assert!(e.contains("scale = 3") && e.contains("1 sizes"), "{e}");
}
