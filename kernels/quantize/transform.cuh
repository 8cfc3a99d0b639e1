// Offset, smoothing, signs and Hadamard rotation of eights of a row, in registers; as src/reference/transform.rs
// defines.
//
//   transform8(t, col, v)           v = R(S((v - offset[col..]) / smoothing[col..]))
//   inverse_transform8(t, col, v)   v = S(R(v)) * smoothing + offset
//
// Every lane of the warp makes the call; where a block lies: common/hadamard.cuh.
#pragma once
#include <cstddef>
#include <cstdint>

#include "common/element.cuh"
#include "common/hadamard.cuh"

namespace lowbit {

struct TransformParams {
    uint64_t offset;     // f32[cols] or 0
    uint64_t smoothing;  // f32[cols] or 0
    uint32_t block;      // channels of a rotation: 8 .. 256, or 0
    uint32_t seed;       // of the signs
    uint32_t signs;      // whether there are signs
    float scale;         // 1/sqrt(block)
};
static_assert(sizeof(TransformParams) == 32 && offsetof(TransformParams, scale) == 28,
              "TransformParams is shared with Rust");

__device__ inline bool is_none(const TransformParams& t) { return (t.offset | t.smoothing | t.block) == 0; }

// Bits of the eight channels from `channel` on that change sign.
__device__ inline uint32_t sign_bits(uint32_t seed, uint32_t channel) {
    uint32_t h = seed + (channel / 8 + 1) * 0x9E3779B9u;
    h = (h ^ (h >> 16)) * 0x85EBCA6Bu;
    h = (h ^ (h >> 13)) * 0xC2B2AE35u;
    return h ^ (h >> 16);
}

__device__ inline void change_signs(const TransformParams& t, uint32_t col, float (&v)[8]) {
    if (t.signs == 0) return;
    const uint32_t bits = sign_bits(t.seed, col & (t.block - 1));
#pragma unroll
    for (int i = 0; i < 8; ++i) v[i] = __uint_as_float(__float_as_uint(v[i]) ^ (bits << (31 - i) & 0x80000000u));
}

__device__ inline void rotate(const TransformParams& t, float (&v)[8]) {
    if (t.block != 0) hadamard8(t.block, t.scale, v);
}

// The columns' eight values of a vector, of which there are `count`; `other` behind the end.
__device__ inline void load_vector(uint64_t vector, uint32_t col, int count, float other, float (&v)[8]) {
#pragma unroll
    for (int i = 0; i < 8; ++i) v[i] = i < count ? __ldg(reinterpret_cast<const float*>(vector) + col + i) : other;
}

// `count`: how many of the eight are columns; any number below 8, so that a lane without any takes 0.
__device__ inline void transform8(const TransformParams& t, uint32_t col, int count, float (&v)[8]) {
    float w[8];
    if (t.offset != 0) {
        load_vector(t.offset, col, count, 0.0f, w);
#pragma unroll
        for (int i = 0; i < 8; ++i) v[i] = __fsub_rn(v[i], w[i]);
    }
    if (t.smoothing != 0) {
        load_vector(t.smoothing, col, count, 1.0f, w);
#pragma unroll
        for (int i = 0; i < 8; ++i) v[i] = __fdiv_rn(v[i], w[i]);
    }
    change_signs(t, col, v);
    rotate(t, v);
}

// What a quantizer that transforms its input codes: the transformed value rounded to T, as the transform alone stores
// it.
template <typename T>
__device__ inline void transform_input(const TransformParams& t, uint32_t col, int count, float (&v)[8]) {
    if (is_none(t)) return;
    transform8(t, col, count, v);
#pragma unroll
    for (int i = 0; i < 8; ++i) v[i] = to_f32(from_f32<T>(v[i]));
}

}  // namespace lowbit
