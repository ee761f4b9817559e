//! `cargo xtask bench vit-encode|histosge-train|spamcaf-train`: networks beside PyTorch.

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
