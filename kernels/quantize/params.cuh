// What every kernel of the family takes, shared with Rust (src/ops/quantize.rs).
#pragma once
#include <cstddef>
#include <cstdint>

namespace lowbit {

enum class Axis : uint32_t { kTensor = 0, kRow = 1, kColumn = 2, kGroup = 3 };

struct QuantizeParams {
    uint64_t x;      // T[rows, row_stride]: read by quantize, written by dequantize
    uint64_t codes;  // u8[rows, row_bytes]
    uint64_t scale;  // symmetric: f32[regions]; asymmetric: f16[regions]
    uint64_t min;    // asymmetric: f16[regions]; else 0
    uint64_t row_stride;
    uint64_t row_bytes;
    uint32_t rows;
    uint32_t cols;
    uint32_t segment;  // elements that share a scale within a row: cols, or the group
    uint32_t threads;  // quantize_rows: threads of one segment
    Axis axis;
    uint32_t aligned;  // every eight elements from a row's start are 16-byte aligned, and their codes likewise
};
static_assert(sizeof(QuantizeParams) == 72 && offsetof(QuantizeParams, rows) == 48 &&
                  offsetof(QuantizeParams, aligned) == 68,
              "QuantizeParams is shared with Rust");

}  // namespace lowbit
