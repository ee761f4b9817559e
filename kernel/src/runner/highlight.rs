//! Rust source as HTML with a few colours. A scanner, not a parser: what it does not know stays
//! plain.

use crate::markup::escape;

const KEYWORDS: &[&str] = &[
    "as", "async", "await", "break", "const", "continue", "crate", "dyn", "else", "enum", "extern",
    "false", "fn", "for", "if", "impl", "in", "let", "loop", "match", "mod", "move", "mut", "pub",
    "ref", "return", "self", "Self", "static", "struct", "super", "trait", "true", "type",
    "unsafe", "use", "where", "while",
];

/// Highlights a piece of Rust.
pub fn rust(source: &str) -> String {
    let mut out = String::with_capacity(source.len() * 2);
    let mut rest = source;
    let mut line_start = true;
    while let Some(c) = rest.chars().next() {
        let (class, length) = token(rest, c, line_start);
        let (text, after) = rest.split_at(length);
        line_start = text.ends_with('\n') || (line_start && text.trim().is_empty());
        if class.is_empty() {
            out.push_str(&escape(text));
        } else {
            out.push_str(&format!("<i class=\"{class}\">{}</i>", escape(text)));
        }
        rest = after;
    }
    out
}

/// Class and length of the token at the beginning.
fn token(text: &str, c: char, line_start: bool) -> (&'static str, usize) {
    if text.starts_with("//") || (line_start && c == ':' && !text.starts_with("::")) {
        let class = if c == ':' { "k" } else { "c" };
        return (class, text.find('\n').unwrap_or(text.len()));
    }
    if text.starts_with("/*") {
        return ("c", text.find("*/").map_or(text.len(), |n| n + 2));
    }
    if c == '"' {
        return ("s", string_end(text));
    }
    if c == 'r' && (text.starts_with("r\"") || text.starts_with("r#")) {
        let hashes = text[1..].bytes().take_while(|&b| b == b'#').count();
        if text.as_bytes().get(1 + hashes) == Some(&b'"') {
            let close = format!("\"{}", "#".repeat(hashes));
            let from = 2 + hashes;
            let end = text[from..].find(&close).map(|n| from + n + close.len());
            return ("s", end.unwrap_or(text.len()));
        }
    }
    if c.is_alphabetic() || c == '_' {
        let end = text.find(|c: char| !c.is_alphanumeric() && c != '_').unwrap_or(text.len());
        let word = &text[..end];
        let class = if KEYWORDS.contains(&word) {
            "k"
        } else if text[end..].starts_with('!') {
            "m"
        } else if c.is_uppercase() {
            "t"
        } else if text[end..].starts_with('(') {
            "f"
        } else {
            ""
        };
        return (class, end);
    }
    if c.is_ascii_digit() {
        let end =
            text.find(|c: char| !c.is_alphanumeric() && c != '_' && c != '.').unwrap_or(text.len());
        // `0..n` is a range, not a number with two points.
        let end = text[..end].find("..").unwrap_or(end);
        return ("d", end.max(1));
    }
    if c == '\'' {
        let mut chars = text.char_indices().skip(1);
        let second = chars.next();
        if let (Some((_, s)), Some((at, '\''))) = (second, chars.next())
            && s != '\\'
        {
            return ("s", at + 1);
        }
        if let Some((_, '\\')) = second {
            let end = text[2..].find('\'').map_or(text.len(), |n| n + 3);
            return ("s", end);
        }
    }
    ("", c.len_utf8())
}

fn string_end(text: &str) -> usize {
    let mut escaped = false;
    for (at, c) in text.char_indices().skip(1) {
        match c {
            _ if escaped => escaped = false,
            '\\' => escaped = true,
            '"' => return at + 1,
            _ => {}
        }
    }
    text.len()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn everything_is_kept_whatever_it_is() {
        for source in [
            "let s = \"a\\\"b\"; // ü",
            "'a' 'static '\\n' '",
            "r#\"x\"# r#type 0..10 1.5e3",
            "/* open",
            "\"open",
            ":dep x = 1\nfoo::<Bar>(1)",
            "日本 = '語';",
        ] {
            let html = rust(source);
            let mut plain = String::new();
            let mut inside = false;
            for c in html.chars() {
                match c {
                    '<' => inside = true,
                    '>' => inside = false,
                    c if !inside => plain.push(c),
                    _ => {}
                }
            }
            assert_eq!(plain, escape(source));
        }
    }
}
