// Work of warps and blocks: shuffles, votes, matches, reductions, groups, barriers that count.
#include <cooperative_groups.h>
#include <cooperative_groups/reduce.h>

#include "corpus.cuh"
namespace cg = cooperative_groups;

KERNEL(shuffles) {
    THREAD(8);
    own[0] = __shfl_sync(~0u, a, (int)(b % 32));
    own[1] = __shfl_up_sync(~0u, a, 3);
    own[2] = __shfl_down_sync(~0u, a, 5, 8);
    own[3] = __shfl_xor_sync(~0u, a, 9, 16);
    const u64 wide = __shfl_xor_sync(~0u, (u64)a << 32 | b, 1);
    put64(own + 4, wide);
    own[6] = __float_as_uint(__shfl_down_sync(~0u, (float)(a % 1000), 16));
    own[7] = 0;
    if (i % 2) own[7] = __shfl_sync(0xaaaaaaaau, c, 5);
}

KERNEL(votes) {
    THREAD(10);
    own[0] = __ballot_sync(~0u, a & 1);
    own[1] = (uint32_t)__any_sync(~0u, a == b);
    own[2] = (uint32_t)__all_sync(~0u, i >= 0);
    own[3] = (uint32_t)__uni_sync(~0u, a & 1);
    own[4] = __match_any_sync(~0u, a % 5);
    int same;
    own[5] = __match_all_sync(~0u, (u64)(i / 32), &same);
    own[6] = (uint32_t)same;
    own[7] = __reduce_add_sync(~0u, a) ^ __reduce_xor_sync(~0u, b);
    own[8] = __reduce_max_sync(~0u, (int)a) ^ __reduce_min_sync(~0u, b);
    own[9] = __reduce_and_sync(~0u, a | 0xff) ^ __reduce_or_sync(~0u, b & 0xff00);
}

KERNEL(barriers) {
    THREAD(4);
    __shared__ uint32_t line[128];
    own[0] = (uint32_t)__syncthreads_count((int)(a & 1));
    own[1] = (uint32_t)__syncthreads_and((int)(i >= 0));
    own[2] = (uint32_t)__syncthreads_or((int)(b == 0));
    line[threadIdx.x] = c;
    __syncthreads();
    own[3] = line[127 - threadIdx.x];
}

KERNEL(groups) {
    THREAD(8);
    const cg::thread_block block = cg::this_thread_block();
    const cg::thread_block_tile<16> tile = cg::tiled_partition<16>(block);
    own[0] = (uint32_t)cg::reduce(tile, (int)(a % 1000), cg::plus<int>());
    own[1] = tile.shfl_down(a, 3);
    own[2] = tile.ballot(b & 1);
    own[3] = cg::reduce(tile, c, cg::bit_xor<uint32_t>());
    own[4] = own[5] = 0;
    if (a % 3 == 0) {
        const cg::coalesced_group some = cg::coalesced_threads();
        own[4] = some.size() << 8 | some.thread_rank();
        own[5] = some.shfl(d, 0);
    }
    tile.sync();
    const cg::coalesced_group labelled = cg::labeled_partition(tile, (int)(b % 3));
    own[6] = labelled.size();
    own[7] = (uint32_t)cg::reduce(labelled, (int)(c % 100), cg::plus<int>());
    block.sync();
}

KERNEL(lanes) {
    THREAD(6);
    uint32_t eq, lt, le, gt, ge, lane;
    asm("mov.u32 %0, %%lanemask_eq;" : "=r"(eq));
    asm("mov.u32 %0, %%lanemask_lt;" : "=r"(lt));
    asm("mov.u32 %0, %%lanemask_le;" : "=r"(le));
    asm("mov.u32 %0, %%lanemask_gt;" : "=r"(gt));
    asm("mov.u32 %0, %%lanemask_ge;" : "=r"(ge));
    asm("mov.u32 %0, %%laneid;" : "=r"(lane));
    own[0] = eq ^ 1u << lane;
    own[1] = lt + 1 - (1u << lane);
    own[2] = (le ^ lt) == eq;
    own[3] = (gt | le) == ~0u && (ge & lt) == 0;
    const long long start = clock64();
    const unsigned first = clock();
    u64 time, later;
    asm volatile("mov.u64 %0, %%globaltimer;" : "=l"(time));
    __nanosleep(20);
    asm volatile("mov.u64 %0, %%globaltimer;" : "=l"(later));
    own[4] = clock64() >= start && clock() - first < 1u << 30 && later >= time;
    own[5] = gridDim.x * blockDim.x * gridDim.y * blockDim.z + blockIdx.y + threadIdx.z;
    // A warp whose lanes arrive apart.
    if (lane < 7) __nanosleep(1);
    __syncwarp();
}
