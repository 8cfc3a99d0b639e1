// w4a16: y = x * W^T, x f16 [9..16, k], W 4-bit packed [n, k], f32 accumulation. The closed table of instances: zeros
// (symmetric, 4-bit, real, minima) x group (32, 64, 128, coarse = 256 and more or all of k). Contract and idea:
// skinny.cuh, w4.cuh. One by-value ProductParams; 256 threads; grid (row tiles / (8 / k_warps), splits of k).
// targets: lowest
#include "matmul/skinny.cuh"
#include "matmul/w4.cuh"

using namespace lowbit;
// The registers are ptxas's choice, two or three blocks of 8 warps per multiprocessor; two where it would save them
// with more instructions, one where it would spill.
#define ENTRY extern "C" __global__ void __launch_bounds__(256)
#define ENTRY_TWO extern "C" __global__ void __launch_bounds__(256, 2)
#define ENTRY_WIDE extern "C" __global__ void __launch_bounds__(256, 1)
#define PARAMS const __grid_constant__ ProductParams

ENTRY w4a16_f16_sym_g32_m16(PARAMS p) { skinny<W4<F16, Zero::kSymmetric, 32, false>, 2>(p); }
ENTRY w4a16_f16_sym_g64_m16(PARAMS p) { skinny<W4<F16, Zero::kSymmetric, 64, false>, 2>(p); }
ENTRY w4a16_f16_sym_g128_m16(PARAMS p) { skinny<W4<F16, Zero::kSymmetric, 128, false>, 2>(p); }
ENTRY w4a16_f16_sym_coarse_m16(PARAMS p) { skinny<W4<F16, Zero::kSymmetric, 256, false>, 2>(p); }
ENTRY w4a16_f16_zero4_g32_m16(PARAMS p) { skinny<W4<F16, Zero::kBits4, 32, false>, 2>(p); }
ENTRY w4a16_f16_zero4_g64_m16(PARAMS p) { skinny<W4<F16, Zero::kBits4, 64, false>, 2>(p); }
ENTRY_TWO w4a16_f16_zero4_g128_m16(PARAMS p) { skinny<W4<F16, Zero::kBits4, 128, false>, 2>(p); }
ENTRY_TWO w4a16_f16_zero4_coarse_m16(PARAMS p) { skinny<W4<F16, Zero::kBits4, 256, false>, 2>(p); }
ENTRY_WIDE w4a16_f16_real_g32_m16(PARAMS p) { skinny<W4<F16, Zero::kReal, 32, false>, 2>(p); }
ENTRY_WIDE w4a16_f16_real_g64_m16(PARAMS p) { skinny<W4<F16, Zero::kReal, 64, false>, 2>(p); }
ENTRY w4a16_f16_real_g128_m16(PARAMS p) { skinny<W4<F16, Zero::kReal, 128, false>, 2>(p); }
ENTRY w4a16_f16_real_coarse_m16(PARAMS p) { skinny<W4<F16, Zero::kReal, 256, false>, 2>(p); }
ENTRY_WIDE w4a16_f16_min_g32_m16(PARAMS p) { skinny<W4<F16, Zero::kMin, 32, false>, 2>(p); }
ENTRY_WIDE w4a16_f16_min_g64_m16(PARAMS p) { skinny<W4<F16, Zero::kMin, 64, false>, 2>(p); }
ENTRY w4a16_f16_min_g128_m16(PARAMS p) { skinny<W4<F16, Zero::kMin, 128, false>, 2>(p); }
ENTRY w4a16_f16_min_coarse_m16(PARAMS p) { skinny<W4<F16, Zero::kMin, 256, false>, 2>(p); }
