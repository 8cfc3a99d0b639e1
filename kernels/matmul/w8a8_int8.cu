// w8a8_int8: y = sx[m] * sw[n] * (sum_k (x[m][k] - zero[m]) * w[n][k] + outliers), int8 codes, sums in s32. Contract
// and idea: act8.cuh, bytes.cuh. One by-value Act8Params; 256 threads. c1, c2, c4: tiles of 8 rows a block takes; grid
// (row tiles / (8 / k_warps), splits of k, rows / (8 * tiles)). tiled: grid (row tiles / 8, 1, rows / 64).
//
// LLM.int8() (arXiv 2208.07339): with outlier_count, the columns of x that were taken out come back at the end, from
// the same codes of w; when they were too many, nothing is done, and llm_int8.cu does it all.
// targets: lowest
#include "matmul/bytes.cuh"

using namespace lowbit;
#define PARAMS const __grid_constant__ Act8Params

__device__ __forceinline__ bool too_many_outliers(const Act8Params& p) {
    return p.outlier_count && reinterpret_cast<const uint32_t*>(p.outlier_count)[1] != 0;
}
template <int COLS>
__device__ __forceinline__ void w8a8_int8(const Act8Params& p) {
    if (!too_many_outliers(p)) act8_skinny<Int8<COLS>>(p);
}

extern "C" __global__ void __launch_bounds__(256, 3) w8a8_int8_c1(PARAMS p) { w8a8_int8<1>(p); }
extern "C" __global__ void __launch_bounds__(256, 3) w8a8_int8_c2(PARAMS p) { w8a8_int8<2>(p); }
extern "C" __global__ void __launch_bounds__(256, 2) w8a8_int8_c4(PARAMS p) { w8a8_int8<4>(p); }
extern "C" __global__ void __launch_bounds__(256, 2) w8a8_int8_tiled(PARAMS p) {
    if (!too_many_outliers(p)) act8_tiled<Int8<8>>(p);
}
