// Casts between real numbers and 8-bit floats, saturating, rounding to nearest even, NaN -> 0x7F.
//
//   cast_to_<fmt>_<T>      codes[i] = fmt(x[i])           cast_from_<fmt>_<T>   x[i] = T(codes[i])
//
// Bounded by bytes: eight elements a thread, 16-byte loads and 8-byte stores (and the reverse) when both pointers
// allow, else element by element.
#include "common/element.cuh"
#include "quantize/code.cuh"

namespace lowbit {

constexpr int kBlock = 256;

struct CastParams {
    uint64_t x;      // T[len]
    uint64_t codes;  // u8[len]
    uint64_t len;
    uint64_t aligned;  // x is a multiple of 16 bytes and codes of 8
};
static_assert(sizeof(CastParams) == 32, "CastParams is shared with Rust");

template <typename T, typename Code>
__device__ inline void to_fp8(const CastParams& p) {
    const uint64_t at = 8 * (static_cast<uint64_t>(blockIdx.x) * kBlock + threadIdx.x);
    if (at >= p.len) return;
    const int count = static_cast<int>(min(p.len - at, static_cast<uint64_t>(8)));
    float v[8];
    load8(reinterpret_cast<const T*>(p.x) + at, count, p.aligned != 0, v);
    uint32_t code[8];
#pragma unroll
    for (int i = 0; i < 8; ++i) code[i] = Code::cast(v[i]);
    store_codes<Code>(reinterpret_cast<uint8_t*>(p.codes) + at, count, p.aligned != 0, code);
}

template <typename T, typename Code>
__device__ inline void from_fp8(const CastParams& p) {
    const uint64_t at = 8 * (static_cast<uint64_t>(blockIdx.x) * kBlock + threadIdx.x);
    if (at >= p.len) return;
    const int count = static_cast<int>(min(p.len - at, static_cast<uint64_t>(8)));
    uint32_t code[8];
    load_codes<Code>(reinterpret_cast<const uint8_t*>(p.codes) + at, count, p.aligned != 0, code);
    float v[8];
#pragma unroll
    for (int i = 0; i < 8; ++i) v[i] = Code::decode(code[i]);
    store8(reinterpret_cast<T*>(p.x) + at, count, p.aligned != 0, v);
}

}  // namespace lowbit

#define KERNEL(name, call)                                                                                            \
    extern "C" __global__ void __launch_bounds__(lowbit::kBlock) name(const __grid_constant__ lowbit::CastParams p) { \
        call(p);                                                                                                      \
    }
#define CASTS(fmt, T, Type, Code)                                     \
    KERNEL(cast_to_##fmt##_##T, (lowbit::to_fp8<Type, lowbit::Code>)) \
    KERNEL(cast_from_##fmt##_##T, (lowbit::from_fp8<Type, lowbit::Code>))
CASTS(e4m3, f32, float, E4m3)
CASTS(e4m3, f16, __half, E4m3)
CASTS(e4m3, bf16, __nv_bfloat16, E4m3)
CASTS(e5m2, f32, float, E5m2)
CASTS(e5m2, f16, __half, E5m2)
CASTS(e5m2, bf16, __nv_bfloat16, E5m2)
