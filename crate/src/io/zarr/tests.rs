//! Stores made here, whole and damaged.

use super::*;
use crate::anndata::{Matrix, Value};
use crate::rng::Rng;
use serde_json::json;
use std::fs;
use std::path::PathBuf;

/// A store in a folder of its own, written file by file.
struct Made {
    dir: tempfile::TempDir,
}

impl Made {
    fn file(&self, key: &str, bytes: &[u8]) -> &Self {
        let path = self.dir.path().join(key);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, bytes).unwrap();
        self
    }

    fn json(&self, key: &str, json: Json) -> &Self {
        self.file(key, json.to_string().as_bytes())
    }

    fn group(&self, key: &str, attributes: Json) -> &Self {
        let key = if key.is_empty() { String::new() } else { format!("{key}/") };
        let meta = json!({"zarr_format": 3, "node_type": "group", "attributes": attributes});
        self.json(&format!("{key}zarr.json"), meta)
    }

    /// An array of one uncompressed chunk unless `change` says otherwise.
    fn array(&self, key: &str, shape: &[usize], dtype: &str, change: Json, chunk: &[u8]) -> &Self {
        let serial = if dtype == "string" { "vlen-utf8" } else { "bytes" };
        let mut meta = json!({
            "zarr_format": 3, "node_type": "array", "shape": shape, "data_type": dtype,
            "chunk_grid": {"name": "regular", "configuration": {"chunk_shape": shape}},
            "chunk_key_encoding": {"name": "default", "configuration": {"separator": "/"}},
            "fill_value": 0, "codecs": [{"name": serial}], "attributes": {},
        });
        for (name, value) in change.as_object().into_iter().flatten() {
            meta[name] = value.clone();
        }
        let place: String = shape.iter().map(|_| "/0").collect();
        self.json(&format!("{key}/zarr.json"), meta);
        self.file(&format!("{key}/c{place}"), chunk)
    }

    fn frame(&self, key: &str, names: &[&str]) -> &Self {
        let mut chunk = (names.len() as u32).to_le_bytes().to_vec();
        for name in names {
            chunk.extend((name.len() as u32).to_le_bytes());
            chunk.extend(name.as_bytes());
        }
        let kind = json!({"encoding-type": "dataframe", "encoding-version": "0.2.0",
                          "_index": "_index", "column-order": []});
        self.group(key, kind);
        self.array(&format!("{key}/_index"), &[names.len()], "string", json!({}), &chunk)
    }

    fn path(&self) -> PathBuf {
        self.dir.path().into()
    }
}

fn floats(values: &[f32]) -> Vec<u8> {
    values.iter().flat_map(|x| x.to_le_bytes()).collect()
}

/// Two observations, three variables, a dense X and an array in `uns`.
fn tiny() -> Made {
    let made = Made { dir: tempfile::tempdir().unwrap() };
    made.group("", json!({"encoding-type": "anndata", "encoding-version": "0.1.0"}));
    made.frame("obs", &["a", "é"]).frame("var", &["x", "y", "z"]);
    made.array("X", &[2, 3], "float32", json!({}), &floats(&[1., 2., 3., 4., 5., 6.]));
    made.group("uns", json!({}));
    made
}

/// The error of reading a store whose `uns/bad` was changed.
fn refusal(shape: &[usize], dtype: &str, change: Json, chunk: &[u8]) -> String {
    let made = tiny();
    made.array("uns/bad", shape, dtype, change, chunk);
    let e = read_zarr(made.path()).unwrap_err().to_string();
    assert!(e.contains("uns/bad"), "{e}");
    // The rest of the store is still to be had.
    read_zarr_with(made.path(), &ReadOptions::default().skip("uns/bad")).unwrap();
    e
}

#[test]
fn a_store_is_read_from_a_folder_and_from_an_archive_of_it() {
    let made = tiny();
    let adata = read_zarr(made.path()).unwrap();
    assert_eq!(adata.obs.names(), ["a", "é"]);
    assert_eq!(adata.x().unwrap().to_array_f32(), ndarray::array![[1f32, 2., 3.], [4., 5., 6.]]);
    assert_eq!(super::super::read(made.path()).unwrap(), adata);

    // With and without a folder around the store.
    for top in ["", "slide.zarr/"] {
        let path = made.path().join("a.zip");
        let mut zip = zip::ZipWriter::new(fs::File::create(&path).unwrap());
        for key in [
            "zarr.json",
            "obs/zarr.json",
            "obs/_index/zarr.json",
            "obs/_index/c/0",
            "var/zarr.json",
            "var/_index/zarr.json",
            "var/_index/c/0",
            "X/zarr.json",
            "X/c/0/0",
        ] {
            let method = match key.len() % 2 {
                0 => zip::CompressionMethod::Stored,
                _ => zip::CompressionMethod::Deflated,
            };
            let options = zip::write::SimpleFileOptions::default().compression_method(method);
            zip.start_file(format!("{top}{key}"), options).unwrap();
            let bytes = fs::read(made.path().join(key)).unwrap();
            std::io::Write::write_all(&mut zip, &bytes).unwrap();
        }
        // A name that leads out of the archive is never used as a path.
        let options = zip::write::SimpleFileOptions::default();
        zip.start_file("../outside/zarr.json", options).unwrap();
        zip.finish().unwrap();
        assert_eq!(super::super::read(&path).unwrap(), adata);
        let mut bytes = fs::read(&path).unwrap();
        bytes.truncate(bytes.len() / 2);
        fs::write(&path, bytes).unwrap();
        assert!(read_zarr(&path).unwrap_err().to_string().contains("cut short"));
    }
}

#[test]
fn version_2_is_read_with_its_orders_and_separators() {
    let made = tiny();
    let array = json!({"zarr_format": 2, "shape": [2, 3], "chunks": [2, 2], "dtype": ">i2",
        "compressor": null, "filters": null, "order": "F", "fill_value": -1,
        "dimension_separator": "/"});
    made.json("uns/old/.zarray", array).json("uns/old/.zattrs", json!({}));
    let numbers: Vec<u8> = [1i16, 3, 2, 4].iter().flat_map(|x| x.to_be_bytes()).collect();
    made.file("uns/old/0/0", &numbers);
    let adata = read_zarr(made.path()).unwrap();
    let expected = Value::Array { shape: vec![2, 3], values: vec![1i16, 2, -1, 3, 4, -1].into() };
    assert_eq!(adata.uns["old"], expected);
}

#[test]
fn what_is_not_stored_has_the_fill_value() {
    let made = tiny();
    made.array("uns/a", &[3], "float32", json!({"fill_value": "NaN"}), b"");
    fs::remove_file(made.path().join("uns/a/c/0")).unwrap();
    // 01 and +1 are not keys of chunks, nor is a chunk outside of the array.
    for stray in ["uns/a/c/00", "uns/a/c/+0", "uns/a/c/7", "uns/a/c/x"] {
        made.file(stray, b"stray");
    }
    let Value::Array { values, .. } = &read_zarr(made.path()).unwrap().uns["a"] else { panic!() };
    assert!(values.len() == 3 && values.get_f64(0).is_nan());
}

#[test]
fn sizes_that_are_merely_claimed_are_not_believed() {
    let e = refusal(&[1 << 40], "uint8", json!({}), b"");
    assert!(e.contains("only 0 are stored"), "{e}");
    let e = refusal(&[1 << 40, 1 << 40], "uint8", json!({}), b"");
    assert!(e.contains("absurd shape"), "{e}");
    // A chunk far larger than its array, and than what is stored.
    let grid = json!({"name": "regular", "configuration": {"chunk_shape": [1u64 << 60]}});
    let e = refusal(&[3], "float64", json!({"chunk_grid": grid}), b"12");
    assert!(e.contains("chunk `c/0`"), "{e}");
    let e = refusal(&[1 << 27], "string", json!({}), b"");
    assert!(e.contains("claims"), "{e}");
    let e = refusal(&[2], "string", json!({}), b"\xff\xff\xff\xff");
    assert!(e.contains("4294967295 texts"), "{e}");
}

#[test]
fn damaged_chunks_are_refused_with_their_key() {
    let zstd = json!({"codecs": [{"name": "bytes"}, {"name": "zstd"}]});
    assert!(refusal(&[2], "int32", zstd, b"not zstd").contains("damaged zstd"));
    assert!(refusal(&[2], "int32", json!({}), b"1234567").contains("7 bytes"));
    let sum = json!({"codecs": [{"name": "bytes"}, {"name": "crc32c"}]});
    assert!(refusal(&[2], "uint8", sum, b"\x01\x02\0\0\0\0").contains("CRC32C"));
    let shard = json!({"codecs": [{"name": "sharding_indexed", "configuration": {
        "chunk_shape": [1], "codecs": [{"name": "bytes"}], "index_codecs": [{"name": "bytes"}]}}]});
    assert!(refusal(&[2], "uint8", shard.clone(), b"short").contains("too short"));
    let mut outside = vec![0; 32];
    outside[0] = 200;
    outside[8] = 1;
    assert!(refusal(&[2], "uint8", shard.clone(), &outside).contains("outside the shard"));
    assert!(refusal(&[3], "string", json!({}), b"\x03\0\0\0\x09\0\0\0abc").contains("cut short"));
    // What is not supported says so.
    assert!(refusal(&[2], "complex64", json!({}), b"").contains("complex64"));
    let magic = json!({"codecs": [{"name": "bytes"}, {"name": "magic"}]});
    assert!(refusal(&[2], "uint8", magic, b"").contains("`magic`"));
}

#[test]
fn chunks_that_reach_over_their_shard_are_refused() {
    let inner = json!({"chunk_shape": [2], "codecs": [{"name": "bytes"}],
                       "index_codecs": [{"name": "bytes"}]});
    let codecs = json!({"codecs": [{"name": "sharding_indexed", "configuration": inner}]});
    assert!(refusal(&[3], "uint8", codecs, &[0; 64]).contains("in a shard of shape [3]"));
}

#[test]
fn keys_do_not_lead_out_of_the_store() {
    let made = tiny();
    let outside = made.path().join("outside");
    let store = outside.join("store.zarr");
    for (from, to) in [("", "store.zarr"), ("obs", "store.zarr/obs"), ("obs/_index", "secret")] {
        fs::create_dir_all(outside.join(to)).unwrap();
        let _ =
            fs::copy(made.path().join(from).join("zarr.json"), outside.join(to).join("zarr.json"));
    }
    let root = open(&store).unwrap();
    for name in ["../secret", "obs/../../secret", "..", "", ".", "obs//_index", "/obs"] {
        assert!(!root.contains(name) && root.get(name).is_err(), "{name}");
    }
}

#[test]
fn metadata_that_is_none_is_refused() {
    let cases: [(&str, &[u8], &str); 6] = [
        ("zarr.json", b"{", "not JSON"),
        ("zarr.json", b"{\"zarr_format\": 4}", "version 4"),
        ("zarr.json", b"{\"zarr_format\": 3, \"node_type\": \"x\"}", "neither group nor array"),
        ("X/zarr.json", b"[]", "version null"),
        (
            "uns/zarr.json",
            b"{\"zarr_format\":3,\"node_type\":\"group\",\"attributes\":1}",
            "object",
        ),
        ("obs/_index/zarr.json", b"{\"zarr_format\":3,\"node_type\":\"array\"}", "list of lengths"),
    ];
    for (key, bytes, words) in cases {
        let made = tiny();
        made.file(key, bytes);
        let e = read_zarr(made.path()).unwrap_err().to_string();
        assert!(e.contains(words) && e.contains(key), "{key}: {e}");
    }
    let made = tiny();
    made.file("zarr.json", "[".repeat(100_000).as_bytes());
    assert!(read_zarr(made.path()).unwrap_err().to_string().contains("not JSON"));
    let empty = tempfile::tempdir().unwrap();
    let e = read_zarr(empty.path()).unwrap_err().to_string();
    assert!(e.contains("neither zarr.json nor .zgroup"), "{e}");
}

#[test]
fn groups_nested_too_deep_are_refused() {
    let made = tiny();
    let mut key = "uns".to_string();
    for _ in 0..60 {
        key.push_str("/a");
        made.group(&key, json!({}));
    }
    assert!(read_zarr(made.path()).unwrap_err().to_string().contains("nested too deep"));
}

#[test]
fn damaged_stores_never_panic() {
    let made = tiny();
    let shard = json!({"codecs": [{"name": "sharding_indexed", "configuration": {
        "chunk_shape": [2], "codecs": [{"name": "bytes"}, {"name": "zstd"}],
        "index_codecs": [{"name": "bytes"}, {"name": "crc32c"}]}}]});
    made.array("uns/shard", &[4], "int16", shard, &[7; 60]);
    let blosc = json!({"codecs": [{"name": "bytes"}, {"name": "blosc"}]});
    // Two blocks of LZ4, shuffled.
    let mut chunk = vec![2, 1, 0x21, 2];
    [16u32, 8, 60, 24, 40, 4, 4].iter().for_each(|n| chunk.extend(n.to_le_bytes()));
    chunk.resize(60, 0x10);
    made.array("uns/blosc", &[8], "int16", blosc, &chunk);
    let files = [
        "zarr.json",
        "obs/zarr.json",
        "X/zarr.json",
        "X/c/0/0",
        "uns/shard/zarr.json",
        "uns/shard/c/0",
        "uns/blosc/c/0",
        "obs/_index/c/0",
    ];
    let whole = files.map(|f| fs::read(made.path().join(f)).unwrap());
    let mut rng = Rng::new(7);
    for round in 0..600 {
        let i = round % files.len();
        let mut bytes = whole[i].clone();
        for _ in 0..1 + rng.below(3) {
            let at = rng.below(bytes.len());
            bytes[at] = rng.below(256) as u8;
        }
        if rng.below(4) == 0 {
            bytes.truncate(rng.below(bytes.len()));
        }
        made.file(files[i], &bytes);
        if let Ok(adata) = read_zarr(made.path()) {
            adata.check().unwrap();
        }
        made.file(files[i], &whole[i]);
    }
}

#[test]
fn a_sparse_matrix_is_the_same_in_a_store() {
    let made = tiny();
    let kind = json!({"encoding-type": "csr_matrix", "encoding-version": "0.1.0", "shape": [2, 3]});
    made.group("layers", json!({})).group("layers/counts", kind);
    let ints = |v: &[i32]| v.iter().flat_map(|x| x.to_le_bytes()).collect::<Vec<u8>>();
    made.array("layers/counts/indptr", &[3], "int32", json!({}), &ints(&[0, 1, 2]));
    made.array("layers/counts/indices", &[2], "int32", json!({}), &ints(&[2, 0]));
    made.array("layers/counts/data", &[2], "float32", json!({}), &floats(&[5., 7.]));
    let adata = read_zarr(made.path()).unwrap();
    let counts = adata.layer("counts").unwrap();
    assert!(matches!(counts, Matrix::Csr(_)));
    assert_eq!(counts.to_array_f32(), ndarray::array![[0f32, 0., 5.], [7., 0., 0.]]);
}
