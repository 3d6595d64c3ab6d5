// Samples of many channels, of which a vector lies side by side: a tap is one load for each vector, and no gather.
#pragma once

#include "combinations.h"
#include "transpose.h"

namespace unwarp {
namespace UNWARP_ISA {

// The vectors of a pixel or sample: whole ones, and how many channels are left that fill none. The first begins where the
// pixel does, and the next lies `to_next` numbers further; those of a sample lie side by side.
struct Vectors {
    std::int64_t count;
    int rest;
    std::int64_t to_next;
};

template <int D, class W>
inline W weight_of(const Combinations<D, W>& taps, int i) {
    W total = 0;
    for (int k = 0; k < taps.count; ++k) total += taps.weight[static_cast<std::size_t>(k * block_size + i)];
    return total;
}

// What each channel shows where there is no image, if there is a fill. Zeros complete the last vector.
template <class W>
class Background {
   public:
    explicit Background(const Job& job) {
        constexpr std::int64_t lanes = Lanes<W>::count;
        if (!job.fill) return;
        fill.assign(job.fill, job.fill + job.channels);
        fill.resize(static_cast<std::size_t>((job.channels + lanes - 1) / lanes * lanes));
    }

    // Of that vector and those that follow it; null without a fill.
    const W* from(std::int64_t vector) const { return fill.empty() ? nullptr : fill.data() + vector * Lanes<W>::count; }

   private:
    std::vector<W> fill;
};

// Adds to a sample what shows as far as its taps read nothing.
template <int D, class W>
inline void add_background(
    const Combinations<D, W>& taps, int i, const W* background, const Vectors& vectors, W* sample) {
    const W outside = 1 - weight_of(taps, i);
    const std::int64_t channels = vectors.count * Lanes<W>::count + vectors.rest;
    for (std::int64_t c = 0; c < channels; ++c) sample[c] += outside * background[c];
}

// Reads one sample, which is located in `taps`. N is the number of taps where that is known when compiling, else 0.
template <int N, int D, class W>
[[gnu::always_inline]] inline void read_vectors(
    const Combinations<D, W>& taps, int i, const W* source, const Vectors& vectors, W* sample) {
    constexpr int lanes = Lanes<W>::count;
    const auto* offset = taps.offset.data() + i;
    const W* weight = taps.weight.data() + i;
    // Kept in registers, where their number is known: what is stored could be anything's, for all that the compiler knows.
    constexpr int kept = N ? N : 1;
    Vec<W> weights[kept];
    const W* from[kept];
    for (int k = 0; k < N; ++k) weights[k] = splat<W>(weight[k * block_size]), from[k] = source + offset[k * block_size];
    const auto blend = [&](std::int64_t at, const auto& read) __attribute__((always_inline)) {
        Vec<W> total{};
        if constexpr (N > 0)
            for (int k = 0; k < N; ++k) total += weights[k] * read(from[k] + at);
        else
            for (int k = 0; k < taps.count; ++k)
                total += weight[k * block_size] * read(source + offset[k * block_size] + at);
        return total;
    };
    const std::int64_t count = vectors.count, to_next = vectors.to_next;
    const int rest = vectors.rest;
    for (std::int64_t v = 0; v < count; ++v)
        store(sample + v * lanes, blend(v * to_next, [](const W* at) { return load<Vec<W>>(at); }));
    if (!rest) return;
    const Vec<W> last = blend(count * to_next, [&](const W* at) { return load_some<W, W>(at, 1, rest); });
    store_some<W, W>(sample + count * lanes, 1, last, rest);
}

// The other way round: adds a sample's gradient to what it read.
template <int N, int D, class W>
[[gnu::always_inline]] inline void give_vectors(
    const Combinations<D, W>& taps, int i, const W* gradient, W* target, const Vectors& vectors) {
    constexpr int lanes = Lanes<W>::count;
    const auto* offset = taps.offset.data() + i;
    const W* weight = taps.weight.data() + i;
    const std::int64_t count = vectors.count, to_next = vectors.to_next;
    if constexpr (N > 0) {
        W weights[N];
        W* to[N];
        for (int k = 0; k < N; ++k) weights[k] = weight[k * block_size], to[k] = target + offset[k * block_size];
        for (std::int64_t v = 0; v < count; ++v) {
            const Vec<W> given = load<Vec<W>>(gradient + v * lanes);
            for (int k = 0; k < N; ++k)
                if (weights[k] != 0) store(to[k] + v * to_next, load<Vec<W>>(to[k] + v * to_next) + weights[k] * given);
        }
    } else {
        for (int k = 0; k < taps.count; ++k) {
            const W of_tap = weight[k * block_size];
            if (of_tap == 0) continue;
            W* to = target + offset[k * block_size];
            for (std::int64_t v = 0; v < count; ++v, to += to_next)
                store(to, load<Vec<W>>(to) + of_tap * load<Vec<W>>(gradient + v * lanes));
        }
    }
    const int rest = vectors.rest;
    if (!rest) return;
    const Vec<W> given = load_some<W, W>(gradient + count * lanes, 1, rest);
    for (int k = 0; k < (N ? N : taps.count); ++k) {
        const W of_tap = weight[k * block_size];
        if (of_tap == 0) continue;
        W* to = target + offset[k * block_size] + count * to_next;
        store_some<W, W>(to, 1, load_some<W, W>(to, 1, rest) + of_tap * given, rest);
    }
}

// The slopes of a vector of samples along each axis, times their gradients and summed over the channels. The first is the
// block's `at`th; `gradient` is that of the first of `count`, the next lies `step` numbers further, and `background` is what
// each channel is compared with, if that is not zero.
template <int N, int D, class W>
[[gnu::always_inline]] inline void slopes_of_vectors(
    const Combinations<D, W>& taps, int at, int count, const W* source, const Vectors& vectors, const W* background,
    const W* gradient, std::int64_t step, Vec<W>* slope) {
    constexpr int lanes = Lanes<W>::count, together = N ? N : 1;
    const std::int64_t whole = vectors.count, to_next = vectors.to_next;
    const int rest = vectors.rest;
    Vec<W> products[together][lanes], behind{};
    for (int k = 0; k < together; ++k)
        for (int i = count; i < lanes; ++i) products[k][i] = Vec<W>{};
    // Of one sample with what `taken` pixels or backgrounds show, a vector of channels further on each time.
    const auto multiply = [&](int i, int taken, const W* const* from, std::int64_t further) __attribute__((always_inline)) {
        const W* given = gradient + i * step;
        Vec<W> product[together] = {};
        for (std::int64_t v = 0; v < whole; ++v)
            for (int k = 0; k < taken; ++k)
                product[k] += load<Vec<W>>(given + v * lanes) * load<Vec<W>>(from[k] + v * further);
        if (rest) {
            const Vec<W> last = load_some<W, W>(given + whole * lanes, 1, rest);
            for (int k = 0; k < taken; ++k) product[k] += last * load_some<W, W>(from[k] + whole * further, 1, rest);
        }
        for (int k = 0; k < taken; ++k) products[k][i] = product[k];
    };
    if (background) {
        for (int i = 0; i < count; ++i) multiply(i, 1, &background, lanes);
        behind = sums<W>(products[0]);
    }
    for (int d = 0; d < D; ++d) slope[d] = Vec<W>{};
    for (int first = 0; first < taps.count; first += together) {
        for (int i = 0; i < count; ++i) {
            const W* from[together];
            for (int k = 0; k < together; ++k)
                from[k] = source + taps.offset[static_cast<std::size_t>((first + k) * block_size + at + i)];
            multiply(i, together, from, to_next);
        }
        for (int k = 0; k < together; ++k) {
            const Vec<W> seen = sums<W>(products[k]) - behind;
            for (int d = 0; d < D; ++d)
                slope[d] += load<Vec<W>>(&taps.slope[d][static_cast<std::size_t>((first + k) * block_size + at)]) * seen;
        }
    }
}

}  // namespace UNWARP_ISA
}  // namespace unwarp
