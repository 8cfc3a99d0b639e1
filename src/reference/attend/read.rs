//! What a call reads of a cache: keys and values of a sequence, dequantized.

use super::{CacheRef, rotate};
use crate::Result;
use crate::cache::tile::{self, MetaPlace, Place};
use crate::cache::{KeyRope, KvCode, KvFormat, KvLayout, KvScale, KvSide, Part, Status, checked_params, window};
use crate::format::{Fp8, Half16, decode_e2m1};
use crate::reference::kv::{Batch, Rope, Rows, Sequence, Table, decode_nuq, ring_range, to_f32, turn};

/// Keys and values of one sequence as they are read (rotated where the layout says so), `[tokens][kv_heads][head_dim]`.
#[derive(Debug, Clone, PartialEq)]
pub struct Dequantized {
    /// False where the token is absent.
    pub present: Vec<bool>,
    /// Keys; unspecified where absent.
    pub k: Vec<f32>,
    /// Values; unspecified where absent.
    pub v: Vec<f32>,
}

/// Keys and values of sequence `seq` as a call over this batch reads them: codes below F_k and F_v, the window above, the
/// sink's rows; keys before RoPE where they are stored so.
///
/// # Errors
/// [`crate::Error::Argument`] for lengths that do not fit.
pub fn dequantize(cache: &CacheRef<'_>, batch: &Batch<'_>, seq: usize) -> Result<(Option<Dequantized>, Status)> {
    let (_, tokens, status) = load("dequantize", cache, batch, seq, false, None)?;
    Ok((tokens, status))
}

impl Dequantized {
    /// Adds the chunk's rows, in the basis of the cache.
    pub(super) fn extend<T: Half16>(&mut self, layout: &KvLayout, sequence: &Sequence, chunk: [Rows<'_, T>; 2]) {
        let (heads, d) = (layout.shape().num_kv_heads, layout.shape().head_dim);
        // Positions beyond the block table are absent, those of the chunk are not.
        self.present.resize(sequence.p0, false);
        self.present.resize(sequence.n, true);
        let rotations = [layout.k_rotation(), layout.v_rotation()];
        for ((to, rows), rotation) in [&mut self.k, &mut self.v].into_iter().zip(chunk).zip(rotations) {
            to.resize(sequence.p0 * heads * d, 0.0);
            for r in 0..sequence.m {
                let row = &rows.data[(sequence.row0 + r) * rows.stride..][..heads * d];
                for head in row.chunks_exact(d) {
                    let mut x: Vec<f64> = head.iter().map(|x| f64::from(x.to_f32())).collect();
                    rotate(rotation, &mut x);
                    to.extend(x.iter().map(|&x| x as f32));
                }
            }
        }
    }
}

/// Reads a sequence; `prefix`: what lies before the batch's tokens only.
pub(super) fn load(
    op: &'static str,
    cache: &CacheRef<'_>,
    batch: &Batch<'_>,
    seq: usize,
    prefix: bool,
    rope: Option<&[f32]>,
) -> Result<(Option<Sequence>, Option<Dequantized>, Status)> {
    let layout = cache.layout;
    let scales = [cache.k_scale, cache.v_scale].map(|scale| scale.map(<[f32]>::len));
    let params = checked_params(op, &layout, cache.pages.len(), cache.state.len(), 1, scales)?;
    let checked = batch.checked(op, &layout)?;
    let (sequence, mut status) = Sequence::load(&layout, batch, &checked, params.num_slots, seq);
    let Some(sequence) = sequence else { return Ok((None, None, status)) };
    let (heads, d) = (layout.shape().num_kv_heads, layout.shape().head_dim);
    let Sequence { n, p0, slot, ring_start, .. } = sequence;
    let tokens = if prefix { p0 } else { n }.min(batch.max_blocks * layout.shape().page_tokens);
    let keys_coded = window::keys_coded(p0, layout.residual(), n);
    let values_coded = window::values_coded(p0, layout.residual(), ring_start, n);
    let mut read =
        Dequantized { present: vec![true; tokens], k: vec![0.0; tokens * heads * d], v: vec![0.0; tokens * heads * d] };
    let tile = layout.tile();
    for start in (0..tokens.min(keys_coded)).step_by(tile.tokens) {
        let end = tokens.min(keys_coded).min(start + tile.tokens);
        let (page, bad) = batch.page(&layout, params.num_pages, seq, start);
        status |= bad;
        let Some(page) = page else {
            read.present[start..end].fill(false);
            continue;
        };
        for head in 0..heads {
            let offset = page * layout.page_bytes() + layout.record_offset(head, start % layout.shape().page_tokens);
            let record = &cache.pages[offset..offset + tile.bytes];
            let put = |side: usize, to: &mut [f32], scale: Option<&[f32]>| {
                let parts = [(tile.k_codes, tile.k_meta), (tile.v_codes, tile.v_meta)][side];
                let table = Table::new(&layout, side, head, scale.expect("checked: a table"));
                decode_nuq(
                    &layout,
                    side,
                    &table,
                    part(record, parts.0),
                    part(record, parts.1),
                    |token, channel, value| {
                        if start + token < end {
                            to[((start + token) * heads + head) * d + channel] = value;
                        }
                    },
                );
            };
            if layout.format().is_nuq() {
                put(0, &mut read.k, cache.k_scale);
                put(1, &mut read.v, cache.v_scale);
                continue;
            }
            let sides: [(&mut [f32], Side); 2] = [
                (&mut read.k, Side::keys(&layout, record, cache.k_scale, head)),
                (&mut read.v, Side::values(&layout, record, cache.v_scale, head)),
            ];
            for (to, side) in sides {
                side.decode(d, |token, channel, value| {
                    if start + token < end {
                        to[((start + token) * heads + head) * d + channel] = value;
                    }
                });
            }
        }
    }
    read_sink(&layout, cache, slot, &mut read);
    turn_keys(&layout, rope, &mut read);
    for t in values_coded.min(keys_coded)..tokens {
        let Some(slot) = slot else {
            read.present[t] = false;
            continue;
        };
        for head in 0..heads {
            for (side, first, to) in [(0, keys_coded, &mut read.k), (1, values_coded, &mut read.v)] {
                if t >= first {
                    let row = &cache.state[ring_range(&layout, slot, side, head, t)];
                    for (x, bytes) in to[(t * heads + head) * d..][..d].iter_mut().zip(row.chunks_exact(2)) {
                        *x = to_f32(u16::from_le_bytes([bytes[0], bytes[1]]), layout.shape().dtype);
                    }
                }
            }
        }
    }
    Ok((Some(sequence), Some(read), status))
}

/// Lays the sink's rows over the first tokens; without a slot these are absent.
fn read_sink(layout: &KvLayout, cache: &CacheRef<'_>, slot: Option<usize>, read: &mut Dequantized) {
    let (heads, d) = (layout.shape().num_kv_heads, layout.shape().head_dim);
    for t in 0..read.present.len().min(layout.format().sink as usize) {
        let Some(slot) = slot else {
            read.present[t] = false;
            continue;
        };
        for (head, side) in (0..heads).flat_map(|head| [(head, 0), (head, 1)]) {
            let row = &cache.state[ring_range(layout, slot, side, head, t)];
            for (place, bytes) in row.chunks_exact(2).enumerate() {
                let channel = if side == 0 { layout.key_channel(place) } else { place };
                let to = if side == 0 { &mut read.k } else { &mut read.v };
                to[(t * heads + head) * d + channel] =
                    to_f32(u16::from_le_bytes([bytes[0], bytes[1]]), layout.shape().dtype);
            }
        }
    }
}

/// Turns keys that are stored before RoPE.
fn turn_keys(layout: &KvLayout, rope: Option<&[f32]>, read: &mut Dequantized) {
    let (Some(KeyRope { style, rotary_dim }), Some(table)) = (layout.key_rope(), rope) else { return };
    let d = layout.shape().head_dim;
    let rope = Rope { style, rotary_dim, table };
    for (row, key) in read.k.chunks_exact_mut(d).enumerate() {
        turn(key, &rope, row / layout.shape().num_kv_heads);
    }
}

/// One side of a tile record.
struct Side<'a> {
    what: KvSide,
    layout: &'a KvLayout,
    codes: &'a [u8],
    meta: &'a [u8],
    /// The caller's scales of this head: of all channels, or of each.
    scale: HeadScale<'a>,
    element: fn(KvCode, usize, Place) -> tile::Element,
    meta_place: fn(&KvFormat, usize, usize, usize) -> MetaPlace,
}

impl<'a> Side<'a> {
    fn keys(layout: &'a KvLayout, record: &'a [u8], scale: Option<&'a [f32]>, head: usize) -> Self {
        let tile = layout.tile();
        Self {
            what: layout.format().k,
            layout,
            codes: part(record, tile.k_codes),
            meta: part(record, tile.k_meta),
            scale: HeadScale::of(layout.format().k, layout.shape().head_dim, scale, head),
            element: tile::k_element,
            meta_place: tile::k_meta,
        }
    }

    fn values(layout: &'a KvLayout, record: &'a [u8], scale: Option<&'a [f32]>, head: usize) -> Self {
        let tile = layout.tile();
        Self {
            what: layout.format().v,
            layout,
            codes: part(record, tile.v_codes),
            meta: part(record, tile.v_meta),
            scale: HeadScale::of(layout.format().v, layout.shape().head_dim, scale, head),
            element: tile::v_element,
            meta_place: tile::v_meta,
        }
    }

    /// Walks the codes in the order of their bytes; `put` gets token, channel and value.
    fn decode(&self, d: usize, mut put: impl FnMut(usize, usize, f32)) {
        let code = self.what.code;
        let width = code.bits() as usize;
        for first in (0..8 * self.codes.len()).step_by(width) {
            let place = Place { byte: first / 8, bit: (first % 8) as u32 };
            let element = (self.element)(code, d, place);
            let byte = self.codes[place.byte];
            let plain = match code {
                KvCode::Float => {
                    let bits = u16::from_le_bytes([byte, self.codes[place.byte + 1]]);
                    to_f32(bits, self.layout.shape().dtype)
                }
                KvCode::Int8 | KvCode::Q8_0 => f32::from(byte) - 128.0,
                KvCode::Q4_0 => f32::from(byte >> place.bit & 15) - 8.0,
                KvCode::E4m3 => Fp8::E4m3.decode(byte),
                KvCode::E5m2 => Fp8::E5m2.decode(byte),
                KvCode::Int4 | KvCode::Int2 | KvCode::Uint8 => (u32::from(byte) >> place.bit & code.top()) as f32,
                KvCode::E2m1 => decode_e2m1(byte >> place.bit & 15),
                KvCode::Nuq4 | KvCode::Nuq3 => unreachable!("read by their tables"),
            };
            let value = match (self.meta_place)(self.layout.format(), d, element.token, element.channel) {
                MetaPlace::None => plain * self.scale.at(element.channel),
                MetaPlace::Outliers { .. } => unreachable!("read by their tables"),
                MetaPlace::Scale8(at) => plain * (Fp8::E4m3.decode(self.meta[at]) * self.scale.at(element.channel)),
                MetaPlace::Scale32(at) => {
                    plain * f32::from_le_bytes(self.meta[at..at + 4].try_into().expect("4 bytes"))
                }
                MetaPlace::Scale16(at) => plain * half::f16::from_le_bytes([self.meta[at], self.meta[at + 1]]).to_f32(),
                MetaPlace::ScaleMin16(scale, min) => {
                    let half = |at: usize| half::f16::from_le_bytes([self.meta[at], self.meta[at + 1]]).to_f32();
                    plain * half(scale) + half(min)
                }
            };
            put(element.token, element.channel, value);
        }
    }
}

fn part(record: &[u8], part: Part) -> &[u8] {
    &record[part.offset..part.end()]
}

/// What the caller gave for a head.
enum HeadScale<'a> {
    /// 1 where the format takes no scale from the caller.
    All(f32),
    Channels(&'a [f32]),
}

impl<'a> HeadScale<'a> {
    fn of(side: KvSide, d: usize, scale: Option<&'a [f32]>, head: usize) -> Self {
        match (side.scale, scale) {
            (_, None) => Self::All(1.0),
            (KvScale::Channel, Some(scale)) => Self::Channels(&scale[head * d..]),
            (_, Some(scale)) => Self::All(scale[if scale.len() == 1 { 0 } else { head }]),
        }
    }

    fn at(&self, channel: usize) -> f32 {
        match self {
            Self::All(scale) => *scale,
            Self::Channels(scales) => scales[channel],
        }
    }
}
