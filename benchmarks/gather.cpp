// The least a warp must do: for every sample and channel, read the pixels around it, whose place is already known.
#include <cstdint>

extern "C" void gather(
    const float* image, const std::int32_t* first, float* out, std::int64_t planes, std::int64_t channels,
    std::int64_t pixels, std::int64_t samples, const std::int32_t* tap, int taps, int threads) {
#pragma omp parallel for num_threads(threads) schedule(static)
    for (std::int64_t plane = 0; plane < planes; ++plane) {
        const float* from = image + plane * pixels;
        const std::int32_t* at = first + plane / channels * samples;
        float* to = out + plane * samples;
        for (std::int64_t i = 0; i < samples; ++i) {
            float sum = 0;
            for (int k = 0; k < taps; ++k) sum += from[at[i] + tap[k]];
            to[i] = sum;
        }
    }
}
