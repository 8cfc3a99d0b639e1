//! Rounding to f16 and bf16 by search in the list of all their values.

use crate::oracle::Direction;

/// The magnitudes of a 16-bit format; a value's place is its pattern.
pub struct Table {
    values: Vec<f64>,
    /// What the next value would be if the format had it.
    beyond: f64,
}

impl Table {
    pub fn f16() -> Table {
        Table { values: (0..0x7c00).map(|b| half::f16::from_bits(b).to_f64()).collect(), beyond: 65536.0 }
    }

    pub fn bf16() -> Table {
        Table { values: (0..0x7f80).map(|b| half::bf16::from_bits(b).to_f64()).collect(), beyond: 2f64.powi(128) }
    }

    pub fn infinity(&self) -> u16 {
        self.values.len() as u16
    }

    /// `x + rest` rounded once, NaN to 0x7fff. `rest` is zero, or too small to move `x` to another f64; a zero keeps its sign.
    pub fn round(&self, x: f64, rest: f64, direction: Direction) -> u16 {
        if x.is_nan() {
            return 0x7fff;
        }
        let sign = if x.is_sign_negative() { 0x8000 } else { 0 };
        let (m, rest) = if sign != 0 { (-x, -rest) } else { (x, rest) };
        if m.is_infinite() {
            return sign | self.infinity();
        }
        let mut below = self.values.partition_point(|&v| v <= m) - 1;
        if self.values[below] == m && rest == 0.0 {
            return sign | below as u16;
        }
        if self.values[below] == m && rest < 0.0 {
            below -= 1;
        }
        let above = self.values.get(below + 1).copied().unwrap_or(self.beyond);
        let middle = (self.values[below] + above) / 2.0;
        let up = match direction {
            Direction::Zero => false,
            Direction::Down => sign != 0,
            Direction::Up => sign == 0,
            Direction::Nearest => m > middle || m == middle && (rest > 0.0 || rest == 0.0 && below % 2 == 1),
        };
        sign | (below + usize::from(up)) as u16
    }
}

/// `a + b` as an f64 and what is missing (Knuth's TwoSum).
pub fn two_sum(a: f64, b: f64) -> (f64, f64) {
    let sum = a + b;
    if !sum.is_finite() {
        return (sum, 0.0);
    }
    let part = sum - a;
    (sum, (a - (sum - part)) + (b - part))
}

/// The direction that a spelling names.
pub fn direction(parts: &[&str]) -> Direction {
    for (names, direction) in [
        (["rn", "rni"], Direction::Nearest),
        (["rz", "rzi"], Direction::Zero),
        (["rm", "rmi"], Direction::Down),
        (["rp", "rpi"], Direction::Up),
    ] {
        if parts.iter().any(|p| names.contains(p)) {
            return direction;
        }
    }
    Direction::Nearest
}
