// What a plain loop takes that reads, for every sample and channel, the pixels around it, whose place is already known.
#include <algorithm>
#include <cstdint>

namespace {

constexpr std::int64_t piece = 4096;

template <int TAPS>
void read(const float* from, const std::int32_t* at, float* to, std::int64_t count, const std::int32_t* tap) {
    for (std::int64_t i = 0; i < count; ++i) {
        float sum = 0;
        for (int k = 0; k < TAPS; ++k) sum += from[at[i] + tap[k]];
        to[i] = sum;
    }
}

}  // namespace

extern "C" void gather(
    const float* image, const std::int32_t* first, float* out, std::int64_t planes, std::int64_t channels,
    std::int64_t pixels, std::int64_t samples, const std::int32_t* tap, int taps, int threads) {
    const auto work = taps == 2 ? read<2> : taps == 4 ? read<4> : read<8>;
    const std::int64_t pieces = (samples + piece - 1) / piece;
#pragma omp parallel for collapse(2) num_threads(threads) schedule(static)
    for (std::int64_t plane = 0; plane < planes; ++plane)
        for (std::int64_t part = 0; part < pieces; ++part) {
            const std::int64_t begin = part * piece, count = std::min(piece, samples - begin);
            work(
                image + plane * pixels, first + plane / channels * samples + begin, out + plane * samples + begin, count,
                tap);
        }
}
