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

// What one register holds of a chunk: one f32 or two 16-bit numbers.
template <typename T>
struct Word;

template <>
struct Word<float> {
    using Type = float;
    static __device__ inline float abs(float a) { return fabsf(a); }
    static __device__ inline float min(float a, float b) { return min_nan(a, b); }
    static __device__ inline float max(float a, float b) { return max_nan(a, b); }
    static __device__ inline float low(float a) { return a; }
    static __device__ inline float high(float a) { return a; }
};

template <>
struct Word<__half> {
    using Type = __half2;
    static __device__ inline __half2 abs(__half2 a) { return __habs2(a); }
    static __device__ inline __half2 min(__half2 a, __half2 b) { return __hmin2_nan(a, b); }
    static __device__ inline __half2 max(__half2 a, __half2 b) { return __hmax2_nan(a, b); }
    static __device__ inline float low(__half2 a) { return __low2float(a); }
    static __device__ inline float high(__half2 a) { return __high2float(a); }
};

template <>
struct Word<__nv_bfloat16> {
    using Type = __nv_bfloat162;
    static __device__ inline Type abs(Type a) { return __habs2(a); }
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
        high_ = kBoth ? word[0] : W::abs(word[0]);
        rest(word + 1, 3);
    }
    __device__ inline void next(const Chunk<T>& chunk) { rest(reinterpret_cast<const Type*>(&chunk), 4); }

    __device__ inline Extremes result() const {
        const float high = max_nan(W::low(high_), W::high(high_));
        return {kBoth ? min_nan(W::low(low_), W::high(low_)) : 0.0f, high};
    }

  private:
    __device__ inline void rest(const Type* word, int count) {
#pragma unroll
        for (int i = 0; i < count; ++i) {
            if constexpr (kBoth) {
                low_ = W::min(low_, word[i]);
                high_ = W::max(high_, word[i]);
            } else {
                high_ = W::max(high_, W::abs(word[i]));
            }
        }
    }

    Type low_, high_;
};

// Over the 2^lanes_log2 neighbours of this thread that share its segment: lanes of a warp, or the whole block. `round`
// alternates between the calls of a block, so that one barrier a call suffices. `kBoth`: low counts too.
template <bool kBoth>
__device__ inline Extremes reduce(Extremes e, uint32_t lanes_log2, uint32_t round) {
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
        __shared__ Extremes warps[2][32];
        if (threadIdx.x % 32 == 0) warps[round & 1][threadIdx.x / 32] = e;
        __syncthreads();
        // As many entries as there are warps, a power of two; further lanes see one of these again.
        e = across(warps[round & 1][threadIdx.x & (blockDim.x / 32 - 1)], 5);
    }
    return e;
}

}  // namespace lowbit
