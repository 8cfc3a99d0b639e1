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
    float s[8];
#pragma unroll
    for (int i = 0; i < 8; ++i) s[i] = p.axis == Axis::kTensor ? scale[0] : i < count ? scale[at.col + i] : 0.0f;
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

template <typename T, typename Code>
__device__ inline void decode(const QuantizeParams& p) {
    const Place at = place(p);
    if (!at.real) return;
    const int count = p.cols - at.col;
    for (uint64_t row = blockIdx.y; row < p.rows; row += gridDim.y) {
        uint32_t code[8];
        load_codes<Code>(reinterpret_cast<const uint8_t*>(p.codes) + row * p.row_bytes + at.col / 8 * Code::kBits,
                         count, p.aligned != 0, code);
        const uint64_t first = region(p, row, at.col);  // of an eight, but per column: groups are multiples of 8
        float v[8];
#pragma unroll
        for (int i = 0; i < 8; ++i) {
            const uint64_t r = p.axis == Axis::kColumn ? first + min(i, count - 1) : first;
            if constexpr (Code::kAsymmetric) {
                const float s = __half2float(reinterpret_cast<const __half*>(p.scale)[r]);
                const float m = __half2float(reinterpret_cast<const __half*>(p.min)[r]);
                v[i] = __fadd_rn(__fmul_rn(Code::decode(code[i]), s), m);
            } else {
                v[i] = __fmul_rn(Code::decode(code[i]), reinterpret_cast<const float*>(p.scale)[r]);
            }
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
