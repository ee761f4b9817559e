//! What a failed cell says: compile errors, panics, errors that left by `?`, ended processes.
//!
//! Everything is told in terms of the user's own lines; the generated code around them, and
//! its names, stay out of sight. Colours are ANSI, which every client shows.

use super::interrupt::Interrupted;
use crate::channel::Report;
use evcxr::CompilationError;
use serde_json::Value;
use std::fmt::Write;

/// What has to be seen. Red and blue would be hard to read on the dark red on which JupyterLab's dark
/// theme shows errors.
const BOLD: &str = "\x1b[1m";
const CYAN: &str = "\x1b[36m";
const PLAIN: &str = "\x1b[0m";

/// A failed cell, in the protocol's words.
#[derive(Clone, Debug, PartialEq)]
pub struct Failure {
    /// The kind of error.
    pub name: String,
    /// What it says.
    pub value: String,
    /// How it is shown, with colours.
    pub traceback: Vec<String>,
}

impl Failure {
    /// A failure that is one sentence.
    pub fn new(name: &str, value: String) -> Failure {
        let traceback = vec![format!("{BOLD}{name}{PLAIN}: {value}")];
        Failure { name: name.to_owned(), value, traceback }
    }

    /// The same under another name.
    pub fn named(mut self, name: &str) -> Failure {
        // Front ends show the traceback alone.
        if let Some(first) = self.traceback.first_mut() {
            let rest = first.split_once(':').map_or(first.as_str(), |(_, rest)| rest);
            *first = format!("{BOLD}{name}{PLAIN}:{rest}");
        }
        name.clone_into(&mut self.name);
        self
    }

    /// What the engine itself reports.
    pub fn of_engine(error: &evcxr::Error, code: &str) -> Failure {
        match error {
            evcxr::Error::CompilationErrors(errors) => Failure::compile(errors, code),
            evcxr::Error::TypeRedefinedVariablesLost(names) => Failure::new(
                "TypeRedefined",
                format!("the type of {} was redefined; lost", names.join(", ")),
            ),
            evcxr::Error::Message(text) => Failure::new("Error", clean(text)),
            other => Failure::new("Error", clean(&other.to_string())),
        }
    }

    fn compile(errors: &[CompilationError], code: &str) -> Failure {
        let only_errors = errors.iter().any(|e| e.level() == "error");
        let shown: Vec<_> =
            errors.iter().filter(|e| !only_errors || e.level() == "error").collect();
        let mut value = String::new();
        let mut traceback = Vec::new();
        for error in shown {
            let head = match error.code() {
                Some(code) => format!("error[{code}]"),
                None => "error".to_owned(),
            };
            let message = match kept_variable(&error.json) {
                Some(name) => format!(
                    "the variable `{name}` cannot be kept for the next cell: {}",
                    clean(&error.message())
                ),
                None => clean(&error.message()),
            };
            if value.is_empty() {
                value = format!("{head}: {message}");
            }
            let mut text = format!("{BOLD}{head}{PLAIN}: {message}{PLAIN}\n");
            let spans: Vec<_> = error
                .spanned_messages()
                .iter()
                .filter_map(|m| {
                    let span = m.span?;
                    Some(Mark {
                        line: span.start_line,
                        from: span.start_column,
                        to: (span.end_line == span.start_line).then_some(span.end_column),
                        // A span without a label of its own repeats the message.
                        label: if m.label == format!("error: {}", error.message()) {
                            String::new()
                        } else {
                            clean(&m.label)
                        },
                        primary: m.is_primary,
                    })
                })
                .collect();
            excerpt(&mut text, code, &spans);
            for help in helps(&error.json) {
                let _ = writeln!(text, "{CYAN}  = help{PLAIN}: {}", clean(&help));
            }
            if kept_variable(&error.json).is_some() {
                let _ = writeln!(text, "{CYAN}  = help{PLAIN}: {KEEP}");
            }
            if let Some(hint) = error.evcxr_extra_hint() {
                let _ = writeln!(text, "{CYAN}  = {PLAIN}note: {hint}");
            }
            traceback.push(text.trim_end().to_owned());
        }
        Failure { name: "CompileError".to_owned(), value, traceback }
    }

    /// A panic on the cell's thread.
    pub fn panic(report: &Report, code: &str, source: &str) -> Failure {
        let message = if report.message.is_empty() {
            "the cell panicked".to_owned()
        } else {
            clean(&report.message)
        };
        let mut text = format!("{BOLD}panicked{PLAIN}: {message}{PLAIN}\n");
        locate(&mut text, report, code, source);
        Failure {
            name: "Panic".to_owned(),
            value: message,
            traceback: vec![text.trim_end().to_owned()],
        }
    }

    /// An error that left the cell through `?`.
    pub fn question_mark(report: &Report, code: &str, source: &str) -> Failure {
        let message = clean(&report.message);
        let mut text = format!("{BOLD}Error{PLAIN}: {message}{PLAIN}\n");
        locate(&mut text, report, code, source);
        let mut value = message.clone();
        let mut last = message;
        let mut causes = Vec::new();
        for cause in &report.causes {
            // Many types repeat their source in their own text.
            if !last.ends_with(cause.as_str()) {
                causes.push(cause.clone());
                let _ = write!(value, ": {cause}");
            }
            last.clone_from(cause);
        }
        if !causes.is_empty() {
            let _ = writeln!(text, "{BOLD}caused by{PLAIN}:");
            for (i, cause) in causes.iter().enumerate() {
                let _ = writeln!(text, "  {}: {}", i + 1, clean(cause));
            }
        }
        Failure { name: "Error".to_owned(), value, traceback: vec![text.trim_end().to_owned()] }
    }

    /// The process that runs cells is gone.
    pub fn ended(status: &str, interrupted: Interrupted, lost: &[String]) -> Failure {
        let lost = if lost.is_empty() {
            "no variables were defined".to_owned()
        } else {
            format!("lost: {}", lost.join(", "))
        };
        if interrupted.killed {
            return Failure::new(
                "KeyboardInterrupt",
                format!("the cell did not stop by itself and was ended with its process; {lost}"),
            );
        }
        let status = status.trim();
        let why = if status.contains("signal: 11") {
            "an invalid memory access or a stack overflow".to_owned()
        } else if status.contains("signal: 9") {
            "killed from outside (out of memory?)".to_owned()
        } else if status.contains("signal: 6") {
            "aborted".to_owned()
        } else {
            status.lines().last().unwrap_or(status).to_owned()
        };
        Failure::new("ProcessEnded", format!("the process that runs cells ended: {why}; {lost}"))
    }
}

/// What the compiler suggests; a change of a line as the line that it makes.
fn helps(error: &Value) -> Vec<String> {
    let children = error["children"].as_array().into_iter().flatten();
    children
        .filter(|child| child["level"] == "help")
        .filter_map(|child| {
            let message = child["message"].as_str()?.to_owned();
            Some(match changed_line(&child["spans"]) {
                Some(line) => format!("{message}: `{line}`"),
                None => message,
            })
        })
        .collect()
}

/// The line of a suggestion whose parts all lie in it, changed.
fn changed_line(spans: &Value) -> Option<String> {
    let mut spans: Vec<&Value> = spans.as_array()?.iter().collect();
    let column = |span: &Value, key: &str| span[key].as_u64().map(|n| n as usize);
    // From the last, so that columns stay what they are.
    spans.sort_by_key(|span| std::cmp::Reverse(column(span, "column_start")));
    let first = spans.first()?;
    let line = first["text"][0]["text"].as_str()?;
    if line.contains("evcxr") || line.contains("::spatialkit::__") {
        // Not the user's.
        return None;
    }
    let mut line: Vec<char> = line.chars().collect();
    for span in &spans {
        let new = span["suggested_replacement"].as_str()?;
        let same_line =
            ["line_start", "line_end"].iter().all(|key| span[key] == first["line_start"]);
        if !same_line || new.contains('\n') {
            return None;
        }
        let (from, to) = (column(span, "column_start")? - 1, column(span, "column_end")? - 1);
        line.get(from..to)?;
        line.splice(from..to, new.chars());
    }
    Some(line.into_iter().collect::<String>().trim().to_owned())
}

const KEEP: &str = "a variable of a notebook owns what it holds and has a type that can be written \
                    down: collect an iterator, clone what is borrowed, box a closure, or put the \
                    lines that use it into braces";

/// The variable that could not be put into the store, if that is what an error is about: the user
/// wrote no such line.
fn kept_variable(error: &Value) -> Option<&str> {
    let spans = error["spans"].as_array()?;
    let line = spans
        .iter()
        .filter_map(|span| span["text"][0]["text"].as_str())
        .find(|line| line.contains("evcxr_variable_store.put_variable::<"))?;
    line.split_once("stringify!(")?.1.split([',', ')']).next()
}

struct Mark {
    line: usize,
    from: usize,
    to: Option<usize>,
    label: String,
    primary: bool,
}

/// Lines of the cell with what is marked in them.
fn excerpt(text: &mut String, code: &str, marks: &[Mark]) {
    let lines: Vec<&str> = code.lines().collect();
    let Some(first) = marks.iter().find(|m| m.primary).or(marks.first()) else {
        return;
    };
    let mut numbers: Vec<usize> = marks.iter().map(|m| m.line).collect();
    numbers.sort_unstable();
    numbers.dedup();
    let width = numbers.last().map_or(1, |n| n.to_string().len());
    let pad = " ".repeat(width);
    let _ = writeln!(text, "{CYAN}{pad}-->{PLAIN} line {}, column {}", first.line, first.from);
    let _ = writeln!(text, "{CYAN}{pad} |{PLAIN}");
    for number in numbers {
        let Some(line) = number.checked_sub(1).and_then(|n| lines.get(n)) else {
            continue;
        };
        let _ = writeln!(text, "{CYAN}{number:>width$} |{PLAIN} {line}");
        for mark in marks.iter().filter(|m| m.line == number) {
            let length = line.chars().count();
            let from = mark.from.max(1);
            let to = mark.to.unwrap_or(length + 1).max(from + 1);
            let (colour, sign) = if mark.primary { (BOLD, "^") } else { (CYAN, "-") };
            // Tabs stay tabs, so that the signs stand below what they mark.
            let before: String =
                line.chars().take(from - 1).map(|c| if c == '\t' { '\t' } else { ' ' }).collect();
            let signs = sign.repeat(to - from);
            let marked = format!("{signs} {}", mark.label);
            let marked = marked.trim_end();
            let _ = writeln!(text, "{CYAN}{pad} |{PLAIN} {before}{colour}{marked}{PLAIN}");
        }
    }
}

/// Shows the user's line of a report, or names the file if it is not the user's.
fn locate(text: &mut String, report: &Report, code: &str, source: &str) {
    let Some((file, line)) = &report.place else {
        return;
    };
    if !file.ends_with("src/lib.rs") || file.starts_with('/') {
        let short = file.rsplit("/registry/src/").next().unwrap_or(file);
        let _ = writeln!(text, "{CYAN}-->{PLAIN} {short}:{line}");
        return;
    }
    if let Some(number) = line_of_cell(code, source, *line) {
        let shown = code.lines().nth(number - 1).unwrap_or("");
        let pad = " ".repeat(number.to_string().len());
        let _ = writeln!(text, "{CYAN}{pad}-->{PLAIN} line {number}");
        let _ = writeln!(text, "{CYAN}{number} |{PLAIN} {shown}");
    }
}

/// The line of the cell that became line `line` of the generated source.
fn line_of_cell(code: &str, source: &str, line: usize) -> Option<usize> {
    let generated: Vec<&str> = source.lines().collect();
    let wanted = generated.get(line.checked_sub(1)?)?.trim();
    if wanted.is_empty() {
        return None;
    }
    // The same text may stand on several lines: the n-th of them there is the n-th here.
    let nth = generated[..line - 1].iter().filter(|l| l.trim() == wanted).count();
    let same: Vec<usize> =
        code.lines().enumerate().filter(|(_, l)| l.trim() == wanted).map(|(i, _)| i + 1).collect();
    match same.get(nth).or(same.last()) {
        Some(&number) => Some(number),
        // A part of a line: the last expression stands between generated parentheses.
        None => code
            .lines()
            .position(|l| !l.trim().is_empty() && wanted.contains(l.trim()))
            .map(|i| i + 1),
    }
}

/// Internal names in the compiler's or the engine's words.
fn clean(text: &str) -> String {
    text.replace("EvcxrUserCodeError", "the cell's error")
        .replace("evcxr_variable_store", "the end of the cell")
        .trim_end()
        .to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_panic_shows_the_users_line() {
        let source = "#![allow()]\nfn run() {\nlet a = 1;\npanic!(\"boo\");\n}\n";
        let report = Report {
            message: "boo".to_owned(),
            causes: Vec::new(),
            place: Some(("src/lib.rs".to_owned(), 4)),
        };
        let failure = Failure::panic(&report, "let a = 1;\npanic!(\"boo\");", source);
        assert_eq!(failure.value, "boo");
        assert!(failure.traceback[0].contains("line 2"));
        assert!(failure.traceback[0].contains("panic!(\"boo\");"));
    }

    #[test]
    fn an_error_names_its_causes_once() {
        let report = Report {
            message: "cannot read: no such file".to_owned(),
            causes: vec!["no such file".to_owned(), "deeper".to_owned()],
            place: None,
        };
        let failure = Failure::question_mark(&report, "", "");
        assert_eq!(failure.value, "cannot read: no such file: deeper");
    }

    #[test]
    fn lost_variables_are_named() {
        let interrupted = Interrupted { killed: true, ..Interrupted::default() };
        let failure = Failure::ended("signal: 9", interrupted, &["a".to_owned(), "b".to_owned()]);
        assert!(failure.value.contains("lost: a, b"));
        assert_eq!(failure.name, "KeyboardInterrupt");
    }
}
