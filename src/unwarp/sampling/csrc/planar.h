// Kernels that read one channel after the other: for few channels, any element type, any strides.
#pragma once

#include "cell.h"
#include "reduce.h"

namespace unwarp {
namespace UNWARP_ISA {

template <int D, class T, class W>
inline void read_pair(const T* plane, const std::int64_t* step, const Cell<D, W>& cell, Vec<W>& low, Vec<W>& high) {
    if (step[0] == 1) {
        gather_pair<T, W>(plane, cell.offset, low, high);
    } else {
        low = gather<T, W>(plane, cell.offset);
        high = gather<T, W>(plane + step[0], cell.offset);
    }
}

// The pixels of a cell: bit d of a corner's number says whether it is the second along axis d.
template <int A, int D, class T, class W>
inline void gather_corners(const T* plane, const std::int64_t* step, const Cell<D, W>& cell, Vec<W>* corner) {
    if constexpr (A == 0) {
        read_pair<D, T, W>(plane, step, cell, corner[0], corner[1]);
    } else {
        gather_corners<A - 1, D, T, W>(plane, step, cell, corner);
        gather_corners<A - 1, D, T, W>(plane + step[A], step, cell, corner + (1 << A));
    }
}

template <int A, int D, class W>
inline Vec<W> blend(const Vec<W>* corner, const Cell<D, W>& cell) {
    if constexpr (A < 0) {
        return *corner;
    } else {
        const Vec<W> low = blend<A - 1, D, W>(corner, cell), high = blend<A - 1, D, W>(corner + (1 << A), cell);
        return low * cell.low[A] + high * cell.high[A];
    }
}

// A value and its derivative along each axis.
template <int D, class W>
struct Tangent {
    Vec<W> value;
    Vec<W> slope[D];
};

template <bool WITHIN, int A, int D, class W>
inline Tangent<D, W> blend_slopes(const Vec<W>* corner, const Cell<D, W>& cell) {
    Tangent<D, W> result;
    if constexpr (A < 0) {
        result.value = *corner;
    } else {
        const auto first = blend_slopes<WITHIN, A - 1, D, W>(corner, cell);
        const auto second = blend_slopes<WITHIN, A - 1, D, W>(corner + (1 << A), cell);
        const Vec<W> low = cell.low[A], high = cell.high[A];
        result.value = first.value * low + second.value * high;
        if constexpr (WITHIN)
            result.slope[A] = second.value - first.value;
        else
            result.slope[A] = first.value * cell.low_slope[A] + second.value * cell.high_slope[A];
        for (int d = 0; d < A; ++d) result.slope[d] = first.slope[d] * low + second.slope[d] * high;
    }
    return result;
}

template <int D, class W>
inline Tangent<D, W> slope_of_corners(const Vec<W>* corner, const Cell<D, W>& cell) {
    return cell.within ? blend_slopes<true, D - 1, D, W>(corner, cell) : blend_slopes<false, D - 1, D, W>(corner, cell);
}

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

// Values of one group of samples: calls `put` with each channel's.
template <int D, class T, class W, class B, class Put>
[[gnu::always_inline]] inline void read_group(
    const Job& job, const Axes<D, W>& axes, const B& block, int at, const T* source, const Plane& image,
    const Put& put) {
    const std::int64_t channels = job.channels, to_next = image.channel_stride;
    const double* const fill = job.fill;
    Cell<D, W> cell;
    if (job.mode == Mode::linear && find_cell<false, D, W>(axes, block, at, cell)) {
        for (std::int64_t c = 0; c < channels; ++c) {
            Vec<W> corner[1 << D];
            gather_corners<D - 1, D, T, W>(source + c * to_next, axes.step, cell, corner);
            Vec<W> value = blend<D - 1, D, W>(corner, cell);
            if (fill) value += W(fill[c]) * (1 - cell.inside());
            put(c, value);
        }
        return;
    }
    Int<W> nearest, valid;
    if (job.mode == Mode::nearest && find_nearest<D, W>(axes, block, at, nearest, valid)) {
        for (std::int64_t c = 0; c < channels; ++c) {
            const Vec<W> value = gather<T, W>(source + c * to_next, nearest);
            put(c, valid ? value : splat<W>(fill ? W(fill[c]) : W(0)));
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
        put(c, value);
    }
}

template <int D, class T, class W>
void forward_planar(const Job& job, const Plane& image, const Plane& out) {
    constexpr int lanes = Lanes<W>::count;
    const std::int64_t pieces = pieces_of(job);
    parallel_for(job.images * job.maps * pieces, job.threads, [&](std::int64_t item) {
        const std::int64_t map = item / pieces;
        const T* source = static_cast<const T*>(image.data) + map / job.maps * image.batch_stride;
        T* target = static_cast<T*>(out.data) + map * out.batch_stride;
        const Axes<D, W> axes(job, image.stride);
        const std::int64_t stride = out.stride[0], to_next = out.channel_stride;
        Block<D, W> block;
        for_blocks(job, item % pieces, [&](std::int64_t index) {
            locate<D, W>(job, map, index, block);
            for (int at = 0; at < block.count; at += lanes) {
                const int count = block.count - at < lanes ? block.count - at : lanes;
                T* to = target + (block.begin + at) * stride;
                read_group<D, T, W>(job, axes, block, at, source, image, [&](std::int64_t c, Vec<W> value) {
                    store_some<T, W>(to + c * to_next, stride, value, count);
                });
            }
        });
    });
}

// Gradient of the position (along each axis, in pixels) of one group of samples, summed over the channels.
template <int D, class T, class W, class B>
[[gnu::always_inline]] inline void slope_of_group(
    const Job& job, const Axes<D, W>& axes, const B& block, int at, int count, const T* source,
    const Plane& image, const W* gradient, const Plane& grad_out, Vec<W>* slope) {
    for (int d = 0; d < D; ++d) slope[d] = Vec<W>{};
    const auto add = [&](std::int64_t c, const Tangent<D, W>& read) {
        const Vec<W> g = load_some<W, W>(gradient + c * grad_out.channel_stride, grad_out.stride[0], count);
        for (int d = 0; d < D; ++d) slope[d] += g * read.slope[d];
    };
    Cell<D, W> cell;
    if (job.mode == Mode::linear && !job.fill && find_cell<true, D, W>(axes, block, at, cell)) {
        for (std::int64_t c = 0; c < job.channels; ++c) {
            Vec<W> corner[1 << D];
            gather_corners<D - 1, D, T, W>(source + c * image.channel_stride, axes.step, cell, corner);
            add(c, slope_of_corners<D, W>(corner, cell));
        }
        return;
    }
    Taps<D, W> taps;
    find_taps<D, W>(job, block, at, image.stride, 0, job.in_size[D - 1], taps);
    for (std::int64_t c = 0; c < job.channels; ++c) {
        const Vec<W> background = splat<W>(job.fill ? W(job.fill[c]) : W(0));
        add(c, slope_taps<D - 1, D, T, W>(source + c * image.channel_stride, Int<W>{}, taps, background));
    }
}

template <int D, class T, class W>
void points_planar(const Job& job, const Plane& image, const Plane& grad_out, void* grad_points) {
    constexpr int lanes = Lanes<W>::count;
    const std::int64_t pieces = pieces_of(job), maps = job.images * job.maps;
    std::vector<MatrixGradient<D>> partial(job.grid ? 0 : static_cast<std::size_t>(maps * pieces));
    parallel_for(maps * pieces, job.threads, [&](std::int64_t item) {
        const std::int64_t map = item / pieces;
        const T* source = static_cast<const T*>(image.data) + map / job.maps * image.batch_stride;
        const W* gradient = static_cast<const W*>(grad_out.data) + map * grad_out.batch_stride;
        const Axes<D, W> axes(job, image.stride);
        Block<D, W> block;
        MatrixGradient<D> total;
        for_blocks(job, item % pieces, [&](std::int64_t index) {
            locate<D, W>(job, map, index, block);
            SlopeSums<D, W> sums;
            for (int at = 0; at < block.count; at += lanes) {
                const int count = block.count - at < lanes ? block.count - at : lanes;
                Vec<W> slope[D];
                slope_of_group<D, T, W>(
                    job, axes, block, at, count, source, image, gradient + (block.begin + at) * grad_out.stride[0],
                    grad_out, slope);
                if (job.grid)
                    put_slopes<D, W>(job, map, block.begin + at, count, slope, grad_points);
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
