// w4a16, the exact twin: the zero is subtracted from every weight before it is multiplied, instead of by a second
// product. For comparison with w4a16_f16.cu; contract: skinny.cuh, w4.cuh.
// targets: lowest
#include "matmul/skinny.cuh"
#include "matmul/w4.cuh"

using namespace lowbit;
#define ENTRY extern "C" __global__ void __launch_bounds__(256, 3)
#define ENTRY_MANY extern "C" __global__ void __launch_bounds__(256)  // more than 8 rows
#define ENTRY_WIDE extern "C" __global__ void __maxnreg__(112)        // the same, where ptxas would choose 80 and spill
#define PARAMS const __grid_constant__ ProductParams

ENTRY w4a16_f16_sym_g32_exact(PARAMS p) { skinny<W4<F16, Zero::kSymmetric, 32, true>, 1>(p); }
ENTRY w4a16_f16_sym_g128_exact(PARAMS p) { skinny<W4<F16, Zero::kSymmetric, 128, true>, 1>(p); }
ENTRY w4a16_f16_zero4_g32_exact(PARAMS p) { skinny<W4<F16, Zero::kBits4, 32, true>, 1>(p); }
ENTRY w4a16_f16_zero4_g128_exact(PARAMS p) { skinny<W4<F16, Zero::kBits4, 128, true>, 1>(p); }
ENTRY_MANY w4a16_f16_sym_g32_exact_m16(PARAMS p) { skinny<W4<F16, Zero::kSymmetric, 32, true>, 2>(p); }
ENTRY_MANY w4a16_f16_sym_g128_exact_m16(PARAMS p) { skinny<W4<F16, Zero::kSymmetric, 128, true>, 2>(p); }
ENTRY_MANY w4a16_f16_zero4_g32_exact_m16(PARAMS p) { skinny<W4<F16, Zero::kBits4, 32, true>, 2>(p); }
ENTRY_WIDE w4a16_f16_zero4_g128_exact_m16(PARAMS p) { skinny<W4<F16, Zero::kBits4, 128, true>, 2>(p); }
ENTRY_MANY w4a16_f16_sym_g32_exact_m32(PARAMS p) { skinny<W4<F16, Zero::kSymmetric, 32, true>, 4>(p); }
ENTRY_MANY w4a16_f16_sym_g128_exact_m32(PARAMS p) { skinny<W4<F16, Zero::kSymmetric, 128, true>, 4>(p); }
ENTRY_MANY w4a16_f16_zero4_g32_exact_m32(PARAMS p) { skinny<W4<F16, Zero::kBits4, 32, true>, 4>(p); }
ENTRY_MANY w4a16_f16_zero4_g128_exact_m32(PARAMS p) { skinny<W4<F16, Zero::kBits4, 128, true>, 4>(p); }
