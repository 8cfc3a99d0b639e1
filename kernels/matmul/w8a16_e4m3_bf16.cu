// w8a16_e4m3: y = sum_k x[m][k] * w[n][k], x bf16, w E4M3 codes with scales, f32 accumulation. A block takes 8 (c1) or
// 32 (c4) rows. Contract and idea: act8.cuh, wide.cuh. One by-value Act8Params; 256 threads; grid (row tiles / (8 /
// k_warps), splits of k, rows / 8 or 32). block: a scale for 128 x 128 of w; else one an output.
// targets: lowest
#include "matmul/wide.cuh"

using namespace lowbit;
#define ENTRY extern "C" __global__ void __launch_bounds__(256, 2)
#define ENTRY_ONE extern "C" __global__ void __launch_bounds__(256, 1)
#define PARAMS const __grid_constant__ Act8Params

ENTRY w8a16_e4m3_bf16_c1(PARAMS p) { act8_skinny<Wide<Bf16, 1, E4m3Numbers<Bf16>>>(p); }
ENTRY_ONE w8a16_e4m3_bf16_c4(PARAMS p) { act8_skinny<Wide<Bf16, 4, E4m3Numbers<Bf16>>>(p); }
ENTRY w8a16_e4m3_bf16_block_c1(PARAMS p) { act8_skinny<Wide<Bf16, 1, E4m3Numbers<Bf16>, true>>(p); }
ENTRY_ONE w8a16_e4m3_bf16_block_c4(PARAMS p) { act8_skinny<Wide<Bf16, 4, E4m3Numbers<Bf16>, true>>(p); }
