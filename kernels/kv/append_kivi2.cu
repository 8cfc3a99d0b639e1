// nvcc: -fmad=false
// Instances of append for the KIVI caches with values of 2 bits.
// targets: lowest
#include "kv/append.cuh"

using lowbit::kv::append_kernel;
using lowbit::kv::AppendParams;
using lowbit::kv::Code;

extern "C" __global__ void __launch_bounds__(128, 3) append_kivi2_d64(const __grid_constant__ AppendParams p) {
    append_kernel<Code::INT2_TOKENS, Code::INT2, 64>(p);
}

extern "C" __global__ void __launch_bounds__(128, 3) append_kivi2_d96(const __grid_constant__ AppendParams p) {
    append_kernel<Code::INT2_TOKENS, Code::INT2, 96>(p);
}

extern "C" __global__ void __launch_bounds__(128, 3) append_kivi2_d128(const __grid_constant__ AppendParams p) {
    append_kernel<Code::INT2_TOKENS, Code::INT2, 128>(p);
}

extern "C" __global__ void __launch_bounds__(128, 3) append_kivi2_d192(const __grid_constant__ AppendParams p) {
    append_kernel<Code::INT2_TOKENS, Code::INT2, 192>(p);
}

extern "C" __global__ void __launch_bounds__(128, 3) append_kivi2_d256(const __grid_constant__ AppendParams p) {
    append_kernel<Code::INT2_TOKENS, Code::INT2, 256>(p);
}

extern "C" __global__ void __launch_bounds__(128, 3) append_kivi8_2_d64(const __grid_constant__ AppendParams p) {
    append_kernel<Code::UINT8_TOKENS, Code::INT2, 64>(p);
}

extern "C" __global__ void __launch_bounds__(128, 3) append_kivi8_2_d96(const __grid_constant__ AppendParams p) {
    append_kernel<Code::UINT8_TOKENS, Code::INT2, 96>(p);
}

extern "C" __global__ void __launch_bounds__(128, 3) append_kivi8_2_d128(const __grid_constant__ AppendParams p) {
    append_kernel<Code::UINT8_TOKENS, Code::INT2, 128>(p);
}

extern "C" __global__ void __launch_bounds__(128, 3) append_kivi8_2_d192(const __grid_constant__ AppendParams p) {
    append_kernel<Code::UINT8_TOKENS, Code::INT2, 192>(p);
}
