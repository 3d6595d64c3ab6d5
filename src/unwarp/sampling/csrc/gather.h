// Reading elements at a vector of places.
#pragma once

#include "simd.h"

namespace unwarp {
namespace UNWARP_ISA {

// Brings memory near, by reading a byte of each line in order. Instructions that ask for it in advance may not: some
// processors ignore them where they would have to wait for the page's address, in large images nearly everywhere.
template <class T>
inline void fetch(const T* from, std::int64_t count) {
    const volatile unsigned char* bytes = reinterpret_cast<const volatile unsigned char*>(from);
    const std::int64_t size = count * std::int64_t{sizeof(T)};
    for (std::int64_t at = 0; at < size; at += 64) (void)bytes[at];
    if (size > 0) (void)bytes[size - 1];
}

// A load for each: an instruction that gathers is hardly better on Intel's processors, and on AMD's worse.
template <class T, class W>
[[gnu::always_inline]] inline Vec<W> gather(const T* from, Int<W> offset) {
    constexpr int lanes = Lanes<W>::count;
    if constexpr (std::is_same_v<T, std::uint8_t>) {
        Int<W> whole;
        for (int lane = 0; lane < lanes; ++lane) whole[lane] = from[offset[lane]];
        return to_float<W>(whole);
    }
    Vec<W> v;
    for (int lane = 0; lane < lanes; ++lane) v[lane] = static_cast<W>(widen(from[offset[lane]]));
    return v;
}

// Whether two elements are told apart by integer arithmetic.
template <class T>
constexpr bool is_short = std::is_same_v<T, std::uint8_t> || std::is_same_v<T, Bfloat>;

#if defined(__AVX512F__)
template <class T, class W>
constexpr bool has_pairs = std::is_same_v<W, float> && !std::is_same_v<T, double>;
#elif defined(__AVX2__)
template <class T, class W>
constexpr bool has_pairs = std::is_same_v<T, W> || (std::is_same_v<W, float> && is_short<T>);
#else
template <class T, class W>
constexpr bool has_pairs = std::is_same_v<W, float> && is_short<T>;
#endif

// Calls `work` with a constant: whether neighbours, with this step between them, are read in pairs, by one load for both.
template <class T, class W, class Work>
[[gnu::always_inline]] inline void with_pairs(std::int64_t step, const Work& work) {
    if constexpr (has_pairs<T, W>)
        if (step == 1) return work(std::true_type());
    work(std::false_type());
}

#if defined(__AVX2__)
[[gnu::always_inline]] inline __m128 join(const float* first, const float* second) {
    const __m128i pair = _mm_loadl_epi64(reinterpret_cast<const __m128i*>(first));
    return _mm_loadh_pi(_mm_castsi128_ps(pair), reinterpret_cast<const __m64*>(second));
}

// A register of quarters (or halves) that are `step` apart.
[[gnu::always_inline]] inline F32 join(const __m128* parts, int step) {
    const __m256 half = _mm256_set_m128(parts[step], parts[0]);
#if defined(__AVX512F__)
    const __m256 other = _mm256_set_m128(parts[3 * step], parts[2 * step]);
    return reinterpret_cast<F32>(_mm512_insertf32x8(_mm512_castps256_ps512(half), other, 1));
#else
    return reinterpret_cast<F32>(half);
#endif
}

// Within each quarter (or half) of the registers.
template <int ORDER>
[[gnu::always_inline]] inline F32 shuffle(F32 a, F32 b) {
#if defined(__AVX512F__)
    return reinterpret_cast<F32>(_mm512_shuffle_ps(a, b, ORDER));
#else
    return reinterpret_cast<F32>(_mm256_shuffle_ps(a, b, ORDER));
#endif
}

// In each quarter (or half), four numbers of four registers: rows become columns.
[[gnu::always_inline]] inline void turn_quarters(const F32* rows, F32* columns) {
    const F32 a = shuffle<0x44>(rows[0], rows[1]), b = shuffle<0xee>(rows[0], rows[1]);
    const F32 c = shuffle<0x44>(rows[2], rows[3]), d = shuffle<0xee>(rows[2], rows[3]);
    columns[0] = shuffle<0x88>(a, c);
    columns[1] = shuffle<0xdd>(a, c);
    columns[2] = shuffle<0x88>(b, d);
    columns[3] = shuffle<0xdd>(b, d);
}
#endif

// From several rows, elements at a vector of offsets and those right after them: two vectors for each row.
template <int ROWS, class T, class W>
[[gnu::always_inline]] inline void read_pairs(
    const T* const* row, const typename Lanes<W>::Index* offset, Vec<W>* pairs) {
    static_assert(has_pairs<T, W>);
    if constexpr (sizeof(T) < 4) {
        for (int r = 0; r < ROWS; ++r) {
            U32 both;
            for (int lane = 0; lane < Lanes<W>::count; ++lane) {
                std::conditional_t<sizeof(T) == 1, std::uint16_t, std::uint32_t> pair;
                std::memcpy(&pair, row[r] + offset[lane], sizeof pair);
                both[lane] = pair;
            }
            if constexpr (std::is_same_v<T, std::uint8_t>) {
                pairs[2 * r] = to_float<W>(reinterpret_cast<I32>(both & 255));
                pairs[2 * r + 1] = to_float<W>(reinterpret_cast<I32>(both >> 8));
            } else if constexpr (std::is_same_v<T, Bfloat>) {
                pairs[2 * r] = reinterpret_cast<F32>(both << 16);
                pairs[2 * r + 1] = reinterpret_cast<F32>(both & 0xffff0000u);
            } else {
#if defined(__AVX512F__)
                const __m512i halves = reinterpret_cast<__m512i>(both);
                pairs[2 * r] = reinterpret_cast<F32>(_mm512_cvtph_ps(_mm512_cvtepi32_epi16(halves)));
                pairs[2 * r + 1] =
                    reinterpret_cast<F32>(_mm512_cvtph_ps(_mm512_cvtepi32_epi16(_mm512_srli_epi32(halves, 16))));
#endif
            }
        }
        return;
    }
#if defined(__AVX2__)
    if constexpr (std::is_same_v<T, float> && std::is_same_v<W, float>) {
        constexpr int quads = Lanes<float>::count / 4;
        F32 half[2][ROWS];
        for (int h = 0; h < 2; ++h) {
            // Row after row of each place, which is known no longer than it is needed: there are few registers for them.
            __m128 part[quads][ROWS];
            for (int q = 0; q < quads; ++q) {
                const std::int64_t first = offset[4 * q + 2 * h], second = offset[4 * q + 2 * h + 1];
                for (int r = 0; r < ROWS; ++r) part[q][r] = join(row[r] + first, row[r] + second);
            }
            for (int r = 0; r < ROWS; ++r) half[h][r] = join(&part[0][r], ROWS);
        }
        for (int r = 0; r < ROWS; ++r) {
            pairs[2 * r] = shuffle<0x88>(half[0][r], half[1][r]);
            pairs[2 * r + 1] = shuffle<0xdd>(half[0][r], half[1][r]);
        }
        return;
    }
#if !defined(__AVX512F__)
    if constexpr (std::is_same_v<T, double> && std::is_same_v<W, double>)
        for (int r = 0; r < ROWS; ++r) {
            const auto pair = [&](int i) { return _mm_loadu_pd(row[r] + offset[i]); };
            const __m256d low = _mm256_set_m128d(pair(2), pair(0)), high = _mm256_set_m128d(pair(3), pair(1));
            pairs[2 * r] = reinterpret_cast<F64>(_mm256_unpacklo_pd(low, high));
            pairs[2 * r + 1] = reinterpret_cast<F64>(_mm256_unpackhi_pd(low, high));
        }
#endif
#endif
}

// Whether pixels of a few channels that lie side by side are read whole.
#if defined(__AVX2__)
template <int D, class T, class W>
constexpr bool has_pixels = D == 2 && std::is_same_v<T, float> && std::is_same_v<W, float>;
#else
template <int D, class T, class W>
constexpr bool has_pixels = false;
#endif

// Four elements that follow each other, at a vector of offsets: a vector of the first ones, one of the second, and so on.
[[gnu::always_inline]] inline void read_fours(const float* from, const std::int32_t* offset, F32* fours) {
#if defined(__AVX2__)
    constexpr int quads = Lanes<float>::count / 4;
    F32 every_fourth[4];
    for (int i = 0; i < 4; ++i) {
        __m128 part[quads];
        for (int q = 0; q < quads; ++q) part[q] = _mm_loadu_ps(from + offset[4 * q + i]);
        every_fourth[i] = join(part, 1);
    }
    turn_quarters(every_fourth, fours);
#else
    (void)from, (void)offset, (void)fours;
#endif
}

}  // namespace UNWARP_ISA
}  // namespace unwarp
