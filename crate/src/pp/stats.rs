//! Sums over the rows and columns of a [`Matrix`] of any form and number type, in one pass, in
//! `f64`, with the same bits for any number of threads.

use crate::anndata::{Dense, Matrix, Sparse, Values};
use crate::parallel::{map_items, map_range, parts, sum_parts};
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

/// A number of any type a matrix can hold.
pub(super) trait Number: Copy + Send + Sync {
    fn f64(self) -> f64;
}

macro_rules! number {
    ($($t:ty)*) => {$(impl Number for $t {
        #[inline]
        fn f64(self) -> f64 { self as f64 }
    })*};
}
number!(f32 f64 i8 i16 i32 i64 u8 u16 u32 u64);

/// What one pass over an axis tells about each of its entries (a column, or a row).
#[derive(Debug, Clone, Default, PartialEq)]
pub(super) struct Sums {
    /// Sum of the elements.
    pub sum: Vec<f64>,
    /// Sum of their squares.
    pub square: Vec<f64>,
    /// How many are counted: those above 0, unless others are asked for.
    pub count: Vec<usize>,
}

impl Sums {
    fn from_triples(flat: &[f64]) -> Sums {
        let part = |offset: usize| flat.iter().skip(offset).step_by(3).copied();
        Sums {
            sum: part(0).collect(),
            square: part(1).collect(),
            count: part(2).map(|x| x as usize).collect(),
        }
    }

    /// Mean and variance (ddof 1) over `n` elements each. A variance below 1e-12 of the squared
    /// mean is rounding and counts as 0.
    pub fn mean_var(&self, n: usize) -> (Vec<f64>, Vec<f64>) {
        let n = n as f64;
        let mean: Vec<f64> = self.sum.iter().map(|s| s / n).collect();
        let var = |(&square, &mean): (&f64, &f64)| {
            let v = (square / n - mean * mean) * (n / (n - 1.0));
            if v <= 1e-12 * mean * mean { 0.0 } else { v }
        };
        let var = self.square.iter().zip(&mean).map(var).collect();
        (mean, var)
    }
}

/// Rows that one task takes at least.
const ROWS: usize = 64;

/// Sums over `f(column, element)` for every stored element in `rows` (rising; `None` is all): `f`
/// gives the three numbers to add for its column. Elements that are not stored count as if `f` gave
/// zeros.
fn by_column<T: Number>(
    matrix: &Matrix,
    v: &[T],
    rows: Option<&[usize]>,
    f: impl Fn(usize, f64) -> [f64; 3] + Sync,
) -> Sums {
    let add = |sums: &mut [f64], c: usize, x: f64| {
        let slot = &mut sums[3 * c..3 * c + 3];
        slot.iter_mut().zip(f(c, x)).for_each(|(s, y)| *s += y);
    };
    let count = rows.map_or(matrix.nrows(), <[usize]>::len);
    let row = |i: usize| rows.map_or(i, |rows| rows[i]);
    let flat = match matrix {
        Matrix::Dense(Dense { ncols, .. }) => sum_parts(count, 3 * ncols, ROWS, |part, sums| {
            for r in part.map(row) {
                for (c, x) in v[r * ncols..(r + 1) * ncols].iter().enumerate() {
                    add(sums, c, x.f64());
                }
            }
        }),
        Matrix::Csr(Sparse { ncols, indptr, indices, .. }) => {
            sum_parts(count, 3 * ncols, ROWS, |part, sums| {
                for r in part.map(row) {
                    for k in indptr[r]..indptr[r + 1] {
                        add(sums, indices[k] as usize, v[k].f64());
                    }
                }
            })
        }
        Matrix::Csc(Sparse { nrows, ncols, indptr, indices, .. }) => {
            let mut wanted = vec![rows.is_none(); *nrows];
            rows.into_iter().flatten().for_each(|&r| wanted[r] = true);
            let column = |c: usize| {
                let mut sums = [0f64; 3];
                let range = indptr[c]..indptr[c + 1];
                for (x, &r) in v[range.clone()].iter().zip(&indices[range]) {
                    if wanted[r as usize] {
                        sums.iter_mut().zip(f(c, x.f64())).for_each(|(s, y)| *s += y);
                    }
                }
                sums
            };
            map_range(*ncols, 1, column).into_flattened()
        }
    };
    Sums::from_triples(&flat)
}

/// Runs an expression on the typed slice inside [`Values`]; unlike
/// [`with_values`](crate::anndata::with_values), `$v` is a `&[T]` with `T: Number`.
macro_rules! with_numbers {
    ($values:expr, $v:ident => $body:expr) => {
        $crate::anndata::with_values!($values, vector => {
            let $v = vector.as_slice();
            $body
        })
    };
}

/// [`Sums`] of each column.
pub(super) fn column_sums(matrix: &Matrix) -> Sums {
    column_sums_of(matrix, None)
}

/// [`Sums`] of each column over some rows (rising; `None` is all).
pub(super) fn column_sums_of(matrix: &Matrix, rows: Option<&[usize]>) -> Sums {
    column_sums_counting(matrix, rows, |x| x > 0.0)
}

fn column_sums_counting(
    matrix: &Matrix,
    rows: Option<&[usize]>,
    counts: impl Fn(f64) -> bool + Sync,
) -> Sums {
    let f = |_, x: f64| [x, x * x, f64::from(u8::from(counts(x)))];
    with_numbers!(matrix.values(), v => by_column(matrix, v, rows, f))
}

/// [`Sums`] of each row and of each column in which all elements but 0 are counted, as quality
/// metrics do.
pub(super) fn nonzero_sums(matrix: &Matrix) -> [Sums; 2] {
    let counts = |x: f64| x != 0.0;
    [row_sums_counting(matrix, counts), column_sums_counting(matrix, None, counts)]
}

/// [`Sums`] of each column of exp(x · `factor`) − 1, which undoes a logarithm, in the precision of the
/// elements; over some rows (rising; `None` is all).
pub(super) fn expm1_sums(matrix: &Matrix, rows: Option<&[usize]>, factor: f64) -> Sums {
    let positive = |x: f64| f64::from(u8::from(x > 0.0));
    let narrow = |_, x: f64| {
        let e = f64::from((x as f32 * factor as f32).exp_m1());
        [e, e * e, positive(x)]
    };
    let wide = |_, x: f64| {
        let e = (x * factor).exp_m1();
        [e, e * e, positive(x)]
    };
    match matrix.values() {
        Values::F32(v) => by_column(matrix, v, rows, narrow),
        values => with_numbers!(values, v => by_column(matrix, v, rows, wide)),
    }
}

/// Sum and sum of squares of each column with every element first cut at its column's `limit`; over
/// some rows (rising; `None` is all).
pub(super) fn clipped_sums(
    matrix: &Matrix,
    rows: Option<&[usize]>,
    limit: &[f64],
) -> (Vec<f64>, Vec<f64>) {
    let f = |c: usize, x: f64| {
        let x = x.min(limit[c]);
        [x, x * x, 0.0]
    };
    let sums = with_numbers!(matrix.values(), v => by_column(matrix, v, rows, f));
    (sums.sum, sums.square)
}

/// [`Sums`] of each row, without squares.
pub(super) fn row_sums(matrix: &Matrix) -> Sums {
    row_sums_counting(matrix, |x| x > 0.0)
}

fn row_sums_counting(matrix: &Matrix, counts: impl Fn(f64) -> bool + Sync) -> Sums {
    fn typed<T: Number>(matrix: &Matrix, v: &[T], counts: impl Fn(f64) -> bool + Sync) -> Sums {
        let row = |range: std::ops::Range<usize>| {
            let (mut sum, mut count) = (0f64, 0usize);
            for x in &v[range] {
                sum += x.f64();
                count += usize::from(counts(x.f64()));
            }
            (sum, count)
        };
        let (sum, count) = match matrix {
            Matrix::Dense(Dense { nrows, ncols, .. }) => {
                map_range(*nrows, ROWS, |r| row(r * ncols..(r + 1) * ncols)).into_iter().unzip()
            }
            Matrix::Csr(Sparse { nrows, indptr, .. }) => {
                map_range(*nrows, ROWS, |r| row(indptr[r]..indptr[r + 1])).into_iter().unzip()
            }
            Matrix::Csc(Sparse { nrows, indices, .. }) => {
                let (mut sum, mut count) = (vec![0f64; *nrows], vec![0usize; *nrows]);
                for (&r, x) in indices.iter().zip(v) {
                    sum[r as usize] += x.f64();
                    count[r as usize] += usize::from(counts(x.f64()));
                }
                (sum, count)
            }
        };
        Sums { sum, square: Vec::new(), count }
    }
    with_numbers!(matrix.values(), v => typed(matrix, v, counts))
}

/// Which columns have an element above its row's `limit`.
pub(super) fn columns_above(matrix: &Matrix, limit: &[f64]) -> Vec<bool> {
    let above: Vec<AtomicBool> = (0..matrix.ncols()).map(|_| AtomicBool::new(false)).collect();
    for_each_element(matrix, |r, c, x| {
        if x > limit[r] {
            above[c].store(true, Ordering::Relaxed);
        }
    });
    above.into_iter().map(AtomicBool::into_inner).collect()
}

/// The sum of each row over the columns of `keep`.
pub(super) fn row_sums_within(matrix: &Matrix, keep: &[bool]) -> Vec<f64> {
    fn typed<T: Number>(matrix: &Matrix, v: &[T], keep: &[bool]) -> Vec<f64> {
        let kept = |(c, x): (usize, &T)| if keep[c] { x.f64() } else { 0.0 };
        match matrix {
            Matrix::Dense(Dense { nrows, ncols, .. }) => map_range(*nrows, ROWS, |r| {
                v[r * ncols..(r + 1) * ncols].iter().enumerate().map(kept).sum()
            }),
            Matrix::Csr(Sparse { nrows, indptr, indices, .. }) => map_range(*nrows, ROWS, |r| {
                let range = indptr[r]..indptr[r + 1];
                let columns = indices[range.clone()].iter().map(|&c| c as usize);
                columns.zip(&v[range]).map(kept).sum()
            }),
            Matrix::Csc(Sparse { nrows, ncols, indptr, indices, .. }) => {
                let mut sums = vec![0f64; *nrows];
                for c in (0..*ncols).filter(|&c| keep[c]) {
                    for k in indptr[c]..indptr[c + 1] {
                        sums[indices[k] as usize] += v[k].f64();
                    }
                }
                sums
            }
        }
    }
    with_numbers!(matrix.values(), v => typed(matrix, v, keep))
}

/// Calls `f(row, column, element)` for every stored element, in no order.
fn for_each_element(matrix: &Matrix, f: impl Fn(usize, usize, f64) + Sync) {
    fn typed<T: Number>(matrix: &Matrix, v: &[T], f: impl Fn(usize, usize, f64) + Sync) {
        match matrix {
            Matrix::Dense(Dense { nrows, ncols, .. }) => {
                map_items(parts(*nrows, ROWS), |rows| {
                    for r in rows {
                        let row = &v[r * ncols..(r + 1) * ncols];
                        row.iter().enumerate().for_each(|(c, x)| f(r, c, x.f64()));
                    }
                });
            }
            Matrix::Csr(Sparse { indptr, indices, .. })
            | Matrix::Csc(Sparse { indptr, indices, .. }) => {
                let by_rows = matches!(matrix, Matrix::Csr(_));
                map_items(parts(indptr.len() - 1, ROWS), |majors| {
                    for major in majors {
                        for k in indptr[major]..indptr[major + 1] {
                            let minor = indices[k] as usize;
                            let (r, c) = if by_rows { (major, minor) } else { (minor, major) };
                            f(r, c, v[k].f64());
                        }
                    }
                });
            }
        }
    }
    with_numbers!(matrix.values(), v => typed(matrix, v, f));
}

/// Whether all elements are whole numbers of at least 0, as counts are.
pub(super) fn are_counts(values: &Values) -> bool {
    fn typed<T: Number>(v: &[T]) -> bool {
        let is_count = |x: &T| x.f64() >= 0.0 && x.f64().fract() == 0.0;
        map_items(parts(v.len(), 4096), |part| v[part].iter().all(is_count)).iter().all(|&all| all)
    }
    with_numbers!(values, v => typed(v))
}

/// The first column with an element that `is` holds for.
pub(super) fn first_column(matrix: &Matrix, is: impl Fn(f64) -> bool + Sync) -> Option<usize> {
    let first = AtomicUsize::new(usize::MAX);
    for_each_element(matrix, |_, c, x| {
        if is(x) {
            first.fetch_min(c, Ordering::Relaxed);
        }
    });
    Some(first.into_inner()).filter(|&c| c < matrix.ncols())
}

#[cfg(test)]
pub(super) mod tests {
    use super::*;
    use crate::anndata::{AnnData, Frame};
    use crate::parallel::same_with_any_threads;
    use crate::rng::Rng;
    use ndarray::Array2;

    /// A matrix with numbered rows and columns.
    pub fn sample(x: Matrix) -> AnnData {
        let (n, m) = x.shape();
        AnnData::new(x, Frame::with_len(n), Frame::with_len(m)).unwrap()
    }

    /// The same counts in every form and in several number types.
    pub fn forms(n: usize, m: usize) -> Vec<Matrix> {
        let mut rng = Rng::new(6);
        let rate: Vec<f64> = (0..m).map(|_| 3.0 * rng.uniform().powi(2)).collect();
        let counts = Array2::from_shape_fn((n, m), |(_, j)| {
            let gamma = rng.gamma(2.0);
            rng.poisson(rate[j] * gamma) as f64
        });
        let dense = Matrix::from(counts.clone());
        let small = counts.iter().map(|&x| x as i32).collect::<Vec<_>>();
        vec![
            Matrix::Csr(dense.to_csr()),
            Matrix::Csc(dense.to_csc()),
            Matrix::from(counts.mapv(|x| x as f32)),
            Matrix::Dense(Dense::new(n, m, small).unwrap()),
            dense,
        ]
    }

    #[test]
    fn every_form_gives_the_same_sums() {
        let all = forms(300, 17);
        let dense = all[0].to_array_f64();
        for m in &all {
            let sums = same_with_any_threads(|| column_sums(m));
            let rows = same_with_any_threads(|| row_sums(m));
            for c in 0..17 {
                let column = dense.column(c);
                assert_eq!(sums.sum[c], column.sum());
                assert_eq!(sums.square[c], column.mapv(|x| x * x).sum());
                assert_eq!(sums.count[c], column.iter().filter(|&&x| x > 0.0).count());
            }
            assert_eq!(rows.sum, dense.sum_axis(ndarray::Axis(1)).to_vec());
            let (clipped, _) = clipped_sums(m, None, &[2.0; 17]);
            assert_eq!(clipped[3], dense.column(3).mapv(|x| x.min(2.0)).sum());
            let some = [3usize, 4, 7, 299];
            let part = column_sums_of(m, Some(&some));
            let undone = expm1_sums(m, Some(&some), 1.0);
            for c in 0..17 {
                let picked = some.map(|r| dense[[r, c]]);
                assert_eq!(part.sum[c], picked.iter().sum::<f64>());
                assert_eq!(part.count[c], picked.iter().filter(|&&x| x > 0.0).count());
                let expected: f64 = picked.iter().map(|x| x.exp() - 1.0).sum();
                assert!((undone.sum[c] - expected).abs() <= 1e-5 * expected);
            }
            assert!(are_counts(m.values()));
        }
    }

    #[test]
    fn a_constant_column_has_no_variance() {
        let m = Matrix::from(Array2::from_elem((7, 1), 3.3f64));
        assert_eq!(column_sums(&m).mean_var(7).1, [0.0]);
        assert!(!are_counts(m.values()));
        assert!(!are_counts(&Values::F32(vec![f32::NAN])));
        assert!(!are_counts(&Values::I64(vec![-1])));
    }

    #[test]
    fn numbers_below_zero_are_counted_where_that_is_asked_for() {
        let dense = Matrix::from(ndarray::array![[0f64, 2., -1.], [0., -3., 0.]]);
        for m in [Matrix::Csr(dense.to_csr()), Matrix::Csc(dense.to_csc()), dense] {
            let [rows, columns] = nonzero_sums(&m);
            assert_eq!((rows.count, columns.count), (vec![2, 1], vec![0, 2, 1]));
            assert_eq!((row_sums(&m).count, column_sums(&m).count), (vec![1, 0], vec![0, 1, 0]));
            assert_eq!(first_column(&m, |v| v < 0.0), Some(1));
            assert_eq!(first_column(&m, |v| v > 2.0), None);
        }
    }
}
