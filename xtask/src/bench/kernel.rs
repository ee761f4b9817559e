//! `cargo xtask bench cell-latency`: how long a cell takes in this kernel and in stock evcxr_jupyter with
//! the same library as its dependency.

use super::{Measured, Options, output, parse, report};
use crate::product;
use crate::tools::{cargo_command, root, run, say, target_dir};
use anyhow::{Result, ensure};
use std::path::PathBuf;
use std::process::{Command, ExitCode};

pub(super) const CASE: &str = "cell-latency";

const STOCK: &str = "0.22.0";

pub(super) fn kernel(options: &Options) -> Result<ExitCode> {
    let kernel = product::build()?;
    say("building the benchmark");
    let mut build = cargo_command()?;
    build.args(["build", "--release", "--quiet", "-p", "spatialkit-kernel", "--example"]);
    run(build.arg("bench-kernel"), "building the benchmark")?;
    let program = target_dir().join("release/examples/bench-kernel");
    let stock = stock()?;

    let mut ours = Command::new(&program);
    ours.arg("ours").arg(&kernel.program);
    let mut theirs = Command::new(&program);
    theirs.arg("stock").arg(&stock).arg(root().join("crate"));
    // Where it keeps what it has compiled, so that only the first run compiles the library.
    theirs.env("EVCXR_TMPDIR", session()?);
    say("stock evcxr_jupyter compiles the library (a quarter of an hour, once)");
    output(&mut theirs)?;

    let (mut a, mut b) = (vec![], vec![]);
    for _ in 0..options.runs {
        a.push(cases(&mut ours)?);
        b.push(cases(&mut theirs)?);
    }
    let column = |runs: &mut Vec<Vec<(String, Measured)>>| -> Vec<Measured> {
        runs.iter_mut().map(|run| run.remove(0).1).collect()
    };
    while let Some((name, _)) = a.first().and_then(|run| run.first()) {
        let name = format!("{CASE}, {name}");
        let (ours, theirs) = (column(&mut a), column(&mut b));
        if name.contains(&options.only) {
            report(options, &name, &ours, &theirs);
        }
    }
    Ok(ExitCode::SUCCESS)
}

/// One line a case: its name and what was measured. A kernel may print lines of its own.
fn cases(command: &mut Command) -> Result<Vec<(String, Measured)>> {
    let text = output(command)?;
    let of = |line: &str| {
        let (name, rest) = line.split_once(' ')?;
        Some((name.to_string(), parse(rest)?))
    };
    let cases: Vec<_> = text.lines().filter_map(of).collect();
    ensure!(cases.len() == 5, "{command:?} printed\n{text}");
    Ok(cases)
}

/// Outside the workspace, of which cargo would take it for a part.
fn session() -> Result<PathBuf> {
    let folder = std::env::temp_dir().join("spatialkit-evcxr");
    std::fs::create_dir_all(&folder)?;
    Ok(folder)
}

/// The stock kernel, installed once.
fn stock() -> Result<PathBuf> {
    let prefix = target_dir().join("tools/evcxr");
    let program = prefix.join("bin/evcxr_jupyter");
    if !program.exists() {
        say("installing evcxr_jupyter (some eight minutes, once)");
        let mut install = cargo_command()?;
        install.args(["install", "evcxr_jupyter", "--version", STOCK, "--locked", "--root"]);
        run(install.arg(&prefix), "installing evcxr_jupyter")?;
    }
    Ok(program)
}
