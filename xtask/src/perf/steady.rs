//! The steady loop of a function: the instructions run again and again when nothing rare happens.
//!
//! The length of a loop in the listing misleads, because blocks that seldom run (a mask at the end of a sequence, a
//! rescale) lie inside it. So: for every backward branch, the *shortest* way from the loop's head to that branch along
//! forward edges. Of the loops that hold the case's marker instruction (say `HMMA`), those that enclose another such
//! loop are left out; of the rest, the one with most markers is taken.
//!
//! Where no loop holds a marker, each thread does its work once: then it is the shortest way from the kernel's entry
//! through a marker to its end.

use std::collections::HashMap;

use super::sass::Function;

/// A loop, or a way through the kernel: indices of its instructions, in order.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Steady {
    pub path: Vec<usize>,
    pub markers: usize,
}

/// Forward successors of every instruction, and the backward branches as (head, tail).
struct Graph {
    successors: Vec<Vec<usize>>,
    back: Vec<(usize, usize)>,
}

fn graph(function: &Function) -> Graph {
    let count = function.instructions.len();
    let mut graph = Graph { successors: vec![Vec::new(); count], back: Vec::new() };
    for (at, instruction) in function.instructions.iter().enumerate() {
        let opcode = instruction.opcode();
        let ends = ["EXIT", "RET", "BRX", "JMX"].iter().any(|end| opcode.starts_with(end));
        let mut falls_through = !ends || instruction.is_predicated();
        // BRA.DIV leaves the way only when the warp has diverged.
        if opcode.starts_with("BRA") && !opcode.contains(".DIV") {
            // `BRA P0, ..`, `BRA UP0, ..`, `BRA !P1, ..`: the condition as an operand.
            let operand = instruction.operands().trim_start_matches(['!', '~']);
            let conditional = operand.starts_with('P') || operand.starts_with("UP") || opcode.contains(".CONV");
            falls_through = instruction.is_predicated() || conditional;
            match instruction.target {
                Some(target) if target <= at => graph.back.push((target, at)),
                Some(target) => graph.successors[at].push(target),
                None => {}
            }
        }
        if falls_through && at + 1 < count {
            graph.successors[at].push(at + 1);
        }
    }
    graph
}

/// Kinds of instructions, and how many of each a way goes through at least.
type Through<'a> = &'a [(&'a str, usize)];

/// How often an operation counts as of a kind: once if it starts with it, or is it where it ends in `$`. Of several kinds with
/// `|` between them the first counts; `2*` before one makes it count twice.
fn weight(opcode: &str, kinds: &str) -> usize {
    let of = |kind: &str| {
        let (weight, kind) = kind.strip_prefix("2*").map_or((1, kind), |kind| (2, kind));
        let is = kind.strip_suffix('$').map_or_else(|| opcode.starts_with(kind), |whole| opcode == whole);
        is.then_some(weight)
    };
    kinds.split('|').find_map(of).unwrap_or(0)
}

/// The fewest instructions from `head` to `tail`, both included, of the ways that go through all that is asked.
fn shortest(
    function: &Function,
    graph: &Graph,
    (head, tail): (usize, usize),
    through: Through<'_>,
) -> Option<Vec<usize>> {
    if tail < head {
        return None;
    }
    // What was met up to a place, a byte for each kind: as many as are wanted, at most.
    type Met = u64;
    let weights: Vec<Met> = (head..=tail)
        .map(|at| {
            let opcode = function.instructions[at].opcode();
            through
                .iter()
                .enumerate()
                .fold(0, |all, (kind, (name, _))| all | (weight(opcode, name) as Met) << (8 * kind))
        })
        .collect();
    let meet = |at: usize, met: Met| -> Met {
        let weights = weights[at - head];
        if weights == 0 {
            return met;
        }
        through.iter().enumerate().fold(0, |all, (kind, &(_, wanted))| {
            let sum = (met >> (8 * kind) & 0xFF) + (weights >> (8 * kind) & 0xFF);
            all | sum.min(wanted as Met) << (8 * kind)
        })
    };
    let all = through.iter().enumerate().fold(0, |all, (kind, &(_, wanted))| all | (wanted as Met) << (8 * kind));
    // Edges lead forward, so the instructions' order is one in which every way to a place is known before it is left:
    // by what was met, the length of the shortest way and whence it came.
    let mut ways: Vec<HashMap<Met, (usize, usize, Met)>> = vec![HashMap::new(); tail + 1 - head];
    ways[0].insert(meet(head, 0), (1, head, 0));
    for at in head..tail {
        let here = std::mem::take(&mut ways[at - head]);
        for &next in graph.successors[at].iter().filter(|&&next| next <= tail) {
            for (&met, &(length, ..)) in &here {
                let way = ways[next - head].entry(meet(next, met)).or_insert((usize::MAX, at, met));
                if length + 1 < way.0 {
                    *way = (length + 1, at, met);
                }
            }
        }
        ways[at - head] = here;
    }
    let (mut at, mut met) = (tail, all);
    let mut path = vec![tail];
    ways[tail - head].get(&all)?;
    while at != head {
        let &(_, before, met_before) = ways[at - head].get(&met)?;
        (at, met) = (before, met_before);
        path.push(at);
    }
    path.reverse();
    Some(path)
}

/// The steady loop with instructions of the kind `marker`, or else the way through one; none if there is none. `through`:
/// what a pass holds that it could go round, such as accesses behind conditions.
pub fn steady(function: &Function, marker: &str, through: Through<'_>) -> Option<Steady> {
    let graph = graph(function);
    let is_marker = |at: usize| weight(function.instructions[at].opcode(), marker) > 0;
    let steady = |path: Vec<usize>| {
        let markers = path.iter().filter(|&&at| is_marker(at)).count();
        Steady { path, markers }
    };
    let loops: Vec<Steady> = graph
        .back
        .iter()
        .filter_map(|&ends| shortest(function, &graph, ends, through))
        .map(steady)
        .filter(|candidate| candidate.markers > 0)
        .collect();
    let encloses = |outer: &Steady, inner: &Steady| {
        let holds = |at: Option<&usize>| at.is_some_and(|at| outer.path.binary_search(at).is_ok());
        outer != inner && holds(inner.path.first()) && holds(inner.path.last())
    };
    let innermost = |candidate: &&Steady| !loops.iter().any(|other| encloses(candidate, other));
    let best = loops.iter().filter(innermost).max_by_key(|l| (l.markers, std::cmp::Reverse(l.path.len())));
    best.cloned().or_else(|| once(function, &graph, through, &is_marker).map(steady))
}

/// The shortest way from the entry to an EXIT: through what is asked, or through a marker and not to an early exit.
fn once(
    function: &Function,
    graph: &Graph,
    through: Through<'_>,
    is_marker: &dyn Fn(usize) -> bool,
) -> Option<Vec<usize>> {
    let exits = |at: &usize| function.instructions[*at].opcode().starts_with("EXIT");
    let exits: Vec<usize> = (0..function.instructions.len()).filter(exits).collect();
    if !through.is_empty() {
        return exits.iter().filter_map(|&end| shortest(function, graph, (0, end), through)).min_by_key(Vec::len);
    }
    let ends: Vec<usize> = exits.into_iter().filter(|&at| !function.instructions[at].is_predicated()).collect();
    let way = |marker: usize| {
        let mut path = shortest(function, graph, (0, marker), &[])?;
        let rest = ends.iter().filter_map(|&end| shortest(function, graph, (marker, end), &[]));
        path.extend(rest.min_by_key(Vec::len)?.into_iter().skip(1));
        Some(path)
    };
    (0..function.instructions.len()).filter(|&at| is_marker(at)).filter_map(way).min_by_key(Vec::len)
}

#[cfg(test)]
mod tests {
    use super::super::sass;
    use super::*;

    /// A loop of four instructions with a rare block inside it (skipped by a branch) and another out of line, an outer
    /// loop around it, and a remainder loop with fewer markers.
    const LISTING: &str = "\t.section\t.text.kernel,\"ax\",@progbits
kernel:
.text.kernel:
        /*0000*/                   MOV R1, c[0x0][0x28] ;
.L_outer:
        /*0010*/                   MOV R2, RZ ;
.L_head:
        /*0020*/                   HMMA.16816.F32 R4, R8, R12, R4 ;
        /*0030*/              @!P0 BRA `(.L_skip) ;
        /*0040*/                   FMUL R4, R4, R5 ;
        /*0050*/                   FMUL R4, R4, R5 ;
.L_skip:
        /*0060*/               @P1 BRA `(.L_rare) ;
.L_back:
        /*0070*/                   HMMA.16816.F32 R4, R8, R12, R4 ;
        /*0080*/                   BRA.DIV UR4, `(.L_rare) ;
        /*0090*/               @P2 BRA `(.L_head) ;
.L_rest:
        /*00a0*/                   HMMA.16816.F32 R4, R8, R12, R4 ;
        /*00b0*/                   BRA P3, `(.L_rest) ;
        /*00c0*/               @P4 BRA `(.L_outer) ;
        /*00d0*/                   EXIT ;
.L_rare:
        /*00e0*/                   FADD R4, R4, R5 ;
        /*00f0*/                   BRA `(.L_back) ;
.L_end:
        /*0100*/                   BRA `(.L_end);
        /*0110*/                   NOP;
";

    #[test]
    fn the_inner_loop_without_its_rare_blocks_is_found() {
        let [function] = &sass::functions(LISTING)[..] else { panic!("one function") };
        assert_eq!(function.name, "kernel");
        assert_eq!(function.instructions.len(), 18);
        assert_eq!(function.instructions[3].target, Some(6));
        let found = steady(function, "HMMA", &[]).unwrap();
        assert_eq!(found, Steady { path: vec![2, 3, 6, 7, 8, 9], markers: 2 });
        assert_eq!(steady(function, "LDG", &[]), None);
    }

    #[test]
    fn without_a_loop_it_is_the_way_through_a_marker() {
        let listing = "\t.section\t.text.kernel,\"ax\",@progbits
        /*0000*/                   S2R R2, SR_TID.X ;
        /*0010*/               @P0 EXIT ;
        /*0020*/               @P1 BRA `(.L_wide) ;
        /*0030*/                   STG.E.U8 [R2.64], R4 ;
        /*0040*/                   EXIT ;
.L_wide:
        /*0050*/                   STG.E.128 [R2.64], R4 ;
        /*0060*/                   EXIT ;
.L_end:
        /*0070*/                   BRA `(.L_end);
";
        let [function] = &sass::functions(listing)[..] else { panic!("one function") };
        assert_eq!(steady(function, "STG.E.128", &[]), Some(Steady { path: vec![0, 1, 2, 5, 6], markers: 1 }));
        assert_eq!(steady(function, "STG.E.U8", &[]), Some(Steady { path: vec![0, 1, 2, 3, 4], markers: 1 }));
        assert_eq!(steady(function, "LDG", &[]), None);
    }

    /// Two stores of a pass, each behind a condition, and the shorter way round: a mask that stores one.
    #[test]
    fn markers_behind_conditions_are_gone_through() {
        let listing = "\t.section\t.text.kernel,\"ax\",@progbits
.L_head:
        /*0000*/               @P0 BRA `(.L_mask) ;
        /*0010*/               @P1 BRA `(.L_second) ;
        /*0020*/                   IADD3 R2, R2, 1, RZ ;
        /*0030*/                   STG.E [R2.64], R4 ;
.L_second:
        /*0040*/               @P2 BRA `(.L_back) ;
        /*0050*/                   STG.E [R2.64+0x10], R4 ;
        /*0060*/                   BRA `(.L_back) ;
.L_mask:
        /*0070*/                   STG.E.U8 [R2.64], R4 ;
.L_back:
        /*0080*/               @P3 BRA `(.L_head) ;
        /*0090*/                   EXIT ;
";
        let [function] = &sass::functions(listing)[..] else { panic!("one function") };
        let found = steady(function, "STG.E$", &[("STG.E$", 2)]).unwrap();
        assert_eq!(found, Steady { path: vec![0, 1, 2, 3, 4, 5, 6, 8], markers: 2 });
        assert_eq!(steady(function, "STG.E", &[]).unwrap().path, [0, 7, 8]);
        assert_eq!(steady(function, "STG.E$", &[("STG.E$", 3)]), None);
        assert_eq!(steady(function, "STG.E$", &[("LDG|2*STG.E$", 4), ("IADD3", 1)]), Some(found));
    }

    #[test]
    fn parts_of_an_instruction() {
        let parts = |text: &str| {
            let instruction = sass::Instruction { text: text.to_string(), target: None };
            (instruction.is_predicated(), instruction.opcode().to_string(), instruction.operands().to_string())
        };
        assert_eq!(parts("@!UP0 LDG.E.128 R4, [R2.64]"), (true, "LDG.E.128".into(), "R4, [R2.64]".into()));
        assert_eq!(parts("@PT NOP"), (false, "NOP".into(), String::new()));
        assert_eq!(parts("EXIT"), (false, "EXIT".into(), String::new()));
    }
}
