// 4-bit weights for the skinny product (skinny.cuh).
//
// Packed codes (src/weights/layout.rs): tile = 16 outputs x 64 k = 512 bytes, [row tile][tile along k]; in a tile lane (g, t)
// owns 16 bytes, word s of which is its A fragment of step s:
//        a[i] half e:   output g + 8*(i&1),  k = 32*(s>>1) + 8*t + 4*(s&1) + 2*(i>>1) + e
//        bits of the code, e = 0:   i = 0: 9..6   i = 1: 13..10   i = 2: 1,0,31,30 -> see below   i = 3: 5..2
//   that is, code (i, e) sits at bit (6 + 4*i' + 16*e) mod 32 with i' = 0, 1, 2, -1.
//
// Tricks:
//  1. Decode by one rotation and one lop3 for two codes: the code lands in the top fraction bits of a number in [1, 2),
//     which reads 1 + q/16 exactly, in f16 and in bf16. 7 instructions for 8 weights in f16, 8 in bf16.
//  2. The 1 + z/16 in front of q - z is removed by a second mma with the constant A = -(1 + z/16), right behind the first:
//     exact operands, no sums of x to prepare, and the accumulator never grows beyond 16 products. (The usual 1024 + q
//     leaves 10 bits less for the sum.) The exact twin subtracts in the loop instead (4 instructions for 8 weights).
//  3. A group's sum is scaled once in f32: y += s * c. The factor 16 is taken out of the loop.
//  4. w = q*d + m and w = (q - z)*d with a real z need the sum of x over the group: an mma with A = 1.
#pragma once
#include "skinny.cuh"

namespace lowbit {

// How zero comes in: symmetric, w = (q - 8)*s; 4-bit zeros, w = (q - z)*s; real zeros (f16), w = (q - z)*s;
// minima (f16), w = q*s + m.
enum class Zero { kSymmetric, kBits4, kReal, kMin };

template <class XType, Zero ZERO, int GROUP, bool EXACT>
struct W4 {
    using X = XType;
    static constexpr int kBlockK = 128;
    static constexpr float kUnit = 16.f;  // sums are of (q - z)/16
    static constexpr bool kHasOffset = ZERO == Zero::kReal || ZERO == Zero::kMin;
    static constexpr bool kCoarse = GROUP > 128;  // a group is many blocks: GROUP 256 stands for all of them
    static constexpr int kGroups = kCoarse ? 1 : 128 / GROUP;  // groups of a block
    static constexpr int kMetaWords = kGroups * (kHasOffset ? 2 : 1);

    struct Weights {
        uint4 codes[2];
        uint32_t meta[kMetaWords];  // group r: halves {s[g], s[g+8]} (, {m[g], m[g+8]})
        uint32_t zeros;             // byte r: z[g] | z[g+8] << 4
    };

    static constexpr int kMetaBytes = 8 * 4 * kMetaWords, kZeroBytes = 8 * kGroups;  // of a record

    const uint8_t* codes;  // at the current block
    const uint8_t* meta;   // at the current block's record; if kCoarse, at the row tile's first
    const uint8_t* zeros;
    uint32_t meta_shift, tiles, base[2];

    __device__ __forceinline__ W4(const SkinnyParams& p, uint32_t row_tile, uint32_t block, int lane)
        : meta_shift(p.meta_shift), tiles(p.tiles), base{p.minus_base[0], p.minus_base[1]} {
        const int g = lane >> 2;
        const uint64_t record = uint64_t(row_tile) * p.meta_blocks + (kCoarse ? 0 : block);
        codes = reinterpret_cast<const uint8_t*>(p.codes) + (uint64_t(row_tile) * p.tiles + 2 * block) * 512 + lane * 16;
        meta = reinterpret_cast<const uint8_t*>(p.meta) + record * kMetaBytes + g * 4 * kMetaWords;
        zeros = reinterpret_cast<const uint8_t*>(p.zeros) + record * kZeroBytes + g * kGroups;
        // Keep one address each: rebuilt from the parameters for every load, it costs four instructions instead of one.
        asm volatile("" : "+l"(codes), "+l"(meta), "+l"(zeros));
    }

    __device__ __forceinline__ void advance(int blocks) {
        codes += blocks * 1024;
        if (!kCoarse) meta += blocks * kMetaBytes, zeros += blocks * kZeroBytes;
    }

    __device__ __forceinline__ void load_meta(Weights& w, int ahead, uint32_t block) const {
        const uint32_t record = kCoarse ? block >> meta_shift : ahead;
        const uint8_t* m = meta + record * uint64_t(kMetaBytes);
        if constexpr (kMetaWords == 1) {
            w.meta[0] = __ldg(reinterpret_cast<const uint32_t*>(m));
        } else if constexpr (kMetaWords == 2) {
            const uint2 v = __ldg(reinterpret_cast<const uint2*>(m));
            w.meta[0] = v.x, w.meta[1] = v.y;
        } else {
#pragma unroll
            for (int i = 0; i < kMetaWords / 4; ++i) {
                const uint4 v = __ldg(reinterpret_cast<const uint4*>(m) + i);
                w.meta[4 * i] = v.x, w.meta[4 * i + 1] = v.y, w.meta[4 * i + 2] = v.z, w.meta[4 * i + 3] = v.w;
            }
        }
        if constexpr (ZERO == Zero::kBits4) {
            const uint8_t* z = zeros + record * uint64_t(kZeroBytes);
            if constexpr (kGroups == 1) w.zeros = __ldg(z);
            else if constexpr (kGroups == 2) w.zeros = __ldg(reinterpret_cast<const uint16_t*>(z));
            else w.zeros = __ldg(reinterpret_cast<const uint32_t*>(z));
        }
    }

    // Block `block`, which lies `ahead` blocks behind the current one.
    __device__ __forceinline__ void load(Weights& w, int ahead, uint32_t block) const {
        w.codes[0] = load_streaming(codes + ahead * 1024);
        w.codes[1] = load_streaming(codes + ahead * 1024 + 512);
        load_meta(w, ahead, block);
    }

    // The current block; its second tile may lie beyond the end of k.
    __device__ __forceinline__ void load_guarded(Weights& w, uint32_t block) const {
        w.codes[0] = load_streaming(codes);
        w.codes[1] = 2 * block + 1 < tiles ? load_streaming(codes + 512) : make_uint4(0, 0, 0, 0);
        load_meta(w, 0, block);
    }

    // a[i] = 1 + q/16, two codes each.
    static __device__ __forceinline__ void decode(uint32_t (&a)[4], uint32_t word) {
        constexpr int kShift = 10 - X::kFractionBits;  // 0 or 3: how far below f16's the fraction ends
        constexpr uint32_t kMask = 0x03c003c0u >> kShift;
        a[0] = and_or(kShift ? word >> kShift : word, kMask, X::kOne);
        a[1] = and_or(word >> (4 + kShift), kMask, X::kOne);
        a[2] = and_or(rotate_right(word, 8 + kShift), kMask, X::kOne);
        a[3] = and_or(word << (4 - kShift), kMask, X::kOne);
    }

    __device__ __forceinline__ void multiply(const Weights& w, const XFragments<4>& x, float (&y)[4]) const {
        const uint32_t words[8] = {w.codes[0].x, w.codes[0].y, w.codes[0].z, w.codes[0].w,
                                   w.codes[1].x, w.codes[1].y, w.codes[1].z, w.codes[1].w};
        const uint32_t ones[4] = {X::kOne, X::kOne, X::kOne, X::kOne};
#pragma unroll
        for (int r = 0; r < kGroups; ++r) {
            // minus[i] = -(1 + z/16), twice, of the output of a[i].
            uint32_t minus[4];
            if constexpr (ZERO == Zero::kBits4) {
                constexpr uint32_t kStep = 0x00010001u << (X::kFractionBits - 4);
                const uint32_t low = (w.zeros >> (8 * r)) & 15, high = (w.zeros >> (8 * r + 4)) & 15;
                minus[0] = low * kStep + base[0], minus[1] = high * kStep + base[0];
                minus[2] = low * kStep + base[1], minus[3] = high * kStep + base[1];
            } else {
#pragma unroll
                for (int i = 0; i < 4; ++i) minus[i] = ZERO == Zero::kSymmetric ? X::kMinusThreeHalves : X::kMinusOne;
            }
            float c[4] = {0.f, 0.f, 0.f, 0.f}, sum[4] = {0.f, 0.f, 0.f, 0.f};
#pragma unroll
            for (int s = r * (8 / kGroups); s < (r + 1) * (8 / kGroups); ++s) {
                uint32_t a[4];
                decode(a, words[s]);
                if constexpr (EXACT) {
#pragma unroll
                    for (int i = 0; i < 4; ++i) a[i] = X::add(a[i], minus[i]);
                }
                X::mma(c, a, x.b(s, 0), x.b(s, 1), c);
                if constexpr (kHasOffset) {
                    X::mma(sum, ones, x.b(s, 0), x.b(s, 1), sum);
                } else if constexpr (!EXACT) {
                    X::mma(c, minus, x.b(s, 0), x.b(s, 1), c);
                }
            }
            const float2 scale = half2_to_float2(w.meta[kHasOffset ? 2 * r : r]);
            y[0] = fmaf(scale.x, c[0], y[0]);
            y[1] = fmaf(scale.x, c[1], y[1]);
            y[2] = fmaf(scale.y, c[2], y[2]);
            y[3] = fmaf(scale.y, c[3], y[3]);
            if constexpr (kHasOffset) {
                const float2 off = half2_to_float2(w.meta[2 * r + 1]);
                const float lo = offset(scale.x, off.x), hi = offset(scale.y, off.y);
                y[0] = fmaf(lo, sum[0], y[0]);
                y[1] = fmaf(lo, sum[1], y[1]);
                y[2] = fmaf(hi, sum[0], y[2]);
                y[3] = fmaf(hi, sum[1], y[3]);
            }
        }
    }

    // What a group's sum of x is multiplied by, in units of 1/16: m or -z*s, less the s*16 that the decode adds.
    static __device__ __forceinline__ float offset(float s, float o) {
        constexpr float kSixteenth = 1.f / 16;
        const float one = EXACT ? 0.f : -s;
        return ZERO == Zero::kMin ? fmaf(o, kSixteenth, one) : fmaf(-s * kSixteenth, o, one);
    }
};

}  // namespace lowbit
