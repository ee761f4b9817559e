//! Figures drawn with plotters by the user.

use super::canvas::Canvas;
use super::figure::{Figure, Frame, Plot, TITLE};
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
/// antialiasing, at two pixels for each of plotters', as PNG or SVG. A title stands above what is
/// drawn. A width set later keeps the chart's proportions.
///
/// plotters draws axes and text in black. Black, white and greys are therefore taken as from text to
/// background and follow the theme (save in [`Theme::Light`](super::Theme::Light), which they fit);
/// all other colours stay.
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
        let scale = frame.width.map_or(1.0, |w| w / width);
        let height = frame.height.unwrap_or(height * scale + header(frame));
        Ok((frame.width.unwrap_or(width), height))
    }

    fn draw(&self, canvas: &mut Canvas, frame: &Frame) -> Result<()> {
        let header = header(frame);
        frame.draw_title(canvas, canvas.width / 2.0);
        let (_, area) = Pen::themed(canvas, frame.theme).split_vertically(header as u32);
        (self.draw)(&area).map_err(|e| Error::Figure(e.to_string()))
    }
}

/// Height of the title, if there is one.
fn header(frame: &Frame) -> f64 {
    if frame.title.as_ref().is_some_and(|t| !t.is_empty()) { TITLE + 12.0 } else { 0.0 }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::pl::Theme;
    use plotters::style::{BLACK, Color as _, RED, WHITE};

    #[test]
    fn greys_follow_the_theme_and_colours_stay() {
        let drawn = |theme| {
            let figure = custom(90, 40, |area| {
                for (k, color) in
                    [BLACK.to_rgba(), RED.to_rgba(), WHITE.mix(0.5)].iter().enumerate()
                {
                    let x = 30 * k as i32;
                    area.draw(&plotters::element::Rectangle::new(
                        [(x, 0), (x + 30, 40)],
                        plotters::style::ShapeStyle::from(color).filled(),
                    ))?;
                }
                Ok(())
            });
            figure.theme(theme).to_svg().unwrap()
        };
        let (light, dark, auto) = (drawn(Theme::Light), drawn(Theme::Dark), drawn(Theme::Auto));
        for (svg, black) in [(&light, "#000000"), (&dark, "#e0e0e0"), (&auto, "#787878")] {
            assert!(svg.contains(black) && svg.contains("#ff0000"), "{svg}");
        }
        assert!(!dark.contains("#ffffff") && light.contains("#ffffff"));
    }

    #[test]
    fn a_title_takes_room_of_its_own_and_a_width_keeps_proportions() {
        let figure = || {
            custom(300, 200, |area| {
                assert_eq!(area.dim_in_pixel(), (600, 400));
                Ok(())
            })
        };
        let wide = figure().width(600.0).title("Above");
        assert!(wide.to_svg().unwrap().contains("Above"));
        let (_, width, height) = wide.render().unwrap();
        assert_eq!((width, height), (600, 426));
    }
}
