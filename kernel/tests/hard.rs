//! What happens when things go wrong around the kernel: killed processes, garbage, full disks, odd
//! folders, a missing compiler, a long session.

mod support;

use serde_json::{Value, json};
use spatialkit_kernel::runner::client::Client;
use std::collections::BTreeSet;
use std::io::Write;
use std::net::TcpStream;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::{Duration, Instant};
use support::{SOON, facade, fresh, run, run_and, start, start_with};

/// All processes below one, by what the system says of them.
fn below(pid: u32) -> Vec<u32> {
    let tasks = std::fs::read_dir(format!("/proc/{pid}/task")).into_iter().flatten().flatten();
    let children: Vec<u32> = tasks
        .flat_map(|task| {
            let list = std::fs::read_to_string(task.path().join("children")).unwrap_or_default();
            list.split_whitespace().filter_map(|pid| pid.parse().ok()).collect::<Vec<u32>>()
        })
        .collect();
    children.iter().flat_map(|&child| std::iter::once(child).chain(below(child))).collect()
}

fn command_line(pid: u32) -> String {
    let text = std::fs::read(format!("/proc/{pid}/cmdline")).unwrap_or_default();
    String::from_utf8_lossy(&text).replace('\0', " ")
}

/// Whether the process does anything any more.
fn is_alive(pid: u32) -> bool {
    let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
    stat.rsplit(')').next().is_some_and(|rest| !rest.trim().is_empty() && !rest.starts_with(" Z"))
}

fn kill(pid: u32) {
    assert!(Command::new("kill").args(["-9", &pid.to_string()]).status().unwrap().success());
}

/// Resident memory of one process, MB.
fn memory(pid: u32) -> f64 {
    let status = std::fs::read_to_string(format!("/proc/{pid}/status")).unwrap();
    let line = status.lines().find_map(|l| l.strip_prefix("VmRSS:")).unwrap();
    line.trim().trim_end_matches(" kB").parse::<f64>().unwrap() * 1024.0 / 1e6
}

fn wait_for(what: &str, within: Duration, mut done: impl FnMut() -> bool) {
    let start = Instant::now();
    while !done() {
        assert!(start.elapsed() < within, "{what}: not within {within:?}");
        std::thread::sleep(Duration::from_millis(50));
    }
}

#[test]
fn a_killed_child_is_replaced_and_what_is_lost_is_said() {
    let Some(mut client) = fresh() else { return };
    run(&mut client, "let precious = vec![1, 2, 3];").ok();
    let child = below(client.pid()).into_iter().find(|&p| command_line(p).contains("__child"));
    kill(child.expect("the process that runs cells"));
    let text = run(&mut client, "precious.len()").error("ProcessEnded");
    assert!(text.contains("killed from outside") && text.contains("precious"), "{text}");
    assert_eq!(run(&mut client, "1 + 1").ok().value(), "2");
}

#[test]
fn a_killed_kernel_takes_everything_along() {
    let Some(mut client) = fresh() else { return };
    run(&mut client, "let a = 1;").ok();
    let started = below(client.pid());
    assert!(started.len() >= 2, "{started:?}");
    kill(client.pid());
    wait_for("its processes end", SOON, || !started.iter().any(|&pid| is_alive(pid)));
    // What it could not clear away, the next one does.
    let marker = format!("spatialkit-session-{}-", client.pid());
    let left = || {
        let entries = std::fs::read_dir(std::env::temp_dir()).unwrap().flatten();
        entries.filter(|e| e.file_name().to_string_lossy().starts_with(&marker)).count()
    };
    assert_eq!(left(), 1);
    drop(client);
    let mut next = start();
    assert_eq!(run(&mut next, "2 + 2").ok().value(), "4");
    assert_eq!(left(), 0);
}

#[test]
fn two_kernels_do_not_meet() {
    let (Some(mut a), Some(mut b)) = (fresh(), fresh()) else { return };
    run(&mut a, "let x = 1; fn f() -> i32 { 10 }").ok();
    run(&mut b, "let x = \"two\"; fn f() -> i32 { 20 }").ok();
    // At the same time.
    let code =
        "std::thread::sleep(std::time::Duration::from_millis(300)); format!(\"{x} {}\", f())";
    let request = || json!({"code": code});
    let first = a.send_shell("execute_request", request()).unwrap();
    let second = b.send_shell("execute_request", request()).unwrap();
    assert_eq!(a.reply_to(&first, SOON).unwrap()["status"], "ok");
    assert_eq!(b.reply_to(&second, SOON).unwrap()["status"], "ok");
    a.shutdown();
    assert_eq!(run(&mut b, "f()").ok().value(), "20");
}

#[test]
fn folders_may_have_any_name() {
    if !facade() {
        return;
    }
    let dir = tempfile::tempdir().unwrap();
    let folder = dir.path().join("ein Ordner 空間 'q'");
    std::fs::create_dir(&folder).unwrap();
    let mut client = start_with(&[("TMPDIR", &folder)], Some(&folder));
    run(&mut client, ":write notes ü.txt\nfirst\nsecond\n").ok();
    let read = run(&mut client, "std::fs::read_to_string(\"notes ü.txt\")?").ok();
    assert_eq!(read.value(), "\"first\\nsecond\\n\"");
    let panic = run(&mut client, "let a = 1;\npanic!(\"here\");").error("Panic");
    assert!(panic.contains("line 2"), "{panic}");
}

/// The description of the prebuilt library with one entry changed, in a folder of its own.
fn changed_facade(dir: &Path, key: &str, value: &str) -> PathBuf {
    let path = spatialkit_kernel::facade::Facade::path_near(Path::new(support::EXE)).unwrap();
    let mut facade: Value = serde_json::from_str(&std::fs::read_to_string(path).unwrap()).unwrap();
    facade[key] = value.into();
    let path = dir.join("facade.json");
    std::fs::write(&path, facade.to_string()).unwrap();
    path
}

#[test]
fn without_its_compiler_the_kernel_says_so() {
    if !facade() {
        return;
    }
    let dir = tempfile::tempdir().unwrap();
    let gone = changed_facade(dir.path(), "rustc", "/no/such/rustc");
    let mut client = start_with(&[("SPATIALKIT_FACADE", &gone)], None);
    let text = run(&mut client, "1 + 1").error("KernelError");
    assert!(text.contains("/no/such/rustc") && text.contains("prepare"), "{text}");
    let other = changed_facade(dir.path(), "rustc_version", "rustc 1.0.0 (old)\n");
    let mut client = start_with(&[("SPATIALKIT_FACADE", &other)], None);
    let text = run(&mut client, "1 + 1").error("KernelError");
    assert!(text.contains("built by rustc 1.0.0") && text.contains("prepare"), "{text}");
    // Nor does a PATH without tools matter: the kernel knows where its own are.
    let empty = dir.path().join("empty");
    std::fs::create_dir(&empty).unwrap();
    let mut client = start_with(&[("PATH", &empty)], None);
    assert_eq!(run(&mut client, "let a = 2; a + 1").ok().value(), "3");
}

#[test]
fn a_cache_that_cannot_be_written_costs_time_only() {
    if !facade() {
        return;
    }
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("a file");
    std::fs::write(&file, "x").unwrap();
    let mut client = start_with(&[("SPATIALKIT_CACHE", &file)], None);
    assert_eq!(run(&mut client, "let a = vec![1]; a.len()").ok().value(), "1");
    client.shutdown();

    let full = dir.path().join("full");
    std::fs::create_dir(&full).unwrap();
    let mut mount = Command::new("mount");
    mount.args(["-t", "tmpfs", "-o", "size=4k", "tmpfs"]).arg(&full);
    if !mount.output().is_ok_and(|out| out.status.success()) {
        println!("SKIPPED: a_cache_that_cannot_be_written: no file system can be mounted here");
        return;
    }
    let _ = std::fs::write(full.join("filler"), [0; 8192]);
    let mut client = start_with(&[("SPATIALKIT_CACHE", &full)], None);
    let value = run(&mut client, "let a = vec![1, 2]; a.len()");
    client.shutdown();
    assert!(Command::new("umount").arg(&full).status().unwrap().success());
    assert_eq!(value.ok().value(), "2");
}

#[test]
fn a_hundred_megabytes_of_garbage_are_refused() {
    let Some(mut client) = fresh() else { return };
    run(&mut client, "let kept = 1;").ok();
    let before = memory(client.pid());
    let c = client.connection().clone();
    for port in [c.shell_port, c.iopub_port, c.control_port, c.stdin_port, c.hb_port] {
        // Nonsense from the first byte, and a frame that claims to be enormous after a greeting.
        let mut greeting = vec![0xff, 0, 0, 0, 0, 0, 0, 0, 1, 0x7f, 3, 0];
        greeting.extend(b"NULL".iter().chain(&[0; 48]));
        greeting.extend([0x02, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff]);
        for start in [&[][..], &greeting] {
            let mut raw = TcpStream::connect(("127.0.0.1", port as u16)).unwrap();
            raw.set_write_timeout(Some(Duration::from_secs(2))).unwrap();
            let block = vec![0x41; 1 << 20];
            let _ = raw
                .write_all(start)
                .and_then(|()| (0..100).try_for_each(|_| raw.write_all(&block)));
        }
    }
    assert_eq!(run(&mut client, "kept + 4").ok().value(), "5");
    let grown = memory(client.pid()) - before;
    assert!(grown < 100.0, "{grown} MB");
}

#[test]
fn two_hundred_updates_arrive_in_order() {
    let Some(mut client) = fresh() else { return };
    let code = "use spatialkit::prelude::*;
        { let handle = notebook::DisplayHandle::new(&Bundle::new().text(\"0\"));
          for i in 1..=200 { handle.update(&Bundle::new().text(i.to_string())); } }";
    let cell = run(&mut client, code).ok();
    let shown = cell.of("display_data")[0];
    let updates = cell.of("update_display_data");
    assert_eq!(updates.len(), 200);
    for (i, update) in updates.iter().enumerate() {
        assert_eq!(update["data"]["text/plain"], (i + 1).to_string());
        assert_eq!(update["transient"]["display_id"], shown["transient"]["display_id"]);
    }
}

/// A thousand with SPATIALKIT_THOROUGH, which takes three minutes.
#[test]
fn a_long_session_leaves_the_kernel_as_it_was() {
    if !facade() {
        return;
    }
    let thorough = std::env::var_os("SPATIALKIT_THOROUGH").is_some();
    let cells = if thorough { 1000 } else { 100 };
    let mut client = start();
    run(&mut client, "let mut sum = 0u64; let list = vec![1.5, 2.5];").ok();
    run(&mut client, "sum += 0; list.len()").ok();
    let before = memory(client.pid());
    let mut times = Vec::new();
    for i in 1..=cells {
        let start = Instant::now();
        let cell = run(&mut client, &format!("sum += {i}; println!(\"cell {i}\"); sum")).ok();
        times.push(start.elapsed().as_secs_f64());
        assert_eq!(cell.text("stdout"), format!("cell {i}\n"));
        assert_eq!(cell.value(), (i * (i + 1) / 2).to_string());
    }
    let grown = memory(client.pid()) - before;
    let mean = |part: &[f64]| part.iter().sum::<f64>() / part.len() as f64;
    let tenth = cells / 10;
    let (first, last) = (mean(&times[..tenth]), mean(&times[cells - tenth..]));
    println!(
        "{cells} cells: {grown:.0} MB more; {first:.3} s a cell at first, {last:.3} s at last"
    );
    assert!(grown < 200.0, "{grown} MB");
    // Other tests run beside it, now more, now fewer.
    assert!(last < 3.0 * first + 0.3, "{first} s a cell at first, {last} s at last");
}

#[test]
fn training_stops_within_a_second_and_the_slide_survives() {
    let Some(mut client) = fresh() else { return };
    let setup = "use spatialkit::prelude::*;
        let mut slide = datasets::synthetic(&Synthetic::default())?;
        let spots = slide.n_obs();";
    run(&mut client, setup).ok();
    let mut sent: Option<Instant> = None;
    let mut shown = None;
    let code = "Stamgc::preset(Preset::Visium).n_domains(4).epochs(100_000).fit(&mut slide)?";
    let cell = run_and(&mut client, code, &mut |messages| {
        let updates = messages.iter().filter(|m| m.kind() == "update_display_data").count();
        if updates > 2 {
            shown.get_or_insert_with(Instant::now);
        }
        let due = shown.is_some_and(|at: Instant| at.elapsed() > Duration::from_secs(1));
        due && sent.is_none() && sent.replace(Instant::now()).is_none()
    });
    let took = sent.expect("progress was shown").elapsed();
    println!("stopped after {took:?}");
    cell.error("KeyboardInterrupt");
    // A second, and what other tests beside it may take.
    assert!(took < Duration::from_secs(3), "{took:?}");
    assert_eq!(run(&mut client, "slide.n_obs() == spots").ok().value(), "true");
}

#[test]
fn a_signal_interrupts_as_a_message_does() {
    let Some(mut client) = fresh() else { return };
    let pid = client.pid().to_string();
    run(&mut client, "use spatialkit::prelude::*; let before = 7;").ok();
    let mut sent = false;
    let code = "{ let mut bar = Progress::new(\"work\", 10_000);
        for _ in 0..10_000 {
            std::thread::sleep(std::time::Duration::from_millis(5));
            bar.tick(1)?;
        } }";
    let cell = run_and(&mut client, code, &mut |messages| {
        if !sent && messages.iter().any(|m| m.kind() == "display_data") {
            sent = Command::new("kill").args(["-INT", &pid]).status().unwrap().success();
        }
        false
    });
    cell.error("KeyboardInterrupt");
    assert_eq!(run(&mut client, "before").ok().value(), "7");
}

/// The connection by Unix sockets instead of ports.
#[test]
fn a_client_may_connect_by_ipc() {
    if !facade() {
        return;
    }
    let dir = tempfile::Builder::new().prefix("ipc").tempdir_in("/tmp").unwrap();
    let mut client = Client::start_ipc(
        &spatialkit_kernel::runner::client::KernelSpec::of_executable(Path::new(support::EXE)),
        dir.path(),
    )
    .unwrap();
    client.kernel_info().unwrap();
    assert_eq!(run(&mut client, "40 + 2").ok().value(), "42");
    let names: BTreeSet<String> = std::fs::read_dir(dir.path())
        .unwrap()
        .flatten()
        .map(|e| e.file_name().to_string_lossy().into_owned())
        .collect();
    assert!(names.len() >= 5, "{names:?}");
}
