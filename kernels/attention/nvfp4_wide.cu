// Instances of attend for the NVFP4 cache.
// targets: lowest
#include "attention/attend.cuh"
#include "attention/format_nvfp4.cuh"

using lowbit::AttendParams;

extern "C" __global__ void __launch_bounds__(128, 2) attend_nvfp4_d192(const __grid_constant__ AttendParams p) {
    lowbit::attend<lowbit::Nvfp4<192>>(p);
}

extern "C" __global__ void __launch_bounds__(128, 2) attend_nvfp4_d256(const __grid_constant__ AttendParams p) {
    lowbit::attend<lowbit::Nvfp4<256>>(p);
}
