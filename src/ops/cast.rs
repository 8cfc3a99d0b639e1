//! Casts between real numbers and 8-bit floats; defined by [`crate::reference::cast`].

use std::sync::Arc;

use cudarc::driver::{CudaStream, CudaView, CudaViewMut, DevicePtr, DevicePtrMut, DeviceRepr};

use crate::error::Result;
use crate::format::{DType, Element, Fp8, Rounding};
use crate::reference::cast::check_length;
use crate::runtime::{Entry, EntryRow, Kernels, Launch};

#[repr(C)]
#[derive(Clone, Copy)]
struct CastParams {
    x: u64,
    codes: u64,
    len: u64,
    seed: u64,
    aligned: u32,
    dtype: u32,
}

// SAFETY: `repr(C)`, plain integers without padding; the kernels' struct of the same name has the same fields.
unsafe impl DeviceRepr for CastParams {}

type Cast = Entry<CastParams>;

const fn cast(name: &'static str) -> Cast {
    Entry::new("cast/fp8", name)
}

/// By format, then dtype.
const TO: [[Cast; 3]; 2] = [
    [cast("cast_to_e4m3_f32"), cast("cast_to_e4m3_f16"), cast("cast_to_e4m3_bf16")],
    [cast("cast_to_e5m2_f32"), cast("cast_to_e5m2_f16"), cast("cast_to_e5m2_bf16")],
];
/// By format, then dtype.
const FROM: [[Cast; 3]; 2] = [
    [cast("cast_from_e4m3_f32"), cast("cast_from_e4m3_f16"), cast("cast_from_e4m3_bf16")],
    [cast("cast_from_e5m2_f32"), cast("cast_from_e5m2_f16"), cast("cast_from_e5m2_bf16")],
];

/// By format.
const STOCHASTIC: [Cast; 2] = [cast("cast_stochastic_e4m3"), cast("cast_stochastic_e5m2")];

pub(crate) fn entries() -> Vec<EntryRow> {
    [TO, FROM].iter().flatten().flatten().chain(&STOCHASTIC).map(Entry::row).collect()
}

fn pick(table: &[[Cast; 3]; 2], format: Fp8, dtype: DType) -> Cast {
    table[format as usize][dtype as usize]
}

/// `codes[i] = format.encode(x[i])` for every element of `x`; see [`crate::reference::cast::to_fp8`].
///
/// Any alignment is correct; with `x` at 16 and `codes` at 8 bytes each access is wide.
///
/// # Errors
/// [`crate::Error::Argument`] when `codes` is shorter than `x`; loading and launching.
pub fn to_fp8<E: Element>(
    kernels: &Kernels,
    stream: &Arc<CudaStream>,
    format: Fp8,
    x: &CudaView<'_, E>,
    codes: &mut CudaViewMut<'_, u8>,
) -> Result<()> {
    to_fp8_with(kernels, stream, format, x, codes, Rounding::Nearest)
}

/// As [`to_fp8`], with a rounding; see [`crate::reference::cast::to_fp8_with`].
///
/// # Errors
/// Those of [`to_fp8`].
pub fn to_fp8_with<E: Element>(
    kernels: &Kernels,
    stream: &Arc<CudaStream>,
    format: Fp8,
    x: &CudaView<'_, E>,
    codes: &mut CudaViewMut<'_, u8>,
    rounding: Rounding,
) -> Result<()> {
    const OP: &str = "cast::to_fp8";
    check_length(OP, "codes", x.len(), codes.len())?;
    let (len, dtype) = (x.len(), E::DTYPE as u32);
    let (entry, seed) = match rounding {
        Rounding::Nearest => (pick(&TO, format, E::DTYPE), 0),
        Rounding::Stochastic { seed } => (STOCHASTIC[format as usize], seed),
    };
    let (x, _reading) = x.device_ptr(stream);
    let (codes, _writing) = codes.device_ptr_mut(stream);
    // SAFETY: `x` holds `len` elements of the entry's type and `codes` at least as many bytes; the kernel touches no
    // more. Both guards live to the end of this function.
    unsafe { run(OP, kernels, stream, entry, CastParams { x, codes, len: len as u64, seed, aligned: 0, dtype }) }
}

/// `out[i] = format.decode(codes[i])` for every code; see [`crate::reference::cast::from_fp8`].
///
/// Any alignment is correct; with `out` at 16 and `codes` at 8 bytes each access is wide.
///
/// # Errors
/// [`crate::Error::Argument`] when `out` is shorter than `codes`; loading and launching.
pub fn from_fp8<E: Element>(
    kernels: &Kernels,
    stream: &Arc<CudaStream>,
    format: Fp8,
    codes: &CudaView<'_, u8>,
    out: &mut CudaViewMut<'_, E>,
) -> Result<()> {
    const OP: &str = "cast::from_fp8";
    check_length(OP, "out", codes.len(), out.len())?;
    let (len, dtype) = (codes.len(), E::DTYPE as u32);
    let (codes, _reading) = codes.device_ptr(stream);
    let (x, _writing) = out.device_ptr_mut(stream);
    let params = CastParams { x, codes, len: len as u64, seed: 0, aligned: 0, dtype };
    // SAFETY: as in `to_fp8_with`, with the roles of the two exchanged.
    unsafe { run(OP, kernels, stream, pick(&FROM, format, E::DTYPE), params) }
}

/// Bytes of numbers that a block takes: four chunks of 16 a thread.
const BLOCK_BYTES: u64 = 256 * 4 * 16;

/// Runs the cast; `params.aligned` is set here.
///
/// # Safety
/// `x` and `codes` of `params` point to `len` elements of the entry's type and `len` bytes, guarded across the call.
unsafe fn run(
    op: &'static str,
    kernels: &Kernels,
    stream: &Arc<CudaStream>,
    entry: Cast,
    mut params: CastParams,
) -> Result<()> {
    let per_block = if params.dtype == DType::F32 as u32 { BLOCK_BYTES / 4 } else { BLOCK_BYTES / 2 };
    let grid = u32::try_from(params.len.div_ceil(per_block)).map_err(|_| {
        crate::Error::argument(op, "x", "fewer than 2^43 elements", params.len.to_string()) //
    })?;
    params.aligned = (params.x.is_multiple_of(16) && params.codes.is_multiple_of(8)).into();
    let launch = Launch { op, entry, grid: (grid, 1, 1), block: (256, 1, 1), shared: 0 };
    // SAFETY: 1., 2.: the caller's obligation.
    unsafe { launch.run(kernels, stream, &params) }
}
