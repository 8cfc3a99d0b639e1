// From staged codes to a tile record. Codes are staged in shared memory in natural order, `codes[token][channel]`, one
// element of CODE bytes (2 for floats, 1 otherwise); a row is STRIDE bytes. Threads then walk the 16-byte pieces of the
// record in its own order, so that a whole tile is written by full sectors: piece p = chunk * 32 + lane, lane = 4g + t.
// Tokens outside [lo, hi) of the tile keep their bytes: a piece that holds some of them is written element by element.
// The maps are those of src/cache/tile.rs.
#pragma once

#include <cstdint>

namespace lowbit {
namespace kv {

constexpr int THREADS = 128;

// Row stride that puts 64-byte runs of neighbouring rows on different banks.
template <int ROW_BYTES>
constexpr int ROW_STRIDE = ROW_BYTES % 128 == 64 ? ROW_BYTES : ROW_BYTES + 64;

struct Span {
    int lo, hi;  // tokens of the tile that are there
    __device__ __forceinline__ bool has(int token) const { return token >= lo && token < hi; }
};

// Keys of 8 or 16 bits. (chunk (h,c), lane) -> 16 bytes at byte 64c + 16t of token 8h + g.
template <int ROW_BYTES>
__device__ __forceinline__ void store_keys(uint8_t* part, const uint8_t* codes, Span span) {
    constexpr int STRIDE = ROW_STRIDE<ROW_BYTES>, CHUNKS = ROW_BYTES / 64;
    for (int piece = threadIdx.x; piece < ROW_BYTES; piece += THREADS) {
        const int chunk = piece / 32, lane = piece % 32;
        const int token = chunk / CHUNKS * 8 + lane / 4;
        if (!span.has(token)) continue;
        const uint8_t* from = codes + token * STRIDE + chunk % CHUNKS * 64 + lane % 4 * 16;
        *reinterpret_cast<uint4*>(part + piece * 16) = *reinterpret_cast<const uint4*>(from);
    }
}

// Values of 8 bits. (chunk (h,c), lane) -> channels (D/8)g + 8c .. +7 of tokens 8h + 2t + e, tokens interleaved
// bytewise.
template <int D>
__device__ __forceinline__ void store_values_8(uint8_t* part, const uint8_t* codes, Span span) {
    constexpr int STRIDE = ROW_STRIDE<D>, CHUNKS = D / 64;
    for (int piece = threadIdx.x; piece < D; piece += THREADS) {
        const int chunk = piece / 32, lane = piece % 32;
        const int token = chunk / CHUNKS * 8 + lane % 4 * 2;
        const uint8_t* from = codes + token * STRIDE + lane / 4 * (D / 8) + chunk % CHUNKS * 8;
        uint8_t* to = part + piece * 16;
        if (span.has(token) && span.has(token + 1)) {
            const uint2 a = *reinterpret_cast<const uint2*>(from);
            const uint2 b = *reinterpret_cast<const uint2*>(from + STRIDE);
            *reinterpret_cast<uint4*>(to) = {__byte_perm(a.x, b.x, 0x5140), __byte_perm(a.x, b.x, 0x7362),
                                             __byte_perm(a.y, b.y, 0x5140), __byte_perm(a.y, b.y, 0x7362)};
            continue;
        }
        for (int e = 0; e < 2; ++e) {
            if (!span.has(token + e)) continue;
            for (int i = 0; i < 8; ++i) to[2 * i + e] = from[e * STRIDE + i];
        }
    }
}

// Values of 16 bits. (chunk m, lane) -> channels (D/8)g + 2m + r of tokens 8b + 2t + e; halves (2b + r) * 2 + e.
template <int D>
__device__ __forceinline__ void store_values_16(uint8_t* part, const uint8_t* codes, Span span) {
    constexpr int STRIDE = ROW_STRIDE<2 * D>;
    for (int piece = threadIdx.x; piece < 2 * D; piece += THREADS) {
        const int m = piece / 32, lane = piece % 32;
        const uint8_t* from = codes + lane % 4 * 2 * STRIDE + 2 * (lane / 4 * (D / 8) + 2 * m);
        uint8_t* to = part + piece * 16;
        uint32_t pair[2][2];  // [b][e]: both channels of a token
        int there = 0;
        for (int b = 0; b < 2; ++b) {
            for (int e = 0; e < 2; ++e) {
                pair[b][e] = 0;
                if (!span.has(8 * b + lane % 4 * 2 + e)) continue;
                pair[b][e] = *reinterpret_cast<const uint32_t*>(from + (8 * b + e) * STRIDE);
                ++there;
            }
        }
        if (there == 4) {
            *reinterpret_cast<uint4*>(to) = {
                __byte_perm(pair[0][0], pair[0][1], 0x5410), __byte_perm(pair[0][0], pair[0][1], 0x7632),
                __byte_perm(pair[1][0], pair[1][1], 0x5410), __byte_perm(pair[1][0], pair[1][1], 0x7632)};
            continue;
        }
        uint16_t* halves = reinterpret_cast<uint16_t*>(to);
        for (int b = 0; b < 2; ++b) {
            for (int e = 0; e < 2; ++e) {
                if (!span.has(8 * b + lane % 4 * 2 + e)) continue;
                halves[4 * b + e] = static_cast<uint16_t>(pair[b][e]);
                halves[4 * b + 2 + e] = static_cast<uint16_t>(pair[b][e] >> 16);
            }
        }
    }
}

// Eight 4-bit codes that lie one a byte, to a word.
__device__ __forceinline__ uint32_t pack_nibbles(uint2 bytes) {
    const uint32_t a = (bytes.x | bytes.x >> 4) & 0x00FF00FF;
    const uint32_t b = (bytes.y | bytes.y >> 4) & 0x00FF00FF;
    return __byte_perm(a, b, 0x6420);
}

// Keys of 4 bits, whole tiles of 32 tokens only. (i, chunk, lane) -> words w = 4 chunk .. +3 = h(D/32) + j: channels
// 32j + 8t .. +7 of token 16i + 8h + g.
template <int D>
__device__ __forceinline__ void store_keys_4(uint8_t* part, const uint8_t* codes) {
    constexpr int STRIDE = ROW_STRIDE<D>, CHUNKS = D / 64;
    for (int piece = threadIdx.x; piece < D; piece += THREADS) {
        const int i = piece / 32 / CHUNKS, chunk = piece / 32 % CHUNKS, lane = piece % 32;
        uint32_t words[4];
        for (int k = 0; k < 4; ++k) {
            const int w = 4 * chunk + k;
            const int token = 16 * i + w / (D / 32) * 8 + lane / 4;
            const uint8_t* from = codes + token * STRIDE + w % (D / 32) * 32 + lane % 4 * 8;
            words[k] = pack_nibbles(*reinterpret_cast<const uint2*>(from));
        }
        *reinterpret_cast<uint4*>(part + piece * 16) = {words[0], words[1], words[2], words[3]};
    }
}

// Values of 4 bits. (i, chunk, lane) -> words w = 4 chunk .. +3 = h(D/32) + v; half e of a word is token 16i + 8h + 2t
// + e, its nibbles channels 32v + 2g + {0, 1, 16, 17}.
template <int D>
__device__ __forceinline__ void store_values_4(uint8_t* part, const uint8_t* codes, Span span) {
    constexpr int STRIDE = ROW_STRIDE<D>, CHUNKS = D / 64;
    for (int piece = threadIdx.x; piece < D; piece += THREADS) {
        const int i = piece / 32 / CHUNKS, chunk = piece / 32 % CHUNKS, lane = piece % 32;
        uint8_t* to = part + piece * 16;
        uint32_t words[4] = {0, 0, 0, 0};
        int there = 0;
        for (int k = 0; k < 4; ++k) {
            const int w = 4 * chunk + k;
            const int token = 16 * i + w / (D / 32) * 8 + lane % 4 * 2;
            const uint8_t* from = codes + token * STRIDE + w % (D / 32) * 32 + lane / 4 * 2;
            for (int e = 0; e < 2; ++e) {
                if (!span.has(token + e)) continue;
                const uint32_t low = *reinterpret_cast<const uint16_t*>(from + e * STRIDE);
                const uint32_t high = *reinterpret_cast<const uint16_t*>(from + e * STRIDE + 16);
                const uint32_t bits = (low & 15) | (low >> 4 & 0xF0) | (high & 15) << 8 | (high >> 4 & 0xF0) << 8;
                words[k] |= bits << 16 * e;
                there |= 1 << (2 * k + e);
            }
        }
        if (there == 0xFF) {
            *reinterpret_cast<uint4*>(to) = {words[0], words[1], words[2], words[3]};
            continue;
        }
        for (int k = 0; k < 8; ++k) {
            if (there >> k & 1)
                reinterpret_cast<uint16_t*>(to)[k] = static_cast<uint16_t>(words[k / 2] >> 16 * (k % 2));
        }
    }
}

// Copies `bytes` (a multiple of 16) from shared to global memory.
__device__ __forceinline__ void store_bytes(uint8_t* to, const void* from, int bytes) {
    for (int i = threadIdx.x; i < bytes / 16; i += THREADS) {
        reinterpret_cast<uint4*>(to)[i] = reinterpret_cast<const uint4*>(from)[i];
    }
}

}  // namespace kv
}  // namespace lowbit
