//! Exact arithmetic on big integers and one rounding routine for every binary float format: the oracle of the arithmetic tests.
//! It shares nothing with the code under test.
#![allow(dead_code)] // each test program uses a part

pub mod fragments;
pub mod functions;

use num_bigint::{BigInt, BigUint, Sign};

/// The directions, under the oracle's own names.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Direction {
    Nearest,
    Zero,
    Down,
    Up,
}

/// `value * 2^scale`; if `sticky`, the true magnitude is larger by less than one unit.
#[derive(Clone, Debug)]
pub struct Exact {
    pub value: BigInt,
    pub scale: i64,
    pub sticky: bool,
}

/// A binary format: `fraction` bits, exponent of the smallest normal number, all-ones exponent field.
#[derive(Clone, Copy, Debug)]
pub struct Format {
    pub fraction: u32,
    pub min_exponent: i64,
    pub exponent_bits: u32,
}

pub const F16: Format = Format { fraction: 10, min_exponent: -14, exponent_bits: 5 };
pub const BF16: Format = Format { fraction: 7, min_exponent: -126, exponent_bits: 8 };
pub const F32: Format = Format { fraction: 23, min_exponent: -126, exponent_bits: 8 };
pub const F64: Format = Format { fraction: 52, min_exponent: -1022, exponent_bits: 11 };

impl Format {
    pub fn sign_bit(self) -> u64 {
        1 << (self.fraction + self.exponent_bits)
    }

    pub fn infinity(self) -> u64 {
        ((1 << self.exponent_bits) - 1) << self.fraction
    }

    /// The exact value of a finite pattern.
    pub fn value(self, bits: u64) -> Exact {
        let magnitude = bits & (self.sign_bit() - 1);
        assert!(magnitude < self.infinity(), "{bits:#x} is not finite");
        let field = (magnitude >> self.fraction) as i64;
        let fraction = magnitude & ((1 << self.fraction) - 1);
        let mantissa = if field == 0 { fraction } else { fraction | 1 << self.fraction };
        let value = BigInt::from(mantissa);
        let value = if bits & self.sign_bit() != 0 { -value } else { value };
        Exact { value, scale: field.max(1) - 1 + self.min_exponent - self.fraction as i64, sticky: false }
    }

    /// The pattern nearest to `x` in `direction`; `x` is not zero (the sign of a zero result follows other rules).
    pub fn round(self, x: &Exact, direction: Direction) -> u64 {
        let negative = x.value.sign() == Sign::Minus;
        let magnitude: &BigUint = x.value.magnitude();
        // Room for the format's last place and a bit below it.
        let magnitude = magnitude << 200u32;
        let scale = x.scale - 200;
        let top = magnitude.bits() as i64 - 1 + scale;
        let last = top.max(self.min_exponent) - self.fraction as i64;
        let drop = last - scale;
        assert!(drop > 0);
        let kept: BigUint = &magnitude >> drop as u64;
        let rest = &magnitude - (&kept << drop as u64);
        let half = BigUint::from(1u32) << (drop as u64 - 1);
        let inexact = x.sticky || rest != BigUint::from(0u32);
        let kept = u64::try_from(kept).unwrap();
        let up = match direction {
            Direction::Nearest => rest > half || (rest == half && (x.sticky || kept & 1 == 1)),
            Direction::Zero => false,
            Direction::Down => inexact && negative,
            Direction::Up => inexact && !negative,
        };
        let kept = kept + up as u64;
        let sign = if negative { self.sign_bit() } else { 0 };
        // kept * 2^last as a pattern: one more than the fraction's bits means a higher binade.
        let binade = top.max(self.min_exponent) - self.min_exponent;
        let pattern = ((binade as u64) << self.fraction) + kept;
        if pattern < self.infinity() {
            return sign | pattern;
        }
        let infinite = match direction {
            Direction::Nearest => true,
            Direction::Zero => false,
            Direction::Down => negative,
            Direction::Up => !negative,
        };
        sign | if infinite { self.infinity() } else { self.infinity() - 1 }
    }

    /// The sum or product `x`, or the given zero pattern when it is zero.
    pub fn round_or(self, x: &Exact, direction: Direction, zero: u64) -> u64 {
        if x.value.sign() == Sign::NoSign && !x.sticky { zero } else { self.round(x, direction) }
    }
}

impl Exact {
    pub fn is_zero(&self) -> bool {
        self.value.sign() == Sign::NoSign
    }

    pub fn add(&self, other: &Exact) -> Exact {
        let scale = self.scale.min(other.scale);
        let value = (&self.value << (self.scale - scale) as u64) + (&other.value << (other.scale - scale) as u64);
        Exact { value, scale, sticky: false }
    }

    pub fn mul(&self, other: &Exact) -> Exact {
        Exact { value: &self.value * &other.value, scale: self.scale + other.scale, sticky: false }
    }

    pub fn div(&self, other: &Exact) -> Exact {
        let numerator: BigInt = &self.value << 400u32;
        let value = &numerator / &other.value;
        let sticky = &value * &other.value != numerator;
        Exact { value, scale: self.scale - 400 - other.scale, sticky }
    }

    pub fn sqrt(&self) -> Exact {
        let shift = if self.scale & 1 == 0 { 400u32 } else { 401 };
        let radicand: BigInt = &self.value << shift;
        let value = radicand.sqrt();
        let sticky = &value * &value != radicand;
        Exact { value, scale: (self.scale - shift as i64) / 2, sticky }
    }
}

/// SplitMix64: the tests' source of bit patterns.
pub struct Random(pub u64);

impl Random {
    pub fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ z >> 30).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ z >> 27).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ z >> 31
    }

    /// A pattern of `format` that is often special, often close to another one's exponent.
    pub fn pattern(&mut self, format: Format) -> u64 {
        let mask = 2 * format.sign_bit() - 1;
        let x = self.next();
        let sign = if x >> 63 == 1 { format.sign_bit() } else { 0 };
        let fraction = x & ((1 << format.fraction) - 1);
        match x >> 58 & 15 {
            0 => sign,
            1 => sign | 1,
            2 => sign | fraction,
            3 => sign | ((1 << format.fraction) - 1),
            4 => sign | (1 << format.fraction),
            5 => sign | (format.infinity() - 1),
            6 => sign | format.infinity(),
            7 => sign | format.infinity() | fraction | 1,
            8..=11 => {
                // around 1.0, with few or many bits
                let bias = (1u64 << (format.exponent_bits - 1)) - 1;
                let near = bias - 12 + (x >> 40) % 25;
                let fraction = if x >> 32 & 1 == 1 {
                    fraction >> (format.fraction / 2) << (format.fraction / 2)
                } else {
                    fraction
                };
                sign | near << format.fraction | fraction
            }
            _ => self.next() & mask,
        }
    }
}
