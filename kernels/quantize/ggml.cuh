// The block types of ggml: how a quad of lanes codes the 32 elements of one block, and decodes them.
//
// Lane l of a quad holds elements 8 l .. 8 l + 8: (T4, V8) -> element 8 T + V. A type says
//   kHeader, kCode             16-bit units of a block before its codes, and of its codes
//   encode(lane, x, s, block)  statistics over the quad, header and codes into the staged block
//   decode(lane, s, block, y)  the counterpart
// Formulas and byte layout: src/reference/ggml.rs, src/format/ggml.rs. Every lane of a warp makes the calls. f32
// without contraction; x is sanitized.
#pragma once
#include "common/element.cuh"
#include "quantize/blocks.cuh"
#include "quantize/code.cuh"
#include "quantize/search.cuh"

namespace lowbit {

constexpr int kGgmlThreads = 256;
constexpr int kGgmlBlocks = kGgmlThreads / 4;

template <typename Type>
using GgmlStage = Staged<Type::kHeader, Type::kCode, kGgmlBlocks, kGgmlThreads>;

// 1 / d, and 0 where that is not finite.
__device__ inline float reciprocal_or_zero(float d) {
    const float id = __fdiv_rn(1.0f, d);
    return fabsf(id) <= 3.402823466e+38f ? id : 0.0f;
}

// The quad's first element that `before` all others: candidates are compared in the order of elements, lanes being 8
// apart.
template <typename Before>
__device__ inline float first_of_quad(float mine, Before before) {
#pragma unroll
    for (int offset = 1; offset < 4; offset *= 2) {
        const float other = __shfl_xor_sync(0xFFFFFFFFu, mine, offset);
        const bool other_first = (threadIdx.x & offset) != 0;
        // An equal candidate of an earlier lane wins.
        if (other_first ? !before(mine, other) : before(other, mine)) mine = other;
    }
    return mine;
}

__device__ inline float first_largest(const float (&x)[8]) {
    const auto larger = [](float a, float b) { return fabsf(a) > fabsf(b); };
    float m = 0.0f;
#pragma unroll
    for (int i = 0; i < 8; ++i) m = larger(x[i], m) ? x[i] : m;
    return first_of_quad(m, larger);
}

__device__ inline float first_smallest(const float (&x)[8]) {
    const auto smaller = [](float a, float b) { return a < b; };
    float m = x[0];
#pragma unroll
    for (int i = 1; i < 8; ++i) m = smaller(x[i], m) ? x[i] : m;
    return first_of_quad(m, smaller);
}

__device__ inline float largest(const float (&x)[8]) {
    float m = x[0];
#pragma unroll
    for (int i = 1; i < 8; ++i) m = fmaxf(m, x[i]);
    m = fmaxf(m, __shfl_xor_sync(0xFFFFFFFFu, m, 1));
    return fmaxf(m, __shfl_xor_sync(0xFFFFFFFFu, m, 2));
}

__device__ inline void store_half(uint8_t* p, float x) { *reinterpret_cast<__half*>(p) = __float2half_rn(x); }
__device__ inline float load_half(const uint8_t* p) { return __half2float(*reinterpret_cast<const __half*>(p)); }

// 4-bit codes to the 16 bytes of a block: byte j = code j | code (j + 16) << 4. Lanes 0 and 2 share the bytes 0 .. 8,
// lanes 1 and 3 the others: each gives its partner the word that the partner stores.
template <typename Stage>
__device__ inline void stage_nibbles(int lane, Stage& s, int block, const uint32_t (&q)[8]) {
    uint32_t word[2];
#pragma unroll
    for (int i = 0; i < 2; ++i) word[i] = q[4 * i] | q[4 * i + 1] << 8 | q[4 * i + 2] << 16 | q[4 * i + 3] << 24;
    const bool upper = lane >= 2;
    const uint32_t other = __shfl_xor_sync(0xFFFFFFFFu, upper ? word[0] : word[1], 2);
    const uint32_t bytes = upper ? other | word[1] << 4 : word[0] | other << 4;
    reinterpret_cast<uint32_t*>(s.code)[4 * block + 2 * (lane & 1) + (upper ? 1 : 0)] = bytes;
}

template <typename Stage>
__device__ inline void staged_nibbles(int lane, const Stage& s, int block, uint32_t (&q)[8]) {
    const uint2 words = reinterpret_cast<const uint2*>(s.code)[2 * block + (lane & 1)];
    const uint32_t shift = lane >= 2 ? 4 : 0;
#pragma unroll
    for (int i = 0; i < 8; ++i) q[i] = ((i < 4 ? words.x : words.y) >> (shift + 8 * (i % 4))) & 15u;
}

// Q4_0, Q4_1, Q5_0, Q5_1.
template <int Bits, bool Min>
struct GgmlLinear {
    static constexpr int kHighAt = Min ? 4 : 2;  // where the fifth bits lie, bytes
    static constexpr int kHeader = (Min ? 2 : 1) + (Bits == 5 ? 2 : 0);
    static constexpr int kCode = 8;
    static constexpr float kTop = static_cast<float>((1 << Bits) - 1);
    static constexpr float kHalf = static_cast<float>(1 << (Bits - 1));

    template <typename Stage>
    static __device__ inline void encode(int lane, const float (&x)[8], Stage& s, int block) {
        uint8_t* header = s.header_of(block);
        float low = 0.0f, d;
        if constexpr (Min) {
            low = first_smallest(x);
            d = __fdiv_rn(__fsub_rn(largest(x), low), kTop);
        } else {
            d = __fdiv_rn(first_largest(x), -kHalf);
        }
        const float id = reciprocal_or_zero(d);
        uint32_t q[8], high = 0;
#pragma unroll
        for (int i = 0; i < 8; ++i) {
            const float y = __fmul_rn(Min ? __fsub_rn(x[i], low) : x[i], id);
            q[i] = static_cast<uint32_t>(fminf(__fadd_rn(y, Min ? 0.5f : kHalf + 0.5f), kTop));
            high |= (q[i] >> 4) << i;
            q[i] &= 15u;
        }
        stage_nibbles(lane, s, block, q);
        if constexpr (Bits == 5) header[kHighAt + lane] = static_cast<uint8_t>(high);
        if (lane == 0) {
            store_half(header, d);
            if constexpr (Min) store_half(header + 2, low);
        }
    }

    template <typename Stage>
    static __device__ inline void decode(int lane, Stage& s, int block, float (&y)[8]) {
        const uint8_t* header = s.header_of(block);
        const float d = load_half(header), low = Min ? load_half(header + 2) : 0.0f;
        uint32_t q[8];
        staged_nibbles(lane, s, block, q);
        const uint32_t high = Bits == 5 ? header[kHighAt + lane] : 0u;
#pragma unroll
        for (int i = 0; i < 8; ++i) {
            if constexpr (Bits == 5) q[i] |= (high >> i & 1u) << 4;
            const float code = static_cast<float>(q[i]);
            y[i] = Min ? __fadd_rn(__fmul_rn(code, d), low) : __fmul_rn(code - kHalf, d);
        }
    }
};

// Q8_0.
struct GgmlByte {
    static constexpr int kHeader = 1;
    static constexpr int kCode = 16;

    template <typename Stage>
    static __device__ inline void encode(int lane, const float (&x)[8], Stage& s, int block) {
        float top = fabsf(x[0]);
#pragma unroll
        for (int i = 1; i < 8; ++i) top = fmaxf(top, fabsf(x[i]));
        top = fmaxf(top, __shfl_xor_sync(0xFFFFFFFFu, top, 1));
        top = fmaxf(top, __shfl_xor_sync(0xFFFFFFFFu, top, 2));
        const float d = __fdiv_rn(top, 127.0f), id = reciprocal_or_zero(d);
        uint32_t word[2] = {};
#pragma unroll
        for (int i = 0; i < 8; ++i) {
            // roundf: adding the float below a half, towards the value's own side, makes truncation round away from
            // zero exactly at the halves.
            const float y = __fmul_rn(x[i], id);
            const int q = static_cast<int>(__fadd_rn(y, copysignf(0x1.fffffep-2f, y)));
            word[i / 4] |= (static_cast<uint32_t>(q) & 0xFFu) << (8 * (i % 4));
        }
        reinterpret_cast<uint2*>(s.code)[4 * block + lane] = make_uint2(word[0], word[1]);
        if (lane == 0) store_half(s.header_of(block), d);
    }

    template <typename Stage>
    static __device__ inline void decode(int lane, Stage& s, int block, float (&y)[8]) {
        const float d = load_half(s.header_of(block));
        const uint2 words = reinterpret_cast<const uint2*>(s.code)[4 * block + lane];
#pragma unroll
        for (int i = 0; i < 8; ++i) {
            const int8_t q = static_cast<int8_t>((i < 4 ? words.x : words.y) >> (8 * (i % 4)));
            y[i] = __fmul_rn(static_cast<float>(q), d);
        }
    }
};

// IQ4_NL. The two sums run over the block's elements in their order: lane after lane, each going on where the one
// before it stopped.
struct GgmlTable {
    static constexpr int kHeader = 1;
    static constexpr int kCode = 8;

    // Levels 4 i .. 4 i + 4 in the bytes of word i.
    static __device__ inline uint32_t levels(int i) {
        constexpr uint32_t kWords[4] = {0xBFAD9881u, 0xF6EADDCFu, 0x26190D01u, 0x71594535u};
        return kWords[i];
    }
    static __device__ inline float level(uint32_t q) {
        const uint32_t low = __byte_perm(levels(0), levels(1), q & 7u),
                       high = __byte_perm(levels(2), levels(3), q & 7u);
        return static_cast<float>(static_cast<int8_t>(q & 8u ? high : low));
    }
    static __device__ inline uint32_t nearest(float x) {
        constexpr float kMiddle[16] = {-115.5f, -93.5f, -74.0f, -57.0f, -42.0f, -28.5f, -16.0f, -4.5f,
                                       7.0f,    19.0f,  31.5f,  45.5f,  61.0f,  79.0f,  101.0f};
        return search<4>(x, kMiddle);
    }

    template <typename Stage>
    static __device__ inline void encode(int lane, const float (&x)[8], Stage& s, int block) {
        const float m = first_largest(x);
        const bool coded = fabsf(m) >= 1e-15f;
        const float id = coded ? __fdiv_rn(1.0f, __fdiv_rn(m, -127.0f)) : 0.0f;
        uint32_t q[8];
        float term_x[8], term_v[8];
#pragma unroll
        for (int i = 0; i < 8; ++i) {
            q[i] = nearest(__fmul_rn(x[i], id));
            const float v = level(q[i]), wv = __fmul_rn(__fmul_rn(x[i], x[i]), v);
            term_x[i] = __fmul_rn(wv, x[i]);
            term_v[i] = __fmul_rn(wv, v);
        }
        float sum_x = 0.0f, sum_v = 0.0f;
#pragma unroll
        for (int turn = 0; turn < 4; ++turn) {
#pragma unroll
            for (int i = 0; i < 8; ++i) {
                sum_x = __fadd_rn(sum_x, term_x[i]);
                sum_v = __fadd_rn(sum_v, term_v[i]);
            }
            sum_x = __shfl_sync(0xFFFFFFFFu, sum_x, turn, 4);
            sum_v = __shfl_sync(0xFFFFFFFFu, sum_v, turn, 4);
        }
        stage_nibbles(lane, s, block, q);
        if (lane == 0) store_half(s.header_of(block), coded && sum_v > 0.0f ? __fdiv_rn(sum_x, sum_v) : 0.0f);
    }

    template <typename Stage>
    static __device__ inline void decode(int lane, Stage& s, int block, float (&y)[8]) {
        const float d = load_half(s.header_of(block));
        uint32_t q[8];
        staged_nibbles(lane, s, block, q);
#pragma unroll
        for (int i = 0; i < 8; ++i) y[i] = __fmul_rn(level(q[i]), d);
    }
};

}  // namespace lowbit
