//! The `.approx` instructions: correctly rounded by default, within the ISA's bound when perturbed, special values by the ISA's tables.
//!
//! Every `STRIDE`-th f32 is an input; `SOFTCUDA_EXHAUSTIVE=1` takes every one (minutes a function). The expected result is f64 of the host's
//! libm where an error of 2^-49 cannot change the rounding, else a series on big integers, which also checks a sample of all inputs.

mod oracle;

use num_bigint::BigInt;
use oracle::{Direction, Exact, F32, Random, functions};
use softcuda_engine::arith::approx::{self, Bound};
use softcuda_engine::arith::half::{self, Bf16, F16, Half};
use softcuda_engine::arith::round::NAN32;

/// Prime, so that the inputs fall differently in every binade.
const STRIDE: usize = 2003;

fn stride() -> usize {
    if std::env::var_os("SOFTCUDA_EXHAUSTIVE").is_some() { 1 } else { STRIDE }
}

/// A fixed-point value rounded to f32, after checking that its own error does not matter.
fn round_fixed(value: &BigInt) -> f32 {
    let slack = BigInt::from(1) << 64; // the series are right to far fewer units
    let round = |x: BigInt| {
        let exact = Exact { value: x, scale: -(functions::BITS as i64), sticky: true };
        f32::from_bits(F32.round(&exact, Direction::Nearest) as u32)
    };
    let (low, high) = (round(value - &slack), round(value + &slack));
    assert_eq!(low.to_bits(), high.to_bits(), "the oracle cannot decide");
    low
}

/// The correctly rounded result, from libm's f64 value or, if that is too close to a boundary, from the series.
fn expected(near: f64, series: impl Fn() -> BigInt) -> f32 {
    let error = near.abs() * 2f64.powi(-49);
    let (low, high) = ((near - error) as f32, (near + error) as f32);
    if low == high { low } else { round_fixed(&series()) }
}

struct Function {
    name: &'static str,
    run: fn(f32, Option<u64>) -> f32,
    libm: fn(f64) -> f64,
    series: fn(f64) -> BigInt,
    bound: fn(f32) -> Bound,
    /// Inputs for which the function is defined by more than its table of special values.
    domain: fn(f32) -> bool,
}

const FUNCTIONS: [Function; 6] = [
    Function {
        name: "ex2",
        run: |x, p| approx::ex2(x, false, p),
        libm: f64::exp2,
        series: functions::exp2,
        bound: |_| approx::EX2,
        domain: |x| x.abs() < 160.0 && x != 0.0,
    },
    Function {
        name: "lg2",
        run: |x, p| approx::lg2(x, false, p),
        libm: f64::log2,
        series: functions::log2,
        bound: |x| if x > 0.5 && x < 2.0 { approx::LG2_NEAR_1 } else { approx::LG2 },
        domain: |x| x > 0.0 && x.is_finite() && x != 1.0,
    },
    Function {
        name: "sin",
        run: |x, p| approx::sin(x, false, p),
        libm: f64::sin,
        series: |x| functions::sine(x, 0),
        bound: |_| approx::SIN_COS,
        domain: |x| x.is_finite() && x != 0.0,
    },
    Function {
        name: "cos",
        run: |x, p| approx::cos(x, false, p),
        libm: f64::cos,
        series: |x| functions::sine(x, 1),
        bound: |_| approx::SIN_COS,
        domain: |x| x.is_finite() && x != 0.0,
    },
    Function {
        name: "tanh",
        run: approx::tanh,
        libm: f64::tanh,
        series: functions::tanh,
        bound: |_| approx::TANH,
        domain: |x| x.is_finite() && x != 0.0 && x.abs() < 40.0,
    },
    Function {
        name: "rsqrt",
        run: |x, p| approx::rsqrt(x, false, p),
        libm: |x| 1.0 / x.sqrt(),
        series: functions::rsqrt,
        bound: |_| approx::RSQRT,
        domain: |x| x > 0.0 && x.is_finite(),
    },
];

/// Distances are taken in f64 from libm's value, which is right to 2^-52; the bounds are 2^-24 and coarser, hence the factor.
const LIBM: f64 = 1.0 + 1e-6;

fn check(function: &Function) {
    let mut moved = 0u64;
    let mut count = 0u64;
    for bits in (0..=u32::MAX).step_by(stride()) {
        let x = f32::from_bits(bits);
        if !(function.domain)(x) {
            continue;
        }
        let near = (function.libm)(x as f64);
        let want = expected(near, || (function.series)(x as f64));
        let got = (function.run)(x, None);
        assert_eq!(got.to_bits(), want.to_bits(), "{} {x:e} ({bits:#010x}): {got:e}, not {want:e}", function.name);

        let seed = bits as u64 % 7;
        let other = (function.run)(x, Some(seed));
        let allowed = (function.bound)(x).at(near) * LIBM;
        // A subnormal result stays the rounded one, whose half place may exceed a relative bound.
        let within = (other as f64 - near).abs() <= allowed || other == got;
        assert!(within, "{} {x:e}: perturbed {other:e} is more than {allowed:e} from {near:e}", function.name);
        assert_eq!(other.to_bits(), (function.run)(x, Some(seed)).to_bits(), "the same seed gives the same bits");
        moved += (other != got) as u64;
        count += 1;
    }
    assert!(count > 1000 && moved > count / 20, "{}: {moved} of {count} were moved", function.name);
    // The series decides a sample by itself, so that libm is not the only witness.
    let mut random = Random(21);
    let mut decided = 0;
    while decided < 300 {
        let x = f32::from_bits(random.pattern(F32) as u32);
        if (function.domain)(x) {
            let want = round_fixed(&(function.series)(x as f64));
            assert_eq!((function.run)(x, None).to_bits(), want.to_bits(), "{} {x:e} by series", function.name);
            decided += 1;
        }
    }
}

#[test]
fn ex2_is_correctly_rounded_or_within_2_ulp() {
    check(&FUNCTIONS[0]);
}

#[test]
fn ex2_of_a_whole_number_is_exact_also_when_perturbed() {
    for n in -126..128 {
        for seed in 0..20 {
            assert_eq!(approx::ex2(n as f32, true, Some(seed)), 2f32.powi(n), "2^{n}");
        }
    }
}

#[test]
fn lg2_is_correctly_rounded_or_within_its_bound() {
    check(&FUNCTIONS[1]);
}

#[test]
fn sin_is_correctly_rounded_or_within_its_bound() {
    check(&FUNCTIONS[2]);
}

#[test]
fn cos_is_correctly_rounded_or_within_its_bound() {
    check(&FUNCTIONS[3]);
}

#[test]
fn tanh_is_correctly_rounded_or_within_its_bound() {
    check(&FUNCTIONS[4]);
}

#[test]
fn rsqrt_is_correctly_rounded_or_within_its_bound() {
    check(&FUNCTIONS[5]);
}

#[test]
fn ex2_is_right_on_its_hardest_inputs() {
    // Every f32 whose power of two lies within a relative 2^-48 of the middle between two f32, found by a walk over all inputs.
    #[rustfmt::skip]
    let hardest: [u32; 39] = [
        0x33b8aa3b, 0x36879cf7, 0x37e338eb, 0x383ecb1d, 0x3a07857c, 0x3a0b4316, 0x3b429d37, 0x3b53aa14,
        0x3c02a9ad, 0x3d036455, 0x3dc9abe2, 0x3deb2f8e, 0x3f4746f3, 0xb338aa3a, 0xb338aa3b, 0xb338aa3c,
        0xb40a7fad, 0xb466d4cb, 0xb4a194f5, 0xb4fdea14, 0xb5160a52, 0xb52d1f9a, 0xb59bcfa6, 0xb63b8cf0,
        0xb873a3d9, 0xb8acad70, 0xb8bbd3a2, 0xb8d3d026, 0xb9b001b9, 0xba0f8aa5, 0xba869e61, 0xbae36f38,
        0xbaec2b40, 0xbcaf4d02, 0xbcf3a937, 0xbd723abf, 0xbe1f29de, 0xbe5e17c2, 0xbe62e434,
    ];
    for bits in hardest {
        let x = f32::from_bits(bits);
        assert_eq!(approx::ex2_rounded(x), round_fixed(&functions::exp2(x as f64)), "ex2 {x:e}");
    }
}

#[test]
fn hard_cases_are_decided_by_double_double() {
    // cos(2^-12) = 1 - 2^-25 + 2^-48/24: half a place below 1, and a little more.
    let x = 2f32.powi(-12);
    assert_eq!(approx::cos(x, false, None), 1.0);
    // Arguments at which the distance to a multiple of pi/2 is smallest, and the largest ones.
    for x in [16367173.0 * 2f32.powi(72), f32::MAX, 2f32.powi(127), core::f32::consts::PI, core::f32::consts::FRAC_PI_2]
    {
        for x in [x, -x] {
            assert_eq!(approx::sin(x, false, None), round_fixed(&functions::sine(x as f64, 0)), "sin {x:e}");
            assert_eq!(approx::cos(x, false, None), round_fixed(&functions::sine(x as f64, 1)), "cos {x:e}");
        }
    }
}

#[test]
fn quotients_and_roots_are_correctly_rounded_or_within_their_bounds() {
    let mut random = Random(22);
    let mut moved = 0;
    for case in 0..400_000u64 {
        let (a, b) = (f32::from_bits(random.pattern(F32) as u32), f32::from_bits(random.pattern(F32) as u32));
        let seed = Some(case % 5);
        let mut check = |name: &str, got: f32, perturbed: f32, want: f32, exact: f64, bound: Bound| {
            let want = if want.is_nan() { NAN32 } else { want.to_bits() };
            assert_eq!(got.to_bits(), want, "{name} {a:e} {b:e}");
            let within = (perturbed as f64 - exact).abs() <= bound.at(exact);
            assert!(
                within || perturbed.to_bits() == got.to_bits(),
                "{name} {a:e} {b:e}: {perturbed:e}, exact {exact:e}"
            );
            moved += (perturbed != got && !got.is_nan()) as u32;
        };
        // f32 division and square root of the host are correctly rounded.
        check("rcp", approx::rcp(a, false, None), approx::rcp(a, false, seed), 1.0 / a, 1.0 / a as f64, approx::RCP);
        check(
            "sqrt",
            approx::sqrt(a, false, None),
            approx::sqrt(a, false, seed),
            a.sqrt(),
            (a as f64).sqrt(),
            approx::SQRT,
        );
        let full = approx::div_full(a, b, false, None);
        check("div.full", full, approx::div_full(a, b, false, seed), a / b, a as f64 / b as f64, approx::DIV);
        let quick = approx::div(a, b, false, None);
        if b.abs() <= 2f32.powi(126) || b.is_infinite() || a.is_nan() || b.is_nan() {
            assert_eq!(quick.to_bits(), full.to_bits());
        } else if a.is_infinite() {
            assert_eq!(quick.to_bits(), NAN32);
        } else {
            assert_eq!(
                quick.to_bits(),
                (a.to_bits() ^ b.to_bits()) & 0x8000_0000,
                "div.approx of a huge divisor is zero"
            );
        }
    }
    assert!(moved > 100_000, "{moved}");
}

#[test]
fn special_values_follow_the_tables_even_when_perturbed() {
    const INF: f32 = f32::INFINITY;
    const NAN: f32 = f32::from_bits(NAN32);
    type Unary = fn(f32, bool, Option<u64>) -> f32;
    type Row = (&'static str, Unary, &'static [(f32, f32)]);
    let tanh: Unary = |x, _, p| approx::tanh(x, p);
    let table: [Row; 7] = [
        (
            "ex2",
            approx::ex2,
            &[(-INF, 0.0), (-0.0, 1.0), (0.0, 1.0), (INF, INF), (NAN, NAN), (128.0, INF), (-151.0, 0.0)],
        ),
        ("lg2", approx::lg2, &[(-INF, NAN), (-1.0, NAN), (-0.0, -INF), (0.0, -INF), (INF, INF), (NAN, NAN)]),
        ("rcp", approx::rcp, &[(-INF, -0.0), (-0.0, -INF), (0.0, INF), (INF, 0.0), (NAN, NAN)]),
        ("sqrt", approx::sqrt, &[(-INF, NAN), (-1.0, NAN), (-0.0, -0.0), (0.0, 0.0), (INF, INF), (NAN, NAN)]),
        ("rsqrt", approx::rsqrt, &[(-INF, NAN), (-1.0, NAN), (-0.0, -INF), (0.0, INF), (INF, 0.0), (NAN, NAN)]),
        ("sin", approx::sin, &[(-INF, NAN), (-0.0, -0.0), (0.0, 0.0), (INF, NAN), (NAN, NAN)]),
        ("tanh", tanh, &[(-INF, -1.0), (-0.0, -0.0), (0.0, 0.0), (INF, 1.0), (NAN, NAN)]),
    ];
    for (name, function, rows) in table {
        for &(x, y) in rows {
            for perturb in [None, Some(1), Some(2)] {
                assert_eq!(function(x, false, perturb).to_bits(), y.to_bits(), "{name} {x} {perturb:?}");
            }
        }
    }
    for (x, y) in [(0.0, 1.0), (-0.0, 1.0), (INF, NAN), (NAN, NAN)] {
        assert_eq!(approx::cos(x, false, Some(3)).to_bits(), f32::to_bits(y), "cos {x}");
    }
}

#[test]
fn flush_to_zero_takes_subnormal_inputs_and_results() {
    let tiny = f32::from_bits(0x0000_4000);
    assert_eq!(approx::ex2(-130.0, true, None).to_bits(), 0);
    assert_eq!(approx::ex2(-130.0, false, None), 2f32.powi(-130));
    assert_eq!(approx::rcp(tiny, true, None), f32::INFINITY);
    assert_eq!(approx::rcp(-2f32.powi(127), true, None).to_bits(), 0x8000_0000);
    assert_eq!(approx::rsqrt(-tiny, true, None), f32::NEG_INFINITY);
    assert_eq!(approx::lg2(tiny, true, None), f32::NEG_INFINITY);
    assert_eq!(approx::lg2(2f32.powi(-140), false, None), -140.0);
    assert_eq!(approx::sqrt(-tiny, true, None).to_bits(), 0x8000_0000);
    assert_eq!(approx::sin(-tiny, true, None).to_bits(), 0x8000_0000);
    assert_eq!(approx::div(tiny, 1.0, true, None).to_bits(), 0);
}

/// Every input of a half function: correctly rounded, and within the bound for two seeds.
fn check_half<H: Half>(run: impl Fn(u16, Option<u64>) -> u16, libm: fn(f64) -> f64, bound: Bound) {
    let mut moved = 0;
    for bits in 0..=u16::MAX {
        let x = H::widen(bits) as f64;
        let near = libm(x);
        let got = run(bits, None);
        if x.is_nan() {
            assert_eq!(got, H::NAN);
            continue;
        }
        // libm's error cannot matter where rounding its two neighbours gives the same half; there is no input where it does.
        let round = |y: f64| half::from_f64::<H>(y, softcuda_engine::arith::round::Rounding::Rn);
        // Powers of two, zero and infinity are exact; ties among them are real ties.
        let exact = near.to_bits() << 12 == 0;
        let error = near.abs() * 2f64.powi(-49);
        assert!(exact || round(near - error) == round(near + error), "the oracle cannot decide {bits:#06x}");
        assert_eq!(got, round(near), "{bits:#06x}");
        for seed in [1, 2] {
            let other = run(bits, Some(seed));
            let within = (H::widen(other) as f64 - near).abs() <= bound.at(near) * LIBM;
            assert!(within || other == got, "{bits:#06x} perturbed to {other:#06x}");
            moved += (other != got) as u32;
        }
    }
    assert!(moved > 1000, "{moved}");
}

#[test]
fn half_forms_are_right_on_every_input() {
    check_half::<F16>(|x, p| approx::ex2_half::<F16>(x, false, approx::EX2_F16, p), f64::exp2, approx::EX2_F16);
    check_half::<F16>(|x, p| approx::tanh_half::<F16>(x, approx::TANH_F16, p), f64::tanh, approx::TANH_F16);
    check_half::<Bf16>(|x, p| approx::tanh_half::<Bf16>(x, approx::TANH_BF16, p), f64::tanh, approx::TANH_BF16);
    check_half::<Bf16>(|x, p| approx::ex2_half::<Bf16>(x, false, approx::EX2_BF16, p), f64::exp2, approx::EX2_BF16);
    // .ftz: subnormal results vanish, subnormal inputs count as zero.
    assert_eq!(approx::ex2_half::<Bf16>(half::f32_to_bf16(-130.0), true, approx::EX2_BF16, None), 0);
    assert_eq!(approx::ex2_half::<F16>(0x0001, true, approx::EX2_F16, Some(1)), F16::ONE);
}

#[test]
fn f64_approximations_keep_the_upper_word() {
    for x in [1.0, -3.0, 1.5e300, 7e-300, 0.1] {
        let (rcp, rsqrt) = (approx::rcp64(x), approx::rsqrt64(x.abs()));
        // 20 fraction bits of input and output: 2^-20 from each.
        assert!((rcp * x - 1.0).abs() < 2f64.powi(-18), "{x}");
        assert!((rsqrt * rsqrt * x.abs() - 1.0).abs() < 2f64.powi(-17), "{x}");
        assert_eq!((rcp.to_bits() as u32, rsqrt.to_bits() as u32), (0, 0));
    }
    assert_eq!(approx::rcp64(-1e-310), f64::NEG_INFINITY);
    assert_eq!(approx::rcp64(f64::INFINITY).to_bits(), 0);
    assert_eq!(approx::rsqrt64(-0.0), f64::NEG_INFINITY);
    assert!(approx::rsqrt64(-1.0).is_nan());
}
