// The codes of one element, as the reference defines them (src/format/scheme.rs, src/reference/quantize.rs).
//
// A code type says its bits, its largest value `kTop`, whether it is asymmetric, and maps
//   encode(x, scale, min) -> the code in the low kBits bits       x as loaded: NaN and any magnitude
//   decode(code)          -> its value before scale and min, exact in f32
// kScale names the type of its scales (scale.cuh).
// Everything is f32 with IEEE division and rounding to nearest even. Units that include this file compile with
// -fmad=false: a contracted multiply-add would round once where the definition rounds twice.
#pragma once
#include <cstdint>

#include "common/fp4.cuh"
#include "common/fp8.cuh"

namespace lowbit {

enum class ScaleKind {
    kF32,     // f32 a region
    kF16Min,  // f16 step and f16 minimum a region
    kE4m3,    // E4M3 a block, under one f32 of the tensor
    kE8m0,    // E8M0 a block
};

constexpr float kLimit = 65504.0f;  // the largest finite f16, to which every input is clamped

// NaN -> 0, else clamped: what statistics and integer codes see. fmaxf and fminf return the operand that is not NaN,
// so the select comes first.
__device__ inline float sanitize(float x) { return x != x ? 0.0f : fminf(fmaxf(x, -kLimit), kLimit); }

template <int Bits>
struct Signed {
    static constexpr int kBits = Bits;
    static constexpr float kTop = static_cast<float>((1 << (Bits - 1)) - 1);
    static constexpr bool kAsymmetric = false;
    static constexpr ScaleKind kScale = ScaleKind::kF32;
    static __device__ inline uint32_t encode(float x, float scale, float) {
        const float q = scale == 0.0f ? 0.0f : rintf(__fdiv_rn(sanitize(x), scale));
        return static_cast<uint32_t>(static_cast<int>(fminf(fmaxf(q, -kTop), kTop))) & ((1u << Bits) - 1u);
    }
    // One of the two codes around x / scale: the farther from zero when u in [0, 1) is below the fraction.
    static __device__ inline uint32_t encode_stochastic(float x, float scale, float u) {
        const float q = scale == 0.0f ? 0.0f : fminf(fmaxf(__fdiv_rn(sanitize(x), scale), -kTop), kTop);
        const float whole = truncf(fabsf(q));
        const float away = __fadd_rn(whole, u < __fsub_rn(fabsf(q), whole) ? 1.0f : 0.0f);
        return static_cast<uint32_t>(static_cast<int>(copysignf(away, q))) & ((1u << Bits) - 1u);
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
    static constexpr ScaleKind kScale = ScaleKind::kF16Min;
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
    static constexpr ScaleKind kScale = ScaleKind::kF32;
    static __device__ inline uint32_t cast(float x) { return Fp8<F>::encode(x); }
    static __device__ inline uint32_t encode(float x, float scale, float) {
        const uint32_t code = cast(__fdiv_rn(fminf(fmaxf(x, -kLimit), kLimit), scale));
        return x != x ? 0x7Fu : scale == 0.0f ? 0u : code;
    }
    static __device__ inline uint32_t encode_stochastic(float x, float scale, float u) {
        if (x != x) return 0x7Fu;
        if (scale == 0.0f) return 0u;
        return Fp8<F>::encode_stochastic(__fdiv_rn(fminf(fmaxf(x, -kLimit), kLimit), scale), u);
    }
    static __device__ inline float decode(uint32_t code) { return Fp8<F>::decode(code); }
};

struct Float4 {
    static constexpr int kBits = 4;
    static constexpr float kTop = 6.0f;
    static constexpr bool kAsymmetric = false;
    static __device__ inline uint32_t encode(float x, float scale, float) {
        return scale == 0.0f ? 0u : E2m1::encode(__fdiv_rn(sanitize(x), scale));
    }
    static __device__ inline float decode(uint32_t code) { return E2m1::decode(code); }
};

struct Nvfp4 : Float4 {
    static constexpr ScaleKind kScale = ScaleKind::kE4m3;
};
struct Mxfp4 : Float4 {
    static constexpr ScaleKind kScale = ScaleKind::kE8m0;
    static constexpr uint32_t kLargestExponent = 2;
};
template <Fp8Format F>
struct Mxfp8 : Float8<F> {
    static constexpr ScaleKind kScale = ScaleKind::kE8m0;
    static constexpr uint32_t kLargestExponent = Fp8<F>::kIsE4m3 ? 8 : 15;
};

using Int8 = Signed<8>;
using Int4 = Signed<4>;
using Int2 = Signed<2>;
using E4m3 = Float8<Fp8Format::kE4m3>;
using E5m2 = Float8<Fp8Format::kE5m2>;
using Uint8 = Unsigned<8>;
using Uint4 = Unsigned<4>;
using Uint2 = Unsigned<2>;
using Mxfp8E4m3 = Mxfp8<Fp8Format::kE4m3>;
using Mxfp8E5m2 = Mxfp8<Fp8Format::kE5m2>;

// Codes of N = 4 or 8 neighbours in the low bits of a word, least significant first.
template <typename Code, int N>
__device__ inline uint64_t pack_codes(const uint32_t (&code)[N]) {
    uint64_t word = 0;
#pragma unroll
    for (int i = 0; i < N; ++i) word |= static_cast<uint64_t>(code[i]) << (i * Code::kBits);
    return word;
}

// Writes such a word of N codes.
template <typename Code, int N>
__device__ inline void store_word(uint8_t* p, uint64_t word) {
    constexpr int kBytes = N * Code::kBits / 8;
    if constexpr (kBytes == 8) *reinterpret_cast<uint2*>(p) = make_uint2(word, word >> 32);
    if constexpr (kBytes == 4) *reinterpret_cast<uint32_t*>(p) = word;
    if constexpr (kBytes == 2) *reinterpret_cast<uint16_t*>(p) = word;
    if constexpr (kBytes == 1) *p = word;
}

// Writes the codes of N elements, the first `count` of them real, at a byte boundary. Bits behind a ragged end are 0.
// `aligned`: p is a multiple of the bytes that N codes take.
template <typename Code, int N>
__device__ inline void store_codes(uint8_t* p, int count, bool aligned, const uint32_t (&code)[N]) {
    if (count >= N && aligned) return store_word<Code, N>(p, pack_codes<Code>(code));
    uint64_t word = 0;
#pragma unroll
    for (int i = 0; i < N; ++i) word |= static_cast<uint64_t>(i < count ? code[i] : 0u) << (i * Code::kBits);
    const int bytes = (min(count, N) * Code::kBits + 7) / 8;
#pragma unroll 1
    for (int i = 0; i < bytes; ++i) p[i] = static_cast<uint8_t>(word >> (8 * i));
}

// The counterpart: codes of N elements, 0 behind a ragged end.
template <typename Code, int N>
__device__ inline void load_codes(const uint8_t* p, int count, bool aligned, uint32_t (&code)[N]) {
    constexpr int kBytes = N * Code::kBits / 8;
    uint64_t word = 0;
    if (count >= N && aligned) {
        if constexpr (kBytes == 8) {
            const uint2 pair = __ldg(reinterpret_cast<const uint2*>(p));
            word = pair.x | static_cast<uint64_t>(pair.y) << 32;
        }
        if constexpr (kBytes == 4) word = __ldg(reinterpret_cast<const uint32_t*>(p));
        if constexpr (kBytes == 2) word = __ldg(reinterpret_cast<const uint16_t*>(p));
        if constexpr (kBytes == 1) word = __ldg(p);
    } else {
        const int bytes = (min(count, N) * Code::kBits + 7) / 8;
#pragma unroll 1
        for (int i = 0; i < bytes; ++i) word |= static_cast<uint64_t>(p[i]) << (8 * i);
    }
#pragma unroll
    for (int i = 0; i < N; ++i) code[i] = static_cast<uint32_t>(word >> (i * Code::kBits)) & ((1u << Code::kBits) - 1u);
}

}  // namespace lowbit
