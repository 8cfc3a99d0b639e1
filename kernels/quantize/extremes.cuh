// Extremes of chunks as they lie in memory, two 16-bit elements an instruction.
//
// A NaN among the elements makes the result NaN, an infinity infinite: whoever asks sees from the result alone whether
// every element was an ordinary number, and else counts again with sanitized values.
#pragma once
#include "common/element.cuh"
#include "quantize/scale.cuh"

namespace lowbit {

__device__ __forceinline__ float min_nan(float a, float b) {
    float out;
    asm("min.NaN.f32 %0, %1, %2;" : "=f"(out) : "f"(a), "f"(b));
    return out;
}

__device__ __forceinline__ float max_nan(float a, float b) {
    float out;
    asm("max.NaN.f32 %0, %1, %2;" : "=f"(out) : "f"(a), "f"(b));
    return out;
}

// What one register holds of a chunk: one f32 or two 16-bit numbers. max_abs(a, b) is the larger magnitude, of any
// sign.
template <typename T>
struct Word;

template <>
struct Word<float> {
    using Type = float;
    static __device__ inline float max_abs(float a, float b) { return max_nan(a, fabsf(b)); }
    static __device__ inline float min(float a, float b) { return min_nan(a, b); }
    static __device__ inline float max(float a, float b) { return max_nan(a, b); }
    static __device__ inline float low(float a) { return a; }
    static __device__ inline float high(float a) { return a; }
};

template <>
struct Word<__half> {
    using Type = __half2;
    static __device__ inline __half2 max_abs(__half2 a, __half2 b) { return __hmax2_nan(a, __habs2(b)); }
    static __device__ inline __half2 min(__half2 a, __half2 b) { return __hmin2_nan(a, b); }
    static __device__ inline __half2 max(__half2 a, __half2 b) { return __hmax2_nan(a, b); }
    static __device__ inline float low(__half2 a) { return __low2float(a); }
    static __device__ inline float high(__half2 a) { return __high2float(a); }
};

template <>
struct Word<__nv_bfloat16> {
    using Type = __nv_bfloat162;
    static __device__ inline Type max_abs(Type a, Type b) {
#if defined(__CUDA_ARCH__) && __CUDA_ARCH__ >= 890
        // Without it |b| is an instruction of its own: operands of bf16 have no such form.
        Type out;
        asm("max.NaN.xorsign.abs.bf16x2 %0, %1, %2;"
            : "=r"(reinterpret_cast<uint32_t&>(out))
            : "r"(reinterpret_cast<const uint32_t&>(a)), "r"(reinterpret_cast<const uint32_t&>(b)));
        return out;
#else
        return __hmax2_nan(a, __habs2(b));
#endif
    }
    static __device__ inline Type min(Type a, Type b) { return __hmin2_nan(a, b); }
    static __device__ inline Type max(Type a, Type b) { return __hmax2_nan(a, b); }
    static __device__ inline float low(Type a) { return __low2float(a); }
    static __device__ inline float high(Type a) { return __high2float(a); }
};

// Extremes while chunks come in. Symmetric codes need the largest magnitude alone, which is `high`; then `low` is 0.
template <typename T, bool kBoth>
class Gather {
    using W = Word<T>;
    using Type = typename W::Type;

  public:
    __device__ inline void first(const Chunk<T>& chunk) {
        const Type* word = reinterpret_cast<const Type*>(&chunk);
        low_ = word[0];
        high_ = kBoth ? word[0] : W::max_abs(Type{}, word[0]);
        rest(word + 1, 3);
    }
    __device__ inline void next(const Chunk<T>& chunk) { rest(reinterpret_cast<const Type*>(&chunk), 4); }

    __device__ inline Extremes result() const {
        if constexpr (kBoth) {
            return {min_nan(W::low(low_), W::high(low_)), max_nan(W::low(high_), W::high(high_))};
        } else {
            return {0.0f, max_nan(fabsf(W::low(high_)), fabsf(W::high(high_)))};
        }
    }

  private:
    __device__ inline void rest(const Type* word, int count) {
#pragma unroll
        for (int i = 0; i < count; ++i) {
            if constexpr (kBoth) {
                low_ = W::min(low_, word[i]);
                high_ = W::max(high_, word[i]);
            } else {
                high_ = W::max_abs(high_, word[i]);
            }
        }
    }

    Type low_, high_;
};

// Over the 2^lanes_log2 neighbours of this thread that share its segment: lanes of a warp, or the whole block. `kBoth`:
// low counts too.
template <bool kBoth>
__device__ inline Extremes reduce(Extremes e, uint32_t lanes_log2) {
    const auto across = [](Extremes e, uint32_t lanes_log2) {
        if (!kBoth && lanes_log2 >= 5) {
            // Magnitudes order as integers; a NaN is the largest.
            e.high = __uint_as_float(__reduce_max_sync(0xFFFFFFFFu, __float_as_uint(e.high)));
            return e;
        }
#pragma unroll
        for (uint32_t i = 0; i < 5; ++i) {
            if (i >= lanes_log2) break;
            if constexpr (kBoth) e.low = min_nan(e.low, __shfl_xor_sync(0xFFFFFFFFu, e.low, 1u << i));
            e.high = max_nan(e.high, __shfl_xor_sync(0xFFFFFFFFu, e.high, 1u << i));
        }
        return e;
    };
    e = across(e, lanes_log2);
    if (lanes_log2 > 5) {
        __shared__ Extremes warps[32];
        __syncthreads();  // those of the call before have been read
        if (threadIdx.x % 32 == 0) warps[threadIdx.x / 32] = e;
        __syncthreads();
        // As many entries as there are warps, a power of two; further lanes see one of these again.
        e = across(warps[threadIdx.x & (blockDim.x / 32 - 1)], 5);
    }
    return e;
}

}  // namespace lowbit
