//! f32 and f64 arithmetic (PTX ISA 9.7.3): add, sub, mul, fma, div, sqrt, rcp in the four roundings, `.ftz`, `.sat`, min and max.
//!
//! Round to nearest is the processor's own. Directed rounding of f32 never touches the processor's mode: the result is formed in
//! f64 exactly, or rounded *to odd* (an inexact value takes the neighbour whose last bit is 1), which keeps everything a later rounding to
//! at most 51 bits needs to know (Boldo and Melquiond, "Emulation of FMA and correctly rounded sums", 2008). Directed f64 is
//! [`soft64`].

use super::soft64;

/// The direction of an inexact result.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Rounding {
    /// `.rn`: to nearest, ties to even.
    Rn,
    /// `.rz`: toward zero.
    Rz,
    /// `.rm`: toward minus infinity.
    Rm,
    /// `.rp`: toward plus infinity.
    Rp,
}

/// The modifiers of an f32 or f64 arithmetic instruction.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct FloatMode {
    /// Rounding of the result.
    pub round: Rounding,
    /// Subnormal inputs and results become zero, sign kept (f32 only).
    pub ftz: bool,
    /// The result is clamped to 0..1, NaN to +0.
    pub sat: bool,
}

impl FloatMode {
    /// `.rn` alone.
    pub const RN: FloatMode = FloatMode { round: Rounding::Rn, ftz: false, sat: false };
    /// `.rn.ftz`.
    pub const RN_FTZ: FloatMode = FloatMode { round: Rounding::Rn, ftz: true, sat: false };
}

/// The canonical NaN of f32.
pub const NAN32: u32 = 0x7fff_ffff;
/// The canonical NaN of f64 (CUDART_NAN).
pub const NAN64: u64 = 0xfff8_0000_0000_0000;

/// NaN made canonical.
#[inline(always)]
pub fn canonical(x: f32) -> f32 {
    // On the bits: the optimiser drops a choice between a float and another NaN.
    let bits = x.to_bits();
    f32::from_bits(if bits & 0x7fff_ffff > 0x7f80_0000 { NAN32 } else { bits })
}

/// NaN made canonical.
#[inline(always)]
pub fn canonical64(x: f64) -> f64 {
    let bits = x.to_bits();
    f64::from_bits(if bits & (u64::MAX >> 1) > 0x7ff0_0000_0000_0000 { NAN64 } else { bits })
}

/// `.ftz`: a subnormal becomes zero of its sign.
#[inline(always)]
pub fn flush(x: f32) -> f32 {
    let bits = x.to_bits();
    f32::from_bits(if bits & 0x7f80_0000 == 0 { bits & 0x8000_0000 } else { bits })
}

/// `.sat`: clamp to 0..1, NaN to +0.
#[inline(always)]
pub fn saturate(x: f32) -> f32 {
    let low = if x > 0.0 { x } else { 0.0 };
    if low < 1.0 { low } else { 1.0 }
}

/// `.sat` on f64.
#[inline(always)]
pub fn saturate64(x: f64) -> f64 {
    let low = if x > 0.0 { x } else { 0.0 };
    if low < 1.0 { low } else { 1.0 }
}

/// An input under `.ftz`.
#[inline(always)]
fn input(x: f32, mode: FloatMode) -> f32 {
    if mode.ftz { flush(x) } else { x }
}

/// A result under `.ftz` and `.sat`, NaN canonical.
#[inline(always)]
fn output(x: f32, mode: FloatMode) -> f32 {
    let x = if mode.ftz { flush(x) } else { x };
    if mode.sat { saturate(x) } else { canonical(x) }
}

#[inline(always)]
fn output64(x: f64, mode: FloatMode) -> f64 {
    if mode.sat { saturate64(x) } else { canonical64(x) }
}

/// The next f32 toward minus infinity of a value that is not NaN and not minus infinity.
#[inline(always)]
fn below(x: f32) -> f32 {
    let bits = x.to_bits();
    let stepped = if (bits as i32) < 0 { bits + 1 } else { bits.wrapping_sub(1) };
    f32::from_bits(if x == 0.0 { 0x8000_0001 } else { stepped })
}

/// f64 to f32 in the given rounding. NaN stays some NaN.
#[inline(always)]
pub fn narrow(x: f64, round: Rounding) -> f32 {
    let near = x as f32;
    let wide = near as f64;
    match round {
        Rounding::Rn => near,
        Rounding::Rz => {
            let step = wide.abs() > x.abs();
            f32::from_bits(near.to_bits() - step as u32)
        }
        Rounding::Rm => {
            if wide > x {
                below(near)
            } else {
                near
            }
        }
        Rounding::Rp => {
            if wide < x {
                -below(-near)
            } else {
                near
            }
        }
    }
}

/// f64 to f32 rounded to odd: exact, or the neighbour with last bit 1 (the largest finite value on overflow).
#[inline(always)]
pub fn narrow_odd(x: f64) -> f32 {
    let near = x as f32;
    let wide = near as f64;
    let bits = near.to_bits();
    let toward_zero = wide.abs() > x.abs();
    let away = wide.abs() < x.abs();
    // `toward_zero | away` is false for NaN and for exact values. Stepping an even pattern by one makes it odd.
    let even = bits & 1 == 0;
    let stepped = if toward_zero { bits.wrapping_sub(1) } else { bits.wrapping_add(1) };
    f32::from_bits(if (toward_zero | away) & even { stepped } else { bits })
}

/// `a + b` in f64 rounded to odd. Needs |a|, |b| far from f64's limits, as sums and products of f32 values are.
#[inline(always)]
pub fn add_odd(a: f64, b: f64) -> f64 {
    let sum = a + b;
    // TwoSum (Knuth): `error` is exactly a + b - sum, and NaN when the sum is not finite.
    let b_part = sum - a;
    let error = (a - (sum - b_part)) + (b - b_part);
    let bits = sum.to_bits();
    let inexact = (error > 0.0) | (error < 0.0);
    let grow = (error > 0.0) == (sum > 0.0);
    let stepped = if grow { bits.wrapping_add(1) } else { bits.wrapping_sub(1) };
    f64::from_bits(if inexact & (bits & 1 == 0) { stepped } else { bits })
}

/// A directed sum `a + b`, both exact in f64, to f32.
#[inline(always)]
fn directed_sum(a: f64, b: f64, round: Rounding) -> f32 {
    let sum = add_odd(a, b);
    // An exact zero from operands of unlike sign is -0 toward minus infinity (IEEE 754, 6.3).
    let negative_zero = round == Rounding::Rm && sum == 0.0 && a.is_sign_negative() != b.is_sign_negative();
    if negative_zero { -0.0 } else { narrow(sum, round) }
}

/// `add.f32` (9.7.3.4).
#[inline(always)]
pub fn add(a: f32, b: f32, mode: FloatMode) -> f32 {
    let (a, b) = (input(a, mode), input(b, mode));
    let sum = match mode.round {
        Rounding::Rn => a + b,
        round => directed_sum(a as f64, b as f64, round),
    };
    output(sum, mode)
}

/// `sub.f32` (9.7.3.5).
#[inline(always)]
pub fn sub(a: f32, b: f32, mode: FloatMode) -> f32 {
    add(a, -b, mode)
}

/// `mul.f32` (9.7.3.6).
#[inline(always)]
pub fn mul(a: f32, b: f32, mode: FloatMode) -> f32 {
    let (a, b) = (input(a, mode), input(b, mode));
    let product = match mode.round {
        Rounding::Rn => a * b,
        round => narrow(a as f64 * b as f64, round), // 48 bits: the f64 product is exact
    };
    output(product, mode)
}

/// `fma.f32`, `mad.f32` (9.7.3.7).
#[inline(always)]
pub fn fma(a: f32, b: f32, c: f32, mode: FloatMode) -> f32 {
    let (a, b, c) = (input(a, mode), input(b, mode), input(c, mode));
    let value = match mode.round {
        Rounding::Rn => a.mul_add(b, c),
        round => directed_sum(a as f64 * b as f64, c as f64, round),
    };
    output(value, mode)
}

/// `div.f32` (9.7.3.9). A quotient of f32 values is exact in 24 bits or at least 2^-48 (relative) away from any value of 25 bits, so that
/// the f64 quotient is on its side.
#[inline(always)]
pub fn div(a: f32, b: f32, mode: FloatMode) -> f32 {
    let (a, b) = (input(a, mode), input(b, mode));
    let quotient = match mode.round {
        Rounding::Rn => a / b,
        round => narrow(a as f64 / b as f64, round),
    };
    output(quotient, mode)
}

/// `rcp.f32` with a rounding (9.7.3.14).
#[inline(always)]
pub fn rcp(a: f32, mode: FloatMode) -> f32 {
    div(1.0, a, mode)
}

/// `sqrt.f32` with a rounding (9.7.3.16). The f64 root lies on the side of the exact one, as for [`div`].
#[inline(always)]
pub fn sqrt(a: f32, mode: FloatMode) -> f32 {
    let a = input(a, mode);
    let root = match mode.round {
        Rounding::Rn => a.sqrt(),
        round => narrow((a as f64).sqrt(), round),
    };
    output(root, mode)
}

/// `abs.f32`: clears the sign, of NaN as well.
#[inline(always)]
pub fn abs(a: f32, ftz: bool) -> f32 {
    let a = f32::from_bits(a.to_bits() & 0x7fff_ffff);
    if ftz { flush(a) } else { a }
}

/// `neg.f32`: flips the sign, of NaN as well.
#[inline(always)]
pub fn neg(a: f32, ftz: bool) -> f32 {
    let a = f32::from_bits(a.to_bits() ^ 0x8000_0000);
    if ftz { flush(a) } else { a }
}

/// `copysign.f32 d, a, b`: `b` with the sign of `a` (9.7.3.2).
#[inline(always)]
pub fn copysign(a: f32, b: f32) -> f32 {
    f32::from_bits((b.to_bits() & 0x7fff_ffff) | (a.to_bits() & 0x8000_0000))
}

/// `copysign.f64`.
#[inline(always)]
pub fn copysign64(a: f64, b: f64) -> f64 {
    f64::from_bits((b.to_bits() & !(1 << 63)) | (a.to_bits() & (1 << 63)))
}

/// What `testp` asks (9.7.3.1).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Property {
    /// Neither infinite nor NaN.
    Finite,
    /// Plus or minus infinity.
    Infinite,
    /// Not NaN.
    Number,
    /// NaN.
    NotANumber,
    /// Not zero, subnormal, infinite or NaN.
    Normal,
    /// Subnormal. Zero is not.
    Subnormal,
}

/// `testp.f32`.
#[inline(always)]
pub fn testp(a: f32, property: Property) -> bool {
    testp64_parts(property, a.is_nan(), a.is_infinite(), a == 0.0, a.abs() < f32::MIN_POSITIVE)
}

/// `testp.f64`.
#[inline(always)]
pub fn testp64(a: f64, property: Property) -> bool {
    testp64_parts(property, a.is_nan(), a.is_infinite(), a == 0.0, a.abs() < f64::MIN_POSITIVE)
}

#[inline(always)]
fn testp64_parts(property: Property, nan: bool, infinite: bool, zero: bool, small: bool) -> bool {
    match property {
        Property::Finite => !nan && !infinite,
        Property::Infinite => infinite,
        Property::Number => !nan,
        Property::NotANumber => nan,
        Property::Normal => !nan && !infinite && (!small || zero), // zero counts as normal
        Property::Subnormal => small && !zero,
    }
}

/// The modifiers of `min` and `max` (9.7.3.11, 9.7.3.12).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Default)]
pub struct ExtremeMode {
    /// `.ftz`.
    pub ftz: bool,
    /// `.NaN`: a NaN operand gives NaN; without it the other operand is the result.
    pub nan: bool,
    /// `.xorsign.abs`: compare magnitudes; the sign is the exclusive or of the operands' signs.
    pub xorsign: bool,
}

/// Bits whose order as i32 is the order of the floats, with -0 below +0.
#[inline(always)]
fn ordered(x: f32) -> i32 {
    let bits = x.to_bits() as i32;
    bits ^ ((bits >> 31) as u32 >> 1) as i32
}

/// `min.f32` (`MAX` false) or `max.f32` (`MAX` true).
#[inline(always)]
pub fn extreme<const MAX: bool>(a: f32, b: f32, mode: ExtremeMode) -> f32 {
    let (mut a, mut b) = if mode.ftz { (flush(a), flush(b)) } else { (a, b) };
    let sign = (a.to_bits() ^ b.to_bits()) & 0x8000_0000;
    if mode.xorsign {
        (a, b) = (a.abs(), b.abs());
    }
    let a_wins = if MAX { ordered(a) > ordered(b) } else { ordered(a) < ordered(b) };
    let number = if a_wins { a } else { b };
    let number = if b.is_nan() { a } else { number };
    let number = if a.is_nan() { b } else { number };
    let number = if mode.xorsign { f32::from_bits(number.to_bits() | sign) } else { number };
    let nan = if mode.nan { a.is_nan() | b.is_nan() } else { a.is_nan() & b.is_nan() };
    if nan { f32::from_bits(NAN32) } else { number }
}

/// `min.f32`.
#[inline(always)]
pub fn min(a: f32, b: f32, mode: ExtremeMode) -> f32 {
    extreme::<false>(a, b, mode)
}

/// `max.f32`.
#[inline(always)]
pub fn max(a: f32, b: f32, mode: ExtremeMode) -> f32 {
    extreme::<true>(a, b, mode)
}

/// `min.f64` (`MAX` false) or `max.f64` (`MAX` true): a single NaN loses, -0 is below +0.
#[inline(always)]
pub fn extreme64<const MAX: bool>(a: f64, b: f64) -> f64 {
    let ordered = |x: f64| {
        let bits = x.to_bits() as i64;
        bits ^ ((bits >> 63) as u64 >> 1) as i64
    };
    let a_wins = if MAX { ordered(a) > ordered(b) } else { ordered(a) < ordered(b) };
    let number = if (a_wins | b.is_nan()) & !a.is_nan() { a } else { b };
    canonical64(number)
}

/// `add.f64`.
#[inline(always)]
pub fn add64(a: f64, b: f64, mode: FloatMode) -> f64 {
    let sum = match mode.round {
        Rounding::Rn => a + b,
        round => soft64::fma(a, 1.0, b, round),
    };
    output64(sum, mode)
}

/// `sub.f64`.
#[inline(always)]
pub fn sub64(a: f64, b: f64, mode: FloatMode) -> f64 {
    add64(a, -b, mode)
}

/// `mul.f64`.
#[inline(always)]
pub fn mul64(a: f64, b: f64, mode: FloatMode) -> f64 {
    let product = match mode.round {
        Rounding::Rn => a * b,
        round => soft64::mul(a, b, round),
    };
    output64(product, mode)
}

/// `fma.f64`.
#[inline(always)]
pub fn fma64(a: f64, b: f64, c: f64, mode: FloatMode) -> f64 {
    let value = match mode.round {
        Rounding::Rn => a.mul_add(b, c),
        round => soft64::fma(a, b, c, round),
    };
    output64(value, mode)
}

/// `div.f64`.
#[inline(always)]
pub fn div64(a: f64, b: f64, mode: FloatMode) -> f64 {
    let quotient = match mode.round {
        Rounding::Rn => a / b,
        round => soft64::div(a, b, round),
    };
    output64(quotient, mode)
}

/// `rcp.f64` with a rounding.
#[inline(always)]
pub fn rcp64(a: f64, mode: FloatMode) -> f64 {
    div64(1.0, a, mode)
}

/// `sqrt.f64`.
#[inline(always)]
pub fn sqrt64(a: f64, mode: FloatMode) -> f64 {
    let root = match mode.round {
        Rounding::Rn => a.sqrt(),
        round => soft64::sqrt(a, round),
    };
    output64(root, mode)
}
