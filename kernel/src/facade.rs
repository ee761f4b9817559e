//! The prebuilt library that cells link: building it, describing it, finding it.
//!
//! `prepare` builds `spatialkit-facade` with cargo, sets the compiled crates it consists of
//! aside (so that a later `cargo build` in the workspace cannot pull them from under a running
//! kernel) and writes `facade.json`, everything that the cargo front and the process that runs
//! cells need to know. How cells are compiled against it is in `front`; nothing here runs
//! during a session but [`Facade::find`].

use anyhow::{Context, Result, anyhow, bail};
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use std::collections::BTreeSet;
use std::hash::{DefaultHasher, Hash, Hasher};
use std::io::{BufRead, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

/// The environment variable that names the description.
pub const FACADE_ENV: &str = "SPATIALKIT_FACADE";

const FORMAT: u32 = 2;

/// Crates whose types show up in the library's public signatures. Type inference reads their
/// sources; the other two hundred stay out of its sight, which is most of its time and memory.
const PUBLIC_CRATES: &[&str] =
    &["candle-core", "candle-nn", "half", "ndarray", "num-complex", "num-traits", "serde_json"];

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
    /// The shared standard library of that compiler.
    pub std_library: PathBuf,
    /// The standard library's sources as type inference is shown them, if they are installed.
    pub std_source: Option<PathBuf>,
    /// What `cargo metadata` is to say of them.
    pub std_metadata: Value,
    /// The pruned `cargo metadata` that type inference is shown.
    pub metadata: Metadata,
}

/// The part of `cargo metadata` that describes the library and its public dependencies.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub struct Metadata {
    /// Package descriptions as cargo gives them.
    pub packages: Vec<Value>,
    /// The resolved graph between them.
    pub nodes: Vec<Value>,
    /// The id of the library's package.
    pub root: String,
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
        for up in exe.ancestors().skip(1).take(4) {
            let path = up.join("facade").join("facade.json");
            if path.exists() {
                return Ok(path);
            }
        }
        Err(anyhow!(
            "the prebuilt library is missing: {FACADE_ENV} is not set and there is no \
             facade/facade.json near {}; run `spatialkit-kernel prepare --workspace DIR`",
            exe.display()
        ))
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
    let sources = std_source(&std_library, &root)?;
    if Facade::read(&path).is_ok_and(|f| {
        f.deps == deps && f.rustc == rustc && f.cargo == cargo && f.std_source == sources
    }) {
        return Ok(path);
    }
    set_aside(&artifacts, built, &deps)?;
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
        deps,
        source: workspace.join("crate"),
        metadata: pruned_metadata(&cargo, &workspace, &host, features)?,
        rustc,
        cargo,
        rustc_version,
        host,
        std_metadata,
        std_source: sources,
        std_library,
    };
    write_beside(&path, &serde_json::to_vec(&facade)?)?;
    forget_old(&root, &stamp);
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

/// A folder with links to the sources of `core`, `alloc` and `std` alone. The compiler's
/// intrinsics beside them, which `core` includes by a relative path, are several times as much
/// text as the three together, and no type that a cell uses is defined there.
fn std_source(std_library: &Path, root: &Path) -> Result<Option<PathBuf>> {
    let Some(library) = library_sources(std_library) else {
        return Ok(None);
    };
    let mirror = root.join("std");
    for name in STD_CRATES {
        let folder = mirror.join(name);
        std::fs::create_dir_all(&folder)?;
        let link = folder.join("src");
        let _ = std::fs::remove_file(&link);
        std::os::unix::fs::symlink(library.join(name).join("src"), &link)
            .with_context(|| format!("cannot link {}", link.display()))?;
    }
    std::fs::write(mirror.join("Cargo.toml"), "[workspace]\n")?;
    Ok(Some(mirror))
}

const STD_CRATES: [&str; 3] = ["core", "alloc", "std"];

fn library_sources(std_library: &Path) -> Option<PathBuf> {
    let library = std_library.ancestors().nth(3)?.join("src/rust/library");
    library.join("std").is_dir().then_some(library)
}

/// The description of those crates, and of `hashbrown`, without which the types of a map's
/// iterators are unknown.
fn std_metadata(cargo: &Path, host: &str, library: &Path, mirror: &Path) -> Result<Value> {
    let mut command = Command::new(cargo);
    command
        .current_dir(mirror)
        .args(["metadata", "--format-version", "1", "--locked"])
        .args(["--filter-platform", host, "--manifest-path"])
        .arg(library.join("Cargo.toml"))
        // The standard library uses what only a nightly cargo reads.
        .env("__CARGO_TEST_CHANNEL_OVERRIDE_DO_NOT_USE_THIS", "nightly");
    let mut all: Value = serde_json::from_str(&output(&mut command)?)?;
    let mut keep = STD_CRATES.to_vec();
    keep.extend(["hashbrown", "rustc-std-workspace-core", "rustc-std-workspace-alloc"]);
    let pruned = prune(&all, "std", &keep)?;
    let (from, to) = (library.display().to_string(), mirror.display().to_string());
    let moved = |text: &Value| {
        let text = text.as_str().unwrap_or("");
        let mirrored = STD_CRATES.iter().any(|name| text.starts_with(&format!("{from}/{name}/")));
        Value::from(if mirrored { text.replacen(&from, &to, 1) } else { text.to_owned() })
    };
    let mut packages = pruned.packages;
    for package in &mut packages {
        package["manifest_path"] = moved(&package["manifest_path"]);
        for target in package["targets"].as_array_mut().into_iter().flatten() {
            target["src_path"] = moved(&target["src_path"]);
        }
    }
    let ids: Vec<Value> = packages.iter().map(|p| p["id"].clone()).collect();
    let members = |list: &Value| -> Value {
        let list = list.as_array().into_iter().flatten();
        list.filter(|id| ids.contains(id)).cloned().collect()
    };
    all["workspace_members"] = members(&all["workspace_members"]);
    all["workspace_default_members"] = members(&all["workspace_default_members"]);
    all["packages"] = packages.into();
    all["resolve"]["nodes"] = pruned.nodes.into();
    all["workspace_root"] = to.into();
    Ok(all)
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

/// Links what the compiler reads into a folder of its own.
fn set_aside(artifacts: &[PathBuf], library: &Path, folder: &Path) -> Result<()> {
    if folder.join("complete").exists() {
        return Ok(());
    }
    std::fs::create_dir_all(folder)?;
    let mut seen = BTreeSet::new();
    for path in artifacts {
        let name = file_name(path);
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

/// Keeps the current folder and the one before it (a running kernel may still use that).
fn forget_old(root: &Path, current: &str) {
    let Ok(entries) = std::fs::read_dir(root) else {
        return;
    };
    let mut old: Vec<_> = entries
        .flatten()
        .filter(|e| e.path().is_dir() && e.file_name() != current && e.file_name() != "std")
        .filter_map(|e| Some((e.metadata().ok()?.modified().ok()?, e.path())))
        .collect();
    old.sort();
    old.pop();
    for (_, path) in old {
        let _ = std::fs::remove_dir_all(path);
    }
}

fn pruned_metadata(
    cargo: &Path,
    workspace: &Path,
    host: &str,
    features: &[String],
) -> Result<Metadata> {
    let mut command = Command::new(cargo);
    command.current_dir(workspace).args([
        "metadata",
        "--format-version",
        "1",
        "--filter-platform",
        host,
    ]);
    if !features.is_empty() {
        let qualified: Vec<String> = features.iter().map(|f| format!("spatialkit/{f}")).collect();
        command.arg("--features").arg(qualified.join(","));
    }
    let all: Value = serde_json::from_str(&output(&mut command)?)?;
    prune(&all, "spatialkit", PUBLIC_CRATES)
}

/// Reduces `cargo metadata` to one package and the crates named in `keep`.
fn prune(all: &Value, main: &str, keep: &[&str]) -> Result<Metadata> {
    let empty = Vec::new();
    let packages = all["packages"].as_array().unwrap_or(&empty);
    let root = packages
        .iter()
        .find(|p| p["name"] == main)
        .and_then(|p| p["id"].as_str())
        .ok_or_else(|| anyhow!("cargo metadata does not know the package {main}"))?
        .to_owned();
    let kept: BTreeSet<&str> = packages
        .iter()
        .filter(|p| p["name"] == main || p["name"].as_str().is_some_and(|n| keep.contains(&n)))
        .filter_map(|p| p["id"].as_str())
        .collect();
    let names: BTreeSet<&str> = packages
        .iter()
        .filter(|p| p["id"].as_str().is_some_and(|id| kept.contains(id)))
        .filter_map(|p| p["name"].as_str())
        .collect();
    let mut out = Metadata { root, ..Metadata::default() };
    for package in packages {
        if !package["id"].as_str().is_some_and(|id| kept.contains(id)) {
            continue;
        }
        let mut package = package.clone();
        if let Some(deps) = package["dependencies"].as_array_mut() {
            deps.retain(|d| d["name"].as_str().is_some_and(|n| names.contains(n)));
        }
        // Only the library itself is read: no build script, test or example.
        if let Some(targets) = package["targets"].as_array_mut() {
            targets.retain(|t| {
                t["kind"].as_array().is_some_and(|kinds| {
                    kinds.iter().any(|k| {
                        matches!(k.as_str(), Some("lib" | "rlib" | "dylib" | "proc-macro"))
                    })
                })
            });
        }
        out.packages.push(package);
    }
    for node in all["resolve"]["nodes"].as_array().unwrap_or(&empty) {
        if !node["id"].as_str().is_some_and(|id| kept.contains(id)) {
            continue;
        }
        let mut node = node.clone();
        if let Some(deps) = node["deps"].as_array_mut() {
            deps.retain(|d| d["pkg"].as_str().is_some_and(|id| kept.contains(id)));
        }
        if let Some(deps) = node["dependencies"].as_array_mut() {
            deps.retain(|d| d.as_str().is_some_and(|id| kept.contains(id)));
        }
        out.nodes.push(node);
    }
    Ok(out)
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

fn std_library(rustc: &Path) -> Result<PathBuf> {
    let libdir = output(Command::new(rustc).args(["--print", "target-libdir"]))?;
    let libdir = Path::new(libdir.trim());
    let entries = std::fs::read_dir(libdir).with_context(|| {
        format!("cannot read the compiler's library folder {}", libdir.display())
    })?;
    for entry in entries.flatten() {
        let name = entry.file_name().to_string_lossy().into_owned();
        if name.starts_with(&format!("{}std-", std::env::consts::DLL_PREFIX))
            && name.ends_with(std::env::consts::DLL_SUFFIX)
        {
            return Ok(entry.path());
        }
    }
    bail!("no shared standard library in {}", libdir.display())
}

fn stamp(library: &Path, rustc_version: &str) -> Result<String> {
    let meta = std::fs::metadata(library)?;
    let mut hash = DefaultHasher::new();
    (meta.len(), meta.modified()?, rustc_version).hash(&mut hash);
    Ok(format!("{:016x}", hash.finish()))
}

fn library_name() -> String {
    use std::env::consts::{DLL_PREFIX, DLL_SUFFIX};
    format!("{DLL_PREFIX}spatialkit_facade{DLL_SUFFIX}")
}

fn file_name(path: &Path) -> String {
    path.file_name().map(|n| n.to_string_lossy().into_owned()).unwrap_or_default()
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

/// The description of `ctx`, the crate a cell becomes, in the form of `cargo metadata`.
pub fn ctx_metadata(manifest_dir: &Path, facade: &Facade) -> Value {
    let dir = manifest_dir.display();
    let id = format!("path+file://{dir}#ctx@1.0.0");
    let root = &facade.metadata.root;
    let mut packages = vec![json!({
        "name": "ctx", "version": "1.0.0", "id": id, "license": null, "license_file": null,
        "description": null, "source": null,
        "dependencies": [{
            "name": "spatialkit", "source": null, "req": "*", "kind": null, "rename": null,
            "optional": false, "uses_default_features": true, "features": [], "target": null,
            "registry": null, "path": facade.source,
        }],
        "targets": [{
            "kind": ["cdylib"], "crate_types": ["cdylib"], "name": "ctx",
            "src_path": manifest_dir.join("src/lib.rs"), "edition": "2024",
            "doc": true, "doctest": false, "test": true,
        }],
        "features": {}, "manifest_path": manifest_dir.join("Cargo.toml"), "metadata": null,
        "publish": null, "authors": [], "categories": [], "keywords": [], "readme": null,
        "repository": null, "homepage": null, "documentation": null, "edition": "2024",
        "links": null, "default_run": null, "rust_version": null,
    })];
    packages.extend(facade.metadata.packages.iter().cloned());
    let mut nodes = vec![json!({
        "id": id, "dependencies": [root], "features": [],
        "deps": [dependency_edge(root)],
    })];
    nodes.extend(facade.metadata.nodes.iter().cloned());
    json!({
        "packages": packages,
        "workspace_members": [id], "workspace_default_members": [id],
        "resolve": {"nodes": nodes, "root": id},
        "target_directory": manifest_dir.join("target"),
        "build_directory": manifest_dir.join("target"),
        "version": 1, "workspace_root": manifest_dir, "metadata": null,
    })
}

/// The edge from `ctx` to the library.
pub fn dependency_edge(root: &str) -> Value {
    json!({
        "name": "spatialkit", "pkg": root,
        "dep_kinds": [{"kind": null, "target": null}],
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pruning_keeps_the_library_and_public_crates_only() {
        let all = json!({
            "packages": [
                {"name": "spatialkit", "id": "s", "targets": [{"kind": ["lib"]}, {"kind": ["test"]}],
                 "dependencies": [{"name": "candle-core"}, {"name": "hdf5-metno"}]},
                {"name": "candle-core", "id": "c", "targets": [{"kind": ["lib"]}],
                 "dependencies": [{"name": "gemm"}]},
                {"name": "hdf5-metno", "id": "h", "targets": [], "dependencies": []},
            ],
            "resolve": {"nodes": [
                {"id": "s", "deps": [{"pkg": "c"}, {"pkg": "h"}], "dependencies": ["c", "h"]},
                {"id": "c", "deps": [], "dependencies": []},
                {"id": "h", "deps": [], "dependencies": []},
            ]},
        });
        let pruned = prune(&all, "spatialkit", &["candle-core"]).unwrap();
        assert_eq!(pruned.root, "s");
        assert_eq!(pruned.packages.len(), 2);
        assert_eq!(pruned.packages[0]["targets"].as_array().unwrap().len(), 1);
        assert_eq!(pruned.packages[0]["dependencies"].as_array().unwrap().len(), 1);
        assert_eq!(pruned.nodes[0]["dependencies"], json!(["c"]));
    }
}
