//! Passes of a shared-memory request through the 32 banks of 4 bytes.
//!
//! A request of up to 4 bytes a lane goes in one piece, 8 bytes in two half warps, 16 bytes in four quarter warps. Each piece takes as many passes
//! (wavefronts) as the busiest bank has distinct words; lanes that want the same word share it. Without conflicts every piece with
//! an active lane takes one pass.

use crate::memory::lanes;

/// Passes of one request.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Banks {
    /// Passes taken.
    pub wavefronts: u32,
    /// Passes without conflicts.
    pub ideal: u32,
}

impl Banks {
    /// Passes of the lanes of `mask`, `size` bytes each at `rel` bytes from an anchor whose offset is `phase` modulo 4.
    pub fn of(mask: u32, size: u32, rel: &[u64; 32], phase: u64) -> Banks {
        let pieces = (size / 4).max(1);
        let lanes_each = 32 / pieces;
        let mut banks = Banks::default();
        for piece in 0..pieces {
            let part = mask & ((!0u32 >> (32 - lanes_each)) << (piece * lanes_each));
            if part == 0 {
                continue;
            }
            // At most 32 words a piece, or 64 when lanes are misaligned.
            let mut words: Vec<u64> = Vec::with_capacity(64);
            for lane in lanes(part) {
                let start = rel[lane].wrapping_add(phase);
                let end = start.wrapping_add(size as u64 - 1);
                words.extend((start >> 2..=end >> 2).take(5));
            }
            words.sort_unstable();
            words.dedup();
            let mut load = [0u32; 32];
            words.iter().for_each(|w| load[*w as usize % 32] += 1);
            banks.wavefronts += load.iter().max().expect("32 banks");
            banks.ideal += 1;
        }
        banks
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(mask: u32, size: u32, f: impl Fn(u64) -> u64) -> (u32, u32) {
        let b = Banks::of(mask, size, &std::array::from_fn(|l| f(l as u64)), 0);
        (b.wavefronts, b.ideal)
    }

    #[test]
    fn conflicts_of_known_shapes() {
        assert_eq!(of(!0, 4, |l| 4 * l), (1, 1));
        assert_eq!(of(!0, 4, |_| 64), (1, 1));
        assert_eq!(of(!0, 4, |l| 8 * l), (2, 1));
        assert_eq!(of(!0, 4, |l| 128 * l), (32, 1));
        assert_eq!(of(!0, 4, |l| 132 * l), (1, 1));
        assert_eq!(of(!0, 1, |l| l), (1, 1));
        assert_eq!(of(!0, 8, |l| 8 * l), (2, 2));
        assert_eq!(of(!0, 16, |l| 16 * l), (4, 4));
        assert_eq!(of(!0, 16, |l| 128 * l), (32, 4));
        // Rows of 64 bytes: two rows cover the banks, 8 lanes of a quarter cover them four times.
        assert_eq!(of(!0, 16, |l| 64 * l), (16, 4));
        assert_eq!(of(0xff, 16, |l| 16 * l), (1, 1));
    }
}
