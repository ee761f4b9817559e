//! `cargo xtask COMMAND`: from a fresh clone to a running notebook, and everything CI checks.
//!
//! Each command sets up what it needs, says what it is doing, and finds it ready the next time.
//! Whatever it installs goes below `target/tools`, never into the user's system.

mod bench;
mod fuzz;
mod product;
mod suite;
mod tools;

use anyhow::{Result, bail};
use std::process::{Command, ExitCode};

const HELP: &str = "\
Usage: cargo xtask COMMAND

  run NOTEBOOK [-p name=value]... [-o OUT.ipynb] [--html OUT.html] [--kernel NAME]
                 run a notebook from top to bottom in the spatialkit kernel, without Jupyter
  lab            install the kernel for this user and open JupyterLab in notebooks/
  install        build the kernel and register it with Jupyter for this user
  test [--fast]  everything CI checks; --fast leaves out what needs the kernel or Python
  bench io [--json] [--quick] [--runs N] [--only TEXT] [--summary-gb N]
                 readers and writers beside anndata and scanpy: time and memory
  bench pp|neighbors|umap|leiden|rank_genes|moran [--json] [--quick] [--runs N] [--only TEXT] [--growth]
                 the toolbox beside scanpy and squidpy; --growth: ours up to 500,000 cells
  bench cell-latency [--json] [--runs N]
                 cells in this kernel beside stock evcxr_jupyter with the library as its dependency
  bench all      every one of these
  fuzz TARGET|all [--seconds 600]
                 every parser against damaged and hostile input (tests/fuzz)
  doctor         say what is installed, what is built and what is missing
";

fn main() -> ExitCode {
    let args: Vec<String> = std::env::args().skip(1).collect();
    match dispatch(&args) {
        Ok(code) => code,
        Err(e) => {
            eprintln!("error: {e:#}");
            ExitCode::FAILURE
        }
    }
}

fn dispatch(args: &[String]) -> Result<ExitCode> {
    let rest = args.get(1..).unwrap_or_default();
    match args.first().map(String::as_str) {
        Some("run") => {
            let kernel = product::build()?;
            kernel.status("exec", rest)
        }
        Some("install") => product::build()?.status("install", rest),
        Some("lab") => lab(rest),
        Some("test") => match rest {
            [] => suite::run_suite(false),
            [flag] if flag == "--fast" => suite::run_suite(true),
            _ => bail!("test takes no argument but --fast"),
        },
        Some("bench") => bench::bench(rest),
        Some("fuzz") => fuzz::fuzz(rest),
        Some("doctor") => doctor(),
        None | Some("help" | "--help" | "-h") => {
            print!("{HELP}");
            Ok(ExitCode::SUCCESS)
        }
        Some(other) => bail!("there is no command `{other}`\n\n{HELP}"),
    }
}

fn lab(args: &[String]) -> Result<ExitCode> {
    let kernel = product::build()?;
    let python = tools::python_env("lab", "xtask/lab-requirements.txt")?;
    // Beside JupyterLab itself: a kernel installed there needs nothing of the user's home.
    let prefix = python.prefix.display().to_string();
    kernel.status("install", &["--prefix".to_string(), prefix])?;
    tools::say("opening JupyterLab in notebooks/ (Ctrl-C ends it)");
    let status = Command::new(python.program("jupyter"))
        .args(["lab", "--notebook-dir", "notebooks"])
        .args(args)
        .current_dir(tools::root())
        .status()?;
    Ok(tools::exit_code(status))
}

fn doctor() -> Result<ExitCode> {
    let mut missing = false;
    for (what, found) in tools::survey() {
        match found {
            Ok(version) => println!("ok       {what}: {version}"),
            Err(advice) => {
                missing = true;
                println!("missing  {what}: {advice}");
            }
        }
    }
    match product::built() {
        Some(kernel) => {
            let code = kernel.status("doctor", &[])?;
            Ok(if missing { ExitCode::FAILURE } else { code })
        }
        None => {
            println!("not yet  kernel: `cargo xtask run notebooks/stamgc.ipynb` builds it");
            Ok(if missing { ExitCode::FAILURE } else { ExitCode::SUCCESS })
        }
    }
}
