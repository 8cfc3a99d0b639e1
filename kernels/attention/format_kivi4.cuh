// KIVI, 4 bits: keys per channel over 32 tokens, values per token over 32 channels, f16 scale and minimum (Liu et al.
// 2024, "KIVI: a tuning-free asymmetric 2bit quantization for KV cache", section 3.2). The newest tokens are in the
// model's type in the window (window.cuh).
//
// Tile record of 32 tokens (halves i of 16), D channels, NG = D/32: [K codes 16D][V codes 16D][K meta 4D][V meta 4D]
// bytes.
//   K  (T32, i, w = h*NG+j) -> word at i*8D + (w>>2)*512 + lane*16 + (w&3)*4; bits 4n: token 16i+8h+g, channel 32j+8t+n
//   V  (T32, i, w = h*NG+v) -> the same place; bits 16e+4f: token 16i+8h+2t+e, channel 32v+16(f>>1)+2g+(f&1)
//   K meta, halves: 8(4a+t) + 4u+2b+e the scale of channel 32a+8t+2u+b+4e, D + 8(4a+t) + 4b+2u+e its minimum
//   V meta, halves: 8(4j+t) + 4i+2h+e the scale of token 16i+8h+2t+e, group j, D + 8(4j+t) + 4h+2i+e its minimum
//
// 1. K scales go into the query, once per 32 tokens: q*scale = hi + lo in f16 (lo is the exact rest of the product),
// two mma.
//    hi alone would miss the tolerance. V scales go into P after its transpose, per group, in the same two parts: hi
//    alone would err by its rounding times codes that the minimum then cancels.
// 2. Codes are made exact (1024+n - 1024): products with 1024 in them would leave their error in the accumulator.
// 3. K minima: sum over channels of q*min is one number a column, done as an mma whose A holds the minima in every row.
//    One 16-byte load is an A operand with steps 2a (rows g) and 2a+1 (rows 8+g); each serves one product, the other
//    half of the rows is not used. V minima likewise: rows g and rows 8+g of two accumulators, joined at the end.
#pragma once
#include "attention/window.cuh"

namespace lowbit {

template <int HEAD_DIM, bool MODEL_BF16>
struct Kivi4 {
    static constexpr int D = HEAD_DIM, TILE = 32, HALVES = 2, STAGES = 2, PARTS = 1, GROUPS = D / 32;
    static constexpr int PART = 16 * D, K_META = 2 * PART, V_META = K_META + 4 * D, RECORD = V_META + 4 * D;
    static constexpr bool TOKEN_SCALES = false, COLUMN_BIAS = true, NORMALIZE_Q = true, RAW_Q = true, BF16 = false;
    static constexpr bool WINDOW = true, WINDOW_BF16 = MODEL_BF16;
    static constexpr float UNIT = 1.0f;

    // sum over tokens of P * min: rows g of [0] and rows 8+g of [1] are groups g.
    struct Carry {
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
        __device__ __forceinline__ void finish(float (&o)[D / 16][4], int lane) const {
#pragma unroll
            for (int n = 0; n < 2; ++n) {
                const float sum = mins[0][n] + mins[1][2 + n];
#pragma unroll
                for (int m = 0; m < D / 16; ++m) {
                    const float add = __shfl_sync(0xffffffffu, sum, 4 * (m / 2) + (lane & 3));
                    o[m][n] += add;
                    o[m][2 + n] += add;
                }
            }
        }
    };

    __device__ __forceinline__ explicit Kivi4(uint32_t zero)
        : low(pinned(0x64006400u, zero)), high(pinned(0x54005400u, zero)) {}

    // ch = 32(s>>1)+8t+2(s&1)+b+4e. A lane has channels ch, ch+1; `pair_up` makes it ch, ch+4 (or ch-3, ch+1).
    static __device__ __forceinline__ QueryPlace place(int ch) {
        return {2 * (ch >> 5) + ((ch >> 1) & 1), (ch >> 3) & 3, (ch >> 2) & 1};
    }
    static __device__ __forceinline__ uint32_t pair_up(uint32_t word, int lane) {
        const uint32_t other = __shfl_xor_sync(0xffffffffu, word, 2);
        return lane & 2 ? __byte_perm(other, word, 0x7632) : __byte_perm(word, other, 0x5410);
    }
    // Channel 16m+2g+r: item i is tile m = i.
    static __device__ __forceinline__ OutPlace place_out(int lane, int item) {
        return {item, lane & 1, (lane & 15) >> 1, lane >> 4, 16 * item + (lane & 15)};
    }

    __device__ __forceinline__ void scores(const char* tile, int lane, const uint32_t (&q)[D / 16][2],
                                           float (&c)[HALVES][4], float (&bias)[2]) const {
        const int t = lane & 3;
        uint32_t codes[2][2][GROUPS];
        load_codes(tile, lane, codes);
        float even[4] = {}, odd[4] = {};
#pragma unroll
        for (int k = 0; k < GROUPS; ++k) {
            const uint4 scales = *reinterpret_cast<const uint4*>(tile + K_META + (4 * k + t) * 16);
            const uint4 mins = *reinterpret_cast<const uint4*>(tile + K_META + 2 * D + (4 * k + t) * 16);
            const uint32_t scale[4] = {scales.x, scales.y, scales.z, scales.w};
            mma_f16(even, {mins.x, mins.y, mins.z, mins.w}, q[2 * k]);
            mma_f16(odd, {mins.x, mins.y, mins.z, mins.w}, q[2 * k + 1]);
            uint32_t hi[2][2], lo[2][2];
#pragma unroll
            for (int x = 0; x < 4; ++x) {
                multiply(q[2 * k + x / 2][x % 2], scale[x], hi[x / 2][x % 2], lo[x / 2][x % 2]);
            }
            uint32_t a[2][2][4];
#pragma unroll
            for (int i = 0; i < 2; ++i) {
#pragma unroll
                for (int h = 0; h < 2; ++h) {
                    uint32_t d[4];
                    decode(codes[i][h][k], d);
#pragma unroll
                    for (int x = 0; x < 4; ++x) {
                        a[i][x / 2][2 * (x % 2) + h] = plain(d[x], x);
                    }
                }
            }
#pragma unroll
            for (int u = 0; u < 2; ++u) {
                mma_f16(c[0], a[0][u], hi[u]);
                mma_f16(c[1], a[1][u], hi[u]);
                mma_f16(c[0], a[0][u], lo[u]);
                mma_f16(c[1], a[1][u], lo[u]);
            }
        }
        bias[0] = even[0] + odd[2];
        bias[1] = even[1] + odd[3];
    }

    static __device__ __forceinline__ float2 k_scales(const char*, int) { return {1.0f, 1.0f}; }
    static __device__ __forceinline__ float2 v_scales(const char*, int) { return {1.0f, 1.0f}; }

    __device__ __forceinline__ void values(const char* tile, int lane, const uint32_t (&weights)[PARTS][HALVES][2],
                                           float (&o)[D / 16][4], Carry& carry) const {
        const int t = lane & 3, group = (lane >> 2) % GROUPS;
        const char* meta = tile + V_META;
        const uint32_t (&p)[HALVES][2] = weights[0];
        {
            const uint4 mins = *reinterpret_cast<const uint4*>(meta + 2 * D + (4 * group + t) * 16);
            mma_f16(carry.mins[0], {mins.x, mins.y, mins.z, mins.w}, p[0]);
            mma_f16(carry.mins[1], {mins.x, mins.y, mins.z, mins.w}, p[1]);
        }
        uint32_t codes[2][2][GROUPS];
        load_codes(tile + PART, lane, codes);
#pragma unroll
        for (int v = 0; v < GROUPS; ++v) {
            const uint4 scales = *reinterpret_cast<const uint4*>(meta + (4 * v + t) * 16);
            const uint32_t scale[2][2] = {{scales.x, scales.y}, {scales.z, scales.w}};
#pragma unroll
            for (int i = 0; i < 2; ++i) {
                uint32_t hi[2], lo[2];
                multiply(p[i][0], scale[i][0], hi[0], lo[0]);
                multiply(p[i][1], scale[i][1], hi[1], lo[1]);
                uint32_t a[2][4];
#pragma unroll
                for (int h = 0; h < 2; ++h) {
                    uint32_t d[4];
                    decode(codes[i][h][v], d);
#pragma unroll
                    for (int x = 0; x < 4; ++x) {
                        a[x / 2][2 * h + x % 2] = plain(d[x], x);
                    }
                }
                mma_f16(o[2 * v], a[0], hi);
                mma_f16(o[2 * v + 1], a[1], hi);
                mma_f16(o[2 * v], a[0], lo);
                mma_f16(o[2 * v + 1], a[1], lo);
            }
        }
    }

    // V of tokens whose bit in `keep_v` is 0 becomes 0. Keys share their group's scales, so they are kept or absent
    // together.
    static __device__ __forceinline__ void erase(char* tile, int lane, uint32_t keep_k, uint32_t keep_v) {
        const uint4 nothing = make_uint4(0, 0, 0, 0);
        if (keep_k == 0) {
            for (int at = lane * 16; at < PART; at += 512) *reinterpret_cast<uint4*>(tile + at) = nothing;
            if (lane < D / 4) *reinterpret_cast<uint4*>(tile + K_META + lane * 16) = nothing;
        }
        if (keep_v == 0) {
            for (int at = lane * 16; at < PART; at += 512) *reinterpret_cast<uint4*>(tile + PART + at) = nothing;
        }
        if (lane < D / 4) {
            uint4* quad = reinterpret_cast<uint4*>(tile + V_META + lane * 16);
            const bool minimum = lane >= D / 8;
            const int t = lane & 3;
            uint32_t mask[4];
#pragma unroll
            for (int y = 0; y < 4; ++y) {
                const int i = minimum ? y & 1 : y >> 1, h = minimum ? y >> 1 : y & 1;
                const uint32_t pair = keep_v >> (16 * i + 8 * h + 2 * t);
                mask[y] = (pair & 1 ? 0x0000ffffu : 0) | (pair & 2 ? 0xffff0000u : 0);
            }
            *quad = make_uint4(quad->x & mask[0], quad->y & mask[1], quad->z & mask[2], quad->w & mask[3]);
        }
    }

  private:
    const uint32_t low, high;  // 1024 and 64 as pairs: (w & 0x000f) | 0x6400 = 1024 + n, (w & 0x00f0) | 0x5400 = 64 + n

    // Nibbles (0,4), (1,5), (2,6), (3,7) of a word as pairs of f16, plus 1024, 64, 1024, 64.
    __device__ __forceinline__ void decode(uint32_t w, uint32_t (&d)[4]) const {
        const uint32_t s = w >> 8;
        d[0] = mask_or(w, 0x000f000fu, low);
        d[1] = mask_or(w, 0x00f000f0u, high);
        d[2] = mask_or(s, 0x000f000fu, low);
        d[3] = mask_or(s, 0x00f000f0u, high);
    }

    // The code itself, exact: register x of `decode` without its 1024 or 64.
    static __device__ __forceinline__ uint32_t plain(uint32_t pair, int x) {
        return hadd2(pair, x % 2 ? 0xD400D400u : 0xE400E400u);
    }

    // x*y = hi + lo, exact where lo is no smaller than f16 goes.
    static __device__ __forceinline__ void multiply(uint32_t x, uint32_t y, uint32_t& hi, uint32_t& lo) {
        hi = hmul2(x, y);
        lo = hfma2(x, y, hneg2(hi));
    }

    static __device__ __forceinline__ void load_codes(const char* part, int lane, uint32_t (&codes)[2][2][GROUPS]) {
#pragma unroll
        for (int i = 0; i < 2; ++i) {
#pragma unroll
            for (int x = 0; x < GROUPS / 2; ++x) {
                const uint4 quad = *reinterpret_cast<const uint4*>(part + i * 8 * D + x * 512 + lane * 16);
                const uint32_t word[4] = {quad.x, quad.y, quad.z, quad.w};
#pragma unroll
                for (int y = 0; y < 4; ++y) codes[i][(4 * x + y) / GROUPS][(4 * x + y) % GROUPS] = word[y];
            }
        }
    }
};

}  // namespace lowbit
