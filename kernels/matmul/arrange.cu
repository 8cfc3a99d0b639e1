// x in the order of weights whose groups were sorted (act-order): out[r][j] = x[r][order[j]], 0 where order[j] >=
// inputs. Done once for all the row tiles that read x, which would otherwise each gather it anew. Defined by
// src/reference/matmul.rs.
//
// 16-bit elements. A thread has eight positions of a row: it reads 32 bytes of the order, gathers, and stores 16 bytes.
// Grid: positions / 2048, rows (a block takes every gridDim.y-th row). 256 threads.
// targets: lowest
#include <cstddef>
#include <cstdint>

namespace lowbit {

struct ArrangeParams {
    uint64_t x;         // [rows][inputs], row stride x_stride
    uint64_t order;     // u32 [positions]
    uint64_t out;       // [rows][positions], row stride out_stride
    uint64_t x_stride;  // strides in elements
    uint64_t out_stride;
    uint32_t rows, inputs, positions;
    uint32_t aligned;  // 1: eight positions of the order and of every row of out are aligned
};
static_assert(sizeof(ArrangeParams) == 56 && offsetof(ArrangeParams, rows) == 40, "ArrangeParams is shared with Rust");

}  // namespace lowbit

using namespace lowbit;

extern "C" __global__ void __launch_bounds__(256) arrange(const __grid_constant__ ArrangeParams p) {
    const uint32_t first = (blockIdx.x * blockDim.x + threadIdx.x) * 8;
    if (first >= p.positions) return;
    const uint32_t* order = reinterpret_cast<const uint32_t*>(p.order) + first;
    const int count = min(8u, p.positions - first);
    const bool whole = count == 8 && p.aligned;
    uint32_t from[8];
    if (whole) {
        const uint4 low = reinterpret_cast<const uint4*>(order)[0], high = reinterpret_cast<const uint4*>(order)[1];
        from[0] = low.x, from[1] = low.y, from[2] = low.z, from[3] = low.w;
        from[4] = high.x, from[5] = high.y, from[6] = high.z, from[7] = high.w;
    } else {
#pragma unroll
        for (int i = 0; i < 8; ++i) from[i] = i < count ? order[i] : UINT32_MAX;
    }
    for (uint32_t row = blockIdx.y; row < p.rows; row += gridDim.y) {
        const uint16_t* x = reinterpret_cast<const uint16_t*>(p.x) + row * p.x_stride;
        uint16_t* out = reinterpret_cast<uint16_t*>(p.out) + row * p.out_stride + first;
        uint32_t value[8];
#pragma unroll
        for (int i = 0; i < 8; ++i) value[i] = from[i] < p.inputs ? x[from[i]] : 0u;
        if (whole) {
            *reinterpret_cast<uint4*>(out) = make_uint4(value[0] | value[1] << 16, value[2] | value[3] << 16,
                                                        value[4] | value[5] << 16, value[6] | value[7] << 16);
        } else {
#pragma unroll
            for (int i = 0; i < 8; ++i)
                if (i < count) out[i] = uint16_t(value[i]);
        }
    }
}
