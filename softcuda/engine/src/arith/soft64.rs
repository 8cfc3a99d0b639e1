//! f64 multiplication, fused multiply-add, division and square root by integers, for the directed roundings that the processor would
//! only give by changing its mode. Slow and rare. Results equal IEEE 754 in every rounding; NaN results are some NaN.

use super::round::Rounding;

/// `mantissa * 2^exponent`, negative if `negative`. The lowest bit may stand for "and some bits below it" (sticky).
#[derive(Clone, Copy)]
struct Real {
    negative: bool,
    mantissa: u128,
    exponent: i32,
}

/// A finite f64 as a [`Real`], mantissa below 2^53.
fn unpack(x: f64) -> Real {
    let bits = x.to_bits();
    let field = (bits >> 52 & 0x7ff) as i32;
    let fraction = bits & ((1 << 52) - 1);
    let mantissa = if field == 0 { fraction } else { fraction | 1 << 52 };
    Real { negative: bits >> 63 == 1, mantissa: mantissa as u128, exponent: field.max(1) - 1075 }
}

/// `mantissa >> shift` with every bit shifted out gathered in the lowest bit.
fn shift_right_sticky(mantissa: u128, shift: u32) -> u128 {
    if shift >= 128 {
        return (mantissa != 0) as u128;
    }
    let kept = mantissa >> shift;
    kept | (kept << shift != mantissa) as u128
}

/// Shifts the mantissa so that its highest bit is bit `top`; the mantissa is not 0.
fn with_top_at(x: Real, top: i32) -> Real {
    let shift = top - (127 - x.mantissa.leading_zeros() as i32);
    let mantissa = if shift >= 0 { x.mantissa << shift } else { shift_right_sticky(x.mantissa, shift.unsigned_abs()) };
    Real { mantissa, exponent: x.exponent - shift, ..x }
}

/// Rounds to f64. The mantissa holds the value exactly or has at least 55 significant bits with a sticky lowest one.
fn pack(x: Real, round: Rounding) -> f64 {
    let sign = (x.negative as u64) << 63;
    if x.mantissa == 0 {
        return f64::from_bits(sign);
    }
    // Bit 125 on top, so that f64's last bit is at 73 for a normal result and higher for a subnormal one.
    let x = with_top_at(x, 125);
    let drop = 73 + (-1074 - (x.exponent + 73)).max(0);
    let (kept, rest) = if drop >= 127 {
        (0, 1) // below half of the smallest subnormal
    } else {
        let kept = x.mantissa >> drop;
        let half = 1u128 << (drop - 1);
        let rest = x.mantissa & ((1 << drop) - 1);
        (
            kept as u64,
            if rest == 0 {
                0
            } else if rest < half {
                1
            } else if rest == half {
                2
            } else {
                3
            },
        )
    };
    let up = match round {
        Rounding::Rn => rest == 3 || (rest == 2 && kept & 1 == 1),
        Rounding::Rz => false,
        Rounding::Rm => rest != 0 && x.negative,
        Rounding::Rp => rest != 0 && !x.negative,
    };
    // kept counts units of 2^(exponent + drop); adding the exponent field lets a carry move into it.
    let field = (x.exponent + drop + 1074) as u64;
    let magnitude = (field << 52) + kept + up as u64;
    let infinity = 0x7ffu64 << 52;
    if magnitude < infinity {
        return f64::from_bits(sign | magnitude);
    }
    let to_infinity = match round {
        Rounding::Rn => true,
        Rounding::Rz => false,
        Rounding::Rm => x.negative,
        Rounding::Rp => !x.negative,
    };
    f64::from_bits(sign | if to_infinity { infinity } else { infinity - 1 })
}

/// `a * b`.
pub fn mul(a: f64, b: f64, round: Rounding) -> f64 {
    if !a.is_finite() || !b.is_finite() {
        return a * b;
    }
    pack(product(a, b), round)
}

/// The exact product of two finite values, below 2^106.
fn product(a: f64, b: f64) -> Real {
    let (a, b) = (unpack(a), unpack(b));
    Real { negative: a.negative != b.negative, mantissa: a.mantissa * b.mantissa, exponent: a.exponent + b.exponent }
}

/// `a * b + c` with one rounding.
pub fn fma(a: f64, b: f64, c: f64, round: Rounding) -> f64 {
    if !a.is_finite() || !b.is_finite() || !c.is_finite() {
        return a.mul_add(b, c);
    }
    let (p, c) = (product(a, b), unpack(c));
    let zero = |same: bool, negative: bool| {
        let negative = if same { negative } else { round == Rounding::Rm };
        if negative { -0.0 } else { 0.0 }
    };
    match (p.mantissa, c.mantissa) {
        (0, 0) => return zero(p.negative == c.negative, p.negative),
        (0, _) => return pack(c, round),
        (_, 0) => return pack(p, round),
        _ => {}
    }
    // The larger gets its top bit at 125: 19 spare bits below a full product. Bits of the smaller one that fall below are sticky; where any
    // do, the operands are more than 18 binades apart and at most one bit cancels.
    let (p, c) = (with_top_at(p, 125), with_top_at(c, 125));
    let (large, small) = if (p.exponent, p.mantissa) >= (c.exponent, c.mantissa) { (p, c) } else { (c, p) };
    let aligned = shift_right_sticky(small.mantissa, (large.exponent - small.exponent).unsigned_abs());
    let mantissa = if large.negative == small.negative { large.mantissa + aligned } else { large.mantissa - aligned };
    if mantissa == 0 {
        return zero(false, false);
    }
    pack(Real { mantissa, ..large }, round)
}

/// `a / b`.
pub fn div(a: f64, b: f64, round: Rounding) -> f64 {
    if !a.is_finite() || !b.is_finite() || a == 0.0 || b == 0.0 {
        return a / b;
    }
    // Tops at bits 125 and 62: the quotient has at least 63 bits.
    let (a, b) = (with_top_at(unpack(a), 125), with_top_at(unpack(b), 62));
    let sticky = (a.mantissa % b.mantissa != 0) as u128;
    let mantissa = (a.mantissa / b.mantissa) | sticky;
    pack(Real { negative: a.negative != b.negative, mantissa, exponent: a.exponent - b.exponent }, round)
}

/// Square root.
pub fn sqrt(a: f64, round: Rounding) -> f64 {
    if a <= 0.0 || !a.is_finite() {
        return a.sqrt();
    }
    let mut a = with_top_at(unpack(a), 124);
    if a.exponent & 1 != 0 {
        a.mantissa <<= 1;
        a.exponent -= 1;
    }
    let root = a.mantissa.isqrt();
    let sticky = (root * root != a.mantissa) as u128;
    pack(Real { negative: false, mantissa: root | sticky, exponent: a.exponent / 2 }, round)
}

/// A 64-bit integer, two's complement if `signed`.
pub fn from_int(x: u64, signed: bool, round: Rounding) -> f64 {
    let negative = signed && (x as i64) < 0;
    let magnitude = if negative { x.wrapping_neg() } else { x };
    pack(Real { negative, mantissa: magnitude as u128, exponent: 0 }, round)
}
