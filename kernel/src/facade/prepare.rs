//! Building the library of a workspace, setting its parts aside and describing them.

use super::metadata::{pruned_metadata, std_metadata};
use super::sources::{Of, copy_signatures, macro_features};
use super::{FORMAT, Facade, output, write_beside};
use anyhow::{Context, Result, anyhow, bail};
use serde_json::Value;
use std::collections::{BTreeSet, HashSet};
use std::hash::{DefaultHasher, Hash, Hasher};
use std::io::{BufRead, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

/// Builds the library of the workspace and writes its description; returns where.
pub fn prepare(workspace: &Path, features: &[String]) -> Result<PathBuf> {
    let workspace = workspace
        .canonicalize()
        .with_context(|| format!("no such folder: {}", workspace.display()))?;
    if !workspace.join("kernel/facade/Cargo.toml").exists() {
        bail!("{} is not the spatialkit workspace", workspace.display());
    }
    let rustc = tool_path("rustc", &workspace)?;
    let cargo = tool_path("cargo", &workspace)?;
    let rustc_version = output(Command::new(&rustc).arg("-vV"))?;
    let host = rustc_version
        .lines()
        .find_map(|line| line.strip_prefix("host: "))
        .ok_or_else(|| anyhow!("{} -vV names no host", rustc.display()))?
        .to_owned();
    let std_library = std_library(&rustc)?;
    add_sources(&std_library);

    let artifacts = build(&cargo, &workspace, features)?;
    let built = artifacts
        .iter()
        .find(|path| file_name(path) == library_name())
        .ok_or_else(|| anyhow!("cargo did not report the facade's dynamic library"))?;
    let target = built
        .ancestors()
        .find(|dir| dir.join("CACHEDIR.TAG").exists() || dir.ends_with("target"))
        .unwrap_or(&workspace)
        .to_path_buf();

    let root = target.join("facade");
    let path = root.join("facade.json");
    let stamp = stamp(built, &rustc_version)?;
    let deps = root.join(&stamp);
    let sources = std_source(&std_library, &root, &rustc_version)?;
    if Facade::read(&path).is_ok_and(|f| {
        f.deps == deps && f.rustc == rustc && f.cargo == cargo && f.std_source == sources
    }) {
        return Ok(path);
    }
    set_aside(&artifacts, built, &deps)?;
    let mut metadata = pruned_metadata(&cargo, &workspace, &host, features)?;
    metadata.mirror(&deps.join("sources"))?;
    let std_metadata = match (&sources, library_sources(&std_library)) {
        (Some(mirror), Some(library)) => std_metadata(&cargo, &host, &library, mirror)
            .unwrap_or_else(|error| {
                eprintln!("warning: the standard library's own crates: {error:#}");
                Value::Null
            }),
        _ => Value::Null,
    };
    let facade = Facade {
        format: FORMAT,
        library: deps.join(library_name()),
        source: deps.join("sources/spatialkit"),
        deps,
        metadata,
        rustc,
        cargo,
        rustc_version,
        host: host.clone(),
        linker: linker(&std_library, &host),
        builtins: std_library.parent().and_then(|dir| named(dir, "libcompiler_builtins-", ".rlib")),
        std_metadata,
        std_source: sources,
        std_library,
    };
    write_beside(&path, &serde_json::to_vec(&facade)?)?;
    forget_old(&root, &facade);
    Ok(path)
}

/// Type inference reads the standard library's sources; rustup installs them without being
/// asked only to those who chose so. Without them the kernel still runs, `doctor` says so.
fn add_sources(std_library: &Path) {
    if library_sources(std_library).is_some() {
        return;
    }
    let added = Command::new("rustup").args(["component", "add", "rust-src"]).status();
    if !added.is_ok_and(|status| status.success()) {
        eprintln!(
            "warning: the standard library's sources are missing and could not be added; \
             types of variables cannot be inferred: run `rustup component add rust-src`"
        );
    }
}

/// A folder with the signatures of `core`, `alloc` and `std` alone. The compiler's intrinsics beside
/// them, which `core` includes by a relative path, are several times as much text as the three
/// together, and no type that a cell uses is defined there.
fn std_source(std_library: &Path, root: &Path, version: &str) -> Result<Option<PathBuf>> {
    let Some(library) = library_sources(std_library) else {
        return Ok(None);
    };
    let mut hash = DefaultHasher::new();
    (FORMAT, version).hash(&mut hash);
    let mirror = root.join(format!("{STD_FOLDER}{:016x}", hash.finish()));
    let manifest = mirror.join("Cargo.toml");
    if !manifest.exists() {
        // Calls of closures go by these.
        let mut features = HashSet::from(["fn_traits", "async_fn_traits"].map(str::to_owned));
        for name in STD_CRATES {
            features.extend(macro_features(&library.join(name).join("src"))?);
        }
        for name in STD_CRATES {
            let (from, to) = (library.join(name).join("src"), mirror.join(name).join("src"));
            copy_signatures(&from, &to, Of::StandardLibrary(&features))?;
        }
        std::fs::write(manifest, "[workspace]\n")?;
    }
    Ok(Some(mirror))
}

const STD_FOLDER: &str = "std-";

/// The crates of the standard library that type inference reads.
pub(super) const STD_CRATES: [&str; 3] = ["core", "alloc", "std"];

fn library_sources(std_library: &Path) -> Option<PathBuf> {
    let library = std_library.ancestors().nth(3)?.join("src/rust/library");
    library.join("std").is_dir().then_some(library)
}

fn build(cargo: &Path, workspace: &Path, features: &[String]) -> Result<Vec<PathBuf>> {
    let mut command = Command::new(cargo);
    command
        .current_dir(workspace)
        .args(["rustc", "--release", "-p", "spatialkit-facade"])
        .arg("--message-format=json-render-diagnostics");
    if !features.is_empty() {
        command.arg("--features").arg(features.join(","));
    }
    // Only the last crate: a flag for all of them would compile the workspace twice.
    command.args(["--", "-C", "prefer-dynamic"]);
    let mut child = command
        .stdout(Stdio::piped())
        .spawn()
        .with_context(|| format!("cannot run {}", cargo.display()))?;
    let mut artifacts = Vec::new();
    if let Some(stdout) = child.stdout.take() {
        for line in BufReader::new(stdout).lines() {
            let Ok(message) = serde_json::from_str::<Value>(&line?) else {
                continue;
            };
            if message["reason"] == "compiler-artifact"
                && let Some(files) = message["filenames"].as_array()
            {
                artifacts.extend(files.iter().filter_map(|f| f.as_str()).map(PathBuf::from));
            }
        }
    }
    let status = child.wait()?;
    if !status.success() {
        bail!("building spatialkit-facade failed ({status}); cargo's messages are above");
    }
    Ok(artifacts)
}

/// The compiler's own linker for ELF, where there is one. Cells are linked without the C library's
/// start-up code and without looking at what they refer to (`front::build`).
fn linker(std_library: &Path, host: &str) -> Option<PathBuf> {
    if !host.contains("linux") {
        return None;
    }
    let path = std_library.parent()?.parent()?.join("bin/rust-lld");
    path.is_file().then_some(path)
}

/// Links what the compiler reads into a folder of its own. Of a crate that is inside the library it
/// reads the description alone, so the code goes only where there is nothing else.
fn set_aside(artifacts: &[PathBuf], library: &Path, folder: &Path) -> Result<()> {
    if folder.join("complete").exists() {
        return Ok(());
    }
    std::fs::create_dir_all(folder)?;
    let described: BTreeSet<PathBuf> = artifacts
        .iter()
        .filter(|path| path.extension().is_some_and(|e| e == "rmeta"))
        .map(|path| path.with_extension(""))
        .collect();
    let mut seen = BTreeSet::new();
    for path in artifacts {
        let name = file_name(path);
        if name.ends_with(".rlib") && described.contains(&path.with_extension("")) {
            continue;
        }
        let wanted = path
            .extension()
            .is_some_and(|e| e == "rlib" || e == "rmeta" || e == std::env::consts::DLL_EXTENSION);
        if !wanted || name == library_name() || !seen.insert(name.clone()) {
            continue;
        }
        link_or_copy(path, &folder.join(name))?;
    }
    let copy = folder.join(library_name());
    std::fs::copy(library, &copy)
        .with_context(|| format!("cannot copy {} to {}", library.display(), copy.display()))?;
    std::fs::write(folder.join("complete"), "")?;
    Ok(())
}

fn link_or_copy(from: &Path, to: &Path) -> Result<()> {
    let _ = std::fs::remove_file(to);
    if std::fs::hard_link(from, to).is_err() {
        std::fs::copy(from, to)
            .with_context(|| format!("cannot copy {} to {}", from.display(), to.display()))?;
    }
    Ok(())
}

/// Keeps the current folders and of each kind the one before (a running kernel may still use that).
fn forget_old(root: &Path, current: &Facade) {
    let Ok(entries) = std::fs::read_dir(root) else {
        return;
    };
    let in_use = |path: &Path| path == current.deps || current.std_source.as_deref() == Some(path);
    let old = entries
        .flatten()
        .filter(|e| e.path().is_dir() && !in_use(&e.path()))
        .filter_map(|e| Some((e.metadata().ok()?.modified().ok()?, e.path())));
    let (mut std, mut library): (Vec<_>, Vec<_>) =
        old.partition(|(_, path)| file_name(path).starts_with(STD_FOLDER));
    for old in [&mut std, &mut library] {
        old.sort();
        old.pop();
        for (_, path) in old {
            let _ = std::fs::remove_dir_all(path);
        }
    }
}

/// The real path of a tool: rustup's answer where there is one, else the first on PATH.
fn tool_path(tool: &str, workspace: &Path) -> Result<PathBuf> {
    let rustup = Command::new("rustup")
        .current_dir(workspace)
        .args(["which", tool])
        .stderr(Stdio::null())
        .output();
    if let Ok(out) = rustup
        && out.status.success()
    {
        return Ok(PathBuf::from(String::from_utf8_lossy(&out.stdout).trim()));
    }
    find_on_path(tool).ok_or_else(|| anyhow!("no `{tool}` on PATH; install Rust (rustup.rs)"))
}

/// The first executable of that name on PATH.
pub fn find_on_path(tool: &str) -> Option<PathBuf> {
    let path = std::env::var_os("PATH")?;
    std::env::split_paths(&path).map(|dir| dir.join(tool)).find(|candidate| candidate.is_file())
}

/// The file of a folder whose name begins and ends so; the compiler puts a hash between.
fn named(folder: &Path, start: &str, end: &str) -> Option<PathBuf> {
    let paths = std::fs::read_dir(folder).ok()?.flatten().map(|entry| entry.path());
    let mut paths = paths.filter(|path| {
        let name = file_name(path);
        name.starts_with(start) && name.ends_with(end)
    });
    paths.next()
}

fn std_library(rustc: &Path) -> Result<PathBuf> {
    let libdir = output(Command::new(rustc).args(["--print", "target-libdir"]))?;
    let libdir = Path::new(libdir.trim());
    let prefix = format!("{}std-", std::env::consts::DLL_PREFIX);
    if let Some(path) = named(libdir, &prefix, std::env::consts::DLL_SUFFIX) {
        return Ok(path);
    }
    bail!("no shared standard library in {}", libdir.display())
}

fn stamp(library: &Path, rustc_version: &str) -> Result<String> {
    let meta = std::fs::metadata(library)?;
    let mut hash = DefaultHasher::new();
    (FORMAT, meta.len(), meta.modified()?, rustc_version).hash(&mut hash);
    Ok(format!("{:016x}", hash.finish()))
}

fn library_name() -> String {
    use std::env::consts::{DLL_PREFIX, DLL_SUFFIX};
    format!("{DLL_PREFIX}spatialkit_facade{DLL_SUFFIX}")
}

fn file_name(path: &Path) -> String {
    path.file_name().map(|n| n.to_string_lossy().into_owned()).unwrap_or_default()
}
