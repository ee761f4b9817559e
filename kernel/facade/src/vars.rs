//! What a notebook's variables are, for `:vars` and for completion.
//!
//! The kernel writes `(&&&Of(&name)).about()` for each variable. The language's rules of method
//! lookup take the first of three traits that applies to the type: what the library knows how to
//! describe, what has `Debug`, and everything else.

use spatialkit::notebook::{Bundle, escape_html};
use spatialkit::prelude::{AnnData, Tensor, json, ndarray};
use std::collections::BTreeSet;
use std::fmt::{Debug, Write};

/// A variable.
pub struct Of<'a, T: ?Sized>(pub &'a T);

/// Bytes in memory, and what it looks like.
pub type About = (usize, String);

/// A type that can be described better than by its `Debug`.
pub trait Summary {
    /// Bytes and shape.
    fn summary(&self) -> About;
}

/// First choice.
pub trait Described {
    /// See [`About`].
    fn about(&self) -> About;
}

impl<T: Summary + ?Sized> Described for &&Of<'_, T> {
    fn about(&self) -> About {
        self.0.summary()
    }
}

/// Second choice.
pub trait Printed {
    /// See [`About`].
    fn about(&self) -> About;
}

impl<T: Debug> Printed for &Of<'_, T> {
    fn about(&self) -> About {
        (size_of::<T>(), short(&self.0))
    }
}

/// The rest.
pub trait Opaque {
    /// See [`About`].
    fn about(&self) -> About;
}

impl<T> Opaque for Of<'_, T> {
    fn about(&self) -> About {
        (size_of::<T>(), String::new())
    }
}

impl Summary for AnnData {
    fn summary(&self) -> About {
        (self.nbytes(), format!("{} × {}", self.n_obs(), self.n_vars()))
    }
}

impl Summary for Tensor {
    fn summary(&self) -> About {
        let bytes = self.elem_count() * self.dtype().size_in_bytes();
        (bytes, format!("{:?} {}", self.dims(), self.dtype().as_str()))
    }
}

impl<T, D: ndarray::Dimension> Summary for ndarray::ArrayBase<ndarray::OwnedRepr<T>, D> {
    fn summary(&self) -> About {
        (self.len() * size_of::<T>(), format!("{:?}", self.shape()))
    }
}

impl<T: Debug> Summary for Vec<T> {
    fn summary(&self) -> About {
        let bytes = size_of::<Vec<T>>() + self.capacity() * size_of::<T>();
        (bytes, format!("{} × {}", self.len(), short(self)))
    }
}

impl Summary for String {
    fn summary(&self) -> About {
        (size_of::<String>() + self.capacity(), short(self))
    }
}

/// The beginning of what `Debug` prints, which is not printed to its end.
fn short(value: &dyn Debug) -> String {
    const LONGEST: usize = 60;
    struct Start(String);
    impl Write for Start {
        fn write_str(&mut self, text: &str) -> std::fmt::Result {
            for c in text.chars().map(|c| if c.is_control() { ' ' } else { c }) {
                if self.0.chars().count() >= LONGEST {
                    self.0.push('…');
                    return Err(std::fmt::Error);
                }
                self.0.push(c);
            }
            Ok(())
        }
    }
    let mut start = Start(String::new());
    let _ = write!(start, "{value:?}");
    start.0
}

/// Shows the variables: name, type and [`About`].
pub fn show(variables: &[(&str, &str, About)]) {
    let mut text = String::new();
    let mut rows = String::new();
    let width = |of: fn(&(&str, &str, About)) -> usize| variables.iter().map(of).max().unwrap_or(0);
    let (names, types) = (width(|v| v.0.chars().count()), width(|v| v.1.chars().count()));
    for (name, type_name, (bytes, value)) in variables {
        let size = human(*bytes);
        let _ = writeln!(text, "{name:<names$}  {type_name:<types$}  {size:>9}  {value}");
        let (name, type_name, value) =
            (escape_html(name), escape_html(type_name), escape_html(value));
        let _ = write!(
            rows,
            "<tr><td><b>{name}</b></td><td><code>{type_name}</code></td>\
             <td style=\"text-align:right\">{size}</td>\
             <td style=\"text-align:left\">{value}</td></tr>"
        );
    }
    if variables.is_empty() {
        text.push_str("no variables");
    }
    let head = "<tr><th>variable</th><th>type</th><th>size</th><th>value</th></tr>";
    let html = format!("<table><thead>{head}</thead><tbody>{rows}</tbody></table>");
    let bundle = Bundle::new().text(text.trim_end());
    spatialkit::notebook::show_cell_value(&if variables.is_empty() {
        bundle
    } else {
        bundle.html(html)
    });
}

/// What may stand in a string that names a part of these objects and begins with `prefix`: columns,
/// keys and, once two letters are there, genes. Reported as a JSON list.
pub fn names(slides: &[&AnnData], prefix: &str) {
    const MOST: usize = 200;
    let mut found = BTreeSet::new();
    for slide in slides {
        let columns = slide.obs.columns().chain(slide.var.columns()).map(|(name, _)| name);
        let maps = [&slide.layers, &slide.obsm, &slide.varm, &slide.obsp];
        let keys = maps.into_iter().flat_map(|map| map.keys()).chain(slide.uns.keys());
        let genes = slide.var.names().iter().filter(|_| prefix.len() >= 2);
        let all = columns.chain(keys.map(AsRef::as_ref)).chain(genes.map(AsRef::as_ref));
        found.extend(all.filter(|name: &&str| name.starts_with(prefix)));
    }
    let list: Vec<&str> = found.into_iter().take(MOST).collect();
    super::__cell::value(&json!(list).to_string());
}

fn human(bytes: usize) -> String {
    let bytes = bytes as f64;
    let units = [("GB", 1e9), ("MB", 1e6), ("kB", 1e3)];
    match units.into_iter().find(|&(_, unit)| bytes >= unit) {
        Some((name, unit)) => format!("{:.1} {name}", bytes / unit),
        None => format!("{bytes} B"),
    }
}
