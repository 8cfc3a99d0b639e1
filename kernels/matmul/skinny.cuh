// Skinny matrix product y[m][n] = sum_k x[m][k] * w[n][k] for 1 to 32 rows of x over packed low-bit weights: the frame
// that the weight formats share. A format (w4.cuh, w8.cuh) says how a block of weights is loaded and multiplied.
//
// Naive:  for n, m:  y[m][n] = sum_k x[m][k] * decode(w[n][k])
//
// Bound by the bytes of w. What the frame does about it:
//  1. Weights are the A operand of mma.m16n8k16 (16 outputs), rows of x the B operand (8 columns): the cost is the same
//     for 1 to 8 rows, and the product is already summed over k: no shuffles. For more rows a decoded weight is
//     multiplied with 2 or 4 B operands (COLUMNS).
//  2. The weights are packed in fragment order, so that a lane's 16-byte load *is* its A fragment for a run of k; a
//     warp reads 512 contiguous bytes, and no address is computed but a pointer increment.
//  3. k inside an mma is permuted so that x needs no staging: a lane's B fragments of two steps are 8 neighbours of x.
//        step s of a run of 64, lane (g, t), register b, half e   <->   k = 32*(s>>1) + 8*t + 4*(s&1) + 2*b + e
//     Weights are packed with the same map.
//  4. Two blocks of weights are in flight (one with four B operands): a tile of 512 bytes is asked for again, two
//  blocks
//     further, as soon as it is used.
// Warps of a CTA are `k_warps` parts of k times 8 / k_warps row tiles; gridDim.y is a further split of k. Parts are
// contiguous runs of blocks, a function of the shape and the device only; partial sums are added in the order of k in
// f32. So a row of y is bitwise the same whatever the other rows hold and however many there are.
//
// Shared memory: COLUMNS x 8 warps x 16 outputs x 8 columns of f32. Workspace, with gridDim.y > 1: f32 partials
// [split][m][16 * row_tiles], and one counter per grid column, which must be 0 and is left 0.
#pragma once
#include "matmul/output.cuh"

namespace lowbit {

constexpr int kWarps = 8;

// ---- the sums of the warps ----------------------------------------------------------------------------------------

constexpr int kPartialWords = kWarps * (160 + 16);  // of 8 rows of x

// Where warp w's sum for (output r, row c of 8) of its row tile lies in shared memory: 8 rows of 20 words (banks of a
// store 20*c + r are distinct), row tiles 16 words further apart so that two of them can be read at once.
__device__ __forceinline__ int partial_index(int warp, int row_tile, int r, int c) {
    return warp * 160 + row_tile * 16 + c * 20 + r;
}

// Adds the sums of the warps that share a row tile, in the order of k, and finishes them or, with a split of k over
// CTAs, leaves them in the workspace, where the last CTA to arrive adds them in the order of the splits.
template <int COLUMNS>
__device__ __forceinline__ void reduce_and_store(const ProductParams& p, const float (&y)[COLUMNS][4]) {
    __shared__ float partial[COLUMNS * kPartialWords];
    __shared__ bool last;
    const int lane = threadIdx.x & 31, warp = threadIdx.x >> 5, g = lane >> 2, t = lane & 3;
    const int k_warps = 1 << p.k_warps_log2, cta_tiles = kWarps >> p.k_warps_log2;
    const int mine = warp >> p.k_warps_log2;
#pragma unroll
    for (int j = 0; j < COLUMNS; ++j)
#pragma unroll
        for (int i = 0; i < 4; ++i)
            partial[j * kPartialWords + partial_index(warp, mine, g + 8 * (i >> 1), 2 * t + (i & 1))] = y[j][i];
    __syncthreads();

    // Half a warp adds the 16 outputs of a row of x; its other half those of the next row tile or, if there is none, of
    // the row 4 further, which lie in the other banks.
    const int cta_log2 = 7 - int(p.k_warps_log2), cta_rows = 1 << cta_log2,
              items = cta_tiles > 1 ? cta_rows * int(p.m) : 128 * ((int(p.m) + 7) / 8);
    const auto row_of = [&](int item) {
        return uint32_t(cta_tiles > 1 ? item >> cta_log2 : 8 * (item >> 7) + 4 * (item >> 4 & 1) + (item >> 5 & 3));
    };
    const auto sum_of_warps = [&](uint32_t row, int in_cta) {
        const int tile = in_cta >> 4;
        const float* sums = partial + (row >> 3) * kPartialWords;
        float sum = 0.f;
        for (int w = 0; w < k_warps; ++w) sum += sums[partial_index(tile * k_warps + w, tile, in_cta & 15, row & 7)];
        return sum;
    };
    // Where the sum of split `split` for row `row` and an output line of the CTA is kept.
    const uint64_t padded = uint64_t(p.row_tiles) * 16;
    const auto kept = [&](uint32_t split, uint32_t row, int in_cta) {
        const uint32_t output = output_of(p, cta_tiles, in_cta >> 4, in_cta & 15);
        return output < p.n ? reinterpret_cast<float*>(p.partials) + (uint64_t(split) * p.m + row) * padded + output
                            : nullptr;
    };
    if (gridDim.y > 1) {
        for (int i = threadIdx.x; i < items; i += kWarps * 32) {
            const uint32_t row = row_of(i);
            float* to = kept(blockIdx.y, row, i & (cta_rows - 1));
            if (row < p.m && to) *to = sum_of_warps(row, i & (cta_rows - 1));
        }
        // Last arrival: every CTA publishes its partials, then counts itself; the one that completes the count has all.
        uint32_t* counter = reinterpret_cast<uint32_t*>(p.counters) + blockIdx.x;
        __threadfence();
        __syncthreads();
        if (threadIdx.x == 0) last = atomicAdd(counter, 1u) == gridDim.y - 1;
        __syncthreads();
        if (!last) return;
        __threadfence();
        if (threadIdx.x == 0) *counter = 0;
    }
    for (int i = threadIdx.x; i < items; i += kWarps * 32) {
        const uint32_t row = row_of(i);
        if (row >= p.m) continue;
        finish_line(p, cta_tiles, i & (cta_rows - 1), row, [&](int in_cta) {
            if (gridDim.y == 1) return sum_of_warps(row, in_cta);
            float sum = 0.f;
            for (uint32_t s = 0; s < gridDim.y; ++s) sum += __ldcg(kept(s, row, in_cta));
            return sum;
        });
    }
}

// ---- the kernel ---------------------------------------------------------------------------------------------------

// N blocks of weights are multiplied in lockstep, which hides the latency of one chain of products behind the other;
// the order of sums into y is that of one block after the other. With more columns the chains of these hide each other.
template <class Format, int COLUMNS>
__device__ __forceinline__ void skinny(const ProductParams& p) {
    constexpr int kBlockK = 2 * Format::kTileK, kBlockBytes = 2 * kBlockK;  // bytes of x
    constexpr int kRuns = kBlockK / 32, kTileRuns = kRuns / 2, kRunBytes = 64;
    // Blocks in flight, and in a pass of the loop. With many columns one pass of two would want all registers there
    // are.
    constexpr int kAhead = COLUMNS > 2 ? 1 : 2;
    using X = XRuns<COLUMNS>;
    const int lane = threadIdx.x & 31, warp = threadIdx.x >> 5, g = lane >> 2, t = lane & 3;
    const uint32_t k_warps = 1u << p.k_warps_log2;
    const uint32_t row_tile = output_of(p, kWarps >> p.k_warps_log2, warp >> p.k_warps_log2, 0) / 16;
    float y[COLUMNS][4] = {};

    if (row_tile < p.row_tiles) {
        const int part = blockIdx.y * k_warps + (warp & (k_warps - 1)), longer = p.longer_parts;
        const int begin = part * int(p.part_blocks) + min(part, longer);
        int end = begin + int(p.part_blocks) + (part < longer);
        // The end of the blocks whose x can be read 16 bytes at a time, and how many of them are left; may be negative.
        const auto whole_end = [&](int end) { return min(end, p.x_aligned ? int(p.k / kBlockK) : 0); };
        const int whole = whole_end(end);
        int left = whole - begin;

        // Where this lane's rows of x are. Columns of a product do not meet: lanes without a row take the last one's.
        const uint8_t* x[COLUMNS];
#pragma unroll
        for (int j = 0; j < COLUMNS; ++j)
            x[j] = reinterpret_cast<const uint8_t*>(p.x) + min(8 * j + g, int(p.m) - 1) * p.x_stride * 2 +
                   uint64_t(begin) * kBlockBytes + 16 * t;
        const auto advance_x = [&](int64_t bytes) {
#pragma unroll
            for (int j = 0; j < COLUMNS; ++j) advance(x[j], bytes);
        };

        Format format(p, row_tile, begin, lane);
        typename Format::Weights w[kAhead];
        typename Format::template Sums<COLUMNS> sums[kAhead];
        X xs[kAhead];
#pragma unroll
        for (int i = 0; i < kAhead; ++i) {
            format.load_codes(w[i], 0, i, i < left);
            format.load_codes(w[i], 1, i, i < left);
            format.load_scales(w[i], i, begin + i, i < left);
        }
#pragma unroll 1
        for (; left >= kAhead; left -= kAhead) {
            bool next[kAhead];
#pragma unroll
            for (int i = 0; i < kAhead; ++i) next[i] = left > kAhead + i;
            format.advance(kAhead);
            if constexpr (Format::kLockstep && COLUMNS <= 2) {
#pragma unroll
                for (int run = 0; run < kRuns; ++run) {
                    xs[0].load(x, run * kRunBytes);
                    xs[1].load(x, run * kRunBytes + kBlockBytes);
                    multiply_run(format, run, w, xs, sums, y);
                    if (run % kTileRuns == kTileRuns - 1)
#pragma unroll
                        for (int i = 0; i < kAhead; ++i) format.load_codes(w[i], run / kTileRuns, i, next[i]);
                    if (run == kTileRuns - 1) __syncwarp();
                }
            } else {
#pragma unroll
                for (int i = 0; i < kAhead; ++i) {
#pragma unroll
                    for (int run = 0; run < kRuns; ++run) {
                        xs[0].load(x, run * kRunBytes + i * kBlockBytes);
                        multiply_run(format, run, one(w[i]), one(xs[0]), one(sums[0]), y);
                        if (run % kTileRuns == kTileRuns - 1) format.load_codes(w[i], run / kTileRuns, i, next[i]);
                        if (COLUMNS > 1 || (i == 0 && run == kRuns - 1)) __syncwarp();
                    }
                }
            }
#pragma unroll
            for (int i = 0; i < kAhead; ++i) format.load_scales(w[i], i, whole - left + kAhead + i, next[i]);
            advance_x(kAhead * kBlockBytes);
        }
        // The last block if there are an odd number, and the blocks whose x needs care. `end` is all that the loop
        // above keeps.
        asm volatile("" : "+r"(end));
        int block = whole_end(end) - left;
#pragma unroll 1
        for (; block < end; ++block, --left) {
            const bool is_whole = left > 0;
#pragma unroll
            for (int tile = 0; tile < 2; ++tile) {
                if (!is_whole) w[0].codes[tile] = make_uint4(0, 0, 0, 0);
                format.load_codes(w[0], tile, 0, !is_whole && 2 * block + tile < int(p.tiles));
            }
            format.load_scales(w[0], 0, block, !is_whole);
#pragma unroll
            for (int run = 0; run < kRuns; ++run) {
                const int elements = int(p.k) - block * kBlockK - run * 32 - 8 * t;
                xs[0].load_guarded(x, run * kRunBytes, elements, p.x_aligned);
                multiply_run(format, run, one(w[0]), one(xs[0]), one(sums[0]), y);
                __syncwarp();  // keeps the loads of the next run, and their registers, behind
            }
            advance_x(kBlockBytes);
            format.advance(1);
        }
    }
#pragma unroll
    for (int j = 0; j < COLUMNS; ++j)
#pragma unroll
        for (int i = 0; i < 4; ++i) y[j][i] *= Format::unit();
    reduce_and_store<COLUMNS>(p, y);
}

}  // namespace lowbit
