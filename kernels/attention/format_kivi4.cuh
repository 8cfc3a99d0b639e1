// KIVI, 4 bits: keys per channel over 32 or 64 tokens, values per token over 32 channels, f16 scale and minimum (Liu et
// al. 2024, "KIVI: a tuning-free asymmetric 2bit quantization for KV cache", section 3.2). The newest tokens are in the
// model's type in the window (window.cuh). Values: format_nibbles.cuh.
//
// Keys of a tile of 32 tokens (halves i of 16), V = D/32:
//   codes  (T32, i, w = h*V+j) -> nibble n: token 16i+8h+g, channel 32j+8t+n
//          (T32, i, w)         -> nibble 2h+b+4e: token 16i+8h+g, channel 16w+4t+2b+e      where D%32 is 16
//   meta, halves: 8(4a+t) + 4u+2b+e the scale of channel 32a+8t+2u+b+4e, D + 8(4a+t) + 4b+2u+e its minimum;
//          ch the scale, D + ch the minimum of channel ch where D%32 is 16
//
// 1. Scales go into the query, for each 32 tokens: q*scale = hi + lo in f16, two mma. hi alone would miss the
// tolerance.
// 2. Minima: sum over channels of q*min is one number a column, done as an mma whose A holds the minima in every row.
//    One 16-byte load is an A operand with steps 2a (rows g) and 2a+1 (rows 8+g); each serves one product, the other
//    half of the rows is not used.
#pragma once
#include "attention/format_nibbles.cuh"
#include "attention/window.cuh"

namespace lowbit {

template <int HEAD_DIM>
struct NibbleChannelKeys : Side<HEAD_DIM, 2> {
    using Code = NibbleCode;
    static constexpr int D = HEAD_DIM, N = D / 16, CODES = 16 * D, META = 4 * D;
    static constexpr int V = D % 32 == 0 ? D / 32 : 0;  // words of a token
    static constexpr bool COLUMN_BIAS = true;
    const Code code;

    __device__ __forceinline__ explicit NibbleChannelKeys(uint32_t zero) : code(zero) {}

    // ch = 32(s>>1)+8t+2(s&1)+b+4e. A lane has channels ch, ch+1; `pair_up` makes it ch, ch+4 (or ch-3, ch+1). Where
    // D%32 is 16 it is 16s+4t+2b+e.
    static __device__ __forceinline__ QueryPlace place(int ch) {
        if (D % 32 != 0) return {ch >> 4, (ch >> 2) & 3, (ch >> 1) & 1};
        return {2 * (ch >> 5) + ((ch >> 1) & 1), (ch >> 3) & 3, (ch >> 2) & 1};
    }
    static __device__ __forceinline__ uint32_t pair_up(uint32_t word, int lane, int) {
        if (D % 32 != 0) return word;
        const uint32_t other = __shfl_xor_sync(0xffffffffu, word, 2);
        return lane & 2 ? __byte_perm(other, word, 0x7632) : __byte_perm(word, other, 0x5410);
    }

    __device__ __forceinline__ void scores(const char* codes, const char* meta, int lane,
                                           const typename Side<HEAD_DIM, 2>::Query&, const uint32_t (&q)[D / 16][2],
                                           float (&c)[2][4], float (&bias)[2]) const {
        const int t = lane & 3;
        uint32_t words[2][(N + 3) / 4][4];
        load_halves<N>(codes, lane, words);
        float even[4] = {}, odd[4] = {};
#pragma unroll
        for (int k = 0; k < V; ++k) {
            const uint4 scales = *reinterpret_cast<const uint4*>(meta + (4 * k + t) * 16);
            const uint4 mins = *reinterpret_cast<const uint4*>(meta + 2 * D + (4 * k + t) * 16);
            const uint32_t scale[4] = {scales.x, scales.y, scales.z, scales.w};
            mma_f16(even, {mins.x, mins.y, mins.z, mins.w}, q[2 * k]);
            mma_f16(odd, {mins.x, mins.y, mins.z, mins.w}, q[2 * k + 1]);
            uint32_t hi[2][2], lo[2][2];
#pragma unroll
            for (int x = 0; x < 4; ++x) {
                multiply_exactly(q[2 * k + x / 2][x % 2], scale[x], hi[x / 2][x % 2], lo[x / 2][x % 2]);
            }
            uint32_t a[2][2][4];
#pragma unroll
            for (int i = 0; i < 2; ++i) {
#pragma unroll
                for (int h = 0; h < 2; ++h) {
                    uint32_t d[4];
                    code.decode(words[i][(h * V + k) / 4][(h * V + k) % 4], d);
#pragma unroll
                    for (int x = 0; x < 4; ++x) a[i][x / 2][2 * (x % 2) + h] = d[x];
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
#pragma unroll
        for (int w = 2 * V; w < N; ++w) {
            const uint2 scales = *reinterpret_cast<const uint2*>(meta + 32 * w + 8 * t);
            const uint2 mins = *reinterpret_cast<const uint2*>(meta + 2 * D + 32 * w + 8 * t);
            mma_f16(even, {mins.x, mins.x, mins.y, mins.y}, q[w]);
            uint32_t hi[2], lo[2];
            multiply_exactly(q[w][0], scales.x, hi[0], lo[0]);
            multiply_exactly(q[w][1], scales.y, hi[1], lo[1]);
#pragma unroll
            for (int i = 0; i < 2; ++i) {
                uint32_t d[4];
                code.decode(words[i][w / 4][w % 4], d);
                mma_f16(c[i], {d[0], d[2], d[1], d[3]}, hi);
                mma_f16(c[i], {d[0], d[2], d[1], d[3]}, lo);
            }
        }
        bias[0] = even[0] + odd[2];
        bias[1] = even[1] + odd[3];
    }

    // Codes are finite whatever they are; scales and minima are the whole group's.
    static __device__ __forceinline__ void erase(char* codes, char*, int lane, uint32_t keep) {
        if (keep == 0) clear_part<CODES>(codes, lane);
    }
};

// `GROUP` tokens share the scales of a key's channel: 32, or 64 in records of two steps.
template <int D, int GROUP = 32>
using Kivi4 = Format<NibbleChannelKeys<D>, NibbleValues<D>, true, GROUP / 32>;

}  // namespace lowbit
