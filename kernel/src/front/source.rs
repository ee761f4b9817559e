//! Changes to the source that the engine generates for a cell, line by line the same.
//!
//! * Marker lines go to the engine by a descriptor of their own instead of through `stdout`,
//!   where anything the user prints could garble them.
//! * An error that leaves the cell through `?` is reported with its `Display`, its sources and
//!   the user's line. The engine's own way knows only what has `Display`; here a type that has
//!   only `Debug` will do ([`Errors::Debug`]).
//! * The value of a last expression without an `evcxr_display` of its own is shown by a trait,
//!   so that the engine's first attempt to compile it succeeds; it needs a second otherwise.
//!   Where it makes a second one after all, its own way of showing ends in the same place.
//! * The store of variables and the error type, which the engine writes into every cell, are
//!   those of the facade, and a variable that the cell does not name is left in the store. Both
//!   are most of what the compiler would have to do for a small cell.
//!
//! Everything is replaced within a line, and only added after the last one: the engine maps
//! the compiler's messages back to the user's code by line number.

use std::collections::HashSet;

/// How the error type of a `?` is taken.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Errors {
    /// As something that becomes a `Box<dyn Error>`.
    Display,
    /// As something that has `Debug`.
    Debug,
}

const PANIC: &str = r#"println!("EVCXR_PANIC_NOTIFICATION");"#;
const TEXT: &str = "fn evcxr_send_text_plain(";
const ERROR_TYPE: &str = "struct EvcxrUserCodeError {}";
const STORE: &str = "mod evcxr_internal_runtime {";
/// The last function of the store; it and the module end after it.
const STORE_LAST: &str = "pub fn create_variable_store()";
const STORE_CALLS: [&str; 3] = ["check_variable::<", "take_variable::<", "put_variable::<"];

/// Rewrites the source of a cell.
pub fn rewrite(source: &str, errors: Errors) -> String {
    let lines: Vec<&str> = source.lines().collect();
    let skipped = skipped(&lines);
    let named: HashSet<&str> = lines
        .iter()
        .zip(&skipped)
        .filter(|(line, skip)| !**skip && variable(line).is_none())
        .flat_map(|(line, _)| line.split(|c: char| !c.is_alphanumeric() && c != '_'))
        .collect();
    let mut out = String::with_capacity(source.len() + 256);
    for (line, skip) in lines.iter().zip(skipped) {
        let text = line.trim();
        if text == ERROR_TYPE {
            out.push_str(match errors {
                Errors::Display => "use ::spatialkit::__cell::display::EvcxrUserCodeError;",
                Errors::Debug => "use ::spatialkit::__cell::debug::EvcxrUserCodeError;",
            });
        } else if text == STORE {
            out.push_str("use ::spatialkit::__store as evcxr_internal_runtime;");
        } else if skip || variable(line).is_some_and(|name| !named.contains(name)) {
            // An empty line keeps its place.
        } else if line.contains(TEXT) {
            // The engine's own way to show a value, taken where the trait's does not compile.
            let shown = format!(
                "{TEXT}text: &str) {{ ::spatialkit::__cell::value(text) }} \
                 #[allow(dead_code)] fn evcxr_unused("
            );
            out.push_str(&line.replace(TEXT, &shown));
        } else {
            out.push_str(&line.replace(PANIC, &marker("\"EVCXR_PANIC_NOTIFICATION\"")));
        }
        out.push('\n');
    }
    out.push_str("#[allow(unused_imports)] use ::spatialkit::__cell::Show as _;\n");
    out
}

/// Which lines are the body of the engine's error type or of its store.
fn skipped(lines: &[&str]) -> Vec<bool> {
    let mut skip = vec![false; lines.len()];
    let end_of = |from: usize, end: &str| {
        lines[from..].iter().position(|line| *line == end).map(|n| from + n)
    };
    for (i, line) in lines.iter().enumerate() {
        let end = match line.trim() {
            ERROR_TYPE => {
                let indent = &line[..line.len() - line.trim_start().len()];
                end_of(i, &format!("{indent}}}"))
            }
            STORE => lines[i..]
                .iter()
                .position(|line| line.starts_with(STORE_LAST))
                .and_then(|last| end_of(i + last, "}"))
                .and_then(|function| end_of(function + 1, "}")),
            _ => None,
        };
        if let Some(end) = end {
            skip[i + 1..=end].fill(true);
        }
    }
    skip
}

/// The variable that a generated line checks, takes from the store or puts back.
fn variable(line: &str) -> Option<&str> {
    let at = line.find("evcxr_variable_store.")? + "evcxr_variable_store.".len();
    STORE_CALLS.iter().find(|call| line[at..].starts_with(**call))?;
    let (_, rest) = line.split_once("stringify!(")?;
    rest.split([',', ')']).next()
}

fn marker(line: &str) -> String {
    format!("::spatialkit::__cell::marker({line});")
}

/// Whether the compiler's messages blame the error type of a `?`.
pub fn blames_error_type(messages: &str) -> bool {
    messages.contains("EvcxrUserCodeError")
}

#[cfg(test)]
mod tests {
    use super::*;

    const CELL: &str = r#"
            struct EvcxrUserCodeError {}
            impl<T: std::fmt::Display> From<T> for EvcxrUserCodeError {
                fn from(error: T) -> Self {
                    eprintln!("{}", error);
                    println!("{}", evcxr_internal_runtime::USER_ERROR_OCCURRED);
                    EvcxrUserCodeError {}
                }
            }
        
mod evcxr_internal_runtime {
impl VariableStore {
    fn a() {}
}

pub fn create_variable_store() -> *mut VariableStore {
    Box::into_raw(Box::new(VariableStore::new()))
}
}
vars_ok &= evcxr_variable_store.check_variable::<Vec<f64>>(stringify!(used));
vars_ok &= evcxr_variable_store.check_variable::<AnnData>(stringify!(unused));
let used = evcxr_variable_store.take_variable::<Vec<f64>>(stringify!(used));
let mut unused = evcxr_variable_store.take_variable::<AnnData>(stringify!(unused));
println!("{used:?}");
    println!("EVCXR_PANIC_NOTIFICATION");
    eprintln!("the user's own");
evcxr_variable_store.put_variable::<Vec<f64>>(stringify!(used), used);
evcxr_variable_store.put_variable::<AnnData>(stringify!(unused), unused);
"#;

    #[test]
    fn the_engines_own_parts_are_the_facades_and_lines_stay_in_place() {
        for (errors, module) in [(Errors::Display, "display"), (Errors::Debug, "debug")] {
            let out = rewrite(CELL, errors);
            assert_eq!(out.lines().count(), CELL.lines().count() + 1);
            assert!(!out.contains("impl") && !out.contains("println!(\"EVCXR"));
            assert!(out.contains("eprintln!(\"the user's own\");"));
            assert!(out.contains(&format!("__cell::{module}::EvcxrUserCodeError;")));
            assert!(out.contains("__store as evcxr_internal_runtime;"));
            let place = |text: &str, code: &str| code.lines().position(|line| line == text);
            let put = "evcxr_variable_store.put_variable::<Vec<f64>>(stringify!(used), used);";
            assert_eq!(place(put, &out), place(put, CELL));
        }
    }

    #[test]
    fn a_variable_that_is_not_named_stays_in_the_store() {
        let out = rewrite(CELL, Errors::Display);
        assert_eq!(out.matches("stringify!(used)").count(), 3);
        assert!(!out.contains("unused)"));
    }

    #[test]
    fn code_without_the_engines_lines_is_kept() {
        let out = rewrite("fn a() {}\nlet b = \"println!(\";", Errors::Display);
        assert!(out.starts_with("fn a() {}\nlet b = \"println!(\";\n"));
    }
}
