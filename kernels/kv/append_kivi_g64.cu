// nvcc: -fmad=false
// Instances of append for the KIVI caches whose keys share scales over 64 tokens.
// targets: lowest
#include "kv/append.cuh"

using lowbit::kv::append_kernel;
using lowbit::kv::AppendParams;
using lowbit::kv::Code;

extern "C" __global__ void __launch_bounds__(128, 3) append_kivi4_g64_d64(const __grid_constant__ AppendParams p) {
    append_kernel<Code::INT4_TOKENS, Code::INT4, 64, 64>(p);
}

extern "C" __global__ void __launch_bounds__(128, 3) append_kivi4_g64_d128(const __grid_constant__ AppendParams p) {
    append_kernel<Code::INT4_TOKENS, Code::INT4, 128, 64>(p);
}

extern "C" __global__ void __launch_bounds__(128, 3) append_kivi2_g64_d64(const __grid_constant__ AppendParams p) {
    append_kernel<Code::INT2_TOKENS, Code::INT2, 64, 64>(p);
}

extern "C" __global__ void __launch_bounds__(128, 3) append_kivi2_g64_d128(const __grid_constant__ AppendParams p) {
    append_kernel<Code::INT2_TOKENS, Code::INT2, 128, 64>(p);
}

extern "C" __global__ void __launch_bounds__(128, 3) append_kivi8_2_g64_d64(const __grid_constant__ AppendParams p) {
    append_kernel<Code::UINT8_TOKENS, Code::INT2, 64, 64>(p);
}

extern "C" __global__ void __launch_bounds__(128, 3) append_kivi8_2_g64_d128(const __grid_constant__ AppendParams p) {
    append_kernel<Code::UINT8_TOKENS, Code::INT2, 128, 64>(p);
}
