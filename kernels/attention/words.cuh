// How the lanes of a warp share a part of a tile record: N words a lane, in pieces of 16 bytes a lane, then one of 8 if
// N & 2, then one of 4 if N & 1. So a part has no padding, whatever the head dim, and every access of a warp is whole.
//
//   word w of lane -> byte 512 (w/4) + 16 lane + 4 (w%4)              where all four words of its piece exist
//                          128 (w - w%4) + 8 lane + 4 (w%4)           in the piece of 8
//                          128 w + 4 lane                             in the piece of 4
#pragma once
#include <cstdint>

namespace lowbit {

// Calls `visit(pointer to the piece, number of words)` for the pieces that hold words first .. first+3.
template <int N, class Char, class Visit>
__device__ __forceinline__ void visit_words(Char* part, int lane, int first, const Visit& visit) {
    const int left = N - first;
    Char* at = part + 128 * first;
    if (left >= 4) {
        visit(at + lane * 16, 0, 4);
    } else {
        if (left & 2) visit(at + lane * 8, 0, 2);
        if (left & 1) visit(at + (left & 2) * 128 + lane * 4, left & 2, 1);
    }
}

// Words first .. first+3 of the lane, as far as they exist. `first` is a multiple of 4.
template <int N>
__device__ __forceinline__ void load_words(const char* part, int lane, int first, uint32_t (&w)[4]) {
    visit_words<N>(part, lane, first, [&](const char* at, int word, int count) {
        if (count == 4) {
            const uint4 quad = *reinterpret_cast<const uint4*>(at);
            w[0] = quad.x, w[1] = quad.y, w[2] = quad.z, w[3] = quad.w;
        } else if (count == 2) {
            const uint2 pair = *reinterpret_cast<const uint2*>(at);
            w[0] = pair.x, w[1] = pair.y;
        } else {
            w[word] = *reinterpret_cast<const uint32_t*>(at);
        }
    });
}

// Clears the bits of the lane's words that `mask` does not have.
template <int N>
__device__ __forceinline__ void mask_words(char* part, int lane, uint32_t mask) {
#pragma unroll
    for (int first = 0; first < N; first += 4) {
        visit_words<N>(part, lane, first, [&](char* at, int, int count) {
            if (count == 4) {
                uint4* quad = reinterpret_cast<uint4*>(at);
                *quad = make_uint4(quad->x & mask, quad->y & mask, quad->z & mask, quad->w & mask);
            } else {
                for (int i = 0; i < count; ++i) reinterpret_cast<uint32_t*>(at)[i] &= mask;
            }
        });
    }
}

// The words themselves become 0.
template <int N>
__device__ __forceinline__ void clear_words(char* part, int lane) {
    mask_words<N>(part, lane, 0);
}

// All words of both halves of a tile of 32 tokens, 128 N bytes each.
template <int N>
__device__ __forceinline__ void load_halves(const char* part, int lane, uint32_t (&words)[2][(N + 3) / 4][4]) {
#pragma unroll
    for (int i = 0; i < 2; ++i) {
#pragma unroll
        for (int x = 0; x < N; x += 4) load_words<N>(part + 128 * N * i, lane, x, words[i][x / 4]);
    }
}

// COUNT words from `at` on, which is a multiple of their bytes, by the widest loads that keep to that.
template <int COUNT>
__device__ __forceinline__ void load_run(const char* at, uint32_t (&w)[COUNT]) {
    if constexpr (COUNT % 4 == 0) {
#pragma unroll
        for (int x = 0; x < COUNT; x += 4) {
            const uint4 quad = reinterpret_cast<const uint4*>(at)[x / 4];
            w[x] = quad.x, w[x + 1] = quad.y, w[x + 2] = quad.z, w[x + 3] = quad.w;
        }
    } else if constexpr (COUNT % 2 == 0) {
#pragma unroll
        for (int x = 0; x < COUNT; x += 2) {
            const uint2 pair = reinterpret_cast<const uint2*>(at)[x / 2];
            w[x] = pair.x, w[x + 1] = pair.y;
        }
    } else {
#pragma unroll
        for (int x = 0; x < COUNT; ++x) w[x] = reinterpret_cast<const uint32_t*>(at)[x];
    }
}

// BYTES bytes of zeros, a multiple of 16.
template <int BYTES>
__device__ __forceinline__ void clear_part(char* part, int lane) {
    for (int at = lane * 16; at < BYTES; at += 512) *reinterpret_cast<uint4*>(part + at) = make_uint4(0, 0, 0, 0);
}

}  // namespace lowbit
