// attend_chunk: the part of attend_prefill that lies in the call's own tokens, which are not in the cache yet but given
// as rows of k and v. attend gives the other part, what lies before them, and merge.cu adds the two.
//
// A CTA is that of attend.cuh: one sequence, KV head and pass of 8 columns. A warp takes every fourth tile of 32 tokens
// from the first token of the call on (not rotated, nor are the queries); tiles that no column of the pass sees are
// left out. K and V come from global memory without staging: the chunk is read once a pass, and what bounds it is the
// latency of that, not its bytes.
#pragma once
#include "attention/format_half.cuh"
#include "attention/window.cuh"

namespace lowbit {

// What the CTA asks of a format.
template <int HEAD_DIM, bool IS_BF16>
struct ChunkRows {
    using Keys = HalfKeys<HEAD_DIM, IS_BF16>;
    static constexpr int D = HEAD_DIM, TILE = 32, HALVES = 2, STAGES = 2, TABLES = 0;
    static constexpr bool ROTATES = false, RAW_Q = false, NORMALIZE_Q = false, BF16 = IS_BF16;
    static constexpr bool OUT_SCALES = false;
    // No ring: where the warps' outputs meet.
    static constexpr int RECORD = (164 * D + 512 + 127) / 128 * 16;

    // As Window::values leaves them.
    static __device__ __forceinline__ OutPlace place_out(int lane, int item) {
        return {item, lane & 1, (lane & 15) >> 1, lane >> 4, 16 * item + (lane & 15)};
    }
};

template <int D, bool BF16>
__device__ __forceinline__ void attend_chunk(const AttendParams& p) {
    using F = ChunkRows<D, BF16>;
    extern __shared__ __align__(16) char shared[];
    const int lane = threadIdx.x & 31, warp = __shfl_sync(0xffffffffu, threadIdx.x >> 5, 0), t = lane & 3;
    const int kv_head = blockIdx.y, sequence = blockIdx.z;
    const kv::Sequence own = kv::load_sequence(p.kv, p.batch, sequence);
    const int columns = own.m * p.group, first_column = blockIdx.x * COLUMNS;
    if (first_column >= columns) return;

    const int first_query = first_column / p.group;
    const int last_query = (min(first_column + COLUMNS, columns) - 1) / p.group;
    const int window = p.window == 0 ? 0x40000000 : p.window;
    const Span span{max(own.p0, own.p0 + first_query + 1 - window), own.p0 + last_query + 1,
                    own.p0 + last_query + 1 - window, own.p0 + first_query + 1};
    Visible* visible = reinterpret_cast<Visible*>(shared + Shared<F>::VISIBLE);
    place_columns(p, own, kv_head, first_column, own.n, window, visible);
    const Source source{0, 0, -1};
    const Job given{span, source, sequence, kv_head, first_column, columns, own.row0, 1, p.parts, 1.0f, 0};
    if (threadIdx.x == 0) *reinterpret_cast<Job*>(shared + Shared<F>::JOB) = given;
    stage_query<F>(p, given, shared);
    __syncthreads();

    const uint32_t* query = reinterpret_cast<const uint32_t*>(shared + Shared<F>::RING);
    const float* factors = reinterpret_cast<const float*>(shared + Shared<F>::FACTOR);
    const float factor[2] = {factors[2 * t], factors[2 * t + 1]};
    const Window<D, BF16> rows(p, given, own);
    Softmax softmax;
    softmax.clear(0x1p14f);
    float o[D / 16][4] = {};
    NoCarry carry;
    const int skipped = (span.first - own.p0) / F::TILE;
#pragma unroll 1
    for (int token = own.p0 + (skipped + warp) * F::TILE; token < span.end; token += WARPS * F::TILE) {
        float c[2][4] = {};
        const float bias[2] = {};
        uint32_t weights[BF16 ? 2 : 1][2][2];
        rows.scores(token, span.first, span.end, query, lane, c);
        const bool edge = token < span.all_first || token + F::TILE > min(span.all_end, span.end);
        softmax.step<false, false, BF16>(
            p, c, TokenScales<2>::ones(), TokenScales<2>::ones(), bias, factor, edge, [] { return true; }, token,
            visible, lane, o, carry, weights);
        rows.template values<Side<D, 2>>(token, span.first, span.end, weights, lane, o);
    }
    join_warps<F>(p, shared, softmax, o);
}

}  // namespace lowbit
