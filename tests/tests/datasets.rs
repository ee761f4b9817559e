//! A public slide by name: real files from a server on loopback, checked against what their authors
//! published.

use spatialkit::anndata::AnnData;
use spatialkit::datasets::Downloads;
use spatialkit::io::Her2st;
use spatialkit_tests::shared;
use std::io::{BufRead, BufReader, Write};
use std::net::{TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::{Arc, Mutex};

/// Serves the files whose names end an address, and notes what it served.
fn serve(files: Vec<(&'static str, PathBuf)>) -> (String, Arc<Mutex<Vec<String>>>) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = format!("http://{}", listener.local_addr().unwrap());
    let served: Arc<Mutex<Vec<String>>> = Arc::default();
    let log = served.clone();
    std::thread::spawn(move || {
        for stream in listener.incoming().flatten() {
            log.lock().unwrap().push(answer(stream, &files));
        }
    });
    (address, served)
}

fn answer(mut stream: TcpStream, files: &[(&str, PathBuf)]) -> String {
    let mut lines = BufReader::new(stream.try_clone().unwrap()).lines().map_while(Result::ok);
    let request = lines.next().unwrap_or_default();
    lines.find(String::is_empty);
    let path = request.split(' ').nth(1).unwrap_or_default().to_string();
    let file = files.iter().find(|(end, _)| path.ends_with(end));
    let body = file.map(|(_, file)| std::fs::read(file).unwrap());
    let (status, body) = body.map_or(("404 Not Found", vec![]), |body| ("200 OK", body));
    let length = body.len();
    let head =
        format!("HTTP/1.1 {status}\r\nContent-Length: {length}\r\nConnection: close\r\n\r\n");
    let _ = stream.write_all(head.as_bytes()).and_then(|()| stream.write_all(&body));
    path
}

/// Equal, missing numbers too.
fn same(a: &AnnData, b: &AnnData) {
    assert!(a.x == b.x && a.obsm == b.obsm && a.var == b.var);
    assert_eq!(a.obs.names(), b.obs.names());
    for ((name, left), (other, right)) in a.obs.columns().zip(b.obs.columns()) {
        assert_eq!((name, left.dtype()), (other, right.dtype()));
        assert!((0..a.n_obs()).all(|i| left.text(i) == right.text(i)), "{name}");
    }
    assert_eq!(a.obs.columns().count(), b.obs.columns().count());
}

#[test]
fn a_section_of_her2st_arrives_whole() {
    let Some(data) = shared("a_section_of_her2st_arrives_whole", "data/her2st") else { return };
    let at = |path: &str| data.join(path);
    let (address, served) = serve(vec![
        ("/data/ST-cnts/C2.tsv.gz", at("ST-cnts/C2.tsv.gz")),
        ("/data/ST-imgs/C/C2/5714_HE_BT_C2.jpg", at("images/C2_5714_HE_BT_C2.jpg")),
        ("/data/ST-spotfiles/C2_selection.tsv", at("ST-spotfiles/C2_selection.tsv")),
        (
            "/res/ST-cluster/lbl/C2-cluster-annotation.tsv.gz",
            at("ST-cluster_lbl/C2-cluster-annotation.tsv.gz"),
        ),
    ]);
    let cache = tempfile::tempdir().unwrap();
    let downloads = |base: &str| Downloads::new().folder(cache.path()).base(base).retries(0);
    let slide = downloads(&address).her2st("C2").unwrap_or_else(|e| panic!("{e}"));
    assert_eq!(slide.shape(), (187, 15706));
    assert_eq!(served.lock().unwrap().len(), 4, "{served:?}");
    let original = Her2st::open(&data).unwrap().section("C2").unwrap_or_else(|e| panic!("{e}"));
    same(&slide, &original);
    let hires = slide.uns["spatial"].as_map().unwrap().values().next().unwrap();
    assert!(hires.at(&["images", "hires"]).is_some(), "the picture is placed");

    // From then on no server is needed.
    let again = downloads("http://127.0.0.1:9").her2st("C2").unwrap_or_else(|e| panic!("{e}"));
    same(&again, &slide);
    // A file that was changed is not what the authors published.
    let spots: &Path = &cache.path().join("her2st/ST-spotfiles/C2_selection.tsv");
    let text = std::fs::read_to_string(spots).unwrap();
    std::fs::write(spots, text.replacen('1', "2", 1)).unwrap();
    let e = downloads(&address).her2st("C2").unwrap_err().to_string();
    assert!(e.contains("C2_selection.tsv") && e.contains("checksum"), "{e}");
}

/// Tells the test program, started again on a small disk, where the disk and the server are.
const DISK: &str = "SPATIALKIT_TEST_DISK";
const SERVER: &str = "SPATIALKIT_TEST_SERVER";

#[test]
fn a_full_disk_keeps_what_has_arrived() {
    let test = "a_full_disk_keeps_what_has_arrived";
    let body: Vec<u8> =
        (0..4_000_000u32).map(|i| (i.wrapping_mul(2_654_435_761) >> 24) as u8).collect();
    if let (Some(disk), Ok(server)) = (std::env::var_os(DISK), std::env::var(SERVER)) {
        let disk = PathBuf::from(disk);
        let downloads = Downloads::new().folder(disk.join("cache")).base(server).retries(0);
        let ballast = disk.join("ballast");
        std::fs::write(&ballast, vec![0; 3 << 20]).unwrap();
        let e = downloads.fetch("https://example.org/big.bin", None).unwrap_err().to_string();
        assert!(e.contains("big.bin") && e.contains("make room"), "{e}");
        std::fs::remove_file(&ballast).unwrap();
        let path = downloads.fetch("https://example.org/big.bin", None).unwrap();
        assert!(std::fs::read(path).unwrap() == body);
        return;
    }
    let dir = tempfile::tempdir().unwrap();
    let (file, disk) = (dir.path().join("big.bin"), dir.path().join("disk"));
    std::fs::write(&file, &body).unwrap();
    std::fs::create_dir(&disk).unwrap();
    let mount = "mount -t tmpfs -o size=6m none \"$0\"";
    let unshare = |script: String| {
        let mut command = Command::new("unshare");
        command.args(["-Urm", "sh", "-c", &script]).arg(&disk);
        command
    };
    if !unshare(mount.into()).output().is_ok_and(|o| o.status.success()) {
        println!("SKIPPED: {test}: no file system can be mounted here");
        return;
    }
    let (address, _) = serve(vec![("/big.bin", file)]);
    let out = unshare(format!("{mount} && exec \"$@\""))
        .arg(std::env::current_exe().unwrap())
        .args(["--exact", test, "--nocapture"])
        .env(DISK, &disk)
        .env(SERVER, address)
        .output()
        .unwrap();
    let text = String::from_utf8_lossy(&out.stdout);
    assert!(out.status.success() && text.contains("1 passed"), "{text}");
}
