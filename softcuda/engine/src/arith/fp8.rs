//! e4m3, e5m2 and e2m1 codes (PTX ISA 9.7.9.21, `cvt` with `.e4m3x2`, `.e5m2x2`, `.e2m1x2`; OCP OFP8 and MX formats).
//!
//! Encoding is what `.rn.satfinite` does: nearest even, everything beyond the largest finite value (infinity too) becomes that value, NaN
//! becomes `0x7f` (e2m1, which has no NaN: the largest value). Subnormals are rounded, never flushed. A zero keeps its sign.

use super::round::NAN32;

/// A narrow float format with saturating conversion.
pub trait Small {
    /// Bits of the fraction.
    const FRACTION: u32;
    /// Exponent of the smallest normal value.
    const MIN_EXPONENT: i32;
    /// The largest finite code, sign excluded.
    const MAX: u32;
    /// The code of NaN.
    const NAN: u32;
    /// The sign bit.
    const SIGN: u32;
    /// The code of infinity, if the format has one.
    const INFINITY: Option<u32>;
}

/// 4 exponent bits (bias 7), 3 fraction bits, no infinity; largest 448.
#[derive(Clone, Copy, Debug)]
pub struct E4m3;
/// 5 exponent bits (bias 15), 2 fraction bits; largest 57344.
#[derive(Clone, Copy, Debug)]
pub struct E5m2;
/// 2 exponent bits (bias 1), 1 fraction bit, finite only; largest 6.
#[derive(Clone, Copy, Debug)]
pub struct E2m1;

impl Small for E4m3 {
    const FRACTION: u32 = 3;
    const MIN_EXPONENT: i32 = -6;
    const MAX: u32 = 0x7e;
    const NAN: u32 = 0x7f;
    const SIGN: u32 = 0x80;
    const INFINITY: Option<u32> = None;
}

impl Small for E5m2 {
    const FRACTION: u32 = 2;
    const MIN_EXPONENT: i32 = -14;
    const MAX: u32 = 0x7b;
    const NAN: u32 = 0x7f;
    const SIGN: u32 = 0x80;
    const INFINITY: Option<u32> = Some(0x7c);
}

impl Small for E2m1 {
    const FRACTION: u32 = 1;
    const MIN_EXPONENT: i32 = 0;
    const MAX: u32 = 0x7;
    const NAN: u32 = 0x7;
    const SIGN: u32 = 0x8;
    const INFINITY: Option<u32> = None;
}

/// f32 to a code, `.rn.satfinite`; `relu` makes negative results +0 and keeps NaN.
#[inline(always)]
pub fn encode<S: Small>(x: f32, relu: bool) -> u8 {
    let bits = x.to_bits();
    let magnitude = bits & 0x7fff_ffff;
    let drop = 23 - S::FRACTION;
    let bias_step = (127 + S::MIN_EXPONENT - 1) as u32; // f32's exponent field minus the code's
    // Normal: drop bits to nearest even, exponent moved.
    let normal =
        magnitude.wrapping_add((magnitude >> drop & 1) + ((1 << (drop - 1)) - 1)).wrapping_sub(bias_step << 23) >> drop;
    // Below the smallest normal: adding 2^23 steps of the format makes the f32 addition round to a whole step.
    let magic = f32::from_bits(((127 + S::MIN_EXPONENT) as u32 + drop) << 23);
    let subnormal = (f32::from_bits(magnitude) + magic).to_bits().wrapping_sub(magic.to_bits());
    let is_small = magnitude < (bias_step + 1) << 23;
    let code = if is_small { subnormal } else { normal };
    let code = if magnitude >= 0x7f80_0000 { S::MAX } else { code.min(S::MAX) };
    let negative = bits >> 31 == 1;
    let signed = if negative { if relu { 0 } else { code | S::SIGN } } else { code };
    (if magnitude > 0x7f80_0000 { S::NAN } else { signed }) as u8
}

/// A code to f32, exact; NaN to the canonical NaN.
#[inline(always)]
pub fn decode<S: Small>(code: u8) -> f32 {
    let magnitude = code as u32 & (S::SIGN - 1);
    let sign = if code as u32 & S::SIGN != 0 { 0x8000_0000 } else { 0 };
    // The code's fields at f32's place, the exponent moved by the difference of biases. A subnormal code is read as the smallest normal value
    // times 1.fraction, less that value.
    let moved = (magnitude << (23 - S::FRACTION)) + (((126 + S::MIN_EXPONENT) as u32) << 23);
    let tiny = magnitude < 1 << S::FRACTION;
    let lifted = moved + if tiny { 1 << 23 } else { 0 };
    let excess = if tiny { ((127 + S::MIN_EXPONENT) as u32) << 23 } else { 0 };
    let value = f32::from_bits(lifted) - f32::from_bits(excess);
    let nan = magnitude > S::MAX && S::INFINITY != Some(magnitude);
    let infinite = S::INFINITY == Some(magnitude);
    let number = if infinite { 0x7f80_0000 } else { value.to_bits() };
    f32::from_bits(if nan { NAN32 } else { number | sign })
}

/// A code to f16, exact; NaN to the canonical NaN.
#[inline(always)]
pub fn to_f16<S: Small>(code: u8) -> u16 {
    let magnitude = code as u32 & (S::SIGN - 1);
    let number = if S::MIN_EXPONENT == -14 {
        // f16's own exponents: the code is the upper part of the f16.
        magnitude << (10 - S::FRACTION)
    } else {
        // Zero or a normal f16: f32's bits, cut, the exponent moved by 112.
        let bits = decode::<S>(magnitude as u8).to_bits();
        if magnitude == 0 { 0 } else { (bits >> 13).wrapping_sub(112 << 10) }
    };
    let nan = magnitude > S::MAX && S::INFINITY != Some(magnitude);
    let sign = if code as u32 & S::SIGN != 0 { 0x8000 } else { 0 };
    (if nan { 0x7fff } else { number | sign }) as u16
}
