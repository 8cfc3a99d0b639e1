// Instances of attend for codes with tables of 16 levels.
// targets: lowest
#include "attention/attend.cuh"
#include "attention/format_nuq.cuh"

using lowbit::AttendParams;

extern "C" __global__ void __launch_bounds__(128, 3) attend_nuq4_d64(const __grid_constant__ AttendParams p) {
    lowbit::attend<lowbit::Nuq<4, 64>>(p);
}

extern "C" __global__ void __launch_bounds__(128, 3) attend_nuq4_d96(const __grid_constant__ AttendParams p) {
    lowbit::attend<lowbit::Nuq<4, 96>>(p);
}

extern "C" __global__ void __launch_bounds__(128, 3) attend_nuq4_d128(const __grid_constant__ AttendParams p) {
    lowbit::attend<lowbit::Nuq<4, 128>>(p);
}

extern "C" __global__ void __launch_bounds__(128, 2) attend_nuq4_d256(const __grid_constant__ AttendParams p) {
    lowbit::attend<lowbit::Nuq<4, 256>>(p);
}
