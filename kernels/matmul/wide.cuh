// 8-bit weights (bytes.cuh) for products of 16-bit activations in the frame of act8.cuh: codes become numbers of x's
// type, which holds them exactly, and are multiplied as such. A lane's 8 neighbours of x are the B fragments of two
// mma.m16n8k16, so that the bytes of a word meet k = 8*t + {0, 1} and {2, 3}, those of the next {4, 5} and {6, 7}.
// Sums of 128 k join y in f32, scaled first where a scale covers 128 outputs x 128 k (BLOCKS).
#pragma once
#include "matmul/bytes.cuh"
#include "matmul/w8.cuh"

namespace lowbit {

// Two codes of a word, each plus 128: f16 under 0x64 reads 1024 + 128 + q; bf16 as in w8.cuh.
template <class X>
struct Int8Numbers {
    static constexpr float kUnit = 1.f;
    static __device__ __forceinline__ uint32_t pair(uint32_t word, bool high) {
        if constexpr (X::kFractionBits == 10)
            return X::add(__byte_perm(word, 0x64646464, high ? 0x4342 : 0x4140), 0xe480e480);
        else
            return W8<X, 256>::decode(word, high);
    }
    static __device__ __forceinline__ void decode(uint32_t word, uint32_t& low, uint32_t& high) {
        low = pair(word ^ 0x80808080, false), high = pair(word ^ 0x80808080, true);
    }
};

// f16 as in bytes.cuh. bf16: the code's exponent and fraction, in the low bits of a bf16's exponent and the high ones
// of its fraction, read 2^-120 of the number, subnormal ones too; a multiplication by 2^120 makes it exact.
template <class X>
struct E4m3Numbers;

template <>
struct E4m3Numbers<F16> {
    static constexpr float kUnit = E4M3_UNIT;
    static __device__ __forceinline__ void decode(uint32_t word, uint32_t& low, uint32_t& high) {
        e4m3_pairs(word, low, high);
    }
};

template <>
struct E4m3Numbers<Bf16> {
    static constexpr float kUnit = 1.f;
    static __device__ __forceinline__ uint32_t pair(uint32_t word, bool high) {
        const uint32_t bytes = __byte_perm(word, 0, high ? 0x3424 : 0x1404);  // at the top of either half
        const uint32_t small = and_or(bytes >> 4, 0x07f007f0, bytes & 0x80008000);
        uint32_t out;
        asm("fma.rn.bf16x2 %0, %1, %2, %3;" : "=r"(out) : "r"(small), "r"(0x7b807b80), "r"(0x80008000));
        return out;
    }
    static __device__ __forceinline__ void decode(uint32_t word, uint32_t& low, uint32_t& high) {
        low = pair(word, false), high = pair(word, true);
    }
};

template <class XType, int COLS, class Numbers, bool BLOCKS = false>
struct Wide : ByteWeights {
    static constexpr int kCols = COLS, kStepsPerGroup = kSteps;
    static constexpr bool kExact = false, kRowScale = false, kOutputScale = !BLOCKS, kOutliers = false;
    using Sum = float;
    using Raw = uint4;
    using X = uint4;
    struct Weights {
        uint4 codes[kSteps];
        uint32_t scale;  // BLOCKS: f32 of the block
    };
    struct Group {
        float c[COLS][4];
    };
    const float* scales;  // BLOCKS: of the blocks along k

    __device__ __forceinline__ Wide(const Act8Params& p, uint32_t row_tile, uint32_t block, int lane, uint32_t)
        : ByteWeights(p, row_tile, block, lane),
          scales(reinterpret_cast<const float*>(p.meta) + row_tile / 8 * p.meta_blocks) {}

    __device__ __forceinline__ void load(Weights& w, int ahead, uint32_t block, int tiles) const {
        load_codes(w.codes, ahead, tiles);
        if constexpr (BLOCKS) load_words_if<1>(&w.scale, scales + block, tiles > 0);
    }
    __device__ __forceinline__ X operand(Group&, int, Raw raw) const { return raw; }
    __device__ __forceinline__ void begin(Group& group, const Weights&, int) const { clear(group.c); }
    __device__ __forceinline__ void step(Group& group, const Weights& w, int s, const X (&x)[COLS],
                                         Sum (&)[COLS][4]) const {
        const uint32_t words[4] = {w.codes[s].x, w.codes[s].y, w.codes[s].z, w.codes[s].w};
        uint32_t low[4], high[4];
#pragma unroll
        for (int i = 0; i < 4; ++i) Numbers::decode(words[i], low[i], high[i]);
#pragma unroll
        for (int c = 0; c < COLS; ++c) {
            XType::mma(group.c[c], low, x[c].x, x[c].z, group.c[c]);
            XType::mma(group.c[c], high, x[c].y, x[c].w, group.c[c]);
        }
    }
    __device__ __forceinline__ void end(Group& group, const Weights& w, int, Sum (&y)[COLS][4]) const {
        const float scale = BLOCKS ? __uint_as_float(w.scale) : 1.f;
#pragma unroll
        for (int c = 0; c < COLS; ++c)
#pragma unroll
            for (int i = 0; i < 4; ++i) y[c][i] = fmaf(group.c[c][i], scale, y[c][i]);
    }
    __device__ __forceinline__ void close(Group&, Sum (&y)[COLS][4]) const {
        if constexpr (Numbers::kUnit != 1.f)
#pragma unroll
            for (int c = 0; c < COLS; ++c)
#pragma unroll
                for (int i = 0; i < 4; ++i) y[c][i] *= Numbers::kUnit;
    }
};

}  // namespace lowbit
