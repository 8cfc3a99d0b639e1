// Instances of attend for the int8 cache.
// targets: lowest
#include "attention/attend.cuh"
#include "attention/format_int8.cuh"

using lowbit::AttendParams;

extern "C" __global__ void __launch_bounds__(128, 4) attend_int8_d80(const __grid_constant__ AttendParams p) {
    lowbit::attend<lowbit::Int8<80>>(p);
}

extern "C" __global__ void __launch_bounds__(128, 4) attend_int8_d96(const __grid_constant__ AttendParams p) {
    lowbit::attend<lowbit::Int8<96>>(p);
}

extern "C" __global__ void __launch_bounds__(128, 4) attend_int8_d112(const __grid_constant__ AttendParams p) {
    lowbit::attend<lowbit::Int8<112>>(p);
}
