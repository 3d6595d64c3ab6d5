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

// A group of samples whose linear taps all lie in the picture, as nearly all do: offsets and fractions, no weights.
template <int D, class W>
struct Cell {
    Int<W> offset;
    Vec<W> fraction[D];
};

template <int D, class W>
inline bool find_cell(const Job& job, const Block<D, W>& block, int at, const std::int64_t* stride, Cell<D, W>& cell) {
    Int<W> inside = ~Int<W>{};
    Vec<W> position[D];
    for (int d = 0; d < D; ++d) {
        position[d] = load<Vec<W>>(&block.position[d][at]);
        inside &= (position[d] >= 0) & (position[d] < W(job.in_size[d] - 1));
    }
    if (!all(inside)) return false;
    cell.offset = Int<W>{};
    for (int d = 0; d < D; ++d) {
        const Int<W> first = to_int<W>(position[d]);
        cell.fraction[d] = position[d] - to_float<W>(first);
        cell.offset += d == 0 && stride[0] == 1 ? first : first * splat_int<W>(stride[d]);
    }
    return true;
}

template <int A, int D, class T, class W>
inline Vec<W> read_cell(const T* plane, const std::int64_t* stride, const Cell<D, W>& cell) {
    Vec<W> low, high;
    if constexpr (A == 0) {
        if (stride[0] == 1) {
            gather_pair<T, W>(plane, cell.offset, low, high);
        } else {
            low = gather<T, W>(plane, cell.offset);
            high = gather<T, W>(plane + stride[0], cell.offset);
        }
    } else {
        low = read_cell<A - 1, D, T, W>(plane, stride, cell);
        high = read_cell<A - 1, D, T, W>(plane + stride[A], stride, cell);
    }
    return low + cell.fraction[A] * (high - low);
}

// A value and its derivative along each axis.
template <int D, class W>
struct Tangent {
    Vec<W> value;
    Vec<W> slope[D];
};

template <int A, int D, class T, class W>
inline Tangent<D, W> slope_cell(const T* plane, const std::int64_t* stride, const Cell<D, W>& cell) {
    Tangent<D, W> result;
    const Vec<W> f = cell.fraction[A];
    if constexpr (A == 0) {
        Vec<W> low, high;
        if (stride[0] == 1) {
            gather_pair<T, W>(plane, cell.offset, low, high);
        } else {
            low = gather<T, W>(plane, cell.offset);
            high = gather<T, W>(plane + stride[0], cell.offset);
        }
        result.slope[0] = high - low;
        result.value = low + f * result.slope[0];
    } else {
        const auto low = slope_cell<A - 1, D, T, W>(plane, stride, cell);
        const auto high = slope_cell<A - 1, D, T, W>(plane + stride[A], stride, cell);
        result.slope[A] = high.value - low.value;
        result.value = low.value + f * result.slope[A];
        for (int d = 0; d < A; ++d) result.slope[d] = low.slope[d] + f * (high.slope[d] - low.slope[d]);
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
        Block<D, W> block;
        for_blocks(job, item % pieces, [&](std::int64_t index) {
            locate<D, W>(job, map, index, block);
            for (int at = 0; at < block.count; at += lanes) {
                const int count = block.count - at < lanes ? block.count - at : lanes;
                T* to = target + (block.begin + at) * out.stride[0];
                const auto put = [&](std::int64_t c, Vec<W> value) {
                    store_some<T, W>(to + c * out.channel_stride, out.stride[0], value, count);
                };
                Cell<D, W> cell;
                if (job.mode == Mode::linear && find_cell<D, W>(job, block, at, image.stride, cell)) {
                    for (std::int64_t c = 0; c < job.channels; ++c)
                        put(c, read_cell<D - 1, D, T, W>(source + c * image.channel_stride, image.stride, cell));
                    continue;
                }
                Taps<D, W> taps;
                find_taps<D, W>(job, block, at, image.stride, 0, job.in_size[D - 1], taps);
                const bool nothing = quiet_outside && all(taps.inside == 0);
                for (std::int64_t c = 0; c < job.channels; ++c) {
                    Vec<W> value{};
                    if (!nothing)
                        value = read_taps<D - 1, D, T, W>(source + c * image.channel_stride, Int<W>{}, taps);
                    if (job.fill) value += W(job.fill[c]) * (1 - taps.inside);
                    put(c, value);
                }
            }
        });
    });
}

// Gradient of the position (along each axis, in pixels) of one group of samples, summed over the channels.
template <int D, class T, class W>
inline void slope_of_group(
    const Job& job, const Block<D, W>& block, int at, int count, const T* source, const Plane& image, const W* gradient,
    const Plane& grad_out, Vec<W>* slope) {
    for (int d = 0; d < D; ++d) slope[d] = Vec<W>{};
    const auto add = [&](std::int64_t c, const Tangent<D, W>& read) {
        const Vec<W> g = load_some<W, W>(gradient + c * grad_out.channel_stride, grad_out.stride[0], count);
        for (int d = 0; d < D; ++d) slope[d] += g * read.slope[d];
    };
    Cell<D, W> cell;
    if (job.mode == Mode::linear && find_cell<D, W>(job, block, at, image.stride, cell)) {
        for (std::int64_t c = 0; c < job.channels; ++c)
            add(c, slope_cell<D - 1, D, T, W>(source + c * image.channel_stride, image.stride, cell));
        return;
    }
    Taps<D, W> taps;
    find_taps<D, W>(job, block, at, image.stride, 0, job.in_size[D - 1], taps);
    if (reads_nothing_outside<D>(job) && job.mode == Mode::linear && all(taps.inside == 0)) {
        // Nothing to read; but a sample exactly at the last tap has a slope without a weight.
        Int<W> any{};
        for (int d = 0; d < D; ++d)
            for (int k = 0; k < taps.count; ++k) any |= (taps.slope[d][k] != 0);
        if (none(any)) return;
    }
    for (std::int64_t c = 0; c < job.channels; ++c) {
        const Vec<W> background = splat<W>(job.fill ? W(job.fill[c]) : W(0));
        add(c, slope_taps<D - 1, D, T, W>(source + c * image.channel_stride, Int<W>{}, taps, background));
    }
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
        Block<D, W> block;
        double total[D + 1][D + 1] = {};
        for_blocks(job, item % pieces, [&](std::int64_t index) {
            locate<D, W>(job, map, index, block);
            Vec<W> sums[D + 1][D + 1] = {};
            for (int at = 0; at < block.count; at += lanes) {
                const int count = block.count - at < lanes ? block.count - at : lanes;
                Vec<W> slope[D + 1];
                slope_of_group<D, T, W>(
                    job, block, at, count, source, image, gradient + (block.begin + at) * grad_out.stride[0], grad_out,
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
