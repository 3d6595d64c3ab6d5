// Work shared out among threads. Results never depend on how many there are: an item is done by one thread alone.
#pragma once

#include <cstdint>

#ifdef _OPENMP
#include <omp.h>
#endif

namespace unwarp {

// Set in a child process after a fork: OpenMP's threads did not come along, and waiting for them would hang.
extern bool after_fork;

template <class Work>
void parallel_for(std::int64_t items, int threads, const Work& work) {
#ifdef _OPENMP
    if (items < threads) threads = static_cast<int>(items);
    if (threads > 1 && !after_fork && !omp_in_parallel()) {
#pragma omp parallel for num_threads(threads) schedule(static)
        for (std::int64_t item = 0; item < items; ++item) work(item);
        return;
    }
#endif
    for (std::int64_t item = 0; item < items; ++item) work(item);
}

}  // namespace unwarp
