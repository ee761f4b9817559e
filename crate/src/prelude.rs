//! What a notebook wants in scope: `use spatialkit::prelude::*;`.

pub use crate::anndata::{AnnData, Categorical, Column, Frame, Matrix, Value};
pub use crate::error::{Error, Result};
pub use crate::models::{Preset, Stamgc, StamgcFit};
pub use crate::notebook::{self, Bundle, Rich};
pub use crate::progress::{self, Progress};
