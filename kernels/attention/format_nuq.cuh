// Codes with tables (KVQuant; Hooper et al. 2024, arXiv 2401.18079): keys before RoPE, range and zero per channel from
// calibration; values, range and zero per token; outliers of a token aside; the first tokens exact, from the state
// slot.
//
// Tile of 32 tokens (halves i of 16), D channels, V = D/32. Key channels are in the order of
// `kv::key_slot`, in which a pair that RoPE turns is two neighbours.
//   4 bits  keys (T32, i, w) -> nibble 2h+b+4e: token 16i+8h+g, place 16w+4t+2b+e;  values: format_nibbles.cuh
//   3 bits  bits 0 and 1 of all, then bit 2, words of a lane as in words.cuh
//     keys    word w/2, byte 2(w%2)+h, bits 2q: token 16i+8h+g, place 16w+4t+q;  word w/4, byte 2(w/2%2)+h, bit
//     4(w%2)+q values  word v, byte 2h+e, bits 2f: token 16i+8h+2t+e, channel 32v+16(f>>1)+2g+(f&1);  word v/2, byte
//     2h+e, bit 4(v%2)+f
//   meta    keys: f16 values [32][S], u8 places [32][S];  values: f16 ranges [32], zeros [32], then the same of
//   channels; S = K_SLOTS, V_SLOTS
//
// 1. Each element is looked up and scaled in f32: level * range + zero, or the outlier, or the exact row's. A table of
// 16 words
//    lies in 16 banks, so lanes that look up different levels do not collide.
// 2. RoPE: a key at t0 + j is turned by R(t0) R(j). R(j), j < 16, comes from a table in shared memory; R(-t0) turns the
// query
//    instead, once per half of a tile. Both go into the product as hi + lo in f16: one f16 of either would miss the
//    tolerance.
// 3. Keys count a quarter, so that a turned one fits f16.
#pragma once
#include "attention/attend.cuh"
#include "attention/format_nibbles.cuh"

namespace lowbit {

// What a CTA holds of its layer and head.
template <int D>
struct NuqTables {
    // Lanes of neighbouring g read 64 bytes each of rows whose distance is an odd multiple of that.
    static constexpr int PITCH = D % 32 == 0 ? D / 2 + 8 : D / 2;
    float level[2][16];
    float range[D], zero[D];  // of keys, times 1/4, by place
    float2 angle[16][PITCH];  // cosine and sine of pair i at position j
};

// x = hi + lo in f16, a pair of each.
__device__ __forceinline__ void split(float x, float y, uint32_t& hi, uint32_t& lo) {
    hi = pack_f16(x, y);
    const float2 rounded = unpack_16(DType::F16, hi);
    lo = pack_f16(x - rounded.x, y - rounded.y);
}

// w shifted so that bit `from` becomes bit `to`.
__device__ __forceinline__ uint32_t move_bit(uint32_t w, int from, int to) {
    return from >= to ? w >> (from - to) : w << (to - from);
}

template <int BITS, int HEAD_DIM>
struct Nuq {
    static constexpr int D = HEAD_DIM, HALVES = 2, STEPS = 1, TILE = 32, STAGES = 2, PARTS = 1;
    static constexpr int N = D / 16, V = D / 32, HIGHS = (D + 63) / 64;
    static constexpr int K_SLOTS = kv::OUTLIERS<0, D>, V_SLOTS = kv::OUTLIERS<1, D>;
    static constexpr int CODES = BITS == 4 ? 16 * D : 8 * D + 256 * HIGHS;
    static constexpr int V_CODES = CODES, K_META = 2 * CODES, V_META = K_META + 96 * K_SLOTS;
    static constexpr int RECORD = V_META + 128 + 96 * V_SLOTS;
    static constexpr bool TOKEN_SCALES = false, COLUMN_BIAS = false, NORMALIZE_Q = true, RAW_Q = false, BF16 = false;
    static constexpr bool ROTATES = false, GROUP_SCALES = false, WINDOW = false, OUT_SCALES = false;
    static constexpr int TABLES = sizeof(NuqTables<D>);
    static_assert(D % 32 == 0, "whole words of values");
    using Carry = NoCarry;

    struct Keys {
        static constexpr float UNIT = 4.0f;
        static constexpr bool CHANNEL_SCALES = false;
        static constexpr int Q_EXPONENT = 2;
        struct Query {};
        static __device__ __forceinline__ QueryPlace place(int slot) {
            return {slot >> 4, (slot >> 2) & 3, (slot >> 1) & 1};
        }
        static __device__ __forceinline__ uint32_t pair_up(uint32_t word, int, int) { return word; }
    };
    struct Values {
        static constexpr float UNIT = 1.0f;
        static constexpr bool CHANNEL_SCALES = false;
        static __device__ __forceinline__ float out_unit(int, int) { return 1.0f; }
    };

    // Of the whole CTA, before the barrier that its query waits for.
    static __device__ __forceinline__ void load_tables(const AttendParams& p, int kv_head, char* shared) {
        NuqTables<D>& tables = *reinterpret_cast<NuqTables<D>*>(shared);
        const float* k = reinterpret_cast<const float*>(p.kv.k_scale);
        const float* v = reinterpret_cast<const float*>(p.kv.v_scale);
        if (threadIdx.x < 16) tables.level[0][threadIdx.x] = k[threadIdx.x];
        if (threadIdx.x < 16) tables.level[1][threadIdx.x] = v[threadIdx.x];
        const float* ranges = k + 32 + kv_head * D;
        const float* zeros = ranges + p.kv.num_kv_heads * D;
        for (int slot = threadIdx.x; slot < D; slot += WARPS * 32) {
            const int channel = kv::key_channel(p.key_rope, slot);
            tables.range[slot] = 0.25f * ranges[channel];
            tables.zero[slot] = 0.25f * zeros[channel];
        }
        const float2* angles = reinterpret_cast<const float2*>(p.rope_table);
        const int pairs = (p.key_rope & 0xffff) / 2;
        for (int at = threadIdx.x; at < 16 * (D / 2); at += WARPS * 32) {
            const int position = at / (D / 2), pair = at % (D / 2);
            tables.angle[position][pair] = pair < pairs ? angles[position * pairs + pair] : make_float2(1.0f, 0.0f);
        }
    }

    // `slot` is the sequence's state slot, or -1.
    __device__ __forceinline__ Nuq(const AttendParams& p, const Job& job, const char* shared, const char* tables_)
        : query(reinterpret_cast<const uint32_t*>(shared + Shared<Nuq>::RING)),
          tables(*reinterpret_cast<const NuqTables<D>*>(tables_)),
          angles(reinterpret_cast<const float2*>(p.rope_table)),
          pairs((p.key_rope & 0xffff) / 2),
          wide(pairs % 2 == 0 && p.rope_table % 16 == 0),
          sink_first(max(job.span.first, 0)),
          sinks(job.source.slot < 0 ? 0 : max(min(static_cast<int>(p.kv.ring_rows), job.span.end) - sink_first, 0)),
          dtype(static_cast<DType>(p.kv.dtype)) {
        const char* rows = reinterpret_cast<const char*>(p.kv.state) +
                           static_cast<int64_t>(job.source.slot) * p.kv.state_bytes +
                           static_cast<int64_t>(job.kv_head) * p.kv.ring_head_bytes;
        sink_k = rows;
        sink_v = rows + p.kv.ring_v_offset;
    }

    static __device__ __forceinline__ OutPlace place_out(int lane, int item) {
        return NibbleValues<D>::place_out(lane, item);
    }

    __device__ __forceinline__ typename Keys::Query prepare(const uint32_t (&)[D / 16][2], const uint32_t*, int) const {
        return {};
    }

    __device__ __forceinline__ void scores(const char* tile, int, int token, int lane, const typename Keys::Query&,
                                           const uint32_t (&)[D / 16][2], float (&c)[2][4], float (&)[2]) const {
        const int g = lane >> 2, t = lane & 3;
#pragma unroll 1
        for (int i = 0; i < 2; ++i) {
            const Words words(tile, i, lane);
            Outliers<K_SLOTS> outliers[2];
#pragma unroll
            for (int h = 0; h < 2; ++h) outliers[h].load(tile + K_META, 16 * i + 8 * h + g, 4 * t, 0.25f);
            const float2* turn = angles + static_cast<int64_t>(token + 16 * i) * pairs;
            float sum[4] = {};
#pragma unroll
            for (int w = 0; w < N; ++w) {
                const int pair = 8 * w + 2 * t;
                const float4 by = turn_back(turn, pair);
                const float2 back[2] = {{by.x, by.y}, {by.z, by.w}};
                uint32_t q[2][2];  // hi, lo
#pragma unroll
                for (int b = 0; b < 2; ++b) {
                    const float2 x = unpack_16(DType::F16, query[(2 * w + b) * Q_PITCH + lane]);
                    split(fmaf(x.x, back[b].x, x.y * back[b].y), fmaf(x.y, back[b].x, -x.x * back[b].y), q[0][b],
                          q[1][b]);
                }
                const float4 range = *reinterpret_cast<const float4*>(&tables.range[16 * w + 4 * t]);
                const float4 zero = *reinterpret_cast<const float4*>(&tables.zero[16 * w + 4 * t]);
                uint32_t hi[4], lo[4];
#pragma unroll
                for (int h = 0; h < 2; ++h) {
                    float x[4];
#pragma unroll
                    for (int place = 0; place < 4; ++place) x[place] = level(0, words.key(w, h, place));
                    x[0] = fmaf(x[0], range.x, zero.x), x[1] = fmaf(x[1], range.y, zero.y);
                    x[2] = fmaf(x[2], range.z, zero.z), x[3] = fmaf(x[3], range.w, zero.w);
#pragma unroll
                    for (int place = 0; place < 4; ++place) outliers[h].replace(x[place], 16 * w + place);
                    if (is_sink(token + 16 * i + 8 * h + g)) exact_key(8 * h + g, 16 * w + 4 * t, x);
                    const float4 turned = *reinterpret_cast<const float4*>(&tables.angle[8 * h + g][pair]);
                    split(fmaf(x[0], turned.x, -x[1] * turned.y), fmaf(x[0], turned.y, x[1] * turned.x), hi[h], lo[h]);
                    split(fmaf(x[2], turned.z, -x[3] * turned.w), fmaf(x[2], turned.w, x[3] * turned.z), hi[2 + h],
                          lo[2 + h]);
                }
                mma_f16(sum, hi, q[0]);
                mma_f16(sum, lo, q[0]);
                mma_f16(sum, hi, q[1]);
            }
#pragma unroll
            for (int e = 0; e < 4; ++e) {
                if (i == 0) c[0][e] = sum[e];
                if (i == 1) c[1][e] = sum[e];
            }
        }
    }

    __device__ __forceinline__ void values(const char* tile, int, int token, int lane,
                                           const uint32_t (&weights)[1][2][2], float (&o)[D / 16][4], Carry&) const {
        const int g = lane >> 2, t = lane & 3;
#pragma unroll 1
        for (int i = 0; i < 2; ++i) {
            const Words words(tile + V_CODES, i, lane);
            const uint32_t p[2] = {i == 0 ? weights[0][0][0] : weights[0][1][0],
                                   i == 0 ? weights[0][0][1] : weights[0][1][1]};
            float range[2][2], zero[2][2];  // h, e
            Outliers<V_SLOTS> outliers[2][2];
#pragma unroll
            for (int x = 0; x < 4; ++x) {
                const int of = 16 * i + 8 * (x / 2) + 2 * t + x % 2;
                const __half* halves = reinterpret_cast<const __half*>(tile + V_META);
                zero[x / 2][x % 2] = __half2float(halves[32 + of]);
                // Rounded on their own, both together may be just beyond f16.
                range[x / 2][x % 2] = fminf(__half2float(halves[of]), 65504.0f - fabsf(zero[x / 2][x % 2]));
                outliers[x / 2][x % 2].load(tile + V_META + 128, of, 2 * g, 1.0f);
            }
#pragma unroll
            for (int v = 0; v < V; ++v) {
                uint32_t a[2][4];
#pragma unroll
                for (int h = 0; h < 2; ++h) {
                    float y[2][4];
#pragma unroll
                    for (int e = 0; e < 2; ++e) {
#pragma unroll
                        for (int f = 0; f < 4; ++f) {
                            y[e][f] = fmaf(level(1, words.value(v, h, e, f)), range[h][e], zero[h][e]);
                            outliers[h][e].replace(y[e][f], 32 * v + 16 * (f / 2) + f % 2);
                        }
                        const int at = 8 * h + 2 * t + e;
                        if (is_sink(token + 16 * i + at)) exact_value(at, 32 * v + 2 * g, y[e]);
                    }
#pragma unroll
                    for (int f = 0; f < 4; ++f) a[f / 2][2 * h + f % 2] = pack_f16(y[0][f], y[1][f]);
                }
                mma_f16(o[2 * v], a[0], p);
                mma_f16(o[2 * v + 1], a[1], p);
            }
        }
    }

    static __device__ __forceinline__ TokenScales<2> k_scales(const char*, int) { return TokenScales<2>::ones(); }
    static __device__ __forceinline__ TokenScales<2> v_scales(const char*, int) { return TokenScales<2>::ones(); }

    // Keys of a token whose bit is 0 are anything, and so is its score, which is not used; its values become 0.
    static __device__ __forceinline__ void erase(char* tile, int lane, const uint32_t (&keep_k)[1],
                                                 const uint32_t (&keep_v)[1]) {
        if (keep_k[0] == 0) {
            clear_part<CODES>(tile, lane);
            clear_part<96 * K_SLOTS>(tile + K_META, lane);
        }
        if (keep_v[0] == 0) clear_part<CODES>(tile + V_CODES, lane);
        if (keep_v[0] >> lane & 1) return;
        uint16_t* halves = reinterpret_cast<uint16_t*>(tile + V_META);
        halves[lane] = halves[32 + lane] = 0;
#pragma unroll
        for (int s = 0; s < V_SLOTS; ++s) {
            halves[64 + V_SLOTS * lane + s] = 0x7E00;  // no outlier
            reinterpret_cast<uint8_t*>(tile + V_META + 128 + 64 * V_SLOTS)[V_SLOTS * lane + s] = 255;
        }
    }

  private:
    // A lane's codes of half i, as 4 times the index.
    struct Words {
        uint32_t of[((BITS == 4 ? N : V) + 3) / 4][4], high[(HIGHS + 3) / 4][4];

        __device__ __forceinline__ Words(const char* codes, int i, int lane) {
            constexpr int WORDS = BITS == 4 ? N : V;
#pragma unroll
            for (int x = 0; x < WORDS; x += 4) load_words<WORDS>(codes + 128 * WORDS * i, lane, x, of[x / 4]);
            if constexpr (BITS == 3) {
#pragma unroll
                for (int x = 0; x < HIGHS; x += 4) {
                    load_words<HIGHS>(codes + 8 * D + 128 * HIGHS * i, lane, x, high[x / 4]);
                }
            }
        }
        __device__ __forceinline__ uint32_t key(int w, int h, int place) const {
            if constexpr (BITS == 4) {
                return move_bit(of[w / 4][w % 4], 4 * (2 * h + place / 2 + 4 * (place % 2)), 2) & 0x3c;
            } else {
                const uint32_t low = of[w / 2 / 4][w / 2 % 4], top = high[w / 4 / 4][w / 4 % 4];
                return (move_bit(low, 8 * (2 * (w % 2) + h) + 2 * place, 2) & 0xc) |
                       (move_bit(top, 8 * (2 * (w / 2 % 2) + h) + 4 * (w % 2) + place, 4) & 0x10);
            }
        }
        __device__ __forceinline__ uint32_t value(int v, int h, int e, int f) const {
            if constexpr (BITS == 4) {
                return move_bit(of[(h * V + v) / 4][(h * V + v) % 4], 16 * e + 4 * f, 2) & 0x3c;
            } else {
                const int byte = 8 * (2 * h + e);
                return (move_bit(of[v / 4][v % 4], byte + 2 * f, 2) & 0xc) |
                       (move_bit(high[v / 2 / 4][v / 2 % 4], byte + 4 * (v % 2) + f, 4) & 0x10);
            }
        }
    };

    // A token's outliers.
    template <int S>
    struct Outliers {
        uint32_t place[S];  // less `from`
        float value[S];

        __device__ __forceinline__ void load(const char* meta, int token, int from, float unit) {
#pragma unroll
            for (int s = 0; s < S; ++s) {
                const uint32_t bits = reinterpret_cast<const uint16_t*>(meta)[S * token + s];
                place[s] = reinterpret_cast<const uint8_t*>(meta + 64 * S)[S * token + s] - from;
                if ((bits & 0x7fffu) > 0x7c00u) place[s] = 0x10000;  // unused
                value[s] = unit * __half2float(__ushort_as_half(static_cast<unsigned short>(bits)));
            }
        }
        __device__ __forceinline__ void replace(float& x, uint32_t at) const {
#pragma unroll
            for (int s = 0; s < S; ++s) x = place[s] == at ? value[s] : x;
        }
    };

    // Angles `pair` (even) and the next of a row; (1, 0) from `pairs` on.
    __device__ __forceinline__ float4 turn_back(const float2* row, int pair) const {
        if (wide && pair < pairs) return __ldg(reinterpret_cast<const float4*>(row + pair));
        const float2 none = make_float2(1.0f, 0.0f);
        const float2 a = pair < pairs ? __ldg(row + pair) : none, b = pair + 1 < pairs ? __ldg(row + pair + 1) : none;
        return {a.x, a.y, b.x, b.y};
    }

    __device__ __forceinline__ float level(int side, uint32_t offset) const {
        return *reinterpret_cast<const float*>(reinterpret_cast<const char*>(tables.level[side]) + offset);
    }

    __device__ __forceinline__ bool is_sink(int token) const {
        return static_cast<uint32_t>(token - sink_first) < sinks;
    }

    // Places slot .. slot+3 of a row of the sink.
    __device__ __forceinline__ void exact_key(int token, int slot, float (&x)[4]) const {
        const uint2 row = *reinterpret_cast<const uint2*>(sink_k + 2 * (token * D + slot));
        const float2 a = unpack_16(dtype, row.x), b = unpack_16(dtype, row.y);
        x[0] = 0.25f * a.x, x[1] = 0.25f * a.y, x[2] = 0.25f * b.x, x[3] = 0.25f * b.y;
    }

    // Channels channel, +1, +16, +17.
    __device__ __forceinline__ void exact_value(int token, int channel, float (&y)[4]) const {
        const char* row = sink_v + 2 * (token * D + channel);
        const float2 a = unpack_16(dtype, *reinterpret_cast<const uint32_t*>(row));
        const float2 b = unpack_16(dtype, *reinterpret_cast<const uint32_t*>(row + 32));
        y[0] = a.x, y[1] = a.y, y[2] = b.x, y[3] = b.y;
    }

    const uint32_t* query;
    const NuqTables<D>& tables;
    const float2* angles;
    int pairs;
    bool wide;  // two pairs are 16 aligned bytes
    int sink_first;
    uint32_t sinks;  // tokens from sink_first on that are read from the state slot
    DType dtype;
    const char *sink_k, *sink_v;
};

}  // namespace lowbit
