//! Where answers are kept between sessions: `SPATIALKIT_CACHE`, or the platform's cache folder.
//!
//! Entries are keyed by compiler and library and can be deleted at any time.

use anyhow::{Context, Result};
use std::path::PathBuf;

/// The kernel's cache folder, made if it is not there.
pub fn folder() -> Result<PathBuf> {
    let root = match std::env::var_os("SPATIALKIT_CACHE").filter(|v| !v.is_empty()) {
        Some(dir) => PathBuf::from(dir),
        None => platform().context("no home folder; set SPATIALKIT_CACHE")?,
    };
    let dir = root.join("kernel");
    std::fs::create_dir_all(&dir)
        .with_context(|| format!("cannot create the cache folder {}", dir.display()))?;
    Ok(dir)
}

fn platform() -> Option<PathBuf> {
    if let Some(dir) = std::env::var_os("XDG_CACHE_HOME").filter(|v| !v.is_empty()) {
        return Some(PathBuf::from(dir).join("spatialkit"));
    }
    let home = PathBuf::from(std::env::var_os("HOME")?);
    Some(if cfg!(target_os = "macos") {
        home.join("Library/Caches/spatialkit")
    } else {
        home.join(".cache/spatialkit")
    })
}
