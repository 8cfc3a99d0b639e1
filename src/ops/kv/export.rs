//! A cache of ggml's blocks given back as blocks; defined by [`crate::reference::kv::export_blocks`].

use std::sync::Arc;

use cudarc::driver::{CudaStream, CudaView, CudaViewMut, DevicePtr, DevicePtrMut, DeviceRepr, DeviceSlice};

use crate::cache::params::KvParams;
use crate::cache::{KvCacheRef, check_aligned, check_context};
use crate::error::Result;
use crate::format::GgmlType;
use crate::reference::kv::check_export;
use crate::runtime::{Entry, EntryRow, Kernels, Launch, check_stream};

const OP: &str = "kv::export_blocks";
const BLOCK: u32 = 128;

#[repr(C)]
#[derive(Clone, Copy)]
struct ExportParams {
    kv: KvParams,
    table: u64,
    out: [u64; 2],
    codes_at: [u32; 2],
    meta_at: [u32; 2],
    bits: [u32; 2],
    tokens: u32,
    head_dim: u32,
    tile_tokens: u32,
    reserved: u32,
}

// SAFETY: `repr(C)`, plain integers without padding; the kernel's struct of the same name has the same fields.
unsafe impl DeviceRepr for ExportParams {}

const EXPORT: Entry<ExportParams> = Entry::new("kv/export", "export_blocks");

pub(super) fn entries() -> Vec<EntryRow> {
    vec![EXPORT.row()]
}

/// The first `tokens` tokens of the sequence whose pages are `block_table`, as ggml's blocks `[tokens, num_kv_heads,
/// head_dim / 32]`: byte for byte what ggml's own quantizer makes of the appended rows (within +-65504 and without NaN).
/// Blocks are of the types of keys (`k_blocks`) and values, 34 bytes (q8_0) or 18 (q4_0).
///
/// A token whose page index is outside the pool gives blocks of zero bytes and sets
/// [`Status::BAD_PAGE`](crate::cache::Status::BAD_PAGE).
///
/// # Errors
/// [`crate::Error::Unsupported`] for a format without blocks; [`crate::Error::Argument`] for the rules of [`KvCacheRef`], more tokens
/// than the table covers, too short an output, one at an odd address, memory or a stream of another context. Then loading
/// and launching.
pub fn export_blocks(
    kernels: &Kernels,
    stream: &Arc<CudaStream>,
    block_table: &CudaView<'_, i32>,
    tokens: usize,
    cache: &mut KvCacheRef<'_>,
    k_blocks: &mut CudaViewMut<'_, u8>,
    v_blocks: &mut CudaViewMut<'_, u8>,
) -> Result<()> {
    check_stream(OP, kernels, stream)?;
    let layout = cache.layout;
    check_export(&layout, block_table.len(), tokens, [k_blocks.len(), v_blocks.len()])?;
    for (argument, of) in
        [("block_table", block_table.stream()), ("k_blocks", k_blocks.stream()), ("v_blocks", v_blocks.stream())]
    {
        check_context(OP, argument, of, stream)?;
    }
    let (kv, _cache_guards) = cache.params(OP, stream)?;
    let (table, _table_guard) = block_table.device_ptr(stream);
    let (k_out, _k_guard) = k_blocks.device_ptr_mut(stream);
    let (v_out, _v_guard) = v_blocks.device_ptr_mut(stream);
    check_aligned(OP, "k_blocks", k_out, 2)?;
    check_aligned(OP, "v_blocks", v_out, 2)?;
    let (shape, tile, format) = (layout.shape(), layout.tile(), layout.format());
    let params = ExportParams {
        kv,
        table,
        out: [k_out, v_out],
        codes_at: [tile.k_codes.offset as u32, tile.v_codes.offset as u32],
        meta_at: [tile.k_meta.offset as u32, tile.v_meta.offset as u32],
        bits: [format.k.code.bits(), format.v.code.bits()],
        tokens: tokens as u32,
        head_dim: shape.head_dim as u32,
        tile_tokens: tile.tokens as u32,
        reserved: 0,
    };
    let blocks = tokens as u64 * shape.num_kv_heads as u64 * (shape.head_dim / GgmlType::BLOCK) as u64;
    let grid = blocks.div_ceil(u64::from(BLOCK));
    let Ok(grid) = i32::try_from(grid) else {
        let most = i32::MAX as u64 * u64::from(BLOCK);
        return Err(crate::Error::argument(OP, "tokens", format!("at most {most} blocks of 32"), blocks.to_string()));
    };
    let launch = Launch { op: OP, entry: EXPORT, grid: (grid as u32, 2, 1), block: (BLOCK, 1, 1), shared: 0 };
    // SAFETY: 1. The outputs hold `tokens` rows of blocks and the table the pages of `tokens` tokens, by the checks above;
    // page indices are checked by the kernel against `num_pages`. 2. All guards live to the end of this function.
    unsafe { launch.run(kernels, stream, &params) }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::mem::offset_of;

    /// The same numbers stand in kernels/kv/export.cu.
    #[test]
    fn offsets_are_those_of_the_kernel() {
        assert_eq!(size_of::<ExportParams>(), 168);
        assert_eq!([offset_of!(ExportParams, table), offset_of!(ExportParams, codes_at)], [104, 128]);
        assert_eq!(offset_of!(ExportParams, tokens), 152);
    }
}
