// Sixteen numbers at a time, on any processor, and pairs of weights for its bfloat16 instructions where it has them.
//
// A product adds up over the channels in their order, with one chain for each output, whatever stands beside it: the
// answer for a row never depends on how many rows are computed together. That is what makes a seed mean the same in
// every batch. GCC's and Clang's vector types are lowered to whatever the processor has.
#pragma once

#include <cmath>
#include <new>
#include <vector>

#include "floats.h"

#if defined(__AVX512BF16__) && defined(__AVX512BW__)
#define HAS_BFLOAT16 1
#else
#define HAS_BFLOAT16 0
#endif

namespace stepwell {

// Memory that begins where a cache line does: sixteen numbers never stand in two.
template <class T>
struct Aligned {
    using value_type = T;
    static constexpr std::align_val_t LINE{64};

    Aligned() = default;
    template <class Other>
    Aligned(const Aligned<Other>&) {}
    T* allocate(size_t count) { return static_cast<T*>(::operator new(count * sizeof(T), LINE)); }
    void deallocate(T* at, size_t) { ::operator delete(at, LINE); }
    bool operator==(const Aligned&) const { return true; }
};

template <class T>
using Buffer = std::vector<T, Aligned<T>>;

inline Floats larger(const Floats& a, const Floats& b) { return where(a > b, a, b); }

// Sum of the lanes, in one order.
inline float total(Floats x) {
    float sums[LANES];
    store(sums, x);
    for (int wide = LANES / 2; wide; wide /= 2)
        for (int lane = 0; lane < wide; ++lane) sums[lane] += sums[lane + wide];
    return sums[0];
}

inline float largest(Floats x) {
    float numbers[LANES];
    store(numbers, x);
    float most = numbers[0];
    for (float number : numbers) most = number > most ? number : most;
    return most;
}

// e^x to two units in the last place; below -87 it is 0 (Cephes' expf, as vectors).
inline Floats exponential(Floats x) {
    const Floats lowest = all(-87.0f), inside = where(x < lowest, lowest, where(x > 88.0f, all(88.0f), x));
    const Floats shifted = inside * 1.44269504088896341f + 12582912.0f;  // 1.5 * 2^23 leaves the rounded number below
    const Floats whole = shifted - 12582912.0f;
    const Floats rest = (inside - whole * 0.693359375f) - whole * -2.12194440e-4f;
    Floats sum = rest * 1.9875691500e-4f + 1.3981999507e-3f;
    sum = sum * rest + 8.3334519073e-3f;
    sum = sum * rest + 4.1665795894e-2f;
    sum = sum * rest + 1.6666665459e-1f;
    sum = sum * rest + 5.0000001201e-1f;
    sum = sum * rest * rest + rest + 1.0f;
    const Ints power = (to_ints(whole) + 127) << 23;
    const Floats grown = sum * as_floats(power);
    return where(x < lowest, Floats{}, grown);
}

inline Floats hyperbolic_tangent(Floats x) {  // (1 - e^-2|x|) / (1 + e^-2|x|), with x's sign
    const Floats size = where(x < 0.0f, -x, x), fallen = exponential(size * -2.0f);
    const Floats small = x * (1.0f - x * x * (1.0f / 3.0f));  // the quotient loses what is small
    const Floats answer = (1.0f - fallen) / (1.0f + fallen);
    return where(size < 0.01f, small, where(x < 0.0f, -answer, answer));
}

inline Floats error_function(Floats x) {  // Abramowitz and Stegun, 7.1.26: off by at most 1.5e-7
    const Floats size = where(x < 0.0f, -x, x), t = 1.0f / (size * 0.3275911f + 1.0f);
    Floats sum = t * 1.061405429f - 1.453152027f;
    sum = sum * t + 1.421413741f;
    sum = sum * t - 0.284496736f;
    sum = (sum * t + 0.254829592f) * t;
    const Floats answer = 1.0f - sum * exponential(-size * size);
    return where(x < 0.0f, -answer, answer);
}

inline uint16_t to_bfloat16(float x) {  // to nearest, ties to even
    uint32_t bits;
    std::memcpy(&bits, &x, sizeof bits);
    if ((bits & 0x7fffffff) > 0x7f800000) return uint16_t((bits >> 16) | 64);
    return uint16_t((bits + 0x7fff + ((bits >> 16) & 1)) >> 16);
}

inline float from_bfloat16(uint16_t x) {
    const uint32_t bits = uint32_t(x) << 16;
    float y;
    std::memcpy(&y, &bits, sizeof y);
    return y;
}

// What a product reads of its rows: channels as they are, or rounded to bfloat16.
//
// A `Pair` holds two neighbouring channels of 16 outputs, and `multiply` adds their product with two channels of a row.
struct Exact {
    using Number = float;
    struct Pair {
        Floats first, second;
    };

    static Number rounded(float x) { return x; }
    static float exact(Number x) { return x; }
    static void store_rounded(Number* to, Floats x) { store(to, x); }
    static Floats load_exact(const Number* from) { return load(from); }

    static Floats multiply(Floats sum, const Pair& weights, const Number* x) {
        sum += weights.first * x[0];
        sum += weights.second * x[1];
        return sum;
    }

    // Two channels of 16 outputs, as they stand in memory: all of the first, then all of the second.
    static Pair pair_at(const Number* from) { return {load(from), load(from + LANES)}; }
    static Pair kept(Pair pair) { return pair; }
    static void store_pair(Number* to, const Pair& pair) { store(to, pair.first), store(to + LANES, pair.second); }

    // Codes from 0 to 127 as numbers that are `CODE_OFFSET` above code - 64.
    static constexpr float CODE_OFFSET = 0;
    static Pair pair_of(const uint8_t* codes) { return {centered(codes), centered(codes + LANES)}; }

    static Floats centered(const uint8_t* from) { return to_floats(widened(from)) - 64.0f; }
    static int place(int channel, int lane) { return (channel / 2) * 2 * LANES + (channel % 2) * LANES + lane; }
};

#if HAS_BFLOAT16
struct Rounded {
    using Number = uint16_t;
    using Pair = __m512bh;

    static Number rounded(float x) { return to_bfloat16(x); }
    static float exact(Number x) { return from_bfloat16(x); }

    static void store_rounded(Number* to, Floats x) {
        const __m256bh small = _mm512_cvtneps_pbh(__m512(x));
        std::memcpy(to, &small, sizeof small);
    }

    static Floats load_exact(const Number* from) {
        return Floats(_mm512_castsi512_ps(_mm512_slli_epi32(
            _mm512_cvtepu16_epi32(_mm256_loadu_si256(reinterpret_cast<const __m256i*>(from))), 16)));
    }

    static Floats multiply(Floats sum, const Pair& weights, const Number* x) {
        int32_t both;
        std::memcpy(&both, x, sizeof both);
        return Floats(_mm512_dpbf16_ps(__m512(sum), weights, __m512bh(_mm512_set1_epi32(both))));
    }

    static Pair pair_at(const Number* from) { return __m512bh(_mm512_loadu_si512(from)); }

    static void store_pair(Number* to, const Pair& pair) { std::memcpy(to, &pair, sizeof pair); }

    // In a register: GCC would read it again for each row.
    static Pair kept(Pair pair) {
        asm("" : "+v"(pair));
        return pair;
    }

    // A code is the mantissa of 128 + code as it stands.
    static constexpr float CODE_OFFSET = 192;
    static Pair pair_of(const uint8_t* codes) {
        const __m512i wide = _mm512_cvtepu8_epi16(_mm256_loadu_si256(reinterpret_cast<const __m256i*>(codes)));
        return __m512bh(_mm512_or_si512(wide, _mm512_set1_epi16(0x4300)));
    }

    static int place(int channel, int lane) { return (channel / 2) * 2 * LANES + 2 * lane + channel % 2; }
};
#else
using Rounded = Exact;
#endif

}  // namespace stepwell
