//! Figures drawn with plotters by the user.

use super::canvas::Canvas;
use super::figure::{Figure, Frame, Plot};
use super::pen::Pen;
use crate::error::{Error, Result};
use plotters::coord::Shift;
use plotters::drawing::DrawingArea;
use std::sync::Arc;

type Draw = dyn Fn(&DrawingArea<Pen<'_>, Shift>) -> std::result::Result<(), Box<dyn std::error::Error>>
    + Send
    + Sync;

/// A chart made with plotters.
#[derive(Clone)]
pub struct Custom {
    size: (u32, u32),
    draw: Arc<Draw>,
}

impl std::fmt::Debug for Custom {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Custom({} × {})", self.size.0, self.size.1)
    }
}

/// Any chart that [plotters](https://docs.rs/plotters) can draw, as a figure like the others: with
/// antialiasing, at two pixels for each of plotters', as PNG or SVG.
///
/// ```
/// use plotters::prelude::*;
/// use spatialkit::{plotters, pl};
/// let figure = pl::custom(300, 200, |area| {
///     let mut chart = ChartBuilder::on(area).margin(10).build_cartesian_2d(0.0..1.0, 0.0..1.0)?;
///     chart.configure_mesh().draw()?;
///     chart.draw_series(LineSeries::new([(0.0, 0.0), (1.0, 1.0)], BLUE))?;
///     Ok(())
/// });
/// assert!(figure.to_svg().is_ok());
/// ```
pub fn custom<F>(width: u32, height: u32, draw: F) -> Figure<Custom>
where
    F: Fn(&DrawingArea<Pen<'_>, Shift>) -> std::result::Result<(), Box<dyn std::error::Error>>
        + Send
        + Sync
        + 'static,
{
    Figure::new(Custom { size: (width, height), draw: Arc::new(draw) })
}

impl Plot for Custom {
    fn describe(&self) -> String {
        format!("chart of {} × {} pixels", self.size.0, self.size.1)
    }

    fn size(&self, frame: &Frame) -> Result<(f64, f64)> {
        let (width, height) = (f64::from(self.size.0), f64::from(self.size.1));
        Ok((frame.width.unwrap_or(width), frame.height.unwrap_or(height)))
    }

    fn draw(&self, canvas: &mut Canvas, _: &Frame) -> Result<()> {
        let area = Pen::area(canvas, 1);
        (self.draw)(&area).map_err(|e| Error::Figure(e.to_string()))
    }
}
