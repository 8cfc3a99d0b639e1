// nvcc: -fmad=false
// Instances of append for the int8 cache.
// targets: lowest
#include "kv/append.cuh"

using lowbit::kv::append_kernel;
using lowbit::kv::AppendParams;
using lowbit::kv::Code;

extern "C" __global__ void __launch_bounds__(128) append_int8_d64(const __grid_constant__ AppendParams p) {
    append_kernel<Code::INT8, Code::INT8, 64>(p);
}

extern "C" __global__ void __launch_bounds__(128) append_int8_d80(const __grid_constant__ AppendParams p) {
    append_kernel<Code::INT8, Code::INT8, 80>(p);
}

extern "C" __global__ void __launch_bounds__(128) append_int8_d96(const __grid_constant__ AppendParams p) {
    append_kernel<Code::INT8, Code::INT8, 96>(p);
}

extern "C" __global__ void __launch_bounds__(128) append_int8_d112(const __grid_constant__ AppendParams p) {
    append_kernel<Code::INT8, Code::INT8, 112>(p);
}

extern "C" __global__ void __launch_bounds__(128) append_int8_d128(const __grid_constant__ AppendParams p) {
    append_kernel<Code::INT8, Code::INT8, 128>(p);
}

extern "C" __global__ void __launch_bounds__(128) append_int8_d192(const __grid_constant__ AppendParams p) {
    append_kernel<Code::INT8, Code::INT8, 192>(p);
}

extern "C" __global__ void __launch_bounds__(128) append_int8_d256(const __grid_constant__ AppendParams p) {
    append_kernel<Code::INT8, Code::INT8, 256>(p);
}
