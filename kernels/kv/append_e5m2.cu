// nvcc: -fmad=false
// Instances of append for the e5m2 cache.
#include "kv/append.cuh"

using lowbit::kv::append_kernel;
using lowbit::kv::AppendParams;
using lowbit::kv::Code;

extern "C" __global__ void __launch_bounds__(128) append_e5m2_d64(const __grid_constant__ AppendParams p) {
    append_kernel<Code::E5M2, Code::E5M2, 64>(p);
}

extern "C" __global__ void __launch_bounds__(128) append_e5m2_d128(const __grid_constant__ AppendParams p) {
    append_kernel<Code::E5M2, Code::E5M2, 128>(p);
}
