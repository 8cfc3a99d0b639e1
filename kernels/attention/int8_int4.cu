// Instances of attend for int8 keys and int4 values.
// targets: lowest
#include "attention/attend.cuh"
#include "attention/format_int4.cuh"

using lowbit::AttendParams;

extern "C" __global__ void __launch_bounds__(128, 3) attend_int8_int4_d64(const __grid_constant__ AttendParams p) {
    lowbit::attend<lowbit::Int8Int4<64>>(p);
}

extern "C" __global__ void __launch_bounds__(128, 3) attend_int8_int4_d128(const __grid_constant__ AttendParams p) {
    lowbit::attend<lowbit::Int8Int4<128>>(p);
}
