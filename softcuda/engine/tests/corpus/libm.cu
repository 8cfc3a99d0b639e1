// The mathematical functions of CUDA C++: slow paths (arguments of any size reduced with a table in local memory),
// special values.
#include <math.h>

#include "corpus.cuh"

__device__ void put(uint32_t* at, float v) { *at = __float_as_uint(v); }
__device__ void putd(uint32_t* at, double v) { put64(at, (u64)__double_as_longlong(v)); }

KERNEL(trig) {
    THREAD(6);
    const float x = __uint_as_float(a);
    put(own, sinf(x));
    put(own + 1, cosf(x));
    put(own + 2, tanf(x));
    float s, c2;
    sincosf(x * 0.5f, &s, &c2);
    put(own + 3, s);
    put(own + 4, c2);
    put(own + 5, atan2f(x, __uint_as_float(b)));
}

KERNEL(exponentials) {
    THREAD(10);
    const float x = __uint_as_float(a), y = __uint_as_float(b);
    put(own, expf(x));
    put(own + 1, exp2f(x));
    put(own + 2, logf(x));
    put(own + 3, log2f(x));
    put(own + 4, log1pf(x));
    put(own + 5, expm1f(x));
    put(own + 6, powf(x, y));
    put(own + 7, tanhf(x));
    put(own + 8, erff(x));
    put(own + 9, cbrtf(x));
}

KERNEL(trig64) {
    THREAD(6);
    const double x = __hiloint2double((int)a, (int)b);
    putd(own, sin(x));
    putd(own + 2, cos(x));
    putd(own + 4, atan(x));
}

KERNEL(exponentials64) {
    THREAD(12);
    const double x = __hiloint2double((int)a, (int)b), y = __hiloint2double((int)c, (int)d);
    putd(own, exp(x));
    putd(own + 2, log(x));
    putd(own + 4, pow(x, y));
    putd(own + 6, erf(x));
    putd(own + 8, tanh(x));
    putd(own + 10, hypot(x, y));
}

KERNEL(fast) {
    THREAD(8);
    const float x = __uint_as_float(a), y = __uint_as_float(b);
    put(own, __sinf(x));
    put(own + 1, __cosf(x));
    put(own + 2, __expf(x));
    put(own + 3, __logf(x));
    put(own + 4, __fdividef(x, y));
    put(own + 5, rsqrtf(x));
    put(own + 6, __powf(x, y));
    put(own + 7, __frsqrt_rn(x));
}
