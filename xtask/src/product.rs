//! The product: the kernel program and the dynamic library that cells link.

use crate::tools::{cargo_command, exit_code, root, run, say, target_dir, with_build_tools};
use anyhow::{Context, Result};
use std::path::PathBuf;
use std::process::{Command, ExitCode, Stdio};

/// A built kernel.
pub struct Kernel {
    /// The kernel's program.
    pub program: PathBuf,
}

impl Kernel {
    fn new() -> Self {
        Kernel { program: target_dir().join("release/spatialkit-kernel") }
    }

    /// A run of one of the kernel's own commands.
    pub fn command(&self, command: &str) -> Command {
        let mut c = Command::new(&self.program);
        c.arg(command);
        c
    }

    /// Runs one of the kernel's own commands in the user's folder.
    pub fn status(&self, command: &str, args: &[String]) -> Result<ExitCode> {
        let mut command = self.command(command);
        let status = command.args(args).status();
        let status = status.with_context(|| format!("cannot start {}", self.program.display()))?;
        Ok(exit_code(status))
    }
}

/// The kernel, if it was built before.
pub fn built() -> Option<Kernel> {
    let kernel = Kernel::new();
    kernel.program.exists().then_some(kernel)
}

/// Builds the kernel and the library that cells link, which takes some ten minutes the first time
/// and a second afterwards.
pub fn build() -> Result<Kernel> {
    let first = built().is_none();
    if first {
        say("building the kernel (some five minutes on two cores, once)");
    }
    let mut build = cargo_command()?;
    build.args(["build", "--release", "--package", "spatialkit-kernel"]);
    if !first {
        build.arg("--quiet");
    }
    run(&mut build, "building the kernel")?;
    let kernel = Kernel::new();
    if first {
        say("building the library that notebook cells link (some five minutes, once)");
    }
    let mut prepare = with_build_tools(&kernel.program)?;
    prepare.args(["prepare", "--workspace"]).arg(root()).stdout(Stdio::null());
    run(&mut prepare, "building the library that notebook cells link")?;
    Ok(kernel)
}
