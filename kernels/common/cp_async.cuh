// Asynchronous copies from global to shared memory (PTX ISA 9.7.9.25, "cp.async"), 16 bytes a lane, past L1.
#pragma once
#include <cstdint>

namespace lowbit {

// Address of `pointer` in the shared window.
__device__ __forceinline__ uint32_t shared_address(const void* pointer) {
    return static_cast<uint32_t>(__cvta_generic_to_shared(pointer));
}

// Copies to `shared` + TO from `global` + FROM where `wanted`, without a branch.
template <int TO, int FROM>
__device__ __forceinline__ void cp_async_16_if(bool wanted, uint32_t shared, const void* global) {
    asm volatile(
        "{.reg .pred p; setp.ne.u32 p, %2, 0; @p cp.async.cg.shared.global [%0+%3], [%1+%4], 16;}" ::"r"(shared),
        "l"(global), "r"(static_cast<uint32_t>(wanted)), "n"(TO), "n"(FROM)
        : "memory");
}

__device__ __forceinline__ void cp_async_commit() { asm volatile("cp.async.commit_group;" ::: "memory"); }

// Waits until at most `PENDING` of this thread's groups are in flight. Other lanes' copies need a __syncwarp after it.
template <int PENDING>
__device__ __forceinline__ void cp_async_wait() {
    asm volatile("cp.async.wait_group %0;" ::"n"(PENDING) : "memory");
}

}  // namespace lowbit
