//! f32 and f64. Nearest rounding is the host's own arithmetic, the directions are those of exact integers.

use super::{Case, Random, Want, case};
use crate::oracle::{self, Direction, Exact, Format};
use Want::{F32, F64, Long, Word};

const NAN: u32 = 0x7fff_ffff;
const NAN64: u64 = 0xfff8_0000_0000_0000;

/// f32 patterns, many of them special or near one another.
fn floats(words: usize) -> Vec<u32> {
    let mut random = oracle::Random(3);
    (0..words).map(|_| random.pattern(oracle::F32) as u32).collect()
}

/// f64 patterns, the upper word first.
fn doubles(words: usize) -> Vec<u32> {
    let mut random = oracle::Random(5);
    (0..words / 2).map(|_| random.pattern(oracle::F64)).flat_map(|b| [(b >> 32) as u32, b as u32]).collect()
}

/// Numbers that conversions find interesting: of every magnitude, with and without fractions.
fn mixed(words: usize) -> Vec<u32> {
    let mut random = Random(17);
    let number = |r: u64| {
        let unit = (r >> 20) as f64 / (1u64 << 44) as f64 - 0.5;
        unit * 2f64.powi((r & 63) as i32 + 3) + if r >> 6 & 3 == 0 { 0.5 } else { 0.0 }
    };
    let quad = |r: u64, s: u64| {
        let (x, y) = ((number(r) as f32).to_bits(), number(s).to_bits());
        let y = if s >> 8 & 7 == 0 { (number(s).round() + 0.5).to_bits() } else { y };
        [x, r as u32, (y >> 32) as u32, y as u32]
    };
    (0..words / 4).flat_map(|_| quad(random.next(), random.next())).collect()
}

/// A pattern as registers hold it: one NaN.
fn f(x: f32) -> Want {
    Word(if x.is_nan() { NAN } else { x.to_bits() })
}

fn d(x: f64) -> Want {
    Long(if x.is_nan() { NAN64 } else { x.to_bits() })
}

/// The exact result in a direction; anything where an operand is not finite or the result is zero or needs other rules.
fn directed(format: Format, operands: &[u64], direction: Direction, exact: impl Fn(&[Exact]) -> Option<Exact>) -> Want {
    let finite = |b: &u64| b & (format.sign_bit() - 1) < format.infinity();
    if !operands.iter().all(finite) {
        return Want::Any;
    }
    let values: Vec<Exact> = operands.iter().map(|b| format.value(*b)).collect();
    match exact(&values) {
        Some(x) if !x.is_zero() || x.sticky => {
            let bits = format.round(&x, direction);
            if format.fraction == 23 { Word(bits as u32) } else { Long(bits) }
        }
        _ => Want::Any,
    }
}

/// [`directed`] for f64, where "anything" is two words.
fn directed64(operands: &[u64], direction: Direction, exact: impl Fn(&[Exact]) -> Option<Exact>) -> Vec<Want> {
    match directed(oracle::F64, operands, direction, exact) {
        Want::Any => vec![Want::Any, Want::Any],
        want => vec![want],
    }
}

fn minimum(x: f32, y: f32) -> Want {
    match (x.is_nan(), y.is_nan()) {
        (true, true) => Word(NAN),
        (true, _) => f(y),
        (_, true) => f(x),
        _ if x == y => Word(x.to_bits() | y.to_bits()),
        _ => f(x.min(y)),
    }
}

fn maximum(x: f32, y: f32) -> Want {
    match (x.is_nan(), y.is_nan()) {
        (true, true) => Word(NAN),
        (true, _) => f(y),
        (_, true) => f(x),
        _ if x == y => Word(x.to_bits() & y.to_bits()),
        _ => f(x.max(y)),
    }
}

fn quotient(v: &[Exact]) -> Option<Exact> {
    (!v[1].is_zero()).then(|| v[0].div(&v[1]))
}

/// A float to an integer in `low..=high` as `cvt` clamps it; NaN is 0 in 32 bits, and the top bit alone in 64.
fn integer(x: f64, low: i128, high: i128, nan: i128) -> i128 {
    if x.is_nan() { nan } else { (x as i128).clamp(low, high) }
}

pub fn cases() -> Vec<Case> {
    vec![
        case("float_ops", 20, floats, |input, i| {
            let [a, b, c, _] = input.of(i);
            let [x, y, z] = [a, b, c].map(f32::from_bits);
            let [p, q, r] = [a, b, c].map(u64::from);
            let f32_in = |operands: &[u64], direction, exact: &dyn Fn(&[Exact]) -> Option<Exact>| {
                directed(oracle::F32, operands, direction, exact)
            };
            let sum = |v: &[Exact]| Some(v[0].add(&v[1]));
            let flags = u32::from(x < y)
                | u32::from(x <= y) << 1
                | u32::from(x == y) << 2
                | u32::from(x != y) << 3
                | u32::from(!(x < y)) << 4
                | u32::from(!(x >= y)) << 5
                | u32::from(x.is_nan()) << 6
                | u32::from(x.is_infinite()) << 7
                | (b >> 31) << 8
                | u32::from(x > z) << 9;
            let difference = x - y;
            vec![
                f(x + y),
                f(x * y - z),
                f(x / y),
                f(x.mul_add(y, z)),
                f(x.sqrt()),
                f(1.0 / x),
                f32_in(&[p, q], Direction::Zero, &sum),
                f32_in(&[p, q], Direction::Up, &sum),
                f32_in(&[p, q], Direction::Down, &|v| Some(v[0].mul(&v[1]))),
                f32_in(&[p, q, r], Direction::Zero, &|v| Some(v[0].mul(&v[1]).add(&v[2]))),
                f32_in(&[p, q], Direction::Down, &quotient),
                f32_in(&[p], Direction::Up, &|v| (a >> 31 == 0).then(|| v[0].sqrt())),
                f32_in(&[u64::from(1f32.to_bits()), p], Direction::Zero, &quotient),
                minimum(x, y),
                maximum(x, y),
                Word(a & 0x7fff_ffff | b & 0x8000_0000),
                f(x.abs() - -y),
                f(if x.is_nan() { 0.0 } else { x.clamp(0.0, 1.0) + 0.0 }),
                f(if difference.is_nan() || x > y { difference } else { 0.0 }),
                Word(flags),
            ]
        }),
        case("double_ops", 26, doubles, |input, i| {
            let [a, b, c, e] = input.of(i);
            let (p, q) = (u64::from(a) << 32 | u64::from(b), u64::from(c) << 32 | u64::from(e));
            let (x, y) = (f64::from_bits(p), f64::from_bits(q));
            let least = match (x.is_nan(), y.is_nan()) {
                (true, true) => Long(NAN64),
                (true, _) => d(y),
                (_, true) => d(x),
                _ if x == y => Long(p | q),
                _ => d(x.min(y)),
            };
            let flags = u32::from(x < y)
                | u32::from(x <= y) << 1
                | u32::from(x == y) << 2
                | u32::from(x != y) << 3
                | u32::from(!(x < y)) << 4
                | u32::from(!(x >= y)) << 5
                | u32::from(x.is_nan()) << 6
                | u32::from(x.is_infinite()) << 7;
            let mut want = vec![d(x + y), d(x * y), d(x / y), d(x.mul_add(y, x)), d(x.sqrt()), d(1.0 / y)];
            want.extend(directed64(&[p, q], Direction::Zero, |v| Some(v[0].add(&v[1]))));
            want.extend(directed64(&[p, q], Direction::Up, |v| Some(v[0].mul(&v[1]))));
            want.extend(directed64(&[p, q], Direction::Down, quotient));
            want.extend(directed64(&[p, q], Direction::Zero, |v| Some(v[0].mul(&v[1]).add(&v[1]))));
            want.extend([least, d(x.abs() - y), Word(flags), f(x as f32)]);
            want
        }),
        case("roundings", 14, mixed, |input, i| {
            let [a, _, c, e] = input.of(i);
            let (x, y) = (f32::from_bits(a), f64::from_bits(u64::from(c) << 32 | u64::from(e)));
            vec![
                f(x.round_ties_even()),
                f(x.floor()),
                f(x.ceil()),
                f(x.trunc()),
                f(x.round()),
                d(y.round_ties_even()),
                d(y.floor()),
                d(y.trunc()),
                d(y.round()),
                f(x - x.trunc()),
            ]
        }),
        case("conversions", 34, mixed, |input, i| {
            let [a, b, c, e] = input.of(i);
            let (x, y) = (f32::from_bits(a), f64::from_bits(u64::from(c) << 32 | u64::from(e)));
            let (wide, long) = (f64::from(x), u64::from(a) << 32 | u64::from(b));
            let (s32, u32s) = ((i128::from(i32::MIN), i128::from(i32::MAX)), (0, i128::from(u32::MAX)));
            let (s64, u64s) = ((i128::from(i64::MIN), i128::from(i64::MAX)), (0, i128::from(u64::MAX)));
            let top = i128::from(i64::MIN);
            let exactly = |v: i128| Exact { value: v.into(), scale: 0, sticky: false };
            let rounded = |v: i128, format: Format, direction| {
                if v == 0 { 0 } else { format.round(&exactly(v), direction) }
            };
            vec![
                Word(integer(wide.trunc(), s32.0, s32.1, 0) as u32),
                Word(integer(wide.round_ties_even(), u32s.0, u32s.1, 0) as u32),
                Long(integer(wide.floor(), s64.0, s64.1, top) as u64),
                Long(integer(wide.ceil(), u64s.0, u64s.1, top) as u64),
                Word(integer(y.round_ties_even(), s32.0, s32.1, 0) as u32),
                Word(integer(y.trunc(), u32s.0, u32s.1, 0) as u32),
                Long(integer(y.trunc(), s64.0, s64.1, top) as u64),
                Long(integer(y.floor(), u64s.0, u64s.1, top) as u64),
                f(a as i32 as f32),
                Word(rounded(i128::from(a as i32), oracle::F32, Direction::Zero) as u32),
                Word(rounded(i128::from(a), oracle::F32, Direction::Up) as u32),
                f(long as i64 as f32),
                Word(rounded(i128::from(long), oracle::F32, Direction::Down) as u32),
                d(f64::from(a as i32)),
                d(long as i64 as f64),
                Long(rounded(i128::from(long), oracle::F64, Direction::Zero)),
                d(wide),
                Word(narrowed(y, Direction::Zero)),
                Word(narrowed(y, Direction::Up)),
                f(f32::from(a as i8) + f32::from(b as u16)),
                Word(integer(wide.round_ties_even(), s64.0, s64.1, top) as u32),
                Long(integer(y.round_ties_even(), s64.0, s64.1, top) as u64),
                Word(x.clamp(0.0, 255.0) as u32),
                d(f64::from(a)),
            ]
        }),
        case("parts", 11, floats, |input, i| {
            let [a, b, c, e] = input.of(i);
            let (x, y) = (f32::from_bits(a), f32::from_bits(b));
            let z = f64::from_bits(u64::from(c) << 32 | u64::from(e));
            let plain = x.is_finite() && x != 0.0;
            let (fraction, exponent) = libm::frexpf(x);
            let (fraction64, exponent64) = libm::frexp(z);
            let (rest, whole) = libm::modff(x);
            let power = (b % 300) as i32 - 150;
            vec![
                F32(f64::from(fraction), 0.0),
                Word(if plain { exponent as u32 } else { 0 }),
                f(libm::scalbnf(x, power)),
                if y != 0.0 && !y.is_nan() && x.is_finite() { F32(f64::from(x % y), 0.0) } else { Want::Any },
                F32(f64::from(libm::nextafterf(x, y)), 0.0),
                if x.is_finite() { F32(f64::from(rest), 0.0) } else { Want::Any },
                F32(f64::from(whole), 0.0),
                F64(fraction64, 0.0),
                Word(if z.is_finite() && z != 0.0 { exponent64 as u32 } else { 0 }),
                Word(if plain { libm::ilogbf(x) as u32 } else { 0 }),
            ]
        }),
    ]
}

/// An f64 to f32 in a direction.
fn narrowed(y: f64, direction: Direction) -> u32 {
    if y == 0.0 { (y as f32).to_bits() } else { oracle::F32.round(&oracle::F64.value(y.to_bits()), direction) as u32 }
}
