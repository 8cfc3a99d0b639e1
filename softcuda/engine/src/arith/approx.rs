//! The `.approx` instructions: ex2, lg2, rcp, rsqrt, sqrt, div, sin, cos, tanh (PTX ISA 9.7.3, 9.7.4).
//!
//! By default the result is the correctly rounded one. It comes from an f64 evaluation whose error is far below f32's half place; where
//! moving the f64 value by that error could change the rounding, [`Double`] decides. With a seed (`perturb`) the result is moved by a
//! pseudo-random error that depends on operation, input and seed and stays within the ISA's bound, so that nothing can rely on particular
//! bits. Results that the ISA's tables fix (zeros, infinities, NaN) are never moved.

use super::double::{Double, PI_2};
use super::half::{self, Half};
use super::hash;
use super::round::{self, NAN32, Rounding, flush};

/// A stated error bound.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Bound {
    /// In units of the last place of the exact result.
    Ulp(f64),
    /// Relative to the exact result.
    Relative(f64),
    /// Absolute.
    Absolute(f64),
}

const fn power_of_2(exponent: i32) -> f64 {
    f64::from_bits(((1023 + exponent) as u64) << 52)
}

/// ex2.approx{.ftz}.f32: 2 ulp.
pub const EX2: Bound = Bound::Ulp(2.0);
/// rcp.approx{.ftz}.f32: 1 ulp.
pub const RCP: Bound = Bound::Ulp(1.0);
/// div.approx, div.full: 2 ulp.
pub const DIV: Bound = Bound::Ulp(2.0);
/// sqrt.approx{.ftz}.f32: 2^-23 relative.
pub const SQRT: Bound = Bound::Relative(power_of_2(-23));
/// rsqrt.approx{.ftz}.f32: 2^-22.9 relative.
pub const RSQRT: Bound = Bound::Relative(1.071_773_462_536_293 * power_of_2(-23));
/// sin.approx, cos.approx: 2^-20.5 absolute (stated for -pi..pi; kept beyond, where the ISA allows more).
pub const SIN_COS: Bound = Bound::Absolute(core::f64::consts::SQRT_2 * power_of_2(-21));
/// lg2.approx between 0.5 and 2: 2^-22 absolute.
pub const LG2_NEAR_1: Bound = Bound::Absolute(power_of_2(-22));
/// lg2.approx elsewhere: 2^-22 relative.
pub const LG2: Bound = Bound::Relative(power_of_2(-22));
/// tanh.approx.f32: 2^-11 relative.
pub const TANH: Bound = Bound::Relative(power_of_2(-11));
/// ex2.approx.f16: 2^-9.9 relative.
pub const EX2_F16: Bound = Bound::Relative(1.071_773_462_536_293 * power_of_2(-10));
/// ex2.approx.ftz.bf16: 2^-7 relative.
pub const EX2_BF16: Bound = Bound::Relative(power_of_2(-7));
/// tanh.approx.f16: 2^-10.987 absolute.
pub const TANH_F16: Bound = Bound::Absolute(1.009_051_6 * power_of_2(-11));
/// tanh.approx.bf16: 2^-8 absolute.
pub const TANH_BF16: Bound = Bound::Absolute(power_of_2(-8));

impl Bound {
    /// The largest allowed distance from an exact result of type f32.
    pub fn at(self, exact: f64) -> f64 {
        match self {
            Bound::Ulp(n) => {
                let field = (exact.abs().to_bits() >> 52) as i32;
                n * power_of_2((field - 1023 - 23).max(-149))
            }
            Bound::Relative(r) => r * exact.abs(),
            Bound::Absolute(a) => a,
        }
    }
}

/// A value between -1 and 1 from the operation, the input and the seed.
fn noise(operation: u64, input: u64, seed: u64) -> f64 {
    let bits = hash(hash(seed, operation), input);
    (bits >> 11) as f64 * power_of_2(-52) - 1.0
}

/// `rounded`, or a neighbour of the exact value within `bound` if there is a seed. `exact` is right to f64's precision.
#[inline(always)]
fn perturbed(rounded: f32, exact: f64, bound: Bound, operation: u64, input: u64, perturb: Option<u64>) -> f32 {
    match perturb {
        None => rounded,
        Some(seed) => moved(rounded, exact, bound, operation, input, seed),
    }
}

#[inline(never)]
fn moved(rounded: f32, exact: f64, bound: Bound, operation: u64, input: u64, seed: u64) -> f32 {
    // Zero, infinity, NaN are fixed by the tables; subnormal results are left alone (their own last place can exceed a relative bound).
    if !rounded.is_normal() {
        return rounded;
    }
    let allowed = bound.at(exact);
    let candidate = (exact + noise(operation, input, seed) * allowed) as f32;
    // The rounding to f32 may lead out of the bound again.
    if candidate.is_finite() && (candidate as f64 - exact).abs() <= allowed { candidate } else { rounded }
}

/// The f32 nearest to a value that `near` approximates to a relative 2^-48; `decide` gives it to 100 bits.
#[inline(always)]
fn settle(near: f64, decide: impl FnOnce() -> Double) -> f32 {
    let error = near * power_of_2(-48);
    let (low, high) = ((near - error) as f32, (near + error) as f32);
    if low == high { low } else { decide().to_f32() }
}

#[inline(always)]
fn finish(x: f32, ftz: bool) -> f32 {
    round::canonical(if ftz { flush(x) } else { x })
}

/// Horner's rule, separate multiplications and additions.
#[inline(always)]
fn polynomial(x: f64, coefficients: &[f64]) -> f64 {
    let (&first, rest) = coefficients.split_last().expect("a polynomial has coefficients");
    rest.iter().rev().fold(first, |value, &c| value * x + c)
}

/// (2^r - 1) / r on -0.5..0.5, interpolated at Chebyshev nodes; 2^-56 relative to 2^r.
const EXP2: [f64; 12] = [
    core::f64::consts::LN_2,
    0.24022650695910072,
    0.055504108664821625,
    0.00961812910762848,
    0.001333355814640647,
    0.00015403530393370734,
    1.5252733841556773e-05,
    1.3215486808705563e-06,
    1.0178057087733941e-07,
    7.0548973041554995e-09,
    4.4558179083360645e-10,
    2.5729324177362305e-11,
];

/// 2^x in f64 for |x| up to 1000, to about 2^-53 and rounded to odd, so that a later rounding to f32 sees on which side of a tie it lies.
/// No branches: 32 lanes vectorise.
#[inline(always)]
fn exp2_f64(x: f64) -> f64 {
    const MAGIC: f64 = 1.5 * 4_503_599_627_370_496.0; // 1.5 * 2^52: adding it rounds to an integer
    let shifted = x + MAGIC;
    let n = shifted - MAGIC;
    let r = x - n;
    let part = r * polynomial(r, &EXP2);
    let fraction = 1.0 + part;
    let error = part - (fraction - 1.0);
    let bits = fraction.to_bits();
    let stepped = if error > 0.0 { bits.wrapping_add(1) } else { bits.wrapping_sub(1) };
    let odd = if (error != 0.0) & (bits & 1 == 0) { stepped } else { bits };
    // The low bits of `shifted` hold n; added to the exponent field of the fraction, which is normal.
    let exponent = shifted.to_bits().wrapping_sub(MAGIC.to_bits()) << 52;
    f64::from_bits(odd.wrapping_add(exponent))
}

/// `ex2.approx.f32`, rounded: the hot path of softmax. Every f32 input gives the correctly rounded result (tests/arith_approx.rs holds the
/// hardest ones), so nothing has to be decided at run time.
#[inline(always)]
pub fn ex2_rounded(x: f32) -> f32 {
    // Beyond these the results are infinity and zero anyway.
    let capped = if x > 200.0 { 200.0 } else { x };
    let capped = if capped < -200.0 { -200.0 } else { capped };
    let y = exp2_f64(capped as f64) as f32;
    if x.is_nan() { f32::from_bits(NAN32) } else { y }
}

/// `ex2.approx{.ftz}.f32`. Powers of two are exact in every mode: NVIDIA's own mathematical library builds double-precision functions on that.
#[inline(always)]
pub fn ex2(x: f32, ftz: bool, perturb: Option<u64>) -> f32 {
    let x = if ftz { flush(x) } else { x };
    let y = ex2_rounded(x);
    let y = match perturb {
        Some(_) if x.fract() != 0.0 => {
            let exact = exp2_f64(x.clamp(-200.0, 200.0) as f64);
            perturbed(y, exact, EX2, 1, x.to_bits() as u64, perturb)
        }
        _ => y,
    };
    finish(y, ftz)
}

/// log2(m) / s as a polynomial in s^2, with s = (m - 1) / (m + 1) and m between sqrt(1/2) and sqrt(2); 2^-55 relative.
const LOG2: [f64; 10] = [
    2.8853900817779268,
    0.9617966939259756,
    0.5770780163555842,
    0.41219858311161717,
    0.32059889786850215,
    0.26230820275876515,
    0.22195204526045373,
    0.19240857629645877,
    0.16832470174467773,
    0.17374547171512786,
];

/// log2 of a positive finite f32 in f64, relative error below 2^-49 (near 1 as well).
#[inline(always)]
fn log2_f64(x: f32) -> f64 {
    let bits = (x as f64).to_bits(); // every positive f32 is a normal f64
    // Split at sqrt(1/2): subtracting its bits leaves the exponent in the upper bits.
    let offset = bits.wrapping_sub(0x3fe6_a09e_667f_3bcd);
    let n = (offset as i64 >> 52) as f64;
    let m = f64::from_bits(bits.wrapping_sub(offset & (0xfff << 52)));
    let s = (m - 1.0) / (m + 1.0);
    n + s * polynomial(s * s, &LOG2)
}

/// `lg2.approx{.ftz}.f32`: zero of either sign gives minus infinity, negative values NaN.
#[inline(always)]
pub fn lg2(x: f32, ftz: bool, perturb: Option<u64>) -> f32 {
    let x = if ftz { flush(x) } else { x };
    if x == 0.0 {
        return f32::NEG_INFINITY;
    }
    if x < 0.0 || x.is_nan() {
        return f32::from_bits(NAN32);
    }
    if x.is_infinite() {
        return x;
    }
    let near = log2_f64(x);
    let y = settle(near, || Double::log2(x as f64, near));
    let bound = if x > 0.5 && x < 2.0 { LG2_NEAR_1 } else { LG2 };
    finish(perturbed(y, near, bound, 2, x.to_bits() as u64, perturb), ftz)
}

/// `rcp.approx{.ftz}.f32`. The f64 quotient rounds to the right f32 (see [`round::div`]).
#[inline(always)]
pub fn rcp(x: f32, ftz: bool, perturb: Option<u64>) -> f32 {
    let x = if ftz { flush(x) } else { x };
    let exact = 1.0 / x as f64;
    finish(perturbed(exact as f32, exact, RCP, 3, x.to_bits() as u64, perturb), ftz)
}

/// `sqrt.approx{.ftz}.f32`.
#[inline(always)]
pub fn sqrt(x: f32, ftz: bool, perturb: Option<u64>) -> f32 {
    let x = if ftz { flush(x) } else { x };
    let exact = (x as f64).sqrt();
    finish(perturbed(exact as f32, exact, SQRT, 4, x.to_bits() as u64, perturb), ftz)
}

/// `rsqrt.approx{.ftz}.f32`: zero gives the infinity of its sign, negative values NaN.
#[inline(always)]
pub fn rsqrt(x: f32, ftz: bool, perturb: Option<u64>) -> f32 {
    let x = if ftz { flush(x) } else { x };
    let near = 1.0 / (x as f64).sqrt();
    let y = if near > 0.0 && near.is_finite() {
        settle(near, || Double::rsqrt(x as f64, near))
    } else {
        near as f32 // zero, infinity, NaN; 1 / sqrt(-0) is minus infinity
    };
    finish(perturbed(y, near, RSQRT, 5, x.to_bits() as u64, perturb), ftz)
}

/// `div.approx{.ftz}.f32`: as computed by a * (1 / b), so that |b| above 2^126 gives zero, or NaN for infinite a.
#[inline(always)]
pub fn div(a: f32, b: f32, ftz: bool, perturb: Option<u64>) -> f32 {
    let (a, b) = if ftz { (flush(a), flush(b)) } else { (a, b) };
    if b.abs() > power_of_2(126) as f32 && b.is_finite() && !a.is_nan() {
        let sign = (a.to_bits() ^ b.to_bits()) & 0x8000_0000;
        return f32::from_bits(if a.is_infinite() { NAN32 } else { sign });
    }
    div_full(a, b, ftz, perturb)
}

/// `div.full{.ftz}.f32`: the whole range.
#[inline(always)]
pub fn div_full(a: f32, b: f32, ftz: bool, perturb: Option<u64>) -> f32 {
    let (a, b) = if ftz { (flush(a), flush(b)) } else { (a, b) };
    let exact = a as f64 / b as f64;
    let input = (a.to_bits() as u64) << 32 | b.to_bits() as u64;
    finish(perturbed(exact as f32, exact, DIV, 6, input, perturb), ftz)
}

/// 2/pi after 64 zero bits: the binary point stands between the first two words.
const TWO_OVER_PI: [u64; 6] = [
    0,
    0xa2f9_836e_4e44_1529,
    0xfc27_57d1_f534_ddc0,
    0xdb62_9599_3c43_9041,
    0xfe51_63ab_debb_c561,
    0xb724_6e3a_424d_d2e0,
];

/// x = q pi/2 + r with |r| at most pi/4: (q modulo 4, r).
fn reduce(x: f32) -> (u32, Double) {
    if x.abs() <= core::f32::consts::FRAC_PI_4 {
        return (0, Double::new(x as f64));
    }
    // |x| = m 2^e. Of m 2^e (2/pi), the bits of 2/pi above weight 2^(1-e) only add multiples of 4: take 192 bits from there.
    let bits = x.to_bits() & 0x7fff_ffff;
    let mantissa = ((bits & 0x7f_ffff) | 0x80_0000) as u128;
    let exponent = (bits >> 23) as i32 - 150;
    let first = (64 - 2 + exponent) as usize; // index of the first bit taken, in the table's own numbering
    let word = |i: usize| {
        let (index, shift) = (first / 64 + i, first % 64);
        let next = if shift == 0 { 0 } else { TWO_OVER_PI[index + 1] >> (64 - shift) };
        (TWO_OVER_PI[index] << shift | next) as u128
    };
    // window * m modulo 2^192, highest word first; units of 2^-190.
    let low = word(2) * mantissa;
    let middle = word(1) * mantissa + (low >> 64);
    let high = (word(0) * mantissa + (middle >> 64)) as u64;
    let top = (high as u128) << 64 | middle as u64 as u128; // units of 2^-126
    let quadrant = (top.wrapping_add(1 << 125) >> 126) as u32 & 3;
    // The signed distance to the nearest quadrant boundary in units of 2^-128: the integer part drops out, two bits come up from below.
    let distance = (top << 2) as i128 | (low as u64 >> 62) as i128;
    let r = Double::scaled(distance, power_of_2(-128)) * PI_2;
    if x < 0.0 { (quadrant.wrapping_neg() & 3, -r) } else { (quadrant, r) }
}

/// (sin r / r - 1) / r^2 as a polynomial in r^2 on -pi/4..pi/4; 2^-57 relative to sin r / r.
const SIN: [f64; 7] = [
    -0.16666666666666666,
    0.008333333333333331,
    -0.0001984126984126504,
    2.755731921932058e-06,
    -2.50521062259944e-08,
    1.6058530596645953e-10,
    -7.586636882825159e-13,
];

/// (cos r - 1) / r^2 as a polynomial in r^2; 2^-60.
const COS: [f64; 7] = [
    -0.5,
    0.04166666666666664,
    -0.0013888888888880734,
    2.480158729366189e-05,
    -2.7557315555381283e-07,
    2.0875885001628906e-09,
    -1.136789634714201e-11,
];

/// sin(x + turns pi/2).
#[inline(always)]
fn sine(x: f32, turns: u32, ftz: bool, operation: u64, perturb: Option<u64>) -> f32 {
    let x = if ftz { flush(x) } else { x };
    if !x.is_finite() {
        return f32::from_bits(NAN32);
    }
    if x == 0.0 {
        return if turns == 0 { x } else { 1.0 };
    }
    let (quadrant, r) = reduce(x);
    let quadrant = quadrant + turns;
    let square = r.high * r.high;
    let (near, decide): (f64, fn(Double) -> Double) = if quadrant & 1 == 0 {
        (r.high + (r.high * square * polynomial(square, &SIN) + r.low), Double::sin)
    } else {
        (1.0 + (square * polynomial(square, &COS) - r.high * r.low), Double::cos)
    };
    let y = settle(near, || decide(r));
    let (y, near) = if quadrant & 2 == 0 { (y, near) } else { (-y, -near) };
    finish(perturbed(y, near, SIN_COS, operation, x.to_bits() as u64, perturb).clamp(-1.0, 1.0), ftz)
}

/// `sin.approx{.ftz}.f32`, any finite argument.
#[inline(always)]
pub fn sin(x: f32, ftz: bool, perturb: Option<u64>) -> f32 {
    sine(x, 0, ftz, 7, perturb)
}

/// `cos.approx{.ftz}.f32`, any finite argument.
#[inline(always)]
pub fn cos(x: f32, ftz: bool, perturb: Option<u64>) -> f32 {
    sine(x, 1, ftz, 8, perturb)
}

/// (tanh x / x - 1) / x^2 as a polynomial in x^2 on -0.5..0.5; 2^-57 relative to tanh x / x.
const TANH_SMALL: [f64; 12] = [
    -0.3333333333333333,
    0.1333333333333333,
    -0.05396825396824835,
    0.02186948853573452,
    -0.0088632355135931,
    0.0035921276627198383,
    -0.0014558289383351634,
    0.0005899749383754306,
    -0.00023878930525840224,
    9.544524503270839e-05,
    -3.514809431531453e-05,
    8.859223816010494e-06,
];

/// tanh in f64, relative error below 2^-49.
#[inline(always)]
fn tanh_f64(x: f64) -> f64 {
    let magnitude = if x.abs() < 20.0 { x.abs() } else { 20.0 };
    let square = magnitude * magnitude;
    let small = magnitude + magnitude * square * polynomial(square, &TANH_SMALL);
    let exponential = exp2_f64(magnitude * (2.0 * core::f64::consts::LOG2_E));
    let large = 1.0 - 2.0 / (exponential + 1.0);
    round::copysign64(x, if magnitude < 0.5 { small } else { large })
}

/// `tanh.approx.f32`.
#[inline(always)]
pub fn tanh(x: f32, perturb: Option<u64>) -> f32 {
    if x.is_nan() {
        return f32::from_bits(NAN32);
    }
    if x == 0.0 || x.is_infinite() {
        return x.clamp(-1.0, 1.0);
    }
    let near = tanh_f64(x as f64);
    // Beyond 10 the distance from 1 is below 2^-28, far under half a place.
    let y = if x.abs() > 10.0 { near as f32 } else { settle(near, || Double::new(x as f64).tanh()) };
    perturbed(y, near, TANH, 9, x.to_bits() as u64, perturb).clamp(-1.0, 1.0)
}

/// A half result of an f64 value, moved within `bound` if there is a seed.
#[inline(always)]
fn half_result<H: Half>(exact: f64, bound: Bound, operation: u64, input: u16, perturb: Option<u64>) -> u16 {
    let rounded = half::from_f64::<H>(exact, Rounding::Rn);
    let Some(seed) = perturb else { return rounded };
    if rounded & 0x7fff < H::MIN_NORMAL || rounded & 0x7fff >= H::INFINITY {
        return rounded;
    }
    let allowed = bound.at(exact);
    let candidate = half::from_f64::<H>(exact + noise(operation, input as u64, seed) * allowed, Rounding::Rn);
    if (H::widen(candidate) as f64 - exact).abs() <= allowed { candidate } else { rounded }
}

/// `ex2.approx.f16`, `ex2.approx.ftz.bf16`.
#[inline(always)]
pub fn ex2_half<H: Half>(x: u16, ftz: bool, bound: Bound, perturb: Option<u64>) -> u16 {
    let x = if ftz { half::flush::<H>(x) } else { x };
    let wide = H::widen(x);
    let y = if x & 0x7fff == 0 || wide.is_nan() {
        if wide.is_nan() { H::NAN } else { H::ONE }
    } else {
        half_result::<H>(exp2_f64(wide.clamp(-200.0, 200.0) as f64), bound, 10, x, perturb)
    };
    if ftz { half::flush::<H>(y) } else { y }
}

/// `tanh.approx.f16`, `tanh.approx.bf16`.
#[inline(always)]
pub fn tanh_half<H: Half>(x: u16, bound: Bound, perturb: Option<u64>) -> u16 {
    let wide = H::widen(x);
    if wide.is_nan() {
        return H::NAN;
    }
    if x & 0x7fff == 0 || wide.is_infinite() {
        return if wide.is_infinite() { H::ONE | x & 0x8000 } else { x };
    }
    let y = half_result::<H>(tanh_f64(wide as f64), bound, 11, x, perturb);
    if y & 0x7fff > H::ONE { H::ONE | y & 0x8000 } else { y }
}

/// The upper word of an f64, the lower one zero.
#[inline(always)]
fn upper(x: f64) -> f64 {
    f64::from_bits(x.to_bits() & !0xffff_ffff)
}

/// A subnormal f64 becomes zero of its sign.
#[inline(always)]
fn flush64(x: f64) -> f64 {
    if x.abs() < f64::MIN_POSITIVE { round::copysign64(x, 0.0) } else { x }
}

/// `rcp.approx.ftz.f64`: from the upper word of the input, the upper word of the result (20 fraction bits).
#[inline(always)]
pub fn rcp64(x: f64) -> f64 {
    round::canonical64(flush64(upper(1.0 / flush64(upper(x)))))
}

/// `rsqrt.approx.ftz.f64`: from the upper word of the input, the upper word of the result.
#[inline(always)]
pub fn rsqrt64(x: f64) -> f64 {
    round::canonical64(flush64(upper(1.0 / flush64(upper(x)).sqrt())))
}

/// `rsqrt.approx.f64`: the root and the quotient, each rounded.
#[inline(always)]
pub fn rsqrt_f64(x: f64) -> f64 {
    round::canonical64(1.0 / x.sqrt())
}
