// Which of 4, 8 or 16 ascending levels is nearest: the number of thresholds that are not above x, by bisection.
//
//   search<Bits>(x, t) = #{i < 2^Bits - 1 : t[i] <= x}     t ascending; NaN gives 0
//
// The thresholds are chosen by predicate, not loaded by index: constants, or parameters, stay operands.
#pragma once
#include <cstdint>

namespace lowbit {

template <int Bits>
__device__ inline uint32_t search(float x, const float* t) {
    static_assert(Bits >= 2 && Bits <= 4, "2, 3 or 4 bits");
    constexpr int kHalf = 1 << (Bits - 1), kQuarter = kHalf / 2;
    const bool a = x >= t[kHalf - 1];
    const bool b = x >= (a ? t[kHalf + kQuarter - 1] : t[kQuarter - 1]);
    uint32_t index = (a ? kHalf : 0) + (b ? kQuarter : 0);
    if constexpr (Bits >= 3) {
        constexpr int kEighth = kQuarter / 2;
        const float high = b ? t[kHalf + kQuarter + kEighth - 1] : t[kHalf + kEighth - 1];
        const float low = b ? t[kQuarter + kEighth - 1] : t[kEighth - 1];
        const bool c = x >= (a ? high : low);
        index += c ? kEighth : 0;
        if constexpr (Bits == 4) {
            const float s11 = c ? t[14] : t[12], s10 = c ? t[10] : t[8], s01 = c ? t[6] : t[4], s00 = c ? t[2] : t[0];
            const bool d = x >= (a ? (b ? s11 : s10) : (b ? s01 : s00));
            index += d ? 1 : 0;
        }
    }
    return index;
}

}  // namespace lowbit
