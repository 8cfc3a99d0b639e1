// nvcc: -fmad=false
// Instances of append for caches of ggml's blocks.
// targets: lowest
#include "kv/append.cuh"

using lowbit::kv::append_kernel;
using lowbit::kv::AppendParams;
using lowbit::kv::Code;

extern "C" __global__ void __launch_bounds__(128) append_q8_0_d64(const __grid_constant__ AppendParams p) {
    append_kernel<Code::Q8_0, Code::Q8_0, 64>(p);
}

extern "C" __global__ void __launch_bounds__(128) append_q8_0_d96(const __grid_constant__ AppendParams p) {
    append_kernel<Code::Q8_0, Code::Q8_0, 96>(p);
}

extern "C" __global__ void __launch_bounds__(128) append_q8_0_d128(const __grid_constant__ AppendParams p) {
    append_kernel<Code::Q8_0, Code::Q8_0, 128>(p);
}

extern "C" __global__ void __launch_bounds__(128) append_q8_0_d256(const __grid_constant__ AppendParams p) {
    append_kernel<Code::Q8_0, Code::Q8_0, 256>(p);
}

extern "C" __global__ void __launch_bounds__(128) append_q8_0_q4_0_d64(const __grid_constant__ AppendParams p) {
    append_kernel<Code::Q8_0, Code::Q4_0, 64>(p);
}

extern "C" __global__ void __launch_bounds__(128) append_q8_0_q4_0_d96(const __grid_constant__ AppendParams p) {
    append_kernel<Code::Q8_0, Code::Q4_0, 96>(p);
}

extern "C" __global__ void __launch_bounds__(128) append_q8_0_q4_0_d128(const __grid_constant__ AppendParams p) {
    append_kernel<Code::Q8_0, Code::Q4_0, 128>(p);
}

extern "C" __global__ void __launch_bounds__(128) append_q4_0_d64(const __grid_constant__ AppendParams p) {
    append_kernel<Code::Q4_0, Code::Q4_0, 64>(p);
}

extern "C" __global__ void __launch_bounds__(128) append_q4_0_d96(const __grid_constant__ AppendParams p) {
    append_kernel<Code::Q4_0, Code::Q4_0, 96>(p);
}

extern "C" __global__ void __launch_bounds__(128) append_q4_0_d128(const __grid_constant__ AppendParams p) {
    append_kernel<Code::Q4_0, Code::Q4_0, 128>(p);
}

extern "C" __global__ void __launch_bounds__(128) append_q4_0_d256(const __grid_constant__ AppendParams p) {
    append_kernel<Code::Q4_0, Code::Q4_0, 256>(p);
}
