// Instances of attend for the KIVI cache of 2 bits.
// targets: lowest
#include "attention/attend.cuh"
#include "attention/format_kivi2.cuh"

using lowbit::AttendParams;

extern "C" __global__ void __launch_bounds__(128, 2) attend_kivi2_d192(const __grid_constant__ AttendParams p) {
    lowbit::attend<lowbit::Kivi2<192>>(p);
}

extern "C" __global__ void __launch_bounds__(128, 2) attend_kivi2_d256(const __grid_constant__ AttendParams p) {
    lowbit::attend<lowbit::Kivi2<256>>(p);
}
