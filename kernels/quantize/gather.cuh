// Codes of a lane's chunks to memory in whole sectors, where few lanes share a segment.
//
//   The codes of a chunk are kUnit = 4 or 2 bytes. Of L = 2^l lanes lane t holds the chunks t, L + t, 2 L + t ..:
//     (T L, V n) -> chunk L V + T                      bit 0 of a chunk's number is bit 0 of the lane's
//   Naive: store unit V at L V + T: a warp fills L kUnit bytes of each segment, a part of a sector, and comes back for
//   the rest. Instead the lanes of each pair swap bit 0 of the lane with one bit b of V (they exchange half of what
//   they have), after which a lane has the 2^(b + 1) neighbours
//     V = b' | i & 1 << b | i >> 1  ->  unit i of 2^(b + 1),   b' the bits of V above b
//   and stores them at once; pairs of lanes, or for b = 0 all lanes, fill whole sectors.
//
// A lane has four words: of units of 4 bytes those of four chunks V, of 2 bytes those of the chunks V and V + 4.
#pragma once
#include "common/element.cuh"
#include "quantize/code.cuh"
#include "quantize/params.cuh"

namespace lowbit {

template <typename T, typename Code>
constexpr int kUnit = kChunk<T> * Code::kBits / 8;

// f32 comes with enough lanes a segment (src/ops/quantize/params.rs).
template <typename T, typename Code>
constexpr bool kGathers = sizeof(T) == 2 && kUnit<T, Code> <= 4;

// Swaps bit 0 of the lane with the bit kBit of a word's number.
template <int kBit>
__device__ inline void exchange(uint32_t (&word)[4]) {
    const bool odd = (threadIdx.x & 1u) != 0;
#pragma unroll
    for (int k = 0; k < 4; ++k) {
        if (k & kBit) continue;
        const uint32_t other = __shfl_xor_sync(0xFFFFFFFFu, odd ? word[k] : word[k + kBit], 1);
        word[k] = odd ? other : word[k];
        word[k + kBit] = odd ? word[k + kBit] : other;
    }
}

__device__ inline void store_words(uint8_t* p, uint32_t a) { *reinterpret_cast<uint32_t*>(p) = a; }
__device__ inline void store_words(uint8_t* p, uint32_t a, uint32_t b) {
    *reinterpret_cast<uint2*>(p) = make_uint2(a, b);
}
__device__ inline void store_words(uint8_t* p, uint32_t a, uint32_t b, uint32_t c, uint32_t d) {
    *reinterpret_cast<uint4*>(p) = make_uint4(a, b, c, d);
}

// From a lane's first unit to its first neighbours, wrapping: bit 0 of the lane has become the highest of its place.
template <typename T, typename Code>
__device__ inline uint32_t gathered_at(const QuantizeParams& p) {
    const uint32_t lane = threadIdx.x & ((1u << p.lanes_log2) - 1u);
    const uint32_t place = (lane & 1u) << (p.lanes_log2 - 1) | lane >> 1;
    return p.gather > 1 ? (place * p.gather - lane) * kUnit<T, Code> : 0;
}

// Stores a lane's codes, `gather` chunks at once. `codes`: those of its first chunk, and gathered_at from there; it has
// `mine` of them, and with gather > 1 so has every lane that has a segment. Every lane of a warp comes here.
template <typename T, typename Code>
__device__ inline void store_gathered(const QuantizeParams& p, uint8_t* codes, uint32_t mine, uint32_t (&word)[4]) {
    constexpr int kBytes = kUnit<T, Code>;
    const auto half = [&](int k) { return word[k % 4] >> (k / 4 * 16); };
    if (p.gather == 1) {
#pragma unroll
        for (int k = 0; k < (kBytes == 4 ? 4 : 8); ++k) {
            if (k >= mine) break;
            store_word<Code, kChunk<T>>(codes, kBytes == 4 ? word[k % 4] : half(k));
            codes += p.code_bytes;
        }
        return;
    }
    const uint32_t step = p.gather * p.code_bytes;
    if (p.gather == 2) {
        exchange<1>(word);
        if constexpr (kBytes == 4) {
            if (mine > 0) store_words(codes, word[0], word[1]);
            if (mine > 2) store_words(codes + step, word[2], word[3]);
        } else {
            if (mine > 0) store_words(codes, __byte_perm(word[0], word[1], 0x5410));
            if (mine > 2) store_words(codes + step, __byte_perm(word[2], word[3], 0x5410));
            if (mine > 4) store_words(codes + 2 * step, __byte_perm(word[0], word[1], 0x7632));
            if (mine > 6) store_words(codes + 3 * step, __byte_perm(word[2], word[3], 0x7632));
        }
    } else if (p.gather == 4) {
        exchange<2>(word);
        if constexpr (kBytes == 4) {
            if (mine > 0) store_words(codes, word[0], word[2], word[1], word[3]);
        } else {
            if (mine > 0)
                store_words(codes, __byte_perm(word[0], word[2], 0x5410), __byte_perm(word[1], word[3], 0x5410));
            if (mine > 4)
                store_words(codes + step, __byte_perm(word[0], word[2], 0x7632), __byte_perm(word[1], word[3], 0x7632));
        }
    } else if constexpr (kBytes == 2) {
        // Bit 2 of V is the half: {mine, the other's} of the lower halves, or {the other's, mine} of the upper.
        const uint32_t halves = threadIdx.x & 1u ? 0x3276u : 0x5410u;
#pragma unroll
        for (int k = 0; k < 4; ++k) word[k] = __byte_perm(word[k], __shfl_xor_sync(0xFFFFFFFFu, word[k], 1), halves);
        if (mine > 0) store_words(codes, word[0], word[1], word[2], word[3]);
    }
}

}  // namespace lowbit
