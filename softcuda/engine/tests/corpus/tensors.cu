// nvcuda::wmma in every shape and type, and mma.sync of the types that wmma does not have: products of small integers,
// exact in all of them.
#include <cuda_bf16.h>
#include <cuda_fp16.h>
#include <mma.h>

#include "corpus.cuh"
using namespace nvcuda;

// Element (m, k) of A and (k, n) of B; `low` is 0 for unsigned types.
__device__ int a_value(int m, int k, int salt, int low) { return (3 * m + 5 * k + salt) % 7 + low; }
__device__ int b_value(int k, int n, int salt, int low) { return (2 * k + 7 * n + salt) % 5 + low; }

// A block is a warp. It writes the M x N numbers 2 (A B + 1): the product is stored, loaded again, doubled element by
// element, stored.
template <int M, int N, int K, class T, class S, class A, class LA, class LB>
__device__ void product(uint32_t* out, const uint32_t* in, int low, wmma::layout_t layout) {
    __shared__ __align__(32) S a[M * K];
    __shared__ __align__(32) S b[K * N];
    __shared__ __align__(32) A d[M * N];
    const int lane = threadIdx.x, salt = (int)(in[blockIdx.x] % 5);
    constexpr bool a_rows = std::is_same<LA, wmma::row_major>::value, b_rows = std::is_same<LB, wmma::row_major>::value;
#pragma unroll 1
    for (int e = lane; e < M * K; e += 32)
        a[a_rows ? e : e % K * M + e / K] = S((float)a_value(e / K, e % K, salt, low));
#pragma unroll 1
    for (int e = lane; e < K * N; e += 32)
        b[b_rows ? e : e % N * K + e / N] = S((float)b_value(e / N, e % N, salt, low));
    __syncwarp();
    wmma::fragment<wmma::matrix_a, M, N, K, T, LA> fa;
    wmma::fragment<wmma::matrix_b, M, N, K, T, LB> fb;
    wmma::fragment<wmma::accumulator, M, N, K, A> fc;
    wmma::fill_fragment(fc, A(1.0f));
    wmma::load_matrix_sync(fa, a, a_rows ? K : M);
    wmma::load_matrix_sync(fb, b, b_rows ? N : K);
    wmma::mma_sync(fc, fa, fb, fc);
    const int rows = layout == wmma::mem_row_major ? N : M;
    wmma::store_matrix_sync(d, fc, rows, layout);
    __syncwarp();
    wmma::load_matrix_sync(fc, d, rows, layout);
    for (int e = 0; e < fc.num_elements; e++) fc.x[e] = fc.x[e] + fc.x[e];
    __syncwarp();
    wmma::store_matrix_sync(d, fc, rows, layout);
    __syncwarp();
#pragma unroll 1
    for (int e = lane; e < M * N; e += 32) {
        const A v = d[layout == wmma::mem_row_major ? e : e % N * M + e / N];
        out[256 * blockIdx.x + e] = (uint32_t)(int)(float)v;
    }
}

using Row = wmma::row_major;
using Column = wmma::col_major;
constexpr auto ROWS = wmma::mem_row_major;
constexpr auto COLUMNS = wmma::mem_col_major;

#define PRODUCT(name, low, layout, ...) \
    KERNEL(name) { product<__VA_ARGS__>(out, in, low, layout); }

PRODUCT(wmma_f16_16x16, -3, ROWS, 16, 16, 16, __half, __half, float, Row, Column)
PRODUCT(wmma_f16_32x8, -3, COLUMNS, 32, 8, 16, __half, __half, float, Column, Row)
PRODUCT(wmma_f16_8x32, -3, ROWS, 8, 32, 16, __half, __half, float, Row, Row)
PRODUCT(wmma_f16f16_16x16, -3, COLUMNS, 16, 16, 16, __half, __half, __half, Column, Column)
PRODUCT(wmma_f16f16_32x8, -3, ROWS, 32, 8, 16, __half, __half, __half, Row, Column)
PRODUCT(wmma_f16f16_8x32, -3, COLUMNS, 8, 32, 16, __half, __half, __half, Column, Row)
PRODUCT(wmma_bf16_16x16, -3, ROWS, 16, 16, 16, __nv_bfloat16, __nv_bfloat16, float, Row, Row)
PRODUCT(wmma_bf16_32x8, -3, COLUMNS, 32, 8, 16, __nv_bfloat16, __nv_bfloat16, float, Row, Column)
PRODUCT(wmma_bf16_8x32, -3, ROWS, 8, 32, 16, __nv_bfloat16, __nv_bfloat16, float, Column, Column)
PRODUCT(wmma_tf32_16x16, -3, ROWS, 16, 16, 8, wmma::precision::tf32, float, float, Row, Column)
PRODUCT(wmma_tf32_columns, -3, COLUMNS, 16, 16, 8, wmma::precision::tf32, float, float, Column, Row)
PRODUCT(wmma_s8_16x16, -3, ROWS, 16, 16, 16, signed char, signed char, int, Row, Column)
PRODUCT(wmma_s8_32x8, -3, COLUMNS, 32, 8, 16, signed char, signed char, int, Column, Row)
PRODUCT(wmma_s8_8x32, -3, ROWS, 8, 32, 16, signed char, signed char, int, Row, Row)
PRODUCT(wmma_u8_16x16, 0, COLUMNS, 16, 16, 16, unsigned char, unsigned char, int, Column, Column)
PRODUCT(wmma_u8_32x8, 0, ROWS, 32, 8, 16, unsigned char, unsigned char, int, Row, Column)
PRODUCT(wmma_u8_8x32, 0, COLUMNS, 8, 32, 16, unsigned char, unsigned char, int, Row, Row)
PRODUCT(wmma_f64_8x8, -3, ROWS, 8, 8, 4, double, double, double, Row, Column)
PRODUCT(wmma_f64_columns, -3, COLUMNS, 8, 8, 4, double, double, double, Column, Row)

// Four bits and one bit: A by rows, B by columns, packed into words.
template <class T>
__device__ void nibbles(uint32_t* out, const uint32_t* in, int low) {
    __shared__ __align__(32) uint32_t a[8 * 4], b[8 * 4];
    __shared__ __align__(32) int d[64];
    const int lane = threadIdx.x, salt = (int)(in[blockIdx.x] % 5);
    uint32_t x = 0, y = 0;
    for (int e = 0; e < 8; e++) {
        x |= (uint32_t)(a_value(lane / 4, lane % 4 * 8 + e, salt, low) & 15) << (4 * e);
        y |= (uint32_t)(b_value(lane % 4 * 8 + e, lane / 4, salt, low) & 15) << (4 * e);
    }
    a[lane] = x;
    b[lane] = y;
    __syncwarp();
    wmma::fragment<wmma::matrix_a, 8, 8, 32, T, Row> fa;
    wmma::fragment<wmma::matrix_b, 8, 8, 32, T, Column> fb;
    wmma::fragment<wmma::accumulator, 8, 8, 32, int> fc;
    wmma::fill_fragment(fc, 1);
    wmma::load_matrix_sync(fa, a, 32);
    wmma::load_matrix_sync(fb, b, 32);
    wmma::mma_sync(fc, fa, fb, fc);
    for (int e = 0; e < fc.num_elements; e++) fc.x[e] *= 2;
    wmma::store_matrix_sync(d, fc, 8, ROWS);
    __syncwarp();
#pragma unroll 1
    for (int e = lane; e < 64; e += 32) out[256 * blockIdx.x + e] = (uint32_t)d[e];
}

KERNEL(wmma_s4) { nibbles<wmma::experimental::precision::s4>(out, in, -3); }
KERNEL(wmma_u4) { nibbles<wmma::experimental::precision::u4>(out, in, 0); }

// out[0..64]: bits in both rows; out[64..128]: bits in one of them.
KERNEL(wmma_b1) {
    __shared__ __align__(32) int d[64];
    using One = wmma::experimental::precision::b1;
    wmma::fragment<wmma::matrix_a, 8, 8, 128, One, Row> fa;
    wmma::fragment<wmma::matrix_b, 8, 8, 128, One, Column> fb;
    wmma::fragment<wmma::accumulator, 8, 8, 128, int> fc;
    wmma::load_matrix_sync(fa, in + 32 * blockIdx.x, 128);
    wmma::load_matrix_sync(fb, in + 32 * blockIdx.x + 32, 128);
    for (int op = 0; op < 2; op++) {
        wmma::fill_fragment(fc, 5);
        if (op) {
            wmma::bmma_sync(fc, fa, fb, fc, wmma::experimental::bmmaBitOpXOR);
        } else {
            wmma::bmma_sync(fc, fa, fb, fc, wmma::experimental::bmmaBitOpAND);
        }
        wmma::store_matrix_sync(d, fc, 8, ROWS);
        __syncwarp();
#pragma unroll 1
        for (int e = threadIdx.x; e < 64; e += 32) out[256 * blockIdx.x + 64 * op + e] = (uint32_t)d[e];
        __syncwarp();
    }
}
