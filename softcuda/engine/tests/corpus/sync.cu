// Barrier objects in shared memory, clusters of one block, dependent launches, an elected lane.
#include <cooperative_groups.h>
#include <cuda_awbarrier_primitives.h>
#include <cuda_pipeline_primitives.h>

#include "corpus.cuh"
namespace cg = cooperative_groups;

// A ring of two phases: what one half of the block writes the other half reads.
KERNEL(barrier_objects) {
    THREAD(3);
    __shared__ __mbarrier_t bar;
    __shared__ uint32_t line[128];
    if (threadIdx.x == 0) __mbarrier_init(&bar, blockDim.x);
    __syncthreads();
    uint32_t sum = 0;
    for (uint32_t round = 0; round < 4; round++) {
        line[threadIdx.x] = a + round;
        const __mbarrier_token_t token = __mbarrier_arrive(&bar);
        while (!__mbarrier_test_wait(&bar, token)) {
        }
        sum = sum * 3 + line[127 - threadIdx.x];
        const __mbarrier_token_t again = __mbarrier_arrive(&bar);
        while (!__mbarrier_test_wait(&bar, again)) {
        }
    }
    own[0] = sum;
    own[1] = __mbarrier_maximum_count() >= blockDim.x;
    __syncthreads();
    own[2] = threadIdx.x == 0;
    if (threadIdx.x == 0) __mbarrier_inval(&bar);
}

// Asynchronous copies that arrive at the barrier object.
KERNEL(barrier_copies) {
    THREAD(1);
    __shared__ __mbarrier_t bar;
    __shared__ __align__(16) uint32_t line[128][4];
    if (threadIdx.x == 0) __mbarrier_init(&bar, blockDim.x);
    __syncthreads();
    __pipeline_memcpy_async(line[threadIdx.x], in + 4 * i, 16);
    __pipeline_arrive_on(&bar);
    const __mbarrier_token_t token = __mbarrier_arrive(&bar);
    while (!__mbarrier_test_wait(&bar, token)) {
    }
    own[0] = line[127 - threadIdx.x][2];
}

// Barrier objects by parity, with dropped arrivals and (sm_90) expected bytes; the same results where there are none.
KERNEL(barrier_parity) {
    THREAD(2);
    __shared__ __align__(8) u64 bar;
    __shared__ uint32_t line[128];
    const uint32_t at = (uint32_t)__cvta_generic_to_shared(&bar);
    if (threadIdx.x == 0)
        asm volatile("mbarrier.init.shared.b64 [%0], %1;" ::"r"(at), "r"((uint32_t)blockDim.x) : "memory");
    __syncthreads();
    line[threadIdx.x] = b;
    u64 state;
    asm volatile("mbarrier.arrive.shared.b64 %0, [%1];" : "=l"(state) : "r"(at) : "memory");
    uint32_t pending;
    asm volatile("mbarrier.pending_count.b64 %0, %1;" : "=r"(pending) : "l"(state));
    uint32_t done = 0;
    while (!done) {
#if __CUDA_ARCH__ >= 900
        asm volatile("{ .reg .pred p; mbarrier.try_wait.parity.shared.b64 p, [%1], %2; selp.u32 %0, 1, 0, p; }"
                     : "=r"(done)
                     : "r"(at), "r"(0)
                     : "memory");
#else
        asm volatile("{ .reg .pred p; mbarrier.test_wait.parity.shared.b64 p, [%1], %2; selp.u32 %0, 1, 0, p; }"
                     : "=r"(done)
                     : "r"(at), "r"(0)
                     : "memory");
#endif
    }
    own[0] = line[threadIdx.x ^ 64];
    own[1] = pending >= 1 && pending <= blockDim.x;
    // Every thread but the first leaves; the next phase is the first one's alone.
    if (threadIdx.x != 0) {
        asm volatile("mbarrier.arrive_drop.shared.b64 %0, [%1];" : "=l"(state) : "r"(at) : "memory");
    } else {
#if __CUDA_ARCH__ >= 900
        asm volatile("mbarrier.arrive.expect_tx.shared.b64 %0, [%1], %2;" : "=l"(state) : "r"(at), "r"(0) : "memory");
#else
        asm volatile("mbarrier.arrive.shared.b64 %0, [%1];" : "=l"(state) : "r"(at) : "memory");
#endif
        for (uint32_t parity = 1; parity != 3; parity++) {
            done = 0;
            while (!done) {
                asm volatile("{ .reg .pred p; mbarrier.test_wait.parity.shared.b64 p, [%1], %2; selp.u32 %0, 1, 0, p; }"
                             : "=r"(done)
                             : "r"(at), "r"(parity & 1)
                             : "memory");
            }
            asm volatile("mbarrier.arrive.shared.b64 _, [%0];" ::"r"(at) : "memory");
        }
        asm volatile("mbarrier.inval.shared.b64 [%0];" ::"r"(at) : "memory");
        // Two arrivals, the first of which may not end the phase.
        asm volatile("mbarrier.init.shared.b64 [%0], 2;" ::"r"(at) : "memory");
        asm volatile("mbarrier.arrive.noComplete.shared.b64 %0, [%1], 1;" : "=l"(state) : "r"(at) : "memory");
        asm volatile("mbarrier.arrive.shared.b64 %0, [%1];" : "=l"(state) : "r"(at) : "memory");
    }
}

KERNEL(clusters) {
    THREAD(4);
    __shared__ uint32_t line[128];
    line[threadIdx.x] = c;
    own[0] = own[1] = 0;
    own[2] = 1;
#if __CUDA_ARCH__ >= 900
    cg::cluster_group cluster = cg::this_cluster();
    cluster.sync();
    own[0] = cluster.block_rank();
    uint32_t* other = cluster.map_shared_rank(line, 0);
    own[2] = cluster.num_blocks();
    own[3] = other[127 - threadIdx.x];
    cg::cluster_group::arrival_token token = cluster.barrier_arrive();
    cluster.barrier_wait(cg::cluster_group::arrival_token(token));
    own[1] = cluster.query_shared_rank(other);
#else
    __syncthreads();
    own[3] = line[127 - threadIdx.x];
#endif
}

KERNEL(dependents) {
    THREAD(1);
#if __CUDA_ARCH__ >= 900
    cudaGridDependencySynchronize();
    cudaTriggerProgrammaticLaunchCompletion();
    uint32_t leader;
    asm volatile("{ .reg .pred p; elect.sync _|p, 0xffffffff; selp.u32 %0, 1, 0, p; }" : "=r"(leader));
    own[0] = leader;
#else
    own[0] = threadIdx.x % 32 == 0;
#endif
}
