//! Counters of one launch. Counts, never times.

mod banks;
mod counts;
mod footprint;
mod sectors;

pub use banks::Banks;
pub use counts::{Counts, SiteCounts, Traffic};
pub use footprint::Touched;
pub use sectors::Sectors;

/// The class of an instruction.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[repr(u8)]
pub enum Class {
    /// Integer and logic.
    Int,
    /// Single precision.
    F32,
    /// Double precision.
    F64,
    /// Half precision, both kinds, scalar and packed.
    Half,
    /// Conversions.
    Cvt,
    /// Moves, packs, selections.
    Move,
    /// Comparisons and predicates.
    Compare,
    /// Approximate functions.
    Special,
    /// Matrix products.
    Mma,
    /// Loads, stores, copies, prefetches.
    Memory,
    /// Atomics and reductions.
    Atomic,
    /// Exchange between the lanes of a warp.
    Warp,
    /// Barriers and fences.
    Sync,
    /// Branches, calls, returns.
    Control,
    /// Everything else.
    Misc,
}

impl Class {
    /// Every class, in the order of [`LaunchStats::warp_instructions`].
    #[rustfmt::skip]
    pub const ALL: [Class; 15] = [
        Class::Int, Class::F32, Class::F64, Class::Half, Class::Cvt, Class::Move, Class::Compare, Class::Special,
        Class::Mma, Class::Memory, Class::Atomic, Class::Warp, Class::Sync, Class::Control, Class::Misc,
    ];
}

/// What one launch did.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct LaunchStats {
    /// The kernel's name.
    pub kernel: String,
    /// Blocks run.
    pub blocks: u64,
    /// Warp instructions by class, in the order of [`Class::ALL`].
    pub warp_instructions: [u64; 15],
    /// Lane instructions by class: active lanes of each warp instruction.
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
    /// Local-memory requests.
    pub local_requests: u64,
    /// Bytes copied by `cp.async`.
    pub cp_async_bytes: u64,
    /// Barriers passed, per warp.
    pub barriers: u64,
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
        self.cp_async_bytes += other.cp_async_bytes;
        self.barriers += other.barriers;
    }
}
