//! Views over the engine's memory: the cache of one layer, and one step's batch.

use std::sync::Arc;

use cudarc::driver::{CudaStream, CudaView, CudaViewMut, DevicePtr, DevicePtrMut, DeviceSlice, SyncOnDrop};

use super::params::{BatchParams, KvParams};
use super::{KvFormat, KvLayout, KvScale, NUQ_BOOK};
use crate::{Error, Result};

/// Guards of the buffers behind a parameter struct: alive until the launch is queued.
pub(crate) type Guards<'a> = Vec<SyncOnDrop<'a>>;

/// The cache of one layer, to be written.
///
/// Both views of a cache are checked when used, before anything is launched:
/// `pages` is a whole number of pages (at most 2^31 - 1), 16-byte aligned; `state` is a whole number of slots, 16-byte
/// aligned, or empty where the format has no window and no sink; `status` is one word; `k_scale` and `v_scale` have 1 or
/// `num_kv_heads` elements where that side has a scale per head, are the tables of [`nuq_key_table`](super::nuq_key_table) and
/// [`nuq_value_table`](super::nuq_value_table) for codes with tables, and `None` for others.
#[derive(Debug)]
pub struct KvCacheMut<'a> {
    /// The layout that both buffers follow.
    pub layout: KvLayout,
    /// `u8 [num_pages * page_bytes]`.
    pub pages: CudaViewMut<'a, u8>,
    /// `u8 [num_slots * state_bytes]`.
    pub state: CudaViewMut<'a, u8>,
    /// `u32 [1]`, see [`Status`](super::Status).
    pub status: CudaViewMut<'a, u32>,
    /// `f32 [1]`, `[num_kv_heads]`, `[num_kv_heads, head_dim]` or a table.
    pub k_scale: Option<CudaView<'a, f32>>,
    /// `f32 [1]`, `[num_kv_heads]`, `[num_kv_heads, head_dim]` or a table.
    pub v_scale: Option<CudaView<'a, f32>>,
}

/// The cache of one layer, to be read; only `status` is written. The rules are those of [`KvCacheMut`].
#[derive(Debug)]
pub struct KvCacheRef<'a> {
    /// The layout that both buffers follow.
    pub layout: KvLayout,
    /// `u8 [num_pages * page_bytes]`.
    pub pages: CudaView<'a, u8>,
    /// `u8 [num_slots * state_bytes]`.
    pub state: CudaView<'a, u8>,
    /// `u32 [1]`, see [`Status`](super::Status).
    pub status: CudaViewMut<'a, u32>,
    /// `f32 [1]`, `[num_kv_heads]`, `[num_kv_heads, head_dim]` or a table.
    pub k_scale: Option<CudaView<'a, f32>>,
    /// `f32 [1]`, `[num_kv_heads]`, `[num_kv_heads, head_dim]` or a table.
    pub v_scale: Option<CudaView<'a, f32>>,
}

/// Checks of the lengths of a cache's buffers; fills the counts in. Shared with the host-side reference.
pub(crate) fn checked_params(
    op: &'static str,
    layout: &KvLayout,
    pages: usize,
    state: usize,
    status: usize,
    scales: [Option<usize>; 2],
) -> Result<KvParams> {
    let mut params = KvParams::of(layout);
    let count = |argument, bytes: usize, unit: usize, what: &str| match bytes / unit {
        n if bytes.is_multiple_of(unit) && i32::try_from(n).is_ok() => Ok(n as i32),
        _ => {
            let expected = format!("a whole number of {what}s of {unit} bytes, at most {}", i32::MAX);
            Err(Error::argument(op, argument, expected, format!("{bytes} bytes")))
        }
    };
    params.num_pages = count("cache.pages", pages, layout.page_bytes(), "page")?;
    if layout.state_bytes() > 0 {
        params.num_slots = count("cache.state", state, layout.state_bytes(), "slot")?;
    } else if state != 0 {
        let expected = format!("empty ({} has no window)", KvFormatName(layout.format()));
        return Err(Error::argument(op, "cache.state", expected, format!("{state} bytes")));
    }
    if status != 1 {
        return Err(Error::argument(op, "cache.status", "1 element", status.to_string()));
    }
    let (heads, d) = (layout.shape().num_kv_heads, layout.shape().head_dim);
    let channels = heads * d;
    let sides = [("cache.k_scale", layout.format().k), ("cache.v_scale", layout.format().v)];
    let mut strides = [0, 0];
    for (((argument, side), length), stride) in sides.into_iter().zip(scales).zip(&mut strides) {
        match (side.scale, length) {
            (scale, Some(n)) if scale.is_per_head() && (n == 1 || n == heads) => *stride = u32::from(n != 1),
            (KvScale::ChannelRange | KvScale::TokenRange, found) => {
                let channels = if side.scale == KvScale::ChannelRange { 2 * heads * d } else { 0 };
                let needed = NUQ_BOOK + channels;
                if found != Some(needed) {
                    let found = found.map_or("none".to_string(), |n| format!("{n} elements"));
                    return Err(Error::argument(op, argument, format!("a table of {needed} elements"), found));
                }
            }
            (scale, found) if scale.is_per_head() => {
                let found = found.map_or("none".to_string(), |n| format!("{n} elements"));
                return Err(Error::argument(op, argument, format!("1 or {heads} elements"), found));
            }
            (KvScale::Channel, Some(n)) if n == channels => *stride = d as u32,
            (KvScale::Channel, found) => {
                let found = found.map_or("none".to_string(), |n| format!("{n} elements"));
                let expected = format!("{channels} elements, one per head and channel");
                return Err(Error::argument(op, argument, expected, found));
            }
            (_, None) => {}
            (_, Some(n)) => {
                let expected = format!("none ({side} takes no scale from the caller)");
                return Err(Error::argument(op, argument, expected, format!("{n} elements")));
            }
        }
    }
    [params.k_scale_stride, params.v_scale_stride] = strides;
    Ok(params)
}

struct KvFormatName<'a>(&'a KvFormat);

impl std::fmt::Display for KvFormatName<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "the format ({})", self.0)
    }
}

/// A buffer must live in the context that the launch runs in.
pub(crate) fn check_context(
    op: &'static str,
    argument: &'static str,
    of: &Arc<CudaStream>,
    stream: &Arc<CudaStream>,
) -> Result<()> {
    if of.context() == stream.context() {
        return Ok(());
    }
    let describe = |stream: &Arc<CudaStream>| format!("memory of device {}", stream.context().ordinal());
    Err(Error::argument(op, argument, format!("{} in the context of `stream`", describe(stream)), describe(of)))
}

/// An address must suit vector accesses of `align` bytes.
pub(crate) fn check_aligned(op: &'static str, argument: &'static str, pointer: u64, align: u64) -> Result<()> {
    match pointer % align {
        0 => Ok(()),
        rest => {
            let found = format!("an address {rest} bytes past one");
            Err(Error::argument(op, argument, format!("a {align}-byte aligned address"), found))
        }
    }
}

fn check_cache_aligned(op: &'static str, params: &KvParams) -> Result<()> {
    check_aligned(op, "cache.pages", params.pages, 16)?;
    check_aligned(op, "cache.state", params.state, 16)
}

fn optional<'a, T>(view: Option<&'a CudaView<'_, T>>, stream: &'a Arc<CudaStream>, guards: &mut Guards<'a>) -> u64 {
    view.map_or(0, |view| {
        let (pointer, guard) = view.device_ptr(stream);
        guards.push(guard);
        pointer
    })
}

impl KvCacheMut<'_> {
    /// Checks the buffers and takes their addresses for a launch on `stream`.
    pub(crate) fn params<'a>(
        &'a mut self,
        op: &'static str,
        stream: &'a Arc<CudaStream>,
    ) -> Result<(KvParams, Guards<'a>)> {
        let scales = [&self.k_scale, &self.v_scale].map(|scale| scale.as_ref().map(DeviceSlice::len));
        let (pages, state, status) = (self.pages.len(), self.state.len(), self.status.len());
        let mut params = checked_params(op, &self.layout, pages, state, status, scales)?;
        check_context(op, "cache.pages", self.pages.stream(), stream)?;
        check_context(op, "cache.state", self.state.stream(), stream)?;
        check_context(op, "cache.status", self.status.stream(), stream)?;
        for scale in [&self.k_scale, &self.v_scale].into_iter().flatten() {
            check_context(op, "cache.k_scale, cache.v_scale", scale.stream(), stream)?;
        }
        let (pages, pages_guard) = self.pages.device_ptr_mut(stream);
        let (state, state_guard) = self.state.device_ptr_mut(stream);
        let (status, status_guard) = self.status.device_ptr_mut(stream);
        let mut guards = vec![pages_guard, state_guard, status_guard];
        params.k_scale = optional(self.k_scale.as_ref(), stream, &mut guards);
        params.v_scale = optional(self.v_scale.as_ref(), stream, &mut guards);
        (params.pages, params.state, params.status) = (pages, state, status);
        if self.layout.state_bytes() == 0 {
            params.state = 0;
        }
        check_cache_aligned(op, &params)?;
        Ok((params, guards))
    }

    /// The same memory, to be read.
    pub fn as_ref(&mut self) -> KvCacheRef<'_> {
        KvCacheRef {
            layout: self.layout,
            pages: self.pages.as_view(),
            state: self.state.as_view(),
            status: self.status.slice_mut(..),
            k_scale: self.k_scale.as_ref().map(|scale| scale.slice(..)),
            v_scale: self.v_scale.as_ref().map(|scale| scale.slice(..)),
        }
    }
}

impl KvCacheRef<'_> {
    /// Checks the buffers and takes their addresses for a launch on `stream`.
    pub(crate) fn params<'a>(
        &'a mut self,
        op: &'static str,
        stream: &'a Arc<CudaStream>,
    ) -> Result<(KvParams, Guards<'a>)> {
        let scales = [&self.k_scale, &self.v_scale].map(|scale| scale.as_ref().map(DeviceSlice::len));
        let (pages, state, status) = (self.pages.len(), self.state.len(), self.status.len());
        let mut params = checked_params(op, &self.layout, pages, state, status, scales)?;
        check_context(op, "cache.pages", self.pages.stream(), stream)?;
        check_context(op, "cache.state", self.state.stream(), stream)?;
        check_context(op, "cache.status", self.status.stream(), stream)?;
        for scale in [&self.k_scale, &self.v_scale].into_iter().flatten() {
            check_context(op, "cache.k_scale, cache.v_scale", scale.stream(), stream)?;
        }
        let (pages, pages_guard) = self.pages.device_ptr(stream);
        let (state, state_guard) = self.state.device_ptr(stream);
        let (status, status_guard) = self.status.device_ptr_mut(stream);
        let mut guards = vec![pages_guard, state_guard, status_guard];
        params.k_scale = optional(self.k_scale.as_ref(), stream, &mut guards);
        params.v_scale = optional(self.v_scale.as_ref(), stream, &mut guards);
        (params.pages, params.state, params.status) = (pages, state, status);
        if self.layout.state_bytes() == 0 {
            params.state = 0;
        }
        check_cache_aligned(op, &params)?;
        Ok((params, guards))
    }
}

/// One step's sequences, all on the device; read, never written.
///
/// Sequence i has `m = cu_q_lens[i + 1] - cu_q_lens[i]` new tokens (0 in a padding row), whose rows in the new tokens'
/// tensors start at `cu_q_lens[i]`, and `n = seq_lens[i]` tokens including them: row r is position `n - m + r`.
/// Position p lies in slot `p % page_tokens` of page `block_table[i, p / page_tokens]`; always the absolute position.
#[derive(Debug)]
pub struct Batch<'a> {
    /// `i32 [num_seqs]`: tokens of each sequence, this call's included.
    pub seq_lens: CudaView<'a, i32>,
    /// `i32 [num_seqs + 1]`: prefix sum of new tokens, from 0.
    pub cu_q_lens: CudaView<'a, i32>,
    /// `i32 [num_seqs, max_blocks]`: pages of each sequence.
    pub block_table: CudaView<'a, i32>,
    /// Row length of `block_table`.
    pub max_blocks: usize,
    /// `i32 [num_seqs]`: the state slot of each sequence; needed by formats with a window or a sink, not read by others.
    pub state_slots: Option<CudaView<'a, i32>>,
    /// `i32 [num_seqs]`: position from which the window of a sequence is valid, a multiple of the residual; `None` is 0
    /// everywhere. Greater than 0 for a sequence that started on shared pages. Not read by formats without a window.
    pub ring_start: Option<CudaView<'a, i32>>,
    /// Most new tokens of one sequence; longer ones are skipped and reported.
    pub max_q_len: usize,
    /// Rows of the new tokens' tensors; at least `cu_q_lens[num_seqs]`.
    pub total_q: usize,
}

/// Rows of a call's tokens on the device, `[total_q, heads, head_dim]` with `stride` elements from row to row: a tensor of
/// its own, or the columns of a fused projection.
#[derive(Debug)]
pub struct Rows<'a, T> {
    /// The elements, from the first of row 0; 16-byte aligned.
    pub data: CudaView<'a, T>,
    /// Elements from one row to the next: at least `heads * head_dim`, a multiple of 8.
    pub stride: usize,
}

/// Checks of the lengths of a batch. Shared with the host-side reference.
#[allow(clippy::too_many_arguments)]
pub(crate) fn checked_batch(
    op: &'static str,
    layout: &KvLayout,
    num_seqs: usize,
    cu_q_lens: usize,
    block_table: usize,
    max_blocks: usize,
    state_slots: Option<usize>,
    ring_start: Option<usize>,
    max_q_len: usize,
    total_q: usize,
) -> Result<BatchParams> {
    let wrong = |argument, expected: String, found: String| Err(Error::argument(op, argument, expected, found));
    let elements = |n: usize| format!("{n} elements");
    if num_seqs > 65_535 {
        return wrong("batch.seq_lens", "at most 65535 sequences".into(), num_seqs.to_string());
    }
    if cu_q_lens != num_seqs + 1 {
        return wrong("batch.cu_q_lens", elements(num_seqs + 1), cu_q_lens.to_string());
    }
    if max_blocks == 0 || i32::try_from(max_blocks.saturating_mul(layout.shape().page_tokens)).is_err() {
        let expected = format!("1..={}", i32::MAX as usize / layout.shape().page_tokens);
        return wrong("batch.max_blocks", expected, max_blocks.to_string());
    }
    if block_table != num_seqs * max_blocks {
        return wrong("batch.block_table", elements(num_seqs * max_blocks), block_table.to_string());
    }
    if layout.format().has_state() {
        if state_slots != Some(num_seqs) {
            let found = state_slots.map_or("none".to_string(), |n| n.to_string());
            return wrong("batch.state_slots", elements(num_seqs), found);
        }
        if let Some(n) = ring_start.filter(|&n| layout.format().has_window() && n != num_seqs) {
            return wrong("batch.ring_start", elements(num_seqs), n.to_string());
        }
    }
    for (argument, value) in [("batch.max_q_len", max_q_len), ("batch.total_q", total_q)] {
        if i32::try_from(value).is_err() {
            return wrong(argument, format!("at most {}", i32::MAX), value.to_string());
        }
    }
    Ok(BatchParams {
        num_seqs: num_seqs as i32,
        max_blocks: max_blocks as i32,
        max_q_len: max_q_len as i32,
        total_q: total_q as i32,
        ..bytemuck::Zeroable::zeroed()
    })
}

impl Batch<'_> {
    /// Sequences, padding rows included.
    pub fn num_seqs(&self) -> usize {
        self.seq_lens.len()
    }

    /// Checks the lengths and takes the addresses for a launch on `stream`.
    pub(crate) fn params<'a>(
        &'a self,
        op: &'static str,
        layout: &KvLayout,
        stream: &'a Arc<CudaStream>,
    ) -> Result<(BatchParams, Guards<'a>)> {
        let mut params = checked_batch(
            op,
            layout,
            self.num_seqs(),
            self.cu_q_lens.len(),
            self.block_table.len(),
            self.max_blocks,
            self.state_slots.as_ref().map(DeviceSlice::len),
            self.ring_start.as_ref().map(DeviceSlice::len),
            self.max_q_len,
            self.total_q,
        )?;
        for view in [Some(&self.seq_lens), Some(&self.cu_q_lens), Some(&self.block_table)]
            .into_iter()
            .chain([self.state_slots.as_ref(), self.ring_start.as_ref()])
            .flatten()
        {
            check_context(op, "batch", view.stream(), stream)?;
        }
        let mut guards = Guards::new();
        params.seq_lens = optional(Some(&self.seq_lens), stream, &mut guards);
        params.cu_q_lens = optional(Some(&self.cu_q_lens), stream, &mut guards);
        params.block_table = optional(Some(&self.block_table), stream, &mut guards);
        if layout.format().has_state() {
            params.state_slots = optional(self.state_slots.as_ref(), stream, &mut guards);
        }
        if layout.format().has_window() {
            params.ring_start = optional(self.ring_start.as_ref(), stream, &mut guards);
        }
        Ok((params, guards))
    }
}
