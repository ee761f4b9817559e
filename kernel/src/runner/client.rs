//! A client of a kernel: starts it, asks, listens.

use crate::facade::{FACADE_ENV, Facade};
use crate::install;
use crate::transport::{Incoming, Kind, Socket};
use crate::wire::{Connection, Message, Signer, new_id};
use anyhow::{Context, Result, anyhow, bail};
use serde_json::{Value, json};
use std::collections::BTreeMap;
use std::net::TcpListener;
use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::sync::mpsc::{Receiver, RecvTimeoutError};
use std::time::{Duration, Instant};

/// How long a kernel may take to answer at all.
const START_WITHIN: Duration = Duration::from_secs(60);
const TICK: Duration = Duration::from_millis(100);

/// How a kernel is started.
#[derive(Clone, Debug)]
pub struct KernelSpec {
    /// Its name.
    pub name: String,
    /// How it is shown.
    pub display_name: String,
    argv: Vec<String>,
    env: BTreeMap<String, String>,
    by_signal: bool,
}

impl KernelSpec {
    /// This executable.
    pub fn own() -> Result<KernelSpec> {
        let exe = std::env::current_exe().context("cannot tell where this executable is")?;
        let mut spec = KernelSpec::of_executable(&exe);
        // The kernel runs in the notebook's folder: a relative path would be lost.
        if let Some(path) = Facade::path().ok().and_then(|p| p.canonicalize().ok()) {
            spec.env.insert(FACADE_ENV.to_owned(), path.display().to_string());
        }
        Ok(spec)
    }

    /// An executable of this kernel.
    pub fn of_executable(exe: &Path) -> KernelSpec {
        let exe = exe.display().to_string();
        let mut spec =
            KernelSpec::of_command(install::NAME, &[&exe, "run", "-f", "{connection_file}"]);
        install::DISPLAY_NAME.clone_into(&mut spec.display_name);
        spec
    }

    /// Any command that takes a `{connection_file}`.
    pub fn of_command(name: &str, argv: &[&str]) -> KernelSpec {
        KernelSpec {
            name: name.to_owned(),
            display_name: name.to_owned(),
            argv: argv.iter().map(|&word| word.to_owned()).collect(),
            env: BTreeMap::new(),
            by_signal: false,
        }
    }

    /// A variable for the kernel's environment.
    pub fn set_env(&mut self, name: &str, value: &str) {
        self.env.insert(name.to_owned(), value.to_owned());
    }

    /// An installed kernelspec.
    pub fn find(name: &str) -> Result<KernelSpec> {
        let mut known = Vec::new();
        for folder in install::search_path() {
            for entry in std::fs::read_dir(&folder).into_iter().flatten().flatten() {
                let path = entry.path().join("kernel.json");
                let found = entry.file_name().to_string_lossy().into_owned();
                if found.eq_ignore_ascii_case(name) && path.exists() {
                    return KernelSpec::read(&found, &path);
                }
                if path.exists() && !known.contains(&found) {
                    known.push(found);
                }
            }
        }
        known.sort();
        let known = match known.as_slice() {
            [] => "none is installed".to_owned(),
            names => format!("installed: {}", names.join(", ")),
        };
        bail!("no kernel named `{name}`; {known}")
    }

    fn read(name: &str, path: &Path) -> Result<KernelSpec> {
        let text = std::fs::read_to_string(path)
            .with_context(|| format!("cannot read {}", path.display()))?;
        let spec: Value = serde_json::from_str(&text)
            .with_context(|| format!("{} is not a kernelspec", path.display()))?;
        let argv: Vec<String> = spec["argv"]
            .as_array()
            .into_iter()
            .flatten()
            .filter_map(|a| a.as_str().map(str::to_owned))
            .collect();
        if argv.is_empty() {
            bail!("{} has no argv", path.display());
        }
        let env = spec["env"]
            .as_object()
            .into_iter()
            .flatten()
            .filter_map(|(k, v)| Some((k.clone(), v.as_str()?.to_owned())))
            .collect();
        Ok(KernelSpec {
            name: name.to_owned(),
            display_name: spec["display_name"].as_str().unwrap_or(name).to_owned(),
            argv,
            env,
            by_signal: spec["interrupt_mode"].as_str() != Some("message"),
        })
    }
}

/// How a cell ended, with the reply.
pub enum Ended {
    /// Status `ok`.
    Well(Value),
    /// Status `error` (or `aborted`).
    Failed(Value),
}

/// A running kernel.
pub struct Client {
    process: Child,
    by_signal: bool,
    signer: Signer,
    session: String,
    shell: Socket,
    replies: Receiver<Incoming>,
    control: Socket,
    control_replies: Receiver<Incoming>,
    outputs: Receiver<Incoming>,
    _iopub: Socket,
    stdin: Socket,
    questions: Receiver<Incoming>,
    answer: Option<String>,
    _folder: tempfile::TempDir,
    connection: Connection,
}

impl Client {
    /// Starts a kernel in a folder and connects.
    pub fn start(spec: &KernelSpec, folder: Option<&Path>) -> Result<Client> {
        Client::launch(spec, folder, "tcp", "127.0.0.1", free_ports()?)
    }

    /// Starts a kernel that is reached by sockets in a folder.
    pub fn start_ipc(spec: &KernelSpec, sockets: &Path) -> Result<Client> {
        let prefix = sockets.join("kernel").display().to_string();
        Client::launch(spec, None, "ipc", &prefix, [1, 2, 3, 4, 5])
    }

    fn launch(
        spec: &KernelSpec,
        folder: Option<&Path>,
        transport: &str,
        ip: &str,
        [shell, iopub, stdin, control, hb]: [u32; 5],
    ) -> Result<Client> {
        let files = tempfile::tempdir().context("cannot make a temporary folder")?;
        let connection = Connection {
            transport: transport.to_owned(),
            ip: ip.to_owned(),
            shell_port: shell,
            iopub_port: iopub,
            stdin_port: stdin,
            control_port: control,
            hb_port: hb,
            key: new_id(),
            signature_scheme: "hmac-sha256".to_owned(),
            kernel_name: spec.name.clone(),
        };
        let path = files.path().join("connection.json");
        std::fs::write(&path, serde_json::to_vec(&connection)?)?;
        let path = path.display().to_string();
        let mut argv = spec.argv.iter().map(|a| a.replace("{connection_file}", &path));
        let program = argv.next().unwrap_or_default();
        let mut command = Command::new(&program);
        command
            .args(argv)
            .envs(&spec.env)
            .env("JPY_PARENT_PID", std::process::id().to_string())
            .stdin(Stdio::null())
            // The terminal's Ctrl-C is for the client, which asks the kernel properly.
            .process_group(0);
        if let Some(folder) = folder {
            command.current_dir(folder);
        }
        let process = command
            .spawn()
            .with_context(|| format!("cannot start the kernel `{}`: {program}", spec.name))?;
        Client::connect(process, connection, files, spec.by_signal)
    }

    fn connect(
        process: Child,
        connection: Connection,
        folder: tempfile::TempDir,
        by_signal: bool,
    ) -> Result<Client> {
        let signer = Signer::new(&connection.key, &connection.signature_scheme)?;
        let session = new_id();
        let mut process = Guard(Some(process));
        let mut connect = |kind, port| {
            let start = Instant::now();
            loop {
                let endpoint = connection.endpoint(port);
                let identity = session.as_bytes();
                match Socket::connect(kind, &endpoint, identity, Duration::from_millis(200)) {
                    Ok(connected) => return Ok(connected),
                    Err(error) if start.elapsed() > START_WITHIN => return Err(error),
                    Err(_) => process.alive()?,
                }
            }
        };
        let (iopub, outputs) = connect(Kind::Sub, connection.iopub_port)?;
        let (shell, replies) = connect(Kind::Dealer, connection.shell_port)?;
        let (control, control_replies) = connect(Kind::Dealer, connection.control_port)?;
        let (stdin, questions) = connect(Kind::Dealer, connection.stdin_port)?;
        let process = process.0.take().context("the kernel is gone")?;
        Ok(Client {
            process,
            by_signal,
            signer,
            session,
            shell,
            replies,
            control,
            control_replies,
            outputs,
            _iopub: iopub,
            stdin,
            questions,
            answer: None,
            _folder: folder,
            connection,
        })
    }

    /// What to answer when a cell asks; without it cells may not ask.
    pub fn answer_with(&mut self, answer: Option<String>) {
        self.answer = answer;
    }

    /// Process id of the kernel.
    pub fn pid(&self) -> u32 {
        self.process.id()
    }

    /// How the kernel can be reached.
    pub fn connection(&self) -> &Connection {
        &self.connection
    }

    fn alive(&mut self) -> Result<()> {
        match self.process.try_wait()? {
            Some(status) => bail!("the kernel died ({status})"),
            None => Ok(()),
        }
    }

    fn send(&self, socket: &Socket, kind: &str, content: Value) -> Result<String> {
        let mut message = Message::new(&self.session, kind, content);
        message.header["username"] = json!("runner");
        let id = message.header["msg_id"].as_str().unwrap_or("").to_owned();
        socket.send(self.signer.encode(&message)?);
        Ok(id)
    }

    /// Sends on the shell socket without waiting; returns the message's id.
    pub fn send_shell(&self, kind: &str, content: Value) -> Result<String> {
        self.send(&self.shell, kind, content)
    }

    /// The reply on the shell socket to the message of that id.
    pub fn reply_to(&mut self, id: &str, within: Duration) -> Result<Value> {
        let end = Instant::now() + within;
        loop {
            match self.replies.recv_timeout(TICK) {
                Ok(incoming) => {
                    let message = self.signer.decode(incoming.frames)?;
                    if message.parent_id() == id {
                        return Ok(message.content);
                    }
                }
                Err(RecvTimeoutError::Timeout) => {
                    self.alive()?;
                    if Instant::now() > end {
                        bail!("the kernel gave no reply within {} s", within.as_secs());
                    }
                }
                Err(RecvTimeoutError::Disconnected) => bail!("the kernel closed the connection"),
            }
        }
    }

    /// Asks on the shell socket and waits for the reply.
    pub fn ask(&mut self, kind: &str, content: Value, within: Duration) -> Result<Value> {
        let id = self.send_shell(kind, content)?;
        self.reply_to(&id, within)
    }

    /// Asks on the control socket and waits for the reply.
    pub fn ask_control(&mut self, kind: &str, content: Value, within: Duration) -> Result<Value> {
        let id = self.send(&self.control, kind, content)?;
        let end = Instant::now() + within;
        while let Some(left) = end.checked_duration_since(Instant::now()) {
            let Ok(incoming) = self.control_replies.recv_timeout(left) else {
                break;
            };
            let message = self.signer.decode(incoming.frames)?;
            if message.parent_id() == id {
                return Ok(message.content);
            }
        }
        Err(anyhow!("no reply to {kind} on control"))
    }

    /// Waits until requests are answered *and* published, so that no output is missed: a
    /// subscription may take effect later than a request does.
    pub fn kernel_info(&mut self) -> Result<Value> {
        let start = Instant::now();
        loop {
            let id = self.send_shell("kernel_info_request", json!({}))?;
            let info = self.reply_to(&id, START_WITHIN)?;
            let end = Instant::now() + Duration::from_millis(500);
            while let Some(left) = end.checked_duration_since(Instant::now()) {
                let Ok(incoming) = self.outputs.recv_timeout(left) else {
                    break;
                };
                let message = self.signer.decode(incoming.frames)?;
                if message.parent_id() == id && message.content["execution_state"] == "idle" {
                    return Ok(info);
                }
            }
            if start.elapsed() > START_WITHIN {
                bail!("the kernel publishes nothing");
            }
        }
    }

    /// Runs a cell, passing on what is published; `interrupted` is asked now and then.
    pub fn execute(
        &mut self,
        code: &str,
        on: &mut dyn FnMut(&Message),
        interrupted: &mut dyn FnMut() -> bool,
    ) -> Result<Ended> {
        let id = self.send_shell(
            "execute_request",
            json!({
                "code": code, "silent": false, "store_history": true,
                "user_expressions": {}, "allow_stdin": self.answer.is_some(),
                "stop_on_error": true,
            }),
        )?;
        self.listen(&id, on, interrupted)?;
        let reply = self.reply_to(&id, START_WITHIN)?;
        Ok(if reply["status"] == "ok" { Ended::Well(reply) } else { Ended::Failed(reply) })
    }

    /// Passes on what is published until the request of that id is done with.
    pub fn listen(
        &mut self,
        id: &str,
        on: &mut dyn FnMut(&Message),
        interrupted: &mut dyn FnMut() -> bool,
    ) -> Result<()> {
        loop {
            match self.outputs.recv_timeout(TICK) {
                Ok(incoming) => {
                    let message = self.signer.decode(incoming.frames)?;
                    let mine = message.parent_id() == id;
                    if mine && message.content["execution_state"] == "idle" {
                        return Ok(());
                    }
                    // Updates concern displays of earlier cells as well.
                    if mine || message.kind() == "update_display_data" {
                        on(&message);
                    }
                }
                Err(RecvTimeoutError::Timeout) => self.alive()?,
                Err(RecvTimeoutError::Disconnected) => bail!("the kernel closed the connection"),
            }
            if interrupted() {
                self.interrupt()?;
            }
            while let Ok(question) = self.questions.try_recv() {
                if let Ok(question) = self.signer.decode(question.frames)
                    && question.kind() == "input_request"
                {
                    let value = self.answer.clone().unwrap_or_default();
                    self.send(&self.stdin, "input_reply", json!({"value": value}))?;
                }
            }
        }
    }

    /// Interrupts as the kernelspec asks for it.
    pub fn interrupt(&mut self) -> Result<()> {
        if self.by_signal {
            // SAFETY: plain system call on our own child.
            unsafe { libc::kill(self.process.id() as i32, libc::SIGINT) };
            return Ok(());
        }
        self.send(&self.control, "interrupt_request", json!({}))?;
        Ok(())
    }

    /// Asks the kernel to end, and ends it if it does not.
    pub fn shutdown(&mut self) {
        let _ = self.send(&self.control, "shutdown_request", json!({"restart": false}));
        let end = Instant::now() + Duration::from_secs(5);
        while Instant::now() < end {
            if !matches!(self.process.try_wait(), Ok(None)) {
                return;
            }
            std::thread::sleep(Duration::from_millis(10));
        }
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

impl Drop for Client {
    fn drop(&mut self) {
        if matches!(self.process.try_wait(), Ok(None)) {
            self.shutdown();
        }
    }
}

/// Ends a kernel that could not be connected to.
struct Guard(Option<Child>);

impl Guard {
    fn alive(&mut self) -> Result<()> {
        if let Some(process) = &mut self.0
            && let Some(status) = process.try_wait()?
        {
            bail!("the kernel ended before it answered ({status})");
        }
        Ok(())
    }
}

impl Drop for Guard {
    fn drop(&mut self) {
        if let Some(process) = &mut self.0 {
            let _ = process.kill();
            let _ = process.wait();
        }
    }
}

fn free_ports() -> Result<[u32; 5]> {
    // All held at once, so that they differ.
    let listeners = (0..5)
        .map(|_| TcpListener::bind("127.0.0.1:0"))
        .collect::<std::io::Result<Vec<_>>>()
        .context("no free ports")?;
    let mut ports = [0; 5];
    for (port, listener) in ports.iter_mut().zip(&listeners) {
        *port = listener.local_addr()?.port().into();
    }
    Ok(ports)
}
