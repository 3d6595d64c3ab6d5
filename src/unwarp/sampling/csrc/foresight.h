// Fetching what the next part of an output reads, or adds to: a tile of a wide picture, or a brick of a volume. No processor
// foresees in which order a turned row comes to its pixels, so each sample would wait for memory.
#pragma once

#include "gather.h"
#include "locate.h"

namespace unwarp {
namespace UNWARP_ISA {

// Of one thread and one plane of pixels, of which only [low, high) along the last axis are touched.
template <int D>
class Foresight {
   public:
    Foresight(const Job& job, const Plane& image, std::int64_t low, std::int64_t high)
        : job(job), image(image), low(low), high(high) {
        const bool in_rows = image.stride[0] == 1 || (image.channel_stride == 1 && image.stride[0] <= job.channels + 1);
        std::int64_t values = job.channels;
        for (int d = 0; d < D; ++d) values *= job.in_size[d];
        looks = in_rows && values >= small && !job.footprints && (job.bricks || is_wide(job));
    }

    // To be called for each block; `source` is the pixel 0 of the image's first channel.
    template <class T>
    void look(std::int64_t map, std::int64_t index, const T* source) {
        if (!looks) return;
        if constexpr (D == 2) {
            const Tile tile(job, index);
            if (is_new(map, tile.first)) {
                const std::int64_t begin[] = {tile.left, tile.top}, extent[] = {tile.width, tile.rows};
                fetch_part(begin, extent, source);
            }
        }
        if constexpr (D == 3) {
            const Brick brick(job, index);
            if (is_new(map, brick.first)) {
                const std::int64_t begin[] = {0, brick.top, brick.front};
                const std::int64_t extent[] = {job.out_size[0], brick.rows, brick.slices};
                fetch_part(begin, extent, source);
            }
        }
    }

   private:
    static constexpr std::int64_t small = 1 << 18;  // what a processor's own cache holds
    const Job& job;
    const Plane image;
    const std::int64_t low, high;
    std::int64_t current_map = -1, current_part = -1;
    bool looks;

    bool is_new(std::int64_t map, std::int64_t part) {
        if (map == current_map && part == current_part) return false;
        current_map = map;
        current_part = part;
        return true;
    }

    // Piece by piece of its rows.
    template <class T>
    void fetch_part(const std::int64_t* begin, const std::int64_t* extent, const T* source) const {
        std::int64_t from[D], size[D];
        std::copy_n(begin, D, from);
        std::copy_n(extent, D, size);
        for (std::int64_t left = 0; left < extent[0]; left += piece_size) {
            from[0] = begin[0] + left;
            size[0] = std::min(piece_size, extent[0] - left);
            fetch_piece(from, size, source);
        }
    }

    // The box around the corners of the piece, where that is not much larger than the piece itself.
    template <class T>
    void fetch_piece(const std::int64_t* begin, const std::int64_t* extent, const T* source) const {
        double corner[1 << D][D];
        for (int k = 0; k < 1 << D; ++k) {
            std::int64_t sample[D];
            for (int d = 0; d < D; ++d) sample[d] = begin[d] + (k >> d & 1 ? extent[d] - 1 : 0);
            foresee(job, current_map, sample, corner[k]);
        }
        if (!is_turned(job, corner[0], corner[1])) return;  // such rows are foreseen
        std::int64_t first[3] = {}, count[3] = {1, 1, 1}, pixels = 1, samples = 1;
        for (int d = 0; d < D; ++d) {
            double least = corner[0][d], most = least;
            for (const auto& other : corner) least = std::min(least, other[d]), most = std::max(most, other[d]);
            const auto begins = static_cast<double>(d == D - 1 ? low : 0);
            const auto ends = static_cast<double>(d == D - 1 ? high : job.in_size[d]);
            // What is not a number is not greater, either.
            first[d] = static_cast<std::int64_t>(least > begins ? std::min(least, ends) : begins);
            count[d] = static_cast<std::int64_t>(most + 2 > begins ? std::min(most + 2, ends) : begins) - first[d];
            if (count[d] <= 0) return;
            pixels *= count[d];
            samples *= extent[d];
        }
        if (pixels > 4 * samples) return;
        const bool side_by_side = image.channel_stride == 1;
        const std::int64_t length = (count[0] - 1) * image.stride[0] + (side_by_side ? job.channels : 1);
        for (std::int64_t c = 0; c < (side_by_side ? 1 : job.channels); ++c)
            for (std::int64_t z = first[2]; z < first[2] + count[2]; ++z)
                for (std::int64_t y = first[1]; y < first[1] + count[1]; ++y)
                    fetch(
                        source + c * image.channel_stride + z * image.stride[2] + y * image.stride[1] +
                            first[0] * image.stride[0],
                        length);
    }
};

}  // namespace UNWARP_ISA
}  // namespace unwarp
