// w8a16: y = x * W^T, x f16 or bf16 [1..32, k], W 8-bit packed [n, k] with w = q*s, f32 accumulation; groups of 32 k
// (ggml Q8_0) or of all k. Contract and idea: skinny.cuh, w8.cuh. One by-value ProductParams; 256 threads; grid (row
// tiles / (8 / k_warps), splits of k).
// targets: lowest
#include "matmul/skinny.cuh"
#include "matmul/w8.cuh"

using namespace lowbit;
#define ENTRY extern "C" __global__ void __launch_bounds__(256, 3)
#define ENTRY_MANY extern "C" __global__ void __launch_bounds__(256)  // more than 8 rows
#define ENTRY_WIDE extern "C" __global__ void __maxnreg__(104)        // the same, where ptxas would choose 64 and spill
#define ENTRY_TWO extern "C" __global__ void __launch_bounds__(256, 2)
#define PARAMS const __grid_constant__ ProductParams

ENTRY w8a16_f16_g32(PARAMS p) { skinny<W8<F16, 32>, 1>(p); }
ENTRY w8a16_f16_coarse(PARAMS p) { skinny<W8<F16, 128>, 1>(p); }
ENTRY w8a16_bf16_g32(PARAMS p) { skinny<W8<Bf16, 32>, 1>(p); }
ENTRY w8a16_bf16_coarse(PARAMS p) { skinny<W8<Bf16, 128>, 1>(p); }
ENTRY_MANY w8a16_f16_g32_m16(PARAMS p) { skinny<W8<F16, 32>, 2>(p); }
ENTRY_MANY w8a16_f16_coarse_m16(PARAMS p) { skinny<W8<F16, 128>, 2>(p); }
ENTRY_MANY w8a16_bf16_g32_m16(PARAMS p) { skinny<W8<Bf16, 32>, 2>(p); }
ENTRY_WIDE w8a16_bf16_coarse_m16(PARAMS p) { skinny<W8<Bf16, 128>, 2>(p); }
ENTRY_MANY w8a16_f16_g32_m32(PARAMS p) { skinny<W8<F16, 32>, 4>(p); }
ENTRY_TWO w8a16_f16_coarse_m32(PARAMS p) { skinny<W8<F16, 128>, 4>(p); }
ENTRY_MANY w8a16_bf16_g32_m32(PARAMS p) { skinny<W8<Bf16, 32>, 4>(p); }
ENTRY_MANY w8a16_bf16_coarse_m32(PARAMS p) { skinny<W8<Bf16, 128>, 4>(p); }
