// w4a16, the exact twin: the zero is subtracted from every weight before it is multiplied, instead of by a second
// product. For comparison with w4a16_f16.cu; contract: skinny.cuh, w4.cuh.
#include "matmul/w4.cuh"

using namespace lowbit;
#define ENTRY extern "C" __global__ void __launch_bounds__(256, 3)
#define PARAMS const __grid_constant__ SkinnyParams

ENTRY w4a16_f16_sym_g32_exact(PARAMS p) { skinny<W4<F16, Zero::kSymmetric, 32, true>>(p); }
ENTRY w4a16_f16_sym_g128_exact(PARAMS p) { skinny<W4<F16, Zero::kSymmetric, 128, true>>(p); }
ENTRY w4a16_f16_zero4_g32_exact(PARAMS p) { skinny<W4<F16, Zero::kBits4, 32, true>>(p); }
ENTRY w4a16_f16_zero4_g128_exact(PARAMS p) { skinny<W4<F16, Zero::kBits4, 128, true>>(p); }
