// Chunks of numbers to words of 8-bit floats and back.
//
//   encode_chunk<F>(chunk) -> the codes of kChunk<T> numbers, first in the lowest byte
//   decode_chunk<T, F>(word) -> the numbers
//
// Below compute_89 f16 goes in pairs, by 16-bit arithmetic. To E4M3, of a magnitude a up to 448 with exponent
// e = max(exponent of a, that of the smallest normal number 2^-6): a + 2^(e + 7) has its last bit at 2^(e - 3), which
// is the step of the codes there, so the adder rounds; and the sum's bits count steps. To E5M2 it is the upper byte,
// rounded.
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

__device__ __forceinline__ uint32_t min_pair(uint32_t a, uint32_t b) {
    uint32_t out;
    asm("min.f16x2 %0, %1, %2;" : "=r"(out) : "r"(a), "r"(b));
    return out;
}

__device__ __forceinline__ uint32_t max_pair(uint32_t a, uint32_t b) {
    uint32_t out;
    asm("max.f16x2 %0, %1, %2;" : "=r"(out) : "r"(a), "r"(b));
    return out;
}

__device__ __forceinline__ uint32_t max_nan_pair(uint32_t a, uint32_t b) {
    uint32_t out;
    asm("max.NaN.f16x2 %0, %1, %2;" : "=r"(out) : "r"(a), "r"(b));
    return out;
}

// Two f16 that are no NaN; `magnitude` is x without the signs. E4M3: codes in bytes 0 and 2; E5M2: in bytes 1 and 3.
template <Fp8Format F>
__device__ __forceinline__ uint32_t encode_f16_pair(uint32_t x, uint32_t magnitude) {
    if constexpr (Fp8<F>::kIsE4m3) {
        const uint32_t a = min_pair(magnitude, 0x5F005F00u);                          // 448
        const uint32_t shift = max_pair(a & 0x7C007C00u, 0x24002400u) + 0x1C001C00u;  // 2^(e + 7), e >= -6
        const uint32_t code = (shift >> 7) + hadd2(a, shift) - shift;                 // 128 too much
        return mask_or(x >> 8, 0x00800080u, code & 0x007F007Fu);
    } else {
        const uint32_t a = min_pair(magnitude, 0x7B007B00u);  // 57344
        const uint32_t rounded = a + 0x007F007Fu + ((a >> 8) & 0x00010001u);
        return mask_or(x, 0x80008000u, rounded);
    }
}

template <Fp8Format F, typename T>
__device__ inline uint64_t encode_chunk(const Chunk<T>& chunk) {
    constexpr int kN = kChunk<T>;
    if constexpr (std::is_same_v<T, __half>) {
        const uint32_t* x = reinterpret_cast<const uint32_t*>(&chunk);
        uint32_t pair[4];
#if defined(__CUDA_ARCH__) && __CUDA_ARCH__ >= 890
#pragma unroll
        for (int i = 0; i < 4; ++i) {
            uint16_t out;
            if constexpr (Fp8<F>::kIsE4m3) {
                asm("cvt.rn.satfinite.e4m3x2.f16x2 %0, %1;" : "=h"(out) : "r"(x[i]));
            } else {
                asm("cvt.rn.satfinite.e5m2x2.f16x2 %0, %1;" : "=h"(out) : "r"(x[i]));
            }
            pair[i] = out;
        }
        return __byte_perm(pair[0], pair[1], 0x5410) | static_cast<uint64_t>(__byte_perm(pair[2], pair[3], 0x5410))
                                                           << 32;
#else
        uint32_t most = 0;
#pragma unroll
        for (int i = 0; i < 4; ++i) {
            const uint32_t magnitude = x[i] & 0x7FFF7FFFu;
            most = max_nan_pair(most, magnitude);
            pair[i] = encode_f16_pair<F>(x[i], magnitude);
        }
        // Infinity is 0x7C00 and has saturated; a NaN is above.
        if ((most & 0x7FFFu) <= 0x7C00u && (most & 0x7FFF0000u) <= 0x7C000000u) {
            constexpr uint32_t kBytes = Fp8<F>::kIsE4m3 ? 0x6420 : 0x7531;
            return __byte_perm(pair[0], pair[1], kBytes) | static_cast<uint64_t>(__byte_perm(pair[2], pair[3], kBytes))
                                                               << 32;
        }
#endif
    } else {
#if defined(__CUDA_ARCH__) && __CUDA_ARCH__ >= 890
        uint32_t word[2] = {};
#pragma unroll
        for (int i = 0; i < kN; i += 4) {
            const uint32_t low = Fp8<F>::encode_pair(to_f32(chunk.value[i]), to_f32(chunk.value[i + 1]));
            const uint32_t high = Fp8<F>::encode_pair(to_f32(chunk.value[i + 2]), to_f32(chunk.value[i + 3]));
            word[i / 4] = __byte_perm(low, high, 0x5410);
        }
        return word[0] | static_cast<uint64_t>(word[1]) << 32;
#endif
    }
#if !defined(__CUDA_ARCH__) || __CUDA_ARCH__ < 890
    uint32_t code[kN];
#pragma unroll
    for (int i = 0; i < kN; ++i) code[i] = Fp8<F>::encode(to_f32(chunk.value[i]));
    return pack_codes<Float8<F>>(code);
#endif
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

// Whether a word has an E4M3 NaN among its codes.
__device__ __forceinline__ bool has_nan(uint32_t word) {
    return (((word & 0x7F7F7F7Fu) + 0x01010101u) & 0x80808080u) != 0;
}

template <typename T, Fp8Format F>
__device__ inline Chunk<T> decode_chunk(CodeWord<kChunk<T>> codes) {
    constexpr int kN = kChunk<T>;
    const uint32_t* word = reinterpret_cast<const uint32_t*>(&codes);
    Chunk<T> chunk;
    uint32_t pair[kN / 2];
    bool nan = false;
#pragma unroll
    for (int i = 0; i < kN / 4; ++i) {
        decode_f16_pairs<F>(word[i], pair[2 * i], pair[2 * i + 1]);
#if !defined(__CUDA_ARCH__) || __CUDA_ARCH__ < 890
        if constexpr (Fp8<F>::kIsE4m3) nan |= has_nan(word[i]);
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
    if (nan) {
#pragma unroll
        for (int i = 0; i < kN; ++i) chunk.value[i] = from_f32<T>(Fp8<F>::decode(word[i / 4] >> (i % 4 * 8) & 0xFFu));
    }
    return chunk;
}

}  // namespace lowbit
