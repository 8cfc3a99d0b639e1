//! Offset, smoothing and rotation of a matrix: the definition of [`crate::ops::transform`].

use crate::error::Result;
use crate::format::{Element, Matrix, Rotation, Transform, sign};

/// out = R(S((x - offset) / smoothing)); see [`Transform`]. Elements of `out` between rows are left as they are; `x` and
/// `out` have the same shape.
///
/// # Errors
/// [`crate::Error::Argument`]: those of [`Matrix::validate`] and [`Transform::validate`].
pub fn forward<E: Element>(transform: &Transform<&[f32]>, shape: Matrix, x: &[E], out: &mut [E]) -> Result<()> {
    check("transform::forward", transform, shape, x.len(), out.len())?;
    each_row(shape, x, out, |row| apply(transform, row));
    Ok(())
}

/// The inverse: out = S(R(x)) * smoothing + offset, so that `inverse(forward(x))` is x but for rounding.
///
/// # Errors
/// As [`forward`].
pub fn inverse<E: Element>(transform: &Transform<&[f32]>, shape: Matrix, x: &[E], out: &mut [E]) -> Result<()> {
    check("transform::inverse", transform, shape, x.len(), out.len())?;
    each_row(shape, x, out, |row| {
        hadamard(transform.rotation, row);
        change_signs(transform.rotation, row);
        if let Some(smoothing) = transform.smoothing {
            row.iter_mut().zip(smoothing).for_each(|(v, s)| *v *= s);
        }
        if let Some(offset) = transform.offset {
            row.iter_mut().zip(offset).for_each(|(v, o)| *v += o);
        }
    });
    Ok(())
}

/// The forward transform of one row in f32, before it is rounded to a type.
pub(crate) fn apply(transform: &Transform<&[f32]>, row: &mut [f32]) {
    if let Some(offset) = transform.offset {
        row.iter_mut().zip(offset).for_each(|(v, o)| *v -= o);
    }
    if let Some(smoothing) = transform.smoothing {
        row.iter_mut().zip(smoothing).for_each(|(v, s)| *v /= s);
    }
    change_signs(transform.rotation, row);
    hadamard(transform.rotation, row);
}

fn change_signs(rotation: Rotation, row: &mut [f32]) {
    let Some(seed) = rotation.seed() else { return };
    for (channel, v) in row.iter_mut().enumerate() {
        *v = if sign(seed, channel % rotation.block()) { -*v } else { *v };
    }
}

fn hadamard(rotation: Rotation, row: &mut [f32]) {
    if rotation == Rotation::None {
        return;
    }
    let block = rotation.block();
    let scale = scale(block);
    for y in row.chunks_exact_mut(block) {
        let mut stride = 1;
        while stride < block {
            for low in (0..block).filter(|i| i & stride == 0) {
                let (a, b) = (y[low], y[low + stride]);
                (y[low], y[low + stride]) = (a + b, a - b);
            }
            stride *= 2;
        }
        y.iter_mut().for_each(|v| *v *= scale);
    }
}

/// f32(1/sqrt(block)).
pub(crate) fn scale(block: usize) -> f32 {
    (1.0 / (block as f64).sqrt()) as f32
}

/// The rows, none of them if they are empty: an empty row may start behind the end of its buffer.
pub(crate) fn rows_of(shape: Matrix) -> std::ops::Range<usize> {
    0..if shape.cols == 0 { 0 } else { shape.rows }
}

fn each_row<E: Element>(shape: Matrix, x: &[E], out: &mut [E], mut map: impl FnMut(&mut [f32])) {
    for at in rows_of(shape).map(|row| row * shape.row_stride) {
        let mut row: Vec<f32> = x[at..][..shape.cols].iter().map(|v| v.to_f32()).collect();
        map(&mut row);
        out[at..].iter_mut().zip(row).for_each(|(out, v)| *out = E::from_f32(v));
    }
}

fn check(op: &'static str, transform: &Transform<&[f32]>, shape: Matrix, x: usize, out: usize) -> Result<()> {
    shape.validate(op, ("x", x))?;
    shape.validate(op, ("out", out))?;
    transform.validate(op, shape, |v| v.len())
}
