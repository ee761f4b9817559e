//! `cargo xtask test`: everything CI checks, and a last word on what ran and what did not.
//!
//! A test that cannot run here prints a line `SKIPPED: test: reason`; those lines are collected and
//! stand at the end, so that no green run hides what it did not look at.

use crate::product;
use crate::tools::{cargo_command, chromium, python_env, run, say, wheel};
use anyhow::{Context, Result};
use std::io::{BufRead, BufReader};
use std::process::{Command, ExitCode, Stdio};
use std::time::Instant;

/// What the test programs said so far.
#[derive(Default)]
struct Tally {
    passed: usize,
    failed: usize,
    ignored: usize,
    skipped: Vec<String>,
    failures: Vec<String>,
    steps: Vec<String>,
}

impl Tally {
    /// One step that either succeeds or does not.
    fn step(&mut self, name: &str, action: impl FnOnce() -> Result<()>) {
        say(name);
        let start = Instant::now();
        let outcome = action();
        let seconds = start.elapsed().as_secs();
        match outcome {
            Ok(()) => self.steps.push(format!("{name}: ok, {seconds} s")),
            Err(e) => {
                eprintln!("{e:#}");
                self.steps.push(format!("{name}: FAILED, {seconds} s"));
                self.failures.push(name.to_string());
            }
        }
    }

    /// Runs `cargo test` and counts what it says.
    fn cargo_test(&mut self, name: &str, mut command: Command) {
        let mut seen = Tally::default();
        self.step(name, || {
            command.args(["--", "--show-output"]).stdout(Stdio::piped());
            let mut child = command.spawn().context("cannot start cargo")?;
            let out = child.stdout.take().context("no output of cargo test")?;
            let mut detail = String::new();
            for line in BufReader::new(out).lines() {
                let line = line?;
                seen.line(&line);
                if line.starts_with("test ") || line.starts_with("SKIPPED") {
                    println!("{line}");
                }
                detail.push_str(&line);
                detail.push('\n');
            }
            if !child.wait()?.success() {
                println!("{detail}");
                anyhow::bail!("{name}: a test failed or did not compile");
            }
            Ok(())
        });
        self.passed += seen.passed;
        self.failed += seen.failed;
        self.ignored += seen.ignored;
        self.skipped.append(&mut seen.skipped);
        self.failures.append(&mut seen.failures);
    }

    /// Takes in one line of the output of a test program.
    fn line(&mut self, line: &str) {
        if let Some(reason) = line.trim().strip_prefix("SKIPPED: ") {
            if !self.skipped.iter().any(|s| s == reason) {
                self.skipped.push(reason.to_string());
            }
        } else if let Some(counts) = line.strip_prefix("test result: ") {
            let count = |what: &str| {
                let before = counts.split(what).next().unwrap_or_default();
                before.rsplit([' ', ';']).find(|s| !s.is_empty()).and_then(|n| n.parse().ok())
            };
            self.passed += count(" passed").unwrap_or(0);
            self.failed += count(" failed").unwrap_or(0);
            self.ignored += count(" ignored").unwrap_or(0);
        } else if let Some(test) =
            line.strip_prefix("test ").and_then(|l| l.strip_suffix(" ... FAILED"))
        {
            self.failures.push(test.to_string());
        }
    }

    /// The last word.
    fn report(&self) -> ExitCode {
        println!("\nWhat ran:");
        for step in &self.steps {
            println!("  {step}");
        }
        println!("What was skipped, and why:");
        for reason in &self.skipped {
            println!("  {reason}");
        }
        if self.skipped.is_empty() {
            println!("  nothing");
        }
        if !self.failures.is_empty() {
            println!("What failed:");
            for failure in &self.failures {
                println!("  {failure}");
            }
        }
        let skipped = self.skipped.len() + self.ignored;
        // A test counts once: as skipped if it said so, although its program counts it as passed.
        let passed = self.passed.saturating_sub(self.skipped.len());
        println!("{passed} passed, {} failed, {skipped} skipped", self.failed);
        if self.failures.is_empty() { ExitCode::SUCCESS } else { ExitCode::FAILURE }
    }
}

/// Runs the whole suite; with `fast`, only what needs neither kernel nor Python.
pub fn run_suite(fast: bool) -> Result<ExitCode> {
    let mut tally = Tally::default();
    tally.step("formatting", || {
        run(cargo_command()?.args(["fmt", "--all", "--check"]), "cargo fmt")
    });
    tally.step("lints", || {
        let mut clippy = cargo_command()?;
        clippy.args(["clippy", "--release", "--quiet", "--all-targets"]);
        let packages: &[&str] = if fast {
            &["-p", "spatialkit", "-p", "spatialkit-tests", "-p", "xtask"]
        } else {
            &["--workspace"]
        };
        run(clippy.args(packages).args(["--", "-D", "warnings"]), "cargo clippy")
    });
    let mut unit = cargo_command()?;
    unit.args(["test", "--release", "--no-fail-fast", "-p", "spatialkit", "-p", "xtask"]);
    tally.cargo_test("library", unit);

    let mut whole = cargo_command()?;
    whole.args(["test", "--release", "--no-fail-fast", "-p", "spatialkit-tests"]);
    if fast {
        tally.skipped.push("kernel and Python tests: left out by --fast".into());
    } else {
        match product::build() {
            Ok(kernel) => {
                let mut command = cargo_command()?;
                command.args(["test", "--release", "--no-fail-fast", "-p", "spatialkit-kernel"]);
                command.env("SPATIALKIT_KERNEL", &kernel.program);
                tally.cargo_test("kernel", command);
                whole.env("SPATIALKIT_KERNEL", &kernel.program);
            }
            Err(e) => {
                eprintln!("{e:#}");
                tally.failures.push("building the kernel".into());
            }
        }
        match python_env("python", "tests/python/requirements.txt") {
            Ok(env) => {
                whole.env("SPATIALKIT_PYTHON", env.program("python"));
                match wheel(&env, "spatialformer", "0.1.8") {
                    Ok(path) => drop(whole.env("SPATIALKIT_SPATIALFORMER", path)),
                    Err(e) => tally.skipped.push(format!("vocabulary of SpatialFormer: {e:#}")),
                }
            }
            Err(e) => tally.skipped.push(format!("tests that need Python: {e:#}")),
        }
        match chromium() {
            Ok(path) => drop(whole.env("SPATIALKIT_CHROMIUM", path)),
            Err(e) => tally.skipped.push(format!("tests in a browser: {e:#}")),
        }
    }
    tally.cargo_test("end to end", whole);
    Ok(tally.report())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn counts_and_skips_are_read_from_the_test_programs() {
        let mut t = Tally::default();
        for line in [
            "test result: ok. 13 passed; 0 failed; 1 ignored; 0 measured; 0 filtered out",
            "test result: FAILED. 2 passed; 1 failed; 0 ignored; 0 measured; 0 filtered out",
            "SKIPPED: io: no shared data",
            "SKIPPED: io: no shared data",
            "test a::b ... FAILED",
        ] {
            t.line(line);
        }
        assert_eq!((t.passed, t.failed, t.ignored), (15, 1, 1));
        assert_eq!(t.skipped, ["io: no shared data"]);
        assert_eq!(t.failures, ["a::b"]);
    }
}
