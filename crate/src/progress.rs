//! Progress of long work, its interruption, and what it cost.
//!
//! A loop that takes long holds a [`Progress`] and calls [`Progress::tick`] once an iteration; in a
//! notebook this shows a bar with rate and remaining time and a live curve of each metric, in a
//! terminal one line on stderr, elsewhere nothing. `tick` is also where an interrupt takes effect:
//! it returns [`Error::Interrupted`], the loop returns it in turn, and every variable that existed
//! before is still there. Loops without a bar call [`check_interrupt`].

use crate::error::{Error, Result};
use crate::notebook::{self, Bundle, DisplayHandle, escape_html};
use std::cell::Cell;
use std::fmt::Write as _;
use std::io::{IsTerminal, Write as _};
use std::sync::LazyLock;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

/// A bar is redrawn no more often than this.
const REDRAW: Duration = Duration::from_millis(200);

/// A progress bar with live metrics.
#[derive(Debug)]
pub struct Progress {
    label: String,
    total: u64,
    done: u64,
    message: String,
    metrics: Vec<(String, Vec<f64>)>,
    started: Instant,
    drawn: Option<Instant>,
    handle: Option<DisplayHandle>,
    finished: bool,
}

impl Progress {
    /// A bar for `total` steps.
    pub fn new(label: impl Into<String>, total: u64) -> Self {
        Progress {
            label: label.into(),
            total,
            done: 0,
            message: String::new(),
            metrics: Vec::new(),
            started: Instant::now(),
            drawn: None,
            handle: None,
            finished: false,
        }
    }

    /// Moves on by `steps`.
    ///
    /// # Errors
    /// [`Error::Interrupted`] when the user asked to stop.
    pub fn tick(&mut self, steps: u64) -> Result<()> {
        self.done += steps;
        check_interrupt()?;
        self.draw_if_due();
        Ok(())
    }

    /// Adds a point to the live curve `name`.
    pub fn metric(&mut self, name: &str, value: f64) {
        match self.metrics.iter_mut().find(|(n, _)| n == name) {
            Some((_, values)) => values.push(value),
            None => self.metrics.push((name.into(), vec![value])),
        }
    }

    /// Says what is being done now.
    pub fn message(&mut self, text: impl Into<String>) {
        self.message = text.into();
        self.draw_if_due();
    }

    /// Ends the bar as complete.
    pub fn finish(mut self) {
        self.done = self.total;
        self.message.clear();
        self.finished = true;
        // `drop` draws the last state.
    }

    fn draw_if_due(&mut self) {
        if self.drawn.is_none_or(|t| t.elapsed() >= REDRAW) {
            self.draw();
        }
    }

    fn draw(&mut self) {
        self.drawn = Some(Instant::now());
        if notebook::is_notebook() {
            let bundle = Bundle::new().text(self.line()).html(self.html());
            match &self.handle {
                Some(handle) => handle.update(&bundle),
                None => self.handle = Some(DisplayHandle::new(&bundle)),
            }
        } else if std::io::stderr().is_terminal() {
            eprint!("\r\x1b[K{}", self.line());
            let _ = std::io::stderr().flush();
        }
    }

    /// E.g. `STAMGC 120/200 (60 %), 9.8/s, 8 s left, loss 0.412`.
    fn line(&self) -> String {
        let mut out = format!("{} {}/{}", self.label, self.done, self.total);
        if self.total > 0 {
            let _ = write!(out, " ({:.0} %)", 100.0 * self.fraction());
        }
        let elapsed = self.started.elapsed().as_secs_f64();
        let rate = self.done as f64 / elapsed.max(1e-9);
        if self.finished {
            let _ = write!(out, ", {}", seconds(elapsed));
        } else if self.done > 0 {
            let _ = write!(out, ", {}/s", significant(rate));
            let left = self.total.saturating_sub(self.done) as f64 / rate;
            let _ = write!(out, ", {} left", seconds(left));
        }
        for (name, values) in &self.metrics {
            if let Some(last) = values.last() {
                let _ = write!(out, ", {name} {}", significant(*last));
            }
        }
        if !self.message.is_empty() {
            let _ = write!(out, ": {}", self.message);
        }
        out
    }

    fn fraction(&self) -> f64 {
        if self.total == 0 { 1.0 } else { (self.done as f64 / self.total as f64).min(1.0) }
    }

    fn html(&self) -> String {
        let mut out = format!(
            "<div style=\"font:13px system-ui,sans-serif;max-width:640px\">\
             <div style=\"margin-bottom:3px\">{}</div>\
             <div style=\"height:6px;border-radius:3px;background:rgba(128,128,128,.25)\">\
             <div style=\"height:6px;border-radius:3px;background:#2a9d8f;width:{:.1}%\"></div>\
             </div>",
            escape_html(&self.line()),
            100.0 * self.fraction()
        );
        for (name, values) in &self.metrics {
            out.push_str(&sparkline(name, values, self.total));
        }
        out.push_str("</div>");
        out
    }
}

impl Drop for Progress {
    fn drop(&mut self) {
        let never_shown = self.drawn.is_none();
        if never_shown && self.started.elapsed() < REDRAW {
            return;
        }
        if !self.finished {
            self.message = "stopped".into();
        }
        self.draw();
        if !notebook::is_notebook() && std::io::stderr().is_terminal() {
            eprintln!();
        }
    }
}

/// A small curve of what a metric did so far, on an axis of `total` steps.
fn sparkline(name: &str, values: &[f64], total: u64) -> String {
    const W: f64 = 640.0;
    const H: f64 = 48.0;
    const POINTS: usize = 320;
    let finite = || values.iter().copied().filter(|v| v.is_finite());
    let (low, high) = finite().fold((f64::MAX, f64::MIN), |(a, b), v| (a.min(v), b.max(v)));
    if values.len() < 2 || low > high {
        return String::new();
    }
    let span = if high > low { high - low } else { 1.0 };
    let stride = values.len().div_ceil(POINTS);
    let x_scale = W / (total.max(values.len() as u64).max(2) - 1) as f64;
    let mut points = String::new();
    for (i, v) in values.iter().enumerate() {
        if (i % stride == 0 || i + 1 == values.len()) && v.is_finite() {
            let y = 3.0 + (H - 6.0) * (1.0 - (v - low) / span);
            let _ = write!(points, "{:.1},{y:.1} ", i as f64 * x_scale);
        }
    }
    format!(
        "<svg viewBox=\"0 0 {W} {H}\" style=\"width:100%;height:{H}px;display:block;\
         margin-top:4px\" role=\"img\" aria-label=\"{name}\"><polyline points=\"{points}\" \
         fill=\"none\" stroke=\"#e76f51\" stroke-width=\"1.5\"/></svg>\
         <div style=\"font-size:11px;opacity:.7\">{name}: {} … {}</div>",
        significant(high),
        significant(low),
        name = escape_html(name),
    )
}

/// A number with three significant digits.
fn significant(x: f64) -> String {
    let digits = if x == 0.0 || !x.is_finite() { 0 } else { x.abs().log10().floor() as i32 };
    format!("{x:.*}", (2 - digits).clamp(0, 8) as usize)
}

fn seconds(s: f64) -> String {
    match s {
        s if !s.is_finite() => "unknown time".into(),
        s if s < 10.0 => format!("{s:.1} s"),
        s if s < 120.0 => format!("{s:.0} s"),
        s if s < 7200.0 => format!("{:.0} min", s / 60.0),
        s => format!("{:.1} h", s / 3600.0),
    }
}

/// Returns [`Error::Interrupted`] when the user asked the running cell to stop.
///
/// # Errors
/// [`Error::Interrupted`].
pub fn check_interrupt() -> Result<()> {
    if UNDISTURBED.get() {
        return Ok(());
    }
    #[cfg(test)]
    tests::count_a_check()?;
    match *INTERRUPT {
        Some(flag) if flag.load(Ordering::Relaxed) => Err(Error::Interrupted),
        _ => Ok(()),
    }
}

thread_local! {
    static UNDISTURBED: Cell<bool> = const { Cell::new(false) };
}

/// Calls `f`, in which [`check_interrupt`] sees no interrupt on this thread: for the little that has to be done
/// when one was seen.
pub(crate) fn undisturbed<R>(f: impl FnOnce() -> R) -> R {
    let before = UNDISTURBED.replace(true);
    let result = f();
    UNDISTURBED.set(before);
    result
}

/// The flag that the process which runs cells sets on SIGINT and clears when a cell starts. It
/// lives in that process and is found by its address, `SPATIALKIT_INTERRUPT=<pid>:<address>`.
static INTERRUPT: LazyLock<Option<&'static AtomicBool>> = LazyLock::new(|| {
    let text = std::env::var("SPATIALKIT_INTERRUPT").ok()?;
    let (pid, address) = text.split_once(':')?;
    let address: usize = address.parse().ok()?;
    if pid.parse() != Ok(std::process::id()) || address == 0 {
        return None;
    }
    // Safety: the process itself (its id is checked: a child of it inherits the variable but not
    // the memory) has put the address of a static there, which is valid as long as it runs.
    Some(unsafe { AtomicBool::from_ptr(address as *mut bool) })
});

/// The most memory that the process has held so far, in MB (10⁶ bytes).
pub fn peak_memory_mb() -> f64 {
    #[cfg(unix)]
    {
        let mut usage = std::mem::MaybeUninit::<libc::rusage>::zeroed();
        // Safety: getrusage fills the structure that it is given; all zeros is a valid one.
        let usage = unsafe {
            libc::getrusage(libc::RUSAGE_SELF, usage.as_mut_ptr());
            usage.assume_init()
        };
        let unit = if cfg!(target_os = "macos") { 1.0 } else { 1024.0 };
        usage.ru_maxrss as f64 * unit / 1e6
    }
    #[cfg(not(unix))]
    {
        f64::NAN
    }
}

#[cfg(test)]
pub(crate) use tests::interrupted_after;

#[cfg(test)]
mod tests {
    use super::*;

    thread_local! {
        static CHECKS_LEFT: Cell<Option<usize>> = const { Cell::new(None) };
    }

    /// Calls `f`, which sees an interrupt at every check of this thread after so many.
    pub(crate) fn interrupted_after<R>(checks: usize, f: impl FnOnce() -> R) -> R {
        CHECKS_LEFT.set(Some(checks));
        let result = f();
        CHECKS_LEFT.set(None);
        result
    }

    pub(super) fn count_a_check() -> Result<()> {
        let Some(left) = CHECKS_LEFT.get() else { return Ok(()) };
        CHECKS_LEFT.set(Some(left.saturating_sub(1)));
        if left == 0 { Err(Error::Interrupted) } else { Ok(()) }
    }

    #[test]
    fn the_line_reads_well() {
        let mut p = Progress::new("STAMGC", 200);
        p.done = 50;
        p.metric("loss", 0.41234);
        let line = p.line();
        assert!(line.starts_with("STAMGC 50/200 (25 %), "), "{line}");
        assert!(line.ends_with(" left, loss 0.412"), "{line}");
    }

    #[test]
    fn a_curve_survives_what_training_may_produce() {
        for values in [vec![], vec![1.0], vec![2.0, 2.0], vec![f64::NAN, f64::INFINITY]] {
            let s = sparkline("loss", &values, 10);
            assert!(!s.contains("NaN") && !s.contains("inf"), "{s}");
        }
        let long: Vec<f64> = (0..10_000).map(|i| 1.0 / (1.0 + i as f64)).collect();
        assert!(sparkline("a<b", &long, 0).len() < 8_000);
        assert!(sparkline("a<b", &long, 0).contains("a&lt;b"));
    }

    #[test]
    fn peak_memory_is_plausible() {
        let mb = peak_memory_mb();
        assert!(mb > 1.0 && mb < 1e6, "{mb}");
    }
}
