//! Sequencing depth and the logarithm.

use super::names::called;
use super::stats::{columns_above, first_column, row_sums, row_sums_within};
use crate::anndata::{AnnData, Map, Matrix, Value, Values};
use crate::error::{Error, Result};
use crate::linalg::Real;
use crate::parallel::{for_each_chunk, map_items, parts};

/// Options of [`normalize_total`]; a number is the target sum.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct NormalizeTotal {
    target_sum: Option<f64>,
    layer: Option<String>,
    key_added: Option<String>,
    max_fraction: Option<f64>,
}

impl NormalizeTotal {
    /// The total that every cell gets. Default: the median total of the cells that have counts.
    pub fn target_sum(mut self, total: f64) -> Self {
        self.target_sum = Some(total);
        self
    }

    /// Normalise this layer. Default: X.
    pub fn layer(mut self, layer: impl Into<String>) -> Self {
        self.layer = Some(layer.into());
        self
    }

    /// Leave genes that make up more than this part of some cell's counts out of the totals (not out of
    /// the matrix). scanpy's `exclude_highly_expressed=True, max_fraction=…`; its default is 0.05.
    pub fn exclude_highly_expressed(mut self, max_fraction: f64) -> Self {
        self.max_fraction = Some(max_fraction);
        self
    }

    /// Write the totals before normalisation to this column of `obs`. Default: do not.
    pub fn key_added(mut self, key: impl Into<String>) -> Self {
        self.key_added = Some(key.into());
        self
    }
}

impl From<f64> for NormalizeTotal {
    fn from(target_sum: f64) -> Self {
        NormalizeTotal::default().target_sum(target_sum)
    }
}

/// Scales every cell's counts to the same total; cells without counts (beside those left out) stay
/// as they are. Whole numbers become `float32`.
///
/// Matches `scanpy.pp.normalize_total` 1.11.5 within 1e-6 relative. `normalize_total(&mut adata,
/// 1e4)` gives every cell a total of 10,000. Of numbers below 0 only the totals are looked at.
///
/// # Errors
/// [`Error::Parameter`] when the target is not above 0 or the part of counts not between 0 and 1;
/// [`Error::Data`] when a cell's total is negative or not finite, or no cell has counts and no
/// target is given; [`Error::MissingKey`] without the matrix.
pub fn normalize_total(adata: &mut AnnData, options: impl Into<NormalizeTotal>) -> Result<()> {
    let options = options.into();
    let matrix = match &options.layer {
        Some(layer) => adata.layer(layer)?,
        None => adata.x()?,
    };
    let mut totals = row_sums(matrix).sum;
    if let Some(i) = totals.iter().position(|t| !t.is_finite() || *t < 0.0) {
        let reason = format!(
            "the counts of `{}` (row {i}) sum to {}; counts must be at least 0 and not NaN",
            adata.obs.names()[i],
            totals[i]
        );
        return Err(Error::data("normalize_total", reason));
    }
    if let Some(part) = options.max_fraction {
        if !(0.0..=1.0).contains(&part) {
            return Err(Error::parameter("max_fraction", part, "must be between 0 and 1"));
        }
        let limit: Vec<f64> = totals.iter().map(|t| t * part).collect();
        let keep: Vec<bool> = columns_above(matrix, &limit).into_iter().map(|a| !a).collect();
        totals = row_sums_within(matrix, &keep);
    }
    let target = match options.target_sum {
        Some(t) if t > 0.0 && t.is_finite() => t,
        Some(t) => return Err(Error::parameter("target_sum", t, "must be above 0")),
        None => median(totals.iter().copied().filter(|&t| t > 0.0).collect())
            .ok_or_else(|| Error::data("normalize_total", "no cell has any counts"))?,
    };
    let matrix = match &options.layer {
        Some(layer) => &mut adata.layers[layer.as_str()],
        None => adata.x_mut()?,
    };
    matrix.values_mut().make_float();
    match matrix.values() {
        Values::F64(_) => divide_rows::<f64>(matrix, &totals, target),
        _ => divide_rows::<f32>(matrix, &totals, target),
    }
    if let Some(key) = options.key_added {
        adata.obs.insert(key, totals)?;
    }
    Ok(())
}

fn median(mut v: Vec<f64>) -> Option<f64> {
    v.sort_by(f64::total_cmp);
    let n = v.len();
    (n > 0).then(|| (v[(n - 1) / 2] + v[n / 2]) / 2.0)
}

/// The elements of a matrix of floating-point numbers.
pub(super) trait FloatValues: Real {
    /// The vector inside, if it is of this type.
    fn of(values: &mut Values) -> Option<&mut Vec<Self>>;
}

impl FloatValues for f32 {
    fn of(values: &mut Values) -> Option<&mut Vec<f32>> {
        match values {
            Values::F32(v) => Some(v),
            _ => None,
        }
    }
}

impl FloatValues for f64 {
    fn of(values: &mut Values) -> Option<&mut Vec<f64>> {
        match values {
            Values::F64(v) => Some(v),
            _ => None,
        }
    }
}

/// Changes every stored element by `f(row, column, element)`, in parallel.
pub(super) fn map_elements<T: FloatValues>(
    matrix: &mut Matrix,
    f: impl Fn(usize, usize, T) -> T + Sync,
) {
    const NOT_FLOAT: &str = "the caller has made the elements floating-point";
    match matrix {
        Matrix::Dense(m) => {
            let ncols = m.ncols.max(1);
            let v = T::of(&mut m.values).expect(NOT_FLOAT);
            for_each_chunk(v, ncols, 16, |r, row| {
                row.iter_mut().enumerate().for_each(|(c, x)| *x = f(r, c, *x));
            });
        }
        Matrix::Csr(m) => {
            let v = T::of(&mut m.values).expect(NOT_FLOAT);
            for_major(&m.indptr, &m.indices, v, &f);
        }
        Matrix::Csc(m) => {
            let v = T::of(&mut m.values).expect(NOT_FLOAT);
            for_major(&m.indptr, &m.indices, v, |c, r, x| f(r, c, x));
        }
    }
}

fn for_major<T: Real>(
    indptr: &[usize],
    indices: &[u32],
    mut values: &mut [T],
    f: impl Fn(usize, usize, T) -> T + Sync,
) {
    // One mutable slice for each part of the compressed axis.
    let mut tasks = Vec::new();
    for part in parts(indptr.len() - 1, 16) {
        let (head, tail) = values.split_at_mut(indptr[part.end] - indptr[part.start]);
        tasks.push((part, head));
        values = tail;
    }
    map_items(tasks, |(part, slice)| {
        let start = indptr[part.start];
        for major in part {
            for k in indptr[major]..indptr[major + 1] {
                let x = &mut slice[k - start];
                *x = f(major, indices[k] as usize, *x);
            }
        }
    });
}

fn divide_rows<T: FloatValues>(matrix: &mut Matrix, totals: &[f64], target: f64) {
    // Divided in the precision of the data, as scanpy does.
    let divisor: Vec<T> = totals
        .iter()
        .map(|&t| if t > 0.0 { T::from_f64(t) / T::from_f64(target) } else { T::one() })
        .collect();
    map_elements(matrix, |r, _, x: T| x / divisor[r]);
}

/// Replaces every element x of X by ln(1 + x). Whole numbers become `float32`.
///
/// Matches `scanpy.pp.log1p` 1.11.5 within 1e-6. Writes `uns["log1p"] = {"base": None}`.
///
/// # Errors
/// [`Error::Data`] when X has been log-transformed before (`uns["log1p"]` is there), or an element
/// is NaN, infinite or not above −1; [`Error::MissingKey`] without X. X is unchanged then.
pub fn log1p(adata: &mut AnnData) -> Result<()> {
    if adata.uns.contains_key("log1p") {
        let reason = "has been log-transformed before (`uns[\"log1p\"]` says so). If X has been \
                      replaced since, remove that entry: `adata.uns.shift_remove(\"log1p\")`";
        return Err(Error::data("X", reason));
    }
    let undefined = |x: f64| !(x > -1.0 && x < f64::INFINITY);
    if let Some(g) = first_column(adata.x()?, undefined) {
        let reason = format!(
            "{} holds NaN, infinity, or values of −1 or less, which have no logarithm after adding \
             1",
            called("gene", &adata.var, g)
        );
        return Err(Error::data("X", reason));
    }
    let x = adata.x_mut()?;
    x.values_mut().make_float();
    match x.values_mut() {
        Values::F64(v) => {
            for_each_chunk(v, 4096, 1, |_, v| v.iter_mut().for_each(|x| *x = x.ln_1p()))
        }
        Values::F32(v) => {
            for_each_chunk(v, 4096, 1, |_, v| v.iter_mut().for_each(|x| *x = x.ln_1p()))
        }
        _ => {}
    }
    let base: Map<Value> = [("base".to_string(), Value::Null)].into();
    adata.uns.insert("log1p".into(), base.into());
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::super::stats::tests::{forms, sample};
    use super::*;
    use crate::parallel::same_with_any_threads;

    #[test]
    fn totals_are_equal_afterwards_and_the_form_is_kept() {
        for x in forms(120, 25) {
            let sparse = x.is_sparse();
            let a = same_with_any_threads(|| {
                let mut a = sample(x.clone());
                let options = NormalizeTotal::from(1e4).key_added("total");
                normalize_total(&mut a, options).unwrap();
                a
            });
            let x = a.x().unwrap();
            assert_eq!(x.is_sparse(), sparse);
            assert!(x.values().is_float());
            assert!(row_sums(x).sum.iter().all(|t| (t - 1e4).abs() < 0.01));
            assert!(a.obs.contains("total"));
        }
    }

    #[test]
    fn highly_expressed_genes_do_not_count_in_any_form() {
        let mut all = Vec::new();
        for x in forms(120, 25) {
            let mut a = sample(x);
            let options = NormalizeTotal::from(1e3).exclude_highly_expressed(0.3).key_added("t");
            normalize_total(&mut a, options).unwrap();
            let totals = a.obs_column("t").unwrap().to_f64().unwrap();
            all.push((totals, a.x().unwrap().to_array_f64()));
        }
        for (totals, x) in &all {
            assert_eq!(totals, &all[0].0);
            assert!((x - &all[0].1).iter().all(|d| d.abs() < 1e-2));
        }
        // The second gene is nine tenths of the first cell.
        let mut a = sample(ndarray::array![[1f64, 9.], [2., 2.]].into());
        let options = NormalizeTotal::from(4.0).exclude_highly_expressed(0.8);
        normalize_total(&mut a, options).unwrap();
        assert_eq!(a.x().unwrap().to_array_f64(), ndarray::array![[4., 36.], [4., 4.]]);
        let wrong = NormalizeTotal::default().exclude_highly_expressed(1.5);
        assert!(normalize_total(&mut a, wrong).is_err());
    }

    #[test]
    fn without_a_target_the_median_stays() {
        let x = ndarray::array![[1f64, 1.], [4., 0.], [0., 0.], [3., 3.]];
        let mut a = sample(x.into());
        normalize_total(&mut a, NormalizeTotal::default()).unwrap();
        let got = a.x().unwrap().to_array_f64();
        assert_eq!(got, ndarray::array![[2., 2.], [4., 0.], [0., 0.], [2., 2.]]);
    }

    #[test]
    fn the_logarithm_is_taken_once() {
        let mut a = sample(ndarray::array![[0f32, 1.], [3., 7.]].into());
        log1p(&mut a).unwrap();
        assert_eq!(a.x().unwrap().to_array_f32()[[1, 1]], 8f32.ln());
        assert_eq!(a.uns["log1p"].at(&["base"]), Some(&Value::Null));
        assert!(log1p(&mut a).unwrap_err().to_string().contains("log-transformed before"));
    }

    #[test]
    fn unsuited_data_are_refused() {
        let mut a = sample(ndarray::array![[0f32, f32::NAN], [3., -7.]].into());
        assert!(normalize_total(&mut a, 1e4).unwrap_err().to_string().contains("row 0"));
        assert!(log1p(&mut a).is_err());
        assert!(!a.uns.contains_key("log1p"));
        let mut a = sample(ndarray::array![[0f32, 1.]].into());
        assert!(normalize_total(&mut a, 0.0).is_err());
        assert!(normalize_total(&mut a, NormalizeTotal::from(1.0).layer("x")).is_err());
    }

    #[test]
    fn totals_that_are_zero_or_negative() {
        use ndarray::array;
        let normalised = |x: ndarray::Array2<f64>, options: NormalizeTotal| {
            let mut a = sample(x.into());
            normalize_total(&mut a, options).map(|()| a.x.take().unwrap().to_array_f64())
        };
        let usual = NormalizeTotal::default;
        let e = normalised(array![[1., 2.], [3., -7.]], usual()).unwrap_err().to_string();
        assert!(e.contains("the counts of `1` (row 1) sum to -4"), "{e}");
        let below = normalised(array![[3., -1.], [1., 1.]], NormalizeTotal::from(4.0)).unwrap();
        assert_eq!(below, array![[6., -2.], [2., 2.]]);
        let zeros = array![[0., 0.], [0., 0.]];
        let e = normalised(zeros.clone(), usual()).unwrap_err().to_string();
        assert!(e.contains("no cell has any counts"), "{e}");
        assert_eq!(normalised(zeros.clone(), NormalizeTotal::from(4.0)).unwrap(), zeros);
        // One cell is its own median.
        assert_eq!(normalised(array![[1., 3.]], usual()).unwrap(), array![[1., 3.]]);
        // The only counts of the first cell are of a gene that is left out.
        let options = NormalizeTotal::from(4.0).exclude_highly_expressed(0.8);
        let got = normalised(array![[0., 9.], [2., 2.]], options).unwrap();
        assert_eq!(got, array![[0., 9.], [4., 4.]]);
    }

    #[test]
    fn a_gene_without_a_logarithm_is_named_and_nothing_changes() {
        for bad in [f64::NAN, f64::INFINITY, -1.0, -7.0] {
            let mut a = sample(ndarray::array![[0., 1.], [3., bad]].into());
            let e = log1p(&mut a).unwrap_err().to_string();
            assert!(e.contains("X: gene `1` (column 1) holds") && e.contains("−1 or less"), "{e}");
            assert_eq!(a.x().unwrap().to_array_f64()[[1, 0]], 3.0);
            assert!(!a.uns.contains_key("log1p"));
        }
        let whole = crate::anndata::Dense::new(1, 2, vec![0i32, -1]).unwrap();
        let mut a = sample(Matrix::Dense(whole));
        assert!(log1p(&mut a).is_err());
        assert_eq!(a.x().unwrap().values().dtype(), "int32");
        let mut a = sample(ndarray::array![[-0.5, 0.]].into());
        log1p(&mut a).unwrap();
        assert_eq!(a.x().unwrap().to_array_f64()[[0, 0]], (-0.5f64).ln_1p());
    }
}
