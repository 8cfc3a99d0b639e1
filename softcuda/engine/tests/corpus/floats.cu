// f32 and f64 arithmetic with every rounding, comparisons, conversions and the rounding functions of C++.
// nvcc: -fmad=false
#include <math.h>

#include "corpus.cuh"

__device__ double join(uint32_t high, uint32_t low) { return __hiloint2double((int)high, (int)low); }
__device__ void put(uint32_t* at, float v) { *at = __float_as_uint(v); }
__device__ void putd(uint32_t* at, double v) { put64(at, (u64)__double_as_longlong(v)); }

KERNEL(float_ops) {
    THREAD(20);
    const float x = __uint_as_float(a), y = __uint_as_float(b), z = __uint_as_float(c);
    put(own, x + y);
    put(own + 1, x * y - z);
    put(own + 2, x / y);
    put(own + 3, fmaf(x, y, z));
    put(own + 4, sqrtf(x));
    put(own + 5, 1.0f / x);
    put(own + 6, __fadd_rz(x, y));
    put(own + 7, __fadd_ru(x, y));
    put(own + 8, __fmul_rd(x, y));
    put(own + 9, __fmaf_rz(x, y, z));
    put(own + 10, __fdiv_rd(x, y));
    put(own + 11, __fsqrt_ru(x));
    put(own + 12, __frcp_rz(x));
    put(own + 13, fminf(x, y));
    put(own + 14, fmaxf(x, y));
    put(own + 15, copysignf(x, y));
    put(own + 16, fabsf(x) - -y);
    put(own + 17, __saturatef(x));
    put(own + 18, fdimf(x, y));
    own[19] = (x < y) | (x <= y) << 1 | (x == y) << 2 | (x != y) << 3 | !(x < y) << 4 | !(x >= y) << 5 | isnan(x) << 6 |
              isinf(x) << 7 | signbit(y) << 8 | (x > z) << 9;
}

KERNEL(double_ops) {
    THREAD(26);
    const double x = join(a, b), y = join(c, d);
    putd(own, x + y);
    putd(own + 2, x * y);
    putd(own + 4, x / y);
    putd(own + 6, fma(x, y, x));
    putd(own + 8, sqrt(x));
    putd(own + 10, 1.0 / y);
    putd(own + 12, __dadd_rz(x, y));
    putd(own + 14, __dmul_ru(x, y));
    putd(own + 16, __ddiv_rd(x, y));
    putd(own + 18, __fma_rz(x, y, y));
    putd(own + 20, fmin(x, y));
    putd(own + 22, fabs(copysign(x, y)) - y);
    own[24] = (x < y) | (x <= y) << 1 | (x == y) << 2 | (x != y) << 3 | !(x < y) << 4 | !(x >= y) << 5 | isnan(x) << 6 |
              isinf(x) << 7;
    put(own + 25, (float)x);
}

KERNEL(roundings) {
    THREAD(14);
    const float x = __uint_as_float(a);
    const double y = join(c, d);
    put(own, rintf(x));
    put(own + 1, floorf(x));
    put(own + 2, ceilf(x));
    put(own + 3, truncf(x));
    put(own + 4, roundf(x));
    putd(own + 5, rint(y));
    putd(own + 7, floor(y));
    putd(own + 9, trunc(y));
    putd(own + 11, round(y));
    put(own + 13, x - truncf(x));
}

KERNEL(conversions) {
    THREAD(34);
    const float x = __uint_as_float(a);
    const double y = join(c, d);
    own[0] = (uint32_t)__float2int_rz(x);
    own[1] = __float2uint_rn(x);
    put64(own + 2, (u64)__float2ll_rd(x));
    put64(own + 4, __float2ull_ru(x));
    own[6] = (uint32_t)__double2int_rn(y);
    own[7] = __double2uint_rz(y);
    put64(own + 8, (u64)__double2ll_rz(y));
    put64(own + 10, __double2ull_rd(y));
    put(own + 12, (float)(int)a);
    put(own + 13, __int2float_rz((int)a));
    put(own + 14, __uint2float_ru(a));
    put(own + 15, (float)((s64)((u64)a << 32 | b)));
    put(own + 16, __ull2float_rd((u64)a << 32 | b));
    putd(own + 17, (double)(int)a);
    putd(own + 19, (double)((s64)((u64)a << 32 | b)));
    putd(own + 21, __ull2double_rz((u64)a << 32 | b));
    putd(own + 23, (double)x);
    put(own + 25, __double2float_rz(y));
    put(own + 26, __double2float_ru(y));
    put(own + 27, (float)(int8_t)a + (float)(uint16_t)b);
    own[28] = (uint32_t)lrintf(x);
    put64(own + 29, (u64)llrint(y));
    own[31] = (uint8_t)(int)fminf(fmaxf(x, 0.0f), 255.0f);
    putd(own + 32, (double)a);
}

KERNEL(parts) {
    THREAD(11);
    const float x = __uint_as_float(a), y = __uint_as_float(b);
    const double z = join(c, d);
    int e, f;
    put(own, frexpf(x, &e));
    own[1] = isfinite(x) ? (uint32_t)e : 0;
    put(own + 2, ldexpf(x, (int)(b % 300) - 150));
    put(own + 3, fmodf(x, y));
    put(own + 4, nextafterf(x, y));
    float whole;
    put(own + 5, modff(x, &whole));
    put(own + 6, whole);
    putd(own + 7, frexp(z, &f));
    own[9] = isfinite(z) ? (uint32_t)f : 0;
    own[10] = isfinite(x) && x != 0 ? (uint32_t)ilogbf(x) : 0;
}
