//! `cargo xtask fuzz`: every parser against input that nobody wrote. The targets, and what they hold a
//! parser to, are in `tests/fuzz`.
//!
//! What a run leaves is below `target/fuzz/TARGET`: `seeds` (made of the real files), `corpus` (what
//! reached new code, kept for the next run), `finds` (inputs that failed, to be run again with
//! `SPATIALKIT_FUZZ=TARGET target/release/spatialkit-fuzz FILE`), `log` and `peak`.

use crate::tools::{cargo_command, root, run, say, target_dir};
use anyhow::{Context, Result, bail};
use std::fs;
use std::path::Path;
use std::process::{Command, ExitCode, Stdio};

/// An input that takes longer hangs.
const SECONDS_PER_INPUT: u32 = 5;

/// Fuzzes a target, or all one after the other, for so many seconds each.
pub fn fuzz(args: &[String]) -> Result<ExitCode> {
    const USAGE: &str = "usage: cargo xtask fuzz TARGET|all [--seconds 600]";
    let (wanted, seconds) = match args {
        [target] => (target, 600),
        [target, flag, n] if flag == "--seconds" => (target, n.parse().context(USAGE)?),
        _ => bail!(USAGE),
    };
    say("building the fuzz targets");
    let mut build = cargo_command()?;
    build.args(["build", "--release", "-p", "spatialkit-fuzz", "--features", "libfuzzer"]);
    // One compilation of the library more, and none of what lies below it.
    build.env("RUSTC_WORKSPACE_WRAPPER", root().join("tests/fuzz/rustc.sh"));
    run(&mut build, "building the fuzz targets")?;
    let program = target_dir().join("release/spatialkit-fuzz");

    let listed = Command::new(&program).env("SPATIALKIT_FUZZ", "list").output()?;
    let names = String::from_utf8_lossy(&listed.stdout).into_owned();
    let names: Vec<&str> = names.lines().collect();
    if wanted != "all" && !names.contains(&wanted.as_str()) {
        bail!("there is no target `{wanted}`; there is: {}", names.join(", "));
    }
    let mut failed = false;
    let mut table = vec![];
    for name in names.iter().filter(|n| wanted == "all" || *n == wanted) {
        say(&format!("{name}: {seconds} seconds"));
        let outcome = fuzz_one(&program, name, seconds)?;
        failed |= outcome.finds > 0;
        println!("{name}: {}", outcome.text);
        table.push(format!("{name:>10}  {}", outcome.text));
    }
    println!("\n{}", table.join("\n"));
    Ok(if failed { ExitCode::FAILURE } else { ExitCode::SUCCESS })
}

struct Outcome {
    finds: usize,
    text: String,
}

fn fuzz_one(program: &Path, name: &str, seconds: u32) -> Result<Outcome> {
    let place = target_dir().join("fuzz").join(name);
    let [seeds, corpus, finds] = ["seeds", "corpus", "finds"].map(|f| place.join(f));
    let _ = fs::remove_dir_all(&seeds);
    for folder in [&corpus, &finds] {
        fs::create_dir_all(folder)?;
    }
    // Inputs become files; in memory they cost little.
    let memory = Path::new("/dev/shm");
    let scratch = if memory.is_dir() { memory.into() } else { std::env::temp_dir() };
    let scratch = scratch.join(format!("spatialkit-fuzz-{}", std::process::id()));
    fs::create_dir_all(&scratch)?;

    let shared = std::env::var_os("SPATIALKIT_SHARED");
    let shared = shared.map_or_else(|| root().join("../shared"), Into::into);
    let command = || {
        let mut command = Command::new(program);
        command.current_dir(&place).env("SPATIALKIT_FUZZ", name).env("TMPDIR", &scratch);
        // One thread: the order of things must not differ from run to run.
        command.env("SPATIALKIT_SHARED", &shared).env("RAYON_NUM_THREADS", "1");
        command.env("RUST_BACKTRACE", "1").env("SPATIALKIT_FUZZ_PEAK", place.join("peak"));
        command
    };
    run(command().env("SPATIALKIT_FUZZ_SEEDS", &seeds).stderr(Stdio::null()), "making seeds")?;
    let log = fs::File::create(place.join("log"))?;
    let mut fuzzer = command();
    // In processes of its own, so that a find ends one of them and not the run.
    fuzzer.args(["-fork=1", "-ignore_crashes=1", "-ignore_timeouts=1", "-ignore_ooms=1"]);
    fuzzer.arg(format!("-timeout={SECONDS_PER_INPUT}")).arg("-rss_limit_mb=2048");
    fuzzer.arg(format!("-max_total_time={seconds}")).arg("-max_len=160000");
    fuzzer.args(["-artifact_prefix=finds/", "corpus", "seeds"]);
    // Its exit status says whether there were finds; they are counted below.
    fuzzer.stdout(log.try_clone()?).stderr(log).status()?;
    fs::remove_dir_all(&scratch)?;

    let log = fs::read_to_string(place.join("log")).unwrap_or_default();
    let Some(last) = log.lines().rev().find(|l| l.starts_with('#')) else {
        bail!("{name}: nothing was run; see {}", place.join("log").display());
    };
    let last = last.split(" oom").next().unwrap_or(last);
    let finds = fs::read_dir(&finds)?.count();
    let peak = fs::read_to_string(place.join("peak")).unwrap_or_default();
    let text = format!("{seconds} s, {last}, {finds} finds; memory: {}", peak.trim());
    Ok(Outcome { finds, text })
}
