//! Interrupts: what is stopped, how, and when patience ends.
//!
//! While a cell is compiled, the process group of the cargo front is ended. While it runs, the
//! process gets SIGINT, which the library's loops heed; a second interrupt, or five seconds
//! without effect, ends the process and with it every variable.

use crate::channel::Channel;
use crate::front::{CANCEL_FILE, PID_FILE};
use std::path::PathBuf;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

/// How long a cell has to stop by itself.
const PATIENCE: Duration = Duration::from_secs(5);
/// And however crowded the machine is.
const LONGEST: Duration = Duration::from_secs(60);

/// What was interrupted in the course of a cell.
#[derive(Clone, Copy, Debug, Default)]
pub struct Interrupted {
    /// Its compilation was ended.
    pub compiling: bool,
    /// It was asked to stop.
    pub running: bool,
    /// It was ended with its process.
    pub killed: bool,
}

#[derive(Default)]
struct State {
    serial: Option<u64>,
    done: Interrupted,
}

/// Carries out interrupts.
pub struct Interrupter {
    channel: Arc<Channel>,
    session: PathBuf,
    state: Mutex<State>,
}

impl Interrupter {
    /// For one session.
    pub fn new(channel: Arc<Channel>, session: PathBuf) -> Interrupter {
        Interrupter { channel, session, state: Mutex::default() }
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// A cell begins.
    pub fn begin(&self, serial: u64) {
        let _ = std::fs::remove_file(self.session.join(CANCEL_FILE));
        *self.state() = State { serial: Some(serial), done: Interrupted::default() };
    }

    /// It has ended; says what was interrupted.
    pub fn end(&self) -> Interrupted {
        std::mem::take(&mut *self.state()).done
    }

    /// Stops the current cell; without one, nothing happens.
    pub fn interrupt(self: &Arc<Interrupter>) {
        let (_, running, pid) = self.channel.current();
        let mut state = self.state();
        let Some(serial) = state.serial else {
            return;
        };
        if !running {
            state.done.compiling = true;
            let _ = std::fs::write(self.session.join(CANCEL_FILE), "");
            self.end_compilation();
            return;
        }
        if state.done.running {
            state.done.killed = true;
            kill(pid, libc::SIGKILL);
            return;
        }
        state.done.running = true;
        kill(pid, libc::SIGINT);
        let this = self.clone();
        std::thread::spawn(move || {
            wait(pid);
            let mut state = this.state();
            if state.serial == Some(serial) {
                state.done.killed = true;
                kill(pid, libc::SIGKILL);
            }
        });
    }

    fn end_compilation(&self) {
        let file = self.session.join(PID_FILE);
        let pid =
            std::fs::read_to_string(&file).ok().and_then(|text| text.trim().parse::<i32>().ok());
        if let Some(pid) = pid.filter(|&pid| pid > 1) {
            kill(-pid, libc::SIGKILL);
            // It cannot do that itself any more.
            let _ = std::fs::remove_file(file);
        }
    }

    /// Ends everything this session has started.
    pub fn end_all(&self) {
        self.end_compilation();
        let (_, _, pid) = self.channel.current();
        kill(pid, libc::SIGKILL);
    }
}

/// Waits until the process had [`PATIENCE`] to itself: on a crowded machine, time for which it had
/// to wait for a processor does not count.
fn wait(pid: i32) {
    let start = Instant::now();
    let before = starved(pid);
    while start.elapsed() < LONGEST
        && start.elapsed() < PATIENCE + starved(pid).saturating_sub(before)
    {
        std::thread::sleep(Duration::from_millis(100));
    }
}

/// How long its threads have waited for a processor, the one that has waited longest.
fn starved(pid: i32) -> Duration {
    let tasks = std::fs::read_dir(format!("/proc/{pid}/task")).into_iter().flatten().flatten();
    let waited = tasks.filter_map(|task| {
        let text = std::fs::read_to_string(task.path().join("schedstat")).ok()?;
        text.split_whitespace().nth(1)?.parse().ok()
    });
    Duration::from_nanos(waited.max().unwrap_or(0))
}

fn kill(pid: i32, signal: i32) {
    if pid != 0 && pid != -1 {
        // SAFETY: plain system call.
        unsafe { libc::kill(pid, signal) };
    }
}
