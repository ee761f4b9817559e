//! The kernel over its real sockets, as a front end sees it.
//!
//! One kernel serves most tests, one after the other: starting one takes seconds. Without the
//! prebuilt library (`spatialkit-kernel prepare`) the tests say that they were skipped.

use serde_json::{Value, json};
use spatialkit_kernel::runner::client::{Client, KernelSpec};
use spatialkit_kernel::wire::{Message, Signer};
use std::path::{Path, PathBuf};
use std::process::{Command, Output};
use std::time::{Duration, Instant};

mod support;

use support::{Cell, EXE, SOON, facade, kernel, run, run_all, run_and};

/// A function with which cells write to the display channel themselves.
const SEND: &str = r#"
fn send(kind: &str, content: &str) {
    use std::io::{BufRead, Write};
    std::io::stdout().flush().unwrap();
    let address = std::env::var("SPATIALKIT_CHANNEL").unwrap();
    let path = address.strip_prefix("unix:").unwrap();
    let mut stream = std::os::unix::net::UnixStream::connect(path).unwrap();
    writeln!(stream, "{{\"msg_type\":\"{kind}\",\"content\":{content}}}").unwrap();
    let mut line = String::new();
    std::io::BufReader::new(stream).read_line(&mut line).unwrap();
    assert_eq!(line, "{\"ack\": true}\n");
}
"#;

#[test]
fn kernel_info_is_true_and_prompt() {
    if !facade() {
        return;
    }
    let start = Instant::now();
    let spec = KernelSpec::of_executable(Path::new(EXE));
    let mut client = Client::start(&spec, None).unwrap();
    let info = client.ask("kernel_info_request", json!({}), SOON).unwrap();
    println!("kernel_info after {:?}", start.elapsed());
    assert!(start.elapsed() < Duration::from_secs(3));
    assert_eq!(info["language_info"]["name"], "rust");
    assert_eq!(info["language_info"]["file_extension"], ".rs");
    assert_eq!(info["language_info"]["mimetype"], "text/rust");
    let pid = client.pid();
    client.shutdown();
    assert!(!Path::new(&format!("/proc/{pid}/cmdline")).exists());
}

#[test]
fn values_variables_and_functions_work_and_are_counted() {
    let Some(mut client) = kernel() else { return };
    let first = run(&mut client, "let numbers = vec![1.5, 2.0, 3.0];").ok();
    assert!(first.kinds().is_empty(), "{:?}", first.kinds());
    let sum = run(&mut client, "numbers.iter().sum::<f64>()").ok();
    assert_eq!(sum.value(), "6.5");
    let count = |cell: &Cell| cell.reply["execution_count"].as_u64().unwrap();
    assert_eq!(count(&sum), count(&first) + 1);
    assert_eq!(sum.of("execute_result")[0]["execution_count"], count(&sum));
    let call = run_all(&mut client, &["fn square(x: f64) -> f64 { x * x }", "square(3.0)"]);
    assert_eq!(call.value(), "9.0");
    let nothing = run(&mut client, "if true { println!(\"x\") }").ok();
    assert_eq!(nothing.kinds(), ["stream"]);
    let own = run(&mut client, ":dep spatialkit = { path = \"/nowhere\" }\n1 + 1").ok();
    assert_eq!(own.value(), "2");
}

#[test]
fn types_are_inferred_through_the_standard_library() {
    let Some(mut client) = kernel() else { return };
    let last = run_all(
        &mut client,
        &[
            "use std::collections::{BTreeMap, HashMap};
            let mut map = HashMap::new();
            map.insert(String::from(\"a\"), 1.5);
            let tree: BTreeMap<i32, char> = [(1, 'x')].into();",
            "let values = map.iter().map(|(_, v)| *v).collect::<Vec<_>>();",
            "let best = map.iter().max_by(|a, b| a.1.total_cmp(b.1)).map(|(k, v)| (k.to_string(), *v));",
            "let first = tree.iter().next().map(|(k, v)| (*k, *v));",
            "let words = \"b a\".split(' ').map(str::len).collect::<Vec<_>>();",
            "let started = std::time::Instant::now(); let path = std::path::PathBuf::from(\"/\");",
            // Macros, of which some call what no cell may.
            "let mut names = Vec::new(); names.push(format!(\"{}\", 1)); let v = vec![1.5, 2.0];
            let is = matches!(v.len(), 1..=2); let all = [vec![0u8; 2], vec![1; 2]].concat();
            let written = { use std::fmt::Write; let mut s = String::new(); write!(s, \"{is}\")?; s };
            let text = concat!(\"a\", 1); let picked = dbg!(names.first().cloned()).unwrap_or_default();",
            // Iterators, options, results and numbers.
            "let pairs = v.iter().zip(1..).map(|(a, i)| (i, a * 2.0)).filter(|p| p.1 > 1.0).collect::<Vec<_>>();
            let chunks = v.chunks(1).map(|c| c.iter().sum::<f64>()).collect::<Vec<_>>();
            let most = v.iter().copied().max_by(f64::total_cmp); let sorted = { let mut s = v.clone(); s.sort_by(|a, b| b.total_cmp(a)); s };
            let parsed = \"7\".parse::<u32>().ok().map(|n| n.pow(2).saturating_sub(1)); let root = 2f64.sqrt().to_bits();
            let joined = names.join(\", \").to_uppercase().chars().rev().collect::<String>();
            let shared = std::sync::Arc::new(std::sync::Mutex::new(vec![0u8])); let boxed: Box<dyn Fn(i32) -> i32> = Box::new(|x| x + 1); let called = boxed(1);
            let grouped = v.iter().fold(std::collections::BTreeMap::new(), |mut m, x| { *m.entry(*x as i32).or_insert(0) += 1; m });",
            "(values, best, first, words)",
        ],
    );
    assert_eq!(last.value(), "([1.5], Some((\"a\", 1.5)), Some((1, 'x')), [1, 1])");
}

#[test]
fn displays_and_prints_keep_their_order() {
    let Some(mut client) = kernel() else { return };
    let code = format!(
        "{SEND}
        print!(\"a\");
        send(\"display_data\", r#\"{{\"data\":{{\"text/plain\":\"one\"}},\"metadata\":{{}},\"transient\":{{\"display_id\":\"d\"}}}}\"#);
        println!(\"b\");
        send(\"display_data\", r#\"{{\"data\":{{\"text/plain\":\"two\"}},\"metadata\":{{}},\"transient\":{{}}}}\"#);
        eprint!(\"c\");
        send(\"update_display_data\", r#\"{{\"data\":{{\"text/plain\":\"three\"}},\"metadata\":{{}},\"transient\":{{\"display_id\":\"d\"}}}}\"#);
        send(\"clear_output\", r#\"{{\"wait\":true}}\"#);
        7"
    );
    let cell = run(&mut client, &code).ok();
    assert_eq!(
        cell.kinds(),
        [
            "stream",
            "display_data",
            "stream",
            "display_data",
            "stream",
            "update_display_data",
            "clear_output",
            "execute_result"
        ]
    );
    let shown: Vec<_> = cell.of("display_data");
    assert_eq!(shown[0]["data"]["text/plain"], "one");
    assert_eq!(shown[0]["transient"]["display_id"], "d");
    assert_eq!(cell.text("stdout"), "ab\n");
    assert_eq!(cell.text("stderr"), "c");
}

#[test]
fn other_crates_displays_by_markers_are_shown() {
    let Some(mut client) = kernel() else { return };
    let cell = run(
        &mut client,
        "print!(\"left\");
        println!(\"EVCXR_BEGIN_CONTENT text/html\\n<b>1</b>\\nEVCXR_END_CONTENT\");
        println!(\"EVCXR_BEGIN_CONTENT text/plain\\n1\\nEVCXR_END_CONTENT\");
        println!(\"right\");",
    )
    .ok();
    assert_eq!(cell.kinds(), ["stream", "display_data", "stream"]);
    let data = &cell.of("display_data")[0]["data"];
    assert_eq!(data, &json!({"text/html": "<b>1</b>", "text/plain": "1"}));
    assert_eq!(cell.text("stdout"), "leftright\n");
}

#[test]
fn a_value_shows_itself_if_it_can() {
    let Some(mut client) = kernel() else { return };
    let cell = run_all(
        &mut client,
        &[
            "struct Shown(u8);
            impl Shown { pub fn evcxr_display(&self) {
                println!(\"EVCXR_BEGIN_CONTENT text/html\\n<i>{}</i>\\nEVCXR_END_CONTENT\", self.0);
            } }",
            "Shown(3)",
        ],
    );
    assert_eq!(cell.of("display_data")[0]["data"]["text/html"], "<i>3</i>");
    let cell = run(&mut client, "struct Mute; Mute");
    assert!(cell.error("CompileError").contains("Debug"));
}

#[test]
fn failures_are_errors_and_variables_survive_them() {
    let Some(mut client) = kernel() else { return };
    run(&mut client, "let kept = String::from(\"here\");").ok();

    let panic = run(&mut client, "let a = 1;\nlet b: Option<i32> = None;\nb.unwrap() + a");
    let text = panic.error("Panic");
    assert!(text.contains("called `Option::unwrap()`"), "{text}");
    assert!(text.contains("line 3"), "{text}");
    assert_eq!(run(&mut client, "kept.len()").ok().value(), "4");

    let early = run(&mut client, "let n: i32 = \"1\".parse()?;\nlet m: i32 = \"x\".parse()?;");
    let text = early.error("Error");
    assert!(text.contains("invalid digit"), "{text}");
    assert!(text.contains("line 2"), "{text}");
    assert_eq!(run(&mut client, "kept.len()").ok().value(), "4");

    let compile = run(&mut client, "let x: i32 = \"text\";");
    let text = compile.error("CompileError");
    assert!(text.contains("E0308") && text.contains("mismatched types"), "{text}");
    assert!(text.contains("let x: i32 = \"text\";"), "{text}");
    assert!(!text.contains("evcxr"), "{text}");
    assert_eq!(run(&mut client, "kept.len()").ok().value(), "4");

    // One that only knows Debug, one with a source, and a panic that the cell itself catches.
    let debug = run(&mut client, "#[derive(Debug)] struct Odd(i32);\nErr::<(), _>(Odd(5))?;");
    assert!(debug.error("Error").contains("Odd(5)"));
    let chain = run(
        &mut client,
        "#[derive(Debug)] struct Outer(std::num::ParseIntError);
        impl std::fmt::Display for Outer {
            fn fmt(&self, f: &mut std::fmt::Formatter) -> std::fmt::Result { write!(f, \"no count\") }
        }
        impl std::error::Error for Outer {
            fn source(&self) -> Option<&(dyn std::error::Error + 'static)> { Some(&self.0) }
        }
        \"x\".parse::<i32>().map_err(Outer)?;",
    );
    let text = chain.error("Error");
    assert!(text.starts_with("no count: invalid digit"), "{text}");
    let caught = run(&mut client, "std::panic::catch_unwind(|| panic!(\"inner\")).is_err()").ok();
    assert_eq!(caught.value(), "true");
    assert_eq!(run(&mut client, "kept").ok().value(), "\"here\"");
}

#[test]
fn a_crash_ends_the_cell_and_not_the_kernel() {
    let Some(mut client) = kernel() else { return };
    run(&mut client, "let lost_later = 1;").ok();
    let crash = run(&mut client, "print!(\"last words\"); std::process::abort();");
    let text = crash.error("ProcessEnded");
    assert!(text.contains("lost_later"), "{text}");
    assert_eq!(run(&mut client, "1 + 1").ok().value(), "2");
}

#[test]
fn output_arrives_while_the_cell_runs() {
    let Some(mut client) = kernel() else { return };
    let mut seen = None;
    let start = Instant::now();
    let cell = run_and(
        &mut client,
        "print!(\"50 %\\r\"); std::thread::spawn(|| eprint!(\"thread\")).join().unwrap();
        std::thread::sleep(std::time::Duration::from_secs(2)); println!(\"end\");",
        &mut |messages| {
            if seen.is_none() && messages.iter().any(|m| m.content["text"] == "50 %\r") {
                seen = Some(start.elapsed());
            }
            false
        },
    )
    .ok();
    assert_eq!(cell.text("stdout"), "50 %\rend\n");
    assert_eq!(cell.text("stderr"), "thread");
    let whole = start.elapsed();
    assert!(whole - seen.expect("seen while it runs") > Duration::from_millis(1200));
}

#[test]
fn five_thousand_lines_and_ten_megabytes_arrive_whole() {
    let Some(mut client) = kernel() else { return };
    let cell = run(&mut client, "for i in 0..5000 { println!(\"{i}\"); }").ok();
    let expected: String = (0..5000).map(|i| format!("{i}\n")).collect();
    assert_eq!(cell.text("stdout"), expected);

    // Each as a message of its own, too.
    let many = format!(
        "{SEND}
        for i in 0..5000 {{
            print!(\"{{i}},\");
            if i % 10 == 0 {{
                send(\"display_data\", &format!(\"{{{{\\\"data\\\":{{{{\\\"text/plain\\\":\\\"{{i}}\\\"}}}},\\\"metadata\\\":{{{{}}}}}}}}\"));
            }}
        }}"
    );
    let cell = run(&mut client, &many).ok();
    let expected: String = (0..5000).map(|i| format!("{i},")).collect();
    assert_eq!(cell.text("stdout"), expected);
    let shown: Vec<String> = cell
        .of("display_data")
        .iter()
        .map(|c| c["data"]["text/plain"].as_str().unwrap().to_owned())
        .collect();
    let expected: Vec<String> = (0..5000).step_by(10).map(|i| i.to_string()).collect();
    assert_eq!(shown, expected);

    let big = format!(
        "{SEND}
        let png = \"A\".repeat(10_000_000);
        send(\"display_data\", &format!(\"{{{{\\\"data\\\":{{{{\\\"image/png\\\":\\\"{{png}}\\\"}}}},\\\"metadata\\\":{{{{}}}}}}}}\"));"
    );
    let cell = run(&mut client, &big).ok();
    let data = cell.of("display_data")[0]["data"]["image/png"].as_str().unwrap();
    assert_eq!(data.len(), 10_000_000);
}

#[test]
fn a_running_cell_is_interrupted_in_the_end() {
    let Some(mut client) = kernel() else { return };
    run(&mut client, "let precious = 1;").ok();
    // Deaf to the first interrupt: the second ends it.
    let mut started: Option<Instant> = None;
    let mut sent = 0;
    let cell = run_and(
        &mut client,
        "println!(\"go\"); loop { std::hint::spin_loop(); }",
        &mut |messages| {
            if messages.iter().any(|m| m.kind() == "stream") && started.is_none() {
                started = Some(Instant::now());
            }
            let waited = started.map_or(Duration::ZERO, |s| s.elapsed());
            let due = waited > Duration::from_millis(300 * (sent + 1));
            if due && sent < 2 {
                sent += 1;
                return true;
            }
            false
        },
    );
    let text = cell.error("KeyboardInterrupt");
    assert!(text.contains("precious"), "{text}");
    assert_eq!(run(&mut client, "2 + 2").ok().value(), "4");

    // One interrupt, and nothing more from the user.
    let mut started: Option<Instant> = None;
    let mut sent = false;
    let cell = run_and(
        &mut client,
        "println!(\"go\"); std::thread::sleep(std::time::Duration::from_secs(100));",
        &mut |messages| {
            if messages.iter().any(|m| m.kind() == "stream") {
                started.get_or_insert_with(Instant::now);
                return !std::mem::replace(&mut sent, true);
            }
            false
        },
    );
    cell.error("KeyboardInterrupt");
    let took = started.unwrap().elapsed();
    assert!(took < Duration::from_secs(8), "{took:?}");
    assert_eq!(run(&mut client, "2 + 3").ok().value(), "5");
}

#[test]
fn a_loop_of_the_librarys_stops_at_once_and_variables_stay() {
    let Some(mut client) = kernel() else { return };
    run(&mut client, "use spatialkit::prelude::*;\nlet before = 7;").ok();
    let mut sent: Option<Instant> = None;
    let cell = run_and(
        &mut client,
        "{ let mut bar = Progress::new(\"work\", 10_000);
        for _ in 0..10_000 {
            std::thread::sleep(std::time::Duration::from_millis(5));
            bar.tick(1)?;
        } }",
        &mut |messages| {
            let shown = messages.iter().any(|m| m.kind() == "display_data");
            shown && sent.is_none() && sent.replace(Instant::now()).is_none()
        },
    );
    let took = sent.expect("the bar was shown").elapsed();
    cell.error("KeyboardInterrupt");
    assert!(took < Duration::from_secs(3), "{took:?}");
    assert_eq!(run(&mut client, "before").ok().value(), "7");
}

#[test]
fn a_compilation_is_cancelled_and_variables_stay() {
    let Some(mut client) = kernel() else { return };
    run(&mut client, "let stays = 5;").ok();
    // Enough code to keep the compiler busy for a while.
    let heavy: String = (0..6000)
        .map(|i| {
            format!("fn f{i}(x: u64) -> String {{ format!(\"{{x}}-{i}-{{:?}}\", vec![x; {i}]) }}\n")
        })
        .collect();
    let used: String = (0..6000).map(|i| format!("f{i},")).collect();
    let code = format!(
        "{{ {heavy} let all: [fn(u64) -> String; 6000] = [{used}]; println!(\"{{}}\", all.len()); }}"
    );
    let start = Instant::now();
    let mut sent = false;
    let cell = run_and(&mut client, &code, &mut |_| {
        start.elapsed() > Duration::from_millis(1500) && !std::mem::replace(&mut sent, true)
    });
    let text = cell.error("KeyboardInterrupt");
    assert!(text.contains("cancelled"), "{text}");
    assert_eq!(run(&mut client, "stays").ok().value(), "5");
}

#[test]
fn a_failed_cell_aborts_those_already_sent() {
    let Some(mut client) = kernel() else { return };
    let request = |code: &str| json!({"code": code, "stop_on_error": true});
    let slow = "std::thread::sleep(std::time::Duration::from_millis(500)); panic!(\"first\")";
    let first = client.send_shell("execute_request", request(slow)).unwrap();
    let second = client.send_shell("execute_request", request("1")).unwrap();
    assert_eq!(client.reply_to(&first, SOON).unwrap()["status"], "error");
    assert_eq!(client.reply_to(&second, SOON).unwrap()["status"], "aborted");
    assert_eq!(run(&mut client, "3").ok().value(), "3");
}

#[test]
fn other_requests_are_answered() {
    let Some(mut client) = kernel() else { return };
    let mut ask = |kind: &str, content| client.ask(kind, content, SOON).unwrap();
    let status = |reply: &Value| reply["status"].as_str().unwrap().to_owned();
    assert_eq!(status(&ask("is_complete_request", json!({"code": "fn f() {"}))), "incomplete");
    assert_eq!(status(&ask("is_complete_request", json!({"code": "1"}))), "complete");
    assert_eq!(ask("comm_info_request", json!({}))["comms"], json!({}));
    ask("execute_request", json!({"code": "let remembered = String::new();"}));
    let tail = json!({"hist_access_type": "tail", "n": 1, "output": false, "raw": true});
    let history = ask("history_request", tail);
    assert_eq!(history["history"][0][2], "let remembered = String::new();");
    let code = "let ü = 1; remembered.is_em";
    let cursor = code.chars().count();
    let found = ask("complete_request", json!({"code": code, "cursor_pos": cursor}));
    let matches = found["matches"].as_array().unwrap();
    assert!(matches.iter().any(|m| m.as_str().unwrap().starts_with("is_empty")), "{found}");
    assert_eq!(found["cursor_start"], cursor - "is_em".len());
    assert_eq!(found["cursor_end"], cursor);
    let silent = json!({"code": "remembered.len()", "silent": true, "store_history": false});
    assert_eq!(status(&ask("execute_request", silent)), "ok");
}

#[test]
fn expressions_of_a_request_are_evaluated() {
    let Some(mut client) = kernel() else { return };
    let expressions = json!({"sum": "one + 1", "rich": "Shown2", "bad": "nowhere"});
    let code = "let one = 1; struct Shown2; impl Shown2 { pub fn evcxr_display(&self) {
        spatialkit::notebook::html(\"<b>2</b>\") } }";
    let request = json!({"code": code, "user_expressions": expressions});
    let id = client.send_shell("execute_request", request).unwrap();
    let mut published = Vec::new();
    client.listen(&id, &mut |m| published.push(m.kind().to_owned()), &mut || false).unwrap();
    let reply = client.reply_to(&id, SOON).unwrap();
    let of = &reply["user_expressions"];
    assert_eq!(of["sum"], json!({"status": "ok", "data": {"text/plain": "2"}, "metadata": {}}));
    assert_eq!(of["rich"]["data"]["text/html"], "<b>2</b>");
    assert_eq!(of["bad"]["status"], "error");
    assert_eq!(of["bad"]["ename"], "CompileError");
    // Nothing of that is an output of the cell.
    published.retain(|kind| !matches!(kind.as_str(), "status" | "execute_input"));
    assert!(published.is_empty(), "{published:?}");
}

#[test]
fn commands_of_the_notebook() {
    let Some(mut client) = kernel() else { return };
    let setup = "use spatialkit::prelude::*;
        struct Plain; let plain = Plain; let some = vec![1u8; 2_000_000];
        let slide = datasets::synthetic(&Synthetic::default())?;
        let tensor = Tensor::zeros((2, 3), candle_core::DType::F32, &candle_core::Device::Cpu)?;";
    run(&mut client, setup).ok();
    let vars = run(&mut client, ":vars").ok();
    let shown = &vars.of("display_data")[0]["data"];
    let text = shown["text/plain"].as_str().unwrap();
    let line = |name: &str| text.lines().find(|l| l.split(' ').next() == Some(name)).unwrap();
    assert!(line("some").contains("Vec<u8>") && line("some").contains("2.0 MB"), "{text}");
    assert!(line("slide").contains("AnnData") && line("slide").contains(" × "), "{text}");
    assert!(line("tensor").contains("[2, 3] f32") && line("plain").contains("Plain"), "{text}");
    assert!(shown["text/html"].as_str().unwrap().contains("<td><b>slide</b></td>"));

    let time = run(&mut client, ":time std::thread::sleep(std::time::Duration::from_millis(120))");
    let said = time.ok().text("stdout");
    assert!(said.starts_with("compiled in 0.") && said.contains("ran in 12"), "{said}");
    let failed = run(&mut client, ":time\nlet a = 1;\npanic!(\"in time\")");
    assert!(failed.error("Panic").contains("line 3"));

    let doc = run(&mut client, ":doc pl::spatial").ok();
    let data = &doc.of("execute_result")[0]["data"];
    assert!(data["text/plain"].as_str().unwrap().contains("pub fn spatial"), "{data}");
    assert!(data["text/html"].as_str().unwrap().contains("<code"), "{data}");
    run(&mut client, ":doc no::such::thing").error("Error");
    let help = run(&mut client, ":help").ok();
    assert!(help.value().contains(":write"), "{}", help.value());

    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("a cell.rs");
    run(&mut client, &format!(":write {}\nlet a = 1;\n", path.display())).ok();
    run(&mut client, &format!(":write -a {}\nlet b = 2;", path.display())).ok();
    assert_eq!(std::fs::read_to_string(&path).unwrap(), "let a = 1;\nlet b = 2;");
    let nowhere = run(&mut client, ":write /no/such/folder/file\nx");
    assert!(nowhere.error("Error").contains("/no/such/folder/file"));

    // Names inside strings: columns, keys and genes of the slides that the code names.
    let mut names = |code: &str| -> Vec<String> {
        let cursor = code.chars().count();
        let found = json!({"code": code, "cursor_pos": cursor});
        let reply = client.ask("complete_request", found, SOON).unwrap();
        serde_json::from_value(reply["matches"].clone()).unwrap()
    };
    assert!(names("pl::spatial(&slide, \"lay").contains(&"layer".to_owned()));
    assert!(names("slide.obsm[\"spa").contains(&"spatial".to_owned()));
    assert!(names("pl::spatial(&slide, \"nothing like it").is_empty());
}

#[test]
fn a_cell_may_ask_for_a_line() {
    let Some(mut client) = kernel() else { return };
    client.answer_with(Some("an answer".to_owned()));
    let code = "spatialkit::notebook::input(\"name? \")?.len()";
    assert_eq!(run(&mut client, code).ok().value(), "9");
    // One that asks nothing and just reads.
    let plain = "let mut line = String::new(); std::io::stdin().read_line(&mut line)?; line";
    assert_eq!(run(&mut client, plain).ok().value(), "\"an answer\\n\"");
    client.answer_with(None);
    assert_eq!(run(&mut client, code).ok().value(), "0");
}

#[test]
fn a_comm_that_nobody_waits_for_is_closed() {
    let Some(mut client) = kernel() else { return };
    let open = json!({"comm_id": "c1", "target_name": "widget", "data": {}});
    let id = client.send_shell("comm_open", open).unwrap();
    let mut closed = Vec::new();
    let mut on = |m: &Message| {
        if m.kind() == "comm_close" {
            closed.push(m.content["comm_id"].clone());
        }
    };
    client.listen(&id, &mut on, &mut || false).unwrap();
    assert_eq!(closed, ["c1"]);
}

#[test]
fn a_value_that_takes_a_variable_along_is_shown_by_itself() {
    let Some(mut client) = kernel() else { return };
    let setup = "use spatialkit::prelude::*;
        struct Owner(Vec<i32>); impl Owner { pub fn evcxr_display(&self) {
            notebook::html(format!(\"<i>{}</i>\", self.0.len())) } }
        let list = vec![1, 2, 3];";
    run(&mut client, setup).ok();
    let cell = run(&mut client, "Owner(list)").ok();
    assert_eq!(cell.of("display_data")[0]["data"]["text/html"], "<i>3</i>");
    let gone = run(&mut client, "list.len()").error("CompileError");
    assert!(gone.contains("cannot find value `list`"), "{gone}");
}

#[test]
fn a_type_that_is_defined_anew_takes_its_variables_along() {
    let Some(mut client) = kernel() else { return };
    run(&mut client, "#[derive(Debug)] struct Old { a: i32 }\nlet x = Old { a: 1 }; let y = 5;")
        .ok();
    run(&mut client, "#[derive(Debug)] struct Old { b: String }").ok();
    assert_eq!(run(&mut client, "y").ok().value(), "5");
    let cell = run(&mut client, "x");
    cell.error("CompileError");
    assert!(cell.text("stderr").contains("`x`"), "{}", cell.text("stderr"));
}

#[test]
fn a_borrow_that_cannot_be_kept_is_explained() {
    let Some(mut client) = kernel() else { return };
    run(&mut client, "let words = vec![String::from(\"a\")];").ok();
    for code in [
        "let first = &words[0];",
        "let lengths = words.iter().map(String::len);",
        "let first: &String = &words[0];",
    ] {
        let cell = run(&mut client, code);
        assert_eq!(cell.reply["status"], "error", "{code}");
        let text = cell.reply["evalue"].as_str().unwrap();
        println!("{code}\n{text}\n{}", cell.reply["traceback"][0].as_str().unwrap_or(""));
        assert!(!text.contains("evcxr") && text.contains("variable"), "{code}: {text}");
    }
    assert_eq!(run(&mut client, "words.len()").ok().value(), "1");
}

#[test]
fn a_forged_message_is_refused_and_the_kernel_lives() {
    let Some(mut client) = kernel() else { return };
    let connection = client.connection().clone();
    let endpoint = connection.endpoint(connection.shell_port);
    let kind = spatialkit_kernel::transport::Kind::Dealer;
    let (socket, replies) =
        spatialkit_kernel::transport::Socket::connect(kind, &endpoint, b"forger", SOON).unwrap();
    let forger = Signer::new("guess", "hmac-sha256").unwrap();
    let message = Message::new("s", "kernel_info_request", json!({}));
    socket.send(forger.encode(&message).unwrap());
    assert!(replies.recv_timeout(Duration::from_secs(1)).is_err());
    let honest = Signer::new(&connection.key, "hmac-sha256").unwrap();
    socket.send(honest.encode(&message).unwrap());
    assert!(replies.recv_timeout(SOON).is_ok());

    // What is no message at all.
    for port in [
        connection.shell_port,
        connection.iopub_port,
        connection.control_port,
        connection.stdin_port,
        connection.hb_port,
    ] {
        use std::io::Write;
        let mut raw = std::net::TcpStream::connect(("127.0.0.1", port as u16)).unwrap();
        let garbage = vec![0x41; 1 << 20];
        let _ = (0..10).try_for_each(|_| raw.write_all(&garbage));
    }
    assert_eq!(run(&mut client, "4").ok().value(), "4");
}

// --- the runner -------------------------------------------------------------------------------

fn notebook(dir: &Path, cells: &[(&str, &[&str])]) -> PathBuf {
    let cells: Vec<Value> = cells
        .iter()
        .map(|(source, tags)| {
            json!({"cell_type": "code", "metadata": {"tags": tags}, "source": source,
                   "outputs": [], "execution_count": null})
        })
        .collect();
    let path = dir.join("notebook ü.ipynb");
    let text = json!({"nbformat": 4, "nbformat_minor": 4, "metadata": {}, "cells": cells});
    std::fs::write(&path, text.to_string()).unwrap();
    path
}

fn exec(args: &[&str]) -> Output {
    Command::new(EXE).arg("exec").args(args).output().unwrap()
}

#[test]
fn a_notebook_runs_with_parameters_and_stops_at_a_failure() {
    if !facade() {
        return;
    }
    let dir = tempfile::tempdir().unwrap();
    let cells: &[(&str, &[&str])] = &[
        ("let name: &str = \"default\";\nlet n: usize = 1;", &["parameters"]),
        ("println!(\"{name} {n}\");\nn + 1", &[]),
        ("panic!(\"stop\")", &[]),
        ("println!(\"never\");", &[]),
    ];
    let path = notebook(dir.path(), cells);
    let out = dir.path().join("new folder/out.ipynb");
    let html = dir.path().join("out.html");
    let result = exec(&[
        path.to_str().unwrap(),
        "-p",
        "name=a \"quoted\" one",
        "-p",
        "n=41",
        "-o",
        out.to_str().unwrap(),
        "--html",
        html.to_str().unwrap(),
    ]);
    assert_eq!(result.status.code(), Some(1));
    let written: Value = serde_json::from_str(&std::fs::read_to_string(&out).unwrap()).unwrap();
    let cell = |i: usize| &written["cells"][i];
    assert_eq!(cell(1)["metadata"]["tags"], json!(["injected-parameters"]));
    assert_eq!(cell(2)["outputs"][0]["text"], json!(["a \"quoted\" one 41\n"]));
    assert_eq!(cell(2)["outputs"][1]["data"]["text/plain"], json!(["42"]));
    assert_eq!(cell(3)["outputs"][0]["output_type"], "error");
    assert_eq!(cell(4)["outputs"], json!([]));
    assert_eq!(written["nbformat_minor"], 5);
    assert_eq!(written["metadata"]["kernelspec"]["name"], "spatialkit");
    let page = std::fs::read_to_string(&html).unwrap();
    assert!(page.contains("a &quot;quoted&quot; one 41"));
}

#[test]
fn wrong_arguments_give_one_clear_line() {
    let dir = tempfile::tempdir().unwrap();
    let path = notebook(dir.path(), &[("let n: u8 = 1;", &["parameters"])]);
    let path = path.to_str().unwrap();
    let text = dir.path().join("text.ipynb");
    std::fs::write(&text, "hello").unwrap();
    for (args, words) in [
        (&["/no/such.ipynb"][..], "no such notebook"),
        (&[text.to_str().unwrap()], "is not a notebook"),
        (&[path, "--kernel", "none-such"], "no kernel named `none-such`"),
        (&[path, "-p", "m=1"], "it has: n"),
        (&[path, "-p", "n=300"], "from 0 to 255"),
        (&[path, "-p", "n"], "NAME=VALUE"),
    ] {
        let output = exec(args);
        assert!(!output.status.success());
        let text = String::from_utf8_lossy(&output.stderr).into_owned();
        assert!(text.contains(words), "{text}");
        assert_eq!(text.trim_end().lines().count(), 1, "{text}");
    }
}
