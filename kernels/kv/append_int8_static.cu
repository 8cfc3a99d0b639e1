// nvcc: -fmad=false
// Instances of append for the int8 cache with given scales.
// targets: lowest
#include "kv/append.cuh"

using lowbit::kv::append_kernel;
using lowbit::kv::AppendParams;
using lowbit::kv::Code;

extern "C" __global__ void __launch_bounds__(128) append_int8_static_d64(const __grid_constant__ AppendParams p) {
    append_kernel<Code::INT8_STATIC, Code::INT8_STATIC, 64>(p);
}

extern "C" __global__ void __launch_bounds__(128) append_int8_static_d80(const __grid_constant__ AppendParams p) {
    append_kernel<Code::INT8_STATIC, Code::INT8_STATIC, 80>(p);
}

extern "C" __global__ void __launch_bounds__(128) append_int8_static_d96(const __grid_constant__ AppendParams p) {
    append_kernel<Code::INT8_STATIC, Code::INT8_STATIC, 96>(p);
}

extern "C" __global__ void __launch_bounds__(128) append_int8_static_d112(const __grid_constant__ AppendParams p) {
    append_kernel<Code::INT8_STATIC, Code::INT8_STATIC, 112>(p);
}

extern "C" __global__ void __launch_bounds__(128) append_int8_static_d128(const __grid_constant__ AppendParams p) {
    append_kernel<Code::INT8_STATIC, Code::INT8_STATIC, 128>(p);
}

extern "C" __global__ void __launch_bounds__(128) append_int8_static_d192(const __grid_constant__ AppendParams p) {
    append_kernel<Code::INT8_STATIC, Code::INT8_STATIC, 192>(p);
}

extern "C" __global__ void __launch_bounds__(128) append_int8_static_d256(const __grid_constant__ AppendParams p) {
    append_kernel<Code::INT8_STATIC, Code::INT8_STATIC, 256>(p);
}
