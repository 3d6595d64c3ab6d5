// Where samples read: a block of them at a time, from a matrix or from a grid in memory.
#pragma once

#include <algorithm>
#include <cmath>
#include <vector>

#include "bricks.h"
#include "simd.h"

namespace unwarp {
namespace UNWARP_ISA {

// Far beyond any picture, yet an exact integer in float32 and safe to turn into an index.
constexpr double farthest = 1073741824.0;
// As in maps/linear.py: at or beyond the horizon of a projective map (w <= 0) points are sent far out.
constexpr double horizon = 1e-3;

// In wide outputs a block is a piece of a row, and those below it come next, for so many rows: what they read lies
// together, while what a whole row reads under a rotation is spread over many pages of memory.
constexpr std::int64_t tile_rows = 64;

inline bool is_wide(const Job& job) { return job.ndim == 2 && job.out_size[0] >= 2 * block_size; }

// Of a wide output, the blocks that come after each other.
struct Tile {
    std::int64_t top, rows, left, width, first;  // `first` is the number of its first block

    Tile(const Job& job, std::int64_t index) {
        const std::int64_t across = (job.out_size[0] + block_size - 1) / block_size;
        top = index / (across * tile_rows) * tile_rows;
        rows = std::min(tile_rows, job.samples / job.out_size[0] - top);
        const std::int64_t column = (index - top * across) / rows;
        left = column * block_size;
        width = std::min<std::int64_t>(block_size, job.out_size[0] - left);
        first = top * across + column * rows;
    }
};

inline std::int64_t blocks_of(const Job& job) {
    if (job.bricks) return Brick::blocks_in_slice(job) * job.out_size[2];
    if (!is_wide(job)) return (job.samples + block_size - 1) / block_size;
    return (job.out_size[0] + block_size - 1) / block_size * (job.samples / job.out_size[0]);
}

// The samples of a block, which follow each other.
struct Span {
    std::int64_t begin;
    int count;

    Span(const Job& job, std::int64_t index) {
        std::int64_t end = job.samples;
        if (is_wide(job)) {
            const Tile tile(job, index);
            begin = (tile.top + index - tile.first) * job.out_size[0] + tile.left;
            end = begin + tile.width;
        } else if (job.bricks) {
            const Brick brick(job, index);
            const std::int64_t slice = brick.front + (index - brick.first) / brick.blocks;
            const std::int64_t row = slice * job.out_size[1] + brick.top;
            begin = row * job.out_size[0] + (index - brick.first) % brick.blocks * block_size;
            end = (row + brick.rows) * job.out_size[0];
        } else {
            begin = index * block_size;
        }
        count = static_cast<int>(std::min<std::int64_t>(block_size, end - begin));
    }
};

// Pixel positions of one block, not yet settled; infinite or NaN where a coordinate is not finite. Lanes past `count`
// repeat the last.
template <int D, class W>
struct Block {
    std::int64_t begin;
    int count;
    alignas(64) W position[D][block_size];
    alignas(64) W numbered[D][block_size + 64];
    const W* output[D];  // for matrices: output samples, counted from the centre; `numbered`, or kept by someone

    void take(Span span) {
        begin = span.begin;
        count = span.count;
    }
};

// A position that rounding alone may have moved off a pixel's centre goes back there. Beyond 2^22 (2^51) pixels, where
// the nearest integer is not found, nothing is that near to one.
template <class W>
inline Vec<W> settle(Vec<W> position, Vec<W> tolerance) {
    const Vec<W> centre = nearest_integer<W>(position);
    return magnitude<W>(centre - position) <= tolerance ? centre : position;
}

template <int D, class W>
inline void number_outputs(const Job& job, Block<D, W>& block) {
    constexpr int lanes = Lanes<W>::count;
    Vec<W> steps;
    for (int lane = 0; lane < lanes; ++lane) steps[lane] = W(lane);
    std::int64_t index[D], rest = block.begin;
    for (int d = 0; d < D; ++d) {
        index[d] = rest % job.out_size[d];
        rest /= job.out_size[d];
    }
    // A vector may run past the end of a row: the next row writes over it.
    auto& line = block.numbered;
    for (int at = 0; at < block.count;) {
        const std::int64_t left = job.out_size[0] - index[0];
        const int piece = left < block.count - at ? static_cast<int>(left) : block.count - at;
        W centred[D];
        for (int d = 0; d < D; ++d) centred[d] = W(index[d]) - W(job.out_size[d] - 1) / 2;
        for (int i = 0; i < piece; i += lanes) {
            store(&line[0][at + i], steps + (centred[0] + W(i)));
            for (int d = 1; d < D; ++d) store(&line[d][at + i], splat<W>(centred[d]));
        }
        at += piece;
        index[0] = 0;
        for (int d = 1; d < D && ++index[d] == job.out_size[d]; ++d) index[d] = 0;
    }
    const int padded = (block.count + lanes - 1) / lanes * lanes;
    for (int d = 0; d < D; ++d) {
        for (int i = block.count; i < padded; ++i) line[d][i] = line[d][block.count - 1];
        block.output[d] = line[d];
    }
}

// The output samples of all blocks, for those who go through them again and again.
template <int D, class W>
class Outputs {
   public:
    explicit Outputs(const Job& job) {
        if (job.grid || is_wide(job) || job.bricks || blocks_of(job) > most) return;
        Block<D, W> block;
        for (std::int64_t index = 0; index < blocks_of(job); ++index) {
            block.take(Span(job, index));
            number_outputs<D, W>(job, block);
            for (auto& line : block.numbered) numbers.insert(numbers.end(), line, line + block_size);
        }
    }

    // False where they are not kept.
    bool give(Block<D, W>& block) const {
        if (numbers.empty()) return false;
        for (int d = 0; d < D; ++d) block.output[d] = numbers.data() + block.begin * D + d * block_size;
        return true;
    }

   private:
    static constexpr std::int64_t most = 8;
    std::vector<W> numbers;
};

// The matrix of one map in the computing type.
template <int D, class W>
struct Matrix {
    W row[D + 1][D + 1];

    Matrix(const Job& job, std::int64_t map) {
        for (int i = 0; i <= D; ++i)
            for (int j = 0; j <= D; ++j) row[i][j] = static_cast<W>(job.matrix[(map * (D + 1) + i) * (D + 1) + j]);
    }

    template <class B>
    Vec<W> apply(int i, const B& block, int at) const {
        Vec<W> total = splat<W>(row[i][D]);
        for (int j = 0; j < D; ++j) total += row[i][j] * load<Vec<W>>(&block.output[j][at]);
        return total;
    }
};

// From a normalised coordinate of a grid to a position along an axis of so many pixels. BOUNDED positions are finite for
// finite points, and no numbers for others; who takes any that are far outside for the same can do without.
template <bool BOUNDED, class W>
[[gnu::always_inline]] inline Vec<W> position_of(W extent, Vec<W> point) {
    const Vec<W> position = point * (extent / 2) + (extent - 1) / 2;
    if constexpr (!BOUNDED) return position;
    // Finite points may lie too far to be told in pixels; they are far outside, not unknown.
    const Vec<W> limit = splat<W>(W(1e37));
    const Vec<W> bounded = max(min(position, limit), -limit);
    return (point - point) == 0 ? bounded : point - point;
}

// Points of a grid usually lie coordinate by coordinate; what reads wants their positions axis by axis.
template <bool BOUNDED, int D, class P, class W, class Put>
[[gnu::always_inline]] inline void for_points(const Job& job, const P* points, int count, const Put& put) {
    constexpr int lanes = Lanes<W>::count;
    const bool planar = job.planar_grid || D == 1;
    const std::int64_t step = planar ? 1 : D, to_axis = planar ? job.samples : 1;
    W extent[D];
    for (int d = 0; d < D; ++d) extent[d] = W(job.in_size[d]);
    const auto give = [&](int at, Vec<W>* axes) __attribute__((always_inline)) {
        for (int d = 0; d < D; ++d) axes[d] = position_of<BOUNDED, W>(extent[d], axes[d]);
        put(at, axes);
    };
    const int whole = count / lanes * lanes;
    Vec<W> axes[D];
    if (planar)
        for (int i = 0; i < whole; i += lanes) {
            for (int d = 0; d < D; ++d) axes[d] = load_some<P, W>(points + i + d * to_axis, 1, lanes);
            give(i, axes);
        }
    else
        for (int i = 0; i < whole; i += lanes) {
            load_apart<D, P, W>(points + i * D, axes);
            give(i, axes);
        }
    if (whole == count) return;
    for (int d = 0; d < D; ++d)
        for (int lane = 0; lane < lanes; ++lane) {
            const int i = std::min(whole + lane, count - 1);
            axes[d][lane] = static_cast<W>(points[i * step + d * to_axis]);
        }
    give(whole, axes);
}

// From the output coordinates of a block of samples.
template <int D, class W, class Put>
[[gnu::always_inline]] inline void for_outputs(
    const Job& job, const Matrix<D, W>& given, const Block<D, W>& block, const Put& put) {
    constexpr int lanes = Lanes<W>::count;
    // Copies: what the loop stores could be anything's, for all that the compiler knows.
    const Matrix<D, W> matrix = given;
    const bool projective = job.projective;
    W centre[D], far[D];
    for (int d = 0; d < D; ++d) {
        centre[d] = W(job.in_size[d] - 1) / 2;
        far[d] = W(job.in_size[d] / 2.0 / horizon);
    }
    for (int at = 0; at < block.count; at += lanes) {
        Vec<W> position[D], scale{}, w{};
        if (projective) {
            w = matrix.apply(D, block, at);
            scale = 1 / max(splat<W>(W(horizon)), w);  // not a number where w is none
        }
        for (int d = 0; d < D; ++d) {
            Vec<W> centred = matrix.apply(d, block, at);
            if (projective) {
                centred *= scale;
                const Vec<W> out = max(splat<W>(far[d]), magnitude<W>(centred));
                centred = w > W(horizon) ? centred : (centred < 0 ? -out : out);
            }
            position[d] = centred + centre[d];
        }
        put(at, position);
    }
}

// Makes a block the one with that number, and calls `put(at, positions)` for each group of its samples.
template <bool BOUNDED, int D, class W, class Put>
[[gnu::always_inline]] inline void for_positions(
    const Job& job, std::int64_t map, std::int64_t index, Block<D, W>& block, const Outputs<D, W>* kept, const Put& put) {
    block.take(Span(job, index));
    if (!job.grid) {
        if (!kept || !kept->give(block)) number_outputs<D, W>(job, block);
        return for_outputs<D, W>(job, Matrix<D, W>(job, map), block, put);
    }
    const std::int64_t first = map * job.grid_stride + block.begin * (job.planar_grid ? 1 : D);
    if (job.wide_grid)
        for_points<BOUNDED, D, double, W>(job, static_cast<const double*>(job.grid) + first, block.count, put);
    else
        for_points<BOUNDED, D, float, W>(job, static_cast<const float*>(job.grid) + first, block.count, put);
}

template <int D, class W>
void locate(
    const Job& job, std::int64_t map, std::int64_t index, Block<D, W>& block, const Outputs<D, W>* kept = nullptr) {
    const auto put = [&](int at, const Vec<W>* position) __attribute__((always_inline)) {
        for (int d = 0; d < D; ++d) store(&block.position[d][at], position[d]);
    };
    for_positions<true, D, W>(job, map, index, block, kept, put);
}

}  // namespace UNWARP_ISA
}  // namespace unwarp
