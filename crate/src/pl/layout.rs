//! How the panels of a [`PointMap`] share the sheet, with what stands beside and above them.

use super::axis::Axis;
use super::canvas::Rect;
use super::figure::{Frame, TITLE};
use super::panel::{AXIS_LABEL, PANEL_TITLE, Ready};
use super::points::{Data, Kind, PointMap, View};
use crate::error::{Error, Result};

/// Around everything.
pub(super) const MARGIN: f64 = 10.0;
/// Between panels.
const GUTTER: f64 = 22.0;
/// Between a plot and the legend below it.
const BELOW: f64 = 8.0;

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
    /// Legends and colour bars below the plots.
    side_below: f64,
    /// Between panels, across and down.
    gutter: (f64, f64),
}

impl Layout {
    /// Size of the whole.
    pub fn size(&self) -> (f64, f64) {
        let (columns, rows) = (self.columns as f64, self.rows as f64);
        let across = self.left + self.plot.0 + self.side;
        let down = self.panel_header + self.row + self.below + self.side_below;
        let width = columns * across + (columns - 1.0) * self.gutter.0;
        let height = self.header + rows * down + (rows - 1.0) * self.gutter.1;
        (width + 2.0 * MARGIN, height + 2.0 * MARGIN)
    }

    /// The plotting area of panel `k`.
    pub fn panel(&self, k: usize, offset: (f64, f64)) -> Rect {
        let (column, row) = ((k % self.columns) as f64, (k / self.columns) as f64);
        let across = self.left + self.plot.0 + self.side + self.gutter.0;
        let down = self.panel_header + self.row + self.below + self.side_below + self.gutter.1;
        let x = MARGIN + column * across + self.left;
        let y =
            MARGIN + self.header + row * down + self.panel_header + (self.row - self.plot.1) / 2.0;
        Rect::at(x + offset.0, y + offset.1, self.plot.0, self.plot.1)
    }

    /// Where what stands below a plot begins, from the plot's lower edge.
    pub fn below(&self) -> f64 {
        self.below + BELOW
    }
}

impl PointMap {
    /// The part of the plane that is shown of a view.
    pub(super) fn extent(&self, kind: Kind, view: &View) -> Result<Rect> {
        if let Some(crop) = self.options.crop {
            if crop.width() > 0.0
                && crop.height() > 0.0
                && (crop.width() + crop.height()).is_finite()
            {
                return Ok(crop);
            }
            return Err(Error::parameter("crop", format!("{crop:?}"), "is an empty area"));
        }
        let finite = view.points.iter().filter(|p| p[0].is_finite() && p[1].is_finite());
        let mut r = Rect { x0: f64::MAX, y0: f64::MAX, x1: f64::MIN, y1: f64::MIN };
        for p in finite {
            r.x0 = r.x0.min(p[0]);
            r.x1 = r.x1.max(p[0]);
            r.y0 = r.y0.min(p[1]);
            r.y1 = r.y1.max(p[1]);
        }
        let longest = r.width().max(r.height());
        let pad = match kind {
            // Its axes make room for themselves.
            Kind::Scatter => return Ok(r),
            Kind::Embedding => 0.04 * longest,
            Kind::Spatial => {
                let around = view.spacing.max(view.diameter.unwrap_or(0.0));
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

    /// The axes of a scatter plot.
    pub(super) fn scales(&self, view: &View) -> Result<(Axis, Axis)> {
        let o = &self.options;
        let axis = |name: &'static str, c: usize, log: bool| {
            let other = 1 - c;
            let shown = view.points.iter().filter(move |p| p[other].is_finite());
            let values = shown.map(move |p| p[c]).filter(|v| v.is_finite());
            if log && values.clone().any(|v| v <= 0.0) {
                let reason = "a logarithmic axis cannot show values at or below 0";
                return Err(Error::parameter(name, "log", reason));
            }
            let crop = o.crop.map(|r| if c == 0 { (r.x0, r.x1) } else { (r.y0, r.y1) });
            Axis::new(name, values, crop, log, 0.04)
        };
        Ok((axis("x", 0, o.log.0)?, axis("y", 1, o.log.1)?))
    }

    /// The layout of `ready` panels. Where the frame gives a width or height, plots get as large
    /// as it allows; where they would be tiny in a row, as many stand in it as suit them best.
    pub(super) fn layout(&self, data: &Data, ready: &[Ready<'_>], frame: &Frame) -> Result<Layout> {
        const SMALL: f64 = 130.0;
        let n = ready.len();
        let columns = self.options.columns.unwrap_or(self.usual_columns(data, n)).clamp(1, n);
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

    /// Slices by keys: a row (or a column) of panels for each.
    fn usual_columns(&self, data: &Data, n: usize) -> usize {
        let (views, paints) = (data.views.len(), data.paints.len());
        let group = if self.options.library_first { paints } else { views };
        match n {
            _ if views > 1 && paints > 1 && group <= 4 => group,
            4 => 2,
            _ => 3,
        }
    }

    fn layout_in(
        &self,
        columns: usize,
        data: &Data,
        ready: &[Ready<'_>],
        frame: &Frame,
    ) -> Result<Layout> {
        // Space is to scale; the axes of an embedding have no common unit. Views of different
        // shapes share one that suits the middle one.
        let aspect = match data.kind {
            Kind::Spatial => {
                let aspect = |v: &View| {
                    let extent = self.extent(data.kind, v)?;
                    Ok(extent.width() / extent.height())
                };
                let mut all = data.views.iter().map(aspect).collect::<Result<Vec<f64>>>()?;
                all.sort_by(f64::total_cmp);
                all.get(all.len() / 2).copied().unwrap_or(1.0)
            }
            Kind::Embedding => 1.0,
            Kind::Scatter => 1.15,
        };
        let (left, below) = match data.kind {
            Kind::Spatial => (0.0, 0.0),
            Kind::Embedding => (AXIS_LABEL + 8.0, AXIS_LABEL + 8.0),
            Kind::Scatter => {
                let mut widest = 0.0f64;
                for view in &data.views {
                    widest = widest.max(self.scales(view)?.1.widest());
                }
                (widest + AXIS_LABEL + 20.0, 2.0 * AXIS_LABEL + 18.0)
            }
        };
        let rows = ready.len().div_ceil(columns);
        let title = ready.iter().any(|r| r.title.is_some());
        let mut layout = Layout {
            columns,
            rows,
            plot: (0.0, 0.0),
            row: 0.0,
            side: 0.0,
            header: if ready.len() > 1 && frame.title.is_some() { TITLE + 14.0 } else { 0.0 },
            panel_header: if title { PANEL_TITLE + 10.0 } else { 0.0 },
            left,
            below,
            side_below: 0.0,
            gutter: (GUTTER, 0.6 * GUTTER),
        };
        let (wspace, hspace) = (self.options.wspace, self.options.hspace);
        let mut with_width = |width: f64| {
            layout.plot = (width, width / aspect);
            let sides = ready.iter().map(|r| r.side.width(layout.plot.1));
            layout.side = sides.fold(0.0, f64::max);
            let heights = ready.iter().map(|r| r.side.height(layout.plot.1));
            layout.row = heights.fold(layout.plot.1, f64::max);
            let heights = ready.iter().map(|r| r.side.below(layout.plot.0));
            layout.side_below = heights.fold(0.0, f64::max);
            if layout.side_below > 0.0 {
                layout.side_below += BELOW;
            }
            layout.gutter.0 = wspace.map_or(GUTTER, |s| s * layout.plot.0);
            layout.gutter.1 = hspace.map_or(0.6 * GUTTER, |s| s * layout.plot.1);
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
