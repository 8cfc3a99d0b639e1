//! The definition of the KV cache's append: which bytes of pages and state a call writes, and their values.
//!
//! Rules of the codes (f32 arithmetic, IEEE division by the *stored* scale, `rne` = round to nearest even):
//!
//! | code | definition |
//! |---|---|
//! | float | the 16 bits as given |
//! | int8 per token | x: NaN -> 0, clamp to +-65504; scale = amax/127 over the head's channels; q = clamp(rne(x/scale), +-127); 0 if scale = 0 |
//! | int8 per channel | as per token, with the caller's scale of the channel |
//! | e4m3, e5m2 per head | x clamped to +-65504; q = satfinite(x/scale), sign of zero kept; 0x00 if scale = 0; 0x00 where x or x/scale is NaN |
//! | nvfp4 | x: NaN -> 0, clamp; block = E4M3 of (amax/6)/head_scale over 16 channels, 0 unless that is above 0; scale = block * head_scale; q = E2M1 of x/scale, nearest even, up to +-6, sign of zero kept; 0 if block or scale is 0 |
//! | q8_0, q4_0 | x: NaN -> 0, clamp; then ggml's blocks: [`reference::ggml`](crate::reference::ggml::quantize) |
//! | nuq4, nuq3 | src/reference/kv/nuq.rs |
//! | int4; 15 is 3 for int2, 255 for uint8 | x: NaN -> 0, clamp; low = f16(min), high = f16(max) of the group, scale = f16((high-low)/15); q = clamp(rne((x-low)/scale), 0, 15); 0 if scale = 0 |
//!
//! Before it is coded a row is turned by RoPE (keys) and rotated; see [`Rope`] and [`KvLayout::rotated`].
//! Zeros among min and max count as +0, so that the stored bits do not depend on the order of the reduction. A NaN that
//! is coded sets [`Status::NAN`]. Which tokens are coded when: [`window`].

mod codes;
mod copy;
mod export;
mod nuq;
mod row;
mod sequence;

use half::f16;

use crate::cache::params::BatchParams;
use crate::cache::tile::{self, MetaPlace, Place};
use crate::cache::{KvCode, KvLayout, KvScale, KvSide, Part, Status, checked_batch, checked_params, window};
use crate::format::{DType, Fp8, GgmlType, Half16, encode_e2m1};
use crate::reference::ggml;
use crate::{Error, Result};

use codes::{Group, fp8, int8, kept, sanitize};

pub(crate) use codes::to_f32;
pub use copy::{advance_seq_lens, copy_pages, copy_state};
pub(crate) use copy::{check_advance, check_pairs};
pub use export::export_blocks;
pub(crate) use export::{check_export, ggml_type};
pub(crate) use nuq::{Table, decode as decode_nuq};
pub use row::Rope;
pub(crate) use row::{check_key_rope, check_rope, turn};
pub(crate) use sequence::Sequence;

/// A cache in host memory, to be written; the same bytes as [`crate::cache::KvCacheMut`].
#[derive(Debug)]
pub struct CacheMut<'a> {
    /// The layout of both buffers.
    pub layout: KvLayout,
    /// Pages.
    pub pages: &'a mut [u8],
    /// State slots.
    pub state: &'a mut [u8],
    /// Sticky bits.
    pub status: &'a mut Status,
    /// `[1]` or `[num_kv_heads]`, for codes with a scale per head; `[num_kv_heads, head_dim]`, with one per channel.
    pub k_scale: Option<&'a [f32]>,
    /// As `k_scale`.
    pub v_scale: Option<&'a [f32]>,
}

/// A batch in host memory; see [`crate::cache::Batch`].
#[derive(Debug, Clone, Copy)]
pub struct Batch<'a> {
    /// `[num_seqs]`.
    pub seq_lens: &'a [i32],
    /// `[num_seqs + 1]`.
    pub cu_q_lens: &'a [i32],
    /// `[num_seqs, max_blocks]`.
    pub block_table: &'a [i32],
    /// Row length of `block_table`.
    pub max_blocks: usize,
    /// `[num_seqs]`.
    pub state_slots: Option<&'a [i32]>,
    /// `[num_seqs]`.
    pub ring_start: Option<&'a [i32]>,
    /// Most new tokens of one sequence.
    pub max_q_len: usize,
    /// Rows of the new tokens' tensors.
    pub total_q: usize,
}

/// Rows of new tokens, `[total_q, heads, head_dim]` with `stride` elements from row to row.
#[derive(Debug, Clone, Copy)]
pub struct Rows<'a, T> {
    /// The elements.
    pub data: &'a [T],
    /// Elements from one row to the next, at least `heads * head_dim`.
    pub stride: usize,
}

/// Appends the batch's new keys and values; `max_q_len` is at most `max_append` in formats with a window. Keys below
/// F_k(p0) are coded from the window, values at once.
///
/// # Errors
/// [`Error::Argument`] for lengths that do not fit; nothing is written then.
pub fn append<T: Half16>(
    cache: &mut CacheMut<'_>,
    batch: &Batch<'_>,
    k: Rows<'_, T>,
    v: Rows<'_, T>,
    rope: Option<Rope<'_>>,
) -> Result<()> {
    run("kv::append", false, cache, batch, k, v, rope)
}

/// Appends a chunk of any length and codes keys up to F_k(n), from the window and from the chunk.
///
/// # Errors
/// As [`append`].
pub fn append_prefill<T: Half16>(
    cache: &mut CacheMut<'_>,
    batch: &Batch<'_>,
    k: Rows<'_, T>,
    v: Rows<'_, T>,
    rope: Option<Rope<'_>>,
) -> Result<()> {
    run("kv::append_prefill", true, cache, batch, k, v, rope)
}

/// Checks of the new tokens that the host can make; shared with the wrapper.
pub(crate) fn check_rows(
    op: &'static str,
    layout: &KvLayout,
    dtype: DType,
    total_q: usize,
    sides: [(&'static str, &'static str, usize, usize); 2],
) -> Result<()> {
    let shape = layout.shape();
    if dtype != shape.dtype {
        return Err(Error::argument(op, "k, v", format!("{} (the layout's dtype)", shape.dtype), dtype.name()));
    }
    let row = shape.num_kv_heads * shape.head_dim;
    for (data, stride_name, len, stride) in sides {
        if stride < row || !stride.is_multiple_of(8) || i32::try_from(stride).is_err() {
            let expected = format!("a multiple of 8 from {row} to {}", i32::MAX);
            return Err(Error::argument(op, stride_name, expected, stride.to_string()));
        }
        let needed = if total_q == 0 { 0 } else { (total_q - 1) * stride + row };
        if len < needed {
            return Err(Error::argument(op, data, format!("at least {needed} elements"), len.to_string()));
        }
    }
    Ok(())
}

/// A plain append of a format with a window takes no more rows of a sequence than the window has room for.
pub(crate) fn check_max_append(op: &'static str, layout: &KvLayout, max_q_len: usize) -> Result<()> {
    let most = layout.shape().max_append;
    if layout.format().has_window() && max_q_len > most {
        let expected = format!("at most shape.max_append = {most} (longer chunks: append_prefill)");
        return Err(Error::argument(op, "batch.max_q_len", expected, max_q_len.to_string()));
    }
    Ok(())
}

fn run<T: Half16>(
    op: &'static str,
    prefill: bool,
    cache: &mut CacheMut<'_>,
    batch: &Batch<'_>,
    k: Rows<'_, T>,
    v: Rows<'_, T>,
    rope: Option<Rope<'_>>,
) -> Result<()> {
    let layout = cache.layout;
    let scales = [cache.k_scale, cache.v_scale].map(|scale| scale.map(<[f32]>::len));
    let params = checked_params(op, &layout, cache.pages.len(), cache.state.len(), 1, scales)?;
    let checked = batch.checked(op, &layout)?;
    if !prefill {
        check_max_append(op, &layout, batch.max_q_len)?;
    }
    let sides = [("k.data", "k.stride", k.data.len(), k.stride), ("v.data", "v.stride", v.data.len(), v.stride)];
    check_rows(op, &layout, T::DTYPE, batch.total_q, sides)?;
    check_key_rope(op, &layout, rope.is_some())?;
    if let Some(rope) = rope {
        check_rope(op, &layout, batch.max_blocks, rope.rotary_dim, rope.table.len())?;
    }
    for seq in 0..batch.seq_lens.len() {
        let (sequence, status) = Sequence::load(&layout, batch, &checked, params.num_slots, seq);
        *cache.status |= status;
        if let Some(sequence) = sequence {
            let mut writer = Writer { cache: &mut *cache, batch, sequence, prefill, num_pages: params.num_pages };
            writer.write(k, v, rope);
        }
    }
    Ok(())
}

impl Batch<'_> {
    pub(crate) fn checked(&self, op: &'static str, layout: &KvLayout) -> Result<BatchParams> {
        checked_batch(
            op,
            layout,
            self.seq_lens.len(),
            self.cu_q_lens.len(),
            self.block_table.len(),
            self.max_blocks,
            self.state_slots.map(<[i32]>::len),
            self.ring_start.map(<[i32]>::len),
            self.max_q_len,
            self.total_q,
        )
    }

    /// The page of `position`: none beyond the block table, and none with a bit for an entry outside `0..num_pages`.
    pub(crate) fn page(
        &self,
        layout: &KvLayout,
        num_pages: i32,
        seq: usize,
        position: usize,
    ) -> (Option<usize>, Status) {
        let block = position / layout.shape().page_tokens;
        if block >= self.max_blocks {
            return (None, Status::OK);
        }
        match self.block_table[seq * self.max_blocks + block] {
            page if (0..num_pages).contains(&page) => (Some(page as usize), Status::OK),
            _ => (None, Status::BAD_PAGE),
        }
    }
}

/// Writes one sequence.
struct Writer<'a, 'c> {
    cache: &'a mut CacheMut<'c>,
    batch: &'a Batch<'a>,
    sequence: Sequence,
    prefill: bool,
    num_pages: i32,
}

impl Writer<'_, '_> {
    fn write<T: Half16>(&mut self, k: Rows<'_, T>, v: Rows<'_, T>, rope: Option<Rope<'_>>) {
        let layout = self.cache.layout;
        let Sequence { n, p0, m, row0, slot, ring_start, .. } = self.sequence;
        let (heads, d) = (layout.shape().num_kv_heads, layout.shape().head_dim);
        let capacity = self.batch.max_blocks * layout.shape().page_tokens;
        let windowed = layout.format().has_window();
        if layout.format().has_state() && slot.is_none() {
            return;
        }
        let sink = layout.format().sink as usize;
        let row = |rows: Rows<'_, T>, position: usize, head: usize| -> Vec<u16> {
            let start = (row0 + position - p0) * rows.stride + head * d;
            rows.data[start..start + d].iter().map(|&x| bits(x)).collect()
        };
        let dtype = layout.shape().dtype;
        let key = |position, head| {
            let mut key = row(k, position, head);
            row::stored_row(&mut key, position, rope, layout.k_rotation(), dtype);
            key
        };
        let value = |position, head| {
            let mut value = row(v, position, head);
            row::stored_row(&mut value, position, None, layout.v_rotation(), dtype);
            value
        };
        if windowed {
            let end = if self.prefill { n } else { p0 };
            let range = window::flush(p0, end, layout.residual(), layout.shape().max_append, ring_start);
            for start in range.step_by(layout.tile().tokens) {
                for head in 0..heads {
                    let stored = |t| if t < p0 { self.ring_row(0, head, t) } else { key(t, head) };
                    let keys: Vec<Vec<u16>> = (start..start + layout.tile().tokens).map(stored).collect();
                    self.code_key_tile(head, start, &keys);
                }
            }
        }
        for position in (p0..p0 + m).filter(|&p| p < capacity) {
            for head in 0..heads {
                if !windowed {
                    self.code_row(0, head, position, &key(position, head));
                }
                self.code_row(1, head, position, &value(position, head));
                if windowed && position >= window::first_kept(p0, n, layout.residual(), layout.shape().max_append) {
                    self.ring_row_mut(0, head, position, &key(position, head));
                    self.ring_row_mut(1, head, position, &value(position, head));
                }
                if position < sink && self.record(head, position).is_some() {
                    let mut places = vec![0; d];
                    for (c, x) in kept(&key(position, head), dtype).into_iter().enumerate() {
                        places[layout.key_slot(c)] = x;
                    }
                    self.ring_row_mut(0, head, position, &places);
                    let value = kept(&value(position, head), dtype);
                    self.ring_row_mut(1, head, position, &value);
                }
            }
        }
    }

    fn ring_row(&self, side: usize, head: usize, position: usize) -> Vec<u16> {
        let slot = self.sequence.slot.expect("a window");
        let range = ring_range(&self.cache.layout, slot, side, head, position);
        self.cache.state[range].chunks_exact(2).map(|b| u16::from_le_bytes([b[0], b[1]])).collect()
    }

    fn ring_row_mut(&mut self, side: usize, head: usize, position: usize, row: &[u16]) {
        let slot = self.sequence.slot.expect("a window");
        let range = ring_range(&self.cache.layout, slot, side, head, position);
        let bytes: Vec<u8> = row.iter().flat_map(|x| x.to_le_bytes()).collect();
        self.cache.state[range].copy_from_slice(&bytes);
    }

    /// The record of `position`, if its page is there.
    fn record(&mut self, head: usize, position: usize) -> Option<&mut [u8]> {
        let layout = self.cache.layout;
        let (page, status) = self.batch.page(&layout, self.num_pages, self.sequence.seq, position);
        *self.cache.status |= status;
        let offset = layout.record_offset(head, position % layout.shape().page_tokens);
        let start = page? * layout.page_bytes() + offset;
        Some(&mut self.cache.pages[start..start + layout.tile().bytes])
    }

    /// Codes a tile's keys of a head, per channel.
    fn code_key_tile(&mut self, head: usize, start: usize, keys: &[Vec<u16>]) {
        let layout = self.cache.layout;
        let (d, dtype) = (layout.shape().head_dim, layout.shape().dtype);
        let tile = *layout.tile();
        let side = layout.format().k;
        let Some(record) = self.record(head, start) else { return };
        let mut nan = false;
        for channel in 0..d {
            let column: Vec<f32> = keys.iter().map(|key| sanitize(key[channel], dtype, &mut nan)).collect();
            let group = Group::of(side.code, &column);
            for (token, &x) in column.iter().enumerate() {
                let place = tile::k_place(side.code, d, token, channel);
                put(record, tile.k_codes, place, side.code.bits(), group.code(x));
            }
            group.store(record, tile.k_meta, tile::k_meta(layout.format(), d, 0, channel));
        }
        if nan {
            *self.cache.status |= Status::NAN;
        }
    }

    /// Codes one row of a head: side 0 is K, 1 is V.
    fn code_row(&mut self, side: usize, head: usize, position: usize, row: &[u16]) {
        let layout = self.cache.layout;
        let (d, dtype) = (layout.shape().head_dim, layout.shape().dtype);
        let tile = *layout.tile();
        let format = layout.format();
        let token = position % tile.tokens;
        let scales = if side == 0 { self.cache.k_scale } else { self.cache.v_scale };
        let Some(record) = self.record(head, position) else { return };
        let (what, codes, meta) =
            if side == 0 { (format.k, tile.k_codes, tile.k_meta) } else { (format.v, tile.v_codes, tile.v_meta) };
        let place = |channel| match side {
            0 => tile::k_place(what.code, d, token, channel),
            _ => tile::v_place(what.code, d, token, channel),
        };
        let meta_place = |channel| match side {
            0 => tile::k_meta(layout.format(), d, token, channel),
            _ => tile::v_meta(layout.format(), d, token, channel),
        };
        let mut nan = false;
        match what {
            KvSide { code: KvCode::Float, .. } => {
                for (channel, &x) in row.iter().enumerate() {
                    put(record, codes, place(channel), 16, u32::from(x));
                }
            }
            KvSide { code: KvCode::Int8, scale: KvScale::Channel } => {
                let scales = &scales.expect("checked: a scale per channel")[head * d..];
                for (channel, &x) in row.iter().enumerate() {
                    let (x, scale) = (sanitize(x, dtype, &mut nan), scales[channel]);
                    put(record, codes, place(channel), 8, int8(x, scale));
                }
            }
            KvSide { code: KvCode::Int8, .. } => {
                let x: Vec<f32> = row.iter().map(|&x| sanitize(x, dtype, &mut nan)).collect();
                let scale = x.iter().fold(0f32, |amax, x| amax.max(x.abs())) / 127.0;
                for (channel, &x) in x.iter().enumerate() {
                    put(record, codes, place(channel), 8, int8(x, scale));
                }
                let MetaPlace::Scale32(at) = meta_place(0) else { unreachable!("int8 is scaled per token") };
                record[meta.offset + at..][..4].copy_from_slice(&scale.to_le_bytes());
            }
            KvSide { code: KvCode::E4m3 | KvCode::E5m2, .. } => {
                let scales = scales.expect("checked: a scale per head");
                let scale = scales[if scales.len() == 1 { 0 } else { head }];
                for (channel, &x) in row.iter().enumerate() {
                    put(record, codes, place(channel), 8, u32::from(fp8(what.code, to_f32(x, dtype), scale, &mut nan)));
                }
            }
            KvSide { code: KvCode::E2m1, scale } => {
                let KvScale::HeadBlock(size) = scale else { unreachable!("nvfp4 has blocks") };
                let scales = scales.expect("checked: a scale per head");
                let head_scale = scales[if scales.len() == 1 { 0 } else { head }];
                for (j, block) in row.chunks(size as usize).enumerate() {
                    let x: Vec<f32> = block.iter().map(|&x| sanitize(x, dtype, &mut nan)).collect();
                    let quotient = x.iter().fold(0f32, |amax, x| amax.max(x.abs())) / 6.0 / head_scale;
                    let stored = if quotient > 0.0 { Fp8::E4m3.encode(quotient) } else { 0 };
                    let scale = Fp8::E4m3.decode(stored) * head_scale;
                    for (c, &x) in x.iter().enumerate() {
                        let q = if stored == 0 || scale == 0.0 { 0 } else { encode_e2m1(x / scale) };
                        put(record, codes, place(j * size as usize + c), 4, u32::from(q));
                    }
                    let MetaPlace::Scale8(at) = meta_place(j * size as usize) else { unreachable!("a byte a block") };
                    record[meta.offset + at] = stored;
                }
            }
            KvSide { code: KvCode::Q8_0 | KvCode::Q4_0, .. } => {
                let kind = ggml_type(what.code).expect("a block type");
                for (j, block) in row.chunks(GgmlType::BLOCK).enumerate() {
                    let x: Vec<f32> = block.iter().map(|&x| sanitize(x, dtype, &mut nan)).collect();
                    let (scale, _, q) = ggml::coded(kind, &x);
                    for (c, &q) in q.iter().enumerate() {
                        // A signed byte plus 128.
                        let q = if kind == GgmlType::Q8_0 { q ^ 0x80 } else { q };
                        put(record, codes, place(j * GgmlType::BLOCK + c), what.code.bits(), u32::from(q));
                    }
                    let MetaPlace::Scale16(at) = meta_place(j * GgmlType::BLOCK) else {
                        unreachable!("an f16 a block")
                    };
                    record[meta.offset + at..][..2].copy_from_slice(&f16::from_f32(scale).to_le_bytes());
                }
            }
            KvSide { code: KvCode::Int4 | KvCode::Int2 | KvCode::Uint8, scale: KvScale::ChannelGroup(_) } => {
                let size = what.channel_group(d);
                for (j, group_row) in row.chunks(size).enumerate() {
                    let x: Vec<f32> = group_row.iter().map(|&x| sanitize(x, dtype, &mut nan)).collect();
                    let group = Group::of(what.code, &x);
                    for (c, &x) in x.iter().enumerate() {
                        put(record, codes, place(j * size + c), what.code.bits(), group.code(x));
                    }
                    group.store(record, meta, meta_place(j * size));
                }
            }
            KvSide { code: KvCode::Nuq4 | KvCode::Nuq3, .. } => {
                let x: Vec<f32> = row.iter().map(|&x| sanitize(x, dtype, &mut nan)).collect();
                let table = Table::new(&layout, side, head, scales.expect("checked: a table"));
                nuq::code_row(&layout, side, &table, &x, token, record, (codes, meta));
            }
            KvSide { code: KvCode::Int4 | KvCode::Int2 | KvCode::Uint8, .. } => {
                unreachable!("keys per channel are coded by tiles")
            }
        }
        if nan {
            *self.cache.status |= Status::NAN;
        }
    }
}

/// Bytes of the row of `position` in the ring of side 0 (K) or 1 (V) and `head`, of the slot that starts at `slot`.
pub(crate) fn ring_range(
    layout: &KvLayout,
    slot: usize,
    side: usize,
    head: usize,
    position: usize,
) -> std::ops::Range<usize> {
    let window = layout.window().expect("a window");
    let side = if side == 0 { window.k_offset } else { window.v_offset };
    let start = slot + side + head * window.head_bytes + position % window.rows * window.row_bytes;
    start..start + window.row_bytes
}

fn bits<T: Half16>(x: T) -> u16 {
    u16::from_le_bytes(bytemuck::bytes_of(&x).try_into().expect("16 bits"))
}

/// Writes a code of `width` bits.
fn put(record: &mut [u8], part: Part, place: Place, width: u32, code: u32) {
    let at = part.offset + place.byte;
    match width {
        16 => record[at..at + 2].copy_from_slice(&(code as u16).to_le_bytes()),
        _ => {
            let mask = (((1u32 << width) - 1) << place.bit) as u8;
            record[at] = record[at] & !mask | (code << place.bit) as u8;
        }
    }
}
