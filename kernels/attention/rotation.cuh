// The Hadamard rotation of a row in shared memory, by one warp. A cache with rotated keys asks for rotated queries, one
// with rotated values for outputs rotated back, which is the same matrix.
#pragma once
#include <cstdint>

namespace lowbit {

// `block`: channels, a power of two from 8 on that divides D. Lane L has channels 64x + 2L, +1: strides 1, 64, 128 are
// butterflies between its registers, 2 to 32 between lanes: a shuffle, and one fma by +-1, which is the sum or the
// difference. Each lane reads and writes its own channels only. A call, so that kernels hold it once.
template <int D>
__device__ __noinline__ void rotate_row(float* row, uint32_t block, float norm) {
    constexpr int N = (D + 63) / 64;
    const int lane = threadIdx.x & 31;
    float2 v[N];
#pragma unroll
    for (int x = 0; x < N; ++x) {
        const int ch = 64 * x + 2 * lane;
        v[x] = ch < D ? *reinterpret_cast<const float2*>(row + ch) : make_float2(0.0f, 0.0f);
        v[x] = make_float2(v[x].x + v[x].y, v[x].x - v[x].y);
    }
#pragma unroll
    for (int lanes = 1; lanes < 32; lanes *= 2) {
        if (2 * lanes >= block) break;
        const float side = lane & lanes ? -1.0f : 1.0f;
#pragma unroll
        for (int x = 0; x < N; ++x) {
            v[x].x = fmaf(v[x].x, side, __shfl_xor_sync(0xffffffffu, v[x].x, lanes));
            v[x].y = fmaf(v[x].y, side, __shfl_xor_sync(0xffffffffu, v[x].y, lanes));
        }
    }
#pragma unroll
    for (int stride = 1; stride < N; stride *= 2) {
        if (64 * stride >= block) break;
#pragma unroll
        for (int x = 0; x + stride < N; ++x) {
            if (x & stride) continue;
            const float2 a = v[x], b = v[x + stride];
            v[x] = make_float2(a.x + b.x, a.y + b.y);
            v[x + stride] = make_float2(a.x - b.x, a.y - b.y);
        }
    }
#pragma unroll
    for (int x = 0; x < N; ++x) {
        const int ch = 64 * x + 2 * lane;
        if (ch < D) *reinterpret_cast<float2*>(row + ch) = make_float2(v[x].x * norm, v[x].y * norm);
    }
}

}  // namespace lowbit
