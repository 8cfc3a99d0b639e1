// Small kernels in the shapes that compilers give real ones. Compiled to basics.ptx by:
//   nvcc -std=c++17 -O3 --ptx -arch=compute_80 -lineinfo basics.cu
#include <cuda_fp16.h>
#include <cuda_bf16.h>
#include <stdint.h>
#include <stdio.h>

extern "C" __global__ void axpy(float a, const float* x, float* y, int n) {
    int i = blockIdx.x * blockDim.x + threadIdx.x;
    if (i < n) y[i] = a * x[i] + y[i];
}

extern "C" __global__ void scale_half(const half2* x, half2* y, float s, int n) {
    for (int i = blockIdx.x * blockDim.x + threadIdx.x; i < n; i += gridDim.x * blockDim.x) {
        float2 f = __half22float2(x[i]);
        y[i] = __floats2half2_rn(f.x * s, f.y * s);
    }
}

// One block a row: warp shuffles, then shared memory.
extern "C" __global__ void row_sum(const float* x, float* out, int cols) {
    __shared__ float part[32];
    float s = 0;
    for (int c = threadIdx.x; c < cols; c += blockDim.x) s += x[blockIdx.x * cols + c];
    for (int o = 16; o > 0; o >>= 1) s += __shfl_xor_sync(~0u, s, o);
    if (threadIdx.x % 32 == 0) part[threadIdx.x / 32] = s;
    __syncthreads();
    if (threadIdx.x < 32) {
        s = threadIdx.x < blockDim.x / 32 ? part[threadIdx.x] : 0;
        for (int o = 16; o > 0; o >>= 1) s += __shfl_down_sync(~0u, s, o);
        if (threadIdx.x == 0) out[blockIdx.x] = s;
    }
}

struct Args {
    const int8_t* codes;
    const float* scales;
    __nv_bfloat16* out;
    int rows, cols;
};

// A by-value struct, signed bytes, bf16.
extern "C" __global__ void dequant(Args a) {
    int r = blockIdx.y, c = (blockIdx.x * blockDim.x + threadIdx.x) * 4;
    if (c >= a.cols) return;
    char4 q = *(const char4*)(a.codes + (size_t)r * a.cols + c);
    float s = a.scales[r];
    __nv_bfloat16* o = a.out + (size_t)r * a.cols + c;
    o[0] = __float2bfloat16(q.x * s);
    o[1] = __float2bfloat16(q.y * s);
    o[2] = __float2bfloat16(q.z * s);
    o[3] = __float2bfloat16(q.w * s);
}

__device__ __noinline__ int collatz(int n, int* longest) {
    int steps = 0;
    while (n != 1) {
        n = n % 2 ? 3 * n + 1 : n / 2;
        if (n > *longest) *longest = n;
        steps++;
    }
    return steps;
}

// A device function with a pointer to local memory, divergent loops, atomics on shared and global memory.
extern "C" __global__ void collatz_max(int* steps, int* highest, unsigned* count) {
    extern __shared__ int best[];
    if (threadIdx.x == 0) best[0] = 0;
    __syncthreads();
    int i = blockIdx.x * blockDim.x + threadIdx.x + 1, top = i;
    int s = collatz(i, &top);
    steps[i - 1] = s;
    highest[i - 1] = top;
    atomicMax(&best[0], s);
    __syncthreads();
    if (threadIdx.x == 0) atomicAdd(count, best[0]);
}

__device__ const unsigned char table[16] = {3, 1, 4, 1, 5, 9, 2, 6, 5, 3, 5, 8, 9, 7, 9, 3};
__constant__ float factors[4];

extern "C" __global__ void lookup(const int* x, float* out) {
    int i = threadIdx.x;
    out[i] = table[x[i] & 15] * factors[i & 3];
}

extern "C" __global__ void choose(int* x) {
    int i = threadIdx.x;
    int v = x[i];
    switch (v & 7) {
        case 0: v = v * 3; break;
        case 1: v = v ^ 0x55; break;
        case 2: v = v / 3; break;
        case 3: v = __brev(v); break;
        case 4: v = __popc(v); break;
        case 5: v = v % 7; break;
        case 6: v = v << 3; break;
        default: v = -v;
    }
    x[i] = v;
}

extern "C" __global__ void shout(int n) {
    if (threadIdx.x == 1) printf("n = %d, half = %.2f, %s\n", n, n / 2.0, "done");
}
