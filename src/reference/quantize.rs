//! Quantize and dequantize a matrix: the definition of [`crate::ops::quantize`].
//!
//! Arithmetic is f32 with IEEE division by the stored scale, rounding to nearest even, no flush to zero. Integer codes:
//! NaN counts as 0 and the input is clamped to +-65504. 8-bit floats: clamped likewise, NaN is left out of amax and
//! coded 0x7F. A stored scale of 0 gives code 0.

use half::f16;

use crate::error::Result;
use crate::format::{Code, Element, Lengths, Matrix, Scales, Scheme, pack, unpack};

/// The largest finite f16, to which every input is clamped.
const LIMIT: f32 = 65504.0;

/// Codes `x` (`shape`, row-major): a scale for every region of `scheme.axis`, a code for every element.
///
/// Symmetric codes: scale = amax / top, q = clamp(rne(x / scale), -top, top), or the nearest 8-bit float of x / scale.
/// Asymmetric codes (KIVI, arXiv 2402.02750, section 3): min = f16(min x), scale = f16((f16(max x) - min) / top),
/// q = clamp(rne((x - min) / scale), 0, top).
///
/// `codes` are rows of [`Scheme::row_bytes`] bytes; unused bits of a row's last byte are 0.
///
/// # Errors
/// Those of [`Scheme::validate`].
pub fn quantize<E: Element>(
    scheme: Scheme,
    shape: Matrix,
    x: &[E],
    codes: &mut [u8],
    mut scales: Scales<&mut [f32], &mut [f16]>,
) -> Result<()> {
    let lengths = Lengths { element_name: "x", elements: x.len(), codes: codes.len(), scales: lengths_of(&scales) };
    scheme.validate("quantize::quantize", shape, lengths)?;
    let at = |row: usize, col: usize| x[row * shape.row_stride + col].to_f32();
    let (low, high) = extremes(scheme, shape, &at);
    for region in 0..scheme.regions(shape) {
        let (low, high) = (low[region], high[region]);
        match &mut scales {
            Scales::Symmetric(scale) => scale[region] = low.abs().max(high.abs()) / scheme.code.top(),
            Scales::Asymmetric { scale, min } => {
                let (low, high) = (f16::from_f32(low), f16::from_f32(high));
                min[region] = low;
                scale[region] = f16::from_f32((high.to_f32() - low.to_f32()) / scheme.code.top());
            }
        }
    }
    let row_bytes = scheme.row_bytes(shape.cols);
    for row in 0..shape.rows {
        let bytes = &mut codes[row * row_bytes..][..row_bytes];
        bytes.fill(0);
        for col in 0..shape.cols {
            let region = scheme.region(shape, row, col);
            let (scale, min) = match &scales {
                Scales::Symmetric(scale) => (scale[region], 0.0),
                Scales::Asymmetric { scale, min } => (scale[region].to_f32(), min[region].to_f32()),
            };
            pack(bytes, scheme.code.bits(), col, encode(scheme.code, at(row, col), scale, min));
        }
    }
    Ok(())
}

/// Values of the codes: q * scale, or q * scale + min, in f32 with one rounding to the output's type after it.
///
/// Elements of `out` between rows are left as they are.
///
/// # Errors
/// Those of [`Scheme::validate`].
pub fn dequantize<E: Element>(
    scheme: Scheme,
    shape: Matrix,
    codes: &[u8],
    scales: Scales<&[f32], &[f16]>,
    out: &mut [E],
) -> Result<()> {
    let counts = match &scales {
        Scales::Symmetric(scale) => Scales::Symmetric(scale.len()),
        Scales::Asymmetric { scale, min } => Scales::Asymmetric { scale: scale.len(), min: min.len() },
    };
    let lengths = Lengths { element_name: "out", elements: out.len(), codes: codes.len(), scales: counts };
    scheme.validate("quantize::dequantize", shape, lengths)?;
    let row_bytes = scheme.row_bytes(shape.cols);
    for row in 0..shape.rows {
        for col in 0..shape.cols {
            let region = scheme.region(shape, row, col);
            let code = unpack(&codes[row * row_bytes..], scheme.code.bits(), col);
            let value = match &scales {
                Scales::Symmetric(scale) => value(scheme.code, code) * scale[region],
                Scales::Asymmetric { scale, min } => {
                    value(scheme.code, code) * scale[region].to_f32() + min[region].to_f32()
                }
            };
            out[row * shape.row_stride + col] = E::from_f32(value);
        }
    }
    Ok(())
}

fn lengths_of(scales: &Scales<&mut [f32], &mut [f16]>) -> Scales<usize, usize> {
    match scales {
        Scales::Symmetric(scale) => Scales::Symmetric(scale.len()),
        Scales::Asymmetric { scale, min } => Scales::Asymmetric { scale: scale.len(), min: min.len() },
    }
}

/// What statistics see of an input: NaN as 0, clamped.
pub(crate) fn sanitize(x: f32) -> f32 {
    if x.is_nan() { 0.0 } else { x.clamp(-LIMIT, LIMIT) }
}

/// Smallest and largest input of every region; (0, 0) where a region is empty.
fn extremes(scheme: Scheme, shape: Matrix, at: &impl Fn(usize, usize) -> f32) -> (Vec<f32>, Vec<f32>) {
    let regions = scheme.regions(shape);
    let (mut low, mut high) = (vec![f32::INFINITY; regions], vec![f32::NEG_INFINITY; regions]);
    for row in 0..shape.rows {
        for col in 0..shape.cols {
            let (region, x) = (scheme.region(shape, row, col), sanitize(at(row, col)));
            // -0 is below +0, so that neither depends on the order of elements.
            low[region] = if x.total_cmp(&low[region]).is_lt() { x } else { low[region] };
            high[region] = if x.total_cmp(&high[region]).is_gt() { x } else { high[region] };
        }
    }
    let empty = low.iter().map(|x| x.is_infinite()).collect::<Vec<_>>();
    for region in (0..regions).filter(|&r| empty[r]) {
        (low[region], high[region]) = (0.0, 0.0);
    }
    (low, high)
}

pub(crate) fn encode(code: Code, x: f32, scale: f32, min: f32) -> u8 {
    let top = code.top();
    match code {
        Code::Fp8(format) if x.is_nan() => format.encode(x),
        _ if scale == 0.0 => 0,
        Code::Fp8(format) => format.encode(x.clamp(-LIMIT, LIMIT) / scale),
        Code::Int8 | Code::Int4 => (sanitize(x) / scale).round_ties_even().clamp(-top, top) as i8 as u8,
        Code::Uint8 | Code::Uint4 | Code::Uint2 => {
            ((sanitize(x) - min) / scale).round_ties_even().clamp(0.0, top) as u8
        }
    }
}

fn value(code: Code, bits: u8) -> f32 {
    match code {
        Code::Fp8(format) => format.decode(bits),
        Code::Int8 => f32::from(bits as i8),
        Code::Int4 => f32::from(((bits << 4) as i8) >> 4),
        Code::Uint8 | Code::Uint4 | Code::Uint2 => f32::from(bits),
    }
}
