// Instances of attend for caches of ggml's blocks.
// targets: lowest
#include "attention/attend.cuh"
#include "attention/format_ggml.cuh"

using lowbit::AttendParams;

extern "C" __global__ void __launch_bounds__(128, 4) attend_q8_0_d64(const __grid_constant__ AttendParams p) {
    lowbit::attend<lowbit::Q8_0<64>>(p);
}

extern "C" __global__ void __launch_bounds__(128, 4) attend_q8_0_d96(const __grid_constant__ AttendParams p) {
    lowbit::attend<lowbit::Q8_0<96>>(p);
}

extern "C" __global__ void __launch_bounds__(128, 4) attend_q8_0_d128(const __grid_constant__ AttendParams p) {
    lowbit::attend<lowbit::Q8_0<128>>(p);
}

extern "C" __global__ void __launch_bounds__(128, 2) attend_q8_0_d256(const __grid_constant__ AttendParams p) {
    lowbit::attend<lowbit::Q8_0<256>>(p);
}

extern "C" __global__ void __launch_bounds__(128, 3) attend_q8_0_q4_0_d64(const __grid_constant__ AttendParams p) {
    lowbit::attend<lowbit::Q8_0Q4_0<64>>(p);
}

extern "C" __global__ void __launch_bounds__(128, 3) attend_q8_0_q4_0_d96(const __grid_constant__ AttendParams p) {
    lowbit::attend<lowbit::Q8_0Q4_0<96>>(p);
}

extern "C" __global__ void __launch_bounds__(128, 3) attend_q8_0_q4_0_d128(const __grid_constant__ AttendParams p) {
    lowbit::attend<lowbit::Q8_0Q4_0<128>>(p);
}

extern "C" __global__ void __launch_bounds__(128, 3) attend_q4_0_d64(const __grid_constant__ AttendParams p) {
    lowbit::attend<lowbit::Q4_0<64>>(p);
}

extern "C" __global__ void __launch_bounds__(128, 3) attend_q4_0_d96(const __grid_constant__ AttendParams p) {
    lowbit::attend<lowbit::Q4_0<96>>(p);
}

extern "C" __global__ void __launch_bounds__(128, 3) attend_q4_0_d128(const __grid_constant__ AttendParams p) {
    lowbit::attend<lowbit::Q4_0<128>>(p);
}

extern "C" __global__ void __launch_bounds__(128, 2) attend_q4_0_d256(const __grid_constant__ AttendParams p) {
    lowbit::attend<lowbit::Q4_0<256>>(p);
}
