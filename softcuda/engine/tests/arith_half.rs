//! f16 and bf16: every pattern of the conversions against the `half` crate, arithmetic against exact integers.

mod oracle;

use oracle::{BF16, Direction, F16, F32, F64, Format, Random};
use softcuda_engine::arith::half::{self as arith, Bf16, F16 as ArithF16, Half, HalfMode};
use softcuda_engine::arith::round::{ExtremeMode, NAN32, Rounding};

const DIRECTIONS: [(Rounding, Direction); 4] = [
    (Rounding::Rn, Direction::Nearest),
    (Rounding::Rz, Direction::Zero),
    (Rounding::Rm, Direction::Down),
    (Rounding::Rp, Direction::Up),
];

#[test]
fn every_pattern_widens_as_the_half_crate_says() {
    for bits in 0..=u16::MAX {
        let (f16, bf16) = (half::f16::from_bits(bits), half::bf16::from_bits(bits));
        let expected = if f16.is_nan() { NAN32 } else { f16.to_f32_const().to_bits() };
        assert_eq!(arith::f16_to_f32(bits).to_bits(), expected, "f16 {bits:#06x}");
        let expected = if bf16.is_nan() { NAN32 } else { bf16.to_f32_const().to_bits() };
        assert_eq!(arith::bf16_to_f32(bits).to_bits(), expected, "bf16 {bits:#06x}");
    }
}

/// Every value of the format, every midpoint of neighbours, their f32 neighbours, and an even sweep of all f32.
fn inputs(widen: fn(u16) -> f32) -> Vec<f32> {
    let mut list = Vec::new();
    for bits in 0..=u16::MAX {
        let value = widen(bits);
        let next = widen(bits.wrapping_add(1));
        let middle = ((value as f64 + next as f64) / 2.0) as f32;
        for x in [value, middle] {
            for delta in -1i32..=1 {
                list.push(f32::from_bits((x.to_bits() as i32).wrapping_add(delta) as u32));
            }
        }
    }
    list.extend((0..=u32::MAX).step_by(2003).map(f32::from_bits));
    list
}

#[test]
fn f32_narrows_to_nearest_as_the_half_crate_says() {
    for x in inputs(|bits| half::f16::from_bits(bits).to_f32_const()) {
        let expected = if x.is_nan() { 0x7fff } else { half::f16::from_f32_const(x).to_bits() };
        assert_eq!(arith::f32_to_f16(x), expected, "f16 of {:#010x}", x.to_bits());
    }
    for x in inputs(|bits| half::bf16::from_bits(bits).to_f32_const()) {
        let expected = if x.is_nan() { 0x7fff } else { half::bf16::from_f32_const(x).to_bits() };
        assert_eq!(arith::f32_to_bf16(x), expected, "bf16 of {:#010x}", x.to_bits());
    }
}

fn narrows_in_every_direction<H: Half>(format: Format, widen: fn(u16) -> f32) {
    for x in inputs(widen).into_iter().step_by(3) {
        for (rounding, direction) in DIRECTIONS {
            let expected = if x.is_nan() {
                0x7fff
            } else if x.is_infinite() {
                H::INFINITY as u64 | (x.to_bits() >> 16 & 0x8000) as u64
            } else {
                let zero = (x.to_bits() >> 16 & 0x8000) as u64;
                format.round_or(&F32.value(x.to_bits() as u64), direction, zero)
            };
            assert_eq!(
                arith::from_f32::<H>(x, rounding) as u64,
                expected,
                "{format:?} {rounding:?} {:#x}",
                x.to_bits()
            );
        }
    }
    let mut random = Random(5);
    for _ in 0..40_000 {
        // f64 values close to those of the format, to meet double rounding.
        let base = widen(random.next() as u16) as f64;
        let x = f64::from_bits(base.to_bits().wrapping_add(random.next() >> (random.next() % 64)));
        if !x.is_finite() || x == 0.0 {
            continue;
        }
        for (rounding, direction) in DIRECTIONS {
            let expected = format.round(&F64.value(x.to_bits()), direction);
            assert_eq!(
                arith::from_f64::<H>(x, rounding) as u64,
                expected,
                "{format:?} {rounding:?} {:#x}",
                x.to_bits()
            );
        }
    }
}

#[test]
fn f16_narrows_in_every_direction() {
    narrows_in_every_direction::<ArithF16>(F16, |bits| half::f16::from_bits(bits).to_f32_const());
}

#[test]
fn bf16_narrows_in_every_direction() {
    narrows_in_every_direction::<Bf16>(BF16, |bits| half::bf16::from_bits(bits).to_f32_const());
}

/// One format's oracle: `a * b + c`, `a + b`, `a * b` with one rounding to nearest.
fn expected_fma(format: Format, a: u16, b: u16, c: u16) -> u16 {
    let sign_bit = format.sign_bit() as u16;
    let infinity = format.infinity() as u16;
    let magnitude = |x: u16| x & (sign_bit - 1);
    let product_sign = (a ^ b) & sign_bit;
    let nan = [a, b, c].iter().any(|&x| magnitude(x) > infinity)
        || (magnitude(a) == 0 && magnitude(b) == infinity)
        || (magnitude(a) == infinity && magnitude(b) == 0);
    let infinite_product = magnitude(a) == infinity || magnitude(b) == infinity;
    if nan || (infinite_product && magnitude(c) == infinity && product_sign != c & sign_bit) {
        return 0x7fff;
    }
    if infinite_product {
        return product_sign | infinity;
    }
    if magnitude(c) == infinity {
        return c;
    }
    let value = |x: u16| format.value(x as u64);
    let product = value(a).mul(&value(b));
    let zero = if product.is_zero() && magnitude(c) == 0 && product_sign == c & sign_bit { product_sign } else { 0 };
    format.round_or(&product.add(&value(c)), Direction::Nearest, zero as u64) as u16
}

fn arithmetic_rounds_once<H: Half>(format: Format, one: u16) {
    let plain = HalfMode::default();
    let mut random = Random(7);
    for case in 0..400_000 {
        let (a, b) = (random.pattern(format) as u16, random.pattern(format) as u16);
        let c = match case % 3 {
            // Cancels the product up to a few last places.
            0 => arith::neg::<H>(arith::mul::<H>(a, b, plain), false) ^ (random.next() & 3) as u16,
            _ => random.pattern(format) as u16,
        };
        let context = || format!("{format:?} {a:#06x} {b:#06x} {c:#06x}");
        assert_eq!(arith::fma::<H>(a, b, c, plain), expected_fma(format, a, b, c), "fma {}", context());
        assert_eq!(arith::add::<H>(a, c, plain), expected_fma(format, a, one, c), "add {}", context());
        assert_eq!(arith::sub::<H>(a, c, plain), expected_fma(format, a, one, c ^ 0x8000), "sub {}", context());
        let zero = (a ^ b) & 0x8000;
        assert_eq!(arith::mul::<H>(a, b, plain), expected_fma(format, a, b, zero), "mul {}", context());
    }
    // A product that lies just beside a tie of the sum: the case a second rounding gets wrong.
    for a in (0..=u16::MAX).step_by(7) {
        for c in [H::ONE, H::ONE + 1, H::MIN_NORMAL, 0x8001, H::INFINITY - 1] {
            for b in [1u16, H::MIN_NORMAL - 1, H::ONE + 1, 0x1401, 0x9402] {
                assert_eq!(arith::fma::<H>(a, b, c, plain), expected_fma(format, a, b, c), "fma {a:#x} {b:#x} {c:#x}");
            }
        }
    }
}

#[test]
fn f16_arithmetic_rounds_once() {
    arithmetic_rounds_once::<ArithF16>(F16, 0x3c00);
}

#[test]
fn bf16_arithmetic_rounds_once() {
    arithmetic_rounds_once::<Bf16>(BF16, 0x3f80);
}

#[test]
fn flush_saturate_and_relu_apply_to_f16_results() {
    let mut random = Random(9);
    let flush = |x: u16| if x & 0x7c00 == 0 { x & 0x8000 } else { x };
    for _ in 0..50_000 {
        let (a, b, c) = (random.pattern(F16) as u16, random.pattern(F16) as u16, random.pattern(F16) as u16);
        let plain = expected_fma(F16, a, b, c);
        let nan = plain & 0x7fff > 0x7c00;
        let saturated = if nan || plain & 0x8000 != 0 { 0 } else { plain.min(0x3c00) };
        let relu = if !nan && plain & 0x8000 != 0 { 0 } else { plain };
        let run = |mode| arith::fma::<ArithF16>(a, b, c, mode);
        assert_eq!(run(HalfMode { sat: true, ..Default::default() }), saturated, "sat {a:#x} {b:#x} {c:#x}");
        assert_eq!(run(HalfMode { relu: true, ..Default::default() }), relu, "relu {a:#x} {b:#x} {c:#x}");
        let flushed = flush(expected_fma(F16, flush(a), flush(b), flush(c)));
        assert_eq!(run(HalfMode { ftz: true, ..Default::default() }), flushed, "ftz {a:#x} {b:#x} {c:#x}");
    }
    assert_eq!(arith::abs::<ArithF16>(0x8001, true), 0);
    assert_eq!(arith::neg::<ArithF16>(0x0001, false), 0x8001);
    assert_eq!(
        arith::both2(0x3c00_4000, 0x3c00_3c00, |a, b| arith::add::<ArithF16>(a, b, HalfMode::default())),
        0x4000_4200
    );
}

#[test]
fn min_and_max_order_every_pair_of_a_sample() {
    let sample: Vec<u16> =
        (0..=u16::MAX).step_by(911).chain([0, 0x8000, 1, 0x8001, 0x7c00, 0xfc00, 0x7fff, 0xfe01]).collect();
    let value = |x: u16| half::f16::from_bits(x).to_f32();
    for &a in &sample {
        for &b in &sample {
            let (x, y) = (value(a), value(b));
            let zeros = x == 0.0 && y == 0.0;
            let a_below = x < y || (zeros && a == 0x8000);
            let (min, max) = match (x.is_nan(), y.is_nan()) {
                (true, true) => (0x7fff, 0x7fff),
                (true, false) => (b, b),
                (false, true) => (a, a),
                _ => (if a_below { a } else { b }, if a_below { b } else { a }),
            };
            // Equal values are equal patterns, zeros apart.
            let mode = ExtremeMode::default();
            assert_eq!(arith::extreme::<ArithF16, false>(a, b, mode), min, "min {a:#x} {b:#x}");
            assert_eq!(arith::extreme::<ArithF16, true>(a, b, mode), max, "max {a:#x} {b:#x}");
            let nan = ExtremeMode { nan: true, ..mode };
            let expected = if x.is_nan() || y.is_nan() { 0x7fff } else { max };
            assert_eq!(arith::extreme::<ArithF16, true>(a, b, nan), expected, "max.NaN {a:#x} {b:#x}");
        }
    }
}
