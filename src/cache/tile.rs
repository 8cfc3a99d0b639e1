//! The index maps inside a tile record: where the code of (token, channel) is, where its scale is, and back.
//!
//! Codes are in **fragment order**: a warp that reads `part + lane * 16 + const` holds `mma.m16n8k16` A fragments
//! without any shuffle. Lane = 4g + t (g 0..8, t 0..4); row 8h + g of an mma; k slot 2t + e + 8b. Tokens are in natural
//! order, only channels are permuted. D = `head_dim`, any multiple of 64. Bit 0 is the lowest bit of the byte; words
//! and f16, f32 scales are little endian.
//!
//! | part | (byte, bit) of (token, channel) |
//! |---|---|
//! | K, 8 bits | `(h*D/64 + c)*512 + lane*16 + j`: token 8h+g, channel 64c+16t+j |
//! | V, 8 bits | `(h*D/64 + m/4)*512 + lane*16 + (m%4)*4 + 2r+e`: token 8h+2t+e, channel (D/8)g+2m+r |
//! | K, 16 bits | halves `(h*D/32 + c)*256 + lane*8 + j`: token 8h+g, channel 32c+8t+j |
//! | V, 16 bits | halves `m*256 + lane*8 + (2b+r)*2 + e`: token 8b+2t+e, channel (D/8)g+2m+r |
//! | K, 4 bits | word w = h*D/32 + j at `8D*i + (w/4)*512 + lane*16 + (w%4)*4`, bits 4n: token 16i+8h+g, channel 32j+8t+n |
//! | V, 4 bits | word w = h*D/32 + v, same place, bits 16e+4f: token 16i+8h+2t+e, channel 32v+16(f/2)+2g+f%2 |
//!
//! | scales | index |
//! |---|---|
//! | int8 K and V | f32 `2g + h`: token 8h+g |
//! | KIVI K, channel 32a+8t+2u+b+4e | half `8(4a+t) + 4u+2b+e` the scale, `D + 8(4a+t) + 4b+2u+e` the minimum |
//! | KIVI V, token 16i+8h+2t+e, group j of 32 channels | half `8(4j+t) + 4i+2h+e` the scale, `D + 8(4j+t) + 4h+2i+e` the minimum |

use super::{KvCode, KvScale, KvSide};

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
    /// Nothing in the page: no scale, or one per head from the caller.
    None,
    /// An f32 scale.
    Scale32(usize),
    /// An f16 scale and an f16 minimum.
    ScaleMin16(usize, usize),
}

/// Key code: (token, channel) -> (byte, bit).
pub const fn k_place(code: KvCode, d: usize, token: usize, channel: usize) -> Place {
    match code {
        KvCode::Int8 | KvCode::E4m3 => {
            let (h, g) = (token / 8, token % 8);
            let (c, t, j) = (channel / 64, channel / 16 % 4, channel % 16);
            Place { byte: (h * (d / 64) + c) * 512 + (4 * g + t) * 16 + j, bit: 0 }
        }
        KvCode::Float => {
            let (h, g) = (token / 8, token % 8);
            let (c, t, j) = (channel / 32, channel / 8 % 4, channel % 8);
            Place { byte: 2 * ((h * (d / 32) + c) * 256 + (4 * g + t) * 8 + j), bit: 0 }
        }
        KvCode::Int4 => {
            let (i, h, g) = (token / 16, token / 8 % 2, token % 8);
            let (j, t, n) = (channel / 32, channel / 8 % 4, channel % 8);
            word_place(d, i, h * (d / 32) + j, 4 * g + t, 4 * n)
        }
    }
}

/// Value code: (token, channel) -> (byte, bit).
pub const fn v_place(code: KvCode, d: usize, token: usize, channel: usize) -> Place {
    match code {
        KvCode::Int8 | KvCode::E4m3 => {
            let (h, t, e) = (token / 8, token / 2 % 4, token % 2);
            let (g, m, r) = (channel / (d / 8), channel % (d / 8) / 2, channel % 2);
            Place { byte: (h * (d / 64) + m / 4) * 512 + (4 * g + t) * 16 + (m % 4) * 4 + 2 * r + e, bit: 0 }
        }
        KvCode::Float => {
            let (b, t, e) = (token / 8, token / 2 % 4, token % 2);
            let (g, m, r) = (channel / (d / 8), channel % (d / 8) / 2, channel % 2);
            Place { byte: 2 * (m * 256 + (4 * g + t) * 8 + (2 * b + r) * 2 + e), bit: 0 }
        }
        KvCode::Int4 => {
            let (i, h, t, e) = (token / 16, token / 8 % 2, token / 2 % 4, token % 2);
            let (v, g, f) = (channel / 32, channel % 16 / 2, channel % 32 / 16 * 2 + channel % 2);
            word_place(d, i, h * (d / 32) + v, 4 * g + t, 16 * e + 4 * f)
        }
    }
}

/// 4-bit codes: bit `bit` of 32-bit word `w` of `lane` in 16-token half `i`.
const fn word_place(d: usize, i: usize, w: usize, lane: usize, bit: usize) -> Place {
    Place { byte: i * 8 * d + w / 4 * 512 + lane * 16 + w % 4 * 4 + bit / 8, bit: (bit % 8) as u32 }
}

/// 4-bit codes, back: (i, w, g, t, bit in the word).
const fn place_word(d: usize, place: Place) -> (usize, usize, usize, usize, usize) {
    let (i, rest) = (place.byte / (8 * d), place.byte % (8 * d));
    let (chunk, lane, word) = (rest / 512, rest % 512 / 16, rest % 16 / 4);
    (i, 4 * chunk + word, lane / 4, lane % 4, 8 * (rest % 4) + place.bit as usize)
}

/// Key code: (byte, bit) -> (token, channel). The inverse of [`k_place`]; a 16-bit code is named by its first byte.
pub const fn k_element(code: KvCode, d: usize, place: Place) -> Element {
    match code {
        KvCode::Int8 | KvCode::E4m3 => {
            let (chunk, lane, j) = (place.byte / 512, place.byte % 512 / 16, place.byte % 16);
            let (h, c, g, t) = (chunk / (d / 64), chunk % (d / 64), lane / 4, lane % 4);
            Element { token: 8 * h + g, channel: 64 * c + 16 * t + j }
        }
        KvCode::Float => {
            let half = place.byte / 2;
            let (chunk, lane, j) = (half / 256, half % 256 / 8, half % 8);
            let (h, c, g, t) = (chunk / (d / 32), chunk % (d / 32), lane / 4, lane % 4);
            Element { token: 8 * h + g, channel: 32 * c + 8 * t + j }
        }
        KvCode::Int4 => {
            let (i, w, g, t, bit) = place_word(d, place);
            let (h, j) = (w / (d / 32), w % (d / 32));
            Element { token: 16 * i + 8 * h + g, channel: 32 * j + 8 * t + bit / 4 }
        }
    }
}

/// Value code: (byte, bit) -> (token, channel). The inverse of [`v_place`]; a 16-bit code is named by its first byte.
pub const fn v_element(code: KvCode, d: usize, place: Place) -> Element {
    match code {
        KvCode::Int8 | KvCode::E4m3 => {
            let (chunk, lane, k) = (place.byte / 512, place.byte % 512 / 16, place.byte % 16);
            let (h, g, t) = (chunk / (d / 64), lane / 4, lane % 4);
            let (m, r, e) = (4 * (chunk % (d / 64)) + k / 4, k / 2 % 2, k % 2);
            Element { token: 8 * h + 2 * t + e, channel: d / 8 * g + 2 * m + r }
        }
        KvCode::Float => {
            let half = place.byte / 2;
            let (m, lane, k) = (half / 256, half % 256 / 8, half % 8);
            let (g, t, b, r, e) = (lane / 4, lane % 4, k / 4, k / 2 % 2, k % 2);
            Element { token: 8 * b + 2 * t + e, channel: d / 8 * g + 2 * m + r }
        }
        KvCode::Int4 => {
            let (i, w, g, t, bit) = place_word(d, place);
            let (h, v, e, f) = (w / (d / 32), w % (d / 32), bit / 16, bit % 16 / 4);
            Element { token: 16 * i + 8 * h + 2 * t + e, channel: 32 * v + 16 * (f / 2) + 2 * g + f % 2 }
        }
    }
}

/// Scale of a key: (token, channel) -> bytes in the K meta part.
pub const fn k_meta(side: KvSide, d: usize, token: usize, channel: usize) -> MetaPlace {
    match side.scale {
        KvScale::None | KvScale::Head => MetaPlace::None,
        KvScale::Token => MetaPlace::Scale32(4 * (2 * (token % 8) + token / 8)),
        KvScale::ChannelGroup(_) | KvScale::TokenGroup(_) => {
            let (a, t, e, u, b) = (channel / 32, channel / 8 % 4, channel / 4 % 2, channel / 2 % 2, channel % 2);
            let base = 8 * (4 * a + t);
            MetaPlace::ScaleMin16(2 * (base + 4 * u + 2 * b + e), 2 * (d + base + 4 * b + 2 * u + e))
        }
    }
}

/// Scale of a value: (token, channel) -> bytes in the V meta part.
pub const fn v_meta(side: KvSide, d: usize, token: usize, channel: usize) -> MetaPlace {
    match side.scale {
        KvScale::None | KvScale::Head => MetaPlace::None,
        KvScale::Token => MetaPlace::Scale32(4 * (2 * (token % 8) + token / 8)),
        KvScale::ChannelGroup(_) | KvScale::TokenGroup(_) => {
            let (i, h, t, e) = (token / 16, token / 8 % 2, token / 2 % 4, token % 2);
            let base = 8 * (4 * (channel / 32) + t);
            MetaPlace::ScaleMin16(2 * (base + 4 * i + 2 * h + e), 2 * (d + base + 4 * h + 2 * i + e))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cache::KvFormat;
    use std::collections::HashSet;

    /// Formats and head dims, also those that the maps cover but no kernel does yet.
    fn cases() -> impl Iterator<Item = (KvFormat, usize)> {
        [KvFormat::FLOAT, KvFormat::INT8, KvFormat::E4M3, KvFormat::kivi4(32)]
            .into_iter()
            .flat_map(|format| [64, 128, 192, 256].map(|d| (format, d)))
    }

    #[test]
    fn places_fill_the_part_and_have_an_inverse() {
        for (format, d) in cases() {
            let tokens = format.tile_tokens();
            let bits = format.k.code.bits() as usize;
            let (mut k, mut v) = (HashSet::new(), HashSet::new());
            for (token, channel) in (0..tokens).flat_map(|t| (0..d).map(move |c| (t, c))) {
                let (pk, pv) = (k_place(format.k.code, d, token, channel), v_place(format.v.code, d, token, channel));
                let element = Element { token, channel };
                assert_eq!(k_element(format.k.code, d, pk), element, "K {format} D {d}");
                assert_eq!(v_element(format.v.code, d, pv), element, "V {format} D {d}");
                for (set, place) in [(&mut k, pk), (&mut v, pv)] {
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
            for (meta, side) in [(k_meta as fn(KvSide, usize, usize, usize) -> MetaPlace, format.k), (v_meta, format.v)]
            {
                // Place -> (token or channel group it serves); elements that share a place must share a group.
                let mut owner = std::collections::HashMap::new();
                for (token, channel) in (0..tokens).flat_map(|t| (0..d).map(move |c| (t, c))) {
                    let (group, places) = match (side.scale, meta(side, d, token, channel)) {
                        (KvScale::None | KvScale::Head, MetaPlace::None) => continue,
                        (KvScale::Token, MetaPlace::Scale32(a)) => ((token, 0), vec![a, a + 2]),
                        (KvScale::TokenGroup(32), MetaPlace::ScaleMin16(a, b)) => ((0, channel), vec![a, b]),
                        (KvScale::ChannelGroup(32), MetaPlace::ScaleMin16(a, b)) => ((token, channel / 32), vec![a, b]),
                        other => panic!("{other:?}"),
                    };
                    for place in places {
                        assert_eq!(*owner.entry(place).or_insert(group), group, "{format} D {d} byte {place}");
                    }
                }
                let bytes = match side.scale {
                    KvScale::None | KvScale::Head => 0,
                    KvScale::Token => 4 * tokens,
                    _ => 4 * d,
                };
                assert_eq!(owner.len() * 2, bytes, "{format} D {d}");
                assert!(owner.keys().all(|&place| place + 2 <= bytes));
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
                let int4 = k_element(KvCode::Int4, d, word_place(d, 1, h * (d / 32) + s / 2, lane, 4 * nibble));
                assert_eq!(
                    int4,
                    Element { token: 16 + 8 * h + g, channel: 32 * (s >> 1) + 8 * t + 2 * (s & 1) + b + 4 * e }
                );
                let MetaPlace::ScaleMin16(scale, min) = k_meta(KvFormat::kivi4(32).k, d, int4.token, int4.channel)
                else {
                    panic!("KIVI keys have a scale and a minimum");
                };
                assert_eq!(scale, 2 * (8 * (4 * (s >> 1) + t) + 4 * (s & 1) + 2 * b + e));
                assert_eq!(min, 2 * (d + 8 * (4 * (s >> 1) + t) + 4 * b + 2 * (s & 1) + e));
            }
        }
    }
}
