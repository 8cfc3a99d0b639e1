//! What an attention call needs that depends on how much a batch may hold, not on what it holds: grid and workspace.

use super::KvLayout;
use crate::{Error, Kernels, Result};

/// Upper bounds of the batches that a [`Plan`] serves. They fix the grid, so a captured graph can be replayed while
/// sequences grow, and do not influence results: a row is bitwise the same under every capacity.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Capacity {
    /// Sequences, padding rows included.
    pub num_seqs: usize,
    /// New tokens of one sequence in one call.
    pub max_q_len: usize,
    /// Tokens of one sequence, the call's included. Positions beyond are absent and set
    /// [`Status::TOO_LONG`](super::Status::TOO_LONG).
    pub max_len: usize,
}

/// Query columns of one pass over K and V: the N side of the tensor-core instruction. More are further blocks.
pub(crate) const COLUMNS: usize = 8;

/// Tokens of a chunk: what one block reads. A function of the sequence's own length alone: 256, or the power of two that
/// makes at most 64 chunks. A multiple of every page size.
pub const fn chunk_tokens(len: usize) -> usize {
    let least = len.div_ceil(64);
    if least <= 256 { 256 } else { least.next_power_of_two() }
}

/// Chunks of a sequence: at least 1, at most 64.
pub const fn chunk_count(len: usize) -> usize {
    let tokens = chunk_tokens(len);
    if len <= tokens { 1 } else { len.div_ceil(tokens) }
}

/// A prepared attention: made before a graph is captured (it loads kernels), used in every step.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Plan {
    layout: KvLayout,
    num_heads: usize,
    capacity: Capacity,
}

const OP: &str = "Plan::new";

impl Plan {
    /// Checks the shapes and loads what [`crate::ops::attend::attend`] launches.
    ///
    /// # Errors
    /// [`Error::Argument`]: `num_heads` not a positive multiple of the layout's KV heads; a capacity that is 0 or beyond
    /// the grid (65535 sequences, 2^30 tokens, 2^31 blocks in x), or whose workspace has 2^63 bytes or more;
    /// `max_q_len` beyond the layout's `max_append` in a format with a window. Then those of loading.
    pub fn new(kernels: &Kernels, layout: &KvLayout, num_heads: usize, capacity: Capacity) -> Result<Self> {
        let plan = Self::without_kernels(layout, num_heads, capacity)?;
        crate::ops::attend::prepare(kernels, &plan)?;
        Ok(plan)
    }

    /// As [`Plan::new`], for sizes only: loads nothing.
    ///
    /// # Errors
    /// As [`Plan::new`].
    pub fn without_kernels(layout: &KvLayout, num_heads: usize, capacity: Capacity) -> Result<Self> {
        let shape = layout.shape();
        let wrong =
            |argument, expected: String, found: usize| Err(Error::argument(OP, argument, expected, found.to_string()));
        if num_heads == 0 || !num_heads.is_multiple_of(shape.num_kv_heads) || i32::try_from(num_heads).is_err() {
            return wrong("num_heads", format!("a positive multiple of {} KV heads", shape.num_kv_heads), num_heads);
        }
        let Capacity { num_seqs, max_q_len, max_len } = capacity;
        if !(1..=65_535).contains(&num_seqs) {
            return wrong("capacity.num_seqs", "1..=65535".into(), num_seqs);
        }
        if !(1..=1 << 30).contains(&max_len) {
            return wrong("capacity.max_len", format!("1..={}", 1 << 30), max_len);
        }
        let most = if layout.format().has_window() { shape.max_append } else { 1 << 20 };
        if !(1..=most).contains(&max_q_len) {
            return wrong("capacity.max_q_len", format!("1..={most}"), max_q_len);
        }
        let plan = Self { layout: *layout, num_heads, capacity };
        let blocks = plan.passes().checked_mul(plan.max_chunks()).filter(|&x| i32::try_from(x).is_ok());
        if blocks.is_none() {
            return wrong("capacity.max_q_len", "fewer than 2^31 blocks in x".into(), max_q_len);
        }
        if plan.workspace().is_none() {
            return wrong("capacity", "a workspace of less than 2^63 bytes".into(), num_seqs);
        }
        Ok(plan)
    }

    /// For a chunk of any length of which no part is in the cache; the grid is the batch's own.
    pub(crate) fn of_chunk(op: &'static str, layout: &KvLayout, num_heads: usize, capacity: Capacity) -> Result<Self> {
        let kv_heads = layout.shape().num_kv_heads;
        let wrong =
            |argument, expected: String, found: usize| Err(Error::argument(op, argument, expected, found.to_string()));
        if num_heads == 0 || !num_heads.is_multiple_of(kv_heads) || i32::try_from(num_heads).is_err() {
            return wrong("num_heads", format!("a positive multiple of {kv_heads} KV heads"), num_heads);
        }
        if capacity.max_q_len > 1 << 20 {
            return wrong("batch.max_q_len", format!("at most {}", 1 << 20), capacity.max_q_len);
        }
        if capacity.max_len > 1 << 30 {
            let expected = format!("at most {} tokens of a block table", 1 << 30);
            return wrong("batch.max_blocks", expected, capacity.max_len);
        }
        let plan = Self { layout: *layout, num_heads, capacity };
        if i32::try_from(plan.passes()).is_err() {
            return wrong("batch.max_q_len", "fewer than 2^31 blocks in x".into(), capacity.max_q_len);
        }
        Ok(plan)
    }

    /// The layout of the caches it serves.
    pub const fn layout(&self) -> &KvLayout {
        &self.layout
    }

    /// Query heads.
    pub const fn num_heads(&self) -> usize {
        self.num_heads
    }

    /// The bounds it was made for.
    pub const fn capacity(&self) -> &Capacity {
        &self.capacity
    }

    /// Query heads that share a KV head.
    pub const fn group(&self) -> usize {
        self.num_heads / self.layout.shape().num_kv_heads
    }

    /// Most chunks of a sequence.
    pub fn max_chunks(&self) -> usize {
        // The count is not monotonic in the length (C doubles), but bounded by both.
        self.capacity.max_len.div_ceil(256).min(64)
    }

    /// Blocks that share the columns of a chunk.
    pub(crate) const fn passes(&self) -> usize {
        (self.group() * self.capacity.max_q_len).div_ceil(COLUMNS)
    }

    /// Bytes of the workspace of one call: f32 outputs and LSE of every chunk, `[max_rows, num_heads, max_chunks,
    /// head_dim + 1]`; 0 where a sequence never has more than one chunk. 16-byte aligned; what it holds before and after
    /// a call does not matter.
    pub fn workspace_bytes(&self) -> usize {
        self.workspace().expect("checked when made")
    }

    /// Rows of queries that the workspace has room for.
    pub(crate) const fn max_rows(&self) -> usize {
        self.capacity.num_seqs * self.capacity.max_q_len
    }

    fn workspace(&self) -> Option<usize> {
        if self.max_chunks() == 1 {
            return Some(0);
        }
        let parts = self.max_rows().checked_mul(self.num_heads)?.checked_mul(self.max_chunks())?;
        let bytes = parts.checked_mul(4 * (self.layout.shape().head_dim + 1))?.checked_next_multiple_of(16)?;
        i64::try_from(bytes).ok().map(|_| bytes)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cache::{KvFormat, KvShape};
    use crate::format::DType;

    fn layout(format: KvFormat) -> KvLayout {
        let shape = KvShape { num_kv_heads: 2, head_dim: 128, page_tokens: 64, max_append: 4, dtype: DType::F16 };
        KvLayout::new(shape, format).unwrap()
    }

    #[test]
    fn chunks_are_few_and_cover_the_sequence() {
        for len in (0..70_000).chain([1 << 20, (1 << 20) + 1, (1 << 30) - 1, 1 << 30]) {
            let (tokens, count) = (chunk_tokens(len), chunk_count(len));
            assert!(tokens.is_power_of_two() && tokens >= 256, "{len}");
            assert!((1..=64).contains(&count), "{len}: {count} chunks");
            assert!(tokens * count >= len && tokens * (count - 1) < len.max(1), "{len}: {count} chunks of {tokens}");
        }
    }

    #[test]
    fn the_grid_holds_the_chunks_of_every_shorter_sequence() {
        for max_len in [1, 255, 256, 257, 4096, 16_384, 16_385, 20_000, 32_768, 40_000] {
            let capacity = Capacity { num_seqs: 1, max_q_len: 1, max_len };
            let plan = Plan::without_kernels(&layout(KvFormat::INT8), 2, capacity).unwrap();
            let most = (0..=max_len).map(chunk_count).max().unwrap();
            assert_eq!(plan.max_chunks(), most, "{max_len}");
        }
    }

    #[test]
    fn the_workspace_is_the_formula() {
        let capacity = Capacity { num_seqs: 3, max_q_len: 2, max_len: 1000 };
        let plan = Plan::without_kernels(&layout(KvFormat::INT8), 6, capacity).unwrap();
        assert_eq!((plan.max_chunks(), plan.group(), plan.passes()), (4, 3, 1));
        assert_eq!(plan.workspace_bytes(), 3 * 2 * 6 * 4 * 129 * 4);
        let short = Plan::without_kernels(&layout(KvFormat::INT8), 6, Capacity { max_len: 256, ..capacity }).unwrap();
        assert_eq!(short.workspace_bytes(), 0);
    }

    #[test]
    fn bad_capacities_name_the_argument() {
        let good = Capacity { num_seqs: 1, max_q_len: 1, max_len: 16 };
        for (format, heads, capacity, expected) in [
            (KvFormat::INT8, 3, good, "`num_heads`: expected a positive multiple of 2 KV heads, found 3"),
            (KvFormat::INT8, 0, good, "`num_heads`: expected a positive multiple of 2 KV heads, found 0"),
            (KvFormat::INT8, 2, Capacity { num_seqs: 0, ..good }, "`capacity.num_seqs`: expected 1..=65535, found 0"),
            (
                KvFormat::INT8,
                2,
                Capacity { max_len: (1 << 30) + 1, ..good },
                "`capacity.max_len`: expected 1..=1073741824, found 1073741825",
            ),
            (
                KvFormat::INT8,
                2,
                Capacity { max_q_len: 0, ..good },
                "`capacity.max_q_len`: expected 1..=1048576, found 0",
            ),
            (
                KvFormat::kivi4(32),
                2,
                Capacity { max_q_len: 5, ..good },
                "`capacity.max_q_len`: expected 1..=4, found 5",
            ),
            (
                KvFormat::INT8,
                1 << 20,
                Capacity { max_q_len: 1 << 20, ..good },
                "`capacity.max_q_len`: expected fewer than 2^31 blocks in x, found 1048576",
            ),
        ] {
            let error = Plan::without_kernels(&layout(format), heads, capacity).unwrap_err();
            assert_eq!(error.to_string(), format!("Plan::new: {expected}"));
        }
    }
}
