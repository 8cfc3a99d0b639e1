// The KV cache as kernels see it: parameter structs shared with Rust (src/cache/params.rs), tile records
// (src/cache/layout.rs), the window rule (src/cache/window.rs), and the checks of what only the device can see.
// docs/kv-layout.md is the same contract in words; the index maps inside a record are in src/cache/tile.rs.
#pragma once

#include <cstddef>
#include <cstdint>

namespace lowbit {
namespace kv {

struct KvParams {
    uint64_t pages;    // u8[num_pages * page_bytes], 16-byte aligned
    uint64_t state;    // u8[num_slots * state_bytes], 16-byte aligned; null without a window
    uint64_t status;   // u32[1]
    uint64_t k_scale;  // f32[1] or [num_kv_heads], or [num_kv_heads, D]; null where the caller gives no scale
    uint64_t v_scale;
    int32_t num_pages;
    int32_t num_slots;
    uint32_t page_bytes;
    uint32_t state_bytes;
    uint32_t head_bytes;  // from one head to the next in a page
    uint32_t tile_bytes;  // of a record
    uint32_t page_shift;  // log2(page_tokens)
    uint32_t num_kv_heads;
    uint32_t residual;         // R, or 0
    uint32_t max_append;       // most rows of a sequence in one append
    uint32_t ring_rows;        // row = position mod ring_rows; a multiple of the tile, or, with R = 0, the sink
    uint32_t ring_head_bytes;  // from one head to the next in a ring
    uint32_t ring_v_offset;    // values in a slot; keys start at 0
    uint32_t k_scale_stride;   // elements from one head to the next: 0, 1 or D
    uint32_t v_scale_stride;
    uint32_t dtype;  // DTYPE_F16 or DTYPE_BF16
};
static_assert(sizeof(KvParams) == 104 && offsetof(KvParams, num_pages) == 40 && offsetof(KvParams, page_shift) == 64 &&
                  offsetof(KvParams, residual) == 72 && offsetof(KvParams, k_scale_stride) == 92 &&
                  offsetof(KvParams, dtype) == 100,
              "KvParams is shared with Rust");

struct BatchParams {
    uint64_t seq_lens;     // i32[num_seqs], this call's tokens included
    uint64_t cu_q_lens;    // i32[num_seqs + 1]
    uint64_t block_table;  // i32[num_seqs, max_blocks]
    uint64_t state_slots;  // i32[num_seqs]; null without a window
    uint64_t ring_start;   // i32[num_seqs], or null: 0 everywhere
    int32_t num_seqs;
    int32_t max_blocks;
    int32_t max_q_len;
    int32_t total_q;
};
static_assert(sizeof(BatchParams) == 56 && offsetof(BatchParams, num_seqs) == 40 &&
                  offsetof(BatchParams, total_q) == 52,
              "BatchParams is shared with Rust");

// The crate's DType as a number.
constexpr uint32_t DTYPE_F16 = 1;
constexpr uint32_t DTYPE_BF16 = 2;

// Bits of the sticky status word (src/cache/status.rs).
constexpr uint32_t STATUS_NAN = 1;
constexpr uint32_t STATUS_BAD_PAGE = 2;
constexpr uint32_t STATUS_BAD_SLOT = 4;
constexpr uint32_t STATUS_TOO_LONG = 8;
constexpr uint32_t STATUS_BAD_LENGTHS = 16;
constexpr uint32_t STATUS_BAD_RING_START = 32;

// The code of one side and what shares a scale. Equals Rust's KvSide where a kernel has to know.
enum class Code {
    FLOAT,
    INT8,         // one f32 a token
    INT8_STATIC,  // the caller's f32 a head and channel
    E4M3,         // the caller's f32 a head
    E5M2,         // the same
    INT4,         // f16 scale and minimum per token and group of channels
    INT2,         // the same
    Q8_0,         // f16 scale per token and 32 channels: ggml's blocks
    Q4_0,         // the same
    E2M1,         // E4M3 scale per token and 16 channels, over it the caller's f32 a head
    NUQ4,         // a table of 16 levels, outliers; keys per channel, values per token
    NUQ3,         // of 8
    INT2_TOKENS,  // f16 scale and minimum per channel and group of tokens, which is a tile: keys with a window
    INT4_TOKENS,
    UINT8_TOKENS,
};

// What kernels ask of a code.
template <Code C>
constexpr bool IS_NIBBLE =
    C == Code::INT4 || C == Code::INT4_TOKENS || C == Code::E2M1 || C == Code::Q4_0 || C == Code::NUQ4;
template <Code C>
constexpr bool IS_NUQ = C == Code::NUQ4 || C == Code::NUQ3;
template <Code C>
constexpr bool IS_CRUMB = C == Code::INT2 || C == Code::INT2_TOKENS;
template <Code C>
constexpr bool IS_GGML = C == Code::Q8_0 || C == Code::Q4_0;
template <Code C>
constexpr bool IS_PER_CHANNEL = C == Code::INT2_TOKENS || C == Code::INT4_TOKENS || C == Code::UINT8_TOKENS;
template <Code C>
constexpr bool IS_FP8 = C == Code::E4M3 || C == Code::E5M2;
template <Code C>
constexpr bool HAS_HEAD_SCALE = IS_FP8<C> || C == Code::E2M1;
template <Code C>
constexpr int CODE_BITS = C == Code::FLOAT  ? 16
                          : IS_NIBBLE<C>    ? 4
                          : IS_CRUMB<C>     ? 2
                          : C == Code::NUQ3 ? 3
                                            : 8;

// Bytes of the codes of one side in a tile record. Of 3-bit codes two bits of each, then the third, words of D/64.
template <Code C, int TOKENS, int D>
constexpr int CODE_BYTES = C == Code::NUQ3 ? 8 * D + 256 * ((D + 63) / 64) : TOKENS * D * CODE_BITS<C> / 8;

// Outliers of a token and head: one for every 100 channels begun, and of keys, whose ranges are given, two at least.
template <int SIDE, int D>
constexpr int OUTLIERS = SIDE == 0 && D <= 100 ? 2 : (D + 99) / 100;

// Channels that share a scale: gcd(32, D).
template <int D>
constexpr int CHANNEL_GROUP = D % 32 == 0 ? 32 : 16;

// Bytes of the scales of one side in a tile record.
template <Code C, int SIDE, int TOKENS, int D>
constexpr int META_BYTES = C == Code::INT8                      ? 4 * TOKENS
                           : C == Code::INT4 || C == Code::INT2 ? 4 * TOKENS * (D / CHANNEL_GROUP<D>)
                           : C == Code::E2M1                    ? TOKENS * D / 16
                           : IS_GGML<C>                         ? TOKENS * D / 16
                           : IS_NUQ<C>                          ? TOKENS * (4 * SIDE + 3 * OUTLIERS<SIDE, D>)
                           : IS_PER_CHANNEL<C>                  ? 4 * D
                                                                : 0;

// Tokens of a tile where keys have no scale per channel and more tokens.
template <Code K, Code V>
constexpr int TILE_TOKENS = CODE_BITS<K> < 8 || CODE_BITS<V> < 8 ? 32 : 16;

// The tile record [K codes][V codes][K meta][V meta] of one head, in bytes. Equals Rust's TileLayout.
template <Code K, Code V, int D, int TILE>
struct Tile {
    static constexpr int TOKENS = TILE;
    static constexpr int K_CODES = 0;
    static constexpr int V_CODES = CODE_BYTES<K, TOKENS, D>;
    static constexpr int K_META = V_CODES + CODE_BYTES<V, TOKENS, D>;
    static constexpr int V_META = K_META + META_BYTES<K, 0, TOKENS, D>;
    static constexpr int BYTES = V_META + META_BYTES<V, 1, TOKENS, D>;
};

// A sequence of the batch. Row r of its m new rows is position p0 + r, row row0 + r of the tensors.
struct Sequence {
    int n;            // tokens, the new ones included; not clamped
    int p0;           // n - m
    int m;            // new tokens; 0: nothing to do
    int row0;         // first row
    uint32_t status;  // what is wrong with its lengths
};

// Reads and checks a sequence: contradictory lengths give m = 0 and a bit.
__device__ __forceinline__ Sequence load_sequence(const KvParams& kv, const BatchParams& batch, int seq) {
    const int* cu = reinterpret_cast<const int*>(batch.cu_q_lens);
    const int row0 = cu[seq];
    const int row1 = cu[seq + 1];
    const int n = reinterpret_cast<const int*>(batch.seq_lens)[seq];
    if (row0 < 0 || row1 < row0 || row1 > batch.total_q || row1 - row0 > batch.max_q_len ||
        (row1 > row0 && n < row1 - row0)) {
        return {0, 0, 0, 0, STATUS_BAD_LENGTHS};
    }
    const int m = row1 - row0;
    const bool too_long = m > 0 && n > (batch.max_blocks << kv.page_shift);
    return {n, n - m, m, row0, too_long ? STATUS_TOO_LONG : 0};
}

// F_k(p0): keys below are codes. Without a window: all.
__device__ __forceinline__ int keys_coded(const KvParams& kv, int p0, int n) {
    const int r = static_cast<int>(kv.residual);
    return r == 0 ? n : p0 / r * r;
}

// F_v(p0): values below are codes. Without a window: all.
__device__ __forceinline__ int values_coded(const KvParams& kv, int p0, int n, int ring_start) {
    const int r = static_cast<int>(kv.residual);
    return r == 0 ? n : max(p0 - r, ring_start);
}

// ring_start of a sequence as it counts: rounded down to a multiple of R, in 0..=F_k(p0). ORs a bit if it had to be.
__device__ __forceinline__ int load_ring_start(const KvParams& kv, const BatchParams& batch, int seq, int p0,
                                               uint32_t& status) {
    if (kv.residual == 0 || batch.ring_start == 0) return 0;
    const int r = static_cast<int>(kv.residual);
    const int given = reinterpret_cast<const int*>(batch.ring_start)[seq];
    const int start = min(max(given, 0), keys_coded(kv, p0, p0)) / r * r;
    if (start != given) status |= STATUS_BAD_RING_START;
    return start;
}

// The page that holds `position`, or null: beyond the block table, or a bad entry (ORs a bit).
__device__ __forceinline__ uint8_t* load_page(const KvParams& kv, const BatchParams& batch, int seq, int position,
                                              uint32_t& status) {
    // A position that overflowed is negative, and as unsigned beyond every table.
    const uint32_t block = static_cast<uint32_t>(position) >> kv.page_shift;
    if (block >= static_cast<uint32_t>(batch.max_blocks)) return nullptr;
    const int page =
        reinterpret_cast<const int*>(batch.block_table)[static_cast<int64_t>(seq) * batch.max_blocks + block];
    if (page < 0 || page >= kv.num_pages) {
        status |= STATUS_BAD_PAGE;
        return nullptr;
    }
    return reinterpret_cast<uint8_t*>(kv.pages) + static_cast<int64_t>(page) * kv.page_bytes;
}

// The record of `head` that holds `position`, in its page.
template <class Tile>
__device__ __forceinline__ uint8_t* tile_in_page(const KvParams& kv, uint8_t* page, int head, int position) {
    const int slot = position & ((1 << kv.page_shift) - 1);
    return page + static_cast<uint32_t>(head) * kv.head_bytes + slot / Tile::TOKENS * Tile::BYTES;
}

// Where a channel of keys that are stored before RoPE lies: pairs are neighbours. `key_rope` is the channels that turn,
// and bit 31 for pairs (i, i + rotary_dim / 2). src/cache/nuq.rs.
__device__ __forceinline__ int key_slot(uint32_t key_rope, int channel) {
    const int rotary = key_rope & 0xffff, half = rotary / 2;
    if (key_rope >> 31 == 0 || channel >= rotary) return channel;
    return channel < half ? 2 * channel : 2 * (channel - half) + 1;
}

// The inverse.
__device__ __forceinline__ int key_channel(uint32_t key_rope, int slot) {
    const int rotary = key_rope & 0xffff;
    if (key_rope >> 31 == 0 || slot >= rotary) return slot;
    return slot / 2 + slot % 2 * (rotary / 2);
}

// The window or sink of a sequence, or null: neither in the format, or a bad slot (ORs a bit).
__device__ __forceinline__ uint8_t* load_slot(const KvParams& kv, const BatchParams& batch, int seq, uint32_t& status) {
    if (kv.state_bytes == 0) return nullptr;
    const int slot = reinterpret_cast<const int*>(batch.state_slots)[seq];
    if (slot < 0 || slot >= kv.num_slots) {
        status |= STATUS_BAD_SLOT;
        return nullptr;
    }
    return reinterpret_cast<uint8_t*>(kv.state) + static_cast<int64_t>(slot) * kv.state_bytes;
}

}  // namespace kv
}  // namespace lowbit
