//! Probing embeddings: what a linear model can read from them.
//!
//! ```text
//! obsm (n × d) ─┬─ classes in obs ─> splits ─> logistic regressions ─> macro F1 ─ LinearProbe
//!               ├─ expression on one slide ─> ridge ─> that of another slide ──── ridge_probe
//!               └─ classes in obs ─> silhouette and its like ────────── embedding_scores
//! ```
//!
//! * `split`: training, validation and test part.
//! * `linear`: the logistic regressions of a linear probe, `result` what they found.
//! * `expression`: the ridge probe across slides.
//! * `embedding`: scores of the classes' geometry.

mod embedding;
mod expression;
mod linear;
mod result;
mod split;

pub use embedding::{EmbeddingScores, embedding_scores};
pub use expression::{RidgeProbe, ridge_probe};
pub use linear::{LinearProbe, linear_probe};
pub use result::{ProbeFit, ProbeRun, Spread};

use super::Classes;

/// The class of each observation, `None` where it is missing: absent, empty, or one of those to
/// leave out.
fn known_classes(labels: &(impl Classes + ?Sized), left_out: &[String]) -> Vec<Option<String>> {
    let known = |name: &String| !name.is_empty() && !left_out.contains(name);
    labels.names().into_iter().map(|name| name.filter(known)).collect()
}
