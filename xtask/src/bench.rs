//! `cargo xtask bench io`: readers and writers beside anndata and scanpy.
//!
//! Every measurement is a process of its own (`crate/benches`): ours and Python's take turns, time is
//! taken around the call, memory is the peak of the whole process. Files are made once, by Python,
//! below `target/bench`. A case is one line on stdout, JSON with `--json`; a `reference` of `null`
//! says that there is nothing to compare with.

use crate::tools::{cargo_command, python_env, root, run, say, target_dir};
use anyhow::{Context, Result, bail, ensure};
use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode};

/// A file to read or write, and how: name, operation, file.
const CASES: [(&str, &str, &str); 10] = [
    ("read h5ad sparse", "read-h5ad", "sparse-none.h5ad"),
    ("read h5ad sparse gzip", "read-h5ad", "sparse-gzip.h5ad"),
    ("read h5ad dense", "read-h5ad", "dense-none.h5ad"),
    ("read h5ad dense gzip", "read-h5ad", "dense-gzip.h5ad"),
    ("read 10x h5", "read-10x", "tenx.h5"),
    ("read 10x mtx.gz", "read-mtx", "mtx"),
    ("write h5ad sparse", "write-none", "sparse-none.h5ad"),
    ("write h5ad sparse gzip", "write-gzip", "sparse-none.h5ad"),
    ("write h5ad dense", "write-none", "dense-none.h5ad"),
    ("write h5ad dense gzip", "write-gzip", "dense-none.h5ad"),
];

/// (name, sparse, dense): of 50,000 × 20,000 a dense file would take 4 GB.
const SIZES: [(&str, &str, &str); 2] =
    [("small", "4k × 5k", "4k × 5k"), ("medium", "50k × 20k", "50k × 2k")];

/// Memory that a summary of a file larger than memory may take.
const SUMMARY_LIMIT_MB: f64 = 500.0;

struct Options {
    json: bool,
    quick: bool,
    runs: usize,
    summary_gb: f64,
    only: String,
}

impl Options {
    fn parse(args: &[String]) -> Result<Options> {
        let mut o =
            Options { json: false, quick: false, runs: 3, summary_gb: 5.0, only: String::new() };
        let mut args = args.iter();
        while let Some(arg) = args.next() {
            let mut value = || args.next().with_context(|| format!("{arg} needs a value"));
            match arg.as_str() {
                "--json" => o.json = true,
                "--quick" => o.quick = true,
                "--runs" => o.runs = value()?.parse().context("--runs takes a number")?,
                "--summary-gb" => {
                    o.summary_gb = value()?.parse().context("--summary-gb takes a number")?;
                }
                "--only" => o.only = value()?.clone(),
                other => bail!("bench io has no option `{other}`"),
            }
        }
        ensure!(o.runs >= 1, "--runs must be at least 1");
        Ok(o)
    }
}

/// One run of one side.
struct Measured {
    seconds: f64,
    peak_mb: f64,
    check: f64,
    version: String,
}

/// The Python that measures, and the program of ours that does.
struct Sides {
    python: PathBuf,
    script: PathBuf,
    ours: PathBuf,
}

/// `cargo xtask bench CASE`.
pub fn bench(args: &[String]) -> Result<ExitCode> {
    match args.first().map(String::as_str) {
        Some("io" | "all") => io(&Options::parse(&args[1..])?),
        _ => bail!("bench takes the name of a group of cases: io, or all"),
    }
}

fn io(options: &Options) -> Result<ExitCode> {
    say("building the benchmark");
    let mut build = cargo_command()?;
    build.args(["build", "--release", "--quiet", "-p", "spatialkit", "--example", "bench-io"]);
    run(&mut build, "building the benchmark")?;
    let python = match std::env::var_os("SPATIALKIT_PYTHON") {
        Some(python) => PathBuf::from(python),
        None => python_env("python", "tests/python/requirements.txt")?.program("python"),
    };
    let sides = Sides {
        python,
        script: root().join("crate/benches/python/io.py"),
        ours: target_dir().join("release/examples/bench-io"),
    };
    let folder = target_dir().join("bench");
    std::fs::create_dir_all(&folder)?;
    for (size, sparse, dense) in SIZES {
        if options.quick && size != "small" {
            continue;
        }
        for (case, operation, file) in CASES {
            let shape = if case.contains("dense") { dense } else { sparse };
            let name = format!("{case} {shape}");
            if !name.contains(&options.only) {
                continue;
            }
            let files = folder.join(size);
            if !files.join("made").exists() {
                say(&format!("making the files of size {size} (once)"));
                run(sides.reference("make").arg(&files).arg(size), "making the files")?;
            }
            let out = operation.starts_with("write").then(|| folder.join("out.h5ad"));
            sides.compare(options, &name, operation, &files.join(file), out.as_deref())?;
            if let Some(out) = out {
                let _ = std::fs::remove_file(out);
            }
        }
    }
    let mut within = true;
    for how in ["none", "gzip"] {
        let name = format!("summary of a {} GB h5ad, sparse, {how}", options.summary_gb);
        if options.quick || options.summary_gb <= 0.0 || !name.contains(&options.only) {
            continue;
        }
        within &= sides.summary(options, &name, &folder.join("large.h5ad"), how)?;
    }
    Ok(if within { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

impl Sides {
    fn reference(&self, operation: &str) -> Command {
        let mut c = Command::new(&self.python);
        c.arg(&self.script).arg(operation);
        c
    }

    fn ours(&self, operation: &str) -> Command {
        let mut c = Command::new(&self.ours);
        c.arg(operation);
        c
    }

    /// Both sides in turn; one line with the medians.
    fn compare(
        &self,
        options: &Options,
        name: &str,
        operation: &str,
        file: &Path,
        out: Option<&Path>,
    ) -> Result<()> {
        let (mut ours, mut theirs) = (vec![], vec![]);
        for _ in 0..options.runs {
            ours.push(measure(self.ours(operation).arg(file).args(out))?);
            theirs.push(measure(self.reference(operation).arg(file).args(out))?);
        }
        let (a, b) = (ours[0].check, theirs[0].check);
        ensure!((a - b).abs() <= 1e-9 * b.abs(), "{name}: ours read {a}, the reference {b}");
        report(options, name, &ours, &theirs);
        Ok(())
    }

    /// Ours alone, against the limit.
    fn summary(&self, options: &Options, name: &str, file: &Path, how: &str) -> Result<bool> {
        say(&format!("making a file of {} GB ({how})", options.summary_gb));
        let mut make = self.reference("make-large");
        make.arg(file).arg(options.summary_gb.to_string()).arg(how);
        let done = run(&mut make, "making the file").and_then(|()| {
            let one = |_| measure(self.ours("summary").arg(file));
            (0..options.runs).map(one).collect::<Result<Vec<_>>>()
        });
        let _ = std::fs::remove_file(file);
        let ours = done?;
        report(options, name, &ours, &[]);
        let peak = median(&ours, |m| m.peak_mb);
        if peak > SUMMARY_LIMIT_MB {
            eprintln!("{name}: {peak:.0} MB are more than {SUMMARY_LIMIT_MB:.0} MB");
        }
        Ok(peak <= SUMMARY_LIMIT_MB)
    }
}

/// Runs one process, which prints `seconds peak_mb check version`.
fn measure(command: &mut Command) -> Result<Measured> {
    let shown = format!("{command:?}");
    let out = command.output().with_context(|| format!("cannot start {shown}"))?;
    let text = String::from_utf8_lossy(&out.stdout).into_owned();
    if !out.status.success() {
        bail!("{shown} failed:\n{text}{}", String::from_utf8_lossy(&out.stderr));
    }
    parse(&text).with_context(|| format!("{shown} printed `{text}`"))
}

fn parse(text: &str) -> Option<Measured> {
    let mut fields = text.lines().last()?.splitn(4, ' ');
    let mut number = || fields.next()?.parse().ok();
    let (seconds, peak_mb, check) = (number()?, number()?, number()?);
    Some(Measured { seconds, peak_mb, check, version: fields.next()?.trim().to_string() })
}

fn median(runs: &[Measured], of: impl Fn(&Measured) -> f64) -> f64 {
    let mut v: Vec<f64> = runs.iter().map(of).collect();
    v.sort_by(f64::total_cmp);
    match v.len() {
        0 => f64::NAN,
        n if n % 2 == 1 => v[n / 2],
        n => (v[n / 2 - 1] + v[n / 2]) / 2.0,
    }
}

fn report(options: &Options, case: &str, ours: &[Measured], theirs: &[Measured]) {
    let (ours_s, ours_mb) = (median(ours, |m| m.seconds), median(ours, |m| m.peak_mb));
    let (reference_s, reference_mb) =
        (median(theirs, |m| m.seconds), median(theirs, |m| m.peak_mb));
    let ratio = reference_s / ours_s;
    let reference = theirs.first().map(|m| m.version.as_str());
    if options.json {
        let number = |x: f64, digits: usize| match x.is_finite() {
            true => format!("{x:.digits$}"),
            false => "null".to_string(),
        };
        let reference = reference.map_or("null".to_string(), |r| format!("\"{r}\""));
        println!(
            "{{\"case\":\"{case}\",\"ours_s\":{},\"reference_s\":{},\"ratio\":{},\
             \"ours_peak_mb\":{},\"reference_peak_mb\":{},\"reference\":{reference},\"n\":{}}}",
            number(ours_s, 4),
            number(reference_s, 4),
            number(ratio, 2),
            number(ours_mb, 1),
            number(reference_mb, 1),
            ours.len(),
        );
    } else if let Some(reference) = reference {
        println!(
            "{case:<36} {ours_s:8.3} s {ours_mb:7.0} MB   {reference}: {reference_s:8.3} s \
             {reference_mb:7.0} MB   {ratio:5.1}× as fast, {:4.2}× the memory",
            ours_mb / reference_mb
        );
    } else {
        println!("{case:<36} {ours_s:8.3} s {ours_mb:7.0} MB");
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_median_is_that_of_what_was_printed() {
        let runs: Vec<_> = ["9 1 5 a 1", "noise\n2.5 3 5 a 1\n", "1 2 5 spatialkit 0.1.0"]
            .map(|t| parse(t).unwrap())
            .into();
        assert_eq!((median(&runs, |m| m.seconds), median(&runs, |m| m.peak_mb)), (2.5, 2.0));
        assert_eq!(median(&runs[..2], |m| m.seconds), 5.75);
        assert_eq!(runs[2].version, "spatialkit 0.1.0");
        assert!(parse("1 2").is_none() && parse("").is_none());
    }

    #[test]
    fn options_are_read() {
        let args = |s: &str| s.split_whitespace().map(String::from).collect::<Vec<_>>();
        let o = Options::parse(&args("--json --runs 5 --quick --only mtx")).unwrap();
        assert!(o.json && o.quick && o.runs == 5 && o.only == "mtx" && o.summary_gb == 5.0);
        assert!(Options::parse(&args("--fast")).is_err());
        assert!(Options::parse(&args("--runs")).is_err());
        assert!(Options::parse(&args("--runs 0")).is_err());
    }
}
