// llm_int8_dense: y = sw[n] * sum_k x[m][k] * w[n][k], x f16 or bf16, w int8: the product of LLM.int8() when the
// columns of x with outliers were more than the list holds (outlier_count[1]); else nothing is done, and w8a8_int8.cu
// does it all. So which of them works is decided on the device. Contract and idea: act8.cuh, wide.cuh. One by-value
// Act8Params; 256 threads; grid (row tiles / (8 / k_warps), 1, rows / 32).
// targets: lowest
#include "matmul/wide.cuh"

namespace lowbit {

template <class XType>
__device__ __forceinline__ void llm_int8_dense(const Act8Params& p) {
    if (reinterpret_cast<const uint32_t*>(p.outlier_count)[1] != 0) act8_skinny<Wide<XType, 4, Int8Numbers<XType>>>(p);
}

}  // namespace lowbit

using namespace lowbit;
#define ENTRY extern "C" __global__ void __launch_bounds__(256, 1)
#define PARAMS const __grid_constant__ Act8Params

ENTRY llm_int8_dense_f16(PARAMS p) { llm_int8_dense<F16>(p); }
ENTRY llm_int8_dense_bf16(PARAMS p) { llm_int8_dense<Bf16>(p); }
