//! A packed matrix on the host: the bytes, and access to single codes, scales and weights.

use half::f16;

use super::layout::{PackedLayout, WeightFormat, ZeroPoint};
use crate::error::{Error, Result};

/// A weight matrix in the packed layout, on the host.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Packed {
    layout: PackedLayout,
    bytes: Vec<u8>,
}

impl Packed {
    /// A matrix from bytes that were packed earlier, such as those of a file.
    ///
    /// # Errors
    /// [`Error::Argument`] when there are not exactly [`PackedLayout::bytes`] of them.
    pub fn from_bytes(layout: PackedLayout, bytes: Vec<u8>) -> Result<Self> {
        if bytes.len() != layout.bytes() {
            let expected = format!("{} bytes", layout.bytes());
            return Err(Error::argument("weights::Packed::from_bytes", "bytes", expected, bytes.len().to_string()));
        }
        Ok(Self { layout, bytes })
    }

    /// Shape, format and offsets.
    pub fn layout(&self) -> &PackedLayout {
        &self.layout
    }

    /// The buffer to upload.
    pub fn bytes(&self) -> &[u8] {
        &self.bytes
    }

    /// All codes, scales and zeros 0.
    pub(super) fn zeroed(layout: PackedLayout) -> Self {
        let mut bytes = vec![0; layout.bytes()];
        if layout.format() == WeightFormat::Int8 {
            bytes[..layout.code_bytes()].fill(128);
        }
        Self { layout, bytes }
    }

    fn word(&self, at: usize) -> u32 {
        u32::from_le_bytes(self.bytes[at..at + 4].try_into().expect("four bytes"))
    }

    fn half(&self, at: usize) -> f16 {
        f16::from_le_bytes(self.bytes[at..at + 2].try_into().expect("two bytes"))
    }

    fn code_mask(&self) -> u32 {
        if self.layout.format() == WeightFormat::Int8 { 255 } else { 15 }
    }

    /// `bits` is the code as stored: 0..=15, or the 8-bit code plus 128.
    pub(super) fn set_code(&mut self, n: usize, k: usize, bits: u8) {
        let place = self.layout.code(n, k);
        let keep = self.word(place.word) & !self.code_mask().rotate_left(place.rotation);
        let word = keep | u32::from(bits).rotate_left(place.rotation);
        self.bytes[place.word..place.word + 4].copy_from_slice(&word.to_le_bytes());
    }

    pub(super) fn set_scale(&mut self, n: usize, group: usize, scale: f16) {
        let at = self.layout.scale(n, group);
        self.bytes[at..at + 2].copy_from_slice(&scale.to_le_bytes());
    }

    pub(super) fn set_offset(&mut self, n: usize, group: usize, offset: f16) {
        let at = self.layout.offset(n, group).expect("a format with an offset");
        self.bytes[at..at + 2].copy_from_slice(&offset.to_le_bytes());
    }

    pub(super) fn set_zero(&mut self, n: usize, group: usize, zero: u8) {
        let (at, shift) = self.layout.zero(n, group).expect("a format with 4-bit zeros");
        self.bytes[at] = self.bytes[at] & !(15 << shift) | (zero - self.plus()) << shift;
    }

    fn plus(&self) -> u8 {
        match self.layout.format() {
            WeightFormat::Int4(ZeroPoint::Bits4 { plus }) => plus,
            _ => 0,
        }
    }

    /// The code of output `n` at `k`: 0..=15, or -128..=127.
    pub fn code(&self, n: usize, k: usize) -> i32 {
        let place = self.layout.code(n, k);
        let bits = self.word(place.word).rotate_right(place.rotation) & self.code_mask();
        if self.layout.format() == WeightFormat::Int8 { bits as i32 - 128 } else { bits as i32 }
    }

    /// The scale of output `n` and group `group`.
    pub fn scale(&self, n: usize, group: usize) -> f16 {
        self.half(self.layout.scale(n, group))
    }

    /// The minimum or real zero of output `n` and group `group`; 0 for formats without.
    pub fn offset(&self, n: usize, group: usize) -> f16 {
        self.layout.offset(n, group).map_or(f16::ZERO, |at| self.half(at))
    }

    /// The 4-bit zero (0..=16) of output `n` and group `group`; 0 for formats without.
    pub fn zero(&self, n: usize, group: usize) -> u8 {
        self.layout.zero(n, group).map_or(0, |(at, shift)| (self.bytes[at] >> shift & 15) + self.plus())
    }

    /// The weight of output `n` at `k`, exactly (an f64 holds code*scale + min without rounding).
    pub fn weight(&self, n: usize, k: usize) -> f64 {
        let group = k / self.layout.group();
        let (q, s) = (f64::from(self.code(n, k)), self.scale(n, group).to_f64());
        match self.layout.format() {
            WeightFormat::Int8 => q * s,
            WeightFormat::Int4(ZeroPoint::Symmetric) => (q - 8.0) * s,
            WeightFormat::Int4(ZeroPoint::Bits4 { .. }) => (q - f64::from(self.zero(n, group))) * s,
            WeightFormat::Int4(ZeroPoint::Real) => (q - self.offset(n, group).to_f64()) * s,
            WeightFormat::Int4(ZeroPoint::Min) => q * s + self.offset(n, group).to_f64(),
        }
    }

    /// All weights, `[n, k]`, each rounded once to f32.
    pub fn dequantize(&self) -> Vec<f32> {
        let (n, k) = (self.layout.n(), self.layout.k());
        (0..n * k).map(|at| self.weight(at / k, at % k) as f32).collect()
    }
}
