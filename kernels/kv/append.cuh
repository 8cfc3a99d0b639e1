// append: new keys and values into the paged cache, K and V in one launch. Defined by src/reference/kv.rs.
//
//   for every sequence, head, new token, its row turned by RoPE and rotated (row_transform.cuh):
//       no window:  page[K], page[V] <- codes of the row
//       window:     page[V] <- codes of the row;  ring[K], ring[V] <- the row
//   window: every key group of R tokens that ends in (p0 - max_append, end] is coded from the ring (and, in a prefill,
//       from the chunk) into its page slots;  end = p0, or n in a prefill
//
// Grid (units, kv heads, sequences), 128 threads. A unit is a tile that the new tokens touch, 16, 32 or 64 tokens of
// one head, K and V; formats with a window have one unit more (unit 0), which does everything that reads or writes the
// ring: first the key groups that need it, then the new rows. In one block, because a long chunk may overwrite ring
// rows that a group still needs.
//
// What bounds it: bytes. A chunk reads 4 bytes per channel and writes whole 16-byte pieces in the record's order (1); a
// single token writes small pieces (2 bytes of 4 for KIVI values, 1 of 2 for 8-bit values). Staged through shared
// memory in natural order, so that rows are read by whole warps (2) and the index maps appear in one place, store.cuh.
// Every access to a page or slot is behind a check of its index; see layout.cuh. Instances: append_*.cu, which compile
// with -fmad=false.
#pragma once
#include "kv/layout.cuh"
#include "kv/row_transform.cuh"
#include "kv/stage.cuh"
#include "kv/store.cuh"

namespace lowbit {
namespace kv {

struct AppendParams {
    KvParams kv;
    BatchParams batch;
    uint64_t k;  // 16-bit [total_q, stride], 16-byte aligned rows
    uint64_t v;
    uint32_t k_stride;  // elements from row to row
    uint32_t v_stride;
    uint32_t prefill;   // 1: code keys up to F_k(n)
    uint32_t key_rope;  // `key_slot`
    RowTransform k_row;
    RowTransform v_row;
};
static_assert(sizeof(AppendParams) == 240 && offsetof(AppendParams, k) == 160 &&
                  offsetof(AppendParams, prefill) == 184 && offsetof(AppendParams, k_row) == 192,
              "AppendParams is shared with Rust");

// The chunk of one sequence and head: row of a position, and what becomes of it before it is stored.
struct Chunk {
    const uint16_t* base;
    int64_t stride;
    int p0;
    const RowTransform& transform;
    __device__ __forceinline__ const uint16_t* row(int position) const { return base + (position - p0) * stride; }
};

// The ring of one sequence, head and side.
struct Ring {
    uint8_t* base;
    int rows;
    template <int D>
    __device__ __forceinline__ uint16_t* row(int position) const {
        return reinterpret_cast<uint16_t*>(base) + position % rows * D;
    }
};

// Stages the rows of `span` of the tile at `start`, a row a warp. `scales` are the caller's, of the head.
template <Code C, int SIDE, int D, class Stage>
__device__ __forceinline__ void stage_rows(Stage& stage, Chunk chunk, int start, Span span, const KvParams& kv,
                                           const float* scales, bool& nan) {
    for (int token = span.lo + threadIdx.x / 32; token < span.hi; token += THREADS / 32) {
        const uint16_t* row = chunk.row(start + token);
        if (chunk.transform.any()) {
            uint16_t* transformed = stage.row[threadIdx.x / 32];
            transform_row<D>(chunk.transform, row, start + token, kv.dtype, transformed);
            row = transformed;
        }
        stage_row<C, SIDE, D>(stage, token, row, kv.dtype, scales, nan);
    }
}

// Codes a tile's keys of a head per channel, a channel a thread. Rows below p0 come from the ring.
template <Code C, class T, int D, class Stage>
__device__ __noinline__ void code_key_tile(Stage& stage, uint8_t* record, int start, Ring ring, Chunk chunk,
                                           uint32_t dtype, bool& nan) {
    constexpr int TOKENS = T::TOKENS, PIECES = D / 8;  // 16 bytes each
    __syncthreads();                                   // The stage may still be read for the tile before.
    const bool transformed = chunk.transform.any();
    const int from_chunk = min(max(chunk.p0 - start, 0), TOKENS);
    // A tile is contiguous in the ring: it starts at a multiple of its tokens, and so does the ring end.
    const uint16_t* ring_row = ring.row<D>(start);
    for (int i = threadIdx.x; i < (transformed ? from_chunk : TOKENS) * PIECES; i += THREADS) {
        const int token = i / PIECES;
        const uint16_t* from = token < from_chunk ? ring_row + token * D : chunk.row(start + token);
        reinterpret_cast<uint4*>(stage.keys[token])[i % PIECES] = reinterpret_cast<const uint4*>(from)[i % PIECES];
    }
    if (transformed) {
        for (int token = from_chunk + threadIdx.x / 32; token < TOKENS; token += THREADS / 32) {
            transform_row<D>(chunk.transform, chunk.row(start + token), start + token, dtype, stage.keys[token]);
        }
    }
    __syncthreads();
    for (int c = threadIdx.x; c < D; c += THREADS) {
        float low = 65504.0f, high = -65504.0f;
#pragma unroll 8
        for (int token = 0; token < TOKENS; ++token) {
            const float x = sanitize(to_f32(stage.keys[token][c], dtype), nan);
            low = fminf(low, x), high = fmaxf(high, x);
        }
        const Group group = make_group<TOP<C>>(low, high);
#pragma unroll 4
        for (int token = 0; token < TOKENS; ++token) {
            const float x = sanitize(to_f32(stage.keys[token][c], dtype), nan);
            stage.codes[0][token * Stage::STRIDE + c] = static_cast<uint8_t>(group_code<TOP<C>>(x, group));
        }
        const int a = c / 32, t = c / 8 % 4, e = c / 4 % 2, u = c / 2 % 2, b = c % 2, base = 8 * (4 * a + t);
        constexpr bool whole = IS_NIBBLE<C> && D % 32 == 0;  // else the channels' own order
        uint16_t* meta = reinterpret_cast<uint16_t*>(record + T::K_META);
        meta[whole ? base + 4 * u + 2 * b + e : c] = static_cast<uint16_t>(group.scale_bits);
        meta[D + (whole ? base + 4 * b + 2 * u + e : c)] = static_cast<uint16_t>(group.min_bits);
    }
    __syncthreads();
    store_channel_keys<C, T, D>(record + T::K_CODES, stage.codes[0]);
}

// Stores the rows [first, end) of the chunk in the ring, none if end <= first.
template <int D>
__device__ __forceinline__ void store_ring(Ring ring, Chunk chunk, int first, int end, uint32_t dtype) {
    if (chunk.transform.any()) {
        for (int position = first + threadIdx.x / 32; position < end; position += THREADS / 32) {
            transform_row<D>(chunk.transform, chunk.row(position), position, dtype, ring.row<D>(position));
        }
        return;
    }
    constexpr int PIECES = D / 8;  // 16 bytes each
    const int rows = max(end - first, 0);
    for (int i = threadIdx.x; i < rows * PIECES; i += THREADS) {
        const int position = first + i / PIECES, piece = i % PIECES;
        reinterpret_cast<uint4*>(ring.row<D>(position))[piece] =
            reinterpret_cast<const uint4*>(chunk.row(position))[piece];
    }
}

// One block's unit. Returns status bits, the same in all threads but for NaN.
template <Code K, Code V, int D, int TILE>
__device__ __forceinline__ uint32_t append_unit(const AppendParams& p, Stage<K, V, D, TILE>& stage) {
    using T = Tile<K, V, D, TILE>;
    constexpr bool WINDOW = IS_PER_CHANNEL<K>;
    const int head = blockIdx.y, seq = blockIdx.z;
    const Sequence s = load_sequence(p.kv, p.batch, seq);
    uint32_t status = s.status;
    if (s.m == 0) return status;
    const auto chunk_of = [&](uint64_t base, uint32_t stride, const RowTransform& transform) {
        const uint16_t* row0 = reinterpret_cast<const uint16_t*>(base) + static_cast<int64_t>(s.row0) * stride;
        return Chunk{row0 + head * D, static_cast<int64_t>(stride), s.p0, transform};
    };
    const Chunk k = chunk_of(p.k, p.k_stride, p.k_row), v = chunk_of(p.v, p.v_stride, p.v_row);
    bool nan = false;

    int flush_first = 0, flush_end = 0;
    if constexpr (WINDOW) {
        uint8_t* slot = load_slot(p.kv, p.batch, seq, status);
        const int ring_start = load_ring_start(p.kv, p.batch, seq, s.p0, status);
        if (slot == nullptr) return status;
        const int max_append = p.kv.max_append;
        flush_first = max(keys_coded(p.kv, max(s.p0 - max_append, 0), 0), ring_start);
        flush_end = keys_coded(p.kv, p.prefill ? s.n : s.p0, 0);
        if (blockIdx.x == 0) {
            const int rows = p.kv.ring_rows;
            const Ring k_ring{slot + head * p.kv.ring_head_bytes, rows};
            const Ring v_ring{k_ring.base + p.kv.ring_v_offset, rows};
            for (int start = flush_first; start < min(flush_end, s.p0); start += T::TOKENS) {
                uint8_t* page = load_page(p.kv, p.batch, seq, start, status);
                if (page == nullptr) continue;
                code_key_tile<K, T, D>(stage, tile_in_page<T>(p.kv, page, head, start), start, k_ring, k, p.kv.dtype,
                                       nan);
            }
            __syncthreads();  // All ring rows are read before any is replaced.
            const int residual = p.kv.residual;
            const int first = max(s.p0, s.n - residual - max_append);
            const int end = min(s.n, p.batch.max_blocks << p.kv.page_shift);
            store_ring<D>(k_ring, k, first, end, p.kv.dtype);
            store_ring<D>(v_ring, v, first, end, p.kv.dtype);
            return status | (nan ? STATUS_NAN : 0);
        }
    }

    uint8_t* sink = nullptr;
    if constexpr (IS_NUQ<K>) {
        sink = load_slot(p.kv, p.batch, seq, status);
        if (p.kv.state_bytes != 0 && sink == nullptr) return status;
    }
    const int start = (s.p0 / T::TOKENS + static_cast<int>(blockIdx.x) - WINDOW) * T::TOKENS;
    if (start >= s.n) return status;
    uint8_t* page = load_page(p.kv, p.batch, seq, start, status);
    if (page == nullptr) return status;
    uint8_t* record = tile_in_page<T>(p.kv, page, head, start);
    const Span span{max(s.p0 - start, 0), min(s.n - start, T::TOKENS)};
    const float* k_scale = reinterpret_cast<const float*>(p.kv.k_scale) + head * p.kv.k_scale_stride;
    const float* v_scale = reinterpret_cast<const float*>(p.kv.v_scale) + head * p.kv.v_scale_stride;
    if constexpr (IS_NUQ<K>) {
        stage.nuq.load(p.kv, p.key_rope, head, start, sink);
        __syncthreads();
    }
    stage_rows<V, 1, D>(stage, v, start, span, p.kv, v_scale, nan);
    if constexpr (!WINDOW) stage_rows<K, 0, D>(stage, k, start, span, p.kv, k_scale, nan);
    __syncthreads();
    store_values<V, T, D>(record, stage, span);
    if constexpr (!WINDOW) store_keys<K, T, D>(record, stage, span);
    if constexpr (WINDOW) {
        if (start >= s.p0 && start + T::TOKENS <= flush_end) {
            code_key_tile<K, T, D>(stage, record, start, Ring{nullptr, 1}, k, p.kv.dtype, nan);
        }
    }
    return status | (nan ? STATUS_NAN : 0);
}

// `TILE`: tokens of a tile, where keys that share scales make it longer.
template <Code K, Code V, int D, int TILE = TILE_TOKENS<K, V>>
__device__ __forceinline__ void append_kernel(const AppendParams& p) {
    __shared__ Stage<K, V, D, TILE> stage;
    const uint32_t status = __reduce_or_sync(~0u, append_unit<K, V, D, TILE>(p, stage));
    if (status != 0 && threadIdx.x % 32 == 0) atomicOr(reinterpret_cast<uint32_t*>(p.kv.status), status);
}

}  // namespace kv
}  // namespace lowbit
