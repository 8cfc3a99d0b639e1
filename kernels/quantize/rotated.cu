// nvcc: -fmad=false
// Quantize per group of a row, transformed on the way: offset, smoothing and rotation, statistics and codes in one
// read.
//
//   y = round to T of R(S((x - offset) / smoothing));   scale[, min] = statistics of the group;   codes = encode(y,
//   scale, min)
//
// The same codes and scales as the transform (transform.cu) and then the quantizer (rows.cuh) give; bounded by bytes
// and, with a wide rotation, by shuffles. Eights of elements are numbered through the rows and a lane has one, so an
// aligned run of lanes holds whole blocks of the rotation and whole groups, both powers of two up to a warp's 256
// elements. Where no column's number matters, rows without gaps are one row.
#include "common/element.cuh"
#include "quantize/code.cuh"
#include "quantize/transform.cuh"

namespace lowbit {

constexpr int kBlock = 256;

struct RotatedParams {
    uint64_t x;      // T[rows, row_stride]
    uint64_t codes;  // u8[rows, row_bytes], rows without gaps: columns are whole eights
    uint64_t scale;  // symmetric: f32[rows, cols / group]; asymmetric: f16
    uint64_t min;    // asymmetric: f16; else 0
    uint64_t row_stride;
    uint32_t count;       // eights
    uint32_t row_eights;  // eights of a row
    uint32_t group;       // eights of a group: a power of two up to 32
    uint32_t aligned;     // bit 0: every eight elements are 16-byte aligned; bit 1: their codes by their own size
    TransformParams transform;
};
static_assert(sizeof(RotatedParams) == 88 && offsetof(RotatedParams, transform) == 56,
              "RotatedParams is shared with Rust");

template <typename T, typename Code>
__device__ inline void quantize_rotated(const RotatedParams& p) {
    const uint32_t eight = blockIdx.x * kBlock + threadIdx.x;
    const bool real = eight < p.count;
    const uint32_t row = p.row_eights == p.count || !real ? 0 : eight / p.row_eights;
    const uint32_t col = 8 * (eight - row * p.row_eights);
    float y[8] = {};
    if (real) {
        const uint64_t at = row * p.row_stride + 8ull * (eight - row * p.row_eights);
        load8(reinterpret_cast<const T*>(p.x) + at, 8, (p.aligned & 1) != 0, y);
    }
    transform_input<T>(p.transform, col, real ? 8 : 0, y);
    float low = INFINITY, high = -INFINITY;
#pragma unroll
    for (int i = 0; i < 8; ++i) {
        const float v = sanitize(y[i]);
        low = fminf(low, v);
        high = fmaxf(high, v);
    }
#pragma unroll
    for (uint32_t lanes = 1; lanes < 32; lanes *= 2) {
        if (lanes >= p.group) break;
        low = fminf(low, __shfl_xor_sync(0xFFFFFFFFu, low, lanes));
        high = fmaxf(high, __shfl_xor_sync(0xFFFFFFFFu, high, lanes));
    }
    // Scales leave together, in whole sectors.
    __shared__ float scales[kBlock];
    __shared__ __half halves[2][kBlock];
    const bool first = (threadIdx.x & (p.group - 1)) == 0;
    const uint32_t region = threadIdx.x / p.group;
    float scale, min = 0.0f;
    if constexpr (Code::kAsymmetric) {
        const __half h = __float2half_rn(low);
        min = __half2float(h);
        const __half s = __float2half_rn(__fdiv_rn(__fsub_rn(__half2float(__float2half_rn(high)), min), Code::kTop));
        scale = __half2float(s);
        if (first) halves[0][region] = s, halves[1][region] = h;
    } else {
        scale = __fdiv_rn(fmaxf(fabsf(low), fabsf(high)), Code::kTop);
        if (first) scales[region] = scale;
    }
    __syncthreads();
    const uint32_t start = blockIdx.x * (kBlock / p.group) + threadIdx.x;
    if (threadIdx.x < kBlock / p.group && start < p.count / p.group) {
        if constexpr (Code::kAsymmetric) {
            reinterpret_cast<__half*>(p.scale)[start] = halves[0][threadIdx.x];
            reinterpret_cast<__half*>(p.min)[start] = halves[1][threadIdx.x];
        } else {
            reinterpret_cast<float*>(p.scale)[start] = scales[threadIdx.x];
        }
    }
    if (!real) return;
    uint32_t code[8];
#pragma unroll
    for (int i = 0; i < 8; ++i) code[i] = Code::encode(y[i], scale, min);
    uint8_t* codes = reinterpret_cast<uint8_t*>(p.codes) + static_cast<uint64_t>(eight) * Code::kBits;
    store_codes<Code>(codes, 8, (p.aligned & 2) != 0, code);
}

}  // namespace lowbit

// The instances: input type x code.
#define ROTATED(T, Real, code, Code)                                                     \
    extern "C" __global__ void __launch_bounds__(lowbit::kBlock)                         \
        quantize_rotated_##T##_##code(const __grid_constant__ lowbit::RotatedParams p) { \
        lowbit::quantize_rotated<Real, lowbit::Code>(p);                                 \
    }
#define ROTATED_OF(code, Code)       \
    ROTATED(f32, float, code, Code)  \
    ROTATED(f16, __half, code, Code) \
    ROTATED(bf16, __nv_bfloat16, code, Code)
ROTATED_OF(int8, Int8)
ROTATED_OF(int4, Int4)
ROTATED_OF(e4m3, E4m3)
ROTATED_OF(uint8, Uint8)
ROTATED_OF(uint4, Uint4)
ROTATED_OF(uint2, Uint2)
