//! The one dynamic library that notebook cells link.
//!
//! It re-exports the library, so that cells reach it as `spatialkit::…`, and carries the few
//! functions with which a cell reports to the kernel ([`__cell`]). They live here because this
//! library shares its copy of `std` with the cells: a panic hook, or a flush of `stdout`, set
//! from the kernel's own binary would not reach them.

pub use spatialkit::*;

#[doc(hidden)]
#[path = "cell.rs"]
pub mod __cell;

#[doc(hidden)]
#[path = "store.rs"]
pub mod __store;

#[doc(hidden)]
#[path = "vars.rs"]
pub mod __vars;
