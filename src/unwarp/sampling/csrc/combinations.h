// Every pixel that a block of samples reads, with its weight and the derivatives of that: what kernels need that do not
// read channel after channel.
#pragma once

#include <vector>

#include "cell.h"

namespace unwarp {
namespace UNWARP_ISA {

// Combination k of taps of sample i is at [k * block_size + i].
template <int D, class W>
struct Combinations {
    using Index = typename Lanes<W>::Index;
    int count = 1;
    std::vector<Index> offset;
    std::vector<W> weight;
    std::vector<W> slope[D];

    explicit Combinations(Mode mode, bool with_slopes = false) {
        for (int d = 0; d < D; ++d) count *= taps_of(mode);
        const auto total = static_cast<std::size_t>(count) * block_size;
        offset.resize(total), weight.resize(total);
        if (with_slopes)
            for (auto& of_axis : slope) of_axis.resize(total);
    }

    template <bool WITH_SLOPES>
    void find(
        const Job& job, const Axes<D, W>& axes, const Block<D, W>& block, const std::int64_t* stride, std::int64_t low,
        std::int64_t high) {
        Taps<D, W> taps;
        for (int at = 0; at < block.count; at += Lanes<W>::count) {
            Cell<D, W> cell;
            if (job.mode == Mode::linear && find_cell<WITH_SLOPES, D, W>(axes, block, at, cell)) {
                taps.count = 2;
                for (int d = 0; d < D; ++d) {
                    taps.offset[d][0] = d == 0 ? cell.offset : Int<W>{};
                    taps.offset[d][1] = taps.offset[d][0] + splat_int<W>(axes.step[d]);
                    taps.weight[d][0] = cell.low[d], taps.weight[d][1] = cell.high[d];
                    if constexpr (WITH_SLOPES) {
                        const Vec<W> one = splat<W>(1);
                        taps.slope[d][0] = cell.within ? -one : cell.low_slope[d];
                        taps.slope[d][1] = cell.within ? one : cell.high_slope[d];
                    }
                }
            } else {
                find_taps<D, W>(job, block, at, stride, low, high, taps);
            }
            int index = 0;
            combine<D - 1, WITH_SLOPES>(taps, at, index, Int<W>{}, splat<W>(1), nullptr);
        }
    }

   private:
    // From the slowest axis to the fastest; `slopes` holds the derivatives of `weight` along the axes so far.
    template <int A, bool WITH_SLOPES>
    void combine(
        const Taps<D, W>& taps, int at, int& index, Int<W> from, Vec<W> weight_so_far, const Vec<W>* slopes) {
        for (int k = 0; k < taps.count; ++k) {
            const Int<W> to = from + taps.offset[A][k];
            const Vec<W> product = weight_so_far * taps.weight[A][k];
            Vec<W> derivative[D];
            if constexpr (WITH_SLOPES) {
                for (int d = A + 1; d < D; ++d) derivative[d] = slopes[d] * taps.weight[A][k];
                derivative[A] = weight_so_far * taps.slope[A][k];
            }
            if constexpr (A > 0) {
                combine<A - 1, WITH_SLOPES>(taps, at, index, to, product, derivative);
            } else {
                const auto place = static_cast<std::size_t>(index * block_size + at);
                store(&offset[place], to);
                store(&weight[place], product);
                if constexpr (WITH_SLOPES)
                    for (int d = 0; d < D; ++d) store(&slope[d][place], derivative[d]);
                ++index;
            }
        }
    }
};

}  // namespace UNWARP_ISA
}  // namespace unwarp
