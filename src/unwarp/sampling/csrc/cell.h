// Linear interpolation, the common case, without branches.
#pragma once

#include "taps.h"

namespace unwarp {
namespace UNWARP_ISA {

// Linear interpolation of a group of samples, inside the picture and out: along each axis the two pixels nearest to the
// sample that exist, with the weights that the sample gives them (0 where it does not reach them), and their derivatives.
template <int D, class W>
struct Cell {
    Int<W> offset;
    Vec<W> low[D], high[D];
    Vec<W> low_slope[D], high_slope[D];

    Vec<W> inside() const {
        Vec<W> product = low[0] + high[0];
        for (int d = 1; d < D; ++d) product *= low[d] + high[d];
        return product;
    }
};

// What is the same for all groups of a job: kept in registers, where the compiler could not know it by itself.
template <int D, class W>
struct Axes {
    std::int64_t step[D];  // from the first pixel of a cell to the second; 0 along an axis of one pixel
    Vec<W> last[D];
    Int<W> lowest[D], highest[D], stride[D];  // of a cell's first pixel
    Padding padding[D];
    bool single[D];

    // Cells keep to the pixels [low, high) along the last axis.
    Axes(const Job& job, const std::int64_t* strides, std::int64_t low, std::int64_t high) {
        for (int d = 0; d < D; ++d) {
            const std::int64_t begin = d == D - 1 ? low : 0, end = d == D - 1 ? high : job.in_size[d];
            single[d] = end - begin == 1;
            step[d] = single[d] ? 0 : strides[d];
            last[d] = splat<W>(W(job.in_size[d] - 1));
            lowest[d] = splat_int<W>(begin);
            highest[d] = splat_int<W>(single[d] ? begin : end - 2);
            stride[d] = splat_int<W>(strides[d]);
            padding[d] = job.padding[d];
        }
    }
    Axes(const Job& job, const std::int64_t* strides) : Axes(job, strides, 0, job.in_size[D - 1]) {}
};

// False where taps fold back into the picture from outside; find_taps knows how.
template <bool WITH_SLOPES, int D, class W>
inline bool find_cell(const Axes<D, W>& axes, const Block<D, W>& block, int at, Cell<D, W>& cell) {
    using V = Vec<W>;
    const V zero{}, one = splat<W>(1);
    cell.offset = Int<W>{};
    for (int d = 0; d < D; ++d) {
        V position = load<V>(&block.position[d][at]);
        Int<W> within = ~Int<W>{};
        if (axes.padding[d] == Padding::reflection || axes.padding[d] == Padding::wrap) {
            if (!all((position >= 0) & (position < axes.last[d]))) return false;
        } else if (axes.padding[d] == Padding::border) {
            if (!all((position - position) == 0)) return false;
            within = (position >= 0) & (position < axes.last[d]);
            position = max(min(position, axes.last[d]), zero);
        }
        const Int<W> first = max(min(to_int<W>(position), axes.highest[d]), axes.lowest[d]);
        const V past = position - to_float<W>(first);
        const V beyond = past - one;
        cell.low[d] = max(one - magnitude<W>(past), zero);
        cell.high[d] = max(one - magnitude<W>(beyond), zero);
        if constexpr (WITH_SLOPES) {
            // The derivative to the right, where the weight has a corner.
            const Int<W> reaches_low = (past >= -1) & (past < 1) & within;
            const Int<W> reaches_high = (beyond >= -1) & (beyond < 1) & within;
            cell.low_slope[d] = reaches_low ? (past < 0 ? one : -one) : zero;
            cell.high_slope[d] = reaches_high ? (beyond < 0 ? one : -one) : zero;
        }
        if (axes.single[d]) {
            cell.high[d] = zero;
            if constexpr (WITH_SLOPES) cell.high_slope[d] = zero;
        }
        cell.offset += d == 0 && axes.step[0] == 1 ? first : first * axes.stride[d];
    }
    return true;
}

}  // namespace UNWARP_ISA
}  // namespace unwarp
