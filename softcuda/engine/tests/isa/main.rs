//! Every instruction of the list by example, with the section of the PTX ISA that says so, and by properties: the two processor tiers agree bit
//! for bit, and lanes outside the mask keep what they had.
//!
//! An example is one line, `case("add.sat.s32", "9.7.1.1", &[a, b], d)`; operands and result are register bits. A row without an example
//! fails `every_row_has_an_example`.

// Bit fields read best as in the manual; a negated comparison is not its opposite where a NaN takes part.
#![allow(clippy::precedence, clippy::neg_cmp_op_on_partial_ord)]

mod bench;
mod cmp;
#[path = "../../../../build/compile.rs"]
#[allow(dead_code)] // Shared with the build script.
mod compile;
mod corpus;
mod coverage;
mod cvt;
mod float;
#[path = "../gpu/mod.rs"]
mod gpu;
mod half;
mod int;
mod logic;
mod mov;
mod moves;
#[path = "../../../../build/nvcc.rs"]
#[allow(dead_code)] // Shared with the build script.
mod nvcc;
#[path = "../oracle/mod.rs"]
mod oracle;
mod page;
mod programs;
mod properties;
mod special;

use bench::{Case, run};
use coverage::Executed;
use softcuda_engine::isa::{ROWS, lookup};
use std::collections::BTreeMap;

fn all() -> Vec<Case> {
    [
        int::cases(),
        logic::cases(),
        float::cases(),
        special::cases(),
        half::cases(),
        cmp::cases(),
        cvt::cases(),
        mov::cases(),
    ]
    .concat()
}

/// Runs all examples; what is wrong.
fn execute_examples(executed: &mut Executed) -> Vec<String> {
    let mut by_op: BTreeMap<String, Vec<Case>> = BTreeMap::new();
    for case in all() {
        by_op.entry(case.key()).or_default().push(case);
    }
    let mut wrong = Vec::new();
    for (op, cases) in by_op {
        for chunk in cases.chunks(32) {
            for (case, got) in chunk.iter().zip(run(chunk, executed)) {
                if case.want.iter().zip(got).any(|(w, g)| *w != g) {
                    let hex = |v: &[u64]| v.iter().map(|x| format!("{x:#x}")).collect::<Vec<_>>().join(", ");
                    wrong.push(format!("{op} {}: {}, want {}", hex(&case.args), hex(&got), hex(&case.want)));
                }
            }
        }
    }
    wrong
}

#[test]
fn examples_give_what_the_manual_says() {
    let wrong = execute_examples(&mut Executed::default());
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

#[test]
fn every_row_has_an_example() {
    let seen: Vec<&str> = all()
        .iter()
        .map(|c| {
            let rows = lookup(&c.op);
            let row = rows.iter().find(|(r, m)| (r.build)(m).is_some() && r.section == c.section);
            row.unwrap_or_else(|| panic!("{} is not in section {}", c.op, c.section)).0.syntax
        })
        .collect();
    let lanes = ROWS.iter().filter(|r| bench::is_lane_row(r));
    let missing: Vec<&str> = lanes.map(|r| r.syntax).filter(|s| !seen.contains(s)).collect();
    assert!(missing.is_empty(), "rows without an example:\n{}", missing.join("\n"));
}
