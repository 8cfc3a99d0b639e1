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

// Scales of the N columns of a thread, loaded when a row brings others. Chunks lie within groups, whose sizes are
// multiples of 8.
template <typename Code, int N>
class ChunkScales {
  public:
    __device__ inline ChunkScales(const QuantizeParams& p, uint32_t col, int count)
        : per_column_(p.axis == Axis::kColumn || p.axis == Axis::kTokenGroup), count_(count) {
        switch (p.axis) {
            case Axis::kTensor:
                break;
            case Axis::kRow:
                step_ = 1;
                break;
            case Axis::kColumn:
                first_ = col;
                break;
            case Axis::kGroup:
                step_ = p.per_row;
                first_ = col / p.segment;
                break;
            case Axis::kTokenGroup:
                rows_ = p.segment;
                step_ = p.cols;
                first_ = col;
        }
    }

    __device__ inline void at(const QuantizeParams& p, uint32_t row) {
        const uint64_t region = (rows_ == 1 ? row : row / rows_) * static_cast<uint64_t>(step_) + first_;
        if (region == region_) return;
        region_ = region;
        scale[0] = Scale<Code>::load(p, region);
#pragma unroll
        for (int i = 1; i < N; ++i) {
            scale[i] = scale[0];
            if (per_column_ && i < count_) scale[i] = Scale<Code>::load(p, region + i);
        }
    }

    Scale<Code> scale[N];

  private:
    bool per_column_;
    int count_;
    uint32_t rows_ = 1, step_ = 0, first_ = 0;
    uint64_t region_ = ~0ull;
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
