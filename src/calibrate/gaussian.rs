//! The best tables for a Gaussian: Lloyd and Max's quantizer (Max, "Quantizing for minimum distortion", 1960; Lloyd, 1957),
//! computed, not copied. After a random rotation the channels of a head are nearly Gaussian (TurboQuant, arXiv 2504.19874),
//! so one table serves every layer without calibration.

use std::f64::consts::{FRAC_1_SQRT_2, PI};

use super::to_f16;
use crate::error::{Error, Result};
use crate::format::Codebook;

/// The table of 2, 3 or 4 bits of least mean squared error for a Gaussian of variance 1, rounded to f16.
///
/// # Errors
/// [`Error::Argument`] for other bits.
pub fn lloyd_max(bits: usize) -> Result<Codebook> {
    if !(2..=4).contains(&bits) {
        return Err(Error::argument("calibrate::lloyd_max", "bits", "2, 3 or 4", bits.to_string()));
    }
    Codebook::new(&lloyd_max_f64(bits).into_iter().map(to_f16).collect::<Vec<_>>())
}

/// The 2^bits levels before rounding, for 1 to 8 bits (0 gives the mean): each is the mean of what lies nearest to it.
pub fn lloyd_max_f64(bits: usize) -> Vec<f64> {
    let count = 1usize << bits.min(8);
    // Symmetric about 0, so only the upper half moves; from evenly spaced levels, which the iteration keeps in order.
    let mut upper: Vec<f64> = (0..count.div_ceil(2)).map(|i| (i as f64 + 0.5) * 6.0 / count as f64).collect();
    if count == 1 {
        return vec![0.0];
    }
    loop {
        let edge = |i: usize| match i {
            0 => 0.0,
            i if i == upper.len() => f64::INFINITY,
            i => (upper[i - 1] + upper[i]) / 2.0,
        };
        let next: Vec<f64> = (0..upper.len()).map(|i| mean(edge(i), edge(i + 1))).collect();
        let moved = next.iter().zip(&upper).map(|(a, b)| (a - b).abs()).fold(0.0, f64::max);
        upper = next;
        if moved < 1e-13 {
            break;
        }
    }
    upper.iter().rev().map(|level| -level).chain(upper.iter().copied()).collect()
}

/// The mean of a standard Gaussian between two edges, 0 <= a < b.
fn mean(a: f64, b: f64) -> f64 {
    let density = |x: f64| (-x * x / 2.0).exp() / (2.0 * PI).sqrt();
    // Of the upper tail, which keeps its digits far out.
    let beyond = |x: f64| libm::erfc(x * FRAC_1_SQRT_2) / 2.0;
    (density(a) - density(b)) / (beyond(a) - beyond(b))
}

#[cfg(test)]
mod tests {
    use half::f16;

    use super::*;

    /// The expected squared error by numeric integration, and the same integrals for the conditions.
    fn integrate(from: f64, to: f64, f: impl Fn(f64) -> f64) -> f64 {
        const STEPS: usize = 20_000; // Simpson's rule
        let h = (to - from) / STEPS as f64;
        let weight = |i: usize| {
            if i == 0 || i == STEPS {
                1.0
            } else if i % 2 == 1 {
                4.0
            } else {
                2.0
            }
        };
        (0..=STEPS).map(|i| weight(i) * f(from + i as f64 * h)).sum::<f64>() * h / 3.0
    }

    fn density(x: f64) -> f64 {
        (-x * x / 2.0).exp() / (2.0 * PI).sqrt()
    }

    #[test]
    fn the_conditions_of_optimality_and_the_published_errors() {
        // Levels and errors of Max 1960, table I (N = 2, 4, 8, 16).
        let published: [(&[f64], f64); 4] = [
            (&[0.7980], 0.3634),
            (&[0.4528, 1.510], 0.1175),
            (&[0.2451, 0.7560, 1.344, 2.152], 0.03454),
            (&[0.1284, 0.3881, 0.6568, 0.9424, 1.256, 1.618, 2.069, 2.733], 0.009497),
        ];
        for (bits, (levels, error)) in (1..=4).zip(published) {
            let found = lloyd_max_f64(bits);
            assert_eq!(found.len(), 1 << bits);
            for (found, level) in found[1 << (bits - 1)..].iter().zip(levels) {
                assert!((found - level).abs() < 1e-3, "{bits} bits: {found}, published {level}"); // four digits
            }
            let mut edges: Vec<f64> = found.windows(2).map(|pair| (pair[0] + pair[1]) / 2.0).collect();
            edges.insert(0, -12.0); // the tail beyond is below 1e-32
            edges.push(12.0);
            let mut total = 0.0;
            for (level, edge) in found.iter().zip(edges.windows(2)) {
                // A level is the mean of its cell; the cells' edges are midpoints by construction.
                let mass = integrate(edge[0], edge[1], density);
                let mean = integrate(edge[0], edge[1], |x| x * density(x)) / mass;
                assert!((mean - level).abs() < 1e-9, "{bits} bits: {level} is not the mean {mean} of its cell");
                total += integrate(edge[0], edge[1], |x| (x - level).powi(2) * density(x));
            }
            // Four digits are printed: half a unit of the last is up to 1 / 2000 of the number.
            assert!((total - error).abs() < error / 2000.0, "{bits} bits: {total}, published {error}");
        }
    }

    #[test]
    fn tables_are_symmetric_and_only_of_2_to_4_bits() {
        for bits in 2..=4 {
            let book = lloyd_max(bits).unwrap();
            let negated: Vec<f16> = book.levels().iter().rev().map(|level| -level).collect();
            assert_eq!(book.levels(), negated);
        }
        let error = lloyd_max(5).unwrap_err().to_string();
        assert_eq!(error, "calibrate::lloyd_max: `bits`: expected 2, 3 or 4, found 5");
    }
}
