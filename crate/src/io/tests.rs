//! Round trips, malformed files and the words of errors, on small files made here.

use super::*;
use crate::anndata::{
    AnnData, Categorical, Column, Dense, Frame, Map, Matrix, Raw, Sparse, Value, Values,
};
use crate::rng::Rng;
use ndarray::{Array2, array};
use std::fs;
use std::path::{Path, PathBuf};

/// An object that uses every slot and every encoding.
fn everything() -> AnnData {
    let dense = array![[1f32, 0., 2.], [0., 3., 0.], [4., 0., f32::NAN], [0., 0., 5.]];
    let x = Matrix::Csr(Matrix::from(dense.clone()).to_csr());
    let names = |p: &str, n: usize| (0..n).map(|i| format!("{p}{i}")).collect::<Vec<_>>();
    let mut a = AnnData::new(x, Frame::new(names("cell", 4)), Frame::new(names("g", 3))).unwrap();
    a.var.index_name = Some("symbol".into());

    let labels = [Some("L1"), None, Some("WM"), Some("L1")];
    let mut layer = Categorical::from_labels(&labels);
    layer.ordered = true;
    a.obs.insert("layer", layer).unwrap();
    let mut numbered = Categorical::from_numbers(&[3, 1, 3, 2]);
    numbered.typed = Some(Values::I64(vec![1, 2, 3]));
    a.obs.insert("cluster", numbered).unwrap();
    a.obs.insert("area", vec![1.5f64, f64::NAN, 3.0, -0.0]).unwrap();
    a.obs.insert("kept", vec![true, false, true, true]).unwrap();
    let missing = vec![false, true, false, false];
    let values = Values::I32(vec![1, 0, 3, 4]);
    a.obs.insert("n", Column::Nullable { values, missing: missing.clone() }).unwrap();
    let values = Values::Bool(vec![true, false, false, true]);
    a.obs.insert("flag", Column::Nullable { values, missing }).unwrap();
    let texts = [Some("é"), None, Some(""), Some("x")].map(|t| t.map(String::from));
    a.obs.insert("note", Column::Str(texts.to_vec())).unwrap();

    a.layers.insert("counts".into(), Matrix::Csc(Matrix::from(dense.clone()).to_csc()));
    let bytes = Dense::new(4, 3, Values::U8((0..12).collect())).unwrap();
    a.layers.insert("bytes".into(), Matrix::Dense(bytes));
    let xy = array![[0f64, 1.], [1., 1.], [2., 0.], [3., 3.]];
    a.obsm.insert("spatial".into(), xy.into());
    a.obsm_frames.insert("table".into(), a.obs.clone());
    a.varm.insert("PCs".into(), array![[1f32], [2.], [3.]].into());
    a.obsp.insert("graph".into(), Matrix::Csr(Matrix::from(Array2::<f64>::eye(4)).to_csr()));
    a.varp.insert("cov".into(), array![[1f64, 0., 0.], [0., 1., 0.], [0., 0., 1.]].into());

    let mut inner = Map::new();
    inner.insert("base".into(), Value::Null);
    inner.insert("n".into(), Value::int(7));
    inner.insert("ok".into(), Value::Array { shape: vec![], values: Values::Bool(vec![true]) });
    inner.insert("empty".into(), Value::Map(Map::new()));
    a.uns.insert("log1p".into(), Value::Map(inner));
    a.uns.insert("layer_colors".into(), Value::strings(["#1f77b4", "#ff7f0e"]));
    a.uns.insert("title".into(), "a slide".into());
    let image = Value::Array { shape: vec![2, 3, 3], values: Values::U8((0..18).collect()) };
    a.uns.insert("image".into(), image);
    let mut record = Map::new();
    record.insert("0".into(), Value::strings(["g0", "gène"]));
    let scores = Values::F32(vec![1.5, 2.5]);
    record.insert("score".into(), Value::Array { shape: vec![2], values: scores });
    a.uns.insert("ranks".into(), Value::Record(record));
    a.uns.insert("frame".into(), Value::Frame(a.var.clone()));
    let labels = Categorical::from_labels(&labels);
    a.uns.insert("cats".into(), Value::Column(Column::Categorical(labels)));
    a.uns.insert("sparse".into(), Value::Matrix(a.layers["counts"].clone()));
    let raw = Raw {
        x: dense.into(),
        var: Frame::new(names("g", 3)),
        varm: Map::new(),
        varm_frames: Map::new(),
    };
    a.raw = Some(Box::new(raw));
    a
}

/// Equality that takes NaN for equal to NaN.
fn assert_same(a: &AnnData, b: &AnnData) {
    assert_eq!(format!("{a:?}"), format!("{b:?}"));
}

/// Slots in the order in which files list their members.
fn sorted(mut a: AnnData) -> AnnData {
    fn sort(m: &mut Map<Value>) {
        m.sort_keys();
        for v in m.values_mut() {
            if let Value::Map(m) = v {
                sort(m);
            }
        }
    }
    sort(&mut a.uns);
    a.layers.sort_keys();
    a
}

fn write_everything() -> (tempfile::TempDir, PathBuf) {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("a.h5ad");
    write_h5ad_with(&everything(), &path, &WriteOptions::default().gzip(4)).unwrap();
    (dir, path)
}

#[test]
fn what_was_written_is_read_back() {
    let dir = tempfile::tempdir().unwrap();
    for (name, options) in
        [("a.h5ad", WriteOptions::default()), ("b.h5ad", WriteOptions::default().gzip(9))]
    {
        let path = dir.path().join(name);
        write_h5ad_with(&everything(), &path, &options).unwrap();
        assert_same(&read_h5ad(&path).unwrap(), &sorted(everything()));
    }
    assert_eq!(fs::read_dir(dir.path()).unwrap().count(), 2, "nothing is left beside");
}

#[test]
fn large_matrices_survive_every_chunking() {
    let dir = tempfile::tempdir().unwrap();
    let mut rng = Rng::new(7);
    for (n, m) in [(1, 70_000), (70_000, 1), (613, 457), (3, 300_000)] {
        let values: Vec<f32> = (0..n * m).map(|_| (rng.next_u64() % 7) as f32).collect();
        let x = Matrix::Dense(Dense::new(n, m, values).unwrap());
        let sparse = Matrix::Csr(x.to_csr());
        let mut a = AnnData::new(x, Frame::with_len(n), Frame::with_len(m)).unwrap();
        a.layers.insert("sparse".into(), sparse);
        let path = dir.path().join("a.h5ad");
        write_h5ad_with(&a, &path, &WriteOptions::default().gzip(1)).unwrap();
        let b = read_h5ad(&path).unwrap();
        assert!(a.x == b.x && a.layers == b.layers, "{n} × {m}");
    }
}

#[test]
fn a_failed_write_leaves_the_old_file_whole() {
    let (dir, path) = write_everything();
    let before = fs::read(&path).unwrap();
    let mut bad = everything();
    bad.uns.insert("a/b".into(), Value::Null);
    let e = write_h5ad(&bad, &path).unwrap_err().to_string();
    assert!(e.contains("uns/a/b") && e.contains("must not"), "{e}");
    let mut bad = everything();
    bad.obsm.insert("short".into(), array![[1f32]].into());
    assert!(write_h5ad(&bad, &path).unwrap_err().to_string().contains("short"));
    assert_eq!(fs::read(&path).unwrap(), before);
    assert_eq!(fs::read_dir(dir.path()).unwrap().count(), 1);
    let e = write_h5ad(&everything(), dir.path().join("no/a.h5ad")).unwrap_err().to_string();
    assert!(e.contains("folder"), "{e}");
}

#[test]
fn skipping_leaves_a_member_out() {
    let (_dir, path) = write_everything();
    let options = ReadOptions::default().skip("uns/log1p").skip("obs/layer").skip("X").skip("raw");
    let a = read_h5ad_with(&path, &options).unwrap();
    assert!(a.x.is_none() && a.raw.is_none() && !a.uns.contains_key("log1p"));
    assert!(!a.obs.contains("layer") && a.obs.contains("cluster"));
}

fn edit(path: &Path, change: impl FnOnce(&hdf5::File) -> hdf5::Result<()>) {
    let file = hdf5::File::open_rw(path).unwrap();
    change(&file).unwrap();
    file.close().unwrap();
}

fn say(file: &hdf5::File, key: &str, name: &str, text: &str) -> hdf5::Result<()> {
    use std::str::FromStr;
    let group = file.group(key)?;
    let _ = group.delete_attr(name);
    let text = hdf5::types::VarLenUnicode::from_str(text).unwrap();
    group.new_attr::<hdf5::types::VarLenUnicode>().create(name)?.write_scalar(&text)
}

#[test]
fn what_cannot_be_held_is_named_with_its_key() {
    for (kind, words) in [
        ("awkward-array", "awkward array"),
        ("quantum-foam", "`quantum-foam`"),
        ("anndata", "`anndata`"),
    ] {
        let (_dir, path) = write_everything();
        edit(&path, |f| say(f, "uns/log1p", "encoding-type", kind));
        let e = read_h5ad(&path).unwrap_err().to_string();
        assert!(e.contains("`uns/log1p`") && e.contains(words), "{e}");
        assert!(e.contains(".skip(\"uns/log1p\")"), "{e}");
        assert!(read_h5ad_with(&path, &ReadOptions::default().skip("uns/log1p")).is_ok());
    }
    let (_dir, path) = write_everything();
    edit(&path, |f| say(f, "obs", "encoding-version", "9.0.0"));
    let e = read_h5ad(&path).unwrap_err().to_string();
    assert!(e.contains("version 9.0.0") && e.contains("`obs`"), "{e}");
}

#[test]
fn sizes_that_a_header_merely_claims_are_not_believed() {
    let (_dir, path) = write_everything();
    edit(&path, |f| {
        let shape = [1usize << 40, 1 << 20];
        f.group("layers")?.unlink("bytes")?;
        let data = f.group("layers")?.new_dataset::<f32>().chunk((64, 64)).shape(shape);
        data.create("bytes").map(drop)
    });
    let e = read_h5ad(&path).unwrap_err().to_string();
    assert!(e.contains("layers/bytes") && e.contains("claims"), "{e}");
}

#[test]
fn inconsistent_members_are_refused() {
    type Change = fn(&hdf5::File) -> hdf5::Result<()>;
    let cases: [(&str, Change); 5] = [
        ("layers/counts", |f| f.dataset("layers/counts/indices")?.write_raw(&[9i32; 6])),
        ("layers/counts", |f| f.dataset("layers/counts/indptr")?.write_raw(&[0i32, 5, 1, 6])),
        ("layers/counts/indptr", |f| {
            f.dataset("layers/counts/indptr")?.write_raw(&[0i32, -5, 1, 6])
        }),
        ("obs/layer/codes", |f| f.dataset("obs/layer/codes")?.write_raw(&[0i8, 1, 7, 0])),
        ("obs", |f| f.unlink("obs/area")),
    ];
    for (key, change) in cases {
        let (_dir, path) = write_everything();
        edit(&path, change);
        let e = read_h5ad(&path).unwrap_err().to_string();
        assert!(e.contains(&format!("`{key}`")), "{key}: {e}");
    }
}

/// Reads a damaged copy; whatever comes of it must be a value or an error.
fn try_read(path: &Path, bytes: &[u8]) -> bool {
    fs::write(path, bytes).unwrap();
    match read(path) {
        Ok(adata) => {
            adata.check().unwrap();
            adata.to_html();
            true
        }
        Err(e) => {
            assert!(!e.to_string().is_empty());
            false
        }
    }
}

#[test]
fn a_heap_without_end_is_refused() {
    let (_dir, path) = write_everything();
    let mut bytes = fs::read(&path).unwrap();
    let heap = bytes.windows(4).position(|w| w == b"GCOL").unwrap();
    bytes[heap + 16..heap + 32].fill(0);
    fs::write(&path, bytes).unwrap();
    // HDF5 is kept away from the heap; ours finds that the text is gone.
    let e = read_h5ad(&path).unwrap_err().to_string();
    assert!(e.contains("a text is not where it should be"), "{e}");
}

#[test]
fn a_text_attribute_longer_than_the_file_is_refused_before_memory_is_taken() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("a.h5ad");
    // The headers that h5py writes, which have no checksum to give it away.
    let file = hdf5::File::with_options().with_fapl(|p| p.libver_earliest()).create(&path).unwrap();
    say(&file, "/", "encoding-type", "anndata").unwrap();
    file.close().unwrap();
    let mut bytes = fs::read(&path).unwrap();
    // The attribute's message: version, flags, three sizes and the encoding of the name, then the
    // name, its type and its space.
    let name = bytes.windows(14).position(|w| w == b"encoding-type\0").unwrap();
    let head = name - 9;
    assert_eq!(bytes[head], 3, "another version of the message");
    let size = |i: usize| usize::from(bytes[head + i]);
    let length = name + size(2) + size(4) + size(6);
    assert_eq!(bytes[length..length + 4], 7u32.to_le_bytes(), "not the length of `anndata`");
    bytes[length..length + 4].fill(0xff);
    fs::write(&path, bytes).unwrap();
    let e = read_h5ad(&path).unwrap_err().to_string();
    assert!(e.contains("attribute `encoding-type`") && e.contains("longer than the file"), "{e}");
}

#[test]
fn a_text_longer_than_the_file_is_refused_before_memory_is_taken() {
    let (_dir, path) = write_everything();
    let file = hdf5::File::open(&path).unwrap();
    let chunk = file.dataset("uns/title").unwrap().offset().unwrap() as usize;
    drop(file);
    let mut bytes = fs::read(&path).unwrap();
    bytes[chunk..chunk + 4].fill(0xff);
    fs::write(&path, bytes).unwrap();
    let e = read_h5ad(&path).unwrap_err().to_string();
    assert!(e.contains("`uns/title`") && e.contains("longer than the file"), "{e}");
}

fn batter(original: &Path) {
    let bytes = fs::read(original).unwrap();
    let copy = original.with_file_name("damaged").with_extension(original.extension().unwrap());
    let mut refused = 0;
    for i in 0..60 {
        let cut = bytes.len() * i / 60;
        refused += usize::from(!try_read(&copy, &bytes[..cut]));
    }
    assert_eq!(refused, 60, "a truncated file was taken for whole");
    let mut rng = Rng::new(11);
    for _ in 0..150 {
        let mut bytes = bytes.clone();
        for _ in 0..1 + rng.next_u64() % 4 {
            let at = (rng.next_u64() as usize) % bytes.len();
            bytes[at] ^= 1 << (rng.next_u64() % 8);
        }
        try_read(&copy, &bytes);
    }
}

#[test]
fn damaged_h5ad_files_never_panic() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("a.h5ad");
    write_h5ad(&everything(), &path).unwrap();
    batter(&path);
}

#[test]
fn damaged_10x_files_never_panic() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("a.h5");
    write_10x(&path);
    assert_eq!(read(&path).unwrap().shape(), (3, 2));
    batter(&path);
}

/// A 10x file of version 3: three barcodes, three features of which two are genes.
fn write_10x(path: &Path) {
    use hdf5::types::FixedAscii;
    let file = hdf5::File::create(path).unwrap();
    let matrix = file.create_group("matrix").unwrap();
    let features = matrix.create_group("features").unwrap();
    let texts = |group: &hdf5::Group, name: &str, texts: &[&str]| {
        let texts: Vec<FixedAscii<20>> =
            texts.iter().map(|t| FixedAscii::from_ascii(t).unwrap()).collect();
        group.new_dataset_builder().with_data(&texts).create(name).unwrap();
    };
    texts(&matrix, "barcodes", &["AAA-1", "CCC-1", "GGG-1"]);
    texts(&features, "id", &["E1", "E2", "P1"]);
    texts(&features, "name", &["MBP", "MBP", "CD3"]);
    texts(&features, "genome", &["h", "h", ""]);
    let kinds = ["Gene Expression", "Gene Expression", "Antibody Capture"];
    texts(&features, "feature_type", &kinds);
    let ints = |name: &str, v: &[i32]| {
        matrix.new_dataset_builder().with_data(v).create(name).unwrap();
    };
    ints("data", &[5, 1, 7, 2]);
    ints("indices", &[0, 2, 1, 0]);
    ints("indptr", &[0, 2, 3, 4]);
    ints("shape", &[3, 3]);
}

#[test]
fn a_10x_file_with_a_shape_of_many_lengths_is_refused_in_few_words() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("a.h5");
    write_10x(&path);
    edit(&path, |f| {
        f.unlink("matrix/shape")?;
        let data = f.group("matrix")?.new_dataset::<i32>().chunk(1024).shape(1 << 20);
        data.create("shape").map(drop)
    });
    let e = read(&path).unwrap_err().to_string();
    assert!(e.contains("1048576 lengths") && e.len() < 500, "{e}");
}

#[test]
fn a_10x_file_is_read_as_scanpy_reads_it() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("a.h5");
    write_10x(&path);
    let a = read_10x_h5(&path).unwrap();
    assert_eq!(a.x().unwrap().to_array_f32(), array![[5., 0.], [0., 7.], [2., 0.]]);
    assert_eq!(a.x().unwrap().values().dtype(), "float32");
    assert_eq!(a.var.names(), ["MBP", "MBP"]);
    let all = TenxH5::default().gex_only(false).read(&path).unwrap();
    assert_eq!(all.shape(), (3, 3));
    let e = TenxH5::default().genome("m").read(&path).unwrap_err().to_string();
    assert!(e.contains("no genome `m`") && e.contains("h"), "{e}");
}

/// A Visium folder with the given table of positions.
fn visium(positions: &str) -> tempfile::TempDir {
    let dir = tempfile::tempdir().unwrap();
    write_10x(&dir.path().join("s1_filtered_feature_bc_matrix.h5"));
    let spatial = dir.path().join("spatial");
    fs::create_dir(&spatial).unwrap();
    fs::write(spatial.join("tissue_positions.csv"), positions).unwrap();
    let factors = r#"{"tissue_hires_scalef": 0.5, "tissue_lowres_scalef": 0.1,
        "spot_diameter_fullres": 90, "fiducial_diameter_fullres": 140.5}"#;
    fs::write(spatial.join("scalefactors_json.json"), factors).unwrap();
    let image = image::GrayImage::from_pixel(4, 3, image::Luma([200]));
    image.save(spatial.join("tissue_lowres_image.png")).unwrap();
    dir
}

const POSITIONS: &str =
    "TTT-1,0,0,0,1,2\nGGG-1,1,3,5,30,50\nAAA-1,1,1,2,10,20\nCCC-1,0,2,3,20,30\n";
const HEADER: &str =
    "barcode,in_tissue,array_row,array_col,pxl_row_in_fullres,pxl_col_in_fullres\n";

#[test]
fn positions_are_joined_by_barcode_with_and_without_header() {
    for table in [POSITIONS.to_string(), format!("{HEADER}{POSITIONS}")] {
        let dir = visium(&table);
        let a = read(dir.path()).unwrap();
        assert_eq!(
            a.obsm("spatial").unwrap().to_array_f64(),
            array![[20., 10.], [30., 20.], [50., 30.]]
        );
        assert_eq!(a.obsm("spatial").unwrap().values().dtype(), "int64");
        assert_eq!(a.obs_column("in_tissue").unwrap(), &Column::from(vec![1i64, 0, 1]));
        let id = dir.path().file_name().unwrap().to_string_lossy().into_owned();
        let library = a.uns["spatial"].at(&[&id]).unwrap();
        let Some(Value::Array { shape, .. }) = library.at(&["images", "lowres"]) else { panic!() };
        assert_eq!(shape, &[3, 4, 3]);
        assert!(library.at(&["images", "hires"]).is_none());
        let spot = library.at(&["scalefactors", "spot_diameter_fullres"]).unwrap();
        assert_eq!(spot.as_f64(), Some(90.0));
    }
}

/// The message of reading a Visium folder after a change to it.
fn message(change: impl FnOnce(&Path)) -> String {
    let dir = visium(POSITIONS);
    change(dir.path());
    read(dir.path()).unwrap_err().to_string()
}

#[test]
fn every_bad_visium_folder_has_its_own_message() {
    let spatial = |name: &'static str| move |p: &Path| p.join("spatial").join(name);
    let positions = spatial("tissue_positions.csv");
    let e = message(|p| fs::remove_file(positions(p)).unwrap());
    assert!(e.contains("no positions") && e.contains("tissue_positions_list.csv"), "{e}");
    let e = message(|p| fs::remove_dir_all(p.join("spatial")).unwrap());
    assert!(e.contains("no positions"), "{e}");
    let e = message(|p| fs::write(positions(p), "AAA-1,1,1,2,10,20\n").unwrap());
    assert!(e.contains("2 of 3 barcodes") && e.contains("`CCC-1`"), "{e}");
    let e = message(|p| fs::write(positions(p), format!("{POSITIONS}X-1,1,2\n")).unwrap());
    assert!(e.contains("line 5"), "{e}");
    let last = "in_tissue,array_row,array_col,pxl_row,pxl_col,barcode\n1,2,3,4,5\n";
    let e = message(|p| fs::write(positions(p), last).unwrap());
    assert!(e.contains("line 2"), "{e}");
    let e = message(|p| fs::write(positions(p), format!("{POSITIONS}X-1,1,2.5,3,4,5\n")).unwrap());
    assert!(e.contains("line 5"), "{e}");
    let e = message(|p| fs::write(positions(p), HEADER).unwrap());
    assert!(e.contains("no position in this file"), "{e}");
    let e = message(|p| fs::remove_file(p.join("s1_filtered_feature_bc_matrix.h5")).unwrap());
    assert!(e.contains("no matrix of counts") && e.contains("matrix.mtx.gz"), "{e}");
    let factors = spatial("scalefactors_json.json");
    let e = message(|p| fs::write(factors(p), "{\"tissue_hires_scalef\": ").unwrap());
    assert!(e.contains("malformed JSON"), "{e}");
    let e = message(|p| fs::write(factors(p), "{}").unwrap());
    assert!(e.contains("tissue_hires_scalef"), "{e}");
    let e = message(|p| fs::write(p.join("spatial/tissue_lowres_image.png"), "x").unwrap());
    assert!(e.contains("damaged image"), "{e}");
}

#[test]
fn every_bad_file_has_its_own_message() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("a.h5ad");
    fs::write(&path, "barcode,layer\n").unwrap();
    let e = read(&path).unwrap_err().to_string();
    assert!(e.contains("not an HDF5 file") && e.contains("text file"), "{e}");
    fs::write(&path, "").unwrap();
    assert!(read(&path).unwrap_err().to_string().contains("empty"));
    let e = read(dir.path().join("b.h5ad")).unwrap_err().to_string();
    assert!(e.contains("Did you mean `a.h5ad`"), "{e}");
    let e = read(dir.path()).unwrap_err().to_string();
    assert!(e.contains("not recognised") && e.contains("looked for"), "{e}");

    let whole = dir.path().join("whole.h5");
    write_10x(&whole);
    let bytes = fs::read(&whole).unwrap();
    fs::write(&path, &bytes[..bytes.len() / 2]).unwrap();
    let e = read(&path).unwrap_err().to_string();
    assert!(e.contains("cut short"), "{e}");
    let e = read_h5ad(&whole).unwrap_err().to_string();
    assert!(e.contains("not an h5ad file") && e.contains("read_10x_h5"), "{e}");
}

#[test]
fn a_sparse_matrix_keeps_unsorted_indices() {
    let values = Values::F64(vec![1.0, 2.0]);
    let x = Sparse::new((1, 3), true, vec![0, 2], vec![2, 0], values).unwrap();
    let a = AnnData::new(Matrix::Csr(x), Frame::with_len(1), Frame::with_len(3)).unwrap();
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("a.h5ad");
    write_h5ad(&a, &path).unwrap();
    assert_eq!(read_h5ad(&path).unwrap().x, a.x);
}
