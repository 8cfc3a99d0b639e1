// A kernel for each function: thread a of 65536, round blockIdx.y.
#include "functions.h"

#define KERNEL(name, rounds, result, expression)                            \
    extern "C" __global__ void name(u32* out) {                             \
        const u32 a = blockIdx.x * blockDim.x + threadIdx.x;                \
        const int round = (int)blockIdx.y;                                  \
        out[round * 65536 + a] = value_##name(a, second(rounds, round, a)); \
    }
FUNCTIONS(KERNEL)
