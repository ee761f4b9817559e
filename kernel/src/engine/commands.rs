//! Commands of a notebook: lines that begin with a colon.
//!
//! Those that a whole cell consists of, or that stand on its first line and concern the rest, are
//! carried out here; the others (`:dep`, `:opt`, …) are the evaluator's. Beside them stand the cells
//! that the kernel itself runs to learn about variables.

use ra_ap_parser::{Edition, LexedStr, SyntaxKind};

/// What a cell asks for.
#[derive(Debug, PartialEq)]
pub enum Command<'a> {
    /// `:help`
    Help,
    /// `:vars`
    Vars,
    /// `:doc PATH`
    Doc(&'a str),
    /// `:time CODE`, or `:time` above the code.
    Time(String),
    /// `:write [-a] FILE` above the text.
    Write {
        /// Where to.
        path: &'a str,
        /// Behind what is there.
        append: bool,
        /// The lines below.
        text: &'a str,
    },
}

/// Reads the command that a cell is.
pub fn parse(code: &str) -> Option<Command<'_>> {
    let start = code.len() - code.trim_start().len();
    let (line, rest) = code[start..].split_once('\n').unwrap_or((&code[start..], ""));
    let line = line.trim();
    let (name, argument) = line.split_once(char::is_whitespace).unwrap_or((line, ""));
    let argument = argument.trim();
    let alone = rest.trim().is_empty();
    match name {
        ":help" if alone => Some(Command::Help),
        ":vars" if alone => Some(Command::Vars),
        ":doc" if alone => Some(Command::Doc(argument)),
        // The lines keep their numbers.
        ":time" => Some(Command::Time(format!("{}{argument}\n{rest}", &code[..start]))),
        ":write" => {
            let (append, path) = match argument.strip_prefix("-a ") {
                Some(path) => (true, path.trim()),
                None => (false, argument),
            };
            Some(Command::Write { path, append, text: rest })
        }
        _ => None,
    }
}

/// Command, argument, what it does; also of those that the evaluator carries out.
const HELP: [(&str, &str, &str); 12] = [
    (":vars", "", "the variables, with type, size and value"),
    (":doc", "PATH", "documentation of a function, type or module"),
    (":time", "CODE", "run the cell and say how long it took to compile and to run"),
    (":write", "[-a] FILE", "write the rest of the cell to a file (-a: append to it)"),
    (":dep", "NAME = \"VERSION\"", "use another crate"),
    (":show_deps", "", "the crates in use"),
    (":type", "NAME", "the type of a variable"),
    (":opt", "0|1|2", "how much to optimise cells (the library always is)"),
    (":explain", "", "explain the last compile error"),
    (":clear", "", "forget all variables and items"),
    (":last_compile_dir", "", "the folder in which cells are compiled"),
    (":help", "", "this list"),
];

/// The list of commands as text and as HTML.
pub fn help() -> (String, String) {
    let escape = crate::markup::escape;
    let mut text = String::new();
    let mut html = String::from("<table><tbody>");
    for (name, argument, what) in HELP {
        let call = format!("{name} {argument}");
        text.push_str(&format!("{call:<24} {what}\n"));
        html.push_str(&format!(
            "<tr><td style=\"text-align:left\"><code>{}</code></td>\
             <td style=\"text-align:left\">{}</td></tr>",
            escape(call.trim()),
            escape(what)
        ));
    }
    text.push_str("!COMMAND                 run a command of the shell");
    html.push_str(
        "<tr><td style=\"text-align:left\"><code>!COMMAND</code></td>\
         <td style=\"text-align:left\">run a command of the shell</td></tr></tbody></table>",
    );
    (text, html)
}

/// The cell that shows the variables of these names and types.
pub fn vars_cell<'a>(variables: impl Iterator<Item = (&'a str, &'a str)>) -> String {
    let mut variables: Vec<_> = variables.collect();
    variables.sort_unstable();
    let rows: String = variables
        .iter()
        .map(|(name, of)| {
            format!("({name:?}, {of:?}, (&&&::spatialkit::__vars::Of(&{name})).about()), ")
        })
        .collect();
    format!(
        "{{ #[allow(unused_imports)] \
         use ::spatialkit::__vars::{{Described as _, Printed as _, Opaque as _}}; \
         ::spatialkit::__vars::show(&[{rows}]); }}"
    )
}

/// The text between an opening quote and a byte of the code that lies in that string.
pub fn string_before(code: &str, at: usize) -> Option<&str> {
    let tokens = LexedStr::new(Edition::CURRENT, code);
    let token = (0..tokens.len())
        .find(|&i| tokens.text_range(i).start < at && at <= tokens.text_range(i).end)?;
    let (text, start) = (tokens.text(token), tokens.text_range(token).start);
    let closed = text.len() > 1 && text.ends_with('"') && at == start + text.len();
    (tokens.kind(token) == SyntaxKind::STRING && !closed).then(|| &code[start + 1..at])
}

/// The cell that reports what may stand in a string: of the slides that the code names, or of all.
pub fn names_cell<'a>(
    variables: impl Iterator<Item = (&'a str, &'a str)>,
    code: &str,
    prefix: &str,
) -> Option<String> {
    let slides: Vec<&str> =
        variables.filter(|(_, of)| *of == "AnnData").map(|(name, _)| name).collect();
    let words = code.split(|c: char| !c.is_alphanumeric() && c != '_');
    let named: Vec<&str> =
        slides.iter().copied().filter(|name| words.clone().any(|word| word == *name)).collect();
    let chosen = if named.is_empty() { slides } else { named };
    let list: String = chosen.iter().map(|name| format!("&{name}, ")).collect();
    (!chosen.is_empty())
        .then(|| format!("{{ ::spatialkit::__vars::names(&[{list}], {prefix:?}) }}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_cell_that_is_a_command_is_recognised() {
        assert_eq!(parse(":vars\n"), Some(Command::Vars));
        assert_eq!(parse("\n :doc pl::spatial "), Some(Command::Doc("pl::spatial")));
        assert_eq!(parse(":time f()"), Some(Command::Time("f()\n".to_owned())));
        assert_eq!(parse(":time\nf()\ng()"), Some(Command::Time("\nf()\ng()".to_owned())));
        let written = Command::Write { path: "a b.txt", append: true, text: "x\ny\n" };
        assert_eq!(parse(":write -a a b.txt\nx\ny\n"), Some(written));
        for other in [":dep rand", "let a = 1;", ":vars\n1 + 1", "x\n:vars", ""] {
            assert_eq!(parse(other), None, "{other}");
        }
    }

    #[test]
    fn a_string_under_the_cursor_is_found() {
        let code = "pl::spatial(&slide, \"lay\"); f(\"ü";
        let at = |text: &str| code.find(text).unwrap() + text.len();
        assert_eq!(string_before(code, at("\"lay")), Some("lay"));
        assert_eq!(string_before(code, at("\"")), Some(""));
        assert_eq!(string_before(code, code.len()), Some("ü"));
        assert_eq!(string_before(code, at("\"lay\"")), None);
        assert_eq!(string_before(code, at("slide")), None);
    }

    #[test]
    fn names_are_those_of_the_slides_in_the_code() {
        let variables = [("a", "AnnData"), ("b", "AnnData"), ("n", "i32")];
        let cell = |code| names_cell(variables.into_iter(), code, "x").unwrap();
        assert_eq!(cell("f(&b, \""), "{ ::spatialkit::__vars::names(&[&b, ], \"x\") }");
        assert_eq!(cell("f(\""), "{ ::spatialkit::__vars::names(&[&a, &b, ], \"x\") }");
        assert_eq!(names_cell([("n", "i32")].into_iter(), "", ""), None);
    }

    #[test]
    fn each_variable_is_named_once() {
        let cell = vars_cell([("b", "Vec<f64>"), ("a", "i32")].into_iter());
        assert!(cell.contains("(\"a\", \"i32\", (&&&::spatialkit::__vars::Of(&a)).about())"));
        assert!(cell.find("\"a\"") < cell.find("\"b\""));
    }
}
