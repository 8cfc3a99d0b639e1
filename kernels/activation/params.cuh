// What the activation kernels take, shared with Rust (src/ops/activation.rs).
#pragma once
#include <cstddef>
#include <cstdint>

#include "common/gate.cuh"

namespace lowbit {

// What becomes of a finished row (ScaleOf in src/format/activation.rs).
enum class Scales : uint32_t {
    kNone = 0,    // no codes: the row alone
    kToken = 1,   // a scale a row, written
    kStatic = 2,  // one scale, read
    kGroup = 3,   // a scale for every kGroup elements of a row, written
};
constexpr uint32_t kGroup = 128;

struct ActivationParams {
    uint64_t x;         // T[rows, x_stride]: the input of a norm, or the gate
    uint64_t other;     // T[rows, other_stride]: the residual, read and written, or 0; or up
    uint64_t weight;    // T[cols], norms only
    uint64_t smooth;    // f32[cols], or 0
    uint64_t row;       // T[rows, cols], or 0
    uint64_t codes;     // u8[rows, cols], unless Scales::kNone
    uint64_t scale;     // f32[rows], [1] or [rows, ceil(cols / kGroup)]
    uint64_t x_stride;  // elements from row to row
    uint64_t other_stride;
    uint32_t rows;
    uint32_t cols;
    float epsilon;
    Scales scales;
    Gate gate;
    uint32_t aligned;  // every eight elements of every row are 16-byte aligned, and their codes 8-byte aligned
};
static_assert(sizeof(ActivationParams) == 96 && offsetof(ActivationParams, rows) == 72 &&
                  offsetof(ActivationParams, scales) == 84 && offsetof(ActivationParams, aligned) == 92,
              "ActivationParams is shared with Rust");

}  // namespace lowbit
