//! Text and Markdown as HTML.

use base64::Engine;
use pulldown_cmark::{CowStr, Event, Options, Parser, Tag, html};
use serde_json::Value;

/// Renders Markdown; `attachment:` pictures are put in place. Formulas stay as they are
/// written: a page without scripts cannot set them.
pub fn render(text: &str, attachments: &Value) -> String {
    let options =
        Options::ENABLE_TABLES | Options::ENABLE_STRIKETHROUGH | Options::ENABLE_FOOTNOTES;
    let events = Parser::new_ext(text, options).map(|event| match event {
        Event::Start(Tag::Image { link_type, dest_url, title, id }) => Event::Start(Tag::Image {
            link_type,
            dest_url: attachment(&dest_url, attachments).unwrap_or(dest_url),
            title,
            id,
        }),
        // A notebook may come from anywhere: what runs is left out.
        Event::Html(raw) | Event::InlineHtml(raw) if raw.to_lowercase().contains("<script") => {
            Event::Text(raw)
        }
        event => event,
    });
    let mut out = String::new();
    html::push_html(&mut out, events);
    out
}

/// Text for HTML.
pub fn escape(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for c in text.chars() {
        match c {
            '&' => out.push_str("&amp;"),
            '<' => out.push_str("&lt;"),
            '>' => out.push_str("&gt;"),
            '"' => out.push_str("&quot;"),
            c => out.push(c),
        }
    }
    out
}

fn attachment(url: &str, attachments: &Value) -> Option<CowStr<'static>> {
    let name = url.strip_prefix("attachment:")?;
    let (mime, data) = attachments[name].as_object()?.iter().next()?;
    let data: String = data.as_str()?.split_whitespace().collect();
    base64::engine::general_purpose::STANDARD.decode(&data).ok()?;
    Some(format!("data:{mime};base64,{data}").into())
}
