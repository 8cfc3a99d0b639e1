// llm_int8_dense: y = sw[n] * sum_k x[m][k] * w[n][k], x f16 or bf16, w int8: the product of LLM.int8() when the
// columns of x with outliers were more than the list holds (outlier_count[1]); else nothing is done, and w8a8_int8.cu
// does it all. So which of them works is decided on the device. Contract and idea: act8.cuh, bytes.cuh. One by-value
// Act8Params; 256 threads; grid (row tiles / (8 / k_warps), 1, rows / 32).
// targets: lowest
#include "matmul/bytes.cuh"
#include "matmul/w8.cuh"

namespace lowbit {

// int8 as numbers of x's type, which hold them exactly; sums of 128 k join y in f32.
template <class XType, int COLS>
struct DenseInt8 : ByteWeights {
    static constexpr int kCols = COLS, kStepsPerGroup = kSteps;
    static constexpr bool kExact = false, kRowScale = false, kOutputScale = true, kOutliers = false;
    using Sum = float;
    using Raw = uint4;
    using X = uint4;
    struct Weights {
        uint4 codes[kSteps];
    };
    struct Group {
        float c[COLS][4];
    };

    __device__ __forceinline__ DenseInt8(const Act8Params& p, uint32_t row_tile, uint32_t block, int lane, uint32_t)
        : ByteWeights(p, row_tile, block, lane) {}

    __device__ __forceinline__ void load(Weights& w, int ahead, uint32_t, int tiles) const {
        load_codes(w.codes, ahead, tiles);
    }
    __device__ __forceinline__ X operand(Group&, int, Raw raw) const { return raw; }
    __device__ __forceinline__ void begin(Group& group, const Weights&, int) const {
#pragma unroll
        for (int c = 0; c < COLS; ++c)
#pragma unroll
            for (int i = 0; i < 4; ++i) group.c[c][i] = 0.f;
    }
    // Two codes of a word, each plus 128: f16 under 0x64 reads 1024 + 128 + q; bf16 as in w8.cuh.
    static __device__ __forceinline__ uint32_t decode(uint32_t word, bool high) {
        if constexpr (XType::kFractionBits == 10)
            return XType::add(__byte_perm(word, 0x64646464, high ? 0x4342 : 0x4140), 0xe480e480);
        else
            return W8<XType, 256>::decode(word, high);
    }
    __device__ __forceinline__ void step(Group& group, const Weights& w, int s, const X (&x)[COLS],
                                         Sum (&)[COLS][4]) const {
        const uint32_t words[4] = {w.codes[s].x, w.codes[s].y, w.codes[s].z, w.codes[s].w};
        uint32_t low[4], high[4];
#pragma unroll
        for (int i = 0; i < 4; ++i) {
            low[i] = decode(words[i] ^ 0x80808080, false);
            high[i] = decode(words[i] ^ 0x80808080, true);
        }
#pragma unroll
        for (int c = 0; c < COLS; ++c) {
            XType::mma(group.c[c], low, x[c].x, x[c].z, group.c[c]);
            XType::mma(group.c[c], high, x[c].y, x[c].w, group.c[c]);
        }
    }
    __device__ __forceinline__ void end(Group& group, const Weights&, int, Sum (&y)[COLS][4]) const {
#pragma unroll
        for (int c = 0; c < COLS; ++c)
#pragma unroll
            for (int i = 0; i < 4; ++i) y[c][i] += group.c[c][i];
    }
    __device__ __forceinline__ void close(Group&, Sum (&)[COLS][4]) const {}
};

template <class XType>
__device__ __forceinline__ void llm_int8_dense(const Act8Params& p) {
    if (reinterpret_cast<const uint32_t*>(p.outlier_count)[1] != 0) act8_skinny<DenseInt8<XType, 4>>(p);
}

}  // namespace lowbit

using namespace lowbit;
#define ENTRY extern "C" __global__ void __launch_bounds__(256, 1)
#define PARAMS const __grid_constant__ Act8Params

ENTRY llm_int8_dense_f16(PARAMS p) { llm_int8_dense<F16>(p); }
ENTRY llm_int8_dense_bf16(PARAMS p) { llm_int8_dense<Bf16>(p); }
