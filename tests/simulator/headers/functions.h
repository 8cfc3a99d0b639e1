// Functions of cuda_fp16.h, cuda_bf16.h and cuda_fp8.h, each of two 16-bit numbers and with up to 32 bits of result: compiled for the host, and
// for several targets of the device.
#pragma once
#include <cuda_bf16.h>
#include <cuda_fp16.h>
#include <cuda_fp8.h>
#include <string.h>

#ifdef __CUDACC__
#define BOTH __host__ __device__ static inline
#else
#define BOTH static inline
#endif

typedef unsigned u32;
typedef long long s64;
typedef unsigned long long u64;

BOTH __half h(u32 bits) {
    __half_raw raw;
    raw.x = (unsigned short)bits;
    return raw;
}
BOTH __nv_bfloat16 b(u32 bits) {
    __nv_bfloat16_raw raw;
    raw.x = (unsigned short)bits;
    return raw;
}
BOTH float f(u32 bits) {
    float x;
    memcpy(&x, &bits, 4);
    return x;
}
BOTH u32 of(__half x) { return static_cast<__half_raw>(x).x; }
BOTH u32 of(__nv_bfloat16 x) { return static_cast<__nv_bfloat16_raw>(x).x; }
BOTH u32 of(float x) {
    u32 bits;
    memcpy(&bits, &x, 4);
    return bits;
}
BOTH u32 of(__half2 x) { return of(__low2half(x)) | of(__high2half(x)) << 16; }
BOTH u32 of(__nv_bfloat162 x) { return of(__low2bfloat16(x)) | of(__high2bfloat16(x)) << 16; }
BOTH u32 fold(u64 x) { return (u32)x ^ (u32)(x >> 32) * 31; }

// A double beside a float: its error is far below what a float holds, so that rounding by way of float would show.
BOTH double beside(float x, u32 k) { return (double)x * (1.0 + ((int)(k & 7) - 3) * 0x1p-45); }

template <class T>
BOTH u32 compare(T a, T b) {
    return (u32)__heq(a, b) | (u32)__hne(a, b) << 1 | (u32)__hle(a, b) << 2 | (u32)__hge(a, b) << 3 | (u32)__hlt(a, b) << 4 |
           (u32)__hgt(a, b) << 5 | (u32)__hequ(a, b) << 6 | (u32)__hneu(a, b) << 7 | (u32)__hleu(a, b) << 8 |
           (u32)__hgeu(a, b) << 9 | (u32)__hltu(a, b) << 10 | (u32)__hgtu(a, b) << 11 | (u32)__hisnan(a) << 12;
}

// The second number in each round. ONE: none. WIDE: the lower half of 32 bits, with the ties of f16 and bf16 and their neighbours.
// PAIR: an operand, special or scattered.
enum { ONE = 1, WIDE = 10, PAIR = 6 };
BOTH u32 second(int rounds, int round, u32 a) {
    const u32 scattered = (a * 40503u + (u32)round * 0x9e37u + (a >> 7)) & 0xffff;
    if (rounds == WIDE) {
        const u32 low[WIDE] = {0, 1, 0x0fff, 0x1000, 0x1001, 0x3000, 0x7fff, 0x8000, 0x8001, 0xffff};
        return low[round];
    }
    const u32 special[3] = {0x3c01, 0x8001, 0x7f80};
    return rounds == ONE ? 0 : round < 3 ? special[round] : scattered;
}

// name, rounds, what a NaN of the result is (of F32, F16, BF16 or a pair, E4M3, E5M2, or EXACT: as any other value), value of a and c; n is both as
// an int, x as an f32.
#define FUNCTIONS(X)                                                                                  \
    X(half_to_float, ONE, F32, of(__half2float(h(a))))                                                \
    X(half_to_int, ONE, EXACT, (u32)__half2int_rz(h(a)))                                              \
    X(half_to_uint, ONE, EXACT, __half2uint_rz(h(a)))                                                 \
    X(half_to_short, ONE, EXACT, (u32)(unsigned short)__half2short_rz(h(a)))                          \
    X(half_to_ushort, ONE, EXACT, (u32)__half2ushort_rz(h(a)))                                        \
    X(half_to_char, ONE, EXACT, (u32)(unsigned char)__half2char_rz(h(a)))                             \
    X(half_to_uchar, ONE, EXACT, (u32)__half2uchar_rz(h(a)))                                          \
    X(half_to_ll, ONE, EXACT, fold((u64)__half2ll_rz(h(a))))                                          \
    X(half_to_ull, ONE, EXACT, fold(__half2ull_rz(h(a))))                                             \
    X(bf16_to_float, ONE, F32, of(__bfloat162float(b(a))))                                            \
    X(bf16_to_int, ONE, EXACT, (u32)__bfloat162int_rz(b(a)))                                          \
    X(bf16_to_uint, ONE, EXACT, __bfloat162uint_rz(b(a)))                                             \
    X(bf16_to_short, ONE, EXACT, (u32)(unsigned short)__bfloat162short_rz(b(a)))                      \
    X(bf16_to_ushort, ONE, EXACT, (u32)__bfloat162ushort_rz(b(a)))                                    \
    X(bf16_to_char, ONE, EXACT, (u32)(unsigned char)__bfloat162char_rz(b(a)))                         \
    X(bf16_to_uchar, ONE, EXACT, (u32)__bfloat162uchar_rz(b(a)))                                      \
    X(bf16_to_ll, ONE, EXACT, fold((u64)__bfloat162ll_rz(b(a))))                                      \
    X(bf16_to_ull, ONE, EXACT, fold(__bfloat162ull_rz(b(a))))                                         \
    X(float_to_half_rn, WIDE, F16, of(__float2half_rn(x)))                                            \
    X(float_to_half_rz, WIDE, F16, of(__float2half_rz(x)))                                            \
    X(float_to_half_rd, WIDE, F16, of(__float2half_rd(x)))                                            \
    X(float_to_half_ru, WIDE, F16, of(__float2half_ru(x)))                                            \
    X(floats_to_half2, WIDE, F16X2, of(__floats2half2_rn(x, f(n ^ 0x80001000))))                      \
    X(double_to_half, WIDE, F16, of(__double2half(beside(x, a))))                                     \
    X(float_to_bf16_rn, WIDE, BF16, of(__float2bfloat16_rn(x)))                                       \
    X(float_to_bf16_rz, WIDE, BF16, of(__float2bfloat16_rz(x)))                                       \
    X(float_to_bf16_rd, WIDE, BF16, of(__float2bfloat16_rd(x)))                                       \
    X(float_to_bf16_ru, WIDE, BF16, of(__float2bfloat16_ru(x)))                                       \
    X(floats_to_bf162, WIDE, BF16X2, of(__floats2bfloat162_rn(x, f(n ^ 0x80008000))))                 \
    X(double_to_bf16, WIDE, BF16, of(__double2bfloat16(beside(x, a))))                                \
    X(int_to_half_rn, WIDE, F16, of(__int2half_rn((int)n >> (n & 15))))                               \
    X(int_to_half_rz, WIDE, F16, of(__int2half_rz((int)n >> (n & 15))))                               \
    X(int_to_half_rd, WIDE, F16, of(__int2half_rd((int)n >> (n & 15))))                               \
    X(int_to_half_ru, WIDE, F16, of(__int2half_ru((int)n >> (n & 15))))                               \
    X(uint_to_half_rn, WIDE, F16, of(__uint2half_rn(n >> (n & 15))))                                  \
    X(short_to_half_rn, ONE, F16, of(__short2half_rn((short)a)))                                      \
    X(short_to_half_ru, ONE, F16, of(__short2half_ru((short)a)))                                      \
    X(ushort_to_half_rn, ONE, F16, of(__ushort2half_rn((unsigned short)a)))                           \
    X(ushort_to_half_rd, ONE, F16, of(__ushort2half_rd((unsigned short)a)))                           \
    X(ll_to_half_rn, WIDE, F16, of(__ll2half_rn((s64)((u64)n << 32 | n) >> (n & 63))))                \
    X(ull_to_half_rz, WIDE, F16, of(__ull2half_rz(((u64)n << 32 | n) >> (n & 63))))                   \
    X(int_to_bf16, WIDE, BF16, of(__int2bfloat16_rn((int)n >> (n & 15))))                             \
    X(uint_to_bf16, WIDE, BF16, of(__uint2bfloat16_rn(n >> (n & 15))))                                \
    X(short_to_bf16, ONE, BF16, of(__short2bfloat16_rn((short)a)))                                    \
    X(ushort_to_bf16, ONE, BF16, of(__ushort2bfloat16_rn((unsigned short)a)))                         \
    X(ll_to_bf16, WIDE, BF16, of(__ll2bfloat16_rn((s64)((u64)n << 32 | n) >> (n & 63))))              \
    X(ull_to_bf16, WIDE, BF16, of(__ull2bfloat16_rn(((u64)n << 32 | n) >> (n & 63))))                 \
    X(e4m3_to_half, ONE, F16, __nv_cvt_fp8_to_halfraw((__nv_fp8_storage_t)a, __NV_E4M3).x)            \
    X(e5m2_to_half, ONE, F16, __nv_cvt_fp8_to_halfraw((__nv_fp8_storage_t)a, __NV_E5M2).x)            \
    X(e4m3x2_to_half2, ONE, F16X2, of(__half2(__nv_cvt_fp8x2_to_halfraw2((__nv_fp8x2_storage_t)a, __NV_E4M3)))) \
    X(e5m2x2_to_half2, ONE, F16X2, of(__half2(__nv_cvt_fp8x2_to_halfraw2((__nv_fp8x2_storage_t)a, __NV_E5M2)))) \
    X(half_to_e4m3, ONE, EXACT, __nv_cvt_halfraw_to_fp8(h(a), __NV_SATFINITE, __NV_E4M3))             \
    X(half_to_e5m2, ONE, EXACT, __nv_cvt_halfraw_to_fp8(h(a), __NV_SATFINITE, __NV_E5M2))             \
    X(half2_to_e4m3x2, PAIR, EXACT, __nv_cvt_halfraw2_to_fp8x2(__halves2half2(h(a), h(c)), __NV_SATFINITE, __NV_E4M3)) \
    X(half2_to_e5m2x2, PAIR, EXACT, __nv_cvt_halfraw2_to_fp8x2(__halves2half2(h(a), h(c)), __NV_SATFINITE, __NV_E5M2)) \
    X(half_to_e4m3_nosat, ONE, EXACT, __nv_cvt_halfraw_to_fp8(h(a), __NV_NOSAT, __NV_E4M3))           \
    X(half_to_e5m2_nosat, ONE, EXACT, __nv_cvt_halfraw_to_fp8(h(a), __NV_NOSAT, __NV_E5M2))           \
    X(bf16_to_e4m3, ONE, EXACT, __nv_cvt_bfloat16raw_to_fp8(b(a), __NV_SATFINITE, __NV_E4M3))         \
    X(bf16_to_e5m2, ONE, EXACT, __nv_cvt_bfloat16raw_to_fp8(b(a), __NV_SATFINITE, __NV_E5M2))         \
    X(float_to_e4m3, WIDE, EXACT, __nv_cvt_float_to_fp8(x, __NV_SATFINITE, __NV_E4M3))                \
    X(float_to_e5m2, WIDE, EXACT, __nv_cvt_float_to_fp8(x, __NV_SATFINITE, __NV_E5M2))                \
    X(double_to_e4m3, ONE, E4M3, __nv_cvt_double_to_fp8(beside(x, a), __NV_SATFINITE, __NV_E4M3))    \
    X(double_to_e5m2, ONE, E5M2, __nv_cvt_double_to_fp8(beside(x, a), __NV_SATFINITE, __NV_E5M2))    \
    X(half_add, PAIR, F16, of(__hadd(h(a), h(c))))                                                    \
    X(half_sub, PAIR, F16, of(__hsub(h(a), h(c))))                                                    \
    X(half_mul, PAIR, F16, of(__hmul(h(a), h(c))))                                                    \
    X(half_div, PAIR, F16, of(__hdiv(h(a), h(c))))                                                    \
    X(half_add_sat, PAIR, F16, of(__hadd_sat(h(a), h(c))))                                            \
    X(half_mul_sat, PAIR, F16, of(__hmul_sat(h(a), h(c))))                                            \
    X(half_max, PAIR, F16, of(__hmax(h(a), h(c))))                                                    \
    X(half_min, PAIR, F16, of(__hmin(h(a), h(c))))                                                    \
    X(half_max_nan, PAIR, F16, of(__hmax_nan(h(a), h(c))))                                            \
    X(half_min_nan, PAIR, F16, of(__hmin_nan(h(a), h(c))))                                            \
    X(half_compare, PAIR, EXACT, compare(h(a), h(c)))                                                 \
    X(half2_add, PAIR, F16X2, of(__hadd2(__halves2half2(h(a), h(c)), __halves2half2(h(c), h(c)))))    \
    X(half2_mul, PAIR, F16X2, of(__hmul2(__halves2half2(h(a), h(c)), __halves2half2(h(c), h(a)))))    \
    X(half2_max, PAIR, F16X2, of(__hmax2(__halves2half2(h(a), h(c)), __halves2half2(h(c), h(a)))))    \
    X(half_neg_abs, ONE, F16X2, of(__halves2half2(__hneg(h(a)), __habs(h(a)))))                       \
    X(bf16_add, PAIR, BF16, of(__hadd(b(a), b(c))))                                                   \
    X(bf16_sub, PAIR, BF16, of(__hsub(b(a), b(c))))                                                   \
    X(bf16_mul, PAIR, BF16, of(__hmul(b(a), b(c))))                                                   \
    X(bf16_div, PAIR, BF16, of(__hdiv(b(a), b(c))))                                                   \
    X(bf16_add_sat, PAIR, BF16, of(__hadd_sat(b(a), b(c))))                                           \
    X(bf16_max, PAIR, BF16, of(__hmax(b(a), b(c))))                                                   \
    X(bf16_min, PAIR, BF16, of(__hmin(b(a), b(c))))                                                   \
    X(bf16_max_nan, PAIR, BF16, of(__hmax_nan(b(a), b(c))))                                           \
    X(bf16_compare, PAIR, EXACT, compare(b(a), b(c)))                                                 \
    X(bf162_add, PAIR, BF16X2, of(__hadd2(__halves2bfloat162(b(a), b(c)), __halves2bfloat162(b(c), b(c))))) \
    X(bf162_mul, PAIR, BF16X2, of(__hmul2(__halves2bfloat162(b(a), b(c)), __halves2bfloat162(b(c), b(a))))) \
    X(bf16_neg_abs, ONE, BF16X2, of(__halves2bfloat162(__hneg(b(a)), __habs(b(a)))))

#define VALUE(name, rounds, result, expression)   \
    BOTH u32 value_##name(u32 a, u32 c) {         \
        const u32 n = a << 16 | c;                \
        const float x = f(n);                     \
        (void)n, (void)x;                         \
        return (u32)(expression);                 \
    }
FUNCTIONS(VALUE)
