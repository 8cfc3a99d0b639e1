// Codes of a byte each: the maps, whatever a byte means and whether a token or a channel has a scale of its own. Scales
// per channel are in the query, which is f16 in two parts then: rounded once it would miss the tolerance.
//
// HALVES i of 16 tokens, D channels, N = D/16 words a lane (words.cuh); F = D - D%64.
//   keys    (T32, i, h, w N)  -> word w of half 2i+h, 8D bytes each: bytes 2b+e of token 16i+8h+g, channel
//      64(w>>2)+16t+4(w&3)+2b+e below F, 16w+4t+2b+e from there on
//   values  (T32, i, h, m N)  -> word m of half 2i+h: byte 2r+e of token 16i+8h+2t+e, channel (D/8)g+2m+r
//   scales: f32 2*HALVES*g+2i+h is token 16i+8h+g
#pragma once
#include <type_traits>

#include "attention/format.cuh"

namespace lowbit {

// One f32 a token: meta of a side.
template <int HALVES>
struct TokenMeta {
    static constexpr int BYTES = 64 * HALVES;

    static __device__ __forceinline__ TokenScales<HALVES> load(const char* meta, int g) {
        TokenScales<HALVES> scales;
#pragma unroll
        for (int i = 0; i < HALVES; ++i) scales.of[i] = *reinterpret_cast<const float2*>(meta + (HALVES * g + i) * 8);
        return scales;
    }
    static __device__ __forceinline__ void erase(char* meta, int lane, uint32_t keep) {
        const int g = lane >> 2;
        if ((lane & 3) != 0) return;
#pragma unroll
        for (int x = 0; x < 2 * HALVES; ++x) {
            if (keep >> (8 * x + g) & 1) continue;
            *reinterpret_cast<float*>(meta + (2 * HALVES * g + x) * 4) = 0.0f;
        }
    }
};

// What is left of a query in f16 beside itself.
template <int D>
struct LowQuery {
    uint32_t low[D / 16][2];
};

template <class CodeType, bool SCALED, int HEAD_DIM, int TILE_HALVES = 1, bool PER_CHANNEL = false>
struct ByteKeys : Side<HEAD_DIM, TILE_HALVES> {
    using Code = CodeType;
    using Query = std::conditional_t<PER_CHANNEL, LowQuery<HEAD_DIM>, typename Side<HEAD_DIM, TILE_HALVES>::Query>;
    static constexpr bool CHANNEL_SCALES = PER_CHANNEL;
    static constexpr int D = HEAD_DIM, HALVES = TILE_HALVES, N = D / 16;
    static constexpr int CODES = 16 * D * HALVES, META = SCALED ? TokenMeta<HALVES>::BYTES : 0;
    static constexpr bool TOKEN_SCALES = SCALED;
    static constexpr float UNIT = Code::UNIT;
    const Code code;

    __device__ __forceinline__ explicit ByteKeys(uint32_t zero) : code(zero) {}

    // k slot (step s, lane's t, register b) of the channel pair at `ch` (even).
    static __device__ __forceinline__ QueryPlace place(int ch) {
        if (ch < D / 64 * 64) return {4 * (ch >> 6) + ((ch >> 2) & 3), (ch >> 4) & 3, (ch >> 1) & 1};
        return {ch >> 4, (ch >> 2) & 3, (ch >> 1) & 1};
    }

    using Side<HEAD_DIM, TILE_HALVES>::prepare;
    static __device__ __forceinline__ LowQuery<D> prepare(const uint32_t* second, int lane) {
        LowQuery<D> query;
        load_query<D>(second, lane, query.low);
        return query;
    }

    __device__ __forceinline__ void scores(const char* codes, const char*, int lane, const Query& query,
                                           const uint32_t (&q)[D / 16][2], float (&c)[HALVES][4], float (&)[2]) const {
#pragma unroll
        for (int i = 0; i < HALVES; ++i) {
#pragma unroll
            for (int x = 0; x < N; x += 4) {
                uint32_t w0[4], w1[4];
                load_words<N>(codes + 16 * D * i, lane, x, w0);
                load_words<N>(codes + 16 * D * i + 8 * D, lane, x, w1);
#pragma unroll
                for (int j = 0; j < 4; ++j) {
                    if (x + j >= N) continue;
                    uint32_t a[4];
                    code.exact(w0[j], a[0], a[2]);
                    code.exact(w1[j], a[1], a[3]);
                    mma_f16(c[i], a, q[x + j]);
                    if constexpr (PER_CHANNEL) mma_f16(c[i], a, query.low[x + j]);
                }
            }
        }
    }

    static __device__ __forceinline__ TokenScales<HALVES> scales(const char* meta, int g) {
        return SCALED ? TokenMeta<HALVES>::load(meta, g) : TokenScales<HALVES>::ones();
    }

    // Erased tokens are codes of 0 bytes, which every code has a finite value for.
    static __device__ __forceinline__ void erase(char* codes, char* meta, int lane, uint32_t keep) {
#pragma unroll
        for (int x = 0; x < 2 * HALVES; ++x) {
            if (!(keep >> (8 * x + (lane >> 2)) & 1)) clear_words<N>(codes + 8 * D * x, lane);
        }
        if (SCALED) TokenMeta<HALVES>::erase(meta, lane, keep);
    }
};

template <class CodeType, bool SCALED, int HEAD_DIM, int TILE_HALVES = 1, bool PER_CHANNEL = false>
struct ByteValues : Side<HEAD_DIM, TILE_HALVES> {
    using Code = CodeType;
    static constexpr bool CHANNEL_SCALES = PER_CHANNEL;
    static constexpr int D = HEAD_DIM, HALVES = TILE_HALVES, N = D / 16;
    static constexpr int CODES = 16 * D * HALVES, META = SCALED ? TokenMeta<HALVES>::BYTES : 0;
    static constexpr bool TOKEN_SCALES = SCALED;
    static constexpr float UNIT = Code::UNIT;
    const Code code;

    // The constants of the keys' code serve both.
    __device__ __forceinline__ ByteValues(uint32_t, const Code& same) : code(same) {}
    template <class Other>
    __device__ __forceinline__ ByteValues(uint32_t zero, const Other&) : code(zero) {}

    __device__ __forceinline__ void values(const char* codes, const char*, int lane,
                                           const uint32_t (&weights)[1][HALVES][2], float (&o)[D / 16][4],
                                           NoCarry&) const {
#pragma unroll
        for (int i = 0; i < HALVES; ++i) {
#pragma unroll
            for (int x = 0; x < N; x += 4) {
                uint32_t w0[4], w1[4];
                load_words<N>(codes + 16 * D * i, lane, x, w0);
                load_words<N>(codes + 16 * D * i + 8 * D, lane, x, w1);
#pragma unroll
                for (int j = 0; j < 4; ++j) {
                    if (x + j >= N) continue;
                    uint32_t a[4];
                    if constexpr (PER_CHANNEL) {
                        // A token of values 0 has a weight here, whose share of a bias would round the others'.
                        code.exact(w0[j], a[0], a[1]);
                        code.exact(w1[j], a[2], a[3]);
                        mma_f16(o[x + j], a, weights[0][i]);
                    } else {
                        code.biased(w0[j], a[0], a[1]);
                        code.biased(w1[j], a[2], a[3]);
                        mma_f16(o[x + j], a, weights[0][i]);
                        code.unbias(o[x + j], weights[0][i]);
                    }
                }
            }
        }
    }

    static __device__ __forceinline__ TokenScales<HALVES> scales(const char* meta, int g) {
        return SCALED ? TokenMeta<HALVES>::load(meta, g) : TokenScales<HALVES>::ones();
    }

    static __device__ __forceinline__ void erase(char* codes, char* meta, int lane, uint32_t keep) {
        if (SCALED) TokenMeta<HALVES>::erase(meta, lane, keep);
#pragma unroll
        for (int x = 0; x < 2 * HALVES; ++x) {
            const uint32_t pair = keep >> (8 * x + 2 * (lane & 3));
            mask_words<N>(codes + 8 * D * x, lane, (pair & 1 ? 0x00ff00ffu : 0) | (pair & 2 ? 0xff00ff00u : 0));
        }
    }
};

}  // namespace lowbit
