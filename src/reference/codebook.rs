//! Codebook coding with outlier slots: the definition of [`crate::ops::codebook`].
//!
//! Arithmetic is f32 with IEEE division and square root, rounding to nearest even, no flush to zero. NaN counts as 0 and
//! the input is clamped to +-65504.

use half::f16;

use super::quantize::sanitize;
use super::transform::{self, rows_of};
use crate::error::Result;
use crate::format::{Codebook, CodebookLengths, Element, Matrix, Outliers, Spread, Transform};

/// The value that marks an unused outlier slot, and its channel.
pub(crate) const UNUSED: (u8, f16) = (255, f16::NAN);

/// Codes the transformed `x` (`shape`: rows of one token and head, at most 256 columns).
///
/// With range and zero of the row or of each channel ([`Spread`]): z = (x - zero) / range; where range is 0, z = 0 if x =
/// zero and else infinite. The code is [`Codebook::nearest`] of z, and 0 where range is 0. The `slots` elements of largest |z|
/// with |z| > 1 go to the [`Outliers`] as f16 (their codes stay those of z); what finds no slot is clipped by the table.
///
/// `transform` is applied first, and its result rounded to `E`. `codes` are rows of [`Codebook::row_bytes`] bytes; unused
/// bits of a row's last byte are 0.
///
/// # Errors
/// Those of [`CodebookLengths::validate`] and [`Transform::validate`].
#[allow(clippy::too_many_arguments)] // What is coded, how, and where to.
pub fn quantize<E: Element>(
    book: &Codebook,
    transform: &Transform<&[f32]>,
    shape: Matrix,
    x: &[E],
    codes: &mut [u8],
    mut spread: Spread<&[f16], &mut [f16]>,
    mut outliers: Option<Outliers<&mut [u8], &mut [f16]>>,
) -> Result<()> {
    const OP: &str = "codebook::quantize";
    let lengths = CodebookLengths {
        elements: ("x", x.len()),
        codes: codes.len(),
        spread: spread.lengths(|v| v.len(), |v| v.len()),
        outliers: outliers.as_ref().map(|o| Outliers {
            slots: o.slots,
            channel: o.channel.len(),
            value: o.value.len(),
        }),
    };
    lengths.validate(OP, book, shape)?;
    transform.validate(OP, shape, |v| v.len())?;
    let (row_bytes, slots) = (book.row_bytes(shape.cols), outliers.as_ref().map_or(0, |o| o.slots));
    for row in rows_of(shape) {
        let mut x: Vec<f32> = x[row * shape.row_stride..][..shape.cols].iter().map(|v| v.to_f32()).collect();
        if !transform.is_none() {
            transform::apply(transform, &mut x);
            x.iter_mut().for_each(|v| *v = E::from_f32(*v).to_f32());
        }
        x.iter_mut().for_each(|v| *v = sanitize(*v));
        let of_row = match &mut spread {
            Spread::Channel { .. } => None,
            Spread::Row { range, zero } => {
                (range[row], zero[row]) = extent(&x, slots);
                Some((range[row], zero[row]))
            }
            Spread::Norm { range } => {
                range[row] = norm(&x);
                Some((range[row], f16::ZERO))
            }
        };
        let of = |channel: usize| match (&spread, of_row) {
            (Spread::Channel { heads, range, zero }, _) => {
                let at = row % heads * shape.cols + channel;
                (range[at].to_f32(), zero[at].to_f32())
            }
            (_, of_row) => of_row.map(|(range, zero)| (range.to_f32(), zero.to_f32())).unwrap_or((0.0, 0.0)),
        };
        let bytes = &mut codes[row * row_bytes..][..row_bytes];
        bytes.fill(0);
        let mut z = vec![0f32; shape.cols];
        for (channel, z) in z.iter_mut().enumerate() {
            let (range, zero) = of(channel);
            let offset = x[channel] - zero;
            *z = if range != 0.0 { offset / range } else { if offset == 0.0 { 0.0 } else { f32::INFINITY } };
            let code = if range == 0.0 { 0 } else { book.nearest(*z) };
            put(bytes, book.bits(), channel, code);
        }
        let Some(outliers) = &mut outliers else { continue };
        let mut found = largest(&z, slots).into_iter().filter(|&channel| z[channel].abs() > 1.0);
        for slot in row * slots..(row + 1) * slots {
            let entry = found.next().map_or(UNUSED, |channel| (channel as u8, f16::from_f32(x[channel])));
            (outliers.channel[slot], outliers.value[slot]) = entry;
        }
    }
    Ok(())
}

/// Values: level * range + zero in f32, replaced by the outliers, with one rounding to the output's type.
///
/// Elements of `out` between rows are left as they are. The transform is undone by [`super::transform::inverse`].
///
/// # Errors
/// Those of [`CodebookLengths::validate`].
pub fn dequantize<E: Element>(
    book: &Codebook,
    shape: Matrix,
    codes: &[u8],
    spread: &Spread<&[f16], &[f16]>,
    outliers: Option<&Outliers<&[u8], &[f16]>>,
    out: &mut [E],
) -> Result<()> {
    let lengths = CodebookLengths {
        elements: ("out", out.len()),
        codes: codes.len(),
        spread: spread.lengths(|v| v.len(), |v| v.len()),
        outliers: outliers.map(|o| Outliers { slots: o.slots, channel: o.channel.len(), value: o.value.len() }),
    };
    lengths.validate("codebook::dequantize", book, shape)?;
    let row_bytes = book.row_bytes(shape.cols);
    for row in rows_of(shape) {
        let out = &mut out[row * shape.row_stride..][..shape.cols];
        for (channel, out) in out.iter_mut().enumerate() {
            let (range, zero) = match spread {
                Spread::Channel { heads, range, zero } => {
                    let at = row % heads * shape.cols + channel;
                    (range[at], zero[at])
                }
                Spread::Row { range, zero } => (range[row], zero[row]),
                Spread::Norm { range } => (range[row], f16::ZERO),
            };
            let level = book.levels()[usize::from(get(&codes[row * row_bytes..], book.bits(), channel))];
            *out = E::from_f32(level.to_f32() * range.to_f32() + zero.to_f32());
        }
        let Some(outliers) = outliers else { continue };
        for slot in row * outliers.slots..(row + 1) * outliers.slots {
            let (channel, value) = (usize::from(outliers.channel[slot]), outliers.value[slot].to_f32());
            if !value.is_nan() && channel < out.len() {
                out[channel] = E::from_f32(value);
            }
        }
    }
    Ok(())
}

/// The channels of the `count` largest magnitudes, largest first, ties to the lower channel.
pub(crate) fn largest(x: &[f32], count: usize) -> Vec<usize> {
    let mut order: Vec<usize> = (0..x.len()).collect();
    order.sort_by(|&a, &b| x[b].abs().total_cmp(&x[a].abs())); // stable
    order.truncate(count);
    order
}

/// Range and zero of a row without the `slots` largest magnitudes; 0 if none are left.
pub(crate) fn extent(x: &[f32], slots: usize) -> (f16, f16) {
    let left_out = largest(x, slots);
    let rest = || x.iter().enumerate().filter(|(i, _)| !left_out.contains(i)).map(|(_, &x)| x);
    let (high, low) = (rest().fold(f32::NEG_INFINITY, f32::max), rest().fold(f32::INFINITY, f32::min));
    if low > high {
        return (f16::ZERO, f16::ZERO);
    }
    // Adding 0 makes zeros of either sign +0, so that neither depends on the order of elements.
    (f16::from_f32((high - low) / 2.0 + 0.0), f16::from_f32((high + low) / 2.0 + 0.0))
}

/// sqrt(mean of squares). The sum is f32: eight consecutive elements in order, then a tree over the eights, neighbours
/// first, as many as the next power of two, the missing ones 0.
fn norm(x: &[f32]) -> f16 {
    let mut sums: Vec<f32> = x.chunks(8).map(|eight| eight.iter().fold(0.0, |sum, x| sum + x * x)).collect();
    sums.resize(sums.len().next_power_of_two(), 0.0);
    while sums.len() > 1 {
        sums = sums.chunks(2).map(|pair| pair[0] + pair[1]).collect();
    }
    f16::from_f32((sums[0] / x.len() as f32).sqrt())
}

/// Writes code `index` of `bits` bits into a stream packed least significant bits first, whose bits there are 0.
fn put(row: &mut [u8], bits: usize, index: usize, code: u8) {
    let bit = index * bits;
    let word = u16::from(code) << (bit % 8);
    row[bit / 8] |= word as u8;
    if word > 0xFF {
        row[bit / 8 + 1] |= (word >> 8) as u8;
    }
}

fn get(row: &[u8], bits: usize, index: usize) -> u8 {
    let bit = index * bits;
    let next = row.get(bit / 8 + 1).copied().unwrap_or(0);
    let word = u16::from(row[bit / 8]) | u16::from(next) << 8;
    (word >> (bit % 8)) as u8 & ((1 << bits) - 1)
}
