//! Matrix instructions as text, through registers and shared memory: where every element goes is the ISA's tables, which `oracle::fragments` holds as
//! the ISA prints them (PTX ISA 9.7.14.5). Sums are of small integers: exact in every numerics, so that all three modes must give them.

use crate::grid::{Grid, Kernel};
use crate::oracle::Random;
use crate::oracle::fragments::{Shape, isa_a, isa_b, isa_c, per_register, shapes};
use softcuda_engine::arith::mma::{Accumulator, Element};
use softcuda_engine::{Approx, MmaMode, Numerics};

/// Matrices at once, a warp each.
const WARPS: usize = 16;

fn mnemonic((k, a, b, accumulator, _): &Shape) -> String {
    let name = |e: &Element| format!("{e:?}").to_lowercase();
    let (a, b) = (name(a), name(b));
    let c = match accumulator {
        Accumulator::F32 => "f32",
        Accumulator::F16 => "f16",
        Accumulator::S32 => "s32",
    };
    format!("mma.sync.aligned.m16n8k{k}.row.col.{c}.{a}.{b}.{c}")
}

fn list(prefix: &str, from: usize, count: usize) -> String {
    let names: Vec<String> = (from..from + count).map(|k| format!("{prefix}{k}")).collect();
    format!("{{{}}}", names.join(", "))
}

/// The kernel of one shape: A, B and C in, D out.
fn multiply(shape: &Shape) -> Kernel {
    let (na, nb, nc) = shape.4;
    let operands = [list("%d", 0, nc), list("%a", 0, na), list("%a", na, nb), list("%a", na + nb, nc)].join(", ");
    Kernel::new(format!("{} {operands};", mnemonic(shape)), &vec![32; na + nb + nc], &vec![32; nc])
}

/// The code of a small integer in an element type.
fn code(v: i32, element: Element) -> u32 {
    // e5m2 is the upper byte of an f16; e4m3 has one more fraction bit and another bias.
    let half = half::f16::from_f32(v as f32).to_bits();
    match element {
        Element::F16 => half.into(),
        Element::Bf16 => half::bf16::from_f32(v as f32).to_bits().into(),
        Element::Tf32 => (v as f32).to_bits(),
        Element::E5m2 => u32::from(half >> 8),
        Element::E4m3 if v == 0 => 0,
        Element::E4m3 => u32::from(half >> 15) << 7 | (u32::from(half & 0x7fff) - (8 << 10)) >> 7,
        Element::S8 | Element::U8 => v as u8 as u32,
        Element::S4 | Element::U4 => v as u32 & 15,
    }
}

/// Random integers that the type holds exactly. All three fraction bits of e4m3 are used, both of e5m2.
fn integers(random: &mut Random, rows: usize, columns: usize, element: Element) -> Vec<Vec<i32>> {
    let mut one = || {
        let x = (random.next() % 64) as i32;
        match element {
            Element::U8 | Element::U4 => x % 16,
            Element::S8 => x - 32,
            Element::E5m2 => [-4, -3, -2, -1, 0, 1, 2, 3, 4, 5, 6, 7, -5, -6, -7, 0][x as usize % 16],
            _ => x % 16 - 8,
        }
    };
    (0..rows).map(|_| (0..columns).map(|_| one()).collect()).collect()
}

type Matrix = Vec<Vec<i32>>;

fn product(a: &Matrix, b: &Matrix, c: &Matrix) -> Matrix {
    let sum = |m: usize, n: usize| c[m][n] + (0..b.len()).map(|k| a[m][k] * b[k][n]).sum::<i32>();
    (0..16).map(|m| (0..8).map(|n| sum(m, n)).collect()).collect()
}

/// One register column an entry, for all lanes of all warps.
fn registers(
    count: usize,
    per: usize,
    matrices: &[Matrix],
    code: impl Fn(i32) -> u32,
    place: impl Fn(usize, usize) -> (usize, usize),
) -> Vec<Vec<u64>> {
    let lane_of = |register: usize, thread: usize| {
        (0..per).fold(0u64, |word, i| {
            let (row, column) = place(thread % 32, register * per + i);
            let bits = 32 / per as u32;
            let low = u64::from(code(matrices[thread / 32][row][column])) & (u64::MAX >> (64 - bits));
            word | low << (bits * i as u32)
        })
    };
    (0..count).map(|r| (0..32 * matrices.len()).map(|thread| lane_of(r, thread)).collect()).collect()
}

#[test]
fn every_mma_puts_every_element_where_the_isa_says_in_all_three_modes() {
    let all = shapes();
    let grid = Grid::new(all.iter().map(multiply).collect());
    let mut random = Random(51);
    for (n, shape) in all.iter().enumerate() {
        let &(k, ea, eb, accumulator, (na, nb, nc)) = shape;
        let mut matrices = |rows: usize, columns: usize, element: Element| -> Vec<Matrix> {
            (0..WARPS).map(|_| integers(&mut random, rows, columns, element)).collect()
        };
        let (a, b, c) = (matrices(16, k, ea), matrices(k, 8, eb), matrices(16, 8, Element::F16));
        let per_c = if accumulator == Accumulator::F16 { 2 } else { 1 };
        let code_c = |v: i32| match accumulator {
            Accumulator::F32 => (v as f32).to_bits(),
            Accumulator::F16 => half::f16::from_f32(v as f32).to_bits().into(),
            Accumulator::S32 => v as u32,
        };
        let inputs = [
            registers(na, per_register(ea), &a, |v| code(v, ea), |lane, i| isa_a(ea, k, lane, i)),
            registers(nb, per_register(eb), &b, |v| code(v, eb), |lane, i| isa_b(eb, k, lane, i)),
            registers(nc, per_c, &c, code_c, isa_c),
        ]
        .concat();
        let d: Vec<Matrix> = (0..WARPS).map(|w| product(&a[w], &b[w], &c[w])).collect();
        let expected = registers(nc, per_c, &d, code_c, isa_c);
        for mma in [MmaMode::Exact, MmaMode::Shuffle, MmaMode::Trunc] {
            grid.set(Numerics { mma, approx: Approx::Rounded }, n as u64);
            assert!(grid.run(n, &inputs) == expected, "{} in mode {mma:?}", mnemonic(shape));
        }
    }
}

/// The number that a code of a floating type stands for.
fn value(code: i32, element: Element) -> f64 {
    let of_half = |bits: u32| half::f16::from_bits(bits as u16).to_f64();
    match element {
        Element::F16 => of_half(code as u32),
        Element::Bf16 => half::bf16::from_bits(code as u16).to_f64(),
        Element::Tf32 => f32::from_bits(code as u32).into(),
        Element::E5m2 => of_half((code as u32) << 8),
        // Seven bits under a bias of 7 are those of an f16 under 15: the same number divided by 2^8.
        Element::E4m3 => of_half((code as u32 & 0x80) << 8 | (code as u32 & 0x7f) << 7) * 256.0,
        _ => unreachable!("an integer"),
    }
}

/// A random code of a number between 2^-7 and 2^7, of any sign.
fn scattered(random: &mut Random, element: Element) -> i32 {
    let (sign, fraction) = ((random.next() & 1) as u32, random.next() as u32);
    let exponent = (random.next() % 13) as u32;
    let code = match element {
        Element::F16 => sign << 15 | (exponent + 9) << 10 | fraction & 0x3ff,
        Element::Bf16 => sign << 15 | (exponent + 121) << 7 | fraction & 0x7f,
        Element::Tf32 => sign << 31 | (exponent + 121) << 23 | fraction & 0x7f_e000,
        Element::E5m2 => sign << 7 | (exponent + 9) << 2 | fraction & 3,
        Element::E4m3 => sign << 7 | (exponent + 1) << 3 | fraction & 7,
        _ => unreachable!("an integer"),
    };
    code as i32
}

#[test]
fn sums_of_scattered_numbers_err_by_little_in_all_three_modes() {
    let floating: Vec<Shape> = shapes().into_iter().filter(|shape| shape.3 != Accumulator::S32).collect();
    let grid = Grid::new(floating.iter().map(multiply).collect());
    let mut random = Random(52);
    for (n, shape) in floating.iter().enumerate() {
        let &(k, ea, eb, accumulator, (na, nb, nc)) = shape;
        let half = accumulator == Accumulator::F16;
        let ec = if half { Element::F16 } else { Element::Tf32 };
        let mut matrices = |rows: usize, columns: usize, element: Element| -> Vec<Matrix> {
            let mut row = || (0..columns).map(|_| scattered(&mut random, element)).collect();
            (0..WARPS).map(|_| (0..rows).map(|_| row()).collect()).collect()
        };
        let (a, b, c) = (matrices(16, k, ea), matrices(k, 8, eb), matrices(16, 8, ec));
        let as_it_is = |code: i32| code as u32;
        let per_c = if half { 2 } else { 1 };
        let inputs = [
            registers(na, per_register(ea), &a, as_it_is, |lane, i| isa_a(ea, k, lane, i)),
            registers(nb, per_register(eb), &b, as_it_is, |lane, i| isa_b(eb, k, lane, i)),
            registers(nc, per_c, &c, as_it_is, isa_c),
        ]
        .concat();
        // Of the sum of magnitudes: what a product of 8-bit floats keeps (the least that tensor cores were seen to), or f32, for each term and
        // the sum; and the rounding to f16.
        let eight_bits = |e| matches!(e, Element::E4m3 | Element::E5m2);
        let kept = if eight_bits(ea) { 2f64.powi(-12) } else { 2f64.powi(-22) };
        let relative = (k + 2) as f64 * kept + if half { 2f64.powi(-11) } else { 0.0 };
        for mma in [MmaMode::Exact, MmaMode::Shuffle, MmaMode::Trunc] {
            grid.set(Numerics { mma, approx: Approx::Rounded }, n as u64);
            let d = grid.run(n, &inputs);
            for thread in 0..32 * WARPS {
                let (a, b, c) = (&a[thread / 32], &b[thread / 32], &c[thread / 32]);
                for i in 0..4 {
                    let (row, column) = isa_c(thread % 32, i);
                    let c = value(c[row][column], ec);
                    let terms = (0..k).map(|at| value(a[row][at], ea) * value(b[at][column], eb));
                    let (sum, magnitude) = terms.fold((c, c.abs()), |(sum, all), term| (sum + term, all + term.abs()));
                    let bits = d[i / per_c][thread] as u32;
                    let got = match half {
                        true => value((bits >> (16 * (i % 2)) & 0xffff) as i32, Element::F16),
                        false => f32::from_bits(bits).into(),
                    };
                    let near = (got - sum).abs() <= relative * magnitude || half && magnitude > 65504.0;
                    assert!(near, "{} in mode {mma:?}: {got:e} for {sum:e} of {magnitude:e}", mnemonic(shape));
                }
            }
        }
    }
}

/// Shared memory of 16 bytes a lane, its own row's address in `%s`.
const ROWS: &str = ".shared .align 16 .b8 rows[512]; .reg .b32 %s; shl.b32 %s, %l, 4; { .reg .b32 %base; mov.u32 %base, rows; add.u32 %s, %s, %base; }\n";

#[test]
fn matrices_move_between_shared_memory_and_registers_as_the_isa_draws_them() {
    let mut kernels = Vec::new();
    let mut names = Vec::new();
    for trans in [false, true] {
        let dot = if trans { ".trans" } else { "" };
        for count in [1usize, 2, 4] {
            let load = format!("ldmatrix.sync.aligned.m8n8.x{count}{dot}.shared.b16 {}, [%s];", list("%d", 0, count));
            let fill = "st.shared.v4.b32 [%s], {%a0, %a1, %a2, %a3}; bar.warp.sync -1;";
            kernels.push(Kernel::new(format!("{ROWS}{fill}\n{load}"), &[32; 4], &vec![32; count]));
            names.push((true, trans, count));
            let store = format!("stmatrix.sync.aligned.m8n8.x{count}{dot}.shared.b16 [%s], {};", list("%a", 0, count));
            let clear = "st.shared.v4.b32 [%s], {0, 0, 0, 0}; bar.warp.sync -1;";
            let read = "bar.warp.sync -1; ld.shared.v4.b32 {%d0, %d1, %d2, %d3}, [%s];";
            kernels.push(Kernel::new(format!("{ROWS}{clear}\n{store}\n{read}"), &vec![32; count], &[32; 4]));
            names.push((false, trans, count));
        }
    }
    kernels.push(Kernel::new("movmatrix.sync.aligned.m8n8.trans.b16 %d0, %a0;", &[32], &[32]));
    let moves = kernels.len() - 1;
    let grid = Grid::new(kernels);
    // Element (row, column) of matrix i is the number 64 i + 8 row + column + 1. Row r of matrix i lies at the address of lane 8 i + r; lane l
    // holds of row l / 4 the columns 2 (l % 4) and the next, with .trans of column l / 4 the rows.
    let number = |i: usize, row: usize, column: usize| (64 * i + 8 * row + column + 1) as u64;
    let memory = |count: usize| -> Vec<Vec<u64>> {
        let word =
            |lane: usize, w: usize| number(lane / 8, lane % 8, 2 * w) | number(lane / 8, lane % 8, 2 * w + 1) << 16;
        (0..4).map(|w| (0..32).map(|lane| if lane < 8 * count { word(lane, w) } else { 0 }).collect()).collect()
    };
    let fragments = |count: usize, trans: bool| -> Vec<Vec<u64>> {
        let half = |i: usize, lane: usize, v: usize| {
            let (at, along) = (lane / 4, 2 * (lane % 4) + v);
            if trans { number(i, along, at) } else { number(i, at, along) }
        };
        (0..count).map(|i| (0..32).map(|lane| half(i, lane, 0) | half(i, lane, 1) << 16).collect()).collect()
    };
    for (n, &(load, trans, count)) in names.iter().enumerate() {
        let (from, to) = (memory(if load { 4 } else { count }), fragments(count, trans));
        let (input, output) = if load { (from, to) } else { (to, from) };
        assert_eq!(grid.run(n, &input), output, "load {load}, trans {trans}, x{count}");
    }
    assert_eq!(grid.run(moves, &fragments(1, false)), fragments(1, true), "movmatrix");
}
