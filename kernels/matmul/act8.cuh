// Products of 8-bit activations y[m][n] = sx[m] * sum_k x[m][k] * w[n][k]: the frame that the weight formats share.
// A format (bytes.cuh, w4a8.cuh) says how a block of weights is loaded, multiplied and scaled.
//
// Naive:  for n, m:  y[m][n] = sx[m] * sw[n] * sum_k x[m][k] * w[n][k]
//
// Up to 32 rows of x, bound by the bytes of w; beyond, by the tensor cores. The idea is that of skinny.cuh (weights are
// the A operand, packed in the order of fragments; parts of k are contiguous runs of blocks, by shape and device only;
// partial sums in the order of k), and:
//  1. x are bytes, so a lane's 8 neighbours of x are the B fragment of one mma of 32 k (or two of 16):
//        step s of a block of 128, lane (g, t), register b, byte e   <->   k = 32*s + 8*t + 4*b + e
//  2. Up to four tiles of 8 rows share the decoded weights. Lanes of absent rows read the last row there is: the
//  columns of a
//     product do not meet, and those are not stored.
//  3. Tiled (more than 32 rows): the 8 warps of a CTA are 8 row tiles; 64 rows of x pass through shared memory, copied
//     asynchronously two blocks deep, and every weight is read once for them.
// Integer sums are exact, whatever their order. A row of y is bitwise the same whatever the other rows hold and, within
// 32 rows and beyond, however many there are.
//
// Shared memory: 8 warps x 8 columns x 20 words for each tile of 8 rows; tiled: the same, x before it. Workspace, with
// gridDim.y > 1: sums [split][m][16 * row_tiles], and counters [gridDim.z][gridDim.x], which must be 0 and are left 0.
#pragma once
#include <cstddef>
#include <cstdint>

#include "common/cp_async.cuh"
#include "matmul/skinny.cuh"

namespace lowbit {

struct Act8Params {
    uint64_t codes;            // packed codes of w
    uint64_t meta;             // scales of w
    uint64_t zeros;            // 4-bit zeros, or 0
    uint64_t sums;             // i32 [16 * row_tiles]: codes of w summed over k; with x_zero only
    uint64_t x;                // bytes (LLM.int8(), dense: f16, bf16) [m][k], row stride x_stride
    uint64_t x_scale;          // f32, of row r and group i at r * x_scale_stride + i
    uint64_t x_zero;           // i32, of row r at r * x_zero_stride, or 0: x = (code - zero) * scale
    uint64_t bias;             // type of out, [n], or 0
    uint64_t residual;         // type of out, [m][n], row stride residual_stride, or 0
    uint64_t out;              // f32, f16 or bf16 [m][n], row stride out_stride
    uint64_t partials;         // only with splits > 1
    uint64_t counters;         // u32 [gridDim.z][gridDim.x], only with splits > 1
    uint64_t outlier_columns;  // u32 [outlier_cap], columns of x that are not among its codes
    uint64_t outlier_count;    // u32 [2]: how many, and 1 if they are more than outlier_cap; or 0: no outliers
    uint64_t outlier_values;   // outlier_type [m][outlier_cap]
    uint64_t x_stride;         // strides in elements
    uint64_t residual_stride;
    uint64_t out_stride;
    uint32_t m, n, k;
    uint32_t row_tiles;     // ceil(n / 16)
    uint32_t tiles;         // 512-byte tiles along k in a row tile
    uint32_t blocks;        // blocks of 128 k
    uint32_t x_aligned;     // 1: base and stride of x allow a lane's 8 elements in one access (tiled: 16 bytes)
    uint32_t meta_blocks;   // records of scales in a row tile; of blocks of 128 x 128: blocks along k
    uint32_t meta_shift;    // 4 bits: block b uses record b >> meta_shift
    uint32_t k_warps_log2;  // warps of a CTA along k: 1, 2, 4 or 8
    uint32_t part_blocks;   // blocks / parts, parts = gridDim.y * warps along k
    uint32_t longer_parts;  // blocks % parts: that many leading parts have a block more
    uint32_t out_type;      // DType: 0 f32, 1 f16, 2 bf16
    uint32_t x_scale_stride;
    uint32_t x_zero_stride;
    uint32_t outlier_cap;
    uint32_t outlier_type;   // DType
    uint32_t minus_base[4];  // as in ProductParams; int8 x: of outputs g (times 16), g + 8
    uint32_t reserved;
};
static_assert(sizeof(Act8Params) == 232 && offsetof(Act8Params, m) == 144 && offsetof(Act8Params, minus_base) == 212,
              "Act8Params is shared with Rust");

constexpr int kBlockK = 128, kSteps = 4;  // k of a block, and its steps of 32 k
constexpr int kRowsOfTiled = 64;

// ---- sums ---------------------------------------------------------------------------------------------------------

template <int COLS>
__device__ __forceinline__ void clear(float (&sums)[COLS][4]) {
#pragma unroll
    for (int c = 0; c < COLS; ++c)
#pragma unroll
        for (int i = 0; i < 4; ++i) sums[c][i] = 0.f;
}

// ---- x ------------------------------------------------------------------------------------------------------------

// A lane's eight elements of x in a step: Raw is uint2 for bytes, uint4 for 16 bits. 0 beyond the `left` that the row
// still has. Without a branch: lanes differ in what is left, and must be together at the product that follows.
template <class Raw>
__device__ __forceinline__ Raw load_x_guarded(const uint8_t* p, int left, bool aligned) {
    constexpr int kBytes = sizeof(Raw) / 8, kWords = sizeof(Raw) / 4;
    const bool whole = left >= 8 && aligned;
    uint32_t words[kWords] = {};
    load_words_if<kWords>(words, p, whole);
#pragma unroll
    for (int e = 0; e < 8; ++e) {
        uint32_t value = 0;
        load_bytes_if<kBytes>(value, p + e * kBytes, !whole && e < left);
        words[e * kBytes / 4] |= value << (8 * kBytes * e % 32);
    }
    if constexpr (kBytes == 1)
        return make_uint2(words[0], words[1]);
    else
        return make_uint4(words[0], words[1], words[2], words[3]);
}

// ---- output -------------------------------------------------------------------------------------------------------

// What the columns taken out of x add, in units of the scale of output `row`: sum_j x[m][j] * w[n][j].
template <class Format>
__device__ __forceinline__ float outliers(const Act8Params& p, uint32_t row, uint32_t column) {
    const uint32_t count = min(reinterpret_cast<const uint32_t*>(p.outlier_count)[0], p.outlier_cap);
    const uint64_t values = column * uint64_t(p.outlier_cap);
    float total = 0.f;
    for (uint32_t first = 0; first < count;
         first += 16) {  // sums of sums: the error grows with the part, not the whole
        float part = 0.f;
        for (uint32_t j = first; j < min(first + 16, count); ++j) {
            const uint32_t k = reinterpret_cast<const uint32_t*>(p.outlier_columns)[j];
            if (k < p.k)  // the list comes from memory
                part =
                    fmaf(load_as_float(p.outlier_values, values + j, p.outlier_type), Format::weight(p, row, k), part);
        }
        total += part;
    }
    return total;
}

// Scales the sum of output `row` and row `column` of x; adds bias and residual; rounds once to the type of out.
template <class Format>
__device__ __forceinline__ void finish(const Act8Params& p, uint32_t row, uint32_t column, typename Format::Sum sum) {
    float y;
    if constexpr (Format::kExact) {
        long long whole = sum;
        if (p.x_zero)
            whole -=
                static_cast<long long>(reinterpret_cast<const int32_t*>(p.x_zero)[column * uint64_t(p.x_zero_stride)]) *
                reinterpret_cast<const int32_t*>(p.sums)[row];
        y = __ll2float_rn(whole);
    } else {
        y = sum;
    }
    if constexpr (Format::kRowScale)
        y *= reinterpret_cast<const float*>(p.x_scale)[column * uint64_t(p.x_scale_stride)];
    if constexpr (Format::kOutliers)
        if (p.outlier_count) y += outliers<Format>(p, row, column);
    if constexpr (Format::kOutputScale) y *= reinterpret_cast<const float*>(p.meta)[row];
    if (p.bias) y += load_as_float(p.bias, row, p.out_type);
    if (p.residual) y += load_as_float(p.residual, column * p.residual_stride + row, p.out_type);
    store_from_float(p.out, column * p.out_stride + row, p.out_type, y);
}

// Where warp w's sum for (output r, column c) of its row tile lies in shared memory: columns of 20 words (banks of a
// store 20*c + r are distinct), row tiles 16 words further apart so that two of them can be read at once.
template <int COLS>
__device__ __forceinline__ int sum_index(int warp, int row_tile, int r, int c) {
    return warp * (COLS * 160) + row_tile * 16 + c * 20 + r;
}
template <int COLS>
constexpr int kSumWords = kWarps * (COLS * 160 + 16);

// Adds the sums of the warps that share a row tile, in the order of k, and finishes them or, with a split of k over
// CTAs, leaves them in the workspace, where the last CTA to arrive adds them in the order of the splits.
template <class Format>
__device__ __forceinline__ void reduce_and_finish(const Act8Params& p, uint32_t first_column,
                                                  typename Format::Sum* shared,
                                                  const typename Format::Sum (&y)[Format::kCols][4]) {
    using Sum = typename Format::Sum;
    constexpr int COLS = Format::kCols;
    __shared__ bool last;
    const int lane = threadIdx.x & 31, warp = threadIdx.x >> 5, g = lane >> 2, t = lane & 3;
    const int k_warps = 1 << p.k_warps_log2, mine = warp >> p.k_warps_log2;
#pragma unroll
    for (int c = 0; c < COLS; ++c)
#pragma unroll
        for (int i = 0; i < 4; ++i)
            shared[sum_index<COLS>(warp, mine, g + 8 * (i >> 1), 8 * c + 2 * t + (i & 1))] = y[c][i];
    __syncthreads();

    // With one row tile, half a warp adds the 16 outputs of a column, its other half those of the column 4 further,
    // which lie in the other banks.
    const int cta_log2 = 7 - int(p.k_warps_log2), cta_rows = 1 << cta_log2;
    const int columns = min(8 * COLS, int(p.m - first_column));
    const uint32_t first_row = blockIdx.x * cta_rows;
    const uint64_t padded = uint64_t(p.row_tiles) * 16;
    for (int i = threadIdx.x; i < cta_rows * 8 * COLS; i += kWarps * 32) {
        const int q = i >> cta_log2, in_cta = i & (cta_rows - 1);
        const int c = cta_rows == 16 ? (q & ~7) | (q & 1) << 2 | (q & 7) >> 1 : q;
        const uint32_t row = first_row + in_cta, column = first_column + c;
        if (row >= p.n || c >= columns) continue;
        const int tile = in_cta >> 4;
        Sum sum = 0;
        for (int w = 0; w < k_warps; ++w) sum += shared[sum_index<COLS>(tile * k_warps + w, tile, in_cta & 15, c)];
        if (gridDim.y == 1)
            finish<Format>(p, row, column, sum);
        else
            reinterpret_cast<Sum*>(p.partials)[(uint64_t(blockIdx.y) * p.m + column) * padded + row] = sum;
    }
    if (gridDim.y == 1) return;

    // Last arrival: every CTA publishes its sums, then counts itself; the one that completes the count has all.
    uint32_t* counter = reinterpret_cast<uint32_t*>(p.counters) + blockIdx.z * gridDim.x + blockIdx.x;
    __threadfence();
    __syncthreads();
    if (threadIdx.x == 0) last = atomicAdd(counter, 1u) == gridDim.y - 1;
    __syncthreads();
    if (!last) return;
    __threadfence();
    for (int i = threadIdx.x; i < cta_rows * columns; i += kWarps * 32) {
        const uint32_t row = first_row + (i & (cta_rows - 1)), column = first_column + (i >> cta_log2);
        if (row >= p.n) continue;
        Sum sum = 0;
        for (uint32_t s = 0; s < gridDim.y; ++s)
            sum += __ldcg(reinterpret_cast<const Sum*>(p.partials) + (uint64_t(s) * p.m + column) * padded + row);
        finish<Format>(p, row, column, sum);
    }
    if (threadIdx.x == 0) *counter = 0;
}

// ---- the kernels --------------------------------------------------------------------------------------------------

// A format has
//   kCols                        tiles of 8 rows of x
//   Sum, kExact                  what a sum over k is: int (exact) or float
//   kRowScale, kOutputScale      what of the scales of x and w is left to the end
//   kOutliers, weight            whether x may have columns taken out, and then the code of w at (output, k)
//   kStepsPerGroup               steps of 32 k after which a sum is scaled
//   Raw, X                       eight elements of x as loaded, and as B operands
//   Weights, load, advance       a block as loaded, with its scales; from a number of blocks ahead of the current one
//   kTiles                       tiles of a block; `load` takes as many as there are: any number, all or none too
//   Group, operand, begin,       the sums of one group: operands, start, multiply 32 k, scale into y
//   step, end
//   close                        what is left to do to a warp's sums at the end
// TIGHT: as few registers as can be, where the loads of x are many or take many.
template <bool TIGHT, class Format, class LoadX>
__device__ __forceinline__ void multiply_block(const Format& format, const typename Format::Weights& w, LoadX load,
                                               typename Format::Group& group,
                                               typename Format::Sum (&y)[Format::kCols][4]) {
    constexpr int kGroup = Format::kStepsPerGroup;
#pragma unroll
    for (int s = 0; s < kSteps; ++s) {
        if (s % kGroup == 0) format.begin(group, w, s / kGroup);
        typename Format::X x[Format::kCols];
#pragma unroll
        for (int c = 0; c < Format::kCols; ++c) x[c] = format.operand(group, c, load(s, c));
        format.step(group, w, s, x, y);
        if ((s + 1) % kGroup == 0) format.end(group, w, s / kGroup, y);
        if (TIGHT && s < kSteps - 1) __syncwarp();  // keeps later loads of x, and their registers, behind
    }
}

// Grid: row tiles / (8 / k_warps), splits of k, rows / (8 * kCols).
template <class Format>
__device__ __forceinline__ void act8_skinny(const Act8Params& p) {
    using Raw = typename Format::Raw;
    using Sum = typename Format::Sum;
    constexpr int kCols = Format::kCols, kElement = sizeof(Raw) / 8, kStepBytes = 32 * kElement;
    __shared__ Sum shared[kSumWords<kCols>];
    const int lane = threadIdx.x & 31, warp = threadIdx.x >> 5, g = lane >> 2, t = lane & 3;
    const uint32_t k_warps = 1u << p.k_warps_log2, first_column = 8 * kCols * blockIdx.z;
    const uint32_t row_tile = blockIdx.x * (kWarps >> p.k_warps_log2) + (warp >> p.k_warps_log2);
    Sum y[kCols][4] = {};

    if (row_tile < p.row_tiles) {
        const int part = blockIdx.y * k_warps + (warp & (k_warps - 1)), longer = p.longer_parts;
        const int begin = part * int(p.part_blocks) + min(part, longer);
        const int end = begin + int(p.part_blocks) + (part < longer);
        // The end of the blocks whose x is read as it lies, and how many of them are left; may be negative.
        const int whole = min(end, p.x_aligned ? int(p.k / kBlockK) : 0);
        int left = whole - begin;
        const uint8_t* x[kCols];
#pragma unroll
        for (int c = 0; c < kCols; ++c) {
            const uint32_t row = min(first_column + 8 * c + g, p.m - 1);
            x[c] = reinterpret_cast<const uint8_t*>(p.x) +
                   (row * p.x_stride + uint64_t(begin) * kBlockK + 8 * t) * kElement;
        }
        Format format(p, row_tile, begin, lane, first_column);
        typename Format::Group group = {};
        typename Format::Weights w[2] = {};  // of the current block and the next
#pragma unroll
        for (int i = 0; i < 2; ++i) format.load(w[i], i, begin + i, i < left ? Format::kTiles : 0);
        const auto go = [&](int blocks) {
            format.advance(blocks);
#pragma unroll
            for (int c = 0; c < kCols; ++c) advance(x[c], blocks * kSteps * kStepBytes);
        };
        // Two by two where that leaves the code short.
        constexpr int kUnroll = kCols == 1 ? 2 : 1;
#pragma unroll 1
        for (; left >= kUnroll; left -= kUnroll) {
#pragma unroll
            for (int i = 0; i < kUnroll; ++i) {
                const auto load = [&](int s, int c) {
                    return __ldg(reinterpret_cast<const Raw*>(x[c] + (i * kSteps + s) * kStepBytes));
                };
                multiply_block<(kCols >= 4)>(format, w[i], load, group, y);
                if (kUnroll == 1) w[0] = w[1];
                format.load(w[kUnroll == 1 ? 1 : i], i + 2, whole - left + i + 2, left > i + 2 ? Format::kTiles : 0);
            }
            go(kUnroll);
        }
        // The last block if they are odd, and those whose x needs care.
#pragma unroll 1
        for (int block = whole - left; block < end; ++block, --left) {
            if (left <= 0) format.load(w[0], 0, block, int(p.tiles) - Format::kTiles * block);
            const auto load = [&](int s, int c) {
                const int elements = int(p.k) - block * kBlockK - 32 * s - 8 * t;
                return load_x_guarded<Raw>(x[c] + s * kStepBytes, elements, p.x_aligned);
            };
            multiply_block<true>(format, w[0], load, group, y);
            go(1);
        }
        format.close(group, y);
    }
    reduce_and_finish<Format>(p, first_column, shared, y);
}

// Bytes from row to row of x in shared memory: rows of 8 bytes a lane fall into different banks.
constexpr int kStagedRow = kBlockK + 32;

// Copies block `block` of 64 rows of x to shared memory; what is beyond k is 0. Completed by the next group of copies.
__device__ __forceinline__ void stage_x(const Act8Params& p, uint8_t* stage, uint32_t first_row, int block) {
    constexpr int kChunks = kBlockK / 16;
#pragma unroll
    for (int i = 0; i < kRowsOfTiled * kChunks / (kWarps * 32); ++i) {
        const int chunk = threadIdx.x + i * kWarps * 32, part = chunk % kChunks, row = chunk / kChunks;
        const uint8_t* from = reinterpret_cast<const uint8_t*>(p.x) + min(first_row + row, p.m - 1) * p.x_stride +
                              uint64_t(block) * kBlockK + 16 * part;
        uint8_t* to = stage + row * kStagedRow + 16 * part;
        const int left = int(p.k) - block * kBlockK - 16 * part;
        const bool whole = left >= 16 && p.x_aligned;
        cp_async_16_if<0, 0>(whole, shared_address(to), from);
        if (!whole) {
            const uint2 low = load_x_guarded<uint2>(from, left, false);
            const uint2 high = load_x_guarded<uint2>(from + 8, left - 8, false);
            *reinterpret_cast<uint4*>(to) = make_uint4(low.x, low.y, high.x, high.y);
        }
    }
    cp_async_commit();
}

// Grid: row tiles / 8, rows / 64.
template <class Format>
__device__ __forceinline__ void act8_tiled(const Act8Params& p) {
    using Sum = typename Format::Sum;
    constexpr int kCols = Format::kCols, kStage = kRowsOfTiled * kStagedRow;
    static_assert(8 * kCols == kRowsOfTiled && sizeof(typename Format::Raw) == 8, "bytes of 64 rows");
    __shared__ alignas(16) Sum shared[kSumWords<kCols>];
    static_assert(sizeof(shared) >= 2 * kStage, "x and the sums share the memory");
    uint8_t* stages = reinterpret_cast<uint8_t*>(shared);
    const int lane = threadIdx.x & 31, warp = threadIdx.x >> 5, g = lane >> 2, t = lane & 3;
    const uint32_t first_column = kRowsOfTiled * blockIdx.z, row_tile = blockIdx.x * kWarps + warp;
    const bool present = row_tile < p.row_tiles;
    Sum y[kCols][4] = {};

    Format format(p, present ? row_tile : 0, 0, lane, first_column);
    typename Format::Group group = {};
    typename Format::Weights w = {};
    const int blocks = p.blocks;
    format.load(w, 0, 0, present ? p.tiles : 0);
    stage_x(p, stages, first_column, 0);
#pragma unroll 1
    for (int block = 0; block < blocks; ++block) {
        if (block + 1 < blocks)
            stage_x(p, stages + (block + 1) % 2 * kStage, first_column, block + 1);
        else
            cp_async_commit();
        cp_async_wait<1>();
        __syncthreads();
        const uint8_t* x = stages + block % 2 * kStage + g * kStagedRow + 8 * t;
        const auto load = [&](int s, int c) {
            return *reinterpret_cast<const uint2*>(x + 8 * c * kStagedRow + 32 * s);
        };
        multiply_block<true>(format, w, load, group, y);
        format.load(w, 1, block + 1, present ? int(p.tiles) - Format::kTiles * (block + 1) : 0);
        format.advance(1);
        __syncthreads();
    }
    format.close(group, y);
    reduce_and_finish<Format>(p, first_column, shared, y);
}

}  // namespace lowbit
