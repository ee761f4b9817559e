//! `cargo metadata` of the library and of a cell, as type inference is shown it.

use super::prepare::STD_CRATES;
use super::sources::{Of, copy_signatures};
use super::{Facade, output};
use anyhow::{Context, Result, anyhow, bail};
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use std::collections::BTreeSet;
use std::path::Path;
use std::process::Command;

/// Crates whose types show up in the library's public signatures. Type inference reads their
/// sources; the other two hundred stay out of its sight, which is most of its time and memory.
const PUBLIC_CRATES: &[&str] =
    &["candle-core", "candle-nn", "half", "ndarray", "num-complex", "num-traits", "serde_json"];

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

impl Metadata {
    /// Puts the signatures of each package's sources below `root` and names them instead.
    pub(super) fn mirror(&mut self, root: &Path) -> Result<()> {
        for package in &mut self.packages {
            let text = |value: &Value| value.as_str().unwrap_or("").to_owned();
            let folder = root.join(text(&package["name"]));
            let manifest = text(&package["manifest_path"]);
            let original = Path::new(&manifest).parent().unwrap_or(Path::new(""));
            for target in package["targets"].as_array_mut().into_iter().flatten() {
                let source = text(&target["src_path"]);
                let inside = Path::new(&source).strip_prefix(original)?;
                let copy = folder.join(inside);
                if !copy.exists() {
                    let parent = |path: &Path| path.parent().map(Path::to_path_buf);
                    let (Some(from), Some(to)) = (parent(Path::new(&source)), parent(&copy)) else {
                        bail!("{source} is in no folder");
                    };
                    copy_signatures(&from, &to, Of::Crate)?;
                }
                target["src_path"] = copy.display().to_string().into();
            }
            let copy = folder.join("Cargo.toml");
            std::fs::create_dir_all(&folder)?;
            std::fs::copy(&manifest, &copy).with_context(|| format!("cannot copy {manifest}"))?;
            package["manifest_path"] = copy.display().to_string().into();
        }
        Ok(())
    }
}

/// The description of those crates, and of `hashbrown`, without which the types of a map's
/// iterators are unknown.
pub(super) fn std_metadata(
    cargo: &Path,
    host: &str,
    library: &Path,
    mirror: &Path,
) -> Result<Value> {
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
    let mut pruned = prune(&all, "std", &keep)?;
    pruned.mirror(mirror)?;
    let packages = pruned.packages;
    let ids: Vec<Value> = packages.iter().map(|p| p["id"].clone()).collect();
    let members = |list: &Value| -> Value {
        let list = list.as_array().into_iter().flatten();
        list.filter(|id| ids.contains(id)).cloned().collect()
    };
    all["workspace_members"] = members(&all["workspace_members"]);
    all["workspace_default_members"] = members(&all["workspace_default_members"]);
    all["packages"] = packages.into();
    all["resolve"]["nodes"] = pruned.nodes.into();
    all["workspace_root"] = mirror.display().to_string().into();
    Ok(all)
}

pub(super) fn pruned_metadata(
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
