//! What the instructions compute: pure functions on values, with no knowledge of warps, registers or instructions.
//!
//! | file | holds | PTX ISA chapter |
//! |---|---|---|
//! | [`bits`] | integer and bit instructions beyond what `core` offers | 9.7.1, 9.7.2, 9.7.8 |
//! | [`round`] | f32 and f64 arithmetic in the four roundings, flush to zero, saturation | 9.7.3 |
//! | [`soft64`] | f64 in directed rounding by integers | 9.7.3 |
//! | [`half`] | f16 and bf16 arithmetic and their conversions to and from f32 | 9.7.4 |
//! | [`fp8`] | e4m3, e5m2 and e2m1 codes | 9.7.9.21 |
//! | [`cvt`] | every other conversion | 9.7.9.21 |
//! | [`approx`] | the `.approx` instructions, rounded or perturbed | 9.7.3, 9.7.4 |
//! | [`double`] | double-double arithmetic behind `approx` | |
//! | [`dot`] | sums of matrix products in three numerics | 9.7.14 |
//! | [`mma`] | `mma` of a whole warp, registers to registers | 9.7.14.5 |
//!
//! Rules that hold throughout:
//! - One result for one input on every host: no libm in a result, no change of the processor's rounding or flush mode. `mul_add` is
//!   used where a fused result is wanted; it is exact by definition, whether it becomes an instruction or a call.
//! - Functions are `#[inline(always)]` and take modes by value: with a constant mode the unused branches vanish, and a loop over 32
//!   lanes in a caller that carries `target_feature` vectorises.
//! - A NaN result is the canonical one: `0x7fff_ffff` (f32), `0x7fff` (f16, bf16), `0xfff8_0000_0000_0000` (f64).

pub mod approx;
pub mod bits;
pub mod cvt;
pub mod dot;
pub mod double;
pub mod fp8;
pub mod half;
pub mod mma;
mod operand;
pub mod round;
pub mod soft64;
pub mod wmma;

/// A well-mixed function of two words (SplitMix64's finisher), for seeded choices.
#[inline(always)]
pub(crate) fn hash(a: u64, b: u64) -> u64 {
    let mut z = a.wrapping_add(b.wrapping_mul(0x9e37_79b9_7f4a_7c15)).wrapping_add(0x9e37_79b9_7f4a_7c15);
    z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    z ^ (z >> 31)
}
