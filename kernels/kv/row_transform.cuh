// RoPE and rotation of a row of keys or values on its way into the cache. Defined by src/reference/kv/row.rs.
//
//   y = 16 bits of H(R(x)), rounded once
//   R  pair i, channels (a, b), of position p:  (a cos - b sin, a sin + b cos),  (cos, sin) = table[p, i];
//      the channels are (2i, 2i + 1), or (i, i + rotary_dim / 2); those from rotary_dim on stay
//   H  blocks of channels (common/hadamard.cuh)
//
// One warp a row, a lane eight neighbouring channels: (T32, V8) -> channel 8 T + V. Up to 256 channels.
#pragma once

#include <cstddef>
#include <cstdint>

#include "common/convert.cuh"
#include "common/hadamard.cuh"
#include "kv/code.cuh"

namespace lowbit {
namespace kv {

struct RowTransform {
    uint64_t table;       // f32 [positions, rotary_dim / 2, 2]: cosine and sine; 0: no RoPE
    uint32_t rotary_dim;  // even
    uint32_t half_split;  // 1: pairs (i, i + rotary_dim / 2)
    uint32_t block;       // channels of a block of the rotation, 0: none
    float norm;           // 1/sqrt(block)

    __device__ __forceinline__ bool any() const { return table != 0 || block != 0; }
};
static_assert(sizeof(RowTransform) == 24 && offsetof(RowTransform, block) == 16, "RowTransform is shared with Rust");

// RoPE of the lane's channels `first` .. first + 8, which `x` holds; the other half of a pair is read from the row.
__device__ __forceinline__ void turn8(const RowTransform& t, const uint16_t* row, int position, uint32_t dtype,
                                      int first, float (&x)[8]) {
    const int rotary = static_cast<int>(t.rotary_dim), half = rotary / 2;
    const float2* angles = reinterpret_cast<const float2*>(t.table) + static_cast<int64_t>(position) * half;
    if (t.half_split == 0) {
#pragma unroll
        for (int i = 0; i < 8; i += 2) {
            if (first + i >= rotary) break;
            const float2 angle = angles[(first + i) / 2];
            const float a = x[i], b = x[i + 1];
            x[i] = __fsub_rn(__fmul_rn(a, angle.x), __fmul_rn(b, angle.y));
            x[i + 1] = __fadd_rn(__fmul_rn(a, angle.y), __fmul_rn(b, angle.x));
        }
        return;
    }
#pragma unroll
    for (int i = 0; i < 8; ++i) {
        const int c = first + i;
        if (c >= rotary) break;
        const bool low = c < half;
        const float2 angle = angles[low ? c : c - half];
        const float other = to_f32(row[low ? c + half : c - half], dtype);
        const float along = __fmul_rn(x[i], angle.x), across = __fmul_rn(other, angle.y);
        x[i] = low ? __fsub_rn(along, across) : __fadd_rn(across, along);
    }
}

// The transformed row to `to`, by the whole warp together; `to` may be read when this returns. A call, so that kernels
// hold it once.
template <int D>
__device__ __noinline__ void transform_row(const RowTransform& t, const uint16_t* row, int position, uint32_t dtype,
                                           uint16_t* to) {
    static_assert(D % 8 == 0 && D <= 256, "eight channels a lane");
    const int first = 8 * (threadIdx.x % 32);
    const DType type = static_cast<DType>(dtype);
    float x[8] = {};
    if (first < D) {
        const uint4 words = *reinterpret_cast<const uint4*>(row + first);
        const uint32_t pairs[4] = {words.x, words.y, words.z, words.w};
#pragma unroll
        for (int i = 0; i < 4; ++i) {
            const float2 pair = unpack_16(type, pairs[i]);
            x[2 * i] = pair.x, x[2 * i + 1] = pair.y;
        }
        if (t.table != 0) turn8(t, row, position, dtype, first, x);
    }
    if (t.block != 0) hadamard8(t.block, t.norm, x);
    __syncwarp();  // The row before this one may still be read.
    if (first < D) {
        *reinterpret_cast<uint4*>(to + first) = {pack_16(type, x[0], x[1]), pack_16(type, x[2], x[3]),
                                                 pack_16(type, x[4], x[5]), pack_16(type, x[6], x[7])};
    }
    __syncwarp();
}

}  // namespace kv
}  // namespace lowbit
