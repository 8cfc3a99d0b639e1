// Instances of attend for the int4 cache.
// targets: lowest
#include "attention/attend.cuh"
#include "attention/format_int4.cuh"

using lowbit::AttendParams;

extern "C" __global__ void __launch_bounds__(128, 3) attend_int4_d64(const __grid_constant__ AttendParams p) {
    lowbit::attend<lowbit::Int4<64>>(p);
}

extern "C" __global__ void __launch_bounds__(128, 3) attend_int4_d128(const __grid_constant__ AttendParams p) {
    lowbit::attend<lowbit::Int4<128>>(p);
}
