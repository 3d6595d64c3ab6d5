// Fresh memory, which the system hands out page by page as it is first touched.
#pragma once

#include <cstddef>
#include <cstdint>

#ifdef __linux__
#include <sys/mman.h>
#include <unistd.h>
#endif

namespace unwarp {

// Asks for pages of 2 MiB, not of 4 KiB, where nothing has been touched yet: a fault each costs more than a warp does, and
// large pages are found again sooner. Only a hint, which systems other than Linux do without.
inline void use_large_pages(void* data, std::size_t bytes) {
#ifdef __linux__
    const auto page = static_cast<std::uintptr_t>(sysconf(_SC_PAGESIZE));
    const auto begin = (reinterpret_cast<std::uintptr_t>(data) + page - 1) / page * page;
    const auto end = (reinterpret_cast<std::uintptr_t>(data) + bytes) / page * page;
    if (begin < end) madvise(reinterpret_cast<void*>(begin), end - begin, MADV_HUGEPAGE);
#else
    static_cast<void>(data), static_cast<void>(bytes);
#endif
}

}  // namespace unwarp
