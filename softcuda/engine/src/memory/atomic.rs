//! The arithmetic of `atom` and `red` (PTX ISA, atom): pure functions of the old value and the operands.

/// Operation of `atom` and `red`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum AtomOp {
    /// Sum.
    Add,
    /// Smaller.
    Min,
    /// Larger.
    Max,
    /// Bits of both.
    And,
    /// Bits of either.
    Or,
    /// Bits of one.
    Xor,
    /// The operand.
    Exch,
    /// The second operand, if the old value equals the first.
    Cas,
    /// `old >= x ? 0 : old + 1`.
    Inc,
    /// `old == 0 || old > x ? x : old - 1`.
    Dec,
}

/// Type of `atom` and `red`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[allow(missing_docs)] // The names are PTX's.
pub enum AtomTy {
    B16,
    B32,
    B64,
    U32,
    S32,
    U64,
    S64,
    F16,
    F16x2,
    Bf16,
    Bf16x2,
    F32,
    F64,
}

impl AtomTy {
    /// Width in bytes.
    pub fn size(self) -> u32 {
        match self {
            AtomTy::B16 | AtomTy::F16 | AtomTy::Bf16 => 2,
            AtomTy::B64 | AtomTy::U64 | AtomTy::S64 | AtomTy::F64 => 8,
            _ => 4,
        }
    }
}

/// The new value. `flush` says that f32 sums flush subnormals to zero, as they do in global memory.
pub fn apply(op: AtomOp, ty: AtomTy, flush: bool, old: u64, x: u64, y: u64) -> u64 {
    let bits = 8 * ty.size();
    let keep = u64::MAX >> (64 - bits);
    let (old, x, y) = (old & keep, x & keep, y & keep);
    let new = match op {
        AtomOp::Exch => x,
        AtomOp::Cas if old == x => y,
        AtomOp::Cas => old,
        AtomOp::And => old & x,
        AtomOp::Or => old | x,
        AtomOp::Xor => old ^ x,
        AtomOp::Inc if old >= x => 0,
        AtomOp::Inc => old + 1,
        AtomOp::Dec if old == 0 || old > x => x,
        AtomOp::Dec => old - 1,
        AtomOp::Min | AtomOp::Max => {
            let signed = matches!(ty, AtomTy::S32 | AtomTy::S64);
            let shift = 64 - bits;
            let less = if signed { (x << shift) as i64 <= (old << shift) as i64 } else { x <= old };
            if less == (op == AtomOp::Min) { x } else { old }
        }
        AtomOp::Add => add(ty, flush, old, x),
    };
    new & keep
}

fn add(ty: AtomTy, flush: bool, a: u64, b: u64) -> u64 {
    let halves =
        |f: fn(u16, u16) -> u16| f(a as u16, b as u16) as u64 | (f((a >> 16) as u16, (b >> 16) as u16) as u64) << 16;
    match ty {
        AtomTy::F32 => add_f32(a as u32, b as u32, flush) as u64,
        AtomTy::F64 => {
            let sum = f64::from_bits(a) + f64::from_bits(b);
            if sum.is_nan() { 0x7fff_ffff_ffff_ffff } else { sum.to_bits() }
        }
        AtomTy::F16 => add_f16(a as u16, b as u16) as u64,
        AtomTy::Bf16 => add_bf16(a as u16, b as u16) as u64,
        AtomTy::F16x2 => halves(add_f16),
        AtomTy::Bf16x2 => halves(add_bf16),
        _ => a.wrapping_add(b),
    }
}

fn add_f32(a: u32, b: u32, flush: bool) -> u32 {
    let ftz = |v: u32| if flush && v & 0x7f80_0000 == 0 { v & 0x8000_0000 } else { v };
    let sum = f32::from_bits(ftz(a)) + f32::from_bits(ftz(b));
    if sum.is_nan() { 0x7fff_ffff } else { ftz(sum.to_bits()) }
}

/// f16 sum: exact in f64 (at most 41 bits), then rounded once.
fn add_f16(a: u16, b: u16) -> u16 {
    round_half(half_value(a, 5) + half_value(b, 5), 5)
}

/// bf16 sum: f64 holds it exactly, or so nearly that rounding to odd makes the second rounding right.
fn add_bf16(a: u16, b: u16) -> u16 {
    let (x, y) = (half_value(a, 8), half_value(b, 8));
    let sum = x + y;
    let (big, small) = if x.abs() >= y.abs() { (x, y) } else { (y, x) };
    let error = small - (sum - big);
    let odd = if error == 0.0 || !sum.is_finite() || sum.to_bits() & 1 == 1 {
        sum
    } else if (error > 0.0) == (sum > 0.0) {
        f64::from_bits(sum.to_bits() | 1)
    } else {
        f64::from_bits(sum.to_bits() - 1)
    };
    round_half(odd, 8)
}

/// Value of a 16-bit float with `exponent` exponent bits.
fn half_value(v: u16, exponent: u32) -> f64 {
    let mantissa = 15 - exponent;
    let bias = (1i32 << (exponent - 1)) - 1;
    let sign = if v >> 15 == 1 { -1.0 } else { 1.0 };
    let e = (v & 0x7fff) as i32 >> mantissa;
    let m = (v & ((1 << mantissa) - 1)) as f64;
    let scale = |p: i32| f64::from_bits(((p + 1023) as u64) << 52);
    sign * if e == (1 << exponent) - 1 {
        if m == 0.0 { f64::INFINITY } else { f64::NAN }
    } else if e == 0 {
        m * scale(1 - bias - mantissa as i32)
    } else {
        (m + (1 << mantissa) as f64) * scale(e - bias - mantissa as i32)
    }
}

/// The nearest 16-bit float with `exponent` exponent bits, ties to even; NaN is 0x7fff.
fn round_half(v: f64, exponent: u32) -> u16 {
    if v.is_nan() {
        return 0x7fff;
    }
    let mantissa = 15 - exponent;
    let bias = (1i32 << (exponent - 1)) - 1;
    let sign = ((v.to_bits() >> 63) as u16) << 15;
    let infinity = ((1u16 << exponent) - 1) << mantissa;
    let magnitude = v.abs();
    if magnitude == 0.0 {
        return sign;
    }
    let e = ((magnitude.to_bits() >> 52) as i32 - 1023).max(1 - bias);
    // Units of the last place: exact, because the scale is a power of two.
    let ulps = magnitude * f64::from_bits(((1023 + mantissa as i32 - e) as u64) << 52);
    let rounded = ulps.round_ties_even() as u64 as u32;
    // A carry out of the mantissa moves on to the exponent by itself.
    let code = rounded + (((e + bias - 1) as u32) << mantissa);
    sign | (code.min(infinity as u32)) as u16
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn half_sums_agree_with_half_crate() {
        let mut state = 1u64;
        for i in 0..400_000 {
            state = state.wrapping_mul(6364136223846793005).wrapping_add(1442695040888963407);
            let (a, b) = ((state >> 33) as u16, (state >> 48) as u16);
            let b = if i % 4 == 0 { a ^ 0x8000 ^ (b & 7) } else { b };
            let want = half::f16::from_f64(half::f16::from_bits(a).to_f64() + half::f16::from_bits(b).to_f64());
            let got = half::f16::from_bits(add_f16(a, b));
            assert!(
                want.to_bits() == got.to_bits() || want.is_nan() && got.to_bits() == 0x7fff,
                "{a:#x} + {b:#x} = {got}, want {want}"
            );
            // f64 is wide enough for bf16 as long as the exponents lie within 40 of each other.
            let near = ((a >> 7 & 0xff) as i32 - (b >> 7 & 0xff) as i32).abs() < 40;
            let want = half::bf16::from_f64(half::bf16::from_bits(a).to_f64() + half::bf16::from_bits(b).to_f64());
            let got = half::bf16::from_bits(add_bf16(a, b));
            assert!(
                !near || want.to_bits() == got.to_bits() || want.is_nan() && got.to_bits() == 0x7fff,
                "{a:#x} + {b:#x} = {got}, want {want}"
            );
        }
    }

    #[test]
    fn far_bf16_terms_round_once() {
        // 1 + 2^-8 is a tie; the smallest bf16 decides it.
        let (one_and_half_ulp, tiny) = (0x3f80, 0x0001);
        assert_eq!(add_bf16(one_and_half_ulp, tiny), 0x3f80);
        assert_eq!(add_bf16(0x3f80, 0x3b80), 0x3f80);
        assert_eq!(add_bf16(0x3f81, 0x3b80), 0x3f82);
    }

    #[test]
    fn integers_and_words() {
        let run = |op, ty, old: i64, x: i64| apply(op, ty, false, old as u64, x as u64, 99);
        assert_eq!(run(AtomOp::Add, AtomTy::U32, -1, 2), 1);
        assert_eq!(run(AtomOp::Min, AtomTy::S32, 5, -1), 0xffff_ffff);
        assert_eq!(run(AtomOp::Min, AtomTy::U32, 5, -1), 5);
        assert_eq!(run(AtomOp::Max, AtomTy::S64, 5, -1), 5);
        assert_eq!(run(AtomOp::Max, AtomTy::U64, 5, -1), u64::MAX);
        assert_eq!(run(AtomOp::Inc, AtomTy::U32, 7, 7), 0);
        assert_eq!(run(AtomOp::Inc, AtomTy::U32, 6, 7), 7);
        assert_eq!(run(AtomOp::Dec, AtomTy::U32, 0, 7), 7);
        assert_eq!(run(AtomOp::Dec, AtomTy::U32, 9, 7), 7);
        assert_eq!(run(AtomOp::Dec, AtomTy::U32, 3, 7), 2);
        assert_eq!(run(AtomOp::Cas, AtomTy::B16, 0x1_0005, 5), 99);
        assert_eq!(run(AtomOp::Cas, AtomTy::B16, 6, 5), 6);
        assert_eq!(run(AtomOp::Exch, AtomTy::B32, 6, -1), 0xffff_ffff);
    }

    #[test]
    fn float_sums_flush_only_where_asked() {
        let tiny = 1u32;
        assert_eq!(apply(AtomOp::Add, AtomTy::F32, true, tiny as u64, 0, 0), 0);
        assert_eq!(apply(AtomOp::Add, AtomTy::F32, false, tiny as u64, 0, 0), 1);
        let nan = apply(
            AtomOp::Add,
            AtomTy::F32,
            false,
            f32::INFINITY.to_bits() as u64,
            f32::NEG_INFINITY.to_bits() as u64,
            0,
        );
        assert_eq!(nan, 0x7fff_ffff);
        let pair = apply(AtomOp::Add, AtomTy::F16x2, false, 0x3c00_4000, 0x3c00_3c00, 0);
        assert_eq!(pair, 0x4000_4200);
    }
}
