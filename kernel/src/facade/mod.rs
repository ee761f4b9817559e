//! The prebuilt library that cells link: what a session needs to know of it.
//!
//! `prepare` builds `spatialkit-facade` with cargo, sets the compiled crates it consists of
//! aside (so that a later `cargo build` in the workspace cannot pull them from under a running
//! kernel) and writes `facade.json`, everything that the cargo front and the process that runs
//! cells need to know; [`metadata`] is what type inference is told of it. How cells are compiled
//! against it is in `front`; nothing here runs during a session but [`Facade::find`].

mod metadata;
mod prepare;
mod sources;

pub use metadata::{Metadata, ctx_metadata, dependency_edge};
pub use prepare::prepare;

use anyhow::{Context, Result, anyhow, bail};
use serde::{Deserialize, Serialize};
use serde_json::Value;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

/// The environment variable that names the description.
pub const FACADE_ENV: &str = "SPATIALKIT_FACADE";

const FORMAT: u32 = 11;

/// What a session needs to know of the prebuilt library.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Facade {
    format: u32,
    /// The dynamic library.
    pub library: PathBuf,
    /// The compiled crates inside it, for the compiler's `-L dependency`.
    pub deps: PathBuf,
    /// The library's own source folder.
    pub source: PathBuf,
    /// The compiler that built it: no other can compile cells against it.
    pub rustc: PathBuf,
    /// The cargo of the same toolchain.
    pub cargo: PathBuf,
    /// What that compiler says of itself (`-vV`).
    pub rustc_version: String,
    /// Its host triple.
    pub host: String,
    /// The linker that came with that compiler, which joins a cell to what is loaded already; the
    /// system's does otherwise, in ten times the time.
    pub linker: Option<PathBuf>,
    /// The functions that the compiler takes for granted, for that linker.
    pub builtins: Option<PathBuf>,
    /// The shared standard library of that compiler.
    pub std_library: PathBuf,
    /// The standard library's sources as type inference is shown them, if they are installed.
    pub std_source: Option<PathBuf>,
    /// What `cargo metadata` is to say of them.
    pub std_metadata: Value,
    /// The pruned `cargo metadata` that type inference is shown.
    pub metadata: Metadata,
}

impl Facade {
    /// Reads the description named by `SPATIALKIT_FACADE`, or the one beside this executable.
    pub fn find() -> Result<Facade> {
        let path = Self::path()?;
        Self::read(&path)
    }

    /// Where the description is (or should be).
    pub fn path() -> Result<PathBuf> {
        if let Some(path) = std::env::var_os(FACADE_ENV) {
            return Ok(path.into());
        }
        let exe = std::env::current_exe().context("cannot tell where this executable is")?;
        let exe = exe.canonicalize().unwrap_or(exe);
        Self::path_near(&exe).ok_or_else(|| {
            anyhow!(
                "the prebuilt library is missing: {FACADE_ENV} is not set and there is no \
                 facade/facade.json near {}; run `spatialkit-kernel prepare --workspace DIR`",
                exe.display()
            )
        })
    }

    /// The description in a folder above an executable of this kernel.
    pub fn path_near(exe: &Path) -> Option<PathBuf> {
        let folders = exe.ancestors().skip(1).take(4);
        folders.map(|up| up.join("facade/facade.json")).find(|path| path.exists())
    }

    /// Reads one description and checks that what it names is there.
    pub fn read(path: &Path) -> Result<Facade> {
        let text = std::fs::read_to_string(path).with_context(|| {
            format!(
                "the prebuilt library's description {} cannot be read; \
                 run `spatialkit-kernel prepare --workspace DIR`",
                path.display()
            )
        })?;
        let facade: Facade = serde_json::from_str(&text)
            .with_context(|| format!("{} is not a facade description", path.display()))?;
        if facade.format != FORMAT {
            bail!(
                "{} has format {}, this kernel reads {FORMAT}; run `spatialkit-kernel prepare`",
                path.display(),
                facade.format
            );
        }
        for needed in [&facade.library, &facade.rustc, &facade.std_library] {
            if !needed.exists() {
                bail!(
                    "{} names {}, which is not there; run `spatialkit-kernel prepare`",
                    path.display(),
                    needed.display()
                );
            }
        }
        Ok(facade)
    }

    /// Whether the compiler is still the one that built the library; an update puts another in
    /// its place, and that cannot read what is there.
    pub fn check_compiler(&self) -> Result<()> {
        let now = output(Command::new(&self.rustc).arg("-vV"))?;
        let first = |text: &str| text.lines().next().unwrap_or("").to_owned();
        if now != self.rustc_version {
            bail!(
                "the library was built by {}, the compiler is now {}; \
                 run `spatialkit-kernel prepare` (or `cargo xtask install`) again",
                first(&self.rustc_version),
                first(&now)
            );
        }
        Ok(())
    }
}

fn output(command: &mut Command) -> Result<String> {
    let out = command
        .stderr(Stdio::piped())
        .output()
        .with_context(|| format!("cannot run {command:?}"))?;
    if !out.status.success() {
        bail!("{command:?} failed: {}", String::from_utf8_lossy(&out.stderr).trim());
    }
    Ok(String::from_utf8(out.stdout)?)
}

/// Writes a file beside its place and renames it, so that a crash leaves the old one whole.
pub fn write_beside(path: &Path, bytes: &[u8]) -> Result<()> {
    let folder = path.parent().filter(|p| !p.as_os_str().is_empty());
    let folder = folder.unwrap_or(Path::new("."));
    std::fs::create_dir_all(folder)
        .with_context(|| format!("cannot create the folder {}", folder.display()))?;
    let file = tempfile::Builder::new()
        .prefix(".writing-")
        .permissions(std::os::unix::fs::PermissionsExt::from_mode(0o644))
        .tempfile_in(folder)
        .with_context(|| format!("cannot write in {}", folder.display()))?;
    std::fs::write(file.path(), bytes)
        .with_context(|| format!("cannot write {}", path.display()))?;
    file.persist(path).with_context(|| format!("cannot write {}", path.display()))?;
    Ok(())
}
