// Online softmax of one tile of scores, and what the formats share.
//
// Scores arrive as the C fragment of S^T = K q: c[i][2h+n] is token 16i+8h+g, column 2t+n. Per column a lane keeps
//   m   the origin of the exponent (the same in all lanes of a column), as -m
//   l   its own part of sum 2^(s-m)
// and the O accumulators hold sum 2^(s-m) * v. The naive rule m = max s would ask for a reduction over lanes in every
// tile. Instead:
// 1. m moves only when it must: when a weight that multiplies V in f16 would exceed `trigger` (far below f16's
//    largest). One vote a tile guards that branch; in the steady state softmax costs no shuffle and no max.
// 2. With V scales per token the weight is 2^(s-m) * scale, and m follows *its* size: a weight is neither lost below
//    f16's range nor overflows, whatever the scales are. l then is a sum of larger or smaller terms; f32 has the range.
// 3. m is an integer, so a rescale multiplies by a power of two.
// 4. Whether a column moves its m is decided from that column alone, so a row's bits do not depend on other columns.
#pragma once
#include <cmath>

#include "attention/params.cuh"
#include "common/convert.cuh"
#include "common/mma.cuh"

namespace lowbit {

constexpr float L_LIMIT = 0x1p100f;  // of sum 2^(s-m)

// Where a pair of query channels goes in the B fragments: step s, lane's t, register b.
struct QueryPlace {
    int step, t, reg;
};

// The map of rows of 16-bit values read 16 bytes a lane: pair at channel 32(s>>1)+8t+4(s&1)+2b; the last 16 of D%32 =
// 16 are 32(s>>1)+8b+2t.
template <int D>
__device__ __forceinline__ QueryPlace half_row_place(int ch) {
    if (ch >= D / 32 * 32) return {ch >> 4, (ch >> 1) & 3, (ch >> 3) & 1};
    return {2 * (ch >> 5) + ((ch >> 2) & 1), (ch >> 3) & 3, (ch >> 1) & 1};
}

// Which element of the O accumulators a lane writes out: tile m, row 8r+g, column n of two, and its channel.
struct OutPlace {
    int m, r, g, n, channel;
};

// Channels (D/8)g+2m+r, the order of 8- and 16-bit V: item i is rows g = i, and with D = 64 also g = i+4; with other D
// channels 16i..16i+15.
template <int D>
__device__ __forceinline__ OutPlace channel_rows_place(int lane, int item) {
    constexpr int RUN = D / 8;  // neighbouring channels of one g
    if constexpr (RUN == 8 || RUN == 16) {
        const int k = lane % RUN, g = item + 4 * (lane / (2 * RUN));
        return {k / 2, k % 2, g, lane / RUN % 2, RUN * g + k};
    } else {
        const int channel = 16 * item + lane % 16, k = channel % RUN;
        return {k / 2, k % 2, channel / RUN, lane / 16, channel};
    }
}

// Factors of a lane's tokens 16i+g (x) and 16i+8+g (y).
template <int HALVES>
struct TokenScales {
    float2 of[HALVES];

    static __device__ __forceinline__ TokenScales ones() {
        TokenScales scales;
#pragma unroll
        for (int i = 0; i < HALVES; ++i) scales.of[i] = {1.0f, 1.0f};
        return scales;
    }
    __device__ __forceinline__ float at(int i, int h) const { return h ? of[i].y : of[i].x; }
};

template <bool BF16>
__device__ __forceinline__ void mma_16(float (&c)[4], const uint32_t (&a)[4], const uint32_t (&b)[2]) {
    if constexpr (BF16) {
        mma_bf16(c, a, b);
    } else {
        mma_f16(c, a, b);
    }
}

// Which tokens a column sees: first <= token < end, those from tree_from on only if their bit is set; where it is, and
// its ALiBi slope in units of log2. Rarely looked at, so it lives in shared memory.
struct Visible {
    int first, end, position;
    float slope;
    int tree_from;  // without a mask beyond every token
    uint32_t tree;

    __device__ __forceinline__ bool sees(int token) const {
        return token >= first && token < end && (token < tree_from || tree >> (token - tree_from) & 1);
    }
};

// A logit in units of log2 after soft-cap, c*tanh(s/c), and ALiBi. With c = 50 the difference of exponentials costs
// 1e-5 absolute, where tanh.approx would cost 2e-2.
__device__ __forceinline__ float bend(const AttendParams& p, float s, const Visible& column, int token) {
    if (p.soft_cap != 0.0f) {
        const float cap = p.soft_cap * LOG2_E;
        const float e = exp2_approx(fabsf(s) * (2.0f * LOG2_E / cap));
        s = copysignf(cap - __fdividef(2.0f * cap, e + 1.0f), s);
    }
    return fmaf(column.slope, static_cast<float>(token - column.position), s);
}

// Accumulators beside O that a format carries from tile to tile. Most have none.
struct NoCarry {
    __device__ __forceinline__ void clear() {}
    __device__ __forceinline__ void rescale(float, float) {}
    template <int TILES>
    __device__ __forceinline__ void finish(float (&)[TILES][4], int) {}
};

struct Softmax {
    float neg_m[2];
    float l[2];
    float trigger;  // largest weight allowed

    __device__ __forceinline__ void clear(float trigger_) {
        neg_m[0] = neg_m[1] = INFINITY;
        l[0] = l[1] = 0.0f;
        trigger = trigger_;
    }

    // Scores of a tile -> weights as B fragments: f16, or (bf16 has 8 bits only) bf16 in two parts whose sum they are.
    //
    // s = c*factor*k_scale + bias*factor in units of log2, perhaps bent (c is then changed); weights are 2^(s-m) *
    // v_scale. `edge` (the same in all lanes): some column does not see some token, or a token is absent; those weigh
    // 0. Then `here()` says whether the tile is there at all. `token` is the tile's first.
    template <bool TOKEN_SCALES, bool COLUMN_BIAS, bool BF16, int HALVES, int TILES, class Carry, class Here>
    __device__ __forceinline__ void step(const AttendParams& params, float (&c)[HALVES][4],
                                         const TokenScales<HALVES>& k_scale, const TokenScales<HALVES>& v_scale,
                                         const float (&bias_)[2], const float (&factor)[2], bool edge, const Here& here,
                                         int token, const Visible* visible, int lane, float (&o)[TILES][4],
                                         Carry& carry, uint32_t (&p)[BF16 ? 2 : 1][HALVES][2]) {
        float a[HALVES][2][2], bias[2], origin[2], w[HALVES][4], sum[2] = {l[0], l[1]};
        bool move = edge;
#pragma unroll
        for (int n = 0; n < 2; ++n) {
#pragma unroll
            for (int x = 0; x < 2 * HALVES; ++x) {
                a[x / 2][x % 2][n] = TOKEN_SCALES ? factor[n] * k_scale.at(x / 2, x % 2) : factor[n];
            }
            bias[n] = bias_[n];
        }
        if (params.bent) {
#pragma unroll
            for (int x = 0; x < 4 * HALVES; ++x) {
                const int i = x / 4, h = x / 2 % 2, n = x % 2;
                const float straight = fmaf(c[i][2 * h + n], a[i][h][n], COLUMN_BIAS ? bias[n] * factor[n] : 0.0f);
                c[i][2 * h + n] =
                    bend(params, straight, visible[2 * (lane & 3) + n], token + 16 * i + 8 * h + (lane >> 2));
            }
#pragma unroll
            for (int x = 0; x < 4 * HALVES; ++x) a[x / 4][x / 2 % 2][x % 2] = 1.0f;
            bias[0] = bias[1] = 0.0f;
        }
#pragma unroll
        for (int n = 0; n < 2; ++n) origin[n] = COLUMN_BIAS ? fmaf(bias[n], factor[n], neg_m[n]) : neg_m[n];
#pragma unroll
        for (int i = 0; i < HALVES; ++i) {
#pragma unroll
            for (int e = 0; e < 4; ++e) {
                const int h = e >> 1, n = e & 1;
                w[i][e] = exp2_approx(fmaf(c[i][e], a[i][h][n], origin[n]));
                sum[n] += w[i][e];
                if (TOKEN_SCALES) w[i][e] *= v_scale.at(i, h);
                move |= !(w[i][e] <= trigger);
            }
        }
        if (TOKEN_SCALES) move |= !(sum[0] <= L_LIMIT) || !(sum[1] <= L_LIMIT);
        if (__any_sync(0xffffffffu, move)) {
            const int g = lane >> 2;
            const bool absent = edge && !here();
            float by[2];
#pragma unroll
            for (int n = 0; n < 2; ++n) {
                // Again, with the tokens that the column does not see left out.
                const Visible& column = visible[2 * (lane & 3) + n];
                bool mine = false;
                float top = -INFINITY, total = l[n];
#pragma unroll
                for (int i = 0; i < HALVES; ++i) {
#pragma unroll
                    for (int h = 0; h < 2; ++h) {
                        const int at = token + 16 * i + 8 * h + g;
                        if (absent || !column.sees(at)) continue;
                        const float raw = fmaf(c[i][2 * h + n], a[i][h][n], COLUMN_BIAS ? bias[n] * factor[n] : 0.0f);
                        const float weight = exp2_approx(fmaf(c[i][2 * h + n], a[i][h][n], origin[n]));
                        total += weight;
                        if (TOKEN_SCALES) {
                            const float scale = v_scale.at(i, h);
                            mine |= !(weight * scale <= trigger);
                            // Above log2(scale) by at most 1; a scale of 0 counts as 2^-126.
                            const int exponent = static_cast<int>(__float_as_uint(scale) >> 23) - 126;
                            top = fmaxf(top, raw + fmaxf(static_cast<float>(exponent), -60.0f));
                        } else {
                            mine |= !(weight <= trigger);
                            top = fmaxf(top, raw);
                        }
                    }
                }
                if (TOKEN_SCALES) mine |= !(total <= L_LIMIT);
                const bool moves = (__ballot_sync(0xffffffffu, mine) & (0x11111111u << (lane & 3))) != 0;
#pragma unroll
                for (int x = 4; x < 32; x *= 2) top = fmaxf(top, __shfl_xor_sync(0xffffffffu, top, x));
                // After a move the largest weight is 2^-6 of the trigger: room to grow, and far above what f16 rounds
                // coarsely.
                const float land = static_cast<float>(static_cast<int>(__float_as_uint(trigger) >> 23) - 133);
                const float next = fminf(neg_m[n], land - ceilf(top));
                by[n] = 1.0f;
                if (moves && next < neg_m[n]) {
                    by[n] = neg_m[n] == INFINITY ? 0.0f : exp2_approx(next - neg_m[n]);
                    neg_m[n] = next;
                }
                l[n] *= by[n];
                origin[n] = COLUMN_BIAS ? fmaf(bias[n], factor[n], neg_m[n]) : neg_m[n];
                sum[n] = l[n];
#pragma unroll
                for (int i = 0; i < HALVES; ++i) {
#pragma unroll
                    for (int h = 0; h < 2; ++h) {
                        const int at = token + 16 * i + 8 * h + g;
                        const bool seen = !absent && column.sees(at);
                        float weight = exp2_approx(fmaf(c[i][2 * h + n], a[i][h][n], origin[n]));
                        weight = seen ? weight : 0.0f;
                        sum[n] += weight;
                        if (TOKEN_SCALES) weight = seen ? weight * v_scale.at(i, h) : 0.0f;
                        w[i][2 * h + n] = weight;
                    }
                }
            }
#pragma unroll
            for (int m = 0; m < TILES; ++m) {
                o[m][0] *= by[0];
                o[m][1] *= by[1];
                o[m][2] *= by[0];
                o[m][3] *= by[1];
            }
            carry.rescale(by[0], by[1]);
        }
        l[0] = sum[0];
        l[1] = sum[1];
#pragma unroll
        for (int i = 0; i < HALVES; ++i) {
#pragma unroll
            for (int h = 0; h < 2; ++h) {
                const float x = w[i][2 * h], y = w[i][2 * h + 1];
                if constexpr (BF16) {
                    const uint32_t high = pack_bf16(x, y);
                    const float2 rest = unpack_16(DType::Bf16, high);
                    p[0][i][h] = movmatrix_trans(high);
                    p[1][i][h] = movmatrix_trans(pack_bf16(x - rest.x, y - rest.y));
                } else {
                    p[0][i][h] = movmatrix_trans(pack_f16(x, y));
                }
            }
        }
    }
};

}  // namespace lowbit
