//! `cp.async`: copies from global to shared memory that land late.
//!
//! The source is read when the copy is issued; the bytes land in shared memory only at the `wait_group` or `wait_all` that covers them, oldest
//! first. In between the destination is poisoned, so a kernel that forgets the wait reads stale or poisoned bytes, as it may on hardware.
//! Groups belong to threads: lanes of a warp that commit at different times wait for different copies.

use super::access::{Access, Door, Space, Wide, lanes};
use super::space::POISON;
use crate::report::{AccessKind, Fault, Site};
use std::collections::VecDeque;

/// What the destination of a copy holds until the bytes land.
static POISONED: Wide = Wide { words: [[u32::from_ne_bytes([POISON; 4]); 32]; 4], uninit: [!0; 32], tainted: !0 };

/// Copies in flight of one warp, oldest first.
#[derive(Default)]
pub(crate) struct AsyncQueue {
    copies: VecDeque<Copy>,
    /// Groups that each lane has committed so far.
    committed: Option<Box<[u32; 32]>>,
}

/// One `cp.async` of a warp.
struct Copy {
    site: Site,
    /// Lanes whose bytes have not landed.
    mask: u32,
    size: u32,
    target: [u64; 32],
    data: Wide,
    /// Group of each lane: how many it had committed before.
    group: [u32; 32],
}

impl AsyncQueue {
    /// The copy that covers one of these shared bytes: its instruction and lane.
    pub(crate) fn find(&self, offset: u64, size: u64) -> Option<(Site, u32)> {
        self.copies.iter().find_map(|c| {
            let covers = |l: &usize| c.target[*l] < offset + size && offset < c.target[*l] + c.size as u64;
            lanes(c.mask).find(covers).map(|l| (c.site, l as u32))
        })
    }
}

impl Door<'_> {
    /// Issues a copy of `size` (4, 8 or 16) bytes for each lane: `source_size` bytes come from global memory, the rest are zero.
    ///
    /// # Errors
    /// The fault, if a source or a destination is wrong for any lane.
    #[allow(clippy::too_many_arguments)] // The operands of one instruction.
    pub fn cp_async(
        &mut self,
        site: Site,
        warp: u32,
        mask: u32,
        size: u32,
        target: &[u64; 32],
        source: &[u64; 32],
        source_size: &[u32; 32],
    ) -> Result<(), Box<Fault>> {
        let data = self.async_source(site, warp, mask, size, source, source_size)?;
        let a = Access::weak(site, warp, mask, Space::Shared, size);
        // Two copies in flight to one place, or a copy over bytes that others still read, are found here.
        self.put_shared(&a, AccessKind::Store, target, &POISONED)?;
        let checks = self.launch.shape().checks;
        if checks.memory || checks.race {
            self.set_pending(&a, target, true);
        }
        self.count_shared(&a, target);
        if self.launch.shape().count {
            self.counts.sites[site.pc as usize].async_bytes += mask.count_ones() as u64 * size as u64;
        }
        let queue = self.block.queue(warp);
        let group = queue.committed.as_ref().map_or([0; 32], |c| **c);
        queue.copies.push_back(Copy { site, mask, size, target: *target, data, group });
        Ok(())
    }

    /// The bytes that a copy will bring.
    fn async_source(
        &mut self,
        site: Site,
        warp: u32,
        mask: u32,
        size: u32,
        source: &[u64; 32],
        source_size: &[u32; 32],
    ) -> Result<Wide, Box<Fault>> {
        let mut data = Wide::new();
        let whole = lanes(mask).filter(|&l| source_size[l] >= size).fold(0, |m, l| m | 1 << l);
        self.load(&Access::weak(site, warp, whole, Space::Global, size), source, &mut data)?;
        for lane in lanes(mask & !whole) {
            data.put(lane, size, [0; 4]);
            // A partial source may end anywhere: byte by byte.
            let mut byte = Wide::new();
            for i in 0..source_size[lane] {
                let from = [source[lane] + i as u64; 32];
                self.load(&Access::weak(site, warp, 1 << lane, Space::Global, 1), &from, &mut byte)?;
                data.words[i as usize / 4][lane] |= byte.words[0][lane] << (8 * (i % 4));
                data.taint(lane, data.missing(lane) | byte.missing(lane) << i);
            }
        }
        Ok(data)
    }

    /// `cp.async.commit_group`: the copies that each lane issued since its last commit become a group.
    pub fn cp_async_commit(&mut self, warp: u32, mask: u32) {
        let committed = self.block.queue(warp).committed.get_or_insert_with(Default::default);
        lanes(mask).for_each(|l| committed[l] += 1);
    }

    /// `cp.async.wait_group n`: lands every group of each lane but its `n` youngest.
    ///
    /// # Errors
    /// What the write to shared memory brings to light.
    pub fn cp_async_wait(&mut self, warp: u32, mask: u32, n: u32) -> Result<(), Box<Fault>> {
        let committed = self.block.queue(warp).committed.as_ref().map_or([0; 32], |c| **c);
        self.land(warp, mask, &committed.map(|c| c.saturating_sub(n)))
    }

    /// `cp.async.wait_all`: lands everything that each lane has issued.
    ///
    /// # Errors
    /// As [`Door::cp_async_wait`].
    pub fn cp_async_wait_all(&mut self, warp: u32, mask: u32) -> Result<(), Box<Fault>> {
        self.land(warp, mask, &[u32::MAX; 32])
    }

    /// Lands the groups of each lane below `limit`.
    fn land(&mut self, warp: u32, mask: u32, limit: &[u32; 32]) -> Result<(), Box<Fault>> {
        let mut copies = std::mem::take(&mut self.block.queue(warp).copies);
        for copy in &mut copies {
            let due = (0..32).fold(0, |m, l| m | ((copy.group[l] < limit[l]) as u32) << l);
            let landing = copy.mask & mask & due;
            if landing != 0 {
                let a = Access::weak(copy.site, warp, landing, Space::Shared, copy.size);
                self.set_pending(&a, &copy.target, false);
                self.put_shared(&a, AccessKind::AsyncTarget, &copy.target, &copy.data)?;
                copy.mask &= !landing;
            }
        }
        copies.retain(|c| c.mask != 0);
        self.block.queue(warp).copies = copies;
        Ok(())
    }
}
