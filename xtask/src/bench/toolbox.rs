//! `cargo xtask bench pp|neighbors|umap|leiden|rank_genes|moran`: the toolbox beside scanpy and squidpy.

use super::{Found, Options, PYTHON, Sides, output};
use crate::tools::{run, say, target_dir};
use anyhow::{Context, Result, ensure};
use std::path::PathBuf;
use std::process::ExitCode;

/// The groups of cases.
pub(super) const GROUPS: [&str; 6] = ["pp", "neighbors", "umap", "leiden", "rank_genes", "moran"];

/// Group, what is measured, operation, and what is held against each other: the sum of the distances of
/// neighbours (scanpy's search is approximate from 4,096 cells and finds farther ones), the modularity of clusters. Places of an
/// embedding depend on a generator; the tests compare their quality.
const CASES: [(&str, &str, &str, Found); 9] = [
    ("pp", "filter to PCA", "pp", Found::Equal(1e-3)),
    ("neighbors", "neighbors", "neighbors", Found::AtMost(1e-6)),
    ("umap", "UMAP", "umap", Found::Anything),
    ("leiden", "Leiden until stable (leidenalg)", "leiden", Found::AtLeast(0.005)),
    ("leiden", "Leiden 2 rounds (igraph)", "leiden-2", Found::AtLeast(0.005)),
    ("rank_genes", "Wilcoxon", "wilcoxon", Found::Equal(1e-6)),
    ("rank_genes", "t-test", "t-test", Found::Equal(1e-6)),
    ("moran", "Moran's I", "moran", Found::Equal(1e-6)),
    ("moran", "Moran's I, 100 permutations", "moran-100", Found::Equal(1e-6)),
];

/// Name of a size, cells, genes of the pipeline. What follows the pipeline has 2,000 genes.
const SIZES: [(&str, usize, usize); 2] = [("4k", 4_000, 5_000), ("50k", 50_000, 20_000)];

/// Cells of the measurements of growth, from which the exponent is taken.
const GROWTH: [usize; 3] = [50_000, 158_000, 500_000];

pub(super) fn toolbox(groups: &[&str], options: &Options) -> Result<ExitCode> {
    let sides = Sides::build("bench-toolbox", "toolbox.py", PYTHON)?;
    for (size, cells, genes) in SIZES {
        if options.growth || options.quick && size != "4k" {
            continue;
        }
        for (group, case, operation, found) in CASES {
            let name = format!("{case}, {size} cells");
            if !groups.contains(&group) || !name.contains(&options.only) {
                continue;
            }
            let files = made(&sides, cells, genes)?;
            let file = match operation {
                "pp" => files.join("counts.h5ad"),
                _ => files.join("prepared.h5ad"),
            };
            sides.compare(options, &name, operation, &[&file], found)?;
        }
    }
    if options.growth {
        growth(groups, options, &sides)?;
    }
    Ok(ExitCode::SUCCESS)
}

/// The folder of files of that size, made once.
fn made(sides: &Sides, cells: usize, genes: usize) -> Result<PathBuf> {
    let files = target_dir().join(format!("bench/toolbox/{cells}x{genes}"));
    if !files.join("made").exists() {
        say(&format!("making the files of {cells} cells × {genes} genes (once)"));
        let mut make = sides.reference("make");
        make.arg(&files).args([cells.to_string(), genes.to_string()]);
        run(&mut make, "making the files")?;
    }
    Ok(files)
}

/// Ours alone, step by step on more and more cells of 2,000 genes: the exponent of the growth is 1
/// where time is proportional to cells.
fn growth(groups: &[&str], options: &Options, sides: &Sides) -> Result<()> {
    let mut table: Vec<(String, Vec<f64>)> = Vec::new();
    let sizes = if options.quick { &GROWTH[..2] } else { &GROWTH[..] };
    for &cells in sizes {
        let files = made(sides, cells, 2_000)?;
        let text = output(sides.ours("growth").arg(files.join("counts.h5ad")).args(groups))?;
        for line in text.lines() {
            let (step, numbers) = line.split_once('\t').context("a step and its seconds")?;
            let seconds: f64 = numbers.parse().with_context(|| line.to_string())?;
            if step.starts_with('(') {
                continue; // what only prepares the next step
            }
            println!("growth: {step:<32} {cells:>7} cells {seconds:9.2} s");
            match table.iter_mut().find(|(s, _)| s == step) {
                Some((_, v)) => v.push(seconds),
                None => table.push((step.to_string(), vec![seconds])),
            }
        }
    }
    let decades = (sizes[sizes.len() - 1] as f64 / sizes[0] as f64).log10();
    for (step, v) in table {
        ensure!(v.len() == sizes.len(), "{step}: not measured at every size");
        let exponent = (v[v.len() - 1] / v[0]).log10() / decades;
        println!("growth: {step:<32} time ∝ cells^{exponent:.2}");
    }
    Ok(())
}
