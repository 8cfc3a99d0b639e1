//! Quantize and dequantize a matrix; defined by [`crate::reference::quantize`], with which codes, scales and minima
//! agree bit for bit.
//!
//! Per row and per group: one launch, each element read once (rows of more than 8192 elements: twice, the second time
//! from cache). Per tensor and per column: three launches, each element read twice.

use std::sync::Arc;

use cudarc::driver::{CudaStream, CudaView, CudaViewMut, DevicePtr, DevicePtrMut, DeviceRepr, ValidAsZeroBits};
use half::f16;

use crate::error::Result;
use crate::format::{Axis, Code, Element, Fp8, Lengths, Matrix, Scales, Scheme};
use crate::runtime::{Entry, EntryRow, Kernels, Launch, check_stream};

/// Threads of a block, as in the kernels.
const BLOCK: u32 = 256;
/// Eights of elements that a thread of `quantize/rows` keeps between its passes, as there.
const HELD: u32 = 4;

#[repr(C)]
#[derive(Clone, Copy)]
struct QuantizeParams {
    x: u64,
    codes: u64,
    scale: u64,
    min: u64,
    row_stride: u64,
    row_bytes: u64,
    rows: u32,
    cols: u32,
    segment: u32,
    threads: u32,
    axis: u32,
    aligned: u32,
}

// SAFETY: `repr(C)`, plain integers without padding; the kernels' struct of the same name has the same fields.
unsafe impl DeviceRepr for QuantizeParams {}

type Quantize = Entry<QuantizeParams>;

const fn rows(name: &'static str) -> Quantize {
    Entry::new("quantize/rows", name)
}
const fn passes(name: &'static str) -> Quantize {
    Entry::new("quantize/passes", name)
}

/// By code, then dtype, in the order of [`Code::ALL`] and of `DType`.
const ROWS: [[Quantize; 3]; 7] = [
    [rows("quantize_rows_f32_int8"), rows("quantize_rows_f16_int8"), rows("quantize_rows_bf16_int8")],
    [rows("quantize_rows_f32_int4"), rows("quantize_rows_f16_int4"), rows("quantize_rows_bf16_int4")],
    [rows("quantize_rows_f32_e4m3"), rows("quantize_rows_f16_e4m3"), rows("quantize_rows_bf16_e4m3")],
    [rows("quantize_rows_f32_e5m2"), rows("quantize_rows_f16_e5m2"), rows("quantize_rows_bf16_e5m2")],
    [rows("quantize_rows_f32_uint8"), rows("quantize_rows_f16_uint8"), rows("quantize_rows_bf16_uint8")],
    [rows("quantize_rows_f32_uint4"), rows("quantize_rows_f16_uint4"), rows("quantize_rows_bf16_uint4")],
    [rows("quantize_rows_f32_uint2"), rows("quantize_rows_f16_uint2"), rows("quantize_rows_bf16_uint2")],
];
/// By code, then dtype; the symmetric codes, which come first in [`Code::ALL`].
const ENCODE: [[Quantize; 3]; 4] = [
    [passes("quantize_encode_f32_int8"), passes("quantize_encode_f16_int8"), passes("quantize_encode_bf16_int8")],
    [passes("quantize_encode_f32_int4"), passes("quantize_encode_f16_int4"), passes("quantize_encode_bf16_int4")],
    [passes("quantize_encode_f32_e4m3"), passes("quantize_encode_f16_e4m3"), passes("quantize_encode_bf16_e4m3")],
    [passes("quantize_encode_f32_e5m2"), passes("quantize_encode_f16_e5m2"), passes("quantize_encode_bf16_e5m2")],
];
/// By code, then dtype.
const DECODE: [[Quantize; 3]; 7] = [
    [passes("quantize_decode_f32_int8"), passes("quantize_decode_f16_int8"), passes("quantize_decode_bf16_int8")],
    [passes("quantize_decode_f32_int4"), passes("quantize_decode_f16_int4"), passes("quantize_decode_bf16_int4")],
    [passes("quantize_decode_f32_e4m3"), passes("quantize_decode_f16_e4m3"), passes("quantize_decode_bf16_e4m3")],
    [passes("quantize_decode_f32_e5m2"), passes("quantize_decode_f16_e5m2"), passes("quantize_decode_bf16_e5m2")],
    [passes("quantize_decode_f32_uint8"), passes("quantize_decode_f16_uint8"), passes("quantize_decode_bf16_uint8")],
    [passes("quantize_decode_f32_uint4"), passes("quantize_decode_f16_uint4"), passes("quantize_decode_bf16_uint4")],
    [passes("quantize_decode_f32_uint2"), passes("quantize_decode_f16_uint2"), passes("quantize_decode_bf16_uint2")],
];
/// By dtype.
const AMAX: [Quantize; 3] = [passes("quantize_amax_f32"), passes("quantize_amax_f16"), passes("quantize_amax_bf16")];
const FINISH: Quantize = passes("quantize_finish");

pub(crate) fn entries() -> Vec<EntryRow> {
    let tables = ROWS.iter().chain(&ENCODE).chain(&DECODE).chain(std::iter::once(&AMAX));
    tables.flatten().chain(std::iter::once(&FINISH)).map(Entry::row).collect()
}

const fn index(code: Code) -> usize {
    match code {
        Code::Int8 => 0,
        Code::Int4 => 1,
        Code::Fp8(Fp8::E4m3) => 2,
        Code::Fp8(Fp8::E5m2) => 3,
        Code::Uint8 => 4,
        Code::Uint4 => 5,
        Code::Uint2 => 6,
    }
}

/// Codes `x` by `scheme`; see [`crate::reference::quantize::quantize`] for the arithmetic and the layout of `codes`.
///
/// Any alignment and stride is correct. The accesses are wide (16 bytes of `x`) when `x` is 16-byte aligned, its row
/// stride a multiple of 16 bytes, and every row of codes starts at a multiple of the bytes of eight codes.
///
/// # Errors
/// Those of [`Scheme::validate`]; a stream of another device; loading and launching.
pub fn quantize<E: Element>(
    kernels: &Kernels,
    stream: &Arc<CudaStream>,
    scheme: Scheme,
    shape: Matrix,
    x: &CudaView<'_, E>,
    codes: &mut CudaViewMut<'_, u8>,
    scales: &mut Scales<CudaViewMut<'_, f32>, CudaViewMut<'_, f16>>,
) -> Result<()> {
    const OP: &str = "quantize::quantize";
    let counts = match &*scales {
        Scales::Symmetric(scale) => Scales::Symmetric(scale.len()),
        Scales::Asymmetric { scale, min } => Scales::Asymmetric { scale: scale.len(), min: min.len() },
    };
    let lengths = Lengths { element_name: "x", elements: x.len(), codes: codes.len(), scales: counts };
    scheme.validate(OP, shape, lengths)?;
    check_stream(OP, kernels, stream)?;
    let empty = shape.rows == 0 || shape.cols == 0;
    let by_row = matches!(scheme.axis, Axis::Row | Axis::Group(_));
    if empty || !by_row {
        let regions = scheme.regions(shape);
        match scales {
            Scales::Symmetric(scale) => zero(stream, scale, regions)?,
            Scales::Asymmetric { scale, min } => {
                zero(stream, scale, regions)?;
                zero(stream, min, regions)?;
            }
        }
    }
    if empty {
        return Ok(());
    }
    let (x, _reading) = x.device_ptr(stream);
    let (codes, _coding) = codes.device_ptr_mut(stream);
    let (scale, min, _guards) = match scales {
        Scales::Symmetric(scale) => {
            let (scale, guard) = scale.device_ptr_mut(stream);
            (scale, 0, (guard, None))
        }
        Scales::Asymmetric { scale, min } => {
            let ((scale, first), (min, second)) = (scale.device_ptr_mut(stream), min.device_ptr_mut(stream));
            (scale, min, (first, Some(second)))
        }
    };
    let params = params(scheme, shape, x, codes, (scale, min), E::DTYPE.bytes());
    let (code, dtype) = (index(scheme.code), E::DTYPE as usize);
    // SAFETY (of each launch below): 1. `validate` has held the lengths of `x`, `codes`, `scale` and `min` to the
    // shape, and the kernels touch just the elements, code bytes and regions of that shape. 2. All guards live to the
    // end of this function.
    if by_row {
        let segments = shape.rows as u64 * (shape.cols as u64 / u64::from(params.segment));
        let grid = blocks(OP, segments, u64::from(BLOCK / params.threads))?;
        let eights = params.segment.div_ceil(8 * params.threads).min(HELD);
        let shared = eights * BLOCK * 8 * E::DTYPE.bytes() as u32;
        let launch = Launch { op: OP, entry: ROWS[code][dtype], grid: (grid, 1, 1), block: (BLOCK, 1, 1), shared };
        // SAFETY: above.
        return unsafe { launch.run(kernels, stream, &params) };
    }
    let regions = scheme.regions(shape) as u64;
    let finish = QuantizeParams { segment: regions as u32, threads: scheme.code.top().to_bits(), ..params };
    for (entry, grid, params) in [
        (AMAX[dtype], elementwise(shape), params),
        (FINISH, (blocks(OP, regions, BLOCK.into())?, 1, 1), finish),
        (ENCODE[code][dtype], elementwise(shape), params),
    ] {
        let launch = Launch { op: OP, entry, grid, block: (BLOCK, 1, 1), shared: 0 };
        // SAFETY: above.
        unsafe { launch.run(kernels, stream, &params)? };
    }
    Ok(())
}

/// Values of the codes; see [`crate::reference::quantize::dequantize`]. Alignment as in [`quantize`].
///
/// # Errors
/// Those of [`Scheme::validate`]; a stream of another device; loading and launching.
pub fn dequantize<E: Element>(
    kernels: &Kernels,
    stream: &Arc<CudaStream>,
    scheme: Scheme,
    shape: Matrix,
    codes: &CudaView<'_, u8>,
    scales: &Scales<CudaView<'_, f32>, CudaView<'_, f16>>,
    out: &mut CudaViewMut<'_, E>,
) -> Result<()> {
    const OP: &str = "quantize::dequantize";
    let counts = match scales {
        Scales::Symmetric(scale) => Scales::Symmetric(scale.len()),
        Scales::Asymmetric { scale, min } => Scales::Asymmetric { scale: scale.len(), min: min.len() },
    };
    let lengths = Lengths { element_name: "out", elements: out.len(), codes: codes.len(), scales: counts };
    scheme.validate(OP, shape, lengths)?;
    check_stream(OP, kernels, stream)?;
    if shape.rows == 0 || shape.cols == 0 {
        return Ok(());
    }
    let (codes, _reading) = codes.device_ptr(stream);
    let (out, _writing) = out.device_ptr_mut(stream);
    let (scale, min, _guards) = match scales {
        Scales::Symmetric(scale) => {
            let (scale, guard) = scale.device_ptr(stream);
            (scale, 0, (guard, None))
        }
        Scales::Asymmetric { scale, min } => {
            let ((scale, first), (min, second)) = (scale.device_ptr(stream), min.device_ptr(stream));
            (scale, min, (first, Some(second)))
        }
    };
    let params = params(scheme, shape, out, codes, (scale, min), E::DTYPE.bytes());
    let entry = DECODE[index(scheme.code)][E::DTYPE as usize];
    let launch = Launch { op: OP, entry, grid: elementwise(shape), block: (BLOCK, 1, 1), shared: 0 };
    // SAFETY: 1. `validate` has held every length to the shape; the kernel writes just the elements of the shape. 2. All
    // guards live to the end of this function.
    unsafe { launch.run(kernels, stream, &params) }
}

fn zero<T: DeviceRepr + ValidAsZeroBits>(
    stream: &Arc<CudaStream>,
    x: &mut CudaViewMut<'_, T>,
    len: usize,
) -> Result<()> {
    if len > 0 {
        stream.memset_zeros(&mut x.slice_mut(..len))?;
    }
    Ok(())
}

fn params(scheme: Scheme, shape: Matrix, x: u64, codes: u64, scales: (u64, u64), element: usize) -> QuantizeParams {
    let row_bytes = scheme.row_bytes(shape.cols);
    let several = shape.rows > 1;
    let eight = scheme.code.bits() as u64;
    let aligned = x.is_multiple_of(16)
        && (!several || (shape.row_stride * element).is_multiple_of(16))
        && codes.is_multiple_of(eight)
        && (!several || (row_bytes as u64).is_multiple_of(eight));
    let (axis, segment) = match scheme.axis {
        Axis::Tensor => (0, shape.cols),
        Axis::Row => (1, shape.cols),
        Axis::Column => (2, shape.cols),
        Axis::Group(size) => (3, size),
    };
    QuantizeParams {
        x,
        codes,
        scale: scales.0,
        min: scales.1,
        row_stride: shape.row_stride as u64,
        row_bytes: row_bytes as u64,
        rows: shape.rows as u32,
        cols: shape.cols as u32,
        segment: segment as u32,
        threads: threads(segment),
        axis,
        aligned: aligned.into(),
    }
}

/// Threads that share a segment: one for every eight elements, as a power of two up to a warp, else a block.
fn threads(segment: usize) -> u32 {
    let eights = segment.div_ceil(8).next_power_of_two();
    // A warp holds four eights a lane without reading twice.
    if eights <= 128 { eights.min(32) as u32 } else { BLOCK }
}

/// The grid of the kernels where a thread owns an eight of columns and blocks stride over rows: enough blocks to fill a
/// large device, no more.
fn elementwise(shape: Matrix) -> (u32, u32, u32) {
    let across = (shape.cols as u64).div_ceil(8 * u64::from(BLOCK)) as u32;
    let down = (shape.rows as u32).min((4096 / across).clamp(1, 65_535));
    (across, down, 1)
}

fn blocks(op: &'static str, units: u64, per_block: u64) -> Result<u32> {
    let blocks = units.div_ceil(per_block);
    match i32::try_from(blocks) {
        Ok(blocks) => Ok(blocks as u32),
        Err(_) => {
            let most = per_block * i32::MAX as u64;
            Err(crate::Error::argument(op, "shape", format!("at most {most} scales"), units.to_string()))
        }
    }
}
