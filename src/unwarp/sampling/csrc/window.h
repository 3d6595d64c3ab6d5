// How images come near. Large pictures, a window at a time: what a tile of a wide output reads is copied to where it lies
// together; in the picture its rows are as many pages of memory, which processors take long to find again and again. Smaller
// images are fetched at once, and whatever else is large, with foresight.
#pragma once

#include <cmath>
#include <cstring>
#include <vector>

#include "cell.h"
#include "foresight.h"

namespace unwarp {
namespace UNWARP_ISA {

// Where to read an image: `source` is the pixel 0 of its first channel.
template <int D, class T, class W>
struct View {
    const T* source;
    Plane image;
    Axes<D, W> axes;
};

// Of one thread, which takes most of a tile's blocks one after the other.
template <int D, class T, class W>
class Windows {
   public:
    Windows(const Job& job, const Plane& image)
        : job(job), whole{nullptr, image, Axes<D, W>(job, image.stride)}, part(whole),
          foresight(job, image, 0, job.in_size[D - 1]) {
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
        if constexpr (D == 2) {
            if (pays) {
                const Tile tile(job, index);
                if (tile.first != current_tile) {
                    current_tile = tile.first;
                    copied = copy(tile);
                }
                if (copied) return part;
            }
        }
        if (!fetches) foresight.look(map, index, whole.source);
        return whole;
    }

   private:
    static constexpr std::int64_t smallest_picture = 1 << 23, largest_window = 1 << 20;  // bytes
    const Job& job;
    std::vector<T> pixels;
    View<D, T, W> whole, part;
    Foresight<D> foresight;
    std::int64_t current_map = -1, current_tile = -1;
    std::int64_t values;
    bool pays, copied = false, fetches;

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
