//! The graph of neighbouring cells that clustering and embeddings start from.

mod weights;

use super::pca::{Pca, pca};
use crate::anndata::{AnnData, Map, Matrix, Sparse, Value, Values};
use crate::error::{Error, Result};
use crate::linalg::{NearestRows, Real, nearest_rows, nearest_rows_approximate};
use ndarray::{Array2, ArrayView2, s};

/// Cells above which the search is approximate, unless it is asked to be exact. Exact search takes twice
/// as long at 50,000 cells and grows with their square.
const MANY: usize = 100_000;

/// How far apart two cells are.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Metric {
    /// The length of the difference.
    #[default]
    Euclidean,
    /// 1 − the cosine of the angle between them. A cell of zeros has none, and is an error.
    Cosine,
}

impl Metric {
    fn name(self) -> &'static str {
        match self {
            Metric::Euclidean => "euclidean",
            Metric::Cosine => "cosine",
        }
    }
}

/// How distances become the weights of the graph.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Connectivity {
    /// UMAP's fuzzy union (McInnes et al., 2018).
    #[default]
    Umap,
    /// A Gaussian kernel whose width adapts to each cell (Haghverdi et al., 2016).
    Gauss,
}

impl Connectivity {
    fn name(self) -> &'static str {
        match self {
            Connectivity::Umap => "umap",
            Connectivity::Gauss => "gauss",
        }
    }
}

/// Options of [`neighbors`].
#[derive(Debug, Clone, PartialEq)]
pub struct Neighbors {
    n_neighbors: usize,
    n_pcs: Option<usize>,
    use_rep: Option<String>,
    metric: Metric,
    method: Connectivity,
    exact: Option<bool>,
    seed: u64,
    key_added: Option<String>,
}

impl Default for Neighbors {
    fn default() -> Self {
        Neighbors {
            n_neighbors: 15,
            n_pcs: None,
            use_rep: None,
            metric: Metric::Euclidean,
            method: Connectivity::Umap,
            exact: None,
            seed: 0,
            key_added: None,
        }
    }
}

impl Neighbors {
    /// Size of a neighbourhood, the cell itself included. Default: 15.
    pub fn n_neighbors(mut self, n: usize) -> Self {
        self.n_neighbors = n;
        self
    }

    /// Use the first `n` columns of the representation, unless that is X; 0 without a
    /// [`use_rep`](Neighbors::use_rep) is X. Default: all.
    pub fn n_pcs(mut self, n: usize) -> Self {
        self.n_pcs = Some(n);
        self
    }

    /// The entry of `obsm` that holds the cells' positions, or `X`. Default: `X_pca`, computed with
    /// [`Pca::default`] if it is missing; X itself with up to 50 variables.
    pub fn use_rep(mut self, key: impl Into<String>) -> Self {
        self.use_rep = Some(key.into());
        self
    }

    /// How far apart cells are. Default: [`Metric::Euclidean`].
    pub fn metric(mut self, metric: Metric) -> Self {
        self.metric = metric;
        self
    }

    /// How distances become weights. Default: [`Connectivity::Umap`].
    pub fn method(mut self, method: Connectivity) -> Self {
        self.method = method;
        self
    }

    /// Whether the search is exact whatever the number of cells, or approximate. Default: exact up to
    /// 100,000 cells.
    pub fn exact(mut self, yes: bool) -> Self {
        self.exact = Some(yes);
        self
    }

    /// Seed of the approximate search. Default: 0.
    pub fn seed(mut self, seed: u64) -> Self {
        self.seed = seed;
        self
    }

    /// Write to `uns[key]`, `obsp[key_distances]` and `obsp[key_connectivities]` instead of
    /// `neighbors`, `distances` and `connectivities`.
    pub fn key_added(mut self, key: impl Into<String>) -> Self {
        self.key_added = Some(key.into());
        self
    }
}

/// Finds each cell's nearest neighbours and weighs them.
///
/// Matches `scanpy.pp.neighbors` 1.11.5 where that is exact (euclidean below 8,192 cells, cosine below
/// 4,096): the same neighbours, distances within 1e-6, connectivities within 1e-4 (where UMAP's
/// bisection for the width of a neighbourhood ends). Cells at equal distance are taken by index, and
/// a copy of a cell counts as its neighbour. Beyond, scanpy approximates; here the search is exact up
/// to 100,000 cells and then approximate
/// ([`nearest_rows_approximate`](crate::linalg::nearest_rows_approximate): more than 95 % of the
/// neighbours are the true ones, the same bits for the same seed).
///
/// Writes `obsp["distances"]` (`n_neighbors` − 1 a row, nearest first, CSR), `obsp["connectivities"]`
/// (symmetric, CSR; `float32`, with the method `gauss` `float64`) and `uns["neighbors"]` with
/// `connectivities_key`, `distances_key` and `params`, as scanpy's and squidpy's functions expect them.
///
/// ```
/// # use spatialkit::{anndata::{AnnData, Frame}, ndarray::Array2, pp};
/// # let x = Array2::from_shape_fn((60, 4), |(i, j)| ((i * 7 + j * 5 + i * j) % 11) as f32);
/// # let mut adata = AnnData::new(x, Frame::with_len(60), Frame::with_len(4))?;
/// pp::neighbors(&mut adata, pp::Neighbors::default().n_neighbors(10))?;
/// assert_eq!(adata.obsp["distances"].values().len(), 60 * 9);
/// # Ok::<(), spatialkit::Error>(())
/// ```
///
/// # Errors
/// [`Error::Parameter`] when `n_neighbors` is below 2 or above the number of cells, or `n_pcs` above
/// the columns of the representation; [`Error::MissingKey`] without the representation;
/// [`Error::Data`] when an element is not finite; [`Error::Interrupted`].
pub fn neighbors(adata: &mut AnnData, options: Neighbors) -> Result<()> {
    let n = adata.n_obs();
    let k = options.n_neighbors;
    if k < 2 || k > n {
        let reason =
            format!("counts the cell itself, so it must be between 2 and the number of cells, {n}");
        return Err(Error::parameter("n_neighbors", k, reason));
    }
    let found = match representation(adata, &options)? {
        Where::X => search(adata.x()?, None, &options)?,
        Where::Obsm(key) => search(adata.obsm(&key)?, options.n_pcs, &options)?,
    };
    let weights: Matrix = match options.method {
        Connectivity::Umap => weights::umap(&found).into(),
        Connectivity::Gauss => weights::gauss(&found).into(),
    };
    write(adata, &options, found, weights);
    Ok(())
}

enum Where {
    X,
    Obsm(String),
}

/// Where the cells' positions are; computes principal components if there are none.
fn representation(adata: &mut AnnData, options: &Neighbors) -> Result<Where> {
    const FEW: usize = 50;
    match &options.use_rep {
        Some(key) if adata.obsm.contains_key(key) => Ok(Where::Obsm(key.clone())),
        Some(key) if key == "X" => Ok(Where::X),
        Some(key) => adata.obsm(key).map(|_| Where::X),
        None if options.n_pcs == Some(0) || adata.n_vars() <= FEW => Ok(Where::X),
        None => {
            if !adata.obsm.contains_key("X_pca") {
                let pcs = options.n_pcs.map_or(Pca::default(), |n| Pca::default().n_comps(n));
                pca(adata, pcs)?;
            }
            Ok(Where::Obsm("X_pca".into()))
        }
    }
}

/// The neighbours by the first `n_pcs` columns (`None` is all).
fn search(matrix: &Matrix, n_pcs: Option<usize>, options: &Neighbors) -> Result<NearestRows> {
    let (n, d) = matrix.shape();
    let width = n_pcs.unwrap_or(d);
    if width > d {
        let reason = format!("the representation has {d} columns; compute more or ask for less");
        return Err(Error::parameter("n_pcs", width, reason));
    }
    if width == 0 {
        return Err(Error::data("neighbors", "the representation has no columns"));
    }
    match matrix {
        Matrix::Dense(m) => match &m.values {
            Values::F64(v) => {
                let x = ArrayView2::from_shape((n, d), v).expect("a dense matrix has its shape");
                nearest(x.slice(s![.., ..width]), options)
            }
            values => {
                let v = values.to_f32();
                let x = ArrayView2::from_shape((n, d), &v).expect("a dense matrix has its shape");
                nearest(x.slice(s![.., ..width]), options)
            }
        },
        sparse => nearest(sparse.to_array_f32().slice(s![.., ..width]), options),
    }
}

fn nearest<T: Real>(x: ArrayView2<T>, options: &Neighbors) -> Result<NearestRows> {
    let k = options.n_neighbors - 1;
    let exact = options.exact.unwrap_or(x.nrows() <= MANY);
    match options.metric {
        Metric::Euclidean if exact => nearest_rows(x, k),
        Metric::Euclidean => nearest_rows_approximate(x, k, options.seed),
        Metric::Cosine => {
            // Of rows u and v of length 1, 1 − u·v = |u − v|² / 2, which is exact for small angles too.
            let mut unit = Array2::<f64>::zeros(x.dim());
            let mut zero = None;
            for (i, (mut to, row)) in unit.rows_mut().into_iter().zip(x.rows()).enumerate() {
                if row.iter().all(|v| v.as_f64() == 0.0) {
                    zero = zero.or(Some(i));
                    continue;
                }
                let largest = row.iter().fold(0f64, |m, v| m.max(v.as_f64().abs()));
                to.iter_mut().zip(row).for_each(|(t, v)| *t = v.as_f64() / largest);
                let length = to.iter().map(|v| v * v).sum::<f64>().sqrt();
                to.iter_mut().for_each(|t| *t /= length);
            }
            if let Some(row) = zero {
                let reason = format!(
                    "row {row} holds zeros only and has no direction; drop such cells or use the \
                     euclidean metric"
                );
                return Err(Error::data("neighbors", reason));
            }
            let mut found = match exact {
                true => nearest_rows(unit.view(), k)?,
                false => nearest_rows_approximate(unit.view(), k, options.seed)?,
            };
            found.distances.mapv_inplace(|d| d * d / 2.0);
            Ok(found)
        }
    }
}

fn write(adata: &mut AnnData, options: &Neighbors, found: NearestRows, weights: Matrix) {
    let (n, k) = found.indices.dim();
    let distances = Matrix::Csr(Sparse {
        nrows: n,
        ncols: n,
        indptr: (0..=n).map(|i| i * k).collect(),
        indices: found.indices.into_raw_vec_and_offset().0,
        values: found.distances.into_raw_vec_and_offset().0.into(),
    });
    let (key, distances_key, connectivities_key) = match &options.key_added {
        None => ("neighbors".into(), "distances".into(), "connectivities".into()),
        Some(key) => (key.clone(), format!("{key}_distances"), format!("{key}_connectivities")),
    };
    let mut params: Map<Value> = [
        ("n_neighbors".to_string(), Value::int(options.n_neighbors as i64)),
        ("method".to_string(), Value::from(options.method.name())),
        ("random_state".to_string(), Value::int(options.seed as i64)),
        ("metric".to_string(), Value::from(options.metric.name())),
    ]
    .into();
    if let Some(rep) = &options.use_rep {
        params.insert("use_rep".into(), Value::from(rep.as_str()));
    }
    if let Some(pcs) = options.n_pcs {
        params.insert("n_pcs".into(), Value::int(pcs as i64));
    }
    let entry: Map<Value> = [
        ("connectivities_key".to_string(), Value::Str(connectivities_key.clone())),
        ("distances_key".to_string(), Value::Str(distances_key.clone())),
        ("params".to_string(), params.into()),
    ]
    .into();
    adata.obsp.insert(distances_key, distances);
    adata.obsp.insert(connectivities_key, weights);
    adata.uns.insert(key, entry.into());
}

#[cfg(test)]
mod tests {
    use super::super::stats::tests::{forms, sample};
    use super::*;
    use crate::parallel::same_with_any_threads;

    fn dense(m: &Matrix) -> Array2<f64> {
        m.to_array_f64()
    }

    #[test]
    fn the_graph_is_symmetric_complete_and_the_same_on_any_threads() {
        for method in [Connectivity::Umap, Connectivity::Gauss] {
            let mut all = Vec::new();
            for x in forms(150, 12) {
                all.push(same_with_any_threads(|| {
                    let mut a = sample(x.clone());
                    neighbors(&mut a, Neighbors::default().n_neighbors(8).method(method)).unwrap();
                    a.check().unwrap();
                    (dense(&a.obsp["distances"]), dense(&a.obsp["connectivities"]))
                }));
            }
            for (distances, weights) in &all {
                assert_eq!((distances, weights), (&all[0].0, &all[0].1), "{method:?}");
                assert_eq!(weights, &weights.t().to_owned());
                assert!(weights.iter().all(|&w| (0.0..=1.0).contains(&w)));
                assert!(weights.diag().iter().all(|&w| w == 0.0));
                for ((i, j), &d) in distances.indexed_iter() {
                    assert!(d == 0.0 || weights[[i, j]] > 0.0, "{method:?} {i} {j}");
                }
            }
        }
    }

    #[test]
    fn copies_of_cells_are_neighbours_and_give_no_nan() {
        let x = Array2::from_shape_fn((40, 3), |(i, j)| if i < 30 { 1.0 } else { (i * j) as f64 });
        for method in [Connectivity::Umap, Connectivity::Gauss] {
            let mut a = sample(x.clone().into());
            neighbors(&mut a, Neighbors::default().n_neighbors(5).method(method)).unwrap();
            let weights = dense(&a.obsp["connectivities"]);
            assert!(weights.iter().all(|w| w.is_finite()));
            assert_eq!(weights[[0, 1]], 1.0);
            let Matrix::Csr(m) = &a.obsp["distances"] else { panic!() };
            assert_eq!(m.indices[..4], [1, 2, 3, 4]);
        }
    }

    #[test]
    fn cosine_ignores_length_and_names_a_row_of_zeros() {
        let mut x = forms(80, 10).remove(4).to_array_f64() + 0.01;
        let mut a = sample(x.clone().into());
        let options = || Neighbors::default().metric(Metric::Cosine).key_added("angle");
        neighbors(&mut a, options()).unwrap();
        x.rows_mut().into_iter().enumerate().for_each(|(i, mut r)| r *= (i + 1) as f64);
        let mut b = sample(x.clone().into());
        neighbors(&mut b, options()).unwrap();
        let apart = dense(&a.obsp["angle_distances"]) - dense(&b.obsp["angle_distances"]);
        assert!(apart.iter().all(|d| d.abs() < 1e-12));
        assert_eq!(a.uns["angle"].at(&["params", "metric"]).unwrap().as_str(), Some("cosine"));
        x.row_mut(3).fill(0.0);
        let e = neighbors(&mut sample(x.into()), options()).unwrap_err().to_string();
        assert!(e.contains("row 3"), "{e}");
    }

    #[test]
    fn the_representation_is_chosen_as_scanpy_does() {
        let mut a = sample(forms(70, 60).remove(0));
        neighbors(&mut a, Neighbors::default().n_pcs(5)).unwrap();
        assert_eq!(a.obsm["X_pca"].ncols(), 5);
        let e = neighbors(&mut a, Neighbors::default().n_pcs(6)).unwrap_err().to_string();
        assert!(e.contains("has 5 columns"), "{e}");
        let five = a.obsp["distances"].clone();
        neighbors(&mut a, Neighbors::default().use_rep("X_pca")).unwrap();
        assert_eq!(a.obsp["distances"], five);
        neighbors(&mut a, Neighbors::default().use_rep("X")).unwrap();
        assert_ne!(a.obsp["distances"], five);
        let e = neighbors(&mut a, Neighbors::default().use_rep("X_umap")).unwrap_err().to_string();
        assert!(e.contains("obsm has no entry `X_umap`"), "{e}");
    }

    #[test]
    fn sizes_out_of_range_are_refused() {
        let mut a = sample(forms(10, 6).remove(0));
        for k in [0, 1, 11] {
            let e = neighbors(&mut a, Neighbors::default().n_neighbors(k)).unwrap_err().to_string();
            assert!(e.contains("between 2 and the number of cells, 10"), "{e}");
        }
        neighbors(&mut a, Neighbors::default().n_neighbors(10)).unwrap();
        let mut x = a.x().unwrap().to_array_f32();
        x[[4, 4]] = f32::NAN;
        a.x = Some(x.into());
        let e = neighbors(&mut a, Neighbors::default().n_neighbors(3)).unwrap_err().to_string();
        assert!(e.contains("row 4"), "{e}");
    }

    #[test]
    fn a_cell_that_is_no_number_has_no_direction_either() {
        for bad in [f32::NAN, f32::INFINITY] {
            let mut x = forms(12, 3).remove(2).to_array_f32() + 1.0;
            x.row_mut(4).fill(0.0);
            x[[4, 1]] = bad;
            let options = Neighbors::default().n_neighbors(3).metric(Metric::Cosine);
            let e = neighbors(&mut sample(x.into()), options).unwrap_err().to_string();
            assert!(e.contains("row 4 holds NaN or infinity"), "{e}");
        }
    }
}
