//! The installed kernel through a real Jupyter client.

use spatialkit_tests::notebooks::{kernel, workspace};
use spatialkit_tests::python;
use std::process::Command;

#[test]
fn nbclient_runs_notebooks_in_the_installed_kernel() {
    let name = "nbclient_runs_notebooks_in_the_installed_kernel";
    let (Some(kernel), Some(python)) = (kernel(name), python(name)) else { return };
    let prefix = tempfile::tempdir().unwrap();
    let installed =
        Command::new(kernel).args(["install", "--prefix"]).arg(prefix.path()).status().unwrap();
    assert!(installed.success());
    let output = Command::new(python)
        .arg(workspace().join("tests/python/client.py"))
        .arg(workspace().join("notebooks/stamgc.ipynb"))
        .env("JUPYTER_PATH", prefix.path().join("share/jupyter"))
        .output()
        .unwrap();
    let said = String::from_utf8_lossy(&output.stdout);
    println!("{said}");
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    assert_eq!(said.lines().filter(|l| l.starts_with("ok: ")).count(), 4, "{said}");
}
