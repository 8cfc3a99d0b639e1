// nvcc: -fmad=false
// Instances of append for the e4m3 cache.
#include "kv/append.cuh"

using lowbit::kv::append_kernel;
using lowbit::kv::AppendParams;
using lowbit::kv::Code;

extern "C" __global__ void __launch_bounds__(128) append_e4m3_d64(const __grid_constant__ AppendParams p) {
    append_kernel<Code::E4M3, Code::E4M3, 64>(p);
}

extern "C" __global__ void __launch_bounds__(128) append_e4m3_d80(const __grid_constant__ AppendParams p) {
    append_kernel<Code::E4M3, Code::E4M3, 80>(p);
}

extern "C" __global__ void __launch_bounds__(128) append_e4m3_d96(const __grid_constant__ AppendParams p) {
    append_kernel<Code::E4M3, Code::E4M3, 96>(p);
}

extern "C" __global__ void __launch_bounds__(128) append_e4m3_d112(const __grid_constant__ AppendParams p) {
    append_kernel<Code::E4M3, Code::E4M3, 112>(p);
}

extern "C" __global__ void __launch_bounds__(128) append_e4m3_d128(const __grid_constant__ AppendParams p) {
    append_kernel<Code::E4M3, Code::E4M3, 128>(p);
}

extern "C" __global__ void __launch_bounds__(128) append_e4m3_d192(const __grid_constant__ AppendParams p) {
    append_kernel<Code::E4M3, Code::E4M3, 192>(p);
}

extern "C" __global__ void __launch_bounds__(128) append_e4m3_d256(const __grid_constant__ AppendParams p) {
    append_kernel<Code::E4M3, Code::E4M3, 256>(p);
}
