//! The one dynamic library that notebook cells link.
pub use spatialkit::*;
