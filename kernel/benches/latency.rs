//! How long a user waits for a kernel: this one, or stock evcxr_jupyter with the library as its
//! dependency.
//!
//! ```text
//! bench-kernel ours EXECUTABLE              this kernel
//! bench-kernel stock EXECUTABLE CRATE       evcxr_jupyter; CRATE is the library's folder
//! ```
//!
//! Each line is `case seconds peak_mb check version`. Times are from sending a request until its
//! reply and the `idle` after it are there; memory is that of the kernel and all its children.
//! The cases:
//!
//! * `kernel-info`: from starting the process to the reply;
//! * `first-cell`: a library cell sent at that moment (stock: its `:dep` counts);
//! * `second-cell`: another one right after it;
//! * `warm-cells`: the median of the twelve cells of [`SCRIPT`];
//! * `one-plus-one`: the median of five.

use serde_json::json;
use spatialkit_kernel::runner::client::{Client, Ended, KernelSpec};
use std::path::Path;
use std::time::{Duration, Instant};

const FIRST: &str = "use spatialkit::prelude::*;\n\
                     let t = Tensor::randn(0f32, 1., (64, 64), &candle_core::Device::Cpu)?;";

/// What a session consists of: variables, expressions, functions, `?`, text, a figure.
const SCRIPT: [&str; 12] = [
    "let slide = datasets::synthetic(&Synthetic::default())?;",
    "slide.n_obs()",
    "let numbers = vec![1.5, 2.0, 3.0];",
    "numbers.iter().sum::<f64>()",
    "fn square(x: f64) -> f64 { x * x }",
    "square(3.0)",
    "println!(\"{} spots\", slide.n_obs());",
    "let n: i32 = \"42\".parse()?;",
    "let product = t.matmul(&t)?;",
    "product.dims().to_vec()",
    "pl::spatial(&slide, \"layer\")",
    "let (more, name) = (n + 1, String::from(\"spots\"));",
];

fn main() {
    let args: Vec<String> = std::env::args().skip(1).collect();
    let args: Vec<&str> = args.iter().map(String::as_str).collect();
    let (spec, dependency, version) = match args.as_slice() {
        ["ours", exe] => {
            let version = format!("spatialkit {}", env!("CARGO_PKG_VERSION"));
            (KernelSpec::of_executable(Path::new(exe)), None, version)
        }
        ["stock", exe, library] => (
            KernelSpec::of_command("evcxr", &[exe, "--control_file", "{connection_file}"]),
            Some(format!(":dep spatialkit = {{ path = {library:?} }}")),
            "evcxr_jupyter 0.22.0".to_owned(),
        ),
        _ => panic!("usage: bench-kernel ours EXECUTABLE | stock EXECUTABLE CRATE"),
    };
    let report = |case: &str, seconds: f64, megabytes: f64| {
        println!("{case} {seconds:.4} {megabytes:.1} 0 {version}");
    };

    let start = Instant::now();
    let mut client = Client::start(&spec, None).expect("the kernel starts");
    client.ask("kernel_info_request", json!({}), Duration::from_secs(60)).expect("kernel_info");
    let info = start.elapsed().as_secs_f64();
    let mut kernel = Measured { client, peak: 0.0 };
    report("kernel-info", info, kernel.memory());

    let wait = dependency.map_or(0.0, |dependency| kernel.run(&dependency));
    let first = kernel.run(FIRST);
    eprintln!("{wait:7.3} s  :dep\n{first:7.3} s  first cell");
    report("first-cell", wait + first, kernel.memory());
    let second = kernel.run("let u = Tensor::randn(0f32, 1., (8, 8), &candle_core::Device::Cpu)?;");
    report("second-cell", second, kernel.memory());
    let warm: Vec<f64> = SCRIPT.iter().map(|code| kernel.run(code)).collect();
    for (code, seconds) in SCRIPT.iter().zip(&warm) {
        eprintln!("{seconds:7.3} s  {code}");
    }
    report("warm-cells", median(warm), kernel.memory());
    let sums = (0..5).map(|_| kernel.run("1 + 1")).collect();
    report("one-plus-one", median(sums), kernel.memory());
    kernel.client.shutdown();
}

struct Measured {
    client: Client,
    peak: f64,
}

impl Measured {
    /// Seconds that a cell takes; it must succeed.
    fn run(&mut self, code: &str) -> f64 {
        let start = Instant::now();
        let ended = self.client.execute(code, &mut |_| {}, &mut || false);
        let seconds = start.elapsed().as_secs_f64();
        if let Ended::Failed(reply) = ended.expect("the kernel lives") {
            panic!("{code}\n{}: {}", reply["ename"], reply["evalue"]);
        }
        seconds
    }

    /// Megabytes of the kernel and its children, the most seen so far.
    fn memory(&mut self) -> f64 {
        self.peak = self.peak.max(tree(self.client.pid()));
        self.peak
    }
}

/// Proportional memory of a process and all below it, MB.
fn tree(pid: u32) -> f64 {
    let rollup = std::fs::read_to_string(format!("/proc/{pid}/smaps_rollup")).unwrap_or_default();
    let own: f64 = rollup
        .lines()
        .find_map(|line| line.strip_prefix("Pss:")?.trim().strip_suffix(" kB")?.parse().ok())
        .unwrap_or(0.0);
    let children: f64 = std::fs::read_dir(format!("/proc/{pid}/task"))
        .into_iter()
        .flatten()
        .flatten()
        .flat_map(|task| {
            let list = std::fs::read_to_string(task.path().join("children")).unwrap_or_default();
            list.split_whitespace().filter_map(|pid| pid.parse().ok()).collect::<Vec<u32>>()
        })
        .map(tree)
        .sum();
    own * 1024.0 / 1e6 + children
}

fn median(mut values: Vec<f64>) -> f64 {
    values.sort_by(f64::total_cmp);
    let middle = values.len() / 2;
    if values.len() % 2 == 1 {
        values[middle]
    } else {
        f64::midpoint(values[middle - 1], values[middle])
    }
}
