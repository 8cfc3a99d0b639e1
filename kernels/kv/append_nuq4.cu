// nvcc: -fmad=false
// Instances of append for codes with tables of 16 levels.
// targets: lowest
#include "kv/append.cuh"

using lowbit::kv::append_kernel;
using lowbit::kv::AppendParams;
using lowbit::kv::Code;

extern "C" __global__ void __launch_bounds__(128, 3) append_nuq4_d64(const __grid_constant__ AppendParams p) {
    append_kernel<Code::NUQ4, Code::NUQ4, 64>(p);
}

extern "C" __global__ void __launch_bounds__(128, 3) append_nuq4_d96(const __grid_constant__ AppendParams p) {
    append_kernel<Code::NUQ4, Code::NUQ4, 96>(p);
}

extern "C" __global__ void __launch_bounds__(128, 3) append_nuq4_d128(const __grid_constant__ AppendParams p) {
    append_kernel<Code::NUQ4, Code::NUQ4, 128>(p);
}

extern "C" __global__ void __launch_bounds__(128, 3) append_nuq4_d256(const __grid_constant__ AppendParams p) {
    append_kernel<Code::NUQ4, Code::NUQ4, 256>(p);
}
