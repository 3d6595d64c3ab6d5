// Small pictures are copied first, with a margin of what lies outside around them: then no sample needs a border case.
#pragma once

#include <algorithm>

#include "cells.h"
#include "reduce.h"

namespace unwarp {
namespace UNWARP_ISA {

// All channels of a copy stay in the processor's second cache; and rows are short: there every second group of samples
// touches a border, in longer ones few do.
constexpr std::int64_t most_margin_values = 32768;
constexpr std::int64_t longest_margin_row = 96;

// What lies outside must be the same everywhere, and one thread takes all samples of a map. A copy costs about a tenth
// of reading it once.
template <int D>
inline bool wants_margin(const Job& job) {
    std::int64_t extent = 1;
    for (int d = 0; d < D; ++d) {
        if (job.padding[d] != Padding::zeros && job.padding[d] != Padding::constant) return false;
        extent *= job.in_size[d];
    }
    const bool small = job.in_size[0] <= longest_margin_row && extent * job.channels <= most_margin_values;
    return small && job.mode == Mode::linear && 2 * job.samples >= extent && pieces_of(job) == 1;
}

// One picture with its margin, in the computing type. Samples farther out than two pixels before the first one or one
// behind the last are moved there: they read nothing but margin either way.
template <int D, class T, class W>
struct Margin {
    static constexpr int before = 2, behind = 1;
    std::int64_t image = -1;  // the one that is held
    std::int64_t stride[3] = {}, channel_stride;
    W* pixels;  // from the first pixel of the first channel
    const Outputs<D, W> outputs;

    explicit Margin(const Job& job) : outputs(job) {
        std::int64_t values = 1, first = 0;
        for (int d = 0; d < D; ++d) {
            stride[d] = values;
            first += before * values;
            values *= before + job.in_size[d] + behind;
            limit[d] = splat<W>(W(job.in_size[d]));
            tolerance[d] = splat<W>(W(job.tolerance[d]));
            step[d] = splat_int<W>(stride[d]);
        }
        // The second pixel of the last cell of a row is the first of the next row, which is margin too. Behind the last
        // row there must be another.
        channel_stride = values;
        for (int d = 0; d < D; ++d) channel_stride += stride[d];
        memory.resize(static_cast<std::size_t>(channel_stride * job.channels));
        if (job.fill)
            for (std::int64_t c = 0; c < job.channels; ++c)
                std::fill_n(memory.begin() + c * channel_stride, channel_stride, W(job.fill[c]));
        pixels = memory.data() + first;
    }
    Margin(const Margin&) = delete;

    void hold(const Job& job, const Plane& plane, std::int64_t wanted) {
        if (image == wanted) return;
        image = wanted;
        const T* from = static_cast<const T*>(plane.data) + image * plane.batch_stride;
        for (std::int64_t c = 0; c < job.channels; ++c)
            for (std::int64_t z = 0; z < (D > 2 ? job.in_size[2] : 1); ++z)
                for (std::int64_t y = 0; y < (D > 1 ? job.in_size[1] : 1); ++y)
                    copy_row(
                        from + c * plane.channel_stride + z * plane.stride[2] + y * plane.stride[1], plane.stride[0],
                        job.in_size[0], pixels + c * channel_stride + z * stride[2] + y * stride[1]);
    }

    // Around the picture lies what fills the outside: nothing is to be added.
    Planes<W> planes(const Job& job) const { return {pixels, job.channels, channel_stride, stride, nullptr}; }

    // Where the samples of a block read. A coordinate that is not a number is behind the last pixel. By itself: as a part
    // of something longer it is given fewer registers.
    [[gnu::noinline]] void find(
        const Job& job, std::int64_t map, std::int64_t index, Block<D, W>& block, Cells<D, W, true>& cells) const {
        // Copies: what is stored could be anything's, for all that the compiler knows.
        Vec<W> limit[D], tolerance[D];
        Int<W> step[D];
        for (int d = 0; d < D; ++d) {
            limit[d] = this->limit[d];
            tolerance[d] = this->tolerance[d];
            step[d] = this->step[d];
        }
        const auto put = [&](int at, const Vec<W>* position) __attribute__((always_inline)) {
            Cell<D, W> cell;
            cell.offset = Int<W>{};
            cell.within = true;
            for (int d = 0; d < D; ++d) {
                const Vec<W> near = max(min(position[d], limit[d]), splat<W>(W(-before)));
                const Int<W> first = place<W>(near, tolerance[d], cell.low[d], cell.high[d]);
                cell.offset += d == 0 ? first : first * step[d];
            }
            cells.put(at, cell);
        };
        for_positions<false, D, W>(job, map, index, block, &outputs, put);
    }

   private:
    static void copy_row(const T* from, std::int64_t step, std::int64_t width, W* to) {
        constexpr int lanes = Lanes<W>::count;
        for (std::int64_t x = 0; x < width; x += lanes) {
            const int count = width - x < lanes ? static_cast<int>(width - x) : lanes;
            store_some<W, W>(to + x, 1, load_some<T, W>(from + x * step, step, count), count);
        }
    }

    std::vector<W> memory;
    Vec<W> limit[D], tolerance[D];
    Int<W> step[D];
};

template <int D, class T, class W>
void forward_margin(const Job& job, const Plane& image, const Plane& out) {
    const auto prepare = [&] { return Margin<D, T, W>(job); };
    parallel_for(job.images * job.maps, job.threads, prepare, [&](std::int64_t map, Margin<D, T, W>& margin) {
        margin.hold(job, image, map / job.maps);
        T* target = static_cast<T*>(out.data) + map * out.batch_stride;
        const std::int64_t stride = out.stride[0], to_next = out.channel_stride;
        Block<D, W> block;
        Cells<D, W, true> cells;
        for (std::int64_t index = 0; index < blocks_of(job); ++index) {
            margin.find(job, map, index, block, cells);
            T* to = target + block.begin * stride;
            const int samples = block.count;
            const auto put = [&](int at, std::int64_t c, Vec<W> value) __attribute__((always_inline)) {
                store_some<T, W>(to + at * stride + c * to_next, stride, value, lanes_left<W>(samples, at));
            };
            read_cells<D, W, W>(margin.planes(job), cells, 0, samples, put);
        }
    });
}

template <int D, class T, class W>
void points_margin(const Job& job, const Plane& image, const Plane& grad_out, void* grad_points) {
    const std::int64_t maps = job.images * job.maps;
    std::vector<MatrixGradient<D>> result(job.grid ? 0 : static_cast<std::size_t>(maps));
    const auto prepare = [&] { return Margin<D, T, W>(job); };
    parallel_for(maps, job.threads, prepare, [&](std::int64_t map, Margin<D, T, W>& margin) {
        margin.hold(job, image, map / job.maps);
        const W* gradient = static_cast<const W*>(grad_out.data) + map * grad_out.batch_stride;
        const std::int64_t stride = grad_out.stride[0], to_next = grad_out.channel_stride;
        Block<D, W> block;
        Cells<D, W, true> cells;
        MatrixGradient<D> total;
        for (std::int64_t index = 0; index < blocks_of(job); ++index) {
            margin.find(job, map, index, block, cells);
            SlopeSums<D, W> sums;
            const W* from = gradient + block.begin * stride;
            const auto given = [&](int at, std::int64_t c) __attribute__((always_inline)) {
                return load_some<W, W>(from + at * stride + c * to_next, stride, lanes_left<W>(block.count, at));
            };
            slopes_of_cells<D, W, W>(
                margin.planes(job), cells, 0, block.count, given, [&](int at, const Vec<W>* slope) __attribute__((always_inline)) {
                    if (job.grid)
                        put_slopes<D, W>(job, map, block, at, slope, grad_points);
                    else
                        sums.add(job, map, block, at, slope);
                });
            sums.flush(job, total);
        }
        if (!job.grid) result[static_cast<std::size_t>(map)] = total;
    });
    if (!job.grid) add_pieces<D>(result, 1, static_cast<double*>(grad_points));
}

}  // namespace UNWARP_ISA
}  // namespace unwarp
