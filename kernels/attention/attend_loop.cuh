// The CTA of attend.cuh: its part of the work, the loop over tiles, and the meeting of the four warps.
#pragma once
#include "attention/attend.cuh"

namespace lowbit {

// Writes a chunk's result: to `out` and `lse` when it is the only one, to the parts otherwise.
template <class F>
struct Output {
    const AttendParams& p;
    int chunk, chunks;

    // Channels ch, ch+1 of one column.
    __device__ __forceinline__ void pair(const Column& column, int ch, float x, float y) const {
        if (chunks == 1) {
            const uint64_t at = p.out + 2 * (column.row * p.out_stride + column.head * F::D + ch);
            *reinterpret_cast<uint32_t*>(at) = pack_16(static_cast<DType>(p.kv.dtype), x, y);
        } else {
            const uint64_t row = static_cast<uint64_t>(column.row) * p.heads + column.head;
            *reinterpret_cast<float2*>(p.parts_out + 4 * ((row * p.max_chunks + chunk) * F::D + ch)) =
                make_float2(x, y);
        }
    }

    __device__ __forceinline__ void lse(const Column& column, float value) const {
        const uint64_t row = static_cast<uint64_t>(column.row) * p.heads + column.head;
        if (chunks > 1) {
            reinterpret_cast<float*>(p.parts_lse)[row * p.max_chunks + chunk] = value;
        } else if (p.lse != 0) {
            reinterpret_cast<float*>(p.lse)[row] = value;
        }
    }
};

// The warps' m, l, O become one row per column, written out. Accumulators pass through shared memory register by
// register, lane by lane; each warp adds a quarter of the registers in the order of the warps.
template <class F>
__device__ __forceinline__ void join_warps(char* shared, const Softmax& softmax, const float (&o)[F::D / 16][4],
                                           float v_factor, int first_column, int columns, int row0, int kv_head,
                                           const Output<F>& output) {
    constexpr int D = F::D, TILES = D / 16;
    const int lane = threadIdx.x & 31, warp = threadIdx.x >> 5, g = lane >> 2, t = lane & 3;
    float* accumulators = reinterpret_cast<float*>(shared);
    float2* state = reinterpret_cast<float2*>(shared + Shared<F>::STATE);
#pragma unroll
    for (int n = 0; n < 2; ++n) {
        float l = softmax.l[n];
#pragma unroll
        for (int x = 4; x < 32; x *= 2) l += __shfl_xor_sync(0xffffffffu, l, x);
        if (g == 0) state[warp * COLUMNS + 2 * t + n] = make_float2(softmax.neg_m[n], l);
    }
    __syncthreads();  // Every warp has done with its ring.
#pragma unroll
    for (int m = 0; m < TILES; ++m) {
#pragma unroll
        for (int e = 0; e < 4; ++e) accumulators[((warp * TILES + m) * 4 + e) * 32 + lane] = o[m][e];
    }
    __syncthreads();

    float weight[2][WARPS], lse[2];
#pragma unroll
    for (int n = 0; n < 2; ++n) {
        float2 s[WARPS];
        float top = -INFINITY, total = 0.0f;
#pragma unroll
        for (int w = 0; w < WARPS; ++w) {
            s[w] = state[w * COLUMNS + 2 * t + n];
            if (s[w].y != 0.0f) top = fmaxf(top, log2_approx(s[w].y) - s[w].x);
        }
#pragma unroll
        for (int w = 0; w < WARPS; ++w) {
            weight[n][w] = s[w].y != 0.0f ? exp2_approx(-s[w].x - top) : 0.0f;
            total += s[w].y * weight[n][w];
        }
        lse[n] = total != 0.0f ? (top + log2_approx(total)) * LN_2 : -INFINITY;
        const float over = total != 0.0f ? v_factor / total : 0.0f;
#pragma unroll
        for (int w = 0; w < WARPS; ++w) weight[n][w] *= over;
    }
#pragma unroll
    for (int n = 0; n < 2; ++n) {
        const Column column(output.p, first_column + 2 * t + n, columns, row0, kv_head);
        if (!column.valid) continue;
#pragma unroll
        for (int j = 0; j < TILES / WARPS; ++j) {
            const int m = warp * (TILES / WARPS) + j;
            float value[2] = {0.0f, 0.0f};
#pragma unroll
            for (int r = 0; r < 2; ++r) {
#pragma unroll
                for (int w = 0; w < WARPS; ++w) {
                    // Weight 0: the warp saw nothing.
                    if (weight[n][w] != 0.0f) {
                        value[r] =
                            fmaf(weight[n][w], accumulators[((w * TILES + m) * 4 + 2 * r + n) * 32 + lane], value[r]);
                    }
                }
            }
            output.pair(column, F::out_channel(g, m), value[0], value[1]);
        }
        if (warp == 0 && g == 0) output.lse(column, lse[n]);
    }
}

// For formats whose V ends with its codes.
struct NoRest {
    template <class Weights>
    __device__ __forceinline__ void operator()(int, const Weights&) const {}
};

// What a CTA reads: tokens [first, end) are seen by some column of the pass, [all_first, all_end) by every one of them.
struct Span {
    int first, end, all_first, all_end;
};

// Tiles of codes that hold tokens [span.first, min(span.end, k_end)); V codes below v_end only. The warp takes every
// fourth tile; `rest` gets (tile's first token, is it there, weights) of tiles in which V does not end with its codes.
template <class F, class Rest>
__device__ __forceinline__ void coded_tiles(const AttendParams& p, const F& format, char* ring, int sequence,
                                            int kv_head, Span span, int k_end, int v_end,
                                            const uint32_t (&q)[F::D / 16][2], const float (&factor)[2],
                                            const Visible& visible, int warp, int lane, Softmax& softmax,
                                            float (&o)[F::D / 16][4], typename F::Carry& carry, const Rest& rest) {
    static_assert(F::STAGES == 2, "one tile in flight while one is read");
    const int end = min(span.end, k_end), clean_end = min(min(span.all_end, v_end), end);
    if (span.first >= end) return;
    const uint32_t last = (end + F::TILE - 1) / F::TILE;
    const uint32_t clean_first = max(0, span.all_first + F::TILE - 1) / F::TILE;
    uint32_t clean = static_cast<uint32_t>(max(0, clean_end)) / F::TILE;
    clean = clean > clean_first ? clean - clean_first : 0;

    const char* pages = reinterpret_cast<const char*>(p.kv.pages) + lane * 16 + MIDDLE;
    uint32_t base = shared_address(ring) + lane * 16;
    asm volatile("" : "+l"(pages), "+r"(base));  // Computed once.
    uint32_t tile = span.first / F::TILE + warp, slot = 1;
    // Lane L holds where the warp's tile 32k+L is; every 32 tiles the next.
    uint32_t offsets;
    const auto refill = [&](uint32_t from) {
        const uint32_t mine = from + WARPS * lane;
        offsets = ABSENT;
        bool bad = false;
        if (mine < last) {
            const uint32_t page = page_of(p, sequence, mine * F::TILE);
            bad = page >= static_cast<uint32_t>(p.kv.num_pages);
            if (!bad) offsets = tile_offset<F>(p, kv_head, page, mine * F::TILE);
        }
        if (bad) atomicOr(reinterpret_cast<unsigned*>(p.kv.status), kv::STATUS_BAD_PAGE);
        if (__any_sync(0xffffffffu, bad)) clean = 0;  // Every tile is looked at from here on.
        asm volatile("" : "+r"(clean));               // Keeps that out of the loop.
    };
    refill(tile);
    fetch<F>(pages, __shfl_sync(0xffffffffu, offsets, 0), base, lane);
    cp_async_commit();
    uint32_t read = 0;
#pragma unroll 1
    for (; tile < last; tile += WARPS, ++slot) {
        cp_async_wait<0>();
        __syncwarp();  // All lanes' copies of this stage are here, and all lanes have done with the other.
        if (slot % 32 == 0) refill(tile + WARPS);
        char* stage = ring + read;
        read = F::RECORD - read;
        fetch<F>(pages, __shfl_sync(0xffffffffu, offsets, slot), base + read, lane);
        cp_async_commit();

        const int token = tile * F::TILE;
        const bool edge = tile - clean_first >= clean;
        const auto here = [&] { return page_of(p, sequence, token) < static_cast<uint32_t>(p.kv.num_pages); };
        if (edge) {
            const bool present = here();
            F::erase(stage, lane, present ? token_bits(token, span.first, end) : 0,
                     present ? token_bits(token, span.first, min(end, v_end)) : 0);
            __syncwarp();
        }
        float c[F::HALVES][4] = {}, bias[2] = {};
        uint32_t weights[F::PARTS][F::HALVES][2];
        format.scores(stage, lane, q, c, bias);
        softmax.step<F::TOKEN_SCALES, F::COLUMN_BIAS, F::BF16>(c, F::k_scales(stage, lane >> 2),
                                                               F::v_scales(stage, lane >> 2), bias, factor, edge, here,
                                                               token, visible, lane, o, carry, weights);
        format.values(stage, lane, weights, o, carry);
        if (F::WINDOW && edge) rest(token, weights);
    }
}

template <class F>
__device__ __forceinline__ void attend(const AttendParams& p) {
    constexpr int D = F::D, TILES = D / 16;
    extern __shared__ __align__(16) char shared[];
    // The broadcast tells the compiler that the warp's number, and so its loop, is the same in all lanes.
    const int lane = threadIdx.x & 31, warp = __shfl_sync(0xffffffffu, threadIdx.x >> 5, 0), t = lane & 3;
    const int pass = blockIdx.x % p.passes, chunk = blockIdx.x / p.passes;
    const int kv_head = blockIdx.y, sequence = blockIdx.z;

    const kv::Sequence own = kv::load_sequence(p.kv, p.batch, sequence);
    const int len = min(own.n, p.max_len);  // Positions beyond are absent.
    const uint32_t odd = own.status | (own.n > p.max_len ? kv::STATUS_TOO_LONG : 0);
    if (odd != 0 && threadIdx.x == 0) atomicOr(reinterpret_cast<unsigned*>(p.kv.status), odd);
    const int columns = own.m * p.group, first_column = pass * COLUMNS;
    const int chunks = chunk_count(len);
    if (first_column >= columns || chunk >= chunks) return;

    const int first_query = first_column / p.group;
    const int last_query = (min(first_column + COLUMNS, columns) - 1) / p.group;
    const int window = p.window == 0 ? 0x40000000 : p.window;
    const int chunk_first = chunk * chunk_tokens(len);
    const int chunk_end = min(len, chunk_first + chunk_tokens(len));
    const Span span{max(chunk_first, own.p0 + first_query + 1 - window), min(chunk_end, own.p0 + last_query + 1),
                    own.p0 + last_query + 1 - window, own.p0 + first_query + 1};

    stage_query<F>(p, shared, first_column, columns, own.row0, kv_head);
    __syncthreads();

    const auto head_scale = [&](uint64_t scale, uint32_t stride) {
        return F::UNIT * (scale == 0 ? 1.0f : reinterpret_cast<const float*>(scale)[kv_head * stride]);
    };
    const float k_factor = head_scale(p.kv.k_scale, p.kv.k_scale_stride);
    const float v_factor = head_scale(p.kv.v_scale, p.kv.v_scale_stride);
    float factor[2];
    Visible visible;
#pragma unroll
    for (int n = 0; n < 2; ++n) {
        factor[n] = reinterpret_cast<const float*>(shared + Shared<F>::FACTOR)[2 * t + n] * k_factor;
        const int position = own.p0 + (first_column + 2 * t + n) / p.group;
        visible.end[n] = min(position + 1, len);
        visible.first[n] = position + 1 - window;
    }

    Softmax softmax;
    float o[TILES][4];
    typename F::Carry carry;
    char* ring = shared + warp * F::STAGES * F::RECORD;
    const F format{p.zero};
    if constexpr (F::WINDOW) {
        windowed(p, format, shared, ring, sequence, kv_head, own, span, factor, visible, warp, lane, softmax, o, carry);
    } else {
        uint32_t q[D / 16][2];
        load_query<D>(reinterpret_cast<const uint32_t*>(shared + Shared<F>::RING), lane, q);
        softmax.clear(0x1p14f, 4.0f);
#pragma unroll
        for (int m = 0; m < TILES; ++m) o[m][0] = o[m][1] = o[m][2] = o[m][3] = 0.0f;
        coded_tiles<F>(p, format, ring, sequence, kv_head, span, span.end, span.end, q, factor, visible, warp, lane,
                       softmax, o, carry, NoRest());
    }
    carry.finish(o, lane);
    join_warps<F>(shared, softmax, o, v_factor, first_column, columns, own.row0, kv_head, Output<F>{p, chunk, chunks});
}

}  // namespace lowbit
