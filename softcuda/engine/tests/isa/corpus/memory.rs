//! Loads, stores, atomics, copies.

use super::{Case, Input, Want, case, integers, words};
use Want::{Long, Word};

/// What [`Case`] `sums` leaves behind is read by one thread.
fn sums(x: &Input<'_>) -> Vec<Want> {
    let threads: Vec<[u32; 4]> = (0..x.threads()).map(|i| x.of(i)).collect();
    let float: u32 = threads.iter().map(|t| t[0] % 16).sum();
    let double: u32 = threads.iter().map(|t| t[1] % 1024).sum();
    let odd = threads.len() as u32 / 2;
    let (low, high) =
        (half::f16::from_f32(odd as f32).to_bits(), half::f16::from_f32(2.0 * threads.len() as f32).to_bits());
    let counters: [u32; 4] = std::array::from_fn(|k| threads.iter().filter(|t| t[0] % 4 == k as u32).count() as u32);
    let mut want = vec![
        Word((float as f32).to_bits()),
        Long((f64::from(double) * 0.25).to_bits()),
        Word(u32::from(low) | u32::from(high) << 16),
    ];
    want.extend(counters.map(Word));
    want
}

pub fn cases() -> Vec<Case> {
    vec![
        case("hints", 8, integers, |x, i| {
            let [a, b, c, d] = x.of(i);
            let small = i32::from(a as i16)
                + i32::from(b.to_le_bytes()[1] as i8)
                + i32::from((b >> 16) as u16)
                + i32::from(c.to_le_bytes()[1]);
            words([a, b.wrapping_add(c), d ^ a ^ b, a ^ b ^ c ^ d ^ a ^ b, small as u32, a, b, c])
        }),
        case("vectors", 8, integers, |x, i| {
            let [a, b, c, d] = x.of(i);
            let sum: i32 = a.to_le_bytes().iter().map(|v| i32::from(*v as i8)).sum();
            let [z0, z1, ..] = c.to_le_bytes();
            vec![
                Word(sum as u32),
                Word((b & 0xffff).wrapping_sub(b >> 16)),
                Word(u32::from(z0) * u32::from(z1) | c << 16),
                Word(d >> 16 | b & 0xffff_0000),
                Word(c),
                Word(d),
                Word(a),
                Word(b),
            ]
        }),
        case("volatiles", 3, integers, |x, i| {
            let [a, b, c, _] = x.of(i);
            words([a.wrapping_add(1), b, b.wrapping_add(c & 0xffff)])
        }),
        case("atomics", 24, integers, |x, i| {
            let [a, b, c, d] = x.of(i);
            let mut at = c;
            let mut swap = |f: &dyn Fn(u32) -> u32| {
                let old = at;
                at = f(old);
                old
            };
            let first = [
                swap(&|v| v.wrapping_add(a)),
                swap(&|v| v.wrapping_sub(b)),
                swap(&|v| (v as i32).min(a as i32) as u32),
                swap(&|v| v.max(b)),
                swap(&|v| v & (a | 0xff00)),
                swap(&|v| v | b),
                swap(&|v| v ^ a),
                swap(&|v| if v >= b { 0 } else { v + 1 }),
                swap(&|v| if v == 0 || v > a { a } else { v - 1 }),
                swap(&|_| d),
                swap(&|_| a),
            ];
            let mut mine = c;
            let mut shared = |f: &dyn Fn(u32) -> u32| {
                let old = mine;
                mine = f(old);
                old
            };
            let second = [
                shared(&|v| v.wrapping_add(a)),
                shared(&|v| (v as i32).max(b as i32) as u32),
                shared(&|v| if v == a { b } else { v }),
            ];
            let wide = u64::from(c) << 32 | u64::from(d);
            let more = wide.wrapping_add(u64::from(a) << 16);
            let low = if at as u16 == a as u16 { at & 0xffff_0000 | b & 0xffff } else { at };
            let mut want: Vec<Want> = first.iter().chain(&second).copied().map(Word).collect();
            want.push(Word(mine));
            want.extend([wide, more, more.min(u64::from(b))].map(Long));
            want.extend([mine.wrapping_add(11), at & 0xffff, low].map(Word));
            want
        }),
        case("sums", 1, integers, |_, _| words([1])),
        Case { threads: (1, 32), input: |_| integers(4 * 256), ..case("read_sums", 8, integers, |x, _| sums(x)) },
        case("orderings", 6, integers, |x, i| {
            let [a, b, c, d] = x.of(i);
            let last = d.wrapping_add(1);
            words([a, b, b, b.wrapping_add(c), last, a])
        }),
        case("generic", 6, integers, |x, i| {
            let [a, b, c, d] = x.of(i);
            let mut local = [a, b, c, d];
            local[a as usize % 4] = 77;
            let first = b.wrapping_add(1);
            let second = local[1].wrapping_add(1);
            let shared = c;
            local[b as usize % 4] = a;
            let spaces = if d % 2 == 1 { 1 } else { 2 } | 8 | 16;
            words([
                first,
                second,
                10 * (d % 4 + 1) + 1,
                shared ^ local[0] ^ local[1] ^ local[2] ^ local[3],
                spaces,
                (4 * (i as u32 % 128)).wrapping_add(shared),
            ])
        }),
        case("copies", 4, integers, |x, i| {
            let mine = x.of(i);
            let other = x.of(i ^ 1);
            words([mine[mine[0] as usize % 4], other[0] ^ other[1], other[2], other[3] & 0xffff])
        }),
        case("prefetches", 2, integers, |x, i| {
            let [a, b, ..] = x.of(i);
            words([a, b])
        }),
    ]
}
