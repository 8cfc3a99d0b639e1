//! Codebook coding with outlier slots; defined by [`crate::reference::codebook`], with which codes, ranges and outliers
//! agree bit for bit.
//!
//! KVQuant's keys are [`Spread::Channel`], its values [`Spread::Row`], both with [`crate::format::outlier_slots`] and a
//! table of [`crate::calibrate::nuq`]; TurboQuant-style coding is a signed Hadamard [`Transform`], [`Spread::Norm`] and
//! [`crate::calibrate::lloyd_max`].
//!
//! One launch; each row is read once. Any alignment and stride is correct: accesses of the matrix are wide when it is
//! 16-byte aligned and its row stride a multiple of 16 bytes; codes go in words when columns are a multiple of 8 (3 bits: 32)
//! and they start at a multiple of 4 bytes.

use std::sync::Arc;

use cudarc::driver::{CudaStream, CudaView, CudaViewMut, DevicePtr, DevicePtrMut, DeviceRepr};
use half::f16;

use super::transform::{TransformParams, is_aligned};
use crate::error::Result;
use crate::format::{Codebook, CodebookLengths, Element, Matrix, Outliers, Spread, Transform};
use crate::runtime::{Entry, EntryRow, Kernels, Launch, check_stream};

/// Threads of a block, as in the kernels.
const THREADS: u32 = 256;
/// Most rows that a group of lanes goes through, so that the ranges of its channels weigh little.
const MOST_STEPS: u64 = 64;
/// Bytes of ranges and zeros up to which a block shares them.
const MOST_TABLE: usize = 8192;

#[repr(C)]
#[derive(Clone, Copy)]
struct CodebookParams {
    x: u64,
    codes: u64,
    range: u64,
    zero: u64,
    channel: u64,
    value: u64,
    row_stride: u64,
    rows: u32,
    cols: u32,
    heads: u32,
    slots: u32,
    lanes: u32,
    aligned: u32,
    transform: TransformParams,
    levels: [f32; 16],
    thresholds: [f32; 16],
}

// SAFETY: `repr(C)`, plain integers and floats without padding; the kernels' struct of the same name has the same fields.
unsafe impl DeviceRepr for CodebookParams {}

type Coding = Entry<CodebookParams>;

macro_rules! entry {
    ($($part:literal),*) => { Coding::new("quantize/codebook", concat!("codebook_", $($part),*)) };
}
/// By what range and zero are of (channel, row, norm).
macro_rules! quantize_of {
    ($name:literal) => {
        [
            entry!("quantize_", $name, "_channel"),
            entry!("quantize_", $name, "_row"),
            entry!("quantize_", $name, "_norm"),
        ]
    };
}
/// By what range and zero are of (channel, row).
macro_rules! dequantize_of {
    ($name:literal) => {
        [entry!("dequantize_", $name, "_channel"), entry!("dequantize_", $name, "_row")]
    };
}

/// By dtype, then bits from 2 on.
const QUANTIZE: [[[Coding; 3]; 3]; 3] = [
    [quantize_of!("f32_nuq2"), quantize_of!("f32_nuq3"), quantize_of!("f32_nuq4")],
    [quantize_of!("f16_nuq2"), quantize_of!("f16_nuq3"), quantize_of!("f16_nuq4")],
    [quantize_of!("bf16_nuq2"), quantize_of!("bf16_nuq3"), quantize_of!("bf16_nuq4")],
];
/// By dtype, then bits from 2 on.
const DEQUANTIZE: [[[Coding; 2]; 3]; 3] = [
    [dequantize_of!("f32_nuq2"), dequantize_of!("f32_nuq3"), dequantize_of!("f32_nuq4")],
    [dequantize_of!("f16_nuq2"), dequantize_of!("f16_nuq3"), dequantize_of!("f16_nuq4")],
    [dequantize_of!("bf16_nuq2"), dequantize_of!("bf16_nuq3"), dequantize_of!("bf16_nuq4")],
];

pub(crate) fn entries() -> Vec<EntryRow> {
    let quantize = QUANTIZE.iter().flatten().flatten();
    quantize.chain(DEQUANTIZE.iter().flatten().flatten()).map(Entry::row).collect()
}

/// Codes the transformed `x`; see [`crate::reference::codebook::quantize`]. The table travels with the launch: a captured
/// graph keeps the one it was captured with.
///
/// # Errors
/// Those of [`CodebookLengths::validate`] and [`Transform::validate`]; a stream of another device; loading and launching.
#[allow(clippy::too_many_arguments)] // What is coded, how, and where to.
pub fn quantize<E: Element>(
    kernels: &Kernels,
    stream: &Arc<CudaStream>,
    book: &Codebook,
    transform: &Transform<CudaView<'_, f32>>,
    shape: Matrix,
    x: &CudaView<'_, E>,
    codes: &mut CudaViewMut<'_, u8>,
    spread: &mut Spread<CudaView<'_, f16>, CudaViewMut<'_, f16>>,
    outliers: Option<&mut Outliers<CudaViewMut<'_, u8>, CudaViewMut<'_, f16>>>,
) -> Result<()> {
    const OP: &str = "codebook::quantize";
    let lengths = CodebookLengths {
        elements: ("x", x.len()),
        codes: codes.len(),
        spread: spread.lengths(|v| v.len(), |v| v.len()),
        outliers: outliers.as_ref().map(|o| Outliers {
            slots: o.slots,
            channel: o.channel.len(),
            value: o.value.len(),
        }),
    };
    lengths.validate(OP, book, shape)?;
    transform.validate(OP, shape, |v| v.len())?;
    check_stream(OP, kernels, stream)?;
    let (x, _reading) = x.device_ptr(stream);
    let (codes, _coding) = codes.device_ptr_mut(stream);
    let (transform, _vectors) = TransformParams::new(transform, stream);
    let (which, heads, range, zero, _spread) = match spread {
        Spread::Channel { heads, range, zero } => {
            let ((range, first), (zero, second)) = (range.device_ptr(stream), zero.device_ptr(stream));
            (0, *heads, range, zero, (first, Some(second)))
        }
        Spread::Row { range, zero } => {
            let ((range, first), (zero, second)) = (range.device_ptr_mut(stream), zero.device_ptr_mut(stream));
            (1, 0, range, zero, (first, Some(second)))
        }
        Spread::Norm { range } => {
            let (range, first) = range.device_ptr_mut(stream);
            (2, 0, range, 0, (first, None))
        }
    };
    let (slots, channel, value, _outliers) = match outliers {
        Some(Outliers { slots, channel, value }) => {
            let ((channel, first), (value, second)) = (channel.device_ptr_mut(stream), value.device_ptr_mut(stream));
            (*slots, channel, value, Some((first, second)))
        }
        None => (0, 0, 0, None),
    };
    let pointers = Pointers { x, codes, range, zero, channel, value };
    let entry = QUANTIZE[E::DTYPE as usize][book.bits() - 2][which];
    // SAFETY: `validate` has held every length to the shape, heads and slots; all guards live to the end of this function.
    unsafe { run::<E>(OP, kernels, stream, entry, book, shape, pointers, (heads, slots), transform) }
}

/// Values of the codes; see [`crate::reference::codebook::dequantize`].
///
/// # Errors
/// Those of [`CodebookLengths::validate`]; a stream of another device; loading and launching.
#[allow(clippy::too_many_arguments)] // What was coded, how, and where to.
pub fn dequantize<E: Element>(
    kernels: &Kernels,
    stream: &Arc<CudaStream>,
    book: &Codebook,
    shape: Matrix,
    codes: &CudaView<'_, u8>,
    spread: &Spread<CudaView<'_, f16>, CudaView<'_, f16>>,
    outliers: Option<&Outliers<CudaView<'_, u8>, CudaView<'_, f16>>>,
    out: &mut CudaViewMut<'_, E>,
) -> Result<()> {
    const OP: &str = "codebook::dequantize";
    let lengths = CodebookLengths {
        elements: ("out", out.len()),
        codes: codes.len(),
        spread: spread.lengths(|v| v.len(), |v| v.len()),
        outliers: outliers.map(|o| Outliers { slots: o.slots, channel: o.channel.len(), value: o.value.len() }),
    };
    lengths.validate(OP, book, shape)?;
    check_stream(OP, kernels, stream)?;
    let (x, _writing) = out.device_ptr_mut(stream);
    let (codes, _coding) = codes.device_ptr(stream);
    let (which, heads, range, zero) = match spread {
        Spread::Channel { heads, range, zero } => (0, *heads, range, Some(zero)),
        Spread::Row { range, zero } => (1, 0, range, Some(zero)),
        Spread::Norm { range } => (1, 0, range, None),
    };
    let (range, _range) = range.device_ptr(stream);
    let zero = zero.map(|zero| zero.device_ptr(stream));
    let outliers = outliers.map(|o| (o.slots, o.channel.device_ptr(stream), o.value.device_ptr(stream)));
    let (slots, channel, value) = outliers.as_ref().map_or((0, 0, 0), |(slots, c, v)| (*slots, c.0, v.0));
    let zero = zero.as_ref().map_or(0, |(zero, _guard)| *zero);
    let pointers = Pointers { x, codes, range, zero, channel, value };
    let entry = DEQUANTIZE[E::DTYPE as usize][book.bits() - 2][which];
    let (transform, _vectors) = TransformParams::new(&Transform::NONE, stream);
    // SAFETY: as in `quantize`, with the roles of the matrix and the rest exchanged.
    unsafe { run::<E>(OP, kernels, stream, entry, book, shape, pointers, (heads, slots), transform) }
}

struct Pointers {
    x: u64,
    codes: u64,
    range: u64,
    zero: u64,
    channel: u64,
    value: u64,
}

/// # Safety
/// `pointers` and the transform's vectors hold what the shape, heads and slots ask for, guarded across the call.
#[allow(clippy::too_many_arguments)] // The two wrappers' arguments, checked.
unsafe fn run<E: Element>(
    op: &'static str,
    kernels: &Kernels,
    stream: &Arc<CudaStream>,
    entry: Coding,
    book: &Codebook,
    shape: Matrix,
    pointers: Pointers,
    (heads, slots): (usize, usize),
    transform: TransformParams,
) -> Result<()> {
    if shape.rows == 0 || shape.cols == 0 {
        return Ok(());
    }
    let Pointers { x, codes, range, zero, channel, value } = pointers;
    let lanes = shape.cols.div_ceil(8).next_power_of_two() as u32;
    let rows = u64::from(THREADS / lanes);
    let (whole, start) = if book.bits() == 3 { (32, 4) } else { (8, book.bits() as u64) };
    let words = shape.cols.is_multiple_of(whole) && codes.is_multiple_of(start);
    // Range and zero of all channels, if the launch has any and they are no more than what a block may well read.
    let table = if heads > 0 { 4 * heads * shape.cols } else { 0 };
    let (shares, table) = if table <= MOST_TABLE { (table > 0, table as u32) } else { (false, 0) };
    let (levels, mut thresholds) = book.padded();
    thresholds[15] = book.limit();
    let params = CodebookParams {
        x,
        codes,
        range,
        zero,
        channel,
        value,
        row_stride: shape.row_stride as u64,
        rows: shape.rows as u32,
        cols: shape.cols as u32,
        heads: heads.max(1) as u32,
        slots: slots as u32,
        lanes,
        aligned: u32::from(is_aligned(x, shape, E::DTYPE.bytes())) | u32::from(words) << 1 | u32::from(shares) << 2,
        transform,
        levels,
        thresholds,
    };
    // As many rows a group as leave each multiprocessor two blocks; from one to the next, whole sets of heads.
    let passes = (shape.rows as u64).div_ceil(rows);
    let steps = (passes / (2 * u64::from(kernels.sm_count()))).clamp(1, MOST_STEPS);
    let heads = heads.max(1) as u64;
    let blocks = passes.div_ceil(steps).next_multiple_of(heads / gcd(heads, rows));
    let shared = table + rows as u32 * (4 + 3 * slots as u32);
    let launch = Launch { op, entry, grid: (blocks as u32, 1, 1), block: (THREADS, 1, 1), shared };
    // SAFETY: 1. The kernel touches just the elements, code bytes, ranges and slots of the shape. 2. The caller's obligation.
    unsafe { launch.run(kernels, stream, &params) }
}

fn gcd(a: u64, b: u64) -> u64 {
    if b == 0 { a } else { gcd(b, a % b) }
}
