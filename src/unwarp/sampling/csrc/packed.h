// Kernels for many channels: they are copied into vectors, one per pixel. A tap is one load and no gather.
#pragma once

#include "combinations.h"
#include "gather.h"
#include "reduce.h"

namespace unwarp {
namespace UNWARP_ISA {

// A copy of one image's vectors of channels is made; beyond this many bytes reading channel by channel is better.
constexpr std::int64_t most_scratch = std::int64_t(64) << 20;
// As many vectors of channels are copied at once as fit: where a sample reads is then found once for all of them.
constexpr std::int64_t near_scratch = std::int64_t(256) << 10;
// Images and groups of channels are what threads share here: with fewer, samples are better shared.
constexpr std::int64_t fewest_items = 4;

// How many vectors hold the channels.
template <class W>
inline std::int64_t vectors_of(const Job& job) {
    return (job.channels + Lanes<W>::count - 1) / Lanes<W>::count;
}

// Never asks for the number of threads: the sums of the two ways differ in their last bits.
template <int D, class W>
inline bool packs(const Job& job, std::int64_t items) {
    constexpr int lanes = Lanes<W>::count;
    std::int64_t pixels = 1;
    for (int d = 0; d < D; ++d) pixels *= job.in_size[d];
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
        std::int64_t bytes = sizeof(Vec<W>);
        for (int d = 0; d < D; ++d) bytes *= job.in_size[d];
        depth = std::clamp<std::int64_t>(near_scratch / bytes, 1, std::clamp<std::int64_t>(most, 1, vectors));
    }

    std::int64_t count() const { return (vectors + depth - 1) / depth; }
    std::int64_t deepest() const { return depth; }
    Group at(std::int64_t index) const { return {index * depth, std::min((index + 1) * depth, vectors)}; }

   private:
    std::int64_t vectors, depth;
};

template <class W>
inline void transpose(Vec<W>* rows) {
    constexpr int lanes = Lanes<W>::count;
#if defined(__AVX2__) && !defined(__AVX512F__)
    if constexpr (std::is_same_v<W, float>) {
        // Within halves of registers first: what crosses them takes two instructions.
        Vec<W> pair[lanes], quad[lanes];
        for (int i = 0; i < lanes; i += 2) {
            pair[i] = _mm256_unpacklo_ps(rows[i], rows[i + 1]);
            pair[i + 1] = _mm256_unpackhi_ps(rows[i], rows[i + 1]);
        }
        for (int i = 0; i < lanes; i += 4)
            for (int j = 0; j < 2; ++j) {
                quad[i + 2 * j] = _mm256_shuffle_ps(pair[i + j], pair[i + j + 2], 0x44);
                quad[i + 2 * j + 1] = _mm256_shuffle_ps(pair[i + j], pair[i + j + 2], 0xee);
            }
        for (int i = 0; i < 4; ++i) {
            rows[i] = _mm256_permute2f128_ps(quad[i], quad[i + 4], 0x20);
            rows[i + 4] = _mm256_permute2f128_ps(quad[i], quad[i + 4], 0x31);
        }
        return;
    }
#endif
    for (int step = 1; step < lanes; step *= 2) {
        Vec<W> next[lanes];
        for (int i = 0; i < lanes / 2; ++i) {
            next[2 * i] = interleave_low<W>(rows[i], rows[i + lanes / 2]);
            next[2 * i + 1] = interleave_high<W>(rows[i], rows[i + lanes / 2]);
        }
        for (int i = 0; i < lanes; ++i) rows[i] = next[i];
    }
}

// One vector's channels of a plane's pixels: what lies in memory channel after channel, as a vector for each pixel.
template <class T, class W>
class Across {
   public:
    Across(const Job& job, const Plane& plane, std::int64_t vector)
        : first(vector * lanes * plane.channel_stride), to_next(plane.channel_stride), stride(plane.stride[0]),
          channels(static_cast<int>(std::min<std::int64_t>(job.channels - vector * lanes, lanes))) {}

    // Of `count` pixels that follow each other; `from` is the first of them, in the image's first channel.
    [[gnu::always_inline]] void read(const T* from, int count, Vec<W>* pixels) const {
        if (is_whole(count))
            for (int c = 0; c < lanes; ++c) pixels[c] = load_some<T, W>(from + first + c * to_next, 1, lanes);
        else
            read_part(from + first, count, pixels);
        transpose<W>(pixels);
    }

    // Leaves `pixels` transposed.
    [[gnu::always_inline]] void write(T* to, int count, Vec<W>* pixels) const {
        transpose<W>(pixels);
        if (is_whole(count))
            for (int c = 0; c < lanes; ++c) store_some<T, W>(to + first + c * to_next, 1, pixels[c], lanes);
        else
            write_part(to + first, count, pixels);
    }

   private:
    static constexpr int lanes = Lanes<W>::count;
    std::int64_t first, to_next, stride;
    int channels;

    bool is_whole(int count) const {
        return std::is_same_v<T, W> && channels == lanes && count == lanes && stride == 1;
    }

    // Apart from the case above, which they would slow down.
    [[gnu::noinline]] void read_part(const T* from, int count, Vec<W>* pixels) const {
        for (int c = 0; c < lanes; ++c)
            pixels[c] = c < channels ? load_some<T, W>(from + c * to_next, stride, count) : Vec<W>{};
    }

    [[gnu::noinline]] void write_part(T* to, int count, const Vec<W>* pixels) const {
        for (int c = 0; c < channels; ++c) store_some<T, W>(to + c * to_next, stride, pixels[c], count);
    }
};

// A group of one image's vectors of channels, one after the other, each with its pixels in order.
template <int D, class T, class W>
struct Pack {
    static constexpr int lanes = Lanes<W>::count;
    std::vector<W> memory;
    W* data;
    std::int64_t pixels = 1, stride[D];

    Pack(const Pack&) = delete;
    Pack(const Job& job, std::int64_t depth) {
        for (int d = 0; d < D; ++d) {
            stride[d] = pixels * lanes;
            pixels *= job.in_size[d];
        }
        memory.resize(static_cast<std::size_t>(depth * pixels * lanes + lanes));
        // A pixel fills a cache line.
        const auto misaligned = reinterpret_cast<std::uintptr_t>(memory.data()) % sizeof(Vec<W>);
        data = memory.data() + (misaligned ? (sizeof(Vec<W>) - misaligned) / sizeof(W) : 0);
    }

    void clear() { std::fill(memory.begin(), memory.end(), W(0)); }

    // The pixels of the group's `index`th vector.
    W* vector(std::int64_t index) const { return data + index * pixels * lanes; }

    void read(const Job& job, const Plane& plane, const T* image, const Group& group) {
        const std::int64_t first = group.begin * lanes, last = std::min(group.end * lanes, job.channels);
        if (plane.channel_stride == pixels) fetch(image + first * pixels, (last - first) * pixels);
        for (std::int64_t v = group.begin; v < group.end; ++v) {
            const Across<T, W> across(job, plane, v);
            for_rows(job, plane, [&](std::int64_t from, std::int64_t pixel, int count) {
                Vec<W> values[lanes];
                across.read(image + from, count, values);
                for (int i = 0; i < count; ++i) store(vector(v - group.begin) + (pixel + i) * lanes, values[i]);
            });
        }
    }

    void write(const Job& job, const Plane& plane, T* image, const Group& group) const {
        for (std::int64_t v = group.begin; v < group.end; ++v) {
            const Across<T, W> across(job, plane, v);
            for_rows(job, plane, [&](std::int64_t to, std::int64_t pixel, int count) {
                const W* from = vector(v - group.begin) + pixel * lanes;
                Vec<W> values[lanes];
                for (int i = 0; i < lanes; ++i) values[i] = load<Vec<W>>(from + (i < count ? i : 0) * lanes);
                across.write(image + to, count, values);
            });
        }
    }

   private:
    // Calls `work` with the place in the image, and the number, of the first of some pixels in a row, and their count.
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
            for (std::int64_t x = 0; x < width; x += lanes)
                work(
                    at + x * plane.stride[0], row * width + x,
                    static_cast<int>(std::min<std::int64_t>(width - x, lanes)));
        }
    }
};

// The fill of each vector's channels, if there is one.
template <class W>
class Background {
   public:
    explicit Background(const Job& job) {
        if (!job.fill) return;
        fill.assign(job.fill, job.fill + job.channels);
        fill.resize(static_cast<std::size_t>(vectors_of<W>(job) * Lanes<W>::count));
    }

    Vec<W> of(std::int64_t vector) const {
        return fill.empty() ? Vec<W>{} : load<Vec<W>>(&fill[static_cast<std::size_t>(vector * Lanes<W>::count)]);
    }

   private:
    std::vector<W> fill;
};

// Sum of the taps of sample i; N is their number where that is known when compiling, else 0.
template <int N, int D, class W>
inline Vec<W> read_packed(const Combinations<D, W>& taps, int i, const W* data) {
    const auto* offset = taps.offset.data() + i;
    const W* weight = taps.weight.data() + i;
    Vec<W> total{};
    for (int k = 0; k < (N ? N : taps.count); ++k)
        total += weight[k * block_size] * load<Vec<W>>(data + offset[k * block_size]);
    return total;
}

template <int D, class W>
inline W weight_of(const Combinations<D, W>& taps, int i) {
    W total = 0;
    for (int k = 0; k < taps.count; ++k) total += taps.weight[static_cast<std::size_t>(k * block_size + i)];
    return total;
}

template <int N, int D, class T, class W>
void forward_packed(const Job& job, const Plane& image, const Plane& out) {
    constexpr int lanes = Lanes<W>::count;
    const Groups<D, W> groups(job, job.images * vectors_of<W>(job) / job.threads);
    const Background<W> background(job);
    const auto prepare = [&] { return Pack<D, T, W>(job, groups.deepest()); };
    parallel_for(job.images * groups.count(), job.threads, prepare, [&](std::int64_t item, Pack<D, T, W>& pack) {
        const std::int64_t n = item / groups.count();
        const Group group = groups.at(item % groups.count());
        pack.read(job, image, static_cast<const T*>(image.data) + n * image.batch_stride, group);
        const Axes<D, W> axes(job, pack.stride);
        Combinations<D, W> taps(job.mode);
        Block<D, W> block;
        for (std::int64_t map = n * job.maps; map < (n + 1) * job.maps; ++map) {
            for (std::int64_t index = 0; index < blocks_of(job); ++index) {
                locate<D, W>(job, map, index, block);
                taps.template find<false>(job, axes, block, pack.stride, 0, job.in_size[D - 1]);
                T* to = static_cast<T*>(out.data) + map * out.batch_stride + block.begin * out.stride[0];
                for (std::int64_t v = group.begin; v < group.end; ++v) {
                    const Across<T, W> across(job, out, v);
                    const W* source = pack.vector(v - group.begin);
                    const Vec<W> outside = background.of(v);
                    for (int at = 0; at < block.count; at += lanes) {
                        Vec<W> values[lanes];
                        for (int i = 0; i < lanes; ++i) {
                            values[i] = read_packed<N>(taps, at + i, source);
                            if (job.fill) values[i] += outside * (1 - weight_of(taps, at + i));
                        }
                        across.write(to + at * out.stride[0], lanes_left<W>(block.count, at), values);
                    }
                }
            }
        }
    });
}

template <int N, int D, class W>
void scatter_packed(const Job& job, const Plane& grad_out, const Plane& grad_image) {
    constexpr int lanes = Lanes<W>::count;
    const Groups<D, W> groups(job, job.images * vectors_of<W>(job) / job.threads);
    const auto prepare = [&] { return Pack<D, W, W>(job, groups.deepest()); };
    parallel_for(job.images * groups.count(), job.threads, prepare, [&](std::int64_t item, Pack<D, W, W>& pack) {
        const std::int64_t n = item / groups.count();
        const Group group = groups.at(item % groups.count());
        pack.clear();
        const Axes<D, W> axes(job, pack.stride);
        Combinations<D, W> taps(job.mode);
        Block<D, W> block;
        for (std::int64_t map = n * job.maps; map < (n + 1) * job.maps; ++map) {
            for (std::int64_t index = 0; index < blocks_of(job); ++index) {
                locate<D, W>(job, map, index, block);
                taps.template find<false>(job, axes, block, pack.stride, 0, job.in_size[D - 1]);
                const W* from = static_cast<const W*>(grad_out.data) + map * grad_out.batch_stride +
                                block.begin * grad_out.stride[0];
                for (std::int64_t v = group.begin; v < group.end; ++v) {
                    const Across<W, W> across(job, grad_out, v);
                    W* target = pack.vector(v - group.begin);
                    for (int at = 0; at < block.count; at += lanes) {
                        const int count = lanes_left<W>(block.count, at);
                        Vec<W> gradient[lanes];
                        across.read(from + at * grad_out.stride[0], count, gradient);
                        for (int i = 0; i < count; ++i)
                            for (int k = 0; k < (N ? N : taps.count); ++k) {
                                const auto place = static_cast<std::size_t>(k * block_size + at + i);
                                if (taps.weight[place] == 0) continue;
                                W* to = target + taps.offset[place];
                                store(to, load<Vec<W>>(to) + taps.weight[place] * gradient[i]);
                            }
                    }
                }
            }
        }
        pack.write(job, grad_image, static_cast<W*>(grad_image.data) + n * grad_image.batch_stride, group);
    });
}

// For each sample of a block, a vector of channels' products of the gradient with the slopes along each axis, added to
// what `sums` holds of other vectors.
template <int N, int D, class W>
inline void add_products(
    const Combinations<D, W>& taps, const Block<D, W>& block, const W* source, Vec<W> background,
    const Across<W, W>& across, const W* from, std::int64_t stride, Vec<W>* sums) {
    constexpr int lanes = Lanes<W>::count;
    for (int at = 0; at < block.count; at += lanes) {
        Vec<W> gradient[lanes];
        across.read(from + at * stride, lanes_left<W>(block.count, at), gradient);
        for (int i = 0; i < lanes; ++i) {
            Vec<W> slope[D] = {};
            for (int k = 0; k < (N ? N : taps.count); ++k) {
                const auto place = static_cast<std::size_t>(k * block_size + at + i);
                const Vec<W> value = load<Vec<W>>(source + taps.offset[place]) - background;
                for (int d = 0; d < D; ++d) slope[d] += taps.slope[d][place] * value;
            }
            for (int d = 0; d < D; ++d) sums[d * block_size + at + i] += slope[d] * gradient[i];
        }
    }
}

template <int N, int D, class T, class W>
void points_packed(const Job& job, const Plane& image, const Plane& grad_out, void* grad_points) {
    constexpr int lanes = Lanes<W>::count;
    const std::int64_t maps = job.images * job.maps, blocks = blocks_of(job);
    const Groups<D, W> groups(job, vectors_of<W>(job));
    const Background<W> background(job);
    std::vector<MatrixGradient<D>> result(job.grid ? 0 : static_cast<std::size_t>(maps));
    const auto prepare = [&] { return Pack<D, T, W>(job, groups.deepest()); };
    parallel_for(job.images, job.threads, prepare, [&](std::int64_t n, Pack<D, T, W>& pack) {
        const Axes<D, W> axes(job, pack.stride);
        Combinations<D, W> taps(job.mode, true);
        Block<D, W> block;
        std::vector<Vec<W>> products(static_cast<std::size_t>(D * block_size));
        // Of every sample, summed over the channels.
        std::vector<Vec<W>> slopes(static_cast<std::size_t>(job.maps * blocks * (block_size / lanes) * D));
        for (std::int64_t index_of_group = 0; index_of_group < groups.count(); ++index_of_group) {
            const Group group = groups.at(index_of_group);
            pack.read(job, image, static_cast<const T*>(image.data) + n * image.batch_stride, group);
            Vec<W>* sums = slopes.data();
            for (std::int64_t map = n * job.maps; map < (n + 1) * job.maps; ++map) {
                for (std::int64_t index = 0; index < blocks; ++index, sums += block_size / lanes * D) {
                    locate<D, W>(job, map, index, block);
                    taps.template find<true>(job, axes, block, pack.stride, 0, job.in_size[D - 1]);
                    const W* from = static_cast<const W*>(grad_out.data) + map * grad_out.batch_stride +
                                    block.begin * grad_out.stride[0];
                    std::fill(products.begin(), products.end(), Vec<W>{});
                    for (std::int64_t v = group.begin; v < group.end; ++v)
                        add_products<N, D, W>(
                            taps, block, pack.vector(v - group.begin), background.of(v), {job, grad_out, v}, from,
                            grad_out.stride[0], products.data());
                    for (int at = 0; at < block.count; at += lanes)
                        for (int d = 0; d < D; ++d) {
                            Vec<W>* of_group = &products[static_cast<std::size_t>(d * block_size + at)];
                            transpose<W>(of_group);
                            for (int c = 0; c < lanes; ++c) sums[at / lanes * D + d] += of_group[c];
                        }
                }
            }
        }
        const Vec<W>* sums = slopes.data();
        for (std::int64_t map = n * job.maps; map < (n + 1) * job.maps; ++map) {
            MatrixGradient<D> total;
            for (std::int64_t index = 0; index < blocks; ++index) {
                locate<D, W>(job, map, index, block);
                SlopeSums<D, W> of_block;
                for (int at = 0; at < block_size; at += lanes, sums += D) {
                    if (at >= block.count) continue;
                    if (job.grid)
                        put_slopes<D, W>(job, map, block, at, sums, grad_points);
                    else
                        of_block.add(job, map, block, at, sums);
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
