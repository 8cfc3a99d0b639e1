// 8-bit weights for products of 8-bit activations (act8.cuh): int8, E4M3.
//
// Packed codes (src/weights/bytes.rs): tile = 16 outputs x 32 k = 512 bytes, [row tile][tile along k]; in a tile lane
// (g, t) owns 16 bytes, words i = 0..4 of which are its A fragment of mma.m16n8k32:
//        word i, byte e:   output g + 8*(i&1),   k = 8*t + 4*(i>>1) + e
// A lane's 16-byte load is a fragment as it lies; a block is four of them.
#pragma once
#include "common/convert.cuh"
#include "common/mma.cuh"
#include "matmul/act8.cuh"

namespace lowbit {

// Pointers and loads of byte weights.
struct ByteWeights {
    static constexpr int kTiles = kSteps;
    const uint8_t* codes;  // at the current block

    __device__ __forceinline__ ByteWeights(const Act8Params& p, uint32_t row_tile, uint32_t block, int lane) {
        codes = reinterpret_cast<const uint8_t*>(p.codes) + (uint64_t(row_tile) * p.tiles + kTiles * block) * 512 +
                lane * 16;
        asm volatile("" : "+l"(codes));  // one address, as in w4.cuh
    }

    __device__ __forceinline__ void advance(int blocks) { lowbit::advance(codes, blocks * (kSteps * 512)); }

    // Tiles beyond k keep what was there, which meets an x of 0.
    __device__ __forceinline__ void load_codes(uint4 (&w)[kTiles], int ahead, int tiles) const {
#pragma unroll
        for (int s = 0; s < kTiles; ++s) load_codes_if(w[s], codes + (ahead * kTiles + s) * 512, s < tiles);
    }

    // Where the code of (output, k) lies.
    static __device__ __forceinline__ uint8_t code(const Act8Params& p, uint32_t output, uint32_t k) {
        const uint32_t lane = 4 * (output & 7) + (k >> 3 & 3), word = 2 * (k >> 2 & 1) + (output >> 3 & 1);
        const uint64_t tile = uint64_t(output >> 4) * p.tiles + (k >> 5);
        return reinterpret_cast<const uint8_t*>(p.codes)[tile * 512 + 16 * lane + 4 * word + (k & 3)];
    }
};

// int8 x int8, one scale a row of x and one an output: the sum is an integer to its end.
template <int COLS>
struct Int8 : ByteWeights {
    static constexpr int kCols = COLS, kStepsPerGroup = kSteps;
    static constexpr bool kExact = true, kRowScale = true, kOutputScale = true, kOutliers = true;
    using Sum = int;
    using Raw = uint2;
    using X = uint2;
    struct Weights {
        uint4 codes[kSteps];
    };
    struct Group {};

    __device__ __forceinline__ Int8(const Act8Params& p, uint32_t row_tile, uint32_t block, int lane, uint32_t)
        : ByteWeights(p, row_tile, block, lane) {}

    __device__ __forceinline__ void load(Weights& w, int ahead, uint32_t, int tiles) const {
        load_codes(w.codes, ahead, tiles);
    }
    __device__ __forceinline__ X operand(Group&, int, Raw raw) const { return raw; }
    __device__ __forceinline__ void begin(Group&, const Weights&, int) const {}
    __device__ __forceinline__ void step(Group&, const Weights& w, int s, const X (&x)[COLS], Sum (&y)[COLS][4]) const {
        const uint32_t a[4] = {w.codes[s].x, w.codes[s].y, w.codes[s].z, w.codes[s].w};
#pragma unroll
        for (int c = 0; c < COLS; ++c) mma_s8(y[c], a, {x[c].x, x[c].y});
    }
    __device__ __forceinline__ void end(Group&, const Weights&, int, Sum (&)[COLS][4]) const {}
    __device__ __forceinline__ void close(Group&, Sum (&)[COLS][4]) const {}

    static __device__ __forceinline__ float weight(const Act8Params& p, uint32_t output, uint32_t k) {
        return static_cast<int8_t>(code(p, output, k));
    }
};

// ---- E4M3 as pairs of f16 -----------------------------------------------------------------------------------------

// Eight E4M3 codes of x as f16 pairs, and whether NaN was among them: from compute_89 the conversion keeps it; below,
// it is noted here, a bit a byte, and enters the sums at the end.
template <int COLS>
struct E4m3Rows {
    struct X {
        uint32_t pair[4];  // k 8*t + {0, 1}, {2, 3}, {4, 5}, {6, 7}
    };
    uint32_t nan;  // bit c: of column tile c

    __device__ __forceinline__ X operand(int c, uint2 raw) {
#if __CUDA_ARCH__ < 890
        const uint32_t above = ((raw.x & 0x7f7f7f7fu) + 0x01010101u) | ((raw.y & 0x7f7f7f7fu) + 0x01010101u);
        if (above & 0x80808080u) nan |= 1u << c;
#endif
        X x;
        e4m3_pairs(raw.x, x.pair[0], x.pair[1]);
        e4m3_pairs(raw.y, x.pair[2], x.pair[3]);
        return x;
    }

    // Sums of rows of x that held a NaN become NaN. Lane (g, t) has seen row g, and holds sums of rows 2*t and 2*t + 1.
    __device__ __forceinline__ void spread_nan(float (&y)[COLS][4]) const {
#if __CUDA_ARCH__ < 890
        const int t = threadIdx.x & 3;
        uint32_t seen = nan;
        seen |= __shfl_xor_sync(0xffffffffu, seen, 1);
        seen |= __shfl_xor_sync(0xffffffffu, seen, 2);
        const uint32_t of_row[2] = {__shfl_sync(0xffffffffu, seen, 8 * t), __shfl_sync(0xffffffffu, seen, 8 * t + 4)};
#pragma unroll
        for (int c = 0; c < COLS; ++c)
#pragma unroll
            for (int i = 0; i < 4; ++i)
                if (of_row[i & 1] >> c & 1) y[c][i] = __uint_as_float(0x7fffffffu);
#endif
    }
};

// E4M3 x E4M3. One scale a row of x and one an output; or (BLOCKS) one for every 128 k of a row of x and one for 128
// outputs x 128 k of w. Sums of 128 k join y in f32.
//
// The codes are multiplied as f16, whose sums have the bits of f32.
template <int COLS, bool BLOCKS>
struct E4m3 : ByteWeights {
    static constexpr int kCols = COLS, kStepsPerGroup = kSteps;
    static constexpr bool kExact = false, kRowScale = !BLOCKS, kOutputScale = !BLOCKS, kOutliers = false;
    using Sum = float;
    using Raw = uint2;
    using X = typename E4m3Rows<COLS>::X;
    struct Weights {
        uint4 codes[kSteps];
        uint32_t w_scale, block;  // BLOCKS: f32 of the block of w; which one it is along k
    };
    struct Group {
        E4m3Rows<COLS> rows;
        float c[COLS][4];
    };
    const Act8Params& p;
    uint32_t w_scales, first_row;

    __device__ __forceinline__ E4m3(const Act8Params& p, uint32_t row_tile, uint32_t block, int lane,
                                    uint32_t first_column)
        : ByteWeights(p, row_tile, block, lane),
          p(p),
          w_scales(row_tile / 8 * p.meta_blocks),
          first_row(first_column + 2 * (lane & 3)) {}

    __device__ __forceinline__ void load(Weights& w, int ahead, uint32_t block, int tiles) const {
        load_codes(w.codes, ahead, tiles);
        if constexpr (BLOCKS) {
            load_words_if<1>(&w.w_scale, reinterpret_cast<const float*>(p.meta) + w_scales + block, tiles > 0);
            w.block = block;
        }
    }
    __device__ __forceinline__ X operand(Group& group, int c, Raw raw) const { return group.rows.operand(c, raw); }
    __device__ __forceinline__ void begin(Group& group, const Weights&, int) const { clear(group.c); }
    __device__ __forceinline__ void step(Group& group, const Weights& w, int s, const X (&x)[COLS],
                                         Sum (&)[COLS][4]) const {
        const uint32_t words[4] = {w.codes[s].x, w.codes[s].y, w.codes[s].z, w.codes[s].w};
        uint32_t low[4], high[4];
#pragma unroll
        for (int i = 0; i < 4; ++i) e4m3_pairs(words[i], low[i], high[i]);
#pragma unroll
        for (int c = 0; c < COLS; ++c) {
            mma_f16(group.c[c], low, {x[c].pair[0], x[c].pair[2]});
            mma_f16(group.c[c], high, {x[c].pair[1], x[c].pair[3]});
        }
    }
    // The scale of x of the current block for row 2*t + i of column tile c.
    __device__ __forceinline__ float x_scale(const Weights& w, int c, int i) const {
        const uint32_t row = min(first_row + 8 * c + i, p.m - 1);
        return __ldg(reinterpret_cast<const float*>(p.x_scale) + uint64_t(row) * p.x_scale_stride + w.block);
    }
    __device__ __forceinline__ void end(Group& group, const Weights& w, int, Sum (&y)[COLS][4]) const {
#pragma unroll
        for (int c = 0; c < COLS; ++c)
#pragma unroll
            for (int i = 0; i < 2; ++i) {
                const float scale = BLOCKS ? __uint_as_float(w.w_scale) * x_scale(w, c, i) : 1.f;
                y[c][i] = fmaf(group.c[c][i], scale, y[c][i]);
                y[c][i + 2] = fmaf(group.c[c][i + 2], scale, y[c][i + 2]);
            }
    }
    __device__ __forceinline__ void close(Group& group, Sum (&y)[COLS][4]) const {
#pragma unroll
        for (int c = 0; c < COLS; ++c)
#pragma unroll
            for (int i = 0; i < 4; ++i) y[c][i] *= E4M3_UNIT * E4M3_UNIT;
        group.rows.spread_nan(y);
    }
};

// The same by the E4M3 product of compute_89: codes are operands as they lie, on both sides. It sums the products of 32
// k with about 13 bits below the largest; these sums join in f32. A NaN stays one.
#if defined(__CUDA_ARCH__) && __CUDA_ARCH__ >= 890
template <int COLS, bool BLOCKS>
struct FastE4m3 : E4m3<COLS, BLOCKS> {
    using E4m3<COLS, BLOCKS>::E4m3;
    using Sum = float;
    using X = uint2;
    using Weights = typename E4m3<COLS, BLOCKS>::Weights;
    using Group = typename E4m3<COLS, BLOCKS>::Group;

    __device__ __forceinline__ X operand(Group&, int, uint2 raw) const { return raw; }
    __device__ __forceinline__ void step(Group& group, const Weights& w, int s, const X (&x)[COLS],
                                         Sum (&)[COLS][4]) const {
        const uint32_t a[4] = {w.codes[s].x, w.codes[s].y, w.codes[s].z, w.codes[s].w};
#pragma unroll
        for (int c = 0; c < COLS; ++c) {
            float sum[4];
            mma_e4m3(sum, a, {x[c].x, x[c].y});
#pragma unroll
            for (int i = 0; i < 4; ++i) group.c[c][i] += sum[i];
        }
    }
};
#else
template <int COLS, bool BLOCKS>
using FastE4m3 = E4m3<COLS, BLOCKS>;
#endif

}  // namespace lowbit
