//! Programs that a build or a test needs: found where they are, otherwise set up below
//! `target/tools`, otherwise named with what to install.

use anyhow::{Context, Result, bail};
use std::ffi::OsString;
use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode, ExitStatus, Stdio};

/// The folder of the workspace.
pub fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().expect("xtask lies in the workspace")
}

/// The folder that cargo builds into.
pub fn target_dir() -> PathBuf {
    match std::env::var_os("CARGO_TARGET_DIR") {
        Some(dir) => root().join(dir),
        None => root().join("target"),
    }
}

/// Tells the user what is going on.
pub fn say(text: &str) {
    eprintln!("\x1b[1;36m==>\x1b[0m {text}");
}

/// A process's exit status as our own.
pub fn exit_code(status: ExitStatus) -> ExitCode {
    ExitCode::from(u8::try_from(status.code().unwrap_or(1)).unwrap_or(1))
}

/// Runs a command; its failure is an error that names it.
pub fn run(command: &mut Command, what: &str) -> Result<()> {
    let status = command.status().with_context(|| format!("{what}: cannot start {command:?}"))?;
    if !status.success() {
        bail!("{what} failed ({status}); see its messages above");
    }
    Ok(())
}

/// The first line that a program prints of its version.
fn version(program: impl AsRef<std::ffi::OsStr>) -> Option<String> {
    let output = Command::new(program).arg("--version").stdin(Stdio::null()).output().ok()?;
    let text = String::from_utf8_lossy(if output.stdout.is_empty() {
        &output.stderr
    } else {
        &output.stdout
    })
    .into_owned();
    output.status.success().then(|| text.lines().next().unwrap_or_default().to_string())
}

const PYTHON_ADVICE: &str =
    "install Python 3.10 or newer (Debian: apt install python3 python3-venv)";
const CC_ADVICE: &str = "install a C compiler (Debian: apt install gcc libc6-dev; macOS: \
                         xcode-select --install)";

/// What a fresh clone needs, with the version found or the advice.
pub fn survey() -> Vec<(&'static str, Result<String, &'static str>)> {
    let cmake = version("cmake").or_else(|| version(cmake_dir().join("cmake")));
    vec![
        ("cargo", version(cargo()).ok_or("install Rust 1.95 or newer with rustup")),
        ("C compiler", version("cc").ok_or(CC_ADVICE)),
        ("Python", version("python3").ok_or(PYTHON_ADVICE)),
        ("cmake", cmake.ok_or("set up by `cargo xtask run` when it builds")),
    ]
}

/// The cargo that runs this program.
pub fn cargo() -> OsString {
    std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into())
}

/// A Python environment of the project's own.
pub struct PythonEnv {
    /// Its folder.
    pub prefix: PathBuf,
}

impl PythonEnv {
    /// A program installed in it.
    pub fn program(&self, name: &str) -> PathBuf {
        self.prefix.join("bin").join(name)
    }
}

/// The environment `name` with the packages that `requirements` (a file of the project) lists;
/// made anew whenever that file changes.
pub fn python_env(name: &str, requirements: &str) -> Result<PythonEnv> {
    let requirements = root().join(requirements);
    let wanted = std::fs::read_to_string(&requirements)
        .with_context(|| format!("cannot read {}", requirements.display()))?;
    let env = PythonEnv { prefix: target_dir().join("tools").join(name) };
    let stamp = env.prefix.join("requirements.installed");
    if std::fs::read_to_string(&stamp).is_ok_and(|have| have == wanted) {
        return Ok(env);
    }
    if version("python3").is_none() {
        bail!("there is no python3: {PYTHON_ADVICE}");
    }
    say(&format!("setting up the Python environment `{name}`"));
    let python = env.program("python");
    if !python.exists() {
        let made = Command::new("python3").args(["-m", "venv"]).arg(&env.prefix).status();
        if !made.is_ok_and(|s| s.success()) {
            let _ = std::fs::remove_dir_all(&env.prefix);
            bail!(
                "python3 cannot make environments: install its venv module \
                   (Debian: apt install python3-venv)"
            );
        }
    }
    let mut pip = Command::new(&python);
    pip.args(["-m", "pip", "install", "--quiet", "--disable-pip-version-check", "-r"]);
    run(pip.arg(&requirements), "installing the Python packages")?;
    std::fs::write(&stamp, wanted)?;
    Ok(env)
}

/// The wheel of a Python package, without what it depends on; downloaded once.
pub fn wheel(env: &PythonEnv, name: &str, version: &str) -> Result<PathBuf> {
    let folder = target_dir().join("tools/wheels");
    let start = format!("{name}-{version}-");
    let found = || -> Option<PathBuf> {
        let entries = std::fs::read_dir(&folder).ok()?.flatten().map(|e| e.path());
        entries
            .filter(|p| p.extension().is_some_and(|e| e == "whl"))
            .find(|p| p.file_name().is_some_and(|f| f.to_string_lossy().starts_with(&start)))
    };
    if let Some(path) = found() {
        return Ok(path);
    }
    let mut pip = Command::new(env.program("python"));
    pip.args(["-m", "pip", "download", "--quiet", "--disable-pip-version-check", "--no-deps"]);
    run(pip.arg("-d").arg(&folder).arg(format!("{name}=={version}")), "downloading a wheel")?;
    found().with_context(|| format!("pip left no wheel of {name} in {}", folder.display()))
}

/// A Chromium for the tests in a browser: the one that `SPATIALKIT_CHROMIUM` names or that is on the PATH,
/// otherwise Debian's, which root may install.
pub fn chromium() -> Result<PathBuf> {
    if let Some(named) = std::env::var_os("SPATIALKIT_CHROMIUM") {
        return Ok(named.into());
    }
    let found = || {
        let path = std::env::var_os("PATH").unwrap_or_default();
        let names = ["chromium", "chromium-browser", "google-chrome"];
        std::env::split_paths(&path)
            .flat_map(|dir| names.map(|name| dir.join(name)))
            .find(|program| program.is_file())
    };
    if let Some(program) = found() {
        return Ok(program);
    }
    let user = Command::new("id").arg("-u").output();
    if user.is_ok_and(|o| o.stdout.trim_ascii() == b"0") && version("apt-get").is_some() {
        say("installing Chromium");
        let apt_get = |args: &[&str]| {
            let mut command = Command::new("apt-get");
            command.env("DEBIAN_FRONTEND", "noninteractive").stdout(Stdio::null());
            run(command.args(args), "installing Chromium")
        };
        apt_get(&["update"])?;
        apt_get(&["install", "-y", "--no-install-recommends", "chromium"])?;
    }
    found().context(
        "install Chromium (Debian: apt install chromium) or name it in SPATIALKIT_CHROMIUM",
    )
}

fn cmake_dir() -> PathBuf {
    target_dir().join("tools/build/bin")
}

/// A command with everything on its PATH that the build of the library needs.
pub fn with_build_tools(program: impl AsRef<std::ffi::OsStr>) -> Result<Command> {
    if version("cc").is_none() {
        bail!("there is no C compiler `cc`, which HDF5 is built with: {CC_ADVICE}");
    }
    let mut command = Command::new(program);
    if version("cmake").is_none() {
        let env = python_env("build", "xtask/build-requirements.txt")
            .context("HDF5 is built with cmake; install it, or let this set it up")?;
        let path = std::env::var_os("PATH").unwrap_or_default();
        let dirs = std::iter::once(env.prefix.join("bin")).chain(std::env::split_paths(&path));
        command.env("PATH", std::env::join_paths(dirs)?);
    }
    Ok(command)
}

/// cargo in the workspace, with what the build of the library needs.
pub fn cargo_command() -> Result<Command> {
    let mut command = with_build_tools(cargo())?;
    command.current_dir(root());
    Ok(command)
}
