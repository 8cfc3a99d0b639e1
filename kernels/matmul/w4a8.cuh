// 4-bit weights for products of 8-bit activations (act8.cuh), in the layout of w4.cuh: one packing for x of 16 and of 8
// bits.
//
// int8 x: a word of a lane holds the codes of 4 neighbours of k for two outputs, k in the order 0, 2, 1, 3:
//        word s, rotated right by 2:   byte j, high nibble: output g, low nibble: output g + 8;
//                                      k = 32*(s>>1) + 8*t + 4*(s&1) + {0, 2, 1, 3}[j]
//  1. So two ANDs make two registers of the A operand: 16*q of output g as unsigned bytes, q of output g + 8. The bytes
//     of x are brought into the same order, once for all outputs of a warp.
//  2. The zero is taken off a group's sum: sum (q - z)*x = sum q*x - z * sum x. The sum of x is a product with ones.
//     Integers: exact. 16 leaves output g at the end.
// E4M3 x: as pairs of f16 (bytes.cuh), which meet the codes as in w4.cuh; a step of 32 k is two of its steps.
#pragma once
#include "matmul/bytes.cuh"
#include "matmul/w4.cuh"

namespace lowbit {

// What both share: where a block of weights is, and that a row's scale is left to the end.
template <Zero ZERO, int GROUP, int COLS>
struct W4A8 : W4<F16, ZERO, GROUP, false> {
    using Base = W4<F16, ZERO, GROUP, false>;
    static constexpr int kTiles = 2, kCols = COLS, kStepsPerGroup = Base::kStepsPerGroup / 2;
    static constexpr bool kRowScale = true, kOutputScale = false, kOutliers = false;
    using Raw = uint2;
    using Weights = typename Base::Weights;

    __device__ __forceinline__ W4A8(const Act8Params& p, uint32_t row_tile, uint32_t block, int lane)
        : Base(p, row_tile, block, lane) {}

    __device__ __forceinline__ void load(Weights& w, int ahead, uint32_t block, int tiles) const {
        Base::load_codes(w, 0, ahead, tiles > 0);
        Base::load_codes(w, 1, ahead, tiles > 1);
        Base::load_scales(w, ahead, block, tiles > 0);
    }
};

template <Zero ZERO, int GROUP, int COLS>
struct W4Int8 : W4A8<ZERO, GROUP, COLS> {
    using Base = W4A8<ZERO, GROUP, COLS>;
    using typename Base::Raw;
    using typename Base::Weights;
    static constexpr bool kExact = false;
    using Sum = float;
    using X = uint2;
    struct Group {
        int c[COLS][4];  // of codes times x, outputs g times 16
        int x[COLS][4];  // of x
    };
    int minus_plus[2];  // of 4-bit zeros, what is taken off beyond the stored ones: outputs g (times 16), g + 8
    uint32_t ones[4];

    __device__ __forceinline__ W4Int8(const Act8Params& p, uint32_t row_tile, uint32_t block, int lane, uint32_t)
        : Base(p, row_tile, block, lane), minus_plus{int(p.minus_base[0]), int(p.minus_base[1])} {
        // Through a shuffle, which keeps them in registers: constants are made anew for every two blocks.
#pragma unroll
        for (int i = 0; i < 4; ++i) ones[i] = __shfl_sync(0xffffffffu, 0x01010101, i);
    }

    __device__ __forceinline__ X operand(Group&, int, Raw raw) const {
        return make_uint2(__byte_perm(raw.x, 0, 0x3120), __byte_perm(raw.y, 0, 0x3120));
    }
    __device__ __forceinline__ void begin(Group& group, const Weights&, int) const {
#pragma unroll
        for (int c = 0; c < COLS; ++c)
#pragma unroll
            for (int i = 0; i < 4; ++i) group.c[c][i] = 0, group.x[c][i] = 0;
    }
    __device__ __forceinline__ void step(Group& group, const Weights& w, int s, const X (&x)[COLS],
                                         Sum (&)[COLS][4]) const {
        const uint4& v = w.codes[s >> 1];
        const uint32_t low = rotate_right(s & 1 ? v.z : v.x, 2), high = rotate_right(s & 1 ? v.w : v.y, 2);
        const uint32_t a[4] = {low & 0xf0f0f0f0u, low & 0x0f0f0f0fu, high & 0xf0f0f0f0u, high & 0x0f0f0f0fu};
#pragma unroll
        for (int c = 0; c < COLS; ++c) {
            mma_u8s8(group.c[c], a, {x[c].x, x[c].y});
            mma_u8s8(group.x[c], ones, {x[c].x, x[c].y});
        }
    }
    __device__ __forceinline__ void end(Group& group, const Weights& w, int r, Sum (&y)[COLS][4]) const {
        const float2 scale = half2_to_float2(w.meta[r]);
        int minus[2] = {-16 * 8, -8};
        if constexpr (ZERO == Zero::kBits4) {
            const int byte = w.zeros >> (8 * r), low = byte & 0x0f;
            // The first in one addition of three where there is but one byte.
            minus[0] = minus_plus[0] - (Base::kGroups == 1 ? byte - low : byte & 0xf0), minus[1] = minus_plus[1] - low;
        }
#pragma unroll
        for (int c = 0; c < COLS; ++c)
#pragma unroll
            for (int i = 0; i < 2; ++i) {
                y[c][i] = fmaf(scale.x, float(group.c[c][i] + minus[0] * group.x[c][i]), y[c][i]);
                y[c][i + 2] = fmaf(scale.y, float(group.c[c][i + 2] + minus[1] * group.x[c][i + 2]), y[c][i + 2]);
            }
    }
    __device__ __forceinline__ void close(Group&, Sum (&y)[COLS][4]) const {
#pragma unroll
        for (int c = 0; c < COLS; ++c) y[c][0] *= 0x1p-4f, y[c][1] *= 0x1p-4f;
    }
};

template <Zero ZERO, int GROUP, int COLS>
struct W4E4m3 : W4A8<ZERO, GROUP, COLS> {
    using Base = W4A8<ZERO, GROUP, COLS>;
    using Weight = typename Base::Base;
    using typename Base::Raw;
    using typename Base::Weights;
    static constexpr bool kExact = false;
    using Sum = float;
    using X = XRun;
    struct Group {
        E4m3Rows<COLS> rows;
        typename Weight::template Sums<COLS> sums;
    };

    __device__ __forceinline__ W4E4m3(const Act8Params& p, uint32_t row_tile, uint32_t block, int lane, uint32_t)
        : Base(p, row_tile, block, lane) {}

    __device__ __forceinline__ X operand(Group& group, int c, Raw raw) const {
        const auto x = group.rows.operand(c, raw);
        return {make_uint4(x.pair[0], x.pair[1], x.pair[2], x.pair[3])};
    }
    __device__ __forceinline__ void begin(Group& group, const Weights& w, int r) const {
        Weight::begin(group.sums, w, r);
    }
    __device__ __forceinline__ void step(Group& group, const Weights& w, int s, const X (&x)[COLS],
                                         Sum (&)[COLS][4]) const {
#pragma unroll
        for (int half = 0; half < 2; ++half) Weight::step(group.sums, w, 2 * s + half, x);
    }
    __device__ __forceinline__ void end(Group& group, const Weights& w, int r, Sum (&y)[COLS][4]) const {
        Weight::end(group.sums, w, r, y);
    }
    __device__ __forceinline__ void close(Group& group, Sum (&y)[COLS][4]) const {
#pragma unroll
        for (int c = 0; c < COLS; ++c)
#pragma unroll
            for (int i = 0; i < 4; ++i) y[c][i] *= Weight::unit() * E4M3_UNIT;
        group.rows.spread_nan(y);
    }
};

}  // namespace lowbit
