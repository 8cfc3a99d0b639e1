// E4M3 codes, one scale per tensor or per KV head for K and for V (outside the loop). Layout as int8's, without scales.
//
// Tile record of 16 tokens, D channels: [K codes 16D][V codes 16D]; see format_int8.cuh for the two maps.
#pragma once
#include "attention/softmax.cuh"
#include "common/convert.cuh"
#include "common/mma.cuh"

namespace lowbit {

template <int HEAD_DIM>
struct E4m3 {
    static constexpr int D = HEAD_DIM, TILE = 16, HALVES = 1, STAGES = 2, PARTS = 1;
    static constexpr int PART = 16 * D, RECORD = 2 * PART;
    static constexpr bool TOKEN_SCALES = false, COLUMN_BIAS = false, NORMALIZE_Q = true, RAW_Q = false, BF16 = false;
    static constexpr bool WINDOW = false;
    static constexpr float UNIT = E4M3_UNIT;
    using Carry = NoCarry;

    __device__ __forceinline__ explicit E4m3(uint32_t) {}

    static __device__ __forceinline__ QueryPlace place(int ch) {
        return {4 * (ch >> 6) + ((ch >> 2) & 3), (ch >> 4) & 3, (ch >> 1) & 1};
    }
    static __device__ __forceinline__ uint32_t pair_up(uint32_t word, int) { return word; }
    static __device__ __forceinline__ OutPlace place_out(int lane, int item) {
        return channel_rows_place<D>(lane, item);
    }

    __device__ __forceinline__ void scores(const char* tile, int lane, const uint32_t (&q)[D / 16][2],
                                           float (&c)[HALVES][4], float (&)[2]) const {
#pragma unroll
        for (int x = 0; x < D / 64; ++x) {
            uint4 k0 = *reinterpret_cast<const uint4*>(tile + x * 512 + lane * 16);
            uint4 k1 = *reinterpret_cast<const uint4*>(tile + (D / 64 + x) * 512 + lane * 16);
            const uint32_t w0[4] = {k0.x, k0.y, k0.z, k0.w}, w1[4] = {k1.x, k1.y, k1.z, k1.w};
#pragma unroll
            for (int j = 0; j < 4; ++j) {
                uint32_t a[4];
                e4m3_pairs(w0[j], a[0], a[2]);
                e4m3_pairs(w1[j], a[1], a[3]);
                mma_f16(c[0], a, q[4 * x + j]);
            }
        }
    }

    static __device__ __forceinline__ float2 k_scales(const char*, int) { return {1.0f, 1.0f}; }
    static __device__ __forceinline__ float2 v_scales(const char*, int) { return {1.0f, 1.0f}; }

    __device__ __forceinline__ void values(const char* tile, int lane, const uint32_t (&weights)[PARTS][HALVES][2],
                                           float (&o)[D / 16][4], Carry&) const {
#pragma unroll
        for (int x = 0; x < D / 64; ++x) {
            uint4 v0 = *reinterpret_cast<const uint4*>(tile + PART + x * 512 + lane * 16);
            uint4 v1 = *reinterpret_cast<const uint4*>(tile + PART + (D / 64 + x) * 512 + lane * 16);
            const uint32_t w0[4] = {v0.x, v0.y, v0.z, v0.w}, w1[4] = {v1.x, v1.y, v1.z, v1.w};
#pragma unroll
            for (int j = 0; j < 4; ++j) {
                uint32_t a[4];
                e4m3_pairs(w0[j], a[0], a[1]);
                e4m3_pairs(w1[j], a[2], a[3]);
                mma_f16(o[4 * x + j], a, weights[0][0]);
            }
        }
    }

    // Tokens whose bit is 0 become zeros: an unwritten byte may be a NaN.
    static __device__ __forceinline__ void erase(char* tile, int lane, uint32_t keep, uint32_t) {
#pragma unroll
        for (int h = 0; h < 2; ++h) {
            if (keep >> (8 * h + (lane >> 2)) & 1) continue;
#pragma unroll
            for (int x = 0; x < D / 64; ++x) {
                *reinterpret_cast<uint4*>(tile + (h * (D / 64) + x) * 512 + lane * 16) = make_uint4(0, 0, 0, 0);
            }
        }
        erase_value_bytes<D>(tile + PART, lane, keep);
    }
};

}  // namespace lowbit
