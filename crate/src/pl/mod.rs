//! Figures, under the names that scanpy and squidpy give them.
//!
//! Every function returns a [`Figure`]: the value of a notebook cell, which shows itself, and
//! whose methods are its options. It owns what it draws and is drawn when it is shown or saved.
//!
//! ```
//! use spatialkit::{datasets, pl};
//! let slide = datasets::synthetic(&datasets::Synthetic::default().n_genes(50))?;
//! let map = pl::spatial(&slide, "layer").title("Cortex").image_alpha(0.5);
//! let (png, width, height) = map.render()?;
//! assert!(width > 300 && height > 300 && png.starts_with(b"\x89PNG"));
//! # Ok::<(), spatialkit::Error>(())
//! ```
//!
//! | function | shows |
//! |---|---|
//! | [`spatial`] ([`spatial_scatter`]), [`spatial_graph`], [`spatial_libraries`] | spots on the tissue, by category or number |
//! | [`gene_map`] | a gene as measured and as predicted |
//! | [`spots_on_tissue`] | whether spots lie on the tissue of their image |
//! | [`embedding`] ([`scatter`], [`umap`], [`tsne`], [`pca`]), [`scatter_xy`] | points of an embedding, or x against y |
//! | [`violin`] | distributions by groups, with tests between them |
//! | [`dotplot`], [`matrixplot`], [`stacked_violin`] | genes by groups of cells |
//! | [`heatmap`], [`tracksplot`], [`clustermap`] | genes in every cell |
//! | [`dendrogram`], [`correlation_matrix`] | how groups resemble each other |
//! | [`rank_genes_groups`] (and its `_dotplot`, …), [`volcano`] | genes that mark groups |
//! | [`highest_expr_genes`], [`highly_variable_genes`], [`pca_variance_ratio`] | what preprocessing found |
//! | [`nhood_enrichment`], [`interaction_matrix`], [`centrality_scores`], [`co_occurrence`], [`ripley`] | how clusters lie to each other |
//! | [`line`], [`loss_curve`], [`bar`], [`histogram`] | curves and bars |
//! | [`custom`] | whatever plotters can draw |
//!
//! How it is built: a [`Plot`] draws on a [`Canvas`], which keeps marks in CSS pixels; `raster`
//! makes pixels of them and `svg` text. A new kind of figure is a new `Plot`: charts with axes are
//! made of the panels of `charts`, grids of cells of those of `heat`; plotters draws through [`Pen`]. Nothing here computes on data beyond what drawing needs.

mod axis;
mod bar;
mod canvas;
mod chart_items;
mod charts;
mod cluster_heat;
mod clustermap;
mod custom;
mod density;
mod dotplot;
mod figure;
mod gene_map;
mod genes;
mod grouping;
mod heat;
mod heat_cells;
mod heat_draw;
mod heat_key;
mod heatmap;
mod kde;
mod keys;
mod layout;
mod legend;
mod line;
mod linkage;
mod marked;
mod matrixplot;
mod neighbourhood;
mod norm;
mod on_tissue;
mod options;
mod palette;
mod panel;
mod pen;
mod points;
mod quality;
mod ranked;
mod ranked_plots;
mod raster;
mod scale;
mod spatial;
mod stacked_violin;
mod stored_tree;
mod svg;
mod table;
mod text;
mod theme;
mod ticks;
mod tracksplot;
mod tree;
mod tree_plots;
mod violin;
mod violin_tests;
mod volcano;

pub use bar::{Bars, bar, histogram};
pub use canvas::{Align, Canvas, Rect, SpotShape, TextStyle, VAlign};
pub use cluster_heat::{ClusterHeat, interaction_matrix, nhood_enrichment};
pub use clustermap::{ClusterMap, clustermap, clustermap_of_x};
pub use custom::{Custom, custom};
pub use dotplot::{DotPlot, dotplot};
pub use figure::{Figure, Frame, Plot};
pub use gene_map::gene_map;
pub use genes::Genes;
pub use heatmap::{Heatmap, heatmap};
pub use keys::{Key, Keys, labels, values};
pub use line::{Lines, Series, line, loss_curve};
pub use matrixplot::{MatrixPlot, matrixplot};
pub use neighbourhood::{
    CentralityPlot, CoOccurrencePlot, RipleyPlot, centrality_scores, co_occurrence, ripley,
};
pub use on_tissue::spots_on_tissue;
pub use options::LegendLoc;
pub use palette::{
    Cmap, Color, Palette, cmap_names, colorblind_colors, default_colors, palette_names,
};
pub use pen::Pen;
pub use points::{Limit, Limits, PointMap};
pub use quality::{
    HighestGenes, VariableGenes, VarianceRatio, highest_expr_genes, highly_variable_genes,
    pca_variance_ratio,
};
pub use ranked_plots::{
    Ranking, rank_genes_groups_dotplot, rank_genes_groups_heatmap, rank_genes_groups_matrixplot,
    rank_genes_groups_stacked_violin, rank_genes_groups_tracksplot,
};
pub use spatial::{
    diffmap, embedding, pca, scatter, scatter_xy, set_colors, spatial, spatial_graph,
    spatial_libraries, spatial_library, spatial_scatter, tsne, umap,
};
pub use stacked_violin::{DensityNorm, StackedViolin, stacked_violin};
pub use table::{GroupTable, StandardScale};
pub use text::text_width;
pub use theme::{Ink, Theme};
pub use tracksplot::{TracksPlot, tracksplot};
pub use tree_plots::{
    CorrelationMatrix, DendrogramPlot, correlation_matrix, dendrogram, dendrogram_of,
};
pub use violin::{Violin, violin};
pub use violin_tests::Comparison;
pub use volcano::{GeneRanks, Volcano, rank_genes_groups, volcano};

#[cfg(test)]
mod tests;

/// The median distance of neighbouring spots, for tests of other modules.
#[cfg(test)]
pub(crate) fn spacing_of(adata: &crate::anndata::AnnData) -> f64 {
    let coords = adata.spatial().expect("the test's data have coordinates");
    spatial::spacing(&coords.rows().into_iter().map(|r| [r[0], r[1]]).collect::<Vec<_>>())
}
