//! Calls, recursion, pointers to functions, switches, local arrays, variables of the module.

use super::{Case, Input, Want, case, integers, words};
use Want::{Long, Word};

struct Pair {
    wide: u64,
    narrow: [u32; 3],
    small: u8,
}

fn turned(p: &Pair, by: u32) -> Pair {
    Pair {
        wide: p.wide.rotate_left(by),
        narrow: std::array::from_fn(|k| p.narrow[(k + by as usize) % 3]),
        small: p.small.wrapping_add(by as u8),
    }
}

fn fibonacci(k: u32) -> u32 {
    (0..k).fold((0, 1), |(a, b), _| (b, a + b)).0
}

fn digits(v: u32, depth: u32) -> u32 {
    let kept = [v, v ^ 0x55, v >> 3, depth];
    let deeper = if depth == 0 { 0 } else { digits(v / 3 + 1, depth - 1) };
    kept[(v & 3) as usize].wrapping_add(deeper.wrapping_mul(31)).wrapping_add(depth)
}

fn operation(which: u32, x: u32, y: u32) -> u32 {
    match which {
        0 => x.wrapping_add(y),
        1 => x.wrapping_sub(y),
        2 => x.wrapping_mul(y),
        _ => x.wrapping_pow(y % 8),
    }
}

fn way(a: u32, b: u32, c: u32, d: u32) -> u32 {
    match a % 24 {
        0 => b.wrapping_add(3),
        1 => b.wrapping_mul(5),
        2 => b ^ c,
        3 => b.reverse_bits(),
        4 => b.wrapping_sub(d),
        5 => !b,
        6 => b >> 3 | c,
        7 => b << 5 ^ d,
        8 => b % 1000,
        9 => b / 17,
        10 => b.count_ones(),
        11 => b.leading_zeros() + 12,
        12 => b.wrapping_add(12),
        13 => b & c,
        14 => b.wrapping_mul(b),
        15 => b.min(c),
        16 => b.max(d),
        17 => b.wrapping_add(c.wrapping_mul(d)),
        18 => u32::from_le_bytes([b.to_le_bytes()[3], c.to_le_bytes()[0], b.to_le_bytes()[1], b.to_le_bytes()[2]]),
        19 => {
            if b == c {
                1
            } else {
                2
            }
        }
        20 => b.wrapping_neg(),
        21 => b << (c & 15),
        22 => c.wrapping_sub(b),
        _ => 99,
    }
}

pub fn cases() -> Vec<Case> {
    vec![
        case("calls", 7, integers, |x, i| {
            let [a, b, c, d] = x.of(i);
            let p = Pair { wide: u64::from(a) << 32 | u64::from(b), narrow: [a, b, c], small: d as u8 };
            let mut p = turned(&p, 1 + d % 31);
            if i % 3 == 0 {
                p = turned(&p, 5);
            }
            let smaller =
                i32::from(((a % 1000) as f32) < 500.5) + (b % 77) as i32 + i32::from(c as i16) - i32::from(d as i8);
            let [x, y, z] = p.narrow;
            vec![Long(p.wide), Word(x), Word(y), Word(z), Word(p.small.into()), Word(smaller as u32)]
        }),
        case("recursion", 4, integers, |x, i| {
            let [a, b, c, d] = x.of(i);
            let last = if i % 2 == 1 { fibonacci(3 + b % 3) } else { digits(a, 2) };
            words([fibonacci(a % 9), u32::from(b % 12 % 2 == 0), digits(c, d % 7), last])
        }),
        case("pointers", 2, integers, |x, i| {
            let [a, b, c, d] = x.of(i);
            words([operation(c % 4, a, b), operation(if c % 2 == 1 { 0 } else { 3 }, d, a)])
        }),
        case("virtuals", 2, integers, |x, i| {
            let [a, b, c, d] = x.of(i);
            let square = a.wrapping_mul(a);
            let area = b.wrapping_mul(c);
            words(if d % 2 == 1 { [square, square.wrapping_mul(d)] } else { [area, area.wrapping_add(d)] })
        }),
        case("ways", 2, integers, |x, i| {
            let [a, b, c, d] = x.of(i);
            let mut v = a % 100 + 1;
            let mut steps = 0;
            while v != 1 && steps < 500 {
                v = if v % 2 == 1 { 3 * v + 1 } else { v / 2 };
                steps += 1;
            }
            words([way(a, b, c, d), steps])
        }),
        case("local_arrays", 2, integers, |x, i| {
            let [a, b, c, d] = x.of(i);
            let mut table: [u32; 16] = std::array::from_fn(|k| a.wrapping_mul(k as u32).wrapping_add(b));
            let bytes: [u8; 24] = std::array::from_fn(|k| c.to_le_bytes()[k % 4].wrapping_add(k as u8));
            for k in 0..16 {
                let other = (table[k] >> 3) as usize % 16;
                table.swap(k, other);
            }
            let sum = (0..8).fold(0u32, |s, k| s.wrapping_mul(3).wrapping_add(bytes[(d >> k) as usize % 24].into()));
            words([table[a as usize % 16] ^ table[d as usize % 16], sum])
        }),
        case("stack", 1, integers, |x, i| {
            let [a, b, ..] = x.of(i);
            let count = 3 + a % 6;
            words([(0..count).fold(0u32, |s, k| s.wrapping_add(b.wrapping_mul(k * 5 % count) ^ k))])
        }),
        // The result of printf is the number of its arguments.
        case("output", 1, integers, |_, i| words([if i == 1 { 8 } else { 0 }])),
        Case { fault: Some("assertion `i != 3` failed"), ..case("asserts", 1, integers, |_, _| Vec::new()) },
        case("globals", 5, integers, |x: &Input<'_>, i| {
            let [a, b, c, d] = x.of(i);
            const WEIGHTS: [u32; 8] = [3, 1, 4, 1, 5, 9, 2, 6];
            const TABLE: [[i16; 3]; 2] = [[-1, 2, -3], [4, -5, 6]];
            let name = ["one", "three", "seventeen"][d as usize % 3];
            words([
                WEIGHTS[a as usize % 8] * WEIGHTS[(a >> 8) as usize % 8],
                (1.5 * (b % 4 + 1) as f32 - 0.25).to_bits(),
                i32::from(TABLE[c as usize % 2][d as usize % 3]) as u32,
                (name.len() as u32) << 8 | u32::from(name.as_bytes()[name.len() - 1]),
                1000,
            ])
        }),
    ]
}
