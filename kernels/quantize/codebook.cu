// nvcc: -fmad=false
// Rows of up to 256 columns to indices into a table of levels, with outlier slots, and back.
//
//   for each row:  [range, zero = statistics]   z = (x - zero) / range   codes = nearest level   slots = largest |z| >
//   1
//
// Statistics, codes and outliers in one read of the row, which a group of lanes holds in registers (codebook.cuh).
// 1. A block of 256 threads takes as many rows at a time as it has groups, so what there is of a row (range, zero,
// slots:
//    2 bytes and less each) leaves together, through shared memory, in whole sectors.
// 2. With range and zero per channel a group's rows are all of one head, and hold them in registers.
// targets: lowest
#include "quantize/codebook.cuh"

namespace lowbit {

// What a block shares: the table of channels if it fits, at the start, and range, zero and slots of its rows.
struct RowMeta {
    uint16_t* table;
    __half* range;
    __half* zero;
    uint16_t* value;
    uint8_t* channel;
};
__device__ inline RowMeta row_meta(const CodebookParams& p, uint32_t rows) {
    extern __shared__ uint4 shared[];
    uint16_t* table = reinterpret_cast<uint16_t*>(shared);
    uint16_t* meta = table + (p.aligned & 4 ? 2 * p.heads * p.cols : 0);
    __half* halves = reinterpret_cast<__half*>(meta);
    return {table, halves, halves + rows, meta + 2 * rows,
            reinterpret_cast<uint8_t*>(meta + 2 * rows + rows * p.slots)};
}

template <typename T>
__device__ inline void copy(T* to, const T* from, uint32_t count) {
    for (uint32_t i = threadIdx.x; i < count; i += kCodebookThreads) to[i] = from[i];
}

template <typename T>
__device__ inline T* rows_of(uint64_t pointer, uint64_t row, uint32_t width) {
    return reinterpret_cast<T*>(pointer) + row * width;
}

// kChannel: the eight channels' range and zero of the group's head, for all rows that the group goes through. A block
// whose table is small takes it through shared memory, behind the rows' part, so that its groups do not each read it.
__device__ inline void load_channels(const CodebookParams& p, uint16_t* shared, uint64_t row, uint32_t col, int count,
                                     float (&range)[8], float (&zero)[8]) {
    const uint32_t size = p.heads * p.cols;
    const uint16_t* ranges = reinterpret_cast<const uint16_t*>(p.range);
    const uint16_t* zeros = reinterpret_cast<const uint16_t*>(p.zero);
    if (p.aligned & 4) {
        copy(shared, ranges, size);
        copy(shared + size, zeros, size);
        __syncthreads();
        ranges = shared;
        zeros = shared + size;
    }
    const uint32_t at = static_cast<uint32_t>(row % p.heads) * p.cols + col;
    const bool wide = count == 8 && p.cols % 8 == 0 && ((p.aligned & 4) != 0 || (p.range | p.zero) % 16 == 0);
    Eight<uint16_t> r = {}, z = {};
    if (wide) {
        r = *reinterpret_cast<const Eight<uint16_t>*>(ranges + at);
        z = *reinterpret_cast<const Eight<uint16_t>*>(zeros + at);
    } else {
#pragma unroll
        for (int i = 0; i < 8; ++i)
            if (i < count) r.value[i] = ranges[at + i], z.value[i] = zeros[at + i];
    }
#pragma unroll
    for (int i = 0; i < 8; ++i) {
        range[i] = __half2float(__ushort_as_half(r.value[i]));
        zero[i] = __half2float(__ushort_as_half(z.value[i]));
    }
}

template <typename T, int Bits, Spread S>
__device__ inline void quantize(const CodebookParams& p) {
    __shared__ Book book;
    const uint32_t lane = threadIdx.x & (p.lanes - 1), group = threadIdx.x / p.lanes;
    const uint32_t rows = kCodebookThreads / p.lanes, col = 8 * lane;
    const int columns = min(max(static_cast<int>(p.cols) - static_cast<int>(col), 0), 8);
    const RowMeta meta = row_meta(p, rows);
    book.load(p);
    const uint64_t start = static_cast<uint64_t>(blockIdx.x) * rows;
    float range[8] = {}, zero[8] = {};
    if (S == Spread::kChannel)
        load_channels(p, meta.table, start + group, col, start + group < p.rows ? columns : 0, range, zero);
    __syncthreads();
    for (uint64_t base = start; base < p.rows; base += static_cast<uint64_t>(gridDim.x) * rows) {
        const uint64_t row = base + group;
        const int count = row < p.rows ? columns : 0;
        float x[8] = {};
        if (count > 0)
            load8(reinterpret_cast<const T*>(p.x) + row * p.row_stride + col, count, (p.aligned & 1) != 0, x);
        transform_input<T>(p.transform, col, count, x);
#pragma unroll
        for (int i = 0; i < 8; ++i) x[i] = sanitize(x[i]);
        float row_range = 0.0f, row_zero = 0.0f;
        if constexpr (S != Spread::kChannel) {
            Extent e = {};
            if constexpr (S == Spread::kRow) e = extent(x, count, lane, p.lanes, p.slots);
            if constexpr (S == Spread::kNorm) e.range = norm(x, p);
            row_range = __half2float(e.range), row_zero = __half2float(e.zero);
            if (lane == 0) meta.range[group] = e.range, meta.zero[group] = e.zero;
        }
        uint32_t q[8];
        int key[8];
#pragma unroll
        for (int i = 0; i < 8; ++i) {
            const float width = S == Spread::kChannel ? range[i] : row_range;
            const float offset = __fsub_rn(x[i], S == Spread::kChannel ? zero[i] : row_zero);
            const bool flat = width == 0.0f;
            const float z = flat ? 0.0f : __fdiv_rn(offset, width);
            q[i] = flat || i >= count ? 0 : book.nearest<Bits>(z);
            key[i] = i >= count ? -1 : flat && offset != 0.0f ? 0x7F800000 : magnitude(z);
        }
        store_row<Bits>(rows_of<uint8_t>(p.codes, row, (p.cols * Bits + 7) / 8), lane, count, (p.aligned & 2) != 0, q);
        for (uint32_t s = 0; s < p.slots; ++s) {
            const Candidate best = first(key, lane, p.lanes);
            const bool used = best.key > 0x3F800000;  // |z| > 1
            const uint32_t slot = group * p.slots + s;
            if (!used && lane == 0) meta.channel[slot] = kNoChannel, meta.value[slot] = kNoValue;
#pragma unroll
            for (int i = 0; i < 8; ++i) {
                if (!used || best.channel != col + i) continue;
                meta.channel[slot] = static_cast<uint8_t>(best.channel);
                meta.value[slot] = __half_as_ushort(__float2half_rn(x[i]));
            }
            take(key, lane, best.channel);
        }
        __syncthreads();
        const uint32_t here = static_cast<uint32_t>(min(p.rows - base, static_cast<uint64_t>(rows)));
        if constexpr (S != Spread::kChannel) copy(rows_of<__half>(p.range, base, 1), meta.range, here);
        if constexpr (S == Spread::kRow) copy(rows_of<__half>(p.zero, base, 1), meta.zero, here);
        copy(rows_of<uint8_t>(p.channel, base, p.slots), meta.channel, here * p.slots);
        copy(rows_of<uint16_t>(p.value, base, p.slots), meta.value, here * p.slots);
        __syncthreads();
    }
}

template <typename T, int Bits, bool PerChannel>
__device__ inline void dequantize(const CodebookParams& p) {
    __shared__ Book book;
    const uint32_t lane = threadIdx.x & (p.lanes - 1), group = threadIdx.x / p.lanes;
    const uint32_t rows = kCodebookThreads / p.lanes, col = 8 * lane;
    const int columns = min(max(static_cast<int>(p.cols) - static_cast<int>(col), 0), 8);
    const RowMeta meta = row_meta(p, rows);
    book.load(p);
    const uint64_t start = static_cast<uint64_t>(blockIdx.x) * rows;
    float range[8] = {}, zero[8] = {};
    if (PerChannel) load_channels(p, meta.table, start + group, col, start + group < p.rows ? columns : 0, range, zero);
    for (uint64_t base = start; base < p.rows; base += static_cast<uint64_t>(gridDim.x) * rows) {
        const uint64_t row = base + group;
        const int count = row < p.rows ? columns : 0;
        const uint32_t here = static_cast<uint32_t>(min(p.rows - base, static_cast<uint64_t>(rows)));
        uint32_t q[8];
        load_row<Bits>(rows_of<const uint8_t>(p.codes, row, (p.cols * Bits + 7) / 8), lane, count, (p.aligned & 2) != 0,
                       q);
        if (!PerChannel) copy(meta.range, rows_of<const __half>(p.range, base, 1), here);
        if (!PerChannel && p.zero != 0) copy(meta.zero, rows_of<const __half>(p.zero, base, 1), here);
        copy(meta.channel, rows_of<const uint8_t>(p.channel, base, p.slots), here * p.slots);
        copy(meta.value, rows_of<const uint16_t>(p.value, base, p.slots), here * p.slots);
        __syncthreads();
        if (count > 0) {
            float y[8];
            const float row_range = PerChannel ? 0.0f : __half2float(meta.range[group]);
            const float row_zero = PerChannel || p.zero == 0 ? 0.0f : __half2float(meta.zero[group]);
#pragma unroll
            for (int i = 0; i < 8; ++i) {
                const float r = PerChannel ? range[i] : row_range, z = PerChannel ? zero[i] : row_zero;
                y[i] = __fadd_rn(__fmul_rn(book.level[q[i]], r), z);
            }
            for (uint32_t s = 0; s < p.slots; ++s) {
                const uint32_t channel = meta.channel[group * p.slots + s];
                const uint16_t value = meta.value[group * p.slots + s];
                if (channel / 8 != lane || (value & 0x7FFFu) > 0x7C00u) continue;
#pragma unroll
                for (int i = 0; i < 8; ++i)
                    if (channel == col + i) y[i] = __half2float(__ushort_as_half(value));
            }
            store8(reinterpret_cast<T*>(p.x) + row * p.row_stride + col, count, (p.aligned & 1) != 0, y);
        }
        __syncthreads();
    }
}

}  // namespace lowbit

// At least three blocks a multiprocessor: left alone, ptxas takes the registers of four and spills.
#define KERNEL(name, call)                                                    \
    extern "C" __global__ void __launch_bounds__(lowbit::kCodebookThreads, 3) \
        name(const __grid_constant__ lowbit::CodebookParams p) {              \
        call(p);                                                              \
    }
// The instances: real type x bits x what range and zero are of.
#define CODEBOOK(T, Real, Bits)                                                                                   \
    KERNEL(codebook_quantize_##T##_nuq##Bits##_channel, (lowbit::quantize<Real, Bits, lowbit::Spread::kChannel>)) \
    KERNEL(codebook_quantize_##T##_nuq##Bits##_row, (lowbit::quantize<Real, Bits, lowbit::Spread::kRow>))         \
    KERNEL(codebook_quantize_##T##_nuq##Bits##_norm, (lowbit::quantize<Real, Bits, lowbit::Spread::kNorm>))       \
    KERNEL(codebook_dequantize_##T##_nuq##Bits##_channel, (lowbit::dequantize<Real, Bits, true>))                 \
    KERNEL(codebook_dequantize_##T##_nuq##Bits##_row, (lowbit::dequantize<Real, Bits, false>))
#define CODEBOOK_OF(T, Real) \
    CODEBOOK(T, Real, 2)     \
    CODEBOOK(T, Real, 3)     \
    CODEBOOK(T, Real, 4)
CODEBOOK_OF(f32, float)
CODEBOOK_OF(f16, __half)
CODEBOOK_OF(bf16, __nv_bfloat16)
