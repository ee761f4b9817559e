//! Tests of the formats: files made here, and damaged copies of them.

use super::*;
use candle_core::DType;
use std::io::Write;
use std::path::PathBuf;
use tempfile::TempDir;

/// The pickle of `{"w": …, "b": …}` with tensors over the storages 0 and 1, by hand.
fn two_tensors(legacy: bool) -> Vec<u8> {
    let storage = |class: &str, key: u8, n: u8| {
        let view = if legacy { "N" } else { "" };
        format!("(Vstorage\nctorch\n{class}\nV{key}\nVcpu\nK{}{view}tQ", char::from(n)).into_bytes()
    };
    let mut out = b"\x80\x02}(".to_vec();
    // Six floats as 3 × 2, transposed: strides 1, 3.
    out.extend(b"Vw\nctorch._utils\n_rebuild_tensor_v2\n(");
    out.extend(storage("FloatStorage", 0, 6));
    out.extend(b"K\0(K\x03K\x02t(K\x01K\x03t\x89}tR");
    // Three longs behind the first one.
    out.extend(b"Vb\nctorch._utils\n_rebuild_tensor_v2\n(");
    out.extend(storage("LongStorage", 1, 4));
    out.extend(b"K\x01K\x03\x85K\x01\x85\x89}tRu.");
    out
}

pub(super) fn floats() -> Vec<u8> {
    (0..6).flat_map(|i| (i as f32).to_le_bytes()).collect()
}

fn longs() -> Vec<u8> {
    [9i64, -1, 2, i64::MAX].iter().flat_map(|i| i.to_le_bytes()).collect()
}

pub(super) fn archive(entries: &[(&str, &[u8])], deflated: bool) -> Vec<u8> {
    let mut zip = zip::ZipWriter::new(std::io::Cursor::new(Vec::new()));
    let method =
        if deflated { zip::CompressionMethod::Deflated } else { zip::CompressionMethod::Stored };
    for (name, bytes) in entries {
        let options = zip::write::SimpleFileOptions::default().compression_method(method);
        zip.start_file(*name, options).unwrap();
        zip.write_all(bytes).unwrap();
    }
    zip.finish().unwrap().into_inner()
}

fn torch_archive(pickle: &[u8], deflated: bool) -> Vec<u8> {
    let (floats, longs) = (floats(), longs());
    archive(&[("m/data.pkl", pickle), ("m/data/0", &floats), ("m/data/1", &longs)], deflated)
}

fn torch_legacy() -> Vec<u8> {
    let mut out = legacy::MAGIC.to_vec();
    out.extend(b"\x80\x02M\xe9\x03.\x80\x02}Vlittle_endian\n\x88s.");
    out.extend(two_tensors(true));
    out.extend(b"](V1\nV0\ne.");
    out.extend(4u64.to_le_bytes());
    out.extend(longs());
    out.extend(6u64.to_le_bytes());
    out.extend(floats());
    out
}

fn safetensors() -> Vec<u8> {
    let header = br#"{"b":{"dtype":"I64","shape":[3],"data_offsets":[0,24]},"w":{"dtype":"F32","shape":[3,2],"data_offsets":[24,48]}}"#;
    let mut out = (header.len() as u64).to_le_bytes().to_vec();
    out.extend(header);
    out.extend(&longs()[8..]);
    out.extend([0f32, 3., 1., 4., 2., 5.].iter().flat_map(|x| x.to_le_bytes()));
    out
}

pub(super) fn file(bytes: &[u8]) -> (TempDir, PathBuf) {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("a.pt");
    std::fs::write(&path, bytes).unwrap();
    (dir, path)
}

/// Reads everything there is to be read.
fn everything(bytes: &[u8]) -> Result<Vec<(String, Vec<f64>)>> {
    let (_dir, path) = file(bytes);
    everything_in(&path)
}

fn everything_in(path: &Path) -> Result<Vec<(String, Vec<f64>)>> {
    let checkpoint = read_checkpoint(path)?;
    let _ = (checkpoint.to_string(), checkpoint.at(&[])?.to_string());
    let weights = checkpoint.state_dict()?;
    let read = weights.read_all()?;
    let numbers = |name: &str| -> Vec<f64> {
        let tensor = read[name].to_dtype(DType::F64).and_then(|t| t.flatten_all()).unwrap();
        tensor.to_vec1().unwrap()
    };
    Ok(weights.names().map(|n| (n.to_string(), numbers(n))).collect())
}

pub(super) fn error(bytes: &[u8]) -> String {
    match everything(bytes) {
        Ok(read) => panic!("was read: {read:?}"),
        Err(e) => e.to_string(),
    }
}

#[test]
fn every_format_holds_the_same_tensors() {
    for bytes in [
        torch_archive(&two_tensors(false), false),
        torch_archive(&two_tensors(false), true),
        torch_legacy(),
        safetensors(),
    ] {
        let mut read = everything(&bytes).unwrap();
        read.sort_by(|a, b| a.0.cmp(&b.0));
        assert_eq!(read[0], ("b".into(), vec![-1., 2., i64::MAX as f64]));
        assert_eq!(read[1], ("w".into(), vec![0., 3., 1., 4., 2., 5.]));
    }
}

#[test]
fn damage_at_any_byte_is_an_error_that_names_the_file_or_no_matter() {
    let (_dir, path) = file(b"nothing yet");
    let check = |bytes: &[u8]| {
        // Over what is there: file systems take their time to cut a file down and fill it again.
        let mut file = std::fs::File::options().write(true).open(&path).unwrap();
        file.write_all(bytes).unwrap();
        file.set_len(bytes.len() as u64).unwrap();
        let Err(e) = everything_in(&path) else { return false };
        assert!(matches!(e, Error::Format { .. } | Error::Io { .. }), "{e:?}");
        assert!(e.to_string().contains("a.pt"), "{e}");
        true
    };
    for whole in [
        torch_archive(&two_tensors(false), false),
        torch_archive(&two_tensors(false), true),
        torch_legacy(),
        safetensors(),
    ] {
        let mut refused = 0;
        for at in 0..whole.len() {
            for change in [0x01, 0xff, whole[at]] {
                let mut copy = whole.clone();
                copy[at] ^= change;
                refused += usize::from(check(&copy));
            }
            assert!(check(&whole[..at]), "cut at {at}");
        }
        assert!(refused > whole.len(), "{refused}");
    }
}

#[test]
fn damaged_numbers_are_found_by_the_checksum() {
    for deflated in [false, true] {
        let whole = torch_archive(&two_tensors(false), deflated);
        let numbers = floats();
        let bytes = if deflated {
            let at = whole.windows(8).position(|w| w == b"m/data/0").unwrap() + 10;
            [&whole[..at], &[whole[at] ^ 0x10], &whole[at + 1..]].concat()
        } else {
            let at = whole.windows(24).position(|w| w == numbers).unwrap();
            [&whole[..at + 5], &[7], &whole[at + 6..]].concat()
        };
        let e = error(&bytes);
        assert!(e.contains("tensor `w`") && e.contains("damaged"), "{e}");
    }
}

#[test]
fn tensors_that_reach_beyond_the_file_are_refused() {
    let pickle = two_tensors(false);
    let changed = |from: &[u8], to: &[u8]| {
        let at = pickle.windows(from.len()).position(|w| w == from).unwrap();
        [&pickle[..at], to, &pickle[at + from.len()..]].concat()
    };
    for (from, to, reason) in [
        // More elements than the storage, by its shape, its strides, its start.
        (&b"(K\x03K\x02t"[..], &b"(K\x03K\x03t"[..], "reaches beyond"),
        (b"(K\x01K\x03t", b"(K\x01K\x04t", "reaches beyond"),
        (b"tQK\0", b"tQK\x01", "reaches beyond"),
        (b"(K\x03K\x02t", b"(J\xff\xff\xff\x7fJ\xff\xff\xff\x7ft", "reaches beyond"),
        (b"(K\x03K\x02t", b"(K\x03\x8a\x08\0\0\0\0\0\0\0\x40t", "reaches beyond"),
        (b"(K\x01K\x03t", b"(K\x01\x8a\x08\xff\xff\xff\xff\xff\xff\xff\x7ft", "reaches beyond"),
        // A storage that is larger than its entry, or has none.
        (b"cpu\nK\x06", b"cpu\nK\x60", "claims 384 bytes and has 24"),
        (b"V0\n", b"V7\n", "`7` is not in the file"),
        // What is no size at all.
        (b"(K\x03K\x02t", b"(J\xff\xff\xff\xffK\x02t", "no whole numbers"),
        (b"(K\x03K\x02t", b"(K\x06t", "no whole numbers"),
        (b"tQK\0", b"tQJ\xff\xff\xff\xff", "out of reach"),
        (b"FloatStorage", b"SomeStorage", "of the class `SomeStorage`"),
    ] {
        let e = error(&torch_archive(&changed(from, to), false));
        assert!(e.contains(reason), "{}: {e}", to.escape_ascii());
    }
    // An empty tensor needs nothing; one that repeats an element needs just that.
    let empty =
        everything(&torch_archive(&changed(b"(K\x03K\x02t", b"(K\0K\x02t"), false)).unwrap();
    assert_eq!(empty[0], ("w".into(), vec![]));
    let again = everything(&torch_archive(&changed(b"(K\x01K\x03t", b"(K\0K\0t"), false)).unwrap();
    assert_eq!(again[0], ("w".into(), vec![0.; 6]));
    // But not a million million times, unless somebody asks for that.
    let huge = changed(b"(K\x03K\x02t(K\x01K\x03t", b"(J\0\0\x10\0J\0\0\x10\0t(K\0K\0t");
    let e = error(&torch_archive(&huge, false));
    assert!(e.contains("its tensors would take"), "{e}");
}

#[test]
fn an_archive_that_inflates_without_end_is_refused() {
    let zeros = vec![0u8; 100 << 20];
    let bomb = archive(&[("m/data.pkl", &zeros)], true);
    assert!(bomb.len() < 200_000);
    let e = error(&bomb);
    assert!(e.contains("data.pkl") && e.contains("claims 104857600 bytes"), "{e}");
    let pickle = two_tensors(false);
    let at = pickle.windows(6).position(|w| w == b"cpu\nK\x06").unwrap();
    let large = [&pickle[..at], b"cpu\nJ\0\0\x80\x01", &pickle[at + 6..]].concat();
    let shape = b"(K\x03K\x02t(K\x01K\x03t";
    let at = large.windows(shape.len()).position(|w| w == shape).unwrap();
    let large = [&large[..at], b"J\0\0\x80\x01\x85K\x01\x85", &large[at + shape.len()..]].concat();
    let longs = longs();
    let bomb = archive(&[("m/data.pkl", &large), ("m/data/0", &zeros), ("m/data/1", &longs)], true);
    let e = error(&bomb);
    assert!(e.contains("its tensors would take"), "{e}");
    let (_dir, path) = file(&bomb);
    let weights = read_checkpoint(path).unwrap().state_dict().unwrap();
    assert_eq!(weights.take("w", &[25165824]).unwrap().dims(), [25165824]);
}

#[test]
fn what_is_no_file_of_weights_is_described() {
    let (floats, pickle) = (floats(), two_tensors(false));
    for (bytes, reason) in [
        (b"<!DOCTYPE html><html>".to_vec(), "it is a web page"),
        (b"\x80\x04\x95".to_vec(), "it is a pickle of Python, but not of torch.save"),
        (b"\x89HDF\r\n\x1a\n".to_vec(), "it is an HDF5 file"),
        (b"version https://git-lfs.github.com/spec/v1".to_vec(), "Git LFS pointer"),
        ([vec![0; 257], b"ustar  ".to_vec(), vec![0; 300]].concat(), "it is a tar archive"),
        (archive(&[("x.npy", &floats)], false), "a zip archive without data.pkl; it holds: x.npy"),
        (archive(&[("m/data.pkl", &pickle), ("m/byteorder", b"big")], false), "in the order `big`"),
        (
            archive(&[("m/data.pkl", b"}Vlr\nK\x01s.")], false),
            "no tensors: it is a dictionary of 1: lr",
        ),
        (archive(&[("m/data.pkl", b"cmy\nNet\n)\x81.")], false), "object of the class `my.Net`"),
        (archive(&[("m/data.pkl", b"K\x01.")], false), "a single value"),
        (vec![], "the file is empty"),
    ] {
        let e = error(&bytes);
        assert!(e.contains(reason), "{e}");
    }
    let e = read_checkpoint("/nowhere/a.pt").unwrap_err();
    assert!(matches!(e, Error::Io { .. }), "{e}");
}

#[test]
fn the_fingerprint_is_that_of_sha256sum() {
    let (_dir, path) = file(&safetensors());
    let checkpoint = read_checkpoint(&path).unwrap();
    // Python: hashlib.sha256 of the same bytes.
    let expected = "8717bcab7adfed75cd3cad63ed9453d53b2aeeb79760a928b1451731641e9370";
    assert_eq!(checkpoint.fingerprint().unwrap(), expected);
    // The open file stays what it was.
    std::fs::remove_file(&path).unwrap();
    std::fs::write(&path, "another").unwrap();
    assert_eq!(checkpoint.fingerprint().unwrap(), expected);
    assert_eq!(checkpoint.state_dict().unwrap().read_all().unwrap().len(), 2);
}

#[test]
fn types_without_a_counterpart_are_refused_by_name_when_they_are_asked_for() {
    let pickle = two_tensors(false);
    let at = pickle.windows(11).position(|w| w == b"LongStorage").unwrap();
    let complex = [&pickle[..at], b"ComplexFloatStorage", &pickle[at + 11..]].concat();
    let (_dir, path) = file(&torch_archive(&complex, false));
    let weights = read_checkpoint(&path).unwrap().state_dict().unwrap();
    assert_eq!(weights.info("b").unwrap().dtype, ElementType::Complex64);
    assert_eq!(weights.take("w", &[3, 2]).unwrap().dims(), [3, 2]);
    let e = weights.take("b", &[3]).unwrap_err().to_string();
    assert!(e.contains("tensor `b`: its elements are complex64"), "{e}");
}
