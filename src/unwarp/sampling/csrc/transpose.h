// Squares of numbers, turned: rows become columns.
#pragma once

#include "simd.h"

namespace unwarp {
namespace UNWARP_ISA {

#if defined(__AVX2__)
// Eight rows of eight. Loads of four put together change halves of registers on their way, which shuffles would take
// twice as long for; halves of the longest registers are shuffled and stored as fast as whole ones.
[[gnu::always_inline]] inline void transpose_eight(
    const float* from, std::int64_t from_stride, float* to, std::int64_t to_stride) {
    for (int half = 0; half < 2; ++half, from += 4, to += 4 * to_stride) {
        __m256 rows[4];
        for (int i = 0; i < 4; ++i)
            rows[i] = _mm256_set_m128(_mm_loadu_ps(from + (i + 4) * from_stride), _mm_loadu_ps(from + i * from_stride));
        const __m256 a = _mm256_unpacklo_ps(rows[0], rows[1]), b = _mm256_unpackhi_ps(rows[0], rows[1]);
        const __m256 c = _mm256_unpacklo_ps(rows[2], rows[3]), d = _mm256_unpackhi_ps(rows[2], rows[3]);
        _mm256_storeu_ps(to, _mm256_shuffle_ps(a, c, 0x44));
        _mm256_storeu_ps(to + to_stride, _mm256_shuffle_ps(a, c, 0xee));
        _mm256_storeu_ps(to + 2 * to_stride, _mm256_shuffle_ps(b, d, 0x44));
        _mm256_storeu_ps(to + 3 * to_stride, _mm256_shuffle_ps(b, d, 0xee));
    }
}
#endif

// As many rows as a vector has lanes, in registers.
template <class W>
[[gnu::always_inline]] inline void transpose(Vec<W>* rows) {
    constexpr int lanes = Lanes<W>::count;
    for (int step = 1; step < lanes; step *= 2) {
        Vec<W> next[lanes];
        for (int i = 0; i < lanes / 2; ++i) {
            next[2 * i] = interleave_low<W>(rows[i], rows[i + lanes / 2]);
            next[2 * i + 1] = interleave_high<W>(rows[i], rows[i + lanes / 2]);
        }
        for (int i = 0; i < lanes; ++i) rows[i] = next[i];
    }
}

// The same from memory to memory, in less time.
template <class W>
[[gnu::always_inline]] inline void transpose(
    const W* from, std::int64_t from_stride, W* to, std::int64_t to_stride) {
    constexpr int lanes = Lanes<W>::count;
#if defined(__AVX2__)
    if constexpr (std::is_same_v<W, float>) {
        for (int i = 0; i < lanes; i += 8)
            for (int j = 0; j < lanes; j += 8)
                transpose_eight(from + i * from_stride + j, from_stride, to + j * to_stride + i, to_stride);
        return;
    }
#endif
    Vec<W> rows[lanes];
    for (int i = 0; i < lanes; ++i) rows[i] = load<Vec<W>>(from + i * from_stride);
    transpose<W>(rows);
    for (int i = 0; i < lanes; ++i) store(to + i * to_stride, rows[i]);
}

// The sum of each vector, of as many as one has lanes: pairs are added up until one is left.
template <class W>
[[gnu::always_inline]] inline Vec<W> sums(const Vec<W>* vectors) {
    constexpr int lanes = Lanes<W>::count;
    Vec<W> left[lanes];
    for (int i = 0; i < lanes; ++i) left[i] = vectors[i];
    for (int count = lanes / 2; count > 0; count /= 2)
        for (int i = 0; i < count; ++i)
            left[i] = interleave_low<W>(left[i], left[i + count]) + interleave_high<W>(left[i], left[i + count]);
    return left[0];
}

}  // namespace UNWARP_ISA
}  // namespace unwarp
