// Instances of attend for the NVFP4 cache.
// targets: lowest
#include "attention/attend.cuh"
#include "attention/format_nvfp4.cuh"

using lowbit::AttendParams;

extern "C" __global__ void __launch_bounds__(128, 3) attend_nvfp4_d64(const __grid_constant__ AttendParams p) {
    lowbit::attend<lowbit::Nvfp4<64>>(p);
}

extern "C" __global__ void __launch_bounds__(128, 3) attend_nvfp4_d128(const __grid_constant__ AttendParams p) {
    lowbit::attend<lowbit::Nvfp4<128>>(p);
}
