//! Fused decode attention over the paged cache, and the merging of partial results; the definition is
//! [`crate::reference::attend`].
//!
//! | instance | head dims | K, V codes | dtype of q, out |
//! |---|---|---|---|
//! | `attend_f16`, `attend_bf16` | 64, 128 | the model's own | that |
//! | `attend_int8` | seven: 64, 80, 96, 112, 128, 192, 256 | int8 per token and head | f16, bf16 |
//! | `attend_int8_static` | the seven | int8, the caller's scale per head and channel | f16, bf16 |
//! | `attend_e4m3` | the seven | E4M3 per head or tensor | f16, bf16 |
//! | `attend_int4` | the seven | int4 per token and 32 channels | f16, bf16 |
//! | `attend_nvfp4` | the seven | E2M1 with E4M3 per 16 channels and f32 per head or tensor | f16, bf16 |
//! | `attend_e5m2` | 64, 128 | E5M2 per head or tensor | f16, bf16 |
//! | `attend_int8_e4m3` | 64, 128 | K int8 per token and head, V E4M3 per head or tensor | f16, bf16 |
//! | `attend_int8_int4` | 64, 128 | K int8 per token and head, V int4 per token and 32 channels | f16, bf16 |
//! | `attend_q8_0`, `attend_q4_0` | 64, 96, 128, 256 | ggml's blocks | f16, bf16 |
//! | `attend_q8_0_q4_0` | 64, 96, 128 | K q8_0, V q4_0 | f16, bf16 |
//! | `attend_kivi4` | the seven | KIVI, keys and values of 4 bits | f16, bf16 |
//! | `attend_kivi2` | 64, 96, 128, 192, 256 | KIVI, 2 bits | f16, bf16 |
//! | `attend_kivi8_2` | 64, 96, 128, 192 | KIVI, keys of 8 bits, values of 2 | f16, bf16 |
//! | `attend_kivi4_g64`, `attend_kivi2_g64`, `attend_kivi8_2_g64` | 64, 128 | KIVI with keys per 64 tokens | f16, bf16 |
//! | `attend_nuq4`, `attend_nuq3` | 64, 96, 128, 256 | KVQuant: tables, outliers, keys before RoPE, a sink | f16, bf16 |
//!
//! Any number of query heads per KV head, any `q_len`: a row of the call at position p sees keys up to p. K and V are
//! read once for 8 columns (query heads of a KV head times query tokens).
//!
//! Where the layout is rotated ([`KvLayout::rotated`]) queries are rotated and outputs rotated back in the kernel.
//!
//! **Tolerance** against the f64 definition on the same bytes: rows within 2^-10 (f16) or 2^-8 (bf16) of their norm, LSE
//! within 1e-3. A rotated query is rounded to f16 or bf16 once more than the definition's: with rotated keys in a bf16 model
//! logits have an error of up to 2^-9 of |q| |k| / sqrt(head_dim). **Determinism**: a row is bitwise the same from run to run, whatever else is in the batch, and whatever
//! the plan's capacity.
//!
//! **In a CUDA graph**: disable cudarc's event tracking before allocating, make the [`Plan`] first, capture on a stream
//! that is not the default one. The graph may be replayed with other lengths, tables and slots within the capacity.

mod merge;
mod options;
mod prefill;

use std::sync::Arc;

use cudarc::driver::{CudaStream, CudaViewMut, DevicePtr, DevicePtrMut, DeviceRepr, DeviceSlice};

use crate::cache::params::{BatchParams, KvParams};
use crate::cache::{
    Batch, KeyRope, KvCacheRef, KvCode, KvFormat, KvLayout, KvScale, Plan, Rows, check_aligned, check_context,
};
use crate::error::{Error, Result};
use crate::format::{DType, Half16, Rotation};
use crate::reference::attend::{check_attend_rope, check_tree};
use crate::reference::transform::scale;
use crate::runtime::{Entry, EntryRow, Kernels, Launch, check_stream};

pub use merge::merge_states;
pub use options::Options;
pub use prefill::{attend_prefill, prefill_workspace_bytes};

#[repr(C)]
#[derive(Clone, Copy)]
struct AttendParams {
    kv: KvParams,
    batch: BatchParams,
    q: u64,
    out: u64,
    lse: u64,
    parts_out: u64,
    parts_lse: u64,
    q_stride: u64,
    out_stride: u64,
    alibi_slopes: u64,
    sink_logits: u64,
    heads: i32,
    group: i32,
    passes: i32,
    max_chunks: i32,
    max_len: i32,
    window: i32,
    softmax_scale: f32,
    soft_cap: f32,
    bent: u32,
    zero: u32,
    tree_mask: u64,
    k_block: u32,
    v_block: u32,
    k_norm: f32,
    v_norm: f32,
    chunk_k: u64,
    chunk_v: u64,
    chunk_k_stride: u32,
    chunk_v_stride: u32,
    parts: i32,
    key_rope: u32,
    rope_table: u64,
    reach: u64,
}

// SAFETY: `repr(C)`, plain numbers without padding; the kernels' struct of the same name has the same fields.
unsafe impl DeviceRepr for AttendParams {}

/// Threads of a block, and so four warps, as in the kernels.
const BLOCK: u32 = 128;
const WARPS: usize = 4;

const fn entry(module: &'static str, name: &'static str) -> Entry<AttendParams> {
    Entry::new(module, name)
}

/// Head dims and their kernels.
type Instances<P> = &'static [(usize, Entry<P>)];

/// Instances `<stem>_d<head_dim>` by module.
macro_rules! instances {
    ($stem:literal: $($module:literal [$($d:literal)*]),*) => {
        &[$($(($d, entry($module, concat!($stem, "_d", $d)))),*),*]
    };
}

use instances;

/// The closed table of instances.
const F16: Instances<AttendParams> = instances!("attend_f16": "attention/half" [64 128]);
const BF16: Instances<AttendParams> = instances!("attend_bf16": "attention/half" [64 128]);
const INT8: Instances<AttendParams> = instances!("attend_int8":
    "attention/int8" [64 128], "attention/int8_mid" [80 96 112], "attention/int8_wide" [192 256]);
const INT8_STATIC: Instances<AttendParams> =
    instances!("attend_int8_static": "attention/int8_static" [64 80 96 112 128 192 256]);
const E4M3: Instances<AttendParams> = instances!("attend_e4m3":
    "attention/e4m3" [64 128], "attention/e4m3_mid" [80 96 112], "attention/e4m3_wide" [192 256]);
const E5M2: Instances<AttendParams> = instances!("attend_e5m2": "attention/e5m2" [64 128]);
const INT8_E4M3: Instances<AttendParams> = instances!("attend_int8_e4m3": "attention/int8_e4m3" [64 128]);
const INT8_INT4: Instances<AttendParams> = instances!("attend_int8_int4": "attention/int8_int4" [64 128]);
const INT4: Instances<AttendParams> = instances!("attend_int4":
    "attention/int4" [64 128], "attention/int4_mid" [80 96 112], "attention/int4_wide" [192 256]);
const NVFP4: Instances<AttendParams> = instances!("attend_nvfp4":
    "attention/nvfp4" [64 128], "attention/nvfp4_mid" [80 96 112], "attention/nvfp4_wide" [192 256]);
const Q8_0: Instances<AttendParams> = instances!("attend_q8_0": "attention/ggml" [64 96 128 256]);
const Q8_0_Q4_0: Instances<AttendParams> = instances!("attend_q8_0_q4_0": "attention/ggml" [64 96 128]);
const Q4_0: Instances<AttendParams> = instances!("attend_q4_0": "attention/ggml" [64 96 128 256]);
const KIVI4: Instances<AttendParams> = instances!("attend_kivi4":
    "attention/kivi4" [64 128], "attention/kivi4_mid" [80 96 112], "attention/kivi4_wide" [192 256]);
const KIVI2: Instances<AttendParams> = instances!("attend_kivi2":
    "attention/kivi2" [64 96 128], "attention/kivi2_wide" [192 256]);
const KIVI8_2: Instances<AttendParams> = instances!("attend_kivi8_2": "attention/kivi8_2" [64 96 128 192]);
const KIVI4_G64: Instances<AttendParams> = instances!("attend_kivi4_g64": "attention/kivi_g64" [64 128]);
const KIVI2_G64: Instances<AttendParams> = instances!("attend_kivi2_g64": "attention/kivi_g64" [64 128]);
const KIVI8_2_G64: Instances<AttendParams> = instances!("attend_kivi8_2_g64": "attention/kivi_g64" [64 128]);
const NUQ4: Instances<AttendParams> = instances!("attend_nuq4": "attention/nuq4" [64 96 128 256]);
const NUQ3: Instances<AttendParams> = instances!("attend_nuq3": "attention/nuq3" [64 96 128 256]);
const CHUNKS: Instances<AttendParams> = instances!("attend_merge": "attention/merge" [64 80 96 112 128 192 256]);

pub(crate) fn entries() -> Vec<EntryRow> {
    let tables = [F16, BF16, INT8, E4M3, E5M2, INT8_E4M3, INT8_INT4, INT4, NVFP4, NUQ4, NUQ3, CHUNKS];
    let kivi = [KIVI4, KIVI2, KIVI8_2, KIVI4_G64, KIVI2_G64, KIVI8_2_G64];
    let tables = tables.into_iter().chain([INT8_STATIC, Q8_0, Q8_0_Q4_0, Q4_0]).chain(kivi).chain(prefill::INSTANCES);
    tables.flatten().map(|(_, entry)| entry.row()).chain([merge::STATES.row()]).collect()
}

/// The instance of a layout; every layout that exists has one ([`KvLayout::new`] knows the same list).
fn instance(layout: &KvLayout) -> Entry<AttendParams> {
    let bf16 = layout.shape().dtype == DType::Bf16;
    let format = *layout.format();
    let table = match format {
        KvFormat::FLOAT => [F16, BF16][usize::from(bf16)],
        KvFormat::INT8 => INT8,
        KvFormat::INT8_STATIC => INT8_STATIC,
        KvFormat::E4M3 => E4M3,
        KvFormat::E5M2 => E5M2,
        KvFormat::INT8_E4M3 => INT8_E4M3,
        KvFormat::INT8_INT4 => INT8_INT4,
        KvFormat::INT4 => INT4,
        KvFormat::NVFP4 => NVFP4,
        KvFormat::Q8_0 => Q8_0,
        KvFormat::Q8_0_Q4_0 => Q8_0_Q4_0,
        KvFormat::Q4_0 => Q4_0,
        format if format == KvFormat::nuq4(format.sink) => NUQ4,
        format if format == KvFormat::nuq3(format.sink) => NUQ3,
        _ => match (format.k.code, format.k.scale) {
            (KvCode::Int2, KvScale::TokenGroup(64)) => KIVI2_G64,
            (KvCode::Int2, _) => KIVI2,
            (KvCode::Uint8, KvScale::TokenGroup(64)) => KIVI8_2_G64,
            (KvCode::Uint8, _) => KIVI8_2,
            (_, KvScale::TokenGroup(64)) => KIVI4_G64,
            _ => KIVI4,
        },
    };
    of_head_dim(table, layout)
}

fn of_head_dim<P>(table: Instances<P>, layout: &KvLayout) -> Entry<P> {
    let d = layout.shape().head_dim;
    table.iter().find(|(head_dim, _)| *head_dim == d).expect("KvLayout::new knows the list").1
}

/// Dynamic shared memory of an instance, bytes: `Shared<F>` of kernels/attention/attend.cuh.
fn shared_bytes(layout: &KvLayout) -> u32 {
    const STAGES: usize = 2;
    const COLUMNS: usize = 8;
    const Q_PITCH: usize = 36;
    let ring = WARPS * STAGES * layout.tile().bytes;
    let query = layout.shape().head_dim / 8 * Q_PITCH * 4;
    let second = layout.format().has_window() || layout.format().k.scale == KvScale::Channel;
    let queries = if second { 2 } else { 1 };
    (ring + queries * query + COLUMNS * (4 + 8 * WARPS + 24) + 64 + table_bytes(layout)) as u32
}

/// What a CTA keeps of the tables of codes: levels of both sides, range and zero of the head's channels, and the angles of
/// 16 positions (`NuqTables` of kernels/attention/format_nuq.cuh).
fn table_bytes(layout: &KvLayout) -> usize {
    let d = layout.shape().head_dim;
    if !layout.format().is_nuq() {
        return 0;
    }
    let pitch = if d.is_multiple_of(32) { 4 * d + 64 } else { 4 * d };
    2 * 64 + 8 * d + 16 * pitch
}

fn launches(plan: &Plan) -> [Launch<AttendParams>; 2] {
    let layout = plan.layout();
    let capacity = plan.capacity();
    let rows = capacity.max_q_len * plan.num_heads();
    let chunks = Launch {
        op: OP,
        entry: instance(layout),
        grid: (
            (plan.passes() * plan.max_chunks()) as u32,
            layout.shape().num_kv_heads as u32,
            capacity.num_seqs as u32,
        ),
        block: (BLOCK, 1, 1),
        shared: shared_bytes(layout),
    };
    let merge = Launch {
        op: OP,
        entry: of_head_dim(CHUNKS, layout),
        grid: (rows.div_ceil(WARPS) as u32, capacity.num_seqs as u32, 1),
        block: (BLOCK, 1, 1),
        shared: 0,
    };
    [chunks, merge]
}

/// Loads what [`attend`] launches under this plan; [`Plan::new`] calls it.
///
/// # Errors
/// Those of loading.
pub(crate) fn prepare(kernels: &Kernels, plan: &Plan) -> Result<()> {
    launches(plan).iter().try_for_each(|launch| launch.prepare(kernels))
}

const OP: &str = "attend";

/// Attention of the batch's query rows `q` `[total_q, num_heads, head_dim]` over the cache, which already holds their keys
/// and values.
///
/// - `out` `[total_q, num_heads, head_dim]`; `lse` `[total_q, num_heads]`, the natural logarithm of the sum of
///   exponentials. A row that sees no key: out 0, LSE -inf or the sink logit. Rows of no sequence, and of sequences whose lengths
///   contradict themselves, are not written.
/// - `workspace`: at least [`Plan::workspace_bytes`], 16-byte aligned.
/// - What only the device can see (page and slot indices, lengths) sets bits of the cache's status word; see
///   [`Status`](crate::cache::Status).
///
/// One launch, and one more for the merge where the plan's `max_len` makes more than one chunk.
///
/// # Errors
/// [`Error::Argument`], checked before anything is launched: the rules of [`KvCacheRef`], [`Batch`] and [`Rows`]; a layout
/// or heads other than the plan's, a batch beyond its capacity; pages of more than 64 GiB; a dtype other than the
/// layout's; lengths of `out`, `lse`, `workspace`; slopes or sinks that are not one per head; a softmax scale that is not
/// finite, a soft-cap that is not finite and above 0, a window of 0 or above 2^30; a tree mask with fewer elements than
/// rows, with more than 32 new tokens a sequence or with a window below 32 (with ALiBi: [`Error::Unsupported`]);
/// memory or a stream of another context. Then loading and launching.
#[allow(clippy::too_many_arguments)]
pub fn attend<T: Half16>(
    kernels: &Kernels,
    stream: &Arc<CudaStream>,
    plan: &Plan,
    batch: &Batch<'_>,
    q: &Rows<'_, T>,
    cache: &mut KvCacheRef<'_>,
    options: &Options<'_>,
    out: &mut CudaViewMut<'_, T>,
    lse: Option<&mut CudaViewMut<'_, f32>>,
    workspace: &mut CudaViewMut<'_, u8>,
) -> Result<()> {
    with_params(
        OP,
        (kernels, stream),
        plan,
        plan.workspace_bytes(),
        batch,
        q,
        cache,
        options,
        out,
        lse,
        workspace,
        |params| {
            let [mut chunks, mut merge] = launches(plan);
            // A smaller batch than the plan's: the rest of the grid would have nothing to do.
            chunks.grid.2 = batch.num_seqs() as u32;
            merge.grid.1 = batch.num_seqs() as u32;
            // SAFETY: 1. every buffer is as long as the kernels' contracts ask, checked above and by `params`; rows, pages, slots and
            // blocks that the device names are checked by the kernels against the counts given here; total_q rows of parts fit
            // the workspace because total_q <= max_rows. 2. All guards live to the end of this function.
            unsafe {
                chunks.run(kernels, stream, params)?;
                if plan.max_chunks() > 1 { merge.run(kernels, stream, params) } else { Ok(()) }
            }
        },
    )
}

/// Checks a call and makes its parameters for `launch`; the guards of all buffers live until it returns.
#[allow(clippy::too_many_arguments)]
fn with_params<T: Half16>(
    op: &'static str,
    (kernels, stream): (&Kernels, &Arc<CudaStream>),
    plan: &Plan,
    workspace_bytes: usize,
    batch: &Batch<'_>,
    q: &Rows<'_, T>,
    cache: &mut KvCacheRef<'_>,
    options: &Options<'_>,
    out: &mut CudaViewMut<'_, T>,
    lse: Option<&mut CudaViewMut<'_, f32>>,
    workspace: &mut CudaViewMut<'_, u8>,
    launch: impl FnOnce(&AttendParams) -> Result<()>,
) -> Result<()> {
    check_stream(op, kernels, stream)?;
    let row = plan.num_heads() * plan.layout().shape().head_dim;
    check(op, plan, batch, cache, T::DTYPE, options)?;
    if q.stride < row || !q.stride.is_multiple_of(8) || i32::try_from(q.stride).is_err() {
        let expected = format!("a multiple of 8 from {row} to {}", i32::MAX);
        return Err(Error::argument(op, "q.stride", expected, q.stride.to_string()));
    }
    let needed = if batch.total_q == 0 { 0 } else { (batch.total_q - 1) * q.stride + row };
    let (outs, lses) = (batch.total_q * row, batch.total_q * plan.num_heads());
    let lse_len = lse.as_ref().map_or(lses, |lse| lse.len());
    for (argument, needed, found, what) in [
        ("q.data", needed, q.data.len(), "elements"),
        ("out", outs, out.len(), "elements"),
        ("lse", lses, lse_len, "elements"),
        ("workspace", workspace_bytes, workspace.len(), "bytes"),
    ] {
        if found < needed {
            return Err(Error::argument(op, argument, format!("at least {needed} {what}"), found.to_string()));
        }
    }
    let per_head = [("options.alibi_slopes", &options.alibi_slopes), ("options.sink_logits", &options.sink_logits)];
    for (argument, given) in per_head {
        let Some(given) = given else { continue };
        if given.len() != plan.num_heads() {
            let expected = format!("{} elements, one per head", plan.num_heads());
            return Err(Error::argument(op, argument, expected, given.len().to_string()));
        }
        check_context(op, argument, given.stream(), stream)?;
    }
    if let Some(mask) = &options.tree_mask {
        if mask.len() < batch.total_q {
            let expected = format!("at least {} elements, one per row", batch.total_q);
            return Err(Error::argument(op, "options.tree_mask", expected, mask.len().to_string()));
        }
        check_context(op, "options.tree_mask", mask.stream(), stream)?;
    }
    let blocks = batch.max_blocks;
    check_attend_rope(op, plan.layout(), blocks, options.rope.as_ref().map(DeviceSlice::len))?;
    if let Some(rope) = &options.rope {
        check_context(op, "options.rope", rope.stream(), stream)?;
    }
    for (argument, of) in [
        ("q.data", q.data.stream()),
        ("out", out.stream()),
        ("workspace", workspace.stream()),
        ("lse", lse.as_ref().map_or(stream, |lse| lse.stream())),
    ] {
        check_context(op, argument, of, stream)?;
    }

    let (kv, _cache_guards) = cache.params(op, stream)?;
    let (batch_params, _batch_guards) = batch.params(op, plan.layout(), stream)?;
    let (q_pointer, _q_guard) = q.data.device_ptr(stream);
    let (out_pointer, _out_guard) = out.device_ptr_mut(stream);
    let (parts_out, _parts_guard) = workspace.device_ptr_mut(stream);
    let lse = lse.map(|lse| lse.device_ptr_mut(stream));
    let lse_pointer = lse.as_ref().map_or(0, |(pointer, _guard)| *pointer);
    let [alibi_slopes, sink_logits] = per_head.map(|(_, given)| given.as_ref().map(|given| given.device_ptr(stream)));
    let tree_mask = options.tree_mask.as_ref().map(|mask| mask.device_ptr(stream));
    let rope = options.rope.as_ref().map(|table| table.device_ptr(stream));
    if let Some((pointer, _guard)) = &rope {
        check_aligned(op, "options.rope", *pointer, 8)?;
    }
    let pointer = |given: &Option<(u64, _)>| given.as_ref().map_or(0, |(pointer, _guard)| *pointer);
    check_aligned(op, "q.data", q_pointer, 4)?;
    check_aligned(op, "out", out_pointer, 4)?;
    check_aligned(op, "workspace", parts_out, 16)?;
    let (k_rotation, v_rotation) = (plan.layout().k_rotation(), plan.layout().v_rotation());
    let norm = |rotation: Rotation| if rotation.block() == 0 { 0.0 } else { scale(rotation.block()) };
    let parts = plan.max_rows() * plan.num_heads() * plan.max_chunks();
    let params = AttendParams {
        kv,
        batch: batch_params,
        q: q_pointer,
        out: out_pointer,
        lse: lse_pointer,
        parts_out,
        parts_lse: parts_out + (4 * parts * plan.layout().shape().head_dim) as u64,
        q_stride: q.stride as u64,
        out_stride: row as u64,
        alibi_slopes: pointer(&alibi_slopes),
        sink_logits: pointer(&sink_logits),
        heads: plan.num_heads() as i32,
        group: plan.group() as i32,
        passes: plan.passes() as i32,
        max_chunks: plan.max_chunks() as i32,
        max_len: plan.capacity().max_len.min(batch.max_blocks * plan.layout().shape().page_tokens) as i32,
        window: options.window.unwrap_or(0) as i32,
        softmax_scale: options.softmax_scale,
        soft_cap: options.soft_cap.unwrap_or(0.0),
        bent: u32::from(options.soft_cap.is_some() || options.alibi_slopes.is_some()),
        zero: 0,
        tree_mask: tree_mask.as_ref().map_or(0, |(pointer, _guard)| *pointer),
        k_block: k_rotation.block() as u32,
        v_block: v_rotation.block() as u32,
        k_norm: norm(k_rotation),
        v_norm: norm(v_rotation),
        chunk_k: 0,
        chunk_v: 0,
        chunk_k_stride: 0,
        chunk_v_stride: 0,
        parts: 0,
        key_rope: plan.layout().key_rope().map_or(0, KeyRope::packed),
        rope_table: rope.as_ref().map_or(0, |(pointer, _guard)| *pointer),
        reach: 4096,
    };
    launch(&params)
}

/// The batch and the cache against the plan.
fn check(
    op: &'static str,
    plan: &Plan,
    batch: &Batch<'_>,
    cache: &KvCacheRef<'_>,
    dtype: DType,
    options: &Options<'_>,
) -> Result<()> {
    let wrong = |argument, expected: String, found: String| Err(Error::argument(op, argument, expected, found));
    if cache.layout != *plan.layout() {
        return wrong("cache.layout", format!("the plan's ({:?})", plan.layout()), format!("{:?}", cache.layout));
    }
    if dtype != plan.layout().shape().dtype {
        return wrong("q, out", format!("{} (the layout's dtype)", plan.layout().shape().dtype), dtype.name().into());
    }
    let capacity = plan.capacity();
    for (argument, found, most) in [
        ("batch.seq_lens", batch.num_seqs(), capacity.num_seqs),
        ("batch.max_q_len", batch.max_q_len, capacity.max_q_len),
        ("batch.total_q", batch.total_q, plan.max_rows()),
    ] {
        if found > most {
            return wrong(argument, format!("at most {most} (the plan's capacity)"), found.to_string());
        }
    }
    if cache.pages.len() > 64 << 30 {
        return wrong("cache.pages", "at most 64 GiB".into(), format!("{} bytes", cache.pages.len()));
    }
    if !options.softmax_scale.is_finite() {
        return wrong("options.softmax_scale", "a finite number".into(), options.softmax_scale.to_string());
    }
    if let Some(cap) = options.soft_cap.filter(|cap| !(cap.is_normal() && *cap > 0.0)) {
        return wrong("options.soft_cap", "a finite number above 0".into(), cap.to_string());
    }
    if options.tree_mask.is_some() {
        check_tree(op, batch.max_q_len, options.window, options.alibi_slopes.is_some())?;
    }
    match options.window {
        Some(window) if !(1..=1 << 30).contains(&window) => {
            wrong("options.window", format!("1..={}", 1 << 30), window.to_string())
        }
        _ => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::mem::offset_of;

    /// The same numbers stand in kernels/attention/params.cuh.
    #[test]
    fn offsets_are_those_of_the_header() {
        assert_eq!(size_of::<AttendParams>(), 344);
        assert_eq!(offset_of!(AttendParams, tree_mask), 272);
        assert_eq!([offset_of!(AttendParams, q), offset_of!(AttendParams, q_stride)], [160, 200]);
        assert_eq!([offset_of!(AttendParams, heads), offset_of!(AttendParams, softmax_scale)], [232, 256]);
    }
}
