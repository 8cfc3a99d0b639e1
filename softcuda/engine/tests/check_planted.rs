//! Kernels with one planted fault each, and correct kernels that look suspicious.
//!
//! `tests/planted/NAME.ptx` must be stopped with exactly the text of `NAME.report`, and under every other schedule with the same kind of fault.
//! `tests/correct/NAME.ptx` must run to its end under every schedule. The launch stands in the head of each file:
//!
//! ```text
//! // launch: grid 2 block 64
//! // arg: buffer 256 zero|fresh|half|freed        a device buffer: zeroed, unwritten, its first half written, freed before the launch
//! // arg: null                                    a null pointer
//! ```
//! `SOFTCUDA_BLESS=1` writes the reports instead of comparing them.

use softcuda_engine::report::Report;
use softcuda_engine::{Checks, Config, Device, Launch, Module, Schedule};
use std::fs;
use std::path::{Path, PathBuf};

fn programs(folder: &str) -> Vec<PathBuf> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests").join(folder);
    let mut found: Vec<PathBuf> = fs::read_dir(folder).unwrap().map(|e| e.unwrap().path()).collect();
    found.sort();
    found
}

fn config(schedule: Schedule, seed: u64, threads: usize) -> Config {
    Config { checks: Checks::ALL, schedule, seed, threads, ..Config::default() }
}

/// Runs the program as its head says.
fn run(text: &str, config: Config) -> Result<(), Box<Report>> {
    let device = Device::new(config);
    let module = Module::load(&device, text).unwrap_or_else(|e| panic!("{e}"));
    let (mut grid, mut block, mut params) = (1, 1, Vec::new());
    for line in text.lines().filter_map(|l| l.strip_prefix("// ")) {
        let words: Vec<&str> = line.split_whitespace().collect();
        match words[..] {
            ["launch:", "grid", g, "block", b] => (grid, block) = (g.parse().unwrap(), b.parse().unwrap()),
            ["arg:", "null"] => params.extend(0u64.to_le_bytes()),
            ["arg:", "buffer", size, state] => {
                let size: u64 = size.parse().unwrap();
                let address = device.alloc(size).unwrap();
                match state {
                    "zero" => device.fill(address, &[0], size).unwrap(),
                    "half" => device.fill(address, &[0], size / 2).unwrap(),
                    "freed" => device.free(address).unwrap(),
                    "fresh" => {}
                    _ => panic!("buffer state {state}"),
                }
                params.extend(address.to_le_bytes());
            }
            _ => assert!(!line.starts_with("arg:") && !line.starts_with("launch:"), "{line}"),
        }
    }
    let kernel = module.kernels()[0].name.clone();
    let launch =
        Launch { grid: [grid, 1, 1], block: [block, 1, 1], dynamic_shared: 0, params: &params, cooperative: false };
    device.launch(&module, &kernel, launch).map(|_| ())
}

#[test]
fn planted_faults_are_reported() {
    let bless = std::env::var_os("SOFTCUDA_BLESS").is_some();
    let (mut seen, mut wrong) = (0, Vec::new());
    for path in programs("planted") {
        let expected = path.with_extension("report");
        if path.extension().is_some_and(|e| e == "report") {
            assert!(path.with_extension("ptx").exists(), "{} belongs to no program", path.display());
            continue;
        }
        seen += 1;
        let text = fs::read_to_string(&path).unwrap();
        let name = path.file_stem().unwrap().to_str().unwrap().to_string();
        match run(&text, config(Schedule::InOrder, 0, 1)) {
            Ok(()) => wrong.push(format!("{name}: no fault found")),
            Err(report) => {
                let got = format!("{report}\n");
                if bless {
                    fs::write(&expected, &got).unwrap();
                }
                let want = fs::read_to_string(&expected).unwrap_or_default();
                if got != want {
                    wrong.push(format!("{name}: expected\n{want}got\n{got}"));
                }
                for seed in 1..=4 {
                    match run(&text, config(Schedule::Adversarial, seed, 1 + seed as usize % 2)) {
                        Ok(()) => wrong.push(format!("{name}: no fault found under seed {seed}")),
                        Err(other) if other.kind() != report.kind() => {
                            wrong.push(format!("{name}: seed {seed} gives another kind of fault:\n{other}"));
                        }
                        Err(_) => {}
                    }
                }
            }
        }
    }
    assert!(seen >= 20, "only {seen} programs found");
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

#[test]
fn correct_programs_give_no_report() {
    let (mut seen, mut wrong) = (0, Vec::new());
    for path in programs("correct") {
        seen += 1;
        let text = fs::read_to_string(&path).unwrap();
        for (schedule, seeds) in [(Schedule::InOrder, 0..2), (Schedule::Adversarial, 0..16)] {
            for seed in seeds {
                if let Err(report) = run(&text, config(schedule, seed, 1 + seed as usize % 2)) {
                    wrong.push(format!("{} {schedule:?} seed {seed}:\n{report}", path.display()));
                    break;
                }
            }
        }
    }
    assert!(seen >= 8, "only {seen} programs found");
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}
