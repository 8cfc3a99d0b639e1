// One block, one row: what the fused kernels share. A source gives the row's elements in f32; here they are divided by
// the smoothing vector, rounded to T, written if asked for, and coded from the rounded values, so that codes and scales
// are exactly those that quantizing the written row would give.
//
//   T row[cols] = source [/ smooth]        scale = amax(row) / top, over the row or each 128 of it, or given codes
//
// 1. A thread owns eights of elements, blockDim.x eights apart: neighbouring threads touch neighbouring 16 bytes.
// 2. A scale per row needs all of the row: the eights wait in shared memory, in the thread's own places, so that
//    nothing is read twice from global memory and no barrier is needed but the reduction's.
// 3. A group of 128 is the eights of 16 neighbouring lanes: four shuffles, and codes at once.
#pragma once
#include "activation/params.cuh"
#include "activation/quotient.cuh"
#include "common/element.cuh"

namespace lowbit {

constexpr int kMaxThreads = 512;

// f(a, b) over the values of all threads of the block, the same order in every run. `scratch` may be used again after a
// barrier.
template <typename F>
__device__ __forceinline__ float reduce_block(float value, float (&scratch)[kMaxThreads / 32], const F& f) {
#pragma unroll
    for (int offset = 16; offset > 0; offset /= 2) value = f(value, __shfl_xor_sync(0xFFFFFFFFu, value, offset));
    if (threadIdx.x % 32 == 0) scratch[threadIdx.x / 32] = value;
    __syncthreads();
    float all = scratch[0];
    for (uint32_t i = 1; i < blockDim.x / 32; ++i) all = f(all, scratch[i]);
    return all;
}

// source(eight, at, count, v): elements at .. at + 8 of the row, of which `count` are there; v comes as zeros.
template <typename T, typename Code, typename Source>
__device__ __forceinline__ void finish_row(const ActivationParams& p, uint32_t row, Eight<T>* held,
                                           const Source& source) {
    __shared__ float scratch[kMaxThreads / 32];
    const bool aligned = p.aligned != 0;
    const uint32_t eights = (p.cols + 7) / 8, groups = (p.cols + kGroup - 1) / kGroup;
    T* out = p.row == 0 ? nullptr : reinterpret_cast<T*>(p.row) + static_cast<uint64_t>(row) * p.cols;
    uint8_t* codes = reinterpret_cast<uint8_t*>(p.codes) + static_cast<uint64_t>(row) * p.cols;
    float* scale = reinterpret_cast<float*>(p.scale);
    const auto store = [&](const Divisor<Code>& divisor, uint32_t at, const float (&v)[8]) {
        uint32_t code[8];
        divisor.encode(v, code);
        store_bytes8(codes + at, p.cols - at, aligned, code);
    };
    Divisor<Code> divisor(p.scales == Scales::kStatic ? *scale : 0.0f);

    float most = 0.0f;
    for (uint32_t base = 0; base < eights; base += blockDim.x) {  // whole warps stay together for the shuffles
        const uint32_t eight = base + threadIdx.x, at = 8 * eight;
        const bool real = eight < eights;
        float v[8] = {}, largest = 0.0f;
        if (real) {
            const int count = p.cols - at;
            source(eight, at, count, v);
            if (p.smooth != 0) {
                float smooth[8];
                load8(reinterpret_cast<const float*>(p.smooth) + at, count, aligned, smooth);
#pragma unroll
                for (int i = 0; i < 8; ++i)
                    if (i < count) v[i] = __fdividef(v[i], smooth[i]);
            }
            if (out != nullptr) store8(out + at, count, aligned, v);
            Eight<T> rounded;
#pragma unroll
            for (int i = 0; i < 8; ++i) {
                rounded.value[i] = from_f32<T>(v[i]);
                v[i] = to_f32(rounded.value[i]);
                if (i < count) largest = fmaxf(largest, fabsf(v[i]));  // fmaxf leaves a NaN out
            }
            if (p.scales == Scales::kToken) held[eight] = rounded;
        }
        most = fmaxf(most, largest);
        if (p.scales == Scales::kGroup) {
#pragma unroll
            for (int offset = 1; offset < 16; offset *= 2)
                largest = fmaxf(largest, __shfl_xor_sync(0xFFFFFFFFu, largest, offset));
            const float s = __fdiv_rn(fminf(largest, kLimit), Code::kTop);
            if (real && threadIdx.x % 16 == 0) scale[static_cast<uint64_t>(row) * groups + at / kGroup] = s;
            divisor = Divisor<Code>(s);
        }
        if (real && (p.scales == Scales::kStatic || p.scales == Scales::kGroup)) store(divisor, at, v);
    }
    if (p.scales != Scales::kToken) return;

    most = reduce_block(most, scratch, [](float a, float b) { return fmaxf(a, b); });
    const float s = __fdiv_rn(fminf(most, kLimit), Code::kTop);
    if (threadIdx.x == 0) scale[row] = s;
    divisor = Divisor<Code>(s);
    for (uint32_t eight = threadIdx.x; eight < eights; eight += blockDim.x) {
        const Eight<T> rounded = held[eight];
        float v[8];
#pragma unroll
        for (int i = 0; i < 8; ++i) v[i] = to_f32(rounded.value[i]);
        store(divisor, 8 * eight, v);
    }
}

}  // namespace lowbit
