// Codes to pairs of f16 and back, and the few conversions at the edges. One wrapper an instruction; the comment says
// what it yields. Pairs are two 16-bit values in a register, lower half first.
#pragma once
#include <cuda_bf16.h>
#include <cuda_fp16.h>

#include <cstdint>

namespace lowbit {

// Real-number types of the crate's edges; the values are those of Rust's `format::DType`.
enum class DType : uint32_t { F32 = 0, F16 = 1, Bf16 = 2 };

// A constant that stays in a register of its own instead of being made anew, or copied, at every use. `zero` is 0 but
// comes from memory, and a shuffle is not done again.
__device__ __forceinline__ uint32_t pinned(uint32_t value, uint32_t zero) {
    uint32_t out;
    asm volatile("shfl.sync.idx.b32 %0, %1, 0, 31, 0xffffffff;" : "=r"(out) : "r"(value ^ zero));
    return out;
}

// (w & mask) | bits in one lop3; written in C it becomes two.
__device__ __forceinline__ uint32_t mask_or(uint32_t w, uint32_t mask, uint32_t bits) {
    uint32_t out;
    asm("lop3.b32 %0, %1, %2, %3, 0xEA;" : "=r"(out) : "r"(w), "r"(mask), "r"(bits));
    return out;
}

__device__ __forceinline__ uint32_t hadd2(uint32_t a, uint32_t b) {
    uint32_t out;
    asm("add.rn.f16x2 %0, %1, %2;" : "=r"(out) : "r"(a), "r"(b));
    return out;
}

__device__ __forceinline__ uint32_t hmul2(uint32_t a, uint32_t b) {
    uint32_t out;
    asm("mul.rn.f16x2 %0, %1, %2;" : "=r"(out) : "r"(a), "r"(b));
    return out;
}

__device__ __forceinline__ uint32_t hneg2(uint32_t a) {
    uint32_t out;
    asm("neg.f16x2 %0, %1;" : "=r"(out) : "r"(a));
    return out;
}

__device__ __forceinline__ uint32_t hfma2(uint32_t a, uint32_t b, uint32_t c) {
    uint32_t out;
    asm("fma.rn.f16x2 %0, %1, %2, %3;" : "=r"(out) : "r"(a), "r"(b), "r"(c));
    return out;
}

// {low, high} rounded to nearest even.
__device__ __forceinline__ uint32_t pack_f16(float low, float high) {
    uint32_t out;
    asm("cvt.rn.f16x2.f32 %0, %1, %2;" : "=r"(out) : "f"(high), "f"(low));
    return out;
}

__device__ __forceinline__ uint32_t pack_bf16(float low, float high) {
    uint32_t out;
    asm("cvt.rn.bf16x2.f32 %0, %1, %2;" : "=r"(out) : "f"(high), "f"(low));
    return out;
}

__device__ __forceinline__ uint32_t pack_16(DType dtype, float low, float high) {
    return dtype == DType::Bf16 ? pack_bf16(low, high) : pack_f16(low, high);
}

// A pair of f16 or bf16 as f32.
__device__ __forceinline__ float2 unpack_16(DType dtype, uint32_t pair) {
    if (dtype == DType::Bf16) return {__uint_as_float(pair << 16), __uint_as_float(pair & 0xffff0000u)};
    return __half22float2(*reinterpret_cast<const __half2*>(&pair));
}

// 2^x, relative error 2^-22; subnormal results are 0 (PTX ISA 9.7.3.22).
__device__ __forceinline__ float exp2_approx(float x) {
    float out;
    asm("ex2.approx.ftz.f32 %0, %1;" : "=f"(out) : "f"(x));
    return out;
}

// log2(x), absolute error 2^-22 (PTX ISA 9.7.3.21); -inf at 0.
__device__ __forceinline__ float log2_approx(float x) {
    float out;
    asm("lg2.approx.f32 %0, %1;" : "=f"(out) : "f"(x));
    return out;
}

// 2^e for -126 <= e <= 127, exact.
__device__ __forceinline__ float exp2_int(int e) { return __int_as_float((e + 127) << 23); }

// E4M3 bytes 0,1 and 2,3 of a word to pairs of f16.
//
// From sm_89 one instruction; the value is exact. Below, the bits are moved: sign to bit 15, exponent and mantissa to
// bits 13..7, which is value * 2^-8 exactly, subnormals and -0 too. (The codes 0x7F and 0xFF then become +-480 * 2^-8:
// the cache never holds them.) `E4M3_UNIT` is what the pair must be multiplied by.
#if defined(__CUDA_ARCH__) && __CUDA_ARCH__ >= 890
constexpr float E4M3_UNIT = 1.0f;
__device__ __forceinline__ void e4m3_pairs(uint32_t w, uint32_t& pair01, uint32_t& pair23) {
    asm("{.reg .b16 lo, hi;\n mov.b32 {lo, hi}, %2;\n cvt.rn.f16x2.e4m3x2 %0, lo;\n cvt.rn.f16x2.e4m3x2 %1, hi;}"
        : "=r"(pair01), "=r"(pair23)
        : "r"(w));
}
#else
constexpr float E4M3_UNIT = 256.0f;
__device__ __forceinline__ void e4m3_pairs(uint32_t w, uint32_t& pair01, uint32_t& pair23) {
    // The selector's bit 3 replicates the byte's sign: halves {x, sign x} and {y, sign y}, each shifted left by 7.
    uint32_t a, b;
    asm("prmt.b32 %0, %1, 0, 0x9180;" : "=r"(a) : "r"(w));
    asm("prmt.b32 %0, %1, 0, 0xB3A2;" : "=r"(b) : "r"(w));
    pair01 = (a << 7) & 0xBF80BF80u;
    pair23 = (b << 7) & 0xBF80BF80u;
}
#endif

}  // namespace lowbit
