//! RoPE on the way into the cache, as an argument of append.

use cudarc::driver::CudaView;

use crate::format::RopeStyle;

/// Rotary embedding of the appended keys. Queries come to attention with theirs applied.
///
/// The angles are the engine's: one table on the device for all layers, made by [`crate::format::rope_table`] or, where a
/// model scales its frequencies, by the engine.
#[derive(Debug)]
pub struct Rope<'a> {
    /// Which channels of a head are pairs.
    pub style: RopeStyle,
    /// Channels that turn, from the first: a multiple of 2, at most the head's. The others stay.
    pub rotary_dim: usize,
    /// `f32 [positions, rotary_dim / 2, 2]`: cosine and sine of every pair; 8-byte aligned, at least one row for every
    /// position that the block table can name (`max_blocks * page_tokens`).
    pub table: CudaView<'a, f32>,
}
