//! What a notebook shows of checkpoints and their tensors.

use super::walk::Entry;
use super::{Checkpoint, PyValue, Tensors};
use crate::error::Result;
use crate::notebook::{self, Bundle, Rich};
use std::fmt;

/// Lines that are shown at most.
const SHOWN: usize = 20;

impl fmt::Display for Checkpoint {
    fn fmt(&self, f: &mut fmt::Formatter) -> fmt::Result {
        let megabytes = self.data.size as f64 / 1e6;
        write!(
            f,
            "Checkpoint {} ({:?}, {megabytes:.1} MB)",
            self.data.path.display(),
            self.format
        )?;
        match self.state_dict() {
            Ok(weights) => write!(f, "\n    weights: {} tensors", weights.len())?,
            Err(e) => write!(f, "\n    {e}")?,
        }
        // What starts so is of no interest to others, by Python's custom.
        for key in self.keys().iter().filter(|k| !k.starts_with('_')).take(SHOWN) {
            let Ok(value) = self.at(&[key]) else { continue };
            if matches!(value, PyValue::Tensor(_)) {
                continue;
            }
            let text: String = value.to_string().chars().take(100).collect();
            write!(f, "\n    {key}: {text}")?;
        }
        Ok(())
    }
}

impl Rich for Checkpoint {
    fn bundle(&self) -> Result<Bundle> {
        Ok(Bundle::new().text(self.to_string()))
    }
}
notebook::shows_itself!(Checkpoint);

impl fmt::Display for Tensors {
    fn fmt(&self, f: &mut fmt::Formatter) -> fmt::Result {
        write!(f, "{} tensors of {}", self.len(), self.data.path.display())?;
        for (name, entry) in self.entries.iter().take(SHOWN) {
            let line = match entry {
                Entry::View(view) => format!("{name}: {} {:?}", view.dtype, view.shape),
                Entry::Other(class) => format!("{name}: {class}"),
            };
            write!(f, "\n    {}", &line[..line.floor_char_boundary(200)])?;
        }
        match self.len().checked_sub(SHOWN) {
            None | Some(0) => Ok(()),
            Some(more) => write!(f, "\n    … and {more} more"),
        }
    }
}

impl Rich for Tensors {
    fn bundle(&self) -> Result<Bundle> {
        Ok(Bundle::new().text(self.to_string()))
    }
}
notebook::shows_itself!(Tensors);
