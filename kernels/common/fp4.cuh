// The 4-bit float E2M1 <-> f32 and the exponent E8M0, as src/format/e2m1.rs defines them.
//
//   E2m1::encode(x)   nearest code, ties to even, saturating at 6; NaN -> 7; sign of zero kept
//   E2m1::decode(c)   exact
#pragma once
#include <cstdint>

namespace lowbit {

struct E2m1 {
    // Steps are 0.5 below 2, 1 below 4, then 2: adding 2^23 steps lets the adder round. Codes go on across binades:
    // 2 = 4 halves = code 4 = 2 ones + 2 = 1 two + 3.
    static __device__ inline uint32_t encode(float x) {
        const uint32_t bits = __float_as_uint(x);
        const float magnitude = fminf(fabsf(x), 6.0f);  // NaN -> 6
        const bool wide = magnitude >= 4.0f, middle = magnitude >= 2.0f;
        const float shift = wide ? 16777216.0f : middle ? 8388608.0f : 4194304.0f;
        const uint32_t steps = __float_as_uint(__fadd_rn(magnitude, shift)) - __float_as_uint(shift);
        const uint32_t code = steps + (wide ? 4u : middle ? 2u : 0u);
        return x != x ? 7u : code | ((bits >> 28) & 8u);
    }

    static __device__ inline float decode(uint32_t code) {
        // Exponent and mantissa on top of an f32's; code 1 is subnormal, so through a product.
        const float magnitude = __uint_as_float((code & 7u) << 22) * 0x1p126f;
        return __uint_as_float(__float_as_uint(magnitude) | ((code & 8u) << 28));
    }
};

// 2^(code - 127).
__device__ inline float decode_e8m0(uint32_t code) {
    return __uint_as_float(code == 0 ? 1u << 22 : code == 255 ? 0x7FFFFFFFu : code << 23);
}

}  // namespace lowbit
