// The Hadamard rotation of blocks of channels, in registers, as src/reference/transform.rs defines: butterflies
// (a, b) -> (a + b, a - b) at strides 1, 2, 4, ... block/2, then a product with `scale`.
//
// A block spans block / 8 neighbouring lanes, lane i of them with channels 8 i .. 8 i + 8 of it: (T32, V8) -> channel
// 8 T + V. So every lane of the warp makes the call, and an aligned run of block / 8 lanes holds one block, or nothing
// real. Strides 1, 2, 4 are butterflies between a lane's registers, 8 and up between lanes: a shuffle, and one fma by
// +-1, which is the sum or the difference with its one rounding.
#pragma once
#include <cstdint>

namespace lowbit {

// `block`: 8 .. 256, a power of two.
__device__ inline void hadamard8(uint32_t block, float scale, float (&v)[8]) {
#pragma unroll
    for (int stride = 1; stride < 8; stride *= 2) {
#pragma unroll
        for (int i = 0; i < 8; ++i) {
            if (i & stride) continue;
            const float a = v[i], b = v[i + stride];
            v[i] = __fadd_rn(a, b);
            v[i + stride] = __fsub_rn(a, b);
        }
    }
#pragma unroll
    for (uint32_t lanes = 1; lanes < 32; lanes *= 2) {
        if (8 * lanes >= block) break;
        const float side = threadIdx.x & lanes ? -1.0f : 1.0f;
#pragma unroll
        for (int i = 0; i < 8; ++i) v[i] = __fmaf_rn(v[i], side, __shfl_xor_sync(0xFFFFFFFFu, v[i], lanes));
    }
#pragma unroll
    for (int i = 0; i < 8; ++i) v[i] = __fmul_rn(v[i], scale);
}

}  // namespace lowbit
