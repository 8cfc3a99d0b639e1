// Instances of attend_chunk, for the model's 16-bit types.
// targets: lowest
#include "attention/chunk.cuh"

using lowbit::AttendParams;

extern "C" __global__ void __launch_bounds__(128, 2) attend_chunk_f16_d64(const __grid_constant__ AttendParams p) {
    lowbit::attend_chunk<64, false>(p);
}

extern "C" __global__ void __launch_bounds__(128, 2) attend_chunk_f16_d80(const __grid_constant__ AttendParams p) {
    lowbit::attend_chunk<80, false>(p);
}

extern "C" __global__ void __launch_bounds__(128, 2) attend_chunk_f16_d96(const __grid_constant__ AttendParams p) {
    lowbit::attend_chunk<96, false>(p);
}

extern "C" __global__ void __launch_bounds__(128, 2) attend_chunk_f16_d112(const __grid_constant__ AttendParams p) {
    lowbit::attend_chunk<112, false>(p);
}

extern "C" __global__ void __launch_bounds__(128, 2) attend_chunk_f16_d128(const __grid_constant__ AttendParams p) {
    lowbit::attend_chunk<128, false>(p);
}

extern "C" __global__ void __launch_bounds__(128, 2) attend_chunk_f16_d192(const __grid_constant__ AttendParams p) {
    lowbit::attend_chunk<192, false>(p);
}

extern "C" __global__ void __launch_bounds__(128, 2) attend_chunk_f16_d256(const __grid_constant__ AttendParams p) {
    lowbit::attend_chunk<256, false>(p);
}

extern "C" __global__ void __launch_bounds__(128, 2) attend_chunk_bf16_d64(const __grid_constant__ AttendParams p) {
    lowbit::attend_chunk<64, true>(p);
}

extern "C" __global__ void __launch_bounds__(128, 2) attend_chunk_bf16_d80(const __grid_constant__ AttendParams p) {
    lowbit::attend_chunk<80, true>(p);
}

extern "C" __global__ void __launch_bounds__(128, 2) attend_chunk_bf16_d96(const __grid_constant__ AttendParams p) {
    lowbit::attend_chunk<96, true>(p);
}

extern "C" __global__ void __launch_bounds__(128, 2) attend_chunk_bf16_d112(const __grid_constant__ AttendParams p) {
    lowbit::attend_chunk<112, true>(p);
}

extern "C" __global__ void __launch_bounds__(128, 2) attend_chunk_bf16_d128(const __grid_constant__ AttendParams p) {
    lowbit::attend_chunk<128, true>(p);
}

extern "C" __global__ void __launch_bounds__(128, 2) attend_chunk_bf16_d192(const __grid_constant__ AttendParams p) {
    lowbit::attend_chunk<192, true>(p);
}

extern "C" __global__ void __launch_bounds__(128, 2) attend_chunk_bf16_d256(const __grid_constant__ AttendParams p) {
    lowbit::attend_chunk<256, true>(p);
}
