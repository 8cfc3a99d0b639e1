// nvcc: -fmad=false
// Offset, smoothing and rotation of a matrix, and the inverse; in place if the two buffers are one.
//
//   for each row:  out = R(S((x - offset) / smoothing)), or S(R(x)) * smoothing + offset
//
// Bounded by bytes.
// 1. A block takes a strip of `lanes` eights of columns and walks down the rows, so that the vectors are read once a
//    block and then held in registers. A warp holds 32 / lanes rows.
// 2. The vectors reach the block's warps through shared memory, each eight as two float4 in rows of their own: a
//    quarter warp's 16-byte reads are neighbours.
// targets: lowest
#include "common/element.cuh"
#include "quantize/transform.cuh"

namespace lowbit {

constexpr int kBlock = 256;

struct TransformMatrixParams {
    uint64_t x;    // T[rows, row_stride]
    uint64_t out;  // T[rows, row_stride]
    uint64_t row_stride;
    uint32_t rows;
    uint32_t cols;
    uint32_t lanes;    // eights of a strip: a power of two, 1 .. 32, at least block / 8
    uint32_t aligned;  // every eight elements from a row's start are 16-byte aligned in x and out
    TransformParams transform;
};
static_assert(sizeof(TransformMatrixParams) == 72 && offsetof(TransformMatrixParams, transform) == 40,
              "TransformMatrixParams is shared with Rust");

// load8 without the read-only cache, which memory that the kernel also writes must not pass through.
template <typename T>
__device__ inline void load_in_place(const T* p, int count, bool aligned, float (&v)[8]) {
    Eight<T> raw = {};
    if (count >= 8 && aligned) {
        raw = *reinterpret_cast<const Eight<T>*>(p);
    } else {
#pragma unroll
        for (int i = 0; i < 8; ++i)
            if (i < count) raw.value[i] = p[i];
    }
#pragma unroll
    for (int i = 0; i < 8; ++i) v[i] = to_f32(raw.value[i]);
}

struct Vectors {
    float offset[8], smoothing[8];
};

__device__ inline Vectors load_vectors(const TransformMatrixParams& p) {
    // Four more a row: the halves that neighbouring threads write lie in other banks.
    __shared__ float4 shared[4][36];
    const uint32_t lane = threadIdx.x & (p.lanes - 1);
    // Quarter `i` of the strip's columns by thread i: neighbours in memory.
    const uint32_t first = blockIdx.x * p.lanes * 8 + 4 * threadIdx.x;
    const int left = min(max(static_cast<int>(p.cols) - static_cast<int>(first), 0), 4);
#pragma unroll
    for (int which = 0; which < 2; ++which) {
        const uint64_t vector = which == 0 ? p.transform.offset : p.transform.smoothing;
        if (vector == 0 || threadIdx.x >= 2 * p.lanes) continue;
        const float* from = reinterpret_cast<const float*>(vector) + first;
        const float other = static_cast<float>(which);
        float4 v = make_float4(other, other, other, other);
        if (left == 4 && reinterpret_cast<uint64_t>(from) % 16 == 0) {
            v = __ldg(reinterpret_cast<const float4*>(from));
        } else {
            if (left > 0) v.x = from[0];
            if (left > 1) v.y = from[1];
            if (left > 2) v.z = from[2];
            if (left > 3) v.w = from[3];
        }
        shared[2 * which + threadIdx.x % 2][threadIdx.x / 2] = v;
    }
    __syncthreads();
    Vectors v = {};
#pragma unroll
    for (int half = 0; half < 2; ++half) {
        if (p.transform.offset != 0) reinterpret_cast<float4*>(v.offset)[half] = shared[half][lane];
        if (p.transform.smoothing != 0) reinterpret_cast<float4*>(v.smoothing)[half] = shared[2 + half][lane];
    }
    return v;
}

template <typename T, bool Inverse>
__device__ inline void transform(const TransformMatrixParams& p) {
    const TransformParams& t = p.transform;
    const uint32_t lane = threadIdx.x & (p.lanes - 1), first = threadIdx.x / p.lanes, rows = kBlock / p.lanes;
    const uint64_t at = 8ull * (static_cast<uint64_t>(blockIdx.x) * p.lanes + lane);
    const uint32_t col = static_cast<uint32_t>(at);
    const int columns = at < p.cols ? static_cast<int>(min(p.cols - col, 8u)) : 0;
    Vectors vector = {};
    if ((t.offset | t.smoothing) != 0) vector = load_vectors(p);
    // All lanes of a warp stay to the last row of any, for the shuffles.
    for (uint64_t base = static_cast<uint64_t>(blockIdx.y) * rows; base < p.rows;
         base += static_cast<uint64_t>(gridDim.y) * rows) {
        const uint64_t row = base + first;
        const int count = row < p.rows ? columns : 0;
        const uint64_t place = row * p.row_stride + col;
        float v[8] = {};
        if (count > 0) load_in_place(reinterpret_cast<const T*>(p.x) + place, count, p.aligned != 0, v);
        if (!Inverse) {
#pragma unroll
            for (int i = 0; i < 8; ++i) {
                if (t.offset != 0) v[i] = __fsub_rn(v[i], vector.offset[i]);
                if (t.smoothing != 0) v[i] = __fdiv_rn(v[i], vector.smoothing[i]);
            }
            change_signs(t, col, v);
        }
        rotate(t, v);
        if (Inverse) {
            change_signs(t, col, v);
#pragma unroll
            for (int i = 0; i < 8; ++i) {
                if (t.smoothing != 0) v[i] = __fmul_rn(v[i], vector.smoothing[i]);
                if (t.offset != 0) v[i] = __fadd_rn(v[i], vector.offset[i]);
            }
        }
        if (count > 0) store8(reinterpret_cast<T*>(p.out) + place, count, p.aligned != 0, v);
    }
}

}  // namespace lowbit

#define KERNEL(name, T, Inverse)                                        \
    extern "C" __global__ void __launch_bounds__(lowbit::kBlock)        \
        name(const __grid_constant__ lowbit::TransformMatrixParams p) { \
        lowbit::transform<T, Inverse>(p);                               \
    }
KERNEL(transform_f32, float, false)
KERNEL(transform_f16, __half, false)
KERNEL(transform_bf16, __nv_bfloat16, false)
KERNEL(transform_inverse_f32, float, true)
KERNEL(transform_inverse_f16, __half, true)
KERNEL(transform_inverse_bf16, __nv_bfloat16, true)
