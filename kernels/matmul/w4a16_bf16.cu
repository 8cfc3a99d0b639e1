// w4a16: y = x * W^T, x bf16 [1..8, k], W 4-bit packed [n, k], f32 accumulation. The closed table of instances: zeros
// (symmetric, 4-bit, real, minima) x group (32, 64, 128, coarse = 256 and more or all of k). Contract and idea:
// skinny.cuh, w4.cuh. One by-value ProductParams; 256 threads; grid (row tiles / (8 / k_warps), splits of k).
// targets: lowest
#include "matmul/skinny.cuh"
#include "matmul/w4.cuh"

using namespace lowbit;
// Three blocks of 8 warps per multiprocessor (80 registers); two where three would spill. There the limit is given in
// registers: asked for two blocks, ptxas takes all 128 and spills a word on one architecture or another.
#define ENTRY extern "C" __global__ void __launch_bounds__(256, 3)
#define ENTRY_WIDE extern "C" __global__ void __maxnreg__(120)
#define ENTRY_88 extern "C" __global__ void __maxnreg__(88)
#define PARAMS const __grid_constant__ ProductParams

ENTRY_WIDE w4a16_bf16_sym_g32(PARAMS p) { skinny<W4<Bf16, Zero::kSymmetric, 32, false>, 1>(p); }
ENTRY w4a16_bf16_sym_g64(PARAMS p) { skinny<W4<Bf16, Zero::kSymmetric, 64, false>, 1>(p); }
ENTRY w4a16_bf16_sym_g128(PARAMS p) { skinny<W4<Bf16, Zero::kSymmetric, 128, false>, 1>(p); }
ENTRY w4a16_bf16_sym_coarse(PARAMS p) { skinny<W4<Bf16, Zero::kSymmetric, 256, false>, 1>(p); }
ENTRY_WIDE w4a16_bf16_zero4_g32(PARAMS p) { skinny<W4<Bf16, Zero::kBits4, 32, false>, 1>(p); }
ENTRY_WIDE w4a16_bf16_zero4_g64(PARAMS p) { skinny<W4<Bf16, Zero::kBits4, 64, false>, 1>(p); }
ENTRY_88 w4a16_bf16_zero4_g128(PARAMS p) { skinny<W4<Bf16, Zero::kBits4, 128, false>, 1>(p); }
ENTRY w4a16_bf16_zero4_coarse(PARAMS p) { skinny<W4<Bf16, Zero::kBits4, 256, false>, 1>(p); }
ENTRY_WIDE w4a16_bf16_real_g32(PARAMS p) { skinny<W4<Bf16, Zero::kReal, 32, false>, 1>(p); }
ENTRY_WIDE w4a16_bf16_real_g64(PARAMS p) { skinny<W4<Bf16, Zero::kReal, 64, false>, 1>(p); }
ENTRY w4a16_bf16_real_g128(PARAMS p) { skinny<W4<Bf16, Zero::kReal, 128, false>, 1>(p); }
ENTRY_WIDE w4a16_bf16_real_coarse(PARAMS p) { skinny<W4<Bf16, Zero::kReal, 256, false>, 1>(p); }
ENTRY_WIDE w4a16_bf16_min_g32(PARAMS p) { skinny<W4<Bf16, Zero::kMin, 32, false>, 1>(p); }
ENTRY_WIDE w4a16_bf16_min_g64(PARAMS p) { skinny<W4<Bf16, Zero::kMin, 64, false>, 1>(p); }
ENTRY w4a16_bf16_min_g128(PARAMS p) { skinny<W4<Bf16, Zero::kMin, 128, false>, 1>(p); }
ENTRY_WIDE w4a16_bf16_min_coarse(PARAMS p) { skinny<W4<Bf16, Zero::kMin, 256, false>, 1>(p); }
