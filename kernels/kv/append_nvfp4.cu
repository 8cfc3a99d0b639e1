// nvcc: -fmad=false
// Instances of append for the NVFP4 cache.
// targets: lowest
#include "kv/append.cuh"

using lowbit::kv::append_kernel;
using lowbit::kv::AppendParams;
using lowbit::kv::Code;

extern "C" __global__ void __launch_bounds__(128) append_nvfp4_d64(const __grid_constant__ AppendParams p) {
    append_kernel<Code::E2M1, Code::E2M1, 64>(p);
}

extern "C" __global__ void __launch_bounds__(128) append_nvfp4_d80(const __grid_constant__ AppendParams p) {
    append_kernel<Code::E2M1, Code::E2M1, 80>(p);
}

extern "C" __global__ void __launch_bounds__(128) append_nvfp4_d96(const __grid_constant__ AppendParams p) {
    append_kernel<Code::E2M1, Code::E2M1, 96>(p);
}

extern "C" __global__ void __launch_bounds__(128) append_nvfp4_d112(const __grid_constant__ AppendParams p) {
    append_kernel<Code::E2M1, Code::E2M1, 112>(p);
}

extern "C" __global__ void __launch_bounds__(128) append_nvfp4_d128(const __grid_constant__ AppendParams p) {
    append_kernel<Code::E2M1, Code::E2M1, 128>(p);
}

extern "C" __global__ void __launch_bounds__(128) append_nvfp4_d192(const __grid_constant__ AppendParams p) {
    append_kernel<Code::E2M1, Code::E2M1, 192>(p);
}

extern "C" __global__ void __launch_bounds__(128) append_nvfp4_d256(const __grid_constant__ AppendParams p) {
    append_kernel<Code::E2M1, Code::E2M1, 256>(p);
}
