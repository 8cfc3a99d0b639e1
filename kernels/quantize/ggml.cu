// nvcc: -fmad=false
// Rows to blocks of ggml's types and back; optionally transformed first (quantize/transform.cuh).
//
//   for each 32 consecutive elements of a row:  block = header, codes      y = their values
//
// Bounded by bytes. Blocks are numbered through the rows; a quad of lanes has one (ggml.cuh), so that neighbouring
// lanes read neighbouring 16 bytes, and an aligned run of lanes holds whole blocks of a rotation. Blocks of 18 to 34
// bytes pass through shared memory (blocks.cuh).
// targets: lowest
#include "quantize/ggml.cuh"
#include "quantize/transform.cuh"

namespace lowbit {

struct GgmlParams {
    uint64_t x;       // T[rows, row_stride]: read by quantize, written by dequantize
    uint64_t blocks;  // u8[count, bytes of a block]
    uint64_t row_stride;
    uint32_t count;       // blocks
    uint32_t row_blocks;  // blocks of a row; all of them if rows have no gaps and columns do not matter
    uint64_t aligned;     // every eight elements from a row's start are 16-byte aligned
    TransformParams transform;
};
static_assert(sizeof(GgmlParams) == 72 && offsetof(GgmlParams, transform) == 40, "GgmlParams is shared with Rust");

// Where a lane's eight elements lie.
struct Place {
    uint64_t at;
    uint32_t col;
};
__device__ inline Place place(const GgmlParams& p, uint32_t block, int lane) {
    const uint32_t row = p.row_blocks == p.count ? 0 : block / p.row_blocks;
    const uint32_t col = (block - row * p.row_blocks) * 32 + 8 * lane;
    return {row * p.row_stride + (block - row * p.row_blocks) * 32ull + 8 * lane, col};
}

template <typename T, typename Type>
__device__ inline void quantize(const GgmlParams& p) {
    __shared__ GgmlStage<Type> stage;
    const uint32_t first = blockIdx.x * kGgmlBlocks;
    const int local = threadIdx.x / 4, lane = threadIdx.x % 4, here = min(p.count - first, kGgmlBlocks);
    const bool real = local < here;
    const Place at = place(p, real ? first + local : first, lane);
    float x[8] = {};
    if (real) load8(reinterpret_cast<const T*>(p.x) + at.at, 8, p.aligned != 0, x);
    transform_input<T>(p.transform, at.col, 8, x);
#pragma unroll
    for (int i = 0; i < 8; ++i) x[i] = sanitize(x[i]);
    Type::encode(lane, x, stage, local);
    __syncthreads();
    stage.write(reinterpret_cast<uint8_t*>(p.blocks) + 2ull * GgmlStage<Type>::kUnits * first, here);
}

template <typename T, typename Type>
__device__ inline void dequantize(const GgmlParams& p) {
    __shared__ GgmlStage<Type> stage;
    const uint32_t first = blockIdx.x * kGgmlBlocks;
    const int local = threadIdx.x / 4, lane = threadIdx.x % 4, here = min(p.count - first, kGgmlBlocks);
    stage.read(reinterpret_cast<const uint8_t*>(p.blocks) + 2ull * GgmlStage<Type>::kUnits * first, here);
    __syncthreads();
    if (local >= here) return;
    float y[8];
    Type::decode(lane, stage, local, y);
    store8(reinterpret_cast<T*>(p.x) + place(p, first + local, lane).at, 8, p.aligned != 0, y);
}

}  // namespace lowbit

#define KERNEL(name, call)                                             \
    extern "C" __global__ void __launch_bounds__(lowbit::kGgmlThreads) \
        name(const __grid_constant__ lowbit::GgmlParams p) {           \
        call(p);                                                       \
    }
// The instances: real type x block type.
#define GGML(type, T, Real, Type)                                              \
    KERNEL(ggml_quantize_##T##_##type, (lowbit::quantize<Real, lowbit::Type>)) \
    KERNEL(ggml_dequantize_##T##_##type, (lowbit::dequantize<Real, lowbit::Type>))
#define GGML_OF(type, Type)       \
    GGML(type, f32, float, Type)  \
    GGML(type, f16, __half, Type) \
    GGML(type, bf16, __nv_bfloat16, Type)
namespace lowbit {
using Q4_0 = GgmlLinear<4, false>;
using Q4_1 = GgmlLinear<4, true>;
using Q5_0 = GgmlLinear<5, false>;
using Q5_1 = GgmlLinear<5, true>;
}  // namespace lowbit
GGML_OF(q4_0, Q4_0)
GGML_OF(q4_1, Q4_1)
GGML_OF(q5_0, Q5_0)
GGML_OF(q5_1, Q5_1)
GGML_OF(q8_0, GgmlByte)
GGML_OF(iq4_nl, GgmlTable)
