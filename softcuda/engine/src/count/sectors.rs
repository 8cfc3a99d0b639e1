//! 32-byte sectors of a global request after coalescing.
//!
//! A request moves every sector that one of its lanes touches, once. The ideal is the number of sectors that the request's *distinct* bytes
//! would fill if they lay together: 32 lanes that read one word need 4 bytes, so one sector is ideal for them.

use crate::memory::lanes;

/// Sectors of one request.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Sectors {
    /// Distinct sectors.
    pub count: u32,
    /// Distinct bytes.
    pub bytes: u32,
    /// Runs of neighbouring sectors, ascending: first sector relative to the anchor's, length.
    pub runs: Box<[(i64, u32)]>,
}

impl Sectors {
    /// Sectors of the lanes of `mask`, `size` bytes each at `rel` bytes from an anchor whose address is `phase` modulo 32.
    pub fn of(mask: u32, size: u32, rel: &[u64; 32], phase: u8) -> Sectors {
        // (sector, touched bytes of it); a lane's bytes lie in one sector, or in two when it is misaligned.
        let mut touched: Vec<(i64, u32)> = Vec::with_capacity(64);
        for lane in lanes(mask) {
            let start = (rel[lane] as i64).wrapping_add(phase as i64);
            let (sector, byte) = (start.div_euclid(32), start.rem_euclid(32) as u32);
            let bits = ((1u64 << size) - 1) << byte;
            touched.push((sector, bits as u32));
            if bits >> 32 != 0 {
                touched.push((sector.wrapping_add(1), (bits >> 32) as u32));
            }
        }
        touched.sort_unstable_by_key(|t| t.0);
        let (mut count, mut bytes, mut runs) = (0, 0, Vec::<(i64, u32)>::new());
        for same in touched.chunk_by(|a, b| a.0 == b.0) {
            count += 1;
            bytes += same.iter().fold(0, |m, t| m | t.1).count_ones();
            match runs.last_mut() {
                Some(run) if run.0.wrapping_add(run.1 as i64) == same[0].0 => run.1 += 1,
                _ => runs.push((same[0].0, 1)),
            }
        }
        Sectors { count, bytes, runs: runs.into() }
    }
}

/// Sectors of a local request: `size` bytes at each lane's own offset. Word w of the 32 lanes of a warp lies together in 128 bytes
/// (CUDA C++ Programming Guide, Local Memory), eight lanes a sector.
pub fn local_sectors(mask: u32, size: u32, offset: &[u64; 32]) -> u32 {
    let words = |lane: usize| offset[lane] / 4..(offset[lane] + u64::from(size)).div_ceil(4);
    let mut touched: Vec<(u64, usize)> = lanes(mask).flat_map(|l| words(l).map(move |w| (w, l / 8))).collect();
    touched.sort_unstable();
    touched.dedup();
    touched.len() as u32
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(mask: u32, size: u32, phase: u8, f: impl Fn(u64) -> u64) -> (u32, u32, Vec<(i64, u32)>) {
        let s = Sectors::of(mask, size, &std::array::from_fn(|l| f(l as u64)), phase);
        (s.count, s.bytes.div_ceil(32), s.runs.into())
    }

    #[test]
    fn words_of_a_warps_local_memory_lie_together() {
        let of = |mask, size, f: &dyn Fn(u64) -> u64| local_sectors(mask, size, &std::array::from_fn(|l| f(l as u64)));
        assert_eq!(of(!0, 4, &|_| 8), 4);
        assert_eq!(of(!0, 1, &|_| 3), 4);
        assert_eq!(of(!0, 16, &|_| 32), 16);
        assert_eq!(of(0xff, 4, &|_| 8), 1);
        assert_eq!(of(!0, 4, &|l| 4 * l), 32, "every lane another word");
    }

    #[test]
    fn shapes_of_requests() {
        assert_eq!(of(!0, 4, 0, |l| 4 * l), (4, 4, vec![(0, 4)]));
        assert_eq!(of(!0, 4, 4, |l| 4 * l), (5, 4, vec![(0, 5)]));
        assert_eq!(of(!0, 16, 16, |l| 16 * l), (17, 16, vec![(0, 17)]));
        assert_eq!(of(!0, 4, 0, |_| 0), (1, 1, vec![(0, 1)]));
        assert_eq!(of(!0, 4, 0, |l| 64 * l).0, 32);
        assert_eq!(of(!0, 4, 0, |l| 64 * l).1, 4);
        assert_eq!(of(!0, 2, 30, |l| (l % 2) * 1000), (2, 1, vec![(0, 1), (32, 1)]));
        assert_eq!(of(0b1, 1, 31, |_| 0), (1, 1, vec![(0, 1)]));
        assert_eq!(of(!0, 4, 0, |l| (l as i64 * -4) as u64), (5, 4, vec![(-4, 5)]));
        assert_eq!(of(!0, 8, 0, |l| 8 * (l ^ 1)), (8, 8, vec![(0, 8)]));
    }
}
