//! Drawing a [`Grid`]: what stands around the cells.

use super::canvas::{Align, Canvas, Rect, TextStyle, VAlign};
use super::figure::Frame;
use super::heat::{BRACKET, GAP, Grid, LABEL, LINE, LONGEST, Placed, STRIP, TOTALS, TREE, spread};
use super::heat_cells::draw_strip;
use super::palette::Color;
use super::text::{fit, text_width};
use super::tree::Toward;

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
        frame.draw_title(canvas, p.plot.center_x());
        canvas.clipped(p.plot, |canvas| body(canvas, &p));
        let cut = ink.background.unwrap_or(Color::rgb(255, 255, 255));
        // Lines between small blocks are thin, and between tiny ones there are none.
        let width = |cuts: &[usize], length: f64| match length / (cuts.len() + 1) as f64 {
            d if d >= 14.0 => Some(1.0),
            d if d >= 7.0 => Some(0.5),
            _ => None,
        };
        if let Some(width) = width(&self.rows.cuts, p.plot.height()) {
            for y in self.rows.cuts.iter().map(|&k| p.y(k as f64)) {
                canvas.fill(Rect { y0: y - width / 2.0, y1: y + width / 2.0, ..p.plot }, cut);
            }
        }
        if let Some(width) = width(&self.columns.cuts, p.plot.width()) {
            for x in self.columns.cuts.iter().map(|&k| p.x(k as f64)) {
                canvas.fill(Rect { x0: x - width / 2.0, x1: x + width / 2.0, ..p.plot }, cut);
            }
        }
        if self.outline {
            canvas.outline(p.plot, 1.0, ink.axis);
        }
        self.draw_left(canvas, &p);
        self.draw_right(canvas, &p);
        self.draw_above(canvas, &p);
        self.draw_below(canvas, &p);
        for (key, &(x, y)) in self.keys.iter().zip(&p.keys) {
            key.draw(canvas, x, y);
        }
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
        let size = rows.label_size(p.pitch().1);
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
                if p.pitch().1 >= 9.0 {
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
                if text_width(&text, LABEL - 1.5, false) + 2.0 <= p.pitch().0 {
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
        let size = columns.label_size(p.pitch().0);
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
