//! Quantize and dequantize a matrix: the definition of [`crate::ops::quantize`].
//!
//! Arithmetic is f32 with IEEE division by the stored scale, rounding to nearest even, no flush to zero. Integer and E2M1
//! codes: NaN counts as 0 and the input is clamped to +-65504. 8-bit floats: clamped likewise, NaN is left out of amax and
//! coded 0x7F. A stored scale of 0 gives code 0.

use half::f16;

use crate::error::{Error, Result};
use crate::format::{
    Code, Element, Fp8, HostScales, HostScalesMut, Lengths, Matrix, Options, Rounding, Scales, Scheme, decode_e2m1,
    decode_e8m0, encode_e2m1, encode_e8m0, pack, uniform, unpack,
};

/// The largest finite f16, to which every input is clamped.
const LIMIT: f32 = 65504.0;

/// Codes `x` (`shape`, row-major): a scale for every region of `scheme.axis`, a code for every element. To nearest, with
/// the whole range; [`quantize_with`] takes options.
///
/// # Errors
/// Those of [`Scheme::validate`].
pub fn quantize<E: Element>(
    scheme: Scheme,
    shape: Matrix,
    x: &[E],
    codes: &mut [u8],
    scales: HostScalesMut<'_>,
) -> Result<()> {
    quantize_with(scheme, shape, x, codes, scales, Options::default())
}

/// As [`quantize`], with [`Options`].
///
/// With low and high the region's extremes times the clip ratio, amax the larger magnitude of them:
///
/// | scales | scale | code |
/// |---|---|---|
/// | f32 | amax / top | clamp(rne(x / scale), -top, top), or the nearest 8-bit float of x / scale |
/// | f16 and minimum (KIVI, arXiv 2402.02750, section 3) | min = f16(low), scale = f16((f16(high) - min) / top) | clamp(rne((x - min) / scale), 0, top) |
/// | NVFP4 | tensor = amax of the tensor / 2688, block = E4M3((amax / 6) / tensor) | E2M1(x / (block * tensor)) |
/// | E8M0 (OCP MX, section 6.3) | 2^(floor(log2 amax) - exponent of top) | nearest code of x / scale |
///
/// `codes` are rows of [`Scheme::row_bytes`] bytes, least significant bits first; unused bits of a row's last byte are 0.
///
/// # Errors
/// Those of [`Scheme::validate`] and [`Options::validate`].
pub fn quantize_with<E: Element>(
    scheme: Scheme,
    shape: Matrix,
    x: &[E],
    codes: &mut [u8],
    mut scales: HostScalesMut<'_>,
    options: Options,
) -> Result<()> {
    const OP: &str = "quantize::quantize";
    let counts = scales.map(|f| f.len(), |h| h.len(), |b| b.len());
    let lengths = Lengths { element_name: "x", elements: x.len(), codes: codes.len(), scales: counts };
    scheme.validate(OP, shape, lengths)?;
    options.validate(OP, scheme.code)?;
    let at = |row: usize, col: usize| x[row * shape.row_stride + col].to_f32();
    let (low, high) = extremes(scheme, shape, options.clip_ratio, &at);
    if let (Scales::Blocks { tensor, .. }, false) = (&mut scales, options.given_tensor_scale) {
        let amax = low.iter().zip(&high).fold(0f32, |most, (low, high)| most.max(low.abs()).max(high.abs()));
        tensor[0] = amax / (6.0 * 448.0);
    }
    for region in 0..scheme.regions(shape) {
        let (low, high) = (low[region], high[region]);
        let amax = low.abs().max(high.abs());
        match &mut scales {
            Scales::Symmetric(scale) => scale[region] = amax / scheme.code.top(),
            Scales::Asymmetric { scale, min } => {
                let (low, high) = (f16::from_f32(low), f16::from_f32(high));
                min[region] = low;
                scale[region] = f16::from_f32((high.to_f32() - low.to_f32()) / scheme.code.top());
            }
            Scales::Blocks { block, tensor } => {
                block[region] = if tensor[0] == 0.0 { 0 } else { Fp8::E4m3.encode((amax / 6.0) / tensor[0]) };
            }
            Scales::Exponents(block) => {
                let largest = if let Code::Mxfp8(format) = scheme.code { format.largest_exponent() } else { 2 };
                block[region] = encode_e8m0(amax, largest);
            }
        }
    }
    encode_all(scheme, shape, at, codes, &scales.map(|f| &**f, |h| &**h, |b| &**b), options.rounding);
    Ok(())
}

/// Codes `x` by scales that are given, such as calibrated ones; what lies beyond their range saturates.
///
/// A scale that is infinite or NaN gives codes without meaning.
///
/// # Errors
/// Those of [`Scheme::validate`]; [`Error::Unsupported`] for the block formats and for stochastic rounding to another
/// code than those listed at [`Rounding`].
pub fn quantize_static<E: Element>(
    scheme: Scheme,
    shape: Matrix,
    x: &[E],
    scales: HostScales<'_>,
    codes: &mut [u8],
    rounding: Rounding,
) -> Result<()> {
    const OP: &str = "quantize::quantize_static";
    let counts = scales.map(|f| f.len(), |h| h.len(), |b| b.len());
    let lengths = Lengths { element_name: "x", elements: x.len(), codes: codes.len(), scales: counts };
    scheme.validate(OP, shape, lengths)?;
    check_static(OP, scheme.code, rounding)?;
    let at = |row: usize, col: usize| x[row * shape.row_stride + col].to_f32();
    encode_all(scheme, shape, at, codes, &scales, rounding);
    Ok(())
}

/// Codes that take given scales, and roundings of these.
pub(crate) fn check_static(op: &'static str, code: Code, rounding: Rounding) -> Result<()> {
    if code.block().is_some() {
        let supported = "int8, int4, int2, e4m3, e5m2, uint8, uint4, uint2";
        return Err(Error::unsupported(op, format!("given scales of {}", code.name()), supported));
    }
    rounding.validate(op, code)
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
    scales: HostScales<'_>,
    out: &mut [E],
) -> Result<()> {
    let counts = scales.map(|f| f.len(), |h| h.len(), |b| b.len());
    let lengths = Lengths { element_name: "out", elements: out.len(), codes: codes.len(), scales: counts };
    scheme.validate("quantize::dequantize", shape, lengths)?;
    let row_bytes = scheme.row_bytes(shape.cols);
    for row in 0..shape.rows {
        for col in 0..shape.cols {
            let (scale, min) = stored(&scales, scheme.region(shape, row, col));
            let code = unpack(&codes[row * row_bytes..], scheme.code.bits(), col);
            let product = value(scheme.code, code) * scale;
            // Only a minimum is added: -0 + 0 would lose its sign.
            let value = if scheme.code.asymmetric() { product + min } else { product };
            out[row * shape.row_stride + col] = E::from_f32(value);
        }
    }
    Ok(())
}

/// The scale and the minimum of a region as f32.
fn stored(scales: &HostScales<'_>, region: usize) -> (f32, f32) {
    match scales {
        Scales::Symmetric(scale) => (scale[region], 0.0),
        Scales::Asymmetric { scale, min } => (scale[region].to_f32(), min[region].to_f32()),
        Scales::Blocks { block, tensor } => (Fp8::E4m3.decode(block[region]) * tensor[0], 0.0),
        Scales::Exponents(block) => (decode_e8m0(block[region]), 0.0),
    }
}

/// What statistics see of an input: NaN as 0, clamped.
pub(crate) fn sanitize(x: f32) -> f32 {
    if x.is_nan() { 0.0 } else { x.clamp(-LIMIT, LIMIT) }
}

/// Smallest and largest input of every region, times `clip`; (0, 0) where a region is empty.
fn extremes(scheme: Scheme, shape: Matrix, clip: f32, at: &impl Fn(usize, usize) -> f32) -> (Vec<f32>, Vec<f32>) {
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
    let clipped = |x: f32| if x.is_infinite() { 0.0 } else { x * clip };
    (low.into_iter().map(clipped).collect(), high.into_iter().map(clipped).collect())
}

fn encode_all(
    scheme: Scheme,
    shape: Matrix,
    at: impl Fn(usize, usize) -> f32,
    codes: &mut [u8],
    scales: &HostScales<'_>,
    rounding: Rounding,
) {
    let row_bytes = scheme.row_bytes(shape.cols);
    for row in 0..shape.rows {
        let bytes = &mut codes[row * row_bytes..][..row_bytes];
        bytes.fill(0);
        for col in 0..shape.cols {
            let (scale, min) = stored(scales, scheme.region(shape, row, col));
            let code = match rounding {
                Rounding::Nearest => encode(scheme.code, at(row, col), scale, min),
                Rounding::Stochastic { seed } => {
                    let u = uniform(seed, row as u64 * shape.cols as u64 + col as u64);
                    encode_stochastic(scheme.code, at(row, col), scale, u)
                }
            };
            pack(bytes, scheme.code.bits(), col, code);
        }
    }
}

/// The nearest code of `x` under a scale and a minimum.
pub(crate) fn encode(code: Code, x: f32, scale: f32, min: f32) -> u8 {
    let top = code.top();
    match code {
        Code::Fp8(format) | Code::Mxfp8(format) if x.is_nan() => format.encode(x),
        _ if scale == 0.0 => 0,
        Code::Fp8(format) | Code::Mxfp8(format) => format.encode(x.clamp(-LIMIT, LIMIT) / scale),
        Code::Int8 | Code::Int4 | Code::Int2 => (sanitize(x) / scale).round_ties_even().clamp(-top, top) as i8 as u8,
        Code::Uint8 | Code::Uint4 | Code::Uint2 => {
            ((sanitize(x) - min) / scale).round_ties_even().clamp(0.0, top) as u8
        }
        Code::Nvfp4 | Code::Mxfp4 => encode_e2m1(sanitize(x) / scale),
    }
}

/// One of the two codes around x / scale: the farther from zero when `u` is below the fraction.
fn encode_stochastic(code: Code, x: f32, scale: f32, u: f32) -> u8 {
    match code {
        Code::Fp8(format) if x.is_nan() => format.encode(x),
        _ if scale == 0.0 => 0,
        Code::Fp8(format) => format.encode_stochastic(x.clamp(-LIMIT, LIMIT) / scale, u),
        _ => {
            let quotient = (sanitize(x) / scale).clamp(-code.top(), code.top());
            let up = if u < quotient.abs().fract() { 1.0 } else { 0.0 };
            (quotient.abs().trunc() + up).copysign(quotient) as i8 as u8
        }
    }
}

fn value(code: Code, bits: u8) -> f32 {
    match code {
        Code::Fp8(format) | Code::Mxfp8(format) => format.decode(bits),
        Code::Int8 => f32::from(bits as i8),
        Code::Int4 => f32::from(((bits << 4) as i8) >> 4),
        Code::Int2 => f32::from(((bits << 6) as i8) >> 6),
        Code::Uint8 | Code::Uint4 | Code::Uint2 => f32::from(bits),
        Code::Nvfp4 | Code::Mxfp4 => decode_e2m1(bits),
    }
}
