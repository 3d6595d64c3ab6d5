// Kernels that read one channel after the other: for few channels, any element type, any strides.
#pragma once

#include <vector>

#include "taps.h"
#include "threads.h"

namespace unwarp {
namespace UNWARP_ISA {

// Work is cut in pieces of fixed length, so that sums over pieces come out the same for any number of threads.
constexpr std::int64_t blocks_per_piece = 16;

inline std::int64_t pieces_of(const Job& job) { return (blocks_of(job) + blocks_per_piece - 1) / blocks_per_piece; }

template <class Work>
inline void for_blocks(const Job& job, std::int64_t piece, const Work& work) {
    const std::int64_t end = (piece + 1) * blocks_per_piece, all_blocks = blocks_of(job);
    for (std::int64_t b = piece * blocks_per_piece; b < end && b < all_blocks; ++b) work(b);
}

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

template <int D, class T, class W>
inline void read_pair(const T* plane, const Axes<D, W>& axes, const Cell<D, W>& cell, Vec<W>& low, Vec<W>& high) {
    if (axes.step[0] == 1) {
        gather_pair<T, W>(plane, cell.offset, low, high);
    } else {
        low = gather<T, W>(plane, cell.offset);
        high = gather<T, W>(plane + axes.step[0], cell.offset);
    }
}

template <int A, int D, class T, class W>
inline Vec<W> read_cell(const T* plane, const Axes<D, W>& axes, const Cell<D, W>& cell) {
    Vec<W> low, high;
    if constexpr (A == 0) {
        read_pair<D, T, W>(plane, axes, cell, low, high);
    } else {
        low = read_cell<A - 1, D, T, W>(plane, axes, cell);
        high = read_cell<A - 1, D, T, W>(plane + axes.step[A], axes, cell);
    }
    return low * cell.low[A] + high * cell.high[A];
}

// A value and its derivative along each axis.
template <int D, class W>
struct Tangent {
    Vec<W> value;
    Vec<W> slope[D];
};

template <int A, int D, class T, class W>
inline Tangent<D, W> slope_cell(const T* plane, const Axes<D, W>& axes, const Cell<D, W>& cell, Vec<W> background) {
    Tangent<D, W> result;
    if constexpr (A == 0) {
        Vec<W> low, high;
        read_pair<D, T, W>(plane, axes, cell, low, high);
        low -= background;
        high -= background;
        result.value = low * cell.low[0] + high * cell.high[0];
        result.slope[0] = low * cell.low_slope[0] + high * cell.high_slope[0];
    } else {
        const auto low = slope_cell<A - 1, D, T, W>(plane, axes, cell, background);
        const auto high = slope_cell<A - 1, D, T, W>(plane + axes.step[A], axes, cell, background);
        result.value = low.value * cell.low[A] + high.value * cell.high[A];
        result.slope[A] = low.value * cell.low_slope[A] + high.value * cell.high_slope[A];
        for (int d = 0; d < A; ++d) result.slope[d] = low.slope[d] * cell.low[A] + high.slope[d] * cell.high[A];
    }
    return result;
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

template <int D, class T, class W>
void forward_planar(const Job& job, const Plane& image, const Plane& out) {
    constexpr int lanes = Lanes<W>::count;
    const bool quiet_outside = reads_nothing_outside<D>(job);
    const std::int64_t pieces = pieces_of(job);
    parallel_for(job.images * job.maps * pieces, job.threads, [&](std::int64_t item) {
        const std::int64_t map = item / pieces;
        const T* source = static_cast<const T*>(image.data) + map / job.maps * image.batch_stride;
        T* target = static_cast<T*>(out.data) + map * out.batch_stride;
        const Axes<D, W> axes(job, image.stride);
        const std::int64_t channels = job.channels, from_next = image.channel_stride, to_next = out.channel_stride;
        const std::int64_t stride = out.stride[0];
        const double* const fill = job.fill;
        const bool linear = job.mode == Mode::linear;
        Block<D, W> block;
        for_blocks(job, item % pieces, [&](std::int64_t index) {
            locate<D, W>(job, map, index, block);
            for (int at = 0; at < block.count; at += lanes) {
                const int count = block.count - at < lanes ? block.count - at : lanes;
                T* to = target + (block.begin + at) * stride;
                Cell<D, W> cell;
                if (linear && find_cell<false, D, W>(axes, block, at, cell)) {
                    for (std::int64_t c = 0; c < channels; ++c) {
                        Vec<W> value = read_cell<D - 1, D, T, W>(source + c * from_next, axes, cell);
                        if (fill) value += W(fill[c]) * (1 - cell.inside());
                        store_some<T, W>(to + c * to_next, stride, value, count);
                    }
                    continue;
                }
                Taps<D, W> taps;
                find_taps<D, W>(job, block, at, image.stride, 0, job.in_size[D - 1], taps);
                const bool nothing = quiet_outside && all(taps.inside == 0);
                for (std::int64_t c = 0; c < channels; ++c) {
                    Vec<W> value{};
                    if (!nothing) value = read_taps<D - 1, D, T, W>(source + c * from_next, Int<W>{}, taps);
                    if (fill) value += W(fill[c]) * (1 - taps.inside);
                    store_some<T, W>(to + c * to_next, stride, value, count);
                }
            }
        });
    });
}

// Gradient of the position (along each axis, in pixels) of one group of samples, summed over the channels.
template <int D, class T, class W>
inline void slope_of_group(
    const Job& job, const Axes<D, W>& axes, const Block<D, W>& block, int at, int count, const T* source, const Plane& image, const W* gradient,
    const Plane& grad_out, Vec<W>* slope) {
    for (int d = 0; d < D; ++d) slope[d] = Vec<W>{};
    const auto add = [&](std::int64_t c, const Tangent<D, W>& read) {
        const Vec<W> g = load_some<W, W>(gradient + c * grad_out.channel_stride, grad_out.stride[0], count);
        for (int d = 0; d < D; ++d) slope[d] += g * read.slope[d];
    };
    const auto background = [&](std::int64_t c) { return splat<W>(job.fill ? W(job.fill[c]) : W(0)); };
    Cell<D, W> cell;
    if (job.mode == Mode::linear && find_cell<true, D, W>(axes, block, at, cell)) {
        for (std::int64_t c = 0; c < job.channels; ++c)
            add(c, slope_cell<D - 1, D, T, W>(source + c * image.channel_stride, axes, cell, background(c)));
        return;
    }
    Taps<D, W> taps;
    find_taps<D, W>(job, block, at, image.stride, 0, job.in_size[D - 1], taps);
    for (std::int64_t c = 0; c < job.channels; ++c)
        add(c, slope_taps<D - 1, D, T, W>(source + c * image.channel_stride, Int<W>{}, taps, background(c)));
}

template <int D, class T, class W>
void points_planar(const Job& job, const Plane& image, const Plane& grad_out, void* grad_points) {
    constexpr int lanes = Lanes<W>::count;
    constexpr int terms = (D + 1) * (D + 1);
    const std::int64_t pieces = pieces_of(job), maps = job.images * job.maps;
    std::vector<double> partial(job.grid ? 0 : static_cast<std::size_t>(maps * pieces * terms));

    parallel_for(maps * pieces, job.threads, [&](std::int64_t item) {
        const std::int64_t map = item / pieces;
        const T* source = static_cast<const T*>(image.data) + map / job.maps * image.batch_stride;
        const W* gradient = static_cast<const W*>(grad_out.data) + map * grad_out.batch_stride;
        const Axes<D, W> axes(job, image.stride);
        Block<D, W> block;
        double total[D + 1][D + 1] = {};
        for_blocks(job, item % pieces, [&](std::int64_t index) {
            locate<D, W>(job, map, index, block);
            Vec<W> sums[D + 1][D + 1] = {};
            for (int at = 0; at < block.count; at += lanes) {
                const int count = block.count - at < lanes ? block.count - at : lanes;
                Vec<W> slope[D + 1];
                slope_of_group<D, T, W>(
                    job, axes, block, at, count, source, image, gradient + (block.begin + at) * grad_out.stride[0], grad_out,
                    slope);
                if (job.grid) {
                    const auto put = [&](auto* points) {
                        points += (map * job.samples + block.begin + at) * D;
                        for (int d = 0; d < D; ++d)
                            for (int i = 0; i < count; ++i)
                                points[i * D + d] = slope[d][i] * (W(job.in_size[d]) / 2);
                    };
                    if (job.wide_grid)
                        put(static_cast<double*>(grad_points));
                    else
                        put(static_cast<float*>(grad_points));
                    continue;
                }
                int rows = D;
                if (job.projective) {
                    rows = D + 1;
                    const Matrix<D, W> matrix(job, map);
                    const Vec<W> w = matrix.apply(D, block, at);
                    const Vec<W> scale = 1 / max(w, splat<W>(W(horizon)));
                    const Int<W> ahead = w > W(horizon);
                    slope[D] = Vec<W>{};
                    for (int d = 0; d < D; ++d) {
                        const Vec<W> centred = matrix.apply(d, block, at) * scale;
                        const Int<W> moves = ahead | (magnitude<W>(centred) >= W(job.in_size[d] / 2.0 / horizon));
                        slope[d] = moves ? slope[d] * scale : Vec<W>{};
                        slope[D] -= ahead ? slope[d] * centred : Vec<W>{};
                    }
                }
                for (int r = 0; r < rows; ++r) {
                    for (int j = 0; j < D; ++j) sums[r][j] += slope[r] * load<Vec<W>>(&block.output[j][at]);
                    sums[r][D] += slope[r];
                }
            }
            for (int r = 0; r <= D; ++r)
                for (int j = 0; j <= D; ++j) total[r][j] += double(sum<W>(sums[r][j]));
        });
        if (!job.grid) std::memcpy(&partial[static_cast<std::size_t>(item * terms)], total, sizeof total);
    });
    if (job.grid) return;

    auto* result = static_cast<double*>(grad_points);
    for (std::int64_t map = 0; map < maps; ++map)
        for (int term = 0; term < terms; ++term) {
            double total = 0;
            for (std::int64_t piece = 0; piece < pieces; ++piece)
                total += partial[static_cast<std::size_t>((map * pieces + piece) * terms + term)];
            result[map * terms + term] = total;
        }
}

}  // namespace UNWARP_ISA
}  // namespace unwarp
