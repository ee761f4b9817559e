//! [`Figure`]: a picture that is the value of a notebook cell.

use super::canvas::{Align, Canvas, TextStyle, VAlign};
use super::layout::MARGIN;
use super::raster::Pixels;
use super::svg;
use super::text::{fit, text_width};
use super::theme::Theme;
use crate::error::{Error, Result};
use crate::image::png;
use crate::notebook::{Bundle, Rich, show_cell_value};
use std::path::Path;

/// What a figure shows: it says how large it wants to be and draws itself.
pub trait Plot: 'static {
    /// One line of text for readers that show no pictures.
    fn describe(&self) -> String;

    /// Width and height in CSS pixels, where the frame leaves them open.
    ///
    /// # Errors
    /// Whatever keeps it from being drawn.
    fn size(&self, frame: &Frame) -> Result<(f64, f64)>;

    /// Draws on a canvas of the size that [`Plot::size`] gave.
    ///
    /// # Errors
    /// Whatever keeps it from being drawn.
    fn draw(&self, canvas: &mut Canvas, frame: &Frame) -> Result<()>;
}

/// What every figure can be told, whatever it shows.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Frame {
    /// Title above the figure.
    pub title: Option<String>,
    /// Width in CSS pixels, if it is fixed.
    pub width: Option<f64>,
    /// Height in CSS pixels, if it is fixed.
    pub height: Option<f64>,
    /// Background and text colours.
    pub theme: Theme,
}

/// Size of a figure's title.
pub(super) const TITLE: f64 = 14.0;

impl Frame {
    /// Writes the title at the top of the sheet, about `center`, or beside it where it would leave
    /// the sheet there.
    pub(super) fn draw_title(&self, canvas: &mut Canvas, center: f64) {
        let Some(title) = self.title.as_ref().filter(|t| !t.is_empty()) else { return };
        let style = TextStyle::new(TITLE, canvas.ink.text).bold();
        let title = fit(title, TITLE, true, canvas.width - 2.0 * MARGIN);
        let half = text_width(&title, TITLE, true) / 2.0 + MARGIN;
        let x = center.min(canvas.width - half).max(half);
        canvas.text(x, MARGIN, title, style.anchor(Align::Middle, VAlign::Top));
    }
}

/// A figure: the value of a notebook cell, or a file by [`Figure::save`].
///
/// It owns its data and is drawn when it is shown or saved, at two pixels for each CSS pixel.
/// Whatever is wrong with what it was given (a key that does not exist, say) is the error of that
/// moment; [`Figure::check`] asks for it earlier.
#[derive(Debug, Clone)]
pub struct Figure<P> {
    pub(crate) plot: P,
    frame: Frame,
    ratio: f64,
}

impl<P: Plot> Figure<P> {
    /// A figure of `plot`.
    pub fn new(plot: P) -> Self {
        Figure { plot, frame: Frame::default(), ratio: 2.0 }
    }

    /// Sets the title.
    pub fn title(mut self, title: impl Into<String>) -> Self {
        self.frame.title = Some(title.into());
        self
    }

    /// Sets the background and the colours of text and axes.
    pub fn theme(mut self, theme: Theme) -> Self {
        self.frame.theme = theme;
        self
    }

    /// Fixes the width, in CSS pixels; the height follows.
    pub fn width(mut self, width: impl Into<f64>) -> Self {
        self.frame.width = Some(width.into());
        self
    }

    /// Fixes width and height, in CSS pixels.
    pub fn size(mut self, width: impl Into<f64>, height: impl Into<f64>) -> Self {
        self.frame.width = Some(width.into());
        self.frame.height = Some(height.into());
        self
    }

    /// Pixels of the bitmap for each CSS pixel (2 by default).
    pub fn pixel_ratio(mut self, ratio: impl Into<f64>) -> Self {
        self.ratio = ratio.into();
        self
    }

    /// Says whether the figure can be drawn.
    ///
    /// # Errors
    /// The reason why it cannot.
    pub fn check(&self) -> Result<()> {
        self.canvas().map(|_| ())
    }

    /// Width and height in CSS pixels.
    ///
    /// # Errors
    /// The reason why it cannot be drawn.
    pub fn dimensions(&self) -> Result<(u32, u32)> {
        let (width, height) = self.measure()?;
        Ok((width as u32, height as u32))
    }

    fn measure(&self) -> Result<(f64, f64)> {
        let limits = 16.0..=8192.0;
        let sides = [("width", self.frame.width), ("height", self.frame.height)];
        for (name, side) in sides {
            if let Some(v) = side.filter(|v| !limits.contains(v)) {
                return Err(Error::parameter(name, v, "must be between 16 and 8192 CSS pixels"));
            }
        }
        if !(0.25..=8.0).contains(&self.ratio) {
            return Err(Error::parameter("pixel_ratio", self.ratio, "must be between 0.25 and 8"));
        }
        let (width, height) = self.plot.size(&self.frame)?;
        let side = |v: f64| v.round().clamp(16.0, 8192.0);
        Ok((side(width), side(height)))
    }

    fn canvas(&self) -> Result<Canvas> {
        let (width, height) = self.measure()?;
        let mut canvas = Canvas::new(width, height, self.frame.theme);
        self.plot.draw(&mut canvas, &self.frame)?;
        Ok(canvas)
    }

    /// The figure as a PNG file.
    ///
    /// # Errors
    /// The reason why it cannot be drawn.
    pub fn to_png(&self) -> Result<Vec<u8>> {
        Ok(self.render()?.0)
    }

    /// The figure as a PNG file, with the width and height in CSS pixels to show it at.
    ///
    /// # Errors
    /// The reason why it cannot be drawn.
    pub fn render(&self) -> Result<(Vec<u8>, u32, u32)> {
        let canvas = self.canvas()?;
        let pixels = Pixels::render(&canvas, self.ratio);
        let (width, height) = (pixels.width, pixels.height);
        let (bytes, channels) = pixels.into_bytes();
        let png = png(&bytes, width, height, channels)?;
        let png = with_density(png, self.ratio);
        Ok((png, canvas.width as u32, canvas.height as u32))
    }

    /// The figure as an SVG document. Text stays text; where there are thousands of spots they
    /// are one embedded bitmap.
    ///
    /// # Errors
    /// The reason why it cannot be drawn.
    pub fn to_svg(&self) -> Result<String> {
        svg::render(&self.canvas()?, self.ratio)
    }

    /// Writes the figure to a file; the extension (`.png` or `.svg`) says in which format.
    ///
    /// # Errors
    /// [`Error::Parameter`] for another extension, [`Error::Io`] when the file cannot be written,
    /// or the reason why the figure cannot be drawn.
    pub fn save(&self, path: impl AsRef<Path>) -> Result<()> {
        let path = path.as_ref();
        let extension = path.extension().and_then(|e| e.to_str()).unwrap_or("").to_lowercase();
        let bytes = match extension.as_str() {
            "png" => self.to_png()?,
            "svg" => self.to_svg()?.into_bytes(),
            _ => {
                let reason = "a figure is saved as .png or .svg";
                return Err(Error::parameter("path", path.display(), reason));
            }
        };
        // Beside and renamed, so that a crash leaves an older file whole.
        let folder = path.parent().filter(|p| !p.as_os_str().is_empty());
        let folder = folder.unwrap_or(Path::new("."));
        let io = |e| Error::io(path, e);
        let mut file =
            tempfile::Builder::new().prefix(".figure").tempfile_in(folder).map_err(io)?;
        std::io::Write::write_all(&mut file, &bytes).map_err(io)?;
        // A temporary file is private to its owner; a figure is an ordinary file.
        #[cfg(unix)]
        {
            use std::os::unix::fs::PermissionsExt;
            let mode = std::fs::Permissions::from_mode(0o644);
            file.as_file().set_permissions(mode).map_err(io)?;
        }
        file.persist(path).map_err(|e| Error::io(path, e.error))?;
        Ok(())
    }

    /// One line of text for readers that show no pictures.
    pub fn describe(&self) -> String {
        match &self.frame.title {
            Some(title) => format!("{title}: {}", self.plot.describe()),
            None => self.plot.describe(),
        }
    }
}

impl<P: Plot> Rich for Figure<P> {
    fn bundle(&self) -> Result<Bundle> {
        let (png, width, height) = self.render()?;
        Ok(Bundle::new().text(self.describe()).png(&png, width, height))
    }
}

impl<P: Plot> Figure<P> {
    /// Shows the figure; called on the value of a notebook cell.
    pub fn evcxr_display(&self) {
        show_cell_value(self);
    }
}

impl<P: Plot> std::fmt::Display for Figure<P> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(&self.describe())
    }
}

/// Adds the `pHYs` chunk, so that programs place the bitmap at its size in print (96 CSS pixels
/// are an inch).
fn with_density(mut png: Vec<u8>, ratio: f64) -> Vec<u8> {
    let per_metre = (ratio * 96.0 / 0.0254).round() as u32;
    let mut body = b"pHYs".to_vec();
    body.extend(per_metre.to_be_bytes());
    body.extend(per_metre.to_be_bytes());
    body.push(1);
    let mut crc = flate2::Crc::new();
    crc.update(&body);
    let mut chunk = 9u32.to_be_bytes().to_vec();
    chunk.extend(body);
    chunk.extend(crc.sum().to_be_bytes());
    // After the signature (8 bytes) and IHDR (25).
    png.splice(33..33, chunk);
    png
}
