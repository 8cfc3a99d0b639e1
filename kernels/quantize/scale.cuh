// The scale of a region: made from its extremes, stored, and loaded, by the code's kind (src/reference/quantize.rs).
//
//   kF32     scale = amax / top
//   kF16Min  min = f16(low), scale = f16((f16(high) - min) / top)
//   kE4m3    block = E4M3((amax / 6) / tensor), scale = block * tensor
//   kE8m0    block = max(exponent of amax - exponent of top, 0), scale = 2^(block - 127)
#pragma once
#include <cuda_fp16.h>

#include "quantize/code.cuh"
#include "quantize/params.cuh"

namespace lowbit {

// Of sanitized values, times the clip ratio.
struct Extremes {
    float low, high;
};

// a / kDivisor, rounded to nearest: one correction makes it so for every significand of a (all 2^23 tried for each
// divisor here, of which 448 and 57344 have the significands of 7), as long as nothing is subnormal.
template <int kDivisor>
__device__ __forceinline__ float divide_by(float a) {
    static_assert(kDivisor == 1 || kDivisor == 3 || kDivisor == 7 || kDivisor == 15 || kDivisor == 127 ||
                      kDivisor == 255 || kDivisor == 448 || kDivisor == 57344,
                  "not tried");
    constexpr float kInverse = 1.0f / kDivisor;
    const float quotient = __fmul_rn(a, kInverse);
    return __fmaf_rn(__fmaf_rn(-static_cast<float>(kDivisor), quotient, a), kInverse, quotient);
}

template <typename Code>
struct Scale {
    float scale, min;
    uint32_t block;  // what is stored of a kind whose scales are bytes

    // The region's scale; `tensor`, under the blocks of kE4m3, is the one of the tensor.
    static __device__ inline Scale make(Extremes e, float tensor) {
        const float amax = fmaxf(fabsf(e.low), fabsf(e.high));
        if constexpr (Code::kScale == ScaleKind::kF32) {
            constexpr int kTop = static_cast<int>(Code::kTop);
            return {amax >= 0x1p-100f ? divide_by<kTop>(amax) : __fdiv_rn(amax, Code::kTop), 0.0f, 0};
        } else if constexpr (Code::kScale == ScaleKind::kF16Min) {
            const __half min = __float2half_rn(e.low), high = __float2half_rn(e.high);
            const float low = __half2float(min);
            // Differences of f16 are not subnormal in f32.
            const float step = divide_by<static_cast<int>(Code::kTop)>(__fsub_rn(__half2float(high), low));
            return {__half2float(__float2half_rn(step)), low, 0};
        } else if constexpr (Code::kScale == ScaleKind::kE4m3) {
            const uint32_t block = E4m3::encode(__fdiv_rn(amax, 6.0f), tensor, 0.0f);
            return {__fmul_rn(E4m3::decode(block), tensor), 0.0f, block};
        } else {
            const uint32_t exponent = __float_as_uint(amax) >> 23;
            const uint32_t block = exponent > Code::kLargestExponent ? exponent - Code::kLargestExponent : 0;
            return {decode_e8m0(block), 0.0f, block};
        }
    }

    __device__ inline void store(const QuantizeParams& p, uint64_t region) const {
        if constexpr (Code::kScale == ScaleKind::kF32) {
            reinterpret_cast<float*>(p.scale)[region] = scale;
        } else if constexpr (Code::kScale == ScaleKind::kF16Min) {
            reinterpret_cast<__half*>(p.scale)[region] = __float2half_rn(scale);
            reinterpret_cast<__half*>(p.min)[region] = __float2half_rn(min);
        } else {
            reinterpret_cast<uint8_t*>(p.scale)[region] = block;
        }
    }

    static __device__ inline Scale load(const QuantizeParams& p, uint64_t region) {
        if constexpr (Code::kScale == ScaleKind::kF32) {
            return {reinterpret_cast<const float*>(p.scale)[region], 0.0f};
        } else if constexpr (Code::kScale == ScaleKind::kF16Min) {
            return {__half2float(reinterpret_cast<const __half*>(p.scale)[region]),
                    __half2float(reinterpret_cast<const __half*>(p.min)[region])};
        } else if constexpr (Code::kScale == ScaleKind::kE4m3) {
            const uint32_t block = reinterpret_cast<const uint8_t*>(p.scale)[region];
            return {__fmul_rn(E4m3::decode(block), *reinterpret_cast<const float*>(p.min)), 0.0f};
        } else {
            return {decode_e8m0(reinterpret_cast<const uint8_t*>(p.scale)[region]), 0.0f};
        }
    }

    __device__ inline uint32_t encode(float x) const { return Code::encode(x, scale, min); }

    __device__ inline float decode(uint32_t code) const {
        const float product = __fmul_rn(Code::decode(code), scale);
        return Code::kAsymmetric ? __fadd_rn(product, min) : product;
    }
};

}  // namespace lowbit
