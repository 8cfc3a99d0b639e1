// Instances of attend for the KIVI caches whose keys share scales over 64 tokens.
// targets: lowest
#include "attention/attend.cuh"
#include "attention/format_kivi2.cuh"

using lowbit::AttendParams;

extern "C" __global__ void __launch_bounds__(128, 3) attend_kivi4_g64_d64(const __grid_constant__ AttendParams p) {
    lowbit::attend<lowbit::Kivi4<64, 64>>(p);
}

extern "C" __global__ void __launch_bounds__(128, 2) attend_kivi4_g64_d128(const __grid_constant__ AttendParams p) {
    lowbit::attend<lowbit::Kivi4<128, 64>>(p);
}

extern "C" __global__ void __launch_bounds__(128, 3) attend_kivi2_g64_d64(const __grid_constant__ AttendParams p) {
    lowbit::attend<lowbit::Kivi2<64, 64>>(p);
}

extern "C" __global__ void __launch_bounds__(128, 3) attend_kivi2_g64_d128(const __grid_constant__ AttendParams p) {
    lowbit::attend<lowbit::Kivi2<128, 64>>(p);
}

extern "C" __global__ void __launch_bounds__(128, 3) attend_kivi8_2_g64_d64(const __grid_constant__ AttendParams p) {
    lowbit::attend<lowbit::Kivi8_2<64, 64>>(p);
}

extern "C" __global__ void __launch_bounds__(128, 2) attend_kivi8_2_g64_d128(const __grid_constant__ AttendParams p) {
    lowbit::attend<lowbit::Kivi8_2<128, 64>>(p);
}
