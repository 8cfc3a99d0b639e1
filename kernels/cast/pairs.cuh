// Chunks of numbers to words of 8-bit floats and back.
//
//   encode_chunk<F>(chunk, nan) -> the codes of kChunk<T> numbers, first in the lowest byte
//   decode_chunk<T, F>(word, nan) -> the numbers
//
// Below compute_89, where there is no such conversion, `nan` says that a NaN made results wrong: these must come from
// the definition, Fp8<F>.
#pragma once
#include <type_traits>

#include "common/convert.cuh"
#include "common/element.cuh"
#include "quantize/code.cuh"

namespace lowbit {

template <int N>
using CodeWord = std::conditional_t<N == 8, uint2, uint32_t>;

template <int N>
__device__ __forceinline__ CodeWord<N> load_word(const uint8_t* p) {
    return __ldg(reinterpret_cast<const CodeWord<N>*>(p));
}

// Whether a number (encode) or a code (decode) was a NaN, for all chunks of a thread at once.
struct NanSeen {
    uint32_t numbers = 0;  // the highest bits of 16
    uint32_t codes = 0;    // the highest bits of 8

    __device__ __forceinline__ bool any() const { return ((numbers & 0x80008000u) | (codes & 0x80808080u)) != 0; }
};

#if !defined(__CUDA_ARCH__) || __CUDA_ARCH__ < 890
// Rounding to an 8-bit float of m mantissa bits by one FMA, in a type T of M mantissa bits and exponent bias B.
//
//   a = min(|x|, largest);   t = max(2^(exponent of a), smallest normal number);   s = t (2^(M - m) + kFill 2^-m) + a
//
// The last bit of s stands for t 2^-m, the step of the codes at a, so the adder rounds to it; and the last bits of s
// count steps, from kFill. Adding t's exponent 2^m times, the code is in the lowest 7 bits, because kFill is chosen so.
// A NaN passes through all of it and sets the highest bit of T, which no number does.
template <Fp8Format F, int M, int B>
struct Steps {
    static constexpr int kMantissa = Fp8<F>::kMantissa;
    static constexpr int kShift = M - kMantissa;
    static constexpr int kFill = 128 - (((B - Fp8<F>::kBias + 1) << kMantissa) & 127);
    static constexpr float kFactor = static_cast<float>(1 << kShift) + static_cast<float>(kFill) / (1 << kMantissa);
    static_assert(kFill + (2 << kMantissa) < 1 << M, "s stays within its binade");
};

// Two of f16 or bf16 in the bits of a word; the codes in the lowest 7 bits of each half.
template <Fp8Format F, typename T>
__device__ __forceinline__ uint32_t encode_pair_of_16(uint32_t x) {
    constexpr bool kHalf = std::is_same_v<T, __half>;
    using S = Steps<F, kHalf ? 10 : 7, kHalf ? 15 : 127>;
    const auto both = [](float v) {
        const uint32_t one = kHalf ? __half_as_ushort(__float2half_rn(v)) : __float_as_uint(v) >> 16;
        return one | one << 16;
    };
    const uint32_t largest = both(Fp8<F>::kMax), least = both(Fp8<F>::kIsE4m3 ? 0x1p-6f : 0x1p-14f);
    const uint32_t factor = both(S::kFactor);
    uint32_t a, t, s;
    if constexpr (kHalf) {
        asm("{.reg .b32 m;\n abs.f16x2 m, %1;\n min.NaN.f16x2 %0, m, %2;}" : "=r"(a) : "r"(x), "r"(largest));
        asm("max.f16x2 %0, %1, %2;" : "=r"(t) : "r"(a & 0x7C007C00u), "r"(least));
        asm("fma.rn.f16x2 %0, %1, %2, %3;" : "=r"(s) : "r"(t), "r"(factor), "r"(a));
    } else {
        asm("{.reg .b32 m;\n abs.bf16x2 m, %1;\n min.NaN.bf16x2 %0, m, %2;}" : "=r"(a) : "r"(x), "r"(largest));
        asm("max.bf16x2 %0, %1, %2;" : "=r"(t) : "r"(a & 0x7F807F80u), "r"(least));
        asm("fma.rn.bf16x2 %0, %1, %2, %3;" : "=r"(s) : "r"(t), "r"(factor), "r"(a));
    }
    return s + (t >> S::kShift);
}

// The upper bytes of two f16 are their E5M2, once rounded.
__device__ __forceinline__ uint32_t encode_e5m2_of_f16(uint32_t x) {
    uint32_t a;
    asm("{.reg .b32 m;\n abs.f16x2 m, %1;\n min.NaN.f16x2 %0, m, %2;}" : "=r"(a) : "r"(x), "r"(0x7B007B00u));
    return a + 0x007F007Fu + ((a >> 8) & 0x00010001u);
}

// The same of one f32.
template <Fp8Format F>
__device__ __forceinline__ uint32_t encode_f32(float x) {
    using S = Steps<F, 23, 127>;
    float a;
    asm("min.NaN.f32 %0, %1, %2;" : "=f"(a) : "f"(fabsf(x)), "f"(Fp8<F>::kMax));
    const float power = __uint_as_float(__float_as_uint(a) & 0x7F800000u);
    const float t = fmaxf(power, Fp8<F>::kIsE4m3 ? 0x1p-6f : 0x1p-14f);
    return __float_as_uint(__fmaf_rn(t, S::kFactor, a)) + (__float_as_uint(t) >> S::kShift);
}

// Magnitudes in the lowest 7 bits of four bytes, signs in the highest.
__device__ __forceinline__ uint32_t with_signs(uint32_t magnitudes, uint32_t signs) {
    uint32_t out;
    asm("lop3.b32 %0, %1, %2, %3, 0xE4;" : "=r"(out) : "r"(magnitudes), "r"(signs), "r"(0x7F7F7F7Fu));
    return out;
}
#endif

template <Fp8Format F, typename T>
__device__ inline uint64_t encode_chunk(const Chunk<T>& chunk, NanSeen& nan) {
    const uint32_t* x = reinterpret_cast<const uint32_t*>(&chunk);
    uint32_t word[2] = {};
#if defined(__CUDA_ARCH__) && __CUDA_ARCH__ >= 890
#pragma unroll
    for (int i = 0; i < kChunk<T> / 4; ++i) {
        uint32_t low, high;
        if constexpr (std::is_same_v<T, __half>) {
            low = Fp8<F>::encode_pair_f16(x[2 * i]);
            high = Fp8<F>::encode_pair_f16(x[2 * i + 1]);
        } else {
            const T* v = chunk.value + 4 * i;
            low = Fp8<F>::encode_pair(to_f32(v[0]), to_f32(v[1]));
            high = Fp8<F>::encode_pair(to_f32(v[2]), to_f32(v[3]));
        }
        word[i] = __byte_perm(low, high, 0x5410);
    }
#else
    if constexpr (std::is_same_v<T, float>) {
        uint32_t code[4];
#pragma unroll
        for (int i = 0; i < 4; ++i) code[i] = encode_f32<F>(chunk.value[i]);
        nan.numbers |= code[0] | code[1];
        nan.numbers |= code[2] | code[3];
        const uint32_t magnitudes =
            __byte_perm(__byte_perm(code[0], code[1], 0x0040), __byte_perm(code[2], code[3], 0x0040), 0x5410);
        word[0] = with_signs(magnitudes,
                             __byte_perm(__byte_perm(x[0], x[1], 0x0073), __byte_perm(x[2], x[3], 0x0073), 0x5410));
    } else {
        constexpr bool kUpper = std::is_same_v<T, __half> && !Fp8<F>::kIsE4m3;
#pragma unroll
        for (int i = 0; i < 2; ++i) {
            uint32_t pair[2];
#pragma unroll
            for (int j = 0; j < 2; ++j) {
                if constexpr (kUpper) {
                    pair[j] = encode_e5m2_of_f16(x[2 * i + j]);
                } else {
                    pair[j] = encode_pair_of_16<F, T>(x[2 * i + j]);
                }
            }
            nan.numbers |= pair[0] | pair[1];
            word[i] = with_signs(__byte_perm(pair[0], pair[1], kUpper ? 0x7531 : 0x6420),
                                 __byte_perm(x[2 * i], x[2 * i + 1], 0x7531));
        }
    }
#endif
    return word[0] | static_cast<uint64_t>(word[1]) << 32;
}

// f16 of the codes in the lower and the upper two bytes of a word, all values exact.
template <Fp8Format F>
__device__ __forceinline__ void decode_f16_pairs(uint32_t word, uint32_t& pair01, uint32_t& pair23) {
    if constexpr (Fp8<F>::kIsE4m3) {
        e4m3_pairs(word, pair01, pair23);
#if !defined(__CUDA_ARCH__) || __CUDA_ARCH__ < 890
        pair01 = hmul2(pair01, 0x5C005C00u);
        pair23 = hmul2(pair23, 0x5C005C00u);
#endif
    } else {
        pair01 = __byte_perm(word, 0, 0x1404);
        pair23 = __byte_perm(word, 0, 0x3424);
    }
}

template <typename T, Fp8Format F>
__device__ inline Chunk<T> decode_chunk(CodeWord<kChunk<T>> codes, NanSeen& nan) {
    constexpr int kN = kChunk<T>;
    const uint32_t* word = reinterpret_cast<const uint32_t*>(&codes);
    Chunk<T> chunk;
    uint32_t pair[kN / 2];
#pragma unroll
    for (int i = 0; i < kN / 4; ++i) {
        decode_f16_pairs<F>(word[i], pair[2 * i], pair[2 * i + 1]);
#if !defined(__CUDA_ARCH__) || __CUDA_ARCH__ < 890
        // E4M3 alone has codes whose bits are no f16: 0x7F carries.
        if constexpr (Fp8<F>::kIsE4m3) nan.codes |= (word[i] & 0x7F7F7F7Fu) + 0x01010101u;
#endif
    }
#pragma unroll
    for (int i = 0; i < kN / 2; ++i) {
        const __half2 h = *reinterpret_cast<const __half2*>(&pair[i]);
        if constexpr (std::is_same_v<T, __half>) {
            *reinterpret_cast<__half2*>(&chunk.value[2 * i]) = h;
        } else if constexpr (std::is_same_v<T, float>) {
            *reinterpret_cast<float2*>(&chunk.value[2 * i]) = __half22float2(h);
        } else {
            const float2 v = __half22float2(h);
            *reinterpret_cast<__nv_bfloat162*>(&chunk.value[2 * i]) = __floats2bfloat162_rn(v.x, v.y);
        }
    }
    return chunk;
}

}  // namespace lowbit
