// ggml's blocks q8_0 and q4_0, repacked: 32 channels of a token share an f16 scale, and there is no minimum. Codes of 4
// bits: format_int4.cuh (keys) and format_nibbles.cuh (values).
//
// Codes of 8 bits, u = q + 128, tile of HALVES * 16 tokens, regions x of 8 tokens, N = D/16 words a lane, G = D/32
// groups:
//   keys    (T32, x, w N) -> byte 2b+e of word w: token 8x+g, channel 16w+4t+2b+e
//   values  (T32, x, m N) -> byte 2r+e of word m: token 8x+2t+e, channel 16m+2g+r
//   meta, halves: of keys 2((8i+g)G + j) + h the scale of token 16i+8h+g, group j; of values
//           4 HALVES (4j+t) + 4i+2h+e the scale of token 16i+8h+2t+e
//
// Other maps than those of format_bytes.cuh, because the 16 channels of a product must share a scale: a group's scores
// are summed on their own and scaled in f32; the scales of values go into P, per group.
#pragma once
#include "attention/format_int4.cuh"
#include "attention/format_int8.cuh"

namespace lowbit {

template <int HEAD_DIM, int TILE_HALVES>
struct ByteBlockKeys : Side<HEAD_DIM, TILE_HALVES> {
    using Code = Int8Code;
    static constexpr int D = HEAD_DIM, HALVES = TILE_HALVES, N = D / 16, GROUPS = D / 32;
    static constexpr int CODES = 16 * D * HALVES, META = 32 * GROUPS * HALVES;
    const Code code;

    __device__ __forceinline__ explicit ByteBlockKeys(uint32_t zero) : code(zero) {}

    static __device__ __forceinline__ QueryPlace place(int ch) { return {ch >> 4, (ch >> 2) & 3, (ch >> 1) & 1}; }

    __device__ __forceinline__ void scores(const char* codes, const char* meta, int lane,
                                           const typename Side<HEAD_DIM, TILE_HALVES>::Query&,
                                           const uint32_t (&q)[D / 16][2], float (&c)[HALVES][4], float (&)[2]) const {
        const int g = lane >> 2;
#pragma unroll
        for (int i = 0; i < HALVES; ++i) {
            uint32_t scales[GROUPS];
            load_run<GROUPS>(meta + 4 * GROUPS * (8 * i + g), scales);
#pragma unroll
            for (int x = 0; x < N; x += 4) {
                uint32_t w0[4], w1[4];
                load_words<N>(codes + 16 * D * i, lane, x, w0);
                load_words<N>(codes + 16 * D * i + 8 * D, lane, x, w1);
#pragma unroll
                for (int j = 0; j < 4; j += 2) {
                    if (x + j >= N) continue;
                    float sum[4] = {};
#pragma unroll
                    for (int k = j; k < j + 2; ++k) {
                        uint32_t a[4];
                        code.exact(w0[k], a[0], a[2]);
                        code.exact(w1[k], a[1], a[3]);
                        mma_f16(sum, a, q[x + k]);
                    }
                    const float2 scale = unpack_16(DType::F16, scales[(x + j) / 2]);
#pragma unroll
                    for (int e = 0; e < 4; ++e) c[i][e] = fmaf(e < 2 ? scale.x : scale.y, sum[e], c[i][e]);
                }
            }
        }
    }

    // Codes are finite whatever they are; scales of tokens whose bit is 0 become 0.
    static __device__ __forceinline__ void erase(char* codes, char* meta, int lane, uint32_t keep) {
        if (keep == 0) clear_part<CODES>(codes, lane);
        for (int word = lane; word < META / 4; word += 32) {
            const int token = word / GROUPS / 8 * 16 + word / GROUPS % 8;
            const uint32_t mask = (keep >> token & 1 ? 0x0000ffffu : 0) | (keep >> (token + 8) & 1 ? 0xffff0000u : 0);
            reinterpret_cast<uint32_t*>(meta)[word] &= mask;
        }
    }
};

template <int HEAD_DIM, int TILE_HALVES>
struct ByteBlockValues : GroupValues<HEAD_DIM, false, TILE_HALVES> {
    using Code = Int8Code;
    using Group = GroupValues<HEAD_DIM, false, TILE_HALVES>;
    static constexpr int D = HEAD_DIM, HALVES = TILE_HALVES, N = D / 16, CODES = 16 * D * HALVES;
    const Code code;

    __device__ __forceinline__ ByteBlockValues(uint32_t, const Code& same) : code(same) {}

    __device__ __forceinline__ void values(const char* codes, const char* meta, int lane,
                                           const uint32_t (&weights)[1][HALVES][2], float (&o)[D / 16][4],
                                           NoCarry&) const {
#pragma unroll
        for (int i = 0; i < HALVES; ++i) {
#pragma unroll
            for (int x = 0; x < N; x += 4) {
                uint32_t w0[4], w1[4], hi[2], lo[2];
                load_words<N>(codes + 16 * D * i, lane, x, w0);
                load_words<N>(codes + 16 * D * i + 8 * D, lane, x, w1);
#pragma unroll
                for (int j = 0; j < 4; ++j) {
                    if (x + j >= N) continue;
                    if (j % 2 == 0) {
                        uint32_t scales[2 * HALVES];
                        Group::load_scales(meta, (x + j) / 2, lane & 3, scales);
                        Group::scaled(scales, i, weights[0][i], hi, lo);
                    }
                    uint32_t a[4];
                    code.exact(w0[j], a[0], a[1]);
                    code.exact(w1[j], a[2], a[3]);
                    Group::multiply(o[x + j], a, hi, lo);
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

template <int D>
using Q8_0 = Format<ByteBlockKeys<D, 1>, ByteBlockValues<D, 1>>;

template <int D>
using Q8_0Q4_0 = Format<ByteBlockKeys<D, 2>, NibbleValues<D, false>>;

template <int D>
using Q4_0 = Format<NibbleTokenKeys<D, false>, NibbleValues<D, false>>;

}  // namespace lowbit
