// Kernels for many channels: a group of them side by side, one vector per pixel. A tap is one load and no gather.
#pragma once

#include "combinations.h"
#include "reduce.h"

namespace unwarp {
namespace UNWARP_ISA {

// A copy of one image's group of channels is made; beyond this many bytes reading channel by channel is better.
constexpr std::int64_t most_scratch = std::int64_t(64) << 20;
// Images and groups of channels are what threads share here: with fewer, samples are better shared.
constexpr std::int64_t fewest_items = 4;

// Never asks for the number of threads: the sums of the two ways differ in their last bits.
template <int D, class W>
inline bool packs(const Job& job, std::int64_t items) {
    constexpr int lanes = Lanes<W>::count;
    std::int64_t pixels = 1;
    for (int d = 0; d < D; ++d) pixels *= job.in_size[d];
    const bool filled = job.channels >= lanes && job.channels * 4 >= (job.channels + lanes - 1) / lanes * lanes * 3;
    // A copy costs about as much as one reading.
    return filled && items >= fewest_items && 2 * job.maps * job.samples >= pixels &&
           pixels * lanes * std::int64_t(sizeof(W)) <= most_scratch;
}

inline std::int64_t groups_of(const Job& job, int lanes) { return (job.channels + lanes - 1) / lanes; }

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

// The channels [first, first + count) of one image, a vector per pixel, pixels in order; and the way back.
template <int D, class T, class W>
struct Pack {
    static constexpr int lanes = Lanes<W>::count;
    std::vector<W> memory;
    W* data;
    std::int64_t pixels = 1, stride[D];

    Pack(const Pack&) = delete;
    explicit Pack(const Job& job) {
        for (int d = 0; d < D; ++d) {
            stride[d] = pixels * lanes;
            pixels *= job.in_size[d];
        }
        memory.resize(static_cast<std::size_t>(pixels * lanes + lanes));
        // A pixel fills a cache line.
        const auto misaligned = reinterpret_cast<std::uintptr_t>(memory.data()) % sizeof(Vec<W>);
        data = memory.data() + (misaligned ? (sizeof(Vec<W>) - misaligned) / sizeof(W) : 0);
    }

    void clear() { std::fill(memory.begin(), memory.end(), W(0)); }

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
                work(at + x * plane.stride[0], data + (row * width + x) * lanes,
                     static_cast<int>(width - x < lanes ? width - x : lanes));
        }
    }

    void read(const Job& job, const Plane& plane, const T* image, std::int64_t first, int channels) {
        const T* from = image + first * plane.channel_stride;
        for_rows(job, plane, [&](std::int64_t at, W* to, int count) {
            Vec<W> tile[lanes] = {};
            for (int c = 0; c < channels; ++c)
                tile[c] = load_some<T, W>(from + at + c * plane.channel_stride, plane.stride[0], count);
            transpose<W>(tile);
            for (int i = 0; i < count; ++i) store(to + i * lanes, tile[i]);
        });
    }

    void write(const Job& job, const Plane& plane, T* image, std::int64_t first, int channels) const {
        T* to = image + first * plane.channel_stride;
        for_rows(job, plane, [&](std::int64_t at, const W* from, int count) {
            Vec<W> tile[lanes] = {};
            for (int i = 0; i < count; ++i) tile[i] = load<Vec<W>>(from + i * lanes);
            transpose<W>(tile);
            for (int c = 0; c < channels; ++c)
                store_some<T, W>(to + at + c * plane.channel_stride, plane.stride[0], tile[c], count);
        });
    }
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
    const std::int64_t groups = groups_of(job, lanes);
    const auto prepare = [&] { return Pack<D, T, W>(job); };
    parallel_for(job.images * groups, job.threads, prepare, [&](std::int64_t item, Pack<D, T, W>& pack) {
        const std::int64_t n = item / groups, first = item % groups * lanes;
        const int channels = static_cast<int>(job.channels - first < lanes ? job.channels - first : lanes);
        pack.read(job, image, static_cast<const T*>(image.data) + n * image.batch_stride, first, channels);
        const Axes<D, W> axes(job, pack.stride);
        Vec<W> background{};
        if (job.fill)
            for (int c = 0; c < channels; ++c) background[c] = W(job.fill[first + c]);
        Combinations<D, W> taps(job.mode);
        Block<D, W> block;
        for (std::int64_t map = n * job.maps; map < (n + 1) * job.maps; ++map) {
            T* target = static_cast<T*>(out.data) + map * out.batch_stride + first * out.channel_stride;
            for (std::int64_t index = 0; index < blocks_of(job); ++index) {
                locate<D, W>(job, map, index, block);
                taps.template find<false>(job, axes, block, pack.stride, 0, job.in_size[D - 1]);
                for (int at = 0; at < block.count; at += lanes) {
                    const int count = lanes_left<W>(block.count, at);
                    Vec<W> tile[lanes];
                    for (int i = 0; i < lanes; ++i) {
                        tile[i] = read_packed<N>(taps, at + i, pack.data);
                        if (job.fill) tile[i] += background * (1 - weight_of(taps, at + i));
                    }
                    transpose<W>(tile);
                    for (int c = 0; c < channels; ++c)
                        store_some<T, W>(
                            target + c * out.channel_stride + (block.begin + at) * out.stride[0], out.stride[0],
                            tile[c], count);
                }
            }
        }
    });
}

// One group of samples of one group of channels of a gradient: a vector per sample.
template <class W>
inline void read_tile(const Plane& plane, const W* from, int channels, int count, Vec<W>* tile) {
    for (int c = 0; c < Lanes<W>::count; ++c)
        tile[c] = c < channels ? load_some<W, W>(from + c * plane.channel_stride, plane.stride[0], count) : Vec<W>{};
    transpose<W>(tile);
}

template <int N, int D, class W>
void scatter_packed(const Job& job, const Plane& grad_out, const Plane& grad_image) {
    constexpr int lanes = Lanes<W>::count;
    const std::int64_t groups = groups_of(job, lanes);
    const auto prepare = [&] { return Pack<D, W, W>(job); };
    parallel_for(job.images * groups, job.threads, prepare, [&](std::int64_t item, Pack<D, W, W>& pack) {
        const std::int64_t n = item / groups, first = item % groups * lanes;
        const int channels = static_cast<int>(job.channels - first < lanes ? job.channels - first : lanes);
        pack.clear();
        const Axes<D, W> axes(job, pack.stride);
        Combinations<D, W> taps(job.mode);
        Block<D, W> block;
        for (std::int64_t map = n * job.maps; map < (n + 1) * job.maps; ++map) {
            const W* gradient =
                static_cast<const W*>(grad_out.data) + map * grad_out.batch_stride + first * grad_out.channel_stride;
            for (std::int64_t index = 0; index < blocks_of(job); ++index) {
                locate<D, W>(job, map, index, block);
                taps.template find<false>(job, axes, block, pack.stride, 0, job.in_size[D - 1]);
                for (int at = 0; at < block.count; at += lanes) {
                    const int count = lanes_left<W>(block.count, at);
                    Vec<W> tile[lanes];
                    read_tile<W>(grad_out, gradient + (block.begin + at) * grad_out.stride[0], channels, count, tile);
                    for (int i = 0; i < count; ++i)
                        for (int k = 0; k < (N ? N : taps.count); ++k) {
                            const auto place = static_cast<std::size_t>(k * block_size + at + i);
                            if (taps.weight[place] == 0) continue;
                            W* to = pack.data + taps.offset[place];
                            store(to, load<Vec<W>>(to) + taps.weight[place] * tile[i]);
                        }
                }
            }
        }
        pack.write(job, grad_image, static_cast<W*>(grad_image.data) + n * grad_image.batch_stride, first, channels);
    });
}

template <int N, int D, class T, class W>
void points_packed(const Job& job, const Plane& image, const Plane& grad_out, void* grad_points) {
    constexpr int lanes = Lanes<W>::count;
    const std::int64_t maps = job.images * job.maps, blocks = blocks_of(job);
    std::vector<MatrixGradient<D>> result(job.grid ? 0 : static_cast<std::size_t>(maps));
    const auto prepare = [&] { return Pack<D, T, W>(job); };
    parallel_for(job.images, job.threads, prepare, [&](std::int64_t n, Pack<D, T, W>& pack) {
        const Axes<D, W> axes(job, pack.stride);
        Combinations<D, W> taps(job.mode, true);
        Block<D, W> block;
        // Of every sample, summed over the channels.
        std::vector<Vec<W>> slopes(static_cast<std::size_t>(job.maps * blocks * (block_size / lanes) * D));
        for (std::int64_t first = 0; first < job.channels; first += lanes) {
            const int channels = static_cast<int>(job.channels - first < lanes ? job.channels - first : lanes);
            pack.read(job, image, static_cast<const T*>(image.data) + n * image.batch_stride, first, channels);
            Vec<W> background{};
            if (job.fill)
                for (int c = 0; c < channels; ++c) background[c] = W(job.fill[first + c]);
            Vec<W>* sums = slopes.data();
            for (std::int64_t map = n * job.maps; map < (n + 1) * job.maps; ++map) {
                const W* gradient = static_cast<const W*>(grad_out.data) + map * grad_out.batch_stride +
                                    first * grad_out.channel_stride;
                for (std::int64_t index = 0; index < blocks; ++index) {
                    locate<D, W>(job, map, index, block);
                    taps.template find<true>(job, axes, block, pack.stride, 0, job.in_size[D - 1]);
                    for (int at = 0; at < block_size; at += lanes, sums += D) {
                        if (at >= block.count) continue;
                        const int count = lanes_left<W>(block.count, at);
                        Vec<W> tile[lanes], product[D][lanes];
                        read_tile<W>(
                            grad_out, gradient + (block.begin + at) * grad_out.stride[0], channels, count, tile);
                        for (int i = 0; i < lanes; ++i) {
                            Vec<W> total[D] = {};
                            for (int k = 0; k < (N ? N : taps.count); ++k) {
                                const auto place = static_cast<std::size_t>(k * block_size + at + i);
                                const Vec<W> value = load<Vec<W>>(pack.data + taps.offset[place]) - background;
                                for (int d = 0; d < D; ++d) total[d] += taps.slope[d][place] * value;
                            }
                            for (int d = 0; d < D; ++d) product[d][i] = total[d] * tile[i];
                        }
                        for (int d = 0; d < D; ++d) {
                            transpose<W>(product[d]);
                            for (int c = 0; c < lanes; ++c) sums[d] += product[d][c];
                        }
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
