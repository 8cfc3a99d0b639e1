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
    const uint8_t* codes;  // at the current block
    uint32_t tiles;

    __device__ __forceinline__ ByteWeights(const Act8Params& p, uint32_t row_tile, uint32_t block, int lane)
        : tiles(p.tiles) {
        codes =
            reinterpret_cast<const uint8_t*>(p.codes) + (uint64_t(row_tile) * tiles + kSteps * block) * 512 + lane * 16;
        asm volatile("" : "+l"(codes));  // one address, as in w4.cuh
    }

    __device__ __forceinline__ void advance(int blocks) { lowbit::advance(codes, blocks * (kSteps * 512)); }

    // Tiles beyond k keep what was there, which meets an x of 0.
    __device__ __forceinline__ void load_codes(uint4 (&w)[kSteps], int ahead, uint32_t block, bool valid) const {
#pragma unroll
        for (int s = 0; s < kSteps; ++s)
            load_codes_if(w[s], codes + (ahead * kSteps + s) * 512, valid && kSteps * block + s < tiles);
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

    __device__ __forceinline__ void load(Weights& w, int ahead, uint32_t block, bool valid) const {
        load_codes(w.codes, ahead, block, valid);
    }
    __device__ __forceinline__ X operand(Group&, int, Raw raw) const { return raw; }
    __device__ __forceinline__ void begin(Group&) const {}
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

}  // namespace lowbit
