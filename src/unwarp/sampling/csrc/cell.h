// Linear interpolation, the common case, without branches.
#pragma once

#include "taps.h"

namespace unwarp {
namespace UNWARP_ISA {

// Linear interpolation of a group of samples, inside the picture and out: along each axis the two pixels nearest to the
// sample that exist, with the weights that the sample gives them (0 where it does not reach), and their derivatives.
template <int D, class W>
struct Cell {
    Int<W> offset;
    Vec<W> low[D], high[D];
    Vec<W> low_slope[D], high_slope[D];
    bool within;  // all samples lie between their two pixels: the slopes are -1 and 1
};

// What is the same for all groups of a job: kept in registers, where the compiler could not know it by itself.
template <int D, class W>
struct Axes {
    std::int64_t step[D];  // from the first pixel of a cell to the second; 0 along an axis of one pixel
    Vec<W> last[D], tolerance[D];
    Int<W> lowest[D], highest[D], stride[D];  // of a cell's first pixel
    Int<W> pixels[D], cells[D];               // how many there are of each
    Padding padding[D];
    bool single[D];

    // Cells keep to the pixels [low, high) along the last axis.
    Axes(const Job& job, const std::int64_t* strides, std::int64_t low, std::int64_t high) {
        for (int d = 0; d < D; ++d) {
            const std::int64_t begin = d == D - 1 ? low : 0, end = d == D - 1 ? high : job.in_size[d];
            single[d] = end - begin == 1;
            step[d] = single[d] ? 0 : strides[d];
            last[d] = splat<W>(W(job.in_size[d] - 1));
            tolerance[d] = splat<W>(W(job.tolerance[d]));
            lowest[d] = splat_int<W>(begin);
            highest[d] = splat_int<W>(single[d] ? begin : end - 2);
            pixels[d] = splat_int<W>(end - begin);
            cells[d] = splat_int<W>(end - begin - 1);
            stride[d] = splat_int<W>(strides[d]);
            padding[d] = job.padding[d];
        }
    }
    Axes(const Job& job, const std::int64_t* strides) : Axes(job, strides, 0, job.in_size[D - 1]) {}
};

// Derivatives of the weights; that to the right, where a weight has a corner.
template <int D, class W, class B>
inline void find_slopes(
    const Axes<D, W>& axes, const B& block, int at, const Vec<W>* pasts, Cell<D, W>& cell) {
    const Vec<W> zero{}, one = splat<W>(1);
    for (int d = 0; d < D; ++d) {
        const Vec<W> past = pasts[d], beyond = past - one;
        Int<W> moves = ~Int<W>{};
        if (axes.padding[d] == Padding::border) {
            const Vec<W> position = settle<W>(load<Vec<W>>(&block.position[d][at]), axes.tolerance[d]);
            moves = (position >= 0) & (position < axes.last[d]);
        }
        cell.low_slope[d] = (past >= -1) & (past < 1) & moves ? (past < 0 ? one : -one) : zero;
        cell.high_slope[d] = (beyond >= -1) & (beyond < 1) & moves ? (beyond < 0 ? one : -one) : zero;
        if (axes.single[d]) cell.high_slope[d] = zero;
    }
}

// First pixel and weights along one axis. Rounded down after adding the tolerance, a position just short of a pixel's
// centre is there, and one just past it too: that settles it.
template <class W>
[[gnu::always_inline]] inline Int<W> place(Vec<W> position, Vec<W> tolerance, Vec<W>& low, Vec<W>& high) {
    const Int<W> first = floor_to_int<W>(position + tolerance);
    const Vec<W> past = position - to_float<W>(first);
    high = past > tolerance ? past : Vec<W>{};
    low = 1 - high;
    return first;
}

// The cell of samples that all lie between pixels of the picture, in any padding. False where they do not.
template <int D, class W, class B>
[[gnu::always_inline]] inline bool find_inner(const Axes<D, W>& axes, const B& block, int at, Cell<D, W>& cell) {
    using Unsigned = typename Lanes<W>::U;
    Int<W> between = ~Int<W>{};
    Unsigned offset{};  // may wrap around, where the picture has no such cell
    cell.within = true;
    for (int d = 0; d < D; ++d) {
        const Int<W> first =
            place<W>(load<Vec<W>>(&block.position[d][at]), axes.tolerance[d], cell.low[d], cell.high[d]);
        const auto number = reinterpret_cast<Unsigned>(first);
        offset += d == 0 && axes.step[0] == 1 ? number : number * reinterpret_cast<Unsigned>(axes.stride[d]);
        between &= among<W>(first, axes.lowest[d], axes.cells[d]);
    }
    cell.offset = reinterpret_cast<Int<W>>(offset);
    return all(between);
}

// False where taps fold back into the picture from outside; find_taps knows how.
template <bool WITH_SLOPES, int D, class W, class B>
[[gnu::always_inline]] inline bool find_cell(const Axes<D, W>& axes, const B& block, int at, Cell<D, W>& cell) {
    using V = Vec<W>;
    if (find_inner<D, W>(axes, block, at, cell)) return true;
    const V zero{};
    cell.offset = Int<W>{};
    Int<W> between = ~Int<W>{};
    V pasts[D];
    for (int d = 0; d < D; ++d) {
        V position = load<V>(&block.position[d][at]);
        if (axes.padding[d] == Padding::reflection || axes.padding[d] == Padding::wrap) {
            const V settled = settle<W>(position, axes.tolerance[d]);
            if (!all((settled >= 0) & (settled < axes.last[d]))) return false;
        } else if (axes.padding[d] == Padding::border) {
            if (!all((position - position) == 0)) return false;
            if constexpr (WITH_SLOPES) {
                const V settled = settle<W>(position, axes.tolerance[d]);
                between &= (settled >= 0) & (settled < axes.last[d]);
            }
            position = max(min(position, axes.last[d]), zero);
        }
        V low, high;
        const Int<W> own = place<W>(position, axes.tolerance[d], low, high);
        const Int<W> first = max(min(own, axes.highest[d]), axes.lowest[d]);
        // Beside its own cell, a sample shares one pixel with the cell that is read, or none.
        cell.low[d] = own == first ? low : (own == first - 1 ? high : zero);
        cell.high[d] = own == first ? high : (own == first + 1 ? low : zero);
        pasts[d] = to_float<W>(own) + high - to_float<W>(first);
        if (axes.single[d]) {
            cell.high[d] = zero;
            between = Int<W>{};
        }
        cell.offset += d == 0 && axes.step[0] == 1 ? first : first * axes.stride[d];
    }
    if constexpr (WITH_SLOPES) {
        for (int d = 0; d < D; ++d) between &= (pasts[d] >= 0) & (pasts[d] < 1);
        cell.within = all(between);
        if (!cell.within) find_slopes<D, W>(axes, block, at, pasts, cell);
    }
    return true;
}

// The pixel nearest to each sample, and whether there is one; any pixel where there is none. False as for find_cell.
template <int D, class W, class B>
[[gnu::always_inline]] inline bool find_nearest(
    const Axes<D, W>& axes, const B& block, int at, Int<W>& offset, Int<W>& valid) {
    offset = Int<W>{};
    valid = ~Int<W>{};
    for (int d = 0; d < D; ++d) {
        Vec<W> position = load<Vec<W>>(&block.position[d][at]);
        if (axes.padding[d] == Padding::border) {
            valid &= (position - position) == 0;
            position = max(min(position, axes.last[d]), Vec<W>{});
        }
        const Int<W> index = floor_to_int<W>(position + (axes.tolerance[d] + W(0.5)));
        const Int<W> here = among<W>(index, axes.lowest[d], axes.pixels[d]);
        if ((axes.padding[d] == Padding::reflection || axes.padding[d] == Padding::wrap) && !all(here)) return false;
        valid &= here;
        offset += (here ? index : axes.lowest[d]) * axes.stride[d];
    }
    return true;
}

}  // namespace UNWARP_ISA
}  // namespace unwarp
