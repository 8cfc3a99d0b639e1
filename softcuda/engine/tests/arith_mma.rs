//! `mma`: layouts by one-hot matrices against the ISA's tables (typed here as the ISA prints them, apart
//! from the engine's maps), the three numerics, integer sums, and equality of the CPU tiers.

#![allow(clippy::needless_range_loop)] // the indices are matrix coordinates and lanes

mod oracle;

use oracle::Random;
use oracle::fragments::{Shape, isa_a, isa_b, isa_c, per_register, shapes};
use softcuda_engine::MmaMode;
use softcuda_engine::arith::mma::{Accumulator, Element, Mma, Operands, Register};
use softcuda_engine::arith::{fp8, half, round};

/// Which of the two ways through an `mma`.
#[derive(Clone, Copy)]
enum Tier {
    Best,
    Baseline,
}

/// D of registers held in vectors.
fn multiply(mma: &Mma, [a, b, c]: [&[Register]; 3], mode: MmaMode, seed: u64, tier: Tier) -> [Register; 4] {
    fn refer<const N: usize>(registers: &[Register]) -> [&Register; N] {
        core::array::from_fn(|i| &registers[i.min(registers.len() - 1)])
    }
    let operands = Operands { a: refer(a), b: refer(b), c: refer(c) };
    let mut d = [[0; 32]; 4];
    match tier {
        Tier::Best => mma.run(&operands, mode, seed, &mut d),
        Tier::Baseline => mma.run_baseline(&operands, mode, seed, &mut d),
    }
    d
}

/// A matrix of codes put into registers by an ISA table.
fn to_registers(
    codes: &[Vec<u32>],
    element: Element,
    registers: usize,
    place: impl Fn(usize, usize) -> (usize, usize),
) -> Vec<[u32; 32]> {
    let e = per_register(element);
    let width = 32 / e;
    let mut result = vec![[0u32; 32]; registers];
    for lane in 0..32 {
        for i in 0..e * registers {
            let (row, column) = place(lane, i);
            result[i / e][lane] |= codes[row][column] << (width * (i % e));
        }
    }
    result
}

/// The code of 1 in an element type.
fn one(element: Element) -> u32 {
    match element {
        Element::F16 => 0x3c00,
        Element::Bf16 => 0x3f80,
        Element::Tf32 => 0x3f80_0000,
        Element::E4m3 => 0x38,
        Element::E5m2 => 0x3c,
        Element::S8 | Element::U8 | Element::S4 | Element::U4 => 1,
    }
}

/// The value of a code.
fn value(code: u32, element: Element) -> f64 {
    match element {
        Element::F16 => half::f16_to_f32(code as u16) as f64,
        Element::Bf16 => half::bf16_to_f32(code as u16) as f64,
        Element::Tf32 => f32::from_bits(code) as f64,
        Element::E4m3 => fp8::decode::<fp8::E4m3>(code as u8) as f64,
        Element::E5m2 => fp8::decode::<fp8::E5m2>(code as u8) as f64,
        Element::S8 => code as u8 as i8 as f64,
        Element::U8 => code as u8 as f64,
        Element::S4 => ((code as i32) << 28 >> 28) as f64,
        Element::U4 => (code & 15) as f64,
    }
}

/// C of f64 values in registers; the values fit the accumulator exactly.
fn c_registers(c: &[Vec<f64>], accumulator: Accumulator) -> Vec<[u32; 32]> {
    let mut result = vec![[0u32; 32]; if accumulator == Accumulator::F16 { 2 } else { 4 }];
    for lane in 0..32 {
        for i in 0..4 {
            let (row, column) = isa_c(lane, i);
            let x = c[row][column];
            match accumulator {
                Accumulator::F32 => result[i][lane] = (x as f32).to_bits(),
                Accumulator::S32 => result[i][lane] = x as i32 as u32,
                Accumulator::F16 => result[i / 2][lane] |= (half::f32_to_f16(x as f32) as u32) << (16 * (i % 2)),
            }
        }
    }
    result
}

/// D back to a matrix.
fn d_matrix(d: &[[u32; 32]], accumulator: Accumulator) -> Vec<Vec<f64>> {
    let mut result = vec![vec![f64::NAN; 8]; 16];
    for lane in 0..32 {
        for i in 0..4 {
            let (row, column) = isa_c(lane, i);
            result[row][column] = match accumulator {
                Accumulator::F32 => f32::from_bits(d[i][lane]) as f64,
                Accumulator::S32 => d[i][lane] as i32 as f64,
                Accumulator::F16 => half::f16_to_f32((d[i / 2][lane] >> (16 * (i % 2))) as u16) as f64,
            };
        }
    }
    result
}

const MODES: [MmaMode; 3] = [MmaMode::Exact, MmaMode::Shuffle, MmaMode::Trunc];

#[test]
fn one_hot_matrices_land_where_the_isa_tables_say() {
    for (k, ea, eb, accumulator, registers) in shapes() {
        let mma = Mma::new(k, ea, eb, accumulator, false).expect("the ISA has it");
        assert_eq!(mma.registers(), registers, "{mma:?}");
        // A has one 1 at (row, inner), B has row `inner` filled with distinguishable values by column: D's row shows B's row.
        for row in 0..16 {
            for inner in 0..k {
                let mut a = vec![vec![0; k]; 16];
                a[row][inner] = one(ea);
                let a = to_registers(&a, ea, registers.0, |lane, i| isa_a(ea, k, lane, i));
                for column in 0..8 {
                    let mut b = vec![vec![0; 8]; k];
                    b[inner][column] = one(eb);
                    let b = to_registers(&b, eb, registers.1, |lane, i| isa_b(eb, k, lane, i));
                    let c: Vec<Vec<f64>> =
                        (0..16).map(|r| (0..8).map(|n| (8 * r + n) as f64 - 60.0).collect()).collect();
                    let mode = MODES[(row + column) % 3];
                    let d = multiply(&mma, [&a, &b, &c_registers(&c, accumulator)], mode, 1, Tier::Best);
                    let mut expected = c.clone();
                    expected[row][column] += 1.0;
                    assert_eq!(d_matrix(&d, accumulator), expected, "{mma:?} A[{row}][{inner}] B[{inner}][{column}]");
                }
            }
        }
    }
}

/// Random codes that are finite values of moderate size.
fn random_codes(random: &mut Random, rows: usize, columns: usize, element: Element) -> Vec<Vec<u32>> {
    let mut code = || loop {
        let bits = random.next() as u32;
        let code = match element {
            Element::F16 => bits & 0xffff,
            Element::Bf16 => (bits & 0x8fff) | 0x3000,
            Element::Tf32 => (bits & 0x8fff_e000) | 0x3000_0000,
            Element::E4m3 | Element::E5m2 | Element::S8 | Element::U8 => bits & 0xff,
            Element::S4 | Element::U4 => bits & 0xf,
        };
        if value(code, element).is_finite() && value(code, element).abs() < 1e4 {
            return code;
        }
    };
    (0..rows).map(|_| (0..columns).map(|_| code()).collect()).collect()
}

/// The exponent as it is stored: of a subnormal number that of the smallest normal one. 0 has none.
fn exponent(value: f64, element: Option<Element>) -> Option<i32> {
    let least = match element {
        Some(Element::F16 | Element::E5m2) => -14,
        Some(Element::E4m3) => -6,
        _ => -126,
    };
    (value != 0.0).then(|| (value.abs().log2().floor() as i32).max(least))
}

/// A, B, C as codes and values, and the registers of all three.
struct Case {
    mma: Mma,
    accumulator: Accumulator,
    kept_bits: i32,
    /// Terms of D[row][column]: C, then the products.
    terms: Vec<Vec<Vec<f64>>>,
    /// The largest exponent that terms of D[row][column] are aligned to; `None` where all are 0.
    largest: Vec<Vec<Option<i32>>>,
    registers: [Vec<[u32; 32]>; 3],
}

fn case(random: &mut Random, shape: Shape, saturate: bool) -> Case {
    let (k, ea, eb, accumulator, registers) = shape;
    let mma = Mma::new(k, ea, eb, accumulator, saturate).unwrap();
    let (a, b) = (random_codes(random, 16, k, ea), random_codes(random, k, 8, eb));
    let c: Vec<Vec<f64>> = (0..16)
        .map(|_| {
            (0..8)
                .map(|_| match accumulator {
                    Accumulator::S32 => random.next() as i32 as f64,
                    Accumulator::F32 => ((random.next() as i32 as f32) / 2f32.powi((random.next() % 40) as i32)) as f64,
                    Accumulator::F16 => half::f16_to_f32((random.next() & 0xb3ff) as u16) as f64,
                })
                .collect()
        })
        .collect();
    let terms = (0..16)
        .map(|m| {
            (0..8)
                .map(|n| {
                    let products = (0..k).map(|i| value(a[m][i], ea) * value(b[i][n], eb));
                    core::iter::once(c[m][n]).chain(products).collect()
                })
                .collect()
        })
        .collect();
    let aligned = |m: usize, n: usize| {
        let product =
            |i: usize| Some(exponent(value(a[m][i], ea), Some(ea))? + exponent(value(b[i][n], eb), Some(eb))?);
        (0..k).map(product).chain([exponent(c[m][n], None)]).flatten().max()
    };
    let largest = (0..16).map(|m| (0..8).map(|n| aligned(m, n)).collect()).collect();
    let registers = [
        to_registers(&a, ea, registers.0, |lane, i| isa_a(ea, k, lane, i)),
        to_registers(&b, eb, registers.1, |lane, i| isa_b(eb, k, lane, i)),
        c_registers(&c, accumulator),
    ];
    let kept_bits = if per_register(ea) == 4 { 13 } else { 24 };
    Case { mma, accumulator, kept_bits, terms, largest, registers }
}

impl Case {
    fn run(&self, mode: MmaMode, seed: u64) -> Vec<Vec<f64>> {
        let [a, b, c] = &self.registers;
        d_matrix(&multiply(&self.mma, [a, b, c], mode, seed, Tier::Best), self.accumulator)
    }
}

/// The exact sum as (sum, residue): the terms are doubles of few bits, so that two compensated passes lose nothing that matters to f32.
fn exact_sum(terms: &[f64]) -> (f64, f64) {
    let (mut sum, mut rest) = (0f64, 0f64);
    for &term in terms {
        let next = sum + term;
        let part = next - sum;
        rest += (sum - (next - part)) + (term - part);
        sum = next;
    }
    let total = sum + rest;
    (total, rest - (total - sum))
}

#[test]
fn exact_rounds_the_sum_once() {
    let mut random = Random(11);
    for shape in shapes() {
        if shape.3 == Accumulator::S32 {
            continue;
        }
        for _ in 0..40 {
            let case = case(&mut random, shape, false);
            let d = case.run(MmaMode::Exact, 0);
            for row in 0..16 {
                for column in 0..8 {
                    let terms = &case.terms[row][column];
                    let (sum, _) = exact_sum(terms);
                    // An f64 sum of n terms errs by less than n 2^-53 of the sum of magnitudes; the one rounding to the result adds half a place.
                    let slack = terms.iter().map(|t| t.abs()).sum::<f64>() * terms.len() as f64 * 2f64.powi(-53);
                    let got = d[row][column];
                    let (low, high) = match case.accumulator {
                        Accumulator::F16 => {
                            let near =
                                |x: f64| half::f16_to_f32(half::from_f64::<half::F16>(x, round::Rounding::Rn)) as f64;
                            (near(sum - slack), near(sum + slack))
                        }
                        _ => ((sum - slack) as f32 as f64, (sum + slack) as f32 as f64),
                    };
                    assert!(
                        low <= got && got <= high,
                        "{:?} ({row}, {column}): {got:e} not in {low:e}..{high:e}",
                        case.mma
                    );
                }
            }
        }
    }
}

#[test]
fn truncated_follows_its_definition() {
    let mut random = Random(12);
    let mut differs = 0;
    for shape in shapes() {
        if shape.3 == Accumulator::S32 {
            continue;
        }
        for _ in 0..40 {
            let case = case(&mut random, shape, false);
            let (d, exact) = (case.run(MmaMode::Trunc, 0), case.run(MmaMode::Exact, 0));
            for row in 0..16 {
                for column in 0..8 {
                    let terms = &case.terms[row][column];
                    let expected = if let Some(largest) = case.largest[row][column] {
                        // Align to the largest exponent, drop what is below, add integers, round toward zero (f16: to nearest).
                        let step = 2f64.powi(largest - case.kept_bits);
                        let whole: i64 = terms.iter().map(|t| (t / step) as i64).sum();
                        let sum = whole as f64 * step;
                        match case.accumulator {
                            Accumulator::F16 => {
                                half::f16_to_f32(half::from_f64::<half::F16>(sum, round::Rounding::Rn)) as f64
                            }
                            _ => round::narrow(sum, round::Rounding::Rz) as f64,
                        }
                    } else {
                        0.0
                    };
                    assert_eq!(d[row][column], expected, "{:?} ({row}, {column}) {terms:?}", case.mma);
                    differs += (d[row][column] != exact[row][column]) as usize;
                }
            }
        }
    }
    assert!(differs > 1000, "truncation shows: {differs}");
}

#[test]
fn shuffle_stays_within_the_bound_of_f32_sums_and_depends_on_the_seed() {
    let mut random = Random(13);
    let mut differs = 0;
    for shape in shapes() {
        if shape.3 != Accumulator::F32 {
            continue;
        }
        for seed in 0..20 {
            let case = case(&mut random, shape, false);
            let (d, other) = (case.run(MmaMode::Shuffle, seed), case.run(MmaMode::Shuffle, seed + 100));
            assert_eq!(d, case.run(MmaMode::Shuffle, seed), "the same seed gives the same bits");
            for row in 0..16 {
                for column in 0..8 {
                    let terms = &case.terms[row][column];
                    let (sum, _) = exact_sum(terms);
                    let magnitude = terms.iter().map(|t| t.abs()).sum::<f64>();
                    // n f32 additions, each within 2^-24 of its result; 1.01 covers their compounding and the f64 step inside.
                    let bound = 1.01 * terms.len() as f64 * 2f64.powi(-24) * magnitude;
                    let error = (d[row][column] - sum).abs();
                    assert!(error <= bound, "{:?} ({row}, {column}): error {error:e} bound {bound:e}", case.mma);
                    differs += (d[row][column] != other[row][column]) as usize;
                }
            }
        }
    }
    assert!(differs > 1000, "the seed matters: {differs}");
}

#[test]
fn integer_sums_wrap_or_saturate() {
    let mut random = Random(14);
    for shape in shapes() {
        if shape.3 != Accumulator::S32 {
            continue;
        }
        for saturate in [false, true] {
            for _ in 0..40 {
                let mut case = case(&mut random, shape, saturate);
                // C at the edges, so that wrapping and clamping happen.
                for lane in 0..32 {
                    for i in 0..4 {
                        let (row, column) = isa_c(lane, i);
                        let edge = [i32::MAX - 5, i32::MIN + 5, 0, 77][(lane + i) % 4];
                        case.registers[2][i][lane] = edge as u32;
                        case.terms[row][column][0] = edge as f64;
                    }
                }
                let d = case.run(MmaMode::Trunc, 0);
                for row in 0..16 {
                    for column in 0..8 {
                        let sum = case.terms[row][column].iter().map(|&t| t as i64).sum::<i64>();
                        let expected =
                            if saturate { sum.clamp(i32::MIN as i64, i32::MAX as i64) as i32 } else { sum as i32 };
                        assert_eq!(
                            d[row][column], expected as f64,
                            "{:?} saturate {saturate} ({row}, {column})",
                            case.mma
                        );
                    }
                }
            }
        }
    }
}

#[test]
fn infinities_nans_and_overflow_come_out_in_every_mode() {
    let mma = Mma::new(16, Element::F16, Element::F16, Accumulator::F32, false).unwrap();
    let run = |x: u32, y: u32, c: f32, mode| {
        let mut a = vec![vec![0; 16]; 16];
        let mut b = vec![vec![0; 8]; 16];
        a[3][5] = x;
        b[5][6] = y;
        let a = to_registers(&a, Element::F16, 4, |lane, i| isa_a(Element::F16, 16, lane, i));
        let b = to_registers(&b, Element::F16, 2, |lane, i| isa_b(Element::F16, 16, lane, i));
        let c = [[c.to_bits(); 32]; 4];
        let d = multiply(&mma, [&a, &b, &c], mode, 3, Tier::Best);
        // D[3][6]: lane 4 * 3 + 3, element 0.
        d[0][15]
    };
    for mode in MODES {
        assert_eq!(run(0x7c00, 0x3c00, 1.0, mode), f32::INFINITY.to_bits(), "{mode:?}");
        assert_eq!(run(0xfc00, 0x3c00, 1.0, mode), f32::NEG_INFINITY.to_bits(), "{mode:?}");
        assert_eq!(run(0x7c00, 0x0000, 1.0, mode), round::NAN32, "{mode:?}");
        assert_eq!(run(0x7e01, 0x3c00, 1.0, mode), round::NAN32, "{mode:?}");
        assert_eq!(run(0x3c00, 0x3c00, f32::NAN, mode), round::NAN32, "{mode:?}");
        assert_eq!(run(0x0001, 0x0001, 0.0, mode), 2f32.powi(-48).to_bits(), "subnormal operands count, {mode:?}");
    }
}

#[test]
fn tiers_give_the_same_bits() {
    let mut random = Random(15);
    for (k, ea, eb, accumulator, (a, b, c)) in shapes() {
        let mma = Mma::new(k, ea, eb, accumulator, false).unwrap();
        for round in 0..30 {
            // Any bits at all: NaN, infinity and subnormal codes too.
            let mut words = |count| -> Vec<[u32; 32]> {
                (0..count)
                    .map(|_| {
                        core::array::from_fn(|_| random.next() as u32 & if round % 2 == 0 { !0 } else { 0x3fff_3f3f })
                    })
                    .collect()
            };
            let (a, b, c) = (words(a), words(b), words(c));
            for mode in MODES {
                let run = |tier| multiply(&mma, [&a, &b, &c], mode, 9, tier);
                assert_eq!(run(Tier::Best), run(Tier::Baseline), "{mma:?} {mode:?}");
            }
        }
    }
}

#[test]
fn combinations_outside_the_isa_are_refused() {
    use Accumulator as Acc;
    use Element::*;
    for (k, a, b, accumulator, saturate) in [
        (32, F16, F16, Acc::F32, false),
        (16, F16, Bf16, Acc::F32, false),
        (16, Bf16, Bf16, Acc::F16, false),
        (16, F16, F16, Acc::F32, true),
        (16, S8, S4, Acc::S32, false),
        (64, S8, S8, Acc::S32, false),
        (32, S8, S8, Acc::F32, false),
        (16, Tf32, Tf32, Acc::F32, false),
    ] {
        assert_eq!(Mma::new(k, a, b, accumulator, saturate), None, "{k} {a:?} {b:?} {accumulator:?} {saturate}");
    }
}
