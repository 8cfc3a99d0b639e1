//! 8-bit weights for products with 8-bit activations: the layout as a value, and a matrix packed on the host.

use crate::error::{Error, Result};
use crate::format::ByteCode;

/// Version of the layout of [`ByteLayout`]. Another number means other bytes.
pub const BYTES_VERSION: u32 = 1;

const ALIGN: usize = 256;
/// k of a tile.
const TILE_K: usize = 32;
/// Outputs, and k, that a scale of [`ByteAxis::Block`] covers.
const BLOCK: usize = 128;

/// What a scale covers.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum ByteAxis {
    /// One output. (A scale of the whole matrix is every output's.)
    Output,
    /// 128 outputs by 128 k; the last blocks may be smaller.
    Block,
}

/// Shape and format of a packed matrix `w [n, k]`, w = code * scale; every offset follows from it.
///
/// One buffer holds `[codes][scales][sums]`, each part starting at a multiple of 256 bytes; everything little endian.
/// - Codes: tiles of 16 outputs by 32 k, 512 bytes, in the order `[row tile][tile along k]`. Lane = 4g + t of the warp that
///   reads a tile owns bytes `16*lane ..`, its A operand of `mma.m16n8k32`. Byte e of word i:
///   `(g, t, i, e) -> output 16*row_tile + g + 8*(i & 1), k = 32*tile + 8*t + 4*(i >> 1) + e`.
/// - Scales: f32, `[16*row_tiles]`, or `[ceil(n/128)][ceil(k/128)]`.
/// - Sums (int8): i32 `[16*row_tiles]`, the codes of an output summed over k: for activations with a zero point.
///
/// Outputs beyond n and k beyond `k` are zero.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct ByteLayout {
    n: usize,
    k: usize,
    code: ByteCode,
    axis: ByteAxis,
}

impl ByteLayout {
    /// The layout of `n` outputs by `k`.
    ///
    /// # Errors
    /// [`Error::Argument`] when n is 0 or above 2^24, or k is 0 or above 2^24 (int8: 2^17 - 1, up to which sums of products
    /// fit 32 bits). [`Error::Unsupported`] for int8 in blocks.
    pub fn new(n: usize, k: usize, code: ByteCode, axis: ByteAxis) -> Result<Self> {
        const OP: &str = "weights::ByteLayout";
        let most_k = if code == ByteCode::Int8 { (1 << 17) - 1 } else { 1 << 24 };
        for (argument, value, most) in [("n", n, 1 << 24), ("k", k, most_k)] {
            if value == 0 || value > most {
                return Err(Error::argument(OP, argument, format!("1 to {most}"), value.to_string()));
            }
        }
        if code == ByteCode::Int8 && axis == ByteAxis::Block {
            return Err(Error::unsupported(
                OP,
                "int8 in blocks of 128 x 128",
                "int8 per output; e4m3 per output or block",
            ));
        }
        Ok(Self { n, k, code, axis })
    }

    /// Outputs.
    pub const fn n(&self) -> usize {
        self.n
    }

    /// Length of the sum.
    pub const fn k(&self) -> usize {
        self.k
    }

    /// The code of a weight, and of the activations that it is multiplied with.
    pub const fn code(&self) -> ByteCode {
        self.code
    }

    /// What a scale covers.
    pub const fn axis(&self) -> ByteAxis {
        self.axis
    }

    /// Tiles of 16 outputs.
    pub const fn row_tiles(&self) -> usize {
        self.n.div_ceil(16)
    }

    /// 512-byte tiles along k.
    pub const fn tiles(&self) -> usize {
        self.k.div_ceil(TILE_K)
    }

    /// Blocks of 128 k, the kernels' step.
    pub const fn blocks(&self) -> usize {
        self.k.div_ceil(BLOCK)
    }

    /// Bytes of the codes, which start at 0.
    pub const fn code_bytes(&self) -> usize {
        self.row_tiles() * self.tiles() * 512
    }

    /// Where the scales start.
    pub const fn scales_at(&self) -> usize {
        self.code_bytes().next_multiple_of(ALIGN)
    }

    /// Bytes of the scales.
    pub const fn scale_bytes(&self) -> usize {
        4 * match self.axis {
            ByteAxis::Output => 16 * self.row_tiles(),
            ByteAxis::Block => self.n.div_ceil(BLOCK) * self.blocks(),
        }
    }

    /// Where the sums start.
    pub const fn sums_at(&self) -> usize {
        (self.scales_at() + self.scale_bytes()).next_multiple_of(ALIGN)
    }

    /// Bytes of the sums: 0 for E4M3.
    pub const fn sum_bytes(&self) -> usize {
        match self.code {
            ByteCode::Int8 => 64 * self.row_tiles(),
            ByteCode::E4m3 => 0,
        }
    }

    /// Bytes of the buffer.
    pub const fn bytes(&self) -> usize {
        self.sums_at() + self.sum_bytes()
    }

    /// Byte offset of the code of output `n` at `k`.
    ///
    /// # Panics
    /// If n or k is outside the padded matrix.
    pub fn code_at(&self, n: usize, k: usize) -> usize {
        assert!(n < 16 * self.row_tiles() && k < TILE_K * self.tiles(), "({n}, {k}) is outside the matrix");
        let (tile, k) = ((n / 16) * self.tiles() + k / TILE_K, k % TILE_K);
        let (g, h, t, b, e) = (n % 8, (n / 8) % 2, k / 8, (k / 4) % 2, k % 4);
        tile * 512 + 16 * (4 * g + t) + 4 * (2 * b + h) + e
    }

    /// Byte offset of the scale of output `n` at `k`.
    ///
    /// # Panics
    /// If n or k is outside the matrix.
    pub fn scale_at(&self, n: usize, k: usize) -> usize {
        assert!(n < self.n && k < self.k, "({n}, {k}) is outside the matrix");
        let index = match self.axis {
            ByteAxis::Output => n,
            ByteAxis::Block => n / BLOCK * self.blocks() + k / BLOCK,
        };
        self.scales_at() + 4 * index
    }
}

/// Scales of plain 8-bit weights.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum ByteScales<'a> {
    /// One for all.
    Tensor(f32),
    /// `[n]`.
    Output(&'a [f32]),
    /// `[ceil(n/128), ceil(k/128)]`.
    Block(&'a [f32]),
}

impl ByteScales<'_> {
    const fn axis(&self) -> ByteAxis {
        match self {
            Self::Tensor(_) | Self::Output(_) => ByteAxis::Output,
            Self::Block(_) => ByteAxis::Block,
        }
    }
}

/// A matrix in the layout of [`ByteLayout`], on the host.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PackedBytes {
    layout: ByteLayout,
    bytes: Vec<u8>,
}

impl PackedBytes {
    /// A matrix from bytes that were packed earlier.
    ///
    /// # Errors
    /// [`Error::Argument`] when there are not exactly [`ByteLayout::bytes`] of them.
    pub fn from_bytes(layout: ByteLayout, bytes: Vec<u8>) -> Result<Self> {
        if bytes.len() != layout.bytes() {
            let expected = format!("{} bytes", layout.bytes());
            return Err(Error::argument(
                "weights::PackedBytes::from_bytes",
                "bytes",
                expected,
                bytes.len().to_string(),
            ));
        }
        Ok(Self { layout, bytes })
    }

    /// Packs codes `[n, k]` (int8 in two's complement, or E4M3), as checkpoints of compressed-tensors and of `fp8` models hold
    /// them.
    ///
    /// # Errors
    /// Those of [`ByteLayout::new`]; [`Error::Argument`] for a length that does not fit, a code that is NaN, or a scale that
    /// is not finite.
    pub fn from_codes(n: usize, k: usize, code: ByteCode, codes: &[u8], scales: ByteScales<'_>) -> Result<Self> {
        const OP: &str = "weights::PackedBytes::from_codes";
        let layout = ByteLayout::new(n, k, code, scales.axis())?;
        if codes.len() != n * k {
            return Err(Error::argument(OP, "codes", format!("{} elements", n * k), codes.len().to_string()));
        }
        let values: Vec<f32> = match scales {
            ByteScales::Tensor(scale) => vec![scale; n],
            ByteScales::Output(scales) | ByteScales::Block(scales) => scales.to_vec(),
        };
        let expected = match layout.axis {
            ByteAxis::Output => n,
            ByteAxis::Block => layout.scale_bytes() / 4,
        };
        if values.len() != expected {
            return Err(Error::argument(OP, "scales", format!("{expected} elements"), values.len().to_string()));
        }
        if let Some(at) = values.iter().position(|scale| !scale.is_finite()) {
            return Err(Error::argument(OP, "scales", "finite numbers", format!("{} at {at}", values[at])));
        }
        if let Some(at) = codes.iter().position(|&bits| code.value(bits).is_nan()) {
            return Err(Error::argument(OP, "codes", "no NaN", format!("{:#04x} at {at}", codes[at])));
        }
        let mut bytes = vec![0; layout.bytes()];
        for (at, &code) in codes.iter().enumerate() {
            bytes[layout.code_at(at / k, at % k)] = code;
        }
        for (scale, to) in values.iter().zip(bytes[layout.scales_at()..].chunks_exact_mut(4)) {
            to.copy_from_slice(&scale.to_le_bytes());
        }
        if code == ByteCode::Int8 {
            for (row, to) in codes.chunks_exact(k).zip(bytes[layout.sums_at()..].chunks_exact_mut(4)) {
                let sum: i32 = row.iter().map(|&code| i32::from(code as i8)).sum();
                to.copy_from_slice(&sum.to_le_bytes());
            }
        }
        Ok(Self { layout, bytes })
    }

    /// Codes weights `[n, k]` to nearest, with scale = amax / the code's top.
    ///
    /// # Errors
    /// Those of [`ByteLayout::new`]; [`Error::Argument`] for a length that is not n*k, or a weight that is not finite.
    pub fn quantize(n: usize, k: usize, code: ByteCode, axis: ByteAxis, weights: &[f32]) -> Result<Self> {
        const OP: &str = "weights::PackedBytes::quantize";
        let layout = ByteLayout::new(n, k, code, axis)?;
        if weights.len() != n * k {
            return Err(Error::argument(OP, "weights", format!("{} elements", n * k), weights.len().to_string()));
        }
        if let Some(at) = weights.iter().position(|w| !w.is_finite()) {
            return Err(Error::argument(OP, "weights", "finite numbers", format!("{} at {at}", weights[at])));
        }
        let index = |at: usize| match axis {
            ByteAxis::Output => at / k,
            ByteAxis::Block => at / k / BLOCK * layout.blocks() + at % k / BLOCK,
        };
        let mut scales = vec![0f32; if axis == ByteAxis::Output { n } else { layout.scale_bytes() / 4 }];
        for (at, w) in weights.iter().enumerate() {
            let amax = &mut scales[index(at)];
            *amax = amax.max(w.abs());
        }
        scales.iter_mut().for_each(|scale| *scale /= code.top());
        let codes: Vec<u8> = weights.iter().enumerate().map(|(at, &w)| code.encode(w, scales[index(at)])).collect();
        let scales = match axis {
            ByteAxis::Output => ByteScales::Output(&scales),
            ByteAxis::Block => ByteScales::Block(&scales),
        };
        Self::from_codes(n, k, code, &codes, scales)
    }

    /// Shape, format and offsets.
    pub fn layout(&self) -> &ByteLayout {
        &self.layout
    }

    /// The buffer to upload.
    pub fn bytes(&self) -> &[u8] {
        &self.bytes
    }

    /// The code of output `n` at `k`.
    pub fn code(&self, n: usize, k: usize) -> u8 {
        self.bytes[self.layout.code_at(n, k)]
    }

    /// The scale of output `n` at `k`.
    pub fn scale(&self, n: usize, k: usize) -> f32 {
        let at = self.layout.scale_at(n, k);
        f32::from_le_bytes(self.bytes[at..at + 4].try_into().expect("four bytes"))
    }

    /// The weight of output `n` at `k`, exactly.
    pub fn weight(&self, n: usize, k: usize) -> f64 {
        f64::from(self.layout.code.value(self.code(n, k))) * f64::from(self.scale(n, k))
    }
}
