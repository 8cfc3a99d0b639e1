// 4-bit weights as operands of products (operands.cuh).
//
// Packed codes (src/weights/layout.rs): tile = 16 outputs x 64 k = 512 bytes, [row tile][tile along k]; in a tile lane
// (g, t) owns 16 bytes, word s of which is its A fragment of step s:
//        a[i] half e:   output g + 8*(i&1),  k = 32*(s>>1) + 8*t + 4*(s&1) + 2*(i>>1) + e
//        bits of the code, e = 0 (e = 1: 16 higher, mod 32):   i = 0: 9..6   i = 1: 5..2   i = 2: 17..14   i =
//        3: 13..10
//
// Tricks:
//  1. f16: a code alone in the fraction of an f16 is a subnormal number, exactly q * 2^-18 in bits 9..6;
//     tensor cores multiply subnormals exactly (Fasi, Higham, Mikaitis, Pranesh, Numerical behavior of NVIDIA tensor
//     cores, PeerJ CS 7:e330, 2021). So decoding is masking: three rotations and four ANDs for 8 weights, and no bias
//     to remove. The code sits at the top of the fraction because products are aligned by exponents, not by leading
//     bits: in bits 5..2, which would save two of the rotations, the sum has 4 bits less, too few (on an H100 too).
//  2. bf16 has 8 bits and the exponents of f32, so its subnormals are out of reach: the code goes to the top of the
//     fraction of a number in [1, 2), which reads 1 + q/16 exactly. 8 instructions for 8 weights.
//  3. The zero z (and the 1 of bf16) is removed by a second mma with a constant A = -z, right behind the first: exact
//     operands, no sums of x to prepare, and the accumulator holds the product itself after every 16 k.
//     The exact twin, which the tiled product uses, subtracts from every weight instead. f16: codes of bits 9..6 and
//     of bits 5..2 in the fraction of 1024 = 0x6400 read 1024 + 64q and 1024 + 4q, and one fused multiplication and
//     addition makes (q - z)/16 of either: exact, and 9 instructions for 8 weights. bf16: 4 more than without.
//  4. A group's sum is scaled once in f32: y += s * c. A power of two is taken out of the loop.
//  5. w = q*s + m and w = (q - z)*s with a real z need the sum of x over the group: an mma with A = 1 in the same unit.
#pragma once
#include "common/convert.cuh"
#include "matmul/operands.cuh"
#include "matmul/params.cuh"

namespace lowbit {

// How zero comes in: symmetric, w = (q - 8)*s; 4-bit zeros, w = (q - z)*s; real zeros (f16), w = (q - z)*s;
// minima (f16), w = q*s + m.
enum class Zero { kSymmetric, kBits4, kReal, kMin };

// Codes as numbers of x's type. `unit` is the value of code 1. SUBTRACT: the zero is taken off every code, for which
// minus[i] belongs to a[i]; the others leave it to a second product.
template <class X, bool SUBTRACT>
struct Code4;

template <>
struct Code4<F16, false> {
    static constexpr float kBias = 0;  // decode(0) in units
    static __device__ constexpr float unit() { return 0x1p-18f; }
    static __device__ constexpr uint32_t one() { return 0x00400040; }
    static __device__ constexpr uint32_t minus_eight(int) { return 0x82008200; }
    static __device__ constexpr uint32_t minus_zero() { return 0x80008000; }  // decode adds nothing

    static __device__ __forceinline__ void decode(uint32_t (&a)[4], uint32_t word, const uint32_t (&)[4]) {
        a[0] = word & 0x03c003c0, a[1] = word << 4 & 0x03c003c0;
        a[2] = rotate_right(word, 8) & 0x03c003c0, a[3] = word >> 4 & 0x03c003c0;
    }

    // The zero byte z[g] << 4 | z[g+8] to the amounts to add to base, twice: the magnitude grows by z.
    static __device__ __forceinline__ void zeros(uint32_t (&z)[2], uint32_t byte) {
        z[0] = (byte & 0xf0) * 0x00040004, z[1] = (byte & 0x0f) * 0x00400040;
    }
};

template <>
struct Code4<F16, true> {
    static __device__ constexpr float unit() { return 0x1p-4f; }
    static __device__ constexpr uint32_t minus_eight(int i) { return i & 1 ? 0xcc20cc20 : 0xbe00be00; }

    static __device__ __forceinline__ void decode(uint32_t (&a)[4], uint32_t word, const uint32_t (&minus)[4]) {
        const uint32_t words[2] = {word, rotate_right(word, 8)};
#pragma unroll
        for (int i = 0; i < 4; ++i) {
            const uint32_t v = words[i >> 1];
            a[i] = i & 1 ? hfma2(and_or(v, 0x003c003c, 0x64006400), 0x24002400, minus[1])   // (1024 + 4q) / 64
                         : hfma2(and_or(v, 0x03c003c0, 0x64006400), 0x14001400, minus[0]);  // (1024 + 64q) / 1024
        }
    }

    static __device__ __forceinline__ void zeros(uint32_t (&z)[2], uint32_t byte) {
        z[0] = (byte & 0xf0) * 0x00040004, z[1] = (byte & 0x0f) * 0x00040004;
    }
};

template <bool SUBTRACT>
struct Code4<Bf16, SUBTRACT> {
    static constexpr float kBias = 16;
    static __device__ constexpr float unit() { return 0x1p-4f; }
    static __device__ constexpr uint32_t one() { return 0x3d803d80; }
    static __device__ constexpr uint32_t minus_eight(int) { return 0xbfc0bfc0; }  // less the 1 that decode adds
    static __device__ constexpr uint32_t minus_zero() { return 0xbf80bf80; }

    static __device__ __forceinline__ void decode(uint32_t (&a)[4], uint32_t word, const uint32_t (&minus)[4]) {
        a[0] = and_or(word >> 3, 0x00780078, 0x3f803f80);
        a[1] = and_or(word << 1, 0x00780078, 0x3f803f80);
        a[2] = and_or(rotate_right(word, 11), 0x00780078, 0x3f803f80);
        a[3] = and_or(word >> 7, 0x00780078, 0x3f803f80);
#pragma unroll
        for (int i = 0; i < 4; ++i)
            if constexpr (SUBTRACT) a[i] = Bf16::add(a[i], minus[i]);
    }

    static __device__ __forceinline__ void zeros(uint32_t (&z)[2], uint32_t byte) {
        z[0] = (byte >> 4 & 0x0f) * 0x00080008, z[1] = (byte & 0x0f) * 0x00080008;
    }
};

template <class XType, Zero ZERO, int GROUP, bool EXACT>
struct W4 {
    using X = XType;
    static constexpr int kTileK = 64;
    static constexpr bool kHasOffset = ZERO == Zero::kReal || ZERO == Zero::kMin;
    // Is there something to take off a code? With an offset, the bias of the decode, which else goes there.
    static constexpr bool kMinus = !kHasOffset || (EXACT && Code4<X, false>::kBias != 0);
    using Code = Code4<X, EXACT && kMinus>;
    static constexpr bool kCoarse = GROUP > 128;  // a group is many blocks: GROUP 256 stands for all of them
    static constexpr int kGroups = kCoarse ? 1 : 128 / GROUP;  // groups of a block
    static constexpr int kStepsPerGroup = 8 / kGroups;
    // Two blocks at a time hide each other's latency. Only with one group a block: more groups hide it among
    // themselves, and their sums would enter y in another order than those of blocks that are multiplied alone.
    static constexpr bool kLockstep = kGroups == 1;
    static constexpr int kMetaWords = kGroups * (kHasOffset ? 2 : 1);

    struct Weights {
        uint4 codes[2];
        uint32_t meta[kMetaWords];  // group r: halves {s[g], s[g+8]} (, {m[g], m[g+8]})
        uint32_t zeros;             // byte r: z[g] << 4 | z[g+8]
    };

    static constexpr int kMetaBytes = 8 * 4 * kMetaWords, kZeroBytes = 8 * kGroups;  // of a record

    const uint8_t* codes;  // at the current block
    const uint8_t* meta;   // at the current block's record; if kCoarse, at the row tile's first
    const uint8_t* zeros;
    uint32_t zeros_offset;  // a register less than a pointer that moves
    uint32_t meta_shift, base[4];

    template <class Params>
    __device__ __forceinline__ W4(const Params& p, uint32_t row_tile, uint32_t block, int lane)
        : meta_shift(p.meta_shift), base{p.minus_base[0], p.minus_base[1], p.minus_base[2], p.minus_base[3]} {
        const int g = lane >> 2;
        const uint64_t record = uint64_t(row_tile) * p.meta_blocks + (kCoarse ? 0 : block);
        codes =
            reinterpret_cast<const uint8_t*>(p.codes) + (uint64_t(row_tile) * p.tiles + 2 * block) * 512 + lane * 16;
        meta =
            reinterpret_cast<const uint8_t*>(p.meta) + record * kMetaBytes + g * (kMetaWords < 4 ? 4 * kMetaWords : 16);
        zeros = reinterpret_cast<const uint8_t*>(p.zeros);
        zeros_offset = uint32_t(record) * kZeroBytes + g * kGroups;
        // Keep one address each: rebuilt from the parameters for every load, it costs four instructions instead of one.
        asm volatile("" : "+l"(codes), "+l"(meta), "+r"(zeros_offset));
    }

    __device__ __forceinline__ void advance(int blocks) {
        lowbit::advance(codes, blocks * 1024);
        if (!kCoarse) lowbit::advance(meta, blocks * kMetaBytes);
        if (!kCoarse && ZERO == Zero::kBits4) zeros_offset += blocks * kZeroBytes;
    }

    // Scales of block `block`, which lies `ahead` blocks behind the current one.
    __device__ __forceinline__ void load_scales(Weights& w, int ahead, uint32_t block, bool valid) const {
        const uint32_t record = kCoarse ? block >> meta_shift : ahead;
        const uint8_t* m = meta + record * uint64_t(kMetaBytes);
        constexpr int kPiece = kMetaWords < 4 ? kMetaWords : 4;
#pragma unroll
        for (int i = 0; i < kMetaWords / kPiece; ++i) load_words_if<kPiece>(w.meta + kPiece * i, m + 128 * i, valid);
        if constexpr (ZERO == Zero::kBits4)
            load_bytes_if<kGroups>(w.zeros, zeros + zeros_offset + record * uint64_t(kZeroBytes), valid);
    }

    __device__ __forceinline__ void load_codes(Weights& w, int tile, int ahead, bool valid) const {
        load_codes_if(w.codes[tile], codes + ahead * 1024 + tile * 512, valid);
    }

    template <int COLUMNS>
    struct Sums {
        float c[COLUMNS][4];  // of codes, less zeros, times x
        float x[COLUMNS][4];  // of x, for real zeros and minima
        uint32_t minus[4];    // what is taken from a[i], twice
    };

    template <int COLUMNS>
    __device__ __forceinline__ void begin(Sums<COLUMNS>& sums, const Weights& w, int group) const {
#pragma unroll
        for (int i = 0; i < 4; ++i) {
#pragma unroll
            for (int j = 0; j < COLUMNS; ++j) sums.c[j][i] = 0.f, sums.x[j][i] = 0.f;
            if constexpr (ZERO == Zero::kSymmetric)
                sums.minus[i] = Code::minus_eight(i);
            else if constexpr (kHasOffset)
                sums.minus[i] = Code::minus_zero();
        }
        if constexpr (ZERO == Zero::kBits4) {
            uint32_t z[2];
            Code::zeros(z, w.zeros >> (8 * group));
#pragma unroll
            for (int i = 0; i < 4; ++i) sums.minus[i] = z[i & 1] + base[i];
        }
    }

    // 16 k of rows of x whose fragments of step s are in `x`.
    template <int COLUMNS>
    __device__ __forceinline__ void step(Sums<COLUMNS>& sums, const Weights& w, int s, const XRun (&x)[COLUMNS]) const {
        const uint4& v = w.codes[s >> 2];
        const uint32_t words[4] = {v.x, v.y, v.z, v.w};
        uint32_t a[4];
        Code::decode(a, words[s & 3], sums.minus);
#pragma unroll
        for (int j = 0; j < COLUMNS; ++j) X::mma(sums.c[j], a, x[j].b(s, 0), x[j].b(s, 1), sums.c[j]);
#pragma unroll
        for (int j = 0; j < COLUMNS; ++j) {
            if constexpr (!EXACT && kMinus) X::mma(sums.c[j], sums.minus, x[j].b(s, 0), x[j].b(s, 1), sums.c[j]);
            if constexpr (kHasOffset) {
                const uint32_t ones[4] = {Code::one(), Code::one(), Code::one(), Code::one()};
                X::mma(sums.x[j], ones, x[j].b(s, 0), x[j].b(s, 1), sums.x[j]);
            }
        }
    }

    template <int COLUMNS>
    __device__ __forceinline__ void end(Sums<COLUMNS>& sums, const Weights& w, int group,
                                        float (&y)[COLUMNS][4]) const {
        const float2 scale = half2_to_float2(w.meta[kHasOffset ? 2 * group : group]);
        float2 o;
        if constexpr (kHasOffset) {
            o = half2_to_float2(w.meta[2 * group + 1]);
            constexpr float kBias = EXACT ? 0.f : Code::kBias;
            if (ZERO == Zero::kMin && kBias != 0)
                o = make_float2(fmaf(-kBias, scale.x, o.x), fmaf(-kBias, scale.y, o.y));
            if (ZERO == Zero::kReal) o = make_float2(-scale.x * (o.x + kBias), -scale.y * (o.y + kBias));
        }
#pragma unroll
        for (int j = 0; j < COLUMNS; ++j) {
            y[j][0] = fmaf(scale.x, sums.c[j][0], y[j][0]);
            y[j][1] = fmaf(scale.x, sums.c[j][1], y[j][1]);
            y[j][2] = fmaf(scale.y, sums.c[j][2], y[j][2]);
            y[j][3] = fmaf(scale.y, sums.c[j][3], y[j][3]);
            if constexpr (kHasOffset) {
                y[j][0] = fmaf(o.x, sums.x[j][0], y[j][0]);
                y[j][1] = fmaf(o.x, sums.x[j][1], y[j][1]);
                y[j][2] = fmaf(o.y, sums.x[j][2], y[j][2]);
                y[j][3] = fmaf(o.y, sums.x[j][3], y[j][3]);
            }
        }
    }

    // y is in units of 1 / this.
    static __device__ __forceinline__ float unit() { return 1.f / Code::unit(); }
};

}  // namespace lowbit
