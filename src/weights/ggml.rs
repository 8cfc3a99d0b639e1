//! ggml (llama.cpp, GGUF) block types to the packed layout.
//!
//! A row of k weights is k / 32 blocks; [`GgmlType`] has their bytes. Every code, d and m is kept bit by bit: the packed
//! matrix holds the same weights.

use half::f16;

use super::layout::{PackedLayout, WeightFormat, ZeroPoint};
use super::packed::Packed;
use crate::error::{Error, Result};
use crate::format::GgmlType;

const OP: &str = "weights::Packed::from_ggml";
const BLOCK: usize = GgmlType::BLOCK;

/// The packed format that holds the same weights, for the types that have one.
const fn format(kind: GgmlType) -> Option<WeightFormat> {
    match kind {
        GgmlType::Q4_0 => Some(WeightFormat::Int4(ZeroPoint::Symmetric)),
        GgmlType::Q4_1 => Some(WeightFormat::Int4(ZeroPoint::Min)),
        GgmlType::Q8_0 => Some(WeightFormat::Int8),
        _ => None,
    }
}

impl Packed {
    /// Packs `n` rows of `k` weights in ggml blocks.
    ///
    /// # Errors
    /// [`Error::Argument`] when k is not a multiple of 32 or `blocks` has not exactly `n * k / 32` blocks;
    /// [`Error::Unsupported`] for a type other than Q4_0, Q4_1 and Q8_0.
    pub fn from_ggml(kind: GgmlType, n: usize, k: usize, blocks: &[u8]) -> Result<Self> {
        if !k.is_multiple_of(BLOCK) {
            return Err(Error::argument(OP, "k", "a multiple of 32", k.to_string()));
        }
        let Some(format) = format(kind) else {
            return Err(Error::unsupported(OP, kind.name(), "q4_0, q4_1, q8_0"));
        };
        let layout = PackedLayout::new(n, k, BLOCK, format)?;
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
            if kind.has_min() {
                packed.set_offset(output, group, half(2));
            }
            let codes = &block[kind.codes_at()..];
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
