//! `cargo xtask bench vit-encode|histosge-train|spamcaf-train`: networks beside PyTorch;
//! `spatialformer-embed|spatialformer-perturb`: SpatialFormer beside the official package;
//! `stamgc-preprocess|stamgc-train`: STAMGC beside a program that does what its published code does.

use super::{Found, Options, Sides};
use crate::tools::{run, say, target_dir};
use anyhow::{Context, Result};
use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode};

const ENVIRONMENT: (&str, &str) = ("models", "crate/benches/python/requirements-models.txt");

/// The cases, which are groups of their own, and what the two sides' results are held against: the sum of
/// the features; the loss of the fourth epoch, where SpaMCAF's dropout draws other numbers.
pub(super) const CASES: [(&str, Found); 3] = [
    ("vit-encode", Found::Equal(1e-4)),
    ("histosge-train", Found::Equal(1e-2)),
    ("spamcaf-train", Found::Equal(0.1)),
];

pub(super) fn models(groups: &[&str], options: &Options) -> Result<ExitCode> {
    let sides = Sides::build("bench-models", "models.py", ENVIRONMENT)?;
    cases(&sides, &CASES, groups, &[], options)
}

/// Those cases that are asked for, each an operation on the same files.
fn cases(
    sides: &Sides,
    cases: &[(&str, Found)],
    groups: &[&str],
    files: &[&Path],
    options: &Options,
) -> Result<ExitCode> {
    for &(case, found) in cases {
        if groups.contains(&case) && case.contains(&options.only) {
            sides.compare(options, case, case, files, found)?;
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

/// The cases of STAMGC: the sum of what preprocessing made; the last loss, which two initialisations share.
pub(super) const STAMGC: [(&str, Found); 2] =
    [("stamgc-preprocess", Found::Equal(1e-4)), ("stamgc-train", Found::Equal(0.01))];

pub(super) fn stamgc(groups: &[&str], options: &Options) -> Result<ExitCode> {
    let sides = Sides::build("bench-stamgc", "stamgc.py", ENVIRONMENT)?;
    cases(&sides, &STAMGC, groups, &[&slide(&sides)?], options)
}

/// The slide that `SPATIALKIT_SLIDE` names (an h5ad file with raw counts and layers in
/// `obs["layer_guess"]`), or the built-in tissue.
fn slide(sides: &Sides) -> Result<PathBuf> {
    if let Some(path) = std::env::var_os("SPATIALKIT_SLIDE") {
        return Ok(path.into());
    }
    say("no SPATIALKIT_SLIDE: measuring on the built-in tissue");
    let folder = target_dir().join("bench");
    std::fs::create_dir_all(&folder).with_context(|| format!("cannot make {folder:?}"))?;
    let path = folder.join("stamgc.h5ad");
    run(Command::new(&sides.ours).arg("slide").arg(&path), "writing the slide")?;
    Ok(path)
}
