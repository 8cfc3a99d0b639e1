//! Offset, smoothing and rotation of a matrix: the definition of [`crate::ops::transform`].

use crate::error::{Error, Result};
use crate::format::{Axis, Code, Element, Fp8, HostScalesMut, Matrix, Rotation, Scheme, Transform, sign};

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

/// Quantizes what [`forward`] gives, rounded to `E`; see [`super::quantize::quantize`].
///
/// # Errors
/// As [`forward`] and [`super::quantize::quantize`]; [`crate::Error::Unsupported`] for schemes outside the list at
/// [`check_scheme`].
pub fn quantize<E: Element>(
    scheme: Scheme,
    transform: &Transform<&[f32]>,
    shape: Matrix,
    x: &[E],
    codes: &mut [u8],
    scales: HostScalesMut<'_>,
) -> Result<()> {
    const OP: &str = "transform::quantize";
    check_scheme(OP, scheme)?;
    check(OP, transform, shape, x.len(), x.len())?;
    let mut y = x.to_vec();
    forward(transform, shape, x, &mut y)?;
    super::quantize::quantize(scheme, shape, &y, codes, scales)
}

/// Which schemes take a transform on the way: int8, int4, e4m3, uint8, uint4, uint2 per group of 8 to 256 elements, a power
/// of two; gives the group. The head dimension may be the group. For any other, transform first and then quantize.
///
/// # Errors
/// [`crate::Error::Unsupported`] with this list.
pub fn check_scheme(op: &'static str, scheme: Scheme) -> Result<usize> {
    let code =
        matches!(scheme.code, Code::Int8 | Code::Int4 | Code::Fp8(Fp8::E4m3) | Code::Uint8 | Code::Uint4 | Code::Uint2);
    match scheme.axis {
        Axis::Group(size) if code && size.is_power_of_two() && (8..=256).contains(&size) => Ok(size),
        axis => Err(Error::unsupported(
            op,
            format!("{} per {axis:?}", scheme.code.name()),
            "int8, int4, e4m3, uint8, uint4, uint2 per Group of 8 to 256, a power of two; else transform, then quantize",
        )),
    }
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
