// Codes of eight elements that share a scale: bit for bit those of Code::encode, with fewer instructions for int8.
//
// Naive:  q = clamp(rint(x / scale)), an IEEE division of about ten instructions for each element.
// 1. q' = rint(x * (1 / scale)) by one FMA with 1.5 * 2^23, whose last bit is 1: q' stands in the low byte.
// 2. d = x * (1 / scale) - q' by another. Both quotients lie within 127.3 * 2^-23 < 2^-15 of x / scale, so that they
//    round to the same integer unless |d| is that close to 1/2.
// 3. If an element of the eight is, or is beyond the range (which NaN is too), or the scale is none that has a normal
//    reciprocal, the eight is coded as defined.
#pragma once
#include "quantize/code.cuh"

namespace lowbit {

// The larger of both; NaN if one is.
__device__ __forceinline__ float max_or_nan(float a, float b) {
    float out;
    asm("max.NaN.f32 %0, %1, %2;" : "=f"(out) : "f"(a), "f"(b));
    return out;
}

// A scale with what is prepared once for all that share it.
template <typename Code>
struct Divisor {
    float scale;

    __device__ __forceinline__ explicit Divisor(float scale_) : scale(scale_) {}
    __device__ __forceinline__ void encode(const float (&v)[8], uint32_t (&code)[8]) const {
#pragma unroll
        for (int i = 0; i < 8; ++i) code[i] = Code::encode(v[i], scale, 0.0f);
    }
};

template <>
struct Divisor<Int8> {
    float scale, inverse, limit;  // limit: the largest |x| that needs no clamp; below 0: every x takes the long way

    __device__ __forceinline__ explicit Divisor(float scale_) : scale(scale_) {
        const bool normal = scale >= 0x1p-100f && scale <= 0x1p100f;
        inverse = normal ? __fdiv_rn(1.0f, scale) : 0.0f;
        limit = normal ? fminf(127.25f * scale, kLimit) : -1.0f;
    }

    __device__ __forceinline__ void encode(const float (&v)[8], uint32_t (&code)[8]) const {
        constexpr float kMagic = 0x1.8p23f, kSure = 0.5f - 0x1p-14f;
        float most = 0.0f, worst = 0.0f;
#pragma unroll
        for (int i = 0; i < 8; ++i) {
            const float shifted = __fmaf_rn(v[i], inverse, kMagic);
            most = max_or_nan(most, fabsf(v[i]));
            worst = fmaxf(worst, fabsf(__fmaf_rn(v[i], inverse, -(shifted - kMagic))));
            code[i] = __float_as_uint(shifted);
        }
        if (most <= limit && worst <= kSure) return;
#pragma unroll
        for (int i = 0; i < 8; ++i) code[i] = Int8::encode(v[i], scale, 0.0f);
    }
};

// Low bytes of eight words to p, the first `count` of them.
__device__ __forceinline__ void store_bytes8(uint8_t* p, int count, bool aligned, const uint32_t (&code)[8]) {
    uint32_t word[2];
#pragma unroll
    for (int i = 0; i < 2; ++i) {
        const uint32_t low = __byte_perm(code[4 * i], code[4 * i + 1], 0x0040);
        word[i] = __byte_perm(low, __byte_perm(code[4 * i + 2], code[4 * i + 3], 0x0040), 0x5410);
    }
    if (count >= 8 && aligned) {
        *reinterpret_cast<uint2*>(p) = make_uint2(word[0], word[1]);
    } else {
#pragma unroll
        for (int i = 0; i < 8; ++i)
            if (i < count) p[i] = static_cast<uint8_t>(code[i]);
    }
}

}  // namespace lowbit
