//! Work of warps and blocks.

use super::{Case, Input, Want, case, integers, words};
use Want::{Long, Word};

/// The threads of a thread's run of `size`.
fn run<'x>(x: &'x Input<'_>, i: usize, size: usize) -> impl Iterator<Item = (usize, [u32; 4])> + Clone + 'x {
    let start = i / size * size;
    (start..start + size).map(move |k| (k, x.of(k)))
}

/// The lanes of a run for which `f` holds.
fn ballot(x: &Input<'_>, i: usize, size: usize, f: impl Fn([u32; 4]) -> bool) -> u32 {
    run(x, i, size).filter(|t| f(t.1)).fold(0, |m, (k, _)| m | 1 << (k % size))
}

pub fn cases() -> Vec<Case> {
    vec![
        case("shuffles", 8, integers, |x, i| {
            let [a, b, ..] = x.of(i);
            let lane = i % 32;
            let base = i - lane;
            let word = |l: usize| x.of(base + l)[0];
            let xor = x.of(i ^ 1);
            let down = |by: usize, width: usize| if lane % width + by < width { word(lane + by) } else { a };
            vec![
                Word(word(b as usize % 32)),
                Word(if lane >= 3 { word(lane - 3) } else { a }),
                Word(down(5, 8)),
                Word(word(lane ^ 9)),
                Long(u64::from(xor[0]) << 32 | u64::from(xor[1])),
                Word(((down(16, 32) % 1000) as f32).to_bits()),
                Word(if i % 2 == 1 { x.of(base + 5)[2] } else { 0 }),
            ]
        }),
        case("votes", 10, integers, |x, i| {
            let [a, ..] = x.of(i);
            let warp = || run(x, i, 32).map(|t| t.1);
            let low = ballot(x, i, 32, |t| t[0] & 1 != 0);
            let signed = |v: u32| v as i32;
            words([
                low,
                u32::from(warp().any(|t| t[0] == t[1])),
                1,
                u32::from(low == 0 || low == u32::MAX),
                ballot(x, i, 32, |t| t[0] % 5 == a % 5),
                u32::MAX,
                1,
                warp().fold(0u32, |s, t| s.wrapping_add(t[0])) ^ warp().fold(0, |s, t| s ^ t[1]),
                warp().map(|t| signed(t[0])).max().expect("lanes") as u32 ^ warp().map(|t| t[1]).min().expect("lanes"),
                warp().fold(u32::MAX, |s, t| s & (t[0] | 0xff)) ^ warp().fold(0, |s, t| s | t[1] & 0xff00),
            ])
        }),
        case("barriers", 4, integers, |x, i| {
            let block = || run(x, i, 128).map(|t| t.1);
            let across = i / 128 * 128 + 127 - i % 128;
            words([
                block().filter(|t| t[0] & 1 != 0).count() as u32,
                1,
                u32::from(block().any(|t| t[1] == 0)),
                x.of(across)[2],
            ])
        }),
        case("groups", 8, integers, |x, i| {
            let [a, b, ..] = x.of(i);
            let tile = || run(x, i, 16).map(|t| t.1);
            let some = ballot(x, i, 32, |t| t[0] % 3 == 0);
            let (lane, first) = (i % 32, some.trailing_zeros() as usize);
            let ranked = a % 3 == 0;
            let rank = (some & ((1u32 << lane) - 1)).count_ones();
            let labelled = || tile().filter(|t| t[1] % 3 == b % 3);
            words([
                tile().map(|t| t[0] % 1000).sum(),
                if i % 16 + 3 < 16 { x.of(i + 3)[0] } else { a },
                ballot(x, i, 16, |t| t[1] & 1 != 0),
                tile().fold(0, |s, t| s ^ t[2]),
                if ranked { some.count_ones() << 8 | rank } else { 0 },
                if ranked { x.of(i - lane + first)[3] } else { 0 },
                labelled().count() as u32,
                labelled().map(|t| t[2] % 100).sum(),
            ])
        }),
        case("lanes", 6, integers, |x, _| words([0, 0, 1, 1, 1, x.threads() as u32])),
    ]
}
