//! [`Tensors::into_exactly`]: whether weights are those of the model that they are to go into.

use super::heap::View;
use super::tensors::Tensors;
use crate::error::{Error, Result};
use candle_core::Tensor;
use std::collections::{HashMap, HashSet};

/// Names that an error lists of each kind.
const SHOWN: usize = 5;

impl Tensors {
    /// Reads all tensors, which must be exactly the expected ones: these names, these shapes, no
    /// others.
    ///
    /// ```no_run
    /// # use spatialkit::io;
    /// let expected = [("fc.weight", vec![10, 20]), ("fc.bias", vec![10])];
    /// let weights = io::read_checkpoint("model.pt")?.state_dict()?.into_exactly(&expected)?;
    /// # Ok::<(), spatialkit::Error>(())
    /// ```
    ///
    /// # Errors
    /// [`Error::Format`] that lists what is missing, what is not expected and what has another shape:
    /// the file holds weights of another model; before anything is read. Otherwise as
    /// [`take`](Tensors::take).
    pub fn into_exactly<N: AsRef<str>>(
        self,
        expected: &[(N, Vec<usize>)],
    ) -> Result<HashMap<String, Tensor>> {
        let expected: Vec<(&str, &[usize])> =
            expected.iter().map(|(name, shape)| (name.as_ref(), shape.as_slice())).collect();
        self.exactly(&expected)
    }

    fn exactly(&self, expected: &[(&str, &[usize])]) -> Result<HashMap<String, Tensor>> {
        let known: HashSet<&str> = expected.iter().map(|e| e.0).collect();
        let (mut views, mut missing, mut other_shape) = (Vec::new(), Vec::new(), Vec::new());
        for &(name, shape) in expected {
            if !self.contains(name) {
                missing.push(format!("`{name}`"));
                continue;
            }
            let view: &View = self.view(name)?;
            if view.shape == shape {
                views.push((name, view));
            } else {
                other_shape.push(format!("`{name}` {:?} instead of {shape:?}", view.shape));
            }
        }
        let unexpected: Vec<String> =
            self.names().filter(|n| !known.contains(n)).map(|n| format!("`{n}`")).collect();
        let found: Vec<String> = [
            ("missing", &missing),
            ("not expected", &unexpected),
            ("of another shape", &other_shape),
        ]
        .into_iter()
        .filter(|(_, names)| !names.is_empty())
        .map(|(what, names)| format!("{} {what} ({})", names.len(), some(names)))
        .collect();
        if found.is_empty() {
            return self.read_many(&views);
        }
        let reason = format!(
            "these are the weights of another model: of {} tensors {}",
            expected.len(),
            found.join("; ")
        );
        let mut error = Error::format(&self.data.path, reason);
        if let Some((prefix, n)) = self.prefix_of(expected) {
            let hint = format!("{n} of them are there with `{prefix}` before their names");
            error = error.with_hint(format!("{hint}: use `strip_prefix(\"{prefix}\")`"));
        }
        Err(error)
    }

    /// What stands before most of the expected names, if anything, and before how many.
    fn prefix_of(&self, expected: &[(&str, &[usize])]) -> Option<(&str, usize)> {
        let (first, _) = expected.iter().find(|(name, _)| !self.contains(name))?;
        let prefix = self.names().find_map(|n| n.strip_suffix(first)).filter(|p| !p.is_empty())?;
        let there = |&&(name, _): &&(&str, _)| self.contains(&format!("{prefix}{name}"));
        let n = expected.iter().filter(there).count();
        (2 * n > expected.len()).then_some((prefix, n))
    }
}

/// The first of a list, and how many more there are.
fn some(names: &[String]) -> String {
    let mut text = names[..names.len().min(SHOWN)].join(", ");
    if names.len() > SHOWN {
        text += &format!(" and {} more", names.len() - SHOWN);
    }
    text
}
