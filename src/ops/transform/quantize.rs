//! The quantizer of [`crate::ops::quantize`] with a transform on the way: one launch, each element read once.

use std::sync::Arc;

use cudarc::driver::{CudaStream, CudaView, CudaViewMut, DevicePtr, DevicePtrMut, DeviceRepr};

use super::{TransformParams, is_aligned};
use crate::error::{Error, Result};
use crate::format::{Code, Element, Lengths, Matrix, Scheme, Transform};
use crate::ops::quantize::{DeviceScalesMut, addresses_mut};
use crate::reference::transform::check_scheme;
use crate::runtime::{Entry, EntryRow, Kernels, Launch, check_stream};

/// Threads of a block, as in the kernels.
const BLOCK: u32 = 256;

#[repr(C)]
#[derive(Clone, Copy)]
struct RotatedParams {
    x: u64,
    codes: u64,
    scale: u64,
    min: u64,
    row_stride: u64,
    count: u32,
    row_eights: u32,
    group: u32,
    aligned: u32,
    transform: TransformParams,
}

// SAFETY: `repr(C)`, plain integers and a float without padding; the kernels' struct of the same name has the same fields.
unsafe impl DeviceRepr for RotatedParams {}

type Rotated = Entry<RotatedParams>;

const fn rotated(name: &'static str) -> Rotated {
    Entry::new("quantize/rotated", name)
}

/// By code (int8, int4, e4m3, uint8, uint4, uint2), then dtype.
const QUANTIZE: [[Rotated; 3]; 6] = [
    [rotated("quantize_rotated_f32_int8"), rotated("quantize_rotated_f16_int8"), rotated("quantize_rotated_bf16_int8")],
    [rotated("quantize_rotated_f32_int4"), rotated("quantize_rotated_f16_int4"), rotated("quantize_rotated_bf16_int4")],
    [rotated("quantize_rotated_f32_e4m3"), rotated("quantize_rotated_f16_e4m3"), rotated("quantize_rotated_bf16_e4m3")],
    [
        rotated("quantize_rotated_f32_uint8"),
        rotated("quantize_rotated_f16_uint8"),
        rotated("quantize_rotated_bf16_uint8"),
    ],
    [
        rotated("quantize_rotated_f32_uint4"),
        rotated("quantize_rotated_f16_uint4"),
        rotated("quantize_rotated_bf16_uint4"),
    ],
    [
        rotated("quantize_rotated_f32_uint2"),
        rotated("quantize_rotated_f16_uint2"),
        rotated("quantize_rotated_bf16_uint2"),
    ],
];

pub(super) fn entries() -> impl Iterator<Item = EntryRow> {
    QUANTIZE.iter().flatten().map(Entry::row)
}

/// Codes the transformed `x`; see [`crate::reference::transform::quantize`], and [`check_scheme`] for which schemes.
///
/// Any alignment and stride is correct; accesses are wide when `x` is 16-byte aligned with a row stride of a multiple of 16
/// bytes, and `codes` start at a multiple of the bytes of eight codes.
///
/// # Errors
/// [`Error::Unsupported`] for other schemes; those of [`Scheme::validate`] and [`Transform::validate`]; a stream of another
/// device; loading and launching.
#[allow(clippy::too_many_arguments)] // What is coded, how, and where to.
pub fn quantize<E: Element>(
    kernels: &Kernels,
    stream: &Arc<CudaStream>,
    scheme: Scheme,
    transform: &Transform<CudaView<'_, f32>>,
    shape: Matrix,
    x: &CudaView<'_, E>,
    codes: &mut CudaViewMut<'_, u8>,
    scales: &mut DeviceScalesMut<'_>,
) -> Result<()> {
    const OP: &str = "transform::quantize";
    let group = check_scheme(OP, scheme)?;
    let counts = scales.map(|f| f.len(), |h| h.len(), |b| b.len());
    let lengths = Lengths { element_name: "x", elements: x.len(), codes: codes.len(), scales: counts };
    scheme.validate(OP, shape, lengths)?;
    transform.validate(OP, shape, |v| v.len())?;
    check_stream(OP, kernels, stream)?;
    let row_eights = shape.cols / 8;
    let count = u32::try_from(shape.rows * row_eights).map_err(|_| {
        Error::argument(OP, "shape", "at most 4294967295 eights of elements", format!("{shape:?}")) //
    })?;
    let (x, _reading) = x.device_ptr(stream);
    let (codes, _coding) = codes.device_ptr_mut(stream);
    let (transform, _vectors) = TransformParams::new(transform, stream);
    let ((scale, min), _guards) = addresses_mut(scales, stream);
    let one_row = shape.row_stride == shape.cols && !transform.has_vectors();
    let params = RotatedParams {
        x,
        codes,
        scale,
        min,
        row_stride: shape.row_stride as u64,
        count,
        row_eights: if one_row { count } else { row_eights as u32 },
        group: (group / 8) as u32,
        aligned: u32::from(is_aligned(x, shape, E::DTYPE.bytes()))
            | u32::from(codes.is_multiple_of(scheme.code.bits() as u64)) << 1,
        transform,
    };
    let code = match scheme.code {
        Code::Int8 => 0,
        Code::Int4 => 1,
        Code::Uint8 => 3,
        Code::Uint4 => 4,
        Code::Uint2 => 5,
        _ => 2,
    };
    let entry = QUANTIZE[code][E::DTYPE as usize];
    let launch = Launch { op: OP, entry, grid: (count.div_ceil(BLOCK), 1, 1), block: (BLOCK, 1, 1), shared: 0 };
    // SAFETY: 1. `validate` has held `x`, `codes`, the scales and the vectors to the shape; the kernel touches just the
    // elements, code bytes and scales of the shape. 2. All guards live to the end of this function.
    unsafe { launch.run(kernels, stream, &params) }
}
