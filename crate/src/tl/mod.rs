//! Tools and metrics, as scanpy's `tl`: k-means and what judges a clustering.

mod kmeans;
mod labels;
mod lloyd;
mod metrics;

pub use kmeans::{KMeans, KMeansFit, cluster_embedding, kmeans};
pub use labels::Labels;
pub use metrics::{ari, davies_bouldin, nmi, silhouette};
