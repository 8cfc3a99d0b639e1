//! How fast softcuda is: lane instructions a second, and bytes of PTX loaded a second. Times of the simulator, which say nothing of a GPU.
//!
//! `cargo bench -p softcuda-engine`, all of it on one worker thread and counting:
//! - `synthetic`: a loop in the shape of a 4-bit matrix-vector product, without checks, with all but races, with all;
//! - `shipped`: lowbit's INT4 product, and decode attention on an int8 and a KIVI-4 cache, without and with all checks;
//! - `load`: the largest module of lowbit, from text to executable instructions.
//!
//! The last two take the PTX that building lowbit leaves in `target/kernels` (or `SOFTCUDA_BENCH_KERNELS`), and say so when there is none.
//! A time is what the thread had of a processor, where the system tells: other programs do not count.

mod shipped;
mod synthetic;

use criterion::{Criterion, Throughput};
use softcuda_engine::{Checks, Config, Device, Launch, Model, Module};
use std::path::PathBuf;
use std::time::{Duration, Instant};

/// A launch to measure.
struct Case {
    name: &'static str,
    text: String,
    kernel: &'static str,
    grid: [u32; 3],
    threads: u32,
    dynamic_shared: u32,
    /// Makes the arguments on a device.
    params: fn(&Device) -> Vec<u8>,
}

/// The time that a piece of work takes this thread.
fn time(work: impl FnOnce()) -> Duration {
    let used = || {
        let text = std::fs::read_to_string("/proc/thread-self/schedstat").ok()?;
        text.split_whitespace().next()?.parse().ok().map(Duration::from_nanos)
    };
    let (start, from) = (Instant::now(), used());
    work();
    let wall = start.elapsed();
    from.zip(used()).map_or(wall, |(from, to)| to.saturating_sub(from))
}

/// Measures a case in each mode.
fn interpret(c: &mut Criterion, group: &str, case: &Case, modes: &[(&str, Checks)]) {
    let mut group = c.benchmark_group(group);
    for &(mode, checks) in modes {
        let device = Device::new(Config { checks, threads: 1, ..Config::default() });
        let module = Module::load(&device, &case.text).unwrap_or_else(|e| panic!("{}: {e}", case.name));
        let params = (case.params)(&device);
        let launch = Launch {
            grid: case.grid,
            block: [case.threads, 1, 1],
            dynamic_shared: case.dynamic_shared,
            params: &params,
            cooperative: false,
        };
        let run = || device.launch(&module, case.kernel, launch).unwrap_or_else(|r| panic!("{}: {r}", case.name));
        group.throughput(Throughput::Elements(run().total_lane_instructions()));
        group.bench_function(format!("{}, {mode}", case.name), |b| {
            b.iter_custom(|n| {
                time(|| {
                    for _ in 0..n {
                        run();
                    }
                })
            })
        });
    }
}

fn synthetic(c: &mut Criterion) {
    let modes = [
        ("no checks", Checks::NONE),
        ("no race check", Checks { race: false, ..Checks::ALL }),
        ("all checks", Checks::ALL),
    ];
    interpret(c, "synthetic", &synthetic::case(), &modes);
}

/// Where lowbit's build leaves its PTX.
fn kernels() -> PathBuf {
    let target = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../../target/kernels");
    std::env::var_os("SOFTCUDA_BENCH_KERNELS").map_or(target, PathBuf::from)
}

/// A module's text, or a line that says what is not measured.
fn shipped_text(module: &str) -> Option<String> {
    let path = kernels().join(module);
    let text = std::fs::read_to_string(&path);
    if let Err(e) = &text {
        println!(
            "not measured: {}: {e}. `cargo build` with an nvcc makes it; see also SOFTCUDA_BENCH_KERNELS",
            path.display()
        );
    }
    text.ok()
}

fn shipped(c: &mut Criterion) {
    for (module, make) in shipped::CASES {
        if let Some(text) = shipped_text(module) {
            interpret(c, "shipped", &make(text), &[("no checks", Checks::NONE), ("all checks", Checks::ALL)]);
        }
    }
}

fn load(c: &mut Criterion) {
    let Some(text) = shipped_text(shipped::LARGEST) else { return };
    let model = Model::by_name("sm_90").expect("a known name");
    let device = Device::new(Config { model, ..Config::default() });
    let mut group = c.benchmark_group("load");
    group.throughput(Throughput::Bytes(text.len() as u64));
    group.bench_function(shipped::LARGEST, |b| {
        b.iter_custom(|n| {
            time(|| {
                for _ in 0..n {
                    Module::load(&device, &text).unwrap_or_else(|e| panic!("{}: {e}", shipped::LARGEST));
                }
            })
        })
    });
}

fn main() {
    let (warm_up, measured) = (Duration::from_secs(1), Duration::from_secs(3));
    let config = Criterion::default().sample_size(10).warm_up_time(warm_up).measurement_time(measured);
    let mut c = config.configure_from_args();
    synthetic(&mut c);
    shipped(&mut c);
    load(&mut c);
    c.final_summary();
}
