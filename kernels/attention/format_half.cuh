// f16 or bf16 in fragment order: the unquantized cache, and the oracle of the others.
//
// Tile record of 16 tokens, D channels: [K 32D][V 32D] bytes, 16-bit values.
//   K  (T32, h 2, c D/32) -> 16 bytes at (h*(D/32)+c)*512 + lane*16: token 8h+g, channels 32c+8t+{0..7}
//   V  (T32, m D/16)      -> 16 bytes at m*512 + lane*16: half (2b+r)*2+e is token 8b+2t+e, channel (D/8)g+2m+r
#pragma once
#include "attention/softmax.cuh"
#include "common/convert.cuh"
#include "common/mma.cuh"

namespace lowbit {

template <int HEAD_DIM, bool IS_BF16>
struct Half {
    static constexpr int D = HEAD_DIM, TILE = 16, HALVES = 1, STAGES = 2, PARTS = IS_BF16 ? 2 : 1;
    static constexpr int PART = 32 * D, RECORD = 2 * PART;
    static constexpr bool TOKEN_SCALES = false, COLUMN_BIAS = false, NORMALIZE_Q = false, RAW_Q = false, BF16 = IS_BF16;
    static constexpr bool WINDOW = false;
    static constexpr float UNIT = 1.0f;
    using Carry = NoCarry;

    __device__ __forceinline__ explicit Half(uint32_t) {}

    static __device__ __forceinline__ QueryPlace place(int ch) { return half_row_place(ch); }
    static __device__ __forceinline__ uint32_t pair_up(uint32_t word, int) { return word; }
    static __device__ __forceinline__ OutPlace place_out(int lane, int item) {
        return channel_rows_place<D>(lane, item);
    }

    __device__ __forceinline__ void scores(const char* tile, int lane, const uint32_t (&q)[D / 16][2],
                                           float (&c)[HALVES][4], float (&)[2]) const {
#pragma unroll
        for (int x = 0; x < D / 32; ++x) {
            uint4 k0 = *reinterpret_cast<const uint4*>(tile + x * 512 + lane * 16);
            uint4 k1 = *reinterpret_cast<const uint4*>(tile + (D / 32 + x) * 512 + lane * 16);
            mma_16<IS_BF16>(c[0], {k0.x, k1.x, k0.y, k1.y}, q[2 * x]);
            mma_16<IS_BF16>(c[0], {k0.z, k1.z, k0.w, k1.w}, q[2 * x + 1]);
        }
    }

    static __device__ __forceinline__ float2 k_scales(const char*, int) { return {1.0f, 1.0f}; }
    static __device__ __forceinline__ float2 v_scales(const char*, int) { return {1.0f, 1.0f}; }

    __device__ __forceinline__ void values(const char* tile, int lane, const uint32_t (&weights)[PARTS][HALVES][2],
                                           float (&o)[D / 16][4], Carry&) const {
#pragma unroll
        for (int m = 0; m < D / 16; ++m) {
            uint4 v = *reinterpret_cast<const uint4*>(tile + PART + m * 512 + lane * 16);
#pragma unroll
            for (int part = 0; part < PARTS; ++part) mma_16<IS_BF16>(o[m], {v.x, v.y, v.z, v.w}, weights[part][0]);
        }
    }

    // Tokens whose bit is 0 become zeros: an unwritten value may be a NaN.
    static __device__ __forceinline__ void erase(char* tile, int lane, uint32_t keep, uint32_t) {
        const int g = lane >> 2, t = lane & 3;
#pragma unroll
        for (int h = 0; h < 2; ++h) {
            if (keep >> (8 * h + g) & 1) continue;
#pragma unroll
            for (int x = 0; x < D / 32; ++x) {
                *reinterpret_cast<uint4*>(tile + (h * (D / 32) + x) * 512 + lane * 16) = make_uint4(0, 0, 0, 0);
            }
        }
        uint32_t mask[2];
#pragma unroll
        for (int b = 0; b < 2; ++b) {
            const uint32_t pair = keep >> (8 * b + 2 * t);
            mask[b] = (pair & 1 ? 0x0000ffffu : 0) | (pair & 2 ? 0xffff0000u : 0);
        }
#pragma unroll
        for (int m = 0; m < D / 16; ++m) {
            uint4* v = reinterpret_cast<uint4*>(tile + PART + m * 512 + lane * 16);
            *v = make_uint4(v->x & mask[0], v->y & mask[0], v->z & mask[1], v->w & mask[1]);
        }
    }
};

}  // namespace lowbit
