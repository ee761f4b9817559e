//! Every parser against input that nobody wrote: libFuzzer changes real files, steered by which
//! branches of our code they reach. Run by `cargo xtask fuzz TARGET`.
//!
//! An input fails when it panics, when it takes longer than the time given to libFuzzer, or when it
//! takes more memory than [`memory`] allows. One program holds all targets; which one it is, the
//! environment says:
//!
//! | variable | meaning |
//! |---|---|
//! | `SPATIALKIT_FUZZ` | name of the target, or `list` |
//! | `SPATIALKIT_FUZZ_SEEDS` | folder to fill with inputs made from real files; then the program ends |
//! | `SPATIALKIT_FUZZ_PEAK` | file that keeps the greatest use of memory seen |
#![no_main]

mod hdf5;
mod memory;
mod mutate;
mod seeds;
mod targets;
mod zip;

use libfuzzer_sys::{fuzz_mutator, fuzz_target};
use std::process::exit;
use std::sync::OnceLock;
use targets::Target;

fn target() -> &'static Target {
    static TARGET: OnceLock<&'static Target> = OnceLock::new();
    TARGET.get_or_init(|| {
        let name = std::env::var("SPATIALKIT_FUZZ").unwrap_or_default();
        if name == "list" {
            targets::ALL.iter().for_each(|t| println!("{}", t.name));
            exit(0)
        }
        targets::ALL.iter().find(|t| t.name == name).unwrap_or_else(|| {
            let names: Vec<&str> = targets::ALL.iter().map(|t| t.name).collect();
            eprintln!("there is no target `{name}`; there is: {}", names.join(", "));
            exit(2)
        })
    })
}

fn start() {
    let target = target();
    // Some readers turn the panics of a crate below them into errors: only one that nobody caught
    // is a find, and libFuzzer's side of this program sees to that.
    std::panic::set_hook(Box::new(|info| eprintln!("{info}")));
    if let Some(folder) = std::env::var_os("SPATIALKIT_FUZZ_SEEDS") {
        match seeds::make(target, folder.as_ref()) {
            Ok(n) => println!("{n} seeds in {}", folder.display()),
            Err(e) => {
                eprintln!("{e}");
                exit(2)
            }
        }
        exit(0)
    }
}

fuzz_target!(init: start(), |data: &[u8]| {
    let target = target();
    let place = targets::place();
    // What is written for the parser to read is not counted.
    let files = (target.lay_out)(&place, data);
    memory::watch(data.len(), target.slack_mb << 20, || (target.read)(&files));
});

fuzz_mutator!(|data: &mut [u8], size: usize, max_size: usize, seed: u32| {
    mutate::mutate(target(), data, size, max_size, seed)
});
