//! Copies of pages and state slots, and the advance of lengths, on the device; defined by
//! [`crate::reference::kv::copy_pages`] and its neighbours.

use std::sync::Arc;

use cudarc::driver::{CudaStream, CudaView, CudaViewMut, DevicePtr, DevicePtrMut, DeviceRepr, DeviceSlice};

use crate::cache::{KvCacheMut, Status, check_context};
use crate::error::Result;
use crate::reference::kv::{check_advance, check_pairs};
use crate::runtime::{Entry, EntryRow, Kernels, Launch, check_stream};

const BLOCK: u32 = 256;

#[repr(C)]
#[derive(Clone, Copy)]
struct CopyBlocksParams {
    base: u64,
    src: u64,
    dst: u64,
    status: u64,
    bytes: u32,
    count: i32,
    bad: u32,
    reserved: u32,
}

// SAFETY: `repr(C)`, plain integers without padding; the kernel's struct of the same name has the same fields.
unsafe impl DeviceRepr for CopyBlocksParams {}

#[repr(C)]
#[derive(Clone, Copy)]
struct AdvanceParams {
    seq_lens: u64,
    cu_q_lens: u64,
    num_seqs: u32,
    reserved: u32,
}

// SAFETY: as for `CopyBlocksParams`.
unsafe impl DeviceRepr for AdvanceParams {}

const COPY: Entry<CopyBlocksParams> = Entry::new("kv/copy", "copy_blocks");
const ADVANCE: Entry<AdvanceParams> = Entry::new("kv/copy", "advance_seq_lens");

pub(super) fn entries() -> Vec<EntryRow> {
    vec![COPY.row(), ADVANCE.row()]
}

/// Which buffer of a cache.
enum Buffer {
    Pages,
    State,
}

/// Copies page `src[i]` to page `dst[i]` of the cache; see [`crate::reference::kv::copy_pages`].
///
/// # Errors
/// The rules of [`KvCacheMut`]; `src` and `dst` of different lengths or longer than 65535; memory or a stream of another
/// context; loading and launching.
pub fn copy_pages(
    kernels: &Kernels,
    stream: &Arc<CudaStream>,
    cache: &mut KvCacheMut<'_>,
    src: &CudaView<'_, i32>,
    dst: &CudaView<'_, i32>,
) -> Result<()> {
    copy("kv::copy_pages", Buffer::Pages, kernels, stream, cache, src, dst)
}

/// Copies the window of slot `src[i]` to slot `dst[i]`; see [`crate::reference::kv::copy_state`].
///
/// # Errors
/// As [`copy_pages`].
pub fn copy_state(
    kernels: &Kernels,
    stream: &Arc<CudaStream>,
    cache: &mut KvCacheMut<'_>,
    src: &CudaView<'_, i32>,
    dst: &CudaView<'_, i32>,
) -> Result<()> {
    copy("kv::copy_state", Buffer::State, kernels, stream, cache, src, dst)
}

fn copy(
    op: &'static str,
    buffer: Buffer,
    kernels: &Kernels,
    stream: &Arc<CudaStream>,
    cache: &mut KvCacheMut<'_>,
    src: &CudaView<'_, i32>,
    dst: &CudaView<'_, i32>,
) -> Result<()> {
    check_stream(op, kernels, stream)?;
    let layout = cache.layout;
    let (kv, _guards) = cache.params(op, stream)?;
    check_pairs(op, src.len(), dst.len())?;
    check_context(op, "src", src.stream(), stream)?;
    check_context(op, "dst", dst.stream(), stream)?;
    let (base, bytes, count, bad) = match buffer {
        Buffer::Pages => (kv.pages, layout.page_bytes(), kv.num_pages, Status::BAD_PAGE),
        Buffer::State => (kv.state, layout.state_bytes(), kv.num_slots, Status::BAD_SLOT),
    };
    if bytes == 0 {
        return Ok(());
    }
    let (src_pointer, _src_guard) = src.device_ptr(stream);
    let (dst_pointer, _dst_guard) = dst.device_ptr(stream);
    let params = CopyBlocksParams {
        base,
        src: src_pointer,
        dst: dst_pointer,
        status: kv.status,
        bytes: bytes as u32,
        count,
        bad: bad.0,
        reserved: 0,
    };
    // Eight steps of a block; the kernel's loop covers any grid.
    let steps = (bytes as u32 / 16).div_ceil(8 * BLOCK);
    let launch = Launch { op, entry: COPY, grid: (steps, src.len() as u32, 1), block: (BLOCK, 1, 1), shared: 0 };
    // SAFETY: 1. `cache.params` has held the buffer to whole blocks of `bytes`; indices are checked against `count` on
    // the device. 2. All guards live to the end of this function.
    unsafe { launch.run(kernels, stream, &params) }
}

/// `seq_lens[i] += cu_q_lens[i + 1] - cu_q_lens[i]`; see [`crate::reference::kv::advance_seq_lens`].
///
/// # Errors
/// `cu_q_lens` not one longer than `seq_lens`; memory or a stream of another context; loading and launching.
pub fn advance_seq_lens(
    kernels: &Kernels,
    stream: &Arc<CudaStream>,
    seq_lens: &mut CudaViewMut<'_, i32>,
    cu_q_lens: &CudaView<'_, i32>,
) -> Result<()> {
    const OP: &str = "kv::advance_seq_lens";
    check_stream(OP, kernels, stream)?;
    check_advance(seq_lens.len(), cu_q_lens.len())?;
    check_context(OP, "seq_lens", seq_lens.stream(), stream)?;
    check_context(OP, "cu_q_lens", cu_q_lens.stream(), stream)?;
    let num_seqs = seq_lens.len() as u32;
    let (seq_lens, _seq_guard) = seq_lens.device_ptr_mut(stream);
    let (cu_q_lens, _cu_guard) = cu_q_lens.device_ptr(stream);
    let params = AdvanceParams { seq_lens, cu_q_lens, num_seqs, reserved: 0 };
    let grid = (num_seqs.div_ceil(BLOCK), 1, 1);
    let launch = Launch { op: OP, entry: ADVANCE, grid, block: (BLOCK, 1, 1), shared: 0 };
    // SAFETY: 1. The lengths are those checked above. 2. Both guards live to the end of this function.
    unsafe { launch.run(kernels, stream, &params) }
}
