//! `cargo xtask perf`: what the kernels cost, counted without a GPU.
//!
//! - Instructions per unit, registers, spills, shared memory: the crate's PTX through ptxas for each architecture,
//!   disassembled; [`steady`] finds the loop, [`marks`] says what a unit is and what it may cost.
//! - Sector ratio and bank conflicts: the kernels run on the software device, which counts ([`counts`]).
//!
//! Every exported kernel gets a line per architecture; those without a case in the table show only what ptxas says.

mod assemble;
mod counts;
mod marks;
mod sass;
mod steady;

use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Mutex, PoisonError};

use serde_json::{Value, json};

use crate::shell::{root, target};
use crate::{compile, nvcc, toolchain};
use assemble::{Kernel, Tools};
use counts::Counts;
use marks::{CASES, Case, Step};
use sass::Instruction;

const TARGETS: [&str; 2] = ["80", "89"];
const ARCHITECTURES: &str = "sm_80,sm_89,sm_90";

const HELP: &str = "\
cargo xtask perf [--json] [--arch sm_80,sm_89,sm_90] [--print TEXT]

  --json         one JSON object a line on stdout: kernel, case, arch, unit, sass_per_unit, registers, spill_bytes,
                 shared_bytes, sector_ratio, bank_conflicts, mark, ok (null where a figure does not apply)
  --arch LIST    the architectures to assemble for
  --print TEXT   instead: the steady loop of every case whose kernel or case holds TEXT, so that the count can be
                 checked by eye

Exits with 1 when a mark is missed.";

struct Options {
    json: bool,
    architectures: Vec<String>,
    print: Option<String>,
}

fn options(arguments: &[String]) -> Result<Options, String> {
    let mut options =
        Options { json: false, architectures: ARCHITECTURES.split(',').map(String::from).collect(), print: None };
    let mut rest = arguments.iter();
    while let Some(argument) = rest.next() {
        let mut value = || rest.next().ok_or_else(|| format!("{argument} needs a value\n\n{HELP}"));
        match argument.as_str() {
            "--json" => options.json = true,
            "--arch" => options.architectures = value()?.split(',').map(|arch| arch.trim().to_string()).collect(),
            "--print" => options.print = Some(value()?.clone()),
            _ => return Err(format!("unexpected argument `{argument}`\n\n{HELP}")),
        }
    }
    Ok(options)
}

/// One line of the result.
struct Line {
    kernel: String,
    case: String,
    arch: String,
    unit: String,
    sass_per_unit: Option<f64>,
    resources: assemble::Resources,
    counts: Option<Counts>,
    mark: Option<f64>,
    /// What is wrong, if anything.
    wrong: Vec<String>,
}

/// Runs the command.
pub fn perf(arguments: &[String]) -> Result<(), String> {
    if arguments.iter().any(|argument| argument == "--help" || argument == "-h") {
        println!("{HELP}");
        return Ok(());
    }
    let options = options(arguments)?;
    let kernels = assemble_all(&options.architectures, options.print.as_deref())?;
    if let Some(text) = &options.print {
        return print_loops(&kernels, text);
    }
    let counts = counts::run()?;
    let mut lines = Vec::new();
    for kernel in &kernels {
        let mut cases = CASES.iter().filter(|case| case.kernel == kernel.function.name).peekable();
        if cases.peek().is_none() {
            lines.push(line(kernel, None, &counts));
        }
        lines.extend(cases.map(|case| line(kernel, Some(case), &counts)));
    }
    for case in CASES.iter().filter(|case| !kernels.iter().any(|kernel| kernel.function.name == case.kernel)) {
        lines.extend(options.architectures.iter().map(|arch| Line::of_missing(case, arch)));
    }
    match options.json {
        true => lines.iter().for_each(|line| println!("{}", line.json())),
        false => table(&lines),
    }
    let wrong = lines.iter().filter(|line| !line.wrong.is_empty()).count();
    if wrong == 0 { Ok(()) } else { Err(format!("{wrong} of {} lines miss a mark", lines.len())) }
}

fn tools() -> Result<Tools, String> {
    let mut folder = toolchain::compiler_folder()?;
    if !folder.join("nvdisasm").is_file() {
        folder = toolchain::install()?;
    }
    let nvcc = nvcc::run(&folder.join("nvcc"))?;
    Ok(Tools { nvcc, ptxas: folder.join("ptxas"), nvdisasm: folder.join("nvdisasm") })
}

/// Every kernel for every architecture, in the order of module, architecture and the cubin; or those in the modules of
/// the cases that hold a text.
fn assemble_all(architectures: &[String], text: Option<&str>) -> Result<Vec<Kernel>, String> {
    let tools = tools()?;
    let folder = target().join("perf");
    std::fs::create_dir_all(&folder).map_err(|error| format!("making {}: {error}", folder.display()))?;
    let kernels = root().canonicalize().map_err(|error| format!("the repository: {error}"))?.join("kernels");
    let parallel = std::thread::available_parallelism().map_or(1, usize::from);
    let targets = TARGETS.map(String::from);
    // The folder that the build script fills, with the same step.
    let ptx = target().join("kernels");
    let job = compile::Job { parallel, ..compile::Job::everything(&tools.nvcc, &kernels, &ptx, &targets) };
    let (units, _) = compile::compile(&job)?;
    let mut work = Vec::new();
    for arch in architectures {
        assemble::target_for(arch, &TARGETS)
            .ok_or_else(|| format!("--arch {arch}: not an architecture from sm_80 on, such as sm_89"))?;
        // Of each module the image that the crate would run there.
        for of_module in units.chunk_by(|a, b| a.module == b.module) {
            let targets: Vec<&str> = of_module.iter().map(|unit| unit.target.as_str()).collect();
            let target = assemble::target_for(arch, &targets);
            work.extend(of_module.iter().filter(|unit| Some(unit.target.as_str()) == target).map(|unit| (unit, arch)));
        }
    }
    if let Some(text) = text {
        let entries: Vec<String> =
            CASES.iter().filter(|case| case.holds(text)).map(|case| format!(".entry {}(", case.kernel)).collect();
        work.retain(|(unit, _)| {
            let ptx = std::fs::read_to_string(&unit.ptx).unwrap_or_default();
            entries.iter().any(|entry| ptx.contains(entry))
        });
    }
    work.sort_by_key(|(unit, _)| &unit.module);
    let next = AtomicUsize::new(0);
    let results = Mutex::new(Vec::new());
    std::thread::scope(|scope| {
        for _ in 0..parallel {
            scope.spawn(|| {
                loop {
                    let at = next.fetch_add(1, Ordering::Relaxed);
                    let Some((unit, arch)) = work.get(at) else { break };
                    let result = assemble::assemble(&tools, unit, arch, &folder, has_step);
                    results.lock().unwrap_or_else(PoisonError::into_inner).push((at, result));
                }
            });
        }
    });
    let mut results = results.into_inner().unwrap_or_else(PoisonError::into_inner);
    results.sort_by_key(|(at, _)| *at);
    let lists: Vec<Vec<Kernel>> = results.into_iter().map(|(_, result)| result).collect::<Result<_, _>>()?;
    Ok(lists.into_iter().flatten().collect())
}

/// Whether a case counts instructions of the kernel.
fn has_step(kernel: &str) -> bool {
    CASES.iter().any(|case| case.kernel == kernel && case.step.is_some())
}

/// The loop of a case and its lane instructions per unit.
fn count(kernel: &Kernel, step: &Step) -> Result<(steady::Steady, f64), String> {
    let Step { marker, markers, units, through } = step;
    let steady = steady::steady(&kernel.function, marker, through)
        .ok_or_else(|| format!("no {marker} instruction can be reached"))?;
    if !steady.markers.is_multiple_of(*markers) {
        let found = steady.markers;
        return Err(format!("the loop holds {found} {marker} instructions, which are no whole steps of {markers}"));
    }
    let units = units * (steady.markers / markers) as f64;
    let per_unit = 32.0 * steady.path.len() as f64 / units;
    Ok((steady, per_unit))
}

fn line(kernel: &Kernel, case: Option<&Case>, counts: &[Counts]) -> Line {
    let mut line = Line {
        kernel: kernel.function.name.clone(),
        case: case.map_or("-", |case| case.case).to_string(),
        arch: kernel.arch.clone(),
        unit: case.map_or("-", |case| case.unit).to_string(),
        sass_per_unit: None,
        resources: kernel.resources,
        counts: None,
        mark: case.and_then(|case| case.mark.on(&kernel.arch)),
        wrong: Vec::new(),
    };
    if let Some(step) = case.and_then(|case| case.step.as_ref()) {
        match count(kernel, step) {
            Ok((steady, per_unit)) => {
                line.sass_per_unit = Some(per_unit);
                if let Some(mark) = line.mark.filter(|&mark| per_unit > mark) {
                    line.wrong.push(format!("{per_unit:.2} instructions, mark {mark}"));
                }
                let local = |at: &&usize| {
                    let opcode = kernel.function.instructions[**at].opcode();
                    opcode.starts_with("LDL") || opcode.starts_with("STL")
                };
                let local = steady.path.iter().filter(local).count();
                if local > 0 {
                    line.wrong.push(format!("{local} accesses of local memory in the loop"));
                }
            }
            Err(why) => line.wrong.push(why),
        }
    }
    if kernel.function.instructions.iter().any(Instruction::is_comparing_clamp) {
        line.wrong.push("a comparison that ptxas has fused with a clamp, wrongly".to_string());
    }
    if kernel.resources.spill_bytes > 0 {
        line.wrong.push(format!("{} bytes spilled", kernel.resources.spill_bytes));
    }
    if let Some(most) = case.map(|case| case.registers).filter(|&most| kernel.resources.registers > most) {
        line.wrong.push(format!("more than {most} registers"));
    }
    if let Some(counts) = counts.iter().find(|counts| counts.is_of(&line.kernel, case.map(|case| case.case))) {
        let most = case.map_or(f64::INFINITY, |case| case.sector_ratio);
        if counts.sector_ratio.is_some_and(|ratio| ratio > most) {
            line.wrong.push(format!("more than {most:.2} sectors per ideal sector"));
        }
        if counts.bank_conflicts > 0 && case.is_some_and(|case| case.conflict_free) {
            line.wrong.push("bank conflicts".to_string());
        }
        line.counts = Some(counts.clone());
    }
    line
}

impl Line {
    /// A case whose kernel there is not.
    fn of_missing(case: &Case, arch: &str) -> Self {
        Self {
            kernel: case.kernel.to_string(),
            case: case.case.to_string(),
            arch: arch.to_string(),
            unit: case.unit.to_string(),
            sass_per_unit: None,
            resources: assemble::Resources::default(),
            counts: None,
            mark: case.mark.on(arch),
            wrong: vec!["there is no such kernel".to_string()],
        }
    }

    fn json(&self) -> Value {
        let round = |value: f64| (value * 1000.0).round() / 1000.0;
        json!({
            "kernel": self.kernel,
            "case": self.case,
            "arch": self.arch,
            "unit": self.unit,
            "sass_per_unit": self.sass_per_unit.map(round),
            "registers": self.resources.registers,
            "spill_bytes": self.resources.spill_bytes,
            "shared_bytes": self.resources.shared_bytes,
            "sector_ratio": self.counts.as_ref().and_then(|counts| counts.sector_ratio).map(round),
            "bank_conflicts": self.counts.as_ref().map(|counts| counts.bank_conflicts),
            "mark": self.mark,
            "ok": self.wrong.is_empty(),
        })
    }
}

fn table(lines: &[Line]) {
    let number = |value: Option<f64>| value.map_or("-".to_string(), |value| format!("{value:.2}"));
    let width = lines.iter().map(|line| line.kernel.len()).max().unwrap_or(0).max(6);
    let case_width = lines.iter().map(|line| line.case.len()).max().unwrap_or(0).max(4);
    println!(
        "{:width$}  {:case_width$}  arch   SASS/unit   mark  PTX/unit  unit          regs  spill  shared  sectors  conflicts",
        "kernel", "case"
    );
    for line in lines {
        let counts = line.counts.as_ref();
        println!(
            "{:width$}  {:case_width$}  {:5}  {:>9}  {:>5}  {:>8}  {:12}  {:>4}  {:>5}  {:>6}  {:>7}  {:>9}  {}",
            line.kernel,
            line.case,
            line.arch,
            number(line.sass_per_unit),
            number(line.mark),
            number(counts.and_then(|counts| counts.ptx_per_unit)),
            line.unit,
            line.resources.registers,
            line.resources.spill_bytes,
            line.resources.shared_bytes,
            number(counts.and_then(|counts| counts.sector_ratio)),
            counts.map_or("-".to_string(), |counts| counts.bank_conflicts.to_string()),
            if line.wrong.is_empty() { "ok".to_string() } else { format!("MISSED: {}", line.wrong.join("; ")) },
        );
    }
}

fn print_loops(kernels: &[Kernel], text: &str) -> Result<(), String> {
    let mut printed = 0;
    for kernel in kernels {
        for case in CASES.iter().filter(|case| case.kernel == kernel.function.name) {
            if !case.holds(text) {
                continue;
            }
            printed += 1;
            println!("{} ({}) of {} for {}", case.kernel, case.case, kernel.module, kernel.arch);
            let Some(step) = &case.step else {
                println!("    no one steady loop\n");
                continue;
            };
            match count(kernel, step) {
                Ok((steady, per_unit)) => {
                    for &at in &steady.path {
                        println!("    {}", kernel.function.instructions[at].text);
                    }
                    println!(
                        "{} instructions, {} of them {}: {per_unit:.3} lane instructions per {}\n",
                        steady.path.len(),
                        steady.markers,
                        step.marker,
                        case.unit
                    );
                }
                Err(why) => println!("    {why}\n"),
            }
        }
    }
    if printed > 0 {
        return Ok(());
    }
    let known: Vec<String> = CASES.iter().map(|case| format!("{} ({})", case.kernel, case.case)).collect();
    Err(format!("no case holds `{text}`; there are: {}", known.join(", ")))
}
