// A tile on its way to the cache: codes and scales of its rows in shared memory, and from there to the record.
//
// A row is a warp's: lane L holds the channels 64x + 2L, +1 of the head (as far as they exist), so that a row is read
// by whole sectors whatever the head dim.
#pragma once

#include <type_traits>

#include "kv/code.cuh"
#include "kv/layout.cuh"
#include "kv/nuq.cuh"
#include "kv/store.cuh"

namespace lowbit {
namespace kv {

__host__ __device__ constexpr int larger(int a, int b) { return a > b ? a : b; }

struct NoTables {};

// Staging of one tile. Keys with a window are coded by tiles: they take the values' place when these are stored.
template <Code K, Code V, int D, int TILE>
struct Stage {
    using T = Tile<K, V, D, TILE>;
    static constexpr bool WINDOW = IS_PER_CHANNEL<K>;
    static constexpr int ROW_BYTES = K == Code::FLOAT ? 2 * D : D;
    static constexpr int STRIDE = ROW_STRIDE<ROW_BYTES>;
    static constexpr int SIDES = WINDOW ? 1 : 2;
    static constexpr int META = larger(16, larger(WINDOW ? 0 : T::V_META - T::K_META, T::BYTES - T::V_META));
    static constexpr int TOKENS = T::TOKENS;
    alignas(16) uint8_t codes[SIDES][TOKENS * STRIDE];
    alignas(16) uint8_t meta[SIDES][META];              // in the record's order
    alignas(16) uint16_t row[THREADS / 32][D];          // of each warp, transformed
    alignas(16) uint16_t keys[WINDOW ? TOKENS : 1][D];  // of a tile, as they are coded
    std::conditional_t<IS_NUQ<K>, NuqTables<D>, NoTables> nuq;
};

// Where the scale of a token is in a side's meta, as an index of f32.
template <int TOKENS>
__device__ __forceinline__ int token_scale_index(int token) {
    return TOKENS / 8 * (token % 8) + token / 8;
}

// Where scale and minimum of (token, group j of channels) are in a side's meta, as indices of f16; src/cache/tile.rs.
// Of values 32 tokens follow 32 tokens.
struct GroupPlace {
    int scale, min;
};

template <int SIDE, int D>
__device__ __forceinline__ GroupPlace group_place(int token, int j) {
    constexpr int GROUPS = D / CHANNEL_GROUP<D>, MINIMA = 32 * GROUPS, PAIRS = GROUPS / 2;
    const int i = token / 16, h = token / 8 % 2;
    if constexpr (SIDE == 0) {
        const int g = token % 8, x = token / 8;
        const bool last = j == 2 * PAIRS;  // an odd one
        return {2 * ((8 * i + g) * GROUPS + j) + h,
                MINIMA + (last ? 64 * PAIRS + 4 * g + x : 8 * (g * PAIRS + j / 2) + 2 * x + j % 2)};
    } else {
        const int t = token / 2 % 4, e = token % 2, base = token / 32 * 2 * MINIMA + 8 * (4 * j + t);
        return {base + 4 * (i % 2) + 2 * h + e, MINIMA + base + 4 * h + 2 * (i % 2) + e};
    }
}

// Where the scale of (token, block j of 16 channels) is in a side's meta, in bytes.
template <int SIDE, int D>
__device__ __forceinline__ int block_place(int token, int j) {
    const int i = token / 16, h = token / 8 % 2;
    if constexpr (SIDE == 0) return 4 * (D / 16 * (token % 8) + j) + 2 * h + i;
    return 8 * (4 * j + token / 2 % 4) + 4 * i + 2 * (token % 2) + h;
}

// Where the f16 scale of (token, group j of 32 channels) of ggml's blocks is; src/cache/tile.rs.
template <int SIDE, int TOKENS, int D>
__device__ __forceinline__ int ggml_place(int token, int j) {
    const int i = token / 16, h = token / 8 % 2;
    if constexpr (SIDE == 0) return 2 * ((8 * i + token % 8) * (D / 32) + j) + h;
    return TOKENS / 4 * (4 * j + token / 2 % 4) + 4 * i + 2 * h + token % 2;
}

// Codes a row that the lanes hold as pairs: codes and scales to the stage. `scales`: the caller's, of the head.
template <Code C, int SIDE, int D, class Stage, int PAIRS>
__device__ __forceinline__ void stage_codes(Stage& stage, int token, const uint32_t (&word)[PAIRS],
                                            const bool (&there)[PAIRS], uint32_t dtype, const float* scales,
                                            bool& nan) {
    constexpr int AT = Stage::SIDES == 1 ? 0 : SIDE;
    uint8_t* to = stage.codes[AT] + token * Stage::STRIDE;
    uint8_t* meta = stage.meta[AT];
    const int lane = threadIdx.x % 32;
    float x[PAIRS][2];
    for (int p = 0; p < PAIRS; ++p) {
        for (int e = 0; e < 2; ++e) x[p][e] = to_f32(word[p] >> 16 * e & 0xFFFF, dtype);
    }
    uint32_t code[PAIRS][2];
    if constexpr (C == Code::INT8) {
        float amax = 0.0f;
        for (int p = 0; p < PAIRS; ++p) {
            for (int e = 0; e < 2; ++e) {
                x[p][e] = sanitize(x[p][e], nan);
                amax = fmaxf(amax, fabsf(x[p][e]));
            }
        }
        for (int offset = 16; offset > 0; offset /= 2) amax = fmaxf(amax, __shfl_xor_sync(~0u, amax, offset));
        const float scale = __fdiv_rn(amax, 127.0f);
        for (int p = 0; p < PAIRS; ++p) {
            for (int e = 0; e < 2; ++e) code[p][e] = int8_code(x[p][e], scale);
        }
        if (lane == 0) reinterpret_cast<float*>(meta)[token_scale_index<Stage::TOKENS>(token)] = scale;
    } else if constexpr (C == Code::INT8_STATIC) {
        for (int p = 0; p < PAIRS; ++p) {
            for (int e = 0; e < 2; ++e) {
                const float scale = there[p] ? scales[64 * p + 2 * lane + e] : 0.0f;
                code[p][e] = int8_code(sanitize(x[p][e], nan), scale);
            }
        }
    } else if constexpr (IS_FP8<C>) {
        constexpr Fp8Format FORMAT = C == Code::E4M3 ? Fp8Format::kE4m3 : Fp8Format::kE5m2;
        for (int p = 0; p < PAIRS; ++p) {
            for (int e = 0; e < 2; ++e) {
                code[p][e] = Fp8<FORMAT>::encode(fp8_quotient(x[p][e], *scales, nan)) & 0xFF;
            }
        }
    } else if constexpr (C == Code::E2M1) {
        for (int p = 0; p < PAIRS; ++p) {
            for (int e = 0; e < 2; ++e) x[p][e] = sanitize(x[p][e], nan);
            float amax = fmaxf(fabsf(x[p][0]), fabsf(x[p][1]));
            for (int offset = 4; offset > 0; offset /= 2) amax = fmaxf(amax, __shfl_xor_sync(~0u, amax, offset));
            const Block block = make_block(amax, *scales);
            for (int e = 0; e < 2; ++e) code[p][e] = e2m1_code(x[p][e], block);
            if (there[p] && lane % 8 == 0) meta[block_place<SIDE, D>(token, (32 * p + lane) / 8)] = block.bits;
        }
    } else if constexpr (IS_GGML<C>) {
        constexpr int LANES = 16;  // that share a block
        for (int p = 0; p < PAIRS; ++p) {
            for (int e = 0; e < 2; ++e) x[p][e] = sanitize(x[p][e], nan);
            float extreme = fabsf(x[p][1]) > fabsf(x[p][0]) ? x[p][1] : x[p][0];
            for (int offset = 1; offset < LANES; offset *= 2) {
                const float other = __shfl_xor_sync(~0u, extreme, offset);
                // Of equal magnitudes the lower lane's is the first.
                const bool upper = (lane & offset) != 0;
                const bool take = upper ? fabsf(other) >= fabsf(extreme) : fabsf(other) > fabsf(extreme);
                extreme = take ? other : extreme;
            }
            const GgmlScale scale = make_ggml_scale<C>(extreme == 0.0f ? 0.0f : extreme);
            for (int e = 0; e < 2; ++e) code[p][e] = ggml_code<C>(x[p][e], scale.id);
            if (there[p] && lane % LANES == 0) {
                const int place = ggml_place<SIDE, Stage::TOKENS, D>(token, (32 * p + lane) / LANES);
                reinterpret_cast<uint16_t*>(meta)[place] = static_cast<uint16_t>(scale.stored);
            }
        }
    } else {
        constexpr int LANES = CHANNEL_GROUP<D> / 2;  // that share a group of channels
        for (int p = 0; p < PAIRS; ++p) {
            for (int e = 0; e < 2; ++e) x[p][e] = sanitize(x[p][e], nan);
            float low = fminf(x[p][0], x[p][1]), high = fmaxf(x[p][0], x[p][1]);
            for (int offset = LANES / 2; offset > 0; offset /= 2) {
                low = fminf(low, __shfl_xor_sync(~0u, low, offset));
                high = fmaxf(high, __shfl_xor_sync(~0u, high, offset));
            }
            const Group group = make_group<TOP<C>>(low, high);
            for (int e = 0; e < 2; ++e) code[p][e] = group_code<TOP<C>>(x[p][e], group);
            if (there[p] && lane % LANES == 0) {
                const GroupPlace place = group_place<SIDE, D>(token, (32 * p + lane) / LANES);
                uint16_t* halves = reinterpret_cast<uint16_t*>(meta);
                halves[place.scale] = static_cast<uint16_t>(group.scale_bits);
                halves[place.min] = static_cast<uint16_t>(group.min_bits);
            }
        }
    }
    for (int p = 0; p < PAIRS; ++p) {
        const uint32_t pair = code[p][0] | code[p][1] << 8;
        if (there[p]) reinterpret_cast<uint16_t*>(to)[32 * p + lane] = static_cast<uint16_t>(pair);
    }
}

// Codes one row of side SIDE (0: K, 1: V), the whole warp together.
template <Code C, int SIDE, int D, class Stage>
__device__ __forceinline__ void stage_row(Stage& stage, int token, const uint16_t* row, uint32_t dtype,
                                          const float* scales, bool& nan) {
    constexpr int PAIRS = (D + 63) / 64, AT = Stage::SIDES == 1 ? 0 : SIDE;
    uint8_t* to = stage.codes[AT] + token * Stage::STRIDE;
    const int lane = threadIdx.x % 32;
    uint32_t word[PAIRS];
    bool there[PAIRS];
    for (int p = 0; p < PAIRS; ++p) {
        there[p] = D % 64 == 0 || 64 * p + 2 * lane < D;
        word[p] = there[p] ? reinterpret_cast<const uint32_t*>(row)[32 * p + lane] : 0;
    }
    if constexpr (IS_NUQ<C>) {
        stage_nuq<C, SIDE, D>(stage, token, row, dtype, nan);
    } else if constexpr (C == Code::FLOAT) {
        for (int p = 0; p < PAIRS; ++p) {
            if (there[p]) reinterpret_cast<uint32_t*>(to)[32 * p + lane] = word[p];
        }
    } else {
        stage_codes<C, SIDE, D>(stage, token, word, there, dtype, scales, nan);
    }
}

// The token that element `index` of a side's staged meta serves; elements are f32 for INT8, bytes for E2M1 and tables,
// f16 otherwise. The inverse of `token_scale_index`, `block_place`, `ggml_place` and `group_place`.
template <Code C, int SIDE, int TOKENS, int D>
__device__ __forceinline__ int meta_token(int index) {
    constexpr int GROUPS = D / CHANNEL_GROUP<D>, MINIMA = 32 * GROUPS, PAIRS = GROUPS / 2;
    if constexpr (IS_NUQ<C>) {
        return nuq_meta_token<SIDE, D>(index);
    } else if constexpr (C == Code::INT8) {
        return index % (TOKENS / 8) * 8 + index / (TOKENS / 8);
    } else if constexpr (C == Code::E2M1 && SIDE == 0) {
        return index % 2 * 16 + index / 2 % 2 * 8 + index / 4 / (D / 16);
    } else if constexpr (C == Code::E2M1) {
        return index / 4 % 2 * 16 + index % 2 * 8 + index / 8 % 4 * 2 + index / 2 % 2;
    } else if constexpr (IS_GGML<C> && SIDE == 1) {
        const int k = index % (TOKENS / 4);
        return k / 4 * 16 + k / 2 % 2 * 8 + index / (TOKENS / 4) % 4 * 2 + k % 2;
    } else if constexpr (SIDE == 0) {
        if (IS_GGML<C> || index < MINIMA) return index / 2 / GROUPS / 8 * 16 + index % 2 * 8 + index / 2 / GROUPS % 8;
        const int at = index - MINIMA;
        if (at >= 64 * PAIRS) return at % 4 * 8 + (at - 64 * PAIRS) / 4;
        return at / 2 % 4 * 8 + at / 8 / larger(PAIRS, 1);
    } else {
        // Low three bits of a scale: (i, h, e); of a minimum: (h, i, e); then t.
        const int at = index % (2 * MINIMA), k = at % 8, t = at / 8 % 4;
        const int i = at < MINIMA ? k / 4 : k / 2 % 2, h = at < MINIMA ? k / 2 % 2 : k / 4;
        return index / (2 * MINIMA) * 32 + 16 * i + 8 * h + 2 * t + k % 2;
    }
}

// Codes of a tile's keys that share the scales of their channels.
template <Code C, class T, int D>
__device__ __forceinline__ void store_channel_keys(uint8_t* codes, const uint8_t* staged) {
    const Span all{0, T::TOKENS};
    if constexpr (IS_NIBBLE<C>) {
        store_part<D / 16, T::TOKENS / 16>(codes, KeyNibbles<D, D % 32 == 0>{staged, all});
    } else if constexpr (IS_CRUMB<C>) {
        store_part<D / 16, T::TOKENS / 32>(codes, KeyCrumbs<D>{staged});
    } else {
        store_part<D / 16, T::TOKENS / 8>(codes, KeyBytes<D>{staged, all});
    }
}

// Scales of the staged tokens to the record.
template <Code C, int SIDE, int TOKENS, int D>
__device__ __forceinline__ void store_meta(uint8_t* part, const uint8_t* meta, Span span) {
    constexpr int BYTES = META_BYTES<C, SIDE, TOKENS, D>;
    if constexpr (BYTES > 0) {
        using Element = std::conditional_t<C == Code::INT8, uint32_t,
                                           std::conditional_t<C == Code::E2M1 || IS_NUQ<C>, uint8_t, uint16_t>>;
        if (span.hi - span.lo == TOKENS) {
            store_bytes(part, meta, BYTES);
            return;
        }
        for (int index = threadIdx.x; index < BYTES / static_cast<int>(sizeof(Element)); index += THREADS) {
            if (span.has(meta_token<C, SIDE, TOKENS, D>(index))) {
                reinterpret_cast<Element*>(part)[index] = reinterpret_cast<const Element*>(meta)[index];
            }
        }
    }
}

template <Code C, class T, int D, class Stage>
__device__ __forceinline__ void store_keys(uint8_t* record, const Stage& stage, Span span) {
    uint8_t* codes = record + T::K_CODES;
    if constexpr (C == Code::NUQ3) {
        store_part<D / 32, 2>(codes, KeyBits<D, false>{stage.codes[0], span});
        store_part<(D + 63) / 64, 2>(codes + 8 * D, KeyBits<D, true>{stage.codes[0], span});
    } else if constexpr (IS_NIBBLE<C>) {
        constexpr bool WHOLE = C != Code::E2M1 && C != Code::NUQ4 && D % 32 == 0;
        store_part<D / 16, 2>(codes, KeyNibbles<D, WHOLE>{stage.codes[0], span});
    } else if constexpr (C == Code::Q8_0) {
        store_part<D / 16, T::TOKENS / 8>(codes, KeyBlocks<D>{stage.codes[0], span});
    } else {
        constexpr int ROW_BYTES = C == Code::FLOAT ? 2 * D : D;
        store_part<ROW_BYTES / 16, T::TOKENS / 8>(codes, KeyBytes<ROW_BYTES>{stage.codes[0], span});
    }
    store_meta<C, 0, T::TOKENS, D>(record + T::K_META, stage.meta[0], span);
}

template <Code C, class T, int D, class Stage>
__device__ __forceinline__ void store_values(uint8_t* record, const Stage& stage, Span span) {
    constexpr int AT = Stage::SIDES - 1;
    uint8_t* codes = record + T::V_CODES;
    if constexpr (C == Code::FLOAT) {
        store_part<D / 4, 1>(codes, ValueHalves<D>{stage.codes[AT], span});
    } else if constexpr (C == Code::NUQ3) {
        store_part<D / 32, 2>(codes, ValueBits<D, false>{stage.codes[AT], span});
        store_part<(D + 63) / 64, 2>(codes + 8 * D, ValueBits<D, true>{stage.codes[AT], span});
    } else if constexpr (IS_NIBBLE<C>) {
        store_part<D / 16, T::TOKENS / 16>(codes, ValueNibbles<D>{stage.codes[AT], span});
    } else if constexpr (IS_CRUMB<C>) {
        store_part<D / 16, T::TOKENS / 32>(codes, ValueCrumbs<D>{stage.codes[AT], span});
    } else if constexpr (C == Code::Q8_0) {
        store_part<D / 16, T::TOKENS / 8>(codes, ValueBlocks<D>{stage.codes[AT], span});
    } else {
        store_part<D / 16, T::TOKENS / 8>(codes, ValueBytes<D>{stage.codes[AT], span});
    }
    store_meta<C, 1, T::TOKENS, D>(record + T::V_META, stage.meta[AT], span);
}

}  // namespace kv
}  // namespace lowbit
