// nvcc: -fmad=false
// Quantize with a scale per row or per group of a row: statistics and codes in one launch, each element read once.
//
//   for each segment (a row, or `segment` consecutive elements of it):
//     scale[, min] = statistics of the segment;   codes = encode(x, scale, min)
//
// Bounded by bytes: 2 or 4 in and at most 1 out per element.
// 1. `threads` (a power of two, up to the block) share a segment; a thread takes eights of elements, `threads` eights
//    apart, so that neighbouring threads read neighbouring 16 bytes.
// 2. Between the two passes up to kHeld eights of a thread wait in shared memory, as they came and in the thread's own
//    places, so no barrier is needed; what a longer row has beyond 8 * kHeld * threads elements is read a second time.
// 3. The reduction is shuffles within `threads` lanes, and through shared memory when a whole block shares a segment.
//    A maximum does not depend on the order.
#include "common/element.cuh"
#include "quantize/code.cuh"
#include "quantize/params.cuh"

namespace lowbit {

constexpr int kBlock = 256;
constexpr int kHeld = 4;  // dynamic shared memory: kHeld (or fewer, if rows are short) x kBlock eights of T

struct Extremes {
    float low, high;
};

// Over the `threads` neighbours of this thread that share its segment.
__device__ inline Extremes reduce(Extremes e, uint32_t threads) {
    for (uint32_t offset = 1; offset < min(threads, 32u); offset *= 2) {
        e.low = fminf(e.low, __shfl_xor_sync(0xFFFFFFFFu, e.low, offset));
        e.high = fmaxf(e.high, __shfl_xor_sync(0xFFFFFFFFu, e.high, offset));
    }
    if (threads > 32) {  // then it is the block
        __shared__ Extremes warps[kBlock / 32];
        if (threadIdx.x % 32 == 0) warps[threadIdx.x / 32] = e;
        __syncthreads();
#pragma unroll
        for (int i = 0; i < kBlock / 32; ++i) {
            e.low = fminf(e.low, warps[i].low);
            e.high = fmaxf(e.high, warps[i].high);
        }
    }
    return e;
}

template <typename T, typename Code>
__device__ inline void quantize_rows(const QuantizeParams& p) {
    const uint32_t threads = p.threads, lane = threadIdx.x % threads;
    const uint32_t per_row = p.cols / p.segment;
    const uint64_t segment = static_cast<uint64_t>(blockIdx.x) * (kBlock / threads) + threadIdx.x / threads;
    const bool real = segment < static_cast<uint64_t>(p.rows) * per_row;  // the others shuffle along
    const uint64_t row = real ? segment / per_row : 0;
    const uint32_t first = real ? static_cast<uint32_t>(segment % per_row) * p.segment : 0;
    const uint32_t length = real ? p.segment : 0;
    const T* x = reinterpret_cast<const T*>(p.x) + row * p.row_stride + first;
    uint8_t* codes = reinterpret_cast<uint8_t*>(p.codes) + row * p.row_bytes + first / 8 * Code::kBits;
    const bool aligned = p.aligned != 0;

    extern __shared__ uint4 shared[];
    Eight<T>* held = reinterpret_cast<Eight<T>*>(shared) + threadIdx.x;
    Extremes e = {INFINITY, -INFINITY};
#pragma unroll 1
    for (uint32_t at = 8 * lane, k = 0; at < length; at += 8 * threads, ++k) {
        const Eight<T> raw = load_raw(x + at, length - at, aligned);
        if (k < kHeld) held[k * kBlock] = raw;
#pragma unroll
        for (int i = 0; i < 8; ++i) {
            if (at + i < length) {
                const float y = sanitize(to_f32(raw.value[i]));
                e.low = fminf(e.low, y);
                e.high = fmaxf(e.high, y);
            }
        }
    }
    e = reduce(e, threads);
    if (!real) return;

    float scale, low = 0.0f;
    if constexpr (Code::kAsymmetric) {
        const __half h = __float2half_rn(e.low);
        low = __half2float(h);
        const __half s = __float2half_rn(__fdiv_rn(__fsub_rn(__half2float(__float2half_rn(e.high)), low), Code::kTop));
        scale = __half2float(s);
        if (lane == 0) {
            reinterpret_cast<__half*>(p.scale)[segment] = s;
            reinterpret_cast<__half*>(p.min)[segment] = h;
        }
    } else {
        scale = __fdiv_rn(fmaxf(fabsf(e.low), fabsf(e.high)), Code::kTop);
        if (lane == 0) reinterpret_cast<float*>(p.scale)[segment] = scale;
    }

#pragma unroll 1
    for (uint32_t at = 8 * lane, k = 0; at < length; at += 8 * threads, ++k) {
        const Eight<T> raw = k < kHeld ? held[k * kBlock] : load_raw(x + at, length - at, aligned);
        uint32_t code[8];
#pragma unroll
        for (int i = 0; i < 8; ++i) code[i] = Code::encode(to_f32(raw.value[i]), scale, low);
        store_codes<Code>(codes + at / 8 * Code::kBits, length - at, aligned, code);
    }
}

}  // namespace lowbit

// The instances: input type x code.
#define ROWS(name, T, Code)                                                      \
    extern "C" __global__ void __launch_bounds__(lowbit::kBlock)                 \
        quantize_rows_##name(const __grid_constant__ lowbit::QuantizeParams p) { \
        lowbit::quantize_rows<T, lowbit::Code>(p);                               \
    }
#define ROWS_OF(code, Code)        \
    ROWS(f32_##code, float, Code)  \
    ROWS(f16_##code, __half, Code) \
    ROWS(bf16_##code, __nv_bfloat16, Code)
ROWS_OF(int8, Int8)
ROWS_OF(int4, Int4)
ROWS_OF(e4m3, E4m3)
ROWS_OF(e5m2, E5m2)
ROWS_OF(uint8, Uint8)
ROWS_OF(uint4, Uint4)
ROWS_OF(uint2, Uint2)
