//! `cvt` (PTX ISA 9.7.9.21): integers to integers, integers to floats and back, floats to floats, and the packed forms.
//!
//! Integers travel as `u64`: the lowest `bits` are read, and a result is extended to 64 bits by its own signedness, as a wider destination
//! register wants it.

use super::fp8::{self, Small};
use super::half::{self, Half};
use super::round::{self, Rounding, canonical64, flush, narrow};
use super::soft64;

/// An integer type of PTX.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Int {
    /// Width: 8, 16, 32 or 64.
    pub bits: u32,
    /// Two's complement or unsigned.
    pub signed: bool,
}

impl Int {
    /// `.s8`
    pub const S8: Int = Int { bits: 8, signed: true };
    /// `.s16`
    pub const S16: Int = Int { bits: 16, signed: true };
    /// `.s32`
    pub const S32: Int = Int { bits: 32, signed: true };
    /// `.s64`
    pub const S64: Int = Int { bits: 64, signed: true };
    /// `.u8`
    pub const U8: Int = Int { bits: 8, signed: false };
    /// `.u16`
    pub const U16: Int = Int { bits: 16, signed: false };
    /// `.u32`
    pub const U32: Int = Int { bits: 32, signed: false };
    /// `.u64`
    pub const U64: Int = Int { bits: 64, signed: false };

    /// The lowest `bits` of `x`, extended to 64 bits.
    #[inline(always)]
    pub fn extend(self, x: u64) -> u64 {
        let spare = 64 - self.bits;
        if self.signed { ((x << spare) as i64 >> spare) as u64 } else { x << spare >> spare }
    }

    /// The smallest and the largest value, each as 64 extended bits.
    #[inline(always)]
    fn limits(self) -> (u64, u64) {
        if self.signed {
            let max = u64::MAX >> (65 - self.bits);
            (!max, max)
        } else {
            (0, u64::MAX >> (64 - self.bits))
        }
    }
}

/// Integer to integer: the low bits, or with `sat` the nearest value of the target.
#[inline(always)]
pub fn int_to_int(x: u64, from: Int, to: Int, sat: bool) -> u64 {
    let x = from.extend(x);
    if !sat {
        return to.extend(x);
    }
    let (min, max) = to.limits();
    let negative = from.signed && (x as i64) < 0;
    if negative {
        // Compared as signed: below the minimum of a signed target, or below 0 of an unsigned one.
        if !to.signed || (x as i64) < min as i64 { min } else { x }
    } else {
        x.min(max)
    }
}

/// `.rni`, `.rzi`, `.rmi`, `.rpi`: the integral value in the given direction. The sign of zero is that of `x`; NaN stays some NaN.
#[inline(always)]
pub fn integral(x: f32, round: Rounding) -> f32 {
    const WHOLE: f32 = 8_388_608.0; // 2^23: from here on every value is integral
    let magnitude = x.abs();
    let near = round::copysign(x, (magnitude + WHOLE) - WHOLE);
    let value = match round {
        Rounding::Rn => near,
        Rounding::Rz => {
            if near.abs() > magnitude {
                near - round::copysign(x, 1.0)
            } else {
                near
            }
        }
        Rounding::Rm => near - if near > x { 1.0 } else { 0.0 },
        Rounding::Rp => near + if near < x { 1.0 } else { 0.0 },
    };
    if magnitude < WHOLE { round::copysign(x, value) } else { x }
}

/// [`integral`] for f64.
#[inline(always)]
pub fn integral64(x: f64, round: Rounding) -> f64 {
    const WHOLE: f64 = 4_503_599_627_370_496.0; // 2^52
    let magnitude = x.abs();
    let near = round::copysign64(x, (magnitude + WHOLE) - WHOLE);
    let value = match round {
        Rounding::Rn => near,
        Rounding::Rz => {
            if near.abs() > magnitude {
                near - round::copysign64(x, 1.0)
            } else {
                near
            }
        }
        Rounding::Rm => near - if near > x { 1.0 } else { 0.0 },
        Rounding::Rp => near + if near < x { 1.0 } else { 0.0 },
    };
    if magnitude < WHOLE { round::copysign64(x, value) } else { x }
}

/// f32 (and f16, bf16 after widening) to integer: rounded, clamped to the target's range. NaN gives 0, or `1 << 63` for 64-bit targets.
#[inline(always)]
pub fn f32_to_int(x: f32, round: Rounding, to: Int) -> u64 {
    let x = integral(x, round);
    match (to.bits, to.signed) {
        (32, true) => x as i32 as u64,
        (32, false) => x as u32 as u64,
        (64, _) => f64_to_int(x as f64, Rounding::Rz, to),
        (_, true) => {
            let (min, max) = to.limits();
            (x as i32).clamp(min as i32, max as i32) as u64
        }
        (_, false) => (x as u32).min(to.limits().1 as u32) as u64,
    }
}

/// f64 to integer: rounded, clamped to the target's range. NaN gives the target's highest bit alone.
#[inline(always)]
pub fn f64_to_int(x: f64, round: Rounding, to: Int) -> u64 {
    if x.is_nan() {
        return to.extend(1 << (to.bits - 1));
    }
    let x = integral64(x, round);
    let (min, max) = to.limits();
    if to.signed { (x as i64).clamp(min as i64, max as i64) as u64 } else { (x as u64).min(max) }
}

/// Integer to f32.
#[inline(always)]
pub fn int_to_f32(x: u64, from: Int, round: Rounding) -> f32 {
    let x = from.extend(x);
    match (from.bits, from.signed, round) {
        (64, _, _) => narrow(odd_f64(x, from.signed), round),
        (_, true, Rounding::Rn) => x as i32 as f32,
        (_, false, Rounding::Rn) => x as u32 as f32,
        (_, true, _) => narrow(x as i32 as f64, round),
        (_, false, _) => narrow(x as u32 as f64, round),
    }
}

/// Integer to f64.
#[inline(always)]
pub fn int_to_f64(x: u64, from: Int, round: Rounding) -> f64 {
    let x = from.extend(x);
    match (from.bits, from.signed, round) {
        (64, true, Rounding::Rn) => x as i64 as f64,
        (64, false, Rounding::Rn) => x as f64,
        (64, signed, _) => soft64::from_int(x, signed, round),
        (_, true, _) => x as i32 as f64,
        (_, false, _) => x as u32 as f64,
    }
}

/// Integer to f16 or bf16.
#[inline(always)]
pub fn int_to_half<H: Half>(x: u64, from: Int, round: Rounding) -> u16 {
    let x = from.extend(x);
    let wide = match (from.bits, from.signed) {
        (64, signed) => odd_f64(x, signed),
        (_, true) => x as i32 as f64,
        (_, false) => x as u32 as f64,
    };
    half::from_f64::<H>(wide, round)
}

/// A 64-bit integer as f64, rounded to odd (see [`round`]).
#[inline(always)]
fn odd_f64(x: u64, signed: bool) -> f64 {
    let negative = signed && (x as i64) < 0;
    let magnitude = if negative { x.wrapping_neg() } else { x };
    let shift = 11u32.saturating_sub(magnitude.leading_zeros());
    let kept = magnitude >> shift;
    let odd = kept | (kept << shift != magnitude) as u64;
    let value = odd as f64 * (1u64 << shift) as f64;
    if negative { -value } else { value }
}

/// f64 to f32. `ftz` flushes a subnormal result.
#[inline(always)]
pub fn f64_to_f32(x: f64, round: Rounding, ftz: bool) -> f32 {
    let y = round::canonical(narrow(x, round));
    if ftz { flush(y) } else { y }
}

/// f32 to f64. `ftz` flushes a subnormal input.
#[inline(always)]
pub fn f32_to_f64(x: f32, ftz: bool) -> f64 {
    canonical64(if ftz { flush(x) as f64 } else { x as f64 })
}

/// f32 to f16 or bf16, `.relu` and `.satfinite` (infinity to the largest finite value) as asked.
#[inline(always)]
pub fn f32_to_half<H: Half>(x: f32, round: Rounding, relu: bool, satfinite: bool) -> u16 {
    let h = half::from_f32::<H>(x, round);
    let h = if satfinite && h & 0x7fff == H::INFINITY { h - 1 } else { h };
    if relu { half::relu::<H>(h) } else { h }
}

/// Two f32 to f16x2 or bf16x2: `a` in the upper half, `b` in the lower.
#[inline(always)]
pub fn pack_half<H: Half>(a: f32, b: f32, round: Rounding, relu: bool, satfinite: bool) -> u32 {
    half::pack(f32_to_half::<H>(b, round, relu, satfinite), f32_to_half::<H>(a, round, relu, satfinite))
}

/// Two f32 to e4m3x2 or e5m2x2, `.rn.satfinite`: `a` in the upper byte, `b` in the lower.
#[inline(always)]
pub fn pack_small<S: Small>(a: f32, b: f32, relu: bool) -> u16 {
    fp8::encode::<S>(b, relu) as u16 | (fp8::encode::<S>(a, relu) as u16) << 8
}

/// Two f32 to e2m1x2, `.rn.satfinite`: `a` in the upper nibble, `b` in the lower.
#[inline(always)]
pub fn pack_e2m1(a: f32, b: f32, relu: bool) -> u8 {
    fp8::encode::<fp8::E2m1>(b, relu) | fp8::encode::<fp8::E2m1>(a, relu) << 4
}

/// f16x2 (or bf16x2) to e4m3x2 or e5m2x2, `.rn.satfinite`, halves in order.
#[inline(always)]
pub fn half2_to_small2<H: Half, S: Small>(x: u32, relu: bool) -> u16 {
    let (low, high) = half::unpack(x);
    pack_small::<S>(H::widen(high), H::widen(low), relu)
}

/// e4m3x2 or e5m2x2 to f16x2, exact, bytes in order.
#[inline(always)]
pub fn small2_to_f16x2<S: Small>(x: u16, relu: bool) -> u32 {
    let one = |code: u8| {
        let h = fp8::to_f16::<S>(code);
        if relu { half::relu::<half::F16>(h) } else { h }
    };
    half::pack(one(x as u8), one((x >> 8) as u8))
}

/// e2m1x2 to f16x2, exact, nibbles in order.
#[inline(always)]
pub fn e2m1x2_to_f16x2(x: u8, relu: bool) -> u32 {
    small2_to_f16x2::<fp8::E2m1>((x & 0xf) as u16 | (x as u16 >> 4) << 8, relu)
}

/// How `cvt` to `.tf32` rounds.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Tf32Rounding {
    /// `.rna`: to nearest, ties away from zero.
    Rna,
    /// `.rn`: to nearest, ties to even.
    Rn,
    /// `.rz`: toward zero.
    Rz,
}

/// f32 to tf32 (10 fraction bits in an f32 register, the lower 13 bits zero).
#[inline(always)]
pub fn f32_to_tf32(x: f32, round: Tf32Rounding, relu: bool, satfinite: bool) -> u32 {
    let bits = x.to_bits();
    if x.is_nan() {
        return round::NAN32;
    }
    let magnitude = bits & 0x7fff_ffff;
    let magnitude = match round {
        Tf32Rounding::Rna => magnitude + 0x1000,
        Tf32Rounding::Rn => magnitude + 0xfff + (magnitude >> 13 & 1),
        Tf32Rounding::Rz => magnitude,
    } & !0x1fff;
    let magnitude = if satfinite { magnitude.min(0x7f7f_e000) } else { magnitude.min(0x7f80_0000) };
    let negative = bits >> 31 == 1;
    if negative && relu { 0 } else { magnitude | bits & 0x8000_0000 }
}

/// `cvt.pack`: a and b, each saturated to so many bits, a above b, both below what c has.
pub fn pack(a: i32, b: i32, c: u32, bits: u32, signed: bool) -> u32 {
    let (min, max) = if signed { (-1 << (bits - 1), (1 << (bits - 1)) - 1) } else { (0, (1 << bits) - 1) };
    let field = |x: i32| x.clamp(min, max) as u32 & ((1 << bits) - 1);
    (u64::from(c) << (2 * bits)) as u32 | field(a) << bits | field(b)
}
