//! What the end-to-end tests share: the stored reference numbers and how they are compared.
//!
//! `tests/golden/<method>/<case>.safetensors.gz` holds numbers that the reference's own Python
//! computed; the `.meta.json` beside each says how, with which versions, what each tensor means,
//! and at which tolerance it must be met. [`golden`] reads a case, [`compare`] checks against it.

pub mod notebooks;
pub mod pictures;

use flate2::read::GzDecoder;
use ndarray::{Array2, ArrayD, IxDyn};
use rayon::prelude::*;
use safetensors::{Dtype, SafeTensors};
use std::collections::{BTreeMap, HashMap};
use std::ffi::OsStr;
use std::io::Read;
use std::path::{Path, PathBuf};
use std::process::Command;

/// A program named by an environment variable. Without it the test `name` prints why it is skipped.
pub fn program(name: &str, variable: &str, why: &str) -> Option<PathBuf> {
    let path = std::env::var_os(variable).map(PathBuf::from);
    if path.is_none() {
        println!("SKIPPED: {name}: {why}");
    }
    path
}

/// Whether tests that repeat a long run over many seeds or slides do all of it (`SPATIALKIT_THOROUGH`); if not,
/// the test `name` prints what it leaves out.
pub fn thorough(name: &str, left_out: &str) -> bool {
    let all = std::env::var_os("SPATIALKIT_THOROUGH").is_some_and(|v| !v.is_empty() && v != "0");
    if !all {
        println!("SKIPPED: {name}: {left_out} (SPATIALKIT_THOROUGH=1 runs it)");
    }
    all
}

/// The device that golden numbers are checked on: the GPU of a build that has one, or what
/// `SPATIALKIT_DEVICE` names.
///
/// # Panics
/// When that device cannot be used.
pub fn device() -> candle_core::Device {
    // One for all tests: tensors of two openings of a GPU cannot be used together.
    static DEVICE: std::sync::OnceLock<candle_core::Device> = std::sync::OnceLock::new();
    DEVICE.get_or_init(|| spatialkit::nn::Device::Auto.open().expect("the device opens")).clone()
}

/// The project's Python environment: `SPATIALKIT_PYTHON`, set by `cargo xtask test`.
pub fn python(name: &str) -> Option<PathBuf> {
    program(name, "SPATIALKIT_PYTHON", "no Python environment (`cargo xtask test` sets one up)")
}

/// Runs a script of `tests/python`, and says what it printed.
///
/// # Panics
/// With what it printed, when it fails.
pub fn script<A: AsRef<OsStr>>(python: &Path, name: &str, args: &[A]) -> String {
    let script = notebooks::workspace().join("tests/python").join(name);
    let out = Command::new(python).arg(script).args(args).output().expect("python starts");
    let text = String::from_utf8_lossy(&out.stdout).into_owned();
    assert!(out.status.success(), "{name}: {text}{}", String::from_utf8_lossy(&out.stderr));
    println!("{text}");
    text
}

/// A file or folder below `SPATIALKIT_SHARED` (default `../shared`, beside the workspace), where
/// real slides lie. Without it the test `name` prints that it is skipped.
pub fn shared(name: &str, path: &str) -> Option<PathBuf> {
    let default = || notebooks::workspace().join("../shared");
    let root = std::env::var_os("SPATIALKIT_SHARED").map_or_else(default, PathBuf::from);
    let path = root.join(path);
    if !path.exists() {
        println!("SKIPPED: {name}: no {}", path.display());
        return None;
    }
    Some(path)
}

/// The tensors of one stored case, by name.
pub struct Golden {
    /// Where its description lies.
    meta: PathBuf,
    case: String,
    tensors: BTreeMap<String, Tensor>,
}

enum Tensor {
    Float(ArrayD<f64>),
    Int(ArrayD<i64>),
}

/// The folder of the stored cases.
pub fn golden_dir() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("golden")
}

/// Reads `tests/golden/<case>.safetensors.gz`, e.g. `golden("stamgc/a4_pseudo_labels")`.
///
/// # Panics
/// When the file is missing or malformed: then the checkout is broken, not the code under test.
pub fn golden(case: &str) -> Golden {
    let path = golden_dir().join(format!("{case}.safetensors.gz"));
    let packed = std::fs::read(&path).unwrap_or_else(|e| panic!("{}: {e}", path.display()));
    let mut bytes = Vec::new();
    GzDecoder::new(&packed[..]).read_to_end(&mut bytes).expect("a golden file is valid gzip");
    parsed(case, &bytes, golden_dir().join(format!("{case}.meta.json")))
}

/// A case that is too large to be stored with the tests: `golden/<case>.safetensors` below the folder of
/// [`shared`]. Without it the test `name` prints that it is skipped.
///
/// # Panics
/// When the file is malformed.
pub fn large_golden(name: &str, case: &str) -> Option<Golden> {
    let path = shared(name, &format!("golden/{case}.safetensors"))?;
    let bytes = std::fs::read(&path).unwrap_or_else(|e| panic!("{}: {e}", path.display()));
    Some(parsed(case, &bytes, path.with_extension("meta.json")))
}

fn parsed(case: &str, bytes: &[u8], meta: PathBuf) -> Golden {
    let file = SafeTensors::deserialize(bytes).expect("a golden file is valid safetensors");
    let tensors = file.iter().map(|(name, view)| (name.to_string(), tensor(&view))).collect();
    Golden { meta, case: case.into(), tensors }
}

fn tensor(view: &safetensors::tensor::TensorView) -> Tensor {
    fn numbers<const N: usize, T>(bytes: &[u8], read: impl Fn([u8; N]) -> T) -> Vec<T> {
        bytes.as_chunks::<N>().0.iter().map(|&b| read(b)).collect()
    }
    let (shape, data) = (IxDyn(view.shape()), view.data());
    let float = |v: Vec<f64>| Tensor::Float(ArrayD::from_shape_vec(shape.clone(), v).unwrap());
    let int = |v: Vec<i64>| Tensor::Int(ArrayD::from_shape_vec(shape.clone(), v).unwrap());
    match view.dtype() {
        Dtype::F32 => float(numbers(data, |b| f64::from(f32::from_le_bytes(b)))),
        Dtype::F64 => float(numbers(data, f64::from_le_bytes)),
        Dtype::U8 => int(data.iter().map(|&b| i64::from(b)).collect()),
        Dtype::I32 => int(numbers(data, |b| i64::from(i32::from_le_bytes(b)))),
        Dtype::I64 => int(numbers(data, i64::from_le_bytes)),
        other => panic!("golden files have no {other:?} tensors"),
    }
}

impl Golden {
    /// The names of all tensors.
    pub fn names(&self) -> impl Iterator<Item = &str> {
        self.tensors.keys().map(String::as_str)
    }

    fn get(&self, name: &str) -> &Tensor {
        self.tensors.get(name).unwrap_or_else(|| panic!("{} has no tensor {name}", self.case))
    }

    /// A tensor of floating-point or whole numbers as `f64`.
    pub fn f64(&self, name: &str) -> ArrayD<f64> {
        match self.get(name) {
            Tensor::Float(a) => a.clone(),
            Tensor::Int(a) => a.mapv(|x| x as f64),
        }
    }

    /// A tensor as `f32`; exact where it was stored as `f32`.
    pub fn f32(&self, name: &str) -> ArrayD<f32> {
        self.f64(name).mapv(|x| x as f32)
    }

    /// A matrix as `f64`.
    pub fn matrix(&self, name: &str) -> Array2<f64> {
        self.f64(name).into_dimensionality().unwrap_or_else(|_| panic!("{name} is no matrix"))
    }

    /// A matrix as `f32`.
    pub fn matrix_f32(&self, name: &str) -> Array2<f32> {
        self.matrix(name).mapv(|x| x as f32)
    }

    /// All elements as `f64`, row-major.
    pub fn vec(&self, name: &str) -> Vec<f64> {
        self.f64(name).into_iter().collect()
    }

    /// The single element of a scalar.
    pub fn scalar(&self, name: &str) -> f64 {
        let v = self.vec(name);
        assert_eq!(v.len(), 1, "{name} is no scalar");
        v[0]
    }

    /// All elements of a tensor of whole numbers (booleans are stored as 0 and 1), row-major.
    pub fn ints(&self, name: &str) -> Vec<i64> {
        match self.get(name) {
            Tensor::Int(a) => a.iter().copied().collect(),
            Tensor::Float(_) => panic!("{name} does not hold whole numbers"),
        }
    }

    /// A mask.
    pub fn mask(&self, name: &str) -> Vec<bool> {
        self.ints(name).iter().map(|&x| x != 0).collect()
    }

    /// The case's description: hyper-parameters, gene names, tolerance.
    pub fn meta(&self) -> serde_json::Value {
        let path = &self.meta;
        let text = std::fs::read(path).unwrap_or_else(|e| panic!("{}: {e}", path.display()));
        serde_json::from_slice(&text).expect("a meta file is valid JSON")
    }

    /// A list of texts of the description, e.g. gene names.
    pub fn meta_strings(&self, key: &str) -> Vec<String> {
        let meta = self.meta();
        let list = meta[key].as_array().unwrap_or_else(|| panic!("no list {key}"));
        list.iter().map(|s| s.as_str().expect("a text").to_string()).collect()
    }
}

/// The uniform number that the golden files' formulas make of element `i` of tensor `p`.
pub fn splitmix(i: u64, p: u64) -> f64 {
    let mut z = i.wrapping_add(p << 32).wrapping_add(0x9e37_79b9_7f4a_7c15);
    z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    ((z ^ (z >> 31)) >> 11) as f64 / (1u64 << 53) as f64
}

/// The weights of a model that are given by a formula, `sin` or `splitmix`, as far as they are `wanted`;
/// `meta["params"]` lists all of them with their numbers, shapes and rules.
///
/// # Panics
/// When the list is malformed.
pub fn formula(
    meta: &serde_json::Value,
    kind: &str,
    wanted: impl Fn(&str) -> bool,
) -> HashMap<String, candle_core::Tensor> {
    let mut all = HashMap::new();
    for param in meta["params"].as_array().expect("a list of parameters") {
        let name = param["name"].as_str().expect("a name");
        if !wanted(name) {
            continue;
        }
        let p = param["p"].as_u64().expect("a number");
        let shape = param["shape"].as_array().expect("a shape").iter();
        let shape: Vec<usize> = shape.map(|n| n.as_u64().expect("a size") as usize).collect();
        let rule = param["rule"].as_str().expect("a rule");
        let value = |i: u64| {
            let v = match kind {
                "sin" => 0.02 * (0.37 * i as f64 + 1.3 * p as f64).sin(),
                _ => 0.04 * (2.0 * splitmix(i, p) - 1.0),
            };
            match rule {
                "plain" => v as f32,
                "one_plus" => (1.0 + v) as f32,
                "var" => (1.0 + 0.1 * v.abs()) as f32,
                "zero" => 0.0,
                other => panic!("no rule {other}"),
            }
        };
        let count = shape.iter().product::<usize>() as u64;
        let values: Vec<f32> = (0..count).into_par_iter().map(value).collect();
        let tensor = candle_core::Tensor::from_vec(values, shape, &candle_core::Device::Cpu);
        all.insert(name.to_string(), tensor.expect("the shape holds the values"));
    }
    all
}

/// How far numbers may be apart: `|got - expected| ≤ abs + rel · |expected|`.
#[derive(Debug, Clone, Copy)]
pub struct Tol {
    /// Absolute part.
    pub abs: f64,
    /// Relative part.
    pub rel: f64,
}

/// An absolute tolerance.
pub fn abs(abs: f64) -> Tol {
    Tol { abs, rel: 0.0 }
}

/// A relative tolerance.
pub fn rel(rel: f64) -> Tol {
    Tol { abs: 0.0, rel }
}

/// Compares numbers one by one, prints the largest difference beside the tolerance, and fails on
/// the first that is too far off. NaN equals NaN only.
///
/// # Panics
/// When lengths differ or a difference exceeds the tolerance.
pub fn compare<A, B>(
    what: &str,
    got: impl IntoIterator<Item = A>,
    expected: impl IntoIterator<Item = B>,
    tol: Tol,
) where
    A: Into<f64>,
    B: Into<f64>,
{
    let got: Vec<f64> = got.into_iter().map(Into::into).collect();
    let expected: Vec<f64> = expected.into_iter().map(Into::into).collect();
    assert_eq!(got.len(), expected.len(), "{what}: number of elements");
    let (mut worst_abs, mut worst_rel) = (0f64, 0f64);
    let mut bad = None;
    for (i, (&g, &e)) in got.iter().zip(&expected).enumerate() {
        if g.is_nan() && e.is_nan() || g == e {
            continue;
        }
        let d = (g - e).abs();
        worst_abs = worst_abs.max(d);
        worst_rel = worst_rel.max(if e == 0.0 { d } else { d / e.abs() });
        let within = d <= tol.abs + tol.rel * e.abs();
        if !within && bad.is_none() {
            bad = Some(format!("element {i}: {g} is not {e}"));
        }
    }
    let allowed = match (tol.abs, tol.rel) {
        (a, 0.0) => format!("abs {a:.0e}"),
        (0.0, r) => format!("rel {r:.0e}"),
        (a, r) => format!("abs {a:.0e} + rel {r:.0e}"),
    };
    println!(
        "{what:<44} {:>8} numbers  largest difference abs {worst_abs:.1e} rel {worst_rel:.1e}  \
         tolerance {allowed}",
        got.len()
    );
    if let Some(bad) = bad {
        panic!("{what}: {bad} (tolerance {allowed})");
    }
}

/// Real h5ad files, one or more of every writer.
pub const H5AD: [&str; 12] = [
    "fixtures/anndata_archives/v0.5.0/adata.h5ad",
    "fixtures/anndata_archives/v0.7.0/adata.h5ad",
    "fixtures/anndata_archives/v0.7.8/adata.h5ad",
    "fixtures/anndata_archives/v0.11.4/adata.h5ad",
    "fixtures/anndataR/example.h5ad",
    "fixtures/anndata_rs/sample.h5ad",
    "fixtures/squidpy/test_data.h5ad",
    "fixtures/zellkonverter/example_anndata.h5ad",
    "fixtures/zellkonverter/krumsiek11.h5ad",
    "fixtures/zellkonverter/krumsiek11_augmented_v0-8.h5ad",
    "dlpfc/dlpfc_151673_5000g.h5ad",
    "dlpfc/dlpfc_151675_5000g.h5ad",
];
