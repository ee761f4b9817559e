//! Gene maps from histology: what HisToSGE and SpaMCAF share.
//!
//! ```text
//! counts ─ most variable genes, normalise, log ─> expression ─┐
//! image ─ patches ─ encoder ─> features ──────────────────────┼─ chunks ─ train ─> network
//! array_col, array_row ─> positions ──────────────────────────┘                       │
//! all spots, or a denser grid of them ─ features, positions ─ chunks ─ predict <──────┘─> AnnData
//! ```
//! *Recovery* hides half of the spots and predicts them: a map as dense as the slide from half of the
//! measurements, which can be judged. *Generation* learns from all spots and predicts between them: a map
//! denser than the slide.
//!
//! Two options of ours serve slides of few spots: networks that each do without a fold of the spots and stop
//! where they predict it best (`training`), and inverse distances beside them, each of both weighing as much
//! as it helps to predict spots that it was not told of (`blend`).
//!
//! Here live the tasks ([`Task`]), the cut into chunks ([`chunk_sizes`]), the denser grids ([`Dense`],
//! [`Grid`]) and the result ([`GeneMapFit`]). The networks are in [`histosge`](super::histosge) and
//! [`spamcaf`](super::spamcaf).

mod blend;
mod checkpoint;
mod chunks;
mod expression;
mod grid;
mod places;
mod plan;
mod result;
mod run;
mod settings;
mod training;

pub use chunks::chunk_sizes;
pub use grid::{Dense, Grid};
pub use result::GeneMapFit;
pub use settings::Task;

pub(super) use chunks::Chunk;
pub(super) use places::{check_places, whole_places};
pub(super) use run::{Learner, Predicted, run};
pub(super) use settings::{Settings, settings_of};

#[cfg(test)]
mod tests;
