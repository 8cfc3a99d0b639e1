//! Round-to-nearest quantization of weights to 4 bits, with an optional search for the clipping that errs least.

use half::f16;

use super::plain::{PlainWeights, Zeros};
use crate::error::{Error, Result};

/// Codes with or without a zero point.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum RtnZeros {
    /// `scale = 2*max|w| / 15`, `w = (q - 8)*scale`.
    Symmetric,
    /// `scale = (max(w, 0) - min(w, 0)) / 15`, `zero = round(-min / scale)`, `w = (q - zero)*scale` (AWQ's quantizer).
    Asymmetric,
}

/// How a group's range is chosen.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Clip {
    /// The whole range.
    None,
    /// The one of the ranges `(1 - i/100)` times the whole, i = 0..=50, whose squared error over the group is least; of
    /// equals the widest.
    Mse,
}

/// Quantizes `w [n, k]` to 4 bits in groups of `group` k. Codes are made from the scale as it is stored, in f16, and
/// rounded half to even.
///
/// # Errors
/// [`Error::Argument`] when `w` is not `[n, k]`, a size is 0, or a weight is not finite or its group's scale too large for
/// f16.
pub fn quantize_rtn(w: &[f32], n: usize, k: usize, group: usize, zeros: RtnZeros, clip: Clip) -> Result<PlainWeights> {
    const OP: &str = "weights::quantize_rtn";
    for (argument, value) in [("n", n), ("k", k), ("group", group)] {
        if value == 0 {
            return Err(Error::argument(OP, argument, "above 0", "0"));
        }
    }
    if w.len() != n * k {
        return Err(Error::argument(OP, "w", format!("{} elements [n, k]", n * k), w.len().to_string()));
    }
    // 2*max / 15 must not round to infinity in f16.
    const LARGEST: f32 = 65504.0 * 15.0 / 2.0;
    if let Some(at) = w.iter().position(|w| w.is_nan() || w.abs() > LARGEST) {
        return Err(Error::argument(OP, "w", format!("finite, at most {LARGEST}"), format!("{} at {at}", w[at])));
    }
    let group = group.min(k);
    let groups = k.div_ceil(group);
    let mut plain = PlainWeights {
        n,
        k,
        group,
        codes: vec![0; k * n],
        scales: vec![f16::ZERO; groups * n],
        zeros: Zeros::Symmetric,
    };
    let mut zero_codes = vec![8; groups * n];
    for output in 0..n {
        for (at, values) in w[output * k..][..k].chunks(group).enumerate() {
            let grid = choose(values, zeros, clip);
            plain.scales[at * n + output] = grid.scale;
            zero_codes[at * n + output] = grid.zero as u8;
            for (j, &value) in values.iter().enumerate() {
                plain.codes[(at * group + j) * n + output] = grid.code(value) as u8;
            }
        }
    }
    if zeros == RtnZeros::Asymmetric {
        plain.zeros = Zeros::Codes(zero_codes);
    }
    Ok(plain)
}

/// The values that a group's codes stand for.
#[derive(Clone, Copy)]
struct Grid {
    /// As stored.
    scale: f16,
    /// The same in f32.
    step: f32,
    zero: f32,
}

impl Grid {
    fn new(low: f32, high: f32, zeros: RtnZeros) -> Self {
        let range = match zeros {
            RtnZeros::Symmetric => 2.0 * high.max(-low),
            RtnZeros::Asymmetric => high - low,
        };
        let scale = f16::from_f32(range / 15.0);
        let step = scale.to_f32();
        let zero = match zeros {
            RtnZeros::Symmetric => 8.0,
            // A scale that rounds to 0 makes no zero point.
            RtnZeros::Asymmetric if step == 0.0 => 0.0,
            RtnZeros::Asymmetric => (-low / step).round_ties_even().clamp(0.0, 15.0),
        };
        Self { scale, step, zero }
    }

    fn code(&self, value: f32) -> f32 {
        if self.step == 0.0 {
            return self.zero;
        }
        ((value / self.step).round_ties_even() + self.zero).clamp(0.0, 15.0)
    }

    /// The squared error over the values, or of the first of them that reach `most`.
    fn squared_error(&self, values: &[f32], most: f64) -> f64 {
        let mut sum = 0.0;
        for &value in values {
            let error = f64::from((self.code(value) - self.zero) * self.step) - f64::from(value);
            sum += error * error;
            if sum >= most {
                break;
            }
        }
        sum
    }
}

fn choose(values: &[f32], zeros: RtnZeros, clip: Clip) -> Grid {
    let low = values.iter().copied().fold(0f32, f32::min);
    let high = values.iter().copied().fold(0f32, f32::max);
    let mut best = Grid::new(low, high, zeros);
    if clip == Clip::Mse {
        let mut least = best.squared_error(values, f64::INFINITY);
        for percent in 1..=50 {
            let part = 1.0 - percent as f32 / 100.0;
            let grid = Grid::new(low * part, high * part, zeros);
            let error = grid.squared_error(values, least);
            if error < least {
                (best, least) = (grid, error);
            }
        }
    }
    best
}
