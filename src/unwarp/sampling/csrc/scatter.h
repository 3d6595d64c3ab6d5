// The gradient of the image: every sample gives its gradient back to the pixels it read.
//
// A pixel belongs to one thread alone, the owner of its slab (a range along the slowest axis), and receives what it is
// given in the order of the samples. So the sums need no atomics, and come out the same for any number of slabs.
#pragma once

#include <algorithm>

#include "cells.h"
#include "clear.h"
#include "combinations.h"
#include "foresight.h"
#include "quads.h"
#include "reduce.h"

namespace unwarp {
namespace UNWARP_ISA {

// Neighbouring samples give to the same pixels; taken this far apart, one addition need not wait for the last.
constexpr int apart = 4;

template <int N, int D, class W>
inline void give(const Combinations<D, W>& taps, const std::vector<W>& value, int count, W* plane) {
    const int combinations = N ? N : taps.count;
    for (int lane = 0; lane < apart; ++lane)
        for (int sample = lane; sample < count; sample += apart)
            for (int c = 0; c < combinations; ++c) {
                const auto at = static_cast<std::size_t>(c * block_size + sample);
                plane[taps.offset[at]] += value[at];
            }
}

// Linear interpolation gives to cells: pairs of neighbours along x, 2^(D-1) of them, added two at a time.
template <int D, class W>
class CellGiver {
   public:
    // False where a sample's taps fold back from outside.
    bool find(const Axes<D, W>& axes, const Block<D, W>& block) {
        const int end = cells.take(0, block.count, [&](int at, Cell<D, W>& cell) {
            return find_cell<false, D, W>(axes, block, at, cell);
        });
        for (int pair = 0; pair < pairs; ++pair) {
            step[pair] = 0;
            if constexpr (D >= 2) step[pair] += pair & 1 ? axes.step[1] : 0;
            if constexpr (D == 3) step[pair] += pair & 2 ? axes.step[2] : 0;
        }
        return end >= block.count;
    }

    // `gradient(c, stride)` points to that of the block's first sample in channel c; planes are `to_next` apart.
    template <class Gradient>
    void give(std::int64_t channels, int count, const Gradient& gradient, W* first, std::int64_t to_next) {
        for (std::int64_t c = 0; c < channels; ++c) {
            std::int64_t stride;
            const W* g = gradient(c, stride);
            give_channel(count, g, stride, first + c * to_next);
        }
    }

   private:
    static constexpr int lanes = Lanes<W>::count, pairs = 1 << (D - 1);
    using Pair = typename Lanes<W>::Pair;
    Cells<D, W> cells;
    alignas(64) W value[pairs][2 * block_size];
    std::int64_t step[pairs];  // of a pair from the first

    void give_channel(int count, const W* gradient, std::int64_t stride, W* plane) {
        for (int at = 0; at < count; at += lanes) {
            const Vec<W> g = load_some<W, W>(gradient + at * stride, stride, lanes_left<W>(count, at));
            const Vec<W> low = load<Vec<W>>(&cells.low[0][at]), high = load<Vec<W>>(&cells.high[0][at]);
            for (int pair = 0; pair < pairs; ++pair) {
                Vec<W> shared = g;
                if constexpr (D >= 2) shared *= load<Vec<W>>(pair & 1 ? &cells.high[1][at] : &cells.low[1][at]);
                if constexpr (D == 3) shared *= load<Vec<W>>(pair & 2 ? &cells.high[2][at] : &cells.low[2][at]);
                store(&value[pair][2 * at], interleave_low<W>(shared * low, shared * high));
                store(&value[pair][2 * at + lanes], interleave_high<W>(shared * low, shared * high));
            }
        }
        for (int lane = 0; lane < apart; ++lane)
            for (int sample = lane; sample < count; sample += apart)
                for (int pair = 0; pair < pairs; ++pair) {
                    W* at = plane + cells.offset[sample] + step[pair];
                    store(at, load<Pair>(at) + load<Pair>(&value[pair][2 * sample]));
                }
    }
};

// The first and the last pixel along the slowest axis that samples between two positions may touch.
template <int D, class W>
inline void reach_between(const Job& job, W least, W most, std::int64_t* reach) {
    const std::int64_t count = job.in_size[D - 1];
    const Padding padding = job.padding[D - 1];
    const auto pixel = [](W position) {
        return static_cast<std::int64_t>(std::floor(std::clamp(position, -W(farthest), W(farthest))));
    };
    reach[0] = pixel(least) - taps_of(job.mode), reach[1] = pixel(most) + taps_of(job.mode);
    const bool folds = padding == Padding::reflection || padding == Padding::wrap;
    if (folds && (reach[0] < 0 || reach[1] >= count)) reach[0] = 0, reach[1] = count - 1;
    if (padding == Padding::border)
        for (int end = 0; end < 2; ++end) reach[end] = std::clamp<std::int64_t>(reach[end], 0, count - 1);
}

// For each block, the first and the last pixel along the slowest axis that it may touch.
template <int D, class W>
inline std::vector<std::int64_t> reach_of_blocks(const Job& job) {
    const std::int64_t blocks = blocks_of(job), maps = job.images * job.maps;
    std::vector<std::int64_t> reach(static_cast<std::size_t>(2 * maps * blocks));
    parallel_for(maps * blocks, job.threads, [&](std::int64_t item) {
        Block<D, W> block;
        locate<D, W>(job, item / blocks, item % blocks, block);
        Vec<W> least = splat<W>(W(farthest)), most = -least;
        for (int at = 0; at < block.count; at += Lanes<W>::count) {
            const Vec<W> position = load<Vec<W>>(&block.position[D - 1][at]);
            least = position < least ? position : least;  // a NaN never replaces it
            most = position > most ? position : most;
        }
        for (int lane = 1; lane < Lanes<W>::count; ++lane) {
            least[0] = std::min(least[0], least[lane]);
            most[0] = std::max(most[0], most[lane]);
        }
        reach_between<D, W>(job, least[0], most[0], &reach[static_cast<std::size_t>(2 * item)]);
    });
    return reach;
}

// Slabs of one image: one for each thread, unless there are images enough. What touches two slabs is located twice.
template <int D>
inline std::int64_t slabs_of(const Job& job) {
    if (job.images % job.threads == 0 || job.images >= 2 * job.threads) return 1;
    // At least two pixels each, for the pairs of a line.
    return std::clamp<std::int64_t>(job.in_size[D - 1] / 2, 1, job.threads);
}

// Leaves out samples, at both ends of a block, that touch none of the pixels [low, high) along the last axis. Whole
// groups of them, so that the others are given in the same order; and none that makes a block be given tap by tap, since
// that rounds in another way than giving to cells.
template <int D, class W>
inline void trim(const Job& job, std::int64_t low, std::int64_t high, Block<D, W>& block) {
    constexpr int lanes = Lanes<W>::count, group = std::max(lanes, apart);
    static_assert(group % lanes == 0 && group % apart == 0);
    const W taps = W(taps_of(job.mode));
    const Vec<W> from = splat<W>(W(low) - taps), to = splat<W>(W(high) + taps);
    const auto misses = [&](int begin) {
        Int<W> stays{};
        for (int at = begin; at < begin + group; at += lanes) {
            for (int d = 0; d < D; ++d) {
                const Vec<W> position = load<Vec<W>>(&block.position[d][at]);
                stays |= (position - position) != 0;
                if (job.padding[d] == Padding::reflection || job.padding[d] == Padding::wrap)
                    stays |= ~((position > taps) & (position < W(job.in_size[d] - 1) - taps));
            }
            Vec<W> position = load<Vec<W>>(&block.position[D - 1][at]);
            if (job.padding[D - 1] == Padding::border)
                position = max(min(position, splat<W>(W(job.in_size[D - 1] - 1))), Vec<W>{});
            stays |= (position >= from) & (position < to);
        }
        return none(stays);
    };
    int begin = 0, end = (block.count + group - 1) / group * group;
    while (end > 0 && misses(end - group)) end -= group;
    while (begin < end && misses(begin)) begin += group;
    block.begin += begin;
    block.count = std::min(block.count, end) - begin;
    if (begin == 0) return;
    for (int d = 0; d < D; ++d)
        for (int at = 0; at < block.count; at += lanes)
            store(&block.position[d][at], load<Vec<W>>(&block.position[d][begin + at]));
}

// What is given to each tap. A thread keeps it from image to image: to come by the memory costs more than a small one.
template <int D, class W>
struct Given {
    Combinations<D, W> taps;
    std::vector<W> value;
    Quads<D> quads;

    explicit Given(const Job& job) : taps(job.mode), value(taps.offset.size()) {}
};

// Gives the gradients of blocks of samples to the pixels [low, high) along the last axis.
template <int D, class W, bool IN_QUADS = false>
class Giver {
   public:
    Giver(const Job& job, const Plane& grad_image, std::int64_t low, std::int64_t high, Given<D, W>& given)
        : job(job), grad_image(grad_image), low(low), high(high), axes(job, grad_image.stride, low, high),
          in_cells(IN_QUADS || (job.mode == Mode::linear && grad_image.stride[0] == 1 && job.in_size[0] > 1)),
          taps(given.taps), value(given.value) {}

    // `gradient(c, stride)` points to that of the block's first sample in channel c.
    template <class Gradient>
    void give(const Block<D, W>& block, W* target, const Gradient& gradient) {
        const std::int64_t to_next = grad_image.channel_stride;
        if (in_cells && cells.find(axes, block)) return cells.give(job.channels, block.count, gradient, target, to_next);
        taps.template find<false>(job, axes, block, grad_image.stride, low, high);
        for (std::int64_t c = 0; c < job.channels; ++c) {
            std::int64_t stride;
            const W* g = gradient(c, stride);
            give_taps(block.count, g, stride, target + c * to_next);
        }
    }

   private:
    const Job& job;
    const Plane& grad_image;
    const std::int64_t low, high;
    const Axes<D, W> axes;
    const bool in_cells;
    std::conditional_t<IN_QUADS, QuadGiver<D>, CellGiver<D, W>> cells;
    Combinations<D, W>& taps;
    std::vector<W>& value;

    void give_taps(int count, const W* g, std::int64_t stride, W* plane) {
        for (int k = 0; k < taps.count; ++k)
            for (int i = 0; i < count; ++i) {
                const auto at = static_cast<std::size_t>(k * block_size + i);
                const W weight = taps.weight[at];
                value[at] = weight != 0 ? weight * g[i * stride] : W(0);
            }
        if (taps.count == 4)
            unwarp::UNWARP_ISA::give<4>(taps, value, count, plane);
        else if (taps.count == 8)
            unwarp::UNWARP_ISA::give<8>(taps, value, count, plane);
        else
            unwarp::UNWARP_ISA::give<0>(taps, value, count, plane);
    }
};

template <int D, class W, bool IN_QUADS>
void scatter_planar(const Job& job, const Plane& grad_out, const Plane& grad_image) {
    const std::int64_t blocks = blocks_of(job), extent = job.in_size[D - 1], slabs = slabs_of<D>(job);
    const auto reach = slabs > 1 ? reach_of_blocks<D, W>(job) : std::vector<std::int64_t>();
    const Outputs<D, W> outputs(job);
    const auto prepare = [&] { return Given<D, W>(job); };
    parallel_for(job.images * slabs, job.threads, prepare, [&](std::int64_t item, Given<D, W>& given) {
        const std::int64_t image = item / slabs, slab = item % slabs;
        const std::int64_t low = slab * extent / slabs, high = (slab + 1) * extent / slabs;
        W* const result = static_cast<W*>(grad_image.data) + image * grad_image.batch_stride;
        Plane plane = grad_image;
        W* target = result;
        if constexpr (IN_QUADS) {
            plane = given.quads.clear(job, low, high);
            target = static_cast<W*>(plane.data);
        } else {
            clear<D, W>(job, plane, target, low, high, 0, job.channels);
        }
        Block<D, W> block;
        Giver<D, W, IN_QUADS> giver(job, plane, low, high, given);
        Foresight<D> foresight(job, plane, low, high);
        for (std::int64_t map = image * job.maps; map < (image + 1) * job.maps; ++map) {
            const W* gradient = static_cast<const W*>(grad_out.data) + map * grad_out.batch_stride;
            for (std::int64_t index = 0; index < blocks; ++index) {
                if (slabs > 1) {
                    const auto at = static_cast<std::size_t>(2 * (map * blocks + index));
                    if (reach[at] >= high || reach[at + 1] < low) continue;
                }
                foresight.look(map, index, target);
                locate<D, W>(job, map, index, block, &outputs);
                if (slabs > 1) trim<D, W>(job, low, high, block);
                giver.give(block, target, [&](std::int64_t c, std::int64_t& stride) {
                    stride = grad_out.stride[0];
                    return gradient + c * grad_out.channel_stride + block.begin * stride;
                });
            }
        }
        if constexpr (IN_QUADS) given.quads.write(job, low, high, grad_image, result);
    });
}

}  // namespace UNWARP_ISA
}  // namespace unwarp
