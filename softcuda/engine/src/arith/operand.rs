//! Matrix elements as registers hold them: unpacking for [`mma`](super::mma), one implementation for each element type.

use super::fp8::{self, E4m3, E5m2};
use super::half::{self, Bf16, F16};

/// An element type: unpacking from a register. (A trait rather than closures: calls of its functions are always inlined.)
pub(super) trait Operand {
    /// What an element is unpacked to.
    type Value: Copy + Default;
    /// What products are formed of.
    type Wide: Copy + From<Self::Value>;
    /// Fraction bits kept below the largest exponent in truncated sums of floats.
    const KEPT_BITS: i32 = 24;
    /// The smallest normal number. Subnormals have its exponent where products are aligned.
    const LEAST_NORMAL: f64 = f32::MIN_POSITIVE as f64;
    /// Element `i` of a register, exact.
    fn decode(word: u32, i: usize) -> Self::Value;
    /// All elements of a register: element `i` of each lane in array `i`. `FAST`: the processor has F16C and AVX2.
    #[inline(always)]
    fn unpack<const FAST: bool, const E: usize>(register: &[u32; 32]) -> [[Self::Value; 32]; E] {
        let mut parts = [[Self::Value::default(); 32]; E];
        for (i, part) in parts.iter_mut().enumerate() {
            for (value, &word) in part.iter_mut().zip(register) {
                *value = Self::decode(word, i);
            }
        }
        parts
    }
}

/// A float element type.
pub(super) trait FloatOperand: Operand<Value = f32, Wide = f64> {}
impl<T: Operand<Value = f32, Wide = f64>> FloatOperand for T {}

/// An integer element type.
pub(super) trait IntegerOperand: Operand<Value = i32, Wide = i32> {}
impl<T: Operand<Value = i32, Wide = i32>> IntegerOperand for T {}

/// A signed or unsigned integer of `BITS` bits.
pub(super) struct Integer<const BITS: usize, const SIGNED: bool>;

impl<const BITS: usize, const SIGNED: bool> Operand for Integer<BITS, SIGNED> {
    type Value = i32;
    type Wide = i32;
    #[inline(always)]
    fn decode(word: u32, i: usize) -> i32 {
        let shifted = word << (32 - BITS * (i + 1));
        if SIGNED { shifted as i32 >> (32 - BITS) } else { (shifted >> (32 - BITS)) as i32 }
    }
}

impl Operand for F16 {
    type Value = f32;
    type Wide = f64;
    const LEAST_NORMAL: f64 = 1.0 / (1 << 14) as f64;
    #[inline(always)]
    fn decode(word: u32, i: usize) -> f32 {
        half::f16_bits_to_f32(word >> (16 * i))
    }
    #[inline(always)]
    fn unpack<const FAST: bool, const E: usize>(register: &[u32; 32]) -> [[f32; 32]; E] {
        if FAST && E == 2 {
            let mut parts = [[0.0; 32]; E];
            // SAFETY: FAST is set by `run_avx2` alone, which runs where f16c and avx2 were detected.
            [parts[0], parts[1]] = unsafe { half::widen_lanes::<true>(register) };
            return parts;
        }
        core::array::from_fn(|i| core::array::from_fn(|lane| Self::decode(register[lane], i)))
    }
}

impl Operand for Bf16 {
    type Value = f32;
    type Wide = f64;
    #[inline(always)]
    fn decode(word: u32, i: usize) -> f32 {
        f32::from_bits((word >> (16 * i)) << 16)
    }
}

/// tf32: the upper 19 bits of a register.
pub(super) struct Tf32;

impl Operand for Tf32 {
    type Value = f32;
    type Wide = f64;
    #[inline(always)]
    fn decode(word: u32, _: usize) -> f32 {
        f32::from_bits(word & !0x1fff)
    }
}

impl Operand for E4m3 {
    type Value = f32;
    type Wide = f64;
    const KEPT_BITS: i32 = 13;
    const LEAST_NORMAL: f64 = 1.0 / (1 << 6) as f64;
    #[inline(always)]
    fn decode(word: u32, i: usize) -> f32 {
        fp8::decode::<E4m3>((word >> (8 * i)) as u8)
    }
}

impl Operand for E5m2 {
    type Value = f32;
    type Wide = f64;
    const KEPT_BITS: i32 = 13;
    const LEAST_NORMAL: f64 = F16::LEAST_NORMAL;
    #[inline(always)]
    fn decode(word: u32, i: usize) -> f32 {
        fp8::decode::<E5m2>((word >> (8 * i)) as u8)
    }
}
