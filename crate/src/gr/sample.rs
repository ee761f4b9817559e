//! Small slides for the tests of this module.

use crate::anndata::{AnnData, Categorical, Frame};
use ndarray::Array2;

/// A square grid of `width` × `height` spots, row after row, with three genes (0: left to right, 1:
/// a checkerboard, 2: nothing) and two columns: `cluster` (left, middle and right third, called a,
/// b, c) and `partly` (the same with the first spot's missing).
pub(super) fn slide(width: usize, height: usize) -> AnnData {
    let n = width * height;
    let (x, y) = (|i: usize| i % width, |i: usize| i / width);
    let genes = Array2::from_shape_fn((n, 3), |(i, g)| match g {
        0 => x(i) as f64,
        1 => ((x(i) + y(i)) % 2) as f64,
        _ => 0.0,
    });
    let mut adata = AnnData::new(genes, Frame::with_len(n), Frame::with_len(3)).unwrap();
    let spatial = Array2::from_shape_fn((n, 2), |(i, d)| [x(i) as f64, y(i) as f64][d]);
    adata.obsm.insert("spatial".into(), spatial.into());
    let mut codes: Vec<i32> = (0..n).map(|i| (3 * x(i) / width) as i32).collect();
    let clusters = |codes: Vec<i32>| {
        let categories = ["a", "b", "c"].map(String::from).to_vec();
        Categorical { codes, categories, typed: None, ordered: false }
    };
    adata.obs.insert("cluster", clusters(codes.clone())).unwrap();
    codes[0] = -1;
    adata.obs.insert("partly", clusters(codes)).unwrap();
    adata
}
