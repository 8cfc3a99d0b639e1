// Loads and stores with cache hints and orderings, atomics in every scope, addresses of all state spaces, vectors,
// asynchronous copies.
#include <cuda_bf16.h>
#include <cuda_fp16.h>
#include <cuda_pipeline_primitives.h>

#include "corpus.cuh"

KERNEL(hints) {
    THREAD(8);
    const int* s = (const int*)in + 4 * i;
    own[0] = __ldg(in + 4 * i);
    own[1] = __ldca(in + 4 * i + 1) + __ldcg(in + 4 * i + 2);
    own[2] = __ldcs(in + 4 * i + 3) ^ __ldlu(in + 4 * i) ^ __ldcv(in + 4 * i + 1);
    const uint4 v = __ldg((const uint4*)in + i);
    const uint2 w = __ldcs((const uint2*)in + 2 * i);
    own[3] = v.x ^ v.y ^ v.z ^ v.w ^ w.x ^ w.y;
    own[4] = (uint32_t)(__ldg((const short*)s) + __ldg((const signed char*)s + 5) +
                        __ldg((const unsigned short*)s + 3) + __ldg((const unsigned char*)s + 9));
    __stwb(own + 5, a);
    __stcg(own + 6, b);
    __stcs((int*)own + 7, (int)c);
}

KERNEL(vectors) {
    THREAD(8);
    const char4 x = ((const char4*)in)[4 * i];
    const ushort2 y = ((const ushort2*)in)[4 * i + 1];
    const uchar2 z = ((const uchar2*)in)[8 * i + 4];
    const short4 w = ((const short4*)in)[2 * i + 1];
    const double2 q = ((const double2*)in)[i];
    ((int2*)own)[0] = make_int2(x.x + x.y + x.z + x.w, y.x - y.y);
    ((ushort4*)own)[1] = make_ushort4((unsigned short)(z.x * z.y), (unsigned short)w.x, (unsigned short)w.w, y.y);
    ((ulonglong2*)own)[1] = make_ulonglong2((u64)__double_as_longlong(q.y), (u64)__double_as_longlong(q.x));
}

KERNEL(volatiles) {
    THREAD(3);
    __shared__ volatile uint32_t line[128];
    volatile uint32_t* const o = own;
    line[threadIdx.x] = a;
    o[0] = line[threadIdx.x] + 1;
    o[1] = b;
    o[2] = o[1] + *(volatile const uint16_t*)(in + 4 * i + 2);
}

// Every atomic operation on a word of its own: the old value and the new.
KERNEL(atomics) {
    THREAD(24);
    const uint32_t x = a, y = b;
    __shared__ uint32_t mine[128];
    __shared__ u64 wide[128];
    uint32_t* const at = own + 23;
    *at = c;
    mine[threadIdx.x] = c;
    wide[threadIdx.x] = (u64)c << 32 | d;
    own[0] = atomicAdd(at, x);
    own[1] = atomicSub(at, y);
    own[2] = atomicMin((int*)at, (int)x);
    own[3] = atomicMax(at, y);
    own[4] = atomicAnd(at, x | 0xff00);
    own[5] = atomicOr(at, y);
    own[6] = atomicXor(at, x);
    own[7] = atomicInc(at, y);
    own[8] = atomicDec(at, x);
    own[9] = atomicCAS(at, *at, d);
    own[10] = atomicExch(at, x);
    own[11] = atomicAdd(mine + threadIdx.x, x);
    own[12] = (uint32_t)atomicMax((int*)mine + threadIdx.x, (int)y);
    own[13] = atomicCAS(mine + threadIdx.x, x, y);
    own[14] = mine[threadIdx.x];
    put64(own + 15, atomicAdd(wide + threadIdx.x, (u64)x << 16));
    put64(own + 17, atomicMin(wide + threadIdx.x, (u64)y));
    put64(own + 19, atomicExch(wide + threadIdx.x, 7ull));
    atomicAdd_block(mine + threadIdx.x, 5u);
    atomicAdd_system(mine + threadIdx.x, 6u);
    own[21] = mine[threadIdx.x];
    own[22] = atomicCAS((unsigned short*)at, (unsigned short)x, (unsigned short)y);
}

// Sums of many threads: exact in any order.
__device__ float float_sum;
__device__ double double_sum;
__device__ __half2 half_sum;
__device__ uint32_t counters[4];

KERNEL(sums) {
    THREAD(1);
    atomicAdd(&float_sum, (float)(a % 16));
    atomicAdd(&double_sum, (double)(b % 1024) * 0.25);
    atomicAdd(&half_sum, __floats2half2_rn((float)(i % 2), 2.0f));
    atomicAdd(&counters[a % 4], 1u);
    atomicMax(&counters[0], 0u);
    own[0] = 1;
}

KERNEL(read_sums) {
    THREAD(8);
    own[0] = __float_as_uint(float_sum);
    put64(own + 1, (u64)__double_as_longlong(double_sum));
    own[3] = *(uint32_t*)&half_sum;
    for (int k = 0; k < 4; k++) own[4 + k] = counters[k];
}

// Orderings and scopes as the memory model names them.
KERNEL(orderings) {
    THREAD(6);
    uint32_t* const at = own + 5;
    uint32_t r[5];
    asm volatile("st.release.gpu.global.u32 [%0], %1;" ::"l"(at), "r"(a) : "memory");
    asm volatile("ld.acquire.gpu.global.u32 %0, [%1];" : "=r"(r[0]) : "l"(at) : "memory");
    asm volatile("st.relaxed.sys.global.u32 [%0], %1;" ::"l"(at), "r"(b) : "memory");
    asm volatile("ld.relaxed.cta.global.u32 %0, [%1];" : "=r"(r[1]) : "l"(at) : "memory");
    asm volatile("atom.acq_rel.gpu.global.add.u32 %0, [%1], %2;" : "=r"(r[2]) : "l"(at), "r"(c) : "memory");
    asm volatile("atom.release.cta.global.exch.b32 %0, [%1], %2;" : "=r"(r[3]) : "l"(at), "r"(d) : "memory");
    asm volatile("red.release.gpu.global.add.u32 [%0], %1;" ::"l"(at), "r"(1) : "memory");
    asm volatile("atom.acquire.sys.cas.b32 %0, [%1], %2, %3;" : "=r"(r[4]) : "l"(at), "r"(d + 1), "r"(a) : "memory");
    __threadfence_block();
    __threadfence();
    __threadfence_system();
    for (int k = 0; k < 5; k++) own[k] = r[k];
}

// One pointer type for all spaces.
__device__ __noinline__ uint32_t through(const uint32_t* p, uint32_t* q, uint32_t v) {
    *q = v;
    return *p + 1;
}
__constant__ uint32_t constants[4] = {10, 20, 30, 40};

KERNEL(generic) {
    THREAD(6);
    __shared__ uint32_t shared[128];
    uint32_t local[4] = {a, b, c, d};
    shared[threadIdx.x] = b;
    own[0] = through(&shared[threadIdx.x], &local[a % 4], 77);
    own[1] = through(&local[1], &shared[threadIdx.x], c);
    own[2] = through(&constants[d % 4], &local[b % 4], a);
    own[3] = shared[threadIdx.x] ^ local[0] ^ local[1] ^ local[2] ^ local[3];
    const uint32_t* p = d % 2 ? (const uint32_t*)shared : local;
    own[4] = __isShared(p) | __isLocal(p) << 1 | __isGlobal(p) << 2 | __isGlobal(own) << 3 |
             __isConstant(&constants[1]) << 4;
    const size_t offset = __cvta_generic_to_shared(&shared[threadIdx.x]) - __cvta_generic_to_shared(shared);
    own[5] = (uint32_t)offset + *(uint32_t*)__cvta_shared_to_generic(__cvta_generic_to_shared(&shared[threadIdx.x]));
}

// Copies of 4, 8 and 16 bytes, one cut short; two stages.
KERNEL(copies) {
    THREAD(4);
    __shared__ __align__(16) uint32_t tile[2][128][4];
    __pipeline_memcpy_async(tile[0][threadIdx.x], in + 4 * i, 16);
    __pipeline_commit();
    __pipeline_memcpy_async(tile[1][threadIdx.x], in + 4 * i, 8);
    __pipeline_memcpy_async(tile[1][threadIdx.x] + 2, in + 4 * i + 2, 4);
    __pipeline_memcpy_async(tile[1][threadIdx.x] + 3, in + 4 * i + 3, 4, 2);
    __pipeline_commit();
    __pipeline_wait_prior(1);
    const uint32_t first = tile[0][threadIdx.x][a % 4];
    __pipeline_wait_prior(0);
    __syncthreads();
    const uint32_t* const other = tile[1][threadIdx.x ^ 1];
    own[0] = first;
    own[1] = other[0] ^ other[1];
    own[2] = other[2];
    own[3] = other[3];
}

KERNEL(prefetches) {
    THREAD(2);
    u64 policy, half;
    asm volatile("prefetch.global.L1 [%0];" ::"l"(in + 4 * i));
    asm volatile("prefetch.global.L2::evict_last [%0];" ::"l"(in + 4 * i));
    asm volatile("applypriority.global.L2::evict_normal [%0], 128;" ::"l"((u64)(in) & ~127ull));
    asm volatile("createpolicy.fractional.L2::evict_last.L2::evict_first.b64 %0, 0.5;" : "=l"(half));
    asm volatile("createpolicy.fractional.L2::evict_first.b64 %0, 1.0;" : "=l"(policy));
    asm volatile("ld.global.nc.L1::no_allocate.L2::cache_hint.u32 %0, [%1], %2;"
                 : "=r"(own[0])
                 : "l"(in + 4 * i), "l"(policy));
    asm volatile("st.global.L2::cache_hint.u32 [%0], %1, %2;" ::"l"(own + 1), "r"(b), "l"(half) : "memory");
}
