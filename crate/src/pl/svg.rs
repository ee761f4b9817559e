//! Marks to SVG. Text stays text; pictures, and spots where there are many, are embedded as PNG.

use super::canvas::{Canvas, Mark, Rect, Shape, SpotShape};
use super::palette::Color;
use super::raster::Pixels;
use super::text::{self, CSS_FAMILY};
use crate::error::Result;
use crate::image::{Filter, png};
use base64::Engine;
use std::fmt::Write;

/// Above this many spots a vector file is slower to show than a bitmap.
const MANY: usize = 3000;

/// The canvas as an SVG document; bitmaps in it have `ratio` pixels for each CSS pixel.
pub(crate) fn render(canvas: &Canvas, ratio: f64) -> Result<String> {
    let (w, h) = (num(canvas.width), num(canvas.height));
    let mut out = format!(
        "<svg xmlns=\"http://www.w3.org/2000/svg\" width=\"{w}\" height=\"{h}\" \
         viewBox=\"0 0 {w} {h}\" font-family=\"{CSS_FAMILY}\">\n"
    );
    if let Some(color) = canvas.ink.background {
        let _ = writeln!(out, "<rect width=\"{w}\" height=\"{h}\" {}/>", paint("fill", color));
    }
    let mut clips: Vec<Rect> = Vec::new();
    for mark in &canvas.marks {
        let Some(clip) = mark.clip else {
            shape(&mut out, canvas, mark, ratio)?;
            continue;
        };
        let id = clips.iter().position(|c| *c == clip).unwrap_or_else(|| {
            let (x, y) = (num(clip.x0), num(clip.y0));
            let (w, h) = (num(clip.width()), num(clip.height()));
            let _ = writeln!(
                out,
                "<clipPath id=\"clip{}\"><rect x=\"{x}\" y=\"{y}\" width=\"{w}\" \
                 height=\"{h}\"/></clipPath>",
                clips.len()
            );
            clips.push(clip);
            clips.len() - 1
        });
        let _ = writeln!(out, "<g clip-path=\"url(#clip{id})\">");
        shape(&mut out, canvas, mark, ratio)?;
        out.push_str("</g>\n");
    }
    out.push_str("</svg>\n");
    Ok(out)
}

fn shape(out: &mut String, canvas: &Canvas, mark: &Mark, ratio: f64) -> Result<()> {
    match &mark.shape {
        Shape::Fill(r, color) => {
            let (x, y, w, h) = (num(r.x0), num(r.y0), num(r.width()), num(r.height()));
            let _ = writeln!(
                out,
                "<rect x=\"{x}\" y=\"{y}\" width=\"{w}\" height=\"{h}\" {}/>",
                paint("fill", *color)
            );
        }
        Shape::Line { points, width, color, dash } => {
            let dash = dash.map_or(String::new(), |d| format!(" stroke-dasharray=\"{d}\""));
            let _ = writeln!(
                out,
                "<polyline points=\"{}\" fill=\"none\" stroke-width=\"{}\" \
                 stroke-linejoin=\"round\" stroke-linecap=\"round\"{dash} {}/>",
                list(points),
                num(f64::from(*width)),
                paint("stroke", *color)
            );
        }
        Shape::Polygon { points, color } => {
            let _ =
                writeln!(out, "<polygon points=\"{}\" {}/>", list(points), paint("fill", *color));
        }
        Shape::Segments { ends, width, color } if ends.len() <= 4 * MANY => {
            let line = |e: &[f32; 4]| {
                let [x0, y0, x1, y1] = e.map(|v| num(f64::from(v)));
                format!("M{x0} {y0}L{x1} {y1}")
            };
            let _ = writeln!(
                out,
                "<path d=\"{}\" fill=\"none\" stroke-width=\"{}\" stroke-linecap=\"round\" {}/>",
                ends.iter().map(line).collect::<String>(),
                num(f64::from(*width)),
                paint("stroke", *color)
            );
        }
        Shape::Segments { .. } => bitmap(out, canvas, mark, ratio)?,
        Shape::Spots { centers, .. } if centers.len() > MANY => {
            bitmap(out, canvas, mark, ratio)?;
        }
        Shape::Spots { shape, centers, radius, colors } => {
            let r = f64::from(*radius);
            for (c, color) in centers.iter().zip(colors) {
                let (x, y, fill) = (f64::from(c[0]), f64::from(c[1]), paint("fill", *color));
                let _ = match shape {
                    SpotShape::Circle => writeln!(
                        out,
                        "<circle cx=\"{}\" cy=\"{}\" r=\"{}\" {fill}/>",
                        num(x),
                        num(y),
                        num(r)
                    ),
                    SpotShape::Square => writeln!(
                        out,
                        "<rect x=\"{}\" y=\"{}\" width=\"{}\" height=\"{2}\" {fill}/>",
                        num(x - r),
                        num(y - r),
                        num(2.0 * r)
                    ),
                    SpotShape::Hexagon => writeln!(
                        out,
                        "<polygon points=\"{}\" {fill}/>",
                        list(&super::raster::hexagon(*c, *radius))
                    ),
                };
            }
        }
        Shape::Picture { image, area, alpha } => {
            // No more pixels than can be seen.
            let (w, h) = ((area.width() * ratio) as usize, (area.height() * ratio) as usize);
            let bytes = if w > 0 && h > 0 && w < image.width && h < image.height {
                image.resize(w, h, Filter::Bilinear).to_png()?
            } else {
                image.to_png()?
            };
            embed(out, area, &bytes, *alpha);
        }
        Shape::Text { x, y, text, style } => {
            let (dx, dy) = text::origin(text, style);
            let weight = if style.bold { " font-weight=\"bold\"" } else { "" };
            let anchor = match style.align {
                super::canvas::Align::Start => "",
                super::canvas::Align::Middle => " text-anchor=\"middle\"",
                super::canvas::Align::End => " text-anchor=\"end\"",
            };
            let _ = dx;
            let place = if style.upward {
                format!("transform=\"translate({} {}) rotate(-90)\"", num(x + dy), num(*y))
            } else {
                format!("x=\"{}\" y=\"{}\"", num(*x), num(y + dy))
            };
            let _ = writeln!(
                out,
                "<text {place} font-size=\"{}\"{weight}{anchor} {}>{}</text>",
                num(style.size),
                paint("fill", style.color),
                escape(text)
            );
        }
    }
    Ok(())
}

/// One mark as a bitmap of the whole sheet.
fn bitmap(out: &mut String, canvas: &Canvas, mark: &Mark, ratio: f64) -> Result<()> {
    let mut pixels = Pixels::new(
        (canvas.width * ratio).round().max(1.0) as usize,
        (canvas.height * ratio).round().max(1.0) as usize,
    );
    pixels.draw(mark, ratio);
    let (width, height) = (pixels.width, pixels.height);
    let (bytes, channels) = pixels.into_bytes();
    embed(out, &canvas.area(), &png(&bytes, width, height, channels)?, 1.0);
    Ok(())
}

fn embed(out: &mut String, area: &Rect, png: &[u8], alpha: f32) {
    let opacity = if alpha < 1.0 { format!(" opacity=\"{alpha}\"") } else { String::new() };
    let _ = writeln!(
        out,
        "<image x=\"{}\" y=\"{}\" width=\"{}\" height=\"{}\" preserveAspectRatio=\"none\"{opacity} \
         href=\"data:image/png;base64,{}\"/>",
        num(area.x0),
        num(area.y0),
        num(area.width()),
        num(area.height()),
        base64::engine::general_purpose::STANDARD.encode(png)
    );
}

fn paint(what: &str, color: Color) -> String {
    let opaque = color.alpha >= 1.0;
    let alpha = if opaque { String::new() } else { format!(" {what}-opacity=\"{}\"", color.alpha) };
    format!("{what}=\"{}\"{alpha}", color.hex())
}

fn list(points: &[[f32; 2]]) -> String {
    let pair = |p: &[f32; 2]| format!("{},{}", num(f64::from(p[0])), num(f64::from(p[1])));
    points.iter().map(pair).collect::<Vec<_>>().join(" ")
}

/// A number with two decimals at most.
fn num(x: f64) -> String {
    let text = format!("{x:.2}");
    let text = text.trim_end_matches('0').trim_end_matches('.');
    if text == "-0" { "0".into() } else { text.into() }
}

fn escape(text: &str) -> String {
    text.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;")
}
