//! The 4-bit float E2M1 and the exponent E8M0 (OCP Microscaling Formats, 2023, sections 5.3 and 5.4).
//!
//! E2M1: sign, 2 exponent bits with bias 1, 1 mantissa bit; no infinity, no NaN. Codes 0..=7 are 0, 0.5, 1, 1.5, 2, 3, 4,
//! 6, codes 8..=15 their negatives.

/// The magnitudes of codes 0..=7.
pub const E2M1: [f32; 8] = [0.0, 0.5, 1.0, 1.5, 2.0, 3.0, 4.0, 6.0];

/// The E2M1 code nearest to `x`, ties to the even code; 6 beyond 6; the sign of zero is kept. NaN gives 7, 6.0.
pub fn encode_e2m1(x: f32) -> u8 {
    let sign = if x.is_sign_negative() && !x.is_nan() { 8 } else { 0 };
    // The code is the number of midpoints below; a tie goes up where that makes the code even.
    let above = |code: usize| {
        let midpoint = (E2M1[code] + E2M1[code + 1]) / 2.0;
        x.is_nan() || x.abs() > midpoint || (x.abs() == midpoint && code % 2 == 1)
    };
    sign | (0..7).filter(|&code| above(code)).count() as u8
}

/// The value of an E2M1 code, in the low four bits.
pub const fn decode_e2m1(code: u8) -> f32 {
    let magnitude = E2M1[(code & 7) as usize];
    if code & 8 == 0 { magnitude } else { -magnitude }
}

/// The E8M0 scale of a block with this largest magnitude: 2^(floor(log2 amax) - `largest_exponent`), where
/// `largest_exponent` is that of the element format's largest value; at least 2^-127, which is that of amax 0.
pub fn encode_e8m0(amax: f32, largest_exponent: u32) -> u8 {
    // The biased exponent; 0 for subnormals, whose scale would be below the least.
    (amax.to_bits() >> 23).saturating_sub(largest_exponent) as u8
}

/// 2^(code - 127); 255 is NaN.
pub const fn decode_e8m0(code: u8) -> f32 {
    match code {
        0 => f32::from_bits(1 << 22),
        255 => f32::NAN,
        _ => f32::from_bits((code as u32) << 23),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ties_go_to_the_even_code_and_large_values_saturate() {
        let cases = [(0.25, 0), (0.75, 2), (1.25, 2), (1.75, 4), (2.5, 4), (3.5, 6), (5.0, 6), (5.01, 7), (1e9, 7)];
        for (x, code) in cases {
            assert_eq!((encode_e2m1(x), encode_e2m1(-x)), (code, code | 8), "{x}");
        }
        assert_eq!((encode_e2m1(0.0), encode_e2m1(-0.0), encode_e2m1(f32::NEG_INFINITY)), (0, 8, 15));
        for code in 0..16 {
            assert_eq!(encode_e2m1(decode_e2m1(code)), code);
        }
    }

    #[test]
    fn block_exponents() {
        let cases = [(0.0, 2, 0), (6.0, 2, 127), (4.0, 2, 127), (3.99, 2, 126), (65504.0, 2, 140), (1e-40, 8, 0)];
        for (amax, largest, code) in cases {
            assert_eq!(encode_e8m0(amax, largest), code, "{amax}");
        }
        for code in 0..255 {
            assert_eq!(f64::from(decode_e8m0(code)), (f64::from(code) - 127.0).exp2());
        }
    }
}
