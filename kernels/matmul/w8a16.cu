// w8a16: y = x * W^T, x f16 or bf16 [1..8, k], W 8-bit packed [n, k] with w = q*s, f32 accumulation; groups of 32 k
// (ggml Q8_0) or of all k. Contract and idea: skinny.cuh, w8.cuh. One by-value SkinnyParams; 256 threads; grid (row
// tiles / (8 / k_warps), splits of k).
#include "matmul/w8.cuh"

using namespace lowbit;
#define ENTRY extern "C" __global__ void __launch_bounds__(256, 3)
#define PARAMS const __grid_constant__ SkinnyParams

ENTRY w8a16_f16_g32(PARAMS p) { skinny<W8<F16, 32>>(p); }
ENTRY w8a16_f16_coarse(PARAMS p) { skinny<W8<F16, 128>>(p); }
ENTRY w8a16_bf16_g32(PARAMS p) { skinny<W8<Bf16, 32>>(p); }
ENTRY w8a16_bf16_coarse(PARAMS p) { skinny<W8<Bf16, 128>>(p); }
