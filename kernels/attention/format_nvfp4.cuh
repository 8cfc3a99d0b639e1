// NVFP4: E2M1 codes, an E4M3 scale per token and block of 16 channels, one f32 per tensor or per KV head outside the
// loop.
//
// Tile of 32 tokens (halves i of 16), D channels, N = D/16 blocks and words a lane and half (words.cuh).
//   keys    (T32, i, w) -> nibble 2h+b+4e: token 16i+8h+g, channel 16w+4t+2b+e
//           meta, bytes: 4(Ng+j) + 2h+i the scale of token 16i+8h+g, block j
//   values  format_nibbles.cuh
//           meta, bytes: 8(4j+t) + 4i+2e+h the scale of token 16i+8h+2t+e, block j
//
// 1. A code's three bits become the upper exponent and mantissa bits of an f16, which is value * 2^-14, exactly.
// 2. A byte of scale, whose sign is 0, becomes bits 14..7: scale * 2^-8, exactly.
// 3. Keys: a step of mma is a block. Its products are summed on their own and scaled in f32, as int4's.
// 4. Values: code times scale has at most six bits, so their product in f16 is exact, and no scale meets P.
#pragma once
#include "attention/format_nibbles.cuh"

namespace lowbit {

struct Fp4Code {
    __device__ __forceinline__ explicit Fp4Code(uint32_t) {}

    // Nibbles (0,4), (1,5), (2,6), (3,7) of a word as pairs of f16, times 2^-14.
    static __device__ __forceinline__ void decode(uint32_t w, uint32_t (&d)[4]) {
        const uint32_t s = w << 4;
        d[0] = upper(s, 0xA280), d[1] = upper(w, 0xA280);
        d[2] = upper(s, 0xB391), d[3] = upper(w, 0xB391);
    }

    // Bytes 0, 2 (x = 0) or 1, 3 of a word of scales as a pair of f16, times 2^-8.
    static __device__ __forceinline__ uint32_t scales(uint32_t w, int x) {
        return x == 0 ? (w & 0x00ff00ffu) << 7 : (w >> 1) & 0x7f807f80u;
    }

  private:
    // The upper nibbles of two bytes: the selector's bit 3 replicates the byte's sign above it.
    static __device__ __forceinline__ uint32_t upper(uint32_t w, uint32_t selector) {
        uint32_t halves;
        asm("prmt.b32 %0, %1, 0, %2;" : "=r"(halves) : "r"(w), "r"(selector));
        return (halves << 5) & 0x8E008E00u;
    }
};

template <int HEAD_DIM>
struct Fp4Keys : Side<HEAD_DIM, 2> {
    using Code = Fp4Code;
    static constexpr int D = HEAD_DIM, N = D / 16, CODES = 16 * D, META = 2 * D;
    static constexpr float UNIT = 0x1p22f;
    const Code code;

    __device__ __forceinline__ explicit Fp4Keys(uint32_t zero) : code(zero) {}

    static __device__ __forceinline__ QueryPlace place(int ch) { return {ch >> 4, (ch >> 2) & 3, (ch >> 1) & 1}; }

    __device__ __forceinline__ void scores(const char* codes, const char* meta, int lane,
                                           const typename Side<HEAD_DIM, 2>::Query&, const uint32_t (&q)[D / 16][2],
                                           float (&c)[2][4], float (&)[2]) const {
        uint32_t words[2][(N + 3) / 4][4], scales[N];
        load_halves<N>(codes, lane, words);
        load_run<N>(meta + 4 * N * (lane >> 2), scales);
#pragma unroll
        for (int j = 0; j < N; ++j) {
#pragma unroll
            for (int i = 0; i < 2; ++i) {
                uint32_t d[4];
                Code::decode(words[i][j / 4][j % 4], d);
                float sum[4];
                mma_f16_from(sum, {d[0], d[2], d[1], d[3]}, q[j], {0.0f, 0.0f, 0.0f, 0.0f});
                const float2 scale = unpack_16(DType::F16, Code::scales(scales[j], i));
#pragma unroll
                for (int e = 0; e < 4; ++e) c[i][e] = fmaf(e < 2 ? scale.x : scale.y, sum[e], c[i][e]);
            }
        }
    }

    // Codes are finite whatever they are; scales of tokens whose bit is 0 become 0.
    static __device__ __forceinline__ void erase(char* codes, char* meta, int lane, uint32_t keep) {
        if (keep == 0) clear_part<CODES>(codes, lane);
        for (int at = lane; at < META / 4; at += 32) {
            const uint32_t of = keep >> (at / N);
            uint32_t mask = 0;
#pragma unroll
            for (int b = 0; b < 4; ++b) mask |= (of >> (16 * (b % 2) + 8 * (b / 2)) & 1) * (0xffu << 8 * b);
            reinterpret_cast<uint32_t*>(meta)[at] &= mask;
        }
    }
};

template <int HEAD_DIM>
struct Fp4Values : Side<HEAD_DIM, 2> {
    using Code = Fp4Code;
    static constexpr int D = HEAD_DIM, N = D / 16, V = D / 32, CODES = 16 * D, META = 2 * D;
    static constexpr float UNIT = 0x1p8f;

    __device__ __forceinline__ Fp4Values(uint32_t, const Code&) {}

    static __device__ __forceinline__ OutPlace place_out(int lane, int item) {
        return NibbleValues<D>::place_out(lane, item);
    }

    __device__ __forceinline__ void values(const char* codes, const char* meta, int lane,
                                           const uint32_t (&weights)[1][2][2], float (&o)[D / 16][4], NoCarry&) const {
        const int t = lane & 3;
        const uint32_t (&p)[2][2] = weights[0];
        uint32_t words[2][(N + 3) / 4][4];
        load_halves<N>(codes, lane, words);
#pragma unroll
        for (int v = 0; v < (D + 31) / 32; ++v) {
            uint2 scales[2];  // of channel tiles 2v, 2v+1
#pragma unroll
            for (int x = 0; x < 2; ++x) {
                if (2 * v + x < N) scales[x] = *reinterpret_cast<const uint2*>(meta + (4 * (2 * v + x) + t) * 8);
            }
#pragma unroll
            for (int i = 0; i < 2; ++i) {
                uint32_t s[2][2];
#pragma unroll
                for (int x = 0; x < 2; ++x) {
                    if (2 * v + x >= N) continue;
#pragma unroll
                    for (int h = 0; h < 2; ++h) {
                        s[x][h] = hmul2(Code::scales(i == 0 ? scales[x].x : scales[x].y, h), 0x74007400u);  // 2^14
                    }
                }
                uint32_t a[2][4], d[4];
                if (v < V) {
#pragma unroll
                    for (int h = 0; h < 2; ++h) {
                        Code::decode(words[i][(h * V + v) / 4][(h * V + v) % 4], d);
#pragma unroll
                        for (int x = 0; x < 4; ++x) a[x / 2][2 * h + x % 2] = hmul2(d[x], s[x / 2][h]);
                    }
                    mma_f16(o[2 * v], a[0], p[i]);
                    mma_f16(o[2 * v + 1], a[1], p[i]);
                } else {
                    Code::decode(words[i][(N - 1) / 4][(N - 1) % 4], d);
#pragma unroll
                    for (int x = 0; x < 4; ++x) a[0][x] = hmul2(d[x], s[0][x / 2]);
                    mma_f16(o[2 * v], a[0], p[i]);
                }
            }
        }
    }

    // As of keys; weights of erased tokens are 0.
    static __device__ __forceinline__ void erase(char* codes, char* meta, int lane, uint32_t keep) {
        if (keep == 0) clear_part<CODES>(codes, lane);
        for (int at = lane; at < META / 4; at += 32) {
            const uint32_t of = keep >> (16 * (at % 2) + 2 * (at / 2 % 4));
            uint32_t mask = 0;
#pragma unroll
            for (int b = 0; b < 4; ++b) mask |= (of >> (8 * (b % 2) + b / 2) & 1) * (0xffu << 8 * b);
            reinterpret_cast<uint32_t*>(meta)[at] &= mask;
        }
    }
};

template <int D>
using Nvfp4 = Format<Fp4Keys<D>, Fp4Values<D>>;

}  // namespace lowbit
