//! How the panels of a [`PointMap`] share the sheet, with what stands beside and above them.

use super::canvas::Rect;
use super::figure::Frame;
use super::panel::{AXIS_LABEL, PANEL_TITLE, Ready, TITLE};
use super::points::{Data, Kind, PointMap};
use crate::error::{Error, Result};

/// Around everything.
pub(super) const MARGIN: f64 = 10.0;
/// Between panels.
const GUTTER: f64 = 22.0;

/// Where things go, in CSS pixels.
pub(super) struct Layout {
    columns: usize,
    rows: usize,
    plot: (f64, f64),
    side: f64,
    header: f64,
    panel_header: f64,
    left: f64,
    below: f64,
}

impl Layout {
    /// Size of the whole.
    pub fn size(&self) -> (f64, f64) {
        let (columns, rows) = (self.columns as f64, self.rows as f64);
        let width = columns * (self.left + self.plot.0 + self.side) + (columns - 1.0) * GUTTER;
        let height = self.header
            + rows * (self.panel_header + self.plot.1 + self.below)
            + (rows - 1.0) * GUTTER * 0.6;
        (width + 2.0 * MARGIN, height + 2.0 * MARGIN)
    }

    /// The plotting area of panel `k`.
    pub fn panel(&self, k: usize, offset: (f64, f64)) -> Rect {
        let (column, row) = ((k % self.columns) as f64, (k / self.columns) as f64);
        let x = MARGIN + column * (self.left + self.plot.0 + self.side + GUTTER) + self.left;
        let y = MARGIN
            + self.header
            + row * (self.panel_header + self.plot.1 + self.below + GUTTER * 0.6)
            + self.panel_header;
        Rect::at(x + offset.0, y + offset.1, self.plot.0, self.plot.1)
    }
}

impl PointMap {
    /// The part of the plane that is shown.
    pub(super) fn extent(&self, data: &Data) -> Result<Rect> {
        if let Some(crop) = self.options.crop {
            if crop.width() > 0.0
                && crop.height() > 0.0
                && (crop.width() + crop.height()).is_finite()
            {
                return Ok(crop);
            }
            return Err(Error::parameter("crop", format!("{crop:?}"), "is an empty area"));
        }
        let finite = data.points.iter().filter(|p| p[0].is_finite() && p[1].is_finite());
        let mut r = Rect { x0: f64::MAX, y0: f64::MAX, x1: f64::MIN, y1: f64::MIN };
        for p in finite {
            r.x0 = r.x0.min(p[0]);
            r.x1 = r.x1.max(p[0]);
            r.y0 = r.y0.min(p[1]);
            r.y1 = r.y1.max(p[1]);
        }
        let longest = r.width().max(r.height());
        let pad = match data.kind {
            Kind::Embedding => 0.04 * longest,
            Kind::Spatial => {
                let around = data.spacing.max(data.diameter.unwrap_or(0.0));
                around.max(0.015 * longest)
            }
        };
        // A single point, or a line of points, still needs an area.
        let pad = if pad > 0.0 { pad } else { 1.0 };
        let mut r = Rect { x0: r.x0 - pad, y0: r.y0 - pad, x1: r.x1 + pad, y1: r.y1 + pad };
        let least = r.width().max(r.height()) / 8.0;
        if r.width() < least {
            let c = r.center_x();
            (r.x0, r.x1) = (c - least / 2.0, c + least / 2.0);
        }
        if r.height() < least {
            let c = r.center_y();
            (r.y0, r.y1) = (c - least / 2.0, c + least / 2.0);
        }
        Ok(r)
    }

    pub(super) fn layout(&self, data: &Data, ready: &[Ready], frame: &Frame) -> Result<Layout> {
        let n = ready.len();
        let columns = self.options.columns.unwrap_or(if n == 4 { 2 } else { 3 }).clamp(1, n);
        let rows = n.div_ceil(columns);
        let embedding = data.kind == Kind::Embedding;
        let extent = self.extent(data)?;
        // Space is to scale; the axes of an embedding have no common unit.
        let aspect = if embedding { 1.0 } else { extent.width() / extent.height() };
        let room = match columns {
            1 => (500.0, 400.0),
            2 => (330.0, 320.0),
            _ => (250.0, 260.0),
        };
        let fit = |w: f64, h: f64| {
            let width = w.min(h * aspect).max(24.0);
            (width, width / aspect)
        };
        let several = n > 1;
        let mut layout = Layout {
            columns,
            rows,
            plot: fit(room.0, room.1),
            side: 0.0,
            header: if several && frame.title.is_some() { TITLE + 14.0 } else { 0.0 },
            panel_header: if ready.iter().any(|r| r.title.is_some()) {
                PANEL_TITLE + 10.0
            } else {
                0.0
            },
            left: if embedding { AXIS_LABEL + 8.0 } else { 0.0 },
            below: if embedding { AXIS_LABEL + 8.0 } else { 0.0 },
        };
        // A legend's width depends on the height it has, and that on the width that is left. The
        // width only grows from round to round, so that it settles.
        for _ in 0..6 {
            let widths = ready.iter().map(|r| r.side.width(layout.plot.1));
            let side = widths.fold(layout.side, f64::max);
            let settled = side == layout.side;
            layout.side = side;
            if frame.width.is_none() && frame.height.is_none() {
                break;
            }
            let (w, h) = layout.size();
            let per = |total: Option<f64>, now: f64, plot: f64, count: usize| {
                total.map_or(f64::INFINITY, |t| plot + (t - now) / count as f64)
            };
            layout.plot = fit(
                per(frame.width, w, layout.plot.0, columns),
                per(frame.height, h, layout.plot.1, rows),
            );
            if settled && layout.side > 0.0 {
                break;
            }
        }
        Ok(layout)
    }
}
