// Large volumes that are turned. Rows of samples cross rows of pixels there, and the pixels come from memory one by one, as no
// processor foresees them. So the output is cut in bricks, some rows of some slices: what a brick reads lies together, and
// can be fetched in order first (foresight.h).
#pragma once

#include <algorithm>
#include <cmath>

#include "job.h"

namespace unwarp {

// Where an output sample reads, in pixels, more or less: for a look ahead. Not a number where nobody knows.
inline void foresee(const Job& job, std::int64_t map, const std::int64_t* sample, double* position) {
    const int D = job.ndim;
    if (job.grid) {
        std::int64_t number = 0;
        for (int d = D - 1; d >= 0; --d) number = number * job.out_size[d] + sample[d];
        const std::int64_t step = job.planar_grid ? 1 : D, to_axis = job.planar_grid ? job.samples : 1;
        for (int d = 0; d < D; ++d) {
            const std::int64_t at = map * job.grid_stride + number * step + d * to_axis;
            const double point =
                job.wide_grid ? static_cast<const double*>(job.grid)[at] : static_cast<const float*>(job.grid)[at];
            const auto extent = static_cast<double>(job.in_size[d]);
            position[d] = (point * extent + extent - 1) / 2;
        }
        return;
    }
    const double* row = job.matrix + map * (D + 1) * (D + 1);
    double mapped[4];
    for (int i = 0; i <= D; ++i, row += D + 1) {
        mapped[i] = row[D];
        for (int j = 0; j < D; ++j)
            mapped[i] += row[j] * (static_cast<double>(sample[j]) - static_cast<double>(job.out_size[j] - 1) / 2);
    }
    const double scale = mapped[D] > 0 ? 1 / mapped[D] : NAN;
    for (int d = 0; d < D; ++d) position[d] = mapped[d] * scale + static_cast<double>(job.in_size[d] - 1) / 2;
}

// Rows are looked at in pieces of so many samples: what a long turned row reads lies in a box much larger than itself.
constexpr std::int64_t piece_size = 64;

// Whether a piece of a row, between two positions, leaves the row of pixels it begins in.
inline bool is_turned(const Job& job, const double* first, const double* last) {
    for (int d = 1; d < job.ndim; ++d)
        if (!(std::abs(last[d] - first[d]) < 1)) return true;
    return false;
}

// Looks at three rows in each of three slices of each map.
inline bool wants_bricks(const Job& job) {
    constexpr std::int64_t large = 1 << 21;  // values, 8 MiB of float32
    if (job.ndim != 3 || job.footprints || job.samples == 0) return false;
    if (job.channels * job.in_size[0] * job.in_size[1] * job.in_size[2] < large) return false;
    for (std::int64_t map = 0; map < job.images * job.maps; ++map)
        for (int row = 0; row < 9; ++row)
            for (std::int64_t left = 0; left < job.out_size[0]; left += piece_size) {
                std::int64_t sample[3] = {left, row % 3 * (job.out_size[1] - 1) / 2, row / 3 * (job.out_size[2] - 1) / 2};
                double first[3], last[3];
                foresee(job, map, sample, first);
                sample[0] = std::min(left + piece_size, job.out_size[0]) - 1;
                foresee(job, map, sample, last);
                if (is_turned(job, first, last)) return true;
            }
    return false;
}

struct Brick {
    std::int64_t front, slices, top, rows;
    std::int64_t blocks;  // in each slice
    std::int64_t first;   // number of its first block

    // The one that a block is in.
    Brick(const Job& job, std::int64_t index) {
        const std::int64_t in_slice = blocks_in_slice(job), deep = depth(job), in_rows = blocks_in_rows(job, most_rows);
        front = index / (in_slice * deep) * deep;
        slices = std::min(deep, job.out_size[2] - front);
        const std::int64_t band = (index - front * in_slice) / (in_rows * slices);
        top = band * most_rows;
        rows = std::min(most_rows, job.out_size[1] - top);
        blocks = blocks_in_rows(job, rows);
        first = front * in_slice + band * in_rows * slices;
    }

    // Of the whole output.
    static std::int64_t blocks_in_slice(const Job& job) {
        return job.out_size[1] / most_rows * blocks_in_rows(job, most_rows) +
               blocks_in_rows(job, job.out_size[1] % most_rows);
    }

   private:
    static constexpr std::int64_t most_rows = 16, most_slices = 16, most_values = 1 << 16;

    static std::int64_t blocks_in_rows(const Job& job, std::int64_t rows) {
        return (rows * job.out_size[0] + block_size - 1) / block_size;
    }
    static std::int64_t depth(const Job& job) {
        return std::clamp<std::int64_t>(most_values / (job.channels * job.out_size[0] * most_rows), 4, most_slices);
    }
};

}  // namespace unwarp
