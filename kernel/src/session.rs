//! A kernel's session: the sockets, their threads, and one function for each type of message.
//!
//! Heartbeat and control are answered in threads of their own; shell requests are answered in
//! order. The sockets are bound before anything else, and `kernel_info` needs no engine, so a
//! client sees the kernel at once while the engine warms up. The protocol is described at
//! <https://jupyter-client.readthedocs.io/en/stable/messaging.html>; each function names its
//! section.

mod asking;
mod folder;
mod replies;

use crate::channel::Channel;
use crate::engine::errors::Failure;
use crate::engine::interrupt::Interrupter;
use crate::engine::{self, Handle};
use crate::facade::Facade;
use crate::publish::Publisher;
use crate::transport::{Incoming, Kind, Socket};
use crate::wire::{Connection, Message, Signer, new_id};
use anyhow::Result;
use asking::Asking;
use folder::SessionFolder;
use serde_json::{Map, Value, json};
use std::collections::HashSet;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::RecvTimeoutError;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

/// A cell of the session's history.
struct Entry {
    count: u64,
    code: String,
    output: Option<String>,
}

/// What the threads share.
struct Kernel {
    signer: Signer,
    session: String,
    publisher: Arc<Publisher>,
    interrupter: Arc<Interrupter>,
    channel: Arc<Channel>,
    folder: PathBuf,
    ended: AtomicBool,
}

/// Serves one connection file until a client asks to shut down.
pub fn run(connection_file: &Path) -> Result<()> {
    let connection = Connection::read(connection_file)?;
    let signer = Signer::new(&connection.key, &connection.signature_scheme)?;
    let folder = SessionFolder::new()?;
    // Before any thread: the engine reads its surroundings from the environment.
    let prepared =
        Facade::find().and_then(|facade| engine::prepare_environment(folder.path(), &facade));

    let bind = |kind, port| Socket::bind(kind, &connection.endpoint(port));
    let (_heartbeat, _) = bind(Kind::Rep, connection.hb_port)?;
    let (shell, requests) = bind(Kind::Router, connection.shell_port)?;
    let (control, commands) = bind(Kind::Router, connection.control_port)?;
    let (stdin, answers) = bind(Kind::Router, connection.stdin_port)?;
    let (iopub, _) = bind(Kind::Pub, connection.iopub_port)?;

    let session = new_id();
    let publisher = Arc::new(Publisher::new(iopub, signer.clone(), session.clone()));
    publisher.publish("status", json!({"execution_state": "starting"}));
    let asking = Arc::new(Asking {
        stdin,
        answers: Mutex::new(answers),
        signer: signer.clone(),
        session: session.clone(),
        request: Mutex::default(),
    });
    let ask = asking.clone();
    let channel = Channel::open(
        folder.path(),
        publisher.clone(),
        Box::new(move |prompt, password| ask.ask(prompt, password)),
    )?;
    let interrupter = Arc::new(Interrupter::new(channel.clone(), folder.path().to_owned()));
    let kernel = Arc::new(Kernel {
        signer,
        session,
        publisher,
        interrupter: interrupter.clone(),
        channel: channel.clone(),
        folder: folder.path().to_owned(),
        ended: AtomicBool::new(false),
    });
    let engine = match prepared {
        Ok(()) => Some(engine::start(folder.path().to_owned(), channel, interrupter)),
        Err(error) => {
            eprintln!("{error:#}");
            None
        }
    };
    interrupt_by_signal(kernel.clone());
    end_with_parent(kernel.clone());
    let controlling = kernel.clone();
    std::thread::Builder::new().name("control".to_owned()).spawn(move || {
        for incoming in commands {
            controlling.control(&control, incoming);
        }
    })?;
    let mut shell = Shell {
        kernel: kernel.clone(),
        socket: shell,
        engine,
        asking,
        count: 0,
        history: Vec::new(),
        abort_before: None,
    };
    while !kernel.ended.load(Ordering::Acquire) {
        match requests.recv_timeout(Duration::from_millis(100)) {
            Ok(incoming) => shell.handle(incoming),
            Err(RecvTimeoutError::Timeout) => {}
            Err(RecvTimeoutError::Disconnected) => break,
        }
    }
    kernel.leave()
}

static SIGNALLED: AtomicBool = AtomicBool::new(false);

extern "C" fn on_sigint(_: libc::c_int) {
    SIGNALLED.store(true, Ordering::Release);
}

/// Some clients interrupt by SIGINT whatever the kernelspec says.
fn interrupt_by_signal(kernel: Arc<Kernel>) {
    let handler: extern "C" fn(libc::c_int) = on_sigint;
    // SAFETY: the handler only stores to an atomic.
    unsafe { libc::signal(libc::SIGINT, handler as libc::sighandler_t) };
    std::thread::spawn(move || {
        loop {
            std::thread::sleep(Duration::from_millis(50));
            if SIGNALLED.swap(false, Ordering::AcqRel) {
                kernel.interrupter.interrupt();
            }
        }
    });
}

/// Jupyter names itself in the environment; when it is gone nobody can stop the kernel.
fn end_with_parent(kernel: Arc<Kernel>) {
    if std::env::var_os("JPY_PARENT_PID").is_none() {
        return;
    }
    let parent = std::os::unix::process::parent_id();
    std::thread::spawn(move || {
        loop {
            std::thread::sleep(Duration::from_secs(1));
            if std::os::unix::process::parent_id() != parent {
                kernel.leave();
            }
        }
    });
}

impl Kernel {
    /// Reads a request; what is not signed with the connection's key is dropped.
    fn receive(&self, incoming: Incoming) -> Option<Message> {
        match self.signer.decode(incoming.frames) {
            Ok(mut message) => {
                message.identities = vec![incoming.peer];
                Some(message)
            }
            Err(error) => {
                eprintln!("a message was refused: {error:#}");
                None
            }
        }
    }

    fn reply(&self, socket: &Socket, request: &Message, kind: &str, content: Value) {
        let mut message = Message::new(&self.session, kind, content);
        message.parent = request.header.clone();
        let peer = request.identities.first().map_or(&[][..], Vec::as_slice);
        match self.signer.encode(&message) {
            Ok(frames) => {
                socket.send_to(peer, frames);
            }
            Err(error) => eprintln!("cannot reply: {error:#}"),
        }
    }

    fn status(&self, request: &Message, state: &str) {
        let content = json!({"execution_state": state});
        self.publisher.publish_for(&request.header, "status", content);
    }

    /// Requests on the control socket, at any time.
    fn control(&self, socket: &Socket, incoming: Incoming) {
        let Some(request) = self.receive(incoming) else {
            return;
        };
        self.status(&request, "busy");
        match request.kind() {
            "kernel_info_request" => {
                self.reply(socket, &request, "kernel_info_reply", replies::kernel_info());
            }
            // …/messaging.html#kernel-interrupt
            "interrupt_request" => {
                self.interrupter.interrupt();
                self.reply(socket, &request, "interrupt_reply", json!({"status": "ok"}));
            }
            "shutdown_request" => self.shutdown(socket, &request),
            other => eprintln!("not handled on control: {other}"),
        }
        self.status(&request, "idle");
        if self.ended.load(Ordering::Acquire) {
            socket.flush(Duration::from_secs(1));
            self.leave();
        }
    }

    /// …/messaging.html#kernel-shutdown
    fn shutdown(&self, socket: &Socket, request: &Message) {
        let restart = request.content["restart"].as_bool().unwrap_or(false);
        let content = json!({"status": "ok", "restart": restart});
        self.publisher.publish_for(&request.header, "shutdown_reply", content.clone());
        self.reply(socket, request, "shutdown_reply", content);
        self.ended.store(true, Ordering::Release);
    }

    /// Ends the process; a running cell does not hold it up.
    fn leave(&self) -> ! {
        self.publisher.socket().flush(Duration::from_secs(1));
        self.interrupter.end_all();
        let _ = std::fs::remove_dir_all(&self.folder);
        std::process::exit(0);
    }
}

/// The shell socket.
struct Shell {
    kernel: Arc<Kernel>,
    socket: Socket,
    engine: Option<Handle>,
    asking: Arc<Asking>,
    count: u64,
    history: Vec<Entry>,
    /// Cells that arrived before this moment are not run: an earlier one failed.
    abort_before: Option<Instant>,
}

impl Shell {
    fn handle(&mut self, incoming: Incoming) {
        let at = incoming.at;
        let Some(request) = self.kernel.receive(incoming) else {
            return;
        };
        self.kernel.status(&request, "busy");
        let kind = request.kind().to_owned();
        let answer = match kind.as_str() {
            "execute_request" => Some(self.execute(&request, at)),
            "kernel_info_request" => Some(replies::kernel_info()),
            "complete_request" => Some(self.complete(&request.content)),
            "inspect_request" => Some(self.inspect(&request.content)),
            "is_complete_request" => Some(replies::is_complete(&request.content)),
            "history_request" => Some(self.history(&request.content)),
            "comm_info_request" => Some(self.comm_info(&request.content)),
            "shutdown_request" => {
                self.kernel.shutdown(&self.socket, &request);
                None
            }
            // …/messaging.html#opening-a-comm: nothing in a cell waits for front ends to open one.
            "comm_open" => {
                let closed = json!({"comm_id": request.content["comm_id"], "data": {}});
                self.kernel.publisher.publish_for(&request.header, "comm_close", closed);
                None
            }
            "comm_msg" | "comm_close" => None,
            other => {
                eprintln!("not handled on shell: {other}");
                None
            }
        };
        if let Some(content) = answer {
            let reply = kind.replace("_request", "_reply");
            self.kernel.reply(&self.socket, &request, &reply, content);
        }
        self.kernel.status(&request, "idle");
        if self.kernel.ended.load(Ordering::Acquire) {
            self.socket.flush(Duration::from_secs(1));
        }
    }

    /// …/messaging.html#execute
    fn execute(&mut self, request: &Message, at: Instant) -> Value {
        let content = &request.content;
        if self.abort_before.is_some_and(|before| at < before) {
            // Without a number: it would look as if the cell had run.
            return json!({"status": "aborted"});
        }
        let code = content["code"].as_str().unwrap_or("").to_owned();
        let silent = content["silent"].as_bool().unwrap_or(false);
        let store = !silent && content["store_history"].as_bool().unwrap_or(true);
        let stop_on_error = content["stop_on_error"].as_bool().unwrap_or(true);
        if store {
            self.count += 1;
        }
        let count = self.count;
        let publisher = &self.kernel.publisher;
        publisher.set_parent(request.header.clone());
        if !silent {
            let input = json!({"code": code, "execution_count": count});
            publisher.publish("execute_input", input);
        }
        if content["allow_stdin"].as_bool().unwrap_or(false) {
            let peer = request.identities.first().cloned().unwrap_or_default();
            *self.asking.request.lock().unwrap_or_else(PoisonError::into_inner) =
                Some((peer, request.header.clone()));
        }
        let result = if code.trim().is_empty() {
            Ok(engine::Outputs::new())
        } else {
            match &self.engine {
                Some(engine) => engine.execute(code.clone(), count, silent),
                None => Err(Failure::new(
                    "KernelError",
                    match Facade::find() {
                        Err(error) => format!("{error:#}"),
                        Ok(_) => "the session could not be set up; restart the kernel".to_owned(),
                    },
                )),
            }
        };
        *self.asking.request.lock().unwrap_or_else(PoisonError::into_inner) = None;
        let mut output = None;
        let reply = match result {
            Ok(outputs) => {
                if !outputs.is_empty() && !silent {
                    output = outputs.get("text/plain").cloned();
                    let data = json!({"data": outputs, "metadata": {}, "execution_count": count});
                    publisher.publish("execute_result", data);
                }
                let expressions = self.user_expressions(&content["user_expressions"]);
                json!({
                    "status": "ok", "execution_count": count, "payload": [],
                    "user_expressions": expressions,
                })
            }
            Err(failure) => {
                let error = json!({
                    "ename": failure.name, "evalue": failure.value,
                    "traceback": failure.traceback,
                });
                publisher.publish("error", error.clone());
                if stop_on_error {
                    self.abort_before = Some(Instant::now());
                }
                let mut reply = error;
                reply["status"] = json!("error");
                reply["execution_count"] = json!(count);
                reply["payload"] = json!([]);
                reply["user_expressions"] = json!({});
                reply
            }
        };
        if store {
            self.history.push(Entry { count, code, output });
        }
        reply
    }

    /// Each evaluated by itself once the cell has succeeded; …/messaging.html#execution-results
    fn user_expressions(&self, expressions: &Value) -> Value {
        let Some(engine) = &self.engine else {
            return json!({});
        };
        let evaluate = |code: &Value| match engine.evaluate(code.as_str().unwrap_or("").to_owned())
        {
            Ok(data) => json!({"status": "ok", "data": data, "metadata": {}}),
            Err(failure) => json!({
                "status": "error", "ename": failure.name, "evalue": failure.value,
                "traceback": failure.traceback,
            }),
        };
        let expressions = expressions.as_object().into_iter().flatten();
        expressions.map(|(name, code)| (name.clone(), evaluate(code))).collect::<Map<_, _>>().into()
    }

    /// …/messaging.html#completion
    fn complete(&mut self, content: &Value) -> Value {
        let code = content["code"].as_str().unwrap_or("");
        let cursor = content["cursor_pos"].as_u64().unwrap_or(0) as usize;
        let at = replies::byte_offset(code, cursor);
        let found = match &self.engine {
            Some(engine) => engine.complete(code.to_owned(), at).ok(),
            None => None,
        };
        replies::completions(code, cursor, found)
    }

    /// …/messaging.html#introspection
    fn inspect(&mut self, content: &Value) -> Value {
        let code = content["code"].as_str().unwrap_or("");
        let cursor = content["cursor_pos"].as_u64().unwrap_or(0) as usize;
        let at = replies::end_of_word(code, replies::byte_offset(code, cursor));
        let found = match &self.engine {
            Some(engine) => engine.inspect(code.to_owned(), at).ok().flatten(),
            None => None,
        };
        match found {
            Some((text, html)) => json!({
                "status": "ok", "found": true, "metadata": {},
                "data": {"text/plain": text, "text/html": html},
            }),
            None => json!({"status": "ok", "found": false, "data": {}, "metadata": {}}),
        }
    }

    /// …/messaging.html#history
    fn history(&self, content: &Value) -> Value {
        let with_output = content["output"].as_bool().unwrap_or(false);
        let kind = content["hist_access_type"].as_str().unwrap_or("tail");
        let n = content["n"].as_u64().map(|n| n as usize);
        let chosen: Vec<&Entry> = match kind {
            "range" => {
                let start = content["start"].as_i64().unwrap_or(0).max(0) as u64;
                let stop = content["stop"].as_u64().unwrap_or(u64::MAX);
                self.history.iter().filter(|e| e.count >= start && e.count < stop).collect()
            }
            "search" => {
                let pattern = content["pattern"].as_str().unwrap_or("*");
                let mut found: Vec<_> =
                    self.history.iter().filter(|e| replies::glob(pattern, &e.code)).collect();
                if content["unique"].as_bool().unwrap_or(false) {
                    // The last of those that are the same.
                    let mut seen = HashSet::new();
                    found.reverse();
                    found.retain(|e| seen.insert(&e.code));
                    found.reverse();
                }
                let skip = found.len().saturating_sub(n.unwrap_or(found.len()));
                found.into_iter().skip(skip).collect()
            }
            _ => {
                let skip = self.history.len().saturating_sub(n.unwrap_or(1000));
                self.history.iter().skip(skip).collect()
            }
        };
        let rows: Vec<Value> = chosen
            .into_iter()
            .map(|e| {
                if with_output {
                    json!([1, e.count, [e.code, e.output]])
                } else {
                    json!([1, e.count, e.code])
                }
            })
            .collect();
        json!({"status": "ok", "history": rows})
    }

    /// …/messaging.html#comm-info
    fn comm_info(&self, content: &Value) -> Value {
        let target = content["target_name"].as_str();
        let comms: serde_json::Map<String, Value> = self
            .kernel
            .channel
            .comms()
            .into_iter()
            .filter(|(_, name)| target.is_none_or(|t| t == name))
            .map(|(id, name)| (id, json!({"target_name": name})))
            .collect();
        json!({"status": "ok", "comms": comms})
    }
}
