// Real numbers at a kernel's edges: f32, f16 and bf16 are read into and written from f32 registers, eight at a time.
//
//   load_raw  p[0..8) as it lies
//   load8     p[0..8) -> v[0..8), exact           store8  v[0..8) -> p[0..8), one rounding to nearest even
//
// `count` < 8 is a ragged end: the rest of v is 0 after a load and not written by a store. A whole eight goes in
// 16-byte (f32: two 16-byte) accesses when `aligned`, which the caller derives from the pointer and the row stride;
// else element by element.
#pragma once
#include <cuda_bf16.h>
#include <cuda_fp16.h>

#include <cstdint>

namespace lowbit {

__device__ inline float to_f32(float x) { return x; }
__device__ inline float to_f32(__half x) { return __half2float(x); }
__device__ inline float to_f32(__nv_bfloat16 x) { return __bfloat162float(x); }

template <typename T>
__device__ T from_f32(float x);
template <>
__device__ inline float from_f32<float>(float x) {
    return x;
}
template <>
__device__ inline __half from_f32<__half>(float x) {
    return __float2half_rn(x);
}
template <>
__device__ inline __nv_bfloat16 from_f32<__nv_bfloat16>(float x) {
    return __float2bfloat16_rn(x);
}

// Eight elements as they lie in memory.
template <typename T>
struct alignas(16) Eight {
    T value[8];
};

template <typename T>
__device__ inline Eight<T> load_raw(const T* p, int count, bool aligned) {
    Eight<T> raw;
    if (count >= 8 && aligned) {
        constexpr int kWords = sizeof(raw) / 16;
        uint4* words = reinterpret_cast<uint4*>(&raw);
#pragma unroll
        for (int i = 0; i < kWords; ++i) words[i] = __ldg(reinterpret_cast<const uint4*>(p) + i);
    } else {
#pragma unroll
        for (int i = 0; i < 8; ++i) raw.value[i] = i < count ? p[i] : from_f32<T>(0.0f);
    }
    return raw;
}

template <typename T>
__device__ inline void load8(const T* p, int count, bool aligned, float (&v)[8]) {
    const Eight<T> raw = load_raw(p, count, aligned);
#pragma unroll
    for (int i = 0; i < 8; ++i) v[i] = to_f32(raw.value[i]);
}

// 16 bytes in one store; written in C, the compiler takes it apart again where it knows the elements.
__device__ inline void store16(void* p, const uint4& v) {
    asm volatile("st.global.v4.u32 [%0], {%1, %2, %3, %4};" ::"l"(p), "r"(v.x), "r"(v.y), "r"(v.z), "r"(v.w)
                 : "memory");
}

template <typename T>
__device__ inline void store8(T* p, int count, bool aligned, const float (&v)[8]) {
    Eight<T> raw;
#pragma unroll
    for (int i = 0; i < 8; ++i) raw.value[i] = from_f32<T>(v[i]);
    if (count >= 8 && aligned) {
        constexpr int kWords = sizeof(raw) / 16;
        const uint4* words = reinterpret_cast<const uint4*>(&raw);
#pragma unroll
        for (int i = 0; i < kWords; ++i) store16(reinterpret_cast<uint4*>(p) + i, words[i]);
    } else {
#pragma unroll
        for (int i = 0; i < 8; ++i)
            if (i < count) p[i] = raw.value[i];
    }
}

// A chunk: 16 bytes of elements, which is what one lane moves at once: 8 of 16 bits or 4 of 32, so that neighbouring
// lanes fill whole sectors whatever the type. `count` and `aligned` as above.
template <typename T>
constexpr int kChunk = 16 / sizeof(T);

template <typename T>
struct alignas(16) Chunk {
    T value[kChunk<T>];
};

template <typename T>
__device__ inline Chunk<T> load_chunk(const T* p, int count, bool aligned) {
    Chunk<T> raw;
    if (count >= kChunk<T> && aligned) {
        *reinterpret_cast<uint4*>(&raw) = __ldg(reinterpret_cast<const uint4*>(p));
    } else {
#pragma unroll
        for (int i = 0; i < kChunk<T>; ++i) raw.value[i] = i < count ? p[i] : from_f32<T>(0.0f);
    }
    return raw;
}

template <typename T>
__device__ inline void store_chunk(T* p, int count, bool aligned, const float (&v)[kChunk<T>]) {
    Chunk<T> raw;
#pragma unroll
    for (int i = 0; i < kChunk<T>; ++i) raw.value[i] = from_f32<T>(v[i]);
    if (count >= kChunk<T> && aligned) {
        *reinterpret_cast<uint4*>(p) = *reinterpret_cast<const uint4*>(&raw);
    } else {
#pragma unroll
        for (int i = 0; i < kChunk<T>; ++i)
            if (i < count) p[i] = raw.value[i];
    }
}

}  // namespace lowbit
