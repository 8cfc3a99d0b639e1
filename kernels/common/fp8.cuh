// 8-bit floats <-> f32: cvt.rn.satfinite as the PTX ISA (9.7.9.21) defines it, on every architecture.
//
//   Fp8<E4M3>::encode(x)   nearest code, ties to even, saturating; NaN -> 0x7F; sign of zero kept
//   Fp8<E4M3>::decode(c)   exact; every NaN code -> NaN
//
// From compute_89 one instruction converts two. Below, three integer steps on the magnitude's bits:
//   normal     add half a unit of the last kept mantissa bit, minus one unless that bit is odd, shift it down,
//              subtract the difference of the exponent biases
//   subnormal  add the power of two whose last mantissa bit is the format's smallest value: the adder rounds
// Both images must agree bit for bit; a test compares them.
#pragma once
#include <cuda_fp16.h>

#include <cstdint>

namespace lowbit {

enum class Fp8Format { kE4m3, kE5m2 };

template <Fp8Format F>
struct Fp8 {
    static constexpr bool kIsE4m3 = F == Fp8Format::kE4m3;
    static constexpr int kMantissa = kIsE4m3 ? 3 : 2;
    static constexpr int kBias = kIsE4m3 ? 7 : 15;
    static constexpr float kMax = kIsE4m3 ? 448.0f : 57344.0f;
    static constexpr uint32_t kMaxCode = kIsE4m3 ? 0x7E : 0x7B;

    static __device__ inline uint32_t encode(float x) {
#if __CUDA_ARCH__ >= 890
        uint16_t pair;
        if constexpr (kIsE4m3) {
            asm("cvt.rn.satfinite.e4m3x2.f32 %0, %1, %2;" : "=h"(pair) : "f"(0.0f), "f"(x));
        } else {
            asm("cvt.rn.satfinite.e5m2x2.f32 %0, %1, %2;" : "=h"(pair) : "f"(0.0f), "f"(x));
        }
        return pair;  // the upper code is that of 0
#else
        constexpr int kDrop = 23 - kMantissa;
        const uint32_t bits = __float_as_uint(x), magnitude = bits & 0x7FFFFFFFu;
        const uint32_t normal = ((magnitude + ((1u << (kDrop - 1)) - 1u) + ((magnitude >> kDrop) & 1u)) >> kDrop) -
                                ((127u - kBias) << kMantissa);
        // Smallest value 2^(1 - bias - mantissa) is the last bit of 2^(24 - bias - mantissa).
        const float shift = __uint_as_float((127u + 24u - kBias - kMantissa) << 23);
        const uint32_t small = __float_as_uint(__fadd_rn(__uint_as_float(magnitude), shift)) & 0xFFu;
        const uint32_t code = magnitude < ((128u - kBias) << 23) ? small : normal;
        if (magnitude > 0x7F800000u) return 0x7Fu;
        return min(code, kMaxCode) | ((bits >> 24) & 0x80u);
#endif
    }

    // Codes of two numbers, that of `low` in the lower byte.
    static __device__ inline uint32_t encode_pair(float low, float high) {
#if __CUDA_ARCH__ >= 890
        uint16_t pair;
        if constexpr (kIsE4m3) {
            asm("cvt.rn.satfinite.e4m3x2.f32 %0, %1, %2;" : "=h"(pair) : "f"(high), "f"(low));
        } else {
            asm("cvt.rn.satfinite.e5m2x2.f32 %0, %1, %2;" : "=h"(pair) : "f"(high), "f"(low));
        }
        return pair;
#else
        return encode(low) | encode(high) << 8;
#endif
    }

#if __CUDA_ARCH__ >= 890
    // Codes of the two f16 in a word.
    static __device__ inline uint32_t encode_pair_f16(uint32_t x) {
        uint16_t pair;
        if constexpr (kIsE4m3) {
            asm("cvt.rn.satfinite.e4m3x2.f16x2 %0, %1;" : "=h"(pair) : "r"(x));
        } else {
            asm("cvt.rn.satfinite.e5m2x2.f16x2 %0, %1;" : "=h"(pair) : "r"(x));
        }
        return pair;
    }
#endif

    // One of the two codes around x: the farther from zero when u in [0, 1), a multiple of 2^-24, is below the fraction
    // of the way. The quotient by a power of two is exact.
    static __device__ inline uint32_t encode_stochastic(float x, float u) {
        const uint32_t bits = __float_as_uint(x), magnitude = bits & 0x7FFFFFFFu;
        if (!(__uint_as_float(magnitude) < kMax)) return encode(x);
        constexpr uint32_t kLowest = 128u - kBias;  // the biased f32 exponent of the smallest normal number
        const uint32_t exponent = max(magnitude >> 23, kLowest);
        const float steps = __uint_as_float(magnitude) * __uint_as_float((254u + kMantissa - exponent) << 23);
        const float whole = truncf(steps);
        const uint32_t code = ((exponent - kLowest) << kMantissa) + static_cast<uint32_t>(whole) +
                              (u < __fsub_rn(steps, whole) ? 1u : 0u);
        return code | ((bits >> 24) & 0x80u);
    }

    static __device__ inline float decode(uint32_t code) {
        if constexpr (kIsE4m3) {
            // Exponent and mantissa one bit lower in an f16: the value times 2^-8, subnormals included. NaN would read
            // 480.
            const uint16_t half_bits = static_cast<uint16_t>(((code & 0x80u) << 8) | ((code & 0x7Fu) << 7));
            const float value = __half2float(__ushort_as_half(half_bits)) * 256.0f;
            return (code & 0x7Fu) == 0x7Fu ? __uint_as_float(0x7FFFFFFFu) : value;
        } else {
            return __half2float(__ushort_as_half(static_cast<uint16_t>(code << 8)));  // the upper byte of an f16
        }
    }
};

}  // namespace lowbit
