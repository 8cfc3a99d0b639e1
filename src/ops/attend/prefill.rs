//! Attention of a chunk of new tokens that is not in the cache yet.

use std::sync::Arc;

use cudarc::driver::{CudaStream, CudaViewMut, DevicePtr, DeviceSlice};

use super::{
    AttendParams, BLOCK, Instances, Options, WARPS, entry, instance, instances, of_head_dim, shared_bytes, with_params,
};
use crate::cache::{Batch, Capacity, KvCacheRef, KvLayout, Plan, Rows, check_aligned, check_context};
use crate::error::{Error, Result};
use crate::format::{DType, Half16};
use crate::reference::kv::check_rows;
use crate::runtime::{Kernels, Launch, check_stream};

const OP: &str = "attend_prefill";

/// What lies before the call's tokens, and the tokens themselves.
const PARTS: usize = 2;

const F16: Instances<AttendParams> = instances!("attend_chunk_f16": "attention/chunk" [64 80 96 112 128 192 256]);
const BF16: Instances<AttendParams> = instances!("attend_chunk_bf16": "attention/chunk" [64 80 96 112 128 192 256]);
pub(super) const INSTANCES: [Instances<AttendParams>; 2] = [F16, BF16];

/// Dynamic shared memory of `attend_chunk`, bytes: `Shared<ChunkRows>` of kernels/attention/chunk.cuh.
fn chunk_shared_bytes(head_dim: usize) -> u32 {
    let meeting = 8 * ((164 * head_dim + 512).div_ceil(128) * 16);
    (meeting + head_dim / 8 * 36 * 4 + 8 * (4 + 8 * WARPS + 24) + 64) as u32
}

/// Bytes of the workspace of [`attend_prefill`] for `total_q` rows: both parts in f32 with their LSE, `[total_q, num_heads,
/// 2, head_dim + 1]`, a multiple of 16; `None` from 2^63 bytes on.
pub fn prefill_workspace_bytes(layout: &KvLayout, num_heads: usize, total_q: usize) -> Option<usize> {
    let parts = total_q.checked_mul(num_heads)?.checked_mul(PARTS)?;
    let bytes = parts.checked_mul(4 * (layout.shape().head_dim + 1))?.checked_next_multiple_of(16)?;
    i64::try_from(bytes).ok().map(|_| bytes)
}

/// Attention of a chunk of any length: the batch's query rows `q` `[total_q, num_heads, head_dim]` over what the cache holds
/// before the batch's tokens, and over those tokens' keys and values `k`, `v` `[total_q, num_kv_heads, head_dim]` as they are
/// given, causal. The definition is [`crate::reference::attend::attend_prefill`].
///
/// Before it is appended a chunk is seen at full precision, and in formats with a window it may be longer than `max_append`:
/// call this, then [`append_prefill`](crate::ops::kv::append_prefill) with the same batch. `seq_lens` includes the chunk; of
/// the cache only positions before it are read. Keys come with their RoPE applied, as queries do, and not rotated.
///
/// - Options, `out` and `lse` are as in [`attend`](super::attend), but for the tree mask.
/// - `workspace`: at least [`prefill_workspace_bytes`], 16-byte aligned.
///
/// Three launches: the cache, the chunk, the merge. The tokens are not split, so a row does not depend on its batch, nor on
/// the table's capacity. K and V are read once for 8 columns (query heads of a KV head times query tokens).
///
/// # Errors
/// Those of [`attend`](super::attend) where they apply; [`Error::Argument`] for `num_heads` that is not a positive multiple of the
/// KV heads, for `k` and `v` that break the rules of [`Rows`], and for more than `num_seqs * max_q_len` rows;
/// [`Error::Unsupported`] for a tree mask.
#[allow(clippy::too_many_arguments)]
pub fn attend_prefill<T: Half16>(
    kernels: &Kernels,
    stream: &Arc<CudaStream>,
    num_heads: usize,
    batch: &Batch<'_>,
    q: &Rows<'_, T>,
    k: &Rows<'_, T>,
    v: &Rows<'_, T>,
    cache: &mut KvCacheRef<'_>,
    options: &Options<'_>,
    out: &mut CudaViewMut<'_, T>,
    lse: Option<&mut CudaViewMut<'_, f32>>,
    workspace: &mut CudaViewMut<'_, u8>,
) -> Result<()> {
    check_stream(OP, kernels, stream)?;
    let layout = cache.layout;
    if options.tree_mask.is_some() {
        return Err(Error::unsupported(OP, "a tree mask", "attend, which takes one"));
    }
    let sides = [("k.data", "k.stride", k.data.len(), k.stride), ("v.data", "v.stride", v.data.len(), v.stride)];
    check_rows(OP, &layout, T::DTYPE, batch.total_q, sides)?;
    check_context(OP, "k.data", k.data.stream(), stream)?;
    check_context(OP, "v.data", v.data.stream(), stream)?;
    let (k_pointer, _k_guard) = k.data.device_ptr(stream);
    let (v_pointer, _v_guard) = v.data.device_ptr(stream);
    check_aligned(OP, "k.data", k_pointer, 16)?;
    check_aligned(OP, "v.data", v_pointer, 16)?;
    let capacity = Capacity {
        num_seqs: batch.num_seqs().max(1),
        max_q_len: batch.max_q_len.max(1),
        max_len: batch.max_blocks.saturating_mul(layout.shape().page_tokens),
    };
    let plan = Plan::of_chunk(OP, &layout, num_heads, capacity)?;
    let Some(workspace_bytes) = prefill_workspace_bytes(&layout, num_heads, batch.total_q) else {
        return Err(Error::argument(
            OP,
            "batch.total_q",
            "a workspace of fewer than 2^63 bytes",
            batch.total_q.to_string(),
        ));
    };
    let rows = capacity.max_q_len * num_heads;
    let (heads, seqs) = (layout.shape().num_kv_heads as u32, batch.num_seqs() as u32);
    let launch = |entry, shared| Launch {
        op: OP,
        entry,
        grid: (plan.passes() as u32, heads, seqs),
        block: (BLOCK, 1, 1),
        shared,
    };
    let prefix = launch(instance(&layout), shared_bytes(&layout));
    let table = if layout.shape().dtype == DType::Bf16 { BF16 } else { F16 };
    let chunk = launch(of_head_dim(table, &layout), chunk_shared_bytes(layout.shape().head_dim));
    let merge =
        Launch { grid: (rows.div_ceil(WARPS) as u32, seqs, 1), ..launch(of_head_dim(super::CHUNKS, &layout), 0) };
    let kernels_of = (kernels, stream);
    with_params(OP, kernels_of, &plan, workspace_bytes, batch, q, cache, options, out, lse, workspace, |params| {
        let parts = (batch.total_q * num_heads * PARTS * layout.shape().head_dim) as u64;
        let params = AttendParams {
            parts_lse: params.parts_out + 4 * parts,
            max_chunks: PARTS as i32,
            parts: PARTS as i32,
            chunk_k: k_pointer,
            chunk_v: v_pointer,
            chunk_k_stride: k.stride as u32,
            chunk_v_stride: v.stride as u32,
            ..*params
        };
        // SAFETY: 1. `with_params` and the checks above hold all buffers to what the kernels' contracts ask; rows, pages,
        // slots and blocks that the device names are checked by the kernels against the counts given here; parts are
        // indexed by rows below total_q. 2. `with_params` holds its guards, this function those of `k` and `v`.
        unsafe {
            prefix.run(kernels, stream, &params)?;
            chunk.run(kernels, stream, &params)?;
            merge.run(kernels, stream, &params)
        }
    })
}
