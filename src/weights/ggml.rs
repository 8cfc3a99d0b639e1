//! ggml (llama.cpp, GGUF) block types to the packed layout.
//!
//! A row of k weights is k / 32 blocks. Bytes of a block (ggml-common.h of llama.cpp), d and m in f16:
//! - Q4_0, 18 bytes: `d, qs[16]`; `w = (q - 8)*d`
//! - Q4_1, 20 bytes: `d, m, qs[16]`; `w = q*d + m`
//! - Q8_0, 34 bytes: `d, qs[32]` signed; `w = q*d`
//!
//! In `qs[16]` the low nibble of byte j is element j, the high nibble element j + 16. Every code, d and m is kept bit by
//! bit: the packed matrix holds the same weights.

use half::f16;

use super::layout::{PackedLayout, WeightFormat, ZeroPoint};
use super::packed::Packed;
use crate::error::{Error, Result};

const OP: &str = "weights::Packed::from_ggml";
const BLOCK: usize = 32;

/// A ggml block type that the kernels multiply.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum GgmlType {
    /// 4-bit codes, scale.
    Q4_0,
    /// 4-bit codes, scale, minimum.
    Q4_1,
    /// 8-bit codes, scale.
    Q8_0,
}

impl GgmlType {
    /// Bytes of a block of 32 weights.
    pub const fn block_bytes(self) -> usize {
        match self {
            Self::Q4_0 => 18,
            Self::Q4_1 => 20,
            Self::Q8_0 => 34,
        }
    }

    const fn format(self) -> WeightFormat {
        match self {
            Self::Q4_0 => WeightFormat::Int4(ZeroPoint::Symmetric),
            Self::Q4_1 => WeightFormat::Int4(ZeroPoint::Min),
            Self::Q8_0 => WeightFormat::Int8,
        }
    }
}

impl Packed {
    /// Packs `n` rows of `k` weights in ggml blocks.
    ///
    /// # Errors
    /// [`Error::Argument`] when k is not a multiple of 32 or `blocks` has not exactly `n * k / 32` blocks.
    pub fn from_ggml(kind: GgmlType, n: usize, k: usize, blocks: &[u8]) -> Result<Self> {
        if !k.is_multiple_of(BLOCK) {
            return Err(Error::argument(OP, "k", "a multiple of 32", k.to_string()));
        }
        let layout = PackedLayout::new(n, k, BLOCK, kind.format())?;
        let size = kind.block_bytes();
        let expected = n * (k / BLOCK) * size;
        if blocks.len() != expected {
            return Err(Error::argument(OP, "blocks", format!("{expected} bytes"), blocks.len().to_string()));
        }
        let mut packed = Packed::zeroed(layout);
        for (at, block) in blocks.chunks_exact(size).enumerate() {
            let (output, group) = (at / (k / BLOCK), at % (k / BLOCK));
            let half = |at: usize| f16::from_le_bytes([block[at], block[at + 1]]);
            packed.set_scale(output, group, half(0));
            if kind == GgmlType::Q4_1 {
                packed.set_offset(output, group, half(2));
            }
            let codes = &block[if kind == GgmlType::Q4_1 { 4 } else { 2 }..];
            for j in 0..BLOCK {
                let bits = match kind {
                    GgmlType::Q8_0 => codes[j] ^ 0x80,
                    _ => codes[j % 16] >> (4 * (j / 16)) & 15,
                };
                packed.set_code(output, group * BLOCK + j, bits);
            }
        }
        Ok(packed)
    }
}
