// Kernels for many channels that lie side by side, in the image and in what is read of it ("channels last"): a tap is
// one load for a vector of channels, and nothing is copied, gathered or transposed.
#pragma once

#include "clear.h"
#include "combinations.h"
#include "reduce.h"

namespace unwarp {
namespace UNWARP_ISA {

template <class W>
inline bool side_by_side(const Job& job, const Plane& first, const Plane& second) {
    return first.channel_stride == 1 && second.channel_stride == 1 && job.channels >= Lanes<W>::count;
}

// Calls `work` with the first of each vector of channels, and how many it holds.
template <class W, class Work>
[[gnu::always_inline]] inline void for_channels(std::int64_t begin, std::int64_t end, const Work& work) {
    constexpr int lanes = Lanes<W>::count;
    for (; begin + lanes <= end; begin += lanes) work(begin, lanes);
    if (begin < end) work(begin, static_cast<int>(end - begin));
}

template <class W>
inline std::vector<W> background_of(const Job& job) {
    return job.fill ? std::vector<W>(job.fill, job.fill + job.channels) : std::vector<W>();
}

// N taps where that is known when compiling, else 0.
template <int N, int D, class W>
void forward_last(const Job& job, const Plane& image, const Plane& out) {
    const std::int64_t pieces = pieces_of(job);
    const std::vector<W> background = background_of<W>(job);
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
            const int count = N ? N : taps.count;
            for (int i = 0; i < block.count; ++i) {
                const auto* offset = taps.offset.data() + i;
                const W* weight = taps.weight.data() + i;
                W outside = 1;
                if (job.fill)
                    for (int k = 0; k < count; ++k) outside -= weight[k * block_size];
                W* to = target + (block.begin + i) * out.stride[0];
                for_channels<W>(0, job.channels, [&](std::int64_t c, int some) {
                    Vec<W> total{};
                    for (int k = 0; k < count; ++k)
                        total += weight[k * block_size] * load_some<W, W>(source + offset[k * block_size] + c, 1, some);
                    if (job.fill) total += outside * load_some<W, W>(background.data() + c, 1, some);
                    store_some<W, W>(to + c, 1, total, some);
                });
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
                    for (int k = 0; k < (N ? N : taps.count); ++k) {
                        const auto place = static_cast<std::size_t>(k * block_size + i);
                        const W weight = taps.weight[place];
                        if (weight == 0) continue;
                        W* to = image + taps.offset[place];
                        for_channels<W>(first, end, [&](std::int64_t c, int some) {
                            const Vec<W> before = load_some<W, W>(to + c, 1, some);
                            store_some<W, W>(to + c, 1, before + weight * load_some<W, W>(from + c, 1, some), some);
                        });
                    }
                }
            }
        }
    });
}

template <int D, class W>
void points_last(const Job& job, const Plane& image, const Plane& grad_out, void* grad_points) {
    constexpr int lanes = Lanes<W>::count;
    const std::int64_t pieces = pieces_of(job), maps = job.images * job.maps;
    const std::vector<W> background = background_of<W>(job);
    std::vector<MatrixGradient<D>> partial(job.grid ? 0 : static_cast<std::size_t>(maps * pieces));
    const auto prepare = [&] { return Combinations<D, W>(job.mode, true); };
    parallel_for(maps * pieces, job.threads, prepare, [&](std::int64_t item, Combinations<D, W>& taps) {
        const std::int64_t map = item / pieces;
        const W* source = static_cast<const W*>(image.data) + map / job.maps * image.batch_stride;
        const W* gradient = static_cast<const W*>(grad_out.data) + map * grad_out.batch_stride;
        const Axes<D, W> axes(job, image.stride);
        Block<D, W> block;
        MatrixGradient<D> total;
        // Of a pixel, or the background, with the gradient of a sample: summed over the channels.
        const auto product = [&](const W* g, const W* values) {
            Vec<W> products{};
            for_channels<W>(0, job.channels, [&](std::int64_t c, int some) {
                products += load_some<W, W>(g + c, 1, some) * load_some<W, W>(values + c, 1, some);
            });
            return sum<W>(products);
        };
        for_blocks(job, item % pieces, [&](std::int64_t index) {
            locate<D, W>(job, map, index, block);
            taps.template find<true>(job, axes, block, image.stride, 0, job.in_size[D - 1]);
            SlopeSums<D, W> sums;
            for (int at = 0; at < block.count; at += lanes) {
                const int count = lanes_left<W>(block.count, at);
                Vec<W> slope[D] = {};
                for (int i = 0; i < count; ++i) {
                    const W* g = gradient + (block.begin + at + i) * grad_out.stride[0];
                    const W behind = job.fill ? product(g, background.data()) : W(0);
                    for (int k = 0; k < taps.count; ++k) {
                        const auto place = static_cast<std::size_t>(k * block_size + at + i);
                        const W value = product(g, source + taps.offset[place]) - behind;
                        for (int d = 0; d < D; ++d) slope[d][i] += taps.slope[d][place] * value;
                    }
                }
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
