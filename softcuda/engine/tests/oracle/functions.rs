//! Elementary functions in fixed point on big integers, by their plain series.

use num_bigint::BigInt;

/// Fraction bits: enough for arguments up to 2^128 and results down to 2^-149 with 200 bits to spare.
pub const BITS: u64 = 512;

fn one() -> BigInt {
    BigInt::from(1) << BITS
}

fn mul(a: &BigInt, b: &BigInt) -> BigInt {
    (a * b) >> BITS
}

fn div(a: &BigInt, b: &BigInt) -> BigInt {
    (a << BITS) / b
}

/// An f32 or f64 value exactly.
pub fn fixed(x: f64) -> BigInt {
    let bits = x.to_bits();
    let field = (bits >> 52 & 0x7ff) as i64;
    let mantissa = BigInt::from((bits & ((1 << 52) - 1)) | if field == 0 { 0 } else { 1 << 52 });
    let shift = field.max(1) - 1075 + BITS as i64;
    let magnitude = if shift >= 0 { mantissa << shift as u64 } else { mantissa >> (-shift) as u64 };
    if bits >> 63 == 1 { -magnitude } else { magnitude }
}

/// atanh(x) for small x: x + x^3/3 + x^5/5 ...
fn atanh(x: &BigInt) -> BigInt {
    let square = mul(x, x);
    let (mut power, mut sum, mut n) = (x.clone(), BigInt::from(0), 1);
    while power != BigInt::from(0) && power != BigInt::from(-1) {
        sum += &power / n;
        power = mul(&power, &square);
        n += 2;
    }
    sum
}

fn ln_2() -> BigInt {
    atanh(&(one() / 3)) * 2
}

/// pi = 16 atan(1/5) - 4 atan(1/239) (Machin).
fn pi() -> BigInt {
    let atan_inverse = |x: i64| {
        let (mut power, mut sum, mut n, mut sign) = (one() / x, BigInt::from(0), 1i64, 1);
        while power != BigInt::from(0) {
            sum += (&power / n) * sign;
            power /= x * x;
            n += 2;
            sign = -sign;
        }
        sum
    };
    atan_inverse(5) * 16 - atan_inverse(239) * 4
}

/// e^x for |x| up to about 100.
fn exp(x: &BigInt) -> BigInt {
    let ln_2 = ln_2();
    let n = i64::try_from((x / &ln_2) as BigInt).unwrap();
    let r = x - &ln_2 * n;
    let (mut term, mut sum, mut i) = (one(), BigInt::from(0), 1);
    while term != BigInt::from(0) && term != BigInt::from(-1) {
        sum += &term;
        term = mul(&term, &r) / i;
        i += 1;
    }
    if n >= 0 { sum << n as u64 } else { sum >> (-n) as u64 }
}

/// 2^x.
pub fn exp2(x: f64) -> BigInt {
    exp(&mul(&fixed(x), &ln_2()))
}

/// log2 x.
pub fn log2(x: f64) -> BigInt {
    let x = fixed(x);
    let k = x.bits() as i64 - 1 - BITS as i64;
    let m = if k >= 0 { x >> k as u64 } else { x << (-k) as u64 };
    let ln = atanh(&div(&(&m - one()), &(&m + one()))) * 2;
    div(&ln, &ln_2()) + (BigInt::from(k) << BITS)
}

/// sin x (`turns` 0) or cos x (`turns` 1).
pub fn sine(x: f64, turns: i64) -> BigInt {
    let half_pi: BigInt = pi() >> 1u32;
    let x = fixed(x);
    let quadrants: BigInt = &x / &half_pi; // toward zero: |r| below pi/2
    let r = &x - &half_pi * &quadrants;
    let quadrant = i64::try_from(quadrants % 4).unwrap().rem_euclid(4) + turns;
    let square = mul(&r, &r);
    let odd = quadrant & 1 == 1;
    let (mut term, mut sum, mut i) = if odd { (one(), BigInt::from(0), 1) } else { (r, BigInt::from(0), 2) };
    while term != BigInt::from(0) && term != BigInt::from(-1) {
        sum += &term;
        term = -mul(&term, &square) / (i * (i + 1));
        i += 2;
    }
    if quadrant & 2 == 0 { sum } else { -sum }
}

/// tanh x.
pub fn tanh(x: f64) -> BigInt {
    let e = exp(&(fixed(x) * 2));
    div(&(&e - one()), &(&e + one()))
}

/// 1 / sqrt x.
pub fn rsqrt(x: f64) -> BigInt {
    // sqrt(2^(3 BITS) / fixed) = 2^BITS / sqrt(x)
    let radicand = (BigInt::from(1) << (3 * BITS)) / fixed(x);
    radicand.sqrt()
}
