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
//!
//! Everything is replaced within a line, and only added after the last one: the engine maps
//! the compiler's messages back to the user's code by line number.

/// How the error type of a `?` is taken.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Errors {
    /// As something that becomes a `Box<dyn Error>`.
    Display,
    /// As something that has `Debug`.
    Debug,
}

const PANIC: &str = r#"println!("EVCXR_PANIC_NOTIFICATION");"#;
const FAILED: &str = r#"println!("{}", evcxr_internal_runtime::USER_ERROR_OCCURRED);"#;
const CHANGED: &str = r#"println!("{VARIABLE_CHANGED_TYPE}{name}");"#;
const TEXT: &str = "fn evcxr_send_text_plain(";
const FROM: &str = "> From<T> for EvcxrUserCodeError {";
const FROM_FN: &str = "fn from(error: T) -> Self {";

/// Rewrites the source of a cell.
pub fn rewrite(source: &str, errors: Errors) -> String {
    let mut out = String::with_capacity(source.len() + 512);
    let mut in_error_impl = false;
    for line in source.lines() {
        if in_error_impl {
            if line.contains(FROM_FN) {
                out.push_str(&line.replace(FROM_FN, &format!("#[track_caller] {FROM_FN}")));
                out.push('\n');
                continue;
            }
            if line.trim_start().starts_with("eprintln!(") {
                out.push_str(match errors {
                    Errors::Display => "::spatialkit::__cell::failed(error.into());\n",
                    Errors::Debug => "::spatialkit::__cell::failed_debug(&error);\n",
                });
                continue;
            }
        }
        if line.contains(FROM) && line.trim_start().starts_with("impl<T: ") {
            in_error_impl = true;
            out.push_str(match errors {
                Errors::Display => {
                    "impl<T: Into<Box<dyn std::error::Error>>> From<T> for EvcxrUserCodeError {\n"
                }
                Errors::Debug => "impl<T: std::fmt::Debug> From<T> for EvcxrUserCodeError {\n",
            });
            continue;
        }
        if line.contains(TEXT) {
            // The engine's own way to show a value, taken where the trait's does not compile.
            let shown = format!(
                "{TEXT}text: &str) {{ ::spatialkit::__cell::value(text) }} \
                 #[allow(dead_code)] fn evcxr_unused("
            );
            out.push_str(&line.replace(TEXT, &shown));
            out.push('\n');
            continue;
        }
        if line.contains("println!(") {
            let line = line
                .replace(PANIC, &marker("\"EVCXR_PANIC_NOTIFICATION\""))
                .replace(FAILED, &marker("evcxr_internal_runtime::USER_ERROR_OCCURRED"))
                .replace(CHANGED, &marker("&format!(\"{VARIABLE_CHANGED_TYPE}{name}\")"));
            if line.contains("::__cell::marker(evcxr_internal_runtime::USER_ERROR") {
                in_error_impl = false;
            }
            out.push_str(&line);
        } else {
            out.push_str(line);
        }
        out.push('\n');
    }
    out.push_str("#[allow(unused_imports)] use ::spatialkit::__cell::Show as _;\n");
    out
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
    println!("EVCXR_PANIC_NOTIFICATION");
    eprintln!("the user's own");
"#;

    #[test]
    fn markers_and_errors_leave_stdout_and_lines_stay_in_place() {
        for errors in [Errors::Display, Errors::Debug] {
            let out = rewrite(CELL, errors);
            assert_eq!(out.lines().count(), CELL.lines().count() + 1);
            assert!(!out.contains(" println!"));
            assert!(out.contains("eprintln!(\"the user's own\");"));
            assert!(out.contains("#[track_caller] fn from"));
        }
        assert!(rewrite(CELL, Errors::Display).contains("Into<Box<dyn std::error::Error>>"));
        assert!(rewrite(CELL, Errors::Debug).contains("failed_debug(&error)"));
    }

    #[test]
    fn code_without_the_engines_lines_is_kept() {
        let out = rewrite("fn a() {}\nlet b = \"println!(\";", Errors::Display);
        assert!(out.starts_with("fn a() {}\nlet b = \"println!(\";\n"));
    }
}
