// The quantizers of the KV cache's append, on the values of one lane. They are the definitions in src/reference/kv.rs
// word for word: f32, IEEE division by the stored scale, round to nearest even. Translation units that include this
// compile with -fmad=false.
#pragma once

#include <cuda_fp16.h>

#include <cstdint>

#include "common/fp4.cuh"
#include "common/fp8.cuh"
#include "kv/layout.cuh"

namespace lowbit {
namespace kv {

// The value of 16 bits of the model's dtype.
__device__ __forceinline__ float to_f32(uint32_t bits, uint32_t dtype) {
    return dtype == DTYPE_BF16 ? __uint_as_float(bits << 16)
                               : __half2float(__ushort_as_half(static_cast<unsigned short>(bits)));
}

// NaN to 0 (noted), clamped to the f16 range.
__device__ __forceinline__ float sanitize(float x, bool& nan) {
    if (x != x) {
        nan = true;
        return 0.0f;
    }
    return fminf(fmaxf(x, -65504.0f), 65504.0f);
}

__device__ __forceinline__ uint32_t half_bits(float x) { return __half_as_ushort(__float2half_rn(x)); }

// int8: the stored byte q + 128.
__device__ __forceinline__ uint32_t int8_code(float x, float scale) {
    if (scale == 0.0f) return 128;
    return min(max(__float2int_rn(__fdiv_rn(x, scale)), -127), 127) + 128;
}

// The quotient of an fp8 code; a NaN is noted and gives 0.
__device__ __forceinline__ float fp8_quotient(float x, float scale, bool& nan) {
    if (x == x) {
        if (scale == 0.0f) return 0.0f;
        x = __fdiv_rn(fminf(fmaxf(x, -65504.0f), 65504.0f), scale);
    }
    if (x == x) return x;
    nan = true;
    return 0.0f;
}

// The E4M3 scale of a block of E2M1 codes as stored, and with the head's.
struct Block {
    uint8_t bits;
    float scale;
};

__device__ __forceinline__ Block make_block(float amax, float head_scale) {
    using E4m3 = Fp8<Fp8Format::kE4m3>;
    const float quotient = __fdiv_rn(__fdiv_rn(amax, 6.0f), head_scale);
    const uint32_t bits = quotient > 0.0f ? E4m3::encode(quotient) & 0xFF : 0;
    return {static_cast<uint8_t>(bits), __fmul_rn(E4m3::decode(bits), head_scale)};
}

__device__ __forceinline__ uint32_t e2m1_code(float x, const Block& block) {
    if (block.bits == 0 || block.scale == 0.0f) return 0;
    return E2m1::encode(__fdiv_rn(x, block.scale));
}

// The scale of a ggml block of 32, from the first element of largest magnitude with its sign (+0 if all are zeros):
// `stored` is f16 bits, `id` is 1/d of the scale before it is rounded, 0 where that is not finite. As
// src/reference/ggml.rs.
struct GgmlScale {
    uint32_t stored;
    float id;
};

template <Code C>
__device__ __forceinline__ GgmlScale make_ggml_scale(float extreme) {
    const float d = C == Code::Q8_0 ? __fdiv_rn(fabsf(extreme), 127.0f) : __fdiv_rn(extreme, -8.0f);
    const float id = __fdiv_rn(1.0f, d);
    return {half_bits(d), fabsf(id) <= 3.402823466e+38f ? id : 0.0f};
}

// Q8_0: the stored byte q + 128; Q4_0: 0..15.
template <Code C>
__device__ __forceinline__ uint32_t ggml_code(float x, float id) {
    const float q = __fmul_rn(x, id);
    if (C == Code::Q8_0) return static_cast<int>(roundf(q)) + 128;
    return static_cast<uint32_t>(fminf(__fadd_rn(q, 8.5f), 15.0f));
}

// Scale and minimum of a group of codes 0 .. TOP, as stored.
struct Group {
    uint32_t scale_bits;
    uint32_t min_bits;
    float scale;
    float min;
};

// The largest code.
template <Code C>
constexpr int TOP = (1 << CODE_BITS<C>)-1;

// From the group's extremes. Zeros count as +0: the sum with +0.0 turns -0 into +0.
template <int TOP>
__device__ __forceinline__ Group make_group(float low, float high) {
    Group group;
    group.min_bits = half_bits(__fadd_rn(low, 0.0f));
    group.min = __half2float(__ushort_as_half(static_cast<unsigned short>(group.min_bits)));
    const float top = __half2float(__float2half_rn(__fadd_rn(high, 0.0f)));
    group.scale_bits = half_bits(__fdiv_rn(__fsub_rn(top, group.min), static_cast<float>(TOP)));
    group.scale = __half2float(__ushort_as_half(static_cast<unsigned short>(group.scale_bits)));
    return group;
}

template <int TOP>
__device__ __forceinline__ uint32_t group_code(float x, const Group& group) {
    if (group.scale == 0.0f) return 0;
    return min(max(__float2int_rn(__fdiv_rn(__fsub_rn(x, group.min), group.scale)), 0), TOP);
}

}  // namespace kv
}  // namespace lowbit
