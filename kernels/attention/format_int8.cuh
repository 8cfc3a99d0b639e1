// INT8, one f32 scale per token and head, or one per head and channel. Codes are stored as u8 = q + 128; layout:
// format_bytes.cuh.
//
// K is made exact by subtracting 1152 from 1024+u (the scores' error is then that of the accumulator alone); V keeps
// the bias, which an extra mma with a constant A and the same P takes off.
#pragma once
#include "attention/format_bytes.cuh"

namespace lowbit {

struct Int8Code {
    static constexpr float UNIT = 1.0f;

    __device__ __forceinline__ explicit Int8Code(uint32_t zero)
        : bias{pinned(0xE480E480u, zero), pinned(0xE480E480u, zero), pinned(0xE480E480u, zero),
               pinned(0xE480E480u, zero)},
          magic(pinned(0x64646464u, zero)) {}

    // Codes u of a word as f16 1024+u: bytes 0,1 and bytes 2,3.
    __device__ __forceinline__ void biased(uint32_t w, uint32_t& pair01, uint32_t& pair23) const {
        pair01 = __byte_perm(w, magic, 0x4140);
        pair23 = __byte_perm(w, magic, 0x4342);
    }
    __device__ __forceinline__ void unbias(float (&o)[4], const uint32_t (&weights)[2]) const {
        mma_f16(o, bias, weights);
    }
    // Codes q = u - 128.
    __device__ __forceinline__ void exact(uint32_t w, uint32_t& pair01, uint32_t& pair23) const {
        biased(w, pair01, pair23);
        pair01 = hadd2(pair01, 0xE480E480u);
        pair23 = hadd2(pair23, 0xE480E480u);
    }

  private:
    // Constants that must sit in registers: PRMT takes one immediate, and mma's A operand is four registers.
    uint32_t bias[4];  // -1152
    uint32_t magic;
};

// The caller's scales, one per head and channel.
template <int D>
using Int8Static = Format<ByteKeys<Int8Code, false, D, 1, true>, ByteValues<Int8Code, false, D, 1, true>>;

template <int D>
using Int8 = Format<ByteKeys<Int8Code, true, D>, ByteValues<Int8Code, true, D>>;

}  // namespace lowbit
