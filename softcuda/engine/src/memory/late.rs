//! Stores that other blocks see late: an optional mode that shows what a missing fence does to results.
//!
//! The memory model lets a weak store become visible to other blocks after later strong ones. In this mode a block's weak stores to global
//! memory stay in a buffer of its own, where only its own loads find them. They go to memory at its next fence of device scope or release,
//! else at some seeded moment later, at the latest when the launch ends; the end of the block is none of these. Strong stores and atomics go to
//! memory at once and overtake them, except at their own addresses.
//!
//! The detector of races between blocks compares stores with what memory holds, so it is off in this mode. It finds a missing fence in every
//! schedule; this mode makes the result wrong.

use super::access::{Access, Door, Wide, lanes};
use std::collections::BTreeMap;

/// Bytes of one entry: no aligned access crosses one.
const GRANULE: u64 = 16;

/// Stores of a block that the others do not see yet, by address.
#[derive(Default)]
pub struct LateStores {
    granules: BTreeMap<u64, Granule>,
}

/// 16 bytes at a multiple of 16.
#[derive(Clone, Copy, Default)]
struct Granule {
    bytes: [u8; 16],
    /// Bytes that are here.
    here: u16,
    /// Bytes that are here and were never written: the store only moved them.
    unwritten: u16,
}

impl LateStores {
    /// Nothing waits.
    pub fn is_empty(&self) -> bool {
        self.granules.is_empty()
    }

    fn store(&mut self, address: u64, size: usize, value: [u32; 4], unwritten: u16) {
        let granule = self.granules.entry(address / GRANULE).or_default();
        let (at, bytes) = ((address % GRANULE) as usize, bytes_of(value));
        granule.bytes[at..at + size].copy_from_slice(&bytes[..size]);
        let mask = ((1u32 << size) - 1) as u16;
        granule.here |= mask << at;
        granule.unwritten = granule.unwritten & !(mask << at) | (unwritten & mask) << at;
    }

    /// A value loaded from memory and its unwritten bytes, with what waits put over it.
    fn over(&self, address: u64, size: usize, value: [u32; 4], unwritten: u16) -> ([u32; 4], u16) {
        let Some(granule) = self.granules.get(&(address / GRANULE)) else { return (value, unwritten) };
        let (at, mut bytes, mut missing) = ((address % GRANULE) as usize, bytes_of(value), unwritten);
        for i in (0..size).filter(|i| granule.here >> (at + i) & 1 != 0) {
            bytes[i] = granule.bytes[at + i];
            missing = missing & !(1 << i) | (granule.unwritten >> (at + i) & 1) << i;
        }
        let word = |i: usize| u32::from_le_bytes([bytes[4 * i], bytes[4 * i + 1], bytes[4 * i + 2], bytes[4 * i + 3]]);
        (std::array::from_fn(word), missing)
    }
}

fn bytes_of(value: [u32; 4]) -> [u8; 16] {
    std::array::from_fn(|i| value[i / 4].to_le_bytes()[i % 4])
}

impl Door<'_> {
    /// Keeps a checked weak store back.
    pub(super) fn keep_late(&mut self, a: &Access, addr: &[u64; 32], value: &Wide) {
        let late = self.block.late.get_or_insert_default();
        lanes(a.mask).for_each(|l| late.store(addr[l], a.size as usize, value.lane(l), value.missing(l)));
    }

    /// Puts the block's own late stores over a checked load.
    pub(super) fn see_late(&self, a: &Access, addr: &[u64; 32], out: &mut Wide) {
        let Some(late) = self.block.late.as_ref().filter(|late| !late.is_empty()) else { return };
        for l in lanes(a.mask) {
            let (value, missing) = late.over(addr[l], a.size as usize, out.lane(l), out.missing(l));
            out.put(l, a.size, value);
            out.tainted &= !(1 << l);
            out.uninit[l] = 0;
            if self.launch.shape().checks.init {
                out.taint(l, missing);
            }
        }
    }

    /// Before a strong write: the late stores to the same places become visible, and all of them if it releases.
    pub(super) fn pass_late(&mut self, a: &Access, addr: &[u64; 32]) {
        let Some(late) = self.block.late.as_mut().filter(|late| !late.is_empty()) else { return };
        if a.order.releases() {
            self.show_late();
            return;
        }
        let mut shown = LateStores::default();
        for l in lanes(a.mask) {
            if let Some(granule) = late.granules.remove(&(addr[l] / GRANULE)) {
                shown.granules.insert(addr[l] / GRANULE, granule);
            }
        }
        self.show(&shown);
    }

    /// Makes all late stores of the present block visible; whether there were any.
    pub fn show_late(&mut self) -> bool {
        let late = self.block.late.take().unwrap_or_default();
        self.show(&late);
        !late.is_empty()
    }

    /// Writes late stores to memory.
    pub fn show(&mut self, late: &LateStores) {
        for (number, granule) in &late.granules {
            for i in (0..GRANULE).filter(|i| granule.here >> i & 1 != 0) {
                let (memory, offset) = self.locate(number * GRANULE + i);
                memory.bytes.store(offset, 1, [u32::from(granule.bytes[i as usize]), 0, 0, 0]);
                memory.init.store(offset, 1, granule.unwritten >> i & 1);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn own_bytes_are_seen_over_older_ones() {
        let mut late = LateStores::default();
        late.store(0x1002, 2, [0xbbaa, 0, 0, 0], 0b10);
        late.store(0x1008, 8, [1, 2, 0, 0], 0);
        late.store(0x100c, 1, [9, 0, 0, 0], 0);
        assert_eq!(late.over(0x1000, 4, [0x4433_2211, 0, 0, 0], 0b1111), ([0xbbaa_2211, 0, 0, 0], 0b1011));
        assert_eq!(late.over(0x1000, 16, [7; 4], 0), ([0xbbaa_0007, 7, 1, 9], 0b1000));
        assert_eq!(late.over(0x1010, 4, [7; 4], 0), ([7; 4], 0));
    }
}
