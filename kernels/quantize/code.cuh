// The codes of one element, as the reference defines them (src/format/scheme.rs, src/reference/quantize.rs).
//
// A code type says its bits, its largest value `kTop`, whether it is asymmetric, and maps
//   encode(x, scale, min) -> the code in the low kBits bits       x as loaded: NaN and any magnitude
//   decode(code)          -> its value before scale and min, exact in f32
// Everything is f32 with IEEE division and rounding to nearest even. Units that include this file compile with
// -fmad=false: a contracted multiply-add would round once where the definition rounds twice.
#pragma once
#include <cstdint>

#include "common/fp8.cuh"

namespace lowbit {

constexpr float kLimit = 65504.0f;  // the largest finite f16, to which every input is clamped

// NaN -> 0, else clamped: what statistics and integer codes see. fmaxf and fminf return the operand that is not NaN,
// so the select comes first.
__device__ inline float sanitize(float x) { return x != x ? 0.0f : fminf(fmaxf(x, -kLimit), kLimit); }

template <int Bits>
struct Signed {
    static constexpr int kBits = Bits;
    static constexpr float kTop = static_cast<float>((1 << (Bits - 1)) - 1);
    static constexpr bool kAsymmetric = false;
    static __device__ inline uint32_t encode(float x, float scale, float) {
        const float q = scale == 0.0f ? 0.0f : rintf(__fdiv_rn(sanitize(x), scale));
        return static_cast<uint32_t>(static_cast<int>(fminf(fmaxf(q, -kTop), kTop))) & ((1u << Bits) - 1u);
    }
    static __device__ inline float decode(uint32_t code) {
        return static_cast<float>(static_cast<int32_t>(code << (32 - Bits)) >> (32 - Bits));
    }
};

template <int Bits>
struct Unsigned {
    static constexpr int kBits = Bits;
    static constexpr float kTop = static_cast<float>((1 << Bits) - 1);
    static constexpr bool kAsymmetric = true;
    static __device__ inline uint32_t encode(float x, float scale, float min) {
        const float q = scale == 0.0f ? 0.0f : rintf(__fdiv_rn(__fsub_rn(sanitize(x), min), scale));
        return static_cast<uint32_t>(fminf(fmaxf(q, 0.0f), kTop));
    }
    static __device__ inline float decode(uint32_t code) { return static_cast<float>(code & ((1u << Bits) - 1u)); }
};

template <Fp8Format F>
struct Float8 {
    static constexpr int kBits = 8;
    static constexpr float kTop = Fp8<F>::kMax;
    static constexpr bool kAsymmetric = false;
    static __device__ inline uint32_t cast(float x) { return Fp8<F>::encode(x); }
    static __device__ inline uint32_t encode(float x, float scale, float) {
        const uint32_t code = cast(__fdiv_rn(fminf(fmaxf(x, -kLimit), kLimit), scale));
        return x != x ? 0x7Fu : scale == 0.0f ? 0u : code;
    }
    static __device__ inline float decode(uint32_t code) { return Fp8<F>::decode(code); }
};

using Int8 = Signed<8>;
using Int4 = Signed<4>;
using E4m3 = Float8<Fp8Format::kE4m3>;
using E5m2 = Float8<Fp8Format::kE5m2>;
using Uint8 = Unsigned<8>;
using Uint4 = Unsigned<4>;
using Uint2 = Unsigned<2>;

// Writes the codes of eight elements, the first `count` of them real, at a byte boundary: least significant bits first.
// Bits behind a ragged end are 0. `aligned`: p is a multiple of the kBits bytes that eight codes take.
template <typename Code>
__device__ inline void store_codes(uint8_t* p, int count, bool aligned, const uint32_t (&code)[8]) {
    uint64_t word = 0;
#pragma unroll
    for (int i = 0; i < 8; ++i) word |= static_cast<uint64_t>(i < count ? code[i] : 0u) << (i * Code::kBits);
    if (count >= 8 && aligned) {
        if constexpr (Code::kBits == 8) *reinterpret_cast<uint2*>(p) = make_uint2(word, word >> 32);
        if constexpr (Code::kBits == 4) *reinterpret_cast<uint32_t*>(p) = word;
        if constexpr (Code::kBits == 2) *reinterpret_cast<uint16_t*>(p) = word;
    } else {
        const int bytes = (min(count, 8) * Code::kBits + 7) / 8;
#pragma unroll 1
        for (int i = 0; i < bytes; ++i) p[i] = static_cast<uint8_t>(word >> (8 * i));
    }
}

// The counterpart: codes of eight elements, 0 behind a ragged end.
template <typename Code>
__device__ inline void load_codes(const uint8_t* p, int count, bool aligned, uint32_t (&code)[8]) {
    uint64_t word = 0;
    if (count >= 8 && aligned) {
        if constexpr (Code::kBits == 8) {
            const uint2 pair = __ldg(reinterpret_cast<const uint2*>(p));
            word = pair.x | static_cast<uint64_t>(pair.y) << 32;
        }
        if constexpr (Code::kBits == 4) word = __ldg(reinterpret_cast<const uint32_t*>(p));
        if constexpr (Code::kBits == 2) word = __ldg(reinterpret_cast<const uint16_t*>(p));
    } else {
        const int bytes = (min(count, 8) * Code::kBits + 7) / 8;
#pragma unroll 1
        for (int i = 0; i < bytes; ++i) word |= static_cast<uint64_t>(p[i]) << (8 * i);
    }
#pragma unroll
    for (int i = 0; i < 8; ++i) code[i] = static_cast<uint32_t>(word >> (i * Code::kBits)) & ((1u << Code::kBits) - 1u);
}

}  // namespace lowbit
