//! The block types of ggml (llama.cpp, GGUF): 32 consecutive elements of a row with their scale in one small record.
//!
//! | type | bytes | f16 scale `d` | f16 minimum `m` | 5th bits `qh` | codes `qs` | value |
//! |---|---|---|---|---|---|---|
//! | Q4_0 | 18 | 0 | | | 2..18 | (q - 8)*d |
//! | Q4_1 | 20 | 0 | 2 | | 4..20 | q*d + m |
//! | Q5_0 | 22 | 0 | | 2..6 | 6..22 | (q - 16)*d |
//! | Q5_1 | 24 | 0 | 2 | 4..8 | 8..24 | q*d + m |
//! | Q8_0 | 34 | 0 | | | 2..34 | q*d, q signed |
//! | IQ4_NL | 18 | 0 | | | 2..18 | [`IQ4_NL`]`[q]`*d |
//!
//! Of 16 bytes `qs`, the low nibble of byte j is element j, the high nibble element j + 16. Bit j of the little-endian
//! `qh` is the fifth bit of element j. Source: ggml-common.h and ggml-quants.c of llama.cpp.

use super::Matrix;
use crate::error::{Error, Result};

/// A ggml block type of 32 elements.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum GgmlType {
    /// 4-bit codes, scale.
    Q4_0,
    /// 4-bit codes, scale, minimum.
    Q4_1,
    /// 5-bit codes, scale.
    Q5_0,
    /// 5-bit codes, scale, minimum.
    Q5_1,
    /// 8-bit codes, scale.
    Q8_0,
    /// 4-bit codes into a fixed table, scale.
    Iq4Nl,
}

/// The levels of [`GgmlType::Iq4Nl`].
pub const IQ4_NL: [i8; 16] = [-127, -104, -83, -65, -49, -35, -22, -10, 1, 13, 25, 38, 53, 69, 89, 113];

impl GgmlType {
    /// Every type.
    pub const ALL: [GgmlType; 6] = [Self::Q4_0, Self::Q4_1, Self::Q5_0, Self::Q5_1, Self::Q8_0, Self::Iq4Nl];

    /// Elements of a block.
    pub const BLOCK: usize = 32;

    /// Bytes of a block.
    pub const fn block_bytes(self) -> usize {
        self.codes_at() + if matches!(self, Self::Q8_0) { 32 } else { 16 }
    }

    /// Whether a block has an f16 minimum after its scale.
    pub const fn has_min(self) -> bool {
        matches!(self, Self::Q4_1 | Self::Q5_1)
    }

    /// Where the fifth bits lie in a block, for the types that have them.
    pub const fn high_bits_at(self) -> Option<usize> {
        match self {
            Self::Q5_0 => Some(2),
            Self::Q5_1 => Some(4),
            _ => None,
        }
    }

    /// Where the codes lie in a block.
    pub const fn codes_at(self) -> usize {
        match self {
            Self::Q4_0 | Self::Q8_0 | Self::Iq4Nl => 2,
            Self::Q4_1 => 4,
            Self::Q5_0 => 6,
            Self::Q5_1 => 8,
        }
    }

    /// ggml's name: `q4_0`, `iq4_nl`...
    pub const fn name(self) -> &'static str {
        match self {
            Self::Q4_0 => "q4_0",
            Self::Q4_1 => "q4_1",
            Self::Q5_0 => "q5_0",
            Self::Q5_1 => "q5_1",
            Self::Q8_0 => "q8_0",
            Self::Iq4Nl => "iq4_nl",
        }
    }

    /// Bytes of one row of blocks; rows follow each other without gaps.
    pub const fn row_bytes(self, cols: usize) -> usize {
        cols / Self::BLOCK * self.block_bytes()
    }

    /// Checks a matrix and the lengths that came with it.
    ///
    /// # Errors
    /// [`Error::Argument`]: columns that are no whole blocks, a bad stride, too short a buffer, more than 2^32 - 1
    /// blocks.
    pub fn validate(
        self,
        op: &'static str,
        shape: Matrix,
        elements: (&'static str, usize),
        bytes: usize,
    ) -> Result<()> {
        shape.validate(op, elements)?;
        if !shape.cols.is_multiple_of(Self::BLOCK) {
            return Err(Error::argument(op, "shape.cols", "a multiple of the block of 32", shape.cols.to_string()));
        }
        let blocks = shape.rows as u64 * (shape.cols / Self::BLOCK) as u64;
        if blocks > u64::from(u32::MAX) {
            return Err(Error::argument(op, "shape", "at most 4294967295 blocks", blocks.to_string()));
        }
        let needed = shape.rows * self.row_bytes(shape.cols);
        if bytes < needed {
            return Err(Error::argument(op, "blocks", format!("at least {needed} bytes"), bytes.to_string()));
        }
        Ok(())
    }
}
