//! Outlier columns: the definition of [`crate::ops::outliers`].

use crate::error::Result;
use crate::format::outliers::{NO_COLUMN, OutlierLengths, OutlierOutputs, check};
use crate::format::{Code, Half16, Matrix};
use crate::reference::quantize::encode;

/// The largest finite f16, to which what is coded is clamped.
const LIMIT: f32 = 65504.0;

/// Columns in which some row has |x| >= threshold leave the int8 matrix, the first `columns.len()` of them; the rest of
/// each row is coded with scale = amax / 127. A NaN is no outlier, counts as 0, and is not in amax.
///
/// # Errors
/// [`Error::Argument`](crate::Error::Argument) for a threshold that is not above 0, a shape above the limits, more places
/// than columns, or a buffer that is too short.
pub fn extract<E: Half16>(
    threshold: f32,
    shape: Matrix,
    x: &[E],
    out: OutlierOutputs<&mut [u8], &mut [f32], &mut [u32], &mut [E]>,
) -> Result<()> {
    let OutlierOutputs { codes, scale, columns, count, values } = out;
    let cap = columns.len();
    let lengths = OutlierLengths {
        x: x.len(),
        codes: codes.len(),
        scale: scale.len(),
        columns: cap,
        count: count.len(),
        values: values.len(),
    };
    check("outliers::extract", threshold, shape, lengths)?;
    let at = |row: usize, col: usize| x[row * shape.row_stride + col];
    let is_outlier = |col: &usize| (0..shape.rows).any(|row| at(row, *col).to_f32().abs() >= threshold);
    let found: Vec<usize> = (0..shape.cols).filter(is_outlier).collect();
    let listed = &found[..found.len().min(cap)];
    (count[0], count[1]) = (found.len() as u32, u32::from(found.len() > cap));
    columns.fill(NO_COLUMN);
    for (place, &col) in columns.iter_mut().zip(listed) {
        *place = col as u32;
    }
    for row in 0..shape.rows {
        let coded = |col: usize| if listed.contains(&col) { 0.0 } else { at(row, col).to_f32() };
        let magnitude = |col: usize| if coded(col).is_nan() { 0.0 } else { coded(col).abs().min(LIMIT) };
        scale[row] = (0..shape.cols).map(magnitude).fold(0.0, f32::max) / Code::Int8.top();
        for col in 0..shape.cols {
            codes[row * shape.cols + col] = encode(Code::Int8, coded(col), scale[row], 0.0);
        }
        let values = &mut values[row * cap..][..cap];
        values.fill(E::from_f32(0.0));
        for (value, &col) in values.iter_mut().zip(listed) {
            *value = at(row, col);
        }
    }
    Ok(())
}
