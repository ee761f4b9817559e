//! `cargo xtask bench GROUP`: this library beside the Python packages that people come from.
//!
//! Every measurement is a process of its own (`crate/benches`): ours and Python's take turns, time is
//! taken around the call, memory is the peak of the whole process. Files are made once, by Python,
//! below `target/bench`. A case is one line on stdout, JSON with `--json`; a `reference` of `null`
//! says that there is nothing to compare with.

mod io;
mod kernel;
mod models;
mod toolbox;

use crate::tools::{cargo_command, python_env, root, run, say, target_dir};
use anyhow::{Context, Result, bail, ensure};
use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode};

/// What the user asked for.
struct Options {
    json: bool,
    quick: bool,
    growth: bool,
    runs: usize,
    summary_gb: f64,
    only: String,
}

impl Options {
    fn parse(args: &[String]) -> Result<Options> {
        let mut o = Options {
            json: false,
            quick: false,
            growth: false,
            runs: 3,
            summary_gb: 5.0,
            only: String::new(),
        };
        let mut args = args.iter();
        while let Some(arg) = args.next() {
            let mut value = || args.next().with_context(|| format!("{arg} needs a value"));
            match arg.as_str() {
                "--json" => o.json = true,
                "--quick" => o.quick = true,
                "--growth" => o.growth = true,
                "--runs" => o.runs = value()?.parse().context("--runs takes a number")?,
                "--summary-gb" => {
                    o.summary_gb = value()?.parse().context("--summary-gb takes a number")?;
                }
                "--only" => o.only = value()?.clone(),
                other => bail!("bench has no option `{other}`"),
            }
        }
        ensure!(o.runs >= 1, "--runs must be at least 1");
        Ok(o)
    }
}

/// `cargo xtask bench GROUP`.
pub fn bench(args: &[String]) -> Result<ExitCode> {
    let networks = models::CASES.map(|(case, _)| case);
    let official = ["spatialformer-embed", "spatialformer-perturb"];
    let stamgc = models::STAMGC.map(|(case, _)| case);
    let groups = [&toolbox::GROUPS[..], &networks, &official, &stamgc].concat().join(", ");
    let Some(group) = args.first() else {
        bail!("bench takes the name of a group of cases: io, cell-latency, {groups}, or all");
    };
    let options = Options::parse(&args[1..])?;
    match group.as_str() {
        "io" => io::io(&options),
        kernel::CASE => kernel::kernel(&options),
        "all" => {
            toolbox::toolbox(&toolbox::GROUPS, &options)?;
            models::models(&networks, &options)?;
            models::spatialformer(&official, &options)?;
            models::stamgc(&stamgc, &options)?;
            kernel::kernel(&options)?;
            io::io(&options)
        }
        name if toolbox::GROUPS.contains(&name) => toolbox::toolbox(&[name], &options),
        name if networks.contains(&name) => models::models(&[name], &options),
        name if official.contains(&name) => models::spatialformer(&[name], &options),
        name if stamgc.contains(&name) => models::stamgc(&[name], &options),
        _ => bail!("bench takes the name of a group of cases: io, cell-latency, {groups}, or all"),
    }
}

/// How the number that ours found may lie to the reference's, which it may miss by a part of it.
#[derive(Clone, Copy)]
enum Found {
    Equal(f64),
    AtMost(f64),
    AtLeast(f64),
    Anything,
}

/// The Python environment of the tests.
const PYTHON: (&str, &str) = ("python", "tests/python/requirements.txt");

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

impl Sides {
    /// Builds the example `name` and finds `crate/benches/python/<script>`, which runs in the Python
    /// environment of that name and list of requirements.
    fn build(name: &str, script: &str, environment: (&str, &str)) -> Result<Sides> {
        say("building the benchmark");
        let mut build = cargo_command()?;
        build.args(["build", "--release", "--quiet", "-p", "spatialkit", "--example", name]);
        run(&mut build, "building the benchmark")?;
        let python = match std::env::var_os("SPATIALKIT_PYTHON") {
            Some(python) => PathBuf::from(python),
            None => python_env(environment.0, environment.1)?.program("python"),
        };
        Ok(Sides {
            python,
            script: root().join("crate/benches/python").join(script),
            ours: target_dir().join("release/examples").join(name),
        })
    }

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
        files: &[&Path],
        found: Found,
    ) -> Result<()> {
        let (mut ours, mut theirs) = (vec![], vec![]);
        for _ in 0..options.runs {
            ours.push(measure(self.ours(operation).args(files))?);
            theirs.push(measure(self.reference(operation).args(files))?);
        }
        let (a, b) = (ours[0].check, theirs[0].check);
        let fine = match found {
            Found::Equal(part) => (a - b).abs() <= part * b.abs(),
            Found::AtMost(part) => a <= b + part * b.abs(),
            Found::AtLeast(part) => a >= b - part * b.abs(),
            Found::Anything => true,
        };
        ensure!(fine, "{name}: ours found {a}, the reference {b}");
        report(options, name, &ours, &theirs);
        Ok(())
    }
}

/// Runs one process, which prints `seconds peak_mb check version`.
fn measure(command: &mut Command) -> Result<Measured> {
    let text = output(command)?;
    parse(&text).with_context(|| format!("{command:?} printed `{text}`"))
}

/// What a process prints.
fn output(command: &mut Command) -> Result<String> {
    let out = command.output().with_context(|| format!("cannot start {command:?}"))?;
    let text = String::from_utf8_lossy(&out.stdout).into_owned();
    if !out.status.success() {
        bail!("{command:?} failed:\n{text}{}", String::from_utf8_lossy(&out.stderr));
    }
    Ok(text)
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
        assert!(o.json && o.quick && !o.growth);
        assert!(o.runs == 5 && o.only == "mtx" && o.summary_gb == 5.0);
        assert!(Options::parse(&args("--fast")).is_err());
        assert!(Options::parse(&args("--runs")).is_err());
        assert!(Options::parse(&args("--runs 0")).is_err());
    }
}
