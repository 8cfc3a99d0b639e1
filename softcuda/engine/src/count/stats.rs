//! The counters of one launch, summed.

use super::{Class, Counts, SiteCounts};
use serde::{Deserialize, Serialize};

/// What one launch did.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct LaunchStats {
    /// The kernel's name.
    pub kernel: String,
    /// Blocks run.
    pub blocks: u64,
    /// Warp instructions by class, in the order of [`Class::ALL`].
    #[serde(with = "by_class")]
    pub warp_instructions: [u64; 15],
    /// Lane instructions by class: active lanes of each warp instruction.
    #[serde(with = "by_class")]
    pub lane_instructions: [u64; 15],
    /// Branches at which the lanes of a warp went different ways.
    pub divergent_branches: u64,
    /// Global load requests (one warp instruction each).
    pub global_load_requests: u64,
    /// Global store requests.
    pub global_store_requests: u64,
    /// Distinct 32-byte sectors read, summed over requests.
    pub global_load_sectors: u64,
    /// Distinct 32-byte sectors written, summed over requests.
    pub global_store_sectors: u64,
    /// Bytes asked for by global loads.
    pub global_load_bytes: u64,
    /// Bytes given by global stores.
    pub global_store_bytes: u64,
    /// Sectors that the distinct bytes of each load request would fill.
    pub global_load_ideal_sectors: u64,
    /// Sectors that the distinct bytes of each store request would fill.
    pub global_store_ideal_sectors: u64,
    /// Distinct sectors read in the whole launch.
    pub distinct_load_sectors: u64,
    /// Distinct sectors written in the whole launch.
    pub distinct_store_sectors: u64,
    /// Shared-memory requests.
    pub shared_requests: u64,
    /// Wavefronts that these requests take.
    pub shared_wavefronts: u64,
    /// Wavefronts that they would take without bank conflicts.
    pub shared_ideal_wavefronts: u64,
    /// Atomic requests.
    pub atomic_requests: u64,
    /// Local-memory requests: spills and arrays that the compiler could not keep in registers.
    pub local_requests: u64,
    /// 32-byte sectors that they move.
    pub local_sectors: u64,
    /// Bytes copied by `cp.async`.
    pub cp_async_bytes: u64,
    /// Barriers passed, per warp.
    pub barriers: u64,
    /// Worker threads of this computer that ran blocks; of several launches, the most.
    pub workers: u64,
    /// Counts of each executed PTX line, in order; empty unless they were asked for.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub lines: Vec<LineStats>,
}

/// Counts by class as a map from the class's name.
mod by_class {
    use super::Class;
    use serde::{Deserialize, Deserializer, Serializer};
    use std::collections::BTreeMap;

    pub fn serialize<S: Serializer>(counts: &[u64; 15], serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_map(Class::ALL.iter().zip(counts))
    }

    pub fn deserialize<'de, D: Deserializer<'de>>(deserializer: D) -> Result<[u64; 15], D::Error> {
        let map = BTreeMap::<Class, u64>::deserialize(deserializer)?;
        Ok(Class::ALL.map(|class| map.get(&class).copied().unwrap_or(0)))
    }
}

/// What one PTX line did.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct LineStats {
    /// Line of the PTX text, from 1.
    pub line: u32,
    /// Class of its instruction.
    pub class: Class,
    /// Its counts.
    pub counts: SiteCounts,
}

impl LaunchStats {
    /// Warp instructions of all classes.
    pub fn total_warp_instructions(&self) -> u64 {
        self.warp_instructions.iter().sum()
    }

    /// Lane instructions of all classes.
    pub fn total_lane_instructions(&self) -> u64 {
        self.lane_instructions.iter().sum()
    }

    /// Warp instructions of one class.
    pub fn class(&self, class: Class) -> u64 {
        self.warp_instructions[class as usize]
    }

    /// Adds another launch or another worker's part of this one.
    pub fn add(&mut self, other: &LaunchStats) {
        for (a, b) in self.warp_instructions.iter_mut().zip(other.warp_instructions) {
            *a += b;
        }
        for (a, b) in self.lane_instructions.iter_mut().zip(other.lane_instructions) {
            *a += b;
        }
        self.blocks += other.blocks;
        self.divergent_branches += other.divergent_branches;
        self.global_load_requests += other.global_load_requests;
        self.global_store_requests += other.global_store_requests;
        self.global_load_sectors += other.global_load_sectors;
        self.global_store_sectors += other.global_store_sectors;
        self.global_load_bytes += other.global_load_bytes;
        self.global_store_bytes += other.global_store_bytes;
        self.distinct_load_sectors += other.distinct_load_sectors;
        self.distinct_store_sectors += other.distinct_store_sectors;
        self.shared_requests += other.shared_requests;
        self.shared_wavefronts += other.shared_wavefronts;
        self.shared_ideal_wavefronts += other.shared_ideal_wavefronts;
        self.atomic_requests += other.atomic_requests;
        self.local_requests += other.local_requests;
        self.local_sectors += other.local_sectors;
        self.cp_async_bytes += other.cp_async_bytes;
        self.global_load_ideal_sectors += other.global_load_ideal_sectors;
        self.global_store_ideal_sectors += other.global_store_ideal_sectors;
        self.barriers += other.barriers;
        self.workers = self.workers.max(other.workers);
        self.add_lines(&other.lines);
    }

    fn add_lines(&mut self, other: &[LineStats]) {
        for line in other {
            match self.lines.binary_search_by_key(&(line.line, line.class), |l| (l.line, l.class)) {
                Ok(i) => self.lines[i].counts += line.counts,
                Err(i) => self.lines.insert(i, line.clone()),
            }
        }
    }

    /// The counters of a launch, made from the merged counts of its workers.
    ///
    /// `instructions` gives class and PTX line of each pc, `distinct` the sectors of [`crate::memory::LaunchMemory::distinct_sectors`].
    pub fn from_counts(
        kernel: &str,
        blocks: u64,
        counts: &Counts,
        instructions: impl Fn(usize) -> (Class, u32),
        distinct: (u64, u64),
        per_line: bool,
    ) -> LaunchStats {
        let mut stats = LaunchStats { kernel: kernel.to_string(), blocks, ..LaunchStats::default() };
        (stats.distinct_load_sectors, stats.distinct_store_sectors) = distinct;
        stats.workers = counts.workers;
        for (pc, site) in counts.sites.iter().enumerate().filter(|(_, s)| s.warps != 0) {
            let (class, line) = instructions(pc);
            stats.warp_instructions[class as usize] += site.warps;
            stats.lane_instructions[class as usize] += site.lanes;
            stats.divergent_branches += site.divergent;
            stats.global_load_requests += site.loads.requests;
            stats.global_load_sectors += site.loads.sectors;
            stats.global_load_ideal_sectors += site.loads.ideal_sectors;
            stats.global_load_bytes += site.loads.bytes;
            stats.global_store_requests += site.stores.requests;
            stats.global_store_sectors += site.stores.sectors;
            stats.global_store_ideal_sectors += site.stores.ideal_sectors;
            stats.global_store_bytes += site.stores.bytes;
            stats.shared_requests += site.shared_requests;
            stats.shared_wavefronts += site.wavefronts;
            stats.shared_ideal_wavefronts += site.ideal_wavefronts;
            stats.atomic_requests += if site.atomics != 0 { site.warps } else { 0 };
            stats.local_requests += site.local_requests;
            stats.local_sectors += site.local_sectors;
            stats.cp_async_bytes += site.async_bytes;
            stats.barriers += site.barriers;
            if per_line {
                stats.add_lines(&[LineStats { line, class, counts: *site }]);
            }
        }
        stats
    }
}
