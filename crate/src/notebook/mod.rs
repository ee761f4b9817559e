//! Rich display, in whatever the program runs in.
//!
//! A [`Bundle`] is one thing to show in several forms (MIME types); a front end picks the richest
//! it knows. What shows itself implements [`Rich`]. The same calls work in three places:
//!
//! * in the spatialkit kernel, through the display channel: each output appears the moment it is
//!   made, several in a cell, and can be updated in place;
//! * in a stock `evcxr_jupyter` kernel, through evcxr's markers on stdout: shown when the cell
//!   ends, one output of a form per cell;
//! * in an ordinary program, as text on stdout.
//!
//! The protocol of the channel stands in `ARCHITECTURE.md`. Nothing here knows the field.

mod sink;

use crate::error::Result;
use base64::Engine;
use serde_json::{Map, Value as Json, json};
use std::sync::atomic::{AtomicU64, Ordering};

/// One thing to show, in one or more forms.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Bundle {
    /// MIME type to content, as the Jupyter protocol wants it: text as a string, JSON types as
    /// values, binary types base64-encoded.
    data: Map<String, Json>,
    /// MIME type to metadata, e.g. the size of a picture.
    metadata: Map<String, Json>,
}

impl Bundle {
    /// Nothing yet.
    pub fn new() -> Self {
        Bundle::default()
    }

    /// Content of any text MIME type.
    pub fn with(mut self, mime: &str, content: impl Into<Json>) -> Self {
        self.data.insert(mime.into(), content.into());
        self
    }

    /// Plain text.
    pub fn text(self, text: impl Into<String>) -> Self {
        self.with("text/plain", text.into())
    }

    /// An HTML fragment.
    pub fn html(self, html: impl Into<String>) -> Self {
        self.with("text/html", html.into())
    }

    /// A table of names and values with a caption, as HTML; both are escaped.
    pub(crate) fn table(self, caption: &str, rows: Vec<(&str, String)>) -> Self {
        let row = |(name, value): (&str, String)| {
            let (name, value) = (escape_html(name), escape_html(&value));
            format!("<tr><th style=\"text-align:left\">{name}</th><td>{value}</td></tr>")
        };
        let rows: String = rows.into_iter().map(row).collect();
        let caption = escape_html(caption);
        self.html(format!("<table><caption><b>{caption}</b></caption>{rows}</table>"))
    }

    /// Markdown.
    pub fn markdown(self, text: impl Into<String>) -> Self {
        self.with("text/markdown", text.into())
    }

    /// LaTeX, with its dollar signs.
    pub fn latex(self, text: impl Into<String>) -> Self {
        self.with("text/latex", text.into())
    }

    /// An SVG document.
    pub fn svg(self, svg: impl Into<String>) -> Self {
        self.with("image/svg+xml", svg.into())
    }

    /// A JSON value.
    pub fn json(self, value: Json) -> Self {
        self.with("application/json", value)
    }

    /// A PNG file to be shown `width × height` CSS pixels large. Files of twice that size look
    /// crisp on dense screens.
    pub fn png(self, file: &[u8], width: u32, height: u32) -> Self {
        self.picture("image/png", file, width, height)
    }

    /// A JPEG file to be shown `width × height` CSS pixels large.
    pub fn jpeg(self, file: &[u8], width: u32, height: u32) -> Self {
        self.picture("image/jpeg", file, width, height)
    }

    fn picture(mut self, mime: &str, file: &[u8], width: u32, height: u32) -> Self {
        self.metadata.insert(mime.into(), json!({"width": width, "height": height}));
        self.with(mime, base64::engine::general_purpose::STANDARD.encode(file))
    }

    /// A Vega-Lite specification (version 5), which the front end draws.
    pub fn vega_lite(self, specification: Json) -> Self {
        self.with("application/vnd.vegalite.v5+json", specification)
    }

    /// A Plotly figure (`data` and `layout`), drawn by front ends that have Plotly's extension.
    pub fn plotly(self, figure: Json) -> Self {
        self.with("application/vnd.plotly.v1+json", figure)
    }

    /// The content of a form, if it is there.
    pub fn get(&self, mime: &str) -> Option<&Json> {
        self.data.get(mime)
    }

    /// The plain text, or a note of the forms there are.
    fn as_text(&self) -> String {
        match self.data.get("text/plain") {
            Some(Json::String(s)) => s.clone(),
            _ => format!("<{}>", self.data.keys().cloned().collect::<Vec<_>>().join(", ")),
        }
    }

    fn message(&self, display_id: Option<&str>) -> Json {
        let transient = display_id.map_or(json!({}), |id| json!({"display_id": id}));
        json!({"data": self.data, "metadata": self.metadata, "transient": transient})
    }
}

/// What can show itself in a notebook.
pub trait Rich {
    /// The forms in which to show it.
    ///
    /// # Errors
    /// Whatever keeps it from being drawn.
    fn bundle(&self) -> Result<Bundle>;
}

impl Rich for Bundle {
    fn bundle(&self) -> Result<Bundle> {
        Ok(self.clone())
    }
}

/// Makes a type that is [`Rich`] the possible value of a notebook cell: evcxr looks for a method
/// of this name.
macro_rules! shows_itself {
    ($($ty:ty),*) => {$(
        impl $ty {
            /// Shows the value; called on the value of a notebook cell.
            pub fn evcxr_display(&self) {
                $crate::notebook::show_cell_value(self)
            }
        }
    )*};
}
pub(crate) use shows_itself;
shows_itself!(Bundle);

/// What a result with `rows(&self) -> Vec<(&str, String)>` looks like: a title and a line a row, names in a
/// column of `width` characters as text, a table as HTML; and [`shows_itself`].
macro_rules! shows_rows {
    ($ty:ty, $title:expr, $width:literal) => {
        impl std::fmt::Display for $ty {
            fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                let title: fn(&$ty) -> &str = $title;
                write!(f, "{}", title(self))?;
                for (name, value) in self.rows() {
                    write!(f, "\n  {name:<width$} {value}", width = $width)?;
                }
                Ok(())
            }
        }

        impl $crate::notebook::Rich for $ty {
            fn bundle(&self) -> $crate::Result<$crate::notebook::Bundle> {
                let title: fn(&$ty) -> &str = $title;
                let bundle = $crate::notebook::Bundle::new().text(self.to_string());
                Ok(bundle.table(title(self), self.rows()))
            }
        }

        $crate::notebook::shows_itself!($ty);
    };
}
pub(crate) use shows_rows;

/// Shows something now.
///
/// # Errors
/// Whatever keeps it from being drawn.
pub fn display(item: &impl Rich) -> Result<()> {
    sink::send("display_data", &item.bundle()?, None);
    Ok(())
}

/// Shows an HTML fragment.
pub fn html(fragment: impl Into<String>) {
    sink::send("display_data", &Bundle::new().html(fragment), None);
}

/// Shows Markdown.
pub fn markdown(text: impl Into<String>) {
    let text = text.into();
    sink::send("display_data", &Bundle::new().text(text.clone()).markdown(text), None);
}

/// Shows a JSON value, for people and for programs that read the notebook's outputs.
pub fn json(value: Json) {
    let text = serde_json::to_string_pretty(&value).unwrap_or_default();
    sink::send("display_data", &Bundle::new().text(text).json(value), None);
}

/// Asks the user for a line of text, in the notebook or on the terminal.
///
/// # Errors
/// If nothing can be read.
pub fn input(prompt: &str) -> Result<String> {
    sink::ask(prompt, false)
}

/// The same for what is not to be seen.
///
/// # Errors
/// If nothing can be read.
pub fn password(prompt: &str) -> Result<String> {
    sink::ask(prompt, true)
}

/// Empties the running cell's output; with `wait`, not before the next output replaces it.
pub fn clear_output(wait: bool) {
    sink::clear(wait);
}

/// Shows the value of a cell; a value that cannot be drawn fails the cell.
#[doc(hidden)]
pub fn show_cell_value(item: &impl Rich) {
    if let Err(e) = display(item) {
        // The method that evcxr calls has no way to return an error; unwinding is how a cell
        // fails, and the message is the whole of what the user needs.
        std::panic::panic_any(e.to_string());
    }
}

/// An output that can be replaced in place.
#[derive(Debug)]
pub struct DisplayHandle {
    id: String,
}

impl DisplayHandle {
    /// Shows something and keeps hold of it.
    pub fn new(bundle: &Bundle) -> Self {
        static NEXT: AtomicU64 = AtomicU64::new(0);
        let n = NEXT.fetch_add(1, Ordering::Relaxed);
        let id = format!("spatialkit-{}-{n}", std::process::id());
        sink::send("display_data", bundle, Some(&id));
        DisplayHandle { id }
    }

    /// Shows something else in its place.
    pub fn update(&self, bundle: &Bundle) {
        sink::send("update_display_data", bundle, Some(&self.id));
    }
}

/// Whether outputs are shown by a notebook front end (rather than printed as text).
pub fn is_notebook() -> bool {
    sink::is_notebook()
}

/// `text` with the characters that mean something in HTML escaped.
pub fn escape_html(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for c in text.chars() {
        match c {
            '&' => out.push_str("&amp;"),
            '<' => out.push_str("&lt;"),
            '>' => out.push_str("&gt;"),
            '"' => out.push_str("&quot;"),
            '\'' => out.push_str("&#39;"),
            c => out.push(c),
        }
    }
    out
}
