//! Outlier columns taken out of an int8 matrix (LLM.int8(), arXiv 2208.07339, section 3.2).

use crate::error::{Error, Result};
use crate::format::Matrix;
use crate::format::activation::{check_lengths, check_shape, span};

/// What stands behind the last column of a list.
pub const NO_COLUMN: u32 = u32::MAX;

/// What is made of `x [rows, cols]`; `C`, `F`, `U`, `V` are slices or device views of u8, f32, u32 and x's type.
#[derive(Debug)]
pub struct OutlierOutputs<C, F, U, V> {
    /// int8 `[rows, cols]`, dense; 0 in the listed columns.
    pub codes: C,
    /// `[rows]`: amax of the row without the listed columns, over 127.
    pub scale: F,
    /// `[cap]`, ascending; [`NO_COLUMN`] behind the last. Its length is the most columns that are taken out.
    pub columns: U,
    /// `[2]`: how many columns hold an outlier, and 1 if those are more than `cap`. Then the first `cap` are taken out and
    /// the others stay among the codes, in amax too: the result is whole, only coarser.
    pub count: U,
    /// `[rows, cap]`, dense: the listed columns as they are; 0 behind the last.
    pub values: V,
}

/// Words of the workspace for so many columns.
pub const fn workspace_words(cols: usize) -> usize {
    cols.div_ceil(32)
}

/// Lengths of what came with a call.
pub(crate) struct OutlierLengths {
    pub x: usize,
    pub codes: usize,
    pub scale: usize,
    pub columns: usize,
    pub count: usize,
    pub values: usize,
}

pub(crate) fn check(op: &'static str, threshold: f32, shape: Matrix, lengths: OutlierLengths) -> Result<()> {
    let Matrix { rows, cols, .. } = shape;
    if threshold.is_nan() || threshold <= 0.0 {
        return Err(Error::argument(op, "threshold", "a number above 0", threshold.to_string()));
    }
    check_shape(op, rows, cols)?;
    if lengths.columns > cols {
        return Err(Error::argument(op, "columns", format!("at most the {cols} columns"), lengths.columns.to_string()));
    }
    let lengths = [
        ("x", lengths.x, span(op, "shape.row_stride", shape)?),
        ("codes", lengths.codes, rows * cols),
        ("scale", lengths.scale, rows),
        ("count", lengths.count, 2),
        ("values", lengths.values, rows * lengths.columns),
    ];
    check_lengths(op, &lengths)
}
