// Casts between real numbers and 8-bit floats, saturating, rounding to nearest even, NaN -> 0x7F.
//
//   cast_to_<fmt>_<T>       codes[i] = fmt(x[i])           cast_from_<fmt>_<T>   x[i] = T(codes[i])
//   cast_stochastic_<fmt>   codes[i] = one of the two codes around x[i], drawn by i
//
// Bounded by bytes: 16-byte accesses of the numbers when both pointers allow, else element by element.
// 1. A thread takes kUnroll chunks, a block's width apart: all are in flight at once.
// 2. Numbers are converted by the hardware from compute_89 on, below by one FMA whose rounding is the code's
//    (cast/pairs.cuh).
#include "cast/pairs.cuh"
#include "common/philox.cuh"
#include "quantize/code.cuh"

namespace lowbit {

constexpr int kBlock = 256;
constexpr int kUnroll = 4;

struct CastParams {
    uint64_t x;      // T[len]
    uint64_t codes;  // u8[len]
    uint64_t len;
    uint64_t seed;     // of stochastic rounding
    uint32_t aligned;  // x is a multiple of 16 bytes and codes of 8
    DType dtype;       // of x, for the stochastic cast
};
static_assert(sizeof(CastParams) == 40, "CastParams is shared with Rust");

// Runs body(at, count) on the chunks of this thread, unless body(at, kUnroll) has done them all at once: of those that
// are whole, and in which it met no NaN.
template <typename T, typename Body>
__device__ inline void chunks(const CastParams& p, Body body) {
    constexpr int kN = kChunk<T>;
    const uint64_t first = kN * (static_cast<uint64_t>(blockIdx.x) * (kBlock * kUnroll) + threadIdx.x);
    const bool aligned = p.aligned != 0;
    if (aligned && kN * (static_cast<uint64_t>(blockIdx.x) + 1) * (kBlock * kUnroll) <= p.len) {
        if (body(first, std::integral_constant<int, kUnroll>())) return;
    }
#pragma unroll 1
    for (int k = 0; k < kUnroll; ++k) {
        const uint64_t at = first + k * (kN * kBlock);
        if (at < p.len) body(at, static_cast<int>(min(p.len - at, static_cast<uint64_t>(kN))));
    }
}

template <typename T, Fp8Format F>
struct ToFp8 {
    static constexpr int kN = kChunk<T>;
    const T* x;
    uint8_t* codes;
    bool aligned;

    __device__ inline bool operator()(uint64_t at, std::integral_constant<int, kUnroll>) const {
        Chunk<T> chunk[kUnroll];
#pragma unroll
        for (int k = 0; k < kUnroll; ++k) chunk[k] = load_chunk(x + at + k * (kN * kBlock), kN, true);
        NanSeen nan;
#pragma unroll
        for (int k = 0; k < kUnroll; ++k)
            store_word<Float8<F>, kN>(codes + at + k * (kN * kBlock), encode_chunk<F>(chunk[k], nan));
        return !nan.any();
    }
    __device__ inline void operator()(uint64_t at, int count) const {
        const Chunk<T> chunk = load_chunk(x + at, count, aligned);
        uint32_t code[kN];
#pragma unroll
        for (int i = 0; i < kN; ++i) code[i] = Float8<F>::cast(to_f32(chunk.value[i]));
        store_codes<Float8<F>>(codes + at, count, aligned, code);
    }
};

template <typename T, Fp8Format F>
struct FromFp8 {
    static constexpr int kN = kChunk<T>;
    T* x;
    const uint8_t* codes;
    bool aligned;

    __device__ inline bool operator()(uint64_t at, std::integral_constant<int, kUnroll>) const {
        CodeWord<kN> word[kUnroll];
#pragma unroll
        for (int k = 0; k < kUnroll; ++k) word[k] = load_word<kN>(codes + at + k * (kN * kBlock));
        NanSeen nan;
#pragma unroll
        for (int k = 0; k < kUnroll; ++k) {
            const Chunk<T> chunk = decode_chunk<T, F>(word[k], nan);
            *reinterpret_cast<uint4*>(x + at + k * (kN * kBlock)) = *reinterpret_cast<const uint4*>(&chunk);
        }
        return !nan.any();
    }
    __device__ inline void operator()(uint64_t at, int count) const {
        uint32_t code[kN];
        load_codes<Float8<F>>(codes + at, count, aligned, code);
        float v[kN];
#pragma unroll
        for (int i = 0; i < kN; ++i) v[i] = Float8<F>::decode(code[i]);
        store_chunk(x + at, count, aligned, v);
    }
};

template <typename T, Fp8Format F>
__device__ inline void to_fp8(const CastParams& p) {
    chunks<T>(p, ToFp8<T, F>{reinterpret_cast<const T*>(p.x), reinterpret_cast<uint8_t*>(p.codes), p.aligned != 0});
}

template <typename T, Fp8Format F>
__device__ inline void from_fp8(const CastParams& p) {
    chunks<T>(p, FromFp8<T, F>{reinterpret_cast<T*>(p.x), reinterpret_cast<const uint8_t*>(p.codes), p.aligned != 0});
}

template <typename T, Fp8Format F>
__device__ inline void stochastic(const CastParams& p) {
    constexpr int kN = kChunk<T>;
    Philox random(p.seed);
    const uint64_t first = kN * (static_cast<uint64_t>(blockIdx.x) * (kBlock * kUnroll) + threadIdx.x);
#pragma unroll 1
    for (int k = 0; k < kUnroll; ++k) {
        const uint64_t at = first + k * (kN * kBlock);
        if (at >= p.len) return;
        const int count = static_cast<int>(min(p.len - at, static_cast<uint64_t>(kN)));
        const Chunk<T> chunk = load_chunk(reinterpret_cast<const T*>(p.x) + at, count, p.aligned != 0);
        uint32_t code[kN];
#pragma unroll
        for (int i = 0; i < kN; ++i)
            code[i] = Fp8<F>::encode_stochastic(to_f32(chunk.value[i]), random.uniform(at + i));
        store_codes<Float8<F>>(reinterpret_cast<uint8_t*>(p.codes) + at, count, p.aligned != 0, code);
    }
}

template <Fp8Format F>
__device__ inline void stochastic_of(const CastParams& p) {
    switch (p.dtype) {
        case DType::F32:
            return stochastic<float, F>(p);
        case DType::F16:
            return stochastic<__half, F>(p);
        case DType::Bf16:
            return stochastic<__nv_bfloat16, F>(p);
    }
}

}  // namespace lowbit

#define KERNEL(name, call)                                                                                            \
    extern "C" __global__ void __launch_bounds__(lowbit::kBlock) name(const __grid_constant__ lowbit::CastParams p) { \
        call(p);                                                                                                      \
    }
#define CASTS(fmt, T, Type, Format)                                                \
    KERNEL(cast_to_##fmt##_##T, (lowbit::to_fp8<Type, lowbit::Fp8Format::Format>)) \
    KERNEL(cast_from_##fmt##_##T, (lowbit::from_fp8<Type, lowbit::Fp8Format::Format>))
CASTS(e4m3, f32, float, kE4m3)
CASTS(e4m3, f16, __half, kE4m3)
CASTS(e4m3, bf16, __nv_bfloat16, kE4m3)
CASTS(e5m2, f32, float, kE5m2)
CASTS(e5m2, f16, __half, kE5m2)
CASTS(e5m2, bf16, __nv_bfloat16, kE5m2)
KERNEL(cast_stochastic_e4m3, lowbit::stochastic_of<lowbit::Fp8Format::kE4m3>)
KERNEL(cast_stochastic_e5m2, lowbit::stochastic_of<lowbit::Fp8Format::kE5m2>)
