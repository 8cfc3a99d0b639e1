// nvcc: -fmad=false
// Codes by scales that lie in memory: the second pass per tensor and per column, and static scales on any axis.
//
//   quantize_encode_<code>       codes = encode(x, scale[region])
//   quantize_stochastic_<code>   the same with one of the two neighbouring codes, drawn by element index
//
// Bounded by bytes: 2 or 4 in and at most 1 out per element.
#include "common/philox.cuh"
#include "quantize/passes.cuh"

namespace lowbit {

template <typename T, typename Code>
__device__ inline void encode(const QuantizeParams& p) {
    constexpr int kN = kChunk<T>;
    const Place<T> place(p);
    ChunkScales<Code, kN> scales(p, place.col, place.count, place.end);
#pragma unroll 1
    for (uint32_t row = place.row; row < place.end; ++row) {
        Chunk<T> chunk = {};
        if (place.count > 0) chunk = load_chunk(place.x(p, row), place.count, p.aligned != 0);
        scales.at(p, row);
        if (place.count <= 0) continue;
        uint32_t code[kN];
#pragma unroll
        for (int i = 0; i < kN; ++i) code[i] = scales.scale[i].encode(to_f32(chunk.value[i]));
        store_codes<Code>(place.template codes<Code>(p, row), place.count, p.aligned != 0, code);
    }
}

template <typename T, typename Code>
__device__ inline void stochastic(const QuantizeParams& p) {
    constexpr int kN = kChunk<T>;
    const Place<T> place(p);
    ChunkScales<Code, kN> scales(p, place.col, place.count, place.end);
    Philox random(p.seed);
#pragma unroll 1
    for (uint32_t row = place.row; row < place.end; ++row) {
        Chunk<T> chunk = {};
        if (place.count > 0) chunk = load_chunk(place.x(p, row), place.count, p.aligned != 0);
        scales.at(p, row);
        if (place.count <= 0) continue;
        const uint64_t index = static_cast<uint64_t>(row) * p.cols + place.col;
        uint32_t code[kN];
#pragma unroll
        for (int i = 0; i < kN; ++i)
            code[i] = Code::encode_stochastic(to_f32(chunk.value[i]), scales.scale[i].scale, random.uniform(index + i));
        store_codes<Code>(place.template codes<Code>(p, row), place.count, p.aligned != 0, code);
    }
}

}  // namespace lowbit

KERNEL(quantize_encode_int8, encode, Int8)
KERNEL(quantize_encode_int4, encode, Int4)
KERNEL(quantize_encode_int2, encode, Int2)
KERNEL(quantize_encode_e4m3, encode, E4m3)
KERNEL(quantize_encode_e5m2, encode, E5m2)
KERNEL(quantize_encode_uint8, encode, Uint8)
KERNEL(quantize_encode_uint4, encode, Uint4)
KERNEL(quantize_encode_uint2, encode, Uint2)
KERNEL(quantize_stochastic_int8, stochastic, Int8)
KERNEL(quantize_stochastic_e4m3, stochastic, E4m3)
KERNEL(quantize_stochastic_e5m2, stochastic, E5m2)
