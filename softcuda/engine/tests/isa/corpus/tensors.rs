//! Matrix products: 2 (A B + 1) of small integers.

use super::{Case, Input, Want, case, integers};
use Want::{Any, Word};

/// Two warps, 256 numbers each.
fn product(kernel: &'static str, want: fn(&Input<'_>, usize) -> Vec<Want>) -> Case {
    Case { threads: (64, 32), ..case(kernel, 8, integers, want) }
}

/// Element (m, n) of 2 (A B + 1); `salt` as the kernel takes it.
fn element(m: i32, n: i32, depth: i32, salt: i32, low: i32) -> i32 {
    let a = |k: i32| (3 * m + 5 * k + salt) % 7 + low;
    let b = |k: i32| (2 * k + 7 * n + salt) % 5 + low;
    2 * ((0..depth).map(|k| a(k) * b(k)).sum::<i32>() + 1)
}

/// The eight words of thread i: numbers 8 i .. of its warp's matrix of `columns` columns.
fn numbers(x: &Input<'_>, i: usize, shape: (i32, i32, i32), low: i32) -> Vec<Want> {
    let (rows, columns, depth) = shape;
    let salt = (x.0[i / 32] % 5) as i32;
    let number = |e: i32| {
        if e < rows * columns { Word(element(e / columns, e % columns, depth, salt, low) as u32) } else { Any }
    };
    (0..8).map(|k| number(8 * (i as i32 % 32) + k)).collect()
}

const SQUARE: (i32, i32, i32) = (16, 16, 16);
const TALL: (i32, i32, i32) = (32, 8, 16);
const WIDE: (i32, i32, i32) = (8, 32, 16);

pub fn cases() -> Vec<Case> {
    let mut cases = Vec::new();
    for kernel in ["wmma_f16_16x16", "wmma_f16f16_16x16", "wmma_bf16_16x16", "wmma_s8_16x16"] {
        cases.push(product(kernel, |x, i| numbers(x, i, SQUARE, -3)));
    }
    for kernel in ["wmma_f16_32x8", "wmma_f16f16_32x8", "wmma_bf16_32x8", "wmma_s8_32x8"] {
        cases.push(product(kernel, |x, i| numbers(x, i, TALL, -3)));
    }
    for kernel in ["wmma_f16_8x32", "wmma_f16f16_8x32", "wmma_bf16_8x32", "wmma_s8_8x32"] {
        cases.push(product(kernel, |x, i| numbers(x, i, WIDE, -3)));
    }
    cases.push(product("wmma_u8_16x16", |x, i| numbers(x, i, SQUARE, 0)));
    cases.push(product("wmma_u8_32x8", |x, i| numbers(x, i, TALL, 0)));
    cases.push(product("wmma_u8_8x32", |x, i| numbers(x, i, WIDE, 0)));
    for kernel in ["wmma_tf32_16x16", "wmma_tf32_columns"] {
        cases.push(product(kernel, |x, i| numbers(x, i, (16, 16, 8), -3)));
    }
    for kernel in ["wmma_f64_8x8", "wmma_f64_columns"] {
        cases.push(product(kernel, |x, i| numbers(x, i, (8, 8, 4), -3)));
    }
    cases.push(product("wmma_s4", |x, i| numbers(x, i, (8, 8, 32), -3)));
    cases.push(product("wmma_u4", |x, i| numbers(x, i, (8, 8, 32), 0)));
    cases.push(product("wmma_b1", |x, i| {
        let base = 32 * (i / 32);
        let number = |e: usize| {
            let (row, column) = (e % 64 / 8, e % 8);
            let words = |start: usize, line: usize| &x.0[base + start + 4 * line..][..4];
            let pairs = words(0, row).iter().zip(words(32, column));
            let count = pairs.map(|(a, b)| if e < 64 { a & b } else { a ^ b }.count_ones()).sum::<u32>();
            if e < 128 { Word(5 + count) } else { Any }
        };
        (0..8).map(|k| number(8 * (i % 32) + k)).collect()
    }));
    cases
}
