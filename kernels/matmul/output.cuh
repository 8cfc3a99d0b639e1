// What becomes of the sums of a product: bias, residual or gate, one rounding, and the matrix they are stored in.
//
//   y[m][n] + bias[n] + residual[m][n]                     stored in the part that output n lies in
//   f(y[m][n] + bias[n]) * (y[m][n'] + bias[n'])           gated: n' = n + outputs / 2, stored at n
#pragma once
#include "common/gate.cuh"
#include "matmul/operands.cuh"
#include "matmul/params.cuh"

namespace lowbit {

__device__ __forceinline__ float load_as_float(uint64_t base, uint64_t i, uint32_t type) {
    if (type == 0) return reinterpret_cast<const float*>(base)[i];
    const uint16_t bits = reinterpret_cast<const uint16_t*>(base)[i];
    return type == 1 ? half_to_float(bits) : __uint_as_float(uint32_t(bits) << 16);
}

__device__ __forceinline__ void store_from_float(uint64_t base, uint64_t i, uint32_t type, float v) {
    if (type == 0) {
        reinterpret_cast<float*>(base)[i] = v;
        return;
    }
    uint16_t bits;
    if (type == 1)
        asm("cvt.rn.f16.f32 %0, %1;" : "=h"(bits) : "f"(v));
    else
        asm("cvt.rn.bf16.f32 %0, %1;" : "=h"(bits) : "f"(v));
    reinterpret_cast<uint16_t*>(base)[i] = bits;
}

// The output of row tile `tile`, line r, of a CTA that has `tiles` row tiles. The tiles of a gated product are a
// gate's, then its up's, and so on. Beyond all outputs where there is none.
__device__ __forceinline__ uint32_t output_of(const ProductParams& p, int tiles, int tile, int r) {
    uint32_t row_tile = blockIdx.x * tiles + tile;
    if (p.gate) {
        const uint32_t half = p.row_tiles / 2, pair = row_tile / 2;
        row_tile = pair < half ? pair + (tile & 1) * half : p.row_tiles;
    }
    return row_tile * 16 + r;
}

__device__ __forceinline__ float with_bias(const ProductParams& p, uint32_t output, float y) {
    return p.bias ? y + load_as_float(p.bias, output, p.out_type) : y;
}

// Output `output` of row `row` of x.
__device__ __forceinline__ void finish(const ProductParams& p, uint32_t output, uint32_t row, float y) {
    y = with_bias(p, output, y);
    if (p.residual) y += load_as_float(p.residual, row * p.residual_stride + output, p.out_type);
    int part = 0;
    uint32_t first = 0;
    for (; part < kOutputParts - 1 && output >= p.parts[part].end; ++part) first = p.parts[part].end;
    store_from_float(p.parts[part].out, row * p.parts[part].stride + (output - first), p.out_type, y);
}

// The same for a gate and its up, output / 2 further.
__device__ __forceinline__ void finish_gated(const ProductParams& p, uint32_t output, uint32_t row, float y, float up) {
    y = with_bias(p, output, y), up = with_bias(p, output + p.n / 2, up);
    y = p.gate == 1 + uint32_t(Gate::kSilu) ? gated<Gate::kSilu>(y) : gated<Gate::kGeluTanh>(y);
    store_from_float(p.parts[0].out, row * p.parts[0].stride + output, p.out_type, y * up);
}

// Finishes what output line `in_cta` (tile * 16 + line) of the CTA is to row `row` of x; `sum(line)` is the sum of one.
template <class Sum>
__device__ __forceinline__ void finish_line(const ProductParams& p, int tiles, int in_cta, uint32_t row,
                                            const Sum& sum) {
    const int tile = in_cta >> 4;
    const uint32_t output = output_of(p, tiles, tile, in_cta & 15);
    if (output >= p.n) return;
    if (!p.gate)
        finish(p, output, row, sum(in_cta));
    else if (!(tile & 1))
        finish_gated(p, output, row, sum(in_cta), sum(in_cta + 16));
}

}  // namespace lowbit
