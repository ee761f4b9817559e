//! The kernelspec: where Jupyter finds this kernel.

use crate::facade::{FACADE_ENV, Facade, write_beside};
use anyhow::{Context, Result, bail};
use serde_json::json;
use std::path::{Path, PathBuf};

/// Name of the kernelspec.
pub const NAME: &str = "spatialkit";
/// How it is shown.
pub const DISPLAY_NAME: &str = "Rust (spatialkit)";

/// The kernel's picture, under the names that front ends look for.
const LOGOS: [(&str, &[u8]); 3] = [
    ("logo-svg.svg", include_bytes!("../assets/logo-svg.svg")),
    ("logo-64x64.png", include_bytes!("../assets/logo-64x64.png")),
    ("logo-32x32.png", include_bytes!("../assets/logo-32x32.png")),
];

/// Jupyter's folder of the user's own data.
pub fn user_data() -> Result<PathBuf> {
    if let Some(dir) = std::env::var_os("JUPYTER_DATA_DIR").filter(|v| !v.is_empty()) {
        return Ok(dir.into());
    }
    let home = PathBuf::from(std::env::var_os("HOME").context("HOME is not set")?);
    if cfg!(target_os = "macos") {
        return Ok(home.join("Library/Jupyter"));
    }
    Ok(std::env::var_os("XDG_DATA_HOME")
        .filter(|v| !v.is_empty())
        .map_or_else(|| home.join(".local/share"), PathBuf::from)
        .join("jupyter"))
}

fn kernels(prefix: Option<&Path>) -> Result<PathBuf> {
    Ok(match prefix {
        Some(prefix) => prefix.join("share/jupyter/kernels"),
        None => user_data()?.join("kernels"),
    })
}

/// Writes the kernelspec for the user, or under a prefix; returns its folder.
pub fn install(prefix: Option<&Path>) -> Result<PathBuf> {
    let exe = std::env::current_exe()
        .and_then(|exe| exe.canonicalize())
        .context("cannot tell where this executable is")?;
    let facade = Facade::path()?;
    let facade = facade.canonicalize().unwrap_or(facade);
    Facade::read(&facade)?;
    let folder = kernels(prefix)?.join(NAME);
    let spec = json!({
        "argv": [exe, "run", "-f", "{connection_file}"],
        "display_name": DISPLAY_NAME,
        "language": "rust",
        "interrupt_mode": "message",
        "env": {FACADE_ENV: facade},
        "metadata": {"debugger": false},
    });
    let text = serde_json::to_string_pretty(&spec)?;
    for (name, file) in LOGOS {
        write_beside(&folder.join(name), file)?;
    }
    write_beside(&folder.join("kernel.json"), text.as_bytes())?;
    Ok(folder)
}

/// Removes the kernelspec.
pub fn uninstall(prefix: Option<&Path>) -> Result<PathBuf> {
    let folder = kernels(prefix)?.join(NAME);
    if !folder.join("kernel.json").exists() {
        bail!("no kernelspec in {}", folder.display());
    }
    std::fs::remove_dir_all(&folder)
        .with_context(|| format!("cannot remove {}", folder.display()))?;
    Ok(folder)
}

/// Folders in which Jupyter looks for kernelspecs, nearest first.
pub fn search_path() -> Vec<PathBuf> {
    let mut found = Vec::new();
    if let Some(path) = std::env::var_os("JUPYTER_PATH") {
        found.extend(std::env::split_paths(&path));
    }
    found.extend(user_data());
    for variable in ["VIRTUAL_ENV", "CONDA_PREFIX"] {
        if let Some(prefix) = std::env::var_os(variable) {
            found.push(PathBuf::from(prefix).join("share/jupyter"));
        }
    }
    if let Some(path) = std::env::var_os("PATH") {
        for dir in std::env::split_paths(&path) {
            if dir.join("jupyter").is_file()
                && let Some(prefix) = dir.parent()
            {
                found.push(prefix.join("share/jupyter"));
            }
        }
    }
    found.push("/usr/local/share/jupyter".into());
    found.push("/usr/share/jupyter".into());
    found.into_iter().map(|dir| dir.join("kernels")).collect()
}
