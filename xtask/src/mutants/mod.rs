//! `cargo xtask mutants`: do the tests notice when a kernel is wrong?
//!
//! A list (`xtask/mutants/*.toml`) holds small wrong edits. Each is applied alone to a copy of the repository under the
//! target folder, what depends on it is built there, and the tests that should catch it run until one fails. A mutant
//! that no test notices is a hole in the tests.

mod list;
mod report;
mod scratch;

use std::collections::{BTreeMap, BTreeSet};
use std::path::PathBuf;
use std::time::Instant;

use list::{Mutant, TestName};
use report::{Outcome, Results};
use scratch::{Run, Scratch};

const HELP: &str = "\
cargo xtask mutants [--list] [--document] [NAME...]

Applies the wrong edits of xtask/mutants/*.toml, one at a time, to a copy of the repository in target/mutants, and runs
the tests that should catch each. Fails when a mutant survives, does not build, does not apply, or when a test fails
without any. NAME selects: a family (`kv`), a mutant (`kv/ring-start`), or a part of its name; none: all.

  --list       the selected mutants and their tests; runs nothing
  --document   docs/mutants.md from the results of this and earlier runs, which must cover every mutant";

/// What to do.
#[derive(Default)]
struct Options {
    list: bool,
    document: bool,
    names: Vec<String>,
}

pub fn mutants(arguments: &[String]) -> Result<(), String> {
    let mut options = Options::default();
    for argument in arguments {
        match argument.as_str() {
            "--list" => options.list = true,
            "--document" => options.document = true,
            "--help" | "-h" => {
                println!("{HELP}");
                return Ok(());
            }
            other if other.starts_with('-') => return Err(format!("unexpected argument `{other}`\n\n{HELP}")),
            name => options.names.push(name.to_string()),
        }
    }
    let all = list::load()?;
    let wanted = |mutant: &&Mutant| options.names.is_empty() || options.names.iter().any(|n| mutant.matches(n));
    let selected: Vec<&Mutant> = all.iter().filter(wanted).collect();
    if selected.is_empty() {
        return Err(format!("no mutant is called {}", options.names.join(" or ")));
    }
    if options.list {
        for mutant in selected {
            println!("{}: {}\n    {}", mutant.title(), mutant.reason, mutant.tests.join(", "));
        }
        return Ok(());
    }
    let mut results = Results::open();
    // With nothing asked but the document, earlier results will do.
    if !options.document || !options.names.is_empty() {
        run(&selected, &mut results)?;
    }
    if options.document { results.document(&all) } else { Ok(()) }
}

fn run(selected: &[&Mutant], results: &mut Results) -> Result<(), String> {
    let start = Instant::now();
    let scratch = Scratch::prepare()?;
    let passing = unmutated(&scratch, selected)?;
    let mut bad = Vec::new();
    for (at, mutant) in selected.iter().enumerate() {
        let began = Instant::now();
        let (text, outcome) = try_mutant(&scratch, mutant, &passing)?;
        let place = format!("[{}/{}] {}", at + 1, selected.len(), mutant.title());
        println!("{place}: {outcome} ({:.0} s)", began.elapsed().as_secs_f64());
        if !matches!(outcome, Outcome::Killed { .. }) {
            bad.push(mutant.title());
        }
        results.record(mutant, &text, &outcome)?;
    }
    println!("{} killed, {} not, {:.0} s", selected.len() - bad.len(), bad.len(), start.elapsed().as_secs_f64());
    if bad.is_empty() { Ok(()) } else { Err(format!("not killed: {}", bad.join(", "))) }
}

/// A test of the unmutated tree.
struct Passing {
    program: PathBuf,
    seconds: f64,
    /// The kernels' modules that it reads; if it is known.
    modules: Option<BTreeSet<String>>,
}

/// The tests without any mutant, by name: they must pass.
fn unmutated(scratch: &Scratch, selected: &[&Mutant]) -> Result<BTreeMap<String, Passing>, String> {
    scratch.compile_all()?;
    scratch.keep_kernels()?;
    let mut tests = BTreeMap::new();
    for name in selected.iter().flat_map(|mutant| &mutant.tests) {
        if tests.contains_key(name) {
            continue;
        }
        let test = TestName::parse(name)?;
        let program = scratch.build(&test)?.map_err(|log| format!("the unmutated tree does not build:\n{log}"))?;
        let began = Instant::now();
        let (run, modules) = scratch.modules_read(|| scratch.run(&program, &test, 600.0))?;
        match run {
            Run::Passed => {}
            Run::Failed(how) => return Err(format!("without any mutant, {name} fails: {how}")),
            Run::Missing => return Err(format!("there is no test {name}")),
        };
        let seconds = began.elapsed().as_secs_f64();
        eprintln!("unmutated: {name}: {seconds:.1} s");
        tests.insert(name.clone(), Passing { program, seconds, modules });
    }
    Ok(tests)
}

/// What came of a mutant, and the text of its file without the edit.
fn try_mutant(
    scratch: &Scratch,
    mutant: &Mutant,
    passing: &BTreeMap<String, Passing>,
) -> Result<(String, Outcome), String> {
    let text = scratch.apply(mutant)?;
    let outcome = outcome(scratch, mutant, passing);
    scratch.revert(mutant, &text)?;
    Ok((text, outcome?))
}

fn outcome(scratch: &Scratch, mutant: &Mutant, passing: &BTreeMap<String, Passing>) -> Result<Outcome, String> {
    for name in &mutant.tests {
        let (test, passing) = (TestName::parse(name)?, passing.get(name).ok_or("a test was not run before")?);
        // A kernel is read by the programs when they run; anything else is in them.
        if mutant.is_kernel()
            && let Err(log) = scratch.compile(Some(&mutant.target), passing.modules.as_ref())
        {
            return Ok(Outcome::DoesNotBuild(log));
        }
        let program = match mutant.is_kernel() {
            true => passing.program.clone(),
            false => match scratch.build(&test)? {
                Ok(program) => program,
                Err(log) => return Ok(Outcome::DoesNotBuild(log)),
            },
        };
        // A kernel that waits for ever is caught too.
        let limit = 60.0 + 10.0 * passing.seconds;
        if let Run::Failed(how) = scratch.run(&program, &test, limit)? {
            return Ok(Outcome::Killed { test: name.clone(), how });
        }
    }
    Ok(Outcome::Survived)
}
