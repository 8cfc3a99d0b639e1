//! Blocks of ggml's types from and to a matrix; defined by [`crate::reference::ggml`], with which bytes agree exactly.
//!
//! One launch, each element read once and each block written once. Any alignment and stride is correct: accesses of the
//! matrix are 16 bytes wide when it is 16-byte aligned and its row stride a multiple of 16 bytes, and those of the blocks 4
//! bytes when they start at a multiple of 4.

use std::sync::Arc;

use cudarc::driver::{CudaStream, CudaView, CudaViewMut, DevicePtr, DevicePtrMut, DeviceRepr};

use super::transform::{TransformParams, is_aligned};
use crate::error::Result;
use crate::format::{Element, GgmlType, Matrix, Transform};
use crate::runtime::{Entry, EntryRow, Kernels, Launch, check_stream};

/// Threads of a block of the grid, and ggml blocks that they work on, as in the kernels.
const THREADS: u32 = 256;
const BLOCKS: u32 = THREADS / 4;

#[repr(C)]
#[derive(Clone, Copy)]
struct GgmlParams {
    x: u64,
    blocks: u64,
    row_stride: u64,
    count: u32,
    row_blocks: u32,
    aligned: u64,
    transform: TransformParams,
}

// SAFETY: `repr(C)`, plain integers and a float without padding; the kernels' struct of the same name has the same fields.
unsafe impl DeviceRepr for GgmlParams {}

type Ggml = Entry<GgmlParams>;

const fn ggml(name: &'static str) -> Ggml {
    Entry::new("quantize/ggml", name)
}

/// By type, in the order of [`GgmlType::ALL`], then dtype.
const QUANTIZE: [[Ggml; 3]; 6] = [
    [ggml("ggml_quantize_f32_q4_0"), ggml("ggml_quantize_f16_q4_0"), ggml("ggml_quantize_bf16_q4_0")],
    [ggml("ggml_quantize_f32_q4_1"), ggml("ggml_quantize_f16_q4_1"), ggml("ggml_quantize_bf16_q4_1")],
    [ggml("ggml_quantize_f32_q5_0"), ggml("ggml_quantize_f16_q5_0"), ggml("ggml_quantize_bf16_q5_0")],
    [ggml("ggml_quantize_f32_q5_1"), ggml("ggml_quantize_f16_q5_1"), ggml("ggml_quantize_bf16_q5_1")],
    [ggml("ggml_quantize_f32_q8_0"), ggml("ggml_quantize_f16_q8_0"), ggml("ggml_quantize_bf16_q8_0")],
    [ggml("ggml_quantize_f32_iq4_nl"), ggml("ggml_quantize_f16_iq4_nl"), ggml("ggml_quantize_bf16_iq4_nl")],
];
/// By type, then dtype.
const DEQUANTIZE: [[Ggml; 3]; 6] = [
    [ggml("ggml_dequantize_f32_q4_0"), ggml("ggml_dequantize_f16_q4_0"), ggml("ggml_dequantize_bf16_q4_0")],
    [ggml("ggml_dequantize_f32_q4_1"), ggml("ggml_dequantize_f16_q4_1"), ggml("ggml_dequantize_bf16_q4_1")],
    [ggml("ggml_dequantize_f32_q5_0"), ggml("ggml_dequantize_f16_q5_0"), ggml("ggml_dequantize_bf16_q5_0")],
    [ggml("ggml_dequantize_f32_q5_1"), ggml("ggml_dequantize_f16_q5_1"), ggml("ggml_dequantize_bf16_q5_1")],
    [ggml("ggml_dequantize_f32_q8_0"), ggml("ggml_dequantize_f16_q8_0"), ggml("ggml_dequantize_bf16_q8_0")],
    [ggml("ggml_dequantize_f32_iq4_nl"), ggml("ggml_dequantize_f16_iq4_nl"), ggml("ggml_dequantize_bf16_iq4_nl")],
];

pub(crate) fn entries() -> Vec<EntryRow> {
    QUANTIZE.iter().chain(&DEQUANTIZE).flatten().map(Entry::row).collect()
}

/// Codes the transformed `x` into blocks, row after row without gaps; see [`crate::reference::ggml::quantize`].
///
/// # Errors
/// Those of [`GgmlType::validate`] and [`Transform::validate`]; a stream of another device; loading and launching.
pub fn quantize<E: Element>(
    kernels: &Kernels,
    stream: &Arc<CudaStream>,
    kind: GgmlType,
    transform: &Transform<CudaView<'_, f32>>,
    shape: Matrix,
    x: &CudaView<'_, E>,
    blocks: &mut CudaViewMut<'_, u8>,
) -> Result<()> {
    const OP: &str = "ggml::quantize";
    kind.validate(OP, shape, ("x", x.len()), blocks.len())?;
    transform.validate(OP, shape, |v| v.len())?;
    check_stream(OP, kernels, stream)?;
    let (x, _reading) = x.device_ptr(stream);
    let (blocks, _writing) = blocks.device_ptr_mut(stream);
    let (transform, _vectors) = TransformParams::new(transform, stream);
    // SAFETY: `validate` has held `x`, `blocks` and the vectors to the shape; all guards live to the end of this function.
    unsafe { run::<E>(OP, kernels, stream, QUANTIZE[kind as usize], shape, x, blocks, transform) }
}

/// Values of the blocks; see [`crate::reference::ggml::dequantize`].
///
/// # Errors
/// Those of [`GgmlType::validate`]; a stream of another device; loading and launching.
pub fn dequantize<E: Element>(
    kernels: &Kernels,
    stream: &Arc<CudaStream>,
    kind: GgmlType,
    shape: Matrix,
    blocks: &CudaView<'_, u8>,
    out: &mut CudaViewMut<'_, E>,
) -> Result<()> {
    const OP: &str = "ggml::dequantize";
    kind.validate(OP, shape, ("out", out.len()), blocks.len())?;
    check_stream(OP, kernels, stream)?;
    let (blocks, _reading) = blocks.device_ptr(stream);
    let (out, _writing) = out.device_ptr_mut(stream);
    let (transform, _vectors) = TransformParams::new(&Transform::NONE, stream);
    // SAFETY: as in `quantize`, with the roles of the matrix and the blocks exchanged.
    unsafe { run::<E>(OP, kernels, stream, DEQUANTIZE[kind as usize], shape, out, blocks, transform) }
}

/// # Safety
/// `x` and `blocks` point to the elements and blocks of `shape`, and the transform's vectors to its columns, guarded
/// across the call.
#[allow(clippy::too_many_arguments)] // The two wrappers' arguments, checked.
unsafe fn run<E: Element>(
    op: &'static str,
    kernels: &Kernels,
    stream: &Arc<CudaStream>,
    entries: [Ggml; 3],
    shape: Matrix,
    x: u64,
    blocks: u64,
    transform: TransformParams,
) -> Result<()> {
    let row_blocks = (shape.cols / GgmlType::BLOCK) as u32;
    let count = shape.rows as u32 * row_blocks;
    // Rows without gaps are one long row, unless a column's number matters.
    let one_row = shape.row_stride == shape.cols && !transform.has_vectors();
    let params = GgmlParams {
        x,
        blocks,
        row_stride: shape.row_stride as u64,
        count,
        row_blocks: if one_row { count } else { row_blocks },
        aligned: is_aligned(x, shape, E::DTYPE.bytes()).into(),
        transform,
    };
    let grid = (count.div_ceil(BLOCKS), 1, 1);
    let launch = Launch { op, entry: entries[E::DTYPE as usize], grid, block: (THREADS, 1, 1), shared: 0 };
    // SAFETY: 1. The kernel touches just the elements, blocks and columns of the shape. 2. The caller's obligation.
    unsafe { launch.run(kernels, stream, &params) }
}
