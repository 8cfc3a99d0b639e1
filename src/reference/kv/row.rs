//! What happens to a row of keys or values of one head before it is stored: RoPE, then rotation, in f32, rounded once to
//! the model's dtype. A row with neither is stored as given.
//!
//! - RoPE turns pair i, channels (a, b) as [`RopeStyle`] says, by its angle: (a cos - b sin, a sin + b cos), two products
//!   and one sum, each rounded; channels from `rotary_dim` on stay.
//! - The rotation is [`crate::format::Rotation::Hadamard`] on blocks of channels.
//! - The rounding gives infinity beyond the dtype's range, and 0x7FFF for every NaN.

use half::{bf16, f16};

use super::to_f32;
use crate::cache::KvLayout;
use crate::format::{DType, RopeStyle, Rotation, Transform};
use crate::reference::transform;
use crate::{Error, Result};

/// Rotary embedding of the appended keys; see [`crate::cache::Rope`].
#[derive(Debug, Clone, Copy)]
pub struct Rope<'a> {
    /// Which channels are pairs.
    pub style: RopeStyle,
    /// Channels that turn, from the first.
    pub rotary_dim: usize,
    /// `[positions, rotary_dim / 2, 2]`: cosine and sine.
    pub table: &'a [f32],
}

/// Checks of RoPE; shared with the wrapper. `length` is the table's.
pub(crate) fn check_rope(
    op: &'static str,
    layout: &KvLayout,
    max_blocks: usize,
    rotary_dim: usize,
    length: usize,
) -> Result<()> {
    let shape = layout.shape();
    if rotary_dim == 0 || !rotary_dim.is_multiple_of(2) || rotary_dim > shape.head_dim {
        let expected = format!("a multiple of 2 from 2 to {}", shape.head_dim);
        return Err(Error::argument(op, "rope.rotary_dim", expected, rotary_dim.to_string()));
    }
    let needed = max_blocks * shape.page_tokens * rotary_dim;
    if length < needed {
        let expected = format!("at least {needed} elements, {rotary_dim} for every position of the block table");
        return Err(Error::argument(op, "rope.table", expected, length.to_string()));
    }
    Ok(())
}

/// One head's `row` of `position` as it is stored.
pub(crate) fn stored_row(row: &mut [u16], position: usize, rope: Option<Rope<'_>>, rotation: Rotation, dtype: DType) {
    if rope.is_none() && rotation == Rotation::None {
        return;
    }
    let mut x: Vec<f32> = row.iter().map(|&bits| to_f32(bits, dtype)).collect();
    if let Some(rope) = rope {
        turn(&mut x, &rope, position);
    }
    transform::apply(&Transform::rotation(rotation), &mut x);
    for (bits, x) in row.iter_mut().zip(x) {
        *bits = match dtype {
            _ if x.is_nan() => 0x7FFF,
            DType::Bf16 => bf16::from_f32(x).to_bits(),
            _ => f16::from_f32(x).to_bits(),
        };
    }
}

/// Keys that are stored before RoPE are appended without; shared with the wrapper.
pub(crate) fn check_key_rope(op: &'static str, layout: &KvLayout, given: bool) -> Result<()> {
    match (layout.key_rope(), given) {
        (Some(_), true) => {
            Err(Error::argument(op, "rope", "none (the layout's keys are turned when they are read)", "a table"))
        }
        _ => Ok(()),
    }
}

pub(crate) fn turn(x: &mut [f32], rope: &Rope<'_>, position: usize) {
    let pairs = rope.rotary_dim / 2;
    let angles = &rope.table[position * rope.rotary_dim..][..rope.rotary_dim];
    for (i, angle) in angles.chunks_exact(2).enumerate() {
        let (low, high) = match rope.style {
            RopeStyle::Interleaved => (2 * i, 2 * i + 1),
            RopeStyle::HalfSplit => (i, i + pairs),
        };
        let (a, b, cos, sin) = (x[low], x[high], angle[0], angle[1]);
        (x[low], x[high]) = (a * cos - b * sin, a * sin + b * cos);
    }
}
