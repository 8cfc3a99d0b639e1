//! Kernels of lowbit, launched as its wrappers launch them: the parameter structs of kernels/matmul/skinny.cuh, kernels/kv/layout.cuh and
//! kernels/attention/params.cuh, field after field. Weights, cache and inputs are plausible and all written; results are not looked at.

use crate::Case;
use softcuda_engine::Device;

type Make = fn(String) -> Case;

/// Modules and the case made of each text.
pub(crate) const CASES: [(&str, Make); 3] =
    [("matmul/w4a16_f16.80.ptx", product), ("attention/int8.80.ptx", int8), ("attention/kivi4.80.ptx", kivi4)];

/// The largest module.
pub(crate) const LARGEST: &str = "matmul/w4a16_bf16.80.ptx";

/// A parameter struct under construction.
struct Params(Vec<u8>);

impl Params {
    fn longs(mut self, values: &[u64]) -> Params {
        self.0.extend(values.iter().flat_map(|v| v.to_le_bytes()));
        self
    }

    fn words(mut self, values: &[u32]) -> Params {
        self.0.extend(values.iter().flat_map(|v| v.to_le_bytes()));
        self
    }
}

/// An allocation filled with a repeated word.
fn filled(device: &Device, bytes: u64, word: u32) -> u64 {
    let address = device.alloc(bytes).expect("memory");
    device.fill(address, &word.to_le_bytes(), bytes / 4).expect("in range");
    address
}

fn words(device: &Device, values: &[u32]) -> u64 {
    let bytes: Vec<u8> = values.iter().flat_map(|v| v.to_le_bytes()).collect();
    let address = device.alloc(bytes.len() as u64).expect("memory");
    device.write(address, &bytes).expect("in range");
    address
}

/// Outputs of the product; it has as many inputs.
const SIZE: u32 = 2048;

/// INT4 weights with 4-bit zeros, groups of 128, one row of f16: eight warps of a block share a tile of 16 outputs.
fn product(text: String) -> Case {
    fn params(device: &Device) -> Vec<u8> {
        let n = u64::from(SIZE);
        let (codes, meta, zeros) = (n * n / 2, n * n / 128 * 2, n * n / 128 / 2);
        let codes = filled(device, codes, 0x3535_3535);
        let (meta, zeros) = (filled(device, meta, 0x2000_2000), filled(device, zeros, 0x7777_7777));
        let (x, out) = (filled(device, 2 * n, 0x3c00_3c00), filled(device, 2 * n, 0));
        let (tiles, blocks, records) = (SIZE / 64, SIZE / 128, SIZE / 128);
        let (k_warps_log2, part_blocks, out_type) = (3, blocks / 8, 1);
        Params(Vec::new())
            .longs(&[codes, meta, zeros, x, 0, 0, out, 0, 0, n, n, n])
            .words(&[1, SIZE, SIZE, SIZE / 16, tiles, blocks, 1, records, 0, k_warps_log2, part_blocks, 0, out_type])
            .words(&[0x8000_8000; 4])
            .words(&[0])
            .0
    }
    let (name, kernel, grid) = ("INT4 product", "w4a16_f16_zero4_g128", [SIZE / 16, 1, 1]);
    Case { name, text, kernel, grid, threads: 256, dynamic_shared: 0, params }
}

const TOKENS: u32 = 2048;
const PAGE: u32 = 64;
const DIM: u32 = 128;
const KV_HEADS: u32 = 2;
const GROUP: u32 = 8;
const CHUNK: u32 = 256;

/// What the formats of the cache differ in.
struct Format {
    tile_tokens: u32,
    tile_bytes: u32,
    /// Last tokens kept in f16, and rows of their ring.
    residual: u32,
    ring_rows: u32,
}

const INT8: Format = Format { tile_tokens: 16, tile_bytes: 2 * 16 * (DIM + 4), residual: 0, ring_rows: 0 };
const KIVI4: Format = Format { tile_tokens: 32, tile_bytes: 2 * (16 * DIM + 4 * DIM), residual: 32, ring_rows: 64 };

/// Decode attention of one sequence, 8 query heads for each of 2 KV heads.
fn attention(device: &Device, format: &Format) -> Vec<u8> {
    let pages = TOKENS / PAGE;
    let head_bytes = PAGE / format.tile_tokens * format.tile_bytes;
    let (page_bytes, ring_head_bytes) = (KV_HEADS * head_bytes, format.ring_rows * DIM * 2);
    let ring_v_offset = KV_HEADS * ring_head_bytes;
    let heads = GROUP * KV_HEADS;
    let chunks = TOKENS / CHUNK;
    let cache = filled(device, u64::from(pages * page_bytes), 0x2c00_2c00);
    let window = format.residual != 0;
    let state = if window { filled(device, u64::from(2 * ring_v_offset), 0x2c00_2c00) } else { 0 };
    let state_slots = if window { words(device, &[0]) } else { 0 };
    let status = words(device, &[0]);
    let table: Vec<u32> = (0..pages).rev().collect();
    let row = u64::from(heads * DIM);
    let q = filled(device, 2 * row, 0x3400_3400);
    let out = filled(device, 2 * row, 0);
    let parts_out = filled(device, 4 * row * u64::from(chunks), 0);
    let parts_lse = filled(device, u64::from(4 * heads * chunks), 0);
    Params(Vec::new())
        // KvParams
        .longs(&[cache, state, status, 0, 0])
        .words(&[pages, u32::from(window), page_bytes, 2 * ring_v_offset, head_bytes, format.tile_bytes])
        .words(&[PAGE.ilog2(), KV_HEADS, format.residual, 1, format.ring_rows, ring_head_bytes, ring_v_offset, 0, 0, 1])
        // BatchParams
        .longs(&[words(device, &[TOKENS]), words(device, &[0, 1]), words(device, &table), state_slots, 0])
        .words(&[1, pages, 1, 1])
        // AttendParams
        .longs(&[q, out, 0, parts_out, parts_lse, row, row])
        .words(&[heads, GROUP, 1, chunks, TOKENS, 0, 0.088f32.to_bits(), 0])
        .0
}

fn attend(
    name: &'static str,
    text: String,
    kernel: &'static str,
    format: &Format,
    params: fn(&Device) -> Vec<u8>,
) -> Case {
    // Shared<F> of kernels/attention/attend.cuh: two stages for each of four warps, the queries, the columns' states.
    let queries = if format.residual == 0 { 1 } else { 2 };
    let dynamic_shared = 4 * 2 * format.tile_bytes + queries * (DIM / 8 * 36 * 4) + 8 * (4 + 8 * 4 + 8) + 64;
    Case { name, text, kernel, grid: [TOKENS / CHUNK, KV_HEADS, 1], threads: 128, dynamic_shared, params }
}

fn int8(text: String) -> Case {
    attend("int8 attention", text, "attend_int8_d128", &INT8, |device| attention(device, &INT8))
}

fn kivi4(text: String) -> Case {
    attend("KIVI-4 attention", text, "attend_kivi4_d128", &KIVI4, |device| attention(device, &KIVI4))
}
