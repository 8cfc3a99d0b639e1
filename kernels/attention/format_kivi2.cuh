// KIVI with values of 2 bits and keys of 2 or 8: keys per channel over 32 or 64 tokens, values per token over 32
// channels, f16 scale and minimum (Liu et al. 2024, as format_kivi4.cuh). D is a multiple of 32.
//
// Tile of 32 tokens (halves i of 16), N = D/16 words a lane of 2-bit codes, 8D bytes. Code n is bits 2n, 2n+1.
//   keys    (T32, w N)      -> code 2i+h + 4b + 8e: token 16i+8h+g, channel 16w+4t+2b+e
//           8 bits: format_bytes.cuh
//   values  (T32, w = 2v+i) -> code 2(m%2)+r + 4h + 8e: token 16i+8h+2t+e, channel 16m+2g+r, m = 2v, 2v+1; a byte is
//           four channels of one token
//   meta of keys, halves: ch the scale, D + ch the minimum of channel ch; of values: format_nibbles.cuh
//
// 1. A code is taken out of its word by one AND: as f16 it then is a subnormal number, n * 2^-24 where its bits are the
//    lowest of the pair, four times that two bits on. Nothing comes off, and what it must be multiplied by depends on
//    the code's place alone, that is, on the row of the product: keys get it with their score, values at the end.
//    (Tensor cores take subnormal operands as they are.)
// 2. Scales go into the query as hi + lo, minima are one number a column: as in format_kivi4.cuh.
#pragma once
#include "attention/format_bytes.cuh"
#include "attention/format_kivi4.cuh"

namespace lowbit {

struct CrumbCode {
    __device__ __forceinline__ explicit CrumbCode(uint32_t) {}

    // d[x][p]: codes p + 4x and p + 4x + 8 times 2^-24 * 4^p.
    static __device__ __forceinline__ void decode(uint32_t w, uint32_t (&d)[2][4]) {
#pragma unroll
        for (int p = 0; p < 4; ++p) {
            d[0][p] = w & (0x00030003u << 2 * p);
            d[1][p] = w >> 8 & (0x00030003u << 2 * p);
        }
    }
    // 2^24 / 4^p.
    static __host__ __device__ constexpr float unit(int p) { return static_cast<float>(1 << (24 - 2 * p)); }
};

// Codes 0..255 of a byte each.
struct PlainByteCode {
    __device__ __forceinline__ explicit PlainByteCode(uint32_t) {}

    // Bytes 0,1 and bytes 2,3 times 2^-24: subnormal numbers.
    static __device__ __forceinline__ void decode(uint32_t w, uint32_t& pair01, uint32_t& pair23) {
        pair01 = __byte_perm(w, 0, 0x4140);
        pair23 = __byte_perm(w, 0, 0x4342);
    }
};

// What keys with a scale and a minimum per channel share where a k step is 16 neighbouring channels, or 16 of a lane's
// four runs: the query times the scales, and times the minima.
template <int D>
struct ChannelMeta {
    static constexpr int BYTES = 4 * D;

    // The fold of the query's channels `ch` .. ch+3, which are step s of the lane; `even` and `odd` add the minima.
    static __device__ __forceinline__ void fold(const char* meta, int ch, const uint32_t (&q)[2], uint32_t (&hi)[2],
                                                uint32_t (&lo)[2], float (&sum)[2][4]) {
        const uint2 scales = *reinterpret_cast<const uint2*>(meta + 2 * ch);
        const uint2 mins = *reinterpret_cast<const uint2*>(meta + 2 * (D + ch));
        // Rows g of the first product and rows 8+g of the second are the minima of the channels it has.
        mma_f16_k8(sum[0], mins.x, mins.y, q[0]);
        mma_f16_k8(sum[1], mins.x, mins.y, q[1]);
        multiply_exactly(q[0], scales.x, hi[0], lo[0]);
        multiply_exactly(q[1], scales.y, hi[1], lo[1]);
    }
};

template <int HEAD_DIM>
struct CrumbChannelKeys : Side<HEAD_DIM, 2> {
    using Code = CrumbCode;
    static constexpr int D = HEAD_DIM, N = D / 16, CODES = 8 * D, META = ChannelMeta<D>::BYTES;
    static constexpr bool COLUMN_BIAS = true;
    static constexpr int Q_EXPONENT = 0;  // A scale is at most 2 * 65504 / 3.
    const Code code;

    __device__ __forceinline__ explicit CrumbChannelKeys(uint32_t zero) : code(zero) {}

    static __device__ __forceinline__ QueryPlace place(int ch) { return {ch >> 4, (ch >> 2) & 3, (ch >> 1) & 1}; }

    __device__ __forceinline__ void scores(const char* codes, const char* meta, int lane,
                                           const typename Side<HEAD_DIM, 2>::Query&, const uint32_t (&q)[D / 16][2],
                                           float (&c)[2][4], float (&bias)[2]) const {
        const int t = lane & 3;
        float sum[2][4] = {};
#pragma unroll
        for (int x = 0; x < N; x += 4) {
            uint32_t words[4];
            load_words<N>(codes, lane, x, words);
#pragma unroll
            for (int j = 0; j < 4; ++j) {
                if (x + j >= N) continue;
                uint32_t hi[2], lo[2], d[2][4];
                ChannelMeta<D>::fold(meta, 16 * (x + j) + 4 * t, q[x + j], hi, lo, sum);
                code.decode(words[j], d);
#pragma unroll
                for (int i = 0; i < 2; ++i) {
                    const uint32_t a[4] = {d[0][2 * i], d[0][2 * i + 1], d[1][2 * i], d[1][2 * i + 1]};
                    mma_f16(c[i], a, hi);
                    mma_f16(c[i], a, lo);
                }
            }
        }
#pragma unroll
        for (int x = 0; x < 8; ++x) c[x / 4][x % 4] *= CrumbCode::unit(2 * (x / 4) + x % 4 / 2);
        bias[0] = sum[0][0] + sum[1][2];
        bias[1] = sum[0][1] + sum[1][3];
    }

    // Codes are finite whatever they are; scales and minima are the whole group's.
    static __device__ __forceinline__ void erase(char* codes, char*, int lane, uint32_t keep) {
        if (keep == 0) clear_part<CODES>(codes, lane);
    }
};

template <int HEAD_DIM>
struct ByteChannelKeys : Side<HEAD_DIM, 2> {
    using Code = PlainByteCode;
    static constexpr int D = HEAD_DIM, N = D / 16, CODES = 32 * D, META = ChannelMeta<D>::BYTES;
    static constexpr bool COLUMN_BIAS = true;
    const Code code;

    __device__ __forceinline__ explicit ByteChannelKeys(uint32_t zero) : code(zero) {}

    static __device__ __forceinline__ QueryPlace place(int ch) { return ByteKeys<Code, false, D>::place(ch); }

    __device__ __forceinline__ void scores(const char* codes, const char* meta, int lane,
                                           const typename Side<HEAD_DIM, 2>::Query&, const uint32_t (&q)[D / 16][2],
                                           float (&c)[2][4], float (&bias)[2]) const {
        const int t = lane & 3;
        float sum[2][4] = {};
#pragma unroll
        for (int x = 0; x < N; x += 4) {
            uint32_t words[4][4];  // of tokens 8y + g
#pragma unroll
            for (int y = 0; y < 4; ++y) load_words<N>(codes + 8 * D * y, lane, x, words[y]);
#pragma unroll
            for (int j = 0; j < 4; ++j) {
                if (x + j >= N) continue;
                uint32_t hi[2], lo[2];
                const int ch = x + 4 <= N ? 16 * x + 16 * t + 4 * j : 16 * (x + j) + 4 * t;
                ChannelMeta<D>::fold(meta, ch, q[x + j], hi, lo, sum);
#pragma unroll
                for (int i = 0; i < 2; ++i) {
                    uint32_t a[4];
                    code.decode(words[2 * i][j], a[0], a[2]);
                    code.decode(words[2 * i + 1][j], a[1], a[3]);
                    mma_f16(c[i], a, hi);
                    mma_f16(c[i], a, lo);
                }
            }
        }
#pragma unroll
        for (int x = 0; x < 8; ++x) c[x / 4][x % 4] *= 0x1p24f;
        bias[0] = sum[0][0] + sum[1][2];
        bias[1] = sum[0][1] + sum[1][3];
    }

    // As of CrumbChannelKeys.
    static __device__ __forceinline__ void erase(char* codes, char*, int lane, uint32_t keep) {
        if (keep == 0) clear_part<CODES>(codes, lane);
    }
};

template <int HEAD_DIM>
struct CrumbValues : GroupValues<HEAD_DIM> {
    using Code = CrumbCode;
    using Group = GroupValues<HEAD_DIM>;
    static constexpr int D = HEAD_DIM, N = D / 16, CODES = 8 * D;
    static_assert(D % 32 == 0, "a byte is four channels of a token");
    const Code code;

    __device__ __forceinline__ CrumbValues(uint32_t, const Code& same) : code(same) {}
    template <class Other>
    __device__ __forceinline__ CrumbValues(uint32_t zero, const Other&) : code(zero) {}

    static __host__ __device__ constexpr float out_unit(int m, int r) { return CrumbCode::unit(2 * (m % 2) + r); }

    __device__ __forceinline__ void values(const char* codes, const char* meta, int lane,
                                           const uint32_t (&weights)[1][2][2], float (&o)[D / 16][4],
                                           typename Group::Carry& carry) const {
        const uint32_t (&p)[2][2] = weights[0];
        Group::add_minima(meta, lane, p, carry);
#pragma unroll
        for (int x = 0; x < N; x += 4) {
            uint32_t words[4];
            uint32_t scales[4];
            load_words<N>(codes, lane, x, words);
#pragma unroll
            for (int j = 0; j < 4; ++j) {
                if (x + j >= N) continue;
                const int v = (x + j) / 2, i = j % 2;
                uint32_t hi[2], lo[2], d[2][4];
                if (i == 0) Group::load_scales(meta, v, lane & 3, scales);
                Group::scaled(scales, i, p[i], hi, lo);
                code.decode(words[j], d);
#pragma unroll
                for (int m = 0; m < 2; ++m) {
                    const uint32_t a[4] = {d[0][2 * m], d[0][2 * m + 1], d[1][2 * m], d[1][2 * m + 1]};
                    Group::multiply(o[2 * v + m], a, hi, lo);
                }
            }
        }
    }

    static __device__ __forceinline__ void erase(char* codes, char* meta, int lane, uint32_t keep) {
        if (keep == 0) clear_part<CODES>(codes, lane);
        Group::erase_meta(meta, lane, keep);
    }
};

// `GROUP` tokens share the scales of a key's channel: 32, or 64 in records of two steps.
template <int D, int GROUP = 32>
using Kivi2 = Format<CrumbChannelKeys<D>, CrumbValues<D>, true, GROUP / 32>;

template <int D, int GROUP = 32>
using Kivi8_2 = Format<ByteChannelKeys<D>, CrumbValues<D>, true, GROUP / 32>;

}  // namespace lowbit
