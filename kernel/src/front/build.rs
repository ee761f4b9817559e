//! `cargo build` and `cargo check` of a cell.
//!
//! Without dependencies of the user's the compiler is run directly. With some, the real cargo
//! builds them, with this executable as the wrapper around the compiler that sees to it that
//! the crate `ctx` gets the prebuilt library too; the compiler's command line is recorded and
//! replayed until `Cargo.toml` changes.
//!
//! A cell without dependencies refers only to what the process that runs it has loaded for all
//! to see. So it is linked by the compiler's own linker, which is told not to look for any of
//! that: reading the library's eighty megabytes would take most of a small cell's time.

use super::source::{Errors, blames_error_type, rewrite};
use super::{RUSTC_WRAPPER, ahead, real_cargo_command, session};
use crate::facade::Facade;
use anyhow::{Context, Result};
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use std::ffi::OsString;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

/// Where compiled cells go, in the engine's folder.
const CELLS: &str = "target/cells";
/// Cells are glue: what is in the library is optimised, and they compile faster so.
pub const OPT_LEVEL: &str = "0";

/// Builds (or only checks) the crate in the current folder, as cargo would.
pub fn build(facade: &Facade, args: &[OsString], check: bool) -> Result<i32> {
    let folder = std::env::current_dir()?;
    let manifest = std::fs::read_to_string(folder.join("Cargo.toml"))
        .context("the cell's Cargo.toml is missing")?;
    if !has_dependencies(&manifest) {
        let out_dir = folder.join(CELLS);
        std::fs::create_dir_all(&out_dir)?;
        let linker = facade.linker.as_deref().filter(|_| !check);
        let emit = match (check, linker) {
            (true, _) => "metadata",
            (false, Some(_)) => "obj",
            (false, None) => "link",
        };
        let level = opt_level(&manifest);
        let mut args = vec!["src/lib.rs".to_owned()];
        args.extend(plain_args(facade, level, &out_dir, emit));
        let ahead = linker.is_some() && level == OPT_LEVEL;
        return compile_as_cargo(facade, &folder, &args, check, linker, ahead);
    }
    let record = record_path(check)?;
    if let Some(recorded) = Recorded::read(&record).filter(|r| r.manifest == manifest) {
        return compile_as_cargo(facade, &folder, &recorded.args, check, None, false);
    }
    let mut command = real_cargo_command(facade);
    command
        .args(args)
        .env("RUSTC_WORKSPACE_WRAPPER", session()?.join("bin").join(RUSTC_WRAPPER))
        .env("SPATIALKIT_RECORD", &record);
    super::status(&mut command)
}

/// Whether `[dependencies]` names anything.
pub(super) fn has_dependencies(manifest: &str) -> bool {
    manifest
        .lines()
        .skip_while(|line| line.trim() != "[dependencies]")
        .skip(1)
        .any(|line| !line.trim().is_empty())
}

/// Keeps a compiler waiting for the cells of a session that need no more than the library.
pub fn wait_ahead(session: &Path, work: &Path, facade: &Facade) -> Result<()> {
    if facade.linker.is_none() {
        return Ok(());
    }
    let out_dir = work.join(CELLS);
    std::fs::create_dir_all(&out_dir)?;
    let args = plain_args(facade, OPT_LEVEL, &out_dir, "obj");
    ahead::Ahead::start(session, &facade.rustc, args)
}

fn opt_level(manifest: &str) -> &str {
    manifest
        .lines()
        .find_map(|line| line.trim().strip_prefix("opt-level = "))
        .map_or(OPT_LEVEL, |level| level.trim_matches('"'))
}

fn plain_args(facade: &Facade, opt_level: &str, out_dir: &Path, emit: &str) -> Vec<String> {
    let mut args: Vec<String> = [
        "--crate-name",
        "ctx",
        "--edition=2024",
        "--error-format=json",
        "--json=diagnostic-rendered-ansi",
        "--crate-type",
        "cdylib",
    ]
    .map(str::to_owned)
    .to_vec();
    args.push(format!("--emit={emit}"));
    args.push(format!("-Copt-level={opt_level}"));
    let flags = [
        "-Cdebug-assertions=on",
        "-Coverflow-checks=on",
        "-Cstrip=debuginfo",
        "-Cprefer-dynamic",
        "-Ccodegen-units=1",
    ];
    args.extend(flags.map(str::to_owned));
    args.push("--out-dir".to_owned());
    args.push(out_dir.display().to_string());
    args.extend(facade_args(facade));
    args
}

fn facade_args(facade: &Facade) -> [String; 4] {
    [
        "--extern".to_owned(),
        format!("spatialkit={}", facade.library.display()),
        "-L".to_owned(),
        format!("dependency={}", facade.deps.display()),
    ]
}

/// Compiles and reports on stdout in cargo's words.
fn compile_as_cargo(
    facade: &Facade,
    folder: &Path,
    args: &[String],
    check: bool,
    linker: Option<&Path>,
    ahead: bool,
) -> Result<i32> {
    let session = session()?;
    let (code, messages) = compile(folder, check, |source| {
        match ahead.then(|| ahead::compile(&session, source)).flatten() {
            Some(done) => Ok(done),
            None => rustc_once(&facade.rustc, folder, args, source),
        }
    })?;
    let library = library_in(out_dir(args), folder);
    if let Some(linker) = linker.filter(|_| code == 0) {
        link(facade, linker, &library)?;
    }
    let stdout = std::io::stdout();
    let mut stdout = stdout.lock();
    for line in messages.lines() {
        match serde_json::from_str::<Value>(line) {
            Ok(mut message) if message["$message_type"] == "diagnostic" => {
                blame_the_variable(&mut message);
                let wrapped = json!({
                    "reason": "compiler-message", "target": {"name": "ctx"}, "message": message,
                });
                writeln!(stdout, "{wrapped}")?;
            }
            Ok(_) => {}
            Err(_) => eprintln!("{line}"),
        }
    }
    if code == 0 {
        let artifact = json!({
            "reason": "compiler-artifact", "target": {"name": "ctx"}, "filenames": [library],
        });
        writeln!(stdout, "{artifact}")?;
    }
    let done = json!({"reason": "build-finished", "success": code == 0});
    writeln!(stdout, "{done}")?;
    Ok(code)
}

/// That a cell has moved a variable, and cannot put it back, the compiler says at the line that would,
/// with the user's expression as a remark. The engine takes the remark for an error in how it shows
/// the expression and falls back on `Debug`; without it, it just lets go of the variable.
fn blame_the_variable(message: &mut Value) {
    let puts = |span: &Value| {
        span["text"][0]["text"].as_str().is_some_and(|line| line.contains(".put_variable::<"))
    };
    let Some(spans) = message["spans"].as_array_mut() else {
        return;
    };
    if spans.iter().any(|span| span["is_primary"] == true && puts(span)) {
        spans.retain(puts);
        if message["code"]["code"] == "E0382" {
            message["children"] = json!([]);
        }
    }
}

/// Makes a library of the object beside it.
fn link(facade: &Facade, linker: &Path, library: &Path) -> Result<()> {
    let out = Command::new(linker)
        .args(["-flavor", "gnu", "-shared", "-z", "undefs", "-z", "relro", "-z", "now"])
        .args(["--eh-frame-hdr", "--gc-sections", "--threads=1", "-o"])
        .arg(library)
        .arg(library.with_file_name("ctx.o"))
        .args(&facade.builtins)
        .output()
        .with_context(|| format!("cannot run the linker {}", linker.display()))?;
    anyhow::ensure!(
        out.status.success(),
        "the cell could not be linked: {}",
        String::from_utf8_lossy(&out.stderr).trim()
    );
    Ok(())
}

fn out_dir(args: &[String]) -> PathBuf {
    let mut words = args.iter();
    words
        .find(|w| *w == "--out-dir")
        .and_then(|_| words.next())
        .map_or_else(|| PathBuf::from("."), PathBuf::from)
}

fn library_in(dir: PathBuf, folder: &Path) -> PathBuf {
    use std::env::consts::{DLL_PREFIX, DLL_SUFFIX};
    folder.join(dir).join(format!("{DLL_PREFIX}ctx{DLL_SUFFIX}"))
}

/// Runs the compiler on the rewritten source; returns its status and its messages.
fn compile(
    folder: &Path,
    check: bool,
    run: impl Fn(&str) -> Result<(i32, String)>,
) -> Result<(i32, String)> {
    let original = std::fs::read_to_string(folder.join("src/lib.rs"))
        .context("the cell's source is missing")?;
    let mut result = (1, String::new());
    // The analysed form of a cell is not run: the one that takes most types will do.
    let ways = if check { &[Errors::Debug][..] } else { &[Errors::Display, Errors::Debug] };
    for &errors in ways {
        result = run(&rewrite(&original, errors))?;
        if result.0 == 0 || !blames_error_type(&result.1) {
            break;
        }
    }
    Ok(result)
}

/// Relative output folders are relative to the crate, not to where the compiler runs.
fn absolute_out(arg: &str, folder: &Path) -> String {
    for prefix in ["dependency=", "incremental="] {
        if let Some(rest) = arg.strip_prefix(prefix) {
            return format!("{prefix}{}", folder.join(rest).display());
        }
    }
    if let Some((name, path)) = arg.split_once('=')
        && path.starts_with("target")
    {
        return format!("{name}={}", folder.join(path).display());
    }
    if arg.starts_with("target/") {
        return folder.join(arg).display().to_string();
    }
    arg.to_owned()
}

fn rustc_once(rustc: &Path, folder: &Path, args: &[String], source: &str) -> Result<(i32, String)> {
    // Messages name the file as it was given, and the engine looks for `lib.rs`.
    let cell = folder.join("cell");
    std::fs::create_dir_all(cell.join("src"))?;
    std::fs::write(cell.join("src/lib.rs"), source)?;
    let out = Command::new(rustc)
        .current_dir(&cell)
        .args(args.iter().map(|arg| absolute_out(arg, folder)))
        .stdin(Stdio::null())
        .output()
        .with_context(|| format!("cannot run the compiler {}", rustc.display()))?;
    std::io::stdout().write_all(&out.stdout)?;
    let messages = String::from_utf8_lossy(&out.stderr).into_owned();
    Ok((out.status.code().unwrap_or(1), messages))
}

/// The compiler's command line for `ctx` with the dependencies of one `Cargo.toml`.
#[derive(Serialize, Deserialize)]
struct Recorded {
    manifest: String,
    args: Vec<String>,
}

impl Recorded {
    fn read(path: &Path) -> Option<Recorded> {
        serde_json::from_slice(&std::fs::read(path).ok()?).ok()
    }
}

fn record_path(check: bool) -> Result<PathBuf> {
    let name = if check { "check.json" } else { "build.json" };
    Ok(session()?.join(name))
}

/// The role of rustc's wrapper: cargo calls it with the compiler's path and arguments.
pub fn wrap_rustc(args: &[OsString]) -> Result<i32> {
    let (rustc, args) = args.split_first().context("called without a compiler")?;
    let is_ctx = args.windows(2).any(|pair| pair[0] == "--crate-name" && pair[1] == "ctx");
    if !is_ctx {
        return super::status(Command::new(rustc).args(args));
    }
    let facade = Facade::find()?;
    let mut args: Vec<String> = args.iter().map(|a| a.to_string_lossy().into_owned()).collect();
    args.extend(facade_args(&facade));
    let folder = std::env::current_dir()?;
    let check = !args.iter().any(|a| a.starts_with("--emit") && a.contains("link"));
    let (code, messages) =
        compile(&folder, check, |source| rustc_once(Path::new(rustc), &folder, &args, source))?;
    eprint!("{messages}");
    if code == 0
        && let Some(record) = std::env::var_os("SPATIALKIT_RECORD")
    {
        let manifest = std::fs::read_to_string(folder.join("Cargo.toml"))?;
        args.retain(|a| a != "--error-format=human");
        let recorded = Recorded { manifest, args };
        std::fs::write(record, serde_json::to_vec(&recorded)?)?;
    }
    Ok(code)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn dependencies_are_seen() {
        assert!(!has_dependencies("[package]\n\n[dependencies]\n\n"));
        assert!(has_dependencies("[package]\n\n[dependencies]\nrand = \"*\"\n"));
        assert_eq!(opt_level("x\nopt-level = 2\n"), "2");
    }

    #[test]
    fn relative_paths_are_taken_from_the_crate() {
        let folder = Path::new("/s");
        assert_eq!(absolute_out("target/debug", folder), "/s/target/debug");
        assert_eq!(absolute_out("rand=target/r.rlib", folder), "rand=/s/target/r.rlib");
        assert_eq!(absolute_out("src/lib.rs", folder), "src/lib.rs");
    }
}
