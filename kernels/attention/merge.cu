// Merging of attention results over disjoint sets of keys (Dao et al. 2023, "Flash-Decoding"; FlashInfer's
// merge_state):
//
//   lse = log sum_i exp(lse_i)        out = sum_i exp(lse_i - lse) * out_i
//
// in the order of the parts, in f32. A part with lse -inf saw nothing: its out is not read. All parts empty: out 0, lse
// -inf. One warp a row. attend_merge adds the chunks of attend; merge_states is the operation for callers.
// targets: lowest
#include "attention/params.cuh"
#include "common/convert.cuh"

using namespace lowbit;

namespace {

// CHANNELS of the lane of one row; `load(i, x)` reads those of part i. `sink` is one more part, without an output.
template <int CHANNELS, class Load>
__device__ __forceinline__ float merge(const float* lse, int64_t lse_stride, int parts, float sink, const Load& load,
                                       float (&sum)[CHANNELS]) {
    float top = sink;
    for (int i = 0; i < parts; ++i) top = fmaxf(top, lse[i * lse_stride]);
    float total = sink != -INFINITY ? exp2_approx((sink - top) * LOG2_E) : 0.0f;
#pragma unroll
    for (int c = 0; c < CHANNELS; ++c) sum[c] = 0.0f;
    for (int i = 0; i < parts; ++i) {
        const float part = lse[i * lse_stride];
        if (part == -INFINITY) continue;
        const float weight = exp2_approx((part - top) * LOG2_E);
        total += weight;
        float x[CHANNELS];
        load(i, x);
#pragma unroll
        for (int c = 0; c < CHANNELS; ++c) sum[c] = fmaf(weight, x[c], sum[c]);
    }
    if (total == 0.0f) return -INFINITY;
    const float over = 1.0f / total;
#pragma unroll
    for (int c = 0; c < CHANNELS; ++c) sum[c] *= over;
    return top + log2_approx(total) * LN_2;
}

template <int D>
__device__ __forceinline__ void merge_chunks(const AttendParams& p) {
    const int lane = threadIdx.x & 31, sequence = blockIdx.y;
    const kv::Sequence own = kv::load_sequence(p.kv, p.batch, sequence);
    const int chunks = p.parts != 0 ? p.parts : chunk_count(min(own.n, p.max_len));
    const int index = blockIdx.x * (blockDim.x / 32) + (threadIdx.x >> 5);
    if (chunks <= 1 || index >= own.m * p.heads) return;
    const int64_t row = own.row0 + index / p.heads, head = index % p.heads;
    const int64_t at = row * p.heads + head;
    const float* parts = reinterpret_cast<const float*>(p.parts_out) + at * p.max_chunks * D;
    constexpr int CHANNELS = (D + 63) / 64 * 2;  // of a lane: 64c + 2 lane, +1
    float sum[CHANNELS];
    const float lse = merge<CHANNELS>(
        reinterpret_cast<const float*>(p.parts_lse) + at * p.max_chunks, 1, chunks, sink_logit(p, head),
        [&](int i, float (&x)[CHANNELS]) {
#pragma unroll
            for (int c = 0; c < CHANNELS; c += 2) {
                float2 pair = {0.0f, 0.0f};
                if (D % 64 == 0 || 32 * c + 2 * lane < D) {
                    pair = *reinterpret_cast<const float2*>(parts + i * D + 32 * c + 2 * lane);
                }
                x[c] = pair.x;
                x[c + 1] = pair.y;
            }
        },
        sum);
#pragma unroll
    for (int c = 0; c < CHANNELS; c += 2) {
        if (D % 64 != 0 && 32 * c + 2 * lane >= D) continue;
        const uint64_t to = p.out + 2 * (row * p.out_stride + head * D + 32 * c + 2 * lane);
        *reinterpret_cast<uint32_t*>(to) = pack_16(static_cast<DType>(p.kv.dtype), sum[c], sum[c + 1]);
    }
    if (lane == 0 && p.lse != 0) reinterpret_cast<float*>(p.lse)[at] = lse;
}

__device__ __forceinline__ float load_element(DType dtype, uint64_t base, int64_t at) {
    if (dtype == DType::F32) return reinterpret_cast<const float*>(base)[at];
    const uint32_t bits = reinterpret_cast<const uint16_t*>(base)[at];
    return unpack_16(dtype, bits).x;
}

}  // namespace

struct MergeParams {
    uint64_t parts_out;  // [parts, rows, head_dim] of `dtype`
    uint64_t parts_lse;  // f32 [parts, rows]
    uint64_t out;        // [rows, head_dim] of `dtype`
    uint64_t lse;        // f32 [rows], or 0
    int64_t rows;
    int32_t parts;
    int32_t head_dim;  // a multiple of 32
    uint32_t dtype;
    uint32_t reserved;
};
static_assert(sizeof(MergeParams) == 56 && offsetof(MergeParams, rows) == 32 && offsetof(MergeParams, dtype) == 48,
              "MergeParams is shared with Rust");

extern "C" __global__ void __launch_bounds__(128) attend_merge_d64(const __grid_constant__ AttendParams p) {
    merge_chunks<64>(p);
}

extern "C" __global__ void __launch_bounds__(128) attend_merge_d128(const __grid_constant__ AttendParams p) {
    merge_chunks<128>(p);
}

extern "C" __global__ void __launch_bounds__(128) attend_merge_d80(const __grid_constant__ AttendParams p) {
    merge_chunks<80>(p);
}

extern "C" __global__ void __launch_bounds__(128) attend_merge_d96(const __grid_constant__ AttendParams p) {
    merge_chunks<96>(p);
}

extern "C" __global__ void __launch_bounds__(128) attend_merge_d112(const __grid_constant__ AttendParams p) {
    merge_chunks<112>(p);
}

extern "C" __global__ void __launch_bounds__(128) attend_merge_d192(const __grid_constant__ AttendParams p) {
    merge_chunks<192>(p);
}

extern "C" __global__ void __launch_bounds__(128) attend_merge_d256(const __grid_constant__ AttendParams p) {
    merge_chunks<256>(p);
}

extern "C" __global__ void __launch_bounds__(128) merge_states(const __grid_constant__ MergeParams p) {
    const int lane = threadIdx.x & 31;
    const int64_t row = static_cast<int64_t>(blockIdx.x) * (blockDim.x / 32) + (threadIdx.x >> 5);
    if (row >= p.rows) return;
    const DType dtype = static_cast<DType>(p.dtype);
    for (int first = 0; first < p.head_dim; first += 32) {
        const int64_t channel = first + lane;
        float sum[1];
        const float lse = merge<1>(
            reinterpret_cast<const float*>(p.parts_lse) + row, p.rows, p.parts, -INFINITY,
            [&](int i, float (&x)[1]) {
                x[0] = load_element(dtype, p.parts_out, (i * p.rows + row) * p.head_dim + channel);
            },
            sum);
        const int64_t at = row * p.head_dim + channel;
        if (dtype == DType::F32) {
            reinterpret_cast<float*>(p.out)[at] = sum[0];
        } else {
            reinterpret_cast<uint16_t*>(p.out)[at] = static_cast<uint16_t>(pack_16(dtype, sum[0], 0.0f));
        }
        if (first == 0 && lane == 0 && p.lse != 0) reinterpret_cast<float*>(p.lse)[row] = lse;
    }
}
