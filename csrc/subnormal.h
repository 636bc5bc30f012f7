// Keeps the processor off its slow path for numbers near zero.
#pragma once

#if defined(__SSE2__)
#include <immintrin.h>
#endif

namespace {

// Treats subnormal numbers, which saturated gates produce, as zero: they cost a hundred times as
// much as others.
class FlushToZero {
#if defined(__SSE2__)
public:
    FlushToZero() : before_(_mm_getcsr()) { _mm_setcsr(before_ | 0x8040); }
    ~FlushToZero() { _mm_setcsr(before_); }

private:
    unsigned before_;
#endif
};

}  // namespace
