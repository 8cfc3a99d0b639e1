//! Which of an instruction's functions runs on this processor. The only place that looks.
//!
//! The features are those that the `exec!` macro names in `lift.rs`. Both tiers give the same results, because each lane's value is
//! defined by IEEE or integer arithmetic alone; the AVX2 tier is several times faster.

use super::inst::{Run, Tiers};
use std::sync::LazyLock;

static AVX2: LazyLock<bool> = LazyLock::new(|| {
    #[cfg(target_arch = "x86_64")]
    {
        use std::arch::is_x86_feature_detected as has;
        let wanted = has!("avx2") && has!("fma") && has!("f16c");
        wanted && has!("bmi1") && has!("bmi2") && has!("lzcnt") && has!("popcnt")
    }
    #[cfg(not(target_arch = "x86_64"))]
    {
        false
    }
});

/// The function to run; with `base` the one for any processor. The result may be called on this processor.
pub fn choose(tiers: Tiers, base: bool) -> Run {
    if !base && *AVX2 { tiers.avx2 } else { tiers.base }
}
