//! What is done to a matrix before it is coded, so that it codes with less error: per-channel offset and smoothing, and
//! a rotation of its channels.

use super::Matrix;
use crate::error::{Error, Result};

/// The largest block of a rotation, channels.
pub const MAX_ROTATION: usize = 256;

/// y = R(S((x - offset) / smoothing)), each part optional: `offset` and `smoothing` have one f32 a column, S changes the
/// signs of some channels, R is the Hadamard rotation. `V` is a slice or a device view of f32.
///
/// - `offset`: the mean of every key channel, say, taken off before coding; attention does not see it (a constant added
///   to every logit of a query).
/// - `smoothing`: SmoothQuant's vector (Xiao et al., arXiv 2211.10438): activations are divided, weights multiplied.
/// - `rotation`: spreads outlier channels over a block (QuaRot, arXiv 2404.00456; llama.cpp's caches). Keys and queries
///   are rotated alike, so that their products stay.
///
/// Arithmetic: f32, every step rounded to nearest even, the result rounded once to the output's type. NaN and infinity
/// are not special: they spread over their block.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Transform<V> {
    /// Subtracted, one value a column.
    pub offset: Option<V>,
    /// Divided by, one value a column.
    pub smoothing: Option<V>,
    /// The rotation of each block of channels.
    pub rotation: Rotation,
}

/// A rotation of blocks of consecutive channels by the orthonormal Hadamard matrix in Sylvester's order.
///
/// The sum is defined as f32 butterflies (a, b) -> (a + b, a - b) at strides 1, 2, 4, ... block/2, then a product with
/// f32(1/sqrt(block)). Applied twice it is the identity but for rounding.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
pub enum Rotation {
    /// None.
    #[default]
    None,
    /// Blocks of so many channels: a power of two from 8 to [`MAX_ROTATION`] that divides the columns.
    Hadamard {
        /// Channels.
        block: usize,
    },
    /// The same after a change of signs: a random rotation, which also spreads what a plain one would gather.
    SignedHadamard {
        /// Channels.
        block: usize,
        /// Chooses the signs; see [`sign`]. Every block has the same.
        seed: u32,
    },
}

impl Rotation {
    /// The rotation of heads of `head_dim` channels: blocks of the largest power of two that divides it (64 for 192, 32
    /// for 96, 16 for 80 and 112), at most [`MAX_ROTATION`].
    pub const fn of_head(head_dim: usize) -> Rotation {
        let power = head_dim & head_dim.wrapping_neg();
        Rotation::Hadamard { block: if power > MAX_ROTATION { MAX_ROTATION } else { power } }
    }

    /// Channels of a block, 0 without rotation.
    pub const fn block(self) -> usize {
        match self {
            Self::None => 0,
            Self::Hadamard { block } | Self::SignedHadamard { block, .. } => block,
        }
    }

    /// The seed of the signs, if there are any.
    pub const fn seed(self) -> Option<u32> {
        match self {
            Self::SignedHadamard { seed, .. } => Some(seed),
            _ => None,
        }
    }
}

/// Whether channel `channel` of a block changes its sign: bit `channel % 8` of the hash (the finalizer of MurmurHash3) of
/// `seed + (channel / 8 + 1) * 0x9E3779B9`.
pub const fn sign(seed: u32, channel: usize) -> bool {
    let mut h = seed.wrapping_add((channel as u32 / 8 + 1).wrapping_mul(0x9E37_79B9));
    h = (h ^ (h >> 16)).wrapping_mul(0x85EB_CA6B);
    h = (h ^ (h >> 13)).wrapping_mul(0xC2B2_AE35);
    h ^= h >> 16;
    h >> (channel % 8) & 1 != 0
}

impl<V> Transform<V> {
    /// Nothing is done.
    pub const NONE: Transform<V> = Transform { offset: None, smoothing: None, rotation: Rotation::None };

    /// A rotation alone.
    pub const fn rotation(rotation: Rotation) -> Transform<V> {
        Transform { offset: None, smoothing: None, rotation }
    }

    /// Whether nothing is done.
    pub const fn is_none(&self) -> bool {
        self.offset.is_none() && self.smoothing.is_none() && matches!(self.rotation, Rotation::None)
    }

    /// Checks the vectors and the rotation against a matrix; `len` gives a vector's length.
    ///
    /// # Errors
    /// [`Error::Argument`]: a vector shorter than the columns, a block that is no power of two from 8 to 256 or does not
    /// divide the columns.
    pub fn validate(&self, op: &'static str, shape: Matrix, len: impl Fn(&V) -> usize) -> Result<()> {
        let vectors = [("transform.offset", &self.offset), ("transform.smoothing", &self.smoothing)];
        for (argument, vector) in vectors {
            if let Some(found) = vector.as_ref().map(&len).filter(|&found| found < shape.cols) {
                return Err(Error::argument(op, argument, format!("at least {} f32", shape.cols), found.to_string()));
            }
        }
        if self.rotation == Rotation::None {
            return Ok(());
        }
        let block = self.rotation.block();
        if !block.is_power_of_two() || !(8..=MAX_ROTATION).contains(&block) {
            return Err(Error::argument(
                op,
                "transform.rotation",
                format!("a block of 8 to {MAX_ROTATION} channels, a power of two"),
                block.to_string(),
            ));
        }
        if !shape.cols.is_multiple_of(block) {
            return Err(Error::argument(
                op,
                "shape.cols",
                format!("a multiple of the rotation's block of {block}"),
                shape.cols.to_string(),
            ));
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn blocks_of_head_dims() {
        let blocks = [(64, 64), (80, 16), (96, 32), (112, 16), (128, 128), (192, 64), (256, 256), (512, 256)];
        for (head_dim, block) in blocks {
            assert_eq!(Rotation::of_head(head_dim).block(), block);
        }
    }

    #[test]
    fn signs_are_about_half_and_depend_on_the_seed() {
        let count = |seed| (0..256).filter(|&c| sign(seed, c)).count();
        for seed in 0..100 {
            assert!((88..=168).contains(&count(seed)), "{seed}: {}", count(seed)); // 5 standard deviations
        }
        assert!((0..256).any(|c| sign(1, c) != sign(2, c)));
        let byte = |k: usize| (0..8).map(|i| u8::from(sign(0, 8 * k + i)) << i).sum::<u8>();
        assert_eq!([0, 1, 2, 3].map(byte), [0x0E, 0xF3, 0xCC, 0xBF]);
    }
}
