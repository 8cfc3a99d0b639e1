// From staged codes to a tile record. Codes are staged in shared memory in natural order, `codes[token][channel]`, one
// element of CODE bytes (2 for floats, 1 otherwise); a row is STRIDE bytes. Threads then walk the pieces of the record
// in its own order (kernels/attention/words.cuh), so that a whole tile is written by full sectors: quads of words
// first, then the words that are left; lane = 4g + t. Tokens outside [lo, hi) of the tile keep their bytes: a piece
// that holds some of them is written byte by byte. The maps are those of src/cache/tile.rs.
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

// Words of a lane and which of their bytes are there, bit 4 * word + byte.
template <int COUNT>
struct Words {
    uint32_t of[COUNT];
    uint32_t there;
};

template <int COUNT>
__device__ __forceinline__ void store_words(uint8_t* to, const Words<COUNT>& words) {
    if constexpr (COUNT == 4) {
        if (words.there == 0xFFFF) {
            *reinterpret_cast<uint4*>(to) = {words.of[0], words.of[1], words.of[2], words.of[3]};
            return;
        }
    }
    for (int k = 0; k < COUNT; ++k) {
        const uint32_t there = words.there >> 4 * k & 15;
        if (there == 15) {
            reinterpret_cast<uint32_t*>(to)[k] = words.of[k];
            continue;
        }
        for (int byte = 0; byte < 4; ++byte) {
            if (there >> byte & 1) to[4 * k + byte] = static_cast<uint8_t>(words.of[k] >> 8 * byte);
        }
    }
}

// Writes REGIONS regions of N words a lane. `source.get<COUNT>(region, lane, first word)` gives words.
template <int N, int REGIONS, class Source>
__device__ __forceinline__ void store_part(uint8_t* part, const Source& source) {
    constexpr int QUADS = N / 4, LEFT = N % 4;
    if constexpr (QUADS != 0) {
        for (int piece = threadIdx.x; piece < REGIONS * QUADS * 32; piece += THREADS) {
            const int region = piece / 32 / QUADS, quad = piece / 32 % QUADS, lane = piece % 32;
            store_words(part + region * 128 * N + quad * 512 + lane * 16,
                        source.template get<4>(region, lane, 4 * quad));
        }
    }
    if constexpr (LEFT != 0) {
        for (int piece = threadIdx.x; piece < REGIONS * LEFT * 32; piece += THREADS) {
            // Two words a lane, then one.
            const int region = piece / 32 / LEFT, at = piece % (32 * LEFT);
            const bool pair = LEFT >= 2 && at < 64;
            const int lane = pair ? at / 2 : at % 32, word = 4 * QUADS + (pair ? at % 2 : LEFT - 1);
            store_words(part + region * 128 * N + QUADS * 512 + 4 * at, source.template get<1>(region, lane, word));
        }
    }
}

// Keys of 8 or 16 bits, regions of 8 tokens: token 8 region + g. Byte j of word w: 64(w/4) + 16t + 4(w%4) + j, in the
// words after the last quad 16w + 4t + j.
template <int ROW_BYTES>
struct KeyBytes {
    static constexpr int STRIDE = ROW_STRIDE<ROW_BYTES>;
    const uint8_t* codes;
    Span span;

    template <int COUNT>
    __device__ __forceinline__ Words<COUNT> get(int region, int lane, int first) const {
        const int token = 8 * region + lane / 4;
        if (!span.has(token)) return {};
        const uint32_t there = 0xFFFFu >> (16 - 4 * COUNT);
        const uint8_t* row = codes + token * STRIDE + 16 * first;
        if constexpr (COUNT == 4) {
            const uint4 quad = *reinterpret_cast<const uint4*>(row + lane % 4 * 16);
            return {{quad.x, quad.y, quad.z, quad.w}, there};
        } else {
            return {{*reinterpret_cast<const uint32_t*>(row + lane % 4 * 4)}, there};
        }
    }
};

// Values of 8 bits, regions of 8 tokens: byte 2r + e of word m is token 8 region + 2t + e, channel (D/8)g + 2m + r.
template <int D>
struct ValueBytes {
    static constexpr int STRIDE = ROW_STRIDE<D>;
    const uint8_t* codes;
    Span span;

    template <int COUNT>
    __device__ __forceinline__ Words<COUNT> get(int region, int lane, int first) const {
        const int token = 8 * region + lane % 4 * 2;
        const uint8_t* a = codes + token * STRIDE + lane / 4 * (D / 8) + 2 * first;
        const bool has_a = span.has(token), has_b = span.has(token + 1);
        Words<COUNT> words;
        words.there = ((has_a ? 0x5555u : 0) | (has_b ? 0xAAAAu : 0)) & 0xFFFFu >> (16 - 4 * COUNT);
        if constexpr (COUNT == 4 && D % 64 == 0) {
            const uint2 x = has_a ? *reinterpret_cast<const uint2*>(a) : make_uint2(0, 0);
            const uint2 y = has_b ? *reinterpret_cast<const uint2*>(a + STRIDE) : make_uint2(0, 0);
            words.of[0] = __byte_perm(x.x, y.x, 0x5140), words.of[1] = __byte_perm(x.x, y.x, 0x7362);
            words.of[2] = __byte_perm(x.y, y.y, 0x5140), words.of[3] = __byte_perm(x.y, y.y, 0x7362);
        } else {
            for (int k = 0; k < COUNT; ++k) {
                const uint32_t x = has_a ? *reinterpret_cast<const uint16_t*>(a + 2 * k) : 0;
                const uint32_t y = has_b ? *reinterpret_cast<const uint16_t*>(a + STRIDE + 2 * k) : 0;
                words.of[k] = __byte_perm(x, y, 0x5140);
            }
        }
        return words;
    }
};

// Keys of ggml's 8 bits, regions of 8 tokens: byte c of word w is channel 16w + 4t + c of token 8 region + g.
template <int D>
struct KeyBlocks {
    static constexpr int STRIDE = ROW_STRIDE<D>;
    const uint8_t* codes;
    Span span;

    template <int COUNT>
    __device__ __forceinline__ Words<COUNT> get(int region, int lane, int first) const {
        const int token = 8 * region + lane / 4;
        if (!span.has(token)) return {};
        const uint8_t* row = codes + token * STRIDE + 16 * first + lane % 4 * 4;
        Words<COUNT> words;
        words.there = 0xFFFFu >> (16 - 4 * COUNT);
        for (int k = 0; k < COUNT; ++k) words.of[k] = *reinterpret_cast<const uint32_t*>(row + 16 * k);
        return words;
    }
};

// Values of ggml's 8 bits, regions of 8 tokens: byte 2r + e of word m is token 8 region + 2t + e, channel 16m + 2g + r.
template <int D>
struct ValueBlocks {
    static constexpr int STRIDE = ROW_STRIDE<D>;
    const uint8_t* codes;
    Span span;

    template <int COUNT>
    __device__ __forceinline__ Words<COUNT> get(int region, int lane, int first) const {
        const int token = 8 * region + lane % 4 * 2;
        const uint8_t* a = codes + token * STRIDE + 16 * first + lane / 4 * 2;
        const bool has_a = span.has(token), has_b = span.has(token + 1);
        Words<COUNT> words;
        words.there = ((has_a ? 0x5555u : 0) | (has_b ? 0xAAAAu : 0)) & 0xFFFFu >> (16 - 4 * COUNT);
        for (int k = 0; k < COUNT; ++k) {
            const uint32_t x = has_a ? *reinterpret_cast<const uint16_t*>(a + 16 * k) : 0;
            const uint32_t y = has_b ? *reinterpret_cast<const uint16_t*>(a + STRIDE + 16 * k) : 0;
            words.of[k] = __byte_perm(x, y, 0x5140);
        }
        return words;
    }
};

// Values of 16 bits. (chunk m, lane) -> channels (D/8)g + 2m + r of tokens 8b + 2t + e; halves (2b + r) * 2 + e.
template <int D>
struct ValueHalves {
    static constexpr int STRIDE = ROW_STRIDE<2 * D>;
    const uint8_t* codes;
    Span span;

    template <int COUNT>
    __device__ __forceinline__ Words<COUNT> get(int, int lane, int first) const {
        const uint8_t* from = codes + lane % 4 * 2 * STRIDE + 2 * (lane / 4 * (D / 8) + first / 2);
        Words<COUNT> words;
        words.there = 0;
        for (int b = 0; b < 2; ++b) {
            uint32_t pair[2];  // both channels of a token
            for (int e = 0; e < 2; ++e) {
                pair[e] = 0;
                if (!span.has(8 * b + lane % 4 * 2 + e)) continue;
                pair[e] = *reinterpret_cast<const uint32_t*>(from + (8 * b + e) * STRIDE);
                words.there |= (e == 0 ? 0x33u : 0xCCu) << 8 * b;
            }
            words.of[2 * b] = __byte_perm(pair[0], pair[1], 0x5410);
            words.of[2 * b + 1] = __byte_perm(pair[0], pair[1], 0x7632);
        }
        return words;
    }
};

// Eight 4-bit codes that lie one a byte, to a word.
__device__ __forceinline__ uint32_t pack_nibbles(uint2 bytes) {
    const uint32_t a = bytes.x | bytes.x >> 4, b = bytes.y | bytes.y >> 4;
    return __byte_perm(a, b, 0x6420);
}

// Keys of 4 bits, regions i of 16 tokens. WHOLE: word h(D/32) + j is channels 32j + 8t .. +7 of token 16i + 8h + g;
// else nibble 2h + b + 4e of word w is channel 16w + 4t + 2b + e.
template <int D, bool WHOLE>
struct KeyNibbles {
    static constexpr int STRIDE = ROW_STRIDE<D>, V = D / 32;
    const uint8_t* codes;
    Span span;

    template <int COUNT>
    __device__ __forceinline__ Words<COUNT> get(int i, int lane, int first) const {
        Words<COUNT> words;
        words.there = 0;
        for (int k = 0; k < COUNT; ++k) {
            const int w = first + k, g = lane / 4, t = lane % 4;
            words.of[k] = 0;
            if (!WHOLE) {
                const uint8_t* from = codes + (16 * i + g) * STRIDE + 16 * w + 4 * t;
                // Byte c of a token's four is nibble 2h + c/2 + 4 (c%2): (0, 2) and (1, 3) become a byte each.
                for (int h = 0; h < 2; ++h) {
                    if (!span.has(16 * i + 8 * h + g)) continue;
                    const uint32_t four = *reinterpret_cast<const uint32_t*>(from + 8 * h * STRIDE);
                    words.of[k] |= __byte_perm(four | four >> 12, 0, 0x4140) << 8 * h;
                    words.there |= (h == 0 ? 0x5u : 0xAu) << 4 * k;
                }
                continue;
            }
            const int token = 16 * i + w / V * 8 + g;
            if (!span.has(token)) continue;
            const uint8_t* from = codes + token * STRIDE + w % V * 32 + t * 8;
            words.of[k] = pack_nibbles(*reinterpret_cast<const uint2*>(from));
            words.there |= 15u << 4 * k;
        }
        return words;
    }
};

// Values of 4 bits, regions i of 16 tokens: half e of word h(D/32) + v is token 16i + 8h + 2t + e, its nibbles channels
// 32v + 2g + {0, 1, 16, 17}. Where D%32 is 16, nibble 2h + r + 4e of the last word is channel D - 16 + 2g + r.
template <int D>
struct ValueNibbles {
    static constexpr int STRIDE = ROW_STRIDE<D>, V = D / 32;
    const uint8_t* codes;
    Span span;

    template <int COUNT>
    __device__ __forceinline__ Words<COUNT> get(int i, int lane, int first) const {
        Words<COUNT> words;
        words.there = 0;
        for (int k = 0; k < COUNT; ++k) {
            const int w = first + k, g = lane / 4, t = lane % 4;
            words.of[k] = 0;
            if (D % 32 != 0 && w == D / 16 - 1) {
                for (int x = 0; x < 4; ++x) {
                    const int h = x / 2, e = x % 2, token = 16 * i + 8 * h + 2 * t + e;
                    if (!span.has(token)) continue;
                    const uint32_t two = *reinterpret_cast<const uint16_t*>(codes + token * STRIDE + 32 * V + 2 * g);
                    words.of[k] |= ((two & 15) | (two >> 4 & 0xF0)) << (8 * h + 16 * e);
                    words.there |= 1u << (4 * k + h + 2 * e);
                }
                continue;
            }
            const int token = 16 * i + w / V * 8 + 2 * t;
            const uint8_t* from = codes + token * STRIDE + w % V * 32 + g * 2;
            for (int e = 0; e < 2; ++e) {
                if (!span.has(token + e)) continue;
                const uint32_t low = *reinterpret_cast<const uint16_t*>(from + e * STRIDE);
                const uint32_t high = *reinterpret_cast<const uint16_t*>(from + e * STRIDE + 16);
                const uint32_t bits = (low & 15) | (low >> 4 & 0xF0) | (high & 15) << 8 | (high >> 4 & 0xF0) << 8;
                words.of[k] |= bits << 16 * e;
                words.there |= 3u << (4 * k + 2 * e);
            }
        }
        return words;
    }
};

// Keys of 2 bits, regions of 32 tokens: byte b + 2e of word w is channel 16w + 4t + 2b + e of the tokens 8p + g, codes
// p = 0..3.
// Whole regions only: their tokens share scales.
template <int D>
struct KeyCrumbs {
    static constexpr int STRIDE = ROW_STRIDE<D>;
    const uint8_t* codes;

    template <int COUNT>
    __device__ __forceinline__ Words<COUNT> get(int region, int lane, int first) const {
        const uint8_t* from = codes + (32 * region + lane / 4) * STRIDE + 16 * first + lane % 4 * 4;
        Words<COUNT> words;
        words.there = 0xFFFFu >> (16 - 4 * COUNT);
        for (int k = 0; k < COUNT; ++k) {
            uint32_t channels = 0;
            for (int p = 0; p < 4; ++p) {
                channels |= *reinterpret_cast<const uint32_t*>(from + 8 * p * STRIDE + 16 * k) << 2 * p;
            }
            words.of[k] = __byte_perm(channels, 0, 0x3120);
        }
        return words;
    }
};

// Values of 2 bits, regions of 32 tokens: byte 2e + h of word 2v + i is token 16i + 8h + 2t + e, its codes channels
// 32v + 2g + {0, 1, 16, 17}. D is a multiple of 32.
template <int D>
struct ValueCrumbs {
    static constexpr int STRIDE = ROW_STRIDE<D>;
    const uint8_t* codes;
    Span span;

    template <int COUNT>
    __device__ __forceinline__ Words<COUNT> get(int region, int lane, int first) const {
        Words<COUNT> words;
        words.there = 0;
        for (int k = 0; k < COUNT; ++k) {
            const int v = (first + k) / 2, i = (first + k) % 2;
            const uint8_t* row = codes + 32 * v + lane / 4 * 2;
            words.of[k] = 0;
            for (int byte = 0; byte < 4; ++byte) {
                const int token = 32 * region + 16 * i + byte % 2 * 8 + lane % 4 * 2 + byte / 2;
                if (!span.has(token)) continue;
                const uint32_t low = *reinterpret_cast<const uint16_t*>(row + token * STRIDE);
                const uint32_t high = *reinterpret_cast<const uint16_t*>(row + token * STRIDE + 16);
                const uint32_t both = low | high << 4;  // bits 0, 1 and 4, 5 of either byte
                words.of[k] |= ((both | both >> 6) & 0xFF) << 8 * byte;
                words.there |= 1u << (4 * k + byte);
            }
        }
        return words;
    }
};

// Copies `bytes` (a multiple of 16) from shared to global memory.
__device__ __forceinline__ void store_bytes(uint8_t* to, const void* from, int bytes) {
    for (int i = threadIdx.x; i < bytes / 16; i += THREADS) {
        reinterpret_cast<uint4*>(to)[i] = reinterpret_cast<const uint4*>(from)[i];
    }
}

}  // namespace kv
}  // namespace lowbit
