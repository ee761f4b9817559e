//! [`Grid`]: cells in rows and columns with all that can stand around them: labels, brackets over
//! groups, strips of category colours, dendrograms, bars of totals, and keys on the right. Heat
//! maps, dot plots and their kin draw their cells in the area that it gives them ([`Placed`]);
//! [`cells`] and [`dots`] do the usual ones. What the keys look like is in `heat_key`.
//!
//! Where things stand:
//!
//! ```text
//!                     title
//!                     brackets of columns
//!                     dendrogram or totals of columns
//! name labels strips  ┌────────┐  brackets of rows   dendrogram or totals of rows   keys
//!                     │ cells  │
//!                     └────────┘
//!                     strips of columns
//!                     labels of columns
//! ```
//!
//! A row dendrogram with `tree_first` is on the left, and then the labels are on the right.

use super::canvas::{Align, Canvas, Rect, TextStyle, VAlign};
use super::figure::Frame;
use super::heat_key::GridKey;
use super::norm::{Shades, readable_on};
use super::palette::Color;
use super::text::{fit, text_width};
use super::tree::{Toward, Tree};
use crate::image::Image;
use rayon::prelude::*;
use std::sync::Arc;

const MARGIN: f64 = 10.0;
const TITLE: f64 = 14.0;
const LABEL: f64 = 11.0;
const SMALLEST: f64 = 8.0;
/// From one line of text to the next, as a part of its size.
const LINE: f64 = 1.15;
const GAP: f64 = 6.0;
const STRIP: f64 = 10.0;
const TREE: f64 = 56.0;
const TOTALS: f64 = 46.0;
const BRACKET: f64 = 6.0;
const KEYS: f64 = 20.0;
/// Longest labels of rows, columns and brackets; longer ones are cut.
const LONGEST: f64 = 150.0;

/// A name beside the cells; `at` is its place in cells (the middle of the first is 0.5).
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Label {
    pub at: f64,
    pub text: String,
}

/// A bracket over the cells `from..=to`.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Bracket {
    pub from: usize,
    pub to: usize,
    pub text: String,
}

/// One bar beside each row or column.
#[derive(Debug, Clone)]
pub(crate) struct Totals {
    pub heights: Vec<f64>,
    pub colors: Vec<Color>,
}

/// Rows or columns, and what stands beside them.
#[derive(Debug, Clone, Default)]
pub(crate) struct Edge {
    /// Number of cells.
    pub n: usize,
    /// Size of a cell in CSS pixels where the frame leaves it open.
    pub cell: f64,
    /// Room before the first and after the last cell, in cells.
    pub pad: f64,
    pub labels: Vec<Label>,
    /// What the labels are, e.g. the column of `obs`.
    pub name: Option<String>,
    pub brackets: Vec<Bracket>,
    /// Strips of colours, one colour a cell; the first strip is next to the cells.
    pub strips: Vec<Vec<Color>>,
    /// A dendrogram, and the place of each of its leaves in cells.
    pub tree: Option<(Tree, Vec<f64>)>,
    /// Whether the dendrogram of rows is on the left.
    pub tree_first: bool,
    /// Whether the labels of rows are on the right even without one.
    pub labels_right: bool,
    pub totals: Option<Totals>,
    /// Lines before these cells.
    pub cuts: Vec<usize>,
    /// Room right of the cells that is kept free for whoever draws them (rows only).
    pub beside: f64,
}

impl Edge {
    /// One labelled cell for each name.
    pub fn named(names: &[String], cell: f64) -> Edge {
        let label = |(i, n): (usize, &String)| Label { at: i as f64 + 0.5, text: n.clone() };
        let labels = names.iter().enumerate().map(label).collect();
        Edge { n: names.len(), cell, labels, ..Edge::default() }
    }

    /// Blocks of cells, each with a name and a number of cells: labels at their middles, lines
    /// between them.
    pub fn blocks(blocks: &[(String, usize)], cell: f64) -> Edge {
        let mut edge = Edge { cell, ..Edge::default() };
        for (name, size) in blocks {
            let at = edge.n as f64 + *size as f64 / 2.0;
            edge.labels.push(Label { at, text: name.clone() });
            if edge.n > 0 {
                edge.cuts.push(edge.n);
            }
            edge.n += size;
        }
        edge
    }

    /// Adds a dendrogram whose leaves are at the labels.
    pub fn with_tree(mut self, tree: Option<Tree>) -> Edge {
        self.tree = tree.map(|t| (t, self.labels.iter().map(|l| l.at).collect()));
        self
    }

    fn units(&self) -> f64 {
        (self.n as f64 + 2.0 * self.pad).max(1.0)
    }

    fn strips_size(&self) -> f64 {
        if self.strips.is_empty() { 0.0 } else { self.strips.len() as f64 * (STRIP + 1.0) + 2.0 }
    }

    /// Labels are not larger than their distance allows.
    fn label_size(&self, pitch: f64) -> f64 {
        let apart = self.labels.windows(2).map(|w| (w[1].at - w[0].at) * pitch);
        let least = apart.fold(f64::INFINITY, f64::min);
        if self.labels.len() == self.n { (least / LINE).clamp(SMALLEST, LABEL) } else { LABEL }
    }

    fn widest(&self, size: f64) -> f64 {
        widest(self.labels.iter().map(|l| l.text.as_str()), size)
    }
}

fn widest<'a>(texts: impl Iterator<Item = &'a str>, size: f64) -> f64 {
    texts.map(|t| text_width(t, size, false)).fold(0.0, f64::max).min(LONGEST)
}

/// Cells with what stands around them.
#[derive(Debug, Clone, Default)]
pub(crate) struct Grid {
    pub rows: Edge,
    pub columns: Edge,
    pub keys: Vec<GridKey>,
    /// Whether the cells are framed.
    pub outline: bool,
}

/// Where the cells are, in CSS pixels.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Placed {
    pub plot: Rect,
    size: (f64, f64),
    pads: (f64, f64),
    pitch: (f64, f64),
    /// Left end of what is right of the cells, and of the keys.
    right: f64,
    keys: f64,
    /// Whether labels and brackets of columns lie flat.
    flat: bool,
    flat_brackets: bool,
}

impl Placed {
    /// The x of a place among the columns: `k` is the left end of column `k`.
    pub fn x(&self, column: f64) -> f64 {
        self.plot.x0 + (column + self.pads.0) * self.pitch.0
    }

    /// The y of a place among the rows: `k` is the top of row `k`.
    pub fn y(&self, row: f64) -> f64 {
        self.plot.y0 + (row + self.pads.1) * self.pitch.1
    }

    /// The area of a cell, its edges on whole pixels of a dense screen, so that neighbours touch.
    pub fn cell(&self, row: usize, column: usize) -> Rect {
        let snap = |v: f64| (2.0 * v).round() / 2.0;
        Rect {
            x0: snap(self.x(column as f64)),
            x1: snap(self.x(column as f64 + 1.0)),
            y0: snap(self.y(row as f64)),
            y1: snap(self.y(row as f64 + 1.0)),
        }
    }

    /// Width and height of the whole sheet.
    pub fn size(&self) -> (f64, f64) {
        self.size
    }

    /// Width and height of a cell.
    pub fn pitch(&self) -> (f64, f64) {
        self.pitch
    }
}

impl Grid {
    /// Draws everything; `body` draws the cells.
    pub fn draw(
        &self,
        canvas: &mut Canvas,
        frame: &Frame,
        body: impl FnOnce(&mut Canvas, &Placed),
    ) {
        let p = self.place(frame);
        let ink = canvas.ink;
        if let Some(title) = frame.title.as_ref().filter(|t| !t.is_empty()) {
            let style = TextStyle::new(TITLE, ink.text).bold().anchor(Align::Middle, VAlign::Top);
            let title = fit(title, TITLE, true, canvas.width - 2.0 * MARGIN);
            // Over the cells, moved where it would leave the sheet.
            let half = text_width(&title, TITLE, true) / 2.0 + MARGIN;
            let x = p.plot.center_x().min(canvas.width - half).max(half);
            canvas.text(x, MARGIN, title, style);
        }
        canvas.clipped(p.plot, |canvas| body(canvas, &p));
        let cut = ink.background.unwrap_or(Color::rgb(255, 255, 255));
        for &k in &self.rows.cuts {
            canvas.line([(p.plot.x0, p.y(k as f64)), (p.plot.x1, p.y(k as f64))], 1.0, cut);
        }
        for &k in &self.columns.cuts {
            canvas.line([(p.x(k as f64), p.plot.y0), (p.x(k as f64), p.plot.y1)], 1.0, cut);
        }
        if self.outline {
            canvas.outline(p.plot, 1.0, ink.axis);
        }
        self.draw_left(canvas, &p);
        self.draw_right(canvas, &p);
        self.draw_above(canvas, &p);
        self.draw_below(canvas, &p);
        if !self.keys.is_empty() {
            let total = GridKey::height_of(&self.keys);
            let mut y = (p.plot.center_y() - total / 2.0).min(p.size.1 - MARGIN - total);
            y = y.max(self.header(frame) + MARGIN);
            for key in &self.keys {
                key.draw(canvas, p.keys, y);
                y += key.height() + GridKey::GAP;
            }
        }
    }

    fn header(&self, frame: &Frame) -> f64 {
        let titled = frame.title.as_ref().is_some_and(|t| !t.is_empty());
        if titled { TITLE + 10.0 } else { 0.0 }
    }

    fn left(&self) -> f64 {
        let r = &self.rows;
        let mut width = MARGIN + r.strips_size();
        if r.name.is_some() {
            width += LABEL + GAP;
        }
        if self.labels_right() {
            width += if r.tree.is_some() { TREE + GAP } else { 0.0 };
        } else if !r.labels.is_empty() {
            width += r.widest(LABEL) + GAP;
        }
        width.max(MARGIN + 4.0)
    }

    fn labels_right(&self) -> bool {
        self.rows.labels_right || (self.rows.tree.is_some() && self.rows.tree_first)
    }

    /// Width of what stands between the cells and the keys.
    fn beside(&self) -> f64 {
        let r = &self.rows;
        let mut width = r.beside;
        if self.labels_right() && !r.labels.is_empty() {
            width += GAP + r.widest(LABEL);
        }
        if !r.brackets.is_empty() {
            width += GAP + BRACKET + self.row_bracket_texts();
        }
        if r.tree.is_some() && !r.tree_first {
            width += GAP + TREE;
        }
        if r.totals.is_some() {
            width += GAP + TOTALS + 34.0;
        }
        width
    }

    fn row_bracket_texts(&self) -> f64 {
        4.0 + widest(self.rows.brackets.iter().map(|b| b.text.as_str()), LABEL)
    }

    /// Where everything goes.
    pub fn place(&self, frame: &Frame) -> Placed {
        let (rows, columns) = (&self.rows, &self.columns);
        let left = self.left().ceil();
        let keys = self.keys.iter().map(GridKey::width).fold(0.0, f64::max);
        let keys = if keys > 0.0 { KEYS + keys } else { 0.0 };
        let right = self.beside() + keys + MARGIN;
        let natural = (columns.units() * columns.cell).max(60.0);
        let width = frame.width.map_or(natural, |w| (w - left - right).max(40.0)).round();
        let pitch = width / columns.units();

        let flat = self.flat_labels(pitch);
        let flat_brackets = self.flat_brackets(pitch);
        let mut above = MARGIN + self.header(frame);
        if !columns.brackets.is_empty() {
            let text = if flat_brackets { LABEL + 4.0 } else { self.column_bracket_texts() };
            above += GAP + BRACKET + text;
        }
        if columns.tree.is_some() {
            above += TREE + GAP;
        }
        if columns.totals.is_some() {
            above += TOTALS + LABEL + GAP;
        }
        let mut below = MARGIN + columns.strips_size();
        if !columns.labels.is_empty() {
            let size = columns.label_size(pitch);
            below += GAP + if flat { size } else { columns.widest(size) };
        }
        if columns.name.is_some() {
            below += GAP + LABEL;
        }
        let wanted = (rows.units() * rows.cell).max(24.0);
        let keys_height = MARGIN * 2.0 + self.header(frame) + GridKey::height_of(&self.keys);
        let height = frame.height.map_or(wanted, |h| (h - above - below).max(24.0)).round();
        let total = frame.height.unwrap_or((above + height + below).max(keys_height)).round();
        // A low plot beside high keys stands in the middle.
        let top = (above + ((total - above - height - below) / 2.0).max(0.0)).round();
        let plot = Rect::at(left, top, width, height);
        Placed {
            plot,
            size: (left + width + right, total),
            pads: (columns.pad, rows.pad),
            pitch: (pitch, height / rows.units()),
            right: plot.x1 + rows.beside,
            keys: plot.x1 + self.beside() + KEYS,
            flat,
            flat_brackets,
        }
    }

    /// Whether the labels of columns fit beside each other.
    fn flat_labels(&self, pitch: f64) -> bool {
        let size = self.columns.label_size(pitch);
        let ends = |l: &Label| {
            let half = text_width(&l.text, size, false) / 2.0;
            ((l.at + self.columns.pad) * pitch - half, (l.at + self.columns.pad) * pitch + half)
        };
        let width = self.columns.units() * pitch;
        let ends: Vec<(f64, f64)> = self.columns.labels.iter().map(ends).collect();
        ends.windows(2).all(|w| w[0].1 + 6.0 <= w[1].0)
            && ends.iter().all(|e| e.0 >= -8.0 && e.1 <= width + 8.0)
    }

    fn flat_brackets(&self, pitch: f64) -> bool {
        let mut end = f64::NEG_INFINITY;
        self.columns.brackets.iter().all(|b| {
            let middle = (b.from + b.to + 1) as f64 / 2.0 * pitch;
            let half = text_width(&b.text, LABEL, false) / 2.0;
            let free = middle - half >= end && middle - half > -8.0;
            end = middle + half + 6.0;
            free && end - 6.0 <= self.columns.units() * pitch + 8.0
        })
    }

    fn column_bracket_texts(&self) -> f64 {
        4.0 + widest(self.columns.brackets.iter().map(|b| b.text.as_str()), LABEL)
    }

    fn draw_left(&self, canvas: &mut Canvas, p: &Placed) {
        let (ink, rows) = (canvas.ink, &self.rows);
        let mut x = p.plot.x0 - 2.0;
        for strip in &rows.strips {
            let area = Rect { x0: x - STRIP, x1: x, y0: p.y(0.0), y1: p.y(rows.n as f64) };
            draw_strip(canvas, strip, area, false);
            x -= STRIP + 1.0;
        }
        if self.labels_right() {
            if let Some((tree, at)) = &rows.tree {
                let area = Rect { x0: x - GAP / 2.0 - TREE, x1: x - GAP / 2.0, ..p.plot };
                let at: Vec<f64> = at.iter().map(|&v| p.y(v)).collect();
                tree.draw(canvas, area, Toward::Right, &at, ink.axis);
                x = area.x0;
            }
        } else {
            self.row_labels(canvas, p, x - GAP + 2.0, Align::End);
            x -= GAP + rows.widest(LABEL);
        }
        if let Some(name) = &rows.name {
            let style = TextStyle::new(LABEL, ink.text).anchor(Align::Middle, VAlign::Baseline);
            let name = fit(name, LABEL, false, p.plot.height().max(60.0));
            canvas.text(x - GAP, p.plot.center_y(), name, style.upward());
        }
    }

    fn row_labels(&self, canvas: &mut Canvas, p: &Placed, x: f64, align: Align) {
        let rows = &self.rows;
        let size = rows.label_size(p.pitch.1);
        let wanted: Vec<f64> = rows.labels.iter().map(|l| p.y(l.at)).collect();
        let placed = spread(&wanted, size * LINE, (p.plot.y0, p.plot.y1));
        let style = TextStyle::new(size, canvas.ink.text).anchor(align, VAlign::Middle);
        let outward = if align == Align::End { 1.0 } else { -1.0 };
        for ((label, wanted), y) in rows.labels.iter().zip(wanted).zip(placed) {
            let Some(y) = y else { continue };
            canvas.text(x, y, fit(&label.text, size, false, LONGEST), style);
            if (y - wanted).abs() > 1.5 {
                let ends = [(x + outward * 1.0, y), (x + outward * (GAP - 2.0), wanted)];
                canvas.line(ends, 0.8, canvas.ink.axis);
            }
        }
    }

    fn draw_right(&self, canvas: &mut Canvas, p: &Placed) {
        let (ink, rows) = (canvas.ink, &self.rows);
        let mut x = p.right;
        if self.labels_right() && !rows.labels.is_empty() {
            self.row_labels(canvas, p, x + GAP, Align::Start);
            x += GAP + rows.widest(LABEL);
        }
        if !rows.brackets.is_empty() {
            x += GAP;
            let middles: Vec<f64> =
                rows.brackets.iter().map(|b| p.y((b.from + b.to + 1) as f64 / 2.0)).collect();
            let texts = spread(&middles, LABEL * LINE, (p.plot.y0, p.plot.y1));
            let style = TextStyle::new(LABEL, ink.text);
            for (b, y) in rows.brackets.iter().zip(texts) {
                let (y0, y1) = (p.y(b.from as f64 + 0.15), p.y(b.to as f64 + 0.85));
                let tip = x + BRACKET - 1.0;
                canvas.line([(x, y0), (tip, y0)], 1.2, ink.axis);
                canvas.line([(tip, y0), (tip, y1)], 1.2, ink.axis);
                canvas.line([(x, y1), (tip, y1)], 1.2, ink.axis);
                if let Some(y) = y {
                    let text = fit(&b.text, LABEL, false, LONGEST);
                    canvas.text(x + BRACKET + 4.0, y, text, style);
                }
            }
            x += BRACKET + self.row_bracket_texts();
        }
        if let (Some((tree, at)), false) = (&rows.tree, rows.tree_first) {
            let area = Rect { x0: x + GAP, x1: x + GAP + TREE, ..p.plot };
            let at: Vec<f64> = at.iter().map(|&v| p.y(v)).collect();
            tree.draw(canvas, area, Toward::Left, &at, ink.axis);
            x = area.x1;
        }
        if let Some(totals) = &rows.totals {
            let most = totals.heights.iter().copied().fold(f64::MIN_POSITIVE, f64::max);
            let style = TextStyle::new(LABEL - 1.0, ink.text);
            for (i, (&v, &color)) in totals.heights.iter().zip(&totals.colors).enumerate() {
                let (y0, y1) = (p.y(i as f64 + 0.2), p.y(i as f64 + 0.8));
                let x0 = x + GAP;
                let bar = Rect { x0, x1: x0 + (v / most * TOTALS).max(0.5), y0, y1 };
                canvas.fill(bar, color);
                if p.pitch.1 >= 9.0 {
                    canvas.text(bar.x1 + 4.0, (y0 + y1) / 2.0, count(v), style);
                }
            }
        }
    }

    fn draw_above(&self, canvas: &mut Canvas, p: &Placed) {
        let (ink, columns) = (canvas.ink, &self.columns);
        let mut y = p.plot.y0;
        if let Some((tree, at)) = &columns.tree {
            let area = Rect { y0: y - GAP / 2.0 - TREE, y1: y - GAP / 2.0, ..p.plot };
            let at: Vec<f64> = at.iter().map(|&v| p.x(v)).collect();
            tree.draw(canvas, area, Toward::Down, &at, ink.axis);
            y = area.y0 - GAP / 2.0;
        }
        if let Some(totals) = &columns.totals {
            let most = totals.heights.iter().copied().fold(f64::MIN_POSITIVE, f64::max);
            let style =
                TextStyle::new(LABEL - 1.5, ink.text).anchor(Align::Middle, VAlign::Baseline);
            for (i, (&v, &color)) in totals.heights.iter().zip(&totals.colors).enumerate() {
                let (x0, x1) = (p.x(i as f64 + 0.2), p.x(i as f64 + 0.8));
                let y1 = y - GAP / 2.0;
                let bar = Rect { x0, x1, y0: y1 - (v / most * TOTALS).max(0.5), y1 };
                canvas.fill(bar, color);
                let text = count(v);
                if text_width(&text, LABEL - 1.5, false) + 2.0 <= p.pitch.0 {
                    canvas.text((x0 + x1) / 2.0, bar.y0 - 3.0, text, style);
                }
            }
            y -= TOTALS + LABEL + GAP;
        }
        if columns.brackets.is_empty() {
            return;
        }
        let (foot, top) = (y - 3.0, y - 3.0 - BRACKET + 1.0);
        let middles: Vec<f64> =
            columns.brackets.iter().map(|b| p.x((b.from + b.to + 1) as f64 / 2.0)).collect();
        let texts = if p.flat_brackets {
            middles.iter().map(|&m| Some(m)).collect()
        } else {
            spread(&middles, LABEL * LINE, (p.plot.x0, p.plot.x1))
        };
        for (b, x) in columns.brackets.iter().zip(texts) {
            let (x0, x1) = (p.x(b.from as f64 + 0.15), p.x(b.to as f64 + 0.85));
            canvas.line([(x0, foot), (x0, top)], 1.2, ink.axis);
            canvas.line([(x0, top), (x1, top)], 1.2, ink.axis);
            canvas.line([(x1, foot), (x1, top)], 1.2, ink.axis);
            let Some(x) = x else { continue };
            let text = fit(&b.text, LABEL, false, LONGEST);
            let style = TextStyle::new(LABEL, ink.text);
            if p.flat_brackets {
                let style = style.anchor(Align::Middle, VAlign::Baseline);
                canvas.text(x, top - 4.0, text, style);
            } else {
                canvas.text(x, top - 4.0, text, style.upward());
            }
        }
    }

    fn draw_below(&self, canvas: &mut Canvas, p: &Placed) {
        let (ink, columns) = (canvas.ink, &self.columns);
        let mut y = p.plot.y1 + 2.0;
        for strip in &columns.strips {
            let area = Rect { y0: y, y1: y + STRIP, x0: p.x(0.0), x1: p.x(columns.n as f64) };
            draw_strip(canvas, strip, area, true);
            y += STRIP + 1.0;
        }
        y += GAP - 2.0;
        let size = columns.label_size(p.pitch.0);
        let wanted: Vec<f64> = columns.labels.iter().map(|l| p.x(l.at)).collect();
        let style = TextStyle::new(size, ink.text);
        if p.flat {
            let style = style.anchor(Align::Middle, VAlign::Top);
            for (label, x) in columns.labels.iter().zip(wanted) {
                canvas.text(x, y, label.text.as_str(), style);
            }
            y += size;
        } else {
            let placed = spread(&wanted, size * LINE, (p.plot.x0, p.plot.x1));
            let style = style.anchor(Align::End, VAlign::Middle).upward();
            for ((label, wanted), x) in columns.labels.iter().zip(wanted).zip(placed) {
                let Some(x) = x else { continue };
                canvas.text(x, y, fit(&label.text, size, false, LONGEST), style);
                if (x - wanted).abs() > 1.5 {
                    canvas.line([(x, y - 1.0), (wanted, y - GAP + 2.0)], 0.8, ink.axis);
                }
            }
            y += columns.widest(size);
        }
        if let Some(name) = &columns.name {
            let style = TextStyle::new(LABEL, ink.text).anchor(Align::Middle, VAlign::Top);
            let name = fit(name, LABEL, false, p.plot.width().max(80.0));
            canvas.text(p.plot.center_x(), y + GAP, name, style);
        }
    }
}

fn count(v: f64) -> String {
    if v >= 1000.0 { format!("{:.1}k", v / 1000.0) } else { format!("{v}") }
}

/// Places texts near where they are wanted (in rising order) but at least `apart` from each other
/// and between the limits: those that do not fit are left off, evenly.
fn spread(wanted: &[f64], apart: f64, (low, high): (f64, f64)) -> Vec<Option<f64>> {
    let room = (((high - low) / apart + 1e-6).floor() as usize + 1).max(1);
    let every = wanted.len().div_ceil(room).max(1);
    let kept: Vec<f64> = wanted.iter().copied().step_by(every).collect();
    // With k·apart taken off, "at least apart" is "never falling": pool what falls.
    let mut pools: Vec<(f64, usize)> = Vec::new();
    for (k, &w) in kept.iter().enumerate() {
        let mut pool = (w - k as f64 * apart, 1);
        while let Some(&(mean, n)) = pools.last()
            && mean > pool.0
        {
            pools.pop();
            let total = mean * n as f64 + pool.0 * pool.1 as f64;
            pool = (total / (n + pool.1) as f64, n + pool.1);
        }
        pools.push(pool);
    }
    let last = kept.len().saturating_sub(1) as f64 * apart;
    let mut places =
        pools.iter().flat_map(|&(m, n)| std::iter::repeat_n(m.min(high - last).max(low), n));
    let mut out = vec![None; wanted.len()];
    for (k, slot) in out.iter_mut().step_by(every).enumerate() {
        *slot = places.next().map(|m| m + k as f64 * apart);
    }
    out
}

/// Cells above this number are one bitmap.
const MANY: usize = 3000;

/// Fills the cells with the colours of `value(row, column)`; `number`, where given, is written
/// into a cell that has room for it.
pub(crate) fn cells(
    canvas: &mut Canvas,
    p: &Placed,
    (nrows, ncols): (usize, usize),
    shades: &Shades,
    value: impl Fn(usize, usize) -> f64 + Sync,
    number: Option<&dyn Fn(f64) -> String>,
) {
    let missing = canvas.ink.missing;
    let small = p.pitch.0.min(p.pitch.1) < 2.0;
    if nrows * ncols > MANY || (small && nrows * ncols > 100) {
        let area =
            Rect { x0: p.x(0.0), x1: p.x(ncols as f64), y0: p.y(0.0), y1: p.y(nrows as f64) };
        let color = |r: usize, c: usize| shades.color(value(r, c), missing);
        canvas.picture(Arc::new(bitmap((nrows, ncols), &area, color)), area, 1.0);
        return;
    }
    for r in 0..nrows {
        for c in 0..ncols {
            let area = p.cell(r, c);
            let v = value(r, c);
            let color = shades.color(v, missing);
            canvas.fill(area, color);
            let Some(number) = number else { continue };
            let text = if v.is_nan() { String::new() } else { number(v) };
            let size = (p.pitch.1 * 0.55).min(LABEL);
            let width = text_width(&text, size, false);
            let size = size * ((p.pitch.0 - 4.0) / width.max(1e-9)).min(1.0);
            if size >= 6.5 {
                let style = TextStyle::new(size, readable_on(color));
                let style = style.anchor(Align::Middle, VAlign::Middle);
                canvas.text(area.center_x(), area.center_y(), text, style);
            }
        }
    }
}

/// A picture of the cells at two pixels for each CSS pixel. Where several cells fall on a pixel
/// it has the mean of their colours; none is dropped.
fn bitmap(
    (nrows, ncols): (usize, usize),
    area: &Rect,
    color: impl Fn(usize, usize) -> Color + Sync,
) -> Image {
    let width = ((2.0 * area.width()).round() as usize).max(1);
    let height = ((2.0 * area.height()).round() as usize).max(1);
    let range = |k: usize, pixels: usize, n: usize| {
        if n <= pixels {
            let i = ((k as f64 + 0.5) / pixels as f64 * n as f64) as usize;
            i.min(n - 1)..i.min(n - 1) + 1
        } else {
            k * n / pixels..((k + 1) * n).div_ceil(pixels)
        }
    };
    let columns: Vec<_> = (0..width).map(|k| range(k, width, ncols)).collect();
    let mut pixels = vec![0u8; width * height * 3];
    pixels.par_chunks_mut(width * 3).enumerate().for_each(|(k, line)| {
        let rows = range(k, height, nrows);
        for (pixel, columns) in line.as_chunks_mut::<3>().0.iter_mut().zip(&columns) {
            let mut sum = [0u32; 3];
            let n = (rows.len() * columns.len()) as u32;
            for r in rows.clone() {
                for c in columns.clone() {
                    let color = color(r, c);
                    for (s, v) in sum.iter_mut().zip([color.r, color.g, color.b]) {
                        *s += u32::from(v);
                    }
                }
            }
            *pixel = sum.map(|s| ((s + n / 2) / n.max(1)) as u8);
        }
    });
    Image { width, height, pixels }
}

/// A strip of colours: a rectangle for each run of one colour, or a bitmap where there are many.
fn draw_strip(canvas: &mut Canvas, colors: &[Color], area: Rect, across: bool) {
    let n = colors.len();
    if n == 0 {
        return;
    }
    let mut runs: Vec<(usize, usize)> = Vec::new();
    for i in 0..n {
        match runs.last_mut() {
            Some(run) if colors[run.0] == colors[i] => run.1 = i + 1,
            _ => runs.push((i, i + 1)),
        }
    }
    if runs.len() > 400 {
        let image = if across {
            bitmap((1, n), &area, |_, c| colors[c])
        } else {
            bitmap((n, 1), &area, |r, _| colors[r])
        };
        canvas.picture(Arc::new(image), area, 1.0);
        return;
    }
    let length = if across { area.width() } else { area.height() } / n as f64;
    let snap = |v: f64| (2.0 * v).round() / 2.0;
    for (from, to) in runs {
        let (a, b) = (from as f64 * length, to as f64 * length);
        let part = if across {
            Rect { x0: snap(area.x0 + a), x1: snap(area.x0 + b), ..area }
        } else {
            Rect { y0: snap(area.y0 + a), y1: snap(area.y0 + b), ..area }
        };
        canvas.fill(part, colors[from]);
    }
}

/// Draws a disc in each cell: `radius(row, column)` in CSS pixels, with a thin edge so that pale
/// ones can be seen.
pub(crate) fn dots(
    canvas: &mut Canvas,
    p: &Placed,
    (nrows, ncols): (usize, usize),
    radius: impl Fn(usize, usize) -> f64,
    color: impl Fn(usize, usize) -> Color,
) {
    let edge = canvas.ink.axis;
    for r in 0..nrows {
        for c in 0..ncols {
            let (x, y) = (p.x(c as f64 + 0.5), p.y(r as f64 + 0.5));
            disc(canvas, x, y, radius(r, c), color(r, c), edge);
        }
    }
}

/// A disc with an edge.
pub(crate) fn disc(canvas: &mut Canvas, x: f64, y: f64, radius: f64, color: Color, edge: Color) {
    if radius <= 0.15 {
        return;
    }
    canvas.disc(x, y, radius + 0.3, edge);
    if radius > 0.3 {
        canvas.disc(x, y, radius - 0.3, color);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn texts_keep_apart_and_near_their_places() {
        let close = spread(&[10.0, 11.0, 12.0, 90.0], 10.0, (0.0, 100.0));
        assert_eq!(close, [Some(1.0), Some(11.0), Some(21.0), Some(90.0)]);
        let end = spread(&[97.0, 98.0, 99.0], 10.0, (0.0, 100.0));
        assert_eq!(end, [Some(80.0), Some(90.0), Some(100.0)]);
        let free = spread(&[5.0, 50.0], 10.0, (0.0, 100.0));
        assert_eq!(free, [Some(5.0), Some(50.0)]);
        assert!(spread(&[], 10.0, (0.0, 100.0)).is_empty());
    }

    #[test]
    fn texts_for_which_there_is_no_room_are_left_off_evenly() {
        let wanted: Vec<f64> = (0..30).map(|i| i as f64 + 0.5).collect();
        let placed = spread(&wanted, 10.0, (0.0, 30.0));
        let kept: Vec<f64> = placed.iter().flatten().copied().collect();
        assert!(kept.len() >= 3 && kept.windows(2).all(|w| w[1] - w[0] >= 10.0 - 1e-9));
        assert!(kept.iter().all(|y| (0.0..=30.0).contains(y)));
    }

    #[test]
    fn a_bitmap_shows_every_cell_or_their_mean() {
        let black_or_white = |r: usize, _: usize| {
            let v = if r % 2 == 0 { 0 } else { 255 };
            Color::rgb(v, v, v)
        };
        let few = bitmap((2, 1), &Rect::at(0.0, 0.0, 1.0, 2.0), black_or_white);
        assert_eq!((few.width, few.height), (2, 4));
        let column: Vec<u8> = few.pixels.chunks_exact(6).map(|p| p[0]).collect();
        assert_eq!(column, [0, 0, 255, 255]);
        let many = bitmap((4000, 3), &Rect::at(0.0, 0.0, 1.0, 10.0), black_or_white);
        assert!(many.pixels.iter().all(|&v| v == 128));
    }
}
