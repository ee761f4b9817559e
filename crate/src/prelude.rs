//! What a notebook wants in scope: `use spatialkit::prelude::*;`.

pub use crate::anndata::{AnnData, Categorical, Column, Frame, Matrix, Value};
pub use crate::error::{Error, Result};
