//! What a notebook wants in scope: `use spatialkit::prelude::*;`.

pub use crate::anndata::{
    AnnData, Categorical, Column, Concat, Frame, How, Matrix, Merge, Select, Value,
};
pub use crate::datasets::{self, Synthetic};
pub use crate::error::{Error, Result};
pub use crate::gr::{
    self, CentralityScores, CoOccurrence, InteractionMatrix, NhoodEnrichment, Ripley, RipleyMode,
    Sepal, SpatialAutocorr, SpatialNeighbors, SpatiallyVariable,
};
pub use crate::image::{Border, Channels, SlideImage};
pub use crate::models::encoder::{Encoder, Histology, TextureEncoder, VitEncoder};
pub use crate::models::gene_maps::Task;
pub use crate::models::spatialformer::{self, Embed, PredictPairs, SpatialFormer, Vocabulary};
pub use crate::models::stamgc::Clustering;
pub use crate::models::{HisToSge, Preset, SpaMcaf, Stamgc};
pub use crate::nn::{Device, Pairs};
pub use crate::notebook::{self, Bundle, Rich};
pub use crate::pl::Theme;
pub use crate::pl::{Genes, Ranking};
pub use crate::pp::{Connectivity, GaussianSmooth, Metric, Neighbors, RegressOut};
pub use crate::pp::{FilterCells, FilterGenes, Hvg, NormalizeTotal, Pca, QcMetrics, Scale};
pub use crate::progress::{self, Progress};
pub use crate::tl::KMeans;
pub use crate::tl::{CorrMethod, FilterRankedGenes, RankGenes, RankGenesDf, RankMethod};
pub use crate::tl::{Correlation, Dendrogram, Enrich, Linkage, Mclust, ScoreGenes};
pub use crate::tl::{InitPos, Leiden, Tsne, Umap};
pub use crate::tl::{Integration, IntegrationScores};
pub use crate::tl::{Interpolate, LinearProbe, Refine, Ridge, ScoreGeneMap};
pub use crate::{io, pl, pp, tl};

pub use candle_core::{self, Tensor};
pub use ndarray;
pub use serde_json::{self, json};
