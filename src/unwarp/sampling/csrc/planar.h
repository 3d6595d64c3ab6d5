// Kernels that read one channel after the other: for few channels, any element type, any strides.
#pragma once

#include "cells.h"
#include "reduce.h"
#include "window.h"

namespace unwarp {
namespace UNWARP_ISA {

template <int A, int D, class T, class W>
inline Vec<W> read_taps(const T* plane, Int<W> offset, const Taps<D, W>& taps) {
    Vec<W> total{};
    for (int k = 0; k < taps.count; ++k) {
        const Int<W> at = offset + taps.offset[A][k];
        if constexpr (A == 0)
            total += taps.weight[A][k] * gather<T, W>(plane, at);
        else
            total += taps.weight[A][k] * read_taps<A - 1, D, T, W>(plane, at, taps);
    }
    return total;
}

template <int A, int D, class T, class W>
inline Tangent<D, W> slope_taps(const T* plane, Int<W> offset, const Taps<D, W>& taps, Vec<W> background) {
    Tangent<D, W> total{};
    for (int k = 0; k < taps.count; ++k) {
        const Int<W> at = offset + taps.offset[A][k];
        if constexpr (A == 0) {
            const Vec<W> value = gather<T, W>(plane, at) - background;
            total.value += taps.weight[A][k] * value;
            total.slope[A] += taps.slope[A][k] * value;
        } else {
            const auto inner = slope_taps<A - 1, D, T, W>(plane, at, taps, background);
            total.value += taps.weight[A][k] * inner.value;
            total.slope[A] += taps.slope[A][k] * inner.value;
            for (int d = 0; d < A; ++d) total.slope[d] += taps.weight[A][k] * inner.slope[d];
        }
    }
    return total;
}

template <int D>
inline bool reads_nothing_outside(const Job& job) {
    for (int d = 0; d < D; ++d)
        if (job.padding[d] == Padding::border || job.padding[d] == Padding::reflection ||
            job.padding[d] == Padding::wrap)
            return false;
    return true;
}

// Values of one group of samples.
template <int D, class T, class W, class B, class Put>
[[gnu::always_inline]] inline void read_group(
    const Job& job, const Axes<D, W>& axes, const B& block, int at, const T* source, const Plane& image,
    const Put& put) {
    const std::int64_t channels = job.channels, to_next = image.channel_stride;
    const double* const fill = job.fill;
    Int<W> nearest, valid;
    if (job.mode == Mode::nearest && find_nearest<D, W>(axes, block, at, nearest, valid)) {
        for (std::int64_t c = 0; c < channels; ++c) {
            const Vec<W> value = gather<T, W>(source + c * to_next, nearest);
            put(at, c, valid ? value : splat<W>(fill ? W(fill[c]) : W(0)));
        }
        return;
    }
    Taps<D, W> taps;
    find_taps<D, W>(job, block, at, image.stride, 0, job.in_size[D - 1], taps);
    const bool nothing = reads_nothing_outside<D>(job) && all(taps.inside == 0);
    for (std::int64_t c = 0; c < channels; ++c) {
        Vec<W> value{};
        if (!nothing) value = read_taps<D - 1, D, T, W>(source + c * to_next, Int<W>{}, taps);
        if (fill) value += W(fill[c]) * (1 - taps.inside);
        put(at, c, value);
    }
}

// Values of a block of samples, in any mode; cells are found in `cells`.
template <int D, class T, class W, class B, class Put>
[[gnu::always_inline]] inline void read_block(
    const Job& job, const Axes<D, W>& axes, const B& block, Cells<D, W>& cells, const T* source, const Plane& image,
    const Put& put) {
    const Planes<T> planes{source, job.channels, image.channel_stride, axes.step, job.fill};
    for (int at = 0; at < block.count; at += Lanes<W>::count) {
        if (job.mode == Mode::linear) {
            const int end = cells.take(at, block.count, [&](int group, Cell<D, W>& cell) __attribute__((always_inline)) {
                return find_cell<false, D, W>(axes, block, group, cell);
            });
            read_cells<D, T, W>(planes, cells, at, end, put);
            if (end >= block.count) return;
            at = end;
        }
        read_group<D, T, W>(job, axes, block, at, source, image, put);
    }
}

template <int D, class T, class W>
void forward_planar(const Job& job, const Plane& image, const Plane& out) {
    const std::int64_t pieces = pieces_of(job);
    const auto work = [&](std::int64_t item, Windows<D, T, W>& windows) {
        const std::int64_t map = item / pieces;
        T* target = static_cast<T*>(out.data) + map * out.batch_stride;
        const std::int64_t stride = out.stride[0], to_next = out.channel_stride;
        Block<D, W> block;
        Cells<D, W> cells;
        for_blocks(job, item % pieces, [&](std::int64_t index) {
            locate<D, W>(job, map, index, block);
            T* to = target + block.begin * stride;
            const int samples = block.count;
            const View<D, T, W>& view = windows.of(map, index);
            const auto put = [&](int at, std::int64_t c, Vec<W> value) __attribute__((always_inline)) {
                store_some<T, W>(to + at * stride + c * to_next, stride, value, lanes_left<W>(samples, at));
            };
            read_block<D, T, W>(job, view.axes, block, cells, view.source, view.image, put);
        });
    };
    parallel_for(job.images * job.maps * pieces, job.threads, [&] { return Windows<D, T, W>(job, image); }, work);
}

// Gradients of the positions (along each axis, in pixels) of a block of samples, summed over the channels: calls
// `put` with each group's.
template <int D, class T, class W, class B, class Put>
[[gnu::always_inline]] inline void slopes_of_block(
    const Job& job, const Axes<D, W>& axes, const B& block, Cells<D, W>& cells, const T* source, const Plane& image,
    const W* gradient, const Plane& grad_out, const Put& put) {
    constexpr int lanes = Lanes<W>::count;
    const Planes<T> planes{source, job.channels, image.channel_stride, axes.step, nullptr};
    const auto given = [&](int at, std::int64_t c) __attribute__((always_inline)) {
        const W* from = gradient + at * grad_out.stride[0] + c * grad_out.channel_stride;
        return load_some<W, W>(from, grad_out.stride[0], lanes_left<W>(block.count, at));
    };
    for (int at = 0; at < block.count; at += lanes) {
        if (job.mode == Mode::linear && !job.fill) {
            const int end = cells.take(at, block.count, [&](int group, Cell<D, W>& cell) __attribute__((always_inline)) {
                return find_cell<true, D, W>(axes, block, group, cell);
            });
            slopes_of_cells<D, T, W>(planes, cells, at, end, given, put);
            if (end >= block.count) return;
            at = end;
        }
        Vec<W> slope[D] = {};
        Taps<D, W> taps;
        find_taps<D, W>(job, block, at, image.stride, 0, job.in_size[D - 1], taps);
        for (std::int64_t c = 0; c < job.channels; ++c) {
            const Vec<W> background = splat<W>(job.fill ? W(job.fill[c]) : W(0)), g = given(at, c);
            const auto read = slope_taps<D - 1, D, T, W>(source + c * image.channel_stride, Int<W>{}, taps, background);
            for (int d = 0; d < D; ++d) slope[d] += g * read.slope[d];
        }
        put(at, slope);
    }
}

template <int D, class T, class W>
void points_planar(const Job& job, const Plane& image, const Plane& grad_out, void* grad_points) {
    const std::int64_t pieces = pieces_of(job), maps = job.images * job.maps;
    std::vector<MatrixGradient<D>> partial(job.grid ? 0 : static_cast<std::size_t>(maps * pieces));
    const auto work = [&](std::int64_t item, Windows<D, T, W>& windows) {
        const std::int64_t map = item / pieces;
        const W* gradient = static_cast<const W*>(grad_out.data) + map * grad_out.batch_stride;
        Block<D, W> block;
        Cells<D, W> cells;
        MatrixGradient<D> total;
        for_blocks(job, item % pieces, [&](std::int64_t index) {
            locate<D, W>(job, map, index, block);
            SlopeSums<D, W> sums;
            const W* given = gradient + block.begin * grad_out.stride[0];
            const View<D, T, W>& view = windows.of(map, index);
            const auto put = [&](int at, const Vec<W>* slope) __attribute__((always_inline)) {
                if (job.grid)
                    put_slopes<D, W>(job, map, block, at, slope, grad_points);
                else
                    sums.add(job, map, block, at, slope);
            };
            slopes_of_block<D, T, W>(job, view.axes, block, cells, view.source, view.image, given, grad_out, put);
            sums.flush(job, total);
        });
        if (!job.grid) partial[static_cast<std::size_t>(item)] = total;
    };
    parallel_for(maps * pieces, job.threads, [&] { return Windows<D, T, W>(job, image); }, work);
    if (!job.grid) add_pieces<D>(partial, pieces, static_cast<double*>(grad_points));
}

}  // namespace UNWARP_ISA
}  // namespace unwarp
