// Sixteen numbers at a time, in as many of the processor's registers as they take.
//
// With AVX-512 that is one register and a plain vector of GCC and Clang. Elsewhere it is a pair of halves: a vector
// that is wider than a register would live in memory, and each sum of a product would go there and back.
#pragma once

#include <cstdint>
#include <cstring>
#include <type_traits>

#if defined(__AVX512F__) || defined(__F16C__)
#include <immintrin.h>
#endif

namespace stepwell {

constexpr int LANES = 16;

// Bytes of a register, and how many `Floats` all registers hold.
#if defined(__AVX512F__)
constexpr int WIDTH = 64, REGISTERS = 32;
#elif defined(__AVX__)
constexpr int WIDTH = 32, REGISTERS = 8;
#elif defined(__aarch64__)
constexpr int WIDTH = 16, REGISTERS = 8;
#else
constexpr int WIDTH = 16, REGISTERS = 4;
#endif

typedef float SomeFloats __attribute__((vector_size(WIDTH)));
typedef int32_t SomeInts __attribute__((vector_size(WIDTH)));

template <class T>
struct Twice {
    using Half = T;
    T low, high;
};

template <class T>
constexpr bool IS_TWICE = false;
template <class T>
constexpr bool IS_TWICE<Twice<T>> = true;

template <class T, int BYTES>
struct Pieces {
    using Type = Twice<typename Pieces<T, BYTES / 2>::Type>;
};
template <class T>
struct Pieces<T, WIDTH> {
    using Type = T;
};

using Floats = Pieces<SomeFloats, 64>::Type;
using Ints = Pieces<SomeInts, 64>::Type;

// Arithmetic and comparisons, lane by lane; a number stands for sixteen of it.
#define LANE_BY_LANE(OPERATOR)                                                                                  \
    template <class T>                                                                                          \
    inline auto operator OPERATOR(const Twice<T>& a, const Twice<T>& b) {                                       \
        return Twice<decltype(a.low OPERATOR b.low)>{a.low OPERATOR b.low, a.high OPERATOR b.high};             \
    }                                                                                                           \
    template <class T, class Number, class = std::enable_if_t<std::is_arithmetic_v<Number>>>                    \
    inline auto operator OPERATOR(const Twice<T>& a, Number b) {                                                \
        return Twice<decltype(a.low OPERATOR b)>{a.low OPERATOR b, a.high OPERATOR b};                          \
    }                                                                                                           \
    template <class T, class Number, class = std::enable_if_t<std::is_arithmetic_v<Number>>>                    \
    inline auto operator OPERATOR(Number a, const Twice<T>& b) {                                                \
        return Twice<decltype(a OPERATOR b.low)>{a OPERATOR b.low, a OPERATOR b.high};                          \
    }
LANE_BY_LANE(+)
LANE_BY_LANE(-)
LANE_BY_LANE(*)
LANE_BY_LANE(/)
LANE_BY_LANE(<)
LANE_BY_LANE(>)
LANE_BY_LANE(&)
LANE_BY_LANE(|)
LANE_BY_LANE(<<)
LANE_BY_LANE(>>)
#undef LANE_BY_LANE

template <class T>
inline Twice<T> operator-(const Twice<T>& a) {
    return {-a.low, -a.high};
}

template <class T, class Other>
inline Twice<T>& operator+=(Twice<T>& a, const Other& b) {
    return a = a + b;
}

template <class T, class Other>
inline Twice<T>& operator*=(Twice<T>& a, const Other& b) {
    return a = a * b;
}

// As it stands in memory, register by register.
template <class T>
inline T read(const void* from) {
    if constexpr (IS_TWICE<T>) {
        using Half = typename T::Half;
        return {read<Half>(from), read<Half>(static_cast<const char*>(from) + sizeof(Half))};
    } else {
        T x;
        std::memcpy(&x, from, sizeof x);
        return x;
    }
}

template <class T>
inline void write(void* to, const T& x) {
    if constexpr (IS_TWICE<T>) {
        write(to, x.low);
        write(static_cast<char*>(to) + sizeof x.low, x.high);
    } else {
        std::memcpy(to, &x, sizeof x);
    }
}

inline Floats load(const float* from) { return read<Floats>(from); }
inline void store(float* to, const Floats& x) { write(to, x); }
inline Floats all(float x) { return Floats{} + x; }

// `a` where the mask is true, else `b`.
template <class Mask, class T>
inline T where(const Mask& mask, const T& a, const T& b) {
    if constexpr (IS_TWICE<T>) return {where(mask.low, a.low, b.low), where(mask.high, a.high, b.high)};
    else return mask ? a : b;
}

template <class To, class From>
inline To converted(const From& x) {
    if constexpr (IS_TWICE<To>) {
        using Half = typename To::Half;
        return {converted<Half>(x.low), converted<Half>(x.high)};
    } else {
        return __builtin_convertvector(x, To);
    }
}

inline Floats to_floats(const Ints& x) { return converted<Floats>(x); }
inline Ints to_ints(const Floats& x) { return converted<Ints>(x); }

// The same bits as another type.
template <class To, class From>
inline To recast(const From& x) {
    if constexpr (IS_TWICE<To>) {
        using Half = typename To::Half;
        return {recast<Half>(x.low), recast<Half>(x.high)};
    } else {
        return To(x);
    }
}

inline Floats as_floats(const Ints& x) { return recast<Floats>(x); }

// Sixteen integers of fewer bytes than four.
template <class Number, class To = Ints>
inline To widened(const Number* from) {
    if constexpr (IS_TWICE<To>) {
        using Half = typename To::Half;
        return {widened<Number, Half>(from), widened<Number, Half>(from + sizeof(Half) / 4)};
    } else {
        typedef Number Narrow __attribute__((vector_size(WIDTH / 4 * sizeof(Number))));
        return __builtin_convertvector(read<Narrow>(from), To);
    }
}

// Numbers of 16 bits, none of them infinite or NaN.
inline Floats load_halves(const uint16_t* from) {
#if defined(__AVX512F__)
    return Floats(_mm512_cvtph_ps(_mm256_loadu_si256(reinterpret_cast<const __m256i*>(from))));
#elif defined(__F16C__)
    const __m128i* halves = reinterpret_cast<const __m128i*>(from);
    return {SomeFloats(_mm256_cvtph_ps(_mm_loadu_si128(halves))), SomeFloats(_mm256_cvtph_ps(_mm_loadu_si128(halves + 1)))};
#else
    const Ints bits = widened(from);
    const Floats size = as_floats((bits & 0x7fff) << 13) * 0x1p112f;  // the exponent's offset is 127, not 15
    return where(bits > 0x7fff, -size, size);
#endif
}

}  // namespace stepwell
