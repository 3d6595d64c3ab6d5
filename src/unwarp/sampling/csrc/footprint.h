// Antialiasing: a sample is the mean of probes spread over its footprint, the part of the picture that one step to each
// side of it in the output covers. The twin of antialias.py.
#pragma once

#include "planar.h"
#include "scatter.h"

namespace unwarp {
namespace UNWARP_ISA {

// As in antialias.py.
constexpr double most_probes = 4096;
constexpr double whole = 1e-4;

// One group of samples, looked at by one probe each after the other.
template <int D, class W>
struct Footprints {
    static constexpr int lanes = Lanes<W>::count;
    int count;  // of the samples; the lanes beyond repeat the last
    Vec<W> point[D] = {}, step[D][D] = {};  // normalised
    Vec<W> shrink[D] = {};                  // of the output's axes, at least 1: input pixels per step

    alignas(64) W position[D][lanes];  // of the present probe: what find_cell and find_taps read
    Vec<W> weight, offset[D];          // its share of the mean, and its place within the step

    Footprints(const Job& job, std::int64_t map, std::int64_t first, int count) : count(count) {
        const auto take = [&](const auto* from) {
            from += map * job.grid_stride + first * D * (D + 1);
            for (int lane = 0; lane < lanes; ++lane) {
                const auto* piece = from + (lane < count ? lane : count - 1) * D * (D + 1);
                for (int d = 0; d < D; ++d) {
                    for (int e = 0; e < D; ++e) step[d][e][lane] = static_cast<W>(piece[d * (D + 1) + e]);
                    point[d][lane] = static_cast<W>(piece[d * (D + 1) + D]);
                }
            }
        };
        if (job.wide_grid)
            take(static_cast<const double*>(job.grid));
        else
            take(static_cast<const float*>(job.grid));
        measure(job);
    }

    // Calls `work` with every probe in place. Those of samples whose longest axes differ are taken one sample after the
    // other, if together they would be more: the others then weigh nothing.
    template <class Work>
    void for_probes(const Job& job, const Work& work) {
        std::int64_t most[D], together = 1, apart = 0;
        for (int e = 0; e < D; ++e) {
            most[e] = 1;
            for (int lane = 0; lane < count; ++lane) most[e] = std::max(most[e], probes(e, lane));
            together *= most[e];
        }
        for (int lane = 0; lane < count; ++lane) {
            std::int64_t own = 1;
            for (int e = 0; e < D; ++e) own *= probes(e, lane);
            apart += own;
        }
        if (together <= apart) return for_cells(job, most, splat<W>(1), work);
        for (int lane = 0; lane < count; ++lane) {
            std::int64_t own[D];
            for (int e = 0; e < D; ++e) own[e] = probes(e, lane);
            Vec<W> alone{};
            alone[lane] = 1;
            for_cells(job, own, alone, work);
        }
    }

   private:
    // Along one axis, for one sample.
    std::int64_t probes(int axis, int lane) const { return static_cast<std::int64_t>(std::ceil(shrink[axis][lane])); }

    template <class Work>
    void for_cells(const Job& job, const std::int64_t* counts, Vec<W> share, const Work& work) {
        std::int64_t total = 1;
        for (int e = 0; e < D; ++e) total *= counts[e];
        for (std::int64_t k = 0; k < total; ++k) {
            weight = share;
            std::int64_t rest = k;
            for (int e = 0; e < D; ++e) {
                const Vec<W> begin = min(splat<W>(W(rest % counts[e])) / shrink[e], splat<W>(1));
                const Vec<W> end = min(splat<W>(W(rest % counts[e] + 1)) / shrink[e], splat<W>(1));
                weight *= end - begin;
                offset[e] = (begin + end) / 2 - W(0.5);
                rest /= counts[e];
            }
            for (int d = 0; d < D; ++d) {
                Vec<W> at = point[d];
                for (int e = 0; e < D; ++e) at += step[d][e] * offset[e];
                store(position[d], position_of<true, W>(W(job.in_size[d]), at));
            }
            work();
        }
    }

    // As in antialias.py: the largest are cut until their product is `most_probes`.
    static void bound(W* of_axes) {
        W product = 1;
        for (int e = 0; e < D; ++e) product *= of_axes[e];
        if (!(product > W(most_probes))) return;
        W most = std::pow(W(most_probes), W(1) / D);
        for (int round = 1; round < D; ++round) {
            W left = W(most_probes);
            int larger = 0;
            for (int e = 0; e < D; ++e) {
                if (of_axes[e] <= most)
                    left /= of_axes[e];
                else
                    ++larger;
            }
            most = std::pow(left, W(1) / std::max(larger, 1));
        }
        for (int e = 0; e < D; ++e) of_axes[e] = std::min(of_axes[e], most);
    }

    void measure(const Job& job) {
        Vec<W> unknown{};
        for (int e = 0; e < D; ++e) {
            Vec<W> squared{};
            for (int d = 0; d < D; ++d) {
                const Vec<W> pixels = step[d][e] * (W(job.in_size[d]) / 2);
                squared += pixels * pixels;
                unknown += step[d][e] - step[d][e];
            }
            // Squares that overflow are cut to what a root survives.
            for (int lane = 0; lane < lanes; ++lane)
                shrink[e][lane] = std::sqrt(std::min(squared[lane], W(1e12)));
            shrink[e] = max(shrink[e], splat<W>(1));
        }
        for (int lane = 0; lane < lanes; ++lane) {
            W of_axes[D];
            for (int e = 0; e < D; ++e) of_axes[e] = shrink[e][lane];
            bound(of_axes);
            for (int e = 0; e < D; ++e) shrink[e][lane] = of_axes[e];
        }
        for (int d = 0; d < D; ++d) point[d] += unknown;
        for (int e = 0; e < D; ++e)
            for (int lane = 0; lane < lanes; ++lane) {
                W s = shrink[e][lane];
                const W nearest = std::nearbyint(s);
                if (std::abs(s - nearest) <= W(whole)) s = nearest;
                shrink[e][lane] = s >= 1 ? s : 1;
            }
    }
};

// Calls `work(map, first, count)` for the groups of one piece of the work.
template <class W, class Work>
inline void for_groups(const Job& job, std::int64_t piece, const Work& work) {
    constexpr int lanes = Lanes<W>::count;
    for_blocks(job, piece, [&](std::int64_t index) {
        const Span span(job, index);
        for (int at = 0; at < span.count; at += lanes) work(span.begin + at, lanes_left<W>(span.count, at));
    });
}

template <int D, class T, class W>
void forward_footprints(const Job& job, const Plane& image, const Plane& out) {
    const std::int64_t pieces = pieces_of(job);
    parallel_for(job.images * job.maps * pieces, job.threads, [&](std::int64_t item) {
        const std::int64_t map = item / pieces;
        const T* source = static_cast<const T*>(image.data) + map / job.maps * image.batch_stride;
        T* target = static_cast<T*>(out.data) + map * out.batch_stride;
        const Axes<D, W> axes(job, image.stride);
        Cells<D, W> cells;
        std::vector<Vec<W>> mean(static_cast<std::size_t>(job.channels));
        for_groups<W>(job, item % pieces, [&](std::int64_t first, int count) {
            Footprints<D, W> group(job, map, first, count);
            std::fill(mean.begin(), mean.end(), Vec<W>{});
            group.for_probes(job, [&] {
                read_block<D, T, W>(job, axes, group, cells, source, image, [&](int, std::int64_t c, Vec<W> value) {
                    mean[static_cast<std::size_t>(c)] += group.weight * value;
                });
            });
            for (std::int64_t c = 0; c < job.channels; ++c)
                store_some<T, W>(
                    target + first * out.stride[0] + c * out.channel_stride, out.stride[0],
                    mean[static_cast<std::size_t>(c)], count);
        });
    });
}

template <int D, class T, class W>
void points_footprints(const Job& job, const Plane& image, const Plane& grad_out, void* grad_points) {
    const std::int64_t pieces = pieces_of(job);
    parallel_for(job.images * job.maps * pieces, job.threads, [&](std::int64_t item) {
        const std::int64_t map = item / pieces;
        const T* source = static_cast<const T*>(image.data) + map / job.maps * image.batch_stride;
        const W* gradient = static_cast<const W*>(grad_out.data) + map * grad_out.batch_stride;
        const Axes<D, W> axes(job, image.stride);
        Cells<D, W> cells;
        for_groups<W>(job, item % pieces, [&](std::int64_t first, int count) {
            Footprints<D, W> group(job, map, first, count);
            Vec<W> of_point[D] = {}, of_step[D][D] = {};
            const W* given = gradient + first * grad_out.stride[0];
            group.for_probes(job, [&] {
                slopes_of_block<D, T, W>(
                    job, axes, group, cells, source, image, given, grad_out, [&](int, const Vec<W>* slope) {
                        for (int d = 0; d < D; ++d) {
                            const Vec<W> share = group.weight * slope[d];
                            of_point[d] += share;
                            for (int e = 0; e < D; ++e) of_step[d][e] += share * group.offset[e];
                        }
                    });
            });
            const auto put = [&](auto* to) {
                to += (map * job.samples + first) * D * (D + 1);
                for (int lane = 0; lane < count; ++lane)
                    for (int d = 0; d < D; ++d) {
                        const W half = W(job.in_size[d]) / 2;
                        for (int e = 0; e < D; ++e) *to++ = of_step[d][e][lane] * half;
                        *to++ = of_point[d][lane] * half;
                    }
            };
            if (job.wide_grid)
                put(static_cast<double*>(grad_points));
            else
                put(static_cast<float*>(grad_points));
        });
    });
}

// Whether the footprints of a group may touch the pixels [low, high) along the last axis.
template <int D, class W>
inline bool reaches(const Job& job, const Footprints<D, W>& group, std::int64_t low, std::int64_t high) {
    Vec<W> half{};
    for (int e = 0; e < D; ++e) half += magnitude<W>(group.step[D - 1][e]) / 2;
    const Vec<W> lowest = position_of<true, W>(W(job.in_size[D - 1]), group.point[D - 1] - half);
    const Vec<W> highest = position_of<true, W>(W(job.in_size[D - 1]), group.point[D - 1] + half);
    W least = W(farthest), most = -W(farthest);
    for (int lane = 0; lane < group.count; ++lane) {
        least = std::min(least, lowest[lane]);  // a NaN never replaces it
        most = std::max(most, highest[lane]);
    }
    std::int64_t reach[2];
    reach_between<D, W>(job, least, most, reach);
    return reach[0] < high && reach[1] >= low;
}

template <int D, class W>
void scatter_footprints(const Job& job, const Plane& grad_out, const Plane& grad_image) {
    constexpr int lanes = Lanes<W>::count;
    const std::int64_t pieces = pieces_of(job), extent = job.in_size[D - 1], slabs = slabs_of<D>(job);
    const auto prepare = [&] { return Given<D, W>(job); };
    parallel_for(job.images * slabs, job.threads, prepare, [&](std::int64_t item, Given<D, W>& given) {
        const std::int64_t image = item / slabs, slab = item % slabs;
        const std::int64_t low = slab * extent / slabs, high = (slab + 1) * extent / slabs;
        W* target = static_cast<W*>(grad_image.data) + image * grad_image.batch_stride;
        clear<D, W>(job, grad_image, target, low, high, 0, job.channels);
        Giver<D, W> giver(job, grad_image, low, high, given);
        Block<D, W> block;  // the probes of one group, as many as fit
        alignas(64) W weight[block_size], shares[block_size];
        const auto each_group = [&](std::int64_t map, std::int64_t first, int count) {
            Footprints<D, W> group(job, map, first, count);
            if (!reaches(job, group, low, high)) return;
            const W* gradient = static_cast<const W*>(grad_out.data) + map * grad_out.batch_stride;
            const auto flush = [&] {
                giver.give(block, target, [&](std::int64_t c, std::int64_t& stride) {
                    stride = 1;
                    const Vec<W> g = load_some<W, W>(
                        gradient + c * grad_out.channel_stride + first * grad_out.stride[0], grad_out.stride[0], count);
                    for (int at = 0; at < block.count; at += lanes)
                        store(&shares[at], load<Vec<W>>(&weight[at]) * g);
                    return shares;
                });
                block.count = 0;
            };
            block.count = 0;
            group.for_probes(job, [&] {
                for (int d = 0; d < D; ++d) store(&block.position[d][block.count], load<Vec<W>>(group.position[d]));
                store(&weight[block.count], group.weight);
                block.count += lanes;
                if (block.count == block_size) flush();
            });
            if (block.count) flush();
        };
        for (std::int64_t map = image * job.maps; map < (image + 1) * job.maps; ++map)
            for (std::int64_t piece = 0; piece < pieces; ++piece)
                for_groups<W>(job, piece, [&](std::int64_t first, int count) { each_group(map, first, count); });
    });
}

}  // namespace UNWARP_ISA
}  // namespace unwarp
