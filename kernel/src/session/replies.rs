//! Replies that need no state, and the arithmetic of cursor positions.

use crate::engine::Completions;
use crate::wire::PROTOCOL;
use ra_ap_parser::{Edition, LexedStr, StrStep, TopEntryPoint};
use serde_json::{Value, json};

/// …/messaging.html#kernel-info
pub fn kernel_info() -> Value {
    let version = env!("CARGO_PKG_VERSION");
    json!({
        "status": "ok",
        "protocol_version": PROTOCOL,
        "implementation": "spatialkit",
        "implementation_version": version,
        "language_info": {
            "name": "rust",
            "version": rust_version(),
            "mimetype": "text/rust",
            "file_extension": ".rs",
            "pygments_lexer": "rust",
            "codemirror_mode": "rust",
            "nbconvert_exporter": "script",
        },
        "banner": format!("spatialkit {version}: Rust notebooks for spatial transcriptomics"),
        "debugger": false,
        "help_links": [
            {"text": "Rust", "url": "https://doc.rust-lang.org/stable/"},
        ],
        "supported_features": [],
    })
}

fn rust_version() -> String {
    crate::facade::Facade::find()
        .ok()
        .and_then(|f| {
            let line = f.rustc_version.lines().next()?.to_owned();
            line.split_whitespace().nth(1).map(str::to_owned)
        })
        .unwrap_or_default()
}

/// …/messaging.html#code-completeness
pub fn is_complete(content: &Value) -> Value {
    let code = content["code"].as_str().unwrap_or("");
    let incomplete = |depth: usize| json!({"status": "incomplete", "indent": "    ".repeat(depth)});
    match open_brackets(code) {
        Some(0) => match first_error(code) {
            None => json!({"status": "complete"}),
            // More text could mend what is wrong at the very end.
            Some(at) if code[at..].trim().is_empty() => incomplete(0),
            Some(_) => json!({"status": "invalid"}),
        },
        Some(depth) => incomplete(depth),
        None => json!({"status": "invalid"}),
    }
}

/// The byte at which the parser first finds something wrong; lines that are commands are not Rust.
fn first_error(code: &str) -> Option<usize> {
    let is_command = |line: &str| line.trim_start().starts_with([':', '!']);
    let lines = code.split_inclusive('\n');
    let code: String = lines
        .map(|line| if is_command(line) { " ".repeat(line.len()) } else { line.to_owned() })
        .collect();
    let tokens = LexedStr::new(Edition::CURRENT, &code);
    let parsed = TopEntryPoint::MacroStmts.parse(&tokens.to_input(Edition::CURRENT));
    let mut error = None;
    let mut at = 0;
    tokens.intersperse_trivia(&parsed, &mut |step| match step {
        StrStep::Token { text, .. } => at += text.len(),
        StrStep::Error { pos, .. } if error.is_none() => error = Some(pos),
        _ => {}
    });
    error
}

/// How many brackets, strings or comments are open at the end; `None` if one closes that was
/// never opened.
fn open_brackets(code: &str) -> Option<usize> {
    let chars: Vec<char> = code.chars().collect();
    let mut open = Vec::new();
    let mut i = 0;
    while i < chars.len() {
        let c = chars[i];
        let next = chars.get(i + 1).copied();
        match c {
            '/' if next == Some('/') => {
                while i < chars.len() && chars[i] != '\n' {
                    i += 1;
                }
            }
            '/' if next == Some('*') => {
                let mut depth = 1;
                i += 2;
                while i < chars.len() && depth > 0 {
                    match (chars[i], chars.get(i + 1)) {
                        ('*', Some('/')) => {
                            depth -= 1;
                            i += 1;
                        }
                        ('/', Some('*')) => {
                            depth += 1;
                            i += 1;
                        }
                        _ => {}
                    }
                    i += 1;
                }
                if depth > 0 {
                    return Some(open.len() + 1);
                }
                continue;
            }
            'r' | '#' if raw_string(&chars, i).is_some() => match raw_string(&chars, i)? {
                Some(end) => {
                    i = end;
                    continue;
                }
                None => return Some(open.len() + 1),
            },
            '"' => {
                i += 1;
                while i < chars.len() && chars[i] != '"' {
                    i += if chars[i] == '\\' { 2 } else { 1 };
                }
                if i >= chars.len() {
                    return Some(open.len() + 1);
                }
            }
            // A character, not a lifetime.
            '\'' if next == Some('\\') => {
                i += 3;
                while i < chars.len() && chars[i] != '\'' {
                    i += 1;
                }
            }
            '\'' if chars.get(i + 2) == Some(&'\'') => i += 2,
            '(' | '[' | '{' => open.push(c),
            ')' | ']' | '}' => {
                let wanted = match c {
                    ')' => '(',
                    ']' => '[',
                    _ => '{',
                };
                if open.pop() != Some(wanted) {
                    return None;
                }
            }
            _ => {}
        }
        i += 1;
    }
    Some(open.len())
}

/// If a raw string starts here: where it ends, or that it does not.
fn raw_string(chars: &[char], at: usize) -> Option<Option<usize>> {
    if chars[at] != 'r' || at > 0 && (chars[at - 1].is_alphanumeric() || chars[at - 1] == '_') {
        return None;
    }
    let hashes = chars[at + 1..].iter().take_while(|&&c| c == '#').count();
    if chars.get(at + 1 + hashes) != Some(&'"') {
        return None;
    }
    let start = at + 2 + hashes;
    let end = (start..chars.len()).find(|&i| {
        chars[i] == '"'
            && chars[i + 1..].len() >= hashes
            && chars[i + 1..i + 1 + hashes].iter().all(|&c| c == '#')
    });
    Some(end.map(|e| e + 1 + hashes))
}

/// Positions in messages count code points; the engine counts bytes.
pub fn byte_offset(code: &str, points: usize) -> usize {
    code.char_indices().nth(points).map_or(code.len(), |(at, _)| at)
}

fn point_offset(code: &str, byte: usize) -> usize {
    code.char_indices().take_while(|&(at, _)| at < byte).count()
}

/// The end of the word in which a position lies.
pub fn end_of_word(code: &str, at: usize) -> usize {
    code[at..]
        .char_indices()
        .find(|(_, c)| !c.is_alphanumeric() && *c != '_')
        .map_or(code.len(), |(n, _)| at + n)
}

/// The reply to a completion request.
pub fn completions(code: &str, cursor: usize, found: Option<Completions>) -> Value {
    let Some(found) = found else {
        return json!({
            "status": "ok", "matches": [], "cursor_start": cursor, "cursor_end": cursor,
            "metadata": {},
        });
    };
    let start = point_offset(code, found.start);
    let end = point_offset(code, found.end);
    let matches: Vec<&str> = found.items.iter().map(|i| i.text.as_str()).collect();
    let types: Vec<Value> = found
        .items
        .iter()
        .map(|i| {
            json!({
                "text": i.text, "type": i.kind, "signature": i.label,
                "start": start, "end": end,
            })
        })
        .collect();
    json!({
        "status": "ok", "matches": matches, "cursor_start": start, "cursor_end": end,
        "metadata": {"_jupyter_types_experimental": types},
    })
}

/// Whether a text fits a pattern with `*` and `?`.
pub fn glob(pattern: &str, text: &str) -> bool {
    let (pattern, text): (Vec<char>, Vec<char>) =
        (pattern.chars().collect(), text.chars().collect());
    let (mut p, mut t, mut star) = (0, 0, None);
    while t < text.len() {
        if p < pattern.len() && pattern[p] == '*' {
            star = Some((p, t));
            p += 1;
        } else if p < pattern.len() && (pattern[p] == '?' || pattern[p] == text[t]) {
            p += 1;
            t += 1;
        } else if let Some((at, from)) = star {
            p = at + 1;
            t = from + 1;
            star = Some((at, t));
        } else {
            return false;
        }
    }
    pattern[p..].iter().all(|&c| c == '*')
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn completeness_sees_brackets_strings_and_comments() {
        for complete in [
            "",
            "1 + 1",
            "let s = \"(\";",
            "fn f<'a>(x: &'a str) {}",
            "let c = '{'; let d = '\\'';",
            "r#\"{\"#",
            "// {",
            "/* { */ 1",
        ] {
            assert_eq!(open_brackets(complete), Some(0), "{complete}");
        }
        for incomplete in ["fn f() {", "vec![1,", "\"abc", "/* a", "r#\"x"] {
            assert!(open_brackets(incomplete).is_some_and(|n| n > 0), "{incomplete}");
        }
        assert_eq!(open_brackets("fn f() }"), None);
    }

    #[test]
    fn completeness_is_the_parsers() {
        let status = |code: &str| is_complete(&json!({"code": code}))["status"].clone();
        for code in
            ["let x = 1;", "x", "fn f() {}\nf()", ":dep rand\nlet a = 1;", "a?;", "!ls -l", ""]
        {
            assert_eq!(status(code), "complete", "{code}");
        }
        for code in ["let x =", "1 +", "let", "fn f()", "a.", "use std::"] {
            assert_eq!(status(code), "incomplete", "{code}");
        }
        for code in ["let = 3;", "fn 1() {}", "let x = 1; }", "struct {} x"] {
            assert_eq!(status(code), "invalid", "{code}");
        }
        let reply = is_complete(&json!({"code": "for i in 0..3 {\n    if a {"}));
        assert_eq!(reply, json!({"status": "incomplete", "indent": "        "}));
    }

    #[test]
    fn positions_count_code_points() {
        let code = "let ü = \"日本\"; x.";
        let end = code.chars().count();
        assert_eq!(byte_offset(code, end), code.len());
        assert_eq!(point_offset(code, byte_offset(code, 9)), 9);
        assert_eq!(end_of_word("foo.bar(1)", 5), 7);
    }

    #[test]
    fn patterns_fit() {
        assert!(glob("let*1;", "let a = 1;"));
        assert!(!glob("let*2;", "let a = 1;"));
    }
}
