// export_blocks: the first tokens of a sequence as ggml's blocks of 32 channels, keys and values. Defined by
// src/reference/kv/export.rs.
//
//   out [tokens, kv heads, head_dim / 32] blocks: an f16 scale, then 32 bytes (q8_0) or 16 (q4_0; the low nibble of
//   byte j is element j, the high one element j + 16)
//
// A thread a block; blockIdx.y is the side. Codes are gathered from their fragment order, so a warp reads the sectors
// of a few tiles several times: from L1, once from memory. A token whose page is bad gives zeros and sets a bit.
// targets: lowest
#include "kv/layout.cuh"

using namespace lowbit::kv;

namespace {

// Offset of word w of a lane in a region of n words a lane (kernels/attention/words.cuh).
__device__ __forceinline__ uint32_t word_offset(uint32_t n, uint32_t lane, uint32_t w) {
    const uint32_t whole = n / 4 * 4;
    if (w < whole) return 128 * (w / 4 * 4) + 16 * lane + 4 * (w % 4);
    if (n % 4 >= 2 && w % 4 < 2) return 128 * whole + 8 * lane + 4 * (w % 4);
    return 128 * w + 4 * lane;
}

// The code of (token of the tile, channel c): q + 128, or a nibble.
__device__ __forceinline__ uint32_t load_code(const uint8_t* codes, bool values, uint32_t bits, uint32_t d,
                                              uint32_t token, uint32_t c) {
    const uint32_t n = d / 16, e = token % 2;
    const uint32_t lane =
        values ? 4 * (c % 16 / 2) + token / 2 % 4 : 4 * (token % 8) + (bits == 8 ? c / 4 % 4 : c / 8 % 4);
    if (bits == 8) {
        const uint32_t byte = values ? 2 * (c % 2) + e : c % 4;
        return codes[token / 8 * 8 * d + word_offset(n, lane, c / 16) + byte];
    }
    const uint32_t w = token / 8 % 2 * (d / 32) + c / 32, nibble = values ? 4 * e + c % 32 / 16 * 2 + c % 2 : c % 8;
    const uint8_t byte = codes[token / 16 * 8 * d + word_offset(n, lane, w) + nibble / 2];
    return byte >> (4 * (nibble % 2)) & 15;
}

}  // namespace

struct ExportParams {
    KvParams kv;
    uint64_t table;  // i32 [blocks]: the sequence's pages
    uint64_t out[2];
    uint32_t codes_at[2];  // in the tile record, of keys and values
    uint32_t meta_at[2];
    uint32_t bits[2];  // of a code: 8 or 4
    uint32_t tokens;
    uint32_t head_dim;
    uint32_t tile_tokens;
    uint32_t reserved;
};
static_assert(sizeof(ExportParams) == 168 && offsetof(ExportParams, table) == 104 &&
                  offsetof(ExportParams, codes_at) == 128 && offsetof(ExportParams, tokens) == 152,
              "ExportParams is shared with Rust");

extern "C" __global__ void __launch_bounds__(128) export_blocks(const __grid_constant__ ExportParams p) {
    const uint32_t side = blockIdx.y, groups = p.head_dim / 32;
    const uint64_t index = static_cast<uint64_t>(blockIdx.x) * blockDim.x + threadIdx.x;
    if (index >= static_cast<uint64_t>(p.tokens) * p.kv.num_kv_heads * groups) return;
    const uint32_t j = index % groups, head = index / groups % p.kv.num_kv_heads;
    const uint32_t position = index / groups / p.kv.num_kv_heads;
    const uint32_t bits = p.bits[side], halves = 1 + 2 * bits;  // of an out block
    uint16_t* out = reinterpret_cast<uint16_t*>(p.out[side]) + index * halves;
    const int page = reinterpret_cast<const int*>(p.table)[position >> p.kv.page_shift];
    if (page < 0 || page >= p.kv.num_pages) {
        atomicOr(reinterpret_cast<uint32_t*>(p.kv.status), STATUS_BAD_PAGE);
        for (uint32_t i = 0; i < halves; ++i) out[i] = 0;
        return;
    }
    const uint32_t slot = position & ((1u << p.kv.page_shift) - 1), token = slot % p.tile_tokens;
    const uint8_t* record = reinterpret_cast<const uint8_t*>(p.kv.pages) +
                            static_cast<uint64_t>(page) * p.kv.page_bytes + head * p.kv.head_bytes +
                            slot / p.tile_tokens * p.kv.tile_bytes;
    const uint8_t* codes = record + p.codes_at[side];
    const uint32_t i = token / 16, h = token / 8 % 2;
    const uint32_t place = side == 0 ? 2 * ((8 * i + token % 8) * groups + j) + h
                                     : p.tile_tokens / 4 * (4 * j + token / 2 % 4) + 4 * i + 2 * h + token % 2;
    out[0] = reinterpret_cast<const uint16_t*>(record + p.meta_at[side])[place];
    const auto code = [&](uint32_t c) { return load_code(codes, side == 1, bits, p.head_dim, token, 32 * j + c); };
    for (uint32_t i = 0; i + 1 < halves; ++i) {
        uint32_t pair = 0;
        for (uint32_t e = 0; e < 2; ++e) {
            const uint32_t c = 2 * i + e;
            pair |= (bits == 8 ? code(c) ^ 0x80 : code(c) | code(c + 16) << 4) << (8 * e);
        }
        out[1 + i] = static_cast<uint16_t>(pair);
    }
}
