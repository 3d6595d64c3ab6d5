// Which pixels a group of samples reads along each axis, and with which weights: the twin of modes.py.
#pragma once

#include "locate.h"

namespace unwarp {
namespace UNWARP_ISA {

constexpr int most_taps = 6;

inline int taps_of(Mode mode) {
    switch (mode) {
        case Mode::nearest: return 1;
        case Mode::linear: return 2;
        case Mode::spline2: return 3;
        case Mode::cubic:
        case Mode::spline3: return 4;
        case Mode::spline4: return 5;
        default: return 6;
    }
}

// For one group of samples: along axis d, `count` taps at `offset` (in elements) with `weight`, and its derivative.
template <int D, class W>
struct Taps {
    int count;
    Int<W> offset[D][most_taps];
    Vec<W> weight[D][most_taps];
    Vec<W> slope[D][most_taps];
    Vec<W> inside;        // sum of the weights that lie in the picture
    Int<W> finite;
};

// Weights of the B-spline of a degree at `fraction` past a knot, and their derivatives (Cox and de Boor's recursion).
template <class W>
inline void spline_weights(int degree, Vec<W> fraction, Vec<W>* weight, Vec<W>* slope) {
    weight[0] = splat<W>(1);
    for (int j = 1; j <= degree; ++j) {
        if (j == degree) {
            slope[0] = -weight[0];
            for (int i = 1; i < degree; ++i) slope[i] = weight[i - 1] - weight[i];
            slope[degree] = weight[degree - 1];
        }
        Vec<W> saved{};
        for (int r = 0; r < j; ++r) {
            const Vec<W> share = weight[r] * (W(1) / W(j));
            weight[r] = saved + (W(r + 1) - fraction) * share;
            saved = (fraction + W(j - r - 1)) * share;
        }
        weight[j] = saved;
    }
}

// Keys' cubic convolution, slope -0.75.
template <class W>
inline void cubic_weights(Vec<W> f, Vec<W>* weight, Vec<W>* slope) {
    constexpr W a = W(-0.75);
    const auto near = [](Vec<W> x) { return ((a + 2) * x - (a + 3)) * x * x + 1; };
    const auto far = [](Vec<W> x) { return ((x - 5) * x + 8) * x * a - 4 * a; };
    const auto near_slope = [](Vec<W> x) { return (3 * (a + 2) * x - 2 * (a + 3)) * x; };
    const auto far_slope = [](Vec<W> x) { return ((3 * x - 10) * x + 8) * a; };
    weight[0] = far(f + 1), weight[1] = near(f), weight[2] = near(1 - f), weight[3] = far(2 - f);
    slope[0] = far_slope(f + 1), slope[1] = near_slope(f), slope[2] = -near_slope(1 - f), slope[3] = -far_slope(2 - f);
}

// Where a tap reads, in [0, count); -1 for nowhere.
inline std::int64_t fold(std::int64_t index, std::int64_t count, Padding padding) {
    if (index >= 0 && index < count) return index;
    if (padding == Padding::border) return index < 0 ? 0 : count - 1;
    if (padding == Padding::wrap) {
        const std::int64_t rest = index % count;
        return rest < 0 ? rest + count : rest;
    }
    if (padding == Padding::reflection) {
        std::int64_t rest = index % (2 * count);
        if (rest < 0) rest += 2 * count;
        return rest < count ? rest : 2 * count - 1 - rest;
    }
    return -1;
}

// Taps outside the picture, or along the last axis outside [low, high), have weight 0 and read something inside.
template <int D, class W, class B>
inline void find_taps(
    const Job& job, const B& block, int at, const std::int64_t* stride, std::int64_t low, std::int64_t high,
    Taps<D, W>& taps) {
    using V = Vec<W>;
    using I = Int<W>;
    taps.count = taps_of(job.mode);
    taps.inside = splat<W>(1);
    taps.finite = ~I{};
    for (int d = 0; d < D; ++d) {
        const V raw = load<V>(&block.position[d][at]);
        const I finite = (raw - raw) == 0;
        taps.finite &= finite;
        const V bounded = max(min(raw, splat<W>(W(farthest))), splat<W>(-W(farthest)));
        const V position = settle<W>(finite ? bounded : V{}, splat<W>(W(job.tolerance[d])));
        V first;
        V* weight = taps.weight[d];
        V* slope = taps.slope[d];
        switch (job.mode) {
            case Mode::nearest:
                first = floor<W>(position + (W(0.5) + W(job.tolerance[d])));
                weight[0] = splat<W>(1), slope[0] = V{};
                break;
            case Mode::linear: {
                first = floor<W>(position);
                const V fraction = position - first;
                weight[0] = 1 - fraction, weight[1] = fraction;
                slope[0] = splat<W>(-1), slope[1] = splat<W>(1);
                break;
            }
            case Mode::cubic:
                first = floor<W>(position);
                cubic_weights<W>(position - first, weight, slope);
                first -= 1;
                break;
            default: {
                const int degree = taps.count - 1;
                const V shifted = position + (degree % 2 ? W(0) : W(0.5));
                first = floor<W>(shifted);
                spline_weights<W>(degree, shifted - first, weight, slope);
                first -= W(degree / 2);
            }
        }
        const std::int64_t count = job.in_size[d];
        const Padding padding = job.padding[d];
        const I last = splat_int<W>(count - 1), zero{};
        V inside{};
        for (int k = 0; k < taps.count; ++k) {
            I index = to_int<W>(first) + splat_int<W>(k);
            I valid = (index >= zero) & (index <= last);
            if (padding == Padding::reflection || padding == Padding::wrap) {
                if (!all(valid))
                    for (int lane = 0; lane < Lanes<W>::count; ++lane)
                        index[lane] = static_cast<typename Lanes<W>::Index>(fold(index[lane], count, padding));
                valid = ~I{};
            } else {
                index = max(min(index, last), zero);
                if (padding == Padding::border) valid = ~I{};
            }
            inside += valid ? weight[k] : V{};
            if (d == D - 1 && (low > 0 || high < count)) {
                const I from = splat_int<W>(low), to = splat_int<W>(high - 1);
                valid &= (index >= from) & (index <= to);
                index = max(min(index, to), from);
            }
            valid &= taps.finite;
            weight[k] = valid ? weight[k] : V{};
            slope[k] = (valid & (bounded == raw)) ? slope[k] : V{};
            taps.offset[d][k] = index * splat_int<W>(stride[d]);
        }
        taps.inside *= inside;
    }
    // An axis that came after a coordinate that is not finite has masked its own taps only: one is enough.
    taps.inside = taps.finite ? taps.inside : V{};
}

}  // namespace UNWARP_ISA
}  // namespace unwarp
