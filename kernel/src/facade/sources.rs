//! Sources as type inference is shown them: signatures without what functions do.
//!
//! To know a variable's type nobody reads a function's body, and bodies are most of the text that
//! rust-analyzer would parse before the first cell. What is left is what it reads: items, types,
//! attributes, documentation, macros. Of the standard library's documentation, three fifths of its
//! text, the first paragraphs are left. Functions that no cell can call are gone: private ones, and
//! the unstable ones of the standard library.
//!
//! But for private functions this goes by tokens and not by syntax, so that functions inside
//! `macro_rules!`, of which `core` largely consists, lose their bodies too.

use anyhow::{Context, Result};
use ra_ap_parser::{Edition, LexedStr, SyntaxKind, T};
use ra_ap_syntax::ast::{self, HasAttrs, HasVisibility};
use ra_ap_syntax::{AstNode, SourceFile};
use std::collections::HashSet;
use std::ops::Range;
use std::path::Path;

/// What the sources are of.
#[derive(Clone, Copy)]
pub(super) enum Of<'a> {
    Crate,
    /// With the unstable features that its stable macros need.
    StandardLibrary(&'a HashSet<String>),
}

/// The features that macros below a folder may use where they are called: `format!` calls an unstable
/// function.
pub(super) fn macro_features(folder: &Path) -> Result<HashSet<String>> {
    let mut features = HashSet::new();
    each_source(folder, Path::new(""), &mut |_, text| {
        let lists = text.split("allow_internal_unstable(").skip(1);
        for list in lists.filter_map(|rest| rest.split(')').next()) {
            features.extend(list.split(',').map(|feature| feature.trim().to_owned()));
        }
        Ok(())
    })?;
    Ok(features)
}

/// Copies the `.rs` files below a folder.
pub(super) fn copy_signatures(from: &Path, to: &Path, of: Of<'_>) -> Result<()> {
    each_source(from, Path::new(""), &mut |inside, text| {
        let copy = to.join(inside);
        std::fs::create_dir_all(copy.parent().unwrap_or(to))
            .and_then(|()| std::fs::write(&copy, signatures(text, of)))
            .with_context(|| format!("cannot write {}", copy.display()))
    })
}

/// Calls `with` on each `.rs` file below a folder: where in it the file lies, and its text.
fn each_source(
    root: &Path,
    inside: &Path,
    with: &mut dyn FnMut(&Path, &str) -> Result<()>,
) -> Result<()> {
    let folder = root.join(inside);
    let entries =
        std::fs::read_dir(&folder).with_context(|| format!("cannot read {}", folder.display()))?;
    for entry in entries {
        let path = entry?.path();
        let inside = inside.join(path.file_name().unwrap_or_default());
        if path.is_dir() {
            each_source(root, &inside, with)?;
        } else if path.extension().is_some_and(|e| e == "rs") {
            let text = std::fs::read_to_string(&path)
                .with_context(|| format!("cannot read {}", path.display()))?;
            with(&inside, &text)?;
        }
    }
    Ok(())
}

/// Where functions are that only their own crate can call.
fn private_functions(text: &str) -> Vec<Range<usize>> {
    let file = SourceFile::parse(text, Edition::CURRENT).tree();
    let is_private = |function: &ast::Fn| {
        let list = function.syntax().parent().filter(|p| ast::AssocItemList::can_cast(p.kind()));
        let of_trait = list.and_then(|list| list.parent()).is_some_and(|item| {
            let of_trait = ast::Impl::cast(item.clone()).map(|item| item.trait_().is_some());
            of_trait.unwrap_or(true)
        });
        let foreign =
            function.syntax().parent().is_some_and(|p| ast::ExternItemList::can_cast(p.kind()));
        let public = function.visibility().is_some_and(|v| v.syntax().text() == "pub");
        // One with `#[lang = …]` is the compiler's.
        let lang = function.attrs().any(|a| a.syntax().text().to_string().starts_with("#[lang"));
        !of_trait && !foreign && !public && !lang
    };
    let functions = file.syntax().descendants().filter_map(ast::Fn::cast).filter(is_private);
    functions.map(|f| f.syntax().text_range().into()).collect()
}

/// The text without some parts.
fn without(text: &str, parts: &[Range<usize>]) -> String {
    let mut out = String::with_capacity(text.len());
    let mut at = 0;
    // A function inside another lies in its part.
    for part in parts {
        if part.start >= at {
            out.push_str(&text[at..part.start]);
            at = part.end;
        }
    }
    out.push_str(&text[at..]);
    out
}

/// The text with `{ loop {} }` for each function's body, and without comments but documentation.
fn signatures(text: &str, of: Of<'_>) -> String {
    let text = &without(text, &private_functions(text));
    let tokens = LexedStr::new(Edition::CURRENT, text);
    let mut out = String::with_capacity(text.len() / 2);
    // Whether the paragraph that documents the next item is over.
    let mut summarised = false;
    let mut i = 0;
    while i < tokens.len() {
        let text = tokens.text(i);
        match tokens.kind(i) {
            SyntaxKind::WHITESPACE => out.push(if text.contains('\n') { '\n' } else { ' ' }),
            SyntaxKind::COMMENT if is_doc(text) && !summarised => {
                summarised = matches!(of, Of::StandardLibrary(_)) && text.len() <= 3;
                out.push_str(text);
            }
            SyntaxKind::COMMENT => out.push(' '),
            T![#] if is_noise(&tokens, i, of) => i = closing(&tokens, i + 1),
            T![#] => match of {
                Of::StandardLibrary(needed) if !called_by_compiler(&out) => {
                    match unstable_function(&tokens, i, needed) {
                        Some(end) => i = end,
                        None => out.push_str(text),
                    }
                }
                _ => out.push_str(text),
            },
            kind => {
                summarised = false;
                out.push_str(text);
                if kind == T![fn]
                    && let Some(body) = body(&tokens, i)
                {
                    (i + 1..body).for_each(|at| out.push_str(tokens.text(at)));
                    out.push_str("{ loop {} }");
                    i = closing(&tokens, body);
                }
            }
        }
        i += 1;
    }
    out
}

/// Attributes that say nothing of a type.
const NOISE: [&str; 12] = [
    "inline",
    "must_use",
    "track_caller",
    "allow",
    "warn",
    "cold",
    "optimize",
    "stable",
    "rustc_const_stable",
    "rustc_const_unstable",
    "rustc_allow_const_fn_unstable",
    "rustc_inherit_overflow_checks",
];

/// Whether an attribute begins at a token that can be left out: one of [`NOISE`] or, in the standard
/// library, `#[doc = …]`.
fn is_noise(tokens: &LexedStr<'_>, at: usize, of: Of<'_>) -> bool {
    if at + 4 >= tokens.len() || tokens.kind(at + 1) != T!['['] {
        return false;
    }
    let name = tokens.text(at + 2);
    let is_text = || (at + 3..=at + 4).any(|i| tokens.kind(i) == T![=]);
    NOISE.contains(&name) || matches!(of, Of::StandardLibrary(_)) && name == "doc" && is_text()
}

/// Whether the attributes read last say so.
fn called_by_compiler(before: &str) -> bool {
    before.rsplit([';', '{', '}']).next().is_some_and(|item| item.contains("lang ="))
}

/// The last token of the function whose `#[unstable(…)]` begins at a token; `None` for other items and
/// for what the compiler or a stable macro calls.
fn unstable_function(tokens: &LexedStr<'_>, at: usize, needed: &HashSet<String>) -> Option<usize> {
    if tokens.kind(at + 1) != T!['['] || tokens.text(at + 2) != "unstable" {
        return None;
    }
    let mut i = at;
    loop {
        match tokens.kind(i) {
            T![#] => {
                let end = closing(tokens, i + 1);
                let attribute = tokens.range_text(i..end + 1);
                let feature = attribute.split("feature = \"").nth(1);
                let feature = feature.and_then(|rest| rest.split('"').next()).unwrap_or("");
                if attribute.contains("lang =") || needed.contains(feature) {
                    return None;
                }
                i = end;
            }
            T![fn] => break,
            // `pub(crate) const unsafe extern "C"`.
            T!['('] => i = closing(tokens, i),
            kind if kind.is_keyword(Edition::CURRENT) => {
                if matches!(kind, T![struct] | T![enum] | T![impl] | T![trait] | T![mod] | T![use])
                {
                    return None;
                }
            }
            SyntaxKind::WHITESPACE | SyntaxKind::COMMENT | SyntaxKind::STRING => {}
            _ => return None,
        }
        i += 1;
        if i >= tokens.len() {
            return None;
        }
    }
    match body(tokens, i) {
        Some(body) => Some(closing(tokens, body)),
        None => (i..tokens.len()).find(|&i| tokens.kind(i) == T![;]),
    }
}

fn is_doc(comment: &str) -> bool {
    let doc = ["///", "//!", "/**", "/*!"].iter().any(|start| comment.starts_with(start));
    doc && !comment.starts_with("////") && !comment.starts_with("/***") && comment != "/**/"
}

/// The brace that opens the body of the function whose `fn` is at a token; `None` for a pointer's
/// type and for a declaration.
fn body(tokens: &LexedStr<'_>, at: usize) -> Option<usize> {
    let mut following = (at + 1..tokens.len())
        .filter(|&i| !matches!(tokens.kind(i), SyntaxKind::WHITESPACE | SyntaxKind::COMMENT));
    // A name, which a macro may have put together.
    let name = following.next()?;
    if !matches!(tokens.kind(name), SyntaxKind::IDENT | T![$]) {
        return None;
    }
    let mut depth = 0usize;
    for i in following {
        match tokens.kind(i) {
            T!['('] | T!['['] => depth += 1,
            T![')'] | T![']'] => depth = depth.checked_sub(1)?,
            T!['}'] => return None,
            T![;] if depth == 0 => return None,
            T!['{'] if depth == 0 => return Some(i),
            // Only a constant among the types.
            T!['{'] => return None,
            _ => {}
        }
    }
    None
}

/// The bracket that closes the one at a token, or the last token.
fn closing(tokens: &LexedStr<'_>, open: usize) -> usize {
    let mut depth = 0usize;
    for i in open..tokens.len() {
        match tokens.kind(i) {
            T!['{'] | T!['['] | T!['('] => depth += 1,
            T!['}'] | T![']'] | T![')'] => {
                depth -= 1;
                if depth == 0 {
                    return i;
                }
            }
            _ => {}
        }
    }
    tokens.len() - 1
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bodies_go_and_signatures_stay() {
        let text = "/// What.\n// Not this.\npub fn a<T>(x: [u8; 2]) -> Vec<T> where T: Fn() -> u8 {\n    let s = \"}\"; { }\n}\n";
        let out = signatures(text, Of::Crate);
        assert!(out.starts_with("/// What.\n"), "{out}");
        assert!(out.contains("where T: Fn() -> u8 { loop {} }"), "{out}");
        assert!(!out.contains("Not this") && !out.contains("let s"), "{out}");
    }

    #[test]
    fn what_has_no_body_is_kept() {
        for text in [
            "trait A { fn a(&self); fn b(); }",
            "type F = fn(u8) -> u8; const C: usize = { 3 };",
            "struct S { f: fn() -> u8, g: u8 }",
            "macro_rules! m { ($f:ident) => { fn $f(); } }",
        ] {
            assert_eq!(signatures(text, Of::Crate), text);
        }
    }

    #[test]
    fn private_functions_are_left_out() {
        let text = "fn a() { fn b() {} } pub fn c() { fn d() {} } pub(crate) fn e() {}\n\
                    impl S { fn f() {} pub fn g() {} } impl T for S { fn h() {} } trait T { fn i(); }\n\
                    extern \"C\" { fn j(); } #[lang = \"k\"] fn k() {}";
        let out = signatures(text, Of::Crate);
        let left = "abcdefghijk".chars().filter(|c| out.contains(&format!("fn {c}")));
        assert_eq!(left.collect::<String>(), "cghijk", "{out}");
    }

    #[test]
    fn a_summary_is_the_first_paragraph() {
        let needed = HashSet::new();
        let text = "/// One.\n/// Two.\n///\n/// Three.\n#[doc = concat!(\"a\", \"b\")]\n#[must_use = \"x\"]\nstruct A;\n/// B.\nstruct B;";
        let out = signatures(text, Of::StandardLibrary(&needed));
        let kept: Vec<&str> = out.lines().map(str::trim).filter(|l| !l.is_empty()).collect();
        let wanted = ["/// One.", "/// Two.", "///", "struct A;", "/// B.", "struct B;"];
        assert_eq!(kept, wanted);
    }

    #[test]
    fn unstable_functions_are_left_out() {
        let needed = HashSet::from(["b_internals".to_owned()]);
        let text = "#[unstable(feature = \"a\")]\n#[inline]\npub const fn a() { b }\n#[stable]\npub fn c();\n\
                    #[unstable(feature = \"x\")] struct S;\n#[unstable(feature = \"b_internals\")] pub fn d();\n\
                    #[lang = \"e\"]\n#[unstable(feature = \"a\")] pub fn e();";
        let out = signatures(text, Of::StandardLibrary(&needed));
        assert!(!out.contains("fn a") && out.contains("fn c"), "{out}");
        assert!(["struct S", "fn d", "fn e"].iter().all(|kept| out.contains(kept)), "{out}");
    }

    #[test]
    fn functions_in_macros_lose_theirs() {
        let out = signatures(
            "macro_rules! m { ($n:ident) => { pub const fn $n(self) -> u8 { self.0 + 1 } } }",
            Of::Crate,
        );
        assert!(out.contains("fn $n(self) -> u8 { loop {} } } }"), "{out}");
    }
}
