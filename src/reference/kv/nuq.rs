//! Codes with tables in the cache (KVQuant): the definition of how a row is coded and read.
//!
//! S = ceil(D/100) outliers a row, of keys two at least (`nuq_slots`).
//! x: NaN -> 0, clamp to +-65504. Keys: range and zero of the channel, from the caller. Values: of the row without its S
//! largest magnitudes (ties to the lower channel), range = f16((max - min)/2), zero = f16((max + min)/2).
//! z = (x - zero)/range; where range is 0, 0 if x = zero and else infinite. The code is [`Codebook::nearest`](crate::format::Codebook::nearest)
//! of z, 0 where range is 0. The S largest |z| above 1 (ties to the lower channel) are stored as f16 beside; an unused place has
//! channel 255 and the value 0x7E00, a NaN. y = level * range + zero in f32, two roundings, replaced by the outliers.

use half::f16;

use crate::cache::tile::{self, MetaPlace};
use crate::cache::{KvCode, KvLayout, NUQ_BOOK, Part, nuq_slots};
use crate::reference::codebook::{UNUSED, extent, largest};

use super::put;

/// The caller's table of one side: levels and, for keys, ranges and zeros.
pub(crate) struct Table<'a> {
    levels: &'a [f32],
    /// Of the head's channels.
    channels: Option<(&'a [f32], &'a [f32])>,
}

impl<'a> Table<'a> {
    /// `given` has the length that was checked.
    pub(crate) fn new(layout: &KvLayout, side: usize, head: usize, given: &'a [f32]) -> Self {
        let d = layout.shape().head_dim;
        let code = [layout.format().k.code, layout.format().v.code][side];
        let (book, rest) = given.split_at(NUQ_BOOK);
        let (range, zero) = rest.split_at(rest.len() / 2);
        let of_head = |x: &'a [f32]| &x[head * d..][..d];
        Self { levels: &book[..1 << code.bits()], channels: (side == 0).then(|| (of_head(range), of_head(zero))) }
    }

    /// The first of the levels for which |z - level|, rounded to f32, is least.
    fn nearest(&self, z: f32) -> u32 {
        let distance = |code: &usize| (z - self.levels[*code]).abs();
        (0..self.levels.len()).min_by(|a, b| distance(a).total_cmp(&distance(b))).expect("levels") as u32
    }
}

/// Codes the row of `token` of a tile into its record.
pub(crate) fn code_row(
    layout: &KvLayout,
    side: usize,
    table: &Table<'_>,
    x: &[f32],
    token: usize,
    record: &mut [u8],
    (codes, meta): (Part, Part),
) {
    let (format, d) = (layout.format(), layout.shape().head_dim);
    let slots = nuq_slots(side, d);
    let (code, place) = match side {
        0 => (format.k.code, tile::k_meta(format, d, token, 0)),
        _ => (format.v.code, tile::v_meta(format, d, token, 0)),
    };
    let MetaPlace::Outliers { range, value, channel } = place else { unreachable!("tables have outliers") };
    let of_row = extent(x, slots);
    if let Some((range, zero)) = range {
        record[meta.offset + range..][..2].copy_from_slice(&of_row.0.to_le_bytes());
        record[meta.offset + zero..][..2].copy_from_slice(&of_row.1.to_le_bytes());
    }
    let z: Vec<f32> = (0..d)
        .map(|c| {
            let (range, zero) = table.channels.map_or((of_row.0.to_f32(), of_row.1.to_f32()), |(r, z)| (r[c], z[c]));
            let offset = x[c] - zero;
            let z = if range != 0.0 {
                offset / range
            } else if offset == 0.0 {
                0.0
            } else {
                f32::INFINITY
            };
            let q = if range == 0.0 { 0 } else { table.nearest(z) };
            put_code(layout, side, code, record, codes, token, c, q);
            z
        })
        .collect();
    let mut found = largest(&z, slots).into_iter().filter(|&c| z[c].abs() > 1.0);
    for s in 0..slots {
        let (c, v) = found.next().map_or(UNUSED, |c| {
            let stored = if side == 0 { layout.key_slot(c) } else { c };
            (stored as u8, f16::from_f32(x[c]))
        });
        record[meta.offset + channel + s] = c;
        record[meta.offset + value + 2 * s..][..2].copy_from_slice(&v.to_le_bytes());
    }
}

#[allow(clippy::too_many_arguments)]
fn put_code(
    layout: &KvLayout,
    side: usize,
    code: KvCode,
    record: &mut [u8],
    codes: Part,
    token: usize,
    channel: usize,
    q: u32,
) {
    let d = layout.shape().head_dim;
    let (place, high) = match side {
        0 => {
            let slot = layout.key_slot(channel);
            (tile::k_place(code, d, token, slot), tile::k_high_place(d, token, slot))
        }
        _ => (tile::v_place(code, d, token, channel), tile::v_high_place(d, token, channel)),
    };
    if code == KvCode::Nuq4 {
        return put(record, codes, place, 4, q);
    }
    put(record, codes, place, 2, q & 3);
    put(record, codes, high, 1, q >> 2);
    if side == 1 && d % 64 == 32 && channel >= d - 32 {
        // The byte's other half belongs to no channel.
        record[codes.offset + high.byte] &= 15;
    }
}

/// Reads a tile: `put` gets token, channel and value of every element, of outliers last.
pub(crate) fn decode(
    layout: &KvLayout,
    side: usize,
    table: &Table<'_>,
    codes: &[u8],
    meta: &[u8],
    mut put: impl FnMut(usize, usize, f32),
) {
    let (format, d) = (layout.format(), layout.shape().head_dim);
    let half = |at: usize| f16::from_le_bytes([meta[at], meta[at + 1]]).to_f32();
    for token in 0..layout.tile().tokens {
        let (code, place) = match side {
            0 => (format.k.code, tile::k_meta(format, d, token, 0)),
            _ => (format.v.code, tile::v_meta(format, d, token, 0)),
        };
        let MetaPlace::Outliers { range, value, channel } = place else { unreachable!("tables have outliers") };
        for c in 0..d {
            let slot = if side == 0 { layout.key_slot(c) } else { c };
            let places = match side {
                0 => (tile::k_place(code, d, token, slot), tile::k_high_place(d, token, slot)),
                _ => (tile::v_place(code, d, token, slot), tile::v_high_place(d, token, slot)),
            };
            let bits =
                |place: tile::Place, width: u32| usize::from(codes[place.byte] >> place.bit) & ((1 << width) - 1);
            let q = match code {
                KvCode::Nuq4 => bits(places.0, 4),
                _ => bits(places.0, 2) | bits(places.1, 1) << 2,
            };
            let (range, zero) = match (table.channels, range) {
                (Some((ranges, zeros)), _) => (ranges[c], zeros[c]),
                (None, Some((range, zero))) => (half(range), half(zero)),
                (None, None) => unreachable!("keys have ranges of channels, values of tokens"),
            };
            put(token, c, table.levels[q] * range + zero);
        }
        for s in 0..nuq_slots(side, d) {
            let (slot, v) = (usize::from(meta[channel + s]), half(value + 2 * s));
            if !v.is_nan() && slot < d {
                put(token, if side == 0 { layout.key_channel(slot) } else { slot }, v);
            }
        }
    }
}
