// nvcc: -fmad=false
// Quantize with a scale per group of tokens of one column (KIVI's keys), in one launch that reads x once.
//
//   for each group of `segment` rows, each column:  scale = that of the column's extremes;  codes = encode(x, scale)
//
// Bounded by bytes: 2 or 4 in and at most 1 out per element.
// 1. A block takes 8 chunks (128 bytes) of every row of a group: lane % 8 is the chunk, slots 32 rows apart are a
//    thread's. Chunks wait in shared memory, all in flight at once, each for the thread that asked for it.
// 2. Extremes of pairs of columns as they lie (extremes.cuh): over a thread's rows, over the 4 rows of a warp by
//    shuffles, over the 8 warps in shared memory, where one thread a word makes the scales. A column with a NaN or
//    magnitudes above 65504 is gone through again there.
// 3. Codes by fixed point where the code has it (fast.cuh), with a scale for each of a chunk's columns.
// 4. Where 8 chunks have less than a sector of codes, a block goes through `kTurns` times 8 chunks one after the other,
// and
//    their codes wait in shared memory until each row has a whole sector.
// 5. Columns lie in shared arrays as [place in the chunk][chunk], so padded that neither way of reading them meets a
//    bank twice.
#include "common/cp_async.cuh"
#include "quantize/extremes.cuh"
#include "quantize/fast.cuh"
#include "quantize/passes.cuh"

namespace lowbit {

constexpr int kAcross = 8;               // chunks of a row
constexpr int kDown = kBlock / kAcross;  // rows at once
constexpr int kWarps = kBlock / 32;

// Bytes of codes of a chunk, and tiles that fill a sector with them.
template <typename T, typename Code>
constexpr int kUnit = kChunk<T> * Code::kBits / 8;
template <typename T, typename Code>
constexpr int kTurns = kAcross * kUnit<T, Code> < 32 ? 32 / (kAcross * kUnit<T, Code>) : 1;

template <int N>
struct Columns {
    static constexpr int kPitch = N == 8 ? 12 : 8;
    float scale[N * kPitch], min[N * kPitch], r[N * kPitch], c[N * kPitch];
};

// Whether a code has a fixed-point way.
template <typename Code>
constexpr bool kFixed = false;
template <int Bits>
constexpr bool kFixed<Signed<Bits>> = true;
template <int Bits>
constexpr bool kFixed<Unsigned<Bits>> = true;

// Extremes of sanitized numbers of one column of the tile.
template <typename T>
__device__ inline Extremes column_extremes(const T* tile, uint32_t rows, Extremes e) {
    if (e.low >= -kLimit && e.high <= kLimit) return e;
    e = {INFINITY, -INFINITY};
#pragma unroll 1
    for (uint32_t row = 0; row < rows; ++row) {
        const float y = sanitize(to_f32(tile[row * (kAcross * kChunk<T>)]));
        e = {fminf(e.low, y), fmaxf(e.high, y)};
    }
    return e;
}

template <typename T, typename Code>
class Tokens {
    static constexpr int kN = kChunk<T>, kPitch = Columns<kN>::kPitch;
    static constexpr int kBytes = kUnit<T, Code>;
    static constexpr bool kStages = kTurns<T, Code> > 1;
    static constexpr int kRowBytes = kTurns<T, Code> * kAcross * kBytes;  // of a staged row
    using W = Word<T>;
    using Pair = typename W::Type;
    static constexpr int kEach = sizeof(Pair) / sizeof(T);  // columns of a word

  public:
    // `staged`: [segment][kRowBytes], where codes wait.
    __device__ inline Tokens(const QuantizeParams& p, uint8_t* staged)
        : p_(p), staged_(staged), lane_(threadIdx.x % kAcross), slot_(threadIdx.x / kAcross) {}

    __device__ inline void group(uint32_t group, Chunk<T>* tile, Pair (&part)[kWarps][2][32], Columns<kN>& columns) {
#pragma unroll 1
        for (int turn = 0; turn < kTurns<T, Code>; ++turn) {
            turn_ = turn;
            left_ = (static_cast<uint64_t>(blockIdx.x) * kTurns<T, Code> + turn) * (kAcross * kN);
            col_ = left_ + lane_ * kN;
            count_ = col_ < p_.cols ? static_cast<int>(min(p_.cols - col_, static_cast<uint64_t>(kN))) : 0;
            if (left_ >= p_.cols) break;
            load(group, tile);
            extremes(tile, part);
            __syncthreads();
            if (threadIdx.x < 32) make_scales(tile, part, columns);
            __syncthreads();
            store_scales(group, columns);
            if (count_ > 0) code(group, tile, columns);
            __syncthreads();
        }
        if constexpr (kStages) {
            store_staged(group);
            __syncthreads();
        }
    }

  private:
    __device__ inline void load(uint32_t group, Chunk<T>* tile) const {
        const uint64_t first = static_cast<uint64_t>(group) * p_.segment;
        const bool aligned = p_.aligned != 0;
#pragma unroll 1
        for (uint32_t row = slot_; row < p_.segment; row += kDown) {
            const T* x = reinterpret_cast<const T*>(p_.x) + (first + row) * p_.row_stride + col_;
            Chunk<T>* to = tile + row * kAcross + lane_;
            if (aligned && count_ > 0) {
                cp_async_16_if<0, 0>(true, shared_address(to), x);
            } else {
                *to = load_chunk(x, count_, false);
            }
        }
        cp_async_commit();
        cp_async_wait<0>();
    }

    __device__ inline void extremes(const Chunk<T>* tile, Pair (&part)[kWarps][2][32]) const {
        Pair low[4], high[4];
#pragma unroll 1
        for (uint32_t row = slot_; row < p_.segment; row += kDown) {
            const Chunk<T> chunk = tile[row * kAcross + lane_];
            const Pair* word = reinterpret_cast<const Pair*>(&chunk);
#pragma unroll
            for (int w = 0; w < 4; ++w) {
                low[w] = row == slot_ ? word[w] : W::min(low[w], word[w]);
                high[w] = row == slot_ ? word[w] : W::max(high[w], word[w]);
            }
        }
        // Groups are multiples of 8 rows, so the 4 rows of a warp are all there or none of them is.
        if (slot_ >= p_.segment) return;
#pragma unroll
        for (int w = 0; w < 4; ++w) {
#pragma unroll
            for (int offset = kAcross; offset < 32; offset *= 2) {
                low[w] = W::min(low[w], __shfl_xor_sync(0xFFFFFFFFu, low[w], offset));
                high[w] = W::max(high[w], __shfl_xor_sync(0xFFFFFFFFu, high[w], offset));
            }
            if (threadIdx.x % 32 < kAcross) {
                part[threadIdx.x / 32][0][w * kAcross + lane_] = low[w];
                part[threadIdx.x / 32][1][w * kAcross + lane_] = high[w];
            }
        }
    }

    // Thread w * 8 + chunk makes the scales of word w of the chunk.
    __device__ inline void make_scales(const Chunk<T>* tile, const Pair (&part)[kWarps][2][32],
                                       Columns<kN>& columns) const {
        Pair low = part[0][0][threadIdx.x], high = part[0][1][threadIdx.x];
        const uint32_t warps = min(static_cast<uint32_t>(kWarps), p_.segment / 4);
#pragma unroll 1
        for (uint32_t warp = 1; warp < warps; ++warp) {
            low = W::min(low, part[warp][0][threadIdx.x]);
            high = W::max(high, part[warp][1][threadIdx.x]);
        }
#pragma unroll 1
        for (int j = 0; j < kEach; ++j) {
            const int place = static_cast<int>(threadIdx.x / kAcross) * kEach + j;
            const T* column = reinterpret_cast<const T*>(tile) + lane_ * kN + place;
            Extremes e = {j == 0 ? W::low(low) : W::high(low), j == 0 ? W::low(high) : W::high(high)};
            const bool ordinary = e.low >= -kLimit && e.high <= kLimit;
            e = column_extremes(column, p_.segment, e);
            e = {__fmul_rn(e.low, p_.clip), __fmul_rn(e.high, p_.clip)};
            const Scale<Code> scale = Scale<Code>::make(e, 0.0f);
            const int at = place * kPitch + static_cast<int>(lane_);
            columns.scale[at] = scale.scale;
            columns.min[at] = scale.min;
            if constexpr (kFixed<Code>) {
                const FixedPoint<Code, true> fixed(scale);
                columns.r[at] = ordinary ? fixed.r : 0.0f;
                columns.c[at] = fixed.c;
            }
        }
    }

    // Neighbouring threads have neighbouring columns.
    __device__ inline void store_scales(uint32_t group, const Columns<kN>& columns) const {
        if (threadIdx.x >= kAcross * kN || left_ + threadIdx.x >= p_.cols) return;
        const uint32_t at = threadIdx.x % kN * kPitch + threadIdx.x / kN;
        const uint64_t region = static_cast<uint64_t>(group) * p_.cols + left_ + threadIdx.x;
        Scale<Code>{columns.scale[at], columns.min[at]}.store(p_, region);
    }

    __device__ inline void code(uint32_t group, const Chunk<T>* tile, const Columns<kN>& columns) const {
        Scale<Code> scale[kN];
        FixedPoint<Code, true> fixed[kN];
        bool usable = kFixed<Code> && count_ >= kN && p_.aligned != 0;
#pragma unroll
        for (int i = 0; i < kN; ++i) {
            const int at = i * kPitch + static_cast<int>(lane_);
            scale[i] = {columns.scale[at], columns.min[at]};
            if constexpr (kFixed<Code>) {
                fixed[i] = {columns.r[at], columns.c[at]};
                usable &= fixed[i].usable();
            }
        }
        const uint64_t first = static_cast<uint64_t>(group) * p_.segment;
#pragma unroll 1
        for (uint32_t row = slot_; row < p_.segment; row += kDown) {
            const Chunk<T> chunk = tile[row * kAcross + lane_];
            uint8_t* codes =
                kStages ? staged_ + row * kRowBytes + (turn_ * kAcross + lane_) * kBytes
                        : reinterpret_cast<uint8_t*>(p_.codes) + (first + row) * p_.row_bytes + col_ * Code::kBits / 8;
            if constexpr (kFixed<Code>) {
                if (usable) {
                    uint32_t u[kN];
                    bool near = false;
#pragma unroll
                    for (int i = 0; i < kN; ++i) u[i] = fixed[i].number(to_f32(chunk.value[i]), near);
                    store_word<Code, kN>(codes, FixedPoint<Code, true>::pack(u));
                    if (!near) continue;
                }
            }
            uint32_t code[kN];
#pragma unroll
            for (int i = 0; i < kN; ++i) code[i] = scale[i].encode(to_f32(chunk.value[i]));
            store_codes<Code>(codes, count_, kStages || p_.aligned != 0, code);
        }
    }

    // Neighbouring threads store the codes of neighbouring chunks.
    __device__ inline void store_staged(uint32_t group) const {
        constexpr uint32_t kChunks = kTurns<T, Code> * kAcross;
        const uint64_t first = static_cast<uint64_t>(group) * p_.segment;
        const uint32_t chunk = threadIdx.x % kChunks;
        const uint64_t col = (static_cast<uint64_t>(blockIdx.x) * kChunks + chunk) * kN;
        if (col >= p_.cols) return;
        const uint64_t left = p_.cols - col;
#pragma unroll 1
        for (uint32_t row = threadIdx.x / kChunks; row < p_.segment; row += kBlock / kChunks) {
            const uint8_t* from = staged_ + row * kRowBytes + chunk * kBytes;
            uint8_t* to = reinterpret_cast<uint8_t*>(p_.codes) + (first + row) * p_.row_bytes + col * Code::kBits / 8;
            if (left >= kN && p_.aligned != 0) {
                if constexpr (kBytes == 2) *reinterpret_cast<uint16_t*>(to) = *reinterpret_cast<const uint16_t*>(from);
                if constexpr (kBytes == 1) *to = *from;
            } else {
                const int bytes = (static_cast<int>(min(left, static_cast<uint64_t>(kN))) * Code::kBits + 7) / 8;
#pragma unroll 1
                for (int i = 0; i < bytes; ++i) to[i] = from[i];
            }
        }
    }

    const QuantizeParams& p_;
    uint8_t* const staged_;
    const uint32_t lane_, slot_;
    // Of a turn.
    int turn_ = 0;
    uint64_t left_ = 0, col_ = 0;
    int count_ = 0;
};

// What warps exchange, the same place for all types of a kernel: extremes of a warp's rows, then columns.
constexpr int kPartBytes = kWarps * 2 * 32 * 4;
__device__ inline uint8_t (&exchanged()) [kPartBytes + sizeof(Columns<8>)] {
    __shared__ alignas(16) uint8_t bytes[kPartBytes + sizeof(Columns<8>)];
    return bytes;
}

template <typename T, typename Code>
__device__ inline void tokens(const QuantizeParams& p) {
    extern __shared__ uint4 tile[];  // [segment][kAcross], then what is staged
    using Part = typename Word<T>::Type[kWarps][2][32];
    static_assert(sizeof(Part) == kPartBytes && sizeof(Columns<4>) <= sizeof(Columns<8>), "the place is enough");
    Part& part = *reinterpret_cast<Part*>(exchanged());
    Columns<kChunk<T>>& columns = *reinterpret_cast<Columns<kChunk<T>>*>(exchanged() + kPartBytes);
    Tokens<T, Code> tokens(p, reinterpret_cast<uint8_t*>(tile + p.segment * kAcross));
    const uint32_t groups = p.rows / p.segment;
    for (uint32_t group = blockIdx.y; group < groups; group += gridDim.y)
        tokens.group(group, reinterpret_cast<Chunk<T>*>(tile), part, columns);
}

}  // namespace lowbit

KERNEL(quantize_tokens_int8, tokens, Int8)
KERNEL(quantize_tokens_int4, tokens, Int4)
KERNEL(quantize_tokens_int2, tokens, Int2)
KERNEL(quantize_tokens_e4m3, tokens, E4m3)
KERNEL(quantize_tokens_e5m2, tokens, E5m2)
KERNEL(quantize_tokens_uint8, tokens, Uint8)
KERNEL(quantize_tokens_uint4, tokens, Uint4)
KERNEL(quantize_tokens_uint2, tokens, Uint2)
