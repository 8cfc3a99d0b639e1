//! Hooks for what orders accesses: barriers, warp synchronisation, fences.

use crate::memory::{Door, Scope};

impl Door<'_> {
    /// The warps of the mask (bit = warp of the block) have passed a `bar.sync` or `barrier` together.
    pub fn barrier_passed(&mut self, warps: u32) {
        let _ = warps;
    }

    /// The lanes of the mask have passed a `bar.warp.sync` together. No other `.sync` instruction orders memory.
    pub fn warp_synced(&mut self, warp: u32, mask: u32) {
        let _ = (warp, mask);
    }

    /// The lanes of the mask executed `fence` or `membar`.
    pub fn fence(&mut self, warp: u32, mask: u32, scope: Scope) {
        let _ = (warp, mask, scope);
    }
}
