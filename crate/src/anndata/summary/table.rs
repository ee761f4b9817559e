//! What a [`Frame`] shows of itself: its first and last rows.

use super::grouped;
use crate::anndata::{Column, Frame};
use crate::error::Result;
use crate::notebook::{self, Bundle, Rich, escape_html as escape};
use std::fmt;

/// Tables of more rows and columns are cut in the middle.
const ROWS: usize = 10;
const COLUMNS: usize = 20;
/// Longer texts are cut.
const TEXT: usize = 40;

/// Positions to show of `n`, with `None` where some are left out.
fn shown(n: usize, most: usize) -> Vec<Option<usize>> {
    if n <= most {
        return (0..n).map(Some).collect();
    }
    let head = (0..most / 2).map(Some);
    head.chain([None]).chain((n - most / 2..n).map(Some)).collect()
}

/// Header and rows as texts.
fn cells(f: &Frame) -> Vec<Vec<String>> {
    let columns: Vec<_> = f.columns().collect();
    let at = shown(columns.len(), COLUMNS);
    let dots = || "…".to_string();
    let cut = |text: &str| match text.char_indices().nth(TEXT) {
        Some((end, _)) => format!("{}…", &text[..end]),
        None => text.to_string(),
    };
    let mut header = vec![f.index_name.clone().unwrap_or_default()];
    header.extend(at.iter().map(|c| c.map_or_else(dots, |c| cut(columns[c].0))));
    let mut out = vec![header];
    for row in shown(f.len(), ROWS) {
        let Some(row) = row else {
            out.push(vec![dots(); at.len() + 1]);
            continue;
        };
        let value = |c: usize| text(columns[c].1, row).map_or("NA".into(), |t| cut(&t));
        let mut line = vec![cut(&f.name(row))];
        line.extend(at.iter().map(|c| c.map_or_else(dots, value)));
        out.push(line);
    }
    out
}

/// An element as it is read: numbers with six significant digits, very small and large ones with an
/// exponent.
fn text(column: &Column, row: usize) -> Option<String> {
    let text = column.text(row)?;
    let (Column::Values(values) | Column::Nullable { values, .. }) = column else {
        return Some(text);
    };
    if !matches!(values.dtype(), "float16" | "float32" | "float64") || text.len() <= 8 {
        return Some(text);
    }
    let x = values.get_f64(row);
    Some(match x.abs() {
        a if (1e-4..1e6).contains(&a) => {
            let digits = (5 - a.log10().floor() as i32).max(0) as usize;
            let text = format!("{x:.digits$}");
            match text.contains('.') {
                true => text.trim_end_matches('0').trim_end_matches('.').to_string(),
                false => text,
            }
        }
        _ => format!("{x:.5e}"),
    })
}

fn size(f: &Frame) -> String {
    format!("{} rows × {} columns", grouped(f.len()), f.columns().len())
}

impl fmt::Display for Frame {
    /// The first and last rows, columns aligned, as pandas shows a table.
    fn fmt(&self, f: &mut fmt::Formatter) -> fmt::Result {
        let cells = cells(self);
        let width = |c: usize| cells.iter().map(|r| r[c].chars().count()).max().unwrap_or(0);
        let widths: Vec<usize> = (0..cells[0].len()).map(width).collect();
        for row in &cells {
            let pad = |(text, &width): (&String, &usize)| format!("{text:>width$}");
            let line: Vec<String> = row.iter().zip(&widths).map(pad).collect();
            writeln!(f, "{}", line.join("  "))?;
        }
        write!(f, "[{}]", size(self))
    }
}

impl Frame {
    /// The first and last rows as an HTML table.
    pub fn to_html(&self) -> String {
        let mut out = String::from("<div class=\"spatialkit-frame\"><table>");
        for (i, row) in cells(self).iter().enumerate() {
            let cell = |(c, text): (usize, &String)| {
                let tag = if i == 0 || c == 0 { "th" } else { "td" };
                format!("<{tag}>{}</{tag}>", escape(text))
            };
            out.push_str(&format!(
                "<tr>{}</tr>",
                row.iter().enumerate().map(cell).collect::<String>()
            ));
        }
        out.push_str(&format!("</table><small>{}</small></div>", size(self)));
        out
    }
}

impl Rich for Frame {
    fn bundle(&self) -> Result<Bundle> {
        Ok(Bundle::new().text(self.to_string()).html(self.to_html()))
    }
}
notebook::shows_itself!(Frame);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_table_shows_its_ends() {
        let mut f = Frame::with_len(1_000_000);
        f.insert("n", (0..1_000_000i64).collect::<Vec<_>>()).unwrap();
        let text = f.to_string();
        assert_eq!(text.lines().count(), 13, "{text}");
        assert!(text.ends_with("999999  999999\n[1,000,000 rows × 1 columns]"), "{text}");
        let mut f = Frame::with_len(5);
        f.insert("p", vec![1.5e-80, 0.123456789, 1234567.125, 2.5, f64::NAN]).unwrap();
        let text = f.to_string();
        let shown: Vec<&str> = text.lines().filter_map(|l| l.split_whitespace().nth(1)).collect();
        assert_eq!(shown[..5], ["1.50000e-80", "0.123457", "1.23457e6", "2.5", "NA"], "{text}");
        let mut f = Frame::with_len(1);
        f.insert("<b>", Column::Str(vec![None])).unwrap();
        let html = f.to_html();
        assert!(html.contains("&lt;b&gt;") && html.contains("<td>NA</td>"), "{html}");
        assert!(Frame::default().to_string().contains("0 rows"));
    }
}
