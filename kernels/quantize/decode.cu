// nvcc: -fmad=false
// Dequantize, any axis:   x = decode(codes) * scale[region] [+ min[region]], rounded to the output's type.
//
// Bounded by bytes: at most 1 in and 2 or 4 out per element.
// targets: lowest
#include "quantize/passes.cuh"

namespace lowbit {

template <typename T, typename Code>
__device__ inline void decode(const QuantizeParams& p) {
    constexpr int kN = kChunk<T>;
    const Place<T> place(p);
    ChunkScales<Code, kN> scales(p, place.col, place.count, place.end);
#pragma unroll 1
    for (uint32_t row = place.row; row < place.end; ++row) {
        uint32_t code[kN] = {};
        if (place.count > 0) load_codes<Code>(place.template codes<Code>(p, row), place.count, p.aligned != 0, code);
        scales.at(p, row);
        if (place.count <= 0) continue;
        float v[kN];
#pragma unroll
        for (int i = 0; i < kN; ++i) v[i] = scales.scale[i].decode(code[i]);
        store_chunk(place.x(p, row), place.count, p.aligned != 0, v);
    }
}

}  // namespace lowbit

KERNEL(quantize_decode_int8, decode, Int8)
KERNEL(quantize_decode_int4, decode, Int4)
KERNEL(quantize_decode_int2, decode, Int2)
KERNEL(quantize_decode_e4m3, decode, E4m3)
KERNEL(quantize_decode_e5m2, decode, E5m2)
KERNEL(quantize_decode_uint8, decode, Uint8)
KERNEL(quantize_decode_uint4, decode, Uint4)
KERNEL(quantize_decode_uint2, decode, Uint2)
KERNEL(quantize_decode_nvfp4, decode, Nvfp4)
KERNEL(quantize_decode_mxfp4, decode, Mxfp4)
KERNEL(quantize_decode_mxfp8_e4m3, decode, Mxfp8E4m3)
KERNEL(quantize_decode_mxfp8_e5m2, decode, Mxfp8E5m2)
