//! Calibration on the host: what a format needs to know of a model before it codes. Deterministic: the same input gives the
//! same bits, whatever the number of threads.

mod codebook;
mod gaussian;
mod smooth;

pub use codebook::{channel_range, nuq};
pub use gaussian::{lloyd_max, lloyd_max_f64};
pub use smooth::{channel_max, fold_into_norm, fold_into_weights, smooth};

/// The nearest f16, ties to even. `f16::from_f64` may go through f32 and round twice; here the first step rounds to odd,
/// which keeps what the second needs to know.
fn to_f16(x: f64) -> half::f16 {
    let mut y = x as f32;
    if f64::from(y) != x && y.is_finite() {
        let toward_zero = if f64::from(y).abs() > x.abs() { y.to_bits() - 1 } else { y.to_bits() };
        y = f32::from_bits(toward_zero | 1);
    }
    half::f16::from_f32(y)
}

#[cfg(test)]
mod tests {
    use super::to_f16;

    #[test]
    fn f64_is_rounded_once() {
        // Just above and below the middle of 1 and the next f16, by less than f32 can tell.
        let middle = 1.0 + 2f64.powi(-11);
        let (one, next) = (half::f16::ONE, half::f16::from_bits(half::f16::ONE.to_bits() + 1));
        assert_eq!([middle, middle + 1e-12, middle - 1e-12].map(to_f16), [one, next, one]);
        assert_eq!([-middle, -middle - 1e-12].map(to_f16), [-one, -next]);
        assert_eq!(to_f16(1.0 + 3.0 * 2f64.powi(-11) - 1e-12), next);
    }
}
