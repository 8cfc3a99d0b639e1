// f16 or bf16 in fragment order: the unquantized cache, and the oracle of the others.
//
// Tile record of 16 tokens, D channels: [K 32D][V 32D] bytes, 16-bit values; N = D/8 words a lane (words.cuh).
//   K  (T32, h 2, w N)     -> word w of half h, 16D bytes each: token 8h+g, channels 32(w>>2)+8t+2(w&3)+{0,1} below
//      D - D%32, 8w+2t+{0,1} from there on
//   V  (T32, m D/16)       -> 16 bytes at m*512 + lane*16: half (2b+r)*2+e is token 8b+2t+e, channel (D/8)g+2m+r
#pragma once
#include "attention/format.cuh"

namespace lowbit {

struct NoCode {};

template <int HEAD_DIM, bool IS_BF16>
struct HalfKeys : Side<HEAD_DIM, 1> {
    using Code = NoCode;
    static constexpr int D = HEAD_DIM, N = D / 8, CODES = 32 * D, META = 0;
    static constexpr bool NORMALIZE_Q = false;
    const Code code;

    __device__ __forceinline__ explicit HalfKeys(uint32_t) : code() {}

    static __device__ __forceinline__ QueryPlace place(int ch) { return half_row_place<D>(ch); }

    __device__ __forceinline__ void scores(const char* codes, const char*, int lane,
                                           const typename Side<HEAD_DIM, 1>::Query&, const uint32_t (&q)[D / 16][2],
                                           float (&c)[1][4], float (&)[2]) const {
#pragma unroll
        for (int x = 0; x < N; x += 4) {
            uint32_t k0[4], k1[4];
            load_words<N>(codes, lane, x, k0);
            load_words<N>(codes + 16 * D, lane, x, k1);
            mma_16<IS_BF16>(c[0], {k0[0], k1[0], k0[1], k1[1]}, q[x / 2]);
            if (x + 4 <= N) mma_16<IS_BF16>(c[0], {k0[2], k1[2], k0[3], k1[3]}, q[x / 2 + 1]);
        }
    }

    // Tokens whose bit is 0 become zeros: an unwritten value may be a NaN.
    static __device__ __forceinline__ void erase(char* codes, char*, int lane, uint32_t keep) {
#pragma unroll
        for (int h = 0; h < 2; ++h) {
            if (!(keep >> (8 * h + (lane >> 2)) & 1)) clear_words<N>(codes + 16 * D * h, lane);
        }
    }
};

template <int HEAD_DIM, bool IS_BF16>
struct HalfValues : Side<HEAD_DIM, 1> {
    static constexpr int D = HEAD_DIM, CODES = 32 * D, META = 0, PARTS = IS_BF16 ? 2 : 1;
    static constexpr bool BF16 = IS_BF16;

    __device__ __forceinline__ HalfValues(uint32_t, NoCode) {}

    __device__ __forceinline__ void values(const char* codes, const char*, int lane,
                                           const uint32_t (&weights)[PARTS][1][2], float (&o)[D / 16][4],
                                           NoCarry&) const {
#pragma unroll
        for (int m = 0; m < D / 16; ++m) {
            uint4 v = *reinterpret_cast<const uint4*>(codes + m * 512 + lane * 16);
#pragma unroll
            for (int part = 0; part < PARTS; ++part) mma_16<IS_BF16>(o[m], {v.x, v.y, v.z, v.w}, weights[part][0]);
        }
    }

    static __device__ __forceinline__ void erase(char* codes, char*, int lane, uint32_t keep) {
        uint32_t mask[2];
#pragma unroll
        for (int b = 0; b < 2; ++b) {
            const uint32_t pair = keep >> (8 * b + 2 * (lane & 3));
            mask[b] = (pair & 1 ? 0x0000ffffu : 0) | (pair & 2 ? 0xffff0000u : 0);
        }
#pragma unroll
        for (int m = 0; m < D / 16; ++m) {
            uint4* v = reinterpret_cast<uint4*>(codes + m * 512 + lane * 16);
            *v = make_uint4(v->x & mask[0], v->y & mask[0], v->z & mask[1], v->w & mask[1]);
        }
    }
};

template <int D, bool IS_BF16>
using Half = Format<HalfKeys<D, IS_BF16>, HalfValues<D, IS_BF16>>;

}  // namespace lowbit
