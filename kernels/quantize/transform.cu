// nvcc: -fmad=false
// Offset, smoothing and rotation of a matrix, and the inverse; in place if the two buffers are one.
//
//   for each row:  out = R(S((x - offset) / smoothing)), or S(R(x)) * smoothing + offset
//
// Bounded by bytes.
// 1. A block takes a strip of `lanes` eights of columns and walks down the rows, so that the vectors are read once a
//    block and then held in registers. A warp holds 32 / lanes rows.
// 2. The vectors reach the block's warps through shared memory, each eight as two float4 that lie `lanes` apart: a
//    quarter warp's 16-byte reads are neighbours.
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

__device__ inline Vectors load_vectors(const TransformMatrixParams& p, uint32_t col, int count) {
    __shared__ float4 shared[4][32];
    const uint32_t lane = threadIdx.x & (p.lanes - 1);
    Vectors v;
    if (threadIdx.x < p.lanes) {
        float w[8] = {};
#pragma unroll
        for (int which = 0; which < 2; ++which) {
            const uint64_t vector = which == 0 ? p.transform.offset : p.transform.smoothing;
            if (vector != 0) load_vector(vector, col, count, static_cast<float>(which), w);
            shared[2 * which][lane] = make_float4(w[0], w[1], w[2], w[3]);
            shared[2 * which + 1][lane] = make_float4(w[4], w[5], w[6], w[7]);
        }
    }
    __syncthreads();
#pragma unroll
    for (int half = 0; half < 2; ++half) {
        reinterpret_cast<float4*>(v.offset)[half] = shared[half][lane];
        reinterpret_cast<float4*>(v.smoothing)[half] = shared[2 + half][lane];
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
    Vectors vector;
    if ((t.offset | t.smoothing) != 0) vector = load_vectors(p, col, columns);
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
