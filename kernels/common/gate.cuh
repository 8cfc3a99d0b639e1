// The functions of gated activations. Defined by src/reference/activation.rs.
//
//   silu(x) = x * sigmoid(x)                                            sigmoid(x) = 1 / (1 + e^-x)
//   gelu(x) = x * sigmoid(2 sqrt(2 / pi) (x + 0.044715 x^3))            the tanh form: (1 + tanh u) / 2 = sigmoid(2 u)
//   gelu(x) = x / 2 * erfc(-x / sqrt 2)                                 the exact form; erfc keeps the left tail
#pragma once
#include "common/convert.cuh"

namespace lowbit {

// The function of a gate (Gate in src/format/activation.rs).
enum class Gate : uint32_t { kSilu = 0, kGeluTanh = 1, kGeluErf = 2 };

// 1 / (1 + 2^x), relative error 2^-21; below 2^-126 it is 0.
__device__ __forceinline__ float sigmoid_of_minus_log2(float x) {
    float out;
    asm("rcp.approx.ftz.f32 %0, %1;" : "=f"(out) : "f"(1.0f + exp2_approx(x)));
    return out;
}

template <Gate G>
__device__ __forceinline__ float gated(float x) {
    constexpr float kLog2E = 1.44269504088896340736f;
    if constexpr (G == Gate::kSilu) return x * sigmoid_of_minus_log2(-kLog2E * x);
    if constexpr (G == Gate::kGeluTanh) {
        constexpr float kA = -2.0f * kLog2E * 0.79788456080286535588f, kB = kA * 0.044715f;
        return x * sigmoid_of_minus_log2(x * __fmaf_rn(kB * x, x, kA));
    }
    return 0.5f * x * erfcf(-0.70710678118654752440f * x);
}

}  // namespace lowbit
