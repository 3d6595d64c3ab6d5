// How images come near. Large pictures, a window at a time: what a tile of a wide output reads is copied to where it lies
// together; in the picture its rows are as many pages of memory, which processors take long to find again and again. Large
// volumes, brick by brick, and smaller images, at once, are read in order before the first sample is: no processor foresees in
// which order a turned row reads them, so each would wait for memory.
#pragma once

#include <cmath>
#include <cstring>
#include <vector>

#include "cell.h"
#include "gather.h"

namespace unwarp {
namespace UNWARP_ISA {

// Where to read an image: `source` is the pixel 0 of its first channel.
template <int D, class T, class W>
struct View {
    const T* source;
    Plane image;
    Axes<D, W> axes;
};

// Of one thread, which takes most of a tile's or brick's blocks one after the other.
template <int D, class T, class W>
class Windows {
   public:
    Windows(const Job& job, const Plane& image)
        : job(job), whole{nullptr, image, Axes<D, W>(job, image.stride)}, part(whole) {
        const std::int64_t pixels = job.channels * job.in_size[0] * job.in_size[1];
        pays = is_wide(job) && job.mode == Mode::linear && !job.grid && !job.projective &&
               image.stride[0] == 1 && pixels * std::int64_t{sizeof(T)} >= smallest_picture;
        std::int64_t last = (job.channels - 1) * image.channel_stride;
        values = job.channels;
        for (int d = 0; d < D; ++d) {
            last += (job.in_size[d] - 1) * image.stride[d];
            values *= job.in_size[d];
        }
        fetches = last + 1 == values && values * std::int64_t{sizeof(T)} < smallest_picture &&
                  2 * job.maps * job.samples * job.channels >= values;
        fetches_bricks = !fetches && job.bricks &&
                         (image.stride[0] == 1 || (image.channel_stride == 1 && image.stride[0] == job.channels));
    }

    // Where to read what a block of a map reads.
    const View<D, T, W>& of(std::int64_t map, std::int64_t index) {
        if (map != current_map) {
            const T* const source =
                static_cast<const T*>(whole.image.data) + map / job.maps * whole.image.batch_stride;
            if (fetches && source != whole.source) fetch(source, values);
            whole.source = source;
            current_map = map;
            current_tile = -1;
        }
        if constexpr (D == 3) {
            if (!fetches_bricks) return whole;
            const Brick brick(job, index);
            if (brick.first != current_tile) {
                current_tile = brick.first;
                fetch_brick(brick);
            }
        }
        if constexpr (D == 2) {
            if (!pays) return whole;
            const Tile tile(job, index);
            if (tile.first != current_tile) {
                current_tile = tile.first;
                copied = copy(tile);
            }
            if (copied) return part;
        }
        return whole;
    }

   private:
    static constexpr std::int64_t smallest_picture = 1 << 23, largest_window = 1 << 20;  // bytes
    const Job& job;
    std::vector<T> pixels;
    View<D, T, W> whole, part;
    std::int64_t current_map = -1, current_tile = -1;
    std::int64_t values;
    bool pays, copied = false, fetches, fetches_bricks;

    void fetch_brick(const Brick& brick) const {
        for (std::int64_t left = 0; left < job.out_size[0]; left += piece_size) {
            const std::int64_t begin[3] = {left, brick.top, brick.front};
            const std::int64_t extent[3] = {std::min(piece_size, job.out_size[0] - left), brick.rows, brick.slices};
            double corner[8][3];
            for (int k = 0; k < 8; ++k) {
                std::int64_t sample[3];
                for (int d = 0; d < 3; ++d) sample[d] = begin[d] + (k >> d & 1 ? extent[d] - 1 : 0);
                foresee(job, current_map, sample, corner[k]);
            }
            if (!is_turned(corner[0], corner[1])) continue;
            std::int64_t first[3], count[3], voxels = 1;
            for (int d = 0; d < 3; ++d) {
                double low = corner[0][d], high = low;
                for (int k = 1; k < 8; ++k) low = std::min(low, corner[k][d]), high = std::max(high, corner[k][d]);
                const auto end = static_cast<double>(job.in_size[d]);
                first[d] = low > 0 ? static_cast<std::int64_t>(std::min(low, end)) : 0;
                count[d] = (high > -2 ? static_cast<std::int64_t>(std::min(high + 2, end)) : 0) - first[d];
                voxels *= std::max<std::int64_t>(count[d], 0);
            }
            if (voxels <= 4 * extent[0] * extent[1] * extent[2]) fetch_box(first, count);
        }
    }

    void fetch_box(const std::int64_t* first, const std::int64_t* count) const {
        const Plane& image = whole.image;
        const std::int64_t planes = image.channel_stride == 1 ? 1 : job.channels;
        for (std::int64_t c = 0; c < planes; ++c)
            for (std::int64_t z = first[2]; z < first[2] + count[2]; ++z)
                for (std::int64_t y = first[1]; y < first[1] + count[1]; ++y)
                    fetch(
                        whole.source + c * image.channel_stride + z * image.stride[2] + y * image.stride[1] +
                            first[0] * image.stride[0],
                        count[0] * image.stride[0]);
    }

    // False where some of the tile's samples do not lie between pixels, or the window is too large.
    bool copy(const Tile& tile) {
        const double* matrix = job.matrix + current_map * (D + 1) * (D + 1);
        const std::int64_t at[2] = {tile.left, tile.top}, extent[2] = {tile.width, tile.rows};
        std::int64_t low[2], size[2];
        for (int d = 0; d < 2; ++d) {
            const double shift = matrix[d * (D + 1) + D], centre = (job.in_size[d] - 1) / 2.0;
            double middle = shift + centre, reach = 0, largest = std::abs(shift) + centre;
            for (int j = 0; j < 2; ++j) {
                const double half = (extent[j] - 1) / 2.0, entry = matrix[d * (D + 1) + j];
                middle += entry * (at[j] + half - (job.out_size[j] - 1) / 2.0);
                reach += std::abs(entry) * half;
                largest += std::abs(entry) * job.out_size[j] / 2.0;
            }
            // The kernel's own positions are rounded, of numbers this large by less than a tenth of the pixel that is
            // left on each side. What is not a number is not less, either.
            if (!(largest < 1 << 18)) return false;
            if (!(middle - reach >= 1) || !(middle + reach < static_cast<double>(job.in_size[d] - 3))) return false;
            low[d] = static_cast<std::int64_t>(middle - reach) - 1;
            size[d] = static_cast<std::int64_t>(middle + reach) + 3 - low[d];
        }
        const std::int64_t area = size[0] * size[1];
        if (area > 4 * tile.width * tile.rows) return false;
        if (area * job.channels * std::int64_t{sizeof(T)} > largest_window) return false;
        pixels.resize(static_cast<std::size_t>(area * job.channels));
        T* to = pixels.data();
        for (std::int64_t c = 0; c < job.channels; ++c)
            for (std::int64_t y = low[1]; y < low[1] + size[1]; ++y, to += size[0])
                std::memcpy(
                    to, whole.source + c * whole.image.channel_stride + y * whole.image.stride[1] + low[0],
                    static_cast<std::size_t>(size[0]) * sizeof(T));
        part.image.stride[1] = size[0];
        part.image.channel_stride = area;
        part.source = pixels.data() - (low[1] * size[0] + low[0]);
        part.axes = Axes<D, W>(job, part.image.stride);
        return true;
    }
};

}  // namespace UNWARP_ISA
}  // namespace unwarp
