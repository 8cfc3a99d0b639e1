// nvcc: -fmad=false
// [residual add +] RMSNorm [+ smoothing] -> row, codes. Defined by src/reference/activation.rs.
//
//   h = T(x + residual), written back to residual;  or h = x
//   row = T(h / sqrt(mean(h^2) + epsilon) * weight [/ smooth])      the rest is in row.cuh
//
// Bounded by bytes: x and residual are read once, what is asked for is written once. One block a row (grid: rows); h
// waits in shared memory for the row's sum of squares, in the place where the finished row then waits for its amax.
// Dynamic shared memory: ceil(cols / 8) * 16 bytes.
#include "activation/row.cuh"

namespace lowbit {

// load8 of what this kernel also writes: not through the read-only path.
template <typename T>
__device__ __forceinline__ void load8_written(const T* p, int count, bool aligned, float (&v)[8]) {
    Eight<T> raw;
    if (count >= 8 && aligned) {
        *reinterpret_cast<uint4*>(&raw) = *reinterpret_cast<const uint4*>(p);
    } else {
#pragma unroll
        for (int i = 0; i < 8; ++i) raw.value[i] = i < count ? p[i] : from_f32<T>(0.0f);
    }
#pragma unroll
    for (int i = 0; i < 8; ++i) v[i] = to_f32(raw.value[i]);
}

template <typename T, typename Code>
__device__ __forceinline__ void rms_norm(const ActivationParams& p) {
    extern __shared__ uint4 shared[];
    __shared__ float scratch[kMaxThreads / 32];
    Eight<T>* held = reinterpret_cast<Eight<T>*>(shared);
    const bool aligned = p.aligned != 0;
    const uint32_t row = blockIdx.x, eights = (p.cols + 7) / 8;
    const T* x = reinterpret_cast<const T*>(p.x) + row * p.x_stride;
    T* residual = p.other == 0 ? nullptr : reinterpret_cast<T*>(p.other) + row * p.other_stride;

    float squares = 0.0f;
    for (uint32_t eight = threadIdx.x; eight < eights; eight += blockDim.x) {
        const uint32_t at = 8 * eight;
        const int count = p.cols - at;
        Eight<T> h = load_raw(x + at, count, aligned);
        if (residual != nullptr) {
            float sum[8];
            load8_written(residual + at, count, aligned, sum);
#pragma unroll
            for (int i = 0; i < 8; ++i) {
                sum[i] += to_f32(h.value[i]);
                h.value[i] = from_f32<T>(sum[i]);
            }
            store8(residual + at, count, aligned, sum);
        }
#pragma unroll
        for (int i = 0; i < 8; ++i) {
            const float y = to_f32(h.value[i]);
            squares = __fmaf_rn(y, y, squares);
        }
        held[eight] = h;
    }
    squares = reduce_block(squares, scratch, [](float a, float b) { return a + b; });
    const float norm = __frcp_rn(__fsqrt_rn(__fadd_rn(__fdiv_rn(squares, p.cols), p.epsilon)));

    finish_row<T, Code>(p, row, held, [&](uint32_t eight, uint32_t at, int count, float (&v)[8]) {
        const Eight<T> h = held[eight];
        float weight[8];
        load8(reinterpret_cast<const T*>(p.weight) + at, count, aligned, weight);
#pragma unroll
        for (int i = 0; i < 8; ++i) v[i] = to_f32(h.value[i]) * norm * weight[i];
    });
}

}  // namespace lowbit

// The instances: model type x code.
#define NORM(T, Type, code, Code)                                                   \
    extern "C" __global__ void __launch_bounds__(lowbit::kMaxThreads)               \
        rms_norm_##T##_##code(const __grid_constant__ lowbit::ActivationParams p) { \
        lowbit::rms_norm<Type, lowbit::Code>(p);                                    \
    }
NORM(f16, __half, int8, Int8)
NORM(f16, __half, e4m3, E4m3)
NORM(bf16, __nv_bfloat16, int8, Int8)
NORM(bf16, __nv_bfloat16, e4m3, E4m3)
