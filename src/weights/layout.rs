//! The packed layout of low-bit weights, as a value.
//!
//! One buffer holds `[codes][scales][zeros]`, each part starting at a multiple of 256 bytes; everything little endian.
//! The layout is a contract, versioned by [`PACKED_VERSION`]: the kernels `kernels/matmul` read it, a file may keep it.
//!
//! # Codes
//! Tiles of 16 outputs, 512 bytes, in the order `[row tile][tile along k]`; a tile is 64 k of 4-bit codes or 32 k of
//! 8-bit codes. Inside a tile, lane = 4g + t of the warp that reads it owns bytes `16*lane ..`, which are its A operand
//! of `mma.m16n8k16` for the steps s of the tile (4 or 2 of them). Output and k of register i = 0..4, half e = 0, 1:
//!
//! ```text
//! (g, t, s, i, e) -> output 16*row_tile + g + 8*(i & 1),   k = first + 32*(s >> 1) + 8*t + 4*(s & 1) + 2*(i >> 1) + e
//! ```
//! - 4 bits, word s of the lane: the lowest bit of the code is bit `[6, 2, 14, 10][i] + 16*e`, and bits beyond 31 go on at
//!   bit 0. So a pair (e = 0, 1) is, as it lies or after one rotation by 8, in the fractions of two f16.
//! - 8 bits, word 2*s + (i >> 1) of the lane: byte `2*(i & 1) + e` is code + 128.
//!
//! # Scales
//! Records `[row tile][record]`, halves (f16) in the order `[piece][g 0..8][group of the piece][s, (o,)][output g, output
//! g + 8]`, where o is the minimum or the real zero of formats that have one, and a piece is as many groups of the record
//! as give a lane up to 16 bytes (the loads of a piece are whole sectors). With groups of 32, 64, 128 k (8-bit codes: 32) a record
//! is one block (128 k of 4-bit, 64 k of 8-bit codes) with all its groups; with other groups it is one group.
//!
//! # Zeros (4-bit zeros only)
//! The same records, bytes `[g 0..8][group of the record]`: zero of output g in the high nibble, of g + 8 in the low.
//!
//! # Padding
//! Outputs beyond n, k beyond `k` and groups beyond the last are zero bits (8-bit codes: code 0). The kernels read x as 0
//! there, and store nothing for such outputs.

use crate::error::{Error, Result};

/// Version of the packed layout. Another number means other bytes.
pub const PACKED_VERSION: u32 = 1;

const OP: &str = "weights::PackedLayout";
const ALIGN: usize = 256;

/// How a group's zero comes into a 4-bit weight with code q and scale s.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum ZeroPoint {
    /// `w = (q - 8)*s`.
    Symmetric,
    /// `w = (q - zero)*s` with zero = stored nibble + `plus`; `plus` is 0 (zeros 0..=15) or 1 (zeros 1..=16, GPTQ v1).
    Bits4 {
        /// 0 or 1.
        plus: u8,
    },
    /// `w = (q - zero)*s`, zero in f16.
    Real,
    /// `w = q*s + min`, min in f16.
    Min,
}

/// Codes and zeros of a weight matrix; scales are always f16, one per output and group of k.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum WeightFormat {
    /// Codes 0..=15.
    Int4(ZeroPoint),
    /// Codes -128..=127, `w = q*s`.
    Int8,
}

impl WeightFormat {
    /// k of a 512-byte tile.
    pub const fn tile_k(self) -> usize {
        match self {
            Self::Int4(_) => 64,
            Self::Int8 => 32,
        }
    }

    /// k of a block, the kernels' step.
    pub const fn block_k(self) -> usize {
        2 * self.tile_k()
    }

    fn has_offset(self) -> bool {
        matches!(self, Self::Int4(ZeroPoint::Real | ZeroPoint::Min))
    }

    fn has_zeros(self) -> bool {
        matches!(self, Self::Int4(ZeroPoint::Bits4 { .. }))
    }
}

/// Where a code lies.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct CodePlace {
    /// Byte offset in the buffer of the little-endian 32-bit word that holds the code.
    pub word: usize,
    /// How far the code, in the low bits of a word, was rotated left to get where it is.
    pub rotation: u32,
}

/// Shape and format of a packed matrix; every offset follows from it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct PackedLayout {
    n: usize,
    k: usize,
    group: usize,
    format: WeightFormat,
}

impl PackedLayout {
    /// A matrix of `n` outputs by `k` with one scale per output and `group` consecutive k.
    ///
    /// # Errors
    /// [`Error::Argument`] when n or k is 0 or above 2^24, or a `plus` is above 1. [`Error::Unsupported`] for a group that
    /// the kernels do not know: 4 bits: a power of two >= 32, or k; 8 bits: 32 or k, or for 4 GiB of 4-bit zeros. A group above k counts as k.
    pub fn new(n: usize, k: usize, group: usize, format: WeightFormat) -> Result<Self> {
        for (argument, value) in [("n", n), ("k", k)] {
            if value == 0 || value > 1 << 24 {
                return Err(Error::argument(OP, argument, "1 to 16777216", value.to_string()));
            }
        }
        let (known, supported) = match format {
            WeightFormat::Int4(_) => {
                (group >= 32 && group.is_power_of_two(), "32, 64, 128, 256 .. (powers of two), or k")
            }
            WeightFormat::Int8 => (group == 32, "32, or k"),
        };
        if !known && group != k {
            return Err(Error::unsupported(OP, format!("group {group} with k {k} for {format:?}"), supported));
        }
        if let WeightFormat::Int4(ZeroPoint::Bits4 { plus }) = format
            && plus > 1
        {
            return Err(Error::argument(OP, "plus", "0 or 1", plus.to_string()));
        }
        let layout = Self { n, k, group: group.min(k), format };
        if layout.zero_bytes() > u32::MAX as usize {
            let found = format!("{} bytes of 4-bit zeros", layout.zero_bytes());
            return Err(Error::unsupported(OP, found, "less than 4 GiB of them"));
        }
        Ok(layout)
    }

    /// Outputs.
    pub const fn n(&self) -> usize {
        self.n
    }

    /// Length of the sum.
    pub const fn k(&self) -> usize {
        self.k
    }

    /// k of a group of scales, at most k.
    pub const fn group(&self) -> usize {
        self.group
    }

    /// Codes and zeros.
    pub const fn format(&self) -> WeightFormat {
        self.format
    }

    /// Groups along k; the last may be shorter.
    pub const fn groups(&self) -> usize {
        self.k.div_ceil(self.group)
    }

    /// Tiles of 16 outputs.
    pub const fn row_tiles(&self) -> usize {
        self.n.div_ceil(16)
    }

    /// 512-byte tiles along k.
    pub const fn tiles(&self) -> usize {
        self.k.div_ceil(self.format.tile_k())
    }

    /// Blocks along k.
    pub const fn blocks(&self) -> usize {
        self.k.div_ceil(self.format.block_k())
    }

    /// Whether a record of scales is a group rather than a block.
    pub const fn record_is_group(&self) -> bool {
        match self.format {
            WeightFormat::Int4(_) => !matches!(self.group, 32 | 64 | 128),
            WeightFormat::Int8 => self.group != 32,
        }
    }

    /// Groups in a record of scales.
    pub const fn record_groups(&self) -> usize {
        if self.record_is_group() { 1 } else { self.format.block_k() / self.group }
    }

    /// Records of scales of a row tile.
    pub const fn records(&self) -> usize {
        if self.record_is_group() { self.groups() } else { self.blocks() }
    }

    /// Bytes of the codes, which start at 0.
    pub const fn code_bytes(&self) -> usize {
        self.row_tiles() * self.tiles() * 512
    }

    /// Bytes of a record of scales.
    pub fn scale_record_bytes(&self) -> usize {
        self.record_groups() * if self.format.has_offset() { 64 } else { 32 }
    }

    /// Where the scales start.
    pub const fn scales_at(&self) -> usize {
        self.code_bytes().next_multiple_of(ALIGN)
    }

    /// Bytes of the scales, with minima or real zeros.
    pub fn scale_bytes(&self) -> usize {
        self.row_tiles() * self.records() * self.scale_record_bytes()
    }

    /// Where the 4-bit zeros start.
    pub fn zeros_at(&self) -> usize {
        (self.scales_at() + self.scale_bytes()).next_multiple_of(ALIGN)
    }

    /// Bytes of the 4-bit zeros: 0 for formats without.
    pub fn zero_bytes(&self) -> usize {
        if self.format.has_zeros() { self.row_tiles() * self.records() * self.record_groups() * 8 } else { 0 }
    }

    /// Bytes of the buffer.
    pub fn bytes(&self) -> usize {
        self.zeros_at() + self.zero_bytes()
    }

    /// Where the code of output `n` at `k` lies.
    ///
    /// # Panics
    /// If n or k is outside the padded matrix.
    pub fn code(&self, n: usize, k: usize) -> CodePlace {
        let tile_k = self.format.tile_k();
        assert!(n < 16 * self.row_tiles() && k < tile_k * self.tiles(), "({n}, {k}) is outside the matrix");
        let (tile, k) = ((n / 16) * self.tiles() + k / tile_k, k % tile_k);
        let (g, i0) = (n % 8, (n / 8) % 2);
        let (s, t, i1, e) = (2 * (k / 32) + (k / 4) % 2, (k / 8) % 4, (k / 2) % 2, k % 2);
        let lane = tile * 512 + (4 * g + t) * 16;
        match self.format {
            WeightFormat::Int4(_) => {
                let bit = [[6, 14], [2, 10]][i0][i1] + 16 * e as u32;
                CodePlace { word: lane + 4 * s, rotation: bit }
            }
            WeightFormat::Int8 => CodePlace { word: lane + 4 * (2 * s + i1), rotation: 8 * (2 * i0 + e) as u32 },
        }
    }

    /// Record, and group in the record, of a group.
    fn record(&self, group: usize) -> (usize, usize) {
        (group / self.record_groups(), group % self.record_groups())
    }

    /// Byte offset of the scale of output `n` and group `group`.
    ///
    /// # Panics
    /// If n or the group is outside the padded matrix.
    pub fn scale(&self, n: usize, group: usize) -> usize {
        assert!(
            n < 16 * self.row_tiles() && group < self.records() * self.record_groups(),
            "({n}, {group}) is outside"
        );
        let (record, r) = self.record(group);
        let kinds = if self.format.has_offset() { 2 } else { 1 };
        let piece = self.record_groups().min(4 / kinds);
        let half = (((r / piece * 8 + n % 8) * piece + r % piece) * kinds) * 2 + (n / 8) % 2;
        self.scales_at() + ((n / 16) * self.records() + record) * self.scale_record_bytes() + 2 * half
    }

    /// Byte offset of the minimum or real zero of output `n` and group `group`, for formats that have one.
    pub fn offset(&self, n: usize, group: usize) -> Option<usize> {
        self.format.has_offset().then(|| self.scale(n, group) + 4)
    }

    /// Byte offset, and shift in the byte, of the 4-bit zero of output `n` and group `group`, for formats that have one.
    pub fn zero(&self, n: usize, group: usize) -> Option<(usize, u32)> {
        let (record, r) = self.record(group);
        let at = (((n / 16) * self.records() + record) * 8 + n % 8) * self.record_groups() + r;
        self.format.has_zeros().then(|| (self.zeros_at() + at, 4 * (1 - (n / 8) % 2) as u32))
    }
}
