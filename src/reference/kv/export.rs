//! The definition of giving a cache of ggml's blocks back as blocks.

use half::f16;

use super::CacheMut;
use crate::cache::tile::{self, MetaPlace, Place};
use crate::cache::{KvCode, KvLayout, Part, Status, checked_params};
use crate::format::GgmlType;
use crate::reference::ggml;
use crate::{Error, Result};

const OP: &str = "kv::export_blocks";

/// The block type of a code, if it is one's.
pub(crate) const fn ggml_type(code: KvCode) -> Option<GgmlType> {
    match code {
        KvCode::Q8_0 => Some(GgmlType::Q8_0),
        KvCode::Q4_0 => Some(GgmlType::Q4_0),
        _ => None,
    }
}

/// The first `tokens` tokens of the sequence whose pages are `block_table`, as ggml's blocks `[tokens, num_kv_heads,
/// head_dim / 32]` of the types of keys and values: byte for byte what [`ggml::quantize`] makes of the appended rows.
///
/// A token whose page index is outside the pool gives blocks of zero bytes and sets [`Status::BAD_PAGE`].
///
/// # Errors
/// [`Error::Unsupported`] for a format without blocks; [`Error::Argument`] for lengths that do not fit.
pub fn export_blocks(
    cache: &mut CacheMut<'_>,
    block_table: &[i32],
    tokens: usize,
    k_blocks: &mut [u8],
    v_blocks: &mut [u8],
) -> Result<()> {
    let layout = cache.layout;
    let params = checked_params(OP, &layout, cache.pages.len(), cache.state.len(), 1, [None, None])?;
    let types = check_export(&layout, block_table.len(), tokens, [k_blocks.len(), v_blocks.len()])?;
    let (heads, d, page_tokens) = (layout.shape().num_kv_heads, layout.shape().head_dim, layout.shape().page_tokens);
    let record = *layout.tile();
    let groups = d / GgmlType::BLOCK;
    let sides: [(_, Part, Part, KvCode); 2] = [
        (k_blocks, record.k_codes, record.k_meta, layout.format().k.code),
        (v_blocks, record.v_codes, record.v_meta, layout.format().v.code),
    ];
    for (side, (out, codes, meta, code)) in sides.into_iter().enumerate() {
        let blocks = out.chunks_exact_mut(types[side].block_bytes()).take(tokens * heads * groups);
        for (index, block) in blocks.enumerate() {
            let (position, head, j) = (index / groups / heads, index / groups % heads, index % groups);
            let page = block_table[position / page_tokens];
            if !(0..params.num_pages).contains(&page) {
                *cache.status |= Status::BAD_PAGE;
                block.fill(0);
                continue;
            }
            let start = page as usize * layout.page_bytes() + layout.record_offset(head, position % page_tokens);
            let bytes = &cache.pages[start..start + record.bytes];
            let token = position % record.tokens;
            let of = |channel| match side {
                0 => (tile::k_place(code, d, token, channel), tile::k_meta(layout.format(), d, token, channel)),
                _ => (tile::v_place(code, d, token, channel), tile::v_meta(layout.format(), d, token, channel)),
            };
            let MetaPlace::Scale16(at) = of(GgmlType::BLOCK * j).1 else { unreachable!("an f16 a block") };
            let scale = f16::from_le_bytes([bytes[meta.offset + at], bytes[meta.offset + at + 1]]);
            let q = std::array::from_fn(|c| {
                let Place { byte, bit } = of(GgmlType::BLOCK * j + c).0;
                match code {
                    KvCode::Q8_0 => bytes[codes.offset + byte] ^ 0x80,
                    _ => bytes[codes.offset + byte] >> bit & 15,
                }
            });
            ggml::pack(types[side], (scale, f16::ZERO, q), block);
        }
    }
    Ok(())
}

/// Checks of lengths that the host can make; shared with the wrapper. Gives the types of keys and values.
pub(crate) fn check_export(layout: &KvLayout, blocks: usize, tokens: usize, out: [usize; 2]) -> Result<[GgmlType; 2]> {
    let format = layout.format();
    let (Some(k), Some(v)) = (ggml_type(format.k.code), ggml_type(format.v.code)) else {
        return Err(Error::unsupported(OP, format!("KV format ({format})"), "q8_0; q8_0 with q4_0; q4_0"));
    };
    let shape = layout.shape();
    let most = blocks.saturating_mul(shape.page_tokens).min(1 << 30);
    if tokens > most {
        return Err(Error::argument(
            OP,
            "tokens",
            format!("at most {most}, what the table covers"),
            tokens.to_string(),
        ));
    }
    for ((argument, found), kind) in [("k_blocks", out[0]), ("v_blocks", out[1])].into_iter().zip([k, v]) {
        let needed = tokens * kind.row_bytes(shape.num_kv_heads * shape.head_dim);
        if found < needed {
            return Err(Error::argument(OP, argument, format!("at least {needed} bytes"), found.to_string()));
        }
    }
    Ok([k, v])
}
