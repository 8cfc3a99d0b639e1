// Operands of the products over packed weights: loads, the two types of x as tensor cores take them, x in fragments,
// and the product of a run of 32 k.
//
// A format (W4, W8) has
//   kLockstep                       whether two blocks may be multiplied at once: one sum each, scaled at their end
//   kTileK, kStepsPerGroup          k of a 512-byte tile; steps of 16 k after which a sum is scaled
//   Weights                         a block, two tiles, as loaded: codes[2], scales
//   load_codes, load_scales         from a number of blocks ahead of the current one; advance
//   Sums, begin, step, end          the sum of one group: start, multiply 16 k, scale into y
#pragma once
#include <cstdint>

namespace lowbit {

// ---- instructions -------------------------------------------------------------------------------------------------

// Loads of weights and of what goes with them, predicated: with `valid` false the old value stays, without a branch.
// 16 bytes of codes are used once: not to be kept in L1.
__device__ __forceinline__ void load_codes_if(uint4& v, const void* p, bool valid) {
    asm volatile(
        "{ .reg .pred q;\n setp.ne.u32 q, %5, 0;\n @q ld.global.nc.L1::no_allocate.L2::128B.v4.u32 {%0, %1, %2, %3}, "
        "[%4]; }"
        : "+r"(v.x), "+r"(v.y), "+r"(v.z), "+r"(v.w)
        : "l"(p), "r"(uint32_t(valid)));
}

template <int WORDS>
__device__ __forceinline__ void load_words_if(uint32_t* v, const void* p, bool valid) {
    static_assert(WORDS == 1 || WORDS == 2 || WORDS == 4, "one access");
    const uint32_t q = valid;
    if constexpr (WORDS == 1)
        asm volatile("{ .reg .pred q;\n setp.ne.u32 q, %2, 0;\n @q ld.global.nc.u32 %0, [%1]; }"
                     : "+r"(v[0])
                     : "l"(p), "r"(q));
    else if constexpr (WORDS == 2)
        asm volatile("{ .reg .pred q;\n setp.ne.u32 q, %3, 0;\n @q ld.global.nc.v2.u32 {%0, %1}, [%2]; }"
                     : "+r"(v[0]), "+r"(v[1])
                     : "l"(p), "r"(q));
    else
        asm volatile("{ .reg .pred q;\n setp.ne.u32 q, %5, 0;\n @q ld.global.nc.v4.u32 {%0, %1, %2, %3}, [%4]; }"
                     : "+r"(v[0]), "+r"(v[1]), "+r"(v[2]), "+r"(v[3])
                     : "l"(p), "r"(q));
}

// 1, 2 or 4 bytes, zero-extended.
template <int BYTES>
__device__ __forceinline__ void load_bytes_if(uint32_t& v, const void* p, bool valid) {
    const uint32_t q = valid;
    if constexpr (BYTES == 1)
        asm volatile("{ .reg .pred q;\n setp.ne.u32 q, %2, 0;\n @q ld.global.nc.u8 %0, [%1]; }"
                     : "+r"(v)
                     : "l"(p), "r"(q));
    else if constexpr (BYTES == 2)
        asm volatile("{ .reg .pred q;\n setp.ne.u32 q, %2, 0;\n @q ld.global.nc.u16 %0, [%1]; }"
                     : "+r"(v)
                     : "l"(p), "r"(q));
    else
        load_words_if<1>(&v, p, valid);
}

// (a & b) | c in one instruction; written in C it becomes two.
__device__ __forceinline__ uint32_t and_or(uint32_t a, uint32_t b, uint32_t c) {
    uint32_t d;
    asm("lop3.b32 %0, %1, %2, %3, 0xEA;" : "=r"(d) : "r"(a), "r"(b), "r"(c));
    return d;
}

// p += bytes, where the compiler must not keep the old p beside the new one.
__device__ __forceinline__ void advance(const uint8_t*& p, uint64_t bytes) {
    asm volatile("add.u64 %0, %0, %1;" : "+l"(p) : "l"(bytes));
}

__device__ __forceinline__ uint32_t rotate_right(uint32_t a, uint32_t n) { return __funnelshift_r(a, a, n); }

__device__ __forceinline__ float half_to_float(uint16_t h) {
    float f;
    asm("cvt.f32.f16 %0, %1;" : "=f"(f) : "h"(h));
    return f;
}

// {low, high} of two halves.
__device__ __forceinline__ float2 half2_to_float2(uint32_t h) {
    return make_float2(half_to_float(uint16_t(h)), half_to_float(uint16_t(h >> 16)));
}

// ---- the two types of x -------------------------------------------------------------------------------------------

// C += A * B.   A (T32,V8) -> (M16,K16), B (T32,V4) -> (N8,K16), C (T32,V4) -> (M16,N8) of mma.m16n8k16, PTX
// ISA 9.7.14.
struct F16 {
    static constexpr int kFractionBits = 10;
    static __device__ __forceinline__ uint32_t add(uint32_t a, uint32_t b) {
        uint32_t d;
        asm("add.rn.f16x2 %0, %1, %2;" : "=r"(d) : "r"(a), "r"(b));
        return d;
    }
    static __device__ __forceinline__ void mma(float (&d)[4], const uint32_t (&a)[4], uint32_t b0, uint32_t b1,
                                               const float (&c)[4]) {
        asm("mma.sync.aligned.m16n8k16.row.col.f32.f16.f16.f32 {%0,%1,%2,%3}, {%4,%5,%6,%7}, {%8,%9}, "
            "{%10,%11,%12,%13};"
            : "=f"(d[0]), "=f"(d[1]), "=f"(d[2]), "=f"(d[3])
            : "r"(a[0]), "r"(a[1]), "r"(a[2]), "r"(a[3]), "r"(b0), "r"(b1), "f"(c[0]), "f"(c[1]), "f"(c[2]), "f"(c[3]));
    }
};

struct Bf16 {
    static constexpr uint32_t kOne = 0x3f803f80;
    static constexpr int kFractionBits = 7;
    static __device__ __forceinline__ uint32_t add(uint32_t a, uint32_t b) {  // sm_80 has no add.bf16x2
        uint32_t d;
        asm("fma.rn.bf16x2 %0, %1, %2, %3;" : "=r"(d) : "r"(a), "r"(kOne), "r"(b));
        return d;
    }
    static __device__ __forceinline__ void mma(float (&d)[4], const uint32_t (&a)[4], uint32_t b0, uint32_t b1,
                                               const float (&c)[4]) {
        asm("mma.sync.aligned.m16n8k16.row.col.f32.bf16.bf16.f32 {%0,%1,%2,%3}, {%4,%5,%6,%7}, {%8,%9}, "
            "{%10,%11,%12,%13};"
            : "=f"(d[0]), "=f"(d[1]), "=f"(d[2]), "=f"(d[3])
            : "r"(a[0]), "r"(a[1]), "r"(a[2]), "r"(a[3]), "r"(b0), "r"(b1), "f"(c[0]), "f"(c[1]), "f"(c[2]), "f"(c[3]));
    }
};

// ---- x ------------------------------------------------------------------------------------------------------------

// x of a run of 32 k, two steps, as B fragments. Lane (g, t): x[row g][8*t + 0..7] of the run; step 0 uses words (x,
// y), step 1 uses (z, w).
struct XRun {
    uint4 v;

    __device__ __forceinline__ uint32_t b(int step, int reg) const {
        return step & 1 ? (reg ? v.w : v.z) : (reg ? v.y : v.x);
    }

    __device__ __forceinline__ void load(const uint8_t* p) { v = __ldg(reinterpret_cast<const uint4*>(p)); }

    // At the end of k, or in rows that are not aligned: 0 beyond the `left` elements that the row still has.
    __device__ __forceinline__ void load_guarded(const uint8_t* p, int left, bool aligned) {
        v = make_uint4(0, 0, 0, 0);
        if (left >= 8 && aligned) {
            load(p);
        } else if (left > 0) {  // one element after the other comes in at the top; a loop, because it is rare and long
            const uint16_t* x = reinterpret_cast<const uint16_t*>(p);
#pragma unroll 1
            for (int e = 0; e < 8; ++e) {
                const uint32_t next = e < left ? __ldg(x + e) : 0u;
                v.x = __funnelshift_r(v.x, v.y, 16), v.y = __funnelshift_r(v.y, v.z, 16);
                v.z = __funnelshift_r(v.z, v.w, 16), v.w = __funnelshift_r(v.w, next, 16);
            }
        }
    }
};

// The same of 8 * COLUMNS rows: row 8*j + g in runs[j].
template <int COLUMNS>
struct XRuns {
    XRun runs[COLUMNS];

    __device__ __forceinline__ void load(const uint8_t* const (&p)[COLUMNS], int offset) {
#pragma unroll
        for (int j = 0; j < COLUMNS; ++j) runs[j].load(p[j] + offset);
    }

    __device__ __forceinline__ void load_guarded(const uint8_t* const (&p)[COLUMNS], int offset, int left,
                                                 bool aligned) {
#pragma unroll
        for (int j = 0; j < COLUMNS; ++j) runs[j].load_guarded(p[j] + offset, left, aligned);
    }
};

// ---- products -----------------------------------------------------------------------------------------------------

// One as an array of one.
template <class T>
__device__ __forceinline__ T (&one(T& t))[1] {
    return reinterpret_cast<T(&)[1]>(t);
}

// y += the products of run `run` of N blocks of weights with x, block after block where a sum is scaled.
template <int N, int COLUMNS, class Format>
__device__ __forceinline__ void multiply_run(const Format& format, int run, const typename Format::Weights (&w)[N],
                                             const XRuns<COLUMNS> (&x)[N],
                                             typename Format::template Sums<COLUMNS> (&sums)[N],
                                             float (&y)[COLUMNS][4]) {
    constexpr int kSteps = Format::kStepsPerGroup;
#pragma unroll
    for (int s = 2 * run; s < 2 * run + 2; ++s) {
        if (s % kSteps == 0)
#pragma unroll
            for (int i = 0; i < N; ++i) format.begin(sums[i], w[i], s / kSteps);
#pragma unroll
        for (int i = 0; i < N; ++i) format.step(sums[i], w[i], s, x[i].runs);
        if ((s + 1) % kSteps == 0)
#pragma unroll
            for (int i = 0; i < N; ++i) format.end(sums[i], w[i], s / kSteps, y);
    }
}

}  // namespace lowbit
