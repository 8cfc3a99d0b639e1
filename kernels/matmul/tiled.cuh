// Product y[m][n] = sum_k x[m][k] * w[n][k] of any number of rows of x with packed low-bit weights: for more rows than
// skinny.cuh takes, on the same packed weights and with the same formats (w4.cuh, w8.cuh; operands.cuh).
//
// Naive:  for n, m:  y[m][n] = sum_k x[m][k] * decode(w[n][k])
//
// Bound by the tensor cores.
//  1. A CTA makes 128 outputs of 64 rows (COLUMNS = 8; 32 where the sums of x, which real zeros and minima need, would
//  not
//     fit the registers). Each of its 8 warps has a row tile of 16 outputs: its weights go from memory to registers, a
//     block ahead, are decoded once and multiplied with all B operands.
//  2. x is what the warps share: blocks of its rows pass through shared memory, copied asynchronously, two blocks
//  ahead.
//     Row r, chunk c of 16 bytes lies at chunk c ^ 4*(r & 1) of its row, so that the 8 lanes of a quarter of a warp,
//     two rows by four chunks, are in distinct banks.
//  3. Decode is the exact one (a zero is subtracted from the weight), as here a second product would cost twice as
//  much.
//  4. Sums are those of the skinny kernel, bit for bit, where it does not split k over CTAs: a part of k that is a
//  warp's
//     there gets its own sum here, and these are added in the same order.
//
// Grid: row tiles / 8, rows / (8 * COLUMNS). Shared memory: three blocks of x, afterwards the sums of the CTA.
#pragma once
#include "common/cp_async.cuh"
#include "matmul/output.cuh"

namespace lowbit {

constexpr int kTiledWarps = 8, kStages = 3;

// Copies block `block` of ROWS rows of x to `stage`; what is beyond k is 0.
template <int ROWS, int BLOCK_K>
__device__ __forceinline__ void stage_rows(const ProductParams& p, uint8_t* stage, uint32_t first_row, int block) {
    constexpr int kChunks = BLOCK_K / 8;
#pragma unroll
    for (int i = 0; i < ROWS * kChunks / (kTiledWarps * 32); ++i) {
        const int at = threadIdx.x + i * kTiledWarps * 32, chunk = at % kChunks, row = at / kChunks;
        const uint8_t* from = reinterpret_cast<const uint8_t*>(p.x) + min(first_row + row, p.m - 1) * p.x_stride * 2 +
                              (uint64_t(block) * BLOCK_K + 8 * chunk) * 2;
        uint8_t* to = stage + row * BLOCK_K * 2 + 16 * (chunk ^ (row & 1) << 2);
        const int left = int(p.k) - block * BLOCK_K - 8 * chunk;
        const bool whole = left >= 8 && p.x_aligned;
        cp_async_16_if<0, 0>(whole, shared_address(to), from);
        if (!whole) {
            XRun run;
            run.load_guarded(from, left, p.x_aligned);
            *reinterpret_cast<uint4*>(to) = run.v;
        }
    }
}

template <class Format, int COLUMNS>
__device__ __forceinline__ void tiled(const ProductParams& p) {
    constexpr int kBlockK = 2 * Format::kTileK, kRowBytes = 2 * kBlockK, kRows = 8 * COLUMNS;
    constexpr int kStageBytes = kRows * kRowBytes;
    constexpr int kRuns = kBlockK / 32, kTileRuns = kRuns / 2;
    constexpr int kSumRow = kTiledWarps * 16 + 4;  // words; the banks of a store, 8 * t + g, are distinct
    constexpr int kSumBytes = kRows * kSumRow * 4;
    constexpr int kBytes = kStages * kStageBytes > kSumBytes ? kStages * kStageBytes : kSumBytes;
    __shared__ alignas(16) uint8_t shared[kBytes];
    const int lane = threadIdx.x & 31, warp = threadIdx.x >> 5, g = lane >> 2, t = lane & 3;
    const uint32_t first_row = kRows * blockIdx.y, row_tile = output_of(p, kTiledWarps, warp, 0) / 16;
    const bool present = row_tile < p.row_tiles;
    const int blocks = p.blocks;
    float total[COLUMNS][4] = {}, y[COLUMNS][4] = {};

    Format format(p, present ? row_tile : 0, 0, lane);
    typename Format::Weights w;
    typename Format::template Sums<COLUMNS> sums;
    const auto load_tile = [&](int tile, int block) {
        format.load_codes(w, tile, 0, present && 2 * block + tile < int(p.tiles));
    };
    // Where nothing is loaded, these meet an x of 0.
    w.codes[0] = w.codes[1] = make_uint4(0, 0, 0, 0);
    load_tile(0, 0);
    load_tile(1, 0);
    format.load_scales(w, 0, 0, present);
#pragma unroll
    for (int i = 0; i < kStages - 1; ++i) {
        if (i < blocks) stage_rows<kRows, kBlockK>(p, shared + i * kStageBytes, first_row, i);
        cp_async_commit();
    }
    int part = 0, part_end = p.part_blocks + (0 < p.longer_parts);
#pragma unroll 1
    for (int block = 0; block < blocks; ++block) {
        // The block is there for all, and all are done with the one before it, whose place is filled anew.
        cp_async_wait<kStages - 2>();
        __syncthreads();
        const int ahead = block + kStages - 1;
        if (ahead < blocks) stage_rows<kRows, kBlockK>(p, shared + ahead % kStages * kStageBytes, first_row, ahead);
        cp_async_commit();
        format.advance(1);
        const uint8_t* x = shared + block % kStages * kStageBytes + g * kRowBytes + 16 * t;
#pragma unroll
        for (int run = 0; run < kRuns; ++run) {
            XRuns<COLUMNS> xs;
#pragma unroll
            for (int j = 0; j < COLUMNS; ++j)
                xs.runs[j].v = *reinterpret_cast<const uint4*>(x + 8 * j * kRowBytes + 64 * (run ^ (g & 1)));
            multiply_run(format, run, one(w), one(xs), one(sums), y);
            if (run % kTileRuns == kTileRuns - 1) load_tile(run / kTileRuns, block + 1);
        }
        format.load_scales(w, 0, block + 1, present && block + 1 < blocks);
        if (block + 1 == part_end) {
#pragma unroll
            for (int j = 0; j < COLUMNS; ++j)
#pragma unroll
                for (int i = 0; i < 4; ++i) total[j][i] += y[j][i] * Format::unit(), y[j][i] = 0.f;
            ++part;
            part_end += p.part_blocks + (part < p.longer_parts);
        }
    }
    cp_async_wait<0>();
    __syncthreads();
    float* at = reinterpret_cast<float*>(shared);
#pragma unroll
    for (int j = 0; j < COLUMNS; ++j)
#pragma unroll
        for (int i = 0; i < 4; ++i)
            at[(8 * j + 2 * t + (i & 1)) * kSumRow + 16 * warp + g + 8 * (i >> 1)] = total[j][i];
    __syncthreads();
    constexpr int kOutputs = 16 * kTiledWarps;
    for (int i = threadIdx.x; i < kRows * kOutputs; i += kTiledWarps * 32) {
        const uint32_t line = i / kOutputs, row = first_row + line;
        if (row < p.m)
            finish_line(p, kTiledWarps, i % kOutputs, row, [&](int in_cta) { return at[line * kSumRow + in_cta]; });
    }
}

}  // namespace lowbit
