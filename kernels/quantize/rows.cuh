// Quantize with a scale per row or per group of a row: statistics and codes in one launch, each element read once.
//
//   for each segment (a row, or `segment` consecutive elements of it):
//     scale = that of the segment's extremes;   codes = encode(x, scale)
//
// Bounded by bytes: 2 or 4 in and at most 1 out per element.
// 1. A power of two of lanes share a segment; a lane takes chunks of 16 bytes, as many chunks apart as there are
//    lanes, so that neighbouring lanes read neighbouring chunks. Segments of a row lie side by side in a block, and
//    rows below each other. More than 32 lanes are a block of their own.
// 2. A lane's chunks, up to kHeld, wait in registers between statistics and codes, all in flight at once. A block of
// 512
//    so holds rows of 32768 16-bit numbers, or 16384 of f32.
// 3. Statistics work on pairs as they lie (extremes.cuh), codes mostly without division (fast.cuh).
// 4. What is left goes by a slower way with the same results: longer rows, ragged or misaligned ones, and segments with
//    a NaN or magnitudes above 65504. It reads x again for the codes.
#pragma once
#include <type_traits>

#include "quantize/extremes.cuh"
#include "quantize/fast.cuh"

namespace lowbit {

constexpr int kMostThreads = 512;
constexpr int kHeld = 8;

// One segment as this lane sees it.
template <typename T>
struct Segment {
    const T* x;      // the lane's first chunk
    uint8_t* codes;  // its codes
    uint64_t region;
    uint32_t mine;  // chunks of this lane; none where there is no segment
    bool first;     // the lane that stores the scale
};

template <typename T>
__device__ inline T* advance(T* p, uint64_t bytes) {
    return reinterpret_cast<T*>(reinterpret_cast<uint64_t>(p) + bytes);
}

// Codes and stores the chunks of a lane: fast where the encoder has a way, and what it is not sure of exactly. For that
// the held chunks move down the registers, so that the loop is one and reads nothing again.
template <int kSlots, typename T, typename Code>
__device__ inline void store_held(const QuantizeParams& p, const Segment<T>& s, Chunk<T> (&held)[kSlots],
                                  const Scale<Code>& scale, const Encoder<T, Code>& encoder) {
    uint32_t unsure = (1u << s.mine) - 1u;
    if constexpr (Encoder<T, Code>::kFast) {
        if (encoder.usable()) {
            unsure = 0;
            uint8_t* codes = s.codes;
#pragma unroll
            for (int k = 0; k < kSlots; ++k) {
                if (k >= s.mine) break;
                uint64_t word;
                if (!encoder.fast(held[k], word)) unsure |= 1u << k;
                store_word<Code, kChunk<T>>(codes, word);
                codes += p.code_bytes;
            }
            if constexpr (Encoder<T, Code>::kSure) return;
        }
    }
    uint8_t* codes = s.codes;
#pragma unroll 1
    for (; unsure != 0; unsure >>= 1) {
        if (unsure & 1u) store_word<Code, kChunk<T>>(codes, encode_exact(held[0], scale));
        codes += p.code_bytes;
#pragma unroll
        for (int k = 1; k < kSlots; ++k) held[k - 1] = held[k];
    }
}

// False, with nothing stored, when a segment of the warp (or the block, which then is one segment) has numbers that are
// not ordinary.
template <int kSlots, typename T, typename Code>
__device__ inline bool quantize_held(const QuantizeParams& p, const Segment<T>& s, uint32_t round) {
    Chunk<T> held[kSlots];
    const T* x = s.x;
    held[0] = {};
#pragma unroll
    for (int k = 0; k < kSlots; ++k) {
        if (k >= s.mine) break;
        held[k] = load_chunk(x, kChunk<T>, true);
        x = advance(x, p.chunk_bytes);
    }
    Gather<T, Code::kAsymmetric> gather;
    gather.first(held[0]);
#pragma unroll
    for (int k = 1; k < kSlots; ++k) {
        if (k >= s.mine) break;
        gather.next(held[k]);
    }
    Extremes e = reduce<Code::kAsymmetric>(gather.result(), p.lanes_log2, round);
    const bool ordinary = e.high <= kLimit && (!Code::kAsymmetric || e.low >= -kLimit);
    if (!__all_sync(0xFFFFFFFFu, ordinary)) return false;

    e = {Code::kAsymmetric ? __fmul_rn(e.low, p.clip) : 0.0f, __fmul_rn(e.high, p.clip)};
    const Scale<Code> scale = Scale<Code>::make(p, s.region, e, s.first);
    if (s.mine != 0) store_held<kSlots, T, Code>(p, s, held, scale, Encoder<T, Code>(scale, e.high, p.clip));
    return true;
}

// `length`: elements of the segment from this lane's first on; none where there is no segment.
template <typename T, typename Code>
__device__ inline void quantize_plain(const QuantizeParams& p, const Segment<T>& s, uint32_t length, uint32_t round) {
    constexpr int kN = kChunk<T>;
    const uint32_t step = p.chunk_bytes / sizeof(T);
    const bool aligned = p.aligned != 0;
    Extremes e = {INFINITY, -INFINITY};
    Scale<Code> scale;
#pragma unroll 1
    for (int pass = 0; pass < 2; ++pass) {
#pragma unroll 1
        for (uint32_t at = 0; at < length; at += step) {
            const Chunk<T> chunk = load_chunk(s.x + at, length - at, aligned);
            if (pass == 0) {
#pragma unroll
                for (int i = 0; i < kN; ++i) {
                    if (at + i >= length) break;
                    const float y = sanitize(to_f32(chunk.value[i]));
                    e = {fminf(e.low, y), fmaxf(e.high, y)};
                }
            } else {
                uint32_t code[kN];
#pragma unroll
                for (int i = 0; i < kN; ++i) code[i] = scale.encode(to_f32(chunk.value[i]));
                store_codes<Code>(s.codes + at * Code::kBits / 8, length - at, aligned, code);
            }
        }
        if (pass == 0) {
            e = reduce<true>(e, p.lanes_log2, round);
            e = {__fmul_rn(e.low, p.clip), __fmul_rn(e.high, p.clip)};
            scale = Scale<Code>::make(p, s.region, e, s.first);
        }
    }
}

template <int kSlots, typename T, typename Code>
__device__ inline void quantize_rows(const QuantizeParams& p) {
    constexpr int kN = kChunk<T>;
    const uint32_t slot = threadIdx.x >> p.lanes_log2;
    uint32_t lane = threadIdx.x & ((1u << p.lanes_log2) - 1u);
    const uint32_t down = blockDim.x >> p.lanes_log2 >> p.across_log2;
    const uint32_t segment = (blockIdx.x << p.across_log2) + (slot & ((1u << p.across_log2) - 1u));
    const uint32_t col = segment * p.segment + lane * kN;
    const uint32_t length = segment < p.per_row && lane * kN < p.segment ? p.segment - lane * kN : 0;
    uint32_t mine = (length + (kN << p.lanes_log2) - 1) / kN >> p.lanes_log2;
    asm("" : "+r"(lane), "+r"(mine));  // once, not again for every row
    uint32_t row = blockIdx.y * down + (slot >> p.across_log2), round = 0;
    Segment<T> s = {
        reinterpret_cast<const T*>(p.x) + row * p.row_stride + col,
        reinterpret_cast<uint8_t*>(p.codes) + row * p.row_bytes + static_cast<uint64_t>(col) * Code::kBits / 8,
        static_cast<uint64_t>(row) * p.per_row + segment, mine, false};
    for (uint32_t top = blockIdx.y * down; top < p.rows; top += p.below) {
        const bool real = row < p.rows;
        s.mine = real ? mine : 0;
        s.first = s.mine != 0 && lane == 0;
        const bool done = p.slots != 0 && quantize_held<kSlots, T, Code>(p, s, round++);
        if (!done) quantize_plain<T, Code>(p, s, real ? length : 0, round++);
        row += p.below;
        s.x = advance(s.x, p.x_step);
        s.codes += p.codes_step;
        s.region += p.region_step;
    }
}

}  // namespace lowbit

// An instance: input type x code. quantize_blocks_* for the formats whose blocks are short, with few registers.
#define INSTANCE(name, slots, T, Code)                                                      \
    extern "C" __global__ void __launch_bounds__(slots > 4 ? lowbit::kMostThreads : 256, 1) \
        name(const __grid_constant__ lowbit::QuantizeParams p) {                            \
        lowbit::quantize_rows<slots, T, lowbit::Code>(p);                                   \
    }
#define ROWS_OF(code, Code)                                         \
    INSTANCE(quantize_rows_f32_##code, lowbit::kHeld, float, Code)  \
    INSTANCE(quantize_rows_f16_##code, lowbit::kHeld, __half, Code) \
    INSTANCE(quantize_rows_bf16_##code, lowbit::kHeld, __nv_bfloat16, Code)
#define BLOCKS_OF(code, Code)                             \
    INSTANCE(quantize_blocks_f32_##code, 4, float, Code)  \
    INSTANCE(quantize_blocks_f16_##code, 4, __half, Code) \
    INSTANCE(quantize_blocks_bf16_##code, 4, __nv_bfloat16, Code)
