//! The probe kernel: shows that the path from a Rust struct through an image to device memory works.

use std::sync::Arc;

use cudarc::driver::{CudaStream, CudaViewMut, DevicePtrMut, DeviceRepr};

use super::Kernels;
use super::launch::{Entry, EntryRow, Launch};
use crate::error::Result;

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

const SEQUENCE: Entry<ProbeParams> = Entry::new("probe/probe", "probe_sequence");
const SHARED: Entry<ProbeParams> = Entry::new("probe/probe", "probe_shared");
pub(super) const ENTRIES: &[EntryRow] = &[SEQUENCE.row(), SHARED.row()];

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
        .map_err(|_| crate::Error::argument(OP, "out", "fewer than 2^32 elements", out.len().to_string()))?;
    if shared != 0 && (shared < 4 * THREADS || !shared.is_multiple_of(4)) {
        return Err(crate::Error::argument(
            OP,
            "shared",
            "0, or a multiple of 4 of at least 1024 bytes",
            shared.to_string(),
        ));
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
