//! Kernels with one planted fault each, and correct kernels that look suspicious.
//!
//! `tests/planted/NAME.ptx` must be stopped with exactly the text of `NAME.report`, and under every other schedule with the same kind of fault
//! at a marked line. `tests/correct/NAME.ptx` must run to its end under every schedule. The head of each file says what it is about, how it
//! is launched, and what is wrong with it:
//!
//! ```text
//! // launch: grid 2 block 64 [shared 512] [cooperative]
//! // arg: buffer 256 zero|fresh|half|freed        a device buffer: zeroed, unwritten, its first half written, freed before the launch
//! // arg: null                                    a null pointer
//! // arg: word 3                                  a 32-bit number
//! // fault: race [thread 5]                       kind and first thread at fault, in order
//! // some schedules: ..                           others may hide the fault, and why
//! ```
//! The statement at fault is marked `// (2)`, the other party `// (1)`, both where the schedule decides which is which.
//! `SOFTCUDA_BLESS=1` writes the reports instead of comparing them.
//!
//! The table of planted faults: `cargo test -p softcuda-engine --test check_planted -- --nocapture planted`

mod program;

use program::Program;
use softcuda_engine::report::{FaultKind, Report};
use softcuda_engine::{Config, Schedule};

fn config(schedule: Schedule, seed: u64) -> Config {
    Config { schedule, seed, threads: 1 + seed as usize % 2, ..Config::default() }
}

#[test]
fn planted_faults_are_reported() {
    let bless = std::env::var_os("SOFTCUDA_BLESS").is_some();
    let (programs, mut wrong) = (Program::all("planted"), Vec::new());
    println!("{:<20} {:>4}  {:<36} what", "kind", "line", "program");
    for p in &programs {
        let report = match p.run(config(Schedule::InOrder, 0)).outcome {
            Ok(_) => {
                wrong.push(format!("{}: no fault found", p.name));
                continue;
            }
            Err(report) => report,
        };
        println!("{:<20} {:>4}  {:<36} {}", report.kind().name(), report.fault.site.line, p.name, p.what());
        let got = format!("{report}\n");
        if bless {
            std::fs::write(p.path.with_extension("report"), &got).unwrap();
        }
        let want = std::fs::read_to_string(p.path.with_extension("report")).unwrap_or_default();
        if got != want {
            wrong.push(format!("{}: expected\n{want}got\n{got}", p.name));
        }
        wrong.extend(differences(p, &report).into_iter().map(|d| format!("{}: {d}:\n{got}", p.name)));
        for seed in 1..=4 {
            match p.run(config(Schedule::Adversarial, seed)).outcome {
                Ok(_) if p.head("some schedules").is_some() => {}
                Ok(_) => wrong.push(format!("{}: no fault found under seed {seed}", p.name)),
                Err(other) if other.kind() != report.kind() => {
                    wrong.push(format!("{}: seed {seed} gives another kind of fault:\n{other}", p.name));
                }
                Err(other)
                    if !p.marked("(2)").contains(&other.fault.site.line) && other.kind() != FaultKind::Launch =>
                {
                    wrong.push(format!("{}: seed {seed} names another line:\n{other}", p.name));
                }
                Err(_) => {}
            }
        }
    }
    assert!(programs.len() >= 110, "only {} programs found", programs.len());
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

/// What the report does not say, or says otherwise than the program's head and marks.
fn differences(p: &Program, report: &Report) -> Vec<String> {
    let (fault, text) = (&report.fault, report.to_string());
    let mut wrong = Vec::new();
    let mut expect = |holds: bool, what: String| {
        if !holds {
            wrong.push(what);
        }
    };
    let head: Vec<&str> = p.head("fault").expect("a planted program says its fault").split_whitespace().collect();
    expect(fault.kind.name() == head[0], format!("the kind is not {}", head[0]));
    if fault.kind == FaultKind::Launch {
        return wrong;
    }
    let thread = fault.thread();
    if let ["thread", n] = head[1..] {
        expect(n == thread.to_string(), format!("the thread is not {n}"));
    }
    expect(p.marked("(2)").contains(&fault.site.line), "the line is not marked (2)".into());
    if let Some((site, _)) = &fault.other {
        expect(p.marked("(1)").contains(&site.line), "the other line is not marked (1)".into());
        expect(text.contains(&format!("line {}:", site.line)), "the other line is not in the text".into());
        expect(report.other_text.as_ref().is_some_and(|t| !t.is_empty()), "the other statement is missing".into());
    }
    let kernel = format!("--> {}, block (", report.kernel);
    for part in [kernel, format!("line {}: ", fault.site.line), format!("thread {thread}")] {
        expect(text.contains(&part), format!("`{part}` is not in the text"));
    }
    if let Some(address) = fault.address {
        expect(text.contains(&format!("{address:#x}")), format!("the address {address:#x} is not in the text"));
        let owned = matches!(fault.kind, FaultKind::OutOfBounds | FaultKind::UseAfterFree | FaultKind::Race);
        expect(!owned || text.contains("allocation: "), "the allocation is not in the text".into());
    }
    wrong
}

#[test]
fn correct_programs_give_no_report() {
    let (programs, mut wrong) = (Program::all("correct"), Vec::new());
    for p in &programs {
        for (schedule, seeds) in [(Schedule::InOrder, 0..2), (Schedule::Adversarial, 0..12)] {
            for seed in seeds {
                if let Err(report) = p.run(config(schedule, seed)).outcome {
                    wrong.push(format!("{} {schedule:?} seed {seed}:\n{report}", p.name));
                    break;
                }
            }
        }
    }
    assert!(programs.len() >= 39, "only {} programs found", programs.len());
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

#[test]
fn every_report_belongs_to_a_program() {
    for folder in ["planted", "correct"] {
        for entry in std::fs::read_dir(program::folder(folder)).unwrap() {
            let path = entry.unwrap().path();
            assert!(path.with_extension("ptx").exists(), "{} belongs to no program", path.display());
        }
    }
}
