// Functions: calls with results and structures, recursion, pointers to functions, virtual functions, large switches,
// local arrays, printf, assert.
// What assert prints names no folder.
#line 5 "control.cu"
#include <assert.h>
#include <stdio.h>

#include "corpus.cuh"

struct Pair {
    u64 wide;
    uint32_t narrow[3];
    uint8_t small;
};

__device__ __noinline__ Pair turned(Pair p, int by) {
    Pair q;
    q.wide = p.wide << by | p.wide >> (64 - by);
    for (int k = 0; k < 3; k++) q.narrow[k] = p.narrow[(k + by) % 3];
    q.small = (uint8_t)(p.small + by);
    return q;
}

__device__ __noinline__ int smaller(int x, float y, double z, short w, char v) { return (int)(x < y) + (int)z + w - v; }

KERNEL(calls) {
    THREAD(7);
    Pair p = {(u64)a << 32 | b, {a, b, c}, (uint8_t)d};
    p = turned(p, 1 + (int)(d % 31));
    if (i % 3 == 0) p = turned(p, 5);
    put64(own, p.wide);
    own[2] = p.narrow[0];
    own[3] = p.narrow[1];
    own[4] = p.narrow[2];
    own[5] = p.small;
    own[6] = (uint32_t)smaller((int)(a % 1000), 500.5f, (double)(b % 77), (short)c, (char)d);
}

__device__ __noinline__ uint32_t fibonacci(uint32_t k) { return k < 2 ? k : fibonacci(k - 1) + fibonacci(k - 2); }

__device__ __noinline__ bool even(uint32_t k);
__device__ __noinline__ bool odd(uint32_t k) { return k == 0 ? false : even(k - 1); }
__device__ __noinline__ bool even(uint32_t k) { return k == 0 ? true : odd(k - 1); }

// A local array of each level lives while the deeper ones run.
__device__ __noinline__ uint32_t digits(uint32_t v, int depth) {
    volatile uint32_t kept[4] = {v, v ^ 0x55, v >> 3, (uint32_t)depth};
    const uint32_t deeper = depth == 0 ? 0 : digits(v / 3 + 1, depth - 1);
    return kept[v & 3] + 31 * deeper + kept[3];
}

KERNEL(recursion) {
    THREAD(4);
    own[0] = fibonacci(a % 9);
    own[1] = even(b % 12);
    own[2] = digits(c, (int)(d % 7));
    own[3] = i % 2 ? fibonacci(3 + b % 3) : digits(a, 2);
}

typedef uint32_t (*Operation)(uint32_t, uint32_t);
__device__ uint32_t plus(uint32_t x, uint32_t y) { return x + y; }
__device__ uint32_t minus(uint32_t x, uint32_t y) { return x - y; }
__device__ uint32_t times(uint32_t x, uint32_t y) { return x * y; }
__device__ uint32_t power(uint32_t x, uint32_t y) { return y % 8 == 0 ? 1 : x * power(x, y % 8 - 1); }
__device__ Operation operations[4] = {plus, minus, times, power};
__device__ Operation chosen;

KERNEL(pointers) {
    THREAD(2);
    own[0] = operations[c % 4](a, b);
    Operation same = c % 2 ? plus : power;
    if (i == 0) chosen = same;
    own[1] = same(d, a);
}

class Shape {
  public:
    __device__ virtual uint32_t area() const = 0;
    __device__ virtual uint32_t scaled(uint32_t by) const { return area() * by; }
};
class Square : public Shape {
  public:
    __device__ explicit Square(uint32_t side) : side(side) {}
    __device__ uint32_t area() const override { return side * side; }
    uint32_t side;
};
class Box : public Shape {
  public:
    __device__ Box(uint32_t x, uint32_t y) : x(x), y(y) {}
    __device__ uint32_t area() const override { return x * y; }
    __device__ uint32_t scaled(uint32_t by) const override { return x * y + by; }
    uint32_t x, y;
};

KERNEL(virtuals) {
    THREAD(2);
    Square square(a);
    Box box(b, c);
    const Shape* shape = d % 2 ? (const Shape*)&square : (const Shape*)&box;
    own[0] = shape->area();
    own[1] = shape->scaled(d);
}

KERNEL(ways) {
    THREAD(2);
    uint32_t r = b;
    switch (a % 24) {
        case 0:
            r += 3;
            break;
        case 1:
            r *= 5;
            break;
        case 2:
            r ^= c;
            break;
        case 3:
            r = __brev(r);
            break;
        case 4:
            r -= d;
            break;
        case 5:
            r = ~r;
            break;
        case 6:
            r = r >> 3 | c;
            break;
        case 7:
            r = r << 5 ^ d;
            break;
        case 8:
            r = r % 1000;
            break;
        case 9:
            r = r / 17;
            break;
        case 10:
            r = __popc(r);
            break;
        case 11:
            r = __clz(r);  // falls through
        case 12:
            r += 12;
            break;
        case 13:
            r = r & c;
            break;
        case 14:
            r = r * r;
            break;
        case 15:
            r = min(r, c);
            break;
        case 16:
            r = max(r, d);
            break;
        case 17:
            r = r + c * d;
            break;
        case 18:
            r = __byte_perm(r, c, 0x2143);
            break;
        case 19:
            r = r == c ? 1 : 2;
            break;
        case 20:
            r = -r;
            break;
        case 21:
            r = r << (c & 15);
            break;
        case 22:
            r = c - r;
            break;
        default:
            r = 99;
    }
    own[0] = r;
    // Rounds until a value comes back, out of the middle of two loops.
    uint32_t steps = 0, v = a % 100 + 1;
    for (int outer = 0; outer < 50; outer++) {
        for (int inner = 0; inner < 10; inner++) {
            if (v == 1) goto done;
            v = v % 2 ? 3 * v + 1 : v / 2;
            steps++;
        }
    }
done:
    own[1] = steps;
}

KERNEL(local_arrays) {
    THREAD(2);
    uint32_t table[16];
    uint8_t bytes[24];
    for (int k = 0; k < 16; k++) table[k] = a * k + b;
    for (int k = 0; k < 24; k++) bytes[k] = (uint8_t)(c >> (k % 4 * 8)) + k;
    for (int k = 0; k < 16; k++) {
        const uint32_t t = table[k];
        table[k] = table[(t >> 3) % 16];
        table[(t >> 3) % 16] = t;
    }
    own[0] = table[a % 16] ^ table[d % 16];
    uint32_t sum = 0;
    for (uint32_t k = 0; k < 8; k++) sum = 3 * sum + bytes[(d >> k) % 24];
    own[1] = sum;
}

KERNEL(stack) {
    THREAD(1);
    const int count = 3 + (int)(a % 6);
    uint32_t* room = (uint32_t*)alloca(count * sizeof(uint32_t));
    for (int k = 0; k < count; k++) room[k] = b * k;
    uint32_t sum = 0;
    for (int k = 0; k < count; k++) sum += room[(k * 5) % count] ^ k;
    own[0] = sum;
}

__device__ __noinline__ void say(const char* what, int v) { printf("%s %d\n", what, v); }

KERNEL(output) {
    THREAD(1);
    own[0] = 0;
    if (i == 1) {
        const int chars =
            printf("%d %u %5x|%-6d|%06.2f %s %c %llu %%\n", -5, 7u, 255, 42, 2.5, "text", 'x', 1ull << 40);
        own[0] = (uint32_t)chars;
        say("function", 3);
    }
    assert(a + b == b + a);
}

KERNEL(asserts) {
    THREAD(1);
    own[0] = a;
    assert(i != 3);
}

__constant__ uint32_t weights[8] = {3, 1, 4, 1, 5, 9, 2, 6};
__constant__ struct {
    float scale;
    uint8_t shift[4];
    double offset;
} settings = {1.5f, {1, 2, 3, 4}, -0.25};
__device__ int16_t signed_table[2][3] = {{-1, 2, -3}, {4, -5, 6}};
__device__ const char* const names[3] = {"one", "three", "seventeen"};
__device__ u64 total = 1000;

KERNEL(globals) {
    THREAD(5);
    own[0] = weights[a % 8] * weights[(a >> 8) % 8];
    own[1] = __float_as_uint(settings.scale * (float)settings.shift[b % 4] + (float)settings.offset);
    own[2] = (uint32_t)(int)signed_table[c % 2][d % 3];
    const char* name = names[d % 3];
    uint32_t length = 0;
    while (name[length]) length++;
    own[3] = length << 8 | (uint8_t)name[length - 1];
    own[4] = (uint32_t)total;
}
