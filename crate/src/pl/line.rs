//! Curves: [`line`] and [`loss_curve`]. The axes are plotters', with our ticks and on our canvas.

use super::axis::{Axis, Chart};
use super::canvas::{Align, Canvas, Rect, TextStyle, VAlign};
use super::figure::{Figure, Frame, Plot};
use super::palette::{Color, default_colors};
use super::text::{fit, text_width};
use crate::error::{Error, Result};

/// A named curve.
#[derive(Debug, Clone, PartialEq)]
pub struct Series {
    /// Its name in the legend.
    pub name: String,
    /// x and y of its points. A gap is left where either is no finite number.
    pub points: Vec<(f64, f64)>,
}

impl<S: ToString> From<(S, Vec<f64>)> for Series {
    /// y at x = 1, 2, 3, ….
    fn from((name, y): (S, Vec<f64>)) -> Self {
        let points = y.into_iter().enumerate().map(|(i, y)| (i as f64 + 1.0, y)).collect();
        Series { name: name.to_string(), points }
    }
}

impl<S: ToString> From<(S, Vec<(f64, f64)>)> for Series {
    fn from((name, points): (S, Vec<(f64, f64)>)) -> Self {
        Series { name: name.to_string(), points }
    }
}

impl<S: ToString, Y: Clone> From<(S, &Vec<Y>)> for Series
where
    Series: From<(S, Vec<Y>)>,
{
    /// A copy; so a map from names to values can be given by reference.
    fn from((name, y): (S, &Vec<Y>)) -> Self {
        (name, y.clone()).into()
    }
}

impl<S: Clone, Y: Clone> From<&(S, Vec<Y>)> for Series
where
    Series: From<(S, Vec<Y>)>,
{
    fn from(pair: &(S, Vec<Y>)) -> Self {
        pair.clone().into()
    }
}

/// Curves over common axes.
#[derive(Debug, Clone)]
pub struct Lines {
    series: Vec<Series>,
    xlabel: String,
    ylabel: String,
    log: (bool, bool),
    xlim: Option<(f64, f64)>,
    ylim: Option<(f64, f64)>,
    legend: bool,
    width: f64,
    markers: bool,
}

/// Curves through points, each a name with its values (at x = 1, 2, …) or with pairs of x and y.
///
/// ```
/// use spatialkit::pl;
/// let figure = pl::line([("train", vec![3.0, 1.5, 0.9]), ("test", vec![3.1, 1.8, 1.4])]);
/// assert!(figure.xlabel("step").log_y(true).to_png().is_ok());
/// ```
pub fn line<T: Into<Series>>(series: impl IntoIterator<Item = T>) -> Figure<Lines> {
    Figure::new(Lines {
        series: series.into_iter().map(Into::into).collect(),
        xlabel: String::new(),
        ylabel: String::new(),
        log: (false, false),
        xlim: None,
        ylim: None,
        legend: true,
        width: 1.75,
        markers: false,
    })
}

/// Losses by epoch: [`line`] with its axes labelled.
pub fn loss_curve<T: Into<Series>>(series: impl IntoIterator<Item = T>) -> Figure<Lines> {
    line(series).xlabel("epoch").ylabel("loss")
}

impl Figure<Lines> {
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

    /// Whether the x axis is logarithmic; points at or below 0 are then left out.
    pub fn log_x(mut self, on: bool) -> Self {
        self.plot.log.0 = on;
        self
    }

    /// Whether the y axis is logarithmic; points at or below 0 are then left out.
    pub fn log_y(mut self, on: bool) -> Self {
        self.plot.log.1 = on;
        self
    }

    /// Ends of the x axis.
    pub fn xlim(mut self, low: f64, high: f64) -> Self {
        self.plot.xlim = Some((low, high));
        self
    }

    /// Ends of the y axis.
    pub fn ylim(mut self, low: f64, high: f64) -> Self {
        self.plot.ylim = Some((low, high));
        self
    }

    /// Whether there is a legend, if there are several curves (on by default).
    pub fn legend(mut self, on: bool) -> Self {
        self.plot.legend = on;
        self
    }

    /// Width of the curves in CSS pixels, above 0.
    pub fn line_width(mut self, width: f64) -> Self {
        self.plot.width = width;
        self
    }

    /// Whether every point gets a dot.
    pub fn markers(mut self, on: bool) -> Self {
        self.plot.markers = on;
        self
    }
}

const LEGEND: f64 = 11.5;
const SWATCH: f64 = 18.0;

impl Lines {
    fn axes(&self) -> Result<(Axis, Axis)> {
        if !(self.width > 0.0 && self.width.is_finite()) {
            return Err(Error::parameter("line_width", self.width, "must be a positive number"));
        }
        let usable = |p: &&(f64, f64)| {
            let fine = |v: f64, log: bool| v.is_finite() && (!log || v > 0.0);
            fine(p.0, self.log.0) && fine(p.1, self.log.1)
        };
        let all = || self.series.iter().flat_map(|s| &s.points).filter(usable);
        if self.series.iter().all(|s| s.points.is_empty()) {
            return Err(Error::data("line", "there are no points to draw"));
        }
        if all().next().is_none() {
            let log =
                if self.log.0 || self.log.1 { " and positive, for a logarithmic axis" } else { "" };
            return Err(Error::data("line", format!("no point is finite{log}")));
        }
        let x = Axis::new("xlim", all().map(|p| p.0), self.xlim, self.log.0, 0.0)?;
        let y = Axis::new("ylim", all().map(|p| p.1), self.ylim, self.log.1, 0.06)?;
        Ok((x, y))
    }

    /// Runs of points without a gap.
    fn runs(&self, series: &Series) -> Vec<Vec<(f64, f64)>> {
        let fine = |v: f64, log: bool| v.is_finite() && (!log || v > 0.0);
        series
            .points
            .split(|p| !(fine(p.0, self.log.0) && fine(p.1, self.log.1)))
            .filter(|run| !run.is_empty())
            .map(thinned)
            .collect()
    }
}

/// A run of points without those that cannot be seen: of each of 4,000 stretches the first, the
/// lowest, the highest and the last.
fn thinned(run: &[(f64, f64)]) -> Vec<(f64, f64)> {
    const STRETCHES: usize = 4000;
    if run.len() <= 4 * STRETCHES {
        return run.to_vec();
    }
    let keep = |stretch: &[(f64, f64)]| {
        let by = |a: &usize, b: &usize| stretch[*a].1.total_cmp(&stretch[*b].1);
        let low = (0..stretch.len()).min_by(by).unwrap_or(0);
        let high = (0..stretch.len()).max_by(by).unwrap_or(0);
        let mut keep = [0, low, high, stretch.len() - 1];
        keep.sort_unstable();
        keep.map(|i| stretch[i])
    };
    run.chunks(run.len().div_ceil(STRETCHES)).flat_map(keep).collect()
}

impl Plot for Lines {
    fn describe(&self) -> String {
        let names: Vec<&str> = self.series.iter().map(|s| s.name.as_str()).collect();
        format!("curves of {}", names.join(", "))
    }

    fn size(&self, frame: &Frame) -> Result<(f64, f64)> {
        self.axes()?;
        let width = frame.width.unwrap_or(600.0);
        Ok((width, frame.height.unwrap_or((0.56 * width).clamp(120.0, 420.0))))
    }

    fn draw(&self, canvas: &mut Canvas, frame: &Frame) -> Result<()> {
        let (x, y) = self.axes()?;
        let colors: Vec<Color> = default_colors(self.series.len());
        let shown = self.legend && (self.series.len() > 1);
        let names: Vec<String> =
            self.series.iter().map(|s| fit(&s.name, LEGEND, false, 160.0)).collect();
        let widest = names.iter().map(|n| text_width(n, LEGEND, false)).fold(0.0, f64::max);
        let chart = Chart {
            title: frame.title.as_deref(),
            xlabel: &self.xlabel,
            ylabel: &self.ylabel,
            right: if shown { 14.0 + SWATCH + 7.0 + widest } else { 0.0 },
        };
        let plot = chart.draw(canvas, &x, &y)?;
        let around =
            Rect { x0: plot.x0 - 3.0, y0: plot.y0 - 3.0, x1: plot.x1 + 3.0, y1: plot.y1 + 3.0 };
        canvas.clipped(around, |canvas| {
            for (series, &color) in self.series.iter().zip(&colors) {
                for run in self.runs(series) {
                    let at = |p: &(f64, f64)| {
                        let x = plot.x0 + x.position(p.0) * plot.width();
                        (x, plot.y1 - y.position(p.1) * plot.height())
                    };
                    let points: Vec<_> = run.iter().map(at).collect();
                    if self.markers || points.len() == 1 {
                        let centers = points.iter().map(|p| [p.0 as f32, p.1 as f32]).collect();
                        let dots = vec![color; points.len()];
                        let radius = 1.6 * self.width;
                        canvas.spots(super::canvas::SpotShape::Circle, centers, radius, dots);
                    }
                    canvas.line(points, self.width, color);
                }
            }
        });
        if shown {
            let row = 19.0;
            let top = plot.y0 + 4.0;
            for (k, (name, &color)) in names.iter().zip(&colors).enumerate() {
                let (x, y) = (plot.x1 + 14.0, top + (k as f64 + 0.5) * row);
                canvas.line([(x, y), (x + SWATCH, y)], 2.0 * self.width.min(2.0) / 1.6, color);
                let style =
                    TextStyle::new(LEGEND, canvas.ink.text).anchor(Align::Start, VAlign::Middle);
                canvas.text(x + SWATCH + 7.0, y, name, style);
            }
        }
        Ok(())
    }
}
