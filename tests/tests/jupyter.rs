//! The installed kernel through real Jupyter clients.

use spatialkit_tests::notebooks::{kernel, workspace};
use spatialkit_tests::python;
use std::ffi::OsStr;
use std::path::Path;
use std::process::Command;

/// Runs a script of `tests/python` where Jupyter finds the kernel, and counts the checks that it
/// says are ok.
fn checks<A: AsRef<OsStr>>(kernel: &Path, python: &Path, script: &str, args: &[A]) -> usize {
    let prefix = tempfile::tempdir().unwrap();
    let installed =
        Command::new(kernel).args(["install", "--prefix"]).arg(prefix.path()).status().unwrap();
    assert!(installed.success());
    let output = Command::new(python)
        .arg(workspace().join("tests/python").join(script))
        .args(args)
        .env("JUPYTER_PATH", prefix.path().join("share/jupyter"))
        .output()
        .unwrap();
    let said = String::from_utf8_lossy(&output.stdout);
    println!("{said}");
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    said.lines().filter(|l| l.starts_with("ok: ")).count()
}

#[test]
fn nbclient_runs_notebooks_in_the_installed_kernel() {
    let name = "nbclient_runs_notebooks_in_the_installed_kernel";
    let (Some(kernel), Some(python)) = (kernel(name), python(name)) else { return };
    let tutorial = workspace().join("notebooks/stamgc.ipynb");
    assert_eq!(checks(&kernel, &python, "client.py", &[tutorial]), 4);
}

#[test]
fn the_conformance_suite_passes() {
    let name = "the_conformance_suite_passes";
    let (Some(kernel), Some(python)) = (kernel(name), python(name)) else { return };
    assert_eq!(checks(&kernel, &python, "conformance.py", &[""; 0]), 13);
}

#[test]
fn papermill_passes_parameters() {
    let name = "papermill_passes_parameters";
    let (Some(kernel), Some(python)) = (kernel(name), python(name)) else { return };
    assert_eq!(checks(&kernel, &python, "papermill_run.py", &[&kernel]), 7);
}
