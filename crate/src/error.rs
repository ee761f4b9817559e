//! The one error type of the library.
//!
//! Every variant names what was wrong and, where there is one, what would be right, so that the
//! message alone is enough in a notebook. Errors of other crates are kept as `source()`.

use std::path::{Path, PathBuf};

/// `Result` with the library's [`Error`].
pub type Result<T, E = Error> = std::result::Result<T, E>;

/// Anything that can go wrong in the library.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// A file or folder could not be opened, read or written.
    #[error("{}: {source}{}", path.display(), hint(hint_text))]
    Io {
        /// The file or folder.
        path: PathBuf,
        /// What would help; may be empty.
        hint_text: String,
        /// The operating system's reason.
        source: std::io::Error,
    },

    /// A file was read but its content is not what its format promises.
    #[error("{}: {reason}{}", path.display(), hint(hint_text))]
    Format {
        /// The file or folder.
        path: PathBuf,
        /// What is wrong, with the key or line where it was found.
        reason: String,
        /// What would help; may be empty.
        hint_text: String,
    },

    /// A file could not be downloaded.
    #[error("{url}: {reason}{}", hint(hint_text))]
    Download {
        /// Where it was to come from.
        url: String,
        /// Why it did not.
        reason: String,
        /// What would help; may be empty.
        hint_text: String,
    },

    /// A slot of an object has no such key.
    #[error("{slot} has no {kind} `{key}`; it has: {}", list(available))]
    MissingKey {
        /// The slot, e.g. `obs`.
        slot: &'static str,
        /// What the slot holds, e.g. `column`.
        kind: &'static str,
        /// The key that was asked for.
        key: String,
        /// The keys that exist.
        available: Vec<String>,
    },

    /// Sizes that must agree do not.
    #[error("{what}: expected {expected}, found {found}")]
    Shape {
        /// The thing that has the wrong size.
        what: String,
        /// The size that would be right.
        expected: String,
        /// The size it has.
        found: String,
    },

    /// An argument is outside what the function accepts.
    #[error("{name} = {value}: {reason}")]
    Parameter {
        /// The argument's name.
        name: &'static str,
        /// The value that was given.
        value: String,
        /// Why it does not work and what would.
        reason: String,
    },

    /// The data do not allow what was asked (NaN where a number is needed, no counts, …).
    #[error("{what}: {reason}")]
    Data {
        /// The slot or column concerned.
        what: String,
        /// What is wrong with it and how to mend it.
        reason: String,
    },

    /// The device that was asked for cannot be used.
    #[error("device `{requested}` cannot be used: {reason}")]
    Device {
        /// The device as requested.
        requested: String,
        /// Why not.
        reason: String,
    },

    /// A figure could not be drawn or encoded.
    #[error("figure: {0}")]
    Figure(String),

    /// The user pressed interrupt. Everything computed before is unharmed.
    #[error("interrupted")]
    Interrupted,

    /// A tensor operation failed.
    #[error(transparent)]
    Tensor(#[from] candle_core::Error),
}

impl Error {
    /// An [`Error::Io`] about `path`.
    pub fn io(path: impl AsRef<Path>, source: std::io::Error) -> Self {
        Error::Io { path: path.as_ref().into(), hint_text: String::new(), source }
    }

    /// An [`Error::Format`] about `path`.
    pub fn format(path: impl AsRef<Path>, reason: impl Into<String>) -> Self {
        let (path, mut reason) = (path.as_ref().into(), reason.into());
        // What it quotes from a damaged file may be a line of a million characters.
        const LONGEST: usize = 1500;
        if reason.len() > LONGEST {
            reason.truncate(reason.floor_char_boundary(LONGEST));
            reason.push('…');
        }
        Error::Format { path, reason, hint_text: String::new() }
    }

    /// An [`Error::Download`] from `url`.
    pub fn download(url: impl Into<String>, reason: impl Into<String>) -> Self {
        Error::Download { url: url.into(), reason: reason.into(), hint_text: String::new() }
    }

    /// The same error with a sentence that says what would help.
    pub fn with_hint(mut self, text: impl Into<String>) -> Self {
        if let Error::Io { hint_text, .. }
        | Error::Format { hint_text, .. }
        | Error::Download { hint_text, .. } = &mut self
        {
            *hint_text = text.into();
        }
        self
    }

    /// An [`Error::MissingKey`] for `key` in `slot`, which holds `kind`s with the given names.
    pub fn missing_key<S: ToString>(
        slot: &'static str,
        kind: &'static str,
        key: &str,
        available: impl IntoIterator<Item = S>,
    ) -> Self {
        let available = available.into_iter().map(|s| s.to_string()).collect();
        Error::MissingKey { slot, kind, key: key.into(), available }
    }

    /// An [`Error::Shape`].
    pub fn shape(what: impl Into<String>, expected: impl ToString, found: impl ToString) -> Self {
        Error::Shape { what: what.into(), expected: expected.to_string(), found: found.to_string() }
    }

    /// An [`Error::Parameter`].
    pub fn parameter(name: &'static str, value: impl ToString, reason: impl Into<String>) -> Self {
        Error::Parameter { name, value: value.to_string(), reason: reason.into() }
    }

    /// An [`Error::Data`].
    pub fn data(what: impl Into<String>, reason: impl Into<String>) -> Self {
        Error::Data { what: what.into(), reason: reason.into() }
    }
}

fn hint(text: &str) -> String {
    if text.is_empty() { String::new() } else { format!(". {text}") }
}

/// The first names of a list, so that a message about 30,000 genes stays a message.
fn list(names: &[String]) -> String {
    const SHOWN: usize = 20;
    match names.len() {
        0 => "nothing".into(),
        n if n <= SHOWN => names.join(", "),
        n => format!("{}, … ({} in all)", names[..SHOWN].join(", "), n),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_missing_key_lists_what_there_is() {
        let e = Error::missing_key("obs", "column", "layer", ["array_row", "layer_guess"]);
        assert_eq!(e.to_string(), "obs has no column `layer`; it has: array_row, layer_guess");
    }

    #[test]
    fn a_reason_stays_readable() {
        let e = Error::format("a.csv", "ä".repeat(1_000_000)).to_string();
        assert!(e.len() < 2000 && e.starts_with("a.csv: ää") && e.ends_with("ä…"), "{e}");
    }

    #[test]
    fn a_hint_follows_the_reason() {
        let e = Error::format("a.h5ad", "not an HDF5 file").with_hint("Is it the right file?");
        assert_eq!(e.to_string(), "a.h5ad: not an HDF5 file. Is it the right file?");
    }
}
