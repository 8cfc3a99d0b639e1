// nvcc: -fmad=false
// Quantize with a scale per tensor or per column, in passes: largest magnitude, scale, codes. And dequantize, any axis.
//
//   quantize_amax       scale[region] = max |x|     bits of a float that is not negative order as integers: atomicMax
//   quantize_finish     scale[region] /= top
//   quantize_encode     codes = encode(x, scale[region])
//   quantize_decode     x = decode(codes) * scale[region] [+ min[region]]
//
// Bounded by bytes; per column and per tensor x is read twice. A thread owns one eight of columns; blocks stride over
// rows. The caller zeroes `scale` before quantize_amax.
#include "common/element.cuh"
#include "quantize/code.cuh"
#include "quantize/params.cuh"

namespace lowbit {

constexpr int kBlock = 256;

// Eights are numbered along a row: blockIdx.x * kBlock + threadIdx.x; rows by blockIdx.y, gridDim.y apart.
struct Place {
    uint32_t col;
    bool real;
};
__device__ inline Place place(const QuantizeParams& p) {
    const uint64_t col = 8 * (static_cast<uint64_t>(blockIdx.x) * kBlock + threadIdx.x);
    return {static_cast<uint32_t>(col), col < p.cols};
}

template <typename T>
__device__ inline void amax(const QuantizeParams& p) {
    const Place at = place(p);
    float top[8] = {};
    if (at.real) {
        for (uint64_t row = blockIdx.y; row < p.rows; row += gridDim.y) {
            float v[8];
            load8(reinterpret_cast<const T*>(p.x) + row * p.row_stride + at.col, p.cols - at.col, p.aligned != 0, v);
#pragma unroll
            for (int i = 0; i < 8; ++i) top[i] = fmaxf(top[i], fabsf(sanitize(v[i])));
        }
    }
    int* scale = reinterpret_cast<int*>(p.scale);
    if (p.axis == Axis::kColumn) {
#pragma unroll
        for (int i = 0; i < 8; ++i)
            if (at.real && at.col + i < p.cols) atomicMax(scale + at.col + i, __float_as_int(top[i]));
        return;
    }
    int most = 0;
#pragma unroll
    for (int i = 0; i < 8; ++i) most = max(most, __float_as_int(top[i]));
    most = __reduce_max_sync(0xFFFFFFFFu, most);
    if (threadIdx.x % 32 == 0) atomicMax(scale, most);
}

__device__ inline uint64_t region(const QuantizeParams& p, uint64_t row, uint32_t col) {
    switch (p.axis) {
        case Axis::kTensor:
            return 0;
        case Axis::kRow:
            return row;
        case Axis::kColumn:
            return col;
        default:
            return row * (p.cols / p.segment) + col / p.segment;
    }
}

template <typename T, typename Code>
__device__ inline void encode(const QuantizeParams& p) {
    const Place at = place(p);
    if (!at.real) return;
    const float* scale = reinterpret_cast<const float*>(p.scale);
    const int count = p.cols - at.col;
    const bool per_column = p.axis == Axis::kColumn;
    const float shared_scale = per_column ? 0.0f : scale[0];  // one load: the eight share it
    float s[8];
#pragma unroll
    for (int i = 0; i < 8; ++i) s[i] = per_column && i < count ? scale[at.col + i] : shared_scale;
    for (uint64_t row = blockIdx.y; row < p.rows; row += gridDim.y) {
        float v[8];
        load8(reinterpret_cast<const T*>(p.x) + row * p.row_stride + at.col, count, p.aligned != 0, v);
        uint32_t code[8];
#pragma unroll
        for (int i = 0; i < 8; ++i) code[i] = Code::encode(v[i], s[i], 0.0f);
        store_codes<Code>(reinterpret_cast<uint8_t*>(p.codes) + row * p.row_bytes + at.col / 8 * Code::kBits, count,
                          p.aligned != 0, code);
    }
}

// The scale of a region, and its minimum if the code has one.
template <typename Code>
struct Scale {
    float scale, min;

    static __device__ inline Scale load(const QuantizeParams& p, uint64_t region) {
        if constexpr (Code::kAsymmetric) {
            return {__half2float(reinterpret_cast<const __half*>(p.scale)[region]),
                    __half2float(reinterpret_cast<const __half*>(p.min)[region])};
        } else {
            return {reinterpret_cast<const float*>(p.scale)[region], 0.0f};
        }
    }

    __device__ inline float decode(uint32_t code) const {
        const float product = __fmul_rn(Code::decode(code), scale);
        return Code::kAsymmetric ? __fadd_rn(product, min) : product;
    }
};

template <typename T, typename Code>
__device__ inline void decode(const QuantizeParams& p) {
    const Place at = place(p);
    if (!at.real) return;
    const int count = p.cols - at.col;
    for (uint64_t row = blockIdx.y; row < p.rows; row += gridDim.y) {
        uint32_t code[8];
        load_codes<Code>(reinterpret_cast<const uint8_t*>(p.codes) + row * p.row_bytes + at.col / 8 * Code::kBits,
                         count, p.aligned != 0, code);
        // One scale for an eight (groups are multiples of 8), loaded once; or one for each of its columns.
        const bool per_column = p.axis == Axis::kColumn;
        const uint64_t first = region(p, row, at.col);
        Scale<Code> s = Scale<Code>::load(p, first);
        float v[8];
#pragma unroll
        for (int i = 0; i < 8; ++i) {
            if (per_column && i > 0 && i < count) s = Scale<Code>::load(p, first + i);
            v[i] = s.decode(code[i]);
        }
        store8(reinterpret_cast<T*>(p.x) + row * p.row_stride + at.col, count, p.aligned != 0, v);
    }
}

// `segment` carries the number of regions; top comes as the bits of a float in `threads`.
__device__ inline void finish(const QuantizeParams& p) {
    const uint64_t i = static_cast<uint64_t>(blockIdx.x) * kBlock + threadIdx.x;
    float* scale = reinterpret_cast<float*>(p.scale);
    if (i < p.segment) scale[i] = __fdiv_rn(scale[i], __uint_as_float(p.threads));
}

}  // namespace lowbit

#define KERNEL(name, call)                                       \
    extern "C" __global__ void __launch_bounds__(lowbit::kBlock) \
        name(const __grid_constant__ lowbit::QuantizeParams p) { \
        call(p);                                                 \
    }
// The instances: real type x code.
#define ENCODE_OF(code, Code)                                                  \
    KERNEL(quantize_encode_f32_##code, (lowbit::encode<float, lowbit::Code>))  \
    KERNEL(quantize_encode_f16_##code, (lowbit::encode<__half, lowbit::Code>)) \
    KERNEL(quantize_encode_bf16_##code, (lowbit::encode<__nv_bfloat16, lowbit::Code>))
#define DECODE_OF(code, Code)                                                  \
    KERNEL(quantize_decode_f32_##code, (lowbit::decode<float, lowbit::Code>))  \
    KERNEL(quantize_decode_f16_##code, (lowbit::decode<__half, lowbit::Code>)) \
    KERNEL(quantize_decode_bf16_##code, (lowbit::decode<__nv_bfloat16, lowbit::Code>))
KERNEL(quantize_amax_f32, lowbit::amax<float>)
KERNEL(quantize_amax_f16, lowbit::amax<__half>)
KERNEL(quantize_amax_bf16, lowbit::amax<__nv_bfloat16>)
KERNEL(quantize_finish, lowbit::finish)
ENCODE_OF(int8, Int8)
ENCODE_OF(int4, Int4)
ENCODE_OF(e4m3, E4m3)
ENCODE_OF(e5m2, E5m2)
DECODE_OF(int8, Int8)
DECODE_OF(int4, Int4)
DECODE_OF(e4m3, E4m3)
DECODE_OF(e5m2, E5m2)
DECODE_OF(uint8, Uint8)
DECODE_OF(uint4, Uint4)
DECODE_OF(uint2, Uint2)
