//! What orders accesses: barriers, warp synchronisation, fences. The interpreter calls these; the race detectors listen.

use crate::memory::{Door, Scope};

impl Door<'_> {
    /// The warps of the mask (bit = warp of the block) have passed barrier `id` together.
    pub fn barrier_passed(&mut self, id: u32, warps: u32) {
        if let Some(race) = &mut self.block.shared.race {
            race.barrier(id, warps);
        }
    }

    /// A warp has announced itself at barrier `id` by `arrive`: it orders what it did before those who wait there, and nothing before it.
    pub fn barrier_arrived(&mut self, id: u32, warp: u32) {
        if let Some(race) = &mut self.block.shared.race {
            race.arrive(id, warp);
        }
    }

    /// The lanes of the mask have passed a `bar.warp.sync` together. No other `.sync` instruction orders memory.
    pub fn warp_synced(&mut self, warp: u32, mask: u32) {
        if let Some(race) = &mut self.block.shared.race {
            race.warp_sync(warp, mask);
        }
    }

    /// The lanes of the mask executed `fence` or `membar`. A fence speaks for its whole warp, and for blocks for the whole block.
    pub fn fence(&mut self, warp: u32, _mask: u32, scope: Scope) {
        if let Some(race) = &mut self.block.shared.race {
            race.fence(warp);
        }
        if scope >= Scope::Gpu {
            self.block.fences += 1;
            self.show_late();
        }
    }
}
