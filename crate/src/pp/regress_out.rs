//! Taking the part of the expression that known quantities explain away.

use super::names::not_finite;
use super::normalize::FloatValues;
use super::scale::to_dense;
use super::stats::first_column;
use crate::anndata::{AnnData, Categorical, Column, Dense, Matrix, Sparse, Values};
use crate::error::{Error, Result};
use crate::parallel::sum_parts;
use crate::progress::check_interrupt;
use rayon::prelude::*;

/// Options of [`regress_out`]: the columns of `obs`, one or several.
#[derive(Debug, Clone, PartialEq)]
pub struct RegressOut {
    keys: Vec<String>,
    layer: Option<String>,
}

impl RegressOut {
    /// The columns of `obs` whose influence is taken away: numbers, or one of categories.
    pub fn new<S: Into<String>>(keys: impl IntoIterator<Item = S>) -> Self {
        RegressOut { keys: keys.into_iter().map(Into::into).collect(), layer: None }
    }

    /// Change this layer. Default: X.
    pub fn layer(mut self, layer: impl Into<String>) -> Self {
        self.layer = Some(layer.into());
        self
    }
}

impl From<&str> for RegressOut {
    fn from(key: &str) -> Self {
        RegressOut::new([key])
    }
}

impl<const N: usize> From<[&str; N]> for RegressOut {
    fn from(keys: [&str; N]) -> Self {
        RegressOut::new(keys)
    }
}

/// Replaces each gene by what a linear regression on columns of `obs` leaves: with numbers (and an
/// intercept) by ordinary least squares, with one column of categories by subtracting the mean of
/// each category.
///
/// Matches `scanpy.pp.regress_out` 1.11.5 within 1e-5 of the largest value. Columns that others
/// determine count once. With categories a gene that does not vary at all stays as it is, as in
/// scanpy. A sparse matrix becomes dense; `float64` stays, all else becomes `float32`; sums are made in
/// `f64`.
///
/// ```
/// # use spatialkit::{anndata::{AnnData, Frame}, ndarray::array, pp};
/// # let mut adata = AnnData::new(array![[1.0, 5.0], [3.0, 6.0], [5.0, 1.0]], Frame::with_len(3), Frame::with_len(2))?;
/// adata.obs.insert("depth", vec![1.0, 2.0, 3.0])?;
/// pp::regress_out(&mut adata, "depth")?;
/// assert!(adata.x()?.to_array_f64().column(0).iter().all(|v| v.abs() < 1e-12));
/// # Ok::<(), spatialkit::Error>(())
/// ```
///
/// # Errors
/// [`Error::Parameter`] without a key or with categories beside other keys; [`Error::MissingKey`]
/// without a column, the layer or X; [`Error::Data`] when a column or a gene holds NaN, infinity or a
/// missing value, or there are fewer than two cells. The data are unchanged then.
pub fn regress_out(adata: &mut AnnData, options: impl Into<RegressOut>) -> Result<()> {
    let options = options.into();
    let matrix = match &options.layer {
        Some(layer) => adata.layer(layer)?,
        None => adata.x()?,
    };
    let n = matrix.nrows();
    if n < 2 {
        return Err(Error::data("regress_out", format!("need at least 2 cells, found {n}")));
    }
    let model = Model::new(adata, &options.keys)?;
    if let Some(g) = first_column(matrix, |x| !x.is_finite()) {
        return Err(Error::data("regress_out", not_finite("gene", &adata.var, g)));
    }
    check_interrupt()?;
    let matrix = match &options.layer {
        Some(layer) => &mut adata.layers[layer.as_str()],
        None => adata.x_mut()?,
    };
    matrix.values_mut().make_float();
    match matrix.values() {
        Values::F64(_) => apply::<f64>(matrix, &model),
        _ => apply::<f32>(matrix, &model),
    }
    Ok(())
}

/// Either way the residual of a gene x is x − B·(Bᵀx) for an orthonormal basis B of the explaining
/// columns.
enum Model {
    /// The basis, n × p, row after row.
    Numbers { basis: Vec<f64>, width: usize },
    /// The category of each cell and how many cells each has: a basis with one number a row.
    Categories { code: Vec<usize>, counts: Vec<f64> },
}

impl Model {
    fn new(adata: &AnnData, keys: &[String]) -> Result<Model> {
        if keys.is_empty() {
            return Err(Error::parameter("keys", "[]", "name at least one column of obs"));
        }
        let columns: Vec<&Column> =
            keys.iter().map(|k| adata.obs_column(k)).collect::<Result<_>>()?;
        let text = columns.iter().position(|c| c.to_f64().is_none());
        match text {
            None => Model::of_numbers(keys, &columns),
            Some(_) if keys.len() == 1 => {
                Model::of_categories(&keys[0], &columns[0].to_categorical())
            }
            Some(i) => {
                let reason = "holds categories, which can only be regressed out alone: call \
                              `regress_out` once for it and once for the numbers";
                Err(Error::parameter("keys", &keys[i], reason))
            }
        }
    }

    fn of_categories(key: &str, c: &Categorical) -> Result<Model> {
        let mut counts = vec![0.0; c.categories.len()];
        let mut code = Vec::with_capacity(c.codes.len());
        for (row, &k) in c.codes.iter().enumerate() {
            let Ok(k) = usize::try_from(k) else {
                let reason = format!("has no category for row {row}; drop such cells first");
                return Err(Error::data(format!("obs[\"{key}\"]"), reason));
            };
            counts[k] += 1.0;
            code.push(k);
        }
        Ok(Model::Categories { code, counts })
    }

    /// Ones and the columns, made orthonormal one after the other (twice, as once leaves rounding
    /// errors); what is left of one that others determine is dropped.
    fn of_numbers(keys: &[String], columns: &[&Column]) -> Result<Model> {
        let n = columns[0].len();
        let mut basis: Vec<Vec<f64>> = vec![vec![1.0 / (n as f64).sqrt(); n]];
        for (key, column) in keys.iter().zip(columns) {
            let mut v = column.to_f64().expect("a column of numbers");
            if let Some(row) = v.iter().position(|x| !x.is_finite()) {
                let reason = format!("row {row} is {}; drop such cells first", v[row]);
                return Err(Error::data(format!("obs[\"{key}\"]"), reason));
            }
            // Of any unit, and safe from overflow.
            let largest = v.iter().fold(0f64, |m, x| m.max(x.abs()));
            if largest == 0.0 {
                continue;
            }
            v.iter_mut().for_each(|x| *x /= largest);
            let before = norm(&v);
            for _ in 0..2 {
                for b in &basis {
                    let along: f64 = v.iter().zip(b).map(|(x, y)| x * y).sum();
                    v.iter_mut().zip(b).for_each(|(x, y)| *x -= along * y);
                }
            }
            let left = norm(&v);
            if left > 1e-10 * before {
                v.iter_mut().for_each(|x| *x /= left);
                basis.push(v);
            }
        }
        let width = basis.len();
        let flat = (0..n).flat_map(|i| basis.iter().map(move |b| b[i])).collect();
        Ok(Model::Numbers { basis: flat, width })
    }

    /// Numbers that describe each gene.
    fn width(&self) -> usize {
        match self {
            Model::Numbers { width, .. } => *width,
            Model::Categories { counts, .. } => counts.len(),
        }
    }

    /// Adds what element `v` of cell `row` and gene `g` of `m` tells of the gene.
    fn add(&self, row: usize, g: usize, m: usize, v: f64, sums: &mut [f64]) {
        match self {
            Model::Numbers { basis, width } => {
                let weights = &basis[row * width..(row + 1) * width];
                weights.iter().enumerate().for_each(|(p, w)| sums[p * m + g] += w * v);
            }
            Model::Categories { code, .. } => sums[code[row] * m + g] += v,
        }
    }

    /// What is explained of each gene in cell `row`; `described` is `width` × m.
    fn explained(&self, row: usize, described: &[f64], out: &mut [f64]) {
        let m = out.len();
        match self {
            Model::Numbers { basis, width } => {
                out.fill(0.0);
                for (p, w) in basis[row * width..(row + 1) * width].iter().enumerate() {
                    let along = &described[p * m..(p + 1) * m];
                    out.iter_mut().zip(along).for_each(|(o, d)| *o += w * d);
                }
            }
            Model::Categories { code, .. } => {
                out.copy_from_slice(&described[code[row] * m..(code[row] + 1) * m]);
            }
        }
    }
}

fn norm(v: &[f64]) -> f64 {
    v.iter().map(|x| x * x).sum::<f64>().sqrt()
}

fn apply<T: FloatValues>(matrix: &mut Matrix, model: &Model) {
    const NOT_FLOAT: &str = "the caller has made the elements floating-point";
    let (n, m) = matrix.shape();
    let stays = match model {
        Model::Categories { .. } => constant::<T>(matrix),
        Model::Numbers { .. } => vec![false; m],
    };
    if matches!(matrix, Matrix::Csc(_)) {
        *matrix = to_dense(matrix);
    }
    // Few parts, as each holds a description of all genes.
    let rows = n.div_ceil(16).max(256);
    let mut described = match &mut *matrix {
        Matrix::Dense(Dense { values, .. }) => {
            let v = T::of(values).expect(NOT_FLOAT);
            sum_parts(n, model.width() * m, rows, |part, sums| {
                for row in part {
                    for (g, x) in v[row * m..(row + 1) * m].iter().enumerate() {
                        model.add(row, g, m, x.as_f64(), sums);
                    }
                }
            })
        }
        Matrix::Csr(Sparse { indptr, indices, values, .. })
        | Matrix::Csc(Sparse { indptr, indices, values, .. }) => {
            let v = T::of(values).expect(NOT_FLOAT);
            sum_parts(n, model.width() * m, rows, |part, sums| {
                for row in part {
                    for k in indptr[row]..indptr[row + 1] {
                        model.add(row, indices[k] as usize, m, v[k].as_f64(), sums);
                    }
                }
            })
        }
    };
    if let Model::Categories { counts, .. } = model {
        for (sums, &count) in described.chunks_exact_mut(m.max(1)).zip(counts) {
            sums.iter_mut().for_each(|s| *s /= count.max(1.0));
        }
    }
    for g in (0..m).filter(|&g| stays[g]) {
        described.iter_mut().skip(g).step_by(m).for_each(|d| *d = 0.0);
    }
    if !matches!(matrix, Matrix::Dense(_)) {
        *matrix = to_dense(matrix);
    }
    let Matrix::Dense(Dense { values, .. }) = matrix else { return };
    let v = T::of(values).expect(NOT_FLOAT);
    let block = 64;
    v.par_chunks_mut((block * m).max(1)).enumerate().for_each(|(b, part)| {
        let mut explained = vec![0f64; m];
        for (i, row) in part.chunks_exact_mut(m.max(1)).enumerate() {
            model.explained(b * block + i, &described, &mut explained);
            let pairs = row.iter_mut().zip(&explained);
            pairs.for_each(|(x, e)| *x = T::from_f64(x.as_f64() - e));
        }
    });
}

/// Which genes have the same value in all cells.
fn constant<T: FloatValues>(matrix: &mut Matrix) -> Vec<bool> {
    let (n, m) = matrix.shape();
    let mut first: Vec<Option<T>> = vec![None; m];
    let mut seen = vec![0usize; m];
    let mut same = vec![true; m];
    let mut look = |g: usize, x: T| {
        let value = *first[g].get_or_insert(x);
        same[g] &= value == x;
        seen[g] += 1;
    };
    match matrix {
        Matrix::Dense(Dense { values, ncols, .. }) => {
            for row in T::of(values).into_iter().flat_map(|v| v.chunks_exact((*ncols).max(1))) {
                row.iter().enumerate().for_each(|(g, &x)| look(g, x));
            }
        }
        Matrix::Csr(Sparse { indices, values, .. }) => {
            let v = T::of(values).into_iter().flatten();
            indices.iter().zip(v).for_each(|(&g, &mut x)| look(g as usize, x));
        }
        Matrix::Csc(Sparse { indptr, values, .. }) => {
            if let Some(v) = T::of(values) {
                for g in 0..m {
                    v[indptr[g]..indptr[g + 1]].iter().for_each(|&x| look(g, x));
                }
            }
        }
    }
    // Zeros that are not stored are values too.
    let whole = |g: usize| seen[g] >= n || first[g].is_none_or(|x| x == T::zero());
    (0..m).map(|g| same[g] && whole(g)).collect()
}

#[cfg(test)]
mod tests {
    use super::super::stats::tests::{forms, sample};
    use super::*;
    use crate::parallel::same_with_any_threads;
    use crate::rng::Rng;
    use ndarray::Array2;

    fn with_columns(x: Matrix) -> AnnData {
        let n = x.nrows();
        let mut rng = Rng::new(2);
        let mut a = sample(x);
        let depth: Vec<f64> = (0..n).map(|_| 1e4 * rng.uniform()).collect();
        a.obs.insert("twice", depth.iter().map(|d| 2.0 * d + 1.0).collect::<Vec<_>>()).unwrap();
        a.obs.insert("depth", depth).unwrap();
        a.obs.insert("part", (0..n).map(|_| rng.normal()).collect::<Vec<_>>()).unwrap();
        let batch: Vec<usize> = (0..n).map(|i| usize::from(i == 0) + i % 2).collect();
        a.obs.insert("batch", Categorical::from_numbers(&batch)).unwrap();
        a
    }

    fn residuals(a: &AnnData, options: impl Into<RegressOut>) -> Array2<f64> {
        let mut a = a.clone();
        regress_out(&mut a, options).unwrap();
        a.check().unwrap();
        assert!(!a.x().unwrap().is_sparse());
        a.x().unwrap().to_array_f64()
    }

    #[test]
    fn what_is_left_is_uncorrelated_in_every_form() {
        let mut all = Vec::new();
        for x in forms(700, 12) {
            let a = with_columns(x);
            let left = same_with_any_threads(|| residuals(&a, ["depth", "part"]));
            for key in ["depth", "part"] {
                let v = ndarray::Array1::from(a.obs_column(key).unwrap().to_f64().unwrap());
                let along = left.t().dot(&v).mapv(f64::abs) / v.dot(&v).sqrt();
                assert!(along.iter().all(|&c| c < 1e-4), "{key}: {along}");
            }
            assert!(left.sum_axis(ndarray::Axis(0)).iter().all(|s| s.abs() < 1e-2));
            // A column that another determines changes nothing.
            let more = residuals(&a, ["depth", "part", "twice"]);
            assert!((&more - &left).iter().all(|d| d.abs() < 1e-5));
            all.push(left);
        }
        assert!(all.iter().all(|l| (l - &all[0]).iter().all(|d| d.abs() < 1e-5)));
    }

    #[test]
    fn categories_lose_their_means_and_constant_genes_stay() {
        for x in forms(301, 9) {
            let mut x = x.to_array_f32();
            x.column_mut(4).fill(3.5);
            for form in [Matrix::from(x.clone()), Matrix::Csr(Matrix::from(x.clone()).to_csr())] {
                let a = with_columns(form);
                let left = residuals(&a, "batch");
                assert!(left.column(4).iter().all(|&v| v == 3.5));
                let Some(Column::Categorical(c)) = a.obs.get("batch") else { panic!() };
                for k in 0..c.categories.len() as i32 {
                    let rows: Vec<usize> = (0..301).filter(|&i| c.codes[i] == k).collect();
                    let mean = left.select(ndarray::Axis(0), &rows).mean_axis(ndarray::Axis(0));
                    let mean = mean.unwrap();
                    assert!(mean.iter().enumerate().all(|(g, m)| g == 4 || m.abs() < 1e-5));
                }
            }
        }
    }

    #[test]
    fn unsuited_columns_are_refused_and_nothing_changes() {
        let mut a = with_columns(forms(20, 5).remove(0));
        a.obs
            .insert("gap", {
                let mut v = vec![1.0; 20];
                v[3] = f64::NAN;
                v
            })
            .unwrap();
        let mut c = a.obs_column("batch").unwrap().to_categorical();
        c.codes[5] = -1;
        a.obs.insert("holes", c).unwrap();
        let before = a.x().unwrap().clone();
        let mut message = |keys: &[&str]| {
            let options = RegressOut::new(keys.iter().copied());
            regress_out(&mut a, options).unwrap_err().to_string()
        };
        assert!(message(&["gap"]).contains("row 3 is NaN"));
        assert!(message(&["holes"]).contains("no category for row 5"));
        assert!(message(&["batch", "depth"]).contains("only be regressed out alone"));
        assert!(message(&["nothing"]).contains("obs has no column"));
        assert!(message(&[]).contains("at least one column"));
        assert_eq!(a.x().unwrap(), &before);
        assert!(regress_out(&mut a, RegressOut::from("depth").layer("none")).is_err());
        let mut one = with_columns(forms(1, 5).remove(0));
        assert!(regress_out(&mut one, "depth").is_err());
        let mut x = before.to_array_f32();
        x[[2, 1]] = f32::NAN;
        a.x = Some(x.into());
        assert!(regress_out(&mut a, "depth").unwrap_err().to_string().contains("column 1"));
    }

    #[test]
    fn what_tells_nothing_takes_the_mean_and_a_category_of_one_leaves_nothing() {
        let mut a = with_columns(forms(20, 5).remove(4));
        let mut x = a.x().unwrap().to_array_f64();
        x.column_mut(4).fill(3.5);
        a.x = Some(x.clone().into());
        a.obs.insert("one", vec![2.0; 20]).unwrap();
        a.obs.insert("zero", vec![0.0; 20]).unwrap();
        let centred = &x - &x.mean_axis(ndarray::Axis(0)).unwrap();
        for keys in [["one", "zero"], ["zero", "one"]] {
            let left = residuals(&a, keys);
            assert!((&left - &centred).iter().all(|d| d.abs() < 1e-12));
        }
        let codes = (0..20).map(|i| if i == 3 { 2 } else { 0 }).collect();
        let categories = ["many", "none", "solo"].map(String::from).to_vec();
        let part = Categorical { codes, categories, typed: None, ordered: false };
        a.obs.insert("part", part).unwrap();
        let left = residuals(&a, "part");
        assert_eq!(left.row(3).to_vec(), [0., 0., 0., 0., 3.5]);
        assert!(left.columns().into_iter().take(4).all(|c| c.sum().abs() < 1e-12));
    }
}
