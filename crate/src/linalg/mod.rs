//! Numerical kernels that several modules share, on plain arrays.
//!
//! What lives here knows nothing of [`AnnData`](crate::anndata): matrix products ([`matmul`],
//! [`Csr`]), decompositions ([`svd`], [`randomized_svd`], [`krylov_svd`], [`eigh`],
//! [`orthonormalize`]), principal components ([`pca`]), distances and neighbours
//! ([`squared_distances`]; [`KdTree`] and [`knn`] for points of few dimensions; [`nearest_rows`] and
//! [`nearest_rows_approximate`] for many), means over nearby points ([`gaussian_smooth`]).
//!
//! Two promises hold for all of it. The bits of a result do not depend on the number of threads
//! (see [`parallel`](crate::parallel)). And nothing allocates a matrix of n × n for n rows of data.

mod centered;
mod dense;
mod distance;
mod kdtree;
mod matmul;
mod neighbors;
mod pca;
mod smooth;
mod sparse;
mod svd;

pub use centered::Centered;
pub use dense::{eigh, orthonormalize, svd};
pub use distance::{for_distance_tiles, squared_distance, squared_distances, squared_norms};
pub use kdtree::{KdTree, Neighbor, knn};
pub use matmul::matmul;
pub use neighbors::{NearestRows, nearest_rows, nearest_rows_approximate};
pub use pca::{PcaFit, PcaSolver, pca, pca_of};
pub use smooth::{Features, gaussian_smooth, gaussian_smooth_of};
pub use sparse::Csr;
pub use svd::{Operator, Svd, krylov_svd, randomized_svd, svd_flip};

mod sealed {
    pub trait Sealed {}
    impl Sealed for f32 {}
    impl Sealed for f64 {}
}

/// `f32` or `f64`.
pub trait Real: ndarray::NdFloat + std::iter::Sum + sealed::Sealed {
    /// The nearest number of this type.
    fn from_f64(x: f64) -> Self;
    /// The same number as `f64`.
    fn as_f64(self) -> f64;
}

impl Real for f32 {
    fn from_f64(x: f64) -> f32 {
        x as f32
    }
    fn as_f64(self) -> f64 {
        f64::from(self)
    }
}

impl Real for f64 {
    fn from_f64(x: f64) -> f64 {
        x
    }
    fn as_f64(self) -> f64 {
        self
    }
}
