//! What the benches of networks share: the numbers that weights and inputs are made of, and the line that a
//! measurement prints.

use spatialkit::candle_core::Device;
use spatialkit::prelude::*;
use std::sync::OnceLock;

/// What the networks run on: a GPU where the build has one, or what `SPATIALKIT_DEVICE` names.
pub fn device() -> &'static Device {
    static DEVICE: OnceLock<Device> = OnceLock::new();
    DEVICE.get_or_init(|| {
        spatialkit::nn::Device::Auto.open().unwrap_or_else(|e| {
            eprintln!("{e}");
            std::process::exit(1)
        })
    })
}

/// A number of 64 bits for element `i` of tensor `p`.
pub fn splitmix(i: u64, p: u64) -> u64 {
    let mut z = i.wrapping_add(p << 32).wrapping_add(0x9e37_79b9_7f4a_7c15);
    z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    z ^ (z >> 31)
}

/// The same as a uniform number from 0 to below 1.
pub fn unit(i: u64, p: u64) -> f64 {
    (splitmix(i, p) >> 11) as f64 / (1u64 << 53) as f64
}

/// Prints `seconds peak_mb check version`, or ends the process with the error.
pub fn print(done: Result<(f64, f64)>) {
    match done {
        Ok((seconds, check)) => {
            let peak = progress::peak_memory_mb();
            println!("{seconds:.4} {peak:.1} {check} spatialkit {}", env!("CARGO_PKG_VERSION"));
        }
        Err(e) => {
            eprintln!("{e}");
            std::process::exit(1);
        }
    }
}
