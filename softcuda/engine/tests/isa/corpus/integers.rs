//! Integer arithmetic.

use super::{Case, Input, Want, case, integers, words};

fn long(high: u32, low: u32) -> u64 {
    u64::from(high) << 32 | u64::from(low)
}

/// `f` of each part of `bits` bits, which it sees sign-extended or not.
fn parts(a: u32, b: u32, bits: u32, signed: bool, f: impl Fn(i64, i64) -> i64) -> u32 {
    let part = |x: u32, at: u32| {
        let v = i64::from(x >> at) & ((1 << bits) - 1);
        if signed && v >> (bits - 1) != 0 { v - (1 << bits) } else { v }
    };
    let keep = (1i64 << bits) - 1;
    (0..32).step_by(bits as usize).fold(0, |w, at| w | ((f(part(a, at), part(b, at)) & keep) as u32) << at)
}

fn bytes(x: u32) -> [i64; 4] {
    x.to_le_bytes().map(i64::from)
}

fn signed_bytes(x: u32) -> [i64; 4] {
    x.to_le_bytes().map(|b| i64::from(b as i8))
}

pub fn cases() -> Vec<Case> {
    vec![
        case("divide32", 6, integers, |x, i| {
            let [a, b, c, d] = x.of(i);
            let u = (b >> (d & 31)).max(1);
            let s = match (c as i32) >> (d & 31) {
                0 => 1,
                s => s,
            };
            let a_signed = a as i32;
            words([
                a / u,
                a % u,
                a_signed.wrapping_div(s) as u32,
                a_signed.wrapping_rem(s) as u32,
                (a / 7).wrapping_add(a % 1000),
                (a_signed / -13 + a_signed % 60) as u32,
            ])
        }),
        case("divide64", 12, integers, |x, i| {
            let [a, b, c, d] = x.of(i);
            let (x, y) = (long(a, b), long(c, d));
            let u = if y >> (b & 63) == 0 { 3 } else { y >> (b & 63) };
            let s = (y as i64) >> (b & 63);
            let t = if s == 0 || s == -1 { 5 } else { s };
            let signed = x as i64;
            [x / u, x % u, (signed / t) as u64, (signed % t) as u64, x / 10, (signed % 1_000_003) as u64]
                .map(Want::Long)
                .to_vec()
        }),
        case("divide16", 4, integers, |x, i| {
            let [a, b, c, d] = x.of(i);
            let y = if b as u16 == 0 { 9 } else { b as u16 };
            let t = if d & 0xfffe == 0 { 9 } else { d as i16 };
            let s = c as i16;
            words([
                u32::from(a as u16 / y),
                u32::from(a as u16 % y),
                s.wrapping_div(t) as u32,
                s.wrapping_rem(t) as u32,
            ])
        }),
        case("products", 13, integers, |x, i| {
            let [a, b, c, d] = x.of(i);
            let wide = |x: u32, y: u32| u64::from(x) * u64::from(y);
            let signed = i64::from(a as i32) * i64::from(b as i32);
            let (x, y) = (long(a, b), long(c, d));
            let low = |v: u32| i64::from((v << 8) as i32 >> 8);
            vec![
                Want::Word(a.wrapping_mul(b).wrapping_add(c)),
                Want::Word((wide(a, b) >> 32) as u32),
                Want::Word((signed >> 32) as u32),
                Want::Word((low(a) * low(b)) as u32),
                Want::Word(wide(a & 0xff_ffff, b & 0xff_ffff) as u32),
                Want::Long(wide(a, b).wrapping_add(u64::from(c))),
                Want::Long(signed as u64),
                Want::Long((u128::from(x) * u128::from(y) >> 64) as u64),
                Want::Long((i128::from(x as i64) * i128::from(y as i64) >> 64) as u64),
            ]
        }),
        case("bits", 20, integers, |x, i| {
            let [a, b, c, d] = x.of(i);
            let x = long(a, b);
            let picked: [u8; 4] = std::array::from_fn(|k| {
                let all = (u64::from(b) << 32 | u64::from(a)).to_le_bytes();
                all[(c >> (4 * k) & 7) as usize]
            });
            let pair = u64::from(b) << 32 | u64::from(a);
            let clamped = |n: u32| n.min(32);
            vec![
                Want::Word(a.count_ones()),
                Want::Word(x.count_ones()),
                Want::Word(a.reverse_bits()),
                Want::Long(x.reverse_bits()),
                Want::Word(a.leading_zeros()),
                Want::Word(x.leading_zeros()),
                Want::Word(if a == 0 { 0 } else { a.trailing_zeros() + 1 }),
                Want::Word(if x == 0 { 0 } else { x.trailing_zeros() + 1 }),
                Want::Word(u32::from_le_bytes(picked)),
                Want::Word((pair << (c & 31) >> 32) as u32),
                Want::Word((pair >> (c & 31)) as u32),
                Want::Word((u128::from(pair) << clamped(c & 63) >> 32) as u32),
                Want::Word((pair >> clamped(c & 63)) as u32),
                Want::Word(a.abs_diff(b).wrapping_add(c)),
                Want::Word(((a as i32) >> 2).abs_diff((b as i32) >> 2).wrapping_add(c)),
                Want::Word(((u64::from(a) + u64::from(b)) / 2) as u32),
                Want::Word(((i64::from(a as i32) + i64::from(b as i32) + 1) >> 1) as u32),
                Want::Word((a << (c & 31)) ^ (a >> (d & 31)) ^ ((b as i32) >> (c & 31)) as u32),
                Want::Word(((x << (c & 63)) ^ (x >> (d & 63)) ^ ((x as i64) >> (c & 63)) as u64) as u32),
            ]
        }),
        case("wide", 12, integers, |x, i| {
            let [a, b, c, d] = x.of(i);
            let x = u128::from(long(a, b)) << 64 | u128::from(long(c, d));
            let y = u128::from(long(d, a)) << 64 | u128::from(long(b, c));
            let all = [x.wrapping_add(y), x.wrapping_sub(y), x.wrapping_mul(y)];
            all.iter().flat_map(|v| [Want::Long(*v as u64), Want::Long((v >> 64) as u64)]).collect()
        }),
        case("narrow", 6, integers, |x, i| {
            let [a, b, c, d] = x.of(i);
            let (x, y, u, v) = (a as i8, b as i8, a as u8, b as u8);
            let (s, t, p, q) = (c as i16, d as i16, c as u16, d as u16);
            words([
                x.wrapping_add(y) as u32 ^ u32::from(u.wrapping_mul(v)),
                (x.max(y) as u32).wrapping_add(u32::from(u.min(v))),
                (s.wrapping_mul(t) as u32).wrapping_add(u32::from(s.wrapping_sub(t) as u16)),
                s.min(t) as u32 ^ u32::from(p.max(q)),
                i32::from(s)
                    .unsigned_abs()
                    .wrapping_add((s >> 3) as u32)
                    .wrapping_add(u32::from(q >> 5))
                    .wrapping_add(u32::from((t << 2) as u16)),
                u32::from(s < t)
                    | u32::from(x == y) << 1
                    | u32::from(p >= q) << 2
                    | u32::from(u <= v) << 3
                    | u32::from(i64::from(x) > i64::from(t)) << 4,
            ])
        }),
        case("dots", 6, integers, |x: &Input<'_>, i| {
            let [a, b, c, _] = x.of(i);
            let sum = |c: i64, pairs: &[(i64, i64)]| pairs.iter().fold(c, |s, (x, y)| s + x * y) as u32;
            let four = |x: [i64; 4], y: [i64; 4]| std::array::from_fn::<_, 4, _>(|k| (x[k], y[k]));
            let halves = |x: u32, signed: bool| {
                [x as u16, (x >> 16) as u16].map(|h| if signed { i64::from(h as i16) } else { i64::from(h) })
            };
            let two = |high: usize, signed: bool| {
                let y = if signed { signed_bytes(b) } else { bytes(b) };
                let x = halves(a, signed);
                [(x[0], y[2 * high]), (x[1], y[2 * high + 1])]
            };
            let (signed, unsigned) = (i64::from(c as i32), i64::from(c));
            words([
                sum(signed, &four(signed_bytes(a), signed_bytes(b))),
                sum(unsigned, &four(bytes(a), bytes(b))),
                sum(signed, &two(0, true)),
                sum(signed, &two(1, true)),
                sum(unsigned, &two(0, false)),
                sum(unsigned, &two(1, false)),
            ])
        }),
        case("packed", 12, integers, |x, i| {
            let [a, b, c, _] = x.of(i);
            let saturated = |v: i64| v.clamp(-0x8000, 0x7fff);
            words([
                parts(a, b, 16, false, |x, y| x + y),
                parts(a, b, 8, false, |x, y| x - y),
                parts(a, b, 16, true, i64::max),
                parts(a, b, 16, false, i64::min),
                parts(a, b, 8, false, |x, y| (x - y).abs()),
                parts(a, b, 8, true, |x, y| if x > y { 0xff } else { 0 }),
                parts(a, b, 8, false, |x, y| (x + y + 1) / 2),
                bytes(a).iter().zip(bytes(b)).map(|(x, y)| (x - y).unsigned_abs() as u32).sum(),
                ((a as i32 >> 2) + (b as i32 >> 2)).max(c as i32) as u32,
                a.max(b).max(c),
                (a as i32).min(b as i32).max(0) as u32,
                parts(a, b, 16, true, |x, y| saturated(x + y)),
            ])
        }),
    ]
}
