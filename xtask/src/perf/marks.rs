//! The kernel cases that are counted, and the mark each is held to. This is the one place.
//!
//! A case counts *lane instructions per unit of work*: 32 x the instructions of the steady loop, divided by the units
//! that one pass of the loop works through. How many those are follows from the loop itself: it holds so many marker
//! instructions (tensor-core products, stores), and the table says how many of them make a step and how many units a
//! step is. A loop that does not hold whole steps is an error, so unrolling changes nothing.

/// One row.
pub struct Case {
    /// The exported kernel.
    pub kernel: &'static str,
    /// What of it is measured, in words.
    pub case: &'static str,
    /// What the count is per.
    pub unit: &'static str,
    /// How machine instructions are counted; none where there is no one steady loop.
    pub step: Option<Step>,
    /// Lane instructions per unit, at most.
    pub mark: Mark,
    /// Sectors requested from global memory over the fewest that hold the bytes, at most.
    pub sector_ratio: f64,
    /// Whether a shared-memory bank conflict is a miss.
    pub conflict_free: bool,
    /// Registers of a thread, at most.
    pub registers: u32,
}

impl Case {
    /// Whether the kernel's or the case's name holds a text.
    pub fn holds(&self, text: &str) -> bool {
        self.kernel.contains(text) || self.case.contains(text)
    }
}

/// What a loop's instructions are counted against.
pub struct Step {
    /// Start of the marker's operation.
    pub marker: &'static str,
    /// Markers in a step.
    pub markers: usize,
    /// Units that a warp works through in a step.
    pub units: f64,
    /// What a step holds that the loop could go round, as where a lane holds up to so many chunks: so many instructions of
    /// each kind (`steady::weight`). The way is the shortest through them.
    pub through: Through,
}

/// Kinds of instructions, and how many of each.
pub type Through = &'static [(&'static str, usize)];

/// The most that a case may cost.
#[derive(Clone, Copy)]
pub enum Mark {
    /// Lane instructions per unit on architectures without the native fp8 conversion, and with it.
    PerUnit { below_sm_89: f64, from_sm_89: f64 },
    /// Counted, held to nothing.
    #[allow(dead_code)] // For cases whose mark is not settled.
    None,
}

impl Mark {
    const fn everywhere(most: f64) -> Self {
        Self::PerUnit { below_sm_89: most, from_sm_89: most }
    }

    /// The mark on an architecture such as `sm_89`.
    pub fn on(self, arch: &str) -> Option<f64> {
        let number: u32 = arch.strip_prefix("sm_").and_then(|n| n.parse().ok()).unwrap_or(0);
        match self {
            Self::PerUnit { below_sm_89, .. } if number < 89 => Some(below_sm_89),
            Self::PerUnit { from_sm_89, .. } => Some(from_sm_89),
            Self::None => None,
        }
    }
}

/// What a lane does in `quantize_rows_*` with eight chunks of 16-bit numbers: stores, loads, comparisons of pairs (sm_90 has
/// one of three), what it exchanges, and one FMA a number (two where it is held in range) with the few of the scale.
const INT8_ROW: Through = &[("STG.E.64", 8), ("LDG.E.128", 8), ("HMNMX2|2*VHMNMX", 31), ("REDUX", 2), ("FFMA", 66)];
const INT4_GROUP: Through = &[("STG.E.128", 2), ("LDG.E.128", 8), ("HMNMX2|2*VHMNMX", 31), ("SHFL", 5), ("FFMA", 66)];
const UINT4_GROUP: Through = &[("STG.E.128", 2), ("LDG.E.128", 8), ("HMNMX2|2*VHMNMX", 62), ("SHFL", 6), ("FFMA", 66)];
const UINT4_GROUP_OF_BF16: Through =
    &[("STG.E.128", 2), ("LDG.E.128", 8), ("HMNMX2|2*VHMNMX", 62), ("SHFL", 6), ("FFMA", 130)];
/// The same with two chunks.
const UINT4_GROUP_OF_32: Through =
    &[("STG.E.64", 1), ("LDG.E.128", 2), ("HMNMX2|2*VHMNMX", 14), ("SHFL", 3), ("FFMA", 18)];

/// Every case.
pub const CASES: &[Case] = &[
    // Casts: four chunks a thread.
    cast_of_f32("cast_to_e4m3_f32", "f32 to E4M3", &[("STG.E$", 4), ("LDG.E.128", 4)]),
    cast("cast_to_e4m3_f16", "f16 to E4M3", &[("STG.E.64", 4), ("LDG.E.128", 4)], 8),
    cast("cast_to_e4m3_bf16", "bf16 to E4M3", &[("STG.E.64", 4), ("LDG.E.128", 4)], 8),
    cast_of_f32("cast_to_e5m2_f32", "f32 to E5M2", &[("STG.E$", 4), ("LDG.E.128", 4)]),
    cast("cast_to_e5m2_f16", "f16 to E5M2", &[("STG.E.64", 4), ("LDG.E.128", 4)], 8),
    cast("cast_to_e5m2_bf16", "bf16 to E5M2", &[("STG.E.64", 4), ("LDG.E.128", 4)], 8),
    cast("cast_from_e4m3_f32", "E4M3 to f32", &[("STG.E.128", 4), ("LDG", 4)], 4),
    cast("cast_from_e4m3_f16", "E4M3 to f16", &[("STG.E.128", 4), ("LDG.E.64", 4)], 8),
    cast("cast_from_e4m3_bf16", "E4M3 to bf16", &[("STG.E.128", 4), ("LDG.E.64", 4)], 8),
    cast("cast_from_e5m2_f32", "E5M2 to f32", &[("STG.E.128", 4), ("LDG", 4)], 4),
    cast("cast_from_e5m2_f16", "E5M2 to f16", &[("STG.E.128", 4), ("LDG.E.64", 4)], 8),
    cast("cast_from_e5m2_bf16", "E5M2 to bf16", &[("STG.E.128", 4), ("LDG.E.64", 4)], 8),
    // Quantizers that hold a row or a group: its loads, statistics and codes are one pass. Codes near a tie are made again
    // exactly and stored again, more of them for bf16 and 2 bits.
    held("quantize_rows_f16_int8", "per token", INT8_ROW, 64, Mark::everywhere(6.0)),
    // Below sm_89 |x| of bf16 is an instruction of its own.
    held("quantize_rows_bf16_int8", "per token", INT8_ROW, 64, Mark::PerUnit { below_sm_89: 6.3, from_sm_89: 6.0 }),
    held(
        "quantize_rows_f16_int4",
        "groups of 128",
        INT4_GROUP,
        64,
        Mark::PerUnit { below_sm_89: 9.0, from_sm_89: 9.1 },
    ),
    // To fill sectors costs 1.2 instructions a number; to unpack bf16, to find both extremes, and to hold numbers of bf16
    // within a range that f16 has rounded, half of one each.
    sectors(1.03, held("quantize_rows_bf16_int4", "groups of 128", INT4_GROUP, 64, Mark::everywhere(9.2))),
    held("quantize_rows_f16_uint4", "groups of 128", UINT4_GROUP, 64, Mark::everywhere(9.7)),
    sectors(1.06, held("quantize_rows_bf16_uint4", "groups of 128", UINT4_GROUP_OF_BF16, 64, Mark::everywhere(10.4))),
    // What is done once a scale falls on few numbers.
    held("quantize_rows_f16_uint4", "groups of 32", UINT4_GROUP_OF_32, 16, Mark::everywhere(18.7)),
    codec("quantize_rows_f32_int8", "per token"),
    codec("quantize_rows_f16_e4m3", "per token"),
    codec("quantize_rows_f16_int8", "per token and head of 128"),
    codec("quantize_rows_f16_int4", "groups of 32"),
    sectors(1.04, codec("quantize_rows_f16_uint2", "groups of 32")),
    codec("quantize_blocks_f16_nvfp4", "blocks of 16"),
    codec("quantize_blocks_f16_mxfp4", "blocks of 32"),
    codec("quantize_blocks_f16_mxfp8_e4m3", "blocks of 32"),
    codec("quantize_tokens_uint4", "groups of 32 tokens"),
    codec("quantize_tokens_uint2", "groups of 32 tokens"),
    // Two passes, each of which reads x once; scales of columns once a block of 32 rows.
    sectors(1.07, codec("quantize_amax", "per channel")),
    sectors(1.07, codec("quantize_encode_int8", "per channel")),
    sectors(1.07, codec("quantize_range", "per channel")),
    sectors(1.07, codec("quantize_encode_uint4", "per channel")),
    codec("quantize_amax", "per tensor"),
    codec("quantize_encode_e4m3", "per tensor"),
    codec("quantize_stochastic_int8", "per token, given scales"),
    codec("quantize_decode_int8", "per token"),
    codec("quantize_decode_uint4", "groups of 32"),
    // ggml blocks: a thread's way from its load on; then the loop that stores the text of the blocks (0.3 passes an element
    // at most). Rotated: no one path, as which parts of a transform are done is found at run time.
    blocks("ggml_quantize_f16_q4_0", "LDG.E.128"),
    blocks("ggml_quantize_f16_q4_1", "LDG.E.128"),
    blocks("ggml_quantize_f16_q5_0", "LDG.E.128"),
    blocks("ggml_quantize_f16_q5_1", "LDG.E.128"),
    blocks("ggml_quantize_f16_q8_0", "LDG.E.128"),
    blocks("ggml_quantize_f16_iq4_nl", "LDG.E.128"),
    codec("ggml_quantize_f16_q4_0", "rotated by 128"),
    codec("ggml_quantize_f16_q8_0", "rotated by 128"),
    blocks("ggml_dequantize_f16_q4_0", "STG.E.128"),
    blocks("ggml_dequantize_f16_q4_1", "STG.E.128"),
    blocks("ggml_dequantize_f16_q5_0", "STG.E.128"),
    blocks("ggml_dequantize_f16_q5_1", "STG.E.128"),
    blocks("ggml_dequantize_f16_q8_0", "STG.E.128"),
    blocks("ggml_dequantize_f16_iq4_nl", "STG.E.128"),
    // Transforms and codebooks: loops over rows with parts chosen at run time.
    codec("transform_f16", "rotated by 64"),
    codec("transform_f16", "rotated by 128"),
    codec("transform_f16", "offset and smoothing"),
    codec("quantize_rotated_f16_int8", "per head, rotated by 128"),
    codec("quantize_rotated_f16_uint4", "groups of 32, rotated by 128"),
    codec("codebook_quantize_f16_nuq2_row", "per token, outliers"),
    codec("codebook_quantize_f16_nuq3_row", "per token, outliers"),
    codec("codebook_quantize_f16_nuq4_row", "per token, outliers"),
    codec("codebook_quantize_f16_nuq4_norm", "rotated by 128"),
    codec("codebook_quantize_f16_nuq4_channel", "per channel, outliers"),
    codec("codebook_dequantize_f16_nuq2_row", "per token, outliers"),
    codec("codebook_dequantize_f16_nuq3_row", "per token, outliers"),
    codec("codebook_dequantize_f16_nuq4_row", "per token, outliers"),
    // Appending to the cache.
    append("append_float_d128"),
    append("append_int8_d128"),
    append("append_e4m3_d128"),
    append("append_q8_0_d128"),
    append("append_q8_0_q4_0_d128"),
    append("append_q4_0_d128"),
    // Every block of tokens reads the scales of the channels, from cache.
    sectors(3.8, append("append_int8_static_d128")),
    append("append_kivi4_d128"),
    append("append_kivi4_g64_d128"),
    append("append_kivi2_d128"),
    append("append_kivi2_g64_d128"),
    append("append_kivi8_2_d128"),
    append("append_kivi8_2_g64_d128"),
    append("append_e5m2_d128"),
    append("append_int8_e4m3_d128"),
    append("append_int8_int4_d128"),
    append("append_int4_d128"),
    append("append_nvfp4_d128"),
    append("append_nuq4_d128"),
    append("append_nuq3_d128"),
    // W4A16 and W8A16.
    matmul("w4a16_f16_sym_g32", 64, Mark::everywhere(15.5)),
    three_blocks(matmul("w4a16_f16_sym_g128", 64, Mark::everywhere(13.0))),
    three_blocks(matmul("w4a16_f16_zero4_g128", 64, Mark::everywhere(13.0))),
    three_blocks(matmul("w4a16_f16_min_g32", 64, Mark::everywhere(18.2))),
    three_blocks(matmul("w4a16_f16_min_g128", 64, Mark::everywhere(13.0))),
    matmul("w4a16_bf16_sym_g128", 64, Mark::None),
    matmul("w4a16_bf16_min_g32", 64, Mark::None),
    three_blocks(matmul("w4a16_f16_sym_g32_exact", 64, Mark::everywhere(16.0))),
    three_blocks(matmul("w4a16_f16_sym_g128_exact", 64, Mark::everywhere(14.0))),
    three_blocks(matmul("w4a16_f16_zero4_g128_exact", 64, Mark::everywhere(14.0))),
    // Every block asks for the scale of its outputs anew, which is one for all of k or for 32 of it.
    sectors(1.05, three_blocks(matmul("w8a16_f16_g32", 32, Mark::None))),
    sectors(1.05, three_blocks(matmul("w8a16_f16_coarse", 32, Mark::None))),
    matmul_of("9 to 16 rows", "w4a16_f16_zero4_g128_m16", 64, Mark::everywhere(16.0)),
    matmul_of("9 to 16 rows", "w4a16_f16_sym_g128_m16", 64, Mark::None),
    matmul_of("9 to 16 rows", "w4a16_f16_min_g32_m16", 64, Mark::None),
    matmul_of("17 to 32 rows", "w4a16_f16_zero4_g128_m32", 64, Mark::None),
    matmul_of("17 to 32 rows", "w4a16_f16_sym_g128_m32", 64, Mark::None),
    matmul_of("17 to 32 rows", "w4a16_f16_min_g32_m32", 64, Mark::None),
    matmul_of("blocks of 64 rows", "w4a16_f16_zero4_g128_tiled", 64, Mark::None),
    matmul_of("blocks of 64 rows", "w4a16_f16_sym_g128_tiled", 64, Mark::None),
    matmul_of("blocks of 32 rows", "w4a16_f16_min_g32_tiled", 64, Mark::None),
    matmul_of("blocks of 64 rows", "w8a16_f16_g32_tiled", 32, Mark::None),
    matmul_of("blocks of 64 rows", "w4a16_bf16_zero4_g128_tiled", 64, Mark::None),
    matmul("w8a16_e4m3_f16_c1", 32, Mark::None),
    // W4A8 and W8A8.
    three_blocks(matmul("w4a8_int8_sym_g128_c1", 64, Mark::everywhere(9.5))),
    three_blocks(matmul("w4a8_int8_zero4_g128_c1", 64, Mark::everywhere(9.5))),
    matmul("w4a8_e4m3_sym_g128_c1", 64, Mark::None),
    matmul("w8a8_int8_c1", 32, Mark::everywhere(3.2)),
    matmul("w8a8_e4m3_c1", 32, Mark::None),
    matmul("w8a8_e4m3_fast_c1", 32, Mark::None),
    // Decode attention.
    attend("attend_int8_d128", 8, 4096 + 128, Mark::everywhere(1.8)),
    attend("attend_e4m3_d128", 8, 4096, Mark::PerUnit { below_sm_89: 2.7, from_sm_89: 1.9 }),
    attend("attend_kivi4_d128", 8, 5120, Mark::everywhere(3.6)),
    attend("attend_q8_0_d128", 8, 4352, Mark::None),
    attend("attend_q8_0_d128", 1, 4352, Mark::None),
    attend("attend_q8_0_q4_0_d128", 8, 6656, Mark::None),
    attend("attend_q8_0_q4_0_d128", 1, 6656, Mark::None),
    out_of_line(attend("attend_q4_0_d128", 8, 4608, Mark::None)),
    out_of_line(attend("attend_q4_0_d128", 1, 4608, Mark::None)),
    // Every chunk of a sequence reads the scales of the channels, all but the first from cache.
    sectors(1.16, attend("attend_int8_static_d128", 8, 4096, Mark::None)),
    sectors(1.16, attend("attend_int8_static_d128", 1, 4096, Mark::None)),
    // The fewer bytes the codes are, the more the window and the tile before it weigh, of which both kinds are read.
    sectors(1.07, attend("attend_kivi2_d128", 8, 3072, Mark::everywhere(5.6))),
    sectors(1.07, attend("attend_kivi2_d128", 1, 3072, Mark::everywhere(5.6))),
    sectors(1.1, attend("attend_kivi2_g64_d128", 8, 5632, Mark::None)),
    sectors(1.1, attend("attend_kivi2_g64_d128", 1, 5632, Mark::None)),
    sectors(1.07, attend("attend_kivi4_g64_d128", 8, 9728, Mark::None)),
    sectors(1.07, attend("attend_kivi4_g64_d128", 1, 9728, Mark::None)),
    attend("attend_kivi8_2_d128", 8, 6144, Mark::None),
    attend("attend_kivi8_2_d128", 1, 6144, Mark::None),
    attend("attend_kivi8_2_g64_d128", 8, 11776, Mark::None),
    attend("attend_kivi8_2_g64_d128", 1, 11776, Mark::None),
    attend("attend_int4_d128", 8, 5120, Mark::everywhere(3.2)),
    attend("attend_int4_d128", 1, 5120, Mark::everywhere(3.2)),
    attend("attend_nvfp4_d128", 8, 4608, Mark::None),
    attend("attend_nvfp4_d128", 1, 4608, Mark::None),
    // Their tile is two rounds of a loop in the loop, which the method does not count.
    uncounted("attend_nuq4_d128", 8),
    uncounted("attend_nuq4_d128", 1),
    uncounted("attend_nuq3_d128", 8),
    uncounted("attend_nuq3_d128", 1),
    attend("attend_e5m2_d128", 8, 4096, Mark::None),
    attend("attend_e5m2_d128", 1, 4096, Mark::None),
    attend("attend_int8_e4m3_d128", 8, 4096 + 64, Mark::None),
    attend("attend_int8_e4m3_d128", 1, 4096 + 64, Mark::None),
    attend("attend_int8_int4_d128", 8, 6144 + 128 + 512, Mark::None),
    attend("attend_int8_int4_d128", 1, 6144 + 128 + 512, Mark::None),
    attend("attend_f16_d128", 8, 8192, Mark::None),
    attend("attend_int8_d128", 1, 4096 + 128, Mark::everywhere(1.8)),
    attend("attend_e4m3_d128", 1, 4096, Mark::PerUnit { below_sm_89: 2.7, from_sm_89: 1.9 }),
    attend("attend_kivi4_d128", 1, 5120, Mark::everywhere(3.6)),
    attend("attend_f16_d128", 1, 8192, Mark::None),
    attend("attend_int8_d64", 8, 2048 + 128, Mark::None),
    attend("attend_e4m3_d64", 8, 2048, Mark::None),
    attend("attend_kivi4_d64", 8, 2560, Mark::None),
    out_of_line(attend("attend_kivi2_d64", 8, 1536, Mark::None)),
    attend("attend_f16_d64", 8, 4096, Mark::None),
    attend("attend_bf16_d128", 8, 8192, Mark::None),
    attend("attend_bf16_d64", 8, 4096, Mark::None),
];

/// A cast: a thread's way through its four chunks, from the kernel's entry to its end.
const fn cast(kernel: &'static str, case: &'static str, through: Through, per_lane: usize) -> Case {
    held(kernel, case, through, 4 * per_lane, Mark::everywhere(6.0))
}

/// A cast of f32: below sm_89, where a code is made by one FMA whose rounding is the code's, one number at a time.
const fn cast_of_f32(kernel: &'static str, case: &'static str, through: Through) -> Case {
    held(kernel, case, through, 16, Mark::PerUnit { below_sm_89: 9.0, from_sm_89: 6.0 })
}

/// A kernel whose lanes hold several chunks: a step is a lane's `elements`, from their loads over the statistics and what the
/// lanes exchange to the stores of the codes (and of a scale, where that is stored alike), which come first in `through`.
const fn held(kernel: &'static str, case: &'static str, through: Through, elements: usize, mark: Mark) -> Case {
    let (marker, markers) = through[0];
    let step = Some(Step { marker, markers, units: 32.0 * elements as f64, through });
    Case { step, mark, ..codec(kernel, case) }
}

/// The same with another mark for the sectors.
const fn sectors(sector_ratio: f64, case: Case) -> Case {
    Case { sector_ratio, ..case }
}

/// The same where the compiler has moved the last piece of a record behind the loop: the way lacks its two instructions.
const fn out_of_line(case: Case) -> Case {
    match case.step {
        Some(step) => Case { step: Some(Step { markers: step.markers - 1, ..step }), ..case },
        None => case,
    }
}

/// A quantizer or transform that touches each sector of its arguments once, and whose instructions are counted in PTX only.
const fn codec(kernel: &'static str, case: &'static str) -> Case {
    Case {
        kernel,
        case,
        unit: "element",
        step: None,
        mark: Mark::None,
        sector_ratio: 1.02,
        conflict_free: true,
        registers: 255,
    }
}

/// ggml blocks: a thread has eight elements. Its shortest way leaves out the loop between blocks and global memory, which
/// the count in PTX holds.
const fn blocks(kernel: &'static str, marker: &'static str) -> Case {
    let step = Some(Step { marker, markers: 1, units: 256.0, through: &[] });
    Case { step, ..codec(kernel, "blocks of 32") }
}

/// Appending a chunk to the cache: single tokens store pieces of tiles, chunks must reach 70 % of the ideal.
const fn append(kernel: &'static str) -> Case {
    Case {
        kernel,
        case: "chunk of 256 tokens",
        unit: "element",
        step: None,
        mark: Mark::None,
        sector_ratio: 1.0 / 0.7,
        conflict_free: false,
        registers: 255,
    }
}

/// Decode attention: a step is the tile record of one head, codes and scales. Its marker is the asynchronous copies that
/// fetch a record, 512 bytes each but the last; the loop over the few rows of a window, which is shorter, has none. The
/// query heads of a KV head are columns of one product, so that up to 8 cost the same instructions.
const fn attend(kernel: &'static str, heads: usize, tile_bytes: usize, mark: Mark) -> Case {
    let case = if heads == 1 { "decode, 1 query head" } else { "decode, 8 query heads" };
    let step =
        Some(Step { marker: "LDGSTS", markers: tile_bytes.div_ceil(512), units: tile_bytes as f64, through: &[] });
    Case { kernel, case, unit: "byte of KV", step, mark, sector_ratio: 1.05, conflict_free: true, registers: 255 }
}

/// As [`attend`], without the instructions of its loop.
const fn uncounted(kernel: &'static str, heads: usize) -> Case {
    Case { step: None, ..attend(kernel, heads, 512, Mark::None) }
}

/// The same with registers for three blocks of 8 warps on a multiprocessor.
const fn three_blocks(case: Case) -> Case {
    Case { registers: 80, ..case }
}

/// A product with 1 to 8 rows.
const fn matmul(kernel: &'static str, tile_k: usize, mark: Mark) -> Case {
    matmul_of("1 to 8 rows", kernel, tile_k, mark)
}

/// A product: a step is a tile of 512 bytes, 16 outputs by `tile_k`, one streaming load. Its cost does
/// not depend on the number of rows within a case.
const fn matmul_of(case: &'static str, kernel: &'static str, tile_k: usize, mark: Mark) -> Case {
    let step = Some(Step { marker: "LDG.E.NA", markers: 1, units: (16 * tile_k / 8) as f64, through: &[] });
    Case { kernel, case, unit: "8 weights", step, mark, sector_ratio: 1.03, conflict_free: false, registers: 255 }
}
