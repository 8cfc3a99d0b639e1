// The CTA of attend.cuh: its part of the work, the loop over tiles, and the meeting of the four warps.
#pragma once
#include "attention/attend.cuh"

namespace lowbit {

// Words from one column to the next where rows wait to be rotated.
template <int D>
constexpr int ROTATED_PITCH = D + 16;

// Writes a chunk's result: to `out` and `lse` when it is the only one, to the parts otherwise.
template <int D>
__device__ __forceinline__ void store_element(const AttendParams& p, const Job& job, const Column& column, int ch,
                                              float x) {
    if (job.chunks == 1) {
        const uint64_t at = p.out + 2 * (column.row * p.out_stride + column.head * D + ch);
        *reinterpret_cast<uint16_t*>(at) = static_cast<uint16_t>(pack_16(static_cast<DType>(p.kv.dtype), x, 0.0f));
    } else {
        const uint64_t row = static_cast<uint64_t>(column.row) * p.heads + column.head;
        reinterpret_cast<float*>(p.parts_out)[(row * p.max_chunks + job.chunk) * D + ch] = x;
    }
}

__device__ __forceinline__ void store_lse(const AttendParams& p, const Job& job, const Column& column, float value) {
    const uint64_t row = static_cast<uint64_t>(column.row) * p.heads + column.head;
    if (job.chunks > 1) {
        reinterpret_cast<float*>(p.parts_lse)[row * p.max_chunks + job.chunk] = value;
    } else if (p.lse != 0) {
        reinterpret_cast<float*>(p.lse)[row] = value;
    }
}

// Columns 2w, 2w+1 of warp w, `rows` ROTATED_PITCH words apart, rotated back and written out.
template <class F>
__device__ __forceinline__ void store_rotated(const AttendParams& p, const Job& job, float* rows, int lane, int warp) {
    constexpr int D = F::D;
    __syncwarp();
#pragma unroll 1
    for (int j = 0; j < 2; ++j) {
        const Column column(p, job, 2 * warp + j);
        float* row = rows + j * ROTATED_PITCH<D>;
        rotate_row<D>(row, p.v_block, p.v_norm);
        __syncwarp();
        if (!column.valid) continue;
        for (int ch = lane; ch < D; ch += 32) store_element<D>(p, job, column, ch, row[ch]);
    }
}

// The warps' m, l, O become one row per column, written out. Accumulators go into shared memory register by register,
// lane by lane, PITCH words from one register to the next; warp w then adds columns 2w, 2w+1 in the order of the warps,
// neighbouring lanes neighbouring channels (F::place_out), so that sectors are stored whole. PITCH is odd: a request of
// either side touches every bank once.
template <class F>
__device__ __forceinline__ void join_warps(const AttendParams& p, char* shared, const Softmax& softmax,
                                           const float (&o)[F::D / 16][4]) {
    constexpr int TILES = F::D / 16, PITCH = 33, ROTATED = WARPS * TILES * 4 * PITCH;
    static_assert(4 * (ROTATED + COLUMNS * ROTATED_PITCH<F::D>) <= Shared<F>::RING, "what meets here fits the ring");
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
        for (int e = 0; e < 4; ++e) accumulators[((warp * TILES + m) * 4 + e) * PITCH + lane] = o[m][e];
    }
    __syncthreads();

    const int n = F::place_out(lane, 0).n;
    const Job job = *reinterpret_cast<const Job*>(shared + Shared<F>::JOB);
    const Column column(p, job, 2 * warp + n);
    const bool rotated = F::ROTATES && p.v_block != 0;
    if (!column.valid && !rotated) return;
    float* rows = accumulators + ROTATED + 2 * warp * ROTATED_PITCH<F::D>;
    float2 s[WARPS];
    // With more chunks the sink comes in when they are merged.
    const float sink = job.chunks == 1 ? sink_logit(p, column.head) * LOG2_E : -INFINITY;
    float weight[WARPS], top = sink;
#pragma unroll
    for (int w = 0; w < WARPS; ++w) {
        s[w] = state[w * COLUMNS + 2 * warp + n];
        if (s[w].y != 0.0f) top = fmaxf(top, log2_approx(s[w].y) - s[w].x);
    }
    float total = sink != -INFINITY ? exp2_approx(sink - top) : 0.0f;
#pragma unroll
    for (int w = 0; w < WARPS; ++w) {
        weight[w] = s[w].y != 0.0f ? exp2_approx(-s[w].x - top) : 0.0f;
        total += s[w].y * weight[w];
    }
    const float over = total != 0.0f ? job.v_factor / total : 0.0f;
#pragma unroll
    for (int item = 0; item < TILES; ++item) {
        const OutPlace place = F::place_out(lane, item);
        float sum = 0.0f;
#pragma unroll
        for (int w = 0; w < WARPS; ++w) {
            const int at = ((w * TILES + place.m) * 4 + 2 * place.r + n) * PITCH + 4 * place.g + warp;
            if (weight[w] != 0.0f) sum = fmaf(weight[w], accumulators[at], sum);  // 0: the warp saw nothing.
        }
        float out = sum * over;
        if constexpr (F::OUT_SCALES) {
            out *= reinterpret_cast<const float*>(p.kv.v_scale)[job.kv_head * p.kv.v_scale_stride + place.channel];
        }
        if (rotated) {
            rows[n * ROTATED_PITCH<F::D> + place.channel] = out;
        } else {
            store_element<F::D>(p, job, column, place.channel, out);
        }
    }
    if (column.valid && F::place_out(lane, 0).channel == 0) {  // One lane a column.
        store_lse(p, job, column, total != 0.0f ? (top + log2_approx(total)) * LN_2 : -INFINITY);
    }
    if (rotated) store_rotated<F>(p, job, rows, lane, warp);
}

// For formats whose V ends with its codes.
struct NoRest {
    template <class Weights>
    __device__ __forceinline__ void operator()(int, const Weights&) const {}
};

// Tiles of codes that hold tokens [span.first, min(span.end, k_coded)); V codes below v_coded only. The warp takes
// every fourth tile; `rest` gets (tile's first token, weights) of tiles in which V does not end with its codes.
template <class F, class Rest>
__device__ __forceinline__ void coded_tiles(const AttendParams& p, const F& format, const Job& job, char* ring,
                                            const uint32_t (&q)[F::D / 16][2], const uint32_t* second,
                                            const float (&factor)[2], const Visible* visible, int warp, int lane,
                                            Softmax& softmax, float (&o)[F::D / 16][4], typename F::Carry& carry,
                                            const Rest& rest) {
    static_assert(F::STAGES == 2, "one tile in flight while one is read");
    const Span span = job.span;
    const int end = min(span.end, job.source.k_coded);
    const int clean_end = min(min(span.all_end, job.source.v_coded), end);
    if (span.first >= end) return;
    const uint32_t last = (end + F::TILE - 1) / F::TILE;
    uint32_t clean_first = max(0, span.all_first + F::TILE - 1) / F::TILE;
    asm volatile("" : "+r"(clean_first));  // Computed once.
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
            const uint32_t page = page_of(p, job.sequence, mine * F::TILE);
            bad = page >= static_cast<uint32_t>(p.kv.num_pages);
            if (!bad) offsets = tile_offset<F>(p, job.kv_head, page, mine * F::TILE);
        }
        if (bad) atomicOr(reinterpret_cast<unsigned*>(p.kv.status), kv::STATUS_BAD_PAGE);
        if (__any_sync(0xffffffffu, bad)) clean = 0;  // Every tile is looked at from here on.
        asm volatile("" : "+r"(clean));               // Keeps that out of the loop.
    };
    const typename F::Keys::Query query = format.prepare(q, second, lane);
    refill(tile);
    fetch<F>(p, pages, __shfl_sync(0xffffffffu, offsets, 0), base, lane);
    cp_async_commit();
    uint32_t read = 0;
    const uint32_t both = base + F::RECORD;
#pragma unroll 1
    for (; tile < last; tile += WARPS, ++slot) {
        cp_async_wait<0>();
        __syncwarp();  // All lanes' copies of this stage are here, and all lanes have done with the other.
        if (slot % 32 == 0) refill(tile + WARPS);
        char* stage = ring + read;
        fetch<F>(p, pages, __shfl_sync(0xffffffffu, offsets, slot), both - read, lane);
        read = F::RECORD - read;
        cp_async_commit();

        const int token = tile * F::TILE;
        const bool edge = tile - clean_first >= clean;
        const auto here = [&] { return page_of(p, job.sequence, token) < static_cast<uint32_t>(p.kv.num_pages); };
        if (edge) {
            const bool present = here();
            const int from = job.span.first, to = min(job.span.end, job.source.k_coded);
            uint32_t keep_k[F::STEPS], keep_v[F::STEPS];
#pragma unroll
            for (int step = 0; step < F::STEPS; ++step) {
                const int first = token + 32 * step;
                keep_k[step] = present ? token_bits(first, from, to) : 0;
                keep_v[step] = present ? token_bits(first, from, min(to, job.source.v_coded)) : 0;
            }
            F::erase(stage, lane, keep_k, keep_v);
            __syncwarp();
        }
#pragma unroll
        for (int step = 0; step < F::STEPS; ++step) {
            const int first = token + 32 * step;
            float c[F::HALVES][4] = {}, bias[2] = {};
            uint32_t weights[F::PARTS][F::HALVES][2];
            format.scores(stage, step, first, lane, query, q, c, bias);
            softmax.step<F::TOKEN_SCALES, F::COLUMN_BIAS, F::BF16>(p, c, F::k_scales(stage, lane >> 2),
                                                                   F::v_scales(stage, lane >> 2), bias, factor, edge,
                                                                   here, first, visible, lane, o, carry, weights);
            format.values(stage, step, first, lane, weights, o, carry);
            if (F::WINDOW && edge) rest(first, weights);
        }
    }
}

// What the columns of the pass see of the tokens below `limit`.
__device__ __forceinline__ void place_columns(const AttendParams& p, const kv::Sequence& own, int kv_head,
                                              int first_column, int limit, int window, Visible* visible) {
    const int columns = own.m * p.group;
    if (threadIdx.x < COLUMNS) {
        const int column = first_column + threadIdx.x, position = own.p0 + column / p.group;
        float slope = 0.0f;
        if (p.alibi_slopes != 0 && column < columns) {
            slope = LOG2_E * reinterpret_cast<const float*>(p.alibi_slopes)[kv_head * p.group + column % p.group];
        }
        visible[threadIdx.x] = {position + 1 - window, min(position + 1, limit), position, slope, 0x7fffffff, 0};
        if (p.tree_mask != 0 && column < columns) {
            const uint32_t all = 0xffffffffu >> (32 - min(own.m, 32));
            const uint32_t tree = reinterpret_cast<const uint32_t*>(p.tree_mask)[own.row0 + column / p.group] & all;
            const int depth = own.p0 + __popc(tree);  // of the position after its own
            visible[threadIdx.x] = {depth - window, limit, depth - 1, slope, own.p0, tree};
        }
    }
}

// Scales of groups times P are f16: P below 2^12 leaves room for scales below 16. If that did not do, `run` runs again
// with P below 1: a scale is at most 2 * 65504 / 3.
template <class F, class Run>
__device__ __forceinline__ void with_room(Softmax& softmax, float (&o)[F::D / 16][4], typename F::Carry& carry,
                                          const Run& run) {
#pragma unroll 1
    for (float trigger = 0x1p12f; trigger >= 1.0f; trigger *= 0x1p-12f) {
        softmax.clear(trigger);
        carry.clear();
#pragma unroll
        for (int m = 0; m < F::D / 16; ++m) o[m][0] = o[m][1] = o[m][2] = o[m][3] = 0.0f;
        run();
        float probe = 0.0f;
#pragma unroll
        for (int m = 0; m < F::D / 16; ++m) probe += (o[m][0] + o[m][1] + o[m][2] + o[m][3]) * 0.0f;
        if (!__any_sync(0xffffffffu, probe != 0.0f)) break;
        __syncwarp();
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
    const bool prefix = p.parts != 0;
    const int chunks = prefix ? p.parts : chunk_count(len);
    if (first_column >= columns || chunk >= chunks) return;

    Source source{0x7fffffff, 0x7fffffff, -1};
    int hidden = 0;  // Tokens below are absent.
    if constexpr (F::WINDOW) source = load_source(p, own, sequence);
    if constexpr (F::TABLES > 0) {
        source.slot = load_source(p, own, sequence).slot;
        if (source.slot < 0) hidden = static_cast<int>(p.kv.ring_rows);
    }
    int limit = F::WINDOW && source.slot < 0 ? min(len, source.v_coded) : len;  // Tokens from here on are absent.
    if (prefix) limit = min(limit, own.p0);
    const int first_query = first_column / p.group;
    const int last_query = (min(first_column + COLUMNS, columns) - 1) / p.group;
    const int window = p.window == 0 ? 0x40000000 : p.window;
    const int chunk_first = chunk * chunk_tokens(len);
    const int chunk_end = prefix ? limit : min(limit, chunk_first + chunk_tokens(len));
    Span span{max(chunk_first, own.p0 + first_query + 1 - window), min(chunk_end, own.p0 + last_query + 1),
              own.p0 + last_query + 1 - window, own.p0 + first_query + 1};
    // In a tree a row may be anywhere from the first new position to the last, and see any new token.
    if (p.tree_mask != 0) span = {max(chunk_first, own.p0 - window), chunk_end, own.n - window, own.p0};

    span.first = max(span.first, hidden), span.all_first = max(span.all_first, hidden);

    Visible* visible = reinterpret_cast<Visible*>(shared + Shared<F>::VISIBLE);
    place_columns(p, own, kv_head, first_column, limit, window, visible);
    if (F::TABLES > 0 && threadIdx.x < COLUMNS) visible[threadIdx.x].first = max(visible[threadIdx.x].first, hidden);
    // Scales per channel are elsewhere: in the query, and in what is written out.
    const auto head_scale = [&](bool per_channel, float unit, uint64_t scale, uint32_t stride) {
        const bool none = F::TABLES > 0 || scale == 0 || per_channel;
        return unit * (none ? 1.0f : reinterpret_cast<const float*>(scale)[kv_head * stride]);
    };
    const float v_factor = head_scale(F::Values::CHANNEL_SCALES, F::Values::UNIT, p.kv.v_scale, p.kv.v_scale_stride);
    const Job given{span, source, sequence, kv_head, first_column, columns, own.row0, chunk, chunks, v_factor, 0};
    const Job& job = *reinterpret_cast<const Job*>(shared + Shared<F>::JOB);
    if (threadIdx.x == 0) *reinterpret_cast<Job*>(shared + Shared<F>::JOB) = given;
    stage_query<F>(p, given, shared);
    if constexpr (F::TABLES > 0) F::load_tables(p, kv_head, shared + Shared<F>::TABLES);
    __syncthreads();

    const float k_factor = head_scale(F::Keys::CHANNEL_SCALES, F::Keys::UNIT, p.kv.k_scale, p.kv.k_scale_stride);
    float factor[2];
#pragma unroll
    for (int n = 0; n < 2; ++n) {
        factor[n] = reinterpret_cast<const float*>(shared + Shared<F>::FACTOR)[2 * t + n] * k_factor;
    }

    Softmax softmax;
    float o[TILES][4];
    typename F::Carry carry;
    char* ring = shared + warp * F::STAGES * F::RECORD;
    const F format = [&] {
        if constexpr (F::TABLES > 0) {
            return F(p, given, shared, shared + Shared<F>::TABLES);
        } else {
            return F{p.zero};
        }
    }();
    if constexpr (F::WINDOW) {
        windowed(p, format, job, shared, ring, factor, visible, warp, lane, softmax, o, carry);
    } else {
        uint32_t q[D / 16][2];
        if constexpr (F::TABLES == 0) {
            load_query<D>(reinterpret_cast<const uint32_t*>(shared + Shared<F>::RING), lane, q);
        }
        const auto run = [&] {
            const uint32_t* second = reinterpret_cast<const uint32_t*>(shared + Shared<F>::RAW);
            coded_tiles<F>(p, format, job, ring, q, second, factor, visible, warp, lane, softmax, o, carry, NoRest());
        };
        if constexpr (F::GROUP_SCALES) {
            with_room<F>(softmax, o, carry, run);
        } else {
            softmax.clear(0x1p14f);
#pragma unroll
            for (int m = 0; m < TILES; ++m) o[m][0] = o[m][1] = o[m][2] = o[m][3] = 0.0f;
            run();
        }
    }
#pragma unroll
    for (int m = 0; m < TILES; ++m) {
#pragma unroll
        for (int e = 0; e < 4; ++e) o[m][e] *= F::Values::out_unit(m, e / 2);
    }
    carry.finish(o, lane);
    join_warps<F>(p, shared, softmax, o);
}

}  // namespace lowbit
