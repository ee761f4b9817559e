use super::*;
use crate::anndata::Values;
use crate::error::Error;
use crate::io::WriteOptions;
use ndarray::array;
use std::path::PathBuf;

/// A loom file of 2 genes × 3 cells, with something of everything; `spoil` adds or replaces.
fn file(spoil: &str) -> (tempfile::TempDir, PathBuf) {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("a.loom");
    type W<'a> = h5::Writer<'a>;
    let values = |g: &W, name, shape: &[usize], v: Values| g.values(name, shape, &v, None);
    let texts = |g: &W, name, shape: &[usize], v: &[&str]| g.strings(name, shape, v, None);
    h5::create(&path, &WriteOptions::default().gzip(4), |root| {
        let matrix = Values::I64(vec![1, 0, 3, 0, 5, 0]);
        match spoil {
            "matrix of text" => texts(root, "matrix", &[2, 3], &["a"; 6])?,
            "flat matrix" => values(root, "matrix", &[6], matrix)?,
            _ => values(root, "matrix", &[2, 3], matrix)?,
        }
        let layers = root.group("layers")?;
        let n = if spoil == "layer" { 1 } else { 2 };
        values(&layers, "spliced", &[n, 3], Values::U16((0..3 * n as u16).collect()))?;
        let rows = root.group("row_attrs")?;
        texts(&rows, "Gene", &[2], &["Gad2", "Sox&#233;&amp;&"])?;
        let cells = root.group("col_attrs")?;
        texts(&cells, "CellID", &[3], &["c1", "c2", "c3"])?;
        values(&cells, "X", &[3], Values::F64(vec![1.0, 2.0, 3.0]))?;
        values(&cells, "Y", &[3], Values::I32(vec![4, 5, 6]))?;
        texts(&cells, "Run", &[3], &["r", "r", "r"])?;
        values(&cells, "PCA", &[3, 2], Values::F32(vec![0.0, 1.0, 2.0, 3.0, 4.0, 5.0]))?;
        values(&cells, "cube", &[3, 1, 2], Values::U8(vec![0; 6]))?;
        if spoil == "length" {
            values(&cells, "Area", &[2], Values::F32(vec![0.0; 2]))?;
        }
        let knn = root.group("col_graphs")?.group("KNN")?;
        let to = if spoil == "node" { 3 } else { 2 };
        values(&knn, "a", &[3], Values::I64(vec![2, 0, 0]))?;
        values(&knn, "b", &[3], Values::I64(vec![0, to, 1]))?;
        let n = if spoil == "edges" { 2 } else { 3 };
        values(&knn, "w", &[n], Values::F64(vec![0.5, 0.25, 0.125][..n].to_vec()))?;
        texts(&root.group("attrs")?, "LOOM_SPEC_VERSION", &[1], &["3.0.0"])
    })
    .unwrap();
    (dir, path)
}

#[test]
fn every_part_of_a_loom_file_finds_its_slot() {
    let (_dir, path) = file("");
    let a = read_loom(&path).unwrap();
    assert_eq!(a.obs.names(), ["c1", "c2", "c3"]);
    assert_eq!(a.obs.index_name.as_deref(), Some("CellID"));
    assert_eq!(a.var.names(), ["Gad2", "Soxé&&"]);
    assert_eq!(a.x().unwrap().to_array_f64(), array![[0., 3.], [1., 4.], [2., 5.]]);
    assert_eq!(a.x().unwrap().values().dtype(), "float32");
    let main = a.layer("matrix").unwrap();
    assert_eq!(main.to_array_f64(), array![[1., 0.], [0., 5.], [3., 0.]]);
    assert_eq!(main.values(), &Values::I64(vec![1, 5, 3]), "zeros are not stored");
    assert_eq!(a.layer("spliced").unwrap().values().dtype(), "uint16");
    assert_eq!(a.spatial().unwrap(), array![[1., 4.], [2., 5.], [3., 6.]]);
    assert_eq!(a.obsm("PCA").unwrap().shape(), (3, 2));
    let knn = a.obsp["KNN"].to_array_f64();
    assert_eq!(knn, array![[0., 0.125, 0.25], [0., 0., 0.], [0.5, 0., 0.]]);
    let at = |path: &[&str]| a.uns["loom"].at(path).cloned();
    assert_eq!(at(&["LOOM_SPEC_VERSION"]), Some("3.0.0".into()));
    assert!(matches!(at(&["col_attrs", "cube"]), Some(Value::Array { .. })));
}

#[test]
fn options_decide_what_becomes_what() {
    let (_dir, path) = file("");
    let dense = Loom::default().sparse(false).x_name("").keep_type(true);
    let a = dense.cleanup(true).spatial(&[]).obsm_mapping("xy", &["X", "Y"]).read(&path).unwrap();
    let x = Dense::new(3, 2, vec![1i64, 0, 0, 5, 3, 0]).unwrap();
    assert_eq!(a.x, Some(Matrix::Dense(x)));
    assert!(!a.layers.contains_key("matrix") && !a.obsm.contains_key("spatial"));
    assert_eq!(a.obsm["xy"].shape(), (3, 2));
    assert!(!a.obs.contains("X") && !a.obs.contains("Run"));
    assert_eq!(a.uns["loom-obs"].at(&["Run"]), Some(&"r".into()));
    let e = Loom::default().spatial(&["Run"]).read(&path).unwrap_err().to_string();
    assert!(e.contains("no numbers `Run`"), "{e}");
    let e = Loom::default().varm_mapping("m", &["no"]).read(&path).unwrap_err().to_string();
    assert!(e.contains("no numbers `no`"), "{e}");
}

#[test]
fn malformed_files_are_named_with_their_key() {
    for (spoil, what) in [
        ("matrix of text", "expected a matrix of numbers"),
        ("flat matrix", "expected genes × cells"),
        ("layer", "`layers/spliced`: shape [1, 3]"),
        ("length", "`col_attrs/Area`: shape [2]"),
        ("node", "node 3 of a graph of 3 nodes"),
        ("edges", "3, 3 and 2 entries"),
    ] {
        let (_dir, path) = file(spoil);
        let e = read_loom(&path).unwrap_err();
        assert!(matches!(e, Error::Format { .. }), "{e:?}");
        assert!(e.to_string().contains(what), "{spoil}: {e}");
    }
}
