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
//   values: out_unit            the same, of tile m and row r of the accumulators, where it depends on these
//
// A record may hold STEPS * HALVES * 16 tokens, whose keys share their scales: codes, and scales of values, come step
// by step.
//
// A format whose sides share tables in shared memory (TABLES bytes) is a type of its own: format_nuq.cuh.
#pragma once
#include "attention/softmax.cuh"
#include "attention/words.cuh"
#include "common/convert.cuh"
#include "common/mma.cuh"

namespace lowbit {

// A format of two sides. The tile record is [K codes][V codes][K meta][V meta].
template <class K, class V, bool HAS_WINDOW = false, int RECORD_STEPS = 1>
struct Format {
    static_assert(K::D == V::D && K::HALVES == V::HALVES, "both sides of one tile");
    static_assert(RECORD_STEPS == 1 || K::COLUMN_BIAS, "a scale of the keys for all tokens of the record");
    using Keys = K;
    using Values = V;
    using Carry = typename V::Carry;
    static constexpr int D = K::D, HALVES = K::HALVES, STEPS = RECORD_STEPS, TILE = 16 * HALVES * STEPS;
    static constexpr int STAGES = 2, PARTS = V::PARTS;
    static constexpr int V_CODES = STEPS * K::CODES, K_META = V_CODES + STEPS * V::CODES, V_META = K_META + K::META;
    static constexpr int RECORD = V_META + STEPS * V::META;
    static constexpr bool TOKEN_SCALES = K::TOKEN_SCALES || V::TOKEN_SCALES, COLUMN_BIAS = K::COLUMN_BIAS;
    static constexpr bool NORMALIZE_Q = K::NORMALIZE_Q, RAW_Q = HAS_WINDOW, BF16 = V::BF16;
    static constexpr bool OUT_SCALES = V::CHANNEL_SCALES;
    static constexpr bool ROTATES = true, GROUP_SCALES = V::GROUP_SCALES, WINDOW = HAS_WINDOW;
    static constexpr int TABLES = 0;

    __device__ __forceinline__ explicit Format(uint32_t zero) : keys(zero), value(zero, keys.code) {}

    static __device__ __forceinline__ OutPlace place_out(int lane, int item) { return V::place_out(lane, item); }

    // `second`: what stage_query stored beside the query.
    __device__ __forceinline__ typename K::Query prepare(const uint32_t (&q)[D / 16][2], const uint32_t* second,
                                                         int lane) const {
        if constexpr (K::CHANNEL_SCALES) {
            return keys.prepare(second, lane);
        } else {
            return keys.prepare(q, lane);
        }
    }
    __device__ __forceinline__ void scores(const char* tile, int step, int, int lane, const typename K::Query& query,
                                           const uint32_t (&q)[D / 16][2], float (&c)[HALVES][4],
                                           float (&bias)[2]) const {
        keys.scores(tile + step * K::CODES, tile + K_META, lane, query, q, c, bias);
    }
    __device__ __forceinline__ void values(const char* tile, int step, int, int lane,
                                           const uint32_t (&weights)[PARTS][HALVES][2], float (&o)[D / 16][4],
                                           Carry& carry) const {
        value.values(tile + V_CODES + step * V::CODES, tile + V_META + step * V::META, lane, weights, o, carry);
    }
    static __device__ __forceinline__ TokenScales<HALVES> k_scales(const char* tile, int g) {
        return K::scales(tile + K_META, g);
    }
    static __device__ __forceinline__ TokenScales<HALVES> v_scales(const char* tile, int g) {
        return V::scales(tile + V_META, g);
    }
    // Tokens of each step whose bits are 0.
    static __device__ __forceinline__ void erase(char* tile, int lane, const uint32_t (&keep_k)[STEPS],
                                                 const uint32_t (&keep_v)[STEPS]) {
        uint32_t any = 0;
#pragma unroll
        for (int step = 0; step < STEPS; ++step) {
            any |= keep_k[step];
            K::erase(tile + step * K::CODES, tile + K_META, lane, keep_k[step]);
            V::erase(tile + V_CODES + step * V::CODES, tile + V_META + step * V::META, lane, keep_v[step]);
        }
        // Keys that share the scales of their channels are there or absent together.
        if (K::COLUMN_BIAS && any == 0) clear_part<K::META>(tile + K_META, lane);
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
    // The caller's scales are one per channel: of keys they go into the query, of values into the output.
    static constexpr bool CHANNEL_SCALES = false;
    static constexpr int PARTS = 1;
    static constexpr float UNIT = 1.0f;
    // Normalised queries are below 2^Q_EXPONENT: times any scale that goes into them they are f16.
    static constexpr int Q_EXPONENT = 2;
    using Carry = NoCarry;
    struct Query {};

    static __device__ __forceinline__ Query prepare(const uint32_t (&)[HEAD_DIM / 16][2], int) { return {}; }
    static __device__ __forceinline__ uint32_t pair_up(uint32_t word, int, int) { return word; }
    static __device__ __forceinline__ constexpr float out_unit(int, int) { return 1.0f; }
    static __device__ __forceinline__ TokenScales<HALVES> scales(const char*, int) {
        return TokenScales<HALVES>::ones();
    }
    static __device__ __forceinline__ OutPlace place_out(int lane, int item) {
        return channel_rows_place<HEAD_DIM>(lane, item);
    }
};

}  // namespace lowbit
