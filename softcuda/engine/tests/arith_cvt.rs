//! Conversions between integers and floats against exact arithmetic, saturation, NaN, integral rounding, tf32 and packing.

mod oracle;

use num_bigint::BigInt;
use oracle::{BF16, Direction, Exact, F16, F32, F64, Format, Random};
use softcuda_engine::arith::cvt::{self, Int, Tf32Rounding};
use softcuda_engine::arith::half::{Bf16, F16 as ArithF16};
use softcuda_engine::arith::round::{NAN32, Rounding};

const DIRECTIONS: [(Rounding, Direction); 4] = [
    (Rounding::Rn, Direction::Nearest),
    (Rounding::Rz, Direction::Zero),
    (Rounding::Rm, Direction::Down),
    (Rounding::Rp, Direction::Up),
];

const INTS: [Int; 8] = [Int::S8, Int::S16, Int::S32, Int::S64, Int::U8, Int::U16, Int::U32, Int::U64];

/// The value of the low bits of `x` as the type reads them.
fn value(x: u64, int: Int) -> i128 {
    let low = x as u128 % (1u128 << int.bits);
    if int.signed && low >> (int.bits - 1) == 1 { low as i128 - (1i128 << int.bits) } else { low as i128 }
}

fn range(int: Int) -> (i128, i128) {
    if int.signed { (-(1i128 << (int.bits - 1)), (1i128 << (int.bits - 1)) - 1) } else { (0, (1i128 << int.bits) - 1) }
}

fn integers() -> Vec<u64> {
    let mut random = Random(1);
    let mut list: Vec<u64> = (0..4000).map(|_| random.next() >> (random.next() % 64)).collect();
    list.extend((0..4000).map(|_| !(random.next() >> (random.next() % 64))));
    for bit in 0..64 {
        list.extend([1u64 << bit, (1u64 << bit) - 1, (1u64 << bit) + 1, !(1u64 << bit), (1u64 << bit).wrapping_neg()]);
        // Ties and their neighbours of a 24- and a 53-bit mantissa.
        for offset in [0u64, 1, u64::MAX] {
            list.push(((1u64 << 63 | 1 << 39) >> (63 - bit)).wrapping_add(offset));
            list.push(((1u64 << 63 | 1 << 10) >> (63 - bit)).wrapping_add(offset));
        }
    }
    list
}

#[test]
fn integers_truncate_extend_and_saturate() {
    for x in integers() {
        for from in INTS {
            for to in INTS {
                let v = value(x, from);
                let wrapped = value(v as u64, to);
                assert_eq!(cvt::int_to_int(x, from, to, false) as i64, wrapped as i64, "{x:#x} {from:?} {to:?}");
                let (min, max) = range(to);
                let clamped = v.clamp(min, max);
                assert_eq!(cvt::int_to_int(x, from, to, true) as i64, clamped as i64, "sat {x:#x} {from:?} {to:?}");
            }
        }
    }
}

#[test]
fn integers_round_to_floats_once() {
    for x in integers() {
        for from in INTS {
            let exact = Exact { value: BigInt::from(value(x, from)), scale: 0, sticky: false };
            for (rounding, direction) in DIRECTIONS {
                let expect = |format: Format| format.round_or(&exact, direction, 0);
                let context = || format!("{x:#x} {from:?} {rounding:?}");
                assert_eq!(cvt::int_to_f32(x, from, rounding).to_bits() as u64, expect(F32), "f32 {}", context());
                assert_eq!(cvt::int_to_f64(x, from, rounding).to_bits(), expect(F64), "f64 {}", context());
                assert_eq!(cvt::int_to_half::<ArithF16>(x, from, rounding) as u64, expect(F16), "f16 {}", context());
                assert_eq!(cvt::int_to_half::<Bf16>(x, from, rounding) as u64, expect(BF16), "bf16 {}", context());
            }
        }
    }
}

/// The integer next to `x` in the direction, by exact arithmetic.
fn integer(x: &Exact, direction: Direction) -> BigInt {
    if x.scale >= 0 {
        return &x.value << x.scale as u64;
    }
    let unit = BigInt::from(1) << (-x.scale) as u64;
    let floor = {
        let quotient = &x.value / &unit; // toward zero
        if &quotient * &unit > x.value { quotient - 1 } else { quotient }
    };
    let rest: BigInt = &x.value - &floor * &unit; // 0 <= rest < unit
    let zero = BigInt::from(0);
    let twice: BigInt = &rest * 2;
    let odd = &floor % 2 != zero;
    let up = match direction {
        Direction::Nearest => twice > unit || (twice == unit && odd),
        Direction::Zero => rest != zero && x.value < zero,
        Direction::Down => false,
        Direction::Up => rest != zero,
    };
    if up { floor + 1 } else { floor }
}

#[test]
fn floats_round_to_integers_and_saturate() {
    let mut random = Random(2);
    for case in 0..30_000u64 {
        // Half the cases around integers and halves of any size.
        let x64 = if case % 2 == 0 {
            let whole = (random.next() >> (random.next() % 64)) as i64 as f64;
            let near = whole + [0.0, 0.5, -0.5, 0.25][(case / 2 % 4) as usize];
            f64::from_bits(near.to_bits().wrapping_add(random.next() % 3).wrapping_sub(1))
        } else {
            f64::from_bits(random.pattern(F64))
        };
        let x32 = if case % 4 == 1 { f32::from_bits(random.pattern(F32) as u32) } else { x64 as f32 };
        for to in INTS {
            let (min, max) = range(to);
            for (rounding, direction) in DIRECTIONS {
                let expect = |x: f64, nan: i128| -> i64 {
                    let clamped = if x.is_nan() {
                        nan
                    } else if x.is_infinite() {
                        if x > 0.0 { max } else { min }
                    } else {
                        let exact = integer(&F64.value(x.to_bits()), direction);
                        i128::try_from(exact.clamp(min.into(), max.into())).unwrap()
                    };
                    clamped as i64
                };
                // The ISA's rule for NaN: the highest bit for f64 sources and 64-bit targets, else 0.
                let high_bit = value(1 << (to.bits - 1), to);
                let context = || format!("{x64:e} {x32:e} {to:?} {rounding:?}");
                assert_eq!(cvt::f64_to_int(x64, rounding, to) as i64, expect(x64, high_bit), "f64 {}", context());
                let nan = if to.bits == 64 { high_bit } else { 0 };
                assert_eq!(cvt::f32_to_int(x32, rounding, to) as i64, expect(x32 as f64, nan), "f32 {}", context());
            }
        }
        for (rounding, direction) in DIRECTIONS {
            if x32.is_finite() {
                let exact = integer(&F32.value(x32.to_bits() as u64), direction);
                let sign = x32.to_bits() as u64 & 0x8000_0000;
                let exact = Exact { value: exact, scale: 0, sticky: false };
                let expected = F32.round_or(&exact, Direction::Nearest, sign);
                assert_eq!(cvt::integral(x32, rounding).to_bits() as u64, expected, "integral {rounding:?} {x32:e}");
            }
            if x64.is_finite() {
                let exact = integer(&F64.value(x64.to_bits()), direction);
                let sign = x64.to_bits() & 1 << 63;
                let exact = Exact { value: exact, scale: 0, sticky: false };
                let expected = F64.round_or(&exact, Direction::Nearest, sign);
                assert_eq!(cvt::integral64(x64, rounding).to_bits(), expected, "integral64 {rounding:?} {x64:e}");
            }
        }
    }
    assert_eq!(cvt::integral(f32::INFINITY, Rounding::Rm), f32::INFINITY);
    assert!(cvt::integral(f32::NAN, Rounding::Rn).is_nan());
}

#[test]
fn f64_narrows_to_f32_in_every_direction() {
    let mut random = Random(3);
    for case in 0..60_000 {
        let base = f32::from_bits(random.pattern(F32) as u32) as f64;
        let x = match case % 2 {
            0 => f64::from_bits(base.to_bits().wrapping_add(random.next() >> (random.next() % 64))),
            _ => f64::from_bits(random.pattern(F64)),
        };
        for (rounding, direction) in DIRECTIONS {
            let sign = (x.to_bits() >> 32 & 0x8000_0000) as u32;
            let expected = if x.is_nan() {
                NAN32
            } else if x.is_infinite() {
                sign | 0x7f80_0000
            } else {
                F32.round_or(&F64.value(x.to_bits()), direction, sign as u64) as u32
            };
            assert_eq!(cvt::f64_to_f32(x, rounding, false).to_bits(), expected, "{rounding:?} {x:e}");
            let flushed = if expected & 0x7f80_0000 == 0 { sign } else { expected };
            assert_eq!(cvt::f64_to_f32(x, rounding, true).to_bits(), flushed, "ftz {rounding:?} {x:e}");
        }
    }
    assert_eq!(cvt::f32_to_f64(-1e-40, true).to_bits(), 1 << 63);
    assert_eq!(cvt::f32_to_f64(-1e-40, false), -1e-40f32 as f64);
}

#[test]
fn packing_relu_and_satfinite() {
    let pack = |a, b, relu, satfinite| cvt::pack_half::<ArithF16>(a, b, Rounding::Rn, relu, satfinite);
    assert_eq!(pack(1.0, -2.0, false, false), 0x3c00_c000, "the first operand is the upper half");
    assert_eq!(pack(-1.0, -0.0, true, false), 0x0000_0000);
    assert_eq!(pack(f32::NAN, 1e9, true, false), 0x7fff_7c00);
    assert_eq!(pack(-1e9, 1e9, false, true), 0xfbff_7bff);
    assert_eq!(pack(f32::NEG_INFINITY, f32::NAN, false, true), 0xfbff_7fff);
    assert_eq!(cvt::pack_half::<Bf16>(1.0, -2.0, Rounding::Rz, false, false), 0x3f80_c000);
    assert_eq!(cvt::f32_to_half::<Bf16>(f32::MAX, Rounding::Rn, false, true), 0x7f7f);
    assert_eq!(cvt::f32_to_half::<Bf16>(f32::MAX, Rounding::Rn, false, false), 0x7f80);
    assert_eq!(cvt::f32_to_half::<Bf16>(f32::MAX, Rounding::Rz, false, false), 0x7f7f);
}

#[test]
fn tf32_keeps_ten_fraction_bits() {
    let mut random = Random(4);
    for _ in 0..50_000 {
        let x = f32::from_bits(random.pattern(F32) as u32);
        if !x.is_finite() {
            continue;
        }
        // The two tf32 neighbours by magnitude and the exact distances to them.
        let low = f32::from_bits(x.to_bits() & !0x1fff).abs() as f64;
        let high_bits = (x.to_bits() & 0x7fff_ffff & !0x1fff) + 0x2000;
        let high = if high_bits == 0x7f80_0000 { 2f64.powi(128) } else { f32::from_bits(high_bits) as f64 };
        let (below, above) = (x.abs() as f64 - low, high - x.abs() as f64);
        let odd = x.to_bits() >> 13 & 1 == 1;
        let pick = |up: bool| {
            let magnitude = if up { high_bits } else { high_bits - 0x2000 };
            magnitude | x.to_bits() & 0x8000_0000
        };
        let run = |round| cvt::f32_to_tf32(x, round, false, false);
        assert_eq!(run(Tf32Rounding::Rna), pick(below >= above), "rna {x:e}");
        assert_eq!(run(Tf32Rounding::Rn), pick(below > above || (below == above && odd)), "rn {x:e}");
        assert_eq!(run(Tf32Rounding::Rz), pick(false), "rz {x:e}");
    }
    assert_eq!(cvt::f32_to_tf32(f32::NAN, Tf32Rounding::Rna, true, true), NAN32);
    assert_eq!(cvt::f32_to_tf32(f32::INFINITY, Tf32Rounding::Rna, false, true), 0x7f7f_e000);
    assert_eq!(cvt::f32_to_tf32(-3.0, Tf32Rounding::Rn, true, false), 0);
}
