// Instances of attend for the NVFP4 cache.
// targets: lowest
#include "attention/attend.cuh"
#include "attention/format_nvfp4.cuh"

using lowbit::AttendParams;

extern "C" __global__ void __launch_bounds__(128, 3) attend_nvfp4_d80(const __grid_constant__ AttendParams p) {
    lowbit::attend<lowbit::Nvfp4<80>>(p);
}

extern "C" __global__ void __launch_bounds__(128, 3) attend_nvfp4_d96(const __grid_constant__ AttendParams p) {
    lowbit::attend<lowbit::Nvfp4<96>>(p);
}

extern "C" __global__ void __launch_bounds__(128, 3) attend_nvfp4_d112(const __grid_constant__ AttendParams p) {
    lowbit::attend<lowbit::Nvfp4<112>>(p);
}
