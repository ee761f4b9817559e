//! The evaluator: evcxr with its environment, its warm-up, and what came of a cell.
//!
//! evcxr finds its tools by the environment, so [`prepare_environment`] sets it before any
//! thread starts: the session's `bin` first on PATH (the cargo front), a CARGO_HOME and a
//! temporary folder of the session's own. The engine then lives in one thread; [`Handle`]
//! passes it one job after the other, so that requests which need no engine are answered
//! while it warms up or runs a cell.
//!
//! How failures read is in [`errors`]; interrupts are in [`interrupt`].

mod commands;
pub mod errors;
pub mod interrupt;

use crate::channel::{Cell, Channel, Values};
use crate::child;
use crate::facade::Facade;
use crate::front;
use crate::markup;
use anyhow::{Context, Result, anyhow};
use commands::Command as Order;
use errors::Failure;
use evcxr::{CommandContext, EvalCallbacks, EvalContext};
use interrupt::Interrupter;
use serde_json::{Map, Value};
use std::collections::HashMap;
use std::io::Write;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::Arc;
use std::sync::mpsc::{Sender, channel};
use std::time::{Duration, Instant};

/// Representations of a value by MIME type.
pub type Outputs = HashMap<String, String>;

fn text_and_html((text, html): (String, String)) -> Outputs {
    HashMap::from([("text/plain".to_owned(), text), ("text/html".to_owned(), html)])
}

/// A completion: text, what it is, and how it is listed.
pub struct Completion {
    /// What is inserted.
    pub text: String,
    /// `function`, `class`, `instance`, …
    pub kind: &'static str,
    /// How it is listed.
    pub label: String,
}

/// Completions and the bytes of the code that they replace.
pub struct Completions {
    /// Sorted by text.
    pub items: Vec<Completion>,
    /// First byte replaced.
    pub start: usize,
    /// One past the last byte replaced.
    pub end: usize,
}

type Work = Box<dyn FnOnce(&mut Engine) + Send>;

/// Passes jobs to the engine's thread.
#[derive(Clone)]
pub struct Handle {
    jobs: Sender<Work>,
}

impl Handle {
    /// Does a job in the engine's thread and waits for its result. The error of an engine that
    /// did not start is given to every job.
    fn call<T: Send + 'static>(
        &self,
        job: impl FnOnce(&mut Running) -> T + Send + 'static,
    ) -> Result<T> {
        let (sender, receiver) = channel();
        let work = move |engine: &mut Engine| {
            let _ = sender.send(match &mut engine.state {
                Ok(running) => Ok(job(running)),
                Err(message) => Err(anyhow!("{message}")),
            });
        };
        let gone = || anyhow!("the engine has stopped");
        self.jobs.send(Box::new(work)).map_err(|_| gone())?;
        receiver.recv().map_err(|_| gone())?
    }

    /// Runs a cell.
    pub fn execute(&self, code: String, count: u64, silent: bool) -> Result<Outputs, Failure> {
        match self.call(move |engine| engine.execute(&code, count, silent)) {
            Ok(result) => result,
            Err(error) => Err(Failure::new("KernelError", format!("{error:#}"))),
        }
    }

    /// The value of an expression in all its forms, which is not shown.
    pub fn evaluate(&self, code: String) -> Result<Map<String, Value>, Failure> {
        match self.call(move |engine| engine.evaluate(&code)) {
            Ok(result) => result,
            Err(error) => Err(Failure::new("KernelError", format!("{error:#}"))),
        }
    }

    /// Completes at a byte of the code.
    pub fn complete(&self, code: String, at: usize) -> Result<Completions> {
        self.call(move |engine| engine.complete(&code, at))?
    }

    /// Documentation of what stands before a byte of the code: text and HTML.
    pub fn inspect(&self, code: String, at: usize) -> Result<Option<(String, String)>> {
        self.call(move |engine| engine.inspect(&code, at))?
    }
}

/// Sets what evcxr reads from the environment. Must be called before any thread starts.
pub fn prepare_environment(session: &Path, facade: &Facade) -> Result<()> {
    front::install(session)?;
    let work = session.join("work");
    let config = session.join("config");
    std::fs::create_dir_all(&work)?;
    std::fs::create_dir_all(&config)?;
    let level = front::OPT_LEVEL;
    std::fs::write(config.join("evcxr.toml"), format!("[evcxr]\nopt_level = \"{level}\"\n"))?;
    let path = std::env::var_os("PATH").unwrap_or_default();
    let bins = std::iter::once(session.join("bin")).chain(std::env::split_paths(&path));
    let with_front = std::env::join_paths(bins).context("PATH cannot be extended")?;
    let cargo_home = std::env::var_os("CARGO_HOME").unwrap_or_default();
    // SAFETY: no other thread runs yet.
    unsafe {
        std::env::set_var(front::REAL_PATH_ENV, &path);
        std::env::set_var(front::REAL_CARGO_HOME_ENV, cargo_home);
        std::env::set_var(front::SESSION_ENV, session);
        std::env::set_var(crate::facade::FACADE_ENV, Facade::path()?);
        std::env::set_var("PATH", with_front);
        std::env::set_var("CARGO_HOME", session);
        std::env::set_var("EVCXR_TMPDIR", &work);
        std::env::set_var("EVCXR_CONFIG_DIR", &config);
        std::env::set_var("RUSTC", &facade.rustc);
        if let Some(source) = &facade.std_source {
            std::env::set_var("RUST_SRC_PATH", source);
        }
        for name in ["RUSTFLAGS", "CARGO_TARGET_DIR", "CARGO", "RUSTC_WRAPPER"] {
            std::env::remove_var(name);
        }
    }
    Ok(())
}

/// The command that starts the process which runs cells, in the user's own environment.
fn child_command(session: &Path) -> Result<Command> {
    let exe = std::env::current_exe().context("cannot tell where this executable is")?;
    let mut command = Command::new(exe);
    command.arg(child::SUBCOMMAND);
    if let Some(path) = std::env::var_os(front::REAL_PATH_ENV) {
        command.env("PATH", path);
    }
    match std::env::var_os(front::REAL_CARGO_HOME_ENV).filter(|home| !home.is_empty()) {
        Some(home) => command.env("CARGO_HOME", home),
        None => command.env_remove("CARGO_HOME"),
    };
    command.env_remove("RUSTC").env_remove("RUST_SRC_PATH");
    let socket = session.join(crate::channel::SOCKET);
    command.env(crate::channel::CHANNEL_ENV, format!("unix:{}", socket.display()));
    Ok(command)
}

/// Starts the engine's thread.
pub fn start(session: PathBuf, channel: Arc<Channel>, interrupter: Arc<Interrupter>) -> Handle {
    let (jobs, queue) = std::sync::mpsc::channel::<Work>();
    std::thread::spawn(move || {
        let state =
            catch_unwind(AssertUnwindSafe(|| Running::start(&session, channel, interrupter)));
        let state = match state {
            Ok(Ok(running)) => Ok(running),
            Ok(Err(error)) => Err(format!("the engine did not start: {error:#}")),
            Err(_) => Err("the engine did not start: it panicked".to_owned()),
        };
        if let Err(error) = &state {
            eprintln!("{error}");
        }
        let mut engine = Engine { state };
        // A cell that waits already warms the engine up by itself.
        let first = queue.try_recv().or_else(|_| {
            if let Ok(running) = &mut engine.state {
                running.warm_up();
            }
            queue.recv()
        });
        for work in first.into_iter().chain(queue) {
            work(&mut engine);
        }
    });
    Handle { jobs }
}

struct Engine {
    state: Result<Running, String>,
}

struct Running {
    context: CommandContext,
    channel: Arc<Channel>,
    interrupter: Arc<Interrupter>,
    work: PathBuf,
}

impl Running {
    fn start(
        session: &Path,
        channel: Arc<Channel>,
        interrupter: Arc<Interrupter>,
    ) -> Result<Running> {
        let facade = Facade::find()?;
        facade.check_compiler()?;
        let work = session.join("work");
        if let Err(error) = front::wait_ahead(session, &work, &facade) {
            eprintln!("cells will compile more slowly: {error:#}");
        }
        // The engine tries itself out; nobody is to see its results.
        channel.begin(0, Values::Dropped);
        let command = child_command(session)?;
        let (context, outputs) =
            EvalContext::with_subprocess_command(command).map_err(|e| anyhow!("{e}"))?;
        // Nothing comes this way but what goes wrong before the process has taken its pipes
        // over; but somebody has to read.
        std::thread::spawn(move || outputs.stdout.iter().for_each(|line| eprintln!("{line}")));
        std::thread::spawn(move || outputs.stderr.iter().for_each(|line| eprintln!("{line}")));
        channel.end();
        let context = CommandContext::with_eval_context(context);
        Ok(Running { context, channel, interrupter, work })
    }

    /// Makes the first cell as fast as later ones: type inference is taken through the library
    /// once, and the engine learns (by failing once) that cells use `?`.
    fn warm_up(&mut self) {
        let code = "use spatialkit::prelude::*; \
                    let warm = \"1\".parse::<f64>()?; let list = vec![warm; 3]; list";
        self.channel.begin(0, Values::Dropped);
        let _ = self.context.hover_at(code, code.len());
        let _ = self.context.execute("Ok::<(), std::fmt::Error>(())?;");
        self.channel.end();
    }

    fn execute(&mut self, code: &str, count: u64, silent: bool) -> Result<Outputs, Failure> {
        let failed = |error: anyhow::Error| Failure::new("Error", format!("{error:#}"));
        match commands::parse(code) {
            Some(Order::Help) => Ok(text_and_html(commands::help())),
            Some(Order::Vars) => {
                let code = commands::vars_cell(self.context.variables_and_types());
                self.run(&code, count, Values::of(silent)).0
            }
            Some(Order::Doc(path)) => match self.inspect(path, path.len()).map_err(failed)? {
                Some(found) => Ok(text_and_html(found)),
                None => Err(Failure::new("Error", format!("no documentation of `{path}`"))),
            },
            Some(Order::Time(code)) => {
                let start = Instant::now();
                let (result, cell) = self.run(&code, count, Values::of(silent));
                let compiled = start.elapsed().saturating_sub(cell.ran).as_secs_f64();
                let ran = seconds(cell.ran);
                self.channel.print(&format!("compiled in {compiled:.2} s, ran in {ran}\n"));
                result
            }
            Some(Order::Write { path, append, text }) => {
                write_file(path, append, text).map_err(failed)?;
                self.channel.print(&format!("wrote {path}\n"));
                Ok(Outputs::new())
            }
            None => self.run(code, count, Values::of(silent)).0,
        }
    }

    fn evaluate(&mut self, code: &str) -> Result<Map<String, Value>, Failure> {
        let (result, cell) = self.run(code, 0, Values::Kept);
        let mut kept: Map<String, Value> =
            result?.into_iter().map(|(mime, text)| (mime, text.into())).collect();
        kept.extend(cell.kept);
        Ok(kept)
    }

    /// Runs code; also what was learned of it.
    fn run(&mut self, code: &str, count: u64, values: Values) -> (Result<Outputs, Failure>, Cell) {
        let code = without_own_dependency(code);
        let before: Vec<String> = self.variables();
        let serial = self.channel.begin(count, values);
        self.interrupter.begin(serial);
        let mut callbacks = EvalCallbacks::default();
        let result = catch_unwind(AssertUnwindSafe(|| {
            self.context.execute_with_callbacks(&code, &mut callbacks)
        }));
        let interrupted = self.interrupter.end();
        let cell = self.channel.end();
        let result = match result {
            Err(_) => {
                Err(Failure::new("InternalError", "the evaluator panicked on this cell".to_owned()))
            }
            Ok(Ok(outputs)) => match self.failure_of(&cell, &code, interrupted) {
                Some(failure) => Err(failure),
                None => Ok(outputs.content_by_mime_type),
            },
            Ok(Err(evcxr::Error::SubprocessTerminated(status))) => {
                Err(Failure::ended(&status, interrupted, &before))
            }
            Ok(Err(_)) if interrupted.compiling => {
                Err(Failure::new("KeyboardInterrupt", "the compilation was cancelled".to_owned()))
            }
            Ok(Err(error)) => Err(Failure::of_engine(&error, &code)),
        };
        (result, cell)
    }

    /// Panics and early returns: the engine calls both a success.
    fn failure_of(
        &self,
        cell: &Cell,
        code: &str,
        interrupted: interrupt::Interrupted,
    ) -> Option<Failure> {
        let source = || std::fs::read_to_string(self.work.join("src/lib.rs")).unwrap_or_default();
        let failure = if cell.panicked {
            let report = cell.panic.clone().or_else(|| cell.thread_panic.clone());
            Failure::panic(&report.unwrap_or_default(), code, &source())
        } else {
            Failure::question_mark(cell.error.as_ref()?, code, &source())
        };
        Some(if interrupted.running { failure.named("KeyboardInterrupt") } else { failure })
    }

    fn variables(&self) -> Vec<String> {
        let mut names: Vec<String> =
            self.context.variables_and_types().map(|(name, _)| name.to_owned()).collect();
        names.sort();
        names
    }

    fn complete(&mut self, code: &str, at: usize) -> Result<Completions> {
        if let Some(prefix) = commands::string_before(code, at) {
            let items = self.names(code, prefix).into_iter();
            let items = items
                .map(|name| Completion { label: name.clone(), text: name, kind: "text" })
                .collect();
            return Ok(Completions { items, start: at - prefix.len(), end: at });
        }
        let code = without_own_dependency(code);
        let found = catch_unwind(AssertUnwindSafe(|| self.context.completions(&code, at)))
            .map_err(|_| anyhow!("completion failed"))??;
        let mut items: Vec<Completion> = found
            .completions
            .into_iter()
            .map(|c| Completion { text: c.code, kind: c.kind, label: c.label })
            .collect();
        items.sort_by(|a, b| a.text.cmp(&b.text));
        items.dedup_by(|a, b| a.text == b.text);
        Ok(Completions { items, start: found.start_offset, end: found.end_offset })
    }

    /// Columns, keys and genes of the session's slides, which the process that holds them knows.
    fn names(&mut self, code: &str, prefix: &str) -> Vec<String> {
        let variables = self.context.variables_and_types();
        let Some(cell) = commands::names_cell(variables, code, prefix) else {
            return Vec::new();
        };
        let list = self.evaluate(&cell).unwrap_or_default();
        let list = list.get("text/plain").and_then(Value::as_str).unwrap_or("[]");
        serde_json::from_str(list).unwrap_or_default()
    }

    fn inspect(&mut self, code: &str, at: usize) -> Result<Option<(String, String)>> {
        let code = without_own_dependency(code);
        let found = catch_unwind(AssertUnwindSafe(|| self.context.hover_at(&code, at)))
            .map_err(|_| anyhow!("inspection failed"))??;
        Ok(Some(found)
            .filter(|(text, _)| text != "No documentation found")
            .map(|(text, markdown)| (text, markup::render(&markdown, &Value::Null))))
    }
}

fn seconds(time: Duration) -> String {
    match time.as_secs_f64() {
        s if s >= 1.0 => format!("{s:.2} s"),
        s if s >= 1e-3 => format!("{:.1} ms", s * 1e3),
        s => format!("{:.0} µs", s * 1e6),
    }
}

fn write_file(path: &str, append: bool, text: &str) -> Result<()> {
    anyhow::ensure!(!path.is_empty(), "`:write` needs the name of a file");
    let mut options = std::fs::OpenOptions::new();
    options.create(true).write(true).append(append).truncate(!append);
    let mut file = options.open(path).with_context(|| format!("cannot open {path}"))?;
    file.write_all(text.as_bytes()).with_context(|| format!("cannot write {path}"))
}

/// A notebook that also runs in other kernels says `:dep spatialkit = …`; here the library is
/// there already. The line becomes a comment of the same length.
fn without_own_dependency(code: &str) -> String {
    code.split_inclusive('\n')
        .map(|line| {
            let rest = line.trim_start();
            let names_it = rest
                .strip_prefix(":dep")
                .map(str::trim_start)
                .and_then(|rest| rest.strip_prefix("spatialkit"))
                .is_some_and(|rest| {
                    !rest.starts_with(|c: char| c.is_alphanumeric() || c == '_' || c == '-')
                });
            if names_it {
                let (text, end) = match line.strip_suffix('\n') {
                    Some(text) => (text, "\n"),
                    None => (line, ""),
                };
                format!("//{}{end}", " ".repeat(text.len().saturating_sub(2)))
            } else {
                line.to_owned()
            }
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_notebooks_own_dependency_line_is_harmless() {
        let code = ":dep spatialkit = { path = \"../crate\" }\nuse spatialkit::prelude::*;";
        let kept = without_own_dependency(code);
        assert_eq!(kept.len(), code.len());
        assert!(kept.starts_with("//  "));
        assert!(kept.ends_with("\nuse spatialkit::prelude::*;"));
        for other in [":dep rand", ":dep spatialkit-extra", "let a = 1;"] {
            assert_eq!(without_own_dependency(other), other);
        }
    }
}
