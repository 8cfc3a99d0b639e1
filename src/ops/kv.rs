//! Appending to the KV cache; defined by [`crate::reference::kv`], with which every byte of pages and state agrees.
//!
//! One launch, K and V together: quantize, pack, store, and the key flush of formats with a window. No host read, no
//! allocation: after [`prepare`] a call can be captured in a graph (cudarc's event tracking disabled before the buffers are
//! allocated, a stream that is not the default one) and replayed with other lengths, tables and slots of at most the
//! captured `max_q_len` and number of sequences.

mod copy;
mod export;

use std::sync::Arc;

use cudarc::driver::{CudaStream, DevicePtr, DeviceRepr, DeviceSlice};

use crate::cache::params::{BatchParams, KvParams};
use crate::cache::{
    Batch, KeyRope, KvCacheMut, KvCode, KvFormat, KvLayout, KvScale, Rope, Rows, check_aligned, check_context,
};
use crate::error::Result;
use crate::format::{Half16, RopeStyle, Rotation};
use crate::reference;
use crate::reference::kv::{check_key_rope, check_max_append, check_rope, check_rows};
use crate::runtime::{Entry, EntryRow, Kernels, Launch, check_stream};

pub use copy::{advance_seq_lens, copy_pages, copy_state};
pub use export::export_blocks;

/// Threads of a block, as in the kernels.
const BLOCK: u32 = 128;

#[repr(C)]
#[derive(Clone, Copy)]
struct AppendParams {
    kv: KvParams,
    batch: BatchParams,
    k: u64,
    v: u64,
    k_stride: u32,
    v_stride: u32,
    prefill: u32,
    key_rope: u32,
    k_row: RowTransform,
    v_row: RowTransform,
}

// SAFETY: `repr(C)`, plain integers without padding; the kernel's struct of the same name has the same fields.
unsafe impl DeviceRepr for AppendParams {}

/// RoPE and rotation of one side's rows.
#[repr(C)]
#[derive(Clone, Copy)]
struct RowTransform {
    table: u64,
    rotary_dim: u32,
    half_split: u32,
    block: u32,
    norm: f32,
}

impl RowTransform {
    fn rotation(rotation: Rotation) -> Self {
        let block = rotation.block();
        let norm = if block == 0 { 0.0 } else { reference::transform::scale(block) };
        Self { table: 0, rotary_dim: 0, half_split: 0, block: block as u32, norm }
    }
}

/// Instances `append_<format>_d<head_dim>` of module `kv/append_<format>`, or of another format's module.
macro_rules! instances {
    ($name:literal [$($d:literal)*]) => { instances!($name in $name [$($d)*]) };
    ($name:literal in $module:literal [$($d:literal)*]) => {
        &[$(($d, Entry::new(concat!("kv/append_", $module), concat!("append_", $name, "_d", $d)))),*]
    };
}

/// The closed table of instances: head dims and kernels of each format.
type Instances = &'static [(usize, Entry<AppendParams>)];
const FLOAT: Instances = instances!("float" [64 128]);
const INT8: Instances = instances!("int8" [64 80 96 112 128 192 256]);
const INT8_STATIC: Instances = instances!("int8_static" [64 80 96 112 128 192 256]);
const E4M3: Instances = instances!("e4m3" [64 80 96 112 128 192 256]);
const E5M2: Instances = instances!("e5m2" [64 128]);
const INT8_E4M3: Instances = instances!("int8_e4m3" [64 128]);
const INT8_INT4: Instances = instances!("int8_int4" [64 128]);
const INT4: Instances = instances!("int4" [64 80 96 112 128 192 256]);
const NVFP4: Instances = instances!("nvfp4" [64 80 96 112 128 192 256]);
const Q8_0: Instances = instances!("q8_0" in "ggml" [64 96 128 256]);
const Q8_0_Q4_0: Instances = instances!("q8_0_q4_0" in "ggml" [64 96 128]);
const Q4_0: Instances = instances!("q4_0" in "ggml" [64 96 128 256]);
const NUQ4: Instances = instances!("nuq4" [64 96 128 256]);
const NUQ3: Instances = instances!("nuq3" [64 96 128 256]);
const KIVI4: Instances = instances!("kivi4" [64 80 96 112 128 192 256]);
const KIVI2: Instances = instances!("kivi2" [64 96 128 192 256]);
const KIVI8_2: Instances = instances!("kivi8_2" in "kivi2" [64 96 128 192]);
const KIVI4_G64: Instances = instances!("kivi4_g64" in "kivi_g64" [64 128]);
const KIVI2_G64: Instances = instances!("kivi2_g64" in "kivi_g64" [64 128]);
const KIVI8_2_G64: Instances = instances!("kivi8_2_g64" in "kivi_g64" [64 128]);

pub(crate) fn entries() -> Vec<EntryRow> {
    let append = [FLOAT, INT8, E4M3, E5M2, INT8_E4M3, INT8_INT4, INT4, NVFP4, NUQ4, NUQ3];
    let append = append.into_iter().chain([INT8_STATIC, Q8_0, Q8_0_Q4_0, Q4_0]).chain([
        KIVI4,
        KIVI2,
        KIVI8_2,
        KIVI4_G64,
        KIVI2_G64,
        KIVI8_2_G64,
    ]);
    append.flatten().map(|(_, entry)| entry.row()).chain(copy::entries()).chain(export::entries()).collect()
}

/// Every layout that exists has an instance: [`KvLayout::new`] knows the same list.
fn entry_of(layout: &KvLayout) -> Entry<AppendParams> {
    let format = *layout.format();
    let table = match format {
        KvFormat::FLOAT => FLOAT,
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
    let d = layout.shape().head_dim;
    table.iter().find(|(head_dim, _)| *head_dim == d).expect("KvLayout::new knows the list").1
}

/// Loads the kernel that appends to this layout, so that a later append can be captured in a graph.
///
/// # Errors
/// Those of loading.
pub fn prepare(kernels: &Kernels, layout: &KvLayout) -> Result<()> {
    let launch =
        Launch { op: "kv::prepare", entry: entry_of(layout), grid: (1, 1, 1), block: (BLOCK, 1, 1), shared: 0 };
    launch.prepare(kernels)
}

/// Appends the batch's new keys and values, rows `k`, `v` `[total_q, num_kv_heads, head_dim]`. Keys below F_k(p0) are
/// coded from the window, values at once; see [`crate::cache::window`].
///
/// Keys that the layout stores before RoPE ([`KvLayout::pre_rope`]) come without `rope`. Others are turned by `rope`, then rotated if the layout says so ([`KvLayout::rotated`]), as values are; all in the one
/// launch. What is coded, and what the window holds, is the result rounded to the layout's dtype.
///
/// # Errors
/// [`crate::Error::Argument`], checked before anything is launched: the rules of [`KvCacheMut`], [`Batch`], [`Rows`] and [`Rope`];
/// a dtype other than the layout's; `max_q_len` above `max_append` in a format with a window; memory or a stream of
/// another context. Then loading and launching. Contradictions that only the device sees set bits of the status word.
#[allow(clippy::too_many_arguments)]
pub fn append<T: Half16>(
    kernels: &Kernels,
    stream: &Arc<CudaStream>,
    batch: &Batch<'_>,
    k: &Rows<'_, T>,
    v: &Rows<'_, T>,
    rope: Option<&Rope<'_>>,
    cache: &mut KvCacheMut<'_>,
) -> Result<()> {
    run("kv::append", false, kernels, stream, batch, k, v, rope, cache)
}

/// Appends a chunk of any length and codes keys up to F_k(n), from the window and from the chunk; the rest goes to the
/// window. In formats without a window the same as [`append`].
///
/// # Errors
/// As [`append`], without the limit on `max_q_len`.
#[allow(clippy::too_many_arguments)]
pub fn append_prefill<T: Half16>(
    kernels: &Kernels,
    stream: &Arc<CudaStream>,
    batch: &Batch<'_>,
    k: &Rows<'_, T>,
    v: &Rows<'_, T>,
    rope: Option<&Rope<'_>>,
    cache: &mut KvCacheMut<'_>,
) -> Result<()> {
    run("kv::append_prefill", true, kernels, stream, batch, k, v, rope, cache)
}

#[allow(clippy::too_many_arguments)]
fn run<T: Half16>(
    op: &'static str,
    prefill: bool,
    kernels: &Kernels,
    stream: &Arc<CudaStream>,
    batch: &Batch<'_>,
    k: &Rows<'_, T>,
    v: &Rows<'_, T>,
    rope: Option<&Rope<'_>>,
    cache: &mut KvCacheMut<'_>,
) -> Result<()> {
    check_stream(op, kernels, stream)?;
    let layout = cache.layout;
    let (kv, _cache_guards) = cache.params(op, stream)?;
    let (batch_params, _batch_guards) = batch.params(op, &layout, stream)?;
    if !prefill {
        check_max_append(op, &layout, batch.max_q_len)?;
    }
    let lengths = [("k.data", "k.stride", k.data.len(), k.stride), ("v.data", "v.stride", v.data.len(), v.stride)];
    check_rows(op, &layout, T::DTYPE, batch.total_q, lengths)?;
    check_context(op, "k.data", k.data.stream(), stream)?;
    check_context(op, "v.data", v.data.stream(), stream)?;
    let (k_pointer, _k_guard) = k.data.device_ptr(stream);
    let (v_pointer, _v_guard) = v.data.device_ptr(stream);
    check_aligned(op, "k.data", k_pointer, 16)?;
    check_aligned(op, "v.data", v_pointer, 16)?;
    check_key_rope(op, &layout, rope.is_some())?;
    if let Some(rope) = rope {
        check_rope(op, &layout, batch.max_blocks, rope.rotary_dim, rope.table.len())?;
        check_context(op, "rope.table", rope.table.stream(), stream)?;
    }
    let table = rope.map(|rope| rope.table.device_ptr(stream));
    let mut k_row = RowTransform::rotation(layout.k_rotation());
    if let (Some(rope), Some((table, _guard))) = (rope, &table) {
        check_aligned(op, "rope.table", *table, 8)?;
        (k_row.table, k_row.rotary_dim) = (*table, rope.rotary_dim as u32);
        k_row.half_split = u32::from(rope.style == RopeStyle::HalfSplit);
    }
    let params = AppendParams {
        kv,
        batch: batch_params,
        k: k_pointer,
        v: v_pointer,
        k_stride: k.stride as u32,
        v_stride: v.stride as u32,
        prefill: u32::from(prefill),
        key_rope: layout.key_rope().map_or(0, KeyRope::packed),
        k_row,
        v_row: RowTransform::rotation(layout.v_rotation()),
    };
    // Tiles that `max_q_len` consecutive tokens touch at worst, and the unit that owns the window.
    let tile = layout.tile().tokens;
    let tiles = if batch.max_q_len == 0 { 0 } else { (batch.max_q_len + 2 * tile - 2) / tile };
    let units = tiles + usize::from(layout.format().has_window() && tiles > 0);
    let launch = Launch {
        op,
        entry: entry_of(&layout),
        grid: (units as u32, layout.shape().num_kv_heads as u32, batch.num_seqs() as u32),
        block: (BLOCK, 1, 1),
        shared: 0,
    };
    // SAFETY: 1. The lengths of all buffers are held to the layout and the batch by the checks above; indices that only
    // the device knows (pages, slots, rows) are checked there against `num_pages`, `num_slots`, `total_q` before use.
    // 2. All guards live to the end of this function.
    unsafe { launch.run(kernels, stream, &params) }
}
