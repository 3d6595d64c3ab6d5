// Linear interpolation, block by block: first the cells of all samples, then what lies in them. A cell's place is taken
// from memory number by number, which costs less than taking a register apart, and what is repeated is a short loop.
#pragma once

#include "cell.h"

namespace unwarp {
namespace UNWARP_ISA {

template <int D, class W>
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
            store(&offset[at], cell.offset);
            for (int d = 0; d < D; ++d) {
                store(&low[d][at], cell.low[d]);
                store(&high[d][at], cell.high[d]);
            }
            within[at / Lanes<W>::count] = cell.within;
            if (cell.within) continue;
            for (int d = 0; d < D; ++d) {
                store(&low_slope[d][at], cell.low_slope[d]);
                store(&high_slope[d][at], cell.high_slope[d]);
            }
        }
        return at;
    }

    [[gnu::always_inline]] Vec<W> inside(int at) const {
        Vec<W> product = load<Vec<W>>(&low[0][at]) + load<Vec<W>>(&high[0][at]);
        for (int d = 1; d < D; ++d) product *= load<Vec<W>>(&low[d][at]) + load<Vec<W>>(&high[d][at]);
        return product;
    }
};

// The pixels of the cells of one group: bit d of a corner's number says whether it is the second along axis d. CLOSE:
// they are read in pairs along x.
template <bool CLOSE, int A, class T, class W>
[[gnu::always_inline]] inline void gather_corners(
    const T* plane, const std::int64_t* step, const typename Lanes<W>::Index* offset, Vec<W>* corner) {
    if constexpr (A > 0) {
        gather_corners<CLOSE, A - 1, T, W>(plane, step, offset, corner);
        gather_corners<CLOSE, A - 1, T, W>(plane + step[A], step, offset, corner + (1 << A));
    } else if constexpr (CLOSE) {
        gather_pair<T, W>(plane, offset, corner[0], corner[1]);
    } else {
        corner[0] = gather<T, W>(plane, load<Int<W>>(offset));
        corner[1] = gather<T, W>(plane + step[0], load<Int<W>>(offset));
    }
}

template <int A, int D, class W>
[[gnu::always_inline]] inline Vec<W> blend(const Vec<W>* corner, const Cells<D, W>& cells, int at) {
    if constexpr (A < 0) {
        return *corner;
    } else {
        const Vec<W> low = blend<A - 1, D, W>(corner, cells, at);
        const Vec<W> high = blend<A - 1, D, W>(corner + (1 << A), cells, at);
        return low * load<Vec<W>>(&cells.low[A][at]) + high * load<Vec<W>>(&cells.high[A][at]);
    }
}

// A value and its derivative along each axis.
template <int D, class W>
struct Tangent {
    Vec<W> value;
    Vec<W> slope[D];
};

template <bool WITHIN, int A, int D, class W>
[[gnu::always_inline]] inline Tangent<D, W> blend_slopes(const Vec<W>* corner, const Cells<D, W>& cells, int at) {
    Tangent<D, W> result;
    if constexpr (A < 0) {
        result.value = *corner;
    } else {
        const auto first = blend_slopes<WITHIN, A - 1, D, W>(corner, cells, at);
        const auto second = blend_slopes<WITHIN, A - 1, D, W>(corner + (1 << A), cells, at);
        const Vec<W> low = load<Vec<W>>(&cells.low[A][at]), high = load<Vec<W>>(&cells.high[A][at]);
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

template <int D, class W>
[[gnu::always_inline]] inline Tangent<D, W> blend_slopes(const Vec<W>* corner, const Cells<D, W>& cells, int at) {
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

// Calls `work(close)` with a constant: whether to read pixels along x in pairs, from this step between them.
template <class T, class W, class Work>
[[gnu::always_inline]] inline void with_close(std::int64_t step, const Work& work) {
    if constexpr (has_pairs<T, W>)
        if (step == 1) return work(std::true_type{});
    work(std::false_type{});
}

// What lies in the cells of samples `begin` to `end`: calls `put(at, channel, values)` for each group.
template <int D, class T, class W, class Put>
[[gnu::always_inline]] inline void read_cells(
    const Planes<T>& planes, const Cells<D, W>& cells, int begin, int end, const Put& put) {
    // Copies: what is stored could be anything's, for all that the compiler knows.
    const std::int64_t channels = planes.channels;
    const double* const fill = planes.fill;
    std::int64_t step[D];
    for (int d = 0; d < D; ++d) step[d] = planes.step[d];
    for (std::int64_t c = 0; c < channels; ++c) {
        const T* const plane = planes.first + c * planes.to_next;
        with_close<T, W>(step[0], [&](auto close) __attribute__((always_inline)) {
            for (int at = begin; at < end; at += Lanes<W>::count) {
                Vec<W> corner[1 << D];
                gather_corners<close, D - 1, T, W>(plane, step, &cells.offset[at], corner);
                Vec<W> value = blend<D - 1, D, W>(corner, cells, at);
                if (fill) value += W(fill[c]) * (1 - cells.inside(at));
                put(at, c, value);
            }
        });
    }
}

// Gradients of the places of samples `begin` to `end`, along each axis in pixels, summed over the channels: calls
// `put(at, slopes)` for each group; `given(at, channel)` has the gradients of its values.
template <int D, class T, class W, class Given, class Put>
[[gnu::always_inline]] inline void slopes_of_cells(
    const Planes<T>& planes, const Cells<D, W>& cells, int begin, int end, const Given& given, const Put& put) {
    const T* const first = planes.first;
    const std::int64_t channels = planes.channels, to_next = planes.to_next;
    std::int64_t step[D];
    for (int d = 0; d < D; ++d) step[d] = planes.step[d];
    with_close<T, W>(step[0], [&](auto close) __attribute__((always_inline)) {
        for (int at = begin; at < end; at += Lanes<W>::count) {
            Vec<W> slope[D] = {};
            for (std::int64_t c = 0; c < channels; ++c) {
                Vec<W> corner[1 << D];
                gather_corners<close, D - 1, T, W>(first + c * to_next, step, &cells.offset[at], corner);
                const auto read = blend_slopes<D, W>(corner, cells, at);
                const Vec<W> g = given(at, c);
                for (int d = 0; d < D; ++d) slope[d] += g * read.slope[d];
            }
            put(at, slope);
        }
    });
}

}  // namespace UNWARP_ISA
}  // namespace unwarp
