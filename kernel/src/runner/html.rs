//! An executed notebook as one self-contained page: no scripts, no network, light and dark.

use super::highlight;
use super::notebook::{Notebook, joined, overwritten};
use crate::markup::{escape, render};
use serde_json::Value;
use std::fmt::Write;

const STYLE: &str = include_str!("page.css");

/// The page.
pub fn page(notebook: &Notebook, title: &str) -> String {
    let mut body = String::new();
    for cell in notebook.cells() {
        match cell["cell_type"].as_str() {
            Some("markdown") => {
                let html = render(&joined(&cell["source"]), &cell["attachments"]);
                let _ = writeln!(body, "<section class=\"md\">{html}</section>");
            }
            Some("code") => code_cell(&mut body, cell),
            _ => {
                let text = escape(&joined(&cell["source"]));
                let _ = writeln!(body, "<section><pre>{text}</pre></section>");
            }
        }
    }
    format!(
        "<!DOCTYPE html>\n<html lang=\"en\">\n<head>\n<meta charset=\"utf-8\">\n\
         <meta name=\"viewport\" content=\"width=device-width, initial-scale=1\">\n\
         <meta name=\"color-scheme\" content=\"light dark\">\n\
         <title>{}</title>\n<style>\n{STYLE}</style>\n</head>\n<body>\n<main>\n{body}</main>\n\
         </body>\n</html>\n",
        escape(title)
    )
}

fn code_cell(out: &mut String, cell: &Value) {
    let source = joined(&cell["source"]);
    let number = cell["execution_count"].as_u64().map_or_else(|| " ".to_owned(), |n| n.to_string());
    out.push_str("<section class=\"code\">");
    if !source.trim().is_empty() {
        let _ = write!(
            out,
            "<div class=\"n\">[{number}]</div><pre class=\"src\"><code>{}</code></pre>",
            highlight::rust(source.trim_end())
        );
    }
    for output in cell["outputs"].as_array().into_iter().flatten() {
        out.push_str("<div class=\"out\">");
        match output["output_type"].as_str() {
            Some("stream") => {
                let class = if output["name"] == "stderr" { "err" } else { "txt" };
                let text = overwritten(&joined(&output["text"]));
                let _ = write!(out, "<pre class=\"{class}\">{}</pre>", ansi(&text));
            }
            Some("error") => {
                let lines: Vec<&str> = output["traceback"]
                    .as_array()
                    .into_iter()
                    .flatten()
                    .filter_map(Value::as_str)
                    .collect();
                let _ = write!(out, "<pre class=\"fail\">{}</pre>", ansi(&lines.join("\n")));
            }
            _ => data(out, &output["data"]),
        }
        out.push_str("</div>");
    }
    out.push_str("</section>\n");
}

/// The richest representation that a page without scripts can show.
fn data(out: &mut String, data: &Value) {
    let text = |mime: &str| {
        let value = &data[mime];
        (!value.is_null()).then(|| joined(value))
    };
    if let Some(html) = text("text/html") {
        let _ = write!(out, "<div class=\"rich\">{html}</div>");
    } else if let Some(svg) = text("image/svg+xml") {
        // As an image, so that ids and styles of several figures do not meet.
        let _ = write!(
            out,
            "<img alt=\"figure\" src=\"data:image/svg+xml;base64,{}\">",
            base64(svg.as_bytes())
        );
    } else if let Some((mime, image)) = ["image/png", "image/jpeg", "image/gif", "image/webp"]
        .iter()
        .find_map(|mime| Some((mime, text(mime)?)))
    {
        let image: String = image.split_whitespace().collect();
        let _ = write!(out, "<img alt=\"figure\" src=\"data:{mime};base64,{}\">", escape(&image));
    } else if let Some(markdown) = text("text/markdown") {
        let _ = write!(out, "<div class=\"md\">{}</div>", render(&markdown, &Value::Null));
    } else if !data["application/json"].is_null() {
        let pretty = serde_json::to_string_pretty(&data["application/json"]).unwrap_or_default();
        let _ = write!(out, "<pre class=\"txt\">{}</pre>", escape(&pretty));
    } else if let Some(plain) = text("text/plain").or(text("text/latex")) {
        let _ = write!(out, "<pre class=\"txt\">{}</pre>", ansi(&plain));
    }
}

fn base64(bytes: &[u8]) -> String {
    use base64::Engine;
    base64::engine::general_purpose::STANDARD.encode(bytes)
}

/// Splits a text into colours (parameters of SGR sequences) and plain parts.
fn ansi_parts(text: &str) -> Vec<(Option<&str>, &str)> {
    let mut parts = Vec::new();
    let mut colour = None;
    let mut rest = text;
    while let Some(at) = rest.find("\x1b[") {
        parts.push((colour, &rest[..at]));
        let after = &rest[at + 2..];
        let end = after.find(|c: char| c.is_ascii_alphabetic());
        let Some(end) = end else {
            return parts;
        };
        if after[end..].starts_with('m') {
            let codes = &after[..end];
            colour = (!codes.is_empty() && codes != "0").then_some(codes);
        }
        rest = &after[end + 1..];
    }
    parts.push((colour, rest));
    parts
}

/// The text without colours.
pub fn without_ansi(text: &str) -> String {
    ansi_parts(text).into_iter().map(|(_, part)| part).collect()
}

fn ansi(text: &str) -> String {
    let mut out = String::new();
    for (colour, part) in ansi_parts(text) {
        if part.is_empty() {
            continue;
        }
        let classes: Vec<String> = colour
            .unwrap_or("")
            .split(';')
            .filter_map(|code| match code.parse::<u8>().ok()? {
                1 => Some("b".to_owned()),
                n @ (30..=37 | 90..=97) => Some(format!("c{}", n % 10)),
                _ => None,
            })
            .collect();
        if classes.is_empty() {
            out.push_str(&escape(part));
        } else {
            let _ = write!(out, "<span class=\"{}\">{}</span>", classes.join(" "), escape(part));
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn colours_become_classes_and_text_is_escaped() {
        assert_eq!(ansi("a\x1b[1;31m<b>\x1b[0mc"), "a<span class=\"b c1\">&lt;b&gt;</span>c");
        assert_eq!(without_ansi("\x1b[1mx\x1b[0m\x1b[2Ky"), "xy");
    }

    #[test]
    fn a_page_holds_text_code_and_figures() {
        let text = r##"{"nbformat": 4, "metadata": {}, "cells": [
            {"cell_type": "markdown", "metadata": {}, "source": "# Title"},
            {"cell_type": "code", "metadata": {}, "source": "let a = 1;", "execution_count": 1,
             "outputs": [{"output_type": "display_data", "data": {"image/png": "aGk="}},
                         {"output_type": "stream", "name": "stdout", "text": ["<x>"]}]}]}"##;
        let page = page(&Notebook::parse(text).unwrap(), "a & b");
        for part in ["<h1>Title</h1>", "data:image/png;base64,aGk=", "&lt;x&gt;", "a &amp; b"] {
            assert!(page.contains(part), "{part}");
        }
        assert!(!page.contains("<script"));
    }
}
