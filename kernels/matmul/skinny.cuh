// Skinny matrix product y[m][n] = sum_k x[m][k] * w[n][k] for 1 to 8 rows of x over packed low-bit weights: the frame
// that the weight formats share. A format (w4.cuh, w8.cuh) says how a block of weights is loaded and multiplied.
//
// Naive:  for n, m:  y[m][n] = sum_k x[m][k] * decode(w[n][k])
//
// Bound by the bytes of w. What the frame does about it:
//  1. Weights are the A operand of mma.m16n8k16 (16 outputs), rows of x the B operand (8 columns): the cost is the same
//     for 1 to 8 rows, and the product is already summed over k: no shuffles.
//  2. The weights are packed in fragment order, so that a lane's 16-byte load *is* its A fragment for a run of k; a
//  warp
//     reads 512 contiguous bytes, and no address is computed but a pointer increment.
//  3. k inside an mma is permuted so that x needs no staging: a lane's B fragments of two steps are 8 neighbours of x.
//        step s of a run of 64, lane (g, t), register b, half e   <->   k = 32*(s>>1) + 8*t + 4*(s&1) + 2*b + e
//     Weights are packed with the same map. Lanes of absent rows of x read a line of zeros.
//  4. Two blocks of weights are in flight: a tile of 512 bytes is asked for again, two blocks further, as soon as it is
//  used.
// Warps of a CTA are `k_warps` parts of k times 8 / k_warps row tiles; gridDim.y is a further split of k. Parts are
// contiguous runs of blocks, a function of the shape and the device only; partial sums are added in the order of k in
// f32. So a row of y is bitwise the same whatever the other rows hold and however many there are.
//
// Shared memory: 8 warps x 16 outputs x 8 columns of f32. Workspace, with gridDim.y > 1: f32 partials
// [split][m][16 * row_tiles], and one counter per grid column, which must be 0 and is left 0.
#pragma once
#include <cstddef>
#include <cstdint>

namespace lowbit {

struct SkinnyParams {
    uint64_t codes;     // packed codes
    uint64_t meta;      // scales, and minima or zeros in f16
    uint64_t zeros;     // 4-bit zeros, or 0
    uint64_t x;         // f16 or bf16 [m][k], row stride x_stride
    uint64_t bias;      // type of out, [n], or 0
    uint64_t residual;  // type of out, [m][n], row stride residual_stride, or 0
    uint64_t out;       // f32, f16 or bf16 [m][n], row stride out_stride
    uint64_t partials;  // f32, only with splits > 1
    uint64_t counters;  // u32 [gridDim.x], only with splits > 1
    uint64_t x_stride;  // strides in elements
    uint64_t residual_stride;
    uint64_t out_stride;
    uint32_t m, n, k;
    uint32_t row_tiles;      // ceil(n / 16)
    uint32_t tiles;          // 512-byte tiles along k in a row tile
    uint32_t blocks;         // blocks along k
    uint32_t x_aligned;      // 1: base and stride of x allow 16-byte loads
    uint32_t meta_blocks;    // records of scales in a row tile
    uint32_t meta_shift;     // block b uses record b >> meta_shift
    uint32_t k_warps_log2;   // warps of a CTA along k: 1, 2, 4 or 8
    uint32_t part_blocks;    // blocks / parts, parts = gridDim.y * warps along k
    uint32_t longer_parts;   // blocks % parts: that many leading parts have a block more
    uint32_t out_type;       // DType: 0 f32, 1 f16, 2 bf16
    uint32_t minus_base[4];  // by a[i]: what a format takes from its decoded weights, two halves of x's type
    uint32_t reserved;
};
static_assert(sizeof(SkinnyParams) == 168 && offsetof(SkinnyParams, m) == 96 &&
                  offsetof(SkinnyParams, minus_base) == 148,
              "SkinnyParams is shared with Rust");

constexpr int kWarps = 8;
constexpr int kColumns = 8;

// A line of zeros for lanes without a row: long enough for every immediate offset from one pointer.
__device__ const uint4 kZeroLine[64] = {};

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
    static constexpr uint32_t kOne = 0x3c003c00, kMinusOne = 0xbc00bc00, kMinusThreeHalves = 0xbe00be00;
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
    static constexpr uint32_t kOne = 0x3f803f80, kMinusOne = 0xbf80bf80, kMinusThreeHalves = 0xbfc0bfc0;
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
        } else if (left > 0) {
            uint32_t half[8];
#pragma unroll
            for (int e = 0; e < 8; ++e) half[e] = e < left ? __ldg(reinterpret_cast<const uint16_t*>(p) + e) : 0u;
            v = make_uint4(half[0] | half[1] << 16, half[2] | half[3] << 16, half[4] | half[5] << 16,
                           half[6] | half[7] << 16);
        }
    }
};

// ---- output -------------------------------------------------------------------------------------------------------

__device__ __forceinline__ float load_as_float(uint64_t base, uint64_t i, uint32_t type) {
    if (type == 0) return reinterpret_cast<const float*>(base)[i];
    const uint16_t bits = reinterpret_cast<const uint16_t*>(base)[i];
    return type == 1 ? half_to_float(bits) : __uint_as_float(uint32_t(bits) << 16);
}

__device__ __forceinline__ void store_from_float(uint64_t base, uint64_t i, uint32_t type, float v) {
    if (type == 0) {
        reinterpret_cast<float*>(base)[i] = v;
        return;
    }
    uint16_t bits;
    if (type == 1)
        asm("cvt.rn.f16.f32 %0, %1;" : "=h"(bits) : "f"(v));
    else
        asm("cvt.rn.bf16.f32 %0, %1;" : "=h"(bits) : "f"(v));
    reinterpret_cast<uint16_t*>(base)[i] = bits;
}

// y + bias + residual, rounded once to the type of out.
__device__ __forceinline__ void finish(const SkinnyParams& p, uint32_t row, uint32_t column, float y) {
    if (p.bias) y += load_as_float(p.bias, row, p.out_type);
    if (p.residual) y += load_as_float(p.residual, column * p.residual_stride + row, p.out_type);
    store_from_float(p.out, column * p.out_stride + row, p.out_type, y);
}

// Where warp w's sum for (output r, column c) of its row tile lies in shared memory: 8 columns of 20 words (banks of a
// store 20*c + r are distinct), row tiles 16 words further apart so that two of them can be read at once.
__device__ __forceinline__ int partial_index(int warp, int row_tile, int r, int c) {
    return warp * 160 + row_tile * 16 + c * 20 + r;
}

// Adds the sums of the warps that share a row tile, in the order of k, and finishes them or, with a split of k over
// CTAs, leaves them in the workspace, where the last CTA to arrive adds them in the order of the splits.
__device__ __forceinline__ void reduce_and_store(const SkinnyParams& p, float (&y)[4]) {
    __shared__ float partial[kWarps * (160 + 16)];
    __shared__ bool last;
    const int lane = threadIdx.x & 31, warp = threadIdx.x >> 5, g = lane >> 2, t = lane & 3;
    const int k_warps = 1 << p.k_warps_log2, cta_tiles = kWarps >> p.k_warps_log2;
    const int mine = warp >> p.k_warps_log2;
#pragma unroll
    for (int i = 0; i < 4; ++i) partial[partial_index(warp, mine, g + 8 * (i >> 1), 2 * t + (i & 1))] = y[i];
    __syncthreads();

    // Half a warp adds the 16 outputs of a column; its other half those of the next row tile or, if there is none, of
    // the column 4 further, which lie in the other banks.
    const int cta_log2 = 7 - int(p.k_warps_log2), cta_rows = 1 << cta_log2,
              items = cta_tiles > 1 ? cta_rows * int(p.m) : 128;
    const uint32_t first_row = blockIdx.x * cta_rows;
    const uint64_t padded = uint64_t(p.row_tiles) * 16;
    for (int i = threadIdx.x; i < items; i += kWarps * 32) {
        const int column = cta_tiles > 1 ? i >> cta_log2 : 4 * (i >> 4 & 1) + (i >> 5), in_cta = i & (cta_rows - 1);
        const uint32_t row = first_row + in_cta;
        if (row >= p.n || column >= p.m) continue;
        const int tile = in_cta >> 4;
        float sum = 0.f;
        for (int w = 0; w < k_warps; ++w) sum += partial[partial_index(tile * k_warps + w, tile, in_cta & 15, column)];
        if (gridDim.y == 1)
            finish(p, row, column, sum);
        else
            reinterpret_cast<float*>(p.partials)[(uint64_t(blockIdx.y) * p.m + column) * padded + row] = sum;
    }
    if (gridDim.y == 1) return;

    // Last arrival: every CTA publishes its partials, then counts itself; the one that completes the count has all.
    uint32_t* counter = reinterpret_cast<uint32_t*>(p.counters) + blockIdx.x;
    __threadfence();
    __syncthreads();
    if (threadIdx.x == 0) last = atomicAdd(counter, 1u) == gridDim.y - 1;
    __syncthreads();
    if (!last) return;
    __threadfence();
    for (int i = threadIdx.x; i < cta_rows * int(p.m); i += kWarps * 32) {
        const int column = i >> cta_log2;
        const uint32_t row = first_row + (i & (cta_rows - 1));
        if (row >= p.n) continue;
        float sum = 0.f;
        for (uint32_t s = 0; s < gridDim.y; ++s)
            sum += __ldcg(reinterpret_cast<const float*>(p.partials) + (uint64_t(s) * p.m + column) * padded + row);
        finish(p, row, column, sum);
    }
    if (threadIdx.x == 0) *counter = 0;
}

// ---- the kernel ---------------------------------------------------------------------------------------------------

// A format (W4, W8) has
//   kLockstep                       whether two blocks may be multiplied at once: one sum each, scaled at their end
//   kTileK, kStepsPerGroup          k of a 512-byte tile; steps of 16 k after which a sum is scaled
//   Weights                         a block, two tiles, as loaded: codes[2], scales
//   load_codes, load_scales         from a number of blocks ahead of the current one; advance
//   Sums, begin, step, end          the sum of one group: start, multiply 16 k, scale into y
// N blocks are multiplied in lockstep, which hides the latency of one chain of products behind the other; the order of
// sums into y is that of one block after the other.
template <class T>
__device__ __forceinline__ T (&one(T& t))[1] {
    return reinterpret_cast<T(&)[1]>(t);
}

template <int N, class Format>
__device__ __forceinline__ void multiply_run(const Format& format, int run, const typename Format::Weights (&w)[N],
                                             const XRun (&x)[N], typename Format::Sums (&sums)[N], float (&y)[4]) {
    constexpr int kSteps = Format::kStepsPerGroup;
#pragma unroll
    for (int s = 2 * run; s < 2 * run + 2; ++s) {
        if (s % kSteps == 0)
#pragma unroll
            for (int i = 0; i < N; ++i) format.begin(sums[i], w[i], s / kSteps);
#pragma unroll
        for (int i = 0; i < N; ++i) format.step(sums[i], w[i], s, x[i].b(s, 0), x[i].b(s, 1));
        if ((s + 1) % kSteps == 0)
#pragma unroll
            for (int i = 0; i < N; ++i) format.end(sums[i], w[i], s / kSteps, y);
    }
}

template <class Format>
__device__ __forceinline__ void skinny(const SkinnyParams& p) {
    constexpr int kBlockK = 2 * Format::kTileK, kBlockBytes = 2 * kBlockK;  // bytes of x
    constexpr int kRuns = kBlockK / 32, kTileRuns = kRuns / 2, kRunBytes = 64;
    static_assert(2 * kBlockBytes <= sizeof(kZeroLine), "two blocks of x are read from one pointer");
    const int lane = threadIdx.x & 31, warp = threadIdx.x >> 5, g = lane >> 2, t = lane & 3;
    const uint32_t k_warps = 1u << p.k_warps_log2;
    const uint32_t row_tile = blockIdx.x * (kWarps >> p.k_warps_log2) + (warp >> p.k_warps_log2);
    float y[4] = {0.f, 0.f, 0.f, 0.f};

    if (row_tile < p.row_tiles) {
        const int part = blockIdx.y * k_warps + (warp & (k_warps - 1)), longer = p.longer_parts;
        const int begin = part * int(p.part_blocks) + min(part, longer);
        int end = begin + int(p.part_blocks) + (part < longer);
        // The end of the blocks whose x can be read 16 bytes at a time, and how many of them are left; may be negative.
        const auto whole_end = [&](int end) { return min(end, p.x_aligned ? int(p.k / kBlockK) : 0); };
        const int whole = whole_end(end);
        int left = whole - begin;

        const bool present = g < p.m;
        const uint8_t* x =
            reinterpret_cast<const uint8_t*>(p.x) + g * p.x_stride * 2 + uint64_t(begin) * kBlockBytes + 16 * t;
        if (!present) x = reinterpret_cast<const uint8_t*>(kZeroLine);

        Format format(p, row_tile, begin, lane);
        typename Format::Weights w[2];
        typename Format::Sums sums[2];
        XRun xs[2];
#pragma unroll
        for (int i = 0; i < 2; ++i) {
            format.load_codes(w[i], 0, i, i < left);
            format.load_codes(w[i], 1, i, i < left);
            format.load_scales(w[i], i, begin + i, i < left);
        }
        if (present) x -= 2 * kBlockBytes;
#pragma unroll 1
        for (; left >= 2; left -= 2) {
            const bool next[2] = {left > 2, left > 3};
            format.advance(2);
            if (present) advance(x, 2 * kBlockBytes);
            if constexpr (Format::kLockstep) {
#pragma unroll
                for (int run = 0; run < kRuns; ++run) {
                    xs[0].load(x + run * kRunBytes);
                    xs[1].load(x + run * kRunBytes + kBlockBytes);
                    multiply_run(format, run, w, xs, sums, y);
                    if (run % kTileRuns == kTileRuns - 1)
#pragma unroll
                        for (int i = 0; i < 2; ++i) format.load_codes(w[i], run / kTileRuns, i, next[i]);
                    if (run == kTileRuns - 1) __syncwarp();
                }
            } else {
#pragma unroll
                for (int i = 0; i < 2; ++i) {
#pragma unroll
                    for (int run = 0; run < kRuns; ++run) {
                        xs[0].load(x + run * kRunBytes + i * kBlockBytes);
                        multiply_run(format, run, one(w[i]), one(xs[0]), one(sums[0]), y);
                        if (run % kTileRuns == kTileRuns - 1) format.load_codes(w[i], run / kTileRuns, i, next[i]);
                        if (i == 0 && run == kRuns - 1) __syncwarp();
                    }
                }
            }
#pragma unroll
            for (int i = 0; i < 2; ++i) format.load_scales(w[i], i, whole - left + 2 + i, next[i]);
        }
        if (present) x += 2 * kBlockBytes;
        // The last block if they are odd, and the blocks whose x needs care. `end` is all that the loop above keeps.
        asm volatile("" : "+r"(end));
        int block = whole_end(end) - left;
#pragma unroll 1
        for (; block < end; ++block, --left) {
            const bool is_whole = left > 0;
#pragma unroll
            for (int tile = 0; tile < 2; ++tile) {
                if (!is_whole) w[0].codes[tile] = make_uint4(0, 0, 0, 0);
                format.load_codes(w[0], tile, 0, !is_whole && 2 * block + tile < int(p.tiles));
            }
            format.load_scales(w[0], 0, block, !is_whole);
#pragma unroll
            for (int run = 0; run < kRuns; ++run) {
                const int elements = int(p.k) - block * kBlockK - run * 32 - 8 * t;
                xs[0].load_guarded(x + run * kRunBytes, elements, p.x_aligned);
                multiply_run(format, run, one(w[0]), one(xs[0]), one(sums[0]), y);
                __syncwarp();  // keeps the loads of the next run, and their registers, behind
            }
            if (present) advance(x, kBlockBytes);
            format.advance(1);
        }
    }
#pragma unroll
    for (int i = 0; i < 4; ++i) y[i] *= Format::unit(i >> 1);
    reduce_and_store(p, y);
}

}  // namespace lowbit
