//! The shape of a warp's request to one memory: its addresses relative to the first lane's.
//!
//! An instruction in a loop asks for the same shape again and again at another place. The shape is worked out once for each instruction and
//! kept: extent, alignment, sectors, bank passes. The next request is then compared with it (32 subtractions), and everything that
//! would take a walk over the lanes is known:
//!
//! 1. bounds: first address plus extent inside one allocation;
//! 2. alignment: the first address, as the others differ from it by multiples of the width;
//! 3. sectors: depend only on the shape and the first address modulo 32, kept for each such phase;
//! 4. bank passes: depend only on the shape (moving all lanes by whole words renames the banks), and on the phase for widths below 4.

use super::access::{Access, lanes};
use crate::count::{Banks, Sectors};

/// A request's shape and what follows from it.
pub(crate) struct Pattern {
    pub(crate) mask: u32,
    size: u32,
    /// Lowest lane of the mask; its address is the anchor.
    pub(crate) first: usize,
    /// Address minus anchor, for the lanes of the mask.
    pub(crate) rel: [u64; 32],
    /// All ones for the lanes of the mask.
    keep: [u64; 32],
    /// Smallest `rel`, and largest plus the width, as signed numbers.
    pub(crate) low: i64,
    pub(crate) high: i64,
    /// Every `rel` is a multiple of the width.
    aligned: bool,
    /// The lanes in order cover `low..high` without holes or overlap.
    pub(crate) dense: bool,
    /// Index of the allocation of global memory that held it last.
    pub(crate) allocation: usize,
    sectors: [Option<(u8, Sectors)>; 8],
    banks: [Option<Banks>; 4],
}

impl Pattern {
    /// The shape of this request as a whole, kept from last time when it is the same. The mask is not empty.
    #[inline(always)]
    pub(crate) fn of<'p>(kept: &'p mut Vec<Pattern>, a: &Access, addr: &[u64; 32]) -> &'p mut Pattern {
        if !(kept.len() == 1 && Pattern::all_match(kept, a, addr)) {
            kept.clear();
            kept.push(Pattern::new(a.mask, a.size, addr));
        }
        &mut kept[0]
    }

    /// Whether the parts together are this request.
    #[inline(always)]
    pub(crate) fn all_match(parts: &[Pattern], a: &Access, addr: &[u64; 32]) -> bool {
        let (mut mask, mut same) = (0, true);
        for part in parts {
            mask |= part.mask;
            same &= part.matches(a.size, addr);
        }
        same && mask == a.mask
    }

    #[inline(always)]
    fn matches(&self, size: u32, addr: &[u64; 32]) -> bool {
        let anchor = addr[self.first];
        let mut differ = 0;
        for lane in 0..32 {
            differ |= (addr[lane].wrapping_sub(anchor) ^ self.rel[lane]) & self.keep[lane];
        }
        differ == 0 && self.size == size
    }

    /// The shape of the lanes of a mask, which is not empty.
    pub(crate) fn new(mask: u32, size: u32, addr: &[u64; 32]) -> Pattern {
        let first = mask.trailing_zeros() as usize;
        let (mut rel, mut keep) = ([0; 32], [0; 32]);
        let (mut low, mut high, mut bits, mut dense, mut end) = (0, 0, 0, true, 0);
        for lane in lanes(mask) {
            let r = addr[lane].wrapping_sub(addr[first]);
            (rel[lane], keep[lane]) = (r, u64::MAX);
            low = low.min(r as i64);
            high = high.max((r as i64).saturating_add(size as i64));
            bits |= r;
            dense &= r == end;
            end = end.wrapping_add(size as u64);
        }
        let aligned = bits & (size as u64 - 1) == 0;
        let (allocation, sectors, banks) = Default::default();
        Pattern { mask, size, first, rel, keep, low, high, aligned, dense, allocation, sectors, banks }
    }

    /// Offset of the anchor from `base` when the whole request is aligned and inside `base..base+length`.
    #[inline(always)]
    pub(crate) fn offset_in(&self, anchor: u64, base: u64, length: u64) -> Option<usize> {
        let offset = anchor.wrapping_sub(base);
        let fits = offset < length.max(1)
            && self.low >= -(offset as i64)
            && self.high <= length as i64 - offset as i64
            && self.aligned
            && anchor & (self.size as u64 - 1) == 0;
        fits.then_some(offset as usize)
    }

    /// Sectors of the request when its anchor is at this address.
    #[inline(always)]
    pub(crate) fn sectors(&mut self, anchor: u64) -> &Sectors {
        let phase = anchor as u8 & 31;
        let slot = &mut self.sectors[phase as usize >> 2];
        if slot.as_ref().is_none_or(|s| s.0 != phase) {
            *slot = Some((phase, Sectors::of(self.mask, self.size, &self.rel, phase)));
        }
        &slot.as_ref().expect("just set").1
    }

    /// Bank passes of the request when its anchor is at this shared offset.
    #[inline(always)]
    pub(crate) fn banks(&mut self, anchor: u64) -> Banks {
        let phase = anchor as usize & 3;
        *self.banks[phase].get_or_insert_with(|| Banks::of(self.mask, self.size, &self.rel, phase as u64))
    }
}
