// nvcc: -fmad=false
// Instances of append for int8 keys and e4m3 values.
#include "kv/append.cuh"

using lowbit::kv::append_kernel;
using lowbit::kv::AppendParams;
using lowbit::kv::Code;

extern "C" __global__ void __launch_bounds__(128) append_int8_e4m3_d64(const __grid_constant__ AppendParams p) {
    append_kernel<Code::INT8, Code::E4M3, 64>(p);
}

extern "C" __global__ void __launch_bounds__(128) append_int8_e4m3_d128(const __grid_constant__ AppendParams p) {
    append_kernel<Code::INT8, Code::E4M3, 128>(p);
}
