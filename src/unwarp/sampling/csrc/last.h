// Kernels for many channels that lie side by side, in the image and in what is read of it ("channels last"): a tap is
// one load for a vector of channels, and nothing is copied, gathered or transposed.
#pragma once

#include "clear.h"
#include "reduce.h"
#include "vectors.h"

namespace unwarp {
namespace UNWARP_ISA {

template <class W>
inline bool side_by_side(const Job& job, const Plane& first, const Plane& second) {
    return first.channel_stride == 1 && second.channel_stride == 1 && job.channels >= Lanes<W>::count;
}

template <class W>
inline Vectors side_by_side_vectors(std::int64_t channels) {
    constexpr std::int64_t lanes = Lanes<W>::count;
    return {channels / lanes, static_cast<int>(channels % lanes), lanes};
}

// N taps where that is known when compiling, else 0.
template <int N, int D, class W>
void forward_last(const Job& job, const Plane& image, const Plane& out) {
    const Vectors vectors = side_by_side_vectors<W>(job.channels);
    const std::int64_t pieces = pieces_of(job);
    const Background<W> background(job);
    const auto prepare = [&] { return Combinations<D, W>(job.mode); };
    parallel_for(job.images * job.maps * pieces, job.threads, prepare, [&](std::int64_t item, Combinations<D, W>& taps) {
        const std::int64_t map = item / pieces;
        const W* source = static_cast<const W*>(image.data) + map / job.maps * image.batch_stride;
        W* target = static_cast<W*>(out.data) + map * out.batch_stride;
        const Axes<D, W> axes(job, image.stride);
        Block<D, W> block;
        for_blocks(job, item % pieces, [&](std::int64_t index) {
            locate<D, W>(job, map, index, block);
            taps.template find<false>(job, axes, block, image.stride, 0, job.in_size[D - 1]);
            for (int i = 0; i < block.count; ++i) {
                W* to = target + (block.begin + i) * out.stride[0];
                read_vectors<N>(taps, i, source, vectors, to);
                if (job.fill) add_background(taps, i, background.from(0), vectors, to);
            }
        });
    });
}

template <int N, int D, class W>
void scatter_last(const Job& job, const Plane& grad_out, const Plane& grad_image) {
    constexpr std::int64_t lanes = Lanes<W>::count;
    // Threads share the images or, if they are few, the channels of each: the sums are the same.
    const std::int64_t width = job.images >= job.threads ? job.channels : lanes;
    const std::int64_t groups = (job.channels + width - 1) / width;
    const auto prepare = [&] { return Combinations<D, W>(job.mode); };
    parallel_for(job.images * groups, job.threads, prepare, [&](std::int64_t item, Combinations<D, W>& taps) {
        const std::int64_t n = item / groups, first = item % groups * width;
        const std::int64_t end = std::min(first + width, job.channels);
        const Vectors vectors = side_by_side_vectors<W>(end - first);
        W* image = static_cast<W*>(grad_image.data) + n * grad_image.batch_stride;
        clear<D, W>(job, grad_image, image, 0, job.in_size[D - 1], first, end);
        const Axes<D, W> axes(job, grad_image.stride);
        Block<D, W> block;
        for (std::int64_t map = n * job.maps; map < (n + 1) * job.maps; ++map) {
            const W* gradient = static_cast<const W*>(grad_out.data) + map * grad_out.batch_stride;
            for (std::int64_t index = 0; index < blocks_of(job); ++index) {
                locate<D, W>(job, map, index, block);
                taps.template find<false>(job, axes, block, grad_image.stride, 0, job.in_size[D - 1]);
                for (int i = 0; i < block.count; ++i) {
                    const W* from = gradient + (block.begin + i) * grad_out.stride[0];
                    give_vectors<N>(taps, i, from + first, image + first, vectors);
                }
            }
        }
    });
}

template <int N, int D, class W>
void points_last(const Job& job, const Plane& image, const Plane& grad_out, void* grad_points) {
    constexpr int lanes = Lanes<W>::count;
    const std::int64_t pieces = pieces_of(job), maps = job.images * job.maps;
    const Vectors vectors = side_by_side_vectors<W>(job.channels);
    const Background<W> background(job);
    std::vector<MatrixGradient<D>> partial(job.grid ? 0 : static_cast<std::size_t>(maps * pieces));
    const auto prepare = [&] { return Combinations<D, W>(job.mode, true); };
    parallel_for(maps * pieces, job.threads, prepare, [&](std::int64_t item, Combinations<D, W>& taps) {
        const std::int64_t map = item / pieces;
        const W* source = static_cast<const W*>(image.data) + map / job.maps * image.batch_stride;
        const W* gradient = static_cast<const W*>(grad_out.data) + map * grad_out.batch_stride;
        const Axes<D, W> axes(job, image.stride);
        Block<D, W> block;
        MatrixGradient<D> total;
        for_blocks(job, item % pieces, [&](std::int64_t index) {
            locate<D, W>(job, map, index, block);
            taps.template find<true>(job, axes, block, image.stride, 0, job.in_size[D - 1]);
            SlopeSums<D, W> sums;
            for (int at = 0; at < block.count; at += lanes) {
                const std::int64_t step = grad_out.stride[0];
                Vec<W> slope[D];
                slopes_of_vectors<N, D, W>(
                    taps, at, lanes_left<W>(block.count, at), source, vectors, background.from(0),
                    gradient + (block.begin + at) * step, step, slope);
                if (job.grid)
                    put_slopes<D, W>(job, map, block, at, slope, grad_points);
                else
                    sums.add(job, map, block, at, slope);
            }
            sums.flush(job, total);
        });
        if (!job.grid) partial[static_cast<std::size_t>(item)] = total;
    });
    if (!job.grid) add_pieces<D>(partial, pieces, static_cast<double*>(grad_points));
}

}  // namespace UNWARP_ISA
}  // namespace unwarp
