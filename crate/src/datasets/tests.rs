//! Downloads from a real server on this machine, which does what servers do on bad days.

use super::unpack::tests::archive;
use super::{Downloads, Synthetic};
use crate::error::Error;
use std::collections::HashMap;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::{TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

/// What the server does with a file.
#[derive(Clone)]
struct Page {
    body: Vec<u8>,
    etag: Option<&'static str>,
    kind: &'static str,
    /// Answers with this status so many times first.
    trouble: (u16, usize),
    /// Breaks off after so many bytes of a body, so many times.
    cut: (usize, usize),
    /// Sends a little, then nothing for a long time.
    hangs: bool,
}

impl Page {
    fn new(body: impl Into<Vec<u8>>) -> Page {
        let (trouble, cut) = ((0, 0), (0, 0));
        let kind = "application/octet-stream";
        Page { body: body.into(), etag: Some("\"v1\""), kind, trouble, cut, hangs: false }
    }
}

/// A server on loopback that knows ranges, and remembers what it was asked for.
struct Server {
    address: String,
    pages: Arc<Mutex<HashMap<String, Page>>>,
    asked: Arc<Mutex<Vec<String>>>,
}

impl Server {
    fn new(pages: impl IntoIterator<Item = (&'static str, Page)>) -> Server {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = format!("http://{}", listener.local_addr().unwrap());
        let pages = pages.into_iter().map(|(k, v)| (k.to_string(), v)).collect();
        let server = Server { address, pages: Arc::new(Mutex::new(pages)), asked: Arc::default() };
        let (pages, asked) = (server.pages.clone(), server.asked.clone());
        std::thread::spawn(move || {
            for stream in listener.incoming().flatten() {
                let (pages, asked) = (pages.clone(), asked.clone());
                std::thread::spawn(move || answer(stream, &pages, &asked));
            }
        });
        server
    }

    fn set(&self, path: &str, page: Page) {
        self.pages.lock().unwrap().insert(path.into(), page);
    }

    fn asked(&self) -> Vec<String> {
        self.asked.lock().unwrap().clone()
    }
}

fn answer(
    stream: TcpStream,
    pages: &Mutex<HashMap<String, Page>>,
    asked: &Mutex<Vec<String>>,
) -> Option<()> {
    let mut reader = BufReader::new(stream.try_clone().ok()?);
    let mut request = String::new();
    reader.read_line(&mut request).ok()?;
    let path = request.split_whitespace().nth(1)?.to_string();
    let mut headers = HashMap::new();
    loop {
        let mut line = String::new();
        reader.read_line(&mut line).ok()?;
        match line.trim().split_once(": ") {
            Some((name, value)) => headers.insert(name.to_lowercase(), value.to_string()),
            None => break,
        };
    }
    let range = headers.get("range").cloned().unwrap_or_default();
    asked.lock().unwrap().push(format!("{path} {range}").trim_end().to_string());
    let mut out = stream;
    let page = {
        let mut pages = pages.lock().unwrap();
        let Some(page) = pages.get_mut(&path) else {
            let _ = out.write_all(b"HTTP/1.1 404 Not Found\r\nContent-Length: 0\r\n\r\n");
            return None;
        };
        let now = page.clone();
        page.trouble.1 = page.trouble.1.saturating_sub(1);
        page.cut.1 = page.cut.1.saturating_sub(1);
        now
    };
    if page.trouble.1 > 0 {
        let text = format!("HTTP/1.1 {} Trouble\r\nContent-Length: 0\r\n\r\n", page.trouble.0);
        let _ = out.write_all(text.as_bytes());
        return None;
    }
    let total = page.body.len();
    let start: usize =
        range.trim_start_matches("bytes=").trim_end_matches('-').parse().unwrap_or(0);
    let same = headers.get("if-range").is_none_or(|v| page.etag == Some(v));
    let (status, start) = match start > 0 && same {
        true if start >= total => ("416 Range Not Satisfiable", total),
        true => ("206 Partial Content", start),
        false => ("200 OK", 0),
    };
    let mut head = format!(
        "HTTP/1.1 {status}\r\nContent-Length: {}\r\nContent-Type: {}\r\n",
        total - start,
        page.kind
    );
    if let Some(etag) = page.etag {
        head.push_str(&format!("ETag: {etag}\r\n"));
    }
    match &status[..3] {
        "206" => head.push_str(&format!("Content-Range: bytes {start}-{}/{total}\r\n", total - 1)),
        "416" => head.push_str(&format!("Content-Range: bytes */{total}\r\n")),
        _ => {}
    }
    out.write_all(format!("{head}\r\n").as_bytes()).ok()?;
    let end = if page.cut.1 > 0 { (start + page.cut.0).min(total) } else { total };
    if page.hangs {
        out.write_all(&page.body[start..(start + 1000).min(total)]).ok()?;
        std::thread::sleep(Duration::from_secs(20));
        return None;
    }
    out.write_all(&page.body[start..end]).ok()
}

/// Bytes that are no two times the same.
fn content(n: usize) -> Vec<u8> {
    (0..n).map(|i| (i * 31 + (i >> 8) * 17) as u8).collect()
}

fn sha256(bytes: &[u8]) -> String {
    use sha2::Digest;
    sha2::Sha256::digest(bytes).iter().map(|b| format!("{b:02x}")).collect()
}

fn downloads(server: &Server, dir: &Path) -> Downloads {
    let quick = Downloads::new().folder(dir).base(&server.address).wait(Duration::from_millis(10));
    quick.patience(Duration::from_secs(5))
}

fn names(dir: &Path) -> Vec<String> {
    let mut out = Vec::new();
    let mut folders = vec![dir.to_path_buf()];
    while let Some(folder) = folders.pop() {
        for entry in std::fs::read_dir(folder).unwrap().flatten() {
            match entry.path() {
                p if p.is_dir() => folders.push(p),
                p => out.push(p.file_name().unwrap().to_string_lossy().into_owned()),
            }
        }
    }
    out.sort();
    out
}

const URL: &str = "https://example.org/data/slide.h5";

#[test]
fn a_file_is_downloaded_once_and_checked() {
    let body = content(300_000);
    let server = Server::new([("/data/slide.h5", Page::new(body.clone()))]);
    let dir = tempfile::tempdir().unwrap();
    let d = downloads(&server, dir.path());
    let path = d.fetch(URL, Some(&sha256(&body).to_uppercase())).unwrap();
    assert_eq!(path, dir.path().join("files/example.org/data/slide.h5"));
    assert_eq!(std::fs::read(&path).unwrap(), body);
    assert_eq!(names(dir.path()), ["slide.h5", "slide.h5.sha256"]);
    let line = std::fs::read_to_string(path.with_extension("h5.sha256")).unwrap();
    assert_eq!(line, format!("{}  slide.h5\n", sha256(&body)));
    assert_eq!(d.fetch(URL, None).unwrap(), path);
    assert_eq!(server.asked(), ["/data/slide.h5"]);
}

#[test]
fn a_wrong_checksum_is_refused_and_nothing_kept() {
    let server = Server::new([("/data/slide.h5", Page::new(content(5000)))]);
    let dir = tempfile::tempdir().unwrap();
    let e = downloads(&server, dir.path()).fetch(URL, Some(&"0".repeat(64))).unwrap_err();
    let text = e.to_string();
    assert!(matches!(e, Error::Download { .. }));
    assert!(text.contains("another checksum") && text.contains(&sha256(&content(5000))), "{text}");
    assert_eq!(names(dir.path()), [""; 0]);
}

#[test]
fn a_file_that_changed_since_its_download_is_refused() {
    let server = Server::new([("/data/slide.h5", Page::new(content(5000)))]);
    let dir = tempfile::tempdir().unwrap();
    let d = downloads(&server, dir.path());
    let path = d.fetch(URL, None).unwrap();
    std::fs::write(&path, content(4999)).unwrap();
    let e = d.fetch(URL, None).unwrap_err().to_string();
    assert!(e.contains("recorded at its download") && e.contains("Remove it"), "{e}");
    // A file that somebody has put there by hand is taken, and holds from then on.
    std::fs::remove_file(path.with_extension("h5.sha256")).unwrap();
    assert!(d.fetch(URL, None).is_ok());
    std::fs::write(&path, "other").unwrap();
    assert!(d.fetch(URL, None).is_err());
}

#[test]
fn a_connection_that_breaks_is_taken_up_where_it_broke() {
    let body = content(1_000_000);
    let page = Page { cut: (300_000, 3), ..Page::new(body.clone()) };
    let server = Server::new([("/data/slide.h5", page)]);
    let dir = tempfile::tempdir().unwrap();
    let path = downloads(&server, dir.path()).fetch(URL, None).unwrap();
    assert!(std::fs::read(path).unwrap() == body);
    let asked = server.asked();
    assert_eq!(asked[0], "/data/slide.h5");
    assert!(asked.len() > 1 && asked[1..].iter().all(|a| a.contains("bytes=")), "{asked:?}");
    assert_eq!(names(dir.path()), ["slide.h5", "slide.h5.sha256"]);
}

#[test]
fn what_has_arrived_serves_the_next_call_too() {
    let body = content(500_000);
    let page = Page { cut: (200_000, 1), ..Page::new(body.clone()) };
    let server = Server::new([("/data/slide.h5", page)]);
    let dir = tempfile::tempdir().unwrap();
    let d = downloads(&server, dir.path()).retries(0);
    let e = d.fetch(URL, None).unwrap_err().to_string();
    assert!(e.contains("early") || e.contains("broke"), "{e}");
    assert_eq!(names(dir.path()), ["slide.h5.from", "slide.h5.part"]);
    assert!(std::fs::read(d.fetch(URL, None).unwrap()).unwrap() == body);
    assert!(server.asked()[1].contains("bytes="), "{:?}", server.asked());
}

#[test]
fn a_part_of_an_older_version_is_not_mixed_with_the_new_one() {
    let page = Page { cut: (200_000, 1), ..Page::new(content(500_000)) };
    let server = Server::new([("/data/slide.h5", page)]);
    let dir = tempfile::tempdir().unwrap();
    let d = downloads(&server, dir.path()).retries(0);
    assert!(d.fetch(URL, None).is_err());
    let new: Vec<u8> = content(450_000).into_iter().rev().collect();
    server.set("/data/slide.h5", Page { etag: Some("\"v2\""), ..Page::new(new.clone()) });
    assert!(std::fs::read(d.fetch(URL, None).unwrap()).unwrap() == new);
}

#[test]
fn without_a_version_a_part_is_used_only_where_the_whole_can_be_checked() {
    let body = content(500_000);
    for (checksum, resumed) in [(Some(sha256(&body)), true), (None, false)] {
        let page = Page { cut: (200_000, 1), etag: None, ..Page::new(body.clone()) };
        let server = Server::new([("/data/slide.h5", page)]);
        let dir = tempfile::tempdir().unwrap();
        let d = downloads(&server, dir.path());
        let path = d.fetch(URL, checksum.as_deref()).unwrap();
        assert!(std::fs::read(path).unwrap() == body);
        assert_eq!(server.asked()[1].contains("bytes="), resumed);
    }
}

#[test]
fn a_part_that_is_whole_already_needs_only_its_name() {
    let body = content(70_000);
    let server = Server::new([("/data/slide.h5", Page::new(body.clone()))]);
    let dir = tempfile::tempdir().unwrap();
    let d = downloads(&server, dir.path());
    let folder = dir.path().join("files/example.org/data");
    std::fs::create_dir_all(&folder).unwrap();
    std::fs::write(folder.join("slide.h5.part"), &body).unwrap();
    d.fetch(URL, Some(&sha256(&body))).unwrap();
    assert_eq!(server.asked(), ["/data/slide.h5 bytes=70000-"]);
}

#[test]
fn a_server_in_trouble_is_asked_again_and_one_that_says_no_is_not() {
    let busy = Page { trouble: (500, 2), ..Page::new(content(100)) };
    let server = Server::new([("/data/slide.h5", busy)]);
    let dir = tempfile::tempdir().unwrap();
    let d = downloads(&server, dir.path());
    assert!(d.fetch(URL, None).is_ok());
    assert_eq!(server.asked().len(), 3);
    let e = d.fetch("https://example.org/none.h5", None).unwrap_err().to_string();
    assert!(e.contains("404 (it has no such file)"), "{e}");
    assert_eq!(server.asked().len(), 4);
    let busy = Page { trouble: (503, 99), ..Page::new(content(100)) };
    server.set("/busy.h5", busy);
    let e = d.retries(2).fetch("https://example.org/busy.h5", None).unwrap_err().to_string();
    assert!(e.contains("503"), "{e}");
    assert_eq!(server.asked().len(), 7);
    assert_eq!(names(dir.path()), ["slide.h5", "slide.h5.sha256"], "nothing came, nothing is left");
}

#[test]
fn a_web_page_is_not_taken_for_a_file() {
    let login = Page::new("<!DOCTYPE html><html>Please log in</html>");
    let server = Server::new([
        ("/data/slide.h5", login.clone()),
        ("/typed.h5", Page { kind: "text/html; charset=utf-8", ..Page::new("Sorry") }),
    ]);
    let dir = tempfile::tempdir().unwrap();
    let d = downloads(&server, dir.path());
    for url in [URL, "https://example.org/typed.h5"] {
        let e = d.fetch(url, None).unwrap_err().to_string();
        assert!(e.contains("web page"), "{e}");
    }
    assert_eq!(names(dir.path()), [""; 0]);
}

#[test]
fn a_server_that_falls_silent_is_given_up() {
    let server =
        Server::new([("/data/slide.h5", Page { hangs: true, ..Page::new(content(9999)) })]);
    let dir = tempfile::tempdir().unwrap();
    let d = downloads(&server, dir.path()).patience(Duration::from_millis(300)).retries(1);
    let started = Instant::now();
    let e = d.fetch(URL, None).unwrap_err().to_string();
    assert!(started.elapsed() < Duration::from_secs(10));
    assert!(e.contains("nothing came") || e.contains("broke"), "{e}");
    assert!(names(dir.path()).contains(&"slide.h5.part".to_string()), "what came is kept");
}

#[test]
fn without_a_network_the_message_says_which_file_to_put_where() {
    // A port on which nobody listens.
    let port = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
    let dir = tempfile::tempdir().unwrap();
    let d = Downloads::new().folder(dir.path()).base(format!("http://127.0.0.1:{port}"));
    let d = d.wait(Duration::from_millis(5)).retries(1);
    let e = d.dlpfc("151673").unwrap_err().to_string();
    assert!(e.contains("cannot be reached"), "{e}");
    let place = dir.path().join("dlpfc/barcode_level_layer_map.tsv");
    assert!(e.contains(&format!("put it at {}", place.display())), "{e}");
    assert!(e.contains("https://raw.githubusercontent.com/LieberInstitute/HumanPilot/"), "{e}");
    // Put there, it serves, if it is the right one.
    std::fs::write(&place, "not the table").unwrap();
    let e = d.dlpfc("151673").unwrap_err().to_string();
    assert!(e.contains("the one published is"), "{e}");
}

#[test]
fn an_unknown_slide_lists_those_that_there_are() {
    let e = Downloads::new().dlpfc("151999").unwrap_err().to_string();
    assert!(e.contains("151673"), "{e}");
    assert!(Downloads::new().visium_sge("*").is_err());
}

#[test]
fn a_folder_that_cannot_be_written_is_named() {
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("file");
    std::fs::write(&file, "").unwrap();
    let e = Downloads::new().folder(&file).fetch(URL, None).unwrap_err();
    assert!(matches!(&e, Error::Io { .. }) && e.to_string().contains("file"), "{e}");
}

#[test]
fn an_interrupt_keeps_what_has_arrived() {
    // The flag is found by its address in the environment, once a process: this test runs again as
    // a process of its own.
    const CHILD: &str = "SPATIALKIT_TEST_DOWNLOAD";
    let name = "datasets::tests::an_interrupt_keeps_what_has_arrived";
    if let Ok(task) = std::env::var(CHILD) {
        let (base, folder) = task.split_once(' ').unwrap();
        static FLAG: std::sync::atomic::AtomicBool = std::sync::atomic::AtomicBool::new(false);
        let address = format!("{}:{}", std::process::id(), &raw const FLAG as usize);
        // Safety: this process runs one test in one thread.
        unsafe { std::env::set_var("SPATIALKIT_INTERRUPT", address) };
        std::thread::spawn(|| {
            std::thread::sleep(Duration::from_millis(700));
            FLAG.store(true, std::sync::atomic::Ordering::Relaxed);
        });
        let started = Instant::now();
        let got = Downloads::new().folder(folder).base(base).fetch(URL, None);
        assert!(matches!(got, Err(Error::Interrupted)), "{got:?}");
        assert!(started.elapsed() < Duration::from_secs(3), "{:?}", started.elapsed());
        return;
    }
    let server =
        Server::new([("/data/slide.h5", Page { hangs: true, ..Page::new(content(9999)) })]);
    let dir = tempfile::tempdir().unwrap();
    let out = std::process::Command::new(std::env::current_exe().unwrap())
        .args(["--exact", name, "--test-threads=1"])
        .env(CHILD, format!("{} {}", server.address, dir.path().display()))
        .output()
        .unwrap();
    let text = String::from_utf8_lossy(&out.stdout);
    assert!(out.status.success() && text.contains("1 passed"), "{text}");
    let part = dir.path().join("files/example.org/data/slide.h5.part");
    assert_eq!(std::fs::read(part).unwrap(), content(9999)[..1000]);
}

/// A slide as Space Ranger writes it: its files by name.
fn space_ranger(dir: &Path) -> HashMap<String, Vec<u8>> {
    let slide = super::synthetic(&Synthetic::default().n_genes(40)).unwrap();
    let names = slide.obs.names();
    let coords = slide.spatial().unwrap();
    let column = |k: &str| slide.obs_column(k).unwrap().to_f64().unwrap();
    let (rows, columns) = (column("array_row"), column("array_col"));
    let mut positions = String::new();
    for (i, name) in names.iter().enumerate() {
        let (x, y) = (coords[[i, 0]].round(), coords[[i, 1]].round());
        positions.push_str(&format!("{name},1,{},{},{y},{x}\n", rows[i], columns[i]));
    }
    let scales = r#"{"tissue_hires_scalef": 0.1, "tissue_lowres_scalef": 0.03,
                     "spot_diameter_fullres": 89.0, "fiducial_diameter_fullres": 144.0}"#;
    let mut png = std::io::Cursor::new(Vec::new());
    let white = image::RgbImage::from_pixel(8, 8, image::Rgb([255; 3]));
    white.write_to(&mut png, image::ImageFormat::Png).unwrap();
    let h5 = dir.join("matrix.h5");
    tenx_h5(&h5, &slide);
    let mut out = HashMap::new();
    out.insert("matrix".to_string(), std::fs::read(h5).unwrap());
    out.insert("positions".to_string(), positions.into_bytes());
    out.insert("scales".to_string(), scales.as_bytes().to_vec());
    out.insert("png".to_string(), png.into_inner());
    out
}

/// A 10x file of version 3.
fn tenx_h5(path: &PathBuf, slide: &crate::anndata::AnnData) {
    use hdf5::types::VarLenUnicode;
    let file = hdf5::File::create(path).unwrap();
    let group = file.create_group("matrix").unwrap();
    let x = slide.x().unwrap().to_csr();
    let data: Vec<i32> = x.values.to_f32().iter().map(|&v| v as i32).collect();
    let indices: Vec<i64> = x.indices.iter().map(|&i| i64::from(i)).collect();
    let indptr: Vec<i64> = x.indptr.iter().map(|&i| i as i64).collect();
    group.new_dataset_builder().with_data(&data).create("data").unwrap();
    group.new_dataset_builder().with_data(&indices).create("indices").unwrap();
    group.new_dataset_builder().with_data(&indptr).create("indptr").unwrap();
    let shape = [slide.n_vars() as i32, slide.n_obs() as i32];
    group.new_dataset_builder().with_data(&shape).create("shape").unwrap();
    let texts =
        |v: &[String]| -> Vec<VarLenUnicode> { v.iter().map(|s| s.parse().unwrap()).collect() };
    let put = |group: &hdf5::Group, name: &str, v: Vec<String>| {
        group.new_dataset_builder().with_data(&texts(&v)).create(name).unwrap();
    };
    put(&group, "barcodes", slide.obs.names().to_vec());
    let features = group.create_group("features").unwrap();
    let genes = slide.var.names().to_vec();
    put(&features, "name", genes.clone());
    put(&features, "id", genes.iter().map(|g| format!("ENSG-{g}")).collect());
    put(&features, "feature_type", vec!["Gene Expression".into(); genes.len()]);
    put(&features, "genome", vec!["GRCh38".into(); genes.len()]);
}

#[test]
fn slides_come_with_what_belongs_to_them() {
    let dir = tempfile::tempdir().unwrap();
    let files = space_ranger(dir.path());
    let file = |name: &str| Page::new(files[name].clone());
    let server = Server::new([]);
    let tar = archive(&[
        ("spatial/", b'5', b""),
        ("spatial/tissue_positions_list.csv", b'0', &files["positions"]),
        ("spatial/scalefactors_json.json", b'0', &files["scales"]),
        ("spatial/tissue_hires_image.png", b'0', &files["png"]),
        ("spatial/tissue_lowres_image.png", b'0', &files["png"]),
    ]);
    // The published checksums are of the real slides: what this server has is refused, from the
    // mirror as well.
    let id = "V1_Human_Heart";
    server.set(
        &format!("/samples/spatial-exp/1.1.0/{id}/{id}_spatial.tar.gz"),
        Page::new(tar.clone()),
    );
    let matrix = format!("/samples/spatial-exp/1.1.0/{id}/{id}_filtered_feature_bc_matrix.h5");
    server.set(&matrix, file("matrix"));
    let d = downloads(&server, dir.path()).retries(0);
    let e = d.visium_sge(id).unwrap_err().to_string();
    assert!(e.contains("scverse.org") && e.contains("Visium") || e.contains(id), "{e}");
    assert_eq!(server.asked().len(), 2, "10x and the mirror: {:?}", server.asked());

    // Read from the cache the slide is whole. (The files are put there with nothing to check.)
    let folder = dir.path().join("visium_sge").join(id);
    std::fs::create_dir_all(&folder).unwrap();
    std::fs::write(folder.join("filtered_feature_bc_matrix.h5"), &files["matrix"]).unwrap();
    std::fs::write(folder.join("spatial.tar.gz"), &tar).unwrap();
    let slide = d.read_visium_sge(&dir.path().join("visium_sge"), id).unwrap();
    assert_eq!(slide.n_vars(), 40);
    assert!(slide.uns["spatial"].at(&[id, "images", "hires"]).is_some());
    assert_eq!(
        slide,
        d.read_visium_sge(&dir.path().join("visium_sge"), id).unwrap(),
        "unpacked once"
    );

    let folder = dir.path().join("dlpfc/151673");
    std::fs::create_dir_all(folder.join("spatial")).unwrap();
    std::fs::write(folder.join("filtered_feature_bc_matrix.h5"), &files["matrix"]).unwrap();
    for (name, of) in [
        ("tissue_positions_list.csv", "positions"),
        ("scalefactors_json.json", "scales"),
        ("tissue_hires_image.png", "png"),
        ("tissue_lowres_image.png", "png"),
    ] {
        std::fs::write(folder.join("spatial").join(name), &files[of]).unwrap();
    }
    let names = slide.obs.names();
    let table = format!("{}\t151673\tL3\n{}\t151507\tWM\n", names[0], names[1]);
    std::fs::write(dir.path().join("dlpfc/barcode_level_layer_map.tsv"), table).unwrap();
    let slide = d.read_dlpfc(&dir.path().join("dlpfc"), "151673").unwrap();
    let layers = slide.obs_column("layer_guess").unwrap().to_categorical();
    assert_eq!((layers.label(0), layers.label(1)), (Some("L3"), None));
}

#[test]
fn a_slide_of_a_catalogue_is_found_by_its_name() {
    let dir = tempfile::tempdir().unwrap();
    let path = "/datasets/jiawennnn/STimage-1K4M/resolve/main";
    let server = Server::new([]);
    for file in ["coord/S1_coord.csv", "gene_exp/S1_count.csv", "image/S1.png"] {
        server.set(&format!("{path}/Visium/{file}"), Page::new(file));
    }
    let d = downloads(&server, dir.path()).retries(0);
    let e = d.stimage_files("S1").unwrap_err().to_string();
    assert!(e.contains("404") && e.contains("meta_all_gene"), "{e}");
    // With the catalogue at its place the rest is found from it.
    let table = dir.path().join("meta.csv");
    std::fs::write(&table, "slide,species,tech\nS1,human,Visium\nS12,human,ST\nbad,x,../..\n")
        .unwrap();
    assert_eq!(super::registry::technology(&table, "S1").unwrap(), "Visium");
    let e = super::registry::technology(&table, "S3").unwrap_err().to_string();
    assert_eq!(e, "STimage-1K4M has no slide `S3`; it has: nothing");
    assert!(super::registry::technology(&table, "bad").is_err(), "no folder of its own");
    let folder = d.stimage_slide("Visium", "S1").unwrap();
    assert_eq!(std::fs::read(folder.join("Visium/image/S1.png")).unwrap(), b"image/S1.png");
}

#[test]
fn a_name_cannot_lead_out_of_the_folder() {
    let dir = tempfile::tempdir().unwrap();
    let server = Server::new([("/../../etc/x", Page::new("1")), ("/etc/x", Page::new("1"))]);
    let d = downloads(&server, dir.path()).retries(0);
    if let Ok(path) = d.fetch("https://../../etc/x", None) {
        assert!(path.canonicalize().unwrap().starts_with(dir.path().canonicalize().unwrap()));
    }
    let mut text = String::new();
    let _ = std::fs::File::open("/etc/x").map(|mut f| f.read_to_string(&mut text));
    assert_eq!(text, "");
}
