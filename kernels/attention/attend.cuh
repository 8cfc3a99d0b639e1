// attend: decode attention over a paged, quantized KV cache; one CTA per (sequence, KV head, chunk of tokens).
//
//   s[c, t] = softmax_scale * q[c] . k[t]         columns c = (query token, query head of this KV head), tokens t
//             (then soft-cap, ALiBi)
//   out[c]  = sum_t softmax(s[c, :])[t] * v[t]    over the tokens the column sees (causal, window)
//   lse[c]  = log (sum_t exp(s[c, t]) + exp(sink))
//
// Bound by the bytes of K and V, which are read once for all columns; instructions must stay below ~5 a lane and byte.
// 1. K is the M side of mma.m16n8k16 (16 tokens), the columns are the N side: 1..8 of them cost the same. P V is done
//    transposed (16 channels of V on M), so P passes from a C fragment to a B fragment by one movmatrix per 8 tokens.
//    More than 8 columns are further CTAs beside this one.
// 2. The cache stores codes in fragment order (format_*.cuh), so a 16-byte load is an operand but for its decoding. The
//    query is permuted once to match.
// 3. Each of the 4 warps owns whole tiles (w, w+4, ..) with its own m, l, O: no barrier in the loop. Tile records are
//    contiguous and go through a ring of cp.async stages that belongs to the warp: codes and scales in one stage.
// 4. Scales stay out of the products: the formats say where each goes.
// 5. What a column does not see, and tokens that are absent (past the end, on a bad page), are erased in the stage and
//    their weights selected to 0: no byte outside what is read can reach a result.
// The chunks of a sequence depend on its own length alone (params.cuh); merge.cu adds them in order.
#pragma once
#include "attention/params.cuh"
#include "attention/rotation.cuh"
#include "attention/softmax.cuh"
#include "common/cp_async.cuh"

namespace lowbit {

constexpr int WARPS = 4, COLUMNS = 8;
constexpr int Q_PITCH =
    36;  // words from one B register of all lanes to the next: 32 + 4 keeps the writes free of conflicts
constexpr uint32_t ABSENT = 0xffffffffu;

// Shared memory of one CTA, bytes: the ring, the query in fragment order (twice if RAW_Q or with scales per channel),
// per column its factor and which tokens it sees, per warp and column m and l, the format's tables. The O accumulators
// of the warps meet in the ring's place.
template <class F>
struct Shared {
    static constexpr int RING = WARPS * F::STAGES * F::RECORD;
    static constexpr int QUERY = F::D / 8 * Q_PITCH * 4;
    static constexpr int RAW = RING + QUERY;
    static constexpr int FACTOR = RAW + (F::RAW_Q || F::Keys::CHANNEL_SCALES ? QUERY : 0);
    static constexpr int STATE = FACTOR + COLUMNS * 4;
    static constexpr int VISIBLE = STATE + WARPS * COLUMNS * 8;
    static constexpr int JOB = VISIBLE + COLUMNS * 24;
    static constexpr int TABLES = JOB + 64;
    static constexpr int BYTES = TABLES + F::TABLES;
};

// What a CTA reads: tokens [first, end) are seen by some column of the pass, [all_first, all_end) by every one of them.
struct Span {
    int first, end, all_first, all_end;
};

// From where on tokens are in the window (formats without one: nowhere), and which window that is.
struct Source {
    int k_coded, v_coded;  // F_k, F_v
    int slot;              // -1: a bad one, its tokens are absent
};

__device__ __forceinline__ Source load_source(const AttendParams& p, const kv::Sequence& own, int sequence) {
    uint32_t status = 0;
    const int ring_start = kv::load_ring_start(p.kv, p.batch, sequence, own.p0, status);
    Source source;
    source.k_coded = kv::keys_coded(p.kv, own.p0, own.n);
    source.v_coded = kv::values_coded(p.kv, own.p0, own.n, ring_start);
    const bool bad = kv::load_slot(p.kv, p.batch, sequence, status) == nullptr;
    source.slot = bad ? -1 : reinterpret_cast<const int*>(p.batch.state_slots)[sequence];
    if (status != 0 && threadIdx.x == 0) atomicOr(reinterpret_cast<unsigned*>(p.kv.status), status);
    return source;
}

// What a CTA was given. It waits in shared memory, not in registers: only the ends of the work and rare tiles look at
// it.
struct Job {
    Span span;
    Source source;
    int sequence, kv_head;
    int first_column, columns;  // of the pass; of the sequence
    int row0;                   // first row of the sequence in q and out
    int chunk, chunks;
    float v_factor;  // of the outputs
    int reserved;
};
static_assert(sizeof(Job) == 64, "a multiple of 16");

// One column of the pass: its query token and head.
struct Column {
    bool valid;
    int row, head;  // row of q and out

    __device__ __forceinline__ Column(const AttendParams& p, const Job& job, int index) {
        index += job.first_column;
        valid = index < job.columns;
        row = job.row0 + index / p.group;
        head = job.kv_head * p.group + index % p.group;
    }
};

// The query rows of this pass, to f16 in fragment order: warp w does columns 2w, 2w+1; lane L channels 64x+2L, +1.
template <class F>
__device__ __forceinline__ void stage_query(const AttendParams& p, const Job& job, char* shared) {
    constexpr int D = F::D;
    const int lane = threadIdx.x & 31, warp = threadIdx.x >> 5;
    const DType dtype = static_cast<DType>(p.kv.dtype);
    uint32_t* query = reinterpret_cast<uint32_t*>(shared + Shared<F>::RING);
    uint32_t* raw = reinterpret_cast<uint32_t*>(shared + Shared<F>::RAW);
    float* factor = reinterpret_cast<float*>(shared + Shared<F>::FACTOR);
#pragma unroll
    for (int j = 0; j < 2; ++j) {
        const int g = 2 * warp + j;
        const Column column(p, job, g);
        constexpr int N = (D + 63) / 64;
        uint32_t word[N];
        float2 q[N];
        float most = 0.0f;
#pragma unroll
        for (int x = 0; x < N; ++x) {
            word[x] = 0;
            if (column.valid && 64 * x + 2 * lane < D) {
                const uint64_t at = p.q + 2 * (column.row * p.q_stride + column.head * D + 64 * x + 2 * lane);
                word[x] = *reinterpret_cast<const uint32_t*>(at);
            }
            q[x] = unpack_16(dtype, word[x]);
        }
        if (F::ROTATES && p.k_block != 0) {
            // In the warp's ring, which is not in use yet; a lane's own channels before and after.
            float* row = reinterpret_cast<float*>(shared) + warp * D;
#pragma unroll
            for (int x = 0; x < N; ++x) {
                if (64 * x + 2 * lane < D) *reinterpret_cast<float2*>(row + 64 * x + 2 * lane) = q[x];
            }
            rotate_row<D>(row, p.k_block, p.k_norm);
#pragma unroll
            for (int x = 0; x < N; ++x) {
                if (64 * x + 2 * lane < D) q[x] = *reinterpret_cast<const float2*>(row + 64 * x + 2 * lane);
                word[x] = pack_16(dtype, q[x].x, q[x].y);
            }
        }
        if (F::TABLES > 0 && p.key_rope >> 31) {
            // Pairs become neighbours, as keys are stored; through the warp's ring.
            float* row = reinterpret_cast<float*>(shared) + warp * D;
#pragma unroll
            for (int x = 0; x < N; ++x) {
                if (64 * x + 2 * lane < D) *reinterpret_cast<float2*>(row + 64 * x + 2 * lane) = q[x];
            }
            __syncwarp();
#pragma unroll
            for (int x = 0; x < N; ++x) {
                const int slot = 64 * x + 2 * lane;
                if (slot >= D) continue;
                q[x] = {row[kv::key_channel(p.key_rope, slot)], row[kv::key_channel(p.key_rope, slot + 1)]};
            }
            __syncwarp();
        }
        if constexpr (F::Keys::CHANNEL_SCALES) {
            const float* scale = reinterpret_cast<const float*>(p.kv.k_scale) + job.kv_head * p.kv.k_scale_stride;
#pragma unroll
            for (int x = 0; x < N; ++x) {
                const int ch = 64 * x + 2 * lane;
                if (D % 64 == 0 || ch < D) q[x].x *= scale[ch], q[x].y *= scale[ch + 1];
            }
        }
#pragma unroll
        for (int x = 0; x < N; ++x) most = fmaxf(most, fmaxf(fabsf(q[x].x), fabsf(q[x].y)));
        // A power of two a column brings |q| below 4 or what the keys ask for: f16 holds a bf16 query, and a query
        // times any f16 scale.
        int exponent = 0;
        if constexpr (F::NORMALIZE_Q) {
#pragma unroll
            for (int x = 1; x < 32; x *= 2) most = fmaxf(most, __shfl_xor_sync(0xffffffffu, most, x));
            if (most > 0.0f) {
                exponent = static_cast<int>(__float_as_uint(most) >> 23) - 126 - F::Keys::Q_EXPONENT;
                exponent = max(-100, min(100, exponent));
            }
        }
        if (lane == 0) factor[g] = p.softmax_scale * LOG2_E * exp2_int(exponent);
#pragma unroll
        for (int x = 0; x < N; ++x) {
            const int ch = 64 * x + 2 * lane;
            const bool there = D % 64 == 0 || ch < D;
            if (F::RAW_Q && there) {
                const QueryPlace place = half_row_place<D>(ch);
                raw[(2 * place.step + place.reg) * Q_PITCH + 4 * g + place.t] = word[x];
            }
            if constexpr (F::NORMALIZE_Q) {
                const float by = exp2_int(-exponent);
                word[x] = pack_f16(q[x].x * by, q[x].y * by);
            }
            if constexpr (F::Keys::CHANNEL_SCALES) {
                const float by = exp2_int(-exponent);
                const float2 high = unpack_16(DType::F16, word[x]);
                const QueryPlace place = F::Keys::place(ch);
                const uint32_t low = pack_f16(q[x].x * by - high.x, q[x].y * by - high.y);
                if (there) raw[(2 * place.step + place.reg) * Q_PITCH + 4 * g + place.t] = low;
            }
            word[x] = F::Keys::pair_up(word[x], lane, ch);
            if (!there) continue;
            const QueryPlace place = F::Keys::place(ch);
            query[(2 * place.step + place.reg) * Q_PITCH + 4 * g + place.t] = word[x];
        }
    }
}

// B fragments of the query from shared memory.
template <int D>
__device__ __forceinline__ void load_query(const uint32_t* query, int lane, uint32_t (&q)[D / 16][2]) {
#pragma unroll
    for (int s = 0; s < D / 16; ++s) {
        q[s][0] = query[2 * s * Q_PITCH + lane];
        q[s][1] = query[(2 * s + 1) * Q_PITCH + lane];
    }
}

// The page of a token as the block table gives it; not checked.
__device__ __forceinline__ uint32_t page_of(const AttendParams& p, int sequence, int token) {
    const int64_t at = static_cast<int64_t>(sequence) * p.batch.max_blocks + (token >> p.kv.page_shift);
    return reinterpret_cast<const uint32_t*>(p.batch.block_table)[at];
}

// Offset of a tile in the pages, in 16-byte units: 32 bits reach 64 GiB.
template <class F>
__device__ __forceinline__ uint32_t tile_offset(const AttendParams& p, int kv_head, uint32_t page, int token) {
    const uint32_t in_page = (token & ((1 << p.kv.page_shift) - 1)) / F::TILE;
    return page * (p.kv.page_bytes / 16) + kv_head * (p.kv.head_bytes / 16) + in_page * (F::RECORD / 16);
}

// Queues the copy of one tile record into a stage, from piece AT on. `from` and `to` are the lane's; `from` is MIDDLE
// bytes on, because the instruction's offsets reach 2 KB either way, and moves on where they end.
constexpr int MIDDLE = 2048, REACH = 2 * MIDDLE;

template <class F, int AT = 0>
__device__ __forceinline__ void fetch_pieces(const AttendParams& p, bool wanted, const char* from, uint32_t to,
                                             int lane) {
    if constexpr (AT < F::RECORD) {
        // Of a constant ptxas would make the sum anew for every piece.
        if constexpr (AT > 0 && AT % REACH == 0) from += p.reach;
        constexpr bool WHOLE = AT + 512 <= F::RECORD;
        cp_async_16_if<AT, AT % REACH - MIDDLE>(wanted && (WHOLE || lane < (F::RECORD - AT) / 16), to, from);
        fetch_pieces<F, AT + 512>(p, wanted, from, to, lane);
    }
}

template <class F>
__device__ __forceinline__ void fetch(const AttendParams& p, const char* pages, uint32_t offset, uint32_t to,
                                      int lane) {
    fetch_pieces<F>(p, offset != ABSENT, pages + static_cast<uint64_t>(offset) * 16, to, lane);
}

// Bits `n` to 31; none if n > 31: a shift of PTX clamps (PTX ISA 9.7.8.8), one of C++ does not. (Comparisons instead
// would be fused with the clamp of `n` by ptxas 13.0 for sm_90, to a VIMNMX.RELU whose predicate is not the
// comparison.)
__device__ __forceinline__ uint32_t bits_from(int n) {
    uint32_t out;
    asm("shl.b32 %0, %1, %2;" : "=r"(out) : "r"(0xffffffffu), "r"(max(n, 0)));
    return out;
}

// Bits of the tokens `from <= t < to` of a tile that begins at `token`.
__device__ __forceinline__ uint32_t token_bits(int token, int from, int to) {
    return bits_from(from - token) & ~bits_from(to - token);
}

}  // namespace lowbit

#include "attention/attend_loop.cuh"
