//! Spatial transcriptomics in Rust notebooks.
//!
//! Names, arguments and slots follow scanpy, squidpy and anndata. See `ARCHITECTURE.md` for the
//! order of the modules: each imports only from those above it.

pub mod error;
pub mod rng;
pub mod stats;

pub mod notebook;
pub mod parallel;
pub mod progress;

pub mod anndata;

pub mod image;
pub mod io;
pub mod linalg;
pub mod nn;

pub mod gr;
pub mod pp;
pub mod tl;

pub mod models;

pub mod datasets;
pub mod pl;

pub mod prelude;

pub use error::{Error, Result};

// The crates whose types appear in the API, so that a notebook needs no dependency of its own.
pub use {candle_core, candle_nn, ndarray, plotters, serde_json};
