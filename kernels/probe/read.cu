// targets: lowest
// probe_read: how fast a device reads; what the bandwidths of other kernels are compared with.
//
//   out[0] ^= x[0] ^ x[1] ^ .. ^ x[len - 1]      len a multiple of 4, x aligned to 16 bytes
//
// Bound by memory and nothing else: a thread has eight loads of 16 bytes in flight, neighbours read neighbours, and two
// instructions a load use what came. One-dimensional grid and block of whole warps.
#include <cstddef>
#include <cstdint>

struct ReadParams {
    uint64_t x;      // u32[4 * quads]
    uint64_t out;    // u32[1]
    uint64_t quads;  // 16 bytes each
};
static_assert(sizeof(ReadParams) == 24 && offsetof(ReadParams, quads) == 16, "ReadParams is shared with Rust");

static constexpr int IN_FLIGHT = 8;

static __device__ uint32_t folded(uint4 v) { return v.x ^ v.y ^ v.z ^ v.w; }

extern "C" __global__ void __launch_bounds__(256) probe_read(const __grid_constant__ ReadParams p) {
    const uint4* x = reinterpret_cast<const uint4*>(p.x);
    const uint64_t threads = uint64_t(gridDim.x) * blockDim.x;
    uint64_t i = uint64_t(blockIdx.x) * blockDim.x + threadIdx.x;
    uint32_t all = 0;
    for (; i + (IN_FLIGHT - 1) * threads < p.quads; i += IN_FLIGHT * threads) {
        uint4 v[IN_FLIGHT];
#pragma unroll
        for (int j = 0; j < IN_FLIGHT; ++j) v[j] = __ldg(x + i + j * threads);
#pragma unroll
        for (int j = 0; j < IN_FLIGHT; ++j) all ^= folded(v[j]);
    }
    for (; i < p.quads; i += threads) all ^= folded(__ldg(x + i));
    for (int lanes = 16; lanes > 0; lanes /= 2) all ^= __shfl_xor_sync(0xFFFFFFFF, all, lanes);
    if (threadIdx.x % 32 == 0) atomicXor(reinterpret_cast<uint32_t*>(p.out), all);
}
