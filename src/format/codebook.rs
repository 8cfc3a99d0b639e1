//! Non-uniform codes: an index into a table of 4, 8 or 16 levels, with a range and a centre per channel or per token, and
//! the few elements that fit no table kept aside.
//!
//! Source: Hooper et al., KVQuant, arXiv 2401.18079 (codebooks `nuq`, dense and sparse); Zandieh et al., TurboQuant, arXiv
//! 2504.19874 (a rotation, then the best table for a Gaussian; without its one-bit residual).

use half::f16;

use super::Matrix;
use crate::error::{Error, Result};

/// The most columns of a row: one warp holds it.
pub const MAX_CODEBOOK_COLS: usize = 256;
/// The most outlier slots of a row.
pub const MAX_OUTLIER_SLOTS: usize = 8;

/// A table of 4, 8 or 16 ascending f16 levels.
#[derive(Debug, Clone, PartialEq)]
pub struct Codebook {
    bits: usize,
    levels: [f16; 16],
    thresholds: [f32; 16],
    limit: f32,
}

impl Codebook {
    /// A table of these levels.
    ///
    /// # Errors
    /// [`Error::Argument`] unless there are 4, 8 or 16, all finite, none below the one before it.
    pub fn new(levels: &[f16]) -> Result<Codebook> {
        const OP: &str = "Codebook::new";
        if ![4, 8, 16].contains(&levels.len()) {
            return Err(Error::argument(OP, "levels", "4, 8 or 16 levels", levels.len().to_string()));
        }
        let ascending = levels.windows(2).all(|pair| pair[0] <= pair[1]);
        if !ascending || levels.iter().any(|level| !level.is_finite()) {
            return Err(Error::argument(OP, "levels", "finite levels in ascending order", format!("{levels:?}")));
        }
        let mut all = [f16::ZERO; 16];
        all[..levels.len()].copy_from_slice(levels);
        let mut book = Codebook {
            bits: levels.len().ilog2() as usize,
            levels: all,
            thresholds: [f32::INFINITY; 16],
            limit: f32::MAX,
        };
        book.find_thresholds();
        Ok(book)
    }

    /// Bits of a code: 2, 3 or 4.
    pub const fn bits(&self) -> usize {
        self.bits
    }

    /// The levels, ascending.
    pub fn levels(&self) -> &[f16] {
        &self.levels[..1 << self.bits]
    }

    /// The code of `z`: the first of the levels for which |z - level|, rounded to f32, is least. This is the definition.
    pub fn nearest(&self, z: f32) -> u8 {
        let (mut best, mut least) = (0, f32::INFINITY);
        for (code, level) in self.levels().iter().enumerate() {
            let distance = (z - level.to_f32()).abs();
            if distance < least {
                (best, least) = (code as u8, distance);
            }
        }
        best
    }

    /// What kernels search: [`Self::nearest`] of z is the number of thresholds that are not above z, as long as |z| is at
    /// most [`Self::limit`].
    pub fn thresholds(&self) -> &[f32] {
        &self.thresholds[..(1 << self.bits) - 1]
    }

    /// Up to which magnitude distances to unequal levels are told apart in f32; beyond, [`Self::nearest`] is not a search.
    pub const fn limit(&self) -> f32 {
        self.limit
    }

    /// Bytes of one row of codes, packed least significant bits first.
    pub const fn row_bytes(&self, cols: usize) -> usize {
        (cols * self.bits).div_ceil(8)
    }

    pub(crate) fn padded(&self) -> ([f32; 16], [f32; 16]) {
        (self.levels.map(f16::to_f32), self.thresholds)
    }

    /// Threshold i is the least f32 that is nearer to level i + 1 than to level i. Rounded distances grow with the true ones,
    /// so between the two levels there is one such point, found by bisection. Equal levels share the threshold of the last.
    fn find_thresholds(&mut self) {
        let levels: Vec<f32> = self.levels().iter().map(|level| level.to_f32()).collect();
        let mut gap = f32::INFINITY;
        for i in (0..levels.len() - 1).rev() {
            let (low, high) = (levels[i], levels[i + 1]);
            if low == high {
                // Level i + 1 is never taken, being second; what lies beyond it is.
                self.thresholds[i] = if i + 1 < levels.len() - 1 { self.thresholds[i + 1] } else { f32::INFINITY };
                continue;
            }
            gap = gap.min(high - low);
            let (mut below, mut above) = (ordered(low), ordered(high));
            while above - below > 1 {
                let middle = (below + above) / 2;
                let z = unordered(middle);
                if high - z < z - low { above = middle } else { below = middle }
            }
            self.thresholds[i] = unordered(above);
        }
        // Two distances at least two units in the last place apart stay apart when rounded.
        let largest = levels[0].abs().max(levels[levels.len() - 1].abs());
        self.limit = if gap.is_finite() { gap * 4_194_304.0 - largest } else { f32::MAX };
    }
}

/// f32 as integers in the same order.
fn ordered(x: f32) -> i64 {
    let bits = i64::from(x.to_bits() & 0x7FFF_FFFF);
    if x.is_sign_negative() { -bits } else { bits }
}

fn unordered(n: i64) -> f32 {
    let magnitude = f32::from_bits(n.unsigned_abs() as u32);
    if n < 0 { -magnitude } else { magnitude }
}

/// What z = (x - zero) / range is taken with. `G` holds f16 that are given, `W` f16 that quantizing finds and dequantizing
/// reads: slices or device views.
#[derive(Debug)]
pub enum Spread<G, W> {
    /// Per channel, calibrated (keys): [heads, cols], row r being of head r % heads.
    Channel {
        /// Heads.
        heads: usize,
        /// Half width.
        range: G,
        /// Centre.
        zero: G,
    },
    /// Per row (values): range = f16((max - min) / 2), zero = f16((max + min) / 2) of the row without its outlier slots'
    /// worth of largest |x|; `[rows]` each.
    Row {
        /// Half width.
        range: W,
        /// Centre.
        zero: W,
    },
    /// Per row, for tables of a unit variance: range = f16(sqrt(mean of squares)), no centre; `[rows]`.
    Norm {
        /// Root of the mean of the squares.
        range: W,
    },
}

/// Elements kept aside in fixed slots: [rows, slots], the largest |z| > 1 first, ties to the lower channel. An unused slot
/// has a value that is NaN (and channel 255).
#[derive(Debug)]
pub struct Outliers<C, V> {
    /// Slots of a row, up to [`MAX_OUTLIER_SLOTS`]; KVQuant's one in a hundred is [`outlier_slots`].
    pub slots: usize,
    /// Channels, u8.
    pub channel: C,
    /// The elements themselves, f16: they replace what the code says.
    pub value: V,
}

/// One outlier slot for every 100 channels begun.
pub const fn outlier_slots(head_dim: usize) -> usize {
    head_dim.div_ceil(100)
}

impl<G, W> Spread<G, W> {
    /// The lengths of everything in it.
    pub(crate) fn lengths(&self, given: impl Fn(&G) -> usize, found: impl Fn(&W) -> usize) -> Spread<usize, usize> {
        match self {
            Self::Channel { heads, range, zero } => {
                Spread::Channel { heads: *heads, range: given(range), zero: given(zero) }
            }
            Self::Row { range, zero } => Spread::Row { range: found(range), zero: found(zero) },
            Self::Norm { range } => Spread::Norm { range: found(range) },
        }
    }
}

/// What came with a call, for [`CodebookLengths::validate`].
#[derive(Debug)]
pub struct CodebookLengths {
    /// Name and number of the real numbers: `x` or `out`.
    pub elements: (&'static str, usize),
    /// Bytes of codes.
    pub codes: usize,
    /// f16 of ranges and centres.
    pub spread: Spread<usize, usize>,
    /// Channels and values, if there are outliers.
    pub outliers: Option<Outliers<usize, usize>>,
}

impl CodebookLengths {
    /// Checks the shape and every length against it.
    ///
    /// # Errors
    /// [`Error::Argument`] naming the argument.
    pub fn validate(&self, op: &'static str, book: &Codebook, shape: Matrix) -> Result<()> {
        let at_least = |argument, needed: usize, unit: &str, found: usize| match found >= needed {
            true => Ok(()),
            false => Err(Error::argument(op, argument, format!("at least {needed} {unit}"), found.to_string())),
        };
        shape.validate(op, self.elements)?;
        let Matrix { rows, cols, .. } = shape;
        if cols > MAX_CODEBOOK_COLS {
            return Err(Error::argument(op, "shape.cols", format!("at most {MAX_CODEBOOK_COLS}"), cols.to_string()));
        }
        at_least("codes", rows * book.row_bytes(cols), "bytes", self.codes)?;
        match self.spread {
            Spread::Channel { heads, range, zero } => {
                if heads == 0 || heads > 65_535 || !rows.is_multiple_of(heads) {
                    let expected = format!("a divisor of the {rows} rows, at most 65535");
                    return Err(Error::argument(op, "spread.heads", expected, heads.to_string()));
                }
                at_least("spread.range", heads * cols, "f16", range)?;
                at_least("spread.zero", heads * cols, "f16", zero)?;
            }
            Spread::Row { range, zero } => {
                at_least("spread.range", rows, "f16", range)?;
                at_least("spread.zero", rows, "f16", zero)?;
            }
            Spread::Norm { range } => at_least("spread.range", rows, "f16", range)?,
        }
        let Some(Outliers { slots, channel, value }) = self.outliers else { return Ok(()) };
        if slots > MAX_OUTLIER_SLOTS {
            let expected = format!("at most {MAX_OUTLIER_SLOTS}");
            return Err(Error::argument(op, "outliers.slots", expected, slots.to_string()));
        }
        at_least("outliers.channel", rows * slots, "u8", channel)?;
        at_least("outliers.value", rows * slots, "f16", value)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn book(levels: &[f32]) -> Codebook {
        Codebook::new(&levels.iter().map(|&v| f16::from_f32(v)).collect::<Vec<_>>()).unwrap()
    }

    /// The search that kernels do equals the definition: at every threshold and its neighbours, and on a grid.
    #[test]
    fn thresholds_are_the_definition() {
        let books = [
            book(&[-1.0, -0.25, 0.25, 1.0]),
            book(&[-1.0, -0.7, -0.3, -0.1, 0.0, 0.2, 0.6, 0.9]),
            book(&[-1.0, -1.0, -0.5, 0.0, 0.0, 0.0, 0.5, 0.5]),
            book(&[0.3; 4]),
            book(&[0.0, 1.0, 1.0, 1.0]),
            book(&[-65504.0, -1.0, 6e-8, 65504.0]),
            book(&[-2.7, -2.1, -1.6, -1.3, -0.9, -0.66, -0.39, -0.13, 0.13, 0.39, 0.66, 0.9, 1.3, 1.6, 2.1, 2.7]),
        ];
        for book in books {
            let mut probes: Vec<f32> = (-4000..=4000).map(|i| i as f32 / 1000.0).collect();
            probes.extend(book.levels().iter().map(|v| v.to_f32()));
            probes.extend(
                book.thresholds().iter().filter(|t| t.is_finite()).flat_map(|t| [*t, t.next_down(), t.next_up(), -t]),
            );
            probes.extend([1e3, -1e3, 1e5, -1e6, book.limit(), -book.limit()]);
            let mut searched = 0;
            for z in probes.into_iter().filter(|z| z.abs() <= book.limit()) {
                let found = book.thresholds().iter().filter(|&&t| z >= t).count();
                assert_eq!(found, usize::from(book.nearest(z)), "{z} in {:?}", book.levels());
                searched += 1;
            }
            assert!(searched > 1000 || book.limit() < 4.0, "the limit {} leaves nothing to search", book.limit());
            assert!(book.thresholds().is_sorted());
        }
    }

    #[test]
    fn ties_go_to_the_lower_code() {
        let book = book(&[-1.0, 0.0, 0.5, 1.0]);
        assert_eq!([-0.5, 0.25, 0.75, 0.75f32.next_up()].map(|z| book.nearest(z)), [0, 1, 2, 3]);
    }

    #[test]
    fn tables_that_are_none_are_refused() {
        let error = |levels: &[f32]| {
            let levels: Vec<f16> = levels.iter().map(|&v| f16::from_f32(v)).collect();
            Codebook::new(&levels).unwrap_err().to_string()
        };
        assert_eq!(error(&[0.0; 5]), "Codebook::new: `levels`: expected 4, 8 or 16 levels, found 5");
        assert!(error(&[0.0, 2.0, 1.0, 3.0]).contains("ascending"));
        assert!(error(&[0.0, 1.0, 2.0, f32::INFINITY]).contains("finite"));
        assert!(error(&[f32::NAN; 4]).contains("finite"));
    }

    #[test]
    fn one_slot_a_hundred_channels() {
        assert_eq!([64, 96, 100, 101, 128, 256].map(outlier_slots), [1, 1, 1, 2, 2, 3]);
    }
}
