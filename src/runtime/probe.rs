//! The probe kernels: one shows that the path from a Rust struct through an image to device memory works, one how fast the
//! device reads.

use std::sync::Arc;

use cudarc::driver::{CudaStream, CudaView, CudaViewMut, DevicePtr, DevicePtrMut, DeviceRepr};

use super::Kernels;
use super::launch::{Entry, EntryRow, Launch};
use crate::error::{Error, Result};

#[repr(C)]
#[derive(Clone, Copy)]
struct ProbeParams {
    out: u64,
    len: u32,
    first: u32,
    step: u32,
    reserved: u32,
}

// SAFETY: `repr(C)`, plain integers without padding; the kernel's struct of the same name has the same fields.
unsafe impl DeviceRepr for ProbeParams {}

#[repr(C)]
#[derive(Clone, Copy)]
struct ReadParams {
    x: u64,
    out: u64,
    quads: u64,
}

// SAFETY: as above.
unsafe impl DeviceRepr for ReadParams {}

const SEQUENCE: Entry<ProbeParams> = Entry::new("probe/probe", "probe_sequence");
const SHARED: Entry<ProbeParams> = Entry::new("probe/probe", "probe_shared");
const READ: Entry<ReadParams> = Entry::new("probe/read", "probe_read");
pub(super) const ENTRIES: &[EntryRow] = &[SEQUENCE.row(), SHARED.row(), READ.row()];

/// Writes `first + step * i` (wrapping) to `out[i]`, through `shared` bytes of dynamic shared memory if not 0.
///
/// For checking an installation: one small kernel, no other effect.
///
/// # Errors
/// Those of loading and launching; [`crate::Error::Argument`] when `out` has 2^32 elements or more, or `shared` is
/// neither 0 nor at least 1024 bytes and within the device's limit.
pub fn probe(
    kernels: &Kernels,
    stream: &Arc<CudaStream>,
    out: &mut CudaViewMut<'_, u32>,
    first: u32,
    step: u32,
    shared: u32,
) -> Result<()> {
    const OP: &str = "runtime::probe";
    const THREADS: u32 = 256;
    let len = u32::try_from(out.len())
        .map_err(|_| Error::argument(OP, "out", "fewer than 2^32 elements", out.len().to_string()))?;
    if shared != 0 && (shared < 4 * THREADS || !shared.is_multiple_of(4)) {
        return Err(Error::argument(OP, "shared", "0, or a multiple of 4 of at least 1024 bytes", shared.to_string()));
    }
    let launch = Launch {
        op: OP,
        entry: if shared == 0 { SEQUENCE } else { SHARED },
        grid: (len.div_ceil(THREADS), 1, 1),
        block: (THREADS, 1, 1),
        shared,
    };
    let (pointer, _guard) = out.device_ptr_mut(stream);
    let params = ProbeParams { out: pointer, len, first, step, reserved: 0 };
    // SAFETY: 1. `out` is borrowed mutably by the guard and holds `len` words; the kernel writes just these. cudarc
    // frees device memory in stream order. 2. `_guard` lives to the end of this function.
    unsafe { launch.run(kernels, stream, &params) }
}

/// Reads all of `x`, as fast as the device can, and changes `out[0]` to its exclusive or with every word of `x`.
///
/// For measuring: what other kernels' bandwidths are compared with. One kernel, eight blocks of 256 threads a multiprocessor.
///
/// # Errors
/// Those of loading and launching; [`Error::Argument`] when `x` is not whole 16 bytes at a multiple of 16, or `out` is
/// empty.
pub fn probe_read(
    kernels: &Kernels,
    stream: &Arc<CudaStream>,
    x: &CudaView<'_, u32>,
    out: &mut CudaViewMut<'_, u32>,
) -> Result<()> {
    const OP: &str = "runtime::probe_read";
    if !x.len().is_multiple_of(4) {
        return Err(Error::argument(OP, "x", "a multiple of 4 elements", x.len().to_string()));
    }
    if out.is_empty() {
        return Err(Error::argument(OP, "out", "at least 1 element", "0"));
    }
    let quads = x.len() as u64 / 4;
    let (x, _x) = x.device_ptr(stream);
    if !x.is_multiple_of(16) {
        return Err(Error::argument(OP, "x", "a start at a multiple of 16 bytes", format!("{x:#x}")));
    }
    let (out, _out) = out.device_ptr_mut(stream);
    let blocks = quads.div_ceil(256).min(8 * u64::from(kernels.sm_count())) as u32;
    let launch = Launch { op: OP, entry: READ, grid: (blocks, 1, 1), block: (256, 1, 1), shared: 0 };
    let params = ReadParams { x, out, quads };
    // SAFETY: 1. `x` holds 16 bytes for each of `quads`, `out` a word; the kernel touches just these. cudarc frees device
    // memory in stream order. 2. Both guards live to the end of this function.
    unsafe { launch.run(kernels, stream, &params) }
}
