// Records of a few 16-bit units, as ggml's blocks are, between threads that hold whole fields and wide accesses of
// global memory.
//
//   record = [Header units][Code units], one after the other without gaps: 9 to 17 units, so a record starts at any
//   even byte, and no field of it is aligned to its own size.
//
// A block of threads keeps kRecords records in shared memory with headers and codes apart, where every field is aligned
// and the accesses of a warp are neighbours (no bank conflicts); `write` gathers the words of the records' text from
// there, and `read` scatters them: 4 bytes a thread, a warp 128 consecutive bytes. kRecords records are whole 32-byte
// sectors.
#pragma once
#include <cstdint>

namespace lowbit {

template <int Header, int Code, int Records, int Threads>
struct Staged {
    static constexpr int kUnits = Header + Code;

    uint16_t header[Records * Header];
    alignas(16) uint16_t code[Records * Code];

    __device__ inline uint8_t* header_of(int record) { return reinterpret_cast<uint8_t*>(header + record * Header); }

    // Unit `at` of a record. Volatile, so that the two loads stay two: neighbours in each array, but not across both.
    __device__ inline uint32_t unit(int record, int at) const {
        const volatile uint16_t* codes = code;
        const volatile uint16_t* headers = header;
        uint32_t value = codes[record * Code + max(at - Header, 0)];
        if (at < Header) value = headers[record * Header + at];
        return value;
    }

    __device__ inline void set_unit(int record, int at, uint32_t value) {
        if (at >= Header) code[record * Code + at - Header] = static_cast<uint16_t>(value);
        if (at < Header) header[record * Header + at] = static_cast<uint16_t>(value);
    }

    // The first `records` to `out`; a barrier lies before it. Addresses of any alignment are right, multiples of 4
    // wide.
    __device__ inline void write(uint8_t* out, int records) const {
        const int bytes = 2 * kUnits * records;
        const bool aligned = reinterpret_cast<uint64_t>(out) % 4 == 0;
        for (int at = 4 * static_cast<int>(threadIdx.x); at < bytes; at += 4 * Threads) {
            const int record = at / 2 / kUnits, first = at / 2 - record * kUnits;
            const bool wraps = first + 1 == kUnits;
            const bool both = at + 4 <= bytes;
            uint32_t word = unit(record, first);
            if (both) word |= unit(record + wraps, wraps ? 0 : first + 1) << 16;
            if (aligned && both) {
                *reinterpret_cast<uint32_t*>(out + at) = word;
            } else {
#pragma unroll
                for (int i = 0; i < 4; ++i)
                    if (at + i < bytes) out[at + i] = static_cast<uint8_t>(word >> (8 * i));
            }
        }
    }

    // The counterpart; a barrier follows it.
    __device__ inline void read(const uint8_t* in, int records) {
        const int bytes = 2 * kUnits * records;
        const bool aligned = reinterpret_cast<uint64_t>(in) % 4 == 0;
        for (int at = 4 * static_cast<int>(threadIdx.x); at < bytes; at += 4 * Threads) {
            const int record = at / 2 / kUnits, first = at / 2 - record * kUnits;
            const bool wraps = first + 1 == kUnits;
            const bool both = at + 4 <= bytes;
            uint32_t word = 0;
            if (aligned && both) {
                word = __ldg(reinterpret_cast<const uint32_t*>(in + at));
            } else {
#pragma unroll
                for (int i = 0; i < 4; ++i)
                    if (at + i < bytes) word |= static_cast<uint32_t>(in[at + i]) << (8 * i);
            }
            set_unit(record, first, word & 0xFFFFu);
            if (both) set_unit(record + wraps, wraps ? 0 : first + 1, word >> 16);
        }
    }
};

}  // namespace lowbit
