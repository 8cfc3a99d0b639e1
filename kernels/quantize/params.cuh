// What every kernel of the family takes, shared with Rust (src/ops/quantize/params.rs).
#pragma once
#include <cstddef>
#include <cstdint>

#include "common/convert.cuh"

namespace lowbit {

enum class Axis : uint32_t { kTensor = 0, kRow = 1, kColumn = 2, kGroup = 3, kTokenGroup = 4 };

struct QuantizeParams {
    uint64_t x;      // T[rows, row_stride]: read by quantize, written by dequantize
    uint64_t codes;  // u8[rows, row_bytes]
    uint64_t scale;  // by the code's kind: f32[regions], f16[regions], E4M3 or E8M0 [regions]
    uint64_t min;    // f16[regions] of an asymmetric code; f32[1] of NVFP4, the tensor's scale; else 0
    uint64_t row_stride;
    uint64_t row_bytes;
    uint64_t seed;  // of stochastic rounding
    uint32_t rows;
    uint32_t cols;
    uint32_t segment;      // elements of a row that share a scale; per token group: rows that share one
    uint32_t per_row;      // segments of a row
    uint32_t lanes_log2;   // by segment: lanes of one
    uint32_t across_log2;  // by segment: segments of one row in a block
    uint32_t below;        // by segment: rows from one that a thread takes to its next
    uint32_t chunk_bytes;  // by segment: bytes of x from one chunk of a lane to its next
    uint32_t code_bytes;   // the same of codes
    uint32_t gather;       // by segment: chunks whose codes a lane stores at once; 0 when it cannot hold its chunks
    uint32_t block_rows;   // elementwise passes: rows of a block
    Axis axis;
    DType dtype;
    uint32_t aligned;  // every chunk of a row is whole, 16-byte aligned, and its codes aligned to their bytes
    float clip;        // statistics are multiplied by this
    float top;         // quantize_finish_*: divisor of amax, or of max - min
};
static_assert(sizeof(QuantizeParams) == 120 && offsetof(QuantizeParams, rows) == 56 &&
                  offsetof(QuantizeParams, aligned) == 108 && offsetof(QuantizeParams, top) == 116,
              "QuantizeParams is shared with Rust");

}  // namespace lowbit
