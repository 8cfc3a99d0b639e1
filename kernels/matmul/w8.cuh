// 8-bit weights w = q*s as operands of products (operands.cuh).
//
// Packed codes (src/weights/layout.rs): tile = 16 outputs x 32 k = 512 bytes, [row tile][tile along k]; in a tile lane
// (g, t) owns 16 bytes, words 2*s and 2*s + 1 of which are its A fragment of step s = 0, 1:
//        a[i] half e:   output g + 8*(i&1),  k = 8*t + 4*s + 2*(i>>1) + e,   byte 2*(i&1) + e of word 2*s + (i>>1): q +
//        128
//
// f16: a byte under 0x64 reads 1024 + 128 + q, less 1152 is q. bf16 has not these bits: the low seven under 0x43 read
// 128 + (q & 127), less 128 or 256 by the eighth bit is q. (As a subnormal number a byte would need no subtraction, but
// a product is aligned as if it began at the top of the fraction, w4.cuh: too few bits are left of the sum.)
#pragma once
#include "matmul/operands.cuh"
#include "matmul/params.cuh"

namespace lowbit {

template <class XType, int GROUP>
struct W8 {
    using X = XType;
    static constexpr bool kTenBits = X::kFractionBits == 10;
    static constexpr int kTileK = 32;
    static constexpr bool kCoarse = GROUP > 2 * kTileK;  // a group is many blocks
    static constexpr int kGroups = kCoarse ? 1 : 2 * kTileK / GROUP;
    static constexpr int kStepsPerGroup = 4 / kGroups;
    static constexpr bool kLockstep = kGroups == 1;
    static constexpr int kMetaBytes = 8 * 4 * kGroups;

    struct Weights {
        uint4 codes[2];
        uint32_t meta[kGroups];  // group r: halves {s[g], s[g+8]}
    };

    const uint8_t* codes;  // at the current block
    const uint8_t* meta;   // at the current block's record; if kCoarse, at the row tile's first
    uint32_t meta_shift;

    __device__ __forceinline__ W8(const ProductParams& p, uint32_t row_tile, uint32_t block, int lane)
        : meta_shift(p.meta_shift) {
        const uint64_t record = uint64_t(row_tile) * p.meta_blocks + (kCoarse ? 0 : block);
        codes =
            reinterpret_cast<const uint8_t*>(p.codes) + (uint64_t(row_tile) * p.tiles + 2 * block) * 512 + lane * 16;
        meta = reinterpret_cast<const uint8_t*>(p.meta) + record * kMetaBytes + (lane >> 2) * 4 * kGroups;
        asm volatile("" : "+l"(codes), "+l"(meta));  // one address each, as in w4.cuh
    }

    __device__ __forceinline__ void advance(int blocks) {
        lowbit::advance(codes, blocks * 1024);
        if (!kCoarse) lowbit::advance(meta, blocks * kMetaBytes);
    }

    __device__ __forceinline__ void load_scales(Weights& w, int ahead, uint32_t block, bool valid) const {
        load_words_if<kGroups>(w.meta, meta + (kCoarse ? block >> meta_shift : ahead) * uint64_t(kMetaBytes), valid);
    }

    __device__ __forceinline__ void load_codes(Weights& w, int tile, int ahead, bool valid) const {
        load_codes_if(w.codes[tile], codes + ahead * 1024 + tile * 512, valid);
    }

    // Two codes of a word, the low or the high pair.
    static __device__ __forceinline__ uint32_t decode(uint32_t word, bool high) {
        const uint32_t pair = __byte_perm(word, kTenBits ? 0x64646464 : 0, high ? 0x4342 : 0x4140);
        if constexpr (kTenBits) return X::add(pair, 0xe480e480);
        uint32_t less;  // (~pair & 0x0080) | 0xc300: -256 for a clear eighth bit, else -128
        asm("lop3.b32 %0, %1, %2, %3, 0xAE;" : "=r"(less) : "r"(pair), "r"(0x00800080), "r"(0xc300c300));
        return X::add(and_or(pair, 0x007f007f, 0x43004300), less);
    }

    template <int COLUMNS>
    struct Sums {
        float c[COLUMNS][4];
    };

    template <int COLUMNS>
    __device__ __forceinline__ void begin(Sums<COLUMNS>& sums, const Weights&, int) const {
#pragma unroll
        for (int j = 0; j < COLUMNS; ++j)
#pragma unroll
            for (int i = 0; i < 4; ++i) sums.c[j][i] = 0.f;
    }

    // 16 k of rows of x whose fragments of step s are in `x`.
    template <int COLUMNS>
    __device__ __forceinline__ void step(Sums<COLUMNS>& sums, const Weights& w, int s, const XRun (&x)[COLUMNS]) const {
        const uint4& v = w.codes[s >> 1];
        const uint32_t low = s & 1 ? v.z : v.x, high = s & 1 ? v.w : v.y;
        const uint32_t a[4] = {decode(low, false), decode(low, true), decode(high, false), decode(high, true)};
#pragma unroll
        for (int j = 0; j < COLUMNS; ++j) X::mma(sums.c[j], a, x[j].b(s, 0), x[j].b(s, 1), sums.c[j]);
    }

    template <int COLUMNS>
    __device__ __forceinline__ void end(Sums<COLUMNS>& sums, const Weights& w, int group,
                                        float (&y)[COLUMNS][4]) const {
        const float2 scale = half2_to_float2(w.meta[group]);
#pragma unroll
        for (int j = 0; j < COLUMNS; ++j) {
            y[j][0] = fmaf(scale.x, sums.c[j][0], y[j][0]);
            y[j][1] = fmaf(scale.x, sums.c[j][1], y[j][1]);
            y[j][2] = fmaf(scale.y, sums.c[j][2], y[j][2]);
            y[j][3] = fmaf(scale.y, sums.c[j][3], y[j][3]);
        }
    }

    static __device__ __forceinline__ float unit() { return 1.f; }
};

}  // namespace lowbit
