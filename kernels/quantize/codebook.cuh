// Codebook coding of rows of up to 256 columns: what one group of lanes does with one row. src/reference/codebook.rs is
// the definition.
//
// A row belongs to `lanes` neighbouring lanes, a power of two, lane l with channels 8 l .. 8 l + 8: (T, V8) -> channel
// 8 T + V. Every lane of a warp makes every call; lanes without columns have count 0.
#pragma once
#include "common/element.cuh"
#include "quantize/code.cuh"
#include "quantize/transform.cuh"

namespace lowbit {

enum class Spread : uint32_t { kChannel = 0, kRow = 1, kNorm = 2 };

constexpr int kCodebookThreads = 256;
constexpr int kMaxSlots = 8;
constexpr uint32_t kNoChannel = 255;
constexpr uint16_t kNoValue = 0x7E00;  // NaN: the slot is unused

struct CodebookParams {
    uint64_t x;        // T[rows, row_stride]: read by quantize, written by dequantize
    uint64_t codes;    // u8[rows, row_bytes]
    uint64_t range;    // f16[heads, cols], or f16[rows]
    uint64_t zero;     // likewise; 0: no centre
    uint64_t channel;  // u8[rows, slots]
    uint64_t value;    // f16[rows, slots]
    uint64_t row_stride;
    uint32_t rows;
    uint32_t cols;
    uint32_t heads;  // kChannel: row r is of head r % heads, and the grid's rows are a multiple of it
    uint32_t slots;
    uint32_t lanes;
    uint32_t aligned;  // bit 0: every eight elements are 16-byte aligned; 1: codes go by words; 2: the table is shared
    TransformParams transform;
    float levels[16];
    float thresholds[16];  // the last is not one: the limit of the search
};
static_assert(sizeof(CodebookParams) == 240 && offsetof(CodebookParams, transform) == 80 &&
                  offsetof(CodebookParams, levels) == 112,
              "CodebookParams is shared with Rust");

// Tables in shared memory: 16 words lie in 16 banks, so lanes that look up different entries do not collide.
struct Book {
    float level[16], threshold[16];

    __device__ inline void load(const CodebookParams& p) {
        if (threadIdx.x < 16) {
            level[threadIdx.x] = p.levels[threadIdx.x];
            threshold[threadIdx.x] = p.thresholds[threadIdx.x];
        }
    }

    // The first of the levels nearest to z: the number of thresholds not above it; beyond the limit, where rounded
    // distances no longer tell levels apart, by comparing them all.
    template <int Bits>
    __device__ inline uint32_t nearest(float z) const {
        uint32_t index = 0;
#pragma unroll
        for (int step = 1 << (Bits - 1); step > 0; step /= 2)
            if (z >= threshold[index + step - 1]) index += step;
        if (fabsf(z) > threshold[15]) {
            float least = INFINITY;
#pragma unroll 1
            for (int i = 0; i < 1 << Bits; ++i) {
                const float distance = fabsf(__fsub_rn(z, level[i]));
                if (distance < least) least = distance, index = i;
            }
        }
        return index;
    }
};

// A magnitude as an integer in the same order, or -1, and its channel.
struct Candidate {
    int key;
    uint32_t channel;
    __device__ inline bool before(const Candidate& other) const {
        return key > other.key || (key == other.key && channel < other.channel);
    }
};

// The row's first candidate: largest key, ties to the lower channel.
__device__ inline Candidate first(const int (&key)[8], uint32_t lane, uint32_t lanes) {
    Candidate best = {key[0], 8 * lane};
#pragma unroll
    for (int i = 1; i < 8; ++i)
        if (key[i] > best.key) best = {key[i], 8 * lane + i};
    for (uint32_t offset = 1; offset < lanes; offset *= 2) {
        const Candidate other = {__shfl_xor_sync(0xFFFFFFFFu, best.key, offset),
                                 __shfl_xor_sync(0xFFFFFFFFu, best.channel, offset)};
        if (other.before(best)) best = other;
    }
    return best;
}

__device__ inline void take(int (&key)[8], uint32_t lane, uint32_t channel) {
#pragma unroll
    for (int i = 0; i < 8; ++i)
        if (channel == 8 * lane + i) key[i] = -1;
}

__device__ inline int magnitude(float x) { return __float_as_int(x) & 0x7FFFFFFF; }

struct Extent {
    __half range, zero;
};

// kRow: half width and centre of the row without its `slots` largest magnitudes.
__device__ inline Extent extent(const float (&x)[8], int count, uint32_t lane, uint32_t lanes, uint32_t slots) {
    int key[8];
#pragma unroll
    for (int i = 0; i < 8; ++i) key[i] = i < count ? magnitude(x[i]) : -1;
    for (uint32_t s = 0; s < slots; ++s) take(key, lane, first(key, lane, lanes).channel);
    float low = INFINITY, high = -INFINITY;
#pragma unroll
    for (int i = 0; i < 8; ++i) {
        if (key[i] < 0) continue;
        low = fminf(low, x[i]);
        high = fmaxf(high, x[i]);
    }
    for (uint32_t offset = 1; offset < lanes; offset *= 2) {
        low = fminf(low, __shfl_xor_sync(0xFFFFFFFFu, low, offset));
        high = fmaxf(high, __shfl_xor_sync(0xFFFFFFFFu, high, offset));
    }
    if (low > high) low = high = 0.0f;
    return {__float2half_rn(__fadd_rn(__fmul_rn(__fsub_rn(high, low), 0.5f), 0.0f)),
            __float2half_rn(__fadd_rn(__fmul_rn(__fadd_rn(high, low), 0.5f), 0.0f))};
}

// kNorm: the root of the mean of the squares, summed in the reference's order.
__device__ inline __half norm(const float (&x)[8], const CodebookParams& p) {
    float sum = 0.0f;
#pragma unroll
    for (int i = 0; i < 8; ++i) sum = __fadd_rn(sum, __fmul_rn(x[i], x[i]));
    for (uint32_t offset = 1; offset < p.lanes; offset *= 2)
        sum = __fadd_rn(sum, __shfl_xor_sync(0xFFFFFFFFu, sum, offset));
    return __float2half_rn(__fsqrt_rn(__fdiv_rn(sum, static_cast<float>(p.cols))));
}

// Codes of a row, least significant bits first. Four lanes' eights of 3 bits are three words: lane j < 3 of a quad
// stores word j = its own bits from 8 j on and the next lane's below.
template <int Bits>
__device__ inline void store_row(uint8_t* row, uint32_t lane, int count, bool words, const uint32_t (&q)[8]) {
    uint32_t mine = 0;
#pragma unroll
    for (int i = 0; i < 8; ++i) mine |= q[i] << (Bits * i);
    const uint32_t next = Bits == 3 ? __shfl_down_sync(0xFFFFFFFFu, mine, 1) : 0;
    if (count <= 0) return;
    if (words) {
        if constexpr (Bits == 4) reinterpret_cast<uint32_t*>(row)[lane] = mine;
        if constexpr (Bits == 2) reinterpret_cast<uint16_t*>(row)[lane] = static_cast<uint16_t>(mine);
        if constexpr (Bits == 3) {
            const uint32_t j = lane % 4;
            if (j < 3) reinterpret_cast<uint32_t*>(row)[lane / 4 * 3 + j] = mine >> (8 * j) | next << (24 - 8 * j);
        }
    } else {
#pragma unroll
        for (int i = 0; i < Bits; ++i)
            if (8 * i < Bits * count) row[Bits * lane + i] = static_cast<uint8_t>(mine >> (8 * i));
    }
}

// The counterpart. Lane j of a quad takes the upper bits of word j - 1 and the lower ones of word j.
template <int Bits>
__device__ inline void load_row(const uint8_t* row, uint32_t lane, int count, bool words, uint32_t (&q)[8]) {
    uint32_t mine = 0;
    if (words) {
        if constexpr (Bits == 4) mine = count > 0 ? __ldg(reinterpret_cast<const uint32_t*>(row) + lane) : 0;
        if constexpr (Bits == 2) mine = count > 0 ? __ldg(reinterpret_cast<const uint16_t*>(row) + lane) : 0;
        if constexpr (Bits == 3) {
            const uint32_t j = lane % 4;
            if (count > 0 && j < 3) mine = __ldg(reinterpret_cast<const uint32_t*>(row) + lane / 4 * 3 + j);
            const uint32_t before = __shfl_up_sync(0xFFFFFFFFu, mine, 1);
            mine = j == 0 ? mine : before >> (32 - 8 * j) | mine << (8 * j);
        }
    } else {
#pragma unroll
        for (int i = 0; i < Bits; ++i)
            if (8 * i < Bits * count) mine |= static_cast<uint32_t>(row[Bits * lane + i]) << (8 * i);
    }
#pragma unroll
    for (int i = 0; i < 8; ++i) q[i] = mine >> (Bits * i) & ((1u << Bits) - 1u);
}

}  // namespace lowbit
