//! The session's folder.

use anyhow::{Context, Result};
use std::path::{Path, PathBuf};

/// The session's folder in the temporary folder; removed at the end, and by a later session if
/// this one could not.
pub struct SessionFolder {
    folder: tempfile::TempDir,
}

const FOLDER_PREFIX: &str = "spatialkit-session-";

impl SessionFolder {
    pub fn new() -> Result<SessionFolder> {
        let mut root = std::env::temp_dir();
        // A socket's path has room for about a hundred bytes, and evcxr's protocol none for
        // spaces.
        if root.as_os_str().len() > 50 || root.to_string_lossy().contains(' ') {
            root = PathBuf::from("/tmp");
        }
        remove_abandoned(&root);
        let folder = tempfile::Builder::new()
            .prefix(&format!("{FOLDER_PREFIX}{}-", std::process::id()))
            .tempdir_in(&root)
            .with_context(|| format!("cannot make a folder in {}", root.display()))?;
        Ok(SessionFolder { folder })
    }

    pub fn path(&self) -> &Path {
        self.folder.path()
    }
}

fn remove_abandoned(root: &Path) {
    for entry in std::fs::read_dir(root).into_iter().flatten().flatten() {
        let name = entry.file_name().to_string_lossy().into_owned();
        let pid = name
            .strip_prefix(FOLDER_PREFIX)
            .and_then(|rest| rest.split('-').next())
            .and_then(|pid| pid.parse::<i32>().ok());
        if let Some(pid) = pid {
            // SAFETY: signal 0 only asks whether the process is there.
            let alive = unsafe { libc::kill(pid, 0) } == 0
                || std::io::Error::last_os_error().raw_os_error() == Some(libc::EPERM);
            if !alive {
                let _ = std::fs::remove_dir_all(entry.path());
            }
        }
    }
}
