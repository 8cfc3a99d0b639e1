// Instances of attend for the int8 cache with given scales.
// targets: lowest
#include "attention/attend.cuh"
#include "attention/format_int8.cuh"

using lowbit::AttendParams;

extern "C" __global__ void __launch_bounds__(128, 4) attend_int8_static_d64(const __grid_constant__ AttendParams p) {
    lowbit::attend<lowbit::Int8Static<64>>(p);
}

extern "C" __global__ void __launch_bounds__(128, 4) attend_int8_static_d80(const __grid_constant__ AttendParams p) {
    lowbit::attend<lowbit::Int8Static<80>>(p);
}

extern "C" __global__ void __launch_bounds__(128, 4) attend_int8_static_d96(const __grid_constant__ AttendParams p) {
    lowbit::attend<lowbit::Int8Static<96>>(p);
}

extern "C" __global__ void __launch_bounds__(128, 4) attend_int8_static_d112(const __grid_constant__ AttendParams p) {
    lowbit::attend<lowbit::Int8Static<112>>(p);
}

extern "C" __global__ void __launch_bounds__(128, 4) attend_int8_static_d128(const __grid_constant__ AttendParams p) {
    lowbit::attend<lowbit::Int8Static<128>>(p);
}

extern "C" __global__ void __launch_bounds__(128, 2) attend_int8_static_d192(const __grid_constant__ AttendParams p) {
    lowbit::attend<lowbit::Int8Static<192>>(p);
}

extern "C" __global__ void __launch_bounds__(128, 2) attend_int8_static_d256(const __grid_constant__ AttendParams p) {
    lowbit::attend<lowbit::Int8Static<256>>(p);
}
