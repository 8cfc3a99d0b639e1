// Instances of attend for the cache in the model's own 16-bit type.
// targets: lowest
#include "attention/attend.cuh"
#include "attention/format_half.cuh"

using lowbit::AttendParams;

extern "C" __global__ void __launch_bounds__(128, 3) attend_f16_d64(const __grid_constant__ AttendParams p) {
    lowbit::attend<lowbit::Half<64, false>>(p);
}

extern "C" __global__ void __launch_bounds__(128, 3) attend_f16_d128(const __grid_constant__ AttendParams p) {
    lowbit::attend<lowbit::Half<128, false>>(p);
}

extern "C" __global__ void __launch_bounds__(128, 3) attend_bf16_d64(const __grid_constant__ AttendParams p) {
    lowbit::attend<lowbit::Half<64, true>>(p);
}

extern "C" __global__ void __launch_bounds__(128, 3) attend_bf16_d128(const __grid_constant__ AttendParams p) {
    lowbit::attend<lowbit::Half<128, true>>(p);
}
