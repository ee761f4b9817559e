//! What the tests of the kernel share: starting one, running cells, looking at what came of them.

#![allow(dead_code, reason = "each test program uses a part")]

use serde_json::Value;
use spatialkit_kernel::facade::{FACADE_ENV, Facade};
use spatialkit_kernel::runner::client::{Client, Ended, KernelSpec};
use spatialkit_kernel::wire::Message;
use std::path::Path;
use std::sync::{Mutex, MutexGuard, OnceLock, PoisonError};
use std::time::Duration;

pub const EXE: &str = env!("CARGO_BIN_EXE_spatialkit-kernel");
pub const SOON: Duration = Duration::from_secs(20);

/// What a cell published and how it ended.
pub struct Cell {
    /// The reply's content.
    pub reply: Value,
    /// Everything on iopub.
    pub messages: Vec<Message>,
}

impl Cell {
    pub fn of(&self, kind: &str) -> Vec<&Value> {
        self.messages.iter().filter(|m| m.kind() == kind).map(|m| &m.content).collect()
    }

    pub fn text(&self, stream: &str) -> String {
        self.of("stream")
            .into_iter()
            .filter(|c| c["name"] == stream)
            .filter_map(|c| c["text"].as_str())
            .collect()
    }

    pub fn value(&self) -> &str {
        let results = self.of("execute_result");
        assert_eq!(results.len(), 1, "{:?} {}", self.kinds(), self.reply);
        results[0]["data"]["text/plain"].as_str().unwrap_or("")
    }

    pub fn kinds(&self) -> Vec<&str> {
        self.messages
            .iter()
            .map(Message::kind)
            .filter(|k| !matches!(*k, "status" | "execute_input"))
            .collect()
    }

    #[track_caller]
    pub fn ok(self) -> Cell {
        assert_eq!(self.reply["status"], "ok", "{}", self.reply);
        self
    }

    #[track_caller]
    pub fn error(&self, name: &str) -> String {
        assert_eq!(self.reply["status"], "error", "{}", self.reply);
        assert_eq!(self.reply["ename"], name, "{}", self.reply);
        let published = self.of("error");
        assert_eq!(published.len(), 1);
        assert_eq!(published[0]["evalue"], self.reply["evalue"]);
        let traceback: String = published[0]["traceback"]
            .as_array()
            .unwrap()
            .iter()
            .filter_map(Value::as_str)
            .collect();
        format!("{}\n{traceback}", self.reply["evalue"].as_str().unwrap())
    }
}

pub fn facade() -> bool {
    static THERE: OnceLock<bool> = OnceLock::new();
    *THERE.get_or_init(|| {
        let there =
            std::env::var_os(FACADE_ENV).is_some() || Facade::path_near(Path::new(EXE)).is_some();
        if !there {
            println!("SKIPPED: no prebuilt library; run `spatialkit-kernel prepare`");
        }
        there
    })
}

pub fn start() -> Client {
    start_with(&[], None)
}

/// A kernel with some environment variables, in a folder.
pub fn start_with(env: &[(&str, &Path)], folder: Option<&Path>) -> Client {
    let mut spec = KernelSpec::of_executable(Path::new(EXE));
    for (name, value) in env {
        spec.set_env(name, &value.display().to_string());
    }
    let mut client = Client::start(&spec, folder).unwrap();
    client.kernel_info().unwrap();
    client
}

/// A kernel of the test's own.
pub fn fresh() -> Option<Client> {
    facade().then(start)
}

pub fn kernel() -> Option<MutexGuard<'static, Client>> {
    static KERNEL: OnceLock<Mutex<Client>> = OnceLock::new();
    if !facade() {
        return None;
    }
    let kernel = KERNEL.get_or_init(|| Mutex::new(start()));
    Some(kernel.lock().unwrap_or_else(PoisonError::into_inner))
}

pub fn run(client: &mut Client, code: &str) -> Cell {
    run_and(client, code, &mut |_| false)
}

/// Runs a cell; `interrupt` is asked about what was published so far.
pub fn run_and(
    client: &mut Client,
    code: &str,
    interrupt: &mut dyn FnMut(&[Message]) -> bool,
) -> Cell {
    let messages = std::cell::RefCell::new(Vec::new());
    let ended = client
        .execute(code, &mut |m| messages.borrow_mut().push(m.clone()), &mut || {
            interrupt(&messages.borrow())
        })
        .unwrap();
    let (Ended::Well(reply) | Ended::Failed(reply)) = ended;
    let messages = messages.into_inner();
    Cell { reply, messages }
}

/// Runs one after the other, all well, and returns the last.
pub fn run_all(client: &mut Client, cells: &[&str]) -> Cell {
    let mut last = None;
    for code in cells {
        last = Some(run(client, code).ok());
    }
    last.unwrap()
}
