// fp8, E4M3 or E5M2, one scale per tensor or per KV head (outside the loop). Layout: format_bytes.cuh, without scales.
#pragma once
#include "attention/format_bytes.cuh"
#include "attention/format_int8.cuh"

namespace lowbit {

// What E4M3 and E5M2 share: a code is a float, nothing comes off.
template <class Fp8>
struct FloatCode {
    __device__ __forceinline__ explicit FloatCode(uint32_t) {}

    __device__ __forceinline__ void exact(uint32_t w, uint32_t& pair01, uint32_t& pair23) const {
        Fp8::decode(w, pair01, pair23);
    }
    __device__ __forceinline__ void biased(uint32_t w, uint32_t& pair01, uint32_t& pair23) const {
        Fp8::decode(w, pair01, pair23);
    }
    __device__ __forceinline__ void unbias(float (&)[4], const uint32_t (&)[2]) const {}
};

struct E4m3Code : FloatCode<E4m3Code> {
    using FloatCode<E4m3Code>::FloatCode;
    static constexpr float UNIT = E4M3_UNIT;
    static __device__ __forceinline__ void decode(uint32_t w, uint32_t& pair01, uint32_t& pair23) {
        e4m3_pairs(w, pair01, pair23);
    }
};

// The byte is the upper half of an f16.
struct E5m2Code : FloatCode<E5m2Code> {
    using FloatCode<E5m2Code>::FloatCode;
    static constexpr float UNIT = 1.0f;
    static __device__ __forceinline__ void decode(uint32_t w, uint32_t& pair01, uint32_t& pair23) {
        pair01 = __byte_perm(w, 0, 0x1404);
        pair23 = __byte_perm(w, 0, 0x3424);
    }
};

template <int D>
using E4m3 = Format<ByteKeys<E4m3Code, false, D>, ByteValues<E4m3Code, false, D>>;

template <int D>
using Int8E4m3 = Format<ByteKeys<Int8Code, true, D>, ByteValues<E4m3Code, false, D>>;

template <int D>
using E5m2 = Format<ByteKeys<E5m2Code, false, D>, ByteValues<E5m2Code, false, D>>;

}  // namespace lowbit
