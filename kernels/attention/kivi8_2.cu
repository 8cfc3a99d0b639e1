// Instances of attend for the KIVI cache with keys of 8 bits and values of 2.
// targets: lowest
#include "attention/attend.cuh"
#include "attention/format_kivi2.cuh"

using lowbit::AttendParams;

extern "C" __global__ void __launch_bounds__(128, 3) attend_kivi8_2_d64(const __grid_constant__ AttendParams p) {
    lowbit::attend<lowbit::Kivi8_2<64>>(p);
}

extern "C" __global__ void __launch_bounds__(128, 3) attend_kivi8_2_d96(const __grid_constant__ AttendParams p) {
    lowbit::attend<lowbit::Kivi8_2<96>>(p);
}

extern "C" __global__ void __launch_bounds__(128, 2) attend_kivi8_2_d128(const __grid_constant__ AttendParams p) {
    lowbit::attend<lowbit::Kivi8_2<128>>(p);
}

extern "C" __global__ void __launch_bounds__(128, 2) attend_kivi8_2_d192(const __grid_constant__ AttendParams p) {
    lowbit::attend<lowbit::Kivi8_2<192>>(p);
}
