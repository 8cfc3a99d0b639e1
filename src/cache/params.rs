//! The by-value parameter structs that carry a cache and a batch to kernels; `kernels/kv/layout.cuh` holds the same
//! structs and pins every offset with `static_assert`.

use bytemuck::{Pod, Zeroable};
use cudarc::driver::DeviceRepr;

use super::KvLayout;

/// A cache on the device. Sizes in bytes unless said otherwise.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Pod, Zeroable)]
#[repr(C)]
pub struct KvParams {
    /// `u8 [num_pages * page_bytes]`, 16-byte aligned.
    pub pages: u64,
    /// `u8 [num_slots * state_bytes]`, 16-byte aligned; null without a window.
    pub state: u64,
    /// `u32 [1]`.
    pub status: u64,
    /// `f32 [1]` or `[num_kv_heads]`, or `[num_kv_heads, head_dim]`; null where the caller gives no scale.
    pub k_scale: u64,
    /// As `k_scale`.
    pub v_scale: u64,
    /// Pages.
    pub num_pages: i32,
    /// State slots.
    pub num_slots: i32,
    /// Bytes of a page.
    pub page_bytes: u32,
    /// Bytes of a slot.
    pub state_bytes: u32,
    /// Bytes from one head to the next in a page.
    pub head_bytes: u32,
    /// Bytes of a tile record.
    pub tile_bytes: u32,
    /// log2 of the tokens of a page.
    pub page_shift: u32,
    /// KV heads.
    pub num_kv_heads: u32,
    /// R, or 0.
    pub residual: u32,
    /// Most rows of a sequence in one append.
    pub max_append: u32,
    /// Rows of the ring, or 0.
    pub ring_rows: u32,
    /// Bytes from one head to the next in a ring.
    pub ring_head_bytes: u32,
    /// Where the values start in a slot; the keys start at 0.
    pub ring_v_offset: u32,
    /// Elements from one head's `k_scale` to the next: 0, 1 or the head dim.
    pub k_scale_stride: u32,
    /// As `k_scale_stride`.
    pub v_scale_stride: u32,
    /// The [`DType`](crate::format::DType) as a number.
    pub dtype: u32,
}

/// A batch on the device.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Pod, Zeroable)]
#[repr(C)]
pub struct BatchParams {
    /// `i32 [num_seqs]`.
    pub seq_lens: u64,
    /// `i32 [num_seqs + 1]`.
    pub cu_q_lens: u64,
    /// `i32 [num_seqs, max_blocks]`.
    pub block_table: u64,
    /// `i32 [num_seqs]`; null without a window.
    pub state_slots: u64,
    /// `i32 [num_seqs]`, or null for 0 everywhere.
    pub ring_start: u64,
    /// Sequences, padding rows included.
    pub num_seqs: i32,
    /// Row length of the block table.
    pub max_blocks: i32,
    /// Most new tokens of one sequence.
    pub max_q_len: i32,
    /// Rows of the new tokens' tensors.
    pub total_q: i32,
}

// SAFETY: plain `repr(C)` data without padding (`Pod`) and without references.
unsafe impl DeviceRepr for KvParams {}
// SAFETY: as for `KvParams`.
unsafe impl DeviceRepr for BatchParams {}

impl KvParams {
    /// The sizes and strides of a layout, with null pointers and no pages.
    pub fn of(layout: &KvLayout) -> Self {
        let window = layout.window();
        Self {
            page_bytes: layout.page_bytes() as u32,
            state_bytes: layout.state_bytes() as u32,
            head_bytes: layout.head_bytes() as u32,
            tile_bytes: layout.tile().bytes as u32,
            page_shift: layout.shape().page_tokens.trailing_zeros(),
            num_kv_heads: layout.shape().num_kv_heads as u32,
            residual: layout.format().residual,
            max_append: layout.shape().max_append as u32,
            ring_rows: window.map_or(0, |w| w.rows as u32),
            ring_head_bytes: window.map_or(0, |w| w.head_bytes as u32),
            ring_v_offset: window.map_or(0, |w| w.v_offset as u32),
            dtype: layout.shape().dtype as u32,
            ..Self::zeroed()
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::mem::{offset_of, size_of};

    /// The same numbers stand in kernels/kv/layout.cuh.
    #[test]
    fn offsets_are_those_of_the_header() {
        assert_eq!((size_of::<KvParams>(), size_of::<BatchParams>()), (104, 56));
        assert_eq!(
            [offset_of!(KvParams, num_pages), offset_of!(KvParams, page_shift), offset_of!(KvParams, residual)],
            [40, 64, 72]
        );
        assert_eq!([offset_of!(KvParams, k_scale_stride), offset_of!(KvParams, dtype)], [92, 100]);
        assert_eq!([offset_of!(BatchParams, num_seqs), offset_of!(BatchParams, total_q)], [40, 52]);
    }
}
