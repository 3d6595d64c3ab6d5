// Vectors of one register, in the vector extension of GCC and Clang; intrinsics only where that has no word for it.
//
// What runs for every group of samples says `always_inline`: the kernels' file has grown so large that GCC stops inlining
// by itself, and a call costs a quarter of the time of a warp.
#pragma once

#include <cstdint>
#include <cstring>
#include <limits>
#include <type_traits>
#include <utility>

#if defined(__AVX2__)
#include <immintrin.h>
#endif

#if defined(__AVX512F__)
#define UNWARP_BYTES 64
#elif defined(__AVX2__)
#define UNWARP_BYTES 32
#else
#define UNWARP_BYTES 16
#endif

namespace unwarp {
namespace UNWARP_ISA {

using F32 = float __attribute__((vector_size(UNWARP_BYTES)));
using F64 = double __attribute__((vector_size(UNWARP_BYTES)));
using I32 = std::int32_t __attribute__((vector_size(UNWARP_BYTES)));
using I64 = std::int64_t __attribute__((vector_size(UNWARP_BYTES)));
using U32 = std::uint32_t __attribute__((vector_size(UNWARP_BYTES)));
using U64 = std::uint64_t __attribute__((vector_size(UNWARP_BYTES)));

using U16 = std::uint16_t __attribute__((vector_size(UNWARP_BYTES / 2)));
using Bytes32 = std::uint8_t __attribute__((vector_size(UNWARP_BYTES / 4)));
using Bytes64 = std::uint8_t __attribute__((vector_size(UNWARP_BYTES / 8)));

using Pair32 = float __attribute__((vector_size(8)));
using Pair64 = double __attribute__((vector_size(16)));

// The vectors that go with a computing type: its numbers, and integers of the same width.
template <class W>
struct Lanes;
template <>
struct Lanes<float> {
    using V = F32;
    using I = I32;
    using U = U32;
    using Pair = Pair32;
    using Bytes = Bytes32;
    using Index = std::int32_t;
    static constexpr int count = UNWARP_BYTES / 4;
};
template <>
struct Lanes<double> {
    using V = F64;
    using I = I64;
    using U = U64;
    using Pair = Pair64;
    using Bytes = Bytes64;
    using Index = std::int64_t;
    static constexpr int count = UNWARP_BYTES / 8;
};
template <class W>
using Vec = typename Lanes<W>::V;
template <class W>
using Int = typename Lanes<W>::I;

template <class V, class S>
[[gnu::always_inline]] inline V load(const S* from) {
    V v;
    std::memcpy(&v, from, sizeof v);
    return v;
}

template <class V, class S>
[[gnu::always_inline]] inline void store(S* to, V v) {
    std::memcpy(to, &v, sizeof v);
}

template <class W>
[[gnu::always_inline]] inline Vec<W> splat(W value) {
    return value - Vec<W>{};
}

template <class W>
[[gnu::always_inline]] inline Int<W> splat_int(std::int64_t value) {
    return static_cast<typename Lanes<W>::Index>(value) - Int<W>{};
}

template <class W>
[[gnu::always_inline]] inline Vec<W> to_float(Int<W> v) {
    return __builtin_convertvector(v, Vec<W>);
}

// Truncates; the values must fit.
template <class W>
[[gnu::always_inline]] inline Int<W> to_int(Vec<W> v) {
    return __builtin_convertvector(v, Int<W>);
}

template <class W>
[[gnu::always_inline]] inline Vec<W> floor(Vec<W> v) {
    const Vec<W> cut = to_float<W>(to_int<W>(v));
    return cut > v ? cut - 1 : cut;
}

// To the nearest, ties to even; below 2^22 (2^51).
template <class W>
[[gnu::always_inline]] inline Vec<W> nearest_integer(Vec<W> v) {
    constexpr W magic = std::is_same_v<W, float> ? W(12582912.0) : W(6755399441055744.0);
    return (v + magic) - magic;
}

// Rounded down, as an integer; what does not fit, or is no number, is far from 0.
template <class W>
[[gnu::always_inline]] inline Int<W> floor_to_int(Vec<W> v) {
#if defined(__AVX512F__)
    if constexpr (std::is_same_v<W, float>)
        return reinterpret_cast<I32>(_mm512_mask_cvt_roundps_epi32(
            _mm512_setzero_si512(), 0xffff, v, _MM_FROUND_TO_NEG_INF | _MM_FROUND_NO_EXC));
#elif defined(__AVX2__)
    if constexpr (std::is_same_v<W, float>) return reinterpret_cast<I32>(_mm256_cvttps_epi32(_mm256_floor_ps(v)));
#endif
    return v == v ? to_int<W>(floor<W>(v)) : splat_int<W>(std::numeric_limits<typename Lanes<W>::Index>::min());
}

// Where from <= v < from + count: one comparison, as negative numbers without their sign are huge.
template <class W>
[[gnu::always_inline]] inline Int<W> among(Int<W> v, Int<W> from, Int<W> count) {
    using U = typename Lanes<W>::U;
    return reinterpret_cast<U>(v) - reinterpret_cast<U>(from) < reinterpret_cast<U>(count);
}

// The second where either is NaN, as the machine's own instructions have it.
template <class V>
[[gnu::always_inline]] inline V min(V a, V b) {
#if defined(__AVX512F__)
    if constexpr (std::is_same_v<V, F32>) return _mm512_min_ps(a, b);
    if constexpr (std::is_same_v<V, F64>) return _mm512_min_pd(a, b);
#elif defined(__AVX2__)
    if constexpr (std::is_same_v<V, F32>) return _mm256_min_ps(a, b);
    if constexpr (std::is_same_v<V, F64>) return _mm256_min_pd(a, b);
#endif
    return a < b ? a : b;
}
template <class V>
[[gnu::always_inline]] inline V max(V a, V b) {
#if defined(__AVX512F__)
    if constexpr (std::is_same_v<V, F32>) return _mm512_max_ps(a, b);
    if constexpr (std::is_same_v<V, F64>) return _mm512_max_pd(a, b);
#elif defined(__AVX2__)
    if constexpr (std::is_same_v<V, F32>) return _mm256_max_ps(a, b);
    if constexpr (std::is_same_v<V, F64>) return _mm256_max_pd(a, b);
#endif
    return a > b ? a : b;
}

template <class W>
[[gnu::always_inline]] inline Vec<W> magnitude(Vec<W> v) {
    using Index = typename Lanes<W>::Index;
    const Int<W> sign = std::numeric_limits<Index>::min() - Int<W>{};
    return reinterpret_cast<Vec<W>>(reinterpret_cast<Int<W>>(v) & ~sign);
}

// Masks are vectors of 0 and -1. What comparing doubles gives Clang takes for another type than I64.
template <class Mask>
[[gnu::always_inline]] inline bool all(Mask mask) {
    if constexpr (sizeof(mask[0]) == 4) {
#if defined(__AVX512F__)
        return _mm512_movepi32_mask(reinterpret_cast<__m512i>(mask)) == 0xffff;
#elif defined(__AVX2__)
        return _mm256_movemask_ps(reinterpret_cast<__m256>(mask)) == 0xff;
#endif
    }
    auto both = mask[0];
    for (int lane = 1; lane < static_cast<int>(sizeof(mask) / sizeof(mask[0])); ++lane) both &= mask[lane];
    return both != 0;
}

template <class Mask>
[[gnu::always_inline]] inline bool none(Mask mask) {
    return all(~mask);
}

template <class W>
inline W sum(Vec<W> v) {
#if defined(__AVX512F__)
    if constexpr (std::is_same_v<W, float>) return _mm512_reduce_add_ps(v);
#endif
    // By halves: one after the other, each addition would wait for the last.
    W part[Lanes<W>::count];
    store(part, v);
    for (int half = Lanes<W>::count / 2; half > 0; half /= 2)
        for (int i = 0; i < half; ++i) part[i] += part[i + half];
    return part[0];
}

// Lanes of both in turn, those of the first half and those of the second.
template <bool SECOND, class V, std::size_t... i>
[[gnu::always_inline]] inline V interleave(V a, V b, std::index_sequence<i...>) {
    constexpr std::size_t lanes = sizeof...(i), from = SECOND ? lanes / 2 : 0;
    return __builtin_shufflevector(a, b, (i % 2 * lanes + from + i / 2)...);
}
template <class W>
[[gnu::always_inline]] inline Vec<W> interleave_low(Vec<W> a, Vec<W> b) {
    return interleave<false>(a, b, std::make_index_sequence<static_cast<std::size_t>(Lanes<W>::count)>());
}
template <class W>
[[gnu::always_inline]] inline Vec<W> interleave_high(Vec<W> a, Vec<W> b) {
    return interleave<true>(a, b, std::make_index_sequence<static_cast<std::size_t>(Lanes<W>::count)>());
}

// Half precision is widened and narrowed by integer arithmetic, the same on every machine.
inline float half_to_float(std::uint16_t bits) {
    const std::uint32_t sign = static_cast<std::uint32_t>(bits & 0x8000) << 16;
    const std::uint32_t rest = static_cast<std::uint32_t>(bits & 0x7fff) << 13;
    float value;
    if (rest >= 0x0f800000) {
        const std::uint32_t raw = rest | 0x7f800000;
        std::memcpy(&value, &raw, 4);
    } else {
        std::memcpy(&value, &rest, 4);
        value *= 5.192296858534828e33f;  // 2^112: from a bias of 127 to one of 15, subnormals too
    }
    std::uint32_t raw;
    std::memcpy(&raw, &value, 4);
    raw |= sign;
    std::memcpy(&value, &raw, 4);
    return value;
}

inline std::uint16_t float_to_half(float value) {
    std::uint32_t raw;
    std::memcpy(&raw, &value, 4);
    const std::uint32_t sign = (raw >> 16) & 0x8000;
    raw &= 0x7fffffff;
    if (raw > 0x7f800000) return static_cast<std::uint16_t>(sign | 0x7e00);
    if (raw >= 0x477ff000) return static_cast<std::uint16_t>(sign | 0x7c00);  // 65520 and more
    if (raw < 0x38800000) {                                                    // below 2^-14: subnormal
        float magnitude;
        std::memcpy(&magnitude, &raw, 4);
        magnitude += 0.5f;  // its last bit weighs 2^-24 there, and the addition rounds to even
        std::memcpy(&raw, &magnitude, 4);
        return static_cast<std::uint16_t>(sign | (raw - 0x3f000000));
    }
    raw += 0xfff + ((raw >> 13) & 1);
    return static_cast<std::uint16_t>(sign | ((raw - 0x38000000) >> 13));
}

inline float bfloat_to_float(std::uint16_t bits) {
    const std::uint32_t raw = static_cast<std::uint32_t>(bits) << 16;
    float value;
    std::memcpy(&value, &raw, 4);
    return value;
}

inline std::uint16_t float_to_bfloat(float value) {
    std::uint32_t raw;
    std::memcpy(&raw, &value, 4);
    if ((raw & 0x7fffffff) > 0x7f800000) return static_cast<std::uint16_t>((raw >> 16) | 0x40);
    raw += 0x7fff + ((raw >> 16) & 1);
    return static_cast<std::uint16_t>(raw >> 16);
}

struct Half {
    std::uint16_t bits;
};
struct Bfloat {
    std::uint16_t bits;
};

inline float widen(float v) { return v; }
inline double widen(double v) { return v; }
inline float widen(std::uint8_t v) { return v; }
inline float widen(Half v) { return half_to_float(v.bits); }
inline float widen(Bfloat v) { return bfloat_to_float(v.bits); }

template <class T, class W>
inline T narrow(W v) {
    if constexpr (std::is_same_v<T, Half>) {
        return {float_to_half(static_cast<float>(v))};
    } else if constexpr (std::is_same_v<T, Bfloat>) {
        return {float_to_bfloat(static_cast<float>(v))};
    } else {
        return static_cast<T>(v);
    }
}

// How many of a group's samples from `at` on there are, of `count` in all.
template <class W>
[[gnu::always_inline]] inline int lanes_left(int count, int at) {
    return count - at < Lanes<W>::count ? count - at : Lanes<W>::count;
}

// `count` consecutive elements, widened; the lanes beyond repeat nothing and are 0.
template <class T, class W>
[[gnu::always_inline]] inline Vec<W> load_some(const T* from, std::int64_t stride, int count) {
    if (count == Lanes<W>::count && stride == 1) {
        if constexpr (std::is_same_v<T, W>) return load<Vec<W>>(from);
        if constexpr (std::is_same_v<T, Bfloat> && std::is_same_v<W, float>)
            return reinterpret_cast<F32>(__builtin_convertvector(load<U16>(from), U32) << 16);
    }
#if defined(__AVX512F__)
    if constexpr (std::is_same_v<T, float> && std::is_same_v<W, float>)
        if (stride == 1) return _mm512_maskz_loadu_ps(static_cast<__mmask16>((1u << count) - 1), from);
#endif
    Vec<W> v{};
    for (int lane = 0; lane < count; ++lane) v[lane] = static_cast<W>(widen(from[lane * stride]));
    return v;
}

// Whether a vector is narrowed at once.
template <class T, class W>
constexpr bool narrows_together =
    std::is_same_v<T, std::uint8_t> || (std::is_same_v<T, Bfloat> && std::is_same_v<W, float>);

// To the nearest, ties to even; of NaN comes 0 where there is none.
template <class T, class W>
[[gnu::always_inline]] inline auto narrow_together(Vec<W> v) {
    if constexpr (std::is_same_v<T, std::uint8_t>) {
        const Vec<W> bounded = min(max(v, Vec<W>{}), splat<W>(W(255)));
        return __builtin_convertvector(to_int<W>(nearest_integer<W>(bounded)), typename Lanes<W>::Bytes);
    } else {
        const U32 raw = reinterpret_cast<U32>(v), high = raw >> 16;
        const U32 rounded = (raw + 0x7fff + (high & 1)) >> 16;
        return __builtin_convertvector(v == v ? rounded : high | 0x40, U16);
    }
}

template <class T, class W>
[[gnu::always_inline]] inline void store_some(T* to, std::int64_t stride, Vec<W> v, int count) {
    if constexpr (narrows_together<T, W>) {
        const auto narrowed = narrow_together<T, W>(v);
        if (count == Lanes<W>::count && stride == 1) return store(to, narrowed);
        for (int lane = 0; lane < count; ++lane) {
            const auto element = narrowed[lane];
            std::memcpy(to + lane * stride, &element, sizeof(T));
        }
        return;
    }
    if (count == Lanes<W>::count && stride == 1) {
        if constexpr (std::is_same_v<T, W>) {
            store(to, v);
            return;
        }
    }
#if defined(__AVX512F__)
    if constexpr (std::is_same_v<T, float> && std::is_same_v<W, float>)
        if (stride == 1) return _mm512_mask_storeu_ps(to, static_cast<__mmask16>((1u << count) - 1), v);
#endif
    for (int lane = 0; lane < count; ++lane) to[lane * stride] = narrow<T, W>(v[lane]);
}

// Every second element of two vectors, from the d-th on.
template <int d, class V, std::size_t... i>
[[gnu::always_inline]] inline V every_second(V a, V b, std::index_sequence<i...>) {
    return __builtin_shufflevector(a, b, (2 * int(i) + d)...);
}

// Every third element of three vectors, from the d-th on. No two of them lie in the same lane.
template <int d, class V, std::size_t... i>
[[gnu::always_inline]] inline V every_third(V a, V b, V c, std::index_sequence<i...>) {
    constexpr int lanes = sizeof...(i);
    const auto lies_in = [](int vector, int lane) constexpr { return (vector * lanes + lane - d + 3) % 3 == 0; };
    const V ab = __builtin_shufflevector(a, b, (lies_in(0, i) ? int(i) : lanes + int(i))...);
    const V abc = __builtin_shufflevector(ab, c, (lies_in(2, i) ? lanes + int(i) : int(i))...);
    return __builtin_shufflevector(abc, abc, ((3 * int(i) + d) % lanes)...);
}

// One vector per coordinate of points that lie one after the other, D coordinates each.
template <int D, class T, class W>
[[gnu::always_inline]] inline void load_apart(const T* from, Vec<W>* axes) {
    constexpr int lanes = Lanes<W>::count;
    if constexpr (std::is_same_v<T, W> && D > 1) {
        using V = Vec<W>;
        constexpr std::make_index_sequence<lanes> all;
        const V a = load<V>(from), b = load<V>(from + lanes);
        if constexpr (D == 2) {
            axes[0] = every_second<0, V>(a, b, all);
            axes[1] = every_second<1, V>(a, b, all);
        } else {
            const V c = load<V>(from + 2 * lanes);
            axes[0] = every_third<0, V>(a, b, c, all);
            axes[1] = every_third<1, V>(a, b, c, all);
            axes[2] = every_third<2, V>(a, b, c, all);
        }
    } else {
        for (int d = 0; d < D; ++d)
            for (int lane = 0; lane < lanes; ++lane) axes[d][lane] = static_cast<W>(widen(from[lane * D + d]));
    }
}

// The other way round: every third element of three vectors, of which this is the m-th, is one of `a`, and so on.
template <int m, class V, std::size_t... i>
[[gnu::always_inline]] inline V in_turn(V a, V b, V c, std::index_sequence<i...>) {
    constexpr int lanes = sizeof...(i);
    const V ab = __builtin_shufflevector(a, b, ((m * lanes + int(i)) % 3 == 0 ? int(i) : lanes + int(i))...);
    return __builtin_shufflevector(ab, c, ((m * lanes + int(i)) % 3 == 2 ? lanes + int(i) : int(i))...);
}

// Puts the i-th element in lane (3 i + d) modulo their number; 11 is the inverse of 3 modulo 16 and what divides it.
template <int d, class V, std::size_t... i>
[[gnu::always_inline]] inline V spread(V v, std::index_sequence<i...>) {
    constexpr int lanes = sizeof...(i);
    return __builtin_shufflevector(v, v, (11 * (int(i) + 3 * lanes - d) % lanes)...);
}

// Writes vectors of one coordinate each as points that lie one after the other.
template <int D, class W>
[[gnu::always_inline]] inline void store_together(W* to, const Vec<W>* axes) {
    using V = Vec<W>;
    constexpr int lanes = Lanes<W>::count;
    if constexpr (D == 1) {
        store(to, axes[0]);
    } else if constexpr (D == 2) {
        store(to, interleave_low<W>(axes[0], axes[1]));
        store(to + lanes, interleave_high<W>(axes[0], axes[1]));
    } else {
        constexpr std::make_index_sequence<lanes> all;
        const V a = spread<0, V>(axes[0], all), b = spread<1, V>(axes[1], all), c = spread<2, V>(axes[2], all);
        store(to, in_turn<0, V>(a, b, c, all));
        store(to + lanes, in_turn<1, V>(a, b, c, all));
        store(to + 2 * lanes, in_turn<2, V>(a, b, c, all));
    }
}

}  // namespace UNWARP_ISA
}  // namespace unwarp
