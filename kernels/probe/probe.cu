// probe: proves the path from a Rust struct to device memory; used by tests of the launch path only.
//
//   out[block * blockDim + thread] = first + step * (block * blockDim + thread)     for indices below len
//
// One-dimensional grid and block; one 4-byte store per thread; nothing else is touched.
#include <cstddef>
#include <cstdint>

struct ProbeParams {
    uint64_t out;  // u32[len]
    uint32_t len;
    uint32_t first;
    uint32_t step;
    uint32_t reserved;
};
static_assert(sizeof(ProbeParams) == 24 && offsetof(ProbeParams, step) == 16, "ProbeParams is shared with Rust");

extern "C" __global__ void __launch_bounds__(1024) probe_sequence(const __grid_constant__ ProbeParams p) {
    const uint32_t i = blockIdx.x * blockDim.x + threadIdx.x;
    if (i < p.len) reinterpret_cast<uint32_t*>(p.out)[i] = p.first + p.step * i;
}

// The same through dynamic shared memory: `shared` bytes of it must have been granted. Every thread writes its last
// word, the value then goes through the far end of the buffer.
extern "C" __global__ void __launch_bounds__(1024) probe_shared(const __grid_constant__ ProbeParams p) {
    extern __shared__ uint32_t buffer[];
    const uint32_t i = blockIdx.x * blockDim.x + threadIdx.x;
    uint32_t bytes;
    asm("mov.u32 %0, %%dynamic_smem_size;" : "=r"(bytes));
    uint32_t* mine = buffer + (bytes / 4 - blockDim.x) + threadIdx.x;
    *mine = p.first + p.step * i;
    __syncthreads();
    if (i < p.len) reinterpret_cast<uint32_t*>(p.out)[i] = *mine;
}
