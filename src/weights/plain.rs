//! Weights as plain codes, the form from which other formats are easily made.

use half::f16;

use super::layout::{PackedLayout, WeightFormat, ZeroPoint};
use super::packed::Packed;
use crate::error::{Error, Result};

const OP: &str = "weights::Packed::from_plain";

/// Zero points of 4-bit codes, one per group and output, `[groups, n]`.
#[derive(Debug, Clone, PartialEq)]
#[non_exhaustive]
pub enum Zeros {
    /// `w = (q - 8)*s`.
    Symmetric,
    /// `w = (q - zero)*s`, zeros all in 0..=15 or all in 1..=16.
    Codes(Vec<u8>),
    /// `w = (q - zero)*s`.
    Real(Vec<f16>),
    /// `w = q*s + min`.
    Min(Vec<f16>),
}

/// A 4-bit weight matrix, one byte a code.
#[derive(Debug, Clone, PartialEq)]
pub struct PlainWeights {
    /// Outputs.
    pub n: usize,
    /// Length of the sum.
    pub k: usize,
    /// Consecutive k that share a scale.
    pub group: usize,
    /// `[k, n]`, each 0..=15.
    pub codes: Vec<u8>,
    /// `[ceil(k / group), n]`.
    pub scales: Vec<f16>,
    /// `[ceil(k / group), n]`.
    pub zeros: Zeros,
}

impl PlainWeights {
    /// Refuses sizes of 0, lengths that do not fit them, and codes above 15.
    pub(super) fn check(&self, op: &'static str) -> Result<()> {
        for (argument, value) in [("n", self.n), ("k", self.k), ("group", self.group)] {
            if value == 0 {
                return Err(Error::argument(op, argument, "above 0", "0"));
            }
        }
        let per_group = self.k.div_ceil(self.group) * self.n;
        let zeros = match &self.zeros {
            Zeros::Symmetric => per_group,
            Zeros::Codes(zeros) => zeros.len(),
            Zeros::Real(zeros) | Zeros::Min(zeros) => zeros.len(),
        };
        for (argument, expected, found) in [
            ("codes", self.n * self.k, self.codes.len()),
            ("scales", per_group, self.scales.len()),
            ("zeros", per_group, zeros),
        ] {
            if expected != found {
                return Err(Error::argument(op, argument, format!("{expected} elements"), found.to_string()));
            }
        }
        match self.codes.iter().position(|&code| code > 15) {
            None => Ok(()),
            Some(at) => Err(Error::argument(op, "codes", "0 to 15", format!("{} at {at}", self.codes[at]))),
        }
    }

    /// Refuses a layout that does not hold these weights.
    fn fits(&self, layout: &PackedLayout) -> Result<()> {
        let same_kind = matches!(
            (&self.zeros, layout.format()),
            (Zeros::Symmetric, WeightFormat::Int4(ZeroPoint::Symmetric))
                | (Zeros::Codes(_), WeightFormat::Int4(ZeroPoint::Bits4 { .. }))
                | (Zeros::Real(_), WeightFormat::Int4(ZeroPoint::Real))
                | (Zeros::Min(_), WeightFormat::Int4(ZeroPoint::Min))
        );
        let shape = (layout.n(), layout.k(), layout.group());
        if !same_kind || shape != (self.n, self.k, self.group.min(self.k)) {
            let expected = format!("{} x {} in groups of {}, of the weights' zeros", self.n, self.k, self.group);
            let found = format!("{} x {} in groups of {}, {:?}", shape.0, shape.1, shape.2, layout.format());
            return Err(Error::argument(OP, "layout", expected, found));
        }
        if let (Zeros::Codes(zeros), WeightFormat::Int4(ZeroPoint::Bits4 { plus })) = (&self.zeros, layout.format())
            && let Some(zero) = zeros.iter().find(|&&zero| zero < plus || zero > 15 + plus)
        {
            return Err(Error::argument(OP, "zeros", format!("{plus} to {}", 15 + plus), zero.to_string()));
        }
        Ok(())
    }

    /// The layout that these weights pack to.
    fn layout(&self) -> Result<PackedLayout> {
        let zero_point = match &self.zeros {
            Zeros::Symmetric => ZeroPoint::Symmetric,
            Zeros::Real(_) => ZeroPoint::Real,
            Zeros::Min(_) => ZeroPoint::Min,
            Zeros::Codes(zeros) => match (zeros.iter().min(), zeros.iter().max()) {
                (_, None | Some(0..=15)) => ZeroPoint::Bits4 { plus: 0 },
                (Some(1..), Some(16)) => ZeroPoint::Bits4 { plus: 1 },
                (low, high) => {
                    let found = format!("{} to {}", low.unwrap_or(&0), high.unwrap_or(&0));
                    return Err(Error::argument(OP, "zeros", "all in 0..=15 or all in 1..=16", found));
                }
            },
        };
        PackedLayout::new(self.n, self.k, self.group, WeightFormat::Int4(zero_point))
    }
}

impl Packed {
    /// Packs plain 4-bit codes.
    ///
    /// # Errors
    /// Those of [`PackedLayout::new`]; [`Error::Argument`] for a length that does not fit n, k and group, a code above 15,
    /// or zeros that fit neither range.
    pub fn from_plain(weights: &PlainWeights) -> Result<Self> {
        Self::from_plain_with(weights, weights.layout()?)
    }

    /// Packs plain 4-bit codes as `layout` says: [`Self::from_plain`] with zeros 0..=15 or 1..=16 chosen by the caller.
    ///
    /// # Errors
    /// [`Error::Argument`] for a layout of another shape, group or kind of zeros, and those of [`Self::from_plain`].
    pub fn from_plain_with(weights: &PlainWeights, layout: PackedLayout) -> Result<Self> {
        weights.check(OP)?;
        weights.fits(&layout)?;
        let (n, per_group) = (layout.n(), layout.groups() * layout.n());
        let mut packed = Packed::zeroed(layout);
        for (at, &code) in weights.codes.iter().enumerate() {
            packed.set_code(at % n, at / n, code);
        }
        for at in 0..per_group {
            let (group, output) = (at / n, at % n);
            packed.set_scale(output, group, weights.scales[at]);
            match &weights.zeros {
                Zeros::Symmetric => {}
                Zeros::Codes(zeros) => packed.set_zero(output, group, zeros[at]),
                Zeros::Real(offsets) | Zeros::Min(offsets) => packed.set_offset(output, group, offsets[at]),
            }
        }
        Ok(packed)
    }

    /// The plain codes again; `None` for 8-bit weights.
    pub fn to_plain(&self) -> Option<PlainWeights> {
        let layout = self.layout();
        let WeightFormat::Int4(zero_point) = layout.format() else { return None };
        let (n, k) = (layout.n(), layout.k());
        let each_group = || (0..layout.groups()).flat_map(|group| (0..n).map(move |output| (output, group)));
        let offsets = || each_group().map(|(output, group)| self.offset(output, group)).collect();
        Some(PlainWeights {
            n,
            k,
            group: layout.group(),
            codes: (0..k * n).map(|at| self.code(at % n, at / n) as u8).collect(),
            scales: each_group().map(|(output, group)| self.scale(output, group)).collect(),
            zeros: match zero_point {
                ZeroPoint::Symmetric => Zeros::Symmetric,
                ZeroPoint::Bits4 { .. } => {
                    Zeros::Codes(each_group().map(|(output, group)| self.zero(output, group)).collect())
                }
                ZeroPoint::Real => Zeros::Real(offsets()),
                ZeroPoint::Min => Zeros::Min(offsets()),
            },
        })
    }
}
