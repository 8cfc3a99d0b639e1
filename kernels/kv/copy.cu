// Bookkeeping of a cache, all on the device so that it can be captured in a graph. Defined by src/reference/kv/copy.rs.
//
//   copy_blocks:       block dst[i] <- block src[i] of one buffer of `count` equal blocks (pages or state slots)
//   advance_seq_lens:  seq_lens[i] += cu_q_lens[i + 1] - cu_q_lens[i]
//
// Bounded by bytes: 16 a thread and step. A pair with an index outside 0..count is skipped and sets `bad` in the
// status.
// targets: lowest
#include <cstddef>
#include <cstdint>

struct CopyBlocksParams {
    uint64_t base;    // u8[count * bytes], 16-byte aligned
    uint64_t src;     // i32[pairs]
    uint64_t dst;     // i32[pairs]
    uint64_t status;  // u32[1]
    uint32_t bytes;   // of a block, a multiple of 16
    int32_t count;
    uint32_t bad;
    uint32_t reserved;
};
static_assert(sizeof(CopyBlocksParams) == 48 && offsetof(CopyBlocksParams, bad) == 40,
              "CopyBlocksParams is shared with Rust");

// Grid (steps, pairs), any block.
extern "C" __global__ void __launch_bounds__(256) copy_blocks(const __grid_constant__ CopyBlocksParams p) {
    const int src = reinterpret_cast<const int*>(p.src)[blockIdx.y];
    const int dst = reinterpret_cast<const int*>(p.dst)[blockIdx.y];
    if (src < 0 || src >= p.count || dst < 0 || dst >= p.count) {
        if (threadIdx.x == 0 && blockIdx.x == 0) atomicOr(reinterpret_cast<uint32_t*>(p.status), p.bad);
        return;
    }
    if (src == dst) return;
    const uint4* from = reinterpret_cast<const uint4*>(p.base + static_cast<uint64_t>(src) * p.bytes);
    uint4* to = reinterpret_cast<uint4*>(p.base + static_cast<uint64_t>(dst) * p.bytes);
    for (uint32_t i = blockIdx.x * blockDim.x + threadIdx.x; i < p.bytes / 16; i += gridDim.x * blockDim.x)
        to[i] = from[i];
}

struct AdvanceParams {
    uint64_t seq_lens;   // i32[num_seqs]
    uint64_t cu_q_lens;  // i32[num_seqs + 1]
    uint32_t num_seqs;
    uint32_t reserved;
};
static_assert(sizeof(AdvanceParams) == 24, "AdvanceParams is shared with Rust");

extern "C" __global__ void __launch_bounds__(256) advance_seq_lens(const __grid_constant__ AdvanceParams p) {
    const uint32_t i = blockIdx.x * blockDim.x + threadIdx.x;
    if (i >= p.num_seqs) return;
    const uint32_t* cu = reinterpret_cast<const uint32_t*>(p.cu_q_lens);
    reinterpret_cast<uint32_t*>(p.seq_lens)[i] += cu[i + 1] - cu[i];
}
