// 4-bit keys with an f16 scale per token and group of channels: INT4 with a minimum, q4_0 without one, whose codes
// stand for n - 8. Values: format_nibbles.cuh.
//
// Keys of a tile of 32 tokens (halves i of 16), words as of KIVI's keys (format_kivi4.cuh). GROUPS = G of gcd(32, D)
// channels:
//   meta, halves: 2((8i+g)G + j) + h the scale of token 16i+8h+g, group j
//          then, of minima, F = G/2: 8(gF + p) + 2(2i+h) + e the minimum of group 2p+e, and where G is odd 4g + 2i+h of
//          the last
//
// 1. A group's products are summed on their own and scaled in f32: scores += scale * C.
// 2. Codes come as 64+n, which is cheaper than n. What that adds to a group is a column's constant: C starts at minus
//    that, anew in every tile. (1024+n would be cheaper still; sharp softmaxes then miss the tolerance.)
// 3. Minima: sum over groups of min * (sum of the group's q) is a product of its own, 8 groups deep; the sums go in as
//    two f16, high and low.
#pragma once
#include "attention/format_bytes.cuh"
#include "attention/format_int8.cuh"
#include "attention/format_kivi4.cuh"

namespace lowbit {

template <int HEAD_DIM, bool MINIMA = true>
struct NibbleTokenKeys : Side<HEAD_DIM, 2> {
    using Code = OffsetNibbleCode<MINIMA ? 0 : 8>;
    static constexpr int D = HEAD_DIM, N = D / 16, V = NibbleChannelKeys<D>::V, GROUP = D % 32 == 0 ? 32 : 16,
                         GROUPS = D / GROUP;
    static constexpr int STEPS = GROUP / 16, PAIRS = GROUPS / 2, ODD = GROUPS % 2;
    static constexpr int MIN_META = 64 * GROUPS, LAST_META = MIN_META + 128 * PAIRS;
    static constexpr int CODES = 16 * D, META = MINIMA ? LAST_META + 64 * ODD : MIN_META;
    const Code code;

    // Of the query, once a call.
    struct Query {
        float bias[GROUPS][4];  // -64 (or -72) * sum of the group's q, a C fragment
        uint32_t hi, lo;        // with minima, the sums as a B fragment: k is the group
    };

    __device__ __forceinline__ explicit NibbleTokenKeys(uint32_t zero) : code(zero) {}

    static __device__ __forceinline__ QueryPlace place(int ch) { return NibbleChannelKeys<D>::place(ch); }
    static __device__ __forceinline__ uint32_t pair_up(uint32_t word, int lane, int ch) {
        return NibbleChannelKeys<D>::pair_up(word, lane, ch);
    }

    __device__ __forceinline__ Query prepare(const uint32_t (&q)[D / 16][2], int lane) const {
        Query query;
        uint32_t hi = 0, lo = 0;
        constexpr uint32_t BIAS = MINIMA ? 0xD400D400u : 0xD480D480u;  // -64, or 8 less, twice
#pragma unroll
        for (int j = 0; j < GROUPS; ++j) {
#pragma unroll
            for (int e = 0; e < 4; ++e) query.bias[j][e] = 0.0f;
#pragma unroll
            for (int s = STEPS * j; s < STEPS * (j + 1); ++s) mma_f16(query.bias[j], {BIAS, BIAS, BIAS, BIAS}, q[s]);
            if (!MINIMA) continue;
            // Row j of an 8 x 8 matrix, in the lanes that hold it.
            const float x = query.bias[j][0] * -0x1p-6f, y = query.bias[j][1] * -0x1p-6f;
            const uint32_t high = pack_f16(x, y);
            const float2 exact = unpack_16(DType::F16, high);
            if ((lane >> 2) == j) {
                hi = high;
                lo = pack_f16(x - exact.x, y - exact.y);
            }
        }
        query.hi = MINIMA ? movmatrix_trans(hi) : 0;
        query.lo = MINIMA ? movmatrix_trans(lo) : 0;
        return query;
    }

    __device__ __forceinline__ void scores(const char* codes, const char* meta, int lane, const Query& query,
                                           const uint32_t (&q)[D / 16][2], float (&c)[2][4], float (&)[2]) const {
        const int g = lane >> 2, t = lane & 3;
        if constexpr (MINIMA) {
            uint32_t mins[4];
            load_minima(meta, g, t, mins);
#pragma unroll
            for (int i = 0; i < 2; ++i) {
                mma_f16_k8(c[i], mins[2 * i], mins[2 * i + 1], query.hi);
                mma_f16_k8(c[i], mins[2 * i], mins[2 * i + 1], query.lo);
            }
        }
        uint32_t words[2][(N + 3) / 4][4];
        load_halves<N>(codes, lane, words);
#pragma unroll
        for (int i = 0; i < 2; ++i) {
            uint32_t scales[GROUPS];
            load_run<GROUPS>(meta + 4 * GROUPS * (8 * i + g), scales);
#pragma unroll
            for (int j = 0; j < GROUPS; ++j) {
                float sum[4];
                if constexpr (V > 0) {
                    uint32_t a[2][4];  // of two steps
#pragma unroll
                    for (int h = 0; h < 2; ++h) {
                        uint32_t d[4];
                        code.decode_biased(words[i][(h * V + j) / 4][(h * V + j) % 4], d);
#pragma unroll
                        for (int x = 0; x < 4; ++x) a[x / 2][2 * (x % 2) + h] = d[x];
                    }
                    mma_f16_from(sum, a[0], q[2 * j], query.bias[j]);
                    mma_f16(sum, a[1], q[2 * j + 1]);
                } else {
                    uint32_t d[4];
                    code.decode_biased(words[i][j / 4][j % 4], d);
                    mma_f16_from(sum, {d[0], d[2], d[1], d[3]}, q[j], query.bias[j]);
                }
                const float2 scale = unpack_16(DType::F16, scales[j]);
#pragma unroll
                for (int e = 0; e < 4; ++e) c[i][e] = fmaf(e < 2 ? scale.x : scale.y, sum[e], c[i][e]);
            }
        }
    }

    // Codes are finite whatever they are; scales and minima of tokens whose bit is 0 become 0.
    static __device__ __forceinline__ void erase(char* codes, char* meta, int lane, uint32_t keep) {
        if (keep == 0) clear_part<CODES>(codes, lane);
        const auto pair = [&](int low, int high) {
            return (keep >> low & 1 ? 0x0000ffffu : 0) | (keep >> high & 1 ? 0xffff0000u : 0);
        };
        uint32_t* words = reinterpret_cast<uint32_t*>(meta);
        for (int w = lane; w < 16 * GROUPS; w += 32) {
            const int i = w / (8 * GROUPS), g = w / GROUPS % 8;
            words[w] &= pair(16 * i + g, 16 * i + 8 + g);
        }
        if constexpr (MINIMA) {
            for (int w = lane; w < 32 * PAIRS; w += 32) {
                const int token = 8 * (w % 4) + w / (4 * PAIRS);
                words[MIN_META / 4 + w] &= pair(token, token);
            }
            if (ODD && lane < 16) {
                const int token = 16 * (lane % 2) + lane / 2;
                words[LAST_META / 4 + lane] &= pair(token, token + 8);
            }
        }
    }

  private:
    // A fragments of the minima of both halves of the tile, columns 2t, 2t+1 the groups; columns beyond meet zeros.
    static __device__ __forceinline__ void load_minima(const char* meta, int g, int t, uint32_t (&mins)[4]) {
        const int pair = t % (PAIRS + ODD);
        const bool last = ODD && pair == PAIRS;
        const uint4 quad = *reinterpret_cast<const uint4*>(meta + MIN_META + (PAIRS * g + (last ? 0 : pair)) * 16);
        mins[0] = quad.x, mins[1] = quad.y, mins[2] = quad.z, mins[3] = quad.w;
        if constexpr (ODD) {
            const uint2 single = *reinterpret_cast<const uint2*>(meta + LAST_META + 8 * g);
            if (last) {
                mins[0] = single.x & 0xffffu, mins[1] = single.x >> 16;
                mins[2] = single.y & 0xffffu, mins[3] = single.y >> 16;
            }
        }
    }
};

template <int D>
using Int4 = Format<NibbleTokenKeys<D>, NibbleValues<D>>;

template <int D>
using Int8Int4 = Format<ByteKeys<Int8Code, true, D, 2>, NibbleValues<D>>;

}  // namespace lowbit
