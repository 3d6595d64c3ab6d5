// Work shared out among threads. Results never depend on how many there are: an item is done by one thread alone.
#pragma once

#include <cstdint>

#ifdef _OPENMP
#include <omp.h>
#endif

namespace unwarp {

// Set in a child process after a fork: OpenMP's threads did not come along, and waiting for them would hang.
extern bool after_fork;

// `prepare()` makes what one thread keeps from item to item: memory is costly to come by. `work(item, kept)` uses it.
template <class Prepare, class Work>
void parallel_for(std::int64_t items, [[maybe_unused]] int threads, const Prepare& prepare, const Work& work) {
#ifdef _OPENMP
    if (items < threads) threads = static_cast<int>(items);
    if (threads > 1 && !after_fork && !omp_in_parallel()) {
#pragma omp parallel num_threads(threads)
        {
            auto kept = prepare();
#pragma omp for schedule(static)
            for (std::int64_t item = 0; item < items; ++item) work(item, kept);
        }
        return;
    }
#endif
    auto kept = prepare();
    for (std::int64_t item = 0; item < items; ++item) work(item, kept);
}

template <class Work>
void parallel_for(std::int64_t items, int threads, const Work& work) {
    parallel_for(items, threads, [] { return 0; }, [&](std::int64_t item, int) { work(item); });
}

}  // namespace unwarp
