// Kernels of the shapes that the crate ships, small: quantization, a 4-bit matrix-vector product, attention over a ring
// of asynchronous copies. Compiled to shipped_like.ptx; see README.md.
#include <cuda_fp16.h>
#include <cuda_fp8.h>
#include <cuda_pipeline.h>
#include <stdint.h>

// Rows of 128 halves to codes and scales: int8, packed int4, fp8 E4M3. One warp a row.
extern "C" __global__ void quantize(const half* x, int8_t* q8, uint8_t* q4, uint8_t* f8, half* scale, int rows) {
    int row = blockIdx.x * (blockDim.x / 32) + threadIdx.x / 32, lane = threadIdx.x % 32;
    if (row >= rows) return;
    float v[4], top = 0;
    for (int k = 0; k < 4; k++) {
        v[k] = __half2float(x[row * 128 + lane * 4 + k]);
        top = fmaxf(top, fabsf(v[k]));
    }
    for (int s = 16; s; s /= 2) top = fmaxf(top, __shfl_xor_sync(~0u, top, s));
    float step = top / 127, inverse = top > 0 ? 127 / top : 0;
    uint32_t word = 0;
    uint16_t nibbles = 0;
    for (int k = 0; k < 4; k++) {
        int q = __float2int_rn(v[k] * inverse);
        word |= (q & 255) << (8 * k);
        nibbles |= (((q + 136) >> 4) & 15) << (4 * k);
        f8[row * 128 + lane * 4 + k] = __nv_cvt_float_to_fp8(v[k], __NV_SATFINITE, __NV_E4M3);
    }
    reinterpret_cast<uint32_t*>(q8)[row * 32 + lane] = word;
    reinterpret_cast<uint16_t*>(q4)[row * 32 + lane] = nibbles;
    if (lane == 0) scale[row] = __float2half_rn(step);
}

// y = W x with 4-bit W in groups of 128: one warp an output, the sum over the group in half pairs, then in single
// precision.
extern "C" __global__ void gemv_int4(const uint32_t* w, const half* scales, const half* x, float* y, int n, int k) {
    int row = blockIdx.x * (blockDim.x / 32) + threadIdx.x / 32, lane = threadIdx.x % 32;
    if (row >= n) return;
    float sum = 0;
    for (int at = lane * 8; at < k; at += 256) {
        uint32_t codes = __ldg(w + (row * k + at) / 8);
        half2 part = __float2half2_rn(0);
        for (int j = 0; j < 4; j++) {
            uint32_t pair = ((codes >> (4 * j)) & 0x000f000f) | 0x64006400;
            half2 value = __hsub2(*reinterpret_cast<half2*>(&pair), __float2half2_rn(1032));
            part = __hfma2(value, *reinterpret_cast<const half2*>(x + at + 2 * j), part);
        }
        float2 f = __half22float2(part);
        sum += (f.x + f.y) * __half2float(scales[(row * k + at) / 128]);
    }
    for (int s = 16; s; s /= 2) sum += __shfl_xor_sync(~0u, sum, s);
    if (lane == 0) y[row] = sum;
}

__device__ __forceinline__ void mma(float (&c)[4], const uint32_t (&a)[4], const uint32_t (&b)[2]) {
    asm volatile(
        "mma.sync.aligned.m16n8k16.row.col.f32.f16.f16.f32 {%0,%1,%2,%3}, {%4,%5,%6,%7}, {%8,%9}, {%0,%1,%2,%3};"
        : "+f"(c[0]), "+f"(c[1]), "+f"(c[2]), "+f"(c[3])
        : "r"(a[0]), "r"(a[1]), "r"(a[2]), "r"(a[3]), "r"(b[0]), "r"(b[1]));
}

// Scores of 8 queries of 64 against keys in tiles of 16, softmax online, keys as values. Blocks take every other tile;
// the last one to finish puts the parts together. One warp a block.
extern "C" __global__ void attend(const half* keys, const half* queries, float* parts, unsigned* done, float* out,
                                  int tiles) {
    __shared__ __align__(16) half ring[2][16][72];
    __shared__ bool last;
    int lane = threadIdx.x, g = lane / 4, t = lane % 4;
    auto fetch = [&](int tile, int slot) {
        for (int i = lane; i < 128; i += 32)
            __pipeline_memcpy_async(&ring[slot][i / 8][i % 8 * 8], keys + (tile * 16 + i / 8) * 64 + i % 8 * 8, 16);
    };
    uint32_t q[4][2];
    for (int k = 0; k < 4; k++)
        for (int h = 0; h < 2; h++)
            q[k][h] = *reinterpret_cast<const uint32_t*>(queries + g * 64 + k * 16 + h * 8 + t * 2);
    float top[2] = {-1e30f, -1e30f}, sum[2] = {}, mean[2] = {};
    if (blockIdx.x < tiles) fetch(blockIdx.x, 0);
    __pipeline_commit();
    int slot = 0;
    for (int tile = blockIdx.x; tile < tiles; tile += gridDim.x, slot ^= 1) {
        if (tile + gridDim.x < tiles) fetch(tile + gridDim.x, slot ^ 1);
        __pipeline_commit();
        __pipeline_wait_prior(1);
        __syncwarp();
        float score[4] = {};
        for (int k = 0; k < 4; k++) {
            uint32_t a[4];
            uint32_t row = __cvta_generic_to_shared(&ring[slot][lane % 16][k * 16 + lane / 16 * 8]);
            asm volatile("ldmatrix.sync.aligned.m8n8.x4.shared.b16 {%0,%1,%2,%3}, [%4];"
                         : "=r"(a[0]), "=r"(a[1]), "=r"(a[2]), "=r"(a[3])
                         : "r"(row));
            mma(score, a, q[k]);
        }
        __syncwarp();
        for (int c = 0; c < 2; c++) {
            float high = fmaxf(score[c], score[c + 2]);
            for (int s = 4; s < 32; s *= 2) high = fmaxf(high, __shfl_xor_sync(~0u, high, s));
            float now = fmaxf(top[c], high), keep = exp2f(top[c] - now);
            float p = exp2f(score[c] - now), r = exp2f(score[c + 2] - now);
            float weight = p + r, position = p * (tile * 16 + g) + r * (tile * 16 + g + 8);
            for (int s = 4; s < 32; s *= 2) {
                weight += __shfl_xor_sync(~0u, weight, s);
                position += __shfl_xor_sync(~0u, position, s);
            }
            top[c] = now;
            sum[c] = sum[c] * keep + weight;
            mean[c] = mean[c] * keep + position;
        }
    }
    if (g == 0)
        for (int c = 0; c < 2; c++) {
            float* part = parts + (blockIdx.x * 8 + t * 2 + c) * 3;
            part[0] = top[c], part[1] = sum[c], part[2] = mean[c];
        }
    __threadfence();
    __syncwarp();
    if (lane == 0) last = atomicAdd(done, 1) == gridDim.x - 1;
    __syncwarp();
    if (!last || lane >= 8) return;
    __threadfence();
    float high = -1e30f, weight = 0, position = 0;
    for (int b = 0; b < gridDim.x; b++) high = fmaxf(high, parts[(b * 8 + lane) * 3]);
    for (int b = 0; b < gridDim.x; b++) {
        const float* part = parts + (b * 8 + lane) * 3;
        float keep = exp2f(part[0] - high);
        weight += part[1] * keep;
        position += part[2] * keep;
    }
    out[lane] = position / weight;
}
