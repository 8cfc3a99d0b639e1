//! Every byte offset of a page and of a state slot.

use super::{KeyRope, KvCode, KvFormat, KvScale, KvSide, nuq_slots, window};
use crate::format::{DType, MAX_ROTATION, Rotation};
use crate::{Error, Result};

/// Version of the byte layout of pages and state; changes whenever a stored byte moves or changes meaning.
pub const LAYOUT_VERSION: u32 = 2;

/// Shape of the cache of one layer.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct KvShape {
    /// KV heads.
    pub num_kv_heads: usize,
    /// Channels of one head; [`KvFormat::head_dims`] lists what a format has.
    pub head_dim: usize,
    /// Tokens of one page: 16, 32, 64 or 128, at least one tile of the format.
    pub page_tokens: usize,
    /// Most rows of one sequence in one `append` or `attend` call; sizes the window. Formats without a window do not
    /// look at it.
    pub max_append: usize,
    /// The model's dtype, f16 or bf16: of the rows appended, of the window, and of a float cache.
    pub dtype: DType,
}

/// A run of bytes inside a tile record.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Part {
    /// Bytes from the start of the record; a multiple of 16.
    pub offset: usize,
    /// Length in bytes, a multiple of 16; 0 where the format has no such part.
    pub bytes: usize,
}

impl Part {
    /// Where it ends.
    pub const fn end(&self) -> usize {
        self.offset + self.bytes
    }
}

/// The tile record `[K codes][V codes][K meta][V meta]` of one head.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct TileLayout {
    /// Tokens of a tile.
    pub tokens: usize,
    /// Key codes in fragment order.
    pub k_codes: Part,
    /// Value codes in fragment order.
    pub v_codes: Part,
    /// Key scales (and minima).
    pub k_meta: Part,
    /// Value scales (and minima).
    pub v_meta: Part,
    /// Bytes of a record.
    pub bytes: usize,
}

/// The window part of a state slot: `K [kv_heads][rows][head_dim]` then V the same, in the model's dtype.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct WindowLayout {
    /// Rows of the ring; row = position mod rows. A multiple of the tile.
    pub rows: usize,
    /// Bytes of one row of one head.
    pub row_bytes: usize,
    /// Bytes from one head to the next.
    pub head_bytes: usize,
    /// Where the keys start in the slot.
    pub k_offset: usize,
    /// Where the values start in the slot.
    pub v_offset: usize,
}

/// Where every byte of a cache is. Made only by [`KvLayout::new`], so that the following always holds:
///
/// 0. The format is supported and the shape fits it.
/// 1. Every part of a record starts at a multiple of 16 bytes, parts do not overlap and fill the record; records fill
///    the page: `page_bytes = num_kv_heads * tiles_per_page * tile.bytes`.
/// 2. `page_bytes` and `state_bytes` are multiples of 16 and fit in an `i32`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct KvLayout {
    shape: KvShape,
    format: KvFormat,
    tile: TileLayout,
    window: Option<WindowLayout>,
    page_bytes: usize,
    state_bytes: usize,
    k_rotation: Rotation,
    v_rotation: Rotation,
    key_rope: Option<KeyRope>,
}

const OP: &str = "KvLayout::new";

/// Bytes of the scales of one side in a tile record.
fn meta_bytes(side: KvSide, tokens: usize, head_dim: usize) -> usize {
    match side.scale {
        KvScale::None | KvScale::Head | KvScale::Channel => 0,
        KvScale::Token => 4 * tokens,
        KvScale::ChannelRange => 3 * tokens * nuq_slots(0, head_dim),
        KvScale::TokenRange => tokens * (4 + 3 * nuq_slots(1, head_dim)),
        KvScale::HeadBlock(channels) => tokens * head_dim / channels as usize,
        KvScale::Block => 2 * tokens * head_dim / 32,
        KvScale::ChannelGroup(_) => 4 * tokens * head_dim / side.channel_group(head_dim),
        KvScale::TokenGroup(group) => 4 * head_dim * tokens / group as usize,
    }
}

impl TileLayout {
    fn new(format: &KvFormat, head_dim: usize) -> Self {
        let tokens = format.tile_tokens();
        let codes = |code: KvCode| match code {
            // Two bits of every code, then the third; of the last 32 of 96 channels a byte of these holds four.
            KvCode::Nuq3 => 8 * head_dim + 256 * head_dim.div_ceil(64),
            _ => tokens * head_dim * code.bits() as usize / 8,
        };
        let mut end = 0;
        let mut part = |bytes| {
            let part = Part { offset: end, bytes };
            end += bytes;
            part
        };
        let k_codes = part(codes(format.k.code));
        let v_codes = part(codes(format.v.code));
        let k_meta = part(meta_bytes(format.k, tokens, head_dim));
        let v_meta = part(meta_bytes(format.v, tokens, head_dim));
        Self { tokens, k_codes, v_codes, k_meta, v_meta, bytes: end }
    }
}

impl KvLayout {
    /// Lays out a cache.
    ///
    /// # Errors
    /// Checked in this order: a format outside [`KvFormat::SUPPORTED`], a head dim outside
    /// [`KvFormat::head_dims`], and dtype f32 are [`Error::Unsupported`]; a head count of 0 or above 65535, a page size outside 16, 32, 64, 128 or below the tile,
    /// a `max_append` of 0 or above 65536 in a format with a window, and a page or slot of 2^31 bytes or more are
    /// [`Error::Argument`].
    pub fn new(shape: KvShape, format: KvFormat) -> Result<Self> {
        if !format.is_supported() {
            return Err(Error::unsupported(OP, format!("KV format ({format})"), KvFormat::SUPPORTED));
        }
        if !format.head_dims().contains(&shape.head_dim) {
            let list: Vec<String> = format.head_dims().iter().map(usize::to_string).collect();
            return Err(Error::unsupported(OP, format!("head_dim {}", shape.head_dim), list.join(", ")));
        }
        if shape.dtype == DType::F32 {
            return Err(Error::unsupported(OP, "dtype f32", "f16, bf16"));
        }
        if !(1..=65535).contains(&shape.num_kv_heads) {
            return Err(Error::argument(OP, "shape.num_kv_heads", "1..=65535", shape.num_kv_heads.to_string()));
        }
        let tile = TileLayout::new(&format, shape.head_dim);
        if ![16, 32, 64, 128].contains(&shape.page_tokens) || shape.page_tokens < tile.tokens {
            let expected = format!("16, 32, 64 or 128, and at least the tile of {} tokens", tile.tokens);
            return Err(Error::argument(OP, "shape.page_tokens", expected, shape.page_tokens.to_string()));
        }
        if format.has_window() && !(1..=65536).contains(&shape.max_append) {
            return Err(Error::argument(OP, "shape.max_append", "1..=65536", shape.max_append.to_string()));
        }
        let page_bytes = shape.num_kv_heads * (shape.page_tokens / tile.tokens) * tile.bytes;
        let window = format.has_state().then(|| {
            let rows = match format.residual as usize {
                0 => format.sink as usize,
                residual => window::ring_rows(residual, shape.max_append, tile.tokens),
            };
            let row_bytes = shape.head_dim * 2;
            let head_bytes = rows * row_bytes;
            WindowLayout { rows, row_bytes, head_bytes, k_offset: 0, v_offset: shape.num_kv_heads * head_bytes }
        });
        let state_bytes = window.map_or(0, |w| 2 * w.v_offset);
        for (argument, bytes) in [("shape (page_bytes)", page_bytes), ("shape (state_bytes)", state_bytes)] {
            if i32::try_from(bytes).is_err() {
                return Err(Error::argument(OP, argument, "less than 2^31 bytes", bytes.to_string()));
            }
        }
        let (k_rotation, v_rotation) = (Rotation::None, Rotation::None);
        Ok(Self { shape, format, tile, window, page_bytes, state_bytes, k_rotation, v_rotation, key_rope: None })
    }

    /// The same bytes for keys and values that are rotated before they are coded, which spreads outlier channels:
    /// append rotates keys (after RoPE) and values, attention its queries, and its outputs back. Windows hold rotated
    /// rows.
    ///
    /// # Errors
    /// [`Error::Argument`] for a block that is no power of two from 8 to [`MAX_ROTATION`] or does not divide the head;
    /// [`Error::Unsupported`] for signs, and for codes with tables.
    pub fn rotated(self, k: Rotation, v: Rotation) -> Result<Self> {
        const OP: &str = "KvLayout::rotated";
        if self.format.is_nuq() {
            return Err(Error::unsupported(OP, format!("KV format ({})", self.format), "formats without tables"));
        }
        for (argument, rotation) in [("k", k), ("v", v)] {
            let (block, d) = (rotation.block(), self.shape.head_dim);
            match rotation {
                Rotation::None => {}
                Rotation::SignedHadamard { .. } => {
                    return Err(Error::unsupported(OP, format!("{argument}: {rotation:?}"), "None, Hadamard"));
                }
                Rotation::Hadamard { .. } => {
                    let power = block.is_power_of_two() && (8..=MAX_ROTATION).contains(&block);
                    if !power || !d.is_multiple_of(block) {
                        let expected =
                            format!("a block of 8 to {MAX_ROTATION} channels, a power of two that divides {d}");
                        return Err(Error::argument(OP, argument, expected, block.to_string()));
                    }
                }
            }
        }
        Ok(Self { k_rotation: k, v_rotation: v, ..self })
    }

    /// The same bytes for keys that are stored before RoPE: append takes them so, and attention turns them by its own table
    /// when it reads them ([`Options::rope`](crate::ops::attend::Options)). Channels are stored in the order of
    /// [`KeyRope::slot`].
    ///
    /// # Errors
    /// [`Error::Argument`] for a `rotary_dim` that is odd, 0 or above the head's; [`Error::Unsupported`] for formats whose
    /// keys are stored as they are read.
    pub fn pre_rope(self, rope: KeyRope) -> Result<Self> {
        const OP: &str = "KvLayout::pre_rope";
        if !self.format.is_nuq() {
            return Err(Error::unsupported(OP, format!("KV format ({})", self.format), "nuq4, nuq3"));
        }
        let d = self.shape.head_dim;
        if rope.rotary_dim == 0 || !rope.rotary_dim.is_multiple_of(2) || rope.rotary_dim > d {
            let expected = format!("a multiple of 2 from 2 to {d}");
            return Err(Error::argument(OP, "rope.rotary_dim", expected, rope.rotary_dim.to_string()));
        }
        Ok(Self { key_rope: Some(rope), ..self })
    }

    /// True exactly if [`KvLayout::new`] accepts the pair.
    pub fn supports(shape: KvShape, format: KvFormat) -> bool {
        Self::new(shape, format).is_ok()
    }

    /// The shape.
    pub const fn shape(&self) -> &KvShape {
        &self.shape
    }

    /// The format.
    pub const fn format(&self) -> &KvFormat {
        &self.format
    }

    /// What append does to keys before it codes them, and attention to queries.
    pub const fn k_rotation(&self) -> Rotation {
        self.k_rotation
    }

    /// What append does to values before it codes them, and attention undoes in its outputs.
    pub const fn v_rotation(&self) -> Rotation {
        self.v_rotation
    }

    /// What attention does to keys when it reads them.
    pub const fn key_rope(&self) -> Option<KeyRope> {
        self.key_rope
    }

    /// Where a key's channel is stored, and the inverse.
    pub(crate) fn key_slot(&self, channel: usize) -> usize {
        self.key_rope.map_or(channel, |rope| rope.slot(channel))
    }

    pub(crate) fn key_channel(&self, slot: usize) -> usize {
        self.key_rope.map_or(slot, |rope| rope.channel(slot))
    }

    /// The record of a tile.
    pub const fn tile(&self) -> &TileLayout {
        &self.tile
    }

    /// The rows of a state slot, if the format has any: the window, or the sink, whose row is the position.
    pub const fn window(&self) -> Option<&WindowLayout> {
        self.window.as_ref()
    }

    /// R, or 0.
    pub const fn residual(&self) -> usize {
        self.format.residual as usize
    }

    /// Tiles of one head in a page.
    pub const fn tiles_per_page(&self) -> usize {
        self.shape.page_tokens / self.tile.tokens
    }

    /// Bytes from one head to the next in a page.
    pub const fn head_bytes(&self) -> usize {
        self.tiles_per_page() * self.tile.bytes
    }

    /// Bytes of a page: `page_tokens` tokens of all KV heads, K and V.
    pub const fn page_bytes(&self) -> usize {
        self.page_bytes
    }

    /// Bytes of a state slot; 0 in formats without a window and a sink.
    pub const fn state_bytes(&self) -> usize {
        self.state_bytes
    }

    /// Bytes in pages per token of one layer: codes and scales of K and V, all heads. Exact: every page holds a whole
    /// number of bytes per token.
    pub const fn bytes_per_token(&self) -> usize {
        self.page_bytes / self.shape.page_tokens
    }

    /// Pages that hold `tokens` tokens.
    pub const fn pages_for(&self, tokens: usize) -> usize {
        tokens.div_ceil(self.shape.page_tokens)
    }

    /// Offset in its page of the record of `head` that holds page slot `slot` (= position mod `page_tokens`).
    pub const fn record_offset(&self, head: usize, slot: usize) -> usize {
        head * self.head_bytes() + slot / self.tile.tokens * self.tile.bytes
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SHAPE: KvShape =
        KvShape { num_kv_heads: 8, head_dim: 128, page_tokens: 64, max_append: 1, dtype: DType::F16 };

    #[test]
    fn sizes_are_the_formula() {
        // Per token and head, K and V: codes 2 * D * bits / 8; int8 adds two f32, KIVI 2 * 4 * D / 32 bytes of f16 pairs.
        for (format, bytes) in [
            (KvFormat::FLOAT, 512),
            (KvFormat::INT8, 264),
            (KvFormat::INT8_STATIC, 256),
            (KvFormat::E4M3, 256),
            (KvFormat::E5M2, 256),
            (KvFormat::INT8_E4M3, 260),
            (KvFormat::INT8_INT4, 132 + 80),
            (KvFormat::INT4, 160),
            (KvFormat::NVFP4, 128 + 16),
            (KvFormat::Q8_0, 2 * 4 * 34),
            (KvFormat::Q8_0_Q4_0, 4 * (34 + 18)),
            (KvFormat::Q4_0, 2 * 4 * 18),
            (KvFormat::kivi4(32), 160),
            (KvFormat::kivi4(128), 160),
            (KvFormat::kivi4(128).with_token_group(64), 152),
            (KvFormat::kivi2(128), 96),
            (KvFormat::kivi2(128).with_token_group(64), 88),
            (KvFormat::kivi8_2(128), 192),
            (KvFormat::nuq4(1), 128 + 6 + 10),
            (KvFormat::nuq3(1), 96 + 6 + 10),
        ] {
            let layout = KvLayout::new(SHAPE, format).unwrap();
            assert_eq!(layout.bytes_per_token(), 8 * bytes, "{format}");
            assert_eq!(layout.page_bytes(), 64 * 8 * bytes, "{format}");
            let tile = layout.tile();
            for part in [tile.k_codes, tile.v_codes, tile.k_meta, tile.v_meta] {
                assert_eq!((part.offset % 16, part.bytes % 16), (0, 0), "{format}");
            }
            assert_eq!(tile.v_meta.end(), tile.bytes);
        }
        let kivi = KvLayout::new(SHAPE, KvFormat::kivi4(128)).unwrap();
        assert_eq!(kivi.window().unwrap().rows, 160);
        assert_eq!(kivi.state_bytes(), 2 * 8 * 160 * 256);
        assert_eq!(KvLayout::new(SHAPE, KvFormat::INT8).unwrap().state_bytes(), 0);
    }

    #[test]
    fn bad_rotations_name_the_side() {
        let layout = KvLayout::new(SHAPE, KvFormat::INT8).unwrap();
        let block = |block| Rotation::Hadamard { block };
        let good = layout.rotated(block(128), block(64)).unwrap();
        assert_eq!((good.k_rotation(), good.v_rotation()), (block(128), block(64)));
        assert_ne!(good, layout);
        assert_eq!(good.page_bytes(), layout.page_bytes());
        let expected = "a block of 8 to 256 channels, a power of two that divides 128";
        for (k, v, expected) in [
            (block(4), Rotation::None, format!("KvLayout::rotated: `k`: expected {expected}, found 4")),
            (Rotation::None, block(256), format!("KvLayout::rotated: `v`: expected {expected}, found 256")),
            (block(96), Rotation::None, format!("KvLayout::rotated: `k`: expected {expected}, found 96")),
            (
                Rotation::None,
                Rotation::SignedHadamard { block: 64, seed: 1 },
                "KvLayout::rotated: v: SignedHadamard { block: 64, seed: 1 } is not supported; supported: None, Hadamard"
                    .to_string(),
            ),
        ] {
            assert_eq!(layout.rotated(k, v).unwrap_err().to_string(), expected);
        }
    }

    #[test]
    fn keys_before_rope_are_for_tables() {
        use crate::format::RopeStyle;
        let rope = |rotary_dim| KeyRope { style: RopeStyle::HalfSplit, rotary_dim };
        let layout = KvLayout::new(SHAPE, KvFormat::nuq4(1)).unwrap();
        assert_eq!(layout.pre_rope(rope(64)).unwrap().key_rope(), Some(rope(64)));
        let text = |result: Result<KvLayout>| result.unwrap_err().to_string();
        for odd in [0, 7, 130] {
            assert_eq!(
                text(layout.pre_rope(rope(odd))),
                format!("KvLayout::pre_rope: `rope.rotary_dim`: expected a multiple of 2 from 2 to 128, found {odd}")
            );
        }
        let int8 = KvLayout::new(SHAPE, KvFormat::INT8).unwrap();
        assert!(text(int8.pre_rope(rope(64))).ends_with("is not supported; supported: nuq4, nuq3"));
        let rotated = layout.rotated(Rotation::Hadamard { block: 64 }, Rotation::None);
        assert!(text(rotated).ends_with("is not supported; supported: formats without tables"));
    }

    #[test]
    fn bad_shapes_name_the_argument() {
        let text = |shape, format| {
            assert!(!KvLayout::supports(shape, format));
            KvLayout::new(shape, format).unwrap_err().to_string()
        };
        let int8 = KvFormat::INT8;
        let kivi = KvFormat::kivi4(32);
        for (shape, format, expected) in [
            (
                SHAPE,
                KvFormat::kivi4(33),
                "KvLayout::new: KV format (k: int4 per 32 tokens, v: int4 per 32 channels, residual 33) is not supported; \
                 supported: float; int8 per token; int8 per channel; e4m3 per head; e5m2 per head; int4 per 32 channels; nvfp4; int8 per token with e4m3 per head; \
                 int8 per token with int4 per 32 channels; q8_0; q8_0 with q4_0; q4_0; kivi4, kivi2 and kivi8_2 with keys per 32 or 64 tokens and a residual that is a multiple of that up to 1024; nuq4, nuq3 with a sink of 0 to 16 tokens",
            ),
            (
                KvShape { head_dim: 72, ..SHAPE },
                int8,
                "KvLayout::new: head_dim 72 is not supported; supported: 64, 80, 96, 112, 128, 192, 256",
            ),
            (
                KvShape { head_dim: 96, ..SHAPE },
                KvFormat::FLOAT,
                "KvLayout::new: head_dim 96 is not supported; supported: 64, 128",
            ),
            (
                KvShape { dtype: DType::F32, ..SHAPE },
                int8,
                "KvLayout::new: dtype f32 is not supported; supported: f16, bf16",
            ),
            (
                KvShape { num_kv_heads: 0, ..SHAPE },
                int8,
                "KvLayout::new: `shape.num_kv_heads`: expected 1..=65535, found 0",
            ),
            (
                KvShape { page_tokens: 48, ..SHAPE },
                int8,
                "KvLayout::new: `shape.page_tokens`: expected 16, 32, 64 or 128, and at least the tile of 16 tokens, found 48",
            ),
            (
                KvShape { page_tokens: 16, ..SHAPE },
                kivi,
                "KvLayout::new: `shape.page_tokens`: expected 16, 32, 64 or 128, and at least the tile of 32 tokens, found 16",
            ),
            (
                KvShape { page_tokens: 32, ..SHAPE },
                KvFormat::kivi2(64).with_token_group(64),
                "KvLayout::new: `shape.page_tokens`: expected 16, 32, 64 or 128, and at least the tile of 64 tokens, found 32",
            ),
            (
                KvShape { head_dim: 80, ..SHAPE },
                KvFormat::kivi2(64),
                "KvLayout::new: head_dim 80 is not supported; supported: 64, 96, 128, 192, 256",
            ),
            (
                KvShape { max_append: 0, ..SHAPE },
                kivi,
                "KvLayout::new: `shape.max_append`: expected 1..=65536, found 0",
            ),
            (
                KvShape { num_kv_heads: 65535, page_tokens: 128, ..SHAPE },
                int8,
                "KvLayout::new: `shape (page_bytes)`: expected less than 2^31 bytes, found 2214558720",
            ),
            (
                KvShape { num_kv_heads: 128, max_append: 65536, ..SHAPE },
                kivi,
                "KvLayout::new: `shape (state_bytes)`: expected less than 2^31 bytes, found 8592031744",
            ),
        ] {
            assert_eq!(text(shape, format), expected);
        }
    }
}
