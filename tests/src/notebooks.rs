//! Running notebooks in the built kernel, and looking at what came out.

use serde_json::{Value, json};
use std::path::{Path, PathBuf};
use std::process::Command;

/// The built kernel: `SPATIALKIT_KERNEL`, set by `cargo xtask test`. Without it the test `name`
/// says that it was skipped.
pub fn kernel(name: &str) -> Option<PathBuf> {
    crate::program(name, "SPATIALKIT_KERNEL", "no kernel was built (`cargo xtask test` builds it)")
}

/// The folder of the workspace.
pub fn workspace() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().expect("tests lie in the workspace")
}

/// A notebook that was run: how the runner ended, and the file it wrote.
pub struct Run {
    /// Whether the runner reported success.
    pub success: bool,
    /// What the runner printed.
    pub log: String,
    /// The notebook with its outputs.
    pub notebook: Value,
}

/// Runs a notebook of the project with parameters, in the folder of the workspace.
///
/// # Panics
/// When the runner cannot be started or writes no notebook.
pub fn run(kernel: &Path, notebook: &Path, parameters: &[(&str, &str)], more: &[&str]) -> Run {
    let dir = tempfile::tempdir().expect("a temporary folder");
    let out = dir.path().join("out.ipynb");
    let mut command = Command::new(kernel);
    command.current_dir(workspace()).arg("exec").arg(notebook).arg("-o").arg(&out).args(more);
    for (name, value) in parameters {
        command.arg("-p").arg(format!("{name}={value}"));
    }
    let output = command.output().expect("the kernel starts");
    let log = String::from_utf8_lossy(&output.stdout).into_owned()
        + &String::from_utf8_lossy(&output.stderr);
    let text = std::fs::read_to_string(&out)
        .unwrap_or_else(|e| panic!("no output notebook was written: {e}\n{log}"));
    let notebook = serde_json::from_str(&text).expect("the output is valid JSON");
    Run { success: output.status.success(), log, notebook }
}

/// Runs a notebook of the project by its file's name, shows its headline numbers, and returns it. Without a
/// built kernel the test `name` says that it was skipped.
///
/// # Panics
/// When a cell fails, with its error.
pub fn succeeds(name: &str, notebook: &str, parameters: &[(&str, &str)]) -> Option<Run> {
    let run = run(&kernel(name)?, &workspace().join("notebooks").join(notebook), parameters, &[]);
    assert!(run.success, "{notebook} {parameters:?}: {:?}\n{}", run.errors(), run.log);
    println!("{notebook} {parameters:?}: {}", run.result());
    Some(run)
}

impl Run {
    /// A headline number.
    ///
    /// # Panics
    /// When the notebook has none of this name.
    pub fn number(&self, key: &str) -> f64 {
        self.result()[key].as_f64().unwrap_or_else(|| panic!("no {key} in {}", self.result()))
    }

    /// All outputs of all cells, in order.
    pub fn outputs(&self) -> Vec<&Value> {
        let cells = self.notebook["cells"].as_array().expect("cells");
        cells.iter().filter_map(|c| c["outputs"].as_array()).flatten().collect()
    }

    /// The contents of a MIME type, in order.
    pub fn of_type(&self, mime: &str) -> Vec<&Value> {
        self.outputs().into_iter().map(|o| &o["data"][mime]).filter(|v| !v.is_null()).collect()
    }

    /// The errors, each as its message and everything that was shown of it.
    pub fn errors(&self) -> Vec<(String, String)> {
        let errors = self.outputs().into_iter().filter(|o| o["output_type"] == "error");
        errors.map(|o| (text(&o["evalue"]), text(&o["traceback"]))).collect()
    }

    /// The last JSON value shown: a notebook's headline numbers.
    pub fn result(&self) -> Value {
        self.of_type("application/json").last().map_or(Value::Null, |v| (*v).clone())
    }
}

/// Text that nbformat stores as a string or as a list of lines.
pub fn text(value: &Value) -> String {
    match value {
        Value::String(s) => s.clone(),
        Value::Array(lines) => lines.iter().map(text).collect(),
        _ => String::new(),
    }
}

/// Writes a notebook of the given code cells.
///
/// # Panics
/// When the file cannot be written.
pub fn write(path: &Path, cells: &[&str]) {
    let cell = |(i, source): (usize, &&str)| {
        json!({"cell_type": "code", "id": format!("c{i}"), "metadata": {}, "source": source,
               "execution_count": null, "outputs": []})
    };
    let notebook = json!({
        "cells": cells.iter().enumerate().map(cell).collect::<Vec<_>>(),
        "metadata": {"kernelspec": {"name": "spatialkit", "display_name": "Rust (spatialkit)"}},
        "nbformat": 4, "nbformat_minor": 5,
    });
    std::fs::write(path, notebook.to_string()).expect("the notebook is written");
}
