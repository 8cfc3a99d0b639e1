// Instances of attend for the KIVI cache of 2 bits.
// targets: lowest
#include "attention/attend.cuh"
#include "attention/format_kivi2.cuh"

using lowbit::AttendParams;

extern "C" __global__ void __launch_bounds__(128, 3) attend_kivi2_d64(const __grid_constant__ AttendParams p) {
    lowbit::attend<lowbit::Kivi2<64>>(p);
}

extern "C" __global__ void __launch_bounds__(128, 3) attend_kivi2_d96(const __grid_constant__ AttendParams p) {
    lowbit::attend<lowbit::Kivi2<96>>(p);
}

extern "C" __global__ void __launch_bounds__(128, 3) attend_kivi2_d128(const __grid_constant__ AttendParams p) {
    lowbit::attend<lowbit::Kivi2<128>>(p);
}
