//! The kernels of the family: by what they do, then by code, then (one pass over rows) by type.

use super::params::QuantizeParams;
use crate::format::{Code, Fp8};
use crate::runtime::{Entry, EntryRow};

pub(super) type Quantize = Entry<QuantizeParams>;

const fn rows(name: &'static str) -> Quantize {
    Entry::new("quantize/rows", name)
}
const fn blocks(name: &'static str) -> Quantize {
    Entry::new("quantize/blocks", name)
}
const fn tokens(name: &'static str) -> Quantize {
    Entry::new("quantize/tokens", name)
}
const fn encode(name: &'static str) -> Quantize {
    Entry::new("quantize/encode", name)
}
const fn decode(name: &'static str) -> Quantize {
    Entry::new("quantize/decode", name)
}
const fn statistics(name: &'static str) -> Quantize {
    Entry::new("quantize/statistics", name)
}

/// Position of a code in the tables: that in [`Code::ALL`].
pub(super) const fn index(code: Code) -> usize {
    match code {
        Code::Int8 => 0,
        Code::Int4 => 1,
        Code::Int2 => 2,
        Code::Fp8(Fp8::E4m3) => 3,
        Code::Fp8(Fp8::E5m2) => 4,
        Code::Uint8 => 5,
        Code::Uint4 => 6,
        Code::Uint2 => 7,
        Code::Nvfp4 => 8,
        Code::Mxfp4 => 9,
        Code::Mxfp8(Fp8::E4m3) => 10,
        Code::Mxfp8(Fp8::E5m2) => 11,
    }
}

/// One pass per row, by code, then dtype in the order of `DType`; the codes of no block format, which come first.
pub(super) const ROWS: [[Quantize; 3]; 8] = [
    [rows("quantize_rows_f32_int8"), rows("quantize_rows_f16_int8"), rows("quantize_rows_bf16_int8")],
    [rows("quantize_rows_f32_int4"), rows("quantize_rows_f16_int4"), rows("quantize_rows_bf16_int4")],
    [rows("quantize_rows_f32_int2"), rows("quantize_rows_f16_int2"), rows("quantize_rows_bf16_int2")],
    [rows("quantize_rows_f32_e4m3"), rows("quantize_rows_f16_e4m3"), rows("quantize_rows_bf16_e4m3")],
    [rows("quantize_rows_f32_e5m2"), rows("quantize_rows_f16_e5m2"), rows("quantize_rows_bf16_e5m2")],
    [rows("quantize_rows_f32_uint8"), rows("quantize_rows_f16_uint8"), rows("quantize_rows_bf16_uint8")],
    [rows("quantize_rows_f32_uint4"), rows("quantize_rows_f16_uint4"), rows("quantize_rows_bf16_uint4")],
    [rows("quantize_rows_f32_uint2"), rows("quantize_rows_f16_uint2"), rows("quantize_rows_bf16_uint2")],
];

/// The same of the block formats, by code behind those, then dtype.
pub(super) const BLOCKS: [[Quantize; 3]; 4] = [
    [blocks("quantize_blocks_f32_nvfp4"), blocks("quantize_blocks_f16_nvfp4"), blocks("quantize_blocks_bf16_nvfp4")],
    [blocks("quantize_blocks_f32_mxfp4"), blocks("quantize_blocks_f16_mxfp4"), blocks("quantize_blocks_bf16_mxfp4")],
    [
        blocks("quantize_blocks_f32_mxfp8_e4m3"),
        blocks("quantize_blocks_f16_mxfp8_e4m3"),
        blocks("quantize_blocks_bf16_mxfp8_e4m3"),
    ],
    [
        blocks("quantize_blocks_f32_mxfp8_e5m2"),
        blocks("quantize_blocks_f16_mxfp8_e5m2"),
        blocks("quantize_blocks_bf16_mxfp8_e5m2"),
    ],
];

/// One pass per group of tokens, by code; the codes of no block format, which come first.
pub(super) const TOKENS: [Quantize; 8] = [
    tokens("quantize_tokens_int8"),
    tokens("quantize_tokens_int4"),
    tokens("quantize_tokens_int2"),
    tokens("quantize_tokens_e4m3"),
    tokens("quantize_tokens_e5m2"),
    tokens("quantize_tokens_uint8"),
    tokens("quantize_tokens_uint4"),
    tokens("quantize_tokens_uint2"),
];

/// Codes by scales in memory, by code.
pub(super) const ENCODE: [Quantize; 8] = [
    encode("quantize_encode_int8"),
    encode("quantize_encode_int4"),
    encode("quantize_encode_int2"),
    encode("quantize_encode_e4m3"),
    encode("quantize_encode_e5m2"),
    encode("quantize_encode_uint8"),
    encode("quantize_encode_uint4"),
    encode("quantize_encode_uint2"),
];

/// The same with stochastic rounding: INT8, E4M3, E5M2.
pub(super) const STOCHASTIC: [Quantize; 3] =
    [encode("quantize_stochastic_int8"), encode("quantize_stochastic_e4m3"), encode("quantize_stochastic_e5m2")];

/// Dequantize, by code.
pub(super) const DECODE: [Quantize; 12] = [
    decode("quantize_decode_int8"),
    decode("quantize_decode_int4"),
    decode("quantize_decode_int2"),
    decode("quantize_decode_e4m3"),
    decode("quantize_decode_e5m2"),
    decode("quantize_decode_uint8"),
    decode("quantize_decode_uint4"),
    decode("quantize_decode_uint2"),
    decode("quantize_decode_nvfp4"),
    decode("quantize_decode_mxfp4"),
    decode("quantize_decode_mxfp8_e4m3"),
    decode("quantize_decode_mxfp8_e5m2"),
];

/// Statistics per tensor and column: the pass over x, then the scales; symmetric, asymmetric.
pub(super) const STATISTICS: [[Quantize; 2]; 2] = [
    [statistics("quantize_amax"), statistics("quantize_finish_amax")],
    [statistics("quantize_range"), statistics("quantize_finish_range")],
];

pub(crate) fn entries() -> Vec<EntryRow> {
    let flat = TOKENS.iter().chain(&ENCODE).chain(&STOCHASTIC).chain(&DECODE);
    ROWS.iter().chain(&BLOCKS).flatten().chain(flat).chain(STATISTICS.iter().flatten()).map(Entry::row).collect()
}
