//! The matrix products beside m16n8kK of floats and integers: eight rows, f64, bits. Where an element lies is the ISA's tables, one row of
//! [`SHAPES`] a shape, as the ISA prints them ("Matrix Fragments for mma.m8n8k4", ".m8n8k16", ".. with .f64", ".. with .b1"; PTX ISA 9.7.14.5).

use crate::grid::{Grid, Kernel};
use crate::oracle::Random;

/// Matrices at once, a warp each.
const WARPS: usize = 16;

/// Row and column of element `i` from `group` (`groupID`), `thread` (`threadID_in_group`) and `i`.
type Place = fn(usize, usize, usize) -> (usize, usize);

struct Shape {
    name: &'static str,
    /// M and K. N is 8.
    size: (usize, usize),
    /// Bits of an element of A and B: 64 is f64; 8 and 4 are signed integers; 1 is a bit.
    bits: usize,
    /// Registers of A, B, C.
    registers: (usize, usize, usize),
    a: Place,
    b: Place,
}

/// C and D of every shape: two columns a thread, the second pair of elements eight rows below.
fn place_c(group: usize, thread: usize, i: usize) -> (usize, usize) {
    (if i < 2 { group } else { group + 8 }, thread * 2 + (i & 1))
}

#[rustfmt::skip] // One shape a row.
const SHAPES: [Shape; 9] = [
    Shape { name: "m8n8k4.row.col.f64.f64.f64.f64",   size: (8, 4),    bits: 64, registers: (1, 1, 2), a: |g, t, _| (g, t),                                     b: |g, t, _| (t, g) },
    Shape { name: "m16n8k4.row.col.f64.f64.f64.f64",  size: (16, 4),   bits: 64, registers: (2, 1, 4), a: |g, t, i| (if i == 0 { g } else { g + 8 }, t),         b: |g, t, _| (t, g) },
    Shape { name: "m16n8k8.row.col.f64.f64.f64.f64",  size: (16, 8),   bits: 64, registers: (4, 2, 4), a: |g, t, i| (if i == 0 || i == 2 { g } else { g + 8 }, if i < 2 { t } else { t + 4 }),
                                                                                                       b: |g, t, i| (if i == 0 { t } else { t + 4 }, g) },
    Shape { name: "m16n8k16.row.col.f64.f64.f64.f64", size: (16, 16),  bits: 64, registers: (8, 4, 4), a: |g, t, i| if i % 2 == 0 { (g, i * 2 + t) } else { (g + 8, i * 2 - 2 + t) },
                                                                                                       b: |g, t, i| (t + i * 4, g) },
    Shape { name: "m8n8k16.row.col.s32.s8.s8.s32",    size: (8, 16),   bits: 8,  registers: (1, 1, 2), a: |g, t, i| (g, t * 4 + i),                             b: |g, t, i| (t * 4 + i, g) },
    Shape { name: "m8n8k32.row.col.s32.s4.s4.s32",    size: (8, 32),   bits: 4,  registers: (1, 1, 2), a: |g, t, i| (g, t * 8 + i),                             b: |g, t, i| (t * 8 + i, g) },
    Shape { name: "m8n8k128.row.col.s32.b1.b1.s32",   size: (8, 128),  bits: 1,  registers: (1, 1, 2), a: |g, t, i| (g, t * 32 + i),                            b: |g, t, i| (t * 32 + i, g) },
    Shape { name: "m16n8k128.row.col.s32.b1.b1.s32",  size: (16, 128), bits: 1,  registers: (2, 1, 4), a: |g, t, i| (if i < 32 { g } else { g + 8 }, t * 32 + (i & 0x1f)),
                                                                                                       b: |g, t, i| (t * 32 + i, g) },
    Shape { name: "m16n8k256.row.col.s32.b1.b1.s32",  size: (16, 256), bits: 1,  registers: (4, 2, 4), a: |g, t, i| (if i < 32 || (64..96).contains(&i) { g } else { g + 8 }, if i < 64 { t * 32 + (i & 0x1f) } else { t * 32 + (i & 0x1f) + 128 }),
                                                                                                       b: |g, t, i| (if i < 32 { t * 32 + (i & 0x1f) } else { t * 32 + (i & 0x1f) + 128 }, g) },
];

type Matrix = Vec<Vec<i32>>;

fn random(random: &mut Random, rows: usize, columns: usize, bits: usize) -> Vec<Matrix> {
    let mut one = || {
        let x = (random.next() >> 20) as i32;
        if bits == 1 { x & 1 } else { (x & 15) - 8 }
    };
    let mut matrix = || (0..rows).map(|_| (0..columns).map(|_| one()).collect()).collect();
    (0..WARPS).map(|_| matrix()).collect()
}

/// The registers of a fragment, one list of all lanes of all warps each. `bits` of an element lie from the low end.
fn fragment(matrices: &[Matrix], registers: usize, bits: usize, place: Place) -> Vec<Vec<u64>> {
    let per = if bits == 64 { 1 } else { 32 / bits };
    let code = |v: i32| if bits == 64 { f64::from(v).to_bits() } else { v as u64 & ((1 << bits) - 1) };
    let word = |register: usize, thread: usize| {
        let (matrix, group, in_group) = (&matrices[thread / 32], (thread % 32) >> 2, thread % 4);
        (0..per).fold(0, |word, i| {
            let (row, column) = place(group, in_group, register * per + i);
            word | code(matrix[row][column]) << (bits * i)
        })
    };
    (0..registers).map(|r| (0..32 * matrices.len()).map(|thread| word(r, thread)).collect()).collect()
}

fn list(prefix: &str, from: usize, count: usize) -> String {
    let names: Vec<String> = (from..from + count).map(|k| format!("{prefix}{k}")).collect();
    format!("{{{}}}", names.join(", "))
}

/// How two elements combine.
type Combine = fn(i32, i32) -> i32;

/// The shapes with what follows the name.
fn instructions() -> Vec<(&'static Shape, &'static str, Combine)> {
    let of = |shape: &'static Shape| -> Vec<(&Shape, &str, Combine)> {
        match shape.bits {
            1 => vec![(shape, ".and.popc", |x, y| x & y), (shape, ".xor.popc", |x, y| x ^ y)],
            _ => vec![(shape, "", |x, y| x * y)],
        }
    };
    SHAPES.iter().flat_map(of).collect()
}

#[test]
fn eight_rows_f64_and_bits_put_every_element_where_the_isa_says() {
    let all = instructions();
    let kernel = |&(shape, suffix, _): &(&Shape, &str, _)| {
        let (na, nb, nc) = shape.registers;
        let operands = [list("%d", 0, nc), list("%a", 0, na), list("%a", na, nb), list("%a", na + nb, nc)].join(", ");
        let width = if shape.bits == 64 { 64 } else { 32 };
        let statement = format!("mma.sync.aligned.{}{suffix} {operands};", shape.name);
        Kernel::new(statement, &vec![width; na + nb + nc], &vec![width; nc])
    };
    let grid = Grid::new(all.iter().map(kernel).collect());
    let mut numbers = Random(52);
    for (n, &(shape, suffix, combine)) in all.iter().enumerate() {
        let ((rows, k), (na, nb, nc)) = (shape.size, shape.registers);
        let a = random(&mut numbers, rows, k, shape.bits);
        let b = random(&mut numbers, k, 8, shape.bits);
        let c = random(&mut numbers, rows, 8, 32);
        let d: Vec<Matrix> = (0..WARPS)
            .map(|w| {
                let sum =
                    |m: usize, n: usize| c[w][m][n] + (0..k).map(|k| combine(a[w][m][k], b[w][k][n])).sum::<i32>();
                (0..rows).map(|m| (0..8).map(|n| sum(m, n)).collect()).collect()
            })
            .collect();
        let result = if shape.bits == 64 { 64 } else { 32 };
        let inputs = [
            fragment(&a, na, shape.bits, shape.a),
            fragment(&b, nb, shape.bits, shape.b),
            fragment(&c, nc, result, place_c),
        ]
        .concat();
        assert!(grid.run(n, &inputs) == fragment(&d, nc, result, place_c), "{}{suffix}", shape.name);
    }
}
