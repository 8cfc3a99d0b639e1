//! Offset, smoothing and rotation of a matrix; defined by [`crate::reference::transform`], with which results agree bit
//! for bit. The quantizers of [`super::ggml`] and [`super::codebook`] take the same [`Transform`] and apply it on the way, as
//! does [`quantize()`] for the schemes of [`super::quantize`].
//!
//! Any alignment and stride is correct. The accesses are wide (16 bytes) when both matrices are 16-byte aligned and their
//! row stride is a multiple of 16 bytes.

mod quantize;

pub use quantize::quantize;

use std::sync::Arc;

use cudarc::driver::{CudaStream, CudaView, CudaViewMut, DevicePtr, DevicePtrMut, DeviceRepr, SyncOnDrop};

use crate::error::Result;
use crate::format::{Element, Matrix, Transform};
use crate::reference::transform::scale;
use crate::runtime::{Entry, EntryRow, Kernels, Launch, check_stream};

/// Threads of a block, as in the kernels.
const BLOCK: u32 = 256;
/// Rows that a block walks down at most, per row of its threads: so many that the vectors, read once a block, weigh little.
const MOST_STEPS: u64 = 16;

/// A transform as kernels take it.
#[repr(C)]
#[derive(Clone, Copy)]
pub(crate) struct TransformParams {
    offset: u64,
    smoothing: u64,
    block: u32,
    seed: u32,
    signs: u32,
    scale: f32,
}

#[repr(C)]
#[derive(Clone, Copy)]
struct TransformMatrixParams {
    x: u64,
    out: u64,
    row_stride: u64,
    rows: u32,
    cols: u32,
    lanes: u32,
    aligned: u32,
    transform: TransformParams,
}

// SAFETY: `repr(C)`, plain integers and a float without padding; the kernels' struct of the same name has the same fields.
unsafe impl DeviceRepr for TransformMatrixParams {}

type Entries = [Entry<TransformMatrixParams>; 3];

const fn entry(name: &'static str) -> Entry<TransformMatrixParams> {
    Entry::new("quantize/transform", name)
}
/// By dtype.
const FORWARD: Entries = [entry("transform_f32"), entry("transform_f16"), entry("transform_bf16")];
/// By dtype.
const INVERSE: Entries =
    [entry("transform_inverse_f32"), entry("transform_inverse_f16"), entry("transform_inverse_bf16")];

pub(crate) fn entries() -> Vec<EntryRow> {
    FORWARD.iter().chain(&INVERSE).map(Entry::row).chain(quantize::entries()).collect()
}

impl TransformParams {
    /// The parameters, and the guards of the vectors: alive across the launch.
    pub(crate) fn new<'a>(
        transform: &'a Transform<CudaView<'_, f32>>,
        stream: &'a Arc<CudaStream>,
    ) -> (Self, [Option<SyncOnDrop<'a>>; 2]) {
        let pointer = |vector: &'a Option<CudaView<'_, f32>>| match vector {
            Some(vector) => {
                let (pointer, guard) = vector.device_ptr(stream);
                (pointer, Some(guard))
            }
            None => (0, None),
        };
        let ((offset, first), (smoothing, second)) = (pointer(&transform.offset), pointer(&transform.smoothing));
        let (block, seed) = (transform.rotation.block(), transform.rotation.seed());
        let params = TransformParams {
            offset,
            smoothing,
            block: block as u32,
            seed: seed.unwrap_or(0),
            signs: seed.is_some().into(),
            scale: if block == 0 { 0.0 } else { scale(block) },
        };
        (params, [first, second])
    }

    /// Whether a column's number matters.
    pub(crate) const fn has_vectors(&self) -> bool {
        self.offset != 0 || self.smoothing != 0
    }
}

/// out = R(S((x - offset) / smoothing)); see [`crate::reference::transform::forward`].
///
/// # Errors
/// [`crate::Error::Argument`]: those of [`Matrix::validate`] and [`Transform::validate`]; a stream of another device;
/// loading and launching.
pub fn forward<E: Element>(
    kernels: &Kernels,
    stream: &Arc<CudaStream>,
    transform: &Transform<CudaView<'_, f32>>,
    shape: Matrix,
    x: &CudaView<'_, E>,
    out: &mut CudaViewMut<'_, E>,
) -> Result<()> {
    const OP: &str = "transform::forward";
    shape.validate(OP, ("x", x.len()))?;
    let (x, _reading) = x.device_ptr(stream);
    // SAFETY: `x` has the shape's elements, and its guard lives to the end of this function.
    unsafe { run(OP, kernels, stream, FORWARD, transform, shape, Some(x), out) }
}

/// [`forward`] in place.
///
/// # Errors
/// As [`forward`].
pub fn forward_in_place<E: Element>(
    kernels: &Kernels,
    stream: &Arc<CudaStream>,
    transform: &Transform<CudaView<'_, f32>>,
    shape: Matrix,
    x: &mut CudaViewMut<'_, E>,
) -> Result<()> {
    // SAFETY: no second matrix.
    unsafe { run("transform::forward_in_place", kernels, stream, FORWARD, transform, shape, None, x) }
}

/// out = S(R(x)) * smoothing + offset; see [`crate::reference::transform::inverse`].
///
/// # Errors
/// As [`forward`].
pub fn inverse<E: Element>(
    kernels: &Kernels,
    stream: &Arc<CudaStream>,
    transform: &Transform<CudaView<'_, f32>>,
    shape: Matrix,
    x: &CudaView<'_, E>,
    out: &mut CudaViewMut<'_, E>,
) -> Result<()> {
    const OP: &str = "transform::inverse";
    shape.validate(OP, ("x", x.len()))?;
    let (x, _reading) = x.device_ptr(stream);
    // SAFETY: as in `forward`.
    unsafe { run(OP, kernels, stream, INVERSE, transform, shape, Some(x), out) }
}

/// [`inverse`] in place.
///
/// # Errors
/// As [`forward`].
pub fn inverse_in_place<E: Element>(
    kernels: &Kernels,
    stream: &Arc<CudaStream>,
    transform: &Transform<CudaView<'_, f32>>,
    shape: Matrix,
    x: &mut CudaViewMut<'_, E>,
) -> Result<()> {
    // SAFETY: no second matrix.
    unsafe { run("transform::inverse_in_place", kernels, stream, INVERSE, transform, shape, None, x) }
}

/// # Safety
/// `x`, if there is one, points to the shape's elements of type `E`, guarded across the call.
#[allow(clippy::too_many_arguments)] // The four wrappers' arguments and what tells them apart.
unsafe fn run<E: Element>(
    op: &'static str,
    kernels: &Kernels,
    stream: &Arc<CudaStream>,
    entries: Entries,
    transform: &Transform<CudaView<'_, f32>>,
    shape: Matrix,
    x: Option<u64>,
    out: &mut CudaViewMut<'_, E>,
) -> Result<()> {
    shape.validate(op, (if x.is_some() { "out" } else { "x" }, out.len()))?;
    transform.validate(op, shape, |v| v.len())?;
    check_stream(op, kernels, stream)?;
    if shape.rows == 0 || shape.cols == 0 {
        return Ok(());
    }
    let (out, _writing) = out.device_ptr_mut(stream);
    let x = x.unwrap_or(out);
    let (transform, _vectors) = TransformParams::new(transform, stream);
    let eights = shape.cols.div_ceil(8) as u64;
    let lanes = eights.next_power_of_two().min(32) as u32;
    let (strips, rows) = (eights.div_ceil(lanes.into()), u64::from(BLOCK / lanes));
    // As many rows a block as leave each multiprocessor two blocks.
    let passes = (shape.rows as u64).div_ceil(rows);
    let steps = (strips * passes / (2 * u64::from(kernels.sm_count()))).clamp(1, MOST_STEPS);
    let aligned = is_aligned(x, shape, E::DTYPE.bytes()) && is_aligned(out, shape, E::DTYPE.bytes());
    let params = TransformMatrixParams {
        x,
        out,
        row_stride: shape.row_stride as u64,
        rows: shape.rows as u32,
        cols: shape.cols as u32,
        lanes,
        aligned: aligned.into(),
        transform,
    };
    let grid = (strips as u32, passes.div_ceil(steps).min(65_535) as u32, 1);
    let launch = Launch { op, entry: entries[E::DTYPE as usize], grid, block: (BLOCK, 1, 1), shared: 0 };
    // SAFETY: 1. both matrices and the vectors have been held to the shape; the kernel reads and writes just the elements
    // of the shape. 2. All guards live to the end of this function, and the caller's across it.
    unsafe { launch.run(kernels, stream, &params) }
}

/// Whether every eight elements from a row's start on are 16-byte aligned.
pub(crate) fn is_aligned(pointer: u64, shape: Matrix, element: usize) -> bool {
    pointer.is_multiple_of(16) && (shape.rows <= 1 || (shape.row_stride * element).is_multiple_of(16))
}
