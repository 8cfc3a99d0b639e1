//! Double-double arithmetic: an unevaluated sum of two f64, about 106 bits. It settles the rare approximations whose f64 value lies too close
//! to a rounding boundary (Dekker 1971; Joldes, Muller, Popescu, "Tight and rigorous error bounds for basic building blocks of double-word
//! arithmetic", 2017). Not fast, and not meant to be.

use super::round;
use core::ops::{Add, Div, Mul, Neg, Sub};

/// `high + low`, with |low| at most half a last place of `high`.
#[derive(Clone, Copy, Debug)]
pub struct Double {
    /// The nearest f64.
    pub high: f64,
    /// What is left.
    pub low: f64,
}

/// ln 2.
pub const LN_2: Double = Double { high: core::f64::consts::LN_2, low: 2.319_046_813_846_299_6e-17 };
/// 1 / ln 2.
pub const LOG2_E: Double = Double { high: core::f64::consts::LOG2_E, low: 2.035_527_374_093_103_3e-17 };
/// pi / 2.
pub const PI_2: Double = Double { high: core::f64::consts::FRAC_PI_2, low: 6.123_233_995_736_766e-17 };

impl Add for Double {
    type Output = Double;
    fn add(self, other: Double) -> Double {
        let (s, t) = (Double::sum(self.high, other.high), Double::sum(self.low, other.low));
        let v = Double::quick(s.high, s.low + t.high);
        Double::quick(v.high, t.low + v.low)
    }
}

impl Neg for Double {
    type Output = Double;
    fn neg(self) -> Double {
        Double { high: -self.high, low: -self.low }
    }
}

impl Sub for Double {
    type Output = Double;
    fn sub(self, other: Double) -> Double {
        self + -other
    }
}

impl Mul for Double {
    type Output = Double;
    fn mul(self, other: Double) -> Double {
        let high = self.high * other.high;
        let low = self.high.mul_add(other.high, -high);
        Double::quick(high, low + (self.high * other.low + self.low * other.high))
    }
}

impl Div for Double {
    type Output = Double;
    fn div(self, other: Double) -> Double {
        let first = self.high / other.high;
        let rest = self - other * Double::new(first);
        let second = rest.high / other.high;
        let rest = rest - other * Double::new(second);
        Double::quick(first, second) + Double::new(rest.high / other.high)
    }
}

impl Double {
    /// An f64.
    pub fn new(high: f64) -> Double {
        Double { high, low: 0.0 }
    }

    /// The sum of two f64 with |a| >= |b|, exact.
    fn quick(a: f64, b: f64) -> Double {
        let high = a + b;
        Double { high, low: b - (high - a) }
    }

    /// The sum of two f64, exact.
    fn sum(a: f64, b: f64) -> Double {
        let high = a + b;
        let part = high - a;
        Double { high, low: (a - (high - part)) + (b - part) }
    }

    /// A 128-bit integer times a power of two, to about 106 bits.
    pub fn scaled(x: i128, power: f64) -> Double {
        let high = x as f64;
        let low = (x - high as i128) as f64;
        Double { high: high * power, low: low * power }
    }

    /// The nearest f32, subnormal results included.
    pub fn to_f32(self) -> f32 {
        // Round to odd in f64, then once to f32 (see `round`).
        let bits = self.high.to_bits();
        let inexact = self.low != 0.0;
        let grow = (self.low > 0.0) == (self.high > 0.0);
        let stepped = if grow { bits.wrapping_add(1) } else { bits.wrapping_sub(1) };
        let odd = f64::from_bits(if inexact && bits & 1 == 0 { stepped } else { bits });
        round::narrow(odd, round::Rounding::Rn)
    }

    /// The sum of `terms` terms of a series: `first`, then each the last times `ratio` divided by `divisor(i)`, i from 1.
    fn series(first: Double, ratio: Double, terms: u32, divisor: impl Fn(u32) -> f64) -> Double {
        let (mut term, mut sum) = (first, first);
        for i in 1..terms {
            term = term * ratio / Double::new(divisor(i));
            sum = sum + term;
        }
        sum
    }

    /// e^x - 1 for |x| up to 0.7, relative to the result.
    fn exp_minus_1(self) -> Double {
        Double::series(self, self, 28, |i| (i + 1) as f64)
    }

    /// 2^x for |x| up to 1000.
    pub fn exp2(self) -> Double {
        let n = super::cvt::integral64(self.high, round::Rounding::Rn);
        let r = self - Double::new(n);
        let power = f64::from_bits(((n as i64 + 1023) as u64) << 52);
        let y = (r * LN_2).exp_minus_1() + Double::new(1.0);
        Double { high: y.high * power, low: y.low * power }
    }

    /// log2 of an f64 from an approximation that is right to about 2^-45: one Newton step.
    pub fn log2(x: f64, near: f64) -> Double {
        // x = 2^near (1 + e), so that log2 x = near + log2(1 + e).
        let e = Double::new(x) * Double::new(-near).exp2() - Double::new(1.0);
        let ln = e - e * e * Double::new(0.5) + e * e * e / Double::new(3.0);
        Double::new(near) + ln * LOG2_E
    }

    /// sin for |x| up to pi / 4.
    pub fn sin(self) -> Double {
        let square = -(self * self);
        Double::series(self, square, 16, |i| (2 * i * (2 * i + 1)) as f64)
    }

    /// cos for |x| up to pi / 4.
    pub fn cos(self) -> Double {
        let square = -(self * self);
        Double::series(Double::new(1.0), square, 16, |i| (2 * i * (2 * i - 1)) as f64)
    }

    /// tanh for |x| up to 20.
    pub fn tanh(self) -> Double {
        let one = Double::new(1.0);
        let twice = self * Double::new(2.0);
        let minus_1 = if twice.high.abs() < 0.7 { twice.exp_minus_1() } else { (twice * LOG2_E).exp2() - one };
        minus_1 / (minus_1 + Double::new(2.0))
    }

    /// 1 / sqrt(x) from an approximation right to about 2^-45.
    pub fn rsqrt(x: f64, near: f64) -> Double {
        // y (1 + e / 2 + 3 e^2 / 8) with e = 1 - x y^2.
        let y = Double::new(near);
        let e = Double::new(1.0) - Double::new(x) * y * y;
        y + y * (e * Double::new(0.5) + e * e * Double::new(0.375))
    }
}
