// Linear interpolation, block by block: first the cells of all samples, then what lies in them. A cell's place is taken
// from memory number by number, which costs less than taking a register apart, and what is repeated is a short loop.
#pragma once

#include "cell.h"
#include "gather.h"

namespace unwarp {
namespace UNWARP_ISA {

// Where all cells are COMPLETE, the two weights along each axis add up to one, and the first is not kept.
template <int D, class W, bool COMPLETE = false>
struct Cells {
    using Index = typename Lanes<W>::Index;
    alignas(64) Index offset[block_size];
    alignas(64) W low[D][block_size], high[D][block_size];
    W low_slope[D][block_size], high_slope[D][block_size];  // of groups that are not `within`
    bool within[block_size / Lanes<W>::count];

    // Takes group after group of samples from `at` on, as long as `find(at, cell)` has a cell for them; where it ended.
    template <class Find>
    [[gnu::always_inline]] int take(int at, int end, const Find& find) {
        for (; at < end; at += Lanes<W>::count) {
            Cell<D, W> cell;
            if (!find(at, cell)) break;
            put(at, cell);
        }
        return at;
    }

    [[gnu::always_inline]] void put(int at, const Cell<D, W>& cell) {
        store(&offset[at], cell.offset);
        for (int d = 0; d < D; ++d) {
            if constexpr (!COMPLETE) store(&low[d][at], cell.low[d]);
            store(&high[d][at], cell.high[d]);
        }
        within[at / Lanes<W>::count] = cell.within;
        if (cell.within) return;
        for (int d = 0; d < D; ++d) {
            store(&low_slope[d][at], cell.low_slope[d]);
            store(&high_slope[d][at], cell.high_slope[d]);
        }
    }

    [[gnu::always_inline]] Vec<W> low_of(int d, int at) const {
        if constexpr (COMPLETE) return 1 - load<Vec<W>>(&high[d][at]);
        return load<Vec<W>>(&low[d][at]);
    }

    [[gnu::always_inline]] Vec<W> inside(int at) const {
        Vec<W> product = low_of(0, at) + load<Vec<W>>(&high[0][at]);
        for (int d = 1; d < D; ++d) product *= low_of(d, at) + load<Vec<W>>(&high[d][at]);
        return product;
    }
};

// The rows of pixels that cells touch, from the first of each: bit d - 1 of a row's number says whether it is the second
// along axis d.
template <int D, class T>
[[gnu::always_inline]] inline void find_rows(T* plane, const std::int64_t* step, T** row) {
    for (int r = 0; r < 1 << (D - 1); ++r) {
        row[r] = plane;
        for (int d = 1; d < D; ++d) row[r] += r >> (d - 1) & 1 ? step[d] : 0;
    }
}

// The pixels of the cells of one group: bit d of a corner's number says whether it is the second along axis d.
template <bool IN_PAIRS, int D, class T, class W>
[[gnu::always_inline]] inline void read_corners(
    const T* plane, const std::int64_t* step, const typename Lanes<W>::Index* offset, Vec<W>* corner) {
    constexpr int rows = 1 << (D - 1);
    const T* row[rows];
    find_rows<D, const T>(plane, step, row);
    if constexpr (IN_PAIRS)
        read_pairs<rows, T, W>(row, offset, corner);
    else
        for (int r = 0; r < rows; ++r) {
            corner[2 * r] = gather<T, W>(row[r], load<Int<W>>(offset));
            corner[2 * r + 1] = gather<T, W>(row[r] + step[0], load<Int<W>>(offset));
        }
}

// The same for all of three or four channels that lie side by side, as pixels do.
template <int CHANNELS, int D>
[[gnu::always_inline]] inline void read_corners_of_all(
    const float* first, const std::int64_t* step, const std::int32_t* offset, F32 (*corner)[1 << D]) {
    constexpr int rows = 1 << (D - 1);
    const float* row[rows];
    find_rows<D, const float>(first, step, row);
    // Rolled up, GCC keeps all corners in memory.
#pragma GCC unroll 8
    for (int k = 0; k < 1 << D; ++k) {
        // Of three, the second pixel is read with the last channel of the first: behind it nothing may be read.
        const int before = CHANNELS == 3 ? k % 2 : 0;
        F32 fours[4];
        read_fours(row[k / 2] + k % 2 * CHANNELS - before, offset, fours);
        for (int c = 0; c < CHANNELS; ++c) corner[c][k] = fours[before + c];
    }
}

template <int A, int D, class W, class C>
[[gnu::always_inline]] inline Vec<W> blend(const Vec<W>* corner, const C& cells, int at) {
    if constexpr (A < 0) {
        return *corner;
    } else {
        const Vec<W> low = blend<A - 1, D, W>(corner, cells, at);
        const Vec<W> high = blend<A - 1, D, W>(corner + (1 << A), cells, at);
        return low * cells.low_of(A, at) + high * load<Vec<W>>(&cells.high[A][at]);
    }
}

// A value and its derivative along each axis.
template <int D, class W>
struct Tangent {
    Vec<W> value;
    Vec<W> slope[D];
};

template <bool WITHIN, int A, int D, class W, class C>
[[gnu::always_inline]] inline Tangent<D, W> blend_slopes(const Vec<W>* corner, const C& cells, int at) {
    Tangent<D, W> result;
    if constexpr (A < 0) {
        result.value = *corner;
    } else {
        const auto first = blend_slopes<WITHIN, A - 1, D, W>(corner, cells, at);
        const auto second = blend_slopes<WITHIN, A - 1, D, W>(corner + (1 << A), cells, at);
        const Vec<W> low = cells.low_of(A, at), high = load<Vec<W>>(&cells.high[A][at]);
        result.value = first.value * low + second.value * high;
        if constexpr (WITHIN)
            result.slope[A] = second.value - first.value;
        else
            result.slope[A] = first.value * load<Vec<W>>(&cells.low_slope[A][at]) +
                              second.value * load<Vec<W>>(&cells.high_slope[A][at]);
        for (int d = 0; d < A; ++d) result.slope[d] = first.slope[d] * low + second.slope[d] * high;
    }
    return result;
}

template <int D, class W, class C>
[[gnu::always_inline]] inline Tangent<D, W> blend_slopes(const Vec<W>* corner, const C& cells, int at) {
    return cells.within[at / Lanes<W>::count] ? blend_slopes<true, D - 1, D, W>(corner, cells, at)
                                              : blend_slopes<false, D - 1, D, W>(corner, cells, at);
}

// The pixels of one image, a plane per channel, and what lies outside of them (null for zeros).
template <class T>
struct Planes {
    const T* first;  // pixel of the first channel
    std::int64_t channels, to_next;
    const std::int64_t* step;  // from the first pixel of a cell to the second
    const double* fill;
};

// Calls `work` with the number of channels as a constant, where they are few and pixels lie side by side, and says so.
template <int D, class T, class W, class Work>
[[gnu::always_inline]] inline bool with_pixels(const Planes<T>& planes, const Work& work) {
    if constexpr (has_pixels<D, T, W>) {
        const bool dense = planes.to_next == 1 && planes.step[0] == planes.channels;
        if (dense && planes.channels == 3) return work(std::integral_constant<int, 3>()), true;
        if (dense && planes.channels == 4) return work(std::integral_constant<int, 4>()), true;
    }
    return false;
}

// What lies in the cells of samples `begin` to `end`: calls `put(at, channel, values)` for each group.
template <int D, class T, class W, class C, class Put>
[[gnu::always_inline]] inline void read_cells(
    const Planes<T>& planes, const C& cells, int begin, int end, const Put& put) {
    // Copies: what is stored could be anything's, for all that the compiler knows.
    const std::int64_t channels = planes.channels;
    const double* const fill = planes.fill;
    std::int64_t step[D];
    for (int d = 0; d < D; ++d) step[d] = planes.step[d];
    const auto give = [&](int at, std::int64_t c, const Vec<W>* corner) __attribute__((always_inline)) {
        Vec<W> value = blend<D - 1, D, W>(corner, cells, at);
        if (fill) value += W(fill[c]) * (1 - cells.inside(at));
        put(at, c, value);
    };
    const bool done = with_pixels<D, T, W>(planes, [&](auto count) __attribute__((always_inline)) {
        for (int at = begin; at < end; at += Lanes<W>::count) {
            Vec<W> corner[count][1 << D];
            read_corners_of_all<count, D>(planes.first, step, &cells.offset[at], corner);
            for (int c = 0; c < count; ++c) give(at, c, corner[c]);
        }
    });
    if (done) return;
    for (std::int64_t c = 0; c < channels; ++c) {
        const T* const plane = planes.first + c * planes.to_next;
        with_pairs<T, W>(step[0], [&](auto in_pairs) __attribute__((always_inline)) {
            for (int at = begin; at < end; at += Lanes<W>::count) {
                Vec<W> corner[1 << D];
                read_corners<in_pairs, D, T, W>(plane, step, &cells.offset[at], corner);
                give(at, c, corner);
            }
        });
    }
}

// Gradients of the places of samples `begin` to `end`, along each axis in pixels, summed over the channels: calls
// `put(at, slopes)` for each group; `given(at, channel)` has the gradients of its values.
template <int D, class T, class W, class C, class Given, class Put>
[[gnu::always_inline]] inline void slopes_of_cells(
    const Planes<T>& planes, const C& cells, int begin, int end, const Given& given, const Put& put) {
    const T* const first = planes.first;
    const std::int64_t channels = planes.channels, to_next = planes.to_next;
    std::int64_t step[D];
    for (int d = 0; d < D; ++d) step[d] = planes.step[d];
    // The channels' products with each corner are summed first, and interpolated once.
    const auto add = [&](int at, std::int64_t c, const Vec<W>* corner, Vec<W>* sums) __attribute__((always_inline)) {
        const Vec<W> g = given(at, c);
        for (int k = 0; k < 1 << D; ++k) sums[k] += g * corner[k];
    };
    const bool done = with_pixels<D, T, W>(planes, [&](auto count) __attribute__((always_inline)) {
        for (int at = begin; at < end; at += Lanes<W>::count) {
            Vec<W> corner[count][1 << D], sums[1 << D] = {};
            read_corners_of_all<count, D>(first, step, &cells.offset[at], corner);
            for (int c = 0; c < count; ++c) add(at, c, corner[c], sums);
            put(at, blend_slopes<D, W>(sums, cells, at).slope);
        }
    });
    if (done) return;
    with_pairs<T, W>(step[0], [&](auto in_pairs) __attribute__((always_inline)) {
        const auto sum = [&](std::int64_t count) __attribute__((always_inline)) {
            for (int at = begin; at < end; at += Lanes<W>::count) {
                Vec<W> sums[1 << D] = {};
                for (std::int64_t c = 0; c < count; ++c) {
                    Vec<W> corner[1 << D];
                    read_corners<in_pairs, D, T, W>(first + c * to_next, step, &cells.offset[at], corner);
                    add(at, c, corner, sums);
                }
                put(at, blend_slopes<D, W>(sums, cells, at).slope);
            }
        };
        // One channel apart: what several share the compiler keeps in memory.
        if (channels == 1)
            sum(1);
        else
            sum(channels);
    });
}

}  // namespace UNWARP_ISA
}  // namespace unwarp
