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
#[derive(Clone, Copy)]
pub(super) struct Layout {
    columns: usize,
    rows: usize,
    plot: (f64, f64),
    /// Height of a row: that of the plots, or of a legend that is higher.
    row: f64,
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
            + rows * (self.panel_header + self.row + self.below)
            + (rows - 1.0) * GUTTER * 0.6;
        (width + 2.0 * MARGIN, height + 2.0 * MARGIN)
    }

    /// The plotting area of panel `k`.
    pub fn panel(&self, k: usize, offset: (f64, f64)) -> Rect {
        let (column, row) = ((k % self.columns) as f64, (k / self.columns) as f64);
        let x = MARGIN + column * (self.left + self.plot.0 + self.side + GUTTER) + self.left;
        let y = MARGIN
            + self.header
            + row * (self.panel_header + self.row + self.below + GUTTER * 0.6)
            + self.panel_header
            + (self.row - self.plot.1) / 2.0;
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

    /// The layout of `ready` panels. Where the frame gives a width or height, plots get as large
    /// as it allows; where they would be tiny in a row, as many stand in it as suit them best.
    pub(super) fn layout(&self, data: &Data, ready: &[Ready], frame: &Frame) -> Result<Layout> {
        const SMALL: f64 = 130.0;
        let n = ready.len();
        let columns = self.options.columns.unwrap_or(if n == 4 { 2 } else { 3 }).clamp(1, n);
        let mut best = self.layout_in(columns, data, ready, frame)?;
        if frame.width.is_some() && self.options.columns.is_none() && best.plot.0 < SMALL {
            for fewer in (1..columns).rev() {
                let layout = self.layout_in(fewer, data, ready, frame)?;
                if layout.plot.0 > best.plot.0 && best.plot.0 < SMALL {
                    best = layout;
                }
            }
        }
        Ok(best)
    }

    fn layout_in(
        &self,
        columns: usize,
        data: &Data,
        ready: &[Ready],
        frame: &Frame,
    ) -> Result<Layout> {
        let embedding = data.kind == Kind::Embedding;
        let extent = self.extent(data)?;
        // Space is to scale; the axes of an embedding have no common unit.
        let aspect = if embedding { 1.0 } else { extent.width() / extent.height() };
        let rows = ready.len().div_ceil(columns);
        let (title, axis) = (ready.iter().any(|r| r.title.is_some()), AXIS_LABEL + 8.0);
        let mut layout = Layout {
            columns,
            rows,
            plot: (0.0, 0.0),
            row: 0.0,
            side: 0.0,
            header: if ready.len() > 1 && frame.title.is_some() { TITLE + 14.0 } else { 0.0 },
            panel_header: if title { PANEL_TITLE + 10.0 } else { 0.0 },
            left: if embedding { axis } else { 0.0 },
            below: if embedding { axis } else { 0.0 },
        };
        let mut with_width = |width: f64| {
            layout.plot = (width, width / aspect);
            let sides = ready.iter().map(|r| r.side.width(layout.plot.1));
            layout.side = sides.fold(0.0, f64::max);
            let heights = ready.iter().map(|r| r.side.height(layout.plot.1));
            layout.row = heights.fold(layout.plot.1, f64::max);
            layout
        };
        if frame.width.is_none() && frame.height.is_none() {
            let room: (f64, f64) = match columns {
                1 => (500.0, 400.0),
                2 => (330.0, 320.0),
                _ => (250.0, 260.0),
            };
            return Ok(with_width(room.0.min(room.1 * aspect)));
        }
        // The largest plots that fit. A legend is the wider the less height it has, so what fits
        // is tried rather than worked out.
        let (width, height) =
            (frame.width.unwrap_or(f64::INFINITY), frame.height.unwrap_or(f64::INFINITY));
        let mut plot = width.min(height * aspect);
        while plot > 24.0 {
            let layout = with_width(plot);
            let size = layout.size();
            if size.0 <= width && size.1 <= height {
                return Ok(layout);
            }
            plot -= 1.0;
        }
        // Nothing fits beside the legends: some of them will be cut off.
        let most = (width / columns as f64).min(height / rows as f64 * aspect);
        Ok(with_width((0.45 * most).clamp(24.0, 500.0)))
    }
}
