//! Parts, blocks, totals and summaries of files that are not read whole.

use super::*;
use crate::anndata::{Categorical, Dense, Frame, Matrix, Raw, Select, Value, Values};
use crate::rng::Rng;
use std::path::PathBuf;

const ROWS: usize = 613;
const COLUMNS: usize = 157;

/// Something in every slot that has an axis.
fn slide(form: impl Fn(Matrix) -> Matrix) -> AnnData {
    let mut rng = Rng::new(3);
    let mut random = |n: usize, m: usize| {
        let values = (0..n * m).map(|_| (rng.next_u64() % 5) as f32 - 2.0);
        let values = values.map(|x| if x < 1.0 { 0.0 } else { x }).collect::<Vec<_>>();
        Matrix::Dense(Dense::new(n, m, values).unwrap())
    };
    let names = |p: &str, n: usize| Frame::new((0..n).map(|i| format!("{p}{i}")).collect());
    let x = form(random(ROWS, COLUMNS));
    let mut a = AnnData::new(x, names("spot", ROWS), names("gene", COLUMNS)).unwrap();
    a.layers.insert("counts".into(), Matrix::Csr(random(ROWS, COLUMNS).to_csr()));
    a.obsm.insert("spatial".into(), random(ROWS, 2));
    a.obsm_frames.insert("table".into(), names("spot", ROWS));
    a.varm.insert("PCs".into(), random(COLUMNS, 3));
    a.obsp.insert("distances".into(), Matrix::Csr(random(ROWS, ROWS).to_csr()));
    a.varp.insert("corr".into(), random(COLUMNS, COLUMNS));
    let labels: Vec<_> = (0..ROWS).map(|i| (i % 7 > 0).then(|| format!("L{}", i % 7))).collect();
    a.obs.insert("layer", Categorical::from_labels(&labels)).unwrap();
    a.obs.insert("area", (0..ROWS).map(|i| i as f64).collect::<Vec<_>>()).unwrap();
    a.uns.insert("note".into(), Value::Str("text".into()));
    let raw = random(ROWS, COLUMNS + 4);
    a.raw = Some(Box::new(Raw {
        x: raw,
        var: names("raw", COLUMNS + 4),
        varm: Default::default(),
        varm_frames: Default::default(),
    }));
    a
}

/// The same slide dense, by rows and by columns, with and without compression.
fn files() -> (tempfile::TempDir, Vec<(PathBuf, AnnData)>) {
    let dir = tempfile::tempdir().unwrap();
    let forms: [fn(Matrix) -> Matrix; 3] =
        [|m| m, |m| Matrix::Csr(m.to_csr()), |m| Matrix::Csc(m.to_csc())];
    let mut out = Vec::new();
    for (i, form) in forms.into_iter().enumerate() {
        for (j, options) in
            [WriteOptions::default(), WriteOptions::default().gzip(1)].iter().enumerate()
        {
            let path = dir.path().join(format!("{i}{j}.h5ad"));
            let a = slide(form);
            write_h5ad_with(&a, &path, options).unwrap();
            out.push((path, a));
        }
    }
    (dir, out)
}

fn assert_same(a: &AnnData, b: &AnnData) {
    assert!(a.x == b.x && a.layers == b.layers && a.raw == b.raw, "matrices");
    assert_eq!(format!("{a:?}"), format!("{b:?}"));
}

#[test]
fn a_part_of_a_file_is_that_part_of_the_whole() {
    let (_dir, files) = files();
    for (path, whole) in files {
        let file = open_h5ad(&path).unwrap();
        assert_eq!(file.shape(), (ROWS, COLUMNS));
        assert_same(&file.to_memory().unwrap(), &whole);
        let rows: [Select; 4] =
            [(100..250).into(), [600, 3, 3, 0].into(), (0..0).into(), "spot42".into()];
        for rows in rows {
            let part = file.read_rows(rows.clone()).unwrap();
            assert_same(&part, &whole.select(rows, ..).unwrap());
        }
        let genes: [Select; 3] = [["gene7", "gene150"].into(), [9, 1, 9].into(), (5..90).into()];
        for genes in genes {
            let part = file.read_columns(genes.clone()).unwrap();
            assert_same(&part, &whole.select(.., genes.clone()).unwrap());
            let part = file.select([5, 2], genes.clone()).unwrap();
            assert_same(&part, &whole.select([5, 2], genes).unwrap());
        }
    }
}

#[test]
fn blocks_one_after_the_other_are_the_matrix() {
    let (_dir, files) = files();
    for (path, whole) in files {
        let file = open_h5ad(&path).unwrap();
        let layer = whole.layers["counts"].to_array_f32();
        for (blocks, expected) in [
            (file.x_blocks(100).unwrap(), whole.x().unwrap().to_array_f32()),
            (file.layer_blocks("counts", ROWS * 2).unwrap(), layer),
        ] {
            let mut next = 0;
            for block in blocks {
                let block = block.unwrap();
                assert_eq!(block.rows.start, next);
                next = block.rows.end;
                let rows = expected.slice(ndarray::s![block.rows.clone(), ..]);
                assert_eq!(block.x.to_array_f32(), rows);
            }
            assert_eq!(next, ROWS);
        }
    }
}

#[test]
fn totals_are_those_of_the_matrix() {
    let (_dir, files) = files();
    for (path, whole) in files {
        let x = whole.x().unwrap().to_array_f64();
        let t = open_h5ad(&path).unwrap().totals().unwrap();
        let nonzero = x.mapv(|v| u32::from(v != 0.0));
        assert_eq!(t.total_counts, x.sum_axis(ndarray::Axis(1)).to_vec());
        assert_eq!(t.var_total_counts, x.sum_axis(ndarray::Axis(0)).to_vec());
        assert_eq!(t.n_genes_by_counts, nonzero.sum_axis(ndarray::Axis(1)).to_vec());
        assert_eq!(t.n_cells_by_counts, nonzero.sum_axis(ndarray::Axis(0)).to_vec());
        assert_eq!((t.min, t.max, t.whole, t.nan), (0.0, 2.0, true, 0));
        assert_eq!(t.nonzero, u64::from(nonzero.sum()));
    }
}

#[test]
fn tables_are_read_by_column() {
    let (_dir, files) = files();
    let file = open_h5ad(&files[0].0).unwrap();
    let area = file.obs_columns(&["area"]).unwrap();
    assert_eq!(area.columns().map(|c| c.0).collect::<Vec<_>>(), ["area"]);
    assert_eq!(area.get("area"), files[0].1.obs.get("area"));
    assert_eq!(area.names(), files[0].1.obs.names());
    assert_eq!(file.var_columns::<&str>(&[]).unwrap().columns().len(), 0);
    let e = file.obs_columns(&["layers"]).unwrap_err().to_string();
    assert_eq!(e, "obs has no column `layers`; it has: layer, area");
    assert_eq!(file.keys("layers").unwrap(), ["counts"]);
    assert!(file.keys("obs").unwrap_err().to_string().contains("layers, obsm"));
}

#[test]
fn a_summary_says_what_is_in_the_file() {
    let (_dir, files) = files();
    let gz = open_h5ad(&files[3].0).unwrap();
    let text = gz.describe().unwrap().to_string();
    for part in [
        "613 × 157",
        "sparse by rows float32",
        "gzip",
        "layer   category  L1 (88), L2",
        "area    float64   0 … 612, mean 306",
        "0 … 2,",
        "whole numbers",
        "counts  sparse",
        "spatial",
        "distances",
        "total_counts per observation",
    ] {
        assert!(text.contains(part), "no `{part}` in\n{text}");
    }
    let html = gz.summary().unwrap().to_html();
    assert!(html.contains("<b>obs</b>") && !html.contains("total_counts"));
    assert_eq!(html.matches("<details").count(), html.matches("</details>").count());
    // A dense file of 613 × 157 float32.
    let dense = open_h5ad(&files[0].0).unwrap().summary().unwrap().to_string();
    assert!(dense.contains("dense float32  613 × 157, 385 kB on disk"), "{dense}");
}

#[test]
fn what_does_not_exist_is_named() {
    let (dir, files) = files();
    let file = open_h5ad(&files[2].0).unwrap();
    for (e, what) in [
        (file.read_rows([ROWS]).unwrap_err(), "613"),
        (file.read_columns("gene1234").unwrap_err(), "gene1234"),
        (file.layer_blocks("count", 5).map(drop).unwrap_err(), "it has: counts"),
        (file.x_blocks(0).map(drop).unwrap_err(), "at least one row"),
        (open_h5ad(dir.path().join("30.h5ad")).unwrap_err(), "Did you mean"),
    ] {
        assert!(e.to_string().contains(what), "{e}");
    }
}

#[test]
fn an_index_outside_is_found_in_its_block() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("a.h5ad");
    for form in ["csr", "csc"] {
        let a = match form {
            "csr" => slide(|m| Matrix::Csr(m.to_csr())),
            _ => slide(|m| Matrix::Csc(m.to_csc())),
        };
        write_h5ad(&a, &path).unwrap();
        let edit = hdf5::File::open_rw(&path).unwrap();
        let indices = edit.dataset("X/indices").unwrap();
        let mut v: Vec<i32> = indices.read_raw().unwrap();
        v[70] = 5000;
        indices.write_raw(&v).unwrap();
        edit.close().unwrap();
        let file = open_h5ad(&path).unwrap();
        let errors = [
            file.totals().map(drop),
            file.read_rows(0..300).map(drop),
            file.read_columns(0..20).map(drop),
            file.x_blocks(50).unwrap().try_for_each(|b| b.map(drop)),
        ];
        for e in errors {
            let e = e.unwrap_err().to_string();
            assert!(e.contains("5000") && e.contains("X/indices"), "{form}: {e}");
        }
    }
}

#[test]
fn values_of_every_type_are_read_in_parts() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("a.h5ad");
    macro_rules! each {
        ($($variant:ident $t:ty),*) => {$(
            let values = Values::$variant((0..6000).map(|i| (i % 100) as $t).collect());
            let x = Matrix::Dense(Dense::new(60, 100, values).unwrap());
            let a = AnnData::new(x, Frame::with_len(60), Frame::with_len(100)).unwrap();
            for options in [WriteOptions::default(), WriteOptions::default().gzip(2)] {
                write_h5ad_with(&a, &path, &options).unwrap();
                let part = open_h5ad(&path).unwrap().read_rows([59, 7]).unwrap();
                assert_eq!(part.x, a.take_obs(&[59, 7]).x);
            }
        )*};
    }
    each!(F32 f32, F64 f64, I8 i8, I16 i16, I32 i32, I64 i64, U8 u8, U16 u16, U32 u32, U64 u64);
}
