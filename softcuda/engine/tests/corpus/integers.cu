// Integer arithmetic of C++: division in every width, wide products, bit counts, carries, packed words.
#include "corpus.cuh"

KERNEL(divide32) {
    THREAD(6);
    const uint32_t u = b >> (d & 31) ? b >> (d & 31) : 1;
    const int s = (int)c >> (d & 31) ? (int)c >> (d & 31) : 1;
    own[0] = a / u;
    own[1] = a % u;
    own[2] = s == -1 ? 0u - a : (uint32_t)((int)a / s);
    own[3] = s == -1 ? 0 : (uint32_t)((int)a % s);
    own[4] = a / 7 + a % 1000;
    own[5] = (uint32_t)((int)a / -13 + (int)a % 60);
}

KERNEL(divide64) {
    THREAD(12);
    const u64 x = (u64)a << 32 | b, y = ((u64)c << 32 | d) >> (b & 63);
    const u64 u = y ? y : 3;
    const s64 s = (s64)((u64)c << 32 | d) >> (b & 63);
    const s64 t = s == 0 || s == -1 ? 5 : s;
    put64(own, x / u);
    put64(own + 2, x % u);
    put64(own + 4, (u64)((s64)x / t));
    put64(own + 6, (u64)((s64)x % t));
    put64(own + 8, x / 10);
    put64(own + 10, (u64)((s64)x % 1000003));
}

KERNEL(divide16) {
    THREAD(4);
    const uint16_t x = a, y = (b & 0xffff) ? b : 9;
    const int16_t s = c, t = (d & 0xfffe) ? d : 9;
    own[0] = (uint16_t)(x / y);
    own[1] = (uint16_t)(x % y);
    own[2] = (uint32_t)(int16_t)(s / t);
    own[3] = (uint32_t)(int16_t)(s % t);
}

KERNEL(products) {
    THREAD(13);
    own[0] = a * b + c;
    own[1] = __umulhi(a, b);
    own[2] = __mulhi((int)a, (int)b);
    own[3] = __mul24((int)a, (int)b);
    own[4] = __umul24(a, b);
    put64(own + 5, (u64)a * b + c);
    put64(own + 7, (u64)((s64)(int)a * (int)b));
    put64(own + 9, __umul64hi((u64)a << 32 | b, (u64)c << 32 | d));
    put64(own + 11, (u64)__mul64hi((s64)((u64)a << 32 | b), (s64)((u64)c << 32 | d)));
}

KERNEL(bits) {
    THREAD(20);
    const u64 x = (u64)a << 32 | b;
    own[0] = __popc(a);
    own[1] = __popcll(x);
    own[2] = __brev(a);
    put64(own + 3, __brevll(x));
    own[5] = __clz(a);
    own[6] = __clzll(x);
    own[7] = __ffs(a);
    own[8] = __ffsll(x);
    own[9] = __byte_perm(a, b, c & 0x7777);
    own[10] = __funnelshift_l(a, b, c);
    own[11] = __funnelshift_r(a, b, c);
    own[12] = __funnelshift_lc(a, b, c & 63);
    own[13] = __funnelshift_rc(a, b, c & 63);
    own[14] = __usad(a, b, c);
    own[15] = __sad((int)a >> 2, (int)b >> 2, c);
    own[16] = __uhadd(a, b);
    own[17] = (uint32_t)__rhadd((int)a, (int)b);
    own[18] = (a << (c & 31)) ^ (a >> (d & 31)) ^ (uint32_t)((int)b >> (c & 31));
    own[19] = (uint32_t)((x << (c & 63)) ^ (x >> (d & 63)) ^ (u64)((s64)x >> (c & 63)));
}

// 128-bit sums and products are carry chains.
KERNEL(wide) {
    THREAD(12);
    typedef unsigned __int128 u128;
    const u128 x = (u128)a << 96 | (u128)b << 64 | (u128)c << 32 | d;
    const u128 y = (u128)d << 96 | (u128)a << 64 | (u128)b << 32 | c;
    const u128 sum = x + y, difference = x - y, product = x * y;
    const u128 all[3] = {sum, difference, product};
    for (int k = 0; k < 3; k++) {
        put64(own + 4 * k, (u64)all[k]);
        put64(own + 4 * k + 2, (u64)(all[k] >> 64));
    }
}

KERNEL(narrow) {
    THREAD(6);
    const int8_t x = a, y = b;
    const uint8_t u = a, v = b;
    const int16_t s = c, t = d;
    own[0] = (uint32_t)(int8_t)(x + y) ^ (uint32_t)(uint8_t)(u * v);
    own[1] = (uint32_t)(x > y ? x : y) + (u < v ? u : v);
    own[2] = (uint32_t)(int16_t)(s * t) + (uint16_t)(s - t);
    own[3] = (uint32_t)min(s, t) ^ (uint32_t)max((uint16_t)c, (uint16_t)d);
    own[4] = (uint32_t)abs((int)s) + (uint32_t)(s >> 3) + (uint32_t)((uint16_t)d >> 5) + (uint16_t)(t << 2);
    own[5] = (s < t) | (x == y) << 1 | ((uint16_t)c >= (uint16_t)d) << 2 | (u <= v) << 3 | ((s64)x > (s64)t) << 4;
}

KERNEL(dots) {
    THREAD(6);
    own[0] = (uint32_t)__dp4a((int)a, (int)b, (int)c);
    own[1] = __dp4a(a, b, c);
    own[2] = (uint32_t)__dp2a_lo((int)a, (int)b, (int)c);
    own[3] = (uint32_t)__dp2a_hi((int)a, (int)b, (int)c);
    own[4] = __dp2a_lo(a, b, c);
    own[5] = __dp2a_hi(a, b, c);
}

KERNEL(packed) {
    THREAD(12);
    own[0] = __vadd2(a, b);
    own[1] = __vsub4(a, b);
    own[2] = __vmaxs2(a, b);
    own[3] = __vminu2(a, b);
    own[4] = __vabsdiffu4(a, b);
    own[5] = __vcmpgts4(a, b);
    own[6] = __vavgu4(a, b);
    own[7] = __vsadu4(a, b);
    own[8] = (uint32_t)__viaddmax_s32((int)a >> 2, (int)b >> 2, (int)c);
    own[9] = __vimax3_u32(a, b, c);
    own[10] = (uint32_t)__vimin_s32_relu((int)a, (int)b);
    own[11] = __vaddss2(a, b);
}
