//! [`Device`]: where tensors live, chosen by the user or by what the machine has.

use crate::error::{Error, Result};
use std::fmt;
use std::str::FromStr;

/// The environment variable that chooses the device where the program does not.
const VARIABLE: &str = "SPATIALKIT_DEVICE";

/// A wish for a device; [`open`](Device::open) turns it into candle's.
///
/// Written as text: `auto`, `cpu`, `cuda`, `cuda:1`, `metal`.
///
/// ```
/// use spatialkit::nn::Device;
/// let wish: Device = "cuda:1".parse()?;
/// assert_eq!(wish, Device::Cuda(1));
/// # Ok::<(), spatialkit::Error>(())
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Device {
    /// What `SPATIALKIT_DEVICE` names; without it the first GPU that this build can use, else
    /// the CPU.
    #[default]
    Auto,
    /// The CPU.
    Cpu,
    /// The NVIDIA GPU of this number.
    Cuda(usize),
    /// Apple's GPU.
    Metal,
}

impl Device {
    /// The device, opened.
    ///
    /// `Auto` never fails because a GPU is missing; a device asked for by name, here or in the
    /// environment variable, is never replaced by another.
    ///
    /// # Errors
    /// [`Error::Device`] when a named device cannot be used, with the reason (build without the
    /// feature, no driver, no such number); [`Error::Parameter`] when `SPATIALKIT_DEVICE` is not
    /// one of the texts above.
    pub fn open(self) -> Result<candle_core::Device> {
        match self {
            Device::Auto => match std::env::var(VARIABLE) {
                Ok(text) if !text.trim().is_empty() => match text.parse()? {
                    Device::Auto => Ok(best()),
                    named => named.open(),
                },
                _ => Ok(best()),
            },
            Device::Cpu => Ok(candle_core::Device::Cpu),
            Device::Cuda(_) if !candle_core::utils::cuda_is_available() => {
                Err(self.unusable("this build has no CUDA support; build with `--features cuda`"))
            }
            Device::Cuda(n) => {
                candle_core::Device::new_cuda(n).map_err(|e| self.unusable(e.to_string()))
            }
            Device::Metal if !candle_core::utils::metal_is_available() => {
                Err(self.unusable("this build has no Metal support; build with `--features metal`"))
            }
            Device::Metal => {
                candle_core::Device::new_metal(0).map_err(|e| self.unusable(e.to_string()))
            }
        }
    }

    fn unusable(self, reason: impl Into<String>) -> Error {
        Error::Device { requested: self.to_string(), reason: reason.into() }
    }
}

/// The best device that works here.
fn best() -> candle_core::Device {
    let gpu = if candle_core::utils::cuda_is_available() {
        candle_core::Device::new_cuda(0).ok()
    } else if candle_core::utils::metal_is_available() {
        candle_core::Device::new_metal(0).ok()
    } else {
        None
    };
    gpu.unwrap_or(candle_core::Device::Cpu)
}

impl fmt::Display for Device {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Device::Auto => f.write_str("auto"),
            Device::Cpu => f.write_str("cpu"),
            Device::Cuda(n) => write!(f, "cuda:{n}"),
            Device::Metal => f.write_str("metal"),
        }
    }
}

impl FromStr for Device {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self> {
        let lower = text.trim().to_ascii_lowercase();
        match lower.as_str() {
            "auto" => Ok(Device::Auto),
            "cpu" => Ok(Device::Cpu),
            "cuda" => Ok(Device::Cuda(0)),
            "metal" => Ok(Device::Metal),
            other => {
                let number = other.strip_prefix("cuda:").and_then(|n| n.parse().ok());
                number.map(Device::Cuda).ok_or_else(|| {
                    let reason = "must be auto, cpu, cuda, cuda:N or metal";
                    Error::parameter("device", format!("`{text}`"), reason)
                })
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn devices_are_read_as_they_are_written() {
        for d in [Device::Auto, Device::Cpu, Device::Cuda(0), Device::Cuda(3), Device::Metal] {
            assert_eq!(d.to_string().parse::<Device>().unwrap(), d);
        }
        let e = "gpu".parse::<Device>().unwrap_err().to_string();
        assert_eq!(e, "device = `gpu`: must be auto, cpu, cuda, cuda:N or metal");
    }

    #[test]
    #[cfg(not(feature = "cuda"))]
    fn a_named_device_is_never_replaced() {
        let e = Device::Cuda(1).open().unwrap_err().to_string();
        assert!(e.starts_with("device `cuda:1` cannot be used: this build"), "{e}");
        assert!(Device::Cpu.open().unwrap().is_cpu());
    }
}
