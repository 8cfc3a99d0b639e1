//! Kinds of instructions, as the counters tell them apart.

use serde::{Deserialize, Serialize};

/// The class of an instruction.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
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
    /// Every class, in the order of [`LaunchStats::warp_instructions`](super::LaunchStats::warp_instructions).
    #[rustfmt::skip]
    pub const ALL: [Class; 15] = [
        Class::Int, Class::F32, Class::F64, Class::Half, Class::Cvt, Class::Move, Class::Compare, Class::Special,
        Class::Mma, Class::Memory, Class::Atomic, Class::Warp, Class::Sync, Class::Control, Class::Misc,
    ];
}
