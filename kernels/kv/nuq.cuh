// Rows of codes with tables (KVQuant) on their way to the cache. Defined by src/reference/kv/nuq.rs.
//
// A row is a warp's; lane l < D/8 has channels 8l .. 8l + 7, as in quantize/codebook.cuh, whose search and order of
// outliers these are. Key channels are staged where they are stored (`key_slot`).
#pragma once

#include "kv/code.cuh"
#include "kv/layout.cuh"
#include "kv/store.cuh"
#include "quantize/codebook.cuh"

namespace lowbit {
namespace kv {

// What a block holds of its layer and head.
template <int D>
struct NuqTables {
    Book book[2];
    float range[D], zero[D];  // of the head's key channels
    uint16_t* sink[2];        // rows of the first tokens in the state slot
    int sink_rows;            // of this tile
    uint32_t key_rope;

    // The whole block; `start` is the tile's first position, `slot` the sequence's or null.
    __device__ __forceinline__ void load(const KvParams& kv, uint32_t rope, int head, int start, uint8_t* slot) {
        const float* k = reinterpret_cast<const float*>(kv.k_scale);
        const float* v = reinterpret_cast<const float*>(kv.v_scale);
        if (threadIdx.x < 16) {
            book[0].level[threadIdx.x] = k[threadIdx.x], book[0].threshold[threadIdx.x] = k[16 + threadIdx.x];
            book[1].level[threadIdx.x] = v[threadIdx.x], book[1].threshold[threadIdx.x] = v[16 + threadIdx.x];
        }
        for (int c = threadIdx.x; c < D; c += THREADS) {
            range[c] = k[32 + head * D + c];
            zero[c] = k[32 + (kv.num_kv_heads + head) * D + c];
        }
        if (threadIdx.x == 0) {
            uint8_t* rows = slot + head * kv.ring_head_bytes;
            sink[0] = reinterpret_cast<uint16_t*>(rows);
            sink[1] = reinterpret_cast<uint16_t*>(rows + kv.ring_v_offset);
            sink_rows = slot == nullptr || start != 0 ? 0 : static_cast<int>(kv.ring_rows);
            key_rope = rope;
        }
    }
};

// A row of the sink: within the range of f16.
__device__ __forceinline__ uint16_t kept(float x, uint32_t dtype) {
    if (dtype == DTYPE_BF16) x = fminf(fmaxf(x, -65280.0f), 65280.0f);
    return static_cast<uint16_t>(pack_16(static_cast<DType>(dtype), x, 0.0f));
}

// Codes one row of side SIDE (0: K, 1: V), the whole warp together.
template <Code C, int SIDE, int D, class Stage>
__device__ __forceinline__ void stage_nuq(Stage& stage, int token, const uint16_t* row, uint32_t dtype, bool& nan) {
    constexpr int SLOTS = OUTLIERS<SIDE, D>, BITS = C == Code::NUQ4 ? 4 : 3;
    const uint32_t lane = threadIdx.x % 32;
    const int start = 8 * lane, count = start < D ? 8 : 0;
    const auto& tables = stage.nuq;
    const auto slot = [&](int channel) { return SIDE == 0 ? key_slot(tables.key_rope, channel) : channel; };
    float x[8] = {};
    if (count > 0) {
        const uint4 words = *reinterpret_cast<const uint4*>(row + start);
        const uint32_t pairs[4] = {words.x, words.y, words.z, words.w};
#pragma unroll
        for (int i = 0; i < 8; ++i) x[i] = sanitize(to_f32(pairs[i / 2] >> 16 * (i % 2) & 0xFFFF, dtype), nan);
        if (token < tables.sink_rows) {
#pragma unroll
            for (int i = 0; i < 8; ++i) tables.sink[SIDE][token * D + slot(start + i)] = kept(x[i], dtype);
        }
    }
    Extent of_row = {};
    if constexpr (SIDE == 1) of_row = extent(x, count, lane, 32, SLOTS);
    uint8_t* meta = stage.meta[SIDE];
    if (SIDE == 1 && lane == 0) {
        reinterpret_cast<uint16_t*>(meta)[token] = __half_as_ushort(of_row.range);
        reinterpret_cast<uint16_t*>(meta)[32 + token] = __half_as_ushort(of_row.zero);
    }
    int key[8];
#pragma unroll
    for (int i = 0; i < 8; ++i) {
        key[i] = -1;
        if (count == 0) continue;
        const float range = SIDE == 0 ? tables.range[start + i] : __half2float(of_row.range);
        const float offset = __fsub_rn(x[i], SIDE == 0 ? tables.zero[start + i] : __half2float(of_row.zero));
        const bool flat = range == 0.0f;
        const float z = flat ? 0.0f : __fdiv_rn(offset, range);
        const uint32_t q = flat ? 0 : tables.book[SIDE].template nearest<BITS>(z);
        key[i] = flat && offset != 0.0f ? 0x7F800000 : magnitude(z);
        stage.codes[SIDE][token * Stage::STRIDE + slot(start + i)] = static_cast<uint8_t>(q);
    }
    uint16_t* values = reinterpret_cast<uint16_t*>(meta + 128 * SIDE) + SLOTS * token;
    uint8_t* channels = meta + 128 * SIDE + SLOTS * (64 + token);
    for (int s = 0; s < SLOTS; ++s) {
        const Candidate best = first(key, lane, 32);
        const bool used = best.key > 0x3F800000;  // |z| > 1
        if (!used && lane == 0) channels[s] = kNoChannel, values[s] = kNoValue;
#pragma unroll
        for (int i = 0; i < 8; ++i) {
            if (!used || best.channel != start + i) continue;
            channels[s] = static_cast<uint8_t>(slot(start + i));
            values[s] = static_cast<uint16_t>(half_bits(x[i]));
        }
        take(key, lane, best.channel);
    }
}

// The token that byte `index` of a side's staged meta serves.
template <int SIDE, int D>
__device__ __forceinline__ int nuq_meta_token(int index) {
    constexpr int SLOTS = OUTLIERS<SIDE, D>;
    if (SIDE == 1 && index < 128) return index / 2 % 32;
    index -= 128 * SIDE;
    return index < 64 * SLOTS ? index / (2 * SLOTS) : (index - 64 * SLOTS) / SLOTS;
}

// Of four codes, one a byte, bits 0 and 1 as a byte, and bit 2 as four bits.
__device__ __forceinline__ uint32_t low_bits(uint32_t four) {
    const uint32_t two = (four & 0x00030003u) | (four >> 6 & 0x000C000Cu);
    return (two | two >> 12) & 0xFF;
}
__device__ __forceinline__ uint32_t high_bits(uint32_t four) {
    const uint32_t two = (four >> 2 & 0x00010001u) | (four >> 9 & 0x00020002u);
    return (two | two >> 14) & 15;
}

// Keys of 3 bits, region i: byte 2(w%2) + h of word w/2, or 2(w/2%2) + h of word w/4 for bit 2, is token 16i + 8h + g.
template <int D, bool HIGH>
struct KeyBits {
    static constexpr int STRIDE = ROW_STRIDE<D>;
    const uint8_t* codes;
    Span span;

    template <int COUNT>
    __device__ __forceinline__ Words<COUNT> get(int i, int lane, int first_word) const {
        Words<COUNT> words;
        words.there = 0;
        for (int k = 0; k < COUNT; ++k) {
            words.of[k] = 0;
            for (int byte = 0; byte < 4; ++byte) {
                const int token = 16 * i + 8 * (byte % 2) + lane / 4;
                const int block = (HIGH ? 4 : 2) * (first_word + k) + (HIGH ? 2 : 1) * (byte / 2);
                if (!span.has(token) || block >= D / 16) continue;
                const uint8_t* from = codes + token * STRIDE + 16 * block + 4 * (lane % 4);
                const auto four = [&](int at) { return *reinterpret_cast<const uint32_t*>(from + at); };
                const uint32_t bits = HIGH ? high_bits(four(0)) | high_bits(four(16)) << 4 : low_bits(four(0));
                words.of[k] |= bits << 8 * byte;
                words.there |= 1u << (4 * k + byte);
            }
        }
        return words;
    }
};

// Values of 3 bits, region i: byte 2h + e of word v, or of word v/2 for bit 2, is token 16i + 8h + 2t + e.
template <int D, bool HIGH>
struct ValueBits {
    static constexpr int STRIDE = ROW_STRIDE<D>;
    const uint8_t* codes;
    Span span;

    template <int COUNT>
    __device__ __forceinline__ Words<COUNT> get(int i, int lane, int first_word) const {
        Words<COUNT> words;
        words.there = 0;
        for (int k = 0; k < COUNT; ++k) {
            words.of[k] = 0;
            for (int byte = 0; byte < 4; ++byte) {
                const int token = 16 * i + 8 * (byte / 2) + 2 * (lane % 4) + byte % 2;
                if (!span.has(token)) continue;
                const uint8_t* from = codes + token * STRIDE + (HIGH ? 64 : 32) * (first_word + k) + 2 * (lane / 4);
                const auto four = [&](int at) {
                    const uint32_t low = *reinterpret_cast<const uint16_t*>(from + at);
                    return low | static_cast<uint32_t>(*reinterpret_cast<const uint16_t*>(from + at + 16)) << 16;
                };
                const bool two = D % 64 == 0 || 64 * (first_word + k) + 32 < D;
                uint32_t bits = HIGH ? high_bits(four(0)) : low_bits(four(0));
                if (HIGH && two) bits |= high_bits(four(32)) << 4;
                words.of[k] |= bits << 8 * byte;
                words.there |= 1u << (4 * k + byte);
            }
        }
        return words;
    }
};

}  // namespace kv
}  // namespace lowbit
