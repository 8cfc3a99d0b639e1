// Philox4x32-10 (Salmon et al., SC 2011) as src/format/philox.rs: random numbers that are a function of a counter and a
// key, here element index / 4 and the seed.
#pragma once
#include <cstdint>

namespace lowbit {

class Philox {
  public:
    __device__ inline explicit Philox(uint64_t seed) : seed_(seed) {}

    // The upper 24 bits of the element's word, as a number in [0, 1).
    __device__ inline float uniform(uint64_t index) {
        if (index / 4 != counter_) draw(index / 4);
        const uint32_t word = index & 2 ? (index & 1 ? word_[3] : word_[2]) : (index & 1 ? word_[1] : word_[0]);
        return static_cast<float>(word >> 8) * 0x1p-24f;
    }

  private:
    __device__ inline void draw(uint64_t counter) {
        counter_ = counter;
        uint32_t c0 = static_cast<uint32_t>(counter), c1 = static_cast<uint32_t>(counter >> 32), c2 = 0, c3 = 0;
        uint32_t k0 = static_cast<uint32_t>(seed_), k1 = static_cast<uint32_t>(seed_ >> 32);
#pragma unroll 1
        for (int round = 0; round < 10; ++round) {
            const uint64_t first = static_cast<uint64_t>(0xD2511F53u) * c0;
            const uint64_t second = static_cast<uint64_t>(0xCD9E8D57u) * c2;
            c0 = static_cast<uint32_t>(second >> 32) ^ c1 ^ k0;
            c2 = static_cast<uint32_t>(first >> 32) ^ c3 ^ k1;
            c1 = static_cast<uint32_t>(second);
            c3 = static_cast<uint32_t>(first);
            k0 += 0x9E3779B9u;
            k1 += 0xBB67AE85u;
        }
        word_[0] = c0;
        word_[1] = c1;
        word_[2] = c2;
        word_[3] = c3;
    }

    uint64_t seed_, counter_ = ~0ull;
    uint32_t word_[4];
};

}  // namespace lowbit
