// nvcc: -fmad=false
// Instances of append for the cache in the model's own type.
// targets: lowest
#include "kv/append.cuh"

using lowbit::kv::append_kernel;
using lowbit::kv::AppendParams;
using lowbit::kv::Code;

extern "C" __global__ void __launch_bounds__(128) append_float_d64(const __grid_constant__ AppendParams p) {
    append_kernel<Code::FLOAT, Code::FLOAT, 64>(p);
}

extern "C" __global__ void __launch_bounds__(128) append_float_d128(const __grid_constant__ AppendParams p) {
    append_kernel<Code::FLOAT, Code::FLOAT, 128>(p);
}
