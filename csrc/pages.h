// Huge pages for large results.  New memory is first touched when the result is written, and a page
// fault for each small page costs more than computing the numbers.
#pragma once

#include <cstdint>

#if defined(__linux__)
#include <sys/mman.h>
#endif

// Asks for pages of 2 MiB instead of 4 KiB; nothing happens if the system has none.  Memory of up
// to 32 MiB is left unchanged: glibc can reuse freed memory there, which already has its pages.
inline void use_huge_pages(void* p, int64_t bytes) {
#if defined(__linux__) && defined(MADV_HUGEPAGE)
    constexpr uintptr_t HUGE_PAGE = 1 << 21;
    if (!p || bytes <= 1 << 25) return;
    const uintptr_t begin = (reinterpret_cast<uintptr_t>(p) + HUGE_PAGE - 1) / HUGE_PAGE * HUGE_PAGE;
    const uintptr_t end = (reinterpret_cast<uintptr_t>(p) + static_cast<uintptr_t>(bytes)) / HUGE_PAGE * HUGE_PAGE;
    madvise(reinterpret_cast<void*>(begin), end - begin, MADV_HUGEPAGE);
#else
    (void)p, (void)bytes;
#endif
}
