//! `cargo metadata` and the other questions that type inference asks of cargo.
//!
//! About the cell's own crate the answer is made from the facade's description; with
//! dependencies of the user's, cargo's answer is completed with it. What depends on the
//! compiler alone (its target and configuration) is asked once and
//! kept in the cache folder.

use super::build::has_dependencies;
use super::real_cargo_command;
use crate::cache;
use crate::facade::{Facade, ctx_metadata, dependency_edge, write_beside};
use anyhow::{Context, Result};
use serde_json::Value;
use std::ffi::OsString;
use std::hash::{DefaultHasher, Hash, Hasher};
use std::io::Write;
use std::path::{Path, PathBuf};

/// Answers `cargo metadata`.
pub fn metadata(facade: &Facade, args: &[OsString]) -> Result<i32> {
    let folder = manifest_folder(args)?;
    let text = std::fs::read_to_string(folder.join("Cargo.toml")).unwrap_or_default();
    if facade.std_source.as_ref() == Some(&folder) {
        // Without a description type inference goes by the folders that are there.
        anyhow::ensure!(!facade.std_metadata.is_null(), "not described");
        return say(&facade.std_metadata);
    }
    if !text.contains("name = \"ctx\"") {
        return super::real_cargo(facade, args);
    }
    let no_deps = args.iter().any(|a| a == "--no-deps");
    let mut answer = ctx_metadata(&folder, facade);
    if no_deps {
        if let Some(packages) = answer["packages"].as_array_mut() {
            packages.truncate(1);
        }
        answer["resolve"] = Value::Null;
    } else if has_dependencies(&text) {
        let out =
            real_cargo_command(facade).args(args).output().context("cannot run cargo metadata")?;
        std::io::stderr().write_all(&out.stderr)?;
        if !out.status.success() {
            return Ok(out.status.code().unwrap_or(1));
        }
        let asked: Value = serde_json::from_slice(&out.stdout)?;
        answer = complete(asked, facade);
    }
    say(&answer)
}

fn say(answer: &Value) -> Result<i32> {
    let mut stdout = std::io::stdout().lock();
    serde_json::to_writer(&mut stdout, answer)?;
    stdout.write_all(b"\n")?;
    Ok(0)
}

/// Adds the library to cargo's answer about a crate with other dependencies.
fn complete(mut asked: Value, facade: &Facade) -> Value {
    let root = &facade.metadata.root;
    let main = asked["workspace_members"][0].clone();
    for (list, extra) in
        [("packages", &facade.metadata.packages), ("nodes", &facade.metadata.nodes)]
    {
        let place =
            if list == "nodes" { &mut asked["resolve"]["nodes"] } else { &mut asked["packages"] };
        let Some(present) = place.as_array_mut() else {
            continue;
        };
        for item in extra {
            if !present.iter().any(|p| p["id"] == item["id"]) {
                present.push(item.clone());
            }
        }
    }
    if let Some(nodes) = asked["resolve"]["nodes"].as_array_mut() {
        for node in nodes.iter_mut().filter(|n| n["id"] == main) {
            if let Some(deps) = node["deps"].as_array_mut() {
                deps.push(dependency_edge(root));
            }
            if let Some(deps) = node["dependencies"].as_array_mut() {
                deps.push(Value::from(root.clone()));
            }
        }
    }
    asked
}

/// Asks the real cargo once per compiler and keeps the answer.
pub fn cached(facade: &Facade, args: &[OsString], what: &str) -> Result<i32> {
    let mut hash = DefaultHasher::new();
    facade.rustc_version.hash(&mut hash);
    for arg in args {
        // The session's own folder and copies of lock files differ from run to run.
        let arg = arg.to_string_lossy();
        if !arg.contains("/tmp") && !arg.contains("spatialkit-session") {
            arg.hash(&mut hash);
        }
    }
    let path =
        cache::folder().ok().map(|dir| dir.join(format!("{what}-{:016x}.kept", hash.finish())));
    if let Some(text) = path.as_deref().and_then(kept) {
        std::io::stdout().write_all(&text)?;
        return Ok(0);
    }
    let out = real_cargo_command(facade)
        .args(args)
        .output()
        .with_context(|| format!("cannot run {}", facade.cargo.display()))?;
    std::io::stdout().write_all(&out.stdout)?;
    std::io::stderr().write_all(&out.stderr)?;
    if out.status.success()
        && let Some(path) = &path
    {
        // A cache that cannot be written costs time, nothing else.
        let _ = write_beside(path, &sealed(&out.stdout));
    }
    Ok(out.status.code().unwrap_or(1))
}

/// An answer as it is kept: behind a line that tells whether it is whole.
fn sealed(answer: &[u8]) -> Vec<u8> {
    let mut hash = DefaultHasher::new();
    answer.hash(&mut hash);
    [format!("{:016x}\n", hash.finish()).as_bytes(), answer].concat()
}

/// A kept answer; nothing if the file is not there or damaged, so that it is made anew.
fn kept(path: &Path) -> Option<Vec<u8>> {
    let text = std::fs::read(path).ok()?;
    let start = text.iter().position(|&b| b == b'\n')? + 1;
    (sealed(&text[start..]) == text).then(|| text[start..].to_vec())
}

fn manifest_folder(args: &[OsString]) -> Result<PathBuf> {
    let mut words = args.iter();
    if words.any(|w| w == "--manifest-path")
        && let Some(path) = words.next()
    {
        return Ok(Path::new(path).parent().map_or_else(PathBuf::new, Path::to_path_buf));
    }
    Ok(std::env::current_dir()?)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_damaged_answer_is_not_used() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("answer");
        assert_eq!(kept(&path), None);
        std::fs::write(&path, sealed(b"two\nlines\n")).unwrap();
        assert_eq!(kept(&path).as_deref(), Some(&b"two\nlines\n"[..]));
        let whole = std::fs::read(&path).unwrap();
        for damaged in [&whole[..whole.len() - 1], b"", b"\n", b"old form\n"] {
            std::fs::write(&path, damaged).unwrap();
            assert_eq!(kept(&path), None);
        }
    }
}
