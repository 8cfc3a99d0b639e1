//! The list of instructions: every form that compilers were seen to emit is claimed by exactly one row, no spelling by two.

use softcuda_engine::isa::{ROWS, lookup, refused};
use std::collections::HashMap;

/// Count and spelling of every form in 47 PTX files (2,237 kernels) of third-party projects, compiled by nvcc 13.0.
const FORMS: &str = include_str!("data/forms.txt");

/// The rows that execute a spelling.
fn claims(op: &str) -> Vec<&'static str> {
    lookup(op).iter().filter(|(row, mods)| (row.build)(mods).is_some()).map(|(row, _)| row.syntax).collect()
}

/// Operands that a row needs.
fn required(syntax: &str) -> usize {
    let row = ROWS.iter().find(|r| r.syntax == syntax).expect("a row of the list");
    row.operands.iter().filter(|o| !o.piped && !o.optional).count()
}

#[test]
fn every_form_seen_is_claimed_by_one_row() {
    let mut wrong = Vec::new();
    for line in FORMS.lines() {
        let (_, op) = line.split_once(' ').expect("count and form");
        // Lines of a call's argument list, not instructions.
        if op.starts_with("param") {
            continue;
        }
        let rows = claims(op);
        // Rows of one spelling differ in the number of operands.
        let mut operands: Vec<usize> = rows.iter().map(|r| required(r)).collect();
        operands.sort_unstable();
        if rows.is_empty() || operands.windows(2).any(|w| w[0] == w[1]) {
            wrong.push(format!("{op}: {rows:?}"));
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

#[test]
fn no_spelling_has_two_rows_that_differ_only_in_place() {
    // Rows with the same spelling must differ in the number of operands, or only one of them may execute it.
    let mut by_spelling: HashMap<String, Vec<usize>> = HashMap::new();
    for (n, row) in ROWS.iter().enumerate() {
        // The memory rows spell out millions of hint combinations: their plain ends stand for them.
        if matches!(row.name, "ld" | "st" | "atom" | "red" | "ldu") {
            continue;
        }
        for spelling in row.spellings() {
            by_spelling.entry(spelling).or_default().push(n);
        }
    }
    let mut wrong = Vec::new();
    for (spelling, rows) in by_spelling {
        let executing: Vec<_> = rows.iter().filter(|&&n| claims(&spelling).contains(&ROWS[n].syntax)).collect();
        let operands = |n: usize| ROWS[n].operands.iter().filter(|o| !o.piped && !o.optional).count();
        let mut counts: Vec<_> = executing.iter().map(|&&n| operands(n)).collect();
        counts.sort_unstable();
        if counts.windows(2).any(|w| w[0] == w[1]) {
            wrong.push(spelling);
        }
    }
    wrong.sort();
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

#[test]
fn a_family_is_refused_or_known() {
    for op in [
        "wgmma.fence.sync.aligned",
        "tex.2d.v4.f32.s32",
        "cp.async.bulk.shared::cluster.global.mbarrier::complete_tx::bytes",
        "cp.async.bulk.tensor.2d.shared::cluster.global.tile.mbarrier::complete_tx::bytes",
        "tensormap.replace.tile.global_address.global.b1024.b64",
        "setmaxnreg.inc.sync.aligned.u32",
    ] {
        assert!(lookup(op).is_empty() && refused(op).is_some(), "{op}");
    }
    for row in ROWS.iter() {
        assert!(row.section.starts_with("9.7."), "{}: section {:?}", row.syntax, row.section);
    }
}

#[test]
fn a_spelling_matches_the_row_it_came_from() {
    for row in ROWS.iter().filter(|r| !matches!(r.name, "ld" | "st" | "atom" | "red" | "ldu")) {
        for spelling in row.spellings() {
            assert!(lookup(&spelling).iter().any(|(r, _)| r.syntax == row.syntax), "{spelling}");
        }
    }
}
