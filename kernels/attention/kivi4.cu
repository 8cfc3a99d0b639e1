// Instances of attend for the KIVI cache of 4 bits.
// targets: lowest
#include "attention/attend.cuh"
#include "attention/format_kivi4.cuh"

using lowbit::AttendParams;

extern "C" __global__ void __launch_bounds__(128, 3) attend_kivi4_d64(const __grid_constant__ AttendParams p) {
    lowbit::attend<lowbit::Kivi4<64>>(p);
}

extern "C" __global__ void __launch_bounds__(128, 3) attend_kivi4_d128(const __grid_constant__ AttendParams p) {
    lowbit::attend<lowbit::Kivi4<128>>(p);
}
