//! The two 8-bit floats, as `cvt.rn.satfinite` of the PTX ISA (section 9.7.9.21) defines their conversions.
//!
//! | | E4M3 | E5M2 |
//! |---|---|---|
//! | sign, exponent, mantissa bits | 1, 4, 3 | 1, 5, 2 |
//! | exponent bias | 7 | 15 |
//! | largest finite | 448 = 0x7E | 57344 = 0x7B |
//! | smallest positive | 2^-9 | 2^-16 |
//! | infinity | none | 0x7C, 0xFC |
//! | NaN | 0x7F, 0xFF | 0x7D..0x7F, 0xFD..0xFF |
//!
//! Source: Micikevicius et al., "FP8 Formats for Deep Learning", 2022, and the OCP 8-bit Floating Point Specification.

/// An 8-bit floating-point format.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Fp8 {
    /// 4 exponent bits, 3 mantissa bits, no infinity.
    E4m3,
    /// 5 exponent bits, 2 mantissa bits: the upper byte of an f16.
    E5m2,
}

impl Fp8 {
    const fn mantissa_bits(self) -> i32 {
        match self {
            Self::E4m3 => 3,
            Self::E5m2 => 2,
        }
    }

    const fn bias(self) -> i32 {
        match self {
            Self::E4m3 => 7,
            Self::E5m2 => 15,
        }
    }

    /// The largest finite value: 448 or 57344.
    pub const fn max(self) -> f32 {
        match self {
            Self::E4m3 => 448.0,
            Self::E5m2 => 57344.0,
        }
    }

    const fn max_code(self) -> u8 {
        match self {
            Self::E4m3 => 0x7E,
            Self::E5m2 => 0x7B,
        }
    }

    /// The code nearest to `x`, ties to the even code; beyond the largest finite value, and for infinities, the largest
    /// finite code of that sign; 0x7F for every NaN. The sign of zero, and of what rounds to zero, is kept.
    pub fn encode(self, x: f32) -> u8 {
        if x.is_nan() {
            return 0x7F;
        }
        let sign = if x.is_sign_negative() { 0x80 } else { 0 };
        let magnitude = f64::from(x.abs());
        if magnitude >= f64::from(self.max()) {
            return sign | self.max_code();
        }
        // Values of one binade lie `step` apart; below the smallest normal the step stays that of the lowest binade.
        // Dividing by a power of two is exact, and so is the product of the rounded quotient.
        let lowest = 1 - self.bias();
        let exponent = ((x.abs().to_bits() >> 23) as i32 - 127).max(lowest);
        let steps = (magnitude / f64::from(exponent - self.mantissa_bits()).exp2()).round_ties_even() as i32;
        // A quotient of a full binade carries into the exponent field by itself.
        let code = ((exponent - lowest) << self.mantissa_bits()) + steps;
        sign | (code as u8).min(self.max_code())
    }

    /// One of the two codes around `x`: the farther from zero when `u`, a multiple of 2^-24 in [0, 1), is below the
    /// fraction of the way to it. Beyond the largest finite value, and for NaN, as [`Self::encode`].
    pub fn encode_stochastic(self, x: f32, u: f32) -> u8 {
        let magnitude = f64::from(x.abs());
        if x.is_nan() || magnitude >= f64::from(self.max()) {
            return self.encode(x);
        }
        let sign = if x.is_sign_negative() { 0x80 } else { 0 };
        let lowest = 1 - self.bias();
        let exponent = ((x.abs().to_bits() >> 23) as i32 - 127).max(lowest);
        // Exact in f64, and in f32 too where it matters: division by a power of two.
        let steps = magnitude / f64::from(exponent - self.mantissa_bits()).exp2();
        let up = i32::from(f64::from(u) < steps.fract());
        sign | (((exponent - lowest) << self.mantissa_bits()) + steps.trunc() as i32 + up) as u8
    }

    /// The exponent of the largest finite value: 8 or 15.
    pub const fn largest_exponent(self) -> u32 {
        match self {
            Self::E4m3 => 8,
            Self::E5m2 => 15,
        }
    }

    /// The value of `code`, exactly.
    pub fn decode(self, code: u8) -> f32 {
        let m = self.mantissa_bits();
        let sign = if code & 0x80 != 0 { -1.0 } else { 1.0 };
        let magnitude = i32::from(code & 0x7F);
        match self {
            Self::E4m3 if magnitude == 0x7F => return f32::NAN,
            Self::E5m2 if magnitude > 0x7C => return f32::NAN,
            Self::E5m2 if magnitude == 0x7C => return sign * f32::INFINITY,
            _ => {}
        }
        let (exponent, mantissa) = (magnitude >> m, magnitude & ((1 << m) - 1));
        let significand = if exponent == 0 { mantissa } else { mantissa + (1 << m) };
        sign * significand as f32 * ((exponent.max(1) - self.bias() - m) as f32).exp2()
    }

    /// `e4m3` or `e5m2`.
    pub const fn name(self) -> &'static str {
        match self {
            Self::E4m3 => "e4m3",
            Self::E5m2 => "e5m2",
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The definition without arithmetic: the nearest of all finite values, ties to the even code.
    fn nearest(format: Fp8, x: f32) -> u8 {
        let sign = if x.is_sign_negative() { 0x80 } else { 0 };
        let distance = |code: u8| (f64::from(format.decode(code)) - f64::from(x.abs())).abs();
        let best = (0..=format.max_code())
            .min_by(|&a, &b| distance(a).total_cmp(&distance(b)).then_with(|| (a & 1).cmp(&(b & 1))));
        sign | best.unwrap()
    }

    #[test]
    fn every_f16_is_coded_as_its_nearest_value() {
        for format in [Fp8::E4m3, Fp8::E5m2] {
            for bits in 0..=u16::MAX {
                let x = half::f16::from_bits(bits).to_f32();
                let expected = if x.is_nan() { 0x7F } else { nearest(format, x.clamp(-65504.0, 65504.0)) };
                assert_eq!(format.encode(x), expected, "{format:?} {x}");
            }
        }
    }

    #[test]
    fn every_finite_code_survives_a_round_trip() {
        for format in [Fp8::E4m3, Fp8::E5m2] {
            for code in 0..=u8::MAX {
                let x = format.decode(code);
                if x.is_finite() {
                    assert_eq!(format.encode(x), code, "{format:?} {code:#x}");
                }
            }
        }
    }
}
