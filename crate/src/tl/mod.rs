//! Tools and metrics, as scanpy's `tl`: genes that tell groups apart, scores and sets of genes, trees
//! of groups, k-means and Gaussian mixtures, and what judges a clustering, a classification, an
//! integration, a predicted gene map or an embedding.

mod agreement;
mod classification;
mod continuity;
mod correlate;
mod dendrogram;
mod enrich;
mod gene_maps;
mod graph;
mod integration;
mod kmeans;
mod labels;
mod leiden;
mod linkage;
mod lisi;
mod lloyd;
mod logistic;
mod mclust;
mod metrics;
mod perplexity;
mod probe;
mod rank_genes;
mod refine;
mod ridge;
mod score_genes;
mod source;
mod trustworthiness;
mod tsne;
mod umap;

pub use agreement::{VMeasure, adjusted_mutual_info, fowlkes_mallows, purity, v_measure};
pub use classification::{
    Classes, Classification, average_precision, classification, roc_auc, roc_auc_ovr,
};
pub use continuity::{chaos, pas};
pub use correlate::{pearson_columns, spearman_columns};
pub use dendrogram::{Correlation, Dendrogram, dendrogram};
pub use enrich::{Enrich, enrich};
pub use gene_maps::{
    ComparedMap, GeneMapComparison, GeneMapScores, Interpolate, ScoreGeneMap, SpotGrid,
    compare_gene_maps, interpolate_genes, ridge_genes, score_gene_map,
};
pub use integration::{
    Integration, IntegrationScores, graph_connectivity, integration_scores, silhouette_batch,
    silhouette_label,
};
pub use kmeans::{KMeans, KMeansFit, cluster_embedding, kmeans};
pub use labels::Labels;
pub use leiden::{Leiden, LeidenFit, leiden};
pub use linkage::{Drawing, Link, Linkage, draw_tree, linkage};
pub use lisi::{clisi, ilisi, lisi, lisi_knn};
pub use logistic::{LogisticFit, LogisticRegression};
#[doc(hidden)]
pub use mclust::mclust_trace;
pub use mclust::{Covariance, Mclust, MclustFit, mclust, mclust_bic};
pub use metrics::{ari, calinski_harabasz, davies_bouldin, nmi, silhouette, silhouette_samples};
pub use probe::{
    EmbeddingScores, LinearProbe, ProbeFit, ProbeRun, RidgeProbe, Spread, embedding_scores,
    linear_probe, ridge_probe,
};
pub use rank_genes::{
    CorrMethod, FilterRankedGenes, RankGenes, RankGenesDf, RankMethod, filter_rank_genes_groups,
    rank_genes_groups, rank_genes_groups_df,
};
pub use refine::{Refine, refine_labels};
pub use ridge::{Ridge, RidgeFit};
pub use score_genes::{ScoreGenes, ScoredGenes, score_genes, score_genes_cell_cycle};
pub use trustworthiness::trustworthiness;
pub use tsne::{Tsne, TsneFit, tsne};
pub use umap::{InitPos, Umap, UmapFit, umap};
