//! `cargo xtask bench vit-encode|histosge-train|spamcaf-train`: networks beside PyTorch;
//! `spatialformer-embed|spatialformer-perturb`: SpatialFormer beside the official package.

use super::{Found, Options, Sides};
use anyhow::Result;
use std::process::ExitCode;

/// The cases, which are groups of their own, and what the two sides' results are held against: the sum of
/// the features; the loss of the fourth epoch, where SpaMCAF's dropout draws other numbers.
pub(super) const CASES: [(&str, Found); 3] = [
    ("vit-encode", Found::Equal(1e-4)),
    ("histosge-train", Found::Equal(1e-2)),
    ("spamcaf-train", Found::Equal(0.1)),
];

pub(super) fn models(groups: &[&str], options: &Options) -> Result<ExitCode> {
    let environment = ("models", "crate/benches/python/requirements-models.txt");
    let sides = Sides::build("bench-models", "models.py", environment)?;
    for (case, found) in CASES {
        if groups.contains(&case) && case.contains(&options.only) {
            sides.compare(options, case, case, &[], found)?;
        }
    }
    Ok(ExitCode::SUCCESS)
}

/// The cases of SpatialFormer: group, what is measured, operation. What is held against each other is the
/// sum of the embeddings, of which half are negative, or of probabilities.
pub(super) const SPATIALFORMER: [(&str, &str, &str, Found); 3] = [
    ("spatialformer-embed", "500 cells", "spatialformer-embed-single", Found::Equal(1e-2)),
    ("spatialformer-embed", "250 pairs", "spatialformer-embed-pair", Found::Equal(1e-4)),
    ("spatialformer-perturb", "3,600 deletions", "spatialformer-perturb", Found::Equal(1e-4)),
];

pub(super) fn spatialformer(groups: &[&str], options: &Options) -> Result<ExitCode> {
    let environment = ("spatialformer", "crate/benches/python/requirements-spatialformer.txt");
    let sides = Sides::build("bench-spatialformer", "spatialformer.py", environment)?;
    for (group, case, operation, found) in SPATIALFORMER {
        let name = format!("{group}, {case}");
        if groups.contains(&group) && name.contains(&options.only) {
            sides.compare(options, &name, operation, &[], found)?;
        }
    }
    Ok(ExitCode::SUCCESS)
}
