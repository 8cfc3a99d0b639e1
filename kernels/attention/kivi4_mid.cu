// Instances of attend for the KIVI cache of 4 bits; the window is f16 or bf16.
// targets: lowest
#include "attention/attend.cuh"
#include "attention/format_kivi4.cuh"

using lowbit::AttendParams;

extern "C" __global__ void __launch_bounds__(128, 3) attend_kivi4_f16_d80(const __grid_constant__ AttendParams p) {
    lowbit::attend<lowbit::Kivi4<80, false>>(p);
}

extern "C" __global__ void __launch_bounds__(128, 3) attend_kivi4_bf16_d80(const __grid_constant__ AttendParams p) {
    lowbit::attend<lowbit::Kivi4<80, true>>(p);
}

extern "C" __global__ void __launch_bounds__(128, 3) attend_kivi4_f16_d96(const __grid_constant__ AttendParams p) {
    lowbit::attend<lowbit::Kivi4<96, false>>(p);
}

extern "C" __global__ void __launch_bounds__(128, 3) attend_kivi4_bf16_d96(const __grid_constant__ AttendParams p) {
    lowbit::attend<lowbit::Kivi4<96, true>>(p);
}

extern "C" __global__ void __launch_bounds__(128, 3) attend_kivi4_f16_d112(const __grid_constant__ AttendParams p) {
    lowbit::attend<lowbit::Kivi4<112, false>>(p);
}

extern "C" __global__ void __launch_bounds__(128, 3) attend_kivi4_bf16_d112(const __grid_constant__ AttendParams p) {
    lowbit::attend<lowbit::Kivi4<112, true>>(p);
}
