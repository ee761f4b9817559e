//! `-p name=value`: checks values against the types in the cell tagged `parameters` and puts
//! them into a cell of their own after it.

use super::notebook::Notebook;
use anyhow::{Context, Result, bail};

/// A `let name: TYPE = value;` line.
#[derive(Debug, PartialEq)]
struct Parameter {
    name: String,
    kind: String,
    mutable: bool,
}

/// Inserts the cell `injected-parameters`.
pub fn inject(notebook: &mut Notebook, given: &[(String, String)]) -> Result<()> {
    let tagged = (0..notebook.cells().len()).find(|&i| notebook.has_tag(i, "parameters"));
    let Some(index) = tagged else {
        bail!("the notebook has no cell tagged `parameters`, so -p cannot set anything");
    };
    let known = parse(&notebook.source(index));
    let mut source = String::from("// Parameters");
    for (name, value) in given {
        let Some(parameter) = known.iter().find(|p| &p.name == name) else {
            let names: Vec<&str> = known.iter().map(|p| p.name.as_str()).collect();
            bail!("the notebook has no parameter `{name}`; it has: {}", names.join(", "));
        };
        let literal = literal(&parameter.kind, value).with_context(|| {
            format!("-p {name}={value}: the type of `{name}` is {}", parameter.kind)
        })?;
        let mutable = if parameter.mutable { "mut " } else { "" };
        let kind = &parameter.kind;
        source.push_str(&format!("\nlet {mutable}{name}: {kind} = {literal};"));
    }
    notebook.insert_code(index, "injected-parameters", &source);
    Ok(())
}

fn parse(source: &str) -> Vec<Parameter> {
    source
        .lines()
        .filter_map(|line| {
            let rest = line.trim_start().strip_prefix("let ")?.trim_start();
            let (mutable, rest) = match rest.strip_prefix("mut ") {
                Some(rest) => (true, rest.trim_start()),
                None => (false, rest),
            };
            let end = rest.find(|c: char| !c.is_alphanumeric() && c != '_')?;
            let (name, rest) = rest.split_at(end);
            let rest = rest.trim_start();
            let kind = match rest.strip_prefix(':') {
                Some(rest) => rest.split_once('=')?.0.trim().to_owned(),
                None => kind_of(rest.strip_prefix('=')?.trim()).to_owned(),
            };
            Some(Parameter { name: name.to_owned(), kind, mutable })
        })
        .collect()
}

/// The type that a default says without being asked, as the compiler would take it.
fn kind_of(value: &str) -> &str {
    const NUMBERS: [&str; 12] =
        ["u8", "u16", "u32", "u64", "usize", "i8", "i16", "i32", "i64", "isize", "f32", "f64"];
    if value.starts_with('"') || value.starts_with("r\"") || value.starts_with("r#") {
        return "&str";
    }
    let word = value.split(|c: char| c == ';' || c.is_whitespace()).next().unwrap_or("");
    if word == "true" || word == "false" {
        return "bool";
    }
    if !word.trim_start_matches('-').starts_with(|c: char| c.is_ascii_digit()) {
        return UNKNOWN;
    }
    match NUMBERS.iter().find(|kind| word.ends_with(**kind)) {
        Some(kind) => kind,
        None if word.contains(['.', 'e']) => "f64",
        None => "i32",
    }
}

const UNKNOWN: &str = "not written beside it";

fn literal(kind: &str, value: &str) -> Result<String> {
    let compact: String = kind.split_whitespace().collect();
    if let Some(inner) = compact.strip_prefix("Option<").and_then(|rest| rest.strip_suffix('>')) {
        return Ok(if value.is_empty() || value.eq_ignore_ascii_case("none") {
            "None".to_owned()
        } else {
            format!("Some({})", literal(inner, value)?)
        });
    }
    macro_rules! integer {
        ($type:ty) => {
            value.trim().replace('_', "").parse::<$type>().map(|n| n.to_string()).with_context(
                || format!("it must be a whole number from {} to {}", <$type>::MIN, <$type>::MAX),
            )
        };
    }
    macro_rules! float {
        ($type:ident) => {
            value.trim().parse::<$type>().context("it must be a number").map(|n| {
                if n.is_nan() {
                    concat!(stringify!($type), "::NAN").to_owned()
                } else if n.is_infinite() {
                    let sign = if n < 0.0 { "NEG_" } else { "" };
                    format!("{}::{sign}INFINITY", stringify!($type))
                } else {
                    format!("{n:?}")
                }
            })
        };
    }
    match compact.as_str() {
        "&str" | "&'staticstr" => Ok(format!("{value:?}")),
        "String" | "std::string::String" => Ok(format!("String::from({value:?})")),
        "PathBuf" | "std::path::PathBuf" => Ok(format!("std::path::PathBuf::from({value:?})")),
        "bool" => match value.trim().to_ascii_lowercase().as_str() {
            "true" | "1" | "yes" => Ok("true".to_owned()),
            "false" | "0" | "no" => Ok("false".to_owned()),
            _ => bail!("it must be true or false"),
        },
        "u8" => integer!(u8),
        "u16" => integer!(u16),
        "u32" => integer!(u32),
        "u64" => integer!(u64),
        "usize" => integer!(usize),
        "i8" => integer!(i8),
        "i16" => integer!(i16),
        "i32" => integer!(i32),
        "i64" => integer!(i64),
        "isize" => integer!(isize),
        "f32" => float!(f32),
        "f64" => float!(f64),
        _ => bail!("values of this type cannot be given with -p"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn parameters_are_found_with_their_types() {
        let found =
            parse("// c\nlet data: &str = \"\";\nlet mut n: usize = 7;\nlet e = 200;\nf();");
        let names: Vec<_> = found.iter().map(|p| (p.name.as_str(), p.kind.as_str())).collect();
        assert_eq!(names, [("data", "&str"), ("n", "usize"), ("e", "i32")]);
        assert!(found[1].mutable);
        for (value, kind) in [
            ("200; // epochs", "i32"),
            ("5usize;", "usize"),
            ("-1.5;", "f64"),
            ("1e-3;", "f64"),
            ("2_f32;", "f32"),
            ("true; // yes", "bool"),
            ("\"a; b\";", "&str"),
            ("vec![1];", UNKNOWN),
        ] {
            assert_eq!(kind_of(value), kind, "{value}");
        }
    }

    #[test]
    fn values_become_literals_or_are_refused() {
        assert_eq!(literal("&str", "a\"b\\").unwrap(), "\"a\\\"b\\\\\"");
        assert_eq!(literal("String", "x").unwrap(), "String::from(\"x\")");
        assert_eq!(literal("f64", "1").unwrap(), "1.0");
        assert_eq!(literal("Option<usize>", "3").unwrap(), "Some(3)");
        assert_eq!(literal("Option<&str>", "none").unwrap(), "None");
        for (kind, value) in [("u8", "300"), ("usize", "-1"), ("bool", "x"), ("f32", "a")] {
            assert!(literal(kind, value).is_err());
        }
    }

    #[test]
    fn an_unknown_name_lists_the_known_ones() {
        let text = r#"{"nbformat": 4, "metadata": {}, "cells": [{"cell_type": "code",
            "metadata": {"tags": ["parameters"]}, "source": "let n: u32 = 1;", "outputs": []}]}"#;
        let mut notebook = Notebook::parse(text).unwrap();
        let pair = |a: &str, b: &str| (a.to_owned(), b.to_owned());
        let error = inject(&mut notebook, &[pair("m", "1")]).unwrap_err();
        assert!(error.to_string().contains("it has: n"));
        inject(&mut notebook, &[pair("n", "5")]).unwrap();
        assert_eq!(notebook.source(1), "// Parameters\nlet n: u32 = 5;");
        inject(&mut notebook, &[pair("n", "6")]).unwrap();
        assert_eq!(notebook.cells().len(), 2);
    }
}
