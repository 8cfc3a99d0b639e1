//! Fused activations: the definition of [`crate::ops::activation`].
//!
//! The row is computed in f64 and rounded once to the model's type; a kernel's row may differ from it by the rounding of
//! f32 arithmetic (`ops::activation` states the bound). Codes and scales are those of [`super::quantize`] for the
//! rounded row, bit for bit: int8 maps NaN to 0, E4M3 to 0x7F; a NaN is left out of amax; inputs are clamped to +-65504;
//! a scale of 0 gives code 0.

use crate::error::Result;
use crate::format::activation::{
    GROUP, Gate, GateMul, RmsNorm, RowCodes, RowOutputs, RowScale, Rows, check_lengths, check_shape, outputs, span,
};
use crate::format::{Half16, Matrix};
use crate::reference::quantize::encode;

/// The largest finite f16, to which what is coded is clamped.
const LIMIT: f32 = 65504.0;

/// Slices of the host.
pub type Outputs<'a, E> = RowOutputs<&'a mut [E], &'a mut [u8], &'a [f32], &'a mut [f32]>;

/// `[residual add +] RMSNorm [+ smoothing]` of `rows` x `cols`; see [`RmsNorm`].
///
/// # Errors
/// [`Error::Argument`](crate::Error::Argument) for a shape above the limits, a short buffer or stride, or no output;
/// [`Error::Unsupported`](crate::Error::Unsupported) for another code than int8 or E4M3.
pub fn rms_norm_quantize<E: Half16>(
    rows: usize,
    cols: usize,
    norm: RmsNorm<&[E], &mut [E], &[f32]>,
    mut out: Outputs<'_, E>,
) -> Result<()> {
    const OP: &str = "activation::rms_norm_quantize";
    let RmsNorm { x, mut residual, weight, smooth, epsilon } = norm;
    check_shape(OP, rows, cols)?;
    let mut lengths = vec![("x", x.data.len(), matrix(OP, "x.row_stride", rows, cols, x.row_stride)?)];
    if let Some(residual) = &residual {
        let span = matrix(OP, "residual.row_stride", rows, cols, residual.row_stride)?;
        lengths.push(("residual", residual.data.len(), span));
    }
    lengths.push(("weight", weight.len(), cols));
    lengths.extend(smooth.map(|smooth| ("smooth", smooth.len(), cols)));
    lengths.extend(lengths_of(OP, rows, cols, &out)?);
    check_lengths(OP, &lengths)?;
    for row in 0..rows {
        let mut h: Vec<E> = x.data[row * x.row_stride..][..cols].to_vec();
        if let Some(Rows { data, row_stride }) = &mut residual {
            let residual = &mut data[row * *row_stride..][..cols];
            for (h, residual) in h.iter_mut().zip(residual) {
                *h = E::from_f32(h.to_f32() + residual.to_f32());
                *residual = *h;
            }
        }
        let value = |col: usize| f64::from(h[col].to_f32());
        let mean = (0..cols).map(|col| value(col) * value(col)).sum::<f64>() / cols as f64;
        let norm = (mean + f64::from(epsilon)).sqrt();
        let finished = (0..cols).map(|col| {
            let divisor = smooth.map_or(1.0, |smooth| f64::from(smooth[col]));
            value(col) / norm * f64::from(weight[col].to_f32()) / divisor
        });
        finish(row, cols, finished, &mut out);
    }
    Ok(())
}

/// f(gate) * up of `rows` x `cols`; see [`GateMul`].
///
/// # Errors
/// Those of [`rms_norm_quantize`].
pub fn gate_mul_quantize<E: Half16>(
    rows: usize,
    cols: usize,
    input: GateMul<&[E], &[f32]>,
    mut out: Outputs<'_, E>,
) -> Result<()> {
    const OP: &str = "activation::gate_mul_quantize";
    let GateMul { function, gate, up, smooth } = input;
    check_shape(OP, rows, cols)?;
    let mut lengths = vec![
        ("gate", gate.data.len(), matrix(OP, "gate.row_stride", rows, cols, gate.row_stride)?),
        ("up", up.data.len(), matrix(OP, "up.row_stride", rows, cols, up.row_stride)?),
    ];
    lengths.extend(smooth.map(|smooth| ("smooth", smooth.len(), cols)));
    lengths.extend(lengths_of(OP, rows, cols, &out)?);
    check_lengths(OP, &lengths)?;
    for row in 0..rows {
        let at = |matrix: &Rows<&[E]>, col: usize| f64::from(matrix.data[row * matrix.row_stride + col].to_f32());
        let divisor = |col: usize| smooth.map_or(1.0, |smooth| f64::from(smooth[col]));
        let finished = (0..cols).map(|col| gated(function, at(&gate, col)) * at(&up, col) / divisor(col));
        finish(row, cols, finished, &mut out);
    }
    Ok(())
}

pub(super) fn gated(function: Gate, x: f64) -> f64 {
    let sigmoid = |x: f64| 1.0 / (1.0 + (-x).exp());
    match function {
        Gate::Silu => x * sigmoid(x),
        // (1 + tanh u) / 2 = sigmoid(2 u), which keeps the left tail.
        Gate::GeluTanh => x * sigmoid(2.0 * (2.0 / std::f64::consts::PI).sqrt() * (x + 0.044715 * x * x * x)),
        Gate::GeluErf => x / 2.0 * libm::erfc(-x / 2f64.sqrt()),
    }
}

/// Rounds a row to E, writes what is asked for.
fn finish<E: Half16>(row: usize, cols: usize, values: impl Iterator<Item = f64>, out: &mut Outputs<'_, E>) {
    let finished: Vec<E> = values.map(|value| E::from_f32(to_odd(value))).collect();
    if let Some(out) = &mut out.row {
        out[row * cols..][..cols].copy_from_slice(&finished);
    }
    let Some(RowCodes { code, codes, scale }) = &mut out.coded else { return };
    let group = if let RowScale::Group(_) = scale { GROUP } else { cols.max(1) };
    for (at, part) in finished.chunks(group).enumerate() {
        let magnitude = |x: &E| if x.to_f32().is_nan() { 0.0 } else { x.to_f32().abs().min(LIMIT) };
        let dynamic = || part.iter().map(magnitude).fold(0.0, f32::max) / code.top();
        let scale = match scale {
            RowScale::Static(scale) => scale[0],
            RowScale::Token(scale) => {
                scale[row] = dynamic();
                scale[row]
            }
            RowScale::Group(scale) => {
                let group = row * cols.div_ceil(GROUP) + at;
                scale[group] = dynamic();
                scale[group]
            }
        };
        for (i, x) in part.iter().enumerate() {
            codes[row * cols + at * group + i] = encode(*code, x.to_f32(), scale, 0.0);
        }
    }
}

/// To f32, toward zero with the last bit set where that is not exact: a second rounding, to 16 bits, is then the only one.
fn to_odd(x: f64) -> f32 {
    let nearest = x as f32;
    if f64::from(nearest) == x || nearest.is_nan() {
        return nearest;
    }
    let beyond = f64::from(nearest).abs() > x.abs();
    f32::from_bits((nearest.to_bits() - u32::from(beyond)) | 1)
}

fn matrix(op: &'static str, argument: &'static str, rows: usize, cols: usize, row_stride: usize) -> Result<usize> {
    span(op, argument, Matrix { rows, cols, row_stride })
}

fn lengths_of<E>(
    op: &'static str,
    rows: usize,
    cols: usize,
    out: &Outputs<'_, E>,
) -> Result<Vec<(&'static str, usize, usize)>> {
    let coded = out.coded.as_ref().map(|RowCodes { code, codes, scale }| {
        let scale = match scale {
            RowScale::Token(scale) => RowScale::Token(scale.len()),
            RowScale::Static(scale) => RowScale::Static(scale.len()),
            RowScale::Group(scale) => RowScale::Group(scale.len()),
        };
        (*code, codes.len(), scale)
    });
    outputs(op, rows, cols, out.row.as_ref().map(|row| row.len()), coded)
}
