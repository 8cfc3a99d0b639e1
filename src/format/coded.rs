//! Activations as 8-bit codes: what the products of 8-bit activations take.
//!
//! `C`, `F`, `I` are slices (`reference`) or device views (`ops`) of u8, f32 and i32.

use crate::format::Fp8;

/// The code of an 8-bit activation or weight.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum ByteCode {
    /// Two's complement.
    Int8,
    /// 8-bit float; see [`Fp8`].
    E4m3,
}

impl ByteCode {
    /// `int8` or `e4m3`.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Int8 => "int8",
            Self::E4m3 => "e4m3",
        }
    }

    /// The value of a code with scale 1.
    pub fn value(self, bits: u8) -> f32 {
        match self {
            Self::Int8 => f32::from(bits as i8),
            Self::E4m3 => Fp8::E4m3.decode(bits),
        }
    }

    /// The largest value: 127 or 448.
    pub const fn top(self) -> f32 {
        match self {
            Self::Int8 => 127.0,
            Self::E4m3 => Fp8::E4m3.max(),
        }
    }

    /// The code of a finite `x` under `scale`: to nearest even, saturating; 0 where the scale is 0.
    pub(crate) fn encode(self, x: f32, scale: f32) -> u8 {
        match self {
            _ if scale == 0.0 => 0,
            Self::Int8 => (x / scale).round_ties_even().clamp(-127.0, 127.0) as i8 as u8,
            Self::E4m3 => Fp8::E4m3.encode(x / scale),
        }
    }
}

/// Scales of coded rows.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum CodedScale<F> {
    /// `[1]`.
    Tensor(F),
    /// `[rows]`: per token.
    Row(F),
    /// `[rows, ceil(k / 128)]`: 1x128.
    Group(F),
}

/// Zero points of int8 rows.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum CodedZero<I> {
    /// `[1]`.
    Tensor(I),
    /// `[rows]`.
    Row(I),
}

/// Rows `[rows, k]` of codes: x = code * scale, or (code - zero) * scale.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct CodedRows<C, F, I> {
    /// The code of an element.
    pub code: ByteCode,
    /// The bytes, the first row's first.
    pub codes: C,
    /// Bytes from one row's start to the next's.
    pub row_stride: usize,
    /// What a code is multiplied by.
    pub scale: CodedScale<F>,
    /// The code of 0, int8 only; 0 if not said. Any i32.
    pub zero: Option<CodedZero<I>>,
}

impl<F> CodedScale<F> {
    /// The buffer, whatever it covers.
    pub fn buffer(&self) -> &F {
        match self {
            Self::Tensor(buffer) | Self::Row(buffer) | Self::Group(buffer) => buffer,
        }
    }

    /// Scales from row to row, and in all.
    pub(crate) fn extent(&self, rows: usize, k: usize) -> (usize, usize) {
        match self {
            Self::Tensor(_) => (0, 1),
            Self::Row(_) => (1, rows),
            Self::Group(_) => (k.div_ceil(128), rows * k.div_ceil(128)),
        }
    }

    /// What a scale covers, in words.
    pub(crate) fn name(&self) -> &'static str {
        match self {
            Self::Tensor(_) => "per tensor",
            Self::Row(_) => "per row",
            Self::Group(_) => "1x128",
        }
    }
}

impl<I> CodedZero<I> {
    /// The buffer, whatever it covers.
    pub fn buffer(&self) -> &I {
        match self {
            Self::Tensor(buffer) | Self::Row(buffer) => buffer,
        }
    }

    /// Zeros from row to row, and in all.
    pub(crate) fn extent(&self, rows: usize) -> (usize, usize) {
        match self {
            Self::Tensor(_) => (0, 1),
            Self::Row(_) => (1, rows),
        }
    }
}

impl CodedRows<&[u8], &[f32], &[i32]> {
    /// Element (`row`, `at`) of rows of `k`, exactly.
    ///
    /// # Panics
    /// If a slice is too short.
    pub fn value(&self, row: usize, at: usize, k: usize) -> f64 {
        let code = f64::from(self.code.value(self.codes[row * self.row_stride + at]));
        let zero = self.zero.map_or(0, |zero| zero.buffer()[row * zero.extent(1).0]);
        let per_row = self.scale.extent(1, k).0;
        let group = if matches!(self.scale, CodedScale::Group(_)) { at / 128 } else { 0 };
        (code - f64::from(zero)) * f64::from(self.scale.buffer()[row * per_row + group])
    }
}
