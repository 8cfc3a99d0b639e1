// w4a16, tiled: y = x * W^T, x f16 [any number of rows, k], W 4-bit packed [n, k], f32 accumulation. The closed table
// of instances is that of w4a16_f16.cu. Contract and idea: tiled.cuh, w4.cuh. One by-value ProductParams; 256 threads.
// targets: lowest
#include "matmul/tiled.cuh"
#include "matmul/w4.cuh"

using namespace lowbit;
#define ENTRY extern "C" __global__ void __launch_bounds__(256, 1)
#define PARAMS const __grid_constant__ ProductParams

ENTRY w4a16_f16_sym_g32_tiled(PARAMS p) { tiled<W4<F16, Zero::kSymmetric, 32, true>, 8>(p); }
ENTRY w4a16_f16_sym_g64_tiled(PARAMS p) { tiled<W4<F16, Zero::kSymmetric, 64, true>, 8>(p); }
ENTRY w4a16_f16_sym_g128_tiled(PARAMS p) { tiled<W4<F16, Zero::kSymmetric, 128, true>, 8>(p); }
ENTRY w4a16_f16_sym_coarse_tiled(PARAMS p) { tiled<W4<F16, Zero::kSymmetric, 256, true>, 8>(p); }
ENTRY w4a16_f16_zero4_g32_tiled(PARAMS p) { tiled<W4<F16, Zero::kBits4, 32, true>, 8>(p); }
ENTRY w4a16_f16_zero4_g64_tiled(PARAMS p) { tiled<W4<F16, Zero::kBits4, 64, true>, 8>(p); }
ENTRY w4a16_f16_zero4_g128_tiled(PARAMS p) { tiled<W4<F16, Zero::kBits4, 128, true>, 8>(p); }
ENTRY w4a16_f16_zero4_coarse_tiled(PARAMS p) { tiled<W4<F16, Zero::kBits4, 256, true>, 8>(p); }
ENTRY w4a16_f16_real_g32_tiled(PARAMS p) { tiled<W4<F16, Zero::kReal, 32, true>, 4>(p); }
ENTRY w4a16_f16_real_g64_tiled(PARAMS p) { tiled<W4<F16, Zero::kReal, 64, true>, 4>(p); }
ENTRY w4a16_f16_real_g128_tiled(PARAMS p) { tiled<W4<F16, Zero::kReal, 128, true>, 4>(p); }
ENTRY w4a16_f16_real_coarse_tiled(PARAMS p) { tiled<W4<F16, Zero::kReal, 256, true>, 4>(p); }
ENTRY w4a16_f16_min_g32_tiled(PARAMS p) { tiled<W4<F16, Zero::kMin, 32, true>, 4>(p); }
ENTRY w4a16_f16_min_g64_tiled(PARAMS p) { tiled<W4<F16, Zero::kMin, 64, true>, 4>(p); }
ENTRY w4a16_f16_min_g128_tiled(PARAMS p) { tiled<W4<F16, Zero::kMin, 128, true>, 4>(p); }
ENTRY w4a16_f16_min_coarse_tiled(PARAMS p) { tiled<W4<F16, Zero::kMin, 256, true>, 4>(p); }
