//! `mma.sync.aligned.m16n8kK` for a whole warp: registers in, registers out (PTX ISA 9.7.14.5).
//!
//! Naively: for every (row, column) of D, look up with the maps of [`fragment`] which lanes hold its row of A and its column of B, and
//! add up ([`dot`]). What makes it fast:
//! 1. Four neighbouring lanes of one register hold a run of one row of A (one column of B). Elements are unpacked a run at a time.
//! 2. Inside a run, element `i` of all four lanes comes first, then element `i + 1`: K is permuted the same way in A and B, which
//!    costs nothing, and unpacking is a shift and a mask of whole vectors. C's columns stand even ones first for the same reason.
//! 3. The sums run as AVX2 code where the processor has it. The results are the same bits (see [`dot`]).

use super::dot::{self, Columns, M, N, Rows, Sums};
use super::fp8::{E4m3, E5m2};
use super::half::{Bf16, F16, Half};
use super::operand::{FloatOperand, Integer, IntegerOperand, Operand, Tf32};
use super::round::{self, Rounding};
use crate::MmaMode;
use crate::fragment::{self, MMA_C};
use std::mem::MaybeUninit;

/// The type of A's or B's elements.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Element {
    /// `.f16`
    F16,
    /// `.bf16`
    Bf16,
    /// `.tf32`; the lower 13 bits of a register are ignored.
    Tf32,
    /// `.e4m3`
    E4m3,
    /// `.e5m2`
    E5m2,
    /// `.s8`
    S8,
    /// `.u8`
    U8,
    /// `.s4`
    S4,
    /// `.u4`
    U4,
}

impl Element {
    /// How many elements a 32-bit register holds.
    pub const fn per_register(self) -> usize {
        match self {
            Element::Tf32 => 1,
            Element::F16 | Element::Bf16 => 2,
            Element::E4m3 | Element::E5m2 | Element::S8 | Element::U8 => 4,
            Element::S4 | Element::U4 => 8,
        }
    }
}

/// The type of C and D.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Accumulator {
    /// `.f32`: four registers.
    F32,
    /// `.f16`: two registers of two halves.
    F16,
    /// `.s32`: four registers.
    S32,
}

/// A register of a warp: 32 lanes of 32 bits.
pub type Register = [u32; 32];

/// The registers of A, B and C. Places that a shape does not use may refer to any register.
#[derive(Clone, Copy)]
pub struct Operands<'a> {
    /// A: up to four.
    pub a: [&'a Register; 4],
    /// B: up to two.
    pub b: [&'a Register; 2],
    /// C: two or four.
    pub c: [&'a Register; 4],
}

/// One `mma` of the shape m16n8kK.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Mma {
    k: usize,
    a: Element,
    b: Element,
    accumulator: Accumulator,
    saturate: bool,
}

impl Mma {
    /// The instruction with these types, or `None` if the ISA has none. `saturate` is `.satfinite`.
    pub fn new(k: usize, a: Element, b: Element, accumulator: Accumulator, saturate: bool) -> Option<Mma> {
        use Accumulator::{F16 as Acc16, F32 as Acc32, S32 as AccInt};
        use Element::*;
        let exists = match (a, b, accumulator) {
            (F16, F16, Acc16 | Acc32) | (Bf16, Bf16, Acc32) => !saturate && (k == 8 || k == 16),
            (Tf32, Tf32, Acc32) => !saturate && (k == 4 || k == 8),
            (E4m3 | E5m2, E4m3 | E5m2, Acc16 | Acc32) => !saturate && (k == 16 || k == 32),
            (S8 | U8, S8 | U8, AccInt) => k == 16 || k == 32,
            (S4 | U4, S4 | U4, AccInt) => k == 32 || k == 64,
            _ => false,
        };
        exists.then_some(Mma { k, a, b, accumulator, saturate })
    }

    /// Registers of A, of B, and of C and D.
    pub fn registers(&self) -> (usize, usize, usize) {
        let b = self.k / (4 * self.a.per_register());
        (2 * b, b, if self.accumulator == Accumulator::F16 { 2 } else { 4 })
    }

    /// Multiply-adds of one instruction.
    pub fn operations(&self) -> u64 {
        (M * N * self.k) as u64
    }

    /// D = A x B + C. Of the operands as many registers are read, and of `d` as many are written, as [`registers`](Self::registers) says.
    /// `seed` orders the sums of [`MmaMode::Shuffle`].
    pub fn run(&self, operands: &Operands<'_>, mode: MmaMode, seed: u64, d: &mut [Register; 4]) {
        #[cfg(target_arch = "x86_64")]
        if crate::tiers::avx2() {
            // SAFETY: the features that the function carries were detected.
            return unsafe { self.run_avx2(operands, mode, seed, d) };
        }
        self.run_baseline(operands, mode, seed, d)
    }

    /// [`run`](Self::run) without AVX2: the same bits, slower. Public for the test that compares the two.
    #[doc(hidden)]
    pub fn run_baseline(&self, operands: &Operands<'_>, mode: MmaMode, seed: u64, d: &mut [Register; 4]) {
        self.dispatch::<false>(operands, mode, seed, d)
    }

    #[cfg(target_arch = "x86_64")]
    #[target_feature(enable = "avx2,fma,f16c")]
    fn run_avx2(&self, operands: &Operands<'_>, mode: MmaMode, seed: u64, d: &mut [Register; 4]) {
        self.dispatch::<true>(operands, mode, seed, d)
    }

    #[inline(always)]
    fn dispatch<const FAST: bool>(&self, operands: &Operands<'_>, mode: MmaMode, seed: u64, d: &mut [Register; 4]) {
        let x = operands;
        let numerics = Numerics { mode, seed, to_half: self.accumulator == Accumulator::F16 };
        match (self.a, self.b, self.k) {
            (Element::F16, _, 16) => float::<FAST, F16, F16, 2, 4>(x, numerics, d),
            (Element::F16, _, _) => float::<FAST, F16, F16, 2, 2>(x, numerics, d),
            (Element::Bf16, _, 16) => float::<FAST, Bf16, Bf16, 2, 4>(x, numerics, d),
            (Element::Bf16, _, _) => float::<FAST, Bf16, Bf16, 2, 2>(x, numerics, d),
            (Element::Tf32, _, 8) => float::<FAST, Tf32, Tf32, 1, 2>(x, numerics, d),
            (Element::Tf32, _, _) => float::<FAST, Tf32, Tf32, 1, 1>(x, numerics, d),
            (Element::E4m3, Element::E4m3, 32) => float::<FAST, E4m3, E4m3, 4, 8>(x, numerics, d),
            (Element::E4m3, Element::E4m3, _) => float::<FAST, E4m3, E4m3, 4, 4>(x, numerics, d),
            (Element::E4m3, _, 32) => float::<FAST, E4m3, E5m2, 4, 8>(x, numerics, d),
            (Element::E4m3, _, _) => float::<FAST, E4m3, E5m2, 4, 4>(x, numerics, d),
            (Element::E5m2, Element::E4m3, 32) => float::<FAST, E5m2, E4m3, 4, 8>(x, numerics, d),
            (Element::E5m2, Element::E4m3, _) => float::<FAST, E5m2, E4m3, 4, 4>(x, numerics, d),
            (Element::E5m2, _, 32) => float::<FAST, E5m2, E5m2, 4, 8>(x, numerics, d),
            (Element::E5m2, _, _) => float::<FAST, E5m2, E5m2, 4, 4>(x, numerics, d),
            (Element::S8, Element::S8, k) => bytes::<FAST, true, true>(x, k, self.saturate, d),
            (Element::S8, _, k) => bytes::<FAST, true, false>(x, k, self.saturate, d),
            (Element::U8, Element::S8, k) => bytes::<FAST, false, true>(x, k, self.saturate, d),
            (Element::U8, _, k) => bytes::<FAST, false, false>(x, k, self.saturate, d),
            (Element::S4, Element::S4, k) => nibbles::<FAST, true, true>(x, k, self.saturate, d),
            (Element::S4, _, k) => nibbles::<FAST, true, false>(x, k, self.saturate, d),
            (Element::U4, Element::S4, k) => nibbles::<FAST, false, true>(x, k, self.saturate, d),
            (Element::U4, _, k) => nibbles::<FAST, false, false>(x, k, self.saturate, d),
        }
    }
}

/// 8-bit integers, K 16 or 32.
#[inline(always)]
fn bytes<const FAST: bool, const A: bool, const B: bool>(
    x: &Operands<'_>,
    k: usize,
    saturate: bool,
    d: &mut [Register; 4],
) {
    if k == 32 {
        integer::<FAST, Integer<8, A>, Integer<8, B>, 4, 8>(x, saturate, d)
    } else {
        integer::<FAST, Integer<8, A>, Integer<8, B>, 4, 4>(x, saturate, d)
    }
}

/// 4-bit integers, K 32 or 64.
#[inline(always)]
fn nibbles<const FAST: bool, const A: bool, const B: bool>(
    x: &Operands<'_>,
    k: usize,
    saturate: bool,
    d: &mut [Register; 4],
) {
    if k == 64 {
        integer::<FAST, Integer<4, A>, Integer<4, B>, 8, 16>(x, saturate, d)
    } else {
        integer::<FAST, Integer<4, A>, Integer<4, B>, 8, 8>(x, saturate, d)
    }
}

/// Integers of one shape, as a function of its own for each tier: the compiler vectorises small functions better than the union of all.
#[inline(always)]
fn integer<const FAST: bool, A: IntegerOperand, B: IntegerOperand, const E: usize, const R: usize>(
    x: &Operands<'_>,
    saturate: bool,
    d: &mut [Register; 4],
) {
    #[inline(never)]
    #[cfg_attr(target_arch = "x86_64", target_feature(enable = "avx2,fma,f16c"))]
    fn avx2<A: IntegerOperand, B: IntegerOperand, const E: usize, const R: usize>(
        x: &Operands<'_>,
        saturate: bool,
        d: &mut [Register; 4],
    ) {
        integer_product::<true, A, B, E, R>(x, saturate, d)
    }
    if FAST {
        #[allow(unused_unsafe)] // No target feature, no danger: other processors.
        // SAFETY: FAST is set by `run_avx2` alone, which runs where the features were detected.
        unsafe {
            avx2::<A, B, E, R>(x, saturate, d)
        }
    } else {
        integer_product::<false, A, B, E, R>(x, saturate, d)
    }
}

#[inline(always)]
fn integer_product<const FAST: bool, A: IntegerOperand, B: IntegerOperand, const E: usize, const R: usize>(
    x: &Operands<'_>,
    saturate: bool,
    d: &mut [Register; 4],
) {
    let (mut rows, mut columns, mut sums) = (MaybeUninit::uninit(), MaybeUninit::uninit(), MaybeUninit::uninit());
    let rows = gather_a::<FAST, A, E, R>(&x.a, &mut rows);
    let columns = gather_b::<FAST, B, E, R>(&x.b, &mut columns);
    let sums = gather_c(&x.c, |word| word as i32, &mut sums);
    dot::integer::<FAST, R>(rows, columns, sums, saturate);
    scatter(sums, d, |x| x as u32)
}

/// How a float sum is formed and what it becomes.
#[derive(Clone, Copy)]
struct Numerics {
    mode: MmaMode,
    seed: u64,
    to_half: bool,
}

/// Floats of one shape; a function of its own as [`integer`].
#[inline(always)]
fn float<const FAST: bool, A: FloatOperand, B: FloatOperand, const E: usize, const R: usize>(
    x: &Operands<'_>,
    numerics: Numerics,
    d: &mut [Register; 4],
) {
    #[inline(never)]
    #[cfg_attr(target_arch = "x86_64", target_feature(enable = "avx2,fma,f16c"))]
    fn avx2<A: FloatOperand, B: FloatOperand, const E: usize, const R: usize>(
        x: &Operands<'_>,
        numerics: Numerics,
        d: &mut [Register; 4],
    ) {
        float_product::<true, A, B, E, R>(x, numerics, d)
    }
    if FAST {
        #[allow(unused_unsafe)] // No target feature, no danger: other processors.
        // SAFETY: FAST is set by `run_avx2` alone, which runs where the features were detected.
        unsafe {
            avx2::<A, B, E, R>(x, numerics, d)
        }
    } else {
        float_product::<false, A, B, E, R>(x, numerics, d)
    }
}

#[inline(always)]
fn float_product<const FAST: bool, A: FloatOperand, B: FloatOperand, const E: usize, const R: usize>(
    x: &Operands<'_>,
    numerics: Numerics,
    d: &mut [Register; 4],
) {
    let (mut rows, mut columns, mut sums) = (MaybeUninit::uninit(), MaybeUninit::uninit(), MaybeUninit::uninit());
    let rows = gather_a::<FAST, A, E, R>(&x.a, &mut rows);
    let columns = gather_b::<FAST, B, E, R>(&x.b, &mut columns);
    let sums = if numerics.to_half {
        gather_half_c::<FAST>(&x.c, &mut sums)
    } else {
        gather_c(&x.c, |word| f32::from_bits(word) as f64, &mut sums)
    };
    let round = match numerics.mode {
        MmaMode::Exact => {
            dot::exact::<FAST, R>(rows, columns, sums);
            Rounding::Rn
        }
        MmaMode::Shuffle => {
            dot::shuffled::<FAST, R>(rows, columns, sums, numerics.seed);
            Rounding::Rn
        }
        MmaMode::Trunc => {
            dot::truncated::<FAST, R>(rows, columns, sums, A::KEPT_BITS, [A::LEAST_NORMAL, B::LEAST_NORMAL]);
            Rounding::Rz
        }
    };
    if numerics.to_half {
        // The narrowing to f16 is to nearest in tensor cores too.
        scatter_half(sums, d)
    } else if round == Rounding::Rn {
        scatter(sums, d, |x| round::canonical(x as f32).to_bits())
    } else {
        scatter(sums, d, |x| round::canonical(round::narrow(x, Rounding::Rz)).to_bits())
    }
}

/// Where column `n` of B and C stands: the four even columns, then the four odd ones.
#[inline(always)]
const fn place(n: usize) -> usize {
    4 * (n % 2) + n / 2
}

// The gathers write every element of a matrix that is not set before: zeros first would cost as much as the gathering. Loops instead of
// functions of arrays and iterators, which are not always inlined, and then run without the tier's instructions.

/// A's registers to rows; `E` elements in a register. K is permuted inside each run of 4E: element `i` of lane t stands at 4i + t.
#[inline(always)]
fn gather_a<'m, const FAST: bool, A: Operand, const E: usize, const R: usize>(
    registers: &[&Register; 4],
    rows: &'m mut MaybeUninit<Rows<A::Wide, R>>,
) -> &'m Rows<A::Wide, R> {
    let map = const { fragment::mma_a(E, 4 * R) };
    let matrix = rows.as_mut_ptr();
    for (r, register) in registers.iter().enumerate().take(2 * R / E) {
        let parts = A::unpack::<FAST, E>(register);
        for i in 0..E {
            for g in 0..8 {
                let (row, k) = map.at(4 * g, r * E);
                for t in 0..4 {
                    // SAFETY: a place inside the matrix, by the checks of its indices.
                    unsafe { (*matrix)[row][k / 4 + i][t] = A::Wide::from(parts[i][4 * g + t]) };
                }
            }
        }
    }
    // SAFETY: the map leads to every element.
    unsafe { rows.assume_init_ref() }
}

/// B's registers to rows of eight columns, K permuted as [`gather_a`] does.
#[inline(always)]
fn gather_b<'m, const FAST: bool, B: Operand, const E: usize, const R: usize>(
    registers: &[&Register; 2],
    columns: &'m mut MaybeUninit<Columns<B::Wide, R>>,
) -> &'m Columns<B::Wide, R> {
    let map = const { fragment::mma_b(E, 4 * R) };
    let matrix = columns.as_mut_ptr();
    for (r, register) in registers.iter().enumerate().take(R / E) {
        let (k, _) = map.at(0, r * E);
        // Lane 4n + t to place 8t + place(n): after it, a row of B is eight neighbours.
        let mut transposed = [0; 32];
        for t in 0..4 {
            for n in 0..N {
                transposed[N * t + place(n)] = register[4 * n + t];
            }
        }
        let parts = B::unpack::<FAST, E>(&transposed);
        for i in 0..E {
            for t in 0..4 {
                for q in 0..N {
                    // SAFETY: a place inside the matrix, by the checks of its indices.
                    unsafe { (*matrix)[k / 4 + i][t][q] = B::Wide::from(parts[i][N * t + q]) };
                }
            }
        }
    }
    // SAFETY: the map leads to every element.
    unsafe { columns.assume_init_ref() }
}

/// C's four registers to sums, columns in the order of [`place`].
#[inline(always)]
fn gather_c<'m, T: Copy>(
    registers: &[&Register; 4],
    decode: impl Fn(u32) -> T,
    sums: &'m mut MaybeUninit<[[T; N]; M]>,
) -> &'m mut [[T; N]; M] {
    let matrix = sums.as_mut_ptr();
    for (r, register) in registers.iter().enumerate() {
        for g in 0..8 {
            let (row, column) = MMA_C.at(4 * g, r);
            for t in 0..4 {
                // SAFETY: a place inside the matrix, by the checks of its indices.
                unsafe { (*matrix)[row][place(column) + t] = decode(register[4 * g + t]) };
            }
        }
    }
    // SAFETY: the map leads to every element.
    unsafe { sums.assume_init_mut() }
}

/// C's two registers of halves to sums.
#[inline(always)]
fn gather_half_c<'m, const FAST: bool>(registers: &[&Register; 4], sums: &'m mut MaybeUninit<Sums>) -> &'m mut Sums {
    let matrix = sums.as_mut_ptr();
    for (r, register) in registers.iter().enumerate().take(2) {
        let parts = F16::unpack::<FAST, 2>(register);
        for i in 0..2 {
            for g in 0..8 {
                let (row, column) = MMA_C.at(4 * g, 2 * r + i);
                for t in 0..4 {
                    // SAFETY: a place inside the matrix, by the checks of its indices.
                    unsafe { (*matrix)[row][place(column) + t] = parts[i][4 * g + t] as f64 };
                }
            }
        }
    }
    // SAFETY: the map leads to every element.
    unsafe { sums.assume_init_mut() }
}

/// Sums to D's four registers.
#[inline(always)]
fn scatter<T: Copy>(sums: &[[T; N]; M], registers: &mut [Register; 4], encode: impl Fn(T) -> u32) {
    // First all values, in the order of the sums, then their places: two straight loops.
    let mut codes = [[0; N]; M];
    for row in 0..M {
        for q in 0..N {
            codes[row][q] = encode(sums[row][q]);
        }
    }
    for (r, register) in registers.iter_mut().enumerate() {
        for g in 0..8 {
            let (row, column) = MMA_C.at(4 * g, r);
            register[4 * g..4 * g + 4].copy_from_slice(&codes[row][place(column)..place(column) + 4]);
        }
    }
}

/// Sums to D's two registers of halves, to nearest.
#[inline(always)]
fn scatter_half(sums: &Sums, registers: &mut [Register; 4]) {
    let mut values = [[0; 32]; 4];
    scatter(sums, &mut values, |x| round::narrow_odd(x).to_bits());
    for (r, register) in registers.iter_mut().enumerate().take(2) {
        let half = |value: u32| F16::nearest(f32::from_bits(value)) as u32;
        for (lane, word) in register.iter_mut().enumerate() {
            *word = half(values[2 * r][lane]) | half(values[2 * r + 1][lane]) << 16;
        }
    }
}
