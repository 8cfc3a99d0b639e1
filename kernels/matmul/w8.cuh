// 8-bit weights w = q*s for the skinny product (skinny.cuh).
//
// Packed codes (src/weights/layout.rs): tile = 16 outputs x 32 k = 512 bytes, [row tile][tile along k]; in a tile lane (g, t)
// owns 16 bytes, words 2*s and 2*s + 1 of which are its A fragment of step s = 0, 1:
//        a[i] half e:   output g + 8*(i&1),  k = 8*t + 4*s + 2*(i>>1) + e,   byte 2*(i&1) + e of word 2*s + (i>>1): q + 128
//
// Decode, exactly: in f16, bytes put under 0x64 read 1024 + 128 + q, less 1152 is q (prmt and add for two codes). In bf16,
// which has 8 bits less, the low seven bits put under 0x43 read 128 + (q & 127), less 128 or 256 by the eighth bit.
#pragma once
#include "skinny.cuh"

namespace lowbit {

template <class XType, int GROUP>
struct W8 {
    using X = XType;
    static constexpr int kBlockK = 64;
    static constexpr float kUnit = 1.f;
    static constexpr bool kCoarse = GROUP > kBlockK;  // a group is many blocks
    static constexpr int kGroups = kCoarse ? 1 : kBlockK / GROUP;
    static constexpr int kMetaBytes = 8 * 4 * kGroups;

    struct Weights {
        uint4 codes[2];
        uint32_t meta[kGroups];  // group r: halves {s[g], s[g+8]}
    };

    const uint8_t* codes;  // at the current block
    const uint8_t* meta;   // at the current block's record; if kCoarse, at the row tile's first
    uint32_t meta_shift, tiles;

    __device__ __forceinline__ W8(const SkinnyParams& p, uint32_t row_tile, uint32_t block, int lane)
        : meta_shift(p.meta_shift), tiles(p.tiles) {
        const uint64_t record = uint64_t(row_tile) * p.meta_blocks + (kCoarse ? 0 : block);
        codes = reinterpret_cast<const uint8_t*>(p.codes) + (uint64_t(row_tile) * p.tiles + 2 * block) * 512 + lane * 16;
        meta = reinterpret_cast<const uint8_t*>(p.meta) + record * kMetaBytes + (lane >> 2) * 4 * kGroups;
        asm volatile("" : "+l"(codes), "+l"(meta));  // one address each, as in w4.cuh
    }

    __device__ __forceinline__ void advance(int blocks) {
        codes += blocks * 1024;
        if (!kCoarse) meta += blocks * kMetaBytes;
    }

    __device__ __forceinline__ void load_meta(Weights& w, int ahead, uint32_t block) const {
        const uint8_t* m = meta + (kCoarse ? block >> meta_shift : ahead) * uint64_t(kMetaBytes);
        if constexpr (kGroups == 1) {
            w.meta[0] = __ldg(reinterpret_cast<const uint32_t*>(m));
        } else {
            const uint2 v = __ldg(reinterpret_cast<const uint2*>(m));
            w.meta[0] = v.x, w.meta[1] = v.y;
        }
    }

    __device__ __forceinline__ void load(Weights& w, int ahead, uint32_t block) const {
        w.codes[0] = load_streaming(codes + ahead * 1024);
        w.codes[1] = load_streaming(codes + ahead * 1024 + 512);
        load_meta(w, ahead, block);
    }

    __device__ __forceinline__ void load_guarded(Weights& w, uint32_t block) const {
        w.codes[0] = load_streaming(codes);
        w.codes[1] = 2 * block + 1 < tiles ? load_streaming(codes + 512) : make_uint4(0, 0, 0, 0);
        load_meta(w, 0, block);
    }

    // Two codes of a word, the low or the high pair.
    static __device__ __forceinline__ uint32_t decode(uint32_t word, bool high) {
        if constexpr (X::kFractionBits == 10) {
            return X::add(__byte_perm(word, 0x64646464, high ? 0x4342 : 0x4140), 0xe480e480);
        } else {
            const uint32_t pair = __byte_perm(word, 0, high ? 0x4342 : 0x4140);
            uint32_t less;  // (~pair & 0x0080) | 0xc300: -256 for a clear eighth bit, else -128
            asm("lop3.b32 %0, %1, %2, %3, 0xAE;" : "=r"(less) : "r"(pair), "r"(0x00800080), "r"(0xc300c300));
            return X::add(and_or(pair, 0x007f007f, 0x43004300), less);
        }
    }

    __device__ __forceinline__ void multiply(const Weights& w, const XFragments<2>& x, float (&y)[4]) const {
        const uint32_t words[8] = {w.codes[0].x, w.codes[0].y, w.codes[0].z, w.codes[0].w,
                                   w.codes[1].x, w.codes[1].y, w.codes[1].z, w.codes[1].w};
#pragma unroll
        for (int r = 0; r < kGroups; ++r) {
            float c[4] = {0.f, 0.f, 0.f, 0.f};
#pragma unroll
            for (int s = r * (4 / kGroups); s < (r + 1) * (4 / kGroups); ++s) {
                const uint32_t a[4] = {decode(words[2 * s], false), decode(words[2 * s], true),
                                       decode(words[2 * s + 1], false), decode(words[2 * s + 1], true)};
                X::mma(c, a, x.b(s, 0), x.b(s, 1), c);
            }
            const float2 scale = half2_to_float2(w.meta[r]);
            y[0] = fmaf(scale.x, c[0], y[0]);
            y[1] = fmaf(scale.x, c[1], y[1]);
            y[2] = fmaf(scale.y, c[2], y[2]);
            y[3] = fmaf(scale.y, c[3], y[3]);
        }
    }
};

}  // namespace lowbit
