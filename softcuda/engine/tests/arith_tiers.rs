//! The same function compiled for AVX2, FMA and F16C and for the baseline processor gives the same bits, lane for lane.

#![cfg(target_arch = "x86_64")] // elsewhere there is one tier

mod oracle;

use oracle::{F16 as F16_PATTERNS, F32, Random};
use softcuda_engine::arith::approx;
use softcuda_engine::arith::bits::{self, PrmtMode};
use softcuda_engine::arith::cvt::{self, Int};
use softcuda_engine::arith::fp8::{E4m3, E5m2};
use softcuda_engine::arith::half::{self, Bf16, F16, HalfMode};
use softcuda_engine::arith::round::{self, ExtremeMode, FloatMode, Rounding};

/// A function of three registers, compiled twice: (name, baseline, AVX2).
type Tiers = (&'static str, fn(&[[u32; 32]; 3]) -> [u32; 32], unsafe fn(&[[u32; 32]; 3]) -> [u32; 32]);

macro_rules! tiers {
    ($($name:literal, |$a:ident, $b:ident, $c:ident| $body:expr;)*) => {
        vec![$({
            #[inline(always)]
            fn lanes(x: &[[u32; 32]; 3]) -> [u32; 32] {
                let mut out = [0; 32];
                for l in 0..32 {
                    let ($a, $b, $c) = (x[0][l], x[1][l], x[2][l]);
                    let _ = ($a, $b, $c);
                    out[l] = $body;
                }
                out
            }
            fn base(x: &[[u32; 32]; 3]) -> [u32; 32] {
                lanes(x)
            }
            #[cfg_attr(target_arch = "x86_64", target_feature(enable = "avx2,fma,f16c"))]
            fn avx2(x: &[[u32; 32]; 3]) -> [u32; 32] {
                lanes(x)
            }
            ($name, base as fn(&[[u32; 32]; 3]) -> [u32; 32], avx2 as unsafe fn(&[[u32; 32]; 3]) -> [u32; 32])
        }),*]
    };
}

fn f(bits: u32) -> f32 {
    f32::from_bits(bits)
}

fn functions() -> Vec<Tiers> {
    const RM: FloatMode = FloatMode { round: Rounding::Rm, ftz: false, sat: false };
    const RZ_FTZ_SAT: FloatMode = FloatMode { round: Rounding::Rz, ftz: true, sat: true };
    const PLAIN: HalfMode = HalfMode { ftz: false, sat: false, relu: false };
    const NAN: ExtremeMode = ExtremeMode { ftz: true, nan: true, xorsign: false };
    tiers! {
        "add.rn", |a, b, _c| round::add(f(a), f(b), FloatMode::RN).to_bits();
        "add.rm", |a, b, _c| round::add(f(a), f(b), RM).to_bits();
        "mul.rn.ftz", |a, b, _c| round::mul(f(a), f(b), FloatMode::RN_FTZ).to_bits();
        "fma.rn", |a, b, c| round::fma(f(a), f(b), f(c), FloatMode::RN).to_bits();
        "fma.rm", |a, b, c| round::fma(f(a), f(b), f(c), RM).to_bits();
        "fma.rz.ftz.sat", |a, b, c| round::fma(f(a), f(b), f(c), RZ_FTZ_SAT).to_bits();
        "div.rn", |a, b, _c| round::div(f(a), f(b), FloatMode::RN).to_bits();
        "sqrt.rm", |a, _b, _c| round::sqrt(f(a), RM).to_bits();
        "max.ftz.nan", |a, b, _c| round::max(f(a), f(b), NAN).to_bits();
        "fma.f64", |a, b, c| {
            let wide = |x: u32| f(x) as f64 * 1.000_000_1;
            (round::fma64(wide(a), wide(b), wide(c), FloatMode::RN).to_bits() >> 13) as u32
        };
        "fma.f16x2", |a, b, c| half::both3(a, b, c, |a, b, c| half::fma::<F16>(a, b, c, PLAIN));
        "add.f16x2", |a, b, _c| half::both2(a, b, |a, b| half::add::<F16>(a, b, PLAIN));
        "fma.bf16x2", |a, b, c| half::both3(a, b, c, |a, b, c| half::fma::<Bf16>(a, b, c, PLAIN));
        "cvt.f32.f16", |a, _b, _c| half::f16_to_f32(a as u16).to_bits();
        "cvt.rn.f16.f32", |a, _b, _c| half::f32_to_f16(f(a)) as u32;
        "cvt.rz.f16.f32", |a, _b, _c| half::from_f32::<F16>(f(a), Rounding::Rz) as u32;
        "cvt.rn.bf16x2.f32", |a, b, _c| cvt::pack_half::<Bf16>(f(a), f(b), Rounding::Rn, false, false);
        "cvt.e4m3x2.f32", |a, b, _c| cvt::pack_small::<E4m3>(f(a), f(b), false) as u32;
        "cvt.f16x2.e5m2x2", |a, _b, _c| cvt::small2_to_f16x2::<E5m2>(a as u16, false);
        "cvt.rni.s32.f32", |a, _b, _c| cvt::f32_to_int(f(a), Rounding::Rn, Int::S32) as u32;
        "cvt.rpi.u8.f32", |a, _b, _c| cvt::f32_to_int(f(a), Rounding::Rp, Int::U8) as u32;
        "cvt.rmi.f32.f32", |a, _b, _c| round::canonical(cvt::integral(f(a), Rounding::Rm)).to_bits();
        "cvt.rp.f32.u32", |a, _b, _c| cvt::int_to_f32(a as u64, Int::U32, Rounding::Rp).to_bits();
        "cvt.rn.f32.s32", |a, _b, _c| cvt::int_to_f32(a as u64, Int::S32, Rounding::Rn).to_bits();
        "ex2", |a, _b, _c| approx::ex2(f(a), true, None).to_bits();
        "ex2 near 0", |a, _b, _c| approx::ex2(f(a & 0xbfff_ffff), false, None).to_bits();
        "ex2 perturbed", |a, _b, _c| approx::ex2(f(a), true, Some(7)).to_bits();
        "lg2", |a, _b, _c| approx::lg2(f(a), false, None).to_bits();
        "sin", |a, _b, _c| approx::sin(f(a), false, None).to_bits();
        "cos", |a, _b, _c| approx::cos(f(a), false, None).to_bits();
        "tanh", |a, _b, _c| approx::tanh(f(a), None).to_bits();
        "rsqrt", |a, _b, _c| approx::rsqrt(f(a), false, None).to_bits();
        "rcp", |a, _b, _c| approx::rcp(f(a), false, None).to_bits();
        "prmt", |a, b, c| bits::prmt(a, b, c, PrmtMode::Index);
        "lop3", |a, b, c| bits::lop3(a, b, c, 0x6a);
        "bfe.s32", |a, b, c| bits::bfe_s32(a, b, c);
        "shf.r.clamp", |a, b, c| bits::shf_r_clamp(a, b, c & 63);
        "dp4a.s32.u32", |a, b, c| bits::dp4a::<true, false>(a, b, c);
        "bfind.s32", |a, _b, _c| bits::bfind_s32(a, true);
    }
}

#[test]
fn tiers_give_the_same_bits() {
    if !is_x86_feature_detected!("avx2") || !is_x86_feature_detected!("fma") || !is_x86_feature_detected!("f16c") {
        println!("this processor has one tier only: nothing to compare");
        return;
    }
    let mut random = Random(31);
    for round in 0..3000 {
        let registers: [[u32; 32]; 3] = core::array::from_fn(|_| {
            core::array::from_fn(|_| match round % 3 {
                0 => random.pattern(F32) as u32,
                1 => random.pattern(F16_PATTERNS) as u32 | (random.pattern(F16_PATTERNS) as u32) << 16,
                _ => random.next() as u32,
            })
        });
        for (name, base, avx2) in functions() {
            let expected = base(&registers);
            // SAFETY: the features that these functions carry were detected above.
            let got = unsafe { avx2(&registers) };
            for lane in 0..32 {
                let [a, b, c] = registers.map(|r| r[lane]);
                assert_eq!(got[lane], expected[lane], "{name} {a:#x} {b:#x} {c:#x}");
            }
        }
    }
}

#[test]
fn f16_by_the_processor_is_f16_by_hand() {
    if !is_x86_feature_detected!("avx2") || !is_x86_feature_detected!("f16c") {
        println!("this processor converts no f16: nothing to compare");
        return;
    }
    let bits = |parts: [[f32; 32]; 2]| parts.map(|part| part.map(f32::to_bits));
    // Every pattern in both halves; NaN payloads may differ in the bit that makes them quiet.
    let quiet =
        |bits: [[u32; 32]; 2]| bits.map(|b| b.map(|x| if f32::from_bits(x).is_nan() { x | 1 << 22 } else { x }));
    for first in (0..1 << 16).step_by(32) {
        let register: [u32; 32] = core::array::from_fn(|l| (first + l as u32) | (first + l as u32) << 16);
        // SAFETY: the features were detected above.
        let (fast, slow) = unsafe { (half::widen_lanes::<true>(&register), half::widen_lanes::<false>(&register)) };
        assert_eq!(quiet(bits(fast)), quiet(bits(slow)), "from {first:#x}");
    }
    let mut random = Random(5);
    for round in 0..20_000 {
        let values: [[f32; 32]; 2] = core::array::from_fn(|_| {
            core::array::from_fn(|_| {
                let near = half::f16_to_f32(random.pattern(F16_PATTERNS) as u16).to_bits();
                // Halves and what lies between them, ties among it; then anything.
                let between = ((random.next() as u32 % 4) << 12) | (random.next() as u32 % 2);
                f32::from_bits(if round % 2 == 0 { near.wrapping_add(between) } else { random.next() as u32 })
            })
        });
        // SAFETY: the features were detected above.
        let (fast, slow) = unsafe { (half::narrow_lanes::<true>(&values), half::narrow_lanes::<false>(&values)) };
        assert_eq!(fast, slow, "{values:?}");
    }
}
