// w8a8_e4m3_fast: y = sum_k x[m][k] * w[n][k], E4M3 codes with scales. From compute_89 they are multiplied as they are,
// in sums of 32 k that keep about 13 bits below the largest product; these are added in f32. Below, as in w8a8_e4m3.cu.
// Contract and idea: act8.cuh, bytes.cuh. One by-value Act8Params; 256 threads; grids as w8a8_int8.cu. block: as there.
#include "matmul/bytes.cuh"

using namespace lowbit;
// Two blocks per multiprocessor; one where 128 registers would spill.
#define ENTRY extern "C" __global__ void __launch_bounds__(256, 2)
#define ENTRY_ONE extern "C" __global__ void __launch_bounds__(256, 1)
#define PARAMS const __grid_constant__ Act8Params

ENTRY w8a8_e4m3_fast_c1(PARAMS p) { act8_skinny<FastE4m3<1, false>>(p); }
ENTRY w8a8_e4m3_fast_c2(PARAMS p) { act8_skinny<FastE4m3<2, false>>(p); }
ENTRY_ONE w8a8_e4m3_fast_c4(PARAMS p) { act8_skinny<FastE4m3<4, false>>(p); }
ENTRY w8a8_e4m3_fast_tiled(PARAMS p) { act8_tiled<FastE4m3<8, false>>(p); }
ENTRY w8a8_e4m3_fast_block_c1(PARAMS p) { act8_skinny<FastE4m3<1, true>>(p); }
ENTRY_ONE w8a8_e4m3_fast_block_c2(PARAMS p) { act8_skinny<FastE4m3<2, true>>(p); }
ENTRY_ONE w8a8_e4m3_fast_block_c4(PARAMS p) { act8_skinny<FastE4m3<4, true>>(p); }
ENTRY_ONE w8a8_e4m3_fast_block_tiled(PARAMS p) { act8_tiled<FastE4m3<8, true>>(p); }
