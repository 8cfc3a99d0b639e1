// The window: the newest tokens of a sequence as plain rows in the model's type, and the walk over codes and window.
//
// Key codes are read for t < F_k, value codes for t < F_v <= F_k, rows of the window above (kernels/kv/layout.cuh), so
// there are three kinds of tiles: both coded; K coded with V (in part) from the window; both from the window. The
// steady loop is the first kind; the others are a few tiles at the end of a sequence.
#pragma once
#include "attention/attend.cuh"

namespace lowbit {

// Rows of one head: a ring of a slot, in which 32 tokens from a multiple of 32 on are contiguous, or the call's own.
template <int D, bool BF16>
struct Window {
    const char *k, *v;
    int rows;
    int k_bytes, v_bytes;  // from one row to the next

    __device__ __forceinline__ Window(const AttendParams& p, const Job& job) {
        k = reinterpret_cast<const char*>(p.kv.state) + static_cast<int64_t>(job.source.slot) * p.kv.state_bytes +
            static_cast<int64_t>(job.kv_head) * p.kv.ring_head_bytes;
        v = k + p.kv.ring_v_offset;
        rows = static_cast<int>(p.kv.ring_rows);
        k_bytes = v_bytes = 2 * D;
    }

    __device__ __forceinline__ Window(const AttendParams& p, const Job& job, const kv::Sequence& own) {
        const int64_t before = static_cast<int64_t>(own.row0) - own.p0;  // Rows are asked for by position.
        k_bytes = 2 * static_cast<int>(p.chunk_k_stride);
        v_bytes = 2 * static_cast<int>(p.chunk_v_stride);
        k = reinterpret_cast<const char*>(p.chunk_k) + before * k_bytes + 2 * D * job.kv_head;
        v = reinterpret_cast<const char*>(p.chunk_v) + before * v_bytes + 2 * D * job.kv_head;
        rows = 0x7fffffff;
    }

    // Scores of tokens token .. token+31; those outside [from, to) are not read.
    __device__ __forceinline__ void scores(int token, int from, int to, const uint32_t* query, int lane,
                                           float (&c)[2][4]) const {
        const char* base = k + static_cast<int64_t>(token % rows) * k_bytes;
        const int g = lane >> 2, t = lane & 3;
#pragma unroll
        for (int x = 0; x < (D + 31) / 32; ++x) {
            const bool whole = x < D / 32;  // else 16 channels, half_row_place's last
            uint32_t q[2][2];
#pragma unroll
            for (int r = 0; r < (whole ? 4 : 2); ++r) q[r / 2][r % 2] = query[(4 * x + r) * Q_PITCH + lane];
#pragma unroll
            for (int i = 0; i < 2; ++i) {
                uint4 row[2];
#pragma unroll
                for (int h = 0; h < 2; ++h) {
                    const int at = 16 * i + 8 * h + g;
                    row[h] = make_uint4(0, 0, 0, 0);
                    if (token + at < from || token + at >= to) continue;
                    const char* channels = base + static_cast<int64_t>(at) * k_bytes + 64 * x;
                    if (whole) {
                        row[h] = *reinterpret_cast<const uint4*>(channels + 16 * t);
                    } else {
                        row[h].x = *reinterpret_cast<const uint32_t*>(channels + 4 * t);
                        row[h].y = *reinterpret_cast<const uint32_t*>(channels + 16 + 4 * t);
                    }
                }
                mma_16<BF16>(c[i], {row[0].x, row[1].x, row[0].y, row[1].y}, q[0]);
                if (whole) mma_16<BF16>(c[i], {row[0].z, row[1].z, row[0].w, row[1].w}, q[1]);
            }
        }
    }

    // o += weights * values of tokens token .. token+31; those outside [from, to) count as 0 and are not read. Weights
    // are in the type of the window. Accumulators are in the units of `Unit`: a value side, or Side for 1.
    template <class Unit>
    __device__ __forceinline__ void values(int token, int from, int to, const uint32_t (&weights)[BF16 ? 2 : 1][2][2],
                                           int lane, float (&o)[D / 16][4]) const {
        const int g = lane >> 2, t = lane & 3;
        const char* base = v + static_cast<int64_t>(token % rows) * v_bytes + 4 * g;
        asm volatile("" : "+l"(base));  // One address for all channels, the rest in the instructions.
#pragma unroll
        for (int m = 0; m < D / 16; ++m) {
            constexpr bool plain = Unit::out_unit(0, 0) == 1.0f;
            float sum[4] = {};
#pragma unroll
            for (int i = 0; i < 2; ++i) {
                uint32_t a[4];
#pragma unroll
                for (int h = 0; h < 2; ++h) {
                    uint32_t row[2];
#pragma unroll
                    for (int e = 0; e < 2; ++e) {
                        const int at = 16 * i + 8 * h + 2 * t + e;
                        row[e] = 0;
                        if (token + at >= from && token + at < to) {
                            row[e] =
                                *reinterpret_cast<const uint32_t*>(base + static_cast<int64_t>(at) * v_bytes + 32 * m);
                        }
                    }
                    a[2 * h] = __byte_perm(row[0], row[1], 0x5410);
                    a[2 * h + 1] = __byte_perm(row[0], row[1], 0x7632);
                }
#pragma unroll
                for (int part = 0; part < (BF16 ? 2 : 1); ++part) {
                    mma_16<BF16>(plain ? o[m] : sum, a, weights[part][i]);
                }
            }
            if constexpr (!plain) {
#pragma unroll
                for (int e = 0; e < 4; ++e) o[m][e] = fmaf(sum[e], 1.0f / Unit::out_unit(m, e / 2), o[m][e]);
            }
        }
    }
};

// f16 weights in the type of the window: as they are, or as two bf16 whose sum they are.
template <bool BF16>
__device__ __forceinline__ void window_weights(const uint32_t (&p)[2][2], uint32_t (&weights)[BF16 ? 2 : 1][2][2]) {
#pragma unroll
    for (int x = 0; x < 4; ++x) {
        const uint32_t pair = p[x / 2][x % 2];
        weights[0][x / 2][x % 2] = pair;
        if constexpr (BF16) {
            const float2 exact = unpack_16(DType::F16, pair);
            const uint32_t high = pack_bf16(exact.x, exact.y);
            const float2 rest = unpack_16(DType::Bf16, high);
            weights[0][x / 2][x % 2] = high;
            weights[1][x / 2][x % 2] = pack_bf16(exact.x - rest.x, exact.y - rest.y);
        }
    }
}

// Values of a tile whose keys are codes, from `v_coded` on: `coded` are the weights.
template <class F, bool BF16>
__device__ __forceinline__ void window_values(const AttendParams& p, const Job& job, int token,
                                              const uint32_t (&coded)[1][2][2], int lane, float (&o)[F::D / 16][4]) {
    const int from = max(job.source.v_coded, job.span.first), to = job.span.end;
    if (token + 32 <= from || from >= to) return;
    uint32_t weights[BF16 ? 2 : 1][2][2];
    window_weights<BF16>(coded[0], weights);
    const Window<F::D, BF16> window(p, job);
    window.template values<typename F::Values>(token, from, to, weights, lane, o);
}

// The warp's tiles of 32 tokens of the window from F_k on, every fourth of the chunk's.
template <class F, bool BF16>
__device__ __forceinline__ void window_tiles(const AttendParams& p, const Job& job, const char* shared,
                                             const Visible* visible, int warp, int lane, Softmax& softmax,
                                             float (&o)[F::D / 16][4], typename F::Carry& carry) {
    constexpr int TILE = 32;
    const Span span = job.span;
    const int first = span.first / TILE + warp;
    const int behind = max(0, job.source.k_coded / TILE - first);
    const Window<F::D, BF16> window(p, job);
    const uint32_t* raw_query = reinterpret_cast<const uint32_t*>(shared + Shared<F>::RAW);
    const float raw_factor[2] = {p.softmax_scale * LOG2_E, p.softmax_scale * LOG2_E};
#pragma unroll 1
    for (int token = (first + (behind + WARPS - 1) / WARPS * WARPS) * TILE; token < span.end; token += WARPS * TILE) {
        float c[2][4] = {};
        const float bias[2] = {};
        uint32_t weights[BF16 ? 2 : 1][2][2];
        window.scores(token, span.first, span.end, raw_query, lane, c);
        const bool edge = token < span.all_first || token + TILE > min(span.all_end, span.end);
        softmax.step<false, false, BF16>(
            p, c, {1.0f, 1.0f}, {1.0f, 1.0f}, bias, raw_factor, edge, [] { return true; }, token, visible, lane, o,
            carry, weights);
        window.template values<typename F::Values>(token, span.first, span.end, weights, lane, o);
    }
}

// Codes, then window. Needs no registers for the window while it reads codes: its place is computed when it is read.
template <class F>
__device__ __forceinline__ void windowed(const AttendParams& p, const F& format, const Job& job, char* shared,
                                         char* ring, const float (&factor)[2], const Visible* visible, int warp,
                                         int lane, Softmax& softmax, float (&o)[F::D / 16][4],
                                         typename F::Carry& carry) {
    constexpr int D = F::D;

    with_room<F>(softmax, o, carry, [&] {
        {
            uint32_t q[D / 16][2];
            load_query<D>(reinterpret_cast<const uint32_t*>(shared + Shared<F>::RING), lane, q);
            const auto rest = [&](int token, const uint32_t (&weights)[1][2][2]) {
                if (p.kv.dtype == kv::DTYPE_BF16) {
                    window_values<F, true>(p, job, token, weights, lane, o);
                } else {
                    window_values<F, false>(p, job, token, weights, lane, o);
                }
            };
            coded_tiles<F>(p, format, job, ring, q, nullptr, factor, visible, warp, lane, softmax, o, carry, rest);
        }
        if (p.kv.dtype == kv::DTYPE_BF16) {
            window_tiles<F, true>(p, job, shared, visible, warp, lane, softmax, o, carry);
        } else {
            window_tiles<F, false>(p, job, shared, visible, warp, lane, softmax, o, carry);
        }
    });
}

}  // namespace lowbit
