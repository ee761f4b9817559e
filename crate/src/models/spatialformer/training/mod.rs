//! Training a [`SpatialFormer`](super::SpatialFormer): on pairs of cells that are neighbours or not, on
//! hidden genes, and on genes that lie together within a cell.
//!
//! ```text
//! slide ─ Prepare ─┬─ ranked genes, places ──────────────┐
//! transcripts ─────┴─ which genes lie together (Together) ┴─> TrainingSlide (in memory or on disk)
//!
//! TrainingSlide ─ PairRule ─> pairs ─> TrainingBatch ─ hide ─> losses ─> gradients ─> Trainer
//! ```
//! [`Sage`] makes of the same transcripts the table of genes that a network may begin with. [`Train`] is a whole
//! training with pairs kept back to judge it by; [`Trainer`] one step, for batches of one's own. [`Annotate`]
//! fine-tunes a network to name kinds of cells.

mod annotate;
mod batch;
mod fit;
#[cfg(test)]
mod golden_tests;
mod losses;
mod lowrank;
mod neighbours;
mod sage;
mod schedule;
mod slide;
mod step;
#[cfg(test)]
mod tests;
mod together;
mod trainer;

pub use annotate::{Annotate, AnnotateFit, Annotator};
pub use batch::{TrainingBatch, TrainingCell};
pub use fit::{Train, TrainFit};
pub use neighbours::{CellPair, PairRule};
pub use sage::Sage;
pub use slide::{Prepare, TrainingSlide};
pub use together::{TogetherRule, Transcripts};
pub use trainer::{Schedule, Start, StepLoss, Trained, Trainer};
