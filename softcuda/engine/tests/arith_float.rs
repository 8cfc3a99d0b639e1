//! f32 and f64 arithmetic against exact integers: every operation, rounding and special value; flush to zero, saturation, NaN.

mod oracle;

use oracle::{Direction, Exact, F32, F64, Format, Random};
use softcuda_engine::arith::round::{self, ExtremeMode, FloatMode, NAN32, NAN64, Property, Rounding};

const DIRECTIONS: [(Rounding, Direction); 4] = [
    (Rounding::Rn, Direction::Nearest),
    (Rounding::Rz, Direction::Zero),
    (Rounding::Rm, Direction::Down),
    (Rounding::Rp, Direction::Up),
];

/// The operands' classes decide NaN, infinity and the sign of zero; everything else is exact arithmetic.
struct Oracle {
    format: Format,
    nan: u64,
}

const ORACLE32: Oracle = Oracle { format: F32, nan: NAN32 as u64 };
const ORACLE64: Oracle = Oracle { format: F64, nan: NAN64 };

impl Oracle {
    fn magnitude(&self, x: u64) -> u64 {
        x & (self.format.sign_bit() - 1)
    }
    fn is_nan(&self, x: u64) -> bool {
        self.magnitude(x) > self.format.infinity()
    }
    fn is_infinite(&self, x: u64) -> bool {
        self.magnitude(x) == self.format.infinity()
    }
    fn is_zero(&self, x: u64) -> bool {
        self.magnitude(x) == 0
    }
    fn sign(&self, x: u64) -> u64 {
        x & self.format.sign_bit()
    }

    /// `p + c` where p is an exact product or value with its class given.
    fn sum(&self, p: &Exact, p_sign: u64, p_infinite: bool, c: u64, direction: Direction) -> u64 {
        if p_infinite || self.is_infinite(c) {
            let opposed = p_infinite && self.is_infinite(c) && p_sign != self.sign(c);
            return if opposed {
                self.nan
            } else if p_infinite {
                p_sign | self.format.infinity()
            } else {
                c
            };
        }
        let zero = if p.is_zero() && self.is_zero(c) && p_sign == self.sign(c) {
            p_sign
        } else if direction == Direction::Down {
            self.format.sign_bit()
        } else {
            0
        };
        self.format.round_or(&p.add(&self.format.value(c)), direction, zero)
    }

    fn fma(&self, a: u64, b: u64, c: u64, direction: Direction) -> u64 {
        let invalid = (self.is_zero(a) && self.is_infinite(b)) || (self.is_infinite(a) && self.is_zero(b));
        if [a, b, c].iter().any(|&x| self.is_nan(x)) || invalid {
            return self.nan;
        }
        let sign = self.sign(a) ^ self.sign(b);
        if self.is_infinite(a) || self.is_infinite(b) {
            return self.sum(&self.format.value(0), sign, true, c, direction);
        }
        self.sum(&self.format.value(a).mul(&self.format.value(b)), sign, false, c, direction)
    }

    fn mul(&self, a: u64, b: u64, direction: Direction) -> u64 {
        // Adding a zero of the product's sign changes nothing, not even the sign of zero.
        let sign = self.sign(a) ^ self.sign(b);
        self.fma(a, b, sign, direction)
    }

    fn add(&self, a: u64, b: u64, direction: Direction) -> u64 {
        if self.is_nan(a) || self.is_nan(b) {
            return self.nan;
        }
        let value = if self.is_infinite(a) { self.format.value(0) } else { self.format.value(a) };
        self.sum(&value, self.sign(a), self.is_infinite(a), b, direction)
    }

    fn div(&self, a: u64, b: u64, direction: Direction) -> u64 {
        let invalid = (self.is_zero(a) && self.is_zero(b)) || (self.is_infinite(a) && self.is_infinite(b));
        if self.is_nan(a) || self.is_nan(b) || invalid {
            return self.nan;
        }
        let sign = self.sign(a) ^ self.sign(b);
        if self.is_infinite(a) || self.is_zero(b) {
            return sign | self.format.infinity();
        }
        if self.is_zero(a) || self.is_infinite(b) {
            return sign;
        }
        self.format.round(&self.format.value(a).div(&self.format.value(b)), direction)
    }

    fn sqrt(&self, a: u64, direction: Direction) -> u64 {
        if self.is_zero(a) {
            return a;
        }
        if self.is_nan(a) || self.sign(a) != 0 {
            return self.nan;
        }
        if self.is_infinite(a) {
            return a;
        }
        self.format.round(&self.format.value(a).sqrt(), direction)
    }
}

fn f(bits: u64) -> f32 {
    f32::from_bits(bits as u32)
}

fn d(bits: u64) -> f64 {
    f64::from_bits(bits)
}

#[test]
fn f32_operations_round_as_exact_arithmetic_does() {
    let mut random = Random(1);
    for case in 0..60_000 {
        let (a, b) = (random.pattern(F32), random.pattern(F32));
        // Often a c that cancels most of the product.
        let c =
            if case % 3 == 0 { (-(f(a) * f(b))).to_bits() as u64 ^ (random.next() & 3) } else { random.pattern(F32) };
        for (rounding, direction) in DIRECTIONS {
            let mode = FloatMode { round: rounding, ftz: false, sat: false };
            let check = |name: &str, got: f32, expected: u64| {
                assert_eq!(got.to_bits(), expected as u32, "{name} {rounding:?} {a:#x} {b:#x} {c:#x}");
            };
            check("add", round::add(f(a), f(b), mode), ORACLE32.add(a, b, direction));
            check("sub", round::sub(f(a), f(b), mode), ORACLE32.add(a, b ^ F32.sign_bit(), direction));
            check("mul", round::mul(f(a), f(b), mode), ORACLE32.mul(a, b, direction));
            check("fma", round::fma(f(a), f(b), f(c), mode), ORACLE32.fma(a, b, c, direction));
            check("div", round::div(f(a), f(b), mode), ORACLE32.div(a, b, direction));
            check("rcp", round::rcp(f(a), mode), ORACLE32.div(1.0f32.to_bits() as u64, a, direction));
            check("sqrt", round::sqrt(f(a), mode), ORACLE32.sqrt(a, direction));
        }
    }
}

#[test]
fn f64_operations_round_as_exact_arithmetic_does() {
    let mut random = Random(2);
    for case in 0..30_000 {
        let (a, b) = (random.pattern(F64), random.pattern(F64));
        let c = if case % 3 == 0 { (-(d(a) * d(b))).to_bits() ^ (random.next() & 3) } else { random.pattern(F64) };
        for (rounding, direction) in DIRECTIONS {
            let mode = FloatMode { round: rounding, ftz: false, sat: false };
            let check = |name: &str, got: f64, expected: u64| {
                assert_eq!(got.to_bits(), expected, "{name} {rounding:?} {a:#x} {b:#x} {c:#x}");
            };
            check("add", round::add64(d(a), d(b), mode), ORACLE64.add(a, b, direction));
            check("sub", round::sub64(d(a), d(b), mode), ORACLE64.add(a, b ^ F64.sign_bit(), direction));
            check("mul", round::mul64(d(a), d(b), mode), ORACLE64.mul(a, b, direction));
            check("fma", round::fma64(d(a), d(b), d(c), mode), ORACLE64.fma(a, b, c, direction));
            check("div", round::div64(d(a), d(b), mode), ORACLE64.div(a, b, direction));
            check("rcp", round::rcp64(d(a), mode), ORACLE64.div(1.0f64.to_bits(), a, direction));
            check("sqrt", round::sqrt64(d(a), mode), ORACLE64.sqrt(a, direction));
        }
    }
}

#[test]
fn flush_to_zero_takes_subnormal_inputs_and_results_and_keeps_signs() {
    let mut random = Random(3);
    let flushed = |x: u64| if x & 0x7f80_0000 == 0 { x & 0x8000_0000 } else { x };
    for _ in 0..60_000 {
        let (a, b, c) = (random.pattern(F32), random.pattern(F32), random.pattern(F32));
        for (rounding, direction) in DIRECTIONS {
            let mode = FloatMode { round: rounding, ftz: true, sat: false };
            let (fa, fb, fc) = (flushed(a), flushed(b), flushed(c));
            let expected = flushed(ORACLE32.fma(fa, fb, fc, direction));
            assert_eq!(
                round::fma(f(a), f(b), f(c), mode).to_bits(),
                expected as u32,
                "fma {rounding:?} {a:#x} {b:#x} {c:#x}"
            );
            let expected = flushed(ORACLE32.add(fa, fb, direction));
            assert_eq!(round::add(f(a), f(b), mode).to_bits(), expected as u32, "add {rounding:?} {a:#x} {b:#x}");
            let expected = flushed(ORACLE32.mul(fa, fb, direction));
            assert_eq!(round::mul(f(a), f(b), mode).to_bits(), expected as u32, "mul {rounding:?} {a:#x} {b:#x}");
            let expected = flushed(ORACLE32.div(fa, fb, direction));
            assert_eq!(round::div(f(a), f(b), mode).to_bits(), expected as u32, "div {rounding:?} {a:#x} {b:#x}");
            let expected = flushed(ORACLE32.div(1.0f32.to_bits() as u64, fa, direction));
            assert_eq!(round::rcp(f(a), mode).to_bits(), expected as u32, "rcp {rounding:?} {a:#x}");
            let expected = flushed(ORACLE32.sqrt(fa, direction));
            assert_eq!(round::sqrt(f(a), mode).to_bits(), expected as u32, "sqrt {rounding:?} {a:#x}");
        }
    }
    assert_eq!(round::abs(f32::from_bits(0x8000_0001), true).to_bits(), 0);
    assert_eq!(round::neg(f32::from_bits(0x0000_0001), true).to_bits(), 0x8000_0000);
    assert_eq!(round::neg(f32::from_bits(0x0000_0001), false).to_bits(), 0x8000_0001);
}

#[test]
fn saturation_clamps_to_the_unit_interval_and_maps_nan_to_plus_zero() {
    let mode = FloatMode { round: Rounding::Rn, ftz: false, sat: true };
    for (a, b, sum) in [
        (0.25, 0.5, 0.75),
        (0.75, 0.5, 1.0),
        (-3.0, 1.0, 0.0),
        (-0.0, -0.0, 0.0),
        (f32::INFINITY, 1.0, 1.0),
        (f32::NEG_INFINITY, 1.0, 0.0),
        (f32::NAN, 1.0, 0.0),
        (f32::INFINITY, f32::NEG_INFINITY, 0.0),
    ] {
        assert_eq!(round::add(a, b, mode).to_bits(), f32::to_bits(sum), "{a} + {b}");
    }
    assert_eq!(round::saturate64(f64::NAN).to_bits(), 0);
    assert_eq!(round::saturate64(-0.0).to_bits(), 0);
    assert_eq!(round::saturate64(7.0), 1.0);
}

#[test]
fn min_and_max_order_zeros_and_drop_or_keep_nan() {
    let list = [f32::NEG_INFINITY, -2.0, -1e-40, -0.0, 0.0, 1e-40, 2.0, f32::INFINITY]; // ascending
    for (i, &a) in list.iter().enumerate() {
        for (j, &b) in list.iter().enumerate() {
            let mode = ExtremeMode::default();
            assert_eq!(round::min(a, b, mode).to_bits(), list[i.min(j)].to_bits(), "min {a} {b}");
            assert_eq!(round::max(a, b, mode).to_bits(), list[i.max(j)].to_bits(), "max {a} {b}");
            let wide = |x: f32| x as f64;
            assert_eq!(round::extreme64::<false>(wide(a), wide(b)).to_bits(), wide(list[i.min(j)]).to_bits());
            assert_eq!(round::extreme64::<true>(wide(a), wide(b)).to_bits(), wide(list[i.max(j)]).to_bits());
            let xorsign = ExtremeMode { xorsign: true, ..mode };
            let magnitude = a.abs().max(b.abs());
            let expected = if a.is_sign_negative() != b.is_sign_negative() { -magnitude } else { magnitude };
            assert_eq!(round::max(a, b, xorsign).to_bits(), expected.to_bits(), "max.xorsign.abs {a} {b}");
        }
        for nan in [f32::from_bits(0x7f80_0001), f32::from_bits(0xffff_ffff)] {
            for (x, y) in [(a, nan), (nan, a)] {
                assert_eq!(round::min(x, y, ExtremeMode::default()).to_bits(), a.to_bits());
                assert_eq!(round::max(x, y, ExtremeMode::default()).to_bits(), a.to_bits());
                assert_eq!(round::max(x, y, ExtremeMode { nan: true, ..Default::default() }).to_bits(), NAN32);
                assert_eq!(round::extreme64::<true>(x as f64, y as f64), a as f64);
            }
            assert_eq!(round::min(nan, nan, ExtremeMode::default()).to_bits(), NAN32);
        }
    }
    let ftz = ExtremeMode { ftz: true, ..Default::default() };
    assert_eq!(round::max(1e-40, -0.0, ftz).to_bits(), 0);
    assert_eq!(round::min(-1e-40, 0.0, ftz).to_bits(), 0x8000_0000);
}

#[test]
fn testp_sorts_every_class() {
    use Property::*;
    let table: [(f32, [bool; 6]); 7] = [
        (1.0, [true, false, true, false, true, false]),
        (0.0, [true, false, true, false, true, false]),
        (-1e-40, [true, false, true, false, false, true]),
        (f32::MIN_POSITIVE, [true, false, true, false, true, false]),
        (f32::MAX, [true, false, true, false, true, false]),
        (f32::NEG_INFINITY, [false, true, true, false, false, false]),
        (f32::NAN, [false, false, false, true, false, false]),
    ];
    for (x, expected) in table {
        for (property, expected) in [Finite, Infinite, Number, NotANumber, Normal, Subnormal].into_iter().zip(expected)
        {
            assert_eq!(round::testp(x, property), expected, "testp {property:?} {x}");
        }
    }
    assert!(round::testp64(1e-310, Subnormal) && !round::testp64(1e-300, Subnormal));
    assert_eq!(round::copysign(-1.0, 3.0), -3.0);
    assert_eq!(round::copysign64(1.0, -3.0), 3.0);
}
