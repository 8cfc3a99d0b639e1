//! Distinct sectors of a launch: the traffic that even an endless cache cannot save.

use std::sync::OnceLock;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};

/// One bit per 32-byte sector of an allocation; the bits exist once a sector was touched.
#[derive(Default)]
pub struct Touched {
    words: OnceLock<Box<[AtomicU64]>>,
}

impl Touched {
    /// Marks `count` sectors from `first`, in an allocation of `sectors` sectors.
    #[inline(always)]
    pub fn mark(&self, first: usize, count: u32, sectors: usize) {
        let words = self.words.get_or_init(|| (0..sectors.div_ceil(64)).map(|_| AtomicU64::new(0)).collect());
        let (mut at, end) = (first, first + count as usize);
        while at < end {
            let low = at % 64;
            let n = (64 - low).min(end - at);
            let bits = (u64::MAX >> (64 - n)) << low;
            let word = &words[at / 64];
            if word.load(Relaxed) & bits != bits {
                word.fetch_or(bits, Relaxed);
            }
            at += n;
        }
    }

    /// Sectors marked.
    pub fn count(&self) -> u64 {
        self.words.get().map_or(0, |w| w.iter().map(|x| x.load(Relaxed).count_ones() as u64).sum())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sectors_count_once() {
        let t = Touched::default();
        assert_eq!(t.count(), 0);
        t.mark(60, 10, 200);
        t.mark(65, 10, 200);
        t.mark(0, 1, 200);
        t.mark(199, 1, 200);
        assert_eq!(t.count(), 15 + 2);
    }
}
