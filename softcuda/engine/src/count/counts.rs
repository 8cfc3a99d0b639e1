//! What is counted for each instruction of a kernel.

use serde::{Deserialize, Serialize};
use std::ops::AddAssign;

/// Requests to global memory in one direction.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Traffic {
    /// Warp instructions.
    pub requests: u64,
    /// Bytes asked for by the lanes.
    pub bytes: u64,
    /// 32-byte sectors moved, per request after coalescing.
    pub sectors: u64,
    /// Sectors that the distinct bytes of each request would fill.
    pub ideal_sectors: u64,
}

impl AddAssign for Traffic {
    fn add_assign(&mut self, other: Traffic) {
        self.requests += other.requests;
        self.bytes += other.bytes;
        self.sectors += other.sectors;
        self.ideal_sectors += other.ideal_sectors;
    }
}

/// Counts of one instruction.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct SiteCounts {
    /// Warps that executed it.
    pub warps: u64,
    /// Lanes that executed it.
    pub lanes: u64,
    /// Times that it split the lanes of a warp.
    pub divergent: u64,
    /// Global loads, sources of `cp.async` among them.
    pub loads: Traffic,
    /// Global stores and atomics.
    pub stores: Traffic,
    /// Shared requests.
    pub shared_requests: u64,
    /// Passes through the 32 shared-memory banks.
    pub wavefronts: u64,
    /// Passes that the same requests need without bank conflicts.
    pub ideal_wavefronts: u64,
    /// Local requests.
    pub local_requests: u64,
    /// 32-byte sectors that they move.
    pub local_sectors: u64,
    /// Lanes of atomics.
    pub atomics: u64,
    /// Bytes copied by `cp.async`.
    pub async_bytes: u64,
    /// Barriers passed.
    pub barriers: u64,
}

impl AddAssign for SiteCounts {
    fn add_assign(&mut self, other: SiteCounts) {
        self.warps += other.warps;
        self.lanes += other.lanes;
        self.divergent += other.divergent;
        self.loads += other.loads;
        self.stores += other.stores;
        self.shared_requests += other.shared_requests;
        self.wavefronts += other.wavefronts;
        self.ideal_wavefronts += other.ideal_wavefronts;
        self.local_requests += other.local_requests;
        self.local_sectors += other.local_sectors;
        self.atomics += other.atomics;
        self.async_bytes += other.async_bytes;
        self.barriers += other.barriers;
    }
}

/// Counts of every instruction of a kernel, by pc. Merging adds, so the order in which workers are merged does not matter.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Counts {
    /// `sites[pc]`.
    pub sites: Vec<SiteCounts>,
    /// Worker threads that ran blocks.
    pub workers: u64,
}

impl Counts {
    /// Zero for a kernel of `instructions` instructions.
    pub fn new(instructions: usize) -> Counts {
        Counts { sites: vec![SiteCounts::default(); instructions], workers: 0 }
    }

    /// A warp executed the instruction with the lanes of `mask`.
    #[inline(always)]
    pub fn executed(&mut self, pc: u32, mask: u32) {
        let site = &mut self.sites[pc as usize];
        site.warps += 1;
        site.lanes += mask.count_ones() as u64;
    }

    /// Adds another worker's counts.
    pub fn merge(&mut self, other: &Counts) {
        if self.sites.len() < other.sites.len() {
            self.sites.resize(other.sites.len(), SiteCounts::default());
        }
        self.sites.iter_mut().zip(&other.sites).for_each(|(a, b)| *a += *b);
        self.workers += other.workers;
    }

    /// Drops the local traffic of these instructions: what calls pass is in registers on hardware.
    pub fn forget_local(&mut self, passes: impl Fn(usize) -> bool) {
        for (_, site) in self.sites.iter_mut().enumerate().filter(|(pc, _)| passes(*pc)) {
            (site.local_requests, site.local_sectors) = (0, 0);
        }
    }

    /// Sum over all instructions.
    pub fn total(&self) -> SiteCounts {
        self.sites.iter().fold(SiteCounts::default(), |mut sum, s| {
            sum += *s;
            sum
        })
    }
}
