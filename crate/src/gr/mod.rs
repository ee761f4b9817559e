//! Spatial graphs, as squidpy's `gr`.
