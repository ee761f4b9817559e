//! Tools and metrics, as scanpy's `tl`: clustering, embeddings, and what judges them.

mod graph;
mod kmeans;
mod labels;
mod leiden;
mod lloyd;
mod metrics;
mod trustworthiness;
mod tsne;
mod umap;

pub use kmeans::{KMeans, KMeansFit, cluster_embedding, kmeans};
pub use labels::Labels;
pub use metrics::{ari, davies_bouldin, nmi, silhouette};

pub use leiden::{Leiden, LeidenFit, leiden};
pub use trustworthiness::trustworthiness;
pub use tsne::{Tsne, TsneFit, tsne};
pub use umap::{InitPos, Umap, UmapFit, umap};
