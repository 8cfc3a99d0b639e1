//! docs/isa.md: every instruction that is executed, with the tests that were seen to execute it.

use super::coverage::KEPT;
use softcuda_engine::isa::{REFUSED, ROWS, Result, Row};
use std::fmt::Write;
use std::path::{Path, PathBuf};

/// Chapters of section 9.7 of the PTX ISA that rows are of.
const CHAPTERS: [(&str, &str); 14] = [
    ("9.7.1", "Integer arithmetic"),
    ("9.7.2", "Extended-precision integer arithmetic"),
    ("9.7.3", "Floating point"),
    ("9.7.4", "Half-precision floating point"),
    ("9.7.6", "Comparison and selection"),
    ("9.7.7", "Half-precision comparison"),
    ("9.7.8", "Logic and shift"),
    ("9.7.9", "Data movement and conversion"),
    ("9.7.12", "Control flow"),
    ("9.7.13", "Parallel synchronization and communication"),
    ("9.7.14", "Warp-level matrix instructions"),
    ("9.7.17", "Stack manipulation"),
    ("9.7.18", "Video"),
    ("9.7.19", "Miscellaneous"),
];

const HEAD: &str = "\
# Instructions that softcuda executes
One row per instruction, in the notation of the manual (PTX ISA 9.0): `{..}` may be left out, of `(.x|.y)` one stands there, `p`
and `q` are predicates, `[a]` is an address, `b:u32` an operand of that type, `d:v` as many as the vector has, `d:4xb32` four.
A spelling that no row has is refused when the module is loaded, with its line.

- *since*: the oldest target that has one of its spellings; 80 stands for all that sm_80 has. Some modifiers came later
  (`.cluster`, `.shared::cluster`, sums of bf16: 90; `.xorsign`: 86). A module for an older target than a row's is not loaded.
- *result*: **exact** is the only one that the ISA allows. **approximate** is the rounded value or, as the tests ask, that moved
  by a seeded error within the ISA's bound. **sum** has exact products and an order and rounding that the ISA leaves open: one
  rounding, single precision in a seeded order, or cut as tensor cores do. A **hint** has no effect that a program could see.
- *executed by*: the tests that ran a form of the row, of softcuda/engine/tests/isa: `examples` (one line each, with the result),
  `moves` (every form of loads and stores), `programs` with the section they are at, and kernels of the CUDA C++ programs in
  tests/corpus (`corpus` file::kernel). At most three are named. The exhaustive tests in tests/instructions come on top.

`cargo xtask isa` writes this page from the rows and from what ran, and a test fails when it is stale. `cargo xtask isa --forms`
prints the same for each form that was found in kernels of third parties.
";

const COMPOSED: &str = "
## Made of others
The parser writes these as statements of the rows above, which count for themselves: `lop3.(or|and).b32 d|p, a, b, c, e, q`
(9.7.8.6), moves of vector registers (`mov.v2`, `mov.v4`), registers as arguments and results of calls.
";

fn word(result: Result) -> &'static str {
    match result {
        Result::Exact => "exact",
        Result::Approximate => "approximate",
        Result::Sum => "sum",
        Result::Hint => "hint",
    }
}

/// The numbers of a section, to sort by.
fn numbers(section: &str) -> Vec<u32> {
    section.split('.').map(|n| n.parse().unwrap_or_else(|_| panic!("section {section:?}"))).collect()
}

/// The tests that ran it, written ones first.
fn tests(row: &Row) -> String {
    let all = KEPT.of_row(row);
    let (corpus, written): (Vec<&str>, Vec<&str>) = all.into_iter().partition(|t| t.starts_with("corpus"));
    let named: Vec<&str> = written.into_iter().chain(corpus).take(3).collect();
    named.join(", ")
}

fn chapter(text: &mut String, (section, title): (&str, &str)) -> usize {
    let inside = |row: &&Row| numbers(row.section).starts_with(&numbers(section));
    let mut rows: Vec<&Row> = ROWS.iter().filter(inside).collect();
    rows.sort_by_key(|row| numbers(row.section));
    let _ = writeln!(text, "\n## {section} {title}\n");
    text.push_str("| section | instruction | since | result | executed by |\n|---|---|---|---|---|\n");
    for row in &rows {
        let (syntax, result) = (row.syntax.replace('|', "\\|"), word(row.result));
        let _ = writeln!(text, "| {} | `{syntax}` | {} | {result} | {} |", row.section, row.since, tests(row));
    }
    rows.len()
}

fn page() -> String {
    let missing: Vec<&str> = ROWS.iter().filter(|row| tests(row).is_empty()).map(|row| row.syntax).collect();
    assert!(missing.is_empty(), "executed by no test that every machine has:\n{}", missing.join("\n"));
    let mut text = HEAD.to_string();
    let mut written = 0;
    for c in CHAPTERS {
        written += chapter(&mut text, c);
    }
    assert_eq!(written, ROWS.len(), "rows of a chapter that is not listed");
    text.push_str(COMPOSED);
    text.push_str(
        "\n## Refused\nThese families exist and are not executed: a module that has one of them is not loaded.\n\n",
    );
    text.push_str("| mnemonic | what it is |\n|---|---|\n");
    for (name, what) in REFUSED {
        let _ = writeln!(text, "| `{name}` | {what} |");
    }
    text
}

fn path() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../../docs/isa.md")
}

#[test]
fn the_page_is_up_to_date() {
    let page = page();
    if std::env::var_os("SOFTCUDA_WRITE").is_some() {
        std::fs::write(path(), &page).expect("a file");
    }
    let there = std::fs::read_to_string(path()).unwrap_or_default();
    let stale = page.lines().zip(there.lines().chain(std::iter::repeat(""))).find(|(new, old)| new != old);
    assert!(page == there, "docs/isa.md is stale: `cargo xtask isa` writes it; the first difference: {stale:?}");
}
