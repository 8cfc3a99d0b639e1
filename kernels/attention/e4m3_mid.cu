// Instances of attend for the e4m3 cache.
#include "attention/attend.cuh"
#include "attention/format_fp8.cuh"

using lowbit::AttendParams;

extern "C" __global__ void __launch_bounds__(128, 4) attend_e4m3_d80(const __grid_constant__ AttendParams p) {
    lowbit::attend<lowbit::E4m3<80>>(p);
}

extern "C" __global__ void __launch_bounds__(128, 4) attend_e4m3_d96(const __grid_constant__ AttendParams p) {
    lowbit::attend<lowbit::E4m3<96>>(p);
}

extern "C" __global__ void __launch_bounds__(128, 4) attend_e4m3_d112(const __grid_constant__ AttendParams p) {
    lowbit::attend<lowbit::E4m3<112>>(p);
}
