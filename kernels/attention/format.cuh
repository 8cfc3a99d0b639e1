// What a cache format is to the loop: a key side and a value side, which choose independently, and the window.
//
// A side has CODES and META bytes in a tile of HALVES * 16 tokens, a `Code` (its constants in registers), and
//   keys:   place, pair_up      where the query's channels go, so that a lane's loads are the operand
//           prepare             what it needs of the query beside the operands, once a call
//           scores              c += keys * query, of C fragments c[i][2h+n]: token 16i+8h+g, column 2t+n
//           scales              factors of tokens 16i+g and 16i+8+g (TOKEN_SCALES; else 1)
//           erase               tokens whose bit is 0 become finite
//   values: values              o += values * weights
//           scales, erase       as of keys; erased values are 0 or finite, their weights are 0
//           place_out           where a lane finds the outputs
//   UNIT    what the codes as decoded must be multiplied by
#pragma once
#include "attention/softmax.cuh"
#include "attention/words.cuh"
#include "common/convert.cuh"
#include "common/mma.cuh"

namespace lowbit {

// A format of two sides. The tile record is [K codes][V codes][K meta][V meta].
template <class K, class V, bool HAS_WINDOW = false, bool IS_WINDOW_BF16 = false>
struct Format {
    static_assert(K::D == V::D && K::HALVES == V::HALVES, "both sides of one tile");
    using Keys = K;
    using Values = V;
    using Carry = typename V::Carry;
    static constexpr int D = K::D, HALVES = K::HALVES, TILE = 16 * HALVES, STAGES = 2, PARTS = V::PARTS;
    static constexpr int V_CODES = K::CODES, K_META = V_CODES + V::CODES, V_META = K_META + K::META;
    static constexpr int RECORD = V_META + V::META;
    static constexpr bool TOKEN_SCALES = K::TOKEN_SCALES || V::TOKEN_SCALES, COLUMN_BIAS = K::COLUMN_BIAS;
    static constexpr bool NORMALIZE_Q = K::NORMALIZE_Q, RAW_Q = HAS_WINDOW, BF16 = V::BF16;
    static constexpr bool ROTATES = true, GROUP_SCALES = V::GROUP_SCALES, WINDOW = HAS_WINDOW,
                          WINDOW_BF16 = IS_WINDOW_BF16;

    __device__ __forceinline__ explicit Format(uint32_t zero) : keys(zero), value(zero, keys.code) {}

    static __device__ __forceinline__ OutPlace place_out(int lane, int item) { return V::place_out(lane, item); }

    __device__ __forceinline__ typename K::Query prepare(const uint32_t (&q)[D / 16][2], int lane) const {
        return keys.prepare(q, lane);
    }
    __device__ __forceinline__ void scores(const char* tile, int lane, const typename K::Query& query,
                                           const uint32_t (&q)[D / 16][2], float (&c)[HALVES][4],
                                           float (&bias)[2]) const {
        keys.scores(tile, tile + K_META, lane, query, q, c, bias);
    }
    __device__ __forceinline__ void values(const char* tile, int lane, const uint32_t (&weights)[PARTS][HALVES][2],
                                           float (&o)[D / 16][4], Carry& carry) const {
        value.values(tile + V_CODES, tile + V_META, lane, weights, o, carry);
    }
    static __device__ __forceinline__ TokenScales<HALVES> k_scales(const char* tile, int g) {
        return K::scales(tile + K_META, g);
    }
    static __device__ __forceinline__ TokenScales<HALVES> v_scales(const char* tile, int g) {
        return V::scales(tile + V_META, g);
    }
    static __device__ __forceinline__ void erase(char* tile, int lane, uint32_t keep_k, uint32_t keep_v) {
        K::erase(tile, tile + K_META, lane, keep_k);
        V::erase(tile + V_CODES, tile + V_META, lane, keep_v);
    }

  private:
    K keys;
    V value;
};

// What every side without a property of that name has.
template <int HEAD_DIM, int TILE_HALVES>
struct Side {
    static constexpr int D = HEAD_DIM, HALVES = TILE_HALVES;
    static constexpr bool TOKEN_SCALES = false, COLUMN_BIAS = false, NORMALIZE_Q = true;
    static constexpr bool GROUP_SCALES = false, BF16 = false;
    static constexpr int PARTS = 1;
    static constexpr float UNIT = 1.0f;
    using Carry = NoCarry;
    struct Query {};

    static __device__ __forceinline__ Query prepare(const uint32_t (&)[HEAD_DIM / 16][2], int) { return {}; }
    static __device__ __forceinline__ uint32_t pair_up(uint32_t word, int, int) { return word; }
    static __device__ __forceinline__ TokenScales<HALVES> scales(const char*, int) {
        return TokenScales<HALVES>::ones();
    }
    static __device__ __forceinline__ OutPlace place_out(int lane, int item) {
        return channel_rows_place<HEAD_DIM>(lane, item);
    }
};

}  // namespace lowbit
