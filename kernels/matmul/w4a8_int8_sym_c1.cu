// y = sx[m] * sum_k x[m][k] * w[n][k], x int8 with one scale a row, W 4-bit packed as for w4a16, symmetric zeros;
// groups of 32, 64, 128, coarse (256 and more, or all of k). A block takes 8 rows. Contract and idea: act8.cuh,
// w4a8.cuh. One by-value Act8Params; 256 threads; grid (row tiles / (8 / k_warps), splits of k, rows / 8).
// targets: lowest
#include "matmul/w4a8.cuh"

using namespace lowbit;
// Three blocks of 8 warps per multiprocessor (80 registers); two where three would spill.
#define ENTRY extern "C" __global__ void __launch_bounds__(256, 3)
#define ENTRY_WIDE extern "C" __global__ void __launch_bounds__(256, 2)
#define PARAMS const __grid_constant__ Act8Params

ENTRY_WIDE w4a8_int8_sym_g32_c1(PARAMS p) { act8_skinny<W4Int8<Zero::kSymmetric, 32, 1>>(p); }
ENTRY w4a8_int8_sym_g64_c1(PARAMS p) { act8_skinny<W4Int8<Zero::kSymmetric, 64, 1>>(p); }
ENTRY w4a8_int8_sym_g128_c1(PARAMS p) { act8_skinny<W4Int8<Zero::kSymmetric, 128, 1>>(p); }
ENTRY w4a8_int8_sym_coarse_c1(PARAMS p) { act8_skinny<W4Int8<Zero::kSymmetric, 256, 1>>(p); }
