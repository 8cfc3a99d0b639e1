//! The index maps inside a tile record: where the code of (token, channel) is, where its scale is, and back.
//!
//! Codes are in **fragment order**: a warp that reads the words of its lanes holds `mma.m16n8k16` A fragments without any
//! shuffle. Lane = 4g + t (g 0..8, t 0..4); row 8h + g of an mma; k slot 2t + e + 8b. Tokens are in natural order, only
//! channels are permuted. D = `head_dim`, any multiple of 16. Bit 0 is the lowest bit of the byte; words and f16, f32
//! scales are little endian.
//!
//! **Words of a lane.** A part is regions of N words a lane: quads of words, 16 bytes a lane, then two words, 8 bytes a
//! lane, if N & 2, then one if N & 1. So word w of a lane is at `512(w/4) + 16 lane + 4(w%4)`, and among the words after
//! the last quad at `128(w - w%4) + 8 lane + 4(w%4)` or `128w + 4 lane` ([`word_offset`]).
//!
//! **Bytes of a row.** A key's row of B bytes is words of four lanes t: byte `64(w/4) + 16t + 4(w%4) + j` of it, and in
//! the words after the last quad byte `16w + 4t + j`, is byte j of word w.
//!
//! | part | regions | N | what |
//! |---|---|---|---|
//! | K, 8 bits | x = token / 8 | D/16 | bytes of the row of token 8x+g |
//! | V, 8 bits | x | D/16 | word m, byte 2r+e: token 8x+2t+e, channel (D/8)g+2m+r |
//! | K, 16 bits | x | D/8 | bytes of the row of token 8x+g, two a channel |
//! | V, 16 bits | one | D/4 | word 4m + 2b+r, half e: token 8b+2t+e, channel (D/8)g+2m+r |
//! | K, int4, D%32 = 0 | i = token / 16 | D/16 | word w = h(D/32) + j, bits 4n: token 16i+8h+g, channel 32j+8t+n |
//! | K, int4, D%32 = 16, and e2m1, nuq4 | i | D/16 | word w, nibble 2h+b+4e: token 16i+8h+g, channel 16w+4t+2b+e |
//! | V, 4 bits | i | D/16 | word w = h(D/32) + v, bits 16e+4f: token 16i+8h+2t+e, channel 32v+16(f/2)+2g+f%2 |
//! | | | | where D%32 = 16, word D/16 - 1, nibble 2h+r+4e: token 16i+8h+2t+e, channel D-16+2g+r |
//! | K, 2 bits | x = token / 32 | D/16 | word w, bits 2n, n = 2i+h + 4b + 8e: token 32x+16i+8h+g, channel 16w+4t+2b+e |
//! | K, q8_0 | x = token / 8 | D/16 | word w, byte 2b+e: token 8x+g, channel 16w+4t+2b+e |
//! | V, q8_0 | x | D/16 | word m, byte 2r+e: token 8x+2t+e, channel 16m+2g+r |
//! | V, 2 bits | x | D/16 | word w = 2v + i, bits 2n, n = 2u+r + 4h + 8e: token 32x+16i+8h+2t+e, channel 32v+16u+2g+r |
//!
//! Codes of 3 bits are two parts: two bits of each code, then the third. Per half i of 16 tokens words of D/32 and of
//! D/64, rounded up. With V = D/32:
//!
//! | part | word, bits | what |
//! |---|---|---|
//! | K, bits 0 and 1 | w/2, `8(2(w%2) + h) + 2q` | token 16i+8h+g, channel 16w+4t+q |
//! | K, bit 2 | w/4, `8(2(w/2%2) + h) + 4(w%2) + q` | the same |
//! | V, bits 0 and 1 | v, `8(2h+e) + 2f` | token 16i+8h+2t+e, channel 32v+16(f/2)+2g+f%2 |
//! | V, bit 2 | v/2, `8(2h+e) + 4(v%2) + f` | the same |
//!
//! | scales | index |
//! |---|---|
//! | int8 K and V, X = tile / 8 | f32 `X g + x`: token 8x+g |
//! | KIVI K of 4 bits, channel 32a+8t+2u+b+4e | half `8(4a+t) + 4u+2b+e` the scale, `D + 8(4a+t) + 4b+2u+e` the minimum |
//! | where D%32 = 16, and KIVI K of 2 and 8 bits, channel c | half `c` the scale, `D + c` the minimum |
//! | int4 K, token 16i+8h+g = 8x+g, group j of G, Q channels each | half `2((8i+g)G + j) + h` the scale; with F = G/2 `32G + 8(gF + j/2) + 2x + j%2` the minimum, of an odd last group `32G + 64F + 4g + x` |
//! | e2m1 K, token 16i+8h+g, block j of 16 channels | byte `4(D/16 g + j) + 2h+i` |
//! | e2m1 V, token 16i+8h+2t+e | byte `8(4j+t) + 4i+2e+h` |
//! | q8_0 and q4_0 K, token 16i+8h+g, group j of G = D/32 | half `2((8i+g) G + j) + h` |
//! | q8_0 and q4_0 V, token 16i+8h+2t+e, T tokens a tile | half `T/4 (4j+t) + 4i+2h+e` |
//! | nuq K, S outliers a token (of keys and of values) | half `S token + s` the value, byte `64S + S token + s` its slot |
//! | nuq V | half `token` the range, `32 + token` the zero, `64 + S token + s` a value, byte `128 + 64S + S token + s` its channel |
//! | int4 and int2 V, token 32x+16i+8h+2t+e, group j of Q = gcd(32, D) channels | `64 x D/Q` halves on: half `8(4j+t) + 4i+2h+e` the scale, `32 D/Q + 8(4j+t) + 4h+2i+e` the minimum |

mod planes;

use super::{KvCode, KvFormat, KvScale, nuq_slots};

pub use planes::{k_high_place, v_high_place};
use planes::{low_place, place_low};

/// Place of a code inside its part: byte offset, and bit in that byte for codes of less than 8 bits. A code of 16 bits
/// starts at the byte.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Place {
    /// Byte offset from the start of the part.
    pub byte: usize,
    /// Lowest bit of the code in that byte.
    pub bit: u32,
}

/// An element of a tile.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Element {
    /// Token inside the tile.
    pub token: usize,
    /// Channel inside the head.
    pub channel: usize,
}

/// Byte offsets, inside the meta part, of the numbers that decode one element.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum MetaPlace {
    /// Nothing in the page: no scale, or one per head or channel from the caller.
    None,
    /// An f32 scale.
    Scale32(usize),
    /// An E4M3 scale, one byte.
    Scale8(usize),
    /// An f16 scale.
    Scale16(usize),
    /// f16 range and zero, if they are in the page, and where the outliers of the token start: f16 values, and a byte each
    /// of channels.
    Outliers {
        /// Range and zero.
        range: Option<(usize, usize)>,
        /// The first value.
        value: usize,
        /// The first channel.
        channel: usize,
    },
    /// An f16 scale and an f16 minimum.
    ScaleMin16(usize, usize),
}

/// Byte offset of word `w` of `lane` in a region of `n` words a lane.
pub const fn word_offset(n: usize, lane: usize, w: usize) -> usize {
    let first = w / 4 * 4;
    match n - first {
        4.. => 128 * first + 16 * lane + 4 * (w % 4),
        2.. if w - first < 2 => 128 * first + 8 * lane + 4 * (w % 4),
        _ => 128 * w + 4 * lane,
    }
}

/// The inverse of [`word_offset`]: (lane, word).
const fn word_at(n: usize, offset: usize) -> (usize, usize) {
    let (first, rest) = (offset / 512 * 4, offset % 512);
    match n - first {
        4.. => (rest / 16, first + rest % 16 / 4),
        2.. if rest < 256 => (rest / 8, first + rest % 8 / 4),
        _ => (rest % 256 % 128 / 4, n - 1),
    }
}

/// Byte of a key's row -> (t, word, byte in the word).
const fn row_word(row_bytes: usize, byte: usize) -> (usize, usize, usize) {
    if byte < row_bytes / 64 * 64 {
        (byte % 64 / 16, byte / 64 * 4 + byte % 16 / 4, byte % 4)
    } else {
        (byte % 16 / 4, byte / 16, byte % 4)
    }
}

/// The inverse of [`row_word`].
const fn row_byte(row_bytes: usize, t: usize, w: usize, j: usize) -> usize {
    if w < row_bytes / 64 * 4 { w / 4 * 64 + 16 * t + w % 4 * 4 + j } else { 16 * w + 4 * t + j }
}

/// True where a word of 4-bit keys is 8 channels of a token; else it is 4 of each of two.
const fn whole_words(code: KvCode, d: usize) -> bool {
    matches!(code, KvCode::Int4 | KvCode::Q4_0) && d.is_multiple_of(32)
}

/// Key code: (token, channel) -> (byte, bit).
pub const fn k_place(code: KvCode, d: usize, token: usize, channel: usize) -> Place {
    if code.bits() == 2 {
        let (i, h, g) = (token / 16 % 2, token / 8 % 2, token % 8);
        let (t, b, e) = (channel / 4 % 4, channel / 2 % 2, channel % 2);
        return crumb_place(d, token / 32, 4 * g + t, channel / 16, 2 * i + h + 4 * b + 8 * e);
    }
    if code.bits() == 3 {
        let (i, h, g) = (token / 16, token / 8 % 2, token % 8);
        let (w, t, q) = (channel / 16, channel / 4 % 4, channel % 4);
        return low_place(d, i, 4 * g + t, w / 2, 2 * (w % 2) + h, q);
    }
    if code.bits() == 4 {
        let (i, h, g) = (token / 16, token / 8 % 2, token % 8);
        let (t, w, nibble) = if whole_words(code, d) {
            (channel / 8 % 4, h * (d / 32) + channel / 32, channel % 8)
        } else {
            (channel / 4 % 4, channel / 16, 2 * h + channel / 2 % 2 + 4 * (channel % 2))
        };
        return nibble_place(d, i, 4 * g + t, w, nibble);
    }
    let bytes = code.bits() as usize / 8;
    let (t, w, j) = match code {
        KvCode::Q8_0 => (channel % 16 / 4, channel / 16, channel % 4),
        _ => row_word(d * bytes, channel * bytes),
    };
    let (x, lane) = (token / 8, 4 * (token % 8) + t);
    Place { byte: x * 8 * d * bytes + word_offset(d * bytes / 16, lane, w) + j, bit: 0 }
}

/// Value code: (token, channel) -> (byte, bit).
pub const fn v_place(code: KvCode, d: usize, token: usize, channel: usize) -> Place {
    let (x, t, e) = (token / 8, token / 2 % 4, token % 2);
    let (g, m, r) = match code {
        KvCode::Q8_0 => (channel % 16 / 2, channel / 16, channel % 2),
        _ => (channel / (d / 8), channel % (d / 8) / 2, channel % 2),
    };
    match code.bits() {
        8 => Place { byte: x * 8 * d + word_offset(d / 16, 4 * g + t, m) + 2 * r + e, bit: 0 },
        16 => Place { byte: word_offset(d / 4, 4 * g + t, 4 * m + 2 * x + r) + 2 * e, bit: 0 },
        2 => {
            let (i, h) = (x / 2 % 2, x % 2);
            let (v, u, g) = (channel / 32, channel / 16 % 2, channel / 2 % 8);
            crumb_place(d, x / 4, 4 * g + t, 2 * v + i, 2 * u + r + 4 * h + 8 * e)
        }
        3 => {
            let (v, g, f) = (channel / 32, channel % 16 / 2, channel % 32 / 16 * 2 + channel % 2);
            low_place(d, x / 2, 4 * g + t, v, 2 * (x % 2) + e, f)
        }
        _ => {
            let (i, h) = (x / 2, x % 2);
            let (g, w, nibble) = if channel < d / 32 * 32 {
                (channel % 16 / 2, h * (d / 32) + channel / 32, 4 * e + channel % 32 / 16 * 2 + channel % 2)
            } else {
                (channel % 16 / 2, d / 16 - 1, 2 * h + channel % 2 + 4 * e)
            };
            nibble_place(d, i, 4 * g + t, w, nibble)
        }
    }
}

/// 4-bit codes: nibble of word `w` of `lane` in 16-token half `i`.
const fn nibble_place(d: usize, i: usize, lane: usize, w: usize, nibble: usize) -> Place {
    Place { byte: i * 8 * d + word_offset(d / 16, lane, w) + nibble / 2, bit: (4 * (nibble % 2)) as u32 }
}

/// 4-bit codes, back: (i, lane, w, nibble).
const fn place_nibble(d: usize, place: Place) -> (usize, usize, usize, usize) {
    let (lane, w) = word_at(d / 16, place.byte % (8 * d));
    (place.byte / (8 * d), lane, w, 2 * (place.byte % 4) + place.bit as usize / 4)
}

/// 2-bit codes: code `n` of word `w` of `lane` in region `x` of 32 tokens.
const fn crumb_place(d: usize, x: usize, lane: usize, w: usize, n: usize) -> Place {
    Place { byte: x * 8 * d + word_offset(d / 16, lane, w) + n / 4, bit: (2 * (n % 4)) as u32 }
}

/// 2-bit codes, back: (x, lane, w, n).
const fn place_crumb(d: usize, place: Place) -> (usize, usize, usize, usize) {
    let (lane, w) = word_at(d / 16, place.byte % (8 * d));
    (place.byte / (8 * d), lane, w, 4 * (place.byte % 4) + place.bit as usize / 2)
}

/// Key code: (byte, bit) -> (token, channel). The inverse of [`k_place`]; a 16-bit code is named by its first byte.
pub const fn k_element(code: KvCode, d: usize, place: Place) -> Element {
    if code.bits() == 2 {
        let (x, lane, w, n) = place_crumb(d, place);
        let (i, h, b, e) = (n % 4 / 2, n % 2, n / 4 % 2, n / 8);
        return Element { token: 32 * x + 16 * i + 8 * h + lane / 4, channel: 16 * w + lane % 4 * 4 + 2 * b + e };
    }
    if code.bits() == 3 {
        let (i, lane, w, y, q) = place_low(d, place);
        let channel = 16 * (2 * w + y / 2) + 4 * (lane % 4) + q;
        return Element { token: 16 * i + 8 * (y % 2) + lane / 4, channel };
    }
    if code.bits() == 4 {
        let (i, lane, w, nibble) = place_nibble(d, place);
        let (g, t) = (lane / 4, lane % 4);
        return if whole_words(code, d) {
            let (h, j) = (w / (d / 32), w % (d / 32));
            Element { token: 16 * i + 8 * h + g, channel: 32 * j + 8 * t + nibble }
        } else {
            let (h, b, e) = (nibble % 4 / 2, nibble % 2, nibble / 4);
            Element { token: 16 * i + 8 * h + g, channel: 16 * w + 4 * t + 2 * b + e }
        };
    }
    let bytes = code.bits() as usize / 8;
    let region = 8 * d * bytes;
    let (lane, w) = word_at(d * bytes / 16, place.byte % region);
    let channel = match code {
        KvCode::Q8_0 => 16 * w + lane % 4 * 4 + place.byte % 4,
        _ => row_byte(d * bytes, lane % 4, w, place.byte % 4) / bytes,
    };
    Element { token: place.byte / region * 8 + lane / 4, channel }
}

/// Value code: (byte, bit) -> (token, channel). The inverse of [`v_place`]; a 16-bit code is named by its first byte.
pub const fn v_element(code: KvCode, d: usize, place: Place) -> Element {
    match code.bits() {
        8 => {
            let (x, j) = (place.byte / (8 * d), place.byte % 4);
            let (lane, m) = word_at(d / 16, place.byte % (8 * d));
            let channel = match code {
                KvCode::Q8_0 => 16 * m + lane / 4 * 2 + j / 2,
                _ => d / 8 * (lane / 4) + 2 * m + j / 2,
            };
            Element { token: 8 * x + lane % 4 * 2 + j % 2, channel }
        }
        16 => {
            let (lane, w) = word_at(d / 4, place.byte);
            let (m, b, r, e) = (w / 4, w % 4 / 2, w % 2, place.byte % 4 / 2);
            Element { token: 8 * b + lane % 4 * 2 + e, channel: d / 8 * (lane / 4) + 2 * m + r }
        }
        2 => {
            let (x, lane, w, n) = place_crumb(d, place);
            let (v, i, u, r, h, e) = (w / 2, w % 2, n % 4 / 2, n % 2, n / 4 % 2, n / 8);
            let token = 32 * x + 16 * i + 8 * h + lane % 4 * 2 + e;
            Element { token, channel: 32 * v + 16 * u + lane / 4 * 2 + r }
        }
        3 => {
            let (i, lane, v, y, f) = place_low(d, place);
            let channel = 32 * v + 16 * (f / 2) + 2 * (lane / 4) + f % 2;
            Element { token: 16 * i + 8 * (y / 2) + 2 * (lane % 4) + y % 2, channel }
        }
        _ => {
            let (i, lane, w, nibble) = place_nibble(d, place);
            let (g, t, e) = (lane / 4, lane % 4, nibble / 4);
            let (h, channel) = if w < d / 32 * 2 {
                (w / (d / 32), w % (d / 32) * 32 + nibble % 4 / 2 * 16 + 2 * g + nibble % 2)
            } else {
                (nibble % 4 / 2, d - 16 + 2 * g + nibble % 2)
            };
            Element { token: 16 * i + 8 * h + 2 * t + e, channel }
        }
    }
}

/// Scale of a key: (token, channel) -> bytes in the K meta part.
pub const fn k_meta(format: &KvFormat, d: usize, token: usize, channel: usize) -> MetaPlace {
    let (x, g) = (token / 8, token % 8);
    match format.k.scale {
        KvScale::None | KvScale::Head | KvScale::Channel => MetaPlace::None,
        KvScale::ChannelRange | KvScale::TokenRange => {
            let slots = nuq_slots(0, d);
            MetaPlace::Outliers { range: None, value: 2 * slots * token, channel: slots * (64 + token) }
        }
        KvScale::Token => token_scale(format, token),
        KvScale::HeadBlock(size) => {
            let size = size as usize;
            MetaPlace::Scale8(4 * (d / size * g + channel / size) + 2 * (x % 2) + x / 2)
        }
        KvScale::Block => MetaPlace::Scale16(2 * (2 * ((8 * (x / 2) + g) * (d / 32) + channel / 32) + x % 2)),
        KvScale::TokenGroup(_) if format.k.code.bits() != 4 || !d.is_multiple_of(32) => {
            MetaPlace::ScaleMin16(2 * channel, 2 * (d + channel))
        }
        KvScale::TokenGroup(_) => {
            let (a, t, e, u, b) = (channel / 32, channel / 8 % 4, channel / 4 % 2, channel / 2 % 2, channel % 2);
            let base = 8 * (4 * a + t);
            MetaPlace::ScaleMin16(2 * (base + 4 * u + 2 * b + e), 2 * (d + base + 4 * b + 2 * u + e))
        }
        KvScale::ChannelGroup(_) => {
            let group = format.k.channel_group(d);
            let (groups, j, pairs) = (d / group, channel / group, d / group / 2);
            let (i, h) = (x / 2, x % 2);
            let min = if j < 2 * pairs { 8 * (g * pairs + j / 2) + 2 * x + j % 2 } else { 64 * pairs + 4 * g + x };
            MetaPlace::ScaleMin16(2 * (2 * ((8 * i + g) * groups + j) + h), 2 * (32 * groups + min))
        }
    }
}

/// Scale of a value: (token, channel) -> bytes in the V meta part.
pub const fn v_meta(format: &KvFormat, d: usize, token: usize, channel: usize) -> MetaPlace {
    match format.v.scale {
        KvScale::None | KvScale::Head | KvScale::Channel => MetaPlace::None,
        KvScale::ChannelRange | KvScale::TokenRange => {
            let slots = nuq_slots(1, d);
            MetaPlace::Outliers {
                range: Some((2 * token, 64 + 2 * token)),
                value: 128 + 2 * slots * token,
                channel: 128 + slots * (64 + token),
            }
        }
        KvScale::Token => token_scale(format, token),
        KvScale::HeadBlock(size) => {
            let (i, h, t, e) = (token / 16, token / 8 % 2, token / 2 % 4, token % 2);
            MetaPlace::Scale8(8 * (4 * (channel / size as usize) + t) + 4 * i + 2 * e + h)
        }
        KvScale::Block => {
            let (i, h, t, e) = (token / 16, token / 8 % 2, token / 2 % 4, token % 2);
            let stride = format.tile_tokens() / 4;
            MetaPlace::Scale16(2 * (stride * (4 * (channel / 32) + t) + 4 * i + 2 * h + e))
        }
        KvScale::ChannelGroup(_) | KvScale::TokenGroup(_) => {
            let (i, h, t, e) = (token / 16 % 2, token / 8 % 2, token / 2 % 4, token % 2);
            let group = format.v.channel_group(d);
            let minima = 32 * (d / group);
            let base = token / 32 * 2 * minima + 8 * (4 * (channel / group) + t);
            MetaPlace::ScaleMin16(2 * (base + 4 * i + 2 * h + e), 2 * (minima + base + 4 * h + 2 * i + e))
        }
    }
}

/// One f32 a token.
const fn token_scale(format: &KvFormat, token: usize) -> MetaPlace {
    MetaPlace::Scale32(4 * (format.tile_tokens() / 8 * (token % 8) + token / 8))
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::HashSet;

    /// Formats and head dims, also those that the maps cover but no kernel does yet. 2-bit values and ggml's blocks come in
    /// 32 channels.
    fn cases() -> impl Iterator<Item = (KvFormat, usize)> {
        KvFormat::PRESETS
            .iter()
            .map(|(_, format)| *format)
            .flat_map(|format| [64, 80, 96, 112, 128, 192, 256].map(|d| (format, d)))
            .filter(|(format, d)| !matches!(format.v.code, KvCode::Int2 | KvCode::Q4_0 | KvCode::Q8_0) || d % 32 == 0)
            .filter(|(format, d)| !format.is_nuq() || format.head_dims().contains(d))
    }

    #[test]
    fn places_fill_the_part_and_have_an_inverse() {
        for (format, d) in cases() {
            let tokens = format.tile_tokens();
            // Of 3-bit codes first the part of two bits.
            let low = |bits: u32| if bits == 3 { 2 } else { bits as usize };
            let bits = [low(format.k.code.bits()), low(format.v.code.bits())];
            let (mut k, mut v) = (HashSet::new(), HashSet::new());
            let (mut k_high, mut v_high) = (HashSet::new(), HashSet::new());
            for (token, channel) in (0..tokens).flat_map(|t| (0..d).map(move |c| (t, c))) {
                let (pk, pv) = (k_place(format.k.code, d, token, channel), v_place(format.v.code, d, token, channel));
                let element = Element { token, channel };
                assert_eq!(k_element(format.k.code, d, pk), element, "K {format} D {d}");
                assert_eq!(v_element(format.v.code, d, pv), element, "V {format} D {d}");
                if format.k.code.bits() == 3 {
                    let highs = [
                        (&mut k_high, k_high_place(d, token, channel)),
                        (&mut v_high, v_high_place(d, token, channel)),
                    ];
                    for (set, place) in highs {
                        assert!((8 * d..8 * d + 256 * d.div_ceil(64)).contains(&place.byte), "{format} D {d}");
                        assert!(set.insert((place.byte, place.bit)), "{format} D {d}: two codes at {place:?}");
                    }
                }
                for (set, place, bits) in [(&mut k, pk, bits[0]), (&mut v, pv, bits[1])] {
                    let first = 8 * place.byte + place.bit as usize;
                    assert_eq!(first % bits, 0);
                    assert!(first + bits <= tokens * d * bits);
                    assert!(set.insert(first), "{format} D {d}: two codes at {place:?}");
                }
            }
        }
    }

    #[test]
    fn scales_fill_the_meta_parts() {
        for (format, d) in cases() {
            let tokens = format.tile_tokens();
            let metas = [(k_meta as fn(&KvFormat, usize, usize, usize) -> MetaPlace, format.k), (v_meta, format.v)];
            for (meta, side) in metas {
                // Place -> (token or channel group it serves); elements that share a place must share a group.
                let mut owner = std::collections::HashMap::new();
                for (token, channel) in (0..tokens).flat_map(|t| (0..d).map(move |c| (t, c))) {
                    let (group, places) = match (side.scale, meta(&format, d, token, channel)) {
                        (KvScale::None | KvScale::Head | KvScale::Channel, MetaPlace::None) => continue,
                        (KvScale::Token, MetaPlace::Scale32(a)) => ((token, 0), (a..a + 4).collect()),
                        (KvScale::Block, MetaPlace::Scale16(a)) => ((token, channel / 32), vec![a, a + 1]),
                        (KvScale::HeadBlock(16), MetaPlace::Scale8(a)) => ((token, channel / 16), vec![a]),
                        (
                            KvScale::ChannelRange | KvScale::TokenRange,
                            MetaPlace::Outliers { range, value, channel },
                        ) => {
                            let ranges = range.map_or(vec![], |(a, b)| vec![a, a + 1, b, b + 1]);
                            let slots = nuq_slots(usize::from(range.is_some()), d);
                            let outliers = (value..value + 2 * slots).chain(channel..channel + slots);
                            ((token, 0), ranges.into_iter().chain(outliers).collect())
                        }
                        (KvScale::TokenGroup(_), MetaPlace::ScaleMin16(a, b)) => {
                            ((0, channel), vec![a, a + 1, b, b + 1])
                        }
                        (KvScale::ChannelGroup(_), MetaPlace::ScaleMin16(a, b)) => {
                            ((token, channel / side.channel_group(d)), vec![a, a + 1, b, b + 1])
                        }
                        other => panic!("{other:?}"),
                    };
                    for place in places {
                        assert_eq!(*owner.entry(place).or_insert(group), group, "{format} D {d} byte {place}");
                    }
                }
                let bytes = match side.scale {
                    KvScale::None | KvScale::Head | KvScale::Channel => 0,
                    KvScale::Token => 4 * tokens,
                    KvScale::HeadBlock(_) | KvScale::Block => tokens * d / 16,
                    KvScale::ChannelRange => 3 * tokens * nuq_slots(0, d),
                    KvScale::TokenRange => tokens * (4 + 3 * nuq_slots(1, d)),
                    KvScale::ChannelGroup(_) => 4 * tokens * d / side.channel_group(d),
                    KvScale::TokenGroup(_) => 4 * d,
                };
                assert_eq!(owner.len(), bytes, "{format} D {d}");
                assert!(owner.keys().all(|&place| place < bytes));
            }
        }
    }

    /// The channel that register b, half e of k step s holds in lane t: the query is permuted by the same map.
    #[test]
    fn key_codes_are_fragments() {
        let (d, lane) = (128, 4 * 3 + 2);
        let (g, t) = (lane / 4, lane % 4);
        for h in 0..2 {
            for (s, b, e) in (0..d / 16).flat_map(|s| [(s, 0, 0), (s, 0, 1), (s, 1, 0), (s, 1, 1)]) {
                let int8 = k_element(
                    KvCode::Int8,
                    d,
                    Place { byte: (h * (d / 64) + s / 4) * 512 + lane * 16 + 4 * (s % 4) + 2 * b + e, bit: 0 },
                );
                assert_eq!(
                    int8,
                    Element { token: 8 * h + g, channel: 64 * (s >> 2) + 16 * t + 4 * (s & 3) + 2 * b + e }
                );
                let float = k_element(
                    KvCode::Float,
                    d,
                    Place { byte: 2 * ((h * (d / 32) + s / 2) * 256 + lane * 8 + 4 * (s % 2) + 2 * b + e), bit: 0 },
                );
                assert_eq!(
                    float,
                    Element { token: 8 * h + g, channel: 32 * (s >> 1) + 8 * t + 4 * (s & 1) + 2 * b + e }
                );
                let nibble = 2 * (s & 1) + b + 4 * e;
                let int4 = k_element(KvCode::Int4, d, nibble_place(d, 1, lane, h * (d / 32) + s / 2, nibble));
                assert_eq!(
                    int4,
                    Element { token: 16 + 8 * h + g, channel: 32 * (s >> 1) + 8 * t + 2 * (s & 1) + b + 4 * e }
                );
                let MetaPlace::ScaleMin16(scale, min) = k_meta(&KvFormat::kivi4(32), d, int4.token, int4.channel)
                else {
                    panic!("KIVI keys have a scale and a minimum");
                };
                assert_eq!(scale, 2 * (8 * (4 * (s >> 1) + t) + 4 * (s & 1) + 2 * b + e));
                assert_eq!(min, 2 * (d + 8 * (4 * (s >> 1) + t) + 4 * b + 2 * (s & 1) + e));
            }
        }
    }
}
