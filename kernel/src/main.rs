//! The command line, and the choice of the role this process plays.

use anyhow::Result;
use clap::{Parser, Subcommand};
use spatialkit_kernel::{child, doctor, facade, front, install, runner, session};
use std::path::PathBuf;
use std::process::ExitCode;

/// Jupyter kernel for Rust notebooks with spatialkit preloaded.
#[derive(Parser)]
#[command(name = "spatialkit-kernel", version)]
struct Cli {
    #[command(subcommand)]
    command: Task,
}

#[derive(Subcommand)]
enum Task {
    /// Show the kernel to Jupyter.
    Install {
        /// For this user (the default).
        #[arg(long, conflicts_with = "prefix")]
        user: bool,
        /// Under this prefix (of a virtual environment, say).
        #[arg(long)]
        prefix: Option<PathBuf>,
    },
    /// Remove what `install` wrote.
    Uninstall {
        /// The prefix given to `install`.
        #[arg(long)]
        prefix: Option<PathBuf>,
    },
    /// Be a kernel; Jupyter calls this.
    Run {
        /// The connection file.
        #[arg(short = 'f', long = "connection-file")]
        connection: PathBuf,
    },
    /// Say what the kernel needs and whether it is there.
    Doctor,
    /// Build the library that cells link, and write its description.
    Prepare {
        /// The folder of the workspace.
        #[arg(long)]
        workspace: PathBuf,
        /// Features of the library (`cuda`, `metal`).
        #[arg(long, value_delimiter = ',')]
        features: Vec<String>,
    },
    /// Run a notebook from top to bottom, without Jupyter.
    Exec(runner::Options),
    /// Used by the kernel.
    #[command(name = child::SUBCOMMAND, hide = true)]
    Child,
}

fn main() -> ExitCode {
    if let Some(role) = front::role() {
        return front::run(role);
    }
    // In the process that runs cells the arguments may be followed by the user's own.
    if std::env::args().nth(1).as_deref() == Some(child::SUBCOMMAND) {
        return report(child::run().map(|()| true));
    }
    if std::env::var_os("EVCXR_RUSTC_WRAPPER").is_some() {
        evcxr::runtime_hook();
    }
    report(work(Cli::parse().command))
}

fn report(result: Result<bool>) -> ExitCode {
    match result {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::FAILURE,
        Err(error) => {
            eprintln!("error: {error:#}");
            ExitCode::FAILURE
        }
    }
}

fn work(task: Task) -> Result<bool> {
    match task {
        Task::Install { prefix, .. } => {
            let folder = install::install(prefix.as_deref())?;
            println!("installed in {}", folder.display());
            Ok(true)
        }
        Task::Uninstall { prefix } => {
            let folder = install::uninstall(prefix.as_deref())?;
            println!("removed {}", folder.display());
            Ok(true)
        }
        Task::Run { connection } => session::run(&connection).map(|()| true),
        Task::Doctor => Ok(doctor::run()),
        Task::Prepare { workspace, features } => {
            let path = facade::prepare(&workspace, &features)?;
            println!("{}", path.display());
            Ok(true)
        }
        Task::Exec(options) => runner::run(&options),
        Task::Child => child::run().map(|()| true),
    }
}
