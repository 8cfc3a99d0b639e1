// Codes of 4 bits: their decoding, and values per token and group of channels with an f16 scale and minimum.
//
// Tile of 32 tokens (halves i of 16), D channels, N = D/16 words a lane and half (words.cuh), 8D bytes a half. Nibble n
// is bits 4n..4n+3. V = D/32; where D%32 is 16 the last 16 channels of both h share the last word.
//   values  (T32, i, w = h*V+v) -> nibble 4e+f: token 16i+8h+2t+e, channel 32v+16(f>>1)+2g+(f&1)
//           (T32, i, w = N-1)   -> nibble 2h+r+4e: token 16i+8h+2t+e, channel 32V+2g+r
//   meta, halves, groups j of GROUP = gcd(32, D) channels: 8(4j+t) + 4i+2h+e the scale of token 16i+8h+2t+e,
//      32*GROUPS + 8(4j+t) + 4h+2i+e its minimum
//
// 1. Scales go into P after its transpose, per group, in two parts: P*scale = hi + lo in f16 (lo is the exact rest of
// the
//    product), two mma. hi alone would err by its rounding times codes that the minimum then cancels.
// 2. Codes are made exact (1024+n - 1024): products with 1024 in them would leave their error in the accumulator.
// 3. Minima: sum over tokens of P*min is one number a column and group, done as an mma whose A holds a group's minima
//    in a row. One 16-byte load is an A operand with tile half 0 in rows g and half 1 in rows 8+g; each serves one
//    product, the other half of the rows is not used. Minima end the record, so the last 512 bytes of it are eight such
//    rows, in the order of lanes: groups are the last of them, what the others hold does not matter. Joined at the end.
#pragma once
#include <type_traits>

#include "attention/format.cuh"

namespace lowbit {

// x*y = hi + lo, exact where lo is no smaller than f16 goes.
__device__ __forceinline__ void multiply_exactly(uint32_t x, uint32_t y, uint32_t& hi, uint32_t& lo) {
    hi = hmul2(x, y);
    lo = hfma2(x, y, hneg2(hi));
}

// Nibbles n that stand for n - OFFSET.
template <int OFFSET>
struct OffsetNibbleCode {
    __device__ __forceinline__ explicit OffsetNibbleCode(uint32_t zero)
        : low(pinned(0x64006400u, zero)), high(pinned(0x54005400u, zero)) {}

    // Nibbles (0,4), (1,5), (2,6), (3,7) of a word as pairs of f16, exact: 1024 and 64 go in and come off, with OFFSET.
    __device__ __forceinline__ void decode(uint32_t w, uint32_t (&d)[4]) const {
        constexpr uint32_t LOW_OFF = 0xE400E400u + 0x00010001u * OFFSET, HIGH_OFF = 0xD400D400u + 0x00100010u * OFFSET;
        const uint32_t s = w >> 8;
        d[0] = hadd2(mask_or(w, 0x000f000fu, low), LOW_OFF);
        d[1] = hadd2(mask_or(w, 0x00f000f0u, high), HIGH_OFF);
        d[2] = hadd2(mask_or(s, 0x000f000fu, low), LOW_OFF);
        d[3] = hadd2(mask_or(s, 0x00f000f0u, high), HIGH_OFF);
    }

    // The same nibbles as 64 + n.
    __device__ __forceinline__ void decode_biased(uint32_t w, uint32_t (&d)[4]) const {
        d[0] = mask_or(w << 4, 0x00f000f0u, high);
        d[1] = mask_or(w, 0x00f000f0u, high);
        d[2] = mask_or(w >> 4, 0x00f000f0u, high);
        d[3] = mask_or(w >> 8, 0x00f000f0u, high);
    }

  private:
    uint32_t low, high;  // 1024 and 64 as pairs: (w & 0x000f) | 0x6400 = 1024 + n, (w & 0x00f0) | 0x5400 = 64 + n
};

using NibbleCode = OffsetNibbleCode<0>;

// Accumulators of sum over tokens of P * min: of G groups group j is row 8-G+j of [0] and row 16-G+j of [1].
template <int GROUP>
struct MinCarry {
    float mins[2][4];

    __device__ __forceinline__ void clear() {
#pragma unroll
        for (int e = 0; e < 8; ++e) mins[e / 4][e % 4] = 0.0f;
    }
    __device__ __forceinline__ void rescale(float by0, float by1) {
#pragma unroll
        for (int e = 0; e < 8; ++e) mins[e / 4][e % 4] *= e % 2 ? by1 : by0;
    }
    // Adds each group's sum to its channels; lane 4j+t has those of group j.
    template <int TILES>
    __device__ __forceinline__ void finish(float (&o)[TILES][4], int lane) const {
#pragma unroll
        for (int n = 0; n < 2; ++n) {
            const float sum = mins[0][n] + mins[1][2 + n];
#pragma unroll
            for (int m = 0; m < TILES; ++m) {
                const float add =
                    __shfl_sync(0xffffffffu, sum, 4 * (8 - TILES * 16 / GROUP + 16 * m / GROUP) + (lane & 3));
                o[m][n] += add;
                o[m][2 + n] += add;
            }
        }
    }
};

// Masks of the pairs of tokens 16i+8h+2t+e whose bits are set.
__device__ __forceinline__ uint32_t pair_mask(uint32_t keep, int i, int h, int t) {
    const uint32_t pair = keep >> (16 * i + 8 * h + 2 * t);
    return (pair & 1 ? 0x0000ffffu : 0) | (pair & 2 ? 0xffff0000u : 0);
}

// What values with a scale per token and group of channels, and perhaps a minimum, share, whatever their codes.
template <int HEAD_DIM, bool HAS_MINIMA = true, int TILE_HALVES = 2>
struct GroupValues : Side<HEAD_DIM, TILE_HALVES> {
    static constexpr int D = HEAD_DIM, HALVES = TILE_HALVES, GROUP = D % 32 == 0 ? 32 : 16, GROUPS = D / GROUP;
    static constexpr int MIN_META = 32 * HALVES * GROUPS, META = HAS_MINIMA ? 2 * MIN_META : MIN_META;
    static constexpr bool GROUP_SCALES = true, MINIMA = HAS_MINIMA;
    static_assert(GROUPS <= 8, "a row of an mma for each group");
    static_assert(!MINIMA || HALVES == 2, "an A operand is the minima of two halves");
    using Carry = std::conditional_t<MINIMA, MinCarry<GROUP>, NoCarry>;

    // Channel 16m+2g+r: item i is tile m = i.
    static __device__ __forceinline__ OutPlace place_out(int lane, int item) {
        return {item, lane & 1, (lane & 15) >> 1, lane >> 4, 16 * item + (lane & 15)};
    }

    static __device__ __forceinline__ void add_minima(const char* meta, int lane, const uint32_t (&p)[HALVES][2],
                                                      Carry& carry) {
        if constexpr (MINIMA) {
            const uint4 mins = reinterpret_cast<const uint4*>(meta + META - 512)[lane];
            mma_f16(carry.mins[0], {mins.x, mins.y, mins.z, mins.w}, p[0]);
            mma_f16(carry.mins[1], {mins.x, mins.y, mins.z, mins.w}, p[1]);
        }
    }

    // Scales of a group for the lane's tokens: word 2i+h is those of tokens 16i+8h+2t, +1.
    static __device__ __forceinline__ void load_scales(const char* meta, int group, int t, uint32_t (&s)[2 * HALVES]) {
        load_run<2 * HALVES>(meta + (4 * group + t) * 8 * HALVES, s);
    }

    // o += a * (p * scales) for tile half i. Without minima there is nothing that cancels: one rounding of the weights.
    static __device__ __forceinline__ void multiply(float (&o)[4], const uint32_t (&a)[4], const uint32_t (&hi)[2],
                                                    const uint32_t (&lo)[2]) {
        mma_f16(o, a, hi);
        if constexpr (MINIMA) mma_f16(o, a, lo);
    }
    static __device__ __forceinline__ void scaled(const uint32_t (&scales)[2 * HALVES], int i, const uint32_t (&p)[2],
                                                  uint32_t (&hi)[2], uint32_t (&lo)[2]) {
        multiply_exactly(p[0], scales[2 * i], hi[0], lo[0]);
        multiply_exactly(p[1], scales[2 * i + 1], hi[1], lo[1]);
    }

    // Scales and minima of tokens whose bit is 0 become 0.
    static __device__ __forceinline__ void erase_meta(char* meta, int lane, uint32_t keep) {
        for (int word = lane; word < META / 4; word += 32) {
            const int t = word / (2 * HALVES) % 4, y = word % (2 * HALVES);
            const bool minimum = word >= MIN_META / 4;
            reinterpret_cast<uint32_t*>(meta)[word] &=
                minimum ? pair_mask(keep, y % 2, y / 2, t) : pair_mask(keep, y / 2, y % 2, t);
        }
    }
};

// Without minima codes stand for n - 8.
template <int HEAD_DIM, bool MINIMA = true>
struct NibbleValues : GroupValues<HEAD_DIM, MINIMA> {
    using Code = OffsetNibbleCode<MINIMA ? 0 : 8>;
    using Group = GroupValues<HEAD_DIM, MINIMA>;
    static constexpr int D = HEAD_DIM, N = D / 16, V = D / 32, CODES = 16 * D, GROUP = Group::GROUP;
    const Code code;

    __device__ __forceinline__ NibbleValues(uint32_t, const Code& same) : code(same) {}
    template <class Other>
    __device__ __forceinline__ NibbleValues(uint32_t zero, const Other&) : code(zero) {}

    __device__ __forceinline__ void values(const char* codes, const char* meta, int lane,
                                           const uint32_t (&weights)[1][2][2], float (&o)[D / 16][4],
                                           typename Group::Carry& carry) const {
        const uint32_t (&p)[2][2] = weights[0];
        Group::add_minima(meta, lane, p, carry);
        uint32_t words[2][(N + 3) / 4][4];
        load_halves<N>(codes, lane, words);
#pragma unroll
        for (int v = 0; v < (D + 31) / 32; ++v) {
            uint32_t scales[2][4];
#pragma unroll
            for (int x = 0; x < 32 / GROUP; ++x) {
                if (32 * v + GROUP * x < D) Group::load_scales(meta, 32 / GROUP * v + x, lane & 3, scales[x]);
            }
#pragma unroll
            for (int i = 0; i < 2; ++i) {
                uint32_t hi[2][2], lo[2][2];
#pragma unroll
                for (int x = 0; x < 32 / GROUP; ++x) {
                    if (32 * v + GROUP * x >= D) continue;
                    Group::scaled(scales[x], i, p[i], hi[x], lo[x]);
                }
                constexpr int OTHER = GROUP == 32 ? 0 : 1;  // The second tile's scales.
                if (v < V) {
                    uint32_t a[2][4];
#pragma unroll
                    for (int h = 0; h < 2; ++h) {
                        uint32_t d[4];
                        code.decode(words[i][(h * V + v) / 4][(h * V + v) % 4], d);
#pragma unroll
                        for (int x = 0; x < 4; ++x) a[x / 2][2 * h + x % 2] = d[x];
                    }
                    Group::multiply(o[2 * v], a[0], hi[0], lo[0]);
                    Group::multiply(o[2 * v + 1], a[1], hi[OTHER], lo[OTHER]);
                } else {
                    uint32_t a[4];
                    code.decode(words[i][(N - 1) / 4][(N - 1) % 4], a);
                    Group::multiply(o[2 * v], a, hi[0], lo[0]);
                }
            }
        }
    }

    // Codes are finite whatever they are.
    static __device__ __forceinline__ void erase(char* codes, char* meta, int lane, uint32_t keep) {
        if (keep == 0) clear_part<CODES>(codes, lane);
        Group::erase_meta(meta, lane, keep);
    }
};

}  // namespace lowbit
