//! What is done to the logits.

use cudarc::driver::CudaView;

/// What is done to the logits.
///
/// In the order of application: `s = softmax_scale * (q . k)`; soft-cap; ALiBi; masks; the sink.
#[derive(Debug)]
pub struct Options<'a> {
    /// Factor of q . k; usually 1/sqrt(head_dim).
    pub softmax_scale: f32,
    /// c of the soft-cap `s = c * tanh(s / c)` (Gemma 2).
    pub soft_cap: Option<f32>,
    /// `[num_heads]`, slope of each query head: `s += slope * (t - p)` (Press et al. 2022, "Train Short, Test Long").
    pub alibi_slopes: Option<CudaView<'a, f32>>,
    /// A row at position p sees positions > p - window only.
    pub window: Option<usize>,
    /// `[num_heads]`: a logit beside those of the keys, in the sum and in the LSE, with no value (gpt-oss). Of partial
    /// results that are merged later exactly one may have it.
    pub sink_logits: Option<CudaView<'a, f32>>,
    /// `[total_q]`, which of its sequence's new tokens a row sees, for verifying a tree of drafts in one call: bit i is the
    /// token at position p0 + i of the cache, wherever in the tree it is; what lies before p0 every row sees. At most 32
    /// new tokens a sequence; bits beyond them count as 0. A row's place p, from which the window counts, is p0 - 1 plus its
    /// bits, the row's own being one of them. The window then must hold 32 tokens; ALiBi is not supported.
    pub tree_mask: Option<CudaView<'a, u32>>,
    /// `[positions, rotary_dim / 2, 2]`, cosine and sine of every pair, 8-byte aligned, at least one row for every position
    /// that the block table can name: for a cache of keys before RoPE ([`KvLayout::pre_rope`](crate::cache::KvLayout::pre_rope)), and for no other. Angles must
    /// grow in proportion to the position, without a factor on their sines and cosines: a key is turned by the row of its tile's
    /// first position and by that of its distance from there.
    pub rope: Option<CudaView<'a, f32>>,
}

impl Options<'_> {
    /// The factor alone.
    pub const fn new(softmax_scale: f32) -> Self {
        Self {
            softmax_scale,
            soft_cap: None,
            alibi_slopes: None,
            window: None,
            sink_logits: None,
            tree_mask: None,
            rope: None,
        }
    }
}
