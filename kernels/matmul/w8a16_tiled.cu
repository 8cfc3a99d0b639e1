// w8a16, tiled: y = x * W^T, x f16 or bf16 [any number of rows, k], W 8-bit packed [n, k] with w = q*s, f32
// accumulation. Contract and idea: tiled.cuh, w8.cuh. One by-value ProductParams; 256 threads.
//
// targets: lowest
#include "matmul/tiled.cuh"
#include "matmul/w8.cuh"

using namespace lowbit;
#define ENTRY extern "C" __global__ void __launch_bounds__(256, 1)
#define PARAMS const __grid_constant__ ProductParams

ENTRY w8a16_f16_g32_tiled(PARAMS p) { tiled<W8<F16, 32>, 8>(p); }
ENTRY w8a16_f16_coarse_tiled(PARAMS p) { tiled<W8<F16, 128>, 8>(p); }
ENTRY w8a16_bf16_g32_tiled(PARAMS p) { tiled<W8<Bf16, 32>, 8>(p); }
ENTRY w8a16_bf16_coarse_tiled(PARAMS p) { tiled<W8<Bf16, 128>, 8>(p); }
