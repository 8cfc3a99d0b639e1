//! The fused activation operations as values: what goes in, and what becomes of a finished row.
//!
//! `X`, `R`, `F`... are slices (`reference`) or device views (`ops`).

use crate::error::{Error, Result};
use crate::format::{Code, Fp8, Matrix};

/// Elements that share a scale with [`RowScale::Group`]: 1x128.
pub const GROUP: usize = 128;

/// The longest row that the kernels take: it waits in shared memory.
pub const MAX_COLS: usize = 49_152;

/// The buffer of a matrix whose rows may lie further apart than they are long.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Rows<X> {
    /// The elements, the first row's first.
    pub data: X,
    /// Elements from one row's start to the next's.
    pub row_stride: usize,
}

/// `[residual add +] RMSNorm [+ smoothing]` of `[rows, cols]`.
///
/// h = x + residual rounded to the model's type, or x; row = h / sqrt(mean(h^2) + epsilon) * weight / smooth.
#[derive(Debug)]
pub struct RmsNorm<X, R, F> {
    /// What is normalized.
    pub x: Rows<X>,
    /// Added to x; h is written back to it.
    pub residual: Option<Rows<R>>,
    /// `[cols]`.
    pub weight: X,
    /// `[cols]`, f32: the smoothing vector that the row is divided by (SmoothQuant, arXiv 2211.10438, equation 3).
    pub smooth: Option<F>,
    /// Added to the mean of squares.
    pub epsilon: f32,
}

/// The function of a gated activation.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Gate {
    /// x / (1 + e^-x).
    Silu,
    /// x / 2 * (1 + tanh(sqrt(2 / pi) (x + 0.044715 x^3))).
    GeluTanh,
    /// x / 2 * (1 + erf(x / sqrt 2)).
    GeluErf,
}

/// row = f(gate) * up [/ smooth] of `[rows, cols]` each: the halves of one buffer (both with its row stride) or two buffers.
#[derive(Debug, Clone, Copy)]
pub struct GateMul<X, F> {
    /// f.
    pub function: Gate,
    /// What f takes.
    pub gate: Rows<X>,
    /// What f's result is multiplied by.
    pub up: Rows<X>,
    /// `[cols]`, f32: as in [`RmsNorm`].
    pub smooth: Option<F>,
}

/// The scales of a row's codes: `I` is read, `O` is written.
#[derive(Debug)]
pub enum RowScale<I, O> {
    /// `[rows]`: amax of the row over the code's top.
    Token(O),
    /// `[1]`, calibrated; codes saturate.
    Static(I),
    /// `[rows, ceil(cols / 128)]`: amax of each 128 elements over the code's top; the last group may be shorter.
    Group(O),
}

/// Codes of the row, dense `[rows, cols]`, one byte each.
#[derive(Debug)]
pub struct RowCodes<C, I, O> {
    /// [`Code::Int8`], or [`Code::Fp8`] with E4M3.
    pub code: Code,
    /// The bytes.
    pub codes: C,
    /// What a code is multiplied by.
    pub scale: RowScale<I, O>,
}

/// What is written of a finished row; at least one of both.
#[derive(Debug)]
pub struct RowOutputs<R, C, I, O> {
    /// The row in the model's type, dense `[rows, cols]`.
    pub row: Option<R>,
    /// Its codes: exactly those that quantizing the row, rounded to the model's type, gives.
    pub coded: Option<RowCodes<C, I, O>>,
}

/// An argument's name, its length, and the length that the shape asks for.
pub(crate) type Length = (&'static str, usize, usize);

/// Elements that a matrix spans, or an error that names its stride.
pub(crate) fn span(op: &'static str, argument: &'static str, shape: Matrix) -> Result<usize> {
    let Matrix { rows, cols, row_stride } = shape;
    if rows > 1 && row_stride < cols {
        return Err(Error::argument(op, argument, format!("at least the {cols} columns"), row_stride.to_string()));
    }
    let limit = 1usize << 40;
    if rows.checked_mul(row_stride.max(cols)).is_none_or(|n| n > limit) {
        return Err(Error::argument(op, argument, "rows within 2^40 elements", format!("{rows} x {row_stride}")));
    }
    Ok(shape.span())
}

/// Rows and columns that the kernels take.
pub(crate) fn check_shape(op: &'static str, rows: usize, cols: usize) -> Result<()> {
    if rows > i32::MAX as usize {
        return Err(Error::argument(op, "rows", format!("at most {}", i32::MAX), rows.to_string()));
    }
    if cols > MAX_COLS {
        return Err(Error::argument(op, "cols", format!("at most {MAX_COLS}"), cols.to_string()));
    }
    Ok(())
}

/// What is asked for is something, with a code that there is; the lengths of the outputs.
pub(crate) fn outputs(
    op: &'static str,
    rows: usize,
    cols: usize,
    row: Option<usize>,
    coded: Option<(Code, usize, RowScale<usize, usize>)>,
) -> Result<Vec<Length>> {
    if row.is_none() && coded.is_none() {
        return Err(Error::argument(op, "outputs", "a row, codes, or both", "neither"));
    }
    let mut lengths = Vec::new();
    lengths.extend(row.map(|len| ("row", len, rows * cols)));
    if let Some((code, codes, scale)) = coded {
        if !matches!(code, Code::Int8 | Code::Fp8(Fp8::E4m3)) {
            return Err(Error::unsupported(op, code.name(), "int8, e4m3"));
        }
        lengths.push(("codes", codes, rows * cols));
        lengths.push(match scale {
            RowScale::Token(len) => ("scale", len, rows),
            RowScale::Static(len) => ("scale", len, 1),
            RowScale::Group(len) => ("scale", len, rows * cols.div_ceil(GROUP)),
        });
    }
    Ok(lengths)
}

/// Every buffer is long enough.
pub(crate) fn check_lengths(op: &'static str, lengths: &[Length]) -> Result<()> {
    for &(argument, found, least) in lengths {
        if found < least {
            return Err(Error::argument(op, argument, format!("at least {least} elements"), found.to_string()));
        }
    }
    Ok(())
}
