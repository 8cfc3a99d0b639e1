//! Codes of 3 bits: a part of bits 0 and 1, then one of bit 2; the maps are those of [`super`].

use super::{Place, word_at, word_offset};

/// Where bit 2 of 3-bit codes is: after 8D bytes of bits 0 and 1, words of D/64, rounded up, per half i.
const fn high_place(d: usize, i: usize, lane: usize, w: usize, byte: usize, bit: usize) -> Place {
    let words = d.div_ceil(64);
    Place { byte: 8 * d + 128 * words * i + word_offset(words, lane, w) + byte, bit: bit as u32 }
}

/// Where bits 0 and 1 are.
pub(super) const fn low_place(d: usize, i: usize, lane: usize, w: usize, byte: usize, code: usize) -> Place {
    Place { byte: 4 * d * i + word_offset(d / 32, lane, w) + byte, bit: 2 * code as u32 }
}

/// Bit 2 of a 3-bit key code; [`k_place`](super::k_place) is that of the bits below.
pub const fn k_high_place(d: usize, token: usize, channel: usize) -> Place {
    let (i, h, g) = (token / 16, token / 8 % 2, token % 8);
    let (w, t, q) = (channel / 16, channel / 4 % 4, channel % 4);
    high_place(d, i, 4 * g + t, w / 4, 2 * (w / 2 % 2) + h, 4 * (w % 2) + q)
}

/// Bit 2 of a 3-bit value code; [`v_place`](super::v_place) is that of the bits below.
pub const fn v_high_place(d: usize, token: usize, channel: usize) -> Place {
    let (i, h, t, e) = (token / 16, token / 8 % 2, token / 2 % 4, token % 2);
    let (v, g, f) = (channel / 32, channel % 16 / 2, channel % 32 / 16 * 2 + channel % 2);
    high_place(d, i, 4 * g + t, v / 2, 2 * h + e, 4 * (v % 2) + f)
}

/// Bits 0 and 1 of 3-bit codes, back: (i, lane, w, byte, code in it).
pub(super) const fn place_low(d: usize, place: Place) -> (usize, usize, usize, usize, usize) {
    let (lane, w) = word_at(d / 32, place.byte % (4 * d));
    (place.byte / (4 * d), lane, w, place.byte % 4, place.bit as usize / 2)
}
