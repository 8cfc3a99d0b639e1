// Instances of attend for int8 keys and e4m3 values.
#include "attention/attend.cuh"
#include "attention/format_fp8.cuh"

using lowbit::AttendParams;

extern "C" __global__ void __launch_bounds__(128, 4) attend_int8_e4m3_d64(const __grid_constant__ AttendParams p) {
    lowbit::attend<lowbit::Int8E4m3<64>>(p);
}

extern "C" __global__ void __launch_bounds__(128, 4) attend_int8_e4m3_d128(const __grid_constant__ AttendParams p) {
    lowbit::attend<lowbit::Int8E4m3<128>>(p);
}
