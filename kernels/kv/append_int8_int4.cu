// nvcc: -fmad=false
// Instances of append for int8 keys and int4 values.
// targets: lowest
#include "kv/append.cuh"

using lowbit::kv::append_kernel;
using lowbit::kv::AppendParams;
using lowbit::kv::Code;

extern "C" __global__ void __launch_bounds__(128) append_int8_int4_d64(const __grid_constant__ AppendParams p) {
    append_kernel<Code::INT8, Code::INT4, 64>(p);
}

extern "C" __global__ void __launch_bounds__(128) append_int8_int4_d128(const __grid_constant__ AppendParams p) {
    append_kernel<Code::INT8, Code::INT4, 128>(p);
}
