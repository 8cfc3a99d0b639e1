//! Properties that hold for every instruction of registers, on random and special operands.

use super::bench::{Bench, is_lane_row, kernel, types};
use softcuda_engine::isa::{ROWS, Role, lookup};
use std::fmt::Write;

/// Bits that are special for some type.
const SPECIAL: [u64; 24] = [
    0,
    1,
    31,
    32,
    33,
    64,
    0x7f,
    0x80,
    0x8000,
    0x7fff,
    0x7c00,
    0x3c00,
    0x0400,
    0x03ff,
    0xffff,
    0x7f80_0000,
    0x8000_0000,
    0x7fff_ffff,
    0x0080_0000,
    0x3f80_0000,
    0xffff_ffff,
    0x7ff0_0000_0000_0000,
    0x8000_0000_0000_0000,
    u64::MAX,
];

/// SplitMix64.
fn random(state: &mut u64) -> u64 {
    *state = state.wrapping_add(0x9e37_79b9_7f4a_7c15);
    let mut z = *state;
    z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    z ^ (z >> 31)
}

fn operand(state: &mut u64) -> u64 {
    let r = random(state);
    match r % 4 {
        0 => SPECIAL[(r >> 8) as usize % SPECIAL.len()],
        // A number of a magnitude that every type has.
        1 => u64::from((((r >> 8) % 2001) as f32 - 1000.0).to_bits()) | r << 32,
        _ => random(state),
    }
}

/// Spellings of a row that are tried: all, or so many spread over them.
const TRIED: usize = 24;

#[test]
fn tiers_agree_and_masks_hold() {
    let mut state = 17;
    let mut wrong = Vec::new();
    for (n, row) in ROWS.iter().enumerate().filter(|r| is_lane_row(r.1)) {
        let all: Vec<String> = row.spellings();
        let step = all.len().div_ceil(TRIED);
        let mut text = String::new();
        let mut tried = Vec::new();
        for op in all.iter().step_by(step) {
            let rows = lookup(op);
            let Some((_, mods)) = rows.iter().find(|(r, m)| r.syntax == row.syntax && (r.build)(m).is_some()) else {
                continue;
            };
            // The first row with this spelling and number of operands is the one that runs.
            let same = |r: &&(&'static softcuda_engine::isa::Row, softcuda_engine::isa::Mods)| {
                r.0.operands.len() == row.operands.len() && (r.0.build)(&r.1).is_some()
            };
            if rows.iter().find(same).is_some_and(|r| r.0.syntax != row.syntax) {
                continue;
            }
            let literal = (row.name == "lop3").then(|| random(&mut state) & 0xff);
            // A predicate operand that joins needs its modifier.
            let joins = ["and", "or", "xor"].iter().any(|j| mods.has(j));
            let skip = usize::from(row.operands.last().is_some_and(|o| o.optional && o.name == "c") && !joins);
            let name = format!("k{}", tried.len());
            text += &kernel(&name, op, row, mods, literal, skip, false);
            let _ = write!(text, "{}", kernel(&format!("{name}g"), op, row, mods, literal, skip, true));
            let reads = types(row, mods).iter().filter(|t| t.0 == Role::Read).count() - skip;
            let writes: Vec<u32> = types(row, mods).iter().filter(|t| t.0 == Role::Write).map(|t| t.1.bits()).collect();
            tried.push((op.clone(), reads, writes));
        }
        assert!(!tried.is_empty(), "row {n} `{}` was not tried", row.syntax);
        let (fast, base) = (Bench::new(&text, false), Bench::new(&text, true));
        for (k, (op, reads, writes)) in tried.iter().enumerate() {
            let mut input: Vec<[u64; 32]> = (0..*reads).map(|_| std::array::from_fn(|_| operand(&mut state))).collect();
            let before: Vec<[u64; 32]> = writes.iter().map(|_| [0xa5a5_a5a5_a5a5_a5a5; 32]).collect();
            input.extend(&before);
            let (name, guarded) = (format!("k{k}"), format!("k{k}g"));
            let whole = fast.run(&name, &input);
            if whole != base.run(&name, &input) {
                wrong.push(format!("{op}: the tiers differ"));
            }
            let part = fast.run(&guarded, &input);
            for (w, bits) in writes.iter().enumerate() {
                let kept = if *bits == 1 { 1 } else { 0xa5a5_a5a5_a5a5_a5a5 & (u64::MAX >> (64 - bits.max(&16))) };
                for l in 0..32 {
                    let want = if l % 2 == 1 { whole[w][l] } else { kept };
                    if part[w][l] != want {
                        wrong.push(format!("{op}: lane {l} is {:#x} under a mask, want {want:#x}", part[w][l]));
                    }
                }
            }
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}
