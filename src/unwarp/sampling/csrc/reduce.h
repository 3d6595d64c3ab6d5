// From the slopes of the samples to the gradient of what placed them: the points of a grid, or a matrix.
#pragma once

#include <vector>

#include "locate.h"
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

template <int D>
struct MatrixGradient {
    double entry[D + 1][D + 1] = {};
};

// Gradient of the normalised points of one group of samples, from that of their positions in pixels.
template <int D, class W>
inline void put_slopes(
    const Job& job, std::int64_t map, const Block<D, W>& block, int at, const Vec<W>* slope, void* grad_points) {
    const int count = lanes_left<W>(block.count, at);
    const auto put = [&](auto* points) {
        points += (map * job.samples + block.begin + at) * D;
        if constexpr (std::is_same_v<decltype(points), W*>)
            if (count == Lanes<W>::count) {
                Vec<W> scaled[D];
                for (int d = 0; d < D; ++d) scaled[d] = slope[d] * (W(job.in_size[d]) / 2);
                return store_together<D, W>(points, scaled);
            }
        for (int d = 0; d < D; ++d)
            for (int i = 0; i < count; ++i) points[i * D + d] = slope[d][i] * (W(job.in_size[d]) / 2);
    };
    if (job.wide_grid)
        put(static_cast<double*>(grad_points));
    else
        put(static_cast<float*>(grad_points));
}

// Sums over one block of samples towards the gradient of a matrix.
template <int D, class W>
struct SlopeSums {
    Vec<W> sums[D + 1][D + 1] = {};

    template <class B>
    [[gnu::always_inline]] void add(const Job& job, std::int64_t map, const B& block, int at, const Vec<W>* given) {
        Vec<W> slope[D];
        for (int d = 0; d < D; ++d) slope[d] = given[d];
        if (job.projective) {
            const Matrix<D, W> matrix(job, map);
            const Vec<W> w = matrix.apply(D, block, at);
            const Vec<W> scale = 1 / max(splat<W>(W(horizon)), w);
            const Int<W> ahead = w > W(horizon);
            Vec<W> of_w{};
            for (int d = 0; d < D; ++d) {
                const Vec<W> centred = matrix.apply(d, block, at) * scale;
                const Int<W> moves = ahead | (magnitude<W>(centred) >= W(job.in_size[d] / 2.0 / horizon));
                slope[d] = moves ? slope[d] * scale : Vec<W>{};
                of_w -= ahead ? slope[d] * centred : Vec<W>{};
            }
            add_row(D, block, at, of_w);
        }
        for (int d = 0; d < D; ++d) add_row(d, block, at, slope[d]);
    }

    template <class B>
    [[gnu::always_inline]] void add_row(int row, const B& block, int at, Vec<W> slope) {
        for (int j = 0; j < D; ++j) sums[row][j] += slope * load<Vec<W>>(&block.output[j][at]);
        sums[row][D] += slope;
    }

    void flush(const Job& job, MatrixGradient<D>& total) const {
        for (int r = 0; r < D + job.projective; ++r)
            for (int j = 0; j <= D; ++j) total.entry[r][j] += double(sum<W>(sums[r][j]));
    }
};

// One after the other, so that the sum is the same for any number of threads.
template <int D>
inline void add_pieces(const std::vector<MatrixGradient<D>>& partial, std::int64_t pieces, double* result) {
    const auto maps = static_cast<std::int64_t>(partial.size()) / pieces;
    for (std::int64_t map = 0; map < maps; ++map)
        for (int r = 0; r <= D; ++r)
            for (int j = 0; j <= D; ++j) {
                double total = 0;
                for (std::int64_t piece = 0; piece < pieces; ++piece)
                    total += partial[static_cast<std::size_t>(map * pieces + piece)].entry[r][j];
                *result++ = total;
            }
}

}  // namespace UNWARP_ISA
}  // namespace unwarp
