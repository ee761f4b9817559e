//! `doctor`: what the kernel needs, whether it is there, and what to do if not.

use crate::facade::Facade;
use crate::{cache, install};
use std::process::Command;

/// Prints the findings; false if something that is needed is missing.
pub fn run() -> bool {
    let mut well = true;
    let mut say = |good: bool, what: &str, found: String| {
        let sign = if good { "ok  " } else { "FAIL" };
        println!("{sign}  {what:<18} {found}");
        well &= good;
    };
    match Facade::find() {
        Ok(facade) => {
            say(true, "prebuilt library", facade.library.display().to_string());
            match facade.check_compiler() {
                Ok(()) => {
                    let first = facade.rustc_version.lines().next().unwrap_or("");
                    say(true, "compiler", first.to_owned());
                }
                Err(error) => say(false, "compiler", format!("{error:#}")),
            }
            let sources = facade
                .rustc
                .parent()
                .and_then(|bin| bin.parent())
                .map(|root| root.join("lib/rustlib/src/rust/library/std/Cargo.toml"));
            match sources {
                Some(path) if path.exists() => {
                    say(true, "standard library", "sources are there".to_owned());
                }
                _ => say(
                    false,
                    "standard library",
                    "sources are missing, types cannot be inferred: \
                     run `rustup component add rust-src`"
                        .to_owned(),
                ),
            }
            let linker = Command::new("cc").arg("--version").output();
            match linker {
                Ok(out) => {
                    let text = String::from_utf8_lossy(&out.stdout).into_owned();
                    say(true, "linker", text.lines().next().unwrap_or("cc").to_owned());
                }
                Err(_) => say(false, "linker", "no `cc`: install a C compiler".to_owned()),
            }
        }
        Err(error) => say(false, "prebuilt library", format!("{error:#}")),
    }
    match cache::folder() {
        Ok(folder) => say(true, "cache", folder.display().to_string()),
        Err(error) => say(false, "cache", format!("{error:#}")),
    }
    let spec = install::search_path()
        .into_iter()
        .map(|dir| dir.join(install::NAME).join("kernel.json"))
        .find(|path| path.exists());
    match spec {
        Some(path) => say(true, "kernelspec", path.display().to_string()),
        None => println!(
            "note  kernelspec         not installed; `spatialkit-kernel install` shows it to Jupyter"
        ),
    }
    well
}
