//! How a product's work is divided; a function of the shape and the device's multiprocessors only, never of the rows.

/// Warps of a block.
pub(super) const WARPS: usize = 8;

/// Blocks of 8 warps that a multiprocessor takes at a time (those for up to 8 rows).
const RESIDENT: usize = 3;

/// A share of the work that is not worth dividing it further for.
const ENOUGH: f64 = 0.05;

/// What the device could have done while the last blocks ran, as a share of the work: those that find no room in the last full wave
/// read at full speed if there is one on every multiprocessor, as 8 warps have 16 KB in flight.
fn idle(blocks: usize, sm_count: usize) -> f64 {
    let last = blocks % (RESIDENT * sm_count);
    if blocks < RESIDENT * sm_count || last == 0 { 0.0 } else { sm_count.saturating_sub(last) as f64 / blocks as f64 }
}

/// Parts of k, each a run of blocks of k.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Split {
    /// Warps of a block along k.
    pub k_warps: usize,
    /// Blocks along k.
    pub splits: usize,
    /// Blocks along the outputs.
    pub columns: usize,
}

impl Split {
    /// Enough warps to fill the device (16 per multiprocessor), as long as a warp has two blocks of k to do; more along k where that
    /// leaves less of the device idle at the end.
    pub fn new(row_tiles: usize, blocks: usize, sm_count: u32) -> Self {
        let sm_count = sm_count as usize;
        let wanted = (16 * sm_count).div_ceil(row_tiles);
        let possible = blocks.div_ceil(2);
        let most = (1 << possible.ilog2()).min(WARPS);
        let least = wanted.next_power_of_two().min(most);
        let columns = |k_warps| row_tiles.div_ceil(WARPS / k_warps);
        let mut k_warps = least;
        for more in (least.ilog2() + 1..=most.ilog2()).map(|log2| 1 << log2) {
            if idle(columns(k_warps), sm_count) <= ENOUGH {
                break;
            }
            if idle(columns(more), sm_count) < idle(columns(k_warps), sm_count) {
                k_warps = more;
            }
        }
        let splits = if k_warps < WARPS { 1 } else { ((wanted.min(possible) + WARPS / 2) / WARPS).max(1) };
        Self { k_warps, splits, columns: columns(k_warps) }
    }

    /// The same for row tiles that must meet in pairs in a block.
    pub fn paired(self, row_tiles: usize) -> Self {
        let k_warps = self.k_warps.min(WARPS / 2);
        Self { k_warps, columns: row_tiles.div_ceil(WARPS / k_warps), ..self }
    }

    /// A block has eight row tiles, and all of k.
    pub fn along_outputs(row_tiles: usize) -> Self {
        Self { k_warps: 1, splits: 1, columns: row_tiles.div_ceil(WARPS) }
    }

    /// Parts of k.
    pub const fn parts(&self) -> usize {
        self.k_warps * self.splits
    }

    /// Bytes of the counters of arrivals, for so many groups of rows.
    pub fn counter_bytes(&self, row_groups: usize) -> usize {
        if self.splits == 1 { 0 } else { (4 * self.columns * row_groups).next_multiple_of(256) }
    }

    /// Counters, then partial sums of 4 bytes.
    pub fn workspace_bytes(&self, row_tiles: usize, rows: usize, row_groups: usize) -> usize {
        let partials = self.splits * rows * 16 * row_tiles * 4;
        if self.splits == 1 { 0 } else { self.counter_bytes(row_groups) + partials }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn split(row_tiles: usize, blocks: usize, sm_count: u32) -> (usize, usize, usize) {
        let Split { k_warps, splits, columns } = Split::new(row_tiles, blocks, sm_count);
        (k_warps, splits, columns)
    }

    #[test]
    fn work_is_divided_by_shape_and_device() {
        assert_eq!(split(256, 32, 132), (8, 1, 256));
        assert_eq!(split(256, 112, 108), (8, 1, 256));
        assert_eq!(split(3072, 2, 108), (1, 1, 384));
        // 384 blocks are 324 at a time and then 60; 768 end with 120.
        assert_eq!(split(3072, 5, 108), (2, 1, 768));
        // 448 would be 396 and 52.
        assert_eq!(split(1792, 64, 132), (4, 1, 896));
        assert_eq!(split(896, 64, 132), (8, 1, 896));
        // 512: 396 and 116.
        assert_eq!(split(512, 64, 132), (8, 1, 512));
        assert_eq!(split(12, 5, 108), (2, 1, 3));
        assert_eq!(split(1, 1, 108), (1, 1, 1));
        assert_eq!(split(64, 32, 132), (8, 2, 64));
        let paired = Split::new(64, 32, 132).paired(64);
        assert_eq!(paired, Split { k_warps: 4, splits: 2, columns: 32 });
    }
}
