// The gradient of an image begins at zero. It lies without gaps, channel after channel or with the channels of a pixel side
// by side.
#pragma once

#include <algorithm>

#include "job.h"

namespace unwarp {
namespace UNWARP_ISA {

// Pixels of one channel, per step along the last axis.
template <int D>
inline std::int64_t pixels_per_step(const Job& job) {
    std::int64_t pixels = 1;
    for (int d = 0; d < D - 1; ++d) pixels *= job.in_size[d];
    return pixels;
}

// Sets the pixels [low, high) along the last axis to zero, in the channels [first, last).
template <int D, class W>
inline void clear(
    const Job& job, const Plane& plane, W* image, std::int64_t low, std::int64_t high, std::int64_t first,
    std::int64_t last) {
    const std::int64_t begin = low * pixels_per_step<D>(job), end = high * pixels_per_step<D>(job);
    if (job.channels > 1 && plane.channel_stride == 1)
        for (std::int64_t pixel = begin; pixel < end; ++pixel)
            std::fill_n(image + pixel * job.channels + first, last - first, W(0));
    else
        for (std::int64_t c = first; c < last; ++c) std::fill_n(image + c * plane.channel_stride + begin, end - begin, W(0));
}

}  // namespace UNWARP_ISA
}  // namespace unwarp
