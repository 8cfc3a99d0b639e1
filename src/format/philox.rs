//! Philox4x32-10: random numbers that are a function of a counter and a key (Salmon et al., "Parallel Random Numbers: As
//! Easy as 1, 2, 3", SC 2011). Stochastic rounding draws by element index, so its result does not depend on how a
//! launch is cut into threads.

/// Four random words of a counter under a key.
pub fn philox4x32_10(mut counter: [u32; 4], mut key: [u32; 2]) -> [u32; 4] {
    let wide = |a: u32, b: u32| {
        let product = u64::from(a) * u64::from(b);
        ((product >> 32) as u32, product as u32)
    };
    for _ in 0..10 {
        let (high0, low0) = wide(0xD251_1F53, counter[0]);
        let (high1, low1) = wide(0xCD9E_8D57, counter[2]);
        counter = [high1 ^ counter[1] ^ key[0], low1, high0 ^ counter[3] ^ key[1], low0];
        key = [key[0].wrapping_add(0x9E37_79B9), key[1].wrapping_add(0xBB67_AE85)];
    }
    counter
}

/// The random number in [0, 1) of element `index`: a multiple of 2^-24, from word `index % 4` of counter `index / 4`
/// under the key `seed`.
pub fn uniform(seed: u64, index: u64) -> f32 {
    let counter = index / 4;
    let words = philox4x32_10([counter as u32, (counter >> 32) as u32, 0, 0], [seed as u32, (seed >> 32) as u32]);
    (words[(index % 4) as usize] >> 8) as f32 * (1.0 / (1 << 24) as f32)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// `kat_vectors` of the Random123 library, lines `philox4x32 10`.
    #[test]
    fn known_answers() {
        let ones = u32::MAX;
        let cases = [
            ([0; 4], [0; 2], [0x6627_e8d5, 0xe169_c58d, 0xbc57_ac4c, 0x9b00_dbd8]),
            ([ones; 4], [ones; 2], [0x408f_276d, 0x41c8_3b0e, 0xa20b_c7c6, 0x6d54_51fd]),
            (
                [0x243f_6a88, 0x85a3_08d3, 0x1319_8a2e, 0x0370_7344],
                [0xa409_3822, 0x299f_31d0],
                [0xd16c_fe09, 0x94fd_cceb, 0x5001_e420, 0x2412_6ea1],
            ),
        ];
        for (counter, key, expected) in cases {
            assert_eq!(philox4x32_10(counter, key), expected);
        }
    }

    #[test]
    fn uniform_numbers_have_their_mean_and_stay_below_one() {
        let draws: Vec<f64> = (0..40_000).map(|i| f64::from(uniform(7, i))).collect();
        let mean = draws.iter().sum::<f64>() / draws.len() as f64;
        // Five standard deviations of the mean of uniform numbers.
        assert!((mean - 0.5).abs() < 5.0 * (1.0 / 12f64.sqrt()) / 200.0, "{mean}");
        assert!(draws.iter().all(|u| (0.0..1.0).contains(u)));
    }
}
