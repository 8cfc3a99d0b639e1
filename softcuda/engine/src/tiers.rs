//! The processor's tiers: which there are, and which of them runs. The only place that looks.
//!
//! Both tiers give the same results, because each lane's value is defined by IEEE or integer arithmetic alone, and the rest moves bits;
//! the AVX2 tier is several times faster.

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

/// Whether this processor has every feature of the AVX2 tier: those that `tiered!` here and `exec!` in `exec/lift.rs` name.
#[inline(always)]
pub fn avx2() -> bool {
    *AVX2
}

/// Calls an `#[inline(always)]` function, compiled for each tier, in the one that this processor has:
/// `tiered!(function, (a: A, b: B) -> R)` with the arguments at hand under these names.
macro_rules! tiered {
    ($function:path, ($($x:ident: $t:ty),*) -> $r:ty) => {{
        #[cfg_attr(target_arch = "x86_64", target_feature(enable = "avx2,fma,f16c,bmi1,bmi2,lzcnt,popcnt"))]
        fn avx2($($x: $t),*) -> $r {
            $function($($x),*)
        }
        if $crate::tiers::avx2() {
            #[allow(unused_unsafe)] // No target feature, no danger: other processors.
            // SAFETY: the processor has the features.
            unsafe { avx2($($x),*) }
        } else {
            $function($($x),*)
        }
    }};
}

pub(crate) use tiered;
