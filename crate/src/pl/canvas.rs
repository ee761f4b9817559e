//! [`Canvas`]: what a figure is drawn on. It keeps marks at positions in CSS pixels; `raster`
//! turns them into pixels and `svg` into text, so that both show the same picture.

use super::palette::Color;
use super::theme::{Ink, Theme};
use crate::image::Image;
use std::sync::Arc;

/// A rectangle in CSS pixels, y pointing down.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Rect {
    /// Left edge.
    pub x0: f64,
    /// Top edge.
    pub y0: f64,
    /// Right edge.
    pub x1: f64,
    /// Bottom edge.
    pub y1: f64,
}

impl Rect {
    /// From the top left corner and the size.
    pub fn at(x: f64, y: f64, width: f64, height: f64) -> Self {
        Rect { x0: x, y0: y, x1: x + width, y1: y + height }
    }

    /// Right minus left.
    pub fn width(&self) -> f64 {
        self.x1 - self.x0
    }

    /// Bottom minus top.
    pub fn height(&self) -> f64 {
        self.y1 - self.y0
    }

    /// Half way between left and right.
    pub fn center_x(&self) -> f64 {
        (self.x0 + self.x1) / 2.0
    }

    /// Half way between top and bottom.
    pub fn center_y(&self) -> f64 {
        (self.y0 + self.y1) / 2.0
    }

    /// What lies in both.
    pub(crate) fn intersect(&self, other: &Rect) -> Rect {
        let (x0, y0) = (self.x0.max(other.x0), self.y0.max(other.y0));
        let (x1, y1) = (self.x1.min(other.x1).max(x0), self.y1.min(other.y1).max(y0));
        Rect { x0, y0, x1, y1 }
    }
}

/// Outline of a spot on a map.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum SpotShape {
    /// A disc.
    #[default]
    Circle,
    /// A square with the spot's diameter as its side, for data on a square grid.
    Square,
    /// A hexagon that stands on a corner, with the spot's diameter as its width, for data on a
    /// hexagonal grid.
    Hexagon,
}

/// Where a text's anchor is along its line.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Align {
    /// The text starts at the anchor.
    Start,
    /// The text is centred on the anchor.
    Middle,
    /// The text ends at the anchor.
    End,
}

/// Which height of a text is at the anchor.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum VAlign {
    /// The top of capital letters.
    Top,
    /// Half the height of capital letters.
    Middle,
    /// The line that letters stand on.
    Baseline,
}

/// How a text looks.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct TextStyle {
    /// Size of the em square in CSS pixels.
    pub size: f64,
    /// Whether it is bold.
    pub bold: bool,
    /// Its colour.
    pub color: Color,
    /// Where the anchor is along the line.
    pub align: Align,
    /// Which height the anchor is at.
    pub valign: VAlign,
    /// Whether it reads from bottom to top.
    pub upward: bool,
}

impl TextStyle {
    /// Regular text that starts at its anchor, which is half way up its capitals.
    pub fn new(size: f64, color: Color) -> Self {
        let (align, valign) = (Align::Start, VAlign::Middle);
        TextStyle { size, bold: false, color, align, valign, upward: false }
    }

    /// The same in bold.
    pub fn bold(self) -> Self {
        TextStyle { bold: true, ..self }
    }

    /// The same with its anchor elsewhere.
    pub fn anchor(self, align: Align, valign: VAlign) -> Self {
        TextStyle { align, valign, ..self }
    }

    /// The same, reading from bottom to top.
    pub fn upward(self) -> Self {
        TextStyle { upward: true, ..self }
    }
}

#[derive(Debug, Clone)]
pub(crate) enum Shape {
    Fill(Rect, Color),
    Line {
        points: Vec<[f32; 2]>,
        width: f32,
        color: Color,
        dash: Option<f32>,
    },
    Polygon {
        points: Vec<[f32; 2]>,
        color: Color,
    },
    /// Ends of many thin lines: x and y of the one and of the other.
    Segments {
        ends: Vec<[f32; 4]>,
        width: f32,
        color: Color,
    },
    Spots {
        shape: SpotShape,
        centers: Vec<[f32; 2]>,
        radius: f32,
        colors: Vec<Color>,
    },
    Picture {
        image: Arc<Image>,
        area: Rect,
        alpha: f32,
    },
    Text {
        x: f64,
        y: f64,
        text: String,
        style: TextStyle,
    },
}

#[derive(Debug, Clone)]
pub(crate) struct Mark {
    pub clip: Option<Rect>,
    pub shape: Shape,
}

/// A sheet of `width` × `height` CSS pixels that remembers what was drawn on it.
#[derive(Debug)]
pub struct Canvas {
    /// Width in CSS pixels.
    pub width: f64,
    /// Height in CSS pixels.
    pub height: f64,
    /// The colours of text, axes and grid.
    pub ink: Ink,
    pub(crate) marks: Vec<Mark>,
    clip: Option<Rect>,
}

impl Canvas {
    pub(crate) fn new(width: f64, height: f64, theme: Theme) -> Self {
        Canvas { width, height, ink: theme.ink(), marks: Vec::new(), clip: None }
    }

    /// The whole sheet.
    pub fn area(&self) -> Rect {
        Rect::at(0.0, 0.0, self.width, self.height)
    }

    /// Draws with everything outside `area` left off.
    pub fn clipped(&mut self, area: Rect, draw: impl FnOnce(&mut Canvas)) {
        let before = self.clip;
        self.clip = Some(before.map_or(area, |b| b.intersect(&area)));
        draw(self);
        self.clip = before;
    }

    /// Fills a rectangle.
    pub fn fill(&mut self, area: Rect, color: impl Into<Color>) {
        self.push(Shape::Fill(area, color.into()));
    }

    /// Outlines a rectangle.
    pub fn outline(&mut self, r: Rect, width: f64, color: impl Into<Color>) {
        let color = color.into();
        let corners = [(r.x0, r.y0), (r.x1, r.y0), (r.x1, r.y1), (r.x0, r.y1)];
        for k in 0..4 {
            let (a, b) = (corners[k], corners[(k + 1) % 4]);
            self.line([a, b], width, color);
        }
    }

    /// Draws a line through points, with round corners and ends.
    pub fn line(
        &mut self,
        points: impl IntoIterator<Item = (f64, f64)>,
        width: f64,
        color: impl Into<Color>,
    ) {
        let points = points.into_iter().map(|(x, y)| [x as f32, y as f32]).collect();
        let (width, color) = (width as f32, color.into());
        self.push(Shape::Line { points, width, color, dash: None });
    }

    /// Draws a dashed line; `dash` is the length of a dash and of a gap.
    pub fn dashed(
        &mut self,
        points: impl IntoIterator<Item = (f64, f64)>,
        width: f64,
        color: impl Into<Color>,
        dash: f64,
    ) {
        let points = points.into_iter().map(|(x, y)| [x as f32, y as f32]).collect();
        let (width, color) = (width as f32, color.into());
        self.push(Shape::Line { points, width, color, dash: Some(dash as f32) });
    }

    /// Fills a polygon.
    pub fn polygon(
        &mut self,
        points: impl IntoIterator<Item = (f64, f64)>,
        color: impl Into<Color>,
    ) {
        let points = points.into_iter().map(|(x, y)| [x as f32, y as f32]).collect();
        self.push(Shape::Polygon { points, color: color.into() });
    }

    /// Draws spots of one size, each with its colour.
    pub fn spots(
        &mut self,
        shape: SpotShape,
        centers: Vec<[f32; 2]>,
        radius: f64,
        colors: Vec<Color>,
    ) {
        debug_assert_eq!(centers.len(), colors.len());
        self.push(Shape::Spots { shape, centers, radius: radius as f32, colors });
    }

    /// Draws many straight lines of one width and colour.
    pub fn segments(&mut self, ends: Vec<[f32; 4]>, width: f64, color: impl Into<Color>) {
        self.push(Shape::Segments { ends, width: width as f32, color: color.into() });
    }

    /// Writes a text with a rim of another colour, so that it reads on anything.
    pub fn text_on(
        &mut self,
        x: f64,
        y: f64,
        text: &str,
        style: TextStyle,
        rim: impl Into<Color>,
        width: f64,
    ) {
        let around = TextStyle { color: rim.into(), ..style };
        for k in 0..12 {
            let angle = f64::from(k) * std::f64::consts::TAU / 12.0;
            self.text(x + width * angle.cos(), y + width * angle.sin(), text, around);
        }
        self.text(x, y, text, style);
    }

    /// Draws one disc.
    pub fn disc(&mut self, x: f64, y: f64, radius: f64, color: impl Into<Color>) {
        let colors = vec![color.into()];
        self.spots(SpotShape::Circle, vec![[x as f32, y as f32]], radius, colors);
    }

    /// Draws a picture, stretched over `area`.
    pub fn picture(&mut self, image: Arc<Image>, area: Rect, alpha: f64) {
        self.push(Shape::Picture { image, area, alpha: alpha as f32 });
    }

    /// Writes a text.
    pub fn text(&mut self, x: f64, y: f64, text: impl Into<String>, style: TextStyle) {
        self.push(Shape::Text { x, y, text: text.into(), style });
    }

    fn push(&mut self, shape: Shape) {
        self.marks.push(Mark { clip: self.clip, shape });
    }
}
