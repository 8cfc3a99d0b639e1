//! f16 and bf16: conversions to and from f32, arithmetic with one rounding, min, max, compare (PTX ISA 9.7.4).
//!
//! Values are bit patterns in `u16`; packed x2 forms are two calls. Sums, differences and products are formed in f32 and rounded once more:
//! f32 has at least twice the precision plus two bits, so that the second rounding sees what the exact value would show it
//! (Figueroa, "When is double rounding innocuous?", 1995). `fma` rounds its sum to odd first.

use super::round::{self, Rounding, canonical, narrow_odd};

/// A 16-bit float format.
pub trait Half {
    /// Bits of the fraction.
    const FRACTION: u32;
    /// The smallest normal magnitude, as bits.
    const MIN_NORMAL: u16;
    /// The canonical NaN.
    const NAN: u16 = 0x7fff;
    /// The infinity, as bits.
    const INFINITY: u16;
    /// 1.0, as bits.
    const ONE: u16;
    /// To f32, exact. NaN becomes the canonical NaN of f32.
    fn widen(h: u16) -> f32;
    /// From f32, to nearest even. NaN becomes [`Half::NAN`].
    fn nearest(x: f32) -> u16;
    /// `a * b + c` as an f32 that rounds to the fused result by [`Half::nearest`].
    fn fused(a: f32, b: f32, c: f32) -> f32;
}

/// IEEE binary16.
#[derive(Clone, Copy, Debug)]
pub struct F16;
/// bfloat16: the upper half of an f32.
#[derive(Clone, Copy, Debug)]
pub struct Bf16;

impl Half for F16 {
    const FRACTION: u32 = 10;
    const MIN_NORMAL: u16 = 0x0400;
    const INFINITY: u16 = 0x7c00;
    const ONE: u16 = 0x3c00;

    #[inline(always)]
    fn widen(h: u16) -> f32 {
        f16_to_f32(h)
    }

    #[inline(always)]
    fn nearest(x: f32) -> u16 {
        f32_to_f16(x)
    }

    #[inline(always)]
    fn fused(a: f32, b: f32, c: f32) -> f32 {
        // The product (22 bits, a multiple of 2^-48) is exact in f32. TwoSum, then round to odd as in `round::add_odd`.
        let p = a * b;
        let sum = p + c;
        let c_part = sum - p;
        let error = (p - (sum - c_part)) + (c - c_part);
        let bits = sum.to_bits();
        let inexact = (error > 0.0) | (error < 0.0);
        let grow = (error > 0.0) == (sum > 0.0);
        let stepped = if grow { bits.wrapping_add(1) } else { bits.wrapping_sub(1) };
        f32::from_bits(if inexact & (bits & 1 == 0) { stepped } else { bits })
    }
}

impl Half for Bf16 {
    const FRACTION: u32 = 7;
    const MIN_NORMAL: u16 = 0x0080;
    const INFINITY: u16 = 0x7f80;
    const ONE: u16 = 0x3f80;

    #[inline(always)]
    fn widen(h: u16) -> f32 {
        bf16_to_f32(h)
    }

    #[inline(always)]
    fn nearest(x: f32) -> u16 {
        f32_to_bf16(x)
    }

    #[inline(always)]
    fn fused(a: f32, b: f32, c: f32) -> f32 {
        narrow_odd(round::add_odd(a as f64 * b as f64, c as f64)) // bf16 has f32's range: f64 keeps products from underflow
    }
}

/// f16 to f32, exact; NaN to the canonical NaN (`cvt.f32.f16`).
#[inline(always)]
pub fn f16_to_f32(h: u16) -> f32 {
    let value = f16_bits_to_f32(h as u32);
    f32::from_bits(if h & 0x7fff > 0x7c00 { round::NAN32 } else { value.to_bits() })
}

/// [`f16_to_f32`] of the lower half of a register, with NaN payloads kept. No subnormal f32 is ever an operand: processors are slow on those.
#[inline(always)]
pub(super) fn f16_bits_to_f32(h: u32) -> f32 {
    let magnitude = (h & 0x7fff) << 13;
    let exponent = magnitude & (0x7c00 << 13);
    // The exponent fields differ by 112, by 224 for infinity and NaN. A subnormal is read as 2^-14 times 1.fraction, less 2^-14.
    let moved = magnitude + if exponent == 0x7c00 << 13 { 224 << 23 } else { 112 << 23 };
    let tiny = exponent == 0;
    let lifted = moved + if tiny { 1 << 23 } else { 0 };
    let excess = if tiny { 113 << 23 } else { 0 };
    let value = f32::from_bits(lifted) - f32::from_bits(excess);
    f32::from_bits(value.to_bits() | (h & 0x8000) << 16)
}

/// f32 to f16, to nearest even; NaN to `0x7fff` (`cvt.rn.f16.f32`).
#[inline(always)]
pub fn f32_to_f16(x: f32) -> u16 {
    let bits = x.to_bits();
    let magnitude = bits & 0x7fff_ffff;
    // Normal: drop 13 bits to nearest even, exponent field moved by 112. A carry runs into the exponent as it should.
    let normal = magnitude.wrapping_add((magnitude >> 13 & 1) + 0xfff).wrapping_sub(112 << 23) >> 13;
    // Below 2^-14: adding 0.5 puts the last place of the sum at 2^-24, f16's smallest step, and the f32 addition rounds there.
    let subnormal = (f32::from_bits(magnitude) + 0.5).to_bits().wrapping_sub(0.5f32.to_bits());
    let finite = if magnitude < 113 << 23 { subnormal } else { normal };
    // 65520 and more, the tie above the largest finite value included, round to infinity.
    let number = if magnitude >= 0x477f_f000 { 0x7c00 } else { finite };
    let sign = bits >> 16 & 0x8000;
    (if magnitude > 0x7f80_0000 { 0x7fff } else { number | sign }) as u16
}

/// bf16 to f32, exact; NaN to the canonical NaN (`cvt.f32.bf16`).
#[inline(always)]
pub fn bf16_to_f32(h: u16) -> f32 {
    canonical(f32::from_bits((h as u32) << 16))
}

/// f32 to bf16, to nearest even; NaN to `0x7fff` (`cvt.rn.bf16.f32`).
#[inline(always)]
pub fn f32_to_bf16(x: f32) -> u16 {
    let bits = x.to_bits();
    let rounded = bits.wrapping_add(0x7fff + (bits >> 16 & 1)) >> 16;
    (if bits & 0x7fff_ffff > 0x7f80_0000 { 0x7fff } else { rounded }) as u16
}

/// f32 to a half format in any rounding; NaN to `0x7fff`.
#[inline(always)]
pub fn from_f32<H: Half>(x: f32, round: Rounding) -> u16 {
    let near = H::nearest(x);
    let (up, down) = match round {
        Rounding::Rn => return near,
        Rounding::Rz => (x < 0.0, x > 0.0),
        Rounding::Rm => (false, true),
        Rounding::Rp => (true, false),
    };
    // Nearest, then one step back if it went to the wrong side.
    let wide = H::widen(near);
    if wide > x && down {
        step(near, false)
    } else if wide < x && up {
        step(near, true)
    } else {
        near
    }
}

/// The neighbour above or below.
#[inline(always)]
fn step(h: u16, up: bool) -> u16 {
    let negative = h & 0x8000 != 0;
    if h & 0x7fff == 0 {
        if up { 0x0001 } else { 0x8001 }
    } else if up != negative {
        h + 1
    } else {
        h - 1
    }
}

/// f64 to a half format in any rounding; NaN to `0x7fff`.
#[inline(always)]
pub fn from_f64<H: Half>(x: f64, round: Rounding) -> u16 {
    from_f32::<H>(narrow_odd(x), round)
}

/// The modifiers of half arithmetic.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Default)]
pub struct HalfMode {
    /// Subnormal inputs and results become zero, sign kept (f16 only).
    pub ftz: bool,
    /// The result is clamped to 0..1, NaN to +0 (f16 only).
    pub sat: bool,
    /// A negative result becomes +0, NaN stays NaN.
    pub relu: bool,
}

/// `.ftz`: a subnormal becomes zero of its sign.
#[inline(always)]
pub fn flush<H: Half>(h: u16) -> u16 {
    if h & 0x7fff < H::MIN_NORMAL { h & 0x8000 } else { h }
}

/// Whether the pattern is NaN.
#[inline(always)]
pub fn is_nan<H: Half>(h: u16) -> bool {
    h & 0x7fff > H::INFINITY
}

#[inline(always)]
fn input<H: Half>(h: u16, mode: HalfMode) -> f32 {
    H::widen(if mode.ftz { flush::<H>(h) } else { h })
}

#[inline(always)]
fn output<H: Half>(x: f32, mode: HalfMode) -> u16 {
    let h = H::nearest(x);
    let h = if mode.ftz { flush::<H>(h) } else { h };
    if mode.sat {
        saturate::<H>(h)
    } else if mode.relu {
        relu::<H>(h)
    } else {
        h
    }
}

/// `.sat`: clamp to 0..1, NaN to +0.
#[inline(always)]
pub fn saturate<H: Half>(h: u16) -> u16 {
    if h > H::INFINITY {
        0 // negative or NaN
    } else {
        h.min(H::ONE)
    }
}

/// `.relu`: negative to +0, NaN to the canonical NaN.
#[inline(always)]
pub fn relu<H: Half>(h: u16) -> u16 {
    if is_nan::<H>(h) {
        H::NAN
    } else if h & 0x8000 != 0 {
        0
    } else {
        h
    }
}

/// `add` (9.7.4.1).
#[inline(always)]
pub fn add<H: Half>(a: u16, b: u16, mode: HalfMode) -> u16 {
    output::<H>(input::<H>(a, mode) + input::<H>(b, mode), mode)
}

/// `sub` (9.7.4.2).
#[inline(always)]
pub fn sub<H: Half>(a: u16, b: u16, mode: HalfMode) -> u16 {
    output::<H>(input::<H>(a, mode) - input::<H>(b, mode), mode)
}

/// `mul` (9.7.4.3).
#[inline(always)]
pub fn mul<H: Half>(a: u16, b: u16, mode: HalfMode) -> u16 {
    output::<H>(input::<H>(a, mode) * input::<H>(b, mode), mode)
}

/// `fma` (9.7.4.4).
#[inline(always)]
pub fn fma<H: Half>(a: u16, b: u16, c: u16, mode: HalfMode) -> u16 {
    output::<H>(H::fused(input::<H>(a, mode), input::<H>(b, mode), input::<H>(c, mode)), mode)
}

/// `neg` (9.7.4.5): flips the sign, of NaN as well.
#[inline(always)]
pub fn neg<H: Half>(a: u16, ftz: bool) -> u16 {
    (if ftz { flush::<H>(a) } else { a }) ^ 0x8000
}

/// `abs` (9.7.4.6): clears the sign, of NaN as well.
#[inline(always)]
pub fn abs<H: Half>(a: u16, ftz: bool) -> u16 {
    (if ftz { flush::<H>(a) } else { a }) & 0x7fff
}

/// `min` (`MAX` false) and `max` (`MAX` true), 9.7.4.7 and 9.7.4.8; the modes mean what they mean for f32.
#[inline(always)]
pub fn extreme<H: Half, const MAX: bool>(a: u16, b: u16, mode: round::ExtremeMode) -> u16 {
    let (mut a, mut b) = if mode.ftz { (flush::<H>(a), flush::<H>(b)) } else { (a, b) };
    let sign = (a ^ b) & 0x8000;
    if mode.xorsign {
        (a, b) = (a & 0x7fff, b & 0x7fff);
    }
    // Bits in an order of which -0 is below +0.
    let ordered = |h: u16| (h as i16) ^ ((h as i16 >> 15) as u16 >> 1) as i16;
    let (a_nan, b_nan) = (is_nan::<H>(a), is_nan::<H>(b));
    let a_wins = if MAX { ordered(a) > ordered(b) } else { ordered(a) < ordered(b) };
    let number = if (a_wins | b_nan) & !a_nan { a } else { b };
    let number = if mode.xorsign { number | sign } else { number };
    let nan = if mode.nan { a_nan | b_nan } else { a_nan & b_nan };
    if nan { H::NAN } else { number }
}

/// Two halves in a register, the first in the lower one.
#[inline(always)]
pub fn pack(low: u16, high: u16) -> u32 {
    low as u32 | (high as u32) << 16
}

/// The lower and the upper half of a register.
#[inline(always)]
pub fn unpack(x: u32) -> (u16, u16) {
    (x as u16, (x >> 16) as u16)
}

// `both*` call their closure in one place, in a loop of two: a closure that is called once is inlined whatever its size, and only then do the
// 32 lanes of the caller vectorise.

/// An operation on both halves of a packed operand.
#[inline(always)]
pub fn both1(a: u32, f: impl Fn(u16) -> u16) -> u32 {
    let mut packed = 0;
    for at in [0, 16] {
        packed |= (f((a >> at) as u16) as u32) << at;
    }
    packed
}

/// An operation on both halves of two packed operands.
#[inline(always)]
pub fn both2(a: u32, b: u32, f: impl Fn(u16, u16) -> u16) -> u32 {
    let mut packed = 0;
    for at in [0, 16] {
        packed |= (f((a >> at) as u16, (b >> at) as u16) as u32) << at;
    }
    packed
}

/// An operation on both halves of three packed operands.
#[inline(always)]
pub fn both3(a: u32, b: u32, c: u32, f: impl Fn(u16, u16, u16) -> u16) -> u32 {
    let mut packed = 0;
    for at in [0, 16] {
        packed |= (f((a >> at) as u16, (b >> at) as u16, (c >> at) as u16) as u32) << at;
    }
    packed
}

/// The lower and the upper halves of a register as f32, NaN payloads kept. With `FAST` by the processor's own conversion.
///
/// # Safety
/// With `FAST` the processor has AVX2 and F16C.
#[inline(always)]
pub unsafe fn widen_lanes<const FAST: bool>(register: &[u32; 32]) -> [[f32; 32]; 2] {
    #[cfg(target_arch = "x86_64")]
    if FAST {
        // SAFETY: the caller's promise.
        return unsafe { f16c::widen(register) };
    }
    let mut parts = [[0.0; 32]; 2];
    for l in 0..32 {
        parts[0][l] = f16_bits_to_f32(register[l]);
        parts[1][l] = f16_bits_to_f32(register[l] >> 16);
    }
    parts
}

/// Two values for each lane to f16, to nearest, the first to the lower half of the register.
///
/// # Safety
/// As [`widen_lanes`].
#[inline(always)]
pub unsafe fn narrow_lanes<const FAST: bool>(values: &[[f32; 32]; 2]) -> [u32; 32] {
    #[cfg(target_arch = "x86_64")]
    if FAST {
        // SAFETY: the caller's promise.
        return unsafe { f16c::narrow(values) };
    }
    let mut register = [0; 32];
    for l in 0..32 {
        register[l] = pack(f32_to_f16(values[0][l]), f32_to_f16(values[1][l]));
    }
    register
}

/// The same by the processor's conversions, eight lanes at a time.
#[cfg(target_arch = "x86_64")]
mod f16c {
    use core::arch::x86_64::*;

    #[inline]
    #[target_feature(enable = "avx2,f16c")]
    pub(super) fn widen(register: &[u32; 32]) -> [[f32; 32]; 2] {
        let mut parts = [[0.0; 32]; 2];
        for at in [0, 8, 16, 24] {
            // SAFETY: eight words of the register, and eight places of each part.
            unsafe {
                let words = _mm256_loadu_si256(register.as_ptr().add(at).cast());
                let (low, high) = (_mm256_and_si256(words, _mm256_set1_epi32(0xffff)), _mm256_srli_epi32(words, 16));
                // Quarters of the pack: low 0..4, high 0..4, low 4..8, high 4..8.
                let halves = _mm256_permute4x64_epi64::<0b11_01_10_00>(_mm256_packus_epi32(low, high));
                _mm256_storeu_ps(parts[0].as_mut_ptr().add(at), _mm256_cvtph_ps(_mm256_castsi256_si128(halves)));
                _mm256_storeu_ps(parts[1].as_mut_ptr().add(at), _mm256_cvtph_ps(_mm256_extracti128_si256::<1>(halves)));
            }
        }
        parts
    }

    #[inline]
    #[target_feature(enable = "avx2,f16c")]
    pub(super) fn narrow(values: &[[f32; 32]; 2]) -> [u32; 32] {
        let mut register = [0; 32];
        for at in [0, 8, 16, 24] {
            let half = |part: &[f32; 32]| {
                // SAFETY: eight of 32 values.
                let x = unsafe { _mm256_loadu_ps(part.as_ptr().add(at)) };
                let bits = _mm256_cvtepu16_epi32(_mm256_cvtps_ph::<_MM_FROUND_TO_NEAREST_INT>(x));
                let nan = _mm256_castps_si256(_mm256_cmp_ps::<_CMP_UNORD_Q>(x, x));
                _mm256_blendv_epi8(bits, _mm256_set1_epi32(0x7fff), nan)
            };
            let (low, high) = (half(&values[0]), half(&values[1]));
            let words = _mm256_or_si256(low, _mm256_slli_epi32(high, 16));
            // SAFETY: eight of 32 places.
            unsafe { _mm256_storeu_si256(register.as_mut_ptr().add(at).cast(), words) };
        }
        register
    }
}
