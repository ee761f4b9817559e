//! [`Grid`]: cells in rows and columns with all that can stand around them: labels, brackets over
//! groups, strips of category colours, dendrograms, bars of totals, and keys on the right. Heat
//! maps, dot plots and their kin draw their cells in the area that it gives them ([`Placed`]);
//! `heat_cells` has the usual ones. This file says what there is and where it goes, `heat_draw`
//! draws it, and `heat_key` has the keys.
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

use super::canvas::Rect;
use super::figure::{Frame, TITLE};
use super::heat_key::GridKey;
use super::layout::MARGIN;
use super::palette::Color;
use super::text::text_width;
use super::tree::Tree;

pub(super) const LABEL: f64 = 11.0;
const SMALLEST: f64 = 8.0;
/// From one line of text to the next, as a part of its size.
pub(super) const LINE: f64 = 1.15;
pub(super) const GAP: f64 = 6.0;
pub(super) const STRIP: f64 = 10.0;
pub(super) const TREE: f64 = 56.0;
pub(super) const TOTALS: f64 = 46.0;
pub(super) const BRACKET: f64 = 6.0;
const KEYS: f64 = 20.0;
/// Longest labels of rows, columns and brackets; longer ones are cut.
pub(super) const LONGEST: f64 = 150.0;

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
    pub(super) fn label_size(&self, pitch: f64) -> f64 {
        let apart = self.labels.windows(2).map(|w| (w[1].at - w[0].at) * pitch);
        let least = apart.fold(f64::INFINITY, f64::min);
        if self.labels.len() == self.n { (least / LINE).clamp(SMALLEST, LABEL) } else { LABEL }
    }

    pub(super) fn widest(&self, size: f64) -> f64 {
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
#[derive(Debug, Clone)]
pub(crate) struct Placed {
    pub plot: Rect,
    size: (f64, f64),
    pads: (f64, f64),
    pitch: (f64, f64),
    /// Left end of what is right of the cells.
    pub(super) right: f64,
    /// Top left corner of each key.
    pub(super) keys: Vec<(f64, f64)>,
    /// Whether labels and brackets of columns lie flat.
    pub(super) flat: bool,
    pub(super) flat_brackets: bool,
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

    /// The area of a cell, its edges on whole pixels (of a dense screen where cells are small), so
    /// that neighbours touch.
    pub fn cell(&self, row: usize, column: usize) -> Rect {
        let snap = |v: f64, pitch: f64| {
            let unit = if pitch >= 8.0 { 1.0 } else { 2.0 };
            (unit * v).round() / unit
        };
        let (w, h) = self.pitch;
        Rect {
            x0: snap(self.x(column as f64), w),
            x1: snap(self.x(column as f64 + 1.0), w),
            y0: snap(self.y(row as f64), h),
            y1: snap(self.y(row as f64 + 1.0), h),
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
    pub(super) fn header(&self, frame: &Frame) -> f64 {
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

    pub(super) fn labels_right(&self) -> bool {
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

    pub(super) fn row_bracket_texts(&self) -> f64 {
        4.0 + widest(self.rows.brackets.iter().map(|b| b.text.as_str()), LABEL)
    }

    /// Where everything goes. Keys are on the right, or below where they would leave no room for
    /// the labels of the columns.
    pub fn place(&self, frame: &Frame) -> Placed {
        let beside = self.place_with(frame, false);
        let labels = self.columns.labels.len().max(1) as f64;
        let tight = beside.plot.width() < (SMALLEST * LINE * labels).max(110.0);
        if tight && frame.width.is_some() && !self.keys.is_empty() {
            return self.place_with(frame, true);
        }
        beside
    }

    fn place_with(&self, frame: &Frame, keys_below: bool) -> Placed {
        let (rows, columns) = (&self.rows, &self.columns);
        let left = self.left().ceil();
        let keys = self.keys.iter().map(GridKey::width).fold(0.0, f64::max);
        let keys = if keys > 0.0 && !keys_below { KEYS + keys } else { 0.0 };
        let right = self.beside() + keys + MARGIN;
        let natural = (columns.units() * columns.cell)
            .max(columns.labels.len() as f64 * SMALLEST * LINE)
            .max(60.0);
        let width = frame.width.map_or(natural, |w| (w - left - right).max(40.0)).round();
        let pitch = width / columns.units();
        let sheet = left + width + right;

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
        let (mut places, row_height) = self.keys_in_rows(sheet);
        if keys_below {
            below += KEYS + row_height;
        }
        // Labels of blocks may need more room than the blocks.
        let wanted =
            (rows.units() * rows.cell).max(rows.labels.len() as f64 * LABEL * LINE).max(24.0);
        let stacked = GridKey::height_of(&self.keys);
        let least = if keys_below { 0.0 } else { MARGIN * 2.0 + self.header(frame) + stacked };
        let height = frame.height.map_or(wanted, |h| (h - above - below).max(24.0)).round();
        let total = frame.height.unwrap_or((above + height + below).max(least)).round();
        // A low plot beside high keys stands in the middle.
        let top = (above + ((total - above - height - below) / 2.0).max(0.0)).round();
        let plot = Rect::at(left, top, width, height);
        if keys_below {
            let start = plot.y1 + below - MARGIN - row_height;
            places.iter_mut().for_each(|p| p.1 += start);
        } else {
            let x = plot.x1 + self.beside() + KEYS;
            let mut y = (plot.center_y() - stacked / 2.0).min(total - MARGIN - stacked);
            y = y.max(self.header(frame) + MARGIN);
            for (place, key) in places.iter_mut().zip(&self.keys) {
                *place = (x, y);
                y += key.height() + GridKey::GAP;
            }
        }
        Placed {
            plot,
            size: (sheet, total),
            pads: (columns.pad, rows.pad),
            pitch: (pitch, height / rows.units()),
            right: plot.x1 + rows.beside,
            keys: places,
            flat,
            flat_brackets,
        }
    }

    /// The keys beside each other, in as many rows as the width asks for; and their height.
    fn keys_in_rows(&self, width: f64) -> (Vec<(f64, f64)>, f64) {
        let (mut places, mut x, mut y, mut high) = (Vec::new(), MARGIN, 0.0, 0f64);
        for key in &self.keys {
            if x > MARGIN && x + key.width() > width - MARGIN {
                (x, y, high) = (MARGIN, y + high + GridKey::GAP, 0.0);
            }
            places.push((x, y));
            x += key.width() + 2.0 * GridKey::GAP;
            high = high.max(key.height());
        }
        (places, y + high)
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
}

/// Places texts near where they are wanted (in rising order) but at least `apart` from each other
/// and between the limits: those that do not fit are left off, evenly.
pub(super) fn spread(wanted: &[f64], apart: f64, (low, high): (f64, f64)) -> Vec<Option<f64>> {
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
}
