// nvcc: -fmad=false
// f(gate) * up [/ smooth] -> row, codes, with f SiLU or GELU (common/gate.cuh). Defined by src/reference/activation.rs.
//
// Bounded by bytes: gate and up are read once. One block a row (grid: rows). Dynamic shared memory:
// ceil(cols / 8) * 16 bytes, for the finished row.
#include "activation/row.cuh"
#include "common/gate.cuh"

namespace lowbit {

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
