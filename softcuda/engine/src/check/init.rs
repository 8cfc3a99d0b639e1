//! Which bytes somebody wrote.
//!
//! *Definition.* One bit per byte: set by a store of written data, by a host copy, by a fill; cleared by a store of data that was itself
//! unwritten. A load hands the bits on to the registers; a fault is a *use* of such a register (a branch, an address, a barrier), not the load.
//!
//! *Misses.* Bytes that the host reads back without any kernel having written them: that is the host program's to judge, and
//! the poison shows. Two threads that update bits of one 64-byte group at once never lose a bit (the update is atomic).

use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering::Acquire, Ordering::Relaxed, Ordering::Release};

/// One bit per byte of a memory: written or not.
pub struct InitMap {
    words: Vec<AtomicU64>,
    len: usize,
    /// Every byte is written, whatever `words` say.
    full: AtomicBool,
    /// Words below this one have all their bits.
    frontier: AtomicUsize,
    /// Held while `full` is given up.
    emptying: Mutex<()>,
}

impl InitMap {
    /// `len` bytes, all written or all unwritten.
    pub fn new(len: usize, written: bool) -> InitMap {
        let words = (0..len.div_ceil(64)).map(|_| AtomicU64::new(0)).collect();
        InitMap { words, len, full: AtomicBool::new(written), frontier: AtomicUsize::new(0), emptying: Mutex::new(()) }
    }

    /// Whether all bytes are written, if that is known without looking.
    #[inline(always)]
    pub fn is_full(&self) -> bool {
        self.full.load(Acquire)
    }

    /// Bit i is set when byte `offset + i` is unwritten, for up to 16 bytes.
    #[inline]
    pub fn missing(&self, offset: usize, size: usize) -> u16 {
        if self.is_full() {
            return 0;
        }
        let (word, shift) = (offset / 64, offset % 64);
        let mut bits = self.words[word].load(Relaxed) >> shift;
        if shift + size > 64 {
            bits |= self.words[word + 1].load(Relaxed) << (64 - shift);
        }
        !bits as u16 & ((1u32 << size) - 1) as u16
    }

    /// Whether all of `offset..offset+size` is written.
    pub fn is_set(&self, offset: usize, size: usize) -> bool {
        self.is_full() || pieces(offset, size).all(|(w, mask)| self.words[w].load(Relaxed) & mask == mask)
    }

    /// Marks bytes as written.
    #[inline]
    pub fn set(&self, offset: usize, size: usize) {
        if self.is_full() {
            return;
        }
        for (w, mask) in pieces(offset, size) {
            if self.words[w].load(Relaxed) & mask != mask {
                self.words[w].fetch_or(mask, Relaxed);
            }
        }
        if size == self.len {
            self.full.store(true, Relaxed);
        }
    }

    /// Marks up to 16 bytes as written, except those whose bit in `missing` is set.
    #[inline(always)]
    pub fn store(&self, offset: usize, size: usize, missing: u16) {
        let all = (1u32 << size) - 1;
        let missing = missing as u32 & all;
        if missing == 0 {
            self.set(offset, size);
        } else {
            if missing != all {
                self.set(offset, size);
            }
            self.clear_bits(offset, missing as u64);
        }
    }

    fn clear_bits(&self, offset: usize, missing: u64) {
        self.empty();
        let (word, shift) = (offset / 64, offset % 64);
        for (w, bits) in [(word, missing << shift), (word + 1, missing.checked_shr(64 - shift as u32).unwrap_or(0))] {
            if bits != 0 && self.words[w].load(Relaxed) & bits != 0 {
                self.words[w].fetch_and(!bits, Relaxed);
            }
        }
        self.frontier.fetch_min(word, Relaxed);
    }

    /// Marks bytes as unwritten again.
    pub fn clear(&self, offset: usize, size: usize) {
        self.empty();
        for (w, mask) in pieces(offset, size) {
            self.words[w].fetch_and(!mask, Relaxed);
        }
        self.frontier.fetch_min(offset / 64, Relaxed);
    }

    /// Gives up `full`: from now on the words tell.
    #[inline(always)]
    fn empty(&self) {
        if self.is_full() {
            let _guard = self.emptying.lock().unwrap_or_else(|e| e.into_inner());
            if self.is_full() {
                self.words.iter().for_each(|w| w.store(!0, Relaxed));
                self.full.store(false, Release);
            }
        }
    }

    /// Marks everything as unwritten.
    pub fn reset(&mut self) {
        self.words.iter_mut().for_each(|w| *w.get_mut() = 0);
        *self.full.get_mut() = self.len == 0;
        *self.frontier.get_mut() = 0;
    }

    /// Looks whether everything is written by now and remembers it. Cheap: it goes on where it stopped last time.
    pub fn refresh(&mut self) {
        if self.is_full() {
            return;
        }
        let frontier = self.frontier.get_mut();
        let whole = |w: usize| !0u64 >> (64 - (self.len - w * 64).min(64));
        while *frontier < self.words.len() && *self.words[*frontier].get_mut() & whole(*frontier) == whole(*frontier) {
            *frontier += 1;
        }
        if *frontier == self.words.len() {
            *self.full.get_mut() = true;
        }
    }
}

/// The 64-byte groups that `offset..offset+size` touches, with the touched bits.
fn pieces(offset: usize, size: usize) -> impl Iterator<Item = (usize, u64)> {
    let end = offset + size;
    (offset / 64..end.div_ceil(64)).map(move |w| {
        let low = offset.saturating_sub(w * 64);
        let high = (end - w * 64).min(64);
        (w, (!0u64 >> (64 - (high - low))) << low)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bits_follow_sets_and_clears() {
        for (offset, size) in [(0, 1), (3, 16), (60, 8), (63, 2), (64, 64), (1, 190)] {
            let map = InitMap::new(200, false);
            map.set(offset, size);
            for i in 0..200 {
                assert_eq!(map.is_set(i, 1), (offset..offset + size).contains(&i), "byte {i} after {offset}+{size}");
                assert_eq!(map.missing(i, 1) == 0, map.is_set(i, 1));
            }
            map.clear(offset, size);
            assert!((0..200).all(|i| !map.is_set(i, 1)));
        }
    }

    #[test]
    fn a_full_map_can_lose_a_byte() {
        let mut map = InitMap::new(100, true);
        assert!(map.is_full() && map.is_set(0, 100));
        map.clear(99, 1);
        assert_eq!((map.is_set(0, 99), map.is_set(99, 1), map.missing(96, 4)), (true, false, 0b1000));
        map.set(99, 1);
        map.refresh();
        assert!(map.is_full());
        // Piece by piece, with a step back.
        let mut map = InitMap::new(200, false);
        for (offset, size) in [(0, 70), (70, 60), (130, 70)] {
            map.refresh();
            assert!(!map.is_full());
            map.set(offset, size);
        }
        map.clear(3, 1);
        map.refresh();
        assert!(!map.is_full());
        map.set(3, 1);
        map.refresh();
        assert!(map.is_full());
    }
}
