// nvcc: -fmad=false
// f(gate) * up [/ smooth] -> row, codes, with f SiLU or GELU. Defined by src/reference/activation.rs.
//
//   silu(x) = x * sigmoid(x)                                            sigmoid(x) = 1 / (1 + e^-x)
//   gelu(x) = x * sigmoid(2 sqrt(2 / pi) (x + 0.044715 x^3))            the tanh form: (1 + tanh u) / 2 = sigmoid(2 u)
//   gelu(x) = x / 2 * erfc(-x / sqrt 2)                                 the exact form; erfc keeps the left tail
//
// Bounded by bytes: gate and up are read once. One block a row (grid: rows). Dynamic shared memory:
// ceil(cols / 8) * 16 bytes, for the finished row.
#include "activation/row.cuh"
#include "common/convert.cuh"

namespace lowbit {

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

template <Gate G>
__device__ __forceinline__ void multiply_gated(float (&v)[8], const float (&up)[8]) {
#pragma unroll
    for (int i = 0; i < 8; ++i) v[i] = gated<G>(v[i]) * up[i];
}

template <typename T, typename Code>
__device__ __forceinline__ void gate_mul(const ActivationParams& p) {
    extern __shared__ uint4 shared[];
    const uint32_t row = blockIdx.x;
    const bool aligned = p.aligned != 0;
    const T* gate = reinterpret_cast<const T*>(p.x) + row * p.x_stride;
    const T* up = reinterpret_cast<const T*>(p.other) + row * p.other_stride;
    finish_row<T, Code>(p, row, reinterpret_cast<Eight<T>*>(shared),
                        [&](uint32_t, uint32_t at, int count, float (&v)[8]) {
                            float u[8];
                            load8(gate + at, count, aligned, v);
                            load8(up + at, count, aligned, u);
                            if (p.gate == Gate::kSilu) multiply_gated<Gate::kSilu>(v, u);
                            if (p.gate == Gate::kGeluTanh) multiply_gated<Gate::kGeluTanh>(v, u);
                            if (p.gate == Gate::kGeluErf) multiply_gated<Gate::kGeluErf>(v, u);
                        });
}

}  // namespace lowbit

// The instances: model type x code.
#define GATE(T, Type, code, Code)                                                   \
    extern "C" __global__ void __launch_bounds__(lowbit::kMaxThreads)               \
        gate_mul_##T##_##code(const __grid_constant__ lowbit::ActivationParams p) { \
        lowbit::gate_mul<Type, lowbit::Code>(p);                                    \
    }
GATE(f16, __half, int8, Int8)
GATE(f16, __half, e4m3, E4m3)
GATE(bf16, __nv_bfloat16, int8, Int8)
GATE(bf16, __nv_bfloat16, e4m3, E4m3)
