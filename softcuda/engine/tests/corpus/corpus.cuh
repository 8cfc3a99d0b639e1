// What every program of the corpus has: the shape of a kernel, and a thread's own input and output.
//
// A kernel is `name(out, in, n)`: thread i of n reads the words in[4 i .. 4 i + 4] and writes WORDS words at out[WORDS
// i]. What they must be stands in tests/isa/corpus.
#pragma once
#include <stdint.h>

typedef unsigned long long u64;
typedef long long s64;

#define KERNEL(name) extern "C" __global__ void name(uint32_t* out, const uint32_t* in, int n)

// a, b, c, d: the thread's words; i: its number; put(k, v): word k of `words`.
#define THREAD(words)                                                                      \
    const int i = blockIdx.x * blockDim.x + threadIdx.x;                                   \
    if (i >= n) return;                                                                    \
    const uint32_t a = in[4 * i], b = in[4 * i + 1], c = in[4 * i + 2], d = in[4 * i + 3]; \
    uint32_t* const own = out + (words) * i;                                               \
    (void)a, (void)b, (void)c, (void)d

__device__ inline void put64(uint32_t* at, u64 v) {
    at[0] = (uint32_t)v;
    at[1] = (uint32_t)(v >> 32);
}
