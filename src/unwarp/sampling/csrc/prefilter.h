// From pixels to B-spline coefficients along one axis: the same system of equations for every line of pixels.
#pragma once

#include <algorithm>
#include <vector>

#include "job.h"
#include "simd.h"
#include "threads.h"

namespace unwarp {
namespace UNWARP_ISA {

// The matrix as a lower times an upper one, which needs no pivots: the diagonal is larger than all beside it.
template <class W>
struct Factors {
    struct Row {
        W before[2];  // below the diagonal, of the pixel one before and of that two before
        W scale;      // one over the diagonal
        W after[2];   // above it, scaled
    };
    std::vector<Row> rows;

    explicit Factors(const Equations& equations)
        : rows(static_cast<std::size_t>(equations.count + 2 * equations.around)) {
        struct Upper {
            double at[3];
        } last = {{1, 0, 0}}, second_last = last;
        const double* given = equations.diagonals;
        for (Row& row : rows) {
            const double far = given[0] / second_last.at[0];
            const double near = (given[1] - far * second_last.at[1]) / last.at[0];
            const Upper upper = {
                {given[2] - far * second_last.at[2] - near * last.at[1], given[3] - near * last.at[2], given[4]}};
            row.before[0] = static_cast<W>(near), row.before[1] = static_cast<W>(far);
            row.scale = static_cast<W>(1 / upper.at[0]);
            row.after[0] = static_cast<W>(upper.at[1] / upper.at[0]);
            row.after[1] = static_cast<W>(upper.at[2] / upper.at[0]);
            second_last = last, last = upper;
            given += 5;
        }
    }

    void solve(Vec<W>* line) const {
        Vec<W> near{}, far{};
        for (const Row& row : rows) {
            const Vec<W> value = *line - row.before[0] * near - row.before[1] * far;
            far = near, near = value;
            *line++ = value;
        }
        near = far = Vec<W>{};
        for (auto row = rows.rbegin(); row != rows.rend(); ++row) {
            const Vec<W> value = *--line * row->scale - row->after[0] * near - row->after[1] * far;
            far = near, near = value;
            *line = value;
        }
    }
};

// As many lines at a time as a vector has lanes.
template <class W>
void solve_lines(const Equations& equations, W* data) {
    constexpr int lanes = Lanes<W>::count;
    const Factors<W> factors(equations);
    const std::int64_t count = equations.count, inner = equations.inner, around = equations.around;
    const auto prepare = [&] { return std::vector<Vec<W>>(factors.rows.size()); };
    // Calls `work` with the offset of every pixel of a line, and with what is solved in its place.
    const auto for_pixels = [&](std::vector<Vec<W>>& line, const auto& work) {
        for (std::int64_t j = 0; j < count; ++j) work(j * inner, line[static_cast<std::size_t>(around + j)]);
    };
    const auto solve = [&](std::vector<Vec<W>>& line) {
        const auto copy = [&](std::int64_t to, std::int64_t from) {
            line[static_cast<std::size_t>(around + to)] = line[static_cast<std::size_t>(around + from)];
        };
        for (std::int64_t k = 0; k < around; ++k) {
            copy(count + k, k);
            copy(-1 - k, count - 1 - k);
        }
        factors.solve(line.data());
    };
    if (inner >= lanes) {
        const std::int64_t groups = (inner + lanes - 1) / lanes;
        parallel_for(equations.outer * groups, equations.threads, prepare, [&](std::int64_t item, auto& line) {
            const std::int64_t first = item % groups * lanes;
            const int width = static_cast<int>(std::min<std::int64_t>(lanes, inner - first));
            W* pixels = data + item / groups * count * inner + first;
            for_pixels(line, [&](auto at, Vec<W>& value) { value = load_some<W, W>(pixels + at, 1, width); });
            solve(line);
            for_pixels(line, [&](auto at, Vec<W>& value) { store_some<W, W>(pixels + at, 1, value, width); });
        });
        return;
    }
    const std::int64_t total = equations.outer * inner;
    parallel_for((total + lanes - 1) / lanes, equations.threads, prepare, [&](std::int64_t item, auto& line) {
        const std::int64_t first = item * lanes;
        const int width = static_cast<int>(std::min<std::int64_t>(lanes, total - first));
        const auto pixels = [&](int lane) {
            return data + (first + lane) / inner * count * inner + (first + lane) % inner;
        };
        for (int lane = 0; lane < width; ++lane)
            for_pixels(line, [&, from = pixels(lane)](auto at, Vec<W>& value) { value[lane] = from[at]; });
        solve(line);
        for (int lane = 0; lane < width; ++lane)
            for_pixels(line, [&, to = pixels(lane)](auto at, Vec<W>& value) { to[at] = value[lane]; });
    });
}

}  // namespace UNWARP_ISA
}  // namespace unwarp
