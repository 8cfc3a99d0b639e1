// nvcc: -fmad=false
// The first pass per tensor and per column: statistics by atomics on `scale` and `min`, which the caller has zeroed,
// and then the scales.
//
//   quantize_amax          scale[region] = max |x|, as f32: magnitudes order as integers
//   quantize_finish_amax   scale[region] = scale[region] * clip / top
//   quantize_range         scale[region], min[region] = keys of f16(max x * clip), f16(min x * clip)
//   quantize_finish_range  min[region] = f16(min), scale[region] = f16((f16(max) - min) / top)
//
// Bounded by bytes: 2 or 4 in per element.
// targets: lowest
#include "quantize/passes.cuh"

namespace lowbit {

// Extremes of the thread's columns over its rows.
template <typename T>
struct Columns {
    float low[kChunk<T>], high[kChunk<T>];

    __device__ inline Columns(const QuantizeParams& p, const Place<T>& place) {
#pragma unroll
        for (int i = 0; i < kChunk<T>; ++i) low[i] = INFINITY, high[i] = -INFINITY;
        if (place.count <= 0) return;
#pragma unroll 1
        for (uint32_t row = place.row; row < place.end; ++row) {
            const Chunk<T> chunk = load_chunk(place.x(p, row), place.count, p.aligned != 0);
#pragma unroll
            for (int i = 0; i < kChunk<T>; ++i) {
                const float y = sanitize(to_f32(chunk.value[i]));
                if (i < place.count) low[i] = fminf(low[i], y), high[i] = fmaxf(high[i], y);
            }
        }
    }

    // Calls take(column, extremes) for each of the block's columns, neighbouring threads neighbouring columns.
    template <typename Take>
    __device__ inline void each(const QuantizeParams& p, const Take& take) const {
        constexpr int kN = kChunk<T>;
        float *lows = held_scales<0>(), *highs = held_scales<1>();
#pragma unroll
        for (int i = 0; i < kN; ++i) {
            const uint32_t at = i * ByColumn<kN>::kPitch + threadIdx.x;
            lows[at] = low[i], highs[at] = high[i];
        }
        __syncthreads();
        const uint32_t left = blockIdx.x * (kBlock * kN), width = min(p.cols - left, kBlock * kN);
#pragma unroll 1
        for (uint32_t i = threadIdx.x; i < width; i += kBlock) {
            const uint32_t at = ByColumn<kN>::at(i);
            take(left + i, Extremes{lows[at], highs[at]});
        }
    }

    __device__ inline Extremes all() const {
        Extremes e = {low[0], high[0]};
#pragma unroll
        for (int i = 1; i < kChunk<T>; ++i) e.low = fminf(e.low, low[i]), e.high = fmaxf(e.high, high[i]);
        return e;
    }
};

// Extremes of the block, in every thread of its first warp.
__device__ inline Extremes block_extremes(Extremes e) {
    __shared__ Extremes warps[kBlock / 32];
    const auto across = [](Extremes e) {
#pragma unroll
        for (int offset = 16; offset > 0; offset /= 2) {
            e.low = fminf(e.low, __shfl_xor_sync(0xFFFFFFFFu, e.low, offset));
            e.high = fmaxf(e.high, __shfl_xor_sync(0xFFFFFFFFu, e.high, offset));
        }
        return e;
    };
    e = across(e);
    if (threadIdx.x % 32 == 0) warps[threadIdx.x / 32] = e;
    __syncthreads();
    return threadIdx.x < 32 ? across(warps[threadIdx.x % (kBlock / 32)]) : e;
}

__device__ inline void raise(uint64_t scale, uint64_t region, Extremes e) {
    const float amax = fmaxf(fabsf(e.low), fabsf(e.high));
    if (amax > 0.0f && amax <= kLimit) atomicMax(reinterpret_cast<int*>(scale) + region, __float_as_int(amax));
}

struct NoCode {};  // statistics are those of any code

template <typename T, typename>
__device__ inline void amax(const QuantizeParams& p) {
    const Place<T> place(p);
    const Columns<T> columns(p, place);
    if (p.axis == Axis::kColumn) {
        columns.each(p, [&](uint32_t column, Extremes e) { raise(p.scale, column, e); });
    } else {
        const Extremes e = block_extremes(columns.all());
        if (threadIdx.x == 0) raise(p.scale, 0, e);
    }
}

// f16 in its order (-0 below +0) as a 16-bit integer above 0, and back.
__device__ inline uint32_t key_of(__half h) {
    const uint32_t bits = __half_as_ushort(h);
    return bits & 0x8000u ? bits ^ 0xFFFFu : bits ^ 0x8000u;
}
__device__ inline __half half_of(uint32_t key) {
    return __ushort_as_half(static_cast<uint16_t>(key & 0x8000u ? key ^ 0x8000u : key ^ 0xFFFFu));
}

__device__ inline void raise_key(uint64_t keys, uint64_t region, uint32_t key) {
    unsigned short* place = reinterpret_cast<unsigned short*>(keys) + region;
    unsigned short seen = 0;
    while (seen < key) {
        const unsigned short before = atomicCAS(place, seen, static_cast<unsigned short>(key));
        if (before == seen) break;
        seen = before;
    }
}

// The minimum by the key of its complement.
__device__ inline void widen(const QuantizeParams& p, uint64_t region, Extremes e) {
    raise_key(p.scale, region, key_of(__float2half_rn(__fmul_rn(e.high, p.clip))));
    raise_key(p.min, region, key_of(__float2half_rn(__fmul_rn(e.low, p.clip))) ^ 0xFFFFu);
}

template <typename T, typename>
__device__ inline void range(const QuantizeParams& p) {
    const Place<T> place(p);
    const Columns<T> columns(p, place);
    if (p.axis == Axis::kColumn) {
        columns.each(p, [&](uint32_t column, Extremes e) { widen(p, column, e); });
    } else {
        const Extremes e = block_extremes(columns.all());
        if (threadIdx.x == 0) widen(p, 0, e);
    }
}

}  // namespace lowbit

KERNEL(quantize_amax, amax, NoCode)
KERNEL(quantize_range, range, NoCode)

// `segment`: the number of regions.
extern "C" __global__ void __launch_bounds__(lowbit::kBlock)
    quantize_finish_amax(const __grid_constant__ lowbit::QuantizeParams p) {
    const uint64_t i = static_cast<uint64_t>(blockIdx.x) * lowbit::kBlock + threadIdx.x;
    float* scale = reinterpret_cast<float*>(p.scale);
    if (i < p.segment) scale[i] = __fdiv_rn(__fmul_rn(scale[i], p.clip), p.top);
}

extern "C" __global__ void __launch_bounds__(lowbit::kBlock)
    quantize_finish_range(const __grid_constant__ lowbit::QuantizeParams p) {
    const uint64_t i = static_cast<uint64_t>(blockIdx.x) * lowbit::kBlock + threadIdx.x;
    if (i >= p.segment) return;
    __half *scale = reinterpret_cast<__half*>(p.scale) + i, *min = reinterpret_cast<__half*>(p.min) + i;
    const float high = __half2float(lowbit::half_of(__half_as_ushort(*scale)));
    *min = lowbit::half_of(__half_as_ushort(*min) ^ 0xFFFFu);
    *scale = __float2half_rn(__fdiv_rn(__fsub_rn(high, __half2float(*min)), p.top));
}
