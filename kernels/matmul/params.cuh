// What every product over packed weights takes, shared with Rust (src/ops/matmul/params.rs).
#pragma once
#include <cstddef>
#include <cstdint>

namespace lowbit {

// A matrix that takes outputs [end of the part before, end) of every row.
struct OutputPart {
    uint64_t out;     // f32, f16 or bf16 [m][outputs of the part]
    uint64_t stride;  // elements from row to row
    uint32_t end;
    uint32_t reserved;
};

constexpr int kOutputParts = 4;

struct ProductParams {
    uint64_t codes;     // packed codes
    uint64_t meta;      // scales, and minima or zeros in f16
    uint64_t zeros;     // 4-bit zeros, or 0
    uint64_t x;         // f16 or bf16 [m][k], row stride x_stride
    uint64_t bias;      // type of out, [n], or 0
    uint64_t residual;  // type of out, [m][n], row stride residual_stride, or 0
    uint64_t partials;  // f32, only with splits > 1
    uint64_t counters;  // u32 [gridDim.x], only with splits > 1
    uint64_t x_stride;  // strides in elements
    uint64_t residual_stride;
    OutputPart parts[kOutputParts];  // the last one used ends at n; gated: part 0 takes all, n / 2 a row
    uint32_t m, n, k;
    uint32_t row_tiles;      // ceil(n / 16)
    uint32_t tiles;          // 512-byte tiles along k in a row tile
    uint32_t blocks;         // blocks along k
    uint32_t x_aligned;      // 1: base and stride of x allow 16-byte loads
    uint32_t meta_blocks;    // records of scales in a row tile
    uint32_t meta_shift;     // block b uses record b >> meta_shift
    uint32_t k_warps_log2;   // warps of a CTA along k: 1, 2, 4 or 8
    uint32_t part_blocks;    // blocks / parts, parts = splits * warps along k
    uint32_t longer_parts;   // blocks % parts: that many leading parts have a block more
    uint32_t out_type;       // DType: 0 f32, 1 f16, 2 bf16
    uint32_t minus_base[4];  // by a[i]: what a format takes from its decoded weights, two halves of x's type
    uint32_t gate;           // 0, or 1 + Gate: outputs [0, n / 2) are gates of outputs [n / 2, n)
};
static_assert(sizeof(ProductParams) == 248 && offsetof(ProductParams, parts) == 80 &&
                  offsetof(ProductParams, m) == 176 && offsetof(ProductParams, minus_base) == 228,
              "ProductParams is shared with Rust");

}  // namespace lowbit
