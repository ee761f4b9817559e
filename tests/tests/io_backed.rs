//! Parts of files against anndata's backed mode, blocks and totals against the whole, and h5ad and
//! 10x files that are rare in the field.

use spatialkit::anndata::Select;
use spatialkit::io::{self, ReadOptions, TenxH5};
use spatialkit_tests::{H5AD, python, script, shared};
use std::path::PathBuf;

fn files(test: &str) -> Vec<PathBuf> {
    let Some(data) = shared(test, "data") else { return vec![] };
    let (there, missing): (Vec<_>, Vec<_>) =
        H5AD.iter().map(|f| data.join(f)).partition(|p| p.is_file());
    missing.iter().for_each(|p| println!("SKIPPED: {test}: no {}", p.display()));
    there
}

#[test]
fn parts_are_the_slices_of_anndatas_backed_mode() {
    let test = "parts_are_the_slices_of_anndatas_backed_mode";
    let Some(python) = python(test) else { return };
    let dir = tempfile::tempdir().unwrap();
    let mut args = Vec::new();
    for (i, path) in files(test).into_iter().enumerate() {
        let file = io::open_h5ad(&path).unwrap_or_else(|e| panic!("{e}"));
        let (n, m) = file.shape();
        let rows: Select = (n / 4..n * 3 / 4).step_by(3).collect::<Vec<_>>().into();
        let columns: Select = (0..m).step_by(7).collect::<Vec<_>>().into();
        args.push(path);
        for (j, part) in [
            file.read_rows(rows.clone()),
            file.read_columns(columns.clone()),
            file.select(rows, columns),
        ]
        .into_iter()
        .enumerate()
        {
            let out = dir.path().join(format!("{i}-{j}.h5ad"));
            io::write_h5ad(&part.unwrap_or_else(|e| panic!("{e}")), &out).unwrap();
            args.push(out);
        }
    }
    script(&python, "io_backed.py", &args);
}

#[test]
fn blocks_and_totals_are_those_of_the_whole() {
    for path in files("blocks_and_totals_are_those_of_the_whole") {
        let file = io::open_h5ad(&path).unwrap();
        assert!(file.summary().unwrap().to_string().contains("observations"));
        let Some(x) = file.to_memory().unwrap().x else { continue };
        let x = x.to_array_f64();
        let mut next = 0;
        for block in file.x_blocks(97).unwrap() {
            let block = block.unwrap_or_else(|e| panic!("{e}"));
            assert_eq!(block.rows.start, next);
            next = block.rows.end;
            let same = block.x.to_array_f64() == x.slice(ndarray::s![block.rows.clone(), ..]);
            assert!(same, "{} rows {:?}", path.display(), block.rows);
        }
        assert_eq!(next, x.nrows());
        let totals = file.totals().unwrap();
        for (found, expected) in [
            (&totals.total_counts, x.sum_axis(ndarray::Axis(1))),
            (&totals.var_total_counts, x.sum_axis(ndarray::Axis(0))),
        ] {
            let near = |(a, b): (&f64, &f64)| (a - b).abs() <= 1e-9 * b.abs().max(1.0);
            assert!(found.iter().zip(&expected).all(near), "{}", path.display());
        }
        println!("equal {}: {} blocks", path.display(), x.nrows().div_ceil(97));
    }
}

#[test]
fn each_genome_of_a_file_is_what_scanpy_reads() {
    let test = "each_genome_of_a_file_is_what_scanpy_reads";
    let file = "data/fixtures/scanpy_10x_data/1.2.0/multiple_genomes.h5";
    let (Some(python), Some(path)) = (python(test), shared(test, file)) else { return };
    let e = io::read_10x_h5(&path).unwrap_err().to_string();
    assert!(e.contains("several genomes") && e.contains("TenxH5::default().genome("), "{e}");
    let names = e.split("several genomes: ").nth(1).and_then(|t| t.split('.').next()).unwrap();
    let dir = tempfile::tempdir().unwrap();
    let mut args = vec![PathBuf::from("genome")];
    for name in names.split(", ") {
        let adata = TenxH5::default().genome(name).read(&path).unwrap();
        let out = dir.path().join(format!("{name}.h5ad"));
        io::write_h5ad(&adata, &out).unwrap();
        args.extend([PathBuf::from(name), path.clone(), out]);
    }
    assert_eq!(args.len(), 7, "two genomes");
    script(&python, "io_odd.py", &args);
    let e = TenxH5::default().genome("mars").read(&path).unwrap_err().to_string();
    assert!(e.contains("no genome `mars`"), "{e}");
}

#[test]
fn rare_files_are_read_or_refused_by_name() {
    let Some(python) = python("rare_files_are_read_or_refused_by_name") else { return };
    let dir = tempfile::tempdir().unwrap();
    script(&python, "io_odd.py", &["make".as_ref(), dir.path()]);
    let at = |name: &str| dir.path().join(name).with_extension("h5ad");

    // Compressed as h5py can, and text columns of both kinds: the same after rewriting.
    let mut pairs = Vec::new();
    for name in ["lzf", "strings"] {
        let out = at(&format!("{name}-again"));
        io::write_h5ad(&io::read_h5ad(at(name)).unwrap(), &out).unwrap();
        pairs.extend([at(name), out]);
    }
    let part = io::open_h5ad(at("lzf")).unwrap().read_rows(3..9).unwrap();
    assert_eq!(part.x, io::read_h5ad(at("lzf")).unwrap().select(3..9, ..).unwrap().x);
    script(&python, "io_roundtrip.py", &pairs);

    let e = io::read_h5ad(at("zstd")).unwrap_err().to_string();
    assert!(e.contains("`X`") && e.contains("32015") && e.contains("gzip"), "{e}");

    for (name, key, words) in
        [("axes", "obsm/tiles", "[40, 3, 2]"), ("awkward", "obsm/lists", "awkward array")]
    {
        let e = io::read_h5ad(at(name)).unwrap_err().to_string();
        assert!(e.contains(words) && e.contains(&format!(".skip(\"{key}\")")), "{e}");
        let options = ReadOptions::default().skip(key);
        let rest = io::read_h5ad_with(at(name), &options).unwrap();
        assert_eq!(rest.shape(), (40, 300));
        let part = io::open_h5ad_with(at(name), &options).unwrap().read_rows(0..4).unwrap();
        assert_eq!(part.shape(), (4, 300));
        // Half precision is held as single: the same numbers.
        if let Some(half) = rest.obsm.get("half") {
            let expected = half::values();
            assert_eq!(half.to_array_f64().iter().copied().collect::<Vec<_>>(), expected);
        }
    }
}

/// What numpy holds in half precision.
mod half {
    /// `linspace(0, 1, 80)` rounded to eleven bits, ties to even.
    pub fn values() -> Vec<f64> {
        (0..80).map(|i| round(f64::from(i) / 79.0)).collect()
    }

    fn round(x: f64) -> f64 {
        if x == 0.0 {
            return 0.0;
        }
        let step = 2f64.powi(x.log2().floor() as i32 - 10);
        (x / step).round_ties_even() * step
    }
}
