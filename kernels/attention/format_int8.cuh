// INT8, one f32 scale per token and head for K and for V. Codes are stored as u8 = q + 128.
//
// Tile record of 16 tokens, D channels: [K codes 16D][V codes 16D][K scales 64][V scales 64] bytes.
//   K  (T32, h 2, c D/64) -> 16 bytes at (h*(D/64)+c)*512 + lane*16: token 8h+g, channels 64c+16t+{0..15}
//   V  (T32, h 2, m D/16) ->  4 bytes at (h*(D/64)+(m>>2))*512 + lane*16 + (m&3)*4: byte 2r+e is token 8h+2t+e, channel
//      (D/8)g+2m+r
//   scales: f32 2g+h is token 8h+g
// K is made exact by subtracting 1152 from 1024+u (the scores' error is then that of the accumulator alone); V keeps
// the bias, which an extra mma with a constant A and the same P takes off.
#pragma once
#include "attention/softmax.cuh"
#include "common/convert.cuh"
#include "common/mma.cuh"

namespace lowbit {

template <int HEAD_DIM>
struct Int8 {
    static constexpr int D = HEAD_DIM, TILE = 16, HALVES = 1, STAGES = 2, PARTS = 1;
    static constexpr int PART = 16 * D, RECORD = 2 * PART + 128;
    static constexpr bool TOKEN_SCALES = true, COLUMN_BIAS = false, NORMALIZE_Q = true, RAW_Q = false, BF16 = false;
    static constexpr bool WINDOW = false;
    static constexpr float UNIT = 1.0f;
    using Carry = NoCarry;

    __device__ __forceinline__ explicit Int8(uint32_t zero)
        : bias{pinned(0xE480E480u, zero), pinned(0xE480E480u, zero), pinned(0xE480E480u, zero),
               pinned(0xE480E480u, zero)},
          magic(pinned(0x64646464u, zero)) {}

    // k slot (step s, lane's t, register b) of the channel pair at `ch` (even).
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
                const uint32_t a[4] = {centre(bytes01(w0[j])), centre(bytes01(w1[j])), centre(bytes23(w0[j])),
                                       centre(bytes23(w1[j]))};
                mma_f16(c[0], a, q[4 * x + j]);
            }
        }
    }

    // Scales of tokens g and 8+g.
    static __device__ __forceinline__ float2 k_scales(const char* tile, int g) {
        return *reinterpret_cast<const float2*>(tile + 2 * PART + g * 8);
    }
    static __device__ __forceinline__ float2 v_scales(const char* tile, int g) {
        return *reinterpret_cast<const float2*>(tile + 2 * PART + 64 + g * 8);
    }

    __device__ __forceinline__ void values(const char* tile, int lane, const uint32_t (&weights)[PARTS][HALVES][2],
                                           float (&o)[D / 16][4], Carry&) const {
#pragma unroll
        for (int x = 0; x < D / 64; ++x) {
            uint4 v0 = *reinterpret_cast<const uint4*>(tile + PART + x * 512 + lane * 16);
            uint4 v1 = *reinterpret_cast<const uint4*>(tile + PART + (D / 64 + x) * 512 + lane * 16);
            const uint32_t w0[4] = {v0.x, v0.y, v0.z, v0.w}, w1[4] = {v1.x, v1.y, v1.z, v1.w};
#pragma unroll
            for (int j = 0; j < 4; ++j) {
                const uint32_t a[4] = {bytes01(w0[j]), bytes23(w0[j]), bytes01(w1[j]), bytes23(w1[j])};
                mma_f16(o[4 * x + j], a, weights[0][0]);
                mma_f16(o[4 * x + j], bias, weights[0][0]);
            }
        }
    }

    // Tokens whose bit is 0 become zeros: code 128 would be 0, but any finite code times P = 0 is.
    static __device__ __forceinline__ void erase(char* tile, int lane, uint32_t keep, uint32_t) {
        const int g = lane >> 2;
#pragma unroll
        for (int h = 0; h < 2; ++h) {
            if (keep >> (8 * h + g) & 1) continue;
#pragma unroll
            for (int x = 0; x < D / 64; ++x) {
                *reinterpret_cast<uint4*>(tile + (h * (D / 64) + x) * 512 + lane * 16) = make_uint4(0, 0, 0, 0);
            }
            if ((lane & 3) == 0) {
                *reinterpret_cast<float*>(tile + 2 * PART + (2 * g + h) * 4) = 0.0f;
                *reinterpret_cast<float*>(tile + 2 * PART + 64 + (2 * g + h) * 4) = 0.0f;
            }
        }
        erase_value_bytes<D>(tile + PART, lane, keep);
    }

  private:
    // Constants that must sit in registers: PRMT takes one immediate, and mma's A operand is four registers.
    const uint32_t bias[4];  // -1152
    const uint32_t magic;

    // Codes u as f16 1024+u: bytes 0,1 and bytes 2,3 of a word.
    __device__ __forceinline__ uint32_t bytes01(uint32_t w) const { return __byte_perm(w, magic, 0x4140); }
    __device__ __forceinline__ uint32_t bytes23(uint32_t w) const { return __byte_perm(w, magic, 0x4342); }
    static __device__ __forceinline__ uint32_t centre(uint32_t pair) { return hadd2(pair, 0xE480E480u); }
};

}  // namespace lowbit
