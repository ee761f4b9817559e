//! The cargo front: this executable in the role of `cargo`, `rustup` and rustc's wrapper.
//!
//! The engine compiles a cell with `cargo build` and asks `cargo metadata` about types. For a
//! cell that needs nothing but the prebuilt library both answers are known beforehand, so a
//! session puts links to this executable first on its PATH (see [`install`]) and this module
//! answers: `build` runs the compiler directly ([`build`]), `metadata` gives the pruned
//! description ([`metadata`]). With `:dep`s of the user's the real cargo does the work. How
//! the generated source is changed on the way is in [`source`].
//!
//! Only for the compiler that waits ([`ahead`]) does a front talk to the kernel; its process group
//! is written to a file, so that an interrupt can end it with all its children.

pub mod ahead;
mod build;
mod metadata;
mod source;

use crate::facade::Facade;
use anyhow::{Context, Result, bail};
use std::ffi::OsString;
use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode};

pub use build::{OPT_LEVEL, wait_ahead};

/// The session's own folder.
pub const SESSION_ENV: &str = "SPATIALKIT_SESSION";
/// The caller's PATH and CARGO_HOME, for the real cargo and for the user's own processes.
pub const REAL_PATH_ENV: &str = "SPATIALKIT_REAL_PATH";
/// See [`REAL_PATH_ENV`]; empty if it was not set.
pub const REAL_CARGO_HOME_ENV: &str = "SPATIALKIT_REAL_CARGO_HOME";

/// Holds the process group of a compilation while it runs.
pub const PID_FILE: &str = "front.pid";
/// Is there when the current cell was interrupted before its compilation began.
pub const CANCEL_FILE: &str = "cancelled";

const RUSTC_WRAPPER: &str = "spatialkit-rustc";

/// Puts the links into `session/bin`.
pub fn install(session: &Path) -> Result<()> {
    let exe = std::env::current_exe().context("cannot tell where this executable is")?;
    let bin = session.join("bin");
    std::fs::create_dir_all(&bin)?;
    for role in ["cargo", "rustup", RUSTC_WRAPPER, ahead::ROLE] {
        std::os::unix::fs::symlink(&exe, bin.join(role))
            .with_context(|| format!("cannot link {role} in {}", bin.display()))?;
    }
    Ok(())
}

/// The path under which the front was called, if this process is one.
pub fn role() -> Option<&'static str> {
    let called = PathBuf::from(std::env::args_os().next()?);
    match called.file_name()?.to_str()? {
        "cargo" => Some("cargo"),
        "rustup" => Some("rustup"),
        RUSTC_WRAPPER => Some(RUSTC_WRAPPER),
        ahead::ROLE => Some(ahead::ROLE),
        _ => None,
    }
}

/// Plays the role and returns the exit status.
pub fn run(role: &str) -> ExitCode {
    let args: Vec<OsString> = std::env::args_os().skip(1).collect();
    let result = match role {
        "rustup" => rustup(&args),
        RUSTC_WRAPPER => build::wrap_rustc(&args),
        ahead::ROLE => ahead::become_compiler(&args),
        _ => cargo(&args),
    };
    match result {
        Ok(code) => ExitCode::from(u8::try_from(code).unwrap_or(1)),
        Err(error) => {
            eprintln!("error: {error:#}");
            ExitCode::FAILURE
        }
    }
}

/// Answers `rustup which TOOL`, which is how the engine finds its compiler and cargo.
fn rustup(args: &[OsString]) -> Result<i32> {
    let facade = Facade::find()?;
    let words: Vec<&str> = args.iter().filter_map(|a| a.to_str()).collect();
    match words.as_slice() {
        [.., "which", "cargo"] => println!("{}", session()?.join("bin/cargo").display()),
        [.., "which", "rustc"] => println!("{}", facade.rustc.display()),
        // Sources are installed by `prepare`; nothing is downloaded in a session.
        [.., "component", "add", _] => return Ok(1),
        _ => bail!("rustup is not available inside the kernel"),
    }
    Ok(0)
}

fn cargo(args: &[OsString]) -> Result<i32> {
    let words: Vec<&str> = args.iter().filter_map(|a| a.to_str()).collect();
    let facade = Facade::find()?;
    let command = words.iter().find(|w| !w.starts_with('-')).copied();
    match command {
        Some(what @ ("build" | "check")) => {
            let announced = Announced::new()?;
            let built = build::build(&facade, args, what == "check");
            drop(announced);
            built
        }
        Some("metadata") => metadata::metadata(&facade, args),
        Some("rustc") if words.contains(&"--print") => metadata::cached(&facade, args, "print"),
        // Type inference asks for the user's cargo configuration; it changes nothing for it.
        Some("unstable-options") if words.contains(&"config") => Ok(0),
        None if words == ["--version"] => metadata::cached(&facade, args, "version"),
        _ => real_cargo(&facade, args),
    }
}

fn real_cargo(facade: &Facade, args: &[OsString]) -> Result<i32> {
    status(real_cargo_command(facade).args(args))
}

/// The toolchain's cargo with the environment that the caller of the kernel had.
fn real_cargo_command(facade: &Facade) -> Command {
    let mut command = Command::new(&facade.cargo);
    match std::env::var_os(REAL_CARGO_HOME_ENV).filter(|v| !v.is_empty()) {
        Some(home) => command.env("CARGO_HOME", home),
        None => command.env_remove("CARGO_HOME"),
    };
    if let Some(path) = std::env::var_os(REAL_PATH_ENV) {
        command.env("PATH", path);
    }
    command.env("RUSTC", &facade.rustc);
    command
}

fn status(command: &mut Command) -> Result<i32> {
    let status = command
        .status()
        .with_context(|| format!("cannot run {}", command.get_program().display()))?;
    Ok(status.code().unwrap_or(1))
}

fn session() -> Result<PathBuf> {
    std::env::var_os(SESSION_ENV).map(PathBuf::from).context("not inside a kernel session")
}

/// Makes this process the head of a group, and says which while it lasts.
struct Announced {
    file: PathBuf,
}

impl Announced {
    fn new() -> Result<Announced> {
        // SAFETY: plain system calls without memory arguments.
        let pid = unsafe {
            libc::setpgid(0, 0);
            libc::getpid()
        };
        let session = session()?;
        let file = session.join(PID_FILE);
        std::fs::write(&file, pid.to_string())?;
        if session.join(CANCEL_FILE).exists() {
            bail!("cancelled");
        }
        Ok(Announced { file })
    }
}

impl Drop for Announced {
    fn drop(&mut self) {
        let _ = std::fs::remove_file(&self.file);
    }
}
