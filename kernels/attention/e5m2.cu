// Instances of attend for the e5m2 cache.
// targets: lowest
#include "attention/attend.cuh"
#include "attention/format_fp8.cuh"

using lowbit::AttendParams;

extern "C" __global__ void __launch_bounds__(128, 4) attend_e5m2_d64(const __grid_constant__ AttendParams p) {
    lowbit::attend<lowbit::E5m2<64>>(p);
}

extern "C" __global__ void __launch_bounds__(128, 4) attend_e5m2_d128(const __grid_constant__ AttendParams p) {
    lowbit::attend<lowbit::E5m2<128>>(p);
}
