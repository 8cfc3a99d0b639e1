//! What a cache of codebook codes (KVQuant) needs beside its pages: the tables that the caller gives in `k_scale` and
//! `v_scale`, and the order of key channels that RoPE at reading asks for.
//!
//! Source: Hooper et al. 2024, "KVQuant", arXiv 2401.18079, sections 3.1 to 3.5: keys before RoPE, per channel; values per
//! token; non-uniform levels; outliers kept aside; the first tokens kept exactly.

use half::f16;

use crate::format::{Codebook, RopeStyle, outlier_slots};
use crate::{Error, Result};

/// f32 of the levels and thresholds at the start of a table.
pub(crate) const BOOK: usize = 32;

/// The RoPE that attention applies to keys when it reads them; queries come with theirs applied.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct KeyRope {
    /// Which channels of a head are pairs.
    pub style: RopeStyle,
    /// Channels that turn, from the first: a multiple of 2, at most the head's. The others stay.
    pub rotary_dim: usize,
}

impl KeyRope {
    /// Where a channel is stored: pairs are neighbours, at 2i and 2i + 1; channels that do not turn stay.
    pub const fn slot(self, channel: usize) -> usize {
        let half = self.rotary_dim / 2;
        match self.style {
            RopeStyle::HalfSplit if channel < half => 2 * channel,
            RopeStyle::HalfSplit if channel < self.rotary_dim => 2 * (channel - half) + 1,
            _ => channel,
        }
    }

    /// The inverse of [`Self::slot`].
    pub const fn channel(self, slot: usize) -> usize {
        match self.style {
            RopeStyle::HalfSplit if slot < self.rotary_dim => slot / 2 + slot % 2 * (self.rotary_dim / 2),
            _ => slot,
        }
    }

    /// Channels that turn, and the style in bit 31, as kernels get it.
    pub(crate) const fn packed(self) -> u32 {
        self.rotary_dim as u32 | (matches!(self.style, RopeStyle::HalfSplit) as u32) << 31
    }
}

/// Outliers of a token and head: one for every 100 channels begun, and of keys (side 0) two at least. What lies beyond a
/// key's given ranges varies from token to token, and one place for 64 channels would leave many a token with one too many;
/// the range of a row of values is made of what its places leave, so none is ever missing.
pub(crate) const fn slots(side: usize, head_dim: usize) -> usize {
    let slots = outlier_slots(head_dim);
    if side == 0 && slots < 2 { 2 } else { slots }
}

/// `k_scale` of a cache of codebook codes: the table, then `range` and `zero` `[num_kv_heads, head_dim]` of the keys before
/// RoPE ([`crate::calibrate::channel_range`]). To be uploaded once a layer.
///
/// # Errors
/// [`Error::Argument`] for levels outside -1..=1, and for ranges and zeros that are not as many, or none.
pub fn nuq_key_table(book: &Codebook, range: &[f16], zero: &[f16]) -> Result<Vec<f32>> {
    const OP: &str = "nuq_key_table";
    if range.is_empty() {
        return Err(Error::argument(OP, "range", "num_kv_heads * head_dim ranges", "none"));
    }
    if zero.len() != range.len() {
        return Err(Error::argument(OP, "zero", format!("{} centres", range.len()), zero.len().to_string()));
    }
    let mut table = table(OP, book)?;
    table.extend(range.iter().chain(zero).map(|x| x.to_f32()));
    Ok(table)
}

/// `v_scale` of a cache of codebook codes: the table. To be uploaded once a layer.
///
/// # Errors
/// [`Error::Argument`] for levels outside -1..=1.
pub fn nuq_value_table(book: &Codebook) -> Result<Vec<f32>> {
    table("nuq_value_table", book)
}

/// `[16]` levels and `[16]` thresholds between them, of which the last is the limit of their search.
fn table(op: &'static str, book: &Codebook) -> Result<Vec<f32>> {
    if let Some(level) = book.levels().iter().find(|level| level.to_f32().abs() > 1.0) {
        return Err(Error::argument(op, "book", "levels from -1 to 1", level.to_string()));
    }
    let (levels, mut thresholds) = book.padded();
    thresholds[15] = book.limit();
    Ok(levels.into_iter().chain(thresholds).collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn slots_are_a_permutation_with_pairs_as_neighbours() {
        for style in [RopeStyle::Interleaved, RopeStyle::HalfSplit] {
            for rotary_dim in [2, 30, 64] {
                let rope = KeyRope { style, rotary_dim };
                for channel in 0..64 {
                    assert_eq!(rope.channel(rope.slot(channel)), channel, "{rope:?}");
                }
                for i in 0..rotary_dim / 2 {
                    let partner = if style == RopeStyle::HalfSplit { i + rotary_dim / 2 } else { 2 * i + 1 };
                    assert_eq!(rope.slot(partner), 2 * i + 1, "{rope:?}");
                }
            }
        }
    }

    #[test]
    fn tables_that_do_not_fit_are_refused() {
        let levels = |top: f32| [-1.0, -0.5, 0.5, top].map(f16::from_f32);
        let book = Codebook::new(&levels(1.0)).unwrap();
        let one = [f16::ONE];
        assert_eq!(nuq_key_table(&book, &one, &one).unwrap().len(), BOOK + 2);
        assert_eq!(nuq_value_table(&book).unwrap().len(), BOOK);
        let text = |result: Result<Vec<f32>>| result.unwrap_err().to_string();
        assert_eq!(text(nuq_key_table(&book, &one, &[])), "nuq_key_table: `zero`: expected 1 centres, found 0");
        assert!(text(nuq_key_table(&book, &[], &[])).starts_with("nuq_key_table: `range`: expected"));
        let wide = Codebook::new(&levels(1.5)).unwrap();
        assert_eq!(text(nuq_value_table(&wide)), "nuq_value_table: `book`: expected levels from -1 to 1, found 1.5");
    }
}
