//! [`Summary`]: what is in an `.h5ad` file, as text and as HTML, without reading its matrices.

use super::backed::H5ad;
use super::blocks::Totals;
use super::read::{columns_of, encoding};
use super::stored::Stored;
use crate::anndata::summary::{CSS, bytes, grouped, number, table};
use crate::anndata::{Column, Values};
use crate::error::Result;
use crate::io::store::{Attributes, Group, Node};
use crate::notebook::{self, Bundle, Rich, escape_html};
use crate::progress::check_interrupt;
use std::fmt;

/// Groups nested deeper than this are taken for a cycle.
const DEEPEST: usize = 40;
/// Categories and examples shown of a column.
const SHOWN: usize = 6;

/// What is in an `.h5ad` file: sizes, types, encodings and bytes on disk of every slot, and the
/// columns of `obs` and `var` with examples. Shows itself in a notebook.
#[derive(Debug, Clone, PartialEq)]
#[non_exhaustive]
pub struct Summary {
    /// (observations, variables).
    pub shape: (usize, usize),
    /// Bytes of the file.
    pub file_bytes: u64,
    /// Sums and counts of `X`, if they were asked for and there is an `X`.
    pub totals: Option<Totals>,
    file: String,
    slots: Vec<Slot>,
}

/// A slot with a line for each of its entries.
#[derive(Debug, Clone, PartialEq)]
struct Slot {
    name: &'static str,
    caption: String,
    lines: Vec<Line>,
}

#[derive(Debug, Clone, PartialEq)]
struct Line {
    name: String,
    dtype: String,
    about: String,
}

impl H5ad {
    /// What is in the file, from its headers and tables: quick whatever the size of `X`.
    ///
    /// # Errors
    /// [`Error::Format`](crate::Error::Format) naming what cannot be read.
    pub fn summary(&self) -> Result<Summary> {
        let mut slots = Vec::new();
        let mut x = vec![];
        for (name, key) in [("X", "X"), ("raw", "raw/X")] {
            if let Some(node) = self.find(key)? {
                x.push(line(name, &node)?);
            }
        }
        slots.push(Slot { name: "X", caption: String::new(), lines: x });
        for (name, rows) in [("obs", self.n_obs()), ("var", self.n_vars())] {
            if let Some(node) = self.find(name)? {
                slots.push(self.table_slot(name, rows, &node)?);
            }
        }
        for name in ["layers", "obsm", "varm", "obsp", "varp", "uns"] {
            let Some(node) = self.find(name)? else { continue };
            let caption = format!("{} on disk", bytes(on_disk(&node, 0)? as usize));
            let mut lines = Vec::new();
            match &node {
                Node::Group(group) => {
                    for name in group.names()? {
                        lines.push(line(&name, &group.get(&name)?)?);
                    }
                }
                Node::Data(_) => lines.push(line(name, &node)?),
            }
            if !lines.is_empty() {
                slots.push(Slot { name, caption, lines });
            }
        }
        let file_bytes = std::fs::metadata(&self.path).map_or(0, |m| m.len());
        let file = self.path.display().to_string();
        Ok(Summary { shape: self.shape(), file_bytes, totals: None, file, slots })
    }

    /// Like [`H5ad::summary`], with the totals of `X`: one pass over it in bounded memory.
    ///
    /// # Errors
    /// As [`H5ad::summary`].
    pub fn describe(&self) -> Result<Summary> {
        let mut summary = self.summary()?;
        if self.find("X")?.is_some() {
            summary.totals = Some(self.totals()?);
        }
        Ok(summary)
    }

    /// The member at a path of names, if there is one that holds something.
    fn find(&self, key: &str) -> Result<Option<Node>> {
        let mut group = self.root.clone();
        let mut names = key.split('/').peekable();
        while let Some(name) = names.next() {
            if !group.contains(name) {
                return Ok(None);
            }
            match (group.get(name)?, names.peek()) {
                (Node::Data(d), _) if d.is_null => return Ok(None),
                (node, None) => return Ok(Some(node)),
                (Node::Group(inner), Some(_)) => group = inner,
                (Node::Data(_), Some(_)) => return Ok(None),
            }
        }
        Ok(None)
    }

    /// The columns of a table, one in memory at a time.
    fn table_slot(&self, name: &'static str, rows: usize, node: &Node) -> Result<Slot> {
        let reader = self.reader();
        let mut lines = Vec::new();
        match node {
            Node::Group(group) => {
                let index = group.attr_text("_index")?.unwrap_or_else(|| "_index".into());
                for name in std::iter::once(index).chain(columns_of(group)?) {
                    check_interrupt()?;
                    if !reader.skips(&group.key_of(&name)) {
                        lines.push(column_line(&name, &reader.column(group, &name)?));
                    }
                }
            }
            Node::Data(_) => {
                let frame = reader.table(node)?;
                lines.extend(frame.columns().map(|(name, column)| column_line(name, column)));
            }
        }
        let columns = lines.len().saturating_sub(1);
        let plural = if columns == 1 { "column" } else { "columns" };
        let size = bytes(on_disk(node, 0)? as usize);
        let caption = format!("{columns} {plural}, {} rows, {size} on disk", grouped(rows));
        Ok(Slot { name, caption, lines })
    }
}

/// Bytes that the elements of a member and of all below it take in the file.
fn on_disk(node: &Node, depth: usize) -> Result<u64> {
    match node {
        Node::Data(d) => Ok(d.stored()),
        Node::Group(_) if depth > DEEPEST => Ok(0),
        Node::Group(group) => group_on_disk(group, depth),
    }
}

fn group_on_disk(group: &Group, depth: usize) -> Result<u64> {
    let mut sum = 0u64;
    for name in group.names()? {
        sum = sum.saturating_add(on_disk(&group.get(&name)?, depth + 1)?);
    }
    Ok(sum)
}

/// What a member is, from its headers.
fn line(name: &str, node: &Node) -> Result<Line> {
    let (kind, _) = encoding(node)?;
    let size = bytes(on_disk(node, 0)? as usize);
    let axes = |shape: &[usize]| shape.iter().map(|&n| grouped(n)).collect::<Vec<_>>().join(" × ");
    let packed = |d: &crate::io::store::Data| match d.compression() {
        how if how.is_empty() => String::new(),
        how => format!(", {how}"),
    };
    let (dtype, about) = match node {
        Node::Data(d) if d.is_null => ("none".to_string(), String::new()),
        Node::Data(d) if d.shape.is_empty() => (d.type_name()?.to_string(), "one value".into()),
        Node::Data(d) => {
            let about = format!("{}, {size} on disk{}", axes(&d.shape), packed(d));
            (format!("dense {}", d.type_name()?), about)
        }
        Node::Group(group) => match super::stored::sparse_kind(group)?.as_str() {
            kind @ ("csr_matrix" | "csc_matrix") => {
                let m = Stored::open(node)?;
                let by = if kind == "csr_matrix" { "rows" } else { "columns" };
                let cells = (m.nrows as f64 * m.ncols as f64).max(1.0);
                let about = format!(
                    "{}, {} elements stored ({:.1} %), {size} on disk{}",
                    axes(&[m.nrows, m.ncols]),
                    grouped(m.len()),
                    100.0 * m.len() as f64 / cells,
                    packed(&group.data("data")?),
                );
                (format!("sparse by {by} {}", m.values().dtype.name()), about)
            }
            _ => {
                let names = group.names()?;
                let some = names.iter().take(SHOWN).cloned().collect::<Vec<_>>().join(", ");
                let more = if names.len() > SHOWN { ", …" } else { "" };
                let kind = match kind.as_str() {
                    "" | "dict" => format!("map of {}", names.len()),
                    "dataframe" => "table".into(),
                    other => other.to_string(),
                };
                (kind, format!("{size} on disk: {some}{more}"))
            }
        },
    };
    Ok(Line { name: name.into(), dtype, about })
}

/// The type of a column and what is in it.
fn column_line(name: &str, column: &Column) -> Line {
    let n = column.len();
    let about = match column {
        Column::Categorical(c) => {
            let mut counts = vec![0usize; c.categories.len()];
            c.codes.iter().filter(|&&code| code >= 0).for_each(|&code| counts[code as usize] += 1);
            let shown = c.categories.iter().zip(&counts).take(SHOWN);
            let shown: Vec<_> = shown.map(|(c, &n)| format!("{c} ({})", grouped(n))).collect();
            let more = c.categories.len().saturating_sub(SHOWN);
            let more = if more > 0 { format!(" and {more} more") } else { String::new() };
            format!("{}{more}", shown.join(", "))
        }
        Column::Values(Values::Bool(v)) => {
            let yes = v.iter().filter(|&&b| b).count();
            format!("{} true, {} false", grouped(yes), grouped(v.len() - yes))
        }
        _ => match column.to_f64() {
            Some(v) => range(&v),
            None => {
                let shown: Vec<_> = (0..n).filter_map(|i| column.text(i)).take(3).collect();
                let more = if n > shown.len() { ", …" } else { "" };
                format!("{}{more}", shown.join(", "))
            }
        },
    };
    Line { name: name.into(), dtype: column.dtype().to_string(), about }
}

/// Smallest, largest and mean of what is there.
fn range(v: &[f64]) -> String {
    let there = || v.iter().filter(|x| !x.is_nan());
    let n = there().count();
    if n == 0 {
        return "no value".into();
    }
    let (low, high) = (
        there().copied().fold(f64::INFINITY, f64::min),
        there().copied().fold(f64::NEG_INFINITY, f64::max),
    );
    let mean = there().sum::<f64>() / n as f64;
    let missing = match v.len() - n {
        0 => String::new(),
        k => format!(", {} missing", grouped(k)),
    };
    format!("{} … {}, mean {}{missing}", number(low), number(high), number(mean))
}

impl Summary {
    fn title(&self) -> String {
        let (n, m) = self.shape;
        format!("{} × {} (observations × variables)", grouped(n), grouped(m))
    }

    /// The totals in lines: (what, numbers).
    fn totals_lines(&self) -> Vec<(&'static str, String)> {
        let Some(t) = &self.totals else { return vec![] };
        let as_f64 = |v: &[u32]| v.iter().map(|&x| f64::from(x)).collect::<Vec<_>>();
        let kind = if t.whole { "whole numbers" } else { "not all whole numbers" };
        let nan =
            if t.nan > 0 { format!(", {} NaN", grouped(t.nan as usize)) } else { String::new() };
        let (low, high) = (number(t.min), number(t.max));
        let nonzero = grouped(t.nonzero as usize);
        vec![
            ("elements", format!("{low} … {high}, {nonzero} not zero{nan}, {kind}")),
            ("total_counts per observation", range(&t.total_counts)),
            ("n_genes_by_counts per observation", range(&as_f64(&t.n_genes_by_counts))),
            ("total_counts per variable", range(&t.var_total_counts)),
            ("n_cells_by_counts per variable", range(&as_f64(&t.n_cells_by_counts))),
        ]
    }

    /// The summary as one HTML element whose slots fold.
    pub fn to_html(&self) -> String {
        let mut out = format!(
            "<div class=\"spatialkit-adata\"><style>{CSS}</style>\
             <div><b>H5ad</b> <span class=\"sk-size\">{}</span> \
             <span class=\"sk-dim\">{}, {}</span></div>",
            self.title(),
            escape_html(&self.file),
            bytes(self.file_bytes as usize),
        );
        let rows = |lines: &[Line]| -> Vec<(String, String, String)> {
            let row = |l: &Line| (l.name.clone(), l.dtype.clone(), escape_html(&l.about));
            lines.iter().map(row).collect()
        };
        for slot in &self.slots {
            let open = matches!(slot.name, "X" | "obs");
            table(&mut out, slot.name, &slot.caption, rows(&slot.lines), open);
            let totals = self.totals_lines();
            if slot.name == "X" && !totals.is_empty() {
                let row = |(what, numbers): (&str, String)| (what.into(), String::new(), numbers);
                table(&mut out, "totals", "of X", totals.into_iter().map(row).collect(), true);
            }
        }
        out.push_str("</div>");
        out
    }
}

impl fmt::Display for Summary {
    fn fmt(&self, f: &mut fmt::Formatter) -> fmt::Result {
        write!(f, "{}, {}\n{}", self.file, bytes(self.file_bytes as usize), self.title())?;
        for slot in &self.slots {
            write!(f, "\n{}", slot.name)?;
            if !slot.caption.is_empty() {
                write!(f, ": {}", slot.caption)?;
            }
            let width = slot.lines.iter().map(|l| l.name.chars().count()).max().unwrap_or(0);
            let types = slot.lines.iter().map(|l| l.dtype.chars().count()).max().unwrap_or(0);
            for l in &slot.lines {
                let line = format!("    {:width$}  {:types$}  {}", l.name, l.dtype, l.about);
                write!(f, "\n{}", line.trim_end())?;
            }
            if slot.name == "X" {
                for (what, numbers) in self.totals_lines() {
                    write!(f, "\n    {what}: {numbers}")?;
                }
            }
        }
        Ok(())
    }
}

impl Rich for Summary {
    fn bundle(&self) -> Result<Bundle> {
        Ok(Bundle::new().text(self.to_string()).html(self.to_html()))
    }
}
notebook::shows_itself!(Summary);

impl Rich for H5ad {
    fn bundle(&self) -> Result<Bundle> {
        self.summary()?.bundle()
    }
}
notebook::shows_itself!(H5ad);
