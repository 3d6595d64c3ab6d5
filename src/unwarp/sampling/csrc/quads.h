// The gradient of images with three or four channels: those of a pixel lie side by side in a copy, and what a sample gives
// to two neighbours is one addition for all of them.
#pragma once

#include "cells.h"
#include "clear.h"

namespace unwarp {
namespace UNWARP_ISA {

#if defined(__AVX2__)
template <class W>
constexpr bool has_quads = std::is_same_v<W, float>;
#else
template <class W>
constexpr bool has_quads = false;
#endif

// A copy takes memory beside the gradient itself: no more than so many bytes for an image.
constexpr std::int64_t most_quads = std::int64_t(64) << 20;

// Never asks for the number of threads: the sums of the two ways differ in their last bits.
template <int D>
inline bool fits_quads(const Job& job, const Plane& grad_image) {
    const std::int64_t pixels = job.in_size[D - 1] * pixels_per_step<D>(job);
    const bool few = job.channels == 3 || job.channels == 4;
    return few && job.mode == Mode::linear && !job.footprints && grad_image.channel_stride != 1 && job.in_size[0] > 1 &&
           2 * job.maps * job.samples >= pixels && pixels * 4 * std::int64_t(sizeof(float)) <= most_quads;
}

// The pixels [low, high) along the last axis of one image, four floats each.
template <int D>
class Quads {
   public:
    // All zero. The plane's data are those of the image's first pixel, whether that is among them or not.
    Plane clear(const Job& job, std::int64_t low, std::int64_t high) {
        Plane plane{};
        plane.channel_stride = 1;
        std::int64_t values = 4;
        for (int d = 0; d < D; ++d) {
            plane.stride[d] = values;
            values *= d == D - 1 ? high - low : job.in_size[d];
        }
        // Whole vectors of pixels are read.
        memory.assign(static_cast<std::size_t>(values + 4 * lanes), 0.0f);
        plane.data = memory.data() - low * plane.stride[D - 1];
        return plane;
    }

    void write(const Job& job, std::int64_t low, std::int64_t high, const Plane& plane, float* image) const {
        alignas(64) std::int32_t offset[lanes];
        for (int lane = 0; lane < lanes; ++lane) offset[lane] = 4 * lane;
        const std::int64_t pixels = (high - low) * pixels_per_step<D>(job);
        float* const to = image + low * pixels_per_step<D>(job);
        for (std::int64_t at = 0; at < pixels; at += lanes) {
            const int count = static_cast<int>(std::min<std::int64_t>(pixels - at, lanes));
            F32 channel[4];
            read_fours(memory.data() + 4 * at, offset, channel);
            for (int c = 0; c < job.channels; ++c)
                store_some<float, float>(to + at + c * plane.channel_stride, 1, channel[c], count);
        }
    }

   private:
    static constexpr int lanes = Lanes<float>::count;
    std::vector<float> memory;
};

// Gives to cells of `Quads`.
template <int D>
class QuadGiver {
   public:
    // False where a sample's taps fold back from outside.
    bool find(const Axes<D, float>& axes, const Block<D, float>& block) {
        const int end = cells.take(0, block.count, [&](int at, Cell<D, float>& cell) {
            return find_cell<false, D, float>(axes, block, at, cell);
        });
        std::copy_n(axes.step, D, step);
        return end >= block.count;
    }

    // `gradient(c, stride)` points to that of the block's first sample in channel c.
    template <class Gradient>
    void give(std::int64_t channels, int count, const Gradient& gradient, float* first, std::int64_t) {
#if defined(__AVX2__)
        for (int at = 0; at < count; at += lanes) prepare(channels, at, lanes_left<float>(count, at), gradient);
        // Copies: what is stored could be anything's, for all that the compiler knows.
        float* row[rows];
        find_rows<D, float>(first, step, row);
        // Neighbouring samples give to the same pixels; taken four apart, one addition need not wait for the last.
        for (int lane = 0; lane < 4; ++lane)
            for (int sample = lane; sample < count; sample += 4) {
                const int group = sample / lanes * lanes;
                const auto* four = reinterpret_cast<const __m128*>(&quad[4 * group + lane * lanes + sample - group - lane]);
                const __m256 low = _mm256_broadcast_ss(&cells.low[0][sample]);
                const __m256 high = _mm256_broadcast_ss(&cells.high[0][sample]);
                const __m256 both = _mm256_blend_ps(low, high, 0xf0) * _mm256_broadcast_ps(four);
                const std::int64_t offset = cells.offset[sample];
                for (int r = 0; r < rows; ++r) {
                    float* to = row[r] + offset;
                    _mm256_storeu_ps(to, _mm256_loadu_ps(to) + both * _mm256_broadcast_ss(&weight[r][sample]));
                }
            }
#else
        (void)channels, (void)count, (void)gradient, (void)first;
#endif
    }

   private:
    static constexpr int lanes = Lanes<float>::count, rows = 1 << (D - 1);
    Cells<D, float> cells;
    std::int64_t step[D];
    // The gradients of a vector of samples, all channels of each: of every fourth sample from the first on, then from the
    // second on, and so on.
    alignas(64) float quad[4 * block_size];
    alignas(64) float weight[rows][block_size];  // of each row of a cell

#if defined(__AVX2__)
    template <class Gradient>
    [[gnu::always_inline]] void prepare(std::int64_t channels, int at, int count, const Gradient& gradient) {
        F32 of_channel[4] = {}, fours[4];
        for (int c = 0; c < channels; ++c) {
            std::int64_t stride;
            const float* from = gradient(c, stride);
            of_channel[c] = load_some<float, float>(from + at * stride, stride, count);
        }
        turn_quarters(of_channel, fours);
        for (int i = 0; i < 4; ++i) store(&quad[4 * at + i * lanes], fours[i]);
        for (int r = 0; r < rows; ++r) {
            F32 product = splat<float>(1);
            for (int d = 1; d < D; ++d) product *= load<F32>(r >> (d - 1) & 1 ? &cells.high[d][at] : &cells.low[d][at]);
            store(&weight[r][at], product);
        }
    }
#endif
};

}  // namespace UNWARP_ISA
}  // namespace unwarp
