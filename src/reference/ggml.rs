//! ggml blocks: the definition of [`crate::ops::ggml`], byte for byte that of ggml's own reference.
//!
//! Arithmetic is f32, every operation rounded to nearest even. Inputs as everywhere in this crate: NaN counts as 0 and
//! magnitudes are clamped to 65504, within which the bytes are ggml's. `id` is 1/d of the scale *before* it is rounded to
//! f16, and 0 where d is 0 or 1/d overflows (|d| < 2^-128; the stored scale is then 0).

use half::f16;

use super::quantize::sanitize;
use super::transform::{self, rows_of};
use crate::error::Result;
use crate::format::{Element, GgmlType, IQ4_NL, Matrix, Transform};

const BLOCK: usize = GgmlType::BLOCK;

/// Codes the transformed `x` (`shape`, row-major; columns a multiple of 32) into blocks.
///
/// | type | d | q |
/// |---|---|---|
/// | Q8_0 | amax/127 | x*id rounded to nearest, ties away from zero |
/// | Q4_0, Q5_0 | m/-8, m/-16; m is the first element of largest magnitude | min(trunc(x*id + 8.5), 15), of 16.5 and 31 |
/// | Q4_1, Q5_1 | (max - min)/15, /31; min is stored too | min(trunc((x - min)*id + 0.5), 15), 31 |
/// | IQ4_NL | d0 = m/-127; then d = sum(x²·v·x)/sum(x²·v·v) over v = the levels coded, in order of elements | the level nearest x/d0, the upper of two |
///
/// IQ4_NL codes every element of a block with amax < 1e-15 as 8 with d = 0 (ggml leaves these codes open).
///
/// `transform` is applied first, and its result rounded to `E`.
///
/// # Errors
/// Those of [`GgmlType::validate`] and [`Transform::validate`].
pub fn quantize<E: Element>(
    kind: GgmlType,
    transform: &Transform<&[f32]>,
    shape: Matrix,
    x: &[E],
    blocks: &mut [u8],
) -> Result<()> {
    const OP: &str = "ggml::quantize";
    kind.validate(OP, shape, ("x", x.len()), blocks.len())?;
    transform.validate(OP, shape, |v| v.len())?;
    let row_bytes = kind.row_bytes(shape.cols);
    for row in rows_of(shape) {
        let mut y: Vec<f32> = x[row * shape.row_stride..][..shape.cols].iter().map(|v| v.to_f32()).collect();
        if !transform.is_none() {
            transform::apply(transform, &mut y);
            y.iter_mut().for_each(|v| *v = E::from_f32(*v).to_f32());
        }
        y.iter_mut().for_each(|v| *v = sanitize(*v));
        let blocks = blocks[row * row_bytes..][..row_bytes].chunks_exact_mut(kind.block_bytes());
        for (x, block) in y.chunks_exact(BLOCK).zip(blocks) {
            let (d, m, q) = coded(kind, x);
            pack(kind, (f16::from_f32(d), f16::from_f32(m), q), block);
        }
    }
    Ok(())
}

/// Values of the blocks, in f32 with one rounding to the output's type after it. Elements of `out` between rows are left
/// as they are.
///
/// # Errors
/// Those of [`GgmlType::validate`].
pub fn dequantize<E: Element>(kind: GgmlType, shape: Matrix, blocks: &[u8], out: &mut [E]) -> Result<()> {
    kind.validate("ggml::dequantize", shape, ("out", out.len()), blocks.len())?;
    let row_bytes = kind.row_bytes(shape.cols);
    for row in rows_of(shape) {
        let out = out[row * shape.row_stride..][..shape.cols].chunks_exact_mut(BLOCK);
        let blocks = blocks[row * row_bytes..][..row_bytes].chunks_exact(kind.block_bytes());
        for (out, block) in out.zip(blocks) {
            out.iter_mut().zip(decode(kind, block)).for_each(|(out, v)| *out = E::from_f32(v));
        }
    }
    Ok(())
}

/// Scale, minimum and codes of a block; Q8_0's are bytes of signed numbers. The stored scale is f16(d).
pub(crate) fn coded(kind: GgmlType, x: &[f32]) -> (f32, f32, [u8; BLOCK]) {
    match kind {
        GgmlType::Q8_0 => {
            let d = extreme(x).abs() / 127.0;
            let id = reciprocal(d);
            (d, 0.0, codes(x, |x| (x * id).round() as i8 as u8))
        }
        GgmlType::Q4_0 | GgmlType::Q5_0 => {
            let half = if kind == GgmlType::Q4_0 { 8.0 } else { 16.0 };
            let d = extreme(x) / -half;
            let id = reciprocal(d);
            (d, 0.0, codes(x, |x| (x * id + (half + 0.5)).min(2.0 * half - 1.0) as u8))
        }
        GgmlType::Q4_1 | GgmlType::Q5_1 => {
            let top = if kind == GgmlType::Q4_1 { 15.0 } else { 31.0 };
            // The first of equal minima, which tells -0 from +0.
            let min = x.iter().fold(f32::INFINITY, |m, &x| if x < m { x } else { m });
            let d = (x.iter().fold(f32::NEG_INFINITY, |m, &x| m.max(x)) - min) / top;
            let id = reciprocal(d);
            (d, min, codes(x, |x| ((x - min) * id + 0.5).min(top) as u8))
        }
        GgmlType::Iq4Nl => {
            let (d, q) = iq4_nl(x);
            (d, 0.0, q)
        }
    }
}

/// Writes a block of a scale, a minimum and codes.
pub(crate) fn pack(kind: GgmlType, (d, m, q): (f16, f16, [u8; BLOCK]), block: &mut [u8]) {
    block.fill(0);
    block[..2].copy_from_slice(&d.to_le_bytes());
    if kind.has_min() {
        block[2..4].copy_from_slice(&m.to_le_bytes());
    }
    for (j, &q) in q.iter().enumerate() {
        if let Some(at) = kind.high_bits_at() {
            block[at + j / 8] |= (q >> 4) << (j % 8);
        }
        match kind {
            GgmlType::Q8_0 => block[kind.codes_at() + j] = q,
            _ => block[kind.codes_at() + j % 16] |= (q & 15) << (4 * (j / 16)),
        }
    }
}

fn codes(x: &[f32], code: impl Fn(f32) -> u8) -> [u8; BLOCK] {
    std::array::from_fn(|j| code(x[j]))
}

/// The first element of largest magnitude, with its sign; +0 if there is none but zeros.
fn extreme(x: &[f32]) -> f32 {
    x.iter().fold(0.0, |m: f32, &x| if x.abs() > m.abs() { x } else { m })
}

fn reciprocal(d: f32) -> f32 {
    let id = 1.0 / d;
    if id.is_finite() { id } else { 0.0 }
}

fn iq4_nl(x: &[f32]) -> (f32, [u8; BLOCK]) {
    let extreme = extreme(x);
    let coded = extreme.abs() >= 1e-15;
    let id = if coded { 1.0 / (extreme / -127.0) } else { 0.0 };
    // The first level whose midpoint to the next lies above x.
    let nearest = |x: f32| IQ4_NL.windows(2).take_while(|v| x >= 0.5 * (f32::from(v[0]) + f32::from(v[1]))).count();
    let q = codes(x, |x| nearest(x * id) as u8);
    let (mut sum_x, mut sum_v) = (0f32, 0f32);
    for (&x, &q) in x.iter().zip(&q) {
        let (weight, v) = (x * x, f32::from(IQ4_NL[usize::from(q)]));
        sum_x += weight * v * x;
        sum_v += weight * v * v;
    }
    (if coded && sum_v > 0.0 { sum_x / sum_v } else { 0.0 }, q)
}

fn decode(kind: GgmlType, block: &[u8]) -> [f32; BLOCK] {
    let half = |at: usize| f16::from_le_bytes([block[at], block[at + 1]]).to_f32();
    let d = half(0);
    std::array::from_fn(|j| {
        let codes = &block[kind.codes_at()..];
        let low = codes[j % 16] >> (4 * (j / 16)) & 15;
        let fifth = |at: usize| (block[at + j / 8] >> (j % 8) & 1) << 4;
        let q = f32::from(low | kind.high_bits_at().map_or(0, fifth));
        match kind {
            GgmlType::Q4_0 => (q - 8.0) * d,
            GgmlType::Q5_0 => (q - 16.0) * d,
            GgmlType::Q4_1 | GgmlType::Q5_1 => q * d + half(2),
            GgmlType::Q8_0 => f32::from(codes[j] as i8) * d,
            GgmlType::Iq4Nl => f32::from(IQ4_NL[usize::from(low)]) * d,
        }
    })
}
