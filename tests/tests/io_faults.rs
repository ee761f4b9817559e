//! Writing when the disk is full, read-only or shared, and when the process is killed: the old file
//! stays whole, the error names the file, and the process goes on.

use ndarray::Array2;
use spatialkit::anndata::{AnnData, Frame};
use spatialkit::io::{self, WriteOptions};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

/// Says to the test program, started again, which part of a test it is to play and where.
const ROLE: &str = "SPATIALKIT_TEST_ROLE";
const PLACE: &str = "SPATIALKIT_TEST_PLACE";

/// `n` × 200 numbers that gzip cannot make much smaller, all of them telling `mark`.
fn slide(n: usize, mark: f32) -> AnnData {
    let x = Array2::from_shape_fn((n, 200), |(i, j)| {
        mark + ((i * 200 + j) as u32).wrapping_mul(2_654_435_761) as f32
    });
    let mut adata = AnnData::new(x, Frame::with_len(n), Frame::with_len(200)).unwrap();
    adata.uns.insert("mark".into(), mark.to_string().into());
    adata
}

fn options(gzip: bool) -> WriteOptions {
    let options = WriteOptions::default();
    if gzip { options.gzip(1) } else { options }
}

/// This program with one of its tests, in a role.
fn play(test: &str, role: &str, place: &Path) -> Command {
    let mut command = Command::new(std::env::current_exe().unwrap());
    command.args(["--exact", test, "--nocapture", "--test-threads=1"]);
    command.env(ROLE, role).env(PLACE, place);
    command
}

fn place() -> PathBuf {
    std::env::var_os(PLACE).unwrap().into()
}

fn names(folder: &Path) -> Vec<String> {
    let entries = std::fs::read_dir(folder).unwrap().flatten();
    let mut names: Vec<String> =
        entries.map(|e| e.file_name().to_string_lossy().into_owned()).collect();
    names.sort();
    names
}

/// Runs a role behind shell commands, `$0` being the program; its output if it ended well.
fn through_shell(shell: &[&str], mut role: Command) -> Result<String, String> {
    let mut command = Command::new(shell[0]);
    command.args(&shell[1..]).arg(role.get_program()).args(role.get_args());
    command.envs(role.get_envs().filter_map(|(k, v)| Some((k, v?))));
    role = command;
    let out = role.output().map_err(|e| e.to_string())?;
    let text = String::from_utf8_lossy(&out.stdout).into_owned();
    let text = text + &String::from_utf8_lossy(&out.stderr);
    if out.status.success() { Ok(text) } else { Err(format!("{}\n{text}", out.status)) }
}

/// Writes that cannot succeed between writes that can; the disk holds about `room` bytes.
fn write_until_full(place: &Path, rooms: &[usize], fill: impl Fn(usize)) {
    let path = place.join("slide.h5ad");
    let mut failed = 0;
    for (i, &room) in rooms.iter().enumerate() {
        for gzip in [false, true] {
            fill(0);
            let old = slide(3, i as f32);
            io::write_h5ad_with(&old, &path, &options(gzip)).unwrap();
            let before = std::fs::read(&path).unwrap();
            fill(room);
            let e = io::write_h5ad_with(&slide(2000, 7.0), &path, &options(gzip)).unwrap_err();
            let text = e.to_string();
            assert!(text.contains("slide.h5ad"), "{text}");
            assert!(text.contains("space") || text.contains("too large"), "room {room}: {text}");
            failed += 1;
            assert!(std::fs::read(&path).unwrap() == before, "the old file is whole");
            assert_eq!(names(place).iter().filter(|n| n.contains("slide")).count(), 1, "{text}");
            // Reading and writing go on as if nothing had been.
            assert_eq!(io::read_h5ad(&path).unwrap(), io::read_h5ad(&path).unwrap());
            fill(0);
            io::write_h5ad_with(&slide(5, 1.0), &path, &options(gzip)).unwrap();
            assert_eq!(io::read_h5ad(&path).unwrap().n_obs(), 5);
        }
    }
    println!("{failed} writes failed as they should");
}

#[test]
fn a_full_disk_leaves_the_old_file_whole() {
    let test = "a_full_disk_leaves_the_old_file_whole";
    let rooms: Vec<usize> = (0..24).map(|i| 6_000 + i * i * 2_900).collect();
    match std::env::var(ROLE).as_deref() {
        // In a file system of 2 MB: a ballast leaves so much room.
        Ok("disk") => {
            let place = place();
            let ballast = place.join("ballast");
            let fill = |room: usize| {
                let _ = std::fs::remove_file(&ballast);
                if room > 0 {
                    let mut size = 2 << 20;
                    // What is left is found by trying.
                    while std::fs::write(&ballast, vec![0; size]).is_err() {
                        size -= 4096;
                    }
                    std::fs::write(&ballast, vec![0; size.saturating_sub(room)]).unwrap();
                }
            };
            write_until_full(&place, &rooms, fill);
            return;
        }
        // No file may be longer than 256 kB.
        Ok("limit") => return write_until_full(&place(), &[0], |_| {}),
        _ => {}
    }
    let dir = tempfile::tempdir().unwrap();
    let mount = "mount -t tmpfs -o size=2m none \"$1\" && shift && exec \"$@\"";
    let at = dir.path().to_str().unwrap();
    let shell = ["unshare", "-Urm", "sh", "-c", mount, "sh", at];
    let can_mount = Command::new("unshare")
        .args(["-Urm", "sh", "-c", "mount -t tmpfs -o size=2m none \"$0\"", at])
        .output()
        .is_ok_and(|o| o.status.success());
    if can_mount {
        println!("{}", through_shell(&shell, play(test, "disk", dir.path())).unwrap());
    } else {
        println!("SKIPPED: {test}: no file system can be mounted here; only the limit is tested");
    }
    // The system ends a process that writes more than it may, unless the signal is ignored.
    let limit = ["sh", "-c", "trap '' XFSZ; ulimit -f 512; exec \"$@\"", "sh"];
    println!("{}", through_shell(&limit, play(test, "limit", dir.path())).unwrap());
}

#[test]
fn a_read_only_disk_is_an_error_that_says_so() {
    let test = "a_read_only_disk_is_an_error_that_says_so";
    if std::env::var(ROLE).as_deref() == Ok("read-only") {
        let path = place().join("slide.h5ad");
        for gzip in [false, true] {
            let e = io::write_h5ad_with(&slide(3, 0.0), &path, &options(gzip)).unwrap_err();
            let text = e.to_string();
            assert!(text.contains("slide.h5ad") && text.contains("Read-only"), "{text}");
            assert!(text.contains("be written to?"), "{text}");
        }
        return;
    }
    let dir = tempfile::tempdir().unwrap();
    let at = dir.path().to_str().unwrap();
    let mount = "mount -t tmpfs -o ro none \"$1\" && shift && exec \"$@\"";
    let shell = ["unshare", "-Urm", "sh", "-c", mount, "sh", at];
    match through_shell(&shell, play(test, "read-only", dir.path())) {
        Err(e) if e.contains("unshare:") || e.contains("mount:") => {
            println!("SKIPPED: {test}: no file system can be mounted here");
        }
        outcome => println!("{}", outcome.unwrap()),
    }
}

/// The mark that a whole file carries, checked down to its last number.
fn mark_of(path: &Path) -> f32 {
    let adata = io::read_h5ad(path).unwrap_or_else(|e| panic!("{e}"));
    let mark: f32 = adata.uns["mark"].as_str().unwrap().parse().unwrap();
    assert!(adata == io_ordered(&slide(adata.n_obs(), mark)), "a mixture of two files");
    mark
}

/// As it comes back from a file.
fn io_ordered(adata: &AnnData) -> AnnData {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("a.h5ad");
    io::write_h5ad(adata, &path).unwrap();
    io::read_h5ad(&path).unwrap()
}

fn start(test: &str, role: &str, place: &Path) -> Child {
    play(test, role, place).stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap()
}

#[test]
fn a_killed_writer_leaves_a_whole_file() {
    let test = "a_killed_writer_leaves_a_whole_file";
    if std::env::var(ROLE).as_deref() == Ok("writer") {
        let path = place().join("slide.h5ad");
        let slides = [slide(300, 1.0), slide(900, 2.0)];
        for i in 0.. {
            io::write_h5ad_with(&slides[i % 2], &path, &options(i % 4 > 1)).unwrap();
        }
    }
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("slide.h5ad");
    io::write_h5ad(&slide(300, 1.0), &path).unwrap();
    let (mut seen, mut left) = ([0, 0], 0);
    for round in 0..40u64 {
        let mut child = start(test, "writer", dir.path());
        let first = names(dir.path());
        // Until it has begun to write, and then a while that differs from round to round.
        let begun = Instant::now();
        while names(dir.path()) == first && begun.elapsed() < Duration::from_secs(20) {
            std::thread::sleep(Duration::from_millis(1));
        }
        std::thread::sleep(Duration::from_micros(round * 1_700));
        child.kill().unwrap();
        child.wait().unwrap();
        seen[mark_of(&path) as usize - 1] += 1;
        for name in names(dir.path()) {
            if name != "slide.h5ad" {
                // What a killed writer leaves says what it is.
                assert!(name.starts_with(".slide.h5ad.unfinished-"), "{name}");
                std::fs::remove_file(dir.path().join(name)).unwrap();
                left += 1;
            }
        }
    }
    println!("{seen:?} times the one and the other; {left} unfinished files were left");
    assert!(left > 0, "no writer was killed in the middle");
}

#[test]
fn two_writers_and_a_reader_do_not_disturb_each_other() {
    let test = "two_writers_and_a_reader_do_not_disturb_each_other";
    if let Ok(role @ ("1" | "2")) = std::env::var(ROLE).as_deref() {
        for _ in 0..15 {
            let n = if role == "1" { 200 } else { 500 };
            io::write_h5ad(&slide(n, role.parse().unwrap()), place().join("slide.h5ad")).unwrap();
        }
        return;
    }
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("slide.h5ad");
    io::write_h5ad(&slide(200, 1.0), &path).unwrap();
    let held = io::open_h5ad(&path).unwrap();
    let mut writers = ["1", "2"].map(|role| start(test, role, dir.path()));
    let (mut reads, mut seen) = (0, [0, 0]);
    while writers.iter_mut().any(|w| w.try_wait().unwrap().is_none()) {
        seen[mark_of(&path) as usize - 1] += 1;
        reads += 1;
    }
    assert!(writers.iter_mut().all(|w| w.wait().unwrap().success()));
    println!("{reads} reads: {seen:?}");
    // The file that was open is still the one of then.
    assert_eq!(held.to_memory().unwrap().n_obs(), 200);
    mark_of(&path);
    assert_eq!(names(dir.path()), ["slide.h5ad"]);
}

#[test]
fn a_target_that_cannot_be_replaced_is_named() {
    let dir = tempfile::tempdir().unwrap();
    let folder = dir.path().join("a.h5ad");
    std::fs::create_dir(&folder).unwrap();
    let e = io::write_h5ad(&slide(2, 0.0), &folder).unwrap_err().to_string();
    assert!(e.contains("a.h5ad") && e.contains("folder of that name"), "{e}");
    let pipe = dir.path().join("b.h5ad");
    assert!(Command::new("mkfifo").arg(&pipe).status().unwrap().success());
    let e = io::write_h5ad(&slide(2, 0.0), &pipe).unwrap_err().to_string();
    assert!(e.contains("b.h5ad") && e.contains("pipe or device"), "{e}");
    let long = dir.path().join("x".repeat(300));
    let e = io::write_h5ad(&slide(2, 0.0), &long).unwrap_err().to_string();
    assert!(e.contains("too long"), "{e}");
    // A link stays a link, and what it points to is replaced, on whatever disk it is.
    let other = tempfile::tempdir_in("/dev/shm").or_else(|_| tempfile::tempdir()).unwrap();
    let real = other.path().join("real.h5ad");
    io::write_h5ad(&slide(2, 0.0), &real).unwrap();
    let link = dir.path().join("link.h5ad");
    std::os::unix::fs::symlink(&real, &link).unwrap();
    io::write_h5ad(&slide(4, 0.0), &link).unwrap();
    assert!(std::fs::symlink_metadata(&link).unwrap().is_symlink());
    assert_eq!(io::read_h5ad(&real).unwrap().n_obs(), 4);
    assert_eq!(names(dir.path()), ["a.h5ad", "b.h5ad", "link.h5ad"]);
}
