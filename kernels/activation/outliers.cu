// nvcc: -fmad=false
// LLM.int8() (Dettmers et al., arXiv 2208.07339, section 3.2): columns with an outlier leave the int8 matrix and stay
// in the model's type. Defined by src/reference/outliers.rs.
//
//   outlier_mask      mask[column] |= |x| >= threshold, over all rows           mask zeroed by the caller
//   outlier_list      the set columns, ascending, the first `cap` of them; count, and whether there are more
//   outlier_quantize  codes and scale of each row without the listed columns, whose code is 0; their values beside
//
// Bounded by bytes; x is read twice, because any row can make a column an outlier. Nothing depends on the order of
// blocks: a mask is an OR, and the list is made by one block.
// targets: lowest
#include "activation/row.cuh"

namespace lowbit {

constexpr int kMaskThreads = 128, kListThreads = 512;
constexpr uint32_t kNoColumn = 0xFFFFFFFFu;

struct OutlierParams {
    uint64_t x;        // T[rows, x_stride]
    uint64_t mask;     // u32[ceil(cols / 32)], a bit a column
    uint64_t columns;  // u32[cap], kNoColumn behind the last
    uint64_t count;    // u32[2]: columns found, and 1 if they are more than cap
    uint64_t codes;    // u8[rows, cols]
    uint64_t scale;    // f32[rows]
    uint64_t values;   // T[rows, cap], 0 behind the last
    uint64_t x_stride;
    uint32_t rows;
    uint32_t cols;
    uint32_t cap;
    float threshold;
    uint32_t aligned;  // every eight elements of every row are 16-byte aligned, and their codes 8-byte aligned
    uint32_t reserved;
};
static_assert(sizeof(OutlierParams) == 88 && offsetof(OutlierParams, rows) == 64 &&
                  offsetof(OutlierParams, aligned) == 80,
              "OutlierParams is shared with Rust");

// A thread owns eight columns; blockIdx.y and its multiples of gridDim.y are its rows.
template <typename T>
__device__ __forceinline__ void mask_outliers(const OutlierParams& p) {
    const uint32_t at = 8 * (blockIdx.x * kMaskThreads + threadIdx.x);
    uint32_t found = 0;
    if (at < p.cols) {
        for (uint64_t row = blockIdx.y; row < p.rows; row += gridDim.y) {
            float v[8];
            load8(reinterpret_cast<const T*>(p.x) + row * p.x_stride + at, p.cols - at, p.aligned != 0, v);
#pragma unroll
            for (int i = 0; i < 8; ++i) found |= static_cast<uint32_t>(fabsf(v[i]) >= p.threshold) << i;
        }
        if (p.cols - at < 8) found &= (1u << (p.cols - at)) - 1;
    }
    found <<= at % 32;  // four lanes share a word
    found |= __shfl_xor_sync(0xFFFFFFFFu, found, 1);
    found |= __shfl_xor_sync(0xFFFFFFFFu, found, 2);
    if (threadIdx.x % 4 == 0 && found != 0) atomicOr(reinterpret_cast<uint32_t*>(p.mask) + at / 32, found);
}

// One block; a thread owns consecutive words.
__device__ __forceinline__ void list_outliers(const OutlierParams& p) {
    __shared__ uint32_t warps[kListThreads / 32];
    uint32_t* mask = reinterpret_cast<uint32_t*>(p.mask);
    uint32_t* columns = reinterpret_cast<uint32_t*>(p.columns);
    const uint32_t words = (p.cols + 31) / 32, each = (words + kListThreads - 1) / kListThreads;
    const uint32_t first = threadIdx.x * each, end = min(first + each, words);
    uint32_t mine = 0;
    for (uint32_t word = first; word < end; ++word) mine += __popc(mask[word]);
    uint32_t before = mine;  // of the warp, this thread's included
#pragma unroll
    for (int offset = 1; offset < 32; offset *= 2) {
        const uint32_t other = __shfl_up_sync(0xFFFFFFFFu, before, offset);
        if (threadIdx.x % 32 >= offset) before += other;
    }
    if (threadIdx.x % 32 == 31) warps[threadIdx.x / 32] = before;
    __syncthreads();
    uint32_t place = before - mine, total = 0;
    for (uint32_t i = 0; i < kListThreads / 32; ++i) {
        if (i < threadIdx.x / 32) place += warps[i];
        total += warps[i];
    }
    for (uint32_t word = first; word < end; ++word) {
        for (uint32_t bits = mask[word]; bits != 0; bits &= bits - 1, ++place) {
            const uint32_t bit = __ffs(bits) - 1;
            if (place < p.cap) {
                columns[place] = 32 * word + bit;
            } else {
                mask[word] &= ~(1u << bit);  // it stays among the codes
            }
        }
    }
    for (uint32_t i = total + threadIdx.x; i < p.cap; i += kListThreads) columns[i] = kNoColumn;
    if (threadIdx.x == 0) {
        reinterpret_cast<uint32_t*>(p.count)[0] = total;
        reinterpret_cast<uint32_t*>(p.count)[1] = total > p.cap;
    }
}

// A block a row. Dynamic shared memory: the row, ceil(cols / 8) * 16 bytes.
template <typename T>
__device__ __forceinline__ void quantize_others(const OutlierParams& p) {
    extern __shared__ uint4 shared[];
    __shared__ float scratch[kMaxThreads / 32];
    Eight<T>* held = reinterpret_cast<Eight<T>*>(shared);
    const bool aligned = p.aligned != 0;
    const uint32_t row = blockIdx.x, eights = (p.cols + 7) / 8;
    const T* x = reinterpret_cast<const T*>(p.x) + row * p.x_stride;
    const uint8_t* mask = reinterpret_cast<const uint8_t*>(p.mask);  // a byte an eight: words are little endian

    float most = 0.0f;
    for (uint32_t eight = threadIdx.x; eight < eights; eight += blockDim.x) {
        const Eight<T> raw = load_raw(x + 8 * eight, p.cols - 8 * eight, aligned);
        const uint32_t out = mask[eight];
        held[eight] = raw;
#pragma unroll
        for (int i = 0; i < 8; ++i)
            if ((out >> i & 1) == 0) most = fmaxf(most, fabsf(to_f32(raw.value[i])));  // fmaxf leaves a NaN out
    }
    most = reduce_block(most, scratch, [](float a, float b) { return fmaxf(a, b); });
    const float scale = __fdiv_rn(fminf(most, kLimit), Int8::kTop);
    if (threadIdx.x == 0) reinterpret_cast<float*>(p.scale)[row] = scale;

    const Divisor<Int8> divisor(scale);
    uint8_t* codes = reinterpret_cast<uint8_t*>(p.codes) + static_cast<uint64_t>(row) * p.cols;
    for (uint32_t eight = threadIdx.x; eight < eights; eight += blockDim.x) {
        const Eight<T> raw = held[eight];
        const uint32_t out = mask[eight];
        float v[8];
        uint32_t code[8];
#pragma unroll
        for (int i = 0; i < 8; ++i) v[i] = (out >> i & 1) == 0 ? to_f32(raw.value[i]) : 0.0f;
        divisor.encode(v, code);
        store_bytes8(codes + 8 * eight, p.cols - 8 * eight, aligned, code);
    }
    // The barrier of the reduction has made the whole row visible.
    T* values = reinterpret_cast<T*>(p.values) + static_cast<uint64_t>(row) * p.cap;
    for (uint32_t i = threadIdx.x; i < p.cap; i += blockDim.x) {
        const uint32_t column = reinterpret_cast<const uint32_t*>(p.columns)[i];
        values[i] = column == kNoColumn ? from_f32<T>(0.0f) : reinterpret_cast<const T*>(shared)[column];
    }
}

}  // namespace lowbit

extern "C" __global__ void __launch_bounds__(lowbit::kListThreads)
    outlier_list(const __grid_constant__ lowbit::OutlierParams p) {
    lowbit::list_outliers(p);
}
#define OUTLIERS(T, Type)                                                       \
    extern "C" __global__ void __launch_bounds__(lowbit::kMaskThreads)          \
        outlier_mask_##T(const __grid_constant__ lowbit::OutlierParams p) {     \
        lowbit::mask_outliers<Type>(p);                                         \
    }                                                                           \
    extern "C" __global__ void __launch_bounds__(lowbit::kMaxThreads)           \
        outlier_quantize_##T(const __grid_constant__ lowbit::OutlierParams p) { \
        lowbit::quantize_others<Type>(p);                                       \
    }
OUTLIERS(f16, __half)
OUTLIERS(bf16, __nv_bfloat16)
