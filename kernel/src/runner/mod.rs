//! Runs a notebook from top to bottom as a Jupyter client, without Jupyter.
//!
//! It speaks to a kernel only through its sockets ([`client`]), so any installed kernelspec can
//! be named; by default this executable itself is the kernel. Parameters are in [`parameters`],
//! what cells put out is gathered in [`notebook`], the page in [`html`].

pub mod client;
mod highlight;
mod html;
pub mod notebook;
pub mod parameters;

use crate::facade::write_beside;
use anyhow::{Context, Result, bail};
use client::{Client, Ended, KernelSpec};
use notebook::Notebook;
use serde_json::{Value, json};
use std::io::{IsTerminal, Write};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Instant;

/// Arguments of `exec`.
#[derive(clap::Args, Debug)]
pub struct Options {
    /// The notebook.
    pub notebook: PathBuf,
    /// Set a parameter: `-p name=value`.
    #[arg(short = 'p', long = "parameter", value_name = "NAME=VALUE")]
    pub parameters: Vec<String>,
    /// Write the executed notebook here.
    #[arg(short = 'o', long = "output", value_name = "OUT.ipynb")]
    pub output: Option<PathBuf>,
    /// Write it as a web page here.
    #[arg(long, value_name = "OUT.html")]
    pub html: Option<PathBuf>,
    /// Run the cells in this folder; the current one if not given, so that a path among the
    /// parameters means what it means in the shell.
    #[arg(long, value_name = "DIR")]
    pub cwd: Option<PathBuf>,
    /// Name of an installed kernelspec; this kernel if not given.
    #[arg(long, value_name = "NAME")]
    pub kernel: Option<String>,
}

static INTERRUPTS: AtomicU32 = AtomicU32::new(0);

extern "C" fn on_sigint(_: libc::c_int) {
    INTERRUPTS.fetch_add(1, Ordering::AcqRel);
}

/// Runs it; false if a cell failed. The output files are written either way.
pub fn run(options: &Options) -> Result<bool> {
    let mut notebook = Notebook::read(&options.notebook)?;
    let given = options
        .parameters
        .iter()
        .map(|p| {
            p.split_once('=')
                .map(|(name, value)| (name.trim().to_owned(), value.to_owned()))
                .with_context(|| format!("-p {p}: it must be NAME=VALUE"))
        })
        .collect::<Result<Vec<_>>>()?;
    if !given.is_empty() {
        parameters::inject(&mut notebook, &given)?;
    }
    for path in [&options.output, &options.html].into_iter().flatten() {
        writable(path)?;
    }
    let spec = match &options.kernel {
        Some(name) => KernelSpec::find(name)?,
        None => KernelSpec::own()?,
    };
    let handler: extern "C" fn(libc::c_int) = on_sigint;
    // SAFETY: the handler only counts.
    unsafe { libc::signal(libc::SIGINT, handler as libc::sighandler_t) };

    notebook.clear();
    let outcome = execute_all(&mut notebook, &spec, options.cwd.as_deref());
    let mut written = Ok(());
    if let Some(path) = &options.output {
        written = write_beside(path, notebook.to_json()?.as_bytes());
    }
    if let Some(path) = &options.html {
        let title = options
            .notebook
            .file_stem()
            .map(|s| s.to_string_lossy().into_owned())
            .unwrap_or_default();
        let page = html::page(&notebook, &title);
        written = written.and(write_beside(path, page.as_bytes()));
    }
    written?;
    outcome
}

fn writable(path: &Path) -> Result<()> {
    let parent = path.parent().filter(|p| !p.as_os_str().is_empty());
    if let Some(parent) = parent
        && !parent.is_dir()
    {
        std::fs::create_dir_all(parent)
            .with_context(|| format!("cannot create the folder {}", parent.display()))?;
    }
    if path.is_dir() {
        bail!("{} is a folder, not a file to write", path.display());
    }
    Ok(())
}

fn execute_all(notebook: &mut Notebook, spec: &KernelSpec, folder: Option<&Path>) -> Result<bool> {
    let start = Instant::now();
    let mut client = Client::start(spec, folder)?;
    let info = client.kernel_info()?;
    notebook.set_kernel(&spec.name, &spec.display_name, &info["language_info"]);
    let cells = notebook.code_cells();
    let total = cells.len();
    let mut well = true;
    let mut screen = Screen::default();
    for (n, index) in cells.into_iter().enumerate() {
        let code = notebook.source(index);
        let first = code
            .lines()
            .find(|l| !l.trim().is_empty() && !l.trim_start().starts_with("//"))
            .or(code.lines().next())
            .unwrap_or("");
        screen.line(&format!("[{}/{total}] {first}", n + 1));
        let cell_start = Instant::now();
        let mut seen = INTERRUPTS.load(Ordering::Acquire);
        let ended = client.execute(
            &code,
            &mut |message| {
                if message.kind() == "stream" {
                    screen.text(message.content["text"].as_str().unwrap_or(""));
                }
                notebook.collect(index, message);
            },
            &mut || {
                let now = INTERRUPTS.load(Ordering::Acquire);
                std::mem::replace(&mut seen, now) != now
            },
        );
        let seconds = cell_start.elapsed().as_secs_f64();
        match ended {
            Ok(Ended::Well(reply)) => {
                notebook.finish(index, &reply);
                screen.line(&format!("[{}/{total}] done in {seconds:.2} s", n + 1));
            }
            Ok(Ended::Failed(reply)) => {
                notebook.finish(index, &reply);
                screen.error(&reply);
                let expected = notebook.has_tag(index, "raises-exception");
                if !expected || INTERRUPTS.load(Ordering::Acquire) > 0 {
                    screen.line(&format!("[{}/{total}] failed after {seconds:.1} s", n + 1));
                    well = false;
                    break;
                }
            }
            Err(error) => {
                let text = format!("{error:#}");
                let reply = json!({
                    "ename": "KernelDied", "evalue": text, "traceback": [text],
                });
                notebook.add_error(index, &reply);
                screen.error(&reply);
                return Ok(false);
            }
        }
    }
    client.shutdown();
    if well {
        let seconds = start.elapsed().as_secs_f64();
        screen.line(&format!("{total} cells in {seconds:.1} s"));
    }
    Ok(well)
}

/// The terminal: progress on stderr, the cells' text on stdout.
#[derive(Default)]
struct Screen {
    open: bool,
}

impl Screen {
    fn text(&mut self, text: &str) {
        let mut out = std::io::stdout().lock();
        let _ = out.write_all(text.as_bytes());
        let _ = out.flush();
        self.open = !text.ends_with('\n');
    }

    fn line(&mut self, text: &str) {
        if std::mem::take(&mut self.open) {
            println!();
        }
        eprintln!("{text}");
    }

    fn error(&mut self, reply: &Value) {
        let colour = std::io::stderr().is_terminal();
        for part in reply["traceback"].as_array().into_iter().flatten() {
            let text = part.as_str().unwrap_or("");
            if colour {
                self.line(text);
            } else {
                self.line(&html::without_ansi(text));
            }
        }
    }
}
