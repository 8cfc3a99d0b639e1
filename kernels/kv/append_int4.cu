// nvcc: -fmad=false
// Instances of append for the int4 cache.
// targets: lowest
#include "kv/append.cuh"

using lowbit::kv::append_kernel;
using lowbit::kv::AppendParams;
using lowbit::kv::Code;

extern "C" __global__ void __launch_bounds__(128) append_int4_d64(const __grid_constant__ AppendParams p) {
    append_kernel<Code::INT4, Code::INT4, 64>(p);
}

extern "C" __global__ void __launch_bounds__(128) append_int4_d80(const __grid_constant__ AppendParams p) {
    append_kernel<Code::INT4, Code::INT4, 80>(p);
}

extern "C" __global__ void __launch_bounds__(128) append_int4_d96(const __grid_constant__ AppendParams p) {
    append_kernel<Code::INT4, Code::INT4, 96>(p);
}

extern "C" __global__ void __launch_bounds__(128) append_int4_d112(const __grid_constant__ AppendParams p) {
    append_kernel<Code::INT4, Code::INT4, 112>(p);
}

extern "C" __global__ void __launch_bounds__(128) append_int4_d128(const __grid_constant__ AppendParams p) {
    append_kernel<Code::INT4, Code::INT4, 128>(p);
}

extern "C" __global__ void __launch_bounds__(128) append_int4_d192(const __grid_constant__ AppendParams p) {
    append_kernel<Code::INT4, Code::INT4, 192>(p);
}

extern "C" __global__ void __launch_bounds__(128) append_int4_d256(const __grid_constant__ AppendParams p) {
    append_kernel<Code::INT4, Code::INT4, 256>(p);
}
