// Instances of attend for the int8 cache.
// targets: lowest
#include "attention/attend.cuh"
#include "attention/format_int8.cuh"

using lowbit::AttendParams;

extern "C" __global__ void __launch_bounds__(128, 2) attend_int8_d192(const __grid_constant__ AttendParams p) {
    lowbit::attend<lowbit::Int8<192>>(p);
}

extern "C" __global__ void __launch_bounds__(128, 2) attend_int8_d256(const __grid_constant__ AttendParams p) {
    lowbit::attend<lowbit::Int8<256>>(p);
}
