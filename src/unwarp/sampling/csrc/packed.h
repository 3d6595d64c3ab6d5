// Kernels for many channels: they are copied into vectors, one per pixel. A tap is one load and no gather.
#pragma once

#include "gather.h"
#include "reduce.h"
#include "transpose.h"
#include "vectors.h"

namespace unwarp {
namespace UNWARP_ISA {

// A copy of one image's vectors of channels is made; beyond this many bytes reading channel by channel is better.
constexpr std::int64_t most_scratch = std::int64_t(64) << 20;
// As many vectors of channels are copied at once as fit, with their samples: where one reads is then found once for all.
constexpr std::int64_t near_scratch = std::int64_t(320) << 10;
// Images and groups of channels are what threads share here: with fewer, samples are better shared.
constexpr std::int64_t fewest_items = 4;

// How many vectors hold the channels.
template <class W>
inline std::int64_t vectors_of(const Job& job) {
    return (job.channels + Lanes<W>::count - 1) / Lanes<W>::count;
}

template <int D>
inline std::int64_t pixels_of(const Job& job) {
    std::int64_t pixels = 1;
    for (int d = 0; d < D; ++d) pixels *= job.in_size[d];
    return pixels;
}

inline std::int64_t longest_block(const Job& job) { return std::min<std::int64_t>(job.samples, block_size); }

// Never asks for the number of threads: the sums of the two ways differ in their last bits.
template <int D, class W>
inline bool packs(const Job& job, std::int64_t items) {
    constexpr int lanes = Lanes<W>::count;
    const std::int64_t pixels = pixels_of<D>(job);
    const bool filled = job.channels >= lanes && job.channels * 4 >= vectors_of<W>(job) * lanes * 3;
    // A copy costs about as much as one reading.
    return filled && items >= fewest_items && 2 * job.maps * job.samples >= pixels &&
           pixels * lanes * std::int64_t(sizeof(W)) <= most_scratch;
}

// The vectors of channels that are copied at once.
struct Group {
    std::int64_t begin, end;
};

// Groups of as many vectors as fit, but no more than `most`: threads, too, share what is read or given back of groups.
template <int D, class W>
class Groups {
   public:
    Groups(const Job& job, std::int64_t most) : vectors(vectors_of<W>(job)) {
        const auto bytes = (pixels_of<D>(job) + longest_block(job)) * std::int64_t{sizeof(Vec<W>)};
        const auto fitting = std::clamp<std::int64_t>(near_scratch / bytes, 1, std::clamp<std::int64_t>(most, 1, vectors));
        // All of about the same depth.
        const std::int64_t groups = (vectors + fitting - 1) / fitting;
        depth = (vectors + groups - 1) / groups;
    }

    std::int64_t count() const { return (vectors + depth - 1) / depth; }
    std::int64_t deepest() const { return depth; }
    Group at(std::int64_t index) const { return {index * depth, std::min((index + 1) * depth, vectors)}; }

   private:
    std::int64_t vectors, depth;
};

// Brings a group's channels of `count` pixels or samples near, in order, where they lie together and are few: piece by
// piece, as they are turned, each of many channels would be waited for anew. `from` is the first of all channels.
template <class T, class W>
inline void fetch_group(
    const Job& job, const Plane& plane, const T* from, std::int64_t count, const Group& group) {
    const std::int64_t first = group.begin * Lanes<W>::count, end = std::min(group.end * Lanes<W>::count, job.channels);
    const bool together = plane.stride[0] == 1 && plane.channel_stride == count;
    if (together && (end - first) * count * std::int64_t{sizeof(W)} <= near_scratch)
        fetch(from + first * count, (end - first) * count);
}

// One vector's channels of a plane's pixels: what lies in memory channel after channel, as a vector for each pixel.
template <class T, class W>
class Across {
   public:
    Across(const Job& job, const Plane& plane, std::int64_t vector)
        : first(vector * lanes * plane.channel_stride), to_next(plane.channel_stride), stride(plane.stride[0]),
          channels(static_cast<int>(std::min<std::int64_t>(job.channels - vector * lanes, lanes))) {}

    // Of `count` pixels that follow each other; `from` is the first of them, in the image's first channel. The vectors
    // are written `step` numbers apart.
    void read(const T* from, std::int64_t count, W* pixels, std::int64_t step) const {
        for_squares(count, [&](std::int64_t i, int some) {
            if constexpr (std::is_same_v<T, W>)
                if (is_whole(some)) return transpose<W>(from + first + i, to_next, pixels + i * step, step);
            read_part(from + first + i * stride, some, pixels + i * step, step);
        });
    }

    void write(const W* pixels, std::int64_t step, std::int64_t count, T* to) const {
        for_squares(count, [&](std::int64_t i, int some) {
            if constexpr (std::is_same_v<T, W>)
                if (is_whole(some)) return transpose<W>(pixels + i * step, step, to + first + i, to_next);
            write_part(pixels + i * step, step, some, to + first + i * stride);
        });
    }

   private:
    static constexpr int lanes = Lanes<W>::count;
    std::int64_t first, to_next, stride;
    int channels;

    template <class Work>
    void for_squares(std::int64_t count, const Work& work) const {
        for (std::int64_t i = 0; i < count; i += lanes)
            work(i, static_cast<int>(std::min<std::int64_t>(count - i, lanes)));
    }

    bool is_whole(int count) const { return channels == lanes && count == lanes && stride == 1; }

    void read_part(const T* from, int count, W* pixels, std::int64_t step) const {
        Vec<W> turned[lanes];
        for (int c = 0; c < lanes; ++c)
            turned[c] = c < channels ? load_some<T, W>(from + c * to_next, stride, count) : Vec<W>{};
        transpose<W>(turned);
        for (int i = 0; i < count; ++i) store(pixels + i * step, turned[i]);
    }

    void write_part(const W* pixels, std::int64_t step, int count, T* to) const {
        Vec<W> turned[lanes];
        for (int i = 0; i < lanes; ++i) turned[i] = i < count ? load<Vec<W>>(pixels + i * step) : Vec<W>{};
        transpose<W>(turned);
        for (int c = 0; c < channels; ++c) store_some<T, W>(to + c * to_next, stride, turned[c], count);
    }
};

// Memory for vectors, the first of which begins where a vector may: a pixel fills a cache line.
template <class W>
class Lines {
   public:
    W* data;

    explicit Lines(std::int64_t vectors) : memory(static_cast<std::size_t>((vectors + 1) * Lanes<W>::count)) {
        const auto misaligned = reinterpret_cast<std::uintptr_t>(memory.data()) % sizeof(Vec<W>);
        data = memory.data() + (misaligned ? (sizeof(Vec<W>) - misaligned) / sizeof(W) : 0);
    }
    Lines(const Lines&) = delete;

    void clear() { std::fill(memory.begin(), memory.end(), W(0)); }

   private:
    std::vector<W> memory;
};

// A group of one image's vectors of channels, one after the other, each with its pixels in order.
template <int D, class T, class W>
struct Pack {
    static constexpr int lanes = Lanes<W>::count;
    Lines<W> lines;
    W* data;
    std::int64_t pixels = 1, stride[D];

    Pack(const Job& job, std::int64_t depth) : lines(depth * pixels_of<D>(job)), data(lines.data) {
        for (int d = 0; d < D; ++d) {
            stride[d] = pixels * lanes;
            pixels *= job.in_size[d];
        }
    }

    // The pixels of the group's `index`th vector.
    W* vector(std::int64_t index) const { return data + index * pixels * lanes; }

    void read(const Job& job, const Plane& plane, const T* image, const Group& group) {
        // An image may be one row, or pixels of another that lie apart.
        std::int64_t last = 0;
        for (int d = 0; d < D; ++d) last += (job.in_size[d] - 1) * plane.stride[d];
        if (last + 1 == pixels) fetch_group<T, W>(job, plane, image, pixels, group);
        for (std::int64_t v = group.begin; v < group.end; ++v) {
            const Across<T, W> across(job, plane, v);
            for_rows(job, plane, [&](std::int64_t from, std::int64_t pixel, std::int64_t count) {
                across.read(image + from, count, vector(v - group.begin) + pixel * lanes, lanes);
            });
        }
    }

    void write(const Job& job, const Plane& plane, T* image, const Group& group) const {
        for (std::int64_t v = group.begin; v < group.end; ++v) {
            const Across<T, W> across(job, plane, v);
            for_rows(job, plane, [&](std::int64_t to, std::int64_t pixel, std::int64_t count) {
                across.write(vector(v - group.begin) + pixel * lanes, lanes, count, image + to);
            });
        }
    }

   private:
    // Calls `work` with the place in the image, and the number, of the first of the pixels of a row, and their count.
    template <class Work>
    void for_rows(const Job& job, const Plane& plane, const Work& work) const {
        // Rows that follow each other without a gap are one.
        std::int64_t width = job.in_size[0];
        int joined = 1;
        while (joined < D && plane.stride[joined] == width * plane.stride[0]) width *= job.in_size[joined++];
        const std::int64_t rows = pixels / width;
        for (std::int64_t row = 0; row < rows; ++row) {
            std::int64_t at = 0, rest = row;
            for (int d = joined; d < D; ++d) {
                at += rest % job.in_size[d] * plane.stride[d];
                rest /= job.in_size[d];
            }
            work(at, row * width, width);
        }
    }
};

// What one thread keeps of a group: its pixels, and the vectors of a block of samples, those of one sample side by side.
template <int D, class T, class W>
struct Desk {
    Pack<D, T, W> pack;
    Combinations<D, W> taps;
    Block<D, W> block;
    Lines<W> samples;
    std::int64_t step;  // from one sample to the next

    Desk(const Job& job, std::int64_t depth, bool with_slopes = false)
        : pack(job, depth), taps(job.mode, with_slopes), samples(longest_block(job) * depth), step(depth * Lanes<W>::count) {}

    // The vectors of the block's i-th sample.
    W* sample(int i) const { return samples.data + i * step; }
};

// N is the number of taps where that is known when compiling, else 0.
template <int N, int D, class T, class W>
void forward_packed(const Job& job, const Plane& image, const Plane& out) {
    constexpr int lanes = Lanes<W>::count;
    const Groups<D, W> groups(job, job.images * vectors_of<W>(job) / job.threads);
    const Background<W> background(job);
    const auto prepare = [&] { return Desk<D, T, W>(job, groups.deepest()); };
    parallel_for(job.images * groups.count(), job.threads, prepare, [&](std::int64_t item, Desk<D, T, W>& desk) {
        const std::int64_t n = item / groups.count();
        const Group group = groups.at(item % groups.count());
        auto& [pack, taps, block, samples, step] = desk;
        pack.read(job, image, static_cast<const T*>(image.data) + n * image.batch_stride, group);
        const Axes<D, W> axes(job, pack.stride);
        const Vectors vectors{group.end - group.begin, 0, pack.pixels * lanes};
        for (std::int64_t map = n * job.maps; map < (n + 1) * job.maps; ++map) {
            for (std::int64_t index = 0; index < blocks_of(job); ++index) {
                locate<D, W>(job, map, index, block);
                taps.template find<false>(job, axes, block, pack.stride, 0, job.in_size[D - 1]);
                T* to = static_cast<T*>(out.data) + map * out.batch_stride + block.begin * out.stride[0];
                for (int i = 0; i < block.count; ++i) {
                    W* sample = desk.sample(i);
                    read_vectors<N>(taps, i, pack.data, vectors, sample);
                    if (job.fill) add_background(taps, i, background.from(group.begin), vectors, sample);
                }
                for (std::int64_t v = 0; v < vectors.count; ++v)
                    Across<T, W>(job, out, group.begin + v).write(samples.data + v * lanes, step, block.count, to);
            }
        }
    });
}

template <int N, int D, class W>
void scatter_packed(const Job& job, const Plane& grad_out, const Plane& grad_image) {
    constexpr int lanes = Lanes<W>::count;
    const Groups<D, W> groups(job, job.images * vectors_of<W>(job) / job.threads);
    const auto prepare = [&] { return Desk<D, W, W>(job, groups.deepest()); };
    parallel_for(job.images * groups.count(), job.threads, prepare, [&](std::int64_t item, Desk<D, W, W>& desk) {
        const std::int64_t n = item / groups.count();
        const Group group = groups.at(item % groups.count());
        auto& [pack, taps, block, samples, step] = desk;
        pack.lines.clear();
        const Axes<D, W> axes(job, pack.stride);
        const Vectors vectors{group.end - group.begin, 0, pack.pixels * lanes};
        for (std::int64_t map = n * job.maps; map < (n + 1) * job.maps; ++map) {
            const W* of_map = static_cast<const W*>(grad_out.data) + map * grad_out.batch_stride;
            fetch_group<W, W>(job, grad_out, of_map, job.samples, group);
            for (std::int64_t index = 0; index < blocks_of(job); ++index) {
                locate<D, W>(job, map, index, block);
                taps.template find<false>(job, axes, block, pack.stride, 0, job.in_size[D - 1]);
                const W* from = of_map + block.begin * grad_out.stride[0];
                for (std::int64_t v = 0; v < vectors.count; ++v)
                    Across<W, W>(job, grad_out, group.begin + v)
                        .read(from, block.count, samples.data + v * lanes, step);
                for (int i = 0; i < block.count; ++i) give_vectors<N>(taps, i, desk.sample(i), pack.data, vectors);
            }
        }
        pack.write(job, grad_image, static_cast<W*>(grad_image.data) + n * grad_image.batch_stride, group);
    });
}

template <int N, int D, class T, class W>
void points_packed(const Job& job, const Plane& image, const Plane& grad_out, void* grad_points) {
    constexpr int lanes = Lanes<W>::count;
    const std::int64_t maps = job.images * job.maps, blocks = blocks_of(job);
    const Groups<D, W> groups(job, vectors_of<W>(job));
    const Background<W> background(job);
    std::vector<MatrixGradient<D>> result(job.grid ? 0 : static_cast<std::size_t>(maps));
    const auto prepare = [&] { return Desk<D, T, W>(job, groups.deepest(), true); };
    parallel_for(job.images, job.threads, prepare, [&](std::int64_t n, Desk<D, T, W>& desk) {
        auto& [pack, taps, block, samples, step] = desk;
        const Axes<D, W> axes(job, pack.stride);
        // Of every sample, summed over the channels.
        std::vector<Vec<W>> slopes(static_cast<std::size_t>(job.maps * blocks * (block_size / lanes) * D));
        for (std::int64_t index_of_group = 0; index_of_group < groups.count(); ++index_of_group) {
            const Group group = groups.at(index_of_group);
            const Vectors vectors{group.end - group.begin, 0, pack.pixels * lanes};
            pack.read(job, image, static_cast<const T*>(image.data) + n * image.batch_stride, group);
            Vec<W>* of_samples = slopes.data();
            for (std::int64_t map = n * job.maps; map < (n + 1) * job.maps; ++map) {
                const W* of_map = static_cast<const W*>(grad_out.data) + map * grad_out.batch_stride;
                fetch_group<W, W>(job, grad_out, of_map, job.samples, group);
                for (std::int64_t index = 0; index < blocks; ++index, of_samples += block_size / lanes * D) {
                    locate<D, W>(job, map, index, block);
                    taps.template find<true>(job, axes, block, pack.stride, 0, job.in_size[D - 1]);
                    const W* from = of_map + block.begin * grad_out.stride[0];
                    for (std::int64_t v = 0; v < vectors.count; ++v)
                        Across<W, W>(job, grad_out, group.begin + v)
                            .read(from, block.count, samples.data + v * lanes, step);
                    for (int at = 0; at < block.count; at += lanes) {
                        Vec<W> slope[D];
                        slopes_of_vectors<N, D, W>(
                            taps, at, lanes_left<W>(block.count, at), pack.data, vectors, background.from(group.begin),
                            desk.sample(at), step, slope);
                        for (int d = 0; d < D; ++d) of_samples[at / lanes * D + d] += slope[d];
                    }
                }
            }
        }
        const Vec<W>* of_samples = slopes.data();
        for (std::int64_t map = n * job.maps; map < (n + 1) * job.maps; ++map) {
            MatrixGradient<D> total;
            for (std::int64_t index = 0; index < blocks; ++index) {
                locate<D, W>(job, map, index, block);
                SlopeSums<D, W> of_block;
                for (int at = 0; at < block_size; at += lanes, of_samples += D) {
                    if (at >= block.count) continue;
                    if (job.grid)
                        put_slopes<D, W>(job, map, block, at, of_samples, grad_points);
                    else
                        of_block.add(job, map, block, at, of_samples);
                }
                of_block.flush(job, total);
            }
            if (!job.grid) result[static_cast<std::size_t>(map)] = total;
        }
    });
    if (!job.grid) add_pieces<D>(result, 1, static_cast<double*>(grad_points));
}

}  // namespace UNWARP_ISA
}  // namespace unwarp
