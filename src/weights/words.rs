//! What checkpoints store 4-bit codes and scales in: 32-bit words of eight codes, and scales of several types.

use half::{bf16, f16};

use crate::error::{Error, Result};

/// 32-bit words, each of eight 4-bit codes, as different writers store them. The bits are the same.
#[derive(Debug, Clone, Copy)]
#[non_exhaustive]
pub enum Words<'a> {
    /// As unsigned words.
    U32(&'a [u32]),
    /// As signed words, the usual type of checkpoints.
    I32(&'a [i32]),
    /// As bytes, four to a word, the lowest first.
    U8(&'a [u8]),
}

impl Words<'_> {
    /// Refuses any number of words but `expected`; `shape` names it.
    pub(super) fn check(&self, op: &'static str, argument: &'static str, expected: usize, shape: &str) -> Result<()> {
        let (found, whole) = match self {
            Self::U32(words) => (words.len(), true),
            Self::I32(words) => (words.len(), true),
            Self::U8(bytes) => (bytes.len() / 4, bytes.len() % 4 == 0),
        };
        if found == expected && whole {
            return Ok(());
        }
        let found = match self {
            Self::U8(bytes) => format!("{} bytes", bytes.len()),
            _ => format!("{found} words"),
        };
        Err(Error::argument(op, argument, format!("{expected} words {shape}"), found))
    }

    fn word(&self, at: usize) -> u32 {
        match self {
            Self::U32(words) => words[at],
            Self::I32(words) => words[at] as u32,
            Self::U8(bytes) => {
                u32::from_le_bytes([bytes[4 * at], bytes[4 * at + 1], bytes[4 * at + 2], bytes[4 * at + 3]])
            }
        }
    }

    /// The code in bits `4*slot ..` of word `at`.
    pub(super) fn code(&self, at: usize, slot: usize) -> u8 {
        (self.word(at) >> (4 * slot) & 15) as u8
    }
}

/// Sets the code in bits `4*slot ..` of a word whose bits there are 0.
pub(super) fn put(word: &mut u32, slot: usize, code: u8) {
    *word |= u32::from(code) << (4 * slot);
}

/// Scales as a checkpoint stores them. The packed layout holds f16: a value that f16 cannot hold exactly is an error.
#[derive(Debug, Clone, Copy)]
#[non_exhaustive]
pub enum ScaleValues<'a> {
    /// IEEE half precision.
    F16(&'a [f16]),
    /// bfloat16.
    Bf16(&'a [bf16]),
    /// IEEE single precision.
    F32(&'a [f32]),
}

impl ScaleValues<'_> {
    fn len(&self) -> usize {
        match self {
            Self::F16(values) => values.len(),
            Self::Bf16(values) => values.len(),
            Self::F32(values) => values.len(),
        }
    }

    /// Rows of `n` scales.
    pub(super) fn rows(&self, n: usize) -> usize {
        self.len() / n
    }

    fn get(&self, at: usize) -> f32 {
        match self {
            Self::F16(values) => values[at].to_f32(),
            Self::Bf16(values) => values[at].to_f32(),
            Self::F32(values) => values[at],
        }
    }

    /// The values in f16: exactly `expected` of them (`shape` names it), each one that f16 holds.
    pub(super) fn exact(&self, op: &'static str, expected: usize, shape: &str) -> Result<Vec<f16>> {
        if self.len() != expected {
            return Err(Error::argument(
                op,
                "scales",
                format!("{expected} elements {shape}"),
                format!("{} elements", self.len()),
            ));
        }
        let convert = |at| {
            let value = self.get(at);
            let half = f16::from_f32(value);
            if half.to_f32() == value && half.is_finite() {
                return Ok(half);
            }
            Err(Error::argument(op, "scales", "finite values that f16 holds exactly", format!("{value:e} at {at}")))
        };
        (0..expected).map(convert).collect()
    }
}
