//! Which of an instruction's functions runs on this processor.

use super::inst::{Run, Tiers};

/// The function to run; with `base` the one for any processor. The result may be called on this processor.
pub fn choose(tiers: Tiers, base: bool) -> Run {
    if !base && crate::tiers::avx2() { tiers.avx2 } else { tiers.base }
}
