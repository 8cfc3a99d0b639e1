//! Which forms (a mnemonic with all its modifiers) the tests execute. A form counts when at least one lane ran it, not when it was only loaded.
//!
//! `cargo xtask isa --forms` prints the table; docs/isa.md has the rows. `SOFTCUDA_WRITE` makes [`every_form_and_every_row_is_executed`] write it to the target folder.

use super::corpus::programs::{self, Program};
use super::corpus::{self, config};
use softcuda_engine::LaunchStats;
use softcuda_engine::isa::{ROWS, Row, lookup};
use softcuda_engine::ptx;
use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::fmt::Write;
use std::sync::LazyLock;

/// Count and spelling of every form in 47 PTX files (2,237 kernels) of third-party projects, compiled by nvcc 13.0.
const FORMS: &str = include_str!("../data/forms.txt");

/// Forms, each with the tests that ran it and how many lanes did.
#[derive(Clone, Default)]
pub struct Executed(pub BTreeMap<String, BTreeMap<String, u64>>);

impl Executed {
    /// What a launch ran, by the lines of its text.
    pub fn add(&mut self, forms: &HashMap<u32, String>, stats: &LaunchStats, test: &str) {
        for line in stats.lines.iter().filter(|l| l.counts.lanes != 0) {
            if let Some(form) = forms.get(&line.line) {
                *self.0.entry(form.clone()).or_default().entry(test.to_string()).or_default() += line.counts.lanes;
            }
        }
    }

    /// A form whose execution ends its launch, as a test has seen.
    pub fn note(&mut self, form: &str, test: &str) {
        *self.0.entry(form.to_string()).or_default().entry(test.to_string()).or_default() += 1;
    }

    /// The tests that ran a form of a row.
    pub fn of_row(&self, row: &Row) -> BTreeSet<&str> {
        let forms = self.0.iter().filter(|(form, _)| runs(form, row));
        forms.flat_map(|(_, by_test)| by_test.keys().map(String::as_str)).collect()
    }
}

/// Whether a form is one of the row's.
fn runs(form: &str, row: &Row) -> bool {
    lookup(form).iter().any(|(r, mods)| r.syntax == row.syntax && (r.build)(mods).is_some())
}

/// What the examples and programs execute that are PTX in the first place.
static WRITTEN: LazyLock<Executed> = LazyLock::new(|| {
    let mut executed = Executed::default();
    super::execute_examples(&mut executed);
    super::programs::execute(&mut executed);
    super::moves::execute(&mut executed);
    executed
});

/// Those, and the corpus as `programs` has it.
fn with_corpus(programs: fn(&str) -> Vec<Program>) -> Executed {
    let mut executed = WRITTEN.clone();
    for theme in corpus::themes() {
        for program in programs(theme.module) {
            // What is wrong with results is another test's to say.
            let _ = corpus::run(&theme, &program, &config(&program.target), &mut executed);
        }
    }
    executed
}

/// Everything that the tests of this program execute.
static EXECUTED: LazyLock<Executed> = LazyLock::new(|| with_corpus(programs::of));

/// The same with the PTX that is kept, whichever compiler there is.
pub static KEPT: LazyLock<Executed> = LazyLock::new(|| with_corpus(programs::kept));

/// The text with every statement on a line of its own, because counts are kept by line.
pub fn one_statement_a_line(text: &str) -> String {
    let line = |l: &str| {
        let fixed = l.trim_start().starts_with("//") || l.contains('"');
        if fixed { l.to_string() } else { l.replace(';', ";\n").replace(": ", ":\n").replace("{ ", "{\n") }
    };
    text.lines().map(line).fold(String::with_capacity(2 * text.len()), |all, l| all + &l + "\n")
}

/// The form of the statement on each line.
pub fn forms(text: &str) -> HashMap<u32, String> {
    let unit = ptx::parse(text).unwrap_or_else(|e| panic!("{e}"));
    let bodies = unit.functions.iter().filter_map(|f| f.body.as_ref());
    bodies.flat_map(|b| &b.stmts).filter(|s| !s.op.starts_with('.')).map(|s| (s.line, s.op.to_string())).collect()
}

/// `count form: tests` for each form of the list, then for each further one.
fn table() -> String {
    let mut text =
        String::from("Forms of third-party kernels: how often they stand there, and the tests that execute them\n");
    let tests = |form: &str| match EXECUTED.0.get(form) {
        None => "none".to_string(),
        Some(by_test) => {
            let mut list: Vec<_> = by_test.iter().collect();
            list.sort_by_key(|(test, lanes)| (std::cmp::Reverse(**lanes), *test));
            let more = if list.len() > 3 { format!(", and {} more", list.len() - 3) } else { String::new() };
            list.iter().take(3).map(|(t, _)| t.as_str()).collect::<Vec<_>>().join(", ") + &more
        }
    };
    let mut listed = Vec::new();
    for line in FORMS.lines() {
        let (count, form) = line.split_once(' ').expect("count and form");
        listed.push(form);
        if !form.starts_with("param") {
            let _ = writeln!(text, "{count:>7} {form}: {}", tests(form));
        }
    }
    text += "\nFurther forms that the tests execute\n";
    for form in EXECUTED.0.keys().filter(|f| !listed.contains(&f.as_str())) {
        let _ = writeln!(text, "        {form}: {}", tests(form));
    }
    text
}

#[test]
fn every_form_and_every_row_is_executed() {
    if std::env::var_os("SOFTCUDA_WRITE").is_some() {
        let path = std::path::Path::new(env!("CARGO_TARGET_TMPDIR")).join("forms.txt");
        std::fs::write(path, table()).expect("a file");
    }
    let forms = FORMS.lines().map(|l| l.split_once(' ').expect("count and form").1).filter(|f| !f.starts_with("param"));
    let mut missing: Vec<String> =
        forms.filter(|f| !EXECUTED.0.contains_key(*f)).map(|f| format!("form {f}")).collect();
    let rows = ROWS.iter().filter(|row| !EXECUTED.0.keys().any(|form| runs(form, row)));
    missing.extend(rows.map(|row| format!("row {}", row.syntax)));
    assert!(missing.is_empty(), "executed by no test:\n{}", missing.join("\n"));
}
