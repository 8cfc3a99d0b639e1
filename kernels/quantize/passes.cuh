// What the elementwise passes share: where a thread works, and the scales of its chunk.
//
// A thread owns one chunk of columns (blockIdx.x * kBlock + threadIdx.x along a row) and the `p.block_rows` rows from
// blockIdx.y * p.block_rows on. The element type is switched at the kernel's edge.
#pragma once
#include "common/element.cuh"
#include "quantize/scale.cuh"

namespace lowbit {

constexpr int kBlock = 256;

// The rows and columns of this thread; columns none when `count` is not positive.
template <typename T>
struct Place {
    uint32_t col, row, end;
    int count;

    __device__ inline explicit Place(const QuantizeParams& p) {
        const uint64_t at = kChunk<T> * (static_cast<uint64_t>(blockIdx.x) * kBlock + threadIdx.x);
        col = static_cast<uint32_t>(at);
        count = at < p.cols ? static_cast<int>(p.cols - col) : 0;
        row = blockIdx.y * p.block_rows;
        end = min(row + p.block_rows, p.rows);
    }
    __device__ inline T* x(const QuantizeParams& p, uint64_t row) const {
        return reinterpret_cast<T*>(p.x) + row * p.row_stride + col;
    }
    template <typename Code>
    __device__ inline uint8_t* codes(const QuantizeParams& p, uint64_t row) const {
        return reinterpret_cast<uint8_t*>(p.codes) + row * p.row_bytes + static_cast<uint64_t>(col) * Code::kBits / 8;
    }
};

// Numbers of a block's columns between threads that hold chunks of them and threads that hold every 256th: number
// `at` of a column, so padded that neither way of going through them meets a bank twice.
template <int N>
struct ByColumn {
    static constexpr int kPitch = kBlock + 32 / N;
    static __device__ inline uint32_t at(uint32_t column) { return column % N * kPitch + column / N; }
};
constexpr uint32_t kHeldScales = 8 * ByColumn<8>::kPitch;
static_assert(4 * ByColumn<4>::kPitch <= kHeldScales, "chunks of f32 have fewer columns");

// Shared by all types of a kernel.
template <int kWhich>
__device__ inline float (&held_scales()) [kHeldScales] {
    __shared__ float held[kHeldScales];
    return held;
}

// Scales of the N columns of a thread. A block reads those of its columns together, in whole sectors and each once: in
// one go as many of its rows' as it can hold. Chunks lie within groups, whose sizes are multiples of 8. Every thread of
// the block makes every call.
template <typename Code, int N>
class ChunkScales {
  public:
    // `end`: that of the block's rows.
    __device__ inline ChunkScales(const QuantizeParams& p, uint32_t col, int count, uint32_t end)
        : per_column_(p.axis == Axis::kColumn || p.axis == Axis::kTokenGroup), count_(count), end_(end) {
        const uint32_t left = blockIdx.x * (kBlock * N), width = min(p.cols - left, kBlock * N);
        switch (p.axis) {
            case Axis::kTensor:
                break;
            case Axis::kRow:
                rows_ = 1, step_ = 1;
                break;
            case Axis::kGroup:
                rows_ = 1, step_ = p.per_row;
                first_ = left / p.segment;
                across_ = (left + width - 1) / p.segment + 1 - first_;
                mine_ = col / p.segment - first_;
                break;
            case Axis::kTokenGroup:
                rows_ = p.segment, step_ = p.cols;
                [[fallthrough]];
            case Axis::kColumn:
                first_ = left;
                across_ = width;
        }
    }

    __device__ inline void at(const QuantizeParams& p, uint32_t row) {
        const uint32_t line = line_of(row);
        if (line == line_) return;
        line_ = line;
        if (line >= held_end_) hold(p, line);
        if (count_ <= 0) return;
        const float* scales = held_scales<0>();
        const float* mins = Code::kAsymmetric ? held_scales<1>() : nullptr;
        const auto get = [&](uint32_t at) { return Scale<Code>{scales[at], Code::kAsymmetric ? mins[at] : 0.0f, 0}; };
        if (!per_column_) {
            scale[0] = get((line - held_) * across_ + mine_);
#pragma unroll
            for (int i = 1; i < N; ++i) scale[i] = scale[0];
        } else {
#pragma unroll
            for (int i = 0; i < N; ++i) scale[i] = i < count_ ? get(i * ByColumn<N>::kPitch + threadIdx.x) : scale[0];
        }
    }

    Scale<Code> scale[N];

  private:
    __device__ inline uint32_t line_of(uint32_t row) const { return rows_ == 1 ? row : row / rows_; }

    __device__ inline void hold(const QuantizeParams& p, uint32_t line) {
        const uint32_t lines = per_column_ ? 1 : min(kHeldScales / across_, line_of(end_ - 1) + 1 - line);
        __syncthreads();
#pragma unroll 1
        for (uint32_t i = threadIdx.x; i < lines * across_; i += kBlock) {
            const uint32_t down = i / across_;
            const Scale<Code> s =
                Scale<Code>::load(p, static_cast<uint64_t>(line + down) * step_ + first_ + (i - down * across_));
            const uint32_t at = per_column_ ? ByColumn<N>::at(i) : i;
            held_scales<0>()[at] = s.scale;
            if constexpr (Code::kAsymmetric) held_scales<1>()[at] = s.min;
        }
        __syncthreads();
        held_ = line;
        held_end_ = line + lines;
    }

    bool per_column_;
    int count_;
    uint32_t end_;
    // Lines of regions: one for every `rows_` rows, `step_` apart; of each the block has `across_` from `first_` on.
    uint32_t rows_ = ~0u, step_ = 0, first_ = 0, across_ = 1, mine_ = 0;
    uint32_t line_ = ~0u, held_ = 0, held_end_ = 0;
};

}  // namespace lowbit

// A kernel whose body is a template of the element type, a field of the parameters, and of the code. Three blocks a
// multiprocessor are enough: left alone, ptxas may spill for a fourth.
#define KERNEL(name, body, Code)                                     \
    extern "C" __global__ void __launch_bounds__(lowbit::kBlock, 3)  \
        name(const __grid_constant__ lowbit::QuantizeParams p) {     \
        switch (p.dtype) {                                           \
            case lowbit::DType::F32:                                 \
                return lowbit::body<float, lowbit::Code>(p);         \
            case lowbit::DType::F16:                                 \
                return lowbit::body<__half, lowbit::Code>(p);        \
            case lowbit::DType::Bf16:                                \
                return lowbit::body<__nv_bfloat16, lowbit::Code>(p); \
        }                                                            \
    }
