// What an attention launch gets: shared with Rust (`ops::attend`), field by field.
#pragma once
#include <cmath>
#include <cstddef>
#include <cstdint>

#include "kv/layout.cuh"

namespace lowbit {

constexpr float LOG2_E = 1.44269504088896340736f, LN_2 = 0.69314718055994530942f;

struct AttendParams {
    kv::KvParams kv;
    kv::BatchParams batch;
    uint64_t q;          // f16|bf16 [total_q, heads, D], rows of q_stride elements
    uint64_t out;        // f16|bf16 [total_q, heads, D], rows of out_stride elements
    uint64_t lse;        // f32 [total_q, heads], or 0
    uint64_t parts_out;  // f32 [total_q, heads, max_chunks, D]: the chunks' outputs
    uint64_t parts_lse;  // f32 [total_q, heads, max_chunks]
    uint64_t q_stride;
    uint64_t out_stride;
    uint64_t alibi_slopes;  // f32 [heads], or 0
    uint64_t sink_logits;   // f32 [heads], or 0
    int32_t heads;
    int32_t group;   // heads / kv_heads
    int32_t passes;  // CTAs that share a chunk's columns: ceil(group * max_q_len / 8)
    int32_t max_chunks;
    int32_t max_len;  // tokens that the block table and the plan cover
    int32_t window;   // a row at p sees positions > p - window; 0: all
    float softmax_scale;
    float soft_cap;      // 0: none
    uint32_t bent;       // 1: there is a soft-cap or ALiBi, so logits are more than scaled products
    uint32_t zero;       // 0, see `pinned`
    uint64_t tree_mask;  // u32 [total_q], or 0; bit i: the row sees its sequence's new token i
    uint32_t k_block;    // channels of a block in which keys are rotated, 0: they are not
    uint32_t v_block;
    float k_norm;  // 1/sqrt(k_block)
    float v_norm;
    uint64_t chunk_k;  // f16|bf16 [total_q, stride], 16-byte aligned rows: the call's own keys; attend_chunk only
    uint64_t chunk_v;
    uint32_t chunk_k_stride;  // elements
    uint32_t chunk_v_stride;
    int32_t parts;        // of attend_prefill: attend reads what lies before the call's tokens, as part 0; else 0
    uint32_t key_rope;    // `kv::key_slot`; its low half is the channels that turn, 0: keys are as they are read
    uint64_t rope_table;  // f32 [positions, channels that turn / 2, 2]
    uint64_t reach;       // 4096, see `fetch_pieces`
};
static_assert(sizeof(AttendParams) == 344 && offsetof(AttendParams, q) == 160 &&
                  offsetof(AttendParams, q_stride) == 200 && offsetof(AttendParams, heads) == 232 &&
                  offsetof(AttendParams, softmax_scale) == 256 && offsetof(AttendParams, tree_mask) == 272,
              "AttendParams is shared with Rust");

__device__ __forceinline__ float sink_logit(const AttendParams& p, int64_t head) {
    return p.sink_logits == 0 ? -INFINITY : reinterpret_cast<const float*>(p.sink_logits)[head];
}

// Tokens a chunk has: a function of the sequence's own length alone, so that a row's result does not depend on what
// else is in the batch. A multiple of every page size; at most 64 chunks a sequence.
__device__ __forceinline__ int chunk_tokens(int len) {
    const int least = len / 64 + (len % 64 != 0);
    return least <= 256 ? 256 : 1 << (32 - __clz(least - 1));
}

__device__ __forceinline__ int chunk_count(int len) {
    const int tokens = chunk_tokens(len);
    return len <= tokens ? 1 : len / tokens + (len % tokens != 0);
}

}  // namespace lowbit
