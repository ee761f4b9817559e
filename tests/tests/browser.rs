//! The installed kernel in JupyterLab, in a browser.

use spatialkit_tests::notebooks::{kernel, workspace};
use spatialkit_tests::{program, python};
use std::path::Path;
use std::process::Command;

#[test]
fn jupyterlab_shows_and_interrupts_notebooks() {
    let name = "jupyterlab_shows_and_interrupts_notebooks";
    let why =
        "no Chromium (install one, on Debian: apt install chromium, and run `cargo xtask test`)";
    let (Some(kernel), Some(python)) = (kernel(name), python(name)) else { return };
    let Some(chromium) = program(name, "SPATIALKIT_CHROMIUM", why) else { return };
    let (prefix, notebooks) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let installed =
        Command::new(kernel).args(["install", "--prefix"]).arg(prefix.path()).status().unwrap();
    assert!(installed.success());
    let tutorial = "first_steps.ipynb";
    let original = workspace().join("notebooks").join(tutorial);
    std::fs::copy(original, notebooks.path().join(tutorial)).unwrap();
    // Kept to be looked at, beside the folder that cargo has for tests.
    let screenshots = Path::new(env!("CARGO_TARGET_TMPDIR")).with_file_name("screenshots");
    let output = Command::new(python)
        .arg(workspace().join("tests/python/browser.py"))
        .args([notebooks.path(), &screenshots])
        .env("JUPYTER_PATH", prefix.path().join("share/jupyter"))
        .env("SPATIALKIT_CHROMIUM", chromium)
        .output()
        .unwrap();
    let said = String::from_utf8_lossy(&output.stdout);
    println!("{said}");
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    assert_eq!(said.lines().filter(|l| l.starts_with("ok: ")).count(), 10, "{said}");
}
