//! Bars: [`bar`] and [`histogram`].

use super::axis::{Axis, Chart};
use super::canvas::{Canvas, Rect};
use super::figure::{Figure, Frame, Plot};
use super::palette::{Color, default_colors};
use crate::error::{Error, Result};

/// Bars over named places or over intervals.
#[derive(Debug, Clone)]
pub struct Bars {
    names: Option<Vec<String>>,
    /// Left end, right end and height of each.
    bars: Vec<(f64, f64, f64)>,
    xlabel: String,
    ylabel: String,
    color: Option<Color>,
}

/// One bar for each name; where the height is not finite there is the name and no bar. Without any
/// finite height the figure cannot be drawn.
///
/// ```
/// use spatialkit::pl;
/// assert!(pl::bar([("ARI", 0.61), ("NMI", 0.7)]).to_png().is_ok());
/// ```
pub fn bar<S: ToString>(heights: impl IntoIterator<Item = (S, f64)>) -> Figure<Bars> {
    let (names, heights): (Vec<String>, Vec<f64>) =
        heights.into_iter().map(|(n, h)| (n.to_string(), h)).unzip();
    let place = |(i, h): (usize, f64)| (i as f64 - 0.36, i as f64 + 0.36, h);
    let bars = heights.into_iter().enumerate().map(place).collect();
    Figure::new(Bars {
        names: Some(names),
        bars,
        xlabel: String::new(),
        ylabel: String::new(),
        color: None,
    })
}

/// How many of `values` fall into each of `bins` intervals of equal width: at least 1 and at most
/// 10,000, whatever is asked for. Values that are not finite are left out.
pub fn histogram(values: &[f64], bins: usize) -> Figure<Bars> {
    let finite = || values.iter().copied().filter(|v| v.is_finite());
    let low = finite().fold(f64::INFINITY, f64::min);
    let high = finite().fold(f64::NEG_INFINITY, f64::max);
    let (low, high) = if low < high { (low, high) } else { (low - 0.5, low + 0.5) };
    let bins = bins.clamp(1, 10_000);
    let step = (high - low) / bins as f64;
    let mut counts = vec![0usize; bins];
    for v in finite() {
        counts[(((v - low) / step) as usize).min(bins - 1)] += 1;
    }
    let bar =
        |(i, &n): (usize, &usize)| (low + i as f64 * step, low + (i + 1) as f64 * step, n as f64);
    let bars =
        if low.is_finite() { counts.iter().enumerate().map(bar).collect() } else { Vec::new() };
    let (xlabel, ylabel) = (String::new(), "count".into());
    Figure::new(Bars { names: None, bars, xlabel, ylabel, color: None })
}

impl Figure<Bars> {
    /// Label of the x axis.
    pub fn xlabel(mut self, label: impl Into<String>) -> Self {
        self.plot.xlabel = label.into();
        self
    }

    /// Label of the y axis.
    pub fn ylabel(mut self, label: impl Into<String>) -> Self {
        self.plot.ylabel = label.into();
        self
    }

    /// Colour of the bars; what is no colour leaves the default.
    pub fn color(mut self, color: &str) -> Self {
        self.plot.color = Color::parse(color);
        self
    }
}

impl Bars {
    fn axes(&self) -> Result<(Axis, Axis)> {
        let heights = self.bars.iter().map(|b| b.2).filter(|h| h.is_finite());
        if heights.clone().next().is_none() {
            return Err(Error::data("bars", "there are no finite values to draw"));
        }
        let x = match &self.names {
            Some(names) => Axis::of_names(names),
            None => {
                let ends = self.bars.iter().flat_map(|b| [b.0, b.1]);
                Axis::new("xlim", ends, None, false, 0.0)?
            }
        };
        let y = Axis::new("ylim", heights.chain([0.0]), None, false, 0.06)?;
        Ok((x, y))
    }
}

impl Plot for Bars {
    fn describe(&self) -> String {
        format!("{} bars", self.bars.len())
    }

    fn size(&self, frame: &Frame) -> Result<(f64, f64)> {
        self.axes()?;
        let width = frame.width.unwrap_or(520.0);
        Ok((width, frame.height.unwrap_or((0.58 * width).clamp(120.0, 420.0))))
    }

    fn draw(&self, canvas: &mut Canvas, frame: &Frame) -> Result<()> {
        let (x, y) = self.axes()?;
        let title = frame.title.as_deref();
        let chart = Chart { title, xlabel: &self.xlabel, ylabel: &self.ylabel, right: 0.0 };
        let plot = chart.draw(canvas, &x, &y)?;
        let color = self.color.unwrap_or(default_colors(1)[0]);
        let zero = plot.y1 - y.position(0.0) * plot.height();
        // Histogram bars touch but for a hair's breadth.
        let gap = if self.names.is_some() { 0.0 } else { 0.5 };
        for &(from, to, height) in self.bars.iter().filter(|b| b.2.is_finite()) {
            let top = plot.y1 - y.position(height) * plot.height();
            let x0 = plot.x0 + x.position(from) * plot.width() + gap;
            let x1 = plot.x0 + x.position(to) * plot.width() - gap;
            let area = Rect { x0, x1: x1.max(x0 + 0.5), y0: top.min(zero), y1: top.max(zero) };
            canvas.fill(area, color);
        }
        let ink = canvas.ink;
        canvas.line([(plot.x0, zero), (plot.x1, zero)], 1.0, ink.axis);
        Ok(())
    }
}
