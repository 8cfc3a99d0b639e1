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
//    512 so holds rows of 32768 16-bit numbers, or 16384 of f32.
// 3. Statistics work on pairs as they lie (extremes.cuh), codes mostly without division (fast.cuh).
// 4. What the lanes of a warp store at once are whole sectors: where few lanes share a segment, neighbours exchange
//    codes until each has as many neighbouring ones as make 16 bytes (gather.cuh); scales that are bytes meet in shared
//    memory.
// 5. Segments that fill the registers of all their lanes, as whole heads, groups and rows do, go through the same code
//    without its conditions (kFull).
// 6. What is left goes by a slower way with the same results: longer rows, ragged or misaligned ones, and segments with
//    a NaN or magnitudes above 65504. It reads x again for the codes.
#pragma once
#include <type_traits>

#include "quantize/extremes.cuh"
#include "quantize/fast.cuh"
#include "quantize/gather.cuh"

namespace lowbit {

constexpr int kMostThreads = 512;
constexpr int kHeld = 8;

// One segment as this lane sees it.
template <typename T>
struct Segment {
    const T* x;      // the lane's first chunk; some chunk where there is no segment
    uint8_t* codes;  // its codes
    uint64_t region;
    uint32_t mine;   // chunks of this lane; none where there is no segment
    bool first;      // the lane that stores the scale
    uint8_t* block;  // where it leaves one that is a byte
};

template <typename T>
__device__ __forceinline__ T* advance(T* p, uint64_t bytes) {
    return reinterpret_cast<T*>(reinterpret_cast<uint64_t>(p) + bytes);
}

template <typename Code>
constexpr bool kByteScale = Code::kScale == ScaleKind::kE4m3 || Code::kScale == ScaleKind::kE8m0;

template <typename T, typename Code>
__device__ inline void store_scale(const QuantizeParams& p, const Segment<T>& s, const Scale<Code>& scale) {
    if (!s.first) return;
    if constexpr (kByteScale<Code>) {
        *s.block = static_cast<uint8_t>(scale.block);
    } else {
        scale.store(p, s.region);
    }
}

// Codes and stores the chunks of a lane: fast where the encoder has a way, and what it is not sure of exactly. For that
// the held chunks move down the registers, so that the loop is one and reads nothing again. Every lane of a warp comes
// here. Even where there is nothing to ask, a branch after two chunks keeps ptxas from mixing more of them than there
// are registers for.
template <bool kFull, int kSlots, typename T, typename Code>
__device__ inline void store_held(const QuantizeParams& p, const Segment<T>& s, Chunk<T> (&held)[kSlots],
                                  const Scale<Code>& scale, const Encoder<T, Code>& encoder) {
    uint32_t unsure = (1u << s.mine) - 1u;
    if constexpr (Encoder<T, Code>::kFast) {
        if (__all_sync(0xFFFFFFFFu, s.mine == 0 || encoder.usable())) {
            unsure = 0;
            if constexpr (kGathers<T, Code>) {
                constexpr int kOnce = 16 / kUnit<T, Code>;  // chunks in four words
                uint8_t* to = s.codes + static_cast<int32_t>(gathered_at<T, Code>(p));
                const uint32_t most =
                    kFull ? kSlots : (p.segment / kChunk<T> + (1u << p.lanes_log2) - 1) >> p.lanes_log2;
#pragma unroll
                for (int base = 0; base < kSlots; base += kOnce) {
                    if (base >= most) break;
                    uint32_t word[4] = {};  // of chunks that are not there too
#pragma unroll
                    for (int k = base; k < base + kOnce; ++k) {
                        if ((!kFull || k - base == 4) && k >= s.mine) break;
                        uint64_t codes;
                        if (!encoder.fast(held[k], codes)) unsure |= 1u << k;
                        word[k % 4] |= static_cast<uint32_t>(codes) << (k - base) / 4 * 16;
                    }
                    store_gathered<T, Code>(p, to + base * p.code_bytes, s.mine > base ? s.mine - base : 0, word);
                }
                __syncwarp();  // what a lane stores again below, another has stored for it
            } else if (!kFull || s.mine != 0) {
                uint8_t* codes = s.codes;
#pragma unroll
                for (int k = 0; k < kSlots; ++k) {
                    if ((!kFull || k % 2 == 0) && k >= s.mine) break;
                    uint64_t word;
                    if (!encoder.fast(held[k], word)) unsure |= 1u << k;
                    store_word<Code, kChunk<T>>(codes, word);
                    codes += p.code_bytes;
                }
            }
            if constexpr (Encoder<T, Code>::kSure) return;
        }
    }
    if (kFull && (s.mine == 0 || unsure == 0)) return;
    uint8_t* codes = s.codes;
#pragma unroll 1
    for (; unsure != 0; unsure >>= 1) {
        if (unsure & 1u) store_word<Code, kChunk<T>>(codes, encode_exact(held[0], scale));
        codes += p.code_bytes;
#pragma unroll
        for (int k = 1; k < kSlots; ++k) held[k - 1] = held[k];
    }
}

// kFull: every lane has kSlots chunks to read, those without a segment (mine = 0) any.
// False, with nothing stored, when a segment of the warp (or the block, which then is one segment) has numbers that are
// not ordinary.
template <bool kFull, int kSlots, typename T, typename Code>
__device__ inline bool quantize_held(const QuantizeParams& p, const Segment<T>& s, float tensor) {
    Chunk<T> held[kSlots];
    const T* x = s.x;
    if (!kFull) held[0] = {};
#pragma unroll
    for (int k = 0; k < kSlots; ++k) {
        if (!kFull && k >= s.mine) break;
        held[k] = load_chunk(x, kChunk<T>, true);
        x = advance(x, p.chunk_bytes);
    }
    Gather<T, Code::kAsymmetric> gather;
    gather.first(held[0]);
#pragma unroll
    for (int k = 1; k < kSlots; ++k) {
        if (!kFull && k >= s.mine) break;
        gather.next(held[k]);
    }
    Extremes e = reduce<Code::kAsymmetric>(gather.result(), p.lanes_log2);
    const bool ordinary = e.high <= kLimit && (!Code::kAsymmetric || e.low >= -kLimit);
    if (!__all_sync(0xFFFFFFFFu, ordinary)) return false;

    e = {Code::kAsymmetric ? __fmul_rn(e.low, p.clip) : 0.0f, __fmul_rn(e.high, p.clip)};
    const Scale<Code> scale = Scale<Code>::make(e, tensor);
    store_scale(p, s, scale);
    store_held<kFull, kSlots, T, Code>(p, s, held, scale, Encoder<T, Code>(scale, e.high, p.clip));
    return true;
}

// `length`: elements of the segment from this lane's first on; none where there is no segment.
template <typename T, typename Code>
__device__ inline void quantize_plain(const QuantizeParams& p, const Segment<T>& s, uint32_t length, float tensor) {
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
            e = reduce<true>(e, p.lanes_log2);
            e = {__fmul_rn(e.low, p.clip), __fmul_rn(e.high, p.clip)};
            scale = Scale<Code>::make(e, tensor);
            store_scale(p, s, scale);
        }
    }
}

template <int kSlots, typename T, typename Code>
__device__ inline void quantize_rows(const QuantizeParams& p) {
    constexpr int kN = kChunk<T>;
    const uint32_t down = blockDim.x >> p.lanes_log2 >> p.across_log2;
    const bool full = kSlots == kHeld && p.gather != 0 && p.segment == (kSlots * kN) << p.lanes_log2;
    __shared__ uint8_t blocks[kByteScale<Code> ? 256 : 1];
    __shared__ float shared_tensor;
    float tensor = 0.0f;
    if constexpr (Code::kScale == ScaleKind::kE4m3) {
        if (threadIdx.x == 0) shared_tensor = *reinterpret_cast<const float*>(p.min);
        __syncthreads();
        tensor = shared_tensor;
    }
#pragma unroll 1
    for (uint32_t top = blockIdx.y * down; top < p.rows; top += p.below) {
        uint32_t thread = threadIdx.x;
        asm volatile("" : "+r"(thread));  // what follows from it is not kept for the next rows
        const uint32_t slot = thread >> p.lanes_log2, lane = thread & ((1u << p.lanes_log2) - 1u);
        // Of the segment in a slot of the block: its place in the row, and its row.
        const auto place = [&](uint32_t slot) {
            return (blockIdx.x << p.across_log2) + (slot & ((1u << p.across_log2) - 1u));
        };
        const uint32_t segment = place(slot), row = top + (slot >> p.across_log2);
        const uint32_t col = segment * p.segment + lane * kN;
        const bool real = row < p.rows && segment < p.per_row && lane * kN < p.segment;
        const uint32_t length = real ? p.segment - lane * kN : 0;
        const Segment<T> s = {
            reinterpret_cast<const T*>(p.x) + (real ? row * p.row_stride + col : lane * kN),
            reinterpret_cast<uint8_t*>(p.codes) + row * p.row_bytes + static_cast<uint64_t>(col) * Code::kBits / 8,
            static_cast<uint64_t>(row) * p.per_row + segment,
            (length + (kN << p.lanes_log2) - 1) / kN >> p.lanes_log2,
            real && lane == 0,
            blocks + (kByteScale<Code> ? slot : 0)};
        bool done = false;
        if (full) {
            done = quantize_held<true, kSlots, T, Code>(p, s, tensor);
        } else if (p.gather != 0) {
            done = quantize_held<false, kSlots, T, Code>(p, s, tensor);
        }
        if (!done) quantize_plain<T, Code>(p, s, length, tensor);
        if constexpr (kByteScale<Code>) {
            __syncthreads();
            const uint32_t its_row = top + (thread >> p.across_log2), its_place = place(thread);
            if (thread < blockDim.x >> p.lanes_log2 && its_row < p.rows && its_place < p.per_row) {
                const uint64_t region = static_cast<uint64_t>(its_row) * p.per_row + its_place;
                reinterpret_cast<uint8_t*>(p.scale)[region] = blocks[thread];
            }
            __syncthreads();
        }
    }
}

}  // namespace lowbit

// An instance: input type x code. quantize_blocks_* for the formats whose blocks are short, with few registers.
#define INSTANCE(name, slots, T, Code)                                                                  \
    extern "C" __global__ void __maxnreg__(80) name(const __grid_constant__ lowbit::QuantizeParams p) { \
        lowbit::quantize_rows<slots, T, lowbit::Code>(p);                                               \
    }
#define ROWS_OF(code, Code)                                         \
    INSTANCE(quantize_rows_f32_##code, lowbit::kHeld, float, Code)  \
    INSTANCE(quantize_rows_f16_##code, lowbit::kHeld, __half, Code) \
    INSTANCE(quantize_rows_bf16_##code, lowbit::kHeld, __nv_bfloat16, Code)
#define BLOCKS_OF(code, Code)                             \
    INSTANCE(quantize_blocks_f32_##code, 4, float, Code)  \
    INSTANCE(quantize_blocks_f16_##code, 4, __half, Code) \
    INSTANCE(quantize_blocks_bf16_##code, 4, __nv_bfloat16, Code)
