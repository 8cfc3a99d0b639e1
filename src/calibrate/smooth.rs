//! SmoothQuant (Xiao et al., arXiv 2211.10438, section 4): outlier channels of the activations are made smaller and the
//! weights that meet them larger, by a factor a channel that the product does not see.
//!
//! `x W^T = (x / s) (W * s)^T`. The division is folded into what makes x: a norm's weight ([`fold_into_norm`]), the rows of
//! the layer before (for `down`: of `up`, as silu(gate) * up is linear in up), or the `smooth` vector of
//! [`crate::ops::activation`]; the product into the columns of every layer that reads x ([`fold_into_weights`]).

use crate::error::{Error, Result};
use crate::format::Element;

/// The least that a maximum and a factor count as.
const LEAST: f64 = 1e-5;

/// `max |x|` of every column of `x [rows, columns]`; joined over calls into `so_far` (zeros at the start). NaN is left out.
///
/// # Errors
/// [`Error::Argument`] when x is not whole rows of `so_far`'s length.
pub fn channel_max<E: Element>(x: &[E], so_far: &mut [f32]) -> Result<()> {
    const OP: &str = "calibrate::channel_max";
    if so_far.is_empty() || !x.len().is_multiple_of(so_far.len()) {
        let expected = format!("a multiple of {} elements", so_far.len());
        return Err(Error::argument(OP, "x", expected, x.len().to_string()));
    }
    for row in x.chunks_exact(so_far.len()) {
        for (most, x) in so_far.iter_mut().zip(row) {
            *most = most.max(x.to_f32().abs());
        }
    }
    Ok(())
}

/// The factors `s_j = max(max(x_j, 1e-5)^alpha / max(w_j, 1e-5)^(1 - alpha), 1e-5)`: x_j the largest |x| of channel j seen in
/// calibration, w_j the largest |w| of column j over all layers that read x. `alpha` 0.5 shares the difficulty, 0.8 leaves
/// more of it to the weights.
///
/// # Errors
/// [`Error::Argument`] for an alpha outside 0 to 1, maxima of different lengths, or one that is negative or not finite.
pub fn smooth(alpha: f64, x_max: &[f32], w_max: &[f32]) -> Result<Vec<f32>> {
    const OP: &str = "calibrate::smooth";
    if !(0.0..=1.0).contains(&alpha) {
        return Err(Error::argument(OP, "alpha", "0 to 1", alpha.to_string()));
    }
    if x_max.len() != w_max.len() {
        return Err(Error::argument(OP, "w_max", format!("{} channels", x_max.len()), w_max.len().to_string()));
    }
    for (argument, maxima) in [("x_max", x_max), ("w_max", w_max)] {
        if let Some(wrong) = maxima.iter().find(|m| !(m.is_finite() && **m >= 0.0)) {
            return Err(Error::argument(OP, argument, "finite maxima, none negative", wrong.to_string()));
        }
    }
    let clamped = |m: f32| f64::from(m).max(LEAST);
    let factor = |(&x, &w): (&f32, &f32)| (clamped(x).powf(alpha) / clamped(w).powf(1.0 - alpha)).max(LEAST) as f32;
    Ok(x_max.iter().zip(w_max).map(factor).collect())
}

/// Divides a norm's weight, or the rows of the layer before: `weight [channels, per_channel]` by its channel's factor.
///
/// # Errors
/// [`Error::Argument`] when there are not `per_channel` weights a factor.
pub fn fold_into_norm<E: Element>(weight: &mut [E], per_channel: usize, factors: &[f32]) -> Result<()> {
    const OP: &str = "calibrate::fold_into_norm";
    if factors.len().checked_mul(per_channel) != Some(weight.len()) {
        let expected = format!("{per_channel} for each of {} factors", factors.len());
        return Err(Error::argument(OP, "weight", expected, weight.len().to_string()));
    }
    for (row, factor) in weight.chunks_exact_mut(per_channel.max(1)).zip(factors) {
        row.iter_mut().for_each(|w| *w = E::from_f32(w.to_f32() / factor));
    }
    Ok(())
}

/// Multiplies the columns of `weights [n, k]` by their factors.
///
/// # Errors
/// [`Error::Argument`] when the weights are not whole rows of as many columns as there are factors.
pub fn fold_into_weights<E: Element>(weights: &mut [E], factors: &[f32]) -> Result<()> {
    const OP: &str = "calibrate::fold_into_weights";
    if factors.is_empty() || !weights.len().is_multiple_of(factors.len()) {
        let expected = format!("a multiple of {} elements", factors.len());
        return Err(Error::argument(OP, "weights", expected, weights.len().to_string()));
    }
    for row in weights.chunks_exact_mut(factors.len()) {
        for (w, factor) in row.iter_mut().zip(factors) {
            *w = E::from_f32(w.to_f32() * factor);
        }
    }
    Ok(())
}
