// Codes without a division an element. `Encoder<T, Code>` is made from a segment's scale, its largest value times the
// clip ratio, and that ratio; where it has a way (kFast) and is usable(), fast(chunk, word) yields the codes of a chunk
// of ordinary numbers (no NaN, magnitudes up to kLimit), or false when they might not be those of the definition,
// Code::encode, which the caller then takes.
//
// 1. Fixed point. With r = 1/scale to 2^-22, u = fma(x, r, c) where c = base + 0.5 + kSlack units - min * r and base
// has its
//    last bit at 2^-kFraction: the bits of u above that point are the code floor(x/scale + 0.5), and those below tell
//    how near a tie was. All errors (r, c, the fma, and the definition's own roundings) are below kSlack units, so a
//    fraction outside [0, 2 kSlack) proves the code. About one element in 2^11 (8 bits) or 2^12 (fewer) is recounted,
//    and exact ties.
// 2. INT8 of 16-bit numbers under scale = f32(amax/127). The true quotient 127 x/amax of two significands of at most 11
//    bits is a tie, or at least 2^-19 of itself away from any: 254 x - (2n + 1) amax is a multiple of the last bits. As
//    127 is prime, a tie needs 127 to divide the significand of amax, and then scale is exact, which is left to the
//    definition; or
//    |x| = amax/2, whose code the definition decides by the rounding of scale: 64 if f32((amax/2)/scale) >= 63.5,
//    else 63. So r is 1/scale moved by 2^-21 to that side, and fma(x, r, 1.5 * 2^23) has the code in its low byte.
// 3. 8-bit floats, where the hardware converts: x times r a little low and a little high. Equal codes enclose the true
// one.
#pragma once
#include <type_traits>

#include "common/element.cuh"
#include "quantize/scale.cuh"

namespace lowbit {

__device__ __forceinline__ float reciprocal_approx(float x) {
    float out;
    asm("rcp.approx.ftz.f32 %0, %1;" : "=f"(out) : "f"(x));
    return out;
}

// Byte `B` of four words.
template <int B>
__device__ __forceinline__ uint32_t gather_bytes(uint32_t a, uint32_t b, uint32_t c, uint32_t d) {
    constexpr uint32_t kPair = B | (4 + B) << 4;
    return __byte_perm(__byte_perm(a, b, kPair), __byte_perm(c, d, kPair), 0x5410);
}

// The definition, for the chunks that need it.
template <typename T, typename Code>
__device__ inline uint64_t encode_exact(const Chunk<T>& chunk, const Scale<Code>& scale) {
    uint32_t code[kChunk<T>];
#pragma unroll
    for (int i = 0; i < kChunk<T>; ++i) code[i] = scale.encode(to_f32(chunk.value[i]));
    return pack_codes<Code>(code);
}

// No shortcut: E2M1, what has E8M0 scales, and 8-bit floats without the hardware's conversion.
template <typename T, typename Code>
struct Encoder {
    static constexpr bool kFast = false;
    __device__ inline Encoder(const Scale<Code>&, float, float) {}
};

// Way 1. kClamp: numbers may lie so far outside the scale's range that their codes leave [-top, top] or [0, top].
template <typename Code, bool kClamp>
class FixedPoint {
    static constexpr int kBits = Code::kBits;
    static constexpr bool kSigned = !Code::kAsymmetric;
    static constexpr int kFraction = kBits == 8 ? 15 : 16;
    static constexpr float kUnit = 1.0f / (1 << kFraction);
    static constexpr float kBinade = 8388608.0f * kUnit;  // 2^23 units: u stays within one binade
    static constexpr float kBase = kSigned ? 1.5f * kBinade : kBinade;
    static constexpr uint32_t kSlack = 8;
    static constexpr uint32_t kNear = ((1u << kFraction) - 1u) & ~(2u * kSlack - 1u);
    // With kClamp u comes as a part, held to [0, 1], of kSpan above the lowest: from a quarter below the lowest code's
    // middle to as much above the highest's, neither of which is near a tie.
    static constexpr float kSpan = kClamp ? Code::kTop * (kSigned ? 2.0f : 1.0f) + 0.5f : 1.0f;
    static constexpr float kLowest = kBase + 0.25f - (kSigned ? Code::kTop : 0.0f) + kSlack * kUnit;
    static constexpr float kOffset =
        kClamp ? (0.25f + (kSigned ? Code::kTop : 0.0f)) / kSpan : kBase + 0.5f + kSlack * kUnit;

  public:
    float r, c;

    FixedPoint() = default;
    __device__ inline FixedPoint(float r, float c) : r(r), c(c) {}
    __device__ inline explicit FixedPoint(const Scale<Code>& s) : r(reciprocal_approx(s.scale)) {
        if constexpr (kClamp) r = __fmul_rn(r, 1.0f / kSpan);
        c = __fmaf_rn(-s.min, r, kOffset);
        // f16 scales below the normal range are too coarse to keep the top code in range without a clamp; f32 scales
        // below 2^-100, 0 among them, have no reciprocal. A minimum many ranges away would cost c its last bits.
        if (!(s.scale >= (kSigned ? 0x1p-100f : 0x1p-14f) && fabsf(c) <= 3.0f * kBinade / kSpan)) r = 0.0f;
    }

    __device__ inline bool usable() const { return r != 0.0f; }

    // The number u of x; `near` when a tie may be.
    __device__ inline uint32_t number(float x, bool& near) const {
        float u = __fmaf_rn(x, r, c);
        if constexpr (kClamp) u = __fmaf_rn(__saturatef(u), kSpan, kLowest);
        const uint32_t bits = __float_as_uint(u);
        near |= (bits & kNear) == 0;
        return bits;
    }

    // Codes in bits [kFraction, kFraction + kBits) of the numbers, those of 8 bits offset by 128 where signed.
    template <int kN>
    static __device__ inline uint64_t pack(const uint32_t (&u)[kN]) {
        if constexpr (kBits == 8) {
            constexpr uint32_t kFlip = kSigned ? 0x80808080u : 0u;
            uint64_t word = gather_bytes<2>(u[0] << 1, u[1] << 1, u[2] << 1, u[3] << 1) ^ kFlip;
            if constexpr (kN == 8) {
                const uint32_t upper = gather_bytes<2>(u[4] << 1, u[5] << 1, u[6] << 1, u[7] << 1) ^ kFlip;
                word |= static_cast<uint64_t>(upper) << 32;
            }
            return word;
        } else if constexpr (kBits == 4 && kN == 8) {
            const uint32_t even = gather_bytes<2>(u[0], u[2], u[4], u[6]);
            const uint32_t odd = gather_bytes<2>(u[1], u[3], u[5], u[7]);
            return (even & 0x0F0F0F0Fu) | (odd << 4 & 0xF0F0F0F0u);
        } else {
            uint32_t word = 0;
#pragma unroll
            for (int i = 0; i < kN; ++i) word |= (u[i] >> kFraction & ((1u << kBits) - 1u)) << (i * kBits);
            return word;
        }
    }
};

// Of a segment: all of its numbers lie within the extremes, but for a clip ratio, and minima that were rounded.
template <typename T, typename Code, bool kClamp>
class OneFixedPoint {
  public:
    static constexpr bool kFast = true, kSure = false;
    __device__ inline OneFixedPoint(const Scale<Code>& s, float, float clip)
        : fixed_(s), usable_(fixed_.usable() && (kClamp || clip == 1.0f)) {}
    __device__ inline bool usable() const { return usable_; }
    __device__ inline bool fast(const Chunk<T>& chunk, uint64_t& word) const {
        uint32_t u[kChunk<T>];
        bool near = false;
#pragma unroll
        for (int i = 0; i < kChunk<T>; ++i) u[i] = fixed_.number(to_f32(chunk.value[i]), near);
        word = FixedPoint<Code, kClamp>::pack(u);
        return !near;
    }

  private:
    FixedPoint<Code, kClamp> fixed_;
    bool usable_;
};

template <typename T, int Bits>
struct Encoder<T, Signed<Bits>> : OneFixedPoint<T, Signed<Bits>, false> {
    using OneFixedPoint<T, Signed<Bits>, false>::OneFixedPoint;
};
template <typename T, int Bits>
struct Encoder<T, Unsigned<Bits>> : OneFixedPoint<T, Unsigned<Bits>, !std::is_same_v<T, __half>> {
    using OneFixedPoint<T, Unsigned<Bits>, !std::is_same_v<T, __half>>::OneFixedPoint;
};

// Way 2.
template <typename T>
class Int8Of16 {
    static constexpr float kMagic = 12582912.0f;  // 1.5 * 2^23: sums are whole

  public:
    static constexpr bool kFast = true, kSure = true;
    __device__ inline Int8Of16(const Scale<Int8>& s, float amax, float clip) {
        const float half = 0.5f * amax;
        const float beyond = __fmaf_rn(-63.5f, s.scale, half);  // exact: a few last bits of 63.5 scale
        proven_ = clip == 1.0f && s.scale >= 0x1p-100f && beyond != 0.0f;
        // f32(half/scale) >= 63.5 from half an ulp, 2^-19, below; that tie goes to the even 63.5.
        const bool up = __fmaf_rn(0x1p-19f, s.scale, beyond) >= 0.0f;
        r_ = __fmul_rn(reciprocal_approx(s.scale), up ? 1.0f + 0x1p-21f : 1.0f - 0x1p-21f);
    }

    __device__ inline bool usable() const { return proven_; }
    __device__ inline bool fast(const Chunk<T>& chunk, uint64_t& word) const {
        uint32_t u[8];
#pragma unroll
        for (int i = 0; i < 8; ++i) u[i] = __float_as_uint(__fmaf_rn(to_f32(chunk.value[i]), r_, kMagic));
        const uint32_t upper = gather_bytes<0>(u[4], u[5], u[6], u[7]);
        word = gather_bytes<0>(u[0], u[1], u[2], u[3]) | static_cast<uint64_t>(upper) << 32;
        return true;
    }

  private:
    float r_;
    bool proven_;
};

template <>
struct Encoder<__half, Int8> : Int8Of16<__half> {
    using Int8Of16<__half>::Int8Of16;
};
template <>
struct Encoder<__nv_bfloat16, Int8> : Int8Of16<__nv_bfloat16> {
    using Int8Of16<__nv_bfloat16>::Int8Of16;
};

#if defined(__CUDA_ARCH__) && __CUDA_ARCH__ >= 890
// Way 3.
template <typename T, Fp8Format F>
struct Encoder<T, Float8<F>> {
    static constexpr bool kFast = true, kSure = false;
    __device__ inline Encoder(const Scale<Float8<F>>& s, float, float) {
        const float r = reciprocal_approx(s.scale);
        usable_ = s.scale >= 0x1p-100f;
        less_ = __fmul_rn(r, 1.0f - 0x1p-21f);
        more_ = __fmul_rn(r, 1.0f + 0x1p-21f);
    }

    __device__ inline bool usable() const { return usable_; }
    __device__ inline bool fast(const Chunk<T>& chunk, uint64_t& word) const {
        constexpr int kN = kChunk<T>;
        uint32_t half[2] = {}, other[2] = {};
#pragma unroll
        for (int i = 0; i < kN; i += 4) {
            float x[4];
#pragma unroll
            for (int j = 0; j < 4; ++j) x[j] = to_f32(chunk.value[i + j]);
            half[i / 4] = four(x, less_);
            other[i / 4] = four(x, more_);
        }
        word = half[0] | static_cast<uint64_t>(half[1]) << 32;
        return half[0] == other[0] && half[1] == other[1];
    }

  private:
    static __device__ inline uint32_t four(const float (&x)[4], float r) {
        const uint32_t low = Fp8<F>::encode_pair(__fmul_rn(x[0], r), __fmul_rn(x[1], r));
        const uint32_t high = Fp8<F>::encode_pair(__fmul_rn(x[2], r), __fmul_rn(x[3], r));
        return __byte_perm(low, high, 0x5410);
    }

    float less_, more_;
    bool usable_;
};
#endif

}  // namespace lowbit
