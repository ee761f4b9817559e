//! What an [`AnnData`] shows of itself: one paragraph of text as in Python, or a rich HTML summary.
//!
//! The HTML is one element without scripts or outside resources. Its colours are JupyterLab's own
//! variables with fallbacks, so that it fits light and dark themes.

mod memory;
mod table;
mod thumbnail;

use super::{AnnData, Categorical, Column, Frame, Map, Matrix, Value, Values};
use crate::error::Result;
use crate::notebook::{self, Bundle, Rich, escape_html as escape};
use std::fmt;

/// Columns, entries and categories beyond these numbers are only counted.
const MOST_ROWS: usize = 60;
const MOST_CATEGORIES: usize = 12;

impl fmt::Display for AnnData {
    /// The same text as Python's `repr`.
    fn fmt(&self, f: &mut fmt::Formatter) -> fmt::Result {
        write!(f, "AnnData object with n_obs × n_vars = {} × {}", self.n_obs(), self.n_vars())?;
        for (slot, names) in self.slots() {
            if !names.is_empty() {
                let quoted: Vec<String> = names.iter().map(|n| format!("'{n}'")).collect();
                write!(f, "\n    {slot}: {}", quoted.join(", "))?;
            }
        }
        Ok(())
    }
}

impl Rich for AnnData {
    fn bundle(&self) -> Result<Bundle> {
        Ok(Bundle::new().text(self.to_string()).html(self.to_html()))
    }
}
notebook::shows_itself!(AnnData);

impl AnnData {
    /// The slots with the names of their entries, in the order of Python's `repr`.
    fn slots(&self) -> [(&'static str, Vec<&str>); 8] {
        fn keys<'a, T, U>(a: &'a Map<T>, b: &'a Map<U>) -> Vec<&'a str> {
            a.keys().chain(b.keys()).map(String::as_str).collect()
        }
        let none = &EMPTY;
        [
            ("obs", self.obs.columns().map(|(k, _)| k).collect()),
            ("var", self.var.columns().map(|(k, _)| k).collect()),
            ("uns", keys(&self.uns, none)),
            ("obsm", keys(&self.obsm, &self.obsm_frames)),
            ("varm", keys(&self.varm, &self.varm_frames)),
            ("layers", keys(&self.layers, none)),
            ("obsp", keys(&self.obsp, none)),
            ("varp", keys(&self.varp, none)),
        ]
    }

    /// A summary as one HTML element: sizes, the type and memory of `X`, every slot as a table that
    /// folds, category counts with their colours (`uns["<key>_colors"]`), and a thumbnail of the
    /// slide (the tissue image in `uns["spatial"]`, else the coordinates in `obsm["spatial"]`).
    pub fn to_html(&self) -> String {
        let mut out = String::with_capacity(16 << 10);
        out.push_str(&format!("<div class=\"spatialkit-adata\"><style>{CSS}</style>"));
        if let Some((png, caption)) = thumbnail::of(self) {
            let caption = escape(&caption);
            out.push_str(&format!(
                "<figure><img alt=\"{caption}\" src=\"data:image/png;base64,{png}\">\
                 <figcaption>{caption}</figcaption></figure>"
            ));
        }
        out.push_str(&format!(
            "<div><b>AnnData</b> <span class=\"sk-size\">{} × {}</span> \
             <span class=\"sk-dim\">observations × variables · {}</span></div>",
            grouped(self.n_obs()),
            grouped(self.n_vars()),
            bytes(self.nbytes()),
        ));
        let x = match &self.x {
            Some(x) => matrix(x),
            None => "<span class=\"sk-dim\">none</span>".into(),
        };
        out.push_str(&format!("<div class=\"sk-x\"><code>X</code> {x}</div>"));

        self.frame_section(&mut out, "obs", &self.obs, true);
        self.frame_section(&mut out, "var", &self.var, false);
        let tables = |frames: &Map<Frame>| -> Vec<(String, String, String)> {
            frames.iter().map(|(k, f)| (k.clone(), "table".into(), table_size(f))).collect()
        };
        let matrices = |m: &Map<Matrix>| -> Vec<(String, String, String)> {
            m.iter().map(|(k, m)| (k.clone(), shape_of(m), matrix(m))).collect()
        };
        section(&mut out, "layers", matrices(&self.layers));
        section(&mut out, "obsm", [matrices(&self.obsm), tables(&self.obsm_frames)].concat());
        section(&mut out, "varm", [matrices(&self.varm), tables(&self.varm_frames)].concat());
        section(&mut out, "obsp", matrices(&self.obsp));
        section(&mut out, "varp", matrices(&self.varp));
        let mut uns = Vec::new();
        self.uns.iter().for_each(|(k, v)| value_rows(&mut uns, k, v, 0));
        section(&mut out, "uns", uns);
        if let Some(raw) = &self.raw {
            let rows = vec![
                ("X".to_string(), shape_of(&raw.x), matrix(&raw.x)),
                ("var".to_string(), "table".to_string(), table_size(&raw.var)),
            ];
            section(&mut out, "raw", rows);
        }
        out.push_str("</div>");
        out
    }

    /// A table of `obs` or `var`: one row a column.
    fn frame_section(&self, out: &mut String, slot: &str, frame: &Frame, open: bool) {
        let index =
            (0..frame.len().min(3)).map(|i| escape(&frame.name(i))).collect::<Vec<_>>().join(", ");
        let names = ("index".to_string(), "text".to_string(), examples(index, frame.len() > 3));
        let mut rows = vec![names];
        for (name, column) in frame.columns() {
            let missing = missing(column);
            let mut dtype = column.dtype().to_string();
            if missing > 0 {
                dtype.push_str(&format!(" ({} missing)", grouped(missing)));
            }
            rows.push((name.to_string(), dtype, self.preview(name, column)));
        }
        let count = frame.columns().len();
        let plural = if count == 1 { "column" } else { "columns" };
        let caption = format!("{count} {plural}, {} rows", grouped(frame.len()));
        table(out, slot, &caption, rows, open);
    }

    fn preview(&self, name: &str, column: &Column) -> String {
        match column {
            Column::Categorical(c) => self.chips(name, c),
            Column::Values(Values::Bool(v)) => {
                let yes = v.iter().filter(|&&b| b).count();
                format!("{} true, {} false", grouped(yes), grouped(v.len() - yes))
            }
            _ => match column.to_f64() {
                Some(v) => range(&v),
                None => {
                    let texts = (0..column.len()).filter_map(|i| column.text(i));
                    let shown = texts.take(3).map(|t| escape(&t)).collect::<Vec<_>>().join(", ");
                    examples(shown, column.len() > 3)
                }
            },
        }
    }

    /// Categories with the number of elements and the colour of each.
    fn chips(&self, name: &str, c: &Categorical) -> String {
        let mut counts = vec![0usize; c.categories.len()];
        for &code in &c.codes {
            if let Some(n) = usize::try_from(code).ok().and_then(|i| counts.get_mut(i)) {
                *n += 1;
            }
        }
        let colors = match self.uns.get(&format!("{name}_colors")) {
            Some(Value::StrArray { values, .. }) => values.as_slice(),
            _ => &[],
        };
        let mut out = String::new();
        for (i, category) in c.categories.iter().enumerate().take(MOST_CATEGORIES) {
            let color = colors.get(i).filter(|c| is_color(c));
            let dot = color.map_or(String::new(), |c| format!("<i style=\"background:{c}\"></i>"));
            let (text, n) = (escape(category), grouped(counts[i]));
            out.push_str(&format!("<span class=\"sk-chip\">{dot}{text} <small>{n}</small></span>"));
        }
        if c.categories.len() > MOST_CATEGORIES {
            let more = c.categories.len() - MOST_CATEGORIES;
            out.push_str(&format!("<span class=\"sk-dim\">and {more} more</span>"));
        }
        out
    }
}

static EMPTY: std::sync::LazyLock<Map<()>> = std::sync::LazyLock::new(Map::new);

/// Only what cannot leave a style attribute: `#rrggbb` and names of letters.
fn is_color(c: &str) -> bool {
    let hex = c.strip_prefix('#');
    match hex {
        Some(h) => matches!(h.len(), 3 | 4 | 6 | 8) && h.chars().all(|c| c.is_ascii_hexdigit()),
        None => !c.is_empty() && c.chars().all(|c| c.is_ascii_alphabetic()),
    }
}

fn missing(column: &Column) -> usize {
    let count = |v: &[bool]| v.iter().filter(|&&m| m).count();
    match column {
        Column::Nullable { missing, .. } => count(missing),
        Column::Str(v) => v.iter().filter(|t| t.is_none()).count(),
        Column::Categorical(c) => c.codes.iter().filter(|&&c| c < 0).count(),
        Column::Values(Values::F32(v)) => v.iter().filter(|x| x.is_nan()).count(),
        Column::Values(Values::F64(v)) => v.iter().filter(|x| x.is_nan()).count(),
        Column::Values(_) => 0,
    }
}

fn examples(shown: String, more: bool) -> String {
    if more { format!("{shown}, …") } else { shown }
}

/// Smallest, mean and largest of what is there.
fn range(v: &[f64]) -> String {
    let (mut low, mut high, mut sum, mut n) = (f64::INFINITY, f64::NEG_INFINITY, 0.0, 0usize);
    for &x in v.iter().filter(|x| !x.is_nan()) {
        (low, high, sum, n) = (low.min(x), high.max(x), sum + x, n + 1);
    }
    if n == 0 {
        return "<span class=\"sk-dim\">no value</span>".into();
    }
    format!("{} … {} <small>mean {}</small>", number(low), number(high), number(sum / n as f64))
}

pub(crate) fn number(x: f64) -> String {
    let size = x.abs();
    if x.fract() == 0.0 && size < 1e15 {
        format!("{x:.0}")
    } else if (1e-3..1e6).contains(&size) {
        let digits = if size >= 100.0 { 1 } else { 3 };
        format!("{x:.digits$}")
    } else {
        format!("{x:.2e}")
    }
}

/// A whole number in groups of three.
pub(crate) fn grouped(n: usize) -> String {
    let digits = n.to_string();
    let mut out = String::new();
    for (i, d) in digits.chars().enumerate() {
        if i > 0 && (digits.len() - i).is_multiple_of(3) {
            out.push(',');
        }
        out.push(d);
    }
    out
}

pub(crate) fn bytes(n: usize) -> String {
    let mut size = n as f64;
    for unit in ["B", "kB", "MB"] {
        if size < 1000.0 {
            let digits = usize::from(unit != "B" && size < 100.0);
            return format!("{size:.digits$} {unit}");
        }
        size /= 1000.0;
    }
    format!("{size:.1} GB")
}

fn shape_of(m: &Matrix) -> String {
    format!("{} × {}", grouped(m.nrows()), grouped(m.ncols()))
}

/// Kind, element type, share of stored elements and memory of a matrix.
fn matrix(m: &Matrix) -> String {
    let (kind, stored) = match m {
        Matrix::Dense(_) => ("dense", None),
        Matrix::Csr(s) => ("sparse by rows", Some(s.nnz())),
        Matrix::Csc(s) => ("sparse by columns", Some(s.nnz())),
    };
    let share = stored.map_or(String::new(), |n| {
        let cells = (m.nrows() as f64 * m.ncols() as f64).max(1.0);
        format!(" · {:.1} % stored", 100.0 * n as f64 / cells)
    });
    format!("{kind} <code>{}</code>{share} · {}", m.values().dtype(), bytes(m.nbytes()))
}

fn table_size(f: &Frame) -> String {
    format!("{} rows, {} columns", grouped(f.len()), f.columns().len())
}

/// Rows for an entry of `uns` and, indented, for what is inside it.
fn value_rows(rows: &mut Vec<(String, String, String)>, name: &str, v: &Value, depth: usize) {
    let shape = |s: &[usize]| s.iter().map(|d| d.to_string()).collect::<Vec<_>>().join(" × ");
    let (dtype, preview) = match v {
        Value::Null => ("none".to_string(), String::new()),
        Value::Str(s) => {
            let cut: String = s.chars().take(80).collect();
            ("text".into(), examples(escape(&cut), s.chars().count() > 80).replace(", …", "…"))
        }
        Value::Array { values, .. } if values.len() == 1 => {
            (values.dtype().into(), Column::Values(values.clone()).text(0).unwrap_or("nan".into()))
        }
        Value::Array { shape: s, values } => {
            (values.dtype().into(), format!("{} · {}", shape(s), bytes(values.nbytes())))
        }
        Value::StrArray { values, .. } => {
            let chips = values.iter().take(MOST_CATEGORIES).map(|t| {
                let dot = match name.ends_with("_colors") && is_color(t) {
                    true => format!("<i style=\"background:{t}\"></i>"),
                    false => String::new(),
                };
                format!("<span class=\"sk-chip\">{dot}{}</span>", escape(t))
            });
            let more = values.len().saturating_sub(MOST_CATEGORIES);
            let chips = chips.collect::<String>();
            let dim = |n| format!("<span class=\"sk-dim\">and {n} more</span>");
            (format!("{} texts", values.len()), if more > 0 { chips + &dim(more) } else { chips })
        }
        Value::Matrix(m) => (shape_of(m), matrix(m)),
        Value::Column(c) => (c.dtype().into(), format!("{} elements", grouped(c.len()))),
        Value::Frame(f) => ("table".into(), table_size(f)),
        Value::Record(m) | Value::Map(m) => {
            let kind = if matches!(v, Value::Map(_)) { "map" } else { "records" };
            let names = m.keys().take(8).map(|k| escape(k)).collect::<Vec<_>>().join(", ");
            (format!("{kind} of {}", m.len()), examples(names, m.len() > 8))
        }
    };
    rows.push((format!("{}{name}", "\u{2003}".repeat(depth)), dtype, preview));
    if let Value::Map(m) = v
        && depth < 3
    {
        m.iter().for_each(|(k, v)| value_rows(rows, k, v, depth + 1));
    }
}

fn section(out: &mut String, slot: &str, rows: Vec<(String, String, String)>) {
    if !rows.is_empty() {
        let entries = rows.iter().filter(|r| !r.0.starts_with('\u{2003}')).count();
        let plural = if entries == 1 { "entry" } else { "entries" };
        table(out, slot, &format!("{entries} {plural}"), rows, false);
    }
}

/// A folding table. Of each row the name and the type are text, the preview is HTML.
pub(crate) fn table(
    out: &mut String,
    slot: &str,
    caption: &str,
    rows: Vec<(String, String, String)>,
    open: bool,
) {
    let open = if open { " open" } else { "" };
    out.push_str(&format!(
        "<details{open}><summary><b>{slot}</b> <span class=\"sk-dim\">{caption}</span></summary><table>"
    ));
    let more = rows.len().saturating_sub(MOST_ROWS);
    for (name, dtype, preview) in rows.iter().take(MOST_ROWS) {
        let (name, dtype) = (escape(name), escape(dtype));
        out.push_str(&format!("<tr><th>{name}</th><td>{dtype}</td><td>{preview}</td></tr>"));
    }
    if more > 0 {
        out.push_str(&format!("<tr><td colspan=\"3\" class=\"sk-dim\">and {more} more</td></tr>"));
    }
    out.push_str("</table></details>");
}

pub(crate) const CSS: &str = "\
.spatialkit-adata{font-family:var(--jp-ui-font-family,system-ui,sans-serif);font-size:13px;\
line-height:1.45;color:var(--jp-ui-font-color1,inherit);max-width:880px}\
.spatialkit-adata .sk-x{margin-bottom:6px}\
.spatialkit-adata .sk-size{font-size:16px;font-weight:600;margin:0 4px}\
.spatialkit-adata .sk-dim,.spatialkit-adata small{color:var(--jp-ui-font-color2,#888)}\
.spatialkit-adata code{font-family:var(--jp-code-font-family,monospace);font-size:12px;\
color:inherit;background:var(--jp-layout-color2,rgba(128,128,128,.14));padding:0 4px;\
border-radius:3px}\
.spatialkit-adata figure{float:right;margin:0 0 8px 16px;text-align:center}\
.spatialkit-adata figure img{max-width:220px;max-height:220px;border-radius:4px;display:block}\
.spatialkit-adata figcaption{font-size:11px;color:var(--jp-ui-font-color2,#888)}\
.spatialkit-adata{display:flow-root}\
.spatialkit-adata details{display:flow-root;border-top:1px solid var(--jp-border-color2,rgba(128,128,128,.35));\
padding:3px 0}\
.spatialkit-adata summary{cursor:pointer}\
.spatialkit-adata table{border-collapse:collapse;margin:4px 0 6px 14px;font-size:12px;\
color:inherit;background:none}\
.spatialkit-adata tr{background:none!important}\
.spatialkit-adata th,.spatialkit-adata td{text-align:left!important;vertical-align:top;\
padding:1px 14px 1px 0!important;border:0;font-weight:400;white-space:normal;max-width:520px}\
.spatialkit-adata th{font-family:var(--jp-code-font-family,monospace);white-space:pre}\
.spatialkit-adata td:nth-child(2){color:var(--jp-ui-font-color2,#888);white-space:nowrap}\
.spatialkit-adata .sk-chip{display:inline-block;margin:0 6px 2px 0;padding:0 6px;\
border-radius:9px;background:var(--jp-layout-color2,rgba(128,128,128,.14))}\
.spatialkit-adata .sk-chip i{display:inline-block;width:9px;height:9px;border-radius:50%;\
margin-right:5px}";

#[cfg(test)]
mod tests {
    use super::*;
    use ndarray::array;

    fn slide() -> AnnData {
        let x = array![[1f32, 0.], [0., 2.], [3., 4.]];
        let mut a = AnnData::new(x, Frame::with_len(3), Frame::with_len(2)).unwrap();
        let labels = [Some("L1"), Some("<b>"), None];
        a.obs.insert("layer", Categorical::from_labels(&labels)).unwrap();
        a.obs.insert("area", vec![1.5f64, f64::NAN, 3.5]).unwrap();
        a.obsm.insert("spatial".into(), array![[0f64, 0.], [1., 0.], [1., 1.]].into());
        a.uns.insert("layer_colors".into(), Value::strings(["#1f77b4", "red;}</style>"]));
        a
    }

    #[test]
    fn the_text_is_pythons() {
        let text = slide().to_string();
        let expected = "AnnData object with n_obs × n_vars = 3 × 2\n    obs: 'layer', 'area'\n    \
                        uns: 'layer_colors'\n    obsm: 'spatial'";
        assert_eq!(text, expected);
    }

    #[test]
    fn the_html_escapes_what_comes_from_files() {
        let html = slide().to_html();
        assert!(html.contains("&lt;b&gt;") && !html.contains("<b>&lt;"), "{html}");
        assert!(html.contains("background:#1f77b4"));
        assert!(!html.contains("background:red"), "a colour that is not one was let through");
        assert!(html.contains("1 missing") && html.contains("data:image/png;base64,"));
        assert_eq!(html.matches("<div").count(), html.matches("</div>").count());
    }

    #[test]
    fn an_empty_object_has_a_summary_too() {
        let html = AnnData::default().to_html();
        assert!(html.contains("0 × 0"), "{html}");
    }

    #[test]
    fn numbers_are_readable() {
        assert_eq!(grouped(1234567), "1,234,567");
        assert_eq!(bytes(19_200_000), "19.2 MB");
        assert_eq!(number(0.0000123), "1.23e-5");
        assert_eq!(number(42.0), "42");
    }
}
