// Weights of checkpoints to the packed layout (src/weights/layout.rs), every code, scale and zero unchanged. Defined by
// the importers on the host (src/weights), bit for bit.
//
// The tensors, w [n, k] in all of them:
//   GPTQ                 qweight [k / 8, n]: code of k in bits 4*(k % 8);   qzeros [groups, n / 8], bits 4*(n % 8);
//                        scales [groups, n]; version 1 stores zero - 1
//   AWQ                  qweight [k, n / 8], qzeros [groups, n / 8]: output n in slot {0, 4, 1, 5, 2, 6, 3, 7}[n % 8]
//   compressed-tensors   weight_packed [n, ceil(k / 8)], bits 4*(k % 8);   zero_point [ceil(n / 8), groups], bits 4*(n
//   % 8);
//                        scales [n, groups]
//   plain                codes u8 [k, n], zeros u8 or offsets f16 [groups, n], scales f16 [groups, n]
//   ggml                 blocks [n, k / 32] of q4_0, q4_1, q8_0
//
// Bound by bytes. repack_codes: a thread makes one word of four (4 bits: 8 codes; 8 bits: 4 codes). repack_scales: a
// thread makes the scale, offset and zero of an output and a group. Bytes that stand for nothing are not written: the
// caller clears the buffer first.
//
// targets: lowest
#include <cstddef>
#include <cstdint>

namespace lowbit {

enum class Tensors : uint32_t { kGptq = 0, kAwq = 1, kCompressed = 2, kPlain = 3, kQ4_0 = 4, kQ4_1 = 5, kQ8_0 = 6 };

// Status bits (src/ops/matmul/repack.rs).
constexpr uint32_t kScaleNotHalf = 1, kZeroOutside = 2, kCodeOutside = 4, kBadOrder = 8;

struct RepackParams {
    uint64_t codes;         // words, bytes or blocks
    uint64_t zeros;         // words or bytes, or 0
    uint64_t offsets;       // f16, or 0
    uint64_t scales;        // scale_type, or 0 (blocks)
    uint64_t order;         // u32 [k]: input at a position, k_inputs and more: padding; or 0
    uint64_t order_groups;  // u32 [groups]: group in the tensors of a group of the layout; with an order
    uint64_t out;           // the packed buffer, 0 in it
    uint64_t scales_at;     // offsets in the buffer
    uint64_t zeros_at;
    uint64_t status;  // u32
    Tensors tensors;
    uint32_t n, k;           // of the layout
    uint32_t k_inputs;       // of the tensors
    uint32_t group, groups;  // of the layout
    uint32_t tensor_groups;  // of the tensors
    uint32_t row_tiles, tiles;
    uint32_t records, record_groups;
    uint32_t has_offset, has_zeros;
    uint32_t scale_type;    // DType: 0 f32, 1 f16, 2 bf16
    int32_t zero_delta;     // zero in the buffer = zero in the tensors + this
    uint32_t version_plus;  // zero = stored + this
};
static_assert(sizeof(RepackParams) == 144 && offsetof(RepackParams, tensors) == 80, "RepackParams is shared with Rust");

__device__ __forceinline__ void report(const RepackParams& p, uint32_t bit) {
    atomicOr(reinterpret_cast<uint32_t*>(p.status), bit);
}

__device__ __forceinline__ uint32_t nibble(uint64_t words, uint64_t word, uint32_t slot) {
    return reinterpret_cast<const uint32_t*>(words)[word] >> (4 * slot) & 15;
}

// Output n of eight lies in this slot of an AWQ word.
__device__ __forceinline__ uint32_t awq_slot(uint32_t n) { return (n & 1) * 4 + (n >> 1 & 3); }

__device__ __forceinline__ uint32_t block_bytes(Tensors tensors) {
    return tensors == Tensors::kQ8_0 ? 34 : tensors == Tensors::kQ4_1 ? 20 : 18;
}

__device__ __forceinline__ const uint8_t* block_of(const RepackParams& p, uint32_t n, uint32_t block) {
    return reinterpret_cast<const uint8_t*>(p.codes) + (uint64_t(n) * (p.k / 32) + block) * block_bytes(p.tensors);
}

__device__ __forceinline__ uint16_t half_at(const uint8_t* bytes) { return uint16_t(bytes[0] | bytes[1] << 8); }

// The zero of output n and group g of the tensors, as stored.
__device__ __forceinline__ uint32_t stored_zero(const RepackParams& p, uint32_t n, uint32_t g) {
    switch (p.tensors) {
        case Tensors::kGptq:
            return nibble(p.zeros, (uint64_t(g) * p.n + n) / 8, n & 7);
        case Tensors::kAwq:
            return nibble(p.zeros, (uint64_t(g) * p.n + n) / 8, awq_slot(n & 7));
        case Tensors::kCompressed:
            return nibble(p.zeros, uint64_t(n / 8) * p.tensor_groups + g, n & 7);
        default:
            return reinterpret_cast<const uint8_t*>(p.zeros)[uint64_t(g) * p.n + n];
    }
}

// Bits of the code of output n at input k of the tensors.
__device__ __forceinline__ uint32_t stored_code(const RepackParams& p, uint32_t n, uint32_t k) {
    switch (p.tensors) {
        case Tensors::kGptq:
            return nibble(p.codes, uint64_t(k / 8) * p.n + n, k & 7);
        case Tensors::kAwq:
            return nibble(p.codes, (uint64_t(k) * p.n + n) / 8, awq_slot(n & 7));
        case Tensors::kCompressed:
            return nibble(p.codes, uint64_t(n) * ((p.k_inputs + 7) / 8) + k / 8, k & 7);
        case Tensors::kPlain: {
            const uint32_t code = reinterpret_cast<const uint8_t*>(p.codes)[uint64_t(k) * p.n + n];
            if (code > 15) report(p, kCodeOutside);
            return code & 15;
        }
        case Tensors::kQ8_0:
            return block_of(p, n, k / 32)[2 + k % 32] ^ 0x80u;
        default: {
            const uint8_t* codes = block_of(p, n, k / 32) + (p.tensors == Tensors::kQ4_1 ? 4 : 2);
            return codes[k % 16] >> (4 * (k % 32 / 16)) & 15;
        }
    }
}

// The group of the tensors that a group of the layout is.
__device__ __forceinline__ uint32_t tensor_group(const RepackParams& p, uint32_t group) {
    if (!p.order) return group;
    const uint32_t g = reinterpret_cast<const uint32_t*>(p.order_groups)[group];
    if (g < p.tensor_groups) return g;
    report(p, kBadOrder);
    return 0;
}

// Bits of the code of output n at position k of the layout. A position that only fills up a group gets the code of
// weight 0, as far as there is one.
__device__ __forceinline__ uint32_t code_at(const RepackParams& p, uint32_t n, uint32_t k) {
    if (n >= p.n || k >= p.k) return 0;
    if (!p.order) return stored_code(p, n, k);
    const uint32_t input = reinterpret_cast<const uint32_t*>(p.order)[k];
    if (input < p.k_inputs) return stored_code(p, n, input);
    if (!p.zeros) return 8;
    // The zero itself, stored + its version's offset, which the layout takes off again.
    const int zero = int(stored_zero(p, n, tensor_group(p, k / p.group))) + int(p.version_plus);
    return min(zero, 15);
}

// A scale as f16; a value that f16 does not hold is reported.
__device__ __forceinline__ uint16_t scale_at(const RepackParams& p, uint64_t at) {
    if (p.scale_type == 1) {
        const uint16_t bits = reinterpret_cast<const uint16_t*>(p.scales)[at];
        if ((bits & 0x7c00) == 0x7c00) report(p, kScaleNotHalf);
        return bits;
    }
    const uint32_t bits = p.scale_type == 0 ? reinterpret_cast<const uint32_t*>(p.scales)[at]
                                            : uint32_t(reinterpret_cast<const uint16_t*>(p.scales)[at]) << 16;
    uint16_t half;
    float back;
    asm("cvt.rn.f16.f32 %0, %1;" : "=h"(half) : "f"(__uint_as_float(bits)));
    asm("cvt.f32.f16 %0, %1;" : "=f"(back) : "h"(half));
    if (__float_as_uint(back) != bits || (half & 0x7c00) == 0x7c00) report(p, kScaleNotHalf);
    return half;
}

}  // namespace lowbit

using namespace lowbit;
#define PARAMS const __grid_constant__ RepackParams

// Grid: words of the codes / 256 in x, as many blocks as there are at most; the rest in strides.
extern "C" __global__ void __launch_bounds__(256) repack_codes(PARAMS p) {
    const uint64_t words = uint64_t(p.row_tiles) * p.tiles * 128;
    const bool bytes = p.tensors == Tensors::kQ8_0;
    for (uint64_t at = uint64_t(blockIdx.x) * blockDim.x + threadIdx.x; at < words;
         at += uint64_t(gridDim.x) * blockDim.x) {
        const uint32_t tile = at / 128, lane = at % 128 / 4, w = at % 4, g = lane / 4, t = lane % 4;
        const uint32_t n = tile / p.tiles * 16 + g, first = tile % p.tiles * (bytes ? 32 : 64);
        uint32_t word = 0;
        if (bytes) {
            const uint32_t k = first + 8 * t + 2 * w;
#pragma unroll
            for (int i = 0; i < 2; ++i)
#pragma unroll
                for (int e = 0; e < 2; ++e) {
                    const bool inside = n + 8 * i < p.n && k + e < p.k;
                    word |= (inside ? code_at(p, n + 8 * i, k + e) : 0x80u) << (8 * (2 * i + e));
                }
        } else {
            constexpr uint32_t kBit[4] = {6, 2, 14, 10};
            const uint32_t k = first + 32 * (w >> 1) + 8 * t + 4 * (w & 1);
#pragma unroll
            for (int i = 0; i < 4; ++i)
#pragma unroll
                for (int e = 0; e < 2; ++e) {
                    const uint32_t code = code_at(p, n + 8 * (i & 1), k + 2 * (i >> 1) + e), bit = kBit[i] + 16 * e;
                    word |= __funnelshift_l(code, code, bit);
                }
        }
        reinterpret_cast<uint32_t*>(p.out)[at] = word;
    }
}

// Grid: pairs of outputs (g, g + 8) and groups / 256 in x, the rest in strides.
extern "C" __global__ void __launch_bounds__(256) repack_scales(PARAMS p) {
    uint8_t* out = reinterpret_cast<uint8_t*>(p.out);
    const uint64_t pairs = uint64_t(p.row_tiles) * 8 * p.groups;
    for (uint64_t at = uint64_t(blockIdx.x) * blockDim.x + threadIdx.x; at < pairs;
         at += uint64_t(gridDim.x) * blockDim.x) {
        const uint32_t group = at / (p.row_tiles * 8), line = at % (p.row_tiles * 8), tile = line / 8, g = line % 8;
        const uint32_t record = group / p.record_groups, r = group % p.record_groups;
        const uint32_t kinds = p.has_offset ? 2 : 1, piece = min(p.record_groups, 4 / kinds);
        const uint64_t record_at = uint64_t(tile) * p.records + record;
        uint16_t* half = reinterpret_cast<uint16_t*>(out + p.scales_at) + record_at * 16 * p.record_groups * kinds +
                         ((r / piece * 8 + g) * piece + r % piece) * kinds * 2;
        const uint32_t from = tensor_group(p, group);
        uint32_t zeros = 0;
#pragma unroll
        for (uint32_t i = 0; i < 2; ++i) {
            const uint32_t n = tile * 16 + g + 8 * i;
            if (n >= p.n) continue;
            if (p.tensors >= Tensors::kQ4_0) {
                const uint8_t* block = block_of(p, n, from);
                half[i] = half_at(block);
                if (p.has_offset) half[2 + i] = half_at(block + 2);
                continue;
            }
            const uint64_t by_group = uint64_t(from) * p.n + n;
            half[i] = scale_at(p, p.tensors == Tensors::kCompressed ? uint64_t(n) * p.tensor_groups + from : by_group);
            if (p.has_offset) half[2 + i] = reinterpret_cast<const uint16_t*>(p.offsets)[by_group];
            if (p.has_zeros) {
                const int zero = int(stored_zero(p, n, from)) + p.zero_delta;
                if (zero < 0 || zero > 15) report(p, kZeroOutside);
                zeros |= uint32_t(min(max(zero, 0), 15)) << (4 * (1 - i));
            }
        }
        if (p.has_zeros) out[p.zeros_at + (record_at * 8 + g) * p.record_groups + r] = uint8_t(zeros);
    }
}
